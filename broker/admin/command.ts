// What commands have in common: their answer, and ids in their paths.
// Must never carry a command out: that is the row's own.

import { z } from "zod"
import type { Answer, Call } from "./route.ts"

/** The acknowledgement of a command (admin-api §17). */
export function acknowledged<A extends string, T extends z.ZodType>(action: A, target: T) {
  return z.strictObject({ status: z.literal("ok"), action: z.literal(action), target })
}

export function done(action: string, target: object): Answer {
  return { body: { status: "ok", action, target } }
}

/** A numeric id in the path, whose form has been checked (route.ts). */
export function numberIn({ params }: Pick<Call, "params">, name: string): number {
  return Number(params[name])
}

/** The number in `sess_…`. */
export function sessionIn({ params }: Pick<Call, "params">): number {
  return Number(params["session_id"]!.slice("sess_".length))
}
