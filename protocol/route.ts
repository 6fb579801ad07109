// Routes and patterns: `scheme://segment/segment/…`, what is well-formed, what matches what, what covers
// what (docs/PROTOCOL.md, R-1 … R-9). Nothing here knows a domain's rules beyond its scheme and depth.

import { copyOf, sameBytes, textOf, utf8 } from "./bytes.ts"

export const SCHEMES = ["kv", "stream", "notice", "queue", "rpc", "lease", "schedule"] as const
export type Scheme = (typeof SCHEMES)[number]

export const ROUTE_BYTES_MAX = 4_096
export const SEGMENTS_MAX = 64

/** A well-formed route or pattern. A route is a pattern without wildcards. */
export interface Route {
  readonly scheme: Scheme
  /** The canonical form, with its scheme. */
  readonly text: string
  /** `text` as UTF-8. */
  readonly bytes: Uint8Array
  readonly segments: readonly string[]
  /** No segment is `*` or `**`. */
  readonly concrete: boolean
  /** Some segment is `**`. */
  readonly open: boolean
}

/** Why a text is no route. */
export type RouteFault =
  | "not_utf8"
  | "too_long"
  | "no_scheme"
  | "wrong_scheme"
  | "empty_segment"
  | "too_many_segments"
  | "control_character"
  | "wildcard_in_segment"
  | "adjacent_double_wildcards"

// biome-ignore lint/suspicious/noControlCharactersInRegex: refusing them is the point
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/

/**
 * Reads a route or pattern of one scheme.
 * @param bare accept `a/b/c` without its scheme, as KV does (PROTOCOL.md, R-7)
 */
export function parseRoute(text: string, scheme: Scheme, bare = false): Route | RouteFault {
  const mark = text.indexOf("://")
  let path: string
  if (mark < 0) {
    if (!bare) return "no_scheme"
    path = text
  } else {
    if (text.slice(0, mark) !== scheme) return "wrong_scheme"
    path = text.slice(mark + 3)
  }
  const canonical = mark < 0 ? `${scheme}://${text}` : text
  const bytes = utf8(canonical)
  if (bytes.length > ROUTE_BYTES_MAX) return "too_long"
  if (CONTROL.test(canonical)) return "control_character"
  const segments = path.split("/")
  if (segments.length > SEGMENTS_MAX) return "too_many_segments"
  let concrete = true
  let open = false
  let previous = ""
  for (const segment of segments) {
    if (segment === "") return "empty_segment"
    if (segment.includes("*")) {
      if (segment !== "*" && segment !== "**") return "wildcard_in_segment"
      concrete = false
      if (segment === "**") {
        if (previous === "**") return "adjacent_double_wildcards"
        open = true
      }
    }
    previous = segment
  }
  return { scheme, text: canonical, bytes, segments, concrete, open }
}

/** The pattern over every route of a scheme. */
export function wholeScheme(scheme: Scheme): Route {
  const text = `${scheme}://**`
  return { scheme, text, bytes: utf8(text), segments: ["**"], concrete: false, open: true }
}

/** Could the pattern match a route of exactly `depth` segments? (PROTOCOL.md, R-4) */
export function reachesDepth(route: Route, depth: number): boolean {
  if (!route.open) return route.segments.length === depth
  let fixed = 0
  for (const segment of route.segments) if (segment !== "**") fixed++
  return fixed <= depth
}

/**
 * The positions in `pattern` that can be reached after a `**` at `position` matched nothing, added to
 * `reached`. Position `pattern.length` means that the whole pattern has matched.
 */
function settle(pattern: readonly string[], position: number, reached: Set<number>): void {
  let at = position
  for (;;) {
    if (reached.has(at)) return
    reached.add(at)
    if (pattern[at] !== "**") return
    at++
  }
}

/** One segment further: `literal` is a segment's text, or null for a segment that equals no literal. */
function step(
  pattern: readonly string[],
  positions: ReadonlySet<number>,
  literal: string | null,
): Set<number> {
  const next = new Set<number>()
  for (const position of positions) {
    const part = pattern[position]
    if (part === "**") settle(pattern, position, next)
    else if (part === "*" || (part !== undefined && part === literal)) settle(pattern, position + 1, next)
  }
  return next
}

/** Does the pattern match this concrete route? */
export function matches(pattern: Route, route: Route): boolean {
  if (pattern.scheme !== route.scheme) return false
  if (pattern.concrete) return pattern.text === route.text
  const parts = pattern.segments
  const segments = route.segments
  if (!pattern.open) {
    if (parts.length !== segments.length) return false
    for (let i = 0; i < parts.length; i++) if (parts[i] !== "*" && parts[i] !== segments[i]) return false
    return true
  }
  let positions = new Set<number>()
  settle(parts, 0, positions)
  for (const segment of segments) {
    positions = step(parts, positions, segment)
    if (positions.size === 0) return false
  }
  return positions.has(parts.length)
}

/** More states than any sensible pair of patterns needs; beyond it the answer is the safe one. */
const COVER_STATES_MAX = 20_000

// Does `grant` match every concrete route that `pattern` could match? With `depth` only routes of that
// many segments count, so that three single wildcards cover a lone double one (PROTOCOL.md, R-6).
// Walks both patterns at once; a wildcard of `pattern` stands for a segment that no literal equals, the
// hardest case for the grant. Without a depth only "none yet" and "some" differ, so lengths are not told
// apart: a long pattern of many wildcards would otherwise take milliseconds.
export function covers(grant: Route, pattern: Route, depth: number | null): boolean {
  if (grant.scheme !== pattern.scheme) return false
  if (pattern.concrete) return matches(grant, pattern)
  const asked = pattern.segments
  const longest = depth ?? Number.POSITIVE_INFINITY
  const longer = (length: number): number => (depth === null ? 1 : length + 1)
  const first = new Set<number>()
  settle(grant.segments, 0, first)
  const pending: { position: number; granted: Set<number>; length: number }[] = []
  const seen = new Set<string>()
  const visit = (position: number, granted: Set<number>, length: number): void => {
    const key = `${position}|${length}|${[...granted].sort((a, b) => a - b).join()}`
    if (seen.has(key)) return
    seen.add(key)
    pending.push({ position, granted, length })
  }
  visit(0, first, 0)
  for (let state = pending.pop(); state !== undefined; state = pending.pop()) {
    if (seen.size > COVER_STATES_MAX) return false
    const { position, granted, length } = state
    const part = asked[position]
    if (part === undefined) {
      if ((depth === null || length === depth) && length > 0 && !granted.has(grant.segments.length))
        return false
      continue
    }
    if (part === "**") {
      visit(position + 1, granted, length)
      if (length < longest) visit(position, step(grant.segments, granted, null), longer(length))
    } else if (length < longest) {
      visit(position + 1, step(grant.segments, granted, part === "*" ? null : part), longer(length))
    }
  }
  return true
}

const TABLE_ENTRIES_MAX = 16_384
const TABLE_BYTES_MAX = 8 * 1024 * 1024
/** Routes made to collide are parsed anew rather than searched for; honest ones stand far closer. */
const PROBES_MAX = 128

interface Entry {
  readonly hash: number
  readonly raw: Uint8Array
  readonly scheme: Scheme
  readonly route: Route
}

/**
 * Remembers the routes seen lately, so that a route's text is decoded and checked once and not with every
 * message. A cache: bounded in entries and bytes, emptied when full, never the owner of anything.
 */
export class RouteTable {
  private slots: (Entry | undefined)[] = []
  private mask = 0
  private entries = 0
  private bytesHeld = 0
  private last: Entry | undefined

  constructor() {
    this.clear()
  }

  private clear(): void {
    this.slots = new Array(1024)
    this.mask = 1023
    this.entries = 0
    this.bytesHeld = 0
    this.last = undefined
  }

  /** The route in `bytes[start, end)`, or why there is none. */
  find(bytes: Uint8Array, start: number, end: number, scheme: Scheme, bare = false): Route | RouteFault {
    const length = end - start
    const last = this.last
    if (
      last !== undefined &&
      last.raw.length === length &&
      last.scheme === scheme &&
      sameBytes(bytes, start, last.raw, 0, length)
    ) {
      return last.route
    }
    let hash = length
    for (let at = start; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193)
    hash = (hash ^ (hash >>> 15)) >>> 0
    for (let probes = 0, slot = hash & this.mask; probes < PROBES_MAX; probes++) {
      const entry = this.slots[slot]
      if (entry === undefined) break
      slot = (slot + 1) & this.mask
      if (
        entry.hash === hash &&
        entry.raw.length === length &&
        entry.scheme === scheme &&
        sameBytes(bytes, start, entry.raw, 0, length)
      ) {
        this.last = entry
        return entry.route
      }
    }
    if (length > ROUTE_BYTES_MAX) return "too_long"
    const text = textOf(bytes, start, end)
    if (text === null) return "not_utf8"
    const route = parseRoute(text, scheme, bare)
    if (typeof route === "string") return route
    const entry = { hash, raw: copyOf({ bytes, start, end }), scheme, route }
    this.add(entry)
    this.last = entry
    return route
  }

  private add(entry: Entry): void {
    if (this.entries >= TABLE_ENTRIES_MAX || this.bytesHeld > TABLE_BYTES_MAX) this.clear()
    if (this.entries * 2 >= this.slots.length) {
      const old = this.slots
      this.slots = new Array(old.length * 2)
      this.mask = this.slots.length - 1
      this.entries = 0
      this.bytesHeld = 0
      for (const held of old) if (held !== undefined) this.place(held)
    }
    this.place(entry)
  }

  /** Holds the entry, unless too many stand where it belongs. */
  private place(entry: Entry): void {
    for (let probes = 0, slot = entry.hash & this.mask; probes < PROBES_MAX; probes++) {
      if (this.slots[slot] === undefined) {
        this.slots[slot] = entry
        this.entries++
        // Text, segments and the two byte forms of a route come to about six times its length.
        this.bytesHeld += entry.raw.length * 6 + 200
        return
      }
      slot = (slot + 1) & this.mask
    }
  }
}
