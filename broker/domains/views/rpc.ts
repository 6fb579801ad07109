// What may be asked of RPC, and what may be ordered.
// Types only: must never hold a rule.

import type { Millis, SessionId } from "../domain.ts"
import type {
  EventsQuery,
  FoundSome,
  Page,
  PageAsk,
  PlaceAsk,
  Refused,
  SearchQuery,
  TimelineEvent,
  TreeQuery,
} from "./common.ts"

export interface RpcStats {
  readonly workers: number
  readonly pending: number
  /** Calls that wait for a worker. */
  readonly waiting: number
  readonly completed: number
  readonly timedOut: number
  readonly rejected: number
  readonly lateAnswers: number
  readonly oldestPendingMs: Millis | null
  readonly operationsPerSecond: number
  readonly averageLatencyMs: number
}

export interface WorkerRow {
  readonly session: SessionId
  readonly family: number
  readonly route: string
  readonly realm: string
  readonly registeredAtMs: Millis
  readonly handled: number
  readonly averageLatencyMs: number
}

export interface PendingRow {
  /** Binary text. */
  readonly correlation: string
  readonly family: number
  readonly route: string
  readonly submittedAtMs: Millis
  readonly worker: SessionId | null
}

export interface RpcResource {
  readonly resource: string
  readonly workers: number
  readonly pending: number
  readonly slowestAverageMs: number | null
}

export type RpcQuery =
  | TreeQuery<"rpc">
  | EventsQuery<"rpc">
  | SearchQuery<"rpc">
  | {
      readonly domain: "rpc"
      readonly name: "stats"
      readonly realm: string | null
      readonly family: number | null
    }
  | {
      readonly domain: "rpc"
      readonly name: "workers"
      readonly realm: string | null
      readonly family: number | null
      readonly page: PageAsk
    }
  | {
      readonly domain: "rpc"
      readonly name: "pending"
      readonly realm: string | null
      readonly family: number | null
      readonly page: PageAsk
    }
  | { readonly domain: "rpc"; readonly name: "resource"; readonly place: PlaceAsk }

export interface RpcAnswers {
  readonly realms: Page<string>
  readonly areas: Page<string>
  readonly resources: Page<RpcResource>
  readonly events: readonly TimelineEvent[]
  readonly search: FoundSome
  readonly stats: RpcStats
  readonly workers: Page<WorkerRow>
  readonly pending: Page<PendingRow>
  readonly resource: RpcResource
}

export type RpcCommand = {
  readonly domain: "rpc"
  readonly name: "cancel"
  /** Binary text. */
  readonly correlation: string
  readonly family: number | null
}

export interface RpcOutcomes {
  readonly cancel: { readonly family: number; readonly route: string } | Refused
}
