// Stream on the wire: messages 600–609, selectors, filters, pages (docs/PROTOCOL.md, ST-*).
// The extended layout with global offsets belongs to two selectors only; see `Selector.extended`.

import { copyOf, Reader, type Span, textOf, viewOf, type Writer } from "../bytes.ts"
import { Fault } from "../fault.ts"
import { PAYLOAD_BYTES_MAX } from "../frame.ts"
import {
  concreteRoute,
  flaggedId,
  type MessageRow,
  type Need,
  noData,
  onRoute,
  type RouteRule,
  whole,
} from "../message.ts"
import { parseRoute, type Route, type RouteTable } from "../route.ts"

export const STREAM_FAULTS = {
  conflict: new Fault(2001, "the expected offset is not the next offset"),
  sessionActive: new Fault(2002, "an append session is open on this resource"),
  sessionNotFound: new Fault(2003, "append session not found"),
  invalidRead: new Fault(2004, "invalid request"),
  filterVersion: new Fault(2006, "unsupported filter version"),
  filterPayload: new Fault(2007, "invalid filter"),
  unauthorized: new Fault(2009, "unauthorized"),
  invalidPattern: new Fault(2010, "invalid subscription pattern"),
  subscriptionLimit: new Fault(2011, "subscription limit reached"),
  backend: new Fault(2012, "storage failure"),
  emptyBatch: new Fault(2012, "the batch is empty"),
  batchTooLarge: new Fault(2012, "the batch is too large"),
  recordTooLarge: new Fault(2013, "no reply could carry this record"),
  busy: new Fault(2014, "busy"),
} as const

export const SELECTOR_BYTES_MAX = 512
/** Body and metadata of one event: with any route it then fits one READ reply. */
export const EVENT_BYTES_MAX = 61_247
export const BATCH_EVENTS_MAX = 10_000
export const BATCH_BYTES_MAX = 10 * 1024 * 1024
export const READ_ITEMS_MAX = 10_000

/** Which order the positions of a selector count in. */
export type Axis = "resource" | "area" | "realm" | "global"

/** One of the ten shapes that READ, SUBSCRIBE and UNSUBSCRIBE take. */
export interface Selector {
  /** As the client spelled it. */
  readonly route: Route
  /** One spelling for selectors that mean the same. */
  readonly canonical: string
  readonly axis: Axis
  /** Items and cursor carry global offsets and continuation tokens. */
  readonly extended: boolean
  /** The client continues from the cursor's lastResource, so the axis position stands there. */
  readonly axisInResource: boolean
}

export interface StreamBegin {
  readonly op: "begin"
  readonly route: Route
}
export interface StreamAppend {
  readonly op: "append"
  readonly session: number
  readonly expectedOffset: number
  readonly body: Span
  readonly meta: Span | null
  readonly discriminator: Span | null
}
export interface StreamCommit {
  readonly op: "commit"
  readonly session: number
  readonly sync: boolean
}
export interface StreamRollback {
  readonly op: "rollback"
  readonly session: number
}
export interface StreamRead {
  readonly op: "read"
  readonly selector: Selector
  /** A bigint only beyond 2^53, where nothing is stored. */
  readonly from: number | bigint
  readonly limit: number
  readonly maxBytes: number
  readonly filter: Filter | null
  readonly fingerprint: number | null
  readonly watermark: number | null
}
export interface StreamLook {
  readonly op: "last" | "metadata"
  readonly route: Route
}
export interface StreamSubscription {
  readonly op: "subscribe" | "unsubscribe"
  readonly selector: Selector
}
export type StreamRequest =
  | StreamBegin
  | StreamAppend
  | StreamCommit
  | StreamRollback
  | StreamRead
  | StreamLook
  | StreamSubscription

/** A condition on an event's discriminator. All clauses must hold. */
export interface Clause {
  readonly kind: "equals" | "differs" | "startsWith" | "anyOf"
  readonly values: readonly string[]
}
export interface Filter {
  readonly clauses: readonly Clause[]
  /** A copy of the bytes it was read from: a continuation is bound to them. */
  readonly bytes: Uint8Array
}

export interface StreamRecord {
  readonly offset: number
  readonly area: number
  readonly realm: number
  readonly global: number
  readonly body: Span
  readonly meta: Span | null
  readonly createdAtMs: number
}
/** An event, or with `record` null an offset that the filter hid. */
export interface StreamItem {
  readonly route: Route
  readonly record: StreamRecord | null
  readonly hiddenOffset: number
}
export interface StreamCursor {
  readonly resource: number | bigint
  readonly area: number | bigint | null
  readonly realm: number | bigint | null
  readonly global: number | bigint | null
  readonly more: boolean
  readonly fingerprint: number | null
  readonly watermark: number | null
}
export interface StreamPage {
  readonly extended: boolean
  readonly items: readonly StreamItem[]
  readonly cursor: StreamCursor
}
export interface StreamMetadata {
  readonly first: number | null
  readonly last: number | null
  readonly count: number
  readonly areaWatermark: number
  readonly realmWatermark: number
}

const HIDDEN_BY_FILTER = 1

/** Payload bytes of a READ reply that are left for items, with the longest cursor. */
export const READ_ROOM_BYTES = PAYLOAD_BYTES_MAX - (1 + 1 + 4 + 4 + 8 + 9 + 9 + 9 + 1 + 9 + 9)

/** What an item takes of that room. */
export function readItemBytes(route: Route, record: StreamRecord | null, extended: boolean): number {
  const head = 4 + route.bytes.length + 1
  if (record === null) return head + 8 + 1
  const meta = record.meta === null ? 1 : 5 + record.meta.end - record.meta.start
  return head + 8 + 9 + 9 + (extended ? 9 : 0) + 4 + (record.body.end - record.body.start) + meta + 8
}

function writeRecord(writer: Writer, record: StreamRecord, extended: boolean): void {
  writer.u64(record.offset)
  writer.optionalU64(record.area)
  writer.optionalU64(record.realm)
  if (extended) writer.optionalU64(record.global)
  writer.span(record.body)
  writer.optionalSpan(record.meta)
  writer.u64(record.createdAtMs)
}

function writePage(writer: Writer, { items, cursor, extended }: StreamPage): void {
  writer.u32(items.length)
  for (const { route, record, hiddenOffset } of items) {
    writer.block(route.bytes)
    writer.flag(record === null)
    if (record !== null) writeRecord(writer, record, extended)
    else {
      writer.u64(hiddenOffset)
      writer.u8(HIDDEN_BY_FILTER)
    }
  }
  writer.u64(cursor.resource)
  writer.optionalU64(cursor.area)
  writer.optionalU64(cursor.realm)
  if (extended) writer.optionalU64(cursor.global)
  writer.flag(cursor.more)
  if (extended) {
    writer.optionalU64(cursor.fingerprint)
    writer.optionalU64(cursor.watermark)
  }
}

/** Is this one of the names that the broker keeps for itself? (PROTOCOL.md, ST-3) */
function reserved(segments: readonly string[]): boolean {
  return segments[1] === "__realm__" || segments[2] === "__area__"
}

const selectors = new WeakMap<Route, Selector>()

/** Recognises the ten shapes; anything else is `rule.fault`. */
function selectorOf(span: Span, routes: RouteTable, rule: RouteRule): Selector | Fault {
  const { bytes, start, end } = span
  if (end - start > SELECTOR_BYTES_MAX) return rule.fault.because("the selector is too long")
  const route = routes.find(bytes, start, end, "stream")
  if (typeof route === "string") return rule.fault.because(route.replaceAll("_", " "))
  const known = selectors.get(route)
  if (known !== undefined) return known
  const parts = expand(route.segments)
  if (parts === null) return rule.fault.because("not one of the ten selector shapes")
  if (reserved(parts)) return rule.fault.because("a reserved name")
  const [realm, area, resource] = parts as [string, string, string]
  const axis: Axis =
    realm === "*" ? "global" : area === "*" ? "realm" : resource === "*" ? "area" : "resource"
  const extended = realm === "*" && area === "*" && resource === "*"
  const selector: Selector = {
    route,
    canonical: `stream://${realm}/${area}/${resource}`,
    axis,
    extended,
    axisInResource: (axis === "realm" && resource !== "*") || (axis === "global" && !extended),
  }
  selectors.set(route, selector)
  return selector
}

/** The three segments that a selector stands for, or null. `**` stands alone or ends `R/**`. */
function expand(segments: readonly string[]): readonly string[] | null {
  if (segments.length === 1 && segments[0] === "**") return ["*", "*", "*"]
  if (segments.length === 2 && segments[1] === "**" && segments[0] !== "*") return [segments[0]!, "*", "*"]
  return segments.length === 3 && !segments.includes("**") ? segments : null
}

/** The selector of a concrete route, and the seven others that match it (PROTOCOL.md, ST-9). */
export function selectorsOver(route: Route): readonly { canonical: string; axis: Axis }[] {
  const [realm, area, resource] = route.segments as readonly [string, string, string]
  const s = (a: string, b: string, c: string): string => `stream://${a}/${b}/${c}`
  return [
    { canonical: s(realm, area, resource), axis: "resource" },
    { canonical: s(realm, area, "*"), axis: "area" },
    { canonical: s(realm, "*", resource), axis: "realm" },
    { canonical: s(realm, "*", "*"), axis: "realm" },
    { canonical: s("*", area, resource), axis: "global" },
    { canonical: s("*", "*", resource), axis: "global" },
    { canonical: s("*", area, "*"), axis: "global" },
    { canonical: s("*", "*", "*"), axis: "global" },
  ]
}

/** The pattern of a canonical selector, for matching and for what it covers. */
export function selectorPattern(canonical: string): Route {
  const route = parseRoute(canonical, "stream")
  if (typeof route === "string") throw new Error(`${canonical} is no selector: ${route}`)
  return route
}

const FILTER_MARK = 0x00f1
const CLAUSE_KINDS = ["equals", "differs", "startsWith", "anyOf"] as const

/** Reads a filter (PROTOCOL.md, ST-17). */
export function parseFilter(span: Span): Filter | Fault {
  const reader = new Reader().reset(span.bytes, viewOf(span.bytes), span.start, span.end)
  if (reader.u16() !== FILTER_MARK || reader.failed) return STREAM_FAULTS.filterVersion
  const count = reader.u32()
  const clauses: Clause[] = []
  for (let i = 0; i < count && !reader.failed; i++) {
    const kind = CLAUSE_KINDS[reader.u8()]
    if (kind === undefined) return STREAM_FAULTS.filterPayload.because("unknown clause")
    const values: string[] = []
    const length = kind === "anyOf" ? reader.u32() : 1
    for (let k = 0; k < length && !reader.failed; k++) values.push(reader.text())
    clauses.push({ kind, values })
  }
  if (!reader.whole) return STREAM_FAULTS.filterPayload.because("it does not parse")
  return { clauses, bytes: copyOf(span) }
}

/** Do all clauses hold for this discriminator? Absent counts as the empty string. */
export function passes(filter: Filter, discriminator: string): boolean {
  return filter.clauses.every(({ kind, values }) => {
    const [value = ""] = values
    if (kind === "equals") return discriminator === value
    if (kind === "differs") return discriminator !== value
    if (kind === "startsWith") return discriminator.startsWith(value)
    return values.includes(discriminator)
  })
}

const RULE = { scheme: "stream", fault: STREAM_FAULTS.invalidRead } as const
const PATTERN_RULE = { scheme: "stream", fault: STREAM_FAULTS.invalidPattern } as const
const UNPARSABLE = STREAM_FAULTS.invalidRead
const PAGE_STATUS = 0

const onSelector: Need<{ readonly selector: Selector }> = {
  access: () => "read",
  target: request => request.selector.route,
}

function streamRoute(reader: Reader, routes: RouteTable): Route | Fault {
  const route = concreteRoute(reader, routes, RULE)
  if (!(route instanceof Fault) && reserved(route.segments)) return RULE.fault.because("a reserved name")
  return route
}

/** A u64 exactly: a number where it can be one. */
function position(reader: Reader): number | bigint {
  const value = reader.u64Exact()
  return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
}

function look<Reply>(
  type: number,
  name: string,
  op: StreamLook["op"],
  write: (writer: Writer, reply: Reply) => void,
): MessageRow<StreamLook, Reply> {
  return {
    type,
    name,
    envelope: "coded",
    needs: onRoute("read"),
    read(reader, routes) {
      const route = streamRoute(reader, routes)
      return whole(reader, route, UNPARSABLE, route => ({ op, route }))
    },
    write,
  }
}

function subscription<Reply>(
  type: number,
  name: string,
  op: StreamSubscription["op"],
  write: (writer: Writer, reply: Reply) => void,
): MessageRow<StreamSubscription, Reply> {
  return {
    type,
    name,
    envelope: "coded",
    needs: onSelector,
    read(reader, routes) {
      const span = reader.span()
      if (reader.failed) return UNPARSABLE.because("the payload does not parse")
      const selector = selectorOf(span, routes, PATTERN_RULE)
      if (selector instanceof Fault) return selector
      return reader.whole ? { op, selector } : UNPARSABLE.because("bytes after the request")
    },
    write,
  }
}

export const streamMessages = [
  {
    type: 600,
    name: "STREAM BEGIN",
    envelope: "plain",
    needs: onRoute("write"),
    read(reader, routes) {
      const route = streamRoute(reader, routes)
      // Metadata of the ingest: the client may send it, nothing ever asks for it again.
      reader.optionalSpan()
      return whole(reader, route, UNPARSABLE, route => ({ op: "begin", route }))
    },
    write: (writer, session) => writer.u64(session),
  } satisfies MessageRow<StreamBegin, number>,
  {
    type: 601,
    name: "STREAM APPEND",
    envelope: "plain",
    read(reader) {
      const session = reader.u64()
      const expectedOffset = reader.u64()
      const body = reader.span()
      const meta = reader.optionalSpan()
      const discriminator = reader.optionalSpan()
      if (
        discriminator !== null &&
        textOf(discriminator.bytes, discriminator.start, discriminator.end) === null
      ) {
        return UNPARSABLE.because("the discriminator is not UTF-8")
      }
      if (!reader.whole) return UNPARSABLE.because("the payload does not parse")
      return { op: "append", session, expectedOffset, body, meta, discriminator }
    },
    write(writer, offset) {
      writer.u32(8)
      writer.u64(offset)
    },
  } satisfies MessageRow<StreamAppend, number>,
  {
    type: 602,
    name: "STREAM COMMIT",
    envelope: "coded",
    read(reader) {
      const session = reader.u64()
      const sync = reader.flag()
      if (!reader.whole) return UNPARSABLE.because("the payload does not parse")
      return { op: "commit", session, sync }
    },
    write: noData,
  } satisfies MessageRow<StreamCommit, null>,
  {
    type: 603,
    name: "STREAM ROLLBACK",
    envelope: "coded",
    read(reader) {
      const session = reader.u64()
      if (!reader.whole) return UNPARSABLE.because("the payload does not parse")
      return { op: "rollback", session }
    },
    write: noData,
  } satisfies MessageRow<StreamRollback, null>,
  {
    type: 604,
    name: "STREAM READ",
    envelope: "coded",
    needs: onSelector,
    read(reader, routes) {
      const span = reader.span()
      const from = position(reader)
      const limit = reader.u64()
      const maxBytes = reader.optionalU64() ?? PAYLOAD_BYTES_MAX
      const filterBytes = reader.optionalSpan()
      const fingerprint = reader.optionalU64()
      const watermark = reader.optionalU64()
      if (!reader.whole) return UNPARSABLE.because("the payload does not parse")
      const selector = selectorOf(span, routes, RULE)
      if (selector instanceof Fault) return selector
      const filter = filterBytes === null ? null : parseFilter(filterBytes)
      if (filter instanceof Fault) return filter
      return { op: "read", selector, from, limit, maxBytes, filter, fingerprint, watermark }
    },
    write(writer, page) {
      writer.u8(PAGE_STATUS)
      const lengthAt = writer.at
      writer.u32(0)
      writePage(writer, page)
      writer.view.setUint32(lengthAt, writer.at - lengthAt - 4)
    },
  } satisfies MessageRow<StreamRead, StreamPage>,
  look<StreamRecord | null>(605, "STREAM LAST", "last", (writer, record) => {
    if (record !== null) writeRecord(writer, record, false)
  }),
  look<StreamMetadata>(606, "STREAM GET_METADATA", "metadata", (writer, metadata) => {
    writer.optionalU64(metadata.first)
    writer.optionalU64(metadata.last)
    writer.u64(metadata.count)
    writer.u64(BATCH_EVENTS_MAX)
    writer.u64(BATCH_BYTES_MAX)
    writer.optionalU64(null) // events do not age
    writer.u64(metadata.areaWatermark)
    writer.u64(metadata.realmWatermark)
  }),
  subscription<number>(607, "STREAM SUBSCRIBE", "subscribe", flaggedId),
  subscription<null>(608, "STREAM UNSUBSCRIBE", "unsubscribe", noData),
] as const

export const STREAM_NOTIFY = 609
