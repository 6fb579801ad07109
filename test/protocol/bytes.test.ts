// Bytes: the reader that never throws and whose failure sticks, the writer that grows, text and its limits.
// Expected bytes come from Node's Buffer, never from the writer itself.

import fc from "fast-check"
import { describe, expect, test } from "vitest"
import {
  binaryBytes,
  binaryText,
  copyBytes,
  copyOf,
  Reader,
  type Span,
  sameBytes,
  spanLength,
  spanOf,
  textOf,
  utf8,
  viewOf,
  Writer,
} from "../../protocol/bytes.ts"
import { block, bytes, u8, u16, u32, u64 } from "../kit/bytes.ts"
import { wire } from "../kit/vectors.ts"

/** A reader over bytes that lie inside a larger buffer, so that reading past the end would find something. */
function readerOf(payload: Uint8Array): Reader {
  const around = bytes("a5a5a5", payload, "5a5a5a5a5a5a5a5a5a5a5a5a")
  return new Reader().reset(around, viewOf(around), 3, 3 + payload.length)
}

function shown(span: Span): string {
  return Buffer.from(span.bytes.subarray(span.start, span.end)).toString("hex")
}

describe("reader", () => {
  test("W-1: integers are unsigned and big-endian", () => {
    const reader = readerOf(wire("fe fedc fedcba98 00000001fedcba98 0102030405060708"))
    expect(reader.u8()).toBe(0xfe)
    expect(reader.u16()).toBe(0xfedc)
    expect(reader.u32()).toBe(0xfedcba98)
    expect(reader.u64()).toBe(0x1fedcba98)
    expect(reader.u64Exact()).toBe(0x0102030405060708n)
    expect(reader.whole).toBe(true)
  })

  const NUMBERS: readonly (readonly [bigint, number])[] = [
    [0n, 0],
    [1n, 1],
    [2n ** 32n - 1n, 4_294_967_295],
    [2n ** 32n, 4_294_967_296],
    [2n ** 53n - 1n, Number.MAX_SAFE_INTEGER],
    [2n ** 53n, 2 ** 53],
    [2n ** 53n + 1n, 2 ** 53],
    [2n ** 63n, 2 ** 63],
    [2n ** 64n - 1n, 2 ** 64],
  ]
  for (const [exact, rounded] of NUMBERS) {
    test(`W-6: ${exact} reads as ${rounded}, and exactly where that is asked for`, () => {
      expect(readerOf(u64(exact)).u64()).toBe(rounded)
      expect(readerOf(u64(exact)).u64Exact()).toBe(exact)
    })
  }

  test("W-6: whatever lies above 2^53−1 equals nothing that lies below", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }), value => {
        expect(readerOf(u64(value)).u64()).toBeGreaterThan(Number.MAX_SAFE_INTEGER)
      }),
    )
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }), value => {
        expect(readerOf(u64(value)).u64()).toBe(Number(value))
      }),
    )
  })

  const READS: Readonly<
    Record<string, readonly [bytes: number, read: (reader: Reader) => unknown, zero: unknown]>
  > = {
    u8: [1, r => r.u8(), 0],
    u16: [2, r => r.u16(), 0],
    u32: [4, r => r.u32(), 0],
    u64: [8, r => r.u64(), 0],
    u64Exact: [8, r => r.u64Exact(), 0n],
    flag: [1, r => r.flag(), false],
  }
  for (const [name, [length, read, zero]] of Object.entries(READS)) {
    test(`W-1: ${name} past the end fails, gives zero and leaves nothing`, () => {
      for (let held = 0; held < length; held++) {
        const reader = readerOf(Buffer.alloc(held, 1))
        expect(read(reader)).toBe(zero)
        expect(reader.failed).toBe(true)
        expect(reader.whole).toBe(false)
        expect(reader.left).toBe(0)
      }
      const enough = readerOf(Buffer.alloc(length, 1))
      read(enough)
      expect([enough.failed, enough.whole]).toEqual([false, true])
    })
  }

  test("W-1: a failure sticks: nothing read after it makes the payload whole again", () => {
    const reader = readerOf(wire("01 02"))
    reader.u32()
    expect(reader.failed).toBe(true)
    expect([reader.u8(), reader.u64(), shown(reader.raw(0)), reader.text()]).toEqual([0, 0, "", ""])
    reader.block()
    reader.skip(0)
    expect([reader.failed, reader.whole]).toEqual([true, false])
    expect(reader.reset(Buffer.of(7), viewOf(Buffer.of(7)), 0, 1).u8()).toBe(7)
    expect(reader.whole).toBe(true)
  })

  test("W-4: a flag is 0 or 1, anything else fails", () => {
    for (let value = 0; value < 256; value++) {
      const reader = readerOf(Buffer.of(value))
      expect(reader.flag()).toBe(value === 1)
      expect(reader.failed, `flag ${value}`).toBe(value > 1)
    }
  })

  test("W-4: what is optional is absent, present, or fails", () => {
    expect(readerOf(wire("00")).optionalU32()).toBeNull()
    expect(readerOf(wire("01 00000007")).optionalU32()).toBe(7)
    expect(readerOf(wire("01 0000000000000007")).optionalU64()).toBe(7)
    expect(shown(readerOf(wire("01 00000002 abcd")).optionalSpan()!)).toBe("abcd")
    expect(shown(readerOf(wire("01 00000000")).optionalSpan()!)).toBe("")
    expect(readerOf(wire("00")).optionalSpan()).toBeNull()
    for (const short of ["", "01", "01 000000", "02 00000000", "01 00000001"]) {
      const reader = readerOf(wire(short))
      reader.optionalSpan()
      expect(reader.failed, short).toBe(true)
    }
  })

  test("W-7: what is left over is seen", () => {
    const reader = readerOf(wire("01 02"))
    reader.u8()
    expect([reader.left, reader.whole, reader.failed]).toEqual([1, false, false])
  })

  test("W-3: a length may not reach past the end, not even by wrapping around", () => {
    for (const length of ["00000003", "00000004", "7fffffff", "80000000", "fffffffe", "ffffffff"]) {
      for (const read of [(r: Reader) => r.span(), (r: Reader) => r.block(), (r: Reader) => r.text()]) {
        const reader = readerOf(wire(`${length} abcd`))
        read(reader)
        expect([reader.failed, reader.left], length).toEqual([true, 0])
      }
    }
    const reader = readerOf(wire("ffffffff abcd"))
    reader.block()
    expect([reader.blockStart, reader.blockEnd]).toEqual([0, 0])
  })

  test("W-3: a span is a view, not a copy", () => {
    const payload = bytes(block("abc"))
    const span = new Reader().reset(payload, viewOf(payload), 0, payload.length).span()
    expect(span.bytes).toBe(payload)
    expect([span.start, span.end, spanLength(span)]).toEqual([4, 7, 3])
    const copy = copyOf(span)
    expect(copy.buffer).not.toBe(payload.buffer)
    expect(copy.buffer.byteLength).toBe(3)
    payload.fill(0)
    expect(Buffer.from(copy).toString()).toBe("abc")
  })

  const TEXTS: readonly (readonly [notation: string, text: string | null])[] = [
    ["", ""],
    ['"plain"', "plain"],
    ["00", "\u0000"],
    ["c3a4", "ä"],
    ["efbbbf 61", "\ufeffa"],
    ["f09f9a80", "🚀"],
    ["f48fbfbf", "\u{10ffff}"],
    ["61*64", "a".repeat(64)],
    ["61*65", "a".repeat(65)],
    ["61*63 c3a4", `${"a".repeat(63)}ä`],
    ["80", null],
    ["ff", null],
    ["c3", null],
    ["c0af", null],
    ["c1bf", null],
    ["e08080", null],
    ["eda080", null],
    ["edbfbf", null],
    ["f09f9a", null],
    ["f4908080", null],
    ["f8888080 80", null],
    ["61*63 c3", null],
    ["61*100 ff", null],
  ]
  for (const [notation, text] of TEXTS) {
    test(`W-2: ${notation || "nothing"} ${text === null ? "is not UTF-8" : "is text"}`, () => {
      const content = wire(notation)
      expect(textOf(content, 0, content.length)).toBe(text)
      const reader = readerOf(block(content))
      expect(reader.text()).toBe(text ?? "")
      expect(reader.failed).toBe(text === null)
      expect(reader.at).toBe(reader.end)
    })
  }

  test("W-2: text agrees with Node's decoder on any bytes, short and long", () => {
    const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
    const decoded = (content: Uint8Array): string | null => {
      try {
        return strict.decode(content)
      } catch {
        return null
      }
    }
    const mixed = fc.array(
      fc.constantFrom("a", "ä", "日", "🚀", "\u0000").map(text => utf8(text)),
      { maxLength: 60 },
    )
    fc.assert(
      fc.property(mixed, fc.nat(120), fc.uint8Array({ maxLength: 2 }), (pieces, at, stray) => {
        const good = bytes(...pieces)
        const content = bytes(good.subarray(0, at), stray, good.subarray(at))
        expect(textOf(content, 0, content.length)).toBe(decoded(content))
      }),
      { numRuns: 1_000 },
    )
  })
})

describe("writer", () => {
  test("W-1: writes what Node's Buffer writes, from an empty buffer on", () => {
    const writer = new Writer(0)
    writer.u8(0xfe)
    writer.u16(0xfedc)
    writer.u32(0xfedcba98)
    writer.u64(0x1fedcba98)
    writer.u64(2n ** 64n - 1n)
    writer.flag(true)
    writer.flag(false)
    expect(Buffer.from(writer.written).toString("hex")).toBe(
      bytes(u8(0xfe), u16(0xfedc), u32(0xfedcba98), u64(0x1fedcba98), u64(2n ** 64n - 1n), "01 00").toString(
        "hex",
      ),
    )
  })

  test("W-6: every number up to 2^53−1, as a number and as a bigint", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), value => {
        const writer = new Writer(16)
        writer.u64(value)
        writer.u64(BigInt(value))
        expect(Buffer.from(writer.written).equals(bytes(u64(value), u64(value)))).toBe(true)
      }),
    )
    for (const value of [0, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]) {
      const writer = new Writer(8)
      writer.u64(value)
      expect(Buffer.from(writer.written).readBigUInt64BE()).toBe(BigInt(value))
    }
  })

  test("W-2, W-3, W-4: blocks, spans, texts and what is optional", () => {
    const writer = new Writer(1)
    const held = wire("0011223344")
    writer.block(held)
    writer.span({ bytes: held, start: 1, end: 3 })
    writer.text("zwölf 🚀")
    writer.optionalSpan(null)
    writer.optionalSpan(spanOf(held))
    writer.optionalU64(null)
    writer.optionalU64(5)
    writer.optionalU64(5n)
    writer.optionalU32(null)
    writer.optionalU32(6)
    writer.raw(held, 2)
    expect(Buffer.from(writer.written).toString("hex")).toBe(
      bytes(
        block(held),
        block(wire("1122")),
        block("zwölf 🚀"),
        "00 01",
        block(held),
        "00 01 0000000000000005 01 0000000000000005 00 01 00000006 223344",
      ).toString("hex"),
    )
  })

  test("W-2: half a surrogate pair cannot be UTF-8 and becomes a replacement, with the right length", () => {
    const writer = new Writer(1)
    writer.text("a\ud800b")
    expect(Buffer.from(writer.written).toString("hex")).toBe("00000005" + "61efbfbd62")
  })

  test("W-1: it grows to any size and keeps what was written", () => {
    fc.assert(
      fc.property(
        fc.nat(200),
        fc.array(fc.oneof(fc.nat(300), fc.nat(70_000)), { maxLength: 12 }),
        (capacity, lengths) => {
          const writer = new Writer(capacity)
          for (const [at, length] of lengths.entries()) writer.raw(new Uint8Array(length).fill(at + 1))
          const { written } = writer
          let at = 0
          for (const [index, length] of lengths.entries()) {
            for (const place of [at, at + length - 1]) if (length > 0) expect(written[place]).toBe(index + 1)
            at += length
          }
          expect(written.length).toBe(at)
          expect(writer.view.byteLength).toBe(writer.bytes.length)
        },
      ),
      { numRuns: 200 },
    )
  })

  test("W-1: what is written is read back, in order and whole", () => {
    type Field =
      | { kind: "u8" | "u16" | "u32" | "u64"; value: number }
      | { kind: "span" | "text"; value: string }
    const field: fc.Arbitrary<Field> = fc.oneof(
      fc.record({ kind: fc.constant("u8" as const), value: fc.nat(255) }),
      fc.record({ kind: fc.constant("u16" as const), value: fc.nat(65_535) }),
      fc.record({ kind: fc.constant("u32" as const), value: fc.nat(4_294_967_295) }),
      fc.record({ kind: fc.constant("u64" as const), value: fc.maxSafeNat() }),
      fc.record({ kind: fc.constant("span" as const), value: fc.string({ maxLength: 90 }) }),
      fc.record({
        kind: fc.constant("text" as const),
        value: fc.string({ unit: "grapheme", maxLength: 90 }),
      }),
    )
    fc.assert(
      fc.property(fc.array(field, { maxLength: 20 }), fields => {
        const writer = new Writer(0)
        for (const { kind, value } of fields) {
          if (kind === "span") writer.block(utf8(value as string))
          else if (kind === "text") writer.text(value as string)
          else writer[kind](value as number)
        }
        const reader = readerOf(Uint8Array.from(writer.written))
        for (const { kind, value } of fields) {
          if (kind === "span") expect(Buffer.from(copyOf(reader.span())).toString()).toBe(value)
          else expect(reader[kind]()).toBe(value)
        }
        expect(reader.whole).toBe(true)
      }),
      { numRuns: 300 },
    )
  })
})

describe("copies and comparisons", () => {
  test("KV-12: binary text sorts as the bytes do, and becomes them again", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 20 }), fc.uint8Array({ maxLength: 20 }), (a, b) => {
        const [textA, textB] = [binaryText(a, 0, a.length), binaryText(b, 0, b.length)]
        expect(Math.sign(Buffer.compare(a, b))).toBe(textA < textB ? -1 : textA > textB ? 1 : 0)
        expect(binaryBytes(textA)).toEqual(Uint8Array.from(a))
      }),
      { numRuns: 500 },
    )
  })

  test("W-3: a copy of any length to any place, and nothing beside it", () => {
    fc.assert(
      fc.property(fc.nat(400), fc.nat(7), fc.nat(7), (length, from, to) => {
        const source = Uint8Array.from({ length: length + 16 }, (_, at) => (at * 7 + 1) & 0xff)
        const target = new Uint8Array(length + 16).fill(0xee)
        copyBytes(target, viewOf(target), to, source, viewOf(source), from, from + length)
        const expected = Buffer.alloc(length + 16, 0xee)
        expected.set(source.subarray(from, from + length), to)
        expect(Buffer.compare(target, expected)).toBe(0)
        expect(sameBytes(target, to, source, from, length)).toBe(true)
      }),
      { numRuns: 300 },
    )
    expect(sameBytes(Uint8Array.of(1, 2), 0, Uint8Array.of(1, 3), 0, 2)).toBe(false)
  })
})
