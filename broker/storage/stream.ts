// Streams in SQLite: segments of events, and for each of the ten selectors an order of segments, so that
// every read is one range of one index. A commit writes its segment and nothing else; the places of the
// newest segments are held in memory, written many at a time, and found again from the segments at a start.

import { selectorsOver } from "../../protocol/messages/stream.ts"
import type { Route } from "../../protocol/route.ts"
import type { Journal } from "../domains/journal.ts"
import type { PlacedSegment, SegmentPlaces, StoredOrder, StreamStore } from "../domains/stream.ts"
import type { PageAsk } from "../domains/views/common.ts"
import type { Database, Statement } from "./database.ts"
import { rangeOf, storedRoute } from "./routes.ts"

interface SegmentRow {
  stream: number
  first_resource: number
  first_area: number
  first_realm: number
  first_global: number
  count: number
  created_at: number
  stream_bytes: number
  records: Uint8Array
}

/** Where a segment stands in an order. */
interface Place {
  readonly first: number
  readonly count: number
  readonly segment: number
}

/** Segments whose places are held in memory before they are written: some hundred microseconds' work. */
const UNWRITTEN_MAX = 128
/** Places of one row: more would not fit beside its neighbours in a page of the index. */
const ROW_PLACES_MAX = 48
const PLACE_BYTES = 20
const ROUTES_REMEMBERED_MAX = 10_000

export class SqliteStreamStore implements StreamStore {
  private readonly database: Database
  private readonly selectSelector: Statement<[number, string], number>
  private readonly insertSelector: Statement<[number, string]>
  private readonly selectAll: Statement<[], { family: number; route: string }>
  private readonly selectNames: Statement<[string, string, number, number, number, number], string>
  private readonly countNames: Statement<[string, string, number, number], number>
  private readonly selectFamilies: Statement<[string], number>
  private readonly selectText: Statement<[number], { family: number; text: string }>
  private readonly selectLast: Statement<[number], Buffer>
  private readonly selectAt: Statement<[number, number], Buffer>
  private readonly selectAfter: Statement<[number, number], Buffer>
  private readonly selectSegment: Statement<[number], SegmentRow>
  private readonly selectBytes: Statement<[number], number>
  private readonly insertSegment: Statement<
    [number, number, number, number, number, number, number, number, Uint8Array]
  >
  private readonly insertOrder: Statement<[number, number, Buffer]>
  private readonly updateIndexed: Statement<[number]>
  /** Places not written yet, by order, ascending; they follow all written ones. */
  private unwritten = new Map<number, Place[]>()
  private unwrittenSegments = 0
  private readonly routes = new Map<number, Route>()

  constructor(database: Database) {
    this.database = database
    this.selectSelector = database
      .prepare<[number, string], number>("SELECT id FROM stream_selector WHERE family = ? AND text = ?")
      .pluck()
    this.insertSelector = database.prepare("INSERT INTO stream_selector (family, text) VALUES (?, ?)")
    // Concrete selectors are the streams themselves.
    const streams = "FROM stream_selector INDEXED BY stream_route WHERE instr(text, '*') = 0"
    this.selectAll = database.prepare(`SELECT family, text AS route ${streams}`)
    const names = `${streams} AND text >= ? AND text < ? AND (? = 0 OR family = ?)`
    this.selectNames = database
      .prepare<[string, string, number, number, number, number], string>(
        `SELECT DISTINCT text ${names} ORDER BY text LIMIT ? OFFSET ?`,
      )
      .pluck()
    this.countNames = database
      .prepare<[string, string, number, number], number>(`SELECT count(DISTINCT text) ${names}`)
      .pluck()
    this.selectFamilies = database
      .prepare<[string], number>(`SELECT family ${streams} AND text = ? ORDER BY family`)
      .pluck()
    this.selectText = database.prepare("SELECT family, text FROM stream_selector WHERE id = ?")
    const row = "SELECT places FROM stream_order WHERE selector = ?"
    this.selectLast = database.prepare<[number], Buffer>(`${row} ORDER BY first DESC LIMIT 1`).pluck()
    this.selectAt = database
      .prepare<[number, number], Buffer>(`${row} AND first <= ? ORDER BY first DESC LIMIT 1`)
      .pluck()
    this.selectAfter = database
      .prepare<[number, number], Buffer>(`${row} AND first > ? ORDER BY first LIMIT 1`)
      .pluck()
    this.selectSegment = database.prepare(
      `SELECT stream, first_resource, first_area, first_realm, first_global, count, created_at, stream_bytes, records
       FROM stream_segment WHERE id = ?`,
    )
    this.selectBytes = database
      .prepare<[number], number>("SELECT stream_bytes FROM stream_segment WHERE id = ?")
      .pluck()
    this.insertSegment = database.prepare(
      `INSERT INTO stream_segment
         (stream, first_resource, first_area, first_realm, first_global, count, created_at, stream_bytes, records)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    this.insertOrder = database.prepare("INSERT INTO stream_order VALUES (?, ?, ?)")
    this.updateIndexed = database.prepare("UPDATE meta SET value = ? WHERE key = 'stream_indexed'")
    this.recover()
  }

  /** Finds the places of segments that were stored after places were last written. */
  private recover(): void {
    const rows = this.database.prepare<[], Omit<SegmentRow, "records"> & { id: number }>(
      `SELECT id, stream, first_resource, first_area, first_realm, first_global, count
       FROM stream_segment WHERE id > (SELECT value FROM meta WHERE key = 'stream_indexed') ORDER BY id`,
    )
    for (const row of rows.all()) {
      const { family, text } = this.selectText.get(row.stream)!
      const first = {
        resource: row.first_resource,
        area: row.first_area,
        realm: row.first_realm,
        global: row.first_global,
      }
      for (const { canonical, axis } of selectorsOver(storedRoute(text, "stream"))) {
        const order = this.selectSelector.get(family, canonical)!
        this.hold(order, { first: first[axis], count: row.count, segment: row.id })
      }
      this.unwrittenSegments++
    }
  }

  private hold(order: number, place: Place): void {
    const places = this.unwritten.get(order)
    if (places === undefined) this.unwritten.set(order, [place])
    else places.push(place)
  }

  order(family: number, canonical: string): StoredOrder | null {
    const id = this.selectSelector.get(family, canonical)
    if (id === undefined) return null
    const last = this.unwritten.get(id)?.at(-1) ?? this.lastWritten(id)
    return {
      id,
      next: last === undefined ? 0 : last.first + last.count,
      lastStreamBytes: last === undefined ? 0 : this.selectBytes.get(last.segment)!,
    }
  }

  counts(): { streams: number; events: number } {
    const streams = this.database
      .prepare<[], number>("SELECT count(*) FROM stream_selector WHERE text NOT LIKE '%*%'")
      .pluck()
      .get()!
    const everything = this.database
      .prepare<[], number>("SELECT family FROM stream_selector WHERE text = 'stream://*/*/*'")
      .pluck()
    let events = 0
    for (const family of everything.all()) events += this.order(family, "stream://*/*/*")!.next
    return { streams, events }
  }

  private lastWritten(order: number): Place | undefined {
    const places = this.selectLast.get(order)
    return places === undefined ? undefined : placeAt(places, places.length - PLACE_BYTES)
  }

  all(): Iterable<{ family: number; route: string }> {
    return this.selectAll.all()
  }

  resources(family: number | null, realm: string, area: string, { offset, limit }: PageAsk): string[] {
    const [from, to] = rangeOf("stream", realm, area)
    const rows = this.selectNames.all(from, to, family ?? 0, family ?? 0, limit, offset)
    return rows.map(text => text.slice(from.length))
  }

  countResources(family: number | null, realm: string, area: string): number {
    return this.countNames.get(...rangeOf("stream", realm, area), family ?? 0, family ?? 0)!
  }

  families(route: string): number[] {
    return this.selectFamilies.all(route)
  }

  createOrder(family: number, canonical: string): number {
    return Number(this.insertSelector.run(family, canonical).lastInsertRowid)
  }

  append(segments: readonly SegmentPlaces[], journal: Journal): void {
    for (const { segment, orders } of segments) {
      const { lastInsertRowid } = this.insertSegment.run(
        orders[0]!.id,
        segment.firstResource,
        segment.firstArea,
        segment.firstRealm,
        segment.firstGlobal,
        segment.count,
        segment.createdAtMs,
        segment.streamBytes,
        segment.records,
      )
      const row = Number(lastInsertRowid)
      for (const { id, first } of orders) this.hold(id, { first, count: segment.count, segment: row })
      this.unwrittenSegments++
      journal.undo(() => {
        // A row taken back leaves its number to another, and a number stands for a route here.
        this.routes.clear()
        this.unwrittenSegments--
        for (const { id } of orders) this.unwritten.get(id)!.pop()
      })
      if (this.unwrittenSegments >= UNWRITTEN_MAX) this.writePlaces(row, journal)
    }
  }

  private writePlaces(lastSegment: number, journal: Journal): void {
    const { unwritten, unwrittenSegments } = this
    // In the order of the index, where neighbours share a page.
    for (const [order, places] of [...unwritten].sort(([a], [b]) => a - b)) {
      for (let from = 0; from < places.length; from += ROW_PLACES_MAX) {
        const row = places.slice(from, from + ROW_PLACES_MAX)
        this.insertOrder.run(order, row[0]!.first, packed(row))
      }
    }
    this.updateIndexed.run(lastSegment)
    this.unwritten = new Map()
    this.unwrittenSegments = 0
    journal.undo(() => {
      this.unwritten = unwritten
      this.unwrittenSegments = unwrittenSegments
    })
  }

  segmentFrom(orderId: number, position: number): PlacedSegment | null {
    const place = this.placeFrom(orderId, position)
    if (place === null) return null
    const row = this.selectSegment.get(place.segment)!
    return {
      first: place.first,
      segment: {
        route: this.route(row.stream),
        firstResource: row.first_resource,
        firstArea: row.first_area,
        firstRealm: row.first_realm,
        firstGlobal: row.first_global,
        count: row.count,
        createdAtMs: row.created_at,
        streamBytes: row.stream_bytes,
        records: row.records,
      },
    }
  }

  private placeFrom(orderId: number, position: number): Place | null {
    const held = this.unwritten.get(orderId) ?? []
    const oldest = held[0]
    if (oldest !== undefined && position >= oldest.first) {
      return held.find(place => place.first + place.count > position) ?? null
    }
    const at = this.selectAt.get(orderId, position)
    const found = at === undefined ? null : placeFrom(at, position)
    if (found !== null) return found
    const after = this.selectAfter.get(orderId, position)
    return after === undefined ? (oldest ?? null) : placeAt(after, 0)
  }

  private route(stream: number): Route {
    const known = this.routes.get(stream)
    if (known !== undefined) return known
    const route = storedRoute(this.selectText.get(stream)!.text, "stream")
    if (this.routes.size >= ROUTES_REMEMBERED_MAX) this.routes.clear()
    this.routes.set(stream, route)
    return route
  }
}

function packed(places: readonly Place[]): Buffer {
  const bytes = Buffer.allocUnsafe(places.length * PLACE_BYTES)
  let at = 0
  for (const { first, count, segment } of places) {
    bytes.writeDoubleBE(first, at)
    bytes.writeUInt32BE(count, at + 8)
    bytes.writeDoubleBE(segment, at + 12)
    at += PLACE_BYTES
  }
  return bytes
}

function placeAt(places: Buffer, at: number): Place {
  return {
    first: places.readDoubleBE(at),
    count: places.readUInt32BE(at + 8),
    segment: places.readDoubleBE(at + 12),
  }
}

/** The first place that holds the position or follows it. */
function placeFrom(places: Buffer, position: number): Place | null {
  for (let at = 0; at < places.length; at += PLACE_BYTES) {
    const place = placeAt(places, at)
    if (place.first + place.count > position) return place
  }
  return null
}
