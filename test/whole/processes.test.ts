// Processes and their folders: one at a time, large ones, damaged ones, and none at all. While a store is large
// or a read walks far, whoever else asks is answered in between; told by the order of what happened, never by
// how long it took.

import { existsSync, readFileSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import { Broker } from "../../broker/broker.ts"
import { loadConfig } from "../../broker/config.ts"
import { DATABASE_FILE, Database } from "../../broker/storage/database.ts"
import { SqliteKvStore } from "../../broker/storage/kv.ts"
import { SqliteQueueStore } from "../../broker/storage/queue.ts"
import { realWorld } from "../../broker/world.ts"
import { block, bytes, u8, u32 } from "../kit/bytes.ts"
import { type Caller, openCaller } from "../kit/caller.ts"
import { memoryFolder } from "../kit/disk.ts"
import { until } from "../kit/patience.ts"
import { type BrokerProcess, removeFolder, startProcess } from "../kit/process.ts"
import { routeOf } from "../storage/contract.ts"

const brokers: BrokerProcess[] = []
const folders: string[] = []
afterEach(async () => {
  await Promise.all(brokers.splice(0).map(broker => broker.kill()))
  for (const folder of folders.splice(0)) removeFolder(folder)
})

function folder(): string {
  const made = memoryFolder()
  folders.push(made)
  return made
}

async function start(
  environment: Readonly<Record<string, string>>,
  options: { readonly ready?: boolean } = {},
): Promise<BrokerProcess> {
  const broker = await startProcess({ FITZ_AUTH_REQUIRED: "false", ...environment }, options)
  brokers.push(broker)
  return broker
}

/** What a broker said that would not start, and its exit code. */
async function refusedStart(environment: Readonly<Record<string, string>>): Promise<string> {
  return start(environment).then(
    () => "it started",
    (error: unknown) => (error as Error).message,
  )
}

const QUEUE = "queue://realm/area/resource"
const KV = "kv://realm/area/resource"
const STREAM = "stream://realm/area/resource"

describe("one process, one folder", () => {
  test("a second process on a folder refuses to start, names it, and harms nobody", async () => {
    const place = folder()
    const first = await start({ FITZ_STORAGE_PATH: place })
    const caller = await openCaller("tcp", first.port)
    await caller.queue.enqueue(QUEUE, "before")
    const said = await refusedStart({ FITZ_STORAGE_PATH: place })
    expect(said).toContain("ended with 1 ")
    expect(said).toContain(`another process is using the store in ${place}`)
    await caller.queue.enqueue(QUEUE, "after")
    expect(await caller.queue.reserve(QUEUE, { batch: 10 })).toHaveLength(2)
  })

  test("a folder is free as soon as its process is gone, however it went", async () => {
    const place = folder()
    for (const signal of ["SIGKILL", "SIGTERM", "SIGKILL"] as const) {
      const broker = await start({ FITZ_STORAGE_PATH: place, FITZ_DRAIN_GRACE_SECONDS: "0" })
      const caller = await openCaller("tcp", broker.port)
      await caller.queue.enqueue(QUEUE, signal)
      expect(await broker.kill(signal)).toBe(signal === "SIGTERM" ? 0 : signal)
    }
    const last = await start({ FITZ_STORAGE_PATH: place })
    const items = await (await openCaller("tcp", last.port)).queue.reserve(QUEUE, { batch: 10 })
    expect(items.map(({ body }) => body.toString())).toEqual(["SIGKILL", "SIGTERM", "SIGKILL"])
  })

  test("the storage id is one over all lives of a folder, and another for another folder", async () => {
    const place = folder()
    const ids: unknown[] = []
    for (const path of [place, place, folder()]) {
      const broker = await start({ FITZ_STORAGE_PATH: path })
      ids.push((await broker.logged("ready"))["storageId"])
      await broker.kill()
    }
    expect(ids[0]).toMatch(/^[0-9a-f]{32}$/)
    expect(ids[1]).toBe(ids[0])
    expect(ids[2]).not.toBe(ids[0])
  })

  test("in memory nothing is written, everything works, and nothing is left", async () => {
    const place = join(folder(), "store")
    const environment = { FITZ_STORAGE_MODE: "memory", FITZ_STORAGE_PATH: place }
    const tokens: number[] = []
    for (let life = 0; life < 2; life++) {
      const broker = await start(environment)
      const caller = await openCaller("tcp", broker.port)
      expect(await caller.queue.reserve(QUEUE)).toEqual([])
      expect((await caller.stream.metadata(STREAM)).count).toBe(0)
      expect((await caller.schedule.list()).total).toBe(0)
      await caller.queue.enqueue(QUEUE, "message")
      const tx = await caller.kv.begin(KV, "write")
      await caller.kv.put(tx, KV, "key", "value")
      await caller.kv.commit(tx, KV)
      const session = await caller.stream.begin(STREAM)
      await caller.stream.append(session, 0, "event")
      await caller.stream.commit(session)
      await caller.schedule.create("schedule://realm/area/resource/op", "* * * * *", "single", "x")
      expect((await caller.stream.last(STREAM))?.body.toString()).toBe("event")
      tokens.push((await caller.lease.acquire("lease://realm/area/resource", 10)).token)
      await broker.kill()
    }
    expect(existsSync(place)).toBe(false)
    // L-7: there is no file to remember them by, and they rise all the same.
    expect(tokens[1]).toBeGreaterThan(tokens[0]!)
  })
})

/** Writes into a store that nobody has open. */
function write(place: string, work: (database: Database) => void): void {
  const database = Database.open(place)
  database.begin()
  work(database)
  database.commit(true)
  database.close()
}

/** A store with very many messages in ten queues, made without asking a broker for each. */
function largeStore(messages: number): string {
  const place = folder()
  write(place, database => {
    const store = new SqliteQueueStore(database)
    const queues = Array.from({ length: 10 }, (_, n) => {
      const id = store.create(1, routeOf(`${QUEUE}-${n}`, "queue"))
      store.setNextId(id, messages + 1)
      return id
    })
    const records = Buffer.from("0000000161", "hex")
    for (let n = 1; n <= messages; n++) {
      const dueMs = n % 3 === 0 ? 4_000_000_000_000 : null
      store.insert(queues[n % 10]!, { first: n, count: 1, dueMs, enqueuedAtMs: 1_000 }, records)
    }
  })
  return place
}

describe("a store that cannot be used", () => {
  test.each([
    ["is no database", (file: string) => writeFileSync(file, "a letter to a friend\n".repeat(1_000))],
    ["was cut off", (file: string) => truncateSync(file, 200 * 1024)],
    [
      "is overwritten in the middle",
      (file: string) => {
        const content = readFileSync(file)
        content.fill(0xa5, 4096 * 20)
        writeFileSync(file, content)
      },
    ],
  ])("the start is refused, with the folder's name, where the file %s", async (_what, damage) => {
    const place = largeStore(20_000)
    damage(join(place, DATABASE_FILE))
    const said = await refusedStart({ FITZ_STORAGE_PATH: place })
    expect(said).toContain("ended with 1 ")
    expect(said).toContain(`the store in ${place} cannot be`)
  })
})

describe("a large store", () => {
  let place = ""
  beforeAll(() => {
    place = largeStore(300_000)
    // Kept for all of these.
    folders.splice(folders.indexOf(place), 1)
  })
  afterAll(() => removeFolder(place))

  test("H-1, H-5: from the first moment probes answer while it is loaded, and programs are not let in", async () => {
    const broker = await start({ FITZ_STORAGE_PATH: place }, { ready: false })
    const ask = async (path: string): Promise<{ status: number; body: Record<string, unknown> }> => {
      const answer = await fetch(`http://127.0.0.1:${broker.port}${path}`)
      return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
    }
    const early = await Promise.all(["/readyz", "/healthz", "/startupz"].map(ask))
    expect(early.map(({ status }) => status)).toEqual([503, 200, 503])
    expect(early[0]!.body).toMatchObject({
      status: "not_ready",
      error: { code: "not_ready", detail: { replay_progress: expect.any(Number) } },
    })
    const outside = await openCaller("tcp", broker.port)
    await outside.closed
    const shares: number[] = []
    await until(
      "ready",
      () => ask("/readyz"),
      ({ status, body }) => {
        const { error } = body as { error?: { detail?: { replay_progress: number } } }
        if (error?.detail !== undefined) shares.push(error.detail.replay_progress)
        return status === 200
      },
    )
    expect(shares.toSorted((a, b) => a - b)).toEqual(shares)
    const caller = await openCaller("tcp", broker.port)
    const items = await caller.queue.reserve(`${QUEUE}-1`, { batch: 1_024 })
    expect(items).toHaveLength(1_024)
  })

  test("H-5: the progress of a load moves from 0 to 1", async () => {
    const shares: number[] = []
    const environment = {
      FITZ_AUTH_REQUIRED: "false",
      FITZ_STORAGE_PATH: place,
      FITZ_HTTP_PORT: "0",
      FITZ_DRAIN_GRACE_SECONDS: "0",
    }
    const broker = await Broker.start(
      {
        config: loadConfig({ environment, flags: {}, file: null }),
        world: realWorld(() => undefined),
        version: "test",
        developmentSecret: null,
        onFatal: reason => {
          throw new Error(reason)
        },
      },
      ({ status }) => {
        expect(status.ready).toBe(false)
        let share = status.loadProgress
        Object.defineProperty(status, "loadProgress", {
          get: () => share,
          set: (value: number) => {
            share = value
            shares.push(value)
          },
        })
      },
    )
    await broker.drain()
    expect(shares.length).toBeGreaterThan(5)
    expect(shares.toSorted((a, b) => a - b)).toEqual(shares)
    expect(shares[0]).toBeLessThan(0.5)
    expect(shares.at(-1)).toBe(1)
  })
})

/** Where in what came in the nth frame of a type stands. */
function placeOf(caller: Caller, type: number, nth: number): number {
  const places = [...caller.received.entries()].filter(([, frame]) => frame.type === type)
  return places[nth]?.[0] ?? Number.POSITIVE_INFINITY
}

describe("a read that walks far", () => {
  const EVENTS = 400
  const READS = 4

  test("O-6: writes are answered while a READ walks over a large stream that its filter hides", async () => {
    const broker = await start({ FITZ_STORAGE_PATH: folder() })
    const [caller, other] = [await openCaller("tcp", broker.port), await openCaller("tcp", broker.port)]
    const body = Buffer.alloc(60_000, 1)
    for (let from = 0; from < EVENTS; from += 100) {
      const session = await caller.stream.begin(STREAM)
      await Promise.all(
        Array.from({ length: 100 }, (_, n) =>
          caller.stream.append(session, from + n, body, { discriminator: "seen" }),
        ),
      )
      await caller.stream.commit(session, false)
    }
    const never = bytes("00f1", u32(1), u8(0), block("never"))
    const first = caller.received.length
    const reads = Array.from({ length: READS }, () =>
      caller.stream.read(STREAM, 0, 10_000, { filter: never }),
    )
    let walking = true
    const pages = Promise.all(reads).finally(() => {
      walking = false
    })
    // Sent behind the first of them on the same connection, so that it has begun.
    await caller.queue.enqueue(QUEUE, "same connection")
    expect(walking).toBe(true)
    let between = 0
    while (walking) {
      await other.queue.enqueue(QUEUE, "other connection")
      if (walking) between++
    }
    expect(between).toBeGreaterThan(0)
    for (const { items, more } of await pages) {
      expect(items).toHaveLength(EVENTS)
      expect(items.every(item => "hidden" in item)).toBe(true)
      expect(more).toBe(false)
    }
    expect(first).toBeLessThanOrEqual(placeOf(caller, 200, 0))
    expect(placeOf(caller, 200, 0)).toBeLessThan(placeOf(caller, 604, 0))
  })

  const KEYS = 100_000

  test("O-6: writes are answered while a SCAN walks over 100,000 keys that its transaction has deleted", async () => {
    const place = folder()
    write(place, database => {
      const store = new SqliteKvStore(database)
      const value = Buffer.from("a")
      const changed = Array.from({ length: KEYS }, (_, n) => ({ key: String(n + 1).padStart(6, "0"), value }))
      store.apply(store.create(1, routeOf(KV, "kv")), { deleted: [], changed }, null)
    })
    const broker = await start({ FITZ_STORAGE_PATH: place })
    const [caller, other] = [await openCaller("tcp", broker.port), await openCaller("tcp", broker.port)]
    const tx = await caller.kv.begin(KV, "write")
    await caller.kv.deleteRange(tx, KV, "000000", "099999")
    const scans = Array.from({ length: READS }, () => caller.kv.scan(tx, KV))
    let walking = true
    const pages = Promise.all(scans).finally(() => {
      walking = false
    })
    await caller.queue.enqueue(QUEUE, "same connection")
    expect(walking).toBe(true)
    let between = 0
    while (walking) {
      await other.queue.enqueue(QUEUE, "other connection")
      if (walking) between++
    }
    expect(between).toBeGreaterThan(0)
    for (const { pairs, more } of await pages) {
      expect(pairs.map(([key]) => key.toString())).toEqual(["099999", "100000"])
      expect(more).toBe(false)
    }
    expect(placeOf(caller, 200, 0)).toBeLessThan(placeOf(caller, 108, 0))
    await caller.kv.rollback(tx, KV)

    // Page by page, another connection's commits come in between, and the snapshot does not see them.
    const reading = await caller.kv.begin(KV, "read")
    let seen = 0
    let written = 0
    for (let start: string | undefined, more = true; more; ) {
      const page = await caller.kv.scan(reading, KV, start === undefined ? {} : { start })
      const writing = await other.kv.begin(KV, "write", false)
      await other.kv.put(writing, KV, `099${String(written++).padStart(3, "0")}`, "new")
      await other.kv.commit(writing, KV)
      for (const [, value] of page.pairs) if (value.toString() === "a") seen++
      more = page.more
      start = `${page.pairs.at(-1)![0]}\0`
    }
    expect(written).toBeGreaterThan(90)
    expect(seen).toBe(KEYS)
  })
})
