// When to ask again. Pure: what is known goes in, milliseconds come out; whoever asks keeps the timer.
// A tab that nobody sees and a broker in trouble are asked less often.

import { Failure } from "../api/client.ts"

export interface PollState {
  readonly everyMs: number
  readonly hidden: boolean
  /** Failures in a row. */
  readonly failures: number
  readonly failure: unknown
}

/** In a tab that nobody sees, this many times slower. */
const HIDDEN_FACTOR = 15
const LONGEST_MS = 60_000

/** False: not again by itself. */
export function nextPollMs({ everyMs, hidden, failures, failure }: PollState): number | false {
  const calm = hidden ? Math.min(LONGEST_MS, everyMs * HIDDEN_FACTOR) : everyMs
  if (failures === 0) return calm
  // What was refused stays refused until the reader or the credential changes; a resource may come back.
  const kind = failure instanceof Failure ? failure.kind : "broken"
  if (kind === "unauthorized" || kind === "forbidden" || kind === "refused") return false
  const backedOff = Math.min(LONGEST_MS, everyMs * 2 ** Math.min(failures, 6))
  const asked = failure instanceof Failure ? (failure.retryAfterMs ?? 0) : 0
  return Math.max(calm, backedOff, asked)
}

/** What is shown is older than it should be by this factor: it says so. */
const STALE_FACTOR = 3.5

export function isStale(atMs: number, everyMs: number, hidden: boolean, nowMs: number): boolean {
  const calm = hidden ? everyMs * HIDDEN_FACTOR : everyMs
  return nowMs - atMs > calm * STALE_FACTOR + 1_000
}
