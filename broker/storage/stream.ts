// Streams in SQLite: segments of events, and for each of the ten selectors an order of segments, so that
// every read is one range of one index.

import type { Route } from "../../protocol/route.ts"
import type { PlacedSegment, SegmentPlaces, StoredOrder, StreamStore } from "../domains/stream.ts"
import type { Database, Statement } from "./database.ts"
import { storedRoute } from "./routes.ts"

interface SegmentRow {
  first: number
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

interface LastRow {
  first: number
  count: number
  stream_bytes: number
}

const SEGMENT = `
  SELECT o.first, s.stream, s.first_resource, s.first_area, s.first_realm, s.first_global, s.count,
         s.created_at, s.stream_bytes, s.records
  FROM stream_order o JOIN stream_segment s ON s.id = o.segment
  WHERE o.selector = ?`
const ROUTES_REMEMBERED_MAX = 10_000

export class SqliteStreamStore implements StreamStore {
  private readonly selectSelector: Statement<[number, string], number>
  private readonly insertSelector: Statement<[number, string]>
  private readonly selectText: Statement<[number], string>
  private readonly selectLast: Statement<[number], LastRow>
  private readonly selectAt: Statement<[number, number], SegmentRow>
  private readonly selectAfter: Statement<[number, number], SegmentRow>
  private readonly insertSegment: Statement<
    [number, number, number, number, number, number, number, number, Uint8Array]
  >
  private readonly insertOrder: Statement<[number, number, number]>
  private readonly routes = new Map<number, Route>()

  constructor(database: Database) {
    this.selectSelector = database
      .prepare<[number, string], number>("SELECT id FROM stream_selector WHERE family = ? AND text = ?")
      .pluck()
    this.insertSelector = database.prepare("INSERT INTO stream_selector (family, text) VALUES (?, ?)")
    this.selectText = database
      .prepare<[number], string>("SELECT text FROM stream_selector WHERE id = ?")
      .pluck()
    this.selectLast = database.prepare(
      `SELECT o.first, s.count, s.stream_bytes FROM stream_order o JOIN stream_segment s ON s.id = o.segment
       WHERE o.selector = ? ORDER BY o.first DESC LIMIT 1`,
    )
    this.selectAt = database.prepare(`${SEGMENT} AND o.first <= ? ORDER BY o.first DESC LIMIT 1`)
    this.selectAfter = database.prepare(`${SEGMENT} AND o.first > ? ORDER BY o.first LIMIT 1`)
    this.insertSegment = database.prepare(
      `INSERT INTO stream_segment
         (stream, first_resource, first_area, first_realm, first_global, count, created_at, stream_bytes, records)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    )
    this.insertOrder = database.prepare("INSERT INTO stream_order VALUES (?, ?, ?)")
  }

  order(family: number, canonical: string): StoredOrder | null {
    const id = this.selectSelector.get(family, canonical)
    if (id === undefined) return null
    const last = this.selectLast.get(id)
    return {
      id,
      next: last === undefined ? 0 : last.first + last.count,
      lastStreamBytes: last?.stream_bytes ?? 0,
    }
  }

  createOrder(family: number, canonical: string): number {
    return Number(this.insertSelector.run(family, canonical).lastInsertRowid)
  }

  append(segments: readonly SegmentPlaces[]): void {
    for (const { segment, orders } of segments) {
      const [own] = orders
      const { lastInsertRowid } = this.insertSegment.run(
        own!.id,
        segment.firstResource,
        segment.firstArea,
        segment.firstRealm,
        segment.firstGlobal,
        segment.count,
        segment.createdAtMs,
        segment.streamBytes,
        segment.records,
      )
      for (const { id, first } of orders) this.insertOrder.run(id, first, Number(lastInsertRowid))
    }
  }

  segmentFrom(orderId: number, position: number): PlacedSegment | null {
    const at = this.selectAt.get(orderId, position)
    const row =
      at !== undefined && at.first + at.count > position ? at : this.selectAfter.get(orderId, position)
    if (row === undefined) return null
    return {
      first: row.first,
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

  private route(stream: number): Route {
    const known = this.routes.get(stream)
    if (known !== undefined) return known
    const route = storedRoute(this.selectText.get(stream)!, "stream")
    if (this.routes.size >= ROUTES_REMEMBERED_MAX) this.routes.clear()
    this.routes.set(stream, route)
    return route
  }
}
