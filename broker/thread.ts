// The durable lane's thread: opens the store, loads it, and then runs a turn over whatever has arrived while
// the last one was being committed. It sleeps on a shared cell and not in an event loop, because waking up is
// half of what a single request waits for. Started by broker/broker.ts and never imported.

import { availableParallelism } from "node:os"
import { type MessagePort, receiveMessageOnPort, workerData } from "node:worker_threads"
import type { Millis } from "./domains/domain.ts"
import {
  BEAT,
  BELL,
  type DurableMessage,
  type DurableRequest,
  type DurableStart,
  durableLane,
  stackOf,
} from "./durable.ts"
import type { DurableLane } from "./engine/durable.ts"
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
/**
 * While messages follow each other this closely the thread looks out for the next one instead of sleeping:
 * waking a sleeping processor takes longer than most turns.
 */
const LOOK_OUT_MS = 0.25

class DurableThread {
  private readonly port: MessagePort
  private readonly cells: Int32Array
  private readonly folder: string | null
  private readonly world: World
  private readonly database: Database
  private readonly keeper: LogKeeper | null
  private readonly lane: DurableLane
  private readonly mayLookOut = availableParallelism() > 1
  private close = false
  /** When fencing tokens are to be set aside; null: not now. */
  private fencesDueMs: Millis | null = null
  /** The last message came soon after the one before. */
  private busy = false

  constructor({ port, folder, limits, cells, checkpointCells }: DurableStart) {
    this.port = port
    this.folder = folder
    this.cells = new Int32Array(cells)
    this.world = realWorld((level, message, fields = {}) => this.say({ kind: "log", level, message, fields }))
    this.database = Database.open(folder)
    this.keeper =
      folder === null
        ? null
        : new LogKeeper(this.database, new Int32Array(checkpointCells), () => this.say({ kind: "copier" }))
    const { lane, load } = durableLane(this.database, limits, this.world, writable => {
      this.say({ kind: "writable", writable })
    })
    this.lane = lane
    this.giveFences()
    for (const share of load()) {
      this.beat()
      this.say({ kind: "progress", share })
    }
    shrinkHeap()
    this.say({ kind: "ready", storageId: storageId(this.database) })
  }

  /** Works until it is told to close the store. */
  run(): void {
    while (!this.close) {
      const heard = Atomics.load(this.cells, BELL)
      this.work()
      this.beat()
      if (!this.close) this.sleep(heard)
    }
    this.keeper?.stop()
    this.database.close()
    this.say({ kind: "closed" })
  }

  private say(message: DurableMessage): void {
    const transfer =
      message.kind === "done" && message.sent !== null ? [message.sent.buffer as ArrayBuffer] : []
    this.port.postMessage(message, transfer)
  }

  private beat(): void {
    Atomics.store(this.cells, BEAT, Math.floor(this.world.now() / 1_000))
  }

  /** Takes everything that has arrived by now, and what is due. */
  private work(): void {
    const batches: Uint8Array[] = []
    for (
      let got = receiveMessageOnPort(this.port);
      got !== undefined;
      got = receiveMessageOnPort(this.port)
    ) {
      const message = got.message as Uint8Array | DurableRequest
      if (message === "close") this.close = true
      else if (message === "fences") this.fencesDueMs = this.world.now()
      else batches.push(message)
    }
    const due = this.lane.nextDue()
    const now = this.world.now()
    if (batches.length > 0 || (due !== null && due <= now)) {
      const sent = this.lane.run(now, batches)
      if (batches.length > 0 || sent !== null) this.say({ kind: "done", batches: batches.length, sent })
      this.keeper?.tend()
    }
    if (this.fencesDueMs !== null && this.fencesDueMs <= now) this.giveMoreFences()
  }

  /** Sleeps until the bell has rung since `heard` or something is due. */
  private sleep(heard: number): void {
    const now = this.world.now()
    const due = Math.min(
      this.lane.nextDue() ?? Number.POSITIVE_INFINITY,
      this.fencesDueMs ?? Number.POSITIVE_INFINITY,
    )
    const sleepMs = Math.min(due - now, SLEEP_MS_MAX)
    if (sleepMs <= 0) return
    const begun = performance.now()
    if (this.busy && this.mayLookOut) {
      while (performance.now() - begun < LOOK_OUT_MS) if (Atomics.load(this.cells, BELL) !== heard) return
    }
    const woken = Atomics.wait(this.cells, BELL, heard, sleepMs)
    this.busy = woken !== "timed-out" && performance.now() - begun < LOOK_OUT_MS * 2
  }

  /** Sets fencing tokens aside. Without a file the start time keeps them rising over restarts. */
  private giveFences(): void {
    const inMemory = Math.floor(this.world.now() / 1_000) * FENCES_PER_SECOND
    const first = this.folder === null ? inMemory : takeFences(this.database, FENCE_BLOCK)
    this.say({ kind: "fences", first, count: FENCE_BLOCK })
    this.fencesDueMs = null
  }

  /** The same for a lane that is running, which a full disk must not end: half a block is still left. */
  private giveMoreFences(): void {
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
}
start.port.close()
