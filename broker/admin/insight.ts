// Where to begin when something is wrong, and finding anything by id, route or session (admin-api §23, B15
// and B16). Bounded looks at counts and first pages: what they miss they say.

import { z } from "zod"
import { SCHEMES, type Scheme } from "../../protocol/route.ts"
import type { Found, FoundSome } from "../domains/views/common.ts"
import type { Query } from "../domains/views/index.ts"
import { granted } from "./api.ts"
import { diagnosis, type Severity, type Signs, verdictOf } from "./diagnostics.ts"
import type { Operations } from "./operations.ts"
import { queueSigns } from "./queue.ts"
import { type Route, route } from "./route.ts"
import { rpcSigns } from "./rpc.ts"
import { count, preciseTime, sessionName, text, yes } from "./schemas.ts"
import { allStats } from "./stats.ts"

const HOTSPOTS_MAX = 10
const FOUND_DEFAULT = 50
const FOUND_MAX = 100
const SESSIONS_SEARCHED = 10_000

const severity = z.enum(["none", "low", "medium", "high"])
const domainName = z.enum([...SCHEMES, "sessions"])
const href = z.string().meta({ example: "/api/v1/queue/realms/prod/areas/jobs/resources/emails" })

const troubleshooting = z.strictObject({
  generated_at: preciseTime,
  incident: z.strictObject({ severity, summary: text, domains_affected: z.array(domainName) }),
  domains: z.array(z.strictObject({ domain: domainName, href, diagnostics: diagnosis })),
  hotspots: z.array(z.strictObject({ domain: domainName, title: text, severity, summary: text, href })),
  next_queries: z.array(z.strictObject({ rank: count, href, why: text })),
})

const ORDER: readonly Severity[] = ["none", "low", "medium", "high"]

function worse(a: Severity, b: Severity): number {
  return ORDER.indexOf(b) - ORDER.indexOf(a)
}

async function lookAround(
  operations: Operations,
  realm: string | null,
): Promise<z.output<typeof troubleshooting>> {
  const now = operations.now()
  const stats = await allStats(operations, realm, null)
  const hot = granted(await operations.ask({ domain: "queue", name: "hotspots", realm, limit: HOTSPOTS_MAX }))
  const suffix = realm === null ? "" : `?realm=${encodeURIComponent(realm)}`
  const signs: Readonly<Record<Scheme, Signs>> = {
    kv: { rate: stats.kv.operations.all, contention: stats.kv.conflicts },
    stream: { rate: stats.stream.operations.all, contention: stats.stream.conflicts },
    notice: { rate: stats.notice.publishesPerSecond },
    queue: {
      ...queueSigns(stats.queue, now),
      inPerSecond: stats.queue.operations.by.enqueue,
      outPerSecond: stats.queue.operations.by.complete,
      failures: stats.queue.expired,
    },
    rpc: rpcSigns(stats.rpc, now),
    lease: { rate: stats.lease.operationsPerSecond, waiters: stats.lease.waiters },
    schedule: { rate: stats.schedule.executionsPerMinute / 60 },
  }
  const domains = SCHEMES.map(domain => ({
    domain,
    href: `/api/v1/${domain}/stats${suffix}`,
    diagnostics: verdictOf(signs[domain]),
  })).sort((a, b) => worse(a.diagnostics.severity, b.diagnostics.severity))
  const hotspots = hot
    .map(({ family, segments, counts, waiting }) => {
      const [realm, area, resource] = segments.map(encodeURIComponent)
      const verdict = verdictOf(queueSigns({ ...counts, waiting }, now))
      return {
        domain: "queue" as const,
        title: `queue://${segments.join("/")} (family ${family})`,
        severity: verdict.severity,
        summary: verdict.explanation_hints.join("; "),
        href: `/api/v1/queue/realms/${realm}/areas/${area}/resources/${resource}${counts.dead > 0 ? "/dead-letters" : ""}?family=${family}`,
      }
    })
    .sort((a, b) => worse(a.severity, b.severity))
  const affected = domains.filter(({ diagnostics }) => ["medium", "high"].includes(diagnostics.severity))
  const [worst] = domains
  const writable = operations.status.storageWritable
  const next = [
    ...hotspots.map(({ href, summary }) => ({ href, why: summary })),
    ...domains
      .filter(({ diagnostics }) => diagnostics.severity !== "none")
      .map(({ href, diagnostics }) => ({
        href: `${href}${href.includes("?") ? "&" : "?"}include=diagnostics`,
        why: diagnostics.explanation_hints.join("; "),
      })),
    { href: "/api/v1/stats", why: "all domains at a glance" },
    { href: "/api/v1/audit", why: "what operators did lately" },
  ]
  return {
    generated_at: new Date(now).toISOString(),
    incident: {
      severity: writable ? (worst?.diagnostics.severity ?? "none") : "high",
      summary: !writable
        ? "the store does not take writes"
        : affected.length === 0
          ? "nothing stands out"
          : affected.map(({ domain, diagnostics }) => `${domain}: ${diagnostics.current_stage}`).join("; "),
      domains_affected: affected.map(({ domain }) => domain),
    },
    domains,
    hotspots,
    next_queries: next.map((one, at) => ({ rank: at + 1, ...one })),
  }
}

const searchAnswer = z.strictObject({
  total: count,
  truncated: yes,
  results: z.array(
    z.strictObject({
      domain: domainName,
      kind: text,
      title: text,
      summary: text,
      health: z.enum(["ok", "attention"]),
      href,
      matched_fields: z.array(z.string().meta({ example: "route" })),
    }),
  ),
})

function searchSessions(
  operations: Operations,
  text: string,
  realm: string | null,
  limit: number,
): FoundSome {
  const page = operations.sessions(realm, null, { offset: 0, limit: SESSIONS_SEARCHED })
  const found: Found[] = []
  for (const { id, remoteAddr, subject, identity, transport } of page.rows) {
    const fields = [
      ...(sessionName(id) === text ? ["session_id"] : []),
      ...(subject !== "" && subject.includes(text) ? ["subject"] : []),
      ...(identity !== "" && identity.includes(text) ? ["identity_value"] : []),
      ...(remoteAddr.includes(text) ? ["remote_addr"] : []),
    ]
    if (fields.length === 0) continue
    if (found.length >= limit) return { found, truncated: true }
    found.push({
      domain: "sessions",
      kind: "session",
      title: sessionName(id),
      summary: `${subject === "" ? "nameless" : subject} over ${transport} from ${remoteAddr}`,
      healthy: true,
      path: `sessions/${sessionName(id)}`,
      fields,
    })
  }
  return { found, truncated: page.total > page.rows.length }
}

export const insightRoutes: readonly Route[] = [
  route({
    method: "GET",
    path: "troubleshooting",
    permission: "read",
    about:
      "Where to look first: a verdict on each domain, the worst places, and the next questions in order.",
    realmFilter: true,
    snapshot: true,
    answers: { 200: troubleshooting },
    handle: async ({ operations, realm }) => ({ body: await lookAround(operations, realm) }),
  }),
  route({
    method: "GET",
    path: "search",
    permission: "read",
    about:
      "Finds ids, routes, sessions and owners that hold the text. A bounded look: truncated says there is more.",
    realmFilter: true,
    query: z.object({
      q: z.string().min(1).max(1_024),
      domain: domainName.optional(),
      limit: z
        .string()
        .regex(/^[1-9]\d{0,8}$/, "a whole number of at least 1")
        .transform(Number)
        .optional(),
    }),
    answers: { 200: searchAnswer },
    async handle({ operations, realm, query }) {
      const limit = Math.min(FOUND_MAX, query.limit ?? FOUND_DEFAULT)
      const domains = SCHEMES.filter(domain => query.domain === undefined || query.domain === domain)
      const answers = await Promise.all(
        domains.map(
          async domain =>
            granted(
              await operations.ask({ domain, name: "search", text: query.q, realm, limit } as Query),
            ) as FoundSome,
        ),
      )
      if (query.domain === undefined || query.domain === "sessions")
        answers.unshift(searchSessions(operations, query.q, realm, limit))
      const found = answers.flatMap(answer => answer.found)
      const results = found
        .slice(0, limit)
        .map(({ domain, kind, title, summary, healthy, path, fields }) => ({
          domain,
          kind,
          title,
          summary,
          health: healthy ? ("ok" as const) : ("attention" as const),
          href: `/api/v1/${path}`,
          matched_fields: [...fields],
        }))
      const truncated = found.length > results.length || answers.some(answer => answer.truncated)
      return { body: { total: found.length, truncated, results } satisfies z.output<typeof searchAnswer> }
    },
  }),
]
