// `npm run bench:operator`: the numbers of operator.md §12 against a real API server with simulated pods. One thing here is a
// stand-in, and named so: a small HTTP server that answers for all brokers. Prints a table; asserts nothing.

import { createServer } from "node:http"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { parseAllDocuments } from "yaml"
import { type KubeApi, loadKubeConfig, openApi } from "../../operator/cluster/api.ts"
import { printed } from "../../operator/generate.ts"
import { Metrics } from "../../operator/loop/metrics.ts"
import { Operator } from "../../operator/loop/operator.ts"
import { at, KIND, type KubeObject } from "../../operator/plan/object.ts"
import { digest } from "../../operator/plan/values.ts"
import { realWorld } from "../../operator/world.ts"
import { chooseMachine, down, up } from "../cluster/kit/machine.ts"

const BROKERS = Number(process.env["BENCH_BROKERS"] ?? 500)
const REALMS_EACH = Number(process.env["BENCH_REALMS_EACH"] ?? 10)
const STEADY_SECONDS = Number(process.env["BENCH_STEADY_SECONDS"] ?? 120)
const SAMPLES = 20
const NAMESPACE = "bench"

interface Row {
  body: Record<string, unknown>
  etag: string
}

/** Stand-in for every broker: realms and schedules in memory, tags, no judgement. */
function standIn(): Promise<{
  port: number
  close(): void
  calls: { all: number; unchanged: number; writes: number }
}> {
  const brokers = new Map<string, Map<string, Row>>()
  const calls = { all: 0, unchanged: 0, writes: 0 }
  const server = createServer((request, response) => {
    const [, token = ""] = (request.headers.authorization ?? "").split(".")
    const audience =
      token === "" ? "none" : (JSON.parse(Buffer.from(token, "base64url").toString()) as { aud: string }).aud
    const rows = brokers.get(audience) ?? new Map<string, Row>()
    brokers.set(audience, rows)
    const url = new URL(request.url ?? "/", "http://stand-in")
    calls.all++
    let text = ""
    request.on("data", (piece: Buffer) => {
      text += piece.toString()
    })
    request.on("end", () => {
      const send = (status: number, body: unknown, headers: Record<string, string> = {}): void => {
        response.writeHead(status, { "content-type": "application/json", ...headers })
        response.end(status === 304 || status === 204 ? undefined : JSON.stringify(body))
      }
      if (url.pathname === "/health") return send(200, { status: "ok", version: "bench" })
      if (url.pathname === "/api/v1/runtime/auth") return send(200, { storage_id: audience, sources: [] })
      const list =
        url.pathname === "/api/v1/realms"
          ? "realm "
          : url.pathname.endsWith("/schedules")
            ? "schedule "
            : null
      if (list !== null) {
        const held = [...rows]
          .filter(([key]) => key.startsWith(list))
          .map(([, { body, etag }]) => ({ ...body, etag }))
        const etag = `"${digest(JSON.stringify(held)).slice(0, 16)}"`
        if (request.headers["if-none-match"] === etag) {
          calls.unchanged++
          return send(304, null, { etag })
        }
        const headers = { etag, "x-total-count": String(held.length) }
        return send(200, { [list === "realm " ? "realms" : "schedules"]: held }, headers)
      }
      calls.writes++
      const parts = url.pathname.split("/").map(decodeURIComponent)
      const realm = parts[3] === "realms"
      const key = realm ? `realm ${parts[4]}` : `schedule ${parts.slice(5).join("/")}`
      if (request.method === "DELETE") {
        rows.delete(key)
        return send(204, null)
      }
      const body = JSON.parse(text) as Record<string, unknown>
      const stored = realm
        ? { realm: parts[4], declared: true, ...body }
        : {
            family: Number(url.searchParams.get("family")),
            realm: parts[5],
            area: parts[7],
            resource: parts[9],
            operation: parts[11],
            ...body,
            payload_sha256: digest(Buffer.from(String(body["payload"] ?? ""), "base64")),
          }
      rows.set(key, { body: stored, etag: `"${digest(text).slice(0, 16)}"` })
      return send(201, stored)
    })
  })
  return new Promise(resolve =>
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      resolve({
        port: address !== null && typeof address === "object" ? address.port : 0,
        calls,
        close: () => {
          server.closeAllConnections()
          server.close()
        },
      })
    }),
  )
}

const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms))
async function until(what: string, look: () => Promise<boolean> | boolean, ms = 1_800_000): Promise<void> {
  const end = performance.now() + ms
  while (!(await look())) {
    if (performance.now() > end) throw new Error(`${what}: not within ${ms / 1_000} s`)
    await pause(50)
  }
}
const percentile = (values: readonly number[], share: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? 0

const machine = await chooseMachine()
const brokers = await standIn()
const rows: (readonly [string, string, string])[] = []
const report = (goal: string, wanted: string, got: string): void => {
  rows.push([goal, wanted, got])
  console.log(`${goal}: ${got} (wanted: ${wanted})`)
}

try {
  const kubeconfig = await up(machine, "kwok")
  const quiet = realWorld(() => undefined)
  const config = loadKubeConfig({ file: kubeconfig })
  const admin = openApi(config, { world: quiet, perSecond: 5_000, burst: 5_000 })
  await prepare(admin)

  const start = async (
    perSecond: number,
  ): Promise<{
    operator: Operator
    metrics: Metrics
    requests: () => number
    writes: () => number
    stop(): Promise<void>
  }> => {
    let requests = 0
    let writes = 0
    const metrics = new Metrics({ defaults: false })
    const api = openApi(loadKubeConfig({ file: kubeconfig }), {
      world: quiet,
      perSecond,
      burst: perSecond * 2,
      counters: {
        request: method => {
          requests++
          if (method !== "GET") writes++
        },
      },
    })
    const operator = new Operator({
      api,
      world: quiet,
      metrics,
      settings: {
        brokerRepository: "bench",
        defaultVersion: "1",
        operatorNamespace: NAMESPACE,
        clusterReads: true,
      },
      namespaces: [],
      resolve: () => ({ host: "127.0.0.1", port: brokers.port }),
      identity: "bench",
    })
    await operator.watch()
    operator.work()
    return {
      operator,
      metrics,
      requests: () => requests,
      writes: () => writes,
      stop: async () => {
        await operator.stop(5_000)
        api.close()
      },
    }
  }

  // Everything comes to be, at whatever rate the machine has.
  let began = performance.now()
  const first = await start(2_000)
  await until("all are in place", () => ready(first.operator))
  report("all made from nothing (no goal)", "—", `${((performance.now() - began) / 1_000).toFixed(0)} s`)
  await first.stop()

  // A cold start over a converged world.
  const lag = monitorEventLoopDelay({ resolution: 5 })
  lag.enable()
  began = performance.now()
  const second = await start(50)
  await until("every key had a pass", async () => {
    const text = await second.metrics.registry.getSingleMetricAsString("controller_runtime_reconcile_total")
    const done = (name: string): number =>
      [...text.matchAll(new RegExp(`controller="${name}",result="[a-z_]+"\\} (\\d+)`, "g"))].reduce(
        (sum, [, n]) => sum + Number(n),
        0,
      )
    return done("broker") >= BROKERS && done("topology") >= BROKERS
  })
  report("cold start at 50 requests/s", "< 60 s", `${((performance.now() - began) / 1_000).toFixed(1)} s`)
  await until(
    "the queues are empty",
    () => second.operator.brokers.queue.idle && second.operator.topology.queue.idle,
  )

  const mark = {
    requests: second.requests(),
    writes: second.writes(),
    all: brokers.calls.all,
    unchanged: brokers.calls.unchanged,
  }
  await pause(STEADY_SECONDS * 1_000)
  const calls = brokers.calls.all - mark.all
  report("steady: writes", "0", String(second.writes() - mark.writes))
  report(
    "steady: requests a second, without the Lease",
    "≤ 1.0",
    ((second.requests() - mark.requests) / STEADY_SECONDS).toFixed(2),
  )
  report(
    "steady: calls to brokers a second",
    `≈ ${((BROKERS * 2) / 60).toFixed(1)}`,
    (calls / STEADY_SECONDS).toFixed(1),
  )
  report(
    "of these unchanged (304)",
    "most",
    `${((100 * (brokers.calls.unchanged - mark.unchanged)) / Math.max(1, calls)).toFixed(0)} %`,
  )
  report(
    "resident memory, stand-in included",
    "< 256 MiB",
    `${(process.memoryUsage().rss / 2 ** 20).toFixed(0)} MiB`,
  )
  report(
    "event loop, p99 and most",
    "< 50 ms, < 1 s",
    `${(lag.percentile(99) / 1e6).toFixed(0)} ms, ${(lag.max / 1e6).toFixed(0)} ms`,
  )

  const change: number[] = []
  const realm: number[] = []
  for (let sample = 0; sample < SAMPLES; sample++) {
    const name = `b-${sample}`
    began = performance.now()
    await admin.apply(KIND.broker, broker(name, { networkPolicy: { enabled: false } }), {
      manager: "bench",
      force: true,
    })
    await until(
      "the child is written",
      async () => (await admin.get(KIND.networkPolicy, NAMESPACE, name)) === null,
    )
    change.push(performance.now() - began)
    began = performance.now()
    await admin.apply(KIND.realm, realmOf(name, `late-${sample}`), { manager: "bench", force: true })
    await until("the realm is ready", async () =>
      synced(await admin.get(KIND.realm, NAMESPACE, `late-${sample}`)),
    )
    realm.push(performance.now() - began)
  }
  report("change of a broker → first child, p99", "< 500 ms", `${percentile(change, 0.99).toFixed(0)} ms`)
  report("realm → Ready, p99", "< 2 s", `${percentile(realm, 0.99).toFixed(0)} ms`)
  await second.stop()
  admin.close()
  console.log(
    `\n| Goal | Wanted | Measured: ${BROKERS} brokers, ${BROKERS * REALMS_EACH} realms, ${BROKERS} schedules |\n|---|---|---|`,
  )
  for (const [goal, wanted, got] of rows) console.log(`| ${goal} | ${wanted} | ${got} |`)
} finally {
  brokers.close()
  await down(machine)
}
process.exit(0)

function broker(name: string, spec: Record<string, unknown> = {}): KubeObject {
  return {
    apiVersion: "fitz.dev/v1alpha1",
    kind: "FitzBroker",
    metadata: { name, namespace: NAMESPACE },
    spec: { storage: { size: "1Gi" }, resources: { requests: { cpu: "1m", memory: "1Mi" } }, ...spec },
  }
}

function realmOf(of: string, name: string): KubeObject {
  return {
    apiVersion: "fitz.dev/v1alpha1",
    kind: "FitzRealm",
    metadata: { name, namespace: NAMESPACE },
    spec: { brokerRef: { name: of } },
  }
}

function synced(object: KubeObject | null): boolean {
  const conditions = at(object, "status", "conditions")
  return Array.isArray(conditions) && conditions.some(each => each.type === "Ready" && each.status === "True")
}

function ready(operator: Operator): boolean {
  for (const [kind, count] of [
    ["broker", BROKERS],
    ["realm", BROKERS * REALMS_EACH],
    ["schedule", BROKERS],
  ] as const) {
    const store = operator.store(kind)
    if (store === null || store.size < count) return false
    for (const object of store.values()) if (!synced(object)) return false
  }
  return operator.brokers.queue.idle && operator.topology.queue.idle
}

async function prepare(admin: KubeApi): Promise<void> {
  const crds = {
    group: "apiextensions.k8s.io",
    version: "v1",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    namespaced: false,
  }
  for (const [path, text] of printed()) {
    if (!path.startsWith("crds/")) continue
    await admin.apply(crds, parseAllDocuments(text)[0]!.toJS() as KubeObject, {
      manager: "bench",
      force: true,
    })
  }
  await until("the kinds are served", () =>
    admin.list(KIND.schedule, { limit: 1 }).then(
      () => true,
      () => false,
    ),
  )
  await admin.create(KIND.namespace, { apiVersion: "v1", kind: "Namespace", metadata: { name: NAMESPACE } })
  for (let index = 0; index < BROKERS; index++) {
    const name = `b-${index}`
    await admin.apply(KIND.broker, broker(name), { manager: "bench", force: true })
    for (let one = 0; one < REALMS_EACH; one++)
      await admin.apply(KIND.realm, realmOf(name, `${name}-r${one}`), { manager: "bench", force: true })
    await admin.apply(
      KIND.schedule,
      {
        apiVersion: "fitz.dev/v1alpha1",
        kind: "FitzSchedule",
        metadata: { name: `${name}-s`, namespace: NAMESPACE },
        spec: {
          brokerRef: { name },
          route: { realm: `${name}-r0`, area: "a", resource: "b", operation: "c" },
          cron: "0 3 * * *",
        },
      },
      { manager: "bench", force: true },
    )
  }
}
