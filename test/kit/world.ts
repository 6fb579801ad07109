// A world that tests move: its clock stands until it is told to go, chance has a seed, what was put off runs
// when the test says so, the log collects. Never the machine's clock, never a timer of the runtime.

import type { LogLevel, World } from "../../broker/world.ts"
import { Random } from "./random.ts"

/** Where the clock of a new world stands: a Wednesday, thirty seconds into a minute. */
export const START_MS = Date.UTC(2026, 3, 15, 12, 0, 30)

export interface LogRecord {
  readonly level: LogLevel
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}

interface Timer {
  readonly dueMs: number
  readonly work: () => void
}

export class TestWorld implements World {
  private nowMs: number
  private readonly chance: Random
  private timers: Timer[] = []
  private putOff: (() => void)[] = []
  readonly records: LogRecord[] = []
  /** Hears that something was put off. */
  onPutOff: () => void = () => undefined

  constructor(seed: string | number = 1, nowMs = START_MS) {
    this.chance = new Random(seed)
    this.nowMs = nowMs
  }

  readonly now = (): number => this.nowMs

  readonly elapsedMs = (): number => this.nowMs

  readonly random = (): number => {
    const value = (this.chance.u32() >>> 11) * 4_294_967_296 + this.chance.u32()
    return value === 0 ? 1 : value
  }

  readonly later = (ms: number, work: () => void): (() => void) => {
    const timer = { dueMs: this.nowMs + Math.max(0, ms), work }
    this.timers.push(timer)
    return () => {
      this.timers = this.timers.filter(other => other !== timer)
    }
  }

  readonly soon = (work: () => void): void => {
    this.putOff.push(work)
    this.onPutOff()
  }

  readonly log = (level: LogLevel, message: string, fields: Readonly<Record<string, unknown>> = {}): void => {
    this.records.push({ level, message, fields })
  }

  /** When the next timer falls due, or null. */
  get nextTimerMs(): number | null {
    return this.timers.length === 0 ? null : Math.min(...this.timers.map(timer => timer.dueMs))
  }

  /** Moves the clock; whatever falls due in between falls due late. Nothing runs. */
  moveTo(ms: number): void {
    if (ms < this.nowMs) throw new Error("the clock of a world never falls")
    this.nowMs = ms
  }

  /** Runs what was put off by now, and the timers that are due. False where there was nothing. */
  run(): boolean {
    const due = this.timers.filter(timer => timer.dueMs <= this.nowMs).sort((a, b) => a.dueMs - b.dueMs)
    this.timers = this.timers.filter(timer => timer.dueMs > this.nowMs)
    const work = [...this.putOff, ...due.map(timer => timer.work)]
    this.putOff = []
    for (const one of work) one()
    return work.length > 0
  }
}
