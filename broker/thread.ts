// The durable lane's thread: opens the store, loads it, and then runs a turn over whatever has arrived while
// the last one was being committed. Started by broker/broker.ts and never imported.

import { type MessagePort, receiveMessageOnPort, workerData } from "node:worker_threads"
import {
  type DurableMessage,
  type DurableRequest,
  type DurableStart,
  durableLane,
  stackOf,
} from "./durable.ts"
import type { DurableLane } from "./engine/durable.ts"
import { Database, StorageError } from "./storage/database.ts"
import { storageId, takeFences } from "./storage/meta.ts"
import { realWorld, type World } from "./world.ts"

/** Fencing tokens set aside at a time. */
const FENCE_BLOCK = 16_777_216
const FENCES_PER_SECOND = 1_048_576

class DurableThread {
  private readonly port: MessagePort
  private readonly beat: Int32Array
  private readonly world: World
  private readonly database: Database
  private readonly lane: DurableLane
  private cancelTimer: () => void = () => undefined
  private readonly folder: string | null
  private closing = false

  constructor({ port, folder, limits, beat }: DurableStart) {
    this.port = port
    this.folder = folder
    this.beat = new Int32Array(beat)
    this.world = realWorld((level, message, fields = {}) => this.say({ kind: "log", level, message, fields }))
    this.database = Database.open(folder)
    const { lane, load } = durableLane(this.database, limits, this.world, writable => {
      this.say({ kind: "writable", writable })
    })
    this.lane = lane
    this.giveFences()
    for (const share of load()) {
      this.alive()
      this.say({ kind: "progress", share })
    }
    this.say({ kind: "ready", storageId: storageId(this.database) })
    this.port.on("message", first => this.work(first))
    this.keepAlive()
    this.watch()
  }

  private say(message: DurableMessage): void {
    const transfer =
      message.kind === "done" && message.sent !== null ? [message.sent.buffer as ArrayBuffer] : []
    this.port.postMessage(message, transfer)
  }

  private alive(): void {
    Atomics.store(this.beat, 0, Math.floor(this.world.now() / 1_000))
  }

  private keepAlive(): void {
    this.alive()
    this.world.later(1_000, () => this.keepAlive())
  }

  /** Sets fencing tokens aside. Without a file the start time keeps them rising over restarts. */
  private giveFences(): void {
    const inMemory = Math.floor(this.world.now() / 1_000) * FENCES_PER_SECOND
    const first = this.folder === null ? inMemory : takeFences(this.database, FENCE_BLOCK)
    this.say({ kind: "fences", first, count: FENCE_BLOCK })
  }

  /** The same for a lane that is running, which a full disk must not end: half a block is still left. */
  private giveMoreFences(): void {
    try {
      this.giveFences()
    } catch (error) {
      if (!this.database.isFull(error)) throw error
      this.world.later(1_000, () => this.giveMoreFences())
    }
  }

  /** Takes everything that has arrived by now. */
  private work(first?: Uint8Array | DurableRequest): void {
    const batches: Uint8Array[] = []
    const asked: DurableRequest[] = []
    for (let message = first; message !== undefined; message = receiveMessageOnPort(this.port)?.message) {
      if (typeof message === "string") asked.push(message)
      else batches.push(message)
    }
    try {
      this.cancelTimer()
      const sent = this.lane.run(this.world.now(), batches)
      if (batches.length > 0 || sent !== null) this.say({ kind: "done", batches: batches.length, sent })
      if (asked.includes("fences")) this.giveMoreFences()
      if (asked.includes("close")) this.close()
      else this.watch()
    } catch (error) {
      this.fail(error)
    }
  }

  private watch(): void {
    const due = this.lane.nextDue()
    if (due === null || this.closing) return
    const waitMs = due - this.world.now()
    if (waitMs > 0) this.cancelTimer = this.world.later(waitMs, () => this.work())
    else {
      let called = true
      this.cancelTimer = () => {
        called = false
      }
      this.world.soon(() => {
        if (called) this.work()
      })
    }
  }

  private close(): void {
    this.closing = true
    this.database.close()
    this.say({ kind: "closed" })
    this.port.close()
  }

  private fail(error: unknown): void {
    this.closing = true
    this.say({ kind: "failed", reason: stackOf(error), expected: false })
    this.port.close()
  }
}

const start = workerData as DurableStart
try {
  new DurableThread(start)
} catch (error) {
  const expected = error instanceof StorageError
  const failed: DurableMessage = {
    kind: "failed",
    reason: expected ? error.message : stackOf(error),
    expected,
  }
  start.port.postMessage(failed)
  start.port.close()
}
