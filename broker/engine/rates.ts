// How fast counts have grown lately: one sample a second, trailing windows over them (admin-api.md, D-10).
// It reads counts and asks nobody.

import type { Millis } from "../domains/domain.ts"

/** How often `sample` wants to be called. */
export const SAMPLE_MS = 1_000
const SAMPLES_MAX = 61

interface Sample {
  readonly atMs: Millis
  readonly counts: readonly number[]
}

export class Rates<Name extends string> {
  private readonly names: readonly Name[]
  private readonly read: (name: Name) => number
  private samples: readonly Sample[] = []

  constructor(names: readonly Name[], read: (name: Name) => number) {
    this.names = names
    this.read = read
  }

  sample(nowMs: Millis): void {
    const counts = this.names.map(this.read)
    this.samples = [...this.samples.slice(1 - SAMPLES_MAX), { atMs: nowMs, counts }]
  }

  /** Growth per second over the last so many seconds, or over what there is of them. */
  perSecond(name: Name, nowMs: Millis, windowSeconds: 10 | 60): number {
    const since = nowMs - windowSeconds * 1_000
    const first = this.samples.find(({ atMs }) => atMs >= since)
    if (first === undefined || nowMs <= first.atMs) return 0
    const grown = this.read(name) - first.counts[this.names.indexOf(name)]!
    return (grown * 1_000) / Math.max(SAMPLE_MS, nowMs - first.atMs)
  }
}
