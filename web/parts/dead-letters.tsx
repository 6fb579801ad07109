// Dead letters as a list from which some can be chosen and replayed or deleted together. Each row reports for
// itself what became of it: a bulk of commands is many commands, and some of them may fail.

import { CircleCheck, CircleX, Clock } from "lucide-preact"
import { useState } from "preact/hooks"
import { Failure } from "../api/client.ts"
import type { DeadLetterRow } from "../api/types.ts"
import { type Command, purge, replay } from "../state/commands.ts"
import { viewOfPlace } from "../state/places.ts"
import { refreshAll, useApi } from "../state/query.ts"
import { Store, useStore } from "../state/store.ts"
import { counted, exact } from "../text/format.ts"
import { CommandButton, Dialog, order, useRight } from "./dialog.tsx"
import { Moment, Tag } from "./figures.tsx"
import { Link } from "./link.tsx"
import { AsOf, Empty, Scrolling, Shown } from "./panel.tsx"
import { type Column, RowsTable } from "./table.tsx"

const ROWS_MAX = 1_000

export function deadKey(row: DeadLetterRow): string {
  return `${row.family}/${row.realm}/${row.area}/${row.resource}/${row.message_id}`
}

export function DeadLetterList({ path }: { readonly path: string }) {
  const view = useApi<{ readonly messages: readonly DeadLetterRow[] }>(path, { params: { limit: ROWS_MAX } })
  return (
    <Shown view={view}>
      {({ messages }) => (
        <>
          <DeadLetterTable rows={messages} />
          {view.state === "there" && (view.total ?? 0) > messages.length && (
            <p class="tablefoot dim">
              The {exact(messages.length)} oldest of {exact(view.total ?? 0)}.
            </p>
          )}
          <AsOf view={view} />
        </>
      )}
    </Shown>
  )
}

export function DeadLetterTable({
  rows,
  place = false,
}: {
  readonly rows: readonly DeadLetterRow[]
  readonly place?: boolean
}) {
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set())
  const may = useRight("write")
  const picked = rows.filter(row => chosen.has(deadKey(row)))
  const all = picked.length === rows.length
  const toggle = (key: string): void => {
    const next = new Set(chosen)
    if (!next.delete(key)) next.add(key)
    setChosen(next)
  }
  const columns: Column<DeadLetterRow>[] = [
    {
      title: "Chosen",
      pick: true,
      width: "44px",
      cell: row => (
        <input
          type="checkbox"
          aria-label={`Choose message ${row.message_id}`}
          checked={chosen.has(deadKey(row))}
          onChange={() => toggle(deadKey(row))}
        />
      ),
    },
    {
      title: "Message",
      width: "110px",
      cell: row => <span class="mono">{row.message_id}</span>,
      order: row => row.message_id,
    },
    ...(place
      ? [
          {
            title: "Queue",
            cell: (row: DeadLetterRow) => (
              <Link to={viewOfPlace("queue", row)}>
                {row.realm}/{row.area}/{row.resource}
              </Link>
            ),
            order: (row: DeadLetterRow) => `${row.realm}/${row.area}/${row.resource}`,
          },
        ]
      : []),
    {
      title: "Why",
      ...(place ? { width: "190px" } : {}),
      wide: true,
      cell: row => <Tag level="watch">{row.reason.replaceAll("_", " ")}</Tag>,
      order: row => row.reason,
    },
    {
      title: "Attempts",
      number: true,
      width: "90px",
      wide: true,
      cell: row => exact(row.attempts),
      order: row => row.attempts,
    },
    { title: "Family", number: true, width: "80px", wide: true, cell: row => row.family },
    {
      title: "Since",
      number: true,
      width: "140px",
      wide: true,
      cell: row => <Moment at={row.dead_lettered_at} />,
      order: row => row.dead_lettered_at,
    },
    {
      title: "Command",
      act: true,
      width: "150px",
      cell: row => (
        <span class="tools tight">
          <CommandButton label="Replay" command={() => replay(row)} />
          <CommandButton label="Delete" command={() => purge(row)} />
        </span>
      ),
    },
  ]
  if (rows.length === 0)
    return (
      <Empty title="No dead letter">
        Messages that nobody could handle would wait here for a decision. They are durable.
      </Empty>
    )
  return (
    <>
      <div class="tools padded">
        <label class="check">
          <input
            type="checkbox"
            checked={all}
            onChange={() => setChosen(all ? new Set() : new Set(rows.map(deadKey)))}
          />
          {picked.length === 0
            ? `Choose all ${exact(rows.length)}`
            : `${exact(picked.length)} of ${exact(rows.length)} chosen`}
        </label>
        <button
          type="button"
          class="button small"
          disabled={picked.length === 0 || may === false}
          onClick={() => bulk.set({ rows: picked, make: replay })}
        >
          Replay chosen
        </button>
        <button
          type="button"
          class="button small"
          disabled={picked.length === 0 || may === false}
          onClick={() => bulk.set({ rows: picked, make: purge })}
        >
          Delete chosen
        </button>
        {may === false && <Tag>needs admin:write</Tag>}
      </div>
      <RowsTable label="Dead letters" columns={columns} rows={rows} keyOf={deadKey} empty={null} />
    </>
  )
}

interface Bulk {
  readonly rows: readonly DeadLetterRow[]
  readonly make: (row: DeadLetterRow) => Command
}

const bulk = new Store<Bulk | null>(null)

/** Where the dialog of a bulk stands, once in the page: it outlives the rows that it is about. */
export function BulkDialogs() {
  const proposed = useStore(bulk)
  return proposed === null ? null : (
    <BulkDialog rows={proposed.rows} make={proposed.make} onClose={() => bulk.set(null)} />
  )
}

type Outcome = "waiting" | "done" | Failure

function BulkDialog({
  rows,
  make,
  onClose,
}: {
  readonly rows: readonly DeadLetterRow[]
  readonly make: (row: DeadLetterRow) => Command
  readonly onClose: () => void
}) {
  const [outcomes, setOutcomes] = useState<ReadonlyMap<string, Outcome> | null>(null)
  const [finished, setFinished] = useState(false)
  const [reason, setReason] = useState("")
  const sample = make(rows[0]!)
  const run = async (): Promise<void> => {
    const course = new Map<string, Outcome>(rows.map(row => [deadKey(row), "waiting"]))
    setOutcomes(new Map(course))
    // One after the other: the broker limits commands, and the reader can follow.
    for (const row of rows) {
      course.set(deadKey(row), await attempt(make(row), reason))
      setOutcomes(new Map(course))
    }
    setFinished(true)
    refreshAll()
  }
  const done = outcomes === null ? 0 : [...outcomes.values()].filter(outcome => outcome === "done").length
  const failed =
    outcomes === null ? 0 : [...outcomes.values()].filter(outcome => outcome instanceof Failure).length
  return (
    <Dialog
      title={`${sample.verb}: ${counted(rows.length, "dead letter")}`}
      onClose={() => {
        if (outcomes === null || finished) onClose()
      }}
      footer={
        outcomes === null ? (
          <>
            <button type="button" class="button" onClick={onClose}>
              Leave them
            </button>
            <button type="button" class="button danger" onClick={() => void run()}>
              {sample.verb}
            </button>
          </>
        ) : (
          <button type="button" class="button main-one" disabled={!finished} onClick={onClose}>
            Close
          </button>
        )
      }
    >
      {outcomes === null ? (
        <>
          <ul class="effects">
            {sample.effects.map(effect => (
              <li>{effect}</li>
            ))}
            <li>
              Each message is a command of its own with an audit record of its own; some may fail while others
              are done.
            </li>
          </ul>
          <p class="undoable">
            <strong>Cannot be undone.</strong> {sample.irreversible}
          </p>
          <label class="field">
            <span class="label">Reason, for the audit</span>
            <input
              class="input"
              maxLength={256}
              placeholder="optional"
              value={reason}
              onInput={event => setReason(event.currentTarget.value)}
            />
          </label>
        </>
      ) : (
        <>
          <p role="status">
            {exact(done)} done, {exact(failed)} failed, {exact(rows.length - done - failed)} to go.
          </p>
          <Scrolling class="bulk" label="What became of each">
            <ul class="rows">
              {rows.map(row => {
                const outcome = outcomes.get(deadKey(row)) ?? "waiting"
                return (
                  <li key={deadKey(row)}>
                    <OutcomeIcon outcome={outcome} />
                    <span class="mono">{row.message_id}</span>
                    <span class="grow dim">
                      {row.realm}/{row.area}/{row.resource}
                    </span>
                    <span class="fixed">
                      {outcome === "waiting"
                        ? "to go"
                        : outcome === "done"
                          ? "done"
                          : outcome.kind === "missing"
                            ? "already gone"
                            : outcome.message}
                    </span>
                  </li>
                )
              })}
            </ul>
          </Scrolling>
        </>
      )}
    </Dialog>
  )
}

function OutcomeIcon({ outcome }: { readonly outcome: Outcome }) {
  if (outcome === "waiting") return <Clock size={15} color="var(--ink-3)" aria-hidden="true" />
  return outcome === "done" ? (
    <CircleCheck size={15} color="var(--good)" aria-hidden="true" />
  ) : (
    <CircleX size={15} color="var(--bad)" aria-hidden="true" />
  )
}

const ATTEMPTS = 5

/** One command; where the broker asks for patience, it gets it. */
async function attempt(command: Command, reason: string): Promise<"done" | Failure> {
  for (let tried = 1; ; tried++) {
    try {
      await order(command, reason)
      return "done"
    } catch (error) {
      const failure = error instanceof Failure ? error : new Failure("broken", String(error))
      if (failure.code !== "rate_limited" || tried === ATTEMPTS) return failure
      const pauseMs = failure.retryAfterMs ?? 1_000
      await new Promise(resolve => setTimeout(resolve, pauseMs))
    }
  }
}
