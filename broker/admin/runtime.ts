// The process over HTTP: sources of trust, draining, the audit, the description of this API (admin-api §0,
// §23 B3 and B24).

import { z } from "zod"
import { type Route, route } from "./route.ts"
import { count, listed, preciseTime, sessionId, text, time, timeOf, timeOrNull, yes } from "./schemas.ts"

const trust = z.strictObject({
  storage_id: z.string().meta({ example: "0123456789abcdef0123456789abcdef" }),
  sources: z.array(
    z.strictObject({
      source: z.enum(["generated", "clients", "api_keys"]),
      kind: text,
      loaded_at: time,
      error: z.string().nullable().meta({ example: null }),
      keys: z.array(z.strictObject({ kid: text, alg: text, last_verified_at: time.nullable() })),
    }),
  ),
})

const drained = z.strictObject({
  lifecycle_state: z.enum(["running", "draining", "shutting_down"]),
  active_sessions: count,
  drain_grace_seconds: count,
  drain_started_epoch_ms: count.optional(),
  drain_deadline_epoch_ms: count.optional(),
  close_reason: z.string().meta({ example: "draining" }),
})

const record = z.strictObject({
  ts: preciseTime,
  audit: z.literal(true),
  request_id: text,
  user: text,
  auth_method: z.enum(["jwt", "api_key", "open"]),
  action: z.string().meta({ example: "session.close" }),
  target: z.record(z.string(), z.unknown()).meta({ example: { session_id: sessionId.meta()?.["example"] } }),
  confirmed: yes,
  outcome: z.enum(["ok", "not_found", "denied", "invalid", "rate_limited", "error"]),
  status: z.int().min(200).max(599).meta({ example: 200 }),
  path: text,
  canonical_path: text,
  remote_addr: z.string().meta({ example: "192.0.2.1:50000" }),
  reason: text.optional(),
})

const samples = z.strictObject({
  scope: z.literal("broker"),
  generated_at: time,
  samples: z.array(
    z.strictObject({
      name: z.string().meta({ example: "fitz_queue_messages_pending" }),
      kind: z.enum(["counter", "gauge", "histogram", "summary"]),
      help: text,
      labels: z.record(z.string(), z.string()).meta({ example: {} }),
      value: z.number().meta({ example: 3 }),
    }),
  ),
})

export const runtimeRoutes: readonly Route[] = [
  route({
    method: "GET",
    path: "metrics",
    permission: "metrics",
    about: "The metrics as data: one row for each sample of /metrics.",
    answers: { 200: samples },
    async handle({ operations }) {
      const rows = await operations.samples()
      return { body: { scope: "broker", generated_at: timeOf(operations.now()), samples: rows } }
    },
  }),
  route({
    method: "GET",
    path: "runtime/auth",
    permission: "read",
    about: "Where trust comes from, and which keys are in use. Never key material.",
    answers: { 200: trust },
    handle({ operations }) {
      const sources = operations.trustSources().map(({ source, kind, loadedAtMs, error, keys }) => ({
        source,
        kind,
        loaded_at: timeOf(loadedAtMs),
        error,
        keys: keys.map(({ kid, alg, lastVerifiedMs }) => ({
          kid,
          alg,
          last_verified_at: timeOrNull(lastVerifiedMs),
        })),
      }))
      return { body: { storage_id: operations.storageId, sources } satisfies z.output<typeof trust> }
    },
  }),
  route({
    method: "POST",
    path: "runtime/drain",
    permission: "write",
    about: "Sends programs away in good order. The process stays and answers until it is told to end.",
    confirm: "always",
    action: "runtime.drain",
    answers: { 200: drained },
    handle({ operations }) {
      operations.drain()
      const { state, sessions, graceSeconds, startedMs, deadlineMs } = operations.drainState()
      return {
        body: {
          lifecycle_state: state,
          active_sessions: sessions,
          drain_grace_seconds: graceSeconds,
          ...(startedMs === null ? {} : { drain_started_epoch_ms: startedMs }),
          ...(deadlineMs === null ? {} : { drain_deadline_epoch_ms: deadlineMs }),
          close_reason: "draining",
        } satisfies z.output<typeof drained>,
      }
    },
  }),
  route({
    method: "GET",
    path: "audit",
    permission: "read",
    about: "The newest audit records of this process, newest first.",
    list: true,
    answers: { 200: listed("records", record) },
    handle({ operations, page }) {
      const { total, rows } = operations.audit(page)
      return { body: { records: rows }, total }
    },
  }),
  route({
    method: "GET",
    path: "openapi.json",
    permission: "read",
    about: "This API as an OpenAPI 3.1 document.",
    answers: { 200: z.looseObject({ openapi: z.literal("3.1.0") }) },
    handle: ({ operations }) => ({ body: operations.openApi() }),
  }),
]
