// Commands on live state: what each does, what the connected program sees, that nothing happens without a
// confirmation, and that each leaves exactly one audit record.

import { readFileSync, renameSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { type AdminBroker, mint, startAdmin } from "../kit/admin.ts"
import { Brake } from "../kit/brake.ts"
import { openCaller } from "../kit/caller.ts"
import { newFolder } from "../kit/process.ts"

let broker: AdminBroker
let auditFile = ""

beforeAll(async () => {
  broker = await startAdmin({
    FITZ_QUEUE_MAX_ATTEMPTS: "1",
    FITZ_ROUTE_FAMILIES: "1,2",
    FITZ_ROUTE_FAMILY_MAP: "dev=1,two=2",
  })
  auditFile = join(broker.folder, "audit.log")
})
afterAll(() => broker.end())

const newest = async () => (await broker.get("audit?limit=1")).records[0]

test("AD-11, AD-13: a rollback ends the transaction, frees the lock, and discards what was written", async () => {
  const caller = await broker.caller()
  const route = "kv://cmd/a/b"
  const tx = await caller.kv.begin(route, "write")
  await caller.kv.put(tx, route, "k", "v")
  const { transactions } = await broker.get("kv/realms/cmd/areas/a/resources/b/transactions")
  expect(transactions).toMatchObject([{ tx_id: tx, mode: "ReadWrite", operations_count: 1, realm: "cmd" }])
  expect(await broker.get("kv/realms/cmd/areas/a/resources/b")).toEqual({
    realm: "cmd",
    area: "a",
    resource: "b",
    transactions_active: 1,
  })
  for (const confirm of [undefined, "yes", "1"]) {
    const refused = await broker.ask(`/api/v1/admin/kv/transactions/${tx}/rollback`, {
      method: "POST",
      headers: confirm === undefined ? {} : { "x-confirm": confirm },
    })
    expect([refused.status, refused.body.code]).toEqual([400, "confirmation_required"])
  }
  await caller.kv.get(tx, route, "k")
  const done = await broker.ask(`/admin/kv/transactions/${tx}/rollback`, {
    method: "POST",
    headers: { "x-confirm": " TRUE ", "x-reason": "stuck" },
  })
  expect([done.status, done.body]).toEqual([
    200,
    { status: "ok", action: "kv.transaction.rollback", target: { tx_id: tx } },
  ])
  expect(await newest()).toMatchObject({
    user: "tester",
    auth_method: "jwt",
    action: "kv.transaction.rollback",
    target: { tx_id: String(tx) },
    confirmed: true,
    outcome: "ok",
    status: 200,
    path: `/admin/kv/transactions/${tx}/rollback`,
    canonical_path: `/api/v1/admin/kv/transactions/${tx}/rollback`,
    reason: "stuck",
  })
  await expect(caller.kv.get(tx, route, "k")).rejects.toThrow(/transaction not found/)
  const next = await caller.kv.begin(route, "write")
  expect(await caller.kv.get(next, route, "k")).toBeNull()
  expect((await broker.post(`admin/kv/transactions/${tx}/rollback`)).status).toBe(404)
  await caller.close()
  await broker.until("admin/kv/transactions", body => body.transactions.length === 0)
  expect((await broker.post(`admin/kv/transactions/${next}/rollback`)).status).toBe(404)
})

test("AD-14: a cancelled subscription hears nothing more, and unsubscribing it is harmless", async () => {
  const caller = await broker.caller()
  const id = await caller.notice.subscribe("notice://cmd/a/*")
  await caller.notice.subscribe("notice://cmd/end")
  await caller.notice.publish("notice://cmd/a/x", "1")
  await caller.notice.next()
  const [row] = (await broker.get("admin/notice/subscriptions?route_pattern=notice://cmd/a/*")).subscriptions
  expect(row).toMatchObject({ subscription_id: id, notifications_received: 1, pattern: "notice://cmd/a/*" })
  expect((await broker.post(`admin/notice/subscriptions/${id}/cancel`)).status).toBe(200)
  await caller.notice.publish("notice://cmd/a/x", "2")
  await caller.notice.publish("notice://cmd/end", "end")
  expect((await caller.notice.next()).body.toString()).toBe("end")
  await caller.notice.unsubscribe(id)
  expect((await broker.post(`admin/notice/subscriptions/${id}/cancel`)).status).toBe(404)
  const { routes } = await broker.get("admin/notice/routes?realm=cmd")
  expect(routes).toMatchObject([
    { route: "notice://cmd/a/x", publishes_total: 2, subscribers: 0, publishes_per_minute: 2 },
    { route: "notice://cmd/end", publishes_total: 1, subscribers: 1 },
  ])
  await caller.close()
  await broker.until("admin/notice/subscriptions", body => body.subscriptions.length === 0)
})

test("AD-15: a cancelled call ends at once with 6010, its worker is free, a late answer is dropped", async () => {
  const worker = await broker.caller()
  const caller = await broker.caller()
  await worker.rpc.register("rpc://cmd/a/b/op", 1)
  const [first, second] = [Buffer.alloc(16, 1), Buffer.alloc(16, 2)]
  await caller.rpc.call(first, "rpc://cmd/a/b/op", "1")
  await worker.rpc.take()
  await caller.rpc.call(second, "rpc://cmd/a/b/op", "2")
  const { requests } = await broker.until("admin/rpc/pending", body => body.requests.length === 2)
  expect(requests).toMatchObject([
    {
      correlation_id: "01".repeat(16),
      route: "rpc://cmd/a/b/op",
      worker_session_id: expect.stringMatching(/^sess_\d+$/),
    },
    { correlation_id: "02".repeat(16), worker_session_id: null },
  ])
  expect((await broker.post(`admin/rpc/requests/${"01".repeat(16)}/cancel`)).status).toBe(200)
  const ended = await caller.rpc.answer()
  expect(ended.fault).toMatchObject({ code: 6010, text: expect.stringContaining("cancelled") })
  const next = await worker.rpc.take()
  expect(next.body.toString()).toBe("2")
  await worker.rpc.reply(first, 0, true, "late")
  await worker.rpc.reply(second, 0, true, "done")
  expect((await caller.rpc.answer()).body.toString()).toBe("done")
  expect((await broker.get("admin/rpc/pending")).requests).toEqual([])
  expect((await broker.post(`admin/rpc/requests/${"01".repeat(16)}/cancel`)).status).toBe(404)
  expect((await broker.post("admin/rpc/requests/xyz/cancel")).status).toBe(400)
  const [row] = (await broker.get("admin/rpc/workers?realm=cmd")).workers
  expect(row).toMatchObject({ route: "rpc://cmd/a/b/op", requests_handled: 1, realm: "cmd" })
  await worker.close()
  await broker.until("admin/rpc/workers", body => body.workers.length === 0)
})

test("AD-16: a forced release grants the next waiter with a higher token; the old owner gets 5002", async () => {
  const [owner, waiter] = [await broker.caller(), await broker.caller()]
  const route = "lease://cmd/a/b"
  const held = await owner.lease.acquire(route, 600)
  await waiter.lease.acquire(route, 600, 30)
  await owner.lease.renew(route, held.token, 600)
  const [row] = (await broker.get("admin/lease/leases?realm=cmd")).leases
  expect(row).toMatchObject({ fencing_token: held.token, renewals: 1, area: "a", resource: "b" })
  const released = await broker.post(`admin/lease/leases/${row.lease_id}/release`)
  expect([released.status, released.body.target.lease_id]).toEqual([200, row.lease_id])
  const granted = await waiter.lease.granted()
  expect(granted.token).toBeGreaterThan(held.token)
  await expect(owner.lease.renew(route, held.token, 600)).rejects.toMatchObject({ code: 5002 })
  await expect(owner.lease.release(route, held.token)).rejects.toMatchObject({ code: 5002 })
  expect((await broker.post(`admin/lease/leases/${row.lease_id}/release`)).status).toBe(404)
  const two = await broker.caller({ tid: "two" })
  await two.lease.acquire(route, 600)
  const path = encodeURIComponent("cmd/a/b")
  const ambiguous = await broker.post(`admin/lease/leases/${path}/release`)
  expect([ambiguous.status, ambiguous.body.code]).toEqual([409, "ambiguous_target"])
  expect((await broker.post(`admin/lease/leases/${path}/release?family=2`)).status).toBe(200)
  expect((await broker.post(`admin/lease/leases/${path}/release`)).status).toBe(200)
  expect((await broker.get("admin/lease/leases?realm=cmd")).leases).toEqual([])
})

test("AD-17: a trigger hands the payload over once and leaves the next run alone", async () => {
  const path = "schedule/realms/cmd/areas/a/resources/b"
  await broker.put(`${path}/operations/one?family=1`, { cron: "0 0 1 1 *", payload_text: "now" })
  const before = await broker.get(path)
  expect(before).toMatchObject({ enabled: true, cron: "0 0 1 1 *", executions_total: 0 })
  const [row] = (await broker.get("admin/schedule/schedules?realm=cmd")).schedules
  const none = await broker.post(`admin/schedule/schedules/${row.schedule_id}/trigger`)
  expect(none.body).toMatchObject({ delivered: 0, outcome: "no_live_subscriptions" })
  const caller = await broker.caller()
  await caller.schedule.subscribe("schedule://cmd/**")
  const some = await broker.post(`admin/schedule/schedules/${encodeURIComponent("cmd/a/b/one")}/trigger`)
  expect(some.body).toMatchObject({ delivered: 1, outcome: "handoff_accepted", matched_subscriptions: 1 })
  expect((await caller.schedule.next()).payload.toString()).toBe("now")
  expect(await broker.get(path)).toEqual(before)
  await broker.put(`${path}/operations/two?family=1`, { cron: "0 0 2 1 *" })
  const two = await broker.get(path)
  expect(two).not.toHaveProperty("cron")
  expect(two.next_run).toBe(before.next_run)
  expect((await broker.get(`${path}/executions`)).executions).toMatchObject([
    { manual: true, accepted_handoffs: 1 },
    { manual: true, accepted_handoffs: 0 },
  ])
  expect((await broker.post("admin/schedule/schedules/sch_bm90aGluZw/trigger")).status).toBe(400)
  const gone = `sch_${Buffer.from("1|cmd/a/b/gone").toString("base64url")}`
  expect((await broker.post(`admin/schedule/schedules/${gone}/trigger`)).status).toBe(404)
})

test("AD-18: a close ends the connection and all seven domains forget what was its own", async () => {
  const other = await broker.caller()
  const caller = await broker.caller({ sub: "victim" }, "ws")
  await caller.kv.begin("kv://close/a/b", "write")
  await caller.stream.begin("stream://close/a/b")
  await other.queue.enqueue("queue://close/a/b", "x")
  await caller.queue.reserve("queue://close/a/b", { lease: 600 })
  await caller.notice.subscribe("notice://close/**")
  await caller.rpc.register("rpc://close/a/b/op", 1)
  await caller.lease.acquire("lease://close/a/b", 600)
  await caller.schedule.subscribe("schedule://close/**")
  const { sessions } = await broker.get("admin/sessions")
  const row = sessions.find((one: { subject: string }) => one.subject === "victim")
  expect(row).toMatchObject({ transport: "websocket", realm: "", route_family: 1, identity_value: "dev" })
  expect(row.messages_received).toBeGreaterThanOrEqual(8)
  expect(row.messages_sent).toBeGreaterThanOrEqual(7)
  const [inflight] = (await broker.get("queue/realms/close/areas/a/resources/b/inflight")).inflight
  expect(inflight).toMatchObject({ session_id: row.session_id, attempts: 0, family: 1 })
  expect((await broker.post(`admin/sessions/${row.session_id}/close`)).status).toBe(200)
  await caller.closed
  expect((await broker.post(`admin/sessions/${row.session_id}/close`)).status).toBe(404)
  await broker.until("kv/realms/close/areas/a/resources/b", body => body.transactions_active === 0)
  expect((await broker.ask("/api/v1/stream/realms/close/areas/a/resources/b")).status).toBe(404)
  expect((await broker.get("queue/realms/close/areas/a/resources/b")).messages_ready).toBe(1)
  expect((await broker.get("queue/realms/close/areas/a/resources/b/inflight")).inflight).toEqual([])
  expect((await broker.get("admin/notice/subscriptions?realm=close")).subscriptions).toEqual([])
  expect((await broker.get("admin/rpc/workers?realm=close")).workers).toEqual([])
  expect((await broker.get("admin/lease/leases?realm=close")).leases).toEqual([])
})

test("AD-19: replay and purge, per family, durable, once", async () => {
  const here = await startAdmin({
    FITZ_QUEUE_MAX_ATTEMPTS: "1",
    FITZ_ROUTE_FAMILIES: "1,2",
    FITZ_ROUTE_FAMILY_MAP: "dev=1,two=2",
  })
  const path = "queue/realms/dlq/areas/a/resources/b"
  for (const tid of ["dev", "two"]) {
    const caller = await here.caller({ tid })
    for (const body of ["one", "two"]) await caller.queue.enqueue("queue://dlq/a/b", body)
    await caller.queue.reserve("queue://dlq/a/b", { batch: 2, lease: 1 })
  }
  const { messages } = await here.until(`${path}/dead-letters`, body => body.messages.length === 4)
  expect(messages.map((row: { family: number }) => row.family).sort()).toEqual([1, 1, 2, 2])
  expect(messages[0]).toMatchObject({ attempts: 1, reason: "max_attempts_exceeded", realm: "dlq" })
  expect(await here.get(path)).toMatchObject({
    messages_dead_lettered: 4,
    messages_total: 4,
    messages_ready: 0,
  })
  expect(await here.get(`${path}?family=2`)).toMatchObject({ messages_dead_lettered: 2 })
  const [one, two] = (await here.get(`${path}/dead-letters?family=1`)).messages
  const missing = await here.post(`${path}/dead-letters/${one.message_id}/replay`, { confirm: false })
  expect([missing.status, missing.body.code]).toEqual([400, "missing_family"])
  const replay = `${path}/dead-letters/${one.message_id}/replay?family=1`
  const done = await here.post(replay, { confirm: false })
  expect([done.status, done.text]).toEqual([204, ""])
  expect((await here.post(replay)).status).toBe(404)
  expect(
    (await here.ask(`/api/v1/${path}/dead-letters/${two.message_id}?family=1`, { method: "DELETE" })).status,
  ).toBe(204)
  expect(
    (await here.ask(`/api/v1/${path}/dead-letters/${two.message_id}?family=1`, { method: "DELETE" })).status,
  ).toBe(404)
  const again = await here.restart({
    FITZ_QUEUE_MAX_ATTEMPTS: "1",
    FITZ_ROUTE_FAMILIES: "1,2",
    FITZ_ROUTE_FAMILY_MAP: "dev=1,two=2",
    FITZ_ADMIN_STRICT_CONFIRM: "true",
  })
  expect(await again.get(`${path}?family=1`)).toMatchObject({
    messages_ready: 1,
    messages_dead_lettered: 0,
    messages_total: 1,
  })
  const caller = await again.caller()
  const [item] = await caller.queue.reserve("queue://dlq/a/b", { lease: 600 })
  expect(item!.id).toBe(one.message_id)
  expect((await again.get(`${path}/inflight?family=1`)).inflight).toMatchObject([
    { message_id: one.message_id, attempts: 0, inflight_token: String(item!.token) },
  ])
  await caller.queue.complete("queue://dlq/a/b", item!.id, item!.token)
  const [left] = (await again.get(`${path}/dead-letters?family=2`)).messages
  const strict = await again.post(`${path}/dead-letters/${left.message_id}/replay?family=2`, {
    confirm: false,
  })
  expect([strict.status, strict.body.code]).toEqual([400, "confirmation_required"])
  expect((await again.post(`${path}/dead-letters/${left.message_id}/replay?family=2`)).status).toBe(204)
  await again.end()
})

test("AD-12: one record for every request that is no read, refused or not; none for reads; no secrets", async () => {
  const audited = await startAdmin({ FITZ_AUDIT_FILE: auditFile })
  const weak = await mint({ sub: "weak", permissions: ["admin:read"] })
  await audited.ask("/api/v1/stats")
  await audited.ask("/api/v1/realms/a", { method: "PUT", json: {}, token: null })
  await audited.ask("/api/v1/realms/a", { method: "PUT", json: {}, token: weak })
  await audited.ask("/api/v1/realms/a", { method: "PUT", json: { bad: 1 } })
  await audited.ask("/api/v1/realms/a", { method: "PUT", json: { description: "secret-payload" } })
  await audited.ask("/admin/nowhere", { method: "POST" })
  await audited.ask("/api/v1/admin/sessions/sess_77/close", { method: "POST", confirm: true })
  await audited.ask("/api/v1/admin/sessions/sess_77/close", {
    method: "POST",
    body: "x".repeat(20_000),
    confirm: true,
  })
  const records = readFileSync(auditFile, "utf8")
    .trim()
    .split("\n")
    .map(line => JSON.parse(line) as Record<string, unknown>)
  expect(records.map(({ action, outcome, status, user }) => [action, outcome, status, user])).toEqual([
    ["unknown", "denied", 401, "-"],
    ["realm.declare", "denied", 403, "weak"],
    ["realm.declare", "invalid", 400, "tester"],
    ["realm.declare", "ok", 201, "tester"],
    ["unknown", "not_found", 404, "tester"],
    ["session.close", "not_found", 404, "tester"],
    ["session.close", "invalid", 413, "tester"],
  ])
  const { records: read } = await audited.get("audit")
  expect([...read].reverse()).toEqual(records)
  const text = readFileSync(auditFile, "utf8")
  expect(text).not.toContain("secret-payload")
  expect(text).not.toContain(audited.token)
  renameSync(auditFile, `${auditFile}.1`)
  await audited.ask("/api/v1/realms/b", { method: "PUT", json: {} })
  expect(readFileSync(auditFile, "utf8").trim().split("\n")).toHaveLength(1)
  await audited.end()
})

test("AD-12: a strict audit that cannot be written lets nothing happen", async () => {
  const strict = await startAdmin({
    FITZ_AUDIT_FILE: join(broker.folder, "no-such-folder", "audit.log"),
    FITZ_AUDIT_STRICT: "true",
  })
  const refused = await strict.put("realms/a", {})
  expect([refused.status, refused.body.code]).toEqual([503, "unavailable"])
  expect((await strict.ask("/api/v1/realms/a")).status).toBe(404)
  await strict.end()
})

test("AD-2, AD-10: not ready while the store is loaded; a lane that stands still is not waited for", async () => {
  const folder = newFolder()
  const brake = new Brake(folder)
  brake.hold()
  const slow = await startAdmin(brake.environment, folder, { ready: false })
  const loading = await slow.ask("/api/v1/lease/stats")
  expect([loading.status, loading.body.code, loading.headers.get("retry-after")]).toEqual([
    503,
    "not_ready",
    "1",
  ])
  expect((await slow.ask("/api/v1/lease/stats", { token: null })).status).toBe(401)
  expect((await slow.put("realms/a", {})).body.code).toBe("not_ready")
  brake.letGo()
  await slow.process.logged("ready")
  expect((await slow.get("audit")).records).toMatchObject([{ outcome: "error", status: 503 }])
  brake.hold()
  const [durable, all, command, live] = await Promise.all([
    slow.ask("/api/v1/kv/realms/a/areas/b/resources/c"),
    slow.ask("/api/v1/stats"),
    slow.put("realms/b", {}),
    slow.ask("/api/v1/admin/lease/leases"),
  ])
  for (const reply of [durable, all, command])
    expect([reply.status, reply.body.code]).toEqual([503, "admin_timeout"])
  expect(live.status).toBe(200)
  brake.letGo()
  await slow.until("kv/stats", stats => stats.keys_total === 0)
  await slow.end()
})

test("AD-25: a drain fails readiness, answers what waits, keeps HTTP, and ends sessions after the grace", async () => {
  const draining = await startAdmin({ FITZ_DRAIN_GRACE_SECONDS: "2" })
  const caller = await draining.caller()
  const parked = caller.queue.reserve("queue://x/a/b", { wait: 30 })
  expect((await draining.post("runtime/drain", { confirm: false })).status).toBe(400)
  const answer = await draining.post("runtime/drain")
  expect(answer.body).toMatchObject({
    lifecycle_state: "draining",
    active_sessions: 1,
    drain_grace_seconds: 2,
  })
  expect(await parked).toEqual([])
  const ready = await draining.ask("/readyz")
  expect([ready.status, ready.body.error.code]).toEqual([503, "shutting_down"])
  expect((await draining.ask("/healthz")).status).toBe(200)
  expect((await draining.ask("/targetz")).status).toBe(503)
  const late = await openCaller("tcp", draining.port, await mint())
  await late.closed
  await caller.closed
  expect((await draining.get("stats")).broker.sessions).toBe(0)
  await expect(caller.queue.enqueue("queue://x/a/b", "x")).rejects.toThrow()
  expect(await draining.process.kill("SIGTERM")).toBe(0)
})
