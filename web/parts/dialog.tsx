// Dialogs, above all the one before a command: it says what will happen, to whom, and what cannot be undone, then
// what came of it and what the audit has kept. A command is sent from here and from nowhere else.

import { CircleCheck, CircleX, LockKeyhole } from "lucide-preact"
import type { ComponentChildren } from "preact"
import { useEffect, useId, useRef, useState } from "preact/hooks"
import { Failure, type Reply } from "../api/client.ts"
import { RIGHT_NAMES, type Right } from "../api/credential.ts"
import type { AuditRecord } from "../api/types.ts"
import type { Command } from "../state/commands.ts"
import { refreshAll } from "../state/query.ts"
import { session } from "../state/session.ts"
import { Store, useStore } from "../state/store.ts"
import { Facts, Moment, Tag } from "./figures.tsx"

interface DialogProps {
  readonly title: string
  readonly class?: string
  readonly onClose: () => void
  readonly footer?: ComponentChildren
  readonly children: ComponentChildren
}

/** The browser's own modal: it keeps the focus in, Escape closes it, and the focus goes back where it was. */
export function Dialog({ title, class: extra, onClose, footer, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => {
    const before = document.activeElement
    const dialog = element.current!
    dialog.showModal()
    return () => {
      // While it is modal, nothing outside of it takes the focus.
      dialog.close()
      if (before instanceof HTMLElement) before.focus()
    }
  }, [])
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the key for leaving is Escape, and the browser has it
    <dialog
      ref={element}
      class={extra}
      aria-labelledby={id}
      onCancel={event => {
        event.preventDefault()
        onClose()
      }}
      onClick={event => {
        if (event.target === element.current) onClose()
      }}
    >
      <header>
        <h2 id={id}>{title}</h2>
      </header>
      <div class="body">{children}</div>
      {footer !== undefined && <footer>{footer}</footer>}
    </dialog>
  )
}

const pending = new Store<Command | null>(null)

/** Opens the dialog of a command. */
export function propose(command: Command): void {
  pending.set(command)
}

/** Where the dialog of whatever command is proposed stands, once in the page. */
export function CommandDialogs() {
  const command = useStore(pending)
  return command === null ? null : (
    <CommandDialog key={command.path + command.method} command={command} onClose={() => pending.set(null)} />
  )
}

type Course =
  | { readonly kind: "asking" }
  | { readonly kind: "sent" }
  | { readonly kind: "done"; readonly reply: Reply<unknown>; readonly record: AuditRecord | null | "loading" }
  | { readonly kind: "failed"; readonly failure: Failure; readonly record: AuditRecord | null | "loading" }

function CommandDialog({ command, onClose }: { readonly command: Command; readonly onClose: () => void }) {
  const [course, setCourse] = useState<Course>({ kind: "asking" })
  const [reason, setReason] = useState("")
  const [typed, setTyped] = useState("")
  const reasonId = useId()
  const typedId = useId()
  const armed = command.typed === undefined || typed.trim().toLowerCase() === command.typed

  const send = async (): Promise<void> => {
    setCourse({ kind: "sent" })
    try {
      const reply = await order(command, reason)
      setCourse({ kind: "done", reply, record: "loading" })
      setCourse({ kind: "done", reply, record: await recordOf(reply.requestId) })
    } catch (error) {
      const failure = error instanceof Failure ? error : new Failure("broken", String(error))
      setCourse({ kind: "failed", failure, record: "loading" })
      setCourse({
        kind: "failed",
        failure,
        record: failure.requestId === null ? null : await recordOf(failure.requestId),
      })
    }
    refreshAll()
  }

  if (course.kind === "done" || course.kind === "failed") {
    return (
      <Dialog
        title={course.kind === "done" ? command.done : "This was not done"}
        onClose={onClose}
        footer={
          <button type="button" class="button main-one" onClick={onClose} ref={focused}>
            Close
          </button>
        }
      >
        <div role="status">
          {course.kind === "done" ? (
            <Outcome good text={delivered(course.reply.body) ?? command.done} />
          ) : (
            <Outcome good={false} text={explained(course.failure)} />
          )}
        </div>
        <Recorded record={course.record} />
      </Dialog>
    )
  }
  return (
    <Dialog
      title={command.title}
      onClose={onClose}
      footer={
        <>
          <button type="button" class="button" onClick={onClose} disabled={course.kind === "sent"}>
            Leave it
          </button>
          <button
            type="button"
            class={command.irreversible === null ? "button main-one" : "button danger"}
            onClick={() => void send()}
            disabled={course.kind === "sent" || !armed}
          >
            {course.kind === "sent" ? "Sending\u2026" : command.verb}
          </button>
        </>
      }
    >
      <Facts rows={command.target} />
      <div>
        <h3>What will happen</h3>
        <ul class="effects">
          {command.effects.map(effect => (
            <li>{effect}</li>
          ))}
        </ul>
      </div>
      {command.irreversible !== null && (
        <p class="undoable">
          <strong>Cannot be undone.</strong> {command.irreversible}
        </p>
      )}
      {command.typed !== undefined && (
        <div class="field">
          <label for={typedId}>
            Type <code>{command.typed}</code> to go on
          </label>
          <input
            id={typedId}
            class="input"
            autocomplete="off"
            value={typed}
            onInput={event => setTyped(event.currentTarget.value)}
          />
        </div>
      )}
      <div class="field">
        <label for={reasonId}>Reason, for the audit</label>
        <input
          id={reasonId}
          class="input"
          maxLength={256}
          placeholder="optional: a ticket, a sentence"
          value={reason}
          onInput={event => setReason(event.currentTarget.value)}
        />
      </div>
    </Dialog>
  )
}

function focused(element: HTMLElement | null): void {
  element?.focus()
}

/** Sends a command that somebody has confirmed. */
export function order(command: Command, reason: string): Promise<Reply<unknown>> {
  const { method, path, params, body, ifMatch } = command
  return session.api.order(method, path, {
    reason,
    ...(params === undefined ? {} : { params }),
    ...(body === undefined ? {} : { body }),
    ...(ifMatch === undefined ? {} : { ifMatch }),
  })
}

/** How many of the newest records are looked through. */
const LOOK_BACK = 100

/** The record that a request left behind; null where it is not to be seen. */
async function recordOf(requestId: string): Promise<AuditRecord | null> {
  try {
    const { body } = await session.api.get<{ records: readonly AuditRecord[] }>("audit", { limit: LOOK_BACK })
    return body.records.find(record => record.request_id === requestId) ?? null
  } catch (error) {
    // The command's own outcome is shown either way; this credential may not read the audit.
    if (error instanceof Failure) return null
    throw error
  }
}

function explained({ kind, message, code }: Failure): string {
  if (kind === "missing") return "It is already gone: ended, answered, released, or its session has left."
  if (kind === "forbidden") return `This credential may not do that: ${message}.`
  if (code === "precondition_failed")
    return "Somebody else has changed it meanwhile. Look at it again, then decide."
  if (kind === "unreachable")
    return `No answer came, so nobody knows here whether it was done: ${message}. The audit will tell.`
  return message
}

function delivered(body: unknown): string | null {
  if (typeof body !== "object" || body === null || !("delivered" in body)) return null
  const { delivered: count } = body as { readonly delivered: unknown }
  if (typeof count !== "number") return null
  if (count === 0) return "The schedule was triggered. Nobody was listening."
  return `The schedule was triggered and handed to ${count === 1 ? "one listener" : `${count} listeners`}.`
}

function Outcome({ good, text }: { readonly good: boolean; readonly text: string }) {
  const Icon = good ? CircleCheck : CircleX
  return (
    <p class="outcome">
      <Icon size={18} color={good ? "var(--good)" : "var(--bad)"} aria-hidden="true" />
      <span>{text}</span>
    </p>
  )
}

export function Recorded({ record }: { readonly record: AuditRecord | null | "loading" }) {
  if (record === "loading") return <p class="dim">Looking for the audit record\u2026</p>
  if (record === null)
    return <p class="dim">The audit record of this request is not to be seen with this credential.</p>
  return (
    <div class="record">
      <h3>What the audit has kept</h3>
      <Facts
        rows={[
          ["Action", <code>{record.action}</code>],
          [
            "Outcome",
            <Tag level={record.outcome === "ok" ? "good" : "bad"}>{record.outcome.replaceAll("_", " ")}</Tag>,
          ],
          ["By", record.user],
          ["At", <Moment at={record.ts} />],
          ...(record.reason === undefined ? [] : [["Reason", record.reason] as const]),
          ["Request", <span class="mono">{record.request_id}</span>],
        ]}
      />
    </div>
  )
}

/** May this credential do that? Null: only an attempt will tell. */
export function useRight(right: Right): boolean | null {
  const phase = useStore(session.phase)
  return phase.kind === "signed-in" ? phase.rights[right] : false
}

/** A button that proposes a command; visibly closed to those who may not. */
export function CommandButton({
  command,
  label,
  small = true,
}: {
  readonly command: () => Command
  readonly label: string
  readonly small?: boolean
}) {
  const may = useRight("write")
  const id = useId()
  if (may === false) {
    return (
      <>
        <button
          type="button"
          class={`button ${small ? "small" : ""}`}
          aria-disabled="true"
          aria-describedby={id}
          title={`needs ${RIGHT_NAMES.write}`}
        >
          <LockKeyhole size={13} aria-hidden="true" />
          {label}
        </button>
        <span class="said" id={id}>
          needs {RIGHT_NAMES.write}
        </span>
      </>
    )
  }
  return (
    <button type="button" class={`button ${small ? "small" : ""}`} onClick={() => propose(command())}>
      {label}
    </button>
  )
}
