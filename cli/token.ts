// `fitz token`: mints HS256 tokens for development. The secret comes from the environment or a file, never
// from an argument, which everybody on the machine could read.

import { existsSync, readFileSync } from "node:fs"
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
  program
    .command("token")
    .description("mint a development token")
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
      "what it allows, e.g. 'queue://jobs/**#write' (default: everything)",
    )
    .option("--expires-in <duration>", "90s, 15m, 8h, 30d", parseDuration, 3_600)
    .option(
      "--data <folder>",
      "storage folder of a development broker",
      process.env["FITZ_STORAGE_PATH"] ?? "data",
    )
    .action(async (flags: TokenFlags) => {
      const permissions = flags.permission ?? null
      for (const entry of permissions ?? []) {
        const parsed = parsePermission(entry, false)
        if (parsed === null || typeof parsed === "string") {
          throw new Error(`${JSON.stringify(entry)} is no permission: ${parsed ?? "it names no scheme"}`)
        }
      }
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
}

function audienceFromEnvironment(): string {
  const { FITZ_JWT_AUDIENCES: audiences, FITZ_JWT_AUDIENCE: audience } = process.env
  return (audiences ?? audience ?? "fitz").split(",")[0]!.trim()
}
