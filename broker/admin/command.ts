// What commands have in common: their answer, and ids in their paths.
// Must never carry a command out: that is the row's own.

import { z } from "zod"
import { Refusal } from "./errors.ts"
import type { Answer, Call } from "./route.ts"

/** The acknowledgement of a command (admin-api §17). */
export function acknowledged<A extends string, T extends z.ZodType>(action: A, target: T) {
  return z.strictObject({ status: z.literal("ok"), action: z.literal(action), target })
}

export function done(action: string, target: object): Answer {
  return { body: { status: "ok", action, target } }
}

/** A numeric id in the path. */
export function numberIn({ params }: Pick<Call, "params">, name: string): number {
  const text = params[name]!
  const number = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(number)) throw new Refusal("invalid_parameter", `${name} is not a number`)
  return number
}

/** The number in `sess_…`. */
export function sessionIn({ params }: Pick<Call, "params">): number {
  const match = /^sess_(\d{1,15})$/.exec(params["session_id"]!)
  if (match === null) throw new Refusal("invalid_parameter", "session_id is not one of this broker's")
  return Number(match[1])
}
