// The index of all messages (docs/PROTOCOL.md, section Messages): which type is what, whose it is, who may
// send it. A domain that is missing here does not compile.

import type { Fault } from "../fault.ts"
import type { MessageRow } from "../message.ts"
import type { Scheme } from "../route.ts"
import { KV_FAULTS, KV_NOTIFY, type KvRequest, kvMessages } from "./kv.ts"
import { LEASE_FAULTS, LEASE_NOTIFY, type LeaseRequest, leaseMessages } from "./lease.ts"
import { NOTICE_FAULTS, NOTICE_NOTIFY, type NoticeRequest, noticeMessages } from "./notice.ts"
import { QUEUE_FAULTS, QUEUE_NOTIFY, type QueueRequest, queueMessages } from "./queue.ts"
import { RPC_FAULTS, type RpcRequest, rpcMessages } from "./rpc.ts"
import { SCHEDULE_FAULTS, SCHEDULE_NOTIFY, type ScheduleRequest, scheduleMessages } from "./schedule.ts"
import { STREAM_FAULTS, STREAM_NOTIFY, type StreamRequest, streamMessages } from "./stream.ts"

/** The first message of every connection: a token as raw bytes, answered by silence. */
export const CONNECT = 1

export interface Requests {
  kv: KvRequest
  stream: StreamRequest
  notice: NoticeRequest
  queue: QueueRequest
  rpc: RpcRequest
  lease: LeaseRequest
  schedule: ScheduleRequest
}

const TABLES: { readonly [D in Scheme]: readonly MessageRow<Requests[D], never>[] } = {
  kv: kvMessages,
  stream: streamMessages,
  notice: noticeMessages,
  queue: queueMessages,
  rpc: rpcMessages,
  lease: leaseMessages,
  schedule: scheduleMessages,
}

/** The refusals that every domain has, whatever the request. */
export const DOMAIN_FAULTS: {
  readonly [D in Scheme]: {
    readonly unauthorized: Fault
    readonly backend: Fault
    readonly subscriptionLimit: Fault
  }
} = {
  kv: KV_FAULTS,
  stream: STREAM_FAULTS,
  notice: NOTICE_FAULTS,
  queue: QUEUE_FAULTS,
  rpc: { ...RPC_FAULTS, subscriptionLimit: RPC_FAULTS.registrationLimit },
  lease: { ...LEASE_FAULTS, backend: LEASE_FAULTS.badRequest },
  schedule: SCHEDULE_FAULTS,
}

/** Types that make a registration, of subscribers and workers. */
const REGISTERING: ReadonlySet<number> = new Set([109, 207, 300, 407, 501, 607, 703])

/** A message that clients send to a domain. */
export interface ClientMessage {
  readonly domain: Scheme
  /** It may make a registration. */
  readonly registers: boolean
  readonly row: MessageRow<Requests[Scheme], never>
}

/** By type. A type that is not here closes the connection: it is unassigned, or the server's own. */
export const CLIENT_MESSAGES: ReadonlyMap<number, ClientMessage> = new Map(
  (Object.keys(TABLES) as Scheme[]).flatMap(domain =>
    TABLES[domain].map(row => [row.type, { domain, registers: REGISTERING.has(row.type), row }] as const),
  ),
)

/** What the broker pushes without being asked, registrations first. 302, 303 and 400 do double duty. */
export const NOTIFY_TYPES = {
  kv: KV_NOTIFY,
  stream: STREAM_NOTIFY,
  notice: NOTICE_NOTIFY,
  queue: QUEUE_NOTIFY,
  lease: LEASE_NOTIFY,
  schedule: SCHEDULE_NOTIFY,
} as const

/** One more than the largest type of a message, for tables indexed by type. */
export const TYPES_END = 1_024
