// The database file: opening it safely, migrating it, transactions, syncing, closing. The only file that
// knows better-sqlite3. It must never report something as durable that a power cut could still take.

import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readSync,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs"
import { endianness } from "node:os"
import { dirname, join, resolve } from "node:path"
import BetterSqlite3 from "better-sqlite3"
import { migrations } from "./migrations/index.ts"

export type Statement<Parameters extends unknown[], Row = unknown> = BetterSqlite3.Statement<Parameters, Row>

/** Names within a storage folder. */
export const DATABASE_FILE = "fitz.db"
export const LOCK_FILE = "fitz.lock"
const LOG_FILE = `${DATABASE_FILE}-wal`

/** SQLite's own numbers for `PRAGMA synchronous`. */
const NORMAL = 1
const FULL = 2

/**
 * The write-ahead log is given this length at the start: writing over a file is several times quicker than
 * making it longer, and every acknowledged commit waits for it.
 */
const LOG_BYTES = 12 * 1024 * 1024
/** Left alone where the disk is this tight. */
const LOG_ROOM_BYTES = 64 * 1024 * 1024
const CACHE_KIB = 32 * 1024
/** Bytes that must fit before a store that was full takes writes again. */
const PROBE_BYTES = 256 * 1024
/** Free space below which an unspecific write error is taken for a full disk. */
const FULL_BELOW_BYTES = 1024 * 1024

/** Why a store cannot be opened. The message is for the operator of the machine. */
export class StorageError extends Error {
  override readonly name = "StorageError"
}

/** Hears what the store does. Must not throw. */
export interface StoreGauge {
  /** Milliseconds that never jump. */
  elapsedMs(): number
  /** A transaction that wrote is committed; `restarted`: the log began anew with it. */
  committed(commit: {
    readonly seconds: number
    readonly rows: number
    readonly logBytes: number
    readonly restarted: boolean
    readonly synced: boolean
  }): void
  /** The log was brought to disk, beside a commit. */
  synced(seconds: number): void
}

const PAGE_BYTES = 4_096
/** Of SQLite's write-ahead log: its head, and a page with what stands before it. */
const LOG_HEAD_BYTES = 32
const LOG_FRAME_BYTES = 24 + PAGE_BYTES
/** Where the index of the log says how many frames are valid; in the machine's own byte order. */
const INDEX_FRAMES_AT = 16

export class Database {
  private readonly connection: BetterSqlite3.Database
  private readonly lock: FolderLock | null
  private readonly folder: string | null
  private synchronous = FULL
  private logFd: number | null = null
  /** What it has done, for whoever measures. */
  private gauge: StoreGauge | null = null
  private readonly totalChanges: Statement<[], number>
  private indexFd: number | null = null
  private readonly indexHead = Buffer.alloc(4)
  private logFrames = 0
  private changesBefore = 0
  private readonly lookAtLog: Statement<[], { log: number; checkpointed: number }>
  private readonly beginning: Statement<[]>
  private readonly committing: Statement<[]>

  private constructor(connection: BetterSqlite3.Database, lock: FolderLock | null, folder: string | null) {
    this.connection = connection
    this.lock = lock
    this.folder = folder
    this.lookAtLog = connection.prepare("PRAGMA wal_checkpoint(NOOP)")
    this.beginning = connection.prepare("BEGIN")
    this.committing = connection.prepare("COMMIT")
    this.totalChanges = connection.prepare<[], number>("SELECT total_changes()").pluck()
  }

  /** From now on tells `gauge` of every commit and every sync. */
  measure(gauge: StoreGauge): void {
    this.gauge = gauge
    this.changesBefore = this.totalChanges.get()!
    if (this.folder === null) return
    this.indexFd = openSync(join(this.folder, `${DATABASE_FILE}-shm`), "r")
    this.logFrames = this.framesInLog()
  }

  /**
   * Opens the store in a folder, creating both; null keeps everything in memory. Throws a `StorageError`
   * where another process has the folder, the file is newer than this program, or it cannot be made safe.
   */
  static open(folder: string | null): Database {
    if (folder === null) return Database.prepared(new BetterSqlite3(":memory:"), null, null)
    let lock: FolderLock | null = null
    let connection: BetterSqlite3.Database | null = null
    try {
      makeFolder(folder)
      lock = FolderLock.take(folder)
      connection = new BetterSqlite3(join(folder, DATABASE_FILE))
      return Database.prepared(connection, lock, folder)
    } catch (error) {
      connection?.close()
      lock?.release()
      if (error instanceof StorageError) throw error
      throw new StorageError(`the store in ${folder} cannot be opened: ${textOf(error)}`, { cause: error })
    }
  }

  private static prepared(
    connection: BetterSqlite3.Database,
    lock: FolderLock | null,
    folder: string | null,
  ): Database {
    if (folder !== null) {
      const mode = connection.pragma("journal_mode = WAL", { simple: true })
      if (mode !== "wal")
        throw new StorageError(`the store in ${folder} does not take a write-ahead log (${mode})`)
    }
    syncFully(connection)
    // The log is copied by a thread of its own (checkpoint.ts).
    connection.pragma("wal_autocheckpoint = 0")
    connection.pragma(`cache_size = -${CACHE_KIB}`)
    if (folder === null) connection.pragma("temp_store = MEMORY")
    const database = new Database(connection, lock, folder)
    database.migrate()
    if (folder !== null) {
      lengthenLog(folder)
      database.logFd = openSync(join(folder, LOG_FILE), "r")
    }
    return database
  }

  private migrate(): void {
    const version = this.connection.pragma("user_version", { simple: true }) as number
    if (version > migrations.length) {
      throw new StorageError(
        `the store in ${this.folder} has format ${version}, this program knows up to ${migrations.length}: it was written by a newer one`,
      )
    }
    for (const [index, script] of migrations.entries()) {
      if (index < version) continue
      this.connection.transaction(() => {
        this.connection.exec(script)
        this.connection.pragma(`user_version = ${index + 1}`)
      })()
    }
  }

  /** Runs statements that are not worth preparing. */
  execute(sql: string): void {
    this.connection.exec(sql)
  }

  prepare<Parameters extends unknown[] = unknown[], Row = unknown>(sql: string): Statement<Parameters, Row> {
    return this.connection.prepare<Parameters, Row>(sql)
  }

  // ── turns ──────────────────────────────────────────────────────────────────────────────────────────────

  begin(): void {
    this.beginning.run()
  }

  /**
   * Ends the transaction. `sync`: what it wrote, and all before it, is on disk when this returns.
   * Throws where it could not; then the transaction is still to be rolled back.
   */
  commit(sync: boolean): void {
    const { gauge } = this
    const begunMs = gauge?.elapsedMs() ?? 0
    this.committing.run()
    const syncs = this.synchronous === FULL
    if (sync && !syncs) this.syncLog()
    if (gauge !== null) this.tell(gauge, (gauge.elapsedMs() - begunMs) / 1_000, syncs)
    // The level cannot change within a transaction, so the next one goes by what this one needed.
    this.level(sync ? FULL : NORMAL)
  }

  /** What the commit has written. One that wrote nothing is none: it did not touch the log. */
  private tell(gauge: StoreGauge, seconds: number, syncs: boolean): void {
    const changes = this.totalChanges.get()!
    const rows = changes - this.changesBefore
    this.changesBefore = changes
    const frames = this.framesInLog()
    const restarted = frames < this.logFrames
    const written = restarted ? frames : frames - this.logFrames
    this.logFrames = frames
    if (rows === 0 && written === 0) return
    const logBytes = written * LOG_FRAME_BYTES + (restarted ? LOG_HEAD_BYTES : 0)
    gauge.committed({ seconds, rows, logBytes, restarted, synced: syncs && this.folder !== null })
  }

  /** Frames in the log, out of the head of its index, where every connection looks for it. */
  private framesInLog(): number {
    if (this.indexFd === null) return 0
    readSync(this.indexFd, this.indexHead, 0, 4, INDEX_FRAMES_AT)
    return endianness() === "LE" ? this.indexHead.readUInt32LE() : this.indexHead.readUInt32BE()
  }

  rollback(): void {
    if (this.connection.inTransaction) this.connection.exec("ROLLBACK")
  }

  /** Brings everything committed so far to disk. */
  sync(): void {
    this.syncLog()
  }

  private syncLog(): void {
    if (this.logFd === null) return
    const begunMs = this.gauge?.elapsedMs() ?? 0
    fdatasyncSync(this.logFd)
    this.gauge?.synced((this.gauge.elapsedMs() - begunMs) / 1_000)
  }

  private level(level: number): void {
    if (this.synchronous === level || this.folder === null) return
    this.connection.pragma(`synchronous = ${level}`)
    this.synchronous = level
  }

  /** How many pages the log holds, and how many of them the database has already. */
  log(): { readonly logPages: number; readonly copiedPages: number } {
    const { log, checkpointed } = this.lookAtLog.get()!
    return { logPages: log, copiedPages: checkpointed }
  }

  /** Copies what is left of the log into the database; the next commit starts it over. */
  copyLog(): void {
    passCheckpoint(this.connection, this.folder)
  }

  // ── faults ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Is this the error of a disk without room? Everything else about the file is beyond repair. */
  isFull(error: unknown): boolean {
    return isFull(error, this.folder)
  }

  /** Did the database itself fail, rather than the code that used it? */
  isFatal(error: unknown): boolean {
    if (!(error instanceof BetterSqlite3.SqliteError)) return false
    return FATAL_CODES.some(code => error.code.startsWith(code))
  }

  /** After the disk was full: is there room again? Tries for real. */
  hasRoom(): boolean {
    try {
      this.connection.exec("BEGIN")
      this.connection.exec(`INSERT INTO probe VALUES (zeroblob(${PROBE_BYTES}))`)
      this.connection.exec("COMMIT")
      this.connection.exec("DELETE FROM probe")
      return true
    } catch (error) {
      if (this.connection.inTransaction) this.connection.exec("ROLLBACK")
      if (this.isFull(error)) return false
      throw error
    }
  }

  /** Copies the log into the database and closes the file; the store is one file then. */
  close(): void {
    if (this.folder !== null) {
      this.level(FULL)
      emptyLog(this.connection, this.folder)
    }
    if (this.logFd !== null) closeSync(this.logFd)
    if (this.indexFd !== null) closeSync(this.indexFd)
    this.connection.close()
    this.lock?.release()
  }
}

const FATAL_CODES = [
  "SQLITE_IOERR",
  "SQLITE_CORRUPT",
  "SQLITE_NOTADB",
  "SQLITE_CANTOPEN",
  "SQLITE_READONLY",
  "SQLITE_NOMEM",
]

/** better-sqlite3 opens an existing write-ahead log with NORMAL, which a power cut can take commits from. */
function syncFully(connection: BetterSqlite3.Database): void {
  connection.pragma(`synchronous = ${FULL}`)
  const level = connection.pragma("synchronous", { simple: true })
  if (level !== FULL) throw new StorageError(`synchronous is ${String(level)} and not FULL`)
}

function isFull(error: unknown, folder: string | null): boolean {
  if (!(error instanceof BetterSqlite3.SqliteError)) return false
  if (error.code === "SQLITE_FULL") return true
  return (
    error.code.startsWith("SQLITE_IOERR") &&
    error.code !== "SQLITE_IOERR_FSYNC" &&
    folder !== null &&
    freeBytes(folder) < FULL_BELOW_BYTES
  )
}

function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/**
 * One process per folder: an exclusive transaction on a file of its own, which the system ends with the
 * process however that ends. Readers of the database itself, such as a backup, are not kept out.
 */
export class FolderLock {
  private readonly connection: BetterSqlite3.Database

  private constructor(connection: BetterSqlite3.Database) {
    this.connection = connection
  }

  /** Throws a `StorageError` where somebody else has it. */
  static take(folder: string): FolderLock {
    const connection = new BetterSqlite3(join(folder, LOCK_FILE), { timeout: 0 })
    try {
      connection.pragma("journal_mode = MEMORY")
      connection.exec("BEGIN EXCLUSIVE")
      return new FolderLock(connection)
    } catch (error) {
      connection.close()
      if (error instanceof BetterSqlite3.SqliteError && error.code === "SQLITE_BUSY") {
        throw new StorageError(`another process is using the store in ${folder}`)
      }
      throw error
    }
  }

  release(): void {
    this.connection.close()
  }
}

/** A second connection that only copies the log. */
export class Checkpointer {
  private readonly connection: BetterSqlite3.Database
  private readonly folder: string

  private constructor(connection: BetterSqlite3.Database, folder: string) {
    this.connection = connection
    this.folder = folder
  }

  static open(folder: string): Checkpointer {
    const connection = new BetterSqlite3(join(folder, DATABASE_FILE), { fileMustExist: true })
    syncFully(connection)
    return new Checkpointer(connection, folder)
  }

  /** Copies as much of the log as nobody needs where it is. Holds up neither readers nor the writer. */
  copy(): void {
    passCheckpoint(this.connection, this.folder)
  }

  close(): void {
    this.connection.close()
  }
}

/** Connections that are never closed. */
const kept: BetterSqlite3.Database[] = []

/**
 * To be called on the main thread of a process that is about to end because its store has failed. The last
 * connection that closes copies the log into the database; after a failed sync nobody knows what of the log is
 * on disk, and pages copied from the rest of it could ruin what is. As long as this connection is there no other
 * one is the last, and it is not closed but goes with the process.
 */
export function keepLog(folder: string): void {
  const connection = new BetterSqlite3(join(folder, DATABASE_FILE), { fileMustExist: true, readonly: true })
  connection.prepare("SELECT count(*) FROM sqlite_schema").get()
  kept.push(connection)
}

/** A full disk only means that the log stays as it is: everything in it is safe there. */
function passCheckpoint(connection: BetterSqlite3.Database, folder: string | null): void {
  try {
    connection.pragma("wal_checkpoint(PASSIVE)")
  } catch (error) {
    if (!isFull(error, folder)) throw error
  }
}

function emptyLog(connection: BetterSqlite3.Database, folder: string): void {
  try {
    connection.pragma("wal_checkpoint(TRUNCATE)")
  } catch (error) {
    if (!isFull(error, folder)) throw error
  }
}

/** Makes the folder; a folder that a power cut can take would take its store along. */
function makeFolder(folder: string): void {
  const made = mkdirSync(folder, { recursive: true })
  if (made === undefined) return
  const top = dirname(resolve(made))
  let parent = resolve(folder)
  do {
    parent = dirname(parent)
    syncPath(parent)
  } while (parent !== top)
}

/** Brings a file, or the names in a folder, to disk. */
export function syncPath(path: string): void {
  const fd = openSync(path, "r")
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** Adds nothing to a log but length: where no frame begins it ends, whatever stands behind. */
function lengthenLog(folder: string): void {
  const file = join(folder, LOG_FILE)
  const missing = LOG_BYTES - statSync(file).size
  if (missing <= 0 || freeBytes(folder) < LOG_ROOM_BYTES) return
  const zeros = Buffer.alloc(256 * 1024)
  const fd = openSync(file, "a")
  try {
    for (let written = 0; written < missing; )
      written += writeSync(fd, zeros, 0, Math.min(zeros.length, missing - written))
    // Blocks that are only promised are found at the first sync, and that would be a client's.
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** Copies a store, running or not, into a new file. Throws where the copy is not whole. */
export async function copyStore(folder: string, target: string): Promise<void> {
  const source = join(folder, DATABASE_FILE)
  if (!existsSync(source)) throw new StorageError(`there is no store in ${folder}`)
  const connection = new BetterSqlite3(source, { fileMustExist: true })
  try {
    // One view of the store for the whole copy: else each commit of the broker would begin it anew.
    connection.exec("BEGIN; SELECT count(*) FROM sqlite_schema")
    await connection.backup(target)
  } catch (error) {
    if (!(error instanceof BetterSqlite3.SqliteError)) throw error
    throw new StorageError(`the store in ${folder} cannot be copied: ${error.message}`, { cause: error })
  } finally {
    connection.close()
  }
  checkStore(target, target)
}

/**
 * Checks that a file is a whole store that this program can read, and makes it one that needs no log. Throws
 * a `StorageError` about `name` where it is not.
 */
export function checkStore(file: string, name: string): void {
  let connection: BetterSqlite3.Database | null = null
  try {
    connection = new BetterSqlite3(file, { fileMustExist: true })
    const version = connection.pragma("user_version", { simple: true }) as number
    if (version > migrations.length) {
      throw new StorageError(
        `${name} has format ${version}, this program knows up to ${migrations.length}: it was written by a newer one`,
      )
    }
    const meta = connection.prepare("SELECT count(*) FROM sqlite_schema WHERE name = 'meta'").pluck().get()
    if (version < 1 || meta !== 1) throw new StorageError(`${name} is no store of this program`)
    const found = connection.pragma("integrity_check(1)", { simple: true })
    if (found !== "ok") throw new StorageError(`${name} is damaged: ${String(found)}`)
    connection.pragma("journal_mode = DELETE")
  } catch (error) {
    if (!(error instanceof BetterSqlite3.SqliteError)) throw error
    const problem = error.code === "SQLITE_NOTADB" ? "is no store of this program" : "is damaged"
    throw new StorageError(`${name} ${problem}: ${error.message}`, { cause: error })
  } finally {
    connection?.close()
  }
}

/** Bytes that the files of a store take up together. */
export function storeBytes(folder: string): number {
  let bytes = 0
  for (const file of [DATABASE_FILE, LOG_FILE, `${DATABASE_FILE}-shm`])
    bytes += statSync(join(folder, file), { throwIfNoEntry: false })?.size ?? 0
  return bytes
}
