// The runs of a cron expression in UTC, for drawing: five fields of numbers, ranges, steps and lists, minute by
// minute. Pure. Whether the broker takes an expression is the broker's to say, and so is the next run.

interface Field {
  readonly min: number
  readonly max: number
}

const FIELDS: readonly Field[] = [
  { min: 0, max: 59 },
  { min: 0, max: 23 },
  { min: 1, max: 31 },
  { min: 1, max: 12 },
  { min: 0, max: 6 },
]

const PART = /^(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:\/(\d{1,2}))?$/
const MINUTE_MS = 60_000
const DAY_MS = 86_400_000

/** Which values of a field match; null where the field is not understood. */
function valuesOf(field: string, { min, max }: Field): ReadonlySet<number> | null {
  const values = new Set<number>()
  for (const part of field.split(",")) {
    const match = PART.exec(part)
    if (match === null) return null
    const [, from, to, every] = match
    const step = Number(every ?? 1)
    const first = from === undefined ? min : Number(from)
    const last = from === undefined ? max : Number(to ?? from)
    if (step === 0 || first < min || last > max || first > last) return null
    for (let value = first; value <= last; value += step) values.add(value)
  }
  return values
}

/** Moments after `fromMs` within the span, at most so many; null where the expression is not understood. */
export function nextRuns(
  expression: string,
  fromMs: number,
  spanMs: number,
  most: number,
): readonly number[] | null {
  const texts = expression.trim().split(/\s+/)
  if (texts.length !== FIELDS.length) return null
  const fields = texts.map((text, at) => valuesOf(text, FIELDS[at]!))
  if (fields.some(field => field === null)) return null
  const [minutes, hours, days, months, weekdays] = fields as readonly ReadonlySet<number>[]
  // Where both are narrowed, either of them is enough: so cron has it.
  const either = texts[2] !== "*" && texts[4] !== "*"
  const runs: number[] = []
  const endMs = fromMs + spanMs
  let at = Math.floor(fromMs / MINUTE_MS) * MINUTE_MS + MINUTE_MS
  while (at <= endMs && runs.length < most) {
    const date = new Date(at)
    const day = days!.has(date.getUTCDate())
    const weekday = weekdays!.has(date.getUTCDay())
    if (!months!.has(date.getUTCMonth() + 1) || !(either ? day || weekday : day && weekday)) {
      at = Math.floor(at / DAY_MS) * DAY_MS + DAY_MS
      continue
    }
    if (hours!.has(date.getUTCHours()) && minutes!.has(date.getUTCMinutes())) runs.push(at)
    at += MINUTE_MS
  }
  return runs
}
