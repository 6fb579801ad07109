// From zod to CustomResourceDefinition (operator.md §2.4). Walks what z.toJSONSchema printed, keeps what a
// structural schema may hold and throws on everything else; it never guesses and never repairs.

import { z } from "zod"
import { BROKER_ROOT_RULES, brokerSpec, brokerStatus } from "./broker.ts"
import { REALM_ROOT_RULES, realmSpec, realmStatus, scheduleSpec, scheduleStatus } from "./definitions.ts"
import type { Rule } from "./schema.ts"

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }
export interface SchemaProps {
  type?: string
  description?: string
  properties?: Record<string, SchemaProps>
  additionalProperties?: SchemaProps
  items?: SchemaProps
  required?: string[]
  default?: Json
  enum?: Json[]
  [key: string]: unknown
}

const KEPT = new Set([
  "type",
  "description",
  "format",
  "enum",
  "default",
  "pattern",
  "minLength",
  "maxLength",
  "minimum",
  "maximum",
  "minItems",
  "maxItems",
  "maxProperties",
  "properties",
  "additionalProperties",
  "items",
  "required",
  "x-kubernetes-validations",
  "x-kubernetes-list-type",
  "x-kubernetes-list-map-keys",
  "x-kubernetes-int-or-string",
  "x-kubernetes-preserve-unknown-fields",
  "x-fitz-absence",
])

const INT32_MAX = 2_147_483_647

/** The CRD form of a schema. Throws with the path of what cannot be one. */
export function openApi(schema: z.ZodType): SchemaProps {
  const printed = z.toJSONSchema(schema, { target: "openapi-3.0", io: "input", reused: "inline" })
  return convert(printed as Record<string, unknown>, "")
}

function convert(node: Record<string, unknown>, path: string): SchemaProps {
  const fail = (why: string): never => {
    throw new Error(`${path === "" ? "schema" : path}: ${why}`)
  }
  const out: SchemaProps = {}
  const source = { ...node }
  if (path === "") delete source["$schema"]
  if (source["additionalProperties"] === false && source["properties"] !== undefined)
    delete source["additionalProperties"]
  const extra = source["additionalProperties"]
  if (extra !== null && typeof extra === "object" && Object.keys(extra).length === 0) {
    // A loose object: its inside belongs to somebody else.
    delete source["additionalProperties"]
    if (Object.keys((source["properties"] as object | undefined) ?? {}).length > 0)
      fail("a loose object with fields of its own")
    delete source["properties"]
    source["x-kubernetes-preserve-unknown-fields"] = true
  }
  // z.record prints the schema of its keys; text keys need none.
  if (isTextSchema(source["propertyNames"])) delete source["propertyNames"]
  for (const key of Object.keys(source)) if (!KEPT.has(key)) fail(`${key} has no place in a CRD`)
  if (source["description"] === undefined && !path.endsWith("[]") && !path.endsWith("{}"))
    fail("has no description")
  if (
    source["type"] === undefined &&
    source["x-kubernetes-int-or-string"] !== true &&
    source["x-kubernetes-preserve-unknown-fields"] !== true
  )
    fail("an empty schema")
  const { type } = source
  if (type === "integer") {
    if (source["minimum"] === Number.MIN_SAFE_INTEGER) delete source["minimum"]
    if (source["maximum"] === Number.MAX_SAFE_INTEGER) delete source["maximum"]
    const most = source["maximum"]
    source["format"] = typeof most === "number" && most <= INT32_MAX ? "int32" : "int64"
  }
  if (type === "string" && source["enum"] === undefined && source["maxLength"] === undefined)
    fail("text without a bound")
  if (type === "array" && source["maxItems"] === undefined) fail("a list without a bound")
  if (
    extra !== undefined &&
    source["additionalProperties"] !== undefined &&
    source["maxProperties"] === undefined
  )
    fail("a map without a bound")
  const { pattern } = source
  if (typeof pattern === "string" && /\(\?[=!<]|\\[1-9]/.test(pattern)) fail("the server's patterns are RE2")
  const absence = source["x-fitz-absence"] === true
  delete source["x-fitz-absence"]
  for (const [key, value] of Object.entries(source)) out[key] = value
  if (source["properties"] !== undefined) {
    const required = new Set((source["required"] as string[] | undefined) ?? [])
    const properties: Record<string, SchemaProps> = {}
    for (const [name, child] of Object.entries(source["properties"] as Record<string, SchemaProps>)) {
      const inner = convert(child, path === "" ? name : `${path}.${name}`)
      const lacks = !required.has(name) && inner.default === undefined && holdsDefault(inner)
      if (lacks && child["x-fitz-absence"] !== true)
        throw new Error(`${path}.${name}: optional, but fields inside have defaults; use .prefault({})`)
      properties[name] = inner
    }
    out.properties = properties
    // The server judges a default by the rules before it fills in what is inside, so it has to be whole.
    if (out.default !== undefined) out.default = filled(out.default, out)
    if (out.required?.length === 0) delete out.required
  }
  if (absence && path !== "" && out.default !== undefined)
    fail("absence means something, yet there is a default")
  if (source["items"] !== undefined)
    out.items = convert(source["items"] as Record<string, unknown>, `${path}[]`)
  if (source["additionalProperties"] !== undefined)
    out.additionalProperties = convert(source["additionalProperties"] as Record<string, unknown>, `${path}{}`)
  return out
}

function filled(value: Json, schema: SchemaProps): Json {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value
  const out: Record<string, Json> = { ...(value as Record<string, Json>) }
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    const inner = out[name] ?? property.default
    if (inner !== undefined) out[name] = filled(inner, property)
  }
  return out
}

function isTextSchema(node: unknown): boolean {
  return node !== null && typeof node === "object" && (node as SchemaProps).type === "string"
}

function holdsDefault(node: SchemaProps): boolean {
  return Object.values(node.properties ?? {}).some(
    child => child.default !== undefined || holdsDefault(child),
  )
}

export interface Column {
  readonly name: string
  readonly type: "string" | "date" | "boolean"
  readonly jsonPath: string
  readonly priority?: number
  readonly description: string
}

export interface KindSpec {
  readonly kind: "FitzBroker" | "FitzRealm" | "FitzSchedule"
  readonly plural: string
  readonly singular: string
  readonly short: string
  readonly about: string
  readonly spec: z.ZodType
  readonly status: z.ZodType
  readonly rootRules: readonly Rule[]
  readonly scale: boolean
  readonly columns: readonly Column[]
}

const ready = (path: string) => `.status.conditions[?(@.type=="Ready")].${path}`
const READY: Column = {
  name: "Ready",
  type: "string",
  jsonPath: ready("status"),
  description: "Whether it is as it should be.",
}
const REASON: Column = { name: "Reason", type: "string", jsonPath: ready("reason"), description: "Why." }
const AGE: Column = {
  name: "Age",
  type: "date",
  jsonPath: ".metadata.creationTimestamp",
  description: "Time since its creation.",
}

export const GROUP = "fitz.dev"
export const VERSION = "v1alpha1"

export const KINDS: readonly KindSpec[] = [
  {
    kind: "FitzBroker",
    plural: "fitzbrokers",
    singular: "fitzbroker",
    short: "fb",
    about: "A message broker: one process with its volume, keys, address and monitoring.",
    spec: brokerSpec,
    status: brokerStatus,
    rootRules: BROKER_ROOT_RULES,
    scale: true,
    columns: [
      READY,
      REASON,
      { name: "Version", type: "string", jsonPath: ".status.version", description: "Version in use." },
      {
        name: "Storage",
        type: "string",
        jsonPath: ".status.storage.capacity",
        description: "Size of the volume.",
      },
      {
        name: "Realms",
        type: "string",
        jsonPath: ".status.topology.summary",
        description: "Ready and declared definitions.",
      },
      {
        name: "Endpoint",
        type: "string",
        jsonPath: ".status.endpoint.websocket",
        priority: 1,
        description: "Where programs connect.",
      },
      { name: "Image", type: "string", jsonPath: ".status.image", priority: 1, description: "Image in use." },
      {
        name: "Key-Since",
        type: "date",
        jsonPath: ".status.auth.activeSince",
        priority: 1,
        description: "Since when the active key signs.",
      },
      AGE,
    ],
  },
  {
    kind: "FitzRealm",
    plural: "fitzrealms",
    singular: "fitzrealm",
    short: "frealm",
    about: "A realm declared in a broker, with its limits.",
    spec: realmSpec,
    status: realmStatus,
    rootRules: REALM_ROOT_RULES,
    scale: false,
    columns: [
      { name: "Broker", type: "string", jsonPath: ".status.broker", description: "The broker." },
      { name: "Realm", type: "string", jsonPath: ".status.realm", description: "Name in the broker." },
      READY,
      REASON,
      AGE,
    ],
  },
  {
    kind: "FitzSchedule",
    plural: "fitzschedules",
    singular: "fitzschedule",
    short: "fsched",
    about: "A schedule declared in a broker.",
    spec: scheduleSpec,
    status: scheduleStatus,
    rootRules: [],
    scale: false,
    columns: [
      { name: "Broker", type: "string", jsonPath: ".status.broker", description: "The broker." },
      { name: "Route", type: "string", jsonPath: ".status.route", description: "Address in the broker." },
      { name: "Cron", type: "string", jsonPath: ".spec.cron", description: "When it runs, in UTC." },
      { name: "Enabled", type: "boolean", jsonPath: ".spec.enabled", description: "Whether it runs." },
      READY,
      REASON,
      AGE,
    ],
  },
]

/** The CustomResourceDefinition of a kind. */
export function crd(kind: KindSpec): Record<string, unknown> {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${kind.plural}.${GROUP}` },
    spec: {
      group: GROUP,
      scope: "Namespaced",
      names: {
        kind: kind.kind,
        listKind: `${kind.kind}List`,
        plural: kind.plural,
        singular: kind.singular,
        shortNames: [kind.short],
        categories: ["fitz"],
      },
      conversion: { strategy: "None" },
      versions: [
        {
          name: VERSION,
          served: true,
          storage: true,
          additionalPrinterColumns: kind.columns,
          subresources: {
            status: {},
            ...(kind.scale
              ? {
                  scale: {
                    specReplicasPath: ".spec.replicas",
                    statusReplicasPath: ".status.replicas",
                    labelSelectorPath: ".status.selector",
                  },
                }
              : {}),
          },
          schema: {
            openAPIV3Schema: {
              type: "object",
              description: kind.about,
              required: ["spec"],
              ...(kind.rootRules.length === 0
                ? {}
                : {
                    "x-kubernetes-validations": kind.rootRules.map(({ id, rule, message }) => ({
                      rule,
                      message: `${id}: ${message}`,
                    })),
                  }),
              properties: {
                apiVersion: { type: "string", description: "Version of the resource's shape." },
                kind: { type: "string", description: "Kind of the resource." },
                metadata: { type: "object" },
                spec: openApi(kind.spec),
                status: openApi(kind.status),
              },
            },
          },
        },
      ],
    },
  }
}
