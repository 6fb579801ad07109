// Power cuts: what a broker's files are after one, at every kind of moment, as the kernel saw them written and
// synced. A store always opens, whole, and holds some first part of all commits, with everything in it that was
// acknowledged as being on disk. And no acknowledgement goes out before its sync.

import { afterEach, beforeAll, describe, expect, test } from "vitest"
import { TestBroker } from "../kit/broker.ts"
import { type Caller, openCaller } from "../kit/caller.ts"
import { copyFiles, DATABASE, framesEnd, LOG } from "../kit/crash.ts"
import { memoryFolder } from "../kit/disk.ts"
import { Ledger, type Verdict } from "../kit/ledger.ts"
import { type BrokerProcess, removeFolder, startProcess } from "../kit/process.ts"
import { type Random, seeded } from "../kit/random.ts"
import { type Change, Recorder, type Tape, whyNoTape } from "../kit/tape.ts"

let noTape: string | null = null
beforeAll(() => {
  noTape = whyNoTape()
})

const brokers: BrokerProcess[] = []
const folders: string[] = []
afterEach(async () => {
  await Promise.all(brokers.splice(0).map(broker => broker.kill()))
  for (const folder of folders.splice(0)) removeFolder(folder)
})

async function start(
  environment: Readonly<Record<string, string>> = {},
): Promise<{ broker: BrokerProcess; folder: string }> {
  const folder = memoryFolder()
  folders.push(folder)
  const broker = await startProcess({
    FITZ_AUTH_REQUIRED: "false",
    FITZ_STORAGE_PATH: folder,
    ...environment,
  })
  brokers.push(broker)
  return { broker, folder }
}

/** Opens files as a broker would that starts over them, and has the ledger judge what it finds. */
async function judged(
  folder: string,
  ledger: Ledger,
  kept: Parameters<Ledger["judge"]>[1],
): Promise<Verdict> {
  const broker = new TestBroker({ folder })
  try {
    expect(broker.database.prepare("PRAGMA integrity_check").pluck().get()).toBe("ok")
    return await ledger.judge(broker.enter(), kept)
  } finally {
    broker.close()
    removeFolder(folder)
  }
}

/** Works until so many commits were acknowledged. */
async function work(caller: Caller, ledger: Ledger, acknowledged: number): Promise<void> {
  ledger.onAck = () => {
    if (ledger.acknowledged >= acknowledged) ledger.stop()
  }
  await ledger.run(caller)
}

/** Which commits the program had been told of at a moment, by the replies that had been sent then. */
function toldAt(tape: Tape, moment: number, ledger: Ledger): Set<unknown> {
  const told = new Set<unknown>()
  const seen = new Map<number, number>()
  for (const { type } of tape.framesAt(moment)) {
    const nth = seen.get(type) ?? 0
    seen.set(type, nth + 1)
    const entry = ledger.asked(type)[nth]
    if (entry !== undefined) told.add(entry)
  }
  return told
}

/** Moments of all kinds, and most of all those at which it is about something. */
function momentsOf(tape: Tape, random: Random, count: number): number[] {
  const moments = [tape.length, 1]
  const sends = tape.events.filter(event => event.kind === "send")
  const syncs = tape.events.filter(event => event.kind === "sync")
  while (moments.length < count) {
    const kind = random.int(4)
    if (kind === 0) moments.push(random.pick(sends).at + 1)
    else if (kind === 1) moments.push(random.pick(syncs).at)
    else if (kind === 2) moments.push(random.pick(syncs).until + 1)
    else moments.push(random.int(tape.length))
  }
  return moments.filter(moment => Number.isFinite(moment)).sort((a, b) => a - b)
}

/** The log's head was written: it begins anew. */
function startsOver(change: Change): boolean {
  return "data" in change && change.offset === 0
}

describe("a power cut", () => {
  test("D-3, O-7, Q-20, ST-26, SC-15: at any moment, whatever was acknowledged as on disk is there", ctx => {
    if (noTape !== null) return ctx.skip(noTape)
    return seeded(async run => {
      const random = run.fork("power cut")
      const { broker, folder } = await start()
      const base = copyFiles(folder)
      folders.push(base)
      const recorder = await Recorder.attach(broker.pid)
      const ledger = new Ledger("realm", random.fork("load"), { syncShare: 0.6 })
      await work(await openCaller("tcp", broker.port), ledger, 250)
      await broker.kill()
      const tape = await recorder.whole()
      let promised = 0
      for (const moment of momentsOf(tape, random, 14)) {
        const told = toldAt(tape, moment, ledger)
        promised = Math.max(promised, told.size)
        for (const chance of [null, random.fork(moment)]) {
          const image = tape.cutAt(moment, base, chance)
          await judged(image, ledger, entry => entry.sync && told.has(entry))
        }
      }
      expect(promised).toBeGreaterThanOrEqual(240)
    })
  })

  test("D-3: also while the log is copied into the database and starts over", ctx => {
    if (noTape !== null) return ctx.skip(noTape)
    return seeded(async run => {
      const random = run.fork("power cut, copying")
      const { broker, folder } = await start()
      const base = copyFiles(folder)
      folders.push(base)
      const recorder = await Recorder.attach(broker.pid)
      const ledger = new Ledger("realm", random.fork("load"), { paddingBytes: 50_000, syncShare: 0.9 })
      const caller = await openCaller("tcp", broker.port)
      let commits = 0
      // Until the log has been copied and written over from its beginning again.
      for (let started = 0; started === 0; ) {
        commits += commits === 0 ? 600 : 100
        await work(caller, ledger, commits)
        started = recorder.read().changesOf(LOG).filter(startsOver).length
      }
      await work(caller, ledger, commits + 50)
      await broker.kill()
      const tape = await recorder.whole()
      const copies = tape.changesOf(DATABASE)
      expect(copies.length).toBeGreaterThan(100)
      const moments = momentsOf(tape, random, 5)
      // In the middle of a copy, and right when the log starts over.
      for (let n = 0; n < 5; n++) moments.push(random.pick(copies).at + 1)
      for (const { at } of tape.changesOf(LOG).filter(startsOver)) moments.push(at, at + 1, at + 2)
      for (const moment of moments) {
        const told = toldAt(tape, moment, ledger)
        const image = tape.cutAt(moment, base, random.fork(moment))
        await judged(image, ledger, entry => entry.sync && told.has(entry))
      }
    })
  })
})

describe("a sync that fails", () => {
  test("D-12: the process ends with 1, and touches its files no more", async ctx => {
    if (noTape !== null) return ctx.skip(noTape)
    const { broker, folder } = await start()
    const caller = await openCaller("tcp", broker.port)
    for (let n = 0; n < 20; n++) await caller.queue.enqueue("queue://realm/area/resource", `kept ${n}`)
    // The first one fails; those after it would succeed, as the system's do, whatever became of the bytes.
    const recorder = await Recorder.attach(broker.pid, "fsync,fdatasync:error=EIO:when=1")
    await expect(caller.queue.enqueue("queue://realm/area/resource", "lost")).rejects.toThrow(
      "the connection is closed",
    )
    expect(await broker.exited).toBe(1)
    expect(String((await broker.logged("the broker cannot go on"))["reason"])).toContain("disk I/O error")
    const tape = await recorder.whole()
    expect(tape.changesOf(DATABASE)).toEqual([])
    expect(tape.events.filter(event => event.kind === "sync")).toEqual([])
    expect(framesEnd(folder).bytes).toBeGreaterThan(0)
    const again = await startProcess({ FITZ_AUTH_REQUIRED: "false", FITZ_STORAGE_PATH: folder })
    brokers.push(again)
    const items = await (await openCaller("tcp", again.port)).queue.reserve("queue://realm/area/resource", {
      batch: 100,
    })
    expect(items.slice(0, 20).map(({ body }) => body.toString())).toEqual(
      Array.from({ length: 20 }, (_, n) => `kept ${n}`),
    )
  })
})

describe("the order of syncs and replies", () => {
  test("O-7: where one request follows the other, nothing in the log is unsynced when a reply goes out", async ctx => {
    if (noTape !== null) return ctx.skip(noTape)
    const { broker } = await start()
    const recorder = await Recorder.attach(broker.pid)
    const caller = await openCaller("tcp", broker.port)
    for (let n = 0; n < 10; n++) {
      await caller.queue.enqueue("queue://realm/area/resource", `message ${n}`)
      const [item] = await caller.queue.reserve("queue://realm/area/resource")
      await caller.queue.complete("queue://realm/area/resource", item!.id, item!.token)
      await caller.schedule.create("schedule://realm/area/resource/op", "* * * * *", "single", String(n))
      const tx = await caller.kv.begin("kv://realm/area/resource", "write", true)
      await caller.kv.put(tx, "kv://realm/area/resource", "key", String(n))
      await caller.kv.commit(tx, "kv://realm/area/resource")
      const session = await caller.stream.begin("stream://realm/area/resource")
      await caller.stream.append(session, n, "event")
      await caller.stream.commit(session, true)
    }
    await broker.kill()
    const tape = await recorder.whole()
    const replies = tape.events.filter(event => event.kind === "send")
    expect(replies.length).toBeGreaterThanOrEqual(90)
    for (const { at } of replies) expect(tape.unsyncedAt(at, LOG), `at line ${at} of the tape`).toEqual([])
    const syncs = tape.events.filter(event => event.kind === "sync")
    expect(syncs.length).toBeGreaterThanOrEqual(50)
  })

  test("Q-20: what arrives while one commit is being written shares the next", async ctx => {
    if (noTape !== null) return ctx.skip(noTape)
    const { broker } = await start()
    const recorder = await Recorder.attach(broker.pid)
    const caller = await openCaller("tcp", broker.port)
    const route = "queue://realm/area/resource"
    const ids = await Promise.all(Array.from({ length: 400 }, (_, n) => caller.queue.enqueue(route, `${n}`)))
    expect(ids).toEqual(ids.map((_, n) => n + 1))
    await broker.kill()
    const tape = await recorder.whole()
    const syncs = tape.events.filter(event => event.kind === "sync" && event.file === LOG)
    expect(syncs.length).toBeGreaterThan(0)
    expect(syncs.length).toBeLessThan(100)
    const last = tape.events.findLast(event => event.kind === "send")!
    expect(tape.unsyncedAt(last.at, LOG)).toEqual([])
  })

  test("Q-20: with the fast policy replies come before the sync, and the sync comes by itself", async ctx => {
    if (noTape !== null) return ctx.skip(noTape)
    const { broker } = await start({ FITZ_QUEUE_WRITE_POLICY: "fast" })
    const recorder = await Recorder.attach(broker.pid)
    const caller = await openCaller("tcp", broker.port)
    for (let n = 0; n < 100; n++) await caller.queue.enqueue("queue://realm/area/resource", `message ${n}`)
    // Nothing more is asked of the broker, and it syncs what is left.
    const tape = await recorder.saw("a last sync", tape => tape.unsyncedAt(tape.length, LOG).length === 0)
    const replies = tape.events.filter(event => event.kind === "send")
    expect(replies.length).toBeGreaterThanOrEqual(100)
    const early = replies.filter(({ at }) => tape.unsyncedAt(at, LOG).length > 0)
    expect(early.length).toBeGreaterThan(50)
    const syncs = tape.events.filter(event => event.kind === "sync" && event.file === LOG)
    expect(syncs.length).toBeGreaterThan(0)
    expect(syncs.length).toBeLessThan(replies.length / 2)
    // What needs the disk takes along what did not.
    await caller.queue.enqueue("queue://realm/area/resource", "unsynced")
    await caller.schedule.create("schedule://realm/area/resource/op", "* * * * *", "single", "x")
    await broker.kill()
    const whole = await recorder.whole()
    const last = whole.events.findLast(event => event.kind === "send")!
    expect(whole.unsyncedAt(last.at, LOG)).toEqual([])
  })

  test("D-3, Q-20: a power cut under the fast policy takes a tail and nothing else", ctx => {
    if (noTape !== null) return ctx.skip(noTape)
    return seeded(async run => {
      const random = run.fork("power cut, fast")
      const { broker, folder } = await start({ FITZ_QUEUE_WRITE_POLICY: "fast" })
      const base = copyFiles(folder)
      folders.push(base)
      const recorder = await Recorder.attach(broker.pid)
      const ledger = new Ledger("realm", random.fork("load"), { syncShare: 0.2 })
      await work(await openCaller("tcp", broker.port), ledger, 200)
      await broker.kill()
      const tape = await recorder.whole()
      for (const moment of momentsOf(tape, random, 10)) {
        const told = toldAt(tape, moment, ledger)
        const queue = new Set<unknown>([...ledger.asked(200), ...ledger.asked(204)])
        const image = tape.cutAt(moment, base, random.fork(moment))
        await judged(image, ledger, entry => entry.sync && told.has(entry) && !queue.has(entry))
      }
    })
  })
})
