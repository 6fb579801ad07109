// Kubernetes objects as raw JSON, and what every child of a broker shares: names, labels, owner.
// Objects are read as they came and never rebuilt, so that fields of others survive.

import type { Dict } from "./values.ts"

export interface OwnerReference {
  readonly apiVersion: string
  readonly kind: string
  readonly name: string
  readonly uid: string
  readonly controller?: boolean
  readonly blockOwnerDeletion?: boolean
}

export interface ManagedFields {
  readonly manager: string
  readonly operation: string
  readonly subresource?: string
  readonly fieldsV1?: Dict
}

export interface Metadata {
  readonly name: string
  readonly namespace?: string
  readonly uid?: string
  readonly resourceVersion?: string
  readonly generation?: number
  readonly creationTimestamp?: string
  readonly deletionTimestamp?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  readonly finalizers?: readonly string[]
  readonly ownerReferences?: readonly OwnerReference[]
  readonly managedFields?: readonly ManagedFields[]
}

export interface KubeObject {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: Metadata
  readonly [field: string]: unknown
}

/** A field somewhere inside, or undefined. */
export function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  let here: unknown = value
  for (const key of path) {
    if (here === null || typeof here !== "object") return undefined
    here = (here as Record<string | number, unknown>)[key]
  }
  return here
}

export function textAt(value: unknown, ...path: readonly (string | number)[]): string | null {
  const found = at(value, ...path)
  return typeof found === "string" ? found : null
}

export function numberAt(value: unknown, ...path: readonly (string | number)[]): number | null {
  const found = at(value, ...path)
  return typeof found === "number" ? found : null
}

export function listAt(value: unknown, ...path: readonly (string | number)[]): readonly unknown[] {
  const found = at(value, ...path)
  return Array.isArray(found) ? found : []
}

export const MANAGER = "fitz-operator"
export const TOPOLOGY_MANAGER = "fitz-operator-topology"
export const FINALIZER = "fitz.dev/definition"

export const BROKER_LABEL = "fitz.dev/broker"
export const UID_LABEL = "fitz.dev/broker-uid"
export const NAME_LABEL = "app.kubernetes.io/name"
export const MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
export const APP = "fitz-broker"

export interface Kind {
  readonly group: string
  readonly version: string
  readonly kind: string
  readonly plural: string
  readonly namespaced: boolean
}

const kind = (group: string, version: string, name: string, plural: string, namespaced = true): Kind => ({
  group,
  version,
  kind: name,
  plural,
  namespaced,
})

/** Every kind the operator touches, by the word that code uses for it. */
export const KIND = {
  broker: kind("fitz.dev", "v1alpha1", "FitzBroker", "fitzbrokers"),
  realm: kind("fitz.dev", "v1alpha1", "FitzRealm", "fitzrealms"),
  schedule: kind("fitz.dev", "v1alpha1", "FitzSchedule", "fitzschedules"),
  serviceAccount: kind("", "v1", "ServiceAccount", "serviceaccounts"),
  secret: kind("", "v1", "Secret", "secrets"),
  configMap: kind("", "v1", "ConfigMap", "configmaps"),
  claim: kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
  service: kind("", "v1", "Service", "services"),
  pod: kind("", "v1", "Pod", "pods"),
  namespace: kind("", "v1", "Namespace", "namespaces", false),
  networkPolicy: kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
  statefulSet: kind("apps", "v1", "StatefulSet", "statefulsets"),
  disruptionBudget: kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
  serviceMonitor: kind("monitoring.coreos.com", "v1", "ServiceMonitor", "servicemonitors"),
  prometheusRule: kind("monitoring.coreos.com", "v1", "PrometheusRule", "prometheusrules"),
  storageClass: kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", false),
  lease: kind("coordination.k8s.io", "v1", "Lease", "leases"),
  event: kind("events.k8s.io", "v1", "Event", "events"),
} as const
export type KindName = keyof typeof KIND

export function apiVersion({ group, version }: Kind): string {
  return group === "" ? version : `${group}/${version}`
}

export function controllerUid(object: KubeObject): string | null {
  return object.metadata.ownerReferences?.find(owner => owner.controller === true)?.uid ?? null
}

export interface Ref {
  readonly kind: KindName
  readonly namespace: string
  readonly name: string
}
