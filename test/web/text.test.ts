// How the page words what it shows: numbers that fit their place, ages, bytes, cron runs, counts. Pure functions
// against values reasoned by hand.

import fc from "fast-check"
import { describe, expect, test } from "vitest"
import { CronTimes } from "../../broker/domains/cron.ts"
import { countsOf, showCount } from "../../web/text/counts.ts"
import { nextRuns } from "../../web/text/cron.ts"
import { age, bytes, compact, counted, latency, relative, signed, utc } from "../../web/text/format.ts"
import { DOMAINS, LIFETIME_WORDS, WORDS } from "../../web/text/words.ts"

describe("numbers", () => {
  test.for([
    [0, "0"],
    [7, "7"],
    [0.24, "0.24"],
    [4.25, "4.3"],
    [99.96, "100"],
    [1_234, "1,234"],
    [9_949, "9,949"],
    [9_960, "10.0k"],
    [12_345, "12.3k"],
    [999_600, "1.0M"],
    [1_234_567, "1.2M"],
    [2.5e9, "2.5G"],
    [-12_345, "-12.3k"],
  ] as const)("%d reads %s", ([value, text]) => {
    expect(compact(value)).toBe(text)
  })

  test("no number takes more than seven characters, whatever it is", () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e15, noNaN: true }), value => {
        expect(compact(value).length).toBeLessThanOrEqual(7)
      }),
    )
  })

  test("differences carry a sign", () => {
    expect([signed(12), signed(-3.5), signed(0)]).toEqual(["+12", "\u22123.5", "0"])
  })

  test.for([
    [0, "0 B"],
    [1_023, "1,023 B"],
    [1_024, "1.0 KiB"],
    [1_536, "1.5 KiB"],
    [200 * 1_024 * 1_024, "200 MiB"],
    [3 * 1_024 ** 4, "3.0 TiB"],
  ] as const)("%d bytes read %s", ([value, text]) => {
    expect(bytes(value)).toBe(text)
  })

  test.for([
    [0, "0 ms"],
    [0.000_001, "<0.01 ms"],
    [0.000_42, "0.42 ms"],
    [0.004_2, "4.2 ms"],
    [0.055, "55 ms"],
    [0.999_9, "1.0 s"],
    [12.34, "12.3 s"],
    [120, "120 s"],
  ] as const)("%d seconds of latency read %s", ([value, text]) => {
    expect(latency(value)).toBe(text)
  })

  test.for([
    [-5, "0 s"],
    [0.9, "0 s"],
    [59, "59 s"],
    [60, "1 min"],
    [61, "1 min 1 s"],
    [3_600, "1 h"],
    [7_290, "2 h 1 min"],
    [90_000, "1 d 1 h"],
  ] as const)("an age of %d seconds reads %s", ([value, text]) => {
    expect(age(value)).toBe(text)
  })

  test("counts of one are singular", () => {
    expect([counted(1, "match", "matches"), counted(2, "match", "matches"), counted(1_000, "key")]).toEqual([
      "1 match",
      "2 matches",
      "1,000 keys",
    ])
  })
})

describe("moments", () => {
  test("UTC is spelled as logs spell it", () => {
    expect(utc(Date.UTC(2026, 0, 31, 10, 30, 5, 999))).toBe("2026-01-31 10:30:05 UTC")
  })
  test("near ones are relative, both ways", () => {
    expect([relative(65_000, 0), relative(0, 65_000), relative(500, 0)]).toEqual([
      "in 1 min 5 s",
      "1 min 5 s ago",
      "now",
    ])
  })
})

describe("runs of a schedule", () => {
  const from = Date.UTC(2026, 0, 30, 23, 58, 30)
  const iso = (cron: string, most: number): string[] =>
    (nextRuns(cron, from, 400 * 86_400_000, most) ?? []).map(ms => new Date(ms).toISOString().slice(0, 16))

  test("each kind of field, across the end of a month", () => {
    expect(iso("* * * * *", 2)).toEqual(["2026-01-30T23:59", "2026-01-31T00:00"])
    expect(iso("0 2 * * *", 1)).toEqual(["2026-01-31T02:00"])
    expect(iso("*/20 4-5 * * *", 3)).toEqual(["2026-01-31T04:00", "2026-01-31T04:20", "2026-01-31T04:40"])
    expect(iso("0 0 1,15 * *", 2)).toEqual(["2026-02-01T00:00", "2026-02-15T00:00"])
    expect(iso("0 12 * 3 *", 1)).toEqual(["2026-03-01T12:00"])
    expect(iso("0 6 * * 1-5", 1)).toEqual(["2026-02-02T06:00"])
    // Day and weekday both narrowed: either will do.
    expect(iso("0 0 15 * 0", 3)).toEqual(["2026-02-01T00:00", "2026-02-08T00:00", "2026-02-15T00:00"])
  })

  test.for([
    "",
    "* * * *",
    "60 * * * *",
    "* * * * 7",
    "a * * * *",
    "*/0 * * * *",
    "5-1 * * * *",
    "1/5 * * * *x",
  ])("%s is not understood", cron => {
    expect(nextRuns(cron, from, 1_000, 1)).toBeNull()
  })

  test("the first run is the one that the broker's own rule finds", () => {
    const value = (min: number, max: number) => fc.integer({ min, max })
    const field = (min: number, max: number) =>
      fc.oneof(
        fc.constant("*"),
        value(min, max).map(String),
        value(2, 9).map(step => `*/${step}`),
        fc.tuple(value(min, max), value(min, max)).map(pair => [...pair].sort((a, b) => a - b).join("-")),
        fc.tuple(value(min, max), value(min, max)).map(pair => pair.join(",")),
      )
    const expression = fc
      .tuple(field(0, 59), field(0, 23), field(1, 28), field(1, 12), field(0, 6))
      .map(fields => fields.join(" "))
    fc.assert(
      fc.property(expression, value(0, 2 * 366 * 1_440), (cron, minute) => {
        const atMs = Date.UTC(2026, 0, 1) + minute * 60_000 + 17_000
        const theirs = CronTimes.parse(cron)
        if (theirs === null) return
        const [ours] = nextRuns(cron, atMs, 3 * 366 * 86_400_000, 1) ?? []
        expect([cron, ours]).toEqual([cron, theirs.next(atMs)])
      }),
      { numRuns: 200 },
    )
  })
})

describe("counts", () => {
  test("every number of a body is shown, known or not, and nothing else", () => {
    const counts = countsOf({
      realm: "x",
      messages_ready: 3,
      brand_new_figure: 4,
      nothing: null,
      by: { a: 1 },
    })
    expect(counts.map(({ key, name }) => [key, name])).toEqual([
      ["messages_ready", "Ready"],
      ["brand_new_figure", "brand new figure"],
    ])
  })
  test("kinds have their units", () => {
    expect(showCount({ value: 12.34, kind: "rate" })).toEqual({ value: "12.3", unit: "/s" })
    expect(showCount({ value: 61, kind: "seconds" })).toEqual({ value: "1 min 1 s", unit: null })
    expect(showCount({ value: 2_048, kind: "bytes" })).toEqual({ value: "2.0 KiB", unit: null })
  })
})

describe("words", () => {
  test("P7: live domains are never called durable, stored or kept, and say what they are", () => {
    for (const domain of DOMAINS) {
      const { lane, about, empty } = WORDS[domain]
      if (lane === "live") expect(`${about} ${empty}`).not.toMatch(/durable|stored|kept|histor/i)
      else expect(about).toMatch(/durable/)
    }
    expect(LIFETIME_WORDS.live).toMatch(/gone after a restart/)
  })
})
