// The admin API: judges each request in the stated order, runs its row of the table, writes the answer and
// the audit record (docs/PROTOCOL.md, AD-*). It knows no domain.

import type { IncomingMessage } from "node:http"
import type { FastifyReply, FastifyRequest } from "fastify"
import type { z } from "zod"
import type { PageAsk } from "../domains/views/common.ts"
import type { AnswerTo, Query } from "../domains/views/index.ts"
import type { Principal } from "./access.ts"
import { type Audit, outcomeOf } from "./audit.ts"
import { errorBody, isRefused, Refusal } from "./errors.ts"
import type { Gate, LimitClass } from "./gate.ts"
import type { Operations } from "./operations.ts"
import { withPerformance } from "./performance.ts"
import { type Answer, type Call, canonicalOf, decodeParam, isParam, type Route, type Table } from "./route.ts"
import { Snapshots } from "./snapshots.ts"

/** What is counted of a finished request. */
export interface Observed {
  /** The canonical template, or "unknown". */
  readonly route: string
  readonly method: string
  readonly status: number
  readonly ms: number
  /** Of a command. */
  readonly action: string | null
  readonly outcome: string
}

export interface ApiOptions {
  readonly table: Table
  readonly gate: Gate
  readonly audit: Audit
  readonly operations: Operations
  /** Replay and purge need a confirmation too. */
  readonly strictConfirm: boolean
  /** Every JSON answer says what it has cost; else where it is asked for. */
  readonly performanceBlock: boolean
  readonly observe: (observed: Observed) => void
  readonly onError: (error: unknown, request: FastifyRequest) => void
}

const LIMIT_DEFAULT = 100
const LIMIT_MAX = 1_000
const FAMILY_MAX = 4_294_967_295
/** Bodies of commands, which are ignored, and of definitions. */
const IGNORED_BYTES_MAX = 16 * 1024
const BODY_BYTES_MAX = 256 * 1024
const REASON_LENGTH_MAX = 256
const RETRY_SECONDS = "1"
/** Equal to no label: those hold no control characters. */
const NO_REALM = "\u0000"

/** What is known of a request while it is judged: enough for its audit record whenever it ends. */
interface Course {
  readonly request: FastifyRequest
  readonly path: string
  readonly search: URLSearchParams
  route: Route | null
  principal: Principal | null
  params: Record<string, string>
  family: number | null
  confirmed: boolean
}

export class Api {
  private readonly options: ApiOptions
  private readonly snapshots: Snapshots<unknown>

  constructor(options: ApiOptions) {
    this.options = options
    this.snapshots = new Snapshots(options.operations.now)
  }

  async handle(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { operations, observe } = this.options
    const begun = operations.now()
    const [path = "", query = ""] = request.originalUrl.split("?", 2)
    const course: Course = {
      request,
      path,
      search: new URLSearchParams(query),
      route: null,
      principal: null,
      params: {},
      family: null,
      confirmed: request.headers["x-confirm"]?.toString().trim().toLowerCase() === "true",
    }
    let answer: Answer
    try {
      answer = await this.judge(course)
    } catch (error) {
      answer = this.refusal(error, course)
    }
    if (request.method !== "GET" && request.method !== "HEAD") answer = this.record(course, answer)
    // A body that nobody has read must not be taken for the next request.
    if (!request.raw.complete) reply.header("connection", "close")
    const status = answer.status ?? 200
    const { route } = course
    observe({
      route: route === null ? "unknown" : canonicalOf(route),
      method: request.method,
      status,
      ms: operations.now() - begun,
      action: route?.action ?? null,
      outcome: outcomeOf(status),
    })
    reply.code(status).header("cache-control", "no-store")
    for (const [name, value] of Object.entries(answer.headers ?? {})) reply.header(name, value)
    if (answer.body === undefined) return reply.send()
    const asked = this.options.performanceBlock || request.headers["x-performance"] === "true"
    const body = asked && isObject(answer.body) ? withPerformance(reply, answer.body) : answer.body
    return reply.header("content-type", "application/json; charset=utf-8").send(JSON.stringify(body))
  }

  /** The order of admin-api §5.2: nobody learns from a refusal what only a later step would show. */
  private async judge(course: Course): Promise<Answer> {
    const { table, gate, operations, strictConfirm, audit } = this.options
    const { request, path, search } = course
    const principal = await gate.admit(request)
    course.principal = principal
    const match = table.find(request.method, path)
    if (match.kind === "unknown") throw new Refusal("not_found", "there is nothing at this path")
    if (match.kind === "method") {
      throw new Refusal("method_not_allowed", `this path takes ${match.allowed.join(", ")}`, {
        allow: match.allowed.join(", "),
      })
    }
    const { route, raw } = match
    course.route = route
    // The target belongs into the record of a refusal too.
    for (const [name, text] of Object.entries(raw)) course.params[name] = decodeParam(name, text) ?? text
    gate.permit(principal, route.permission)
    if (!operations.status.domainsReady) {
      throw new Refusal("not_ready", "the store is being loaded", { "retry-after": RETRY_SECONDS })
    }
    const limit: LimitClass = route.method === "GET" ? "admin_read" : "admin_write"
    gate.limit(limit, principal.name)
    const call = this.checked(route, raw, search, course)
    if (route.confirm === "always" || (route.confirm === "strict" && strictConfirm)) {
      if (!course.confirmed)
        throw new Refusal("confirmation_required", "this needs the header X-Confirm: true")
    }
    const body = route.method === "GET" ? undefined : await this.bodyOf(route, request)
    if (route.method !== "GET" && !audit.writable) {
      throw new Refusal("unavailable", "the audit cannot be written, and nothing is done without it")
    }
    const answer = await this.answerTo(route, { ...call, body, principal, requestId: request.id, operations })
    return route.list === true ? paged(answer, call.page, route, course) : answer
  }

  /** Runs the row. Numbers may come from a snapshot, the same for every endpoint that shows them. */
  private async answerTo(route: Route, call: Call): Promise<Answer> {
    if (route.snapshot !== true) return route.handle(call)
    let oldestMs = 0
    const ask: Operations["ask"] = async <Q extends Query>(query: Q): Promise<AnswerTo<Q>> => {
      const { value, ageMs } = await this.snapshots.get(JSON.stringify(query), () =>
        call.operations.ask(query),
      )
      oldestMs = Math.max(oldestMs, ageMs)
      return value as AnswerTo<Q>
    }
    const answer = await route.handle({ ...call, operations: { ...call.operations, ask } })
    return { ...answer, headers: { ...answer.headers, "x-snapshot-age-ms": String(oldestMs) } }
  }

  private checked(
    route: Route,
    raw: Readonly<Record<string, string>>,
    search: URLSearchParams,
    course: Course,
  ): Omit<Call, "body" | "principal" | "requestId" | "operations"> {
    const params: Record<string, string> = {}
    for (const [name, text] of Object.entries(raw)) {
      const value = decodeParam(name, text)
      if (value === null || !isParam(name, value))
        throw new Refusal("invalid_parameter", `${name} in the path is not valid`)
      params[name] = value
    }
    const asked = search.get("realm") || null
    // A wildcard in front belongs to no realm, so nobody can ask for it.
    const realm = asked?.includes("*") === true ? NO_REALM : asked
    if (asked !== null && params["realm"] !== undefined && asked !== params["realm"]) {
      throw new Refusal("realm_mismatch", "?realm= names another realm than the path")
    }
    const family = this.familyOf(route, search)
    course.family = family
    const include = search.get("include")?.split(",") ?? []
    const given = Object.fromEntries(search)
    const query = route.query?.safeParse(given)
    if (query !== undefined && !query.success) throw invalid("query", query.error)
    const { headers } = course.request
    return {
      params,
      query: query?.data ?? {},
      realm,
      family,
      page: route.list === true ? pageOf(search) : { offset: 0, limit: LIMIT_DEFAULT },
      diagnostics: include.includes("diagnostics"),
      ifMatch: tags(headers["if-match"]),
      ifNoneMatch: tags(headers["if-none-match"]),
    }
  }

  private familyOf(route: Route, search: URLSearchParams): number | null {
    const given = search.get("family")
    if (route.family === undefined) return null
    if (given === null) {
      if (route.family === "required") throw new Refusal("missing_family", "this needs ?family=")
      return null
    }
    const number = /^\d{1,10}$/.test(given) ? Number(given) : 0
    if (number < 1 || number > FAMILY_MAX)
      throw new Refusal("invalid_family", "a family is a number from 1 to 4294967295")
    if (!this.options.operations.families.includes(number)) {
      throw new Refusal("family_not_provisioned", `family ${number} is not provisioned`)
    }
    return number
  }

  private async bodyOf(route: Route, request: FastifyRequest): Promise<unknown> {
    const max = route.body === undefined ? IGNORED_BYTES_MAX : BODY_BYTES_MAX
    const content = await readBody(request.raw, max)
    if (content === null) throw new Refusal("body_too_large", `a body is at most ${max} bytes`)
    if (route.body === undefined) return undefined
    const type = request.headers["content-type"]?.split(";", 1)[0]?.trim().toLowerCase()
    if (type !== "application/json") throw new Refusal("unsupported_media_type", "send application/json")
    const parsed = route.body.safeParse(jsonOf(content))
    if (!parsed.success) throw invalid("body", parsed.error)
    return parsed.data
  }

  private refusal(error: unknown, { request }: Course): Answer {
    if (error instanceof Refusal) {
      const { status, code, message, headers } = error
      return { status, headers, body: errorBody(status, code, message, request.id) }
    }
    this.options.onError(error, request)
    return {
      status: 500,
      body: errorBody(500, "internal", "the request could not be handled", request.id),
    }
  }

  /** Writes the audit record. Where that is a must and fails, the answer says so. */
  private record(course: Course, answer: Answer): Answer {
    const { request, path, route, principal, params, family, confirmed } = course
    const status = answer.status ?? 200
    const reason = request.headers["x-reason"]?.toString().slice(0, REASON_LENGTH_MAX)
    const written = this.options.audit.write({
      ts: new Date(this.options.operations.now()).toISOString(),
      audit: true,
      request_id: request.id,
      user: principal?.name || "-",
      auth_method: principal?.method ?? methodOf(request),
      action: route?.action ?? "unknown",
      target: family === null ? params : { ...params, family },
      confirmed,
      outcome: outcomeOf(status),
      status,
      path,
      canonical_path: route === null ? path : filled(canonicalOf(route), params),
      remote_addr: remoteOf(request),
      ...(reason === undefined || reason === "" ? {} : { reason }),
    })
    if (written) return answer
    return {
      status: 503,
      body: errorBody(503, "unavailable", "done, but the audit record could not be written", request.id),
    }
  }
}

/** Only an object has room for one more key; lists stay as they are. */
function isObject(body: unknown): body is object {
  return typeof body === "object" && body !== null && !Array.isArray(body)
}

/** Fails the request where a lane has refused; otherwise its answer. */
export function granted<T>(answer: T): Exclude<T, { readonly refused: unknown }> {
  if (isRefused(answer)) throw new Refusal(answer.refused, answer.message)
  return answer as Exclude<T, { readonly refused: unknown }>
}

function invalid(where: "query" | "body", error: z.ZodError): Refusal {
  const [issue] = error.issues
  const code =
    issue?.code === "custom" && typeof issue.params?.["code"] === "string" ? issue.params["code"] : null
  const name = issue?.path.join(".") ?? ""
  const message = `${name === "" ? where : name}: ${issue?.message ?? "not valid"}`
  if (code === "invalid_payload") return new Refusal(code, message)
  return new Refusal(where === "body" ? "invalid_body" : "invalid_parameter", message)
}

function methodOf(request: FastifyRequest): "jwt" | "api_key" {
  const { authorization = "" } = request.headers
  return /^bearer +[^.\s]+\.[^.\s]+\.[^.\s]+ *$/i.test(authorization) ? "jwt" : "api_key"
}

function remoteOf(request: FastifyRequest): string {
  const { remoteAddress = "", remotePort = 0 } = request.socket
  return remoteAddress.includes(":") ? `[${remoteAddress}]:${remotePort}` : `${remoteAddress}:${remotePort}`
}

function filled(template: string, params: Readonly<Record<string, string>>): string {
  return template.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(params[name] ?? ""))
}

function pageOf(search: URLSearchParams): PageAsk {
  const number = (name: string, min: number, fallback: number): number => {
    const given = search.get(name)
    if (given === null) return fallback
    const value = /^\d{1,15}$/.test(given) ? Number(given) : -1
    if (value < min) throw new Refusal("invalid_parameter", `${name} is a whole number of at least ${min}`)
    return value
  }
  return { limit: Math.min(LIMIT_MAX, number("limit", 1, LIMIT_DEFAULT)), offset: number("offset", 0, 0) }
}

/** The headers of a list. */
function paged(answer: Answer, { limit, offset }: PageAsk, route: Route, course: Course): Answer {
  const total = answer.total ?? 0
  const path = filled(canonicalOf(route), course.params)
  const link = (rel: string, at: number): string => {
    const search = new URLSearchParams(course.search)
    search.set("limit", String(limit))
    search.set("offset", String(at))
    return `<${path}?${search}>; rel="${rel}"`
  }
  const links = [
    ...(offset + limit < total ? [link("next", offset + limit)] : []),
    ...(offset > 0 ? [link("prev", Math.max(0, offset - limit))] : []),
  ]
  const headers: Record<string, string> = {
    "x-total-count": String(total),
    "x-limit": String(limit),
    "x-offset": String(offset),
    ...(links.length === 0 ? {} : { link: links.join(", ") }),
  }
  return { ...answer, headers: { ...answer.headers, ...headers } }
}

/** The entity tags of a conditional header; null where there is none. */
function tags(header: string | undefined): readonly string[] | null {
  if (header === undefined) return null
  return header.split(",").map(tag => tag.trim().replace(/^W\//, ""))
}

/** The whole body, or null where it is too long; the rest of it is left unread then. */
function readBody(raw: IncomingMessage, bytesMax: number): Promise<string | null> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = []
    let bytes = 0
    const take = (piece: Buffer): void => {
      bytes += piece.length
      if (bytes <= bytesMax) pieces.push(piece)
      else end(() => resolve(null))
    }
    const end = (settle: () => void): void => {
      raw.off("data", take)
      raw.pause()
      settle()
    }
    raw.on("data", take)
    raw.once("end", () => end(() => resolve(Buffer.concat(pieces).toString("utf8"))))
    raw.once("error", error => end(() => reject(error)))
  })
}

function jsonOf(content: string): unknown {
  try {
    return JSON.parse(content)
  } catch {
    return undefined // the schema says what is wrong, without quoting
  }
}
