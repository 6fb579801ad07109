// The durable lane's thread: opens the store, loads it, and then runs a turn over whatever has arrived while
// the last one was being committed. It sleeps on a bell (bells.ts) and not in an event loop. Started by broker/broker.ts and never imported.

import { type MessagePort, receiveMessageOnPort, workerData } from "node:worker_threads"
import { Bells, LaneSleep } from "./bells.ts"
import type { Millis } from "./domains/domain.ts"
import type { RealmBook } from "./domains/realms.ts"
import { refuse } from "./domains/views/common.ts"
import type { Query } from "./domains/views/index.ts"
import {
  type DurableMessage,
  type DurableRequest,
  type DurableStart,
  durableLane,
  stackOf,
} from "./durable.ts"
import type { DurableLane } from "./engine/durable.ts"
import type { Asked } from "./engine/engine.ts"
import { Tally } from "./engine/tally.ts"
import { shrinkHeap } from "./heap.ts"
import { LogKeeper } from "./storage/checkpoint.ts"
import { Database, StorageError } from "./storage/database.ts"
import { storageId, takeFences } from "./storage/meta.ts"
import { realWorld, type World } from "./world.ts"

/** Fencing tokens set aside at a time. */
const FENCE_BLOCK = 16_777_216
const FENCES_PER_SECOND = 1_048_576
/** A full disk is asked again for a block after this long. */
const FENCES_AGAIN_MS = 1_000
/** The longest sleep: a sign of life is due after it. */
const SLEEP_MS_MAX = 1_000
/** Queries of operators answered before clients have their turn again. */
const QUERIES_PER_TURN = 16

class DurableThread {
  private readonly port: MessagePort
  private readonly bells: Bells
  private readonly sleeper: LaneSleep
  private readonly folder: string | null
  private readonly world: World
  private readonly database: Database
  private readonly keeper: LogKeeper | null
  private readonly lane: DurableLane
  private readonly book: RealmBook
  /** What operators ask, in the order in which it came. */
  private readonly queries: Extract<Asked, { kind: "query" }>[] = []
  private readonly tally: Tally
  private close = false
  /** When fencing tokens are to be set aside; null: not now. */
  private fencesDueMs: Millis | null = null

  constructor({ port, folder, limits, bells, pollMs, checkpointCells, tally, realmCells }: DurableStart) {
    this.port = port
    this.folder = folder
    this.bells = new Bells(bells)
    this.sleeper = new LaneSleep(this.bells, pollMs)
    this.world = realWorld((level, message, fields = {}) => this.say({ kind: "log", level, message, fields }))
    this.database = Database.open(folder)
    this.keeper =
      folder === null
        ? null
        : new LogKeeper(this.database, new Int32Array(checkpointCells), () => this.say({ kind: "copier" }))
    this.tally = new Tally(tally)
    const { lane, book, load } = durableLane(
      this.database,
      limits,
      this.world,
      this.tally,
      writable => {
        // Ready again means ready for leases, too.
        if (writable && this.fencesDueMs !== null) this.giveFencesIfRoom()
        this.say({ kind: "writable", writable })
      },
      realmCells,
    )
    this.lane = lane
    this.book = book
    this.giveFencesIfRoom()
    this.load(load)
    shrinkHeap()
    this.tellRealms()
    this.say({ kind: "ready", storageId: storageId(this.database) })
    // Started on a full disk: what is stored can be read.
    if (this.fencesDueMs !== null) this.lane.refuseWrites(this.world.now())
  }

  private load(load: () => Iterable<number>): void {
    try {
      for (const share of load()) {
        this.beat()
        this.say({ kind: "progress", share })
      }
    } catch (error) {
      if (!this.database.isFatal(error)) throw error
      const said = error instanceof Error ? error.message : String(error)
      throw new StorageError(`the store in ${this.folder} cannot be read: ${said}`, { cause: error })
    }
  }

  /** Works until it is told to close the store. */
  run(): void {
    while (!this.close) {
      const rung = this.bells.rungToLane()
      this.work()
      this.beat()
      if (!this.close) this.sleep(rung)
    }
    this.keeper?.stop()
    this.database.close()
    this.say({ kind: "closed" })
  }

  private say(message: DurableMessage | Uint8Array): void {
    this.port.postMessage(message, message instanceof Uint8Array ? [message.buffer as ArrayBuffer] : [])
    this.bells.ringFromLane()
  }

  private beat(): void {
    this.bells.beat(this.world.now())
  }

  /** Takes everything that has arrived by now, and what is due. */
  private work(): void {
    const batches: Uint8Array[] = []
    const commands: Extract<Asked, { kind: "command" }>[] = []
    for (
      let got = receiveMessageOnPort(this.port);
      got !== undefined;
      got = receiveMessageOnPort(this.port)
    ) {
      const message = got.message as Uint8Array | DurableRequest
      if (message === "close") this.close = true
      else if (message === "fences") this.fencesDueMs = this.world.now()
      else if (message instanceof Uint8Array) batches.push(message)
      else if (message.kind === "command") commands.push(message)
      else this.queries.push(message)
    }
    this.tally.add("batchesTaken", batches.length)
    const due = this.lane.nextDue()
    const now = this.world.now()
    if (batches.length > 0 || commands.length > 0 || (due !== null && due <= now)) {
      const outcomes: unknown[] = []
      const orders = commands.map(({ command }) => command)
      const sent = this.lane.run(now, batches, orders, outcomes)
      if (sent !== null) this.say(sent)
      this.tellRealms()
      for (const [at, { id }] of commands.entries()) this.say({ kind: "answer", id, value: outcomes[at] })
      this.keeper?.tend()
    }
    this.answerSome()
    if (this.fencesDueMs !== null && this.fencesDueMs <= now) this.giveFencesIfRoom()
  }

  /** Answers what operators ask, a few at a time, so that clients come between. */
  private answerSome(): void {
    for (const { id, query } of this.queries.splice(0, QUERIES_PER_TURN)) {
      this.say({ kind: "answer", id, value: this.answerTo(query) })
    }
  }

  private answerTo(query: Query): unknown {
    try {
      return this.lane.ask(query, this.world.now())
    } catch (error) {
      const asked = `${query.domain} ${query.name}`
      this.world.log("error", "a query threw", { query: asked, stack: stackOf(error) })
      return refuse("internal", "the query could not be answered")
    }
  }

  private tellRealms(): void {
    const changes = this.book.takeChanges()
    if (changes.length > 0) this.say({ kind: "realms", changes })
  }

  /** Sleeps until the bell has rung again or something is due. */
  private sleep(rung: number): void {
    const due = Math.min(
      this.lane.nextDue() ?? Number.POSITIVE_INFINITY,
      this.fencesDueMs ?? Number.POSITIVE_INFINITY,
    )
    if (this.queries.length > 0) return
    const sleepMs = Math.min(due - this.world.now(), SLEEP_MS_MAX)
    if (sleepMs > 0) this.sleeper.sleep(rung, sleepMs)
  }

  /** Sets fencing tokens aside. Without a file the start time keeps them rising over restarts. */
  private giveFences(): void {
    const inMemory = Math.floor(this.world.now() / 1_000) * FENCES_PER_SECOND
    const first = this.folder === null ? inMemory : takeFences(this.database, FENCE_BLOCK)
    this.say({ kind: "fences", first, count: FENCE_BLOCK })
    this.fencesDueMs = null
  }

  /** The same, but a full disk does not end the lane: leases go on as long as the last block lasts. */
  private giveFencesIfRoom(): void {
    try {
      this.giveFences()
    } catch (error) {
      if (!this.database.isFull(error)) throw error
      this.fencesDueMs = this.world.now() + FENCES_AGAIN_MS
    }
  }
}

const start = workerData as DurableStart
try {
  new DurableThread(start).run()
} catch (error) {
  const expected = error instanceof StorageError
  const failed: DurableMessage = {
    kind: "failed",
    reason: expected ? error.message : stackOf(error),
    expected,
  }
  start.port.postMessage(failed)
  new Bells(start.bells).ringFromLane()
  // Ending here would close the store, and that would copy its log; see `keepLog`.
  if (!expected) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}
