// Every rule in CEL, judged by the real evaluator: one case accepted, one refused, and what may be set but not unset. The
// ids here are the ids in the schemas; a rule without its two cases fails the last test.

import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { KubeError } from "../../operator/cluster/api.ts"
import { crd, KINDS } from "../../operator/kinds/crd.ts"
import { FORBIDDEN_ENVIRONMENT } from "../../operator/kinds/environment.ts"
import type { KubeObject } from "../../operator/plan/object.ts"
import { newScenario, type Scenario } from "./kit/scenario.ts"

let scenario: Scenario
beforeAll(async () => {
  scenario = await newScenario()
})
afterAll(() => scenario?.end())

type Kind = "FitzBroker" | "FitzRealm" | "FitzSchedule"
type Dict = Record<string, unknown>

const ROUTE = { realm: "r", area: "a", resource: "s", operation: "o" }
const VALID: Readonly<Record<Kind, Dict>> = {
  FitzBroker: { storage: { size: "1Gi" } },
  FitzRealm: { brokerRef: { name: "main" } },
  FitzSchedule: { brokerRef: { name: "main" }, route: ROUTE, cron: "0 * * * *" },
}

function merge(base: Dict, change: Dict): Dict {
  const out: Dict = { ...base }
  for (const [key, value] of Object.entries(change)) {
    const old = out[key]
    const both = old !== null && typeof old === "object" && value !== null && typeof value === "object"
    if (value === undefined) delete out[key]
    else out[key] = both && !Array.isArray(value) ? merge(old as Dict, value as Dict) : value
  }
  return out
}

let count = 0
function object(kind: Kind, spec: Dict, name?: string): KubeObject {
  return {
    apiVersion: "fitz.dev/v1alpha1",
    kind,
    metadata: { name: name ?? `case-${++count}` },
    spec: merge(VALID[kind], spec),
  }
}

async function refusal(put: Promise<unknown>): Promise<string | null> {
  try {
    await put
    return null
  } catch (error) {
    if (error instanceof KubeError && error.status === 422) return error.message
    throw error
  }
}

interface OnCreate {
  readonly id: string
  readonly kind: Kind
  readonly accepted: Dict
  readonly refused: Dict
  readonly what?: string
  readonly acceptedName?: string
  readonly refusedName?: string
}
const s = (text: string, times: number): string => text.repeat(times)

const ON_CREATE: readonly OnCreate[] = [
  {
    id: "B-01",
    kind: "FitzBroker",
    accepted: {},
    refused: {},
    acceptedName: s("a", 52),
    refusedName: s("a", 53),
    what: "length",
  },
  {
    id: "B-01",
    kind: "FitzBroker",
    accepted: {},
    refused: {},
    acceptedName: "a-1",
    refusedName: "1-a",
    what: "first letter",
  },
  {
    id: "B-02",
    kind: "FitzBroker",
    accepted: { version: "1.0.0" },
    refused: { version: "1.0.0", image: "x/y:1" },
  },
  {
    id: "B-03",
    kind: "FitzBroker",
    accepted: { storage: { size: undefined, existingClaim: "c" } },
    refused: { storage: { size: undefined } },
  },
  {
    id: "B-04",
    kind: "FitzBroker",
    accepted: { storage: { size: "256Mi" } },
    refused: { storage: { size: "255Mi" } },
  },
  {
    id: "B-04",
    kind: "FitzBroker",
    accepted: { storage: { size: 300_000_000 } },
    refused: { storage: { size: "lots" } },
    what: "quantity",
  },
  {
    id: "B-08",
    kind: "FitzBroker",
    accepted: { storage: { existingClaim: "c" } },
    refused: { storage: { existingClaim: "c", storageClassName: "x" } },
  },
  {
    id: "B-09",
    kind: "FitzBroker",
    accepted: { resources: { requests: { cpu: "2" }, limits: { cpu: 2 } } },
    refused: { resources: { requests: { cpu: "3" }, limits: { cpu: 2 } } },
    what: "cpu",
  },
  {
    id: "B-09",
    kind: "FitzBroker",
    accepted: { resources: { requests: { memory: "2Gi" } } },
    refused: { resources: { requests: { memory: "3Gi" } } },
    what: "memory",
  },
  {
    id: "G-01",
    kind: "FitzBroker",
    accepted: { resources: { limits: { cpu: "2500m" } } },
    refused: { resources: { limits: { cpu: "many" } } },
  },
  {
    id: "B-10",
    kind: "FitzBroker",
    accepted: { auth: { maxTokenTTL: "1m" } },
    refused: { auth: { maxTokenTTL: "59s" } },
    what: "maxTokenTTL, lower",
  },
  {
    id: "B-10",
    kind: "FitzBroker",
    accepted: { auth: { maxTokenTTL: "100h" } },
    refused: { auth: { maxTokenTTL: "721h", rotation: { overlap: "800h" } } },
    what: "maxTokenTTL, upper",
  },
  {
    id: "B-10",
    kind: "FitzBroker",
    accepted: { topology: { resyncInterval: "10s" } },
    refused: { topology: { resyncInterval: "9s" } },
    what: "resyncInterval, lower",
  },
  {
    id: "B-10",
    kind: "FitzBroker",
    accepted: { topology: { resyncInterval: "1h" } },
    refused: { topology: { resyncInterval: "61m" } },
    what: "resyncInterval, upper",
  },
  {
    id: "B-11",
    kind: "FitzBroker",
    accepted: { auth: { maxTokenTTL: "72h", rotation: { overlap: "73h" } } },
    refused: { auth: { maxTokenTTL: "73h", rotation: { overlap: "73h" } } },
    what: "token life",
  },
  {
    id: "B-11",
    kind: "FitzBroker",
    accepted: { auth: { rotation: { overlap: "73h" } } },
    refused: { auth: { rotation: { overlap: "72h" } } },
    what: "least",
  },
  {
    id: "B-12",
    kind: "FitzBroker",
    accepted: { auth: { rotation: { overlap: "168h", interval: "192h" } } },
    refused: { auth: { rotation: { overlap: "168h", interval: "191h" } } },
  },
  {
    id: "B-13",
    kind: "FitzBroker",
    accepted: { topology: { allowedNamespaces: { from: "List", names: ["a"] } } },
    refused: { topology: { allowedNamespaces: { from: "List" } } },
    what: "names",
  },
  {
    id: "B-13",
    kind: "FitzBroker",
    accepted: { topology: { allowedNamespaces: { from: "Selector", selector: {} } } },
    refused: { topology: { allowedNamespaces: { from: "All", selector: {} } } },
    what: "selector",
  },
  {
    id: "B-14",
    kind: "FitzBroker",
    accepted: { service: { type: "NodePort", nodePort: 30_080 } },
    refused: { service: { nodePort: 30_080 } },
  },
  {
    id: "B-14",
    kind: "FitzBroker",
    accepted: { service: { type: "LoadBalancer", externalTrafficPolicy: "Local" } },
    refused: { service: { externalTrafficPolicy: "Local" } },
    what: "policy",
  },
  {
    id: "B-15",
    kind: "FitzBroker",
    accepted: { monitoring: { serviceMonitor: { interval: "10s" } } },
    refused: { monitoring: { serviceMonitor: { interval: "9s" } } },
  },
  {
    id: "B-16",
    kind: "FitzBroker",
    accepted: { pod: { labels: { team: "x" } } },
    refused: { pod: { labels: { "fitz.dev/x": "y" } } },
    what: "labels",
  },
  {
    id: "B-16",
    kind: "FitzBroker",
    accepted: { pod: { annotations: { note: "x" } } },
    refused: { pod: { annotations: { "app.kubernetes.io/name": "y" } } },
    what: "annotations",
  },
  {
    id: "B-17",
    kind: "FitzBroker",
    accepted: { pod: { extraEnv: [{ name: "FITZ_MAX_PARKED", value: "9" }] } },
    refused: { pod: { extraEnv: [{ name: "FITZ_PROBE_AUTH", value: "true" }] } },
  },
  { id: "R-03", kind: "FitzRealm", accepted: { name: "..." }, refused: { name: ".." } },
  {
    id: "R-03",
    kind: "FitzSchedule",
    accepted: { route: { area: "a.b" } },
    refused: { route: { area: "." } },
  },
  {
    id: "R-04",
    kind: "FitzRealm",
    accepted: { name: "short" },
    refused: {},
    acceptedName: s("a", 129),
    refusedName: s("b", 129),
  },
  {
    id: "S-04",
    kind: "FitzSchedule",
    accepted: { payload: { text: "x" } },
    refused: { payload: { text: "x", base64: "eA==" } },
  },
  {
    id: "S-05",
    kind: "FitzSchedule",
    accepted: { payload: { base64: "eA==" } },
    refused: { payload: { base64: "eA=" } },
    what: "length",
  },
  {
    id: "S-05",
    kind: "FitzSchedule",
    accepted: { payload: { base64: "" } },
    refused: { payload: { base64: "e-==" } },
    what: "alphabet",
  },
]

interface OnUpdate {
  readonly id: string
  readonly kind: Kind
  readonly before: Dict
  readonly accepted: Dict
  readonly refused: Dict
  readonly what?: string
}
const ON_UPDATE: readonly OnUpdate[] = [
  {
    id: "B-05",
    kind: "FitzBroker",
    before: { storage: { storageClassName: "a" } },
    accepted: { storage: { storageClassName: "a", size: "2Gi" } },
    refused: { storage: { storageClassName: "b" } },
  },
  {
    id: "B-05",
    kind: "FitzBroker",
    before: { storage: { storageClassName: "a" } },
    accepted: { storage: { existingClaim: "c" } },
    refused: {},
    what: "unset",
  },
  {
    id: "B-06",
    kind: "FitzBroker",
    before: {},
    accepted: { storage: { size: "2Gi" } },
    refused: { storage: { accessMode: "ReadWriteOnce" } },
  },
  {
    id: "B-07",
    kind: "FitzBroker",
    before: { storage: { existingClaim: "c" } },
    accepted: { storage: { existingClaim: "c", size: "2Gi" } },
    refused: { storage: { existingClaim: "d" } },
  },
  {
    id: "B-07",
    kind: "FitzBroker",
    before: { storage: { existingClaim: "c" } },
    accepted: { storage: { existingClaim: "c" } },
    refused: {},
    what: "unset",
  },
  {
    id: "R-01",
    kind: "FitzRealm",
    before: {},
    accepted: { displayName: "x" },
    refused: { brokerRef: { name: "other" } },
  },
  {
    id: "R-01",
    kind: "FitzRealm",
    before: { brokerRef: { namespace: "n" } },
    accepted: { brokerRef: { namespace: "n" } },
    refused: {},
    what: "unset",
  },
  {
    id: "R-02",
    kind: "FitzRealm",
    before: { name: "a" },
    accepted: { name: "a", displayName: "x" },
    refused: { name: "b" },
  },
  {
    id: "R-02",
    kind: "FitzRealm",
    before: { name: "a" },
    accepted: { name: "a" },
    refused: {},
    what: "unset",
  },
  { id: "R-02", kind: "FitzRealm", before: {}, accepted: {}, refused: { name: "a" }, what: "set later" },
  {
    id: "S-01",
    kind: "FitzSchedule",
    before: {},
    accepted: { enabled: false },
    refused: { brokerRef: { name: "other" } },
  },
  {
    id: "S-02",
    kind: "FitzSchedule",
    before: { family: 2 },
    accepted: { family: 2 },
    refused: { family: 3 },
  },
  {
    id: "S-02",
    kind: "FitzSchedule",
    before: { family: 2 },
    accepted: { family: 2 },
    refused: {},
    what: "unset",
  },
  {
    id: "S-03",
    kind: "FitzSchedule",
    before: {},
    accepted: { cron: "1 * * * *" },
    refused: { route: { operation: "p" } },
  },
]

const title = ({ id, kind, what }: { id: string; kind: string; what?: string }): string =>
  `${id} on ${kind}${what === undefined ? "" : `: ${what}`}`

describe("X-09: rules at creation", () => {
  for (const one of ON_CREATE)
    test(title(one), async () => {
      const refused = await refusal(scenario.put(object(one.kind, one.refused, one.refusedName)))
      expect(refused).toContain(`${one.id}: `)
      expect(await refusal(scenario.put(object(one.kind, one.accepted, one.acceptedName)))).toBeNull()
    })
  test("B-17 names every variable that the operator sets", async () => {
    for (const name of FORBIDDEN_ENVIRONMENT) {
      const put = scenario.put(object("FitzBroker", { pod: { extraEnv: [{ name, value: "x" }] } }))
      expect(await refusal(put), name).toContain("B-17: ")
    }
  })
})

describe("X-09: rules at change", () => {
  for (const one of ON_UPDATE)
    test(title(one), async () => {
      const name = `change-${++count}`
      await scenario.put(object(one.kind, one.before, name))
      expect(await refusal(scenario.put(object(one.kind, one.refused, name)))).toContain(`${one.id}: `)
      expect(await refusal(scenario.put(object(one.kind, one.accepted, name)))).toBeNull()
    })
})

describe("bounds of the schema", () => {
  const cases: readonly (readonly [string, Kind, Dict])[] = [
    ["replicas above 1", "FitzBroker", { replicas: 2 }],
    ["a duration with fractions", "FitzBroker", { auth: { maxTokenTTL: "1.5h" } }],
    ["a family of 0", "FitzBroker", { auth: { identities: [{ name: "a", family: 0 }] } }],
    ["an existingSecret without a type", "FitzBroker", { auth: { existingSecret: { name: "a", key: "b" } } }],
    ["a realm with a slash", "FitzRealm", { name: "a/b" }],
    ["a realm with a star", "FitzRealm", { name: "a*" }],
    ["a realm with a control character", "FitzRealm", { name: "a\u0001" }],
    ["a limit of 0", "FitzRealm", { limits: { maxSessions: 0 } }],
    ["a cron of four fields", "FitzSchedule", { cron: "0 * * *" }],
    ["a cron with names", "FitzSchedule", { cron: "0 0 * * MON" }],
  ]
  for (const [what, kind, spec] of cases)
    test(`${what} is refused`, async () => {
      expect(await refusal(scenario.put(object(kind, spec)))).not.toBeNull()
    })
  test("two identities of one name are refused", async () => {
    const identities = [
      { name: "a", family: 1 },
      { name: "a", family: 2 },
    ]
    await expect(scenario.put(object("FitzBroker", { auth: { identities } }))).rejects.toThrow(/duplicate/)
  })
  test("an unknown field is refused by strict validation", async () => {
    await expect(scenario.put(object("FitzBroker", { storag: {} }))).rejects.toThrow(/storag/)
  })
})

test("every rule in the CRDs has its cases here", () => {
  const ids = new Set<string>()
  for (const kind of KINDS)
    for (const [, id] of JSON.stringify(crd(kind)).matchAll(/"message":"([A-Z]-[0-9]+): /g)) ids.add(id!)
  const covered = new Set([...ON_CREATE, ...ON_UPDATE].map(({ id }) => id))
  expect([...ids].filter(id => !covered.has(id))).toEqual([])
  expect(ids.size).toBeGreaterThan(25)
})
