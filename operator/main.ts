// The operator as a program: `npm run operator`, inside a cluster or outside with a kubeconfig. Reads options, takes the
// lease, works, and ends cleanly on SIGTERM. `--dry-run` prints plans and changes nothing; `--once` reconciles and exits.

import { randomBytes } from "node:crypto"
import { hostname } from "node:os"
import { stringify } from "yaml"
import { homeNamespace, type KubeApi, KubeError, loadKubeConfig, openApi } from "./cluster/api.ts"
import { inCluster, type Resolve } from "./cluster/broker.ts"
import { observeBroker } from "./cluster/observe.ts"
import { decoded } from "./cluster/secrets.ts"
import { type Config, ConfigError, camel, kebab, OPTIONS, readConfig } from "./config.ts"
import { Election } from "./loop/election.ts"
import { openHealth } from "./loop/health.ts"
import { Metrics } from "./loop/metrics.ts"
import { Operator } from "./loop/operator.ts"
import { planBroker } from "./plan/broker.ts"
import { KIND } from "./plan/object.ts"
import { openLog, realWorld, type World } from "./world.ts"

const LAG_MOST_MS = 5_000
const LAG_EVERY_MS = 1_000
const OWN_SECRET = "fitz-operator-metrics"

interface Arguments {
  readonly flags: Record<string, string>
  readonly dryRun: boolean
  readonly once: boolean
  readonly help: boolean
}

function readArguments(list: readonly string[]): Arguments {
  const flags: Record<string, string> = {}
  const plain = new Set<string>()
  for (const word of list) {
    const match = /^--([a-z-]+)(?:=(.*))?$/s.exec(word)
    if (match === null) throw new ConfigError([`${word}: options are written --name=value`])
    const [, name = "", value] = match
    if (value === undefined) plain.add(name)
    else flags[camel(name)] = value
  }
  for (const name of plain)
    if (!["dry-run", "once", "help"].includes(name))
      throw new ConfigError([`--${name}: there is no such switch`])
  return { flags, dryRun: plain.has("dry-run"), once: plain.has("once"), help: plain.has("help") }
}

function help(): string {
  const lines = Object.entries(OPTIONS).map(
    ([name, { env, about, fallback }]) =>
      `  --${kebab(name)}=…\n      ${env}${fallback === null || fallback === "" ? "" : ` (${fallback})`}\n      ${about}`,
  )
  return [
    "fitz-operator: turns FitzBroker, FitzRealm and FitzSchedule into running brokers and their definitions.",
    "",
    "  --dry-run   print what would be done to every object, as YAML, and change nothing",
    "  --once      reconcile everything once and exit",
    "",
    ...lines,
    "",
  ].join("\n")
}

function resolverOf(pattern: string | undefined): Resolve {
  if (pattern === undefined) return inCluster
  return ({ namespace, name }) => {
    const address = pattern.replaceAll("{namespace}", namespace).replaceAll("{name}", name)
    const colon = address.lastIndexOf(":")
    return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) }
  }
}

async function run(): Promise<void> {
  const { flags, dryRun, once, help: wanted } = readArguments(process.argv.slice(2))
  if (wanted) {
    process.stdout.write(help())
    return
  }
  const config = readConfig(process.env, flags)
  const log = openLog(dryRun ? "silent" : config.logLevel)
  const world = realWorld(log)
  const kubeConfig = loadKubeConfig({ file: config.kubeconfig, context: config.context })
  const namespace = config.namespace ?? homeNamespace(kubeConfig)
  const metrics = new Metrics()
  const api = openApi(kubeConfig, {
    world,
    perSecond: config.perSecond,
    burst: config.burst,
    counters: metrics.api,
  })
  const identity = config.identity ?? `${hostname()}-${randomBytes(4).toString("hex")}`
  const election = new Election({
    api,
    world,
    namespace,
    identity,
    onLeading: () => {
      metrics.leading(true)
      log("info", "leading", { identity })
      operator.work()
    },
    onLost: () => {
      metrics.leading(false)
      log("error", "the lease is lost", { identity })
      operator.kill(new Error("the lease is lost"))
      process.exitCode = 1
      process.exit()
    },
  })
  const elects = config.leaderElection && !dryRun
  const operator = new Operator({
    api: dryRun ? readOnly(api) : api,
    world,
    settings: {
      brokerRepository: config.brokerRepository,
      defaultVersion: config.defaultVersion,
      operatorNamespace: namespace,
      clusterReads: config.watchMode === "cluster",
    },
    namespaces:
      config.watchMode === "cluster" ? [] : config.watchMode === "single" ? [namespace] : config.namespaces,
    resolve: resolverOf(config.resolve),
    identity,
    metrics,
    resyncMs: config.resyncSeconds * 1_000,
    workers: { brokers: config.brokerWorkers, topology: config.topologyWorkers },
    ...(elects ? { fence: election.fence } : {}),
  })
  if (dryRun) {
    await operator.watch()
    await printPlans(operator)
    await operator.stop(0)
    api.close()
    return
  }
  await serve({ config, world, api, namespace, metrics, operator, election, elects, once })
}

interface Service {
  readonly config: Config
  readonly world: World
  readonly api: KubeApi & { close(): void }
  readonly namespace: string
  readonly metrics: Metrics
  readonly operator: Operator
  readonly election: Election
  readonly elects: boolean
  readonly once: boolean
}

async function serve(service: Service): Promise<void> {
  const { config, world, api, namespace, metrics, operator, election, elects, once } = service
  const lag = watchLag()
  let token: string | null = null
  const health = await openHealth({
    host: config.host,
    probePort: config.probePort,
    metricsPort: config.metricsPort,
    metrics,
    sick: () =>
      lag.ms() > LAG_MOST_MS ? `the event loop lags by ${Math.round(lag.ms())} ms` : operator.sick,
    synced: () => operator.synced,
    token: () => token,
  })
  world.log("info", "listening", { probePort: health.probePort, metricsPort: health.metricsPort })
  let stopping = false
  const stop = async (code: number): Promise<void> => {
    if (stopping) return
    stopping = true
    world.log("info", "stopping")
    await operator.stop()
    await election.stop(true)
    await health.close()
    lag.stop()
    api.close()
    world.log("info", "stopped")
    process.exit(code)
  }
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => void stop(0))
  await operator.watch()
  world.log("info", "synced")
  token = await ownToken(api, namespace, world)
  if (elects) election.start()
  else operator.work()
  if (!once) return
  await settled(operator, () => !elects || election.leading)
  await stop(0)
}

const SETTLED_MS = 200

/** Resolves once there has been work and none is left. */
async function settled(operator: Operator, ready: () => boolean): Promise<void> {
  for (let quiet = 0; quiet < 5; ) {
    await new Promise(resolve => setTimeout(resolve, SETTLED_MS))
    quiet = ready() && operator.brokers.queue.idle && operator.topology.queue.idle ? quiet + 1 : 0
  }
}

function watchLag(): { ms(): number; stop(): void } {
  let expected = performance.now() + LAG_EVERY_MS
  let last = 0
  const timer = setInterval(() => {
    const now = performance.now()
    last = Math.max(0, now - expected)
    expected = now + LAG_EVERY_MS
  }, LAG_EVERY_MS)
  timer.unref()
  return { ms: () => Math.max(last, performance.now() - expected), stop: () => clearInterval(timer) }
}

/** The token for scraping the operator itself, from a Secret that it makes where there is none. */
async function ownToken(api: KubeApi, namespace: string, world: World): Promise<string | null> {
  try {
    const found = await api.get(KIND.secret, namespace, OWN_SECRET)
    if (found !== null) return decoded(found)["token"] ?? null
    const token = randomBytes(32).toString("base64url")
    await api.create(KIND.secret, {
      apiVersion: "v1",
      kind: KIND.secret.kind,
      type: "Opaque",
      metadata: { name: OWN_SECRET, namespace, labels: { "app.kubernetes.io/name": "fitz-operator" } },
      data: { token: Buffer.from(token).toString("base64") },
    })
    return token
  } catch (error) {
    if (!(error instanceof KubeError)) throw error
    if (error.status === 409) return ownToken(api, namespace, world)
    world.log("warn", "the metrics stay closed: their token can neither be read nor made", {
      reason: error.message,
    })
    return null
  }
}

/** The API without its writes. */
function readOnly(api: KubeApi): KubeApi {
  const refuse = (): never => {
    throw new Error("a dry run writes nothing")
  }
  return {
    get: api.get.bind(api),
    list: api.list.bind(api),
    watch: api.watch.bind(api),
    discover: api.discover.bind(api),
    create: refuse,
    apply: refuse,
    applyStatus: refuse,
    mergePatch: refuse,
    delete: refuse,
  }
}

async function printPlans(operator: Operator): Promise<void> {
  const signal = new AbortController().signal
  const brokers = [...(operator.store("broker")?.values() ?? [])]
  for (const broker of brokers.sort((a, b) => (key(a) < key(b) ? -1 : 1))) {
    const plan = planBroker(await observeBroker(operator.io, broker, signal))
    process.stdout.write(`---\n# ${key(broker)}\n${stringify({ broker: key(broker), ...plan })}`)
  }
  for (const kind of ["realm", "schedule"] as const)
    for (const object of operator.store(kind)?.values() ?? [])
      process.stdout.write(
        `---\n# ${KIND[kind].kind} ${key(object)}: judged against the broker's rows when applied\n`,
      )
}

function key(object: { metadata: { namespace?: string; name: string } }): string {
  return `${object.metadata.namespace ?? ""}/${object.metadata.name}`
}

process.on("unhandledRejection", error => {
  process.stderr.write(`${JSON.stringify({ level: "error", msg: "unhandled", reason: String(error) })}\n`)
  process.exit(1)
})

try {
  await run()
} catch (error) {
  const words = error instanceof Error ? error.message : String(error)
  process.stderr.write(`fitz-operator: ${words}\n`)
  process.exit(1)
}
