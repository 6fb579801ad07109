// What each domain says of itself in numbers: a closed list of names, which are also the ends of the names of
// its metrics (docs/METRICS.md). A figure is read off what the domain keeps anyway; finding it must not walk.

import type { Scheme } from "../../protocol/route.ts"

export const FIGURES = {
  kv: ["transactions_active", "keys_total", "rollbacks_total"],
  stream: ["active", "append_sessions_active", "events_total"],
  notice: ["subscriptions_active", "routes_active"],
  queue: [
    "messages_pending",
    "messages_delayed",
    "inflight_active",
    "messages_dead_lettered",
    "oldest_message_ms",
    "redeliveries_total",
    "dlq_transitions_total",
  ],
  rpc: ["workers_registered", "requests_pending", "oldest_pending_request_ms"],
  lease: ["active", "waiter_depth"],
  schedule: ["active", "fires_total", "pending_fire_claims", "notify_failures_total"],
} as const satisfies { readonly [D in Scheme]: readonly string[] }

export type FigureName<D extends Scheme> = (typeof FIGURES)[D][number]
/** One number for each name. `…_ms` is a moment, or 0 for none; `…_total` that only grow begin with the process. */
export type Figures<D extends Scheme> = { readonly [Name in FigureName<D>]: number }
