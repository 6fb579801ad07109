// The lists of the API as tables, each with the commands that its rows take. Where a list is live, its words for
// emptiness say so.

import type { Params } from "../api/client.ts"
import type {
  AuditRecord,
  ExecutionRow,
  InflightRow,
  LeaseRow,
  NoticeRouteRow,
  PendingRow,
  ScheduleRow,
  SessionRow,
  SubscriptionRow,
  TransactionRow,
  WorkerRow,
} from "../api/types.ts"
import {
  cancelCall,
  cancelSubscription,
  closeSession,
  releaseLease,
  removeSchedule,
  rollback,
  triggerSchedule,
} from "../state/commands.ts"
import { viewOfPlace, viewOfRoute } from "../state/places.ts"
import { SLOW_EVERY_MS } from "../state/query.ts"
import { age, compact, exact, latency } from "../text/format.ts"
import { CommandButton } from "./dialog.tsx"
import { Moment, Tag } from "./figures.tsx"
import { Link } from "./link.tsx"
import { Empty } from "./panel.tsx"
import { NextRuns } from "./runs.tsx"
import { type Column, ListTable } from "./table.tsx"

interface ListProps {
  readonly path?: string
  readonly params?: Params
}

export function SessionLink({ id }: { readonly id: string | null | undefined }) {
  if (id === null || id === undefined) return <span class="dim">{"\u2013"}</span>
  return (
    <Link to={`sessions/${encodeURIComponent(id)}`} class="mono">
      {id}
    </Link>
  )
}

function PlaceLink({
  domain,
  row,
}: {
  readonly domain: string
  readonly row: { readonly realm: string; readonly area: string; readonly resource: string }
}) {
  const text = `${row.realm}/${row.area}/${row.resource}`
  return (
    <Link to={viewOfPlace(domain, row)} title={text}>
      {text}
    </Link>
  )
}

function RouteLink({ route }: { readonly route: string }) {
  return (
    <Link to={viewOfRoute(route)} class="mono" title={route}>
      {route}
    </Link>
  )
}

const ACT = { title: "Command", act: true } as const

export function TransactionList({ path = "admin/kv/transactions", params = {} }: ListProps) {
  return (
    <ListTable<TransactionRow>
      label="Open transactions"
      path={path}
      params={params}
      read={body => body["transactions"] ?? []}
      keyOf={row => row.tx_id}
      columns={[
        { title: "Transaction", width: "110px", cell: row => <span class="mono">{row.tx_id}</span> },
        { title: "Resource", cell: row => <PlaceLink domain="kv" row={row} /> },
        {
          title: "Mode",
          width: "110px",
          wide: true,
          cell: row => (row.mode === "ReadWrite" ? <Tag>read, write</Tag> : <Tag>read only</Tag>),
        },
        {
          title: "Operations",
          number: true,
          width: "100px",
          wide: true,
          cell: row => exact(row.operations_count),
        },
        { title: "Idle", number: true, width: "90px", wide: true, cell: row => age(row.idle_seconds) },
        {
          title: "Started",
          number: true,
          width: "130px",
          wide: true,
          cell: row => <Moment at={row.started_at} />,
        },
        {
          ...ACT,
          width: "110px",
          cell: row => <CommandButton label="Roll back" command={() => rollback(row)} />,
        },
      ]}
      empty={
        <Empty title="No transaction is open">Open transactions are live: they end with their session.</Empty>
      }
    />
  )
}

export function SubscriptionList({ params = {} }: ListProps) {
  return (
    <ListTable<SubscriptionRow>
      label="Subscriptions"
      path="admin/notice/subscriptions"
      params={params}
      read={body => body["subscriptions"] ?? []}
      keyOf={row => row.subscription_id}
      columns={[
        { title: "Pattern", cell: row => <RouteLink route={row.pattern} /> },
        { title: "Session", width: "130px", wide: true, cell: row => <SessionLink id={row.session_id} /> },
        { title: "Heard", number: true, width: "90px", cell: row => compact(row.notifications_received) },
        {
          title: "Since",
          number: true,
          width: "130px",
          wide: true,
          cell: row => <Moment at={row.created_at} />,
        },
        {
          ...ACT,
          width: "90px",
          cell: row => <CommandButton label="Cancel" command={() => cancelSubscription(row)} />,
        },
      ]}
      empty={
        <Empty title="Nobody subscribes">
          Subscriptions are live: they end with their session and do not come back by themselves.
        </Empty>
      }
    />
  )
}

export function RouteList({ params = {} }: ListProps) {
  return (
    <ListTable<NoticeRouteRow>
      label="Routes"
      path="admin/notice/routes"
      params={params}
      read={body => body["routes"] ?? []}
      keyOf={row => row.route}
      columns={[
        { title: "Route", cell: row => <RouteLink route={row.route} /> },
        { title: "Subscribers", number: true, width: "110px", cell: row => exact(row.subscribers) },
        {
          title: "Published",
          number: true,
          width: "110px",
          wide: true,
          cell: row => compact(row.publishes_total),
        },
        { title: "A minute", number: true, width: "100px", cell: row => compact(row.publishes_per_minute) },
      ]}
      empty={
        <Empty title="No route has been seen">
          Routes that this process has published to, or that somebody subscribes to exactly. Not a history.
        </Empty>
      }
    />
  )
}

export function WorkerList({ params = {} }: ListProps) {
  return (
    <ListTable<WorkerRow>
      label="Workers"
      path="admin/rpc/workers"
      params={params}
      read={body => body["workers"] ?? []}
      keyOf={row => `${row.session_id} ${row.route}`}
      columns={[
        { title: "Route", cell: row => <RouteLink route={row.route} /> },
        { title: "Session", width: "130px", cell: row => <SessionLink id={row.session_id} /> },
        {
          title: "Handled",
          number: true,
          width: "100px",
          wide: true,
          cell: row => compact(row.requests_handled),
        },
        {
          title: "Average",
          number: true,
          width: "100px",
          wide: true,
          cell: row => latency(row.average_latency_ms / 1_000),
        },
        {
          title: "Since",
          number: true,
          width: "130px",
          wide: true,
          cell: row => <Moment at={row.registered_at} />,
        },
      ]}
      empty={
        <Empty title="No worker is registered">Registrations are live: they end with their session.</Empty>
      }
    />
  )
}

export function CallList({ params = {} }: ListProps) {
  return (
    <ListTable<PendingRow>
      label="Pending calls"
      path="admin/rpc/pending"
      params={params}
      read={body => body["requests"] ?? []}
      keyOf={row => row.correlation_id}
      columns={[
        { title: "Route", cell: row => <RouteLink route={row.route} /> },
        {
          title: "Correlation",
          width: "180px",
          wide: true,
          cell: row => <span class="mono dim">{row.correlation_id}</span>,
        },
        {
          title: "Worker",
          width: "130px",
          wide: true,
          cell: row =>
            row.worker_session_id === null ? (
              <Tag level="watch">none yet</Tag>
            ) : (
              <SessionLink id={row.worker_session_id} />
            ),
        },
        { title: "Age", number: true, width: "90px", cell: row => age(row.age_seconds) },
        {
          ...ACT,
          width: "90px",
          cell: row => <CommandButton label="Cancel" command={() => cancelCall(row)} />,
        },
      ]}
      empty={<Empty title="No call is pending">Pending calls are live and no backlog.</Empty>}
    />
  )
}

export function LeaseList({ params = {} }: ListProps) {
  return (
    <ListTable<LeaseRow>
      label="Leases"
      path="admin/lease/leases"
      params={params}
      read={body => body["leases"] ?? []}
      keyOf={row => row.lease_id}
      columns={[
        { title: "Resource", cell: row => <PlaceLink domain="lease" row={row} /> },
        {
          title: "Owner",
          width: "130px",
          wide: true,
          cell: row => <SessionLink id={row.owner_session_id} />,
        },
        {
          title: "Fencing token",
          number: true,
          width: "150px",
          wide: true,
          cell: row => <span class="mono">{row.fencing_token}</span>,
        },
        { title: "Renewals", number: true, width: "90px", wide: true, cell: row => exact(row.renewals) },
        { title: "Expires", number: true, width: "120px", cell: row => <Moment at={row.expires_at} from /> },
        {
          ...ACT,
          width: "100px",
          cell: row => <CommandButton label="Release" command={() => releaseLease(row)} />,
        },
      ]}
      empty={
        <Empty title="Nobody holds a lease">
          Leases are live: they end with their session or their time.
        </Empty>
      }
    />
  )
}

export function InflightList({ path, params = {} }: { readonly path: string; readonly params?: Params }) {
  return (
    <ListTable<InflightRow>
      label="Reservations"
      path={path}
      params={params}
      read={body => body["inflight"] ?? []}
      keyOf={row => `${row.family} ${row.message_id}`}
      columns={[
        { title: "Message", width: "120px", cell: row => <span class="mono">{row.message_id}</span> },
        { title: "Session", cell: row => <SessionLink id={row.session_id} /> },
        { title: "Family", number: true, width: "80px", wide: true, cell: row => row.family },
        {
          title: "Lapsed before",
          number: true,
          width: "120px",
          wide: true,
          cell: row => exact(row.attempts),
        },
        { title: "Expires", number: true, width: "130px", cell: row => <Moment at={row.expires_at} from /> },
      ]}
      empty={
        <Empty title="Nothing is reserved">
          Reservations are live: they end with their session or their time, and the message is ready again.
        </Empty>
      }
    />
  )
}

export function scheduleColumns(edit?: (row: ScheduleRow) => void): Column<ScheduleRow>[] {
  return [
    {
      title: "Schedule",
      cell: row => (
        <>
          <Link
            to={viewOfPlace("schedule", row)}
            title={`${row.realm}/${row.area}/${row.resource}/${row.operation}`}
          >
            {row.realm}/{row.area}/{row.resource}/<span class="strong">{row.operation}</span>
          </Link>
        </>
      ),
    },
    { title: "Cron, UTC", width: "130px", cell: row => <span class="mono">{row.cron}</span> },
    {
      title: "Next 24 hours",
      width: "220px",
      wide: true,
      cell: row => <NextRuns cron={row.cron} enabled={row.enabled} />,
    },
    {
      title: "Next run",
      number: true,
      width: "128px",
      wide: true,
      cell: row => (row.next_run === null ? <Tag>disabled</Tag> : <Moment at={row.next_run} from />),
    },
    {
      title: "Runs",
      number: true,
      width: "70px",
      wide: true,
      cell: row => <span title="by this process since it started">{exact(row.executions_total)}</span>,
    },
    {
      ...ACT,
      width: edit === undefined ? "100px" : "260px",
      cell: row => (
        <span class="tools tight">
          <CommandButton label="Run now" command={() => triggerSchedule(row)} />
          {edit !== undefined && (
            <>
              <button type="button" class="button small" onClick={() => edit(row)}>
                Change
              </button>
              <CommandButton label="Remove" command={() => removeSchedule(row)} />
            </>
          )}
        </span>
      ),
    },
  ]
}

export function ScheduleList({
  params = {},
  edit,
}: ListProps & { readonly edit?: (row: ScheduleRow) => void }) {
  return (
    <ListTable<ScheduleRow>
      label="Schedules"
      path="admin/schedule/schedules"
      params={params}
      everyMs={SLOW_EVERY_MS / 2}
      read={body => body["schedules"] ?? []}
      keyOf={row => row.schedule_id}
      columns={scheduleColumns(edit)}
      empty={
        <Empty title="No schedule is defined">
          Definitions are durable. A program or an operator defines them; so can you, under Definitions.
        </Empty>
      }
    />
  )
}

const executionColumns: Column<ExecutionRow>[] = [
  { title: "At", width: "150px", cell: row => <Moment at={row.at} /> },
  {
    title: "Schedule",
    cell: row => <PlaceLink domain="schedule" row={{ ...row, resource: row.resource }} />,
  },
  { title: "Operation", width: "150px", wide: true, cell: row => row.operation },
  { title: "By", width: "90px", wide: true, cell: row => <Tag>{row.manual ? "hand" : "clock"}</Tag> },
  { title: "Listeners", number: true, width: "100px", cell: row => exact(row.matched_subscriptions) },
  {
    title: "Handed out",
    number: true,
    width: "110px",
    wide: true,
    cell: row => exact(row.accepted_handoffs),
  },
]

const readExecutions = (body: Record<string, readonly ExecutionRow[]>): readonly ExecutionRow[] =>
  body["executions"] ?? []
const executionKey = (row: ExecutionRow): string => `${row.schedule_id} ${row.at} ${row.manual}`

export function ExecutionList({ path, params = {} }: { readonly path: string; readonly params?: Params }) {
  return (
    <ListTable<ExecutionRow>
      label="Runs"
      path={path}
      params={params}
      read={readExecutions}
      keyOf={executionKey}
      columns={executionColumns}
      empty={
        <Empty title="Nothing has run">
          Runs of this process, as far as it remembers them. Not a history.
        </Empty>
      }
    />
  )
}

export function MissedList({ params = {} }: ListProps) {
  return (
    <ListTable<ExecutionRow>
      label="Missed runs"
      path="schedule/missed"
      params={params}
      read={readExecutions}
      keyOf={executionKey}
      columns={executionColumns}
      empty={
        <Empty title="No run was missed">Runs of this process that reached nobody would stand here.</Empty>
      }
    />
  )
}

export function SessionList({ params = {} }: ListProps) {
  return (
    <ListTable<SessionRow>
      label="Sessions"
      path="admin/sessions"
      params={params}
      read={body => body["sessions"] ?? []}
      keyOf={row => row.session_id}
      columns={[
        { title: "Session", width: "120px", cell: row => <SessionLink id={row.session_id} /> },
        { title: "Who", cell: row => row.subject || row.identity_value || <span class="dim">nameless</span> },
        {
          title: "Realm",
          width: "120px",
          wide: true,
          cell: row => (row.realm === "" ? <span class="dim">none</span> : row.realm),
        },
        {
          title: "From",
          width: "210px",
          wide: true,
          cell: row => <span class="mono">{row.remote_addr}</span>,
        },
        {
          title: "By",
          width: "110px",
          wide: true,
          cell: row => <Tag>{row.transport === "tcp" ? "TCP" : "WebSocket"}</Tag>,
        },
        {
          title: "Frames in",
          number: true,
          width: "90px",
          wide: true,
          cell: row => compact(row.messages_received),
        },
        {
          title: "Frames out",
          number: true,
          width: "90px",
          wide: true,
          cell: row => compact(row.messages_sent),
        },
        { title: "Idle", number: true, width: "90px", cell: row => age(row.idle_seconds) },
        {
          title: "Since",
          number: true,
          width: "120px",
          wide: true,
          cell: row => <Moment at={row.connected_at} />,
        },
        {
          ...ACT,
          width: "90px",
          cell: row => <CommandButton label="Close" command={() => closeSession(row)} />,
        },
      ]}
      empty={
        <Empty title="Nobody is connected">
          Programs that were let in would stand here. This page is not one of them.
        </Empty>
      }
    />
  )
}

export function AuditList() {
  return (
    <ListTable<AuditRecord>
      label="Audit"
      path="audit"
      read={body => body["records"] ?? []}
      keyOf={row => row.request_id + row.ts}
      columns={[
        { title: "At", width: "140px", cell: row => <Moment at={row.ts} /> },
        { title: "Action", width: "230px", cell: row => <span class="strong">{row.action}</span> },
        { title: "Outcome", width: "120px", cell: row => <OutcomeTag outcome={row.outcome} /> },
        { title: "By", width: "150px", wide: true, cell: row => row.user },
        { title: "Target", wide: true, cell: row => <TargetText target={row.target} /> },
        {
          title: "Reason",
          width: "200px",
          wide: true,
          cell: row => <span title={row.reason}>{row.reason ?? <span class="dim">{"\u2013"}</span>}</span>,
        },
        {
          title: "From",
          width: "170px",
          wide: true,
          cell: row => <span class="mono dim">{row.remote_addr}</span>,
        },
      ]}
      empty={
        <Empty title="Nobody has ordered anything">
          Commands given to this process, refused ones too, stand here, as many as it remembers. The log has
          all of them.
        </Empty>
      }
    />
  )
}

export function OutcomeTag({ outcome }: { readonly outcome: string }) {
  const level = outcome === "ok" ? "good" : outcome === "error" ? "bad" : "watch"
  return <Tag level={level}>{outcome.replaceAll("_", " ")}</Tag>
}

export function TargetText({ target }: { readonly target: Readonly<Record<string, unknown>> }) {
  const text = Object.entries(target)
    .map(([name, value]) => `${name.replaceAll("_", " ")} ${String(value)}`)
    .join(", ")
  return (
    <span class="dim" title={text}>
      {text}
    </span>
  )
}
