// Streams over HTTP: durable offsets, watermarks and sizes, joined with live append sessions (admin-api §10).
// Must never show an event's body without data:read.

import { z } from "zod"
import type { StreamResource, StreamStats } from "../domains/views/stream.ts"
import { granted } from "./api.ts"
import { diagnosed, diagnosis } from "./diagnostics.ts"
import { Refusal } from "./errors.ts"
import { type Call, type Route, route } from "./route.ts"
import { area, bytes, bytesOf, count, family, label, rate, resource, rounded } from "./schemas.ts"
import { placed, placeOf, RESOURCE, treeRoutes } from "./tree.ts"

const BODY_BYTES_MAX = 64 * 1024
const RECORDS_DEFAULT = 20
const RECORDS_MAX = 100

export const streamStats = z.strictObject({
  streams_active: count,
  events_total: count,
  events_by_realm: z.record(z.string(), count).meta({ example: { prod: 384_921 } }),
  operations_per_second: rate,
  operations_per_second_by_operation: z.strictObject({ append: rate, read: rate }),
})

export function shownStreamStats(stats: StreamStats): z.output<typeof streamStats> {
  const { append, read } = stats.operations.by
  return {
    streams_active: stats.streamsActive,
    events_total: stats.events,
    events_by_realm: stats.eventsByRealm,
    operations_per_second: rounded(stats.operations.all),
    operations_per_second_by_operation: { append: rounded(append), read: rounded(read) },
  }
}

const row = z.strictObject({
  resource,
  committed_event_count: count,
  size_bytes: count,
  sessions_active: count,
})

function shownRow({ resource, events, bytes, appendsActive }: StreamResource): z.output<typeof row> {
  return { resource, committed_event_count: events, size_bytes: bytes, sessions_active: appendsActive }
}

const detail = z.strictObject({
  realm: label,
  area,
  resource,
  offset: count.nullable(),
  watermark: count.nullable(),
  size_bytes: count,
  sessions_active: count,
  diagnostics: diagnosis.optional(),
})

const watermarks = z.strictObject({ watermarks: z.array(z.strictObject({ family, watermark: count })) })

async function watermarkPage({ operations, params, page }: Call) {
  const { total, rows } = granted(
    await operations.ask({
      domain: "stream",
      name: "watermarks",
      realm: params["realm"]!,
      area: params["area"] ?? null,
      page,
    }),
  )
  return { body: { watermarks: rows }, total }
}

const number = z
  .string()
  .regex(/^\d{1,15}$/, "a whole number")
  .transform(Number)

export const streamRoutes: readonly Route[] = [
  route({
    method: "GET",
    path: "stream/stats",
    permission: "read",
    about: "Stream numbers. Events are durable; rates and append sessions belong to this process.",
    realmFilter: true,
    family: "optional",
    snapshot: true,
    diagnostics: true,
    answers: { 200: streamStats.extend({ diagnostics: diagnosis.optional() }) },
    async handle({ operations, realm, family, diagnostics }) {
      const stats = granted(await operations.ask({ domain: "stream", name: "stats", realm, family }))
      const signs = { contention: stats.conflicts, rate: stats.operations.all }
      return { body: { ...shownStreamStats(stats), ...diagnosed(diagnostics, signs) } }
    },
  }),
  route({
    method: "GET",
    path: `stream/${RESOURCE}`,
    permission: "read",
    about: "One stream: what is committed is durable, sessions_active is live. Cursors belong to clients.",
    family: "optional",
    diagnostics: true,
    answers: { 200: detail },
    async handle(call) {
      const place = placeOf(call)
      const found = granted(await call.operations.ask({ domain: "stream", name: "resource", place }))
      if (found === null)
        throw new Refusal("not_found", "this stream has neither events nor an append session")
      return {
        body: {
          ...placed(place),
          offset: found.lastOffset,
          watermark: found.lastOffset,
          size_bytes: found.bytes,
          sessions_active: found.appendsActive,
          ...diagnosed(call.diagnostics, {}),
        } satisfies z.output<typeof detail>,
      }
    },
  }),
  route({
    method: "GET",
    path: "stream/realms/{realm}/watermarks",
    permission: "read",
    about: "Events committed in a realm, by family.",
    list: true,
    answers: { 200: watermarks },
    handle: watermarkPage,
  }),
  route({
    method: "GET",
    path: "stream/realms/{realm}/areas/{area}/watermarks",
    permission: "read",
    about: "Events committed in an area, by family.",
    list: true,
    answers: { 200: watermarks },
    handle: watermarkPage,
  }),
  route({
    method: "GET",
    path: `stream/${RESOURCE}/records`,
    permission: "data",
    about: "Stored events from an offset on, up to 100 and 1 MiB at a time; bodies are cut at 64 KiB.",
    family: "optional",
    query: z.object({
      from_offset: number.optional(),
      limit: number.refine(limit => limit > 0, "at least 1").optional(),
    }),
    answers: {
      200: z.strictObject({
        realm: label,
        area,
        resource,
        records: z.array(
          z.strictObject({
            family,
            resource_offset: count,
            created_at_ms: count,
            body: bytes,
            metadata: bytes.nullable(),
            truncated: z.boolean().meta({ example: false }),
          }),
        ),
        next_offset: count.nullable(),
      }),
    },
    async handle(call) {
      const { from_offset: from = 0, limit = RECORDS_DEFAULT } = call.query
      const place = placeOf(call)
      const { rows, more } = granted(
        await call.operations.ask({
          domain: "stream",
          name: "records",
          place,
          from,
          limit: Math.min(RECORDS_MAX, limit),
          bytesMax: BODY_BYTES_MAX,
        }),
      )
      const records = rows.map(({ family, offset, createdAtMs, body, bodyBytes, meta, metaBytes }) => ({
        family,
        resource_offset: offset,
        created_at_ms: createdAtMs,
        body: bytesOf(body, bodyBytes),
        metadata: meta === null ? null : bytesOf(meta, metaBytes),
        truncated: body.length < bodyBytes || (meta !== null && meta.length < metaBytes),
      }))
      const last = rows.at(-1)
      return {
        body: { ...placed(place), records, next_offset: more && last !== undefined ? last.offset + 1 : null },
      }
    },
  }),
  ...treeRoutes("stream", row, shownRow),
]
