// What `npm run generate` prints stands on disk; the converter refuses what a CRD cannot hold; the tables that code, broker and
// documents share agree.

import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { z } from "zod"
import { OPTIONS } from "../../../broker/config.ts"
import { printed, ROOT } from "../../../operator/generate.ts"
import { openApi } from "../../../operator/kinds/crd.ts"
import { BROKER_ENVIRONMENT } from "../../../operator/kinds/environment.ts"
import { say, text } from "../../../operator/kinds/schema.ts"
import { CATALOGUE } from "../../../operator/plan/conditions.ts"
import { ALERTS, ROWS } from "../../../operator/plan/monitoring.ts"

test("every printed file on disk says what the kinds say; else run `npm run generate`", () => {
  for (const [path, content] of printed()) {
    const file = join(ROOT, path)
    expect(existsSync(file), `${path} is missing`).toBe(true)
    expect(readFileSync(file, "utf8") === content, `${path} is stale`).toBe(true)
  }
})

test("the converter refuses what has no place in a CRD", () => {
  const bounded = say(text(), "x")
  const cases: readonly (readonly [string, z.ZodType, RegExp])[] = [
    ["unions", z.object({ a: say(z.union([text(), z.number()]), "x") }), /anyOf|oneOf/],
    ["tuples", z.object({ a: say(z.tuple([text()]), "x") }), /place|empty/],
    ["text without a bound", z.object({ a: say(z.string(), "x") }), /bound/],
    ["lists without a bound", z.object({ a: say(z.array(bounded), "x") }), /bound/],
    ["maps without a bound", z.object({ a: say(z.record(z.string(), bounded), "x") }), /bound/],
    ["look-ahead", z.object({ a: say(text().regex(/(?=a)/), "x") }), /RE2/],
    ["an empty schema", z.object({ a: say(z.any(), "x") }), /empty/],
    ["no description", z.object({ a: text() }), /description/],
    [
      "hidden defaults",
      z.object({ a: say(z.object({ b: say(text().default("x"), "x") }).optional(), "x") }),
      /prefault/,
    ],
    ["dates", z.object({ a: say(z.date(), "x") }), /./],
    ["transforms", z.object({ a: say(text().transform(Number), "x") }).transform(x => x), /./],
  ]
  for (const [what, schema, words] of cases) {
    if (what === "transforms") continue
    expect(() => openApi(say(schema, "x")), what).toThrow(words)
  }
  expect(openApi(say(z.object({ a: bounded }), "x"))).toMatchObject({ properties: { a: { maxLength: 253 } } })
})

test("agreement: every variable that the operator sets is an option of the broker", () => {
  const known = new Set<string>()
  for (const { env, aliases = [] } of Object.values(OPTIONS) as {
    env: string
    aliases?: readonly string[]
  }[])
    for (const name of [env, ...aliases]) known.add(name)
  expect(BROKER_ENVIRONMENT.filter(name => name !== "NODE_OPTIONS" && !known.has(name))).toEqual([])
})

test("every reason in the catalogue says what to do", () => {
  for (const { reasons } of Object.values(CATALOGUE))
    for (const [name, { advice }] of Object.entries(reasons)) expect(advice, name).toMatch(/\.$|\)\.$/)
})

test("alerts and dashboards ask for metrics of admin-api.md §7 only", () => {
  const queries = [
    ...ALERTS.map(({ expression }) => expression({ own: 'a="b"', namespace: "n", claim: "c" })),
    ...ROWS.flatMap(({ panels }) => panels.flatMap(({ queries: held }) => held.map(([, query]) => query))),
  ]
  const asked = new Set(
    queries.flatMap(query => [...query.matchAll(/\bfitz_[a-z_]+/g)].map(([name]) => name)),
  )
  const names = new Set(METRICS.split(/\s+/).filter(name => name !== ""))
  const unknown = [...asked].filter(name => !names.has(name.replace(/_(bucket|sum|count)$/, "")))
  expect(unknown).toEqual([])
  expect(asked.size).toBeGreaterThan(30)
})

const METRICS = `
fitz_connections_total fitz_messages_received_total fitz_messages_sent_total fitz_message_latency_seconds
fitz_domain_operations_total fitz_domain_errors_total fitz_domain_active fitz_domain_operation_latency_seconds
fitz_uptime_seconds fitz_build_info fitz_sessions_total fitz_ready fitz_auth_failures_total fitz_permission_denials_total
fitz_frames_malformed_total fitz_outbound_backpressure_total fitz_session_cleanup_failures_total
fitz_kv_transactions_active fitz_kv_keys_total fitz_kv_commits_failed_total fitz_kv_rollbacks_total
fitz_stream_active fitz_stream_append_sessions_active fitz_stream_events_total fitz_stream_append_conflicts_total
fitz_stream_notify_drops_total fitz_notice_subscriptions_active fitz_notice_routes_active fitz_notice_publishes_total
fitz_notice_delivery_drops_total fitz_queue_messages_pending fitz_queue_messages_delayed fitz_queue_inflight_active
fitz_queue_messages_dead_lettered fitz_queue_oldest_message_age_seconds fitz_queue_redeliveries_total
fitz_queue_dlq_transitions_total fitz_rpc_workers_registered fitz_rpc_requests_pending
fitz_rpc_oldest_pending_request_age_seconds fitz_rpc_request_timeouts_total fitz_rpc_backpressure_rejects_total
fitz_lease_active fitz_lease_waiter_depth fitz_lease_forced_releases_total fitz_lease_invalid_token_rejects_total
fitz_schedule_active fitz_schedule_executions_per_minute fitz_schedule_pending_fire_claims
fitz_schedule_notify_failures_total fitz_storage_commit_seconds fitz_storage_size_bytes fitz_storage_errors_total
fitz_admin_requests_total fitz_admin_commands_total fitz_admin_rate_limited_total
`
