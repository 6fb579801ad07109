// The state of the broker in words, with reasons. Pure: what is known goes in. It says what was observed, of this
// process, and never more.

import type { Diagnostics, Readiness } from "../api/types.ts"
import { age, counted, exact, latency } from "../text/format.ts"
import { DOMAINS, type Domain, WORDS } from "../text/words.ts"
import type { Point } from "./metrics.ts"

export type Level = "good" | "watch" | "bad" | "unknown"

export interface Reason {
  readonly level: Level
  readonly text: string
  /** A view of this page. */
  readonly to: string | null
}

export interface Verdict {
  readonly level: Level
  readonly headline: string
  readonly reasons: readonly Reason[]
}

export interface Known {
  readonly readiness: Readiness | null
  readonly diagnostics: Readonly<Partial<Record<Domain, Diagnostics>>>
  readonly point: Point | null
  readonly uptimeSeconds: number | null
  readonly oldestMessageSeconds: number | null
  /** How long there has been no answer; null: there are answers. */
  readonly silentMs: number | null
}

const LOOP_WATCH_SECONDS = 0.1
const LOOP_BAD_SECONDS = 1
const COMMIT_WATCH_SECONDS = 0.25
const YOUNG_SECONDS = 120

/** Whatever a broker calls its severities, there are three that matter here. */
export function levelOf(severity: string): Level {
  if (["critical", "error", "high", "severe"].includes(severity)) return "bad"
  if (["warning", "warn", "medium", "elevated", "degraded"].includes(severity)) return "watch"
  return "good"
}

/** Dead letters wait for a decision and hold nobody up: worth a look, however many. */
export function levelOfDiagnosis({
  severity,
  current_stage,
}: Pick<Diagnostics, "severity" | "current_stage">): Level {
  const level = levelOf(severity)
  return level === "bad" && current_stage === "dead_letter_pressure" ? "watch" : level
}

/** `backlog_growth` as people say it. */
export function spoken(code: string): string {
  return code.replaceAll("_", " ")
}

export function verdictOf(known: Known): Verdict {
  const { readiness, silentMs, point } = known
  if (silentMs !== null) {
    return {
      level: "bad",
      headline: "No answer from the broker.",
      reasons: [
        { level: "bad", text: `silent for ${age(silentMs / 1_000)}; what you see below is old`, to: null },
      ],
    }
  }
  if (readiness === null)
    return { level: "unknown", headline: "Asking the broker how it is\u2026", reasons: [] }
  const reasons = [...unready(readiness), ...diagnosed(known), ...measured(known), ...young(known)]
  const level = worst(reasons)
  if (readiness.status !== "ready") return { level: "bad", headline: headlineUnready(readiness), reasons }
  if (level === "bad") return { level, headline: "Taking traffic, and in trouble.", reasons }
  const watched = reasons.filter(reason => reason.level === "watch").length
  if (watched > 0) {
    return {
      level: "watch",
      headline: `Taking traffic, with ${watched === 1 ? "one thing" : `${exact(watched)} things`} to look at.`,
      reasons,
    }
  }
  const rate = point?.operationsAll ?? null
  const busy = DOMAINS.filter(domain => (point?.operations[domain] ?? 0) > 0)
  const quiet = rate !== null && rate === 0
  return {
    level: "good",
    headline: quiet
      ? "Ready, and quiet."
      : busy.length === DOMAINS.length
        ? "All seven domains are flowing."
        : "Everything flows.",
    reasons: [
      ...reasons,
      { level: "good", text: "ready for traffic, storage writable", to: "status" },
      ...(busy.length > 0 && busy.length < DOMAINS.length
        ? [
            {
              level: "good" as const,
              text: `${counted(busy.length, "domain")} at work: ${busy.map(domain => WORDS[domain].name).join(", ")}`,
              to: null,
            },
          ]
        : []),
    ],
  }
}

function headlineUnready({ error, checks }: Readiness): string {
  if (error?.code === "shutting_down") return "Draining: programs are being sent away."
  if (error?.detail?.replay_progress !== undefined) return "Starting: the store is being loaded."
  if (checks["storage"] !== "ok") return "Not taking writes: the store refuses them."
  return "Not ready for traffic."
}

function unready({ status, error, checks }: Readiness): Reason[] {
  if (status === "ready") return []
  const failing = Object.entries(checks).filter(([, state]) => state !== "ok")
  const progress = error?.detail?.replay_progress
  return [
    ...(error === undefined ? [] : [{ level: "bad" as const, text: error.message, to: "status" }]),
    ...(progress === undefined
      ? []
      : [
          {
            level: "watch" as const,
            text: `${Math.floor(progress * 100)} % of the store's index is loaded`,
            to: "status",
          },
        ]),
    ...failing.map(([name, state]) => ({
      level: "bad" as const,
      text: `${spoken(name)}: ${spoken(state)}`,
      to: "status",
    })),
  ]
}

function diagnosed({ diagnostics }: Known): Reason[] {
  return DOMAINS.flatMap(domain => {
    const found = diagnostics[domain]
    if (found === undefined) return []
    const level = levelOfDiagnosis(found)
    if (level === "good") return []
    const hints = found.explanation_hints.join("; ")
    const text = `${WORDS[domain].name}: ${spoken(found.current_stage)}${hints === "" ? "" : ` \u2013 ${hints}`}`
    return [{ level, text, to: domain }]
  })
}

function measured({ point, diagnostics, oldestMessageSeconds }: Known): Reason[] {
  if (point === null) return []
  const reasons: Reason[] = []
  const { loopP99, commitP99, dead } = point
  if (loopP99 !== null && loopP99 > LOOP_WATCH_SECONDS) {
    reasons.push({
      level: loopP99 > LOOP_BAD_SECONDS ? "bad" : "watch",
      text: `the event loop is held up: ${latency(loopP99)} at p99`,
      to: "explore?q=eventloop",
    })
  }
  if (commitP99 !== null && commitP99 > COMMIT_WATCH_SECONDS) {
    reasons.push({
      level: "watch",
      text: `commits are slow: ${latency(commitP99)} at p99`,
      to: "explore?q=storage",
    })
  }
  const queueSays = levelOf(diagnostics.queue?.severity ?? "") !== "good"
  if (dead !== null && dead > 0 && !queueSays) {
    const oldest =
      oldestMessageSeconds !== null && oldestMessageSeconds > 0
        ? `, oldest waiting message ${age(oldestMessageSeconds)}`
        : ""
    reasons.push({ level: "watch", text: `${counted(dead, "dead letter")}${oldest}`, to: "dead-letters" })
  }
  return reasons
}

function young({ uptimeSeconds }: Known): Reason[] {
  if (uptimeSeconds === null || uptimeSeconds >= YOUNG_SECONDS) return []
  return [{ level: "good", text: `started ${age(uptimeSeconds)} ago: live state began then`, to: "status" }]
}

function worst(reasons: readonly Reason[]): Level {
  return (["bad", "watch"] as const).find(level => reasons.some(reason => reason.level === level)) ?? "good"
}
