// Permission strings, `<pattern>#<access>`, and what they allow (docs/PROTOCOL.md, P-1 … P-8).
// Grants are judged one at a time: two that overlap never add up to a third.

import { covers, matches, parseRoute, type Route, SCHEMES, type Scheme, wholeScheme } from "./route.ts"

/** What a request wants: `all` is a grant with both read and write in one. */
export type Access = "read" | "write" | "all"

export interface Grant {
  readonly pattern: Route
  readonly read: boolean
  readonly write: boolean
}

/** Routes of these domains have one depth; of the others any (PROTOCOL.md, R-3). */
export const DEPTH: Readonly<Record<Scheme, number | null>> = {
  kv: 3,
  queue: 3,
  lease: 3,
  stream: 3,
  schedule: 4,
  notice: null,
  rpc: null,
}

const COARSE_SCHEMES: readonly string[] = ["notice", "rpc", "stream", "queue", "lease"]

/**
 * One entry of a token's permissions. Null: somebody else's entry, to be ignored. A string: malformed,
 * and why.
 * @param coarse also understand `<domain>.read` and `<domain>.write` (claims `scp` and `scope`)
 */
export function parsePermission(entry: string, coarse: boolean): Grant | null | string {
  if (!entry.includes("://")) {
    const [scheme, access, more] = entry.split(".")
    const known = coarse && more === undefined && scheme !== undefined && COARSE_SCHEMES.includes(scheme)
    if (!known || (access !== "read" && access !== "write")) return null
    return { pattern: wholeScheme(scheme as Scheme), read: access === "read", write: access === "write" }
  }
  const mark = entry.lastIndexOf("#")
  const text = mark < 0 ? entry : entry.slice(0, mark)
  const access = mark < 0 ? "*" : entry.slice(mark + 1)
  if (access !== "read" && access !== "write" && access !== "*") return "access is not read, write or *"
  const scheme = SCHEMES.find(known => text.startsWith(`${known}://`))
  if (scheme === undefined) return "unknown scheme"
  const pattern = parseRoute(text, scheme)
  if (typeof pattern === "string") return pattern
  return { pattern, read: access !== "write", write: access !== "read" }
}

function gives(grant: Grant, access: Access): boolean {
  return access === "read" ? grant.read : access === "write" ? grant.write : grant.read && grant.write
}

const REMEMBERED_MAX = 1_024

/** What one session may do. Remembers its answers; routes repeat. */
export class Grants {
  private readonly grants: readonly Grant[] | null
  private readonly answers: Record<Access, Map<string, boolean>> = {
    read: new Map(),
    write: new Map(),
    all: new Map(),
  }

  /** @param grants null allows everything (authentication switched off) */
  constructor(grants: readonly Grant[] | null) {
    this.grants = grants
  }

  /**
   * May the session do this to the route, or to everything that the pattern could match?
   * One single grant has to say so (PROTOCOL.md, P-5).
   */
  allow(target: Route, access: Access): boolean {
    const grants = this.grants
    if (grants === null) return true
    const answers = this.answers[access]
    const known = answers.get(target.text)
    if (known !== undefined) return known
    const answer = grants.some(
      grant =>
        gives(grant, access) &&
        (target.concrete
          ? matches(grant.pattern, target)
          : covers(grant.pattern, target, DEPTH[target.scheme])),
    )
    if (answers.size >= REMEMBERED_MAX) answers.clear()
    answers.set(target.text, answer)
    return answer
  }
}
