// What the whole page follows while somebody is signed in: metrics over time, readiness, global statistics. It
// goes on while the reader walks through the views, so that no chart begins anew.

import { useEffect } from "preact/hooks"
import type { Diagnostics, DomainStats, Metrics, Readiness, Stats } from "../api/types.ts"
import { DOMAINS, type Domain } from "../text/words.ts"
import { useNow } from "./clock.ts"
import { History } from "./metrics.ts"
import { SLOW_EVERY_MS, STATS_EVERY_MS, useApi, useApis, type View } from "./query.ts"
import { session } from "./session.ts"
import { Store, useStore } from "./store.ts"
import { type Verdict, verdictOf } from "./verdict.ts"

/** Counts up with each scrape, because the history itself stays the same object. */
const version = new Store(0)
let history = new History()

/** Forgets what was seen: another reader, or another broker. */
export function forgetHistory(): void {
  history = new History()
  version.set(version.get() + 1)
}

export function useHistory(): History {
  useStore(version)
  return history
}

/** Keeps the history going. Used once, where it is always shown. */
export function useSampling(): View<Metrics> {
  const view = useApi<Metrics>("metrics", { everyMs: STATS_EVERY_MS })
  const atMs = view.state === "there" ? view.atMs : null
  useEffect(() => {
    if (view.state !== "there") return
    history.add(view.data, view.atMs)
    version.set(version.get() + 1)
  }, [atMs])
  return view
}

export function useStats(): View<Stats> {
  return useApi<Stats>("stats", { everyMs: STATS_EVERY_MS })
}

export function useReadiness(): View<Readiness> {
  return useApi<Readiness>("readyz", { everyMs: STATS_EVERY_MS, probe: true })
}

/** Statistics of all domains, with diagnostics. */
export function useAllStats(): Readonly<Record<Domain, View<DomainStats>>> {
  const views = useApis<DomainStats>(
    DOMAINS.map(domain => ({
      path: `${domain}/stats`,
      options: { params: { include: "diagnostics" }, everyMs: SLOW_EVERY_MS / 2 },
    })),
  )
  return Object.fromEntries(DOMAINS.map((domain, at) => [domain, views[at]!])) as Record<
    Domain,
    View<DomainStats>
  >
}

/** Below this a pause is a pause. */
const SILENCE_MS = 5_000

export function useVerdict(): Verdict {
  const readiness = useReadiness()
  const stats = useStats()
  const domains = useAllStats()
  const { latest } = useHistory()
  const { silentSinceMs } = useStore(session.link)
  const nowMs = useNow()
  const diagnostics: Partial<Record<Domain, Diagnostics>> = {}
  for (const domain of DOMAINS) {
    const view = domains[domain]
    if (view.state === "there" && view.data.diagnostics !== undefined)
      diagnostics[domain] = view.data.diagnostics
  }
  const silentMs = silentSinceMs === null ? null : nowMs - silentSinceMs
  const queue = domains.queue
  const oldest = queue.state === "there" ? queue.data["oldest_message_age_seconds"] : null
  return verdictOf({
    readiness: readiness.state === "there" ? readiness.data : null,
    diagnostics,
    point: latest,
    uptimeSeconds: stats.state === "there" ? stats.data.broker.uptime_seconds : null,
    oldestMessageSeconds: typeof oldest === "number" ? oldest : null,
    silentMs: silentMs !== null && silentMs > SILENCE_MS ? silentMs : null,
  })
}
