// What becomes of a broker when people, other programs and mistakes get at it: drift, strangers' objects, stuck rollouts,
// pause, stop, deletion, upgrades of the operator. Real API server, real controllers, a simulated node.

import { afterEach, expect, test } from "vitest"
import { at, type KubeObject, textAt } from "../../operator/plan/object.ts"
import {
  conditionOf,
  MINIMAL,
  newScenario,
  type Scenario,
  type ScenarioOptions,
  until,
} from "./kit/scenario.ts"

const open: Scenario[] = []
afterEach(async () => {
  for (const scenario of open.splice(0)) await scenario.end()
})
async function begin(options: ScenarioOptions = {}): Promise<Scenario> {
  const scenario = await newScenario(options)
  open.push(scenario)
  return scenario
}

const broker = (
  spec: Record<string, unknown>,
  name = "main",
  metadata: Record<string, unknown> = {},
): KubeObject => ({
  apiVersion: "fitz.dev/v1alpha1",
  kind: "FitzBroker",
  metadata: { name, ...metadata },
  spec: { storage: { size: "1Gi" }, ...spec },
})

const hashOf = async (scenario: Scenario): Promise<string | undefined> =>
  (await scenario.get("statefulSet", "main"))?.metadata.annotations?.["fitz.dev/inputs-hash"]
const podUid = async (scenario: Scenario): Promise<string | undefined> =>
  (await scenario.get("pod", "main-0"))?.metadata.uid

test("T-05: fields of others on the StatefulSet survive ten passes and a change of the template", async () => {
  const scenario = await begin()
  const running = await scenario.start()
  await scenario.put(broker({}))
  await scenario.ready("main")
  await scenario.patch("statefulSet", "main", {
    metadata: { annotations: { "their/annotation": "kept" }, labels: { theirs: "too" } },
    spec: { minReadySeconds: 1 },
  })
  await scenario.quiet(running)
  for (let pass = 0; pass < 10; pass++) await running.operator.brokers.passNow(`${scenario.namespace}/main`)
  await scenario.put(broker({ logLevel: "debug" }))
  await until("the new template is there", async () =>
    JSON.stringify(await scenario.get("statefulSet", "main")).includes('"value":"debug"'),
  )
  await scenario.ready("main")
  const live = await scenario.get("statefulSet", "main")
  expect(live?.metadata.annotations?.["their/annotation"]).toBe("kept")
  expect(live?.metadata.labels?.["theirs"]).toBe("too")
  expect(at(live, "spec", "minReadySeconds")).toBe(1)
})

test("drift: what others change of ours is taken back, with an event that names field and manager", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.put(broker({}))
  await scenario.ready("main")
  await scenario.api.apply(
    { group: "", version: "v1", kind: "Service", plural: "services", namespaced: true },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "main", namespace: scenario.namespace },
      spec: { ports: [{ name: "http", port: 8080, protocol: "TCP", targetPort: 9999 }] },
    },
    { manager: "meddler", force: true },
  )
  await until("the port is back", async () => {
    const service = await scenario.get("service", "main")
    return at(service, "spec", "ports", 0, "targetPort") === "http"
  })
  await until("an event tells", async () => (await scenario.events("main")).includes("DriftCorrected"))
  const [event] = (await scenario.list("event")).filter(each => each["reason"] === "DriftCorrected")
  expect(String(event!["note"])).toMatch(/targetPort.*meddler/)
  expect(await scenario.events("main")).toContain("ForcedOwnership")
})

test("drift: a child that somebody deletes comes back", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.put(broker({}))
  await scenario.ready("main")
  for (const [kind, name] of [
    ["service", "main-headless"],
    ["configMap", "main-config"],
    ["networkPolicy", "main"],
    ["disruptionBudget", "main"],
  ] as const) {
    const before = (await scenario.get(kind, name))?.metadata.uid
    await scenario.delete(kind, name)
    await until(`${kind} is back`, async () => {
      const uid = (await scenario.get(kind, name))?.metadata.uid
      return uid !== undefined && uid !== before
    })
  }
})

for (const [kind, name, body] of [
  ["serviceAccount", "main", {}],
  ["configMap", "main-config", { data: { theirs: "yes" } }],
  ["service", "main-headless", { spec: { ports: [{ port: 1 }] } }],
  ["service", "main", { spec: { ports: [{ port: 1 }] } }],
  ["networkPolicy", "main", { spec: { podSelector: {} } }],
  [
    "statefulSet",
    "main",
    {
      spec: {
        selector: { matchLabels: { a: "b" } },
        serviceName: "x",
        replicas: 0,
        template: { metadata: { labels: { a: "b" } }, spec: { containers: [{ name: "c", image: "i" }] } },
      },
    },
  ],
  ["secret", "main-signing-keys", { stringData: { theirs: "yes" } }],
  ["secret", "main-jwks", { stringData: { theirs: "yes" } }],
] as const)
  test(`T-14: a stranger's ${kind} ${name} is left alone and named`, async () => {
    const scenario = await begin()
    const stranger = await scenario.put({
      apiVersion:
        kind === "statefulSet" ? "apps/v1" : kind === "networkPolicy" ? "networking.k8s.io/v1" : "v1",
      kind: {
        serviceAccount: "ServiceAccount",
        configMap: "ConfigMap",
        service: "Service",
        networkPolicy: "NetworkPolicy",
        statefulSet: "StatefulSet",
        secret: "Secret",
      }[kind],
      metadata: { name },
      ...body,
    })
    await scenario.start()
    await scenario.put(broker({}))
    const stalled = await scenario.condition("broker", "main", "Stalled", "NameConflict")
    expect(conditionOf(stalled, "Ready")).toMatchObject({ status: "False", reason: "NameConflict" })
    expect(conditionOf(stalled, "Stalled")?.message).toContain(name)
    const after = await scenario.get(kind, name)
    expect(after?.metadata.uid).toBe(stranger.metadata.uid)
    if (kind !== "statefulSet")
      expect(after?.metadata.resourceVersion).toBe(stranger.metadata.resourceVersion)
    expect((after?.metadata.managedFields ?? []).map(({ manager }) => manager)).not.toContain("fitz-operator")
  })

test("T-14: an object made between look and apply is let go of", async () => {
  const scenario = await begin()
  const running = await scenario.start()
  // The look says that there is nothing; then a stranger is faster than the apply.
  const { api } = running.counted
  const look = api.get
  let struck = false
  Object.assign(api, {
    get: async (...args: Parameters<typeof look>) => {
      const found = await look(...args)
      if (args[0].kind === "Service" && args[2] === "main-headless" && found === null && !struck) {
        struck = true
        await scenario.put({
          apiVersion: "v1",
          kind: "Service",
          metadata: { name: "main-headless", labels: { theirs: "yes" } },
          spec: {
            clusterIP: "None",
            ports: [{ name: "http", port: 8080, protocol: "TCP", targetPort: "http" }],
          },
        } as KubeObject)
      }
      return found
    },
  })
  await scenario.put(broker({}))
  await scenario.condition("broker", "main", "Stalled", "NameConflict")
  const left = await scenario.get("service", "main-headless")
  expect(left?.metadata.labels).toEqual({ theirs: "yes" })
  expect(left?.metadata.ownerReferences).toBeUndefined()
})

test("T-15: labels and annotations of the resource appear on no child, and none has the instance label", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.put(
    broker({}, "main", {
      labels: { "app.kubernetes.io/instance": "argo", secretive: "x" },
      annotations: { "argocd.argoproj.io/tracking-id": "argo" },
    }),
  )
  await scenario.ready("main")
  for (const kind of [
    "serviceAccount",
    "secret",
    "configMap",
    "claim",
    "service",
    "networkPolicy",
    "statefulSet",
    "disruptionBudget",
    "pod",
  ] as const)
    for (const object of await scenario.list(kind)) {
      if (object.metadata.labels?.["fitz.dev/broker"] === undefined) continue
      const text = JSON.stringify([object.metadata.labels, object.metadata.annotations, object["spec"]])
      for (const word of ["app.kubernetes.io/instance", "secretive", "argocd"])
        expect(text, kind).not.toContain(word)
    }
})

test("T-08: a bad image, then a good one: the stuck pod is replaced unaided", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.put(broker({ image: "registry.test/broker:1" }))
  await scenario.ready("main")
  // The simulated node makes any pod ready, so the pod that cannot pull is kept unready by its own status.
  await scenario.put(broker({ image: "registry.test/broker:missing" }))
  await until("the pod with the bad image", async () =>
    JSON.stringify(await scenario.get("pod", "main-0")).includes("broker:missing"),
  )
  const stuck = await holdBack(scenario, "ImagePullBackOff")
  await scenario.condition("broker", "main", "Stalled", "ImagePull")
  await scenario.put(broker({ image: "registry.test/broker:2" }))
  await until("the stuck pod is gone", async () => (await podUid(scenario)) !== stuck)
  await scenario.ready("main")
  expect(JSON.stringify(await scenario.get("pod", "main-0"))).toContain("broker:2")
  expect(await scenario.events("main")).toContain("StuckPodReplaced")
})

/** Writes into a pod's status what a kubelet would write that cannot start it. Returns the pod's uid. */
async function holdBack(scenario: Scenario, reason: string): Promise<string> {
  const pod = await until("a pod", () => scenario.get("pod", "main-0"))
  await scenario.kubectl(
    "patch",
    "pod",
    "main-0",
    "--subresource=status",
    "--type=merge",
    "-p",
    JSON.stringify({
      status: {
        phase: "Pending",
        conditions: [
          { type: "PodScheduled", status: "True" },
          {
            type: "Ready",
            status: "False",
            lastTransitionTime: new Date(scenario.world.now()).toISOString(),
          },
        ],
        containerStatuses: [
          {
            name: "broker",
            ready: false,
            restartCount: 0,
            image: "x",
            imageID: "",
            state: { waiting: { reason, message: "as the kubelet says" } },
          },
        ],
      },
    }),
  )
  return pod.metadata.uid!
}

test("T-08: a pod that never gets ready makes way after two minutes", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.put(broker({}))
  await scenario.ready("main")
  await scenario.put(broker({ pod: { extraEnv: [{ name: "BAD", value: "1" }] } }))
  await until("the pod with the bad option", async () =>
    JSON.stringify(await scenario.get("pod", "main-0")).includes('"BAD"'),
  )
  await scenario.ready("main")
  const stuck = await holdBack(scenario, "ContainerCreating")
  await scenario.put(broker({}))
  await scenario.condition("broker", "main", "Ready", "RollingOut")
  expect(await podUid(scenario)).toBe(stuck)
  scenario.world.advance(121_000)
  await until("the stuck pod is gone", async () => (await podUid(scenario)) !== stuck)
  await scenario.ready("main")
})

test("T-09: a new operator with other defaults leaves the pods alone; a later change of the user keeps the image", async () => {
  const scenario = await begin()
  const first = await scenario.start()
  await scenario.put(broker({}))
  await scenario.ready("main")
  await scenario.quiet(first)
  const uid = await podUid(scenario)
  const hash = await hashOf(scenario)
  await first.stop()
  const second = await scenario.start({
    settings: { defaultVersion: "2.0.0", brokerRepository: "elsewhere.test/b" },
  })
  await scenario.condition("broker", "main", "UpdateAvailable", "DefaultImageChanged")
  await scenario.quiet(second)
  expect(await podUid(scenario)).toBe(uid)
  expect(await hashOf(scenario)).toBe(hash)
  await scenario.put(broker({ resources: { limits: { cpu: "3" } } }))
  await until("the rollout", async () => (await podUid(scenario)) !== uid)
  await scenario.ready("main")
  expect(JSON.stringify(await scenario.get("pod", "main-0"))).toContain("registry.test/fitz-broker:1.4.0")
  await scenario.put(
    broker({ resources: { limits: { cpu: "3" } }, upgrade: { operatorChanges: "Automatic" } }),
  )
  await until("the new image", async () =>
    JSON.stringify(await scenario.get("statefulSet", "main")).includes("elsewhere.test/b:2.0.0"),
  )
})

test("T-23: a pause keeps everything as it is but status and metrics token; its end applies once", async () => {
  const scenario = await begin()
  const running = await scenario.start()
  await scenario.put(broker({}))
  await scenario.ready("main")
  await scenario.quiet(running)
  await scenario.put(broker({ paused: true, logLevel: "debug" }))
  await scenario.condition("broker", "main", "Paused", "SpecPaused")
  await scenario.delete("disruptionBudget", "main")
  await scenario.quiet(running)
  expect(await scenario.get("disruptionBudget", "main")).toBeNull()
  expect(JSON.stringify(await scenario.get("statefulSet", "main"))).not.toContain('"value":"debug"')
  const before = (await scenario.get("secret", "main-metrics-token"))?.metadata.resourceVersion
  const mark = running.counted.changes.length
  scenario.world.advance(25 * 3_600_000)
  await until("the metrics token is renewed", async () => {
    return (await scenario.get("secret", "main-metrics-token"))?.metadata.resourceVersion !== before
  })
  await scenario.quiet(running)
  const kinds = new Set(running.counted.changes.slice(mark).map(({ kind, name }) => `${kind} ${name}`))
  kinds.delete("FitzBroker main")
  expect([...kinds]).toEqual(["Secret main-metrics-token"])
  await scenario.put(broker({ logLevel: "debug" }))
  await until("the change is applied", async () =>
    JSON.stringify(await scenario.get("statefulSet", "main")).includes('"value":"debug"'),
  )
  await scenario.ready("main")
  expect(conditionOf(await scenario.get("broker", "main"), "Paused")).toBeUndefined()
})

test("U9: kubectl scale stops and starts the broker; the claim stays", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.put(broker({}))
  await scenario.ready("main")
  const claim = (await scenario.get("claim", "data-main-0"))?.metadata.uid
  await scenario.kubectl("scale", "fb/main", "--replicas=0")
  const stopped = await scenario.condition("broker", "main", "Ready", "Stopped")
  expect(conditionOf(stopped, "Stalled")).toBeUndefined()
  await until("no pod is left", async () => (await scenario.list("pod")).length === 0)
  await scenario.kubectl("scale", "fb/main", "--replicas=1")
  await scenario.ready("main")
  expect((await scenario.get("claim", "data-main-0"))?.metadata.uid).toBe(claim)
  const events = await scenario.events("main")
  expect(events).toContain("Stopped")
  expect(events).toContain("Started")
})

test("T-25: the claim survives its broker, a namesake must ask for it, existingClaim brings it back", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.put(broker({}))
  await scenario.ready("main")
  const claim = (await scenario.get("claim", "data-main-0"))!
  await scenario.delete("broker", "main")
  await until("the children are gone", async () => (await scenario.get("statefulSet", "main")) === null)
  expect((await scenario.get("claim", "data-main-0"))?.metadata.uid).toBe(claim.metadata.uid)
  await scenario.put(broker({}))
  const stalled = await scenario.condition("broker", "main", "Stalled", "ClaimNotOurs")
  expect(conditionOf(stalled, "Stalled")?.message).toContain("existingClaim")
  expect(conditionOf(stalled, "StorageReady")?.reason).toBe("ClaimNotOurs")
  expect(await scenario.get("statefulSet", "main")).toBeNull()
  await scenario.put(broker({ storage: { existingClaim: "data-main-0" } }))
  await scenario.ready("main")
  const after = (await scenario.get("claim", "data-main-0"))!
  expect(after.metadata.uid).toBe(claim.metadata.uid)
  expect(after.metadata.labels).toEqual(claim.metadata.labels)
  expect(after.metadata.ownerReferences).toBeUndefined()
})

test("reclaimPolicy Delete owns the claim, Retain lets go of it again", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.put(broker({ storage: { size: "1Gi", reclaimPolicy: "Delete" } }))
  await scenario.ready("main")
  const uid = (await scenario.get("broker", "main"))?.metadata.uid
  expect((await scenario.get("claim", "data-main-0"))?.metadata.ownerReferences?.[0]?.uid).toBe(uid)
  await scenario.put(broker({ storage: { size: "1Gi", reclaimPolicy: "Retain" } }))
  await until("the owner is dropped", async () => {
    const owners = (await scenario.get("claim", "data-main-0"))?.metadata.ownerReferences
    return owners === undefined || owners.length === 0
  })
  await scenario.put(broker({ storage: { size: "1Gi", reclaimPolicy: "Delete" } }))
  await until("the owner is back", async () => {
    return (await scenario.get("claim", "data-main-0"))?.metadata.ownerReferences?.[0]?.uid === uid
  })
  await scenario.delete("broker", "main")
  await until("the claim is gone", async () => (await scenario.get("claim", "data-main-0")) === null)
})

test("T-10: a broker with everything goes within a minute", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.put(broker({ storage: { size: "1Gi", reclaimPolicy: "Delete" } }))
  await scenario.ready("main")
  await scenario.delete("broker", "main")
  await until("nothing of it is left", async () => {
    for (const kind of [
      "statefulSet",
      "service",
      "secret",
      "networkPolicy",
      "disruptionBudget",
      "pod",
      "claim",
    ] as const)
      if ((await scenario.list(kind)).some(each => each.metadata.labels?.["fitz.dev/broker"] === "main"))
        return false
    return true
  })
})

test("X-06: a status apply on a resource deleted a moment ago does not re-create it", async () => {
  const scenario = await begin()
  const running = await scenario.start()
  const { api } = running.counted
  const applyStatus = api.applyStatus
  let deleted = false
  Object.assign(api, {
    applyStatus: async (...args: Parameters<typeof applyStatus>) => {
      if (!deleted && args[1].kind === "FitzBroker") {
        deleted = true
        await scenario.delete("broker", "main")
      }
      return applyStatus(...args)
    },
  })
  await scenario.put(broker({}))
  await until("it was deleted in between", async () => deleted)
  await scenario.quiet(running)
  expect(await scenario.get("broker", "main")).toBeNull()
})

test("X-06: 1024Mi wanted and 1Gi stored is no difference", async () => {
  const scenario = await begin()
  const running = await scenario.start()
  await scenario.put(broker({ storage: { size: "1024Mi" }, resources: { limits: { memory: "2048Mi" } } }))
  await scenario.ready("main")
  await scenario.quiet(running)
  const mark = running.counted.changes.length
  await scenario.put(broker({ storage: { size: "1Gi" }, resources: { limits: { memory: "2048Mi" } } }))
  await scenario.quiet(running)
  expect(running.counted.changes.slice(mark).filter(({ kind }) => kind !== "FitzBroker")).toEqual([])
})

test("X-08: kubectl get, wait and explain say what the page says", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.apply(MINIMAL)
  expect(await scenario.kubectl("wait", "fb/main", "--for=condition=Ready", "--timeout=60s")).toContain(
    "condition met",
  )
  const [head = "", line = ""] = (await scenario.kubectl("get", "fitzbroker")).split("\n")
  expect(head.split(/\s+/)).toEqual(["NAME", "READY", "REASON", "VERSION", "STORAGE", "REALMS", "AGE"])
  expect(line).toMatch(/^main\s+True\s+Running\s.*1Gi\s+0\/0\s/)
  expect(await scenario.kubectl("get", "fitz")).toContain("fitzbroker.fitz.dev/main")
  const wide = await scenario.kubectl("get", "fb", "-o", "wide")
  expect(wide).toMatch(/ENDPOINT\s+IMAGE\s+KEY-SINCE/)
  const explained = await scenario.kubectl("explain", "fitzbroker.spec.storage.existingClaim")
  expect(explained).toContain("Mounts this claim instead of making one")
})

test("T-24: an existing secret is checked, never written or owned; it is absent at first", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.put(broker({ auth: { existingSecret: { name: "legacy", key: "secret", type: "HS256" } } }))
  await scenario.condition("broker", "main", "Stalled", "SecretMissing")
  expect(await scenario.get("statefulSet", "main")).toBeNull()
  const secret = await scenario.put({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "legacy" },
    stringData: { secret: "short" },
  } as KubeObject)
  scenario.world.advance(660_000)
  await scenario.ready("main")
  const after = await scenario.get("secret", "legacy")
  expect(after?.metadata.resourceVersion).toBe(secret.metadata.resourceVersion)
  expect(after?.metadata.ownerReferences).toBeUndefined()
  expect(await scenario.events("main")).toContain("ShortSharedSecret")
  const env = at(
    await scenario.get("statefulSet", "main"),
    "spec",
    "template",
    "spec",
    "containers",
    0,
    "env",
  )
  expect(env).toContainEqual({ name: "FITZ_JWT_HMAC_SECRET_FILE", value: "/etc/fitz/keys/clients/secret" })
  expect(env).toContainEqual({ name: "FITZ_JWT_CLIENT_ALLOW_ADMIN", value: "false" })
  const sources = JSON.stringify(
    at(await scenario.get("statefulSet", "main"), "spec", "template", "spec", "volumes"),
  )
  expect(sources).toContain('"key":"secret"')
  await scenario.delete("broker", "main")
  await until("the broker's own are gone", async () => (await scenario.get("secret", "main-jwks")) === null)
  expect((await scenario.get("secret", "legacy"))?.metadata.uid).toBe(secret.metadata.uid)
})

test("X-11: without the right to write Services the broker says Forbidden, with verb and resource", async () => {
  const scenario = await begin()
  await scenario.kubectl(
    "patch",
    "role",
    "fitz-operator",
    "--type=json",
    "-p",
    JSON.stringify(await withoutServices(scenario)),
  )
  await scenario.start()
  await scenario.put(broker({}))
  const stalled = await scenario.condition("broker", "main", "Stalled", "Forbidden")
  expect(conditionOf(stalled, "Stalled")?.message).toMatch(/cannot patch resource "services"/)
})

async function withoutServices(scenario: Scenario): Promise<unknown[]> {
  const role = JSON.parse(await scenario.kubectl("get", "role", "fitz-operator", "-o", "json")) as {
    rules: { resources: string[]; verbs: string[] }[]
  }
  const index = role.rules.findIndex(({ resources }) => resources.includes("services"))
  return [
    {
      op: "add",
      path: "/rules/-",
      value: { apiGroups: [""], resources: ["services"], verbs: ["get", "list", "watch"] },
    },
    {
      op: "replace",
      path: `/rules/${index}/resources`,
      value: role.rules[index]!.resources.filter(each => each !== "services"),
    },
  ]
}

test("a quota that is used up is named, and its end heals within a minute", async () => {
  const scenario = await begin()
  await scenario.put({
    apiVersion: "v1",
    kind: "ResourceQuota",
    metadata: { name: "tight" },
    spec: { hard: { persistentvolumeclaims: "0" } },
  } as KubeObject)
  await until("the quota counts", async () =>
    (await scenario.kubectl("get", "resourcequota", "tight", "-o", "jsonpath={.status.hard}")).includes(
      "persistentvolumeclaims",
    ),
  )
  await scenario.start()
  await scenario.put(broker({}))
  await scenario.condition("broker", "main", "Stalled", "QuotaExceeded")
  await scenario.kubectl("delete", "resourcequota", "tight")
  scenario.world.advance(61_000)
  await scenario.ready("main")
})

test("T-07: a volume grows online; what was never granted can be taken back; too small is left alone", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.put(broker({}))
  await scenario.ready("main")
  await scenario.put(broker({ storage: { size: "2Gi" } }))
  await until("the claim has grown", async () => {
    return textAt(await scenario.get("claim", "data-main-0"), "status", "capacity", "storage") === "2Gi"
  })
  await scenario.condition("broker", "main", "StorageReady", "Bound")
  await until("events tell", async () => (await scenario.events("main")).includes("VolumeGrown"))
  const version = (await scenario.get("claim", "data-main-0"))?.metadata.resourceVersion
  await scenario.put(broker({ storage: { size: "1Gi" } }))
  await scenario.condition("broker", "main", "StorageReady", "SizeBelowCapacity")
  expect((await scenario.get("claim", "data-main-0"))?.metadata.resourceVersion).toBe(version)
})

test("T-07: a size that is never granted is taken back where the server allows it", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.put(broker({ storage: { size: "1Gi", storageClassName: "frozen" } }))
  await scenario.ready("main")
  await scenario.put(broker({ storage: { size: "900Gi", storageClassName: "frozen" } }))
  await scenario.condition("broker", "main", "StorageReady", "Resizing")
  await scenario.put(broker({ storage: { size: "2Gi", storageClassName: "frozen" } }))
  // 1.34 takes it back; an older server would have it said.
  await until("the request is lower again", async () => {
    const claim = await scenario.get("claim", "data-main-0")
    return textAt(claim, "spec", "resources", "requests", "storage") === "2Gi"
  })
})

test("T-07: a class that does not grow volumes is said to be one", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.put(broker({ storage: { size: "1Gi", storageClassName: "eager" } }))
  await scenario.ready("main")
  await scenario.put(broker({ storage: { size: "2Gi", storageClassName: "eager" } }))
  const stalled = await scenario.condition("broker", "main", "Stalled", "ExpansionUnsupported")
  expect(conditionOf(stalled, "StorageReady")?.reason).toBe("ExpansionUnsupported")
  await scenario.put(broker({ storage: { size: "1Gi", storageClassName: "eager" } }))
  await scenario.ready("main")
})

test("an option that the kubelet's API refuses stalls with the server's field path and heals", async () => {
  const scenario = await begin()
  await scenario.start()
  await scenario.put(broker({ pod: { nodeSelector: { "not a label": "x" } } }))
  const stalled = await scenario.condition("broker", "main", "Stalled", "InvalidChild")
  expect(conditionOf(stalled, "Stalled")?.message).toContain("nodeSelector")
  await scenario.put(broker({}))
  await scenario.ready("main")
})
