// Realms and schedules declared as resources, in a real broker process: pushed, compared, put back, fought over, taken over,
// removed. What the broker holds is read from the broker; nothing imitates it.

import { afterEach, expect, test } from "vitest"
import { operatorToken, signerOf } from "../../operator/cluster/secrets.ts"
import { at, type KubeObject } from "../../operator/plan/object.ts"
import { type BrokerPod, BrokerPods } from "./kit/brokerpod.ts"
import {
  conditionOf,
  newScenario,
  type Running,
  type Scenario,
  type ScenarioOptions,
  until,
} from "./kit/scenario.ts"

const open: { scenario: Scenario; pods: BrokerPods }[] = []
afterEach(async () => {
  for (const { scenario, pods } of open.splice(0)) {
    await scenario.end()
    await pods.end()
  }
})

interface Stage {
  readonly scenario: Scenario
  readonly pods: BrokerPods
  readonly pod: BrokerPod
  readonly running: Running
  token(): Promise<string>
  rows(what: "realms" | "schedules"): Promise<Record<string, unknown>[]>
}

async function begin(spec: Record<string, unknown> = {}, options: ScenarioOptions = {}): Promise<Stage> {
  const scenario = await newScenario(options)
  const pods = new BrokerPods(scenario)
  open.push({ scenario, pods })
  const running = await scenario.start({ resolve: pods.resolve })
  await scenario.put(broker(spec))
  await scenario.ready("main")
  const pod = await pods.start("main")
  await reachable(scenario)
  const token = async (): Promise<string> => {
    const owner = await scenario.get("broker", "main")
    const signer = signerOf(await scenario.get("secret", "main-signing-keys"))
    return operatorToken(signer!, owner!.metadata.uid!, scenario.world.now())
  }
  const rows = async (what: "realms" | "schedules"): Promise<Record<string, unknown>[]> => {
    const path = what === "realms" ? "/api/v1/realms" : "/api/v1/admin/schedule/schedules"
    const { json } = await pod.ask(`${path}?limit=1000`, { token: await token() })
    return (json as Record<string, Record<string, unknown>[]>)[what]!
  }
  return { scenario, pods, pod, running, token, rows }
}

async function reachable(scenario: Scenario): Promise<void> {
  await until("the operator has met the broker", async () => {
    scenario.world.advance(2_000)
    return conditionOf(await scenario.get("broker", "main"), "BrokerReachable")?.reason === "Answering"
  })
}

const broker = (spec: Record<string, unknown> = {}): KubeObject => ({
  apiVersion: "fitz.dev/v1alpha1",
  kind: "FitzBroker",
  metadata: { name: "main" },
  spec: { storage: { size: "1Gi" }, ...spec },
})
const realm = (name: string, spec: Record<string, unknown> = {}, namespace?: string): KubeObject => ({
  apiVersion: "fitz.dev/v1alpha1",
  kind: "FitzRealm",
  metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
  spec: { brokerRef: { name: "main" }, ...spec },
})
const schedule = (name: string, spec: Record<string, unknown> = {}, namespace?: string): KubeObject => ({
  apiVersion: "fitz.dev/v1alpha1",
  kind: "FitzSchedule",
  metadata: { name, ...(namespace === undefined ? {} : { namespace }) },
  spec: {
    brokerRef: { name: "main" },
    route: { realm: "shop", area: "reports", resource: "sales", operation: name },
    cron: "30 2 * * 1-5",
    ...spec,
  },
})

test("U5: a realm and a schedule are in the broker as declared, and T-06: then nobody is written to", async () => {
  const { scenario, rows, running } = await begin()
  await scenario.put(
    realm("shop", { displayName: "Web shop", labels: { team: "x" }, limits: { maxSessions: 500 } }),
  )
  await scenario.put(schedule("nightly", { payload: { text: '{"format":"pdf"}' }, deliveryMode: "Single" }))
  await scenario.condition("realm", "shop", "Ready", "Synced")
  const nightly = await scenario.condition("schedule", "nightly", "Ready", "Synced")
  expect(at(nightly, "status", "route")).toBe("schedule://shop/reports/sales/nightly")
  expect(await rows("realms")).toMatchObject([
    {
      realm: "shop",
      declared: true,
      display_name: "Web shop",
      labels: { team: "x" },
      limits: { max_sessions: 500 },
      managed_by: `k8s:${scenario.namespace}/shop`,
    },
  ])
  expect(await rows("schedules")).toMatchObject([
    { realm: "shop", operation: "nightly", cron: "30 2 * * 1-5", delivery_mode: "single", enabled: true },
  ])
  const synced = await scenario.condition("broker", "main", "TopologySynced", "InSync")
  expect(at(synced, "status", "topology")).toMatchObject({
    realms: 1,
    realmsReady: 1,
    schedules: 1,
    summary: "1/1",
  })

  await scenario.quiet(running)
  const mark = running.counted.writes.length
  for (let pass = 0; pass < 10; pass++) {
    await running.operator.topology.passNow(`${scenario.namespace}/main`)
    await running.operator.brokers.passNow(`${scenario.namespace}/main`)
  }
  expect(running.counted.writes.slice(mark)).toEqual([])

  await scenario.put(
    schedule("nightly", { payload: { text: '{"format":"pdf"}' }, deliveryMode: "Single", enabled: false }),
  )
  await until("the change is in the broker", async () => (await rows("schedules"))[0]?.["enabled"] === false)
  await scenario.condition("schedule", "nightly", "Ready", "Synced")
})

test("T-12: what somebody removes in the broker is back within one resync, with an event", async () => {
  const { scenario, pod, rows, token } = await begin()
  await scenario.put(realm("shop"))
  await scenario.put(schedule("nightly"))
  await scenario.condition("realm", "shop", "Ready", "Synced")
  await scenario.condition("schedule", "nightly", "Ready", "Synced")
  await scenario.condition("broker", "main", "TopologySynced", "InSync")
  const headers = { "x-confirm": "true" }
  const gone = await pod.ask("/api/v1/realms/shop", { token: await token(), method: "DELETE", headers })
  expect(gone.status).toBe(204)
  const path = "/api/v1/schedule/realms/shop/areas/reports/resources/sales/operations/nightly?family=1"
  expect((await pod.ask(path, { token: await token(), method: "DELETE", headers })).status).toBe(204)
  scenario.world.advance(70_000)
  await until("both are back", async () => {
    return (
      (await rows("realms")).some(row => row["declared"] === true) && (await rows("schedules")).length === 1
    )
  })
  await until("events tell", async () => {
    return (
      (await scenario.events("shop")).includes("DefinitionRestored") &&
      (await scenario.events("nightly")).includes("DefinitionRestored")
    )
  })
})

test("a new volume gets all definitions again, without being called a restoration", async () => {
  const { scenario, pod, rows } = await begin()
  await scenario.put(realm("shop"))
  await scenario.condition("realm", "shop", "Ready", "Synced")
  await pod.kill()
  pod.dropData()
  await pod.start()
  await scenario.kubectl("delete", "pod", "main-0", "--wait=false")
  await scenario.ready("main")
  await until("the realm is in the new volume", async () => {
    scenario.world.advance(10_000)
    return (await rows("realms")).some(row => row["realm"] === "shop" && row["declared"] === true)
  })
  await scenario.condition("realm", "shop", "Ready", "Synced")
  expect(await scenario.events("shop")).not.toContain("DefinitionRestored")
})

test("T-11: a stopped broker: definitions say so, nobody calls it, deletions are let go", async () => {
  const { scenario, running } = await begin()
  await scenario.put(realm("kept"))
  await scenario.put(realm("dropped", { deletionPolicy: "Delete" }))
  await scenario.condition("realm", "kept", "Ready", "Synced")
  await scenario.condition("realm", "dropped", "Ready", "Synced")
  await scenario.put(broker({ replicas: 0 }))
  const stopped = await scenario.condition("realm", "kept", "Ready", "BrokerStopped")
  expect(conditionOf(stopped, "Stalled")).toBeUndefined()
  expect(conditionOf(stopped, "Reconciling")).toBeUndefined()
  await until("no pod is left", async () => (await scenario.list("pod")).length === 0)
  await scenario.quiet(running)
  const asked = async (): Promise<string> =>
    running.operator.metrics.registry.getSingleMetricAsString("fitz_operator_broker_requests_total")
  const before = await asked()
  scenario.world.advance(300_000)
  await scenario.quiet(running)
  expect(await asked()).toBe(before)
  await scenario.delete("realm", "kept")
  expect(await scenario.get("realm", "kept")).toBeNull()
  await scenario.delete("realm", "dropped")
  await scenario.quiet(running)
  expect((await scenario.get("realm", "dropped"))?.metadata.finalizers).toEqual(["fitz.dev/definition"])
  scenario.world.advance(660_000)
  await until("the finalizer is dropped", async () => (await scenario.get("realm", "dropped")) === null)
  await until("an event tells", async () =>
    (await scenario.events("dropped")).includes("ReleasedWithoutCleanup"),
  )
})

test("T-13: of two resources for one realm the older is Ready, the other waits and takes over without a gap", async () => {
  const { scenario, rows } = await begin()
  await scenario.put(realm("first", { name: "shop", displayName: "first" }))
  await scenario.condition("realm", "first", "Ready", "Synced")
  // Creation times have whole seconds; the second is surely younger after this.
  await until("the second has passed", async () => {
    const created = Date.parse((await scenario.get("realm", "first"))!.metadata.creationTimestamp!)
    return Date.now() >= created + 1_000
  })
  await scenario.put(realm("another", { name: "shop", displayName: "another" }))
  const loser = await scenario.condition("realm", "another", "Stalled", "Conflict")
  expect(conditionOf(loser, "Stalled")?.message).toContain(`${scenario.namespace}/first`)
  expect((await rows("realms"))[0]?.["display_name"]).toBe("first")
  let present = true
  const watch = (async () => {
    for (let look = 0; look < 20; look++)
      present &&= (await rows("realms")).some(row => row["declared"] === true)
  })()
  await scenario.delete("realm", "first")
  await scenario.condition("realm", "another", "Ready", "Synced")
  await watch
  expect(present).toBe(true)
  expect(await rows("realms")).toMatchObject([
    { realm: "shop", display_name: "another", managed_by: `k8s:${scenario.namespace}/another` },
  ])
})

test("T-13: the older one deleted with policy Delete hands over instead of removing", async () => {
  const { scenario, rows } = await begin()
  await scenario.put(realm("a", { name: "shop", deletionPolicy: "Delete" }))
  await scenario.condition("realm", "a", "Ready", "Synced")
  await scenario.put(realm("b", { name: "shop" }))
  await scenario.condition("realm", "b", "Stalled", "Conflict")
  await scenario.delete("realm", "a")
  await until("it is gone", async () => (await scenario.get("realm", "a")) === null)
  await scenario.condition("realm", "b", "Ready", "Synced")
  expect(await rows("realms")).toMatchObject([{ realm: "shop", managed_by: `k8s:${scenario.namespace}/b` }])
})

test("T-20: without a grant refused; with it taken; a foreign schedule needs its own realm; the grant withdrawn stalls", async () => {
  const { scenario } = await begin({}, { others: ["shop"] })
  const other = scenario.others["shop"]!
  const brokerRef = { name: "main", namespace: scenario.namespace }
  await scenario.put(realm("shop", { brokerRef }, other))
  await scenario.put(schedule("nightly", { brokerRef }, other))
  await scenario.condition("realm", "shop", "Stalled", "NotGranted", other)
  await scenario.condition("schedule", "nightly", "Stalled", "NotGranted", other)
  await scenario.put(broker({ topology: { allowedNamespaces: { from: "List", names: [other] } } }))
  await scenario.condition("realm", "shop", "Ready", "Synced", other)
  await scenario.condition("schedule", "nightly", "Ready", "Synced", other)
  await scenario.put(
    schedule(
      "foreign",
      { brokerRef, route: { realm: "theirs", area: "a", resource: "b", operation: "c" } },
      other,
    ),
  )
  await scenario.condition("schedule", "foreign", "Stalled", "RealmNotOwned", other)
  await scenario.put(broker({ topology: { allowedNamespaces: { from: "Same" } } }))
  await scenario.condition("realm", "shop", "Stalled", "NotGranted", other)
})

test("T-20: a selector grants by the namespace's labels and follows them", async () => {
  const scenario = await newScenario({ others: ["shop"], wide: true })
  const pods = new BrokerPods(scenario)
  open.push({ scenario, pods })
  await scenario.start({ resolve: pods.resolve })
  const other = scenario.others["shop"]!
  await scenario.put(
    broker({
      topology: { allowedNamespaces: { from: "Selector", selector: { matchLabels: { fitz: "yes" } } } },
    }),
  )
  await scenario.ready("main")
  await pods.start("main")
  await reachable(scenario)
  await scenario.put(realm("shop", { brokerRef: { name: "main", namespace: scenario.namespace } }, other))
  await scenario.condition("realm", "shop", "Stalled", "NotGranted", other)
  await scenario.kubectl("label", "namespace", other, "fitz=yes")
  await scenario.condition("realm", "shop", "Ready", "Synced", other)
  await scenario.kubectl("label", "namespace", other, "fitz-")
  await scenario.condition("realm", "shop", "Stalled", "NotGranted", other)
})

test("a selector without the right to read namespaces stalls the broker", async () => {
  const scenario = await newScenario()
  open.push({ scenario, pods: new BrokerPods(scenario) })
  await scenario.start()
  await scenario.put(broker({ topology: { allowedNamespaces: { from: "Selector", selector: {} } } }))
  await scenario.condition("broker", "main", "Stalled", "SelectorUnsupported")
})

test("X-13: another manager's definition is left alone, and taken over when asked to", async () => {
  const { scenario, pod, rows, token } = await begin()
  const put = await pod.ask("/api/v1/realms/shop", {
    token: await token(),
    method: "PUT",
    body: { display_name: "theirs", managed_by: "terraform" },
  })
  expect(put.status).toBe(201)
  await scenario.put(realm("shop", { displayName: "ours" }))
  const stalled = await scenario.condition("realm", "shop", "Stalled", "NotOurs")
  expect(conditionOf(stalled, "Stalled")?.message).toContain("terraform")
  expect((await rows("realms"))[0]).toMatchObject({ display_name: "theirs", managed_by: "terraform" })
  await scenario.put(realm("shop", { displayName: "ours", adoptExisting: true }))
  await scenario.condition("realm", "shop", "Ready", "Synced")
  expect((await rows("realms"))[0]).toMatchObject({
    display_name: "ours",
    managed_by: `k8s:${scenario.namespace}/shop`,
  })
  expect(await scenario.events("shop")).toContain("DefinitionAdopted")
})

test("X-13: a broker down for a minute writes no status; for three minutes, one for each definition", async () => {
  const { scenario, pod, running } = await begin()
  const names = ["a", "b", "c"]
  for (const name of names) await scenario.put(realm(name))
  for (const name of names) await scenario.condition("realm", name, "Ready", "Synced")
  await scenario.quiet(running)
  await pod.kill()
  const mark = running.counted.changes.length
  const statuses = (): number =>
    running.counted.changes.slice(mark).filter(({ kind }) => kind === "FitzRealm").length
  for (let second = 0; second < 60; second += 10) {
    scenario.world.advance(10_000)
    await scenario.quiet(running)
  }
  expect(statuses()).toBe(0)
  for (let second = 60; second < 260; second += 20) {
    scenario.world.advance(20_000)
    await scenario.quiet(running)
  }
  expect(statuses()).toBe(3)
  for (const name of names) await scenario.condition("realm", name, "Ready", "BrokerUnreachable")
  await pod.start()
  scenario.world.advance(70_000)
  for (const name of names) await scenario.condition("realm", name, "Ready", "Synced")
})

test("what the broker refuses is stalled with its code; the others go on; a new spec is a new attempt", async () => {
  const { scenario } = await begin()
  await scenario.put(schedule("bad", { cron: "99 2 * * 1" }))
  await scenario.put(schedule("good"))
  const stalled = await scenario.condition("schedule", "bad", "Stalled", "RejectedByBroker")
  expect(conditionOf(stalled, "Stalled")?.message).toContain("invalid_cron")
  await scenario.condition("schedule", "good", "Ready", "Synced")
  await scenario.condition("broker", "main", "TopologySynced", "SomeFailed")
  await scenario.put(schedule("bad", { cron: "9 2 * * 1" }))
  await scenario.condition("schedule", "bad", "Ready", "Synced")
})

test("a payload beyond 48 KiB is told without asking the broker", async () => {
  const { scenario } = await begin()
  await scenario.put(schedule("big", { payload: { base64: Buffer.alloc(49_152 - 1).toString("base64") } }))
  await scenario.condition("schedule", "big", "Ready", "Synced")
  await scenario.put(schedule("text", { payload: { text: "x".repeat(32_768) } }))
  await scenario.condition("schedule", "text", "Ready", "Synced")
})

test("an orphan is counted and named, never deleted; policy Delete removes", async () => {
  const { scenario, rows } = await begin()
  await scenario.put(realm("kept"))
  await scenario.put(realm("dropped", { deletionPolicy: "Delete" }))
  await scenario.condition("realm", "kept", "Ready", "Synced")
  await scenario.condition("realm", "dropped", "Ready", "Synced")
  await scenario.delete("realm", "kept")
  await scenario.delete("realm", "dropped")
  await until("the one with Delete is out of the broker", async () => {
    const declared = (await rows("realms")).filter(row => row["declared"] === true)
    return declared.length === 1 && declared[0]?.["realm"] === "kept"
  })
  await until("its resource is gone", async () => (await scenario.get("realm", "dropped")) === null)
  const orphaned = await scenario.condition("broker", "main", "TopologySynced", "OrphansPresent")
  expect(conditionOf(orphaned, "TopologySynced")?.message).toContain("realm kept")
  expect(at(orphaned, "status", "topology", "orphans")).toBe(1)
})

test("a paused realm is observed, not pushed", async () => {
  const { scenario, rows } = await begin()
  await scenario.put(realm("shop", { paused: true }))
  await scenario.condition("realm", "shop", "Paused", "SpecPaused")
  expect((await rows("realms")).filter(row => row["declared"] === true)).toEqual([])
  await scenario.put(realm("shop"))
  await scenario.condition("realm", "shop", "Ready", "Synced")
})

test("T-10: brokers deleted before, with and after their realms; a namespace with all of it", async () => {
  const { scenario, running } = await begin()
  await scenario.put(realm("before", { deletionPolicy: "Delete" }))
  await scenario.put(realm("after", { deletionPolicy: "Delete" }))
  await scenario.condition("realm", "before", "Ready", "Synced")
  await scenario.condition("realm", "after", "Ready", "Synced")
  await scenario.delete("realm", "before")
  await until("the first is gone", async () => (await scenario.get("realm", "before")) === null)
  await scenario.delete("broker", "main")
  await scenario.delete("realm", "after")
  await until("the second is let go", async () => (await scenario.get("realm", "after")) === null)
  await scenario.quiet(running)
  expect(await scenario.events("after")).toContain("ReleasedWithoutCleanup")
})

test("X-07: realm names with space, percent, accent and colon arrive as they are", async () => {
  const { scenario, rows } = await begin()
  const names = ["a b", "50%", "é", "a:b", "a?b#c", "a%2Fb"]
  for (const [index, name] of names.entries()) await scenario.put(realm(`r${index}`, { name }))
  for (const index of names.keys()) await scenario.condition("realm", `r${index}`, "Ready", "Synced")
  expect((await rows("realms")).map(row => row["realm"]).sort()).toEqual([...names].sort())
})
