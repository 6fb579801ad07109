// A credential as a person pastes it: what it is, when it ends, what it says it may do. What it really may do is
// the broker's decision. Nothing here is sent anywhere or written anywhere.

export type CredentialKind = "token" | "key"

export interface Credential {
  readonly kind: CredentialKind
  /** As it is sent. Never rendered. */
  readonly secret: string
  /** `sub` of a token. */
  readonly subject: string | null
  /** Milliseconds since the epoch; null: it does not say. */
  readonly expiresAtMs: number | null
  /** What a token claims; null: a key says nothing about itself. */
  readonly permissions: readonly string[] | null
}

export type Right = "read" | "write" | "data"

export const RIGHT_NAMES: Readonly<Record<Right, string>> = {
  read: "admin:read",
  write: "admin:write",
  data: "data:read",
}

/** Reads what was pasted, with the clutter that comes with copying; null where it can be no credential. */
export function readCredential(pasted: string): Credential | null {
  const secret = pasted.trim().replace(/^(?:bearer|apikey)\s+/i, "")
  if (secret === "" || /[^\x21-\x7e]/.test(secret)) return null
  const parts = secret.split(".")
  const claims = parts.length === 3 ? claimsOf(parts[1]!) : null
  if (claims === null) return { kind: "key", secret, subject: null, expiresAtMs: null, permissions: null }
  const { sub, exp } = claims
  return {
    kind: "token",
    secret,
    subject: typeof sub === "string" ? sub : null,
    expiresAtMs: typeof exp === "number" ? exp * 1_000 : null,
    permissions: permissionsOf(claims),
  }
}

function claimsOf(part: string): Readonly<Record<string, unknown>> | null {
  try {
    const text = atob(part.replaceAll("-", "+").replaceAll("_", "/"))
    const bytes = Uint8Array.from(text, letter => letter.charCodeAt(0))
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes))
    return typeof claims === "object" && claims !== null ? (claims as Record<string, unknown>) : null
  } catch {
    return null // three parts, but no token: the broker will say what it thinks of it
  }
}

function permissionsOf({ permissions, scp, scope, roles }: Readonly<Record<string, unknown>>): string[] {
  const words = (value: unknown): string[] => {
    if (typeof value === "string") return value.split(/\s+/).filter(word => word !== "")
    return Array.isArray(value) ? value.filter(entry => typeof entry === "string") : []
  }
  return [permissions, scp, scope, roles].flatMap(words)
}

/** What permission strings allow on the admin surface. */
export function rightsOf(permissions: readonly string[]): Readonly<Record<Right, boolean>> {
  const whole = permissions.includes("admin") || permissions.includes("admin:*")
  return {
    read: whole || permissions.includes("admin:read"),
    write: whole || permissions.includes("admin:write"),
    data: permissions.includes("data:read"),
  }
}

/** How long before its end somebody should hear of it. */
export const EXPIRY_WARNING_MS = 5 * 60_000

export type Expiry = "fine" | "soon" | "over"

export function expiryOf(expiresAtMs: number | null, nowMs: number): Expiry {
  if (expiresAtMs === null) return "fine"
  if (nowMs >= expiresAtMs) return "over"
  return expiresAtMs - nowMs <= EXPIRY_WARNING_MS ? "soon" : "fine"
}

/** The header that carries it. */
export function headerOf({ kind, secret }: Credential): Readonly<Record<string, string>> {
  return kind === "token" ? { authorization: `Bearer ${secret}` } : { "x-api-key": secret }
}
