// Waiting for what has no event of its own on this side of the wire: ask again until the answer is right. The
// deadline only turns a hanging test into a failing one; nothing is ever assumed to be true "by then".

import { setTimeout as pause } from "node:timers/promises"
import { Refused } from "./caller.ts"

const PATIENCE_MS = 60_000
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

/** The answer, or null where the broker refuses. */
export async function unlessRefused<T>(request: Promise<T>): Promise<T | null> {
  try {
    return await request
  } catch (error) {
    if (error instanceof Refused) return null
    throw error
  }
}

/** What becomes of a request whose connection ends before its answer. Nothing else may go wrong with it. */
export function lost(error: unknown): void {
  if (!String(error).includes("the connection is closed")) throw error
}
