// What every domain is and what a turn lends it. A domain is rules over its own memory: synchronous, without
// clock, chance, sockets or SQL of its own. Expected failures are values; an exception is a bug.

import type { Span } from "../../protocol/bytes.ts"
import type { Fault } from "../../protocol/fault.ts"
import type { Journal } from "./journal.ts"
import type { Registration } from "./registrations.ts"

/** One live connection's id, unique while the process lives. */
export type SessionId = number
/** Milliseconds since the epoch. */
export type Millis = number

/** What domains know of a client. */
export interface Session {
  readonly id: SessionId
  /** Partition of all state (PROTOCOL.md, P-11). */
  readonly family: number
  /** Registrations in this lane, all domains together; kept by `Registrations`. */
  registrations: number
  /** Registrations of the same client in the other lane, as last heard. */
  readonly registrationsElsewhere: number
}

/** The request was taken and will be answered by an `answer` event. Later ones of its type wait for that. */
export const PARKED = Symbol("parked")
/** The request has no reply. */
export const SILENT = Symbol("silent")

/** A reply that takes further turns to find, so that a long walk holds up nobody (PROTOCOL.md, O-6). */
export class Unfinished<Reply> {
  readonly go: () => Outcome<Reply>

  /**
   * @param go does the next stretch; called in a later turn, with the context of that turn, and called again
   *   where that turn is taken back: it must come to the same end each time
   */
  constructor(go: () => Outcome<Reply>) {
    this.go = go
  }
}

export type Outcome<Reply> = Reply | Fault | typeof PARKED | typeof SILENT | Unfinished<Reply>

/** What goes out besides the reply. */
export type Event =
  /** A notification: each follower gets its own id and then the same bytes. */
  | {
      readonly kind: "notify"
      readonly type: number
      readonly followers: readonly Registration[]
      readonly tail: Span
    }
  /** The reply to a request that was parked. */
  | { readonly kind: "answer"; readonly session: SessionId; readonly type: number; readonly reply: unknown }
  /** A further frame in the shape of a reply (the second 400). */
  | { readonly kind: "push"; readonly session: SessionId; readonly type: number; readonly reply: unknown }
  /** Bytes of one client for another, as they came. */
  | { readonly kind: "forward"; readonly session: SessionId; readonly type: number; readonly payload: Span }
  /** The broker ends a call in the worker's place. */
  | {
      readonly kind: "callFault"
      readonly session: SessionId
      readonly correlation: string
      readonly fault: Fault
    }

/** What a write asks of the commit: to be on disk before the reply, or soon after. */
export type Durability = "sync" | "buffered"

/** What a turn lends a domain. */
export interface Context {
  /** The one clock reading of this turn. */
  readonly now: Millis
  readonly journal: Journal
  /** Programs are being sent away: nothing waits any more. */
  readonly draining: boolean
  /** Clients that are gone with this turn: nothing is given to them any more. */
  readonly gone: ReadonlySet<SessionId>
  /** False while the store refuses writes (full disk): answer with the backend fault and change nothing. */
  readonly writable: boolean
  emit(event: Event): void
  /** Says that this turn wrote. */
  wrote(durability: Durability): void
  /** A fresh id, unique in the process, never 0. */
  nextId(): number
  /** A random integer from 1 to 2^53−1. */
  random(): number
}

export interface Domain<Request, Reply> {
  /** Judges one request of a client that is allowed to make it. */
  handle(request: Request, session: Session, context: Context): Outcome<Reply>
  /** The request threw and is refused: what it would have ended, however it came out, ends all the same. */
  abandon?(request: Request, session: Session, context: Context): void
  /** Time has passed. */
  expire(context: Context): void
  /** A client is gone, and with it all that was its own. */
  leave(session: SessionId, context: Context): void
  /** When `expire` has something to do, or null. */
  nextDue(): Millis | null
  /** Answers everything that waits; called once, when draining begins. */
  drain(context: Context): void
  /**
   * The refusal of this request where too many of its client wait already; null where it does not wait.
   * Asked only for requests that have to stand behind a parked one.
   */
  waitFault?(request: Request): Fault | null
  /** Writes what the turn decided and has not written yet. Called before each commit. */
  flush?(context: Context): void
  /** The turn is committed: memory that only mattered for undoing may go. */
  committed?(): void
  /** An operator looks: answered from counts and bounded pages. Changes nothing that a client could see. */
  view?(query: never, now: Millis): unknown
  /** An operator orders something; what becomes of it is the answer. */
  command?(command: never, context: Context): unknown
  /** The last request has come again with nothing in between, and its effects were repeated. */
  again?(): void
  /** Realms known by their use. */
  realms?(): Iterable<string>
  /** What the domain says of itself after a turn: one number for each of its names in figures.ts. */
  figures(now: Millis): { readonly [name: string]: number }
}
