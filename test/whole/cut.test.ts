// Logs that end where nobody ended them: cut off anywhere, or with a bit that rotted. The store opens, whole, and
// holds some first part of its commits; what a power cut takes and what it must leave is in power.test.ts.

import { open } from "node:fs/promises"
import { afterEach, describe, expect, test } from "vitest"
import { TestBroker } from "../kit/broker.ts"
import { type Caller, openCaller } from "../kit/caller.ts"
import { copyFiles, cutLog, framesEnd, LOG } from "../kit/crash.ts"
import { memoryFolder } from "../kit/disk.ts"
import { Ledger, type Verdict } from "../kit/ledger.ts"
import { type BrokerProcess, removeFolder, startProcess } from "../kit/process.ts"
import { seeded } from "../kit/random.ts"

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

describe("a log that is cut", () => {
  test("D-3: cut anywhere, the store opens and holds some first part of the commits, the longer the more", () =>
    seeded(async run => {
      const random = run.fork("cut log")
      const { broker, folder } = await start()
      const ledger = new Ledger("realm", random.fork("load"))
      await work(await openCaller("tcp", broker.port), ledger, 150)
      await broker.kill()
      const { bytes, frameBytes } = framesEnd(folder)
      expect(bytes).toBeGreaterThan(100 * frameBytes)
      const cuts = [bytes, bytes - 1, bytes - frameBytes, 32, 31, 0]
      // Between frames, in their heads, in their pages.
      for (let n = 0; n < 8; n++) cuts.push(32 + random.int((bytes - 32) / frameBytes) * frameBytes)
      for (let n = 0; n < 12; n++) cuts.push(random.int(bytes))
      let before: Verdict = { least: 0, most: 0 }
      for (const cut of cuts.sort((a, b) => a - b)) {
        const copy = copyFiles(folder)
        cutLog(copy, cut)
        const verdict = await judged(copy, ledger, entry => cut === bytes && entry.acked)
        expect(verdict.most, `a log of ${cut} bytes has no less than a shorter one`).toBeGreaterThanOrEqual(
          before.least,
        )
        before = verdict
      }
      // The whole log has them all, and the empty one had none.
      expect(before.least).toBeGreaterThanOrEqual(150)
    }))

  test("D-3: bytes that rot in it end it there, and what stands before is whole", () =>
    seeded(async run => {
      const random = run.fork("rotten log")
      const { broker, folder } = await start()
      const ledger = new Ledger("realm", random.fork("load"))
      await work(await openCaller("tcp", broker.port), ledger, 60)
      await broker.kill()
      const { bytes } = framesEnd(folder)
      for (let n = 0; n < 8; n++) {
        const copy = copyFiles(folder)
        const file = await open(`${copy}/${LOG}`, "r+")
        const at = 32 + random.int(bytes - 32)
        const byte = Buffer.alloc(1)
        await file.read(byte, 0, 1, at)
        await file.write(Buffer.of(byte[0]! ^ (1 << random.int(8))), 0, 1, at)
        await file.close()
        await judged(copy, ledger, () => false)
      }
    }))
})
