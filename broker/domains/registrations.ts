// Who wants to hear of what: the registrations of one domain, their limits and their order
// (docs/PROTOCOL.md, S-1 … S-9). All in memory; they die with their connection.

import type { Fault } from "../../protocol/fault.ts"
import type { Route } from "../../protocol/route.ts"
import type { Context, Millis, Session, SessionId } from "./domain.ts"
import { PatternIndex } from "./patterns.ts"
import { Realms } from "./realms.ts"

export interface Registration {
  readonly id: number
  readonly session: SessionId
  readonly family: number
  readonly pattern: Route
  readonly createdAtMs: Millis
  /** Notifications it was given. */
  received: number
}

export interface RegistrationLimits {
  /** Of one client, all domains together. */
  readonly registrationsMax: number
  /** Of one client in one domain, those with a wildcard. */
  readonly wildcardRegistrationsMax: number
}

interface Owned<R> {
  readonly byPattern: Map<string, R>
  readonly byId: Map<number, R>
  wildcards: number
}

/** @template R what a domain keeps with a registration */
export class Registrations<R extends Registration = Registration> {
  private readonly families = new Map<number, PatternIndex<R>>()
  private readonly owners = new Map<SessionId, Owned<R>>()
  private readonly sessions = new Map<SessionId, Session>()
  /** All, in the order in which they came. */
  private readonly all = new Map<number, R>()
  private readonly limits: RegistrationLimits
  private readonly limitFault: Fault
  private readonly realms: Realms
  private readonly watch: RegistrationWatch<R> | null

  /** @param watch hears of every registration that comes or goes, undone ones included */
  constructor(
    limits: RegistrationLimits,
    limitFault: Fault,
    realms = new Realms(),
    watch: RegistrationWatch<R> | null = null,
  ) {
    this.limits = limits
    this.limitFault = limitFault
    this.realms = realms
    this.watch = watch
  }

  get size(): number {
    return this.all.size
  }

  /** In the order in which they came. */
  values(): Iterable<R> {
    return this.all.values()
  }

  get(id: number): R | undefined {
    return this.all.get(id)
  }

  /** How many there are, and how many different patterns among them. */
  get figures(): { readonly registrations: number; readonly patterns: number } {
    let registrations = 0
    let patterns = 0
    for (const index of this.families.values()) {
      registrations += index.size
      patterns += index.patternCount
    }
    return { registrations, patterns }
  }

  /** The registration of this client under exactly this pattern, if there is one. */
  find(session: SessionId, pattern: Route): R | undefined {
    return this.owners.get(session)?.byPattern.get(pattern.text)
  }

  /** May this client have one more? Null when it may. Asked after `find`. */
  refusal(session: Session, pattern: Route): Fault | null {
    if (session.registrations + session.registrationsElsewhere >= this.limits.registrationsMax)
      return this.limitFault
    if (this.realms.isFull(pattern)) return this.limitFault.because("the realm has all that it may have")
    const wildcards = this.owners.get(session.id)?.wildcards ?? 0
    return !pattern.concrete && wildcards >= this.limits.wildcardRegistrationsMax ? this.limitFault : null
  }

  add(registration: R, session: Session, context: Context): void {
    this.sessions.set(session.id, session)
    this.insert(registration)
    session.registrations++
    context.journal.undo(() => {
      this.erase(registration)
      session.registrations--
    })
  }

  /** Forgets one; `session` is its owner where that still exists. */
  remove(registration: R, session: Session | null, context: Context): void {
    this.erase(registration)
    if (session !== null) session.registrations--
    context.journal.undo(() => {
      this.insert(registration)
      if (session !== null) session.registrations++
    })
  }

  /** The client that a registration belongs to. */
  ownerOf(registration: R): Session | null {
    return this.sessions.get(registration.session) ?? null
  }

  /** All of a client, oldest first. */
  of(session: SessionId): readonly R[] {
    const owned = this.owners.get(session)
    return owned === undefined ? [] : [...owned.byId.values()].sort((a, b) => a.id - b.id)
  }

  byId(session: SessionId, id: number): R | undefined {
    return this.owners.get(session)?.byId.get(id)
  }

  /** Forgets all of a client that is gone. */
  leave(session: SessionId, context: Context): readonly R[] {
    const all = this.of(session)
    for (const registration of all) this.remove(registration, null, context)
    const owner = this.sessions.get(session)
    if (owner !== undefined) context.journal.delete(this.sessions, session)
    return all
  }

  /** Those whose pattern matches the route, oldest first. */
  matching(family: number, route: Route): readonly R[] {
    if (!this.realms.permits(route)) return NOBODY
    return this.families.get(family)?.match(route) ?? NOBODY
  }

  private insert(registration: R): void {
    let index = this.families.get(registration.family)
    if (index === undefined) {
      index = new PatternIndex<R>((a, b) => a.id - b.id)
      this.families.set(registration.family, index)
    }
    index.add(registration.pattern, registration)
    let owned = this.owners.get(registration.session)
    if (owned === undefined) {
      owned = { byPattern: new Map(), byId: new Map(), wildcards: 0 }
      this.owners.set(registration.session, owned)
    }
    owned.byPattern.set(registration.pattern.text, registration)
    owned.byId.set(registration.id, registration)
    if (!registration.pattern.concrete) owned.wildcards++
    this.all.set(registration.id, registration)
    this.realms.registered(registration.pattern, 1)
    this.watch?.(registration, 1)
  }

  private erase(registration: R): void {
    const index = this.families.get(registration.family)
    index?.remove(registration.pattern, registration)
    if (index?.size === 0) this.families.delete(registration.family)
    if (this.all.delete(registration.id)) {
      this.realms.registered(registration.pattern, -1)
      this.watch?.(registration, -1)
    }
    const owned = this.owners.get(registration.session)
    if (owned === undefined) return
    owned.byPattern.delete(registration.pattern.text)
    owned.byId.delete(registration.id)
    if (!registration.pattern.concrete) owned.wildcards--
    if (owned.byId.size === 0) this.owners.delete(registration.session)
  }
}

const NOBODY: readonly never[] = []

/** Hears of registrations: `by` is 1 for one that has come and −1 for one that has gone. */
export type RegistrationWatch<R> = (registration: R, by: 1 | -1) => void

/** Answers a plain subscribe: the known id, a new one, or the limit's refusal. */
export function subscribe(
  registrations: Registrations,
  session: Session,
  pattern: Route,
  context: Context,
): number | Fault {
  const known = registrations.find(session.id, pattern)
  if (known !== undefined) return known.id
  const refusal = registrations.refusal(session, pattern)
  if (refusal !== null) return refusal
  const id = context.nextId()
  registrations.add(
    { id, session: session.id, family: session.family, pattern, createdAtMs: context.now, received: 0 },
    session,
    context,
  )
  return id
}

/** Answers a plain unsubscribe, which always succeeds. */
export function unsubscribe(
  registrations: Registrations,
  session: Session,
  pattern: Route,
  context: Context,
): null {
  const known = registrations.find(session.id, pattern)
  if (known !== undefined) registrations.remove(known, session, context)
  return null
}
