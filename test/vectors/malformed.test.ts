// Every malformed vector gives exactly the refusal that the specification names, in the envelope of its type,
// and nothing else: not a request, not an exception. Routes that are none are tried on every message.

import { describe, expect, test } from "vitest"
import { Reader, viewOf, Writer } from "../../protocol/bytes.ts"
import { Fault } from "../../protocol/fault.ts"
import { writeFailure } from "../../protocol/message.ts"
import { CLIENT_MESSAGES, DOMAIN_FAULTS } from "../../protocol/messages/index.ts"
import { DEPTH } from "../../protocol/permission.ts"
import { RouteTable, type Scheme } from "../../protocol/route.ts"
import { block, bytes, Cursor, readInner, Splitter } from "../kit/bytes.ts"
import { type Column, wire } from "../kit/vectors.ts"
import { COLUMNS } from "./columns.ts"
import { envelopes } from "./connect.ts"

function parse(type: number, payload: Uint8Array): unknown {
  const reader = new Reader().reset(payload, viewOf(payload), 0, payload.length)
  return CLIENT_MESSAGES.get(type)!.row.read(reader, new RouteTable())
}

/** Refuses the request as a lane does, and returns the frames that go out for it. */
function refuse(type: number, payload: Uint8Array, fault: Fault): { type: number; payload: Buffer }[] {
  const writer = new Writer()
  const span = { bytes: payload, start: 0, end: payload.length }
  writeFailure(writer, CLIENT_MESSAGES.get(type)!.row, span, fault)
  const splitter = new Splitter()
  const frames = splitter.push(writer.written)
  expect(splitter.pendingBytes).toBe(0)
  return frames
}

/** What the specification's tables 6.1 and 6.2 want on the wire for a refusal with this code. */
function expectRefusal(type: number, payload: Uint8Array, code: number, outcome: unknown): void {
  expect(outcome).toBeInstanceOf(Fault)
  const fault = outcome as Fault
  expect(fault.code).toBe(code)
  const frames = refuse(type, payload, fault)
  if (type === 500 || type === 303) {
    expect(frames).toEqual([])
    return
  }
  expect(frames).toHaveLength(1)
  const [frame] = frames
  expect(frame!.type).toBe(type === 302 ? 303 : type)
  const cursor = new Cursor(frame!.payload)
  if (type === 302) {
    const correlation = Buffer.concat([payload.subarray(0, 16), Buffer.alloc(16)]).subarray(0, 16)
    expect(cursor.raw(16)).toEqual(correlation)
    expect(cursor.u64()).toBe(0n)
    expect(cursor.u8()).toBe(1)
    expect(cursor.u32()).toBe(cursor.left)
  }
  expect(cursor.u8()).toBe(1)
  if (!envelopes.plain.includes(type)) expect(cursor.u32()).toBe(code)
  expect(Buffer.byteLength(cursor.text())).toBeGreaterThanOrEqual(4)
  cursor.end()
}

for (const column of COLUMNS) {
  describe(column.scheme, () => {
    for (const vector of column.malformed) {
      test(`${vector.rule ?? "F-10"}: ${vector.name}`, () => {
        const { type, payload } = readInner(wire(vector.frame))
        expectRefusal(type, payload, vector.code, parse(type, payload))
      })
    }
  })
}

// ── routes that are none, on every message that carries one ────────────────────────────────────────────────

interface BadRoute {
  readonly rule: string
  readonly name: string
  /** The bytes for a domain; null where they would be a route of that domain. */
  readonly bytes: (scheme: Scheme, concrete: boolean) => Uint8Array | null
}

function path(rule: string, name: string, text: string): BadRoute {
  return { rule, name, bytes: scheme => bytes(Buffer.from(`${scheme}://`), Buffer.from(text, "utf8")) }
}

function raw(rule: string, name: string, notation: string): BadRoute {
  return { rule, name, bytes: scheme => bytes(Buffer.from(`${scheme}://`), wire(notation)) }
}

const BAD_ROUTES: readonly BadRoute[] = [
  { rule: "R-1", name: "nothing at all", bytes: () => Buffer.alloc(0) },
  {
    rule: "R-1",
    name: "no scheme",
    bytes: scheme => (scheme === "kv" ? null : Buffer.from("a/b/c")),
  },
  {
    rule: "R-1",
    name: "another domain's scheme",
    bytes: scheme => Buffer.from(`${scheme === "queue" ? "kv" : "queue"}://a/b/c`),
  },
  { rule: "R-1", name: "a scheme that is none", bytes: () => Buffer.from("http://a/b/c") },
  {
    rule: "R-1",
    name: "a scheme in capitals",
    bytes: scheme => Buffer.from(`${scheme.toUpperCase()}://a/b/c`),
  },
  { rule: "R-1", name: "an empty scheme", bytes: () => Buffer.from("://a/b/c") },
  path("R-8", "no segments", ""),
  path("R-8", "an empty first segment", "/b/c"),
  path("R-8", "an empty segment in the middle", "a//c"),
  path("R-8", "an empty last segment", "a/b/c/"),
  path("R-8", "nothing but slashes", "//"),
  path("R-8", "a zero byte", "a/b/c\u0000"),
  path("R-8", "a line feed", "a/\n/c"),
  path("R-8", "U+001F", "a/\u001f/c"),
  path("R-8", "a delete character", "a/b/\u007f"),
  path("R-8", "U+0080", "a/b/\u0080"),
  path("R-8", "U+009F", "\u009f/b/c"),
  raw("R-8", "a byte that UTF-8 does not have", '"a/b/" ff'),
  raw("R-8", "an overlong slash", '"a/b" c0af "c"'),
  raw("R-8", "a surrogate", '"a/b/" eda080'),
  raw("R-8", "a character cut in two", '"a/b/" e697'),
  raw("R-8", "a character above U+10FFFF", '"a/b/" f4908080'),
  path("R-5", "a wildcard at the end of a segment", "a/b/c*"),
  path("R-5", "a wildcard at the beginning of a segment", "*a/b/c"),
  path("R-5", "a wildcard within a segment", "a/b*b/c"),
  path("R-5", "three stars", "a/***"),
  path("R-5", "two double wildcards in a row", "a/**/**"),
  path("R-5", "two double wildcards in a row, at the front", "**/**/c"),
  path("R-2", "65 segments", `${"a/".repeat(64)}a`),
  {
    rule: "R-2",
    name: "4,097 bytes",
    bytes: scheme => Buffer.from(`${scheme}://a/b/${"x".repeat(4_097 - `${scheme}://a/b/`.length)}`),
  },
  {
    rule: "R-3",
    name: "a segment too few",
    bytes: scheme =>
      DEPTH[scheme] === null ? null : Buffer.from(`${scheme}://${segments(DEPTH[scheme] - 1)}`),
  },
  {
    rule: "R-3",
    name: "a segment too many",
    bytes: scheme =>
      DEPTH[scheme] === null ? null : Buffer.from(`${scheme}://${segments(DEPTH[scheme] + 1)}`),
  },
  {
    rule: "R-10",
    name: "a single wildcard where a concrete route has to stand",
    bytes: (scheme, concrete) =>
      concrete ? Buffer.from(`${scheme}://${segments((DEPTH[scheme] ?? 3) - 1)}/*`) : null,
  },
  {
    rule: "R-10",
    name: "a double wildcard where a concrete route has to stand",
    bytes: (scheme, concrete) => (concrete ? Buffer.from(`${scheme}://**`) : null),
  },
]

function segments(count: number): string {
  return ["a", "b", "c", "d", "e"].slice(0, count).join("/")
}

/** R-10: where a pattern may stand. */
const TAKES_PATTERNS = new Set([109, 110, 202, 207, 208, 300, 301, 407, 408, 501, 604, 607, 608, 703, 704])

/** The first request vector of each type that carries a route, cut around that route. */
function templates(column: Column): { type: number; before: Buffer; after: Buffer }[] {
  const found = new Map<number, { type: number; before: Buffer; after: Buffer }>()
  for (const { frame } of column.requests) {
    const { type, payload } = readInner(wire(frame))
    const at = payload.indexOf(`${column.scheme}://`) - 4
    if (at < 0 || found.has(type)) continue
    const end = at + 4 + payload.readUInt32BE(at)
    found.set(type, { type, before: payload.subarray(0, at), after: payload.subarray(end) })
  }
  return [...found.values()]
}

for (const column of COLUMNS) {
  describe(`routes that are none: ${column.scheme}`, () => {
    const all = templates(column)

    test("R-1: every message that carries a route is tried", () => {
      const carriers = Object.entries(column.badRoute).filter(([, code]) => code !== null)
      expect(all.map(({ type }) => type).sort((a, b) => a - b)).toEqual(
        carriers.map(([type]) => Number(type)),
      )
    })

    for (const bad of BAD_ROUTES) {
      const tried = all.flatMap(({ type, before, after }) => {
        const route = bad.bytes(column.scheme, !TAKES_PATTERNS.has(type))
        return route === null ? [] : [{ type, payload: bytes(before, block(route), after) }]
      })
      if (tried.length === 0) continue
      test(`${bad.rule}, F-10: ${bad.name}`, () => {
        for (const { type, payload } of tried)
          expectRefusal(type, payload, column.badRoute[type]!, parse(type, payload))
      })
    }
  })
}

describe("refusals", () => {
  test("KV-19, E-1: every refusal has a text of at least 4 bytes", () => {
    for (const [, { row, domain }] of CLIENT_MESSAGES) {
      for (const fault of Object.values(DOMAIN_FAULTS[domain])) {
        expect(Buffer.byteLength(fault.text), `${row.name}: ${fault.text}`).toBeGreaterThanOrEqual(4)
      }
    }
  })
})
