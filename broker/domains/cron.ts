// Cron expressions: our grammar (docs/PROTOCOL.md, SC-5 … SC-9) read strictly into plain number lists, and
// croner to find the next match. The only file that knows croner; it never asks the machine for the time.

import { Cron } from "croner"
import type { Millis } from "./domain.ts"

interface FieldRange {
  readonly min: number
  readonly max: number
}

const FIELDS: readonly FieldRange[] = [
  { min: 0, max: 59 },
  { min: 0, max: 23 },
  { min: 1, max: 31 },
  { min: 1, max: 12 },
  { min: 0, max: 6 },
]

const PART = /^(?:(\*)|(\d{1,2})(?:-(\d{1,2}))?)(?:\/(\d{1,2}))?$/

/** The values of one part of a field, or null where it breaks the grammar. */
function valuesOf(part: string, { min, max }: FieldRange): number[] | null {
  const match = PART.exec(part)
  if (match === null) return null
  const [, star, from, to, every] = match
  // A step counts along a range; `n/s` names none.
  if (every !== undefined && star === undefined && to === undefined) return null
  const first = star === undefined ? Number(from) : min
  const last = star === undefined ? Number(to ?? from) : max
  const step = Number(every ?? 1)
  if (step === 0 || first > last || first < min || last > max) return null
  const values: number[] = []
  for (let value = first; value <= last; value += step) values.push(value)
  return values
}

/** A field as `*` or as a list of numbers, or null where it breaks the grammar. */
function plainField(field: string, range: FieldRange): string | null {
  if (field === "*") return "*"
  const values = new Set<number>()
  for (const part of field.split(",")) {
    if (part === "*") return null
    const some = valuesOf(part, range)
    if (some === null) return null
    for (const value of some) values.add(value)
  }
  return [...values].sort((a, b) => a - b).join(",")
}

/** A checked expression. */
export class CronTimes {
  private readonly cron: Cron
  private last: { after: Millis; next: Millis | null } | null = null

  private constructor(cron: Cron) {
    this.cron = cron
  }

  /** Null where the text is no expression of ours or can never match. */
  static parse(text: string): CronTimes | null {
    // Blanks are these two and no others: what is stored is ASCII, and counts as many bytes as characters.
    const fields = text.split(/[ \t]+/).filter(field => field !== "")
    if (fields.length !== FIELDS.length) return null
    const plain: string[] = []
    for (const [i, field] of fields.entries()) {
      const list = plainField(field, FIELDS[i]!)
      if (list === null) return null
      plain.push(list)
    }
    const times = new CronTimes(new Cron(plain.join(" "), { timezone: "UTC", mode: "5-part", paused: true }))
    return times.next(0) === null ? null : times
  }

  /** The first matching minute strictly after this moment. */
  next(after: Millis): Millis | null {
    // Many definitions share one expression and are asked in the same turn.
    if (this.last?.after === after) return this.last.next
    const next = this.cron.nextRun(new Date(after))?.getTime() ?? null
    this.last = { after, next }
    return next
  }
}
