// What may be asked of declared realms, and what may be ordered.
// Types only: must never hold a rule.

import type { Condition, Page, PageAsk, Refused } from "./common.ts"

/** Null: no limit. */
export interface RealmLimits {
  readonly maxSessions: number | null
  readonly maxSubscriptions: number | null
  readonly maxQueueMessages: number | null
  readonly maxStreams: number | null
}

/** A declaration as it is stored. */
export interface RealmDefinition {
  readonly realm: string
  readonly displayName: string | null
  readonly description: string | null
  readonly labels: Readonly<Record<string, string>>
  readonly limits: RealmLimits
  readonly managedBy: string | null
}

export interface StoredRealm extends RealmDefinition {
  readonly etag: string
}

/** A realm that is declared, or only known by its use. */
export interface RealmRow {
  readonly realm: string
  readonly declared: StoredRealm | null
}

export type RealmQuery =
  | {
      readonly domain: "realms"
      readonly name: "list"
      readonly managedBy: string | null
      readonly page: PageAsk
      /** Realms known by their use elsewhere. */
      readonly also: readonly string[]
    }
  | {
      readonly domain: "realms"
      readonly name: "get"
      readonly realm: string
      readonly also: readonly string[]
    }
  /** All realms known by declaration or use in this lane. */
  | { readonly domain: "realms"; readonly name: "known" }

export interface RealmAnswers {
  readonly list: Page<RealmRow>
  readonly get: RealmRow | null
  readonly known: readonly string[]
}

export type RealmCommand =
  | {
      readonly domain: "realms"
      readonly name: "declare"
      readonly definition: RealmDefinition
      readonly condition: Condition
    }
  | {
      readonly domain: "realms"
      readonly name: "forget"
      readonly realm: string
      readonly condition: Condition
    }

export interface RealmOutcomes {
  readonly declare: { readonly created: boolean; readonly stored: StoredRealm } | Refused
  readonly forget: { readonly forgotten: true } | Refused
}
