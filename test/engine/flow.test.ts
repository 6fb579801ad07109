// What keeps memory bounded when clients are faster than the broker, or slower (docs/PROTOCOL.md, M-2 … M-4, M-16,
// M-17, M-26). Never a socket, never a wait.

import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { type PipedCaller, TestBroker, type TestBrokerOptions } from "../kit/broker.ts"
import { caught, unheard } from "../kit/replies.ts"

const QUEUE = "queue://a/b/c"
const NOTICE = "notice://a/b/c"

let broker: TestBroker
let a: PipedCaller
let b: PipedCaller

function start(options: TestBrokerOptions = {}): void {
  broker.close()
  broker = new TestBroker({ manual: true, ...options })
  a = broker.enter()
  b = broker.enter()
  broker.settle()
}

beforeEach(() => {
  broker = new TestBroker({ manual: true })
})
afterEach(() => broker.close())

/** Payload bytes of an enqueue with an empty body. */
const EMPTY_ENQUEUE_BYTES = 4 + QUEUE.length + 4 + 1

describe("requests under way", () => {
  test("M-2: with so many unanswered requests a connection is not read, and is read again when half are answered", async () => {
    start({ config: { maxInflight: 4 } })
    const replies: Promise<number>[] = []
    for (let i = 0; i < 3; i++) replies.push(a.queue.enqueue(QUEUE, "x"))
    expect(a.pipe.paused).toBe(false)
    replies.push(a.queue.enqueue(QUEUE, "x"))
    expect(a.pipe.paused).toBe(true)
    // One beyond: it stays with the client until there is room.
    replies.push(a.queue.enqueue(QUEUE, "x"))
    unheard(b.queue.enqueue(QUEUE, "x"))
    expect(b.pipe.paused).toBe(false)
    broker.settle()
    expect(a.pipe.paused).toBe(false)
    expect((await Promise.all(replies)).sort()).toEqual([1, 2, 3, 4, 6])
  })

  test("M-2: parked ones count; the live lane's do not", async () => {
    start({ config: { maxInflight: 4 } })
    const parked = Array.from({ length: 4 }, (_, i) => a.queue.reserve(`queue://a/b/${i}`, { wait: 5 }))
    broker.settle()
    expect(a.pipe.paused).toBe(true)
    let answered = false
    void a.lease.query("lease://a/b/c").then(() => {
      answered = true
    })
    broker.settle()
    await caught()
    expect(answered).toBe(false)
    broker.advance(5_000)
    expect(a.pipe.paused).toBe(true)
    broker.advance(5_000)
    // Two of four are left.
    expect(a.pipe.paused).toBe(false)
    await caught()
    expect(answered).toBe(true)
    broker.advance(30_000)
    await Promise.all(parked)
    start({ config: { maxInflight: 2 } })
    for (let i = 0; i < 10; i++) unheard(a.lease.query("lease://a/b/c"))
    expect(a.pipe.paused).toBe(false)
  })

  test("M-3: the same in payload bytes, to the byte", () => {
    start({ config: { maxInflightBytes: 100_000 } })
    const half = Buffer.alloc(50_000 - EMPTY_ENQUEUE_BYTES)
    unheard(a.queue.enqueue(QUEUE, half), b.queue.enqueue(QUEUE, half))
    unheard(a.queue.enqueue(QUEUE, half.subarray(1)))
    expect(a.pipe.paused).toBe(false)
    unheard(b.queue.enqueue(QUEUE, half))
    expect(b.pipe.paused).toBe(true)
    unheard(a.queue.enqueue(QUEUE, ""))
    expect(a.pipe.paused).toBe(true)
    broker.settle()
    expect([a.pipe.paused, b.pipe.paused]).toEqual([false, false])
  })

  test("M-4: the same of all connections: whoever sends beyond it waits until half is answered", async () => {
    start({ config: { maxInflightTotalBytes: 100_000, maxInflightBytes: 1_000_000 } })
    const c = broker.enter()
    const large = Buffer.alloc(40_000)
    unheard(a.queue.enqueue(QUEUE, large), b.queue.enqueue(QUEUE, large))
    expect([a.pipe.paused, b.pipe.paused]).toEqual([false, false])
    const third = c.queue.enqueue(QUEUE, large)
    const fourth = c.queue.enqueue(QUEUE, "x")
    expect([a.pipe.paused, c.pipe.paused]).toEqual([false, true])
    unheard(a.queue.enqueue(QUEUE, "x"))
    expect(a.pipe.paused).toBe(true)
    broker.settle()
    expect([a.pipe.paused, b.pipe.paused, c.pipe.paused]).toEqual([false, false, false])
    expect([await third, await fourth].every(id => id > 0)).toBe(true)
  })

  test("M-4 D-1: what a client had under way goes with it, and others are read again", () => {
    start({ config: { maxInflightTotalBytes: 50_000, maxInflightBytes: 1_000_000 } })
    unheard(a.queue.enqueue(QUEUE, Buffer.alloc(60_000)))
    unheard(b.queue.enqueue(QUEUE, "x"))
    expect(b.pipe.paused).toBe(true)
    a.pipe.hangUp()
    expect(b.pipe.paused).toBe(false)
  })

  test("O-2 M-2: what waited unread is handled in the order in which it was sent", async () => {
    start({ config: { maxInflight: 3 } })
    const ids = Array.from({ length: 50 }, () => a.queue.enqueue(QUEUE, "x"))
    broker.settle()
    expect(await Promise.all(ids)).toEqual(Array.from({ length: 50 }, (_, i) => i + 1))
  })
})

describe("a receiver that does not read", () => {
  const limits = { maxOutboundBytes: 400_000 }
  const body = Buffer.alloc(10_000, "x")

  async function follow(): Promise<void> {
    const id = b.notice.subscribe(NOTICE)
    broker.settle()
    await id
    b.pipe.stopReading()
  }

  function publish(count: number): void {
    for (let i = 0; i < count; i++) {
      a.notice.publish(NOTICE, body)
      broker.settle()
      // Whoever publishes may be held up for a moment.
      broker.advance(10)
    }
  }

  test("M-16 N-4: above a quarter of the limit it gets no more notices; they are counted, it stays connected", async () => {
    start({ config: limits })
    await follow()
    publish(60)
    expect(b.open).toBe(true)
    expect(b.pipe.pendingBytes).toBeLessThanOrEqual(100_000)
    expect(b.pipe.pendingBytes).toBeGreaterThan(80_000)
    const pending = Math.floor(b.pipe.pendingBytes / body.length)
    expect(broker.liveTally.count("noticesDropped")).toBe(60 - pending)
    // When it reads again it gets what was kept, and hears what comes.
    b.pipe.startReading()
    expect(b.unread(504).length).toBe(pending)
    publish(1)
    expect(b.unread(504).length).toBe(pending + 1)
  })

  test("M-16: replies and other pushes are not dropped meanwhile", async () => {
    start({ config: limits })
    await follow()
    publish(30)
    const dropped = broker.liveTally.count("noticesDropped")
    unheard(
      b.kv.begin("kv://a/b/c", "read"),
      b.lease.subscribe("lease://a/b/c"),
      a.lease.acquire("lease://a/b/c", 5),
    )
    broker.settle()
    b.pipe.startReading()
    expect(
      b.received
        .slice(-3)
        .map(frame => frame.type)
        .sort(),
    ).toEqual([100, 407, 409])
    expect(broker.liveTally.count("noticesDropped")).toBe(dropped)
  })

  test("M-16 F-9: at the limit its connection ends, and the others go on", async () => {
    start({ config: limits })
    const c = broker.enter()
    const stored = a.queue.enqueue(QUEUE, Buffer.alloc(60_000))
    broker.settle()
    await stored
    b.pipe.stopReading()
    for (let i = 0; i < 7 && b.open; i++) {
      unheard(b.queue.reserve(QUEUE, { lease: 1 }))
      broker.settle()
      broker.advance(1_000)
      if (i < 6) expect(b.open).toBe(true)
    }
    expect([b.open, b.pipe.ending]).toEqual([false, "slow"])
    expect(broker.engine.sessionCount).toBe(2)
    const read = c.queue.reserve(QUEUE)
    broker.settle()
    expect((await read).length).toBe(1)
  })

  test("M-17: when all together have too much unsent, the slowest end first", async () => {
    start({ config: { maxOutboundBytes: 1_000_000, maxOutboundTotalBytes: 300_000 } })
    const c = broker.enter()
    for (let i = 0; i < 2; i++) unheard(a.queue.enqueue(QUEUE, Buffer.alloc(60_000)))
    broker.settle()
    const take = (caller: PipedCaller): void => {
      unheard(caller.queue.reserve(QUEUE, { lease: 1 }))
      broker.settle()
      broker.advance(1_000)
    }
    b.pipe.stopReading()
    c.pipe.stopReading()
    for (let i = 0; i < 3; i++) take(b)
    take(c)
    expect([b.open, c.open]).toEqual([true, true])
    take(c)
    expect([b.open, c.open]).toEqual([false, true])
    expect(b.pipe.ending).toBe("slow")
  })

  test("M-26: who publishes to a receiver that lags is not read for a moment, 10 ms at most", async () => {
    start({ config: limits })
    await follow()
    a.notice.publish(NOTICE, body)
    broker.settle()
    expect(a.pipe.paused).toBe(false)
    a.notice.publish(NOTICE, body)
    a.notice.publish(NOTICE, body)
    broker.settle()
    // A sixteenth of the limit is 25,000 bytes.
    expect(b.pipe.pendingBytes).toBeGreaterThan(25_000)
    expect(a.pipe.paused).toBe(true)
    broker.advance(9)
    expect(a.pipe.paused).toBe(true)
    broker.advance(1)
    expect(a.pipe.paused).toBe(false)
  })

  test("M-26: it is read again as soon as the receiver has caught up by half", async () => {
    start({ config: limits })
    await follow()
    for (let i = 0; i < 3; i++) {
      a.notice.publish(NOTICE, body)
      broker.settle()
    }
    expect(a.pipe.paused).toBe(true)
    b.pipe.readOne()
    expect(a.pipe.paused).toBe(true)
    b.pipe.readOne()
    expect(a.pipe.paused).toBe(false)
    // Somebody who publishes nothing is never held up.
    expect(broker.world.nextTimerMs).toBeNull()
  })

  test("M-26: the end of the receiver's connection frees who waits for it", async () => {
    start({ config: limits })
    await follow()
    for (let i = 0; i < 3; i++) {
      a.notice.publish(NOTICE, body)
      broker.settle()
    }
    expect(a.pipe.paused).toBe(true)
    b.pipe.hangUp()
    expect(a.pipe.paused).toBe(false)
  })
})
