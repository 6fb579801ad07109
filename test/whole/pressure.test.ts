// Bytes under pressure: requests that pile up, replies and notices that nobody takes off the wire. A program
// that does not read loses notices first, then its connection; nobody else pays for it, nor does memory.

import { expect, test } from "vitest"
import { block } from "../kit/bytes.ts"
import type { Transport } from "../kit/caller.ts"
import { MEMORY_UNKNOWN, residentMiB } from "../kit/memory.ts"
import { lost } from "../kit/patience.ts"
import { fresh, Place, type Program, TRANSPORTS } from "../kit/ways.ts"

const MIB = 1_048_576

async function withPlace(
  environment: Readonly<Record<string, string>>,
  work: (place: Place) => Promise<void>,
): Promise<void> {
  const place = await Place.start({ folder: null, environment })
  try {
    await work(place)
  } finally {
    await place.stop()
  }
}

/** A queue's route of nearly four thousand bytes: a RESERVE for it weighs as much. */
function longRoute(): string {
  return `${fresh("queue", 2)}/${"x".repeat(3_900)}`
}

/** A stream with one event of 60,000 bytes, to be read as often as a reply is wanted. */
async function largeStream(place: Place): Promise<string> {
  const writer = await place.open("tcp")
  const route = fresh("stream")
  const session = await writer.stream.begin(route)
  await writer.stream.append(session, 0, Buffer.alloc(60_000, 1))
  await writer.stream.commit(session)
  await writer.close()
  return route
}

/** Asks for so many large replies; they fail where the connection ends, which is for the test to see. */
function askForReplies(program: Program, route: string, count: number): Promise<unknown>[] {
  return Array.from({ length: count }, () =>
    program.stream.read(route, 0, 1).catch((error: unknown) => error),
  )
}

test.each(TRANSPORTS)("M-3: bytes of unanswered requests of one connection, over %s", transport =>
  withPlace({ FITZ_MAX_INFLIGHT_BYTES: "65536" }, async place => {
    const [a, b] = [await place.open(transport), await place.open(transport)]
    const order: string[] = []
    const note = (what: string) => (): number => order.push(what)
    const empty = longRoute()
    const weight = block(empty).length + 8 + 1 + 9
    const fitting = Math.floor(65_535 / weight)
    const parked = a.queue.reserve(empty, { wait: 30 }).then(note("parked"))
    const behind = Array.from({ length: fitting - 1 }, () =>
      a.queue.reserve(longRoute()).then(note("behind")),
    )
    await a.lease.query(fresh("lease")).then(note("read"))
    const over = a.queue.reserve(longRoute()).then(note("behind"))
    const unread = a.lease.query(fresh("lease")).then(note("read late"))
    for (let n = 0; n < 20; n++) await b.settle()
    expect(order).toEqual(["read"])
    await b.queue.enqueue(empty, "m")
    await Promise.all([parked, ...behind, over, unread])
    expect(order.slice(0, 3)).toEqual(["read", "parked", "behind"])
  }),
)

test.each(TRANSPORTS)("M-4: bytes of unanswered requests of all connections, over %s", transport =>
  withPlace({ FITZ_MAX_INFLIGHT_TOTAL_BYTES: "65536" }, async place => {
    const [a, b, c] = [await place.open(transport), await place.open(transport), await place.open("tcp")]
    const order: string[] = []
    const note = (what: string) => (): number => order.push(what)
    const weight = block(longRoute()).length + 8 + 1 + 9
    const waiting = Array.from({ length: Math.floor(65_535 / weight) }, () =>
      a.queue.reserve(longRoute(), { wait: 30 }).catch(lost),
    )
    await a.lease.query(fresh("lease"))
    // Another program brings the last bytes: it is not read on. Who had sent its own before is.
    const over = b.queue.reserve(longRoute(), { wait: 30 }).catch(lost)
    const unread = b.lease.query(fresh("lease")).then(note("read late"))
    for (let n = 0; n < 20; n++) await c.lease.query(fresh("lease"))
    await a.lease.query(fresh("lease")).then(note("others"))
    expect(order).toEqual(["others"])
    // The bytes go with whoever had sent them.
    a.wire.cut()
    await Promise.all([unread, ...waiting])
    await b.close()
    await over
  }),
)

test.each(TRANSPORTS)(
  "M-16 N-4: a receiver that does not read over %s loses notices, and only it",
  transport =>
    withPlace({ FITZ_MAX_OUTBOUND_BYTES: String(MIB) }, async place => {
      const [slow, reader, publisher] = [
        await place.open(transport),
        await place.open(transport),
        await place.open("tcp"),
      ]
      const route = fresh("notice")
      await slow.notice.subscribe(route)
      await reader.notice.subscribe(route)
      slow.wire.pause()
      const COUNT = 1_500
      const body = Buffer.alloc(16_000)
      for (let n = 0; n < COUNT; ) {
        const until = n + 10
        for (; n < until; n++) {
          body.writeUInt32BE(n)
          publisher.notice.publish(route, body)
        }
        for (let i = until - 10; i < until; i++)
          expect((await reader.notice.next()).body.readUInt32BE()).toBe(i)
      }
      slow.wire.resume()
      await slow.settle()
      const got = slow.unread(504).map(payload => payload.readUInt32BE(8 + 4 + route.length + 4))
      // What the system and a quarter of the limit took; the rest is gone for good, the order is not.
      expect(got.length).toBeLessThan(COUNT)
      expect(got.slice(0, 16)).toEqual(Array.from({ length: 16 }, (_, n) => n))
      expect(got).toEqual([...new Set(got)].sort((a, b) => a - b))
      // It may fall behind again and catch up again.
      while (slow.unread(504).length > 0) await slow.notice.next()
      publisher.notice.publish(route, "once more")
      expect(String((await slow.notice.next()).body)).toBe("once more")
    }),
)

test.each(TRANSPORTS)("M-16: one that does not read its replies over %s loses its connection", transport =>
  withPlace({ FITZ_MAX_OUTBOUND_BYTES: String(MIB) }, async place => {
    const route = await largeStream(place)
    const [slow, other] = [await place.open(transport), await place.open(transport)]
    const lease = fresh("lease")
    await slow.lease.acquire(lease, 600)
    await other.lease.acquire(lease, 600, 30)
    slow.wire.pause()
    const replies = askForReplies(slow, route, 400)
    // That the broker has ended it shows where everybody can see it.
    expect((await other.lease.granted()).kind).toBe(0)
    slow.wire.resume()
    await slow.closed
    const outcomes = await Promise.all(replies)
    expect(outcomes.some(outcome => outcome instanceof Error)).toBe(true)
    // Others may have as much, as long as they read it.
    for (let n = 0; n < 40; n++)
      for (const reply of askForReplies(other, route, 10)) expect(await reply).toMatchObject({ more: false })
  }),
)

test.each(TRANSPORTS)("M-17: of all that do not read, the slowest over %s goes first", transport =>
  withPlace({ FITZ_MAX_OUTBOUND_TOTAL_BYTES: String(6 * MIB) }, async place => {
    const route = await largeStream(place)
    const [slow, slower, other] = [
      await place.open(transport),
      await place.open(transport),
      await place.open(transport),
    ]
    const lease = fresh("lease")
    await slower.lease.acquire(lease, 600)
    await other.lease.acquire(lease, 600, 30)
    slow.wire.pause()
    slower.wire.pause()
    // At most 3 MiB here, so that whoever makes the sum pass 6 MiB is further behind.
    const few = askForReplies(slow, route, 50)
    for (let n = 0; n < 10; n++) await other.settle()
    const many = askForReplies(slower, route, 400)
    expect((await other.lease.granted()).kind).toBe(0)
    slow.wire.resume()
    slower.wire.resume()
    for (const reply of few) expect(await reply).toMatchObject({ more: false })
    await slower.closed
    expect((await Promise.all(many)).some(outcome => outcome instanceof Error)).toBe(true)
    await slow.settle()
  }),
)

test("M-16 M-26: memory stays bounded, and publishers quick, whoever does not read", async ctx => {
  if (residentMiB(process.pid) === null) ctx.skip(MEMORY_UNKNOWN)
  await withPlace({}, async place => {
    const publisher = await place.open("tcp")
    const body = Buffer.alloc(60_000, 1)
    const route = fresh("notice")
    const flood = async (count: number): Promise<void> => {
      for (let n = 1; n <= count; n++) {
        publisher.notice.publish(route, body)
        if (n % 50 === 0) await publisher.settle()
      }
    }
    await flood(500)
    const before = residentMiB(place.broker.pid)!
    const transports: readonly Transport[] = ["tcp", "ws", "tcp", "ws", "tcp", "ws"]
    const slow = await Promise.all(transports.map(transport => place.open(transport)))
    for (const program of slow) {
      await program.notice.subscribe(route)
      program.wire.pause()
    }
    // 360 MB for each of the six; a quarter of 16 MiB may be waiting for each.
    let most = 0
    for (let n = 0; n < 12; n++) {
      await flood(500)
      most = Math.max(most, residentMiB(place.broker.pid)!)
    }
    expect(most - before).toBeLessThan(200)
    for (const program of slow) {
      program.wire.resume()
      await program.settle()
      expect(program.open).toBe(true)
    }
  })
})

test("M-16: memory stays bounded under a program that asks and never reads", async ctx => {
  if (residentMiB(process.pid) === null) ctx.skip(MEMORY_UNKNOWN)
  await withPlace({}, async place => {
    const route = await largeStream(place)
    const other = await place.open("tcp")
    const before = residentMiB(place.broker.pid)!
    let most = 0
    for (const transport of ["tcp", "ws", "tcp", "ws"] as const) {
      const greedy = await place.open(transport)
      const lease = fresh("lease")
      await greedy.lease.acquire(lease, 600)
      await other.lease.acquire(lease, 600, 30)
      greedy.wire.pause()
      const replies = askForReplies(greedy, route, 600)
      await other.lease.granted()
      most = Math.max(most, residentMiB(place.broker.pid)!)
      greedy.wire.resume()
      await Promise.all(replies)
    }
    expect(most - before).toBeLessThan(200)
  })
})
