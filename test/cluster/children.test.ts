// From five lines to a running broker, on a real API server with real controllers: which objects come to be, what they look
// like, and that a converged world is left alone.

import { afterAll, beforeAll, expect, test } from "vitest"
import { at } from "../../operator/plan/object.ts"
import { MINIMAL, newScenario, type Running, type Scenario } from "./kit/scenario.ts"

let scenario: Scenario
let running: Running

beforeAll(async () => {
  scenario = await newScenario()
  running = await scenario.start()
  await scenario.apply(MINIMAL)
  await scenario.ready("main")
})
afterAll(() => scenario?.end())

test("U1: five lines become exactly the objects that run a broker", async () => {
  const names: Record<string, string[]> = {}
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
    names[kind] = (await scenario.list(kind))
      .map(({ metadata }) => metadata.name)
      .filter(name => !["default", "fitz-operator", "kube-root-ca.crt"].includes(name))
      .sort()
  expect(names).toEqual({
    serviceAccount: ["main"],
    secret: ["main-jwks", "main-metrics-token", "main-signing-keys"],
    configMap: ["main-config"],
    claim: ["data-main-0"],
    service: ["main", "main-headless"],
    networkPolicy: ["main"],
    statefulSet: ["main"],
    disruptionBudget: ["main"],
    pod: ["main-0"],
  })
  const broker = await scenario.get("broker", "main")
  expect(at(broker, "status", "endpoint")).toEqual({
    host: `main.${scenario.namespace}.svc`,
    port: 8080,
    websocket: `ws://main.${scenario.namespace}.svc:8080/ws`,
  })
})

test("T-06: ten passes over a converged broker write nothing", async () => {
  await scenario.quiet(running)
  const before = running.counted.writes.length
  const key = `${scenario.namespace}/main`
  for (let pass = 0; pass < 10; pass++) {
    const outcome = await running.operator.brokers.passNow(key)
    expect(outcome).toMatchObject({ result: "success", steady: true })
    await running.operator.topology.passNow(key)
  }
  expect(running.counted.writes.slice(before)).toEqual([])
})
