// What the status of all three kinds shares: conditions as Kubernetes shapes them.
// Reasons are a closed list; the list itself is in operator/plan/conditions.ts.

import { z } from "zod"
import { list, say, text, whole } from "./schema.ts"

export const condition = z.object({
  type: say(text(316, 1), "Name of the condition."),
  status: say(z.enum(["True", "False", "Unknown"]), "Whether it holds."),
  observedGeneration: say(
    whole(0, Number.MAX_SAFE_INTEGER).optional(),
    "Generation of the spec it speaks of.",
  ),
  lastTransitionTime: say(z.string().max(64).meta({ format: "date-time" }), "When status last changed."),
  reason: say(text(1024, 1), "Why, in one word from a closed list."),
  message: say(text(32_768), "Why, for people, with what to do."),
})
export type Condition = z.output<typeof condition>

export const conditions = say(list(condition, 32).optional(), {
  about: "What is known, one entry for each question.",
  keys: ["type"],
})
