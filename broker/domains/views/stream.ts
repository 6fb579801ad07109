// What may be asked of streams.
// Types only: must never hold a rule.

import type { Millis } from "../domain.ts"
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

export interface StreamStats {
  readonly streamsActive: number
  readonly appendsActive: number
  readonly events: number
  readonly eventsByRealm: Readonly<Record<string, number>>
  readonly conflicts: number
  readonly operations: OperationRates<"append" | "read">
}

export interface StreamResource {
  readonly resource: string
  readonly events: number
  readonly bytes: number
  readonly appendsActive: number
}

export interface StreamDetail extends StreamResource {
  readonly lastOffset: number | null
}

export interface Watermark {
  readonly family: number
  readonly watermark: number
}

export interface StoredEventRow {
  readonly family: number
  readonly offset: number
  readonly createdAtMs: Millis
  readonly body: Uint8Array
  readonly bodyBytes: number
  readonly meta: Uint8Array | null
  readonly metaBytes: number
}

export type StreamQuery =
  | TreeQuery<"stream">
  | EventsQuery<"stream">
  | SearchQuery<"stream">
  | {
      readonly domain: "stream"
      readonly name: "stats"
      readonly realm: string | null
      readonly family: number | null
    }
  | { readonly domain: "stream"; readonly name: "resource"; readonly place: PlaceAsk }
  | {
      readonly domain: "stream"
      readonly name: "watermarks"
      readonly realm: string
      readonly area: string | null
      readonly page: PageAsk
    }
  | {
      readonly domain: "stream"
      readonly name: "records"
      readonly place: PlaceAsk
      readonly from: number
      readonly limit: number
      readonly bytesMax: number
    }

export interface StreamAnswers {
  readonly realms: Page<string>
  readonly areas: Page<string>
  readonly resources: Page<StreamResource>
  readonly events: readonly TimelineEvent[]
  readonly search: FoundSome
  readonly stats: StreamStats
  readonly resource: StreamDetail | null
  readonly watermarks: Page<Watermark>
  readonly records: { readonly rows: readonly StoredEventRow[]; readonly more: boolean } | Refused
}
