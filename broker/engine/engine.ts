// The engine: sessions, and both lanes as one thing to the doors (docs/ARCHITECTURE.md). The live lane runs
// here, beside the sockets; frames for the durable lane are handed on as bytes. It counts what is under way
// for each client and stops reading from those that have too much.

import { CLIENT_MESSAGES } from "../../protocol/messages/index.ts"
import { NOTICE_PUBLISH } from "../../protocol/messages/notice.ts"
import type { Millis, SessionId } from "../domains/domain.ts"
import { Rate } from "../domains/rates.ts"
import type { Page, PageAsk } from "../domains/views/common.ts"
import type { AnswerTo, Command, OutcomeOf, Query } from "../domains/views/index.ts"
import { batchesDone, InboundBatch, returnedOf } from "./batch.ts"
import { sessionOf } from "./durable.ts"
import type { Lane, LaneSession } from "./lane.ts"

/** Who a client is, once that has been verified. */
export interface Identity {
  readonly family: number
  /** `pattern#access` strings; null allows everything. */
  readonly permissions: readonly string[] | null
  /** The session's own realm label; absent or "": none. */
  readonly realm?: string
  readonly subject?: string
  /** The value of the identity claim. */
  readonly identity?: string
}

/** Where a client connects from, and how. */
export interface Peer {
  readonly transport: "websocket" | "tcp"
  /** `ip:port`. */
  readonly remoteAddr: string
}

const NOWHERE: Peer = { transport: "tcp", remoteAddr: "" }

/** A session as an operator sees it. */
export interface SessionRow extends Peer {
  readonly id: SessionId
  readonly family: number
  readonly realm: string
  readonly subject: string
  readonly identity: string
  readonly connectedAtMs: Millis
  readonly lastMs: Millis
  readonly received: number
  readonly sent: number
}

/** Why the broker ends a connection. */
export type Ending = "slow" | "draining" | "violation" | "closed"

/** A connection, as the engine needs it. */
export interface Client {
  /** Sends whole frames in the outer form, and calls `release`, if any, when it needs them no longer. */
  write(frames: Uint8Array, release: (() => void) | null): void
  /** Ends the connection; `leave` follows when it is closed. */
  end(reason: Ending): void
  /** Stops or goes on handing frames to the engine. */
  pause(): void
  resume(): void
  /** Bytes written and not yet taken by the system. */
  readonly pendingBytes: number
  /** Runs the work, once, when no more than so many bytes are pending or the connection is gone. */
  whenBelow(bytes: number, work: () => void): void
}

/** Why a client is not read: it has too much under way, or publishes faster than others can take it. */
const TOO_MUCH = 1
const TOO_FAST = 2

/** A live connection that has been let in. */
export class EngineSession {
  readonly id: SessionId
  readonly client: Client
  readonly lane: LaneSession
  /** Requests at the durable lane that are not answered yet, and their bytes. */
  inflight = 0
  inflightBytes = 0
  /** Registrations at the durable lane, as last heard. */
  registrationsThere = 0
  readonly identity: Identity
  readonly peer: Peer
  readonly connectedAtMs: Millis
  /** When a frame last went either way. */
  lastMs: Millis
  received = 0
  sent = 0
  /** Requests at the durable lane that may make one and are not answered yet. */
  registering = 0
  private holds = 0

  constructor(client: Client, lane: LaneSession, identity: Identity, peer: Peer, now: Millis) {
    this.id = lane.id
    this.client = client
    this.lane = lane
    this.identity = identity
    this.peer = peer
    this.connectedAtMs = now
    this.lastMs = now
  }

  get realm(): string {
    return this.identity.realm ?? ""
  }

  isHeld(reason: number): boolean {
    return (this.holds & reason) !== 0
  }

  /** Stops reading the client, for as long as there is a reason. */
  hold(reason: number): void {
    if (this.holds === 0) this.client.pause()
    this.holds |= reason
  }

  free(reason: number): void {
    if (!this.isHeld(reason)) return
    this.holds &= ~reason
    if (this.holds === 0) this.client.resume()
  }
}

/** The way to the durable lane and back. */
export interface DurableLink {
  /** Hands over a batch. The answer comes through `Engine.returned`. */
  post(batch: Uint8Array): void
  /** Hands over what an operator asks or orders. The answer comes through `Engine.answered`. */
  tell?(asked: Asked): void
}

/** What an operator asks or orders of the durable lane. */
export type Asked =
  | { readonly kind: "query"; readonly id: number; readonly query: Query }
  | { readonly kind: "command"; readonly id: number; readonly command: Command }

export interface EngineLimits {
  readonly inflightMax: number
  readonly inflightBytesMax: number
  /** Of all clients together. */
  readonly inflightTotalBytesMax: number
  /** A receiver this far behind slows down who publishes to it, for a moment. */
  readonly laggingBytes: number
}

export interface EngineOptions {
  readonly live: Lane
  readonly link: DurableLink
  readonly limits: EngineLimits
  readonly now: () => Millis
  /** Milliseconds that never jump; only for measuring. */
  readonly elapsedMs: () => number
  /** Runs the work once everything that has already arrived was taken. */
  readonly soon: (work: () => void) => void
  /** Runs the work at that moment or later; a later call replaces an earlier one. */
  readonly at: (due: Millis, work: () => void) => void
  readonly later: (ms: number, work: () => void) => () => void
  /** How many batches the durable lane has taken. */
  readonly batchesTaken: () => number
  /** Hears of every turn and every answer of the durable lane. */
  readonly happened: () => void
}

/** Batches under way: the second is ready when the first is committed. */
const BATCHES_MAX = 2
/** A publisher waits at most this long for a receiver that lags; one that stays behind loses notices instead. */
const STALL_MS_MAX = 10
/** A turn that has taken so much ends at once: what it sends is still in the processor's cache. */
const TURN_BYTES_MAX = 64 * 1024

export class Engine {
  private readonly options: EngineOptions
  private readonly sessions = new Map<SessionId, EngineSession>()
  private readonly batch = new InboundBatch()
  private batchesOut = 0
  private nextSession = 1
  private turnOpen = false
  private turnBytes = 0
  private inflightBytes = 0
  /** Who has published in this turn. */
  private publishers: EngineSession[] = []
  private lastPublisher: EngineSession | null = null
  /** Clients that are not read because of what all have under way. */
  private readonly held = new Set<EngineSession>()
  private due: Millis | null = null
  private draining = false
  private now: Millis = 0
  private turnFrames = 0
  private readonly byRealm = new Map<string, number>()
  /** What operators ask of the live lane; done when the turn ends. */
  private asked: (() => void)[] = []
  /** Who waits for an answer of the durable lane, by number. */
  private readonly askers = new Map<number, (value: unknown) => void>()
  private nextAsked = 1
  /** Frames from and to clients. */
  readonly framesIn = new Rate()
  readonly framesOut = new Rate()
  /** Since when something waits to be handed to the durable lane. */
  private waitingSinceMs = 0
  /** Frames that clients have sent. */
  framesReceived = 0
  /** Batches handed to the durable lane. */
  batchesPosted = 0
  /** The most batches that were ever handed over and not taken. */
  depthPeak = 0
  /** How often a client was not read on because too much was under way. */
  holds = 0

  constructor(options: EngineOptions) {
    this.options = options
  }

  /** Batches handed to the durable lane that it has not taken yet. */
  get depth(): number {
    return Math.max(0, this.batchesPosted - this.options.batchesTaken())
  }

  /** Is the durable lane at work on something? */
  get laneBusy(): boolean {
    return this.batchesOut > 0
  }

  get sessionCount(): number {
    return this.sessions.size
  }

  /** Lets a client in. */
  enter(client: Client, identity: Identity, peer: Peer = NOWHERE): EngineSession {
    const { family, permissions, realm = "" } = identity
    const opening = { session: this.nextSession++, family, permissions }
    const session = new EngineSession(client, sessionOf(opening), identity, peer, this.options.now())
    this.sessions.set(session.id, session)
    this.byRealm.set(realm, this.sessionsOf(realm) + 1)
    this.options.live.open(session.lane)
    this.batch.open(opening)
    return session
  }

  /**
   * Takes one frame: `bytes[start, end)` with its outer length, the payload from `payload` on. The bytes are
   * lent for the call. False where the type is not for clients to send.
   */
  receive(
    session: EngineSession,
    type: number,
    bytes: Uint8Array,
    view: DataView,
    start: number,
    payload: number,
    end: number,
  ): boolean {
    const { live } = this.options
    this.framesReceived++
    this.openTurn()
    this.turnFrames++
    session.received++
    session.lastMs = this.now
    if (live.owns(type)) {
      // What is under way there counts as made: a burst over both lanes must not pass the limit (M-7).
      session.lane.registrationsElsewhere = session.registrationsThere + session.registering
      live.receive(session.lane, type, bytes, view, payload, end)
      if (type === NOTICE_PUBLISH && this.lastPublisher !== session) this.publishedBy(session)
      this.turnBytes += end - start
      if (this.turnBytes >= TURN_BYTES_MAX) this.endTurn()
      return true
    }
    const message = CLIENT_MESSAGES.get(type)
    if (message === undefined) return false
    if (message.registers) session.registering++
    if (this.batch.empty) this.waitingSinceMs = this.options.elapsedMs()
    this.batch.frames(session.id, session.lane.registrations, bytes, start, end)
    session.inflight++
    session.inflightBytes += end - payload
    this.inflightBytes += end - payload
    this.restrain(session)
    return true
  }

  private publishedBy(session: EngineSession): void {
    this.lastPublisher = session
    this.publishers.push(session)
  }

  /** A connection has closed. */
  leave(session: EngineSession): void {
    if (!this.sessions.delete(session.id)) return
    const inRealm = this.sessionsOf(session.realm) - 1
    if (inRealm > 0) this.byRealm.set(session.realm, inRealm)
    else this.byRealm.delete(session.realm)
    this.held.delete(session)
    this.inflightBytes -= session.inflightBytes
    this.openTurn()
    this.options.live.leave(session.id)
    this.batch.leave(session.id)
    this.relieve()
  }

  /** Nothing waits any more from now on. */
  drain(): void {
    if (this.draining) return
    this.draining = true
    this.openTurn()
    this.options.live.drain()
    this.batch.drain()
  }

  /** Bytes that a client has been given and the system has not taken. */
  pendingBytes(id: SessionId): number {
    return this.sessions.get(id)?.client.pendingBytes ?? 0
  }

  /** The durable lane has finished some batches, or none, and sends this. */
  returned(sent: Uint8Array): void {
    this.batchesOut -= batchesDone(sent)
    this.deliver(sent)
    this.post()
    this.options.happened()
  }

  private deliver(sent: Uint8Array): void {
    const now = this.options.now()
    let sentFrames = 0
    for (const returned of returnedOf(sent)) {
      const { session: id, frames, answered, answeredBytes, count, registering, registrations } = returned
      const session = this.sessions.get(id)
      if (session === undefined) continue
      session.registrationsThere = registrations
      session.registering -= registering
      session.inflight -= answered
      session.inflightBytes -= answeredBytes
      this.inflightBytes -= answeredBytes
      session.sent += count
      session.lastMs = now
      sentFrames += count
      session.client.write(frames, null)
      this.restrain(session)
    }
    if (sentFrames > 0) this.framesOut.add(now, sentFrames)
    this.relieve()
  }

  /** Stops reading a client that has too much under way, and goes on once half of that is answered. */
  private restrain(session: EngineSession): void {
    const { inflightMax, inflightBytesMax, inflightTotalBytesMax } = this.options.limits
    const over = session.inflight >= inflightMax || session.inflightBytes >= inflightBytesMax
    if (over || this.inflightBytes >= inflightTotalBytesMax) {
      if (!over) this.held.add(session)
      if (!session.isHeld(TOO_MUCH)) this.holds++
      session.hold(TOO_MUCH)
    } else if (session.inflight <= inflightMax / 2 && session.inflightBytes <= inflightBytesMax / 2) {
      this.held.delete(session)
      session.free(TOO_MUCH)
    }
  }

  private relieve(): void {
    if (this.held.size === 0 || this.inflightBytes > this.options.limits.inflightTotalBytesMax / 2) return
    const held = [...this.held]
    this.held.clear()
    for (const session of held) this.restrain(session)
  }

  /** Lets a receiver that lags catch up: whoever has just published waits for it, though not for long. */
  private slowDown(publishers: readonly EngineSession[], receiver: Client): void {
    const waiting = publishers.filter(publisher => !publisher.isHeld(TOO_FAST))
    if (waiting.length === 0) return
    for (const publisher of waiting) publisher.hold(TOO_FAST)
    const goOn = (): void => {
      cancel()
      for (const publisher of waiting) publisher.free(TOO_FAST)
    }
    const cancel = this.options.later(STALL_MS_MAX, goOn)
    receiver.whenBelow(this.options.limits.laggingBytes / 2, goOn)
  }

  // ── operators ──────────────────────────────────────────────────────────────────────────────────────────

  /** Asks the lane that owns the subject, behind the work that is queued there. */
  ask<Q extends Query>(query: Q): Promise<AnswerTo<Q>> {
    const { live, now } = this.options
    if (!live.answersFor(query.domain))
      return this.tell(id => ({ kind: "query", id, query })) as Promise<AnswerTo<Q>>
    return this.inTurn(() => live.ask(query, now()))
  }

  /** Has a command carried out by the lane that owns the subject. */
  order<C extends Command>(command: C): Promise<OutcomeOf<C>> {
    const { live } = this.options
    if (!live.answersFor(command.domain))
      return this.tell(id => ({ kind: "command", id, command })) as Promise<OutcomeOf<C>>
    return this.inTurn(() => live.order(command))
  }

  private inTurn<T>(work: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.openTurn()
      this.asked.push(() => {
        try {
          resolve(work())
        } catch (error) {
          reject(error)
        }
      })
    })
  }

  private tell(message: (id: number) => Asked): Promise<unknown> {
    return new Promise(resolve => {
      const id = this.nextAsked++
      this.askers.set(id, resolve)
      this.options.link.tell!(message(id))
    })
  }

  /** The durable lane has an answer. */
  answered(id: number, value: unknown): void {
    const resolve = this.askers.get(id)
    this.askers.delete(id)
    resolve?.(value)
  }

  sessionsOf(realm: string): number {
    return this.byRealm.get(realm) ?? 0
  }

  /** Realms that sessions name. */
  get sessionRealms(): string[] {
    return [...this.byRealm.keys()].filter(realm => realm !== "")
  }

  /** Sessions in the order in which they came. */
  sessionPage(realm: string | null, family: number | null, { offset, limit }: PageAsk): Page<SessionRow> {
    const rows: SessionRow[] = []
    let total = 0
    for (const session of this.sessions.values()) {
      if (realm !== null && (realm === "" || session.realm !== realm)) continue
      if (family !== null && session.identity.family !== family) continue
      if (total >= offset && rows.length < limit) rows.push(sessionRow(session))
      total++
    }
    return { total, rows }
  }

  sessionRow(id: SessionId): SessionRow | null {
    const session = this.sessions.get(id)
    return session === undefined ? null : sessionRow(session)
  }

  /** Ends a session and cleans up after it. */
  closeSession(id: SessionId): boolean {
    const session = this.sessions.get(id)
    session?.client.end("closed")
    return session !== undefined
  }

  // ── turns ──────────────────────────────────────────────────────────────────────────────────────────────

  /** A turn begins with the first thing that arrives and ends when all that has arrived was taken. */
  private openTurn(): void {
    if (this.turnOpen) return
    this.turnOpen = true
    this.turnBytes = 0
    const { live, now, soon } = this.options
    this.now = now()
    live.begin(this.now, this.options.elapsedMs())
    live.expire()
    soon(() => this.endTurn())
  }

  private endTurn(): void {
    if (!this.turnOpen) return
    const { asked, publishers } = this
    if (asked.length > 0) {
      this.asked = []
      for (const one of asked) one()
    }
    this.turnOpen = false
    if (this.turnFrames > 0) {
      this.framesIn.add(this.now, this.turnFrames)
      this.turnFrames = 0
    }
    let sentFrames = 0
    this.publishers = []
    this.lastPublisher = null
    const { laggingBytes } = this.options.limits
    // Taken whole: a write may end a connection, and that is a new turn.
    for (const { session: id, frames, release, count } of [...this.options.live.end()]) {
      const session = this.sessions.get(id)
      if (session === undefined) continue
      const { client } = session
      session.sent += count
      session.lastMs = this.now
      sentFrames += count
      client.write(frames, release)
      if (publishers.length > 0 && client.pendingBytes > laggingBytes) this.slowDown(publishers, client)
    }
    if (sentFrames > 0) this.framesOut.add(this.now, sentFrames)
    this.post()
    this.watch()
    this.options.happened()
  }

  private post(): void {
    if (this.batch.empty || this.batchesOut >= BATCHES_MAX) return
    this.batchesOut++
    this.batchesPosted++
    this.depthPeak = Math.max(this.depthPeak, this.depth)
    this.options.link.post(this.batch.take(this.waitingSinceMs))
  }

  /** Makes sure that a turn happens when something falls due. */
  private watch(): void {
    const next = this.options.live.nextDue()
    if (next === null || (this.due !== null && this.due <= next)) return
    this.due = next
    this.options.at(next, () => {
      this.due = null
      this.openTurn()
    })
  }
}

function sessionRow(session: EngineSession): SessionRow {
  const { id, identity, peer, connectedAtMs, lastMs, received, sent } = session
  return {
    id,
    family: identity.family,
    realm: session.realm,
    subject: identity.subject ?? "",
    identity: identity.identity ?? "",
    connectedAtMs,
    lastMs,
    received,
    sent,
    ...peer,
  }
}
