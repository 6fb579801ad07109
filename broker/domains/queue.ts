// Queue: at-least-once work queues with time-limited reservations (docs/PROTOCOL.md, Q-*). Messages are
// durable; reservations, waits and registrations live in memory and end with their client or the process.

import { type Span, spanLength, spanOf, Writer } from "../../protocol/bytes.ts"
import type { Fault } from "../../protocol/fault.ts"
import {
  QUEUE_FAULTS,
  QUEUE_NOTIFY,
  type QueueComplete,
  type QueueEnqueue,
  type QueueExtend,
  type QueueItem,
  type QueueItems,
  type QueueRequest,
  type QueueReserve,
  RESERVE_BATCH_MAX,
  RESERVE_ROOM_BYTES,
  reserveItemBytes,
  writeQueueNotice,
} from "../../protocol/messages/queue.ts"
import { matches, type Route } from "../../protocol/route.ts"
import { Backlog, type Message, messageId, type SegmentStore } from "./backlog.ts"
import { Catalog, pageOf } from "./catalog.ts"
import { Deque } from "./deque.ts"
import {
  type Context,
  type Domain,
  type Durability,
  type Millis,
  type Outcome,
  PARKED,
  type Session,
  type SessionId,
} from "./domain.ts"
import { type Due, DueHeap } from "./due.ts"
import type { Figures } from "./figures.ts"
import { Owners } from "./owners.ts"
import { PatternIndex } from "./patterns.ts"
import { Rate, sumOf, Tallies } from "./rates.ts"
import { Realms } from "./realms.ts"
import {
  type Registration,
  type RegistrationLimits,
  Registrations,
  subscribe,
  unsubscribe,
} from "./registrations.ts"
import { Timeline } from "./timeline.ts"
import { type Found, type Page, type PlaceAsk, type Refused, refuse } from "./views/common.ts"
import type {
  DeadRow,
  InflightRow,
  QueueAnswers,
  QueueCommand,
  QueueCounts,
  QueueHotspot,
  QueueOutcomes,
  QueueQuery,
  QueueResource,
  QueueStats,
} from "./views/queue.ts"

/** What is stored of a queue besides its messages. */
export interface StoredQueue {
  readonly id: number
  readonly family: number
  readonly route: Route
  /** Every id below was or may have been given out. */
  readonly nextId: number
}

/** What stands in a stored queue. */
export interface StoredCounts {
  readonly ready: number
  readonly delayed: number
  readonly dead: number
  /** The newest id in the log, or 0. */
  readonly logEnd: number
  readonly hasAttempts: boolean
}

export type DeadReason = "max_attempts_exceeded" | "undeliverable"

export interface DeadLetter {
  readonly id: number
  readonly attempts: number
  readonly reason: DeadReason
  readonly deadAtMs: Millis
  readonly enqueuedAtMs: Millis
}

export interface QueueStore extends SegmentStore {
  /** The queues that hold anything; and now and then a number, how much of the store has been counted. */
  load(nowMs: Millis): Iterable<{ readonly queue: StoredQueue; readonly counts: StoredCounts } | number>
  find(family: number, route: Route): StoredQueue | null
  create(family: number, route: Route): number
  setNextId(queue: number, nextId: number): void
  attempts(queue: number, message: number): number
  /** When the oldest message that is ready at this moment was enqueued, or null. */
  oldest(queue: number, nowMs: Millis): Millis | null
  setAttempts(queue: number, message: number, attempts: number): void
  dropAttempts(queue: number, message: number): void
  bury(queue: number, letter: DeadLetter, body: Span): void
  /** Dead letters in the order in which they died. */
  dead(queue: number, offset: number, limit: number): readonly DeadLetter[]
  /** A dead letter with its body, or null. */
  deadLetter(
    queue: number,
    message: number,
  ): { readonly letter: DeadLetter; readonly body: Uint8Array } | null
  dropDead(queue: number, message: number): void
  /** Since when the oldest stored message is there, dead letters left aside; null: none. */
  oldestMs(queue: number): Millis | null
}

/** Numbers of one realm. */
class Tally {
  readonly enqueue = new Rate()
  readonly reserve = new Rate()
  readonly complete = new Rate()
  readonly other = new Rate()
  ready = 0
  delayed = 0
  inflight = 0
  dead = 0
  /** Reservations that ran out. */
  expired = 0
  buried = 0
  /** Queues that hold something, the one with the oldest message first. */
  readonly ages = new DueHeap<Age>()

  get held(): number {
    return this.ready + this.delayed + this.inflight + this.dead
  }
}

/** How old the oldest message of a queue may be at most; exact where it is `sure`. */
interface Age extends Due {
  readonly queue: Queue
  sure: boolean
}

/** Queues with so many ready messages, or with dead letters, are under pressure. */
const PRESSED_READY = 100
const PRESSED_MAX = 10_000
const SEARCHED_MAX = 10_000
/** Queues of one realm whose oldest message is looked up for one answer. */
const AGES_PER_LOOK = 256

export interface QueueLimits extends RegistrationLimits {
  /** Queues in memory: those that hold or are asked for anything. */
  readonly queuesMax: number
  /** Long polls of one client. Those behind a parked one are counted by the engine. */
  readonly parkedMax: number
  /** Long polls of one queue or one pattern. */
  readonly parkedPerQueueMax: number
  /** Messages reserved by one client. */
  readonly reservationsMax: number
  /** A message whose reservation lapsed this often becomes a dead letter; 0: never. */
  readonly attemptsMax: number
  /** When an enqueue or a completion is acknowledged. */
  readonly durability: Durability
  /** Bodies kept in memory for readers to come, all queues together. */
  readonly heldBytesMax: number
}

/** A queue's place among those that hold something ready: `dueMs` is when its oldest was enqueued. */
interface Oldest extends Due {}

interface Queue extends Due {
  readonly oldest: Oldest
  readonly family: number
  readonly route: Route
  readonly backlog: Backlog
  nextId: number
  /** Ids below are stored as given out. */
  reservedIds: number
  ready: number
  delayed: number
  dead: number
  /** Some message may have lapsed reservations on record. */
  hasAttempts: boolean
  /** Bodies that its backlog held after the last commit. */
  heldBytes: number
  readonly reserved: Map<number, Reservation>
  readonly waits: Deque<Wait>
  readonly tally: Tally
  /** Messages that came in, and messages that were completed. */
  readonly inRate: Rate
  readonly outRate: Rate
  age: Age | null
}

interface Reservation extends Due {
  readonly queue: Queue
  readonly message: Message
  readonly id: number
  readonly token: number
  readonly session: SessionId
}

/** What is known of a message that was completed lately. */
interface Completed {
  readonly id: number
  readonly queue: Queue
}

/** A parked RESERVE. It stands in the line of its queue or of its pattern. */
interface Wait extends Due {
  readonly session: SessionId
  readonly family: number
  readonly request: QueueReserve
  readonly line: Deque<Wait>
  /** Null where it waits for one queue. */
  readonly source: PatternSource | null
}

/** The queues that a pattern matches, with the place where the next reserve begins. */
interface PatternSource {
  readonly pattern: Route
  readonly queues: Queue[]
  next: number
  readonly waits: Deque<Wait>
}

const WAIT_SECONDS_MAX = 30
/** Largest lease or delay: beyond it the deadline would leave the range of dates. */
const SECONDS_MAX = 4_000_000_000
const PATTERN_QUEUES_MAX = 4_096
const SOURCES_REMEMBERED_MAX = 256
/** Message ids are stored as given out this many at a time. */
const ID_BLOCK = 1_024
/** Reservations that lapse in one turn; the rest waits for the next. */
const LAPSES_PER_TURN = 1_024
/** A repeated COMPLETE is known for this long, and this many at most. */
const COMPLETED_KEPT_MS = 5 * 60_000
const COMPLETED_KEPT_MAX = 65_536
const RESERVE_TYPE = 202

type Reply = number | null | QueueItems

export class QueueDomain implements Domain<QueueRequest, Reply> {
  private readonly queues = new Map<number, Map<string, Queue>>()
  private queueCount = 0
  private readonly sources = new Map<number, Map<string, PatternSource>>()
  private readonly patternWaits = new Map<number, PatternIndex<PatternSource>>()
  private readonly reservations = new DueHeap<Reservation>()
  private readonly owners = new Owners<Reservation>()
  private readonly waiting = new Owners<Wait>()
  private readonly waitsDue = new DueHeap<Wait>()
  private readonly delaysDue = new DueHeap<Queue>()
  private readonly registrations: Registrations
  /** Attempts not stored yet: they wait while the store refuses writes. */
  private readonly attempts = new Map<Queue, Map<number, number>>()
  private readonly touched = new Set<Queue>()
  private readonly holding = new Set<Queue>()
  /** By token. */
  private completed = new Map<number, Completed>()
  private completedBefore = new Map<number, Completed>()
  private completedSinceMs: Millis = 0
  /** Counted, to know which is older. */
  private opened = 0
  private reserved = 0
  private parked = 0
  private heldBytes = 0
  private sweptMs: Millis = 0
  private readonly limits: QueueLimits
  private readonly store: QueueStore
  private readonly declared: Realms
  private readonly tallies = new Tallies(
    () => new Tally(),
    tally => tally.held === 0 && tally.ages.size === 0,
    (into, from) => {
      for (const name of ["enqueue", "reserve", "complete", "other"] as const)
        into[name].total += from[name].total
      into.expired += from.expired
      into.buried += from.buried
    },
  )
  private readonly catalog = new Catalog<Queue>()
  private readonly pressed = new Set<Queue>()
  private readonly timeline = new Timeline()
  private nowMs: Millis = 0
  /** All queues together. */
  private readonly totals = { ready: 0, delayed: 0, dead: 0, redeliveries: 0, buried: 0 }
  /** Queues with something ready, by the moment at which the oldest of it was enqueued. */
  private readonly oldest = new DueHeap<Oldest>()

  constructor(limits: QueueLimits, store: QueueStore, realms = new Realms()) {
    this.limits = limits
    this.store = store
    this.declared = realms
    this.registrations = new Registrations(limits, QUEUE_FAULTS.subscriptionLimit, realms)
  }

  /** Takes over what is stored, a stretch at a time; yields the share that is done. */
  *load(nowMs: Millis): Generator<number> {
    for (const stored of this.store.load(nowMs)) {
      if (typeof stored === "number") yield stored
      else this.restore(stored.queue, stored.counts, nowMs)
    }
  }

  private restore(stored: StoredQueue, counts: StoredCounts, nowMs: Millis): Queue {
    const backlog = new Backlog(
      this.store,
      stored.id,
      counts.logEnd,
      counts.ready + counts.delayed > 0,
      nowMs,
    )
    const queue: Queue = {
      family: stored.family,
      route: stored.route,
      backlog,
      nextId: stored.nextId,
      reservedIds: stored.nextId,
      ready: counts.ready,
      delayed: counts.delayed,
      dead: counts.dead,
      hasAttempts: counts.hasAttempts,
      heldBytes: 0,
      reserved: new Map(),
      waits: new Deque(),
      tally: this.tallies.of(stored.family, stored.route.segments[0]!),
      inRate: new Rate(),
      outRate: new Rate(),
      age: null,
      oldest: { dueMs: 0, order: stored.id, heapAt: -1 },
      dueMs: nowMs,
      heapAt: -1,
      order: this.opened++,
    }
    this.insert(queue)
    queue.tally.ready += counts.ready
    queue.tally.delayed += counts.delayed
    queue.tally.dead += counts.dead
    if (counts.ready + counts.delayed > 0) this.grow(queue, this.store.oldestMs(stored.id) ?? nowMs)
    this.weigh(queue)
    this.totals.ready += counts.ready
    this.totals.delayed += counts.delayed
    this.totals.dead += counts.dead
    if (counts.ready > 0) this.noteOldest(queue, this.store.oldest(stored.id, nowMs))
    if (counts.delayed > 0) this.delaysDue.add(queue)
    return queue
  }

  handle(request: QueueRequest, session: Session, context: Context): Outcome<Reply> {
    this.nowMs = context.now
    switch (request.op) {
      case "enqueue":
        return this.enqueue(request, session, context)
      case "reserve":
        return this.reserve(request, session, context)
      case "extend":
        return this.extend(request, session, context)
      case "complete":
        return this.complete(request, session, context)
      case "subscribe":
        return this.subscribe(request.pattern, session, context)
      case "unsubscribe":
        return unsubscribe(this.registrations, session, request.pattern, context)
    }
  }

  waitFault(request: QueueRequest): Fault | null {
    if (request.op !== "reserve" || request.waitSeconds === 0) return null
    return QUEUE_FAULTS.full.because("too many reserves are parked")
  }

  // ── enqueue ────────────────────────────────────────────────────────────────────────────────────────────

  private enqueue(request: QueueEnqueue, session: Session, context: Context): number | Fault {
    const { route, body, delaySeconds } = request
    if (delaySeconds > SECONDS_MAX) return QUEUE_FAULTS.badRequest.because("the delay is too long")
    if (!context.writable) return NOT_STORED
    if (this.isRealmFull(route.segments[0]!))
      return QUEUE_FAULTS.full.because("the realm holds all the messages that it may")
    const queue = this.open(session.family, route, context)
    if (queue === null) return QUEUE_FAULTS.full.because("too many queues")
    if (queue.backlog.queue === 0) {
      context.journal.assign(queue.backlog, { queue: this.store.create(queue.family, queue.route) })
    }
    const id = queue.nextId
    queue.nextId = id + 1
    if (id >= queue.reservedIds) {
      context.journal.assign(queue, { reservedIds: id + ID_BLOCK })
      this.store.setNextId(queue.backlog.queue, queue.reservedIds)
    }
    context.journal.undo(() => {
      queue.nextId = id
    })
    this.touched.add(queue)
    queue.inRate.add(context.now)
    queue.tally.enqueue.add(context.now)
    if (reserveItemBytes(route, spanLength(body), false) > RESERVE_ROOM_BYTES) {
      const letter = {
        id,
        attempts: 0,
        reason: "undeliverable",
        deadAtMs: context.now,
        enqueuedAtMs: context.now,
      } as const
      this.store.bury(queue.backlog.queue, letter, body)
      this.countDead(queue, context)
    } else if (delaySeconds > 0) {
      const dueMs = context.now + delaySeconds * 1_000
      queue.backlog.delay(id, body, context.now, dueMs, context.journal)
      this.count(queue, "delayed", 1, context)
      this.expect(queue, dueMs)
    } else {
      const keep = this.heldBytes < this.limits.heldBytesMax
      queue.backlog.push(id, body, context.now, keep, context.journal)
      this.becomeReady(queue, 1, context)
    }
    context.wrote(this.limits.durability)
    return id
  }

  /** The next look at this queue's delays is at `dueMs` or before. */
  private expect(queue: Queue, dueMs: Millis): void {
    if (queue.heapAt >= 0 && queue.dueMs <= dueMs) return
    queue.dueMs = dueMs
    if (queue.heapAt >= 0) this.delaysDue.moved(queue)
    else this.delaysDue.add(queue)
  }

  private count(queue: Queue, what: "ready" | "delayed" | "dead", by: number, context: Context): void {
    const { totals } = this
    const { tally } = queue
    queue[what] += by
    totals[what] += by
    tally[what] += by
    context.journal.undo(() => {
      queue[what] -= by
      totals[what] -= by
      tally[what] -= by
    })
  }

  private countDead(queue: Queue, context: Context): void {
    this.count(queue, "dead", 1, context)
    context.journal.assign(this.totals, { buried: this.totals.buried + 1 })
    queue.tally.buried++
  }

  /** Does a declared realm hold all the messages that it may? */
  private isRealmFull(realm: string): boolean {
    if (this.declared.none) return false
    const max = this.declared.get(realm)?.limits.maxQueueMessages ?? null
    return max !== null && sumOf(this.tallies.select(null, realm), tally => tally.held) >= max
  }

  private noteOldest(queue: Queue, enqueuedAtMs: Millis | null): void {
    const { oldest } = queue
    if (enqueuedAtMs === null) {
      this.oldest.remove(oldest)
      return
    }
    oldest.dueMs = enqueuedAtMs
    if (oldest.heapAt < 0) this.oldest.add(oldest)
    else this.oldest.moved(oldest)
  }

  figures(): Figures<"queue"> {
    const { ready, delayed, dead, redeliveries, buried } = this.totals
    return {
      messages_pending: ready,
      messages_delayed: delayed,
      inflight_active: this.reservations.size,
      messages_dead_lettered: dead,
      oldest_message_ms: this.oldest.nextMs ?? 0,
      redeliveries_total: redeliveries,
      dlq_transitions_total: buried,
    }
  }

  /** Messages became ready: followers hear of the first, whoever waits is served. */
  private becomeReady(queue: Queue, messages: number, context: Context): void {
    const first = queue.ready === 0
    this.count(queue, "ready", messages, context)
    if (first) {
      const followers = this.registrations.matching(queue.family, queue.route)
      if (followers.length > 0) this.tell(queue, followers, context)
    }
    this.serve(queue, context)
  }

  private tell(queue: Queue, followers: readonly Registration[], context: Context): void {
    const writer = new Writer(64)
    writeQueueNotice(writer, queue.route, queue.ready, queue.delayed, queue.reserved.size)
    context.emit({ kind: "notify", type: QUEUE_NOTIFY, followers, tail: spanOf(writer.written) })
  }

  // ── reserve ────────────────────────────────────────────────────────────────────────────────────────────

  private reserve(request: QueueReserve, session: Session, context: Context): Outcome<QueueItems> {
    const { pattern, leaseSeconds, batch, waitSeconds } = request
    this.tallies.of(session.family, pattern.segments[0]!).reserve.add(context.now)
    if (leaseSeconds > SECONDS_MAX) return QUEUE_FAULTS.badRequest.because("the lease is too long")
    if (batch > RESERVE_BATCH_MAX)
      return QUEUE_FAULTS.badRequest.because(`a batch is at most ${RESERVE_BATCH_MAX}`)
    const routed = !pattern.concrete
    let source: PatternSource | null = null
    let items: QueueItem[] = []
    if (this.owners.count(session.id) >= this.limits.reservationsMax) {
      return QUEUE_FAULTS.full.because("this client holds too many reservations")
    }
    if (routed) {
      source = this.source(session.family, pattern)
      if (source.queues.length > PATTERN_QUEUES_MAX) {
        return QUEUE_FAULTS.badRequest.because(`the pattern matches more than ${PATTERN_QUEUES_MAX} queues`)
      }
      items = this.drawAny(source, request, session.id, context)
    } else {
      const queue = this.find(session.family, pattern)
      if (queue !== undefined) items = this.draw(queue, request, session.id, NO_ROOM_USED, context)
    }
    if (items.length > 0 || waitSeconds === 0 || context.draining) return { routed, items }
    return this.park(request, source, session, context)
  }

  /** Takes up to a batch of ready messages of one queue, as many as fit the reply. */
  private draw(
    queue: Queue,
    request: QueueReserve,
    session: SessionId,
    used: { bytes: number; items: number },
    context: Context,
  ): QueueItem[] {
    const { backlog } = queue
    const routed = !request.pattern.concrete
    const wanted = Math.max(1, request.batch) - used.items
    const items: QueueItem[] = []
    const dueMs = context.now + request.leaseSeconds * 1_000
    let roomBytes = RESERVE_ROOM_BYTES - used.bytes
    let left = this.limits.reservationsMax - this.owners.count(session)
    while (items.length < wanted && queue.ready > 0 && left > 0) {
      const next = backlog.peek(context.journal)
      if (next === null) break
      const bytes = reserveItemBytes(queue.route, next.bytes, routed)
      if (bytes > roomBytes) break
      roomBytes -= bytes
      left--
      const body = backlog.body(next)
      const known = backlog.take(next, context.journal)
      this.count(queue, "ready", -1, context)
      const id = messageId(next)
      const attempts = known ?? (queue.hasAttempts ? this.attemptsOf(queue, id) : 0)
      if (known !== null || attempts > 0) {
        context.journal.assign(this.totals, { redeliveries: this.totals.redeliveries + 1 })
      }
      const message = { segment: next.segment, index: next.index, attempts }
      const reservation: Reservation = {
        queue,
        message,
        id,
        token: context.random(),
        session,
        dueMs,
        heapAt: -1,
        order: this.reserved++,
      }
      this.own(reservation)
      context.journal.undo(() => this.disown(reservation))
      items.push({ route: queue.route, id, token: reservation.token, body })
    }
    if (items.length > 0) this.touched.add(queue)
    return items
  }

  /** The same from all queues of a pattern, beginning with another one each time. */
  private drawAny(
    source: PatternSource,
    request: QueueReserve,
    session: SessionId,
    context: Context,
  ): QueueItem[] {
    const { queues } = source
    const items: QueueItem[] = []
    const used = { bytes: 0, items: 0 }
    const start = source.next
    context.journal.assign(source, { next: queues.length === 0 ? 0 : (start + 1) % queues.length })
    for (let i = 0; i < queues.length && items.length < Math.max(1, request.batch); i++) {
      const queue = queues[(start + i) % queues.length]!
      if (queue.ready === 0 || !this.declared.permits(queue.route)) continue
      for (const item of this.draw(queue, request, session, used, context)) {
        items.push(item)
        used.bytes += reserveItemBytes(item.route, spanLength(item.body), true)
        used.items++
      }
    }
    return items
  }

  private attemptsOf(queue: Queue, id: number): number {
    return this.attempts.get(queue)?.get(id) ?? this.store.attempts(queue.backlog.queue, id)
  }

  private park(
    request: QueueReserve,
    source: PatternSource | null,
    session: Session,
    context: Context,
  ): typeof PARKED | Fault {
    const queue = source === null ? this.open(session.family, request.pattern, context) : null
    const line = queue?.waits ?? source?.waits
    if (line === undefined) return QUEUE_FAULTS.full.because("too many queues")
    const tooMany =
      line.size >= this.limits.parkedPerQueueMax || this.waiting.count(session.id) >= this.limits.parkedMax
    if (tooMany) return QUEUE_FAULTS.full.because("too many reserves are parked")
    const seconds = Math.min(request.waitSeconds, WAIT_SECONDS_MAX)
    const wait: Wait = {
      order: this.parked++,
      session: session.id,
      family: session.family,
      request,
      line,
      source,
      dueMs: context.now + seconds * 1_000,
      heapAt: -1,
    }
    line.push(wait)
    this.track(wait)
    context.journal.undo(() => {
      line.remove(wait)
      this.untrack(wait)
    })
    return PARKED
  }

  /** Serves whoever waits for this queue, first parked first, as long as it has something ready. */
  private serve(queue: Queue, context: Context): void {
    const passed = new Set<Wait>()
    while (queue.ready > 0) {
      const wait = this.firstWait(queue, passed, context)
      if (wait === null) return
      const items = this.draw(queue, wait.request, wait.session, NO_ROOM_USED, context)
      // The next message is too long for the reply to a pattern, or this client may hold no more.
      if (items.length === 0) passed.add(wait)
      else this.answer(wait, { routed: wait.source !== null, items }, context)
    }
  }

  private firstWait(queue: Queue, passed: ReadonlySet<Wait>, { gone }: Context): Wait | null {
    let first: Wait | null = null
    const consider = (line: Deque<Wait>): void => {
      if (line.size === 0) return
      for (const wait of line) {
        if (passed.has(wait) || gone.has(wait.session)) continue
        if (first === null || wait.order < first.order) first = wait
        return
      }
    }
    consider(queue.waits)
    const index = this.patternWaits.get(queue.family)
    if (index !== undefined && index.size > 0)
      for (const source of index.match(queue.route)) consider(source.waits)
    return first
  }

  /** A parked reserve is over. */
  private answer(wait: Wait, reply: QueueItems, context: Context): void {
    this.unpark(wait, context)
    context.emit({ kind: "answer", session: wait.session, type: RESERVE_TYPE, reply })
  }

  private unpark(wait: Wait, context: Context): void {
    const { line } = wait
    let place = 0
    if (line.first === wait) line.shift()
    else place = line.remove(wait)
    this.untrack(wait)
    context.journal.undo(() => {
      if (place === 0) line.unshift(wait)
      else line.insert(place, wait)
      this.track(wait)
    })
  }

  private track(wait: Wait): void {
    this.waitsDue.add(wait)
    this.waiting.add(wait.session, wait)
    const { source, family } = wait
    if (source === null || source.waits.size !== 1) return
    let index = this.patternWaits.get(family)
    if (index === undefined) {
      index = new PatternIndex<PatternSource>(() => 0)
      this.patternWaits.set(family, index)
    }
    index.add(source.pattern, source)
  }

  private untrack(wait: Wait): void {
    this.waitsDue.remove(wait)
    this.waiting.remove(wait.session, wait)
    const { source, family } = wait
    if (source !== null && source.waits.size === 0)
      this.patternWaits.get(family)?.remove(source.pattern, source)
  }

  // ── what becomes of a reservation ──────────────────────────────────────────────────────────────────────

  private extend(request: QueueExtend, session: Session, context: Context): null | Fault {
    this.tallies.of(session.family, request.route.segments[0]!).other.add(context.now)
    if (request.leaseSeconds > SECONDS_MAX) return QUEUE_FAULTS.badRequest.because("the lease is too long")
    const reservation = this.reservation(request, session, context)
    if (!("token" in reservation)) return reservation
    const before = reservation.dueMs
    reservation.dueMs = context.now + request.leaseSeconds * 1_000
    this.reservations.moved(reservation)
    context.journal.undo(() => {
      reservation.dueMs = before
      this.reservations.moved(reservation)
    })
    return null
  }

  private complete(request: QueueComplete, session: Session, context: Context): null | Fault {
    this.tallies.of(session.family, request.route.segments[0]!).complete.add(context.now)
    const reservation = this.reservation(request, session, context)
    if (!("token" in reservation)) {
      const done = this.completed.get(request.token) ?? this.completedBefore.get(request.token)
      const same =
        done?.id === request.id &&
        done.queue.family === session.family &&
        done.queue.route.text === request.route.text
      return same ? null : reservation
    }
    if (!context.writable) return QUEUE_FAULTS.backend
    const { queue, message } = reservation
    this.disown(reservation)
    context.journal.undo(() => this.own(reservation))
    this.discard(queue, message, context)
    queue.outRate.add(context.now)
    this.remember(reservation, context)
    context.wrote(this.limits.durability)
    return null
  }

  /** The reservation that a request names, or why it may not. */
  private reservation(
    request: QueueExtend | QueueComplete,
    session: Session,
    context: Context,
  ): Reservation | Fault {
    const held = this.find(session.family, request.route)?.reserved.get(request.id)
    if (held === undefined || held.session !== session.id) return QUEUE_FAULTS.notFound
    if (held.token !== request.token) return QUEUE_FAULTS.invalidToken
    return held.dueMs <= context.now ? QUEUE_FAULTS.expired : held
  }

  /** A message leaves the queue for good. */
  private discard(queue: Queue, { segment, index, attempts }: Message, context: Context): void {
    queue.backlog.drop(segment, index, context.journal)
    this.touched.add(queue)
    if (attempts === 0) return
    const id = segment.first + index
    const unsaved = this.attempts.get(queue)
    if (unsaved !== undefined) context.journal.delete(unsaved, id)
    this.store.dropAttempts(queue.backlog.queue, id)
  }

  private remember({ token, id, queue }: Reservation, context: Context): void {
    if (
      this.completed.size >= COMPLETED_KEPT_MAX / 2 ||
      context.now - this.completedSinceMs > COMPLETED_KEPT_MS
    ) {
      this.completedBefore = this.completed
      this.completed = new Map()
      this.completedSinceMs = context.now
    }
    const { completed } = this
    completed.set(token, { id, queue })
    context.journal.undo(() => completed.delete(token))
  }

  expire(context: Context): void {
    for (const wait of this.waitsDue.dueAt(context.now)) this.giveUp(wait, context)
    let lapses = 0
    for (const reservation of this.reservations.dueAt(context.now)) {
      this.lapse(reservation, context)
      if (++lapses >= LAPSES_PER_TURN) break
    }
    for (const queue of this.delaysDue.dueAt(context.now)) {
      this.touched.add(queue)
      const before = queue.dueMs
      this.delaysDue.remove(queue)
      context.journal.undo(() => this.expect(queue, before))
      const ripe = queue.backlog.ripen(context.now, context.journal)
      const nextMs = queue.backlog.nextDueMs(context.journal)
      if (nextMs !== null) this.expect(queue, nextMs)
      if (ripe === 0) continue
      this.count(queue, "delayed", -ripe, context)
      this.becomeReady(queue, ripe, context)
    }
  }

  /** The wait is over and brought nothing. */
  private giveUp(wait: Wait, context: Context): void {
    this.answer(wait, { routed: wait.source !== null, items: [] }, context)
  }

  /** A reservation ran out: the message is ready again, or it has done so too often. */
  private lapse(reservation: Reservation, context: Context): void {
    const { queue, message, id } = reservation
    this.disown(reservation)
    context.journal.undo(() => this.own(reservation))
    queue.tally.expired++
    const attempts = message.attempts + 1
    const { segments } = queue.route
    const { attemptsMax } = this.limits
    if (attemptsMax > 0 && attempts >= attemptsMax && context.writable) {
      const letter: DeadLetter = {
        id,
        attempts,
        reason: "max_attempts_exceeded",
        deadAtMs: context.now,
        enqueuedAtMs: message.segment.enqueuedAtMs,
      }
      this.store.bury(queue.backlog.queue, letter, queue.backlog.body(message))
      this.discard(queue, message, context)
      this.countDead(queue, context)
      this.timeline.note("failure", context.now, queue.family, segments, "message # is a dead letter", id)
      context.wrote("buffered")
      return
    }
    this.timeline.note(
      "retry",
      context.now,
      queue.family,
      segments,
      "the reservation of message # ran out",
      id,
    )
    let unsaved = this.attempts.get(queue)
    if (unsaved === undefined) {
      unsaved = new Map()
      this.attempts.set(queue, unsaved)
    }
    context.journal.set(unsaved, id, attempts)
    queue.hasAttempts = true
    context.wrote("buffered")
    this.giveBack(queue, { ...message, attempts }, context)
  }

  private giveBack(queue: Queue, message: Message, context: Context): void {
    this.touched.add(queue)
    queue.backlog.putBack(message, context.now, context.journal)
    this.becomeReady(queue, 1, context)
  }

  leave(session: SessionId, context: Context): void {
    for (const wait of this.waiting.of(session)) this.unpark(wait, context)
    const held = this.owners.of(session).sort((a, b) => a.id - b.id || a.order - b.order)
    for (const reservation of held) {
      this.disown(reservation)
      context.journal.undo(() => this.own(reservation))
    }
    // A client that goes away has not failed at its messages: their attempts stay as they are.
    for (const { queue, message } of held) this.giveBack(queue, message, context)
    this.registrations.leave(session, context)
  }

  drain(context: Context): void {
    for (const wait of this.waiting.all()) this.giveUp(wait, context)
  }

  nextDue(): Millis | null {
    const due = [this.waitsDue.nextMs, this.reservations.nextMs, this.delaysDue.nextMs].filter(
      ms => ms !== null,
    )
    return due.length === 0 ? null : Math.min(...due)
  }

  flush(context: Context): void {
    if (!context.writable) return
    for (const queue of this.touched) queue.backlog.flush(context.journal)
    for (const [queue, attempts] of this.attempts) {
      for (const [id, count] of attempts) this.store.setAttempts(queue.backlog.queue, id, count)
      context.journal.delete(this.attempts, queue)
    }
  }

  committed(): void {
    for (const queue of this.touched) {
      this.weigh(queue)
      const before = queue.backlog.heldBytes
      queue.backlog.committed()
      this.noteOldest(
        queue,
        queue.ready === 0
          ? null
          : queue.backlog.oldestMs(queue.oldest.heapAt < 0 ? null : queue.oldest.dueMs),
      )
      this.heldBytes += queue.backlog.heldBytes - queue.heldBytes
      queue.heldBytes = queue.backlog.heldBytes
      if (queue.heldBytes === 0) this.holding.delete(queue)
      else if (before > 0) this.holding.add(queue)
    }
    this.touched.clear()
    for (const queue of this.holding) {
      if (this.heldBytes <= this.limits.heldBytesMax) break
      queue.backlog.evict()
      this.heldBytes -= queue.heldBytes
      queue.heldBytes = 0
      this.holding.delete(queue)
    }
  }

  // ── registrations, queues, owners ──────────────────────────────────────────────────────────────────────

  /** A new follower hears at once of the queues that have something ready. */
  private subscribe(pattern: Route, session: Session, context: Context): number | Fault {
    const known = this.registrations.find(session.id, pattern)
    const id = subscribe(this.registrations, session, pattern, context)
    if (known !== undefined || typeof id !== "number") return id
    const follower = this.registrations.byId(session.id, id)!
    const queue = pattern.concrete ? this.find(session.family, pattern) : undefined
    const queues = pattern.concrete
      ? queue === undefined
        ? []
        : [queue]
      : this.source(session.family, pattern).queues
    for (const queue of queues) {
      if (queue.ready > 0 && this.declared.permits(queue.route)) this.tell(queue, [follower], context)
    }
    return id
  }

  private source(family: number, pattern: Route): PatternSource {
    let sources = this.sources.get(family)
    if (sources === undefined) {
      sources = new Map()
      this.sources.set(family, sources)
    }
    const known = sources.get(pattern.text)
    if (known !== undefined) return known
    if (sources.size >= SOURCES_REMEMBERED_MAX) {
      for (const [text, source] of sources) if (source.waits.size === 0) sources.delete(text)
    }
    const all = [...(this.queues.get(family)?.values() ?? [])]
    const queues = all.filter(queue => matches(pattern, queue.route))
    const source: PatternSource = { pattern, queues, next: 0, waits: new Deque() }
    sources.set(pattern.text, source)
    return source
  }

  private find(family: number, route: Route): Queue | undefined {
    return this.queues.get(family)?.get(route.text)
  }

  /** The queue, made present where it is not; null where there are too many. */
  private open(family: number, route: Route, context: Context): Queue | null {
    const known = this.find(family, route)
    if (known !== undefined) return known
    if (this.queueCount >= this.limits.queuesMax) this.sweep(context.now)
    if (this.queueCount >= this.limits.queuesMax) return null
    const stored = this.store.find(family, route) ?? { id: 0, family, route, nextId: 1 }
    // Whatever holds anything is present already, so this one is empty.
    return this.restore(stored, EMPTY_COUNTS, context.now)
  }

  private insert(queue: Queue): void {
    let family = this.queues.get(queue.family)
    if (family === undefined) {
      family = new Map()
      this.queues.set(queue.family, family)
    }
    family.set(queue.route.text, queue)
    this.catalog.add(queue.family, queue.route.segments, queue)
    this.queueCount++
    for (const source of this.sources.get(queue.family)?.values() ?? []) {
      if (matches(source.pattern, queue.route)) source.queues.push(queue)
    }
  }

  /** Forgets queues that hold nothing and are asked for nothing; at most once a second. */
  private sweep(now: Millis): void {
    if (now - this.sweptMs < 1_000) return
    this.sweptMs = now
    const swept = new Set<Queue>()
    for (const family of this.queues.values()) {
      for (const [text, queue] of family) {
        const held = queue.ready + queue.delayed + queue.dead + queue.reserved.size + queue.waits.size
        if (held > 0 || this.touched.has(queue)) continue
        family.delete(text)
        this.catalog.remove(queue.family, queue.route.segments)
        this.delaysDue.remove(queue)
        this.oldest.remove(queue.oldest)
        swept.add(queue)
      }
    }
    this.queueCount -= swept.size
    for (const sources of this.sources.values()) {
      for (const { queues } of sources.values()) {
        const kept = queues.filter(queue => !swept.has(queue))
        queues.splice(0, queues.length, ...kept)
      }
    }
  }

  private own(reservation: Reservation): void {
    reservation.queue.reserved.set(reservation.id, reservation)
    reservation.queue.tally.inflight++
    this.reservations.add(reservation)
    this.owners.add(reservation.session, reservation)
  }

  private disown(reservation: Reservation): void {
    reservation.queue.reserved.delete(reservation.id)
    reservation.queue.tally.inflight--
    this.reservations.remove(reservation)
    this.owners.remove(reservation.session, reservation)
  }

  // ── operators ──────────────────────────────────────────────────────────────────────────────────────────

  /** After a commit: keeps what is known of the age of a queue, and whether it is under pressure. */
  private weigh(queue: Queue): void {
    const holds = queue.ready + queue.delayed + queue.reserved.size > 0
    if (!holds) this.shrink(queue)
    else if (queue.age === null) this.grow(queue, this.nowMs)
    else queue.age.sure = false
    const isPressed = queue.ready >= PRESSED_READY || queue.dead > 0
    if (!isPressed) this.pressed.delete(queue)
    else if (this.pressed.size < PRESSED_MAX) this.pressed.add(queue)
  }

  private grow(queue: Queue, sinceMs: Millis): void {
    const age: Age = { queue, sure: false, dueMs: sinceMs, order: queue.oldest.order, heapAt: -1 }
    queue.age = age
    queue.tally.ages.add(age)
  }

  private shrink(queue: Queue): void {
    if (queue.age === null) return
    queue.tally.ages.remove(queue.age)
    queue.age = null
  }

  /** Since when the oldest message of a realm is there: looks up only those that could be the oldest. */
  private oldestOf(tally: Tally): Millis | null {
    for (let looks = 0; looks < AGES_PER_LOOK; looks++) {
      const first = tally.ages.first(Number.POSITIVE_INFINITY)
      if (first === null || first.sure) break
      this.makeSure(first)
      tally.ages.moved(first)
    }
    return tally.ages.nextMs
  }

  private makeSure(age: Age): void {
    age.dueMs = this.store.oldestMs(age.queue.backlog.queue) ?? age.dueMs
    age.sure = true
  }

  private oldestOfQueue({ age, tally }: Queue): Millis | null {
    if (age === null) return null
    if (!age.sure) {
      this.makeSure(age)
      tally.ages.moved(age)
    }
    return age.dueMs
  }

  *realms(): Generator<string> {
    yield* this.catalog.realms(null)
  }

  command(command: QueueCommand, context: Context): QueueOutcomes[keyof QueueOutcomes] {
    this.nowMs = context.now
    const queue = this.catalog.get(command.family, command.segments)
    const stored = queue === undefined ? null : this.store.deadLetter(queue.backlog.queue, command.message)
    if (queue === undefined || stored === null) return NO_LETTER
    if (!context.writable) return FULL_DISK
    const { letter, body } = stored
    const replays = command.name === "replay"
    if (replays && letter.reason === "undeliverable")
      return refuse("invalid_payload", "no reply could carry this message: it would only stand in the way")
    this.store.dropDead(queue.backlog.queue, letter.id)
    this.count(queue, "dead", -1, context)
    this.touched.add(queue)
    context.wrote("sync")
    const what = `dead letter ${letter.id} was ${replays ? "replayed" : "purged"}`
    this.timeline.note("transition", context.now, queue.family, queue.route.segments, what)
    if (replays) this.revive(queue, letter, body, context)
    return { done: true }
  }

  private revive(queue: Queue, letter: DeadLetter, body: Uint8Array, context: Context): void {
    const ripe = queue.backlog.ripen(context.now, context.journal)
    this.count(queue, "delayed", -ripe, context)
    const { id, enqueuedAtMs } = letter
    const ready = queue.backlog.revive(id, spanOf(body), enqueuedAtMs, context.now, context.journal)
    if (!ready) {
      this.count(queue, "delayed", 1, context)
      this.expect(queue, context.now + 1)
    }
    if (ripe > 0 || ready) this.becomeReady(queue, ripe + (ready ? 1 : 0), context)
    // The message is older than what the queue may have held before.
    const before = queue.age
    this.shrink(queue)
    this.grow(queue, Math.min(enqueuedAtMs, context.now))
    context.journal.undo(() => {
      this.shrink(queue)
      queue.age = before
      if (before !== null) queue.tally.ages.add(before)
    })
  }

  view(query: QueueQuery, now: Millis): QueueAnswers[keyof QueueAnswers] {
    switch (query.name) {
      case "realms":
        return pageOf(this.catalog.realms(query.family), query.page)
      case "areas":
        return pageOf(this.catalog.areas(query.family, query.realm), query.page)
      case "resources": {
        const { family, realm, area } = query
        const { total, rows } = pageOf(this.catalog.resources(family, realm, area), query.page)
        return { total, rows: rows.map(resource => this.resource({ family, realm, area, resource }, now)) }
      }
      case "events":
        return this.timeline.of(query.place, query.limit)
      case "search":
        return this.search(query)
      case "stats":
        return this.stats(query.family, query.realm, now)
      case "resource":
        return this.resource(query.place, now)
      case "inflight":
        return this.inflight(query)
      case "dead":
        return this.deadLetters(query)
      case "hotspots":
        return this.hotspots(query)
    }
  }

  private leaves({ family, realm, area, resource }: PlaceAsk): Queue[] {
    return this.catalog.leaves(family, [realm, area, resource])
  }

  private stats(family: number | null, realm: string | null, now: Millis): QueueStats {
    const tallies = this.tallies.select(family, realm)
    const oldest = tallies.map(tally => this.oldestOf(tally)).filter(ms => ms !== null)
    const perSecond = (name: "enqueue" | "reserve" | "complete" | "other"): number =>
      sumOf(tallies, tally => tally[name].perSecond(now))
    const by = {
      enqueue: perSecond("enqueue"),
      reserve: perSecond("reserve"),
      complete: perSecond("complete"),
    }
    return {
      ready: sumOf(tallies, tally => tally.ready),
      delayed: sumOf(tallies, tally => tally.delayed),
      inflight: sumOf(tallies, tally => tally.inflight),
      dead: sumOf(tallies, tally => tally.dead),
      oldestMs: oldest.length === 0 ? null : Math.min(...oldest),
      expired: sumOf(tallies, tally => tally.expired),
      buried: sumOf(tallies, tally => tally.buried),
      waiting: this.waitsDue.size,
      operations: { all: by.enqueue + by.reserve + by.complete + perSecond("other"), by },
    }
  }

  private countsOf(queues: readonly Queue[]): QueueCounts {
    const oldest = queues.map(queue => this.oldestOfQueue(queue)).filter(ms => ms !== null)
    return {
      ready: sumOf(queues, queue => queue.ready),
      delayed: sumOf(queues, queue => queue.delayed),
      inflight: sumOf(queues, queue => queue.reserved.size),
      dead: sumOf(queues, queue => queue.dead),
      oldestMs: oldest.length === 0 ? null : Math.min(...oldest),
    }
  }

  private resource(place: PlaceAsk, now: Millis): QueueResource {
    const queues = this.leaves(place)
    return {
      resource: place.resource,
      ...this.countsOf(queues),
      families: queues.length,
      inPerSecond: sumOf(queues, queue => queue.inRate.perSecond(now)),
      outPerSecond: sumOf(queues, queue => queue.outRate.perSecond(now)),
      waiting: sumOf(queues, queue => queue.waits.size),
    }
  }

  private inflight({ place, page }: Extract<QueueQuery, { name: "inflight" }>): Page<InflightRow> {
    const held = this.leaves(place).flatMap(queue => [...queue.reserved.values()])
    held.sort((a, b) => a.dueMs - b.dueMs || a.queue.family - b.queue.family || a.id - b.id)
    const { total, rows } = pageOf(held, page)
    const shown = rows.map(({ queue, id, token, session, dueMs, message }) => ({
      id,
      family: queue.family,
      token,
      session,
      expiresAtMs: dueMs,
      attempts: message.attempts,
    }))
    return { total, rows: shown }
  }

  private deadLetters({ place, page }: Extract<QueueQuery, { name: "dead" }>): Page<DeadRow> {
    const queues = this.leaves(place).filter(queue => queue.dead > 0)
    const total = sumOf(queues, queue => queue.dead)
    const rowsOf = ({ family, backlog }: Queue, offset: number, limit: number): DeadRow[] =>
      this.store
        .dead(backlog.queue, offset, limit)
        .map(({ id, deadAtMs, attempts, reason }) => ({ id, family, deadAtMs, attempts, reason }))
    const { offset, limit } = page
    const [only] = queues
    if (only === undefined) return { total, rows: [] }
    if (queues.length === 1) return { total, rows: rowsOf(only, offset, limit) }
    const rows = queues.flatMap(queue => rowsOf(queue, 0, offset + limit))
    rows.sort((a, b) => a.deadAtMs - b.deadAtMs || a.family - b.family || a.id - b.id)
    return { total, rows: rows.slice(offset, offset + limit) }
  }

  private hotspots({ realm, limit }: Extract<QueueQuery, { name: "hotspots" }>): QueueHotspot[] {
    const queues = [...this.pressed].filter(({ route }) => realm === null || route.segments[0] === realm)
    queues.sort((a, b) => b.dead - a.dead || b.ready - a.ready)
    return queues.slice(0, limit).map(queue => ({
      family: queue.family,
      segments: queue.route.segments,
      counts: this.countsOf([queue]),
      waiting: queue.waits.size,
    }))
  }

  private search({ text, realm, limit }: Extract<QueueQuery, { name: "search" }>): QueueAnswers["search"] {
    const found: Found[] = []
    const page = this.catalog.page(null, realm, { offset: 0, limit: SEARCHED_MAX })
    for (const { route, family, ready, dead, reserved } of page.rows) {
      if (!route.text.includes(text)) continue
      if (found.length >= limit) return { found, truncated: true }
      const [inRealm, area, resource] = route.segments.map(encodeURIComponent)
      found.push({
        domain: "queue",
        kind: "queue",
        title: route.text,
        summary: `family ${family}: ${ready} ready, ${reserved.size} inflight, ${dead} dead`,
        healthy: dead === 0,
        path: `queue/realms/${inRealm}/areas/${area}/resources/${resource}?family=${family}`,
        fields: ["route"],
      })
    }
    return { found, truncated: page.total > page.rows.length }
  }
}

const NO_LETTER: Refused = refuse("not_found", "there is no such dead letter")
const FULL_DISK: Refused = refuse("unavailable", "the disk is full, refusing writes")
const NO_ROOM_USED = { bytes: 0, items: 0 } as const
const EMPTY_COUNTS: StoredCounts = { ready: 0, delayed: 0, dead: 0, logEnd: 0, hasAttempts: false }
/** Worded so that the public client knows nothing was stored and tries again (PROTOCOL.md, Q-3). */
const NOT_STORED = QUEUE_FAULTS.backend.because(
  "failed to commit transaction: the disk is full, refusing writes",
)
