// The pod of a broker and the StatefulSet around it (operator.md §4.2–§4.4), and the decision which template and which
// image apply when the operator itself has changed (§5.4). Pure; a stored template wins word for word.

import { type BrokerSpec, brokerSpec } from "../kinds/broker.ts"
import { openApi, type SchemaProps } from "../kinds/crd.ts"
import type { BrokerVariable } from "../kinds/environment.ts"
import { child, labelsOf, NAMES, type Owner, PORT, selectorOf } from "./children.ts"
import { at, type KubeObject, textAt } from "./object.ts"
import type { Settings } from "./types.ts"
import { canonical, type Dict, digest, isDict, type Json, quantityBytes, same } from "./values.ts"

export const INPUTS_HASH = "fitz.dev/inputs-hash"
export const IMAGE_SOURCE = "fitz.dev/image-source"
export const APPLIED_TEMPLATE = "fitz.dev/applied-template"
export const RESTART = "fitz.dev/restart"

const MIB = 1024 * 1024
const HEAP_SHARE = 0.75
const USER = 10_001
/** What a pod gets beyond its drain to finish commits and checkpoint the log. */
const GRACE_SECONDS = 50

const KEYS = "/etc/fitz/keys"
const CONFIG = "/etc/fitz/config"
const DATA = "/var/lib/fitz"

/** The environment of the broker, in the order of the table. */
export function environment(owner: Owner, spec: BrokerSpec): { name: BrokerVariable; value: string }[] {
  const { auth, resources, shutdown, topology, websocket } = spec
  const existing = auth.existingSecret
  const heapMiB = Math.floor((quantityBytes(resources.limits.memory) * HEAP_SHARE) / MIB)
  const table: (readonly [BrokerVariable, string | null])[] = [
    ["FITZ_HTTP_PORT", String(PORT)],
    ["FITZ_BIND_ADDR", "0.0.0.0"],
    ["FITZ_STORAGE_MODE", "local"],
    ["FITZ_STORAGE_PATH", DATA],
    ["FITZ_LOG_LEVEL", spec.logLevel],
    ["FITZ_AUTH_REQUIRED", String(auth.clients === "Required")],
    ["FITZ_JWT_AUDIENCE", auth.audience],
    ["FITZ_JWT_IDENTITY_CLAIM", auth.identityClaim],
    ["FITZ_BROKER_UID", owner.uid],
    ["FITZ_JWT_JWKS_FILE", `${KEYS}/generated/jwks.json`],
    ["FITZ_JWT_HMAC_SECRET_FILE", existing?.type === "HS256" ? `${KEYS}/clients/secret` : null],
    ["FITZ_JWT_CLIENT_JWKS_FILE", existing?.type === "JWKS" ? `${KEYS}/clients/jwks.json` : null],
    ["FITZ_JWT_CLIENT_ALLOW_ADMIN", existing === undefined ? null : String(existing.allowAdmin)],
    ["FITZ_API_KEYS_FILE", auth.apiKeysSecret === undefined ? null : `${KEYS}/apikeys/keys.json`],
    // The map alone says which families there are, so that identities can change without a restart.
    ["FITZ_ROUTE_FAMILIES", auth.identities.length === 0 ? null : "*"],
    ["FITZ_ROUTE_FAMILY_MAP_FILE", auth.identities.length === 0 ? null : `${CONFIG}/families.json`],
    ["FITZ_METRICS_PERMISSION", "metrics:read"],
    ["FITZ_ADMIN_AUTH_MODE", "required"],
    ["FITZ_REALMS_DECLARED_ONLY", topology.declaredRealmsOnly ? "true" : "false"],
    [
      "FITZ_WS_ALLOWED_ORIGINS",
      websocket.allowedOrigins.length === 0 ? null : websocket.allowedOrigins.join(","),
    ],
    ["FITZ_DRAIN_SECONDS", String(shutdown.drainSeconds)],
    ["NODE_OPTIONS", heapMiB > 0 ? `--max-old-space-size=${heapMiB}` : null],
  ]
  return table.flatMap(([name, value]) => (value === null ? [] : [{ name, value }]))
}

const probe = (path: string, delay: number, period: number, timeout: number, failures: number) => ({
  httpGet: { path, port: "http", scheme: "HTTP" },
  // The server drops a zero, which would look like a difference for ever.
  ...(delay === 0 ? {} : { initialDelaySeconds: delay }),
  periodSeconds: period,
  timeoutSeconds: timeout,
  failureThreshold: failures,
})

/** The pod template as this operator renders it. */
export function podTemplate(owner: Owner, spec: BrokerSpec, image: string, restart: string | null): Dict {
  const { pod, auth, storage, shutdown, startupTimeoutSeconds } = spec
  const existing = auth.existingSecret
  const apiKeys = auth.apiKeysSecret
  const sources = [
    {
      secret: { name: NAMES.keySet(owner.name), items: [{ key: "jwks.json", path: "generated/jwks.json" }] },
    },
    ...(existing === undefined
      ? []
      : [
          {
            secret: {
              name: existing.name,
              items: [
                {
                  key: existing.key,
                  path: existing.type === "HS256" ? "clients/secret" : "clients/jwks.json",
                },
              ],
            },
          },
        ]),
    ...(apiKeys === undefined
      ? []
      : [{ secret: { name: apiKeys.name, items: [{ key: apiKeys.key, path: "apikeys/keys.json" }] } }]),
  ]
  const annotations = { ...pod.annotations, ...(restart === null ? {} : { [RESTART]: restart }) }
  const template = {
    metadata: {
      labels: { ...pod.labels, ...labelsOf(owner.name) },
      ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    },
    spec: {
      serviceAccountName: owner.name,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: shutdown.drainSeconds + GRACE_SECONDS,
      ...(spec.imagePullSecrets.length === 0 ? {} : { imagePullSecrets: spec.imagePullSecrets }),
      ...(Object.keys(pod.nodeSelector).length === 0 ? {} : { nodeSelector: pod.nodeSelector }),
      ...(pod.tolerations.length === 0 ? {} : { tolerations: pod.tolerations }),
      ...(pod.affinity === undefined ? {} : { affinity: pod.affinity }),
      ...(pod.priorityClassName === undefined ? {} : { priorityClassName: pod.priorityClassName }),
      securityContext: {
        runAsNonRoot: true,
        ...(pod.userPolicy === "Platform"
          ? {}
          : { runAsUser: USER, runAsGroup: USER, fsGroup: USER, fsGroupChangePolicy: "OnRootMismatch" }),
        seccompProfile: { type: "RuntimeDefault" },
      },
      containers: [
        {
          name: "broker",
          image,
          imagePullPolicy: spec.imagePullPolicy,
          ports: [{ name: "http", containerPort: PORT, protocol: "TCP" }],
          env: [...environment(owner, spec), ...pod.extraEnv],
          resources: spec.resources,
          securityContext: {
            allowPrivilegeEscalation: false,
            capabilities: { drop: ["ALL"] },
            readOnlyRootFilesystem: true,
          },
          startupProbe: probe("/startupz", 0, 2, 1, Math.max(30, Math.ceil(startupTimeoutSeconds / 2))),
          livenessProbe: probe("/healthz", 10, 10, 2, 3),
          readinessProbe: probe("/readyz", 5, 5, 2, 2),
          volumeMounts: [
            { name: "data", mountPath: DATA },
            { name: "keys", mountPath: KEYS, readOnly: true },
            { name: "config", mountPath: CONFIG, readOnly: true },
            { name: "tmp", mountPath: "/tmp" },
          ],
        },
      ],
      volumes: [
        {
          name: "data",
          persistentVolumeClaim: { claimName: storage.existingClaim ?? NAMES.claim(owner.name) },
        },
        { name: "keys", projected: { sources } },
        { name: "config", configMap: { name: NAMES.config(owner.name) } },
        { name: "tmp", emptyDir: { sizeLimit: "64Mi" } },
      ],
    },
  }
  return JSON.parse(JSON.stringify(template)) as Dict
}

const SPEC_SCHEMA = openApi(brokerSpec)

/** The value without everything that equals its default: a field that a new operator adds changes nothing. */
export function withoutDefaults(value: Json, schema: SchemaProps): Json | undefined {
  if (isDict(value) && schema.properties !== undefined) {
    const out: Dict = {}
    for (const [name, inner] of Object.entries(value)) {
      const property = schema.properties[name]
      const kept = property === undefined ? inner : withoutDefaults(inner, property)
      if (kept !== undefined) out[name] = kept
    }
    const empty = Object.keys(out).length === 0
    return empty && schema.default !== undefined ? undefined : out
  }
  if (schema.default !== undefined && same(value, schema.default)) return undefined
  return value
}

/** The hash of the fields that feed the template, without defaults, and the restart token. */
export function inputsHash(spec: BrokerSpec, restart: string | null): string {
  const plain = withoutDefaults(JSON.parse(JSON.stringify(spec)) as Json, SPEC_SCHEMA) as Dict
  const part = (group: string, fields: readonly string[]): Dict => {
    const source = isDict(plain[group]) ? plain[group] : {}
    return Object.fromEntries(
      fields.flatMap(field => (source[field] === undefined ? [] : [[field, source[field]]])),
    )
  }
  const inputs = {
    ...Object.fromEntries(
      [
        "imagePullPolicy",
        "imagePullSecrets",
        "logLevel",
        "resources",
        "websocket",
        "shutdown",
        "startupTimeoutSeconds",
        "pod",
      ].flatMap(field => (plain[field] === undefined ? [] : [[field, plain[field]]])),
    ),
    auth: part("auth", ["clients", "existingSecret", "audience", "identityClaim", "apiKeysSecret"]),
    families: spec.auth.identities.length > 0,
    topology: part("topology", ["declaredRealmsOnly"]),
    claim: spec.storage.existingClaim ?? null,
    restart,
  }
  return digest(canonical(inputs))
}

export interface Rendered {
  readonly object: KubeObject
  readonly image: string
  /** What this operator would do differently, and does not. */
  readonly held: "TemplateChanged" | "DefaultImageChanged" | null
}

function withImage(template: Dict, image: string): Dict {
  const copy = JSON.parse(JSON.stringify(template)) as Dict
  const containers = (copy["spec"] as Dict)["containers"] as Dict[]
  for (const container of containers) if (container["name"] === "broker") container["image"] = image
  return copy
}

export function imageOf(object: unknown): string | null {
  const containers = at(object, "spec", "template", "spec", "containers")
  if (!Array.isArray(containers)) return null
  return textAt(
    containers.find(container => at(container, "name") === "broker"),
    "image",
  )
}

/** The StatefulSet as it should be now, given the one that is there. */
export function statefulSet(
  owner: Owner,
  spec: BrokerSpec,
  settings: Settings,
  restart: string | null,
  live: KubeObject | null,
): Rendered {
  const annotations = live?.metadata.annotations ?? {}
  const automatic = spec.upgrade.operatorChanges === "Automatic"

  const wantedImage = spec.image ?? `${settings.brokerRepository}:${spec.version ?? settings.defaultVersion}`
  const source = digest(canonical({ image: spec.image ?? null, version: spec.version ?? null }))
  const liveImage = imageOf(live)
  const keepImage = liveImage !== null && annotations[IMAGE_SOURCE] === source && !automatic
  const image = keepImage ? liveImage : wantedImage

  const rendered = podTemplate(owner, spec, image, restart)
  const hash = inputsHash(spec, restart)
  const stored = storedTemplate(annotations[APPLIED_TEMPLATE])
  const keepTemplate = stored !== null && annotations[INPUTS_HASH] === hash && !automatic
  const template = keepTemplate ? withImage(stored, image) : rendered
  const held =
    keepTemplate && !same(template, rendered)
      ? "TemplateChanged"
      : keepImage && liveImage !== wantedImage
        ? "DefaultImageChanged"
        : null
  return {
    image,
    held,
    object: child(
      "statefulSet",
      owner,
      owner.name,
      {
        spec: {
          replicas: spec.replicas,
          serviceName: NAMES.headless(owner.name),
          podManagementPolicy: "OrderedReady",
          updateStrategy: { type: "RollingUpdate" },
          revisionHistoryLimit: 3,
          selector: { matchLabels: selectorOf(owner.name) },
          template,
        },
      },
      {
        annotations: {
          [INPUTS_HASH]: hash,
          [IMAGE_SOURCE]: source,
          [APPLIED_TEMPLATE]: canonical(template),
        },
      },
    ),
  }
}

/** The template that was applied last; null where the annotation was lost or spoilt. */
function storedTemplate(text: string | undefined): Dict | null {
  if (text === undefined) return null
  try {
    const parsed: unknown = JSON.parse(text)
    return isDict(parsed) && Array.isArray(at(parsed, "spec", "containers")) ? parsed : null
  } catch {
    // Somebody edited it: rendering anew is what its loss means.
    return null
  }
}
