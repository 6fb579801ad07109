// One resource: its counts, what the broker says about how it is, what lately happened to it, who works on it, and,
// for those who may, what is stored in it.

import type { ComponentChildren } from "preact"
import { useState } from "preact/hooks"
import { pathOf } from "../api/client.ts"
import type { ResourceDetail, StoredBytes, Timeline } from "../api/types.ts"
import { DeadLetterList } from "../parts/dead-letters.tsx"
import { DiagnosticsPanel } from "../parts/diagnostics.tsx"
import { useRight } from "../parts/dialog.tsx"
import { Figure, LifetimeTag, Moment, Tag } from "../parts/figures.tsx"
import {
  CallList,
  ExecutionList,
  InflightList,
  LeaseList,
  RouteList,
  ScheduleList,
  SubscriptionList,
  TransactionList,
  WorkerList,
} from "../parts/lists.tsx"
import { Empty, Lacking, Panel, Scrolling, Shown, ViewPanel } from "../parts/panel.tsx"
import type { Place } from "../state/places.ts"
import { LIST_EVERY_MS, STATS_EVERY_MS, useApi } from "../state/query.ts"
import { levelOf } from "../state/verdict.ts"
import { countsOf } from "../text/counts.ts"
import { bytes, exact, utc } from "../text/format.ts"
import { type Domain, WORDS } from "../text/words.ts"
import { CountFigure } from "./domain.tsx"

export function ResourcePage({ domain, place }: { readonly domain: Domain; readonly place: Place }) {
  const { realm, area, resource } = place
  const path = pathOf(domain, "realms", realm, "areas", area, "resources", resource)
  const view = useApi<ResourceDetail>(path, { params: { include: "diagnostics" }, everyMs: STATS_EVERY_MS })
  return (
    <>
      <div class="heading">
        <div>
          <h1>
            {resource} <LifetimeTag lifetime={WORDS[domain].lane} />
          </h1>
          <p class="mono">
            {domain}://{realm}/{area}/{resource}
          </p>
        </div>
      </div>
      {view.state === "there" ? (
        <DetailStrip domain={domain} detail={view.data} stale={view.stale} />
      ) : (
        <Panel>
          <Shown view={view} lines={2}>
            {() => null}
          </Shown>
        </Panel>
      )}
      <div class="grid">
        <DiagnosticsPanel class="span-5" view={view} />
        <TimelinePanel path={path} />
      </div>
      {lists(domain, path, place).map(([title, body]) => (
        <Panel title={title} flush>
          {body}
        </Panel>
      ))}
      {(domain === "kv" || domain === "stream") && <Stored domain={domain} path={path} />}
    </>
  )
}

function DetailStrip({
  domain,
  detail,
  stale,
}: {
  readonly domain: Domain
  readonly detail: ResourceDetail
  readonly stale: boolean
}) {
  const cron = detail["cron"]
  const next = detail["next_run"]
  return (
    <dl class="figures" data-stale={stale}>
      {countsOf(detail).map(count => (
        <CountFigure key={count.key} count={count} domain={domain} />
      ))}
      {typeof cron === "string" && <Figure name="Cron, UTC" value={cron} lifetime="durable" />}
      {typeof next === "string" && <NextRun at={next} />}
    </dl>
  )
}

function NextRun({ at }: { readonly at: string }) {
  return (
    <div class="figure" data-lifetime="durable">
      <dt>Next run</dt>
      <dd>
        <Moment at={at} from />
      </dd>
    </div>
  )
}

/** The lists that belong to one resource. Live lists that know no resource are narrowed by what they take. */
function lists(
  domain: Domain,
  path: string,
  { realm, area, resource }: Place,
): readonly (readonly [string, ComponentChildren])[] {
  switch (domain) {
    case "kv":
      return [["Open transactions, live", <TransactionList path={`${path}/transactions`} />]]
    case "queue":
      return [
        ["Dead letters, durable", <DeadLetterList path={`${path}/dead-letters`} />],
        ["Reservations, live", <InflightList path={`${path}/inflight`} />],
      ]
    case "notice":
      return [
        [
          "Subscriptions to exactly this, live",
          <SubscriptionList params={{ realm, route_pattern: `notice://${realm}/${area}/${resource}/**` }} />,
        ],
        ["Routes of the realm", <RouteList params={{ realm }} />],
      ]
    case "rpc":
      return [
        ["Pending calls of the realm, live", <CallList params={{ realm }} />],
        ["Workers of the realm, live", <WorkerList params={{ realm }} />],
      ]
    case "lease":
      return [["Leases of the realm, live", <LeaseList params={{ realm }} />]]
    case "schedule":
      return [
        ["Definitions of the realm, durable", <ScheduleList params={{ realm }} />],
        ["Runs, of this process", <ExecutionList path={`${path}/executions`} />],
      ]
    case "stream":
      return []
  }
}

const KIND_LEVELS: Readonly<Record<string, string>> = {
  failure: "high",
  retry: "medium",
  ownership_change: "none",
  registration: "none",
}

function TimelinePanel({ path }: { readonly path: string }) {
  const view = useApi<Timeline>(`${path}/events`, { params: { limit: 30 }, everyMs: LIST_EVERY_MS })
  return (
    <ViewPanel
      title="What lately happened"
      class="span-7"
      view={view}
      end={<span>as far as this process remembers</span>}
    >
      {({ events }) =>
        events.length === 0 ? (
          <Empty title="Nothing that is remembered">
            Changes of state, failures and registrations of this process show up here. Not a history.
          </Empty>
        ) : (
          <Scrolling label="What lately happened" class="lately">
            <ol class="events">
              {events.map(event => (
                <li>
                  <Moment at={event.observed_at} />
                  <span class="mark">
                    <i data-level={levelOf(KIND_LEVELS[event.kind] ?? "none")} />
                  </span>
                  <span>
                    {event.summary} <span class="dim">{event.kind.replaceAll("_", " ")}</span>
                  </span>
                </li>
              ))}
            </ol>
          </Scrolling>
        )
      }
    </ViewPanel>
  )
}

interface Pair {
  readonly key: StoredBytes
  readonly value: StoredBytes
  readonly truncated?: boolean
}
interface Pairs {
  readonly rows: readonly Pair[]
  readonly next_cursor: string | null
}
interface StreamRecord {
  readonly resource_offset: number
  readonly created_at_ms: number
  readonly body: StoredBytes
  readonly metadata: StoredBytes | null
  readonly truncated?: boolean
}
interface Records {
  readonly records: readonly StreamRecord[]
  readonly next_offset: number | null
}

function Stored({ domain, path }: { readonly domain: "kv" | "stream"; readonly path: string }) {
  const may = useRight("data")
  return (
    <Panel title="What is stored" end={<LifetimeTag lifetime="durable" />}>
      {may === false ? (
        <Lacking right="data:read">
          What programs have stored is theirs. A credential with this permission may look.
        </Lacking>
      ) : domain === "kv" ? (
        <StoredPairs path={path} />
      ) : (
        <StoredRecords path={path} />
      )}
    </Panel>
  )
}

const PAGE_ROWS = 20

function StoredPairs({ path }: { readonly path: string }) {
  const [prefix, setPrefix] = useState("")
  const [cursors, setCursors] = useState<readonly string[]>([])
  // The prefix is data of the users: it stays out of the address of this page.
  const view = useApi<Pairs>(`${path}/rows`, {
    params: { starts_with: prefix, cursor: cursors.at(-1), limit: PAGE_ROWS },
    everyMs: 10_000,
    keep: true,
  })
  return (
    <div class="lines">
      <div class="tools">
        <label class="check">
          <span class="dim">Keys that start with</span>
          <input
            class="input mono"
            value={prefix}
            onInput={event => {
              setPrefix(event.currentTarget.value)
              setCursors([])
            }}
          />
        </label>
        <Pager
          first={cursors.length === 0}
          next={view.state === "there" ? view.data.next_cursor : null}
          onBack={() => setCursors(cursors.slice(0, -1))}
          onNext={cursor => setCursors([...cursors, cursor])}
        />
      </div>
      <Shown view={view}>
        {({ rows }) =>
          rows.length === 0 ? (
            <Empty title="No such key">Nothing is committed under this beginning.</Empty>
          ) : (
            <ul class="stored">
              {rows.map(row => (
                <li key={row.key.base64}>
                  <Blob name="Key" of={row.key.base64} content={row.key} />
                  <Blob name="Value" of={row.key.base64} content={row.value} cut={row.truncated === true} />
                </li>
              ))}
            </ul>
          )
        }
      </Shown>
    </div>
  )
}

function StoredRecords({ path }: { readonly path: string }) {
  const [starts, setStarts] = useState<readonly number[]>([])
  const from = starts.at(-1) ?? 0
  const view = useApi<Records>(`${path}/records`, {
    params: { from_offset: from, limit: PAGE_ROWS },
    everyMs: 10_000,
    keep: true,
  })
  return (
    <div class="lines">
      <div class="tools">
        <label class="check">
          <span class="dim">From offset</span>
          <input
            class="input"
            type="number"
            min={0}
            value={from}
            onChange={event => setStarts([Math.max(0, Math.floor(Number(event.currentTarget.value)))])}
          />
        </label>
        <Pager
          first={starts.length === 0}
          next={
            view.state === "there" && view.data.next_offset !== null ? String(view.data.next_offset) : null
          }
          onBack={() => setStarts(starts.slice(0, -1))}
          onNext={offset => setStarts([...starts, Number(offset)])}
        />
      </div>
      <Shown view={view}>
        {({ records }) =>
          records.length === 0 ? (
            <Empty title="No event from here on" />
          ) : (
            <ul class="stored">
              {records.map(record => (
                <li key={record.resource_offset}>
                  <p class="dim">
                    Offset <span class="mono strong">{exact(record.resource_offset)}</span>,{" "}
                    <time title={utc(record.created_at_ms)}>
                      <Moment at={record.created_at_ms} />
                    </time>
                  </p>
                  <Blob
                    name="Body"
                    of={String(record.resource_offset)}
                    content={record.body}
                    cut={record.truncated === true}
                  />
                  {record.metadata !== null && record.metadata.len_bytes > 0 && (
                    <Blob name="Metadata" of={String(record.resource_offset)} content={record.metadata} />
                  )}
                </li>
              ))}
            </ul>
          )
        }
      </Shown>
    </div>
  )
}

function Pager({
  first,
  next,
  onBack,
  onNext,
}: {
  readonly first: boolean
  readonly next: string | null
  readonly onBack: () => void
  readonly onNext: (next: string) => void
}) {
  return (
    <span class="tools">
      <button type="button" class="button small" disabled={first} onClick={onBack}>
        Back
      </button>
      <button
        type="button"
        class="button small"
        disabled={next === null}
        onClick={() => next !== null && onNext(next)}
      >
        Next
      </button>
    </span>
  )
}

/** Bytes as text where they are text, as base64 where they are not, with their true length. */
function Blob({
  name,
  of,
  content,
  cut = false,
}: {
  readonly name: string
  /** What it belongs to: names of regions are unique. */
  readonly of: string
  readonly content: StoredBytes
  readonly cut?: boolean
}) {
  const { utf8, base64, len_bytes } = content
  return (
    <div class="field">
      <span class="tools">
        <span class="dim">{name}</span>
        <Tag>{bytes(len_bytes)}</Tag>
        {utf8 === null && <Tag>base64</Tag>}
        {cut && <Tag level="watch">cut here, longer in the store</Tag>}
      </span>
      <Scrolling label={`${name} ${of}`} class="blob">
        {readable(utf8) ?? base64}
      </Scrolling>
    </div>
  )
}

/** JSON is easier to read with its lines broken. */
function readable(text: string | null): string | null {
  if (text === null || !/^\s*[[{]/.test(text)) return text
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text // looks like JSON and is not: shown as it is
  }
}
