// From the samples of /api/v1/metrics to what charts draw: rates, percentiles, levels, each over a short window
// that ends now. It remembers what this tab has seen since it was opened, and nothing else.

import type { MetricSample, Metrics } from "../api/types.ts"
import { DOMAINS, type Domain } from "../text/words.ts"

/** One scrape, looked up by name and labels. */
export class Scrape {
  readonly atMs: number
  private readonly byName: ReadonlyMap<string, readonly MetricSample[]>

  constructor(metrics: Metrics, atMs: number) {
    this.atMs = atMs
    this.byName = Map.groupBy(metrics.samples, ({ name }) => name)
  }

  samples(name: string): readonly MetricSample[] {
    return this.byName.get(name) ?? []
  }

  /** The sum over all labels that fit; null where there is no such metric. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number | null {
    const fitting = this.samples(name).filter(sample => fits(sample, labels))
    return fitting.length === 0 ? null : fitting.reduce((sum, { value }) => sum + value, 0)
  }

  /** Cumulative counts by upper bound, in order. */
  buckets(name: string, labels: Readonly<Record<string, string>> = {}): readonly Bucket[] {
    const sums = new Map<number, number>()
    for (const sample of this.samples(`${name}_bucket`)) {
      if (!fits(sample, labels)) continue
      const le = sample.labels["le"] ?? ""
      const bound = le === "+Inf" ? Number.POSITIVE_INFINITY : Number(le)
      sums.set(bound, (sums.get(bound) ?? 0) + sample.value)
    }
    return [...sums].map(([bound, count]) => ({ bound, count })).sort((a, b) => a.bound - b.bound)
  }
}

export interface Bucket {
  readonly bound: number
  /** Of everything up to the bound. */
  readonly count: number
}

function fits({ labels }: MetricSample, wanted: Readonly<Record<string, string>>): boolean {
  return Object.entries(wanted).every(([name, value]) => labels[name] === value)
}

/** Events a second between two scrapes; null where that cannot be said (none before, or a restart between). */
export function rateBetween(
  from: Scrape | undefined,
  to: Scrape,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | null {
  if (from === undefined || to.atMs <= from.atMs) return null
  const after = to.value(name, labels)
  if (after === null) return null
  // A series that was not there yet had counted nothing.
  const before = from.value(name, labels) ?? 0
  return after < before ? null : ((after - before) * 1_000) / (to.atMs - from.atMs)
}

/** The quantile of what was observed between two scrapes, interpolated within its bucket; null: nothing was. */
export function quantileBetween(
  from: Scrape | undefined,
  to: Scrape,
  name: string,
  quantile: number,
): number | null {
  if (from === undefined) return null
  const before = new Map(from.buckets(name).map(({ bound, count }) => [bound, count]))
  const observed = to
    .buckets(name)
    .map(({ bound, count }) => ({ bound, count: count - (before.get(bound) ?? 0) }))
  const total = observed.at(-1)?.count ?? 0
  if (total <= 0 || observed.some(({ count }) => count < 0)) return null
  const rank = quantile * total
  const at = observed.findIndex(({ count }) => count >= rank)
  const { bound, count } = observed[at]!
  const lower = at === 0 ? { bound: 0, count: 0 } : observed[at - 1]!
  // Beyond the last bound nothing is known but that it was more.
  if (bound === Number.POSITIVE_INFINITY) return lower.bound
  const share = count === lower.count ? 1 : (rank - lower.count) / (count - lower.count)
  return lower.bound + (bound - lower.bound) * share
}

/** What is drawn at one moment; null is a gap. */
export interface Point {
  readonly atMs: number
  readonly framesIn: number | null
  readonly framesOut: number | null
  readonly operations: Readonly<Record<Domain, number | null>>
  readonly operationsAll: number | null
  readonly p50: number | null
  readonly p95: number | null
  readonly p99: number | null
  readonly ready: number | null
  readonly delayed: number | null
  readonly reserved: number | null
  readonly dead: number | null
  readonly pendingCalls: number | null
  readonly resident: number | null
  readonly heap: number | null
  readonly loopMean: number | null
  readonly loopP99: number | null
  readonly commitP50: number | null
  readonly commitP99: number | null
  readonly sessions: number | null
  readonly cpu: number | null
}

export type Figure = Exclude<keyof Point, "atMs" | "operations">

const RATE_WINDOW_MS = 6_000
const QUANTILE_WINDOW_MS = 10_000
const KEPT_SCRAPES_MS = 75_000
/** An hour at the usual pace. */
const POINTS_MAX = 1_800
/** Farther apart than this nothing is drawn between two points. */
const GAP_MS = 20_000

/** One line of what moved: an operation, how fast now, how fast a minute ago. */
export interface Mover {
  readonly domain: string
  readonly operation: string
  readonly rate: number
  readonly before: number | null
}

export class History {
  private scrapes: Scrape[] = []
  private list: Point[] = []
  private movers: readonly Mover[] = []
  private restartedAt: number | null = null

  get points(): readonly Point[] {
    return this.list
  }

  get latest(): Point | null {
    return this.list.at(-1) ?? null
  }

  get scrape(): Scrape | null {
    return this.scrapes.at(-1) ?? null
  }

  get topMovers(): readonly Mover[] {
    return this.movers
  }

  /** When a new process was seen to answer, in this tab. */
  get restartedAtMs(): number | null {
    return this.restartedAt
  }

  add(metrics: Metrics, atMs: number): void {
    const scrape = new Scrape(metrics, atMs)
    const last = this.scrape
    if (last !== null && atMs <= last.atMs) return
    if (last !== null) {
      const uptime = scrape.value("fitz_uptime_seconds") ?? 0
      const uptimeBefore = last.value("fitz_uptime_seconds") ?? 0
      if (uptime < uptimeBefore - 1) {
        // Counters began anew: nothing before may be compared with what comes.
        this.scrapes = []
        this.restartedAt = atMs - uptime * 1_000
        this.list.push(gapAt(atMs - 1))
      } else if (atMs - last.atMs > GAP_MS) {
        this.list.push(gapAt(last.atMs + 1))
      }
    }
    this.scrapes = [...this.scrapes.filter(one => atMs - one.atMs <= KEPT_SCRAPES_MS), scrape]
    this.list = [...this.list.slice(-(POINTS_MAX - 1)), this.pointOf(scrape)]
    this.movers = this.moversAt(scrape)
  }

  /** The oldest scrape within the window, that is not the newest. */
  private since(scrape: Scrape, windowMs: number): Scrape | undefined {
    const found = this.scrapes.find(one => scrape.atMs - one.atMs <= windowMs)
    return found === scrape ? this.scrapes.at(-2) : found
  }

  private pointOf(scrape: Scrape): Point {
    const recent = this.since(scrape, RATE_WINDOW_MS)
    const wider = this.since(scrape, QUANTILE_WINDOW_MS)
    const rate = (name: string, labels = {}): number | null => rateBetween(recent, scrape, name, labels)
    const latency = (quantile: number): number | null =>
      quantileBetween(wider, scrape, "fitz_message_latency_seconds", quantile)
    const commit = (quantile: number): number | null =>
      quantileBetween(wider, scrape, "fitz_storage_commit_seconds", quantile)
    const operations = Object.fromEntries(
      DOMAINS.map(domain => [domain, rate("fitz_domain_operations_total", { domain })]),
    ) as Record<Domain, number | null>
    return {
      atMs: scrape.atMs,
      framesIn: rate("fitz_messages_received_total"),
      framesOut: rate("fitz_messages_sent_total"),
      operations,
      operationsAll: rate("fitz_domain_operations_total"),
      p50: latency(0.5),
      p95: latency(0.95),
      p99: latency(0.99),
      ready: scrape.value("fitz_queue_messages_pending"),
      delayed: scrape.value("fitz_queue_messages_delayed"),
      reserved: scrape.value("fitz_queue_inflight_active"),
      dead: scrape.value("fitz_queue_messages_dead_lettered"),
      pendingCalls: scrape.value("fitz_rpc_requests_pending"),
      resident: scrape.value("process_resident_memory_bytes"),
      heap: scrape.value("nodejs_heap_size_used_bytes"),
      loopMean: scrape.value("nodejs_eventloop_lag_mean_seconds"),
      loopP99: scrape.value("nodejs_eventloop_lag_p99_seconds"),
      commitP50: commit(0.5),
      commitP99: commit(0.99),
      sessions: scrape.value("fitz_sessions_total"),
      cpu: rate("process_cpu_seconds_total"),
    }
  }

  private moversAt(scrape: Scrape): readonly Mover[] {
    const name = "fitz_domain_operations_total"
    const recent = this.since(scrape, QUANTILE_WINDOW_MS)
    const first = this.scrapes[0]!
    const old = scrape.atMs - first.atMs > 4 * QUANTILE_WINDOW_MS ? first : undefined
    const oldEnd =
      old && this.scrapes.findLast(one => one.atMs - old.atMs <= QUANTILE_WINDOW_MS && one !== old)
    const movers = scrape.samples(name).flatMap(({ labels }): Mover[] => {
      const rate = rateBetween(recent, scrape, name, labels)
      if (rate === null) return []
      const before = oldEnd === undefined ? null : rateBetween(old, oldEnd, name, labels)
      if (rate === 0 && (before ?? 0) === 0) return []
      return [{ domain: labels["domain"] ?? "", operation: labels["operation"] ?? "", rate, before }]
    })
    return movers.sort((a, b) => b.rate - a.rate || (b.before ?? 0) - (a.before ?? 0))
  }
}

function gapAt(atMs: number): Point {
  const none = null
  return {
    atMs,
    framesIn: none,
    framesOut: none,
    operations: Object.fromEntries(DOMAINS.map(domain => [domain, none])) as Record<Domain, null>,
    operationsAll: none,
    p50: none,
    p95: none,
    p99: none,
    ready: none,
    delayed: none,
    reserved: none,
    dead: none,
    pendingCalls: none,
    resident: none,
    heap: none,
    loopMean: none,
    loopP99: none,
    commitP50: none,
    commitP99: none,
    sessions: none,
    cpu: none,
  }
}
