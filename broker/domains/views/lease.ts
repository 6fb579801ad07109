// What may be asked of leases, and what may be ordered.
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

export interface LeaseStats {
  readonly active: number
  readonly waiters: number
  readonly acquired: number
  readonly expired: number
  readonly forced: number
  readonly invalidTokens: number
  readonly operationsPerSecond: number
}

export interface LeaseRow {
  readonly id: number
  readonly family: number
  /** Realm, area, resource. */
  readonly segments: readonly string[]
  readonly session: SessionId
  readonly owner: string
  readonly acquiredAtMs: Millis
  readonly expiresAtMs: Millis
  readonly renewals: number
  readonly token: number
  readonly waiters: number
}

export interface LeaseResource {
  readonly resource: string
  readonly active: number
  readonly waiters: number
  readonly oldestAcquiredMs: Millis | null
}

export type LeaseQuery =
  | TreeQuery<"lease">
  | EventsQuery<"lease">
  | SearchQuery<"lease">
  | {
      readonly domain: "lease"
      readonly name: "stats"
      readonly realm: string | null
      readonly family: number | null
    }
  | {
      readonly domain: "lease"
      readonly name: "leases"
      readonly realm: string | null
      readonly family: number | null
      readonly page: PageAsk
    }
  | { readonly domain: "lease"; readonly name: "resource"; readonly place: PlaceAsk }

export interface LeaseAnswers {
  readonly realms: Page<string>
  readonly areas: Page<string>
  readonly resources: Page<LeaseResource>
  readonly events: readonly TimelineEvent[]
  readonly search: FoundSome
  readonly stats: LeaseStats
  readonly leases: Page<LeaseRow>
  readonly resource: LeaseResource
}

export type LeaseCommand =
  | { readonly domain: "lease"; readonly name: "releaseId"; readonly lease: number }
  | {
      readonly domain: "lease"
      readonly name: "release"
      readonly segments: readonly string[]
      readonly family: number | null
    }

export interface LeaseOutcomes {
  readonly releaseId: LeaseRow | Refused
  readonly release: LeaseRow | Refused
}
