// The gate of the HTTP surface: shows who asks, or refuses (docs/PROTOCOL.md, AD-*). Failed attempts are
// counted by address; a valid credential is never refused because of somebody else's failures.

import type { FastifyRequest } from "fastify"
import {
  type Authenticator,
  Buckets,
  credentialOf,
  EVERYBODY,
  type Limit,
  type Permission,
  type Principal,
} from "./access.ts"
import { Refusal } from "./errors.ts"

export type LimitClass = "metrics" | "admin_read" | "admin_write" | "auth_failure"

export interface GateOptions {
  readonly authenticator: Authenticator
  /** Everybody may do everything. */
  readonly open: boolean
  readonly limits: Readonly<Record<LimitClass, Limit>>
  /** Write rates of certain principals. */
  readonly writeLimits: ReadonlyMap<string, Limit>
  /** What scraping demands besides a valid credential. */
  readonly metricsPermission: "metrics:read" | "admin:read" | null
  readonly now: () => number
  /** A credential was refused, and why. */
  readonly onFailure: (reason: string) => void
  readonly onLimited: (limit: LimitClass) => void
}

const CHALLENGE = { "www-authenticate": 'Bearer realm="fitz"' } as const

export class Gate {
  private readonly options: GateOptions
  private readonly buckets: Readonly<Record<LimitClass, Buckets>>

  constructor(options: GateOptions) {
    this.options = options
    const { limits, writeLimits, now } = options
    this.buckets = {
      metrics: new Buckets(limits.metrics, now),
      admin_read: new Buckets(limits.admin_read, now),
      admin_write: new Buckets(limits.admin_write, now, writeLimits),
      auth_failure: new Buckets(limits.auth_failure, now),
    }
  }

  /** Who asks. Throws the refusal. */
  async admit(request: FastifyRequest): Promise<Principal> {
    const { open, authenticator } = this.options
    if (open) return EVERYBODY
    const credential = credentialOf(request.headers)
    const admitted =
      credential === null
        ? { refused: "missing" }
        : "token" in credential
          ? await authenticator.principal(credential.token)
          : authenticator.byApiKey(credential.key)
    if (!("refused" in admitted)) return admitted
    this.options.onFailure(admitted.refused)
    this.limit("auth_failure", request.ip)
    throw new Refusal("unauthorized", "a valid token or API key is needed", CHALLENGE)
  }

  /** Lets a scraper in, or throws the refusal. */
  async admitScrape(request: FastifyRequest): Promise<void> {
    const principal = await this.admit(request)
    const { metricsPermission } = this.options
    if (metricsPermission !== null)
      this.permit(principal, metricsPermission === "admin:read" ? "read" : "metrics")
    this.limit("metrics", principal.name)
  }

  permit(principal: Principal, permission: Permission | "any"): void {
    if (permission !== "any" && !principal[permission])
      throw new Refusal("forbidden", `this needs ${NAMES[permission]}`)
  }

  /** Takes one from a bucket. Throws where it is empty. */
  limit(name: LimitClass, key: string): void {
    const seconds = this.buckets[name].take(key)
    if (seconds === null) return
    this.options.onLimited(name)
    throw new Refusal("rate_limited", `too many requests: try again in ${seconds} s`, {
      "retry-after": String(seconds),
    })
  }
}

const NAMES: Readonly<Record<Permission, string>> = {
  read: "admin:read",
  write: "admin:write",
  data: "data:read",
  metrics: "metrics:read",
}
