// What becomes of a turn that cannot stand (docs/PROTOCOL.md, E-6, E-7, O-10): a request that throws, a disk without
// room, a commit that fails. The faults are laid over the real store; the product does the undoing.

import { afterEach, beforeEach, describe, expect, test } from "vitest"
import type { Context, Domain, Outcome, Session } from "../../broker/domains/domain.ts"
import { NoticeDomain } from "../../broker/domains/notice.ts"
import { RpcDomain } from "../../broker/domains/rpc.ts"
import { sessionOf } from "../../broker/engine/durable.ts"
import { Lane } from "../../broker/engine/lane.ts"
import { Tally } from "../../broker/engine/tally.ts"
import { FrameReader } from "../../protocol/frame.ts"
import { type PipedCaller, TestBroker, type TestBrokerOptions } from "../kit/broker.ts"
import { block, bytes, type Frame, outer, Splitter, u32 } from "../kit/bytes.ts"
import { refused, unheard } from "../kit/replies.ts"

const KV = "kv://a/b/c"
const QUEUE = "queue://a/b/c"
const STREAM = "stream://a/b/c"
const SCHEDULE = "schedule://a/b/c/d"

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

/** Everything that is stored, table by table. */
function stored(): string {
  const tables = [
    "kv_resource",
    "kv_entry",
    "queue",
    "queue_segment",
    "queue_gone",
    "queue_attempt",
    "queue_dead",
  ]
  tables.push("stream_selector", "stream_segment", "stream_order", "schedule", "probe")
  return JSON.stringify(tables.map(table => broker.database.prepare(`SELECT * FROM ${table}`).all()))
}

/** What programs can see of a few things in each durable domain. */
async function visible(): Promise<unknown> {
  const tx = await b.kv.begin(KV, "read")
  const pairs = (await b.kv.scan(tx, KV)).pairs.map(String)
  await b.kv.rollback(tx, KV)
  const page = await b.stream.read("stream://**", 0, 100)
  const events = page.items.map(item =>
    "event" in item ? [item.route, item.event.global, String(item.event.body)] : null,
  )
  const { entries } = await b.schedule.list()
  return { pairs, events, schedules: entries.map(({ route, cron }) => [route, cron]) }
}

/** Something in every durable domain, committed. */
async function fill(): Promise<void> {
  const tx = await a.kv.begin(KV, "write")
  await a.kv.put(tx, KV, "k", "old")
  await a.kv.commit(tx, KV)
  await a.queue.enqueue(QUEUE, "old")
  await a.queue.enqueue(QUEUE, "old too")
  await a.queue.enqueue(QUEUE, "later", 60)
  const session = await a.stream.begin(STREAM)
  await a.stream.append(session, 0, "old")
  await a.stream.commit(session)
  await a.schedule.create(SCHEDULE, "0 0 1 1 *", "broadcast", "old")
}

describe("a request that throws", () => {
  test("E-6: in one turn with others it alone is refused; the others are done, before and after it", async () => {
    broker.faults.poison = "poison"
    const [writing, bad] = await Promise.all([a.kv.begin(KV, "write"), a.kv.begin("kv://a/b/bad", "write")])
    await a.kv.put(writing, KV, "k", "fine")
    await a.kv.put(bad, "kv://a/b/bad", "k", "poison")
    const stream = await a.stream.begin(STREAM)
    await a.stream.append(stream, 0, "fine")
    await b.queue.subscribe("queue://**")
    const turns = broker.durableTurns
    const all = [
      a.queue.enqueue(QUEUE, "before"),
      a.kv.commit(writing, KV),
      refused(a.kv.commit(bad, "kv://a/b/bad"), "storage failure"),
      refused(a.schedule.create(SCHEDULE, "* * * * *", "single", "poison"), "storage failure"),
      refused(b.queue.enqueue("queue://a/b/poison", "x"), 4007),
      a.stream.commit(stream),
      b.queue.enqueue(QUEUE, "after"),
    ]
    await Promise.all(all)
    expect(broker.durableTurns - turns).toBe(1)
    expect(await visible()).toEqual({
      pairs: ["k,fine"],
      events: [[STREAM, 0, "fine"]],
      schedules: [],
    })
    expect((await a.queue.reserve(QUEUE, { batch: 9 })).map(item => [item.id, String(item.body)])).toEqual([
      [1, "before"],
      [2, "after"],
    ])
    // Nothing was said twice while the turn was run again.
    expect(b.unread(209).length).toBe(1)
    const errors = broker.world.records.filter(({ level }) => level === "error")
    expect(errors.map(({ message }) => message)).toEqual(Array(3).fill("a request threw"))
    expect(JSON.stringify(errors)).not.toContain("fine")
  })

  test("E-6 E-8: the log says which message and where, and nothing of what was sent", async () => {
    broker.faults.poison = "poison"
    await refused(
      a.schedule.create(SCHEDULE, "* * * * *", "single", "poison and a secret"),
      "storage failure",
    )
    const [record] = broker.world.records
    expect(record).toMatchObject({ level: "error", fields: { request: "SCHEDULE CREATE" } })
    expect(JSON.stringify(record)).not.toContain("secret")
    expect(String(record!.fields["stack"])).toContain("schedule.ts")
  })

  test("E-6: a RESERVE that stood behind a parked one is judged once, however often its turn runs", async () => {
    broker.faults.poison = "poison"
    const parked = a.queue.reserve(QUEUE, { wait: 10 })
    const behind = a.queue.reserve(QUEUE)
    const bad = refused(b.queue.enqueue("queue://a/b/poison", "x"), 4007)
    const good = [b.queue.enqueue(QUEUE, "1"), b.queue.enqueue(QUEUE, "2"), b.queue.enqueue(QUEUE, "3")]
    await Promise.all([bad, ...good])
    expect((await parked).map(item => String(item.body))).toEqual(["1"])
    const [second] = await behind
    // The line goes on as soon as the one in front is answered, and something more had come by then or not.
    expect(second === undefined ? "" : String(second.body)).toMatch(/^(2)?$/)
    expect(a.received.map(frame => frame.type)).toEqual([202, 202])
  })

  /** A domain that throws after it has done what it was asked to do. */
  class Careless<Request, Reply> implements Domain<Request, Reply> {
    private readonly inner: Domain<Request, Reply>
    private readonly throwsOn: (request: Request) => boolean

    constructor(inner: Domain<Request, Reply>, throwsOn: (request: Request) => boolean) {
      this.inner = inner
      this.throwsOn = throwsOn
    }

    handle(request: Request, session: Session, context: Context): Outcome<Reply> {
      const outcome = this.inner.handle(request, session, context)
      if (this.throwsOn(request)) throw new Error("careless")
      return outcome
    }

    expire(context: Context): void {
      this.inner.expire(context)
    }

    leave(session: number, context: Context): void {
      this.inner.leave(session, context)
    }

    nextDue(): number | null {
      return this.inner.nextDue()
    }

    drain(context: Context): void {
      this.inner.drain(context)
    }

    figures(now: number): { readonly [name: string]: number } {
      return this.inner.figures(now)
    }
  }

  /** A live lane with two sessions, frames in, frames out. */
  function lane(domains: ConstructorParameters<typeof Lane>[0]["domains"]): {
    send(session: number, type: number, payload: Buffer): void
    received(session: number): Frame[]
    bugs: string[]
  } {
    const bugs: string[] = []
    const lane = new Lane({
      domains,
      store: null,
      firstId: 1,
      random: () => 1,
      tally: new Tally(),
      elapsedMs: () => 0,
      noticeRoom: () => Number.POSITIVE_INFINITY,
      parkedMax: 10,
      onBug: (_error, name) => bugs.push(name),
      onWritable: () => undefined,
    })
    const sessions = [1, 2].map(session => sessionOf({ session, family: 1, permissions: null }))
    for (const session of sessions) lane.open(session)
    const splitters = new Map<number, Frame[]>()
    lane.begin(1_000, null)
    return {
      send: (session, type, payload) => {
        const reader = new FrameReader({
          frame: (kind, buffer, view, _start, at, end) => {
            lane.receive(sessions[session - 1]!, kind, buffer, view, at, end)
            return true
          },
        })
        reader.push(outer(type, payload))
      },
      received: session => {
        for (const out of lane.end()) {
          const frames = splitters.get(out.session) ?? []
          frames.push(...new Splitter().push(out.frames))
          splitters.set(out.session, frames)
        }
        lane.begin(1_000, null)
        return splitters.get(session) ?? []
      },
      bugs,
    }
  }

  const REGISTRATIONS = { registrationsMax: 100, wildcardRegistrationsMax: 100 }
  const CALLS = { ...REGISTRATIONS, pendingMax: 10, pendingPerRouteMax: 10, timeoutMs: 1_000 }

  test("E-6: in the live lane its effects are undone at once, and what it had to say is not said", () => {
    const domain = new Careless(
      new RpcDomain(CALLS),
      request => request.op === "register" && request.credit === 13,
    )
    const { send, received, bugs } = lane({ rpc: domain })
    const route = block("rpc://a")
    send(1, 300, bytes(route, u32(1)))
    send(2, 302, bytes(Buffer.alloc(16, 1), route, block("x")))
    send(2, 302, bytes(Buffer.alloc(16, 2), route, block("y")))
    // It would be given the call that waits; the call stays where it is.
    send(1, 300, bytes(block("rpc://**"), u32(13)))
    send(1, 300, bytes(block("rpc://**"), u32(1)))
    const frames = received(1)
    expect(frames.map(({ type, payload }) => [type, payload[0]])).toEqual([
      [300, 0],
      [302, 1],
      [300, 1],
      [300, 0],
      [302, 2],
    ])
    expect(frames[2]!.payload.readUInt32BE(1)).toBe(6010)
    expect(bugs).toEqual(["RPC SUBSCRIBE_WORKER"])
  })

  test("E-6: a publish that throws is dropped, and the publish after it is looked up afresh", () => {
    const domain = new Careless(new NoticeDomain(REGISTRATIONS), request => request.op === "publish" && bad)
    let bad = false
    const { send, received, bugs } = lane({ notice: domain })
    send(1, 501, block("notice://a"))
    const publish = bytes(block("notice://a"), block("x"))
    bad = true
    send(2, 500, publish)
    send(2, 500, publish)
    bad = false
    send(2, 500, publish)
    send(2, 500, publish)
    expect(received(1).map(({ type }) => type)).toEqual([501, 504, 504])
    expect(bugs.length).toBe(2)
  })

  test("E-6: a reply that does not fit its frame is its request's bug: undone, refused, and no half frame goes out", () => {
    class Boundless extends NoticeDomain {
      override handle(...all: Parameters<NoticeDomain["handle"]>): ReturnType<NoticeDomain["handle"]> {
        const outcome = super.handle(...all)
        const [request] = all
        // An id that no writer can write.
        if (request.op === "subscribe" && request.pattern.text === "notice://b")
          return Symbol("no number") as never
        return outcome
      }
    }
    const { send, received, bugs } = lane({ notice: new Boundless(REGISTRATIONS) })
    send(1, 501, block("notice://a"))
    send(1, 501, block("notice://b"))
    send(1, 501, block("notice://c"))
    send(2, 500, bytes(block("notice://b"), block("x")))
    const frames = received(1)
    expect(frames.map(({ type, payload }) => [type, payload[0]])).toEqual([
      [501, 0],
      [501, 1],
      [501, 0],
    ])
    expect(frames[1]!.payload.readUInt32BE(1)).toBe(3005)
    expect(bugs).toEqual(["NOTICE SUBSCRIBE"])
  })
})

describe("a disk without room", () => {
  test("E-7 O-10: the whole turn leaves no trace: not on the wire, not in the store, not in memory", async () => {
    await fill()
    for (const pattern of ["kv://**", "queue://**", "stream://**", "schedule://**"]) {
      const domain = pattern.slice(0, pattern.indexOf(":")) as "kv" | "queue" | "stream" | "schedule"
      await b[domain].subscribe(pattern)
    }
    broker.settle()
    const pushed = b.received.length
    const [item] = await a.queue.reserve(QUEUE, { lease: 3_600 })
    const tx = await a.kv.begin(KV, "write")
    await a.kv.put(tx, KV, "k", "new")
    const session = await a.stream.begin(STREAM)
    await a.stream.append(session, 1, "new")
    const before = stored()
    broker.faults.fillDisk()
    await Promise.all([
      refused(a.kv.commit(tx, KV), "storage failure"),
      refused(a.queue.enqueue(QUEUE, "new"), 4007),
      refused(a.queue.enqueue("queue://a/b/new", "new", 5), 4007),
      refused(a.queue.complete(QUEUE, item!.id, item!.token), "storage failure"),
      refused(a.stream.commit(session), 2012),
      refused(a.schedule.create("schedule://a/b/c/new", "* * * * *", "single", "x"), "storage failure"),
      refused(a.schedule.cancel(SCHEDULE), "storage failure"),
    ])
    expect(stored()).toBe(before)
    expect(b.received.length).toBe(pushed)
    expect(await visible()).toEqual({
      pairs: ["k,old"],
      events: [[STREAM, 0, "old"]],
      schedules: [[SCHEDULE, "0 0 1 1 *"]],
    })
    // Memory goes on from where it was: offsets, ids, the lock, the reservation.
    broker.faults.freeDisk()
    broker.advance(1_000)
    expect(await a.queue.enqueue(QUEUE, "next")).toBe(4)
    await a.queue.complete(QUEUE, item!.id, item!.token)
    const again = await a.stream.begin(STREAM)
    expect(await a.stream.append(again, 1, "next")).toBe(1)
    await a.stream.commit(again)
    const next = await a.kv.begin(KV, "write")
    await a.kv.put(next, KV, "k", "next")
    await a.kv.commit(next, KV)
    expect((await visible()) as { pairs: unknown }).toMatchObject({
      pairs: ["k,next"],
      events: [
        [STREAM, 0, "old"],
        [STREAM, 1, "next"],
      ],
    })
    expect((await a.queue.reserve(QUEUE, { batch: 9 })).map(one => String(one.body))).toEqual([
      "old too",
      "next",
    ])
  })

  test("E-7: what needs nothing stored is done in the very turn that found the disk full", async () => {
    await fill()
    broker.faults.fillDisk()
    const all = await Promise.all([
      a.kv.begin(KV, "read"),
      refused(a.queue.enqueue(QUEUE, "x"), 4007),
      a.queue.reserve(QUEUE),
      a.stream.last(STREAM),
      a.queue.subscribe("queue://x/y/z"),
      a.lease.acquire("lease://a/b/c", 5),
    ])
    expect(all[2].length).toBe(1)
    expect(a.received.filter(frame => frame.type === 202).length).toBe(1)
  })

  test("E-7: the broker says once that it takes no writes, looks every second, and says when it does again", async () => {
    broker.faults.fillDisk()
    await refused(a.queue.enqueue(QUEUE, "x"), 4007)
    expect(broker.writable).toBe(false)
    broker.advance(10_000)
    expect(broker.writable).toBe(false)
    expect(broker.faults.undone).toBe(1)
    broker.faults.freeDisk()
    broker.advance(999)
    await refused(a.queue.enqueue(QUEUE, "x"), 4007)
    broker.advance(1)
    expect(broker.writable).toBe(true)
    expect(await a.queue.enqueue(QUEUE, "x")).toBe(1)
  })

  test.each([0, 1, 3, 10, 30])(
    "E-7: the same with SQLite's own error, wherever in the turn it comes: %i pages left",
    async room => {
      await fill()
      const before = await visible()
      const pages = broker.database.prepare<[], number>("PRAGMA page_count").pluck().get()!
      broker.database.execute(`PRAGMA max_page_count = ${pages + room}`)
      const tx = await a.kv.begin(KV, "write")
      for (let i = 0; i < 4; i++) await a.kv.put(tx, KV, `big ${i}`, Buffer.alloc(20_000))
      const session = await a.stream.begin("stream://a/b/big")
      await a.stream.append(session, 0, Buffer.alloc(60_000))
      const big = Buffer.alloc(60_000)
      await Promise.all([
        refused(a.kv.commit(tx, KV), "storage failure"),
        refused(b.queue.enqueue(QUEUE, big), 4007),
        refused(a.stream.commit(session), 2012),
        refused(b.schedule.create("schedule://a/b/c/big", "* * * * *", "single", big), "storage failure"),
      ])
      expect(await visible()).toEqual(before)
      broker.advance(1_000)
      expect(broker.writable).toBe(false)
      broker.database.execute("PRAGMA max_page_count = 1000000")
      broker.advance(1_000)
      expect(broker.writable).toBe(true)
      expect(await a.queue.enqueue(QUEUE, "fits")).toBe(4)
    },
  )

  test("O-6 O-10: a long SCAN gives each pair once, whichever of its turns is taken back", async () => {
    for (let failAt = 0; failAt < 5; failAt++) {
      start({ manual: true })
      const begun = a.kv.begin(KV, "write")
      broker.settle()
      const filling = await begun
      for (let i = 0; i < 5_020; i++) unheard(a.kv.put(filling, KV, String(i).padStart(5, "0"), "x"))
      unheard(a.kv.commit(filling, KV))
      const writing = a.kv.begin(KV, "write")
      broker.settle()
      const tx = await writing
      // What is left of them stands at the end of a long way.
      unheard(a.kv.deleteRange(tx, KV, "0", "05000"))
      broker.settle()
      const page = a.kv.scan(tx, KV)
      for (let turn = 0; turn < failAt; turn++) broker.step()
      broker.faults.fillDisk()
      const lost = refused(b.queue.enqueue(QUEUE, "x"), 4007)
      broker.settle()
      await lost
      const keys = (await page).pairs.map(([key]) => String(key))
      expect(keys).toEqual(Array.from({ length: 20 }, (_, i) => `0${5_000 + i}`))
    }
  })

  test("O-6 O-10: a long READ gives each event once, whichever of its turns is taken back", async () => {
    for (let failAt = 0; failAt < 4; failAt++) {
      start({ manual: true })
      for (let batch = 0; batch < 2; batch++) {
        const begun = a.stream.begin(STREAM)
        broker.settle()
        const session = await begun
        for (let i = 0; i < 30; i++)
          unheard(a.stream.append(session, batch * 30 + i, Buffer.alloc(60_000), { discriminator: "dull" }))
        unheard(a.stream.commit(session))
        broker.settle()
      }
      const page = a.stream.read(STREAM, 0, 1_000, { filter: bytes("00f1 00000001 01", block("dull")) })
      for (let turn = 0; turn < failAt; turn++) broker.step()
      broker.faults.fillDisk()
      const lost = refused(b.queue.enqueue(QUEUE, "x"), 4007)
      broker.settle()
      await lost
      const positions = (await page).items.map(item => ("hidden" in item ? item.hidden : -1))
      expect(positions).toEqual(Array.from({ length: 60 }, (_, i) => i))
    }
  })
})

describe("a commit that fails for good", () => {
  test("D-12 O-7 O-10: ends the lane; nothing of the turn was sent", async () => {
    start({ manual: true })
    const first = a.queue.enqueue(QUEUE, "kept")
    broker.settle()
    await first
    a.received.length = 0
    unheard(a.queue.enqueue(QUEUE, "lost"), a.kv.begin(KV, "read"))
    broker.faults.commitFails = true
    expect(() => broker.settle()).toThrow("the commit failed")
    expect(a.received).toEqual([])
    // From the file: what was acknowledged is there, the rest is not.
    broker.faults.commitFails = false
    const after = new TestBroker({ after: broker, nowMs: broker.now })
    const c = after.enter()
    expect((await c.queue.reserve(QUEUE, { batch: 9 })).map(item => String(item.body))).toEqual(["kept"])
    broker = after
  })
})
