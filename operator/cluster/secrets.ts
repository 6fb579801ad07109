// Key material (operator.md §7): reads the operator's Secrets into facts, makes what a recipe asks for, signs tokens.
// Private keys and tokens stay inside this file's values; facts and errors never carry them.

import {
  calculateJwkThumbprint,
  exportJWK,
  exportPKCS8,
  generateKeyPair,
  importJWK,
  type JWK,
  SignJWT,
} from "jose"
import { controllerUid, KIND, type KubeObject, type Ref } from "../plan/object.ts"
import {
  type ForeignSecret,
  type KeySetFacts,
  PHASES,
  type RotationState,
  type SecretRecipe,
  type SigningFacts,
  type TokenFacts,
} from "../plan/types.ts"
import { isDict, timeOf } from "../plan/values.ts"

export const ROTATION = "fitz.dev/rotation"
const SKEW_SECONDS = 300
const OPERATOR_TOKEN_SECONDS = 600
const RSA_BITS = 3072

export interface Signer {
  readonly kid: string
  readonly alg: string
  readonly jwk: JWK
}

/** The data of a Secret, decoded. */
export function decoded(secret: KubeObject | null): Record<string, string> {
  const data = secret?.["data"]
  if (!isDict(data)) return {}
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, Buffer.from(String(value), "base64").toString("utf8")]),
  )
}

function parsed(text: string | undefined): unknown {
  if (text === undefined) return null
  try {
    return JSON.parse(text) as unknown
  } catch {
    // Spoilt content counts as absent: the caller generates or reports.
    return null
  }
}

function jwkOf(text: string | undefined): JWK | null {
  const value = parsed(text)
  return isDict(value) && typeof value["kid"] === "string" && typeof value["alg"] === "string"
    ? (value as unknown as JWK)
    : null
}

interface StoredState extends RotationState {
  /** Public half of the key that signed before. */
  readonly previous?: JWK
}

function stateOf(secret: KubeObject): StoredState | null {
  const value = parsed(secret.metadata.annotations?.[ROTATION])
  if (!isDict(value) || !PHASES.some(phase => phase === value["phase"])) return null
  return value as unknown as StoredState
}

function owned(secret: KubeObject): { uid: string; resourceVersion: string; controllerUid: string | null } {
  return {
    uid: secret.metadata.uid ?? "",
    resourceVersion: secret.metadata.resourceVersion ?? "",
    controllerUid: controllerUid(secret),
  }
}

export function signingFacts(secret: KubeObject | null): SigningFacts | null {
  if (secret === null) return null
  const data = decoded(secret)
  const active = jwkOf(data["active.jwk"])
  const state = stateOf(secret)
  return {
    ...owned(secret),
    algorithm: active?.alg ?? null,
    activeKid: active?.kid ?? null,
    nextKid: jwkOf(data["next.jwk"])?.kid ?? null,
    previousKid: state?.previous?.kid ?? null,
    state:
      state === null
        ? null
        : {
            phase: state.phase,
            since: state.since,
            activeSince: state.activeSince,
            rotateToken: state.rotateToken,
            revokeToken: state.revokeToken,
          },
  }
}

export function keySetFacts(secret: KubeObject | null): KeySetFacts | null {
  if (secret === null) return null
  const set = parsed(decoded(secret)["jwks.json"])
  const keys = isDict(set) && Array.isArray(set["keys"]) ? set["keys"] : []
  return {
    ...owned(secret),
    kids: keys.flatMap(key => (isDict(key) && typeof key["kid"] === "string" ? [key["kid"]] : [])),
  }
}

export function tokenFacts(secret: KubeObject | null): TokenFacts | null {
  if (secret === null) return null
  const annotations = secret.metadata.annotations ?? {}
  const expires = Date.parse(annotations["fitz.dev/expires-at"] ?? "")
  const present = decoded(secret)["token"] !== undefined
  return {
    ...owned(secret),
    kid: present ? (annotations["fitz.dev/kid"] ?? null) : null,
    expiresAt: Number.isNaN(expires) ? 0 : expires,
  }
}

/** What a Secret of the user's is good for. Its content goes no further than this. */
export function foreignFacts(
  secret: KubeObject | null,
  key: string,
  type: "HS256" | "JWKS" | "keys",
): ForeignSecret {
  if (secret === null) return { present: false, keyPresent: false, valid: false, bytes: 0 }
  const data = secret["data"]
  const raw = isDict(data) ? data[key] : undefined
  if (typeof raw !== "string") return { present: true, keyPresent: false, valid: false, bytes: 0 }
  const content = Buffer.from(raw, "base64")
  let valid = content.length > 0
  if (type !== "HS256") {
    const value = parsed(content.toString("utf8"))
    const keys = type === "keys" ? value : isDict(value) ? value["keys"] : null
    valid =
      Array.isArray(keys) &&
      (type === "keys" ||
        keys.every(each => isDict(each) && each["d"] === undefined && each["kty"] !== "oct"))
  }
  return { present: true, keyPresent: true, valid, bytes: content.length }
}

/** The key that signs now; in the phase Revoke already the next one, since only that is accepted. */
export function signerOf(secret: KubeObject | null): Signer | null {
  if (secret === null) return null
  const data = decoded(secret)
  const state = stateOf(secret)
  const jwk = jwkOf(state?.phase === "Revoke" ? data["next.jwk"] : data["active.jwk"])
  return jwk === null ? null : { kid: jwk.kid!, alg: jwk.alg!, jwk }
}

const publicHalf = ({ kty, crv, x, y, n, e, kid, alg }: JWK): JWK =>
  JSON.parse(JSON.stringify({ kty, crv, x, y, n, e, kid, alg, use: "sig" })) as JWK

async function newKey(algorithm: string): Promise<{ jwk: JWK; pem: string }> {
  const { privateKey } = await generateKeyPair(algorithm, {
    extractable: true,
    ...(algorithm === "RS256" ? { modulusLength: RSA_BITS } : {}),
  })
  const bare = await exportJWK(privateKey)
  const kid = await calculateJwkThumbprint(bare)
  return { jwk: { ...bare, kid, alg: algorithm, use: "sig" }, pem: await exportPKCS8(privateKey) }
}

async function pemOf(jwk: JWK): Promise<string> {
  const key = await importJWK(jwk, jwk.alg, { extractable: true })
  if (key instanceof Uint8Array) throw new Error("a signing key cannot be symmetric")
  return exportPKCS8(key)
}

const stateText = (state: RotationState, previous: JWK | undefined): string =>
  JSON.stringify({ ...state, ...(previous === undefined ? {} : { previous }) })

/** What a recipe makes: values to set and keys to drop. */
export interface Made {
  readonly type: string
  readonly data: Readonly<Record<string, string | null>>
  readonly annotations: Readonly<Record<string, string>>
}

/** Carries a recipe out, given the signing keys as they are now. */
export async function make(
  recipe: SecretRecipe,
  signing: KubeObject | null,
  brokerUid: string,
): Promise<Made> {
  const data = decoded(signing)
  const state = signing === null ? null : stateOf(signing)
  switch (recipe.make) {
    case "signingKeys": {
      const { jwk, pem } = await newKey(recipe.algorithm)
      return {
        type: "fitz.dev/signing-keys",
        data: {
          "active.jwk": JSON.stringify(jwk),
          "active.pem": pem,
          "active.kid": jwk.kid!,
          "next.jwk": null,
        },
        annotations: { [ROTATION]: stateText(recipe.state, undefined) },
      }
    }
    case "nextKey": {
      const { jwk } = await newKey(recipe.algorithm)
      return {
        type: "fitz.dev/signing-keys",
        data: { "next.jwk": JSON.stringify(jwk) },
        annotations: { [ROTATION]: stateText(recipe.state, undefined) },
      }
    }
    case "promote": {
      const next = jwkOf(data["next.jwk"])
      const active = jwkOf(data["active.jwk"])
      if (next === null || active === null) throw new Error("there is no next key to promote")
      return {
        type: "fitz.dev/signing-keys",
        data: {
          "active.jwk": JSON.stringify(next),
          "active.pem": await pemOf(next),
          "active.kid": next.kid!,
          "next.jwk": null,
        },
        annotations: {
          [ROTATION]: stateText(recipe.state, recipe.keepPrevious ? publicHalf(active) : undefined),
        },
      }
    }
    case "state":
      return {
        type: "fitz.dev/signing-keys",
        data: {},
        annotations: {
          [ROTATION]: stateText(recipe.state, recipe.keepPrevious ? state?.previous : undefined),
        },
      }
    case "publicSet": {
      const keys = [
        ...(recipe.of === "all" ? [jwkOf(data["active.jwk"])] : []),
        jwkOf(data["next.jwk"]),
        ...(recipe.of === "all" ? [state?.previous ?? null] : []),
      ].filter(key => key !== null)
      if (keys.length === 0) throw new Error("there are no signing keys to publish")
      return {
        type: "Opaque",
        data: { "jwks.json": JSON.stringify({ keys: keys.map(publicHalf) }) },
        annotations: {},
      }
    }
    case "metricsToken": {
      const active = jwkOf(data["active.jwk"])
      if (active === null) throw new Error("there is no key to sign the metrics token with")
      const token = await sign(
        { kid: active.kid!, alg: active.alg!, jwk: active },
        {
          subject: "system:prometheus",
          brokerUid,
          permissions: ["metrics:read"],
          now: recipe.issuedAt,
          until: recipe.until,
        },
      )
      return {
        type: "Opaque",
        data: { token },
        annotations: { "fitz.dev/expires-at": timeOf(recipe.until), "fitz.dev/kid": active.kid! },
      }
    }
  }
}

async function sign(
  { kid, alg, jwk }: Signer,
  claims: { subject: string; brokerUid: string; permissions: readonly string[]; now: number; until: number },
): Promise<string> {
  const issued = Math.floor(claims.now / 1_000) - SKEW_SECONDS
  return new SignJWT({ permissions: claims.permissions })
    .setProtectedHeader({ alg, kid, typ: "JWT" })
    .setIssuer("fitz-operator")
    .setSubject(claims.subject)
    .setAudience(`urn:fitz:broker:${claims.brokerUid}`)
    .setIssuedAt(issued)
    .setNotBefore(issued)
    .setExpirationTime(Math.floor(claims.until / 1_000))
    .sign(await importJWK(jwk, alg))
}

/** The operator's own token for a broker: short-lived, bound to it, kept in memory only. */
export function operatorToken(signer: Signer, brokerUid: string, now: number): Promise<string> {
  return sign(signer, {
    subject: "system:fitz-operator",
    brokerUid,
    permissions: ["admin:read", "admin:write"],
    now,
    until: now + OPERATOR_TOKEN_SECONDS * 1_000,
  })
}

export const OPERATOR_TOKEN_RENEW_MS = (OPERATOR_TOKEN_SECONDS / 2) * 1_000

/** A Secret to be created from what a recipe made. */
export function secretObject(
  ref: Ref,
  made: Made,
  metadata: { labels: Record<string, string>; ownerReferences: readonly unknown[] },
): KubeObject {
  return {
    apiVersion: "v1",
    kind: KIND.secret.kind,
    type: made.type,
    metadata: {
      name: ref.name,
      namespace: ref.namespace,
      annotations: made.annotations,
      ...metadata,
    } as KubeObject["metadata"],
    data: encoded(made.data),
  }
}

export function encoded(data: Readonly<Record<string, string | null>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(data).flatMap(([key, value]) =>
      value === null ? [] : [[key, Buffer.from(value, "utf8").toString("base64")]],
    ),
  )
}

/** The same as a merge patch: absent keys are dropped. */
export function secretPatch(made: Made, resourceVersion: string, uid: string): Record<string, unknown> {
  return {
    metadata: { resourceVersion, uid, annotations: made.annotations },
    data: Object.fromEntries(
      Object.entries(made.data).map(([key, value]) => [
        key,
        value === null ? null : Buffer.from(value, "utf8").toString("base64"),
      ]),
    ),
  }
}
