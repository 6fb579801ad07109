// What may be asked of notices, and what may be ordered.
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

export interface NoticeStats {
  readonly subscriptionsActive: number
  readonly routes: number
  readonly publishes: number
  readonly deliveries: number
  readonly publishesPerSecond: number
}

export interface SubscriptionRow {
  readonly id: number
  readonly session: SessionId
  readonly family: number
  readonly pattern: string
  readonly realm: string
  readonly createdAtMs: Millis
  readonly received: number
}

export interface NoticeRouteRow {
  readonly family: number
  readonly route: string
  readonly subscribers: number
  readonly publishes: number
  readonly publishesPerMinute: number
}

export interface NoticeResource {
  readonly resource: string
  readonly routes: number
  readonly subscriptionsActive: number
  readonly received: number
  readonly publishes: number
  readonly publishesPerMinute: number
}

export type NoticeQuery =
  | TreeQuery<"notice">
  | EventsQuery<"notice">
  | SearchQuery<"notice">
  | {
      readonly domain: "notice"
      readonly name: "stats"
      readonly realm: string | null
      readonly family: number | null
    }
  | {
      readonly domain: "notice"
      readonly name: "subscriptions"
      readonly realm: string | null
      readonly family: number | null
      readonly pattern: string | null
      readonly page: PageAsk
    }
  | {
      readonly domain: "notice"
      readonly name: "routes"
      readonly realm: string | null
      readonly family: number | null
      readonly page: PageAsk
    }
  | { readonly domain: "notice"; readonly name: "resource"; readonly place: PlaceAsk }

export interface NoticeAnswers {
  readonly realms: Page<string>
  readonly areas: Page<string>
  readonly resources: Page<NoticeResource>
  readonly events: readonly TimelineEvent[]
  readonly search: FoundSome
  readonly stats: NoticeStats
  readonly subscriptions: Page<SubscriptionRow>
  readonly routes: Page<NoticeRouteRow>
  readonly resource: NoticeResource
}

export type NoticeCommand = {
  readonly domain: "notice"
  readonly name: "cancel"
  readonly subscription: number
}

export interface NoticeOutcomes {
  readonly cancel: { readonly session: SessionId } | Refused
}
