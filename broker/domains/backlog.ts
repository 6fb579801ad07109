// The messages of one queue and which of them is next (docs/PROTOCOL.md, Q-4 … Q-8). A message is ready in
// one of three ways: it stands in the log and was never handed out, its delay is over, or it came back.
// The next is the one that has been ready longest. What is not needed soon stays in the store.
//
//   enqueue ──▶ log ───────────┐
//   enqueue ──▶ delays ─(due)──┼──▶ next ──▶ reserved ──▶ gone
//                   returns ◀──┴───────────────┘ (expired, client gone)

import { type Span, spanLength } from "../../protocol/bytes.ts"
import { Deque } from "./deque.ts"
import type { Millis } from "./domain.ts"
import type { Journal } from "./journal.ts"
import { GrowingPack, PACK_LENGTH_BYTES, PACK_RECORDS_MAX, type Pack, StoredPack } from "./pack.ts"

/** A stored run of messages with consecutive ids, enqueued in one turn. */
export interface StoredSegment {
  readonly row: number
  readonly first: number
  readonly count: number
  readonly enqueuedAtMs: Millis
  /** When the one message in it becomes ready; null in the log. */
  readonly dueMs: Millis | null
  /** One bit a message that is no longer there; null while all are. */
  readonly gone: Uint8Array | null
  /** Null where the store was asked for the place alone. */
  readonly records: Uint8Array | null
}

/** What a backlog needs of the store. `queue` is the id of a stored queue. */
export interface SegmentStore {
  /** Log segments of the queue that begin after `afterId`, at most `max`, in order. */
  log(queue: number, afterId: number, max: number): readonly StoredSegment[]
  /** Delayed segments in order of (due, id), from after the given place, at most `max`, without records. */
  delayed(queue: number, afterDueMs: Millis, afterId: number, max: number): readonly StoredSegment[]
  /** When the first delay after this moment ends, or null. */
  nextDelay(queue: number, afterMs: Millis): Millis | null
  /** How many delayed messages fall due after one moment and up to another. */
  countDelayed(queue: number, afterMs: Millis, upToMs: Millis): number
  records(row: number): Uint8Array
  insert(queue: number, segment: SegmentPlace, records: Uint8Array): number
  /** Deletes a segment and what is kept about it. */
  delete(row: number): void
  setGone(queue: number, row: number, count: number, bits: Uint8Array): void
}

export type SegmentPlace = Omit<StoredSegment, "row" | "gone" | "records">

export class Segment {
  /** 0 until it is stored. */
  row: number
  readonly first: number
  readonly enqueuedAtMs: Millis
  readonly dueMs: Millis | null
  count: number
  /** Null while the bodies are only in the store. */
  pack: Pack | null
  /** In the window, which keeps its pack over the commit. */
  windowed = false
  private gone: Uint8Array | null
  goneCount: number

  constructor(place: SegmentPlace, row: number, pack: Pack | null, gone: Uint8Array | null) {
    this.row = row
    this.first = place.first
    this.count = place.count
    this.enqueuedAtMs = place.enqueuedAtMs
    this.dueMs = place.dueMs
    this.pack = pack
    this.gone = gone
    this.goneCount = 0
    for (const byte of gone ?? []) for (let bits = byte; bits > 0; bits &= bits - 1) this.goneCount++
  }

  isGone(index: number): boolean {
    return this.gone !== null && (this.gone[index >> 3]! & (1 << (index & 7))) !== 0
  }

  setGone(index: number, gone: boolean): void {
    this.gone ??= new Uint8Array(PACK_RECORDS_MAX / 8)
    this.gone[index >> 3]! ^= 1 << (index & 7)
    this.goneCount += gone ? 1 : -1
  }

  get bits(): Uint8Array {
    return this.gone!.slice(0, (this.count + 7) >> 3)
  }
}

/** One message: where it stands and how often its reservation has lapsed. */
export interface Message {
  readonly segment: Segment
  readonly index: number
  readonly attempts: number
}

interface Returned extends Message {
  readonly sinceMs: Millis
}

/** The next message, before it is taken. */
export interface Candidate {
  readonly source: "log" | "delay" | "return"
  readonly segment: Segment
  readonly index: number
  readonly bytes: number
}

/** Segments fetched at a time. */
const LOG_FETCH = 32
const DELAYS_FETCH = 256
/** Delayed messages kept in memory per queue; later ones stay in the store until these are drawn. */
const DELAYS_HELD_MAX = 1_024

export function messageId(message: { readonly segment: Segment; readonly index: number }): number {
  return message.segment.first + message.index
}

export class Backlog {
  private readonly store: SegmentStore
  /** The stored queue's id; 0 until something was enqueued. */
  queue: number
  /** Log segments from the head on, as far as they are in memory; those before `headAt` are drawn. */
  private window: Segment[] = []
  private headAt = 0
  private headIndex = 0
  /** The newest id in the log, and the newest that the window has reached. */
  private logEnd: number
  private windowEnd: number
  /** Delayed segments not drawn yet, in order; all of them when `delaysWhole`. */
  private delays: Segment[] = []
  private delaysWhole: boolean
  private drawnDueMs: Millis = -1
  private drawnDelayId = 0
  /** Delays up to this moment are counted as ready. */
  private ripeMs: Millis
  private readonly returns = new Deque<Returned>()
  /** Segments that are in the window or have messages out, by row: one object for each. */
  private readonly live = new Map<number, Segment>()
  /** Not stored yet. */
  private unsaved: Segment[] = []
  private growing: Segment | null = null
  /** Segments with messages gone since the last flush. */
  private readonly touched = new Set<Segment>()
  /** Segments that hold a pack which may go with the commit. */
  private lent: Segment[] = []
  /** Bytes of bodies that the window holds. */
  heldBytes = 0

  /**
   * @param queue the stored queue's id, or 0
   * @param logEnd the newest id in the stored log, or 0
   * @param hasDelays there are stored delayed messages
   */
  constructor(store: SegmentStore, queue: number, logEnd: number, hasDelays: boolean, nowMs: Millis) {
    this.store = store
    this.queue = queue
    this.logEnd = logEnd
    this.windowEnd = 0
    this.delaysWhole = !hasDelays
    this.ripeMs = nowMs
  }

  /** Adds a message that is ready now. `keep`: hold its body in memory for the reader that comes soon. */
  push(id: number, body: Span, nowMs: Millis, keep: boolean, journal: Journal): void {
    const bytes = spanLength(body)
    let segment = this.growing
    const pack = segment?.pack
    const fits =
      segment !== null &&
      segment.first + segment.count === id &&
      segment.enqueuedAtMs === nowMs &&
      pack instanceof GrowingPack &&
      pack.takes(bytes)
    const before = { growing: this.growing, logEnd: this.logEnd, windowEnd: this.windowEnd }
    let opened = false
    if (!fits || segment === null) {
      opened = true
      segment = this.open(id, nowMs, null, bytes)
      segment.windowed = keep && this.windowEnd === this.logEnd
      if (segment.windowed) this.window.push(segment)
      this.growing = segment
    }
    const { windowed } = segment
    const growing = segment
    ;(growing.pack as GrowingPack).add(body)
    growing.count++
    this.logEnd = id
    if (windowed) {
      this.windowEnd = id
      this.heldBytes += PACK_LENGTH_BYTES + bytes
    }
    journal.undo(() => {
      growing.count--
      ;(growing.pack as GrowingPack).pop()
      if (windowed) this.heldBytes -= PACK_LENGTH_BYTES + bytes
      if (windowed && opened) this.window.pop()
      if (opened) this.unsaved.pop()
      Object.assign(this, before)
    })
  }

  /** Adds a message that becomes ready at `dueMs`. */
  delay(id: number, body: Span, nowMs: Millis, dueMs: Millis, journal: Journal): void {
    const segment = this.open(id, nowMs, dueMs, spanLength(body))
    ;(segment.pack as GrowingPack).add(body)
    segment.count = 1
    const last = this.delays.at(-1)
    const before = last !== undefined && dueMs < last.dueMs!
    const held = before || (this.delaysWhole && this.delays.length < DELAYS_HELD_MAX)
    const whole = this.delaysWhole
    if (held) this.delays.splice(this.delayPosition(dueMs, id), 0, segment)
    else this.delaysWhole = false
    journal.undo(() => {
      if (held) this.delays.splice(this.delays.indexOf(segment), 1)
      this.delaysWhole = whole
      this.unsaved.pop()
    })
  }

  /**
   * Adds a message that was a dead letter: ready now, as one whose delay is over. `ripen` has to have been
   * called for this moment. False: in this very moment its place has been passed, and it is ready in the next.
   */
  revive(id: number, body: Span, enqueuedAtMs: Millis, nowMs: Millis, journal: Journal): boolean {
    const ready = this.drawnDueMs < nowMs
    this.delay(id, body, enqueuedAtMs, ready ? nowMs : nowMs + 1, journal)
    return ready
  }

  private open(id: number, nowMs: Millis, dueMs: Millis | null, bytes: number): Segment {
    const segment = new Segment(
      { first: id, count: 0, enqueuedAtMs: nowMs, dueMs },
      0,
      new GrowingPack(bytes + 64),
      null,
    )
    this.unsaved.push(segment)
    return segment
  }

  private delayPosition(dueMs: Millis, id: number): number {
    let low = 0
    let high = this.delays.length
    while (low < high) {
      const middle = (low + high) >> 1
      const other = this.delays[middle]!
      if (other.dueMs! < dueMs || (other.dueMs === dueMs && other.first < id)) low = middle + 1
      else high = middle
    }
    return low
  }

  /** When the next delay ends, or null. */
  nextDueMs(journal: Journal): Millis | null {
    const held = this.delays[this.firstUnripe()]
    if (held !== undefined || this.delaysWhole) return held?.dueMs ?? null
    this.save(journal)
    return this.store.nextDelay(this.queue, this.ripeMs)
  }

  private firstUnripe(): number {
    return this.delayPosition(this.ripeMs, Number.POSITIVE_INFINITY)
  }

  /** Delays that ended up to `nowMs` are ready from now on; says how many those are. */
  ripen(nowMs: Millis, journal: Journal): number {
    const from = this.ripeMs
    if (nowMs <= from) return 0
    this.ripeMs = nowMs
    journal.undo(() => {
      this.ripeMs = from
    })
    const lastHeldMs = this.delays.at(-1)?.dueMs ?? -1
    if (this.delaysWhole || lastHeldMs > nowMs) {
      return this.firstUnripe() - this.delayPosition(from, Number.POSITIVE_INFINITY)
    }
    this.save(journal)
    return this.store.countDelayed(this.queue, from, nowMs)
  }

  private fetchDelays(journal: Journal): void {
    this.save(journal)
    const before = { delays: this.delays, delaysWhole: this.delaysWhole }
    const last = this.delays.at(-1)
    const rows = this.store.delayed(
      this.queue,
      last?.dueMs ?? this.drawnDueMs,
      last?.first ?? this.drawnDelayId,
      DELAYS_FETCH,
    )
    this.delays = this.delays.concat(rows.map(row => this.adopt(row, journal)))
    this.delaysWhole = rows.length < DELAYS_FETCH
    journal.undo(() => Object.assign(this, before))
  }

  /** The next ready message, left where it is, or null. */
  peek(journal: Journal): Candidate | null {
    const log = this.logHead(journal)
    if (!this.delaysWhole && this.delays.length === 0) this.fetchDelays(journal)
    const delay = this.delays[0]
    const delayReady = delay !== undefined && delay.dueMs! <= this.ripeMs ? delay : null
    const returned = this.returns.first
    const logMs = log?.enqueuedAtMs ?? Number.POSITIVE_INFINITY
    const delayMs = delayReady?.dueMs ?? Number.POSITIVE_INFINITY
    const returnMs = returned?.sinceMs ?? Number.POSITIVE_INFINITY
    if (log !== null && logMs <= delayMs && logMs <= returnMs)
      return this.candidate("log", log, this.headIndex)
    if (delayReady !== null && delayMs <= returnMs) return this.candidate("delay", delayReady, 0)
    return returned === undefined ? null : this.candidate("return", returned.segment, returned.index)
  }

  private candidate(source: Candidate["source"], segment: Segment, index: number): Candidate {
    return { source, segment, index, bytes: spanLength(this.packOf(segment).record(index)) }
  }

  /**
   * When the oldest of what is ready was enqueued, or null where nothing is. `knownMs` is what this said last:
   * as long as the head of the log is not in memory, nothing was drawn from it.
   */
  oldestMs(knownMs: Millis | null): Millis | null {
    const delay = this.delays[0]
    const times = [
      this.windowEnd < this.logEnd && this.window.length === 0 ? knownMs : this.oldestInWindowMs(),
      delay !== undefined && delay.dueMs! <= this.ripeMs ? delay.enqueuedAtMs : null,
      this.returns.first?.segment.enqueuedAtMs ?? null,
    ].filter(ms => ms !== null)
    return times.length === 0 ? null : Math.min(...times)
  }

  private oldestInWindowMs(): Millis | null {
    const head = this.window[this.headAt]
    const first = head !== undefined && this.headIndex >= head.count ? this.window[this.headAt + 1] : head
    return first?.enqueuedAtMs ?? null
  }

  /** Takes what `peek` showed. Says how often its reservation has lapsed where that is known: it came back. */
  take(candidate: Candidate, journal: Journal): number | null {
    if (candidate.source === "return") {
      const returned = this.returns.shift()!
      journal.undo(() => this.returns.unshift(returned))
      return returned.attempts
    }
    if (candidate.source === "log") {
      const before = this.headIndex
      this.headIndex = before + 1
      journal.undo(() => {
        this.headIndex = before
      })
      return null
    }
    const { delays, drawnDueMs, drawnDelayId } = this
    const segment = delays[0]!
    this.delays = delays.slice(1)
    this.drawnDueMs = segment.dueMs!
    this.drawnDelayId = segment.first
    journal.undo(() => Object.assign(this, { delays, drawnDueMs, drawnDelayId }))
    return null
  }

  /** The body, not copied. */
  body(message: { readonly segment: Segment; readonly index: number }): Span {
    return this.packOf(message.segment).record(message.index)
  }

  /** A message that was out is ready again, behind all that is ready now. */
  putBack(message: Message, sinceMs: Millis, journal: Journal): void {
    this.returns.push({ ...message, sinceMs })
    journal.undo(() => this.returns.pop())
  }

  /** A message that was out is no more. */
  drop(segment: Segment, index: number, journal: Journal): void {
    segment.setGone(index, true)
    this.touched.add(segment)
    journal.undo(() => segment.setGone(index, false))
  }

  /** The segment of the next message in the log, or null; moves the head past what is gone. */
  private logHead(journal: Journal): Segment | null {
    const before = { headAt: this.headAt, headIndex: this.headIndex }
    let found: Segment | null = null
    for (;;) {
      const segment = this.window[this.headAt]
      if (segment === undefined) {
        if (this.windowEnd >= this.logEnd || !this.fetchLog(journal)) break
        continue
      }
      while (this.headIndex < segment.count && segment.isGone(this.headIndex)) this.headIndex++
      if (this.headIndex < segment.count) {
        found = segment
        break
      }
      // The newest segment may still grow under the head.
      if (segment === this.growing && this.headAt === this.window.length - 1) break
      this.headAt++
      this.headIndex = 0
    }
    if (this.headAt !== before.headAt || this.headIndex !== before.headIndex) {
      journal.undo(() => Object.assign(this, before))
    }
    return found
  }

  private fetchLog(journal: Journal): boolean {
    this.save(journal)
    const { windowEnd } = this
    const { length } = this.window
    let added = 0
    const rows = this.store.log(this.queue, windowEnd, LOG_FETCH)
    for (const row of rows) {
      const segment = this.adopt(row, journal)
      segment.windowed = true
      this.window.push(segment)
      added += segment.pack!.bytes.length
    }
    this.heldBytes += added
    const last = rows.at(-1)
    // Nothing left: the end of the log was only known by ids that are gone.
    this.windowEnd = last === undefined ? this.logEnd : last.first + last.count - 1
    journal.undo(() => {
      for (const segment of this.window.splice(length)) segment.windowed = false
      this.windowEnd = windowEnd
      this.heldBytes -= added
    })
    return last !== undefined
  }

  /** The one object for a stored segment. */
  private adopt(stored: StoredSegment, journal: Journal): Segment {
    const pack = stored.records === null ? null : new StoredPack(stored.records)
    const known = this.live.get(stored.row)
    if (known !== undefined) {
      known.pack ??= pack
      return known
    }
    const segment = new Segment(stored, stored.row, pack, stored.gone)
    journal.set(this.live, stored.row, segment)
    return segment
  }

  private packOf(segment: Segment): Pack {
    if (segment.pack === null) {
      segment.pack = new StoredPack(this.store.records(segment.row))
      if (segment.windowed) this.heldBytes += segment.pack.bytes.length
      else this.lent.push(segment)
    }
    return segment.pack
  }

  /** Stores what is not stored yet. */
  save(journal: Journal): void {
    const { unsaved, growing } = this
    if (unsaved.length === 0) return
    this.unsaved = []
    this.growing = null
    journal.undo(() => {
      this.unsaved = unsaved
      this.growing = growing
    })
    for (const segment of unsaved) {
      // Enqueued and completed in the same turn: there is nothing to keep.
      if (segment.goneCount === segment.count) continue
      const row = this.store.insert(this.queue, segment, (segment.pack as GrowingPack).bytes)
      journal.assign(segment, { row })
      journal.set(this.live, row, segment)
      this.lent.push(segment)
      if (segment.goneCount > 0) this.touched.add(segment)
    }
  }

  /** Writes all that changed since the last commit. */
  flush(journal: Journal): void {
    this.save(journal)
    for (const segment of this.touched) {
      if (segment.row === 0) continue
      if (segment.goneCount < segment.count) {
        if (segment.goneCount > 0)
          this.store.setGone(this.queue, segment.row, segment.goneCount, segment.bits)
        continue
      }
      this.store.delete(segment.row)
      journal.delete(this.live, segment.row)
    }
  }

  /** The turn is committed: forgets what only undoing it could have needed. */
  committed(): void {
    this.touched.clear()
    for (const segment of this.window.splice(0, this.headAt)) {
      segment.windowed = false
      this.heldBytes -= segment.pack?.bytes.length ?? 0
      segment.pack = null
    }
    this.headAt = 0
    for (const segment of this.lent) if (!segment.windowed) segment.pack = null
    this.lent = []
  }

  /** Gives up the bodies held for a reader that does not come; between turns only. */
  evict(): void {
    const [head] = this.window
    if (head === undefined) return
    for (const segment of this.window) {
      segment.pack = null
      // Only the head can have messages out; of the others nothing is known that is not stored.
      if (segment !== head || this.headIndex === 0) {
        segment.windowed = false
        this.live.delete(segment.row)
      }
    }
    this.window = head.windowed ? [head] : []
    this.windowEnd = head.windowed ? head.first + head.count - 1 : head.first - 1
    this.heldBytes = 0
  }
}
