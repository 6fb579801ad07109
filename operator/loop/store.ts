// Objects of one kind as the watch last showed them (operator.md §8.2): frozen, trimmed, indexed. A write of ours may be
// put in ahead of its event; an older version of the same object never replaces a newer one.

import { BROKER_LABEL, type KindName, type KubeObject, MANAGER, TOPOLOGY_MANAGER } from "../plan/object.ts"
import { trimPod } from "../plan/pods.ts"
import { brokerOf } from "../plan/topology.ts"

export type Change = (now: KubeObject | null, before: KubeObject | null) => void

export function keyOf(object: KubeObject): string {
  return `${object.metadata.namespace ?? ""}/${object.metadata.name}`
}

const MONITORING = new Set<KindName>(["serviceMonitor", "prometheusRule", "configMap"])

/** What of an object is kept. */
export function trim(kind: KindName, object: KubeObject): KubeObject {
  if (kind === "pod") return freeze(trimPod(object))
  // Whose fields they are matters only where foreign hands are to be left alone; for drift, who did it.
  const all = object.metadata.managedFields
  if (all === undefined || MONITORING.has(kind) || kind === "statefulSet") return freeze(object)
  const kept =
    kind === "broker" || kind === "realm" || kind === "schedule"
      ? all.filter(({ manager }) => manager === MANAGER || manager === TOPOLOGY_MANAGER)
      : all
  return freeze({ ...object, metadata: { ...object.metadata, managedFields: kept } })
}

function freeze<T>(value: T): T {
  if (value !== null && typeof value === "object" && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const inner of Object.values(value)) freeze(inner)
  }
  return value
}

/** The index entry of an object: the broker it belongs to. */
function indexOf(kind: KindName, object: KubeObject): string | null {
  if (kind === "realm" || kind === "schedule") return brokerOf(object)
  const broker = object.metadata.labels?.[BROKER_LABEL]
  return broker === undefined ? null : `${object.metadata.namespace ?? ""}/${broker}`
}

export class Store {
  readonly kind: KindName
  private readonly objects = new Map<string, KubeObject>()
  private readonly index = new Map<string, Set<string>>()
  private readonly listeners: Change[] = []
  /** Whether the first list of each watched namespace has been taken in. */
  private readonly scopes = new Map<string, boolean>()

  constructor(kind: KindName) {
    this.kind = kind
  }

  onChange(listener: Change): void {
    this.listeners.push(listener)
  }

  get size(): number {
    return this.objects.size
  }

  get synced(): boolean {
    return [...this.scopes.values()].every(Boolean) && this.scopes.size > 0
  }

  /** A watch over that namespace, or over all for "", has begun. */
  scope(namespace: string): void {
    this.scopes.set(namespace, false)
  }

  get(namespace: string, name: string): KubeObject | null {
    return this.objects.get(`${namespace}/${name}`) ?? null
  }

  values(): IterableIterator<KubeObject> {
    return this.objects.values()
  }

  indexed(key: string): KubeObject[] {
    return [...(this.index.get(key) ?? [])].flatMap(entry => {
      const object = this.objects.get(entry)
      return object === undefined ? [] : [object]
    })
  }

  put(fresh: KubeObject): void {
    const key = keyOf(fresh)
    const before = this.objects.get(key) ?? null
    if (before !== null && before.metadata.uid === fresh.metadata.uid && isOlder(fresh, before)) return
    const kept = trim(this.kind, fresh)
    if (before !== null) this.unindex(key, before)
    this.objects.set(key, kept)
    const entry = indexOf(this.kind, kept)
    if (entry !== null) {
      const held = this.index.get(entry)
      if (held === undefined) this.index.set(entry, new Set([key]))
      else held.add(key)
    }
    for (const listener of this.listeners) listener(kept, before)
  }

  remove(object: KubeObject): void {
    const key = keyOf(object)
    const before = this.objects.get(key)
    // News of a deletion may come after its successor is known.
    if (before === undefined || before.metadata.uid !== object.metadata.uid) return
    this.objects.delete(key)
    this.unindex(key, before)
    for (const listener of this.listeners) listener(null, before)
  }

  /** Takes a whole list in; what it lacks is gone. */
  replace(namespace: string, objects: readonly KubeObject[]): void {
    const present = new Map(objects.map(object => [keyOf(object), object]))
    for (const [key, object] of [...this.objects]) {
      const within = namespace === "" || object.metadata.namespace === namespace
      if (within && !present.has(key)) this.remove(object)
    }
    for (const object of objects) {
      const before = this.objects.get(keyOf(object))
      if (before !== undefined && before.metadata.resourceVersion === object.metadata.resourceVersion)
        continue
      if (before !== undefined && before.metadata.uid !== object.metadata.uid) this.remove(before)
      this.put(object)
    }
    this.scopes.set(namespace, true)
  }

  private unindex(key: string, object: KubeObject): void {
    const entry = indexOf(this.kind, object)
    if (entry === null) return
    const held = this.index.get(entry)
    held?.delete(key)
    if (held?.size === 0) this.index.delete(entry)
  }
}

/** Versions are numbers in every server there is; where one is not, news counts as newer. */
function isOlder(fresh: KubeObject, known: KubeObject): boolean {
  const [a, b] = [fresh.metadata.resourceVersion ?? "", known.metadata.resourceVersion ?? ""]
  if (!/^[0-9]+$/.test(a) || !/^[0-9]+$/.test(b)) return false
  return a.length === b.length ? a < b : a.length < b.length
}
