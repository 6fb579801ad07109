// The operator put together (operator.md §8): stores and their watches, the two controllers, events, discovery. Which event
// wakes which key is here; what a pass does is not.

import type { KubeApi } from "../cluster/api.ts"
import { BrokerCalls, type Resolve } from "../cluster/broker.ts"
import { Memory } from "../cluster/memory.ts"
import { type Cache, credentialsFor, type Io } from "../cluster/observe.ts"
import {
  BROKER_LABEL,
  KIND,
  type KindName,
  type KubeObject,
  MANAGED_BY_LABEL,
  MANAGER,
} from "../plan/object.ts"
import { podFacts } from "../plan/pods.ts"
import { brokerOf } from "../plan/topology.ts"
import { RESYNC_MS, type Settings } from "../plan/types.ts"
import { canonical } from "../plan/values.ts"
import type { World } from "../world.ts"
import { passBroker } from "./brokers.ts"
import { Controller } from "./controller.ts"
import { passTopology } from "./definitions.ts"
import { Events } from "./events.ts"
import { Metrics } from "./metrics.ts"
import { Reflector } from "./reflector.ts"
import { Store } from "./store.ts"

export interface OperatorOptions {
  readonly api: KubeApi
  readonly world: World
  readonly settings: Settings
  /** Namespaces to work in; empty for all. */
  readonly namespaces: readonly string[]
  readonly resolve: Resolve
  readonly identity: string
  readonly metrics?: Metrics
  /** Throws where this process may not write. */
  readonly fence?: () => void
  readonly resyncMs?: number
  readonly workers?: { readonly brokers: number; readonly topology: number }
}

const DISCOVERY_MS = 60_000
const SYNC_MS = 120_000
const STOP_MS = 20_000
export const MONITORING_GROUP = "monitoring.coreos.com"

const ALWAYS: readonly KindName[] = [
  "broker",
  "realm",
  "schedule",
  "serviceAccount",
  "configMap",
  "claim",
  "service",
  "networkPolicy",
  "statefulSet",
  "disruptionBudget",
  "pod",
]
const MONITORING: readonly KindName[] = ["serviceMonitor", "prometheusRule"]

export class Operator {
  readonly brokers: Controller
  readonly topology: Controller
  readonly io: Io
  readonly metrics: Metrics
  private readonly options: OperatorOptions
  private readonly stores = new Map<KindName, Store>()
  private readonly watches = new Map<KindName, AbortController>()
  private readonly abort = new AbortController()
  private readonly reflectors: Promise<void>[] = []
  private readonly events: Events
  private cancelDiscovery: () => void = () => undefined

  constructor(options: OperatorOptions) {
    this.options = options
    const { api, world, settings, resolve, identity } = options
    const fence = options.fence ?? (() => undefined)
    this.metrics = options.metrics ?? new Metrics({ defaults: false })
    const calls = new BrokerCalls(
      world,
      resolve,
      (target, fresh) => credentialsFor(this.io, target, fresh),
      this.metrics.brokers,
    )
    this.io = {
      world,
      api,
      cache: this.cache(),
      memory: new Memory(),
      calls,
      settings,
      fence,
      counters: this.metrics.io,
    }
    this.events = new Events(api, world, identity, fence)
    const workers = options.workers ?? { brokers: 4, topology: 8 }
    this.brokers = new Controller({
      name: "broker",
      workers: workers.brokers,
      world,
      resyncMs: options.resyncMs ?? RESYNC_MS,
      counters: this.metrics.controller("broker", workers.brokers),
      pass: (key, signal) => passBroker(this.io, this.events, this.metrics.states, key, signal),
    })
    this.topology = new Controller({
      name: "topology",
      workers: workers.topology,
      world,
      resyncMs: null,
      counters: this.metrics.controller("topology", workers.topology),
      pass: (key, signal) => passTopology(this.io, this.events, this.metrics.states, key, signal),
    })
  }

  /** Whether every store has been filled once. */
  get synced(): boolean {
    return this.stores.size > 0 && [...this.stores.values()].every(store => store.synced)
  }

  get sick(): string | null {
    if (this.brokers.deadWorkers + this.topology.deadWorkers > 0) return "a worker has ended"
    return null
  }

  store(kind: KindName): Store | null {
    return this.stores.get(kind) ?? null
  }

  /** Starts the watches; resolves when all stores are filled. A standby stops here. */
  async watch(): Promise<void> {
    const { settings, namespaces } = this.options
    for (const kind of ALWAYS) this.begin(kind)
    if (settings.clusterReads && namespaces.length === 0) this.begin("namespace")
    await this.discover()
    const { world } = this.options
    await new Promise<void>((resolve, reject) => {
      const late = world.later(SYNC_MS, () =>
        reject(new Error(`not all kinds could be listed: ${this.unsynced()}`)),
      )
      const look = (): void => {
        if (this.abort.signal.aborted) reject(this.abort.signal.reason as Error)
        else if (this.synced) {
          late()
          resolve()
        } else setTimeout(look, 20)
      }
      look()
    })
  }

  private unsynced(): string {
    return [...this.stores.values()]
      .flatMap(store => (store.synced ? [] : [KIND[store.kind].plural]))
      .join(", ")
  }

  /** Starts working. Every broker gets a pass. */
  work(): void {
    this.brokers.start()
    this.topology.start()
  }

  /** Finishes what runs, or aborts it after a while. */
  async stop(graceMs = STOP_MS): Promise<void> {
    this.cancelDiscovery()
    await Promise.all([this.brokers.stop(graceMs), this.topology.stop(graceMs)])
    this.end(new Error("stopped"))
    await Promise.all(this.reflectors)
  }

  /** Ends in the middle of everything, as a killed process does. */
  kill(reason = new Error("killed")): void {
    this.cancelDiscovery()
    this.brokers.kill(reason)
    this.topology.kill(reason)
    this.end(reason)
  }

  private end(reason: Error): void {
    this.abort.abort(reason)
    for (const controller of this.watches.values()) controller.abort(reason)
    this.io.calls.close()
  }

  private cache(): Cache {
    return {
      get: (kind, namespace, name) => this.stores.get(kind)?.get(namespace, name) ?? null,
      indexed: (kind, key) => this.stores.get(kind)?.indexed(key) ?? [],
      put: (kind, object) => this.stores.get(kind)?.put(object),
      has: kind => this.stores.has(kind),
    }
  }

  private begin(kind: KindName): void {
    const { api, world, namespaces } = this.options
    const store = new Store(kind)
    this.stores.set(kind, store)
    store.onChange((now, before) => this.changed(kind, now, before))
    const controller = new AbortController()
    this.watches.set(kind, controller)
    const cluster = !KIND[kind].namespaced
    for (const namespace of cluster || namespaces.length === 0 ? [""] : namespaces) {
      const reflector = new Reflector({
        api,
        world,
        store,
        namespace,
        labelSelector: selectorFor(kind),
        onRestart: reason => this.metrics.watchRestarted(KIND[kind].kind, reason),
      })
      this.reflectors.push(reflector.run(AbortSignal.any([controller.signal, this.abort.signal])))
    }
  }

  /** Monitoring kinds come and go with their CRDs. */
  private async discover(): Promise<void> {
    const { api, world } = this.options
    try {
      const served = (await api.discover(this.abort.signal)).includes(MONITORING_GROUP)
      const known = this.stores.has("serviceMonitor")
      if (served && !known) for (const kind of MONITORING) this.begin(kind)
      if (!served && known)
        for (const kind of MONITORING) {
          this.watches.get(kind)?.abort(new Error("the kind is gone"))
          this.watches.delete(kind)
          this.stores.delete(kind)
        }
      if (served !== known) this.wakeAll()
    } catch (error) {
      if (this.abort.signal.aborted) return
      world.log("info", "the API groups could not be read", { reason: String(error) })
    }
    this.cancelDiscovery = world.later(DISCOVERY_MS, () => void this.discover())
  }

  private wakeAll(): void {
    for (const broker of this.stores.get("broker")?.values() ?? [])
      this.brokers.add(`${broker.metadata.namespace}/${broker.metadata.name}`, "resync")
  }

  private changed(kind: KindName, now: KubeObject | null, before: KubeObject | null): void {
    const object = now ?? before
    if (object === null) return
    const { namespace = "", name } = object.metadata
    if (kind === "broker") {
      if (now === null) {
        this.io.memory.forget(object.metadata.uid ?? "")
        this.io.calls.forget(object.metadata.uid ?? "")
      }
      if (now === null || before === null || intent(now) !== intent(before)) {
        this.brokers.add(`${namespace}/${name}`)
        this.topology.add(`${namespace}/${name}`)
      }
      return
    }
    if (kind === "realm" || kind === "schedule") {
      if (now !== null && before !== null && intent(now) === intent(before)) return
      this.topology.add(brokerOf(object))
      return
    }
    if (kind === "namespace") {
      const labels = (each: KubeObject | null): string =>
        canonical([each?.metadata.labels ?? {}, each?.metadata.deletionTimestamp ?? null])
      if (before !== null && now !== null && labels(now) === labels(before)) return
      for (const definition of ["realm", "schedule"] as const)
        for (const each of this.stores.get(definition)?.values() ?? [])
          if (each.metadata.namespace === name) this.topology.add(brokerOf(each), "resync")
      return
    }
    const broker = object.metadata.labels?.[BROKER_LABEL]
    if (broker === undefined) return
    this.brokers.add(`${namespace}/${broker}`)
    if (kind === "pod" && incarnation(now) !== incarnation(before))
      this.topology.add(`${namespace}/${broker}`)
  }
}

/** What of a resource of ours people may change: a status written by us wakes nobody. */
function intent(object: KubeObject): string {
  const { uid, generation, deletionTimestamp, annotations, finalizers } = object.metadata
  return canonical([uid, generation, deletionTimestamp ?? null, annotations ?? {}, finalizers ?? []])
}

function incarnation(pod: KubeObject | null): string {
  if (pod === null) return ""
  const facts = podFacts(pod)
  return `${facts.incarnation} ${facts.ready} ${facts.deletedAt !== null}`
}

function selectorFor(kind: KindName): string | undefined {
  if (kind === "broker" || kind === "realm" || kind === "schedule" || kind === "namespace") return undefined
  // Children and pods carry it; strangers' objects never enter the memory.
  return `${MANAGED_BY_LABEL}=${MANAGER},${BROKER_LABEL}`
}
