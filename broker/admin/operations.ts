// What the HTTP surface may ask of the broker behind it. Everything goes through here: a handler never holds
// a domain, a store or a connection.

import type { Page, PageAsk } from "../domains/views/common.ts"
import type { AnswerTo, Command, OutcomeOf, Query } from "../domains/views/index.ts"
import type { SessionRow } from "../engine/engine.ts"
import type { Status } from "../engine/status.ts"
import type { AuditRecord } from "./audit.ts"
import type { Sample } from "./metrics.ts"

/** What may be told of a source of trust: never its keys. */
export interface TrustSource {
  readonly source: "generated" | "clients" | "api_keys"
  readonly kind: string
  readonly loadedAtMs: number
  readonly error: string | null
  readonly keys: readonly {
    readonly kid: string
    readonly alg: string
    readonly lastVerifiedMs: number | null
  }[]
}

export interface DrainState {
  readonly state: "running" | "draining" | "shutting_down"
  readonly sessions: number
  readonly graceSeconds: number
  readonly startedMs: number | null
  readonly deadlineMs: number | null
}

export interface Operations {
  readonly status: Status
  now(): number
  /** Throws a refusal where the lane does not answer in time. */
  ask<Q extends Query>(query: Q): Promise<AnswerTo<Q>>
  order<C extends Command>(command: C): Promise<OutcomeOf<C>>
  sessions(realm: string | null, family: number | null, page: PageAsk): Page<SessionRow>
  session(id: number): SessionRow | null
  closeSession(id: number): boolean
  /** Open connections, let in or not. */
  readonly connections: number
  readonly sessionCount: number
  /** Realms known on this side of the thread: by sessions and live domains. */
  liveRealms(): string[]
  /** Frames in and out a second. */
  readonly framesPerSecond: number
  readonly families: readonly number[]
  readonly identityClaim: string
  readonly storageId: string
  trustSources(): readonly TrustSource[]
  drainState(): DrainState
  drain(): void
  audit(page: PageAsk): Page<AuditRecord>
  /** Every sample of the metrics, as data. */
  samples(): Promise<readonly Sample[]>
  /** The OpenAPI document. */
  openApi(): object
}
