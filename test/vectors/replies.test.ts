// Replies, refusals and pushes: the real encoders give exactly the bytes of the vectors. What goes on as it came
// (302, 303, 504) is sent through the real lane.

import { describe, expect, test } from "vitest"
import { LeaseDomain } from "../../broker/domains/lease.ts"
import { NoticeDomain } from "../../broker/domains/notice.ts"
import type { Registration } from "../../broker/domains/registrations.ts"
import { RpcDomain } from "../../broker/domains/rpc.ts"
import { Lane, LaneSession } from "../../broker/engine/lane.ts"
import { Outbox } from "../../broker/engine/outbox.ts"
import { Tally } from "../../broker/engine/tally.ts"
import { viewOf, Writer } from "../../protocol/bytes.ts"
import { Fault } from "../../protocol/fault.ts"
import { writeFailure, writeSuccess } from "../../protocol/message.ts"
import { CLIENT_MESSAGES } from "../../protocol/messages/index.ts"
import { Grants } from "../../protocol/permission.ts"
import { Cursor, Splitter, u32 } from "../kit/bytes.ts"
import { route, wire } from "../kit/vectors.ts"
import { COLUMNS } from "./columns.ts"

/** An inner frame in the outer form, as everything inside the broker has it. */
function outer(notation: string): Buffer {
  const inner = wire(notation)
  return Buffer.concat([u32(inner.length), inner])
}

function expectBytes(got: Uint8Array, wanted: Buffer): void {
  // Short ones are shown where they differ; long ones would drown whoever reads it.
  if (wanted.length < 400) expect(Buffer.from(got).toString("hex")).toBe(wanted.toString("hex"))
  else expect(Buffer.compare(got, wanted)).toBe(0)
}

for (const column of COLUMNS) {
  describe(column.scheme, () => {
    for (const vector of column.replies) {
      test(`${vector.rule ?? "E-3"}: ${vector.name}`, () => {
        // From an empty buffer, and behind another frame in one that has to grow.
        for (const writer of [new Writer(1), new Writer(64)]) {
          writer.raw(wire("aa*40"))
          const start = writer.at
          writeSuccess(writer, CLIENT_MESSAGES.get(vector.type)!.row, vector.reply as never)
          expectBytes(writer.written.subarray(start), outer(vector.frame))
        }
      })
    }

    for (const vector of column.errors) {
      test(`${vector.rule ?? "E-2"}: ${vector.name}`, () => {
        const writer = new Writer(1)
        const payload = wire(vector.payload ?? "")
        const span = { bytes: payload, start: 0, end: payload.length }
        const { row } = CLIENT_MESSAGES.get(vector.type)!
        writeFailure(writer, row, span, new Fault(vector.code, vector.text))
        expectBytes(writer.written, vector.frame === null ? Buffer.alloc(0) : outer(vector.frame))
      })
    }

    for (const vector of column.pushes) {
      const tail = new Writer(1)
      vector.tail(tail)

      test(`${vector.rule ?? PUSH_RULES[vector.type]}: ${vector.name}`, () => {
        const [got] = notify(vector.type, [vector.id], tail.written)
        expectBytes(got!, outer(vector.frame))
      })

      test(`S-3: ${vector.name}, once for each of three registrations, each with its own id`, () => {
        const ids = [vector.id, 1, 2 ** 32 + 1]
        const all = notify(vector.type, ids, tail.written)
        const wanted = outer(vector.frame)
        const idAt = 4 + (vector.type < 255 ? 3 : 5)
        expect(all).toHaveLength(3)
        for (const [at, id] of ids.entries()) {
          wanted.writeBigUInt64BE(BigInt(id), idAt)
          expectBytes(all[at]!, wanted)
        }
      })
    }
  })
}

/** The rule that says what a notification of the type holds. */
const PUSH_RULES: Readonly<Record<number, string>> = {
  111: "KV-17",
  209: "Q-22",
  409: "L-16",
  504: "N-8",
  609: "ST-24",
  705: "SC-10",
}

/** What the real outbox sends to one client per id. */
function notify(type: number, ids: readonly number[], tail: Uint8Array): Uint8Array[] {
  const outbox = new Outbox(() => Number.MAX_SAFE_INTEGER)
  const pattern = route("kv://**")
  const followers: Registration[] = ids.map((id, at) => ({
    id,
    session: at + 1,
    family: 1,
    pattern,
    createdAtMs: 0,
    received: 0,
  }))
  outbox.notify(type, followers, tail, viewOf(tail), 0, tail.length)
  return [...outbox.take()].map(({ frames }) => Uint8Array.from(frames))
}

// ── through the lane ───────────────────────────────────────────────────────────────────────────────────────

/** A live lane with its three domains and some clients, driven by frames. */
class LiveLane {
  private readonly lane: Lane
  private readonly sessions: readonly LaneSession[]

  constructor(clients: number) {
    const limits = { registrationsMax: 100, wildcardRegistrationsMax: 100 }
    let fence = 0
    this.lane = new Lane({
      domains: {
        notice: new NoticeDomain(limits),
        rpc: new RpcDomain({ ...limits, pendingMax: 10, pendingPerRouteMax: 10, timeoutMs: 30_000 }),
        lease: new LeaseDomain({ ...limits, leasesMax: 10, parkedMax: 10 }, { next: () => ++fence }),
      },
      store: null,
      firstId: 2,
      random: () => 7,
      tally: new Tally(),
      elapsedMs: () => 0,
      noticeRoom: () => Number.MAX_SAFE_INTEGER,
      parkedMax: 10,
      onBug: error => {
        throw error
      },
      onWritable: () => undefined,
    })
    this.sessions = Array.from({ length: clients }, (_, at) => new LaneSession(at + 1, 1, new Grants(null)))
    this.lane.begin(0, null)
    for (const session of this.sessions) this.lane.open(session)
  }

  /** One turn with these frames; what each client is sent, as one buffer. */
  turn(now: number, inbound: readonly (readonly [client: number, frame: string])[]): Map<number, Buffer> {
    this.lane.begin(now, null)
    this.lane.expire()
    for (const [client, notation] of inbound) {
      const frame = outer(notation)
      const type = frame.readUInt16BE(5)
      this.lane.receive(this.sessions[client]!, type, frame, viewOf(frame), 9, frame.length)
    }
    return new Map([...this.lane.end()].map(out => [out.session - 1, Buffer.from(out.frames)]))
  }
}

/** One 303 for the call of the tests below, by which the broker ends it: table 9.3. */
function expectCallFault(sent: Buffer, code: number): void {
  const frames = new Splitter().push(sent)
  expect(frames.map(({ type }) => type)).toEqual([303])
  const cursor = new Cursor(frames[0]!.payload)
  expect(cursor.raw(16).toString("hex")).toBe("00112233445566778899aabbccddeeff")
  expect([cursor.u64(), cursor.u8(), cursor.u32()]).toEqual([0n, 1, cursor.left])
  expect([cursor.u8(), cursor.u32()]).toEqual([1, code])
  expect(cursor.text()).not.toBe("")
  cursor.end()
}

describe("what goes on as it came", () => {
  const register = 'ff012c 0010 00000008 "rpc://**" 00000001'
  const call = 'ff012e 0028 00112233445566778899aabbccddeeff 0000000b "rpc://a/b/c" 00000005 "hello"'

  test("RPC-7, RPC-17: a 302 reaches the worker byte for byte, after the reply to its registration", () => {
    const lane = new LiveLane(2)
    const sent = lane.turn(0, [
      [0, register],
      [1, call],
    ])
    expectBytes(sent.get(0)!, Buffer.concat([outer("ff012c 0001 00"), outer(call)]))
    expect(sent.has(1)).toBe(false)
  })

  test("RPC-7, RPC-8: each 303 reaches the caller byte for byte, the longest one too", () => {
    const lane = new LiveLane(2)
    lane.turn(0, [
      [0, register],
      [1, call],
    ])
    const answers = [
      'ff012f 001f 00112233445566778899aabbccddeeff 0000000000000000 00 00000002 "ok"',
      "ff012f ffff 00112233445566778899aabbccddeeff 0000000000000001 00 0000ffe2 cd*65506",
      "ff012f 001d 00112233445566778899aabbccddeeff 0000000000000002 01 00000000",
    ]
    const sent = lane.turn(
      1,
      answers.map(answer => [0, answer] as const),
    )
    expectBytes(sent.get(1)!, Buffer.concat(answers.map(outer)))
  })

  test("RPC-14, RPC-6: nobody answers to the route, so the broker does", () => {
    const sent = new LiveLane(1).turn(0, [[0, call]])
    expectCallFault(sent.get(0)!, 6004)
  })

  test("RPC-14, RPC-12: a call that nobody finishes in time ends with 6001", () => {
    const lane = new LiveLane(2)
    lane.turn(0, [
      [0, register],
      [1, call],
    ])
    expect(lane.turn(29_999, []).size).toBe(0)
    expectCallFault(lane.turn(30_000, []).get(1)!, 6001)
  })

  test("N-8: a 504 is the registration's id and the publish's payload", () => {
    const lane = new LiveLane(2)
    const sent = lane.turn(0, [
      [0, 'ff01f5 000f 0000000b "notice://**"'],
      [1, 'ff01f4 001b 0000000e "notice://a/b/c" 00000005 "hello"'],
    ])
    const id = sent.get(0)!.readBigUInt64BE(4 + 5 + 2)
    expect(id).toBeGreaterThan(0n)
    const idHex = id.toString(16).padStart(16, "0")
    expectBytes(
      sent.get(0)!,
      Buffer.concat([
        outer(`ff01f5 000a 00 01 ${idHex}`),
        outer(`ff01f8 0023 ${idHex} 0000000e "notice://a/b/c" 00000005 "hello"`),
      ]),
    )
    expect(sent.has(1)).toBe(false)
  })

  test("N-8: the longest publish that leaves room for the id arrives, one byte more is dropped", () => {
    const lane = new LiveLane(1)
    const reply = lane.turn(0, [[0, 'ff01f5 000f 0000000b "notice://**"']]).get(0)!
    const idHex = reply.subarray(11).toString("hex")
    const longest = lane.turn(1, [[0, 'ff01f4 fff7 0000000e "notice://a/b/c" 0000ffe1 ee*65505']]).get(0)!
    expectBytes(longest, outer(`ff01f8 ffff ${idHex} 0000000e "notice://a/b/c" 0000ffe1 ee*65505`))
    expect(lane.turn(2, [[0, 'ff01f4 fff8 0000000e "notice://a/b/c" 0000ffe2 ee*65506']]).size).toBe(0)
  })

  test("L-8: the second 400 of a wait has the shape of a first: a grant, or 5006", () => {
    const lane = new LiveLane(3)
    const acquire = (wait: string): string =>
      `ff0190 0021 0000000d "lease://a/b/c" 00000000 000000000000001e ${wait}`
    const first = lane.turn(0, [
      [0, acquire("00000000")],
      [1, acquire("0000001e")],
      [2, acquire("00000001")],
    ])
    expectBytes(first.get(0)!, outer("ff0190 000a 00 00 0000000000000001"))
    expectBytes(first.get(1)!, outer("ff0190 000a 00 02 0000000000000002"))
    expectBytes(first.get(2)!, outer("ff0190 000a 00 02 0000000000000003"))
    const over = new Splitter().push(lane.turn(1_000, []).get(2)!)
    expect(over.map(({ type }) => type)).toEqual([400])
    const cursor = new Cursor(over[0]!.payload)
    expect([cursor.u8(), cursor.u32()]).toEqual([1, 5006])
    expect(cursor.text()).not.toBe("")
    cursor.end()
    const release = lane.turn(2_000, [[0, 'ff0192 001d 0000000d "lease://a/b/c" 00000000 0000000000000001']])
    expectBytes(release.get(0)!, outer("ff0192 0001 00"))
    expectBytes(release.get(1)!, outer("ff0190 000a 00 00 0000000000000002"))
  })
})
