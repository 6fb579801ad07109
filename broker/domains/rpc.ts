// RPC: callers and workers meet here, nothing is stored (docs/PROTOCOL.md, RPC-*). Every call ends exactly
// once for its caller: by the worker's last frame or by one fault of ours.

import { copyOf, type Span, spanOf } from "../../protocol/bytes.ts"
import type { Fault } from "../../protocol/fault.ts"
import {
  RPC_ANSWER,
  RPC_CALL,
  RPC_FAULTS,
  type RpcAnswer,
  type RpcCall,
  type RpcRegister,
  type RpcRequest,
} from "../../protocol/messages/rpc.ts"
import { matches, type Route } from "../../protocol/route.ts"
import { Catalog, pageFrom, pageOf } from "./catalog.ts"
import {
  type Context,
  type Domain,
  type Millis,
  type Outcome,
  type Session,
  type SessionId,
  SILENT,
} from "./domain.ts"
import { type Due, DueHeap } from "./due.ts"
import type { Figures } from "./figures.ts"
import { Rate, sumOf, Tallies } from "./rates.ts"
import { Realms } from "./realms.ts"
import { type Registration, type RegistrationLimits, Registrations } from "./registrations.ts"
import { Timeline } from "./timeline.ts"
import { type Found, type Page, type PlaceAsk, type Refused, refuse } from "./views/common.ts"
import type {
  PendingRow,
  RpcAnswers,
  RpcCommand,
  RpcOutcomes,
  RpcQuery,
  RpcResource,
  RpcStats,
  WorkerRow,
} from "./views/rpc.ts"

export interface RpcLimits extends RegistrationLimits {
  /** Live calls in all, waiting or at a worker. */
  readonly pendingMax: number
  /** Calls of one route that wait for a worker. */
  readonly pendingPerRouteMax: number
  /** From submission, waiting or at a worker. */
  readonly timeoutMs: number
}

interface Worker extends Registration {
  readonly credit: number
  /** How many calls are delivered and not finished. */
  busy: number
  handled: number
  latencyMs: number
}

/** Numbers of one realm. */
class Tally {
  readonly operations = new Rate()
  workers = 0
  pending = 0
  completed = 0
  timedOut = 0
  rejected = 0
  late = 0
  latencyMs = 0
}

/** What there is at one resource. */
interface Place {
  readonly workers: Set<Worker>
  pending: number
  /** Among those that may be empty. */
  listed: boolean
}

const EMPTIED_MAX = 1_024

const SEARCHED_MAX = 10_000

interface Call extends Due {
  readonly family: number
  readonly correlation: string
  readonly route: Route
  /** Null once the caller is gone: the worker may finish, nobody hears of it. */
  caller: SessionId | null
  /** Null while it waits. */
  worker: Worker | null
  /** Kept only while it waits. */
  payload: Span | null
  nextSequence: number
  /** Order of submission, over all routes. */
  readonly order: number
  readonly submittedMs: Millis
  readonly tally: Tally
  /** Null before it has entered. */
  place: Place | null
}

const TURNS_REMEMBERED_MAX = 10_000

/** Calls and workers of one family. */
class Family {
  readonly calls = new Map<string, Call>()
  /** By route, oldest first. No entry is empty. */
  readonly waiting = new Map<string, Call[]>()
  /** The worker that had the last call of a route, by registration id. */
  readonly turns = new Map<string, number>()
}

export class RpcDomain implements Domain<RpcRequest, null> {
  private readonly families = new Map<number, Family>()
  private readonly due = new DueHeap<Call>()
  private readonly workers: Registrations<Worker>
  private readonly limits: RpcLimits
  private submitted = 0

  private readonly tallies = new Tallies(
    () => new Tally(),
    tally => tally.workers + tally.pending === 0,
    (into, from) => {
      into.operations.total += from.operations.total
      into.completed += from.completed
      into.timedOut += from.timedOut
      into.rejected += from.rejected
      into.late += from.late
      into.latencyMs += from.latencyMs
    },
  )
  private readonly catalog = new Catalog<Place>()
  private lastRoute: Route | null = null
  private lastFamily = 0
  private lastPlace: Place | null = null
  private readonly emptied: { readonly family: number; readonly route: Route; readonly place: Place }[] = []
  private readonly timeline = new Timeline()

  constructor(limits: RpcLimits, realms = new Realms()) {
    this.limits = limits
    this.workers = new Registrations(limits, RPC_FAULTS.registrationLimit, realms, (worker, by) =>
      this.count(worker, by),
    )
  }

  /** A worker has come or gone. */
  private count(worker: Worker, by: 1 | -1): void {
    const { family, pattern } = worker
    this.tallies.of(family, pattern.segments[0]!).workers += by
    if (!isPlace(pattern)) return
    const place = this.place(family, pattern)
    if (by === 1) place.workers.add(worker)
    else place.workers.delete(worker)
    this.tidy(family, pattern, place)
  }

  private place(family: number, route: Route): Place {
    // Calls of one route follow each other.
    if (this.lastRoute === route && this.lastFamily === family && this.lastPlace !== null)
      return this.lastPlace
    const place = this.findPlace(family, route)
    this.lastRoute = route
    this.lastFamily = family
    this.lastPlace = place
    return place
  }

  private findPlace(family: number, route: Route): Place {
    const known = this.catalog.get(family, threeOf(route))
    if (known !== undefined) return known
    const place: Place = { workers: new Set(), pending: 0, listed: false }
    this.catalog.add(family, threeOf(route), place)
    return place
  }

  /** Places are often empty for a moment only, so they stay until somebody looks. */
  private tidy(family: number, route: Route, place: Place): void {
    if (place.workers.size > 0 || place.pending > 0 || place.listed) return
    place.listed = true
    this.emptied.push({ family, route, place })
    if (this.emptied.length >= EMPTIED_MAX) this.sweep()
  }

  private sweep(): void {
    this.lastPlace = null
    for (const { family, route, place } of this.emptied.splice(0)) {
      place.listed = false
      if (place.workers.size === 0 && place.pending === 0) this.catalog.remove(family, threeOf(route))
    }
  }

  handle(request: RpcRequest, session: Session, context: Context): Outcome<null> {
    switch (request.op) {
      case "call": {
        const tally = this.tallies.of(session.family, request.route.segments[0]!)
        tally.operations.add(context.now)
        const fault = this.call(request, session, context, tally)
        if (fault !== null) {
          if (fault === RPC_FAULTS.backpressure) tally.rejected++
          context.emit({ kind: "callFault", session: session.id, correlation: request.correlation, fault })
        }
        return SILENT
      }
      case "answer":
        this.answer(request, session, context)
        return SILENT
      case "register":
        return this.register(request, session, context)
      case "unregister": {
        const worker = this.workers.find(session.id, request.pattern)
        if (worker !== undefined) this.dismiss(worker, session, context)
        return null
      }
    }
  }

  private register(request: RpcRegister, session: Session, context: Context): null | Fault {
    this.tallies.of(session.family, request.pattern.segments[0]!).operations.add(context.now)
    if (this.workers.find(session.id, request.pattern) !== undefined) return null
    const refusal = this.workers.refusal(session, request.pattern)
    if (refusal !== null) return refusal
    const worker: Worker = {
      id: context.nextId(),
      session: session.id,
      family: session.family,
      pattern: request.pattern,
      createdAtMs: context.now,
      received: 0,
      credit: request.credit,
      busy: 0,
      handled: 0,
      latencyMs: 0,
    }
    this.workers.add(worker, session, context)
    const what = `a worker with credit ${request.credit} has registered`
    this.timeline.note("registration", context.now, session.family, request.pattern.segments, what)
    this.feed(worker, context)
    return null
  }

  private call(request: RpcCall, session: Session, context: Context, tally: Tally): Fault | null {
    const family = this.family(session.family)
    if (family.calls.has(request.correlation)) return RPC_FAULTS.duplicate
    if (this.due.size >= this.limits.pendingMax) return RPC_FAULTS.backpressure
    const candidates = this.workers.matching(session.family, request.route)
    if (candidates.length === 0) return RPC_FAULTS.noWorker
    const call: Call = {
      family: session.family,
      correlation: request.correlation,
      route: request.route,
      caller: session.id,
      worker: null,
      payload: request.payload,
      nextSequence: 0,
      order: this.submitted++,
      submittedMs: context.now,
      tally,
      place: null,
      dueMs: context.now + this.limits.timeoutMs,
      heapAt: -1,
    }
    const worker = this.choose(family, call.route, candidates)
    if (worker !== null) {
      this.enter(call, context)
      this.deliver(call, worker, context)
      return null
    }
    if (context.draining) return RPC_FAULTS.backpressure
    const waiting = family.waiting.get(call.route.text)?.length ?? 0
    if (waiting >= this.limits.pendingPerRouteMax) return RPC_FAULTS.backpressure
    // The bytes are lent for this turn only, and the call outlives it.
    call.payload = spanOf(copyOf(request.payload))
    this.enter(call, context)
    this.enqueue(call, context)
    return null
  }

  private answer(request: RpcAnswer, session: Session, context: Context): void {
    const call = this.families.get(session.family)?.calls.get(request.correlation)
    if (call === undefined) {
      this.tallies.of(session.family, "").late++
      return
    }
    const worker = call.worker
    if (worker === null || worker.session !== session.id) return
    if (request.sequence !== call.nextSequence) {
      this.end(call, RPC_FAULTS.invalidSequence, context)
      this.feed(worker, context)
      return
    }
    if (!request.last) {
      const { nextSequence } = call
      call.nextSequence = nextSequence + 1
      context.journal.undo(() => {
        call.nextSequence = nextSequence
      })
    }
    if (call.caller !== null) {
      context.emit({ kind: "forward", session: call.caller, type: RPC_ANSWER, payload: request.payload })
    }
    if (!request.last) return
    const tookMs = context.now - call.submittedMs
    worker.handled++
    worker.latencyMs += tookMs
    call.tally.completed++
    call.tally.latencyMs += tookMs
    this.end(call, null, context)
    this.feed(worker, context)
  }

  expire(context: Context): void {
    const freed = new Set<Worker>()
    for (const call of this.due.dueAt(context.now)) {
      if (call.worker !== null) freed.add(call.worker)
      call.tally.timedOut++
      this.timeline.note("failure", context.now, call.family, call.route.segments, "a call timed out")
      this.end(call, RPC_FAULTS.timeout, context)
    }
    // Only now: a worker must not be given a call that is over as well.
    for (const worker of freed) this.feed(worker, context)
  }

  leave(session: SessionId, context: Context): void {
    for (const call of this.live(call => call.caller === session)) {
      if (call.worker === null) this.end(call, null, context)
      else context.journal.assign(call, { caller: null })
    }
    for (const worker of this.workers.of(session)) this.dismiss(worker, null, context)
  }

  nextDue(): Millis | null {
    return this.due.nextMs
  }

  drain(context: Context): void {
    for (const family of this.families.values()) {
      for (const calls of [...family.waiting.values()]) {
        for (const call of [...calls]) this.end(call, RPC_FAULTS.backpressure, context)
      }
    }
  }

  figures(): Figures<"rpc"> {
    const nextMs = this.due.nextMs
    return {
      workers_registered: this.workers.figures.registrations,
      requests_pending: this.due.size,
      // All calls have the same time, so the first to run out is the oldest.
      oldest_pending_request_ms: nextMs === null ? 0 : nextMs - this.limits.timeoutMs,
    }
  }

  private family(id: number): Family {
    let family = this.families.get(id)
    if (family === undefined) {
      family = new Family()
      this.families.set(id, family)
    }
    return family
  }

  /** The next worker in turn that has credit, or null. Candidates stand in the order of their ids. */
  private choose(family: Family, route: Route, candidates: readonly Worker[]): Worker | null {
    const last = family.turns.get(route.text) ?? 0
    let start = 0
    while (start < candidates.length && candidates[start]!.id <= last) start++
    for (let i = 0; i < candidates.length; i++) {
      const worker = candidates[(start + i) % candidates.length]!
      if (worker.busy < worker.credit) return worker
    }
    return null
  }

  /** Gives the worker what waits for one like it, oldest first, as far as its credit goes. */
  private feed(worker: Worker, context: Context): void {
    const family = this.families.get(worker.family)
    if (family === undefined || family.waiting.size === 0) return
    if (this.workers.find(worker.session, worker.pattern) !== worker) return
    while (worker.busy < worker.credit) {
      const call = this.oldestFor(family, worker.pattern)
      if (call === null) return
      this.dequeue(call, context)
      this.deliver(call, worker, context)
    }
  }

  private oldestFor(family: Family, pattern: Route): Call | null {
    if (pattern.concrete) return family.waiting.get(pattern.text)?.[0] ?? null
    let oldest: Call | null = null
    for (const [call] of family.waiting.values()) {
      if (call === undefined || !matches(pattern, call.route)) continue
      if (oldest === null || call.order < oldest.order) oldest = call
    }
    return oldest
  }

  private deliver(call: Call, worker: Worker, context: Context): void {
    const { turns } = this.family(call.family)
    if (turns.get(call.route.text) !== worker.id) {
      if (turns.size >= TURNS_REMEMBERED_MAX) turns.clear()
      turns.set(call.route.text, worker.id)
    }
    const payload = call.payload!
    call.worker = worker
    call.payload = null
    worker.busy++
    context.journal.undo(() => {
      worker.busy--
      call.payload = payload
      call.worker = null
    })
    context.emit({ kind: "forward", session: worker.session, type: RPC_CALL, payload })
  }

  /** A worker is gone or wants no more: its calls are lost, waiting ones find another or nobody. */
  private dismiss(worker: Worker, session: Session | null, context: Context): void {
    this.workers.remove(worker, session, context)
    this.timeline.note(
      "registration",
      context.now,
      worker.family,
      worker.pattern.segments,
      "a worker has gone",
    )
    for (const call of this.live(call => call.worker === worker))
      this.end(call, RPC_FAULTS.workerLost, context)
    const family = this.families.get(worker.family)
    if (family === undefined) return
    for (const calls of [...family.waiting.values()]) {
      const [first] = calls
      if (first === undefined || !matches(worker.pattern, first.route)) continue
      if (this.workers.matching(worker.family, first.route).length > 0) continue
      for (const call of [...calls]) this.end(call, RPC_FAULTS.noWorker, context)
    }
  }

  private enter(call: Call, context: Context): void {
    this.insert(call)
    context.journal.undo(() => this.erase(call))
  }

  /** The call is over, wherever it stood; its caller hears of it by `fault`, unless the worker has answered. */
  private end(call: Call, fault: Fault | null, context: Context): void {
    const { worker } = call
    if (worker === null) this.dequeue(call, context)
    else worker.busy--
    this.erase(call)
    context.journal.undo(() => {
      this.insert(call)
      if (worker !== null) worker.busy++
    })
    if (fault !== null && call.caller !== null) {
      context.emit({ kind: "callFault", session: call.caller, correlation: call.correlation, fault })
    }
  }

  /** The live calls that answer to a question asked only when a client goes; there are few thousand at most. */
  private live(wanted: (call: Call) => boolean): Call[] {
    return [...this.families.values()].flatMap(({ calls }) => [...calls.values()].filter(wanted))
  }

  private insert(call: Call): void {
    this.family(call.family).calls.set(call.correlation, call)
    this.due.add(call)
    call.tally.pending++
    call.place = this.place(call.family, call.route)
    call.place.pending++
  }

  private erase(call: Call): void {
    this.families.get(call.family)?.calls.delete(call.correlation)
    this.due.remove(call)
    call.tally.pending--
    const place = call.place!
    place.pending--
    this.tidy(call.family, call.route, place)
  }

  private enqueue(call: Call, context: Context): void {
    const { waiting } = this.family(call.family)
    const key = call.route.text
    const calls = waiting.get(key)
    if (calls === undefined) waiting.set(key, [call])
    else calls.push(call)
    context.journal.undo(() => this.unqueue(call))
  }

  private dequeue(call: Call, context: Context): void {
    const at = this.unqueue(call)
    context.journal.undo(() => {
      const { waiting } = this.family(call.family)
      const calls = waiting.get(call.route.text)
      if (calls === undefined) waiting.set(call.route.text, [call])
      else calls.splice(at, 0, call)
    })
  }

  private unqueue(call: Call): number {
    const { waiting } = this.family(call.family)
    const calls = waiting.get(call.route.text)!
    const at = calls.indexOf(call)
    calls.splice(at, 1)
    if (calls.length === 0) waiting.delete(call.route.text)
    return at
  }

  // ── operators ──────────────────────────────────────────────────────────────────────────────────────────

  *realms(): Generator<string> {
    this.sweep()
    yield* this.catalog.realms(null)
  }

  command(command: RpcCommand, context: Context): RpcOutcomes[keyof RpcOutcomes] {
    const found = [...this.families]
      .filter(([family]) => command.family === null || command.family === family)
      .flatMap(([, { calls }]) => calls.get(command.correlation) ?? [])
    const [call] = found
    if (call === undefined) return NO_CALL
    if (found.length > 1) return refuse("ambiguous_target", "several families have this call: name one")
    const { worker, family, route } = call
    this.end(call, CANCELLED, context)
    if (worker !== null) this.feed(worker, context)
    this.timeline.note(
      "transition",
      context.now,
      family,
      route.segments,
      "a call was cancelled by an operator",
    )
    return { family, route: route.text }
  }

  view(query: RpcQuery, now: Millis): RpcAnswers[keyof RpcAnswers] {
    this.sweep()
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
      case "workers":
        return this.workerPage(query)
      case "pending":
        return this.pendingPage(query)
      case "resource":
        return this.resource(query.place)
    }
  }

  private stats(family: number | null, realm: string | null, now: Millis): RpcStats {
    const tallies = this.tallies.select(family, realm)
    const completed = sumOf(tallies, tally => tally.completed)
    const pending = this.calls(family, realm)
    return {
      workers: sumOf(tallies, tally => tally.workers),
      pending: sumOf(tallies, tally => tally.pending),
      waiting: pending.filter(call => call.worker === null).length,
      completed,
      timedOut: sumOf(tallies, tally => tally.timedOut),
      rejected: sumOf(tallies, tally => tally.rejected),
      lateAnswers: sumOf(tallies, tally => tally.late),
      oldestPendingMs: pending[0]?.submittedMs ?? null,
      operationsPerSecond: sumOf(tallies, tally => tally.operations.perSecond(now)),
      averageLatencyMs: completed === 0 ? 0 : sumOf(tallies, tally => tally.latencyMs) / completed,
    }
  }

  /** Live calls, of which there are few thousand at most, oldest first. */
  private calls(family: number | null, realm: string | null): Call[] {
    const all = this.live(
      call =>
        (family === null || call.family === family) && (realm === null || call.route.segments[0] === realm),
    )
    return all.sort((a, b) => a.order - b.order)
  }

  private workerPage({ family, realm, page }: Extract<RpcQuery, { name: "workers" }>): Page<WorkerRow> {
    const total = sumOf(this.tallies.select(family, realm), tally => tally.workers)
    const { rows } = pageFrom(this.workersOf(family, realm), total, page)
    return { total, rows: rows.map(workerRow) }
  }

  private *workersOf(family: number | null, realm: string | null): Generator<Worker> {
    for (const worker of this.workers.values()) {
      if (family !== null && worker.family !== family) continue
      if (realm === null || worker.pattern.segments[0] === realm) yield worker
    }
  }

  private pendingPage({ family, realm, page }: Extract<RpcQuery, { name: "pending" }>): Page<PendingRow> {
    const { total, rows } = pageOf(this.calls(family, realm), page)
    const shown = rows.map(({ correlation, family, route, submittedMs, worker }) => ({
      correlation,
      family,
      route: route.text,
      submittedAtMs: submittedMs,
      worker: worker?.session ?? null,
    }))
    return { total, rows: shown }
  }

  private resource({ family, realm, area, resource }: PlaceAsk): RpcResource {
    const places = this.catalog.leaves(family, [realm, area, resource])
    const averages = places
      .flatMap(place => [...place.workers])
      .filter(worker => worker.handled > 0)
      .map(averageOf)
    return {
      resource,
      workers: sumOf(places, place => place.workers.size),
      pending: sumOf(places, place => place.pending),
      slowestAverageMs: averages.length === 0 ? null : Math.max(...averages),
    }
  }

  private search({ text, realm, limit }: Extract<RpcQuery, { name: "search" }>): RpcAnswers["search"] {
    const found: Found[] = []
    let seen = 0
    for (const call of this.calls(null, realm)) {
      const hex = [...call.correlation].map(unit => unit.charCodeAt(0).toString(16).padStart(2, "0")).join("")
      const fields = [
        ...(hex === text ? ["correlation_id"] : []),
        ...(call.route.text.includes(text) ? ["route"] : []),
      ]
      if (fields.length === 0) continue
      if (found.length >= limit) return { found, truncated: true }
      const summary = `${call.route.text}, ${call.worker === null ? "waits" : `at sess_${call.worker.session}`}`
      const path = `rpc/pending?realm=${encodeURIComponent(call.route.segments[0]!)}`
      found.push({
        domain: "rpc",
        kind: "call",
        title: hex,
        summary,
        healthy: call.worker !== null,
        path,
        fields,
      })
    }
    for (const worker of this.workersOf(null, realm)) {
      if (++seen > SEARCHED_MAX) return { found, truncated: true }
      const fields = [
        ...(worker.pattern.text.includes(text) ? ["route"] : []),
        ...(`sess_${worker.session}` === text ? ["session_id"] : []),
      ]
      if (fields.length === 0) continue
      if (found.length >= limit) return { found, truncated: true }
      const summary = `sess_${worker.session}, ${worker.busy} of ${worker.credit} busy`
      const path = `rpc/workers?realm=${encodeURIComponent(worker.pattern.segments[0]!)}`
      found.push({
        domain: "rpc",
        kind: "worker",
        title: worker.pattern.text,
        summary,
        healthy: true,
        path,
        fields,
      })
    }
    return { found, truncated: false }
  }
}

const NO_CALL: Refused = refuse("not_found", "there is no such pending call")
const CANCELLED = RPC_FAULTS.backend.because("cancelled by an operator")

/** The first three segments; what is missing is empty. */
function threeOf({ segments }: Route): readonly string[] {
  if (segments.length >= 3) return segments
  return [segments[0] ?? "", segments[1] ?? "", segments[2] ?? ""]
}

/** Does a pattern name one resource, whatever operations it covers? */
function isPlace(pattern: Route): boolean {
  return threeOf(pattern)
    .slice(0, 3)
    .every(segment => segment !== "*" && segment !== "**")
}

function averageOf({ handled, latencyMs }: Worker): number {
  return handled === 0 ? 0 : latencyMs / handled
}

function workerRow(worker: Worker): WorkerRow {
  const { session, family, pattern, createdAtMs, handled } = worker
  return {
    session,
    family,
    route: pattern.text,
    realm: pattern.segments[0] === "**" ? "*" : pattern.segments[0]!,
    registeredAtMs: createdAtMs,
    handled,
    averageLatencyMs: averageOf(worker),
  }
}
