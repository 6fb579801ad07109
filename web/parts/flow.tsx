// The seven domains as one picture: programs on the left, a lane for each domain, the store on the right for those
// whose state is durable. What moves, moves in the picture; every lane is a link and says its figures as text.

import type { Diagnostics, Stats } from "../api/types.ts"
import type { Point } from "../state/metrics.ts"
import { levelOfDiagnosis } from "../state/verdict.ts"
import { bytes, compact, latency } from "../text/format.ts"
import { DOMAINS, type Domain, WORDS } from "../text/words.ts"
import { Spark } from "./figures.tsx"
import { DOMAIN_ICONS } from "./icons.ts"
import { Link } from "./link.tsx"

type LaneState = "quiet" | "flowing" | "pressure" | "blocked"

interface FlowProps {
  readonly broker: Pick<Stats["broker"], "sessions" | "connections"> | null
  /** A domain that does not answer is missing, and is shown as such. */
  readonly domains: Readonly<Partial<Record<Domain, Readonly<Record<string, unknown>>>>>
  readonly points: readonly Point[]
  readonly diagnostics: Readonly<Partial<Record<Domain, Diagnostics>>>
  readonly storageBytes: number | null
}

/** What is in a lane now, from the global statistics. */
const HELD: Readonly<Record<Domain, readonly [key: string, one: string, many: string]>> = {
  kv: ["keys_total", "key", "keys"],
  stream: ["events_total", "event", "events"],
  queue: ["messages_pending", "waiting", "waiting"],
  schedule: ["schedules_active", "schedule", "schedules"],
  notice: ["subscriptions_active", "subscription", "subscriptions"],
  rpc: ["workers_registered", "worker", "workers"],
  lease: ["leases_active", "lease", "leases"],
}

function rateOf(
  figures: Readonly<Record<string, unknown>> | undefined,
  domain: Domain,
  point: Point | null,
): number {
  const measured = point?.operations[domain]
  if (measured !== null && measured !== undefined) return measured
  const perMinute = numberIn(figures, "executions_per_minute")
  if (perMinute !== null) return perMinute / 60
  return numberIn(figures, "operations_per_second") ?? numberIn(figures, "publishes_per_second") ?? 0
}

function numberIn(figures: Readonly<Record<string, unknown>> | undefined, key: string): number | null {
  const value = figures?.[key]
  return typeof value === "number" ? value : null
}

function stateOf(rate: number, diagnostics: Diagnostics | undefined): LaneState {
  const level = diagnostics === undefined ? "good" : levelOfDiagnosis(diagnostics)
  if (level === "bad") return "blocked"
  if (level === "watch") return "pressure"
  return rate > 0 ? "flowing" : "quiet"
}

/** Faster traffic, faster dots; a thousandfold is not a thousand times as fast. */
function paceOf(rate: number): string {
  return `${Math.max(0.5, 3.4 - Math.log10(rate + 1) * 0.8).toFixed(2)}s`
}

function widthOf(rate: number): number {
  return rate <= 0 ? 1.5 : 2 + Math.min(4, Math.log10(rate + 1))
}

const ROW = 100
const HEIGHT = ROW * DOMAINS.length

interface Lane {
  readonly domain: Domain
  readonly rate: number
  /** Its middle, in the picture's own units. */
  readonly y: number
}

/** Lines between a box at height `from` and the lanes; outwards they lead from the lanes to the box. */
function Pipes({
  lanes,
  from,
  outwards = false,
}: {
  readonly lanes: readonly Lane[]
  readonly from: number
  readonly outwards?: boolean
}) {
  return (
    <svg class="pipes" viewBox={`0 0 100 ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      {lanes.map(({ domain, rate, y }) => {
        const [start, end] = outwards ? [y, from] : [from, y]
        const path = `M0 ${start}C55 ${start} 45 ${end} 100 ${end}`
        return (
          <g data-lifetime={WORDS[domain].lane}>
            <path class="pipe" d={path} stroke-width={widthOf(rate)} />
            {rate > 0 && (
              <path
                class="pipe moving"
                d={path}
                stroke-width={widthOf(rate)}
                style={{ "--pace": paceOf(rate) }}
              />
            )}
          </g>
        )
      })}
    </svg>
  )
}

export function Flow({ broker, domains, points, diagnostics, storageBytes }: FlowProps) {
  const latest = points.at(-1) ?? null
  const lanes = DOMAINS.map((domain, at) => ({
    domain,
    rate: rateOf(domains[domain], domain, latest),
    y: at * ROW + ROW / 2,
  }))
  const durable = lanes.filter(({ domain }) => WORDS[domain].lane === "durable")
  const durableMiddle = (durable[0]!.y + durable.at(-1)!.y) / 2
  return (
    <div class="flow">
      <div class="end">
        <h3>Programs</h3>
        <dl>
          <dt>sessions</dt>
          <dd>{counted(broker?.sessions)}</dd>
          <dt>connections</dt>
          <dd>{counted(broker?.connections)}</dd>
          <dt>frames in</dt>
          <dd>{perSecond(latest?.framesIn)}</dd>
          <dt>frames out</dt>
          <dd>{perSecond(latest?.framesOut)}</dd>
        </dl>
      </div>
      <Pipes lanes={lanes} from={HEIGHT / 2} />
      <ul class="lanes">
        {lanes.map(({ domain, rate }) => {
          const { name, lane } = WORDS[domain]
          const Icon = DOMAIN_ICONS[domain]
          const [key, one, many] = HELD[domain]
          const held = numberIn(domains[domain], key)
          const state = domains[domain] === undefined ? "blocked" : stateOf(rate, diagnostics[domain])
          return (
            <li data-lifetime={lane}>
              <Link to={domain} class="lane" data-state={state}>
                <Icon class="glyph" size={18} aria-hidden="true" />
                <span class="name">
                  {name}
                  <span class="said">
                    , {lane}, {state}
                  </span>
                </span>
                <Spark values={points.map(point => point.operations[domain])} />
                <span class="rate">
                  {compact(rate)} <small>/s</small>
                </span>
                <span class="active">
                  {held === null ? (
                    "no answer"
                  ) : (
                    <>
                      {compact(held)} <small>{held === 1 ? one : many}</small>
                    </>
                  )}
                </span>
              </Link>
            </li>
          )
        })}
      </ul>
      <Pipes lanes={durable} from={durableMiddle} outwards />
      <div class="end store">
        <h3>Store</h3>
        <dl>
          <dt>keys</dt>
          <dd>{counted(numberIn(domains.kv, "keys_total"))}</dd>
          <dt>events</dt>
          <dd>{counted(numberIn(domains.stream, "events_total"))}</dd>
          <dt>messages</dt>
          <dd>{counted(numberIn(domains.queue, "messages_pending"))}</dd>
          <dt>size</dt>
          <dd>{storageBytes === null ? "\u2013" : bytes(storageBytes)}</dd>
          <dt>commit p50</dt>
          <dd>{seconds(latest?.commitP50)}</dd>
          <dt>commit p99</dt>
          <dd>{seconds(latest?.commitP99)}</dd>
        </dl>
      </div>
    </div>
  )
}

function counted(value: number | null | undefined): string {
  return value === null || value === undefined ? "\u2013" : compact(value)
}

function perSecond(value: number | null | undefined): string {
  return value === null || value === undefined ? "\u2013" : `${compact(value)}/s`
}

function seconds(value: number | null | undefined): string {
  return value === null || value === undefined ? "\u2013" : latency(value)
}
