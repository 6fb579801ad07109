// What is defined from outside rather than by traffic: realms with their limits, schedules with their next runs.
// Definitions are durable.

import type { ComponentChildren } from "preact"
import { useId, useState } from "preact/hooks"
import type { RealmRow, ScheduleRow } from "../api/types.ts"
import { CommandButton, Dialog, propose, useRight } from "../parts/dialog.tsx"
import { LifetimeTag, Moment, Tag } from "../parts/figures.tsx"
import { Link } from "../parts/link.tsx"
import { ScheduleList } from "../parts/lists.tsx"
import { Empty, Panel } from "../parts/panel.tsx"
import { NextRuns } from "../parts/runs.tsx"
import { ListTable } from "../parts/table.tsx"
import { declareRealm, defineSchedule, forgetRealm } from "../state/commands.ts"
import { useParam } from "../state/navigation.ts"
import { SLOW_EVERY_MS } from "../state/query.ts"
import { nextRuns } from "../text/cron.ts"
import { exact } from "../text/format.ts"

export function Definitions() {
  const [tab] = useParam("tab")
  const [realm, setRealm] = useState<RealmRow | "new" | null>(null)
  const [schedule, setSchedule] = useState<ScheduleRow | "new" | null>(null)
  const may = useRight("write")
  const schedules = tab !== "realms"
  return (
    <>
      <div class="heading">
        <div>
          <h1>
            Definitions <LifetimeTag lifetime="durable" />
          </h1>
          <p>
            Written from outside, by people, operators or programs, and kept in the store. What somebody else
            manages says so: it may be written over.
          </p>
        </div>
        <button
          type="button"
          class="button main-one"
          disabled={may === false}
          title={may === false ? "needs admin:write" : ""}
          onClick={() => (schedules ? setSchedule("new") : setRealm("new"))}
        >
          {schedules ? "Define a schedule" : "Declare a realm"}
        </button>
      </div>
      <Panel flush>
        <nav class="tabs" aria-label="Kinds of definitions">
          <Link to="definitions" aria-current={schedules ? "page" : undefined}>
            Schedules
          </Link>
          <Link to="definitions?tab=realms" aria-current={schedules ? undefined : "page"}>
            Realms
          </Link>
        </nav>
        {schedules ? <ScheduleList edit={setSchedule} /> : <RealmList onEdit={setRealm} />}
      </Panel>
      {realm !== null && <RealmDialog row={realm === "new" ? null : realm} onClose={() => setRealm(null)} />}
      {schedule !== null && (
        <ScheduleDialog row={schedule === "new" ? null : schedule} onClose={() => setSchedule(null)} />
      )}
    </>
  )
}

function RealmList({ onEdit }: { readonly onEdit: (row: RealmRow) => void }) {
  return (
    <ListTable<RealmRow>
      label="Realms"
      path="realms"
      everyMs={SLOW_EVERY_MS / 2}
      read={body => body["realms"] ?? []}
      keyOf={row => row.realm}
      columns={[
        {
          title: "Realm",
          cell: row => (
            <>
              <span class="strong">{row.realm}</span>{" "}
              {row.display_name != null && <span class="dim">{row.display_name}</span>}
            </>
          ),
        },
        {
          title: "State",
          width: "110px",
          cell: row => (row.declared ? <Tag level="good">declared</Tag> : <Tag>in use</Tag>),
        },
        { title: "Limits", wide: true, cell: row => <Limits limits={row.limits} /> },
        {
          title: "Managed by",
          width: "200px",
          wide: true,
          cell: row => row.managed_by ?? <span class="dim">nobody</span>,
        },
        {
          title: "Command",
          act: true,
          width: "190px",
          cell: row => (
            <span class="tools tight">
              <button type="button" class="button small" onClick={() => onEdit(row)}>
                {row.declared ? "Change" : "Declare"}
              </button>
              {row.declared && <CommandButton label="Forget" command={() => forgetRealm(row)} />}
            </span>
          ),
        },
      ]}
      empty={<Empty title="No realm is known">Realms exist by being used, or by being declared.</Empty>}
    />
  )
}

function Limits({ limits }: { readonly limits: RealmRow["limits"] }) {
  const set = Object.entries(limits ?? {}).filter(([, value]) => typeof value === "number")
  if (set.length === 0) return <span class="dim">none</span>
  return (
    <>
      {set
        .map(([name, value]) => `${name.replace("max_", "").replaceAll("_", " ")} ${exact(value)}`)
        .join(", ")}
    </>
  )
}

const LIMITS = [
  ["max_sessions", "Sessions"],
  ["max_subscriptions", "Subscriptions"],
  ["max_queue_messages", "Messages in queues"],
  ["max_streams", "Streams"],
] as const

function RealmDialog({ row, onClose }: { readonly row: RealmRow | null; readonly onClose: () => void }) {
  const [realm, setRealm] = useState(row?.realm ?? "")
  const [displayName, setDisplayName] = useState(row?.display_name ?? "")
  const [description, setDescription] = useState(row?.description ?? "")
  const [limits, setLimits] = useState<Readonly<Record<string, string>>>(
    Object.fromEntries(
      LIMITS.map(([name]) => [name, row?.limits?.[name] == null ? "" : String(row.limits[name])]),
    ),
  )
  const wrong = Object.values(limits).some(value => value !== "" && !/^\d{1,15}$/.test(value))
  const ready = realm.trim() !== "" && !wrong
  const go = (): void => {
    onClose()
    propose(
      declareRealm({
        realm: realm.trim(),
        displayName,
        description,
        limits: Object.fromEntries(
          Object.entries(limits).flatMap(([name, value]) => (value === "" ? [] : [[name, Number(value)]])),
        ),
        labels: row?.labels ?? {},
        managedBy: row?.managed_by ?? null,
        etag: row?.declared === true ? (row.etag ?? null) : null,
      }),
    )
  }
  return (
    <Dialog
      title={row === null ? "Declare a realm" : `Realm ${row.realm}`}
      onClose={onClose}
      footer={<FormFooter ready={ready} onClose={onClose} onGo={go} />}
    >
      <TextField name="Realm" value={realm} onChange={setRealm} readOnly={row !== null} />
      <TextField name="Name for people" value={displayName} onChange={setDisplayName} />
      <TextField name="Description" value={description} onChange={setDescription} />
      <fieldset class="field">
        <legend class="label">Limits, over all families; empty means none</legend>
        <div class="pairs">
          {LIMITS.map(([name, title]) => (
            <TextField
              name={title}
              value={limits[name] ?? ""}
              onChange={value => setLimits({ ...limits, [name]: value })}
              numeric
            />
          ))}
        </div>
      </fieldset>
    </Dialog>
  )
}

const YEAR_MS = 366 * 86_400_000

function ScheduleDialog({
  row,
  onClose,
}: {
  readonly row: ScheduleRow | null
  readonly onClose: () => void
}) {
  const [route, setRoute] = useState(
    row === null ? "" : `${row.realm}/${row.area}/${row.resource}/${row.operation}`,
  )
  const [family, setFamily] = useState(String(row?.family ?? 1))
  const [cron, setCron] = useState(row?.cron ?? "*/5 * * * *")
  const [payloadText, setPayload] = useState("")
  const [single, setSingle] = useState(row?.delivery_mode === "single")
  const [enabled, setEnabled] = useState(row?.enabled ?? true)
  const payloadId = useId()
  const segments = route.trim().split("/")
  const runs = nextRuns(cron, Date.now(), YEAR_MS, 5)
  const ready =
    segments.length === 4 &&
    segments.every(segment => segment !== "" && !segment.includes("*")) &&
    /^[1-9]\d{0,9}$/.test(family) &&
    cron.trim() !== ""
  const go = (): void => {
    onClose()
    const [realm, area, resource, operation] = segments as [string, string, string, string]
    propose(
      defineSchedule({
        realm,
        area,
        resource,
        operation,
        family: Number(family),
        cron: cron.trim(),
        payloadText,
        single,
        enabled,
        managedBy: row?.managed_by ?? null,
        etag: row?.etag ?? null,
      }),
    )
  }
  return (
    <Dialog
      title={row === null ? "Define a schedule" : `Change ${row.operation}`}
      onClose={onClose}
      footer={<FormFooter ready={ready} onClose={onClose} onGo={go} />}
    >
      <TextField
        name="Route: realm/area/resource/operation"
        value={route}
        onChange={setRoute}
        readOnly={row !== null}
        mono
      />
      <div class="pairs">
        <TextField name="Cron, in UTC" value={cron} onChange={setCron} mono />
        <TextField name="Family" value={family} onChange={setFamily} readOnly={row !== null} numeric />
      </div>
      <div>
        <NextRuns cron={cron} enabled={enabled} />
        <p class="dim" role="status">
          {runs === null ? (
            "This page cannot read the expression; the broker decides."
          ) : runs.length === 0 ? (
            "No run within a year."
          ) : (
            <>
              Next:{" "}
              {runs.map((ms, at) => (
                <>
                  {at > 0 && ", "}
                  <Moment at={ms} />
                </>
              ))}
            </>
          )}
        </p>
      </div>
      <div class="field">
        <label for={payloadId}>Payload, as text</label>
        <textarea
          id={payloadId}
          class="input mono"
          value={payloadText}
          onInput={event => setPayload(event.currentTarget.value)}
        />
        {row !== null && <small>The stored payload is not shown and is replaced by this.</small>}
      </div>
      <label class="check">
        <input type="checkbox" checked={single} onChange={event => setSingle(event.currentTarget.checked)} />
        To one listener only, not to all
      </label>
      <label class="check">
        <input
          type="checkbox"
          checked={enabled}
          onChange={event => setEnabled(event.currentTarget.checked)}
        />
        Enabled
      </label>
    </Dialog>
  )
}

function FormFooter({
  ready,
  onClose,
  onGo,
}: {
  readonly ready: boolean
  readonly onClose: () => void
  readonly onGo: () => void
}): ComponentChildren {
  return (
    <>
      <button type="button" class="button" onClick={onClose}>
        Leave it
      </button>
      <button type="button" class="button main-one" disabled={!ready} onClick={onGo}>
        Go on
      </button>
    </>
  )
}

interface TextFieldProps {
  readonly name: string
  readonly value: string
  readonly onChange: (value: string) => void
  readonly readOnly?: boolean
  readonly numeric?: boolean
  readonly mono?: boolean
}

function TextField({
  name,
  value,
  onChange,
  readOnly = false,
  numeric = false,
  mono = false,
}: TextFieldProps) {
  const id = useId()
  return (
    <div class="field">
      <label for={id}>{name}</label>
      <input
        id={id}
        class={mono ? "input mono" : "input"}
        value={value}
        readOnly={readOnly}
        inputMode={numeric ? "numeric" : "text"}
        autocomplete="off"
        onInput={event => onChange(event.currentTarget.value)}
      />
    </div>
  )
}
