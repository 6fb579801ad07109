// The tables of operator.md §5.4–§5.6 row by row, on values: volumes, stuck pods, templates and images, and that a plan applied
// to its own world leaves nothing to do.

import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { brokerSpec } from "../../../operator/kinds/broker.ts"
import { planBroker } from "../../../operator/plan/broker.ts"
import type { Owner } from "../../../operator/plan/children.ts"
import { difference } from "../../../operator/plan/difference.ts"
import type { KubeObject } from "../../../operator/plan/object.ts"
import { MANAGER } from "../../../operator/plan/object.ts"
import { stuck } from "../../../operator/plan/pods.ts"
import { inputsHash, podTemplate, statefulSet } from "../../../operator/plan/template.ts"
import type { BrokerObserved, Children, PodFacts, Settings } from "../../../operator/plan/types.ts"
import {
  canonical,
  compareQuantities,
  durationMs,
  microTimeOf,
  quantityBytes,
} from "../../../operator/plan/values.ts"
import { decideVolume } from "../../../operator/plan/volume.ts"

const NOW = Date.parse("2026-11-01T12:00:00Z")
const OWNER: Owner = { name: "main", namespace: "orders", uid: "uid-1" }
const SETTINGS: Settings = {
  brokerRepository: "r/b",
  defaultVersion: "1.0.0",
  operatorNamespace: "fitz-system",
  clusterReads: true,
}
const spec = (change: Record<string, unknown> = {}) =>
  brokerSpec.parse({ storage: { size: "1Gi" }, ...change })

const pod = (change: Partial<PodFacts> = {}): PodFacts => ({
  name: "main-0",
  uid: "pod-1",
  revision: "r1",
  ready: true,
  notReadySince: NOW - 1_000,
  createdAt: NOW - 600_000,
  startedAt: NOW - 600_000,
  deletedAt: null,
  waiting: null,
  waitingMessage: "",
  unschedulableSince: null,
  unschedulableMessage: "",
  restarts: 0,
  incarnation: "pod-1/0",
  ...change,
})

function claim(requested: string, capacity: string | null, conditions: unknown[] = []): KubeObject {
  return {
    apiVersion: "v1",
    kind: "PersistentVolumeClaim",
    metadata: { name: "data-main-0", labels: { "fitz.dev/broker-uid": OWNER.uid } },
    spec: { resources: { requests: { storage: requested } } },
    status:
      capacity === null
        ? { phase: "Pending" }
        : { phase: "Bound", capacity: { storage: capacity }, conditions },
  }
}

describe("§5.6: growing the volume", () => {
  const decide = (
    wanted: string,
    live: KubeObject | null,
    change: Partial<Parameters<typeof decideVolume>[2]> = {},
  ) => decideVolume(wanted, live, { existing: false, classExpands: true, pod: pod(), now: NOW, ...change })
  const pending = (ago: number) => [
    {
      type: "FileSystemResizePending",
      status: "True",
      lastTransitionTime: new Date(NOW - ago).toISOString(),
    },
  ]
  test("no claim: created with the wanted size", () =>
    expect(decide("2Gi", null)).toMatchObject({ request: "2Gi", storage: "Provisioning" }))
  test("unbound: a wish for another size waits", () =>
    expect(decide("2Gi", claim("1Gi", null))).toMatchObject({ request: "1Gi", storage: "Provisioning" }))
  test("all three equal, however written: Bound, nothing asked anew", () =>
    expect(decide("1024Mi", claim("1Gi", "1Gi"))).toMatchObject({ request: "1Gi", storage: "Bound" }))
  test("W > R: requested", () =>
    expect(decide("2Gi", claim("1Gi", "1Gi"))).toMatchObject({
      request: "2Gi",
      growing: true,
      storage: "Resizing",
    }))
  test("W > R with a class that does not expand", () =>
    expect(decide("2Gi", claim("1Gi", "1Gi"), { classExpands: false })).toMatchObject({
      request: "1Gi",
      storage: "ExpansionUnsupported",
    }))
  test("W > R with a class that cannot be read: tried", () =>
    expect(decide("2Gi", claim("1Gi", "1Gi"), { classExpands: null })).toMatchObject({
      request: "2Gi",
      refusedAs: "ExpansionUnsupported",
    }))
  test("C < W < R: the failed grow is taken back", () =>
    expect(decide("2Gi", claim("9Gi", "1Gi"))).toMatchObject({ request: "2Gi", refusedAs: "ShrinkRefused" }))
  test("W <= C, W < R: left alone", () =>
    expect(decide("1Gi", claim("2Gi", "2Gi"))).toMatchObject({
      request: "2Gi",
      storage: "SizeBelowCapacity",
    }))
  test("R > C: resizing", () =>
    expect(decide("2Gi", claim("2Gi", "1Gi"))).toMatchObject({ storage: "Resizing" }))
  test("file system pending for two minutes and an older pod: deleted once", () => {
    const live = claim("2Gi", "1Gi", pending(121_000))
    expect(decide("2Gi", live)).toMatchObject({ storage: "RestartPending", restartPod: true })
    expect(decide("2Gi", claim("2Gi", "1Gi", pending(119_000))).restartPod).toBe(false)
    expect(decide("2Gi", live, { pod: pod({ startedAt: NOW - 1_000 }) }).restartPod).toBe(false)
  })
  test("an existing claim: only upward", () => {
    expect(decide("2Gi", claim("1Gi", "1Gi"), { existing: true }).request).toBe("2Gi")
    expect(decide("1Gi", claim("2Gi", "2Gi"), { existing: true }).request).toBeNull()
    expect(decide("2Gi", claim("3Gi", "1Gi"), { existing: true }).request).toBeNull()
  })
})

describe("§5.5: which pods make way", () => {
  const cases: readonly (readonly [string, Partial<PodFacts>, boolean | number])[] = [
    ["crash loop", { ready: false, waiting: "CrashLoopBackOff" }, true],
    ["image pull back-off", { ready: false, waiting: "ImagePullBackOff" }, true],
    ["image pull error", { ready: false, waiting: "ErrImagePull" }, true],
    ["container config error", { ready: false, waiting: "CreateContainerConfigError" }, true],
    ["unschedulable", { ready: false, unschedulableSince: NOW }, true],
    ["not ready for two minutes", { ready: false, notReadySince: NOW - 120_000 }, true],
    ["not ready for less", { ready: false, notReadySince: NOW - 119_000 }, NOW + 1_000],
    ["ready", {}, false],
    ["already on its way out", { ready: false, waiting: "CrashLoopBackOff", deletedAt: NOW }, false],
  ]
  for (const [what, facts, expected] of cases) test(what, () => expect(stuck(pod(facts), NOW)).toBe(expected))
})

describe("§5.4: operator upgrades do not restart brokers", () => {
  const live = (): KubeObject => statefulSet(OWNER, spec(), SETTINGS, null, null).object
  const template = (object: KubeObject): string =>
    canonical((object["spec"] as { template: unknown }).template)
  test("same inputs, same rendering: nothing", () => {
    const { object, held } = statefulSet(OWNER, spec(), SETTINGS, null, live())
    expect(held).toBeNull()
    expect(template(object)).toBe(template(live()))
  })
  /** As an older operator rendered it: one option fewer. */
  function older(): KubeObject {
    const object = structuredClone(live()) as KubeObject & { spec: { template: Record<string, never> } }
    const stored = JSON.parse(object.metadata.annotations!["fitz.dev/applied-template"]!)
    stored.spec.containers[0].env.pop()
    ;(object.metadata.annotations as Record<string, string>)["fitz.dev/applied-template"] =
      JSON.stringify(stored)
    object.spec.template = stored
    return object
  }
  test("same inputs, another rendering: the stored template word for word, UpdateAvailable", () => {
    const { object, held } = statefulSet(OWNER, spec(), SETTINGS, null, older())
    expect(held).toBe("TemplateChanged")
    expect(template(object)).toBe(template(older()))
  })
  test("the same under Automatic: applied", () => {
    const automatic = spec({ upgrade: { operatorChanges: "Automatic" } })
    const { object, held } = statefulSet(OWNER, automatic, SETTINGS, null, older())
    expect(held).toBeNull()
    expect(template(object)).toBe(template(live()))
  })
  test("other inputs: the rendered one, with the live image", () => {
    const moved = { ...SETTINGS, brokerRepository: "elsewhere", defaultVersion: "2.0.0" }
    const { object, image, held } = statefulSet(OWNER, spec({ logLevel: "debug" }), moved, null, older())
    expect(image).toBe("r/b:1.0.0")
    expect(held).toBe("DefaultImageChanged")
    expect(template(object)).toContain('"debug"')
  })
  test("a version of the user's: taken", () =>
    expect(statefulSet(OWNER, spec({ version: "3.1" }), SETTINGS, null, live()).image).toBe("r/b:3.1"))
  test("a restart token rolls", () => {
    const { object } = statefulSet(OWNER, spec(), SETTINGS, "again", live())
    expect(template(object)).toContain('"fitz.dev/restart":"again"')
  })
  test("T-09: a field at its default leaves the hash as it is, whichever field it is", () => {
    const plain = inputsHash(spec(), null)
    const whole = JSON.parse(JSON.stringify(spec())) as Record<string, unknown>
    expect(inputsHash(brokerSpec.parse(whole), null)).toBe(plain)
    // What does not feed the template does not count either.
    expect(
      inputsHash(spec({ replicas: 0, service: { type: "NodePort" }, storage: { size: "9Gi" } }), null),
    ).toBe(plain)
    for (const change of [
      { logLevel: "debug" },
      { shutdown: { drainSeconds: 11 } },
      { auth: { audience: "x" } },
      { auth: { identities: [{ name: "a", family: 1 }] } },
      { pod: { labels: { a: "b" } } },
      { resources: { limits: { cpu: "3" } } },
      { topology: { declaredRealmsOnly: true } },
      { storage: { existingClaim: "c" } },
    ])
      expect(inputsHash(spec(change), null), JSON.stringify(change)).not.toBe(plain)
  })
})

describe("the pod", () => {
  test("passes the restricted standard's demands and mounts nothing by subPath", () => {
    const template = JSON.stringify(podTemplate(OWNER, spec(), "i", null))
    for (const word of [
      '"runAsNonRoot":true',
      '"allowPrivilegeEscalation":false',
      '"drop":["ALL"]',
      '"readOnlyRootFilesystem":true',
      '"type":"RuntimeDefault"',
      '"automountServiceAccountToken":false',
      '"terminationGracePeriodSeconds":60',
      "--max-old-space-size=1536",
    ])
      expect(template).toContain(word)
    expect(template).not.toContain("subPath")
    expect(template).not.toContain("preStop")
  })
  test("userPolicy Platform leaves user and groups out", () => {
    const template = JSON.stringify(podTemplate(OWNER, spec({ pod: { userPolicy: "Platform" } }), "i", null))
    expect(template).not.toMatch(/runAsUser|fsGroup|runAsGroup/)
  })
  test("startup threshold: 30 as on the admin page, more only where raised", () => {
    const threshold = (seconds: number): unknown =>
      /"startupProbe":\{[^}]*\}[^}]*"failureThreshold":(\d+)/.exec(
        JSON.stringify(podTemplate(OWNER, spec({ startupTimeoutSeconds: seconds }), "i", null)),
      )?.[1]
    expect(threshold(60)).toBe("30")
    expect(threshold(61)).toBe("31")
    expect(threshold(3600)).toBe("1800")
  })
})

describe("values", () => {
  test("quantities are compared by meaning", () => {
    for (const [a, b] of [
      ["1Gi", "1024Mi"],
      ["1", "1000m"],
      [2, "2"],
      ["1.5Gi", "1536Mi"],
      ["1e3", "1k"],
      ["0.5", "500m"],
    ] as const)
      expect(compareQuantities(a, b), `${a} ${b}`).toBe(0)
    expect(compareQuantities("1G", "1Gi")).toBeLessThan(0)
    expect(quantityBytes("1Ki")).toBe(1024)
  })
  test("of integers, comparison is the integers'", () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), (a, b) => {
        expect(Math.sign(compareQuantities(`${a}Mi`, `${b}Mi`))).toBe(Math.sign(a - b))
      }),
    )
  })
  test("durations", () => {
    expect(durationMs("1h30m")).toBe(5_400_000)
    expect(() => durationMs("1.5h")).toThrow()
  })
  test("MicroTime has six digits", () => expect(microTimeOf(NOW)).toBe("2026-11-01T12:00:00.000000Z"))
})

/** What a server makes of applied objects, as far as the plan looks: identity, status, whose fields they are. */
function served(object: KubeObject, index: number): KubeObject {
  return {
    ...object,
    metadata: {
      ...object.metadata,
      uid: `child-${index}`,
      generation: 1,
      managedFields: [{ manager: MANAGER, operation: "Apply", fieldsV1: {} }],
    },
    ...(object.kind === "StatefulSet" ? { status: { observedGeneration: 1, updateRevision: "r1" } } : {}),
    ...(object.kind === "PersistentVolumeClaim"
      ? { status: { phase: "Bound", capacity: { storage: "1Gi" } } }
      : {}),
  } as KubeObject
}

const NONE: Children = {
  serviceAccount: null,
  config: null,
  claim: null,
  headless: null,
  service: null,
  networkPolicy: null,
  statefulSet: null,
  disruptionBudget: null,
  serviceMonitor: null,
  prometheusRule: null,
  dashboard: null,
}

function observed(change: Record<string, unknown>, rest: Partial<BrokerObserved> = {}): BrokerObserved {
  return {
    now: NOW,
    settings: SETTINGS,
    broker: {
      apiVersion: "fitz.dev/v1alpha1",
      kind: "FitzBroker",
      metadata: { name: "main", namespace: "orders", uid: OWNER.uid, generation: 1 },
      spec: spec(change),
    },
    spec: spec(change),
    children: NONE,
    pods: [],
    signing: null,
    keySet: null,
    metricsToken: null,
    existingSecret: null,
    apiKeysSecret: null,
    classExpands: true,
    monitoringServed: true,
    view: null,
    failures: [],
    ...rest,
  }
}

const keys: Pick<BrokerObserved, "signing" | "keySet" | "metricsToken"> = {
  signing: {
    uid: "s",
    resourceVersion: "1",
    controllerUid: OWNER.uid,
    algorithm: "ES256",
    activeKid: "k1",
    nextKid: null,
    previousKid: null,
    state: {
      phase: "Steady",
      since: new Date(NOW).toISOString(),
      activeSince: new Date(NOW).toISOString(),
      rotateToken: "",
      revokeToken: "",
    },
  },
  keySet: { uid: "j", resourceVersion: "1", controllerUid: OWNER.uid, kids: ["k1"] },
  metricsToken: {
    uid: "m",
    resourceVersion: "1",
    controllerUid: OWNER.uid,
    kid: "k1",
    expiresAt: NOW + 72 * 3_600_000,
  },
}

describe("planning", () => {
  test("a first plan makes the children in order", () => {
    const plan = planBroker(observed({}))
    expect(
      plan.actions.map(action =>
        action.do === "apply" ? action.child : action.do === "secret" ? action.ref.name : action.do,
      ),
    ).toEqual([
      "serviceAccount",
      "main-signing-keys",
      "main-jwks",
      "main-metrics-token",
      "config",
      "claim",
      "headless",
      "service",
      "networkPolicy",
      "statefulSet",
      "disruptionBudget",
      "serviceMonitor",
      "prometheusRule",
      "dashboard",
    ])
  })
  const change = fc.record(
    {
      replicas: fc.integer({ min: 0, max: 1 }),
      logLevel: fc.constantFrom("debug", "info", "warn"),
      networkPolicy: fc.record({ enabled: fc.boolean() }),
      disruption: fc.record({ mode: fc.constantFrom("Allow", "Protect") }),
      auth: fc.record({
        clients: fc.constantFrom("Required", "None"),
        identities: fc.constantFrom([], [{ name: "a", family: 2 }]),
      }),
      monitoring: fc.record({
        serviceMonitor: fc.record({ mode: fc.constantFrom("Auto", "Enabled", "Disabled") }),
        dashboard: fc.record({ mode: fc.constantFrom("Auto", "Disabled") }),
      }),
      pod: fc.record({
        userPolicy: fc.constantFrom("Fixed", "Platform"),
        labels: fc.constantFrom({}, { a: "b" }),
      }),
      service: fc.constantFrom({}, { type: "NodePort", nodePort: 30_080 }),
      storage: fc.constantFrom({ size: "1Gi" }, { size: "1024Mi", reclaimPolicy: "Delete" }),
    },
    { requiredKeys: [] },
  )
  test("a plan applied to its world and made again has nothing to write", () => {
    fc.assert(
      fc.property(change, wanted => {
        const first = planBroker(observed(wanted, keys))
        const children: Record<string, KubeObject | null> = { ...NONE }
        for (const [index, action] of first.actions.entries())
          if (action.do === "apply") children[action.child] = served(action.object, index)
        const pods = wanted.replicas === 0 ? [] : [pod()]
        const again = planBroker(
          observed(wanted, { ...keys, children: children as unknown as Children, pods }),
        )
        expect(again.actions).toEqual([])
        expect(again.findings.find(({ type }) => type === "Ready")?.reason).toBe(
          wanted.replicas === 0 ? "Stopped" : "Running",
        )
      }),
    )
  })
  test("a plan is the same for the same observation, and holds no key material", () => {
    const one = JSON.stringify(planBroker(observed({}, keys)))
    expect(JSON.stringify(planBroker(observed({}, keys)))).toBe(one)
    expect(one).not.toMatch(/"d":"|PRIVATE KEY/)
  })
  test("what is going gets nothing made", () => {
    const o = observed({})
    const going = {
      ...o.broker,
      metadata: { ...o.broker.metadata, deletionTimestamp: "2026-11-01T12:00:00Z" },
    }
    expect(planBroker({ ...o, broker: going })).toMatchObject({ actions: [], status: null })
  })
  test("NodeLost: a pod that has not ended a minute after its grace", () => {
    const lost = planBroker(observed({}, { ...keys, pods: [pod({ deletedAt: NOW - 61_000 })] }))
    expect(lost.findings.find(({ type }) => type === "Stalled")?.reason).toBe("NodeLost")
    expect(lost.actions.some(action => action.do === "delete")).toBe(false)
  })
})

describe("differences", () => {
  const live = (extra: Record<string, unknown>): KubeObject => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "a", managedFields: [] },
    ...extra,
  })
  const wanted: KubeObject = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: "a" },
    spec: { ports: [{ name: "http", port: 80 }], selector: { a: "b" } },
  }
  test("fields of others do not count", () =>
    expect(
      difference(
        wanted,
        live({
          spec: {
            ports: [
              { name: "other", port: 1 },
              { name: "http", port: 80, nodePort: 3 },
            ],
            selector: { a: "b" },
            x: 1,
          },
        }),
        MANAGER,
      ),
    ).toBeNull())
  test("a leaf of ours that differs is named", () =>
    expect(
      difference(
        wanted,
        live({ spec: { ports: [{ name: "http", port: 80 }], selector: { a: "c" } } }),
        MANAGER,
      ),
    ).toBe("spec.selector.a"))
  test("a leaf that we own and no longer want is named", () => {
    const object = live({ spec: { ports: [{ name: "http", port: 80 }], selector: { a: "b", old: "x" } } })
    const fieldsV1 = {
      "f:spec": {
        "f:selector": { "f:a": {}, "f:old": {} },
        "f:ports": { 'k:{"port":80,"protocol":"TCP"}': { ".": {}, "f:name": {} } },
      },
    }
    const held = {
      ...object,
      metadata: { ...object.metadata, managedFields: [{ manager: MANAGER, operation: "Apply", fieldsV1 }] },
    }
    expect(difference(wanted, held as KubeObject, MANAGER)).toBe("spec.selector.old")
  })
})
