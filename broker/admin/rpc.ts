// RPC over HTTP: workers and calls under way, all of it live memory and no backlog (admin-api §13).
// Must never show what a call carries.

import { z } from "zod"
import type { RpcResource, RpcStats } from "../domains/views/rpc.ts"
import { granted } from "./api.ts"
import { acknowledged, done } from "./command.ts"
import { diagnosed, diagnosis, type Signs } from "./diagnostics.ts"
import { type Route, route } from "./route.ts"
import {
  area,
  count,
  label,
  listed,
  rate,
  resource,
  rounded,
  secondsBetween,
  sessionId,
  sessionName,
  time,
  timeOf,
} from "./schemas.ts"
import { placed, placeOf, RESOURCE, treeRoutes } from "./tree.ts"

const correlation = z
  .string()
  .regex(/^[0-9a-f]{32}$/)
  .meta({ example: "0123456789abcdef0123456789abcdef" })
const rpcRoute = z.string().meta({ example: "rpc://prod/compute/tasks/heavy-task" })

export const rpcStats = z.strictObject({
  workers_registered: count,
  requests_pending: count,
  requests_completed_total: count,
  requests_timed_out_total: count,
  operations_per_second: rate,
  average_latency_ms: rate,
})

export function shownRpcStats(stats: RpcStats): z.output<typeof rpcStats> {
  return {
    workers_registered: stats.workers,
    requests_pending: stats.pending,
    requests_completed_total: stats.completed,
    requests_timed_out_total: stats.timedOut,
    operations_per_second: rounded(stats.operationsPerSecond),
    average_latency_ms: rounded(stats.averageLatencyMs),
  }
}

export function rpcSigns(stats: RpcStats, now: number): Signs {
  return {
    rate: stats.operationsPerSecond,
    starving: stats.waiting,
    workers: stats.workers,
    failures: stats.timedOut + stats.rejected,
    ageSeconds: stats.oldestPendingMs === null ? 0 : secondsBetween(stats.oldestPendingMs, now),
  }
}

const counts = z.strictObject({
  workers_registered: count,
  requests_pending: count,
  slowest_worker_average_latency_ms: rate.nullable(),
})

function countsOf({ workers, pending, slowestAverageMs }: RpcResource): z.output<typeof counts> {
  return {
    workers_registered: workers,
    requests_pending: pending,
    slowest_worker_average_latency_ms: slowestAverageMs === null ? null : rounded(slowestAverageMs),
  }
}

export const rpcRoutes: readonly Route[] = [
  route({
    method: "GET",
    path: "rpc/stats",
    permission: "read",
    about: "RPC numbers of this process.",
    realmFilter: true,
    family: "optional",
    snapshot: true,
    diagnostics: true,
    answers: { 200: rpcStats.extend({ diagnostics: diagnosis.optional() }) },
    async handle({ operations, realm, family, diagnostics }) {
      const stats = granted(await operations.ask({ domain: "rpc", name: "stats", realm, family }))
      return {
        body: { ...shownRpcStats(stats), ...diagnosed(diagnostics, rpcSigns(stats, operations.now())) },
      }
    },
  }),
  route({
    method: "GET",
    path: "rpc/workers",
    underAdmin: true,
    permission: "read",
    about: "Registered workers. They vanish with their sessions.",
    list: true,
    realmFilter: true,
    family: "optional",
    answers: {
      200: listed(
        "workers",
        z.strictObject({
          session_id: sessionId,
          realm: label,
          route: rpcRoute,
          registered_at: time,
          requests_handled: count,
          average_latency_ms: rate,
        }),
      ),
    },
    async handle({ operations, realm, family, page }) {
      const { total, rows } = granted(
        await operations.ask({ domain: "rpc", name: "workers", realm, family, page }),
      )
      const workers = rows.map(({ session, realm, route, registeredAtMs, handled, averageLatencyMs }) => ({
        session_id: sessionName(session),
        realm,
        route,
        registered_at: timeOf(registeredAtMs),
        requests_handled: handled,
        average_latency_ms: rounded(averageLatencyMs),
      }))
      return { body: { workers }, total }
    },
  }),
  route({
    method: "GET",
    path: "rpc/pending",
    underAdmin: true,
    permission: "read",
    about: "Calls under way, oldest first. A restart clears this list.",
    list: true,
    realmFilter: true,
    family: "optional",
    answers: {
      200: listed(
        "requests",
        z.strictObject({
          correlation_id: correlation,
          route: rpcRoute,
          submitted_at: time,
          age_seconds: count,
          worker_session_id: sessionId.nullable(),
        }),
      ),
    },
    async handle({ operations, realm, family, page }) {
      const { total, rows } = granted(
        await operations.ask({ domain: "rpc", name: "pending", realm, family, page }),
      )
      const requests = rows.map(({ correlation, route, submittedAtMs, worker }) => ({
        correlation_id: Buffer.from(correlation, "latin1").toString("hex"),
        route,
        submitted_at: timeOf(submittedAtMs),
        age_seconds: secondsBetween(submittedAtMs, operations.now()),
        worker_session_id: worker === null ? null : sessionName(worker),
      }))
      return { body: { requests }, total }
    },
  }),
  route({
    method: "POST",
    path: "rpc/requests/{correlation_id}/cancel",
    underAdmin: true,
    permission: "write",
    about: "Ends a call: its caller hears so at once, its worker's credit is free, a late answer is dropped.",
    family: "optional",
    confirm: "always",
    action: "rpc.request.cancel",
    answers: { 200: acknowledged("rpc.request.cancel", z.strictObject({ correlation_id: correlation })) },
    async handle({ operations, params, family }) {
      const correlation_id = params["correlation_id"]!.toLowerCase()
      const binary = Buffer.from(correlation_id, "hex").toString("latin1")
      granted(await operations.order({ domain: "rpc", name: "cancel", correlation: binary, family }))
      return done("rpc.request.cancel", { correlation_id })
    },
  }),
  route({
    method: "GET",
    path: `rpc/${RESOURCE}`,
    permission: "read",
    about: "Workers and calls at one resource, all its operations together.",
    family: "optional",
    diagnostics: true,
    answers: {
      200: z.strictObject({
        realm: label,
        area,
        resource,
        ...counts.shape,
        diagnostics: diagnosis.optional(),
      }),
    },
    async handle(call) {
      const place = placeOf(call)
      const found = granted(await call.operations.ask({ domain: "rpc", name: "resource", place }))
      const signs = { workers: found.workers, starving: found.workers === 0 ? found.pending : 0 }
      return { body: { ...placed(place), ...countsOf(found), ...diagnosed(call.diagnostics, signs) } }
    },
  }),
  ...treeRoutes("rpc", row(), found => ({ resource: found.resource, ...countsOf(found) })),
]

function row() {
  return z.strictObject({ resource, ...counts.shape })
}
