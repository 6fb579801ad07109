// What may be asked of queues, and what may be ordered.
// Types only: must never hold a rule.

import type { Millis, SessionId } from "../domain.ts"
import type {
  EventsQuery,
  FoundSome,
  OperationRates,
  Page,
  PageAsk,
  PlaceAsk,
  Refused,
  SearchQuery,
  TimelineEvent,
  TreeQuery,
} from "./common.ts"

export interface QueueCounts {
  readonly ready: number
  readonly delayed: number
  readonly inflight: number
  readonly dead: number
  /** Since when the oldest message that is not dead is there; null: none. */
  readonly oldestMs: Millis | null
}

export interface QueueStats extends QueueCounts {
  readonly expired: number
  readonly buried: number
  readonly waiting: number
  readonly operations: OperationRates<"enqueue" | "reserve" | "complete">
}

export interface QueueResource extends QueueCounts {
  readonly resource: string
  readonly families: number
  readonly inPerSecond: number
  readonly outPerSecond: number
  readonly waiting: number
}

export interface InflightRow {
  readonly id: number
  readonly family: number
  readonly token: number
  readonly session: SessionId
  readonly expiresAtMs: Millis
  readonly attempts: number
}

export interface DeadRow {
  readonly id: number
  readonly family: number
  readonly deadAtMs: Millis
  readonly attempts: number
  readonly reason: string
}

/** A queue under pressure. */
export interface QueueHotspot {
  readonly family: number
  readonly segments: readonly string[]
  readonly counts: QueueCounts
  readonly waiting: number
}

export type QueueQuery =
  | TreeQuery<"queue">
  | EventsQuery<"queue">
  | SearchQuery<"queue">
  | {
      readonly domain: "queue"
      readonly name: "stats"
      readonly realm: string | null
      readonly family: number | null
    }
  | { readonly domain: "queue"; readonly name: "resource"; readonly place: PlaceAsk }
  | {
      readonly domain: "queue"
      readonly name: "inflight"
      readonly place: PlaceAsk
      readonly page: PageAsk
    }
  | {
      readonly domain: "queue"
      readonly name: "dead"
      readonly place: PlaceAsk
      readonly page: PageAsk
    }
  | {
      readonly domain: "queue"
      readonly name: "hotspots"
      readonly realm: string | null
      readonly limit: number
    }

export interface QueueAnswers {
  readonly realms: Page<string>
  readonly areas: Page<string>
  readonly resources: Page<QueueResource>
  readonly events: readonly TimelineEvent[]
  readonly search: FoundSome
  readonly stats: QueueStats
  readonly resource: QueueResource
  readonly inflight: Page<InflightRow>
  readonly dead: Page<DeadRow>
  readonly hotspots: readonly QueueHotspot[]
}

export type QueueCommand = {
  readonly domain: "queue"
  readonly name: "replay" | "purge"
  readonly family: number
  /** Realm, area, resource. */
  readonly segments: readonly string[]
  readonly message: number
}

export interface QueueOutcomes {
  readonly replay: { readonly done: true } | Refused
  readonly purge: { readonly done: true } | Refused
}
