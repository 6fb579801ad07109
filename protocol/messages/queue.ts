// Queue on the wire: messages 200–209, their requests, replies and refusals (docs/PROTOCOL.md, Q-*). Whether
// items name their routes depends on the request's text alone.

import { type Span, spanLength, type Writer } from "../bytes.ts"
import { Fault } from "../fault.ts"
import { PAYLOAD_BYTES_MAX } from "../frame.ts"
import {
  concreteRoute,
  flaggedId,
  type MessageRow,
  noData,
  onPattern,
  onRoute,
  patternRoute,
  type Subscription,
  subscriptionRow,
  whole,
} from "../message.ts"
import type { Route } from "../route.ts"

export const QUEUE_FAULTS = {
  invalidToken: new Fault(4001, "invalid token"),
  expired: new Fault(4002, "the reservation has expired"),
  notFound: new Fault(4003, "no such message is reserved by this session"),
  full: new Fault(4005, "queue full"),
  badRequest: new Fault(4006, "bad request"),
  backend: new Fault(4007, "storage failure"),
  unauthorized: new Fault(4009, "unauthorized"),
  invalidPattern: new Fault(4010, "invalid subscription pattern"),
  subscriptionLimit: new Fault(4011, "subscription limit reached"),
} as const

export interface QueueEnqueue {
  readonly op: "enqueue"
  readonly route: Route
  readonly body: Span
  readonly delaySeconds: number
}
export interface QueueReserve {
  readonly op: "reserve"
  /** A concrete route, or a pattern: then items name their routes. */
  readonly pattern: Route
  readonly leaseSeconds: number
  readonly batch: number
  readonly waitSeconds: number
}
export interface QueueExtend {
  readonly op: "extend"
  readonly route: Route
  readonly id: number
  readonly token: number
  readonly leaseSeconds: number
}
export interface QueueComplete {
  readonly op: "complete"
  readonly route: Route
  readonly id: number
  readonly token: number
}
export type QueueRequest = QueueEnqueue | QueueReserve | QueueExtend | QueueComplete | Subscription

export interface QueueItem {
  readonly route: Route
  readonly id: number
  readonly token: number
  readonly body: Span
}
export interface QueueItems {
  /** Items name their routes: the request carried a pattern. */
  readonly routed: boolean
  readonly items: readonly QueueItem[]
}

export const RESERVE_BATCH_MAX = 1_024
const RESERVE_FIXED_BYTES = 5
const RESERVE_ITEM_BYTES = 20

/** Payload bytes of a RESERVE reply that are left for items. */
export const RESERVE_ROOM_BYTES = PAYLOAD_BYTES_MAX - RESERVE_FIXED_BYTES

/** What one item takes of that room. */
export function reserveItemBytes(route: Route, bodyBytes: number, routed: boolean): number {
  return RESERVE_ITEM_BYTES + bodyBytes + (routed ? 4 + route.bytes.length : 0)
}

/** Payload of a 209 after the registration's id. */
export function writeQueueNotice(
  writer: Writer,
  route: Route,
  ready: number,
  delayed: number,
  inflight: number,
): void {
  writer.block(route.bytes)
  writer.u64(ready)
  writer.u64(delayed)
  writer.u64(inflight)
}

const RULE = { scheme: "queue", fault: QUEUE_FAULTS.badRequest } as const
const PATTERN_RULE = { scheme: "queue", fault: QUEUE_FAULTS.invalidPattern } as const
const UNPARSABLE = QUEUE_FAULTS.badRequest

export const queueMessages = [
  {
    type: 200,
    name: "QUEUE ENQUEUE",
    envelope: "coded",
    needs: onRoute("write"),
    read(reader, routes) {
      const route = concreteRoute(reader, routes, RULE)
      const body = reader.span()
      const delaySeconds = reader.optionalU64() ?? 0
      return whole(reader, route, UNPARSABLE, route => ({ op: "enqueue", route, body, delaySeconds }))
    },
    write: (writer, id) => writer.u64(id),
  } satisfies MessageRow<QueueEnqueue, number>,
  {
    type: 202,
    name: "QUEUE RESERVE",
    envelope: "coded",
    needs: onPattern("write"),
    read(reader, routes) {
      const pattern = patternRoute(reader, routes, RULE)
      const leaseSeconds = reader.u64()
      const batch = reader.optionalU32() ?? 0
      const waitSeconds = reader.optionalU64() ?? 0
      return whole(reader, pattern, UNPARSABLE, pattern => ({
        op: "reserve",
        pattern,
        leaseSeconds,
        batch,
        waitSeconds,
      }))
    },
    write(writer, { routed, items }) {
      writer.u32(items.length)
      for (const item of items) {
        if (routed) writer.block(item.route.bytes)
        writer.u64(item.id)
        writer.u64(item.token)
        writer.u32(spanLength(item.body))
        writer.raw(item.body.bytes, item.body.start, item.body.end)
      }
    },
  } satisfies MessageRow<QueueReserve, QueueItems>,
  {
    type: 203,
    name: "QUEUE EXTEND",
    envelope: "plain",
    needs: onRoute("write"),
    read(reader, routes) {
      const route = concreteRoute(reader, routes, RULE)
      const id = reader.u64()
      const token = reader.u64()
      const leaseSeconds = reader.u64()
      return whole(reader, route, UNPARSABLE, route => ({ op: "extend", route, id, token, leaseSeconds }))
    },
    write: noData,
  } satisfies MessageRow<QueueExtend, null>,
  {
    type: 204,
    name: "QUEUE COMPLETE",
    envelope: "plain",
    needs: onRoute("write"),
    read(reader, routes) {
      const route = concreteRoute(reader, routes, RULE)
      const id = reader.u64()
      const token = reader.u64()
      return whole(reader, route, UNPARSABLE, route => ({ op: "complete", route, id, token }))
    },
    write: noData,
  } satisfies MessageRow<QueueComplete, null>,
  subscriptionRow<number>(
    { type: 207, name: "QUEUE SUBSCRIBE", op: "subscribe", envelope: "plain" },
    PATTERN_RULE,
    UNPARSABLE,
    flaggedId,
  ),
  subscriptionRow<null>(
    { type: 208, name: "QUEUE UNSUBSCRIBE", op: "unsubscribe", envelope: "plain" },
    PATTERN_RULE,
    UNPARSABLE,
    noData,
  ),
] as const

export const QUEUE_NOTIFY = 209
