// Probes: liveness, readiness, startup, and one for places without Kubernetes (docs/decisions/0003-probes.md).
// No credentials, no limits, no question to anybody: they read flags.

import type { FastifyInstance, FastifyReply } from "fastify"
import type { Status } from "../engine/status.ts"
import { notReady } from "./v0.ts"

export const PROBES = [
  "/healthz",
  "/livez",
  "/readyz",
  "/startupz",
  "/health",
  "/targetz",
  "/v0/health",
  "/v0/ready",
]

function answer(reply: FastifyReply, healthy: boolean, body: object): FastifyReply {
  return reply
    .code(healthy ? 200 : 503)
    .header("cache-control", "no-store")
    .send(body)
}

export function registerProbes(app: FastifyInstance, status: Status): void {
  for (const path of ["/healthz", "/livez"]) {
    app.get(path, (_request, reply) => {
      const { sickness, version, uptimeMs } = status
      if (sickness !== null) return answer(reply, false, { status: "unhealthy", reason: sickness })
      return answer(reply, true, { status: "ok", version, uptime_ms: uptimeMs })
    })
  }

  // For a hand-over between two brokers: whether this one is, or may become, the target (admin-api §23, B2).
  app.get("/targetz", (_request, reply) => {
    const { listening, draining, domainsReady, dead } = status
    const ok = (good: boolean): string => (good ? "ok" : "not_ready")
    const target = !draining && dead === null
    return answer(reply, target, {
      status: target ? "ok" : "not_ready",
      checks: {
        http_listener: ok(listening),
        accepting_target_traffic: ok(status.open),
        data_plane_ready: ok(status.ready),
        storage_writer_lease: ok(domainsReady),
      },
    })
  })

  app.get("/readyz", (_request, reply) => {
    const checks = {
      storage: status.storageWritable ? "ok" : "not_ready",
      domains_initialized: status.domainsReady && status.dead === null ? "ok" : "not_ready",
    }
    if (status.ready) {
      return answer(reply, true, { status: "ready", checks, wal_replay_complete: true, topics: 0 })
    }
    reply.header("retry-after", "1")
    return answer(reply, false, {
      status: "not_ready",
      checks: {
        ...checks,
        ...(status.listening ? {} : { listeners: "not_ready" }),
        ...(status.draining ? { accepting_traffic: "draining" } : {}),
      },
      error: notReady(status),
    })
  })

  app.get("/startupz", (_request, reply) => {
    const { startupMs } = status
    if (startupMs === null) return answer(reply, false, { status: "starting" })
    return answer(reply, true, { status: "started", startup_time_seconds: startupMs / 1_000 })
  })

  app.get("/health", (_request, reply) => {
    const healthy = status.sickness === null && status.ready
    const uptime_seconds = Math.floor(status.uptimeMs / 1_000)
    return answer(reply, healthy, {
      status: healthy ? "healthy" : "degraded",
      uptime_seconds,
      version: status.version,
    })
  })
}
