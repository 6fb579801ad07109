// Schedule definitions in SQLite, by family and route. Occurrences are never stored: when a definition is due
// follows from its expression and the clock.

import type { Route } from "../../protocol/route.ts"
import type { ScheduleForm, ScheduleStore, StoredSchedule } from "../domains/schedule.ts"
import type { Database, Statement } from "./database.ts"
import { sha256Hex, strongTag } from "./digest.ts"
import { storedRoute } from "./routes.ts"

interface ScheduleRow {
  family: number
  route: string
  cron: string
  single: number
  payload: Uint8Array
  enabled: number
  managed_by: string | null
}

const COLUMNS = "family, route, cron, single, payload, enabled, managed_by"

export class SqliteScheduleStore implements ScheduleStore {
  private readonly selectAll: Statement<[], ScheduleRow>
  private readonly selectPayload: Statement<[number, string], Uint8Array>
  private readonly upsert: Statement<[number, string, string, number, Uint8Array, number, string | null]>
  private readonly erase: Statement<[number, string]>

  constructor(database: Database) {
    this.selectAll = database.prepare(`SELECT ${COLUMNS} FROM schedule`)
    this.selectPayload = database
      .prepare<[number, string], Uint8Array>("SELECT payload FROM schedule WHERE family = ? AND route = ?")
      .pluck()
    this.upsert = database.prepare(
      `INSERT OR REPLACE INTO schedule (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)`,
    )
    this.erase = database.prepare("DELETE FROM schedule WHERE family = ? AND route = ?")
  }

  *all(): Generator<StoredSchedule> {
    for (const row of this.selectAll.iterate()) {
      const form = {
        family: row.family,
        route: storedRoute(row.route, "schedule"),
        cron: row.cron,
        single: row.single === 1,
        enabled: row.enabled === 1,
        managedBy: row.managed_by,
      }
      yield tagged(form, row.payload)
    }
  }

  payload(family: number, route: Route): Uint8Array {
    return this.selectPayload.get(family, route.text)!
  }

  put(form: ScheduleForm, payload: Uint8Array): StoredSchedule {
    const { family, route, cron, single, enabled, managedBy } = form
    this.upsert.run(family, route.text, cron, single ? 1 : 0, payload, enabled ? 1 : 0, managedBy)
    return tagged(form, payload)
  }

  remove(family: number, route: Route): void {
    this.erase.run(family, route.text)
  }
}

function tagged(form: ScheduleForm, payload: Uint8Array): StoredSchedule {
  const { family, route, cron, single, enabled, managedBy } = form
  const payloadSha256 = sha256Hex(payload)
  const etag = strongTag([family, route.text, cron, single, enabled, managedBy, payloadSha256])
  return { family, route, cron, single, enabled, managedBy, payloadSha256, etag }
}
