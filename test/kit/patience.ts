// Waiting for what has no event of its own on this side of the wire: ask again until the answer is right. The
// deadline only turns a hanging test into a failing one; nothing is ever assumed to be true "by then".

import { setTimeout as pause } from "node:timers/promises"

const PATIENCE_MS = 30_000
const AGAIN_MS = 10

/** Asks until the answer passes, and returns that answer. */
export async function until<T>(
  what: string,
  ask: () => Promise<T> | T,
  right: (answer: T) => boolean = answer => answer === true,
): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS
  for (;;) {
    const answer = await ask()
    if (right(answer)) return answer
    if (Date.now() > deadline) throw new Error(`${what}: still ${JSON.stringify(answer)}`)
    await pause(AGAIN_MS)
  }
}
