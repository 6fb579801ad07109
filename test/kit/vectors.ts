// What a vector is: bytes written by hand from the specification, and what they mean. The notation and the
// shapes stand here; the vectors themselves are data in test/vectors/*.ts. Nothing here encodes a message.

import type { Writer } from "../../protocol/bytes.ts"
import { Fault } from "../../protocol/fault.ts"
import { parseRoute, type Route, type Scheme } from "../../protocol/route.ts"

/**
 * Bytes from their notation: hexadecimal digits with spaces for looks, text between quotes (double or single)
 * as UTF-8, and `xx*n` for a byte that stands there n times.
 */
export function wire(notation: string): Buffer {
  const pieces: Buffer[] = []
  for (const [token] of notation.matchAll(/"[^"]*"|'[^']*'|[^\s"']+/g)) {
    if (token.startsWith('"') || token.startsWith("'")) pieces.push(Buffer.from(token.slice(1, -1), "utf8"))
    else pieces.push(hexadecimal(token))
  }
  return Buffer.concat(pieces)
}

function hexadecimal(token: string): Buffer {
  const [digits = "", times] = token.split("*")
  if (!/^([0-9a-f]{2})+$/.test(digits)) throw new Error(`${token} is not in the notation of vectors`)
  const bytes = Buffer.from(digits, "hex")
  return times === undefined ? bytes : Buffer.alloc(bytes.length * Number(times), bytes)
}

/** How a span of bytes looks in the meaning of a vector. */
export function data(notation: string): string {
  return `0x${wire(notation).toString("hex")}`
}

/** How a correlation id looks in the meaning of a vector: one character per byte. */
export function characters(notation: string): string {
  return wire(notation).toString("latin1")
}

/** A route, for the values that replies are made of. */
export function route(text: string): Route {
  const parsed = parseRoute(text, text.slice(0, text.indexOf("://")) as Scheme)
  if (typeof parsed === "string") throw new Error(`${text} is no route: ${parsed}`)
  return parsed
}

type Meaning = Readonly<Record<string, unknown>>

/** A request that a broker has to understand. */
export interface RequestVector {
  /** The rule of docs/PROTOCOL.md where it is narrower than that of the kind of vector. */
  readonly rule?: string
  readonly name: string
  /** The whole inner frame: type, length, payload. */
  readonly frame: string
  readonly means: Meaning
  /** Beginnings of the payload that are requests as well, by how many bytes they leave away. */
  readonly shorter?: readonly { readonly without: number; readonly means: Meaning }[]
}

/** A well-framed request that a broker has to refuse. */
export interface MalformedVector {
  /** The rule of docs/PROTOCOL.md where it is narrower than that of the kind of vector. */
  readonly rule?: string
  readonly name: string
  readonly frame: string
  /** The code that the domain's table has for it; on plain types it stays inside the broker. */
  readonly code: number
}

/** A success, from the value that the domain decided on. */
export interface ReplyVector {
  /** The rule of docs/PROTOCOL.md where it is narrower than that of the kind of vector. */
  readonly rule?: string
  readonly name: string
  readonly type: number
  readonly reply: unknown
  readonly frame: string
}

/** A refusal in the envelope of its type. `frame` null: nothing is sent. */
export interface ErrorVector {
  /** The rule of docs/PROTOCOL.md where it is narrower than that of the kind of vector. */
  readonly rule?: string
  readonly name: string
  readonly type: number
  readonly code: number
  readonly text: string
  readonly frame: string | null
  /** Payload of the request, where the refusal quotes it. */
  readonly payload?: string
}

/** A notification: the registration's id in front of the same bytes for every follower. */
export interface PushVector {
  /** The rule of docs/PROTOCOL.md where it is narrower than that of the kind of vector. */
  readonly rule?: string
  readonly name: string
  readonly type: number
  readonly id: number
  /** What follows the id, as the domain writes it. */
  readonly tail: (writer: Writer) => void
  readonly frame: string
}

/** All vectors of one domain. */
export interface Column {
  readonly scheme: Scheme
  /** The code of a route that is none, by message type; null where the type carries no route. */
  readonly badRoute: Readonly<Record<number, number | null>>
  /** The code of a payload that does not parse. */
  readonly unparsable: number
  readonly requests: readonly RequestVector[]
  readonly malformed: readonly MalformedVector[]
  readonly replies: readonly ReplyVector[]
  readonly errors: readonly ErrorVector[]
  readonly pushes: readonly PushVector[]
}

/** A value of the product in the notation of vectors: routes as their text, spans and bytes as hexadecimal. */
export function plain(value: unknown): unknown {
  if (value === null || typeof value !== "object") return value
  if (value instanceof Fault) return { code: value.code, text: value.text }
  if (value instanceof Uint8Array) return `0x${Buffer.from(value).toString("hex")}`
  if (Array.isArray(value)) return value.map(plain)
  if (isSpan(value)) return `0x${Buffer.from(value.bytes.subarray(value.start, value.end)).toString("hex")}`
  if ("segments" in value && "text" in value) return value.text
  return Object.fromEntries(Object.entries(value).map(([key, inside]) => [key, plain(inside)]))
}

function isSpan(value: object): value is { bytes: Uint8Array; start: number; end: number } {
  return "start" in value && "end" in value && "bytes" in value && value.bytes instanceof Uint8Array
}
