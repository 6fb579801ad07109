// Faults of a store, laid over a real one: a disk without room, a statement that throws, a commit that fails for
// good. The store underneath stays the product's own; nothing is pretended but the fault itself.

import type { Database, Statement } from "../../broker/storage/database.ts"

class DiskFull extends Error {
  constructor() {
    super("no room (injected)")
  }
}

/** What a poisoned statement throws: a bug, as far as the broker can tell. */
export class Poisoned extends Error {
  constructor() {
    super("poisoned (injected)")
  }
}

/** Statements that change something that outlives the process. */
const WRITES = /^\s*(INSERT|UPDATE|DELETE|REPLACE)\b(?!.*\bkv_past\b)/is

export class Faults {
  /** A statement that is given this text, or bytes that hold it, throws. Null: none does. */
  poison: string | null = null
  /** The next commit fails for good. */
  commitFails = false
  /** Writes fail until there is room again. */
  private full = false
  private wrote = false
  /** How often a turn was undone for want of room. */
  undone = 0

  /** Lays the faults over a store whose statements are not prepared yet. */
  constructor(database: Database) {
    const { begin, commit, hasRoom, isFull, prepare } = bound(database)
    database.prepare = ((sql: string) =>
      this.wrap(prepare(sql) as Statement<unknown[]>, sql)) as Database["prepare"]
    database.begin = () => {
      this.wrote = false
      begin()
    }
    database.commit = sync => {
      if (this.commitFails) throw new Error("the commit failed (injected)")
      if (this.full && this.wrote) this.noRoom()
      commit(sync)
    }
    database.hasRoom = () => !this.full && hasRoom()
    database.isFull = error => error instanceof DiskFull || isFull(error)
  }

  /** From now on there is no room: a turn that writes fails at its commit, later writes at once. */
  fillDisk(): void {
    this.full = true
  }

  /** There is room again. The broker finds out by itself. */
  freeDisk(): void {
    this.full = false
    this.refusing = false
  }

  get isFull(): boolean {
    return this.full
  }

  /** The broker was told: from here on no statement may even try to write. */
  private refusing = false

  private noRoom(): never {
    this.undone++
    this.refusing = true
    throw new DiskFull()
  }

  private wrap(statement: Statement<unknown[]>, sql: string): Statement<unknown[]> {
    const writes = WRITES.test(sql)
    const before = (parameters: readonly unknown[]): void => {
      const { poison } = this
      if (poison !== null && parameters.some(parameter => holds(parameter, poison))) throw new Poisoned()
      if (writes && this.refusing) throw new Error(`written although there is no room: ${sql}`)
      if (writes) this.wrote = true
    }
    const run = statement.run.bind(statement)
    const get = statement.get.bind(statement)
    const all = statement.all.bind(statement)
    statement.run = (...parameters) => {
      before(parameters)
      return run(...parameters)
    }
    statement.get = (...parameters) => {
      before(parameters)
      return get(...parameters)
    }
    statement.all = (...parameters) => {
      before(parameters)
      return all(...parameters)
    }
    return statement
  }
}

function holds(value: unknown, mark: string): boolean {
  if (typeof value === "string") return value.includes(mark)
  return (
    value instanceof Uint8Array && Buffer.from(value.buffer, value.byteOffset, value.length).includes(mark)
  )
}

function bound(database: Database): Pick<Database, "begin" | "commit" | "hasRoom" | "isFull" | "prepare"> {
  return {
    begin: database.begin.bind(database),
    commit: database.commit.bind(database),
    hasRoom: database.hasRoom.bind(database),
    isFull: database.isFull.bind(database),
    prepare: database.prepare.bind(database),
  }
}
