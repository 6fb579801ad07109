// Carries a plan out (operator.md §5.2): applies, Secrets, deletions, status, in order, each before the fence. Decides
// nothing but how a refusal is called; nothing is written that a plan does not hold.

import { labelsOf, NAMES, ownerReference } from "../plan/children.ts"
import { difference } from "../plan/difference.ts"
import { controllerUid, KIND, type KindName, type KubeObject, MANAGER, UID_LABEL } from "../plan/object.ts"
import type { Action, Failure, PlannedEvent } from "../plan/types.ts"
import { type Dict, isDict } from "../plan/values.ts"
import { KubeError } from "./api.ts"
import type { Io } from "./observe.ts"
import { make, secretObject, secretPatch, signerOf } from "./secrets.ts"

export interface Outcome {
  readonly failures: readonly Failure[]
  /** What was read is old: observe again at once. */
  readonly stale: boolean
  readonly retryAfterMs: number | null
  readonly events: readonly PlannedEvent[]
  readonly writes: number
}

/** What kind of failure an error is. */
export function classify(error: unknown): Failure["class"] {
  if (!(error instanceof KubeError)) throw error
  const { status, reason, message } = error
  if (status === 0 || status === 408 || status === 429 || status >= 500) return "Transient"
  if (status === 409) return "Stale"
  if (status === 404 || /because it is being terminated/.test(message)) return "Going"
  if (status === 403) return /exceeded quota/.test(message) ? "Quota" : "Forbidden"
  return status === 422 || status === 400 || reason === "Invalid" ? "Refused" : "Transient"
}

export async function carryOut(
  io: Io,
  broker: KubeObject,
  actions: readonly Action[],
  live: (action: Action) => KubeObject | null,
  signal: AbortSignal,
): Promise<Outcome> {
  const failures: Failure[] = []
  const events: PlannedEvent[] = []
  let writes = 0
  let stale = false
  let retryAfterMs: number | null = null
  for (const action of actions) {
    const step = stepOf(action)
    const child = action.do === "secret" ? "secret" : action.child
    const refusedAs = action.do === "apply" ? action.refusedAs : null
    const required = action.do !== "apply" || action.required
    try {
      const result = await carryOne(io, broker, action, live(action), events, signal)
      if (result === "conflict") {
        failures.push({
          step,
          child,
          class: "NameConflict",
          message: `${step.replace(/^[a-z]+ /, "")} belongs to somebody else.`,
          refusedAs: null,
        })
        if (required) break
      } else if (result === "stale") {
        stale = true
        break
      } else writes++
    } catch (error) {
      if (error instanceof Error && error.name === "AbortError") throw error
      const kind = classify(error)
      if (kind === "Stale" || kind === "Going") {
        stale = true
        break
      }
      const failure = error as KubeError
      retryAfterMs = failure.retryAfterMs ?? retryAfterMs
      failures.push({ step, child, class: kind, message: failure.message, refusedAs })
      if (required || kind === "Transient") break
    }
  }
  return { failures, stale, retryAfterMs, events, writes }
}

function stepOf(action: Action): string {
  switch (action.do) {
    case "apply":
      return `apply ${action.object.kind} ${action.object.metadata.name}`
    case "secret":
      return `write Secret ${action.ref.name}`
    case "delete":
      return `delete ${KIND[action.ref.kind].kind} ${action.ref.name}`
  }
}

type Result = "done" | "conflict" | "stale"

async function carryOne(
  io: Io,
  broker: KubeObject,
  action: Action,
  live: KubeObject | null,
  events: PlannedEvent[],
  signal: AbortSignal,
): Promise<Result> {
  switch (action.do) {
    case "apply":
      return apply(io, broker, action, live, events, signal)
    case "secret":
      return writeSecret(io, broker, action, signal)
    case "delete": {
      io.fence()
      await io.api.delete(KIND[action.ref.kind], action.ref.namespace, action.ref.name, action.uid, signal)
      io.counters.wrote(KIND[action.ref.kind].kind, "delete")
      return "done"
    }
  }
}

/** Whether an object found under our name is this broker's. */
function isOurs(kind: KindName, object: KubeObject, broker: KubeObject): boolean {
  if (kind === "claim") return object.metadata.labels?.[UID_LABEL] === broker.metadata.uid
  return controllerUid(object) === broker.metadata.uid
}

async function apply(
  io: Io,
  broker: KubeObject,
  action: Extract<Action, { do: "apply" }>,
  cached: KubeObject | null,
  events: PlannedEvent[],
  signal: AbortSignal,
): Promise<Result> {
  const { kind, object, force } = action
  const { namespace = "", name } = object.metadata
  const resource = KIND[kind]
  let { uid } = action
  if (uid === null) {
    // The cache does not show it. Apply has no "must not exist", so look first.
    const found = await io.api.get(resource, namespace, name, signal)
    if (found !== null) {
      if (!isOurs(kind, found, broker)) return "conflict"
      if (found.metadata.deletionTimestamp !== undefined) return "stale"
      uid = found.metadata.uid ?? null
      if (difference(object, found, MANAGER) === null) {
        io.cache.put(kind, found)
        return "done"
      }
    }
  }
  const wanted: KubeObject = uid === null ? object : { ...object, metadata: { ...object.metadata, uid } }
  const write = async (forced: boolean): Promise<{ object: KubeObject; created: boolean }> => {
    io.fence()
    const result = await io.api.apply(resource, wanted, { manager: MANAGER, force: forced }, signal)
    io.counters.wrote(resource.kind, result.created ? "create" : "apply")
    return result
  }
  let result: { object: KubeObject; created: boolean }
  try {
    result = await write(false)
  } catch (error) {
    const owners = conflictingManagers(error)
    if (owners === null) throw error
    // Without an object of ours there is nothing to take back: somebody else was faster.
    if (uid === null) return "conflict"
    if (!force) return "done"
    io.world.log("warn", "taking fields back", { kind: resource.kind, namespace, name, managers: owners })
    events.push({
      type: "Warning",
      reason: "ForcedOwnership",
      note: `Fields of ${resource.kind} ${name} were held by ${owners}.`.slice(0, 1_000),
    })
    result = await write(true)
  }
  if (uid === null && !result.created) {
    // It came to be between look and write. Let go of what we have just taken hold of.
    io.fence()
    const bare = { apiVersion: object.apiVersion, kind: object.kind, metadata: { name, namespace } }
    await io.api.apply(resource, bare, { manager: MANAGER, force: false }, signal)
    return "conflict"
  }
  io.cache.put(kind, result.object)
  if (kind === "claim") io.memory.of(broker.metadata.uid ?? "").claim = null
  const other = cached === null || action.because === null ? null : managerOf(cached, action.because)
  if (other !== null) {
    io.counters.drift(resource.kind)
    events.push({
      type: "Normal",
      reason: "DriftCorrected",
      note: `${resource.kind} ${name}: ${action.because} had been changed by ${other}.`.slice(0, 1_000),
    })
  }
  return "done"
}

/** The other managers that an apply met, or null for an error of another sort. */
function conflictingManagers(error: unknown): string | null {
  if (!(error instanceof KubeError) || error.status !== 409) return null
  const causes = (error.details as { causes?: { reason?: string; message?: string }[] } | null)?.causes ?? []
  const conflicts = causes.filter(({ reason }) => reason === "FieldManagerConflict")
  if (conflicts.length === 0) return null
  return [
    ...new Set(conflicts.map(({ message = "" }) => /conflict with "([^"]*)"/.exec(message)?.[1] ?? message)),
  ].join(", ")
}

/** Who else holds the field at that path. */
function managerOf(object: KubeObject, path: string): string | null {
  const first = path.split(".")
  for (const { manager, fieldsV1 } of [...(object.metadata.managedFields ?? [])].reverse()) {
    if (manager === MANAGER) continue
    let here: Dict | undefined = fieldsV1
    for (const name of first) {
      if (here === undefined) break
      const next: unknown =
        here[`f:${name}`] ??
        Object.entries(here).find(([key]) => key.startsWith("k:") && keyHas(key, name))?.[1]
      here = isDict(next) ? next : undefined
      if (here !== undefined && Object.keys(here).length === 0) return manager
    }
    if (here !== undefined) return manager
  }
  return null
}

/** Whether a key of managedFields, such as k:{"port":8080}, names that entry of a list. */
function keyHas(key: string, name: string): boolean {
  return Object.values(JSON.parse(key.slice(2)) as Record<string, unknown>).some(
    value => String(value) === name,
  )
}

async function writeSecret(
  io: Io,
  broker: KubeObject,
  action: Extract<Action, { do: "secret" }>,
  signal: AbortSignal,
): Promise<Result> {
  const { ref } = action
  const uid = broker.metadata.uid ?? ""
  const known = io.memory.of(uid)
  known.secrets = null
  known.token = null
  const signing = await io.api.get(KIND.secret, ref.namespace, NAMES.signing(broker.metadata.name), signal)
  if (signing !== null && controllerUid(signing) !== uid) return "conflict"
  const made = await make(action.make, signing, uid)
  let written: KubeObject
  // A step before this one may have created it in this very pass.
  if (action.uid === null) {
    const owner = { name: broker.metadata.name, namespace: ref.namespace, uid }
    const object = secretObject(ref, made, {
      labels: labelsOf(broker.metadata.name),
      ownerReferences: [ownerReference(owner)],
    })
    try {
      io.fence()
      written = await io.api.create(KIND.secret, object, signal)
      io.counters.wrote("Secret", "create")
    } catch (error) {
      if (!(error instanceof KubeError) || error.status !== 409) throw error
      const found = await io.api.get(KIND.secret, ref.namespace, ref.name, signal)
      if (found !== null && controllerUid(found) === uid) return "stale"
      return ownerGoing(found, broker) ? "stale" : "conflict"
    }
  } else {
    const patch = secretPatch(made, action.resourceVersion ?? "", action.uid)
    io.fence()
    written = await io.api.mergePatch(KIND.secret, ref.namespace, ref.name, patch, signal)
    io.counters.wrote("Secret", "patch")
  }
  if (ref.name === NAMES.signing(broker.metadata.name)) known.signer = signerOf(written)
  return "done"
}

/** Whether the object is left from the last broker of that name and about to be collected. */
function ownerGoing(object: KubeObject | null, broker: KubeObject): boolean {
  const owner = object?.metadata.ownerReferences?.find(reference => reference.controller === true)
  return owner?.kind === KIND.broker.kind && owner.name === broker.metadata.name
}

/** Writes a status, unless it says already what it should. */
export async function writeStatus(
  io: Io,
  kind: KindName,
  object: KubeObject,
  manager: string,
  status: Dict,
  signal: AbortSignal,
): Promise<KubeObject> {
  const wanted: KubeObject = {
    apiVersion: object.apiVersion,
    kind: object.kind,
    metadata: {
      name: object.metadata.name,
      ...(object.metadata.namespace === undefined ? {} : { namespace: object.metadata.namespace }),
      ...(object.metadata.uid === undefined ? {} : { uid: object.metadata.uid }),
    },
    status,
  }
  if (difference(wanted, object, manager, "status") === null) return object
  io.fence()
  const written = await io.api.applyStatus(KIND[kind], wanted, { manager, force: true }, signal)
  io.counters.wrote(KIND[kind].kind, "status")
  io.cache.put(kind, written)
  return written
}

/** Adds or drops our finalizer. */
export async function writeFinalizer(
  io: Io,
  kind: KindName,
  object: KubeObject,
  finalizers: readonly string[],
  signal: AbortSignal,
): Promise<KubeObject> {
  io.fence()
  const { namespace = "", name, resourceVersion, uid } = object.metadata
  const written = await io.api.mergePatch(
    KIND[kind],
    namespace,
    name,
    { metadata: { finalizers: finalizers.length === 0 ? null : finalizers, resourceVersion, uid } },
    signal,
  )
  io.counters.wrote(KIND[kind].kind, "finalizer")
  io.cache.put(kind, written)
  return written
}
