// Realms and schedules written from outside, as the operator does: conditional writes, tags that outlive the
// process, what the limits of a declared realm refuse.

import { createHash } from "node:crypto"
import { afterAll, beforeAll, expect, test } from "vitest"
import { type AdminBroker, mint, startAdmin } from "../kit/admin.ts"
import { openCaller, Refused } from "../kit/caller.ts"

let broker: AdminBroker

beforeAll(async () => {
  broker = await startAdmin()
})
afterAll(() => broker.end())

const SCHEDULE = "schedule/realms/prod/areas/jobs/resources/cleanup/operations/run"

test("AD-20: a realm is declared, read, replaced and forgotten; the data stays", async () => {
  const caller = await broker.caller()
  await caller.queue.enqueue("queue://r1/a/b", "kept")
  expect((await broker.get("realms/r1")).declared).toBe(false)
  const created = await broker.put("realms/r1", {
    display_name: "One",
    labels: { b: "2", a: "1" },
    limits: { max_sessions: 5 },
    managed_by: "k8s:ns/r1",
  })
  expect(created.status).toBe(201)
  expect(created.body).toEqual({
    realm: "r1",
    declared: true,
    display_name: "One",
    labels: { a: "1", b: "2" },
    limits: { max_sessions: 5 },
    managed_by: "k8s:ns/r1",
    etag: created.headers.get("etag"),
  })
  const again = await broker.put("realms/r1", { managed_by: "" })
  expect(again.status).toBe(200)
  expect(again.body).toEqual({
    realm: "r1",
    declared: true,
    labels: {},
    managed_by: null,
    etag: again.headers.get("etag"),
  })
  const unconfirmed = await broker.ask("/api/v1/realms/r1", { method: "DELETE" })
  expect([unconfirmed.status, unconfirmed.body.code]).toEqual([400, "confirmation_required"])
  expect((await broker.delete("realms/r1")).status).toBe(204)
  expect((await broker.delete("realms/r1")).status).toBe(404)
  expect(await broker.get("realms/r1")).toMatchObject({ declared: false, managed_by: null, etag: null })
  expect((await broker.ask("/api/v1/realms/never-seen")).status).toBe(404)
  expect(await caller.queue.reserve("queue://r1/a/b")).toHaveLength(1)
})

test("AD-20: If-None-Match and If-Match decide, and 412 changes nothing", async () => {
  const first = await broker.put("realms/cas", { description: "1" }, { "if-none-match": "*" })
  expect(first.status).toBe(201)
  const etag = first.headers.get("etag")!
  const taken = await broker.put("realms/cas", { description: "2" }, { "if-none-match": "*" })
  expect([taken.status, taken.body.code]).toEqual([412, "precondition_failed"])
  const second = await broker.put("realms/cas", { description: "2" }, { "if-match": etag })
  expect(second.status).toBe(200)
  const stale = await broker.put("realms/cas", { description: "3" }, { "if-match": etag })
  expect(stale.status).toBe(412)
  expect((await broker.delete("realms/cas", { "if-match": etag })).status).toBe(412)
  expect((await broker.get("realms/cas")).description).toBe("2")
  expect((await broker.put("realms/ghost", {}, { "if-match": etag })).status).toBe(412)
  expect((await broker.delete("realms/cas", { "if-match": second.headers.get("etag")! })).status).toBe(204)
})

test("AD-20: lists filter by manager, carry a tag and answer 304", async () => {
  for (const name of ["m1", "m2", "m3"]) {
    await broker.put(`realms/${name}`, { managed_by: name === "m3" ? "hand" : `k8s:ns/${name}` })
  }
  const managed = await broker.ask("/api/v1/realms?managed_by=k8s:")
  expect(managed.body.realms.map((row: { realm: string }) => row.realm)).toEqual(["m1", "m2"])
  expect(managed.headers.get("x-total-count")).toBe("2")
  const etag = managed.headers.get("etag")!
  const same = await broker.ask("/api/v1/realms?managed_by=k8s:", { headers: { "if-none-match": etag } })
  expect([same.status, same.text]).toEqual([304, ""])
  await broker.put("realms/m1", { managed_by: "k8s:ns/m1", description: "new" })
  const changed = await broker.ask("/api/v1/realms?managed_by=k8s:", { headers: { "if-none-match": etag } })
  expect(changed.status).toBe(200)
})

test("AD-21: refusals of realm bodies name what is wrong", async () => {
  const cases: [unknown, string][] = [
    [{ limits: { max_sessions: -1 } }, "invalid_body"],
    [{ nonsense: 1 }, "invalid_body"],
    [{ managed_by: "x".repeat(513) }, "invalid_body"],
    [[], "invalid_body"],
  ]
  for (const [body, code] of cases) {
    const reply = await broker.put("realms/bad", body)
    expect([reply.status, reply.body.code]).toEqual([400, code])
  }
  const form = await broker.ask("/api/v1/realms/bad", {
    method: "PUT",
    body: "a=b",
    headers: { "content-type": "application/x-www-form-urlencoded" },
  })
  expect([form.status, form.body.code]).toEqual([415, "unsupported_media_type"])
  const large = await broker.put("realms/bad", { description: "x".repeat(300_000) })
  expect([large.status, large.body.code]).toEqual([413, "body_too_large"])
  expect((await broker.ask("/api/v1/realms/bad")).status).toBe(404)
})

test("AD-20, AD-21: a schedule is defined, read, replaced and removed; every refusal has its code", async () => {
  const body = { cron: "0 2 * * *", payload: "aGVsbG8=", delivery_mode: "single", managed_by: "k8s:ns/s" }
  const created = await broker.put(`${SCHEDULE}?family=1`, body, { "if-none-match": "*" })
  expect(created.status).toBe(201)
  expect(created.body).toMatchObject({
    realm: "prod",
    area: "jobs",
    resource: "cleanup",
    operation: "run",
    family: 1,
    cron: "0 2 * * *",
    enabled: true,
    executions_total: 0,
    managed_by: "k8s:ns/s",
    delivery_mode: "single",
    payload_sha256: createHash("sha256").update("hello").digest("hex"),
    etag: created.headers.get("etag"),
  })
  expect(created.body.next_run).toMatch(/T02:00:00Z$/)
  expect(await broker.get(`${SCHEDULE}?family=1`)).toEqual(created.body)
  const caller = await broker.caller()
  const { entries } = await caller.schedule.list()
  expect(entries.map(({ route, payload }) => [route, payload.toString()])).toEqual([
    ["schedule://prod/jobs/cleanup/run", "hello"],
  ])
  const off = await broker.put(`${SCHEDULE}?family=1`, {
    cron: "0 2 * * *",
    payload_text: "hello",
    enabled: false,
  })
  expect(off.body).toMatchObject({
    enabled: false,
    next_run: null,
    managed_by: null,
    delivery_mode: "broadcast",
  })
  const refusals: [string, unknown, number, string][] = [
    [`${SCHEDULE}?family=1`, { cron: "nonsense" }, 400, "invalid_cron"],
    [`${SCHEDULE}?family=1`, { cron: "0 2 30 2 *" }, 400, "invalid_cron"],
    [`${SCHEDULE}?family=1`, { cron: "0 2 * * *", payload: "!" }, 400, "invalid_payload"],
    [`${SCHEDULE}?family=1`, { cron: "0 2 * * *", payload: "", payload_text: "" }, 400, "invalid_payload"],
    [`${SCHEDULE}?family=1`, { cron: "0 2 * * *", payload_text: "x".repeat(70_000) }, 400, "invalid_payload"],
    [`${SCHEDULE}?family=1`, {}, 400, "invalid_body"],
    [SCHEDULE, { cron: "0 2 * * *" }, 400, "missing_family"],
    [`${SCHEDULE}?family=`, { cron: "0 2 * * *" }, 400, "invalid_family"],
    [`${SCHEDULE}?family=0`, { cron: "0 2 * * *" }, 400, "invalid_family"],
    [`${SCHEDULE}?family=9`, { cron: "0 2 * * *" }, 404, "family_not_provisioned"],
    [`${SCHEDULE.replace("jobs", "a%2Fb")}?family=1`, { cron: "0 2 * * *" }, 400, "invalid_parameter"],
    [`${SCHEDULE.replace("jobs", "%2A")}?family=1`, { cron: "0 2 * * *" }, 400, "invalid_parameter"],
  ]
  for (const [path, given, status, code] of refusals) {
    const reply = await broker.put(path, given)
    expect([path, reply.status, reply.body.code]).toEqual([path, status, code])
  }
  expect((await broker.get(`${SCHEDULE}?family=1`)).etag).toBe(off.body.etag)
  expect((await broker.ask(`/api/v1/${SCHEDULE}`)).body.code).toBe("missing_family")
  expect((await broker.delete(`${SCHEDULE}?family=1`, { "if-match": created.body.etag })).status).toBe(412)
  expect((await broker.delete(`${SCHEDULE}?family=1`)).status).toBe(204)
  expect((await broker.delete(`${SCHEDULE}?family=1`)).status).toBe(404)
  expect((await broker.ask(`/api/v1/${SCHEDULE}?family=1`)).status).toBe(404)
})

test("AD-20: the list's tag covers definitions and not the clock", async () => {
  await broker.put("schedule/realms/etag/areas/a/resources/b/operations/c?family=1", { cron: "* * * * *" })
  const caller = await broker.caller()
  await caller.schedule.subscribe("schedule://etag/**")
  const list = "/api/v1/admin/schedule/schedules?realm=etag"
  const before = await broker.ask(list)
  expect(before.body.schedules).toHaveLength(1)
  const id = before.body.schedules[0].schedule_id
  expect((await broker.post(`admin/schedule/schedules/${id}/trigger`)).body.delivered).toBe(1)
  const etag = before.headers.get("etag")!
  expect((await broker.ask(list, { headers: { "if-none-match": etag } })).status).toBe(304)
  await broker.put("schedule/realms/etag/areas/a/resources/b/operations/c?family=1", { cron: "*/2 * * * *" })
  expect((await broker.ask(list, { headers: { "if-none-match": etag } })).status).toBe(200)
})

test("AD-20, AD-22: tags and definitions are the same after a restart, visible without any traffic", async () => {
  const environment = { FITZ_ROUTE_FAMILIES: "1,2" }
  const first = await startAdmin(environment)
  const realm = await first.put("realms/kept", { labels: { z: "1", a: "2" }, limits: { max_streams: 3 } })
  const schedule = await first.put(`${SCHEDULE}?family=2`, {
    cron: "5 4 * * *",
    payload_text: "p",
    enabled: false,
  })
  const { storage_id: storageId } = await first.get("runtime/auth")
  const second = await first.restart(environment)
  expect(await second.get("realms/kept")).toEqual(realm.body)
  expect(await second.get(`${SCHEDULE}?family=2`)).toEqual(schedule.body)
  expect((await second.get("admin/schedule/schedules")).schedules).toEqual([schedule.body])
  expect((await second.get("runtime/auth")).storage_id).toBe(storageId)
  await second.end()
})

test("M-28, M-29, M-30, M-31: sessions, subscriptions, queue messages and streams are limited by name", async () => {
  await broker.put("realms/small", {
    limits: { max_sessions: 1, max_subscriptions: 2, max_queue_messages: 2, max_streams: 1 },
  })
  const one = await broker.caller({ realm: "small" })
  const two = await openCaller("tcp", broker.port, await mint({ realm: "small" }))
  await two.closed
  await one.notice.subscribe("notice://small/a")
  await one.queue.subscribe("queue://small/a/b")
  await expect(one.notice.subscribe("notice://small/b")).rejects.toMatchObject({ code: 3003 })
  await expect(one.kv.subscribe("kv://small/**")).rejects.toBeInstanceOf(Refused)
  await one.notice.subscribe("notice://*/a")
  await one.notice.unsubscribeAll()
  await one.kv.subscribe("kv://small/**")
  await one.queue.enqueue("queue://small/a/b", "1")
  await one.queue.enqueue("queue://small/a/c", "2", 60)
  await expect(one.queue.enqueue("queue://small/a/b", "3")).rejects.toMatchObject({ code: 4005 })
  const [held] = await one.queue.reserve("queue://small/a/b")
  await expect(one.queue.enqueue("queue://small/a/b", "3")).rejects.toMatchObject({ code: 4005 })
  await one.queue.complete("queue://small/a/b", held!.id, held!.token)
  await one.queue.enqueue("queue://small/a/b", "3")
  const append = await one.stream.begin("stream://small/a/b")
  await expect(one.stream.begin("stream://small/a/c")).rejects.toThrow(/streams/)
  await one.stream.rollback(append)
  const other = await one.stream.begin("stream://small/a/c")
  await one.stream.append(other, 0, "x")
  await one.stream.commit(other)
  await expect(one.stream.begin("stream://small/a/d")).rejects.toThrow(/streams/)
  await one.close()
  await broker.until("sessions?realm=small", body => body.sessions.length === 0)
  const again = await broker.caller({ realm: "small" })
  expect(again.open).toBe(true)
})

test("M-32: undeclared realms are refused everywhere, wildcards see declared ones", async () => {
  const first = await startAdmin()
  const before = await first.caller()
  await before.queue.enqueue("queue://old/a/b", "hidden")
  const session = await before.stream.begin("stream://old/a/b")
  await before.stream.append(session, 0, "hidden")
  await before.stream.commit(session)
  const strict = await first.restart({ FITZ_REALMS_DECLARED_ONLY: "true" })
  await strict.put("realms/good", {})
  const caller = await strict.caller()
  await expect(caller.queue.enqueue("queue://old/a/b", "x")).rejects.toMatchObject({ code: 4009 })
  await expect(caller.notice.subscribe("notice://old/x")).rejects.toMatchObject({ code: 3009 })
  await expect(caller.lease.acquire("lease://old/a/b", 10)).rejects.toMatchObject({ code: 5009 })
  await expect(caller.kv.begin("kv://old/a/b", "write")).rejects.toBeInstanceOf(Refused)
  await caller.queue.enqueue("queue://good/a/b", "seen")
  const items = await caller.queue.reserve("queue://**", { batch: 10 })
  expect(items.map(({ route }) => route)).toEqual(["queue://good/a/b"])
  const page = await caller.stream.read("stream://**", 0, 10)
  expect(page.items.every(item => !("event" in item))).toBe(true)
  const refused = await strict.put(`schedule/realms/old/areas/a/resources/b/operations/c?family=1`, {
    cron: "* * * * *",
  })
  expect([refused.status, refused.body.code]).toEqual([409, "realm_not_declared"])
  const stranger = await openCaller("tcp", strict.port, await mint({ realm: "old" }))
  await stranger.closed
  await strict.end()
})

test("AD-21: the number of declarations is limited", async () => {
  const few = await startAdmin({ FITZ_MAX_REALMS: "1", FITZ_MAX_SCHEDULES: "1" })
  expect((await few.put("realms/a", {})).status).toBe(201)
  const realm = await few.put("realms/b", {})
  expect([realm.status, realm.body.code]).toEqual([409, "definition_limit"])
  expect((await few.put("realms/a", { description: "still replaceable" })).status).toBe(200)
  const path = "schedule/realms/a/areas/b/resources/c/operations"
  expect((await few.put(`${path}/d?family=1`, { cron: "* * * * *" })).status).toBe(201)
  const schedule = await few.put(`${path}/e?family=1`, { cron: "* * * * *" })
  expect([schedule.status, schedule.body.code]).toEqual([409, "definition_limit"])
  await few.end()
})
