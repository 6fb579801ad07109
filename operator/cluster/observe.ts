// Everything a plan needs, read into one value (operator.md §5.1): cached objects, Secrets by name, what the broker says of
// itself. Reads only; secrets leave this file as facts.

import { brokerSpec } from "../kinds/broker.ts"
import { NAMES } from "../plan/children.ts"
import { METRICS_RENEW_MS } from "../plan/keys.ts"
import { KIND, type KindName, type KubeObject } from "../plan/object.ts"
import { podFacts } from "../plan/pods.ts"
import type { BrokerObserved, BrokerView, Children, PodFacts, Settings } from "../plan/types.ts"
import { canonical } from "../plan/values.ts"
import type { World } from "../world.ts"
import { type KubeApi, KubeError } from "./api.ts"
import { type BrokerCalls, BrokerError, type Target } from "./broker.ts"
import type { Memory } from "./memory.ts"
import {
  foreignFacts,
  keySetFacts,
  OPERATOR_TOKEN_RENEW_MS,
  operatorToken,
  signerOf,
  signingFacts,
  tokenFacts,
} from "./secrets.ts"

/** Objects as the watches last showed them. */
export interface Cache {
  get(kind: KindName, namespace: string, name: string): KubeObject | null
  /** Entries of an index, such as the pods of a broker. */
  indexed(kind: KindName, key: string): readonly KubeObject[]
  /** What a write returned, so that the next pass does not work from older news. */
  put(kind: KindName, object: KubeObject): void
  /** Whether that kind is watched at all. */
  has(kind: KindName): boolean
}

export interface Io {
  readonly world: World
  readonly api: KubeApi
  readonly cache: Cache
  readonly memory: Memory
  readonly calls: BrokerCalls
  readonly settings: Settings
  /** Throws where this process may not write any more. */
  readonly fence: () => void
  readonly counters: IoCounters
}

export interface IoCounters {
  wrote(kind: string, verb: string): void
  drift(kind: string): void
}

const SECRETS_MS = 30 * 60_000
const IDENTITY_MS = 10 * 60_000
const NOT_READY_MS = 10_000

export function targetOf(broker: KubeObject): Target {
  return {
    namespace: broker.metadata.namespace ?? "",
    name: broker.metadata.name,
    uid: broker.metadata.uid ?? "",
  }
}

export function podsOf(cache: Cache, namespace: string, name: string): PodFacts[] {
  return cache
    .indexed("pod", `${namespace}/${name}`)
    .map(podFacts)
    .sort((a, b) => a.createdAt - b.createdAt)
}

export async function observeBroker(
  io: Io,
  broker: KubeObject,
  signal: AbortSignal,
): Promise<BrokerObserved> {
  const { cache, world, settings } = io
  const namespace = broker.metadata.namespace ?? ""
  const { name } = broker.metadata
  const parsed = brokerSpec.safeParse(broker["spec"])
  const spec = parsed.success
    ? parsed.data
    : `spec.${parsed.error.issues[0]?.path.join(".") ?? ""}: ${parsed.error.issues[0]?.message ?? "invalid"}`
  const existingClaim = typeof spec === "string" ? undefined : spec.storage.existingClaim
  const child = (kind: KindName, called: string): KubeObject | null => cache.get(kind, namespace, called)
  const monitoringServed = cache.has("serviceMonitor")
  const children: Children = {
    serviceAccount: child("serviceAccount", name),
    config: child("configMap", NAMES.config(name)),
    claim:
      existingClaim === undefined
        ? await ownClaim(io, namespace, name, signal)
        : await foreignClaim(io, broker, existingClaim, signal),
    headless: child("service", NAMES.headless(name)),
    service: child("service", name),
    networkPolicy: child("networkPolicy", name),
    statefulSet: child("statefulSet", name),
    disruptionBudget: child("disruptionBudget", name),
    serviceMonitor: monitoringServed ? child("serviceMonitor", name) : null,
    prometheusRule: monitoringServed ? child("prometheusRule", name) : null,
    dashboard: child("configMap", NAMES.dashboard(name)),
  }
  const pods = podsOf(cache, namespace, name)
  const secrets = await readSecrets(io, broker, spec, signal)
  const view = await readView(io, broker, pods, signal)
  return {
    now: world.now(),
    settings,
    broker,
    spec,
    children,
    pods,
    ...secrets,
    classExpands: await readClass(io, children.claim, spec, signal),
    monitoringServed,
    view,
    failures: [],
  }
}

/** A kept claim may have lost its label, so its absence from the cache is not proof. */
async function ownClaim(
  io: Io,
  namespace: string,
  name: string,
  signal: AbortSignal,
): Promise<KubeObject | null> {
  const called = NAMES.claim(name)
  return io.cache.get("claim", namespace, called) ?? (await io.api.get(KIND.claim, namespace, called, signal))
}

const CLAIM_MS = 15_000

async function foreignClaim(
  io: Io,
  broker: KubeObject,
  name: string,
  signal: AbortSignal,
): Promise<KubeObject | null> {
  const known = io.memory.of(broker.metadata.uid ?? "")
  const now = io.world.now()
  if (known.claim === null || now - known.claim.readAt >= CLAIM_MS || known.claim.object === null)
    known.claim = {
      object: await io.api.get(KIND.claim, broker.metadata.namespace ?? "", name, signal),
      readAt: now,
    }
  return known.claim.object
}

async function readClass(
  io: Io,
  claim: KubeObject | null,
  spec: BrokerObserved["spec"],
  signal: AbortSignal,
): Promise<boolean | null> {
  if (typeof spec === "string" || claim === null || !io.settings.clusterReads) return null
  const wanted = spec.storage.size
  const { spec: claimSpec } = claim as {
    spec?: { storageClassName?: string; resources?: { requests?: { storage?: string } } }
  }
  const asked = claimSpec?.resources?.requests?.storage
  // Only a claim that is to grow makes the class worth a read.
  if (wanted === undefined || asked === undefined || String(wanted) === asked) return null
  const name = claimSpec?.storageClassName
  if (name === undefined || name === "") return null
  try {
    const found = await io.api.get(KIND.storageClass, "", name, signal)
    return found === null ? null : found["allowVolumeExpansion"] === true
  } catch (error) {
    // Without the right the server's own refusal tells.
    if (error instanceof KubeError && error.status === 403) return null
    throw error
  }
}

type SecretFacts = Pick<
  BrokerObserved,
  "signing" | "keySet" | "metricsToken" | "existingSecret" | "apiKeysSecret"
>

async function readSecrets(
  io: Io,
  broker: KubeObject,
  spec: BrokerObserved["spec"],
  signal: AbortSignal,
): Promise<SecretFacts> {
  const uid = broker.metadata.uid ?? ""
  const known = io.memory.of(uid)
  const now = io.world.now()
  const of = canonical([broker.metadata.generation, broker.metadata.annotations ?? {}])
  const fresh =
    known.secrets !== null &&
    known.secrets.of === of &&
    now - known.secrets.readAt < SECRETS_MS &&
    now >= known.secrets.readAt &&
    (known.secrets.metricsToken === null || known.secrets.metricsToken.expiresAt - now >= METRICS_RENEW_MS) &&
    known.secrets.existingSecret?.valid !== false &&
    known.secrets.apiKeysSecret?.valid !== false
  if (fresh) return known.secrets!
  const namespace = broker.metadata.namespace ?? ""
  const read = (name: string): Promise<KubeObject | null> => io.api.get(KIND.secret, namespace, name, signal)
  const { name } = broker.metadata
  const signing = await read(NAMES.signing(name))
  const auth = typeof spec === "string" ? null : spec.auth
  const existing = auth?.existingSecret
  const apiKeys = auth?.apiKeysSecret
  const ours = (secret: KubeObject | null): KubeObject | null =>
    secret?.metadata.ownerReferences?.some(owner => owner.uid === uid) === true ? secret : null
  known.signer = signerOf(ours(signing))
  known.secrets = {
    readAt: now,
    of,
    signing: signingFacts(ours(signing)),
    keySet: keySetFacts(ours(await read(NAMES.keySet(name)))),
    metricsToken: tokenFacts(ours(await read(NAMES.metricsToken(name)))),
    existingSecret:
      existing === undefined ? null : foreignFacts(await read(existing.name), existing.key, existing.type),
    apiKeysSecret: apiKeys === undefined ? null : foreignFacts(await read(apiKeys.name), apiKeys.key, "keys"),
  }
  return known.secrets
}

/** The operator's token for a broker, from memory where it is young enough. */
export async function credentialsFor(io: Io, target: Target, fresh: boolean): Promise<string> {
  const known = io.memory.of(target.uid)
  const now = io.world.now()
  if (fresh || known.signer === null) {
    known.token = null
    known.signer = signerOf(await io.api.get(KIND.secret, target.namespace, NAMES.signing(target.name)))
  }
  const { signer } = known
  if (signer === null) throw new BrokerError(401, "no_key", "there is no signing key yet")
  const { token } = known
  const age = token === null ? 0 : now - token.madeAt
  if (token !== null && token.kid === signer.kid && age >= 0 && age < OPERATOR_TOKEN_RENEW_MS)
    return token.text
  const text = await operatorToken(signer, target.uid, now)
  known.token = { text, kid: signer.kid, madeAt: now }
  return text
}

/** What the broker says of itself: at each new incarnation, every ten minutes, and while a rotation waits for it. */
export async function readView(
  io: Io,
  broker: KubeObject,
  pods: readonly PodFacts[],
  signal: AbortSignal,
): Promise<BrokerView | null> {
  const uid = broker.metadata.uid ?? ""
  const known = io.memory.of(uid)
  const pod = pods.find(each => each.deletedAt === null)
  if (pod === undefined) {
    known.view = null
    return null
  }
  const now = io.world.now()
  const target = targetOf(broker)
  if (!pod.ready) {
    const due = now - pod.notReadySince >= NOT_READY_MS && pod.startedAt !== null && pod.waiting === null
    if (!due || now < known.notBefore) return known.view?.incarnation === pod.incarnation ? known.view : null
    try {
      const notReady = await io.calls.readiness(target, signal)
      known.view = { ...blank(pod, "NotReady"), notReady }
    } catch (error) {
      signal.throwIfAborted()
      io.memory.silent(uid, now, null)
      known.view = blank(pod, error instanceof BrokerError && error.timedOut ? "Timeout" : "ConnectFailed")
    }
    known.viewAt = 0
    return known.view
  }
  const sameOne = known.view?.incarnation === pod.incarnation && known.view.reachable === "Answering"
  if (sameOne && !known.asksBroker && now - known.viewAt < IDENTITY_MS && now >= known.viewAt)
    return known.view
  if (now < known.notBefore && known.view !== null) return known.view
  try {
    const version = await io.calls.health(target, signal)
    const auth = await io.calls.auth(target, signal)
    known.view = {
      incarnation: pod.incarnation,
      reachable: "Answering",
      version,
      storageId: auth.storageId,
      readAt: now,
      keys: auth.keys,
      keysError: auth.error,
      notReady: null,
    }
    known.viewAt = now
    io.memory.answered(uid)
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof BrokerError)) throw error
    const reachable =
      error.status === 401 || error.status === 403
        ? "Unauthorized"
        : error.timedOut
          ? "Timeout"
          : error.status === 503
            ? "NotReady"
            : "ConnectFailed"
    io.memory.silent(uid, now, reachable === "Unauthorized" ? 10_000 : error.retryAfterMs)
    // What it said before the silence still tells which version runs.
    known.view = { ...blank(pod, reachable), version: known.view?.version ?? null }
    known.viewAt = 0
  }
  return known.view
}

function blank(pod: PodFacts, reachable: BrokerView["reachable"]): BrokerView {
  return {
    incarnation: pod.incarnation,
    reachable,
    version: null,
    storageId: null,
    readAt: 0,
    keys: null,
    keysError: null,
    notReady: null,
  }
}
