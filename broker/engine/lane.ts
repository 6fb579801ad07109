// A lane: one turn at a time over the domains that live on it (docs/PROTOCOL.md, O-*). It decides order,
// permission and envelope; the domains decide everything else. Nothing leaves before the turn's commit.
//
//   begin ─▶ leave* ─▶ expire ─▶ request* ─▶ walk* ─▶ flush ─▶ commit ─▶ outgoing frames
//     ▲                                                  │
//     └──────────── undone, and run again ◀──────────────┘ the disk is full, or a request threw

import { Reader, type Span, viewOf } from "../../protocol/bytes.ts"
import { Fault } from "../../protocol/fault.ts"
import { beginFrame, endFrame } from "../../protocol/frame.ts"
import { writeFailure, writeSuccess } from "../../protocol/message.ts"
import {
  CLIENT_MESSAGES,
  type ClientMessage,
  DOMAIN_FAULTS,
  TYPES_END,
} from "../../protocol/messages/index.ts"
import {
  NOTICE_NOTIFY,
  NOTICE_PUBLISH,
  type NoticePublish,
  publishesTo,
} from "../../protocol/messages/notice.ts"
import { writeCallFault } from "../../protocol/messages/rpc.ts"
import type { Grants } from "../../protocol/permission.ts"
import { type Route, RouteTable, type Scheme } from "../../protocol/route.ts"
import {
  type Context,
  type Domain,
  type Event,
  type Millis,
  type Outcome,
  PARKED,
  type Session,
  type SessionId,
  SILENT,
  Unfinished,
} from "../domains/domain.ts"
import { Journal } from "../domains/journal.ts"
import { Realms } from "../domains/realms.ts"
import type { Registration } from "../domains/registrations.ts"
import { refuse } from "../domains/views/common.ts"
import type { AnswerTo, Command, OutcomeOf, Query, Subject } from "../domains/views/index.ts"
import { type NoticeRoom, Outbox, type Outgoing } from "./outbox.ts"
import { type Tally, TurnTally } from "./tally.ts"

/** A client as a lane knows it. */
export class LaneSession implements Session {
  readonly id: SessionId
  readonly family: number
  readonly grants: Grants
  registrations = 0
  registrationsElsewhere = 0
  /** What has to wait for something of its own: null nearly always. */
  gates: Map<string, Gate> | null = null

  constructor(id: SessionId, family: number, grants: Grants) {
    this.id = id
    this.family = family
    this.grants = grants
  }
}

/** Requests that stand behind a parked one of their type, or behind a walk of their domain. */
interface Gate {
  /** Payload bytes of the request that closed it. */
  readonly bytes: number
  readonly held: Held[]
  /** How many of them wait for something themselves. */
  waits: number
}

interface Held {
  readonly message: ClientMessage
  readonly request: unknown
  readonly payload: Span
}

/** A reply that takes several turns. */
interface Walk {
  readonly session: LaneSession
  readonly message: ClientMessage
  readonly payload: Span
  go(): Outcome<unknown>
}

/** What keeps a lane's decisions. */
export interface TurnStore {
  begin(): void
  /** Throws where it could not; then nothing of the turn is stored once it was rolled back. */
  commit(sync: boolean): void
  rollback(): void
  /** Did the disk run out of room? */
  isFull(error: unknown): boolean
  /** Did the store itself fail for good? */
  isFatal(error: unknown): boolean
  /** After it was full: is there room again? */
  hasRoom(): boolean
  /** Brings everything committed so far to disk. */
  sync(): void
}

export interface LaneOptions {
  readonly domains: { readonly [D in Scheme]?: Domain<never, unknown> }
  /** Null for a lane that keeps nothing. */
  readonly store: TurnStore | null
  /** 1 or 2: lanes draw their ids from separate halves, so that an id is unique in the process. */
  readonly firstId: 1 | 2
  readonly random: () => number
  readonly noticeRoom: NoticeRoom
  readonly tally: Tally
  /** Milliseconds that never jump, the same in both threads; only for measuring. */
  readonly elapsedMs: () => number
  /** Long polls and lease waits of one client. */
  readonly parkedMax: number
  /** A request threw: the bug is reported, the request refused, the turn goes on. */
  readonly onBug: (error: unknown, name: string) => void
  /** The store takes writes again, or no more. */
  readonly onWritable: (writable: boolean) => void
  /** What is known of declared realms. */
  readonly realms?: Realms
  /** Answers what is asked of realms, on the lane that keeps them. */
  readonly book?: Operated
}

/** What an operator may ask and order things of: a domain, or the book of realms. */
export type Operated = Pick<Domain<never, unknown>, "view" | "command">

/** Buffered work is brought to disk this soon. */
const SYNC_WITHIN_MS = 100
/** A full store is asked this often whether it has room again. */
const ROOM_EVERY_MS = 1_000
/** Walks that go on in one turn. */
const WALKS_PER_TURN = 4

/** What a bug is reported of, and whose backend fault answers it. */
interface Faulty {
  readonly domain: Scheme
  readonly row: { readonly name: string }
}

/** Ends a turn that has to run again without this request. */
class Refusal extends Error {
  readonly request: number

  constructor(request: number, cause: unknown) {
    super("a request threw", { cause })
    this.request = request
  }
}

export class Lane {
  private readonly options: LaneOptions
  private readonly all: readonly Domain<never, unknown>[]
  private readonly named: readonly (readonly [Scheme, Domain<never, unknown>])[]
  private readonly messages: (ClientMessage | undefined)[] = new Array(TYPES_END).fill(undefined)
  private readonly sessions = new Map<SessionId, LaneSession>()
  private readonly routes = new RouteTable()
  private readonly reader = new Reader()
  private readonly journal = new Journal()
  private readonly outbox: Outbox
  private readonly context: Context & { now: Millis; draining: boolean; writable: boolean }
  private readonly gone = new Set<SessionId>()
  private events: Event[] = []
  private delivering = false
  private walks: Walk[] = []
  private nextId: number
  private now: Millis = 0
  private wrote = false
  private mustSync = false
  /** When buffered work has to be on disk; null when it is. */
  private syncDueMs: Millis | null = null
  private roomDueMs: Millis | null = null
  private request = 0
  /**
   * The last request of this turn, where it was a publish. A turn is a function: the same publish again, with
   * nothing in between, has the same followers.
   */
  private repeat: {
    readonly session: LaneSession
    readonly route: Route
    readonly followers: readonly Registration[]
  } | null = null
  /** Whom the request being judged has notified last. */
  private notified: readonly Registration[] | null = null
  private readonly refused = new Set<number>()
  private readonly realms: Realms
  private readonly operated: { readonly [S in Subject]?: Operated }
  private readonly turnTally = new TurnTally()
  /** When the oldest request of this turn arrived; null where nothing came in. */
  private arrivedMs: number | null = null

  constructor(options: LaneOptions) {
    this.options = options
    this.nextId = options.firstId
    this.all = Object.values(options.domains)
    this.realms = options.realms ?? new Realms()
    this.operated =
      options.book === undefined ? options.domains : { ...options.domains, realms: options.book }
    this.named = Object.entries(options.domains) as [Scheme, Domain<never, unknown>][]
    for (const [type, message] of CLIENT_MESSAGES) {
      if (options.domains[message.domain] !== undefined) this.messages[type] = message
    }
    this.outbox = new Outbox(options.noticeRoom)
    this.context = {
      now: 0,
      journal: this.journal,
      draining: false,
      gone: this.gone,
      writable: true,
      emit: event => this.events.push(event),
      wrote: durability => {
        this.wrote = true
        if (durability === "sync") this.mustSync = true
      },
      nextId: () => {
        const id = this.nextId
        this.nextId += 2
        return id
      },
      random: options.random,
    }
  }

  /** Does this lane own the message type? */
  owns(type: number): boolean {
    return this.messages[type] !== undefined
  }

  session(id: SessionId): LaneSession | undefined {
    return this.sessions.get(id)
  }

  open(session: LaneSession): void {
    this.sessions.set(session.id, session)
  }

  /** When the next turn has to happen although nothing comes in; null: not before something does. */
  nextDue(): Millis | null {
    if (this.walks.length > 0) return this.now
    let due: Millis | null = null
    for (const domain of this.all) due = earlier(due, domain.nextDue())
    due = earlier(due, this.syncDueMs)
    return earlier(due, this.roomDueMs)
  }

  // ── a turn of a lane that keeps nothing: begin, any of the following, end ──────────────────────────────

  /** Begins a turn: the one moment at which it all happens. `arrivedMs` as `elapsedMs` counts. */
  begin(now: Millis, arrivedMs: number | null): void {
    this.now = Math.max(now, this.now)
    this.arrivedMs = arrivedMs
    this.context.now = this.now
    this.gone.clear()
    this.request = 0
    this.repeat = null
    this.wrote = false
    this.mustSync = false
    this.options.store?.begin()
  }

  /** A client is gone; what it had sent and was not handled yet is not handled any more. */
  leave(id: SessionId): void {
    const session = this.sessions.get(id)
    if (session === undefined) return
    this.sessions.delete(id)
    this.gone.add(id)
    this.repeat = null
    this.outbox.forget(id)
    this.journal.undo(() => this.sessions.set(id, session))
    for (const domain of this.all) domain.leave(id, this.context)
    this.deliver()
  }

  /** Time has passed. */
  expire(): void {
    for (const domain of this.all) {
      const due = domain.nextDue()
      if (due !== null && due <= this.now) domain.expire(this.context)
    }
    this.deliver()
  }

  /** Programs are being sent away: what waits is answered, and nothing begins to wait. */
  drain(): void {
    if (this.context.draining) return
    this.context.draining = true
    this.journal.undo(() => {
      this.context.draining = false
    })
    for (const domain of this.all) domain.drain(this.context)
    this.deliver()
  }

  /** Judges one request; the payload is `bytes[payload, end)`. */
  receive(
    session: LaneSession,
    type: number,
    bytes: Uint8Array,
    view: DataView,
    payload: number,
    end: number,
  ): void {
    const { repeat } = this
    if (repeat !== null) {
      if (
        type === NOTICE_PUBLISH &&
        repeat.session === session &&
        publishesTo(repeat.route, bytes, view, payload, end)
      ) {
        this.turnTally.request(type)
        this.outbox.notify(NOTICE_NOTIFY, repeat.followers, bytes, view, payload, end)
        this.options.domains.notice?.again?.()
        return
      }
      this.repeat = null
    }
    this.notified = null
    const message = this.messages[type]!
    if (session.gates !== null) {
      const gate = session.gates.get(message.domain) ?? session.gates.get(gateOf(type))
      if (gate !== undefined) {
        this.hold(gate, message, { bytes: bytes.slice(payload, end), start: 0, end: end - payload })
        return
      }
    }
    const request = message.row.read(this.reader.reset(bytes, view, payload, end), this.routes)
    this.judge(session, message, request, bytes, payload, end)
    if (type === NOTICE_PUBLISH && this.notified !== null) {
      this.repeat = { session, route: (request as NoticePublish).route, followers: this.notified }
    }
  }

  /** Lets replies that take several turns go on. */
  walk(): void {
    if (this.walks.length === 0) return
    const { walks } = this
    this.journal.undo(() => {
      this.walks = walks
    })
    this.walks = walks.slice(WALKS_PER_TURN)
    for (const walk of walks.slice(0, WALKS_PER_TURN)) {
      const { session, message, payload } = walk
      if (!this.sessions.has(session.id)) continue
      const mark = this.journal.mark()
      const heard = this.events.length
      const outcome = this.resume(walk)
      if (outcome instanceof Unfinished) {
        this.walks = [...this.walks, { ...walk, go: outcome.go }]
        continue
      }
      try {
        this.reply(session, message, payload, outcome)
      } catch (error) {
        this.reply(session, message, payload, this.bug(error, message, this.request - 1, mark, heard))
      }
      this.release(session, message.domain)
    }
  }

  /** Ends a turn that keeps nothing and hands out what it sends. */
  *end(): Generator<Outgoing> {
    this.journal.clear()
    yield* this.outbox.take()
    this.settle()
  }

  get quiet(): boolean {
    return this.outbox.empty
  }

  // ── a turn of a lane that keeps something ──────────────────────────────────────────────────────────────

  /**
   * Runs a whole turn and commits it: first the clients that left, then time, then `inbound`, which plays what
   * came in through `open`, `receive` and `drain` and is played again where the turn has to be undone. Throws
   * where the store failed for good.
   */
  *turn(
    now: Millis,
    arrivedMs: number | null,
    store: TurnStore,
    left: readonly SessionId[],
    inbound: () => void,
  ): Generator<Outgoing> {
    this.refused.clear()
    for (;;) {
      try {
        this.begin(now, arrivedMs)
        for (const id of left) this.gone.add(id)
        for (const id of left) this.leave(id)
        this.expire()
        inbound()
        this.walk()
        for (const domain of this.all) domain.flush?.(this.context)
        store.commit(this.mustSync)
        break
      } catch (error) {
        this.undo(store)
        if (error instanceof Refusal) this.refused.add(error.request)
        else {
          this.options.tally.add("commitErrors", 1)
          if (!store.isFull(error) || !this.context.writable) throw error
          this.setWritable(false)
        }
      }
    }
    this.journal.clear()
    for (const domain of this.all) domain.committed?.()
    this.keepSynced(store)
    yield* this.outbox.take()
    this.settle()
  }

  /** The turn stands: what it has counted is told. */
  private settle(): void {
    const { tally, elapsedMs } = this.options
    this.turnTally.settle(tally, this.arrivedMs === null ? 0 : (elapsedMs() - this.arrivedMs) / 1_000)
    const { frames, dropped, undeliverable } = this.outbox.takeCounts()
    tally.add("framesSent", frames)
    tally.add("noticesDropped", dropped)
    tally.add("undeliverable", undeliverable)
    for (const [name, domain] of this.named) tally.figures(name, domain.figures(this.now))
  }

  private undo(store: TurnStore): void {
    this.turnTally.discard()
    this.outbox.discard()
    this.events = []
    this.delivering = false
    this.journal.rollback(0)
    store.rollback()
  }

  /** The store is known to be full before anything was tried. */
  refuseWrites(now: Millis): void {
    this.now = Math.max(now, this.now)
    this.setWritable(false)
  }

  private setWritable(writable: boolean): void {
    this.context.writable = writable
    this.roomDueMs = writable ? null : this.now + ROOM_EVERY_MS
    this.options.onWritable(writable)
  }

  /** After the commit: buffered work gets its deadline or its sync, a full store is asked for room. */
  private keepSynced(store: TurnStore): void {
    if (this.mustSync) this.syncDueMs = null
    else if (this.wrote) this.syncDueMs ??= this.now + SYNC_WITHIN_MS
    if (this.syncDueMs !== null && this.syncDueMs <= this.now) {
      store.sync()
      this.syncDueMs = null
    }
    if (this.roomDueMs === null || this.roomDueMs > this.now) return
    if (store.hasRoom()) this.setWritable(true)
    else this.roomDueMs = this.now + ROOM_EVERY_MS
  }

  // ── operators ──────────────────────────────────────────────────────────────────────────────────────────

  /** Does this lane answer for the subject? */
  answersFor(subject: Subject): boolean {
    return this.operated[subject] !== undefined
  }

  /** Answers from what is committed. To be called between turns, or at the end of a turn that keeps nothing. */
  ask<Q extends Query>(query: Q, now: Millis): AnswerTo<Q> {
    return this.operated[query.domain]!.view!(query as never, Math.max(now, this.now)) as AnswerTo<Q>
  }

  /** Carries out a command, within a turn. */
  order<C extends Command>(command: C): OutcomeOf<C> {
    const number = this.request++
    const broken = refuse("internal", "the command could not be carried out") as OutcomeOf<C>
    if (this.refused.has(number)) return broken
    this.repeat = null
    const mark = this.journal.mark()
    const heard = this.events.length
    try {
      const outcome = this.operated[command.domain]!.command!(command as never, this.context)
      this.deliver()
      return outcome as OutcomeOf<C>
    } catch (error) {
      const name = `${command.domain} ${command.name}`
      this.bug(error, { domain: "kv", row: { name } }, number, mark, heard)
      return broken
    }
  }

  /** Realms known by their use on this lane. */
  *usedRealms(): Generator<string> {
    yield* this.realms.used
    for (const domain of this.all) if (domain.realms !== undefined) yield* domain.realms()
  }

  // ── one request ────────────────────────────────────────────────────────────────────────────────────────

  private judge(
    session: LaneSession,
    message: ClientMessage,
    request: unknown,
    bytes: Uint8Array,
    payload: number,
    end: number,
  ): void {
    const mark = this.journal.mark()
    const heard = this.events.length
    const outcome = this.decide(session, message, request)
    if (outcome === PARKED) this.gate(session, gateOf(message.row.type), end - payload)
    else if (outcome instanceof Unfinished) {
      this.gate(session, message.domain, end - payload)
      const { walks } = this
      this.walks = [...walks, { session, message, payload: lengthOnly(end - payload), go: outcome.go }]
      this.journal.undo(() => {
        this.walks = walks
      })
    } else if (outcome !== SILENT) {
      const span = { bytes, start: payload, end }
      try {
        this.reply(session, message, span, outcome)
      } catch (error) {
        this.reply(session, message, span, this.bug(error, message, this.request - 1, mark, heard))
      }
    }
    if (this.events.length > 0) this.deliver()
  }

  /** Route, then permission, then the domain (PROTOCOL.md, P-6). */
  private decide(session: LaneSession, message: ClientMessage, request: unknown): Outcome<unknown> {
    if (request instanceof Fault) return request
    const { row, domain } = message
    const number = this.request++
    if (this.refused.has(number)) {
      this.options.domains[domain]!.abandon?.(request as never, session, this.context)
      return DOMAIN_FAULTS[domain].backend
    }
    const mark = this.journal.mark()
    const heard = this.events.length
    try {
      const { needs } = row
      if (needs !== undefined) {
        const target: Route = needs.target(request as never)
        if (!session.grants.allow(target, needs.access(request as never)) || !this.realms.permits(target))
          return DOMAIN_FAULTS[domain].unauthorized
      }
      this.turnTally.request(row.type)
      return this.options.domains[domain]!.handle(request as never, session, this.context)
    } catch (error) {
      return this.bug(error, message, number, mark, heard)
    }
  }

  private resume(walk: Walk): Outcome<unknown> {
    const number = this.request++
    if (this.refused.has(number)) return DOMAIN_FAULTS[walk.message.domain].backend
    const mark = this.journal.mark()
    const heard = this.events.length
    try {
      return walk.go()
    } catch (error) {
      return this.bug(error, walk.message, number, mark, heard)
    }
  }

  /**
   * A request threw, which is a bug: it is reported, its effects are undone, and it gets its domain's backend
   * fault. Where rows may have been written, undoing means to run the turn again without the request.
   */
  private bug(error: unknown, { row, domain }: Faulty, number: number, mark: number, heard: number): Fault {
    const { store } = this.options
    if (store?.isFull(error) === true) {
      // Where writes are refused already, a read wanted room: it alone is refused.
      throw this.context.writable ? error : new Refusal(number, error)
    }
    if (store?.isFatal(error) === true) throw error
    this.options.onBug(error, row.name)
    if (store !== null) throw new Refusal(number, error)
    this.journal.rollback(mark)
    this.events.length = heard
    return DOMAIN_FAULTS[domain].backend
  }

  private reply(
    session: LaneSession,
    message: ClientMessage,
    payload: Span,
    outcome: Outcome<unknown>,
  ): void {
    const { row } = message
    if (outcome instanceof Fault) {
      this.turnTally.fault(outcome.code)
      if (row.envelope === "none" && row.refuse === undefined) return
    }
    const writer = this.outbox.frame(session.id)
    const start = writer.at
    try {
      if (outcome instanceof Fault) writeFailure(writer, row, payload, outcome)
      else writeSuccess(writer, row, outcome as never)
    } catch (error) {
      // Half a frame must not go out.
      writer.at = start
      throw error
    }
    if (row.envelope !== "none") {
      this.outbox.answered(session.id, payload.end - payload.start, message.registers)
    }
  }

  // ── gates ──────────────────────────────────────────────────────────────────────────────────────────────

  private gate(session: LaneSession, key: string, bytes: number): void {
    session.gates ??= new Map()
    const { gates } = session
    gates.set(key, { bytes, held: [], waits: 0 })
    this.journal.undo(() => {
      gates.delete(key)
      if (gates.size === 0) session.gates = null
    })
  }

  private hold(gate: Gate, message: ClientMessage, payload: Span): void {
    let request: unknown = message.row.read(
      this.reader.reset(payload.bytes, viewOf(payload.bytes), 0, payload.end),
      this.routes,
    )
    const fault =
      request instanceof Fault
        ? null
        : (this.options.domains[message.domain]!.waitFault?.(request as never) ?? null)
    if (fault !== null) {
      // The parked one counts as well.
      if (gate.waits + 1 >= this.options.parkedMax) request = fault
      else gate.waits++
    }
    const waits = fault !== null && request !== fault
    gate.held.push({ message, request, payload })
    this.journal.undo(() => {
      gate.held.pop()
      if (waits) gate.waits--
    })
  }

  /** What stood behind a gate goes on, until something of it closes the gate again. */
  private release(session: LaneSession, key: string): void {
    const gates = session.gates
    const gate = gates?.get(key)
    if (gates === null || gate === undefined) return
    gates.delete(key)
    if (gates.size === 0) session.gates = null
    this.journal.undo(() => {
      session.gates = gates
      gates.set(key, gate)
    })
    for (const { message, request, payload } of gate.held) {
      const again = session.gates?.get(message.domain) ?? session.gates?.get(gateOf(message.row.type))
      if (again === undefined)
        this.judge(session, message, request, payload.bytes, payload.start, payload.end)
      else {
        again.held.push({ message, request, payload })
        this.journal.undo(() => again.held.pop())
      }
    }
  }

  // ── events ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Puts what the domains said into frames. An answer may let held requests go on, which say more. */
  private deliver(): void {
    if (this.delivering) return
    this.delivering = true
    for (let at = 0; at < this.events.length; at++) {
      const event = this.events[at]!
      if (event.kind === "notify") {
        const { bytes, start, end } = event.tail
        this.notified = event.followers
        this.outbox.notify(event.type, event.followers, bytes, this.viewOver(bytes), start, end)
      } else this.send(event)
    }
    this.events.length = 0
    this.delivering = false
  }

  private viewed: { readonly bytes: Uint8Array; readonly view: DataView } | null = null

  /** The view over a buffer; the publishes of a turn share theirs. */
  private viewOver(bytes: Uint8Array): DataView {
    if (this.viewed?.bytes !== bytes) this.viewed = { bytes, view: viewOf(bytes) }
    return this.viewed.view
  }

  private send(event: Exclude<Event, { kind: "notify" }>): void {
    const session = this.sessions.get(event.session)
    if (session === undefined || this.gone.has(event.session)) return
    switch (event.kind) {
      case "answer": {
        const message = this.messages[event.type]!
        this.reply(
          session,
          message,
          lengthOnly(session.gates?.get(gateOf(event.type))?.bytes ?? 0),
          event.reply,
        )
        this.release(session, gateOf(event.type))
        return
      }
      case "push": {
        const { row } = this.messages[event.type]!
        const writer = this.outbox.frame(session.id)
        if (event.reply instanceof Fault) {
          this.turnTally.fault(event.reply.code)
          writeFailure(writer, row, lengthOnly(0), event.reply)
        } else writeSuccess(writer, row, event.reply as never)
        return
      }
      case "forward": {
        const writer = this.outbox.frame(session.id)
        const start = beginFrame(writer, event.type)
        writer.raw(event.payload.bytes, event.payload.start, event.payload.end)
        endFrame(writer, start)
        return
      }
      case "callFault":
        this.turnTally.fault(event.fault.code)
        writeCallFault(this.outbox.frame(session.id), event.correlation, event.fault)
    }
  }
}

const NOTHING = new Uint8Array(0)

/** Stands for a payload whose bytes are gone and whose length still counts. */
function lengthOnly(bytes: number): Span {
  return { bytes: NOTHING, start: 0, end: bytes }
}

function gateOf(type: number): string {
  return `type ${type}`
}

function earlier(a: Millis | null, b: Millis | null): Millis | null {
  if (a === null || b === null) return a ?? b
  return Math.min(a, b)
}
