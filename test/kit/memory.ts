// How much memory a process has in use, as the system counts it. Where the system does not say, tests skip; they
// never guess.

import { readFileSync } from "node:fs"

export const MEMORY_UNKNOWN = "resident memory is read from /proc, which this system does not have"

/** Resident memory of a process in MiB, or null where the system does not say. */
export function residentMiB(pid: number): number | null {
  if (process.platform !== "linux") return null
  const found = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))
  return found === null ? null : Number(found[1]) / 1_024
}
