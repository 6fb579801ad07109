// The process itself: what the probes say, where to look when something is wrong, whom it trusts, and sending all
// programs away.

import type { Diagnostics, Readiness, TrustSources } from "../api/types.ts"
import { CommandButton } from "../parts/dialog.tsx"
import { Dot, Facts, Moment, Tag } from "../parts/figures.tsx"
import { Link } from "../parts/link.tsx"
import { Empty, ViewPanel } from "../parts/panel.tsx"
import { drain } from "../state/commands.ts"
import { useReadiness, useStats, useVerdict } from "../state/live.ts"
import { viewOfHref } from "../state/places.ts"
import { SLOW_EVERY_MS, useApi } from "../state/query.ts"
import { levelOf, levelOfDiagnosis, spoken } from "../state/verdict.ts"
import { age } from "../text/format.ts"
import { isDomain, WORDS } from "../text/words.ts"

interface Troubleshooting {
  readonly generated_at: string
  readonly incident: { readonly severity: string; readonly summary: string }
  readonly domains: readonly {
    readonly domain: string
    readonly href: string
    readonly diagnostics: Diagnostics
  }[]
  readonly hotspots: readonly {
    readonly domain: string
    readonly title: string
    readonly severity: string
    readonly summary: string
    readonly href: string
  }[]
  readonly next_queries: readonly { readonly rank: number; readonly href: string; readonly why: string }[]
}

export function StatusPage() {
  const verdict = useVerdict()
  const readiness = useReadiness()
  const alive = useApi<{ readonly status: string; readonly version?: string; readonly reason?: string }>(
    "healthz",
    { probe: true },
  )
  const started = useApi<{ readonly status: string; readonly startup_time_seconds?: number }>("startupz", {
    probe: true,
    everyMs: SLOW_EVERY_MS,
  })
  const trouble = useApi<Troubleshooting>("troubleshooting", { everyMs: SLOW_EVERY_MS / 2 })
  const trust = useApi<TrustSources>("runtime/auth", { everyMs: SLOW_EVERY_MS })
  const stats = useStats()
  return (
    <>
      <div class="heading">
        <div>
          <h1>
            <Dot level={verdict.level} /> {verdict.headline}
          </h1>
          <p>What this process says about itself. Other brokers have a page of their own.</p>
        </div>
        <CommandButton
          small={false}
          label="Drain broker"
          command={() => drain(stats.state === "there" ? stats.data.broker.sessions : 0)}
        />
      </div>
      <div class="grid">
        <ViewPanel title="Probes" class="span-4" view={readiness}>
          {ready => (
            <Facts
              rows={[
                [
                  "Alive",
                  alive.state !== "there" ? (
                    "\u2013"
                  ) : (
                    <Tag level={alive.data.status === "ok" ? "good" : "bad"}>
                      {alive.data.reason ?? alive.data.status}
                    </Tag>
                  ),
                ],
                ["Ready", <Ready readiness={ready} />],
                ...Object.entries(ready.checks).map(
                  ([name, state]) =>
                    [
                      capital(spoken(name)),
                      <Tag level={state === "ok" ? "good" : "bad"}>{spoken(state)}</Tag>,
                    ] as const,
                ),
                [
                  "Started in",
                  started.state === "there" && started.data.startup_time_seconds !== undefined
                    ? `${started.data.startup_time_seconds.toFixed(2)} s`
                    : "\u2013",
                ],
                ["Version", alive.state === "there" ? (alive.data.version ?? "\u2013") : "\u2013"],
                ["Up", stats.state === "there" ? age(stats.data.broker.uptime_seconds) : "\u2013"],
              ]}
            />
          )}
        </ViewPanel>
        <ViewPanel title="How the domains are" class="span-8" flush view={trouble}>
          {({ domains }) => (
            <ul class="rows">
              {domains.map(({ domain, diagnostics }) => (
                <li>
                  <Dot level={levelOfDiagnosis(diagnostics)} />
                  <span style={{ minWidth: "84px" }}>
                    {isDomain(domain) ? <Link to={domain}>{WORDS[domain].name}</Link> : domain}
                  </span>
                  <span class="strong" style={{ minWidth: "170px" }}>
                    {spoken(diagnostics.current_stage)}
                  </span>
                  <span class="grow dim wide">{diagnostics.explanation_hints.join("; ")}</span>
                </li>
              ))}
            </ul>
          )}
        </ViewPanel>
        <ViewPanel title="Where to look first" class="span-8" flush view={trouble}>
          {({ hotspots, next_queries }) => {
            const rows = hotspots.map(({ href, title, summary, domain, severity }) => ({
              href,
              title,
              why: summary,
              domain,
              severity,
            }))
            const next = next_queries.map(({ href, why }) => ({
              href,
              title: titleOf(href),
              why,
              domain: "",
              severity: "none",
            }))
            const shown = [...rows, ...next.filter(one => !rows.some(row => row.href === one.href))].slice(
              0,
              12,
            )
            return shown.length === 0 ? (
              <Empty title="Nothing stands out" />
            ) : (
              <ul class="rows">
                {shown.map(({ href, title, why, domain, severity }) => (
                  <li>
                    <Dot level={levelOf(severity)} />
                    <span class="twofold">
                      <Link to={leadTo(href, domain, title)}>{title}</Link>
                      <span class="dim">{why}</span>
                    </span>
                  </li>
                ))}
              </ul>
            )
          }}
        </ViewPanel>
        <ViewPanel title="Whom it trusts" class="span-4" view={trust}>
          {({ storage_id, sources }) => (
            <div class="lines">
              {sources.length === 0 && (
                <p class="dim">No source of trust is configured: this is a broker for development.</p>
              )}
              {sources.map(source => (
                <div>
                  <p class="tools">
                    <span class="strong">{spoken(source.source)}</span>
                    <Tag>{spoken(source.kind)}</Tag>
                    {source.error !== null && <Tag level="bad">old keys, a broken file</Tag>}
                  </p>
                  {source.error !== null && <p class="dim">{source.error}</p>}
                  <p class="dim">
                    read <Moment at={source.loaded_at} />,{" "}
                    {source.keys.length === 1 ? "one key" : `${source.keys.length} keys`}
                  </p>
                  <ul>
                    {source.keys.map(key => (
                      <li class="dim">
                        <span class="mono">{key.kid === "" ? "no kid" : key.kid}</span> {key.alg}
                        {key.last_verified_at !== null && (
                          <>
                            , last used <Moment at={key.last_verified_at} from />
                          </>
                        )}
                      </li>
                    ))}
                  </ul>
                </div>
              ))}
              <p class="dim">
                Store <span class="mono">{storage_id}</span>
              </p>
            </div>
          )}
        </ViewPanel>
      </div>
    </>
  )
}

function Ready({ readiness: { status, error } }: { readonly readiness: Readiness }) {
  if (status === "ready") return <Tag level="good">ready</Tag>
  return <Tag level="bad">{error?.message ?? spoken(status)}</Tag>
}

function capital(text: string): string {
  return `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}`
}

/** What a path of the API shows, in words. */
function titleOf(href: string): string {
  const [, first = "", rest = ""] = /^\/api\/v1\/(?:admin\/)?([a-z]+)(?:\/([a-z]+))?/.exec(href) ?? []
  if (isDomain(first)) return rest === "stats" ? WORDS[first].name : `${WORDS[first].name}: ${spoken(rest)}`
  return first === "stats" ? "Overview" : capital(first)
}

function leadTo(href: string, domain: string, title: string): string {
  const found = viewOfHref({ href, domain, title })
  if (found !== "") return found
  const [, first = ""] = /^\/api\/v1\/(?:admin\/)?([a-z]+)/.exec(href) ?? []
  return first === "stats" ? "" : first
}
