// The counts in the API's bodies as a reader meets them: name, unit, whether they are durable, whether they are
// bad news. Pure. A count that is not listed here is shown under its own name, never left out.

import { age, bytes, compact, latency } from "./format.ts"
import type { Lifetime } from "./words.ts"

type Kind = "count" | "rate" | "perMinute" | "seconds" | "bytes" | "ms" | "ratio"

export interface Count {
  readonly key: string
  readonly name: string
  /** For the head of a column. */
  readonly short: string
  readonly about: string
  readonly value: number
  readonly kind: Kind
  /** Where it differs from its domain. */
  readonly durable: Lifetime | null
  /** More than nought is bad news. */
  readonly alarm: boolean
}

type Entry = readonly [
  name: string,
  short: string,
  about: string,
  kind?: Kind,
  lifetime?: Lifetime,
  alarm?: boolean,
]

const KNOWN: Readonly<Record<string, Entry>> = {
  keys_total: ["Keys", "Keys", "committed keys, durable", "count", "durable"],
  transactions_active: [
    "Open transactions",
    "Open",
    "in memory; they end with their session",
    "count",
    "live",
  ],
  transactions_committed_total: ["Committed", "Committed", "since this process started", "count", "live"],
  transactions_rolled_back_total: [
    "Rolled back",
    "Rolled back",
    "since this process started",
    "count",
    "live",
  ],
  committed_event_count: ["Events", "Events", "committed, durable", "count", "durable"],
  events_total: ["Events", "Events", "committed, durable", "count", "durable"],
  streams_active: ["Streams", "Streams", "with committed events or somebody who appends", "count", "durable"],
  size_bytes: ["Size", "Size", "committed bytes, durable", "bytes", "durable"],
  sessions_active: ["Append sessions", "Appending", "live; not an inventory of writers", "count", "live"],
  messages_ready: ["Ready", "Ready", "may be reserved now; durable", "count", "durable"],
  messages_delayed: ["Delayed", "Delayed", "their time has not come; durable", "count", "durable"],
  messages_inflight: [
    "Reserved",
    "Reserved",
    "live reservations; they end with their session",
    "count",
    "live",
  ],
  inflight_active: [
    "Reserved",
    "Reserved",
    "live reservations; they end with their session",
    "count",
    "live",
  ],
  messages_dead_lettered: [
    "Dead letters",
    "Dead",
    "nobody could handle them; durable",
    "count",
    "durable",
    true,
  ],
  messages_total: [
    "Messages",
    "All",
    "ready, delayed, reserved and dead together; durable",
    "count",
    "durable",
  ],
  messages_pending: ["Waiting", "Waiting", "ready and delayed; durable", "count", "durable"],
  oldest_message_age_seconds: [
    "Oldest message",
    "Oldest",
    "of those that are not dead",
    "seconds",
    "durable",
  ],
  inflight_expired_total: ["Reservations lapsed", "Lapsed", "since this process started", "count", "live"],
  in_rate_per_second: ["In", "In", "messages a second, last 10 s", "rate", "live"],
  out_rate_per_second: ["Out", "Out", "messages a second, last 10 s", "rate", "live"],
  family_count: ["Families", "Families", "route families that share this name", "count"],
  subscriptions_active: [
    "Subscriptions",
    "Subscriptions",
    "live; they end with their session",
    "count",
    "live",
  ],
  routes_registered: ["Routes", "Routes", "seen by this process", "count", "live"],
  notifications_received: ["Heard", "Heard", "deliveries in this process", "count", "live"],
  publishes_total: ["Published", "Published", "since this process started", "count", "live"],
  publishes_per_second: ["Publishing", "Publishing", "last 10 s", "rate", "live"],
  publishes_per_minute: ["Publishing", "A minute", "last 60 s", "perMinute", "live"],
  fanout_ratio: ["Fan-out", "Fan-out", "deliveries for each publish, in this process", "ratio", "live"],
  workers_registered: ["Workers", "Workers", "live registrations", "count", "live"],
  requests_pending: ["Pending calls", "Pending", "live; no backlog", "count", "live"],
  requests_completed_total: ["Completed", "Completed", "since this process started", "count", "live"],
  requests_timed_out_total: ["Timed out", "Timed out", "since this process started", "count", "live"],
  average_latency_ms: ["Average latency", "Latency", "of calls completed in this process", "ms", "live"],
  slowest_worker_average_latency_ms: [
    "Slowest worker",
    "Slowest",
    "average of the slowest worker",
    "ms",
    "live",
  ],
  leases_active: ["Leases", "Leases", "live ownership", "count", "live"],
  active_leases: ["Leases", "Leases", "live ownership", "count", "live"],
  waiters: ["Waiting", "Waiting", "clients that wait for it", "count", "live"],
  oldest_lease_age_seconds: ["Oldest lease", "Oldest", "how long it has been held", "seconds", "live"],
  leases_acquired_total: ["Acquired", "Acquired", "since this process started", "count", "live"],
  leases_expired_total: ["Expired", "Expired", "since this process started", "count", "live"],
  schedules_active: ["Active", "Active", "enabled definitions, durable", "count", "durable"],
  schedules_enabled: ["Enabled", "Enabled", "definitions, durable", "count", "durable"],
  schedules_disabled: ["Disabled", "Disabled", "definitions, durable", "count", "durable"],
  pending_claims: ["Claims", "Claims", "runs that are due and not handed out", "count", "durable"],
  executions_per_minute: ["Runs", "A minute", "last 60 s", "perMinute", "live"],
  executions_total: ["Runs", "Runs", "by this process since it started", "count", "live"],
  operations_per_second: ["Operations", "Operations", "last 10 s", "rate", "live"],
  offset: ["Offset", "Offset", "last committed offset, durable", "count", "durable"],
  watermark: ["Watermark", "Watermark", "highest visible offset, durable", "count", "durable"],
}

/** Said twice elsewhere. */
const LEFT_OUT: ReadonlySet<string> = new Set(["schedules_active"])

/** The counts of a body, in its order. */
export function countsOf(body: Readonly<Record<string, unknown>>): readonly Count[] {
  const both = "schedules_enabled" in body
  return Object.entries(body).flatMap(([key, value]): Count[] => {
    if (typeof value !== "number" || (both && LEFT_OUT.has(key))) return []
    const spoken = key.replaceAll("_", " ")
    const [name = spoken, short = name, about = "", kind = "count", lifetime = null, alarm = false] =
      KNOWN[key] ?? []
    return [{ key, name, short, about, value, kind, durable: lifetime, alarm }]
  })
}

export function showCount({ value, kind }: Pick<Count, "value" | "kind">): {
  readonly value: string
  readonly unit: string | null
} {
  switch (kind) {
    case "rate":
      return { value: compact(value), unit: "/s" }
    case "perMinute":
      return { value: compact(value), unit: "/min" }
    case "seconds":
      return { value: age(value), unit: null }
    case "bytes":
      return { value: bytes(value), unit: null }
    case "ms":
      return { value: latency(value / 1_000), unit: null }
    case "ratio":
      return { value: value.toFixed(2), unit: "\u00d7" }
    case "count":
      return { value: compact(value), unit: null }
  }
}
