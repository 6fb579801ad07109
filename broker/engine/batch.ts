// Batches: what crosses the thread between the sockets and the durable lane, as packed bytes, one piece each
// way and turn. Frames cross as they came; nobody parses them on the way.
//
//   inbound:   f64 when its first frame arrived; u32 n, n × u64 session that left; then records: u8 kind, u64 session, u32 registrations
//              elsewhere, u32 length, bytes (frames: whole frames; open: JSON; drain: nothing)
//   outbound:  u32 batches that are done; then records: u64 session, u32 answered, u32 answered bytes, u32 frames,
//              u32 registering, u32 registrations, u32 length, frames

import { Reader, type Span, viewOf, Writer } from "../../protocol/bytes.ts"
import type { SessionId } from "../domains/domain.ts"
import type { Outgoing } from "./outbox.ts"

const ARRIVED_BYTES = 8
const FRAMES = 1
const OPEN = 2
const DRAIN = 3
const OUTBOUND_BYTES = 64 * 1024
const KEPT_BYTES_MAX = 4 * 1024 * 1024

/** A client as the durable lane is told of it. */
export interface Opening {
  readonly session: SessionId
  readonly family: number
  /** `pattern#access` strings; null allows everything. */
  readonly permissions: readonly string[] | null
}

/** Puts together what goes to the durable lane next. */
export class InboundBatch {
  private readonly capacityBytes: number
  private left: SessionId[] = []
  private records: Writer
  private lastSession: SessionId = -1
  private lastElsewhere = 0
  private lastLengthAt = -1

  constructor(capacityBytes = 64 * 1024) {
    this.capacityBytes = capacityBytes
    this.records = new Writer(capacityBytes)
  }

  get empty(): boolean {
    return this.left.length === 0 && this.records.at === 0
  }

  /** Adds whole frames of a client; neighbours of the same client share a record while it registers nothing. */
  frames(
    session: SessionId,
    registrationsElsewhere: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    const { records } = this
    if (this.lastSession !== session || this.lastElsewhere !== registrationsElsewhere) {
      this.begin(FRAMES, session, registrationsElsewhere)
      this.lastSession = session
      this.lastElsewhere = registrationsElsewhere
    }
    records.raw(bytes, start, end)
    records.view.setUint32(this.lastLengthAt, records.at - this.lastLengthAt - 4)
  }

  open(opening: Opening): void {
    const { session, family, permissions } = opening
    this.begin(OPEN, session, 0)
    this.records.at -= 4
    this.records.text(JSON.stringify({ family, permissions }))
    this.lastSession = -1
  }

  leave(session: SessionId): void {
    this.left.push(session)
  }

  drain(): void {
    this.begin(DRAIN, 0, 0)
    this.lastSession = -1
  }

  private begin(kind: number, session: SessionId, elsewhere: number): void {
    const { records } = this
    records.u8(kind)
    records.u64(session)
    records.u32(elsewhere)
    this.lastLengthAt = records.at
    records.u32(0)
  }

  /** The finished batch, whose first frame arrived then; this object starts afresh. */
  take(arrivedMs: number): Uint8Array {
    const head = new Writer(ARRIVED_BYTES + 4 + this.left.length * 8)
    head.view.setFloat64(0, arrivedMs)
    head.at = ARRIVED_BYTES
    head.u32(this.left.length)
    for (const session of this.left) head.u64(session)
    const { records } = this
    const batch = new Uint8Array(head.at + records.at)
    batch.set(head.written)
    batch.set(records.written, head.at)
    this.left = []
    // A burst does not keep its buffer.
    if (records.bytes.length > KEPT_BYTES_MAX) this.records = new Writer(this.capacityBytes)
    records.at = 0
    this.lastSession = -1
    return batch
  }
}

/** What a batch brought, in the order in which it was put in. */
export type Inbound =
  | {
      readonly kind: "frames"
      readonly session: SessionId
      readonly elsewhere: number
      readonly frames: Span
    }
  | ({ readonly kind: "open" } & Opening)
  | { readonly kind: "drain" }

/** When the first frame of the batch arrived, by the clock of `World.elapsedMs`. */
export function arrivedOf(batch: Uint8Array): number {
  return viewOf(batch).getFloat64(0)
}

/** The clients that left. */
export function leftOf(batch: Uint8Array): SessionId[] {
  const reader = new Reader().reset(batch, viewOf(batch), ARRIVED_BYTES, batch.length)
  return Array.from({ length: reader.u32() }, () => reader.u64())
}

/** Everything else. */
export function* recordsOf(batch: Uint8Array): Generator<Inbound> {
  const reader = new Reader().reset(batch, viewOf(batch), ARRIVED_BYTES, batch.length)
  reader.raw(reader.u32() * 8)
  while (reader.left > 0) {
    const kind = reader.u8()
    const session = reader.u64()
    const elsewhere = reader.u32()
    if (kind === OPEN) {
      const told = JSON.parse(reader.text()) as Omit<Opening, "session">
      yield { kind: "open", session, ...told }
      continue
    }
    const frames = reader.span()
    if (kind === DRAIN) yield { kind: "drain" }
    else yield { kind: "frames", session, elsewhere, frames }
  }
  if (!reader.whole) throw new Error("a batch does not parse")
}

/** What the durable lane sends to one client, and what the sockets' side has to know about it. */
export interface Returned extends Omit<Outgoing, "release"> {
  readonly registrations: number
}

/** Packs what a turn sends, after how many batches it has taken. */
export class OutboundBatch {
  private records = new Writer(OUTBOUND_BYTES)

  constructor() {
    this.records.u32(0)
  }

  add(out: Outgoing, registrations: number): void {
    const { records } = this
    records.u64(out.session)
    records.u32(out.answered)
    records.u32(out.answeredBytes)
    records.u32(out.count)
    records.u32(out.registering)
    records.u32(registrations)
    records.block(out.frames)
    out.release?.()
  }

  /** The finished batch, or null where no batch is done and nothing is sent; this object starts afresh. */
  take(batches: number): Uint8Array | null {
    const { records } = this
    if (batches === 0 && records.at === 4) return null
    records.view.setUint32(0, batches)
    const batch = records.bytes.slice(0, records.at)
    if (records.bytes.length > KEPT_BYTES_MAX) this.records = new Writer(OUTBOUND_BYTES)
    this.records.at = 4
    return batch
  }
}

/** Small pieces are copied out, so that a slow client does not keep a whole batch alive. */
const COPIED_BYTES_MAX = 16 * 1024

/** How many inbound batches are done with this one. */
export function batchesDone(batch: Uint8Array): number {
  return viewOf(batch).getUint32(0)
}

export function* returnedOf(batch: Uint8Array): Generator<Returned> {
  const reader = new Reader().reset(batch, viewOf(batch), 4, batch.length)
  while (reader.left > 0) {
    const session = reader.u64()
    const answered = reader.u32()
    const answeredBytes = reader.u32()
    const count = reader.u32()
    const registering = reader.u32()
    const registrations = reader.u32()
    const { start, end } = reader.span()
    const frames = end - start > COPIED_BYTES_MAX ? batch.subarray(start, end) : batch.slice(start, end)
    yield { session, frames, answered, answeredBytes, count, registering, registrations }
  }
  if (!reader.whole) throw new Error("a batch does not parse")
}
