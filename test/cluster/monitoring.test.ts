// ServiceMonitor, rules and dashboard as the monitoring kinds come and go, and what others may set in them. The kinds are
// served by the real API server from CRDs of the real names; their schemas here hold anything.

import { afterAll, afterEach, beforeAll, expect, test } from "vitest"
import { at, type KubeObject, textAt } from "../../operator/plan/object.ts"
import { cluster, conditionOf, newScenario, type Scenario, until } from "./kit/scenario.ts"
import { broker } from "./kit/stage.ts"

const open: Scenario[] = []
afterEach(async () => {
  for (const scenario of open.splice(0)) await scenario.end()
})

const CRDS = {
  group: "apiextensions.k8s.io",
  version: "v1",
  kind: "CustomResourceDefinition",
  plural: "customresourcedefinitions",
  namespaced: false,
}
const names = [
  ["ServiceMonitor", "servicemonitors"],
  ["PrometheusRule", "prometheusrules"],
] as const

async function install(): Promise<void> {
  const { api } = await cluster()
  for (const [kind, plural] of names)
    await api.apply(
      CRDS,
      {
        apiVersion: "apiextensions.k8s.io/v1",
        kind: "CustomResourceDefinition",
        metadata: { name: `${plural}.monitoring.coreos.com` },
        spec: {
          group: "monitoring.coreos.com",
          scope: "Namespaced",
          names: { kind, plural, singular: kind.toLowerCase(), listKind: `${kind}List` },
          versions: [
            {
              name: "v1",
              served: true,
              storage: true,
              schema: {
                openAPIV3Schema: {
                  type: "object",
                  properties: { spec: { type: "object", "x-kubernetes-preserve-unknown-fields": true } },
                },
              },
            },
          ],
        },
      } as KubeObject,
      { manager: "test", force: true },
    )
  await until("the kinds are served", async () => {
    for (const [, plural] of names)
      await api.list(
        { group: "monitoring.coreos.com", version: "v1", kind: "x", plural, namespaced: true },
        { limit: 1 },
      )
    return true
  })
}
async function uninstall(): Promise<void> {
  const { api } = await cluster()
  for (const [, plural] of names) {
    const name = `${plural}.monitoring.coreos.com`
    const object = await api.get(CRDS, "", name)
    if (object !== null) await api.delete(CRDS, "", name, object.metadata.uid!)
  }
  await until("the kinds are gone", async () => !(await api.discover()).includes("monitoring.coreos.com"))
}
beforeAll(uninstall)
afterAll(uninstall)

test("T-17, T-18: the monitoring objects follow their kinds; an edited interval is kept without a request", async () => {
  const scenario = await newScenario()
  open.push(scenario)
  const running = await scenario.start()
  await scenario.put(broker({ monitoring: { serviceMonitor: { labels: { release: "stack" } } } }))
  const before = await scenario.ready("main")
  expect(conditionOf(before, "MonitoringReady")).toBeUndefined()
  await scenario.put(broker({ monitoring: { serviceMonitor: { mode: "Enabled" } } }))
  await scenario.condition("broker", "main", "MonitoringReady", "CRDMissing")
  await scenario.put(broker({ monitoring: { serviceMonitor: { labels: { release: "stack" } } } }))
  await until(
    "the condition is gone",
    async () => conditionOf(await scenario.get("broker", "main"), "MonitoringReady") === undefined,
  )

  await install()
  scenario.world.advance(61_000)
  await scenario.condition("broker", "main", "MonitoringReady", "Applied")
  const monitor = await until("the monitor", () => scenario.get("serviceMonitor", "main"))
  expect(monitor.metadata.labels?.["release"]).toBe("stack")
  const endpoint = at(monitor, "spec", "endpoints", 0)
  expect(endpoint).toMatchObject({
    port: "http",
    path: "/metrics",
    interval: "30s",
    authorization: { type: "Bearer", credentials: { name: "main-metrics-token", key: "token" } },
  })
  expect(JSON.stringify(monitor)).not.toMatch(/bearerToken/)
  expect(await scenario.get("prometheusRule", "main")).not.toBeNull()
  expect((await scenario.get("configMap", "main-dashboard"))?.metadata.labels?.["grafana_dashboard"]).toBe(
    "1",
  )
  await until("events tell", async () => (await scenario.events("main")).includes("MonitoringAvailable"))

  // Somebody sets another interval by hand.
  const endpoints = [{ ...(endpoint as object), interval: "5s" }]
  await scenario.kubectl(
    "patch",
    "servicemonitor",
    "main",
    "--type=merge",
    "-p",
    JSON.stringify({ spec: { endpoints } }),
  )
  await scenario.condition("broker", "main", "MonitoringReady", "EditedByOther")
  await scenario.quiet(running)
  const mark = running.counted.writes.length
  for (let pass = 0; pass < 5; pass++) await running.operator.brokers.passNow(`${scenario.namespace}/main`)
  expect(running.counted.writes.slice(mark)).toEqual([])
  expect(textAt(await scenario.get("serviceMonitor", "main"), "spec", "endpoints", 0, "interval")).toBe("5s")

  await scenario.put(
    broker({ monitoring: { dashboard: { mode: "Disabled" }, prometheusRule: { mode: "Disabled" } } }),
  )
  await until("what is not wanted is gone", async () => {
    return (
      (await scenario.get("configMap", "main-dashboard")) === null &&
      (await scenario.get("prometheusRule", "main")) === null
    )
  })

  await uninstall()
  scenario.world.advance(61_000)
  await until(
    "the condition is gone",
    async () => conditionOf(await scenario.get("broker", "main"), "MonitoringReady") === undefined,
  )
  await scenario.quiet(running)
  const errors = scenario.world.records.filter(({ level }) => level === "error").length
  scenario.world.advance(600_000)
  await scenario.quiet(running)
  expect(scenario.world.records.filter(({ level }) => level === "error").length).toBe(errors)
})
