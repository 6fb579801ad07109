// Notice: fire-and-forget publish and subscribe (docs/PROTOCOL.md, N-*). Keeps nothing but registrations;
// a publish leaves as the bytes that came in.

import type { Fault } from "../../protocol/fault.ts"
import { NOTICE_FAULTS, NOTICE_NOTIFY, type NoticeRequest } from "../../protocol/messages/notice.ts"
import { covers, parseRoute, type Route } from "../../protocol/route.ts"
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
import { type Found, type Page, type PlaceAsk, type Refused, refuse } from "./views/common.ts"
import type {
  NoticeAnswers,
  NoticeCommand,
  NoticeOutcomes,
  NoticeQuery,
  NoticeResource,
  NoticeRouteRow,
  NoticeStats,
  SubscriptionRow,
} from "./views/notice.ts"

/** Numbers of one realm. */
class Tally {
  readonly publishes = new Rate()
  subscriptions = 0
  routes = 0
  deliveries = 0
}

/** A route that was published to, or is subscribed to exactly. */
interface SeenRoute {
  readonly family: number
  readonly route: Route
  readonly publishes: Rate
  deliveries: number
  /** Subscriptions to exactly this route. */
  exact: number
  lastMs: Millis
  readonly tally: Tally
}

/** What there is at one resource. */
interface Place {
  readonly routes: Set<SeenRoute>
  subscriptions: number
}

/** Routes remembered; with more, those that were published to longest ago go, a tenth at a time. */
const ROUTES_MAX = 10_000
const SEARCHED_MAX = 10_000

export class NoticeDomain implements Domain<NoticeRequest, number | null> {
  private readonly registrations: Registrations
  private readonly tallies = new Tallies(
    () => new Tally(),
    tally => tally.subscriptions + tally.routes === 0,
    (into, from) => {
      into.publishes.total += from.publishes.total
      into.deliveries += from.deliveries
    },
  )
  private readonly seen = new Map<number, Map<string, SeenRoute>>()
  private seenCount = 0
  private sorted: SeenRoute[] | null = null
  private readonly catalog = new Catalog<Place>()
  private readonly timeline = new Timeline()
  /** The last publish, which may be repeated without being judged again. */
  private last: SeenRoute | null = null
  private lastFollowers = 0
  private repeated = 0

  constructor(limits: RegistrationLimits, realms = new Realms()) {
    this.registrations = new Registrations(limits, NOTICE_FAULTS.subscriptionLimit, realms, (one, by) =>
      this.count(one, by),
    )
  }

  /** The last publish has come again, with nothing in between. */
  again(): void {
    this.repeated++
  }

  /** Counts repetitions of the last publish. */
  private settle(): void {
    const { last, repeated } = this
    if (last === null || repeated === 0) return
    this.repeated = 0
    last.publishes.add(last.lastMs, repeated)
    last.tally.publishes.add(last.lastMs, repeated)
    last.deliveries += repeated * this.lastFollowers
    last.tally.deliveries += repeated * this.lastFollowers
  }

  private published(family: number, route: Route, followers: number, now: Millis): void {
    this.settle()
    const known = this.seen.get(family)?.get(route.text) ?? this.see(family, route, now)
    known.publishes.add(now)
    known.tally.publishes.add(now)
    known.deliveries += followers
    known.tally.deliveries += followers
    known.lastMs = now
    this.last = known
    this.lastFollowers = followers
  }

  private see(family: number, route: Route, now: Millis): SeenRoute {
    if (this.seenCount >= ROUTES_MAX) this.forgetSome()
    const tally = this.tallies.of(family, route.segments[0]!)
    const seen: SeenRoute = {
      family,
      route,
      publishes: new Rate(60),
      deliveries: 0,
      exact: 0,
      lastMs: now,
      tally,
    }
    let routes = this.seen.get(family)
    if (routes === undefined) {
      routes = new Map()
      this.seen.set(family, routes)
    }
    routes.set(route.text, seen)
    this.seenCount++
    tally.routes++
    this.sorted = null
    this.place(family, route).routes.add(seen)
    return seen
  }

  private forgetSome(): void {
    const idle = [...this.seen.values()]
      .flatMap(routes => [...routes.values()])
      .filter(seen => seen.exact === 0)
    idle.sort((a, b) => a.lastMs - b.lastMs)
    // With exact subscriptions everywhere, even those give way: the table has its bound.
    const going = idle.length > 0 ? idle : [...this.seen.values()].flatMap(routes => [...routes.values()])
    for (const seen of going.slice(0, ROUTES_MAX / 10)) {
      const { family, route, tally } = seen
      this.seen.get(family)?.delete(route.text)
      this.seenCount--
      tally.routes--
      const place = this.place(family, route)
      place.routes.delete(seen)
      this.tidy(family, route, place)
      if (this.last === seen) this.last = null
    }
    this.sorted = null
  }

  /** A subscription has come or gone. */
  private count({ family, pattern, createdAtMs }: Registration, by: 1 | -1): void {
    this.settle()
    this.tallies.of(family, pattern.segments[0]!).subscriptions += by
    if (pattern.concrete) {
      const known = this.seen.get(family)?.get(pattern.text)
      if (known !== undefined) known.exact += by
      else if (by === 1) this.see(family, pattern, createdAtMs).exact = 1
    }
    if (!isPlace(pattern)) return
    const place = this.place(family, pattern)
    place.subscriptions += by
    this.tidy(family, pattern, place)
  }

  private place(family: number, route: Route): Place {
    const known = this.catalog.get(family, threeOf(route))
    if (known !== undefined) return known
    const place: Place = { routes: new Set(), subscriptions: 0 }
    this.catalog.add(family, threeOf(route), place)
    return place
  }

  private tidy(family: number, route: Route, place: Place): void {
    if (place.routes.size === 0 && place.subscriptions === 0) this.catalog.remove(family, threeOf(route))
  }

  handle(request: NoticeRequest, session: Session, context: Context): Outcome<number | null> {
    switch (request.op) {
      case "publish": {
        const followers = this.registrations.matching(session.family, request.route)
        this.published(session.family, request.route, followers.length, context.now)
        if (followers.length > 0) {
          context.emit({ kind: "notify", type: NOTICE_NOTIFY, followers, tail: request.payload })
        }
        return SILENT
      }
      case "subscribe":
        return this.subscribe(request, session, context)
      case "unsubscribe":
        return unsubscribe(this.registrations, session, request.pattern, context)
      case "unsubscribeId": {
        const known = this.registrations.byId(session.id, request.id)
        if (known !== undefined) this.registrations.remove(known, session, context)
        return null
      }
      case "unsubscribeAll":
        for (const known of this.registrations.of(session.id))
          this.registrations.remove(known, session, context)
        return null
    }
  }

  expire(): void {
    // Nothing here has a time of its own.
  }

  leave(session: SessionId, context: Context): void {
    this.registrations.leave(session, context)
  }

  nextDue(): Millis | null {
    return null
  }

  drain(): void {
    // Nothing here waits.
  }

  figures(): Figures<"notice"> {
    const { registrations, patterns } = this.registrations.figures
    return { subscriptions_active: registrations, routes_active: patterns }
  }

  private subscribe(
    request: Extract<NoticeRequest, { op: "subscribe" | "unsubscribe" }>,
    session: Session,
    context: Context,
  ): number | Fault {
    return subscribe(this.registrations, session, request.pattern, context)
  }

  // ── operators ──────────────────────────────────────────────────────────────────────────────────────────

  *realms(): Generator<string> {
    for (const realm of this.catalog.realms(null)) yield realm
  }

  command(command: NoticeCommand, context: Context): NoticeOutcomes[keyof NoticeOutcomes] {
    const known = this.registrations.get(command.subscription)
    if (known === undefined) return NO_SUBSCRIPTION
    this.registrations.remove(known, this.registrations.ownerOf(known), context)
    const { family, pattern, session } = known
    const what = `subscription ${known.id} was cancelled by an operator`
    this.timeline.note("transition", context.now, family, pattern.segments, what)
    return { session }
  }

  view(query: NoticeQuery, now: Millis): NoticeAnswers[keyof NoticeAnswers] {
    this.settle()
    switch (query.name) {
      case "realms":
        return pageOf(this.catalog.realms(query.family), query.page)
      case "areas":
        return pageOf(this.catalog.areas(query.family, query.realm), query.page)
      case "resources": {
        const { family, realm, area } = query
        const { total, rows } = pageOf(this.catalog.resources(family, realm, area), query.page)
        return { total, rows: rows.map(resource => this.resource({ family, realm, area, resource }, now)) }
      }
      case "events":
        return this.timeline.of(query.place, query.limit)
      case "search":
        return this.search(query)
      case "stats":
        return this.stats(query.family, query.realm, now)
      case "subscriptions":
        return this.subscriptionPage(query)
      case "routes":
        return this.routePage(query, now)
      case "resource":
        return this.resource(query.place, now)
    }
  }

  private stats(family: number | null, realm: string | null, now: Millis): NoticeStats {
    const tallies = this.tallies.select(family, realm)
    return {
      subscriptionsActive: sumOf(tallies, tally => tally.subscriptions),
      routes: sumOf(tallies, tally => tally.routes),
      publishes: sumOf(tallies, tally => tally.publishes.total),
      deliveries: sumOf(tallies, tally => tally.deliveries),
      publishesPerSecond: sumOf(tallies, tally => tally.publishes.perSecond(now)),
    }
  }

  private subscriptionPage({
    family,
    realm,
    pattern,
    page,
  }: Extract<NoticeQuery, { name: "subscriptions" }>): Page<SubscriptionRow> {
    if (pattern === null) {
      const total = sumOf(this.tallies.select(family, realm), tally => tally.subscriptions)
      const { rows } = pageFrom(
        this.subscriptionsOf(family, realm, () => true),
        total,
        page,
      )
      return { total, rows: rows.map(subscriptionRow) }
    }
    const wanted = wantedBy(pattern)
    const { total, rows } = pageOf([...this.subscriptionsOf(family, realm, wanted)], page)
    return { total, rows: rows.map(subscriptionRow) }
  }

  private *subscriptionsOf(
    family: number | null,
    realm: string | null,
    wanted: (pattern: Route) => boolean,
  ): Generator<Registration> {
    for (const subscription of this.registrations.values()) {
      const { pattern } = subscription
      if (family !== null && subscription.family !== family) continue
      if (realm !== null && pattern.segments[0] !== realm) continue
      if (wanted(pattern)) yield subscription
    }
  }

  private routePage(
    { family, realm, page }: Extract<NoticeQuery, { name: "routes" }>,
    now: Millis,
  ): Page<NoticeRouteRow> {
    this.sorted ??= [...this.seen.values()]
      .flatMap(routes => [...routes.values()])
      .sort((a, b) =>
        a.route.text < b.route.text ? -1 : a.route.text > b.route.text ? 1 : a.family - b.family,
      )
    const wanted =
      family === null && realm === null
        ? this.sorted
        : this.sorted.filter(
            seen =>
              (family === null || seen.family === family) &&
              (realm === null || seen.route.segments[0] === realm),
          )
    const { total, rows } = pageOf(wanted, page)
    const shown = rows.map(({ family, route, publishes }) => ({
      family,
      route: route.text,
      subscribers: this.registrations.matching(family, route).length,
      publishes: publishes.total,
      publishesPerMinute: publishes.recent(now),
    }))
    return { total, rows: shown }
  }

  private resource({ family, realm, area, resource }: PlaceAsk, now: Millis): NoticeResource {
    const places = this.catalog.leaves(family, [realm, area, resource])
    const routes = places.flatMap(place => [...place.routes])
    return {
      resource,
      routes: routes.length,
      subscriptionsActive: sumOf(places, place => place.subscriptions),
      received: sumOf(routes, seen => seen.deliveries),
      publishes: sumOf(routes, seen => seen.publishes.total),
      publishesPerMinute: sumOf(routes, seen => seen.publishes.recent(now)),
    }
  }

  private search({ text, realm, limit }: Extract<NoticeQuery, { name: "search" }>): NoticeAnswers["search"] {
    const found: Found[] = []
    let looked = 0
    for (const { id, session, pattern, family } of this.subscriptionsOf(null, realm, () => true)) {
      if (++looked > SEARCHED_MAX) return { found, truncated: true }
      const fields = [
        ...(pattern.text.includes(text) ? ["pattern"] : []),
        ...(`sess_${session}` === text ? ["session_id"] : []),
        ...(String(id) === text ? ["subscription_id"] : []),
      ]
      if (fields.length === 0) continue
      if (found.length >= limit) return { found, truncated: true }
      found.push({
        domain: "notice",
        kind: "subscription",
        title: pattern.text,
        summary: `subscription ${id} of sess_${session}, family ${family}`,
        healthy: true,
        path: `notice/subscriptions?route_pattern=${encodeURIComponent(pattern.text)}`,
        fields,
      })
    }
    for (const routes of this.seen.values()) {
      for (const { route, publishes } of routes.values()) {
        if (!route.text.includes(text) || (realm !== null && route.segments[0] !== realm)) continue
        if (found.length >= limit) return { found, truncated: true }
        found.push({
          domain: "notice",
          kind: "route",
          title: route.text,
          summary: `${publishes.total} publishes in this process`,
          healthy: true,
          path: `notice/routes?realm=${encodeURIComponent(route.segments[0]!)}`,
          fields: ["route"],
        })
      }
    }
    return { found, truncated: false }
  }
}

const NO_SUBSCRIPTION: Refused = refuse("not_found", "there is no such subscription")

/** The first three segments; what is missing is empty. */
function threeOf({ segments }: Route): readonly string[] {
  if (segments.length >= 3) return segments
  return [segments[0] ?? "", segments[1] ?? "", segments[2] ?? ""]
}

/** Does a pattern name one resource, whatever it covers below? */
function isPlace(pattern: Route): boolean {
  return threeOf(pattern)
    .slice(0, 3)
    .every(segment => segment !== "*" && segment !== "**")
}

/** What `route_pattern` asks for: the pattern itself, those that a wildcard covers, or a part of the text. */
function wantedBy(text: string): (pattern: Route) => boolean {
  const wild = text.includes("*") ? parseRoute(text, "notice", true) : null
  if (wild !== null && typeof wild !== "string")
    return pattern => pattern.text === text || covers(wild, pattern, null)
  if (text.includes("://") || text.includes("*")) return pattern => pattern.text === text
  return pattern => pattern.text.includes(text)
}

function subscriptionRow({
  id,
  session,
  family,
  pattern,
  createdAtMs,
  received,
}: Registration): SubscriptionRow {
  const [first] = pattern.segments
  const realm = first === "**" ? "*" : first!
  return { id, session, family, pattern: pattern.text, realm, createdAtMs, received }
}
