// What all views share: pages, places, refusals. Plain data that may cross a thread; nothing here decides.
// Must never hold a rule of a domain.

import type { Scheme } from "../../../protocol/route.ts"
import type { Millis } from "../domain.ts"

/** Which rows of a list are wanted. */
export interface PageAsk {
  readonly offset: number
  readonly limit: number
}

/** Some rows of a list, and how many there are in all. */
export interface Page<Row> {
  readonly total: number
  readonly rows: readonly Row[]
}

/** A resource of a domain; `family` null means all families. */
export interface PlaceAsk {
  readonly family: number | null
  readonly realm: string
  readonly area: string
  readonly resource: string
}

/** Why a command was not carried out. */
export type RefusedCode =
  | "not_found"
  | "ambiguous_target"
  | "precondition_failed"
  | "invalid_cron"
  | "invalid_payload"
  | "realm_not_declared"
  | "definition_limit"
  | "unavailable"
  | "internal"

export interface Refused {
  readonly refused: RefusedCode
  readonly message: string
}

export function refuse(refused: RefusedCode, message: string): Refused {
  return { refused, message }
}

/** What a conditional write expects of the stored form. */
export interface Condition {
  /** The strong tag it has to have; "*": it has to exist. */
  readonly ifMatch: readonly string[] | null
  /** It must not exist. */
  readonly ifNoneMatch: boolean
}

/** Does the stored form, null where there is none, meet the condition? */
export function meets(condition: Condition, etag: string | null): boolean {
  if (condition.ifNoneMatch && etag !== null) return false
  if (condition.ifMatch === null) return true
  return etag !== null && (condition.ifMatch.includes("*") || condition.ifMatch.includes(etag))
}

/** The inventory of a domain: its realms, a realm's areas, an area's resources. */
export type TreeQuery<D extends Scheme> =
  | { readonly domain: D; readonly name: "realms"; readonly family: number | null; readonly page: PageAsk }
  | {
      readonly domain: D
      readonly name: "areas"
      readonly family: number | null
      readonly realm: string
      readonly page: PageAsk
    }
  | {
      readonly domain: D
      readonly name: "resources"
      readonly family: number | null
      readonly realm: string
      readonly area: string
      readonly page: PageAsk
    }

export type EventKind =
  | "observation"
  | "transition"
  | "failure"
  | "retry"
  | "ownership_change"
  | "state_flip"
  | "registration"

/** Something that happened to a resource, as far as it is remembered. */
export interface TimelineEvent {
  readonly kind: EventKind
  readonly atMs: Millis
  readonly family: number
  readonly summary: string
}

export interface EventsQuery<D extends Scheme> {
  readonly domain: D
  readonly name: "events"
  readonly place: PlaceAsk
  readonly limit: number
}

/** Something that a search found. */
export interface Found {
  readonly domain: Scheme | "sessions"
  readonly kind: string
  readonly title: string
  readonly summary: string
  readonly healthy: boolean
  /** Path below the prefix. */
  readonly path: string
  readonly fields: readonly string[]
}

export interface FoundSome {
  readonly found: readonly Found[]
  /** More was there than was looked at. */
  readonly truncated: boolean
}

export interface SearchQuery<D extends Scheme> {
  readonly domain: D
  readonly name: "search"
  readonly text: string
  readonly realm: string | null
  readonly limit: number
}

/** Numbers that never decrease and rates of the last seconds. */
export interface OperationRates<Name extends string> {
  readonly all: number
  readonly by: Readonly<Record<Name, number>>
}
