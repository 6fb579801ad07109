// Routes and patterns: the grammar as a table, matching and covering against a naive reading of the
// specification, and the table that remembers routes. Nothing here knows a message.

import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { utf8 } from "../../protocol/bytes.ts"
import { DEPTH } from "../../protocol/permission.ts"
import {
  covers,
  matches,
  parseRoute,
  type Route,
  type RouteFault,
  RouteTable,
  reachesDepth,
  SCHEMES,
  type Scheme,
  wholeScheme,
} from "../../protocol/route.ts"
import { allRoutes, isRoute, matchesNaively } from "./naive.ts"

function route(text: string, scheme: Scheme = "notice"): Route {
  const parsed = parseRoute(text, scheme)
  if (typeof parsed === "string") throw new Error(`${text}: ${parsed}`)
  return parsed
}

function long(bytes: number): string {
  return `notice://${"x".repeat(bytes - "notice://".length)}`
}

describe("grammar", () => {
  const ACCEPTED: readonly (readonly [rule: string, text: string, concrete: boolean, open: boolean])[] = [
    ["R-1", "notice://a", true, false],
    ["R-1", "notice://a/b/c", true, false],
    ["R-2", long(4_096), true, false],
    ["R-2", `notice://${"a/".repeat(63)}a`, true, false],
    ["R-2", `notice://${"**/a/".repeat(32).slice(0, -1)}`, false, true],
    ["R-5", "notice://*", false, false],
    ["R-5", "notice://**", false, true],
    ["R-5", "notice://*/*", false, false],
    ["R-5", "notice://**/*/**", false, true],
    ["R-5", "notice://a/**/b/**", false, true],
    ["R-9", "notice:// ", true, false],
    ["R-9", "notice://A/a", true, false],
    ["R-9", "notice://ä/日本/🚀", true, false],
    ["R-9", "notice://a:b/c?d/e#f", true, false],
    ["R-9", "notice://./..", true, false],
    ["R-9", "notice://%2F/\\", true, false],
    ["R-9", "notice://__realm__/__area__", true, false],
    ["R-9", "notice://\u00a0/\u2028/\ufeff", true, false],
  ]
  for (const [rule, text, concrete, open] of ACCEPTED) {
    test(`${rule}: accepts ${JSON.stringify(text.slice(0, 48))}`, () => {
      const parsed = route(text)
      expect(parsed).toMatchObject({ scheme: "notice", text, concrete, open })
      expect(parsed.segments).toEqual(text.slice("notice://".length).split("/"))
      expect(Buffer.from(parsed.bytes).toString("utf8")).toBe(text)
      expect(isRoute(text, "notice")).toBe(true)
    })
  }

  const REFUSED: readonly (readonly [rule: string, text: string, fault: RouteFault])[] = [
    ["R-1", "", "no_scheme"],
    ["R-1", "a/b/c", "no_scheme"],
    ["R-1", "notice:/a/b/c", "no_scheme"],
    ["R-1", "notice", "no_scheme"],
    ["R-1", "kv://a/b/c", "wrong_scheme"],
    ["R-1", "Notice://a/b/c", "wrong_scheme"],
    ["R-1", " notice://a", "wrong_scheme"],
    ["R-1", "://a/b/c", "wrong_scheme"],
    ["R-1", "notices://a", "wrong_scheme"],
    ["R-2", long(4_097), "too_long"],
    ["R-2", `notice://${"ä".repeat(2_044)}`, "too_long"],
    ["R-2", `notice://${"a/".repeat(64)}a`, "too_many_segments"],
    ["R-5", "notice://a*", "wildcard_in_segment"],
    ["R-5", "notice://*a", "wildcard_in_segment"],
    ["R-5", "notice://a*a", "wildcard_in_segment"],
    ["R-5", "notice://***", "wildcard_in_segment"],
    ["R-5", "notice://a/** /b", "wildcard_in_segment"],
    ["R-5", "notice://**/**", "adjacent_double_wildcards"],
    ["R-5", "notice://a/**/**/b", "adjacent_double_wildcards"],
    ["R-8", "notice://", "empty_segment"],
    ["R-8", "notice:///a", "empty_segment"],
    ["R-8", "notice://a/", "empty_segment"],
    ["R-8", "notice://a//b", "empty_segment"],
    ["R-8", "notice://a\u0000", "control_character"],
    ["R-8", "notice://a\n", "control_character"],
    ["R-8", "notice://\u001f", "control_character"],
    ["R-8", "notice://\u007f", "control_character"],
    ["R-8", "notice://a\u0080", "control_character"],
    ["R-8", "notice://a\u009f", "control_character"],
  ]
  for (const [rule, text, fault] of REFUSED) {
    test(`${rule}: refuses ${JSON.stringify(text.slice(0, 48))}, ${fault.replaceAll("_", " ")}`, () => {
      expect(parseRoute(text, "notice")).toBe(fault)
      expect(isRoute(text, "notice")).toBe(false)
    })
  }

  test("R-1: the schemes are the seven domains'", () => {
    expect([...SCHEMES].sort()).toEqual(["kv", "lease", "notice", "queue", "rpc", "schedule", "stream"])
  })

  test("R-7: without its scheme a route is one only where the domain says so", () => {
    expect(parseRoute("a/b/c", "kv", true)).toMatchObject({ text: "kv://a/b/c", segments: ["a", "b", "c"] })
    expect(parseRoute("kv://a/b/c", "kv", true)).toMatchObject({ text: "kv://a/b/c" })
    expect(parseRoute("queue://a/b/c", "kv", true)).toBe("wrong_scheme")
    expect(parseRoute("", "kv", true)).toBe("empty_segment")
    expect(parseRoute("/a/b", "kv", true)).toBe("empty_segment")
    expect(parseRoute("a/b/c", "kv")).toBe("no_scheme")
  })

  test("R-1, R-2, R-5, R-8: what is a route agrees with the specification's words", () => {
    const part = fc.constantFrom(
      "a",
      "*",
      "**",
      "",
      "a*",
      "/",
      "//",
      "\u0000",
      "\u0085",
      "ä",
      " ",
      "x",
      "://",
      "kv",
    )
    const texts = fc.tuple(
      fc.constantFrom("notice://", "notice://", "notice://", "notice:", "kv://", ""),
      fc.array(part, { maxLength: 70 }),
      fc.constantFrom("/", "/", "/", ""),
    )
    fc.assert(
      fc.property(texts, ([start, parts, between]) => {
        const text = start + parts.join(between)
        expect(typeof parseRoute(text, "notice") !== "string", text).toBe(isRoute(text, "notice"))
      }),
      { numRuns: 5_000 },
    )
  })

  test("R-1: any text at all is a route or has a reason not to be", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 20 }), text => {
        expect(typeof parseRoute(`notice://${text}`, "notice") !== "string").toBe(
          isRoute(`notice://${text}`, "notice"),
        )
      }),
      { numRuns: 1_000 },
    )
  })
})

describe("depth", () => {
  test("R-3: each domain's depth", () => {
    expect(DEPTH).toEqual({ kv: 3, queue: 3, lease: 3, stream: 3, schedule: 4, notice: null, rpc: null })
  })

  const REACHES: readonly (readonly [text: string, depths: readonly number[]])[] = [
    ["notice://a", [1]],
    ["notice://a/*/c", [3]],
    ["notice://**", [0, 1, 2, 3, 4, 5]],
    ["notice://a/**", [1, 2, 3, 4, 5]],
    ["notice://a/**/*", [2, 3, 4, 5]],
    ["notice://**/a/**/b", [2, 3, 4, 5]],
    ["notice://a/b/c/d/**", [4, 5]],
  ]
  for (const [text, depths] of REACHES) {
    test(`R-4: ${text} can match routes of ${depths.join(", ")} segments`, () => {
      const reached = [0, 1, 2, 3, 4, 5].filter(depth => reachesDepth(route(text), depth))
      expect(reached).toEqual(depths)
    })
  }

  test("R-4: reaching a depth means that some route of that depth matches", () => {
    fc.assert(
      fc.property(patterns(5), fc.integer({ min: 1, max: 5 }), (pattern, depth) => {
        const some = allRoutes(ALPHABET, depth).some(segments => matchesNaively(pattern.segments, segments))
        expect(reachesDepth(pattern, depth), `${pattern.text} at ${depth}`).toBe(some)
      }),
      { numRuns: 300 },
    )
  })
})

/** Small enough for every route to be tried, large enough for a segment that no pattern names. */
const ALPHABET = ["a", "b", "z"]

/** Patterns of these parts; two double wildcards in a row become one. */
function patterns(longest: number): fc.Arbitrary<Route> {
  return fc
    .array(fc.constantFrom("a", "b", "*", "**"), { minLength: 1, maxLength: longest })
    .map(parts =>
      route(`notice://${parts.filter((part, at) => part !== "**" || parts[at - 1] !== "**").join("/")}`),
    )
}

describe("matching", () => {
  const MATCHES: readonly (readonly [pattern: string, route: string, matched: boolean])[] = [
    ["notice://a/b/c", "notice://a/b/c", true],
    ["notice://a/b/c", "notice://a/b/C", false],
    ["notice://a/b", "notice://a/b/c", false],
    ["notice://a/*/c", "notice://a/b/c", true],
    ["notice://a/*/c", "notice://a/b/b/c", false],
    ["notice://*", "notice://a", true],
    ["notice://*", "notice://a/b", false],
    ["notice://a/**", "notice://a", true],
    ["notice://a/**", "notice://a/b/c/d", true],
    ["notice://a/**", "notice://ab", false],
    ["notice://**/c", "notice://c", true],
    ["notice://**/c", "notice://a/b/c", true],
    ["notice://**/c", "notice://a/c/b", false],
    ["notice://**/*", "notice://a", true],
    ["notice://a/**/b/**/c", "notice://a/b/c", true],
    ["notice://a/**/b/**/c", "notice://a/c/b/x/c", true],
    ["notice://a/**/b/**/c", "notice://a/c/c/x/c", false],
    ["notice://ä/*", "notice://ä/é", true],
  ]
  for (const [pattern, concrete, matched] of MATCHES) {
    test(`R-5: ${pattern} ${matched ? "matches" : "does not match"} ${concrete}`, () => {
      expect(matches(route(pattern), route(concrete))).toBe(matched)
    })
  }

  test("R-1: a pattern of another domain matches nothing", () => {
    expect(matches(wholeScheme("rpc"), route("notice://a"))).toBe(false)
    expect(matches(route("rpc://a", "rpc"), route("notice://a"))).toBe(false)
    expect(covers(wholeScheme("rpc"), route("notice://a/**"), null)).toBe(false)
  })

  test("R-5: matching agrees with the specification's words on every short route", () => {
    const routes = [1, 2, 3, 4, 5].flatMap(depth => allRoutes(ALPHABET, depth))
    fc.assert(
      fc.property(patterns(6), pattern => {
        for (const segments of routes) {
          const text = `notice://${segments.join("/")}`
          expect(matches(pattern, route(text)), `${pattern.text} on ${text}`).toBe(
            matchesNaively(pattern.segments, segments),
          )
        }
      }),
      { numRuns: 200 },
    )
  })

  test("R-5: a pattern of 64 segments full of wildcards is matched as quickly as any", () => {
    // By the words alone this takes longer than anybody lives: a step per way to share out the segments.
    const pattern = route(`notice://${"**/a/".repeat(32).slice(0, -1)}`)
    expect(matches(pattern, route(`notice://${"a/".repeat(63)}a`))).toBe(true)
    expect(matches(pattern, route(`notice://${"a/".repeat(63)}b`))).toBe(false)
  })
})

describe("covering", () => {
  const COVERS: readonly (readonly [
    rule: string,
    grant: string,
    asked: string,
    depth: number | null,
    covered: boolean,
  ])[] = [
    ["P-5", "notice://**", "notice://**", null, true],
    ["P-5", "notice://**", "notice://a/*/c", null, true],
    ["P-5", "notice://a/**", "notice://a/*", null, true],
    ["P-5", "notice://a/**", "notice://**", null, false],
    ["P-5", "notice://a/*", "notice://a/**", null, false],
    ["P-5", "notice://a/*/c", "notice://a/**/c", null, false],
    ["P-5", "notice://*/b", "notice://a/*", null, false],
    ["P-5", "notice://**/c", "notice://a/**/c", null, true],
    ["P-5", "notice://**/*", "notice://**", null, true],
    ["P-5", "notice://*/**", "notice://**", null, true],
    ["P-5", "notice://*/*/**", "notice://**", null, false],
    ["P-5", "notice://*/**", "notice://**/*", null, true],
    ["P-5", "notice://**/a/**", "notice://**/a/*/**", null, true],
    ["P-5", "notice://*/*/*", "notice://**", null, false],
    ["R-6", "notice://*/*/*", "notice://**", 3, true],
    ["R-6", "notice://a/**", "notice://a/*/*", 3, true],
    ["R-6", "notice://a/*/*", "notice://a/**", 3, true],
    ["R-6", "notice://*/*", "notice://**", 3, false],
    ["R-6", "notice://**/b/**", "notice://*/b/*", 3, true],
    ["R-6", "notice://*/*/c", "notice://**/c", 3, true],
    ["R-6", "notice://*/b/c", "notice://**/c", 3, false],
    ["R-6", "notice://*/*/*/*", "notice://**", 4, true],
    ["P-5", "notice://a/b/c", "notice://a/b/c", 3, true],
    ["P-5", "notice://a/*/c", "notice://a/b/c", 3, true],
    ["P-5", "notice://a/b/c", "notice://a/*/c", 3, false],
  ]
  for (const [rule, grant, asked, depth, covered] of COVERS) {
    const where = depth === null ? "" : ` at ${depth} segments`
    test(`${rule}: ${grant} ${covered ? "covers" : "does not cover"} ${asked}${where}`, () => {
      expect(covers(route(grant), route(asked), depth)).toBe(covered)
    })
  }

  /** Is there a route that the asked pattern matches and the grant does not? */
  function counterexample(grant: Route, asked: Route, routes: readonly string[][]): string[] | undefined {
    return routes.find(
      segments => matchesNaively(asked.segments, segments) && !matchesNaively(grant.segments, segments),
    )
  }

  test("P-5: covering means that no route is matched by the pattern and not by the grant, of any depth", () => {
    const routes = [1, 2, 3, 4, 5, 6, 7].flatMap(depth => allRoutes(ALPHABET, depth))
    fc.assert(
      fc.property(patterns(4), patterns(4), (grant, asked) => {
        const missed = counterexample(grant, asked, routes)
        expect(covers(grant, asked, null), `${grant.text} over ${asked.text}: ${missed}`).toBe(
          missed === undefined,
        )
      }),
      { numRuns: 400 },
    )
  })

  test("R-6: and with a depth, over the routes of that depth alone", () => {
    const byDepth = new Map([3, 4].map(depth => [depth, allRoutes(ALPHABET, depth)] as const))
    fc.assert(
      fc.property(patterns(5), patterns(5), fc.constantFrom(3, 4), (grant, asked, depth) => {
        // What cannot match the depth is no request.
        fc.pre(reachesDepth(asked, depth))
        const missed = counterexample(grant, asked, byDepth.get(depth)!)
        expect(covers(grant, asked, depth), `${grant.text} over ${asked.text} at ${depth}: ${missed}`).toBe(
          missed === undefined,
        )
      }),
      { numRuns: 3_000 },
    )
  })

  test("P-5: every pattern covers itself, and whatever covers it covers what it covers", () => {
    fc.assert(
      fc.property(patterns(5), patterns(5), patterns(5), (a, b, c) => {
        expect(covers(a, a, null)).toBe(true)
        if (covers(a, b, null) && covers(b, c, null)) expect(covers(a, c, null)).toBe(true)
      }),
      { numRuns: 500 },
    )
  })

  test("P-5: patterns of 64 segments full of wildcards get an answer", () => {
    const many = route(`notice://${"**/a/".repeat(32).slice(0, -1)}`)
    const stars = route(`notice://${"**/*/".repeat(32).slice(0, -1)}`)
    expect(covers(many, many, null)).toBe(true)
    expect(covers(stars, many, null)).toBe(true)
    expect(covers(many, stars, null)).toBe(false)
    expect(covers(route("notice://**"), stars, null)).toBe(true)
    expect(covers(stars, route("notice://**"), null)).toBe(false)
  })
})

describe("the table of routes", () => {
  const find = (table: RouteTable, text: string, scheme: Scheme = "notice"): Route | RouteFault => {
    const around = Buffer.concat([Buffer.from("??"), utf8(text), Buffer.from("??")])
    return table.find(around, 2, around.length - 2, scheme)
  }

  test("R-1: it answers as the parser does, the second time as well, and copies what it keeps", () => {
    const table = new RouteTable()
    // A Buffer, as sockets give them: its own `slice` would be a view, and keep the socket's memory alive.
    const bytes = Buffer.from("notice://a/b")
    const first = table.find(bytes, 0, bytes.length, "notice") as Route
    bytes.fill(0x78)
    expect(first.text).toBe("notice://a/b")
    expect(find(table, "notice://a/c")).toMatchObject({ text: "notice://a/c" })
    expect(find(table, "notice://a/b")).toBe(first)
    expect(find(table, "notice://a//b")).toBe("empty_segment")
    expect(find(table, "notice://a//b")).toBe("empty_segment")
    expect(find(table, "notice://a/b", "rpc")).toBe("wrong_scheme")
  })

  test("R-8: bytes that are not UTF-8 are no route, short or long", () => {
    const table = new RouteTable()
    for (const length of [1, 60, 61, 64, 65, 4_000]) {
      const bytes = Buffer.concat([utf8("notice://"), Buffer.alloc(length, 0x61), Buffer.of(0xc3)])
      expect(table.find(bytes, 0, bytes.length, "notice")).toBe("not_utf8")
    }
    expect(find(table, long(4_097))).toBe("too_long")
  })

  test("R-9: many routes, more than it remembers: each is itself", () => {
    const table = new RouteTable()
    for (let round = 0; round < 2; round++) {
      for (let at = 0; at < 20_000; at++) {
        const found = find(table, `notice://tenant/${at}`) as Route
        if (found.text !== `notice://tenant/${at}`) expect(found.text).toBe(`notice://tenant/${at}`)
      }
    }
    // What honest programs use is remembered: the very same object comes back.
    const few = Array.from({ length: 4_000 }, (_, at) => `notice://orders/${at}/shipped`)
    const remembering = new RouteTable()
    const before = few.map(text => find(remembering, text))
    const after = few.map(text => find(remembering, text))
    expect(after.filter((route, at) => route === before[at]).length).toBe(few.length)
  })

  test("R-9: routes made to share a hash are told apart", () => {
    // The table's hash, so that this finds what an attacker would: at each step two blocks that lead to the
    // same state, so that 2^8 routes of one length have one hash.
    const mix = (state: number, text: string): number => {
      let hash = state
      for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
      return hash
    }
    const start = "notice://"
    const steps = 8
    let state = mix(start.length + steps * 7, start)
    let texts = [start]
    for (let at = 0; at < steps; at++) {
      const seen = new Map<number, string>()
      for (let k = 0; ; k++) {
        const piece = (Math.imul(k, 0x9e3779b1) >>> 0).toString(36).padStart(7, "q")
        const next = mix(state, piece)
        const other = seen.get(next)
        if (other !== undefined) {
          texts = texts.flatMap(text => [text + piece, text + other])
          state = next
          break
        }
        seen.set(next, piece)
      }
    }
    expect(new Set(texts).size).toBe(2 ** steps)
    const table = new RouteTable()
    for (let round = 0; round < 3; round++)
      for (const text of texts) expect((find(table, text) as Route).text).toBe(text)
    expect(find(table, "notice://a/b")).toMatchObject({ text: "notice://a/b" })
  })
})
