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
import type { Context, Domain, Millis, Outcome, Session, SessionId } from "./domain.ts"
import { type Due, DueHeap } from "./due.ts"
import type { Figures } from "./figures.ts"
import { Owners } from "./owners.ts"
import { type RegistrationLimits, Registrations, subscribe, unsubscribe } from "./registrations.ts"

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
}

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

  constructor(limits: LeaseLimits, fences: Fences) {
    this.limits = limits
    this.fences = fences
    this.registrations = new Registrations(limits, LEASE_FAULTS.subscriptionLimit)
  }

  handle(request: LeaseRequest, session: Session, context: Context): Outcome<Reply> {
    switch (request.op) {
      case "acquire":
        return this.acquire(request, session, context)
      case "renew":
        return this.renew(request, session, context)
      case "release":
        return this.release(request, session, context)
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
    return token
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
      dueMs: context.now + ttlMs,
      heapAt: -1,
    }
    this.insert(lease)
    context.journal.undo(() => this.erase(lease))
    this.tell(lease, context)
  }

  /**
   * The holder's time is over: the first waiter gets the lease, with its own time counted from now.
   * Without one the lease goes, or is remembered as lapsed where it ran out by itself.
   */
  private free(lease: Lease, lapsed: boolean, context: Context): void {
    const next = lease.waiters[0]
    if (next !== undefined) {
      this.unwait(next, context)
      this.hand(lease, next, context)
      const grant: LeaseGrant = { kind: GRANT_KINDS.acquired, token: next.token }
      context.emit({ kind: "push", session: next.owner.session, type: leaseAcquireRow.type, reply: grant })
    } else if (lapsed) {
      context.journal.assign(lease, { lapsed: true })
      context.journal.assign(this.counted, { lapsed: this.counted.lapsed + 1 })
      this.postpone(lease, context.now + LAPSED_KEPT_MS, context)
    } else {
      this.forget(lease, context)
    }
    this.tell(lease, context)
  }

  private hand(lease: Lease, to: Waiter, context: Context): void {
    const { owner, token, dueMs, order } = lease
    this.change(lease, { owner: to.owner, token: to.token, dueMs: context.now + to.ttlMs, order: to.token })
    context.journal.undo(() => this.change(lease, { owner, token, dueMs, order }))
  }

  private change(lease: Lease, change: Pick<Lease, "owner" | "token" | "dueMs" | "order">): void {
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
  }

  private erase(lease: Lease): void {
    const family = this.families.get(lease.family)
    family?.delete(lease.route.text)
    if (family?.size === 0) this.families.delete(lease.family)
    this.leasesDue.remove(lease)
    this.disown(lease)
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
    context.journal.undo(() => {
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
    context.journal.undo(() => {
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
}
