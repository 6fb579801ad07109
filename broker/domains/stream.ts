// Stream: append-only logs per resource with derived orders per area, realm and family
// (docs/PROTOCOL.md, ST-*). Nothing is visible before its commit; offsets have no gaps and are never reused.

import { Reader, type Span, spanLength, spanOf, textOf, utf8, viewOf, Writer } from "../../protocol/bytes.ts"
import { Fault } from "../../protocol/fault.ts"
import {
  type Axis,
  BATCH_BYTES_MAX,
  BATCH_EVENTS_MAX,
  EVENT_BYTES_MAX,
  passes,
  READ_ITEMS_MAX,
  READ_ROOM_BYTES,
  readItemBytes,
  STREAM_FAULTS,
  STREAM_NOTIFY,
  type StreamAppend,
  type StreamCommit,
  type StreamCursor,
  type StreamItem,
  type StreamMetadata,
  type StreamPage,
  type StreamRead,
  type StreamRecord,
  type StreamRequest,
  selectorsOver,
} from "../../protocol/messages/stream.ts"
import { parseRoute, type Route } from "../../protocol/route.ts"
import type { Budget } from "./budget.ts"
import { Catalog, pageOf } from "./catalog.ts"
import {
  type Context,
  type Domain,
  type Millis,
  type Outcome,
  type Session,
  type SessionId,
  Unfinished,
} from "./domain.ts"
import type { Figures } from "./figures.ts"
import type { Journal } from "./journal.ts"
import { Owners } from "./owners.ts"
import { GrowingPack, type Pack, StoredPack } from "./pack.ts"
import { Rate, sumOf, Tallies } from "./rates.ts"
import { Realms } from "./realms.ts"
import { type RegistrationLimits, Registrations, subscribe, unsubscribe } from "./registrations.ts"
import { Timeline } from "./timeline.ts"
import { type Found, type Page, type PageAsk, type PlaceAsk, type Refused, refuse } from "./views/common.ts"
import type {
  StoredEventRow,
  StreamAnswers,
  StreamDetail,
  StreamQuery,
  StreamResource,
  StreamStats,
  Watermark,
} from "./views/stream.ts"

/** Events that were committed together, or a part of them; consecutive in every order. */
export interface StreamSegment {
  readonly route: Route
  readonly firstResource: number
  readonly firstArea: number
  readonly firstRealm: number
  readonly firstGlobal: number
  readonly count: number
  readonly createdAtMs: Millis
  /** All bytes of the stream up to the end of this segment. */
  readonly streamBytes: number
  readonly records: Uint8Array
}

/** Where a segment stands in one selector's order: `count` events from `first` on, on that selector's axis. */
export interface PlacedSegment {
  readonly first: number
  readonly segment: StreamSegment
}

/** What is stored under one selector. */
export interface StoredOrder {
  readonly id: number
  /** One after the last position on the selector's axis; 0 where nothing is stored. */
  readonly next: number
  /** `streamBytes` of its last segment. */
  readonly lastStreamBytes: number
}

/** A segment and its places: an order's id and the first position there, for each of the eight orders. */
export interface SegmentPlaces {
  readonly segment: StreamSegment
  readonly orders: readonly { readonly id: number; readonly first: number }[]
}

export interface StreamStore {
  /** Null where nothing was ever stored under this selector. */
  order(family: number, canonical: string): StoredOrder | null
  /** Streams that hold events, and events, in all. */
  counts(): { streams: number; events: number }
  /** Makes a place for a selector's order and returns its id. */
  createOrder(family: number, canonical: string): number
  append(segments: readonly SegmentPlaces[], journal: Journal): void
  /** The first segment of an order that holds `position` or anything after it. */
  segmentFrom(orderId: number, position: number): PlacedSegment | null
  /** All streams that hold events. */
  all(): Iterable<{ readonly family: number; readonly route: string }>
  /** Streams of an area by name; those of several families together. */
  resources(family: number | null, realm: string, area: string, page: PageAsk): readonly string[]
  /** How many names `resources` has in all. */
  countResources(family: number | null, realm: string, area: string): number
  /** Families in which a stream is stored. */
  families(route: string): readonly number[]
}

/** Numbers of one realm. */
class Tally {
  readonly append = new Rate()
  readonly read = new Rate()
  readonly other = new Rate()
  /** Streams that hold events. */
  stored = 0
  /** Streams that only an open append session knows. */
  fresh = 0
  appends = 0
  events = 0
  conflicts = 0
}

/** How many streams of an area hold events. */
interface Area {
  streams: number
}

type Counted = "append" | "read" | "other"

const COUNTED: Readonly<Record<StreamRequest["op"], Counted>> = {
  begin: "other",
  append: "append",
  commit: "append",
  rollback: "other",
  read: "read",
  last: "read",
  metadata: "read",
  subscribe: "other",
  unsubscribe: "other",
}
const SHOWN_BYTES = 1024 * 1024
const SEARCHED_MAX = 10_000

export interface StreamLimits extends RegistrationLimits {
  /** Open append sessions of one client. */
  readonly openAppendsMax: number
}

/** The order of one selector: the events it matches, each at its position on the selector's axis. */
interface Order {
  readonly family: number
  readonly canonical: string
  readonly axis: Axis
  /** 0 until something is stored under it. */
  id: number
  /** One after its last position. */
  next: number
}

interface Stream {
  readonly family: number
  readonly route: Route
  /** Those of `selectorsOver`, in its order. */
  readonly orders: readonly Order[]
  bytes: number
  open: Append | null
}

/** Where the next event will stand on each axis. */
type Frontiers = Readonly<Record<Axis, number>>

function frontier({ orders }: Stream, axis: Axis): number {
  return orders[COUNTERS[axis]]!.next
}

function frontiers(stream: Stream): Frontiers {
  return {
    resource: frontier(stream, "resource"),
    area: frontier(stream, "area"),
    realm: frontier(stream, "realm"),
    global: frontier(stream, "global"),
  }
}

interface Append {
  readonly id: number
  readonly session: SessionId
  readonly stream: Stream
  readonly packs: GrowingPack[]
  events: number
  bytes: number
  /** Nothing was stored in its stream when it was opened. */
  fresh: boolean
}

/** Bytes of stored records that one stretch of a READ looks at before it lets others pass. */
const STRETCH_BYTES = 1024 * 1024
/** Streams and orders kept in memory between turns. */
const REMEMBERED_MAX = 50_000
/** Which of a stream's orders hold every event of an axis, and so count it. */
const COUNTERS: Readonly<Record<Axis, number>> = { resource: 0, area: 1, realm: 3, global: 7 }

const HAS_META = 1
const HAS_DISCRIMINATOR = 2

interface StoredEvent {
  readonly body: Span
  readonly meta: Span | null
  readonly discriminator: string
}

function packEvent(writer: Writer, { body, meta, discriminator }: StreamAppend): void {
  writer.u8((meta === null ? 0 : HAS_META) | (discriminator === null ? 0 : HAS_DISCRIMINATOR))
  if (meta !== null) writer.span(meta)
  if (discriminator !== null) writer.span(discriminator)
  writer.raw(body.bytes, body.start, body.end)
}

const eventReader = new Reader()

function unpackEvent(record: Span): StoredEvent {
  const reader = eventReader.reset(record.bytes, viewOf(record.bytes), record.start, record.end)
  const flags = reader.u8()
  const meta = flags & HAS_META ? reader.span() : null
  const discriminator = flags & HAS_DISCRIMINATOR ? reader.span() : null
  return {
    meta,
    discriminator:
      discriminator === null
        ? ""
        : (textOf(discriminator.bytes, discriminator.start, discriminator.end) ?? ""),
    body: reader.raw(reader.left),
  }
}

function recordOf(segment: StreamSegment, position: number, event: StoredEvent): StreamRecord {
  return {
    offset: segment.firstResource + position,
    area: segment.firstArea + position,
    realm: segment.firstRealm + position,
    global: segment.firstGlobal + position,
    body: event.body,
    meta: event.meta,
    createdAtMs: segment.createdAtMs,
  }
}

/** A read on its way: what it has found and where it stands. */
interface Walk {
  readonly request: StreamRead
  readonly family: number
  readonly orderId: number
  /** Events from here on are not seen. */
  readonly bound: number
  readonly limit: number
  readonly items: StreamItem[]
  roomBytes: number
  usedBytes: number
  position: number
  lastExamined: StreamRecord | null
}

type Reply = number | null | StreamPage | StreamRecord | StreamMetadata

export class StreamDomain implements Domain<StreamRequest, Reply> {
  private readonly streams = new Map<number, Map<string, Stream>>()
  private readonly orders = new Map<number, Map<string, Order>>()
  private remembered = 0
  private readonly appends = new Map<number, Append>()
  private readonly owners = new Owners<Append>()
  private readonly registrations: Registrations
  private readonly limits: StreamLimits
  private readonly store: StreamStore
  private readonly uncommitted: Budget
  /** Streams that hold events, and events, in all. */
  private readonly counted: { streams: number; events: number }

  private readonly declared: Realms
  private readonly tallies = new Tallies(
    () => new Tally(),
    tally => tally.stored + tally.fresh === 0,
    (into, from) => {
      for (const name of ["append", "read", "other"] as const) into[name].total += from[name].total
      into.conflicts += from.conflicts
    },
  )
  private readonly areas = new Catalog<Area>()
  private readonly timeline = new Timeline()

  constructor(limits: StreamLimits, store: StreamStore, uncommitted: Budget, realms = new Realms()) {
    this.declared = realms
    this.limits = limits
    this.store = store
    this.uncommitted = uncommitted
    this.registrations = new Registrations(limits, STREAM_FAULTS.subscriptionLimit, realms)
    this.counted = store.counts()
  }

  /** Counts what is stored. */
  load(): void {
    for (const { family, route } of this.store.all()) {
      const [realm, area] = route.slice("stream://".length).split("/") as [string, string]
      const tally = this.tallies.of(family, realm)
      if (tally.stored === 0) tally.events = this.store.order(family, `stream://${realm}/*/*`)?.next ?? 0
      tally.stored++
      this.countStream(family, realm, area, 1)
    }
  }

  private countStream(family: number, realm: string, area: string, by: number): void {
    const segments = [realm, area, ""]
    const known = this.areas.get(family, segments)
    if (known === undefined) this.areas.add(family, segments, { streams: by })
    else {
      known.streams += by
      if (known.streams === 0) this.areas.remove(family, segments)
    }
  }

  /** The numbers that a request counts for. */
  private tallyOf(request: StreamRequest, session: Session): Tally {
    if ("route" in request) return this.tallies.of(session.family, request.route.segments[0]!)
    if ("selector" in request) return this.tallies.of(session.family, request.selector.route.segments[0]!)
    const realm = this.appends.get(request.session)?.stream.route.segments[0]
    return this.tallies.of(session.family, realm ?? "")
  }

  handle(request: StreamRequest, session: Session, context: Context): Outcome<Reply> {
    this.tallyOf(request, session)[COUNTED[request.op]].add(context.now)
    switch (request.op) {
      case "begin":
        return this.begin(request.route, session, context)
      case "append":
        return this.append(request, session, context)
      case "commit":
        return this.commit(request, session, context)
      case "rollback": {
        const append = this.find(request.session, session)
        if (append instanceof Fault) return append
        this.close(append, context)
        return null
      }
      case "read":
        return this.read(request, session)
      case "last":
        return this.last(request.route, session)
      case "metadata":
        return this.metadata(request.route, session)
      case "subscribe":
        return subscribe(this.registrations, session, request.selector.route, context)
      case "unsubscribe":
        return unsubscribe(this.registrations, session, request.selector.route, context)
    }
  }

  figures(): Figures<"stream"> {
    const { streams, events } = this.counted
    return { active: streams, append_sessions_active: this.appends.size, events_total: events }
  }

  /** A commit ends its session, whatever comes of it. */
  abandon(request: StreamRequest, session: Session, context: Context): void {
    if (request.op !== "commit") return
    const append = this.find(request.session, session)
    if (!(append instanceof Fault)) this.close(append, context)
  }

  private begin(route: Route, session: Session, context: Context): number | Fault {
    const stream = this.stream(session.family, route)
    if (stream.open !== null) return STREAM_FAULTS.sessionActive
    if (this.owners.count(session.id) >= this.limits.openAppendsMax) {
      return STREAM_FAULTS.busy.because("this client has too many open append sessions")
    }
    if (this.isRealmFull(stream))
      return STREAM_FAULTS.busy.because("the realm has all the streams that it may have")
    const append: Append = {
      id: context.nextId(),
      session: session.id,
      stream,
      packs: [],
      events: 0,
      bytes: 0,
      fresh: true,
    }
    this.open(append)
    context.journal.undo(() => this.forget(append))
    return append.id
  }

  /** Does a declared realm have all the streams that it may have, this one left aside? */
  private isRealmFull({ route, orders }: Stream): boolean {
    const realm = route.segments[0]!
    const max = this.declared.get(realm)?.limits.maxStreams ?? null
    if (max === null || orders[0]!.id !== 0) return false
    return sumOf(this.tallies.select(null, realm), tally => tally.stored + tally.fresh) >= max
  }

  private append(request: StreamAppend, session: Session, context: Context): number | Fault {
    const append = this.find(request.session, session)
    if (append instanceof Fault) return append
    const offset = frontier(append.stream, "resource") + append.events
    if (request.expectedOffset !== offset) {
      const { family, route } = append.stream
      this.tallies.of(family, route.segments[0]!).conflicts++
      this.timeline.note("failure", context.now, family, route.segments, `an append expected another offset`)
      return STREAM_FAULTS.conflict.because(`the next offset is ${offset}`)
    }
    const metaBytes = request.meta === null ? 0 : spanLength(request.meta)
    const bytes = spanLength(request.body) + metaBytes
    if (bytes > EVENT_BYTES_MAX) return STREAM_FAULTS.recordTooLarge
    if (append.events >= BATCH_EVENTS_MAX || append.bytes + bytes > BATCH_BYTES_MAX)
      return STREAM_FAULTS.batchTooLarge
    const discriminatorBytes = request.discriminator === null ? 0 : spanLength(request.discriminator)
    const heldBytes = bytes + discriminatorBytes
    if (!this.uncommitted.take(heldBytes)) return STREAM_FAULTS.busy.because("too much is uncommitted")
    let pack = append.packs.at(-1)
    const fresh = pack === undefined || !pack.takes(heldBytes)
    if (fresh) {
      pack = new GrowingPack()
      append.packs.push(pack)
    }
    pack!.compose(writer => packEvent(writer, request))
    append.events++
    append.bytes += heldBytes
    context.journal.undo(() => {
      append.bytes -= heldBytes
      append.events--
      if (fresh) append.packs.pop()
      else pack!.pop()
      this.uncommitted.give(heldBytes)
    })
    return offset
  }

  private commit(request: StreamCommit, session: Session, context: Context): null | Fault {
    const append = this.find(request.session, session)
    if (append instanceof Fault) return append
    this.close(append, context)
    if (append.events === 0) return STREAM_FAULTS.emptyBatch
    if (!context.writable) return STREAM_FAULTS.backend
    const { stream, events } = append
    const first = frontiers(stream)
    this.countEvents(stream, events, context)
    const segments = this.place(append, first, context)
    this.store.append(segments, context.journal)
    context.journal.assign(this.counted, {
      streams: this.counted.streams + (first.resource === 0 ? 1 : 0),
      events: this.counted.events + events,
    })
    for (const order of stream.orders) context.journal.assign(order, { next: first[order.axis] + events })
    context.journal.assign(stream, { bytes: segments.at(-1)!.segment.streamBytes })
    context.wrote(request.sync ? "sync" : "buffered")
    this.tell(stream, first, events, context)
    return null
  }

  private countEvents({ family, route, orders }: Stream, events: number, context: Context): void {
    const [realm, area] = route.segments as readonly [string, string]
    const tally = this.tallies.of(family, realm)
    const isNew = orders[0]!.id === 0
    const count = (by: 1 | -1): void => {
      tally.events += by * events
      if (!isNew) return
      tally.stored += by
      this.countStream(family, realm, area, by)
    }
    count(1)
    context.journal.undo(() => count(-1))
  }

  /** Turns the packs of a session into segments with their places in all orders. */
  private place(append: Append, first: Frontiers, context: Context): SegmentPlaces[] {
    const { stream } = append
    for (const order of stream.orders) {
      if (order.id !== 0) continue
      context.journal.assign(order, { id: this.store.createOrder(order.family, order.canonical) })
    }
    let before = 0
    let streamBytes = stream.bytes
    return append.packs.map(pack => {
      streamBytes += pack.bytes.length
      const segment: StreamSegment = {
        route: stream.route,
        firstResource: first.resource + before,
        firstArea: first.area + before,
        firstRealm: first.realm + before,
        firstGlobal: first.global + before,
        count: pack.count,
        createdAtMs: context.now,
        streamBytes,
        records: pack.bytes,
      }
      const orders = stream.orders.map(({ id, axis }) => ({ id, first: first[axis] + before }))
      before += pack.count
      return { segment, orders }
    })
  }

  private tell(stream: Stream, first: Frontiers, events: number, context: Context): void {
    const followers = this.registrations.matching(stream.family, stream.route)
    if (followers.length === 0) return
    const notice = {
      event: "committed",
      first_resource_offset: first.resource,
      last_resource_offset: first.resource + events - 1,
      first_area_offset: first.area,
      last_area_offset: first.area + events - 1,
      first_realm_offset: first.realm,
      last_realm_offset: first.realm + events - 1,
      first_global_offset: first.global,
      last_global_offset: first.global + events - 1,
      batch_size: events,
    }
    const writer = new Writer(512)
    writer.block(stream.route.bytes)
    writer.block(utf8(JSON.stringify(notice)))
    context.emit({ kind: "notify", type: STREAM_NOTIFY, followers, tail: spanOf(writer.written) })
  }

  private read(request: StreamRead, session: Session): Outcome<StreamPage> {
    const { selector, from } = request
    const continued = request.fingerprint !== null || request.watermark !== null
    if (continued && !selector.extended) {
      return STREAM_FAULTS.invalidRead.because("continuation tokens belong to global selectors")
    }
    if ((request.fingerprint === null) !== (request.watermark === null)) {
      return STREAM_FAULTS.invalidRead.because("fingerprint and watermark come together")
    }
    if (typeof from === "bigint") return this.emptyPage(request, session.family, false, null)
    const newest = this.order(session.family, "stream://*/*/*", "global").next
    let watermark: number | null = null
    if (selector.extended) {
      watermark = request.watermark ?? newest
      if (request.fingerprint !== null) {
        if (request.fingerprint !== fingerprintOf(session.family, request, watermark, from)) {
          return STREAM_FAULTS.invalidRead.because("the continuation belongs to another read")
        }
        // The snapshot is used up; a reader at the tail goes on with a new one.
        if (from >= watermark) watermark = newest
      }
    }
    const order = this.order(session.family, selector.canonical, selector.axis)
    const walk: Walk = {
      request,
      family: session.family,
      orderId: order.id,
      bound: watermark ?? Number.POSITIVE_INFINITY,
      limit: Math.min(request.limit, READ_ITEMS_MAX),
      items: [],
      roomBytes: READ_ROOM_BYTES,
      usedBytes: 0,
      position: from,
      lastExamined: null,
    }
    if (order.id === 0) return this.emptyPage(request, session.family, false, watermark)
    return this.stretch(walk, watermark)
  }

  /** Walks on until the page is full, the order ends, or others should have their turn. */
  private stretch(walk: Walk, watermark: number | null): Outcome<StreamPage> {
    const { request } = walk
    const { selector, filter } = request
    for (let examinedBytes = 0; examinedBytes < STRETCH_BYTES; ) {
      const placed = this.store.segmentFrom(walk.orderId, walk.position)
      if (placed === null || placed.first >= walk.bound) return this.page(walk, placed !== null, watermark)
      const { segment, first } = placed
      const pack: Pack = new StoredPack(segment.records)
      examinedBytes += segment.records.length
      for (let i = Math.max(0, walk.position - first); i < segment.count; i++) {
        if (first + i >= walk.bound || walk.items.length >= walk.limit)
          return this.page(walk, true, watermark)
        const event = unpackEvent(pack.record(i))
        const record = recordOf(segment, i, event)
        const visible = this.declared.permits(segment.route)
        const shown = visible && (filter === null || passes(filter, event.discriminator)) ? record : null
        const itemBytes = readItemBytes(segment.route, shown, selector.extended)
        const full = walk.usedBytes + itemBytes > Math.min(walk.roomBytes, request.maxBytes)
        if (full && walk.items.length > 0) return this.page(walk, true, watermark)
        walk.items.push({ route: segment.route, record: shown, hiddenOffset: first + i })
        walk.usedBytes += itemBytes
        walk.position = first + i + 1
        walk.lastExamined = record
      }
    }
    // A copy: the turn that goes on may be taken back and run again.
    return new Unfinished(() => this.stretch({ ...walk, items: [...walk.items] }, watermark))
  }

  private page(walk: Walk, more: boolean, watermark: number | null): StreamPage {
    const { request, lastExamined, position } = walk
    if (lastExamined === null) return this.emptyPage(request, walk.family, more, watermark)
    const { selector } = request
    const cursor: StreamCursor = {
      resource: selector.axisInResource ? position - 1 : lastExamined.offset,
      area: selector.axisInResource && selector.axis === "global" ? null : lastExamined.area,
      realm: lastExamined.realm,
      global: lastExamined.global,
      more,
      ...continuation(walk.family, request, watermark, position),
    }
    return { extended: selector.extended, items: walk.items, cursor }
  }

  /** A page without items stands one before the position asked for, so that the reader asks for it again. */
  private emptyPage(
    request: StreamRead,
    family: number,
    more: boolean,
    watermark: number | null,
  ): StreamPage {
    const { selector, from } = request
    const before = BigInt.asUintN(64, BigInt(from) - 1n)
    const { axis, axisInResource } = selector
    const cursor: StreamCursor = {
      resource: before,
      area: axis === "area" ? before : null,
      realm: axis === "realm" && !axisInResource ? before : null,
      global: selector.extended ? before : null,
      more,
      ...continuation(family, request, watermark, Number(from)),
    }
    return { extended: selector.extended, items: [], cursor }
  }

  private last(route: Route, session: Session): StreamRecord | null {
    const stored = this.store.order(session.family, route.text)
    const placed = stored === null ? null : this.store.segmentFrom(stored.id, stored.next - 1)
    if (placed === null) return null
    const { segment } = placed
    const at = segment.count - 1
    return recordOf(segment, at, unpackEvent(new StoredPack(segment.records).record(at)))
  }

  private metadata(route: Route, session: Session): StreamMetadata {
    const { resource: count, area, realm } = frontiers(this.stream(session.family, route))
    return {
      first: count === 0 ? null : 0,
      last: count === 0 ? null : count - 1,
      count,
      areaWatermark: area,
      realmWatermark: realm,
    }
  }

  expire(): void {
    // Events do not age, and append sessions last as long as their client.
  }

  leave(session: SessionId, context: Context): void {
    for (const append of this.owners.of(session)) this.close(append, context)
    this.registrations.leave(session, context)
  }

  nextDue(): Millis | null {
    return null
  }

  drain(): void {
    // Nothing here waits for an answer.
  }

  committed(): void {
    if (this.remembered > REMEMBERED_MAX) this.trim()
  }

  /** Forgets what can be read again, but nothing that an open session still builds on. */
  private trim(): void {
    this.streams.clear()
    this.orders.clear()
    this.remembered = 0
    for (const { stream } of this.appends.values()) {
      remember(this.streams, stream.family, stream.route.text, stream)
      for (const order of stream.orders) remember(this.orders, order.family, order.canonical, order)
      this.remembered += 1 + stream.orders.length
    }
  }

  private find(id: number, session: Session): Append | Fault {
    const append = this.appends.get(id)
    return append === undefined || append.session !== session.id ? STREAM_FAULTS.sessionNotFound : append
  }

  private close(append: Append, context: Context): void {
    this.forget(append)
    this.uncommitted.give(append.bytes)
    context.journal.undo(() => {
      this.uncommitted.retake(append.bytes)
      this.open(append)
    })
  }

  private open(append: Append): void {
    append.stream.open = append
    const tally = this.tallies.of(append.stream.family, append.stream.route.segments[0]!)
    append.fresh = append.stream.orders[0]!.id === 0
    tally.appends++
    if (append.fresh) tally.fresh++
    this.appends.set(append.id, append)
    this.owners.add(append.session, append)
  }

  private forget(append: Append): void {
    append.stream.open = null
    const tally = this.tallies.of(append.stream.family, append.stream.route.segments[0]!)
    tally.appends--
    if (append.fresh) tally.fresh--
    this.appends.delete(append.id)
    this.owners.remove(append.session, append)
  }

  private stream(family: number, route: Route): Stream {
    const known = this.streams.get(family)?.get(route.text)
    if (known !== undefined) return known
    const orders = selectorsOver(route).map(({ canonical, axis }) => this.order(family, canonical, axis))
    const bytes = this.store.order(family, route.text)?.lastStreamBytes ?? 0
    const stream: Stream = { family, route, orders, bytes, open: null }
    remember(this.streams, family, route.text, stream)
    this.remembered++
    return stream
  }

  private order(family: number, canonical: string, axis: Axis): Order {
    const known = this.orders.get(family)?.get(canonical)
    if (known !== undefined) return known
    const stored = this.store.order(family, canonical)
    const order: Order = { family, canonical, axis, id: stored?.id ?? 0, next: stored?.next ?? 0 }
    remember(this.orders, family, canonical, order)
    this.remembered++
    return order
  }

  // ── operators ──────────────────────────────────────────────────────────────────────────────────────────

  *realms(): Generator<string> {
    yield* this.areas.realms(null)
    for (const [realm, tally] of this.tallies.realms()) if (tally.fresh > 0) yield realm
  }

  view(query: StreamQuery, now: Millis): StreamAnswers[keyof StreamAnswers] {
    switch (query.name) {
      case "realms":
        return pageOf(this.areas.realms(query.family), query.page)
      case "areas":
        return pageOf(this.areas.areas(query.family, query.realm), query.page)
      case "resources":
        return this.resourcePage(query)
      case "events":
        return this.timeline.of(query.place, query.limit)
      case "search":
        return this.search(query)
      case "stats":
        return this.stats(query.family, query.realm, now)
      case "resource":
        return this.detail(query.place)
      case "watermarks":
        return this.watermarks(query)
      case "records":
        return this.records(query)
    }
  }

  private stats(family: number | null, realm: string | null, now: Millis): StreamStats {
    const tallies = this.tallies.select(family, realm)
    const perSecond = (name: Counted): number => sumOf(tallies, tally => tally[name].perSecond(now))
    const by = { append: perSecond("append"), read: perSecond("read") }
    const eventsByRealm: Record<string, number> = {}
    for (const name of realm === null ? this.areas.realms(family) : [realm]) {
      const events = sumOf(this.tallies.select(family, name), tally => tally.events)
      if (events > 0) eventsByRealm[name] = events
    }
    return {
      streamsActive: sumOf(tallies, tally => tally.stored + tally.fresh),
      appendsActive: sumOf(tallies, tally => tally.appends),
      events: sumOf(tallies, tally => tally.events),
      eventsByRealm,
      conflicts: sumOf(tallies, tally => tally.conflicts),
      operations: { all: by.append + by.read + perSecond("other"), by },
    }
  }

  private resourcePage({
    family,
    realm,
    area,
    page,
  }: Extract<StreamQuery, { name: "resources" }>): Page<StreamResource> {
    const counts = this.areas.leaves(family, [realm, area, ""])
    // Names in one family are counted already; those of several have to be told apart.
    const total =
      counts.length <= 1 ? (counts[0]?.streams ?? 0) : this.store.countResources(family, realm, area)
    const rows = this.store.resources(family, realm, area, page).map(resource => {
      const { events, bytes, appendsActive } = this.detail({ family, realm, area, resource })!
      return { resource, events, bytes, appendsActive }
    })
    return { total, rows }
  }

  /** What is stored of a stream and who appends to it; null where there is neither. */
  private detail({ family, realm, area, resource }: PlaceAsk): StreamDetail | null {
    const text = `stream://${realm}/${area}/${resource}`
    const appends = [...this.streams].filter(
      ([number, streams]) => (family === null || family === number) && streams.get(text)?.open != null,
    ).length
    const stored = this.storedFamilies(family, text).map(one => this.store.order(one, text)!)
    if (stored.length === 0 && appends === 0) return null
    const events = sumOf(stored, order => order.next)
    return {
      resource,
      events,
      bytes: sumOf(stored, order => order.lastStreamBytes),
      appendsActive: appends,
      lastOffset: stored.length === 0 ? null : Math.max(...stored.map(order => order.next)) - 1,
    }
  }

  private storedFamilies(family: number | null, text: string): readonly number[] {
    return this.store.families(text).filter(one => family === null || one === family)
  }

  private watermarks({ realm, area, page }: Extract<StreamQuery, { name: "watermarks" }>): Page<Watermark> {
    const canonical = `stream://${realm}/${area ?? "*"}/*`
    const found: Watermark[] = []
    for (const family of this.areas.familiesOf(realm)) {
      const order = this.store.order(family, canonical)
      if (order !== null && order.next > 0) found.push({ family, watermark: order.next })
    }
    return pageOf(found, page)
  }

  private records({
    place,
    from,
    limit,
    bytesMax,
  }: Extract<StreamQuery, { name: "records" }>): StreamAnswers["records"] {
    const { realm, area, resource } = place
    const text = `stream://${realm}/${area}/${resource}`
    const route = parseRoute(text, "stream")
    const families = this.storedFamilies(place.family, text)
    const [family] = families
    if (family === undefined || typeof route === "string") return NOTHING_STORED
    if (families.length > 1) return refuse("ambiguous_target", "several families store this stream: name one")
    const order = this.store.order(family, text)!
    const rows: StoredEventRow[] = []
    let bytes = 0
    for (let position = from; position < order.next; ) {
      const placed = this.store.segmentFrom(order.id, position)
      if (placed === null) break
      const { first, segment } = placed
      const pack = new StoredPack(segment.records)
      for (let at = Math.max(0, position - first); at < segment.count; at++) {
        if (rows.length >= limit || bytes > SHOWN_BYTES) return { rows, more: true }
        const { body, meta } = unpackEvent(pack.record(at))
        const shown = shownOf(body, bytesMax)
        const shownMeta = meta === null ? null : shownOf(meta, bytesMax)
        bytes += shown.length + (shownMeta?.length ?? 0)
        rows.push({
          family,
          offset: first + at,
          createdAtMs: segment.createdAtMs,
          body: shown,
          bodyBytes: spanLength(body),
          meta: shownMeta,
          metaBytes: meta === null ? 0 : spanLength(meta),
        })
        position = first + at + 1
      }
    }
    return { rows, more: false }
  }

  private search({ text, realm, limit }: Extract<StreamQuery, { name: "search" }>): StreamAnswers["search"] {
    const found: Found[] = []
    const realms = realm === null ? this.areas.realms(null) : [realm]
    for (const name of realms.slice(0, SEARCHED_MAX)) {
      for (const area of this.areas.areas(null, name)) {
        if (!`stream://${name}/${area}/`.includes(text)) continue
        if (found.length >= limit) return { found, truncated: true }
        found.push({
          domain: "stream",
          kind: "area",
          title: `stream://${name}/${area}`,
          summary: "an area with streams",
          healthy: true,
          path: `stream/realms/${encodeURIComponent(name)}/areas/${encodeURIComponent(area)}/resources`,
          fields: ["route"],
        })
      }
    }
    return { found, truncated: realms.length > SEARCHED_MAX }
  }
}

const NOTHING_STORED: Refused = refuse("not_found", "nothing is stored here")

function shownOf({ bytes, start, end }: Span, bytesMax: number): Uint8Array {
  return bytes.slice(start, Math.min(end, start + bytesMax))
}

function remember<T>(families: Map<number, Map<string, T>>, family: number, key: string, value: T): void {
  const known = families.get(family)
  if (known === undefined) families.set(family, new Map([[key, value]]))
  else known.set(key, value)
}

/** What the next page of a global read must echo. */
function continuation(
  family: number,
  request: StreamRead,
  watermark: number | null,
  next: number,
): { fingerprint: number | null; watermark: number | null } {
  if (watermark === null) return { fingerprint: null, watermark: null }
  return { fingerprint: fingerprintOf(family, request, watermark, next), watermark }
}

/** Binds a continuation to all that must not change between its pages (PROTOCOL.md, ST-20). 53 bits. */
function fingerprintOf(family: number, request: StreamRead, watermark: number, next: number): number {
  let high = 0x811c9dc5
  let low = 0x1000193
  const mix = (byte: number): void => {
    high = Math.imul(high ^ byte, 0x9e3779b1)
    low = Math.imul(low ^ byte, 0x85ebca77)
    low ^= high >>> 13
  }
  for (const byte of utf8(`${family}|${request.selector.canonical}|${watermark}|${next}|`)) mix(byte)
  for (const byte of request.filter?.bytes ?? []) mix(byte)
  return (high >>> 11) * 4_294_967_296 + (low >>> 0)
}
