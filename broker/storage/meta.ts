// What the store knows of itself: its id, and up to which number fencing tokens have been given out. A block
// of tokens counts as given before the first of them is, so that none comes again after a crash.

import type { Database } from "./database.ts"

/** Born with the file: tells a new volume from a restart. */
export function storageId(database: Database): string {
  return database.prepare<[], string>("SELECT value FROM meta WHERE key = 'storage_id'").pluck().get()!
}

/**
 * Sets a block of fencing tokens aside, durably, before one of them is given out: so no token ever falls,
 * whatever ends the process. Returns the first of the block.
 */
export function takeFences(database: Database, count: number): number {
  const first = database.prepare<[], number>("SELECT value FROM meta WHERE key = 'fence'").pluck().get()! + 1
  database.begin()
  try {
    database.prepare<[number]>("UPDATE meta SET value = value + ? WHERE key = 'fence'").run(count)
    database.commit(true)
  } catch (error) {
    database.rollback()
    throw error
  }
  return first
}
