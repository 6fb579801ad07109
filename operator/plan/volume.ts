// The table of growing volumes (operator.md §5.6): wanted, requested and actual size in, one decision out. No row
// remembers another, so that a mistake can be taken back at any point.

import type { Quantity } from "../kinds/schema.ts"
import { at, type KubeObject, listAt, textAt } from "./object.ts"
import type { PodFacts } from "./types.ts"
import { compareQuantities } from "./values.ts"

export interface VolumeDecision {
  /** The size to ask for; null: ask for nothing. */
  readonly request: Quantity | null
  readonly storage:
    | "Bound"
    | "Provisioning"
    | "Resizing"
    | "RestartPending"
    | "SizeBelowCapacity"
    | "ExpansionUnsupported"
  /** What a refusal of the request means. */
  readonly refusedAs: "ShrinkRefused" | "ExpansionUnsupported" | null
  readonly growing: boolean
  readonly restartPod: boolean
  readonly requested: Quantity | null
  readonly capacity: Quantity | null
}

const RESTART_AFTER_MS = 120_000

function resizePendingSince(claim: KubeObject): number | null {
  const pending = listAt(claim, "status", "conditions").find(
    entry => at(entry, "type") === "FileSystemResizePending" && at(entry, "status") === "True",
  )
  const since = textAt(pending, "lastTransitionTime")
  return pending === undefined ? null : since === null ? 0 : Date.parse(since)
}

export function decideVolume(
  wanted: Quantity | undefined,
  claim: KubeObject | null,
  options: {
    readonly existing: boolean
    readonly classExpands: boolean | null
    readonly pod: PodFacts | null
    readonly now: number
  },
): VolumeDecision {
  const requested = (at(claim, "spec", "resources", "requests", "storage") as Quantity | undefined) ?? null
  const capacity = (at(claim, "status", "capacity", "storage") as Quantity | undefined) ?? null
  const decision = (
    storage: VolumeDecision["storage"],
    rest: Partial<VolumeDecision> = {},
  ): VolumeDecision => ({
    request: options.existing ? null : requested,
    storage,
    refusedAs: null,
    growing: false,
    restartPod: false,
    requested,
    capacity,
    ...rest,
  })
  if (claim === null) return decision("Provisioning", { request: wanted ?? null })
  const bound = textAt(claim, "status", "phase") === "Bound"
  // The server lets nobody change the size of a claim that has no volume yet.
  if (!bound || requested === null || capacity === null) return decision("Provisioning")
  const W = wanted ?? requested
  const pendingSince = resizePendingSince(claim)
  const beyond = compareQuantities(requested, capacity) > 0
  if (compareQuantities(W, requested) > 0) {
    if (options.classExpands === false) return decision("ExpansionUnsupported")
    return decision("Resizing", { request: W, refusedAs: "ExpansionUnsupported", growing: true })
  }
  if (compareQuantities(W, requested) < 0) {
    if (options.existing) return decision(compareQuantities(W, capacity) < 0 ? "SizeBelowCapacity" : "Bound")
    if (compareQuantities(W, capacity) > 0)
      return decision("Resizing", { request: W, refusedAs: "ShrinkRefused" })
    return decision("SizeBelowCapacity")
  }
  if (pendingSince !== null) {
    const { pod, now } = options
    const startedBefore = pod?.startedAt != null && pod.startedAt <= pendingSince
    const due = pendingSince + RESTART_AFTER_MS <= now
    return decision("RestartPending", {
      restartPod: due && startedBefore && pod !== null && pod.deletedAt === null,
    })
  }
  if (beyond) return decision("Resizing")
  return decision("Bound")
}
