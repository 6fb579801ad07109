// The frame reader: limits on either side, any cut of any stream, stopping and going on, and that a length which
// a peer merely announces costs nothing. The vectors of single frames are in test/vectors.

import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { viewOf, Writer } from "../../protocol/bytes.ts"
import {
  beginFrame,
  endFrame,
  FRAME_BYTES_MAX,
  type FrameFault,
  FrameReader,
  frameType,
  headerBytes,
  OUTER_BYTES,
  PAYLOAD_BYTES_MAX,
} from "../../protocol/frame.ts"
import { bytes, type Frame, outer, u32 } from "../kit/bytes.ts"

/** A reader whose sink keeps copies of what it is lent, and stops it where it is told to. */
class Kept {
  readonly frames: Frame[] = []
  readonly reader: FrameReader
  /** Asked after each frame: go on? */
  goOn: (frame: Frame) => boolean = () => true

  constructor() {
    this.reader = new FrameReader({
      frame: (type, bytes, view, start, payload, end) => {
        // What is lent has to hang together: the outer length, the header, the view over the same memory.
        expect(view.getUint32(start)).toBe(end - start - OUTER_BYTES)
        expect(payload - start).toBe(OUTER_BYTES + headerBytes(type))
        expect(view.byteLength).toBe(bytes.length)
        const frame = { type, payload: Buffer.from(bytes.subarray(payload, end)) }
        this.frames.push(frame)
        return this.goOn(frame)
      },
    })
  }

  push(piece: Uint8Array): FrameFault | null {
    return this.reader.push(Uint8Array.from(piece))
  }
}

const frame = fc.record({
  type: fc.oneof(fc.nat(254), fc.integer({ min: 255, max: 65_535 })),
  payload: fc.uint8Array({ maxLength: 200 }).map(payload => Buffer.from(payload)),
})

/** The stream in pieces, cut at these fractions of its length. */
function pieces(stream: Buffer, at: readonly number[]): Buffer[] {
  const cuts = [0, ...at.map(cut => cut % (stream.length + 1)).sort((a, b) => a - b), stream.length]
  return cuts.slice(1).map((end, index) => stream.subarray(cuts[index], end))
}

describe("limits", () => {
  test("F-3: the numbers themselves", () => {
    expect([PAYLOAD_BYTES_MAX, FRAME_BYTES_MAX, OUTER_BYTES]).toEqual([65_535, 65_540, 4])
    expect([headerBytes(0), headerBytes(254), headerBytes(255), headerBytes(65_535)]).toEqual([3, 3, 5, 5])
  })

  test("F-3: frames at the limit are read, whole and byte by byte", () => {
    for (const type of [1, 254, 255, 705]) {
      const whole = new Kept()
      const stream = outer(type, Buffer.alloc(PAYLOAD_BYTES_MAX, type & 0xff))
      expect(whole.push(stream)).toBeNull()
      expect(whole.frames.map(({ payload }) => payload.length)).toEqual([PAYLOAD_BYTES_MAX])
      const halved = new Kept()
      for (let at = 0; at < stream.length; at += 1_021) halved.push(stream.subarray(at, at + 1_021))
      expect(halved.frames.length).toBe(1)
      expect(Buffer.compare(halved.frames[0]!.payload, whole.frames[0]!.payload)).toBe(0)
    }
  })

  test("F-4: an outer length one above the limit is refused as soon as it is there, and not before", () => {
    for (const length of [0, FRAME_BYTES_MAX + 1, 0x00ffffff, 0x7fffffff, 0x80000000, 0xffffffff]) {
      const whole = new Kept()
      expect(whole.push(u32(length)), `${length}`).toBe("outer_length")
      const singly = new Kept()
      const header = u32(length)
      for (const at of [0, 1, 2]) expect(singly.push(header.subarray(at, at + 1)), `${length}`).toBeNull()
      expect(singly.push(header.subarray(3)), `${length}`).toBe("outer_length")
      expect(singly.frames).toEqual([])
    }
  })

  test("F-5: an outer frame of 1 to 4 bytes cannot hold what it has to", () => {
    for (const inner of ["01", "0100", "ff01f400", "ff01", "ff"]) {
      expect(new Kept().push(bytes(u32(bytes(inner).length), inner)), inner).toBe("inner_length")
    }
    expect(new Kept().push(bytes(u32(3), "010000"))).toBeNull()
  })

  test("F-5: an inner length that is one off either way", () => {
    for (const type of [1, 300]) {
      const good = outer(type, Buffer.alloc(10))
      const lengthAt = good.length - 12
      for (const length of [0, 9, 11, 65_535]) {
        const bad = Buffer.from(good)
        bad.writeUInt16BE(length, lengthAt)
        expect(new Kept().push(bad), `${type}: ${length}`).toBe("inner_length")
      }
    }
  })

  test("F-2: the escape with every type that one byte holds", () => {
    for (let type = 0; type < 255; type++) {
      const inner = bytes("ff", Buffer.of(0, type), "0000")
      expect(frameType(viewOf(inner), 0, inner.length), `${type}`).toBe("type_escape")
    }
    const inner = bytes("ff00ff0000")
    expect(frameType(viewOf(inner), 0, inner.length)).toBe(255)
  })

  test("F-4: a length that was announced takes no memory until its bytes arrive", () => {
    // 4,000 connections that each announce the longest frame and send one byte of it: 260 MB if it were set
    // aside. What is set aside shows as array buffers.
    const before = process.memoryUsage().arrayBuffers
    const readers = Array.from({ length: 4_000 }, () => {
      const kept = new Kept()
      expect(kept.push(bytes(u32(FRAME_BYTES_MAX), "ff"))).toBeNull()
      return kept
    })
    const held = process.memoryUsage().arrayBuffers - before
    expect(readers.every(({ reader }) => reader.midFrame)).toBe(true)
    expect(held).toBeLessThan(4_000 * 1_024)
  })
})

describe("cuts", () => {
  test("F-6: however a stream is cut, the same frames come out", () => {
    fc.assert(
      fc.property(
        fc.array(frame, { minLength: 1, maxLength: 6 }),
        fc.array(fc.nat(), { maxLength: 8 }),
        (wanted, cuts) => {
          const stream = Buffer.concat(wanted.map(({ type, payload }) => outer(type, payload)))
          const kept = new Kept()
          for (const piece of pieces(stream, cuts)) expect(kept.push(piece)).toBeNull()
          expect(kept.frames).toEqual(wanted)
          expect(kept.reader.midFrame).toBe(false)
        },
      ),
      { numRuns: 500 },
    )
  })

  test("F-6: however a broken stream is cut, the same frames come out before the same fault", () => {
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 4 }),
        fc.constantFrom(
          "00000000",
          "ffffffff",
          "00010005",
          "00000005ff00010000",
          "00000003010001",
          "0000000101",
        ),
        fc.array(fc.nat(), { maxLength: 8 }),
        (wanted, broken, cuts) => {
          const stream = bytes(...wanted.map(({ type, payload }) => outer(type, payload)), broken, outer(1))
          const whole = new Kept()
          const fault = whole.push(stream)
          expect(fault).not.toBeNull()
          expect(whole.frames).toEqual(wanted)
          const cut = new Kept()
          let seen: FrameFault | null = null
          for (const piece of pieces(stream, cuts)) seen = cut.push(piece)
          expect(seen).toBe(fault)
          expect(cut.frames).toEqual(wanted)
        },
      ),
      { numRuns: 500 },
    )
  })

  test("F-6: an empty piece is nothing", () => {
    const kept = new Kept()
    const stream = outer(100, Buffer.from("abc"))
    for (const piece of [Buffer.alloc(0), stream.subarray(0, 2), Buffer.alloc(0), stream.subarray(2)])
      expect(kept.push(piece)).toBeNull()
    expect(kept.frames).toHaveLength(1)
  })

  test("F-2: a reader with a fault stays with it and reads nothing more", () => {
    const kept = new Kept()
    expect(kept.push(u32(0))).toBe("outer_length")
    expect(kept.push(outer(1))).toBe("outer_length")
    expect(kept.reader.resume()).toBe("outer_length")
    expect(kept.frames).toEqual([])
  })
})

describe("stopping", () => {
  test("C-7: what arrives while the reader is stopped comes after it goes on, in order", () => {
    fc.assert(
      fc.property(
        fc.array(frame, { minLength: 1, maxLength: 8 }),
        fc.array(fc.nat(), { maxLength: 6 }),
        fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
        (wanted, cuts, stops) => {
          const stream = Buffer.concat(wanted.map(({ type, payload }) => outer(type, payload)))
          const kept = new Kept()
          kept.goOn = () => !stops[kept.frames.length - 1]
          for (const piece of pieces(stream, cuts)) {
            expect(kept.push(piece)).toBeNull()
            const stoppedAt = stops.indexOf(true) + 1
            if (stoppedAt > 0) expect(kept.frames.length).toBeLessThanOrEqual(stoppedAt)
          }
          for (let round = 0; round <= stops.length && kept.frames.length < wanted.length; round++)
            expect(kept.reader.resume()).toBeNull()
          expect(kept.frames).toEqual(wanted)
        },
      ),
      { numRuns: 500 },
    )
  })

  test("C-7: stopped from outside, and from within the sink", () => {
    const kept = new Kept()
    kept.reader.stop()
    kept.push(bytes(outer(1), outer(2)))
    expect(kept.frames).toEqual([])
    kept.goOn = () => {
      kept.reader.stop()
      return false
    }
    kept.reader.resume()
    expect(kept.frames.map(({ type }) => type)).toEqual([1])
    kept.goOn = () => true
    kept.push(outer(3))
    expect(kept.frames.map(({ type }) => type)).toEqual([1])
    kept.reader.resume()
    expect(kept.frames.map(({ type }) => type)).toEqual([1, 2, 3])
  })

  test("C-7: a fault behind the place where it stopped shows when it goes on", () => {
    const kept = new Kept()
    kept.goOn = () => false
    expect(kept.push(bytes(outer(1), u32(0)))).toBeNull()
    kept.goOn = () => true
    expect(kept.reader.resume()).toBe("outer_length")
  })
})

describe("writing", () => {
  test("F-1: what is written is what the tests' own encoder writes", () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 6 }), wanted => {
        const writer = new Writer(1)
        for (const { type, payload } of wanted) {
          const start = beginFrame(writer, type)
          writer.raw(payload)
          endFrame(writer, start)
        }
        const expected = Buffer.concat(wanted.map(({ type, payload }) => outer(type, payload)))
        expect(Buffer.compare(writer.written, expected)).toBe(0)
      }),
      { numRuns: 200 },
    )
  })

  test("F-3: exactly 65,535 bytes of payload can be written, and not one more", () => {
    for (const type of [100, 300]) {
      const writer = new Writer()
      const start = beginFrame(writer, type)
      writer.raw(new Uint8Array(PAYLOAD_BYTES_MAX))
      endFrame(writer, start)
      expect(writer.written.length).toBe(OUTER_BYTES + headerBytes(type) + PAYLOAD_BYTES_MAX)
      const more = beginFrame(writer, type)
      writer.raw(new Uint8Array(PAYLOAD_BYTES_MAX + 1))
      expect(() => endFrame(writer, more)).toThrow("does not fit a frame")
    }
  })
})
