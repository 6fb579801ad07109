// Queues in SQLite: segments of messages, which of them are gone, attempts, dead letters. It keeps what the
// domain decided and must never decide which message is next.

import { copyOf, type Span } from "../../protocol/bytes.ts"
import type { Route } from "../../protocol/route.ts"
import type { SegmentPlace, StoredSegment } from "../domains/backlog.ts"
import type { Millis } from "../domains/domain.ts"
import type { DeadLetter, QueueStore, StoredCounts, StoredQueue } from "../domains/queue.ts"
import type { Database, Statement } from "./database.ts"
import { storedRoute } from "./routes.ts"

interface SegmentRow {
  id: number
  first: number
  count: number
  due: number | null
  enqueued_at: number
  records: Uint8Array | null
  bits: Uint8Array | null
}

interface DeadRow {
  message: number
  attempts: number
  reason: string
  dead_at: number
  enqueued_at: number
}

interface CountRow {
  queue: number
  rows: number
  messages: number
  last: number
  end: number
}

interface DelayRow {
  queue: number
  rows: number
  ripe: number
}

/** A place in the index of delays: queue, due, first. */
type Place = [number, number, number]
const END: Place = [Number.MAX_SAFE_INTEGER, 0, 0]

/** Rows of an index that a boot counts at a time. */
const LOAD_ROWS = 50_000

interface Counts extends StoredCounts {
  ready: number
  delayed: number
  dead: number
  logEnd: number
  hasAttempts: boolean
}

export class SqliteQueueStore implements QueueStore {
  private readonly database: Database
  private readonly selectQueue: Statement<[number, string], { id: number; next_id: number }>
  private readonly insertQueue: Statement<[number, string]>
  private readonly updateNextId: Statement<[number, number]>
  private readonly selectLog: Statement<[number, number, number], SegmentRow>
  private readonly selectDelayed: Statement<[number, number, number, number], SegmentRow>
  private readonly selectDelayCount: Statement<[number, number, number], number>
  private readonly selectNextDelay: Statement<[number, number], number | null>
  private readonly selectRecords: Statement<[number], Uint8Array>
  private readonly insertSegment: Statement<[number, number, number, number | null, number, Uint8Array]>
  private readonly deleteSegment: Statement<[number]>
  private readonly upsertGone: Statement<[number, number, number, Uint8Array]>
  private readonly deleteGone: Statement<[number]>
  private readonly selectAttempts: Statement<[number, number], number>
  private readonly upsertAttempts: Statement<[number, number, number]>
  private readonly deleteAttempts: Statement<[number, number]>
  private readonly selectOldest: Statement<[number, number, number], number | null>
  private readonly insertDead: Statement<[number, number, number, string, number, number, Uint8Array]>
  private readonly selectDead: Statement<[number, number, number], DeadRow>
  private readonly selectLetter: Statement<[number, number], DeadRow & { body: Uint8Array }>
  private readonly deleteDead: Statement<[number, number]>
  private readonly selectSince: Statement<[number, number], number | null>

  constructor(database: Database) {
    this.database = database
    this.selectQueue = database.prepare("SELECT id, next_id FROM queue WHERE family = ? AND route = ?")
    this.insertQueue = database.prepare("INSERT INTO queue (family, route, next_id) VALUES (?, ?, 1)")
    this.updateNextId = database.prepare("UPDATE queue SET next_id = ? WHERE id = ?")
    this.selectLog = database.prepare(
      `SELECT s.id, s.first, s.count, s.due, s.enqueued_at, s.records, g.bits
       FROM queue_segment s INDEXED BY queue_log LEFT JOIN queue_gone g ON g.segment = s.id
       WHERE s.due IS NULL AND s.queue = ? AND s.first > ? ORDER BY s.first LIMIT ?`,
    )
    this.selectDelayed = database.prepare(
      `SELECT id, first, count, due, enqueued_at, NULL AS records, NULL AS bits
       FROM queue_segment INDEXED BY queue_delay
       WHERE due IS NOT NULL AND queue = ? AND (due, first) > (?, ?) ORDER BY due, first LIMIT ?`,
    )
    this.selectDelayCount = database
      .prepare<[number, number, number], number>(
        `SELECT count(*) FROM queue_segment INDEXED BY queue_delay
       WHERE due IS NOT NULL AND queue = ? AND due > ? AND due <= ?`,
      )
      .pluck()
    this.selectNextDelay = database
      .prepare<[number, number], number | null>(
        `SELECT min(due) FROM queue_segment INDEXED BY queue_delay WHERE due IS NOT NULL AND queue = ? AND due > ?`,
      )
      .pluck()
    this.selectOldest = database
      .prepare<[number, number, number], number | null>(
        `SELECT min(at) FROM (
           SELECT * FROM (SELECT enqueued_at AS at FROM queue_segment INDEXED BY queue_log
             WHERE due IS NULL AND queue = ? ORDER BY first LIMIT 1)
           UNION ALL
           SELECT * FROM (SELECT enqueued_at AS at FROM queue_segment INDEXED BY queue_delay
             WHERE due IS NOT NULL AND queue = ? AND due <= ? ORDER BY due LIMIT 1))`,
      )
      .pluck()
    this.selectRecords = database
      .prepare<[number], Uint8Array>("SELECT records FROM queue_segment WHERE id = ?")
      .pluck()
    this.insertSegment = database.prepare(
      "INSERT INTO queue_segment (queue, first, count, due, enqueued_at, records) VALUES (?, ?, ?, ?, ?, ?)",
    )
    this.deleteSegment = database.prepare("DELETE FROM queue_segment WHERE id = ?")
    this.upsertGone = database.prepare("INSERT OR REPLACE INTO queue_gone VALUES (?, ?, ?, ?)")
    this.deleteGone = database.prepare("DELETE FROM queue_gone WHERE segment = ?")
    this.selectAttempts = database
      .prepare<[number, number], number>("SELECT attempts FROM queue_attempt WHERE queue = ? AND message = ?")
      .pluck()
    this.upsertAttempts = database.prepare("INSERT OR REPLACE INTO queue_attempt VALUES (?, ?, ?)")
    this.deleteAttempts = database.prepare("DELETE FROM queue_attempt WHERE queue = ? AND message = ?")
    this.insertDead = database.prepare("INSERT INTO queue_dead VALUES (?, ?, ?, ?, ?, ?, ?)")
    this.selectDead = database.prepare(
      `SELECT message, attempts, reason, dead_at, enqueued_at FROM queue_dead INDEXED BY queue_dead_order
       WHERE queue = ? ORDER BY dead_at, message LIMIT ? OFFSET ?`,
    )
    this.selectLetter = database.prepare(
      "SELECT message, attempts, reason, dead_at, enqueued_at, body FROM queue_dead WHERE queue = ? AND message = ?",
    )
    this.deleteDead = database.prepare("DELETE FROM queue_dead WHERE queue = ? AND message = ?")
    this.selectSince = database
      .prepare<[number, number], number | null>(
        `SELECT min(since) FROM (
           SELECT * FROM (SELECT enqueued_at AS since FROM queue_segment INDEXED BY queue_log
                          WHERE due IS NULL AND queue = ? ORDER BY first LIMIT 1)
           UNION ALL
           SELECT * FROM (SELECT enqueued_at FROM queue_segment INDEXED BY queue_delay_first
                          WHERE due IS NOT NULL AND queue = ? ORDER BY first LIMIT 1))`,
      )
      .pluck()
  }

  *load(nowMs: number): Generator<{ queue: StoredQueue; counts: StoredCounts } | number> {
    const all = new Map<number, Counts>()
    const of = (queue: number): Counts => {
      let counts = all.get(queue)
      if (counts === undefined) {
        counts = { ready: 0, delayed: 0, dead: 0, logEnd: 0, hasAttempts: false }
        all.set(queue, counts)
      }
      return counts
    }
    const total = this.single("SELECT count(*) FROM queue_segment")
    let done = 0
    for (const count of [this.countLog(of), this.countDelays(of, nowMs)]) {
      for (const rows of count) {
        done += rows
        yield Math.min(1, done / total)
      }
    }
    for (const { queue, n } of this.grouped("SELECT queue, sum(count) AS n FROM queue_gone GROUP BY queue")) {
      of(queue).ready -= n
    }
    for (const { queue, n } of this.grouped("SELECT queue, count(*) AS n FROM queue_dead GROUP BY queue")) {
      of(queue).dead = n
    }
    for (const { queue } of this.grouped("SELECT DISTINCT queue, 1 AS n FROM queue_attempt")) {
      of(queue).hasAttempts = true
    }
    const byId = this.database.prepare<
      [number],
      { id: number; family: number; route: string; next_id: number }
    >("SELECT id, family, route, next_id FROM queue WHERE id = ?")
    for (const [id, counts] of all) {
      const row = byId.get(id)!
      yield { queue: { ...row, route: storedRoute(row.route, "queue"), nextId: row.next_id }, counts }
    }
  }

  /** Counts the log a stretch of index at a time; yields how many rows that were. */
  private *countLog(of: (queue: number) => Counts): Generator<number> {
    const stretch = this.database.prepare<[number, number, number], CountRow>(
      `SELECT queue, count(*) AS rows, sum(count) AS messages, max(first) AS last, max(first + count) AS end
       FROM (SELECT queue, first, count FROM queue_segment INDEXED BY queue_log
             WHERE due IS NULL AND (queue, first) > (?, ?) ORDER BY queue, first LIMIT ?)
       GROUP BY queue ORDER BY queue`,
    )
    let queue = 0
    let first = 0
    for (;;) {
      const found = stretch.all(queue, first, LOAD_ROWS)
      const last = found.at(-1)
      if (last === undefined) return
      let rows = 0
      for (const row of found) {
        rows += row.rows
        of(row.queue).ready += row.messages
        of(row.queue).logEnd = row.end - 1
      }
      queue = last.queue
      first = last.last
      yield rows
    }
  }

  private *countDelays(of: (queue: number) => Counts, nowMs: number): Generator<number> {
    const places =
      "FROM queue_segment INDEXED BY queue_delay WHERE due IS NOT NULL AND (queue, due, first) > (?, ?, ?)"
    const end = this.database.prepare<Place, { queue: number; due: number; first: number }>(
      `SELECT queue, due, first ${places} ORDER BY queue, due, first LIMIT 1 OFFSET ${LOAD_ROWS - 1}`,
    )
    const stretch = this.database.prepare<[number, ...Place, ...Place], DelayRow>(
      `SELECT queue, count(*) AS rows, sum(due <= ?) AS ripe ${places} AND (queue, due, first) <= (?, ?, ?) GROUP BY queue`,
    )
    let from: Place = [0, 0, 0]
    for (let last = false; !last; ) {
      const place = end.get(...from)
      last = place === undefined
      const to: Place = place === undefined ? END : [place.queue, place.due, place.first]
      let rows = 0
      for (const row of stretch.all(nowMs, ...from, ...to)) {
        rows += row.rows
        of(row.queue).ready += row.ripe
        of(row.queue).delayed += row.rows - row.ripe
      }
      from = to
      yield rows
    }
  }

  private single(sql: string): number {
    return this.database.prepare<[], number>(sql).pluck().get()!
  }

  private grouped(sql: string): { queue: number; n: number }[] {
    return this.database.prepare<[], { queue: number; n: number }>(sql).all()
  }

  find(family: number, route: Route): StoredQueue | null {
    const row = this.selectQueue.get(family, route.text)
    return row === undefined ? null : { id: row.id, family, route, nextId: row.next_id }
  }

  create(family: number, route: Route): number {
    return Number(this.insertQueue.run(family, route.text).lastInsertRowid)
  }

  setNextId(queue: number, nextId: number): void {
    this.updateNextId.run(nextId, queue)
  }

  log(queue: number, afterId: number, max: number): StoredSegment[] {
    return this.selectLog.all(queue, afterId, max).map(segmentOf)
  }

  delayed(queue: number, afterDueMs: number, afterId: number, max: number): StoredSegment[] {
    return this.selectDelayed.all(queue, afterDueMs, afterId, max).map(segmentOf)
  }

  nextDelay(queue: number, afterMs: number): number | null {
    return this.selectNextDelay.get(queue, afterMs) ?? null
  }

  countDelayed(queue: number, afterMs: number, upToMs: number): number {
    return this.selectDelayCount.get(queue, afterMs, upToMs)!
  }

  records(row: number): Uint8Array {
    return this.selectRecords.get(row)!
  }

  insert(queue: number, { first, count, dueMs, enqueuedAtMs }: SegmentPlace, records: Uint8Array): number {
    return Number(this.insertSegment.run(queue, first, count, dueMs, enqueuedAtMs, records).lastInsertRowid)
  }

  delete(row: number): void {
    this.deleteSegment.run(row)
    this.deleteGone.run(row)
  }

  setGone(queue: number, row: number, count: number, bits: Uint8Array): void {
    this.upsertGone.run(row, queue, count, bits)
  }

  oldest(queue: number, nowMs: Millis): Millis | null {
    return this.selectOldest.get(queue, queue, nowMs) ?? null
  }

  attempts(queue: number, message: number): number {
    return this.selectAttempts.get(queue, message) ?? 0
  }

  setAttempts(queue: number, message: number, attempts: number): void {
    this.upsertAttempts.run(queue, message, attempts)
  }

  dropAttempts(queue: number, message: number): void {
    this.deleteAttempts.run(queue, message)
  }

  bury(queue: number, letter: DeadLetter, body: Span): void {
    const { id, attempts, reason, deadAtMs, enqueuedAtMs } = letter
    this.insertDead.run(queue, id, attempts, reason, deadAtMs, enqueuedAtMs, copyOf(body))
  }

  dead(queue: number, offset: number, limit: number): DeadLetter[] {
    return this.selectDead.all(queue, limit, offset).map(letterOf)
  }

  deadLetter(queue: number, message: number): { letter: DeadLetter; body: Uint8Array } | null {
    const row = this.selectLetter.get(queue, message)
    return row === undefined ? null : { letter: letterOf(row), body: row.body }
  }

  dropDead(queue: number, message: number): void {
    this.deleteDead.run(queue, message)
  }

  oldestMs(queue: number): number | null {
    return this.selectSince.get(queue, queue) ?? null
  }
}

function segmentOf(row: SegmentRow): StoredSegment {
  return {
    row: row.id,
    first: row.first,
    count: row.count,
    dueMs: row.due,
    enqueuedAtMs: row.enqueued_at,
    gone: row.bits,
    records: row.records,
  }
}

function letterOf({ message, attempts, reason, dead_at, enqueued_at }: DeadRow): DeadLetter {
  return {
    id: message,
    attempts,
    reason: reason as DeadLetter["reason"],
    deadAtMs: dead_at,
    enqueuedAtMs: enqueued_at,
  }
}
