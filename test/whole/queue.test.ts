// Queues as a program meets them: real brokers, real sockets, all four ways in. Delays, leases and waits are
// whole seconds on the wire, so what waits for them here waits for the broker's answer and never for a clock.

import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { block } from "../kit/bytes.ts"
import { until } from "../kit/patience.ts"
import { fresh, Places, WAYS } from "../kit/ways.ts"

let places: Places
beforeAll(async () => {
  places = await Places.start()
})
afterAll(() => places.stop())

const texts = (items: readonly { readonly body: Buffer }[]): string[] => items.map(({ body }) => String(body))

describe.concurrent.each(WAYS)("queue over $transport, auth $auth", way => {
  test("Q-2 Q-5 Q-7 Q-24: first in, first out; ids start at 1 and rise; COMPLETE is the end of a message", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("queue")
    const ids = await Promise.all(["x", "y", "z"].map(body => a.queue.enqueue(route, body)))
    expect(ids).toEqual([1, 2, 3])
    const [first] = await b.queue.reserve(route)
    expect([first!.id, String(first!.body)]).toEqual([1, "x"])
    const rest = await a.queue.reserve(route, { batch: 10 })
    expect(texts(rest)).toEqual(["y", "z"])
    expect(new Set([first, ...rest].map(item => item!.token)).size).toBe(3)
    expect(await b.queue.reserve(route, { batch: 10 })).toEqual([])
    await b.queue.complete(route, 1, first!.token)
    await a.close()
    // What was reserved by a program that is gone comes back at once, what was completed never.
    const returned = await b.queue.reserve(route, { batch: 1, wait: 20 })
    returned.push(...(await b.queue.reserve(route, { batch: 1, wait: 20 })))
    expect(texts(returned)).toEqual(["y", "z"])
    expect(returned.map(({ id }) => id)).toEqual([2, 3])
  })

  test("Q-1 Q-9: an empty queue answers at once, and has no special existence", async () => {
    const a = await places.open(way)
    const route = fresh("queue")
    expect(await a.queue.reserve(route)).toEqual([])
    expect(await a.queue.reserve(route, { wait: 0, batch: 0 })).toEqual([])
    expect(await a.queue.enqueue(route, "")).toBe(1)
    expect(texts(await a.queue.reserve(route, { batch: 0 }))).toEqual([""])
  })

  test("Q-4: a delayed message is invisible until it is due", async () => {
    const a = await places.open(way)
    const route = fresh("queue")
    const started = Date.now()
    await a.queue.enqueue(route, "late", 1)
    await a.queue.enqueue(route, "now", 0)
    expect(texts(await a.queue.reserve(route, { batch: 10 }))).toEqual(["now"])
    expect(texts(await a.queue.reserve(route, { batch: 10, wait: 20 }))).toEqual(["late"])
    expect(Date.now() - started).toBeGreaterThanOrEqual(990)
  })

  test("Q-8: a reservation that lapses makes its message ready again and its token worthless", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("queue")
    await a.queue.enqueue(route, "m")
    const [held] = await a.queue.reserve(route, { lease: 1 })
    const [again] = await b.queue.reserve(route, { wait: 20 })
    expect(again).toMatchObject({ id: 1, body: Buffer.from("m") })
    expect(again!.token).not.toBe(held!.token)
    await expect(a.queue.complete(route, 1, held!.token)).rejects.toThrow(/reserved/)
    await expect(a.queue.extend(route, 1, held!.token, 9)).rejects.toThrow(/reserved/)
    await b.queue.complete(route, 1, again!.token)
  })

  test("Q-14: EXTEND moves the deadline and keeps the token", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("queue")
    await a.queue.enqueue(route, "m")
    const [held] = await a.queue.reserve(route, { lease: 1 })
    await a.queue.extend(route, 1, held!.token, 60)
    // Its old second and another one pass in this wait.
    expect(await b.queue.reserve(route, { wait: 2 })).toEqual([])
    await a.queue.complete(route, 1, held!.token)
  })

  test("Q-15 Q-16: EXTEND and COMPLETE are refused in plain words; a repeated COMPLETE is a success", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("queue")
    await a.queue.enqueue(route, "m")
    const [held] = await a.queue.reserve(route)
    const wrong = held!.token === 1n ? 2n : 1n
    for (const request of ["complete", "extend"] as const) {
      const ask = (who: typeof a, id: number, token: bigint) =>
        request === "complete" ? who.queue.complete(route, id, token) : who.queue.extend(route, id, token, 9)
      await expect(ask(a, 1, wrong)).rejects.toThrow(/invalid token/)
      await expect(ask(a, 99, held!.token)).rejects.toThrow(/reserved/)
      await expect(ask(b, 1, held!.token)).rejects.toThrow(/reserved/)
    }
    await a.queue.complete(route, 1, held!.token)
    await a.queue.complete(route, 1, held!.token)
    await expect(a.queue.complete(route, 1, wrong)).rejects.toThrow()
  })

  test("Q-12: a long poll is answered by what comes; the first parked is the first served", async () => {
    const route = fresh("queue")
    const waiters = await Promise.all([1, 2, 3].map(() => places.open(way)))
    const served: number[] = []
    const polls: Promise<void>[] = []
    for (const [n, waiter] of waiters.entries()) {
      polls.push(
        waiter.queue.reserve(route, { wait: 30 }).then(items => {
          served.push(n)
          expect(texts(items)).toEqual([`m${n}`])
        }),
      )
      // Parked before the next one asks: later requests of other types are not held back by a wait.
      await waiter.settle()
    }
    const a = await places.open(way)
    for (const n of [0, 1, 2]) {
      await a.queue.enqueue(route, `m${n}`)
      await polls[n]
    }
    expect(served).toEqual([0, 1, 2])
  })

  test("Q-12: a wait that brings nothing ends as an empty success", async () => {
    const a = await places.open(way)
    expect(await a.queue.reserve(fresh("queue"), { wait: 1 })).toEqual([])
  })

  test("O-3: a parked RESERVE holds back later ones of its connection and nothing else", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const [empty, full] = [fresh("queue"), fresh("queue")]
    await b.queue.enqueue(full, "ready")
    const order: string[] = []
    const parked = a.queue.reserve(empty, { wait: 30 }).then(items => {
      order.push("parked")
      return items
    })
    const later = a.queue.reserve(full).then(items => {
      order.push("later")
      return items
    })
    await a.queue.enqueue(full, "another")
    await a.settle()
    expect(order).toEqual([])
    // The later one has not even begun: its message is still there for others.
    const [other] = await b.queue.reserve(full)
    expect(String(other!.body)).toBe("ready")
    await b.queue.enqueue(empty, "at last")
    expect(texts(await parked)).toEqual(["at last"])
    expect(texts(await later)).toEqual(["another"])
    expect(order).toEqual(["parked", "later"])
  })

  test("Q-10 Q-13: a pattern draws from all its queues in turn and names their routes", async () => {
    const a = await places.open(way)
    const realm = fresh("queue", 1)
    for (const [queue, body] of [
      ["one", "a"],
      ["one", "b"],
      ["two", "c"],
      ["two", "d"],
    ])
      await a.queue.enqueue(`${realm}/jobs/${queue}`, body!)
    await a.queue.enqueue(`${realm}/other/one`, "not matched")
    const singles = []
    for (let n = 0; n < 4; n++) singles.push(...(await a.queue.reserve(`${realm}/jobs/*`)))
    expect(new Set(singles.map(({ route, body }) => `${route.slice(realm.length)} ${body}`))).toEqual(
      new Set(["/jobs/one a", "/jobs/one b", "/jobs/two c", "/jobs/two d"]),
    )
    // From call to call another queue begins.
    expect(singles[0]!.route).not.toBe(singles[1]!.route)
    expect(await a.queue.reserve(`${realm}/jobs/*`)).toEqual([])
    const [rest] = await a.queue.reserve(`${realm}/**`)
    expect(rest!.route).toBe(`${realm}/other/one`)
    const waiting = a.queue.reserve(`${realm}/*/late`, { wait: 30 })
    await a.settle()
    await a.queue.enqueue(`${realm}/jobs/late`, "e")
    expect((await waiting).map(({ route }) => route)).toEqual([`${realm}/jobs/late`])
  })

  test("Q-22 Q-23 S-5: a follower hears once when a queue goes from nothing ready to something", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("queue")
    const id = await a.queue.subscribe(route)
    expect(await a.queue.subscribe(route)).toBe(id)
    await b.queue.enqueue(route, "one")
    await b.queue.enqueue(route, "two")
    await b.queue.enqueue(route, "later", 1_000)
    expect(await a.queue.next()).toEqual({ subscription: id, route, ready: 1, delayed: 0, inflight: 0 })
    const [held] = await b.queue.reserve(route, { batch: 2 })
    await b.queue.enqueue(route, "three")
    expect(await a.queue.next()).toEqual({ subscription: id, route, ready: 1, delayed: 1, inflight: 2 })
    // A new follower hears at once of what is ready.
    const wide = await b.queue.subscribe(`${route.slice(0, route.lastIndexOf("/"))}/*`)
    expect(await b.queue.next()).toMatchObject({ subscription: wide, ready: 1 })
    await a.queue.unsubscribe(route)
    await a.queue.unsubscribe(route)
    await b.queue.reserve(route, { batch: 10 })
    await b.queue.complete(route, held!.id, held!.token)
    await b.queue.enqueue(route, "four")
    expect(await b.queue.next()).toMatchObject({ subscription: wide, ready: 1 })
    await a.settle()
    expect(a.unread(209)).toEqual([])
  })

  test("Q-22: a message that becomes due or is returned is heard of, too", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("queue")
    const id = await a.queue.subscribe(route)
    await b.queue.enqueue(route, "later", 1)
    expect(await a.queue.next()).toEqual({ subscription: id, route, ready: 1, delayed: 0, inflight: 0 })
    await b.queue.reserve(route, { lease: 1 })
    expect(await a.queue.next()).toEqual({ subscription: id, route, ready: 1, delayed: 0, inflight: 0 })
    await b.queue.reserve(route, { lease: 60 })
    await b.close()
    expect(await a.queue.next()).toEqual({ subscription: id, route, ready: 1, delayed: 0, inflight: 0 })
  })

  test("Q-11: a reply holds what fits a frame; the rest stays ready, in order", async () => {
    const a = await places.open(way)
    const route = fresh("queue")
    const body = (n: number): Buffer => Buffer.alloc(20_000, n)
    await Promise.all([1, 2, 3, 4].map(n => a.queue.enqueue(route, body(n))))
    const first = await a.queue.reserve(route, { batch: 4 })
    expect(first.map(item => item.body)).toEqual([body(1), body(2), body(3)])
    expect((await a.queue.reserve(route, { batch: 4 })).map(item => item.body)).toEqual([body(4)])
  })

  test("Q-18: the largest deliverable body arrives; a larger one never blocks its queue", async () => {
    const a = await places.open(way)
    const route = fresh("queue")
    const largest = Buffer.alloc(65_535 - 1 - 4 - 8 - 8 - 4, 1)
    // An ENQUEUE spends its bytes on the route instead, so what it can carry is what a reply can carry or less.
    const carried = Math.min(largest.length, 65_535 - block(route).length - 4 - 1)
    await a.queue.enqueue(route, largest.subarray(0, carried))
    await a.queue.enqueue(route, "next")
    const got = await a.queue.reserve(route, { batch: 2 })
    expect(got[0]!.body.length).toBe(carried)
    const short = "queue://a/b/c"
    const undeliverable = Buffer.alloc(65_535 - block(short).length - 4 - 1, 2)
    expect(undeliverable.length).toBeGreaterThan(largest.length)
    await a.queue.enqueue(short, undeliverable)
    await a.queue.enqueue(short, "after it")
    const [deliverable] = await a.queue.reserve(short, { wait: 20 })
    expect(String(deliverable!.body)).toBe("after it")
    await a.queue.complete(short, deliverable!.id, deliverable!.token)
  })

  test("Q-9 Q-17 R-10: numbers out of range and patterns that match no queue are refused by code", async () => {
    const a = await places.open(way)
    const route = fresh("queue")
    const most = 2n ** 64n - 1n
    await expect(a.queue.reserve(route, { lease: most })).rejects.toMatchObject({ code: 4006 })
    await expect(a.queue.reserve(route, { batch: 1_025 })).rejects.toMatchObject({ code: 4006 })
    await expect(a.queue.reserve("queue://a/b")).rejects.toMatchObject({ code: 4006 })
    await expect(a.queue.reserve("queue://a/**/b/c/d")).rejects.toMatchObject({ code: 4006 })
    await expect(a.queue.enqueue("queue://a/b/*", "m")).rejects.toMatchObject({ code: 4006 })
    await expect(a.queue.enqueue("kv://a/b/c", "m")).rejects.toMatchObject({ code: 4006 })
    await expect(a.queue.subscribe("queue://a/b")).rejects.toThrow(/pattern/)
    await a.queue.enqueue(route, "m")
    const [held] = await a.queue.reserve(route)
    await expect(a.queue.extend(route, held!.id, held!.token, most)).rejects.toThrow(/lease/)
    await a.queue.complete(route, held!.id, held!.token)
  })

  test("D-1: reserves parked by a program that vanished get nothing", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("queue")
    const parked = a.queue.reserve(route, { wait: 30 })
    await a.settle()
    a.wire.cut()
    await expect(parked).rejects.toThrow("closed")
    // Whatever the dead wait may still have taken comes back when the broker notices.
    await b.queue.enqueue(route, "m")
    const [item] = await until(
      "the message",
      () => b.queue.reserve(route),
      items => items.length === 1,
    )
    expect(String(item!.body)).toBe("m")
  })
})
