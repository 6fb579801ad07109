// Lease, rule by rule (docs/PROTOCOL.md, L-*), over the in-memory door: what programs may rely on, each rule in a
// test that carries its number, at its limits and one beyond. Time moves by hand; never a socket, a file or a wait.

import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { type PipedCaller, TestBroker, type TestBrokerOptions } from "../kit/broker.ts"
import { block, bytes, u8, u32, u64 } from "../kit/bytes.ts"
import { refused, unheard } from "../kit/replies.ts"

const ROUTE = "lease://realm/area/one"
const OTHER = "lease://realm/area/two"
const [ACQUIRED, ALREADY_HELD, QUEUED, ALREADY_QUEUED] = [0, 1, 2, 3]

let broker: TestBroker
let a: PipedCaller
let b: PipedCaller
let c: PipedCaller

function start(options: TestBrokerOptions = {}): void {
  if (options.after === undefined) broker.close()
  broker = new TestBroker(options)
  a = broker.enter()
  b = broker.enter()
  c = broker.enter()
}

beforeEach(() => {
  broker = new TestBroker()
  a = broker.enter()
  b = broker.enter()
  c = broker.enter()
})
afterEach(() => broker.close())

/** The second 400 of a wait, where it has come; what it says in short. */
async function granted(caller: PipedCaller): Promise<unknown> {
  broker.settle()
  if (caller.unread(400).length === 0) return "waiting"
  return caller.lease.granted().catch((error: Error) => error.message.slice(0, 4))
}

describe("acquire", () => {
  test("L-3: a free lease is acquired, with a token that is not 0", async () => {
    const first = await a.lease.acquire(ROUTE, 10)
    expect(first.kind).toBe(ACQUIRED)
    expect(first.token).toBeGreaterThan(0)
    const reply = a.received.at(-1)!.payload
    expect(reply.length).toBe(10)
  })

  test("L-3: a lease that has run out is acquired anew, by its owner as by others", async () => {
    const first = await a.lease.acquire(ROUTE, 2)
    broker.advance(1_999)
    await refused(b.lease.acquire(ROUTE, 2), 5001)
    broker.advance(1)
    const second = await b.lease.acquire(ROUTE, 2)
    expect(second.kind).toBe(ACQUIRED)
    expect(second.token).toBeGreaterThan(first.token)
    broker.advance(2_000)
    const third = await b.lease.acquire(ROUTE, 2)
    expect(third.kind).toBe(ACQUIRED)
    expect(third.token).toBeGreaterThan(second.token)
  })

  test("L-4: its owner again gets kind 1 and the same token, and its time is not moved", async () => {
    const { token } = await a.lease.acquire(ROUTE, 10)
    broker.advance(4_000)
    expect(await a.lease.acquire(ROUTE, 3_600)).toEqual({ kind: ALREADY_HELD, token })
    expect(await b.lease.query(ROUTE)).toEqual({ holder: { owner: "", ttlLeft: 6 }, waiters: 0 })
  })

  test("L-1: an owner is a session and its owner string: neither alone is enough", async () => {
    await a.lease.acquire(ROUTE, 10, 0, "me")
    await refused(b.lease.acquire(ROUTE, 10, 0, "me"), 5001)
    await refused(a.lease.acquire(ROUTE, 10, 0, "you"), 5001)
    await refused(a.lease.acquire(ROUTE, 10), 5001)
    expect((await a.lease.acquire(ROUTE, 10, 0, "me")).kind).toBe(ALREADY_HELD)
  })

  test("L-5 L-2: held by another and no wait is 5001, also where the wait is left out", async () => {
    await a.lease.acquire(ROUTE, 10)
    await refused(b.lease.acquire(ROUTE, 10, 0), 5001)
    await refused(b.lease.acquire(ROUTE, 10), 5001)
    await b.lease.acquire(OTHER, 10)
  })

  test("P-11: the same route in another family is another lease", async () => {
    await a.lease.acquire(ROUTE, 10)
    expect((await broker.enter({ family: 2 }).lease.acquire(ROUTE, 10)).kind).toBe(ACQUIRED)
  })

  test("L-10: a ttl of 0 or above 4,000,000,000 s is refused with 5008 by ACQUIRE and RENEW", async () => {
    for (const ttl of [0, 4_000_000_001, 2n ** 64n - 1n]) await refused(a.lease.acquire(ROUTE, ttl), 5008)
    const { token } = await a.lease.acquire(ROUTE, 4_000_000_000)
    for (const ttl of [0, 4_000_000_001, 2n ** 64n - 1n])
      await refused(a.lease.renew(ROUTE, token, ttl), 5008)
    expect(await a.lease.renew(ROUTE, token, 4_000_000_000)).toBe(token)
  })

  test("L-7: tokens rise over all leases", async () => {
    const tokens: number[] = []
    for (let i = 0; i < 20; i++) {
      tokens.push((await a.lease.acquire(`lease://realm/area/${i % 7}`, 1)).token)
      broker.advance(1_000)
    }
    expect(tokens).toEqual([...tokens].sort((x, y) => x - y))
    expect(new Set(tokens).size).toBe(20)
  })

  test("L-7 L-18: after a restart nothing is held, and every token is above all given before", async () => {
    let last = 0
    for (let i = 0; i < 3; i++) {
      const { kind, token } = await a.lease.acquire(ROUTE, 3_600)
      expect(kind).toBe(ACQUIRED)
      expect(token).toBeGreaterThan(last)
      last = token
      start({ after: broker, nowMs: broker.now })
    }
  })

  test("E-6: where no token can be given the request is refused with 5008, and nothing has changed", async () => {
    await a.lease.acquire(OTHER, 1)
    broker.advance(1_000)
    broker.fencesFail = true
    await refused(a.lease.acquire(ROUTE, 10), 5008)
    await refused(a.lease.acquire(OTHER, 10), 5008)
    await a.lease.subscribe(ROUTE)
    broker.fencesFail = false
    expect(await b.lease.query(ROUTE)).toEqual({ holder: null, waiters: 0 })
    expect((await b.lease.acquire(ROUTE, 10)).kind).toBe(ACQUIRED)
  })
})

describe("waiting", () => {
  test("L-6 L-8 L-14: a waiter gets kind 2 with its token, and that token when the lease is free", async () => {
    const held = await a.lease.acquire(ROUTE, 10)
    const queued = await b.lease.acquire(ROUTE, 5, 20)
    expect(queued.kind).toBe(QUEUED)
    expect(queued.token).toBeGreaterThan(held.token)
    expect(await granted(b)).toBe("waiting")
    await a.lease.release(ROUTE, held.token)
    expect(await granted(b)).toEqual({ kind: ACQUIRED, token: queued.token })
    // Its own time counts from the grant.
    expect(await c.lease.query(ROUTE)).toEqual({ holder: { owner: "", ttlLeft: 5 }, waiters: 0 })
    broker.advance(20_000)
    expect(await granted(b)).toBe("waiting")
  })

  test("L-6: the same owner waiting already gets kind 3 with the token of its wait", async () => {
    await a.lease.acquire(ROUTE, 10)
    const { token } = await b.lease.acquire(ROUTE, 5, 20)
    expect(await b.lease.acquire(ROUTE, 99, 30)).toEqual({ kind: ALREADY_QUEUED, token })
    expect((await b.lease.acquire(ROUTE, 5, 20, "second")).kind).toBe(QUEUED)
    expect((await c.lease.query(ROUTE)).waiters).toBe(2)
    // An ACQUIRE without a wait does not ask for a place.
    await refused(b.lease.acquire(ROUTE, 5), 5001)
  })

  test("L-6: first in, first out", async () => {
    const callers = [b, c, broker.enter()]
    let { token } = await a.lease.acquire(ROUTE, 30)
    const waits: number[] = []
    for (const caller of callers) waits.push((await caller.lease.acquire(ROUTE, 30, 30)).token)
    let holder = a
    for (const [i, caller] of callers.entries()) {
      await holder.lease.release(ROUTE, token)
      expect(await granted(caller)).toEqual({ kind: ACQUIRED, token: waits[i] })
      for (const later of callers.slice(i + 1)) expect(await granted(later)).toBe("waiting")
      holder = caller
      token = waits[i]!
    }
  })

  test("L-14: a lease that runs out, and one whose session goes, is handed on at once", async () => {
    await a.lease.acquire(ROUTE, 3)
    const second = await b.lease.acquire(ROUTE, 10, 20)
    const third = await c.lease.acquire(ROUTE, 10, 20)
    broker.advance(2_999)
    expect(await granted(b)).toBe("waiting")
    broker.advance(1)
    expect(await granted(b)).toEqual({ kind: ACQUIRED, token: second.token })
    b.pipe.hangUp()
    expect(await granted(c)).toEqual({ kind: ACQUIRED, token: third.token })
  })

  test("L-8: a wait that is over gets 5006, once, to the millisecond", async () => {
    await a.lease.acquire(ROUTE, 60)
    await b.lease.acquire(ROUTE, 10, 3)
    broker.advance(2_999)
    expect(await granted(b)).toBe("waiting")
    broker.advance(1)
    expect(await granted(b)).toBe("5006")
    expect((await c.lease.query(ROUTE)).waiters).toBe(0)
    broker.advance(60_000)
    expect(await granted(b)).toBe("waiting")
    expect((await b.lease.acquire(ROUTE, 10)).kind).toBe(ACQUIRED)
  })

  test("L-8: a wait that ends with the lease it waits for has ended, and the next one gets it", async () => {
    await a.lease.acquire(ROUTE, 5)
    await b.lease.acquire(ROUTE, 10, 5)
    const { token } = await c.lease.acquire(ROUTE, 10, 6)
    broker.advance(5_000)
    expect(await granted(b)).toBe("5006")
    expect(await granted(c)).toEqual({ kind: ACQUIRED, token })
  })

  test("L-9: a wait above 30 s is refused with 5008, one of 30 s is taken", async () => {
    await a.lease.acquire(ROUTE, 60)
    for (const wait of [31, 2 ** 32 - 1]) await refused(b.lease.acquire(ROUTE, 10, wait), 5008)
    await refused(b.lease.acquire(OTHER, 10, 31), 5008)
    expect((await b.lease.acquire(ROUTE, 10, 30)).kind).toBe(QUEUED)
    broker.advance(30_000)
    expect(await granted(b)).toBe("5006")
  })

  test("L-9: 100 wait for one lease, one more gets 5007", async () => {
    const { token } = await a.lease.acquire(ROUTE, 60)
    for (let i = 0; i < 100; i++) expect((await b.lease.acquire(ROUTE, 10, 30, `w${i}`)).kind).toBe(QUEUED)
    await refused(c.lease.acquire(ROUTE, 10, 30), 5007)
    await refused(c.lease.acquire(ROUTE, 10), 5001)
    await a.lease.release(ROUTE, token)
    expect((await c.lease.acquire(ROUTE, 10, 30)).kind).toBe(QUEUED)
  })

  test("M-5: a session waits for so many leases and no more (5007)", async () => {
    start({ config: { maxParked: 2 } })
    for (const name of "xyz") await a.lease.acquire(`lease://r/a/${name}`, 60)
    await b.lease.acquire("lease://r/a/x", 10, 5)
    await b.lease.acquire("lease://r/a/y", 10, 5)
    await refused(b.lease.acquire("lease://r/a/z", 10, 5), 5007)
    await c.lease.acquire("lease://r/a/z", 10, 5)
    broker.advance(5_000)
    expect((await b.lease.acquire("lease://r/a/z", 10, 5)).kind).toBe(QUEUED)
  })

  test("M-14: leases beyond the limit are refused with 5007; a lease that lapsed counts for a minute", async () => {
    start({ config: { maxLeases: 2 } })
    await a.lease.acquire(ROUTE, 1)
    const { token } = await a.lease.acquire(OTHER, 3_600)
    await refused(a.lease.acquire("lease://r/a/z", 10), 5007)
    broker.advance(1_000)
    await refused(b.lease.acquire("lease://r/a/z", 10), 5007)
    // The one that lapsed is itself to be had.
    expect((await b.lease.acquire(ROUTE, 1)).kind).toBe(ACQUIRED)
    await a.lease.release(OTHER, token)
    expect((await b.lease.acquire("lease://r/a/z", 10)).kind).toBe(ACQUIRED)
    broker.advance(61_000)
    await b.lease.acquire(OTHER, 10)
  })

  test("D-1: a waiter that goes is passed over", async () => {
    const { token } = await a.lease.acquire(ROUTE, 60)
    await b.lease.acquire(ROUTE, 10, 30)
    const last = await c.lease.acquire(ROUTE, 10, 30)
    b.pipe.hangUp()
    await a.lease.release(ROUTE, token)
    expect(await granted(c)).toEqual({ kind: ACQUIRED, token: last.token })
  })

  test("D-7: draining ends waits with 5006 and lets none begin; what is held stays", async () => {
    const { token } = await a.lease.acquire(ROUTE, 60)
    await b.lease.acquire(ROUTE, 10, 30)
    broker.engine.drain()
    expect(await granted(b)).toBe("5006")
    await refused(b.lease.acquire(ROUTE, 10, 30), 5006)
    await refused(b.lease.acquire(ROUTE, 10), 5001)
    expect(await a.lease.renew(ROUTE, token, 60)).toBe(token)
    expect((await b.lease.acquire(OTHER, 10, 30)).kind).toBe(ACQUIRED)
  })
})

describe("renew and release", () => {
  test("L-11: RENEW counts its ttl from now and returns the same token", async () => {
    const { token } = await a.lease.acquire(ROUTE, 5)
    broker.advance(4_000)
    expect(await a.lease.renew(ROUTE, token, 5)).toBe(token)
    broker.advance(4_999)
    await refused(b.lease.acquire(ROUTE, 5), 5001)
    expect(await a.lease.renew(ROUTE, token, 1)).toBe(token)
    broker.advance(1_000)
    expect((await b.lease.acquire(ROUTE, 5)).kind).toBe(ACQUIRED)
  })

  test("L-12: RENEW is refused with 5004 where nothing is held or another holds it, 5002 for another token", async () => {
    await refused(a.lease.renew(ROUTE, 1, 5), 5004)
    const { token } = await a.lease.acquire(ROUTE, 5)
    await refused(b.lease.renew(ROUTE, token, 5), 5004)
    await refused(a.lease.renew(ROUTE, token, 5, "other"), 5004)
    await refused(a.lease.renew(ROUTE, token + 1, 5), 5002)
    await refused(a.lease.renew(ROUTE, 0, 5), 5002)
    await a.lease.release(ROUTE, token)
    await refused(a.lease.renew(ROUTE, token, 5), 5004)
  })

  test("L-12: what has run out is 5003 to its owner for a minute, then 5004", async () => {
    const { token } = await a.lease.acquire(ROUTE, 5)
    broker.advance(5_000)
    await refused(a.lease.renew(ROUTE, token, 5), 5003)
    await refused(a.lease.renew(ROUTE, token + 1, 5), 5002)
    await refused(b.lease.renew(ROUTE, token, 5), 5004)
    broker.advance(59_999)
    await refused(a.lease.renew(ROUTE, token, 5), 5003)
    broker.advance(1)
    await refused(a.lease.renew(ROUTE, token, 5), 5004)
  })

  test("L-12: what has run out and was taken by another is 5004", async () => {
    const { token } = await a.lease.acquire(ROUTE, 5)
    broker.advance(5_000)
    await b.lease.acquire(ROUTE, 5)
    await refused(a.lease.renew(ROUTE, token, 5), 5004)
  })

  test("L-13: RELEASE of what is free or has run out succeeds; another owner is 5004, another token 5002", async () => {
    await a.lease.release(ROUTE, 1)
    const { token } = await a.lease.acquire(ROUTE, 5)
    await refused(b.lease.release(ROUTE, token), 5004)
    await refused(a.lease.release(ROUTE, token, "other"), 5004)
    await refused(a.lease.release(ROUTE, token + 1), 5002)
    expect((await b.lease.query(ROUTE)).holder).not.toBeNull()
    await a.lease.release(ROUTE, token)
    await a.lease.release(ROUTE, token)
    expect((await b.lease.query(ROUTE)).holder).toBeNull()
    await a.lease.acquire(ROUTE, 5)
    broker.advance(5_000)
    await a.lease.release(ROUTE, 12345)
    await b.lease.release(ROUTE, 12345)
  })

  test("D-1: what a session holds is free when it goes", async () => {
    await a.lease.acquire(ROUTE, 3_600)
    await a.lease.acquire(OTHER, 3_600, 0, "second")
    a.pipe.hangUp()
    for (const route of [ROUTE, OTHER]) expect((await b.lease.acquire(route, 5)).kind).toBe(ACQUIRED)
  })
})

describe("query", () => {
  test("L-15: whole seconds, rounded down; what has run out is free", async () => {
    expect(await b.lease.query(ROUTE)).toEqual({ holder: null, waiters: 0 })
    await a.lease.acquire(ROUTE, 5, 0, "the owner")
    expect(await b.lease.query(ROUTE)).toEqual({ holder: { owner: "the owner", ttlLeft: 5 }, waiters: 0 })
    broker.advance(1)
    expect((await b.lease.query(ROUTE)).holder).toEqual({ owner: "the owner", ttlLeft: 4 })
    broker.advance(4_998)
    expect((await b.lease.query(ROUTE)).holder).toEqual({ owner: "the owner", ttlLeft: 0 })
    broker.advance(1)
    expect(await b.lease.query(ROUTE)).toEqual({ holder: null, waiters: 0 })
  })

  test("L-15: how many wait", async () => {
    await a.lease.acquire(ROUTE, 60)
    await b.lease.acquire(ROUTE, 5, 30)
    await c.lease.acquire(ROUTE, 5, 30)
    expect((await a.lease.query(ROUTE)).waiters).toBe(2)
  })
})

describe("notifications", () => {
  async function heard(caller: PipedCaller): Promise<number> {
    broker.settle()
    let count = 0
    while (caller.unread(409).length > 0) {
      await caller.lease.next()
      count++
    }
    return count
  }

  test("L-16: one 409 with the subscribed route whenever the holder changes, none on renew", async () => {
    const id = await c.lease.subscribe(ROUTE)
    const { token } = await a.lease.acquire(ROUTE, 5)
    expect(await c.lease.next()).toEqual({ subscription: id, route: ROUTE, rest: 0 })
    await a.lease.acquire(ROUTE, 5)
    await a.lease.renew(ROUTE, token, 5)
    await refused(b.lease.acquire(ROUTE, 5), 5001)
    await b.lease.acquire(ROUTE, 5, 10)
    expect(await heard(c)).toBe(0)
    await a.lease.release(ROUTE, token)
    expect(await heard(c)).toBe(1) // handed on
    broker.advance(5_000)
    expect(await heard(c)).toBe(1) // run out
    await a.lease.acquire(ROUTE, 5)
    expect(await heard(c)).toBe(1)
    a.pipe.hangUp()
    expect(await heard(c)).toBe(1)
    await b.lease.release(ROUTE, 1)
    await b.lease.query(ROUTE)
    expect(await heard(c)).toBe(0)
  })

  test("L-16: a lease that has run out is told once, not again when it is forgotten or taken", async () => {
    await c.lease.subscribe(ROUTE)
    await a.lease.acquire(ROUTE, 5)
    broker.advance(5_000)
    expect(await heard(c)).toBe(2)
    broker.advance(120_000)
    expect(await heard(c)).toBe(0)
  })

  test("L-16 L-17 S-3: each registration hears its own pattern, exactly as it was subscribed", async () => {
    const patterns = [ROUTE, "lease://realm/**", "lease://*/*/*", "lease://**"]
    const ids: number[] = []
    for (const pattern of patterns) ids.push(await c.lease.subscribe(pattern))
    await c.lease.subscribe(OTHER)
    await a.lease.acquire(ROUTE, 5)
    const all = [await c.lease.next(), await c.lease.next(), await c.lease.next(), await c.lease.next()]
    expect(all).toEqual(patterns.map((route, i) => ({ subscription: ids[i], route, rest: 0 })))
    expect(await heard(c)).toBe(0)
  })

  test("S-4 S-6: one's own changes are heard, after the reply to the subscription", async () => {
    unheard(a.lease.subscribe(ROUTE), a.lease.acquire(ROUTE, 5))
    broker.settle()
    expect(a.received.map(frame => frame.type).filter(type => type !== 400)).toEqual([407, 409])
  })

  test("S-5 S-6: nothing after UNSUBSCRIBE, and nothing of another family", async () => {
    await c.lease.subscribe("lease://**")
    await broker.enter({ family: 2 }).lease.acquire(ROUTE, 5)
    await c.lease.unsubscribe("lease://**")
    await c.lease.unsubscribe("lease://**")
    await a.lease.acquire(ROUTE, 5)
    expect(await heard(c)).toBe(0)
  })

  test("S-8: registrations beyond the limit are refused with 5010", async () => {
    start({ config: { maxWildcardRegistrations: 1, maxRegistrations: 2 } })
    await a.lease.subscribe("lease://a/**")
    await refused(a.lease.subscribe("lease://b/**"), 5010)
    await a.lease.subscribe(ROUTE)
    await refused(a.lease.subscribe(OTHER), 5010)
  })

  test("S-9 R-4: a pattern that is none is refused with 5010", async () => {
    for (const pattern of [
      "lease://a/b",
      "lease://a/b/c/d",
      "lease://a/b/c*",
      "lease://a//c",
      "kv://a/b/c",
    ]) {
      await refused(a.lease.subscribe(pattern), 5010)
      await refused(a.lease.unsubscribe(pattern), 5010)
    }
  })
})

describe("what is refused", () => {
  test("P-7 P-10: 400, 401, 402 need write, 403, 407, 408 read (5009)", async () => {
    const reader = broker.enter({ permissions: ["lease://**#read"] })
    const writer = broker.enter({ permissions: ["lease://**#write"] })
    await refused(reader.lease.acquire(ROUTE, 5), 5009)
    await refused(reader.lease.renew(ROUTE, 1, 5), 5009)
    await refused(reader.lease.release(ROUTE, 1), 5009)
    await refused(writer.lease.query(ROUTE), 5009)
    await refused(writer.lease.subscribe(ROUTE), 5009)
    await refused(writer.lease.unsubscribe(ROUTE), 5009)
    await writer.lease.acquire(ROUTE, 5)
    expect((await reader.lease.query(ROUTE)).holder).not.toBeNull()
  })

  test("R-6: three single wildcards cover a double one", async () => {
    const reader = broker.enter({ permissions: ["lease://*/*/*#read"] })
    await reader.lease.subscribe("lease://**")
    await reader.lease.subscribe("lease://a/**")
  })

  test("R-3 R-5: a route that is none is refused with 5008", async () => {
    for (const route of ["lease://a/b", "lease://a/b/*", "lease://a/**", "kv://a/b/c", "a/b/c"]) {
      await refused(a.lease.acquire(route, 5), 5008)
      await refused(a.lease.query(route), 5008)
    }
  })

  test("F-10 L-2 W-2: a request that does not parse is refused with 5008", async () => {
    const head = bytes(block(ROUTE), block(""), u64(5))
    const ask = (type: number, payload: Buffer): Promise<unknown> => a.call(type, payload, () => null)
    for (const payload of [
      bytes(head, "00"),
      bytes(head, "00 00 00"),
      bytes(head, u32(0), "00"),
      head.subarray(0, -1),
    ])
      await refused(ask(400, payload), 5008)
    await refused(ask(400, bytes(block(ROUTE), block(bytes("ff")), u64(5), u32(0))), 5008)
    await refused(ask(401, head), 5008)
    await refused(ask(402, bytes(block(ROUTE), block(""))), 5008)
    await refused(ask(403, bytes(block(ROUTE), u8(0))), 5008)
    await refused(ask(407, bytes(block(ROUTE), u8(0))), 5008)
    expect((await a.lease.acquire(ROUTE, 5)).kind).toBe(ACQUIRED)
  })
})
