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
import { parseRoute, type Route } from "../../protocol/route.ts"
import { Catalog, pageFrom, pageOf } from "./catalog.ts"
import { CronTimes } from "./cron.ts"
import type { Context, Domain, Millis, Outcome, Session, SessionId } from "./domain.ts"
import { type Due, DueHeap } from "./due.ts"
import type { Figures } from "./figures.ts"
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
import { type Found, meets, type Page, type Refused, refuse } from "./views/common.ts"
import type {
  Execution,
  ScheduleAnswers,
  ScheduleCommand,
  ScheduleOutcomes,
  ScheduleQuery,
  ScheduleResource,
  ScheduleRow,
  ScheduleStats,
} from "./views/schedule.ts"

/** What a definition says, besides its payload. */
export interface ScheduleForm {
  readonly family: number
  readonly route: Route
  readonly cron: string
  readonly single: boolean
  /** A definition that is not enabled never falls due. */
  readonly enabled: boolean
  /** Who keeps it from outside, or null. */
  readonly managedBy: string | null
}

/** A definition as it is stored; its payload stays in the store until it is needed. */
export interface StoredSchedule extends ScheduleForm {
  readonly payloadSha256: string
  readonly etag: string
}

export interface ScheduleStore {
  /** All definitions. */
  all(): Iterable<StoredSchedule>
  payload(family: number, route: Route): Uint8Array
  /** Stores or replaces; returns the stored form. */
  put(form: ScheduleForm, payload: Uint8Array): StoredSchedule
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
  /** Fires at their time, in this process. */
  executions: number
  /** Those that reached nobody. */
  missed: number
}

/** Numbers of one realm. */
class Tally {
  readonly operations = new Rate(10)
  readonly executions = new Rate(60)
  enabled = 0
  disabled = 0
}

/** Executions remembered. */
const EXECUTIONS_KEPT = 1_000
const SEARCHED_MAX = 10_000
/** Between resource and operation in a name of the inventory of definitions. */
const CUT = "\u0000"

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
  private readonly realmsDeclared: Realms
  private readonly tallies = new Tallies(
    () => new Tally(),
    tally => tally.enabled + tally.disabled === 0,
    (into, from) => {
      into.operations.total += from.operations.total
      into.executions.total += from.executions.total
    },
  )
  /** By realm, area and resource with operation. */
  private readonly catalog = new Catalog<Definition>()
  /** By realm, area and resource. */
  private readonly resources = new Catalog<Definition[]>()
  private readonly timeline = new Timeline()
  private readonly executions: Execution[] = []
  private count = 0
  /** Occurrences so far in this process, and those that nobody listened to. */
  private readonly counted = { fires: 0, unheard: 0 }
  private defined = 0

  constructor(limits: ScheduleLimits, store: ScheduleStore, realms = new Realms()) {
    this.limits = limits
    this.store = store
    this.realmsDeclared = realms
    this.registrations = new Registrations(limits, SCHEDULE_FAULTS.subscriptionLimit, realms)
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
    const about = "route" in request ? request.route : "pattern" in request ? request.pattern : null
    this.tallies.of(session.family, about?.segments[0] ?? "").operations.add(context.now)
    switch (request.op) {
      case "create":
        return this.create(request, session, context)
      case "cancel": {
        if (!context.writable) return SCHEDULE_FAULTS.backend
        const known = this.find(session.family, request.route)
        if (known === undefined) return null
        this.erasure(known, context)
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
    if (known === undefined && this.count >= this.limits.schedulesMax) return SCHEDULE_FAULTS.scheduleLimit
    // Programs create their schedules anew at each start; that does not take one from its manager.
    const managedBy = known?.managedBy ?? null
    const form = { family: session.family, route, cron, single, enabled: true, managedBy }
    this.keep(form, copyOf(request.payload), times, known, context)
    return null
  }

  /** Stores a definition in the place of the known one, if any. */
  private keep(
    form: ScheduleForm,
    payload: Uint8Array,
    times: CronTimes,
    known: Definition | undefined,
    context: Context,
  ): Definition {
    const stored = this.store.put(form, payload)
    if (known !== undefined) this.forget(known, context)
    const definition = this.definition(stored, times, context.now)
    if (known !== undefined) {
      definition.executions = known.executions
      definition.missed = known.missed
    }
    this.insert(definition)
    context.journal.undo(() => this.erase(definition))
    context.wrote("sync")
    const { segments } = form.route
    const summary = `${known === undefined ? "defined" : "defined anew"}: ${form.cron}`
    this.timeline.note("transition", context.now, form.family, segments, `${segments[3]} ${summary}`)
    return definition
  }

  private erasure(known: Definition, context: Context): void {
    this.store.remove(known.family, known.route)
    this.forget(known, context)
    context.wrote("sync")
    const { segments } = known.route
    this.timeline.note("transition", context.now, known.family, segments, `${segments[3]} removed`)
  }

  private definition(stored: StoredSchedule, times: CronTimes, now: Millis): Definition {
    const dueMs = times.next(now)!
    const order = this.defined++
    return { ...stored, times, lastFollower: 0, executions: 0, missed: 0, dueMs, heapAt: -1, order }
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
      const tally = this.tallies.of(definition.family, definition.route.segments[0]!)
      tally.executions.add(context.now)
      definition.executions++
      const { matched, accepted } = this.fire(definition, context)
      if (accepted === 0) definition.missed++
      this.executed(definition, false, matched, accepted, context)
    }
  }

  private executed(
    { family, route }: Definition,
    manual: boolean,
    matched: number,
    accepted: number,
    context: Context,
  ): void {
    const { segments } = route
    this.executions.push({ atMs: context.now, family, segments, manual, matched, accepted })
    if (this.executions.length > EXECUTIONS_KEPT * 2) this.executions.splice(0, EXECUTIONS_KEPT)
    this.timeline.note(
      accepted === 0 ? "failure" : "observation",
      context.now,
      family,
      segments,
      `${segments[3]} ${manual ? "triggered" : "fired"}, handed to ${accepted} of ${matched}`,
    )
  }

  /** Hands the payload to whoever listens. */
  private fire(definition: Definition, context: Context): { matched: number; accepted: number } {
    const matching = this.registrations.matching(definition.family, definition.route)
    context.journal.assign(this.counted, { fires: this.counted.fires + 1 })
    if (matching.length === 0) {
      context.journal.assign(this.counted, { unheard: this.counted.unheard + 1 })
      return { matched: 0, accepted: 0 }
    }
    const followers = definition.single ? [this.nextInTurn(definition, matching, context)] : matching
    const writer = new Writer()
    writeScheduleNotice(writer, definition.route, this.store.payload(definition.family, definition.route))
    context.emit({ kind: "notify", type: SCHEDULE_NOTIFY, followers, tail: spanOf(writer.written) })
    return { matched: matching.length, accepted: followers.length }
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
    const { family, route } = definition
    let definitions = this.families.get(family)
    if (definitions === undefined) {
      definitions = []
      this.families.set(family, definitions)
    }
    definitions.splice(this.position(definitions, route), 0, definition)
    if (definition.enabled) this.due.add(definition)
    this.catalog.add(family, keyOf(route), definition)
    const group = this.resources.get(family, route.segments)
    if (group === undefined) this.resources.add(family, route.segments, [definition])
    else group.push(definition)
    this.count++
    const tally = this.tallies.of(family, route.segments[0]!)
    if (definition.enabled) tally.enabled++
    else tally.disabled++
  }

  private erase(definition: Definition): void {
    const { family, route } = definition
    const definitions = this.families.get(family)!
    definitions.splice(this.position(definitions, route), 1)
    this.due.remove(definition)
    this.catalog.remove(family, keyOf(route))
    const group = this.resources.get(family, route.segments)!
    group.splice(group.indexOf(definition), 1)
    if (group.length === 0) this.resources.remove(family, route.segments)
    this.count--
    const tally = this.tallies.of(family, route.segments[0]!)
    if (definition.enabled) tally.enabled--
    else tally.disabled--
  }

  // ── operators ──────────────────────────────────────────────────────────────────────────────────────────

  command(command: ScheduleCommand, context: Context): ScheduleOutcomes[keyof ScheduleOutcomes] {
    if (command.name === "define") return this.define(command, context)
    if (command.name === "remove") {
      const known = this.known(command.family, command.segments)
      if (known === undefined) return NO_DEFINITION
      if (!meets(command.condition, known.etag)) return PRECONDITION
      if (!context.writable) return FULL_DISK
      this.erasure(known, context)
      return { removed: true }
    }
    const { family, segments } = command.place
    const found = this.catalog.leaves(family, keyOf({ segments }))
    const [definition] = found
    if (definition === undefined) return NO_DEFINITION
    if (found.length > 1) return refuse("ambiguous_target", "several families have this schedule: name one")
    const { matched, accepted } = this.fire(definition, context)
    this.executed(definition, true, matched, accepted, context)
    return { row: rowOf(definition), matched, accepted }
  }

  private define(
    command: Extract<ScheduleCommand, { name: "define" }>,
    context: Context,
  ): ScheduleOutcomes["define"] {
    const { family, segments, cron, single, enabled, managedBy, payload, condition } = command
    const known = this.known(family, segments)
    if (!meets(condition, known?.etag ?? null)) return PRECONDITION
    const times = this.timesOf(cron)
    if (times === null) return refuse("invalid_cron", "not a cron expression of five fields that can match")
    const route = parseRoute(`schedule://${segments.join("/")}`, "schedule")
    if (typeof route === "string") return refuse("invalid_payload", `no route: ${route.replaceAll("_", " ")}`)
    if (!this.realmsDeclared.permits(route))
      return refuse("realm_not_declared", "only declared realms may be used here")
    if (listEntryBytes(route, cron, payload.length) > LIST_ROOM_BYTES)
      return refuse("invalid_payload", "the definition would not fit a list reply")
    if (!context.writable) return FULL_DISK
    if (known === undefined && this.count >= this.limits.schedulesMax) {
      return refuse("definition_limit", `there are ${this.limits.schedulesMax} definitions already`)
    }
    const form = { family, route, cron, single, enabled, managedBy }
    return { created: known === undefined, row: rowOf(this.keep(form, payload, times, known, context)) }
  }

  private known(family: number, segments: readonly string[]): Definition | undefined {
    return this.catalog.get(family, keyOf({ segments }))
  }

  *realms(): Generator<string> {
    yield* this.catalog.realms(null)
  }

  view(query: ScheduleQuery, now: Millis): ScheduleAnswers[keyof ScheduleAnswers] {
    switch (query.name) {
      case "realms":
        return pageOf(this.catalog.realms(query.family), query.page)
      case "areas":
        return pageOf(this.catalog.areas(query.family, query.realm), query.page)
      case "resources": {
        const { family, realm, area } = query
        const names = pageOf(this.resources.resources(family, realm, area), query.page)
        const rows = names.rows.map(resource => this.resource(family, [realm, area, resource])!)
        return { total: names.total, rows }
      }
      case "events":
        return this.timeline.of(query.place, query.limit)
      case "search":
        return this.search(query)
      case "stats":
        return this.stats(query.family, query.realm, now)
      case "list":
        return this.rows(query)
      case "resource": {
        const { family, realm, area, resource } = query.place
        return this.resource(family, [realm, area, resource])
      }
      case "definition": {
        const [definition] = this.catalog.leaves(query.place.family, keyOf(query.place))
        return definition === undefined ? null : rowOf(definition)
      }
      case "executions":
        return this.executionsOf(query)
    }
  }

  private stats(family: number | null, realm: string | null, now: Millis): ScheduleStats {
    const tallies = this.tallies.select(family, realm)
    return {
      enabled: sumOf(tallies, tally => tally.enabled),
      disabled: sumOf(tallies, tally => tally.disabled),
      executionsPerMinute: sumOf(tallies, tally => tally.executions.recent(now)),
      executionsTotal: sumOf(tallies, tally => tally.executions.total),
      operationsPerSecond: sumOf(tallies, tally => tally.operations.perSecond(now)),
    }
  }

  private rows(query: Extract<ScheduleQuery, { name: "list" }>): Page<ScheduleRow> {
    const { family, realm, managedBy, page } = query
    if (managedBy === null) {
      const { total, rows } = this.catalog.page(family, realm, page)
      return { total, rows: rows.map(rowOf) }
    }
    const all = this.catalog.page(family, realm, { offset: 0, limit: this.count + 1 }).rows
    const { total, rows } = pageOf(
      all.filter(definition => definition.managedBy?.startsWith(managedBy) === true),
      page,
    )
    return { total, rows: rows.map(rowOf) }
  }

  private resource(family: number | null, segments: readonly string[]): ScheduleResource | null {
    const definitions = this.resources.leaves(family, segments).flat()
    if (definitions.length === 0) return null
    const enabled = definitions.filter(definition => definition.enabled)
    return {
      resource: segments[2]!,
      schedules: definitions.length,
      enabled: enabled.length,
      cron: definitions.length === 1 ? definitions[0]!.cron : null,
      nextMs: enabled.length === 0 ? null : Math.min(...enabled.map(definition => definition.dueMs)),
      executions: sumOf(definitions, definition => definition.executions),
    }
  }

  private executionsOf(query: Extract<ScheduleQuery, { name: "executions" }>): Page<Execution> {
    const { place, realm, missed, page } = query
    const wanted = this.executions.filter(({ family, segments, manual, accepted }) => {
      if (missed && (accepted > 0 || manual)) return false
      if (realm !== null && segments[0] !== realm) return false
      if (place === null) return true
      const same = segments[0] === place.realm && segments[1] === place.area && segments[2] === place.resource
      return same && (place.family === null || place.family === family)
    })
    return pageFrom(wanted.reverse(), wanted.length, page)
  }

  private search(query: Extract<ScheduleQuery, { name: "search" }>): ScheduleAnswers["search"] {
    const { text, realm, limit } = query
    const found: Found[] = []
    const page = this.catalog.page(null, realm, { offset: 0, limit: SEARCHED_MAX })
    for (const { route, cron, family, enabled } of page.rows) {
      if (!route.text.includes(text) && cron !== text) continue
      const [inRealm, area, resource] = route.segments.map(encodeURIComponent)
      found.push({
        domain: "schedule",
        kind: "definition",
        title: route.text,
        summary: `${cron}, family ${family}, ${enabled ? "enabled" : "disabled"}`,
        healthy: true,
        path: `schedule/realms/${inRealm}/areas/${area}/resources/${resource}`,
        fields: [route.text.includes(text) ? "route" : "cron"],
      })
      if (found.length >= limit) return { found, truncated: true }
    }
    return { found, truncated: page.total > page.rows.length }
  }
}

const NO_DEFINITION: Refused = refuse("not_found", "there is no such definition")
const PRECONDITION: Refused = refuse(
  "precondition_failed",
  "the stored form is not the one that was expected",
)
const FULL_DISK: Refused = refuse("unavailable", "the disk is full, refusing writes")

function keyOf({ segments }: { readonly segments: readonly string[] }): readonly string[] {
  const [realm, area, resource, operation] = segments
  return [realm!, area!, `${resource}${CUT}${operation}`]
}

function rowOf(definition: Definition): ScheduleRow {
  const { family, route, cron, single, enabled, managedBy, payloadSha256, etag, executions, missed } =
    definition
  return {
    family,
    segments: route.segments,
    cron,
    single,
    enabled,
    managedBy,
    payloadSha256,
    etag,
    nextMs: enabled ? definition.dueMs : null,
    executions,
    missed,
  }
}
