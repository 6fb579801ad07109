// What a turn sends, client by client: frames are put together here while the turn runs and leave when it is
// over, one piece per client. A notification is encoded once, however many follow it.

import { copyBytes, type Span, Writer } from "../../protocol/bytes.ts"
import { OUTER_BYTES, PAYLOAD_BYTES_MAX } from "../../protocol/frame.ts"
import { NOTIFY_TYPES } from "../../protocol/messages/index.ts"
import type { SessionId } from "../domains/domain.ts"
import type { Registration } from "../domains/registrations.ts"

/** What one client gets out of a turn. */
export interface Outgoing {
  readonly session: SessionId
  /** Whole frames in the outer form. The receiver may keep them. */
  readonly frames: Uint8Array
  /** How many requests these answer, and how many bytes those had. */
  readonly answered: number
  readonly answeredBytes: number
}

class Box {
  readonly session: SessionId
  writer: Writer
  answered = 0
  answeredBytes = 0
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
  readonly writer: Writer
  /** Where the followers' ids go. */
  readonly idsAt: number[]
}

const RUN_BYTES_MAX = 256 * 1024
/** Larger pieces leave in the buffer they were written into, smaller ones are copied out of it. */
const HAND_OVER_BYTES = 16 * 1024
const SPARE_WRITERS_MAX = 64
const ID_BYTES = 8
const TWO_32 = 4_294_967_296

/** Asks how many bytes of notices a client may get now: none once it is too far behind. */
export type NoticeRoom = (session: SessionId) => number

export class Outbox {
  private readonly boxes = new Map<SessionId, Box>()
  private spares: Writer[] = []
  private readonly run: Run = { type: 0, followers: [], writer: new Writer(1024), idsAt: [] }
  private readonly noticeRoom: NoticeRoom
  private droppedNotices = 0
  private last: Box | null = null

  constructor(noticeRoom: NoticeRoom) {
    this.noticeRoom = noticeRoom
  }

  /** Notices that were not sent because their receivers are too far behind. */
  get noticesDropped(): number {
    return this.droppedNotices
  }

  get empty(): boolean {
    return this.boxes.size === 0 && this.run.idsAt.length === 0
  }

  /** Where to write a frame for this client. */
  frame(session: SessionId): Writer {
    this.endRun()
    return this.box(session).writer
  }

  /** Counts the frame just written as the answer to a request of this many bytes. */
  answered(session: SessionId, requestBytes: number): void {
    const box = this.box(session)
    box.answered++
    box.answeredBytes += requestBytes
  }

  /** Adds one notification for each follower: its id, then the same bytes. */
  notify(type: number, followers: readonly Registration[], tail: Span): void {
    const length = ID_BYTES + tail.end - tail.start
    // A publish that fills its frame leaves no room for the id; it cannot be delivered.
    if (length > PAYLOAD_BYTES_MAX) return
    const { run } = this
    if (run.followers !== followers || run.type !== type || run.writer.at > RUN_BYTES_MAX) {
      this.endRun()
      run.followers = followers
      run.type = type
    }
    if (followers.length === 1) {
      const { session, id } = followers[0]!
      const box = this.box(session)
      if (!this.fits(box, type, OUTER_BYTES + 5 + length)) return
      writeNotification(box.writer, type, length, tail)
      box.writer.view.setUint32(this.idAt(box.writer, length), (id / TWO_32) >>> 0)
      box.writer.view.setUint32(this.idAt(box.writer, length) + 4, id >>> 0)
      return
    }
    writeNotification(run.writer, type, length, tail)
    run.idsAt.push(this.idAt(run.writer, length))
  }

  private idAt(writer: Writer, length: number): number {
    return writer.at - length
  }

  private fits(box: Box, type: number, bytes: number): boolean {
    if (type !== NOTIFY_TYPES.notice) return true
    if (box.noticeRoomBytes < bytes) {
      this.droppedNotices++
      return false
    }
    box.noticeRoomBytes -= bytes
    return true
  }

  /** Gives each follower its copy of the run, with its own id. */
  private endRun(): void {
    const { run } = this
    if (run.idsAt.length === 0) return
    for (const { session, id } of run.followers) {
      const box = this.box(session)
      if (!this.fits(box, run.type, run.writer.at)) {
        this.droppedNotices += run.idsAt.length - 1
        continue
      }
      const { writer } = box
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
      box = new Box(session, this.spares.pop() ?? new Writer(512), this.noticeRoom(session))
      this.boxes.set(session, box)
    }
    this.last = box
    return box
  }

  /** Hands out everything and starts afresh. */
  *take(): Generator<Outgoing> {
    this.endRun()
    this.last = null
    for (const { session, writer, answered, answeredBytes } of this.boxes.values()) {
      let frames: Uint8Array
      if (writer.at > HAND_OVER_BYTES) frames = writer.written
      else {
        frames = writer.bytes.slice(0, writer.at)
        writer.at = 0
        if (this.spares.length < SPARE_WRITERS_MAX) this.spares.push(writer)
      }
      yield { session, frames, answered, answeredBytes }
    }
    this.boxes.clear()
  }

  /** Throws away everything: the turn did not happen. */
  discard(): void {
    this.run.writer.at = 0
    this.run.idsAt.length = 0
    this.run.followers = []
    this.last = null
    this.boxes.clear()
  }
}

/** A frame of a notification, its id left open. All notification types take the short form or the long one. */
function writeNotification(writer: Writer, type: number, length: number, tail: Span): void {
  const header = type < 255 ? 3 : 5
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
  at += ID_BYTES
  copyBytes(writer.bytes, view, at, tail.bytes, tailView(tail.bytes), tail.start, tail.end)
  writer.at = at + tail.end - tail.start
}

let viewed: Uint8Array = new Uint8Array(0)
let view: DataView = new DataView(viewed.buffer)

/** The view over a buffer; publishes of one turn share theirs. */
function tailView(bytes: Uint8Array): DataView {
  if (viewed !== bytes) {
    viewed = bytes
    view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }
  return view
}
