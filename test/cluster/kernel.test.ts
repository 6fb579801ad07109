// The kernel against a real API server behind a faulty network, and two real operator processes with one lease: lists that
// fail, watches that break in every way, who may write, who takes over.

import { type ChildProcess, spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { afterEach, expect, test } from "vitest"
import { at, textAt } from "../../operator/plan/object.ts"
import { type Fault, type FaultProxy, openProxy } from "./kit/proxy.ts"
import { cluster, newScenario, type Scenario, until } from "./kit/scenario.ts"
import { broker } from "./kit/stage.ts"

const open: Scenario[] = []
const proxies: FaultProxy[] = []
const children: ChildProcess[] = []
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL")
  for (const scenario of open.splice(0)) await scenario.end()
  for (const proxy of proxies.splice(0)) await proxy.close()
})
async function begin(): Promise<{ scenario: Scenario; proxy: FaultProxy }> {
  const scenario = await newScenario()
  open.push(scenario)
  const proxy = await openProxy(await cluster())
  proxies.push(proxy)
  return { scenario, proxy }
}

test("T-02: the first list of every kind fails three times, and all is synced without a restart", async () => {
  const { scenario, proxy } = await begin()
  const failed = new Map<string, number>()
  proxy.rule = ({ method, url, watch }) => {
    if (method !== "GET" || watch || !url.includes("limit=500")) return null
    const kind = url.split("?")[0]!
    const count = failed.get(kind) ?? 0
    failed.set(kind, count + 1)
    return count < 3 ? { answer: [500, 503, 429][count]!, reason: "Fault" } : null
  }
  const starting = scenario.start({ server: proxy.server })
  const calm = scenario.world.hurry(5_000)
  await starting.finally(calm)
  expect(failed.size).toBeGreaterThan(8)
  for (const count of failed.values()) expect(count).toBeGreaterThan(3)
  await scenario.put(broker())
  await scenario.ready("main")
})

const expired = `${JSON.stringify({ type: "ERROR", object: { kind: "Status", code: 410, reason: "Expired", message: "too old" } })}\n`
const WATCH_FAULTS: readonly (readonly [string, Fault])[] = [
  ["503", { answer: 503 }],
  ["a reset", { reset: "before" }],
  ["a half-open connection", { silent: true }],
  ["410 within the stream", { lines: [expired], end: true }],
  ["410 as an answer", { answer: 410, reason: "Expired" }],
  ["a line that is cut", { lines: ['{"type":"ADDED","object":{'], end: true }],
]
for (const [what, fault] of WATCH_FAULTS)
  test(`T-03: watches that meet ${what} come back, and nothing is missed`, async () => {
    const { scenario, proxy } = await begin()
    let spoiled = 0
    proxy.rule = ({ watch }) => (watch && spoiled++ < 20 ? fault : null)
    const running = await scenario.start({ server: proxy.server })
    await until("many watches were spoilt", async () => {
      // A half-open watch is given up when it outlives its time.
      scenario.world.advance("silent" in fault ? 700_000 : 5_000)
      return spoiled >= 20
    })
    await scenario.put(broker())
    await until("the broker is made", async () => {
      scenario.world.advance("silent" in fault ? 700_000 : 5_000)
      return (await scenario.get("statefulSet", "main")) !== null
    })
    expect(running.operator.synced).toBe(true)
    await scenario.ready("main")
  })

test("T-03: a storm of clean closes is met with less than one watch a second", async () => {
  const { scenario, proxy } = await begin()
  proxy.rule = ({ watch, url }) => (watch && url.includes("/fitzbrokers") ? { close: true } : null)
  await scenario.start({ server: proxy.server })
  const watches = (): number =>
    proxy.asked.filter(({ watch, url }) => watch && url.includes("/fitzbrokers")).length
  let virtual = 0
  await until("the first five are over", async () => {
    scenario.world.advance(1_000)
    return watches() >= 6
  })
  const mark = watches()
  for (let second = 0; second < 60; second++) {
    scenario.world.advance(1_000)
    virtual++
    await new Promise(resolve => setImmediate(resolve))
  }
  expect(watches() - mark).toBeLessThan(virtual)
})

test("T-04: in a short hour with bookmarks nothing is listed again", async () => {
  const { scenario, proxy } = await begin()
  await scenario.start({ server: proxy.server })
  await scenario.put(broker())
  await scenario.ready("main")
  const lists = (): number =>
    proxy.asked.filter(({ watch, url }) => !watch && url.includes("limit=500")).length
  const before = lists()
  for (let minute = 0; minute < 60; minute += 5) {
    scenario.world.advance(300_000)
    await until("the watches are open again", async () => (await scenario.list("broker")).length === 1)
  }
  expect(lists()).toBe(before)
})

test("writes whose answer is lost are made good; 429 with Retry-After is waited for; 409 is looked at anew", async () => {
  const { scenario, proxy } = await begin()
  let count = 0
  const faults: readonly Fault[] = [
    { reset: "after" },
    { answer: 500 },
    { answer: 429, retryAfter: 1 },
    { answer: 409, reason: "Conflict" },
    { reset: "before" },
  ]
  proxy.rule = ({ method, url }) => {
    if (method === "GET" || url.includes("/events")) return null
    count++
    return count % 3 === 0 ? faults[(count / 3) % faults.length]! : null
  }
  await scenario.start({ server: proxy.server })
  await scenario.put(broker())
  await until("the broker is ready in spite of all", async () => {
    scenario.world.advance(2_000)
    return (
      textAt(await scenario.get("statefulSet", "main"), "metadata", "name") === "main" &&
      (await readyNow(scenario))
    )
  })
  expect(count).toBeGreaterThan(15)
})

async function readyNow(scenario: Scenario): Promise<boolean> {
  const conditions = at(await scenario.get("broker", "main"), "status", "conditions")
  return Array.isArray(conditions) && conditions.some(each => each.type === "Ready" && each.status === "True")
}

const MAIN = fileURLToPath(new URL("../../operator/main.ts", import.meta.url))

interface Process {
  readonly child: ChildProcess
  readonly records: Record<string, unknown>[]
  logged(message: string): Promise<void>
  readonly exited: Promise<number | string>
}

function startOperator(scenario: Scenario, identity: string, ...more: string[]): Process {
  const child = spawn(
    process.execPath,
    [
      MAIN,
      `--namespace=${scenario.namespace}`,
      "--watch-mode=single",
      `--identity=${identity}`,
      "--host=127.0.0.1",
      "--probe-port=0",
      "--metrics-port=0",
      "--resolve=127.0.0.1:1",
      ...more,
    ],
    {
      env: { PATH: process.env["PATH"], KUBECONFIG: scenario.kubeconfig() },
      stdio: ["ignore", "pipe", "pipe"],
    },
  )
  children.push(child)
  const records: Record<string, unknown>[] = []
  let errors = ""
  child.stderr!.on("data", (piece: Buffer) => {
    errors += piece.toString()
  })
  createInterface(child.stdout!).on("line", line => {
    if (line.startsWith("{")) records.push(JSON.parse(line) as Record<string, unknown>)
  })
  const exited = new Promise<number | string>(resolve =>
    child.once("exit", (code, signal) => resolve(code ?? signal ?? "")),
  )
  return {
    child,
    records,
    exited,
    logged: message =>
      until(`${identity} says ${message} ${errors}`, async () =>
        records.some(record => record["msg"] === message),
      ).then(() => undefined),
  }
}

test("T-01, T-21: one of two processes leads; killed, the other takes over within 20 s and goes on", async () => {
  const { scenario } = await begin()
  const first = startOperator(scenario, "first")
  await first.logged("leading")
  const second = startOperator(scenario, "second")
  await second.logged("synced")
  const lease = await until("the lease", () => scenario.get("lease", "fitz-operator"))
  for (const field of ["acquireTime", "renewTime"]) expect(textAt(lease, "spec", field)).toMatch(/\.\d{6}Z$/)
  await until("it is renewed", async () => {
    const renewed = textAt(await scenario.get("lease", "fitz-operator"), "spec", "renewTime")
    return renewed !== textAt(lease, "spec", "renewTime") && /\.\d{6}Z$/.test(renewed ?? "")
  })
  await scenario.put(broker())
  await scenario.ready("main")
  // A standby never writes: everything so far is the leader's.
  expect(second.records.some(record => record["msg"] === "leading")).toBe(false)
  const killedAt = Date.now()
  first.child.kill("SIGKILL")
  await second.logged("leading")
  expect(Date.now() - killedAt).toBeLessThan(20_000)
  await scenario.put(broker({ replicas: 0 }))
  await scenario.condition("broker", "main", "Ready", "Stopped")
})

test("T-21: a leader that is told to stop hands the lease back; one that cannot renew ends with 1", async () => {
  const { scenario } = await begin()
  const first = startOperator(scenario, "first")
  await first.logged("leading")
  first.child.kill("SIGTERM")
  expect(await first.exited).toBe(0)
  expect(textAt(await scenario.get("lease", "fitz-operator"), "spec", "holderIdentity")).toBe("")
  const second = startOperator(scenario, "second")
  await second.logged("leading")
  // Somebody else holds it now; a leader that sees that stops at once.
  await scenario.patch("lease", "fitz-operator", {
    spec: { holderIdentity: "third", renewTime: `${new Date().toISOString().slice(0, 23)}000Z` },
  })
  expect(await second.exited).toBe(1)
})

test("--dry-run prints the plan and writes nothing; --once makes everything and ends", async () => {
  const { scenario } = await begin()
  await scenario.put(broker())
  const before = (await scenario.get("broker", "main"))?.metadata.resourceVersion
  const dry = spawn(
    process.execPath,
    [MAIN, `--namespace=${scenario.namespace}`, "--watch-mode=single", "--dry-run"],
    {
      env: { PATH: process.env["PATH"], KUBECONFIG: scenario.kubeconfig() },
      stdio: ["ignore", "pipe", "inherit"],
    },
  )
  children.push(dry)
  let printed = ""
  dry.stdout.on("data", (piece: Buffer) => {
    printed += piece.toString()
  })
  await new Promise(resolve => dry.once("close", resolve))
  expect(printed).toContain("kind: StatefulSet")
  expect(printed).toContain("make: signingKeys")
  expect(printed).not.toMatch(/PRIVATE KEY|"d":/)
  expect((await scenario.get("broker", "main"))?.metadata.resourceVersion).toBe(before)
  expect(await scenario.get("statefulSet", "main")).toBeNull()
  const once = startOperator(scenario, "once", "--once")
  expect(await once.exited).toBe(0)
  expect(await scenario.get("statefulSet", "main")).not.toBeNull()
})
