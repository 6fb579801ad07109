// The bodies of the admin API as this page reads them (GET /api/v1/openapi.json says the same in full). Types
// only.

import type { Domain } from "../text/words.ts"

export interface ErrorBody {
  readonly error: string
  readonly code: string
  readonly message: string
  readonly request_id: string
}

export interface Stats {
  readonly broker: {
    readonly uptime_seconds: number
    readonly connections: number
    readonly sessions: number
    readonly realms: readonly string[]
    readonly messages_per_second: number
  }
  readonly domains: Readonly<Record<Domain, Readonly<Record<string, number>>>>
}

export interface Diagnostics {
  readonly current_stage: string
  readonly trend: string
  readonly severity: string
  readonly likely_bottleneck: string | null
  readonly age_seconds: number
  readonly failure_count: number
  readonly contention_count: number
  readonly waiter_count: number
  readonly confidence: number | string
  readonly explanation_hints: readonly string[]
}

export interface DomainStats {
  readonly diagnostics?: Diagnostics
  readonly operations_per_second_by_operation?: Readonly<Record<string, number>>
  readonly [name: string]: unknown
}

export interface RealmNames {
  readonly realms: readonly { readonly realm: string }[]
}
export interface AreaNames {
  readonly realm: string
  readonly areas: readonly { readonly area: string }[]
}

/** A resource with its domain's counts. */
export interface ResourceRow {
  readonly resource: string
  readonly [count: string]: unknown
}
export interface Resources {
  readonly realm: string
  readonly area: string
  readonly resources: readonly ResourceRow[]
}

export interface ResourceDetail {
  readonly realm: string
  readonly area: string
  readonly resource: string
  readonly diagnostics?: Diagnostics
  readonly [name: string]: unknown
}

export interface TimelineEvent {
  readonly kind: string
  readonly observed_at: string
  readonly summary: string
  readonly family?: number
}
export interface Timeline {
  readonly events: readonly TimelineEvent[]
}

export interface TransactionRow {
  readonly tx_id: number
  readonly session_id?: string
  readonly realm: string
  readonly area: string
  readonly resource: string
  readonly mode: "ReadOnly" | "ReadWrite"
  readonly started_at: string
  readonly operations_count: number
  readonly idle_seconds: number
}

export interface SubscriptionRow {
  readonly subscription_id: number
  readonly session_id: string
  readonly realm: string
  readonly pattern: string
  readonly created_at: string
  readonly notifications_received: number
}

export interface NoticeRouteRow {
  readonly route: string
  readonly subscribers: number
  readonly publishes_total: number
  readonly publishes_per_minute: number
}

export interface InflightRow {
  readonly message_id: number
  readonly family: number
  readonly realm: string
  readonly area: string
  readonly resource: string
  readonly inflight_token: string
  readonly session_id: string
  readonly expires_at: string
  readonly attempts: number
}

export interface DeadLetterRow {
  readonly message_id: number
  readonly family: number
  readonly realm: string
  readonly area: string
  readonly resource: string
  readonly dead_lettered_at: string
  readonly attempts: number
  readonly reason: string
}

export interface WorkerRow {
  readonly session_id: string
  readonly realm: string
  readonly route: string
  readonly registered_at: string
  readonly requests_handled: number
  readonly average_latency_ms: number
}

export interface PendingRow {
  readonly correlation_id: string
  readonly route: string
  readonly submitted_at: string
  readonly age_seconds: number
  readonly worker_session_id: string | null
}

export interface LeaseRow {
  readonly realm: string
  readonly area: string
  readonly resource: string
  readonly owner_session_id: string
  readonly acquired_at: string
  readonly expires_at: string
  readonly renewals: number
  readonly fencing_token: number
  readonly lease_id: number
}

export interface ScheduleRow {
  readonly schedule_id: string
  readonly realm: string
  readonly area: string
  readonly resource: string
  readonly operation: string
  readonly family: number
  readonly cron: string
  readonly next_run: string | null
  readonly enabled: boolean
  readonly executions_total: number
  readonly etag: string
  readonly managed_by: string | null
  readonly delivery_mode: "broadcast" | "single"
  readonly payload_sha256: string
}

export interface ExecutionRow {
  readonly schedule_id: string
  readonly realm: string
  readonly area: string
  readonly resource: string
  readonly operation: string
  readonly at: string
  readonly manual: boolean
  readonly matched_subscriptions: number
  readonly accepted_handoffs: number
}

export interface SessionRow {
  readonly session_id: string
  readonly realm: string
  readonly connected_at: string
  readonly idle_seconds: number
  readonly messages_received: number
  readonly messages_sent: number
  readonly transport: "websocket" | "tcp"
  readonly remote_addr: string
  readonly route_family?: number
  readonly subject?: string
  readonly identity_claim?: string
  readonly identity_value?: string
  readonly service_name?: string
}

export interface RealmRow {
  readonly realm: string
  readonly declared: boolean
  readonly display_name?: string
  readonly description?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly limits?: Readonly<Record<string, number>>
  readonly managed_by: string | null
  readonly etag?: string | null
}

export interface AuditRecord {
  readonly ts: string
  readonly request_id: string
  readonly user: string
  readonly auth_method: string
  readonly action: string
  readonly target: Readonly<Record<string, unknown>>
  readonly confirmed: boolean
  readonly outcome: string
  readonly status: number
  readonly path: string
  readonly canonical_path: string
  readonly remote_addr: string
  readonly reason?: string
}

export interface MetricSample {
  readonly name: string
  readonly kind: string
  readonly help: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}
export interface Metrics {
  readonly scope: string
  readonly generated_at: string
  readonly samples: readonly MetricSample[]
}

export interface SearchResult {
  readonly domain: string
  readonly kind: string
  readonly title: string
  readonly summary: string
  readonly health: string
  readonly href: string
  readonly matched_fields: readonly string[]
}
export interface SearchAnswer {
  readonly total: number
  readonly truncated: boolean
  readonly results: readonly SearchResult[]
}

export interface StoredBytes {
  readonly base64: string
  readonly utf8: string | null
  readonly len_bytes: number
}

export interface TrustSources {
  readonly storage_id: string
  readonly sources: readonly {
    readonly source: string
    readonly kind: string
    readonly loaded_at: string
    readonly error: string | null
    readonly keys: readonly {
      readonly kid: string
      readonly alg: string
      readonly last_verified_at: string | null
    }[]
  }[]
}

/** A probe's answer; 503 has a body too. */
export interface Readiness {
  readonly status: string
  readonly checks: Readonly<Record<string, string>>
  readonly error?: {
    readonly code: string
    readonly message: string
    readonly detail?: { readonly replay_progress?: number }
  }
}
