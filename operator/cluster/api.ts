// The Kubernetes API as nine verbs on raw JSON (operator.md §8.1). The only importer of the Kubernetes client's package,
// of which no more than the reading of kubeconfigs and logins is used; typed models would drop unknown fields.

import { createHash } from "node:crypto"
import type { ClientRequest, IncomingMessage } from "node:http"
import { Agent, request as httpsRequest, type RequestOptions } from "node:https"
import { KubeConfig } from "@kubernetes/client-node"
import { apiVersion, type Kind, type KubeObject } from "../plan/object.ts"
import { sleep, type World } from "../world.ts"

/** A refusal or failure. Status 0: no answer at all. */
export class KubeError extends Error {
  readonly status: number
  readonly reason: string
  readonly retryAfterMs: number | null
  readonly details: unknown
  constructor(
    status: number,
    reason: string,
    message: string,
    { retryAfterMs = null, details = null }: { retryAfterMs?: number | null; details?: unknown } = {},
  ) {
    super(message)
    this.name = "KubeError"
    this.status = status
    this.reason = reason
    this.retryAfterMs = retryAfterMs
    this.details = details
  }
}

export interface Page {
  readonly items: readonly KubeObject[]
  readonly resourceVersion: string
  readonly next: string | null
}

export interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR"
  readonly object: KubeObject
}

export interface Where {
  readonly namespace?: string | undefined
  readonly labelSelector?: string | undefined
}

export interface KubeApi {
  get(kind: Kind, namespace: string, name: string, signal?: AbortSignal): Promise<KubeObject | null>
  list(
    kind: Kind,
    where: Where & { limit: number; next?: string | null },
    signal?: AbortSignal,
  ): Promise<Page>
  /** Resolves when the server closes cleanly. `onOpen` is called once the server has answered 200. */
  watch(
    kind: Kind,
    where: Where & { resourceVersion: string; timeoutSeconds: number },
    handlers: { onOpen(): void; onEvent(event: WatchEvent): void },
    signal: AbortSignal,
  ): Promise<void>
  create(kind: Kind, object: KubeObject, signal?: AbortSignal): Promise<KubeObject>
  apply(
    kind: Kind,
    object: KubeObject,
    options: { manager: string; force: boolean; dryRun?: boolean },
    signal?: AbortSignal,
  ): Promise<{ object: KubeObject; created: boolean }>
  applyStatus(
    kind: Kind,
    object: KubeObject,
    options: { manager: string; force: boolean },
    signal?: AbortSignal,
  ): Promise<KubeObject>
  mergePatch(
    kind: Kind,
    namespace: string,
    name: string,
    patch: unknown,
    signal?: AbortSignal,
  ): Promise<KubeObject>
  delete(kind: Kind, namespace: string, name: string, uid: string, signal?: AbortSignal): Promise<boolean>
  /** Names of the API groups that are served. */
  discover(signal?: AbortSignal): Promise<readonly string[]>
}

export interface ApiCounters {
  request(method: string, status: number): void
}

const REQUEST_MS = 10_000
const ANSWER_CHARACTERS_MAX = 64 * 1024 * 1024
const MEDIA = {
  json: "application/json",
  apply: "application/apply-patch+yaml",
  merge: "application/merge-patch+json",
} as const

/** Reads a kubeconfig, or the pod's own. Refuses what would silently go without TLS trust. */
export function loadKubeConfig({
  file,
  context,
}: {
  file?: string | undefined
  context?: string | undefined
}): KubeConfig {
  const config = new KubeConfig()
  if (file !== undefined) config.loadFromFile(file)
  else config.loadFromDefault()
  if (context !== undefined) config.setCurrentContext(context)
  const cluster = config.getCurrentCluster()
  if (cluster === null) throw new Error("the kubeconfig has no cluster in its current context")
  if (config.getCurrentUser() === null)
    throw new Error(
      "the kubeconfig's context has no user: the client would then trust no certificate authority either",
    )
  if (!cluster.server.startsWith("https://"))
    throw new Error(`${cluster.server}: the operator speaks TLS only`)
  return config
}

/** The namespace that a pod's own credentials name, or the context's. */
export function homeNamespace(config: KubeConfig): string {
  return config.getContextObject(config.getCurrentContext())?.namespace ?? "default"
}

/** Permits for so many requests a second, in order. */
export class RateLimit {
  private readonly world: World
  private readonly perSecond: number
  private readonly burst: number
  private tokens: number
  private at: number
  constructor(world: World, perSecond: number, burst: number) {
    this.world = world
    this.perSecond = perSecond
    this.burst = burst
    this.tokens = burst
    this.at = world.monotonic()
  }

  /** Waits for a permit. */
  async take(signal?: AbortSignal): Promise<void> {
    const now = this.world.monotonic()
    this.tokens = Math.min(this.burst, this.tokens + ((now - this.at) / 1_000) * this.perSecond)
    this.at = now
    this.tokens--
    if (this.tokens >= 0) return
    await sleep(this.world, (-this.tokens / this.perSecond) * 1_000, signal)
  }
}

export interface ApiOptions {
  readonly world: World
  readonly perSecond?: number
  readonly burst?: number
  readonly counters?: ApiCounters
}

/** The API that the kubeconfig's current context points at. */
export function openApi(config: KubeConfig, options: ApiOptions): KubeApi & { close(): void } {
  return new HttpsApi(config, options)
}

class HttpsApi implements KubeApi {
  private readonly config: KubeConfig
  private readonly limit: RateLimit
  private readonly counters: ApiCounters | undefined
  private agents: { hash: string; calls: Agent; watches: Agent } | null = null

  constructor(config: KubeConfig, { world, perSecond = 50, burst = 100, counters }: ApiOptions) {
    this.config = config
    this.limit = new RateLimit(world, perSecond, burst)
    this.counters = counters
  }

  close(): void {
    this.agents?.calls.destroy()
    this.agents?.watches.destroy()
    this.agents = null
  }

  async get(kind: Kind, namespace: string, name: string, signal?: AbortSignal): Promise<KubeObject | null> {
    try {
      return (await this.call("GET", path(kind, namespace, name), undefined, undefined, signal))
        .body as KubeObject
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) return null
      throw error
    }
  }

  async list(
    kind: Kind,
    { namespace, labelSelector, limit, next }: Where & { limit: number; next?: string | null },
    signal?: AbortSignal,
  ): Promise<Page> {
    const query = new URLSearchParams({ limit: String(limit) })
    if (labelSelector !== undefined) query.set("labelSelector", labelSelector)
    if (next != null) query.set("continue", next)
    const { body } = await this.call("GET", `${path(kind, namespace)}?${query}`, undefined, undefined, signal)
    const list = body as {
      metadata: { resourceVersion: string; continue?: string }
      items: readonly KubeObject[]
    }
    const shared = { apiVersion: apiVersion(kind), kind: kind.kind }
    return {
      items: list.items.map(item => ({ ...item, ...shared })),
      resourceVersion: list.metadata.resourceVersion,
      next:
        list.metadata.continue === undefined || list.metadata.continue === "" ? null : list.metadata.continue,
    }
  }

  async watch(
    kind: Kind,
    {
      namespace,
      labelSelector,
      resourceVersion,
      timeoutSeconds,
    }: Where & { resourceVersion: string; timeoutSeconds: number },
    { onOpen, onEvent }: { onOpen(): void; onEvent(event: WatchEvent): void },
    signal: AbortSignal,
  ): Promise<void> {
    const query = new URLSearchParams({
      watch: "1",
      allowWatchBookmarks: "true",
      resourceVersion,
      timeoutSeconds: String(timeoutSeconds),
    })
    if (labelSelector !== undefined) query.set("labelSelector", labelSelector)
    const { request, response } = await this.open(
      "GET",
      `${path(kind, namespace)}?${query}`,
      undefined,
      undefined,
      signal,
      true,
    )
    if (response.statusCode !== 200) throw refusal(response, await read(response))
    onOpen()
    let rest = ""
    response.setEncoding("utf8")
    try {
      for await (const piece of response) {
        rest += piece as string
        let end = rest.indexOf("\n")
        while (end >= 0) {
          const line = rest.slice(0, end)
          rest = rest.slice(end + 1)
          if (line !== "") onEvent(parseEvent(line))
          end = rest.indexOf("\n")
        }
      }
    } catch (error) {
      if (error instanceof KubeError) throw error
      throw new KubeError(0, "Broken", `watch of ${kind.plural}: ${String(error)}`)
    } finally {
      request.destroy()
    }
    if (rest.trim() !== "")
      throw new KubeError(0, "Truncated", `watch of ${kind.plural} ended within an event`)
  }

  async create(kind: Kind, object: KubeObject, signal?: AbortSignal): Promise<KubeObject> {
    const { body } = await this.call(
      "POST",
      path(kind, object.metadata.namespace),
      object,
      MEDIA.json,
      signal,
    )
    return body as KubeObject
  }

  async apply(
    kind: Kind,
    object: KubeObject,
    { manager, force, dryRun = false }: { manager: string; force: boolean; dryRun?: boolean },
    signal?: AbortSignal,
  ): Promise<{ object: KubeObject; created: boolean }> {
    const query = new URLSearchParams({
      fieldManager: manager,
      force: String(force),
      fieldValidation: "Strict",
    })
    if (dryRun) query.set("dryRun", "All")
    const { body, status } = await this.call(
      "PATCH",
      `${path(kind, object.metadata.namespace, object.metadata.name)}?${query}`,
      object,
      MEDIA.apply,
      signal,
    )
    return { object: body as KubeObject, created: status === 201 }
  }

  async applyStatus(
    kind: Kind,
    object: KubeObject,
    { manager, force }: { manager: string; force: boolean },
    signal?: AbortSignal,
  ): Promise<KubeObject> {
    const query = new URLSearchParams({ fieldManager: manager, force: String(force) })
    const { body } = await this.call(
      "PATCH",
      `${path(kind, object.metadata.namespace, object.metadata.name)}/status?${query}`,
      object,
      MEDIA.apply,
      signal,
    )
    return body as KubeObject
  }

  async mergePatch(
    kind: Kind,
    namespace: string,
    name: string,
    patch: unknown,
    signal?: AbortSignal,
  ): Promise<KubeObject> {
    const query = new URLSearchParams({ fieldManager: "fitz-operator" })
    const { body } = await this.call(
      "PATCH",
      `${path(kind, namespace, name)}?${query}`,
      patch,
      MEDIA.merge,
      signal,
    )
    return body as KubeObject
  }

  async delete(
    kind: Kind,
    namespace: string,
    name: string,
    uid: string,
    signal?: AbortSignal,
  ): Promise<boolean> {
    try {
      const options = { apiVersion: "v1", kind: "DeleteOptions", preconditions: { uid } }
      await this.call("DELETE", path(kind, namespace, name), options, MEDIA.json, signal)
      return true
    } catch (error) {
      if (error instanceof KubeError && error.status === 404) return false
      throw error
    }
  }

  async discover(signal?: AbortSignal): Promise<readonly string[]> {
    const { body } = await this.call("GET", "/apis", undefined, undefined, signal)
    return (body as { groups: readonly { name: string }[] }).groups.map(({ name }) => name)
  }

  private async call(
    method: string,
    target: string,
    content: unknown,
    media: string | undefined,
    signal?: AbortSignal,
  ): Promise<{ status: number; body: unknown }> {
    await this.limit.take(signal)
    const text = content === undefined ? undefined : JSON.stringify(content)
    const timeout = AbortSignal.timeout(REQUEST_MS)
    const both = signal === undefined ? timeout : AbortSignal.any([signal, timeout])
    let response: IncomingMessage
    let answer: string
    try {
      ;({ response } = await this.open(method, target, text, media, both, false))
      answer = await read(response)
    } catch (error) {
      signal?.throwIfAborted()
      this.counters?.request(method, 0)
      if (error instanceof KubeError) throw error
      const why = timeout.aborted ? `no answer within ${REQUEST_MS / 1_000} s` : String(error)
      throw new KubeError(
        0,
        timeout.aborted ? "Timeout" : "Connection",
        `${method} ${pathOnly(target)}: ${why}`,
      )
    }
    const status = response.statusCode ?? 0
    this.counters?.request(method, status)
    if (status < 200 || status > 299) throw refusal(response, answer)
    return { status, body: JSON.parse(answer) as unknown }
  }

  private async open(
    method: string,
    target: string,
    text: string | undefined,
    media: string | undefined,
    signal: AbortSignal,
    watching: boolean,
  ): Promise<{ request: ClientRequest; response: IncomingMessage }> {
    const server = new URL(this.config.getCurrentCluster()?.server ?? "")
    const filled: RequestOptions = { method, headers: {} }
    await this.config.applyToHTTPSOptions(filled)
    const { calls, watches } = this.agentsFor(filled)
    const { agent: _scratch, ca: _ca, cert: _cert, key: _key, ...plain } = filled
    const base = server.pathname.replace(/\/$/, "")
    return new Promise((resolve, reject) => {
      const request = httpsRequest({
        ...plain,
        agent: watching ? watches : calls,
        host: server.hostname,
        port: server.port === "" ? 443 : Number(server.port),
        path: `${base}${target}`,
        signal,
        headers: {
          ...filled.headers,
          accept: MEDIA.json,
          "user-agent": "fitz-operator",
          ...(text === undefined
            ? {}
            : { "content-type": media ?? MEDIA.json, "content-length": String(Buffer.byteLength(text)) }),
        },
      })
      request.once("response", response => resolve({ request, response }))
      request.once("error", reject)
      request.end(text)
    })
  }

  /** One agent for calls and one for watches, anew when the TLS material has changed. */
  private agentsFor({ ca, cert, key, servername, rejectUnauthorized, agent }: RequestOptions): {
    calls: Agent
    watches: Agent
  } {
    const scratch = agent instanceof Agent ? agent.options : {}
    const material = {
      ca: ca ?? scratch.ca,
      cert: cert ?? scratch.cert,
      key: key ?? scratch.key,
      servername: servername ?? scratch.servername,
      rejectUnauthorized: rejectUnauthorized ?? scratch.rejectUnauthorized,
    }
    const text = Object.values(material).map(part =>
      Buffer.isBuffer(part) ? part.toString("base64") : String(part),
    )
    const hash = createHash("sha256").update(text.join("\n")).digest("hex")
    if (this.agents?.hash === hash) return this.agents
    const defined = Object.fromEntries(Object.entries(material).filter(([, value]) => value !== undefined))
    const fresh = (maxSockets: number): Agent => new Agent({ ...defined, keepAlive: true, maxSockets })
    this.agents = { hash, calls: fresh(32), watches: fresh(Number.POSITIVE_INFINITY) }
    return this.agents
  }
}

function path(kind: Kind, namespace?: string, name?: string): string {
  const root = kind.group === "" ? `/api/${kind.version}` : `/apis/${kind.group}/${kind.version}`
  const scope =
    kind.namespaced && namespace !== undefined ? `/namespaces/${encodeURIComponent(namespace)}` : ""
  return `${root}${scope}/${kind.plural}${name === undefined ? "" : `/${encodeURIComponent(name)}`}`
}

function pathOnly(target: string): string {
  return target.split("?")[0]!
}

async function read(response: IncomingMessage): Promise<string> {
  response.setEncoding("utf8")
  let text = ""
  for await (const piece of response) {
    text += piece as string
    if (text.length > ANSWER_CHARACTERS_MAX) throw new KubeError(0, "TooLarge", "the answer is too large")
  }
  return text
}

function parseEvent(line: string): WatchEvent {
  try {
    return JSON.parse(line) as WatchEvent
  } catch {
    throw new KubeError(0, "Truncated", "an event of a watch is no JSON")
  }
}

function refusal(response: IncomingMessage, text: string): KubeError {
  const status = response.statusCode ?? 0
  const header = response.headers["retry-after"]
  const retryAfterMs = header !== undefined && /^\d+$/.test(header) ? Number(header) * 1_000 : null
  try {
    const {
      reason = "",
      message = text,
      details = null,
    } = JSON.parse(text) as {
      reason?: string
      message?: string
      details?: unknown
    }
    return new KubeError(status, reason, message, { retryAfterMs, details })
  } catch {
    // Proxies answer in words of their own.
    return new KubeError(status, "", `${status} ${text.slice(0, 200)}`, { retryAfterMs })
  }
}
