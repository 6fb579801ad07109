// The `/v0` face of probes and metrics, in the exact shapes of the second document (topics-http.md §16–§18).
// Every JSON answer ends with `performance`, errors too. No topics are served here yet.

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify"
import type { Status } from "../engine/status.ts"
import type { Metrics } from "./metrics.ts"
import { withPerformance } from "./performance.ts"

/** How long a caller should wait before it asks again. */
const RETRY_SECONDS = "1"
/** Without the charset that the other page of metrics names: so the second document has it. */
const TOPICS_METRICS_TYPE = "text/plain; version=0.0.4"

/** Is the path one of this surface? */
export function isV0Path(path: string): boolean {
  return path === "/v0" || path.startsWith("/v0/")
}

/** An error in the shape of this surface, beside what it has cost. */
export function refuseV0(reply: FastifyReply, status: number, code: string, message: string): FastifyReply {
  return send(reply, status, { error: { code, message } })
}

function send(reply: FastifyReply, status: number, body: object): FastifyReply {
  return reply.code(status).header("cache-control", "no-store").send(withPerformance(reply, body))
}

/** @param admitScrape lets a scraper in, or throws the refusal */
export function registerV0(
  app: FastifyInstance,
  status: Status,
  metrics: Metrics,
  admitScrape: (request: FastifyRequest) => Promise<void>,
): void {
  app.get("/v0/health", (_request, reply) => {
    const { sickness, version, uptimeMs } = status
    if (sickness !== null) return refuseV0(reply, 503, "unhealthy", sickness)
    return send(reply, 200, { status: "ok", version, uptime_ms: uptimeMs })
  })

  app.get("/v0/ready", (_request, reply) => {
    if (status.ready) return send(reply, 200, { status: "ready", wal_replay_complete: true, topics: 0 })
    reply.header("retry-after", RETRY_SECONDS)
    return send(reply, 503, { error: notReady(status) })
  })

  app.get("/v0/metrics", async (request, reply) => {
    await admitScrape(request)
    if (request.headers.accept?.includes("application/json") === true) {
      return send(reply, 200, metrics.topicsJson())
    }
    return reply
      .header("cache-control", "no-store")
      .type(TOPICS_METRICS_TYPE)
      .send(await metrics.topicsText())
  })
}

/** Why no traffic may be sent here; also the `error` of `/readyz`. */
export function notReady(status: Status): object {
  if (status.draining) return { code: "shutting_down", message: "the broker is being shut down" }
  if (status.dead !== null) return { code: "not_ready", message: status.dead }
  if (status.domainsReady) return { code: "not_ready", message: "the store does not take writes" }
  return {
    code: "not_ready",
    message: "the store is being loaded",
    detail: { replay_progress: status.loadProgress },
  }
}
