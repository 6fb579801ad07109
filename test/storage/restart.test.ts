// What a restart keeps and what it does not (docs/PROTOCOL.md, D), with a clock in hand: the whole lane over a
// folder that is closed, or cut off as a kill would, and opened again. Kills of real processes are in test/whole.

import { execFileSync } from "node:child_process"
import { join } from "node:path"
import { afterEach, describe, expect, test } from "vitest"
import type { Config } from "../../broker/config.ts"
import { DATABASE_FILE } from "../../broker/storage/database.ts"
import { TestBroker } from "../kit/broker.ts"
import type { Caller } from "../kit/caller.ts"
import { memoryFolder } from "../kit/disk.ts"
import { removeFolder } from "../kit/process.ts"

type Ending = "closed" | "cut off"

/** A broker over a folder, and again and again over what it left. */
class Life {
  private readonly folders = [memoryFolder()]
  private readonly ending: Ending
  private readonly config: Partial<Config>
  private readonly abandoned: TestBroker[] = []
  broker: TestBroker

  constructor(ending: Ending, config: Partial<Config> = {}) {
    this.ending = ending
    this.config = config
    this.broker = new TestBroker({ folder: this.folders[0]!, config })
  }

  again(): TestBroker {
    const folder = this.folders.at(-1)!
    const nowMs = this.broker.now + 1
    if (this.ending === "closed") this.broker.close()
    else {
      const copy = memoryFolder()
      this.folders.push(copy)
      for (const name of [DATABASE_FILE, `${DATABASE_FILE}-wal`])
        execFileSync("cp", [join(folder, name), join(copy, name)])
      this.abandoned.push(this.broker)
    }
    this.broker = new TestBroker({ folder: this.folders.at(-1)!, config: this.config, nowMs, seed: nowMs })
    return this.broker
  }

  end(): void {
    for (const broker of [this.broker, ...this.abandoned]) broker.close()
    for (const folder of this.folders) removeFolder(folder)
  }
}

let lives: Life[] = []
afterEach(() => {
  for (const life of lives) life.end()
  lives = []
})

function live(ending: Ending, config: Partial<Config> = {}): Life {
  const life = new Life(ending, config)
  lives.push(life)
  return life
}

const QUEUE = "queue://realm/area/resource"

async function append(caller: Caller, route: string, bodies: readonly string[]): Promise<void> {
  const session = await caller.stream.begin(route)
  const { count } = await caller.stream.metadata(route)
  for (const [n, body] of bodies.entries()) await caller.stream.append(session, count + n, body)
  await caller.stream.commit(session)
}

const SELECTORS = [
  "a/x/r",
  "a/x/s",
  "a/y/r",
  "a/x/*",
  "a/*/r",
  "a/*/*",
  "a/**",
  "*/x/r",
  "*/*/r",
  "*/x/*",
  "*/*/*",
  "**",
]

/** All that a selector shows, one event a line with its position, read in pages of three. */
async function shown(caller: Caller, selector: string): Promise<string[]> {
  const lines: string[] = []
  let more = true
  for (let from = 0; more; ) {
    const page = await caller.stream.read(`stream://${selector}`, from, 3)
    for (const item of page.items) {
      if (!("event" in item)) throw new Error("nothing is hidden here")
      const { offset, area, realm, body } = item.event
      lines.push(`${item.route} ${offset} ${area} ${realm} ${body.toString()}`)
    }
    const global = selector === "**" || selector === "*/*/*"
    const last = global
      ? page.lastGlobal!
      : selector === "a/x/*"
        ? page.lastArea!
        : selector.startsWith("a/*/*") || selector === "a/**"
          ? page.lastRealm!
          : page.lastResource
    lines.push(`then ${last}`)
    from = Number(last) + 1
    more = page.more
  }
  return lines
}

describe.each<Ending>(["closed", "cut off"])("a store that was %s", ending => {
  test("ST-9, D-3: every selector shows the same events at the same positions", async () => {
    const life = live(ending)
    let caller = life.broker.enter()
    const routes = ["a/x/r", "a/x/s", "a/y/r", "b/x/r"].map(path => `stream://${path}`)
    // Enough that some of the orders are written and some are not.
    for (let n = 0; n < 150; n++) {
      const route = routes[(n * 7) % 4]!
      await append(caller, route, [`${n}.0`, `${n}.1`].slice(0, 1 + (n % 2)))
    }
    const before = await Promise.all(SELECTORS.map(selector => shown(caller, selector)))
    caller = life.again().enter()
    const after = await Promise.all(SELECTORS.map(selector => shown(caller, selector)))
    expect(after).toEqual(before)
    // And going on from there, nothing is left out and nothing given twice.
    await append(caller, routes[2]!, ["last"])
    const realm = await shown(caller, "a/*/r")
    expect(realm.at(-2)).toMatch(/^stream:\/\/a\/y\/r \d+ \d+ \d+ last$/)
    const realmOffset = Number(realm.at(-2)!.split(" ")[3])
    // Positions of this selector are realm offsets.
    expect(realm.at(-1)).toBe(`then ${realmOffset}`)
  })

  test("Q-2, Q-21: messages, delays and their order; ids are never given again", async () => {
    const life = live(ending)
    let caller = life.broker.enter()
    const ids: number[] = []
    for (let n = 0; n < 20; n++) {
      ids.push(await caller.queue.enqueue(QUEUE, `m${n}`, n % 5 === 4 ? 60 : undefined))
      life.broker.advance(1)
    }
    // Three are out: the first is completed, the others come back.
    const out = await caller.queue.reserve(QUEUE, { batch: 3 })
    await caller.queue.complete(QUEUE, out[0]!.id, out[0]!.token)
    const broker = life.again()
    caller = broker.enter()
    const next = await caller.queue.enqueue(QUEUE, "new")
    expect(next).toBeGreaterThan(Math.max(...ids))
    const ready = await caller.queue.reserve(QUEUE, { batch: 100, lease: 1_000 })
    const expected = ids.map((id, n) => `${id} m${n}`).filter((_, n) => n > 0 && n % 5 !== 4)
    expect(ready.map(({ id, body }) => `${id} ${body}`)).toEqual([...expected, `${next} new`])
    // The tokens of before are dead.
    await expect(caller.queue.complete(QUEUE, out[1]!.id, out[1]!.token)).rejects.toThrow()
    broker.advance(61_000)
    const late = await caller.queue.reserve(QUEUE, { batch: 100 })
    expect(late.map(({ body }) => body.toString())).toEqual(["m4", "m9", "m14", "m19"])
  })

  test("Q-8, Q-19, Q-21: attempts go on where they were", async () => {
    const life = live(ending, { queueMaxAttempts: 3 })
    let caller = life.broker.enter()
    await caller.queue.enqueue(QUEUE, "stubborn")
    await caller.queue.enqueue(QUEUE, "patient")
    for (let lapse = 1; lapse <= 2; lapse++) {
      const [first] = await caller.queue.reserve(QUEUE, { lease: 1 })
      expect(first!.body.toString()).toBe("stubborn")
      // The other one steps aside meanwhile, so that this one stays the first.
      const [other] = await caller.queue.reserve(QUEUE, { lease: 100 })
      life.broker.advance(2_000)
      await caller.close()
      expect(other!.body.toString()).toBe("patient")
      // A connection that ends counts for nothing.
      caller = life.again().enter()
    }
    const [first] = await caller.queue.reserve(QUEUE, { lease: 1 })
    expect(first!.body.toString()).toBe("stubborn")
    life.broker.advance(2_000)
    // The third time was the last.
    const left = await caller.queue.reserve(QUEUE, { batch: 10 })
    expect(left.map(({ body }) => body.toString())).toEqual(["patient"])
    const dead = life.broker.database
      .prepare<[], { attempts: number; reason: string; body: Buffer }>(
        "SELECT attempts, reason, body FROM queue_dead",
      )
      .all()
    expect(dead.map(({ attempts, reason, body }) => `${attempts} ${reason} ${body}`)).toEqual([
      "3 max_attempts_exceeded stubborn",
    ])
  })

  test("KV-13, D: open transactions are gone, committed ones whole", async () => {
    const life = live(ending)
    let caller = life.broker.enter()
    const route = "kv://realm/area/resource"
    for (let n = 0; n < 5; n++) {
      const tx = await caller.kv.begin(route, "write", n % 2 === 0)
      if (n === 4) await caller.kv.deleteRange(tx, route, "a0", "a2")
      for (const key of ["a", "b"]) await caller.kv.put(tx, route, `${key}${n}`, `value ${n}`)
      await caller.kv.commit(tx, route)
    }
    const open = await caller.kv.begin(route, "write")
    await caller.kv.put(open, route, "a9", "never")
    caller = life.again().enter()
    const tx = await caller.kv.begin(route, "write")
    const { pairs } = await caller.kv.scan(tx, route)
    expect(pairs.map(([key, value]) => `${key}=${value}`)).toEqual([
      "a2=value 2",
      "a3=value 3",
      "a4=value 4",
      ...[0, 1, 2, 3, 4].map(n => `b${n}=value ${n}`),
    ])
  })

  test("SC-13: definitions are kept, and what fell due meanwhile is skipped", async () => {
    const life = live(ending)
    let caller = life.broker.enter()
    await caller.schedule.create("schedule://realm/area/resource/kept", "* * * * *", "single", "tick")
    await caller.schedule.create("schedule://realm/area/resource/gone", "* * * * *", "broadcast", "tock")
    await caller.schedule.cancel("schedule://realm/area/resource/gone")
    life.broker.world.moveTo(life.broker.now + 600_000)
    caller = life.again().enter()
    const { total, entries } = await caller.schedule.list()
    expect(total).toBe(1)
    expect(entries[0]).toMatchObject({ cron: "* * * * *", mode: 1 })
    await caller.schedule.subscribe("schedule://realm/**")
    life.broker.advance(60_000)
    expect((await caller.schedule.next()).payload.toString()).toBe("tick")
    await caller.settle()
    expect(caller.unread(705)).toEqual([])
  })

  test("L-7: fencing tokens rise over a restart", async () => {
    const life = live(ending)
    const first = await life.broker.enter().lease.acquire("lease://realm/area/resource", 10)
    const second = await life.again().enter().lease.acquire("lease://realm/area/other", 10)
    expect(second.token).toBeGreaterThan(first.token)
  })
})
