// The operator's own HTTP doors (operator.md §8.2): probes on one port, metrics behind a token on another. They answer from
// what is known and start nothing.

import { createHash, timingSafeEqual } from "node:crypto"
import { type FastifyInstance, fastify } from "fastify"
import type { Metrics } from "./metrics.ts"

export interface HealthOptions {
  readonly host: string
  readonly probePort: number
  readonly metricsPort: number
  readonly metrics: Metrics
  /** Why the process should be replaced, or null. */
  readonly sick: () => string | null
  readonly synced: () => boolean
  /** The bearer token that scraping takes; null: none yet. */
  readonly token: () => string | null
}

export interface Health {
  readonly probePort: number
  readonly metricsPort: number
  close(): Promise<void>
}

export async function openHealth(options: HealthOptions): Promise<Health> {
  const probes = fastify({ logger: false })
  probes.get("/livez", (_request, reply) => {
    const why = options.sick()
    return why === null ? { status: "ok" } : reply.code(503).send({ status: "sick", why })
  })
  probes.get("/readyz", (_request, reply) =>
    options.synced() ? { status: "ready" } : reply.code(503).send({ status: "not_ready" }),
  )
  const metrics = fastify({ logger: false })
  metrics.get("/metrics", async (request, reply) => {
    const [, given = ""] = /^Bearer (.+)$/.exec(request.headers.authorization ?? "") ?? []
    const token = options.token()
    if (token === null || !equal(given, token))
      return reply
        .code(401)
        .header("www-authenticate", 'Bearer realm="fitz-operator"')
        .send({ error: "unauthorized" })
    const { registry } = options.metrics
    return reply.header("content-type", registry.contentType).send(await registry.metrics())
  })
  await probes.listen({ host: options.host, port: options.probePort })
  await metrics.listen({ host: options.host, port: options.metricsPort })
  return {
    probePort: portOf(probes),
    metricsPort: portOf(metrics),
    close: async () => {
      await probes.close()
      await metrics.close()
    },
  }
}

function portOf(server: FastifyInstance): number {
  const address = server.server.address()
  return address !== null && typeof address === "object" ? address.port : 0
}

function equal(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}
