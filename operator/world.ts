// The world outside the operator: clocks, chance, timers, log. Everything else gets these as values, so that a test
// can move the time. The only file here that asks the machine for them.

import { randomBytes, randomInt } from "node:crypto"
import { pino } from "pino"

export type LogLevel = "debug" | "info" | "warn" | "error"
/** Takes one record. Fields must never hold a token or key material. */
export type Log = (level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>) => void

export interface World {
  /** Milliseconds since the epoch. */
  now(): number
  /** Milliseconds on a clock that nobody sets. */
  monotonic(): number
  /** From 0 up to 1. */
  random(): number
  /** Runs the work after so many milliseconds; returns what calls it off. */
  later(ms: number, work: () => void): () => void
  readonly log: Log
}

const RANGE = 2 ** 32
const TIMER_MS_MAX = 2_147_483_647

export function realWorld(log: Log): World {
  return {
    now: () => Date.now(),
    monotonic: () => performance.now(),
    random: () => randomInt(RANGE) / RANGE,
    later: (ms, work) => {
      const timer = setTimeout(work, Math.min(Math.max(0, ms), TIMER_MS_MAX))
      return () => clearTimeout(timer)
    },
    log,
  }
}

/** A name nobody else has. */
export function uniqueName(): string {
  return randomBytes(6).toString("hex")
}

export function openLog(level: LogLevel | "silent"): Log {
  const logger = pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ fd: 1, sync: true }),
  )
  return (at, message, fields) => logger[at](fields ?? {}, message)
}

/** Waits on the world's clock. Ends early, with the signal's reason, when the signal fires. */
export function sleep(world: World, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason as Error)
      return
    }
    const cancel = world.later(ms, () => {
      signal?.removeEventListener("abort", stop)
      resolve()
    })
    const stop = (): void => {
      cancel()
      reject(signal?.reason as Error)
    }
    signal?.addEventListener("abort", stop, { once: true })
  })
}
