// What the admin surface may ask of this broker, put together: the engine's lanes, the sessions, identity,
// the audit. It passes on; it decides nothing.

import { Refusal } from "./admin/errors.ts"
import type { Operations } from "./admin/operations.ts"
import type { AnswerTo, Command, OutcomeOf, Query } from "./domains/views/index.ts"
import type { Engine } from "./engine/engine.ts"
import type { World } from "./world.ts"

/** A lane that takes longer is not waited for. */
const ANSWER_WITHIN_MS = 2_000

/** The part of it that asks the lanes. */
export function laneOperations(
  engine: Engine,
  world: World,
): Pick<Operations, "ask" | "order" | "sessions" | "session" | "closeSession"> {
  const within = <T>(answer: Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      const cancel = world.later(ANSWER_WITHIN_MS, () =>
        reject(new Refusal("admin_timeout", "the lane did not answer in time", { "retry-after": "1" })),
      )
      answer.then(resolve, reject).finally(cancel)
    })
  return {
    ask: <Q extends Query>(query: Q): Promise<AnswerTo<Q>> => within(engine.ask(query)),
    order: <C extends Command>(command: C): Promise<OutcomeOf<C>> => within(engine.order(command)),
    sessions: (realm, family, page) => engine.sessionPage(realm, family, page),
    session: id => engine.sessionRow(id),
    closeSession: id => engine.closeSession(id),
  }
}
