// Lease: exclusive, time-limited ownership with fencing tokens (docs/PROTOCOL.md, L-*). In memory only.
// A token is never given twice and never falls, because whoever guards a resource compares it.

import type { Span } from "../../protocol/bytes.ts"
import { spanOf, Writer } from "../../protocol/bytes.ts"
import type { Fault } from "../../protocol/fault.ts"
import {
  GRANT_KINDS,
  LEASE_FAULTS,
  LEASE_NOTIFY,
  type LeaseAcquire,
  type LeaseGrant,
  type LeaseRelease,
  type LeaseRenew,
  type LeaseRequest,
  type LeaseState,
  leaseAcquireRow,
  writeLeaseNotice,
} from "../../protocol/messages/lease.ts"
import type { Route } from "../../protocol/route.ts"
import { Catalog, pageOf } from "./catalog.ts"
import type { Context, Domain, Millis, Outcome, Session, SessionId } from "./domain.ts"
import { type Due, DueHeap } from "./due.ts"
import type { Figures } from "./figures.ts"
import { Owners } from "./owners.ts"
import { Rate, sumOf, Tallies } from "./rates.ts"
import { Realms } from "./realms.ts"
import { type RegistrationLimits, Registrations, subscribe, unsubscribe } from "./registrations.ts"
import { Timeline } from "./timeline.ts"
import { type Found, type PlaceAsk, type Refused, refuse } from "./views/common.ts"
import type {
  LeaseAnswers,
  LeaseCommand,
  LeaseOutcomes,
  LeaseQuery,
  LeaseResource,
  LeaseRow,
  LeaseStats,
} from "./views/lease.ts"

/** Hands out fencing tokens: strictly rising, also over restarts on the same store (L-7). */
export interface Fences {
  /** Null where none are left: the store has no room to set more of them aside. */
  next(): number | null
}

export interface LeaseLimits extends RegistrationLimits {
  /** Leases held or lately lapsed, all clients together. */
  readonly leasesMax: number
  /** Waits of one client. */
  readonly parkedMax: number
}

/** Waiters of one lease. */
const WAITERS_MAX = 100
const WAIT_SECONDS_MAX = 30
/** How long a lapsed lease is remembered, so that its owner learns 5003 and not 5004. */
const LAPSED_KEPT_MS = 60_000
const TTL_SECONDS_MAX = 4_000_000_000

interface Lease extends Due {
  /** The holder's token, while it is held. */
  order: number
  readonly route: Route
  readonly family: number
  owner: Owner
  token: number
  /** Held until `dueMs`; once lapsed, remembered until `dueMs`. */
  lapsed: boolean
  readonly waiters: Waiter[]
  /** Of this ownership, for operators. */
  id: number
  acquiredMs: Millis
  renewals: number
  readonly tally: Tally
  /** Held by somebody, and whether the inventory knows. */
  active: boolean
  listed: boolean
}

/** Leases whose place in the inventory is settled later. */
const CHANGED_MAX = 4_096

/** Numbers of one realm. */
class Tally {
  readonly operations = new Rate()
  active = 0
  waiters = 0
  acquired = 0
  expired = 0
  forced = 0
  invalidTokens = 0
}

/** An ownership that an operator has ended: its owner is told so until its time would have run out. */
interface Revoked {
  readonly session: SessionId
  readonly name: string
  readonly family: number
  readonly route: string
  readonly untilMs: Millis
}

const REVOKED_MAX = 10_000
const SEARCHED_MAX = 10_000

interface Owner {
  readonly session: SessionId
  readonly name: string
}

interface Waiter extends Due {
  readonly lease: Lease
  readonly owner: Owner
  readonly token: number
  readonly ttlMs: number
}

function sameOwner(a: Owner, session: SessionId, name: string): boolean {
  return a.session === session && a.name === name
}

type Reply = LeaseGrant | LeaseState | number | null

export class LeaseDomain implements Domain<LeaseRequest, Reply> {
  private readonly families = new Map<number, Map<string, Lease>>()
  private readonly held = new Owners<Lease>()
  private readonly waiting = new Owners<Waiter>()
  private readonly leasesDue = new DueHeap<Lease>()
  private readonly waitsDue = new DueHeap<Waiter>()
  private readonly registrations: Registrations
  private readonly limits: LeaseLimits
  private readonly fences: Fences

  /** Leases that are only remembered. */
  private readonly counted = { lapsed: 0 }
  private readonly tallies = new Tallies(
    () => new Tally(),
    tally => tally.active + tally.waiters === 0,
    (into, from) => {
      into.operations.total += from.operations.total
      into.acquired += from.acquired
      into.expired += from.expired
      into.forced += from.forced
      into.invalidTokens += from.invalidTokens
    },
  )
  /** Leases that are held. */
  private readonly catalog = new Catalog<Lease>()
  private readonly changed = new Set<Lease>()
  /** By token. */
  private readonly revoked = new Map<number, Revoked>()
  private readonly timeline = new Timeline()

  constructor(limits: LeaseLimits, fences: Fences, realms = new Realms()) {
    this.limits = limits
    this.fences = fences
    this.registrations = new Registrations(limits, LEASE_FAULTS.subscriptionLimit, realms)
  }

  handle(request: LeaseRequest, session: Session, context: Context): Outcome<Reply> {
    const route = "pattern" in request ? request.pattern : request.route
    const tally = this.tallies.of(session.family, route.segments[0]!)
    tally.operations.add(context.now)
    switch (request.op) {
      case "acquire":
        return this.acquire(request, session, context)
      case "renew":
      case "release": {
        const outcome = this.isRevoked(request, session, context)
          ? LEASE_FAULTS.fenced
          : request.op === "renew"
            ? this.renew(request, session, context)
            : this.release(request, session, context)
        if (outcome === LEASE_FAULTS.fenced) tally.invalidTokens++
        return outcome
      }
      case "query":
        return this.query(request.route, session, context)
      case "subscribe":
        return subscribe(this.registrations, session, request.pattern, context)
      case "unsubscribe":
        return unsubscribe(this.registrations, session, request.pattern, context)
    }
  }

  private acquire(request: LeaseAcquire, session: Session, context: Context): LeaseGrant | Fault {
    const { route, ttlSeconds, waitSeconds } = request
    if (ttlSeconds === 0) return LEASE_FAULTS.badRequest.because("ttl is at least one second")
    if (ttlSeconds > TTL_SECONDS_MAX) return LEASE_FAULTS.badRequest.because("ttl is too long")
    if (waitSeconds > WAIT_SECONDS_MAX) {
      return LEASE_FAULTS.badRequest.because(`a wait is at most ${WAIT_SECONDS_MAX} seconds`)
    }
    const owner = { session: session.id, name: request.owner }
    const ttlMs = ttlSeconds * 1_000
    const lease = this.find(session.family, route)
    if (lease === undefined || lease.lapsed) {
      if (lease === undefined && this.leasesDue.size >= this.limits.leasesMax) {
        return LEASE_FAULTS.waitersFull.because("too many leases")
      }
      const token = this.fences.next()
      if (token === null) return LEASE_FAULTS.noTokens
      if (lease !== undefined) this.forget(lease, context)
      this.open({ family: session.family, route, owner, token }, ttlMs, context)
      return { kind: GRANT_KINDS.acquired, token }
    }
    if (sameOwner(lease.owner, owner.session, owner.name)) {
      return { kind: GRANT_KINDS.alreadyHeld, token: lease.token }
    }
    if (waitSeconds === 0) return LEASE_FAULTS.held
    const waiting = lease.waiters.find(waiter => sameOwner(waiter.owner, owner.session, owner.name))
    if (waiting !== undefined) return { kind: GRANT_KINDS.alreadyQueued, token: waiting.token }
    if (context.draining) return LEASE_FAULTS.waitTimedOut
    if (lease.waiters.length >= WAITERS_MAX) return LEASE_FAULTS.waitersFull
    if (this.waiting.count(session.id) >= this.limits.parkedMax) {
      return LEASE_FAULTS.waitersFull.because("this client waits for too many leases")
    }
    const token = this.fences.next()
    if (token === null) return LEASE_FAULTS.noTokens
    const dueMs = context.now + waitSeconds * 1_000
    this.wait({ lease, owner, token, ttlMs, dueMs, heapAt: -1, order: token }, context)
    return { kind: GRANT_KINDS.queued, token }
  }

  private renew(request: LeaseRenew, session: Session, context: Context): number | Fault {
    const { ttlSeconds, token } = request
    if (ttlSeconds === 0) return LEASE_FAULTS.badRequest.because("ttl is at least one second")
    if (ttlSeconds > TTL_SECONDS_MAX) return LEASE_FAULTS.badRequest.because("ttl is too long")
    const lease = this.find(session.family, request.route)
    if (lease === undefined || !sameOwner(lease.owner, session.id, request.owner)) return LEASE_FAULTS.notHeld
    if (lease.token !== token) return LEASE_FAULTS.fenced
    if (lease.lapsed) return LEASE_FAULTS.expired
    this.postpone(lease, context.now + ttlSeconds * 1_000, context)
    lease.renewals++
    return token
  }

  /** Was this ownership ended by an operator, and would its time still run? */
  private isRevoked(
    { token, route, owner }: LeaseRenew | LeaseRelease,
    session: Session,
    context: Context,
  ): boolean {
    if (this.revoked.size === 0) return false
    const known = this.revoked.get(token)
    if (known === undefined || known.untilMs <= context.now) return false
    if (known.session !== session.id || known.name !== owner) return false
    return known.family === session.family && known.route === route.text
  }

  private release(request: LeaseRelease, session: Session, context: Context): null | Fault {
    const lease = this.find(session.family, request.route)
    if (lease === undefined || lease.lapsed) return null
    if (!sameOwner(lease.owner, session.id, request.owner)) return LEASE_FAULTS.notHeld
    if (lease.token !== request.token) return LEASE_FAULTS.fenced
    this.free(lease, false, context)
    return null
  }

  private query(route: Route, session: Session, context: Context): LeaseState {
    const lease = this.find(session.family, route)
    if (lease === undefined || lease.lapsed) return { holder: null, waiters: 0 }
    const ttlSecondsLeft = Math.max(0, Math.floor((lease.dueMs - context.now) / 1_000))
    return { holder: { owner: lease.owner.name, ttlSecondsLeft }, waiters: lease.waiters.length }
  }

  expire(context: Context): void {
    // Waits first: a wait that ends with the lease it waits for has ended.
    for (const waiter of this.waitsDue.dueAt(context.now))
      this.endWait(waiter, LEASE_FAULTS.waitTimedOut, context)
    for (const lease of this.leasesDue.dueAt(context.now)) {
      if (lease.lapsed) this.forget(lease, context)
      else this.free(lease, true, context)
    }
  }

  leave(session: SessionId, context: Context): void {
    for (const waiter of this.waiting.of(session)) this.unwait(waiter, context)
    for (const lease of this.held.of(session)) {
      if (lease.lapsed) this.forget(lease, context)
      else this.free(lease, false, context)
    }
    this.registrations.leave(session, context)
  }

  nextDue(): Millis | null {
    const lease = this.leasesDue.nextMs
    const wait = this.waitsDue.nextMs
    if (lease === null || wait === null) return lease ?? wait
    return Math.min(lease, wait)
  }

  drain(context: Context): void {
    for (const waiter of this.waiting.all()) this.endWait(waiter, LEASE_FAULTS.waitTimedOut, context)
  }

  figures(): Figures<"lease"> {
    return { active: this.leasesDue.size - this.counted.lapsed, waiter_depth: this.waitsDue.size }
  }

  private find(family: number, route: Route): Lease | undefined {
    return this.families.get(family)?.get(route.text)
  }

  /** A free lease gets its holder. */
  private open(
    held: Pick<Lease, "family" | "route" | "owner" | "token">,
    ttlMs: number,
    context: Context,
  ): void {
    const lease: Lease = {
      ...held,
      order: held.token,
      lapsed: false,
      waiters: [],
      id: context.nextId(),
      acquiredMs: context.now,
      renewals: 0,
      active: false,
      listed: false,
      tally: this.tallies.of(held.family, held.route.segments[0]!),
      dueMs: context.now + ttlMs,
      heapAt: -1,
    }
    this.insert(lease)
    context.journal.undo(() => this.erase(lease))
    lease.tally.acquired++
    this.tell(lease, context)
  }

  /**
   * The holder's time is over: the first waiter gets the lease, with its own time counted from now.
   * Without one the lease goes, or is remembered as lapsed where it ran out by itself.
   */
  private free(lease: Lease, lapsed: boolean, context: Context): void {
    const next = lease.waiters[0]
    if (lapsed) {
      lease.tally.expired++
      this.note(lease, "ran out, token #", context)
    }
    if (next !== undefined) {
      this.unwait(next, context)
      this.hand(lease, next, context)
      const grant: LeaseGrant = { kind: GRANT_KINDS.acquired, token: next.token }
      context.emit({ kind: "push", session: next.owner.session, type: leaseAcquireRow.type, reply: grant })
    } else if (lapsed) {
      this.passive(lease)
      lease.lapsed = true
      context.journal.undo(() => {
        lease.lapsed = false
        this.active(lease)
      })
      context.journal.assign(this.counted, { lapsed: this.counted.lapsed + 1 })
      this.postpone(lease, context.now + LAPSED_KEPT_MS, context)
    } else {
      this.forget(lease, context)
    }
    this.tell(lease, context)
  }

  private hand(lease: Lease, to: Waiter, context: Context): void {
    const { owner, token, dueMs, order, id, acquiredMs, renewals } = lease
    this.change(lease, {
      owner: to.owner,
      token: to.token,
      dueMs: context.now + to.ttlMs,
      order: to.token,
      id: context.nextId(),
      acquiredMs: context.now,
      renewals: 0,
    })
    context.journal.undo(() => this.change(lease, { owner, token, dueMs, order, id, acquiredMs, renewals }))
    lease.tally.acquired++
    this.note(lease, "handed on, token #", context)
  }

  private change(
    lease: Lease,
    change: Pick<Lease, "owner" | "token" | "dueMs" | "order" | "id" | "acquiredMs" | "renewals">,
  ): void {
    this.disown(lease)
    this.leasesDue.remove(lease)
    Object.assign(lease, change)
    this.leasesDue.add(lease)
    this.own(lease)
  }

  private postpone(lease: Lease, dueMs: Millis, context: Context): void {
    const before = lease.dueMs
    lease.dueMs = dueMs
    this.leasesDue.moved(lease)
    context.journal.undo(() => {
      lease.dueMs = before
      this.leasesDue.moved(lease)
    })
  }

  private forget(lease: Lease, context: Context): void {
    if (lease.lapsed) context.journal.assign(this.counted, { lapsed: this.counted.lapsed - 1 })
    this.erase(lease)
    context.journal.undo(() => this.insert(lease))
  }

  private insert(lease: Lease): void {
    let family = this.families.get(lease.family)
    if (family === undefined) {
      family = new Map()
      this.families.set(lease.family, family)
    }
    family.set(lease.route.text, lease)
    this.leasesDue.add(lease)
    this.own(lease)
    if (!lease.lapsed) this.active(lease)
  }

  private active(lease: Lease): void {
    lease.tally.active++
    lease.active = true
    this.moved(lease)
  }

  private passive(lease: Lease): void {
    lease.tally.active--
    lease.active = false
    this.moved(lease)
  }

  /** The inventory follows when somebody looks: most leases have come and gone by then. */
  private moved(lease: Lease): void {
    this.changed.add(lease)
    if (this.changed.size >= CHANGED_MAX) this.settle()
  }

  private settle(): void {
    for (const lease of this.changed) {
      const { family, route, listed, active } = lease
      if (listed === active) continue
      lease.listed = active
      if (active) this.catalog.add(family, route.segments, lease)
      // Another may hold the resource by now, and stand in its place.
      else if (this.catalog.get(family, route.segments) === lease) this.catalog.remove(family, route.segments)
    }
    this.changed.clear()
  }

  /** The lease of an id: an operator's way to it. */
  private byId(id: number): Lease | undefined {
    for (const family of this.families.values()) {
      for (const lease of family.values()) if (lease.id === id && !lease.lapsed) return lease
    }
    return undefined
  }

  private erase(lease: Lease): void {
    const family = this.families.get(lease.family)
    family?.delete(lease.route.text)
    if (family?.size === 0) this.families.delete(lease.family)
    this.leasesDue.remove(lease)
    this.disown(lease)
    if (!lease.lapsed) this.passive(lease)
  }

  private own(lease: Lease): void {
    this.held.add(lease.owner.session, lease)
  }

  private disown(lease: Lease): void {
    this.held.remove(lease.owner.session, lease)
  }

  private wait(waiter: Waiter, context: Context): void {
    waiter.lease.waiters.push(waiter)
    this.waitsDue.add(waiter)
    this.waiting.add(waiter.owner.session, waiter)
    waiter.lease.tally.waiters++
    context.journal.undo(() => {
      waiter.lease.tally.waiters--
      waiter.lease.waiters.splice(waiter.lease.waiters.indexOf(waiter), 1)
      this.waitsDue.remove(waiter)
      this.waiting.remove(waiter.owner.session, waiter)
    })
  }

  private unwait(waiter: Waiter, context: Context): void {
    const at = waiter.lease.waiters.indexOf(waiter)
    waiter.lease.waiters.splice(at, 1)
    this.waitsDue.remove(waiter)
    this.waiting.remove(waiter.owner.session, waiter)
    waiter.lease.tally.waiters--
    context.journal.undo(() => {
      waiter.lease.tally.waiters++
      waiter.lease.waiters.splice(at, 0, waiter)
      this.waitsDue.add(waiter)
      this.waiting.add(waiter.owner.session, waiter)
    })
  }

  private endWait(waiter: Waiter, fault: Fault, context: Context): void {
    this.unwait(waiter, context)
    context.emit({ kind: "push", session: waiter.owner.session, type: leaseAcquireRow.type, reply: fault })
  }

  /** The holder has changed. Every follower hears the route as it spelled it. */
  private tell(lease: Lease, context: Context): void {
    for (const follower of this.registrations.matching(lease.family, lease.route)) {
      const writer = new Writer(16 + follower.pattern.bytes.length)
      writeLeaseNotice(writer, follower.pattern)
      const tail: Span = spanOf(writer.written)
      context.emit({ kind: "notify", type: LEASE_NOTIFY, followers: [follower], tail })
    }
  }

  // ── operators ──────────────────────────────────────────────────────────────────────────────────────────

  *realms(): Generator<string> {
    this.settle()
    yield* this.catalog.realms(null)
  }

  command(command: LeaseCommand, context: Context): LeaseOutcomes[keyof LeaseOutcomes] {
    this.settle()
    const found =
      command.name === "releaseId"
        ? [this.byId(command.lease)].filter(lease => lease !== undefined)
        : this.catalog.leaves(command.family, command.segments)
    const [lease] = found
    if (lease === undefined) return NOT_HELD
    if (found.length > 1) return refuse("ambiguous_target", "several families hold this lease: name one")
    const row = rowOf(lease)
    const { family, token, owner, dueMs, tally, route } = lease
    if (this.revoked.size >= REVOKED_MAX) this.forgetRevoked(context.now)
    const { session, name } = owner
    this.revoked.set(token, { session, name, family, route: route.text, untilMs: dueMs })
    context.journal.undo(() => this.revoked.delete(token))
    tally.forced++
    this.note(lease, "taken away by an operator, token #", context)
    this.free(lease, false, context)
    return row
  }

  /** What is worth telling: uncontended leases come and go without a word. */
  private note({ family, route, token }: Lease, what: string, context: Context): void {
    this.timeline.note("ownership_change", context.now, family, route.segments, what, token)
  }

  private forgetRevoked(now: Millis): void {
    for (const [token, { untilMs }] of this.revoked) if (untilMs <= now) this.revoked.delete(token)
    for (const token of this.revoked.keys()) {
      if (this.revoked.size < REVOKED_MAX) return
      this.revoked.delete(token)
    }
  }

  view(query: LeaseQuery, now: Millis): LeaseAnswers[keyof LeaseAnswers] {
    this.settle()
    switch (query.name) {
      case "realms":
        return pageOf(this.catalog.realms(query.family), query.page)
      case "areas":
        return pageOf(this.catalog.areas(query.family, query.realm), query.page)
      case "resources": {
        const { family, realm, area } = query
        const { total, rows } = pageOf(this.catalog.resources(family, realm, area), query.page)
        return { total, rows: rows.map(resource => this.resource({ family, realm, area, resource })) }
      }
      case "events":
        return this.timeline.of(query.place, query.limit)
      case "search":
        return this.search(query)
      case "stats":
        return this.stats(query.family, query.realm, now)
      case "leases": {
        const { total, rows } = this.catalog.page(query.family, query.realm, query.page)
        return { total, rows: rows.map(rowOf) }
      }
      case "resource":
        return this.resource(query.place)
    }
  }

  private stats(family: number | null, realm: string | null, now: Millis): LeaseStats {
    const tallies = this.tallies.select(family, realm)
    return {
      active: sumOf(tallies, tally => tally.active),
      waiters: sumOf(tallies, tally => tally.waiters),
      acquired: sumOf(tallies, tally => tally.acquired),
      expired: sumOf(tallies, tally => tally.expired),
      forced: sumOf(tallies, tally => tally.forced),
      invalidTokens: sumOf(tallies, tally => tally.invalidTokens),
      operationsPerSecond: sumOf(tallies, tally => tally.operations.perSecond(now)),
    }
  }

  private resource({ family, realm, area, resource }: PlaceAsk): LeaseResource {
    const leases = this.catalog.leaves(family, [realm, area, resource])
    return {
      resource,
      active: leases.length,
      waiters: sumOf(leases, lease => lease.waiters.length),
      oldestAcquiredMs: leases.length === 0 ? null : Math.min(...leases.map(lease => lease.acquiredMs)),
    }
  }

  private search({ text, realm, limit }: Extract<LeaseQuery, { name: "search" }>): LeaseAnswers["search"] {
    const found: Found[] = []
    const page = this.catalog.page(null, realm, { offset: 0, limit: SEARCHED_MAX })
    for (const { route, family, owner, id, waiters, token } of page.rows) {
      const fields = [
        ...(route.text.includes(text) ? ["route"] : []),
        ...(owner.name !== "" && owner.name.includes(text) ? ["owner"] : []),
        ...(`sess_${owner.session}` === text ? ["owner_session_id"] : []),
        ...(String(id) === text ? ["lease_id"] : []),
        ...(String(token) === text ? ["fencing_token"] : []),
      ]
      if (fields.length === 0) continue
      if (found.length >= limit) return { found, truncated: true }
      const [inRealm, area, resource] = route.segments.map(encodeURIComponent)
      found.push({
        domain: "lease",
        kind: "lease",
        title: route.text,
        summary: `family ${family}: held by sess_${owner.session}, ${waiters.length} waiting`,
        healthy: waiters.length === 0,
        path: `lease/realms/${inRealm}/areas/${area}/resources/${resource}?family=${family}`,
        fields,
      })
    }
    return { found, truncated: page.total > page.rows.length }
  }
}

const NOT_HELD: Refused = refuse("not_found", "there is no such lease")

function rowOf({ id, family, route, owner, acquiredMs, dueMs, renewals, token, waiters }: Lease): LeaseRow {
  return {
    id,
    family,
    segments: route.segments,
    session: owner.session,
    owner: owner.name,
    acquiredAtMs: acquiredMs,
    expiresAtMs: dueMs,
    renewals,
    token,
    waiters: waiters.length,
  }
}
