// Brokers that are killed without a word, again and again on the same folder, around every kind of moment. What
// was acknowledged is there, what is there was asked for, nothing is there twice and nothing by half.

import { describe, expect, test } from "vitest"
import { openCaller } from "../kit/caller.ts"
import { integrityOf, killAfter } from "../kit/crash.ts"
import { memoryFolder } from "../kit/disk.ts"
import { Ledger } from "../kit/ledger.ts"
import { type BrokerProcess, newFolder, removeFolder, startProcess } from "../kit/process.ts"
import { type Random, seeded } from "../kit/random.ts"

const LIVES = 9
const CONNECTIONS = 3

/** When a life ends. */
type End = { readonly acknowledged: number } | { readonly afterMs: number }

/** From the very first acknowledgement to several hundred, and in between moments that nothing announces. */
function endsOf(random: Random): End[] {
  const counts = [
    1,
    random.between(2, 4),
    random.between(5, 20),
    random.between(20, 120),
    random.between(200, 600),
  ]
  const ends: End[] = counts.map(acknowledged => ({ acknowledged }))
  while (ends.length < LIVES) ends.push({ afterMs: random.int(random.pick([3, 30, 300])) })
  // In an order of its own.
  return ends
    .map(end => ({ end, at: random.u32() }))
    .sort((a, b) => a.at - b.at)
    .map(({ end }) => end)
}

/** Has all ledgers work until the end has come, and kills the broker in that moment. */
async function workUntilKilled(broker: BrokerProcess, ledgers: readonly Ledger[], end: End): Promise<void> {
  let acknowledged = 0
  for (const ledger of ledgers) {
    ledger.onAck = () => {
      acknowledged++
      if ("acknowledged" in end && acknowledged === end.acknowledged) broker.child.kill("SIGKILL")
    }
  }
  const callers = await Promise.all(ledgers.map(() => openCaller("tcp", broker.port)))
  const working = Promise.all(ledgers.map((ledger, at) => ledger.run(callers[at]!)))
  if ("afterMs" in end) await killAfter(broker, end.afterMs)
  expect(await broker.exited).toBe("SIGKILL")
  await working
}

describe.each(["disk", "memory"])("crash, on a file system of %s", part => {
  test("D-3: whatever was acknowledged is there after SIGKILL, and it is some first part of what was asked for", () =>
    seeded(async run => {
      const random = run.fork(`crash ${part}`)
      const folder = part === "disk" ? newFolder() : memoryFolder()
      const environment = { FITZ_AUTH_REQUIRED: "false", FITZ_STORAGE_PATH: folder }
      const ledgers = Array.from(
        { length: CONNECTIONS },
        (_, n) => new Ledger(`realm-${n}`, random.fork(n), { paddingBytes: n === 0 ? 20_000 : 3_000 }),
      )
      let fence = 0
      let commits = 0
      for (const end of [...endsOf(random), null]) {
        const broker = await startProcess(environment)
        // Whoever looks takes messages along, so it goes before the work begins.
        const looking = await openCaller("tcp", broker.port)
        for (const ledger of ledgers) {
          const acknowledged = ledger.acknowledged
          const { least } = await ledger.resume(looking, entry => entry.acked)
          expect(least).toBeGreaterThanOrEqual(acknowledged)
          commits += acknowledged
        }
        const { token } = await looking.lease.acquire("lease://realm/area/resource", 1)
        expect(token, "L-7: fencing tokens rise").toBeGreaterThan(fence)
        fence = token
        await looking.close()
        if (end === null) {
          await broker.kill()
          break
        }
        await workUntilKilled(broker, ledgers, end)
        expect(integrityOf(folder)).toBe("ok")
      }
      // It was not all for nothing.
      expect(commits).toBeGreaterThan(300)
      removeFolder(folder)
    }))
})
