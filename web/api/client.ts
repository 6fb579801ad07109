// Requests to the admin API: relative to the page, so that they take the same way through proxies. Every failure
// becomes one of a few kinds, because each of them looks different to a reader. Never puts a credential in a URL.

import type { ErrorBody } from "./types.ts"

/**
 * unauthorized: sign in again. forbidden: the credential lacks a permission. missing: nothing is there.
 * busy: come back later. unreachable: no answer at all. refused: the request was understood and not wanted.
 * broken: an answer that makes no sense.
 */
export type FailureKind =
  | "unauthorized"
  | "forbidden"
  | "missing"
  | "busy"
  | "unreachable"
  | "refused"
  | "broken"

export class Failure extends Error {
  readonly kind: FailureKind
  /** 0: there was no answer. */
  readonly status: number
  readonly code: string
  readonly requestId: string | null
  readonly retryAfterMs: number | null

  constructor(
    kind: FailureKind,
    message: string,
    {
      status = 0,
      code = kind,
      requestId = null,
      retryAfterMs = null,
    }: { status?: number; code?: string; requestId?: string | null; retryAfterMs?: number | null } = {},
  ) {
    super(message)
    this.kind = kind
    this.status = status
    this.code = code
    this.requestId = requestId
    this.retryAfterMs = retryAfterMs
  }
}

export interface Reply<T> {
  readonly body: T
  readonly status: number
  /** Rows in all, of a list. */
  readonly total: number | null
  readonly etag: string | null
  readonly requestId: string
  /** When it arrived. */
  readonly atMs: number
}

export type Params = Readonly<Record<string, string | number | null | undefined>>

export interface ApiOptions {
  /** The page's own root, with a slash at its end. */
  readonly base: string
  readonly headers: Readonly<Record<string, string>>
  readonly fetch: typeof fetch
  readonly now: () => number
  /** An answer came, of whatever kind, or none did. */
  readonly onContact: (reached: boolean) => void
  readonly onUnauthorized: () => void
}

const TIMEOUT_MS = 10_000

export class Api {
  private readonly options: ApiOptions

  constructor(options: ApiOptions) {
    this.options = options
  }

  get<T>(path: string, params: Params = {}, signal?: AbortSignal): Promise<Reply<T>> {
    return this.send<T>("GET", `api/v1/${path}`, params, {}, undefined, signal)
  }

  /** A probe: its body says something whatever its status is. */
  async probe<T>(path: string, signal?: AbortSignal): Promise<Reply<T>> {
    const { response, body } = await this.exchange("GET", path, {}, {}, undefined, signal)
    return this.replyOf<T>(response, body)
  }

  /** A command. `X-Confirm` says that somebody has confirmed it, and somebody has: see the dialog. */
  order<T>(
    method: "POST" | "PUT" | "DELETE",
    path: string,
    {
      params = {},
      reason = "",
      body,
      ifMatch = null,
    }: { params?: Params; reason?: string; body?: unknown; ifMatch?: string | null } = {},
  ): Promise<Reply<T>> {
    const headers: Record<string, string> = { "x-confirm": "true" }
    // Header values are Latin-1 at best, and a reason is for reading.
    if (reason !== "") headers["x-reason"] = reason.replace(/[^\x20-\x7e]/g, "?").slice(0, 256)
    if (ifMatch !== null) headers["if-match"] = ifMatch
    if (body !== undefined) headers["content-type"] = "application/json"
    return this.send<T>(
      method,
      `api/v1/${path}`,
      params,
      headers,
      body === undefined ? undefined : JSON.stringify(body),
    )
  }

  private async send<T>(
    method: string,
    path: string,
    params: Params,
    headers: Readonly<Record<string, string>>,
    content?: string,
    signal?: AbortSignal,
  ): Promise<Reply<T>> {
    const { response, body } = await this.exchange(method, path, params, headers, content, signal)
    if (response.ok) return this.replyOf<T>(response, body)
    const failure = failureOf(response, body)
    if (failure.kind === "unauthorized") this.options.onUnauthorized()
    throw failure
  }

  private replyOf<T>(response: Response, body: unknown): Reply<T> {
    const total = response.headers.get("x-total-count")
    return {
      body: body as T,
      status: response.status,
      total: total === null ? null : Number(total),
      etag: response.headers.get("etag"),
      requestId: response.headers.get("x-request-id") ?? "",
      atMs: this.options.now(),
    }
  }

  private async exchange(
    method: string,
    path: string,
    params: Params,
    headers: Readonly<Record<string, string>>,
    content?: string,
    signal?: AbortSignal,
  ): Promise<{ response: Response; body: unknown }> {
    const { base, fetch, onContact } = this.options
    const timeout = AbortSignal.timeout(TIMEOUT_MS)
    const init: RequestInit = {
      method,
      headers: { accept: "application/json", ...this.options.headers, ...headers },
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      ...(content === undefined ? {} : { body: content }),
    }
    let response: Response
    let text: string
    try {
      response = await fetch(addressOf(base, path, params), init)
      text = await response.text()
    } catch (error) {
      // The reader went elsewhere: that says nothing about the broker.
      if (signal?.aborted === true) throw error
      onContact(false)
      const late = error instanceof DOMException && error.name === "TimeoutError"
      throw new Failure("unreachable", late ? "no answer within 10 s" : "the broker cannot be reached")
    }
    // A proxy in front answers for a broker that is gone.
    const gone = response.status === 502 || response.status === 504
    onContact(!gone)
    if (gone)
      throw new Failure("unreachable", `a proxy answers ${response.status} for the broker`, {
        status: response.status,
      })
    if (text === "") return { response, body: null }
    try {
      return { response, body: JSON.parse(text) as unknown }
    } catch {
      throw new Failure("broken", "the answer is not JSON: is this page behind something else?", {
        status: response.status,
      })
    }
  }
}

export function addressOf(base: string, path: string, params: Params): string {
  const url = new URL(path, base)
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, String(value))
  }
  return url.href
}

const KINDS: Readonly<Record<number, FailureKind>> = {
  401: "unauthorized",
  403: "forbidden",
  404: "missing",
  429: "busy",
  503: "busy",
}

export function failureOf(response: Pick<Response, "status" | "headers">, body: unknown): Failure {
  const { status, headers } = response
  const said = isErrorBody(body) ? body : null
  const seconds = Number(headers.get("retry-after") ?? "")
  return new Failure(
    KINDS[status] ?? (status >= 500 || said === null ? "broken" : "refused"),
    said?.message ?? `the broker answers ${status}`,
    {
      status,
      code: said?.code ?? `http_${status}`,
      requestId: said?.request_id ?? headers.get("x-request-id"),
      retryAfterMs: seconds > 0 ? seconds * 1_000 : null,
    },
  )
}

function isErrorBody(body: unknown): body is ErrorBody {
  return typeof body === "object" && body !== null && "code" in body && "message" in body
}

/** A path of the API or of the page: every segment encoded. */
export function pathOf(...segments: readonly (string | number)[]): string {
  return segments.map(segment => encodeURIComponent(segment)).join("/")
}
