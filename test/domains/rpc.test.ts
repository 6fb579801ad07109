// RPC, rule by rule (docs/PROTOCOL.md, RPC-*), over the in-memory door: what programs may rely on, each rule in a
// test that carries its number, at its limits and one beyond. Time moves by hand; never a socket, a file or a wait.

import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { type PipedCaller, TestBroker, type TestBrokerOptions } from "../kit/broker.ts"
import { block, bytes, u8, u32, u64 } from "../kit/bytes.ts"
import { caught, refused, unheard } from "../kit/replies.ts"

const ROUTE = "rpc://realm/area/one"

let broker: TestBroker
let caller: PipedCaller
let worker: PipedCaller

function start(options: TestBrokerOptions = {}): void {
  broker.close()
  broker = new TestBroker(options)
  caller = broker.enter()
  worker = broker.enter()
}

beforeEach(() => {
  broker = new TestBroker()
  caller = broker.enter()
  worker = broker.enter()
})
afterEach(() => broker.close())

/** A correlation id that says its number. */
function id(number: number): Buffer {
  return bytes(u64(0), u64(number))
}

/** Sends calls with these numbers as ids and bodies. */
function call(from: PipedCaller, numbers: readonly number[], route = ROUTE): void {
  for (const number of numbers) from.rpc.call(id(number), route, String(number))
  broker.settle()
}

/** The numbers of the calls that the worker has got and not looked at yet. */
async function given(to: PipedCaller): Promise<number[]> {
  broker.settle()
  const numbers: number[] = []
  while (to.unread(302).length > 0) numbers.push(Number((await to.rpc.take()).body))
  return numbers
}

/** What the caller has got and not looked at yet: `number:code` for faults, `number:body` for answers. */
async function heard(by: PipedCaller): Promise<string[]> {
  broker.settle()
  const all: string[] = []
  while (by.unread(303).length > 0) {
    const { correlation, body, fault } = await by.rpc.answer()
    all.push(`${correlation.readUInt32BE(12)}:${fault === null ? body : fault.code}`)
  }
  return all
}

function finish(at: PipedCaller, numbers: readonly number[]): void {
  for (const number of numbers) at.rpc.reply(id(number), 0, true, "done")
  broker.settle()
}

describe("calls and answers", () => {
  test("RPC-1 RPC-7: a call reaches a worker, and its answer the caller, byte by byte", async () => {
    await worker.rpc.register("rpc://realm/**")
    const body = bytes("00 ff 01 c3 28")
    caller.rpc.call(id(1), ROUTE, body)
    expect(await worker.next(302)).toEqual(bytes(id(1), block(ROUTE), block(body)))
    worker.rpc.reply(id(1), 0, true, body)
    expect(await caller.next(303)).toEqual(bytes(id(1), u64(0), u8(1), block(body)))
  })

  test("RPC-7 F-3: a call and an answer may fill a frame", async () => {
    await worker.rpc.register(ROUTE)
    const largest = Buffer.alloc(65_535 - 16 - 4 - ROUTE.length - 4, "x")
    caller.rpc.call(id(1), ROUTE, largest)
    expect((await worker.rpc.take()).body).toEqual(largest)
    const answer = Buffer.alloc(65_535 - 16 - 8 - 1 - 4, "y")
    worker.rpc.reply(id(1), 0, true, answer)
    expect((await caller.rpc.answer()).body).toEqual(answer)
  })

  test("RPC-6: where no worker matches the call ends at once with 6004", async () => {
    await worker.rpc.register("rpc://realm/area/two")
    call(caller, [1])
    expect(await heard(caller)).toEqual(["1:6004"])
  })

  test("RPC-14: the broker's own end is sequence 0, flags 1 and a body of 01, code and text, with nothing behind", async () => {
    caller.rpc.call(id(7), ROUTE, "x")
    const payload = await caller.next(303)
    expect(payload.subarray(0, 25)).toEqual(bytes(id(7), u64(0), u8(1)))
    const body = payload.subarray(29)
    expect(payload.readUInt32BE(25)).toBe(body.length)
    expect(body.subarray(0, 5)).toEqual(bytes(u8(1), u32(6004)))
    expect(body.readUInt32BE(5)).toBe(body.length - 9)
  })

  test("RPC-8: frames count from 0 and reach the caller in order; the last ends the call", async () => {
    await worker.rpc.register(ROUTE)
    call(caller, [1])
    for (const [sequence, last] of [
      [0, false],
      [1, false],
      [2, true],
    ] as const)
      worker.rpc.reply(id(1), sequence, last, `part ${sequence}`)
    broker.settle()
    const frames = [await caller.rpc.answer(), await caller.rpc.answer(), await caller.rpc.answer()]
    expect(frames.map(({ sequence, last, body }) => [sequence, last, String(body)])).toEqual([
      [0, false, "part 0"],
      [1, false, "part 1"],
      [2, true, "part 2"],
    ])
    worker.rpc.reply(id(1), 3, true, "late")
    expect(await heard(caller)).toEqual([])
  })

  test("RPC-8: an empty last frame is forwarded like any other", async () => {
    await worker.rpc.register(ROUTE)
    call(caller, [1])
    worker.rpc.reply(id(1), 0, true, "")
    expect(await caller.rpc.answer()).toMatchObject({ sequence: 0, last: true, body: Buffer.alloc(0) })
  })

  test("RPC-8 RPC-4: a wrong number ends the call with 6006 and gives the credit back", async () => {
    await worker.rpc.register(ROUTE)
    for (const wrong of [1, 2 ** 53, 7]) {
      call(caller, [wrong % 100])
      expect((await given(worker)).length).toBe(1)
      worker.rpc.reply(id(wrong % 100), wrong, false, "x")
      expect(await heard(caller)).toEqual([`${wrong % 100}:6006`])
    }
    call(caller, [50])
    worker.rpc.reply(id(50), 0, false, "first")
    worker.rpc.reply(id(50), 0, true, "again")
    expect(await heard(caller)).toEqual(["50:first", "50:6006"])
  })

  test("RPC-9: a 303 from a session that does not have the call has no effect", async () => {
    const other = broker.enter()
    await worker.rpc.register(ROUTE)
    await other.rpc.register("rpc://realm/area/two")
    call(caller, [1])
    other.rpc.reply(id(1), 0, true, "stolen")
    other.rpc.reply(id(1), 9, true, "broken")
    caller.rpc.reply(id(1), 0, true, "own")
    expect(await heard(caller)).toEqual([])
    finish(worker, [1])
    expect(await heard(caller)).toEqual(["1:done"])
  })

  test("RPC-9: a call that waits for a worker has none that could answer it", async () => {
    await worker.rpc.register(ROUTE)
    call(caller, [1, 2])
    worker.rpc.reply(id(2), 0, true, "early")
    expect(await heard(caller)).toEqual([])
    finish(worker, [1])
    expect(await given(worker)).toEqual([1, 2])
  })

  test("RPC-10: a 303 for a call that is over or never was is dropped, and the connection goes on", async () => {
    await worker.rpc.register(ROUTE)
    worker.rpc.reply(id(99), 0, true, "never")
    call(caller, [1])
    finish(worker, [1])
    finish(worker, [1])
    expect(await heard(caller)).toEqual(["1:done"])
    expect(worker.open).toBe(true)
    call(caller, [2])
    expect(await given(worker)).toEqual([1, 2])
  })

  test("RPC-10 RPC-18: a 303 with any other flag, or that does not parse, is dropped", async () => {
    await worker.rpc.register(ROUTE)
    call(caller, [1])
    for (const flags of [2, 3, 0x80, 255]) worker.send(303, bytes(id(1), u64(0), u8(flags), block("x")))
    for (const cut of [0, 15, 20, 26])
      worker.send(303, bytes(id(1), u64(0), u8(1), block("x")).subarray(0, cut))
    worker.send(303, bytes(id(1), u64(0), u8(1), block("x"), "00"))
    expect(await heard(caller)).toEqual([])
    expect(worker.open).toBe(true)
    finish(worker, [1])
    expect(await heard(caller)).toEqual(["1:done"])
  })

  test("RPC-11: a second call with the id of a live one ends with 6007; the live one goes on", async () => {
    const other = broker.enter()
    await worker.rpc.register(ROUTE, 5)
    call(caller, [1])
    call(other, [1])
    call(caller, [1])
    expect(await heard(other)).toEqual(["1:6007"])
    expect(await heard(caller)).toEqual(["1:6007"])
    expect(await given(worker)).toEqual([1])
    finish(worker, [1])
    expect(await heard(caller)).toEqual(["1:done"])
    call(other, [1])
    expect(await given(worker)).toEqual([1])
  })

  test("RPC-11 P-11: the same id in another family is another call", async () => {
    const [theirs, worksThere] = [broker.enter({ family: 2 }), broker.enter({ family: 2 })]
    await worker.rpc.register(ROUTE)
    call(theirs, [1])
    expect(await heard(theirs)).toEqual(["1:6004"])
    await worksThere.rpc.register(ROUTE)
    call(caller, [1])
    call(theirs, [1])
    finish(worksThere, [1])
    expect(await heard(theirs)).toEqual(["1:done"])
    expect(await heard(caller)).toEqual([])
  })

  test("RPC-20: a worker's own error body is forwarded", async () => {
    await worker.rpc.register(ROUTE)
    call(caller, [1])
    worker.rpc.reply(id(1), 0, true, bytes(u8(1), u32(6003), block("my pool is full")))
    expect(await heard(caller)).toEqual(["1:6003"])
    call(caller, [2])
    expect(await given(worker)).toEqual([1, 2])
  })

  test("RPC-12: a call that is not over after 30 s ends with 6001, at a worker and waiting", async () => {
    await worker.rpc.register(ROUTE)
    call(caller, [1])
    broker.advance(10_000)
    call(caller, [2])
    broker.advance(19_999)
    expect(await heard(caller)).toEqual([])
    broker.advance(1)
    // The credit is back with it: the call that waited is given now, and ends in its own time.
    expect(await heard(caller)).toEqual(["1:6001"])
    expect(await given(worker)).toEqual([1, 2])
    worker.rpc.reply(id(1), 0, true, "late")
    broker.advance(10_000)
    expect(await heard(caller)).toEqual(["2:6001"])
  })

  test("RPC-12: what a worker streams does not put the end off", async () => {
    await worker.rpc.register(ROUTE)
    call(caller, [1])
    for (let i = 0; i < 3; i++) {
      broker.advance(9_000)
      worker.rpc.reply(id(1), i, false, "part")
    }
    broker.advance(3_000)
    expect((await heard(caller)).at(-1)).toBe("1:6001")
  })

  test("RPC-12 RPC-14: calls that are over at one moment all end, and none is given to a worker first", async () => {
    await worker.rpc.register(ROUTE)
    call(caller, [1, 2, 3])
    broker.jump(60_000)
    expect(await heard(caller)).toEqual(["1:6001", "2:6001", "3:6001"])
    expect(await given(worker)).toEqual([1])
  })
})

describe("workers", () => {
  test("RPC-2: calls go round among the workers of a route", async () => {
    const workers = [worker, broker.enter(), broker.enter()]
    for (const one of workers) await one.rpc.register(ROUTE, 10)
    call(caller, [1, 2, 3, 4, 5, 6])
    expect([await given(workers[0]!), await given(workers[1]!), await given(workers[2]!)]).toEqual([
      [1, 4],
      [2, 5],
      [3, 6],
    ])
  })

  test("RPC-2: a worker without credit is passed over, and turns go on per route", async () => {
    const [second, third] = [broker.enter(), broker.enter()]
    await worker.rpc.register(ROUTE, 1)
    await second.rpc.register("rpc://realm/**", 10)
    await third.rpc.register("rpc://**", 10)
    call(caller, [1, 2, 3, 4, 5, 6])
    expect([await given(worker), await given(second), await given(third)]).toEqual([[1], [2, 4, 6], [3, 5]])
    // Another route has its own turn.
    call(caller, [7], "rpc://realm/other")
    expect(await given(second)).toEqual([7])
  })

  test("RPC-3 RPC-5: a worker gets as many calls as it has credit; the others wait, first in, first out", async () => {
    await worker.rpc.register(ROUTE, 2)
    call(caller, [1, 2, 3, 4, 5])
    expect(await given(worker)).toEqual([1, 2])
    finish(worker, [2])
    expect(await given(worker)).toEqual([3])
    finish(worker, [1, 3])
    expect(await given(worker)).toEqual([4, 5])
    expect(await heard(caller)).toEqual(["2:done", "1:done", "3:done"])
  })

  test("RPC-3: a credit of 0 or above 1,024 is refused with 6010; 1,024 is taken", async () => {
    await refused(worker.rpc.register(ROUTE, 0), 6010)
    await refused(worker.rpc.register(ROUTE, 1_025), 6010)
    await refused(worker.rpc.register(ROUTE, 2 ** 32 - 1), 6010)
    await worker.rpc.register(ROUTE, 1_024)
  })

  test("RPC-4: a streaming answer holds its credit until the last frame", async () => {
    await worker.rpc.register(ROUTE)
    call(caller, [1, 2])
    worker.rpc.reply(id(1), 0, false, "part")
    expect(await given(worker)).toEqual([1])
    worker.rpc.reply(id(1), 1, true, "")
    expect(await given(worker)).toEqual([2])
  })

  test("RPC-4 RPC-16: a caller that goes gives no credit back; its waiting calls vanish", async () => {
    const other = broker.enter()
    await worker.rpc.register(ROUTE)
    call(caller, [1, 2])
    call(other, [3])
    caller.pipe.hangUp()
    expect(await given(worker)).toEqual([1])
    finish(worker, [1])
    expect(await given(worker)).toEqual([3])
    expect(caller.received).toEqual([])
  })

  test("RPC-16 RPC-12: a call whose caller is gone still times out and gives its credit back", async () => {
    const other = broker.enter()
    await worker.rpc.register(ROUTE)
    call(caller, [1])
    caller.pipe.hangUp()
    broker.advance(29_000)
    call(other, [2])
    broker.advance(1_000)
    expect(await given(worker)).toEqual([1, 2])
    expect(await heard(other)).toEqual([])
  })

  test("RPC-5: a worker that registers is given what waits, oldest first over all its routes", async () => {
    await worker.rpc.register("rpc://**", 1)
    call(caller, [1])
    call(caller, [2], "rpc://realm/b")
    call(caller, [3], "rpc://realm/a")
    call(caller, [4], "rpc://realm/b")
    const second = broker.enter()
    await second.rpc.register("rpc://realm/*", 2)
    expect(await given(second)).toEqual([2, 3])
    finish(second, [3])
    expect(await given(second)).toEqual([4])
  })

  test("RPC-13: registering again with the same pattern succeeds and adds no credit", async () => {
    await worker.rpc.register(ROUTE, 1)
    await worker.rpc.register(ROUTE, 5)
    call(caller, [1, 2])
    expect(await given(worker)).toEqual([1])
  })

  test("RPC-1: two patterns of one session are two registrations, each with its credit", async () => {
    await worker.rpc.register(ROUTE, 1)
    await worker.rpc.register("rpc://realm/**", 1)
    call(caller, [1, 2, 3])
    expect(await given(worker)).toEqual([1, 2])
  })

  test("RPC-15: a worker that unregisters loses its calls with 6002; what waits goes to another", async () => {
    const second = broker.enter()
    await worker.rpc.register(ROUTE, 1)
    await second.rpc.register(ROUTE, 1)
    call(caller, [1, 2, 3])
    await worker.rpc.unregister(ROUTE)
    expect(await heard(caller)).toEqual(["1:6002"])
    expect(await given(second)).toEqual([2])
    finish(second, [2])
    expect(await given(second)).toEqual([3])
    worker.rpc.reply(id(1), 0, true, "late")
    expect(await heard(caller)).toEqual(["2:done"])
  })

  test("RPC-15 D-1: the same where its connection ends; where no other matches what waits ends with 6004", async () => {
    await worker.rpc.register(ROUTE, 1)
    await worker.rpc.register("rpc://realm/**", 1)
    call(caller, [1, 2, 3])
    call(caller, [4], "rpc://realm/other")
    worker.pipe.hangUp()
    expect((await heard(caller)).sort()).toEqual(["1:6002", "2:6002", "3:6004", "4:6004"])
    call(caller, [5])
    expect(await heard(caller)).toEqual(["5:6004"])
  })

  test("RPC-15: unregistering one of two patterns ends only its own calls", async () => {
    await worker.rpc.register(ROUTE, 1)
    await worker.rpc.register("rpc://realm/area/two", 1)
    call(caller, [1])
    call(caller, [2], "rpc://realm/area/two")
    await worker.rpc.unregister(ROUTE)
    expect(await heard(caller)).toEqual(["1:6002"])
    finish(worker, [2])
    expect(await heard(caller)).toEqual(["2:done"])
  })

  test("S-5: unregistering what is not there succeeds", async () => {
    await worker.rpc.unregister(ROUTE)
    await worker.rpc.register(ROUTE)
    await worker.rpc.unregister("rpc://realm/**")
    call(caller, [1])
    expect(await given(worker)).toEqual([1])
  })

  test("RPC-17: the reply to the registration precedes the first call under it", async () => {
    const first = broker.enter()
    await first.rpc.register(ROUTE, 1)
    call(caller, [1, 2])
    unheard(worker.rpc.register(ROUTE, 1))
    broker.settle()
    expect(worker.received.map(frame => frame.type)).toEqual([300, 302])
  })

  test("RPC-2: a session may call itself", async () => {
    await worker.rpc.register(ROUTE)
    call(worker, [1])
    expect(await given(worker)).toEqual([1])
    finish(worker, [1])
    expect(await heard(worker)).toEqual(["1:done"])
  })

  test("RPC-15 RPC-16: a session that calls itself and goes leaves nothing behind", async () => {
    await worker.rpc.register(ROUTE, 1)
    call(worker, [1, 2])
    call(caller, [3])
    worker.pipe.hangUp()
    expect(await heard(caller)).toEqual(["3:6004"])
    expect(broker.engine.sessionCount).toBe(1)
    broker.advance(60_000)
    expect(await heard(caller)).toEqual([])
  })
})

describe("limits", () => {
  test("M-18 RPC-5: live calls beyond the limit end with 6003; room comes back with the next end", async () => {
    start({ config: { rpcMaxPending: 3 } })
    await worker.rpc.register(ROUTE, 2)
    call(caller, [1, 2, 3, 4])
    expect(await heard(caller)).toEqual(["4:6003"])
    finish(worker, [1])
    call(caller, [5, 6])
    expect(await heard(caller)).toEqual(["1:done", "6:6003"])
  })

  test("M-19 RPC-5: calls that wait beyond the limit of their route end with 6003; other routes are not affected", async () => {
    start({ config: { rpcMaxPendingPerRoute: 2 } })
    await worker.rpc.register("rpc://**", 1)
    call(caller, [1, 2, 3, 4])
    expect(await heard(caller)).toEqual(["4:6003"])
    call(caller, [5], "rpc://realm/other")
    expect(await heard(caller)).toEqual([])
    finish(worker, [1])
    call(caller, [6, 7])
    expect(await heard(caller)).toEqual(["1:done", "7:6003"])
  })

  test("M-20: the time is an option", async () => {
    start({ config: { rpcTimeoutSeconds: 2 } })
    await worker.rpc.register(ROUTE)
    call(caller, [1])
    broker.advance(2_000)
    expect(await heard(caller)).toEqual(["1:6001"])
  })

  test("S-8 M-7 M-8: registrations beyond the limits are refused with 6013, known ones are not", async () => {
    start({ config: { maxRegistrations: 3, maxWildcardRegistrations: 1 } })
    await worker.rpc.register("rpc://a/**")
    await refused(worker.rpc.register("rpc://b/**"), 6013)
    await worker.rpc.register("rpc://a/**")
    await worker.rpc.register("rpc://a")
    await worker.rpc.register("rpc://b")
    await refused(worker.rpc.register("rpc://c"), 6013)
    await worker.rpc.unregister("rpc://a")
    await worker.rpc.register("rpc://c")
  })

  test("D-7 D-8: draining ends what waits with 6003 and lets nothing wait; calls at a worker may finish", async () => {
    await worker.rpc.register(ROUTE, 1)
    call(caller, [1, 2])
    broker.engine.drain()
    expect(await heard(caller)).toEqual(["2:6003"])
    call(caller, [3])
    expect(await heard(caller)).toEqual(["3:6003"])
    finish(worker, [1])
    expect(await heard(caller)).toEqual(["1:done"])
    call(caller, [4])
    expect(await given(worker)).toEqual([1, 4])
  })
})

describe("what is refused", () => {
  test("P-7 P-8: 300 and 301 need read and write in one grant (6009)", async () => {
    const halves = broker.enter({ permissions: ["rpc://**#read", "rpc://**#write"] })
    await refused(halves.rpc.register(ROUTE), 6009)
    await refused(halves.rpc.unregister(ROUTE), 6009)
    const whole = broker.enter({ permissions: ["rpc://realm/**#*"] })
    await whole.rpc.register("rpc://realm/*/one")
    await refused(whole.rpc.register("rpc://**"), 6009)
  })

  test("P-10: a call that is not allowed ends with 6009 in a 303", async () => {
    await worker.rpc.register("rpc://**")
    const reader = broker.enter({ permissions: ["rpc://**#read", "rpc://mine#write"] })
    call(reader, [1])
    expect(await heard(reader)).toEqual(["1:6009"])
    call(reader, [2], "rpc://mine")
    expect(await given(worker)).toEqual([2])
  })

  test("RPC-19: a call to a route that is none ends with 6011", async () => {
    await worker.rpc.register("rpc://**")
    for (const route of ["rpc://a//b", "rpc://a/*", "rpc://**", "queue://a/b/c", "a/b", ""]) {
      call(caller, [1], route)
      expect(await heard(caller)).toEqual(["1:6011"])
    }
    call(caller, [2], "rpc://one")
    expect(await given(worker)).toEqual([2])
  })

  test("RPC-19: a call that does not parse ends with 6010, under as much of an id as it had", async () => {
    const whole = bytes(id(0x01020304), block(ROUTE), block("x"))
    for (const payload of [whole.subarray(0, -1), bytes(whole, "00"), whole.subarray(0, 16)]) {
      caller.send(302, payload)
      const { correlation, fault } = await caller.rpc.answer()
      expect([correlation, fault?.code]).toEqual([id(0x01020304), 6010])
    }
    caller.send(302, bytes("aa bb"))
    const { correlation, fault } = await caller.rpc.answer()
    expect([correlation.toString("hex"), fault?.code]).toEqual([`aabb${"00".repeat(14)}`, 6010])
    expect(caller.open).toBe(true)
  })

  test("S-9 F-10: a pattern that is none is refused with 6012, a payload that does not parse with 6010", async () => {
    for (const pattern of ["rpc://a//b", "rpc://a*", "rpc://**/**", "lease://a/b/c"]) {
      await refused(worker.rpc.register(pattern), 6012)
      await refused(worker.rpc.unregister(pattern), 6012)
    }
    await refused(
      worker.call(300, block(ROUTE), () => null),
      6010,
    )
    await refused(
      worker.call(300, bytes(block(ROUTE), u32(1), "00"), () => null),
      6010,
    )
    await refused(
      worker.call(301, bytes(block(ROUTE), "00"), () => null),
      6010,
    )
  })

  test("O-5: a call does not wait for the disk", async () => {
    start({ manual: true })
    unheard(worker.rpc.register(ROUTE))
    broker.settle()
    const durable = caller.queue.enqueue("queue://a/b/c", "x")
    let stored = false
    void durable.then(() => {
      stored = true
    })
    caller.rpc.call(id(1), ROUTE, "x")
    // Only the live lane has had its turn.
    broker.world.run()
    await caught()
    expect(worker.unread(302).length).toBe(1)
    expect(stored).toBe(false)
    broker.settle()
    await durable
  })
})
