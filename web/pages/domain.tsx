// One domain: its figures, what it says about itself, its lists, and the way down realm, area, resource. Each word
// about state says whether it is durable or live.

import { ChevronRight, FolderTree } from "lucide-preact"
import type { ComponentChildren } from "preact"
import { pathOf } from "../api/client.ts"
import type { AreaNames, DomainStats, RealmNames, ResourceRow, Resources } from "../api/types.ts"
import { Chart } from "../parts/chart.tsx"
import { DiagnosticsPanel } from "../parts/diagnostics.tsx"
import { Figure, LifetimeTag } from "../parts/figures.tsx"
import { Link } from "../parts/link.tsx"
import {
  CallList,
  LeaseList,
  MissedList,
  RouteList,
  ScheduleList,
  SubscriptionList,
  TransactionList,
  WorkerList,
} from "../parts/lists.tsx"
import { AsOf, Empty, Panel, Shown } from "../parts/panel.tsx"
import { type Column, RowsTable } from "../parts/table.tsx"
import { useAllStats, useHistory } from "../state/live.ts"
import { useParam } from "../state/navigation.ts"
import { LIST_EVERY_MS, SLOW_EVERY_MS, STATS_EVERY_MS, useApi, type View } from "../state/query.ts"
import { type Count, countsOf, showCount } from "../text/counts.ts"
import { compact, exact } from "../text/format.ts"
import { type Domain, WORDS } from "../text/words.ts"

interface Tab {
  readonly name: string
  readonly title: string
  readonly body: (realm: string) => ComponentChildren
}

const TABS: Readonly<Record<Domain, readonly Tab[]>> = {
  kv: [
    {
      name: "transactions",
      title: "Open transactions",
      body: realm => <TransactionList path="admin/kv/transactions" params={{ realm }} />,
    },
  ],
  stream: [],
  queue: [],
  schedule: [
    { name: "definitions", title: "Definitions", body: realm => <ScheduleList params={{ realm }} /> },
    { name: "missed", title: "Missed", body: realm => <MissedList params={{ realm }} /> },
  ],
  notice: [
    { name: "subscriptions", title: "Subscriptions", body: realm => <SubscriptionList params={{ realm }} /> },
    { name: "routes", title: "Routes", body: realm => <RouteList params={{ realm }} /> },
  ],
  rpc: [
    { name: "pending", title: "Pending calls", body: realm => <CallList params={{ realm }} /> },
    { name: "workers", title: "Workers", body: realm => <WorkerList params={{ realm }} /> },
  ],
  lease: [{ name: "leases", title: "Leases", body: realm => <LeaseList params={{ realm }} /> }],
}

export function DomainPage({
  domain,
  realm,
  area,
}: {
  readonly domain: Domain
  readonly realm: string | null
  readonly area: string | null
}) {
  const [tab] = useParam("tab")
  const [filter] = useParam("realm")
  const { name, about, lane } = WORDS[domain]
  const chosen = TABS[domain].find(one => one.name === tab)
  const within = realm ?? filter
  const tail = within === "" ? "" : `&realm=${encodeURIComponent(within)}`
  const tree =
    area === null ? (realm === null ? domain : pathOf(domain, realm)) : pathOf(domain, realm!, area)
  return (
    <>
      <div class="heading">
        <div>
          <h1>
            {name} <LifetimeTag lifetime={lane} />
          </h1>
          <p>{about}</p>
        </div>
        {domain === "queue" && (
          <Link to="dead-letters" class="button">
            Dead letters
          </Link>
        )}
        {domain === "schedule" && (
          <Link to="definitions" class="button">
            Define a schedule
          </Link>
        )}
      </div>
      <StatsPart domain={domain} realm={within} />
      <Panel flush>
        {TABS[domain].length > 0 && (
          <nav class="tabs" aria-label={`Lists of ${name}`}>
            <Link to={tree} aria-current={chosen === undefined ? "page" : undefined}>
              Resources
            </Link>
            {TABS[domain].map(one => (
              <Link
                to={`${domain}?tab=${one.name}${tail}`}
                aria-current={one === chosen ? "page" : undefined}
              >
                {one.title}
              </Link>
            ))}
          </nav>
        )}
        {chosen === undefined ? (
          <Tree domain={domain} realm={realm} area={area} />
        ) : (
          <>
            <RealmFilter domain={domain} />
            {chosen.body(within)}
          </>
        )}
      </Panel>
    </>
  )
}

/** Which realm a list is narrowed to. It stands in the address. */
export function RealmFilter({
  domain,
  children,
}: {
  readonly domain: Domain
  readonly children?: ComponentChildren
}) {
  const [realm, setRealm] = useParam("realm")
  const view = useApi<RealmNames>(`${domain}/realms`, { params: { limit: 1_000 }, everyMs: SLOW_EVERY_MS })
  const names = view.state === "there" ? view.data.realms.map(row => row.realm) : []
  const known = realm === "" || names.includes(realm) ? names : [realm, ...names]
  return (
    <div class="tools padded">
      <label class="check">
        <span class="dim">Realm</span>
        <select class="input" value={realm} onChange={event => setRealm(event.currentTarget.value)}>
          <option value="">all</option>
          {known.map(name => (
            <option value={name}>{name}</option>
          ))}
        </select>
      </label>
      {children}
    </div>
  )
}

function StatsPart({ domain, realm }: { readonly domain: Domain; readonly realm: string }) {
  const all = useAllStats()
  const one = useApi<DomainStats>(realm === "" ? null : `${domain}/stats`, {
    params: { realm, include: "diagnostics" },
    everyMs: STATS_EVERY_MS,
  })
  const view = realm === "" ? all[domain] : one
  const { points, latest } = useHistory()
  const rate = latest?.operations[domain] ?? null
  return (
    <>
      <StatsStrip domain={domain} view={view} />
      <div class="grid">
        <Panel
          class="span-7"
          stale={view.state === "there" && view.stale}
          title="Operations"
          end={
            <>
              <AsOf view={view} />
              <span>{rate === null ? "" : `${compact(rate)}/s, all realms`}</span>
            </>
          }
        >
          <Chart
            title={`Operations of ${WORDS[domain].name} a second`}
            timesMs={points.map(({ atMs }) => atMs)}
            lines={[
              {
                name: "operations",
                tone: `--${WORDS[domain].lane}`,
                values: points.map(point => point.operations[domain]),
                fill: true,
              },
            ]}
            format={value => `${compact(value)}/s`}
          />
        </Panel>
        <DiagnosticsPanel class="span-5" view={view} />
      </div>
    </>
  )
}

function StatsStrip({ domain, view }: { readonly domain: Domain; readonly view: View<DomainStats> }) {
  if (view.state !== "there") {
    return (
      <Panel>
        <Shown view={view} lines={2}>
          {() => null}
        </Shown>
      </Panel>
    )
  }
  return (
    <dl class="figures" data-stale={view.stale}>
      {countsOf(view.data).map(count => (
        <CountFigure key={count.key} count={count} domain={domain} />
      ))}
    </dl>
  )
}

export function CountFigure({ count, domain }: { readonly count: Count; readonly domain: Domain }) {
  const { value, unit } = showCount(count)
  const { alarm, durable } = count
  return (
    <Figure
      name={count.name}
      value={value}
      {...(unit === null ? {} : { unit })}
      lifetime={durable ?? WORDS[domain].lane}
      {...(alarm && count.value > 0 ? { level: "watch" as const } : {})}
      title={count.about}
    />
  )
}

function Tree({
  domain,
  realm,
  area,
}: {
  readonly domain: Domain
  readonly realm: string | null
  readonly area: string | null
}) {
  if (realm === null)
    return (
      <Names
        domain={domain}
        path={`${domain}/realms`}
        what="realm"
        read={body => (body as unknown as RealmNames).realms.map(row => row.realm)}
        here={[domain]}
      />
    )
  if (area === null) {
    return (
      <Names
        domain={domain}
        path={pathOf(domain, "realms", realm, "areas")}
        what="area"
        read={body => (body as unknown as AreaNames).areas.map(row => row.area)}
        here={[domain, realm]}
      />
    )
  }
  return <ResourceTable domain={domain} realm={realm} area={area} />
}

interface NamesProps {
  readonly domain: Domain
  readonly path: string
  readonly what: string
  readonly read: (body: unknown) => readonly string[]
  readonly here: readonly string[]
}

function Names({ domain, path, what, read, here }: NamesProps) {
  const view = useApi<unknown>(path, { params: { limit: 1_000 }, everyMs: LIST_EVERY_MS })
  return (
    <div class="padded">
      <Shown view={view}>
        {body => {
          const names = read(body)
          if (names.length === 0) return <Empty title={`No ${what} is in use`}>{WORDS[domain].empty}</Empty>
          return (
            <>
              <h2 class="listhead">
                {exact(names.length)} {names.length === 1 ? what : `${what}s`}
              </h2>
              <ul class="miller">
                {names.map(name => (
                  <li key={name}>
                    <Link to={pathOf(...here, name)}>
                      <FolderTree size={16} aria-hidden="true" />
                      <span>{name}</span>
                      <ChevronRight size={15} aria-hidden="true" class="end" />
                    </Link>
                  </li>
                ))}
              </ul>
            </>
          )
        }}
      </Shown>
    </div>
  )
}

/** Which counts of a row are worth a column, of each domain, the most telling first. */
function columnsFor(domain: Domain, realm: string, area: string, sample: ResourceRow): Column<ResourceRow>[] {
  const counts = countsOf(sample)
  return [
    {
      title: "Resource",
      cell: row => (
        <Link to={pathOf(domain, realm, area, row.resource)} class="strong">
          {row.resource}
        </Link>
      ),
      order: row => row.resource,
    },
    ...counts.map(
      ({ key, short }, at): Column<ResourceRow> => ({
        title: short,
        number: true,
        wide: at > 1,
        width: "96px",
        cell: row => {
          const count = countsOf(row).find(one => one.key === key)
          if (count === undefined) return <span class="dim">{"\u2013"}</span>
          const { value, unit } = showCount(count)
          return (
            <span class={count.value === 0 ? "dim" : ""}>
              {value}
              {unit !== null && <span class="dim"> {unit}</span>}
            </span>
          )
        },
        order: row => Number(row[key] ?? -1),
      }),
    ),
  ]
}

function ResourceTable({
  domain,
  realm,
  area,
}: {
  readonly domain: Domain
  readonly realm: string
  readonly area: string
}) {
  const view = useApi<Resources>(pathOf(domain, "realms", realm, "areas", area, "resources"), {
    params: { limit: 1_000 },
    everyMs: LIST_EVERY_MS,
  })
  return (
    <Shown view={view}>
      {({ resources }) =>
        resources.length === 0 ? (
          <Empty title="No resource is in use">{WORDS[domain].empty}</Empty>
        ) : (
          <div class="aging" data-stale={view.state === "there" && view.stale}>
            <RowsTable
              label={`Resources of ${WORDS[domain].name} in ${realm}/${area}`}
              columns={columnsFor(domain, realm, area, resources[0]!)}
              rows={resources}
              keyOf={row => row.resource}
              empty={null}
            />
          </div>
        )
      }
    </Shown>
  )
}
