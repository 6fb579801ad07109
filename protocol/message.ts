// What every message has in common: its type, its envelope, who may send it, how it is read and written.
// The tables of protocol/messages/* are made of these rows; the index in protocol/messages/index.ts joins
// them. Must never know a domain's rules.

import type { Reader, Span, Writer } from "./bytes.ts"
import { Fault } from "./fault.ts"
import { beginFrame, endFrame } from "./frame.ts"
import { type Access, DEPTH } from "./permission.ts"
import { type Route, type RouteTable, reachesDepth, type Scheme } from "./route.ts"

/** How the failure of a message looks on the wire (PROTOCOL.md, E-2). */
export type Envelope = "coded" | "plain" | "none"

/** What a request needs to be allowed (PROTOCOL.md, P-7). */
export interface Need<Request> {
  access(request: Request): Access
  target(request: Request): Route
}

/** Needs this access on the route that the request names. */
export function onRoute(access: Access): Need<{ readonly route: Route }> {
  return { access: () => access, target: request => request.route }
}

/** Needs this access on everything that the request's pattern could match. */
export function onPattern(access: Access): Need<{ readonly pattern: Route }> {
  return { access: () => access, target: request => request.pattern }
}

/** A message that a client may send. */
export interface MessageRow<Request, Reply> {
  readonly type: number
  readonly name: string
  readonly envelope: Envelope
  /**
   * Absent where nothing is needed: the handle belongs to the session that opened it. Takes what `read`
   * of the same row returned; `never` lets rows of different requests stand in one table.
   */
  readonly needs?: Need<never>
  /** Reads the payload into a request, or says why it is none. Reads all of it. */
  read(reader: Reader, routes: RouteTable): Request | Fault
  /** Writes what follows the status byte of a success. */
  write(writer: Writer, reply: Reply): void
  /** Writes a whole frame for a refusal where that is not a reply of the same type. */
  refuse?(writer: Writer, payload: Span, fault: Fault): void
}

/** How one domain reads its routes. */
export interface RouteRule {
  readonly scheme: Scheme
  /** The refusal of a route or pattern that is none. */
  readonly fault: Fault
  /** The scheme may be left out (KV only). */
  readonly bare?: boolean
}

/** Reads a route without wildcards, of the domain's depth. */
export function concreteRoute(reader: Reader, routes: RouteTable, rule: RouteRule): Route | Fault {
  reader.block()
  const route = routes.find(reader.bytes, reader.blockStart, reader.blockEnd, rule.scheme, rule.bare)
  if (typeof route === "string") return rule.fault.because(route.replaceAll("_", " "))
  if (!route.concrete) return rule.fault.because("wildcards are not allowed here")
  const depth = DEPTH[rule.scheme]
  if (depth !== null && route.segments.length !== depth)
    return rule.fault.because(`a route has ${depth} segments`)
  return route
}

/** Reads a route or pattern that can match routes of the domain's depth. */
export function patternRoute(reader: Reader, routes: RouteTable, rule: RouteRule): Route | Fault {
  reader.block()
  const route = routes.find(reader.bytes, reader.blockStart, reader.blockEnd, rule.scheme, rule.bare)
  if (typeof route === "string") return rule.fault.because(route.replaceAll("_", " "))
  const depth = DEPTH[rule.scheme]
  if (depth !== null && !reachesDepth(route, depth))
    return rule.fault.because(`it matches no route of ${depth} segments`)
  return route
}

/**
 * Ends a parser: the request, unless the payload was cut short (`unparsable`), its route was refused or
 * bytes are left over.
 */
export function whole<T>(
  reader: Reader,
  route: Route | Fault,
  unparsable: Fault,
  request: (route: Route) => T,
): T | Fault {
  if (reader.failed) return unparsable.because("the payload does not parse")
  if (route instanceof Fault) return route
  return reader.whole ? request(route) : unparsable.because("bytes after the request")
}

/** A request that names nothing but a pattern. */
export type Subscription =
  | { readonly op: "subscribe"; readonly pattern: Route }
  | { readonly op: "unsubscribe"; readonly pattern: Route }

/** The row of a subscribe or unsubscribe message: a pattern and nothing else. */
export function subscriptionRow<Reply>(
  row: { type: number; name: string; op: Subscription["op"]; envelope: Envelope },
  rule: RouteRule,
  unparsable: Fault,
  write: (writer: Writer, reply: Reply) => void,
): MessageRow<Subscription, Reply> {
  const { op } = row
  return {
    type: row.type,
    name: row.name,
    envelope: row.envelope,
    needs: onPattern("read"),
    read(reader, routes) {
      const pattern = patternRoute(reader, routes, rule)
      return whole(reader, pattern, unparsable, pattern => ({ op, pattern }))
    },
    write,
  }
}

/** Writes a registration's id after a flag byte, as most subscribe replies have it. */
export function flaggedId(writer: Writer, id: number): void {
  writer.u8(1)
  writer.u64(id)
}

/** Writes no data after the status byte. */
export function noData(): void {
  // The status byte alone is the whole success.
}

/** A success without data, and the first byte of every success. */
export const STATUS_OK = 0
export const STATUS_FAILED = 1

/** Writes a whole frame that refuses a request, in the envelope of its type; `payload` is the request's. */
export function writeFailure<Request, Reply>(
  writer: Writer,
  row: MessageRow<Request, Reply>,
  payload: Span,
  fault: Fault,
): void {
  if (row.refuse !== undefined) row.refuse(writer, payload, fault)
  if (row.envelope === "none") return
  const start = beginFrame(writer, row.type)
  writer.u8(STATUS_FAILED)
  if (row.envelope === "coded") writer.u32(fault.code)
  writer.text(fault.text)
  endFrame(writer, start)
}

/** Writes a whole reply frame for a success. */
export function writeSuccess<Request, Reply>(
  writer: Writer,
  row: MessageRow<Request, Reply>,
  reply: Reply,
): void {
  const start = beginFrame(writer, row.type)
  writer.u8(STATUS_OK)
  row.write(writer, reply)
  endFrame(writer, start)
}
