// RPC as callers and workers meet it: real brokers, real sockets, all four ways in. Every call here is seen to
// end exactly once for its caller.

import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { block, bytes, u8, u64 } from "../kit/bytes.ts"
import { until } from "../kit/patience.ts"
import { correlation, fresh, Place, Places, type Program, TRANSPORTS, WAYS } from "../kit/ways.ts"

let places: Places
beforeAll(async () => {
  places = await Places.start()
})
afterAll(() => places.stop())

/** Takes the next call and answers it with one last frame. */
async function serve(worker: Program, body: string): Promise<string> {
  const call = await worker.rpc.take()
  worker.rpc.reply(call.correlation, 0, true, body)
  return String(call.body)
}

describe.concurrent.each(WAYS)("rpc over $transport, auth $auth", way => {
  test("RPC-7: a call reaches a worker and its answer the caller, byte for byte", async () => {
    const [caller, worker] = [await places.open(way), await places.open(way)]
    const route = fresh("rpc")
    await worker.rpc.register(route)
    const id = correlation()
    const body = Buffer.alloc(60_000, 9)
    caller.rpc.call(id, route, body)
    expect(await worker.rpc.take()).toEqual({ correlation: id, route, body })
    worker.rpc.reply(id, 0, true, body)
    expect(await caller.rpc.answer()).toEqual({ correlation: id, sequence: 0, last: true, body, fault: null })
  })

  test("RPC-8 RPC-10: an answer may come in frames; they arrive in order and the last one ends the call", async () => {
    const [caller, worker] = [await places.open(way), await places.open(way)]
    const route = fresh("rpc")
    await worker.rpc.register(route)
    const id = correlation()
    caller.rpc.call(id, route, "count")
    await worker.rpc.take()
    for (let n = 0; n < 50; n++) worker.rpc.reply(id, n, false, `frame ${n}`)
    worker.rpc.reply(id, 50, true, "")
    for (let n = 0; n < 50; n++)
      expect(await caller.rpc.answer()).toMatchObject({
        sequence: n,
        last: false,
        body: Buffer.from(`frame ${n}`),
      })
    expect(await caller.rpc.answer()).toMatchObject({ sequence: 50, last: true, body: Buffer.of() })
    // What comes after the last frame belongs to no call any more.
    worker.rpc.reply(id, 51, true, "too late")
    await worker.settle()
    await caller.settle()
    expect(caller.unread(303)).toEqual([])
  })

  test("RPC-6: without a worker the caller hears so at once", async () => {
    const [caller, worker] = [await places.open(way), await places.open(way)]
    const route = fresh("rpc")
    const id = correlation()
    caller.rpc.call(id, route, "")
    const answer = await caller.rpc.answer()
    expect(answer).toMatchObject({ correlation: id, sequence: 0, last: true, fault: { code: 6004 } })
    await worker.rpc.register(route)
    await worker.rpc.unregister(route)
    await worker.rpc.unregister(route)
    caller.rpc.call(correlation(), route, "")
    expect((await caller.rpc.answer()).fault?.code).toBe(6004)
  })

  test("RPC-4 RPC-5 RPC-13: a worker gets as many calls as it has credit; the rest waits in line", async () => {
    const [caller, worker] = [await places.open(way), await places.open(way)]
    const route = fresh("rpc")
    await worker.rpc.register(route, 2)
    // The same session and pattern again is no second pool.
    await worker.rpc.register(route, 5)
    const ids = Array.from({ length: 5 }, () => correlation())
    for (const [n, id] of ids.entries()) caller.rpc.call(id, route, String(n))
    expect(String((await worker.rpc.take()).body)).toBe("0")
    const second = await worker.rpc.take()
    expect(String(second.body)).toBe("1")
    await caller.settle()
    await worker.settle()
    expect(worker.unread(302)).toEqual([])
    worker.rpc.reply(second.correlation, 0, true, "one")
    expect(String((await worker.rpc.take()).body)).toBe("2")
    worker.rpc.reply(ids[0]!, 0, false, "not yet the end")
    await worker.settle()
    expect(worker.unread(302)).toEqual([])
    worker.rpc.reply(ids[0]!, 1, true, "the end")
    expect(String((await worker.rpc.take()).body)).toBe("3")
  })

  test("RPC-1 RPC-2: calls are spread evenly over workers, exact and wildcard alike", async () => {
    const caller = await places.open(way)
    const workers = await Promise.all([1, 2, 3].map(() => places.open(way)))
    const route = fresh("rpc")
    const patterns = [route, `${route.slice(0, route.lastIndexOf("/"))}/*`, route.replace(/\/area.*/, "/**")]
    const counts = [0, 0, 0]
    for (const [n, worker] of workers.entries()) await worker.rpc.register(patterns[n]!, 1)
    for (const [n, worker] of workers.entries()) {
      void (async () => {
        while (worker.open) {
          await serve(worker, "done")
          counts[n]!++
        }
      })().catch(() => expect(worker.open).toBe(false))
    }
    for (let n = 0; n < 30; n++) {
      caller.rpc.call(correlation(), route, "")
      expect((await caller.rpc.answer()).fault).toBeNull()
    }
    expect(counts).toEqual([10, 10, 10])
  })

  test("R-3: a route may have any depth", async () => {
    const [caller, worker] = [await places.open(way), await places.open(way)]
    const realm = fresh("rpc", 1)
    await worker.rpc.register(realm)
    await worker.rpc.register(`${realm}/a/b/c/d/e/f`)
    for (const route of [realm, `${realm}/a/b/c/d/e/f`]) {
      const id = correlation()
      caller.rpc.call(id, route, "")
      expect(await worker.rpc.take()).toMatchObject({ correlation: id, route })
      worker.rpc.reply(id, 0, true, "")
      await caller.rpc.answer()
    }
  })

  test("RPC-15: a worker that goes leaves 6002 behind; what waited moves on, or gets 6004", async () => {
    const caller = await places.open(way)
    const [first, second] = [await places.open(way), await places.open(way)]
    const route = fresh("rpc")
    await first.rpc.register(route)
    const [delivered, waiting, last] = [correlation(), correlation(), correlation()]
    caller.rpc.call(delivered, route, "a")
    caller.rpc.call(waiting, route, "b")
    await first.rpc.take()
    await caller.settle()
    await second.rpc.register(route)
    expect((await second.rpc.take()).correlation).toEqual(waiting)
    caller.rpc.call(last, route, "c")
    await caller.settle()
    first.wire.cut()
    expect(await caller.rpc.answer()).toMatchObject({ correlation: delivered, fault: { code: 6002 } })
    await second.rpc.unregister(route)
    const ends = [await caller.rpc.answer(), await caller.rpc.answer()]
    const codes = new Map(ends.map(({ correlation, fault }) => [String(correlation), fault?.code]))
    expect(codes).toEqual(
      new Map([
        [String(waiting), 6002],
        [String(last), 6004],
      ]),
    )
  })

  test("RPC-16: answers to a caller that is gone are discarded and give credit back", async () => {
    const [gone, caller, worker] = [await places.open(way), await places.open(way), await places.open(way)]
    const route = fresh("rpc")
    await worker.rpc.register(route)
    const [running, waiting] = [correlation(), correlation()]
    gone.rpc.call(running, route, "running")
    gone.rpc.call(waiting, route, "waiting")
    expect((await worker.rpc.take()).correlation).toEqual(running)
    await gone.close()
    const live = correlation()
    caller.rpc.call(live, route, "live")
    await caller.settle()
    worker.rpc.reply(running, 0, true, "for nobody")
    // The waiting call of the one that is gone has vanished from the line.
    expect((await worker.rpc.take()).correlation).toEqual(live)
    worker.rpc.reply(live, 0, true, "")
    expect(await caller.rpc.answer()).toMatchObject({ correlation: live, fault: null })
  })

  test("RPC-9 RPC-10: only the worker that has the call may answer it", async () => {
    const [caller, worker, stranger] = [
      await places.open(way),
      await places.open(way),
      await places.open(way),
    ]
    const route = fresh("rpc")
    await worker.rpc.register(route)
    const id = correlation()
    caller.rpc.call(id, route, "")
    await worker.rpc.take()
    stranger.rpc.reply(id, 0, true, "forged")
    stranger.rpc.reply(correlation(), 0, true, "to nobody")
    await stranger.settle()
    worker.rpc.reply(id, 0, true, "true")
    expect(String((await caller.rpc.answer()).body)).toBe("true")
    expect(stranger.open).toBe(true)
  })

  test("RPC-11: a second call under a live id is refused; the first goes on", async () => {
    const [caller, other, worker] = [await places.open(way), await places.open(way), await places.open(way)]
    const route = fresh("rpc")
    await worker.rpc.register(route, 2)
    const id = correlation()
    caller.rpc.call(id, route, "first")
    expect(String((await worker.rpc.take()).body)).toBe("first")
    other.rpc.call(id, route, "second")
    expect(await other.rpc.answer()).toMatchObject({ correlation: id, fault: { code: 6007 } })
    worker.rpc.reply(id, 0, true, "answer")
    expect(String((await caller.rpc.answer()).body)).toBe("answer")
    expect(other.unread(303)).toEqual([])
    // Once it is over the id is free.
    other.rpc.call(id, route, "third")
    expect(String((await worker.rpc.take()).body)).toBe("third")
  })

  test("RPC-8: a frame out of sequence ends the call with 6006 and frees the worker", async () => {
    const [caller, worker] = [await places.open(way), await places.open(way)]
    const route = fresh("rpc")
    await worker.rpc.register(route)
    const id = correlation()
    caller.rpc.call(id, route, "")
    await worker.rpc.take()
    worker.rpc.reply(id, 0, false, "0")
    worker.rpc.reply(id, 2, true, "2")
    expect(await caller.rpc.answer()).toMatchObject({ sequence: 0, fault: null })
    expect(await caller.rpc.answer()).toMatchObject({ last: true, fault: { code: 6006 } })
    caller.rpc.call(correlation(), route, "next")
    expect(String((await worker.rpc.take()).body)).toBe("next")
  })

  test("RPC-20: a worker's own error body is forwarded as it is", async () => {
    const [caller, worker] = [await places.open(way), await places.open(way)]
    const route = fresh("rpc")
    await worker.rpc.register(route)
    const id = correlation()
    caller.rpc.call(id, route, "")
    await worker.rpc.take()
    worker.rpc.reply(id, 0, true, bytes("01 00001773", block("pool is full")))
    expect((await caller.rpc.answer()).fault).toEqual({ code: 6003, text: "pool is full" })
  })

  test("RPC-3 RPC-19 S-9: what is no pattern, no route or no credit is refused by code", async () => {
    const a = await places.open(way)
    await expect(a.rpc.register("rpc://")).rejects.toMatchObject({ code: 6012 })
    await expect(a.rpc.register("kv://a/b")).rejects.toMatchObject({ code: 6012 })
    await expect(a.rpc.unregister("rpc://a//b")).rejects.toMatchObject({ code: 6012 })
    for (const credit of [0, 1_025])
      await expect(a.rpc.register("rpc://a", credit)).rejects.toMatchObject({ code: 6010 })
    for (const [route, code] of [
      ["rpc://a/*", 6011],
      ["queue://a/b/c", 6011],
    ] as const) {
      const id = correlation()
      a.rpc.call(id, route, "")
      expect(await a.rpc.answer()).toMatchObject({ correlation: id, fault: { code } })
    }
  })

  test("RPC-10 RPC-18: answers that do not parse are dropped without harm to the connection", async () => {
    const [caller, worker] = [await places.open(way), await places.open(way)]
    const route = fresh("rpc")
    await worker.rpc.register(route)
    const id = correlation()
    caller.rpc.call(id, route, "")
    await worker.rpc.take()
    worker.send(303, id)
    worker.send(303, bytes(id, u64(0), u8(2), block("reserved flag")))
    worker.send(303, bytes(id, u64(0), u8(1), block("long"), u8(0)))
    worker.rpc.reply(id, 0, true, "well formed")
    expect(String((await caller.rpc.answer()).body)).toBe("well formed")
    expect(worker.open).toBe(true)
  })
})

test("RPC-12 M-20: a call that takes too long ends with 6001 and gives the worker its credit back", async () => {
  const place = await Place.start({ folder: null, environment: { FITZ_RPC_TIMEOUT_SECONDS: "1" } })
  try {
    for (const transport of TRANSPORTS) {
      const [caller, worker] = [await place.open(transport), await place.open(transport)]
      const route = fresh("rpc")
      await worker.rpc.register(route)
      const [delivered, waiting] = [correlation(), correlation()]
      caller.rpc.call(delivered, route, "delivered")
      caller.rpc.call(waiting, route, "waiting")
      await worker.rpc.take()
      const ends = [await caller.rpc.answer(), await caller.rpc.answer()]
      expect(ends.map(({ fault }) => fault?.code)).toEqual([6001, 6001])
      expect(new Set(ends.map(({ correlation }) => String(correlation)))).toEqual(
        new Set([String(delivered), String(waiting)]),
      )
      const next = correlation()
      caller.rpc.call(next, route, "next")
      await until("the next call", async () => (await worker.rpc.take()).correlation.equals(next))
      worker.rpc.reply(delivered, 0, true, "too late")
      worker.rpc.reply(next, 0, true, "in time")
      expect(await caller.rpc.answer()).toMatchObject({ correlation: next, fault: null })
    }
  } finally {
    await place.stop()
  }
})
