// Memory that starting up needs and running does not: loaded once, never used again, and otherwise kept by
// the runtime until something else wants it.

import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"

type Collect = (options: { type: "major"; flavor: "last-resort" }) => void

/** Collects everything and returns what is free to the system. Stops the thread for some 30 ms: once. */
export function shrinkHeap(): void {
  setFlagsFromString("--expose-gc")
  const collect = runInNewContext("gc") as Collect
  setFlagsFromString("--no-expose-gc")
  collect({ type: "major", flavor: "last-resort" })
}
