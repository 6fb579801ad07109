// A pack: many small records in one blob, so that a batch costs one row and not one row each. Queue and
// stream keep their bodies in packs. Layout: `u32` length and bytes, again and again.

import { type Span, spanLength, viewOf, Writer } from "../../protocol/bytes.ts"

/** A pack closes when it holds this many records or bytes; one record may exceed the bytes alone. */
export const PACK_RECORDS_MAX = 256
export const PACK_BYTES_MAX = 64 * 1024

/** What a record costs beyond its bytes. */
export const PACK_LENGTH_BYTES = 4

/** Records that can be read by their position. */
export interface Pack {
  readonly bytes: Uint8Array
  /** The record's bytes, not copied. */
  record(position: number): Span
}

/** A pack that came from the store. */
export class StoredPack implements Pack {
  readonly bytes: Uint8Array
  private readonly starts: number[] = []

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    const view = viewOf(bytes)
    for (let at = 0; at < bytes.length; at += PACK_LENGTH_BYTES + view.getUint32(at))
      this.starts.push(at + PACK_LENGTH_BYTES)
  }

  record(position: number): Span {
    const start = this.starts[position]!
    const next = this.starts[position + 1]
    return {
      bytes: this.bytes,
      start,
      end: next === undefined ? this.bytes.length : next - PACK_LENGTH_BYTES,
    }
  }
}

/** A pack that still grows. */
export class GrowingPack implements Pack {
  private readonly writer: Writer
  private readonly starts: number[] = []

  constructor(capacityBytes = 512) {
    this.writer = new Writer(capacityBytes)
  }

  get count(): number {
    return this.starts.length
  }

  /** What it holds so far, not copied. */
  get bytes(): Uint8Array {
    return this.writer.written
  }

  /** May a record of this length still go in? */
  takes(lengthBytes: number): boolean {
    const { starts, writer } = this
    return (
      starts.length === 0 || (starts.length < PACK_RECORDS_MAX && writer.at + lengthBytes <= PACK_BYTES_MAX)
    )
  }

  /** Adds a record of one part, copied. */
  add(record: Span): void {
    this.writer.u32(spanLength(record))
    this.starts.push(this.writer.at)
    this.writer.raw(record.bytes, record.start, record.end)
  }

  /** Adds a record that `write` puts together. */
  compose(write: (writer: Writer) => void): void {
    const { writer } = this
    const lengthAt = writer.at
    writer.u32(0)
    this.starts.push(writer.at)
    write(writer)
    writer.view.setUint32(lengthAt, writer.at - lengthAt - PACK_LENGTH_BYTES)
  }

  /** Takes the newest record out again. */
  pop(): void {
    this.writer.at = this.starts.pop()! - PACK_LENGTH_BYTES
  }

  record(position: number): Span {
    const start = this.starts[position]!
    const next = this.starts[position + 1]
    return {
      bytes: this.writer.bytes,
      start,
      end: next === undefined ? this.writer.at : next - PACK_LENGTH_BYTES,
    }
  }
}
