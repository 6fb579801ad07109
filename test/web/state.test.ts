// What the page makes of answers: rates and percentiles, the verdict, when to ask again, which rows to draw, what a
// credential says of itself, where links lead. Pure; the real thing is tested in test/page.

import { describe, expect, test } from "vitest"
import { addressOf, Failure, failureOf, pathOf } from "../../web/api/client.ts"
import { expiryOf, headerOf, readCredential, rightsOf } from "../../web/api/credential.ts"
import type { Diagnostics, MetricSample, Metrics } from "../../web/api/types.ts"
import { History, quantileBetween, rateBetween, Scrape } from "../../web/state/metrics.ts"
import { viewOfHref, viewOfRoute } from "../../web/state/places.ts"
import { isStale, nextPollMs } from "../../web/state/poll.ts"
import { offsetsOf, spanOf } from "../../web/state/span.ts"
import { verdictOf } from "../../web/state/verdict.ts"

const sample = (name: string, value: number, labels: Record<string, string> = {}): MetricSample => ({
  name,
  kind: "counter",
  help: "",
  labels,
  value,
})
const metrics = (...samples: MetricSample[]): Metrics => ({ scope: "broker", generated_at: "", samples })
const buckets = (counts: readonly (readonly [string, number])[]): MetricSample[] =>
  counts.map(([le, value]) => sample("h_bucket", value, { le }))

describe("rates and percentiles", () => {
  test("a rate is growth over time, summed over what was not asked for", () => {
    const before = new Scrape(metrics(sample("c", 10, { d: "a" }), sample("c", 5, { d: "b" })), 1_000)
    const after = new Scrape(metrics(sample("c", 30, { d: "a" }), sample("c", 5, { d: "b" })), 3_000)
    expect(rateBetween(before, after, "c")).toBe(10)
    expect(rateBetween(before, after, "c", { d: "b" })).toBe(0)
    expect(rateBetween(undefined, after, "c")).toBeNull()
    expect(rateBetween(before, after, "nothing")).toBeNull()
    // A counter that fell belongs to another process.
    expect(rateBetween(after, new Scrape(metrics(sample("c", 1)), 5_000), "c")).toBeNull()
  })

  test("a percentile is of what came between, within its bucket; nothing observed is no percentile", () => {
    const before = new Scrape(
      metrics(
        ...buckets([
          ["0.1", 100],
          ["1", 100],
          ["+Inf", 100],
        ]),
      ),
      0,
    )
    const after = new Scrape(
      metrics(
        ...buckets([
          ["0.1", 150],
          ["1", 200],
          ["+Inf", 200],
        ]),
      ),
      1_000,
    )
    expect(quantileBetween(before, after, "h", 0.5)).toBeCloseTo(0.1)
    expect(quantileBetween(before, after, "h", 0.75)).toBeCloseTo(0.55)
    expect(quantileBetween(after, after, "h", 0.5)).toBeNull()
    const beyond = new Scrape(
      metrics(
        ...buckets([
          ["0.1", 150],
          ["1", 200],
          ["+Inf", 900],
        ]),
      ),
      2_000,
    )
    expect(quantileBetween(after, beyond, "h", 0.99)).toBe(1)
  })

  test("a restart leaves a gap, is told, and is never drawn as a fall", () => {
    const history = new History()
    const scrape = (uptime: number, frames: number): Metrics =>
      metrics(sample("fitz_uptime_seconds", uptime), sample("fitz_messages_received_total", frames))
    history.add(scrape(100, 1_000), 10_000)
    history.add(scrape(102, 1_200), 12_000)
    expect(history.latest?.framesIn).toBe(100)
    history.add(scrape(1, 10), 14_000)
    expect(history.restartedAtMs).toBe(13_000)
    expect(history.points.map(point => point.framesIn)).toEqual([null, 100, null, null])
    history.add(scrape(3, 30), 16_000)
    expect(history.latest?.framesIn).toBe(10)
  })

  test("top movers are ordered by what they do now", () => {
    const history = new History()
    const scrape = (gets: number, puts: number): Metrics =>
      metrics(
        sample("fitz_domain_operations_total", gets, { domain: "kv", operation: "get" }),
        sample("fitz_domain_operations_total", puts, { domain: "kv", operation: "put" }),
      )
    history.add(scrape(0, 0), 1_000)
    history.add(scrape(10, 40), 3_000)
    expect(history.topMovers.map(({ operation, rate }) => [operation, rate])).toEqual([
      ["put", 20],
      ["get", 5],
    ])
  })
})

describe("the verdict", () => {
  const ready = { status: "ready", checks: { storage: "ok", domains_initialized: "ok" } }
  const known = {
    readiness: ready,
    diagnostics: {},
    point: null,
    uptimeSeconds: 9_999,
    oldestMessageSeconds: null,
    silentMs: null,
  }
  const diagnosis = (severity: string, stage: string): Diagnostics => ({
    current_stage: stage,
    trend: "rising",
    severity,
    likely_bottleneck: null,
    age_seconds: 0,
    failure_count: 0,
    contention_count: 0,
    waiter_count: 0,
    confidence: "low",
    explanation_hints: ["more comes in than goes out"],
  })

  test.for([
    ["silence", { silentMs: 9_000 }, "bad", "No answer from the broker."],
    ["nothing known", { readiness: null }, "unknown", /Asking/],
    ["all well", {}, "good", /Everything flows|quiet/],
    ["a backlog", { diagnostics: { queue: diagnosis("high", "backlog_growth") } }, "bad", /in trouble/],
    [
      "dead letters",
      { diagnostics: { queue: diagnosis("high", "dead_letter_pressure") } },
      "watch",
      /one thing/,
    ],
    [
      "two things",
      { diagnostics: { queue: diagnosis("medium", "x"), rpc: diagnosis("medium", "y") } },
      "watch",
      /2 things/,
    ],
    [
      "a full disk",
      { readiness: { status: "not_ready", checks: { storage: "not_ready", domains_initialized: "ok" } } },
      "bad",
      /Not taking writes/,
    ],
    [
      "loading",
      {
        readiness: {
          ...ready,
          status: "not_ready",
          error: {
            code: "not_ready",
            message: "the store is being loaded",
            detail: { replay_progress: 0.629 },
          },
        },
      },
      "bad",
      /Starting/,
    ],
    [
      "draining",
      { readiness: { ...ready, status: "not_ready", error: { code: "shutting_down", message: "bye" } } },
      "bad",
      /Draining/,
    ],
  ] as const)("%s", ([, change, level, headline]) => {
    const verdict = verdictOf({ ...known, ...change })
    expect(verdict.level).toBe(level)
    expect(verdict.headline).toMatch(headline)
    if (level !== "unknown") expect(verdict.reasons.length).toBeGreaterThan(0)
  })

  test("a share that is loaded is rounded down", () => {
    const error = { code: "not_ready", message: "m", detail: { replay_progress: 0.999 } }
    const { reasons } = verdictOf({ ...known, readiness: { ...ready, status: "not_ready", error } })
    expect(reasons.map(({ text }) => text)).toContain("99 % of the store's index is loaded")
  })
})

describe("asking again", () => {
  const calm = { everyMs: 2_000, hidden: false, failures: 0, failure: null }
  test("a hidden tab asks fifteen times less often, a minute at the longest", () => {
    expect(nextPollMs(calm)).toBe(2_000)
    expect(nextPollMs({ ...calm, hidden: true })).toBe(30_000)
    expect(nextPollMs({ ...calm, everyMs: 10_000, hidden: true })).toBe(60_000)
  })
  test("failures double the pause, up to a minute, and a wish of the broker is respected", () => {
    const failure = new Failure("unreachable", "")
    const pauses = [1, 2, 3, 9].map(failures => nextPollMs({ ...calm, failures, failure }))
    expect(pauses).toEqual([4_000, 8_000, 16_000, 60_000])
    const busy = new Failure("busy", "", { retryAfterMs: 20_000 })
    expect(nextPollMs({ ...calm, failures: 1, failure: busy })).toBe(20_000)
  })
  test("what is forbidden is not asked again and again", () => {
    for (const kind of ["forbidden", "unauthorized", "refused"] as const) {
      expect(nextPollMs({ ...calm, failures: 1, failure: new Failure(kind, "") })).toBe(false)
    }
    expect(nextPollMs({ ...calm, failures: 1, failure: new Failure("missing", "") })).toBe(4_000)
  })
  test("an answer is old when three more should have come", () => {
    expect(isStale(0, 2_000, false, 7_000)).toBe(false)
    expect(isStale(0, 2_000, false, 8_001)).toBe(true)
    expect(isStale(0, 2_000, true, 60_000)).toBe(false)
  })
})

describe("rows in sight", () => {
  test("some more than are seen, never more than there are", () => {
    expect(spanOf(0, 360, 36, 10_000)).toEqual({ from: 0, to: 22 })
    expect(spanOf(36_000, 360, 36, 10_000)).toEqual({ from: 988, to: 1_022 })
    expect(spanOf(1e9, 360, 36, 100)).toEqual({ from: 78, to: 100 })
    expect(spanOf(0, 360, 36, 0)).toEqual({ from: 0, to: 0 })
  })
  test("only the pages that hold them are asked for", () => {
    expect(offsetsOf({ from: 0, to: 22 })).toEqual([0])
    expect(offsetsOf({ from: 190, to: 201 })).toEqual([0, 200])
    expect(offsetsOf({ from: 9_980, to: 10_000 })).toEqual([9_800])
    expect(offsetsOf({ from: 0, to: 0 })).toEqual([0])
  })
})

describe("credentials", () => {
  const token = (claims: object): string => `h.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`
  test("a token says what it is; a key says nothing", () => {
    const read = readCredential(
      `  Bearer ${token({ sub: "ada \u2713", exp: 100, scope: "admin:read x", roles: ["data:read"] })}\n`,
    )
    expect(read).toMatchObject({ kind: "token", subject: "ada \u2713", expiresAtMs: 100_000 })
    expect(read?.permissions).toEqual(["admin:read", "x", "data:read"])
    expect(readCredential("a-key-of-some-length-0123")).toMatchObject({ kind: "key", permissions: null })
    expect(readCredential("a.b.c")).toMatchObject({ kind: "key" })
    expect(readCredential("two words")).toBeNull()
    expect(readCredential(" ")).toBeNull()
  })
  test("they travel in headers", () => {
    expect(headerOf(readCredential(token({}))!)).toEqual({ authorization: `Bearer ${token({})}` })
    expect(headerOf(readCredential("key-key-key")!)).toEqual({ "x-api-key": "key-key-key" })
  })
  test("writing is not reading, and data is neither", () => {
    expect(rightsOf(["admin:write"])).toEqual({ read: false, write: true, data: false })
    expect(rightsOf(["admin"])).toEqual({ read: true, write: true, data: false })
    expect(rightsOf(["data:read"])).toEqual({ read: false, write: false, data: true })
  })
  test("an end is seen coming five minutes before", () => {
    expect([expiryOf(null, 9), expiryOf(400_000, 0), expiryOf(300_000, 0), expiryOf(5, 5)]).toEqual([
      "fine",
      "fine",
      "soon",
      "over",
    ])
  })
})

describe("addresses", () => {
  test("requests stay below the page's own root and escape what they are given", () => {
    expect(addressOf("https://x/brokers/one/", "api/v1/stats", { realm: "a&b", none: "" })).toBe(
      "https://x/brokers/one/api/v1/stats?realm=a%26b",
    )
    expect(pathOf("queue", "a b", "c/d")).toBe("queue/a%20b/c%2Fd")
  })
  test.for([
    [
      "/api/v1/queue/realms/prod/areas/jobs/resources/emails/dead-letters?family=1",
      "queue",
      "queue/prod/jobs/emails",
    ],
    ["/api/v1/admin/lease/leases", "lease", "lease?tab=leases"],
    ["/api/v1/sessions/sess_17", "sessions", "sessions/sess_17"],
    ["/api/v1/rpc/stats?include=diagnostics", "rpc", "rpc"],
  ] as const)("%s is shown at %s", ([href, domain, view]) => {
    expect(viewOfHref({ href, domain, title: "sess_17" })).toBe(view)
  })
  test("a route leads to its place, a pattern to its domain", () => {
    expect(viewOfRoute("rpc://prod/billing/invoices/create")).toBe("rpc/prod/billing/invoices")
    expect(viewOfRoute("notice://prod/**")).toBe("notice")
    expect(viewOfRoute("elsewhere")).toBe("")
  })
  test("each refusal becomes the kind that a reader can act on", () => {
    const kinds = [401, 403, 404, 429, 503, 400, 409, 500].map(status =>
      failureOf(
        { status, headers: new Headers({ "retry-after": "3" }) },
        { code: "c", message: "m", request_id: "r" },
      ),
    )
    expect(kinds.map(({ kind }) => kind)).toEqual([
      "unauthorized",
      "forbidden",
      "missing",
      "busy",
      "busy",
      "refused",
      "refused",
      "broken",
    ])
    expect(kinds[3]).toMatchObject({ retryAfterMs: 3_000, requestId: "r", code: "c" })
    expect(failureOf({ status: 404, headers: new Headers() }, "<html>").kind).toBe("missing")
  })
})
