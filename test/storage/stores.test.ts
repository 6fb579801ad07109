// The SQLite stores against the contracts of test/storage/contract.ts: in memory, in a folder that is closed
// and opened again, and in a folder whose process is gone without a word.

import { execFileSync } from "node:child_process"
import { join } from "node:path"
import { describe } from "vitest"
import { Journal } from "../../broker/domains/journal.ts"
import { DATABASE_FILE, Database } from "../../broker/storage/database.ts"
import { SqliteKvStore } from "../../broker/storage/kv.ts"
import { storageId, takeFences } from "../../broker/storage/meta.ts"
import { SqliteQueueStore } from "../../broker/storage/queue.ts"
import { SqliteScheduleStore } from "../../broker/storage/schedule.ts"
import { SqliteStreamStore } from "../../broker/storage/stream.ts"
import { memoryFolder } from "../kit/disk.ts"
import { removeFolder } from "../kit/process.ts"
import { type StorePlace, type Stores, storeContracts } from "./contract.ts"

class SqlitePlace implements StorePlace {
  private readonly folders: string[] = []
  private readonly left: Database[] = []
  private database: Database
  stores: Stores
  /** How it ends between two looks. */
  private readonly how: "memory" | "closed" | "cut off"

  constructor(how: SqlitePlace["how"]) {
    this.how = how
    if (how !== "memory") this.folders.push(memoryFolder())
    this.database = Database.open(this.folders[0] ?? null)
    this.stores = storesOf(this.database)
  }

  write<T>(work: (stores: Stores, journal: Journal) => T): T {
    const journal = new Journal()
    this.database.begin()
    const result = work(this.stores, journal)
    this.database.commit(true)
    return result
  }

  undo(work: (stores: Stores, journal: Journal) => void): void {
    const journal = new Journal()
    this.database.begin()
    work(this.stores, journal)
    journal.rollback(0)
    this.database.rollback()
  }

  again(): void {
    const folder = this.folders.at(-1)
    if (this.how === "memory" || folder === undefined) return
    if (this.how === "closed") this.database.close()
    else {
      // What a process leaves behind that is killed here. Copied by another one: a file that this process
      // opens and closes would lose it its locks.
      const copy = memoryFolder()
      this.folders.push(copy)
      for (const name of [DATABASE_FILE, `${DATABASE_FILE}-wal`])
        execFileSync("cp", [join(folder, name), join(copy, name)])
      this.left.push(this.database)
    }
    this.database = Database.open(this.folders.at(-1)!)
    this.stores = storesOf(this.database)
  }

  close(): void {
    for (const database of [...this.left, this.database]) database.close()
    for (const folder of this.folders) removeFolder(folder)
  }
}

function storesOf(database: Database): Stores {
  return {
    kv: new SqliteKvStore(database),
    queue: new SqliteQueueStore(database),
    stream: new SqliteStreamStore(database),
    schedule: new SqliteScheduleStore(database),
    storageId: storageId(database),
    takeFences: count => takeFences(database, count),
  }
}

describe("in memory", () => storeContracts(() => new SqlitePlace("memory")))
describe("in a folder, closed and opened again", () => storeContracts(() => new SqlitePlace("closed")))
describe("in a folder, cut off and opened again", () => storeContracts(() => new SqlitePlace("cut off")))
