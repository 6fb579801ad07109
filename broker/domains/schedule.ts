// Schedule: durable cron definitions that publish a payload to whoever listens at that moment
// (docs/PROTOCOL.md, SC-*). Occurrences are never stored: what falls into downtime is skipped.

import { copyOf, spanOf, Writer } from "../../protocol/bytes.ts"
import type { Fault } from "../../protocol/fault.ts"
import {
  LIST_ROOM_BYTES,
  listEntryBytes,
  SCHEDULE_FAULTS,
  SCHEDULE_NOTIFY,
  type ScheduleCreate,
  type ScheduleEntry,
  type ScheduleList,
  type SchedulePage,
  type ScheduleRequest,
  writeScheduleNotice,
} from "../../protocol/messages/schedule.ts"
import type { Route } from "../../protocol/route.ts"
import { CronTimes } from "./cron.ts"
import type { Context, Domain, Millis, Outcome, Session, SessionId } from "./domain.ts"
import { type Due, DueHeap } from "./due.ts"
import type { Figures } from "./figures.ts"
import {
  type Registration,
  type RegistrationLimits,
  Registrations,
  subscribe,
  unsubscribe,
} from "./registrations.ts"

/** A definition as it is stored; its payload stays in the store until it is needed. */
export interface StoredSchedule {
  readonly family: number
  readonly route: Route
  readonly cron: string
  readonly single: boolean
}

export interface ScheduleStore {
  /** All definitions. */
  all(): Iterable<StoredSchedule>
  payload(family: number, route: Route): Uint8Array
  /** Stores or replaces. */
  put(definition: StoredSchedule, payload: Uint8Array): void
  remove(family: number, route: Route): void
}

export interface ScheduleLimits extends RegistrationLimits {
  /** Definitions, all families together. */
  readonly schedulesMax: number
}

interface Definition extends Due, StoredSchedule {
  readonly times: CronTimes
  /** The registration that had the last occurrence, where each goes to one. */
  lastFollower: number
}

/** Occurrences handled in one turn; the rest waits for the next, behind whatever came in meanwhile. */
const FIRES_PER_TURN = 128

type Reply = SchedulePage | number | null

export class ScheduleDomain implements Domain<ScheduleRequest, Reply> {
  private readonly families = new Map<number, Definition[]>()
  private readonly due = new DueHeap<Definition>()
  private readonly expressions = new Map<string, CronTimes>()
  private readonly registrations: Registrations
  private readonly limits: ScheduleLimits
  private readonly store: ScheduleStore
  /** Occurrences so far in this process, and those that nobody listened to. */
  private readonly counted = { fires: 0, unheard: 0 }
  private defined = 0

  constructor(limits: ScheduleLimits, store: ScheduleStore) {
    this.limits = limits
    this.store = store
    this.registrations = new Registrations(limits, SCHEDULE_FAULTS.subscriptionLimit)
  }

  /** Takes over what is stored; occurrences count from now on. */
  load(now: Millis): void {
    for (const stored of this.store.all()) {
      const times = this.timesOf(stored.cron)
      if (times === null)
        throw new Error(`the stored definition ${stored.route.text} has no valid cron expression`)
      this.insert(this.definition(stored, times, now))
    }
  }

  handle(request: ScheduleRequest, session: Session, context: Context): Outcome<Reply> {
    switch (request.op) {
      case "create":
        return this.create(request, session, context)
      case "cancel": {
        if (!context.writable) return SCHEDULE_FAULTS.backend
        const known = this.find(session.family, request.route)
        if (known === undefined) return null
        this.store.remove(known.family, known.route)
        this.forget(known, context)
        context.wrote("sync")
        return null
      }
      case "list":
        return this.list(request, session)
      case "subscribe":
        return subscribe(this.registrations, session, request.pattern, context)
      case "unsubscribe":
        return unsubscribe(this.registrations, session, request.pattern, context)
    }
  }

  private create(request: ScheduleCreate, session: Session, context: Context): null | Fault {
    const { route, cron, single } = request
    const times = this.timesOf(cron)
    if (times === null) return SCHEDULE_FAULTS.invalidCron
    if (!context.writable) return SCHEDULE_FAULTS.backend
    const known = this.find(session.family, route)
    if (known === undefined && this.due.size >= this.limits.schedulesMax) return SCHEDULE_FAULTS.scheduleLimit
    const stored = { family: session.family, route, cron, single }
    this.store.put(stored, copyOf(request.payload))
    if (known !== undefined) this.forget(known, context)
    const definition = this.definition(stored, times, context.now)
    this.insert(definition)
    context.journal.undo(() => this.erase(definition))
    context.wrote("sync")
    return null
  }

  private definition(stored: StoredSchedule, times: CronTimes, now: Millis): Definition {
    const dueMs = times.next(now)!
    return { ...stored, times, lastFollower: 0, dueMs, heapAt: -1, order: this.defined++ }
  }

  private list(request: ScheduleList, session: Session): SchedulePage {
    const all = this.families.get(session.family) ?? []
    const entries: ScheduleEntry[] = []
    let room = LIST_ROOM_BYTES
    const end = request.limit === 0 ? all.length : Math.min(all.length, request.offset + request.limit)
    for (let at = request.offset; at < end; at++) {
      const { family, route, cron, single } = all[at]!
      const payload = this.store.payload(family, route)
      room -= listEntryBytes(route, cron, payload.length)
      if (room < 0) break
      entries.push({ route, cron, single, payload })
    }
    return { total: all.length, entries }
  }

  expire(context: Context): void {
    for (let fired = 0; fired < FIRES_PER_TURN; fired++) {
      const definition = this.due.first(context.now)
      if (definition === null) return
      const before = definition.dueMs
      definition.dueMs = definition.times.next(context.now)!
      this.due.moved(definition)
      context.journal.undo(() => {
        definition.dueMs = before
        this.due.moved(definition)
      })
      this.fire(definition, context)
    }
  }

  private fire(definition: Definition, context: Context): void {
    const matching = this.registrations.matching(definition.family, definition.route)
    context.journal.assign(this.counted, { fires: this.counted.fires + 1 })
    if (matching.length === 0) {
      context.journal.assign(this.counted, { unheard: this.counted.unheard + 1 })
      return
    }
    const followers = definition.single ? [this.nextInTurn(definition, matching, context)] : matching
    const writer = new Writer()
    writeScheduleNotice(writer, definition.route, this.store.payload(definition.family, definition.route))
    context.emit({ kind: "notify", type: SCHEDULE_NOTIFY, followers, tail: spanOf(writer.written) })
  }

  private nextInTurn(
    definition: Definition,
    matching: readonly Registration[],
    context: Context,
  ): Registration {
    const next = matching.find(registration => registration.id > definition.lastFollower) ?? matching[0]!
    context.journal.assign(definition, { lastFollower: next.id })
    return next
  }

  leave(session: SessionId, context: Context): void {
    this.registrations.leave(session, context)
  }

  nextDue(): Millis | null {
    return this.due.nextMs
  }

  drain(): void {
    // Nothing here waits for an answer.
  }

  figures(now: Millis): Figures<"schedule"> {
    return {
      active: this.due.size,
      fires_total: this.counted.fires,
      pending_fire_claims: this.due.countDue(now),
      notify_failures_total: this.counted.unheard,
    }
  }

  private timesOf(cron: string): CronTimes | null {
    const known = this.expressions.get(cron)
    if (known !== undefined) return known
    const times = CronTimes.parse(cron)
    if (times === null) return null
    if (this.expressions.size >= 4_096) this.expressions.clear()
    this.expressions.set(cron, times)
    return times
  }

  /** Where the route stands among its family's definitions, or would stand. They are sorted by route. */
  private position(definitions: readonly Definition[], route: Route): number {
    let low = 0
    let high = definitions.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (definitions[middle]!.route.text < route.text) low = middle + 1
      else high = middle
    }
    return low
  }

  private find(family: number, route: Route): Definition | undefined {
    const definitions = this.families.get(family) ?? []
    const found = definitions[this.position(definitions, route)]
    return found?.route.text === route.text ? found : undefined
  }

  private forget(definition: Definition, context: Context): void {
    this.erase(definition)
    context.journal.undo(() => this.insert(definition))
  }

  private insert(definition: Definition): void {
    let definitions = this.families.get(definition.family)
    if (definitions === undefined) {
      definitions = []
      this.families.set(definition.family, definitions)
    }
    definitions.splice(this.position(definitions, definition.route), 0, definition)
    this.due.add(definition)
  }

  private erase(definition: Definition): void {
    const definitions = this.families.get(definition.family)!
    definitions.splice(this.position(definitions, definition.route), 1)
    this.due.remove(definition)
  }
}
