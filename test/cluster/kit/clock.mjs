// Loaded into a broker process before its own code: adds what a file says to the machine's clock, so that a scenario can
// live through weeks. Nothing else of the process is touched.

import { readFileSync } from "node:fs"

const file = process.env.TEST_CLOCK_FILE
const real = Date.now.bind(Date)
let offset = 0
let readAt = 0

function read() {
  try {
    offset = Number(readFileSync(file, "utf8"))
  } catch (error) {
    if (error.code !== "ENOENT") throw error
  }
}

if (file !== undefined) {
  read()
  const RealDate = Date
  const now = () => {
    const at = real()
    if (at - readAt > 50) {
      readAt = at
      read()
    }
    return at + offset
  }
  globalThis.Date = class extends RealDate {
    constructor(...args) {
      if (args.length === 0) super(now())
      else super(...args)
    }
    static now() {
      return now()
    }
  }
}
