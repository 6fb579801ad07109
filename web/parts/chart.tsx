// A line chart over time, drawn by uPlot. The newest values stand beside it as text, and the same text is what a
// screen reader hears: the drawing itself is decoration.

import { useEffect, useRef } from "preact/hooks"
import uPlot from "uplot"
import { useStore } from "../state/store.ts"
import { theme } from "../state/theme.ts"
import { clock } from "../text/format.ts"

export interface Line {
  readonly name: string
  /** A token of the style sheet, as `--live`. */
  readonly tone: string
  readonly values: readonly (number | null)[]
  readonly dashed?: boolean
  readonly fill?: boolean
}

interface ChartProps {
  readonly title: string
  readonly timesMs: readonly number[]
  readonly lines: readonly Line[]
  readonly format: (value: number) => string
  /** How far back it looks at most. */
  readonly spanMs?: number
  readonly height?: number
}

const SPAN_MS = 10 * 60_000
/** And at least, so that the first minute does not race. */
const SPAN_MIN_MS = 90_000
const HEIGHT = 168

/** Tokens may differ between light and dark: the canvas needs what they come to now. */
function resolved(element: Element, token: string): string {
  const probe = document.createElement("i")
  probe.style.color = `var(${token})`
  element.append(probe)
  const { color } = getComputedStyle(probe)
  probe.remove()
  return color
}

function faded(color: string, share: number): string {
  const numbers = color.match(/[\d.]+/g)?.slice(0, 3) ?? ["0", "0", "0"]
  return `rgba(${numbers.join(",")},${share})`
}

/** Ticks of less than a minute need their seconds. */
function shortSpan(splits: readonly number[]): boolean {
  return (splits[1] ?? 60) - (splits[0] ?? 0) < 60
}

const cursors = uPlot.sync("charts")

export function Chart({ title, timesMs, lines, format, spanMs = SPAN_MS, height = HEIGHT }: ChartProps) {
  const holder = useRef<HTMLDivElement>(null)
  const chart = useRef<uPlot | null>(null)
  const colours = useStore(theme)
  const formatter = useRef(format)
  formatter.current = format
  const shape = lines.map(({ name, tone }) => name + tone).join()

  const range = (): [number, number] => {
    const last = timesMs.at(-1) ?? Date.now()
    const seen = last - (timesMs[0] ?? last)
    return [(last - Math.min(spanMs, Math.max(SPAN_MIN_MS, seen))) / 1_000, last / 1_000]
  }
  const rangeNow = useRef(range)
  rangeNow.current = range
  const data = (): uPlot.AlignedData => {
    const from = (timesMs.at(-1) ?? 0) - spanMs
    const at = Math.max(0, timesMs.findIndex(ms => ms >= from) - 1)
    return [
      timesMs.slice(at).map(ms => ms / 1_000),
      ...lines.map(({ values }) => values.slice(at) as (number | null)[]),
    ]
  }

  useEffect(() => {
    const element = holder.current!
    const ink = resolved(element, "--ink-3")
    const grid = resolved(element, "--line")
    const font = `11px ${getComputedStyle(element).fontFamily}`
    const plot = new uPlot(
      {
        width: element.clientWidth,
        height,
        legend: { show: false },
        padding: [8, 18, 0, 0],
        cursor: { sync: { key: cursors.key }, drag: { x: false, y: false }, points: { size: 6 } },
        scales: {
          x: { time: true, range: () => rangeNow.current() },
          y: { range: (_self, _low, high) => [0, high > 0 ? high * 1.12 : 1] },
        },
        axes: [
          {
            stroke: ink,
            font,
            grid: { show: false },
            ticks: { show: false },
            size: 22,
            space: 90,
            values: (_self, splits) =>
              splits.map(seconds =>
                shortSpan(splits) ? clock(seconds * 1_000) : clock(seconds * 1_000).slice(0, 5),
              ),
          },
          {
            stroke: ink,
            font,
            grid: { stroke: grid, width: 1 },
            ticks: { show: false },
            size: 58,
            space: 42,
            gap: 6,
            values: (_self, splits) => splits.map(value => formatter.current(value)),
          },
        ],
        series: [
          {},
          ...lines.map(({ tone, dashed, fill }) => {
            const color = resolved(element, tone)
            return {
              stroke: color,
              width: 1.6,
              points: { show: false },
              ...(dashed === true ? { dash: [4, 4] } : {}),
              ...(fill === true ? { fill: faded(color, 0.09) } : {}),
            }
          }),
        ],
      },
      data(),
      element,
    )
    chart.current = plot
    const watcher = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height }))
    watcher.observe(element)
    return () => {
      watcher.disconnect()
      plot.destroy()
      chart.current = null
    }
  }, [shape, colours, height])

  const newest = timesMs.at(-1)
  useEffect(() => {
    chart.current?.setData(data())
  }, [newest])

  const known = lines.some(({ values }) => values.some(value => value !== null))
  return (
    <figure class="chart" aria-label={title}>
      <figcaption class="now">
        {lines.map(({ name, tone, values }) => {
          const value = values.at(-1) ?? null
          return (
            <span>
              <i style={{ background: `var(${tone})` }} aria-hidden="true" />
              {name} <b>{value === null ? "\u2013" : format(value)}</b>
            </span>
          )
        })}
      </figcaption>
      <div class="plot" ref={holder} aria-hidden="true" style={{ height: `${height}px` }}>
        {!known && <div class="waiting">nothing to draw yet</div>}
      </div>
    </figure>
  )
}
