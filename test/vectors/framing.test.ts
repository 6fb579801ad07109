// Where frames begin and end: every request vector, and every vector of sections 2 and 3, byte by byte and cut
// at every place, through the real reader. Says nothing of what is inside a payload.

import { describe, expect, test } from "vitest"
import { withOuterLength } from "../../broker/transport/websocket.ts"
import { spanOf, Writer } from "../../protocol/bytes.ts"
import { beginFrame, endFrame, type FrameFault, FrameReader, type FrameSink } from "../../protocol/frame.ts"
import { type Frame, readInner, u32 } from "../kit/bytes.ts"
import { wire } from "../kit/vectors.ts"
import { COLUMNS } from "./columns.ts"
import { frames, messages, streams } from "./connect.ts"

interface Seen {
  readonly frames: Frame[]
  readonly fault: FrameFault | null
  readonly midFrame: boolean
}

/** Pushes the pieces one after the other and copies what comes out, since the bytes are lent for the call. */
function read(pieces: readonly Uint8Array[]): Seen {
  const seen: Frame[] = []
  const sink: FrameSink = {
    frame(type, bytes, _view, _start, payload, end) {
      seen.push({ type, payload: Buffer.from(bytes.subarray(payload, end)) })
      return true
    },
  }
  const reader = new FrameReader(sink)
  let fault: FrameFault | null = null
  // Pieces are copied: a socket hands over buffers of its own as well.
  for (const piece of pieces) fault = reader.push(Uint8Array.from(piece))
  return { frames: seen, fault, midFrame: reader.midFrame }
}

/** All places of a short stream; of a long one those near its ends and some between. */
function cuts(length: number): number[] {
  if (length <= 2_048) return Array.from({ length: length + 1 }, (_, at) => at)
  const step = Math.floor(length / 64)
  const near = Array.from({ length: 32 }, (_, at) => [at, length - at]).flat()
  const between = Array.from({ length: 64 }, (_, at) => at * step)
  return [...new Set([...near, ...between])]
}

function expectFrames(got: Seen, wanted: readonly Frame[], fault: FrameFault | null, rest: boolean): void {
  expect(got.fault).toBe(fault)
  expect(got.frames.length).toBe(wanted.length)
  for (const [at, frame] of wanted.entries()) {
    expect(got.frames[at]!.type).toBe(frame.type)
    // Compared as one number, because a matcher that walks 64 KiB a thousand times takes its time.
    expect(Buffer.compare(got.frames[at]!.payload, frame.payload)).toBe(0)
  }
  if (fault === null) expect(got.midFrame).toBe(rest)
}

/** Whole, byte by byte, and in two pieces with every cut between them. */
function everyWay(stream: Buffer, wanted: readonly Frame[], fault: FrameFault | null, rest = false): void {
  expectFrames(read([stream]), wanted, fault, rest)
  const singly = Array.from(stream, byte => Uint8Array.of(byte))
  expectFrames(read(singly), wanted, fault, rest)
  for (const cut of cuts(stream.length)) {
    expectFrames(read([stream.subarray(0, cut), stream.subarray(cut)]), wanted, fault, rest)
  }
}

describe("frames that stand alone", () => {
  for (const vector of frames) {
    const frame = { type: vector.type, payload: wire(vector.payload) }

    test(`${vector.rule}: ${vector.name}`, () => {
      const inner = wire(vector.frame)
      expect(readInner(inner)).toEqual(frame)
      everyWay(Buffer.concat([u32(inner.length), inner]), [frame], null)
    })

    test(`${vector.rule}: ${vector.name}, as the writer makes it`, () => {
      const writer = new Writer(1)
      const start = beginFrame(writer, vector.type)
      writer.raw(frame.payload)
      endFrame(writer, start)
      const inner = wire(vector.frame)
      expect(Buffer.compare(writer.written, Buffer.concat([u32(inner.length), inner]))).toBe(0)
    })
  }

  test("F-3: a payload of 65,536 bytes is a bug of whoever writes it, and said to be one", () => {
    const writer = new Writer()
    const start = beginFrame(writer, 100)
    writer.span(spanOf(new Uint8Array(65_532)))
    expect(() => endFrame(writer, start)).toThrow("65536 bytes")
  })
})

describe("streams of outer frames", () => {
  for (const vector of streams) {
    test(`${vector.rule}: ${vector.name}`, () => {
      const wanted = vector.frames.map(({ type, payload }) => ({ type, payload: wire(payload) }))
      everyWay(wire(vector.bytes), wanted, vector.fault, vector.rest ?? false)
    })
  }

  test("F-6: all requests of all domains in one stream, cut everywhere", () => {
    const inners = COLUMNS.flatMap(({ requests }) => requests.map(({ frame }) => wire(frame))).filter(
      inner => inner.length < 512,
    )
    const stream = Buffer.concat(inners.flatMap(inner => [u32(inner.length), inner]))
    const wanted = inners.map(readInner)
    expect(wanted.length).toBeGreaterThan(100)
    for (const size of [1, 2, 3, 5, 7, 64, 1_000, stream.length]) {
      const pieces: Buffer[] = []
      for (let at = 0; at < stream.length; at += size) pieces.push(stream.subarray(at, at + size))
      expectFrames(read(pieces), wanted, null, false)
    }
  })
})

describe("WebSocket messages", () => {
  for (const vector of messages) {
    test(`${vector.rule}: ${vector.name}`, () => {
      const wanted =
        vector.frame === null ? [] : [{ type: vector.frame.type, payload: wire(vector.frame.payload) }]
      expectFrames(read([withOuterLength(wire(vector.message))]), wanted, vector.fault, false)
    })
  }
})

for (const column of COLUMNS) {
  describe(column.scheme, () => {
    for (const vector of [...column.requests, ...column.malformed]) {
      test(`F-6: ${vector.name}, cut at every place`, () => {
        const inner = wire(vector.frame)
        const wanted = [readInner(inner)]
        everyWay(Buffer.concat([u32(inner.length), inner]), wanted, null)
        expectFrames(read([withOuterLength(inner)]), wanted, null, false)
      })
    }
  })
}
