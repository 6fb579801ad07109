// How values read: numbers, rates, bytes, durations, moments. Pure functions; none of them knows what its number
// means.

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 })
const ONE = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 })
const TWO = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })

/** 12,345: every digit, for tables and facts. */
export function exact(value: number): string {
  return GROUPED.format(value)
}

const STEPS = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
] as const

/** 12.3k: about four characters, for figures that are glanced at. */
export function compact(value: number): string {
  const size = Math.abs(value)
  // From 9,950 on the short form says as much and keeps its place.
  if (size < 9_950) return Number.isInteger(value) ? GROUPED.format(value) : trimmed(value)
  for (const [step, letter] of STEPS) {
    if (size >= step * 0.995) return `${trimmed(value / step)}${letter}`
  }
  return GROUPED.format(value)
}

function trimmed(value: number): string {
  const size = Math.abs(value)
  if (size === 0) return "0"
  if (size >= 99.95) return GROUPED.format(value)
  return size >= 0.995 ? ONE.format(value) : TWO.format(value)
}

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"] as const

export function bytes(value: number): string {
  let size = value
  let unit = 0
  while (size >= 1_023.5 && unit < BYTES.length - 1) {
    size /= 1_024
    unit++
  }
  return `${unit === 0 || size >= 99.95 ? GROUPED.format(size) : ONE.format(size)} ${BYTES[unit]}`
}

/** A duration of a request or a pause: 0.42 ms, 12 ms, 1.2 s. */
export function latency(seconds: number): string {
  if (seconds <= 0) return "0 ms"
  const ms = seconds * 1_000
  if (ms < 0.01) return "<0.01 ms"
  if (ms < 1) return `${TWO.format(ms)} ms`
  if (ms < 9.95) return `${ONE.format(ms)} ms`
  if (ms < 999.5) return `${GROUPED.format(ms)} ms`
  return seconds < 99.5 ? `${ONE.format(seconds)} s` : `${GROUPED.format(seconds)} s`
}

const SPANS = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
  [1, "s"],
] as const

/** An age, in its two largest units: 3 d 4 h, 12 min 5 s, 0 s. */
export function age(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds))
  const at = SPANS.findIndex(([size]) => whole >= size)
  if (at < 0) return "0 s"
  const [size, unit] = SPANS[at]!
  const next = SPANS[at + 1]
  const rest = next === undefined ? 0 : Math.floor((whole % size) / next[0])
  return rest === 0
    ? `${Math.floor(whole / size)} ${unit}`
    : `${Math.floor(whole / size)} ${unit} ${rest} ${next![1]}`
}

/** `3 messages`, `1 message`. */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${exact(value)} ${value === 1 ? one : many}`
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" })
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" })
const YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" })

export function clock(ms: number): string {
  return CLOCK.format(ms)
}

/** A moment in the reader's zone: today only its time, this year without the year. */
export function moment(ms: number, nowMs: number): string {
  const then = new Date(ms)
  const now = new Date(nowMs)
  if (then.toDateString() === now.toDateString()) return CLOCK.format(ms)
  const day = then.getFullYear() === now.getFullYear() ? DAY.format(ms) : YEAR.format(ms)
  return `${day}, ${CLOCK.format(ms)}`
}

/** The same moment as machines and logs spell it. */
export function utc(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19).replace("T", " ")} UTC`
}

/** "in 4 min", "12 s ago". */
export function relative(ms: number, nowMs: number): string {
  const seconds = (ms - nowMs) / 1_000
  if (Math.abs(seconds) < 1) return "now"
  return seconds > 0 ? `in ${age(seconds)}` : `${age(-seconds)} ago`
}

/** An average with a sign: +12.3, −4. */
export function signed(value: number): string {
  if (value === 0) return "0"
  return `${value > 0 ? "+" : "\u2212"}${compact(Math.abs(value))}`
}
