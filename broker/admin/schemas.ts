// The small types that answers are made of, each with an example, so that schemas, documentation and examples
// say the same thing.

import { z } from "zod"

const example = <S extends z.ZodType>(schema: S, value: z.output<S>): S => schema.meta({ example: value })

export const time = example(
  z.string().regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/),
  "2026-01-31T10:30:00Z",
)
export const preciseTime = example(
  z.string().regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/),
  "2026-01-31T10:30:00.123Z",
)
export const count = example(z.int().min(0), 12)
export const id = example(z.int().min(0), 42)
export const rate = example(z.number().min(0), 4.2)
export const yes = example(z.boolean(), true)
export const text = example(z.string(), "text")
export const label = example(z.string(), "prod")
export const area = example(z.string(), "jobs")
export const resource = example(z.string(), "emails")
export const sessionId = example(z.string().regex(/^sess_\d+$/), "sess_17")
export const etag = example(z.string().regex(/^"[0-9a-f]{32}"$/), '"0123456789abcdef0123456789abcdef"')
export const family = example(z.int().min(1).max(4_294_967_295), 1)
export const base64 = example(z.string(), "aGVsbG8=")

/** Bytes as people and programs can read them (admin-api §23, B10). */
export const bytes = z.strictObject({
  base64,
  utf8: z.string().nullable().meta({ example: "hello" }),
  len_bytes: count,
})

/** A list's rows under their name. */
export function listed<S extends z.ZodType, N extends string>(name: N, row: S) {
  return z.strictObject({ [name]: z.array(row) } as Record<N, z.ZodArray<S>>)
}

// ── how values are written ───────────────────────────────────────────────────────────────────────────────

export function timeOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}

export function timeOrNull(ms: number | null): string | null {
  return ms === null ? null : timeOf(ms)
}

/** Whole seconds, rounded down, never negative. */
export function secondsBetween(fromMs: number, toMs: number): number {
  return Math.max(0, Math.floor((toMs - fromMs) / 1_000))
}

/** At most two decimals. */
export function rounded(value: number): number {
  return Math.round(value * 100) / 100
}

export function sessionName(session: number): string {
  return `sess_${session}`
}

const STRICT_UTF8 = new TextDecoder("utf-8", { fatal: true })

/** Bytes in the shape of `bytes`; the whole length where only a part is shown. */
export function bytesOf(shown: Uint8Array, lengthBytes = shown.length): z.output<typeof bytes> {
  const buffer = Buffer.from(shown.buffer, shown.byteOffset, shown.byteLength)
  let utf8: string | null = null
  try {
    utf8 = STRICT_UTF8.decode(shown)
  } catch {
    utf8 = null // not text: the base64 form says it all
  }
  return { base64: buffer.toString("base64"), utf8, len_bytes: lengthBytes }
}
