// Which key is due when (operator.md §8.2): a set, not a list, so that a thousand events of one object are one pass. Knows
// no objects; time comes from the world.

import type { World } from "../world.ts"

export type Priority = "change" | "resync"

export interface QueueCounters {
  depth(value: number): void
  added(): void
  retried(): void
  waited(seconds: number): void
}

const RETRY_FIRST_MS = 1_000
const RETRY_MOST_MS = 300_000
const RETRIES_PER_SECOND = 10
const RETRIES_BURST = 100

export class WorkQueue {
  private readonly world: World
  private readonly counters: QueueCounters | undefined
  /** Due keys by priority, in order of arrival. */
  private readonly due: Record<Priority, Map<string, number>> = { change: new Map(), resync: new Map() }
  private readonly processing = new Set<string>()
  /** Keys that came up again while they were being worked on. */
  private readonly again = new Map<string, Priority>()
  private readonly delayed = new Map<string, { at: number; cancel: () => void }>()
  private readonly failures = new Map<string, number>()
  private readonly waiting: ((key: string | null) => void)[] = []
  private retryTokens = RETRIES_BURST
  private retryAt: number
  private stopped = false

  constructor(world: World, counters?: QueueCounters) {
    this.world = world
    this.counters = counters
    this.retryAt = world.now()
  }

  get depth(): number {
    return this.due.change.size + this.due.resync.size
  }

  /** Keys being worked on. */
  get active(): number {
    return this.processing.size
  }

  get idle(): boolean {
    return this.depth === 0 && this.processing.size === 0
  }

  add(key: string, priority: Priority = "change"): void {
    if (this.stopped) return
    this.undelay(key)
    if (this.processing.has(key)) {
      if (this.again.get(key) !== "change") this.again.set(key, priority)
      return
    }
    if (this.due.change.has(key)) return
    if (priority === "change" && this.due.resync.delete(key)) {
      // It moves up.
    } else if (this.due.resync.has(key)) return
    this.counters?.added()
    this.due[priority].set(key, this.world.now())
    this.counters?.depth(this.depth)
    this.serve()
  }

  /** Adds later; the earliest time that was asked for counts. */
  addAfter(key: string, ms: number, priority: Priority = "resync"): void {
    if (this.stopped) return
    if (ms <= 0) {
      this.add(key, priority)
      return
    }
    const at = this.world.now() + ms
    const known = this.delayed.get(key)
    if (known !== undefined && known.at <= at) return
    known?.cancel()
    const cancel = this.world.later(ms, () => {
      this.delayed.delete(key)
      this.add(key, priority)
    })
    this.delayed.set(key, { at, cancel })
  }

  /** Adds after a failure: later each time, and all failures together at a bounded rate. */
  retry(key: string, atLeastMs = 0): number {
    const count = this.failures.get(key) ?? 0
    this.failures.set(key, count + 1)
    this.counters?.retried()
    const now = this.world.now()
    this.retryTokens = Math.min(
      RETRIES_BURST,
      this.retryTokens + (Math.max(0, now - this.retryAt) / 1_000) * RETRIES_PER_SECOND,
    )
    this.retryAt = now
    this.retryTokens--
    const crowd = this.retryTokens >= 0 ? 0 : (-this.retryTokens / RETRIES_PER_SECOND) * 1_000
    const alone = Math.min(RETRY_FIRST_MS * 2 ** count, RETRY_MOST_MS)
    const wait = Math.max(alone * (0.9 + this.world.random() * 0.2), crowd, atLeastMs)
    this.addAfter(key, wait)
    return wait
  }

  /** The key did well. */
  forget(key: string): void {
    this.failures.delete(key)
  }

  /** The next due key; waits for one. Null: the queue has ended. */
  next(): Promise<string | null> {
    if (this.stopped) return Promise.resolve(null)
    const key = this.take()
    if (key !== null) return Promise.resolve(key)
    return new Promise(resolve => {
      this.waiting.push(resolve)
    })
  }

  done(key: string): void {
    this.processing.delete(key)
    const priority = this.again.get(key)
    this.again.delete(key)
    if (priority !== undefined) this.add(key, priority)
  }

  stop(): void {
    this.stopped = true
    for (const { cancel } of this.delayed.values()) cancel()
    this.delayed.clear()
    for (const resolve of this.waiting.splice(0)) resolve(null)
  }

  private undelay(key: string): void {
    this.delayed.get(key)?.cancel()
    this.delayed.delete(key)
  }

  private take(): string | null {
    for (const priority of ["change", "resync"] as const) {
      const [entry] = this.due[priority]
      if (entry === undefined) continue
      const [key, since] = entry
      this.due[priority].delete(key)
      this.processing.add(key)
      this.counters?.waited(Math.max(0, this.world.now() - since) / 1_000)
      this.counters?.depth(this.depth)
      return key
    }
    return null
  }

  private serve(): void {
    while (this.waiting.length > 0) {
      const key = this.take()
      if (key === null) return
      this.waiting.shift()!(key)
    }
  }
}
