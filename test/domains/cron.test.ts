// Cron expressions against a walk over the minutes: everything that the grammar allows fires when it says, and
// what the grammar does not allow is refused. Chance has a seed.

import { expect, test } from "vitest"
import { CronTimes } from "../../broker/domains/cron.ts"
import { type Random, seeded } from "../kit/random.ts"
import { nextMinute, readCron } from "../model/schedule.ts"

const RANGES = [
  [0, 59],
  [0, 23],
  [1, 31],
  [1, 12],
  [0, 6],
] as const

function field([min, max]: readonly [number, number], random: Random): string {
  if (random.chance(0.35)) return "*"
  const parts = Array.from({ length: random.between(1, 3) }, () => {
    const [low, high] = [random.between(min, max), random.between(min, max)].sort((a, b) => a - b)
    const kind = random.int(4)
    if (kind === 0) return `${low}`
    if (kind === 1) return `${low}-${high}`
    if (kind === 2) return `*/${random.between(1, 40)}`
    return `${low}-${high}/${random.between(1, 9)}`
  })
  return parts.join(",")
}

function expression(random: Random): string {
  return RANGES.map(range => field(range, random)).join(random.chance(0.9) ? " " : "  \t")
}

/** A moment within some decades, often close to the end of a minute, a month or a year. */
function moment(random: Random): number {
  const year = random.between(1_999, 2_110)
  const month = random.chance(0.3) ? random.pick([0, 1, 11]) : random.int(12)
  const day = random.chance(0.3) ? random.between(28, 31) : random.between(1, 28)
  const time = Date.UTC(year, month, day, random.int(24), random.int(60), 0)
  return time + random.pick([0, 1, 59_999, 30_000])
}

test("SC-5 SC-6 SC-8 SC-9: the next minute is the one that a walk finds", () =>
  seeded(random => {
    let never = 0
    for (let i = 0; i < 600; i++) {
      const text = expression(random)
      const times = CronTimes.parse(text)
      const rule = readCron(text)!
      let after = moment(random)
      if (times === null) {
        never++
        expect(nextMinute(rule, after), text).toBeNull()
        continue
      }
      for (let step = 0; step < 3; step++) {
        const next = times.next(after)
        expect(next, `${text} after ${new Date(after).toISOString()}`).toBe(nextMinute(rule, after))
        after = next!
      }
    }
    // Combinations that never occur are rare, but they are among them.
    expect(never).toBeLessThan(120)
  }))

test("SC-7: an expression that was damaged in one place is taken exactly where the grammar takes it", () =>
  seeded(random => {
    const pieces = [
      "*",
      ",",
      "-",
      "/",
      "0",
      "1",
      "7",
      "60",
      "?",
      "L",
      "#",
      "W",
      " ",
      "\t",
      "MON",
      ".",
      "\u00a0",
      "\n",
      "+",
      "@",
    ]
    let refused = 0
    for (let i = 0; i < 2_000; i++) {
      const text = expression(random)
      const at = random.int(text.length + 1)
      const damaged = text.slice(0, at) + random.pick(pieces) + text.slice(at + random.int(2))
      const rule = readCron(damaged)
      const possible = rule !== null && nextMinute(rule, 0) !== null
      if (!possible) refused++
      expect(CronTimes.parse(damaged) !== null, JSON.stringify(damaged)).toBe(possible)
    }
    expect(refused).toBeGreaterThan(250)
  }))

test("SC-9: the next minute is strictly later, whole, and the same whoever asked before", () =>
  seeded(random => {
    for (let i = 0; i < 300; i++) {
      const times = CronTimes.parse(expression(random))
      if (times === null) continue
      const [one, two] = [moment(random), moment(random)]
      const first = times.next(one)!
      times.next(two)
      expect(times.next(one)).toBe(first)
      expect(first).toBeGreaterThan(one)
      expect(first % 60_000).toBe(0)
    }
  }))
