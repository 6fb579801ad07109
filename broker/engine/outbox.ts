// What a turn sends, client by client: frames are put together here while the turn runs and leave when it is
// over, one piece per client. A notification is encoded once, however many follow it.

import { copyBytes, Writer } from "../../protocol/bytes.ts"
import { headerBytes, OUTER_BYTES, PAYLOAD_BYTES_MAX } from "../../protocol/frame.ts"
import { NOTIFY_TYPES } from "../../protocol/messages/index.ts"
import type { SessionId } from "../domains/domain.ts"
import type { Registration } from "../domains/registrations.ts"

/** What one client gets out of a turn. */
export interface Outgoing {
  readonly session: SessionId
  /** Whole frames in the outer form. */
  readonly frames: Uint8Array
  /** To be called when the frames are no longer needed; null: they are the receiver's. */
  readonly release: (() => void) | null
  /** How many requests these answer, and how many bytes those had. */
  readonly answered: number
  readonly answeredBytes: number
  /** How many frames these are. */
  readonly count: number
  /** How many of them might have made a registration. */
  readonly registering: number
}

class Box {
  readonly session: SessionId
  writer: Writer
  answered = 0
  answeredBytes = 0
  count = 0
  registering = 0
  /** Bytes of notices that this client may still get in this turn; the rest is dropped. */
  noticeRoomBytes: number

  constructor(session: SessionId, writer: Writer, noticeRoomBytes: number) {
    this.session = session
    this.writer = writer
    this.noticeRoomBytes = noticeRoomBytes
  }
}

/** Frames of one notification for several followers, collected while nothing else comes between. */
interface Run {
  type: number
  followers: readonly Registration[]
  /** Some client follows twice: then a run is one frame long, so that nothing overtakes. */
  overlapping: boolean
  readonly writer: Writer
  /** Where the followers' ids go. */
  readonly idsAt: number[]
}

/** Which of the lists of followers, made once and kept, name a client twice. */
const overlaps = new WeakMap<readonly Registration[], boolean>()

function overlapping(followers: readonly Registration[]): boolean {
  let known = overlaps.get(followers)
  if (known === undefined) {
    known = new Set(followers.map(({ session }) => session)).size < followers.length
    overlaps.set(followers, known)
  }
  return known
}

const RUN_BYTES_MAX = 256 * 1024
/** Larger pieces leave in the buffer they were written into, smaller ones are copied out of it. */
const HAND_OVER_BYTES = 16 * 1024
const SPARE_WRITERS_MAX = 64
const SPARE_BYTES_MAX = 1024 * 1024
const LARGE_BYTES = 128 * 1024
/** A client that gets so little again counts as small. */
const SMALL_BYTES = 512
const ID_BYTES = 8
const TWO_32 = 4_294_967_296

interface OutboxCounts {
  /** Frames written. */
  frames: number
  /** Notices that were not sent because their receivers are too far behind. */
  dropped: number
  /** Notifications that no frame can carry. */
  undeliverable: number
}

const NONE: Readonly<OutboxCounts> = { frames: 0, dropped: 0, undeliverable: 0 }

/** Asks how many bytes of notices a client may get now: none once it is too far behind. */
export type NoticeRoom = (session: SessionId) => number

export class Outbox {
  private readonly boxes = new Map<SessionId, Box>()
  private spares: Writer[] = []
  private readonly run: Run = {
    type: 0,
    followers: [],
    overlapping: false,
    writer: new Writer(1024),
    idsAt: [],
  }
  private readonly noticeRoom: NoticeRoom
  /** What happened in this turn. */
  private counts: OutboxCounts = { ...NONE }
  private last: Box | null = null
  /** Clients that lately got large pieces, and writers for those. */
  private readonly large = new Set<SessionId>()
  private largeSpares: Writer[] = []

  constructor(noticeRoom: NoticeRoom) {
    this.noticeRoom = noticeRoom
  }

  /** What has happened since this was last asked. */
  takeCounts(): OutboxCounts {
    const { counts } = this
    this.counts = { ...NONE }
    return counts
  }

  get empty(): boolean {
    return this.boxes.size === 0 && this.run.idsAt.length === 0
  }

  /** Where to write a frame for this client. */
  frame(session: SessionId): Writer {
    this.endRun()
    this.counts.frames++
    const box = this.box(session)
    box.count++
    return box.writer
  }

  /** Counts the frame just written as the answer to a request of this many bytes. */
  answered(session: SessionId, requestBytes: number, registers: boolean): void {
    const box = this.box(session)
    box.answered++
    box.answeredBytes += requestBytes
    if (registers) box.registering++
  }

  /** Adds one notification for each follower: its id, then `bytes[start, end)`. */
  notify(
    type: number,
    followers: readonly Registration[],
    bytes: Uint8Array,
    view: DataView,
    start: number,
    end: number,
  ): void {
    const length = ID_BYTES + end - start
    // A publish that fills its frame leaves no room for the id; it cannot be delivered.
    if (length > PAYLOAD_BYTES_MAX) {
      this.counts.undeliverable += followers.length
      return
    }
    const { run } = this
    if (run.followers !== followers || run.type !== type || run.writer.at > RUN_BYTES_MAX) {
      this.endRun()
      run.followers = followers
      run.overlapping = overlapping(followers)
      run.type = type
    }
    if (followers.length > 1) {
      run.idsAt.push(writeNotification(run.writer, type, 0, length, bytes, view, start, end))
      if (run.overlapping) this.endRun()
      return
    }
    const follower = followers[0]!
    const box = this.box(follower.session)
    if (this.fits(box, type, OUTER_BYTES + 5 + length)) {
      this.counts.frames++
      box.count++
      follower.received++
      writeNotification(box.writer, type, follower.id, length, bytes, view, start, end)
    }
  }

  private fits(box: Box, type: number, bytes: number): boolean {
    if (type !== NOTIFY_TYPES.notice) return true
    if (box.noticeRoomBytes < bytes) {
      this.counts.dropped++
      return false
    }
    box.noticeRoomBytes -= bytes
    return true
  }

  /** Gives each follower its copy of the run, with its own id. */
  private endRun(): void {
    const { run } = this
    if (run.idsAt.length === 0) return
    for (const follower of run.followers) {
      const { session, id } = follower
      const box = this.box(session)
      if (!this.fits(box, run.type, run.writer.at)) {
        this.counts.dropped += run.idsAt.length - 1
        continue
      }
      this.counts.frames += run.idsAt.length
      const { writer } = box
      box.count += run.idsAt.length
      follower.received += run.idsAt.length
      const start = writer.at
      writer.raw(run.writer.bytes, 0, run.writer.at)
      const [high, low] = [(id / TWO_32) >>> 0, id >>> 0]
      for (const at of run.idsAt) {
        writer.view.setUint32(start + at, high)
        writer.view.setUint32(start + at + 4, low)
      }
    }
    run.writer.at = 0
    run.idsAt.length = 0
    run.followers = []
  }

  private box(session: SessionId): Box {
    if (this.last?.session === session) return this.last
    let box = this.boxes.get(session)
    if (box === undefined) {
      box = new Box(session, this.writerFor(session), this.noticeRoom(session))
      this.boxes.set(session, box)
    }
    this.last = box
    return box
  }

  /** Hands out everything and starts afresh. */
  *take(): Generator<Outgoing> {
    this.endRun()
    this.last = null
    for (const box of this.boxes.values()) {
      const { session, writer, answered, answeredBytes, count, registering } = box
      // All of its notices were dropped: it gets nothing, and nobody has to wait for it.
      if (writer.at === 0) this.keep(writer)
      else if (writer.at > HAND_OVER_BYTES) {
        this.large.add(session)
        const release = (): void => this.keep(writer)
        yield { session, frames: writer.written, release, answered, answeredBytes, count, registering }
      } else {
        if (writer.at < SMALL_BYTES) this.large.delete(session)
        const frames = writer.bytes.slice(0, writer.at)
        this.keep(writer)
        yield { session, frames, release: null, answered, answeredBytes, count, registering }
      }
    }
    this.boxes.clear()
  }

  private writerFor(session: SessionId): Writer {
    if (this.large.has(session)) return this.largeSpares.pop() ?? new Writer(LARGE_BYTES)
    return this.spares.pop() ?? new Writer(512)
  }

  /** A writer whose bytes are no longer needed serves again. */
  private keep(writer: Writer): void {
    const spares = writer.bytes.length >= LARGE_BYTES ? this.largeSpares : this.spares
    if (spares.length >= SPARE_WRITERS_MAX || writer.bytes.length > SPARE_BYTES_MAX) return
    writer.at = 0
    spares.push(writer)
  }

  /** A client is gone. */
  forget(session: SessionId): void {
    this.large.delete(session)
  }

  /** Throws away everything: the turn did not happen. */
  discard(): void {
    this.run.writer.at = 0
    this.run.idsAt.length = 0
    this.run.followers = []
    this.last = null
    this.counts = { ...NONE }
    this.boxes.clear()
  }
}

/** Writes a frame of a notification and says where its id stands. */
function writeNotification(
  writer: Writer,
  type: number,
  id: number,
  length: number,
  bytes: Uint8Array,
  sourceView: DataView,
  start: number,
  end: number,
): number {
  const header = headerBytes(type)
  writer.ensure(OUTER_BYTES + header + length)
  const { view } = writer
  let at = writer.at
  view.setUint32(at, header + length)
  at += OUTER_BYTES
  if (type < 255) view.setUint8(at, type)
  else {
    view.setUint8(at, 0xff)
    view.setUint16(at + 1, type)
  }
  at += header
  view.setUint16(at - 2, length)
  view.setUint32(at, (id / TWO_32) >>> 0)
  view.setUint32(at + 4, id >>> 0)
  copyBytes(writer.bytes, view, at + ID_BYTES, bytes, sourceView, start, end)
  writer.at = at + length
  return at
}
