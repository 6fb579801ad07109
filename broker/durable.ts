// The durable lane put together: its domains over its store, and what it and the main thread say to each other.
// It runs in a thread of its own (broker/thread.ts), or wherever a test wants it.

import type { MessagePort } from "node:worker_threads"
import { Budget } from "./domains/budget.ts"
import { KvDomain } from "./domains/kv.ts"
import { QueueDomain } from "./domains/queue.ts"
import { RealmBook, type RealmChange, Realms } from "./domains/realms.ts"
import { ScheduleDomain } from "./domains/schedule.ts"
import { StreamDomain } from "./domains/stream.ts"
import { DurableLane } from "./engine/durable.ts"
import type { Asked } from "./engine/engine.ts"
import { Lane } from "./engine/lane.ts"
import type { Tally } from "./engine/tally.ts"
import type { DurableLimits } from "./limits.ts"
import type { Database } from "./storage/database.ts"
import { SqliteKvStore } from "./storage/kv.ts"
import { SqliteQueueStore } from "./storage/queue.ts"
import { SqliteRealmStore } from "./storage/realms.ts"
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
  /** The cells in which both lanes count registrations of declared realms. */
  readonly realmCells: Int32Array<SharedArrayBuffer>
  /** The cells of what it counts. */
  readonly tally: SharedArrayBuffer
}

/** What the main thread asks for, besides handing over batches as bytes. */
export type DurableRequest = "fences" | "close" | Asked

/** What the thread says, besides sending batches back as bytes. */
export type DurableMessage =
  | { readonly kind: "progress"; readonly share: number }
  | { readonly kind: "ready"; readonly storageId: string }
  | { readonly kind: "fences"; readonly first: number; readonly count: number }
  /** The thread that copies the log is needed from now on. */
  | { readonly kind: "copier" }
  | { readonly kind: "writable"; readonly writable: boolean }
  /** What an operator asked or ordered: the answer. */
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "realms"; readonly changes: readonly RealmChange[] }
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
  realmCells?: Int32Array,
): { readonly lane: DurableLane; readonly book: RealmBook; load(): Generator<number> } {
  const realms = new Realms(limits.realms?.declaredOnly ?? false, realmCells, 1)
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
  const queue = new QueueDomain(limits.queue, new SqliteQueueStore(database), realms)
  const kv = new KvDomain(limits.kv, new SqliteKvStore(database), uncommitted, realms)
  const stream = new StreamDomain(limits.stream, new SqliteStreamStore(database), uncommitted, realms)
  const schedule = new ScheduleDomain(limits.schedule, new SqliteScheduleStore(database), realms)
  const book: RealmBook = new RealmBook(
    new SqliteRealmStore(database),
    realms,
    limits.realms?.realmsMax ?? 1,
    () => lane.usedRealms(),
  )
  const lane = new Lane({
    realms,
    book,
    domains: {
      kv,
      queue,
      stream,
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
    book,
    *load() {
      const now = world.now()
      book.load()
      kv.load()
      stream.load()
      yield* queue.load(now)
      schedule.load(now)
    },
  }
}

/** What is written down of a bug: where it happened, never what was sent. */
export function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
