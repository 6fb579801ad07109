// What tests do with replies: expect a refusal, by its code where the envelope carries one and by its text where it
// does not; leave one unheard; let what has arrived be caught. Never a wait that time could end.

import { Refused } from "./caller.ts"

/** The refusal that the request must meet; fails where it succeeds or fails otherwise. */
export async function refused(request: Promise<unknown>, how: number | string): Promise<Refused> {
  let value: unknown
  try {
    value = await request
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    const fits = typeof how === "number" ? error.code === how : error.message.includes(how)
    if (!fits) throw new Error(`refused with "${error.message}" and not with "${how}"`, { cause: error })
    return error
  }
  throw new Error(`not refused with "${how}": ${JSON.stringify(value)}`)
}

/** Requests whose replies the test does not wait for, because their connection is about to end. */
export function unheard(...requests: Promise<unknown>[]): void {
  for (const request of requests) request.catch(() => undefined)
}

/** Lets what has arrived reach those who wait for it. No time passes. */
export function caught(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}
