// Begins the cluster of a run in the background and ends it afterwards. Tests wait for it where they need it, so that
// whatever does not is not held up.

import type { TestProject } from "vitest/node"
import { chooseMachine, down, type Machine, up } from "./kit/machine.ts"

declare module "vitest" {
  export interface ProvidedContext {
    readonly machine: Machine
  }
}

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const machine = await chooseMachine()
  project.provide("machine", machine)
  const starting = up(machine, "kwok").then(
    () => undefined,
    // The tests meet the same failure and report it.
    () => undefined,
  )
  return async () => {
    await starting
    await down(machine)
  }
}
