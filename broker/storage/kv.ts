// KV in SQLite: committed pairs in the file, replaced values that open snapshots still see in a temporary
// table, which is gone with the process as the snapshots are.

import { binaryBytes, binaryText } from "../../protocol/bytes.ts"
import type { KvPair } from "../../protocol/messages/kv.ts"
import type { Route } from "../../protocol/route.ts"
import type { KvChanges, KvStore, StoredKv } from "../domains/kv.ts"
import type { KeyBounds, OverlayEntry } from "../domains/overlay.ts"
import type { PageAsk } from "../domains/views/common.ts"
import type { Database, Statement } from "./database.ts"
import { rangeOf } from "./routes.ts"

const PAST = `
  CREATE TEMP TABLE kv_past (
    resource INTEGER NOT NULL,
    key BLOB NOT NULL,
    replaced_by INTEGER NOT NULL,
    value BLOB,
    PRIMARY KEY (resource, key, replaced_by)
  ) WITHOUT ROWID`

/** Replaced values dropped at a time. */
const DROP_ROWS = 1_000

type Bind = number | Uint8Array

interface PastRow {
  key: Uint8Array
  value: Uint8Array | null
}

export class SqliteKvStore implements KvStore {
  private readonly database: Database
  private readonly selectResource: Statement<[number, string], StoredKv>
  private readonly selectAll: Statement<[], { family: number; route: string; keys: number }>
  private readonly selectNames: Statement<
    [string, string, number, number, number, number],
    { route: string; keys: number }
  >
  private readonly countNames: Statement<[string, string, number, number], number>
  private readonly selectFamilies: Statement<[string], number>
  private readonly insertResource: Statement<[number, string]>
  private readonly updateKeys: Statement<[number, number]>
  private readonly selectValue: Statement<[number, Uint8Array], Uint8Array>
  private readonly updateValue: Statement<[Uint8Array, number, Uint8Array]>
  private readonly insertValue: Statement<[number, Uint8Array, Uint8Array]>
  private readonly deleteValue: Statement<[number, Uint8Array]>
  private readonly deleteValues: Statement<[number, Uint8Array, Uint8Array]>
  private readonly selectPast: Statement<[number, Uint8Array, number], { value: Uint8Array | null }>
  private readonly keepValue: Statement<
    [number, Uint8Array, number, Uint8Array | null, number, Uint8Array, number]
  >
  private readonly keepValues: Statement<[number, number, Uint8Array, Uint8Array, number]>
  private readonly deletePast: Statement<[number, number, number]>
  private readonly scans = new Map<string, Statement<Bind[], KvPair>>()
  private readonly pastScans = new Map<string, Statement<Bind[], PastRow>>()

  constructor(database: Database) {
    this.database = database
    database.execute(PAST)
    this.selectResource = database.prepare("SELECT id, keys FROM kv_resource WHERE family = ? AND route = ?")
    this.selectAll = database.prepare("SELECT family, route, keys FROM kv_resource WHERE keys > 0")
    const names =
      "FROM kv_resource INDEXED BY kv_route WHERE route >= ? AND route < ? AND keys > 0 AND (? = 0 OR family = ?)"
    this.selectNames = database.prepare(
      `SELECT route, sum(keys) AS keys ${names} GROUP BY route ORDER BY route LIMIT ? OFFSET ?`,
    )
    this.countNames = database
      .prepare<[string, string, number, number], number>(`SELECT count(DISTINCT route) ${names}`)
      .pluck()
    this.selectFamilies = database
      .prepare<[string], number>("SELECT family FROM kv_resource WHERE route = ? ORDER BY family")
      .pluck()
    this.insertResource = database.prepare("INSERT INTO kv_resource (family, route, keys) VALUES (?, ?, 0)")
    this.updateKeys = database.prepare("UPDATE kv_resource SET keys = keys + ? WHERE id = ?")
    this.selectValue = database
      .prepare<[number, Uint8Array], Uint8Array>("SELECT value FROM kv_entry WHERE resource = ? AND key = ?")
      .pluck()
    this.updateValue = database.prepare("UPDATE kv_entry SET value = ? WHERE resource = ? AND key = ?")
    this.insertValue = database.prepare("INSERT INTO kv_entry VALUES (?, ?, ?)")
    this.deleteValue = database.prepare("DELETE FROM kv_entry WHERE resource = ? AND key = ?")
    this.deleteValues = database.prepare("DELETE FROM kv_entry WHERE resource = ? AND key >= ? AND key < ?")
    this.selectPast = database.prepare(
      "SELECT value FROM kv_past WHERE resource = ? AND key = ? AND replaced_by > ? ORDER BY replaced_by LIMIT 1",
    )
    // A value is kept once: where an older one already answers the newest snapshot, nobody sees this one.
    this.keepValue = database.prepare(
      `INSERT INTO kv_past SELECT ?, ?, ?, ?
       WHERE NOT EXISTS (SELECT 1 FROM kv_past WHERE resource = ? AND key = ? AND replaced_by > ?)`,
    )
    this.keepValues = database.prepare(
      `INSERT INTO kv_past SELECT resource, key, ?, value FROM kv_entry e
       WHERE resource = ? AND key >= ? AND key < ?
         AND NOT EXISTS (SELECT 1 FROM kv_past p WHERE p.resource = e.resource AND p.key = e.key AND p.replaced_by > ?)`,
    )
    this.deletePast = database.prepare("DELETE FROM kv_past WHERE resource = ? AND replaced_by <= ? LIMIT ?")
  }

  find(family: number, route: Route): StoredKv | null {
    return this.selectResource.get(family, route.text) ?? null
  }

  create(family: number, route: Route): number {
    return Number(this.insertResource.run(family, route.text).lastInsertRowid)
  }

  all(): Iterable<{ family: number; route: string; keys: number }> {
    return this.selectAll.iterate()
  }

  resources(
    family: number | null,
    realm: string,
    area: string,
    { offset, limit }: PageAsk,
  ): { resource: string; keys: number }[] {
    const [from, to] = rangeOf("kv", realm, area)
    const rows = this.selectNames.all(from, to, family ?? 0, family ?? 0, limit, offset)
    return rows.map(({ route, keys }) => ({ resource: route.slice(from.length), keys }))
  }

  countResources(family: number | null, realm: string, area: string): number {
    return this.countNames.get(...rangeOf("kv", realm, area), family ?? 0, family ?? 0)!
  }

  families(route: Route): number[] {
    return this.selectFamilies.all(route.text)
  }

  keyCount(): number {
    return this.database.prepare<[], number>("SELECT coalesce(sum(keys), 0) FROM kv_resource").pluck().get()!
  }

  get(resource: number, key: Uint8Array): Uint8Array | null {
    return this.selectValue.get(resource, key) ?? null
  }

  scan(resource: number, bounds: KeyBounds, reverse: boolean, max: number): readonly KvPair[] {
    const { condition, binds, order } = conditionOf(bounds, reverse)
    let statement = this.scans.get(condition + order)
    if (statement === undefined) {
      statement = this.database.prepare<Bind[], KvPair>(
        `SELECT key, value FROM kv_entry WHERE resource = ? ${condition} ORDER BY key ${order} LIMIT ?`,
      )
      this.scans.set(condition + order, statement)
    }
    return statement.all(resource, ...binds, max)
  }

  apply(
    resource: number,
    changes: KvChanges,
    keep: { readonly commit: number; readonly newest: number } | null,
  ): number {
    let added = 0
    for (const { start, end } of changes.deleted) {
      const [from, to] = [binaryBytes(start), binaryBytes(end)]
      if (keep !== null) this.keepValues.run(keep.commit, resource, from, to, keep.newest)
      added -= this.deleteValues.run(resource, from, to).changes
    }
    for (const { key: text, value } of changes.changed) {
      const key = binaryBytes(text)
      if (keep !== null) {
        const old = this.get(resource, key)
        this.keepValue.run(resource, key, keep.commit, old, resource, key, keep.newest)
      }
      added += this.set(resource, key, value)
    }
    if (added !== 0) this.updateKeys.run(added, resource)
    return added
  }

  /** Sets or deletes one key; says by how many the resource's keys changed. */
  private set(resource: number, key: Uint8Array, value: Uint8Array | null): number {
    if (value === null) return -this.deleteValue.run(resource, key).changes
    if (this.updateValue.run(value, resource, key).changes > 0) return 0
    return this.insertValue.run(resource, key, value).changes
  }

  past(resource: number, snapshot: number, key: Uint8Array): Uint8Array | null | undefined {
    return this.selectPast.get(resource, key, snapshot)?.value
  }

  pastScan(
    resource: number,
    snapshot: number,
    bounds: KeyBounds,
    reverse: boolean,
    max: number,
  ): readonly OverlayEntry[] {
    const { condition, binds, order } = conditionOf(bounds, reverse)
    let statement = this.pastScans.get(condition + order)
    if (statement === undefined) {
      statement = this.database.prepare<Bind[], PastRow>(
        `SELECT key, value, min(replaced_by) FROM kv_past
         WHERE resource = ? AND replaced_by > ? ${condition} GROUP BY key ORDER BY key ${order} LIMIT ?`,
      )
      this.pastScans.set(condition + order, statement)
    }
    const rows = statement.all(resource, snapshot, ...binds, max)
    return rows.map(({ key, value }) => ({ key: binaryText(key, 0, key.length), value }))
  }

  dropPast(resource: number, commit: number): boolean {
    return this.deletePast.run(resource, commit, DROP_ROWS).changes < DROP_ROWS
  }
}

function conditionOf(
  { low, lowInclusive, high, highInclusive }: KeyBounds,
  reverse: boolean,
): { condition: string; binds: Uint8Array[]; order: string } {
  let condition = ""
  const binds: Uint8Array[] = []
  if (low !== null) {
    condition += lowInclusive ? " AND key >= ?" : " AND key > ?"
    binds.push(binaryBytes(low))
  }
  if (high !== null) {
    condition += highInclusive ? " AND key <= ?" : " AND key < ?"
    binds.push(binaryBytes(high))
  }
  return { condition, binds, order: reverse ? "DESC" : "ASC" }
}
