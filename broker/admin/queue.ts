// Queues over HTTP: what they hold, who works on what, dead letters and what is done with them
// (admin-api §12). Reservations are live; messages are durable.

import { z } from "zod"
import type { QueueCounts, QueueResource, QueueStats } from "../domains/views/queue.ts"
import { granted } from "./api.ts"
import { numberIn } from "./command.ts"
import { diagnosed, diagnosis, type Signs } from "./diagnostics.ts"
import { type Call, type Route, route } from "./route.ts"
import {
  area,
  count,
  family,
  id,
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

export const queueStats = z.strictObject({
  messages_pending: count,
  inflight_active: count,
  messages_ready: count,
  messages_delayed: count,
  messages_dead_lettered: count,
  inflight_expired_total: count,
  oldest_message_age_seconds: count,
  operations_per_second: rate,
  operations_per_second_by_operation: z.strictObject({ enqueue: rate, reserve: rate, complete: rate }),
})

export function shownQueueStats(stats: QueueStats, now: number): z.output<typeof queueStats> {
  const { enqueue, reserve, complete } = stats.operations.by
  return {
    messages_pending: stats.ready + stats.delayed,
    inflight_active: stats.inflight,
    messages_ready: stats.ready,
    messages_delayed: stats.delayed,
    messages_dead_lettered: stats.dead,
    inflight_expired_total: stats.expired,
    oldest_message_age_seconds: ageOf(stats, now),
    operations_per_second: rounded(stats.operations.all),
    operations_per_second_by_operation: {
      enqueue: rounded(enqueue),
      reserve: rounded(reserve),
      complete: rounded(complete),
    },
  }
}

function ageOf({ oldestMs }: QueueCounts, now: number): number {
  return oldestMs === null ? 0 : secondsBetween(oldestMs, now)
}

const counts = z.strictObject({
  messages_ready: count,
  messages_delayed: count,
  messages_inflight: count,
  messages_dead_lettered: count,
  messages_total: count,
  oldest_message_age_seconds: count,
})

function countsOf(queue: QueueCounts, now: number): z.output<typeof counts> {
  const { ready, delayed, inflight, dead } = queue
  return {
    messages_ready: ready,
    messages_delayed: delayed,
    messages_inflight: inflight,
    messages_dead_lettered: dead,
    messages_total: ready + delayed + inflight + dead,
    oldest_message_age_seconds: ageOf(queue, now),
  }
}

const row = z.strictObject({
  resource,
  ...counts.shape,
  family_count: count,
  in_rate_per_second: rate,
  out_rate_per_second: rate,
  status: z.enum(["idle", "draining", "backlogged", "falling_behind"]),
})

function shownRow(queue: QueueResource, { operations }: Call): z.output<typeof row> {
  const { resource, ready, inflight, families, inPerSecond, outPerSecond } = queue
  const status =
    ready === 0
      ? inflight === 0
        ? "idle"
        : "draining"
      : inPerSecond > outPerSecond
        ? "falling_behind"
        : outPerSecond > 0
          ? "draining"
          : "backlogged"
  return {
    resource,
    ...countsOf(queue, operations.now()),
    family_count: families,
    in_rate_per_second: rounded(inPerSecond),
    out_rate_per_second: rounded(outPerSecond),
    status,
  }
}

/** What a verdict on a queue is made of. */
export function queueSigns(queue: QueueCounts & { readonly waiting: number }, now: number): Signs {
  return {
    backlog: queue.ready,
    inflight: queue.inflight,
    dead: queue.dead,
    ageSeconds: ageOf(queue, now),
  }
}

const inflight = z.strictObject({
  message_id: id,
  family,
  realm: label,
  area,
  resource,
  inflight_token: z.string().meta({ example: "987654321" }),
  session_id: sessionId,
  expires_at: time,
  attempts: count,
})

const dead = z.strictObject({
  message_id: id,
  family,
  realm: label,
  area,
  resource,
  dead_lettered_at: time,
  attempts: count,
  reason: z.enum(["max_attempts_exceeded", "rejected", "expired", "undeliverable"]),
})

function letterRoute(method: "POST" | "DELETE", name: "replay" | "purge"): Route {
  return route({
    method,
    path: `queue/${RESOURCE}/dead-letters/{message_id}${name === "replay" ? "/replay" : ""}`,
    permission: "write",
    about:
      name === "replay"
        ? "Puts a dead letter back, ready, with no attempts on record. Durable."
        : "Deletes a dead letter for good.",
    family: "required",
    confirm: "strict",
    action: `queue.dead_letter.${name}`,
    answers: { 204: null },
    async handle(call) {
      const { realm, area, resource } = placeOf(call)
      granted(
        await call.operations.order({
          domain: "queue",
          name,
          family: call.family!,
          segments: [realm, area, resource],
          message: numberIn(call, "message_id"),
        }),
      )
      return { status: 204 }
    },
  })
}

export const queueRoutes: readonly Route[] = [
  route({
    method: "GET",
    path: "queue/stats",
    permission: "read",
    about: "Queue numbers. Messages are durable; reservations and rates belong to this process.",
    realmFilter: true,
    family: "optional",
    snapshot: true,
    diagnostics: true,
    answers: { 200: queueStats.extend({ diagnostics: diagnosis.optional() }) },
    async handle({ operations, realm, family, diagnostics }) {
      const stats = granted(await operations.ask({ domain: "queue", name: "stats", realm, family }))
      const now = operations.now()
      const { enqueue, complete } = stats.operations.by
      const signs = {
        ...queueSigns(stats, now),
        failures: stats.expired,
        inPerSecond: enqueue,
        outPerSecond: complete,
      }
      return { body: { ...shownQueueStats(stats, now), ...diagnosed(diagnostics, signs) } }
    },
  }),
  route({
    method: "GET",
    path: `queue/${RESOURCE}`,
    permission: "read",
    about: "What a queue holds now. Absence here is no proof that nothing is stored.",
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
      const found = granted(await call.operations.ask({ domain: "queue", name: "resource", place }))
      const now = call.operations.now()
      const signs = {
        ...queueSigns(found, now),
        inPerSecond: found.inPerSecond,
        outPerSecond: found.outPerSecond,
      }
      return { body: { ...placed(place), ...countsOf(found, now), ...diagnosed(call.diagnostics, signs) } }
    },
  }),
  route({
    method: "GET",
    path: `queue/${RESOURCE}/inflight`,
    permission: "read",
    about: "Reservations. Live: dropped on disconnect, void after expiry, gone after a restart.",
    list: true,
    family: "optional",
    answers: { 200: listed("inflight", inflight) },
    async handle(call) {
      const place = placeOf(call)
      const { total, rows } = granted(
        await call.operations.ask({ domain: "queue", name: "inflight", place, page: call.page }),
      )
      const shown = rows.map(({ id, family, token, session, expiresAtMs, attempts }) => ({
        message_id: id,
        family,
        ...placed(place),
        inflight_token: String(token),
        session_id: sessionName(session),
        expires_at: timeOf(expiresAtMs),
        attempts,
      }))
      return { body: { inflight: shown }, total }
    },
  }),
  route({
    method: "GET",
    path: `queue/${RESOURCE}/dead-letters`,
    permission: "read",
    about: "Dead letters, which are durable. Bodies are not shown.",
    list: true,
    family: "optional",
    // Every queue that holds anything is present, so there are no cold ones to include.
    query: z.object({ include: z.string().optional() }),
    answers: { 200: listed("messages", dead) },
    async handle(call) {
      const place = placeOf(call)
      const { total, rows } = granted(
        await call.operations.ask({ domain: "queue", name: "dead", place, page: call.page }),
      )
      const shown = rows.map(({ id, family, deadAtMs, attempts, reason }) => ({
        message_id: id,
        family,
        ...placed(place),
        dead_lettered_at: timeOf(deadAtMs),
        attempts,
        reason,
      }))
      return { body: { messages: shown }, total }
    },
  }),
  letterRoute("POST", "replay"),
  letterRoute("DELETE", "purge"),
  ...treeRoutes("queue", row, shownRow),
]
