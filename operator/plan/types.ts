// The values between observing, planning and carrying out (operator.md §5.1). Everything here can be printed as it
// is: secrets appear as facts about them, never as material.

import type { BrokerSpec } from "../kinds/broker.ts"
import type { Finding } from "./conditions.ts"
import type { KindName, KubeObject, Ref } from "./object.ts"
import type { Dict } from "./values.ts"

/** What the operator was started with, as far as decisions depend on it. */
export interface Settings {
  readonly brokerRepository: string
  readonly defaultVersion: string
  readonly operatorNamespace: string
  /** Whether namespaces and storage classes can be read. */
  readonly clusterReads: boolean
}

export const PHASES = ["Steady", "Publish", "Propagate", "Sign", "Retire", "Revoke"] as const
export type Phase = (typeof PHASES)[number]

/** Kept in the annotation fitz.dev/rotation of the signing keys. */
export interface RotationState {
  readonly phase: Phase
  /** When the phase began. */
  readonly since: string
  readonly activeSince: string
  /** The tokens of the annotations that were acted on. */
  readonly rotateToken: string
  readonly revokeToken: string
}

export interface OwnedSecret {
  readonly uid: string
  readonly resourceVersion: string
  readonly controllerUid: string | null
}

export interface SigningFacts extends OwnedSecret {
  readonly algorithm: string | null
  /** Null: the Secret holds no usable key. */
  readonly activeKid: string | null
  readonly nextKid: string | null
  readonly previousKid: string | null
  readonly state: RotationState | null
}

export interface KeySetFacts extends OwnedSecret {
  readonly kids: readonly string[]
}

export interface TokenFacts extends OwnedSecret {
  readonly kid: string | null
  readonly expiresAt: number
}

/** A Secret of the user's. */
export interface ForeignSecret {
  readonly present: boolean
  readonly keyPresent: boolean
  /** Whether the content is what its type says. */
  readonly valid: boolean
  readonly bytes: number
}

export interface PodFacts {
  readonly name: string
  readonly uid: string
  readonly revision: string
  readonly ready: boolean
  readonly notReadySince: number
  readonly createdAt: number
  readonly startedAt: number | null
  /** When it should be gone: deletion time, which includes the grace. */
  readonly deletedAt: number | null
  readonly waiting: string | null
  readonly waitingMessage: string
  readonly unschedulableSince: number | null
  readonly unschedulableMessage: string
  readonly restarts: number
  readonly incarnation: string
}

export interface LoadedKey {
  readonly kid: string
  readonly lastVerifiedAt: number | null
}

/** What the broker said of itself when it was last asked. */
export interface BrokerView {
  readonly incarnation: string
  readonly reachable: "Answering" | "ConnectFailed" | "Timeout" | "Unauthorized" | "NotReady"
  readonly version: string | null
  readonly storageId: string | null
  /** When the broker said so. */
  readonly readAt: number
  /** Keys of the generated source; null where the broker did not say. */
  readonly keys: readonly LoadedKey[] | null
  readonly keysError: string | null
  /** Failing checks of /readyz and how far the replay is, in words. */
  readonly notReady: string | null
}

export interface Children {
  readonly serviceAccount: KubeObject | null
  readonly config: KubeObject | null
  readonly claim: KubeObject | null
  readonly headless: KubeObject | null
  readonly service: KubeObject | null
  readonly networkPolicy: KubeObject | null
  readonly statefulSet: KubeObject | null
  readonly disruptionBudget: KubeObject | null
  readonly serviceMonitor: KubeObject | null
  readonly prometheusRule: KubeObject | null
  readonly dashboard: KubeObject | null
}

export interface Failure {
  /** What was being done, as in "apply StatefulSet main". */
  readonly step: string
  readonly child: keyof Children | "secret" | "pod" | "status"
  readonly class: "Transient" | "Stale" | "Going" | "Refused" | "Forbidden" | "Quota" | "NameConflict"
  readonly message: string
  readonly refusedAs: "ShrinkRefused" | "ExpansionUnsupported" | null
}

export interface BrokerObserved {
  readonly now: number
  readonly settings: Settings
  readonly broker: KubeObject
  /** The spec with its defaults; a text says why it cannot be read. */
  readonly spec: BrokerSpec | string
  readonly children: Children
  readonly pods: readonly PodFacts[]
  readonly signing: SigningFacts | null
  readonly keySet: KeySetFacts | null
  readonly metricsToken: TokenFacts | null
  readonly existingSecret: ForeignSecret | null
  readonly apiKeysSecret: ForeignSecret | null
  /** Null: not known, as where storage classes cannot be read. */
  readonly classExpands: boolean | null
  readonly monitoringServed: boolean
  readonly view: BrokerView | null
  /** What went wrong in this very pass; only status is taken from a plan that has some. */
  readonly failures: readonly Failure[]
}

export type SecretRecipe =
  | { readonly make: "signingKeys"; readonly algorithm: string; readonly state: RotationState }
  | { readonly make: "nextKey"; readonly algorithm: string; readonly state: RotationState }
  | { readonly make: "promote"; readonly keepPrevious: boolean; readonly state: RotationState }
  | { readonly make: "state"; readonly keepPrevious: boolean; readonly state: RotationState }
  | { readonly make: "publicSet"; readonly of: "all" | "next" }
  | { readonly make: "metricsToken"; readonly until: number; readonly issuedAt: number }

export type Action =
  | {
      readonly do: "apply"
      readonly child: keyof Children
      readonly kind: KindName
      readonly object: KubeObject
      readonly uid: string | null
      readonly force: boolean
      readonly required: boolean
      /** The reason to report where the server refuses. */
      readonly refusedAs: "ShrinkRefused" | "ExpansionUnsupported" | null
      /** The first path that differs, where the object exists. */
      readonly because: string | null
    }
  | {
      readonly do: "secret"
      readonly ref: Ref
      readonly uid: string | null
      readonly resourceVersion: string | null
      readonly make: SecretRecipe
    }
  | { readonly do: "delete"; readonly ref: Ref; readonly uid: string; readonly child: keyof Children | "pod" }

export interface PlannedEvent {
  readonly type: "Normal" | "Warning"
  readonly reason: EventReason
  readonly note: string
}

export const EVENT_REASONS = [
  "Created",
  "RolloutStarted",
  "RolloutFinished",
  "Stopped",
  "Started",
  "VolumeGrowing",
  "VolumeGrown",
  "RestartedForResize",
  "KeyRotationStarted",
  "KeyActivated",
  "KeyRetired",
  "DefinitionPushed",
  "DefinitionRemoved",
  "DefinitionAdopted",
  "DriftCorrected",
  "MonitoringAvailable",
  "Stalled",
  "StuckPodReplaced",
  "ForcedOwnership",
  "DefinitionRestored",
  "Conflict",
  "OrphanedDefinition",
  "ReleasedWithoutCleanup",
  "KeysRevoked",
  "KeyNotLoaded",
  "OldKeyStillUsed",
  "ShortSharedSecret",
  "AuthDisabled",
  "SizeBelowCapacity",
] as const
export type EventReason = (typeof EVENT_REASONS)[number]

export interface BrokerPlan {
  readonly actions: readonly Action[]
  /** The status as the broker controller wants it. Null: leave it (the object is going). */
  readonly status: Dict | null
  readonly findings: readonly Finding[]
  readonly events: readonly PlannedEvent[]
  /** When to look again without an event; null: only the resync. */
  readonly again: number | null
  /** Whether the key rotation waits for what the broker reports. */
  readonly asksBroker: boolean
}

export const MINUTE_MS = 60_000
export const RESYNC_MS = 10 * MINUTE_MS
