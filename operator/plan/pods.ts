// What a pod says about itself, as far as a plan needs it, and which pods have to make way (operator.md §5.5).
// Pure readings of status; nothing here deletes.

import { at, type KubeObject, listAt, numberAt, textAt } from "./object.ts"
import type { PodFacts } from "./types.ts"

const timeAt = (value: unknown, ...path: readonly (string | number)[]): number | null => {
  const text = textAt(value, ...path)
  return text === null ? null : Date.parse(text)
}

export function podFacts(pod: KubeObject): PodFacts {
  const conditions = listAt(pod, "status", "conditions")
  const condition = (type: string): unknown => conditions.find(entry => at(entry, "type") === type)
  const ready = condition("Ready")
  const scheduled = condition("PodScheduled")
  const container = listAt(pod, "status", "containerStatuses").find(entry => at(entry, "name") === "broker")
  const createdAt = timeAt(pod, "metadata", "creationTimestamp") ?? 0
  const restarts = numberAt(container, "restartCount") ?? 0
  const unschedulable =
    textAt(scheduled, "reason") === "Unschedulable" && textAt(scheduled, "status") === "False"
  const uid = pod.metadata.uid ?? ""
  return {
    name: pod.metadata.name,
    uid,
    revision: pod.metadata.labels?.["controller-revision-hash"] ?? "",
    ready: textAt(ready, "status") === "True",
    notReadySince: timeAt(ready, "lastTransitionTime") ?? createdAt,
    createdAt,
    startedAt: timeAt(container, "state", "running", "startedAt") ?? timeAt(pod, "status", "startTime"),
    deletedAt: timeAt(pod, "metadata", "deletionTimestamp"),
    waiting: textAt(container, "state", "waiting", "reason"),
    waitingMessage: textAt(container, "state", "waiting", "message") ?? "",
    unschedulableSince: unschedulable ? (timeAt(scheduled, "lastTransitionTime") ?? createdAt) : null,
    unschedulableMessage: textAt(scheduled, "message") ?? "",
    restarts,
    incarnation: `${uid}/${restarts}`,
  }
}

/** The fields of a pod that facts are read from: the rest need not be kept. */
export function trimPod(pod: KubeObject): KubeObject {
  const {
    name,
    namespace,
    uid,
    resourceVersion,
    creationTimestamp,
    deletionTimestamp,
    labels,
    ownerReferences,
  } = pod.metadata
  return {
    apiVersion: pod.apiVersion,
    kind: pod.kind,
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
      ...(creationTimestamp === undefined ? {} : { creationTimestamp }),
      ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
      ...(labels === undefined ? {} : { labels }),
      ...(ownerReferences === undefined ? {} : { ownerReferences }),
    },
    status: {
      startTime: at(pod, "status", "startTime"),
      conditions: listAt(pod, "status", "conditions"),
      containerStatuses: listAt(pod, "status", "containerStatuses"),
    },
  }
}

const STUCK = new Set(["CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError"])
const STUCK_AFTER_MS = 120_000

/** Whether a pod of an old revision would block a rollout for ever; a number says when it will. */
export function stuck(pod: PodFacts, now: number): boolean | number {
  if (pod.deletedAt !== null || pod.ready) return false
  if (pod.waiting !== null && STUCK.has(pod.waiting)) return true
  if (pod.unschedulableSince !== null) return true
  const due = pod.notReadySince + STUCK_AFTER_MS
  return due <= now ? true : due
}
