// What may be asked of schedules, and what may be ordered.
// Types only: must never hold a rule.

import type { Millis } from "../domain.ts"
import type {
  Condition,
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

export interface ScheduleStats {
  readonly enabled: number
  readonly disabled: number
  readonly executionsPerMinute: number
  readonly executionsTotal: number
  readonly operationsPerSecond: number
}

export interface ScheduleRow {
  readonly family: number
  /** Realm, area, resource, operation. */
  readonly segments: readonly string[]
  readonly cron: string
  readonly single: boolean
  readonly enabled: boolean
  readonly managedBy: string | null
  readonly payloadSha256: string
  readonly etag: string
  readonly nextMs: Millis | null
  readonly executions: number
  readonly missed: number
}

export interface ScheduleResource {
  readonly resource: string
  readonly schedules: number
  readonly enabled: number
  /** Of the only definition, or null. */
  readonly cron: string | null
  readonly nextMs: Millis | null
  readonly executions: number
}

export interface SchedulePlace {
  readonly family: number | null
  /** Realm, area, resource, operation. */
  readonly segments: readonly string[]
}

/** What became of one occurrence. */
export interface Execution {
  readonly atMs: Millis
  readonly family: number
  readonly segments: readonly string[]
  readonly manual: boolean
  readonly matched: number
  readonly accepted: number
}

export type ScheduleQuery =
  | TreeQuery<"schedule">
  | EventsQuery<"schedule">
  | SearchQuery<"schedule">
  | {
      readonly domain: "schedule"
      readonly name: "stats"
      readonly realm: string | null
      readonly family: number | null
    }
  | {
      readonly domain: "schedule"
      readonly name: "list"
      readonly realm: string | null
      readonly family: number | null
      readonly managedBy: string | null
      readonly page: PageAsk
    }
  | { readonly domain: "schedule"; readonly name: "resource"; readonly place: PlaceAsk }
  | { readonly domain: "schedule"; readonly name: "definition"; readonly place: SchedulePlace }
  | {
      readonly domain: "schedule"
      readonly name: "executions"
      readonly place: PlaceAsk | null
      readonly realm: string | null
      /** Only those that reached nobody. */
      readonly missed: boolean
      readonly page: PageAsk
    }

export interface ScheduleAnswers {
  readonly realms: Page<string>
  readonly areas: Page<string>
  readonly resources: Page<ScheduleResource>
  readonly events: readonly TimelineEvent[]
  readonly search: FoundSome
  readonly stats: ScheduleStats
  readonly list: Page<ScheduleRow>
  readonly resource: ScheduleResource | null
  readonly definition: ScheduleRow | null
  readonly executions: Page<Execution>
}

export type ScheduleCommand =
  | {
      readonly domain: "schedule"
      readonly name: "define"
      readonly family: number
      readonly segments: readonly string[]
      readonly cron: string
      readonly single: boolean
      readonly enabled: boolean
      readonly managedBy: string | null
      readonly payload: Uint8Array
      readonly condition: Condition
    }
  | {
      readonly domain: "schedule"
      readonly name: "remove"
      readonly family: number
      readonly segments: readonly string[]
      readonly condition: Condition
    }
  | { readonly domain: "schedule"; readonly name: "trigger"; readonly place: SchedulePlace }

export interface ScheduleOutcomes {
  readonly define: { readonly created: boolean; readonly row: ScheduleRow } | Refused
  readonly remove: { readonly removed: true } | Refused
  readonly trigger:
    | { readonly row: ScheduleRow; readonly matched: number; readonly accepted: number }
    | Refused
}
