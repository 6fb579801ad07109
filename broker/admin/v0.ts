// The `/v0` face of probes and metrics, in the exact shapes of the second document (docs/PROTOCOL.md, H-*).
// Every JSON answer ends with `performance`. No topics are served here yet.

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify"
import type { Status } from "../engine/status.ts"
import type { Metrics } from "./metrics.ts"
import { withPerformance } from "./performance.ts"

/** How long a caller should wait before it asks again. */
const RETRY_SECONDS = "1"
/** Without the charset that the other page of metrics names: so the second document has it. */
const TOPICS_METRICS_TYPE = "text/plain; version=0.0.4"

function send(request: FastifyRequest, reply: FastifyReply, status: number, body: object): FastifyReply {
  return reply
    .code(status)
    .header("cache-control", "no-store")
    .send(withPerformance(request, reply, body))
}

export function registerV0(app: FastifyInstance, status: Status, metrics: Metrics): void {
  app.get("/v0/health", (request, reply) => {
    const { sickness, version, uptimeMs } = status
    if (sickness !== null) {
      const error = { code: "unhealthy", message: sickness }
      return send(request, reply, 503, { error })
    }
    return send(request, reply, 200, { status: "ok", version, uptime_ms: uptimeMs })
  })

  app.get("/v0/ready", (request, reply) => {
    if (status.ready) {
      return send(request, reply, 200, { status: "ready", wal_replay_complete: true, topics: 0 })
    }
    reply.header("retry-after", RETRY_SECONDS)
    return send(request, reply, 503, { error: notReady(status) })
  })

  app.get("/v0/metrics", async (request, reply) => {
    if (request.headers.accept?.includes("application/json") === true) {
      return send(request, reply, 200, metrics.topicsJson())
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
  if (status.domainsReady) return { code: "not_ready", message: "the store does not take writes" }
  return {
    code: "not_ready",
    message: "the store is being loaded",
    detail: { replay_progress: status.loadProgress },
  }
}
