// One pass over a broker's realms and schedules (operator.md §6): rows in, plan, calls, statuses. Calls are made in the
// plan's order; what the broker answers becomes part of a second look, from which status is taken.

import { BrokerError } from "../cluster/broker.ts"
import { writeFinalizer, writeStatus } from "../cluster/carry.ts"
import { type Io, podsOf, readView, targetOf } from "../cluster/observe.ts"
import { brokerSpec } from "../kinds/broker.ts"
import { soonest } from "../plan/keys.ts"
import { FINALIZER, type KindName, type KubeObject, TOPOLOGY_MANAGER } from "../plan/object.ts"
import {
  type BrokerRows,
  type Call,
  planTopology,
  type Rejection,
  type TopologyObserved,
  type TopologyPlan,
} from "../plan/topology.ts"
import { durationMs } from "../plan/values.ts"
import type { PassResult } from "./controller.ts"
import type { Events } from "./events.ts"

export interface DefinitionGauges {
  definitions(key: string, states: readonly { kind: string; state: string }[] | null): void
}

const REJECTED_AGAIN_MS = 600_000
const JITTER = 0.1

export async function passTopology(
  io: Io,
  events: Events,
  gauges: DefinitionGauges,
  key: string,
  signal: AbortSignal,
): Promise<PassResult> {
  const { cache, world, memory } = io
  const [namespace = "", name = ""] = key.split("/")
  const broker = cache.get("broker", namespace, name)
  const realms = cache.indexed("realm", key)
  const schedules = cache.indexed("schedule", key)
  if (broker === null && realms.length === 0 && schedules.length === 0) {
    gauges.definitions(key, null)
    return { result: "gone" }
  }
  const uid = broker?.metadata.uid ?? ""
  const known = memory.of(uid)
  const parsed = broker === null ? null : brokerSpec.safeParse(broker["spec"])
  const spec = parsed?.success === true ? parsed.data : null
  const base: Omit<TopologyObserved, "rows"> = {
    now: world.now(),
    settings: io.settings,
    namespace,
    name,
    broker,
    spec,
    realms,
    schedules,
    namespaces: namespacesOf(io, [...realms, ...schedules]),
    lastStorageId: known.lastStorageId,
    unreachableSince: known.unreachableSince,
    // What the broker refused is offered again after ten minutes, in case it has changed its mind.
    rejections: known.rejections.filter(
      ({ uid: of, generation, at }) =>
        world.now() - at < REJECTED_AGAIN_MS &&
        [...realms, ...schedules].some(
          ({ metadata }) => metadata.uid === of && (metadata.generation ?? 0) === generation,
        ),
    ),
  }
  const first = planTopology({ ...base, rows: null })
  let rows: BrokerRows | null = null
  if (first.polls && broker !== null) rows = await readRows(io, broker, signal)
  const observed: TopologyObserved = { ...base, rows, unreachableSince: known.unreachableSince }
  const plan = planTopology(observed)

  for (const { object, status } of plan.acknowledge)
    await writeStatus(io, kindOf(object), object, TOPOLOGY_MANAGER, status, signal)
  const held = new Set<string>()
  for (const object of plan.hold) {
    const fresh = cache.get(kindOf(object), object.metadata.namespace ?? "", object.metadata.name) ?? object
    await writeFinalizer(io, kindOf(object), fresh, [...(fresh.metadata.finalizers ?? []), FINALIZER], signal)
    held.add(object.metadata.uid ?? "")
  }
  const result = broker === null ? null : await makeCalls(io, broker, plan, signal)
  const refused = result?.rejections ?? []
  known.rejections = [
    ...base.rejections.filter(({ uid: of }) => !refused.some(fresh => fresh.uid === of)),
    ...refused,
  ]

  // A second look, with what the calls have changed.
  const changed = result !== null && result.made > 0 && broker !== null
  const rowsAfter = changed && !result.unreachable ? await readRows(io, broker, signal) : rows
  const after: TopologyObserved = {
    ...observed,
    now: world.now(),
    broker: broker === null ? null : (cache.get("broker", namespace, name) ?? broker),
    realms: cache.indexed("realm", key),
    schedules: cache.indexed("schedule", key),
    rows: rowsAfter,
    lastStorageId: rowsAfter?.storageId ?? known.lastStorageId,
    unreachableSince: known.unreachableSince,
    rejections: known.rejections,
  }
  const final = changed || plan.hold.length > 0 || refused.length > 0 ? planTopology(after) : plan
  if (rowsAfter?.storageId != null) known.lastStorageId = rowsAfter.storageId

  for (const object of final.release) {
    const fresh = cache.get(kindOf(object), object.metadata.namespace ?? "", object.metadata.name) ?? object
    const rest = (fresh.metadata.finalizers ?? []).filter(entry => entry !== FINALIZER)
    if (rest.length !== (fresh.metadata.finalizers ?? []).length)
      await ifPresent(() => writeFinalizer(io, kindOf(object), fresh, rest, signal))
  }
  for (const { object, status } of final.statuses) {
    const fresh = cache.get(kindOf(object), object.metadata.namespace ?? "", object.metadata.name)
    if (fresh === null || fresh.metadata.uid !== object.metadata.uid) continue
    await ifPresent(() => writeStatus(io, kindOf(object), fresh, TOPOLOGY_MANAGER, status, signal))
  }
  if (final.broker !== null && after.broker !== null)
    await ifPresent(() => writeStatus(io, "broker", after.broker!, TOPOLOGY_MANAGER, final.broker!, signal))
  const told = final === plan ? plan.events : [...plan.events.filter(isOfCalls), ...final.events]
  for (const { about, event } of dedupe(told)) await events.tell(about, event, signal)
  gauges.definitions(
    key,
    final.statuses.map(({ object, status }) => ({ kind: object.kind, state: readyReason(status) })),
  )

  if (result?.again === true) return { result: "error", why: result.why, atLeastMs: result.retryAfterMs ?? 0 }
  const resync = spec === null ? null : durationMs(spec.topology.resyncInterval)
  // The first interval is of any length, so that brokers seen together are not asked together for ever.
  const share = known.spread ? 1 - JITTER + world.random() * 2 * JITTER : world.random()
  known.spread ||= final.polls
  const poll = final.polls && resync !== null ? resync * share : null
  const silent =
    known.unreachableSince !== null && final.polls ? Math.max(1_000, known.notBefore - world.now()) : null
  return {
    result: "success",
    againMs: soonest(final.again, silent ?? poll),
    steady: (result?.made ?? 0) === 0,
  }
}

function isOfCalls({ event }: TopologyPlan["events"][number]): boolean {
  return (
    event.reason === "DefinitionRestored" ||
    event.reason === "DefinitionAdopted" ||
    event.reason === "Conflict"
  )
}

function dedupe(events: TopologyPlan["events"]): TopologyPlan["events"] {
  const seen = new Set<string>()
  return events.filter(({ about, event }) => {
    const key = `${about.metadata.uid} ${event.reason} ${event.note}`
    if (seen.has(key)) return false
    seen.add(key)
    return true
  })
}

function readyReason(status: { [key: string]: unknown }): string {
  const conditions = status["conditions"] as { type: string; reason: string }[]
  return conditions.find(({ type }) => type === "Ready")?.reason ?? "Unknown"
}

async function ifPresent(write: () => Promise<unknown>): Promise<void> {
  try {
    await write()
  } catch (error) {
    const status = (error as { status?: number }).status
    // Deleted meanwhile, or changed: the next event brings it up again.
    if (status !== 404 && status !== 409) throw error
  }
}

function kindOf(object: KubeObject): KindName {
  return object.kind === "FitzRealm" ? "realm" : "schedule"
}

function namespacesOf(io: Io, objects: readonly KubeObject[]): TopologyObserved["namespaces"] {
  if (!io.cache.has("namespace")) return null
  const out = new Map<string, { labels: Readonly<Record<string, string>>; going: boolean }>()
  for (const { metadata } of objects) {
    const namespace = metadata.namespace ?? ""
    const object = io.cache.get("namespace", "", namespace)
    if (object !== null)
      out.set(namespace, {
        labels: object.metadata.labels ?? {},
        going: object.metadata.deletionTimestamp !== undefined,
      })
  }
  return out
}

async function readRows(io: Io, broker: KubeObject, signal: AbortSignal): Promise<BrokerRows | null> {
  const target = targetOf(broker)
  const known = io.memory.of(target.uid)
  const now = io.world.now()
  const pods = podsOf(io.cache, target.namespace, target.name)
  const pod = pods.find(each => each.deletedAt === null)
  if (pod?.ready !== true) {
    // The pod's own news will wake this key; until then nobody is there to ask.
    known.unreachableSince ??= now
    return null
  }
  if (now < known.notBefore) return null
  const view = await readView(io, broker, pods, signal)
  if (view === null || view.reachable !== "Answering") return null
  try {
    const rows = await io.calls.rows(target, view.storageId, signal)
    io.memory.answered(target.uid)
    return rows
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof BrokerError)) throw error
    io.memory.silent(target.uid, now, error.retryAfterMs)
    return null
  }
}

interface Made {
  readonly made: number
  readonly again: boolean
  readonly why: string
  readonly unreachable: boolean
  readonly retryAfterMs: number | null
  readonly rejections: readonly Rejection[]
}

/** Makes the calls in order. One that is refused stops nobody else; silence stops all. */
async function makeCalls(io: Io, broker: KubeObject, plan: TopologyPlan, signal: AbortSignal): Promise<Made> {
  const target = targetOf(broker)
  const rejections: Rejection[] = []
  let made = 0
  let again = false
  let why = ""
  for (const call of plan.calls) {
    try {
      io.fence()
      await io.calls.carryOut(target, call, signal)
      made++
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof BrokerError)) throw error
      io.world.log("info", "the broker refused a definition", {
        broker: `${target.namespace}/${target.name}`,
        status: error.status,
        code: error.code,
      })
      if (error.status === 412) {
        // Rows have moved; the second look lists them again.
        made++
        again = true
        why = "definitions changed meanwhile"
      } else if (error.status === 429 || error.unreachable || error.status === 401 || error.status === 403) {
        if (error.unreachable) io.memory.silent(target.uid, io.world.now(), error.retryAfterMs)
        return {
          made,
          again: true,
          why: error.message,
          unreachable: error.unreachable,
          retryAfterMs: error.retryAfterMs,
          rejections,
        }
      } else rejections.push(rejectionOf(call, error, io.world.now()))
    }
  }
  return { made, again, why, unreachable: false, retryAfterMs: null, rejections }
}

function rejectionOf({ owner }: Call, error: BrokerError, at: number): Rejection {
  return {
    at,
    uid: owner.metadata.uid ?? "",
    generation: owner.metadata.generation ?? 0,
    code: error.code,
    message: error.message,
  }
}
