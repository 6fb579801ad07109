// Schedule definitions in SQLite, by family and route. Occurrences are never stored: when a definition is due
// follows from its expression and the clock.

import type { Route } from "../../protocol/route.ts"
import type { ScheduleStore, StoredSchedule } from "../domains/schedule.ts"
import type { Database, Statement } from "./database.ts"
import { storedRoute } from "./routes.ts"

interface ScheduleRow {
  family: number
  route: string
  cron: string
  single: number
}

export class SqliteScheduleStore implements ScheduleStore {
  private readonly selectAll: Statement<[], ScheduleRow>
  private readonly selectPayload: Statement<[number, string], Uint8Array>
  private readonly upsert: Statement<[number, string, string, number, Uint8Array]>
  private readonly erase: Statement<[number, string]>

  constructor(database: Database) {
    this.selectAll = database.prepare("SELECT family, route, cron, single FROM schedule")
    this.selectPayload = database
      .prepare<[number, string], Uint8Array>("SELECT payload FROM schedule WHERE family = ? AND route = ?")
      .pluck()
    this.upsert = database.prepare("INSERT OR REPLACE INTO schedule VALUES (?, ?, ?, ?, ?)")
    this.erase = database.prepare("DELETE FROM schedule WHERE family = ? AND route = ?")
  }

  *all(): Generator<StoredSchedule> {
    for (const { family, route, cron, single } of this.selectAll.all()) {
      yield { family, route: storedRoute(route, "schedule"), cron, single: single === 1 }
    }
  }

  payload(family: number, route: Route): Uint8Array {
    return this.selectPayload.get(family, route.text)!
  }

  put({ family, route, cron, single }: StoredSchedule, payload: Uint8Array): void {
    this.upsert.run(family, route.text, cron, single ? 1 : 0, payload)
  }

  remove(family: number, route: Route): void {
    this.erase.run(family, route.text)
  }
}
