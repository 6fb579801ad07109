// Small things that show one value: numbers that keep their place, moments, ages, tags, dots, sparklines. Each
// also says in words what it shows by colour or shape.

import type { ComponentChildren } from "preact"
import { useNow } from "../state/clock.ts"
import type { Level } from "../state/verdict.ts"
import { moment, relative, utc } from "../text/format.ts"
import { LIFETIME_WORDS, type Lifetime } from "../text/words.ts"

/** A moment in the reader's zone, in UTC on hover. */
export function Moment({ at, from = false }: { readonly at: string | number; readonly from?: boolean }) {
  const nowMs = useNow()
  const ms = typeof at === "number" ? at : Date.parse(at)
  return (
    <time dateTime={new Date(ms).toISOString()} title={utc(ms)}>
      {from ? relative(ms, nowMs) : moment(ms, nowMs)}
    </time>
  )
}

export function Tag({
  level,
  tone = false,
  title,
  children,
}: {
  readonly level?: Level | undefined
  readonly tone?: boolean
  readonly title?: string
  readonly children: ComponentChildren
}) {
  return (
    <span class={tone ? "tag tone" : "tag"} data-level={level} title={title}>
      {children}
    </span>
  )
}

export function LifetimeTag({ lifetime }: { readonly lifetime: Lifetime }) {
  return (
    <span class="tag tone" data-lifetime={lifetime} title={LIFETIME_WORDS[lifetime]}>
      {lifetime}
    </span>
  )
}

const LEVEL_WORDS: Readonly<Record<Level, string>> = {
  good: "fine",
  watch: "worth a look",
  bad: "in trouble",
  unknown: "not known yet",
}

export function Dot({ level }: { readonly level: Level }) {
  return (
    <span class="dot" data-level={level}>
      <span class="said">{LEVEL_WORDS[level]}</span>
    </span>
  )
}

interface FigureProps {
  readonly name: string
  /** Null: not known. */
  readonly value: string | null
  readonly unit?: string
  readonly lifetime?: Lifetime
  readonly level?: Level
  readonly title?: string
  readonly trend?: readonly (number | null)[]
}

/** One figure of a strip of them. */
export function Figure({ name, value, unit, lifetime, level, title, trend }: FigureProps) {
  return (
    <div class="figure" data-level={level} data-lifetime={lifetime} title={title}>
      <dt>{name}</dt>
      <dd>
        {value ?? <span class="dim">{"\u2013"}</span>}
        {value !== null && unit !== undefined && <span class="unit">{unit}</span>}
        {trend !== undefined && <Spark values={trend} />}
      </dd>
    </div>
  )
}

const SPARK_WIDTH = 100
const SPARK_HEIGHT = 28
const SPARK_POINTS_MIN = 12

/** The last values as a line, from nought to the highest of them. Decoration beside a number that is written out. */
export function Spark({
  values,
  points = 60,
}: {
  readonly values: readonly (number | null)[]
  readonly points?: number
}) {
  const shown = values.slice(-points)
  // Until there are enough of them, what there is has the room; the first few are not blown up.
  const room = Math.max(shown.length, Math.min(points, SPARK_POINTS_MIN))
  const top = Math.max(...shown.map(value => value ?? 0), 1e-9)
  const x = (at: number): number => SPARK_WIDTH - ((shown.length - 1 - at) * SPARK_WIDTH) / (room - 1)
  const y = (value: number): number => SPARK_HEIGHT - 1 - (value / top) * (SPARK_HEIGHT - 3)
  let line = ""
  let area = ""
  let begun: number | null = null
  shown.forEach((value, at) => {
    if (value === null) {
      if (begun !== null) area += `L${x(at - 1).toFixed(1)} ${SPARK_HEIGHT}Z`
      begun = null
      return
    }
    const place = `${x(at).toFixed(1)} ${y(value).toFixed(1)}`
    line += `${begun === null ? "M" : "L"}${place}`
    area += begun === null ? `M${x(at).toFixed(1)} ${SPARK_HEIGHT}L${place}` : `L${place}`
    begun ??= at
  })
  if (begun !== null) area += `L${SPARK_WIDTH} ${SPARK_HEIGHT}Z`
  return (
    <svg
      class="spark"
      viewBox={`0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`}
      preserveAspectRatio="none"
      aria-hidden="true"
    >
      <path class="area" d={area} />
      <path class="line" d={line} />
    </svg>
  )
}

export function Facts({
  rows,
}: {
  readonly rows: readonly (readonly [name: string, value: ComponentChildren])[]
}) {
  return (
    <dl class="facts">
      {rows.map(([name, value]) => (
        <>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </>
      ))}
    </dl>
  )
}
