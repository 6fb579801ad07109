// Bytes as the tests write and read them: made from the specification, not from protocol/, so that a mistake
// over there does not mirror itself here.

/** Joins pieces: buffers, and hexadecimal text with spaces for looks. */
export function bytes(...parts: (Uint8Array | string)[]): Buffer {
  return Buffer.concat(
    parts.map(part => (typeof part === "string" ? Buffer.from(part.replaceAll(/\s+/g, ""), "hex") : part)),
  )
}

export function u8(value: number): Buffer {
  return Buffer.of(value)
}

export function u16(value: number): Buffer {
  const buffer = Buffer.alloc(2)
  buffer.writeUInt16BE(value)
  return buffer
}

export function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4)
  buffer.writeUInt32BE(value)
  return buffer
}

export function u64(value: number | bigint): Buffer {
  const buffer = Buffer.alloc(8)
  buffer.writeBigUInt64BE(BigInt(value))
  return buffer
}

/** `u32` length and the bytes; text as UTF-8. */
export function block(value: Uint8Array | string): Buffer {
  const content = typeof value === "string" ? Buffer.from(value, "utf8") : Buffer.from(value)
  return Buffer.concat([u32(content.length), content])
}

export function flag(value: boolean): Buffer {
  return u8(value ? 1 : 0)
}

/** `00`, or `01` and the value. */
export function opt<T>(value: T | null | undefined, write: (value: T) => Buffer): Buffer {
  return value === null || value === undefined ? u8(0) : Buffer.concat([u8(1), write(value)])
}

/** An inner frame. */
export function inner(type: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const head = type < 255 ? u8(type) : Buffer.concat([u8(0xff), u16(type)])
  return Buffer.concat([head, u16(payload.length), payload])
}

/** The same with its outer length, as raw TCP carries it. */
export function outer(type: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const frame = inner(type, payload)
  return Buffer.concat([u32(frame.length), frame])
}

/** Reads a payload from front to back and complains when it runs out. */
export class Cursor {
  private readonly buffer: Buffer
  at = 0

  constructor(buffer: Uint8Array) {
    this.buffer = Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength)
  }

  private take(length: number): Buffer {
    if (this.at + length > this.buffer.length)
      throw new Error(`the payload ends at ${this.buffer.length}, ${length} more wanted at ${this.at}`)
    this.at += length
    return this.buffer.subarray(this.at - length, this.at)
  }

  u8(): number {
    return this.take(1)[0]!
  }

  u16(): number {
    return this.take(2).readUInt16BE()
  }

  u32(): number {
    return this.take(4).readUInt32BE()
  }

  u64(): bigint {
    return this.take(8).readBigUInt64BE()
  }

  number(): number {
    return Number(this.u64())
  }

  flag(): boolean {
    const value = this.u8()
    if (value > 1) throw new Error(`a flag is ${value}`)
    return value === 1
  }

  block(): Buffer {
    return Buffer.from(this.take(this.u32()))
  }

  text(): string {
    return this.block().toString("utf8")
  }

  raw(length: number): Buffer {
    return Buffer.from(this.take(length))
  }

  opt<T>(read: (cursor: Cursor) => T): T | null {
    return this.flag() ? read(this) : null
  }

  get left(): number {
    return this.buffer.length - this.at
  }

  /** Nothing may be left. */
  end(): void {
    if (this.left > 0) throw new Error(`${this.left} bytes are left over`)
  }
}

/** One whole inner frame. */
export interface Frame {
  readonly type: number
  readonly payload: Buffer
}

/** Reads one inner frame that fills the buffer. */
export function readInner(buffer: Uint8Array): Frame {
  const cursor = new Cursor(buffer)
  const first = cursor.u8()
  const type = first === 0xff ? cursor.u16() : first
  const payload = cursor.raw(cursor.u16())
  cursor.end()
  return { type, payload }
}

/** Cuts outer frames off a stream. */
export class Splitter {
  private rest: Buffer = Buffer.alloc(0)

  push(piece: Uint8Array): Frame[] {
    this.rest = this.rest.length === 0 ? Buffer.from(piece) : Buffer.concat([this.rest, piece])
    const frames: Frame[] = []
    let at = 0
    while (this.rest.length - at >= 4) {
      const end = at + 4 + this.rest.readUInt32BE(at)
      if (end > this.rest.length) break
      frames.push(readInner(this.rest.subarray(at + 4, end)))
      at = end
    }
    this.rest = this.rest.subarray(at)
    return frames
  }

  get pendingBytes(): number {
    return this.rest.length
  }
}
