// Schedule on the wire: messages 700–705, their requests, replies and refusals (docs/PROTOCOL.md, SC-*). The
// cron text is carried here and judged in the domain.

import { type Span, spanLength, type Writer } from "../bytes.ts"
import { Fault } from "../fault.ts"
import { PAYLOAD_BYTES_MAX } from "../frame.ts"
import {
  concreteRoute,
  flaggedId,
  type MessageRow,
  noData,
  onRoute,
  type Subscription,
  subscriptionRow,
  whole,
} from "../message.ts"
import { type Route, wholeScheme } from "../route.ts"

export const SCHEDULE_FAULTS = {
  invalidCron: new Fault(7002, "invalid cron expression"),
  scheduleLimit: new Fault(7003, "schedule limit reached"),
  unparsable: new Fault(7004, "bad request"),
  invalidRoute: new Fault(7005, "invalid target route"),
  invalidPattern: new Fault(7006, "invalid subscription pattern"),
  subscriptionLimit: new Fault(7007, "subscription limit reached"),
  invalidMode: new Fault(7008, "invalid delivery mode"),
  unauthorized: new Fault(7009, "unauthorized"),
  backend: new Fault(7010, "storage failure"),
} as const

export interface ScheduleCreate {
  readonly op: "create"
  readonly route: Route
  readonly cron: string
  /** Exactly one registration gets each occurrence, in turns. */
  readonly single: boolean
  readonly payload: Span
}
export interface ScheduleCancel {
  readonly op: "cancel"
  readonly route: Route
}
export interface ScheduleList {
  readonly op: "list"
  readonly offset: number
  /** 0: as many as fit. */
  readonly limit: number
}
export type ScheduleRequest = ScheduleCreate | ScheduleCancel | ScheduleList | Subscription

export interface ScheduleEntry {
  readonly route: Route
  readonly cron: string
  readonly single: boolean
  readonly payload: Uint8Array
}
export interface SchedulePage {
  readonly total: number
  readonly entries: readonly ScheduleEntry[]
}

const LIST_LIMIT_DEFAULT = 100
const LIST_FIXED_BYTES = 1 + 8 + 1

/** Payload bytes of a LIST reply that are left for entries. */
export const LIST_ROOM_BYTES = PAYLOAD_BYTES_MAX - LIST_FIXED_BYTES

/** What one entry takes of that room; `cron` holds ASCII only. */
export function listEntryBytes(route: Route, cron: string, payloadBytes: number): number {
  return 1 + 4 + route.bytes.length + 4 + cron.length + 1 + 4 + payloadBytes
}

/** Payload of a 705 after the registration's id. */
export function writeScheduleNotice(writer: Writer, route: Route, payload: Uint8Array): void {
  writer.block(route.bytes)
  writer.block(payload)
}

const RULE = { scheme: "schedule", fault: SCHEDULE_FAULTS.invalidRoute } as const
const PATTERN_RULE = { scheme: "schedule", fault: SCHEDULE_FAULTS.invalidPattern } as const
const UNPARSABLE = SCHEDULE_FAULTS.unparsable

/** What LIST shows, and so what it takes a grant for. */
const EVERYTHING = wholeScheme("schedule")

export const scheduleMessages = [
  {
    type: 700,
    name: "SCHEDULE CREATE",
    envelope: "plain",
    needs: onRoute("write"),
    read(reader, routes) {
      const route = concreteRoute(reader, routes, RULE)
      const cron = reader.text()
      const mode = reader.u8()
      const payload = reader.span()
      return whole(reader, route, UNPARSABLE, route => {
        if (mode > 1) return SCHEDULE_FAULTS.invalidMode
        if (listEntryBytes(route, cron, spanLength(payload)) > LIST_ROOM_BYTES) {
          return UNPARSABLE.because("the definition would not fit a list reply")
        }
        return { op: "create", route, cron, single: mode === 1, payload }
      })
    },
    write: noData,
  } satisfies MessageRow<ScheduleCreate, null>,
  {
    type: 701,
    name: "SCHEDULE CANCEL",
    envelope: "plain",
    needs: onRoute("write"),
    read(reader, routes) {
      const route = concreteRoute(reader, routes, RULE)
      return whole(reader, route, UNPARSABLE, route => ({ op: "cancel", route }))
    },
    write: noData,
  } satisfies MessageRow<ScheduleCancel, null>,
  {
    type: 702,
    name: "SCHEDULE LIST",
    envelope: "coded",
    needs: { access: () => "read", target: () => EVERYTHING },
    read(reader) {
      const offset = reader.optionalU64() ?? 0
      const limit = reader.optionalU64() ?? LIST_LIMIT_DEFAULT
      if (!reader.whole) return UNPARSABLE.because("the payload does not parse")
      return { op: "list", offset, limit }
    },
    write(writer, { total, entries }) {
      writer.u64(total)
      for (const { route, cron, single, payload } of entries) {
        writer.u8(1)
        writer.block(route.bytes)
        writer.text(cron)
        writer.flag(single)
        writer.block(payload)
      }
      writer.u8(0)
    },
  } satisfies MessageRow<ScheduleList, SchedulePage>,
  subscriptionRow<number>(
    { type: 703, name: "SCHEDULE SUBSCRIBE", op: "subscribe", envelope: "plain" },
    PATTERN_RULE,
    UNPARSABLE,
    flaggedId,
  ),
  subscriptionRow<null>(
    { type: 704, name: "SCHEDULE UNSUBSCRIBE", op: "unsubscribe", envelope: "plain" },
    PATTERN_RULE,
    UNPARSABLE,
    noData,
  ),
] as const

export const SCHEDULE_NOTIFY = 705
