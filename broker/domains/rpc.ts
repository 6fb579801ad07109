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
import { type Registration, type RegistrationLimits, Registrations } from "./registrations.ts"

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
}

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

  constructor(limits: RpcLimits) {
    this.limits = limits
    this.workers = new Registrations(limits, RPC_FAULTS.registrationLimit)
  }

  handle(request: RpcRequest, session: Session, context: Context): Outcome<null> {
    switch (request.op) {
      case "call": {
        const fault = this.call(request, session, context)
        if (fault !== null) {
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
    if (this.workers.find(session.id, request.pattern) !== undefined) return null
    const refusal = this.workers.refusal(session, request.pattern)
    if (refusal !== null) return refusal
    const worker: Worker = {
      id: context.nextId(),
      session: session.id,
      family: session.family,
      pattern: request.pattern,
      credit: request.credit,
      busy: 0,
    }
    this.workers.add(worker, session, context)
    this.feed(worker, context)
    return null
  }

  private call(request: RpcCall, session: Session, context: Context): Fault | null {
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
    if (call === undefined) return
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
    this.end(call, null, context)
    this.feed(worker, context)
  }

  expire(context: Context): void {
    const freed = new Set<Worker>()
    for (const call of this.due.dueAt(context.now)) {
      if (call.worker !== null) freed.add(call.worker)
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
  }

  private erase(call: Call): void {
    this.families.get(call.family)?.calls.delete(call.correlation)
    this.due.remove(call)
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
}
