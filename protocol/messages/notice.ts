// Notice on the wire: messages 500–504, their requests, replies and refusals (docs/PROTOCOL.md, N-*).
// A publish is answered by nothing, whatever comes of it.

import { type Span, sameBytes } from "../bytes.ts"
import { Fault } from "../fault.ts"
import {
  concreteRoute,
  flaggedId,
  type MessageRow,
  noData,
  onRoute,
  type Subscription,
  subscriptionRow,
} from "../message.ts"
import type { Route } from "../route.ts"

export const NOTICE_FAULTS = {
  invalidRoute: new Fault(3001, "invalid route"),
  invalidPattern: new Fault(3002, "invalid pattern"),
  subscriptionLimit: new Fault(3003, "subscription limit reached"),
  backend: new Fault(3005, "the request could not be handled"),
  unauthorized: new Fault(3009, "unauthorized"),
} as const

export interface NoticePublish {
  readonly op: "publish"
  readonly route: Route
  /** The whole payload, route and body: it follows the registration's id in a 504 as it is. */
  readonly payload: Span
}
export interface NoticeSubscribe {
  readonly op: "subscribe"
  readonly pattern: Route
}
export interface NoticeUnsubscribe {
  readonly op: "unsubscribeId"
  readonly id: number
}
export interface NoticeUnsubscribeAll {
  readonly op: "unsubscribeAll"
}
export type NoticeRequest = NoticePublish | Subscription | NoticeUnsubscribe | NoticeUnsubscribeAll

export const NOTICE_PUBLISH = 500

const RULE = { scheme: "notice", fault: NOTICE_FAULTS.invalidRoute } as const
const UNPARSABLE = NOTICE_FAULTS.backend

export const noticeMessages = [
  {
    type: NOTICE_PUBLISH,
    name: "NOTICE PUBLISH",
    envelope: "none",
    needs: onRoute("write"),
    read(reader, routes) {
      const payload = { bytes: reader.bytes, start: reader.at, end: reader.end }
      const route = concreteRoute(reader, routes, RULE)
      reader.block()
      if (!reader.whole) return UNPARSABLE.because("the payload does not parse")
      return route instanceof Fault ? route : { op: "publish", route, payload }
    },
    write: noData,
  } satisfies MessageRow<NoticePublish, null>,
  subscriptionRow<number>(
    { type: 501, name: "NOTICE SUBSCRIBE", op: "subscribe", envelope: "coded" },
    { scheme: "notice", fault: NOTICE_FAULTS.invalidPattern },
    UNPARSABLE,
    flaggedId,
  ),
  {
    type: 502,
    name: "NOTICE UNSUBSCRIBE",
    envelope: "coded",
    read(reader) {
      const id = reader.u64()
      if (!reader.whole) return UNPARSABLE.because("the payload does not parse")
      return { op: "unsubscribeId", id }
    },
    write: noData,
  } satisfies MessageRow<NoticeUnsubscribe, null>,
  {
    type: 503,
    name: "NOTICE UNSUBSCRIBE_ALL",
    envelope: "coded",
    read: reader => (reader.whole ? { op: "unsubscribeAll" } : UNPARSABLE.because("bytes after the request")),
    write: noData,
  } satisfies MessageRow<NoticeUnsubscribeAll, null>,
] as const

export const NOTICE_NOTIFY = 504

/** Is the payload in `bytes[start, end)` a publish to exactly this route? Then it parses as well. */
export function publishesTo(
  route: Route,
  bytes: Uint8Array,
  view: DataView,
  start: number,
  end: number,
): boolean {
  const { length } = route.bytes
  const bodyAt = start + 4 + length + 4
  return (
    bodyAt <= end &&
    view.getUint32(start) === length &&
    view.getUint32(bodyAt - 4) === end - bodyAt &&
    sameBytes(bytes, start + 4, route.bytes, 0, length)
  )
}
