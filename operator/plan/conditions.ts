// The catalogue of conditions (operator.md §3.2): every type with its reasons, polarity, whether a person must act,
// and what to do. Status, documents and tests are made from this table; a reason that is not here cannot be set.

import type { Condition } from "../kinds/status.ts"
import { timeOf } from "./values.ts"

export type Holds = "True" | "False" | "Unknown"
export type Subject = "broker" | "definition"

export interface Reason {
  readonly status: Holds
  readonly on: readonly Subject[]
  /** What it means and what to do. */
  readonly advice: string
}

const B: readonly Subject[] = ["broker"]
const D: readonly Subject[] = ["definition"]
const BOTH: readonly Subject[] = ["broker", "definition"]
const yes = (on: readonly Subject[], advice: string): Reason => ({ status: "True", on, advice })
const no = (on: readonly Subject[], advice: string): Reason => ({ status: "False", on, advice })
const unknown = (on: readonly Subject[], advice: string): Reason => ({ status: "Unknown", on, advice })

const STALLED = {
  NameConflict: yes(B, "An object of that name belongs to somebody else. Rename or remove it."),
  ClaimNotOurs: yes(
    B,
    "The volume claim belongs to another broker. To use its data, name it in spec.storage.existingClaim.",
  ),
  ClaimMissing: yes(B, "The claim in spec.storage.existingClaim does not exist. Create it or restore it."),
  ClaimChange: yes(
    B,
    "The claim of a running broker cannot be exchanged. Stop the broker first (replicas: 0).",
  ),
  ExpansionUnsupported: yes(B, "The storage class does not grow volumes. Lower spec.storage.size again."),
  SecretMissing: yes(B, "A Secret that the spec names, or the key in it, does not exist. Create it."),
  SecretInvalid: yes(B, "A Secret that the spec names does not hold what its type says. Correct it."),
  InvalidChild: yes(B, "The API server refuses an object made from this spec. Correct the field it names."),
  Forbidden: yes(B, "The operator lacks a right. Grant it, or use a watch mode that fits."),
  QuotaExceeded: yes(B, "A resource quota of the namespace is used up. Raise it or ask for less."),
  ImagePull: yes(B, "The image cannot be pulled. Correct spec.version, spec.image or spec.imagePullSecrets."),
  CrashLoop: yes(B, "The broker ends again and again. Read its log: kubectl logs, with --previous."),
  Unschedulable: yes(
    B,
    "No node can take the pod. Look at resources, node selector, taints and the volume's zone.",
  ),
  NodeLost: yes(
    B,
    "The pod's node does not answer, so the pod cannot be ended safely. If the node is off for good, taint it: kubectl taint node <node> node.kubernetes.io/out-of-service=nodeshutdown:NoExecute.",
  ),
  RolloutTimedOut: yes(B, "The pod did not become ready in ten minutes. Look at its events and log."),
  SelectorUnsupported: yes(
    B,
    "This operator may not read namespaces, so allowedNamespaces.from cannot be Selector. Use List.",
  ),
  NotGranted: yes(
    D,
    "The broker does not take definitions from this namespace. See its topology.allowedNamespaces.",
  ),
  RealmNotOwned: yes(
    D,
    "A schedule from another namespace needs a FitzRealm for its realm in its own namespace.",
  ),
  Conflict: yes(D, "An older object declares the same thing. Remove one of the two."),
  NotOurs: yes(D, "Somebody else made this definition in the broker. Set adoptExisting to take it over."),
  InvalidDefinition: yes(D, "The definition cannot be valid. Correct the field that the message names."),
  RejectedByBroker: yes(D, "The broker refuses the definition. Correct what its message names."),
} as const satisfies Record<string, Reason>
export type StalledReason = keyof typeof STALLED

const asReady = Object.fromEntries(
  Object.entries(STALLED).map(([name, { on, advice }]) => [name, no(on, advice)]),
) as Record<StalledReason, Reason>

export const CATALOGUE = {
  Ready: {
    polarity: "normal",
    reasons: {
      Running: yes(B, "Programs can connect."),
      Creating: no(B, "The broker's objects are being made."),
      Starting: no(B, "The pod is starting."),
      NotReady: no(B, "The pod runs, but the broker is not ready."),
      RollingOut: no(B, "A change is being rolled out."),
      Stopped: no(B, "Replicas are 0. The data is kept."),
      Synced: yes(D, "The broker holds the definition."),
      Pushing: no(D, "The definition is on its way to the broker."),
      Deleting: no(BOTH, "The object is being deleted."),
      BrokerNotFound: no(D, "There is no such FitzBroker yet."),
      BrokerStopped: no(D, "The broker is stopped; the definition waits."),
      BrokerUnreachable: no(D, "The broker has not answered for two minutes."),
      ...asReady,
    },
  },
  Reconciling: {
    polarity: "abnormal",
    reasons: {
      NewGeneration: yes(BOTH, "A new spec has been seen."),
      Progressing: yes(BOTH, "Work is under way."),
      Retrying: yes(BOTH, "An attempt failed and will be repeated."),
      WaitingForBroker: yes(D, "The broker is awaited."),
    },
  },
  Stalled: { polarity: "abnormal", reasons: STALLED },
  BrokerReachable: {
    polarity: "normal",
    reasons: {
      Answering: yes(B, "The broker answers the operator."),
      NoPod: no(B, "There is no pod."),
      ConnectFailed: no(B, "No connection to the broker."),
      Timeout: no(B, "The broker did not answer in time."),
      Unauthorized: no(B, "The broker refuses the operator's token."),
      NotReady: no(B, "The broker answers that it is not ready."),
      NotChecked: unknown(B, "Not asked yet."),
    },
  },
  StorageReady: {
    polarity: "normal",
    reasons: {
      Bound: yes(B, "The volume has the size asked for."),
      SizeBelowCapacity: yes(
        B,
        "spec.storage.size is below what the volume has already; volumes never shrink.",
      ),
      Provisioning: no(B, "The volume is being made."),
      Resizing: no(B, "The volume is growing."),
      RestartPending: no(B, "The volume has grown; the file system follows when the pod restarts."),
      ExpansionUnsupported: no(B, "The storage class does not grow volumes."),
      ShrinkRefused: no(B, "The API server does not take the smaller size back."),
      ClaimNotOurs: no(B, "The claim belongs to another broker."),
      ClaimMissing: no(B, "The claim does not exist."),
    },
  },
  AuthReady: {
    polarity: "normal",
    reasons: {
      KeysLoaded: yes(B, "Keys are in use."),
      Rotating: yes(B, "A new key is being introduced; old and new tokens are accepted."),
      OldKeyStillUsed: yes(B, "Tokens of the old key are still in use; it stays accepted."),
      Anonymous: yes(B, "Programs connect without tokens."),
      KeysMissing: no(B, "The keys are being made."),
      KeyNotLoaded: no(B, "The broker has not loaded the new key for ten minutes. The old one stays in use."),
      SecretMissing: no(B, "A Secret that the spec names does not exist."),
      SecretInvalid: no(B, "A Secret that the spec names does not hold what its type says."),
    },
  },
  MonitoringReady: {
    polarity: "normal",
    reasons: {
      Applied: yes(B, "The monitoring objects are there."),
      EditedByOther: yes(B, "Somebody else set a field of a monitoring object; it is left alone."),
      CRDMissing: no(
        B,
        "The cluster does not know the monitoring kinds; install Prometheus Operator's CRDs.",
      ),
      Forbidden: no(B, "The operator may not write monitoring objects."),
    },
  },
  TopologySynced: {
    polarity: "normal",
    reasons: {
      InSync: yes(B, "The broker holds every declared definition."),
      NothingDeclared: yes(B, "No realm or schedule is declared for this broker."),
      OrphansPresent: yes(B, "The broker holds definitions whose resource is gone; they are kept."),
      Pushing: no(B, "Definitions are on their way."),
      SomeFailed: no(B, "Some definitions are not in the broker; look at them."),
      BrokerUnreachable: no(B, "The broker does not answer."),
    },
  },
  UpdateAvailable: {
    polarity: "informational",
    reasons: {
      TemplateChanged: yes(
        B,
        "This operator would render the pod differently; it does so with your next change.",
      ),
      DefaultImageChanged: yes(B, "The operator's default image has changed; set spec.version to take it."),
    },
  },
  Paused: {
    polarity: "informational",
    reasons: {
      SpecPaused: yes(BOTH, "spec.paused is true."),
      AnnotationPaused: yes(BOTH, "The annotation fitz.dev/paused is true."),
    },
  },
} as const satisfies Record<
  string,
  { polarity: "normal" | "abnormal" | "informational"; reasons: Record<string, Reason> }
>

export type ConditionType = keyof typeof CATALOGUE
export type ReasonOf<T extends ConditionType> = Extract<keyof (typeof CATALOGUE)[T]["reasons"], string>

/** Reasons that heal by an event on some object; the rest are tried again every ten minutes. */
export const STALLED_REASONS = Object.keys(STALLED) as readonly StalledReason[]

/** What one condition should say. */
export type Finding = {
  [T in ConditionType]: { readonly type: T; readonly reason: ReasonOf<T>; readonly message?: string }
}[ConditionType]

export function finding<T extends ConditionType>(type: T, reason: ReasonOf<T>, message?: string): Finding {
  return { type, reason, ...(message === undefined ? {} : { message }) } as unknown as Finding
}

/** The entry of the catalogue. */
export function reasonOf(type: ConditionType, reason: string): Reason {
  const reasons: Readonly<Record<string, Reason>> = CATALOGUE[type].reasons
  const entry = reasons[reason]
  if (entry === undefined) throw new Error(`${type} has no reason ${reason}`)
  return entry
}

const MESSAGE_MAX = 4_096

/** Conditions as they are written. Transition times move with the status alone. */
export function conditionsOf(
  findings: readonly Finding[],
  before: readonly Condition[],
  generation: number,
  now: number,
): Condition[] {
  return findings
    .map(({ type, reason, message }) => {
      const { status, advice } = reasonOf(type, reason)
      const old = before.find(condition => condition.type === type)
      const whole = message === undefined ? advice : `${message} ${advice}`
      return {
        type,
        status,
        observedGeneration: generation,
        lastTransitionTime: old !== undefined && old.status === status ? old.lastTransitionTime : timeOf(now),
        reason,
        message: whole.slice(0, MESSAGE_MAX),
      }
    })
    .sort((a, b) => (a.type < b.type ? -1 : 1))
}
