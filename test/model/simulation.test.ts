// The broker against the models, quickly: everything in memory.

import { describe, expect, test } from "vitest"
import { runSeed } from "../kit/random.ts"
import { Simulation } from "./simulation.ts"

const RUNS = 10
const STEPS = 400

describe("the broker does what the models say", () => {
  for (let run = 0; run < RUNS; run++) {
    const seed = `${runSeed()}-${run}`
    test(`seed ${seed}`, () => {
      const { met } = new Simulation({ seed, steps: STEPS }).run()
      expect(met.size).toBeGreaterThan(20)
    })
  }
})
