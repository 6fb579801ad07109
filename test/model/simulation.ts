// A simulation: random clients with random requests, given to the broker and to the models alike. Every reply and
// every push of the broker is compared. Time moves and jumps, connections are cut, disks fill up, requests meet
// bugs, the broker restarts. One seed is one run, always the same; a divergence names it.

import { createHash } from "node:crypto"
import { cpSync, mkdirSync } from "node:fs"
import { join } from "node:path"
import type { Config } from "../../broker/config.ts"
import { type PipedCaller, TestBroker, type TestBrokerOptions } from "../kit/broker.ts"
import { Random } from "../kit/random.ts"
import { KvModel } from "./kv.ts"
import { LeaseModel } from "./lease.ts"
import { NoticeModel } from "./notice.ts"
import { Divergence, type Sent, type Setting, shown } from "./peer.ts"
import { QueueModel } from "./queue.ts"
import {
  DOMAINS,
  type DomainName,
  encode,
  LIVE,
  type Models,
  makeUp,
  POISON,
  type Request,
} from "./requests.ts"
import { RpcModel } from "./rpc.ts"
import { ScheduleModel } from "./schedule.ts"
import { StreamModel } from "./stream.ts"

export interface SimulationOptions {
  readonly seed: string
  readonly steps: number
  /** Where its stores go; null keeps everything in memory, where restarts are milder. */
  readonly folder?: string | null
  /** Only these, where one is to be looked at closely. */
  readonly domains?: readonly DomainName[]
}

/** Small limits, so that they are met. */
const LIMITS = {
  maxWildcardRegistrations: 3,
  maxOpenTransactions: 3,
  maxOpenAppends: 2,
  kvIdleTransactionTtlSeconds: 20,
  rpcMaxPending: 8,
  rpcMaxPendingPerRoute: 3,
  rpcTimeoutSeconds: 6,
  queueMaxAttempts: 3,
  queueCacheBytes: 2_000,
} as const satisfies Partial<Config>

const CLIENTS_MAX = 5
const FAMILIES = [1, 1, 1, 2]
const REMEMBERED_OPERATIONS = 40
/** A turn that has taken so many bytes may end early; a client is cut only in one that has not. */
const SHORT_TURN_BYTES = 20_000

interface Client {
  readonly number: number
  readonly family: number
  readonly caller: PipedCaller
  gone: boolean
  frames: { type: number; payload: Buffer; at: number }[]
  received: number
}

/** What happened in one step, in order. */
type Action =
  | { readonly kind: "request"; readonly client: Client; readonly request: Request }
  | { readonly kind: "cut"; readonly client: Client }

export class Simulation {
  private readonly options: SimulationOptions
  private readonly random: Random
  private readonly operations: string[] = []
  private readonly clients = new Map<number, Client>()
  private readonly setting: Setting
  private readonly models: Models
  private broker: TestBroker
  private folders = 0
  private joined = 0
  private step = 0
  /** Everything that clients were sent, in order. */
  private readonly transcript = createHash("sha256")
  /** How often which kind of reply was met: `type` or `type code`. */
  readonly met = new Map<string, number>()

  constructor(options: SimulationOptions) {
    this.options = options
    this.random = new Random(options.seed)
    this.broker = this.start({ folder: this.nextFolder() })
    const setting: Setting = {
      peer: {
        hears: number => this.clients.get(number)?.gone === false,
        take: (number, type, beginning) => this.take(number, type, beginning),
        peek: (number, type) =>
          this.clients.get(number)!.frames.find(one => one.type === type)?.payload ?? null,
      },
      now: this.broker.now,
      writable: true,
      ids: new Set(),
      met: what => this.met.set(what, (this.met.get(what) ?? 0) + 1),
    }
    this.setting = setting
    const wildcardsMax = LIMITS.maxWildcardRegistrations
    const common = { wildcardsMax, poison: POISON }
    this.models = {
      kv: new KvModel(setting, {
        ...common,
        openMax: LIMITS.maxOpenTransactions,
        idleMs: LIMITS.kvIdleTransactionTtlSeconds * 1_000,
      }),
      queue: new QueueModel(setting, { ...common, attemptsMax: LIMITS.queueMaxAttempts }),
      rpc: new RpcModel(setting, {
        wildcardsMax,
        pendingMax: LIMITS.rpcMaxPending,
        perRouteMax: LIMITS.rpcMaxPendingPerRoute,
        timeoutMs: LIMITS.rpcTimeoutSeconds * 1_000,
      }),
      lease: new LeaseModel(setting, common),
      notice: new NoticeModel(setting, common),
      stream: new StreamModel(setting, { ...common, openMax: LIMITS.maxOpenAppends }),
      schedule: new ScheduleModel(setting, common),
    }
  }

  /** What all that was sent comes to. */
  get digest(): string {
    return this.transcript.copy().digest("hex")
  }

  /** Runs all steps. Throws what says how to meet a divergence again. */
  run(): this {
    try {
      for (let i = 0; i < 3; i++) this.join()
      for (this.step = 0; this.step < this.options.steps; this.step++) this.next()
    } catch (error) {
      const reason =
        error instanceof Divergence ? error.message : error instanceof Error ? error.stack : error
      throw new Error(
        `seed ${this.options.seed}, step ${this.step}: ${reason}\nlast operations:\n${this.operations.join("\n")}`,
        { cause: error },
      )
    } finally {
      this.broker.close()
    }
    return this
  }

  private start(options: TestBrokerOptions): TestBroker {
    const seed = this.random.u32()
    const broker = new TestBroker({ ...options, seed, config: LIMITS, manual: true })
    broker.faults.poison = POISON
    return broker
  }

  private nextFolder(): string | null {
    const { folder } = this.options
    if (folder === null || folder === undefined) return null
    const next = join(folder, String(this.folders++))
    mkdirSync(next)
    return next
  }

  private note(text: string): void {
    this.operations.push(`${this.step} ${text}`)
    if (this.operations.length > REMEMBERED_OPERATIONS) this.operations.shift()
  }

  private take(number: number, type: number, beginning: Uint8Array | undefined): Sent | null {
    const { frames } = this.clients.get(number)!
    const at = frames.findIndex(
      frame =>
        frame.type === type &&
        (beginning === undefined || frame.payload.subarray(0, beginning.length).equals(beginning)),
    )
    return at < 0 ? null : frames.splice(at, 1)[0]!
  }

  // ── one step ───────────────────────────────────────────────────────────────────────────────────────────

  private next(): void {
    const { random, broker } = this
    const { faults } = broker
    if (!faults.isFull && random.chance(0.01)) {
      this.note("the disk is full")
      faults.fillDisk()
    } else if (faults.isFull && random.chance(0.08)) {
      this.note("the disk has room again")
      faults.freeDisk()
    }
    const roll = random.int(1_000)
    if (roll < 10) this.restart()
    else if (roll < 40 || this.here().length < 2) this.join()
    else if (roll < 190) this.advance()
    else if (roll < 220) this.jump()
    else this.requests()
  }

  private here(): Client[] {
    return [...this.clients.values()].filter(client => !client.gone)
  }

  private join(): void {
    if (this.here().length >= CLIENTS_MAX) return
    const family = this.random.pick(FAMILIES)
    const caller = this.broker.enter({ family })
    const client: Client = { number: ++this.joined, family, caller, gone: false, frames: [], received: 0 }
    caller.wire.onFrame(({ type, payload }) => {
      client.frames.push({ type, payload, at: client.received++ })
      this.transcript.update(`${client.number} ${type} ${payload.toString("hex")}\n`)
    })
    this.clients.set(client.number, client)
    this.note(`client ${client.number} of family ${family} joins`)
    this.turn([])
  }

  private requests(): void {
    const { random } = this
    const actions: Action[] = []
    const domains = this.options.domains ?? DOMAINS
    const { lease } = this.models
    lease.tokensFail = random.chance(0.02)
    this.broker.fencesFail = lease.tokensFail
    if (lease.tokensFail) this.note("no fencing tokens")
    let bytes = 0
    for (let left = random.between(1, 8); left > 0; left--) {
      const here = this.here()
      if (here.length === 0) break
      const client = random.pick(here)
      if (bytes < SHORT_TURN_BYTES && random.chance(0.015)) {
        this.note(`client ${client.number} is cut off`)
        client.gone = true
        client.caller.pipe.hangUp()
        actions.push({ kind: "cut", client })
        continue
      }
      // Bursts: one client, one domain, several requests behind each other.
      const domain = random.pick(domains)
      for (let burst = random.chance(0.2) ? 3 : 1; burst > 0; burst--) {
        const request = makeUp(domain, client.number, this.models, random)
        const { type, payload } = encode(request)
        this.note(`client ${client.number} ${domain} ${shown(request.op).slice(0, 300)}`)
        bytes += payload.length
        client.caller.send(type, payload)
        actions.push({ kind: "request", client, request })
      }
    }
    this.turn(actions)
    lease.tokensFail = false
    this.broker.fencesFail = false
  }

  /** Time passes; the broker wakes up whenever something is due. */
  private advance(): void {
    const { random, broker } = this
    const ms = random.chance(0.1) ? random.between(30_000, 400_000) : random.int(3_000)
    this.note(`${ms} ms pass`)
    const target = broker.now + ms
    for (let due = broker.nextDueMs; due !== null && due <= target; due = broker.nextDueMs) {
      broker.world.moveTo(Math.max(due, broker.now))
      this.turn([])
    }
    broker.world.moveTo(target)
    // The broker was not woken for this: nothing may be due.
    this.judge([])
  }

  /** Time passes at once; everything is late. */
  private jump(): void {
    const ms = this.random.chance(0.1) ? this.random.int(90_000_000) : this.random.int(20_000)
    this.note(`${ms} ms are missed`)
    this.broker.world.moveTo(this.broker.now + ms)
    this.turn([])
  }

  private restart(): void {
    const { broker, random } = this
    const crash = broker.folder !== null && random.chance(0.5)
    this.setting.met("restart")
    const pauseMs = random.int(120_000)
    this.note(`${crash ? "crash" : "restart"}, ${pauseMs} ms away`)
    for (const client of this.clients.values()) client.gone = true
    this.clients.clear()
    const nowMs = broker.now + pauseMs
    broker.faults.freeDisk()
    if (broker.folder === null) this.broker = this.start({ after: broker, nowMs })
    else {
      let { folder } = broker
      if (crash) {
        // What a killed process leaves behind: its files as they are at this moment.
        folder = this.nextFolder()!
        for (const file of ["fitz.db", "fitz.db-wal"]) cpSync(join(broker.folder, file), join(folder, file))
      }
      broker.close()
      this.broker = this.start({ folder, nowMs })
    }
    this.setting.now = this.broker.now
    this.setting.writable = true
    this.setting.ids.clear()
    for (const domain of DOMAINS) this.models[domain].restart()
    this.turn([])
  }

  // ── judging ────────────────────────────────────────────────────────────────────────────────────────────

  /** Lets the broker do what there is to do, and the models the same. */
  private turn(actions: readonly Action[]): void {
    const { faults } = this.broker
    const before = { undone: faults.undone, writableTurns: this.broker.writableTurns }
    this.broker.settle()
    if (faults.undone > before.undone) {
      this.setting.met("undone")
      this.setting.writable = false
    }
    this.judge(actions)
    if (this.broker.writableTurns > before.writableTurns) this.models.queue.stored()
  }

  private judge(actions: readonly Action[]): void {
    const { models, setting, broker } = this
    setting.now = broker.now
    this.judgeDurable(actions)
    this.judgeLive(actions)
    // Whether there is room again is found out at the end of a turn.
    setting.writable = broker.writable
    do this.expireDurable()
    while (models.queue.due)
    models.rpc.expire()
    models.lease.expire()
    for (const client of this.here()) {
      const [left] = client.frames
      if (left === undefined) continue
      throw new Divergence(
        `client ${client.number} got an unexpected ${left.type}: ${left.payload.toString("hex").slice(0, 200)}`,
      )
    }
    for (const [number, { gone }] of this.clients) if (gone) this.clients.delete(number)
  }

  /** Who has left comes first, and what it had sent is not handled any more (14). */
  private judgeDurable(actions: readonly Action[]): void {
    const { kv, queue, stream, schedule } = this.models
    for (const action of actions) if (action.kind === "cut") queue.unwait(action.client.number)
    for (const action of actions) {
      if (action.kind !== "cut") continue
      for (const model of [kv, queue, stream, schedule]) model.leave(action.client.number)
    }
    this.expireDurable()
    for (const action of actions) {
      if (action.kind !== "request" || action.client.gone || LIVE.has(action.request.domain)) continue
      this.request(action.client, action.request)
    }
  }

  private expireDurable(): void {
    this.models.kv.expire()
    this.models.queue.expire()
    this.models.schedule.expire()
  }

  private judgeLive(actions: readonly Action[]): void {
    const { rpc, lease, notice } = this.models
    rpc.expire()
    lease.expire()
    for (const action of actions) {
      const { client } = action
      if (action.kind === "cut") for (const model of [rpc, lease, notice]) model.leave(client.number)
      else if (LIVE.has(action.request.domain)) this.request(client, action.request)
    }
  }

  private request({ number, family }: Client, request: Request): void {
    const { models } = this
    switch (request.domain) {
      case "kv":
        return void models.kv.request(number, family, request.op)
      case "queue":
        return void models.queue.request(number, family, request.op)
      case "rpc":
        return void models.rpc.request(number, family, request.op)
      case "lease":
        return void models.lease.request(number, family, request.op)
      case "notice":
        return void models.notice.request(number, family, request.op)
      case "stream":
        return void models.stream.request(number, family, request.op)
      case "schedule":
        return void models.schedule.request(number, family, request.op)
    }
  }
}
