// The plan of a broker's realms and schedules (operator.md §6): all resources that refer to it against all rows it
// holds, conflicts judged in one place. Pure; what the broker answered is part of the observation.

import type { BrokerSpec, LabelSelector } from "../kinds/broker.ts"
import {
  type RealmSpec,
  realmSpec as realmSchema,
  type ScheduleSpec,
  scheduleSpec as scheduleSchema,
} from "../kinds/definitions.ts"
import type { Condition } from "../kinds/status.ts"
import { PAUSED } from "./broker.ts"
import { conditionsOf, type Finding, finding, type StalledReason } from "./conditions.ts"
import { conditionOf, hasReason, soonest } from "./keys.ts"
import { at, FINALIZER, type KubeObject, numberAt, textAt } from "./object.ts"
import { MINUTE_MS, type PlannedEvent, type Settings } from "./types.ts"
import { type Dict, digest, same } from "./values.ts"

export interface RealmRow {
  readonly realm: string
  readonly declared: boolean
  readonly content: RealmContent
  readonly managedBy: string | null
  readonly etag: string | null
}
export interface RealmContent {
  readonly displayName: string
  readonly description: string
  readonly labels: Readonly<Record<string, string>>
  readonly limits: Readonly<Record<string, number>>
}
export interface Route {
  readonly realm: string
  readonly area: string
  readonly resource: string
  readonly operation: string
}
export interface ScheduleRow {
  readonly family: number
  readonly route: Route
  readonly content: ScheduleContent
  readonly managedBy: string | null
  readonly etag: string | null
}
export interface ScheduleContent {
  readonly cron: string
  readonly payloadSha256: string
  readonly deliveryMode: "broadcast" | "single"
  readonly enabled: boolean
}

export interface BrokerRows {
  readonly storageId: string | null
  readonly realms: readonly RealmRow[]
  readonly schedules: readonly ScheduleRow[]
}

export interface Rejection {
  /** Uid and generation of the resource: a new spec is a new attempt. */
  readonly uid: string
  readonly generation: number
  readonly at: number
  readonly code: string
  readonly message: string
}

export interface TopologyObserved {
  readonly now: number
  readonly settings: Settings
  readonly namespace: string
  readonly name: string
  readonly broker: KubeObject | null
  readonly spec: BrokerSpec | null
  readonly realms: readonly KubeObject[]
  readonly schedules: readonly KubeObject[]
  /** Labels by namespace; null where they cannot be read. */
  readonly namespaces: ReadonlyMap<
    string,
    { labels: Readonly<Record<string, string>>; going: boolean }
  > | null
  /** Null: not known in this pass. */
  readonly rows: BrokerRows | null
  /** The storage that the last pass saw. */
  readonly lastStorageId: string | null
  readonly unreachableSince: number | null
  readonly rejections: readonly Rejection[]
}

export type Call =
  | {
      readonly do: "put"
      readonly what: "realm"
      readonly owner: KubeObject
      readonly realm: string
      readonly body: Dict
      readonly etag: string | null
    }
  | {
      readonly do: "put"
      readonly what: "schedule"
      readonly owner: KubeObject
      readonly family: number
      readonly route: Route
      readonly body: Dict
      readonly etag: string | null
    }
  | {
      readonly do: "remove"
      readonly what: "realm"
      readonly owner: KubeObject
      readonly realm: string
      readonly etag: string | null
    }
  | {
      readonly do: "remove"
      readonly what: "schedule"
      readonly owner: KubeObject
      readonly family: number
      readonly route: Route
      readonly etag: string | null
    }

export interface DefinitionStatus {
  readonly object: KubeObject
  readonly status: Dict
}

export interface TopologyPlan {
  /** To be set before any call. */
  readonly hold: readonly KubeObject[]
  /** In order: removals first. */
  readonly calls: readonly Call[]
  /** To be let go after the calls. */
  readonly release: readonly KubeObject[]
  readonly statuses: readonly DefinitionStatus[]
  /** New specs that calls are about to be made for. */
  readonly acknowledge: readonly DefinitionStatus[]
  readonly broker: Dict | null
  readonly events: readonly { readonly about: KubeObject; readonly event: PlannedEvent }[]
  readonly again: number | null
  /** Whether the rows are wanted at all. */
  readonly polls: boolean
}

export const UNREACHABLE_MS = 120_000
export const GIVE_UP_MS = 10 * MINUTE_MS
const PAYLOAD_MAX = 48 * 1024
const ORPHANS_NAMED = 10

interface Definition {
  readonly object: KubeObject
  readonly kind: "realm" | "schedule"
  /** What it lays claim to. */
  readonly claim: string
  readonly owner: string
  readonly adopts: boolean
  readonly paused: boolean
  readonly deletes: boolean
  readonly going: boolean
  readonly realm: string
  readonly problem: string | null
  readonly spec: RealmSpec | ScheduleSpec | null
}

/** What a resource calls itself in the broker. */
export function managedBy(object: KubeObject): string {
  return `k8s:${object.metadata.namespace ?? ""}/${object.metadata.name}`
}

/** The broker that a resource refers to, as namespace/name. */
export function brokerOf(object: KubeObject): string {
  const namespace = textAt(object, "spec", "brokerRef", "namespace") ?? object.metadata.namespace ?? ""
  return `${namespace}/${textAt(object, "spec", "brokerRef", "name") ?? ""}`
}

export function realmContent(spec: RealmSpec): RealmContent {
  const { limits = {} } = spec
  const held: Record<string, number> = {}
  for (const [from, to] of LIMITS) {
    const value = limits[from]
    if (value !== undefined) held[to] = value
  }
  return {
    displayName: spec.displayName ?? "",
    description: spec.description ?? "",
    labels: spec.labels ?? {},
    limits: held,
  }
}
const LIMITS = [
  ["maxSessions", "max_sessions"],
  ["maxSubscriptions", "max_subscriptions"],
  ["maxQueueMessages", "max_queue_messages"],
  ["maxStreams", "max_streams"],
] as const

export function payloadOf(spec: ScheduleSpec): Buffer {
  const { payload } = spec
  if (payload?.base64 !== undefined) return Buffer.from(payload.base64, "base64")
  return Buffer.from(payload?.text ?? "", "utf8")
}

export function scheduleContent(spec: ScheduleSpec): ScheduleContent {
  return {
    cron: spec.cron.trim().replace(/ +/g, " "),
    payloadSha256: digest(payloadOf(spec)),
    deliveryMode: spec.deliveryMode === "Single" ? "single" : "broadcast",
    enabled: spec.enabled,
  }
}

function readDefinition(object: KubeObject, kind: "realm" | "schedule"): Definition {
  const shared = {
    object,
    kind,
    owner: managedBy(object),
    going: object.metadata.deletionTimestamp !== undefined,
  }
  const parsed =
    kind === "realm" ? realmSchema.safeParse(object["spec"]) : scheduleSchema.safeParse(object["spec"])
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    const problem = `spec.${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`
    return {
      ...shared,
      claim: "",
      adopts: false,
      paused: false,
      deletes: false,
      realm: "",
      problem,
      spec: null,
    }
  }
  const spec = parsed.data
  const policies = {
    adopts: spec.adoptExisting,
    paused: spec.paused,
    deletes: spec.deletionPolicy === "Delete",
    spec,
  }
  if (kind === "realm") {
    const realm = (spec as RealmSpec).name ?? object.metadata.name
    return { ...shared, ...policies, claim: realmClaim(realm), realm, problem: null }
  }
  const schedule = spec as ScheduleSpec
  const bytes = payloadOf(schedule).length
  return {
    ...shared,
    ...policies,
    claim: scheduleClaim(schedule.family, schedule.route),
    realm: schedule.route.realm,
    problem: bytes > PAYLOAD_MAX ? `spec.payload: ${bytes} bytes are more than ${PAYLOAD_MAX}.` : null,
  }
}

export function realmClaim(realm: string): string {
  return `realm ${realm}`
}

export function scheduleClaim(family: number, { realm, area, resource, operation }: Route): string {
  return `schedule ${family} ${[realm, area, resource, operation].join("/")}`
}

/** Oldest first; the same second is settled by name. */
function older(a: Definition, b: Definition): number {
  const key = ({ object: { metadata } }: Definition): string[] => [
    metadata.creationTimestamp ?? "",
    metadata.namespace ?? "",
    metadata.name,
  ]
  const [left, right] = [key(a), key(b)]
  for (const [index, value] of left.entries()) {
    const other = right[index]!
    if (value !== other) return value < other ? -1 : 1
  }
  return 0
}

export function matches(selector: LabelSelector, labels: Readonly<Record<string, string>>): boolean {
  for (const [key, value] of Object.entries(selector.matchLabels ?? {}))
    if (labels[key] !== value) return false
  return (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const value = labels[key]
    if (operator === "Exists") return value !== undefined
    if (operator === "DoesNotExist") return value === undefined
    const within = value !== undefined && values.includes(value)
    return operator === "In" ? within : !within
  })
}

function granted(o: TopologyObserved, namespace: string): boolean {
  if (namespace === o.namespace) return true
  const allowed = o.spec?.topology.allowedNamespaces
  switch (allowed?.from) {
    case "All":
      return true
    case "List":
      return allowed.names?.includes(namespace) ?? false
    case "Selector":
      return allowed.selector !== undefined && o.namespaces !== null
        ? matches(allowed.selector, o.namespaces.get(namespace)?.labels ?? {})
        : false
    default:
      return false
  }
}

type Verdict =
  | { readonly is: "ready" }
  | {
      readonly is: "moving"
      readonly reason: "Pushing" | "BrokerNotFound" | "BrokerStopped" | "BrokerUnreachable" | "Deleting"
      readonly message?: string
    }
  | { readonly is: "stalled"; readonly reason: StalledReason; readonly message: string }
  /** Too early to say anything new. */
  | { readonly is: "unchanged" }

export function planTopology(o: TopologyObserved): TopologyPlan {
  const hold: KubeObject[] = []
  const removals: Call[] = []
  const pushes: Call[] = []
  const release: KubeObject[] = []
  const events: { about: KubeObject; event: PlannedEvent }[] = []
  const verdicts = new Map<Definition, Verdict>()
  let again: number | null = null
  const tell = (
    about: KubeObject,
    type: PlannedEvent["type"],
    reason: PlannedEvent["reason"],
    note: string,
  ): void => {
    events.push({ about, event: { type, reason, note } })
  }

  const all = [
    ...o.realms.map(object => readDefinition(object, "realm")),
    ...o.schedules.map(object => readDefinition(object, "schedule")),
  ]
  const gone = o.broker === null || o.broker.metadata.deletionTimestamp !== undefined
  const stopped = o.spec?.replicas === 0
  const brokerPaused = o.spec?.paused === true || o.broker?.metadata.annotations?.[PAUSED] === "true"
  const { rows } = o

  // Which of them may speak at all, then who wins what.
  const winners = new Map<string, Definition>()
  const candidates: Definition[] = []
  for (const each of all) {
    if (each.going) continue
    const namespace = each.object.metadata.namespace ?? ""
    if (each.problem !== null)
      verdicts.set(each, { is: "stalled", reason: "InvalidDefinition", message: each.problem })
    else if (!gone && !granted(o, namespace))
      verdicts.set(each, {
        is: "stalled",
        reason: "NotGranted",
        message: `${o.namespace}/${o.name} takes nothing from the namespace ${namespace}.`,
      })
    else candidates.push(each)
  }
  for (const kind of ["realm", "schedule"] as const) {
    for (const each of candidates.filter(one => one.kind === kind).sort(older)) {
      const namespace = each.object.metadata.namespace ?? ""
      if (kind === "schedule" && namespace !== o.namespace && !gone) {
        const realm = winners.get(realmClaim(each.realm))
        if (realm?.object.metadata.namespace !== namespace) {
          verdicts.set(each, {
            is: "stalled",
            reason: "RealmNotOwned",
            message: `No FitzRealm in ${namespace} holds the realm ${each.realm}.`,
          })
          continue
        }
      }
      const winner = winners.get(each.claim)
      if (winner === undefined) {
        winners.set(each.claim, each)
        continue
      }
      const { namespace: by, name } = winner.object.metadata
      verdicts.set(each, { is: "stalled", reason: "Conflict", message: `${by}/${name} declares the same.` })
      if (!hasReason(each.object, "Stalled", "Conflict"))
        tell(each.object, "Warning", "Conflict", `${by}/${name} declares the same and is older.`)
    }
  }

  const rowOf = (
    each: Definition,
  ): { managedBy: string | null; etag: string | null; equal: boolean } | null => {
    if (rows === null || each.spec === null) return null
    if (each.kind === "realm") {
      const row = rows.realms.find(({ realm, declared }) => realm === each.realm && declared)
      if (row === undefined) return null
      return { ...row, equal: same(row.content, realmContent(each.spec as RealmSpec)) }
    }
    const spec = each.spec as ScheduleSpec
    const row = rows.schedules.find(
      ({ family, route }) => family === spec.family && scheduleClaim(family, route) === each.claim,
    )
    return row === undefined ? null : { ...row, equal: same(row.content, scheduleContent(spec)) }
  }

  // Deletions.
  for (const each of all) {
    const { object } = each
    const holds = object.metadata.finalizers?.includes(FINALIZER) === true
    if (!each.going) {
      if (holds && !each.deletes && each.spec !== null) release.push(object)
      continue
    }
    if (!holds) continue
    verdicts.set(each, { is: "moving", reason: "Deleting" })
    const letGo = (why: string): void => {
      release.push(object)
      tell(object, "Warning", "ReleasedWithoutCleanup", why)
    }
    if (each.spec === null || !each.deletes) {
      release.push(object)
      continue
    }
    if (gone) {
      letGo("The broker is gone.")
      continue
    }
    if (!granted(o, object.metadata.namespace ?? "")) {
      letGo("The broker takes nothing from this namespace any more.")
      continue
    }
    if (rows === null || stopped || brokerPaused) {
      const since = Date.parse(object.metadata.deletionTimestamp ?? "")
      const going = o.namespaces?.get(object.metadata.namespace ?? "")?.going === true
      if (going && o.unreachableSince !== null)
        letGo("The namespace is going and the broker does not answer.")
      else if ((stopped || o.unreachableSince !== null) && o.now >= since + GIVE_UP_MS)
        letGo("The broker has not answered for ten minutes.")
      else again = soonest(again, Math.max(0, since + GIVE_UP_MS - o.now))
      continue
    }
    const row = rowOf(each)
    if (row === null) {
      release.push(object)
      if (hasReason(object, "Ready", "Deleting") || hasReason(object, "Ready", "Synced"))
        tell(object, "Normal", "DefinitionRemoved", "The broker no longer holds the definition.")
    } else if (row.managedBy !== each.owner) {
      // Another resource has taken it over, or it was never ours.
      letGo("The definition in the broker belongs to somebody else.")
    } else if (winners.has(each.claim)) {
      // The next in line takes it over with its own push.
      release.push(object)
    } else if (!each.paused) {
      removals.push(
        each.kind === "realm"
          ? { do: "remove", what: "realm", owner: object, realm: each.realm, etag: row.etag }
          : {
              do: "remove",
              what: "schedule",
              owner: object,
              family: (each.spec as ScheduleSpec).family,
              route: (each.spec as ScheduleSpec).route,
              etag: row.etag,
            },
      )
    } else again = soonest(again, MINUTE_MS)
  }

  // Winners against rows.
  for (const each of winners.values()) {
    const { object } = each
    if (gone) {
      verdicts.set(each, { is: "moving", reason: "BrokerNotFound" })
      continue
    }
    if (each.deletes && object.metadata.finalizers?.includes(FINALIZER) !== true) hold.push(object)
    if (stopped) {
      verdicts.set(each, { is: "moving", reason: "BrokerStopped" })
      continue
    }
    if (rows === null) {
      const since = o.unreachableSince
      const fresh = conditionOf(object, "Ready") === null
      const generation = object.metadata.generation ?? 0
      const unseen = numberAt(object, "status", "observedGeneration") !== generation
      const stalledStopped =
        hasReason(object, "Ready", "BrokerStopped") || hasReason(object, "Ready", "BrokerNotFound")
      if (since !== null && o.now - since >= UNREACHABLE_MS)
        verdicts.set(each, { is: "moving", reason: "BrokerUnreachable" })
      else if (fresh || unseen || stalledStopped) verdicts.set(each, { is: "moving", reason: "Pushing" })
      else {
        verdicts.set(each, { is: "unchanged" })
        if (since !== null) again = soonest(again, since + UNREACHABLE_MS - o.now)
      }
      continue
    }
    const rejected = o.rejections.find(
      ({ uid, generation }) =>
        uid === object.metadata.uid && generation === (object.metadata.generation ?? 0),
    )
    if (rejected !== undefined) {
      verdicts.set(each, {
        is: "stalled",
        reason: "RejectedByBroker",
        message: `${rejected.code}: ${rejected.message}`,
      })
      continue
    }
    const row = rowOf(each)
    const mine = row?.managedBy === each.owner
    if (row !== null && mine && row.equal) {
      verdicts.set(each, { is: "ready" })
      continue
    }
    if (row !== null && !mine && row.managedBy?.startsWith("k8s:") !== true && !each.adopts) {
      verdicts.set(each, {
        is: "stalled",
        reason: "NotOurs",
        message: `It is managed by ${row.managedBy === null ? "nobody" : JSON.stringify(row.managedBy)}.`,
      })
      continue
    }
    verdicts.set(each, { is: "moving", reason: "Pushing" })
    if (each.paused || brokerPaused) continue
    const wasSynced = hasReason(object, "Ready", "Synced")
    if (row === null && wasSynced && o.lastStorageId !== null && rows.storageId === o.lastStorageId)
      tell(
        object,
        "Warning",
        "DefinitionRestored",
        "Somebody removed the definition in the broker; it is put back.",
      )
    if (row !== null && !mine)
      tell(object, "Normal", "DefinitionAdopted", `Taken over from ${row.managedBy ?? "nobody"}.`)
    pushes.push(push(each, row?.etag ?? null))
  }

  // Rows whose resource is gone.
  const orphans = rows === null ? null : orphansOf(all, rows)

  const statuses: DefinitionStatus[] = []
  const acknowledge: DefinitionStatus[] = []
  for (const each of all) {
    const verdict = verdicts.get(each)
    if (verdict === undefined || verdict.is === "unchanged") continue
    const pushed = pushes.some(call => call.owner === each.object)
    const status = { object: each.object, status: statusOf(o, each, verdict, brokerPaused) }
    statuses.push(status)
    const generation = each.object.metadata.generation ?? 0
    if (pushed && numberAt(each.object, "status", "observedGeneration") !== generation)
      acknowledge.push(status)
    if (verdict.is === "ready" && !hasReason(each.object, "Ready", "Synced"))
      tell(each.object, "Normal", "DefinitionPushed", "The broker holds the definition.")
    if (verdict.is === "stalled" && !hasReason(each.object, "Stalled", verdict.reason))
      tell(each.object, "Warning", "Stalled", `${verdict.reason}: ${verdict.message}`.slice(0, 1_000))
  }

  if (
    o.broker !== null &&
    orphans !== null &&
    orphans.length > (numberAt(o.broker, "status", "topology", "orphans") ?? 0)
  )
    tell(
      o.broker,
      "Warning",
      "OrphanedDefinition",
      `Without a resource: ${orphans.slice(0, ORPHANS_NAMED).join(", ")}`.slice(0, 1_000),
    )
  const known = orphans?.length ?? numberAt(o.broker, "status", "topology", "orphans") ?? 0
  return {
    hold,
    calls: [...removals, ...pushes],
    release,
    statuses,
    acknowledge,
    broker: gone || o.broker === null ? null : brokerStatus(o, all, verdicts, orphans, stopped),
    events,
    again,
    polls: !gone && !stopped && (all.length > 0 || known > 0),
  }
}

function push(each: Definition, etag: string | null): Call {
  const { object, owner } = each
  if (each.kind === "realm") {
    const content = realmContent(each.spec as RealmSpec)
    return {
      do: "put",
      what: "realm",
      owner: object,
      realm: each.realm,
      etag,
      body: {
        ...(content.displayName === "" ? {} : { display_name: content.displayName }),
        ...(content.description === "" ? {} : { description: content.description }),
        ...(Object.keys(content.labels).length === 0 ? {} : { labels: { ...content.labels } }),
        ...(Object.keys(content.limits).length === 0 ? {} : { limits: { ...content.limits } }),
        managed_by: owner,
      },
    }
  }
  const spec = each.spec as ScheduleSpec
  const content = scheduleContent(spec)
  return {
    do: "put",
    what: "schedule",
    owner: object,
    family: spec.family,
    route: spec.route,
    etag,
    body: {
      cron: content.cron,
      payload: payloadOf(spec).toString("base64"),
      delivery_mode: content.deliveryMode,
      enabled: content.enabled,
      managed_by: owner,
    },
  }
}

function orphansOf(all: readonly Definition[], rows: BrokerRows): string[] {
  const held = new Set(all.map(each => `${each.owner} ${each.claim}`))
  const out: string[] = []
  for (const { realm, declared, managedBy: by } of rows.realms)
    if (declared && by?.startsWith("k8s:") === true && !held.has(`${by} ${realmClaim(realm)}`))
      out.push(`realm ${realm}`)
  for (const { family, route, managedBy: by } of rows.schedules)
    if (by?.startsWith("k8s:") === true && !held.has(`${by} ${scheduleClaim(family, route)}`))
      out.push(`schedule ${Object.values(route).join("/")}`)
  return out.sort()
}

function statusOf(o: TopologyObserved, each: Definition, verdict: Verdict, brokerPaused: boolean): Dict {
  const { object } = each
  const generation = object.metadata.generation ?? 0
  const before = (at(object, "status", "conditions") as Condition[] | undefined) ?? []
  const findings: Finding[] = []
  if (verdict.is === "ready") findings.push(finding("Ready", "Synced"))
  else if (verdict.is === "stalled")
    findings.push(
      finding("Ready", verdict.reason, verdict.message),
      finding("Stalled", verdict.reason, verdict.message),
    )
  else if (verdict.is === "moving") {
    findings.push(finding("Ready", verdict.reason, verdict.message))
    if (verdict.reason === "Pushing" || verdict.reason === "Deleting")
      findings.push(
        finding(
          "Reconciling",
          o.rows === null
            ? "WaitingForBroker"
            : verdict.reason === "Pushing"
              ? "NewGeneration"
              : "Progressing",
        ),
      )
    else if (verdict.reason === "BrokerUnreachable" || verdict.reason === "BrokerNotFound")
      findings.push(finding("Reconciling", "WaitingForBroker"))
  }
  if (each.paused) findings.push(finding("Paused", "SpecPaused"))
  else if (brokerPaused && verdict.is === "moving") findings.push(finding("Paused", "AnnotationPaused"))
  const named: Dict =
    each.spec === null
      ? {}
      : each.kind === "realm"
        ? { realm: each.realm }
        : { route: `schedule://${Object.values((each.spec as ScheduleSpec).route).join("/")}` }
  return {
    observedGeneration: generation,
    conditions: conditionsOf(findings, before, generation, o.now) as unknown as Dict[],
    broker: `${o.namespace}/${o.name}`,
    ...named,
  }
}

function brokerStatus(
  o: TopologyObserved,
  all: readonly Definition[],
  verdicts: ReadonlyMap<Definition, Verdict>,
  orphans: readonly string[] | null,
  stopped: boolean,
): Dict {
  const broker = o.broker!
  const generation = broker.metadata.generation ?? 0
  const live = all.filter(each => !each.going)
  const isReady = (each: Definition): boolean => {
    const verdict = verdicts.get(each)
    return (
      verdict?.is === "ready" || (verdict?.is === "unchanged" && hasReason(each.object, "Ready", "Synced"))
    )
  }
  const count = (kind: "realm" | "schedule", ready: boolean): number =>
    live.filter(each => each.kind === kind && (!ready || isReady(each))).length
  const left = orphans?.length ?? numberAt(broker, "status", "topology", "orphans") ?? 0
  const unreachable = o.unreachableSince !== null && o.now - o.unreachableSince >= UNREACHABLE_MS
  const before = conditionOf(broker, "TopologySynced")
  let found: Finding
  if (live.length === 0 && left === 0) found = finding("TopologySynced", "NothingDeclared")
  else if (stopped) found = finding("TopologySynced", "BrokerUnreachable", "The broker is stopped.")
  else if (unreachable) found = finding("TopologySynced", "BrokerUnreachable")
  else if (live.some(each => verdicts.get(each)?.is === "stalled")) {
    const failed = live.filter(each => verdicts.get(each)?.is === "stalled")
    found = finding(
      "TopologySynced",
      "SomeFailed",
      `Not in the broker: ${failed
        .slice(0, ORPHANS_NAMED)
        .map(({ object }) => `${object.kind} ${object.metadata.namespace}/${object.metadata.name}`)
        .join(", ")}.`,
    )
  } else if (!live.every(isReady)) found = finding("TopologySynced", "Pushing")
  else if (left > 0)
    found = finding(
      "TopologySynced",
      "OrphansPresent",
      orphans === null ? undefined : `Without a resource: ${orphans.slice(0, ORPHANS_NAMED).join(", ")}.`,
    )
  else found = finding("TopologySynced", "InSync")
  const kept = (at(broker, "status", "conditions") as Condition[] | undefined) ?? []
  const [condition] = conditionsOf([found], kept, generation, o.now)
  // A message with fewer details than the last one is no news.
  const same = before !== null && before.reason === condition!.reason && orphans === null
  const [old] = kept.filter(({ type }) => type === "TopologySynced")
  return {
    conditions: [(same ? { ...old!, observedGeneration: generation } : condition!) as unknown as Dict],
    topology: {
      realms: count("realm", false),
      realmsReady: count("realm", true),
      schedules: count("schedule", false),
      schedulesReady: count("schedule", true),
      orphans: left,
      summary: `${count("realm", true)}/${count("realm", false)}`,
    },
  }
}
