// The children of a broker as they should be (operator.md §4). Renders objects from the spec alone; what exists, who
// owns it and whether it is written is decided elsewhere.

import type { BrokerSpec } from "../kinds/broker.ts"
import {
  APP,
  apiVersion,
  BROKER_LABEL,
  KIND,
  type KindName,
  type KubeObject,
  MANAGED_BY_LABEL,
  NAME_LABEL,
  type OwnerReference,
  UID_LABEL,
} from "./object.ts"
import type { Settings } from "./types.ts"
import { canonical } from "./values.ts"

export const PORT = 8080

/** The broker a child belongs to. */
export interface Owner {
  readonly name: string
  readonly namespace: string
  readonly uid: string
}

export function labelsOf(broker: string): Record<string, string> {
  return {
    [NAME_LABEL]: APP,
    "app.kubernetes.io/component": "broker",
    "app.kubernetes.io/part-of": "fitz",
    [MANAGED_BY_LABEL]: "fitz-operator",
    [BROKER_LABEL]: broker,
  }
}

export function selectorOf(broker: string): Record<string, string> {
  return { [NAME_LABEL]: APP, [BROKER_LABEL]: broker }
}

export function ownerReference({ name, uid }: Owner): OwnerReference {
  return {
    apiVersion: apiVersion(KIND.broker),
    kind: KIND.broker.kind,
    name,
    uid,
    controller: true,
    blockOwnerDeletion: true,
  }
}

export const NAMES = {
  signing: (broker: string) => `${broker}-signing-keys`,
  keySet: (broker: string) => `${broker}-jwks`,
  metricsToken: (broker: string) => `${broker}-metrics-token`,
  config: (broker: string) => `${broker}-config`,
  claim: (broker: string) => `data-${broker}-0`,
  headless: (broker: string) => `${broker}-headless`,
  dashboard: (broker: string) => `${broker}-dashboard`,
  pod: (broker: string) => `${broker}-0`,
} as const

/** A child with the labels and the owner that all of them have. */
export function child(
  kind: KindName,
  owner: Owner,
  name: string,
  content: Record<string, unknown>,
  extra: { labels?: Record<string, string>; annotations?: Record<string, string>; owned?: boolean } = {},
): KubeObject {
  const { labels = {}, annotations, owned = true } = extra
  return {
    apiVersion: apiVersion(KIND[kind]),
    kind: KIND[kind].kind,
    metadata: {
      name,
      namespace: owner.namespace,
      labels: { ...labels, ...labelsOf(owner.name) },
      ...(annotations === undefined || Object.keys(annotations).length === 0 ? {} : { annotations }),
      ...(owned ? { ownerReferences: [ownerReference(owner)] } : {}),
    },
    ...content,
  }
}

export function serviceAccount(owner: Owner): KubeObject {
  return child("serviceAccount", owner, owner.name, { automountServiceAccountToken: false })
}

/** Families by identity, sorted, so that the same spec prints the same file. */
export function config(owner: Owner, spec: BrokerSpec): KubeObject {
  const families = Object.fromEntries(spec.auth.identities.map(({ name, family }) => [name, family]))
  return child("configMap", owner, NAMES.config(owner.name), {
    data: { "families.json": `${canonical(families)}\n` },
  })
}

/** Our own claim. The size is decided by the volume's table, not here. */
export function claim(owner: Owner, spec: BrokerSpec, size: string | number): KubeObject {
  const { accessMode, storageClassName, reclaimPolicy } = spec.storage
  return child(
    "claim",
    owner,
    NAMES.claim(owner.name),
    {
      spec: {
        accessModes: [accessMode],
        volumeMode: "Filesystem",
        resources: { requests: { storage: size } },
        ...(storageClassName === undefined ? {} : { storageClassName }),
      },
    },
    { labels: { [UID_LABEL]: owner.uid }, owned: reclaimPolicy === "Delete" },
  )
}

/** A claim of the user's: only its size is ever asked for. */
export function growth(owner: Owner, name: string, size: string | number): KubeObject {
  return {
    apiVersion: "v1",
    kind: KIND.claim.kind,
    metadata: { name, namespace: owner.namespace },
    spec: { resources: { requests: { storage: size } } },
  }
}

const servicePort = (port: number) => ({ name: "http", protocol: "TCP", port, targetPort: "http" })

export function headless(owner: Owner): KubeObject {
  return child(
    "service",
    owner,
    NAMES.headless(owner.name),
    {
      spec: {
        type: "ClusterIP",
        clusterIP: "None",
        publishNotReadyAddresses: true,
        selector: selectorOf(owner.name),
        ports: [servicePort(PORT)],
      },
    },
    { labels: { "fitz.dev/service": "headless" } },
  )
}

export function service(owner: Owner, spec: BrokerSpec): KubeObject {
  const { type, port, nodePort, externalTrafficPolicy, annotations } = spec.service
  return child(
    "service",
    owner,
    owner.name,
    {
      spec: {
        type,
        selector: selectorOf(owner.name),
        ports: [{ ...servicePort(port), ...(nodePort === undefined ? {} : { nodePort }) }],
        ...(externalTrafficPolicy === undefined ? {} : { externalTrafficPolicy }),
      },
    },
    { annotations },
  )
}

export function networkPolicy(
  owner: Owner,
  spec: BrokerSpec,
  settings: Settings,
  monitored: boolean,
): KubeObject {
  const { ingressFrom } = spec.networkPolicy
  const ports = [{ port: PORT, protocol: "TCP" }]
  const from = [
    ...ingressFrom,
    {
      namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": settings.operatorNamespace } },
      podSelector: { matchLabels: { [NAME_LABEL]: "fitz-operator" } },
    },
    ...(monitored
      ? [{ namespaceSelector: {}, podSelector: { matchLabels: { [NAME_LABEL]: "prometheus" } } }]
      : []),
  ]
  return child("networkPolicy", owner, owner.name, {
    spec: {
      podSelector: { matchLabels: selectorOf(owner.name) },
      // Named without a list: the broker needs no way out.
      policyTypes: ["Ingress", "Egress"],
      ingress: [ingressFrom.length === 0 ? { ports } : { from, ports }],
    },
  })
}

export function disruptionBudget(owner: Owner, spec: BrokerSpec): KubeObject {
  return child("disruptionBudget", owner, owner.name, {
    spec: {
      selector: { matchLabels: selectorOf(owner.name) },
      maxUnavailable: spec.disruption.mode === "Protect" ? 0 : 1,
      unhealthyPodEvictionPolicy: "AlwaysAllow",
    },
  })
}
