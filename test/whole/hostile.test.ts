// A broker as a process among hostile programs: hundreds of thousands of broken frames over both transports, from
// the run's seed. It has to stay up, ready, small and quiet, serve whoever behaves, and keep what it was given.

import { readFileSync } from "node:fs"
import { afterAll, beforeAll, expect, test } from "vitest"
import { block, bytes, Cursor, type Frame, outer, Splitter, u8, u32, u64 } from "../kit/bytes.ts"
import { openWire, type SocketWire } from "../kit/caller.ts"
import { BAD, wellFramed } from "../kit/fuzz.ts"
import { Random, runSeed } from "../kit/random.ts"
import { ask, dial, type RawSocket, readHttp } from "../kit/sockets.ts"
import { wire as bytesOf } from "../kit/vectors.ts"
import { correlation, mint, Place, type Program, TRANSPORTS } from "../kit/ways.ts"
import { envelopes, foreignTypes, pushTypes, streams } from "../vectors/connect.ts"

const SEED = runSeed()
const MIB = 1024 * 1024
/** What the process may take, whatever is thrown at it. The runtime alone lets garbage lie up to 500 MiB. */
const RESIDENT_BYTES_MAX = 768 * MIB

let place: Place
/** Hostile programs come with a token of family 1; what is watched stands in family 2. */
let token: string
let watched: Program

beforeAll(async () => {
  place = await Place.start({ auth: true })
  token = await mint()
  watched = await place.open("tcp", { identity: "other" })
  await fill(watched)
})

afterAll(() => place.stop())

// ── what must not change ───────────────────────────────────────────────────────────────────────────────────

/** Puts something into every domain, under the very routes that the vectors name. */
async function fill(program: Program): Promise<void> {
  const tx = await program.kv.begin("kv://a/b/c", "write")
  for (const key of ["", "a", "k", "m", "z"]) await program.kv.put(tx, "kv://a/b/c", key, `value of ${key}`)
  await program.kv.commit(tx, "kv://a/b/c")
  const session = await program.stream.begin("stream://a/b/c")
  for (let at = 0; at < 5; at++) await program.stream.append(session, at, `event ${at}`)
  await program.stream.commit(session)
  for (let at = 0; at < 3; at++) await program.queue.enqueue("queue://a/b/c", `message ${at}`)
  await program.queue.enqueue("queue://a/b/c", "later", 3_600)
  await program.schedule.create("schedule://a/b/c/d", "0 0 1 1 *", "single", "payload")
  await program.lease.acquire("lease://a/b/c", 3_600)
}

/** Everything that `fill` made and anybody could have added to it. */
async function look(program: Program): Promise<unknown> {
  const tx = await program.kv.begin("kv://a/b/c", "read")
  const pairs = await program.kv.scan(tx, "kv://a/b/c")
  await program.kv.rollback(tx, "kv://a/b/c")
  // A new registration hears of what is ready, without taking any of it.
  await program.queue.subscribe("queue://**")
  const { ready, delayed, inflight } = await program.queue.next()
  await program.queue.unsubscribe("queue://**")
  return {
    pairs,
    page: await program.stream.read("stream://**", 0, 10_000),
    metadata: await program.stream.metadata("stream://a/b/c"),
    queues: { ready, delayed, inflight, unread: program.unread(209).length },
    schedules: await program.schedule.list(0, 0),
    lease: (await program.lease.query("lease://a/b/c")).waiters,
  }
}

/** A program that behaves uses all seven domains on a family that others have made a mess of. */
async function behave(program: Program, realm: string): Promise<void> {
  const kv = `kv://${realm}/b/c`
  const tx = await program.kv.begin(kv, "write")
  await program.kv.put(tx, kv, "key", "value")
  await program.kv.commit(tx, kv)
  const again = await program.kv.begin(kv, "read")
  expect(String(await program.kv.get(again, kv, "key"))).toBe("value")

  const queue = `queue://${realm}/b/c`
  const id = await program.queue.enqueue(queue, "work")
  const [item] = await program.queue.reserve(queue)
  expect([item!.id, String(item!.body)]).toEqual([id, "work"])
  await program.queue.complete(queue, id, item!.token)

  const stream = `stream://${realm}/b/c`
  const session = await program.stream.begin(stream)
  expect(await program.stream.append(session, 0, "event")).toBe(0)
  await program.stream.commit(session)
  expect((await program.stream.read(stream, 0, 10)).items).toHaveLength(1)

  const schedule = `schedule://${realm}/b/c/d`
  await program.schedule.create(schedule, "0 0 1 1 *", "broadcast", "payload")
  await program.schedule.cancel(schedule)

  const lease = `lease://${realm}/b/c`
  const { kind, token } = await program.lease.acquire(lease, 60)
  expect(kind).toBe(0)
  await program.lease.release(lease, token)

  const notices = await program.notice.subscribe(`notice://${realm}/**`)
  program.notice.publish(`notice://${realm}/b/c`, "hello")
  const notice = await program.notice.next()
  expect([notice.subscription, String(notice.body)]).toEqual([notices, "hello"])

  const call = correlation()
  await program.rpc.register(`rpc://${realm}/b`, 1)
  program.rpc.call(call, `rpc://${realm}/b`, "question")
  expect(String((await program.rpc.take()).body)).toBe("question")
  program.rpc.reply(call, 0, true, "answer")
  const answer = await program.rpc.answer()
  expect([String(answer.correlation), String(answer.body)]).toEqual([String(call), "answer"])
}

/** Up, ready, within bounds, without a bug to report, and good to whoever behaves. */
async function expectUnharmed(realm: string): Promise<void> {
  const { broker } = place
  expect([broker.child.exitCode, broker.child.signalCode]).toEqual([null, null])
  const ready = await ask(broker.port, "GET /readyz HTTP/1.1\r\nhost: fitz\r\n\r\n")
  expect([ready.status, (JSON.parse(ready.body) as { status: string }).status]).toEqual([200, "ready"])
  const healthy = await ask(broker.port, "GET /healthz HTTP/1.1\r\nhost: fitz\r\n\r\n")
  expect(healthy.status).toBe(200)
  for (const transport of TRANSPORTS) {
    const program = await place.open(transport)
    await behave(program, `${realm}-${transport}`)
    await program.close()
  }
  expect(place.errors).toEqual([])
  expectBounded()
}

/** Resident memory of the broker now; null where the system does not tell it this way. */
function residentBytes(): number | null {
  if (process.platform !== "linux") return null
  const status = readFileSync(`/proc/${place.broker.pid}/status`, "utf8")
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)![1]) * 1_024
}

function expectBounded(): void {
  const resident = residentBytes()
  if (resident !== null) expect(resident).toBeLessThan(RESIDENT_BYTES_MAX)
}

// ── well framed, and anything inside ───────────────────────────────────────────────────────────────────────

const REPLIED = [...envelopes.plain, ...envelopes.coded]
/** What a broker may send at all. */
const SENT = new Set([...REPLIED, ...pushTypes, 302, 303])

/** Counts what comes, and waits for a count. */
class Counter {
  readonly wire: SocketWire
  private readonly counts = new Map<number, number>()
  /** The latest payload of each type. */
  readonly latest = new Map<number, Buffer>()
  /** Replies to ACQUIRE that promise a further 400. */
  queued = 0
  readonly refusals: { type: number; payload: Buffer }[] = []
  isOpen = true
  private heard: () => void = () => undefined
  private broken: Error | null = null

  constructor(wire: SocketWire, keepRefusals = false) {
    this.wire = wire
    wire.onFrame(frame => {
      this.counts.set(frame.type, this.count(frame.type) + 1)
      this.latest.set(frame.type, frame.payload)
      if (!SENT.has(frame.type)) this.broken = new Error(`the broker sent type ${frame.type}`)
      const status = frame.payload[0]
      if (REPLIED.includes(frame.type) && status !== 0 && status !== 1)
        this.broken = new Error(`type ${frame.type} has status ${status}`)
      if (frame.type === 400 && status === 0 && frame.payload[1]! >= 2) this.queued++
      if (keepRefusals && status === 1) this.refusals.push(frame)
      this.heard()
    })
    wire.onClose(() => {
      this.isOpen = false
      this.heard()
    })
  }

  count(type: number): number {
    return this.counts.get(type) ?? 0
  }

  /** Resolves when all of these were reached. */
  until(wanted: ReadonlyMap<number, number>): Promise<void> {
    return new Promise((resolve, reject) => {
      this.heard = () => {
        if (this.broken !== null) reject(this.broken)
        else if (!this.isOpen) reject(new Error("the broker closed the connection"))
        else if ([...wanted].every(([type, count]) => this.count(type) >= count)) resolve()
      }
      this.heard()
    })
  }
}

/** One request of each domain that changes nothing: what was sent before it has been judged when it is answered. */
const BARRIERS: readonly Frame[] = [
  { type: 110, payload: block("kv://barrier/a/b") },
  { type: 208, payload: block("queue://barrier/a/b") },
  { type: 608, payload: block("stream://barrier/a/b") },
  { type: 704, payload: block("schedule://barrier/a/b/c") },
  { type: 301, payload: block("rpc://barrier") },
  { type: 408, payload: block("lease://barrier/a/b") },
  { type: 503, payload: Buffer.alloc(0) },
]

/** Would this RESERVE wait, were it understood? Those that do are sent elsewhere: they hold back the others. */
function mayWait({ type, payload }: Frame): boolean {
  if (type !== 202) return false
  try {
    const cursor = new Cursor(payload)
    cursor.block()
    cursor.u64()
    cursor.opt(cursor => cursor.u32())
    return (cursor.opt(cursor => cursor.u64()) ?? 0n) > 0n
  } catch {
    return false // it does not parse, and so it is refused at once
  }
}

/** Requests on handles that are really open, which mutation then leads astray. */
function onHandles(tx: number, session: number, random: Random): Frame {
  const kv = bytes(u64(tx), block("kv://h/i/j"))
  const key = block(random.pick(["", "a", "b", "c", "long".repeat(20)]))
  return random.pick<Frame>([
    { type: 103, payload: bytes(kv, key) },
    { type: 104, payload: bytes(kv, key, block(random.bytes(random.int(60)))) },
    { type: 105, payload: bytes(kv, key, block("inserted")) },
    { type: 106, payload: bytes(kv, key) },
    { type: 107, payload: bytes(kv, block("a"), block(random.pick(["b", "a", ""]))) },
    { type: 108, payload: bytes(kv, "00 00 01", u32(random.int(5)), u8(random.int(2))) },
    { type: 601, payload: bytes(u64(session), u64(random.int(4)), block("event"), "00 00") },
    { type: 602, payload: bytes(u64(session), u8(random.int(3))) },
    { type: 101, payload: kv },
  ])
}

/** Opens a transaction and an append session where that is possible; mutated commits end them again. */
async function handles(program: Counter): Promise<[tx: number, session: number]> {
  const got: number[] = []
  for (const [type, payload] of [
    [100, bytes(block("kv://h/i/j"), "01 00")],
    [600, bytes(block("stream://h/i/j"), "00")],
  ] as const) {
    const before = program.count(type)
    program.wire.send(type, payload)
    await program.until(new Map([[type, before + 1]]))
    const answer = program.latest.get(type)!
    got.push(answer[0] === 0 ? Number(answer.readBigUInt64BE(1)) : 1)
  }
  return [got[0]!, got[1]!]
}

const BATCHES = 60
const BATCH_FRAMES = 2_000

for (const transport of TRANSPORTS) {
  const name = `${(BATCHES * BATCH_FRAMES).toLocaleString("en")} mutated requests over ${transport}`
  test(`O-1, F-10: ${name}, seed ${SEED}: one reply each, of its type`, async () => {
    const random = new Random(SEED).fork(`requests ${transport}`)
    for (let batch = 0; batch < BATCHES; ) {
      // A new connection now and then: limits of a session fill up, and what it leaves behind is cleaned up.
      const program = new Counter(await openWire(transport, place.broker.port))
      program.wire.send(1, Buffer.from(token))
      const sent = new Map<number, number>()
      const send = ({ type, payload }: Frame): void => {
        sent.set(type, (sent.get(type) ?? 0) + 1)
        program.wire.send(type, payload)
      }
      for (const last = batch + 10; batch < last; batch++) {
        const [tx, session] = await handles(program)
        for (const type of [100, 600]) sent.set(type, (sent.get(type) ?? 0) + 1)
        for (let count = 0; count < BATCH_FRAMES; count++) {
          const frame = random.int(4) === 0 ? onHandles(tx, session, random) : wellFramed(random)
          if (!mayWait(frame)) send(frame)
        }
        for (const barrier of BARRIERS) send(barrier)
        await program.until(new Map(BARRIERS.map(({ type }) => [type, sent.get(type)!])))
        const got = new Map(REPLIED.map(type => [type, program.count(type)]))
        // A wait that has ended is a second 400; there is at most one for each that was promised.
        const more = got.get(400)! - (sent.get(400) ?? 0)
        expect(more).toBeGreaterThanOrEqual(0)
        expect(more).toBeLessThanOrEqual(program.queued)
        got.set(400, sent.get(400) ?? 0)
        expect(got, `batch ${batch}`).toEqual(new Map(REPLIED.map(type => [type, sent.get(type) ?? 0])))
      }
      program.wire.cut()
      expectBounded()
    }
    await expectUnharmed(`requests-${transport}`)
  })
}

for (const transport of TRANSPORTS) {
  test(`F-10, E-2, N-5, RPC-19: every malformed vector over ${transport}: its refusal, and nothing changes`, async () => {
    // In the watched family, on the routes of what is watched.
    const other = await place.open("tcp", { identity: "other" })
    await other.notice.subscribe("notice://**")
    await other.rpc.register("rpc://**", 1_024)
    const before = await look(watched)
    const program = new Counter(await openWire(transport, place.broker.port), true)
    program.wire.send(1, Buffer.from(await mint({ identity: "other" })))
    const rounds = 20
    for (let round = 0; round < rounds; round++)
      for (const { type, payload } of BAD) program.wire.send(type, payload)
    for (const { type, payload } of BARRIERS) program.wire.send(type, payload)
    const sent = new Map(REPLIED.map(type => [type, rounds * BAD.filter(bad => bad.type === type).length]))
    for (const { type } of BARRIERS) sent.set(type, sent.get(type)! + 1)
    await program.until(sent)
    for (const [type, count] of sent) expect(program.count(type), `type ${type}`).toBe(count)
    // Replies of one type come in the order of the requests (O-2), so each can be held against its vector.
    for (const type of REPLIED) {
      const wanted = BAD.filter(bad => bad.type === type)
      const refusals = program.refusals.filter(refusal => refusal.type === type)
      expect(refusals.length, `type ${type}`).toBe(rounds * wanted.length)
      for (const [at, { payload }] of refusals.entries()) {
        const { name, code } = wanted[at % wanted.length]!
        const cursor = new Cursor(payload)
        cursor.u8()
        if (envelopes.coded.includes(type)) expect(cursor.u32(), name).toBe(code)
        expect(cursor.text().length, name).toBeGreaterThanOrEqual(4)
        cursor.end()
      }
    }
    // A 302 that does not parse is ended with a 303; a 303 or a 500 that does not parse gets nothing.
    expect(program.count(303)).toBe(rounds * BAD.filter(({ type }) => type === 302).length)
    expect([program.count(302), program.count(504)]).toEqual([0, 0])
    await other.settle()
    expect([other.unread(302).length, other.unread(303).length, other.unread(504).length]).toEqual([0, 0, 0])
    expect(await look(watched)).toEqual(before)
    program.wire.cut()
    await other.close()
  })
}

// ── not even framed ────────────────────────────────────────────────────────────────────────────────────────

/** Bytes that no frame begins with. All of them close the connection. */
const VIOLATIONS: readonly Buffer[] = [
  ...streams
    .filter(({ fault, frames }) => fault !== null && frames.length === 0)
    .map(({ bytes }) => bytesOf(bytes)),
  ...[...foreignTypes, ...pushTypes].map(type => outer(type, Buffer.from("anything"))),
  outer(1, Buffer.from("a second CONNECT")),
]

interface Attack {
  readonly bytes: readonly Buffer[]
  /** Who ends it. */
  readonly ender: "broker" | "program"
  /** Nothing may come back. */
  readonly silent: boolean
}

/** What a connection over TCP does to a broker. */
function tcpAttack(random: Random): Attack {
  const connect = outer(1, Buffer.from(token))
  const frames = Array.from({ length: random.int(160) }, () => wellFramed(random)).filter(
    frame => !mayWait(frame),
  )
  const body = frames.map(({ type, payload }) => outer(type, payload))
  const violation = random.pick(VIOLATIONS)
  switch (random.int(8)) {
    case 0: {
      // Garbage: not a frame's 00, no letter of HTTP, no TLS.
      const first = random.pick([0x01, 0x02, 0x0a, 0x20, 0x2f, 0x61, 0x7b, 0x7f, 0x80, 0xc3, 0xff])
      return { bytes: [Buffer.of(first), random.bytes(3 + random.int(60))], ender: "broker", silent: true }
    }
    case 1:
      return { bytes: [random.bytes(4).fill(0, 0, 1).fill(2, 1, 2), ...body], ender: "broker", silent: true }
    case 2:
      return { bytes: [outer(1, random.bytes(random.int(200))), ...body], ender: "broker", silent: true }
    case 3: {
      const { type, payload } = wellFramed(random)
      return { bytes: [outer(type, payload), connect, ...body], ender: "broker", silent: true }
    }
    case 4:
      return { bytes: [connect, ...body], ender: "program", silent: false }
    case 5: {
      const half = outer(500, random.bytes(1 + random.int(2_000)))
      const cut = half.subarray(0, 1 + random.int(half.length - 1))
      return { bytes: [connect, ...body, cut], ender: "program", silent: false }
    }
    case 6:
      return { bytes: [connect, ...body, violation, ...body], ender: "broker", silent: false }
    default:
      return { bytes: [connect.subarray(0, random.int(connect.length))], ender: "program", silent: true }
  }
}

/** In one piece, in some, or nearly byte by byte. */
function pieces(whole: Buffer, random: Random): Buffer[] {
  const size = random.pick([whole.length, whole.length, 1_000, 64, 7])
  const cut: Buffer[] = []
  for (let at = 0; at < whole.length; at += size) cut.push(whole.subarray(at, at + size))
  return cut
}

/** Everything that came back has to be whole frames of types that a broker may send. */
function expectFrames(received: Buffer, ended: boolean): void {
  const splitter = new Splitter()
  for (const { type } of splitter.push(received)) expect(SENT.has(type), `type ${type}`).toBe(true)
  if (!ended) expect(splitter.pendingBytes).toBe(0)
}

async function attackOverTcp(random: Random): Promise<number> {
  const { bytes, ender, silent } = tcpAttack(random)
  const raw: RawSocket = await dial(place.broker.port)
  for (const piece of pieces(Buffer.concat(bytes), random)) raw.write(piece)
  if (ender === "program") {
    // What was written may be under way or not: either way the broker has to cope.
    if (random.int(2) === 0) raw.finish()
    else raw.socket.resetAndDestroy()
  }
  const received = await raw.closed
  if (silent) expect(received.toString("hex")).toBe("")
  else expectFrames(received, true)
  return bytes.length
}

async function attackOverWebSocket(random: Random): Promise<number> {
  const wire = await openWire("ws", place.broker.port)
  const closed = new Promise<void>(resolve => wire.onClose(resolve))
  let received = 0
  wire.onFrame(({ type }) => {
    received++
    expect(SENT.has(type), `type ${type}`).toBe(true)
  })
  const kind = random.int(4)
  if (kind === 0) wire.raw(bytes(random.bytes(random.int(80))))
  else if (kind === 1) wire.send(random.pick(foreignTypes), random.bytes(20))
  else wire.send(1, Buffer.from(token))
  const frames = Array.from({ length: random.int(160) }, () => wellFramed(random)).filter(f => !mayWait(f))
  for (const { type, payload } of frames) wire.send(type, payload)
  if (kind === 2) {
    // Without its outer length each of these breaks the rules of a message as well.
    wire.raw(random.pick(VIOLATIONS).subarray(4))
    for (const { type, payload } of frames) wire.send(type, payload)
  }
  if (kind === 3) wire.cut()
  await closed
  if (kind < 2) expect(received).toBe(0)
  return frames.length
}

/** So many at a time, until so many frames were sent. */
async function attack(
  one: (random: Random) => Promise<number>,
  random: Random,
  frames: number,
  together: number,
): Promise<void> {
  let sent = 0
  await Promise.all(
    Array.from({ length: together }, async (_, at) => {
      const own = random.fork(at)
      while (sent < frames) {
        const more = await one(own)
        sent += more
      }
    }),
  )
}

test(`F-2, F-4, F-5, F-8, F-9, C-2, C-3, T-4: 100,000 frames on broken TCP connections, seed ${SEED}`, async () => {
  await attack(attackOverTcp, new Random(SEED).fork("tcp"), 100_000, 16)
  await expectUnharmed("tcp")
})

test(`F-2, F-5, F-8, C-2, C-3, T-13: 100,000 frames on broken WebSockets, seed ${SEED}`, async () => {
  await attack(attackOverWebSocket, new Random(SEED).fork("ws"), 100_000, 16)
  await expectUnharmed("ws")
})

test(`T-2, T-11: broken HTTP, seed ${SEED}`, async () => {
  const random = new Random(SEED).fork("http")
  const line = (): string =>
    random.pick([
      "GET / HTTP/1.1",
      "GET /ws HTTP/1.1",
      "POST /readyz HTTP/1.1",
      "DELETE /%00/..%2f HTTP/1.1",
      "GET http://[::1/ HTTP/1.1",
      "PUT /healthz HTTP/9.9",
      "OPTIONS * HTTP/1.1",
      "GET /\u0001 HTTP/1.1",
      "TRACE /ws",
      "GETX / HTTP/1.1",
    ])
  const header = (): string =>
    random.pick([
      "host: fitz",
      "upgrade: websocket\r\nconnection: upgrade",
      "sec-websocket-key: short\r\nsec-websocket-version: 13",
      "sec-websocket-version: 99",
      "content-length: -1",
      "content-length: 99999999999999999999",
      "transfer-encoding: chunked\r\ncontent-length: 5",
      "x: \u0000",
      `x: ${"y".repeat(20_000)}`,
      ": empty",
    ])
  await attack(
    async random => {
      const raw = await dial(place.broker.port)
      raw.write(`${line()}\r\n${Array.from({ length: random.int(6) }, header).join("\r\n")}\r\n\r\n`)
      raw.write(random.bytes(random.int(400)))
      raw.finish()
      await raw.closed
      return 1
    },
    random,
    1_000,
    16,
  )
  await expectUnharmed("http")
})

test("H-2, T-11: a path that cannot be decoded is 400, and the connection ends, with an upgrade as well", async () => {
  const upgrade = "connection: upgrade\r\nupgrade: websocket\r\n"
  const key = "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
  for (const path of ["/%zz", "/%", "/ws%c3%28", "http://[::1/"]) {
    for (const headers of ["connection: close\r\n", upgrade, upgrade + key]) {
      const raw = await dial(place.broker.port)
      raw.write(`GET ${path} HTTP/1.1\r\nhost: fitz\r\nx-request-id: mine\r\n${headers}\r\n`)
      const answer = readHttp(await raw.closed)!
      expect(answer.status, path).toBe(400)
      expect(answer.headers["x-request-id"]).toBe("mine")
      expect(JSON.parse(answer.body)).toMatchObject({ code: "invalid_request", request_id: "mine" })
    }
  }
})

test("F-4: half frames of the greatest length on 1,500 connections take what was sent and no more", async ctx => {
  const before = residentBytes()
  if (before === null) return ctx.skip("the system has no /proc to read resident memory from")
  const connect = outer(1, Buffer.from(token))
  const announced = bytes(u32(65_540), "ff 01f4 ffff 00000003")
  const held = await Promise.all(
    Array.from({ length: 1_500 }, async () => {
      const raw = await dial(place.broker.port)
      // The reply to the last request shows that what follows has been read as far as it goes.
      raw.write(bytes(connect, outer(503), announced))
      await raw.until(received => received.length >= 4 + 5 + 1)
      return raw
    }),
  )
  // 1,500 × 65,540 bytes would be 94 MiB; the connections themselves take some 15 KiB each.
  expect(residentBytes()! - before).toBeLessThan(80 * MIB)
  for (const raw of held) raw.destroy()
  await Promise.all(held.map(raw => raw.closed))
  await expectUnharmed("halves")
})

test("O-1, Q-12: RESERVEs that wait, by the hundred, on connections that are cut", async () => {
  const random = new Random(SEED).fork("reserves")
  for (let round = 0; round < 20; round++) {
    const wire = await openWire(random.pick(TRANSPORTS), place.broker.port)
    const closed = new Promise<void>(resolve => wire.onClose(resolve))
    const settled = new Promise<void>(resolve =>
      wire.onFrame(({ type }) => {
        if (type === 704) resolve()
      }),
    )
    wire.send(1, Buffer.from(token))
    for (let count = 0; count < 100; count++) {
      const route = random.pick(["queue://w/x/y", "queue://w/x/z", "queue://w/**", "queue://*/x/*"])
      wire.send(202, bytes(block(route), u64(1 + random.int(5)), "00 01", u64(1 + random.int(60))))
    }
    wire.send(704, block("schedule://barrier/a/b/c"))
    await settled
    wire.cut()
    await closed
  }
  await expectUnharmed("reserves")
})

test("P-11: what stood in another family all the while is as it was", async () => {
  const fresh = await place.open("ws", { identity: "other" })
  const now = (await look(fresh)) as { pairs: { pairs: unknown[] }; page: { items: unknown[] } }
  expect(now).toMatchObject({
    queues: { ready: 3, delayed: 1, inflight: 0, unread: 0 },
    schedules: { total: 1 },
    metadata: { count: 5, first: 0, last: 4 },
    lease: 0,
  })
  expect(now.pairs.pairs.map(pair => (pair as [Buffer, Buffer]).map(String))).toEqual(
    ["", "a", "k", "m", "z"].map(key => [key, `value of ${key}`]),
  )
  expect(now.page.items).toHaveLength(5)
  expect((await fresh.lease.query("lease://a/b/c")).holder).not.toBeNull()
  await fresh.close()
  await watched.close()
})
