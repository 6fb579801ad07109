// Lease on the wire: messages 400–409, their requests, replies and refusals (docs/PROTOCOL.md, L-*). A 400
// may come twice: the reply, and later the grant or refusal of a wait.

import type { Writer } from "../bytes.ts"
import { Fault } from "../fault.ts"
import {
  concreteRoute,
  type MessageRow,
  noData,
  onRoute,
  type Subscription,
  subscriptionRow,
  whole,
} from "../message.ts"
import type { Route } from "../route.ts"

export const LEASE_FAULTS = {
  held: new Fault(5001, "the lease is held by another owner"),
  fenced: new Fault(5002, "the token is not the holder's"),
  expired: new Fault(5003, "the lease has expired"),
  notHeld: new Fault(5004, "the lease is not held by this owner"),
  waitTimedOut: new Fault(5006, "the wait for the lease is over"),
  waitersFull: new Fault(5007, "too many are waiting"),
  badRequest: new Fault(5008, "bad request"),
  noTokens: new Fault(5008, "no fencing tokens: the disk is full"),
  unauthorized: new Fault(5009, "unauthorized"),
  invalidPattern: new Fault(5010, "invalid subscription route"),
  subscriptionLimit: new Fault(5010, "subscription limit reached"),
} as const

export interface LeaseAcquire {
  readonly op: "acquire"
  readonly route: Route
  readonly owner: string
  readonly ttlSeconds: number
  readonly waitSeconds: number
}
export interface LeaseRenew {
  readonly op: "renew"
  readonly route: Route
  readonly owner: string
  readonly token: number
  readonly ttlSeconds: number
}
export interface LeaseRelease {
  readonly op: "release"
  readonly route: Route
  readonly owner: string
  readonly token: number
}
export interface LeaseQuery {
  readonly op: "query"
  readonly route: Route
}
export type LeaseRequest = LeaseAcquire | LeaseRenew | LeaseRelease | LeaseQuery | Subscription

/** What an ACQUIRE came to. */
export const GRANT_KINDS = { acquired: 0, alreadyHeld: 1, queued: 2, alreadyQueued: 3 } as const

export interface LeaseGrant {
  readonly kind: (typeof GRANT_KINDS)[keyof typeof GRANT_KINDS]
  readonly token: number
}
export interface LeaseState {
  readonly holder: { readonly owner: string; readonly ttlSecondsLeft: number } | null
  readonly waiters: number
}

/** Payload of a 409 after the registration's id: the subscribed route, echoed, and no data. */
export function writeLeaseNotice(writer: Writer, pattern: Route): void {
  writer.block(pattern.bytes)
  writer.u32(0)
}

const RULE = { scheme: "lease", fault: LEASE_FAULTS.badRequest } as const
const PATTERN_RULE = { scheme: "lease", fault: LEASE_FAULTS.invalidPattern } as const
const UNPARSABLE = LEASE_FAULTS.badRequest

/** 400, whose second frame has the shape of the first. */
export const leaseAcquireRow: MessageRow<LeaseAcquire, LeaseGrant> = {
  type: 400,
  name: "LEASE ACQUIRE",
  envelope: "coded",
  needs: onRoute("write"),
  read(reader, routes) {
    const route = concreteRoute(reader, routes, RULE)
    const owner = reader.text()
    const ttlSeconds = reader.u64()
    const waitSeconds = !reader.failed && reader.left === 0 ? 0 : reader.u32()
    return whole(reader, route, UNPARSABLE, route => ({
      op: "acquire",
      route,
      owner,
      ttlSeconds,
      waitSeconds,
    }))
  },
  write(writer, { kind, token }) {
    writer.u8(kind)
    writer.u64(token)
  },
}

export const leaseMessages = [
  leaseAcquireRow,
  {
    type: 401,
    name: "LEASE RENEW",
    envelope: "coded",
    needs: onRoute("write"),
    read(reader, routes) {
      const route = concreteRoute(reader, routes, RULE)
      const owner = reader.text()
      const token = reader.u64()
      const ttlSeconds = reader.u64()
      return whole(reader, route, UNPARSABLE, route => ({ op: "renew", route, owner, token, ttlSeconds }))
    },
    write: (writer, token) => writer.u64(token),
  } satisfies MessageRow<LeaseRenew, number>,
  {
    type: 402,
    name: "LEASE RELEASE",
    envelope: "coded",
    needs: onRoute("write"),
    read(reader, routes) {
      const route = concreteRoute(reader, routes, RULE)
      const owner = reader.text()
      const token = reader.u64()
      return whole(reader, route, UNPARSABLE, route => ({ op: "release", route, owner, token }))
    },
    write: noData,
  } satisfies MessageRow<LeaseRelease, null>,
  {
    type: 403,
    name: "LEASE QUERY",
    envelope: "coded",
    needs: onRoute("read"),
    read(reader, routes) {
      const route = concreteRoute(reader, routes, RULE)
      return whole(reader, route, UNPARSABLE, route => ({ op: "query", route }))
    },
    write(writer, { holder, waiters }) {
      writer.flag(holder !== null)
      if (holder !== null) {
        writer.text(holder.owner)
        writer.u64(holder.ttlSecondsLeft)
      }
      writer.u32(waiters)
    },
  } satisfies MessageRow<LeaseQuery, LeaseState>,
  subscriptionRow<number>(
    { type: 407, name: "LEASE SUBSCRIBE", op: "subscribe", envelope: "coded" },
    PATTERN_RULE,
    UNPARSABLE,
    (writer, id) => writer.u64(id),
  ),
  subscriptionRow<null>(
    { type: 408, name: "LEASE UNSUBSCRIBE", op: "unsubscribe", envelope: "coded" },
    PATTERN_RULE,
    UNPARSABLE,
    noData,
  ),
] as const

export const LEASE_NOTIFY = 409
