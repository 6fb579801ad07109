// A load over one connection that remembers what it asked for and what was acknowledged, and judges a store by
// it afterwards: what is there must be what some first part of its commits makes, and that part must hold all
// that was acknowledged. It knows nothing of how the store is kept; it only asks over the wire.

import type { Caller } from "./caller.ts"
import type { Random } from "./random.ts"

/** One commit that was asked for. */
export interface Entry {
  /** The type of its request: its replies come in the order of these. */
  readonly type: number
  /** Its place among all commits of the connection. */
  readonly order: number
  /** Promised to be on disk before the reply. */
  readonly sync: boolean
  acked: boolean
}

interface Step extends Entry {
  readonly apply: (state: Map<string, string>) => void
}

/** One domain's commits in the order in which they were asked for, over a state that they change. */
interface Chain {
  readonly name: string
  /** What is known to be there, before the steps. */
  base: Map<string, string>
  steps: Step[]
  /** What is there now, in the terms of the state. */
  read(caller: Caller): Promise<Map<string, string>>
}

/** How a store came to be what it is. */
export interface Verdict {
  /** So many of the commits are in it, somewhere between these two, both included. */
  readonly least: number
  readonly most: number
}

const KEYS_KEPT = 7
const CRON_NEVER_SOON = "0 0 29 2 *"

export class Ledger {
  readonly name: string
  private readonly random: Random
  private readonly kv: string
  private readonly queue: string
  private readonly chains: readonly [Chain, Chain, Chain, Chain]
  private order = 0
  private rounds = 0
  private readonly ids = new Map<string, number>()
  /** The highest message id that was ever seen. */
  private highestId = 0
  private stopped = false
  /** All commits of the life that began with the last `resume`, by the type of their request. */
  private byType = new Map<number, Entry[]>()
  /** Commits that were acknowledged in this life. */
  acknowledged = 0
  /** Hears of each acknowledgement, before anything else happens. */
  onAck: () => void = () => undefined
  /** Bytes that some bodies are padded with. */
  private readonly paddingBytes: number
  private readonly syncShare: number

  /**
   * @param name the realm of its routes
   * @param syncShare how many of the KV and stream commits are asked to be on disk before the reply
   */
  constructor(name: string, random: Random, { paddingBytes = 3_000, syncShare = 0.7 } = {}) {
    this.name = name
    this.random = random
    this.paddingBytes = paddingBytes
    this.syncShare = syncShare
    this.kv = `kv://${name}/crash/pairs`
    this.queue = `queue://${name}/crash/work`
    const chain = (name: string, read: Chain["read"]): Chain => ({ name, base: new Map(), steps: [], read })
    this.chains = [
      chain("kv", caller => this.readPairs(caller)),
      chain("queue", caller => this.readMessages(caller)),
      chain("stream", caller => this.readEvents(caller)),
      chain("schedule", caller => this.readDefinitions(caller)),
    ]
  }

  /** Commits that were asked for in this life, by the type of their request, in order. */
  asked(type: number): readonly Entry[] {
    return this.byType.get(type) ?? []
  }

  /** Works until `stop` or until the connection is gone. Rejects where the broker refuses anything. */
  async run(caller: Caller): Promise<void> {
    this.stopped = false
    const forever = async (work: (caller: Caller) => Promise<void>): Promise<void> => {
      while (!this.stopped) {
        try {
          await work(caller)
        } catch (error) {
          if (caller.open) throw error
          return
        }
      }
    }
    const enqueue = (caller: Caller): Promise<void> => this.enqueue(caller)
    await Promise.all([
      forever(caller => this.commitPairs(caller)),
      forever(enqueue),
      forever(enqueue),
      forever(caller => this.completeSome(caller)),
      forever(caller => this.appendBatch(caller)),
      forever(caller => this.changeSchedule(caller)),
    ])
  }

  stop(): void {
    this.stopped = true
  }

  // ── the load ───────────────────────────────────────────────────────────────────────────────────────────

  /** Writes the commit down in the moment in which it is sent, and its acknowledgement when that has come. */
  private async commit<T>(
    chain: Chain,
    { type, sync }: { readonly type: number; readonly sync: boolean },
    apply: Step["apply"],
    send: () => Promise<T>,
  ): Promise<T> {
    const step: Step = { type, order: this.order++, sync, acked: false, apply }
    chain.steps.push(step)
    const entries = this.byType.get(type)
    if (entries === undefined) this.byType.set(type, [step])
    else entries.push(step)
    const reply = await send()
    step.acked = true
    this.acknowledged++
    this.onAck()
    return reply
  }

  private padding(): string {
    return this.random.chance(0.3) ? ".".repeat(this.random.int(this.paddingBytes)) : ""
  }

  private sync(): boolean {
    return this.random.chance(this.syncShare)
  }

  /** A transaction of several keys that belong together, now and then with a range that goes first. */
  private async commitPairs(caller: Caller): Promise<void> {
    const n = this.rounds++
    const [chain] = this.chains
    const sync = this.sync()
    const tx = await caller.kv.begin(this.kv, "write", sync)
    const puts = ["a", "b", "c"].map(part => [`${n % KEYS_KEPT}/${part}`, `${n}${this.padding()}`] as const)
    const cleared = n % 5 === 4 ? ([`${(n + 1) % KEYS_KEPT}/`, `${(n + 1) % KEYS_KEPT}/~`] as const) : null
    if (cleared !== null) await caller.kv.deleteRange(tx, this.kv, ...cleared)
    await Promise.all(
      [...puts, ["head", String(n)] as const].map(([key, value]) => caller.kv.put(tx, this.kv, key, value)),
    )
    await this.commit(
      chain,
      { type: 101, sync },
      state => {
        if (cleared !== null) {
          for (const key of [...state.keys()]) if (key >= cleared[0] && key < cleared[1]) state.delete(key)
        }
        for (const [key, value] of puts) state.set(key, value)
        state.set("head", String(n))
      },
      () => caller.kv.commit(tx, this.kv),
    )
  }

  private async enqueue(caller: Caller): Promise<void> {
    const body = `${this.name} ${this.rounds++}${this.padding()}`
    const [, chain] = this.chains
    const id = await this.commit(
      chain,
      { type: 200, sync: true },
      state => state.set(body, ""),
      () => caller.queue.enqueue(this.queue, body),
    )
    this.known(body, id)
  }

  private known(body: string, id: number): void {
    const before = this.ids.get(body)
    if (before === id) return
    if (before !== undefined) throw new Error(`a message has id ${id} and had ${before}`)
    if (id <= this.highestId) throw new Error(`id ${id} was given again: ${this.highestId} was seen`)
    this.ids.set(body, id)
    this.highestId = id
  }

  private async completeSome(caller: Caller): Promise<void> {
    const [, chain] = this.chains
    const items = await caller.queue.reserve(this.queue, { lease: 3_600, batch: 3, wait: 1 })
    // One of them stays reserved for as long as the connection lives.
    const chosen = items.slice(0, 2)
    await Promise.all(
      chosen.map(({ id, token, body }) =>
        this.commit(
          chain,
          { type: 204, sync: true },
          state => state.delete(body.toString()),
          () => caller.queue.complete(this.queue, id, token),
        ),
      ),
    )
  }

  /** A batch to one of two streams: some have many events, some long ones, so that it takes several rows. */
  private async appendBatch(caller: Caller): Promise<void> {
    const n = this.rounds++
    const [, , chain] = this.chains
    const stream = `log-${this.random.int(2)}`
    const route = `stream://${this.name}/crash/${stream}`
    const session = await caller.stream.begin(route)
    const { count } = await caller.stream.metadata(route)
    const many = n % 11 === 10
    const events = many ? 300 : this.random.between(1, 4)
    const padding = !many && n % 13 === 12 ? ".".repeat(40_000) : ""
    const bodies = Array.from({ length: events }, (_, at) => `${n}.${at}${padding}`)
    const sync = this.sync()
    await Promise.all(bodies.map((body, at) => caller.stream.append(session, count + at, body)))
    await this.commit(
      chain,
      { type: 602, sync },
      state => {
        for (const [at, body] of bodies.entries())
          state.set(`area ${state.size}`, `${stream} ${count + at} ${body}`)
      },
      () => caller.stream.commit(session, sync),
    )
  }

  private async changeSchedule(caller: Caller): Promise<void> {
    const [, , , chain] = this.chains
    const route = `schedule://${this.name}/crash/job/op-${this.random.int(5)}`
    if (this.random.chance(0.3)) {
      await this.commit(
        chain,
        { type: 701, sync: true },
        state => state.delete(route),
        () => caller.schedule.cancel(route),
      )
      return
    }
    const payload = `${this.rounds++}${this.padding()}`
    await this.commit(
      chain,
      { type: 700, sync: true },
      state => state.set(route, payload),
      () => caller.schedule.create(route, CRON_NEVER_SOON, "single", payload),
    )
  }

  // ── what is there ──────────────────────────────────────────────────────────────────────────────────────

  private async readPairs(caller: Caller): Promise<Map<string, string>> {
    const found = new Map<string, string>()
    const tx = await caller.kv.begin(this.kv, "read")
    for (let start = "", more = true; more; ) {
      const page = await caller.kv.scan(tx, this.kv, { start })
      for (const [key, value] of page.pairs) found.set(key.toString(), value.toString())
      more = page.more
      start = `${page.pairs.at(-1)?.[0] ?? ""}\0`
    }
    await caller.kv.rollback(tx, this.kv)
    return found
  }

  /** Every message once, in the order of their ids. They stay reserved until the connection ends. */
  private async readMessages(caller: Caller): Promise<Map<string, string>> {
    const found = new Map<string, string>()
    let last = 0
    for (;;) {
      const items = await caller.queue.reserve(this.queue, { lease: 3_600, batch: 1_024 })
      for (const { id, body } of items) {
        const text = body.toString()
        if (found.has(text)) throw new Error(`${text.slice(0, 40)} is there twice`)
        if (id <= last) throw new Error(`message ${id} comes after ${last}`)
        last = id
        this.known(text, id)
        found.set(text, "")
      }
      if (items.length === 0) return found
    }
  }

  /** Every event of the area; offsets of the area and of each stream must have no gaps. */
  private async readEvents(caller: Caller): Promise<Map<string, string>> {
    const found = new Map<string, string>()
    const next = new Map<string, number>()
    for (let more = true; more; ) {
      const page = await caller.stream.read(`stream://${this.name}/crash/*`, found.size, 10_000)
      more = page.more
      for (const item of page.items) {
        if (!("event" in item)) throw new Error("an event is hidden that was not filtered")
        const { area, realm, offset, body } = item.event
        if (area !== found.size || realm !== found.size)
          throw new Error(`area offset ${area}, realm offset ${realm} where ${found.size} comes next`)
        const expected = next.get(item.route) ?? 0
        if (offset !== expected) throw new Error(`${item.route} has ${offset} where ${expected} comes next`)
        next.set(item.route, offset + 1)
        found.set(`area ${area}`, `${item.route.split("/").at(-1)} ${offset} ${body}`)
      }
    }
    for (const [route, count] of next) {
      const metadata = await caller.stream.metadata(route)
      if (metadata.count !== count) throw new Error(`${route} counts ${metadata.count} of ${count} events`)
    }
    return found
  }

  private async readDefinitions(caller: Caller): Promise<Map<string, string>> {
    // A page holds what fits into one frame.
    const all: Awaited<ReturnType<Caller["schedule"]["list"]>>["entries"] = []
    for (let total = 1; all.length < total; ) {
      const page = await caller.schedule.list(all.length, 1_000)
      if (page.entries.length === 0 && page.total > all.length)
        throw new Error("a page of definitions is empty")
      all.push(...page.entries)
      total = page.total
    }
    const own = all.filter(({ route }) => route.startsWith(`schedule://${this.name}/`))
    return new Map(own.map(({ route, payload }) => [route, payload.toString()]))
  }

  // ── the judgement ──────────────────────────────────────────────────────────────────────────────────────

  /**
   * Judges what a caller finds: some first part of all commits, whole, that holds at least all of which
   * `kept` says so. Throws with what is wrong.
   */
  async judge(caller: Caller, kept: (entry: Entry) => boolean): Promise<Verdict> {
    return this.agree(await Promise.all(this.chains.map(chain => this.applied(chain, caller, kept))))
  }

  /** The same, and goes on from there: what was found is now what is known. */
  async resume(caller: Caller, kept: (entry: Entry) => boolean): Promise<Verdict> {
    const counts = await Promise.all(this.chains.map(chain => this.applied(chain, caller, kept)))
    const verdict = this.agree(counts)
    for (const [index, chain] of this.chains.entries()) {
      for (const step of chain.steps.slice(0, counts[index]!.at(-1)!)) step.apply(chain.base)
      chain.steps = []
    }
    this.byType = new Map()
    this.acknowledged = 0
    this.order = 0
    return verdict
  }

  /** How many steps of a chain may have happened, as far as what is there tells. */
  private async applied(chain: Chain, caller: Caller, kept: (entry: Entry) => boolean): Promise<number[]> {
    const found = await chain.read(caller)
    const state = new Map(chain.base)
    const { steps } = chain
    const least = steps.findLastIndex(kept) + 1
    const counts: number[] = []
    for (let count = 0; ; count++) {
      if (count >= least && same(state, found)) counts.push(count)
      const step = steps[count]
      if (step === undefined) break
      step.apply(state)
    }
    if (counts.length > 0) return counts
    throw new Error(
      `${this.name}: the ${chain.name} holds what no first part of its ${steps.length} commits makes that has the ${least} it must have: ${difference(state, found)}`,
    )
  }

  /** The parts of the domains must belong to one part of all commits. */
  private agree(counts: readonly (readonly number[])[]): Verdict {
    let least = 0
    let most = this.order
    for (const [index, { steps }] of this.chains.entries()) {
      const possible = counts[index]!
      const before = steps[possible[0]! - 1]
      const after = steps[possible.at(-1)!]
      if (before !== undefined) least = Math.max(least, before.order + 1)
      if (after !== undefined) most = Math.min(most, after.order)
    }
    if (least > most)
      throw new Error(`${this.name}: commit ${most} is missing and commit ${least - 1} is there`)
    return { least, most }
  }
}

function same(a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean {
  if (a.size !== b.size) return false
  for (const [key, value] of a) if (b.get(key) !== value) return false
  return true
}

/** Some of what differs between what all commits would have made and what is there. */
function difference(expected: ReadonlyMap<string, string>, found: ReadonlyMap<string, string>): string {
  const lines: string[] = []
  for (const key of new Set([...expected.keys(), ...found.keys()])) {
    const [a, b] = [expected.get(key), found.get(key)]
    if (a !== b)
      lines.push(
        `${key.slice(0, 40)}: ${b?.slice(0, 40) ?? "missing"} instead of ${a?.slice(0, 40) ?? "nothing"}`,
      )
  }
  return `${lines.length} differ from all of them: ${lines.slice(0, 8).join("; ")}`
}
