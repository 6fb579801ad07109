// Lists: paging, filters and order for every list there is, the three prefixes, and the snapshots behind the
// numbers. Properties over random pages, against real rows.

import fc from "fast-check"
import { afterAll, beforeAll, expect, test } from "vitest"
import { canonicalOf } from "../../broker/admin/route.ts"
import { ROUTES } from "../../broker/admin/routes.ts"
import { type AdminBroker, startAdmin } from "../kit/admin.ts"

let broker: AdminBroker
const REALMS = ["prod", "preprod", "prod2"]

/** Every list with the key of its rows, filled in for realm prod. */
const LISTS: readonly (readonly [path: string, key: string, least: number])[] = [
  ["realms", "realms", 3],
  ["kv/transactions", "transactions", 6],
  ["notice/subscriptions", "subscriptions", 6],
  ["notice/routes", "routes", 6],
  ["rpc/workers", "workers", 6],
  ["rpc/pending", "requests", 6],
  ["lease/leases", "leases", 6],
  ["schedule/schedules", "schedules", 6],
  ["sessions", "sessions", 2],
  ["audit", "records", 6],
  ["kv/realms/prod/areas/a/resources", "resources", 2],
  ["stream/realms/prod/areas/a/resources", "resources", 2],
  ["notice/realms/prod/areas/a/resources", "resources", 2],
  ["queue/realms/prod/areas/a/resources", "resources", 2],
  ["rpc/realms/prod/areas/a/resources", "resources", 2],
  ["lease/realms/prod/areas/a/resources", "resources", 2],
  ["schedule/realms/prod/areas/a/resources", "resources", 2],
  ["queue/realms/prod/areas/a/resources/r0/inflight", "inflight", 2],
  ...["kv", "stream", "notice", "queue", "rpc", "lease", "schedule"].flatMap(domain => [
    [`${domain}/realms`, "realms", 3] as const,
    [`${domain}/realms/prod/areas`, "areas", 1] as const,
  ]),
]

beforeAll(async () => {
  broker = await startAdmin()
  const caller = await broker.caller({ realm: "prod", sub: "one" })
  await broker.caller({ sub: "two" })
  for (const realm of REALMS) {
    for (const i of [0, 1]) {
      const path = `${realm}/a/r${i}`
      const write = await caller.kv.begin(`kv://${path}`, "write")
      await caller.kv.put(write, `kv://${path}`, "key", "value")
      await caller.kv.commit(write, `kv://${path}`)
      await caller.kv.begin(`kv://${path}`, "read")
      const append = await caller.stream.begin(`stream://${path}`)
      await caller.stream.append(append, 0, "event")
      await caller.stream.commit(append)
      await caller.notice.subscribe(`notice://${path}`)
      await caller.queue.enqueue(`queue://${path}`, "1")
      await caller.queue.enqueue(`queue://${path}`, "2")
      await caller.queue.reserve(`queue://${path}`, { batch: 2, lease: 600 })
      await caller.rpc.register(`rpc://${path}/op`, 1)
      await caller.rpc.call(
        Buffer.from(`0123456789${path}`.padEnd(16, "x").slice(-16)),
        `rpc://${path}/op`,
        "x",
      )
      await caller.lease.acquire(`lease://${path}`, 600)
      await broker.put(`schedule/realms/${realm}/areas/a/resources/r${i}/operations/o?family=1`, {
        cron: "0 0 1 1 *",
      })
    }
  }
  await caller.settle()
})
afterAll(() => broker.end())

test.each(LISTS)("AD-8: %s pages without gaps or overlaps, whatever the page", async (path, key, least) => {
  const all = await broker.ask(`/api/v1/${path}?limit=1000`)
  const rows = all.body[key] as unknown[]
  expect(rows.length).toBeGreaterThanOrEqual(least)
  expect(all.headers.get("x-total-count")).toBe(String(rows.length))
  expect([all.headers.get("x-limit"), all.headers.get("x-offset")]).toEqual(["1000", "0"])
  const stable = (row: unknown): string =>
    JSON.stringify(row, (name, value: unknown) => (/idle|age|messages_|_at$/.test(name) ? 0 : value))
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 0, max: rows.length + 2 }),
      async (limit, offset) => {
        const page = await broker.ask(`/api/v1/${path}?limit=${limit}&offset=${offset}`)
        expect(page.status).toBe(200)
        expect((page.body[key] as unknown[]).map(stable)).toEqual(
          rows.slice(offset, offset + limit).map(stable),
        )
        expect(page.headers.get("x-total-count")).toBe(String(rows.length))
        const link = page.headers.get("link") ?? ""
        expect(link.includes('rel="next"')).toBe(offset + limit < rows.length)
        expect(link.includes('rel="prev"')).toBe(offset > 0)
      },
    ),
    { numRuns: 8 },
  )
})

test("AD-8: defaults, clamps and refusals", async () => {
  const plain = await broker.ask("/api/v1/lease/leases")
  expect([plain.headers.get("x-limit"), plain.headers.get("x-offset")]).toEqual(["100", "0"])
  const large = await broker.ask("/api/v1/lease/leases?limit=5000")
  expect(large.headers.get("x-limit")).toBe("1000")
  for (const bad of [
    "limit=0",
    "limit=-1",
    "limit=1.5",
    "limit=x",
    "limit=",
    "offset=-1",
    "offset=x",
    "offset=1e3",
  ]) {
    const reply = await broker.ask(`/api/v1/lease/leases?${bad}`)
    expect([bad, reply.status, reply.body.code]).toEqual([bad, 400, "invalid_parameter"])
  }
  const past = await broker.ask("/api/v1/lease/leases?offset=900000000")
  expect(past.body).toEqual({ leases: [] })
})

test("AD-8: following next visits every row once", async () => {
  const seen: string[] = []
  let path: string | undefined = "/api/v1/admin/lease/leases?limit=2"
  while (path !== undefined) {
    const page = await broker.ask(path)
    for (const { realm, area, resource } of page.body.leases) seen.push(`${realm}/${area}/${resource}`)
    path = /<([^>]+)>; rel="next"/.exec(page.headers.get("link") ?? "")?.[1]
  }
  expect(seen).toEqual([...seen].sort())
  expect(new Set(seen).size).toBe(6)
})

test("AD-9: a realm filter is exact, on every list and all numbers", async () => {
  for (const row of ROUTES.filter(
    ({ method, realmFilter, path }) => method === "GET" && realmFilter && path !== "search",
  )) {
    const path = canonicalOf(row)
    const [prod, none] = [await broker.ask(`${path}?realm=prod`), await broker.ask(`${path}?realm=pro`)]
    expect([path, prod.status, none.status]).toEqual([path, 200, 200])
    if (row.list !== true) continue
    const rows = Object.values(prod.body)[0] as { realm?: string; route?: string }[]
    for (const { realm, route } of rows) expect(realm ?? route!.split("/")[2]).toBe("prod")
    expect(Object.values(none.body)[0]).toEqual([])
    expect(none.headers.get("x-total-count")).toBe("0")
  }
  expect((await broker.get("queue/stats?realm=prod")).inflight_active).toBe(4)
  expect((await broker.get("queue/stats?realm=nowhere")).inflight_active).toBe(0)
  const mismatch = await broker.ask("/api/v1/queue/realms/prod/areas/a/resources?realm=preprod")
  expect([mismatch.status, mismatch.body.code]).toEqual([400, "realm_mismatch"])
  expect((await broker.ask("/api/v1/queue/realms/prod/areas/a/resources?realm=prod")).status).toBe(200)
})

test("AD-1: every row of the table gives equal bytes under all three prefixes", async () => {
  const sample: Readonly<Record<string, string>> = {
    realm: "prod",
    area: "a",
    resource: "r0",
    operation: "o",
    session_id: "sess_1",
  }
  // The metrics count the very requests that ask for them.
  for (const row of ROUTES.filter(({ method, path }) => method === "GET" && path !== "metrics")) {
    const path = row.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => sample[name]!)
    const query =
      row.path === "search"
        ? "?q=prod"
        : row.permission === "data"
          ? "?key=key"
          : row.family === "required"
            ? "?family=1"
            : ""
    const texts: string[] = []
    // A second may pass between two of them: then they are asked again.
    for (let tries = 0; tries < 5 && new Set(texts).size !== 1; tries++) {
      texts.length = 0
      for (const prefix of ["/api/v1/", "/api/v1/admin/", "/admin/"]) {
        const reply = await broker.ask(`${prefix}${path}${query}`)
        expect([prefix, path, reply.status]).toEqual([prefix, path, 200])
        texts.push(
          reply.text.replaceAll(/"(generated_at|idle_seconds|uptime_seconds|age_seconds)":[^,}]+/g, ""),
        )
      }
    }
    expect(new Set(texts).size, path).toBe(1)
  }
})

test("AD-10: many at once are one computation, and no number is older than a second", async () => {
  const replies = await Promise.all(Array.from({ length: 40 }, () => broker.ask("/api/v1/lease/stats")))
  expect(new Set(replies.map(({ text }) => text)).size).toBeLessThanOrEqual(2)
  for (const { headers } of replies) {
    const age = Number(headers.get("x-snapshot-age-ms"))
    expect(age).toBeGreaterThanOrEqual(0)
    expect(age).toBeLessThanOrEqual(1_000)
  }
})

test("AD-10: the global numbers are those of the domains, realms are labels and never families", async () => {
  const domains = ["kv", "stream", "notice", "queue", "rpc", "lease", "schedule"]
  const [all, ...each] = await Promise.all([
    broker.get("stats"),
    ...domains.map(domain => broker.get(`${domain}/stats`)),
  ])
  for (const [at, domain] of domains.entries()) expect(each[at]).toMatchObject(all.domains[domain])
  expect(all.broker.realms).toEqual(["preprod", "prod", "prod2"])
  expect(all.broker).toMatchObject({ connections: 2, sessions: 2 })
  expect(all.domains).toMatchObject({
    kv: { transactions_active: 6, keys_total: 6 },
    stream: { streams_active: 6, events_total: 6 },
    notice: { subscriptions_active: 6 },
    queue: { messages_pending: 0, inflight_active: 12 },
    rpc: { workers_registered: 6, requests_pending: 6 },
    lease: { leases_active: 6 },
    schedule: { schedules_active: 6 },
  })
})
