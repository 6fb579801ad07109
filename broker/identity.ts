// Who a token speaks for and what it allows (docs/PROTOCOL.md, P-*): trust sources, claims, families.
// Several sources may stand side by side; an algorithm belongs to a key and never to the token's word.

import type { KeyObject } from "node:crypto"
import { decodeProtectedHeader, type JWTPayload, jwtVerify } from "jose"
import { parsePermission } from "../protocol/permission.ts"
import { type Admitted, allowedBy, type Permission } from "./admin/access.ts"
import type { TrustSource } from "./admin/operations.ts"
import { type ApiKey, ApiKeys } from "./apikeys.ts"
import {
  type Config,
  familyMapProblem,
  parseFamilyMap,
  parseJson,
  splitIssuer,
  UNMAPPED_FAMILY,
} from "./config.ts"
import type { Identity } from "./engine/engine.ts"
import { Watched } from "./files.ts"
import { asymmetricAlgorithm, candidates, type Key, parseKeySet, RemoteKeySet } from "./keys.ts"
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

/** A token that somebody whom we trust has signed. */
interface Signed {
  readonly claims: JWTPayload
  /** With a key of the set generated for this broker. */
  readonly generated: boolean
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

/** Clocks differ: a token that begins this much later than now is taken. One that has ended never is. */
const SKEW_SECONDS = 60

/** A key set in files. */
interface KeySource {
  readonly watched: Watched<readonly Key[]>
  /** The set generated for this broker also takes the broker's own audience. */
  readonly generated: boolean
}

function asStrings(value: unknown): string[] | null {
  return Array.isArray(value) && value.every(item => typeof item === "string") ? value : null
}

function listOrWords(value: unknown): string[] | null {
  if (typeof value === "string") return value.split(" ").filter(word => word !== "")
  return asStrings(value)
}

/**
 * The permission entries of a token: the first source that is present (PROTOCOL.md, P-2). A source that is
 * present and no list of text is a mistake, and no reason to look at the next one.
 */
export function permissionEntries(
  claims: JWTPayload,
  config: Pick<Config, "jwtPermissionsObjectClaim" | "jwtPermissionsClaim" | "jwtRolesClaim">,
): { readonly entries: readonly string[]; readonly coarse: boolean } | "permissions" | "no_permissions" {
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
    return entries === null ? "permissions" : { entries, coarse }
  }
  return "no_permissions"
}

export class IdentityVerifier {
  private readonly config: Config
  private readonly world: World
  private readonly secret: Watched<Uint8Array> | Uint8Array | null
  private readonly sources: readonly KeySource[]
  private readonly families: Watched<ReadonlyMap<string, number>> | ReadonlyMap<string, number> | null
  private readonly remote: ReadonlyMap<string, RemoteKeySet>
  /** What goes on until it is stopped. */
  private readonly running: { stop(): void }[] = []
  private readonly apiKeys: ApiKeys | null
  private readonly startedMs: number
  /** When a key last verified a token, by source and key. */
  private readonly verifiedMs = new Map<string, number>()

  /**
   * Reads all sources. Throws where one of them cannot be used, but for key sets that are fetched: those may
   * come later.
   * @param developmentSecret used where no other secret is configured; null for none
   * @param onFamilies the family map has changed: identities may have gone
   */
  constructor(config: Config, world: World, developmentSecret: string | null, onFamilies: () => void) {
    this.config = config
    this.world = world
    this.startedMs = world.now()
    const { jwtHmacSecret, jwtHmacSecretFile, routeFamilyMap, routeFamilyMapFile } = config
    try {
      if (jwtHmacSecretFile !== null) {
        this.secret = this.watch("FITZ_JWT_HMAC_SECRET_FILE", jwtHmacSecretFile, secretOf)
      } else {
        const secret = jwtHmacSecret ?? developmentSecret
        this.secret = secret === null ? null : new TextEncoder().encode(secret)
      }
      this.sources = [
        ...this.keySource("FITZ_JWT_JWKS_FILE", config.jwtJwksFile, true),
        ...this.keySource("FITZ_JWT_CLIENT_JWKS_FILE", config.jwtClientJwksFile, false),
      ]
      if (routeFamilyMapFile !== null) {
        const read = (files: ReadonlyMap<string, string>) => familyMap([...files.values()], config)
        this.families = this.watch("FITZ_ROUTE_FAMILY_MAP_FILE", routeFamilyMapFile, read, onFamilies)
      } else this.families = routeFamilyMap === null ? null : familyMap([routeFamilyMap], config)
      const { apiKeysFile } = config
      this.apiKeys =
        apiKeysFile === null
          ? null
          : within("FITZ_API_KEYS_FILE", () => new ApiKeys(apiKeysFile, world, onFamilies))
      if (this.apiKeys !== null) this.running.push(this.apiKeys)
      this.remote = new Map(
        config.jwtJwksMap.map(splitIssuer).map(({ issuer, url }) => {
          const remote = new RemoteKeySet(new URL(url!), world)
          this.running.push(remote)
          return [issuer, remote]
        }),
      )
    } catch (error) {
      this.stop()
      throw error
    }
  }

  private watch<T>(
    option: string,
    path: string,
    make: (files: ReadonlyMap<string, string>) => T,
    onChange: () => void = () => undefined,
  ): Watched<T> {
    const watched = within(option, () => new Watched([path], ([files]) => make(files!), this.world, onChange))
    this.running.push(watched)
    return watched
  }

  private keySource(option: string, path: string | null, generated: boolean): KeySource[] {
    if (path === null) return []
    const read = (files: ReadonlyMap<string, string>): readonly Key[] => {
      const sets = [...files].map(([file, content]) => {
        const set = within(file, () => parseKeySet(content))
        for (const reason of set.leftOut) this.world.log("warn", "a key is not used", { file, reason })
        return set.keys
      })
      return sets.flat()
    }
    return [{ watched: this.watch(option, path, read), generated }]
  }

  stop(): void {
    for (const running of this.running) running.stop()
  }

  /** The family of an identity, or null where it has none any more. */
  familyOf(identity: string): number | null {
    const families = this.families instanceof Watched ? this.families.value : this.families
    if (families === null) return UNMAPPED_FAMILY
    return families.get(identity) ?? null
  }

  /** May somebody who came in as this still be here? */
  stillValid({ identity, family, key }: Verified): boolean {
    if (key !== undefined && this.apiKeys?.holds(key) !== true) return false
    return this.familyOf(identity) === family
  }

  /** Verifies the token of a CONNECT, or an API key in its place. */
  async verify(token: string): Promise<Verified | Refusal> {
    if (this.apiKeys !== null && !isJws(token)) {
      const key = this.apiKeys.find(token)
      return key === null ? "malformed" : this.identifyKey(key)
    }
    const signed = await this.authenticate(token)
    return typeof signed === "string" ? signed : this.identify(signed.claims)
  }

  private async authenticate(token: string): Promise<Signed | Refusal> {
    let header: { alg?: string; kid?: string }
    try {
      header = decodeProtectedHeader(token)
    } catch {
      return "malformed"
    }
    const { alg, kid } = header
    if (alg === undefined || !isJws(token)) return "malformed"
    const signed = alg === "HS256" ? await this.bySecret(token) : await this.byKey(token, alg, kid)
    if (typeof signed === "string" || signed.generated) return signed
    const { jwtIssuers } = this.config
    return jwtIssuers.length > 0 && !jwtIssuers.includes(signed.claims.iss ?? "") ? "claims" : signed
  }

  private async bySecret(token: string): Promise<Signed | Refusal> {
    const secret = this.secret instanceof Watched ? this.secret.value : this.secret
    if (secret === null) return "algorithm"
    const claims = await this.check(token, secret, "HS256", this.config.jwtAudiences)
    if (typeof claims === "string") return claims
    this.verifiedMs.set("HS256", this.world.now())
    return { claims, generated: false }
  }

  private async byKey(token: string, alg: string, kid: string | undefined): Promise<Signed | Refusal> {
    const usual = asymmetricAlgorithm(alg)
    if (usual === null) return "algorithm"
    const { jwtAudiences, brokerUid } = this.config
    let refusal: Refusal = "key"
    for (const { watched, generated } of this.sources) {
      const own = generated && brokerUid !== null ? [`urn:fitz:broker:${brokerUid}`] : []
      for (const key of candidates(watched.value, usual, kid)) {
        const claims = await this.check(token, key.key, alg, [...jwtAudiences, ...own])
        if (typeof claims !== "string") {
          this.verifiedMs.set(keyName(generated, key), this.world.now())
          return { claims, generated }
        }
        // Only a key that has signed it may judge a token.
        if (claims !== "signature") return claims
        refusal = claims
      }
    }
    const remote = this.remote.get(issuerOf(token) ?? "")
    for (const { key } of (await remote?.find(usual, kid)) ?? []) {
      const claims = await this.check(token, key, alg, jwtAudiences)
      if (typeof claims !== "string") return { claims, generated: false }
      if (claims !== "signature") return claims
      refusal = claims
    }
    return refusal
  }

  // ── the admin surface ──────────────────────────────────────────────────────────────────────────────────

  /** Whom a token speaks for on the admin surface. */
  async principal(token: string): Promise<Admitted> {
    const signed = await this.authenticate(token)
    if (typeof signed === "string") return { refused: signed }
    const { claims, generated } = signed
    const { permissions, scp, scope, roles } = claims
    const allowed = allowedBy([permissions, scp, scope, roles].flatMap(value => listOrWords(value) ?? []))
    const counts = generated || this.clientsMayAdmin
    return { name: claims.sub ?? "", method: "jwt", ...(counts ? allowed : narrowed(allowed)) }
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

  /** Where trust comes from, for operators: never the keys themselves. */
  trustSources(): TrustSource[] {
    const { startedMs, verifiedMs, config, secret } = this
    const sources: TrustSource[] = this.sources.map(({ watched, generated }) => ({
      source: generated ? "generated" : "clients",
      kind: "jwks_file",
      loadedAtMs: watched.loadedAtMs,
      error: watched.error,
      keys: watched.value.map(key => ({
        kid: key.kid ?? "",
        alg: key.alg,
        lastVerifiedMs: verifiedMs.get(keyName(generated, key)) ?? null,
      })),
    }))
    if (secret !== null) {
      const watched = secret instanceof Watched ? secret : null
      sources.push({
        source: "clients",
        kind: watched === null ? "hs256" : "hs256_file",
        loadedAtMs: watched?.loadedAtMs ?? startedMs,
        error: watched?.error ?? null,
        keys: [{ kid: "", alg: "HS256", lastVerifiedMs: verifiedMs.get("HS256") ?? null }],
      })
    }
    if (config.jwtJwksMap.length > 0)
      sources.push({ source: "clients", kind: "jwks_url", loadedAtMs: startedMs, error: null, keys: [] })
    if (this.apiKeys !== null) sources.push(this.apiKeys.source())
    return sources
  }

  private async check(
    token: string,
    key: KeyObject | Uint8Array,
    algorithm: string,
    audience: readonly string[],
  ): Promise<JWTPayload | Refusal> {
    const now = this.world.now()
    try {
      const { payload } = await jwtVerify(token, key, {
        algorithms: [algorithm],
        audience: [...audience],
        currentDate: new Date(now),
        clockTolerance: SKEW_SECONDS,
        requiredClaims: ["exp"],
      })
      const { exp, iat } = payload
      if (exp! * 1_000 <= now) return "expired"
      if (iat !== undefined && !(iat * 1_000 <= now + SKEW_SECONDS * 1_000)) return "claims"
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
    if (typeof found === "string") return found
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
  private identifyKey({ id, sha256, permissions: entries }: ApiKey): Verified | Refusal {
    const family = this.familyOf(id)
    if (family === null) return "identity"
    const permissions = grantsOf(entries, false)
    if (typeof permissions === "string") return permissions
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

function keyName(generated: boolean, { kid, alg }: Key): string {
  return `${generated ? "generated" : "clients"} ${alg} ${kid ?? ""}`
}

/** What is left of permissions where clients are no administrators. */
function narrowed(allowed: Readonly<Record<Permission, boolean>>): Record<Permission, boolean> {
  return { ...allowed, read: false, write: false, data: false }
}

/** Puts where it happened in front of a failure. */
function within<T>(where: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw new Error(`${where}: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function familyMap(sources: readonly string[], { routeFamilies }: Config): ReadonlyMap<string, number> {
  const maps = sources.map(source => {
    const problem = familyMapProblem(source, routeFamilies)
    if (problem !== null) throw new Error(problem)
    return parseFamilyMap(source)
  })
  return new Map(maps.flatMap(map => [...map]))
}

/** A secret file's content without the line end that editors add. */
function secretOf(files: ReadonlyMap<string, string>): Uint8Array {
  const [content = ""] = files.values()
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
}

function refusalOf(error: unknown): Refusal {
  const code = error instanceof Error && "code" in error ? String(error.code) : ""
  return REFUSALS[code] ?? "malformed"
}
