// Whether an apply would change anything (operator.md §5.2, last row): every leaf we set equals the live one, and
// we own no leaf that we no longer want. Reads managedFields; never decides what should be there.

import type { KubeObject } from "./object.ts"
import { compareQuantities, type Dict, isDict, type Json } from "./values.ts"

/** Keys by which the entries of a list are told apart, tried in this order. */
const LIST_KEYS: Readonly<Record<string, readonly string[]>> = {
  containers: ["name"],
  initContainers: ["name"],
  volumes: ["name"],
  env: ["name"],
  imagePullSecrets: ["name"],
  volumeMounts: ["mountPath"],
  ports: ["containerPort", "port"],
  ownerReferences: ["uid"],
  conditions: ["type"],
}
const QUANTITY_PARENTS = new Set(["requests", "limits", "capacity"])
const QUANTITY_FIELDS = new Set(["sizeLimit"])
/** Never compared: identity, not intent. */
const IDENTITY = new Set(["apiVersion", "kind"])

/** The path of the first leaf that differs, or null. */
export function difference(
  wanted: KubeObject,
  live: KubeObject,
  manager: string,
  subresource?: string,
): string | null {
  for (const [field, value] of Object.entries(wanted)) {
    if (IDENTITY.has(field)) continue
    const found = compare(
      field === "metadata" ? metadataOf(value as Dict) : (value as Json),
      live[field] as Json,
      field,
      [field],
    )
    if (found !== null) return found
  }
  return surplus(wanted, live, manager, subresource)
}

function metadataOf(metadata: Dict): Dict {
  const { name: _name, namespace: _namespace, uid: _uid, ...rest } = metadata
  return rest
}

function compare(
  wanted: Json | undefined,
  live: Json | undefined,
  name: string,
  path: string[],
): string | null {
  if (wanted === undefined) return null
  if (Array.isArray(wanted)) {
    if (!Array.isArray(live)) return wanted.length === 0 && live === undefined ? null : path.join(".")
    const key = keyOf(name, wanted)
    if (key === null && wanted.length !== live.length) return path.join(".")
    for (const [index, item] of wanted.entries()) {
      const twin =
        key === null
          ? live[index]
          : live.find(
              other => isDict(other) && isDict(item) && other[key] === item[key] && twins(item, other),
            )
      const found = compare(item, twin, name, [
        ...path,
        key === null ? `${index}` : String((item as Dict)[key]),
      ])
      if (found !== null) return found
    }
    return null
  }
  if (isDict(wanted)) {
    if (!isDict(live)) return Object.keys(wanted).length === 0 && live === undefined ? null : path.join(".")
    for (const [field, value] of Object.entries(wanted)) {
      const quantity = QUANTITY_PARENTS.has(name) || QUANTITY_FIELDS.has(field)
      if (quantity && isScalar(value) && isScalar(live[field]!)) {
        if (compareQuantities(value as string, live[field] as string) === 0) continue
        return [...path, field].join(".")
      }
      const found = compare(value, live[field], field, [...path, field])
      if (found !== null) return found
    }
    return null
  }
  // The server drops a zero where it means the same as absence.
  return wanted === live || (wanted === 0 && live === undefined) ? null : path.join(".")
}

function isScalar(value: Json | undefined): boolean {
  return typeof value === "string" || typeof value === "number"
}

function keyOf(name: string, items: readonly Json[]): string | null {
  const keys = LIST_KEYS[name] ?? []
  return (
    keys.find(key => items.length > 0 && items.every(item => isDict(item) && item[key] !== undefined)) ?? null
  )
}

/** Ports with one number and two protocols are two entries. */
function twins(a: Dict, b: Dict): boolean {
  return a["protocol"] === undefined || b["protocol"] === undefined || a["protocol"] === b["protocol"]
}

function surplus(wanted: KubeObject, live: KubeObject, manager: string, subresource?: string): string | null {
  for (const entry of live.metadata.managedFields ?? []) {
    if (entry.manager !== manager || entry.operation !== "Apply") continue
    if ((entry.subresource ?? "") !== (subresource ?? "")) continue
    const found = owned(entry.fieldsV1 ?? {}, wanted as unknown as Dict, [])
    if (found !== null) return found
  }
  return null
}

/** The first path in fieldsV1 that the wanted object does not have. */
function owned(fields: Dict, wanted: Json | undefined, path: string[]): string | null {
  for (const [entry, inner] of Object.entries(fields)) {
    if (entry === ".") continue
    const [mark, rest] = [entry.slice(0, 2), entry.slice(2)]
    let child: Json | undefined
    if (mark === "f:") child = isDict(wanted) ? wanted[rest] : undefined
    else if (mark === "k:") {
      const key = JSON.parse(rest) as Dict
      child = Array.isArray(wanted) ? wanted.find(item => isDict(item) && holds(item, key)) : undefined
    } else if (mark === "v:") {
      const value = JSON.parse(rest) as Json
      child = Array.isArray(wanted) ? wanted.find(item => item === value) : undefined
    } else continue
    const here = [...path, rest]
    if (child === undefined) return here.join(".")
    if (isDict(inner) && Object.keys(inner).length > 0) {
      const found = owned(inner, child, here)
      if (found !== null) return found
    }
  }
  return null
}

const KEY_DEFAULTS: Dict = { protocol: "TCP" }

function holds(item: Dict, key: Dict): boolean {
  return Object.entries(key).every(([name, value]) => (item[name] ?? KEY_DEFAULTS[name]) === value)
}

/** Leaves of `wanted` that differ from the live object and belong to another manager, by path. */
export function heldByOthers(wanted: KubeObject, live: KubeObject, manager: string): boolean {
  const mine = live.metadata.managedFields?.filter(entry => entry.manager === manager) ?? []
  const theirs = live.metadata.managedFields?.filter(entry => entry.manager !== manager) ?? []
  const differing = differences(wanted as unknown as Dict, live as unknown as Dict, [])
  return (
    differing.length > 0 &&
    differing.every(
      path =>
        theirs.some(entry => owns(entry.fieldsV1 ?? {}, path)) &&
        !mine.some(entry => owns(entry.fieldsV1 ?? {}, path)),
    )
  )
}

function differences(wanted: Dict, live: Dict, path: string[]): string[][] {
  const out: string[][] = []
  for (const [field, value] of Object.entries(wanted)) {
    if (path.length === 0 && IDENTITY.has(field)) continue
    const here = [...path, field]
    if (isDict(value)) {
      const inner = live[field]
      if (path.length === 0 && field === "metadata") {
        out.push(...differences(metadataOf(value), isDict(inner) ? inner : {}, here))
      } else if (isDict(inner)) out.push(...differences(value, inner, here))
      else if (Object.keys(value).length > 0) out.push(here)
    } else if (compare(value, live[field], field, here) !== null) out.push(here)
  }
  return out
}

function owns(fields: Dict, path: readonly string[]): boolean {
  let here: Json | undefined = fields
  for (const name of path) {
    if (!isDict(here)) return false
    const next: Json | undefined = here[`f:${name}`]
    if (next === undefined) return false
    if (isDict(next) && Object.keys(next).length === 0) return true
    here = next
  }
  return true
}
