// The commands as data: how each is addressed, what it will do, to whom, and what cannot be undone. The dialog
// shows these words before anything is sent; nothing is sent from here.

import { pathOf } from "../api/client.ts"
import type {
  DeadLetterRow,
  LeaseRow,
  PendingRow,
  RealmRow,
  ScheduleRow,
  SessionRow,
  SubscriptionRow,
  TransactionRow,
} from "../api/types.ts"
import { age, counted, exact } from "../text/format.ts"

export interface Command {
  readonly method: "POST" | "PUT" | "DELETE"
  readonly path: string
  readonly params?: Readonly<Record<string, string | number>>
  readonly body?: unknown
  readonly ifMatch?: string | null
  /** The name in the audit. */
  readonly action: string
  /** What the button says: verb first. */
  readonly verb: string
  readonly title: string
  /** Facts about the target. */
  readonly target: readonly (readonly [name: string, value: string])[]
  /** What will happen, in order. */
  readonly effects: readonly string[]
  /** What cannot be undone; null: nothing is lost. */
  readonly irreversible: string | null
  /** A word that has to be typed, for the few that stop everybody. */
  readonly typed?: string
  /** Said when it is done. */
  readonly done: string
}

function place({ realm, area, resource }: { realm: string; area: string; resource: string }): string {
  return `${realm}/${area}/${resource}`
}

export function rollback(row: TransactionRow): Command {
  return {
    method: "POST",
    path: `admin/${pathOf("kv", "transactions", row.tx_id, "rollback")}`,
    action: "kv.transaction.rollback",
    verb: "Roll back",
    title: `Roll back transaction ${row.tx_id}`,
    target: [
      ["Resource", place(row)],
      ["Mode", row.mode === "ReadWrite" ? "read and write" : "read only"],
      ["Operations so far", exact(row.operations_count)],
      ["Idle for", age(row.idle_seconds)],
      ...(row.session_id === undefined ? [] : [["Session", row.session_id] as const]),
    ],
    effects: [
      "What the transaction has written and not committed is thrown away.",
      "The resource is free for the next writer.",
      "The client finds out with its next use of the transaction, which fails as unknown.",
    ],
    irreversible: row.mode === "ReadWrite" ? "The uncommitted writes are gone for good." : null,
    done: "The transaction was rolled back.",
  }
}

export function cancelSubscription(row: SubscriptionRow): Command {
  return {
    method: "POST",
    path: `admin/${pathOf("notice", "subscriptions", row.subscription_id, "cancel")}`,
    action: "notice.subscription.cancel",
    verb: "Cancel subscription",
    title: `Cancel subscription ${row.subscription_id}`,
    target: [
      ["Pattern", row.pattern],
      ["Session", row.session_id],
      ["Heard so far", counted(row.notifications_received, "notice")],
    ],
    effects: [
      "The session hears nothing more through this subscription.",
      "It is not told: to it, the routes have fallen silent.",
    ],
    irreversible: "Only the client itself can subscribe again.",
    done: "The subscription was cancelled.",
  }
}

export function cancelCall(row: PendingRow): Command {
  return {
    method: "POST",
    path: `admin/${pathOf("rpc", "requests", row.correlation_id, "cancel")}`,
    action: "rpc.request.cancel",
    verb: "Cancel call",
    title: "Cancel a pending call",
    target: [
      ["Route", row.route],
      ["Waiting for", age(row.age_seconds)],
      ["Worker", row.worker_session_id ?? "none yet"],
      ["Correlation", row.correlation_id],
    ],
    effects: [
      "The caller gets the error \u201ccancelled\u201d at once.",
      "The worker's credit comes back; an answer that arrives later is dropped and counted.",
    ],
    irreversible: "What the worker has already done is not undone.",
    done: "The call was cancelled.",
  }
}

export function releaseLease(row: LeaseRow): Command {
  return {
    method: "POST",
    path: `admin/${pathOf("lease", "leases", row.lease_id, "release")}`,
    action: "lease.release",
    verb: "Release lease",
    title: `Release the lease on ${place(row)}`,
    target: [
      ["Resource", place(row)],
      ["Owner", row.owner_session_id],
      ["Fencing token", exact(row.fencing_token)],
      ["Renewals", exact(row.renewals)],
    ],
    effects: [
      "Ownership ends now. The next waiter gets the lease with a higher fencing token.",
      "The old owner's next renewal or release is refused.",
    ],
    irreversible:
      "The old owner may still be at work: only a check of the fencing token keeps its writes out.",
    done: "The lease was released.",
  }
}

export function triggerSchedule(row: ScheduleRow): Command {
  return {
    method: "POST",
    path: `admin/${pathOf("schedule", "schedules", row.schedule_id, "trigger")}`,
    action: "schedule.trigger",
    verb: "Run now",
    title: `Run ${row.operation} once, now`,
    target: [
      ["Schedule", `${place(row)}/${row.operation}`],
      ["Cron, in UTC", row.cron],
      ["Goes to", row.delivery_mode === "single" ? "one of its listeners" : "all of its listeners"],
    ],
    effects: [
      "The stored payload is handed once to whoever listens now.",
      "Cron, next run and the count of runs stay as they are.",
    ],
    irreversible:
      "What listeners do with it is not undone. Without listeners it counts as triggered and nobody hears it.",
    done: "The schedule was triggered.",
  }
}

export function closeSession(row: SessionRow): Command {
  return {
    method: "POST",
    path: `admin/${pathOf("sessions", row.session_id, "close")}`,
    action: "session.close",
    verb: "Close session",
    title: `Close ${row.session_id}`,
    target: [
      ["Who", row.subject ?? row.identity_value ?? "unknown"],
      ["From", `${row.remote_addr}, ${row.transport === "tcp" ? "TCP" : "WebSocket"}`],
      ["Realm", row.realm === "" ? "none" : row.realm],
      ["Idle for", age(row.idle_seconds)],
    ],
    effects: [
      "The connection is closed with a stated reason.",
      "Its transactions roll back, its append sessions abort, its reservations go back to their queues.",
      "Its subscriptions, workers, calls and leases end; waiters move up.",
    ],
    irreversible: "Uncommitted work of this session is lost. Most clients connect again by themselves.",
    done: "The session was closed.",
  }
}

function deadPath(row: DeadLetterRow): string {
  return pathOf(
    "queue",
    "realms",
    row.realm,
    "areas",
    row.area,
    "resources",
    row.resource,
    "dead-letters",
    row.message_id,
  )
}

function deadTarget(row: DeadLetterRow): Command["target"] {
  return [
    ["Message", exact(row.message_id)],
    ["Queue", place(row)],
    ["Family", String(row.family)],
    ["Attempts", exact(row.attempts)],
    ["Why it is here", row.reason.replaceAll("_", " ")],
  ]
}

export function replay(row: DeadLetterRow): Command {
  return {
    method: "POST",
    path: `${deadPath(row)}/replay`,
    params: { family: row.family },
    action: "queue.dead_letter.replay",
    verb: "Replay",
    title: `Replay dead letter ${row.message_id}`,
    target: deadTarget(row),
    effects: [
      "The message is ready again, with no attempts counted. This is durable.",
      "The next free worker gets it.",
    ],
    irreversible: "Work that an earlier attempt did half may be done again.",
    done: "The message is ready again.",
  }
}

export function purge(row: DeadLetterRow): Command {
  return {
    method: "DELETE",
    path: deadPath(row),
    params: { family: row.family },
    action: "queue.dead_letter.purge",
    verb: "Delete for good",
    title: `Delete dead letter ${row.message_id}`,
    target: deadTarget(row),
    effects: ["The message is deleted from the store."],
    irreversible: "There is no way to get it back.",
    done: "The message was deleted.",
  }
}

export interface RealmForm {
  readonly realm: string
  readonly displayName: string
  readonly description: string
  readonly limits: Readonly<Record<string, number>>
  readonly labels: Readonly<Record<string, string>>
  readonly managedBy: string | null
  readonly etag: string | null
}

export function declareRealm(form: RealmForm): Command {
  const { realm, displayName, description, limits, labels, managedBy, etag } = form
  const limited = Object.entries(limits)
  return {
    method: "PUT",
    path: pathOf("realms", realm),
    body: {
      ...(displayName === "" ? {} : { display_name: displayName }),
      ...(description === "" ? {} : { description }),
      ...(limited.length === 0 ? {} : { limits }),
      ...(Object.keys(labels).length === 0 ? {} : { labels }),
      ...(managedBy === null ? {} : { managed_by: managedBy }),
    },
    ifMatch: etag,
    action: "realm.declare",
    verb: etag === null ? "Declare realm" : "Save realm",
    title: `${etag === null ? "Declare" : "Change"} realm ${realm}`,
    target: [
      ["Realm", realm],
      [
        "Limits",
        limited.length === 0
          ? "none"
          : limited.map(([name, value]) => `${name.replaceAll("_", " ")} ${exact(value)}`).join(", "),
      ],
      ...(managedBy === null ? [] : [["Managed by", managedBy] as const]),
    ],
    effects: [
      "The declaration is stored, durably. Limits hold from now on; what is already over one stays.",
      ...(managedBy === null
        ? []
        : [`${managedBy} manages this realm and may write its own version over it.`]),
    ],
    irreversible: null,
    done: "The declaration is stored.",
  }
}

export function forgetRealm(row: RealmRow): Command {
  return {
    method: "DELETE",
    path: pathOf("realms", row.realm),
    ifMatch: row.etag ?? null,
    action: "realm.forget",
    verb: "Forget realm",
    title: `Forget the declaration of ${row.realm}`,
    target: [
      ["Realm", row.realm],
      ...(row.managed_by === null ? [] : [["Managed by", row.managed_by] as const]),
    ],
    effects: [
      "Its limits no longer hold.",
      "Its data stays: nothing in queues, streams or keys is touched.",
      "Where only declared realms are let in, its sessions and routes are refused from now on.",
    ],
    irreversible: "The declaration's labels and limits have to be written anew.",
    done: "The declaration is forgotten.",
  }
}

export interface ScheduleForm {
  readonly realm: string
  readonly area: string
  readonly resource: string
  readonly operation: string
  readonly family: number
  readonly cron: string
  readonly payloadText: string
  readonly single: boolean
  readonly enabled: boolean
  readonly managedBy: string | null
  readonly etag: string | null
}

function schedulePath({
  realm,
  area,
  resource,
  operation,
}: Pick<ScheduleForm, "realm" | "area" | "resource" | "operation">): string {
  return pathOf("schedule", "realms", realm, "areas", area, "resources", resource, "operations", operation)
}

export function defineSchedule(form: ScheduleForm): Command {
  const { family, cron, payloadText, single, enabled, managedBy, etag } = form
  return {
    method: "PUT",
    path: schedulePath(form),
    params: { family },
    body: {
      cron,
      payload_text: payloadText,
      delivery_mode: single ? "single" : "broadcast",
      enabled,
      ...(managedBy === null ? {} : { managed_by: managedBy }),
    },
    ifMatch: etag,
    action: "schedule.define",
    verb: etag === null ? "Define schedule" : "Save schedule",
    title: `${etag === null ? "Define" : "Change"} ${form.operation}`,
    target: [
      ["Schedule", `${place(form)}/${form.operation}`],
      ["Cron, in UTC", cron],
      ["State", enabled ? "enabled" : "disabled"],
    ],
    effects: [
      "The definition is stored, durably, and the next run is worked out from now.",
      ...(etag === null ? [] : ["The payload is replaced by what you gave."]),
      ...(managedBy === null
        ? []
        : [`${managedBy} manages this schedule and may write its own version over it.`]),
    ],
    irreversible: etag === null ? null : "The payload that was stored before is lost.",
    done: "The definition is stored.",
  }
}

export function removeSchedule(row: ScheduleRow): Command {
  return {
    method: "DELETE",
    path: schedulePath(row),
    params: { family: row.family },
    ifMatch: row.etag,
    action: "schedule.remove",
    verb: "Remove schedule",
    title: `Remove ${row.operation}`,
    target: [
      ["Schedule", `${place(row)}/${row.operation}`],
      ["Cron, in UTC", row.cron],
      ...(row.managed_by === null ? [] : [["Managed by", row.managed_by] as const]),
    ],
    effects: ["It never runs again.", "Subscriptions to it stay and hear nothing."],
    irreversible: "The definition and its payload are deleted from the store.",
    done: "The definition was removed.",
  }
}

export function drain(sessions: number): Command {
  return {
    method: "POST",
    path: "runtime/drain",
    action: "runtime.drain",
    verb: "Drain broker",
    title: "Send all programs away",
    target: [["Sessions now", exact(sessions)]],
    effects: [
      "Readiness fails at once and new programs are refused.",
      "Connected programs are served until the grace is over, then closed with the reason \u201cdraining\u201d.",
      "This process stays and answers here until somebody ends it.",
    ],
    irreversible: "It cannot be called off: only a restart takes programs in again.",
    typed: "drain",
    done: "The broker is draining.",
  }
}
