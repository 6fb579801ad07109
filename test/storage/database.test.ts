// The database file itself: formats, levels of syncing, the lock, the log and who copies it, room. What a power
// cut or a kill does to it is proven in test/whole; here one process looks at its own files.

import { execFileSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import BetterSqlite3 from "better-sqlite3"
import { afterEach, describe, expect, test } from "vitest"
import { CHECKPOINT_CELLS_BYTES, LogKeeper } from "../../broker/storage/checkpoint.ts"
import {
  Checkpointer,
  checkStore,
  copyStore,
  DATABASE_FILE,
  Database,
  FolderLock,
  StorageError,
} from "../../broker/storage/database.ts"
import { storageId } from "../../broker/storage/meta.ts"
import { migrations } from "../../broker/storage/migrations/index.ts"
import { TestBroker } from "../kit/broker.ts"
import { memoryFolder, mountTmpfs } from "../kit/disk.ts"
import { Poisoned } from "../kit/faults.ts"
import { removeFolder } from "../kit/process.ts"
import { Random } from "../kit/random.ts"

const LOG_FILE = `${DATABASE_FILE}-wal`
const FIXTURES = new URL("./fixtures/", import.meta.url)

let endings: (() => void)[] = []
afterEach(() => {
  for (const end of endings.toReversed()) end()
  endings = []
})

function folder(): string {
  const made = memoryFolder()
  endings.push(() => removeFolder(made))
  return made
}

function opened(place: string | null): Database {
  const database = Database.open(place)
  endings.push(() => database.close())
  return database
}

function look<T>(database: Database, sql: string): T {
  return database.prepare<[], T>(sql).pluck().get()!
}

/** The schema as it stands, whatever the spelling of the scripts that made it. */
function schemaOf(database: Database): string[] {
  return database
    .prepare<[], string>(
      "SELECT type || ' ' || name || ': ' || coalesce(sql, '') FROM sqlite_schema WHERE name <> 'sqlite_stat1' ORDER BY 1",
    )
    .pluck()
    .all()
}

function thrown(work: () => unknown): Error {
  try {
    work()
  } catch (error) {
    return error as Error
  }
  throw new Error("nothing was thrown")
}

describe("formats", () => {
  test("a folder that does not exist is made, and its store has the newest format", () => {
    const place = join(folder(), "a", "b")
    const database = opened(place)
    expect(look(database, "PRAGMA user_version")).toBe(migrations.length)
    expect(look(database, "PRAGMA integrity_check")).toBe("ok")
    expect(readdirSync(place)).toContain(DATABASE_FILE)
  })

  test("a store in memory has the same tables as one in a folder", () => {
    expect(schemaOf(opened(null))).toEqual(schemaOf(opened(folder())))
  })

  // Every format that was ever released, from an empty file on. A format that is about to become an old one
  // leaves a store here: the statements of a dump, made before the next script is added.
  test.each(migrations.map((_, version) => version))(
    "a store of format %i is brought up to date",
    version => {
      const place = folder()
      const old = new BetterSqlite3(join(place, DATABASE_FILE))
      old.pragma("journal_mode = WAL")
      if (version > 0) {
        const fixture = new URL(`format-${version}.sql`, FIXTURES)
        if (!existsSync(fixture)) {
          throw new Error(
            `dump a store of format ${version} into test/storage/fixtures/format-${version}.sql`,
          )
        }
        old.exec(readFileSync(fixture, "utf8"))
        old.pragma(`user_version = ${version}`)
      }
      old.close()
      const database = opened(place)
      expect(look(database, "PRAGMA user_version")).toBe(migrations.length)
      expect(schemaOf(database)).toEqual(schemaOf(opened(folder())))
      expect(look(database, "PRAGMA integrity_check")).toBe("ok")
      expect(storageId(database)).toMatch(/^[0-9a-f]{32}$/)
    },
  )

  test("a migration that fails leaves the format before it", () => {
    const place = folder()
    const half = new BetterSqlite3(join(place, DATABASE_FILE))
    // In the way of the first script, but not of its first statements.
    half.exec("CREATE TABLE schedule (x)")
    half.close()
    expect(thrown(() => Database.open(place))).toBeInstanceOf(StorageError)
    const after = new BetterSqlite3(join(place, DATABASE_FILE))
    endings.push(() => after.close())
    expect(after.pragma("user_version", { simple: true })).toBe(0)
    expect(after.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all()).toEqual([
      "schedule",
    ])
  })

  test("a store of a newer format is refused by name and left as it is", () => {
    const place = folder()
    Database.open(place).close()
    const newer = new BetterSqlite3(join(place, DATABASE_FILE))
    newer.pragma(`user_version = ${migrations.length + 1}`)
    newer.exec("CREATE TABLE of_the_future (x)")
    newer.close()
    const error = thrown(() => Database.open(place))
    expect(error).toBeInstanceOf(StorageError)
    expect(error.message).toContain(place)
    expect(error.message).toContain(`has format ${migrations.length + 1}`)
    expect(error.message).toContain("written by a newer one")
    // It has let go of everything: the next one may have the folder.
    FolderLock.take(place).release()
    const after = new BetterSqlite3(join(place, DATABASE_FILE))
    endings.push(() => after.close())
    expect(after.pragma("user_version", { simple: true })).toBe(migrations.length + 1)
    expect(after.prepare("SELECT count(*) FROM of_the_future").pluck().get()).toBe(0)
  })

  test("a file that is no database is refused by name", () => {
    const place = folder()
    writeFileSync(join(place, DATABASE_FILE), "this is a letter to a friend\n".repeat(500))
    const error = thrown(() => Database.open(place))
    expect(error).toBeInstanceOf(StorageError)
    expect(error.message).toContain(place)
    expect(readFileSync(join(place, DATABASE_FILE), "utf8")).toContain("a letter to a friend")
  })

  test("a folder that cannot be made is refused by name", () => {
    const file = join(folder(), "file")
    writeFileSync(file, "")
    const error = thrown(() => Database.open(join(file, "store")))
    expect(error).toBeInstanceOf(StorageError)
    expect(error.message).toContain(join(file, "store"))
  })
})

describe("levels of syncing", () => {
  test("the level is FULL on every open, also over a log that is there, where SQLite's own is another", () => {
    const place = folder()
    const first = Database.open(place)
    expect(look(first, "PRAGMA synchronous")).toBe(2)
    first.close()
    // Why it has to be set: opened plainly, the same file would sync less.
    const plain = new BetterSqlite3(join(place, DATABASE_FILE))
    expect(plain.pragma("journal_mode", { simple: true })).toBe("wal")
    expect(plain.pragma("synchronous", { simple: true })).toBe(1)
    plain.close()
    for (let n = 0; n < 2; n++) {
      const again = Database.open(place)
      expect(look(again, "PRAGMA synchronous")).toBe(2)
      expect(look(again, "PRAGMA journal_mode")).toBe("wal")
      again.close()
    }
  })

  test("work that may come later lowers the level for the next turn, work that may not raises it", () => {
    const database = opened(folder())
    const turn = (sync: boolean): void => {
      database.begin()
      database.prepare("UPDATE meta SET value = value + 1 WHERE key = 'fence'").run()
      database.commit(sync)
    }
    turn(false)
    expect(look(database, "PRAGMA synchronous")).toBe(1)
    turn(false)
    expect(look(database, "PRAGMA synchronous")).toBe(1)
    turn(true)
    expect(look(database, "PRAGMA synchronous")).toBe(2)
  })

  test("KV-14: buffered work is synced within 100 ms, and work that waits for the disk takes it along", async () => {
    const broker = new TestBroker({ folder: folder() })
    endings.push(() => broker.close())
    const synced: string[] = []
    const { database } = broker
    const { sync, commit } = { sync: database.sync.bind(database), commit: database.commit.bind(database) }
    database.sync = () => {
      synced.push(`sync at ${broker.now - begun}`)
      sync()
    }
    database.commit = needed => {
      if (needed) synced.push(`commit at ${broker.now - begun}`)
      commit(needed)
    }
    const begun = broker.now
    const caller = broker.enter()
    const route = "kv://realm/area/resource"
    const write = async (sync: boolean): Promise<void> => {
      const tx = await caller.kv.begin(route, "write", sync)
      await caller.kv.put(tx, route, "key", "value")
      await caller.kv.commit(tx, route)
    }
    await write(false)
    broker.advance(60)
    await write(false)
    expect(synced).toEqual([])
    broker.advance(39)
    expect(synced).toEqual([])
    // The first of them decides; the second has come along.
    broker.advance(1)
    expect(synced).toEqual(["sync at 100"])
    broker.advance(1_000)
    expect(synced).toEqual(["sync at 100"])
    await write(false)
    broker.advance(50)
    await write(true)
    broker.advance(1_000)
    expect(synced).toEqual(["sync at 100", "commit at 1150"])
  })
})

describe("the lock", () => {
  test("D-12: a folder has one process, and the message of the other names it", () => {
    const place = folder()
    const first = Database.open(place)
    const error = thrown(() => Database.open(place))
    expect(error).toBeInstanceOf(StorageError)
    expect(error.message).toBe(`another process is using the store in ${place}`)
    first.close()
    opened(place)
  })

  test("readers of the database are not kept out", () => {
    const place = folder()
    const database = opened(place)
    const reader = new BetterSqlite3(join(place, DATABASE_FILE), { readonly: true })
    endings.push(() => reader.close())
    const read = reader.prepare("SELECT value FROM meta WHERE key = 'storage_id'").pluck()
    expect(read.get()).toBe(storageId(database))
  })
})

describe("the log", () => {
  test("it has its length before it is used, and no promised blocks", () => {
    const place = folder()
    opened(place)
    const { size, blocks } = statSync(join(place, LOG_FILE))
    expect(size).toBeGreaterThanOrEqual(12 * 1024 * 1024)
    expect(blocks * 512).toBeGreaterThanOrEqual(size)
  })

  test("where the disk is tight it begins small", async ctx => {
    const disk = mountTmpfs("32m")
    if (typeof disk === "string") return ctx.skip(disk)
    endings.push(() => disk.unmount())
    opened(join(disk.folder, "store"))
    expect(statSync(join(disk.folder, "store", LOG_FILE)).size).toBeLessThan(4 * 1024 * 1024)
  })

  test("one that is there gets its length behind what stands in it", () => {
    const place = folder()
    const database = Database.open(place)
    endings.push(() => database.close())
    database.begin()
    database.prepare("UPDATE meta SET value = 7 WHERE key = 'fence'").run()
    database.commit(true)
    // As after a kill: a database and its log, in which the change stands.
    const copy = folder()
    for (const name of [DATABASE_FILE, LOG_FILE]) execFileSync("cp", [join(place, name), join(copy, name)])
    const before = readFileSync(join(copy, LOG_FILE))
    // Shorter than it is made at a start.
    truncateSync(join(copy, LOG_FILE), 1024 * 1024)
    const again = opened(copy)
    expect(look(again, "SELECT value FROM meta WHERE key = 'fence'")).toBe(7)
    const after = readFileSync(join(copy, LOG_FILE))
    expect(after.equals(before)).toBe(true)
  })

  test("D-11: a store that was closed is one file", () => {
    const place = folder()
    const database = Database.open(place)
    database.begin()
    database.prepare("UPDATE meta SET value = 7 WHERE key = 'fence'").run()
    database.commit(false)
    database.close()
    expect(readdirSync(place).sort()).toEqual([DATABASE_FILE, "fitz.lock"])
    expect(look(opened(place), "SELECT value FROM meta WHERE key = 'fence'")).toBe(7)
  })

  test("its keeper has the other thread copy it once there is enough, finishes the rest, and it starts over", () => {
    const place = folder()
    const database = opened(place)
    database.execute("CREATE TEMP TABLE unused (x)")
    const fill = database.prepare<[Buffer]>("INSERT INTO probe VALUES (?)")
    const body = Buffer.alloc(64 * 1024, 1)
    const turn = (): void => {
      database.begin()
      fill.run(body)
      database.commit(false)
    }
    let started = 0
    const cells = new Int32Array(new SharedArrayBuffer(CHECKPOINT_CELLS_BYTES))
    const keeper = new LogKeeper(database, cells, () => started++)
    const asked = (): number => cells[0]!
    let turns = 0
    while (asked() === 0) {
      turn()
      keeper.tend()
      expect(++turns, "the log is copied before it is long").toBeLessThan(400)
    }
    expect(started).toBe(1)
    expect(database.log().logPages).toBeGreaterThan(2_000)
    expect(database.log().copiedPages).toBe(0)
    // While the other one works the lane does not ask again.
    for (let n = 0; n < 40; n++) {
      turn()
      keeper.tend()
    }
    expect(asked()).toBe(1)
    // What is written while the other one copies is left over: here because somebody still reads as of before.
    const checkpointer = Checkpointer.open(place)
    endings.push(() => checkpointer.close())
    const reader = new BetterSqlite3(join(place, DATABASE_FILE))
    endings.push(() => reader.close())
    reader.exec("BEGIN; SELECT count(*) FROM meta")
    turn()
    checkpointer.copy()
    reader.exec("COMMIT")
    const { logPages, copiedPages } = database.log()
    expect(logPages - copiedPages).toBeGreaterThan(0)
    expect(logPages - copiedPages).toBeLessThan(100)
    // Done: the little that is left is the lane's.
    cells[1] = 1
    keeper.tend()
    expect(database.log().copiedPages).toBe(database.log().logPages)
    turn()
    expect(database.log().logPages).toBeLessThan(100)
    expect(started).toBe(1)
  })
})

describe("room", () => {
  test("E-7: a full disk is told from a failing one, and found to have room again by trying", async ctx => {
    const disk = mountTmpfs("8m")
    if (typeof disk === "string") return ctx.skip(disk)
    endings.push(() => disk.unmount())
    const database = opened(join(disk.folder, "store"))
    const fill = database.prepare<[Buffer]>("INSERT INTO probe VALUES (?)")
    const turn = (): void => {
      database.begin()
      fill.run(Buffer.alloc(256 * 1024, 1))
      database.commit(true)
    }
    let turns = 0
    const error = thrown(() => {
      for (;;) {
        turn()
        turns++
      }
    })
    expect(database.isFull(error)).toBe(true)
    database.rollback()
    expect(turns).toBeGreaterThan(5)
    expect(database.hasRoom()).toBe(false)
    // What was committed is all there, and nothing of the turn that failed.
    expect(look(database, "SELECT count(*) FROM probe")).toBe(turns)
    expect(look(database, "PRAGMA integrity_check")).toBe("ok")
    disk.resize("32m")
    expect(database.hasRoom()).toBe(true)
    // The attempt leaves nothing behind.
    expect(look(database, "SELECT count(*) FROM probe")).toBe(0)
    turn()
  })

  test("E-7: a read that wants room while there is none is refused alone, and the broker lives", async () => {
    const broker = new TestBroker({ folder: folder() })
    endings.push(() => broker.close())
    const caller = broker.enter()
    const route = "kv://realm/area/resource"
    const tx = await caller.kv.begin(route, "write")
    await caller.kv.put(tx, route, "greedy", "1")
    await caller.kv.put(tx, route, "modest", "2")
    await caller.kv.commit(tx, route)
    broker.faults.fillDisk()
    await expect(caller.queue.enqueue("queue://realm/area/resource", "x")).rejects.toThrow("refusing writes")
    // As SQLite fails where it has to put a page of a temporary table away.
    const isFull = broker.database.isFull
    broker.database.isFull = error => error instanceof Poisoned || isFull(error)
    broker.faults.poison = "greedy"
    const reading = await caller.kv.begin(route, "read")
    const [greedy, modest] = await Promise.allSettled([
      caller.kv.get(reading, route, "greedy"),
      caller.kv.get(reading, route, "modest"),
    ])
    expect(greedy).toMatchObject({
      status: "rejected",
      reason: { message: expect.stringContaining("storage") },
    })
    expect(modest).toMatchObject({ status: "fulfilled", value: Buffer.from("2") })
    expect(broker.world.records).toEqual([])
    broker.faults.poison = null
    broker.faults.freeDisk()
    broker.advance(1_000)
    await caller.queue.enqueue("queue://realm/area/resource", "x")
  })

  test("D-12: what is no matter of room is not taken for one", () => {
    const database = opened(folder())
    expect(database.isFull(new Error("SQLITE_FULL"))).toBe(false)
    for (const [code, fatal] of [
      ["SQLITE_IOERR_FSYNC", true],
      ["SQLITE_IOERR_WRITE", true],
      ["SQLITE_CORRUPT", true],
      ["SQLITE_READONLY_DBMOVED", true],
      ["SQLITE_CONSTRAINT_UNIQUE", false],
    ] as const) {
      const error = new BetterSqlite3.SqliteError("injected", code)
      expect(database.isFull(error), code).toBe(false)
      expect(database.isFatal(error), code).toBe(fatal)
    }
    expect(database.isFull(new BetterSqlite3.SqliteError("injected", "SQLITE_FULL"))).toBe(true)
  })
})

describe("copies", () => {
  test("a copy of a store in use is one whole file, with everything that was committed", async () => {
    const place = folder()
    const database = opened(place)
    database.begin()
    database.prepare("UPDATE meta SET value = 7 WHERE key = 'fence'").run()
    database.commit(true)
    const target = join(folder(), "copy")
    await copyStore(place, target)
    expect(existsSync(`${target}-wal`)).toBe(false)
    const copy = new BetterSqlite3(target, { readonly: true })
    endings.push(() => copy.close())
    expect(copy.pragma("journal_mode", { simple: true })).toBe("delete")
    expect(copy.prepare("SELECT value FROM meta WHERE key = 'fence'").pluck().get()).toBe(7)
    checkStore(target, "the copy")
  })

  test("commits that happen during the copy neither get into it nor begin it anew", async () => {
    const place = folder()
    const database = opened(place)
    const fill = database.prepare<[Buffer]>("INSERT INTO probe VALUES (?)")
    database.begin()
    for (let n = 0; n < 200; n++) fill.run(Buffer.alloc(64 * 1024, 1))
    database.commit(true)
    const target = join(folder(), "copy")
    let over = false
    const copying = copyStore(place, target).finally(() => {
      over = true
    })
    let during = 0
    while (!over) {
      database.begin()
      fill.run(Buffer.alloc(100, 2))
      database.commit(true)
      during++
      await new Promise(resolve => setImmediate(resolve))
    }
    await copying
    expect(during).toBeGreaterThan(2)
    const copy = new BetterSqlite3(target, { readonly: true })
    endings.push(() => copy.close())
    expect(copy.prepare("SELECT count(*) FROM probe").pluck().get()).toBeGreaterThanOrEqual(200)
    expect(copy.prepare("SELECT count(*) FROM probe").pluck().get()).toBeLessThanOrEqual(200 + during)
  })

  test("what is no whole store is refused by the name it was given", async () => {
    const place = folder()
    const database = Database.open(place)
    const fill = database.prepare<[Buffer]>("INSERT INTO probe VALUES (?)")
    database.begin()
    for (let n = 0; n < 20; n++) fill.run(Buffer.alloc(64 * 1024, 1))
    database.commit(true)
    database.close()
    const whole = readFileSync(join(place, DATABASE_FILE))
    const file = join(folder(), "file")
    const refusal = (content: Uint8Array): string => {
      writeFileSync(file, content)
      const error = thrown(() => checkStore(file, "backup.db"))
      expect(error).toBeInstanceOf(StorageError)
      return error.message
    }
    expect(refusal(Buffer.from("not a database at all".repeat(1_000)))).toMatch(/^backup.db is no store/)
    expect(refusal(Buffer.alloc(0))).toMatch(/^backup.db is no store/)
    expect(refusal(whole.subarray(0, whole.length / 2))).toMatch(/^backup.db is damaged/)
    const torn = Buffer.from(whole)
    torn.fill(0xa5, 4096 * 3, 4096 * 6)
    expect(refusal(torn)).toMatch(/^backup.db is damaged/)
    const newer = Buffer.from(whole)
    newer.writeUInt32BE(99, 60)
    expect(refusal(newer)).toMatch(/^backup.db has format 99/)
    const foreign = new BetterSqlite3(join(place, "foreign"))
    foreign.exec("CREATE TABLE t (x); PRAGMA user_version = 1")
    foreign.close()
    expect(refusal(readFileSync(join(place, "foreign")))).toMatch(/^backup.db is no store/)
    await expect(copyStore(folder(), join(place, "target"))).rejects.toThrow(/there is no store in/)
  })
})

describe("bodies", () => {
  // Random, so that nothing but the body itself can look like it, and stored as it came.
  const random = new Random("bodies")
  const BODIES = 400
  const BODY_BYTES = 1_000

  /** How often each body stands in the closed store, and how many bytes all its tables and indexes hold. */
  async function stored(
    write: (broker: TestBroker, body: Buffer, n: number) => Promise<unknown>,
  ): Promise<{ readonly copies: Set<number>; readonly bytes: number }> {
    const place = folder()
    const broker = new TestBroker({ folder: place })
    const bodies = Array.from({ length: BODIES }, () => random.bytes(BODY_BYTES))
    for (const [n, body] of bodies.entries()) await write(broker, body, n)
    broker.close()
    const connection = new BetterSqlite3(join(place, DATABASE_FILE), { readonly: true })
    endings.push(() => connection.close())
    const tables = connection
      .prepare<[], string>("SELECT name FROM sqlite_schema WHERE type = 'table'")
      .pluck()
      .all()
    const content = Buffer.concat(
      tables.flatMap(table =>
        connection
          .prepare<[], unknown[]>(`SELECT * FROM ${table}`)
          .raw()
          .all()
          .flat()
          .map(value => Buffer.from(value instanceof Uint8Array ? value : String(value))),
      ),
    )
    const copies = bodies.map(body => {
      let found = 0
      for (let at = content.indexOf(body); at >= 0; at = content.indexOf(body, at + 1)) found++
      return found
    })
    const bytes = connection.prepare<[], number>("SELECT sum(payload) FROM dbstat").pluck().get()!
    return { copies: new Set(copies), bytes }
  }

  /** All the rest, indexes included, may cost this much. */
  const BYTES_MAX = BODIES * BODY_BYTES * 1.25

  test("a queue message is stored once, whether ready or delayed", async () => {
    const { copies, bytes } = await stored(async (broker, body, n) => {
      const caller = broker.enter()
      await caller.queue.enqueue("queue://realm/area/resource", body, n % 4 === 0 ? 60 : undefined)
    })
    expect([...copies]).toEqual([1])
    expect(bytes).toBeLessThan(BYTES_MAX)
  })

  test("ST-9: an event is stored once, although it stands in eight orders", async () => {
    const { copies, bytes } = await stored(async (broker, body, n) => {
      const caller = broker.enter()
      const session = await caller.stream.begin("stream://realm/area/resource")
      await caller.stream.append(session, n, body)
      await caller.stream.commit(session)
    })
    expect([...copies]).toEqual([1])
    expect(bytes).toBeLessThan(BYTES_MAX)
  })

  test("a KV value is stored once", async () => {
    const route = "kv://realm/area/resource"
    const { copies, bytes } = await stored(async (broker, body, n) => {
      const caller = broker.enter()
      const tx = await caller.kv.begin(route, "write")
      await caller.kv.put(tx, route, `key ${n}`, body)
      await caller.kv.commit(tx, route)
    })
    expect([...copies]).toEqual([1])
    expect(bytes).toBeLessThan(BYTES_MAX)
  })

  test("a schedule's payload is stored once", async () => {
    const { copies, bytes } = await stored((broker, body, n) =>
      broker.enter().schedule.create(`schedule://realm/area/resource/op-${n}`, "* * * * *", "single", body),
    )
    expect([...copies]).toEqual([1])
    expect(bytes).toBeLessThan(BYTES_MAX)
  })
})
