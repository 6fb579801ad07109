// Who a token speaks for and what it allows (docs/PROTOCOL.md, P-*): trust sources, claims, families.
// Several sources may stand side by side; an algorithm belongs to a key and never to the token's word.

import {
  createRemoteJWKSet,
  decodeProtectedHeader,
  importJWK,
  type JWK,
  type JWTPayload,
  type JWTVerifyOptions,
  jwtVerify,
} from "jose"
import { z } from "zod"
import { parsePermission } from "../protocol/permission.ts"
import { type Admitted, allowedBy, type Principal } from "./admin/access.ts"
import type { TrustSourceView } from "./admin/operations.ts"
import { type Config, familyMapProblem, parseFamilyMap, parseJson, splitPair } from "./config.ts"
import type { Identity } from "./engine/engine.ts"
import { Watched } from "./files.ts"
import { type ApiKey, ApiKeys } from "./keys.ts"
import type { World } from "./world.ts"

/** A verified token, as the data plane needs it. */
export interface Verified extends Identity {
  /** The value of the identity claim. */
  readonly identity: string
  readonly subject: string
  /** The session's realm label, or "". */
  readonly realm: string
  /** The digest of the API key in use, if it is one. */
  readonly key?: string
}

/** Why a token is refused. The reason is for logs and counters; the client sees a closed connection. */
export type Refusal =
  | "malformed"
  | "algorithm"
  | "key"
  | "signature"
  | "expired"
  | "claims"
  | "identity"
  | "permissions"
  | "no_permissions"

interface Key {
  readonly kid: string | null
  readonly alg: string
  readonly key: Parameters<typeof jwtVerify>[1]
  /** The generated source also takes the broker's own audience. */
  readonly generated: boolean
  lastVerifiedMs: number | null
}

/** A token that somebody whom we trust has signed. */
interface Signed {
  readonly claims: JWTPayload
  readonly generated: boolean
}

/** What may be told of a source of trust: never its keys. */
export type TrustSource = TrustSourceView

/** Clocks of other machines may be this far off. */
const SKEW_SECONDS = 60

const JWKS_SHAPE = z.object({ keys: z.array(z.looseObject({ kty: z.string() })) })
const CURVE_ALGORITHMS: Readonly<Record<string, string>> = {
  "P-256": "ES256",
  "P-384": "ES384",
  "P-521": "ES512",
  Ed25519: "EdDSA",
}
const ASYMMETRIC = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
]

/** The algorithm a key may be used with: its own word, or what its kind implies. Null: not a public key. */
function algorithmOf(jwk: JWK): string | null {
  if (jwk.kty === "oct") return null
  const alg = jwk.alg ?? (jwk.kty === "RSA" ? "RS256" : (CURVE_ALGORITHMS[jwk.crv ?? ""] ?? null))
  return alg !== null && ASYMMETRIC.includes(alg) ? alg : null
}

/** The key sets in some files. Throws without quoting them. */
function keySets(files: ReadonlyMap<string, string>): JWK[] {
  return [...files].flatMap(([name, content]) => {
    const parsed = JWKS_SHAPE.safeParse(parseJson(content))
    if (!parsed.success) throw new Error(`${name} holds no key set`)
    return parsed.data.keys as JWK[]
  })
}

async function keysOf(jwks: readonly JWK[], generated: boolean): Promise<Key[]> {
  const keys: Key[] = []
  for (const jwk of jwks) {
    const alg = algorithmOf(jwk)
    if (alg === null) continue
    const key = await importJWK(jwk, alg)
    keys.push({ kid: jwk.kid ?? null, alg, key, generated, lastVerifiedMs: null })
  }
  return keys
}

function asStrings(value: unknown): string[] | null {
  return Array.isArray(value) && value.every(item => typeof item === "string") ? value : null
}

function listOrWords(value: unknown): string[] | null {
  if (typeof value === "string") return value.split(" ").filter(word => word !== "")
  return asStrings(value)
}

/** The permission entries of a token: the first source that is present (PROTOCOL.md, P-2). */
export function permissionEntries(
  claims: JWTPayload,
  config: Pick<Config, "jwtPermissionsObjectClaim" | "jwtPermissionsClaim" | "jwtRolesClaim">,
): { readonly entries: readonly string[]; readonly coarse: boolean } | null {
  const { jwtPermissionsObjectClaim, jwtPermissionsClaim, jwtRolesClaim } = config
  const object = jwtPermissionsObjectClaim === null ? undefined : claims[jwtPermissionsObjectClaim]
  const sources: readonly [unknown, boolean][] = [
    [
      object !== null && typeof object === "object" ? (object as JWTPayload)["permissions"] : undefined,
      false,
    ],
    [claims["permissions"], false],
    [jwtPermissionsClaim === null ? undefined : claims[jwtPermissionsClaim], false],
    [claims[jwtRolesClaim], false],
    [claims["scp"], true],
    [claims["scope"], true],
  ]
  for (const [value, coarse] of sources) {
    if (value === undefined) continue
    const entries = coarse ? listOrWords(value) : asStrings(value)
    return entries === null ? null : { entries, coarse }
  }
  return null
}

export class IdentityVerifier {
  private readonly config: Config
  private readonly world: World
  private readonly secret: Watched<Uint8Array> | Uint8Array | null
  private readonly jwks: readonly Watched<readonly JWK[]>[]
  private readonly families: Watched<ReadonlyMap<string, number>> | ReadonlyMap<string, number> | null
  private readonly remote = new Map<string, ReturnType<typeof createRemoteJWKSet>>()
  private keys: readonly Key[] = []
  private readonly apiKeys: ApiKeys | null
  private readonly startedMs: number
  private secretVerifiedMs: number | null = null
  /** Why the newest key sets are not in use. */
  private keysError: string | null = null

  private constructor(
    config: Config,
    world: World,
    developmentSecret: string | null,
    onFamilies: () => void,
  ) {
    this.config = config
    this.world = world
    this.startedMs = world.now()
    this.apiKeys = config.apiKeysFile === null ? null : new ApiKeys(config.apiKeysFile, world, onFamilies)
    const {
      jwtHmacSecret,
      jwtHmacSecretFile,
      jwtJwksFile,
      jwtClientJwksFile,
      routeFamilyMap,
      routeFamilyMapFile,
    } = config
    if (jwtHmacSecretFile !== null) this.secret = new Watched([jwtHmacSecretFile], secretOf, world)
    else {
      const secret = jwtHmacSecret ?? developmentSecret
      this.secret = secret === null ? null : new TextEncoder().encode(secret)
    }
    this.jwks = [jwtJwksFile, jwtClientJwksFile].flatMap((path, index) => {
      if (path === null) return []
      const watched = new Watched<readonly JWK[]>(
        [path],
        ([files]) => keySets(files!),
        world,
        () => {
          this.useKeys().catch((error: unknown) => {
            this.keysError = error instanceof Error ? error.message : String(error)
            world.log("error", "a key set cannot be used", { path, reason: String(error) })
          })
        },
      )
      this.generatedFrom.set(watched, index === 0)
      return [watched]
    })
    if (routeFamilyMapFile !== null) {
      this.families = new Watched(
        [routeFamilyMapFile],
        ([files]) => this.familyMap([...files!.values()].join("\n")),
        world,
        onFamilies,
      )
    } else this.families = routeFamilyMap === null ? null : this.familyMap(routeFamilyMap)
    for (const pair of config.jwtJwksMap) {
      const [issuer, url] = splitPair(pair)
      this.remote.set(issuer, createRemoteJWKSet(new URL(url!)))
    }
  }

  private readonly generatedFrom = new Map<Watched<readonly JWK[]>, boolean>()

  /**
   * Reads all sources. Throws where one of them cannot be used.
   * @param developmentSecret used where no other secret is configured; null for none
   * @param onFamilies the family map has changed: identities may have gone
   */
  static async open(
    config: Config,
    world: World,
    developmentSecret: string | null,
    onFamilies: () => void,
  ): Promise<IdentityVerifier> {
    const verifier = new IdentityVerifier(config, world, developmentSecret, onFamilies)
    await verifier.useKeys()
    return verifier
  }

  stop(): void {
    for (const watched of [this.secret, this.families, ...this.jwks])
      if (watched instanceof Watched) watched.stop()
    this.apiKeys?.stop()
  }

  /** May somebody who came in as this still be here? */
  stillValid({ identity, family, key }: Verified): boolean {
    if (key !== undefined && this.apiKeys?.holds(key) !== true) return false
    return this.familyOf(identity) === family
  }

  /** Where trust comes from, for operators. */
  sources(): TrustSource[] {
    const { jwtHmacSecretFile, jwtJwksMap } = this.config
    const sources: TrustSource[] = this.jwks.map(watched => {
      const generated = this.generatedFrom.get(watched) === true
      return {
        source: generated ? "generated" : "clients",
        kind: "jwks_file",
        loadedAtMs: watched.loadedAtMs,
        error: watched.error ?? this.keysError,
        keys: this.keys
          .filter(key => key.generated === generated)
          .map(({ kid, alg, lastVerifiedMs }) => ({ kid: kid ?? "", alg, lastVerifiedMs })),
      }
    })
    if (this.secret !== null) {
      const watched = this.secret instanceof Watched ? this.secret : null
      sources.push({
        source: "clients",
        kind: jwtHmacSecretFile === null ? "hs256" : "hs256_file",
        loadedAtMs: watched?.loadedAtMs ?? this.startedMs,
        error: watched?.error ?? null,
        keys: [{ kid: "", alg: "HS256", lastVerifiedMs: this.secretVerifiedMs }],
      })
    }
    if (jwtJwksMap.length > 0) {
      sources.push({ source: "clients", kind: "jwks_url", loadedAtMs: this.startedMs, error: null, keys: [] })
    }
    if (this.apiKeys !== null) sources.push(this.apiKeys.source())
    return sources
  }

  /** Whom a credential of the admin surface speaks for. */
  async principal(token: string): Promise<Admitted> {
    const signed = await this.authenticate(token, SKEW_SECONDS)
    if (typeof signed === "string") return { refused: signed }
    const { claims, generated } = signed
    const values = [claims["permissions"], claims["scp"], claims["scope"], claims["roles"]].flatMap(
      value => listOrWords(value) ?? [],
    )
    const permissions = allowedBy(values)
    return {
      name: claims.sub ?? "",
      method: "jwt",
      ...(generated || this.clientsMayAdmin ? permissions : narrowed(permissions)),
    }
  }

  /** Whom an API key speaks for. */
  byApiKey(presented: string): Admitted {
    const key = this.apiKeys?.find(presented) ?? null
    if (key === null) return { refused: "key" }
    return { name: `apikey:${key.id}`, method: "api_key", ...allowedBy(key.permissions) }
  }

  private get clientsMayAdmin(): boolean {
    const { jwtClientAllowAdmin, brokerUid, jwtJwksFile } = this.config
    return jwtClientAllowAdmin ?? (brokerUid === null && jwtJwksFile === null)
  }

  /** The family of an identity, or null where it has none any more. */
  familyOf(identity: string): number | null {
    const families = this.families instanceof Watched ? this.families.value : this.families
    if (families === null) return this.config.routeFamilies[0] ?? 1
    return families.get(identity) ?? null
  }

  /** Verifies the token of a CONNECT, or an API key in its place. */
  async verify(token: string): Promise<Verified | Refusal> {
    if (this.apiKeys !== null && !isJws(token)) {
      const key = this.apiKeys.find(token)
      return key === null ? "malformed" : this.identifyKey(key)
    }
    const signed = await this.authenticate(token, 0)
    return typeof signed === "string" ? signed : this.identify(signed.claims)
  }

  /** @param skewSeconds how far off the clock of whoever signed may be */
  private async authenticate(token: string, skewSeconds: number): Promise<Signed | Refusal> {
    let header: { alg?: string; kid?: string }
    try {
      header = decodeProtectedHeader(token)
    } catch {
      return "malformed"
    }
    const { alg, kid } = header
    if (alg === undefined || !isJws(token)) return "malformed"
    const signed =
      alg === "HS256"
        ? await this.bySecret(token, skewSeconds)
        : await this.byKey(token, alg, kid, skewSeconds)
    if (typeof signed === "string") return signed
    const { iss, iat, exp } = signed.claims
    const nowSeconds = this.world.now() / 1_000
    if (exp === undefined || exp <= nowSeconds) return "expired"
    if (skewSeconds > 0 && iat !== undefined && iat > nowSeconds + skewSeconds) return "claims"
    const { jwtIssuers } = this.config
    if (!signed.generated && jwtIssuers.length > 0 && !jwtIssuers.includes(iss ?? "")) return "claims"
    return signed
  }

  private familyMap(source: string): ReadonlyMap<string, number> {
    const problem = familyMapProblem(source, this.config.routeFamilies)
    if (problem !== null) throw new Error(problem)
    return parseFamilyMap(source)
  }

  private async useKeys(): Promise<void> {
    const sets = this.jwks.map(watched => keysOf(watched.value, this.generatedFrom.get(watched) === true))
    const before = this.keys
    this.keys = (await Promise.all(sets)).flat()
    this.keysError = null
    for (const key of this.keys) {
      const known = before.find(
        one => one.kid === key.kid && one.alg === key.alg && one.generated === key.generated,
      )
      key.lastVerifiedMs = known?.lastVerifiedMs ?? null
    }
  }

  private async bySecret(token: string, skewSeconds: number): Promise<Signed | Refusal> {
    const secret = this.secret instanceof Watched ? this.secret.value : this.secret
    if (secret === null) return "algorithm"
    const claims = await this.check(token, secret, ["HS256"], this.config.jwtAudiences, skewSeconds)
    if (typeof claims === "string") return claims
    this.secretVerifiedMs = this.world.now()
    return { claims, generated: false }
  }

  private async byKey(
    token: string,
    alg: string,
    kid: string | undefined,
    skewSeconds: number,
  ): Promise<Signed | Refusal> {
    if (!ASYMMETRIC.includes(alg)) return "algorithm"
    const { jwtAudiences, brokerUid } = this.config
    let refusal: Refusal = "key"
    for (const key of this.keys) {
      if (key.alg !== alg || (kid !== undefined && key.kid !== null && key.kid !== kid)) continue
      const own = key.generated && brokerUid !== null ? [`urn:fitz:broker:${brokerUid}`] : []
      const claims = await this.check(token, key.key, [alg], [...jwtAudiences, ...own], skewSeconds)
      if (typeof claims !== "string") {
        key.lastVerifiedMs = this.world.now()
        return { claims, generated: key.generated }
      }
      refusal = claims
    }
    if (refusal !== "key") return refusal
    const remote = this.remote.get(issuerOf(token) ?? "")
    if (remote === undefined) return "key"
    const claims = await this.check(token, remote, ASYMMETRIC, jwtAudiences, skewSeconds)
    return typeof claims === "string" ? claims : { claims, generated: false }
  }

  private async check(
    token: string,
    key: Parameters<typeof jwtVerify>[1] | ReturnType<typeof createRemoteJWKSet>,
    algorithms: string[],
    audience: readonly string[],
    skewSeconds: number,
  ): Promise<JWTPayload | Refusal> {
    const options: JWTVerifyOptions = {
      algorithms,
      clockTolerance: skewSeconds,
      audience: [...audience],
      currentDate: new Date(this.world.now()),
      requiredClaims: ["exp"],
    }
    try {
      const { payload } = await (typeof key === "function"
        ? jwtVerify(token, key, options)
        : jwtVerify(token, key, options))
      return payload
    } catch (error) {
      return refusalOf(error)
    }
  }

  private identify(claims: JWTPayload): Verified | Refusal {
    const identity = claims[this.config.jwtIdentityClaim]
    const mapped = this.families !== null
    if (mapped && typeof identity !== "string") return "identity"
    const family = this.familyOf(typeof identity === "string" ? identity : "")
    if (family === null) return "identity"
    const found = permissionEntries(claims, this.config)
    if (found === null) return "no_permissions"
    const permissions = grantsOf(found.entries, found.coarse)
    if (typeof permissions === "string") return permissions
    const realm = claims[this.config.jwtRealmClaim]
    return {
      family,
      permissions,
      identity: typeof identity === "string" ? identity : "",
      subject: claims.sub ?? "",
      realm: typeof realm === "string" ? realm : "",
    }
  }

  /** An API key is its own identity. */
  private identifyKey(key: ApiKey): Verified | Refusal {
    const family = this.familyOf(key.id)
    if (family === null) return "identity"
    const permissions = grantsOf(key.permissions, false)
    if (typeof permissions === "string") return permissions
    const { id, sha256 } = key
    return { family, permissions, identity: id, subject: `apikey:${id}`, realm: "", key: sha256 }
  }
}

/** What entries allow on the data plane, each in its one spelling. */
function grantsOf(entries: readonly string[], coarse: boolean): string[] | Refusal {
  const permissions: string[] = []
  for (const entry of entries) {
    const grant = parsePermission(entry, coarse)
    if (typeof grant === "string") return "permissions"
    if (grant === null) continue
    const access = grant.read && grant.write ? "*" : grant.read ? "read" : "write"
    permissions.push(`${grant.pattern.text}#${access}`)
  }
  return permissions.length === 0 ? "no_permissions" : permissions
}

function isJws(token: string): boolean {
  return token.split(".").length === 3
}

/** What a client's own word is worth where clients are no administrators. */
function narrowed(permissions: Pick<Principal, "read" | "write" | "data" | "metrics">): typeof permissions {
  return { ...permissions, read: false, write: false, data: false }
}

/** A secret file's content without the line end that editors add. */
function secretOf([files]: readonly ReadonlyMap<string, string>[]): Uint8Array {
  const [content = ""] = [...files!.values()]
  const secret = content.replace(/\r?\n$/, "")
  if (secret === "") throw new Error("the secret is empty")
  return new TextEncoder().encode(secret)
}

/** The issuer that an unverified token names: it only chooses the key set to verify with. */
function issuerOf(token: string): string | null {
  const [, body = ""] = token.split(".")
  const claims = parseJson(Buffer.from(body, "base64url").toString("utf8"))
  const issuer = claims !== null && typeof claims === "object" ? (claims as JWTPayload).iss : undefined
  return typeof issuer === "string" ? issuer : null
}

const REFUSALS: Readonly<Record<string, Refusal>> = {
  ERR_JWT_EXPIRED: "expired",
  ERR_JWT_CLAIM_VALIDATION_FAILED: "claims",
  ERR_JWS_SIGNATURE_VERIFICATION_FAILED: "signature",
  ERR_JOSE_ALG_NOT_ALLOWED: "algorithm",
  ERR_JWKS_NO_MATCHING_KEY: "key",
}

function refusalOf(error: unknown): Refusal {
  const code = error instanceof Error && "code" in error ? String(error.code) : ""
  return REFUSALS[code] ?? "malformed"
}
