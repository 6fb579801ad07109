// Public keys that tokens are verified with: out of key sets in files, and out of key sets fetched from an
// issuer. An algorithm belongs to a key; a secret or private key in a set is never used to verify anything.

import { createPublicKey, type JsonWebKey, type KeyObject } from "node:crypto"
import { z } from "zod"
import { parseJson } from "./config.ts"
import type { World } from "./world.ts"

export interface Key {
  readonly kid: string | null
  /** The one algorithm that this key may be used with. */
  readonly alg: string
  readonly key: KeyObject
}

/** What keys of an algorithm have to look like. */
const KINDS: Readonly<Record<string, { readonly kty: string; readonly crv: string | null }>> = {
  RS256: { kty: "RSA", crv: null },
  RS384: { kty: "RSA", crv: null },
  RS512: { kty: "RSA", crv: null },
  PS256: { kty: "RSA", crv: null },
  PS384: { kty: "RSA", crv: null },
  PS512: { kty: "RSA", crv: null },
  ES256: { kty: "EC", crv: "P-256" },
  ES384: { kty: "EC", crv: "P-384" },
  ES512: { kty: "EC", crv: "P-521" },
  EdDSA: { kty: "OKP", crv: "Ed25519" },
}
const RSA_BITS_MIN = 2_048

/** An algorithm under its usual name, or null where it is none for public keys. */
export function asymmetricAlgorithm(alg: string): string | null {
  // The same algorithm has two names since RFC 9864.
  const usual = alg === "Ed25519" ? "EdDSA" : alg
  return Object.hasOwn(KINDS, usual) ? usual : null
}

const KEY_SHAPE = z.looseObject({
  kty: z.string(),
  kid: z.string().optional(),
  alg: z.string().optional(),
  use: z.string().optional(),
  crv: z.string().optional(),
  key_ops: z.array(z.string()).optional(),
})
const SET_SHAPE = z.object({ keys: z.array(KEY_SHAPE) })
type KeyEntry = z.output<typeof KEY_SHAPE>

/** A key set as it can be used. */
export interface KeySet {
  readonly keys: readonly Key[]
  /** Why some of its entries are left out, one reason each; they may be meant for somebody else. */
  readonly leftOut: readonly string[]
}

/** Reads a key set. Throws where the text is none, without quoting it. */
export function parseKeySet(source: string): KeySet {
  const parsed = SET_SHAPE.safeParse(parseJson(source))
  if (!parsed.success) throw new Error("there is no key set in it")
  const keys: Key[] = []
  const leftOut: string[] = []
  for (const entry of parsed.data.keys) {
    const key = keyOf(entry)
    if (typeof key === "string") leftOut.push(key)
    else keys.push(key)
  }
  return { keys, leftOut }
}

/** The key, or why it is not used. */
function keyOf(entry: KeyEntry): Key | string {
  const { kty, kid, use, crv, key_ops: operations } = entry
  if (kty === "oct") return "a shared secret does not belong into a key set"
  if (use !== undefined && use !== "sig") return "its use is not sig"
  if (operations !== undefined && !operations.includes("verify") && !operations.includes("sign"))
    return "its key_ops do not hold verify"
  const implied = Object.keys(KINDS).find(
    alg => KINDS[alg]!.kty === kty && (KINDS[alg]!.crv === null || KINDS[alg]!.crv === crv),
  )
  const alg = entry.alg === undefined ? implied : asymmetricAlgorithm(entry.alg)
  if (alg === undefined || alg === null) return "its algorithm is not supported"
  const kind = KINDS[alg]!
  if (kind.kty !== kty || (kind.crv !== null && kind.crv !== crv)) return "its algorithm is for other keys"
  let key: KeyObject
  try {
    key = createPublicKey({ key: entry as JsonWebKey, format: "jwk" })
  } catch {
    return "it is no key" // the runtime's own message could quote it
  }
  if (kty === "RSA" && (key.asymmetricKeyDetails?.modulusLength ?? 0) < RSA_BITS_MIN)
    return `an RSA key needs ${RSA_BITS_MIN} bits`
  return { kid: kid ?? null, alg, key }
}

/** Keys that may have signed a token with this header. */
export function candidates(keys: readonly Key[], alg: string, kid: string | undefined): Key[] {
  return keys.filter(key => key.alg === alg && (kid === undefined || key.kid === null || key.kid === kid))
}

/** A key set is fetched again after this long, so that a withdrawn key ends. */
const REFRESH_MS = 300_000
/** An unknown key makes us ask again, though not more often than this. */
const ASK_AGAIN_MS = 30_000
const FETCH_TIMEOUT_MS = 5_000
const SET_BYTES_MAX = 1024 * 1024

/** The key set of an issuer. Where it cannot be fetched the keys fetched before stay in use. */
export class RemoteKeySet {
  private readonly url: URL
  private readonly world: World
  private keys: readonly Key[] = []
  private fetching: Promise<void> | null = null
  private askedAt = Number.NEGATIVE_INFINITY
  private failure: string | null = null
  private cancel: () => void = () => undefined
  private stopped = false

  constructor(url: URL, world: World) {
    this.url = url
    this.world = world
    void this.refresh()
  }

  stop(): void {
    this.stopped = true
    this.cancel()
  }

  /** Keys that may have signed a token with this header; asks the issuer where none is known. */
  async find(alg: string, kid: string | undefined): Promise<Key[]> {
    const known = candidates(this.keys, alg, kid)
    if (known.length > 0) return known
    if (this.fetching === null && this.world.now() - this.askedAt < ASK_AGAIN_MS) return []
    await this.refresh()
    return candidates(this.keys, alg, kid)
  }

  private refresh(): Promise<void> {
    this.fetching ??= this.fetchKeys().finally(() => {
      this.fetching = null
      this.cancel()
      if (!this.stopped) this.cancel = this.world.later(REFRESH_MS, () => void this.refresh())
    })
    return this.fetching
  }

  private async fetchKeys(): Promise<void> {
    this.askedAt = this.world.now()
    // A query may hold a credential.
    const where = { url: this.url.origin + this.url.pathname }
    try {
      const { keys, leftOut } = parseKeySet(await fetchText(this.url))
      this.keys = keys
      if (this.failure !== null) this.world.log("info", "a key set could be fetched again", where)
      if (leftOut.length > 0) this.world.log("debug", "keys of a set are not used", { ...where, leftOut })
      this.failure = null
    } catch (error) {
      this.failure = reasonOf(error)
      this.world.log("warn", "a key set cannot be fetched", { ...where, reason: this.failure })
    }
  }
}

async function fetchText(url: URL): Promise<string> {
  const answer = await fetch(url, {
    headers: { accept: "application/jwk-set+json, application/json" },
    redirect: "manual",
    signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
  })
  if (answer.status !== 200) {
    await answer.body?.cancel()
    throw new Error(`the answer is HTTP ${answer.status}`)
  }
  const pieces: Uint8Array[] = []
  let size = 0
  for await (const piece of answer.body ?? []) {
    size += piece.length
    if (size > SET_BYTES_MAX) throw new Error(`the answer is longer than ${SET_BYTES_MAX} bytes`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces).toString("utf8")
}

/** Network failures hide what happened in their cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.name === "TimeoutError") return `no answer within ${FETCH_TIMEOUT_MS} ms`
  const { cause } = error
  if (!(cause instanceof Error)) return error.message
  return "code" in cause ? String(cause.code) : cause.message
}
