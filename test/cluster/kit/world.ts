// A clock that runs and can be moved on: what waits in the operator waits on it. Chance comes from a printed seed, and
// nothing here knows what the operator waits for.

import type { Log, World } from "../../../operator/world.ts"

interface Timer {
  at: number
  readonly work: () => void
  handle: ReturnType<typeof setTimeout> | null
}

export interface SteeredWorld extends World {
  /** Moves the time on and runs what has come due. */
  advance(ms: number): void
  /** Goes on moving the time by so much, many times a second; returns what ends it. */
  hurry(ms: number): () => void
  readonly offset: number
  readonly records: readonly {
    at?: number
    level: string
    message: string
    fields: Readonly<Record<string, unknown>>
  }[]
  readonly pending: number
}

const TIMER_MS_MAX = 2_147_483_647

/** A small generator (mulberry32), for chance that can be repeated. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export function steeredWorld({ seed = 1 }: { seed?: number } = {}): SteeredWorld {
  let offset = 0
  const timers = new Set<Timer>()
  const records: { at: number; level: string; message: string; fields: Readonly<Record<string, unknown>> }[] =
    []
  const now = (): number => Date.now() + offset
  const arm = (timer: Timer): void => {
    if (timer.handle !== null) clearTimeout(timer.handle)
    timer.handle = setTimeout(() => fire(timer), Math.min(Math.max(0, timer.at - now()), TIMER_MS_MAX))
  }
  const fire = (timer: Timer): void => {
    if (!timers.delete(timer)) return
    if (timer.handle !== null) clearTimeout(timer.handle)
    timer.work()
  }
  const log: Log = (level, message, fields = {}) =>
    records.push({ at: Date.now() % 1_000_000, level, message, fields })
  const advance = (ms: number): void => {
    offset += ms
    const due = [...timers].filter(timer => timer.at <= now()).sort((a, b) => a.at - b.at)
    for (const timer of due) fire(timer)
    for (const timer of timers) arm(timer)
  }
  return {
    now,
    monotonic: () => performance.now(),
    random: seeded(seed),
    later: (ms, work) => {
      const timer: Timer = { at: now() + ms, work, handle: null }
      timers.add(timer)
      arm(timer)
      return () => {
        timers.delete(timer)
        if (timer.handle !== null) clearTimeout(timer.handle)
      }
    },
    log,
    records,
    get offset() {
      return offset
    },
    get pending() {
      return timers.size
    },
    advance,
    hurry: ms => {
      const beat = setInterval(() => advance(ms), 50)
      return () => clearInterval(beat)
    },
  }
}
