// The plan of a broker: from everything observed to what is written, in order (operator.md §5). Pure and total; the
// same observation gives the same plan, and a plan applied to its world leaves an empty one.

import type { BrokerSpec } from "../kinds/broker.ts"
import type { Condition } from "../kinds/status.ts"
import {
  claim,
  config,
  disruptionBudget,
  growth,
  headless,
  NAMES,
  networkPolicy,
  type Owner,
  selectorOf,
  service,
  serviceAccount,
} from "./children.ts"
import { conditionsOf, type Finding, finding, type ReasonOf, type StalledReason } from "./conditions.ts"
import { difference, heldByOthers } from "./difference.ts"
import { conditionOf, hasReason, planKeys, soonest } from "./keys.ts"
import { dashboard, prometheusRule, serviceMonitor } from "./monitoring.ts"
import {
  at,
  controllerUid,
  type KindName,
  type KubeObject,
  MANAGER,
  numberAt,
  textAt,
  UID_LABEL,
} from "./object.ts"
import { stuck } from "./pods.ts"
import { imageOf, RESTART, statefulSet } from "./template.ts"
import {
  type Action,
  type BrokerObserved,
  type BrokerPlan,
  type Children,
  MINUTE_MS,
  type PlannedEvent,
  type PodFacts,
} from "./types.ts"
import type { Dict } from "./values.ts"
import { decideVolume } from "./volume.ts"

export const PAUSED = "fitz.dev/paused"

const ROLLOUT_MS = 10 * MINUTE_MS
const SETTLING_MS = 10_000
const RESIZING_MS = 15_000
const UNSCHEDULABLE_MS = 30_000
const NODE_LOST_MS = MINUTE_MS
const SHORT_SECRET_BYTES = 32
const OWNER_GOING_MS = 2_000

const CHILD_KIND: Readonly<Record<keyof Children, KindName>> = {
  serviceAccount: "serviceAccount",
  config: "configMap",
  claim: "claim",
  headless: "service",
  service: "service",
  networkPolicy: "networkPolicy",
  statefulSet: "statefulSet",
  disruptionBudget: "disruptionBudget",
  serviceMonitor: "serviceMonitor",
  prometheusRule: "prometheusRule",
  dashboard: "configMap",
}

/** What is found while planning, gathered for the status. */
class Notes {
  readonly actions: Action[] = []
  readonly events: PlannedEvent[] = []
  readonly stalled: { reason: StalledReason; message: string }[] = []
  readonly findings: Finding[] = []
  again: number | null = null

  stall(reason: StalledReason, message = ""): void {
    this.stalled.push({ reason, message })
  }

  soon(ms: number | null): void {
    this.again = soonest(this.again, ms)
  }

  event(type: PlannedEvent["type"], reason: PlannedEvent["reason"], note: string): void {
    this.events.push({ type, reason, note })
  }
}

export function planBroker(o: BrokerObserved): BrokerPlan {
  const { broker, spec } = o
  const generation = broker.metadata.generation ?? 0
  const empty: BrokerPlan = {
    actions: [],
    status: null,
    findings: [],
    events: [],
    again: null,
    asksBroker: false,
  }
  // What is going is collected through its owner; nothing is made for it any more.
  if (broker.metadata.deletionTimestamp !== undefined) return empty
  if (typeof spec === "string") {
    const findings = [finding("Ready", "InvalidChild", spec), finding("Stalled", "InvalidChild", spec)]
    return {
      ...empty,
      findings,
      status: { observedGeneration: generation, conditions: conditionsJson(findings, o, generation) },
    }
  }
  return planReadable(o, spec, generation)
}

function planReadable(o: BrokerObserved, spec: BrokerSpec, generation: number): BrokerPlan {
  const { broker, now, settings } = o
  const owner: Owner = {
    name: broker.metadata.name,
    namespace: broker.metadata.namespace ?? "",
    uid: broker.metadata.uid ?? "",
  }
  const notes = new Notes()
  const annotations = broker.metadata.annotations ?? {}
  const paused = spec.paused || annotations[PAUSED] === "true"
  const pod = currentPod(o)

  const keys = planKeys({ ...o, owner, spec, paused })
  const volume = decideVolume(spec.storage.size, o.children.claim, {
    existing: spec.storage.existingClaim !== undefined,
    classExpands: o.classExpands,
    pod,
    now,
  })
  const rendered = statefulSet(owner, spec, settings, annotations[RESTART] ?? null, o.children.statefulSet)

  const storageRefused = claimRefusal(o, owner, spec, notes)
  const secretsThere = foreignSecrets(o, spec, notes)
  if (spec.topology.allowedNamespaces.from === "Selector" && !settings.clusterReads)
    notes.stall("SelectorUnsupported")

  const write = (
    name: keyof Children,
    object: KubeObject,
    options: {
      required?: boolean
      force?: boolean
      refusedAs?: "ShrinkRefused" | "ExpansionUnsupported" | null
    } = {},
  ): void => {
    const live = o.children[name]
    const existing = name === "claim" && spec.storage.existingClaim !== undefined
    if (live !== null && !existing && !guard(live, name, owner, notes)) return
    const because = live === null ? null : difference(object, live, MANAGER)
    if (live !== null && because === null) return
    notes.actions.push({
      do: "apply",
      child: name,
      kind: CHILD_KIND[name],
      object,
      uid: live?.metadata.uid ?? null,
      force: options.force ?? true,
      required: options.required ?? true,
      refusedAs: options.refusedAs ?? null,
      because,
    })
  }
  const remove = (name: keyof Children): void => {
    const live = o.children[name]
    if (live === null || controllerUid(live) !== owner.uid || live.metadata.deletionTimestamp !== undefined)
      return
    notes.actions.push({
      do: "delete",
      child: name,
      ref: { kind: CHILD_KIND[name], namespace: owner.namespace, name: live.metadata.name },
      uid: live.metadata.uid ?? "",
    })
  }

  if (paused) {
    notes.actions.push(...keys.actions)
    notes.events.push(...keys.events)
  } else {
    write("serviceAccount", serviceAccount(owner))
    notes.actions.push(...keys.actions)
    notes.events.push(...keys.events)
    write("config", config(owner, spec))
    if (!storageRefused && volume.request !== null) {
      const existing = spec.storage.existingClaim
      const object =
        existing === undefined ? claim(owner, spec, volume.request) : growth(owner, existing, volume.request)
      write("claim", object, { refusedAs: volume.refusedAs, required: volume.refusedAs === null })
      if (volume.growing)
        notes.event(
          "Normal",
          "VolumeGrowing",
          `The volume is to grow from ${volume.requested} to ${volume.request}.`,
        )
    }
    write("headless", headless(owner))
    write("service", service(owner, spec))
    if (spec.networkPolicy.enabled)
      write("networkPolicy", networkPolicy(owner, spec, settings, monitored(o, spec)))
    else remove("networkPolicy")
    const first = o.children.statefulSet === null
    if (!storageRefused && (secretsThere || !first)) {
      write("statefulSet", rendered.object)
      const written = notes.actions.at(-1)
      if (written?.do === "apply" && written.child === "statefulSet")
        statefulSetEvents(o, rendered.image, notes)
    }
    write("disruptionBudget", disruptionBudget(owner, spec), { required: false })
    planMonitoring(o, owner, spec, notes, write, remove)
    deletePods(o, pod, volume.restartPod, notes)
  }

  judgeFailures(o, notes)
  const storage = storageFinding(o, volume, notes)
  notes.findings.push(storage, keys.finding, reachable(o, spec, pod))
  if (spec.auth.clients === "None" && !hasReason(broker, "AuthReady", "Anonymous"))
    notes.event("Warning", "AuthDisabled", "Programs connect without tokens.")
  overrideAuth(o, spec, notes)
  if (rendered.held !== null && !paused) notes.findings.push(finding("UpdateAvailable", rendered.held))
  if (paused) notes.findings.push(finding("Paused", spec.paused ? "SpecPaused" : "AnnotationPaused"))
  judgePods(o, spec, pod, notes)
  judgeReady(o, spec, pod, notes, volume.storage)

  notes.soon(keys.again)
  if (["Resizing", "RestartPending"].includes(volume.storage)) notes.soon(RESIZING_MS)

  const status: Dict = {
    observedGeneration: generation,
    conditions: conditionsJson(notes.findings, o, generation),
    replicas: o.pods.filter(each => each.deletedAt === null).length,
    readyReplicas: o.pods.filter(each => each.ready && each.deletedAt === null).length,
    selector: Object.entries(selectorOf(owner.name))
      .map(([key, value]) => `${key}=${value}`)
      .join(","),
    image: imageOf(o.children.statefulSet) ?? rendered.image,
    endpoint: {
      host: `${owner.name}.${owner.namespace}.svc`,
      port: spec.service.port,
      websocket: `ws://${owner.name}.${owner.namespace}.svc:${spec.service.port}/ws`,
    },
    storage: {
      claim: spec.storage.existingClaim ?? NAMES.claim(owner.name),
      ...(volume.requested === null ? {} : { requested: String(volume.requested) }),
      ...(volume.capacity === null ? {} : { capacity: String(volume.capacity) }),
    },
    auth: keys.status,
  }
  const version = o.view?.version ?? textAt(broker, "status", "version")
  if (version !== null) status["version"] = version
  return {
    actions: notes.actions,
    status,
    findings: notes.findings,
    events: notes.events,
    again: notes.again,
    asksBroker: keys.asksBroker,
  }
}

function conditionsJson(findings: readonly Finding[], o: BrokerObserved, generation: number): Dict[] {
  const before = (at(o.broker, "status", "conditions") as Condition[] | undefined) ?? []
  return conditionsOf(findings, before, generation, o.now) as unknown as Dict[]
}

/** The pod that counts: the one that is not on its way out, or the one that is. */
function currentPod(o: BrokerObserved): PodFacts | null {
  return o.pods.find(pod => pod.deletedAt === null) ?? o.pods[0] ?? null
}

/** Whether a child of that name is ours to write. */
function guard(live: KubeObject, name: keyof Children, owner: Owner, notes: Notes): boolean {
  const retained = name === "claim"
  if (retained) {
    // A kept claim has no owner; its label says whose it is, and claimRefusal has judged it.
    return true
  }
  const controller = live.metadata.ownerReferences?.find(reference => reference.controller === true)
  if (controller?.uid === owner.uid) return live.metadata.deletionTimestamp === undefined
  if (controller?.kind === "FitzBroker" && controller.name === owner.name) {
    // The last broker of that name is still being collected.
    notes.soon(OWNER_GOING_MS)
    return false
  }
  notes.stall("NameConflict", `${live.kind} ${live.metadata.name} belongs to somebody else.`)
  return false
}

function claimRefusal(o: BrokerObserved, owner: Owner, spec: BrokerSpec, notes: Notes): boolean {
  const existing = spec.storage.existingClaim
  const live = o.children.claim
  const mounted = claimOf(o.children.statefulSet)
  const wanted = existing ?? NAMES.claim(owner.name)
  if (mounted !== null && mounted !== wanted && o.pods.some(pod => pod.deletedAt === null)) {
    notes.stall("ClaimChange", `The pod uses the claim ${mounted}.`)
    return true
  }
  if (existing !== undefined) {
    if (live !== null) return false
    notes.stall("ClaimMissing", `There is no claim ${existing}.`)
    return true
  }
  if (live === null) return false
  if (live.metadata.labels?.[UID_LABEL] === owner.uid) return false
  notes.stall("ClaimNotOurs", `The claim ${live.metadata.name} was made for another broker.`)
  return true
}

export function claimOf(statefulSet: KubeObject | null): string | null {
  const volumes = at(statefulSet, "spec", "template", "spec", "volumes")
  if (!Array.isArray(volumes)) return null
  return textAt(
    volumes.find(volume => at(volume, "name") === "data"),
    "persistentVolumeClaim",
    "claimName",
  )
}

function foreignSecrets(o: BrokerObserved, spec: BrokerSpec, notes: Notes): boolean {
  let there = true
  for (const [facts, named] of [
    [o.existingSecret, spec.auth.existingSecret],
    [o.apiKeysSecret, spec.auth.apiKeysSecret],
  ] as const) {
    if (named === undefined) continue
    if (facts === null || !facts.present || !facts.keyPresent) {
      const what =
        facts?.present === true ? `key ${named.key} in the Secret ${named.name}` : `Secret ${named.name}`
      notes.stall("SecretMissing", `There is no ${what}.`)
      there = false
    } else if (!facts.valid) {
      notes.stall("SecretInvalid", `The key ${named.key} in the Secret ${named.name} cannot be used.`)
      there = false
    }
  }
  const { existingSecret } = spec.auth
  const short =
    existingSecret?.type === "HS256" &&
    o.existingSecret?.keyPresent === true &&
    o.existingSecret.bytes < SHORT_SECRET_BYTES
  if (short && o.children.statefulSet === null)
    notes.event(
      "Warning",
      "ShortSharedSecret",
      `The shared secret has fewer than ${SHORT_SECRET_BYTES} bytes.`,
    )
  return there
}

function overrideAuth(o: BrokerObserved, spec: BrokerSpec, notes: Notes): void {
  const stalled = notes.stalled.find(({ reason }) => reason === "SecretMissing" || reason === "SecretInvalid")
  if (stalled === undefined || (spec.auth.existingSecret === undefined && o.apiKeysSecret === null)) return
  const index = notes.findings.findIndex(({ type }) => type === "AuthReady")
  notes.findings[index] = finding(
    "AuthReady",
    stalled.reason as "SecretMissing" | "SecretInvalid",
    stalled.message,
  )
}

function statefulSetEvents(o: BrokerObserved, image: string, notes: Notes): void {
  const live = o.children.statefulSet
  const written = notes.actions.at(-1)
  if (live === null) {
    notes.event("Normal", "Created", `The broker is being made, with image ${image}.`)
    return
  }
  if (written?.do !== "apply" || written.because === null) return
  const wasOn = numberAt(live, "spec", "replicas") ?? 1
  const wanted = numberAt(written.object, "spec", "replicas") ?? 1
  if (wasOn === 0 && wanted === 1) notes.event("Normal", "Started", "The broker is being started.")
  else if (written.because.startsWith("spec.template") && o.children.statefulSet !== null) {
    const stored = live.metadata.annotations?.["fitz.dev/applied-template"]
    const next = written.object.metadata.annotations?.["fitz.dev/applied-template"]
    if (stored !== next) notes.event("Normal", "RolloutStarted", "A change of the pod is being rolled out.")
  } else if (written.because.startsWith("metadata.annotations"))
    notes.event("Normal", "RolloutStarted", "A change of the pod is being rolled out.")
}

export function monitored(o: BrokerObserved, spec: BrokerSpec): boolean {
  return o.monitoringServed && spec.monitoring.serviceMonitor.mode !== "Disabled"
}

function planMonitoring(
  o: BrokerObserved,
  owner: Owner,
  spec: BrokerSpec,
  notes: Notes,
  write: (name: keyof Children, object: KubeObject, options: { required: boolean; force: boolean }) => void,
  remove: (name: keyof Children) => void,
): void {
  const objects = [
    ["serviceMonitor", spec.monitoring.serviceMonitor.mode, () => serviceMonitor(owner, spec)],
    ["prometheusRule", spec.monitoring.prometheusRule.mode, () => prometheusRule(owner, spec)],
    ["dashboard", spec.monitoring.dashboard.mode, () => dashboard(owner, spec)],
  ] as const
  const wanted = objects.filter(([, mode]) => mode !== "Disabled")
  for (const [name, mode] of objects)
    if (mode === "Disabled" && (o.monitoringServed || name === "dashboard")) remove(name)
  if (wanted.length === 0) return
  if (!o.monitoringServed) {
    if (wanted.some(([, mode]) => mode === "Enabled"))
      notes.findings.push(finding("MonitoringReady", "CRDMissing"))
    return
  }
  const edited: string[] = []
  for (const [name, , render] of wanted) {
    const object = render()
    const live = o.children[name]
    if (live !== null && heldByOthers(object, live, MANAGER)) {
      edited.push(object.kind)
      continue
    }
    write(name, object, { required: false, force: false })
  }
  const forbidden = o.failures.find(
    ({ child, class: kind }) =>
      ["serviceMonitor", "prometheusRule", "dashboard"].includes(child) && kind === "Forbidden",
  )
  if (forbidden !== undefined) notes.findings.push(finding("MonitoringReady", "Forbidden", forbidden.message))
  else if (edited.length > 0)
    notes.findings.push(
      finding(
        "MonitoringReady",
        "EditedByOther",
        `Fields of ${edited.join(", ")} belong to another manager.`,
      ),
    )
  else notes.findings.push(finding("MonitoringReady", "Applied"))
  const before = conditionOf(o.broker, "MonitoringReady")
  if (before?.reason === "CRDMissing" || (before === null && conditionOf(o.broker, "Ready") !== null))
    notes.event("Normal", "MonitoringAvailable", "The cluster knows the monitoring kinds now.")
}

function deletePods(o: BrokerObserved, pod: PodFacts | null, restartForResize: boolean, notes: Notes): void {
  const live = o.children.statefulSet
  if (pod === null || live === null || o.spec === null) return
  const remove = (): void => {
    notes.actions.push({
      do: "delete",
      child: "pod",
      ref: { kind: "pod", namespace: o.broker.metadata.namespace ?? "", name: pod.name },
      uid: pod.uid,
    })
  }
  const { updateRevision, observed } = revisionOf(live)
  const old = updateRevision !== null && pod.revision !== updateRevision
  const writes = notes.actions.some(action => action.do === "apply" && action.child === "statefulSet")
  if (old && observed && !writes) {
    const state = stuck(pod, o.now)
    if (state === true) {
      notes.event(
        "Warning",
        "StuckPodReplaced",
        `The pod of the last revision cannot become ready (${pod.waiting ?? "not ready"}) and makes way.`,
      )
      remove()
      return
    }
    if (typeof state === "number") notes.soon(state - o.now)
  }
  if (restartForResize) {
    notes.event("Normal", "RestartedForResize", "The pod is restarted, so that its file system grows.")
    remove()
  }
}

function revisionOf(statefulSet: KubeObject | null): { updateRevision: string | null; observed: boolean } {
  return {
    updateRevision: textAt(statefulSet, "status", "updateRevision"),
    observed:
      numberAt(statefulSet, "status", "observedGeneration") === (statefulSet?.metadata.generation ?? null),
  }
}

function judgeFailures(o: BrokerObserved, notes: Notes): void {
  for (const failure of o.failures) {
    const message = `${failure.step}: ${failure.message}`
    switch (failure.class) {
      case "NameConflict":
        notes.stall("NameConflict", failure.message)
        break
      case "Refused":
      case "Forbidden":
        if (failure.refusedAs === "ExpansionUnsupported") notes.stall("ExpansionUnsupported", failure.message)
        else if (failure.refusedAs === "ShrinkRefused") break
        else if (failure.class === "Refused") notes.stall("InvalidChild", message)
        else if (!["serviceMonitor", "prometheusRule", "dashboard"].includes(failure.child))
          notes.stall("Forbidden", message)
        break
      case "Quota":
        notes.stall("QuotaExceeded", message)
        notes.soon(MINUTE_MS)
        break
      default:
        notes.findings.push(finding("Reconciling", "Retrying", message))
    }
  }
}

function storageFinding(o: BrokerObserved, volume: ReturnType<typeof decideVolume>, notes: Notes): Finding {
  const stalled = notes.stalled.find(({ reason }) => reason === "ClaimNotOurs" || reason === "ClaimMissing")
  if (stalled !== undefined)
    return finding("StorageReady", stalled.reason as "ClaimNotOurs" | "ClaimMissing", stalled.message)
  if (o.failures.some(({ refusedAs }) => refusedAs === "ShrinkRefused"))
    return finding("StorageReady", "ShrinkRefused")
  if (
    volume.storage === "ExpansionUnsupported" &&
    !notes.stalled.some(s => s.reason === "ExpansionUnsupported")
  )
    notes.stall("ExpansionUnsupported", "")
  if (notes.stalled.some(({ reason }) => reason === "ExpansionUnsupported"))
    return finding("StorageReady", "ExpansionUnsupported")
  const before = conditionOf(o.broker, "StorageReady")?.reason
  if (volume.storage === "SizeBelowCapacity" && before !== "SizeBelowCapacity")
    notes.event("Warning", "SizeBelowCapacity", "spec.storage.size is below what the volume has already.")
  if (volume.storage === "Bound" && (before === "Resizing" || before === "RestartPending"))
    notes.event("Normal", "VolumeGrown", `The volume has ${volume.capacity}.`)
  return finding("StorageReady", volume.storage)
}

function reachable(o: BrokerObserved, spec: BrokerSpec, pod: PodFacts | null): Finding {
  if (spec.replicas === 0 || pod === null) return finding("BrokerReachable", "NoPod")
  if (o.view === null) return finding("BrokerReachable", "NotChecked")
  return finding("BrokerReachable", o.view.reachable as ReasonOf<"BrokerReachable">)
}

/** What a pod's troubles mean, once no newer one can mend them. */
function judgePods(o: BrokerObserved, spec: BrokerSpec, pod: PodFacts | null, notes: Notes): void {
  const going = o.pods.find(each => each.deletedAt !== null)
  if (going?.deletedAt != null) {
    const lostAt = going.deletedAt + NODE_LOST_MS
    if (o.now >= lostAt) notes.stall("NodeLost", `The pod ${going.name} has not ended.`)
    else notes.soon(lostAt - o.now)
  }
  if (pod === null || pod.ready || pod.deletedAt !== null || spec.replicas === 0) return
  const { updateRevision } = revisionOf(o.children.statefulSet)
  if (updateRevision !== null && pod.revision !== updateRevision) return
  const detail = pod.waitingMessage === "" ? "" : pod.waitingMessage.slice(0, 512)
  if (
    pod.waiting === "ImagePullBackOff" ||
    pod.waiting === "InvalidImageName" ||
    pod.waiting === "ErrImageNeverPull"
  )
    notes.stall("ImagePull", detail)
  else if (pod.waiting === "CrashLoopBackOff") notes.stall("CrashLoop", `${pod.restarts} restarts so far.`)
  else if (pod.waiting === "CreateContainerConfigError") notes.stall("SecretMissing", detail)
  else if (pod.unschedulableSince !== null) {
    const due = pod.unschedulableSince + UNSCHEDULABLE_MS
    if (o.now >= due) notes.stall("Unschedulable", pod.unschedulableMessage)
    else notes.soon(due - o.now)
  }
}

function judgeReady(
  o: BrokerObserved,
  spec: BrokerSpec,
  pod: PodFacts | null,
  notes: Notes,
  storage: string,
): void {
  const before = conditionOf(o.broker, "Ready")
  const live = o.children.statefulSet
  const { updateRevision, observed } = revisionOf(live)
  const writes = notes.actions.some(action => action.do === "apply" && action.child === "statefulSet")
  let reason: ReasonOf<"Ready">
  let message: string | undefined
  if (live === null) reason = "Creating"
  else if (spec.replicas === 0) reason = "Stopped"
  else if (writes) reason = before?.reason === "Stopped" || before === null ? "Starting" : "RollingOut"
  else if (pod === null || !observed) reason = before?.reason === "RollingOut" ? "RollingOut" : "Starting"
  else if (updateRevision !== null && pod.revision !== updateRevision) reason = "RollingOut"
  else if (pod.deletedAt !== null) reason = before?.reason === "RollingOut" ? "RollingOut" : "Starting"
  else if (pod.ready) reason = "Running"
  else {
    reason =
      before?.reason === "RollingOut"
        ? "RollingOut"
        : before?.status === "True" || before?.reason === "NotReady"
          ? "NotReady"
          : "Starting"
    message = o.view?.notReady ?? undefined
  }

  const moving = ["Creating", "Starting", "RollingOut", "NotReady"].includes(reason)
  if (moving && notes.stalled.length === 0) {
    const began = Math.max(
      before !== null && before.status !== "True" ? Date.parse(before.lastTransitionTime) : o.now,
      pod?.createdAt ?? 0,
    )
    const due = began + ROLLOUT_MS
    if (o.now >= due) notes.stall("RolloutTimedOut", message ?? "")
    else notes.soon(Math.min(SETTLING_MS, due - o.now))
  }

  const first = notes.stalled[0]
  const blocking = first !== undefined && reason !== "Stopped"
  if (first !== undefined) {
    notes.findings.push(finding("Stalled", first.reason, first.message === "" ? undefined : first.message))
    if (!hasReason(o.broker, "Stalled", first.reason))
      notes.event("Warning", "Stalled", `${first.reason}: ${first.message}`.slice(0, 1_000))
  }
  const retrying = notes.findings.findIndex(({ type }) => type === "Reconciling")
  if (first !== undefined && retrying >= 0) notes.findings.splice(retrying, 1)
  if (
    first === undefined &&
    retrying < 0 &&
    (moving || storage === "Resizing" || storage === "RestartPending")
  )
    notes.findings.push(finding("Reconciling", "Progressing"))
  notes.findings.push(
    blocking
      ? finding("Ready", first.reason, first.message === "" ? undefined : first.message)
      : finding("Ready", reason, message),
  )
  if (before?.reason !== reason && !blocking) {
    if (reason === "Stopped" && before !== null)
      notes.event("Normal", "Stopped", "The broker is stopped; its data is kept.")
    if (reason === "Running" && before?.reason === "RollingOut")
      notes.event("Normal", "RolloutFinished", "The change is rolled out.")
  }
}

/** The first act on a new spec: saying that it has been seen. */
export function acknowledgement(o: BrokerObserved): Dict | null {
  const generation = o.broker.metadata.generation ?? 0
  if (numberAt(o.broker, "status", "observedGeneration") === generation) return null
  const before = (at(o.broker, "status", "conditions") as Condition[] | undefined) ?? []
  const kept = before.filter(
    ({ type }) => type !== "Reconciling" && type !== "Stalled" && type !== "TopologySynced",
  )
  const [reconciling] = conditionsOf([finding("Reconciling", "NewGeneration")], before, generation, o.now)
  const ready = kept.find(({ type }) => type === "Ready")
  const [fresh] = conditionsOf([finding("Ready", "Creating")], before, generation, o.now)
  const status = (o.broker["status"] ?? {}) as Dict
  const { topology: _topology, ...rest } = status
  return {
    ...rest,
    observedGeneration: generation,
    conditions: [
      ...kept.filter(({ type }) => type !== "Ready"),
      ready ?? fresh!,
      reconciling!,
    ] as unknown as Dict[],
  }
}
