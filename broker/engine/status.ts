// What state the process is in: one object that the roof writes and the doors read. Probes answer from it
// alone, so it holds plain flags and asks nobody (docs/decisions/0003-probes.md).

import type { Millis } from "../domains/domain.ts"

/** Without a sign of life from the durable lane for this long, the process counts as stuck. */
export const STALL_MS = 30_000

export class Status {
  readonly version: string
  readonly startedAt: Millis
  private readonly now: () => Millis
  private readonly beat: () => Millis
  /** The store is open and takes writes. */
  storageWritable = false
  /** All domains have taken over what is stored. */
  domainsReady = false
  /** How much of the store has been taken over, 0 to 1. */
  loadProgress = 0
  /** All ports are bound. */
  listening = false
  draining = false
  /** What died for good, or null. */
  dead: string | null = null
  private startedAfterMs: number | null = null

  /** @param beat when the durable lane last gave a sign of life */
  constructor(version: string, now: () => Millis, beat: () => Millis) {
    this.version = version
    this.now = now
    this.beat = beat
    this.startedAt = now()
  }

  get uptimeMs(): number {
    return this.now() - this.startedAt
  }

  /** Why the process should be restarted, or null while it is alive. */
  get sickness(): string | null {
    if (this.dead !== null) return this.dead
    return this.now() - this.beat() > STALL_MS ? "the durable lane does not respond" : null
  }

  /** May programs be let in? A full disk does not shut the doors. */
  get open(): boolean {
    return this.domainsReady && !this.draining && this.dead === null
  }

  /** May traffic be sent here? */
  get ready(): boolean {
    return this.open && this.storageWritable && this.listening
  }

  /** Milliseconds from the start of the process until all was in place; null before. It never goes back. */
  get startupMs(): number | null {
    if (this.startedAfterMs === null && this.domainsReady && this.listening)
      this.startedAfterMs = this.uptimeMs
    return this.startedAfterMs
  }
}
