// Queue, rule by rule (docs/PROTOCOL.md, Q-*), over the in-memory door: what programs may rely on, each rule in a
// test that carries its number, at its limits and one beyond. Time moves by hand; never a socket, a file or a wait.

import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { type PipedCaller, TestBroker, type TestBrokerOptions } from "../kit/broker.ts"
import { block, bytes, opt, u8, u32, u64 } from "../kit/bytes.ts"
import { seeded } from "../kit/random.ts"
import { caught, refused, unheard } from "../kit/replies.ts"

const ROUTE = "queue://realm/area/one"
const OTHER = "queue://realm/area/two"

let broker: TestBroker
let a: PipedCaller
let b: PipedCaller

function start(options: TestBrokerOptions = {}): void {
  if (options.after === undefined) broker.close()
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

/** Another broker over the same store, after a while. */
function restart(options: TestBrokerOptions = {}, pauseMs = 0): void {
  start({ after: broker, nowMs: broker.now + pauseMs, ...options })
}

type Reserve = Parameters<PipedCaller["queue"]["reserve"]>[1]

/** Bodies of what can be reserved now. */
async function drawn(caller: PipedCaller, options: Reserve = { batch: 100 }, route = ROUTE): Promise<string> {
  return (await caller.queue.reserve(route, options)).map(item => String(item.body)).join(" ")
}

async function fill(bodies: string, route = ROUTE): Promise<void> {
  for (const body of bodies.split(" ")) await b.queue.enqueue(route, body)
}

function dead(): unknown[] {
  return broker.database.prepare("SELECT message, attempts, reason FROM queue_dead ORDER BY message").all()
}

describe("enqueue", () => {
  test("Q-1 Q-2: a queue exists by being used; ids begin at 1 and rise, each queue for itself", async () => {
    expect(await drawn(a)).toBe("")
    expect(await a.queue.enqueue(ROUTE, "x")).toBe(1)
    expect(await b.queue.enqueue(ROUTE, "x")).toBe(2)
    expect(await a.queue.enqueue(OTHER, "x")).toBe(1)
    expect(await broker.enter({ family: 2 }).queue.enqueue(ROUTE, "x")).toBe(1)
  })

  test("Q-2: ids are never given again, also where the queue was emptied and the broker restarted", async () => {
    for (let i = 0; i < 3; i++) await a.queue.enqueue(ROUTE, "x")
    for (const { id, token } of await a.queue.reserve(ROUTE, { batch: 3 }))
      await a.queue.complete(ROUTE, id, token)
    restart()
    const next = await a.queue.enqueue(ROUTE, "x")
    expect(next).toBeGreaterThan(3)
    restart()
    expect(await a.queue.enqueue(ROUTE, "x")).toBeGreaterThan(next)
  })

  test("Q-4: a delayed message is invisible until its delay is over, to the millisecond", async () => {
    await a.queue.enqueue(ROUTE, "later", 2)
    expect(await drawn(b)).toBe("")
    broker.advance(1_999)
    expect(await drawn(b)).toBe("")
    broker.advance(1)
    expect(await drawn(b)).toBe("later")
  })

  test("Q-4 Q-5: delayed messages become ready in the order of their moments, not of their ids", async () => {
    await a.queue.enqueue(ROUTE, "third", 3)
    await a.queue.enqueue(ROUTE, "first", 1)
    await a.queue.enqueue(ROUTE, "second", 2)
    await a.queue.enqueue(ROUTE, "second too", 2)
    broker.jump(3_000)
    expect(await drawn(b)).toBe("first second second too third")
  })

  test("Q-4: a delay of 0 is none", async () => {
    await a.queue.enqueue(ROUTE, "now", 0)
    expect(await drawn(b)).toBe("now")
  })

  test("Q-17: a delay beyond 4,000,000,000 s is refused with 4006, and one of that length is taken", async () => {
    await refused(a.queue.enqueue(ROUTE, "x", 4_000_000_001), 4006)
    await refused(
      a.call(200, bytes(block(ROUTE), block("x"), u8(1), u64(2n ** 64n - 1n)), c => c.number()),
      4006,
    )
    await a.queue.enqueue(ROUTE, "x", 4_000_000_000)
    expect(await drawn(a)).toBe("")
  })

  test("Q-18 Q-11: a body too large for any reply is taken, buried at once and never seen", async () => {
    const room = 65_535 - 5 - 20
    const largest = Buffer.alloc(room, "x")
    const fits = await a.queue.enqueue("queue://a/b/c", largest)
    const id = await a.queue.enqueue("queue://a/b/c", Buffer.alloc(room + 1, "y"))
    expect([fits, id]).toEqual([1, 2])
    expect(dead()).toEqual([{ message: 2, attempts: 0, reason: "undeliverable" }])
    const items = await b.queue.reserve("queue://a/b/c", { batch: 10 })
    expect(items.map(item => item.body.length)).toEqual([room])
    expect(b.received.at(-1)!.payload.length).toBe(65_535)
  })

  test("Q-3 E-7: on a full disk ENQUEUE is refused with 4007 and says that nothing was stored", async () => {
    broker.faults.fillDisk()
    const { message } = await refused(a.queue.enqueue(ROUTE, "x"), 4007)
    expect(message).toMatch(/failed to commit transaction:.*refusing writes/)
    const again = await refused(a.queue.enqueue(ROUTE, "x", 5), 4007)
    expect(again.message).toMatch(/failed to commit transaction:.*refusing writes/)
    broker.faults.freeDisk()
    broker.advance(1_000)
    expect(await a.queue.enqueue(ROUTE, "y")).toBe(1)
    expect(await drawn(b)).toBe("y")
  })

  test("Q-3: no other refusal speaks of what clients take for not stored", async () => {
    start({ config: { maxQueues: 1 } })
    broker.faults.poison = "poison"
    await a.queue.enqueue(ROUTE, "x")
    const others = [
      await refused(a.queue.enqueue(OTHER, "x"), 4005),
      await refused(a.queue.enqueue(ROUTE, "x", 2 ** 40), 4006),
      await refused(a.queue.enqueue("queue://a/b", "x"), 4006),
      await refused(broker.enter({ permissions: [] }).queue.enqueue(ROUTE, "x"), 4009),
      await refused(a.queue.enqueue("queue://a/b/poison", "x"), 4005),
    ]
    for (const { message } of others) expect(message).not.toMatch(/failed to commit transaction:/)
  })

  test("E-6: an ENQUEUE that meets a bug is refused with 4007, and only that one", async () => {
    broker.faults.poison = "poison"
    const before = a.queue.enqueue(ROUTE, "one")
    const bad = a.queue.enqueue("queue://realm/area/poison", "x")
    const after = b.queue.enqueue(ROUTE, "two")
    const { message } = await refused(bad, 4007)
    expect(message).not.toContain("failed to commit transaction:")
    expect([await before, await after]).toEqual([1, 2])
    expect(await drawn(a)).toBe("one two")
    expect(broker.world.records.filter(({ level }) => level === "error").length).toBe(1)
  })

  test("M-13 M-27: queues beyond the limit are refused with 4005, and room comes back within a second", async () => {
    start({ config: { maxQueues: 2 } })
    broker.advance(5_000)
    await a.queue.enqueue(ROUTE, "x")
    await a.queue.enqueue(OTHER, "x")
    await refused(a.queue.enqueue("queue://a/b/c", "x"), 4005)
    await refused(a.queue.reserve("queue://a/b/c", { wait: 1 }), 4005)
    expect(await drawn(a, {}, "queue://a/b/c")).toBe("")
    const [item] = await a.queue.reserve(OTHER)
    await a.queue.complete(OTHER, item!.id, item!.token)
    broker.advance(1_000)
    await a.queue.enqueue("queue://a/b/c", "x")
    await refused(a.queue.enqueue(OTHER, "x"), 4005)
  })
})

describe("order", () => {
  test("Q-5: first in, first out", async () => {
    await fill("a b c d")
    expect(await drawn(a, { batch: 2 })).toBe("a b")
    expect(await drawn(b, { batch: 2 })).toBe("c d")
  })

  test("Q-6: what comes back joins the back, in the order in which it was out", async () => {
    await fill("a b c")
    await a.queue.reserve(ROUTE, { batch: 3, lease: 1 })
    await fill("d e")
    broker.advance(1_000)
    expect(await drawn(b)).toBe("d e a b c")
  })

  test("Q-5: of enqueued, delayed and returned ones the one that is ready longest comes first", async () => {
    await a.queue.enqueue(ROUTE, "returned")
    await a.queue.reserve(ROUTE, { lease: 4 })
    await a.queue.enqueue(ROUTE, "delayed", 3)
    broker.advance(2_000)
    await a.queue.enqueue(ROUTE, "early")
    broker.advance(1_500)
    await a.queue.enqueue(ROUTE, "late")
    broker.advance(500)
    expect(await drawn(b)).toBe("early delayed late returned")
  })

  test("Q-5: also over many packs, and where the bodies are not held in memory", async () => {
    start({ config: { queueCacheBytes: 1_000 } })
    const expected: string[] = []
    for (let i = 0; i < 700; i++) {
      expected.push(`m${i}`)
      unheard(a.queue.enqueue(ROUTE, `m${i}`))
      if (i % 150 === 0) broker.settle()
    }
    broker.settle()
    const found: string[] = []
    for (let more = true; more; ) {
      const items = await b.queue.reserve(ROUTE, { batch: 90 })
      found.push(...items.map(item => String(item.body)))
      more = items.length > 0
    }
    expect(found).toEqual(expected)
  })

  test("Q-4 Q-5 Q-21: more delayed messages than are held in memory come in the order of their moments", () =>
    seeded(async random => {
      start({ manual: true, config: { queueCacheBytes: 10_000 } })
      const expected: { dueMs: number; id: number; body: string }[] = []
      let id = 0
      const add = (count: number): void => {
        for (let i = 0; i < count; i++) {
          const delay = random.between(1, 500)
          const body = `m${expected.length}`
          unheard(a.queue.enqueue(ROUTE, body, delay))
          expected.push({ dueMs: broker.now + delay * 1_000, id: id++, body })
        }
        broker.settle()
      }
      const found: string[] = []
      const draw = async (): Promise<void> => {
        for (let more = true; more; ) {
          const asked = b.queue.reserve(ROUTE, { batch: random.between(1, 300), lease: 3_600 })
          broker.settle()
          const items = await asked
          found.push(...items.map(item => String(item.body)))
          more = items.length > 0
        }
      }
      const due = (): string[] => {
        const ripe = expected.filter(({ dueMs }) => dueMs <= broker.now)
        return ripe.sort((x, y) => x.dueMs - y.dueMs || x.id - y.id).map(({ body }) => body)
      }
      add(1_500)
      let from = 0
      for (let round = 0; round < 12; round++) {
        if (round < 3) add(300)
        broker.jump(random.between(1_000, 70_000))
        await draw()
        // What was already drawn stays drawn, what has fallen due since comes behind it in order.
        const drawnBefore = new Set(found.slice(0, from))
        expect(found.slice(from)).toEqual(due().filter(body => !drawnBefore.has(body)))
        from = found.length
      }
    }))
})

describe("reservations", () => {
  test("Q-7 Q-25: a reserved message is out for everybody, under a token that is fresh and not 0", async () => {
    await fill("a")
    const [first] = await a.queue.reserve(ROUTE, { lease: 1 })
    expect(first).toMatchObject({ id: 1 })
    expect(first!.token).toBeGreaterThan(0n)
    expect(await drawn(a)).toBe("")
    expect(await drawn(b)).toBe("")
    broker.advance(1_000)
    const [second] = await b.queue.reserve(ROUTE)
    expect(second!.token).not.toBe(first!.token)
  })

  test("Q-8: a reservation lapses when its lease is over, to the millisecond; its token is dead then", async () => {
    await fill("a")
    const [item] = await a.queue.reserve(ROUTE, { lease: 2 })
    broker.advance(1_999)
    expect(await drawn(b)).toBe("")
    broker.advance(1)
    await refused(a.queue.complete(ROUTE, item!.id, item!.token), "no such message")
    expect(await drawn(b)).toBe("a")
  })

  test("Q-9: batch absent and 0 mean 1; 1,024 are given at once; more are refused with 4006", async () => {
    for (let i = 0; i < 1_030; i++) unheard(b.queue.enqueue(ROUTE, String(i)))
    expect(await drawn(a, {})).toBe("0")
    expect(await drawn(a, { batch: 0 })).toBe("1")
    expect((await a.queue.reserve(ROUTE, { batch: 1_024 })).length).toBe(1_024)
    await refused(a.queue.reserve(ROUTE, { batch: 1_025 }), 4006)
    expect(await drawn(a)).toBe("1026 1027 1028 1029")
  })

  test("Q-11: items stop before the reply would pass 65,535 bytes, to the byte; the rest stays ready", async () => {
    const room = 65_535 - 5 - 2 * 20
    await b.queue.enqueue(ROUTE, Buffer.alloc(30_000, "a"))
    await b.queue.enqueue(ROUTE, Buffer.alloc(room - 30_000, "b"))
    await b.queue.enqueue(ROUTE, "c")
    expect((await a.queue.reserve(ROUTE, { batch: 9 })).length).toBe(2)
    expect(a.received.at(-1)!.payload.length).toBe(65_535)
    expect(await drawn(a)).toBe("c")
    await b.queue.enqueue(OTHER, Buffer.alloc(30_000, "a"))
    await b.queue.enqueue(OTHER, Buffer.alloc(room - 30_000 + 1, "b"))
    expect((await a.queue.reserve(OTHER, { batch: 9 })).length).toBe(1)
    expect((await a.queue.reserve(OTHER, { batch: 9 })).length).toBe(1)
  })

  test("Q-11: for a pattern the routes count as well", async () => {
    const room = 65_535 - 5 - 2 * (20 + 4 + ROUTE.length)
    await b.queue.enqueue(ROUTE, Buffer.alloc(30_000))
    await b.queue.enqueue(ROUTE, Buffer.alloc(room - 30_000))
    expect((await a.queue.reserve("queue://realm/**", { batch: 9 })).length).toBe(2)
    expect(a.received.at(-1)!.payload.length).toBe(65_535)
    const fits = 65_535 - 5 - 20 - 4 - ROUTE.length
    await b.queue.enqueue(OTHER, Buffer.alloc(fits + 1))
    // It fits the reply to an exact route alone.
    expect(await a.queue.reserve("queue://realm/**", { batch: 9 })).toEqual([])
    expect((await a.queue.reserve(OTHER)).length).toBe(1)
  })

  test("Q-14: EXTEND counts its lease from now and keeps the token", async () => {
    await fill("a")
    const [item] = await a.queue.reserve(ROUTE, { lease: 2 })
    broker.advance(1_000)
    await a.queue.extend(ROUTE, item!.id, item!.token, 5)
    broker.advance(4_999)
    expect(await drawn(b)).toBe("")
    await a.queue.extend(ROUTE, item!.id, item!.token, 1)
    broker.advance(1_000)
    expect(await drawn(b)).toBe("a")
  })

  test("Q-17: a lease beyond 4,000,000,000 s is refused with 4006 by RESERVE and EXTEND", async () => {
    await fill("a")
    await refused(a.queue.reserve(ROUTE, { lease: 4_000_000_001 }), 4006)
    await refused(a.queue.reserve(ROUTE, { lease: 2n ** 64n - 1n }), 4006)
    const [item] = await a.queue.reserve(ROUTE, { lease: 4_000_000_000 })
    await refused(a.queue.extend(ROUTE, item!.id, item!.token, 4_000_000_001), "the lease is too long")
    await a.queue.extend(ROUTE, item!.id, item!.token, 4_000_000_000)
  })

  test("Q-15 Q-25: COMPLETE deletes; the same again succeeds for five minutes", async () => {
    await fill("a b")
    const [item] = await a.queue.reserve(ROUTE, { lease: 1 })
    await a.queue.complete(ROUTE, item!.id, item!.token)
    await a.queue.complete(ROUTE, item!.id, item!.token)
    broker.advance(5 * 60_000)
    await a.queue.complete(ROUTE, item!.id, item!.token)
    expect(await drawn(b)).toBe("b")
  })

  test("Q-15: what was completed is forgotten after a while, so that memory is bounded", async () => {
    await fill("a b c")
    const [first, second, third] = await a.queue.reserve(ROUTE, { lease: 3_600, batch: 3 })
    await a.queue.complete(ROUTE, first!.id, first!.token)
    broker.advance(5 * 60_000 + 1)
    await a.queue.complete(ROUTE, second!.id, second!.token)
    broker.advance(5 * 60_000 + 1)
    await a.queue.complete(ROUTE, third!.id, third!.token)
    await refused(a.queue.complete(ROUTE, first!.id, first!.token), "no such message")
    await a.queue.complete(ROUTE, third!.id, third!.token)
  })

  test("Q-15 P-11: the same id and token elsewhere is not the message that was completed", async () => {
    await fill("a")
    const [item] = await a.queue.reserve(ROUTE)
    await a.queue.complete(ROUTE, item!.id, item!.token)
    await refused(a.queue.complete(OTHER, item!.id, item!.token), "no such message")
    const stranger = broker.enter({ family: 2 })
    await refused(stranger.queue.complete(ROUTE, item!.id, item!.token), "no such message")
    await refused(a.queue.complete(ROUTE, item!.id + 1, item!.token), "no such message")
    await refused(a.queue.complete(ROUTE, item!.id, item!.token + 1n), "no such message")
  })

  test("Q-16: another session's, unknown and unreserved messages are 4003, another token is 4001", async () => {
    await fill("a b")
    const [item] = await a.queue.reserve(ROUTE)
    const { id, token } = item!
    for (const verb of ["extend", "complete"] as const) {
      const ask = (caller: PipedCaller, route: string, id: number, token: bigint): Promise<unknown> =>
        verb === "extend" ? caller.queue.extend(route, id, token, 5) : caller.queue.complete(route, id, token)
      await refused(ask(b, ROUTE, id, token), "no such message")
      await refused(ask(a, ROUTE, 99, token), "no such message")
      await refused(ask(a, ROUTE, 2, token), "no such message")
      await refused(ask(a, OTHER, id, token), "no such message")
      await refused(ask(a, ROUTE, id, token + 1n), "invalid token")
      await refused(ask(a, ROUTE, id, 0n), "invalid token")
      await refused(ask(a, ROUTE, id, 2n ** 63n), "invalid token")
    }
    await a.queue.complete(ROUTE, id, token)
  })

  test("Q-16: reserved again by the same session, the old token is 4001", async () => {
    await fill("a")
    const [first] = await a.queue.reserve(ROUTE, { lease: 1 })
    broker.advance(1_000)
    const [second] = await a.queue.reserve(ROUTE)
    await refused(a.queue.complete(ROUTE, first!.id, first!.token), "invalid token")
    await a.queue.complete(ROUTE, second!.id, second!.token)
  })

  test("Q-16: a reservation that is over and not yet swept is 4002", async () => {
    // So many lapse at once that the turn sweeps only the first of them.
    for (let i = 0; i < 1_030; i++) unheard(b.queue.enqueue(ROUTE, "x"))
    const early = await a.queue.reserve(ROUTE, { lease: 5, batch: 1_024 })
    const late = await a.queue.reserve(ROUTE, { lease: 5, batch: 6 })
    broker.settle()
    broker.world.moveTo(broker.now + 5_000)
    const { id, token } = late.at(-1)!
    const swept = a.queue.complete(ROUTE, early[0]!.id, early[0]!.token)
    const extended = a.queue.extend(ROUTE, id, token, 5)
    const completed = a.queue.complete(ROUTE, id, token)
    await refused(swept, "no such message")
    await refused(extended, "the reservation has expired")
    await refused(completed, "the reservation has expired")
    broker.settle()
    expect((await b.queue.reserve(ROUTE, { batch: 1_024 })).length).toBe(1_024)
    expect((await b.queue.reserve(ROUTE, { batch: 1_024 })).length).toBe(6)
  })

  test("Q-24 D-1: when a session ends its reservations are ready at once, by id, attempts unchanged", async () => {
    start({ config: { queueMaxAttempts: 1 } })
    await fill("a b c d")
    const items = await a.queue.reserve(ROUTE, { batch: 3 })
    await a.queue.complete(ROUTE, items[1]!.id, items[1]!.token)
    a.pipe.hangUp()
    broker.settle()
    expect(await drawn(b)).toBe("d a c")
    expect(dead()).toEqual([])
  })

  test("M-12: a session holds so many reservations and no more (4005); a batch is cut short before it", async () => {
    start({ config: { maxReservations: 3 } })
    await fill("a b c d e")
    expect(await drawn(a, { batch: 2 })).toBe("a b")
    expect(await drawn(a, { batch: 2 })).toBe("c")
    await refused(a.queue.reserve(ROUTE), 4005)
    await refused(a.queue.reserve("queue://**"), 4005)
    expect(await drawn(b)).toBe("d e")
  })

  test("E-7: on a full disk COMPLETE is refused as 4007 and the message stays reserved; RESERVE goes on", async () => {
    await fill("a b")
    const [item] = await a.queue.reserve(ROUTE)
    broker.faults.fillDisk()
    await refused(a.queue.complete(ROUTE, item!.id, item!.token), "storage failure")
    expect(await drawn(b)).toBe("b")
    await a.queue.extend(ROUTE, item!.id, item!.token, 60)
    broker.faults.freeDisk()
    broker.advance(1_000)
    await a.queue.complete(ROUTE, item!.id, item!.token)
  })
})

describe("long polls", () => {
  test("Q-12: an ENQUEUE answers the one that waits", async () => {
    const waiting = a.queue.reserve(ROUTE, { wait: 10 })
    broker.advance(5_000)
    await b.queue.enqueue(ROUTE, "x")
    expect((await waiting).map(item => String(item.body))).toEqual(["x"])
  })

  test("Q-12: so does the end of a delay, a reservation that lapses, and a session that ends", async () => {
    await b.queue.enqueue(ROUTE, "delayed", 2)
    const first = a.queue.reserve(ROUTE, { wait: 10, lease: 3 })
    broker.advance(2_000)
    expect((await first).length).toBe(1)
    const second = b.queue.reserve(ROUTE, { wait: 10 })
    broker.advance(3_000)
    expect((await second).length).toBe(1)
    const third = a.queue.reserve(ROUTE, { wait: 10 })
    broker.settle()
    b.pipe.hangUp()
    expect((await third).length).toBe(1)
  })

  test("Q-12: when the time is over it is answered with nothing, to the millisecond", async () => {
    let answer: unknown = null
    const waiting = a.queue.reserve(ROUTE, { wait: 3 }).then(items => {
      answer = items
    })
    broker.advance(2_999)
    await Promise.resolve()
    expect(answer).toBeNull()
    broker.advance(1)
    await waiting
    expect(answer).toEqual([])
    // Nobody waits any more: what comes now is left.
    await b.queue.enqueue(ROUTE, "x")
    expect(await drawn(b)).toBe("x")
  })

  test("Q-12: a wait above 30 s ends after 30 s", async () => {
    const waits = [31, 3_600, 2 ** 40].map(wait => broker.enter().queue.reserve(ROUTE, { wait }))
    broker.advance(29_999)
    expect(await Promise.race([...waits, Promise.resolve("waiting")])).toBe("waiting")
    broker.advance(1)
    expect(await Promise.all(waits)).toEqual([[], [], []])
  })

  test("Q-12: a wait of 0, or none, is answered at once", async () => {
    expect(await a.queue.reserve(ROUTE, { wait: 0 })).toEqual([])
    expect(await a.queue.reserve(ROUTE)).toEqual([])
  })

  test("Q-12: first parked, first served, patterns and exact routes alike", async () => {
    const callers = Array.from({ length: 4 }, () => broker.enter())
    const patterns = [ROUTE, "queue://realm/**", "queue://*/area/*", ROUTE]
    const served: number[] = []
    for (const [i, caller] of callers.entries()) {
      void caller.queue.reserve(patterns[i]!, { wait: 20 }).then(items => {
        served.push(items.length > 0 ? i : -1)
      })
      broker.advance(10)
    }
    for (let i = 0; i < 4; i++) {
      await b.queue.enqueue(ROUTE, "x")
      await caught()
      expect(served).toEqual([0, 1, 2, 3].slice(0, i + 1))
    }
  })

  test("Q-12: one that waits with a batch gets what is ready at that moment", async () => {
    const waiting = a.queue.reserve(ROUTE, { wait: 10, batch: 5 })
    const both = [b.queue.enqueue(ROUTE, "x"), b.queue.enqueue(ROUTE, "y")]
    await Promise.all(both)
    expect((await waiting).map(item => String(item.body))).toEqual(["x"])
    expect(await drawn(a)).toBe("y")
  })

  test("O-3 O-2: later RESERVEs of the connection wait behind a parked one and are judged after it", async () => {
    await b.queue.enqueue(OTHER, "other")
    const order: string[] = []
    const parked = a.queue.reserve(ROUTE, { wait: 10 }).then(items => order.push(`one ${items.length}`))
    const behind = a.queue.reserve(OTHER, { lease: 1 }).then(items => order.push(`two ${items.length}`))
    const invalid = a.queue.reserve(OTHER, { batch: 2_000 }).catch(() => order.push("invalid"))
    broker.advance(5_000)
    expect(order).toEqual([])
    // It was not judged yet: nobody's lease has run meanwhile, and others may take it.
    expect(await drawn(b, { lease: 1 }, OTHER)).toBe("other")
    broker.advance(5_000)
    await Promise.all([parked, behind, invalid])
    expect(order).toEqual(["one 0", "two 1", "invalid"])
    expect(await drawn(b, {}, OTHER)).toBe("")
    broker.advance(1_000)
    expect(await drawn(b, {}, OTHER)).toBe("other")
  })

  test("O-3: a held RESERVE that would wait counts its time from when it is judged", async () => {
    const answers: number[] = []
    const first = a.queue.reserve(ROUTE, { wait: 2 }).then(() => answers.push(broker.now))
    const second = a.queue.reserve(OTHER, { wait: 3 }).then(() => answers.push(broker.now))
    const begun = broker.now
    broker.advance(5_000)
    await Promise.all([first, second])
    expect(answers.map(at => at - begun)).toEqual([5_000, 5_000])
    expect(a.received.map(frame => frame.type)).toEqual([202, 202])
  })

  test("O-4 O-5: a parked RESERVE holds back no other request of its connection, and no other connection", async () => {
    const parked = a.queue.reserve(ROUTE, { wait: 10 })
    expect(await a.queue.enqueue(OTHER, "x")).toBe(1)
    expect(await a.queue.subscribe(OTHER)).toBeGreaterThan(0)
    expect(await drawn(b, {}, OTHER)).toBe("x")
    expect(await a.queue.enqueue(ROUTE, "own")).toBe(1)
    expect((await parked).map(item => String(item.body))).toEqual(["own"])
  })

  test("D-1: a parked RESERVE goes with its connection, and takes nothing with it", async () => {
    unheard(a.queue.reserve(ROUTE, { wait: 30 }), a.queue.reserve(ROUTE, { wait: 30 }))
    broker.settle()
    a.pipe.hangUp()
    broker.settle()
    await b.queue.enqueue(ROUTE, "x")
    expect(await drawn(b)).toBe("x")
  })

  test("M-5: a session parks so many RESERVEs and no more (4005), those behind a parked one counted", async () => {
    start({ config: { maxParked: 2 } })
    const parked = [a.queue.reserve(ROUTE, { wait: 5 }), a.queue.reserve(OTHER, { wait: 5 })]
    const over = refused(a.queue.reserve(ROUTE, { wait: 5 }), 4005)
    const short = a.queue.reserve(ROUTE)
    broker.advance(10_000)
    expect(await Promise.all(parked)).toEqual([[], []])
    await over
    expect(await short).toEqual([])
  })

  test("M-6: a queue has so many parked RESERVEs and no more (4005), and so has a pattern", async () => {
    start({ config: { maxParkedPerQueue: 1 } })
    const [c, d] = [broker.enter(), broker.enter()]
    const parked = [a.queue.reserve(ROUTE, { wait: 5 }), c.queue.reserve("queue://**", { wait: 5 })]
    await refused(b.queue.reserve(ROUTE, { wait: 5 }), 4005)
    await refused(d.queue.reserve("queue://**", { wait: 5 }), 4005)
    broker.advance(5_000)
    await Promise.all(parked)
    const again = b.queue.reserve(ROUTE, { wait: 5 })
    broker.advance(5_000)
    expect(await again).toEqual([])
  })

  test("D-7: draining answers parked RESERVEs with nothing, and lets none park", async () => {
    const parked = a.queue.reserve(ROUTE, { wait: 30 })
    broker.settle()
    broker.engine.drain()
    expect(await parked).toEqual([])
    expect(await a.queue.reserve(ROUTE, { wait: 30 })).toEqual([])
    await a.queue.enqueue(ROUTE, "x")
    expect(await drawn(a)).toBe("x")
  })
})

describe("patterns", () => {
  test("Q-10: items of a pattern name their routes, concrete and matching", async () => {
    await fill("a", ROUTE)
    await fill("b", OTHER)
    await fill("c", "queue://elsewhere/area/one")
    const items = await a.queue.reserve("queue://realm/**", { batch: 9 })
    expect(items.map(item => `${item.route} ${item.body}`).sort()).toEqual([`${ROUTE} a`, `${OTHER} b`])
    for (const item of items) await a.queue.complete(item.route, item.id, item.token)
  })

  test("Q-10: an exact route has no routes in its items", async () => {
    await fill("a")
    const reply = await a.ask(202, bytes(block(ROUTE), u64(5), u8(0), u8(0)))
    expect(reply.length).toBe(5 + 20 + 1)
  })

  test("Q-13: each call begins with another queue", async () => {
    const routes = ["queue://p/a/1", "queue://p/a/2", "queue://p/a/3"]
    for (const route of routes) await fill("x y z", route)
    const seen: string[] = []
    for (let i = 0; i < 9; i++) seen.push((await a.queue.reserve("queue://p/**"))[0]!.route)
    for (const route of routes) expect(seen.filter(one => one === route).length).toBe(3)
    expect(new Set(seen.slice(0, 3)).size).toBe(3)
    expect(new Set(seen.slice(3, 6)).size).toBe(3)
  })

  test("Q-13: a batch is drawn from all of them, empty ones passed over", async () => {
    await fill("a", "queue://p/a/1")
    await fill("b c", "queue://p/a/3")
    await b.queue.enqueue("queue://p/a/2", "later", 60)
    const items = await a.queue.reserve("queue://p/a/*", { batch: 9 })
    expect(items.map(item => String(item.body)).sort()).toEqual(["a", "b", "c"])
  })

  test("Q-13 Q-12: a queue that comes up later is drawn from as well, and ends a wait", async () => {
    expect(await a.queue.reserve("queue://p/**")).toEqual([])
    const parked = a.queue.reserve("queue://p/**", { wait: 10 })
    await b.queue.enqueue("queue://p/new/one", "x")
    expect((await parked)[0]).toMatchObject({ route: "queue://p/new/one", id: 1 })
  })

  test("Q-13: a pattern that matches more than 4,096 queues is refused with 4006, one of 4,096 is not", async () => {
    start({ manual: true })
    for (let i = 0; i < 4_096; i++) unheard(a.queue.enqueue(`queue://p/a/${i}`, "x"))
    const inTime = b.queue.reserve("queue://p/**")
    broker.settle()
    expect((await inTime).length).toBe(1)
    unheard(a.queue.enqueue("queue://p/a/one more", "x"))
    const late = refused(b.queue.reserve("queue://p/**"), 4006)
    broker.settle()
    await late
  })

  test("P-11: a pattern sees the queues of its family alone", async () => {
    await fill("a")
    expect(await broker.enter({ family: 2 }).queue.reserve("queue://**")).toEqual([])
  })

  test("R-4: a pattern that can match no route of three segments is refused with 4006", async () => {
    for (const pattern of [
      "queue://a/*",
      "queue://a/b/c/*",
      "queue://a/b/c/d/**",
      "queue://a/**/**",
      "kv://**",
    ])
      await refused(a.queue.reserve(pattern), 4006)
  })
})

describe("attempts and dead letters", () => {
  test("Q-19: a message whose reservation lapses that often is buried, and programs see it no more", async () => {
    start({ config: { queueMaxAttempts: 2 } })
    await fill("bad good")
    await a.queue.reserve(ROUTE, { lease: 1 })
    broker.advance(1_000)
    const items = await a.queue.reserve(ROUTE, { lease: 1, batch: 2 })
    expect(items.map(item => String(item.body))).toEqual(["good", "bad"])
    await a.queue.complete(ROUTE, items[0]!.id, items[0]!.token)
    broker.advance(1_000)
    expect(await drawn(b)).toBe("")
    expect(dead()).toEqual([{ message: 1, attempts: 2, reason: "max_attempts_exceeded" }])
  })

  test("Q-19: off by default: a message may lapse as often as it likes", async () => {
    await fill("a")
    for (let i = 0; i < 50; i++) {
      expect(await drawn(a, { lease: 1 })).toBe("a")
      broker.advance(1_000)
    }
    expect(dead()).toEqual([])
  })

  test("Q-19 Q-21: attempts survive a restart, and what was reserved is ready again without one", async () => {
    const config = { queueMaxAttempts: 2 }
    start({ config })
    await fill("a")
    await a.queue.reserve(ROUTE, { lease: 1 })
    broker.advance(1_000)
    await a.queue.reserve(ROUTE, { lease: 60 })
    restart({ config })
    expect(await drawn(a, { lease: 1 })).toBe("a")
    broker.advance(1_000)
    expect(dead()).toEqual([{ message: 1, attempts: 2, reason: "max_attempts_exceeded" }])
  })

  test("Q-19 E-7: on a full disk nothing is buried; the message comes back instead, and is buried later", async () => {
    start({ config: { queueMaxAttempts: 1 } })
    await fill("a")
    await a.queue.reserve(ROUTE, { lease: 1 })
    broker.faults.fillDisk()
    broker.advance(1_000)
    expect(dead()).toEqual([])
    broker.faults.freeDisk()
    broker.advance(1_000)
    expect(await drawn(b, { lease: 1 })).toBe("a")
    broker.advance(1_000)
    expect(dead()).toEqual([{ message: 1, attempts: 2, reason: "max_attempts_exceeded" }])
  })
})

describe("over a restart", () => {
  test("Q-21: messages survive, delayed ones with their moment, completed ones stay gone", async () => {
    await fill("a b c")
    await b.queue.enqueue(ROUTE, "soon", 10)
    await b.queue.enqueue(ROUTE, "late", 100)
    const [first, second] = await a.queue.reserve(ROUTE, { batch: 2 })
    await a.queue.complete(ROUTE, second!.id, second!.token)
    restart({}, 20_000)
    await refused(a.queue.complete(ROUTE, first!.id, first!.token), "no such message")
    expect(await drawn(a, { batch: 100, lease: 3_600 })).toBe("a c soon")
    broker.advance(79_999)
    expect(await drawn(a)).toBe("")
    broker.advance(1)
    expect(await drawn(a)).toBe("late")
  })

  test("Q-20: an enqueue is committed with Sync, with the fast policy within 100 ms", async () => {
    const levels = async (options: TestBrokerOptions): Promise<boolean[]> => {
      start(options)
      const seen: boolean[] = []
      const { commit } = broker.database
      broker.database.commit = sync => {
        seen.push(sync)
        commit.call(broker.database, sync)
      }
      await fill("a")
      const [item] = await a.queue.reserve(ROUTE)
      await a.queue.complete(ROUTE, item!.id, item!.token)
      return seen
    }
    // Enqueue, reserve, complete: a reservation is kept in memory alone.
    expect(await levels({})).toEqual([true, false, true])
    expect(await levels({ config: { queueWritePolicy: "fast" } })).toEqual([false, false, false])
  })
})

describe("notifications", () => {
  test("Q-22 S-3: one 209 for each matching registration when the first message is ready, with the counts", async () => {
    const ids = [await a.queue.subscribe(ROUTE), await a.queue.subscribe("queue://**")]
    await b.queue.enqueue(ROUTE, "later", 60)
    await fill("a b c")
    const counts = { route: ROUTE, ready: 1, delayed: 1, inflight: 0 }
    expect([await a.queue.next(), await a.queue.next()]).toEqual(
      ids.map(subscription => ({ subscription, ...counts })),
    )
    broker.settle()
    expect(a.unread(209)).toEqual([])
  })

  test("Q-22: again once the queue was empty: by enqueue, delay, lapse and return", async () => {
    await a.queue.subscribe(ROUTE)
    const next = async (): Promise<unknown> => {
      const { ready, delayed, inflight } = await a.queue.next()
      return [ready, delayed, inflight]
    }
    await b.queue.enqueue(ROUTE, "x")
    expect(await next()).toEqual([1, 0, 0])
    await b.queue.reserve(ROUTE, { lease: 1 })
    await b.queue.enqueue(ROUTE, "y", 5)
    broker.advance(1_000)
    expect(await next()).toEqual([1, 1, 0])
    await b.queue.reserve(ROUTE, { lease: 60 })
    broker.advance(4_000)
    expect(await next()).toEqual([1, 0, 1])
    await b.queue.reserve(ROUTE, { lease: 60 })
    b.pipe.hangUp()
    expect(await next()).toEqual([1, 0, 0])
    broker.settle()
    expect(a.unread(209)).toEqual([])
  })

  test("Q-22: also where somebody waits and takes the message at once", async () => {
    await a.queue.subscribe(ROUTE)
    unheard(b.queue.reserve(ROUTE, { wait: 10 }))
    broker.settle()
    const c = broker.enter()
    await c.queue.enqueue(ROUTE, "x")
    expect(await a.queue.next()).toMatchObject({ ready: 1 })
  })

  test("Q-23 S-6: a new registration hears at once, after its reply, of each queue with something ready", async () => {
    await fill("a b", ROUTE)
    await fill("c", "queue://realm/other/three")
    await b.queue.enqueue(OTHER, "later", 60)
    const id = await a.queue.subscribe("queue://realm/**")
    broker.settle()
    expect(a.received.map(frame => frame.type)).toEqual([207, 209, 209])
    const notices = [await a.queue.next(), await a.queue.next()].sort((x, y) => (x.route < y.route ? -1 : 1))
    expect(notices).toEqual([
      { subscription: id, route: ROUTE, ready: 2, delayed: 0, inflight: 0 },
      { subscription: id, route: "queue://realm/other/three", ready: 1, delayed: 0, inflight: 0 },
    ])
    // The same again is no new registration.
    expect(await a.queue.subscribe("queue://realm/**")).toBe(id)
    broker.settle()
    expect(a.unread(209)).toEqual([])
    const exact = await b.queue.subscribe(ROUTE)
    expect(await b.queue.next()).toMatchObject({ subscription: exact, ready: 2 })
  })

  test("S-5 S-6: nothing after UNSUBSCRIBE, and nothing of another family", async () => {
    await a.queue.subscribe("queue://**")
    await broker.enter({ family: 2 }).queue.enqueue(ROUTE, "x")
    await a.queue.unsubscribe("queue://**")
    await a.queue.unsubscribe("queue://**")
    await fill("x")
    broker.settle()
    expect(a.unread(209)).toEqual([])
  })

  test("S-8: wildcard registrations beyond the limit are refused as 4011", async () => {
    start({ config: { maxWildcardRegistrations: 1 } })
    await a.queue.subscribe("queue://a/**")
    await refused(a.queue.subscribe("queue://b/**"), "subscription limit")
    await a.queue.subscribe(ROUTE)
  })

  test("S-9: a pattern that is none is refused as 4010", async () => {
    for (const pattern of [
      "queue://a/b",
      "queue://a/b/c/d",
      "queue://a//c",
      "rpc://a/b/c",
      "queue://a/b/x*",
    ]) {
      await refused(a.queue.subscribe(pattern), "invalid subscription pattern")
      await refused(a.queue.unsubscribe(pattern), "invalid subscription pattern")
    }
  })
})

describe("permissions", () => {
  test("P-7 P-10: 200, 202, 203, 204 need write, 207 and 208 read; a denial is 4009 in the type's envelope", async () => {
    const reader = broker.enter({ permissions: ["queue://**#read"] })
    const writer = broker.enter({ permissions: ["queue://**#write"] })
    await refused(reader.queue.enqueue(ROUTE, "x"), 4009)
    await refused(reader.queue.reserve(ROUTE), 4009)
    await refused(reader.queue.extend(ROUTE, 1, 1n, 1), "unauthorized")
    await refused(reader.queue.complete(ROUTE, 1, 1n), "unauthorized")
    await refused(writer.queue.subscribe(ROUTE), "unauthorized")
    await refused(writer.queue.unsubscribe(ROUTE), "unauthorized")
    await reader.queue.subscribe(ROUTE)
    await writer.queue.enqueue(ROUTE, "x")
    const [item] = await writer.queue.reserve(ROUTE)
    await writer.queue.complete(ROUTE, item!.id, item!.token)
  })

  test("P-5: a RESERVE with a pattern needs one grant that covers all of it", async () => {
    const c = broker.enter({ permissions: ["queue://realm/area/*#write", "queue://realm/b/**#write"] })
    await refused(c.queue.reserve("queue://realm/**"), 4009)
    await refused(c.queue.reserve("queue://**"), 4009)
    expect(await c.queue.reserve("queue://realm/area/*")).toEqual([])
    expect(await c.queue.reserve("queue://realm/area/**")).toEqual([])
  })
})

test("F-10 W-4 W-7: a request that does not parse is refused as 4006, and the connection goes on", async () => {
  const enqueue = bytes(block(ROUTE), block("x"))
  for (const payload of [enqueue, bytes(enqueue, u8(2)), bytes(enqueue, u8(0), "00"), bytes()])
    await refused(
      a.call(200, payload, c => c.number()),
      4006,
    )
  const reserve = bytes(block(ROUTE), u64(1))
  for (const payload of [
    reserve,
    bytes(reserve, opt(1, u32)),
    bytes(reserve, "00 00 00"),
    bytes(reserve, "02 00"),
  ])
    await refused(
      a.call(202, payload, c => c.number()),
      4006,
    )
  await refused(
    a.call(203, bytes(block(ROUTE), u64(1)), () => null),
    "bad request",
  )
  await refused(
    a.call(204, bytes(block(ROUTE), u64(1)), () => null),
    "bad request",
  )
  await refused(a.queue.enqueue("queue://a/*/c", "x"), 4006)
  expect(await a.queue.enqueue(ROUTE, "x")).toBe(1)
})
