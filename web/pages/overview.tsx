// The view that is left open: how the broker is in one sentence, what moves, and what somebody last did to it.
// Everything here is about this one process.

import type { AuditRecord, Diagnostics, DomainStats, Metrics, Stats } from "../api/types.ts"
import { Chart, type Line } from "../parts/chart.tsx"
import { Dot, Figure, Moment, Tag } from "../parts/figures.tsx"
import { Flow } from "../parts/flow.tsx"
import { Link } from "../parts/link.tsx"
import { AsOf, Empty, Panel, Shown, ViewPanel } from "../parts/panel.tsx"
import { useAllStats, useHistory, useReadiness, useStats, useVerdict } from "../state/live.ts"
import type { Figure as FigureName, History, Point } from "../state/metrics.ts"
import { LIST_EVERY_MS, STATS_EVERY_MS, useApi, type View } from "../state/query.ts"
import type { Verdict } from "../state/verdict.ts"
import { age, bytes, compact, latency, signed } from "../text/format.ts"
import { DOMAINS, type Domain, isDomain, WORDS } from "../text/words.ts"

export function Overview() {
  const verdict = useVerdict()
  const stats = useStats()
  const history = useHistory()
  const metrics = useApi<Metrics>("metrics", { everyMs: STATS_EVERY_MS })
  const domains = useAllStats()
  const diagnostics: Partial<Record<Domain, Diagnostics>> = {}
  const missing: string[] = []
  for (const domain of DOMAINS) {
    const view = domains[domain]
    if (view.state === "there" && view.data.diagnostics !== undefined)
      diagnostics[domain] = view.data.diagnostics
    if (view.state === "failed" && view.failure.kind !== "forbidden") missing.push(WORDS[domain].name)
  }
  return (
    <>
      <VerdictLine verdict={verdict} stats={stats} />
      {missing.length > 0 && (
        <p class="banner" data-kind="partial" role="status">
          Partly shown: {missing.join(", ")} {missing.length === 1 ? "does" : "do"} not answer. The rest is
          complete.
        </p>
      )}
      <Strip history={history} metrics={metrics} />
      <FlowPanel stats={stats} domains={domains} diagnostics={diagnostics} history={history} />
      <Charts history={history} metrics={metrics} />
      <div class="grid">
        <Movers history={history} metrics={metrics} />
        <RecentAudit />
      </div>
    </>
  )
}

interface FlowPanelProps {
  readonly stats: View<Stats>
  readonly domains: Readonly<Record<Domain, View<DomainStats>>>
  readonly diagnostics: Readonly<Partial<Record<Domain, Diagnostics>>>
  readonly history: History
}

/** The picture from one answer about all; where that does not come, from those of the domains that do answer. */
function FlowPanel({ stats, domains, diagnostics, history }: FlowPanelProps) {
  const each: Partial<Record<Domain, Readonly<Record<string, unknown>>>> = {}
  for (const domain of DOMAINS) {
    const view = domains[domain]
    if (view.state === "there") each[domain] = view.data
  }
  const partly = stats.state === "failed" && Object.keys(each).length > 0
  const storageBytes = history.scrape?.value("fitz_storage_size_bytes") ?? null
  const picture = (
    broker: Stats["broker"] | null,
    figures: Readonly<Partial<Record<Domain, Readonly<Record<string, unknown>>>>>,
  ) => (
    <Flow
      broker={broker}
      domains={figures}
      points={history.points}
      diagnostics={diagnostics}
      storageBytes={storageBytes}
    />
  )
  return (
    <Panel
      title="What flows where"
      stale={stats.state === "there" && stats.stale}
      end={
        <>
          <AsOf view={stats} />
          <span class="legend">
            <span data-lifetime="durable">
              <i /> durable: in the store
            </span>
            <span data-lifetime="live">
              <i /> live: in memory
            </span>
          </span>
        </>
      }
    >
      {partly ? (
        picture(null, each)
      ) : (
        <Shown view={stats} lines={7}>
          {data => picture(data.broker, data.domains)}
        </Shown>
      )}
    </Panel>
  )
}

function VerdictLine({ verdict, stats }: { readonly verdict: Verdict; readonly stats: View<Stats> }) {
  const readiness = useReadiness()
  const health = useApi<{ readonly version?: string }>("healthz", { everyMs: 30_000, probe: true })
  const { level, headline, reasons } = verdict
  return (
    <header class="verdict" data-level={level}>
      <div>
        <h1>
          <span class="beacon" aria-hidden="true" />
          {headline}
        </h1>
        <ul class="reasons">
          {reasons.map(reason => (
            <li>
              {reason.to === null ? (
                <Tag level={reason.level}>{reason.text}</Tag>
              ) : (
                <Link to={reason.to} class="tag" data-level={reason.level}>
                  {reason.text}
                </Link>
              )}
            </li>
          ))}
        </ul>
      </div>
      <p class="self">
        {health.state === "there" && health.data.version !== undefined && <>Fitz {health.data.version}, </>}
        this process only
        <br />
        {stats.state === "there"
          ? `up ${age(stats.data.broker.uptime_seconds)}`
          : readiness.state === "there"
            ? readiness.data.status
            : "\u2013"}
      </p>
    </header>
  )
}

const text = (value: number | null | undefined, format: (value: number) => string): string | null =>
  value === null || value === undefined ? null : format(value)

function Strip({ history, metrics }: { readonly history: History; readonly metrics: View<Metrics> }) {
  const { latest, points } = history
  if (metrics.state === "failed" && latest === null) return null
  const trend = (name: FigureName): (number | null)[] => points.map(point => point[name])
  const frames = (point: Point): number | null =>
    point.framesIn === null || point.framesOut === null ? null : point.framesIn + point.framesOut
  const backlog = (point: Point): number | null =>
    point.ready === null ? null : point.ready + (point.delayed ?? 0)
  return (
    <dl class="figures" data-stale={metrics.state === "there" && metrics.stale}>
      <Figure
        name="Sessions"
        value={text(latest?.sessions, compact)}
        trend={trend("sessions")}
        lifetime="live"
      />
      <Figure
        name="Frames"
        value={text(latest && frames(latest), compact)}
        unit="/s"
        trend={points.map(frames)}
        lifetime="live"
      />
      <Figure
        name="Operations"
        value={text(latest?.operationsAll, compact)}
        unit="/s"
        trend={trend("operationsAll")}
        lifetime="live"
      />
      <Figure
        name="Latency p99"
        value={text(latest?.p99, latency)}
        trend={trend("p99")}
        lifetime="live"
        title="from a frame's arrival to the end of its handling, last 10 s"
      />
      <Figure
        name="Waiting in queues"
        value={text(latest && backlog(latest), compact)}
        trend={points.map(backlog)}
        lifetime="durable"
        title="ready and delayed messages"
      />
      <Figure name="Memory" value={text(latest?.resident, bytes)} trend={trend("resident")} lifetime="live" />
    </dl>
  )
}

const DOMAIN_TONES: Readonly<Record<Domain, string>> = {
  kv: "--c1",
  stream: "--c2",
  queue: "--c3",
  schedule: "--c4",
  notice: "--c5",
  rpc: "--c6",
  lease: "--c7",
}

function Charts({ history, metrics }: { readonly history: History; readonly metrics: View<Metrics> }) {
  const { points } = history
  const timesMs = points.map(({ atMs }) => atMs)
  const line = (name: string, tone: string, figure: FigureName, more: Partial<Line> = {}): Line => ({
    name,
    tone,
    values: points.map(point => point[figure]),
    ...more,
  })
  const perSecond = (value: number): string => `${compact(value)}/s`
  const operations = DOMAINS.map(
    (domain): Line => ({
      name: WORDS[domain].name,
      tone: DOMAIN_TONES[domain],
      values: points.map(point => point.operations[domain]),
    }),
  )
  const charts: readonly [string, string, readonly Line[], (value: number) => string][] = [
    [
      "Frames",
      "span-4",
      [line("in", "--c1", "framesIn", { fill: true }), line("out", "--c5", "framesOut")],
      perSecond,
    ],
    ["Operations by domain", "span-8", operations, perSecond],
    [
      "Latency",
      "span-4",
      [line("p50", "--c5", "p50"), line("p95", "--c1", "p95"), line("p99", "--c4", "p99")],
      latency,
    ],
    [
      "Backlog in queues",
      "span-4",
      [
        line("ready", "--c1", "ready", { fill: true }),
        line("delayed", "--c3", "delayed"),
        line("reserved", "--c5", "reserved"),
        line("dead", "--c7", "dead"),
      ],
      compact,
    ],
    ["Commit time", "span-4", [line("p50", "--c5", "commitP50"), line("p99", "--c4", "commitP99")], latency],
    [
      "Memory",
      "span-4",
      [line("resident", "--c1", "resident", { fill: true }), line("heap used", "--c5", "heap")],
      bytes,
    ],
    [
      "Event-loop delay",
      "span-4",
      [line("mean", "--c5", "loopMean"), line("p99", "--c4", "loopP99")],
      latency,
    ],
    ["Processor", "span-4", [line("cores in use", "--c1", "cpu", { fill: true })], value => value.toFixed(2)],
  ]
  if (metrics.state !== "there" && points.length === 0) {
    return (
      <Panel title="Over time">
        <Shown view={metrics}>{() => null}</Shown>
      </Panel>
    )
  }
  const stale = metrics.state !== "there" || metrics.stale
  return (
    <section aria-label="Over time, since this page was opened" class="grid">
      {charts.map(([title, span, lines, format]) => (
        <Panel title={title} class={span} stale={stale}>
          <Chart title={title} timesMs={timesMs} lines={lines} format={format} />
        </Panel>
      ))}
    </section>
  )
}

const MOVERS_SHOWN = 8

function Movers({ history, metrics }: { readonly history: History; readonly metrics: View<Metrics> }) {
  const movers = history.topMovers.slice(0, MOVERS_SHOWN)
  const most = movers[0]?.rate ?? 0
  return (
    <Panel
      title="Top movers"
      class="span-6"
      flush
      end={<span>operations a second, beside a minute ago</span>}
    >
      {metrics.state === "failed" ? (
        <Shown view={metrics}>{() => null}</Shown>
      ) : movers.length === 0 ? (
        <Empty title="Nothing moves">Operations of the last minute show up here.</Empty>
      ) : (
        <ul class="rows">
          {movers.map(({ domain, operation, rate, before }) => {
            const known = isDomain(domain)
            return (
              <li key={`${domain} ${operation}`} data-lifetime={known ? WORDS[domain].lane : undefined}>
                <span class="grow">
                  {known ? <Link to={domain}>{WORDS[domain].name}</Link> : domain}{" "}
                  <span class="dim">{operation.replaceAll("_", " ").toLowerCase()}</span>
                </span>
                <span class="bar wide" aria-hidden="true">
                  <i style={{ width: `${most === 0 ? 0 : Math.max(2, (rate / most) * 100)}%` }} />
                </span>
                <span class="fixed strong" style={{ minWidth: "7ch" }}>
                  {compact(rate)}
                </span>
                <span class="fixed rise" style={{ minWidth: "8ch" }} title="compared with a minute ago">
                  {before === null ? "" : signed(rate - before)}
                </span>
              </li>
            )
          })}
        </ul>
      )}
    </Panel>
  )
}

function RecentAudit() {
  const view = useApi<{ readonly records: readonly AuditRecord[] }>("audit", {
    params: { limit: 8 },
    everyMs: LIST_EVERY_MS,
  })
  return (
    <ViewPanel title="Last commands" class="span-6" flush view={view} end={<Link to="audit">All</Link>}>
      {({ records }) =>
        records.length === 0 ? (
          <Empty title="Nobody has ordered anything">
            Commands given to this process, refused ones too, show up here.
          </Empty>
        ) : (
          <ul class="rows">
            {records.map(record => (
              <li key={record.request_id + record.ts}>
                <Dot
                  level={record.outcome === "ok" ? "good" : record.outcome === "error" ? "bad" : "watch"}
                />
                <span class="grow">
                  <span class="strong">{record.action}</span> <span class="dim">{record.user}</span>
                </span>
                <span class="fixed dim wide">{record.outcome.replaceAll("_", " ")}</span>
                <span class="fixed dim">
                  <Moment at={record.ts} from />
                </span>
              </li>
            ))}
          </ul>
        )
      }
    </ViewPanel>
  )
}
