// Workers on a queue (operator.md §8.2): never two on a key, a bounded time for each pass, every outcome counted. What a pass
// does is the caller's; an exception in it is a bug that stops nobody else.

import { KubeError } from "../cluster/api.ts"
import type { World } from "../world.ts"
import { type Priority, type QueueCounters, WorkQueue } from "./queue.ts"

export type PassResult =
  /** All is as it should be; again at the latest after so long. */
  | { readonly result: "success"; readonly againMs: number | null; readonly steady: boolean }
  /** Something failed and will be tried again. */
  | { readonly result: "error"; readonly why: string; readonly atLeastMs: number }
  /** Nothing to do any more. */
  | { readonly result: "gone" }

export interface ControllerCounters extends QueueCounters {
  pass(result: "success" | "error" | "requeue_after", seconds: number): void
  terminal(): void
  active(count: number): void
  steady(): void
  succeeded(at: number): void
}

export interface ControllerOptions {
  readonly name: string
  readonly workers: number
  readonly world: World
  readonly counters?: ControllerCounters
  readonly resyncMs: number | null
  pass(key: string, signal: AbortSignal): Promise<PassResult>
}

const PASS_MS = 60_000
const JITTER = 0.1
const AGAIN_LEAST_MS = 20

export class Controller {
  readonly name: string
  readonly queue: WorkQueue
  private readonly options: ControllerOptions
  private readonly running: Promise<void>[] = []
  private readonly abort = new AbortController()
  private dead = 0

  constructor(options: ControllerOptions) {
    this.options = options
    this.name = options.name
    this.queue = new WorkQueue(options.world, options.counters)
  }

  add(key: string, priority: Priority = "change"): void {
    this.queue.add(key, priority)
  }

  /** One pass right now, beside the queue: for programs that look on. */
  passNow(key: string): Promise<PassResult> {
    return this.options.pass(key, this.abort.signal)
  }

  /** Workers that ended although nobody asked them to. */
  get deadWorkers(): number {
    return this.dead
  }

  start(): void {
    for (let index = 0; index < this.options.workers; index++)
      this.running.push(
        this.work().catch((error: unknown) => {
          this.dead++
          this.options.world.log("error", "a worker has ended", {
            controller: this.name,
            reason: String(error),
          })
        }),
      )
  }

  /** Takes nothing new in; lets passes finish for a while, then aborts them. */
  async stop(graceMs: number): Promise<void> {
    this.queue.stop()
    const cancel = this.options.world.later(graceMs, () => this.abort.abort(new Error("stopping")))
    await Promise.all(this.running)
    cancel()
  }

  /** Ends at once, in the middle of whatever is going on. */
  kill(reason: Error): void {
    this.queue.stop()
    this.abort.abort(reason)
  }

  private async work(): Promise<void> {
    for (;;) {
      const key = await this.queue.next()
      if (key === null) return
      this.options.counters?.active(this.queue.active)
      try {
        await this.pass(key)
      } finally {
        this.queue.done(key)
        this.options.counters?.active(this.queue.active)
      }
    }
  }

  private async pass(key: string): Promise<void> {
    const { world, counters, name, resyncMs } = this.options
    const began = world.monotonic()
    const timeout = new AbortController()
    const cancel = world.later(PASS_MS, () => timeout.abort(new Error("the pass took more than a minute")))
    let outcome: PassResult
    try {
      outcome = await this.options.pass(key, AbortSignal.any([this.abort.signal, timeout.signal]))
    } catch (error) {
      if (this.abort.signal.aborted) return
      const words = error instanceof Error ? error.message : String(error)
      if (!(error instanceof KubeError) && !timeout.signal.aborted) counters?.terminal()
      world.log("error", "a pass failed", { controller: name, key, reason: words, ...stackOf(error) })
      outcome = { result: "error", why: words, atLeastMs: 0 }
    } finally {
      cancel()
    }
    const seconds = (world.monotonic() - began) / 1_000
    if (outcome.result === "error") {
      counters?.pass("error", seconds)
      this.queue.retry(key, outcome.atLeastMs)
      return
    }
    this.queue.forget(key)
    counters?.pass(
      outcome.result === "success" && outcome.againMs !== null ? "requeue_after" : "success",
      seconds,
    )
    counters?.succeeded(world.now())
    if (outcome.result === "gone") return
    if (outcome.steady) counters?.steady()
    const resync = resyncMs === null ? null : resyncMs * (1 - JITTER + world.random() * 2 * JITTER)
    const again =
      outcome.againMs === null
        ? resync
        : resync === null
          ? outcome.againMs
          : Math.min(outcome.againMs, resync)
    // Never within the same turn: a pass that finds everything in memory would let nothing else run.
    if (again !== null) this.queue.addAfter(key, Math.max(again, AGAIN_LEAST_MS))
  }
}

function stackOf(error: unknown): { stack?: string } {
  return error instanceof Error && !(error instanceof KubeError) && error.stack !== undefined
    ? { stack: error.stack }
    : {}
}
