// What operators see of each domain: counts that add up, durable facts before and after a restart, stored
// data behind its own permission, search, timelines and verdicts.

import { afterAll, beforeAll, expect, test } from "vitest"
import { type AdminBroker, mint, startAdmin } from "../kit/admin.ts"

let broker: AdminBroker

beforeAll(async () => {
  broker = await startAdmin({ FITZ_ROUTE_FAMILIES: "1,2", FITZ_ROUTE_FAMILY_MAP: "dev=1,two=2" })
})
afterAll(() => broker.end())

test("AD-9: the parts of a queue add up, over families and for each", async () => {
  const path = "queue/realms/sum/areas/a/resources/b"
  expect(await broker.get(path)).toMatchObject({ messages_total: 0, oldest_message_age_seconds: 0 })
  for (const [tid, count] of [
    ["dev", 3],
    ["two", 2],
  ] as const) {
    const caller = await broker.caller({ tid })
    for (let i = 0; i < count; i++) await caller.queue.enqueue("queue://sum/a/b", "x")
    await caller.queue.enqueue("queue://sum/a/b", "later", 600)
    await caller.queue.reserve("queue://sum/a/b", { lease: 600 })
  }
  expect(await broker.get(path)).toEqual({
    realm: "sum",
    area: "a",
    resource: "b",
    messages_ready: 3,
    messages_delayed: 2,
    messages_inflight: 2,
    messages_dead_lettered: 0,
    messages_total: 7,
    oldest_message_age_seconds: expect.any(Number),
  })
  expect(await broker.get(`${path}?family=2`)).toMatchObject({
    messages_ready: 1,
    messages_delayed: 1,
    messages_inflight: 1,
    messages_total: 3,
  })
  const [row] = (await broker.get("queue/realms/sum/areas/a/resources")).resources
  expect(row).toMatchObject({ resource: "b", messages_total: 7, family_count: 2, status: "falling_behind" })
  expect(row.in_rate_per_second).toBeGreaterThan(0)
  const stats = await broker.get("queue/stats?realm=sum")
  expect(stats).toMatchObject({
    messages_pending: 5,
    inflight_active: 2,
    messages_ready: 3,
    messages_delayed: 2,
  })
  expect(stats.operations_per_second_by_operation.enqueue).toBeGreaterThan(0)
  const unknown = await broker.ask(`/api/v1/${path}?family=3`)
  expect([unknown.status, unknown.body.code]).toEqual([404, "family_not_provisioned"])
})

test("AD-10: the age is that of the oldest message that is ready, delayed or inflight", async () => {
  const caller = await broker.caller()
  await caller.queue.enqueue("queue://age/a/b", "old", 600)
  const path = "queue/realms/age/areas/a/resources/b"
  const old = await broker.until(path, body => body.oldest_message_age_seconds >= 1)
  await caller.queue.enqueue("queue://age/a/b", "new")
  const [item] = await caller.queue.reserve("queue://age/a/b", { lease: 600 })
  await caller.queue.complete("queue://age/a/b", item!.id, item!.token)
  expect((await broker.get(path)).oldest_message_age_seconds).toBeGreaterThanOrEqual(
    old.oldest_message_age_seconds,
  )
  await caller.queue.enqueue("queue://age/a/fresh", "new")
  expect((await broker.get("queue/realms/age/areas/a/resources/fresh")).oldest_message_age_seconds).toBe(0)
  const stats = await broker.until("queue/stats?realm=age", body => body.oldest_message_age_seconds >= 1)
  expect(stats.messages_pending).toBe(2)
})

test("AD-22: what is durable is the same after a restart, what is live is gone", async () => {
  const first = await startAdmin()
  const caller = await first.caller()
  const tx = await caller.kv.begin("kv://re/a/b", "write")
  for (const key of ["a", "b", "c"]) await caller.kv.put(tx, "kv://re/a/b", key, "v")
  await caller.kv.commit(tx, "kv://re/a/b")
  const gone = await caller.kv.begin("kv://re/a/gone", "write")
  await caller.kv.put(gone, "kv://re/a/gone", "k", "v")
  await caller.kv.commit(gone, "kv://re/a/gone")
  const emptied = await caller.kv.begin("kv://re/a/gone", "write")
  await caller.kv.delete(emptied, "kv://re/a/gone", "k")
  await caller.kv.commit(emptied, "kv://re/a/gone")
  await caller.kv.begin("kv://re/a/b", "write")
  const append = await caller.stream.begin("stream://re/a/b")
  for (const offset of [0, 1, 2]) await caller.stream.append(append, offset, `event ${offset}`)
  await caller.stream.commit(append)
  await caller.stream.begin("stream://re/a/b")
  await caller.stream.begin("stream://re/a/open")
  await caller.queue.enqueue("queue://re/a/b", "kept")
  await caller.queue.reserve("queue://re/a/b", { lease: 600 })
  const lease = await caller.lease.acquire("lease://re/a/b", 600)
  const stream = await first.get("stream/realms/re/areas/a/resources/b")
  expect(stream).toMatchObject({ offset: 2, watermark: 2, sessions_active: 1 })
  expect(stream.size_bytes).toBeGreaterThan(0)
  expect(await first.get("stream/realms/re/areas/a/resources/open")).toMatchObject({
    offset: null,
    watermark: null,
    size_bytes: 0,
    sessions_active: 1,
  })
  expect((await first.ask("/api/v1/stream/realms/re/areas/a/resources/none")).status).toBe(404)
  const kv = await first.get("kv/stats?realm=re")
  expect(kv).toMatchObject({
    keys_total: 3,
    keys_by_realm: { re: 3 },
    transactions_active: 1,
    transactions_committed_total: 3,
  })
  expect((await first.get("kv/realms/re/areas/a/resources")).resources).toEqual([
    { resource: "b", keys_total: 3, transactions_active: 1 },
  ])
  expect(await first.get("stream/stats?realm=re")).toMatchObject({
    streams_active: 2,
    events_total: 3,
    events_by_realm: { re: 3 },
  })
  const second = await first.restart()
  expect(await second.get("stream/realms/re/areas/a/resources/b")).toEqual({ ...stream, sessions_active: 0 })
  expect((await second.ask("/api/v1/stream/realms/re/areas/a/resources/open")).status).toBe(404)
  expect(await second.get("kv/stats?realm=re")).toMatchObject({
    keys_total: 3,
    transactions_active: 0,
    transactions_committed_total: 0,
  })
  expect(await second.get("stream/stats?realm=re")).toMatchObject({ streams_active: 1, events_total: 3 })
  expect((await second.get("admin/kv/transactions")).transactions).toEqual([])
  expect((await second.get("admin/lease/leases")).leases).toEqual([])
  expect(await second.get("queue/realms/re/areas/a/resources/b")).toMatchObject({
    messages_ready: 1,
    messages_inflight: 0,
  })
  expect((await second.get("stats")).broker.realms).toEqual(["re"])
  const again = await second.caller()
  expect((await again.lease.acquire("lease://re/a/b", 600)).token).toBeGreaterThan(lease.token)
  await second.end()
})

test("AD-4, AD-23: stored values and events need data:read, are cut, and page by cursor", async () => {
  const caller = await broker.caller()
  const route = "kv://data/a/b"
  const tx = await caller.kv.begin(route, "write")
  for (let i = 0; i < 25; i++) await caller.kv.put(tx, route, `user/${String(i).padStart(2, "0")}`, `v${i}`)
  await caller.kv.put(tx, route, "bin", Buffer.from([0xff, 0x00]))
  await caller.kv.commit(tx, route)
  const append = await caller.stream.begin("stream://data/a/b")
  for (let i = 0; i < 3; i++) await caller.stream.append(append, i, `event ${i}`, { meta: "m" })
  await caller.stream.commit(append)
  const reader = await mint({ permissions: ["admin:read"] })
  const value = "/api/v1/kv/realms/data/areas/a/resources/b/value?key=user/07"
  expect((await broker.ask(value, { token: reader })).status).toBe(403)
  expect((await broker.ask(value)).body).toEqual({
    key: { base64: Buffer.from("user/07").toString("base64"), utf8: "user/07", len_bytes: 7 },
    value: { base64: "djc=", utf8: "v7", len_bytes: 2 },
    truncated: false,
    family: 1,
  })
  const binary = await broker.get("kv/realms/data/areas/a/resources/b/value?key=Ymlu&key_encoding=base64")
  expect(binary.value).toEqual({ base64: "/wA=", utf8: null, len_bytes: 2 })
  expect((await broker.ask(value.replace("07", "99"))).status).toBe(404)
  const seen: string[] = []
  for (let cursor: string | null = ""; cursor !== null; ) {
    const page = await broker.get(
      `kv/realms/data/areas/a/resources/b/rows?starts_with=user/&limit=10${cursor === "" ? "" : `&cursor=${cursor}`}`,
    )
    for (const { key } of page.rows) seen.push(key.utf8)
    cursor = page.next_cursor
  }
  expect(seen).toEqual(Array.from({ length: 25 }, (_, i) => `user/${String(i).padStart(2, "0")}`))
  const records = await broker.get("stream/realms/data/areas/a/resources/b/records?from_offset=1&limit=1")
  expect(records).toMatchObject({
    records: [{ resource_offset: 1, body: { utf8: "event 1" }, metadata: { utf8: "m" }, family: 1 }],
    next_offset: 2,
  })
  expect((await broker.ask("/api/v1/stream/realms/data/areas/a/resources/none/records")).status).toBe(404)
  expect((await broker.get("stream/realms/data/watermarks")).watermarks).toEqual([
    { family: 1, watermark: 3 },
  ])
})

test("AD-9: fan-out, wildcards without a realm, what route_pattern means", async () => {
  const caller = await broker.caller()
  await caller.notice.subscribe("notice://fan/a")
  await caller.notice.subscribe("notice://*/a")
  await caller.notice.subscribe("notice://fan/**")
  await caller.notice.publish("notice://fan/a", "1")
  await caller.notice.publish("notice://fan/a", "2")
  for (let i = 0; i < 6; i++) await caller.notice.next()
  expect(await broker.get("notice/stats?realm=fan")).toMatchObject({
    subscriptions_active: 2,
    publishes_total: 2,
    routes_registered: 1,
    fanout_ratio: 3,
  })
  const patterns = async (query: string): Promise<string[]> =>
    (await broker.get(`admin/notice/subscriptions?${query}`)).subscriptions.map(
      ({ pattern }: { pattern: string }) => pattern,
    )
  expect(await patterns("")).toEqual(["notice://fan/a", "notice://*/a", "notice://fan/**"])
  expect(await patterns("realm=fan")).toEqual(["notice://fan/a", "notice://fan/**"])
  expect(await patterns("realm=*")).toEqual([])
  expect(await patterns(`route_pattern=${encodeURIComponent("notice://fan/a")}`)).toEqual(["notice://fan/a"])
  expect(await patterns(`route_pattern=${encodeURIComponent("notice://fan/**")}`)).toEqual([
    "notice://fan/a",
    "notice://fan/**",
  ])
  expect(await patterns("route_pattern=an/a")).toEqual(["notice://fan/a"])
  const [row] = (await broker.get("admin/notice/routes?realm=fan")).routes
  expect(row).toMatchObject({ subscribers: 3, publishes_total: 2, publishes_per_minute: 2 })
  const { subscriptions } = await broker.get("admin/notice/subscriptions")
  expect(subscriptions.map((one: { notifications_received: number }) => one.notifications_received)).toEqual([
    2, 2, 2,
  ])
  expect(subscriptions[1].realm).toBe("*")
})

test("AD-24: the table of routes has its bound, and those published to last stay", async () => {
  const caller = await broker.caller()
  for (let i = 0; i < 10_500; i++) await caller.notice.publish(`notice://bound/r${i}`, "x")
  await caller.settle()
  const stats = await broker.until("notice/stats?realm=bound", body => body.publishes_total === 10_500)
  expect(stats.routes_registered).toBeLessThanOrEqual(10_000)
  const last = await broker.ask("/api/v1/admin/notice/routes?realm=bound&limit=1000")
  expect(Number(last.headers.get("x-total-count"))).toBe(stats.routes_registered)
  expect((await broker.get("search?q=notice://bound/r10499&domain=notice")).results).toHaveLength(1)
  expect((await broker.get("search?q=notice://bound/r0&domain=notice")).results).toEqual([])
})

test("AD-9: the realm is the token's claim and never a family", async () => {
  await broker.caller({ realm: "label", sub: "labelled" })
  await broker.caller({ tid: "two", sub: "other" })
  const subjects = async (query: string): Promise<string[]> =>
    (await broker.get(`admin/sessions?${query}`)).sessions.map(({ subject }: { subject: string }) => subject)
  expect(await subjects("realm=label")).toEqual(["labelled"])
  expect(await subjects("realm=2")).toEqual([])
  expect(await subjects("family=2")).toContain("other")
  const { sessions } = await broker.get("admin/sessions?family=2")
  expect(sessions.at(-1)).toMatchObject({
    realm: "",
    route_family: 2,
    identity_value: "two",
    transport: "tcp",
  })
  expect(sessions.at(-1).remote_addr).toMatch(/^127\.0\.0\.1:\d+$/)
})

test("AD-10: a dead letter shows in timeline, verdict, troubleshooting and search", async () => {
  const here = await startAdmin({ FITZ_QUEUE_MAX_ATTEMPTS: "1" })
  const caller = await here.caller()
  await caller.queue.enqueue("queue://sick/a/b", "x")
  await caller.queue.reserve("queue://sick/a/b", { lease: 1 })
  const path = "queue/realms/sick/areas/a/resources/b"
  await here.until(path, body => body.messages_dead_lettered === 1)
  const { events } = await here.get(`${path}/events?limit=5`)
  expect(events).toMatchObject([{ kind: "failure", summary: "message 1 is a dead letter", family: 1 }])
  const detail = await here.get(`${path}?include=diagnostics`)
  expect(detail.diagnostics).toMatchObject({ current_stage: "dead_letter_pressure", severity: "high" })
  expect(await here.get(path)).not.toHaveProperty("diagnostics")
  const trouble = await here.until("troubleshooting", body => body.incident.severity === "high")
  expect(trouble.incident.domains_affected).toEqual(["queue"])
  expect(trouble.hotspots[0].href).toBe(`/api/v1/${path}/dead-letters?family=1`)
  expect((await here.ask(trouble.next_queries[0].href)).body.messages).toHaveLength(1)
  const found = await here.get("search?q=sick")
  expect(found).toMatchObject({
    total: 1,
    truncated: false,
    results: [{ domain: "queue", health: "attention" }],
  })
  expect((await here.ask(found.results[0].href)).status).toBe(200)
  expect((await here.ask("/api/v1/search")).body.code).toBe("invalid_parameter")
  await here.end()
})
