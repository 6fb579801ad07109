// Every figure the broker counts, to be searched and looked at over time. It reads /api/v1/metrics and computes
// nothing that is not said beside it.

import { useEffect, useRef, useState } from "preact/hooks"
import type { MetricSample, Metrics } from "../api/types.ts"
import { Chart } from "../parts/chart.tsx"
import { LifetimeTag, Tag } from "../parts/figures.tsx"
import { Empty, Panel, Shown } from "../parts/panel.tsx"
import { type Column, RowsTable } from "../parts/table.tsx"
import { useParam } from "../state/navigation.ts"
import { STATS_EVERY_MS, useApi } from "../state/query.ts"
import { bytes, compact, exact, latency } from "../text/format.ts"

function keyOf({ name, labels }: MetricSample): string {
  const entries = Object.entries(labels)
  return entries.length === 0
    ? name
    : `${name}{${entries.map(([label, value]) => `${label}="${value}"`).join(",")}}`
}

function shown({ name, value }: Pick<MetricSample, "name" | "value">): string {
  if (/_bytes$/.test(name)) return bytes(value)
  if (/_seconds$/.test(name) && value < 3_600) return latency(value)
  return Number.isInteger(value) ? exact(value) : value.toPrecision(5)
}

/** Buckets are for charts, not for reading. */
function isBucket({ labels }: MetricSample): boolean {
  return "le" in labels
}

/** By name; what this page's own questions move comes last. */
function byInterest(a: MetricSample, b: MetricSample): number {
  const own = (sample: MetricSample): number => (sample.name.startsWith("fitz_admin_") ? 1 : 0)
  return own(a) - own(b) || (keyOf(a) < keyOf(b) ? -1 : 1)
}

export function Explore() {
  const [query, setQuery] = useParam("q")
  const [buckets, setBuckets] = useParam("buckets")
  const [chosen, setChosen] = useParam("metric")
  const view = useApi<Metrics>("metrics", { everyMs: STATS_EVERY_MS })
  const wanted = query
    .trim()
    .toLowerCase()
    .split(/\s+/)
    .filter(word => word !== "")
  return (
    <>
      <div class="heading">
        <div>
          <h1>
            Metrics <LifetimeTag lifetime="live" />
          </h1>
          <p>
            What this process has counted since it started, the same as Prometheus scrapes at /metrics.
            Counters begin anew with the process.
          </p>
        </div>
      </div>
      {chosen !== "" && <OverTime metric={chosen} view={view} onClose={() => setChosen("")} />}
      <Panel flush>
        <div class="tools padded">
          <input
            class="input"
            type="search"
            aria-label="Narrow the metrics"
            placeholder="Narrow: words of a name, a label, a help text"
            style={{ flex: "1 1 280px" }}
            value={query}
            onInput={event => setQuery(event.currentTarget.value)}
          />
          <label class="check">
            <input
              type="checkbox"
              checked={buckets === "1"}
              onChange={event => setBuckets(event.currentTarget.checked ? "1" : "")}
            />
            with histogram buckets
          </label>
        </div>
        <Shown view={view} lines={6}>
          {({ samples }) => {
            const rows = samples
              .toSorted(byInterest)
              .filter(
                sample =>
                  (buckets === "1" || !isBucket(sample)) &&
                  wanted.every(word =>
                    `${keyOf(sample)} ${sample.help} ${sample.kind}`.toLowerCase().includes(word),
                  ),
              )
            return (
              <RowsTable
                label="Metrics"
                columns={columns(setChosen)}
                rows={rows}
                keyOf={keyOf}
                empty={<Empty title="No metric has all of these words" />}
              />
            )
          }}
        </Shown>
      </Panel>
    </>
  )
}

function columns(choose: (metric: string) => void): Column<MetricSample>[] {
  return [
    {
      title: "Metric",
      cell: sample => (
        <button
          type="button"
          class="linkish mono"
          title={keyOf(sample)}
          onClick={() => choose(keyOf(sample))}
        >
          {keyOf(sample)}
        </button>
      ),
      order: keyOf,
    },
    {
      title: "Kind",
      width: "100px",
      wide: true,
      cell: sample => <Tag>{sample.kind}</Tag>,
      order: sample => sample.kind,
    },
    {
      title: "Value",
      width: "150px",
      number: true,
      cell: sample => shown(sample),
      order: sample => sample.value,
    },
    {
      title: "What it is",
      wide: true,
      cell: sample => (
        <span class="dim" title={sample.help}>
          {sample.help}
        </span>
      ),
    },
  ]
}

interface Seen {
  readonly atMs: number
  readonly value: number
}

function OverTime({
  metric,
  view,
  onClose,
}: {
  readonly metric: string
  readonly view: ReturnType<typeof useApi<Metrics>>
  readonly onClose: () => void
}) {
  const seen = useRef<{ metric: string; points: Seen[] }>({ metric, points: [] })
  const [, redraw] = useState(0)
  const sample = view.state === "there" ? view.data.samples.find(one => keyOf(one) === metric) : undefined
  const atMs = view.state === "there" ? view.atMs : null
  useEffect(() => {
    if (seen.current.metric !== metric) seen.current = { metric, points: [] }
    if (sample === undefined || atMs === null) return
    seen.current.points = [...seen.current.points.slice(-900), { atMs, value: sample.value }]
    redraw(value => value + 1)
  }, [metric, atMs])
  const { points } = seen.current
  const counter =
    sample?.kind === "counter" || (sample?.kind === "histogram" && /_(?:count|sum|bucket)$/.test(sample.name))
  const values = points.map((point, at): number | null => {
    if (!counter) return point.value
    const before = points[at - 1]
    if (before === undefined || point.value < before.value) return null
    return ((point.value - before.value) * 1_000) / (point.atMs - before.atMs)
  })
  return (
    <Panel
      title={<span class="mono">{metric}</span>}
      end={
        <button type="button" class="button small" onClick={onClose}>
          Close
        </button>
      }
    >
      {sample === undefined && view.state === "there" ? (
        <Empty title="This process does not count that">
          It may have been counted by an earlier process, or under another label.
        </Empty>
      ) : (
        <>
          <p class="dim">
            {sample?.help} {counter ? "Shown as change a second." : "Shown as it is."}
          </p>
          <Chart
            title={metric}
            timesMs={points.map(point => point.atMs)}
            lines={[{ name: counter ? "a second" : "value", tone: "--c1", values, fill: true }]}
            format={value => (counter ? `${compact(value)}/s` : shown({ name: sample?.name ?? "", value }))}
            height={220}
          />
        </>
      )}
    </Panel>
  )
}
