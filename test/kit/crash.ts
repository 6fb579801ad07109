// What a process leaves on its disk: copies of its files as they stand, cut as a power cut would cut them, and
// looked at without being changed. It must never be given a store that this process has open: closing one of its
// files would lose the locks on it.

import { copyFileSync, existsSync, readFileSync, truncateSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import BetterSqlite3 from "better-sqlite3"
import { memoryFolder } from "./disk.ts"
import { type BrokerProcess, removeFolder } from "./process.ts"

export const DATABASE = "fitz.db"
export const LOG = `${DATABASE}-wal`

/** The database and its log as they are now, in a folder of their own. */
export function copyFiles(folder: string): string {
  const copy = memoryFolder()
  for (const name of [DATABASE, LOG]) {
    const file = join(folder, name)
    if (existsSync(file)) copyFileSync(file, join(copy, name))
  }
  return copy
}

/** Cuts the log off at a length. */
export function cutLog(folder: string, bytes: number): void {
  truncateSync(join(folder, LOG), bytes)
}

const LOG_HEADER_BYTES = 32
const FRAME_HEADER_BYTES = 24

/** Where the log's frames end, as far as they belong to what it says last; behind it stands what does not count. */
export function framesEnd(folder: string): { readonly bytes: number; readonly frameBytes: number } {
  const log = readFileSync(join(folder, LOG))
  if (log.length < LOG_HEADER_BYTES) return { bytes: 0, frameBytes: 0 }
  const frameBytes = FRAME_HEADER_BYTES + log.readUInt32BE(8)
  const salt = log.subarray(16, 24)
  let at = LOG_HEADER_BYTES
  while (at + frameBytes <= log.length && log.subarray(at + 8, at + 16).equals(salt)) at += frameBytes
  return { bytes: at, frameBytes }
}

/** What SQLite says of the whole of it: "ok", or what is wrong. Looked at in a copy. */
export function integrityOf(folder: string): string {
  const copy = copyFiles(folder)
  try {
    const connection = new BetterSqlite3(join(copy, DATABASE))
    try {
      return String(connection.pragma("integrity_check", { simple: true }))
    } finally {
      connection.close()
    }
  } finally {
    removeFolder(copy)
  }
}

/** Kills a broker at a moment that nothing announces: the one place where a test lets time decide. */
export async function killAfter(broker: BrokerProcess, ms: number): Promise<void> {
  await pause(ms)
  await broker.kill("SIGKILL")
}
