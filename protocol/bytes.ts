// Bytes in and out: a span of somebody's buffer, a reader that never throws, a writer that grows.
// It must never copy a payload it was only asked to look at, and never touch a Node API: the same file
// runs in a browser. All integers are unsigned and big-endian (docs/PROTOCOL.md, W-1).

/** A part of somebody else's buffer. Valid as long as that buffer is; copy it to keep it. */
export interface Span {
  readonly bytes: Uint8Array
  readonly start: number
  readonly end: number
}

const TWO_32 = 4_294_967_296
const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

export const EMPTY = new Uint8Array(0)

/** The whole of `bytes` as a span. */
export function spanOf(bytes: Uint8Array): Span {
  return { bytes, start: 0, end: bytes.length }
}

export function spanLength(span: Span): number {
  return span.end - span.start
}

/** A private copy of what the span shows, for whoever keeps it beyond the turn. */
export function copyOf(span: Span): Uint8Array {
  // Not the span's own `slice`: Node's Buffer has one that copies nothing and keeps all of its memory alive.
  return Uint8Array.prototype.slice.call(span.bytes, span.start, span.end)
}

/** UTF-8 bytes of a text. */
export function utf8(text: string): Uint8Array {
  return encoder.encode(text)
}

/** The text, or null where the bytes are not UTF-8. */
export function textOf(bytes: Uint8Array, start: number, end: number): string | null {
  // Short ASCII, which is nearly everything here, is quicker by hand than through the decoder.
  if (end - start <= 64) {
    let text = ""
    let at = start
    for (; at < end; at++) {
      const byte = bytes[at]!
      if (byte >= 0x80) break
      text += String.fromCharCode(byte)
    }
    if (at === end) return text
  }
  try {
    return decoder.decode(bytes.subarray(start, end))
  } catch {
    return null // not UTF-8 is an answer here, not an accident
  }
}

/** One character per byte: text that sorts exactly as the bytes do, for maps and ordered lists. */
export function binaryText(bytes: Uint8Array, start: number, end: number): string {
  let text = ""
  let at = start
  // Eight at a time, because a call with many arguments is spread out and one with a single one is a call.
  for (; at + 8 <= end; at += 8) {
    text += String.fromCharCode(
      bytes[at]!,
      bytes[at + 1]!,
      bytes[at + 2]!,
      bytes[at + 3]!,
      bytes[at + 4]!,
      bytes[at + 5]!,
      bytes[at + 6]!,
      bytes[at + 7]!,
    )
  }
  for (; at < end; at++) text += String.fromCharCode(bytes[at]!)
  return text
}

/** The bytes again, from what `binaryText` made. */
export function binaryBytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length)
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at)
  return bytes
}

export function sameBytes(
  a: Uint8Array,
  aStart: number,
  b: Uint8Array,
  bStart: number,
  length: number,
): boolean {
  for (let i = 0; i < length; i++) if (a[aStart + i] !== b[bStart + i]) return false
  return true
}

/** A view for multi-byte access to the same memory as `bytes`. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/**
 * Copies `source[from, to)` to `target[at, …)`. Small copies go word by word, because a subarray for
 * `set` costs more than the copy itself.
 */
export function copyBytes(
  target: Uint8Array,
  targetView: DataView,
  at: number,
  source: Uint8Array,
  sourceView: DataView,
  from: number,
  to: number,
): void {
  if (to - from > 192) {
    target.set(source.subarray(from, to), at)
    return
  }
  let a = from
  let b = at
  for (; a + 4 <= to; a += 4, b += 4) targetView.setUint32(b, sourceView.getUint32(a))
  for (; a < to; a++, b++) target[b] = source[a]!
}

/**
 * Reads a payload from front to back. Running past the end, a flag that is neither 0 nor 1 and text
 * that is not UTF-8 set `failed` and yield zeros, so that a parser is a straight line and asks once.
 */
export class Reader {
  bytes: Uint8Array = EMPTY
  view: DataView = viewOf(EMPTY)
  at = 0
  end = 0
  failed = false

  /** Looks at `bytes[start, end)`; `view` must be over the same memory as `bytes`. */
  reset(bytes: Uint8Array, view: DataView, start: number, end: number): this {
    this.bytes = bytes
    this.view = view
    this.at = start
    this.end = end
    this.failed = false
    return this
  }

  /** True when everything was read and nothing was wrong. */
  get whole(): boolean {
    return !this.failed && this.at === this.end
  }

  get left(): number {
    return this.end - this.at
  }

  private take(length: number): number {
    const at = this.at
    if (length > this.end - at) {
      this.failed = true
      this.at = this.end
      return -1
    }
    this.at = at + length
    return at
  }

  u8(): number {
    const at = this.take(1)
    return at < 0 ? 0 : this.bytes[at]!
  }

  u16(): number {
    const at = this.take(2)
    return at < 0 ? 0 : this.view.getUint16(at)
  }

  u32(): number {
    const at = this.take(4)
    return at < 0 ? 0 : this.view.getUint32(at)
  }

  /** As a number; from 2^53 on it is rounded and so equals no id that a broker ever gave out. */
  u64(): number {
    const at = this.take(8)
    return at < 0 ? 0 : this.view.getUint32(at) * TWO_32 + this.view.getUint32(at + 4)
  }

  /** Exactly, for the one field where 2^64−1 has a meaning of its own. */
  u64Exact(): bigint {
    const at = this.take(8)
    return at < 0 ? 0n : this.view.getBigUint64(at)
  }

  /** A byte that must be 0 or 1. */
  flag(): boolean {
    const value = this.u8()
    if (value > 1) this.failed = true
    return value === 1
  }

  /** Passes over so many bytes. */
  skip(length: number): void {
    this.take(length)
  }

  /** The next `length` bytes, not copied. */
  raw(length: number): Span {
    const at = this.take(length)
    return at < 0 ? spanOf(EMPTY) : { bytes: this.bytes, start: at, end: at + length }
  }

  /** `u32` length and that many bytes, not copied. */
  span(): Span {
    return this.raw(this.u32())
  }

  /** Where the block that `block` has passed over lies. */
  blockStart = 0
  blockEnd = 0

  /** Passes over a `u32` length and that many bytes; where they are stands in `blockStart` and `blockEnd`. */
  block(): void {
    const length = this.u32()
    const at = this.take(length)
    this.blockStart = at < 0 ? 0 : at
    this.blockEnd = at < 0 ? 0 : at + length
  }

  optionalSpan(): Span | null {
    return this.flag() ? this.span() : null
  }

  optionalU32(): number | null {
    return this.flag() ? this.u32() : null
  }

  optionalU64(): number | null {
    return this.flag() ? this.u64() : null
  }

  /** `u32` length and UTF-8. */
  text(): string {
    const span = this.span()
    if (this.failed) return ""
    const text = textOf(span.bytes, span.start, span.end)
    if (text === null) this.failed = true
    return text ?? ""
  }
}

/** Appends to a buffer of its own, which grows by doubling. */
export class Writer {
  bytes: Uint8Array
  view: DataView
  at = 0

  constructor(capacityBytes = 256) {
    this.bytes = new Uint8Array(capacityBytes)
    this.view = viewOf(this.bytes)
  }

  /** What has been written, not copied. */
  get written(): Uint8Array {
    return this.bytes.subarray(0, this.at)
  }

  /** Makes room for `length` more bytes. */
  ensure(length: number): void {
    const needed = this.at + length
    if (needed <= this.bytes.length) return
    let capacity = Math.max(this.bytes.length, 64)
    // Small buffers grow in larger steps: most of them are on their way to something larger.
    while (capacity < needed) capacity *= capacity < 65_536 ? 4 : 2
    const grown = new Uint8Array(capacity)
    grown.set(this.bytes.subarray(0, this.at))
    this.bytes = grown
    this.view = viewOf(grown)
  }

  u8(value: number): void {
    this.ensure(1)
    this.bytes[this.at++] = value
  }

  u16(value: number): void {
    this.ensure(2)
    this.view.setUint16(this.at, value)
    this.at += 2
  }

  u32(value: number): void {
    this.ensure(4)
    this.view.setUint32(this.at, value)
    this.at += 4
  }

  u64(value: number | bigint): void {
    this.ensure(8)
    if (typeof value === "bigint") this.view.setBigUint64(this.at, value)
    else {
      this.view.setUint32(this.at, Math.floor(value / TWO_32))
      this.view.setUint32(this.at + 4, value >>> 0)
    }
    this.at += 8
  }

  flag(value: boolean): void {
    this.u8(value ? 1 : 0)
  }

  /** The bytes alone, without a length. */
  raw(bytes: Uint8Array, start = 0, end = bytes.length): void {
    const length = end - start
    this.ensure(length)
    if (length > 48) this.bytes.set(bytes.subarray(start, end), this.at)
    else for (let i = 0; i < length; i++) this.bytes[this.at + i] = bytes[start + i]!
    this.at += length
  }

  /** `u32` length and the bytes. */
  span(span: Span): void {
    this.u32(span.end - span.start)
    this.raw(span.bytes, span.start, span.end)
  }

  /** `u32` length and the bytes. */
  block(bytes: Uint8Array): void {
    this.u32(bytes.length)
    this.raw(bytes)
  }

  optionalSpan(span: Span | null): void {
    this.flag(span !== null)
    if (span !== null) this.span(span)
  }

  optionalU64(value: number | bigint | null): void {
    this.flag(value !== null)
    if (value !== null) this.u64(value)
  }

  optionalU32(value: number | null): void {
    this.flag(value !== null)
    if (value !== null) this.u32(value)
  }

  /** `u32` length and UTF-8. */
  text(text: string): void {
    const lengthAt = this.at
    this.ensure(4 + text.length * 3)
    const { written } = encoder.encodeInto(text, this.bytes.subarray(lengthAt + 4))
    this.view.setUint32(lengthAt, written)
    this.at = lengthAt + 4 + written
  }
}
