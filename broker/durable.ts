// The durable lane put together: its domains over its store, and what it and the main thread say to each other.
// It runs in a thread of its own (broker/thread.ts), or wherever a test wants it.

import type { MessagePort } from "node:worker_threads"
import { Budget } from "./domains/budget.ts"
import { KvDomain } from "./domains/kv.ts"
import { QueueDomain } from "./domains/queue.ts"
import { ScheduleDomain } from "./domains/schedule.ts"
import { StreamDomain } from "./domains/stream.ts"
import { DurableLane } from "./engine/durable.ts"
import { Lane } from "./engine/lane.ts"
import type { Tally } from "./engine/tally.ts"
import type { DurableLimits } from "./limits.ts"
import type { Database } from "./storage/database.ts"
import { SqliteKvStore } from "./storage/kv.ts"
import { SqliteQueueStore } from "./storage/queue.ts"
import { SqliteScheduleStore } from "./storage/schedule.ts"
import { SqliteStreamStore } from "./storage/stream.ts"
import type { Log, World } from "./world.ts"

/** What the thread is given to begin with. */
export interface DurableStart {
  readonly port: MessagePort
  /** Null keeps everything in memory. */
  readonly folder: string | null
  readonly limits: DurableLimits
  /** The cells of the bells. */
  readonly bells: SharedArrayBuffer
  /** How long to poll before sleeping, while that is worth it. */
  readonly pollMs: number
  /** The cells shared with the thread that copies the log (storage/checkpoint.ts). */
  readonly checkpointCells: SharedArrayBuffer
  /** The cells of what it counts. */
  readonly tally: SharedArrayBuffer
}

/** What the main thread asks for, besides handing over batches as bytes. */
export type DurableRequest = "fences" | "close"

/** What the thread says, besides sending batches back as bytes. */
export type DurableMessage =
  | { readonly kind: "progress"; readonly share: number }
  | { readonly kind: "ready"; readonly storageId: string }
  | { readonly kind: "fences"; readonly first: number; readonly count: number }
  /** The thread that copies the log is needed from now on. */
  | { readonly kind: "copier" }
  | { readonly kind: "writable"; readonly writable: boolean }
  | {
      readonly kind: "log"
      readonly level: Parameters<Log>[0]
      readonly message: string
      readonly fields: Readonly<Record<string, unknown>>
    }
  /** Nothing more is accepted: the store failed, or could not be opened. */
  | { readonly kind: "failed"; readonly reason: string; readonly expected: boolean }
  | { readonly kind: "closed" }

/** Assembles the lane over an open store. */
export function durableLane(
  database: Database,
  limits: DurableLimits,
  world: World,
  tally: Tally,
  onWritable: (writable: boolean) => void,
): { readonly lane: DurableLane; load(): Generator<number> } {
  database.measure({
    elapsedMs: world.elapsedMs,
    committed: commit => {
      tally.commit(commit.seconds, commit.synced)
      tally.add("rows", commit.rows)
      tally.add("logBytes", commit.logBytes)
      if (commit.restarted) tally.add("logRestarts", 1)
    },
    synced: seconds => tally.sync(seconds),
  })
  const uncommitted = new Budget(limits.uncommittedBytesMax)
  const queue = new QueueDomain(limits.queue, new SqliteQueueStore(database))
  const schedule = new ScheduleDomain(limits.schedule, new SqliteScheduleStore(database))
  const lane = new Lane({
    domains: {
      kv: new KvDomain(limits.kv, new SqliteKvStore(database), uncommitted),
      queue,
      stream: new StreamDomain(limits.stream, new SqliteStreamStore(database), uncommitted),
      schedule,
    },
    store: database,
    firstId: 2,
    random: world.random,
    noticeRoom: () => Number.POSITIVE_INFINITY,
    tally,
    elapsedMs: world.elapsedMs,
    parkedMax: limits.parkedMax,
    onBug: (error, name) => world.log("error", "a request threw", { request: name, stack: stackOf(error) }),
    onWritable,
  })
  return {
    lane: new DurableLane(lane, database),
    *load() {
      const now = world.now()
      yield* queue.load(now)
      schedule.load(now)
    },
  }
}

/** What is written down of a bug: where it happened, never what was sent. */
export function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
