// What clients rely on to tell replies apart (docs/PROTOCOL.md, O-*): one reply for each request, in order for each
// type, whatever else goes on. Never a socket, never a wait.

import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { type PipedCaller, TestBroker } from "../kit/broker.ts"
import { bytes, Cursor } from "../kit/bytes.ts"
import { seeded } from "../kit/random.ts"
import { unheard } from "../kit/replies.ts"
import { encodeKv } from "../model/kv.ts"
import { encodeLease } from "../model/lease.ts"
import type { Encoded } from "../model/peer.ts"
import { encodeQueue } from "../model/queue.ts"
import { encodeSchedule } from "../model/schedule.ts"
import { Simulation } from "../model/simulation.ts"
import { encodeStream } from "../model/stream.ts"

let broker: TestBroker
let a: PipedCaller
let b: PipedCaller
beforeEach(() => {
  broker = new TestBroker({ manual: true })
  a = broker.enter()
  b = broker.enter()
})
afterEach(() => broker.close())

/** Types that are answered once, with a request that succeeds or fails as `fails` says. */
function requests(fails: boolean): Encoded[] {
  const segment = fails ? "*" : "x"
  const route = (scheme: string): string => `${scheme}://a/b/${segment}`
  return [
    encodeKv({ op: "begin", route: route("kv"), write: false, sync: false }),
    encodeKv({ op: "get", tx: 77, route: route("kv"), key: "k" }),
    encodeQueue({ op: "enqueue", route: route("queue"), body: "x", delay: null }),
    encodeQueue({ op: "extend", route: route("queue"), id: 1, token: 1n, lease: 1 }),
    encodeLease({ op: "query", route: route("lease") }),
    encodeLease({ op: "release", route: route("lease"), owner: "", token: 1 }),
    encodeStream({ op: "last", route: route("stream") }),
    encodeStream({ op: "metadata", route: route("stream") }),
    encodeStream({ op: "append", session: 77, expected: 0, body: "", meta: null, discriminator: null }),
    encodeSchedule({ op: "cancel", route: `${route("schedule")}/go` }),
    encodeSchedule({ op: "list", offset: null, limit: null }),
  ]
}

describe("replies", () => {
  test("O-1 E-2 E-4: every request gets exactly one reply of its own type, success or failure", () => {
    const sent: number[] = []
    for (const fails of [false, true, false, true]) {
      for (const { type, payload } of requests(fails)) {
        a.send(type, payload)
        sent.push(type)
        // One that does not parse at all is answered as well.
        a.send(type, bytes("00"))
        sent.push(type)
      }
    }
    broker.settle()
    const received = a.received.map(frame => frame.type)
    expect([...received].sort()).toEqual([...sent].sort())
    for (const { payload } of a.received) expect(payload[0]).toBeLessThanOrEqual(1)
  })

  test("E-1 E-2 E-5: a refusal is 01, the code where the type is coded, and a text of four bytes or more; nothing behind", () => {
    const plain = [
      100, 101, 102, 103, 104, 105, 106, 107, 108, 203, 204, 207, 208, 600, 601, 700, 701, 703, 704,
    ]
    const coded = [
      109, 110, 200, 202, 300, 301, 400, 401, 402, 403, 407, 408, 501, 502, 602, 603, 604, 605, 606, 607, 608,
      702,
    ]
    for (const type of [...plain, ...coded]) a.send(type, bytes("02"))
    broker.settle()
    expect(a.received.length).toBe(plain.length + coded.length)
    for (const { type, payload } of a.received) {
      const cursor = new Cursor(payload)
      expect(cursor.u8(), `status of ${type}`).toBe(1)
      if (coded.includes(type)) expect(cursor.u32(), `code of ${type}`).toBeGreaterThan(1_000)
      expect(cursor.text().length, `text of ${type}`).toBeGreaterThanOrEqual(4)
      expect(cursor.left, `bytes behind the text of ${type}`).toBe(0)
    }
  })

  test("O-1: 302, 303 and 500 are answered by nothing, and nothing comes that nobody asked for", () => {
    a.rpc.reply(Buffer.alloc(16), 0, true, "x")
    a.notice.publish("notice://a/b", "x")
    a.send(500, bytes("00"))
    a.send(303, bytes("00"))
    broker.settle()
    broker.advance(600_000)
    expect(a.received).toEqual([])
  })

  test("O-2: replies of one type come in the order of the requests, over turns and within one", () =>
    seeded(random => {
      const expected: string[] = []
      for (let i = 0; i < 400; i++) {
        // Every queue of its own, so that the id tells how many requests it had before.
        const queue = random.int(40)
        expected.push(`queue://o/b/${queue}`)
        unheard(a.queue.enqueue(`queue://o/b/${queue}`, "x"))
        if (random.chance(0.3)) unheard(a.lease.query("lease://a/b/c"), b.queue.enqueue("queue://p/b/c", "x"))
        if (random.chance(0.05)) broker.settle()
      }
      broker.settle()
      const counts = new Map<string, number>()
      const ids = expected.map(route => {
        counts.set(route, (counts.get(route) ?? 0) + 1)
        return counts.get(route)!
      })
      const replies = a.received.filter(frame => frame.type === 200)
      expect(replies.map(({ payload }) => new Cursor(payload.subarray(1)).number())).toEqual(ids)
    }))

  test("O-2 O-3: also where RESERVEs park, are served by others, time out and are refused", () =>
    seeded(random => {
      const expected: string[] = []
      for (let i = 0; i < 60; i++) {
        const kind = random.int(4)
        if (kind === 0) unheard(a.queue.reserve(`queue://none/b/${i}`, { wait: random.between(1, 3) }))
        if (kind === 1) unheard(a.queue.reserve("queue://a/b", {}))
        if (kind === 2) unheard(a.queue.reserve(`queue://none/b/${i}`))
        if (kind === 3) {
          unheard(b.queue.enqueue(`queue://some/b/${i}`, `body ${i}`))
          unheard(a.queue.reserve(`queue://some/b/${i}`, { wait: 5 }))
        }
        expected.push(["empty", "4006", "empty", `body ${i}`][kind]!)
        if (random.chance(0.2)) broker.advance(random.int(1_500))
      }
      for (let i = 0; i < 60; i++) broker.advance(3_000)
      const replies = a.received
        .filter(frame => frame.type === 202)
        .map(({ payload }) => {
          const cursor = new Cursor(payload)
          if (cursor.u8() === 1) return String(cursor.u32())
          if (cursor.u32() === 0) return "empty"
          cursor.raw(16)
          return cursor.text()
        })
      expect(replies).toEqual(expected)
    }))

  test("O-4: requests of one connection to one domain take effect in the order in which they were sent", async () => {
    const route = "kv://a/b/c"
    const begun = a.kv.begin(route, "write")
    broker.settle()
    const tx = await begun
    const all = [
      a.kv.put(tx, route, "k", "1"),
      a.kv.insert(tx, route, "k", "2").catch(() => "refused"),
      a.kv.get(tx, route, "k").then(String),
      a.kv.delete(tx, route, "k"),
      a.kv.insert(tx, route, "k", "3"),
      a.kv.commit(tx, route),
      a.kv.get(tx, route, "k").catch(() => "over"),
    ]
    broker.settle()
    expect(await Promise.all(all)).toEqual([null, "refused", "1", null, null, null, "over"])
  })

  test("O-5: the live lane answers while the durable one has not had its turn", () => {
    unheard(
      a.queue.enqueue("queue://a/b/c", "x"),
      a.lease.query("lease://a/b/c"),
      b.lease.query("lease://a/b/c"),
    )
    broker.world.run()
    expect(a.received.map(frame => frame.type)).toEqual([403])
    expect(b.received.map(frame => frame.type)).toEqual([403])
    broker.settle()
    expect(a.received.map(frame => frame.type)).toEqual([403, 200])
  })

  test("O-7: nothing leaves before the commit that it speaks of", () => {
    const { commit } = broker.database
    const seen: number[] = []
    broker.database.commit = sync => {
      seen.push(a.received.length + b.received.length)
      commit.call(broker.database, sync)
    }
    unheard(b.queue.subscribe("queue://a/b/c"))
    broker.settle()
    seen.length = 0
    b.received.length = 0
    unheard(
      a.queue.enqueue("queue://a/b/c", "x"),
      a.schedule.create("schedule://a/b/c/d", "* * * * *", "single", "x"),
    )
    broker.settle()
    expect(seen[0]).toBe(0)
    expect([a.received.length, b.received.length]).toEqual([2, 1])
  })

  test("O-9: everything in one turn sees the same time", async () => {
    broker.world.moveTo(broker.now + 777)
    const begun = ["x", "y"].map(name => a.stream.begin(`stream://a/b/${name}`))
    broker.settle()
    const sessions = await Promise.all(begun)
    for (const session of sessions) unheard(a.stream.append(session, 0, "e"), a.stream.commit(session))
    // The world goes on while the requests lie in the inbox; the turn has one moment, when it begins.
    broker.world.moveTo(broker.now + 5)
    broker.settle()
    const lasts = ["x", "y"].map(name => a.stream.last(`stream://a/b/${name}`))
    broker.settle()
    const [x, y] = await Promise.all(lasts)
    expect([x?.createdAt, y?.createdAt]).toEqual([broker.now, broker.now])
  })
})

test("O-9: a turn is a function: the same requests at the same times make the same bytes, chance included", () => {
  const [first, again, other] = ["one", "one", "two"].map(
    seed => new Simulation({ seed, steps: 120 }).run().digest,
  )
  expect(again).toBe(first)
  expect(other).not.toBe(first)
})
