// The metrics of both documents, through prom-client: what each is called, what it means and where its number
// comes from (docs/METRICS.md is printed from here). A scrape reads cells and counts; it asks no lane and
// walks nothing, so that it may come as often as it likes and also while the broker is starting.

import {
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  type MetricConfiguration,
  type MetricObjectWithValues,
  type MetricValueWithName,
  Registry,
} from "prom-client"
import { CLIENT_MESSAGES, DOMAIN_FAULTS } from "../../protocol/messages/index.ts"
import { LEASE_FAULTS } from "../../protocol/messages/lease.ts"
import { NOTICE_PUBLISH } from "../../protocol/messages/notice.ts"
import { RPC_FAULTS } from "../../protocol/messages/rpc.ts"
import { STREAM_FAULTS } from "../../protocol/messages/stream.ts"
import { SCHEMES, type Scheme } from "../../protocol/route.ts"
import type { FigureName } from "../domains/figures.ts"
import { type DoorTally, ENDINGS, TRANSPORTS, TURNED_AWAY } from "../engine/doors.ts"
import type { Engine } from "../engine/engine.ts"
import type { Rates } from "../engine/rates.ts"
import type { Status } from "../engine/status.ts"
import {
  type CountName,
  type Distribution,
  LATENCY_BOUNDS_SECONDS,
  SYNC_BOUNDS_MICROS,
  type Tally,
} from "../engine/tally.ts"
import type { Observed } from "./api.ts"

/** Where the numbers come from. */
export interface MetricsSource {
  readonly status: Status
  readonly live: Tally
  readonly durable: Tally
  readonly engine: Pick<Engine, "framesReceived" | "sessionCount" | "depth" | "depthPeak" | "holds">
  readonly doors: DoorTally
  readonly rates: Rates<"fires">
  readonly now: () => number
  /** Open connections of programs. */
  readonly connections: () => number
  /** Bytes of the store's files. */
  readonly storageBytes: () => number
}

/** What a metric is. */
interface Described {
  readonly surface: string
  readonly name: string
  readonly type: string
  readonly help: string
  readonly labels: readonly string[]
}

/** One number of a scrape. */
export interface Sample {
  readonly name: string
  readonly kind: string
  readonly help: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** The classic text format, also where a scraper offers OpenMetrics (admin-api.md, D-16). */
export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

type Labels = Readonly<Record<string, string>>
type Samples = Iterable<readonly [Labels, number]>

/** A histogram whose buckets are counted elsewhere. */
class CountedHistogram extends Histogram {
  private readonly read: () => Iterable<readonly [Labels, Distribution]>
  private readonly about: { readonly name: string; readonly help: string }

  constructor(
    about: MetricConfiguration<string> & { readonly buckets: number[] },
    read: () => Iterable<readonly [Labels, Distribution]>,
  ) {
    super(about)
    this.about = about
    this.read = read
  }

  /** What the library asks for the text; its declarations do not know the method. */
  getForPromString(): ReturnType<CountedHistogram["get"]> {
    return this.get()
  }

  override async get(): Promise<MetricObjectWithValues<MetricValueWithName<string>>> {
    const { name, help } = this.about
    const values: MetricValueWithName<string>[] = []
    for (const [labels, { bounds, counts, sum }] of this.read()) {
      let count = 0
      for (const [index, bound] of bounds.entries()) {
        count += counts[index]!
        values.push({ metricName: `${name}_bucket`, labels: { ...labels, le: bound }, value: count })
      }
      count += counts.at(-1)!
      values.push({ metricName: `${name}_bucket`, labels: { ...labels, le: "+Inf" }, value: count })
      values.push({ metricName: `${name}_sum`, labels: { ...labels }, value: sum })
      values.push({ metricName: `${name}_count`, labels: { ...labels }, value: count })
    }
    // The library's own type of a metric has its kind as a name and not as a number.
    return { name, help, type: "histogram", values, aggregator: "sum" } as never
  }
}

/** Builds metrics that read their numbers when they are asked. */
class Shelf {
  readonly registry = new Registry()
  readonly labels = new Map<string, readonly string[]>()

  gauge(name: string, help: string, read: () => number | Samples, labelNames: readonly string[] = []): void {
    this.labels.set(name, labelNames)
    new Gauge({
      name,
      help,
      labelNames,
      registers: [this.registry],
      collect() {
        fill(read(), (labels, value) => this.set(labels, value))
      },
    })
  }

  counter(
    name: string,
    help: string,
    read: () => number | Samples,
    labelNames: readonly string[] = [],
  ): void {
    this.labels.set(name, labelNames)
    new Counter({
      name,
      help,
      labelNames,
      registers: [this.registry],
      collect() {
        this.reset()
        fill(read(), (labels, value) => this.inc(labels, value))
      },
    })
  }

  histogram(
    name: string,
    help: string,
    bounds: readonly number[],
    read: () => Iterable<readonly [Labels, Distribution]>,
    labelNames: readonly string[] = [],
  ): void {
    this.labels.set(name, labelNames)
    new CountedHistogram({ name, help, labelNames, buckets: [...bounds], registers: [this.registry] }, read)
  }
}

function fill(read: number | Samples, put: (labels: Labels, value: number) => void): void {
  if (typeof read === "number") put({}, read)
  else for (const [labels, value] of read) put(labels, value)
}

function added(distributions: readonly Distribution[]): Distribution {
  const [first] = distributions
  return {
    bounds: first!.bounds,
    counts: first!.counts.map((_, index) =>
      distributions.reduce((sum, { counts }) => sum + counts[index]!, 0),
    ),
    sum: distributions.reduce((sum, distribution) => sum + distribution.sum, 0),
  }
}

export class Metrics {
  private readonly source: MetricsSource
  private readonly own = new Shelf()
  private readonly topics = new Shelf()
  /** Requests to the HTTP surface, by the canonical template of their route. */
  private readonly adminRequests: Counter<"route" | "method" | "status">
  private readonly adminCommands: Counter<"action" | "outcome">
  private readonly adminRateLimited: Counter<"class">
  private readonly leaseForcedReleases: Counter
  constructor(source: MetricsSource) {
    this.source = source
    const registers = [this.own.registry]
    this.adminRequests = new Counter({
      name: "fitz_admin_requests_total",
      help: "Requests to the admin surface, by canonical route, method and status.",
      labelNames: ["route", "method", "status"],
      registers,
    })
    this.adminCommands = new Counter({
      name: "fitz_admin_commands_total",
      help: "Commands of the admin surface, by action and outcome.",
      labelNames: ["action", "outcome"],
      registers,
    })
    this.adminRateLimited = new Counter({
      name: "fitz_admin_rate_limited_total",
      help: "Requests refused with 429, by class of limit.",
      labelNames: ["class"],
      registers,
    })
    this.leaseForcedReleases = new Counter({
      name: "fitz_lease_forced_releases_total",
      help: "Leases released by an operator.",
      registers,
    })
    this.own.labels.set("fitz_admin_requests_total", ["route", "method", "status"])
    this.own.labels.set("fitz_admin_commands_total", ["action", "outcome"])
    this.own.labels.set("fitz_admin_rate_limited_total", ["class"])
    this.describeBroker()
    this.describeDomains()
    this.describeStorage()
    this.describeTopics()
    collectDefaultMetrics({ register: this.own.registry })
  }

  /** What `/metrics` says. */
  async text(): Promise<string> {
    // The library spells it as no description of the format does.
    return (await this.own.registry.metrics()).replaceAll(/ Nan$/gm, " NaN")
  }

  /** The same as data, a row for each sample that is a number. */
  async samples(): Promise<readonly Sample[]> {
    const metrics = await this.own.registry.getMetricsAsJSON()
    return metrics.flatMap(({ name, type, help, values }) =>
      values
        .filter(({ value }) => Number.isFinite(value))
        .map(sample => ({
          name: "metricName" in sample && typeof sample.metricName === "string" ? sample.metricName : name,
          kind: String(type),
          help,
          labels: Object.fromEntries(
            Object.entries(sample.labels).map(([key, value]) => [key, String(value)]),
          ),
          value: sample.value,
        })),
    )
  }

  /** A request to the admin API is finished. */
  observe({ route, method, status, action, outcome }: Observed): void {
    this.adminRequests.inc({ route, method, status: String(status) })
    if (action === null) return
    this.adminCommands.inc({ action, outcome })
    if (action === "lease.release" && outcome === "ok") this.leaseForcedReleases.inc()
  }

  limited(name: string): void {
    this.adminRateLimited.inc({ class: name })
  }

  /** What `/v0/metrics` says. */
  topicsText(): Promise<string> {
    return this.topics.registry.metrics()
  }

  /** Every metric, in the order of the names; for docs/METRICS.md. */
  async catalogue(): Promise<readonly Described[]> {
    const rows: Described[] = []
    for (const [surface, { registry, labels }] of [
      ["/metrics", this.own],
      ["/v0/metrics", this.topics],
    ] as const) {
      for (const { name, type, help } of await registry.getMetricsAsJSON()) {
        rows.push({ surface, name, type: String(type), help, labels: labels.get(name) ?? [] })
      }
    }
    return rows.sort((a, b) => (a.surface + a.name < b.surface + b.name ? -1 : 1))
  }

  /** `/v0/metrics` for whoever asks for JSON: the same series in one object. */
  topicsJson(): Readonly<Record<string, unknown>> {
    const { status, durable, engine } = this.source
    const syncs = durable.syncs
    const fsyncs = total(syncs)
    return {
      topics: 0,
      topics_ephemeral: 0,
      topics_memory: 0,
      topics_disk: 0,
      topics_fsync: 0,
      routers: 0,
      records_live: 0,
      bytes_live: 0,
      queue_topics: 0,
      queue_leases_in_flight: 0,
      sse_connections: 0,
      watch_sessions: 0,
      ready: status.domainsReady,
      replay_progress: status.domainsReady ? 1 : status.loadProgress,
      uptime_ms: status.uptimeMs,
      wal: {
        fsyncs,
        frames: durable.count("rows"),
        batches: total(durable.commits),
        bytes_written: durable.count("logBytes"),
        rotations: durable.count("logRestarts"),
        queue_depth: engine.depth,
        queue_depth_peak: engine.depthPeak,
        submit_full_total: engine.holds,
        read_only: this.readOnly,
        fsync_count: fsyncs,
        fsync_micros_total: syncs.sum,
      },
    }
  }

  private get readOnly(): number {
    const { status } = this.source
    return status.domainsReady && !status.storageWritable ? 1 : 0
  }

  private count(name: CountName): number {
    return this.source.live.count(name) + this.source.durable.count(name)
  }

  private faults(code: number): number {
    return this.source.live.faultsOf(code) + this.source.durable.faultsOf(code)
  }

  private figure<D extends Scheme>(domain: D, name: FigureName<D>): number {
    return this.source.live.figure(domain, name) + this.source.durable.figure(domain, name)
  }

  private operations(type: number): number {
    return this.source.live.operationsOf(type) + this.source.durable.operationsOf(type)
  }

  private latency(domain: Scheme): Distribution {
    return added([this.source.live.latencyOf(domain), this.source.durable.latencyOf(domain)])
  }

  private ageSeconds(sinceMs: number): number {
    return sinceMs === 0 ? 0 : Math.max(0, (this.source.now() - sinceMs) / 1_000)
  }

  private describeBroker(): void {
    const { own } = this
    const { status, engine, doors, connections } = this.source
    own.gauge("fitz_connections_total", "Open connections of programs, over both transports.", connections)
    own.counter("fitz_messages_received_total", "Frames received from clients.", () => engine.framesReceived)
    own.counter("fitz_messages_sent_total", "Frames sent to clients.", () => this.count("framesSent"))
    own.histogram(
      "fitz_message_latency_seconds",
      "From the arrival of a frame to the end of the turn that handled it, its commit included.",
      LATENCY_BOUNDS_SECONDS,
      () => [[{}, added(SCHEMES.map(domain => this.latency(domain)))]],
    )
    own.gauge("fitz_uptime_seconds", "Age of the process.", () => status.uptimeMs / 1_000)
    own.gauge(
      "fitz_build_info",
      "Always 1; the label tells the version.",
      () => [[{ version: status.version }, 1]],
      ["version"],
    )
    own.gauge("fitz_sessions_total", "Programs that have been let in.", () => engine.sessionCount)
    own.gauge("fitz_ready", "1 while traffic may be sent here.", () => (status.ready ? 1 : 0))
    own.counter(
      "fitz_auth_failures_total",
      "Refused credentials, of programs and over HTTP, by reason.",
      () => [...doors.authFailures].map(([reason, count]) => [{ reason }, count] as const),
      ["reason"],
    )
    own.counter(
      "fitz_permission_denials_total",
      "Requests that the client's permissions do not cover.",
      () =>
        SCHEMES.map(domain => [{ domain }, this.faults(DOMAIN_FAULTS[domain].unauthorized.code)] as const),
      ["domain"],
    )
    own.counter(
      "fitz_frames_malformed_total",
      "Connections ended for bytes that are not the protocol.",
      () => TRANSPORTS.map(transport => [{ transport }, doors.malformed[transport]] as const),
      ["transport"],
    )
    own.counter(
      "fitz_outbound_backpressure_total",
      "How often a connection fell so far behind that notices to it are dropped.",
      () => TRANSPORTS.map(transport => [{ transport }, doors.behind[transport]] as const),
      ["transport"],
    )
    own.counter("fitz_session_cleanup_failures_total", "Ends of a session that threw; each is a bug.", () =>
      this.count("cleanupFailures"),
    )
    own.counter(
      "fitz_connections_refused_total",
      "Connections turned away before they began, by reason.",
      () => TURNED_AWAY.map(reason => [{ reason }, doors.turnedAway[reason]] as const),
      ["reason"],
    )
    own.counter(
      "fitz_connections_ended_total",
      "Connections that the broker ended, by reason.",
      () => ENDINGS.map(reason => [{ reason }, doors.ended[reason]] as const),
      ["reason"],
    )
    own.counter(
      "fitz_inflight_holds_total",
      "How often a client was not read on because too much of it was under way.",
      () => engine.holds,
    )
  }

  private describeDomains(): void {
    const { own } = this
    own.counter(
      "fitz_domain_operations_total",
      "Requests that reached their domain, whatever their outcome.",
      () =>
        [...CLIENT_MESSAGES].map(
          ([type, { domain, row }]) =>
            [{ domain, operation: operationOf(row.name) }, this.operations(type)] as const,
        ),
      ["domain", "operation"],
    )
    own.counter("fitz_domain_errors_total", "Refusals, by code of the protocol.", () => this.errors(), [
      "domain",
      "code",
    ])
    own.gauge(
      "fitz_domain_active",
      "Open transactions, open append sessions, subscriptions, reservations, calls, leases, schedules.",
      () => SCHEMES.map(domain => [{ domain }, this.active(domain)] as const),
      ["domain"],
    )
    own.histogram(
      "fitz_domain_operation_latency_seconds",
      "The same as fitz_message_latency_seconds, by domain.",
      LATENCY_BOUNDS_SECONDS,
      () => SCHEMES.map(domain => [{ domain }, this.latency(domain)] as const),
      ["domain"],
    )
    this.describeStored()
    this.describeLive()
  }

  private *errors(): Generator<readonly [Labels, number]> {
    const codes = new Map<number, number>()
    for (const tally of [this.source.live, this.source.durable]) {
      for (const { code, count } of tally.faults()) codes.set(code, (codes.get(code) ?? 0) + count)
    }
    for (const [code, count] of [...codes].sort(([a], [b]) => a - b)) {
      yield [{ domain: domainOfCode(code), code: String(code) }, count]
    }
  }

  private active(domain: Scheme): number {
    switch (domain) {
      case "kv":
        return this.figure("kv", "transactions_active")
      case "stream":
        return this.figure("stream", "append_sessions_active")
      case "notice":
        return this.figure("notice", "subscriptions_active")
      case "queue":
        return this.figure("queue", "inflight_active")
      case "rpc":
        return this.figure("rpc", "requests_pending")
      case "lease":
        return this.figure("lease", "active")
      case "schedule":
        return this.figure("schedule", "active")
    }
  }

  private describeStored(): void {
    const { own } = this
    own.gauge("fitz_kv_transactions_active", "Open transactions.", () =>
      this.figure("kv", "transactions_active"),
    )
    own.gauge("fitz_kv_keys_total", "Stored keys.", () => this.figure("kv", "keys_total"))
    own.counter("fitz_kv_commits_failed_total", "Commits that the store refused.", () =>
      this.faults(DOMAIN_FAULTS.kv.backend.code),
    )
    own.counter(
      "fitz_kv_rollbacks_total",
      "Transactions that ended without a commit, for whatever reason.",
      () => this.figure("kv", "rollbacks_total"),
    )
    own.gauge("fitz_stream_active", "Streams that hold events.", () => this.figure("stream", "active"))
    own.gauge("fitz_stream_append_sessions_active", "Open append sessions.", () =>
      this.figure("stream", "append_sessions_active"),
    )
    own.gauge("fitz_stream_events_total", "Stored events.", () => this.figure("stream", "events_total"))
    own.counter("fitz_stream_append_conflicts_total", "Appends at another offset than the next.", () =>
      this.faults(STREAM_FAULTS.conflict.code),
    )
    own.counter("fitz_stream_notify_drops_total", "Notifications that no frame can carry.", () =>
      this.source.durable.count("undeliverable"),
    )
    own.gauge("fitz_queue_messages_pending", "Messages that are ready.", () =>
      this.figure("queue", "messages_pending"),
    )
    own.gauge("fitz_queue_messages_delayed", "Messages whose delay is not over.", () =>
      this.figure("queue", "messages_delayed"),
    )
    own.gauge("fitz_queue_inflight_active", "Reserved messages.", () =>
      this.figure("queue", "inflight_active"),
    )
    own.gauge("fitz_queue_messages_dead_lettered", "Dead letters.", () =>
      this.figure("queue", "messages_dead_lettered"),
    )
    own.gauge("fitz_queue_oldest_message_age_seconds", "Age of the oldest message that is ready.", () =>
      this.ageSeconds(this.figure("queue", "oldest_message_ms")),
    )
    own.counter("fitz_queue_redeliveries_total", "Messages reserved again after a reservation ended.", () =>
      this.figure("queue", "redeliveries_total"),
    )
    own.counter("fitz_queue_dlq_transitions_total", "Messages that became dead letters.", () =>
      this.figure("queue", "dlq_transitions_total"),
    )
    own.gauge("fitz_schedule_active", "Definitions.", () => this.figure("schedule", "active"))
    own.gauge(
      "fitz_schedule_executions_per_minute",
      "Occurrences in the last minute.",
      () => this.source.rates.perSecond("fires", this.source.now(), 60) * 60,
    )
    own.gauge(
      "fitz_schedule_pending_fire_claims",
      "Occurrences that are due and wait for the next turn.",
      () => this.figure("schedule", "pending_fire_claims"),
    )
    own.counter("fitz_schedule_notify_failures_total", "Occurrences that nobody listened to.", () =>
      this.figure("schedule", "notify_failures_total"),
    )
    own.counter("fitz_schedule_executions_total", "Occurrences.", () =>
      this.figure("schedule", "fires_total"),
    )
  }

  private describeLive(): void {
    const { own } = this
    own.gauge("fitz_notice_subscriptions_active", "Subscriptions.", () =>
      this.figure("notice", "subscriptions_active"),
    )
    own.gauge("fitz_notice_routes_active", "Different patterns among the subscriptions.", () =>
      this.figure("notice", "routes_active"),
    )
    own.counter("fitz_notice_publishes_total", "Publishes.", () => this.operations(NOTICE_PUBLISH))
    own.counter(
      "fitz_notice_delivery_drops_total",
      "Notices that were not sent because their receivers are too far behind.",
      () => this.source.live.count("noticesDropped") + this.source.live.count("undeliverable"),
    )
    own.gauge("fitz_rpc_workers_registered", "Registrations of workers.", () =>
      this.figure("rpc", "workers_registered"),
    )
    own.gauge("fitz_rpc_requests_pending", "Calls that are not finished.", () =>
      this.figure("rpc", "requests_pending"),
    )
    own.gauge(
      "fitz_rpc_oldest_pending_request_age_seconds",
      "Age of the oldest call that is not finished.",
      () => this.ageSeconds(this.figure("rpc", "oldest_pending_request_ms")),
    )
    own.counter("fitz_rpc_request_timeouts_total", "Calls whose time was over.", () =>
      this.faults(RPC_FAULTS.timeout.code),
    )
    own.counter("fitz_rpc_backpressure_rejects_total", "Calls refused because too many wait.", () =>
      this.faults(RPC_FAULTS.backpressure.code),
    )
    own.gauge("fitz_lease_active", "Held leases.", () => this.figure("lease", "active"))
    own.gauge("fitz_lease_waiter_depth", "Clients that wait for a lease.", () =>
      this.figure("lease", "waiter_depth"),
    )
    own.counter(
      "fitz_lease_invalid_token_rejects_total",
      "Requests with a fencing token that is not the holder's.",
      () => this.faults(LEASE_FAULTS.fenced.code),
    )
  }

  private describeStorage(): void {
    const { own } = this
    const { durable, storageBytes } = this.source
    own.histogram(
      "fitz_storage_commit_seconds",
      "How long a commit took, its sync included.",
      LATENCY_BOUNDS_SECONDS,
      () => [[{}, durable.commits]],
    )
    own.gauge("fitz_storage_size_bytes", "Size of the store's files.", storageBytes)
    own.counter(
      "fitz_storage_errors_total",
      "Failures of the store, by operation.",
      () => [[{ operation: "commit" }, durable.count("commitErrors")]],
      ["operation"],
    )
    own.gauge(
      "fitz_storage_read_only",
      "1 while the store refuses writes because its disk is full.",
      () => this.readOnly,
    )
  }

  private describeTopics(): void {
    const { topics } = this
    const { status, durable, engine } = this.source
    // That engine is not part of this broker yet: there is none of any of these.
    const none: readonly (readonly [string, string])[] = [
      ["topics_topics", "Topics."],
      ["topics_routers", "Routers."],
      ["topics_records_live", "Retained records."],
      ["topics_bytes_live", "Retained bytes of payload."],
      ["topics_queue_topics", "Topics of the kind queue."],
      ["topics_queue_leases_in_flight", "Leases that have not run out, over all queues."],
      ["topics_sse_connections", "Open long-lived streams."],
      ["topics_watch_sessions", "Watch sessions."],
      ["topics_topic_metrics_truncated", "1 when series of single topics were cut off."],
    ]
    for (const [name, help] of none) topics.gauge(name, help, () => 0)
    topics.gauge(
      "topics_topics_by_class",
      "Topics, by durability class.",
      () => ["ephemeral", "memory", "disk", "fsync"].map(name => [{ class: name }, 0] as const),
      ["class"],
    )
    const perTopic: readonly (readonly [string, string])[] = [
      ["topics_topic_head_seq", "Highest sequence number given."],
      ["topics_topic_earliest_seq", "First retained sequence number."],
      ["topics_topic_records_live", "Retained records of a topic."],
      ["topics_topic_bytes_live", "Retained bytes of payload of a topic."],
      ["topics_topic_queue_ready", "Jobs of a queue that can be claimed."],
      ["topics_topic_queue_in_flight", "Jobs of a queue that are leased."],
    ]
    for (const [name, help] of perTopic) topics.gauge(name, help, () => [], ["topic"])
    topics.gauge("topics_ready", "1 once recovery is over.", () => (status.domainsReady ? 1 : 0))
    topics.gauge("topics_recovery_progress", "Share of the store that is loaded.", () =>
      status.domainsReady ? 1 : status.loadProgress,
    )
    topics.gauge("topics_uptime_ms", "Age of the process in milliseconds.", () => status.uptimeMs)
    const counters: readonly (readonly [string, string, () => number])[] = [
      ["topics_wal_frames_total", "Rows written to the log.", () => durable.count("rows")],
      ["topics_wal_batches_total", "Commits.", () => total(durable.commits)],
      ["topics_wal_fsyncs_total", "Syncs.", () => total(durable.syncs)],
      ["topics_wal_bytes_written_total", "Bytes appended to the log.", () => durable.count("logBytes")],
      [
        "topics_wal_rotations_total",
        "How often the log began anew after a checkpoint.",
        () => durable.count("logRestarts"),
      ],
      [
        "topics_wal_submit_full_total",
        "How often a submission had to wait because too much was under way.",
        () => engine.holds,
      ],
    ]
    for (const [name, help, read] of counters) topics.counter(name, help, read)
    topics.gauge(
      "topics_wal_queue_depth",
      "Batches handed over that the writer has not taken.",
      () => engine.depth,
    )
    topics.gauge("topics_wal_queue_depth_peak", "The most of those since the start.", () => engine.depthPeak)
    topics.gauge("topics_wal_read_only", "1 while the log takes no writes.", () => this.readOnly)
    topics.histogram(
      "topics_wal_fsync_latency_us",
      "How long a sync took, with the commit that it belongs to.",
      SYNC_BOUNDS_MICROS,
      () => [[{}, durable.syncs]],
    )
  }
}

function total({ counts }: Distribution): number {
  return counts.reduce((sum, count) => sum + count, 0)
}

/** `KV DELETE_RANGE` → `delete_range`. */
function operationOf(name: string): string {
  return name.slice(name.indexOf(" ") + 1).toLowerCase()
}

const DOMAIN_OF_CODE = new Map(
  SCHEMES.map(domain => [Math.floor(DOMAIN_FAULTS[domain].unauthorized.code / 1_000), domain]),
)

function domainOfCode(code: number): string {
  return DOMAIN_OF_CODE.get(Math.floor(code / 1_000)) ?? "other"
}
