// A broker's admin API as the operator uses it (operator.md §6.3): lists, definitions, identity. The only place that calls
// brokers; tokens live in memory here and reach neither log nor error.

import type { IncomingHttpHeaders } from "node:http"
import { Agent, request } from "node:http"
import type { BrokerRows, Call, RealmRow, Route, ScheduleRow } from "../plan/topology.ts"
import type { LoadedKey } from "../plan/types.ts"
import type { World } from "../world.ts"
import { RateLimit } from "./api.ts"

/** Where a broker answers. Tests map the name to a local process. */
export type Resolve = (broker: { namespace: string; name: string }) => { host: string; port: number }

export const inCluster: Resolve = ({ namespace, name }) => ({
  host: `${name}-0.${name}-headless.${namespace}.svc`,
  port: 8080,
})

/** An answer that is no success. Status 0: none at all. */
export class BrokerError extends Error {
  readonly status: number
  readonly code: string
  readonly retryAfterMs: number | null
  readonly timedOut: boolean
  constructor(
    status: number,
    code: string,
    message: string,
    { retryAfterMs = null, timedOut = false }: { retryAfterMs?: number | null; timedOut?: boolean } = {},
  ) {
    super(message)
    this.name = "BrokerError"
    this.status = status
    this.code = code
    this.retryAfterMs = retryAfterMs
    this.timedOut = timedOut
  }

  /** Whether the broker as a whole cannot be reached, rather than one request refused. */
  get unreachable(): boolean {
    return this.status === 0 || this.status >= 500
  }
}

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: unknown
}

export interface BrokerCounters {
  request(method: string, status: number): void
}

const TIMEOUT_MS = 5_000
const PAGE = 1_000
const WRITES_PER_SECOND = 4
const WRITES_BURST = 20
const SOCKETS = 2
const ANSWER_BYTES_MAX = 64 * 1024 * 1024

export interface Target {
  readonly namespace: string
  readonly name: string
  readonly uid: string
}

/** Makes the bearer token for a broker; `fresh` after a refusal. */
export type Credentials = (target: Target, fresh: boolean) => Promise<string>

interface ListCache {
  readonly etag: string
  readonly rows: readonly unknown[]
  readonly total: number
}

/** Calls to brokers, with a few sockets and a bounded rate of writes for each. */
export class BrokerCalls {
  private readonly world: World
  private readonly resolve: Resolve
  private readonly credentials: Credentials
  private readonly counters: BrokerCounters | undefined
  private readonly brokers = new Map<
    string,
    { agent: Agent; writes: RateLimit; lists: Map<string, ListCache> }
  >()

  constructor(world: World, resolve: Resolve, credentials: Credentials, counters?: BrokerCounters) {
    this.world = world
    this.resolve = resolve
    this.credentials = credentials
    this.counters = counters
  }

  /** Drops what is kept for a broker that is gone. */
  forget(uid: string): void {
    this.brokers.get(uid)?.agent.destroy()
    this.brokers.delete(uid)
  }

  close(): void {
    for (const uid of [...this.brokers.keys()]) this.forget(uid)
  }

  async health(target: Target, signal: AbortSignal): Promise<string | null> {
    const { body } = await this.call(target, "GET", "/health", { open: true, signal })
    const version = (body as { version?: unknown }).version
    return typeof version === "string" ? version : null
  }

  /** Failing checks of a broker that is not ready, in words; null when it is. */
  async readiness(target: Target, signal: AbortSignal): Promise<string | null> {
    const { status, body } = await this.send(target, "GET", "/readyz", { signal, headers: {} })
    if (status === 200) return null
    const { checks = {}, error } = body as {
      checks?: Record<string, unknown>
      error?: { message?: string; detail?: { replay_progress?: number } }
    }
    const failing = Object.entries(checks)
      .filter(([, value]) => value !== true && value !== "ok")
      .map(([name]) => name)
    const progress = error?.detail?.replay_progress
    const parts = [
      ...(failing.length === 0 ? [] : [`Failing checks: ${failing.join(", ")}.`]),
      ...(typeof progress === "number" ? [`Replay at ${Math.floor(progress * 10) * 10} %.`] : []),
    ]
    return parts.length === 0 ? "The broker answers that it is not ready." : parts.join(" ")
  }

  /** Which keys the broker has loaded, and the id of its storage. */
  async auth(
    target: Target,
    signal: AbortSignal,
  ): Promise<{ storageId: string; keys: readonly LoadedKey[]; error: string | null }> {
    const { body } = await this.call(target, "GET", "/api/v1/runtime/auth", { signal })
    const { storage_id, sources } = body as {
      storage_id: string
      sources: readonly {
        source: string
        error: string | null
        keys: readonly { kid: string; last_verified_at: string | null }[]
      }[]
    }
    const generated = sources.find(({ source }) => source === "generated")
    return {
      storageId: storage_id,
      error: generated?.error ?? null,
      keys: (generated?.keys ?? []).map(({ kid, last_verified_at }) => ({
        kid,
        lastVerifiedAt: last_verified_at === null ? null : Date.parse(last_verified_at),
      })),
    }
  }

  /** All definitions that the broker holds. */
  async rows(target: Target, storageId: string | null, signal: AbortSignal): Promise<BrokerRows> {
    const realms = await this.list(target, "/api/v1/realms", "realms", signal)
    const schedules = await this.list(target, "/api/v1/admin/schedule/schedules", "schedules", signal)
    return { storageId, realms: realms.map(realmRow), schedules: schedules.map(scheduleRow) }
  }

  async carryOut(target: Target, call: Call, signal: AbortSignal): Promise<void> {
    const { owner } = call
    const address =
      call.what === "realm"
        ? `/api/v1/realms/${segment(call.realm)}`
        : `${scheduleAddress(call.route)}?family=${call.family}`
    const headers: Record<string, string> = {
      "x-reason": `${owner.kind} ${owner.metadata.namespace}/${owner.metadata.name}`,
    }
    if (call.do === "put") {
      if (call.etag === null) headers["if-none-match"] = "*"
      else headers["if-match"] = call.etag
    } else {
      headers["x-confirm"] = "true"
      if (call.etag !== null) headers["if-match"] = call.etag
    }
    const kept = this.kept(target)
    await kept.writes.take(signal)
    kept.lists.clear()
    try {
      await this.call(target, call.do === "put" ? "PUT" : "DELETE", address, {
        signal,
        headers,
        ...(call.do === "put" ? { body: call.body } : {}),
      })
    } catch (error) {
      // What is gone already needs no removal.
      if (call.do === "remove" && error instanceof BrokerError && error.status === 404) return
      throw error
    }
  }

  /** Pages through a list. Rows move meanwhile; what slips through meets a conditional write later. */
  private async list(
    target: Target,
    address: string,
    field: string,
    signal: AbortSignal,
  ): Promise<readonly unknown[]> {
    const { lists } = this.kept(target)
    const rows: unknown[] = []
    for (;;) {
      const place = `${address}?limit=${PAGE}&offset=${rows.length}`
      const known = lists.get(place)
      const { status, body, headers } = await this.call(target, "GET", place, {
        signal,
        ...(known === undefined ? {} : { headers: { "if-none-match": known.etag } }),
      })
      // Each page has a tag of its own: an unchanged first one says nothing of the next.
      let page = known
      if (status !== 304 || page === undefined) {
        const fresh = ((body as Record<string, unknown>)[field] ?? []) as readonly unknown[]
        page = {
          etag: headers.etag ?? "",
          rows: fresh,
          total: Number(headers["x-total-count"] ?? fresh.length),
        }
        if (headers.etag === undefined) lists.delete(place)
        else lists.set(place, page)
      }
      rows.push(...page.rows)
      if (page.rows.length === 0 || rows.length >= page.total) return rows
    }
  }

  private kept(target: Target): { agent: Agent; writes: RateLimit; lists: Map<string, ListCache> } {
    let kept = this.brokers.get(target.uid)
    if (kept === undefined) {
      kept = {
        agent: new Agent({ keepAlive: true, maxSockets: SOCKETS }),
        writes: new RateLimit(this.world, WRITES_PER_SECOND, WRITES_BURST),
        lists: new Map(),
      }
      this.brokers.set(target.uid, kept)
    }
    return kept
  }

  private async call(
    target: Target,
    method: string,
    address: string,
    options: { signal: AbortSignal; headers?: Record<string, string>; body?: unknown; open?: boolean },
  ): Promise<Answer> {
    for (let fresh = false; ; fresh = true) {
      const headers = { ...options.headers }
      if (options.open !== true) headers["authorization"] = `Bearer ${await this.credentials(target, fresh)}`
      const answer = await this.send(target, method, address, { ...options, headers })
      // One new token: the old one may have been signed with a key that is gone.
      if (answer.status === 401 && !fresh && options.open !== true) continue
      if ((answer.status >= 200 && answer.status < 300) || answer.status === 304) return answer
      throw refusal(method, address, answer)
    }
  }

  private send(
    target: Target,
    method: string,
    address: string,
    { signal, headers, body }: { signal: AbortSignal; headers: Record<string, string>; body?: unknown },
  ): Promise<Answer> {
    const { host, port } = this.resolve(target)
    const text = body === undefined ? undefined : JSON.stringify(body)
    const timeout = AbortSignal.timeout(TIMEOUT_MS)
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void => {
        this.counters?.request(method, 0)
        if (signal.aborted) reject(signal.reason as Error)
        else
          reject(
            new BrokerError(
              0,
              "unreachable",
              `${method} ${withoutQuery(address)}: ${messageOf(error, timeout)}`,
              {
                timedOut: timeout.aborted,
              },
            ),
          )
      }
      const sent = request(
        {
          agent: this.kept(target).agent,
          host,
          port,
          method,
          path: address,
          signal: AbortSignal.any([signal, timeout]),
          headers: {
            ...headers,
            accept: "application/json",
            ...(text === undefined
              ? {}
              : { "content-type": "application/json", "content-length": String(Buffer.byteLength(text)) }),
          },
        },
        response => {
          let received = ""
          response.setEncoding("utf8")
          response.on("data", (piece: string) => {
            received += piece
            if (received.length > ANSWER_BYTES_MAX) response.destroy(new Error("the answer is too large"))
          })
          response.once("error", fail)
          response.once("end", () => {
            const status = response.statusCode ?? 0
            this.counters?.request(method, status)
            try {
              resolve({
                status,
                headers: response.headers,
                body: received === "" ? {} : JSON.parse(received),
              })
            } catch {
              reject(
                new BrokerError(502, "no_json", `${method} ${withoutQuery(address)}: the answer is no JSON`),
              )
            }
          })
        },
      )
      sent.once("error", fail)
      sent.end(text)
    })
  }
}

function messageOf(error: unknown, timeout: AbortSignal): string {
  return timeout.aborted ? `no answer within ${TIMEOUT_MS / 1_000} s` : String(error)
}

function withoutQuery(address: string): string {
  return address.split("?")[0]!
}

function refusal(method: string, address: string, { status, headers, body }: Answer): BrokerError {
  const { code = String(status), message = "" } = body as { code?: string; message?: string }
  const words = message === "" ? `${method} ${withoutQuery(address)}: ${status}` : message
  const after = headers["retry-after"]
  return new BrokerError(status, code, words, {
    retryAfterMs: after !== undefined && /^\d+$/.test(after) ? Number(after) * 1_000 : null,
  })
}

/** One part of an address, encoded once. */
export function segment(text: string): string {
  return encodeURIComponent(text)
}

function scheduleAddress({ realm, area, resource, operation }: Route): string {
  return `/api/v1/schedule/realms/${segment(realm)}/areas/${segment(area)}/resources/${segment(resource)}/operations/${segment(operation)}`
}

interface RealmJson {
  realm: string
  declared?: boolean
  display_name?: string | null
  description?: string | null
  labels?: Record<string, string> | null
  limits?: Record<string, number | null> | null
  managed_by?: string | null
  etag?: string | null
}

function realmRow(json: unknown): RealmRow {
  const row = json as RealmJson
  return {
    realm: row.realm,
    declared: row.declared === true,
    managedBy: row.managed_by ?? null,
    etag: row.etag ?? null,
    content: {
      displayName: row.display_name ?? "",
      description: row.description ?? "",
      labels: row.labels ?? {},
      limits: Object.fromEntries(
        Object.entries(row.limits ?? {}).filter((entry): entry is [string, number] => entry[1] !== null),
      ),
    },
  }
}

interface ScheduleJson {
  family?: number
  realm: string
  area: string
  resource: string
  operation: string
  cron: string
  payload_sha256?: string
  delivery_mode?: string
  enabled?: boolean
  managed_by?: string | null
  etag?: string | null
}

function scheduleRow(json: unknown): ScheduleRow {
  const row = json as ScheduleJson
  return {
    family: row.family ?? 1,
    route: { realm: row.realm, area: row.area, resource: row.resource, operation: row.operation },
    managedBy: row.managed_by ?? null,
    etag: row.etag ?? null,
    content: {
      cron: row.cron,
      payloadSha256: row.payload_sha256 ?? "",
      deliveryMode: row.delivery_mode === "single" ? "single" : "broadcast",
      enabled: row.enabled !== false,
    },
  }
}
