// Who asks, and what that allows (docs/PROTOCOL.md, AD-*): credentials of a request, permissions of the admin
// surface, and how often somebody may ask. Never says which part of a credential was wrong.

import type { IncomingHttpHeaders } from "node:http"

/** Somebody who has shown a valid credential. */
export interface Principal {
  /** The name in the audit. */
  readonly name: string
  readonly method: "jwt" | "api_key" | "open"
  readonly read: boolean
  readonly write: boolean
  readonly data: boolean
  readonly metrics: boolean
}

/** A principal, or why there is none; the reason is for counters. */
export type Admitted = Principal | { readonly refused: string }

export interface Authenticator {
  principal(token: string): Promise<Admitted>
  byApiKey(key: string): Admitted
}

export type Permission = "read" | "write" | "data" | "metrics"

export const EVERYBODY: Principal = {
  name: "anonymous",
  method: "open",
  read: true,
  write: true,
  data: true,
  metrics: true,
}

/** What permission strings allow. Others' strings are ignored. */
export function allowedBy(values: readonly string[]): Record<Permission, boolean> {
  const whole = values.includes("admin") || values.includes("admin:*")
  const read = whole || values.includes("admin:read")
  return {
    read,
    write: whole || values.includes("admin:write"),
    data: values.includes("data:read"),
    metrics: read || values.includes("metrics:read"),
  }
}

/** The credential that a request carries: a token wins over a key. */
export function credentialOf(
  headers: IncomingHttpHeaders,
): { readonly token: string } | { readonly key: string } | null {
  const { authorization } = headers
  const apiKey = headers["x-api-key"]
  const [, scheme = "", rest = ""] = /^(\S+) +(\S+) *$/.exec(authorization ?? "") ?? []
  const bearer = scheme.toLowerCase() === "bearer" ? rest : null
  if (bearer !== null && bearer.split(".").length === 3) return { token: bearer }
  if (scheme.toLowerCase() === "apikey") return { key: rest }
  if (typeof apiKey === "string" && apiKey !== "") return { key: apiKey }
  return bearer === null ? null : { key: bearer }
}

export interface Limit {
  readonly perSecond: number
  readonly burst: number
}

/** Buckets kept; with more, those that are full again are dropped. */
const BUCKETS_MAX = 10_000

/** Token buckets of one class, one for each key. A rate of 0 lets everything through. */
export class Buckets {
  private readonly limit: Limit
  private readonly own: ReadonlyMap<string, Limit>
  private readonly now: () => number
  private readonly buckets = new Map<string, { tokens: number; atMs: number }>()

  /** @param own limits of certain keys in place of the common one */
  constructor(limit: Limit, now: () => number, own: ReadonlyMap<string, Limit> = new Map()) {
    this.limit = limit
    this.own = own
    this.now = now
  }

  /** Takes one; or says how many seconds to wait for the next. */
  take(key: string): number | null {
    const wait = this.wait(key)
    if (wait === null) this.spend(key)
    return wait
  }

  /** How many seconds until there is one, or null: now. */
  wait(key: string): number | null {
    const limit = this.limitOf(key)
    if (limit.perSecond === 0) return null
    const { tokens } = this.filled(key, limit)
    return tokens >= 1 ? null : Math.max(1, Math.ceil((1 - tokens) / limit.perSecond))
  }

  spend(key: string): void {
    const limit = this.limitOf(key)
    if (limit.perSecond > 0) this.filled(key, limit).tokens -= 1
  }

  private limitOf(key: string): Limit {
    return this.own.get(key) ?? this.limit
  }

  private filled(key: string, { perSecond, burst }: Limit): { tokens: number; atMs: number } {
    const now = this.now()
    let bucket = this.buckets.get(key)
    if (bucket === undefined) {
      if (this.buckets.size >= BUCKETS_MAX) this.trim(now)
      bucket = { tokens: burst, atMs: now }
      this.buckets.set(key, bucket)
    }
    bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.atMs) / 1_000) * perSecond)
    bucket.atMs = now
    return bucket
  }

  private trim(now: number): void {
    for (const [key, { tokens, atMs }] of this.buckets) {
      const { perSecond, burst } = this.limitOf(key)
      if (tokens + ((now - atMs) / 1_000) * perSecond >= burst) this.buckets.delete(key)
    }
    // Nobody may fill the memory with addresses: the oldest go.
    for (const key of this.buckets.keys()) {
      if (this.buckets.size < BUCKETS_MAX) return
      this.buckets.delete(key)
    }
  }
}
