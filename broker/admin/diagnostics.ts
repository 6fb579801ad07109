// A verdict beside the numbers: what stage something is in, how bad that is and what would show more
// (admin-api §23, B14). Derived from counts alone, and said to be no more than that.

import { z } from "zod"
import { count } from "./schemas.ts"

const STAGES = [
  "healthy",
  "throughput",
  "contention",
  "backlog_growth",
  "stale_handoff",
  "dead_letter_pressure",
  "worker_starvation",
  "data_loss_risk",
  "transport_backpressure",
] as const
export type Stage = (typeof STAGES)[number]
export type Severity = "none" | "low" | "medium" | "high"

export const diagnosis = z.strictObject({
  current_stage: z.enum(STAGES),
  trend: z.enum(["steady", "rising", "falling"]),
  severity: z.enum(["none", "low", "medium", "high"]),
  likely_bottleneck: z.string().nullable().meta({ example: null }),
  age_seconds: count,
  failure_count: count,
  contention_count: count,
  waiter_count: count,
  confidence: z.enum(["low", "medium", "high"]),
  explanation_hints: z.array(z.string().meta({ example: "nothing stands out" })),
})

/** What a verdict is made of. What is not given is 0. */
export interface Signs {
  /** Events a second. */
  readonly rate?: number
  readonly inPerSecond?: number
  readonly outPerSecond?: number
  readonly backlog?: number
  readonly inflight?: number
  readonly dead?: number
  readonly ageSeconds?: number
  readonly failures?: number
  readonly contention?: number
  readonly waiters?: number
  /** Calls that wait for a worker, and workers there are. */
  readonly starving?: number
  readonly workers?: number
  readonly dropped?: number
}

const STALE_SECONDS = 60
const BACKLOG = 1_000

export function verdictOf(signs: Signs): z.output<typeof diagnosis> {
  const {
    rate = 0,
    inPerSecond = 0,
    outPerSecond = 0,
    backlog = 0,
    inflight = 0,
    dead = 0,
    ageSeconds = 0,
    failures = 0,
    contention = 0,
    waiters = 0,
    starving = 0,
    workers = 0,
    dropped = 0,
  } = signs
  const hints: string[] = []
  let stage: Stage = rate > 0 || inPerSecond > 0 ? "throughput" : "healthy"
  let severity: Severity = "none"
  let bottleneck: string | null = null
  const say = (next: Stage, bad: Severity, where: string, hint: string): void => {
    hints.push(hint)
    if (RANK[bad] <= RANK[severity]) return
    stage = next
    severity = bad
    bottleneck = where
  }
  if (waiters > 0)
    say("contention", waiters > 10 ? "medium" : "low", "the holder", `${waiters} wait for a turn`)
  if (contention > 0)
    say("contention", "low", "writers", `${contention} were refused for another writer or offset`)
  if (backlog > 0 && inPerSecond > outPerSecond)
    say("backlog_growth", backlog >= BACKLOG ? "high" : "medium", "consumers", "more comes in than goes out")
  else if (backlog >= BACKLOG) say("backlog_growth", "medium", "consumers", `${backlog} messages are ready`)
  if (backlog > 0 && inflight === 0 && ageSeconds >= STALE_SECONDS)
    say("stale_handoff", "medium", "consumers", `nobody has taken the oldest message for ${ageSeconds} s`)
  if (dead > 0) say("dead_letter_pressure", "high", "handlers", `${dead} dead letters wait for a decision`)
  if (starving > 0)
    say(
      "worker_starvation",
      workers === 0 ? "high" : "medium",
      "workers",
      `${starving} calls wait for a worker`,
    )
  if (dropped > 0) say("transport_backpressure", "low", "slow receivers", `${dropped} notices were dropped`)
  if (failures > 0) hints.push(`${failures} failures since the start of this process`)
  if (hints.length === 0) hints.push("nothing stands out")
  return {
    current_stage: stage,
    trend: inPerSecond > outPerSecond ? "rising" : inPerSecond < outPerSecond ? "falling" : "steady",
    severity,
    likely_bottleneck: bottleneck,
    age_seconds: ageSeconds,
    failure_count: failures,
    contention_count: contention,
    waiter_count: waiters,
    confidence: severity === "none" || severity === "low" ? "low" : "medium",
    explanation_hints: hints,
  }
}

const RANK: Readonly<Record<Severity, number>> = { none: 0, low: 1, medium: 2, high: 3 }

/** The verdict under its key where it was asked for. */
export function diagnosed(wanted: boolean, signs: Signs): { diagnostics?: z.output<typeof diagnosis> } {
  return wanted ? { diagnostics: verdictOf(signs) } : {}
}
