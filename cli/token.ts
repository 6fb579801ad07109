// `fitz token`: mints HS256 tokens for development, and API keys whose digests go into a file. A secret comes
// from the environment, a file or standard input, never from an argument, which everybody could read.

import { createHash, randomBytes } from "node:crypto"
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { type Command, InvalidArgumentError } from "commander"
import { SignJWT } from "jose"
import { parsePermission } from "../protocol/permission.ts"
import { SCHEMES } from "../protocol/route.ts"

/** Where a development broker keeps its secret, within its storage folder. */
export const DEVELOPMENT_SECRET_FILE = "development-secret"

export interface TokenOptions {
  readonly secret: string
  readonly audience: string
  readonly subject: string
  readonly identity: string
  readonly identityClaim: string
  /** Null: everything on the data plane. */
  readonly permissions: readonly string[] | null
  readonly expiresInSeconds: number
  readonly nowSeconds: number
}

/** A signed token. */
export function mintToken(options: TokenOptions): Promise<string> {
  const { secret, audience, subject, identity, identityClaim, permissions, expiresInSeconds, nowSeconds } =
    options
  return new SignJWT({
    [identityClaim]: identity,
    permissions: permissions ?? SCHEMES.map(scheme => `${scheme}://**#*`),
  })
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setSubject(subject)
    .setAudience(audience)
    .setIssuedAt(nowSeconds)
    .setExpirationTime(nowSeconds + expiresInSeconds)
    .sign(new TextEncoder().encode(secret))
}

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400 }

/** Seconds of `90`, `90s`, `15m`, `8h` or `30d`. */
export function parseDuration(text: string): number {
  const match = /^(\d+)([smhd]?)$/.exec(text)
  const seconds = match === null ? 0 : Number(match[1]) * UNITS[match[2] || "s"]!
  if (seconds < 1 || !Number.isSafeInteger(seconds))
    throw new InvalidArgumentError("a number with s, m, h or d")
  return seconds
}

/** Permissions of the admin surface; everything else is a pattern with an access. */
const ADMIN_PERMISSIONS = ["admin", "admin:*", "admin:read", "admin:write", "metrics:read", "data:read"]

/** Throws where an entry is neither a data-plane permission nor one of the admin surface. */
function checkPermissions(entries: readonly string[]): void {
  for (const entry of entries) {
    if (ADMIN_PERMISSIONS.includes(entry)) continue
    const parsed = parsePermission(entry, false)
    if (parsed === null || typeof parsed === "string") {
      const why = parsed ?? `it is neither a pattern nor one of ${ADMIN_PERMISSIONS.join(", ")}`
      throw new Error(`${JSON.stringify(entry)} is no permission: ${why}`)
    }
  }
}

/** The secret that a broker started in this environment would use. */
function secretFor(dataFolder: string): string {
  const { FITZ_JWT_HMAC_SECRET: secret, FITZ_JWT_HMAC_SECRET_FILE: secretFile } = process.env
  if (secret !== undefined && secret !== "") return secret
  const file = secretFile || join(dataFolder, DEVELOPMENT_SECRET_FILE)
  if (!existsSync(file)) {
    throw new Error(
      `there is no secret: set FITZ_JWT_HMAC_SECRET or FITZ_JWT_HMAC_SECRET_FILE, or start a development broker first (looked for ${file})`,
    )
  }
  const kept = readFileSync(file, "utf8").replace(/\r?\n$/, "")
  if (kept === "") throw new Error(`${file} is empty`)
  return kept
}

interface TokenFlags {
  readonly subject: string
  readonly identity: string
  readonly identityClaim: string
  readonly audience: string
  readonly permission?: readonly string[]
  readonly expiresIn: number
  readonly data: string
}

export function addToken(program: Command): void {
  const token = program
    .command("token")
    .description("mint a development token; `fitz token key` makes an API key")
    .enablePositionalOptions()
    .option("--subject <name>", "sub: who it is for", "dev")
    .option("--identity <name>", "identity that the route family map looks up", "dev")
    .option(
      "--identity-claim <name>",
      "claim for the identity",
      process.env["FITZ_JWT_IDENTITY_CLAIM"] ?? "tid",
    )
    .option("--audience <name>", "aud", audienceFromEnvironment())
    .option(
      "--permission <pattern#access...>",
      "what it allows, e.g. 'queue://jobs/**#write' or admin:read (default: everything on the data plane)",
    )
    .option("--expires-in <duration>", "90s, 15m, 8h, 30d", parseDuration, 3_600)
    .option(
      "--data <folder>",
      "storage folder of a development broker",
      process.env["FITZ_STORAGE_PATH"] ?? "data",
    )
    .action(async (flags: TokenFlags) => {
      const permissions = flags.permission ?? null
      checkPermissions(permissions ?? [])
      const token = await mintToken({
        secret: secretFor(flags.data),
        audience: flags.audience,
        subject: flags.subject,
        identity: flags.identity,
        identityClaim: flags.identityClaim,
        permissions,
        expiresInSeconds: flags.expiresIn,
        nowSeconds: Math.floor(Date.now() / 1_000),
      })
      process.stdout.write(`${token}\n`)
    })
  addKey(token)
}

/** Shorter keys could be guessed; the broker takes none (broker/apikeys.ts). */
const API_KEY_LENGTH_MIN = 24

/** An entry of the broker's file of API keys. */
interface ApiKey {
  readonly id: string
  readonly sha256: string
  readonly permissions: readonly string[]
}

interface KeyFlags {
  readonly id: string
  readonly permission: readonly string[]
  readonly file?: string
  readonly stdin?: true
}

/** Makes an API key. The key is shown once; what is kept is its digest. */
function addKey(token: Command): void {
  token
    .command("key")
    .description("make an API key: prints it once, and keeps only its digest")
    .requiredOption("--id <name>", "name of the key, as it stands in the audit")
    .requiredOption("--permission <permission...>", "what it allows, e.g. admin:read or metrics:read")
    .option("--file <file>", "add the digest to this file, the broker's FITZ_API_KEYS_FILE")
    .option("--stdin", "take the key from standard input instead of making one")
    .action((flags: KeyFlags) => {
      checkPermissions(flags.permission)
      const key =
        flags.stdin === true
          ? readFileSync(0, "utf8").replace(/\r?\n$/, "")
          : `fitz_${randomBytes(32).toString("base64url")}`
      if (key.length < API_KEY_LENGTH_MIN)
        throw new Error(`an API key has at least ${API_KEY_LENGTH_MIN} characters`)
      const entry: ApiKey = {
        id: flags.id,
        sha256: createHash("sha256").update(key).digest("hex"),
        permissions: [...flags.permission],
      }
      if (flags.file === undefined) {
        process.stdout.write(`${JSON.stringify({ key, entry })}\n`)
        return
      }
      addToFile(flags.file, entry)
      process.stdout.write(`${key}\n`)
    })
}

/** Swapped in one piece: a broker that reads it meanwhile sees the old file or the new. */
function addToFile(file: string, entry: ApiKey): void {
  const known = existsSync(file) ? entriesOf(file) : []
  if (known.some(({ id }) => id === entry.id))
    throw new Error(`${file} holds a key named ${entry.id} already`)
  const fresh = `${file}.new`
  writeFileSync(fresh, `${JSON.stringify([...known, entry], null, 2)}\n`, { mode: 0o640 })
  renameSync(fresh, file)
}

function audienceFromEnvironment(): string {
  const { FITZ_JWT_AUDIENCES: audiences, FITZ_JWT_AUDIENCE: audience } = process.env
  return (audiences ?? audience ?? "fitz").split(",")[0]!.trim()
}

/** What a file holds already; the broker looks closer. */
function entriesOf(file: string): ApiKey[] {
  let content: unknown
  try {
    content = JSON.parse(readFileSync(file, "utf8"))
  } catch {
    content = null // the next line says what is wrong, without quoting
  }
  if (!Array.isArray(content)) throw new Error(`${file} does not hold a list of API keys`)
  return content as ApiKey[]
}
