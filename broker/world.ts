// The world outside: clock, chance, timers, log. Everything else gets these as values, so that a test can put
// others in their place. The only file that asks the machine for the time or for random bytes.

import { randomFillSync } from "node:crypto"
import type { Millis } from "./domains/domain.ts"

export type LogLevel = "debug" | "info" | "warn" | "error"

/** Takes one record. Fields must never hold a token, a secret or a payload. */
export type Log = (level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>) => void

export interface World {
  /** Milliseconds since the epoch; never falls, even when the machine's clock does. */
  now(): Millis
  /** Milliseconds that never jump, with fractions, the same in all threads; only for measuring. */
  elapsedMs(): number
  /** A random integer from 1 to 2^53−1. */
  random(): number
  /** Runs the work after so many milliseconds; returns what calls it off. */
  later(ms: number, work: () => void): () => void
  /** Runs the work once everything that has already arrived was taken. */
  soon(work: () => void): void
  readonly log: Log
}

const POOL_BYTES = 8_192
/** Longest delay that the runtime's timers take. */
const TIMER_MS_MAX = 2_147_483_647

export function realWorld(log: Log): World {
  let last = 0
  const pool = Buffer.allocUnsafeSlow(POOL_BYTES)
  let used = POOL_BYTES
  return {
    now: () => {
      const now = Date.now()
      if (now > last) last = now
      return last
    },
    elapsedMs: () => Number(process.hrtime.bigint()) / 1e6,
    random: () => {
      for (;;) {
        if (used === POOL_BYTES) {
          randomFillSync(pool)
          used = 0
        }
        const value = pool.readUInt32LE(used) * 0x20_0000 + (pool.readUInt32LE(used + 4) >>> 11)
        used += 8
        if (value > 0) return value
      }
    },
    later: (ms, work) => {
      const timer = setTimeout(work, Math.min(Math.max(0, ms), TIMER_MS_MAX))
      return () => clearTimeout(timer)
    },
    soon: work => {
      setImmediate(work)
    },
    log,
  }
}
