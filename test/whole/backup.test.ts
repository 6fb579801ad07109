// Copies of stores as people make and restore them, with the fitz command: of brokers that work, that stand still
// and that were killed. A copy is whole or it is not there, holds all that was acknowledged before it was begun,
// and what is no whole copy never becomes a store.

import { spawn } from "node:child_process"
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import BetterSqlite3 from "better-sqlite3"
import { afterEach, describe, expect, test } from "vitest"
import { Database, FolderLock } from "../../broker/storage/database.ts"
import { TestBroker } from "../kit/broker.ts"
import { openCaller } from "../kit/caller.ts"
import { DATABASE } from "../kit/crash.ts"
import { memoryFolder, mountTmpfs } from "../kit/disk.ts"
import { type Entry, Ledger } from "../kit/ledger.ts"
import { until } from "../kit/patience.ts"
import { type BrokerProcess, PROGRAM, removeFolder, runFitz, startProcess } from "../kit/process.ts"
import { seeded } from "../kit/random.ts"

const brokers: BrokerProcess[] = []
const folders: string[] = []
const endings: (() => void)[] = []
afterEach(async () => {
  await Promise.all(brokers.splice(0).map(broker => broker.kill()))
  for (const end of endings.splice(0)) end()
  for (const folder of folders.splice(0)) removeFolder(folder)
})

function folder(): string {
  const made = memoryFolder()
  folders.push(made)
  return made
}

async function start(place: string): Promise<BrokerProcess> {
  const broker = await startProcess({
    FITZ_AUTH_REQUIRED: "false",
    FITZ_STORAGE_PATH: place,
    FITZ_DRAIN_GRACE_SECONDS: "0",
  })
  brokers.push(broker)
  return broker
}

async function create(place: string, file: string): Promise<void> {
  const made = await runFitz(["backup", "create", file, "--data", place])
  expect(made).toEqual({ code: 0, out: `${file} is a whole copy of the store in ${place}\n`, err: "" })
}

async function restore(file: string, place: string): Promise<void> {
  const put = await runFitz(["backup", "restore", file, "--data", place])
  expect(put).toEqual({ code: 0, out: `${place} holds the store from ${file}\n`, err: "" })
}

/** What the command said that would not do it. */
async function refused(args: readonly string[]): Promise<string> {
  const ran = await runFitz(["backup", ...args])
  expect(ran).toMatchObject({ code: 1, out: "" })
  expect(ran.err).toMatch(/^fitz: /)
  return ran.err
}

const QUEUE = "queue://realm/area/resource"

/** A store with some content, and nobody at it. */
function stored(messages = 50, bytes = 1_000): string {
  const place = folder()
  const broker = new TestBroker({ folder: place })
  const caller = broker.enter()
  for (let n = 0; n < messages; n++) {
    // The replies are not waited for: the lane has them in one turn.
    void caller.queue.enqueue(QUEUE, `message ${n} ${"x".repeat(bytes)}`)
  }
  broker.settle()
  broker.close()
  return place
}

async function found(place: string): Promise<number> {
  const caller = await openCaller("tcp", (await start(place)).port)
  let count = 0
  for (;;) {
    const items = await caller.queue.reserve(QUEUE, { batch: 1_024 })
    if (items.length === 0) return count
    count += items.length
  }
}

describe("a copy", () => {
  test("of a broker under load holds some first part of its commits, and all that was acknowledged before", () =>
    seeded(async run => {
      const random = run.fork("backup")
      const place = folder()
      const broker = await start(place)
      const ledgers = [0, 1, 2].map(n => new Ledger(`realm-${n}`, random.fork(n)))
      const callers = await Promise.all(ledgers.map(() => openCaller("tcp", broker.port)))
      const working = ledgers.map((ledger, at) => ledger.run(callers[at]!))
      const acknowledged = (): number => ledgers.reduce((sum, ledger) => sum + ledger.acknowledged, 0)
      await until("a hundred commits", acknowledged, count => count >= 100)
      const types = [101, 200, 204, 602, 700, 701]
      const before = new Set<Entry>(
        ledgers.flatMap(ledger => types.flatMap(type => ledger.asked(type).filter(({ acked }) => acked))),
      )
      const [file, restored] = [join(folder(), "backups", "copy.db"), join(folder(), "store")]
      const atBegin = acknowledged()
      await create(place, file)
      // The load went on meanwhile, and was not held up.
      expect(acknowledged()).toBeGreaterThan(atBegin)
      for (const ledger of ledgers) ledger.stop()
      await Promise.all(working)
      await broker.kill()
      expect(readdirSync(join(file, ".."))).toEqual(["copy.db"])
      await restore(file, restored)
      const again = await start(restored)
      for (const ledger of ledgers) {
        const looking = await openCaller("tcp", again.port)
        await ledger.judge(looking, entry => before.has(entry))
        await looking.close()
      }
      // The same store, as far as it can tell.
      expect((await again.logged("ready"))["storageId"]).toBe((await broker.logged("ready"))["storageId"])
    }))

  test.each(["stopped", "killed"])("of a broker that was %s has everything", async how => {
    const place = folder()
    const broker = await start(place)
    const caller = await openCaller("tcp", broker.port)
    for (let n = 0; n < 30; n++) await caller.queue.enqueue(QUEUE, `message ${n}`)
    await broker.kill(how === "killed" ? "SIGKILL" : "SIGTERM")
    const [file, restored] = [join(folder(), "copy.db"), folder()]
    await create(place, file)
    await restore(file, restored)
    expect(await found(restored)).toBe(30)
    // What it was made of is what it was.
    expect(await found(place)).toBe(30)
  })

  test("is one file that says of itself that it is whole", async () => {
    const [place, file] = [stored(), join(folder(), "copy.db")]
    await create(place, file)
    const connection = new BetterSqlite3(file, { readonly: true })
    endings.push(() => connection.close())
    expect(connection.pragma("integrity_check", { simple: true })).toBe("ok")
    expect(connection.pragma("journal_mode", { simple: true })).toBe("delete")
    expect(readdirSync(join(file, ".."))).toEqual(["copy.db"])
  })

  test("is restored from where nothing can be written, and stays as it is", async () => {
    const [place, shelf, restored] = [stored(), folder(), folder()]
    const file = join(shelf, "copy.db")
    await create(place, file)
    const before = readFileSync(file)
    chmodSync(file, 0o400)
    chmodSync(shelf, 0o500)
    endings.push(() => chmodSync(shelf, 0o700))
    await restore(file, restored)
    expect(statSync(join(restored, DATABASE)).mode & 0o777).toBe(0o600)
    expect(await found(restored)).toBe(50)
    expect(readFileSync(file).equals(before)).toBe(true)
    expect(readdirSync(shelf)).toEqual(["copy.db"])
  })

  test("is not made over a file that is there, nor of a folder that has no store", async () => {
    const [place, shelf] = [stored(), folder()]
    const file = join(shelf, "copy.db")
    writeFileSync(file, "precious")
    expect(await refused(["create", file, "--data", place])).toBe(`fitz: ${file} exists already\n`)
    expect(readFileSync(file, "utf8")).toBe("precious")
    const empty = folder()
    expect(await refused(["create", join(shelf, "other.db"), "--data", empty])).toBe(
      `fitz: there is no store in ${empty}\n`,
    )
    expect(readdirSync(shelf)).toEqual(["copy.db"])
    expect(readdirSync(empty)).toEqual([])
  })

  test("that finds no room leaves nothing", async ctx => {
    const disk = mountTmpfs("1m")
    if (typeof disk === "string") return ctx.skip(disk)
    endings.push(() => disk.unmount())
    const place = stored(200, 10_000)
    const file = join(disk.folder, "copy.db")
    expect(await refused(["create", file, "--data", place])).toMatch(/cannot be copied: .*full/)
    expect(readdirSync(disk.folder)).toEqual([])
  })

  test("that is broken off never has its name, and the next one is made", async () => {
    const [place, shelf] = [stored(800, 60_000), folder()]
    const file = join(shelf, "copy.db")
    const child = spawn(process.execPath, [PROGRAM, "backup", "create", file, "--data", place], {
      stdio: "ignore",
    })
    const ended = new Promise<string | number | null>(resolve => {
      child.once("exit", (code, signal) => resolve(code ?? signal))
    })
    await until("a copy under way", () => existsSync(`${file}.partial`))
    child.kill("SIGKILL")
    expect(await ended).toBe("SIGKILL")
    expect(existsSync(file)).toBe(false)
    await create(place, file)
    expect(readdirSync(shelf)).toEqual(["copy.db"])
    expect(statSync(file).size).toBeGreaterThan(800 * 60_000)
  })
})

describe("a folder", () => {
  test("that has anything in it is refused, and stays as it is", async () => {
    const [place, file] = [stored(), join(folder(), "copy.db")]
    await create(place, file)
    const before = readFileSync(join(place, DATABASE))
    await start(place)
    expect(await refused(["restore", file, "--data", place])).toMatch(
      new RegExp(`^fitz: ${place} is not empty: it has ${DATABASE}`),
    )
    expect(readFileSync(join(place, DATABASE)).equals(before)).toBe(true)
    const other = folder()
    writeFileSync(join(other, "letter"), "")
    expect(await refused(["restore", file, "--data", other])).toContain("is not empty: it has letter")
    expect(readdirSync(other)).toEqual(["letter"])
  })

  test("in which a store is about to begin is refused", async () => {
    const [place, file] = [stored(), join(folder(), "copy.db")]
    await create(place, file)
    const taken = folder()
    const lock = FolderLock.take(taken)
    endings.push(() => lock.release())
    expect(await refused(["restore", file, "--data", taken])).toBe(
      `fitz: another process is using the store in ${taken}\n`,
    )
    expect(readdirSync(taken)).toEqual(["fitz.lock"])
  })

  test("of a fresh volume counts as empty, and one that does not exist is made", async () => {
    const [place, file] = [stored(), join(folder(), "copy.db")]
    await create(place, file)
    const volume = folder()
    mkdirSync(join(volume, "lost+found"))
    await restore(file, volume)
    expect(await found(volume)).toBe(50)
    const absent = join(folder(), "a", "b")
    await restore(file, absent)
    expect(readdirSync(absent).sort()).toEqual([DATABASE, "fitz.lock"])
  })
})

describe("what is no whole copy", () => {
  test("is refused by its name, and nothing becomes of it", async () => {
    const [place, shelf] = [stored(400, 2_000), folder()]
    const file = join(shelf, "copy.db")
    await create(place, file)
    const whole = readFileSync(file)
    const empty = folder()
    const refusal = async (content: Uint8Array): Promise<string> => {
      writeFileSync(file, content)
      const said = await refused(["restore", file, "--data", empty])
      expect(readdirSync(empty).filter(name => name !== "fitz.lock")).toEqual([])
      expect(readFileSync(file).equals(content)).toBe(true)
      expect(readdirSync(shelf)).toEqual(["copy.db"])
      return said
    }
    expect(await refusal(Buffer.from("a letter to a friend\n".repeat(1_000)))).toMatch(
      `fitz: ${file} is no store`,
    )
    expect(await refusal(whole.subarray(0, whole.length - 100_000))).toMatch(`fitz: ${file} is damaged`)
    const overwritten = Buffer.from(whole)
    overwritten.fill(0xa5, 4_096 * 20, 4_096 * 30)
    expect(await refusal(overwritten)).toMatch(`fitz: ${file} is damaged`)
    const newer = Buffer.from(whole)
    newer.writeUInt32BE(9_999, 60)
    expect(await refusal(newer)).toMatch(`fitz: ${file} has format 9999`)
    expect(await refused(["restore", join(shelf, "nothing"), "--data", empty])).toMatch(
      `fitz: there is no file ${join(shelf, "nothing")}`,
    )
    // The folder is as good as before.
    writeFileSync(file, whole)
    await restore(file, empty)
    const database = Database.open(empty)
    endings.push(() => database.close())
  })

  test("of a store that is damaged no copy is made", async () => {
    const place = stored(400, 2_000)
    const content = readFileSync(join(place, DATABASE))
    content.fill(0xa5, 4_096 * 20, 4_096 * 30)
    writeFileSync(join(place, DATABASE), content)
    const shelf = folder()
    expect(await refused(["create", join(shelf, "copy.db"), "--data", place])).toMatch(/damaged/)
    expect(readdirSync(shelf)).toEqual([])
  })
})
