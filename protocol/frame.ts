// Frames: where one message ends and the next begins (docs/PROTOCOL.md, F-1 … F-6).
// Inside the broker every frame has the outer form of raw TCP, `u32 length` + inner frame; the WebSocket
// door adds and removes those four bytes. One reader for both transports. It must never allocate for a
// length that a peer merely announced.

import { viewOf, type Writer } from "./bytes.ts"

/** Largest payload of one message; there is no fragmentation. */
export const PAYLOAD_BYTES_MAX = 65_535
/** Largest inner frame: three bytes of type, two of length, the payload. */
export const FRAME_BYTES_MAX = 3 + 2 + PAYLOAD_BYTES_MAX
/** The length that precedes an inner frame on raw TCP. */
export const OUTER_BYTES = 4

/** Why a byte stream is not a stream of frames. Each of these closes the connection. */
export type FrameFault = "outer_length" | "type_escape" | "inner_length"

/** Takes whole frames out of a stream. */
export interface FrameSink {
  /**
   * One frame: `bytes[start, end)` with its outer length, the payload in `[payload, end)`.
   * The bytes are lent for the call. Returns false to stop the reader after this frame.
   */
  frame(type: number, bytes: Uint8Array, view: DataView, start: number, payload: number, end: number): boolean
}

/** Bytes before the payload of an inner frame of this type. */
export function headerBytes(type: number): number {
  return type < 255 ? 3 : 5
}

/** The type of the whole inner frame at `[at, end)`, or what is wrong with it. */
export function frameType(view: DataView, at: number, end: number): number | FrameFault {
  if (end - at < 3) return "inner_length"
  const first = view.getUint8(at)
  if (first !== 0xff) return view.getUint16(at + 1) === end - at - 3 ? first : "inner_length"
  const type = view.getUint16(at + 1)
  if (type < 255) return "type_escape"
  return end - at >= 5 && view.getUint16(at + 3) === end - at - 5 ? type : "inner_length"
}

/** Cuts a byte stream into frames, however the stream was cut on its way. */
export class FrameReader {
  private readonly sink: FrameSink
  private partial: Uint8Array | null = null
  private partialBytes = 0
  private backlog: Uint8Array[] = []
  private stopped = false
  private fault: FrameFault | null = null

  constructor(sink: FrameSink) {
    this.sink = sink
  }

  /**
   * Takes the next piece of the stream and hands every frame that is now whole to the sink. A piece that
   * arrives while the reader is stopped waits. Returns the first fault, after which nothing is read.
   */
  push(piece: Uint8Array): FrameFault | null {
    if (this.fault !== null) return this.fault
    if (this.stopped || this.backlog.length > 0) this.backlog.push(piece)
    else this.consume(piece)
    return this.fault
  }

  /** Hands out nothing more until `resume`. May be called from within the sink. */
  stop(): void {
    this.stopped = true
  }

  /** Goes on after the sink had stopped the reader. */
  resume(): FrameFault | null {
    this.stopped = false
    while (!this.stopped && this.fault === null) {
      const piece = this.backlog.shift()
      if (piece === undefined) break
      this.consume(piece)
    }
    return this.fault
  }

  /** True while a frame has begun and not ended. */
  get midFrame(): boolean {
    return this.partial !== null
  }

  private consume(piece: Uint8Array): void {
    let at = 0
    if (this.partial !== null) {
      at = this.complete(piece)
      if (this.stopped && at < piece.length) this.backlog.unshift(piece.subarray(at))
      if (this.stopped || this.fault !== null || at === piece.length) return
    }
    const view = viewOf(piece)
    const length = piece.length
    while (length - at >= OUTER_BYTES) {
      const outer = view.getUint32(at)
      if (outer === 0 || outer > FRAME_BYTES_MAX) {
        this.fault = "outer_length"
        return
      }
      const end = at + OUTER_BYTES + outer
      if (end > length) break
      if (!this.deliver(piece, view, at, end)) {
        if (this.stopped && end < length) this.backlog.unshift(piece.subarray(end))
        return
      }
      at = end
    }
    if (at < length) this.begin(piece, at)
  }

  /** True when the reader may go on. */
  private deliver(bytes: Uint8Array, view: DataView, start: number, end: number): boolean {
    const type = frameType(view, start + OUTER_BYTES, end)
    if (typeof type === "string") {
      this.fault = type
      return false
    }
    const payload = start + OUTER_BYTES + headerBytes(type)
    if (!this.sink.frame(type, bytes, view, start, payload, end)) this.stopped = true
    return !this.stopped
  }

  private begin(piece: Uint8Array, at: number): void {
    const length = piece.length - at
    this.partial = new Uint8Array(Math.max(64, length))
    this.partial.set(at === 0 ? piece : piece.subarray(at))
    this.partialBytes = length
  }

  /** Adds to the frame that has begun; returns how much of the piece that took. */
  private complete(piece: Uint8Array): number {
    let at = this.fill(piece, 0, OUTER_BYTES)
    if (this.partialBytes < OUTER_BYTES) return at
    const outer = viewOf(this.partial!).getUint32(0)
    if (outer === 0 || outer > FRAME_BYTES_MAX) {
      this.fault = "outer_length"
      return at
    }
    const end = OUTER_BYTES + outer
    at = this.fill(piece, at, end)
    if (this.partialBytes < end) return at
    const bytes = this.partial!
    this.partial = null
    this.deliver(bytes, viewOf(bytes), 0, end)
    return at
  }

  /** Copies from `piece` until `target` bytes are held, growing with what really arrived. */
  private fill(piece: Uint8Array, at: number, target: number): number {
    const take = Math.min(target - this.partialBytes, piece.length - at)
    if (take <= 0) return at
    const held = this.partial!
    if (this.partialBytes + take > held.length) {
      const grown = new Uint8Array(Math.max(this.partialBytes + take, Math.min(target, held.length * 2)))
      grown.set(held.subarray(0, this.partialBytes))
      this.partial = grown
    }
    this.partial!.set(piece.subarray(at, at + take), this.partialBytes)
    this.partialBytes += take
    return at + take
  }
}

/** Starts a frame in the outer form and returns where it started, for `endFrame`. */
export function beginFrame(writer: Writer, type: number): number {
  const start = writer.at
  writer.ensure(OUTER_BYTES + 5)
  writer.at += OUTER_BYTES
  if (type < 255) writer.u8(type)
  else {
    writer.u8(0xff)
    writer.u16(type)
  }
  writer.at += 2
  return start
}

/** Ends the frame begun at `start`: fills in both lengths. A payload over the limit is a bug of the caller. */
export function endFrame(writer: Writer, start: number): void {
  const payload = start + OUTER_BYTES + (writer.view.getUint8(start + OUTER_BYTES) === 0xff ? 5 : 3)
  const length = writer.at - payload
  if (length > PAYLOAD_BYTES_MAX) throw new Error(`a payload of ${length} bytes does not fit a frame`)
  writer.view.setUint16(payload - 2, length)
  writer.view.setUint32(start, writer.at - start - OUTER_BYTES)
}
