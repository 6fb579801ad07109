// Permissions: the table of data-plane.md §4.3, which access each message needs (§4.5), and that grants are
// judged one at a time. Where they come from in a token is broker/identity.ts's business, not this file's.

import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { Reader, viewOf } from "../../protocol/bytes.ts"
import { CLIENT_MESSAGES } from "../../protocol/messages/index.ts"
import { type Access, type Grant, Grants, parsePermission } from "../../protocol/permission.ts"
import { parseRoute, type Route, RouteTable, SCHEMES, type Scheme } from "../../protocol/route.ts"
import { readInner } from "../kit/bytes.ts"
import { wire } from "../kit/vectors.ts"
import { COLUMNS } from "../vectors/columns.ts"
import { allRoutes, matchesNaively } from "./naive.ts"

function route(text: string): Route {
  const parsed = parseRoute(text, text.slice(0, text.indexOf("://")) as Scheme)
  if (typeof parsed === "string") throw new Error(`${text}: ${parsed}`)
  return parsed
}

function grants(...entries: string[]): Grants {
  return new Grants(
    entries.map(entry => {
      const grant = parsePermission(entry, false)
      if (grant === null || typeof grant === "string") throw new Error(`${entry}: ${grant}`)
      return grant
    }),
  )
}

const ACCESSES: readonly Access[] = ["read", "write", "all"]

function given(grant: Grant): Access[] {
  const held = new Grants([grant])
  return ACCESSES.filter(access => held.allow(grant.pattern, access))
}

describe("entries", () => {
  const UNDERSTOOD: readonly (readonly [entry: string, pattern: string, gives: readonly Access[]])[] = [
    ["kv://**#*", "kv://**", ["read", "write", "all"]],
    ["kv://**", "kv://**", ["read", "write", "all"]],
    ["kv://a/b/c#read", "kv://a/b/c", ["read"]],
    ["kv://a/b/c#write", "kv://a/b/c", ["write"]],
    ["notice://a#b/c#read", "notice://a#b/c", ["read"]],
    ["notice://a#read/c#write", "notice://a#read/c", ["write"]],
    ["schedule://a/*/**#read", "schedule://a/*/**", ["read"]],
    ["stream://ä/日/🚀#*", "stream://ä/日/🚀", ["read", "write", "all"]],
    ["lease://**#read", "lease://**", ["read"]],
    ["queue://a/b/c/d/e#write", "queue://a/b/c/d/e", ["write"]],
    [`rpc://${"x".repeat(4_090)}#read`, `rpc://${"x".repeat(4_090)}`, ["read"]],
    [`rpc://${"a/".repeat(63)}a#read`, `rpc://${"a/".repeat(63)}a`, ["read"]],
  ]
  for (const [entry, pattern, gives] of UNDERSTOOD) {
    test(`P-1: ${entry.slice(0, 40)} gives ${gives.join(", ")}`, () => {
      const grant = parsePermission(entry, false) as Grant
      expect(grant.pattern.text).toBe(pattern)
      expect(given(grant)).toEqual(gives)
    })
  }

  const MALFORMED = [
    "kv://a/b/c#",
    "kv://a/b/c#Read",
    "kv://a/b/c#rw",
    "kv://a/b/c#admin",
    "kv://a/b/c# read",
    "kv://#read",
    "kv:///a#read",
    "kv://a//c#read",
    "kv://a/b/#read",
    "kv://a*/b#read",
    "kv://***#read",
    "kv://a/**/**#read",
    "kv://a/\u0000#read",
    "kv://a/\u007f#read",
    "http://a/b#read",
    "KV://a/b/c#read",
    "://a#read",
    " kv://a/b/c#read",
    "*://a/b/c#read",
    `rpc://${"x".repeat(4_091)}#read`,
    `rpc://${"a/".repeat(64)}a#read`,
    "notice://a#b/c",
  ]
  for (const entry of MALFORMED) {
    test(`P-4: ${JSON.stringify(entry.slice(0, 40))} is malformed, and says why`, () => {
      for (const coarse of [false, true]) {
        const problem = parsePermission(entry, coarse)
        expect(typeof problem).toBe("string")
        expect(problem).not.toBe("")
      }
    })
  }

  for (const entry of [
    "admin:read",
    "admin:write",
    "metrics:read",
    "data:read",
    "openid",
    "",
    "#read",
    "kv",
    "a.b.c",
  ]) {
    test(`P-4: ${JSON.stringify(entry)} belongs to somebody else`, () => {
      expect(parsePermission(entry, false)).toBeNull()
      expect(parsePermission(entry, true)).toBeNull()
    })
  }

  for (const domain of ["notice", "rpc", "stream", "queue", "lease"]) {
    for (const access of ["read", "write"] as const) {
      test(`P-3: ${domain}.${access} counts in scp and scope, and nowhere else`, () => {
        const grant = parsePermission(`${domain}.${access}`, true) as Grant
        expect(grant.pattern.text).toBe(`${domain}://**`)
        expect(given(grant)).toEqual([access])
        expect(parsePermission(`${domain}.${access}`, false)).toBeNull()
      })
    }
  }

  for (const entry of [
    "kv.read",
    "schedule.write",
    "notice.*",
    "notice.admin",
    "notice.read.x",
    "Notice.read",
    "notice.",
  ]) {
    test(`P-3: ${entry} is no coarse scope`, () => {
      expect(parsePermission(entry, true)).toBeNull()
    })
  }
})

describe("what is allowed", () => {
  test("P-8: read and write do not imply each other, and a star is both", () => {
    const target = route("kv://a/b/c")
    expect(ACCESSES.map(access => grants("kv://**#read").allow(target, access))).toEqual([true, false, false])
    expect(ACCESSES.map(access => grants("kv://**#write").allow(target, access))).toEqual([
      false,
      true,
      false,
    ])
    expect(ACCESSES.map(access => grants("kv://**#*").allow(target, access))).toEqual([true, true, true])
  })

  test("P-8: read of one grant and write of another are not both in one", () => {
    const two = grants("rpc://**#read", "rpc://**#write")
    expect(two.allow(route("rpc://a/b"), "read")).toBe(true)
    expect(two.allow(route("rpc://a/b"), "write")).toBe(true)
    expect(two.allow(route("rpc://a/b"), "all")).toBe(false)
    expect(two.allow(route("rpc://a/**"), "all")).toBe(false)
  })

  test("P-9: a concrete route is allowed where one grant matches it", () => {
    const some = grants("kv://a/*/c#read", "queue://**#write")
    expect(some.allow(route("kv://a/b/c"), "read")).toBe(true)
    expect(some.allow(route("kv://a/b/d"), "read")).toBe(false)
    expect(some.allow(route("kv://a/b/c"), "write")).toBe(false)
    expect(some.allow(route("queue://a/b/c"), "write")).toBe(true)
    expect(some.allow(route("lease://a/b/c"), "write")).toBe(false)
  })

  test("P-5: a pattern needs one grant that covers all of it; grants are never added up", () => {
    const two = grants("notice://a/**#read", "notice://b/**#read")
    expect(two.allow(route("notice://a/*"), "read")).toBe(true)
    expect(two.allow(route("notice://*/x"), "read")).toBe(false)
    expect(two.allow(route("notice://**"), "read")).toBe(false)
    const halves = grants("notice://*#read", "notice://*/*/**#read")
    expect(halves.allow(route("notice://**"), "read")).toBe(false)
    expect(halves.allow(route("notice://a/**"), "read")).toBe(false)
  })

  test("P-5: overlap is not enough", () => {
    expect(grants("notice://a/*/c#read").allow(route("notice://a/b/*"), "read")).toBe(false)
    expect(grants("notice://*/b/c#read").allow(route("notice://*/*/c"), "read")).toBe(false)
  })

  for (const scheme of ["kv", "queue", "lease", "stream"]) {
    test(`R-6: ${scheme}://*/*/* is all of ${scheme}`, () => {
      const all = grants(`${scheme}://*/*/*#*`)
      expect(all.allow(route(`${scheme}://**`), "all")).toBe(true)
      expect(all.allow(route(`${scheme}://a/**`), "read")).toBe(true)
      expect(grants(`${scheme}://*/*#*`).allow(route(`${scheme}://**`), "read")).toBe(false)
    })
  }

  test("R-6: schedule://*/*/*/* is all of schedule, and of rpc and notice four stars are not", () => {
    expect(grants("schedule://*/*/*/*#*").allow(route("schedule://**"), "all")).toBe(true)
    expect(grants("schedule://*/*/*#*").allow(route("schedule://**"), "read")).toBe(false)
    expect(grants("rpc://*/*/*/*#*").allow(route("rpc://**"), "read")).toBe(false)
    expect(grants("notice://*/*/*/*#*").allow(route("notice://**"), "read")).toBe(false)
  })

  test("C-6: without authentication everything is allowed; without grants nothing is", () => {
    for (const access of ACCESSES) {
      expect(new Grants(null).allow(route("kv://a/b/c"), access)).toBe(true)
      expect(new Grants([]).allow(route("kv://a/b/c"), access)).toBe(false)
    }
  })

  test("P-9: an answer that was given stays the same, however many were given since", () => {
    const some = grants("notice://even/**#read")
    for (let round = 0; round < 3; round++) {
      for (let at = 0; at < 1_500; at++) {
        const kind = at % 2 === 0 ? "even" : "odd"
        expect(some.allow(route(`notice://${kind}/${at}`), "read")).toBe(at % 2 === 0)
      }
    }
  })

  test("P-5, P-9: agrees with the specification's words for grants and requests of three segments", () => {
    const routes = allRoutes(["a", "b", "z"], 3)
    const pattern = fc
      .array(fc.constantFrom("a", "b", "*", "**"), { minLength: 1, maxLength: 4 })
      .map(parts => parts.filter((part, at) => part !== "**" || parts[at - 1] !== "**"))
    const entry = fc.tuple(pattern, fc.constantFrom("read", "write", "*"))
    fc.assert(
      fc.property(
        fc.array(entry, { maxLength: 3 }),
        pattern,
        fc.constantFrom(...ACCESSES),
        (entries, asked, access) => {
          const target = route(`kv://${asked.join("/")}`)
          // A concrete request is a route already; one of another depth is none and is refused before this.
          fc.pre(!target.concrete || asked.length === 3)
          const held = grants(...entries.map(([parts, access]) => `kv://${parts.join("/")}#${access}`))
          const matched = routes.filter(segments => matchesNaively(asked, segments))
          const expected = entries.some(
            ([parts, given]) =>
              (given === "*" || given === access) &&
              matched.every(segments => matchesNaively(parts, segments)),
          )
          expect(held.allow(target, access)).toBe(expected)
        },
      ),
      { numRuns: 2_000 },
    )
  })
})

describe("what each message needs", () => {
  /** Table 4.5; BEGIN by its mode. */
  const NEEDS: Readonly<Record<Access, readonly number[]>> = {
    read: [109, 110, 207, 208, 403, 407, 408, 501, 604, 605, 606, 607, 608, 702, 703, 704],
    write: [200, 202, 203, 204, 302, 400, 401, 402, 500, 600, 700, 701],
    all: [300, 301],
  }
  const NOTHING = [101, 102, 103, 104, 105, 106, 107, 108, 303, 502, 503, 601, 602, 603]

  function parse(type: number, payload: Uint8Array): unknown {
    return CLIENT_MESSAGES.get(type)!.row.read(
      new Reader().reset(payload, viewOf(payload), 0, payload.length),
      new RouteTable(),
    )
  }

  for (const column of COLUMNS) {
    for (const { name, frame } of column.requests) {
      const { type, payload } = readInner(wire(frame))
      test(`P-7: ${column.scheme} ${name}`, () => {
        const { needs } = CLIENT_MESSAGES.get(type)!.row
        if (NOTHING.includes(type)) {
          expect(needs).toBeUndefined()
          return
        }
        const request = parse(type, payload)
        const access = needs!.access(request as never)
        const target: Route = needs!.target(request as never)
        if (type === 100) expect(access).toBe((request as { writes: boolean }).writes ? "write" : "read")
        else expect(NEEDS[access], `${access} for ${type}`).toContain(type)
        const text = type === 702 ? "schedule://**" : target.text
        expect(target.text).toBe(text)
        expect(target.scheme).toBe(column.scheme)
        // The route that the request carries is the one that is judged, as it is spelled.
        if (type !== 702)
          expect(payload.toString("utf8")).toContain(target.text.slice(target.text.indexOf("://") + 3))
      })
    }
  }

  test("P-7: every message stands in the table once", () => {
    const all = [100, ...NOTHING, ...NEEDS.read, ...NEEDS.write, ...NEEDS.all].sort((a, b) => a - b)
    expect(all).toEqual([...CLIENT_MESSAGES.keys()].sort((a, b) => a - b))
    expect(SCHEMES.length).toBe(COLUMNS.length)
  })
})
