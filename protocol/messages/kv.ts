// KV on the wire: messages 100–111, their requests, replies and refusals (docs/PROTOCOL.md, KV-*).
// 100–108 answer failures in the plain envelope; their codes never leave the broker as numbers.

import type { Span, Writer } from "../bytes.ts"
import { Fault } from "../fault.ts"
import {
  concreteRoute,
  type MessageRow,
  noData,
  type Subscription,
  subscriptionRow,
  whole,
} from "../message.ts"
import type { Route } from "../route.ts"

export const KV_FAULTS = {
  transactionNotFound: new Fault(1001, "transaction not found"),
  invalidMode: new Fault(1002, "invalid mode"),
  isolationConflict: new Fault(1004, "another transaction is writing this resource"),
  readOnly: new Fault(1005, "the transaction is read-only"),
  keyExists: new Fault(1006, "the key exists"),
  invalidRequest: new Fault(1007, "invalid request"),
  backend: new Fault(1009, "storage failure"),
  unauthorized: new Fault(1011, "unauthorized"),
  invalidPattern: new Fault(1012, "invalid subscription pattern"),
  subscriptionLimit: new Fault(1013, "subscription limit reached"),
  busy: new Fault(1014, "busy"),
} as const

export interface KvBegin {
  readonly op: "begin"
  readonly route: Route
  readonly writes: boolean
  readonly sync: boolean
}
interface InTransaction {
  readonly tx: number
  readonly route: Route
}
export interface KvEnd extends InTransaction {
  readonly op: "commit" | "rollback"
}
export interface KvKey extends InTransaction {
  readonly op: "get" | "delete"
  readonly key: Span
}
export interface KvPut extends InTransaction {
  readonly op: "put" | "insert"
  readonly key: Span
  readonly value: Span
}
export interface KvDeleteRange extends InTransaction {
  readonly op: "deleteRange"
  readonly start: Span
  readonly end: Span
}
export interface KvScan extends InTransaction {
  readonly op: "scan"
  readonly start: Span | null
  readonly end: Span | null
  /** 0: as many as fit. */
  readonly limit: number
  readonly reverse: boolean
  readonly startExclusive: boolean
}
export type KvRequest = KvBegin | KvEnd | KvKey | KvPut | KvDeleteRange | KvScan | Subscription

export interface KvPair {
  readonly key: Uint8Array
  readonly value: Uint8Array
}
export interface KvPage {
  readonly pairs: readonly KvPair[]
  readonly more: boolean
}

/** Bytes of a SCAN reply before its pairs, and around each pair (PROTOCOL.md, KV-11). */
export const SCAN_OVERHEAD_BYTES = 6
export const SCAN_PAIR_BYTES = 8
export const SCAN_PAIRS_MAX = 1_024

/** Payload of a 111. */
export function writeKvNotice(writer: Writer, route: Route, mutations: number): void {
  writer.block(route.bytes)
  writer.u64(mutations)
}

const RULE = { scheme: "kv", fault: KV_FAULTS.invalidRequest, bare: true } as const
const PATTERN_RULE = { scheme: "kv", fault: KV_FAULTS.invalidPattern, bare: true } as const
const UNPARSABLE = KV_FAULTS.invalidRequest

function end(type: number, name: string, op: "commit" | "rollback"): MessageRow<KvEnd, null> {
  return {
    type,
    name,
    envelope: "plain",
    read(reader, routes) {
      const tx = reader.u64()
      const route = concreteRoute(reader, routes, RULE)
      return whole(reader, route, UNPARSABLE, route => ({ op, tx, route }))
    },
    write: noData,
  }
}

function put(type: number, name: string, op: "put" | "insert"): MessageRow<KvPut, null> {
  return {
    type,
    name,
    envelope: "plain",
    read(reader, routes) {
      const tx = reader.u64()
      const route = concreteRoute(reader, routes, RULE)
      const key = reader.span()
      const value = reader.span()
      return whole(reader, route, UNPARSABLE, route => ({ op, tx, route, key, value }))
    },
    write: noData,
  }
}

function byKey<Reply>(
  type: number,
  name: string,
  op: "get" | "delete",
  write: (writer: Writer, reply: Reply) => void,
): MessageRow<KvKey, Reply> {
  return {
    type,
    name,
    envelope: "plain",
    read(reader, routes) {
      const tx = reader.u64()
      const route = concreteRoute(reader, routes, RULE)
      const key = reader.span()
      return whole(reader, route, UNPARSABLE, route => ({ op, tx, route, key }))
    },
    write,
  }
}

export const kvMessages = [
  {
    type: 100,
    name: "KV BEGIN",
    envelope: "plain",
    needs: {
      access: (request: KvBegin) => (request.writes ? "write" : "read"),
      target: (request: KvBegin) => request.route,
    },
    read(reader, routes) {
      const route = concreteRoute(reader, routes, RULE)
      const mode = reader.u8()
      const durability = reader.u8()
      return whole(reader, route, UNPARSABLE, route => {
        if (mode > 1 || durability > 1) return KV_FAULTS.invalidMode
        return { op: "begin", route, writes: mode === 1, sync: durability === 1 }
      })
    },
    write: (writer, tx) => writer.u64(tx),
  } satisfies MessageRow<KvBegin, number>,
  end(101, "KV COMMIT", "commit"),
  end(102, "KV ROLLBACK", "rollback"),
  byKey<Uint8Array | null>(103, "KV GET", "get", (writer, value) => {
    writer.flag(value !== null)
    if (value !== null) writer.block(value)
  }),
  put(104, "KV PUT", "put"),
  put(105, "KV INSERT", "insert"),
  byKey<null>(106, "KV DELETE", "delete", noData),
  {
    type: 107,
    name: "KV DELETE_RANGE",
    envelope: "plain",
    read(reader, routes) {
      const tx = reader.u64()
      const route = concreteRoute(reader, routes, RULE)
      const start = reader.span()
      const end = reader.span()
      return whole(reader, route, UNPARSABLE, route => ({ op: "deleteRange", tx, route, start, end }))
    },
    write: noData,
  } satisfies MessageRow<KvDeleteRange, null>,
  {
    type: 108,
    name: "KV SCAN",
    envelope: "plain",
    read(reader, routes) {
      const tx = reader.u64()
      const route = concreteRoute(reader, routes, RULE)
      const start = reader.optionalSpan()
      const end = reader.optionalSpan()
      const limit = reader.optionalU32() ?? 0
      const reverse = reader.flag()
      // Newer clients add one byte here (PROTOCOL.md, KV-2).
      const startExclusive = reader.left > 0 && reader.flag()
      return whole(reader, route, UNPARSABLE, route => ({
        op: "scan",
        tx,
        route,
        start,
        end,
        limit,
        reverse,
        startExclusive,
      }))
    },
    write(writer, page) {
      writer.u32(page.pairs.length)
      for (const pair of page.pairs) {
        writer.block(pair.key)
        writer.block(pair.value)
      }
      writer.flag(page.more)
    },
  } satisfies MessageRow<KvScan, KvPage>,
  subscriptionRow<number>(
    { type: 109, name: "KV SUBSCRIBE", op: "subscribe", envelope: "coded" },
    PATTERN_RULE,
    UNPARSABLE,
    (writer, id) => writer.u64(id),
  ),
  subscriptionRow<null>(
    { type: 110, name: "KV UNSUBSCRIBE", op: "unsubscribe", envelope: "coded" },
    PATTERN_RULE,
    UNPARSABLE,
    noData,
  ),
] as const

export const KV_NOTIFY = 111
