// Schedules over HTTP: definitions and what became of them, written from outside and triggered by hand
// (admin-api §15, §17, §22).

import { z } from "zod"
import type { Execution, ScheduleResource, ScheduleRow, ScheduleStats } from "../domains/views/schedule.ts"
import { granted } from "./api.ts"
import { diagnosed, diagnosis } from "./diagnostics.ts"
import { Refusal } from "./errors.ts"
import { conditionOf, managedBy, managedByQuery, orNull } from "./realms.ts"
import { type Call, type Route, route } from "./route.ts"
import {
  area,
  count,
  etag,
  family,
  label,
  listed,
  rate,
  resource,
  rounded,
  text,
  time,
  timeOf,
  timeOrNull,
  yes,
} from "./schemas.ts"
import { listTag, notModified } from "./tags.ts"
import { placeOf, treeRoutes } from "./tree.ts"

const PATH = "schedule/realms/{realm}/areas/{area}/resources/{resource}/operations/{operation}"

const row = z.strictObject({
  schedule_id: z.string().meta({ example: "sch_MXxwcm9kL2pvYnMvY2xlYW51cC9ydW4" }),
  realm: label,
  area,
  resource,
  operation: text,
  family,
  cron: z.string().meta({ example: "0 2 * * *" }),
  next_run: time.nullable(),
  enabled: yes,
  executions_total: count,
  etag,
  managed_by: z.string().nullable().meta({ example: "k8s:default/cleanup" }),
  delivery_mode: z.enum(["broadcast", "single"]),
  payload_sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .meta({ example: "0".repeat(64) }),
})

/** Deterministic and safe in a path (admin-api D-23). */
function scheduleId(family: number, segments: readonly string[]): string {
  return `sch_${Buffer.from(`${family}|${segments.join("/")}`).toString("base64url")}`
}

/** The definition that an id names, or null where it names none. */
function parseScheduleId(id: string): { family: number | null; segments: readonly string[] } | null {
  const coded = id.startsWith("sch_") ? Buffer.from(id.slice(4), "base64url").toString("utf8") : null
  const mark = coded?.indexOf("|") ?? -1
  const family = coded === null ? null : Number(coded.slice(0, mark))
  const segments = (coded === null ? id : coded.slice(mark + 1)).split("/")
  if (segments.length !== 4 || segments.some(segment => segment === "")) return null
  if (family !== null && (mark < 1 || !Number.isSafeInteger(family) || family < 1)) return null
  return { family, segments }
}

function shown(schedule: ScheduleRow): z.output<typeof row> {
  const { family, segments, cron, nextMs, enabled, executions, etag, managedBy, single, payloadSha256 } =
    schedule
  const [realm, area, resource, operation] = segments as [string, string, string, string]
  return {
    schedule_id: scheduleId(family, segments),
    realm,
    area,
    resource,
    operation,
    family,
    cron,
    next_run: timeOrNull(nextMs),
    enabled,
    executions_total: executions,
    etag,
    managed_by: managedBy,
    delivery_mode: single ? "single" : "broadcast",
    payload_sha256: payloadSha256,
  }
}

const payloadMistake = (message: string) => ({ message, params: { code: "invalid_payload" } })
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

const definition = z
  .strictObject({
    cron: z.string().min(1).max(256),
    payload: z.string().nullish(),
    payload_text: z.string().nullish(),
    delivery_mode: z.enum(["broadcast", "single"]).optional(),
    enabled: z.boolean().optional(),
    managed_by: managedBy.nullish(),
  })
  .refine(
    ({ payload }) => payload === undefined || payload === null || BASE64.test(payload),
    payloadMistake("payload is not base64"),
  )
  .refine(
    body => body.payload === undefined || body.payload === null || (body.payload_text ?? null) === null,
    payloadMistake("payload and payload_text are two forms of one thing"),
  )

function payloadOf({ payload, payload_text }: z.output<typeof definition>): Uint8Array {
  if (payload !== undefined && payload !== null) return new Uint8Array(Buffer.from(payload, "base64"))
  return new TextEncoder().encode(payload_text ?? "")
}

function segmentsOf({ params }: Pick<Call, "params">): readonly string[] {
  return [params["realm"]!, params["area"]!, params["resource"]!, params["operation"]!]
}

const detail = z.strictObject({
  realm: label,
  area,
  resource,
  enabled: yes,
  cron: z.string().optional().meta({ example: "0 2 * * *" }),
  next_run: time.optional(),
  executions_total: count,
})

const execution = z.strictObject({
  schedule_id: text,
  realm: label,
  area,
  resource,
  operation: text,
  family,
  at: time,
  manual: yes,
  matched_subscriptions: count,
  accepted_handoffs: count,
})

function shownExecution({
  atMs,
  family,
  segments,
  manual,
  matched,
  accepted,
}: Execution): z.output<typeof execution> {
  const [realm, area, resource, operation] = segments as [string, string, string, string]
  return {
    schedule_id: scheduleId(family, segments),
    realm,
    area,
    resource,
    operation,
    family,
    at: timeOf(atMs),
    manual,
    matched_subscriptions: matched,
    accepted_handoffs: accepted,
  }
}

export const scheduleStats = z.strictObject({
  schedules_active: count,
  schedules_enabled: count,
  schedules_disabled: count,
  executions_per_minute: rate,
  executions_total: count,
})

export function shownScheduleStats(stats: ScheduleStats): z.output<typeof scheduleStats> {
  return {
    schedules_active: stats.enabled,
    schedules_enabled: stats.enabled,
    schedules_disabled: stats.disabled,
    executions_per_minute: rounded(stats.executionsPerMinute),
    executions_total: stats.executionsTotal,
  }
}

const treeRow = z.strictObject({
  resource,
  schedules_active: count,
  pending_claims: count,
  next_run: time.nullable(),
})

function shownRow({ resource, enabled, nextMs }: ScheduleResource): z.output<typeof treeRow> {
  // Occurrences are handed over within the turn in which they fall due: there are no claims to be pending.
  return { resource, schedules_active: enabled, pending_claims: 0, next_run: timeOrNull(nextMs) }
}

export const scheduleRoutes: readonly Route[] = [
  route({
    method: "GET",
    path: "schedule/stats",
    permission: "read",
    about: "Schedule numbers. Definitions are durable; executions are counted by this process.",
    realmFilter: true,
    family: "optional",
    snapshot: true,
    diagnostics: true,
    answers: { 200: scheduleStats.extend({ diagnostics: diagnosis.optional() }) },
    async handle({ operations, realm, family, diagnostics }) {
      const stats = granted(await operations.ask({ domain: "schedule", name: "stats", realm, family }))
      const signs = { rate: stats.executionsPerMinute / 60 }
      return { body: { ...shownScheduleStats(stats), ...diagnosed(diagnostics, signs) } }
    },
  }),
  route({
    method: "GET",
    path: "schedule/schedules",
    underAdmin: true,
    permission: "read",
    about: "Schedule definitions. They are durable; executions are counted by this process.",
    list: true,
    realmFilter: true,
    family: "optional",
    query: managedByQuery,
    answers: { 200: listed("schedules", row), 304: null },
    async handle({ operations, realm, family, page, query, ifNoneMatch }) {
      const managedBy = orNull(query.managed_by)
      const { total, rows } = granted(
        await operations.ask({ domain: "schedule", name: "list", realm, family, managedBy, page }),
      )
      const tag = listTag([total, rows.map(one => [one.family, one.segments, one.etag])])
      return (
        notModified(ifNoneMatch, tag) ?? {
          body: { schedules: rows.map(shown) },
          total,
          headers: { etag: tag },
        }
      )
    },
  }),
  route({
    method: "GET",
    path: PATH,
    permission: "read",
    about: "One definition.",
    family: "required",
    answers: { 200: row, 304: null },
    async handle(call) {
      const place = { family: call.family, segments: segmentsOf(call) }
      const found = granted(await call.operations.ask({ domain: "schedule", name: "definition", place }))
      if (found === null) throw new Refusal("not_found", "there is no such definition")
      return (
        notModified(call.ifNoneMatch, found.etag) ?? { body: shown(found), headers: { etag: found.etag } }
      )
    },
  }),
  route({
    method: "PUT",
    path: PATH,
    permission: "write",
    about: "Stores a definition or replaces it.",
    family: "required",
    body: definition,
    action: "schedule.define",
    answers: { 200: row, 201: row },
    async handle(call) {
      const { body } = call
      const { created, row: stored } = granted(
        await call.operations.order({
          domain: "schedule",
          name: "define",
          family: call.family!,
          segments: segmentsOf(call),
          cron: body.cron,
          single: body.delivery_mode === "single",
          enabled: body.enabled ?? true,
          managedBy: orNull(body.managed_by),
          payload: payloadOf(body),
          condition: conditionOf(call),
        }),
      )
      return { status: created ? 201 : 200, body: shown(stored), headers: { etag: stored.etag } }
    },
  }),
  route({
    method: "DELETE",
    path: PATH,
    permission: "write",
    about: "Removes a definition.",
    family: "required",
    confirm: "always",
    action: "schedule.remove",
    answers: { 204: null },
    async handle(call) {
      granted(
        await call.operations.order({
          domain: "schedule",
          name: "remove",
          family: call.family!,
          segments: segmentsOf(call),
          condition: conditionOf(call),
        }),
      )
      return { status: 204 }
    },
  }),
  route({
    method: "GET",
    path: "schedule/realms/{realm}/areas/{area}/resources/{resource}",
    permission: "read",
    about: "The definitions of a resource together. Counts are of this process; definitions are durable.",
    family: "optional",
    answers: { 200: detail },
    async handle(call) {
      const place = placeOf(call)
      const found = granted(await call.operations.ask({ domain: "schedule", name: "resource", place }))
      if (found === null) throw new Refusal("not_found", "there is no definition under this resource")
      const { realm, area, resource } = place
      return {
        body: {
          realm,
          area,
          resource,
          enabled: found.enabled > 0,
          ...(found.cron === null ? {} : { cron: found.cron }),
          ...(found.nextMs === null ? {} : { next_run: timeOf(found.nextMs) }),
          executions_total: found.executions,
        } satisfies z.output<typeof detail>,
      }
    },
  }),
  route({
    method: "GET",
    path: "schedule/realms/{realm}/areas/{area}/resources/{resource}/executions",
    permission: "read",
    about: "The last occurrences of a resource in this process, newest first.",
    list: true,
    family: "optional",
    answers: { 200: listed("executions", execution) },
    async handle(call) {
      const { operations, page } = call
      const { total, rows } = granted(
        await operations.ask({
          domain: "schedule",
          name: "executions",
          place: placeOf(call),
          realm: null,
          missed: false,
          page,
        }),
      )
      return { body: { executions: rows.map(shownExecution) }, total }
    },
  }),
  route({
    method: "GET",
    path: "schedule/missed",
    permission: "read",
    about: "The last occurrences that reached nobody, newest first.",
    list: true,
    realmFilter: true,
    answers: { 200: listed("executions", execution) },
    async handle({ operations, realm, page }) {
      const { total, rows } = granted(
        await operations.ask({
          domain: "schedule",
          name: "executions",
          place: null,
          realm,
          missed: true,
          page,
        }),
      )
      return { body: { executions: rows.map(shownExecution) }, total }
    },
  }),
  route({
    method: "POST",
    path: "schedule/schedules/{schedule_id}/trigger",
    underAdmin: true,
    permission: "write",
    about: "Hands the stored payload to whoever listens now. Cron, next run and claims stay as they are.",
    family: "optional",
    confirm: "always",
    action: "schedule.trigger",
    answers: {
      200: z.strictObject({
        status: z.literal("ok"),
        action: z.literal("schedule.trigger"),
        target: z.strictObject({ schedule_id: text, family }),
        delivered: count,
        route_family: family,
        route: z.string().meta({ example: "schedule://prod/jobs/cleanup/run" }),
        delivery_mode: z.enum(["broadcast", "single"]),
        triggered_at: time,
        outcome: z.enum(["handoff_accepted", "no_live_subscriptions", "no_handoff_accepted"]),
        matched_subscriptions: count,
        attempted_handoffs: count,
        accepted_handoffs: count,
      }),
    },
    async handle({ operations, params, family }) {
      const named = parseScheduleId(params["schedule_id"]!)
      if (named === null) throw new Refusal("invalid_parameter", "schedule_id names no schedule")
      const place = { segments: named.segments, family: family ?? named.family }
      const {
        row: schedule,
        matched,
        accepted,
      } = granted(await operations.order({ domain: "schedule", name: "trigger", place }))
      return {
        body: {
          status: "ok",
          action: "schedule.trigger",
          target: { schedule_id: scheduleId(schedule.family, schedule.segments), family: schedule.family },
          delivered: accepted,
          route_family: schedule.family,
          route: `schedule://${schedule.segments.join("/")}`,
          delivery_mode: schedule.single ? "single" : "broadcast",
          triggered_at: timeOf(operations.now()),
          outcome:
            matched === 0
              ? "no_live_subscriptions"
              : accepted === 0
                ? "no_handoff_accepted"
                : "handoff_accepted",
          matched_subscriptions: matched,
          attempted_handoffs: accepted,
          accepted_handoffs: accepted,
        },
      }
    },
  }),
  ...treeRoutes("schedule", treeRow, shownRow),
]
