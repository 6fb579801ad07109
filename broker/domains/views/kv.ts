// What may be asked of KV, and what may be ordered.
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

export interface KvStats {
  readonly transactionsActive: number
  readonly committed: number
  readonly rolledBack: number
  readonly conflicts: number
  readonly keys: number
  readonly keysByRealm: Readonly<Record<string, number>>
  readonly operations: OperationRates<"get" | "put" | "delete" | "scan">
}

export interface KvTransactionRow {
  readonly id: number
  readonly family: number
  readonly session: SessionId
  readonly segments: readonly string[]
  readonly writes: boolean
  readonly startedMs: Millis
  readonly operations: number
  readonly idleMs: number
}

export interface KvResource {
  readonly resource: string
  readonly keys: number
  readonly transactionsActive: number
}

export interface StoredPair {
  readonly family: number
  readonly key: Uint8Array
  /** As much of it as may be shown. */
  readonly value: Uint8Array
  readonly valueBytes: number
}

export type KvQuery =
  | TreeQuery<"kv">
  | EventsQuery<"kv">
  | SearchQuery<"kv">
  | {
      readonly domain: "kv"
      readonly name: "stats"
      readonly realm: string | null
      readonly family: number | null
    }
  | {
      readonly domain: "kv"
      readonly name: "transactions"
      readonly realm: string | null
      readonly family: number | null
      readonly place: PlaceAsk | null
      readonly page: PageAsk
    }
  | { readonly domain: "kv"; readonly name: "resource"; readonly place: PlaceAsk }
  | {
      readonly domain: "kv"
      readonly name: "value"
      readonly place: PlaceAsk
      readonly key: Uint8Array
      readonly bytesMax: number
    }
  | {
      readonly domain: "kv"
      readonly name: "rows"
      readonly place: PlaceAsk
      readonly prefix: Uint8Array
      /** Exclusive; null: from the beginning. */
      readonly after: Uint8Array | null
      readonly limit: number
      readonly bytesMax: number
    }

export interface KvAnswers {
  readonly realms: Page<string>
  readonly areas: Page<string>
  readonly resources: Page<KvResource>
  readonly events: readonly TimelineEvent[]
  readonly search: FoundSome
  readonly stats: KvStats
  readonly transactions: Page<KvTransactionRow>
  readonly resource: KvResource
  readonly value: StoredPair | Refused
  readonly rows: { readonly pairs: readonly StoredPair[]; readonly more: boolean } | Refused
}

export type KvCommand = { readonly domain: "kv"; readonly name: "rollback"; readonly transaction: number }

export interface KvOutcomes {
  readonly rollback: { readonly session: SessionId } | Refused
}
