// The broker against the models, for longer: over real files, closed and opened again, copied as a killed process
// leaves them, with disks that fill up. What every run does is in test/model/simulation.ts.

import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { newFolder, removeFolder } from "../kit/process.ts"
import { runSeed } from "../kit/random.ts"
import { DOMAINS } from "../model/requests.ts"
import { Simulation } from "../model/simulation.ts"

const MIXED_RUNS = 6
const STEPS = 600
const DURABLE = ["kv", "queue", "stream", "schedule"] as const

let folder = ""
beforeEach(() => {
  folder = newFolder()
})
afterEach(() => removeFolder(folder))

describe("the broker does what the models say, also over restarts", () => {
  for (let run = 0; run < MIXED_RUNS; run++) {
    const seed = `${runSeed()}-${run}`
    test(`all domains, seed ${seed}`, () => {
      const { met } = new Simulation({ seed, steps: STEPS, folder, domains: DOMAINS }).run()
      expect(met.get("restart") ?? 0).toBeGreaterThan(0)
    })
  }
  for (const domain of DURABLE) {
    const seed = `${runSeed()}-${domain}`
    test(`${domain}, seed ${seed}`, () => {
      const { met } = new Simulation({ seed, steps: STEPS, folder, domains: [domain] }).run()
      expect(met.get("restart") ?? 0).toBeGreaterThan(0)
    })
  }
})
