// Hostile bytes from a seed: broken frames, mutated requests, garbage. The same seed gives the same bytes.
// It knows the vectors and never the parsers.

import { COLUMNS } from "../vectors/columns.ts"
import { type Frame, inner, readInner } from "./bytes.ts"
import type { Random } from "./random.ts"
import { wire } from "./vectors.ts"

/** Requests that are right, of every type, none of them long. */
export const GOOD: readonly Frame[] = COLUMNS.flatMap(({ requests }) =>
  requests.map(({ frame }) => readInner(wire(frame))),
).filter(({ payload }) => payload.length <= 600)

/** Requests that are well framed and wrong, with the code of their refusal. */
export const BAD: readonly (Frame & { readonly name: string; readonly code: number })[] = COLUMNS.flatMap(
  ({ malformed }) => malformed.map(({ frame, name, code }) => ({ ...readInner(wire(frame)), name, code })),
)

const EDGES = [0, 1, 2, 3, 4, 7, 8, 9, 0x7f, 0x80, 0xff]
const LENGTHS = [
  0, 1, 2, 3, 13, 14, 255, 4_096, 4_097, 65_535, 65_536, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
]
const PIECES = [
  "**",
  "*",
  "/",
  "//",
  "://",
  "kv://a/b/c",
  "queue://**",
  "stream://*/*/*",
  "schedule://a/b/c/d",
  "\u0000",
  "\ufeff",
  "🚀",
  "__realm__",
].map(text => Buffer.from(text))

/** One to four changes, each of a kind that parsers get wrong. */
export function mutate(payload: Buffer, random: Random): Buffer {
  let bytes = Buffer.from(payload)
  for (let times = 1 + random.int(4); times > 0; times--) {
    const at = bytes.length === 0 ? 0 : random.int(bytes.length)
    switch (random.int(10)) {
      case 0: // a bit
        if (bytes.length > 0) bytes[at]! ^= 1 << random.int(8)
        break
      case 1: // a byte that sits on an edge
        if (bytes.length > 0) bytes[at] = random.pick(EDGES)
        break
      case 2: // a length, of all fields the one that does most harm
        if (bytes.length >= 4) bytes.writeUInt32BE(random.pick(LENGTHS), random.int(bytes.length - 3))
        break
      case 3: // cut short
        bytes = bytes.subarray(0, at)
        break
      case 4: // more than there was
        bytes = Buffer.concat([bytes, random.bytes(1 + random.int(12))])
        break
      case 5: // a piece taken out
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random.int(8))])
        break
      case 6: // a piece put in
        bytes = Buffer.concat([bytes.subarray(0, at), random.pick(PIECES), bytes.subarray(at)])
        break
      case 7: // a piece twice
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.max(0, at - 16))])
        break
      case 8: // a large number
        if (bytes.length >= 8) {
          const from = random.int(bytes.length - 7)
          bytes.fill(0xff, from, from + 8)
        }
        break
      default: // the half of another request
        bytes = Buffer.concat([bytes.subarray(0, at), random.pick(GOOD).payload.subarray(at)])
    }
  }
  return bytes.length > 65_535 ? bytes.subarray(0, 65_535) : Buffer.from(bytes)
}

/** A request that is well framed and of a type that clients may send; what is in it is anybody's guess. */
export function wellFramed(random: Random): Frame {
  const { type, payload } = random.pick(GOOD)
  if (random.int(8) === 0) return { type, payload }
  if (random.int(12) === 0) return { type: random.pick(GOOD).type, payload }
  if (random.int(40) === 0) return { type, payload: random.bytes(random.int(200)) }
  return { type, payload: mutate(payload, random) }
}

/** Bytes that should have been an inner frame. */
export function brokenInner(random: Random): Buffer {
  const { type, payload } = wellFramed(random)
  const good = inner(type, payload)
  switch (random.int(6)) {
    case 0:
      return mutate(good, random)
    case 1:
      return random.bytes(random.int(80))
    case 2: // an escape that is none
      return Buffer.concat([Buffer.of(0xff, 0, random.int(255), 0, 0)])
    case 3:
      return good.subarray(0, random.int(good.length))
    case 4:
      return Buffer.concat([good, good])
    default:
      return inner(random.int(65_536), payload)
  }
}

/** Bytes that should have been an outer frame, some of which never will be. */
export function brokenOuter(random: Random): Buffer {
  const piece = brokenInner(random)
  const length = random.int(3) === 0 ? random.pick(LENGTHS) : piece.length
  const header = Buffer.alloc(4)
  header.writeUInt32BE(length >>> 0)
  return Buffer.concat([header, piece])
}
