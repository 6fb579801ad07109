// Requests that do not parse: exactly one refusal in their own envelope, nothing changed, the connection goes
// on. Every message type, cut at every byte and lengthened, on both transports.

import { afterAll, beforeAll, expect, test } from "vitest"
import { block, bytes, Cursor, u8, u32, u64 } from "../kit/bytes.ts"
import { correlation, fresh, Place, type Program, TRANSPORTS } from "../kit/ways.ts"

let place: Place
beforeAll(async () => {
  place = await Place.start()
})
afterAll(() => place.stop())

interface Sample {
  readonly type: number
  readonly envelope: "plain" | "coded"
  /** A request that would do something, were it whole. */
  readonly payload: Buffer
  /** Lengths at which the payload is whole although it is shorter. */
  readonly alsoWhole?: readonly number[]
  /** Bytes that may follow. */
  readonly mayFollow?: readonly number[]
}

/** One well-formed request of every type that has a reply. */
function samples(tx: number, session: number, kv: string, realm: string): readonly Sample[] {
  const route = (scheme: string, depth = 3): Buffer =>
    block([`${scheme}://${realm}`, "b", "c", "d"].slice(0, depth).join("/"))
  const acquire = bytes(route("lease"), block("me"), u64(60), u32(1))
  const withoutWait = acquire.length - 4
  const none = u8(0)
  const some = (value: Buffer): Buffer => bytes("01", value)
  const plain = (type: number, ...parts: Buffer[]): Sample => ({
    type,
    envelope: "plain",
    payload: bytes(...parts),
  })
  const coded = (type: number, ...parts: Buffer[]): Sample => ({
    type,
    envelope: "coded",
    payload: bytes(...parts),
  })
  return [
    plain(100, route("kv"), u8(1), u8(1)),
    plain(101, u64(tx), block(kv)),
    plain(102, u64(tx), block(kv)),
    plain(103, u64(tx), block(kv), block("k")),
    plain(104, u64(tx), block(kv), block("k"), block("changed")),
    plain(105, u64(tx), block(kv), block("inserted"), block("v")),
    plain(106, u64(tx), block(kv), block("k")),
    plain(107, u64(tx), block(kv), block("a"), block("z")),
    {
      ...plain(108, u64(tx), block(kv), some(block("a")), some(block("z")), some(u32(9)), u8(0)),
      mayFollow: [0, 1],
    },
    coded(109, route("kv")),
    coded(110, route("kv")),
    coded(200, route("queue"), block("m"), some(u64(0))),
    coded(202, route("queue"), u64(60), some(u32(1)), some(u64(0))),
    plain(203, route("queue"), u64(1), u64(1), u64(60)),
    plain(204, route("queue"), u64(1), u64(1)),
    plain(207, route("queue")),
    plain(208, route("queue")),
    coded(300, route("rpc"), u32(1)),
    coded(301, route("rpc")),
    { type: 400, envelope: "coded", payload: acquire, alsoWhole: [withoutWait] },
    coded(401, route("lease"), block("me"), u64(1), u64(60)),
    coded(402, route("lease"), block("me"), u64(1)),
    coded(403, route("lease")),
    coded(407, route("lease")),
    coded(408, route("lease")),
    coded(501, route("notice")),
    coded(502, u64(1)),
    coded(503),
    plain(600, route("stream"), some(block("meta"))),
    plain(601, u64(session), u64(0), block("body"), some(block("meta")), some(block("kind"))),
    coded(602, u64(session), u8(1)),
    coded(603, u64(session)),
    coded(604, route("stream"), u64(0), u64(9), some(u64(9)), some(bytes("00 f1", u32(0))), none, none),
    coded(605, route("stream")),
    coded(606, route("stream")),
    coded(607, route("stream")),
    coded(608, route("stream")),
    plain(700, route("schedule", 4), block("0 0 1 1 *"), u8(0), block("payload")),
    plain(701, route("schedule", 4)),
    coded(702, some(u64(0)), some(u64(9))),
    plain(703, route("schedule", 4)),
    plain(704, route("schedule", 4)),
  ]
}

/** Reads a refusal in this envelope; anything else throws. */
function refusal(reply: Buffer, envelope: Sample["envelope"]): { code: number | null; text: string } {
  const cursor = new Cursor(reply)
  if (cursor.u8() !== 1) throw new Error("not a refusal")
  const code = envelope === "coded" ? cursor.u32() : null
  const text = cursor.text()
  cursor.end()
  return { code, text }
}

/** What all domains hold of this test's own, as seen from outside. */
async function stateOf(who: Program, realm: string, tx: number, kv: string): Promise<unknown> {
  const route = (scheme: string): string => `${scheme}://${realm}/b/c`
  const { entries } = await who.schedule.list(0, 0)
  const mine = await who.kv.scan(tx, kv)
  return {
    pairs: mine.pairs.map(String),
    queued: (await who.queue.reserve(route("queue"))).length,
    lease: await who.lease.query(route("lease")),
    stream: await who.stream.metadata(route("stream")),
    schedules: entries.filter(entry => entry.route.includes(realm)).length,
  }
}

test.each(TRANSPORTS)("F-10 E-2 O-1 W-3 W-7: cut or lengthened requests over %s", async transport => {
  const a = await place.open(transport)
  const kv = fresh("kv")
  const realm = fresh("x", 1).slice("x://".length)
  const tx = await a.kv.begin(kv, "write")
  await a.kv.put(tx, kv, "k", "unchanged")
  const session = await a.stream.begin(fresh("stream"))
  const before = await stateOf(a, realm, tx, kv)
  const followed: [string, number][] = []
  for (const sample of samples(tx, session, kv, realm)) {
    const { type, envelope, payload, alsoWhole = [], mayFollow = [] } = sample
    const wrong: Buffer[] = []
    for (let length = 0; length < payload.length; length++)
      if (!alsoWhole.includes(length)) wrong.push(payload.subarray(0, length))
    for (const byte of [0, 1, 255]) if (!mayFollow.includes(byte)) wrong.push(bytes(payload, u8(byte)))
    const seen = a.received.length
    const replies = await Promise.all(wrong.map(payload => a.ask(type, payload)))
    for (const [n, reply] of replies.entries()) {
      const { code, text } = refusal(reply, envelope)
      const what = `type ${type}, ${wrong[n]!.length} of ${payload.length} bytes`
      expect(Buffer.byteLength(text), what).toBeGreaterThanOrEqual(4)
      if (code !== null) expect(Math.floor(code / 1_000), what).toBe(domainOf(type))
      if (type === 100) expect(reply.length, what).toBeGreaterThanOrEqual(9)
    }
    await a.settle()
    followed.push([`${type}`, a.received.length - seen - wrong.length - 2])
  }
  expect(followed.filter(([, more]) => more !== 0)).toEqual([])
  expect(await stateOf(a, realm, tx, kv)).toEqual(before)
  // The handles are what they were.
  await a.kv.commit(tx, kv)
  await a.stream.append(session, 0, "still open")
  await a.stream.commit(session)
})

/** The thousand that a domain's codes begin with: streams come before notices there, though not in types. */
function domainOf(type: number): number {
  return [1, 4, 6, 5, 3, 2, 7][Math.floor(type / 100) - 1]!
}

test.each(TRANSPORTS)("W-4 KV-18 SC-3 F-10: flags and kinds out of range over %s", async transport => {
  const a = await place.open(transport)
  const [kv, queue, stream, schedule] = [fresh("kv"), fresh("queue"), fresh("stream"), fresh("schedule", 4)]
  const tx = await a.kv.begin(fresh("kv"), "write")
  const session = await a.stream.begin(fresh("stream"))
  const none = u8(0)
  const wrong: readonly (readonly [number, "plain" | "coded", Buffer])[] = [
    [100, "plain", bytes(block(kv), u8(2), u8(0))],
    [100, "plain", bytes(block(kv), u8(1), u8(2))],
    [108, "plain", bytes(u64(tx), block(kv), u8(2), none, none, u8(0))],
    [108, "plain", bytes(u64(tx), block(kv), none, none, none, u8(2))],
    [108, "plain", bytes(u64(tx), block(kv), none, none, none, u8(0), u8(2))],
    [200, "coded", bytes(block(queue), block("m"), u8(2), u64(0))],
    [202, "coded", bytes(block(queue), u64(9), u8(255), none)],
    [600, "plain", bytes(block(stream), u8(2))],
    [601, "plain", bytes(u64(session), u64(0), block("e"), u8(3), none)],
    [602, "coded", bytes(u64(session), u8(2))],
    [604, "coded", bytes(block(stream), u64(0), u64(9), u8(2), none, none, none)],
    [700, "plain", bytes(block(schedule), block("* * * * *"), u8(2), block(""))],
    [702, "coded", bytes(u8(2), u8(0))],
    // A block longer than its payload, and text that is not UTF-8.
    [103, "plain", bytes(u64(tx), block(kv), u32(0xffff_ffff))],
    [403, "coded", bytes(u32(3), "ff fe fd")],
    [400, "coded", bytes(block(fresh("lease")), u32(2), "c3 28", u64(9), u32(0))],
  ]
  for (const [type, envelope, payload] of wrong) refusal(await a.ask(type, payload), envelope)
  await a.settle()
  expect(a.unread(700)).toEqual([])
})

test.each(TRANSPORTS)(
  "O-1 O-2 F-10: one reply each, in order, good and bad mixed, over %s",
  async transport => {
    const a = await place.open(transport)
    const route = fresh("queue")
    const good = bytes(block(route), block("m"), u8(0))
    const outcomes = await Promise.all(
      Array.from({ length: 900 }, (_, n) =>
        a.ask(200, n % 3 === 1 ? good.subarray(0, n % good.length) : good),
      ),
    )
    let id = 0
    for (const [n, reply] of outcomes.entries()) {
      if (n % 3 === 1) expect(refusal(reply, "coded").code).toBe(4006)
      else expect(reply).toEqual(bytes("00", u64(++id)))
    }
    expect(id).toBe(600)
  },
)

test.each(TRANSPORTS)(
  "RPC-10 RPC-19 N-5: calls and publishes that do not parse, over %s",
  async transport => {
    const a = await place.open(transport)
    const id = correlation()
    const call = bytes(id, block(fresh("rpc")), block("body"))
    for (let length = 0; length < call.length; length++) a.send(302, call.subarray(0, length))
    a.send(302, bytes(call, u8(0)))
    for (let length = 0; length <= call.length; length++) {
      const { correlation, fault, last, sequence } = await a.rpc.answer()
      expect([fault?.code, last, sequence]).toEqual([6010, true, 0])
      const known = Math.min(length, 16)
      expect(correlation.subarray(0, known)).toEqual(id.subarray(0, known))
    }
    const answer = bytes(id, u64(0), u8(1), block("x"))
    for (let length = 0; length < answer.length; length++) a.send(303, answer.subarray(0, length))
    const publish = bytes(block(fresh("notice")), block("x"))
    for (let length = 0; length < publish.length; length++) a.send(500, publish.subarray(0, length))
    await a.settle()
    expect(a.received.filter(({ type }) => type === 500)).toEqual([])
    expect(a.unread(303)).toEqual([])
  },
)
