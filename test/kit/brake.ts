// A broker's process whose durable lane can be held or broken from outside, at a moment that the test chooses: by
// files in a folder. Everything else is the real thing; only the lane's look at the clock is intercepted.

import { rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

/** `held`: the lane's thread stands still while that file is there. `broken`: it throws as soon as that one is. */
export class Brake {
  /** For the process's environment. */
  readonly environment: Readonly<Record<string, string>>
  private readonly folder: string

  /** @param factor how many seconds the process counts for each of ours */
  constructor(folder: string, factor = 1) {
    this.folder = folder
    const [held, broken] = [JSON.stringify(join(folder, "held")), JSON.stringify(join(folder, "broken"))]
    const source = [
      'import { existsSync } from "node:fs"',
      'import { isMainThread } from "node:worker_threads"',
      // One beginning for all threads: each loads this anew, and their clocks have to agree.
      `const real = Date.now, start = ${Date.now()}, cell = new Int32Array(new SharedArrayBuffer(4))`,
      "Date.now = () => {",
      `  if (!isMainThread) { while (existsSync(${held})) Atomics.wait(cell, 0, 0, 10) }`,
      `  if (!isMainThread && existsSync(${broken})) throw new Error("broken by a test")`,
      `  return start + (real() - start) * ${factor}`,
      "}",
    ].join("\n")
    this.environment = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(source)}` }
  }

  hold(): void {
    writeFileSync(join(this.folder, "held"), "")
  }

  letGo(): void {
    rmSync(join(this.folder, "held"), { force: true })
  }

  break(): void {
    writeFileSync(join(this.folder, "broken"), "")
  }
}
