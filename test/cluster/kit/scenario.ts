// A scenario: a namespace of its own in the run's cluster, an operator that works in it with exactly the rights of
// operator.md §9, and tools to act as a user and to look on. Operators can be killed after their n-th write.

import { randomBytes } from "node:crypto"
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inject } from "vitest"
import { parseAllDocuments } from "yaml"
import { type KubeApi, KubeError, loadKubeConfig, openApi } from "../../../operator/cluster/api.ts"
import type { Resolve } from "../../../operator/cluster/broker.ts"
import { printed } from "../../../operator/generate.ts"
import { roles } from "../../../operator/kinds/rbac.ts"
import { Operator } from "../../../operator/loop/operator.ts"
import { at, KIND, type Kind, type KindName, type KubeObject } from "../../../operator/plan/object.ts"
import type { Settings } from "../../../operator/plan/types.ts"
import { kubectl, up } from "./machine.ts"
import { type SteeredWorld, steeredWorld } from "./world.ts"

export interface Cluster {
  readonly kubeconfig: string
  readonly api: KubeApi
  readonly server: string
  readonly ca: string
}

let known: Promise<Cluster> | null = null

/** The run's cluster, with our kinds in it. */
export function cluster(): Promise<Cluster> {
  known ??= open()
  return known
}

async function open(): Promise<Cluster> {
  const kubeconfig = await up(inject("machine"), "kwok")
  const config = loadKubeConfig({ file: kubeconfig })
  const api = openApi(config, { world: steeredWorld(), perSecond: 10_000, burst: 10_000 })
  const crds: Kind = {
    group: "apiextensions.k8s.io",
    version: "v1",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    namespaced: false,
  }
  for (const [path, text] of printed()) {
    if (!path.startsWith("crds/")) continue
    const [document] = parseAllDocuments(text)
    await api.apply(crds, document!.toJS() as KubeObject, { manager: "test", force: true })
  }
  await until("the kinds are served", async () => {
    for (const kind of ["broker", "realm", "schedule"] as const) await api.list(KIND[kind], { limit: 1 })
    return true
  })
  const current = config.getCurrentCluster()!
  const ca =
    current.caData === undefined
      ? readFileSync(current.caFile!, "utf8")
      : Buffer.from(current.caData, "base64").toString()
  return { kubeconfig, api, server: current.server, ca }
}

/** Waits until something holds. What fails on the way counts as "not yet". */
export async function until<T>(
  what: string,
  look: () => Promise<T | null | false | undefined>,
  ms = 60_000,
): Promise<T> {
  const end = Date.now() + ms
  let last: unknown = null
  for (;;) {
    try {
      const found = await look()
      if (found !== null && found !== false && found !== undefined) return found
      last = null
    } catch (error) {
      last = error
    }
    if (Date.now() >= end)
      throw new Error(`${what}: not within ${ms / 1_000} s${last === null ? "" : ` (${String(last)})`}`)
    await new Promise(resolve => setTimeout(resolve, 40))
  }
}

export interface Write {
  readonly verb: string
  readonly kind: string
  readonly name: string
}

/** The API, with its writes counted and, if wanted, an end after the n-th. */
export class Counted {
  readonly writes: Write[] = []
  /** After so many writes the process is gone: no answer reaches it any more. */
  dieAfter: number | null = null
  dead = false
  onDeath: () => void = () => undefined
  readonly api: KubeApi

  constructor(inner: KubeApi) {
    const write = async <T>(verb: string, kind: Kind, name: string, call: () => Promise<T>): Promise<T> => {
      if (this.dead) return new Promise<T>(() => undefined)
      const result = await call()
      return this.count({ verb, kind: kind.kind, name }, result)
    }
    this.api = {
      get: (...args) => inner.get(...args),
      list: (...args) => inner.list(...args),
      watch: (...args) => inner.watch(...args),
      discover: (...args) => inner.discover(...args),
      create: (kind, object, signal) =>
        write("create", kind, object.metadata.name, () => inner.create(kind, object, signal)),
      apply: (kind, object, options, signal) =>
        write("apply", kind, object.metadata.name, () => inner.apply(kind, object, options, signal)),
      applyStatus: (kind, object, options, signal) =>
        write("status", kind, object.metadata.name, () => inner.applyStatus(kind, object, options, signal)),
      mergePatch: (kind, namespace, name, patch, signal) =>
        write("patch", kind, name, () => inner.mergePatch(kind, namespace, name, patch, signal)),
      delete: (kind, namespace, name, uid, signal) =>
        write("delete", kind, name, () => inner.delete(kind, namespace, name, uid, signal)),
    }
  }

  /** Counts a write that has happened; the one after which the process dies never returns. */
  count<T>(write: Write, result: T): Promise<T> {
    if (this.dead) return new Promise<T>(() => undefined)
    this.writes.push(write)
    if (this.dieAfter !== null && this.writes.length >= this.dieAfter) {
      this.dead = true
      this.onDeath()
      return new Promise<T>(() => undefined)
    }
    return Promise.resolve(result)
  }

  /** Writes that change somebody's state: events and leases only tell. */
  get changes(): readonly Write[] {
    return this.writes.filter(({ kind }) => kind !== "Event" && kind !== "Lease")
  }
}

export interface Running {
  readonly operator: Operator
  readonly counted: Counted
  stop(): Promise<void>
  kill(): void
}

export interface ScenarioOptions {
  readonly settings?: Partial<Settings>
  readonly resolve?: Resolve
  readonly seed?: number
  /** Further namespaces, by a word that becomes part of their names. */
  readonly others?: readonly string[]
  /** All namespaces are watched, with the rights for that. */
  readonly wide?: boolean
}

export class Scenario {
  readonly cluster: Cluster
  readonly namespace: string
  readonly others: Readonly<Record<string, string>>
  readonly world: SteeredWorld
  readonly api: KubeApi
  readonly options: ScenarioOptions
  private readonly token: string
  private readonly folder = mkdtempSync(join(tmpdir(), "fitz-scenario-"))
  private readonly running: Running[] = []

  constructor(
    cluster: Cluster,
    namespace: string,
    others: Record<string, string>,
    token: string,
    options: ScenarioOptions,
  ) {
    this.cluster = cluster
    this.namespace = namespace
    this.others = others
    this.token = token
    this.options = options
    this.api = cluster.api
    this.world = steeredWorld({ seed: options.seed ?? 1 })
  }

  /** A kubeconfig with the operator's own rights, for that server. */
  kubeconfig(server = this.cluster.server): string {
    const file = join(this.folder, `operator-${randomBytes(3).toString("hex")}.kubeconfig`)
    writeFileSync(
      file,
      JSON.stringify({
        apiVersion: "v1",
        kind: "Config",
        "current-context": "test",
        clusters: [
          {
            name: "test",
            cluster: {
              server,
              "certificate-authority-data": Buffer.from(this.cluster.ca).toString("base64"),
            },
          },
        ],
        users: [{ name: "operator", user: { token: this.token } }],
        contexts: [
          { name: "test", context: { cluster: "test", user: "operator", namespace: this.namespace } },
        ],
      }),
      { mode: 0o600 },
    )
    return file
  }

  /** Starts an operator. Resolves when its stores are filled. */
  async start(
    options: {
      server?: string
      settings?: Partial<Settings>
      resolve?: Resolve
      dieAfter?: number
      world?: SteeredWorld
      fence?: () => void
    } = {},
  ): Promise<Running> {
    const world = options.world ?? this.world
    const inner = openApi(loadKubeConfig({ file: this.kubeconfig(options.server) }), {
      world,
      perSecond: 1_000,
      burst: 1_000,
    })
    const counted = new Counted(inner)
    counted.dieAfter = options.dieAfter ?? null
    const operator = new Operator({
      api: counted.api,
      world,
      namespaces: this.options.wide === true ? [] : [this.namespace, ...Object.values(this.others)],
      resolve: options.resolve ?? this.options.resolve ?? (() => ({ host: "127.0.0.1", port: 1 })),
      identity: "test",
      settings: {
        brokerRepository: "registry.test/fitz-broker",
        defaultVersion: "1.4.0",
        operatorNamespace: this.namespace,
        clusterReads: this.options.wide === true,
        ...this.options.settings,
        ...options.settings,
      },
      ...(options.fence === undefined ? {} : { fence: options.fence }),
    })
    const carryOut = operator.io.calls.carryOut.bind(operator.io.calls)
    operator.io.calls.carryOut = async (target, call, signal) => {
      if (counted.dead) return new Promise<void>(() => undefined)
      await carryOut(target, call, signal)
      return counted.count(
        { verb: call.do, kind: `broker ${call.what}`, name: call.owner.metadata.name },
        undefined,
      )
    }
    const running: Running = {
      operator,
      counted,
      stop: async () => {
        if (!counted.dead) await operator.stop(5_000)
        inner.close()
      },
      kill: () => {
        counted.dead = true
        operator.kill()
        inner.close()
      },
    }
    counted.onDeath = running.kill
    this.running.push(running)
    await operator.watch()
    operator.work()
    return running
  }

  /** Applies manifests as a user does. Objects without a namespace get the scenario's. */
  async apply(text: string): Promise<KubeObject[]> {
    const out: KubeObject[] = []
    for (const document of parseAllDocuments(text)) {
      const object = document.toJS() as KubeObject | null
      if (object === null) continue
      out.push(await this.put(object))
    }
    return out
  }

  async put(object: KubeObject, force = true): Promise<KubeObject> {
    const kind = kindOf(object)
    const placed = { ...object, metadata: { namespace: this.namespace, ...object.metadata } }
    return (await this.api.apply(kind, placed, { manager: "user", force })).object
  }

  get(kind: KindName, name: string, namespace = this.namespace): Promise<KubeObject | null> {
    return this.api.get(KIND[kind], namespace, name)
  }

  patch(kind: KindName, name: string, patch: unknown, namespace = this.namespace): Promise<KubeObject> {
    return this.api.mergePatch(KIND[kind], namespace, name, patch)
  }

  async delete(kind: KindName, name: string, namespace = this.namespace): Promise<void> {
    const object = await this.get(kind, name, namespace)
    if (object !== null) await this.api.delete(KIND[kind], namespace, name, object.metadata.uid ?? "")
  }

  async list(kind: KindName, namespace = this.namespace): Promise<readonly KubeObject[]> {
    return (await this.api.list(KIND[kind], { namespace, limit: 500 })).items
  }

  kubectl(...args: readonly string[]): Promise<string> {
    return kubectl(this.cluster.kubeconfig, "-n", this.namespace, ...args)
  }

  /** Waits for a condition with that reason, and for the status to speak of the newest spec. */
  async condition(
    kind: KindName,
    name: string,
    type: string,
    reason: string,
    namespace = this.namespace,
  ): Promise<KubeObject> {
    let seen = "nothing"
    try {
      return await until(`${name}: ${type}=${reason}`, async () => {
        const object = await this.get(kind, name, namespace)
        const found = conditionOf(object, type)
        seen = JSON.stringify(at(object, "status", "conditions") ?? null)
        const current = at(object, "status", "observedGeneration") === object?.metadata.generation
        return current && found?.reason === reason ? object : null
      })
    } catch (error) {
      throw new Error(`${String(error)}; last seen: ${seen}; log: ${this.logTail()}`)
    }
  }

  ready(name: string): Promise<KubeObject> {
    return this.condition("broker", name, "Ready", "Running")
  }

  /** Waits until nothing is due for the operator; then what it writes is nobody's leftovers. */
  async quiet({ operator, counted }: Running): Promise<void> {
    let writes = -1
    let calm = 0
    await until("the operator is quiet", async () => {
      const idle =
        operator.brokers.queue.idle && operator.topology.queue.idle && counted.writes.length === writes
      writes = counted.writes.length
      calm = idle ? calm + 1 : 0
      return calm >= 12
    })
  }

  /** Events of ours on an object, by reason. */
  async events(name: string, namespace = this.namespace): Promise<string[]> {
    const events = await this.list("event", namespace)
    return events
      .filter(
        event =>
          at(event, "regarding", "name") === name && at(event, "reportingController") === "fitz.dev/operator",
      )
      .map(event => String(event["reason"]))
  }

  logTail(): string {
    if (process.env["FITZ_TEST_LOG"] !== undefined) return JSON.stringify(this.world.records)
    return JSON.stringify(this.world.records.slice(-6))
  }

  /** Ends the operators and lets the namespaces go, without waiting for them. */
  async end(): Promise<void> {
    for (const running of this.running) await running.stop()
    for (const namespace of [this.namespace, ...Object.values(this.others)]) {
      // Finalizers of ours would keep it for ever, since nobody is left to drop them.
      for (const kind of ["realm", "schedule"] as const)
        for (const object of await this.list(kind, namespace))
          if ((object.metadata.finalizers ?? []).length > 0)
            await this.patch(kind, object.metadata.name, { metadata: { finalizers: null } }, namespace).catch(
              ignoreGone,
            )
      const object = await this.api.get(KIND.namespace, "", namespace)
      if (object !== null) await this.api.delete(KIND.namespace, "", namespace, object.metadata.uid ?? "")
    }
  }
}

export function ignoreGone(error: unknown): void {
  if (!(error instanceof KubeError) || error.status !== 404) throw error
}

export function conditionOf(
  object: KubeObject | null,
  type: string,
): { status: string; reason: string; message: string; lastTransitionTime: string } | undefined {
  const conditions = at(object, "status", "conditions")
  return Array.isArray(conditions) ? conditions.find(each => at(each, "type") === type) : undefined
}

const KINDS: readonly Kind[] = Object.values(KIND)
const EXTRA: readonly Kind[] = [
  { group: "rbac.authorization.k8s.io", version: "v1", kind: "Role", plural: "roles", namespaced: true },
  {
    group: "rbac.authorization.k8s.io",
    version: "v1",
    kind: "RoleBinding",
    plural: "rolebindings",
    namespaced: true,
  },
  {
    group: "rbac.authorization.k8s.io",
    version: "v1",
    kind: "ClusterRole",
    plural: "clusterroles",
    namespaced: false,
  },
  {
    group: "rbac.authorization.k8s.io",
    version: "v1",
    kind: "ClusterRoleBinding",
    plural: "clusterrolebindings",
    namespaced: false,
  },
  { group: "", version: "v1", kind: "ResourceQuota", plural: "resourcequotas", namespaced: true },
  {
    group: "apiextensions.k8s.io",
    version: "v1",
    kind: "CustomResourceDefinition",
    plural: "customresourcedefinitions",
    namespaced: false,
  },
]

export function kindOf({ apiVersion, kind }: KubeObject): Kind {
  const [version, group = ""] = apiVersion.split("/").reverse()
  const found = [...KINDS, ...EXTRA].find(
    each => each.kind === kind && each.group === group && each.version === version,
  )
  if (found === undefined) throw new Error(`the tests know no ${apiVersion} ${kind}`)
  return found
}

/** A new scenario. The rights come from the data of operator/kinds/rbac.ts and from nowhere else. */
export async function newScenario(options: ScenarioOptions = {}): Promise<Scenario> {
  const shared = await cluster()
  const { api } = shared
  const id = randomBytes(4).toString("hex")
  const namespace = `t-${id}`
  const others = Object.fromEntries((options.others ?? []).map(word => [word, `t-${id}-${word}`]))
  const all = [namespace, ...Object.values(others)]
  for (const name of all)
    await api.create(KIND.namespace, { apiVersion: "v1", kind: "Namespace", metadata: { name } })
  await api.create(KIND.serviceAccount, {
    apiVersion: "v1",
    kind: "ServiceAccount",
    metadata: { name: "fitz-operator", namespace },
  })
  const mode = options.wide === true ? "cluster" : "list"
  for (const object of roles(mode, namespace, all) as unknown as KubeObject[]) {
    const clusterWide = object.kind.startsWith("Cluster")
    // One name for each scenario, where the cluster has only one room.
    const placed =
      clusterWide && object.metadata.name === "fitz-operator"
        ? ({
            ...object,
            metadata: { ...object.metadata, name: `fitz-operator-${id}` },
            ...(object["roleRef"] === undefined
              ? {}
              : { roleRef: { ...(object["roleRef"] as object), name: `fitz-operator-${id}` } }),
          } as KubeObject)
        : object
    await api.apply(kindOf(placed), placed, { manager: "test", force: true })
  }
  const request = await api.create(
    {
      group: "",
      version: "v1",
      kind: "TokenRequest",
      plural: "serviceaccounts/fitz-operator/token",
      namespaced: true,
    },
    {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      metadata: { name: "", namespace },
      spec: { expirationSeconds: 86_400 },
    },
  )
  return new Scenario(shared, namespace, others, String(at(request, "status", "token")), options)
}

export const MINIMAL = `
apiVersion: fitz.dev/v1alpha1
kind: FitzBroker
metadata: { name: main }
spec:
  storage: { size: 1Gi }
`
