// Values as Kubernetes writes them: durations, quantities, canonical JSON, times. Pure arithmetic; nothing
// here knows what it is used for.

import { createHash } from "node:crypto"
import type { Quantity } from "../kinds/schema.ts"

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
export type Dict = { [key: string]: Json }

const UNIT_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000 }

/** Milliseconds of a duration such as 1h30m. Throws on anything else. */
export function durationMs(text: string): number {
  let total = 0
  let rest = text
  while (rest !== "") {
    const match = /^([0-9]+)(h|m|s)/.exec(rest)
    if (match === null) throw new Error(`${JSON.stringify(text)} is no duration`)
    total += Number(match[1]) * UNIT_MS[match[2]!]!
    rest = rest.slice(match[0].length)
  }
  return total
}

const FACTORS: Readonly<Record<string, readonly [bigint, bigint]>> = (() => {
  const table: Record<string, readonly [bigint, bigint]> = {
    n: [1n, 1_000_000_000n],
    u: [1n, 1_000_000n],
    m: [1n, 1_000n],
    "": [1n, 1n],
  }
  for (const [index, unit] of ["k", "M", "G", "T", "P", "E"].entries())
    table[unit] = [1000n ** BigInt(index + 1), 1n]
  for (const [index, unit] of ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].entries())
    table[unit] = [1024n ** BigInt(index + 1), 1n]
  return table
})()

const NANO = 1_000_000_000n

/** A quantity in billionths, exactly; null for what is none. */
export function quantityNano(value: Quantity): bigint | null {
  const text = String(value)
  const match = /^([+-]?)([0-9]*)(?:\.([0-9]*))?(?:([eE][+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i)?)$/.exec(text)
  if (match === null) return null
  const [, sign, whole = "", fraction = "", exponent, unit = ""] = match
  if (whole === "" && fraction === "") return null
  const factor = FACTORS[unit]
  if (factor === undefined) return null
  let nano = BigInt(`${whole}${fraction}` || "0") * NANO
  let shift = -fraction.length + (exponent === undefined ? 0 : Number(exponent.slice(1)))
  nano *= factor[0]
  for (; shift > 0; shift--) nano *= 10n
  let divisor = factor[1]
  for (; shift < 0; shift++) divisor *= 10n
  // The server rounds what it cannot hold up, away from zero.
  const rounded = (nano + divisor - 1n) / divisor
  return sign === "-" ? -rounded : rounded
}

/** Below zero, zero or above, as a is smaller, the same or greater. What is no quantity is smallest. */
export function compareQuantities(a: Quantity, b: Quantity): number {
  const left = quantityNano(a)
  const right = quantityNano(b)
  if (left === null || right === null) return (left === null ? 0 : 1) - (right === null ? 0 : 1)
  return left < right ? -1 : left > right ? 1 : 0
}

export function quantityBytes(value: Quantity): number {
  const nano = quantityNano(value)
  return nano === null ? 0 : Number(nano / NANO)
}

/** JSON with sorted keys: the same text for the same value. Absent fields leave no trace. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(item => canonical(item ?? null)).join(",")}]`
  if (value !== null && typeof value === "object") {
    const entries = Object.entries(value)
      .filter(([, inner]) => inner !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
    return `{${entries.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join(",")}}`
  }
  return JSON.stringify(value) ?? "null"
}

export function digest(text: string | Uint8Array): string {
  return createHash("sha256").update(text).digest("hex")
}

export function same(a: unknown, b: unknown): boolean {
  return canonical(a) === canonical(b)
}

/** A time with seconds, as metav1.Time has it. */
export function timeOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}

/** A time with six fractional digits, as metav1.MicroTime demands. */
export function microTimeOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 23)}000Z`
}

export function isDict(value: unknown): value is Dict {
  return value !== null && typeof value === "object" && !Array.isArray(value)
}
