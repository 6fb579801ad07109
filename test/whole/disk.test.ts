// Disks that fill up and disks that fail, real ones: small file systems mounted for the test. A full disk refuses
// what needs storing and nothing else, and heals by itself; a disk that fails for good ends the process, and what
// was acknowledged before is there on the next start.

import { existsSync, rmSync, statfsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterEach, describe, expect, test } from "vitest"
import { Broker } from "../../broker/broker.ts"
import { loadConfig } from "../../broker/config.ts"
import { realWorld } from "../../broker/world.ts"
import { type Caller, openCaller, Refused } from "../kit/caller.ts"
import { type Disk, mountFailing, mountTmpfs } from "../kit/disk.ts"
import { until } from "../kit/patience.ts"
import { type BrokerProcess, startProcess } from "../kit/process.ts"
import { correlation } from "../kit/ways.ts"

const brokers: BrokerProcess[] = []
const disks: Disk[] = []
afterEach(async () => {
  await Promise.all(brokers.splice(0).map(broker => broker.kill()))
  for (const disk of disks.splice(0)) disk.unmount()
})

/** The disk, to be unmounted after the test; a reason is handed through. */
function used<D extends Disk>(disk: D | string): D | string {
  if (typeof disk !== "string") disks.push(disk)
  return disk
}

async function start(folder: string): Promise<BrokerProcess> {
  const broker = await startProcess({ FITZ_AUTH_REQUIRED: "false", FITZ_STORAGE_PATH: folder })
  brokers.push(broker)
  return broker
}

const KV = "kv://realm/area/resource"
const QUEUE = "queue://realm/area/resource"
const STREAM = "stream://realm/area/resource"
const SCHEDULE = "schedule://realm/area/resource/op"

async function putPair(caller: Caller, key: string, value: string): Promise<void> {
  const tx = await caller.kv.begin(KV, "write")
  await caller.kv.put(tx, KV, key, value)
  await caller.kv.commit(tx, KV)
}

async function append(caller: Caller, body: string | Buffer): Promise<void> {
  const { count } = await caller.stream.metadata(STREAM)
  const session = await caller.stream.begin(STREAM)
  await caller.stream.append(session, count, body)
  await caller.stream.commit(session)
}

/** What the request was refused with. */
async function refusal(asked: Promise<unknown>): Promise<Refused> {
  const outcome = await asked.then(
    () => null,
    (error: unknown) => error,
  )
  if (outcome instanceof Refused) return outcome
  throw new Error(`not refused: ${String(outcome)}`)
}

interface Probe {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

async function probe(broker: { readonly port: number }, path: string): Promise<Probe> {
  const answer = await fetch(`http://127.0.0.1:${broker.port}${path}`)
  return { status: answer.status, body: (await answer.json()) as Probe["body"] }
}

/** Enqueues until the disk is full, and returns what was acknowledged. */
async function fill(caller: Caller): Promise<string[]> {
  const kept: string[] = []
  for (let n = 0; ; n += 8) {
    const bodies = Array.from({ length: 8 }, (_, at) => `${n + at} ${"x".repeat(20_000)}`)
    const outcomes = await Promise.allSettled(bodies.map(body => caller.queue.enqueue(QUEUE, body)))
    for (const [at, outcome] of outcomes.entries()) {
      if (outcome.status === "fulfilled") kept.push(bodies[at]!)
      else if (!(outcome.reason instanceof Refused)) throw outcome.reason
    }
    if (outcomes.some(({ status }) => status === "rejected")) return kept
  }
}

/** Takes the disk's last bytes. */
function fillUp(disk: Disk): string {
  const file = join(disk.folder, "filler")
  const { bavail, bsize } = statfsSync(disk.folder)
  writeFileSync(file, Buffer.alloc(bavail * bsize))
  expect(statfsSync(disk.folder).bavail).toBe(0)
  return file
}

async function drained(caller: Caller): Promise<string[]> {
  const found: string[] = []
  for (;;) {
    const items = await caller.queue.reserve(QUEUE, { batch: 1_024, lease: 3_600 })
    if (items.length === 0) return found
    found.push(...items.map(({ body }) => body.toString()))
  }
}

describe("a disk that fills up", () => {
  test("E-7, Q-3, H-5: durable writes are refused by name, all else goes on, and it heals by itself", async ctx => {
    const disk = used(mountTmpfs("24m"))
    if (typeof disk === "string") return ctx.skip(disk)
    const folder = join(disk.folder, "store")
    const broker = await start(folder)
    const [caller, other] = [await openCaller("tcp", broker.port), await openCaller("ws", broker.port)]
    await putPair(caller, "before", "stored")
    await append(caller, "before")
    await caller.schedule.create(SCHEDULE, "* * * * *", "single", "before")
    const kept = await fill(caller)
    expect(kept.length).toBeGreaterThan(100)
    await broker.logged("the disk is full: writes are refused until there is room")

    // Each domain says so in its own way, and what it refused has not happened.
    const full = await refusal(caller.queue.enqueue(QUEUE, "refused"))
    expect(full.code).toBe(4007)
    expect(full.message).toMatch(/failed to commit transaction:.*refusing writes/)
    expect((await refusal(caller.queue.enqueue(QUEUE, "refused", 60))).code).toBe(4007)
    const tx = await caller.kv.begin(KV, "write")
    await caller.kv.put(tx, KV, "refused", "value")
    expect((await refusal(caller.kv.commit(tx, KV))).message).toMatch(/storage/)
    const session = await caller.stream.begin(STREAM)
    await caller.stream.append(session, 1, "refused")
    expect((await refusal(caller.stream.commit(session))).code).toBe(2012)
    expect(
      (await refusal(caller.schedule.create(`${SCHEDULE}-2`, "* * * * *", "single", "x"))).message,
    ).toMatch(/storage/)
    expect((await refusal(caller.schedule.cancel(SCHEDULE))).message).toMatch(/storage/)
    const [item] = await caller.queue.reserve(QUEUE)
    expect((await refusal(caller.queue.complete(QUEUE, item!.id, item!.token))).message).toMatch(/storage/)

    // KV-13, ST-21: what failed has ended, and what it held is free.
    await caller.kv.rollback(await caller.kv.begin(KV, "write"), KV)
    await caller.stream.rollback(await caller.stream.begin(STREAM))

    // Reads go on.
    const reading = await caller.kv.begin(KV, "read")
    expect((await caller.kv.scan(reading, KV)).pairs.map(([key]) => key.toString())).toEqual(["before"])
    expect((await caller.kv.get(reading, KV, "before"))?.toString()).toBe("stored")
    expect((await caller.stream.read("stream://**", 0, 10)).items).toHaveLength(1)
    expect((await caller.stream.last(STREAM))?.body.toString()).toBe("before")
    expect((await caller.schedule.list()).total).toBe(1)
    expect((await caller.queue.reserve(QUEUE, { batch: 2 })).length).toBe(2)

    // The other lane knows nothing of it, and programs still come in.
    await other.notice.subscribe("notice://realm/area/resource")
    caller.notice.publish("notice://realm/area/resource", "news")
    expect((await other.notice.next()).body.toString()).toBe("news")
    await other.rpc.register("rpc://realm/area/service/call")
    caller.rpc.call(correlation(), "rpc://realm/area/service/call", "question")
    const call = await other.rpc.take()
    other.rpc.reply(call.correlation, 0, true, "answer")
    expect((await caller.rpc.answer()).body.toString()).toBe("answer")
    expect((await caller.lease.acquire("lease://realm/area/resource", 10)).kind).toBe(0)
    const late = await openCaller("tcp", broker.port)
    expect((await late.stream.last(STREAM))?.body.toString()).toBe("before")

    const ready = await probe(broker, "/readyz")
    expect(ready.status).toBe(503)
    expect(ready.body).toMatchObject({
      status: "not_ready",
      checks: { storage: "not_ready", domains_initialized: "ok" },
    })
    expect((await probe(broker, "/healthz")).status).toBe(200)
    expect((await probe(broker, "/startupz")).status).toBe(200)
    expect((await probe(broker, "/health")).status).toBe(503)

    // Room, and nobody restarts anything.
    disk.resize("96m")
    await until(
      "ready again",
      () => probe(broker, "/readyz"),
      ({ status }) => status === 200,
    )
    await broker.logged("the store takes writes again")
    await caller.queue.complete(QUEUE, item!.id, item!.token)
    await putPair(caller, "after", "stored")
    await append(caller, "after")
    await caller.schedule.create(`${SCHEDULE}-2`, "* * * * *", "single", "x")
    expect(await caller.queue.enqueue(QUEUE, "after")).toBeGreaterThan(kept.length)
    expect(caller.open).toBe(true)
    expect(broker.child.exitCode).toBeNull()

    // Nothing that was acknowledged is lost, and nothing that was refused is there.
    await broker.kill()
    const again = await start(folder)
    const looking = await openCaller("tcp", again.port)
    expect(await drained(looking)).toEqual([...kept.slice(1), "after"])
    const tx2 = await looking.kv.begin(KV, "read")
    expect((await looking.kv.scan(tx2, KV)).pairs.map(([key]) => key.toString())).toEqual(["after", "before"])
    const { items } = await looking.stream.read(STREAM, 0, 10)
    expect(items.map(item => ("event" in item ? item.event.body.toString() : null))).toEqual([
      "before",
      "after",
    ])
    expect((await looking.schedule.list()).total).toBe(2)
  })

  test("E-7, KV-4: a snapshot that was open when the disk filled up is read on", async ctx => {
    const disk = used(mountTmpfs("56m"))
    if (typeof disk === "string") return ctx.skip(disk)
    const broker = await start(join(disk.folder, "store"))
    const caller = await openCaller("tcp", broker.port)
    // More than the temporary tables keep in memory, so that some of them are on the same disk.
    const KEYS = 400
    const value = (generation: number): string => `${generation} ${"v".repeat(24_000)}`
    const write = async (generation: number): Promise<void> => {
      for (let n = 0; n < KEYS; n += 40) {
        const tx = await caller.kv.begin(KV, "write")
        await Promise.all(
          Array.from({ length: 40 }, (_, at) => caller.kv.put(tx, KV, `key ${n + at}`, value(generation))),
        )
        await caller.kv.commit(tx, KV)
      }
    }
    await write(0)
    const snapshot = await caller.kv.begin(KV, "read")
    await write(1)
    fillUp(disk)
    await fill(caller)
    await broker.logged("the disk is full: writes are refused until there is room")
    for (let n = 0; n < KEYS; n++) {
      const found = await caller.kv.get(snapshot, KV, `key ${n}`)
      expect(found?.toString() === value(0), `key ${n}`).toBe(true)
    }
    let seen = 0
    for (let more = true, start = ""; more; ) {
      const page = await caller.kv.scan(snapshot, KV, { start })
      for (const [, found] of page.pairs) if (found.toString() === value(0)) seen++
      more = page.more
      start = `${page.pairs.at(-1)![0]}\0`
    }
    expect(seen).toBe(KEYS)
    expect(broker.child.exitCode).toBeNull()
    disk.resize("128m")
    await until(
      "ready again",
      () => probe(broker, "/readyz"),
      ({ status }) => status === 200,
    )
    await putPair(caller, "after", "stored")
  })

  test("E-7: a broker that starts on a full disk lets programs read, and heals", async ctx => {
    const disk = used(mountTmpfs("24m"))
    if (typeof disk === "string") return ctx.skip(disk)
    const folder = join(disk.folder, "store")
    const first = await start(folder)
    const caller = await openCaller("tcp", first.port)
    await append(caller, "before")
    const kept = await fill(caller)
    await first.kill()
    const filler = fillUp(disk)
    const broker = await start(folder)
    const looking = await openCaller("tcp", broker.port)
    expect((await looking.stream.last(STREAM))?.body.toString()).toBe("before")
    let refused: Refused | null = null
    // What the log still has room for is taken.
    for (let n = 0; refused === null; n++) {
      refused = await looking.queue.enqueue(QUEUE, `later ${n} ${"x".repeat(20_000)}`).then(
        () => {
          kept.push(`later ${n} ${"x".repeat(20_000)}`)
          return null
        },
        (error: Refused) => error,
      )
    }
    expect(refused.code).toBe(4007)
    // No room for fencing tokens either, which is no bug.
    const leased = await looking.lease
      .acquire("lease://realm/area/early", 10)
      .catch((error: Refused) => error)
    if (leased instanceof Refused) expect(leased.message).toBe("5008 no fencing tokens: the disk is full")
    expect(broker.records.filter(({ msg }) => msg === "a request threw")).toEqual([])
    expect((await probe(broker, "/readyz")).status).toBe(503)
    rmSync(filler)
    disk.resize("96m")
    await until(
      "ready again",
      () => probe(broker, "/readyz"),
      ({ status }) => status === 200,
    )
    await append(looking, "after")
    expect((await looking.lease.acquire("lease://realm/area/resource", 10)).token).toBeGreaterThan(0)
    expect(await drained(looking)).toEqual(kept)
  })
})

describe("a disk that fails for good", () => {
  test("D-12: the process ends with 1, and what was acknowledged is there when the disk is back", async ctx => {
    const disk = used(mountFailing())
    if (typeof disk === "string") return ctx.skip(disk)
    const folder = join(disk.folder, "store")
    const broker = await start(folder)
    const caller = await openCaller("tcp", broker.port)
    const kept: string[] = []
    for (let n = 0; n < 50; n++) {
      await caller.queue.enqueue(QUEUE, `message ${n}`)
      kept.push(`message ${n}`)
    }
    disk.fail()
    // Not acknowledged, and not refused either: nobody knows.
    await expect(caller.queue.enqueue(QUEUE, "lost")).rejects.toThrow("the connection is closed")
    expect(await broker.exited).toBe(1)
    const record = await broker.logged("the broker cannot go on")
    expect(record["level"]).toBe("error")
    expect(String(record["reason"])).toMatch(/SqliteError|EIO|EROFS/)
    expect(JSON.stringify(broker.records)).not.toContain("lost")
    disk.replace()
    const again = await start(folder)
    const found = await drained(await openCaller("tcp", again.port))
    expect(found.slice(0, 50)).toEqual(kept)
    expect(found.slice(50).every(body => body === "lost")).toBe(true)
  })

  test("D-12, H-3: readiness goes first, then the process", async ctx => {
    const disk = used(mountFailing())
    if (typeof disk === "string") return ctx.skip(disk)
    const folder = join(disk.folder, "store")
    const environment = { FITZ_AUTH_REQUIRED: "false", FITZ_STORAGE_PATH: folder, FITZ_HTTP_PORT: "0" }
    const seen: unknown[] = []
    let broker: Broker | null = null
    const ended = new Promise<void>(resolve => {
      void Broker.start({
        config: loadConfig({ environment, flags: {}, file: null }),
        world: realWorld(() => undefined),
        version: "test",
        developmentSecret: null,
        onFatal: () => {
          const { ready, open, sickness } = broker!.status
          seen.push({ ready, open, sickness })
          resolve()
        },
      })
        .then(started => {
          broker = started
          expect(started.status.ready).toBe(true)
          return openCaller("tcp", started.address.port)
        })
        .then(async caller => {
          await caller.queue.enqueue(QUEUE, "stored")
          disk.fail()
          caller.send(
            200,
            Buffer.concat([
              Buffer.from([0, 0, 0, QUEUE.length]),
              Buffer.from(QUEUE),
              Buffer.from([0, 0, 0, 1, 65, 0]),
            ]),
          )
        })
    })
    await ended
    expect(seen).toEqual([{ ready: false, open: false, sickness: "the durable lane has failed" }])
    expect(existsSync(folder)).toBe(true)
  })
})
