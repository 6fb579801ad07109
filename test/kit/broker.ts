// A broker inside the test: the product's engine, lanes, domains and store in one thread, with a world that the
// test moves. Nothing happens between two calls of `settle`, so every interleaving can be chosen. Only the
// doors, the threads and the reading of tokens are not here; those are tested where they stand.

import { type Config, loadConfig } from "../../broker/config.ts"
import { LeaseDomain } from "../../broker/domains/lease.ts"
import { NoticeDomain } from "../../broker/domains/notice.ts"
import { RpcDomain } from "../../broker/domains/rpc.ts"
import { durableLane, stackOf } from "../../broker/durable.ts"
import type { DurableLane } from "../../broker/engine/durable.ts"
import { Engine } from "../../broker/engine/engine.ts"
import { Lane } from "../../broker/engine/lane.ts"
import { Tally } from "../../broker/engine/tally.ts"
import { FenceBlocks } from "../../broker/fences.ts"
import { durableLimits, engineLimits, liveLimits } from "../../broker/limits.ts"
import { Database } from "../../broker/storage/database.ts"
import { takeFences } from "../../broker/storage/meta.ts"
import { Connection } from "../../broker/transport/connection.ts"
import { OutboundAccount } from "../../broker/transport/outbound.ts"
import { Caller } from "./caller.ts"
import { Faults, Poisoned } from "./faults.ts"
import { Pipe } from "./pipe.ts"
import { TestWorld } from "./world.ts"

export interface TestBrokerOptions {
  /** Null keeps everything in memory. */
  readonly folder?: string | null
  /** Takes over the store of this one, which ends: a restart without a file. */
  readonly after?: TestBroker
  readonly seed?: string | number
  readonly nowMs?: number
  /** Options that are not the defaults. */
  readonly config?: Partial<Config>
  /** True: turns run only when the test calls `settle`. Otherwise also once the test waits for something. */
  readonly manual?: boolean
}

export interface EnterOptions {
  readonly family?: number
  /** `pattern#access` strings; absent allows everything. */
  readonly permissions?: readonly string[]
}

const FENCE_BLOCK = 16_777_216
/** Turns at one instant, beyond which something keeps itself busy. */
const TURNS_MAX = 100_000

/** A client that came in through a pipe. */
export class PipedCaller extends Caller {
  readonly pipe: Pipe

  constructor(pipe: Pipe) {
    super(pipe.wire)
    this.pipe = pipe
  }
}

export class TestBroker {
  readonly config: Config
  readonly world: TestWorld
  readonly database: Database
  readonly faults: Faults
  readonly live: Lane
  readonly durable: DurableLane
  readonly liveTally = new Tally()
  readonly durableTally = new Tally()
  readonly engine: Engine
  readonly outbound: OutboundAccount
  readonly folder: string | null
  /** Giving out a fencing token throws: a bug, as far as the broker can tell. */
  fencesFail = false
  /** There are no fencing tokens: the store had no room to set more of them aside. */
  fencesOut = false
  /** May the store be written to, as the broker sees it? */
  writable = true
  /** What the engine has handed to the durable lane. */
  private inbox: Uint8Array[] = []
  private stirred = false
  private isClosed = false
  /** Turns of the durable lane so far, and those among them that could write. */
  durableTurns = 0
  writableTurns = 0

  constructor({
    folder = null,
    after,
    seed = 1,
    nowMs,
    config = {},
    manual = false,
  }: TestBrokerOptions = {}) {
    this.config = { ...loadConfig({ environment: {}, flags: {}, file: null }), ...config }
    const world = new TestWorld(seed, nowMs)
    this.folder = folder
    this.world = world
    const limits = liveLimits(this.config)
    this.outbound = new OutboundAccount({
      bytesMax: this.config.maxOutboundBytes,
      totalBytesMax: this.config.maxOutboundTotalBytes,
    })
    if (after === undefined) {
      this.database = Database.open(folder)
      this.faults = new Faults(this.database)
    } else {
      after.isClosed = true
      this.database = after.database
      this.faults = after.faults
      // It goes with the process, and a connection stands for one.
      this.database.execute("DROP TABLE temp.kv_past")
    }
    const giveFences = (): void => fences.add(takeFences(this.database, FENCE_BLOCK), FENCE_BLOCK)
    const fences = new FenceBlocks(() => world.soon(giveFences))
    this.live = new Lane({
      domains: {
        notice: new NoticeDomain(limits.notice),
        rpc: new RpcDomain(limits.rpc),
        lease: new LeaseDomain(limits.lease, { next: () => this.nextFence(fences) }),
      },
      store: null,
      firstId: 1,
      random: world.random,
      tally: this.liveTally,
      elapsedMs: world.elapsedMs,
      noticeRoom: session => this.outbound.noticeBytesMax - this.engine.pendingBytes(session),
      parkedMax: limits.parkedMax,
      onBug: (error, name) => world.log("error", "a request threw", { request: name, stack: stackOf(error) }),
      onWritable: () => undefined,
    })
    let cancelDue: () => void = () => undefined
    this.engine = new Engine({
      live: this.live,
      link: { post: batch => this.inbox.push(batch) },
      limits: engineLimits(this.config),
      now: world.now,
      elapsedMs: world.elapsedMs,
      soon: world.soon,
      at: (due, work) => {
        cancelDue()
        cancelDue = world.later(due - world.now(), work)
      },
      later: world.later,
      batchesTaken: () => this.durableTally.count("batchesTaken"),
      happened: () => undefined,
    })
    const { lane, load } = durableLane(
      this.database,
      durableLimits(this.config),
      world,
      this.durableTally,
      writable => {
        this.writable = writable
      },
    )
    this.durable = lane
    giveFences()
    // Loading yields now and then, so that a thread can show that it lives.
    for (const _share of load());
    if (!manual) world.onPutOff = () => this.stir()
  }

  private nextFence(fences: FenceBlocks): number | null {
    if (this.fencesFail) throw new Poisoned()
    return this.fencesOut ? null : fences.next()
  }

  get now(): number {
    return this.world.now()
  }

  /** A client comes in, let in as whoever it says. */
  enter({ family = 1, permissions }: EnterOptions = {}): PipedCaller {
    const pipe = new Pipe()
    const connection = new Connection(
      pipe.carrier,
      this.engine,
      {
        anonymous: true,
        anybody: { family, permissions: permissions ?? null },
        verify: () => Promise.resolve(null),
        connectTimeoutMs: this.config.connectTimeoutSeconds * 1_000,
        later: this.world.later,
        onBehind: () => undefined,
        onEnded: () => undefined,
        onMalformed: reason => this.world.log("warn", `connection closed: ${reason}`),
      },
      this.outbound,
    )
    pipe.onBytes = bytes => connection.receive(bytes)
    pipe.onClosed = () => connection.closed()
    const caller = new PipedCaller(pipe)
    caller.send(1, Buffer.alloc(0))
    return caller
  }

  /** Has the broker settle once the test waits for something. */
  private stir(): void {
    if (this.stirred) return
    this.stirred = true
    setImmediate(() => {
      this.stirred = false
      if (!this.isClosed) this.settle()
    })
  }

  /** Runs turns until nothing more is to be done at this instant. */
  settle(): void {
    for (let turns = 0; this.world.run() || this.turn(); turns++) {
      if (turns > TURNS_MAX) throw new Error("the broker does not come to rest")
    }
  }

  /** One turn of the durable lane, where there is anything to do; what was put off runs first. */
  step(): boolean {
    this.world.run()
    return this.turn()
  }

  private turn(): boolean {
    const due = this.durable.nextDue()
    if (this.inbox.length === 0 && (due === null || due > this.now)) return false
    const batches = this.inbox
    this.inbox = []
    this.durableTurns++
    const before = this.writable
    const sent = this.durable.run(this.now, batches)
    if (before && this.writable) this.writableTurns++
    if (sent !== null) this.engine.returned(sent)
    return true
  }

  /** When something falls due next, or null. */
  get nextDueMs(): number | null {
    const due = [this.durable.nextDue(), this.world.nextTimerMs].filter(ms => ms !== null)
    return due.length === 0 ? null : Math.min(...due)
  }

  /** Moves the clock forward, stopping wherever something falls due. */
  advance(ms: number): void {
    const target = this.now + ms
    this.settle()
    for (let due = this.nextDueMs; due !== null && due <= target; due = this.nextDueMs) {
      this.world.moveTo(Math.max(due, this.now))
      this.settle()
    }
    this.world.moveTo(target)
  }

  /** Moves the clock forward in one leap, as for a process that was not given the processor. */
  jump(ms: number): void {
    this.settle()
    this.world.moveTo(this.now + ms)
    this.settle()
  }

  /** Ends it in good order; clients are cut off. Not where another has taken over. */
  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.database.close()
  }
}
