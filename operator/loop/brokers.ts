// One pass over a broker: observe, plan, carry out, status, events (operator.md §5.1). The order is here; what is decided is
// in the plan, and how it is written in the cluster's floor.

import { carryOut, writeStatus } from "../cluster/carry.ts"
import { type Io, observeBroker } from "../cluster/observe.ts"
import { acknowledgement, planBroker } from "../plan/broker.ts"
import { soonest } from "../plan/keys.ts"
import { type KubeObject, MANAGER } from "../plan/object.ts"
import type { Action, BrokerObserved, BrokerPlan } from "../plan/types.ts"
import type { PassResult } from "./controller.ts"
import type { Events } from "./events.ts"

const ATTEMPTS = 3

export interface BrokerGauges {
  brokerState(key: string, state: string | null): void
  tokenExpiry(namespace: string, broker: string, at: number | null): void
  rotationPhase(namespace: string, broker: string, phase: string | null): void
}

export async function passBroker(
  io: Io,
  events: Events,
  gauges: BrokerGauges,
  key: string,
  signal: AbortSignal,
): Promise<PassResult> {
  const [namespace = "", name = ""] = key.split("/")
  for (let attempt = 1; ; attempt++) {
    let broker = io.cache.get("broker", namespace, name)
    if (broker === null) {
      gauges.brokerState(key, null)
      gauges.tokenExpiry(namespace, name, null)
      gauges.rotationPhase(namespace, name, null)
      return { result: "gone" }
    }
    let observed = await observeBroker(io, broker, signal)
    const seen = broker.metadata.deletionTimestamp === undefined ? acknowledgement(observed) : null
    if (seen !== null) {
      broker = await writeStatus(io, "broker", broker, MANAGER, seen, signal)
      observed = { ...observed, broker }
    }
    const plan = planBroker(observed)
    io.memory.of(broker.metadata.uid ?? "").asksBroker = plan.asksBroker
    const outcome = await carryOut(io, broker, plan.actions, action => liveOf(observed, action), signal)
    if (outcome.stale && attempt < ATTEMPTS) continue
    const failed = outcome.failures.length > 0
    const final = failed ? planBroker({ ...observed, failures: outcome.failures }) : plan
    if (final.status !== null) await writeStatus(io, "broker", broker, MANAGER, final.status, signal)
    const told = outcome.stale
      ? []
      : failed
        ? final.events.filter(({ reason }) => reason === "Stalled")
        : final.events
    for (const event of [...told, ...outcome.events]) await events.tell(broker, event, signal)
    measure(io, gauges, key, broker, final)
    if (outcome.stale) return { result: "error", why: "the cache is behind", atLeastMs: 0 }
    const transient = outcome.failures.find(({ class: kind }) => kind === "Transient")
    if (transient !== undefined)
      return {
        result: "error",
        why: `${transient.step}: ${transient.message}`,
        atLeastMs: outcome.retryAfterMs ?? 0,
      }
    return {
      result: "success",
      againMs: soonest(final.again, askAgain(io, broker, observed)),
      steady: outcome.writes === 0,
    }
  }
}

/** When a broker that did not answer is to be asked again. */
function askAgain(io: Io, broker: KubeObject, observed: BrokerObserved): number | null {
  const known = io.memory.of(broker.metadata.uid ?? "")
  const { view } = observed
  if (view === null || view.reachable === "Answering") return null
  return Math.max(1_000, known.notBefore - io.world.now())
}

function liveOf(observed: BrokerObserved, action: Action): KubeObject | null {
  return action.do === "apply" ? observed.children[action.child] : null
}

function measure(io: Io, gauges: BrokerGauges, key: string, broker: KubeObject, plan: BrokerPlan): void {
  const ready = plan.findings.find(({ type }) => type === "Ready")
  gauges.brokerState(key, ready?.reason ?? null)
  const { namespace = "", name } = broker.metadata
  const secrets = io.memory.of(broker.metadata.uid ?? "").secrets
  gauges.tokenExpiry(namespace, name, secrets?.metricsToken?.expiresAt ?? null)
  gauges.rotationPhase(namespace, name, secrets?.signing?.state?.phase ?? null)
}
