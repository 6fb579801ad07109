// Notice, rule by rule (docs/PROTOCOL.md, N-*), over the in-memory door: what programs may rely on, each rule in a
// test that carries its number, at its limits and one beyond. Time moves by hand; never a socket, a file or a wait.

import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { type PipedCaller, TestBroker, type TestBrokerOptions } from "../kit/broker.ts"
import { block, bytes, u64 } from "../kit/bytes.ts"
import { refused, unheard } from "../kit/replies.ts"

const ROUTE = "notice://realm/area/one"

let broker: TestBroker
let a: PipedCaller
let b: PipedCaller

function start(options: TestBrokerOptions = {}): void {
  broker.close()
  broker = new TestBroker(options)
  a = broker.enter()
  b = broker.enter()
}

beforeEach(() => {
  broker = new TestBroker()
  a = broker.enter()
  b = broker.enter()
})
afterEach(() => broker.close())

/** What a client has heard and not looked at yet: `id:body`. */
async function heard(by: PipedCaller): Promise<string[]> {
  broker.settle()
  const all: string[] = []
  while (by.unread(504).length > 0) {
    const { subscription, body } = await by.notice.next()
    all.push(`${subscription}:${body}`)
  }
  return all
}

test("N-1 N-2 N-8: a publish is answered by nothing; who follows gets it byte by byte under the id", async () => {
  const id = await a.notice.subscribe(ROUTE)
  const body = bytes("00 ff c3 28")
  b.notice.publish(ROUTE, body)
  expect(await a.next(504)).toEqual(bytes(u64(id), block(ROUTE), block(body)))
  broker.settle()
  expect(b.received).toEqual([])
})

test("N-2 S-3 S-4: one 504 for each matching registration, the publisher's own too", async () => {
  const ids = [await a.notice.subscribe(ROUTE), await a.notice.subscribe("notice://realm/**")]
  const own = await b.notice.subscribe("notice://*/area/*")
  await b.notice.subscribe("notice://realm/area/two")
  b.notice.publish(ROUTE, "x")
  expect(await heard(a)).toEqual([`${ids[0]}:x`, `${ids[1]}:x`])
  expect(await heard(b)).toEqual([`${own}:x`])
})

test("R-5 N-9: one segment for *, none or more for **; routes of any depth", async () => {
  const patterns = [
    "notice://**",
    "notice://a",
    "notice://*",
    "notice://a/*",
    "notice://a/**",
    "notice://**/c",
    "notice://a/**/c",
  ]
  const ids = new Map<string, number>()
  for (const pattern of patterns) ids.set(pattern, await a.notice.subscribe(pattern))
  const expected: Record<string, string[]> = {
    "notice://a": ["notice://**", "notice://a", "notice://*", "notice://a/**"],
    "notice://b": ["notice://**", "notice://*"],
    "notice://a/b": ["notice://**", "notice://a/*", "notice://a/**"],
    "notice://a/c": ["notice://**", "notice://a/*", "notice://a/**", "notice://**/c", "notice://a/**/c"],
    "notice://a/b/b/c": ["notice://**", "notice://a/**", "notice://**/c", "notice://a/**/c"],
    [`notice://${"x/".repeat(63)}x`]: ["notice://**"],
  }
  for (const [route, matching] of Object.entries(expected)) {
    b.notice.publish(route, "x")
    expect(await heard(a)).toEqual(matching.map(pattern => `${ids.get(pattern)}:x`))
  }
})

test("R-9: segments are compared byte for byte", async () => {
  await a.notice.subscribe("notice://Realm/\u00e9")
  for (const route of ["notice://realm/\u00e9", "notice://Realm/e\u0301", "notice://Realm/\u00c9"])
    b.notice.publish(route, "x")
  expect(await heard(a)).toEqual([])
  b.notice.publish("notice://Realm/\u00e9", "x")
  expect((await heard(a)).length).toBe(1)
})

test("N-3: what one publisher sends to one route arrives in that order, over turns and within one", async () => {
  const id = await a.notice.subscribe("notice://**")
  const expected: string[] = []
  for (let i = 0; i < 500; i++) {
    b.notice.publish(i % 3 === 0 ? ROUTE : "notice://other", String(i))
    expected.push(`${id}:${i}`)
    if (i % 70 === 0) broker.settle()
  }
  expect(await heard(a)).toEqual(expected)
})

test("N-3: also where one connection follows twice: no later publish overtakes an earlier one", async () => {
  const [one, two] = [await a.notice.subscribe(ROUTE), await a.notice.subscribe("notice://**")]
  const other = await b.notice.subscribe(ROUTE)
  for (const body of ["1", "2", "3"]) b.notice.publish(ROUTE, body)
  expect(await heard(a)).toEqual([`${one}:1`, `${two}:1`, `${one}:2`, `${two}:2`, `${one}:3`, `${two}:3`])
  expect(await heard(b)).toEqual([`${other}:1`, `${other}:2`, `${other}:3`])
})

test("N-3: publishes of several clients to several followers keep each publisher's order", async () => {
  const publishers = Array.from({ length: 4 }, () => broker.enter())
  const followers = Array.from({ length: 3 }, () => broker.enter())
  for (const follower of followers) await follower.notice.subscribe("notice://**")
  for (let i = 0; i < 40; i++)
    publishers[i % 4]!.notice.publish(i % 2 === 0 ? ROUTE : "notice://realm/two", `${i % 4} ${i}`)
  for (const follower of followers) {
    const bodies = (await heard(follower)).map(text => text.split(":")[1]!)
    expect(bodies).toEqual(Array.from({ length: 40 }, (_, i) => `${i % 4} ${i}`))
  }
})

test("N-5 F-10: a publish that is invalid, not allowed or matched by nobody is dropped in silence", async () => {
  const reader = broker.enter({ permissions: ["notice://**#read"] })
  await a.notice.subscribe("notice://**")
  for (const route of ["notice://a//b", "notice://a/*", "notice://**", "kv://a/b/c", "a/b/c", ""])
    b.notice.publish(route, "x")
  reader.notice.publish(ROUTE, "x")
  for (const payload of [
    bytes(),
    block(ROUTE),
    bytes(block(ROUTE), block("x"), "00"),
    block(ROUTE).subarray(0, 7),
  ])
    b.send(500, payload)
  expect(await heard(a)).toEqual([])
  expect([b.received, reader.received, b.open, reader.open]).toEqual([[], [], true, true])
  b.notice.publish(ROUTE, "fine")
  expect((await heard(a)).length).toBe(1)
})

test("N-8: a publish of 65,527 bytes is delivered, a longer one leaves no room for the id and is dropped", async () => {
  await a.notice.subscribe(ROUTE)
  const room = 65_527 - 4 - ROUTE.length - 4
  b.notice.publish(ROUTE, Buffer.alloc(room + 1))
  b.notice.publish(ROUTE, Buffer.alloc(room))
  broker.settle()
  expect(a.unread(504).map(payload => payload.length)).toEqual([65_535])
})

test("P-11 P-16: another family hears nothing, another realm only through wildcards", async () => {
  const stranger = broker.enter({ family: 2 })
  await stranger.notice.subscribe("notice://**")
  await a.notice.subscribe("notice://other/**")
  const all = await b.notice.subscribe("notice://*/area/one")
  b.notice.publish(ROUTE, "x")
  expect(await heard(stranger)).toEqual([])
  expect(await heard(a)).toEqual([])
  expect(await heard(b)).toEqual([`${all}:x`])
})

describe("registrations", () => {
  test("S-1 S-2: the same pattern again has the same id; ids are never 0, never shared, never given again", async () => {
    const first = await a.notice.subscribe(ROUTE)
    expect(first).toBeGreaterThan(0)
    expect(await a.notice.subscribe(ROUTE)).toBe(first)
    const seen = new Set([first])
    for (let i = 0; i < 20; i++) {
      const caller = broker.enter()
      for (const id of [await caller.notice.subscribe(ROUTE), await caller.kv.subscribe("kv://a/b/c")]) {
        expect(seen.has(id)).toBe(false)
        seen.add(id)
      }
      caller.pipe.hangUp()
    }
    b.notice.publish(ROUTE, "x")
    expect(await heard(a)).toEqual([`${first}:x`])
  })

  test("N-6 S-5: UNSUBSCRIBE goes by id; unknown and foreign ids succeed and change nothing", async () => {
    const mine = await a.notice.subscribe(ROUTE)
    const theirs = await b.notice.subscribe(ROUTE)
    await a.notice.unsubscribe(theirs)
    await a.notice.unsubscribe(0)
    await a.notice.unsubscribe(2 ** 53)
    await a.notice.unsubscribe(mine)
    await a.notice.unsubscribe(mine)
    b.notice.publish(ROUTE, "x")
    expect(await heard(a)).toEqual([])
    expect(await heard(b)).toEqual([`${theirs}:x`])
    const again = await a.notice.subscribe(ROUTE)
    expect(again).not.toBe(mine)
  })

  test("N-6: an id of another domain is unknown here", async () => {
    const kv = await a.kv.subscribe("kv://a/b/c")
    const lease = await a.lease.subscribe("lease://a/b/c")
    await a.notice.unsubscribe(kv)
    await a.notice.unsubscribe(lease)
    await b.lease.acquire("lease://a/b/c", 5)
    expect((await a.lease.next()).subscription).toBe(lease)
  })

  test("N-7: UNSUBSCRIBE_ALL takes back all notice registrations of the session, and no others", async () => {
    await a.notice.subscribe(ROUTE)
    await a.notice.subscribe("notice://**")
    const lease = await a.lease.subscribe("lease://a/b/c")
    const other = await b.notice.subscribe(ROUTE)
    await a.notice.unsubscribeAll()
    await a.notice.unsubscribeAll()
    b.notice.publish(ROUTE, "x")
    await b.lease.acquire("lease://a/b/c", 5)
    expect(await heard(a)).toEqual([])
    expect(await heard(b)).toEqual([`${other}:x`])
    expect((await a.lease.next()).subscription).toBe(lease)
  })

  test("S-6: a 504 follows the reply to its SUBSCRIBE, and none follows the reply that ended it", async () => {
    unheard(a.notice.subscribe(ROUTE))
    a.notice.publish(ROUTE, "x")
    broker.settle()
    expect(a.received.map(frame => frame.type)).toEqual([501, 504])
    unheard(a.notice.unsubscribeAll())
    a.notice.publish(ROUTE, "y")
    broker.settle()
    expect(a.received.map(frame => frame.type)).toEqual([501, 504, 503])
  })

  test("S-6: whoever comes or goes between two publishes of one turn hears exactly its part", async () => {
    await a.notice.subscribe(ROUTE)
    const [late, early] = [broker.enter(), broker.enter()]
    const id = await early.notice.subscribe(ROUTE)
    b.notice.publish(ROUTE, "1")
    unheard(late.notice.subscribe(ROUTE))
    b.notice.publish(ROUTE, "2")
    unheard(early.notice.unsubscribe(id))
    b.notice.publish(ROUTE, "3")
    const gone = broker.enter()
    gone.pipe.hangUp()
    b.notice.publish(ROUTE, "4")
    const bodies = async (by: PipedCaller): Promise<string> =>
      (await heard(by)).map(text => text.split(":")[1]).join("")
    expect([await bodies(a), await bodies(late), await bodies(early)]).toEqual(["1234", "234", "12"])
  })

  test("S-7 D-1: registrations end with their connection", async () => {
    await a.notice.subscribe(ROUTE)
    a.pipe.hangUp()
    b.notice.publish(ROUTE, "x")
    broker.settle()
    expect(a.received.map(frame => frame.type)).toEqual([501])
  })

  test("S-8 M-7 M-8: registrations beyond the limits are refused with 3003; the known one is not", async () => {
    start({ config: { maxWildcardRegistrations: 2, maxRegistrations: 4 } })
    const first = await a.notice.subscribe("notice://a/**")
    await a.notice.subscribe("notice://b/**")
    await refused(a.notice.subscribe("notice://c/**"), 3003)
    await a.notice.subscribe("notice://c")
    await a.notice.subscribe("notice://d")
    await refused(a.notice.subscribe("notice://e"), 3003)
    expect(await a.notice.subscribe("notice://a/**")).toBe(first)
    await b.notice.subscribe("notice://c/**")
    await a.notice.unsubscribe(first)
    await a.notice.subscribe("notice://c/**")
  })

  test("S-8: the defaults are 128 with a wildcard and 1,024 in all", async () => {
    for (let i = 0; i < 128; i++) await a.notice.subscribe(`notice://${i}/*`)
    await refused(a.notice.subscribe("notice://128/*"), 3003)
    for (let i = 128; i < 1_024; i++) await a.notice.subscribe(`notice://${i}`)
    await refused(a.notice.subscribe("notice://1024"), 3003)
  })

  test("S-9: a pattern that is none is refused with 3002", async () => {
    for (const pattern of [
      "notice://",
      "notice://a//b",
      "notice://a*",
      "notice://**/**",
      "kv://a/b/c",
      "notice:/a",
      "a",
    ])
      await refused(a.notice.subscribe(pattern), 3002)
  })

  test("P-5 P-7 P-10: SUBSCRIBE needs read in one grant over all of the pattern (3009)", async () => {
    const c = broker.enter({ permissions: ["notice://a/**#read", "notice://b#read", "notice://c/**#write"] })
    for (const pattern of ["notice://**", "notice://*", "notice://b/**", "notice://c/d"])
      await refused(c.notice.subscribe(pattern), 3009)
    for (const pattern of ["notice://a", "notice://a/*/c/**", "notice://b"]) await c.notice.subscribe(pattern)
    await c.notice.unsubscribeAll()
  })

  test("F-10: a request that does not parse is refused with 3005", async () => {
    const ask = (type: number, payload: Buffer): Promise<unknown> => a.call(type, payload, () => null)
    await refused(ask(501, bytes(block(ROUTE), "00")), 3005)
    await refused(ask(502, bytes("00")), 3005)
    await refused(ask(502, bytes(u64(1), "00")), 3005)
    await refused(ask(503, bytes("00")), 3005)
    expect(a.open).toBe(true)
  })
})
