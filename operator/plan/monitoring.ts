// What Prometheus and Grafana read (operator.md §4.6): ServiceMonitor, alerts, dashboard. Queries name metrics of the
// broker only; a test holds every name against the list in admin-api.md §7.

import type { BrokerSpec } from "../kinds/broker.ts"
import { child, NAMES, type Owner } from "./children.ts"
import { BROKER_LABEL, type KubeObject } from "./object.ts"
import { canonical, digest } from "./values.ts"

export function serviceMonitor(owner: Owner, spec: BrokerSpec): KubeObject {
  const { labels, interval, scrapeTimeout, scrapeClass } = spec.monitoring.serviceMonitor
  return child(
    "serviceMonitor",
    owner,
    owner.name,
    {
      spec: {
        jobLabel: BROKER_LABEL,
        ...(scrapeClass === undefined ? {} : { scrapeClass }),
        selector: { matchLabels: { [BROKER_LABEL]: owner.name, "fitz.dev/service": "headless" } },
        endpoints: [
          {
            port: "http",
            path: "/metrics",
            interval,
            scrapeTimeout,
            honorLabels: false,
            authorization: {
              type: "Bearer",
              credentials: { name: NAMES.metricsToken(owner.name), key: "token" },
            },
          },
        ],
      },
    },
    { labels },
  )
}

export interface Alert {
  readonly name: string
  readonly severity: "critical" | "warning" | "info"
  readonly forMinutes: number
  readonly expression: (scope: Scope) => string
  readonly summary: string
}

interface Scope {
  /** Label matchers of the broker's own series. */
  readonly own: string
  readonly namespace: string
  readonly claim: string
}

export const ALERTS: readonly Alert[] = [
  {
    name: "FitzBrokerDown",
    severity: "critical",
    forMinutes: 2,
    expression: ({ own }) => `up{${own}} == 0`,
    summary: "Prometheus cannot scrape the broker.",
  },
  {
    name: "FitzBrokerNotReady",
    severity: "critical",
    forMinutes: 5,
    expression: ({ own }) => `fitz_ready{${own}} == 0`,
    summary: "The broker does not let programs in.",
  },
  {
    name: "FitzStorageErrors",
    severity: "critical",
    forMinutes: 0,
    expression: ({ own }) => `increase(fitz_storage_errors_total{${own}}[5m]) > 0`,
    summary: "The broker cannot write to its volume.",
  },
  {
    name: "FitzBrokerRestarting",
    severity: "warning",
    forMinutes: 0,
    expression: ({ own }) => `changes(process_start_time_seconds{${own}}[15m]) > 2`,
    summary: "The broker restarts again and again.",
  },
  {
    name: "FitzLatencyHigh",
    severity: "warning",
    forMinutes: 10,
    expression: ({ own }) =>
      `histogram_quantile(0.99, sum by (le) (rate(fitz_message_latency_seconds_bucket{${own}}[5m]))) > 0.1`,
    summary: "One message in a hundred takes longer than a tenth of a second.",
  },
  {
    name: "FitzDomainErrors",
    severity: "warning",
    forMinutes: 10,
    expression: ({ own }) =>
      `sum by (domain) (rate(fitz_domain_errors_total{${own}}[5m])) / sum by (domain) (rate(fitz_domain_operations_total{${own}}[5m])) > 0.05`,
    summary: "More than one operation in twenty fails.",
  },
  {
    name: "FitzDeadLettersGrowing",
    severity: "warning",
    forMinutes: 15,
    expression: ({ own }) => `delta(fitz_queue_messages_dead_lettered{${own}}[15m]) > 0`,
    summary: "Messages become dead letters.",
  },
  {
    name: "FitzQueueStale",
    severity: "warning",
    forMinutes: 10,
    expression: ({ own }) => `fitz_queue_oldest_message_age_seconds{${own}} > 900`,
    summary: "A message has waited for more than a quarter of an hour.",
  },
  {
    name: "FitzVolumeFilling",
    severity: "warning",
    forMinutes: 10,
    expression: ({ namespace, claim }) => {
      const volume = `namespace="${namespace}",persistentvolumeclaim="${claim}"`
      return `kubelet_volume_stats_available_bytes{${volume}} / kubelet_volume_stats_capacity_bytes{${volume}} < 0.15`
    },
    summary: "Less than 15 % of the volume is free. Raise spec.storage.size.",
  },
  {
    name: "FitzAuthFailures",
    severity: "warning",
    forMinutes: 10,
    expression: ({ own }) => `sum(rate(fitz_auth_failures_total{${own}}[5m])) > 1`,
    summary: "Tokens are refused, more than one a second.",
  },
  {
    name: "FitzBackpressure",
    severity: "warning",
    forMinutes: 10,
    expression: ({ own }) => `rate(fitz_outbound_backpressure_total{${own}}[5m]) > 1`,
    summary: "Programs read more slowly than messages arrive.",
  },
  {
    name: "FitzAdminCommands",
    severity: "info",
    forMinutes: 0,
    expression: ({ own }) => `increase(fitz_admin_commands_total{${own}}[5m]) > 0`,
    summary: "Somebody changes the broker's state by hand.",
  },
]

function scopeOf(owner: Owner, claim: string): Scope {
  return {
    own: `namespace="${owner.namespace}",service="${NAMES.headless(owner.name)}"`,
    namespace: owner.namespace,
    claim,
  }
}

export function prometheusRule(owner: Owner, spec: BrokerSpec): KubeObject {
  const scope = scopeOf(owner, spec.storage.existingClaim ?? NAMES.claim(owner.name))
  return child(
    "prometheusRule",
    owner,
    owner.name,
    {
      spec: {
        groups: [
          {
            name: `fitz-${owner.namespace}-${owner.name}`,
            rules: ALERTS.map(({ name, severity, forMinutes, expression, summary }) => ({
              alert: name,
              expr: expression(scope),
              ...(forMinutes === 0 ? {} : { for: `${forMinutes}m` }),
              labels: { severity },
              annotations: {
                summary: `${owner.namespace}/${owner.name}: ${summary}`,
                runbook_url: `https://fitz.dev/docs/operating#${name.toLowerCase()}`,
              },
            })),
          },
        ],
      },
    },
    { labels: spec.monitoring.prometheusRule.labels },
  )
}

interface Panel {
  readonly title: string
  readonly unit: string
  /** Legend and query; $own stands for the broker's series. */
  readonly queries: readonly (readonly [string, string])[]
}

const rate = (metric: string, by = ""): string =>
  by === "" ? `sum(rate(${metric}{$own}[5m]))` : `sum by (${by}) (rate(${metric}{$own}[5m]))`
const quantile = (share: number, metric: string): string =>
  `histogram_quantile(${share}, sum by (le) (rate(${metric}_bucket{$own}[5m])))`
const gauge = (metric: string): string => `${metric}{$own}`

export const ROWS: readonly { readonly title: string; readonly panels: readonly Panel[] }[] = [
  {
    title: "Sessions",
    panels: [
      {
        title: "Connections and sessions",
        unit: "short",
        queries: [
          ["connections", gauge("fitz_connections_total")],
          ["sessions", gauge("fitz_sessions_total")],
        ],
      },
      {
        title: "Messages per second",
        unit: "ops",
        queries: [
          ["received", rate("fitz_messages_received_total")],
          ["sent", rate("fitz_messages_sent_total")],
        ],
      },
      {
        title: "Back pressure per second",
        unit: "ops",
        queries: [["{{transport}}", rate("fitz_outbound_backpressure_total", "transport")]],
      },
    ],
  },
  {
    title: "Latency",
    panels: [
      {
        title: "Time to handle a message",
        unit: "s",
        queries: [
          ["p50", quantile(0.5, "fitz_message_latency_seconds")],
          ["p99", quantile(0.99, "fitz_message_latency_seconds")],
        ],
      },
      {
        title: "Operations per second",
        unit: "ops",
        queries: [["{{domain}}", rate("fitz_domain_operations_total", "domain")]],
      },
      {
        title: "Errors per second",
        unit: "ops",
        queries: [["{{domain}}", rate("fitz_domain_errors_total", "domain")]],
      },
    ],
  },
  {
    title: "Key-value",
    panels: [
      {
        title: "Keys and open transactions",
        unit: "short",
        queries: [
          ["keys", gauge("fitz_kv_keys_total")],
          ["transactions", gauge("fitz_kv_transactions_active")],
        ],
      },
      {
        title: "Rollbacks and failed commits per second",
        unit: "ops",
        queries: [
          ["rollbacks", rate("fitz_kv_rollbacks_total")],
          ["failed commits", rate("fitz_kv_commits_failed_total")],
        ],
      },
    ],
  },
  {
    title: "Streams",
    panels: [
      {
        title: "Streams and events",
        unit: "short",
        queries: [
          ["streams", gauge("fitz_stream_active")],
          ["events", gauge("fitz_stream_events_total")],
          ["open appends", gauge("fitz_stream_append_sessions_active")],
        ],
      },
      {
        title: "Conflicts and dropped notifications per second",
        unit: "ops",
        queries: [
          ["conflicts", rate("fitz_stream_append_conflicts_total")],
          ["dropped", rate("fitz_stream_notify_drops_total")],
        ],
      },
    ],
  },
  {
    title: "Notices",
    panels: [
      {
        title: "Subscriptions",
        unit: "short",
        queries: [
          ["subscriptions", gauge("fitz_notice_subscriptions_active")],
          ["routes", gauge("fitz_notice_routes_active")],
        ],
      },
      {
        title: "Published and dropped per second",
        unit: "ops",
        queries: [
          ["published", rate("fitz_notice_publishes_total")],
          ["dropped", rate("fitz_notice_delivery_drops_total")],
        ],
      },
    ],
  },
  {
    title: "Queues",
    panels: [
      {
        title: "Messages",
        unit: "short",
        queries: [
          ["pending", gauge("fitz_queue_messages_pending")],
          ["delayed", gauge("fitz_queue_messages_delayed")],
          ["reserved", gauge("fitz_queue_inflight_active")],
          ["dead", gauge("fitz_queue_messages_dead_lettered")],
        ],
      },
      {
        title: "Age of the oldest message",
        unit: "s",
        queries: [["age", gauge("fitz_queue_oldest_message_age_seconds")]],
      },
      {
        title: "Redelivered per second",
        unit: "ops",
        queries: [["redelivered", rate("fitz_queue_redeliveries_total")]],
      },
    ],
  },
  {
    title: "Calls",
    panels: [
      {
        title: "Workers and waiting calls",
        unit: "short",
        queries: [
          ["workers", gauge("fitz_rpc_workers_registered")],
          ["waiting", gauge("fitz_rpc_requests_pending")],
        ],
      },
      {
        title: "Time-outs and refusals per second",
        unit: "ops",
        queries: [
          ["time-outs", rate("fitz_rpc_request_timeouts_total")],
          ["refused", rate("fitz_rpc_backpressure_rejects_total")],
        ],
      },
    ],
  },
  {
    title: "Leases",
    panels: [
      {
        title: "Leases and waiters",
        unit: "short",
        queries: [
          ["leases", gauge("fitz_lease_active")],
          ["waiters", gauge("fitz_lease_waiter_depth")],
        ],
      },
      {
        title: "Forced releases and wrong tokens per second",
        unit: "ops",
        queries: [
          ["forced", rate("fitz_lease_forced_releases_total")],
          ["wrong token", rate("fitz_lease_invalid_token_rejects_total")],
        ],
      },
    ],
  },
  {
    title: "Schedules",
    panels: [
      {
        title: "Schedules and runs per minute",
        unit: "short",
        queries: [
          ["schedules", gauge("fitz_schedule_active")],
          ["runs", gauge("fitz_schedule_executions_per_minute")],
        ],
      },
    ],
  },
  {
    title: "Storage",
    panels: [
      {
        title: "Time to commit",
        unit: "s",
        queries: [
          ["p50", quantile(0.5, "fitz_storage_commit_seconds")],
          ["p99", quantile(0.99, "fitz_storage_commit_seconds")],
        ],
      },
      { title: "Size", unit: "bytes", queries: [["size", gauge("fitz_storage_size_bytes")]] },
      {
        title: "Errors per second",
        unit: "ops",
        queries: [["{{operation}}", rate("fitz_storage_errors_total", "operation")]],
      },
    ],
  },
  {
    title: "Access",
    panels: [
      {
        title: "Refused tokens per second",
        unit: "ops",
        queries: [["{{reason}}", rate("fitz_auth_failures_total", "reason")]],
      },
      {
        title: "Denied operations per second",
        unit: "ops",
        queries: [["{{domain}}", rate("fitz_permission_denials_total", "domain")]],
      },
    ],
  },
  {
    title: "Admin",
    panels: [
      {
        title: "Requests per second",
        unit: "ops",
        queries: [["{{route}}", rate("fitz_admin_requests_total", "route")]],
      },
      {
        title: "Commands per second",
        unit: "ops",
        queries: [["{{action}}", rate("fitz_admin_commands_total", "action")]],
      },
    ],
  },
]

const PANEL_HEIGHT = 8
const GRID_WIDTH = 24
const UID_LENGTH = 24

/** The dashboard of one broker, in Grafana's JSON. */
export function dashboardModel(owner: Owner): Record<string, unknown> {
  const { own } = scopeOf(owner, "")
  const panels: Record<string, unknown>[] = []
  let y = 0
  let id = 0
  for (const { title, panels: row } of ROWS) {
    panels.push({
      id: ++id,
      type: "row",
      title,
      collapsed: false,
      gridPos: { x: 0, y, w: GRID_WIDTH, h: 1 },
      panels: [],
    })
    y++
    const width = Math.floor(GRID_WIDTH / row.length)
    for (const [index, panel] of row.entries())
      panels.push({
        id: ++id,
        type: "timeseries",
        title: panel.title,
        datasource: { type: "prometheus", uid: `$\{datasource}` },
        gridPos: { x: index * width, y, w: width, h: PANEL_HEIGHT },
        fieldConfig: { defaults: { unit: panel.unit, min: 0 }, overrides: [] },
        targets: panel.queries.map(([legendFormat, expr], place) => ({
          refId: String.fromCharCode(65 + place),
          expr: expr.replaceAll("$own", own),
          legendFormat,
        })),
      })
    y += PANEL_HEIGHT
  }
  return {
    uid: digest(`${owner.namespace}/${owner.name}`).slice(0, UID_LENGTH),
    title: `Fitz broker ${owner.namespace}/${owner.name}`,
    tags: ["fitz"],
    timezone: "utc",
    schemaVersion: 39,
    refresh: "30s",
    time: { from: "now-1h", to: "now" },
    templating: {
      list: [{ name: "datasource", type: "datasource", query: "prometheus", label: "Data source" }],
    },
    panels,
  }
}

export function dashboard(owner: Owner, spec: BrokerSpec): KubeObject {
  return child(
    "configMap",
    owner,
    NAMES.dashboard(owner.name),
    {
      data: {
        [`fitz-${owner.namespace}-${owner.name}.json`]: `${canonical(dashboardModel(owner))}\n`,
      },
    },
    { labels: spec.monitoring.dashboard.labels },
  )
}
