// What a route of the admin API is: one row of the table from which the router, the checks and the OpenAPI
// document come (docs/PROTOCOL.md, AD-*). Finding a row by method and path happens here; judging does not.

import type { z } from "zod"
import type { PageAsk } from "../domains/views/common.ts"
import type { Permission, Principal } from "./access.ts"
import type { Operations } from "./operations.ts"

export type Method = "GET" | "POST" | "PUT" | "DELETE"

/** What a handler is given: everything is checked. */
export interface Call<Query = unknown, Body = unknown> {
  /** Path parameters, decoded. */
  readonly params: Readonly<Record<string, string>>
  readonly query: Query
  readonly body: Body
  /** The realm that is filtered by, or null. */
  readonly realm: string | null
  /** The family that is asked for, or null. */
  readonly family: number | null
  readonly page: PageAsk
  readonly diagnostics: boolean
  readonly ifMatch: readonly string[] | null
  readonly ifNoneMatch: readonly string[] | null
  readonly principal: Principal
  readonly requestId: string
  readonly operations: Operations
}

export interface Answer {
  readonly status?: number
  /** Absent: no body. */
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** Of a list: how many rows there are in all. */
  readonly total?: number
}

export interface RouteSpec<Query, Body> {
  readonly method: Method
  /** Below the prefix: `queue/realms/{realm}`. */
  readonly path: string
  /** The canonical spelling has `/api/v1/admin/` in front. */
  readonly underAdmin?: boolean
  /** "any": a valid credential is enough. */
  readonly permission: Permission | "any"
  readonly about: string
  /** Takes `limit` and `offset`. */
  readonly list?: boolean
  /** Takes `?realm=`. */
  readonly realmFilter?: boolean
  readonly family?: "optional" | "required"
  /** Answered from a snapshot of at most one second. */
  readonly snapshot?: boolean
  /** Comes with `?include=diagnostics`. */
  readonly diagnostics?: boolean
  /** Further query parameters. */
  readonly query?: z.ZodType<Query>
  readonly body?: z.ZodType<Body>
  readonly confirm?: "always" | "strict"
  /** The name in the audit; of everything that is not a GET. */
  readonly action?: string
  /** Statuses of success with the schema of their body; null: no body. */
  readonly answers: Readonly<Record<number, z.ZodType | null>>
  handle(call: Call<Query, Body>): Answer | Promise<Answer>
}

/** A row of the table. */
export type Route = RouteSpec<unknown, unknown> & { readonly segments: readonly string[] }

/** Path parameters that may hold a percent-encoded path. */
const MAY_BE_PATHS: readonly string[] = ["lease_id", "schedule_id"]

export function route<Query = Record<never, never>, Body = undefined>(spec: RouteSpec<Query, Body>): Route {
  return { ...(spec as unknown as RouteSpec<unknown, unknown>), segments: spec.path.split("/") }
}

export function canonicalOf({
  path,
  underAdmin,
}: {
  path: string
  underAdmin?: boolean | undefined
}): string {
  return `/api/v1/${underAdmin === true ? "admin/" : ""}${path}`
}

const PREFIXES = ["/api/v1/admin/", "/api/v1/", "/admin/"] as const

/** Does a path belong to the admin API, known there or not? */
export function isApiPath(path: string): boolean {
  return path === "/api" || path.startsWith("/api/") || path === "/admin" || path.startsWith("/admin/")
}

export type Match =
  | { readonly kind: "found"; readonly route: Route; readonly raw: Readonly<Record<string, string>> }
  | { readonly kind: "unknown" }
  /** The path is known, the method is not. */
  | { readonly kind: "method"; readonly allowed: readonly string[] }

/** Finds rows: the same table under all three prefixes. */
export class Table {
  readonly routes: readonly Route[]
  /** By number of segments and first segment. */
  private readonly shelves: ReadonlyMap<string, readonly Route[]>

  constructor(routes: readonly Route[]) {
    this.routes = routes
    this.shelves = Map.groupBy(routes, ({ segments }) => `${segments.length} ${segments[0]}`)
  }

  find(method: string, path: string): Match {
    const prefix = PREFIXES.find(start => path.startsWith(start))
    const rest = prefix === undefined ? "" : path.slice(prefix.length).replace(/\/$/, "")
    const segments = rest.split("/")
    const fitting = (this.shelves.get(`${segments.length} ${segments[0]}`) ?? []).filter(row =>
      row.segments.every((segment, at) => segment.startsWith("{") || segment === segments[at]),
    )
    // Where a literal and a parameter both fit, the literal was meant.
    const exact = fitting.filter(row => literals(row) === Math.max(...fitting.map(literals)))
    const wanted = method === "HEAD" ? "GET" : method
    const route = exact.find(row => row.method === wanted)
    if (route !== undefined) {
      const named = route.segments.flatMap((segment, at) =>
        segment.startsWith("{") ? [[segment.slice(1, -1), segments[at]!] as const] : [],
      )
      return { kind: "found", route, raw: Object.fromEntries(named) }
    }
    if (exact.length === 0) return { kind: "unknown" }
    const allowed = exact.flatMap(row => (row.method === "GET" ? ["GET", "HEAD"] : [row.method]))
    return { kind: "method", allowed }
  }
}

function literals(row: Route): number {
  return row.segments.filter(segment => !segment.startsWith("{")).length
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the point
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/

/** What ids look like; everything else in a path is a label. */
const SYNTAX: Readonly<Record<string, RegExp>> = {
  tx_id: /^\d{1,15}$/,
  subscription_id: /^\d{1,15}$/,
  message_id: /^\d{1,15}$/,
  session_id: /^sess_\d{1,15}$/,
  correlation_id: /^[0-9a-fA-F]{32}$/,
  lease_id: /^(?:\d{1,15}|[^/]+\/[^/]+\/[^/]+)$/,
  schedule_id: /^(?:sch_[A-Za-z0-9_-]+|[^/]+(?:\/[^/]+){3})$/,
}

/** Is this what the parameter of that name may be? */
export function isParam(name: string, value: string): boolean {
  return SYNTAX[name]?.test(value) ?? true
}

/** A path parameter, decoded once; null where it is none. */
export function decodeParam(name: string, raw: string): string | null {
  let value: string
  try {
    value = decodeURIComponent(raw)
  } catch {
    return null // the caller names the parameter
  }
  if (value === "" || value.includes("*") || CONTROL.test(value) || !value.isWellFormed()) return null
  return value.includes("/") && !MAY_BE_PATHS.includes(name) ? null : value
}
