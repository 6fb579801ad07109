// Keys and tokens (operator.md §7): which Secret is to be written next, from facts about the Secrets alone. The state
// of a rotation is in the Secret, so any replica can go on at any point. Material never comes through here.

import type { BrokerSpec } from "../kinds/broker.ts"
import { NAMES, type Owner } from "./children.ts"
import { type Finding, finding } from "./conditions.ts"
import type { KubeObject } from "./object.ts"
import { textAt } from "./object.ts"
import type {
  Action,
  BrokerView,
  KeySetFacts,
  Phase,
  PlannedEvent,
  RotationState,
  SecretRecipe,
  SigningFacts,
  TokenFacts,
} from "./types.ts"
import { type Dict, durationMs, same, timeOf } from "./values.ts"

const HOUR_MS = 3_600_000
export const METRICS_TOKEN_MS = 72 * HOUR_MS
export const METRICS_RENEW_MS = 48 * HOUR_MS
const NOT_LOADED_MS = 600_000
const ASK_AGAIN_MS = 10_000
/** A key ends on nothing older than this. */
const FRESH_MS = 30_000

export const ROTATE = "fitz.dev/rotate-keys"
export const REVOKE = "fitz.dev/revoke-keys"

export interface KeysObserved {
  readonly now: number
  readonly owner: Owner
  readonly broker: KubeObject
  readonly spec: BrokerSpec
  readonly paused: boolean
  readonly signing: SigningFacts | null
  readonly keySet: KeySetFacts | null
  readonly metricsToken: TokenFacts | null
  readonly view: BrokerView | null
}

export interface KeysPlan {
  readonly actions: readonly Action[]
  readonly events: readonly PlannedEvent[]
  readonly finding: Finding
  readonly again: number | null
  readonly status: Dict
  /** Whether the broker's answer moves the rotation on. */
  readonly asksBroker: boolean
}

/** The keys that the broker should accept, by phase. */
export function wantedKids(signing: SigningFacts, phase: Phase): string[] {
  const kid = (value: string | null): string[] => (value === null ? [] : [value])
  const active = kid(signing.activeKid)
  if (phase === "Revoke") return kid(signing.nextKid)
  if (phase === "Publish" || phase === "Propagate") return [...active, ...kid(signing.nextKid)]
  return [...active, ...kid(signing.previousKid)]
}

export function planKeys(o: KeysObserved): KeysPlan {
  const { now, owner, spec, signing, keySet, metricsToken, paused } = o
  const actions: Action[] = []
  const events: PlannedEvent[] = []
  const annotations = o.broker.metadata.annotations ?? {}
  const rotateToken = annotations[ROTATE] ?? ""
  const revokeToken = annotations[REVOKE] ?? ""
  const before = textAt(o.broker, "status", "auth", "activeKid")

  const secret = (
    name: string,
    at: { uid: string; resourceVersion: string } | null,
    make: SecretRecipe,
  ): Action => ({
    do: "secret",
    ref: { kind: "secret", namespace: owner.namespace, name },
    uid: at?.uid ?? null,
    resourceVersion: at?.resourceVersion ?? null,
    make,
  })
  const publicSet = (of: "all" | "next"): Action =>
    secret(NAMES.keySet(owner.name), keySet, { make: "publicSet", of })
  const token = (): Action =>
    secret(NAMES.metricsToken(owner.name), metricsToken, {
      make: "metricsToken",
      until: now + METRICS_TOKEN_MS,
      issuedAt: now,
    })
  const done = (
    found: Finding,
    again: number | null,
    {
      asksBroker = false,
      state = signing?.state ?? null,
    }: { asksBroker?: boolean; state?: RotationState | null } = {},
  ): KeysPlan => ({
    actions,
    events,
    finding: found,
    again: actions.length > 0 ? 0 : again,
    asksBroker,
    status: statusOf(o, state),
  })

  const lost = signing === null || signing.activeKid === null || signing.state === null
  if (lost) {
    if (paused) return done(finding("AuthReady", "KeysMissing"), null)
    const state: RotationState = {
      phase: "Steady",
      since: timeOf(now),
      activeSince: timeOf(now),
      rotateToken,
      revokeToken,
    }
    actions.push(
      secret(NAMES.signing(owner.name), signing, {
        make: "signingKeys",
        algorithm: spec.auth.algorithm,
        state,
      }),
      publicSet("all"),
      token(),
    )
    if (before !== null)
      events.push({
        type: "Warning",
        reason: "KeysRevoked",
        note: "The signing keys were gone and have been made anew; tokens of the old key end here.",
      })
    return done(finding("AuthReady", "KeysMissing"), 0, { state })
  }

  const state = signing.state as RotationState
  const patch = (make: SecretRecipe): void => {
    actions.push(secret(NAMES.signing(owner.name), signing, make))
  }
  const move = (phase: Phase, rest: Partial<RotationState> = {}): RotationState => ({
    ...state,
    phase,
    since: timeOf(now),
    ...rest,
  })
  const renewToken = (): void => {
    const stale =
      metricsToken === null ||
      metricsToken.kid !== signing.activeKid ||
      metricsToken.expiresAt - now < METRICS_RENEW_MS
    if (stale) actions.push(token())
  }
  if (paused) {
    // Scraping must not end with a pause; everything else waits.
    if (keySet !== null && state.phase !== "Revoke") renewToken()
    return done(finding("AuthReady", "KeysLoaded"), renewalDue(o))
  }

  const revoke = revokeToken !== "" && revokeToken !== state.revokeToken && state.phase !== "Revoke"
  if (revoke) {
    patch({
      make: "nextKey",
      algorithm: spec.auth.algorithm,
      state: move("Revoke", { revokeToken, rotateToken }),
    })
    actions.push(publicSet("next"))
    events.push({
      type: "Warning",
      reason: "KeysRevoked",
      note: "All tokens signed so far are refused as soon as the broker has read the new key.",
    })
    return done(finding("AuthReady", "Rotating"), 0, { asksBroker: true })
  }

  const published =
    keySet !== null && same([...keySet.kids].sort(), [...wantedKids(signing, state.phase)].sort())
  if (!published) actions.push(publicSet(state.phase === "Revoke" ? "next" : "all"))

  const loaded = o.view?.keys?.find(key => key.kid === signing.nextKid) !== undefined
  switch (state.phase) {
    case "Steady": {
      renewToken()
      const due =
        (spec.auth.rotation.mode === "Automatic" &&
          now >= Date.parse(state.activeSince) + durationMs(spec.auth.rotation.interval)) ||
        (rotateToken !== "" && rotateToken !== state.rotateToken) ||
        (signing.algorithm !== null && signing.algorithm !== spec.auth.algorithm)
      if (due && published) {
        patch({
          make: "nextKey",
          algorithm: spec.auth.algorithm,
          state: move("Publish", { rotateToken }),
        })
        events.push({
          type: "Normal",
          reason: "KeyRotationStarted",
          note: "A new signing key is being introduced.",
        })
        return done(finding("AuthReady", "Rotating"), 0)
      }
      return done(
        spec.auth.clients === "None" ? finding("AuthReady", "Anonymous") : finding("AuthReady", "KeysLoaded"),
        soonest(renewalDue(o), rotationDue(o, state)),
      )
    }
    case "Publish": {
      renewToken()
      if (published) patch({ make: "state", keepPrevious: false, state: move("Propagate") })
      return done(finding("AuthReady", "Rotating"), 0)
    }
    case "Propagate": {
      renewToken()
      if (published && loaded) {
        patch({
          make: "promote",
          keepPrevious: true,
          state: move("Sign", { activeSince: timeOf(now) }),
        })
        events.push({ type: "Normal", reason: "KeyActivated", note: "The new key signs from now on." })
        return done(finding("AuthReady", "Rotating"), 0)
      }
      if (now - Date.parse(state.since) >= NOT_LOADED_MS && o.view?.reachable === "Answering") {
        const found = finding("AuthReady", "KeyNotLoaded", o.view.keysError ?? undefined)
        if (!hasReason(o.broker, "AuthReady", "KeyNotLoaded"))
          events.push({
            type: "Warning",
            reason: "KeyNotLoaded",
            note: "The broker has not loaded the new key for ten minutes. The old one stays in use.",
          })
        return done(found, ASK_AGAIN_MS, { asksBroker: true })
      }
      return done(finding("AuthReady", "Rotating"), ASK_AGAIN_MS, { asksBroker: true })
    }
    case "Sign": {
      renewToken()
      if (published && metricsToken?.kid === signing.activeKid)
        patch({ make: "state", keepPrevious: true, state: move("Retire") })
      return done(finding("AuthReady", "Rotating"), 0)
    }
    case "Retire": {
      renewToken()
      const over = Date.parse(state.activeSince) + durationMs(spec.auth.rotation.overlap)
      if (now < over) return done(finding("AuthReady", "Rotating"), soonest(renewalDue(o), over - now))
      const keys = o.view?.keys ?? null
      const used = keys?.find(key => key.kid === signing.previousKid)?.lastVerifiedAt ?? null
      const quietAt = used === null ? now : used + durationMs(spec.auth.maxTokenTTL)
      // What was said minutes ago does not know of a token that came since.
      const fresh = o.view !== null && now - o.view.readAt < FRESH_MS
      if (keys === null || !fresh)
        return done(finding("AuthReady", "Rotating"), ASK_AGAIN_MS, { asksBroker: true })
      if (quietAt <= now) {
        patch({ make: "state", keepPrevious: false, state: move("Steady") })
        events.push({ type: "Normal", reason: "KeyRetired", note: "The old key is no longer accepted." })
        return done(finding("AuthReady", "Rotating"), 0)
      }
      if (!hasReason(o.broker, "AuthReady", "OldKeyStillUsed"))
        events.push({
          type: "Warning",
          reason: "OldKeyStillUsed",
          note: "Tokens of the old key are still in use, so it stays accepted. Their issuer should read the new key.",
        })
      return done(finding("AuthReady", "OldKeyStillUsed"), soonest(renewalDue(o), quietAt - now), {
        asksBroker: true,
      })
    }
    case "Revoke": {
      // Calls are signed with the next key now; an answer means that the broker accepts it.
      if (published && loaded && o.view?.reachable === "Answering") {
        patch({
          make: "promote",
          keepPrevious: false,
          state: move("Steady", { activeSince: timeOf(now) }),
        })
        actions.push(token())
        events.push({ type: "Normal", reason: "KeyActivated", note: "The new key signs from now on." })
        return done(finding("AuthReady", "Rotating"), 0)
      }
      return done(finding("AuthReady", "Rotating"), ASK_AGAIN_MS, { asksBroker: true })
    }
  }
}

function renewalDue({ metricsToken, now }: KeysObserved): number | null {
  return metricsToken === null ? null : Math.max(0, metricsToken.expiresAt - METRICS_RENEW_MS - now)
}

function rotationDue({ spec, now }: KeysObserved, state: RotationState): number | null {
  if (spec.auth.rotation.mode !== "Automatic") return null
  return Math.max(0, Date.parse(state.activeSince) + durationMs(spec.auth.rotation.interval) - now)
}

export function soonest(...times: readonly (number | null)[]): number | null {
  const known = times.filter(time => time !== null)
  return known.length === 0 ? null : Math.min(...known)
}

export function hasReason(object: KubeObject, type: string, reason: string): boolean {
  return conditionOf(object, type)?.reason === reason
}

export function conditionOf(
  object: KubeObject,
  type: string,
): { status: string; reason: string; lastTransitionTime: string } | null {
  const status = object["status"] as
    | { conditions?: { type: string; status: string; reason: string }[] }
    | undefined
  const found = status?.conditions?.find(condition => condition.type === type)
  return (found as { status: string; reason: string; lastTransitionTime: string } | undefined) ?? null
}

function statusOf({ spec, signing }: KeysObserved, state: RotationState | null): Dict {
  const { auth } = spec
  const source = auth.clients === "None" ? "None" : (auth.existingSecret?.type ?? "Generated")
  const out: Dict = { source }
  if (state !== null) {
    out["phase"] = state.phase
    out["activeSince"] = state.activeSince
    if (auth.rotation.mode === "Automatic")
      out["nextRotation"] = timeOf(Date.parse(state.activeSince) + durationMs(auth.rotation.interval))
  }
  if (signing?.activeKid != null) out["activeKid"] = signing.activeKid
  if (signing?.nextKid != null) out["nextKid"] = signing.nextKid
  if (signing?.previousKid != null) out["previousKid"] = signing.previousKid
  return out
}
