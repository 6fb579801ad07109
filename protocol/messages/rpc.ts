// RPC on the wire: messages 300–303, and the answer that the broker itself gives a caller
// (docs/PROTOCOL.md, RPC-*). Calls and answers are forwarded as the bytes that came in.

import { binaryText, type Reader, type Span, type Writer } from "../bytes.ts"
import { Fault } from "../fault.ts"
import { beginFrame, endFrame } from "../frame.ts"
import {
  concreteRoute,
  type MessageRow,
  noData,
  onPattern,
  onRoute,
  patternRoute,
  whole,
} from "../message.ts"
import type { Route } from "../route.ts"

export const RPC_FAULTS = {
  timeout: new Fault(6001, "the call timed out"),
  workerLost: new Fault(6002, "the worker is gone"),
  backpressure: new Fault(6003, "too many calls are waiting"),
  noWorker: new Fault(6004, "no worker is registered for this route"),
  invalidSequence: new Fault(6006, "invalid sequence"),
  duplicate: new Fault(6007, "a call with this correlation id is live"),
  unauthorized: new Fault(6009, "unauthorized"),
  backend: new Fault(6010, "the request could not be handled"),
  invalidRoute: new Fault(6011, "invalid route"),
  invalidPattern: new Fault(6012, "invalid pattern"),
  registrationLimit: new Fault(6013, "registration limit reached"),
} as const

export const CORRELATION_BYTES = 16
export const RPC_CALL = 302
export const RPC_ANSWER = 303
export const WORKER_CREDIT_MAX = 1_024

export interface RpcRegister {
  readonly op: "register"
  readonly pattern: Route
  readonly credit: number
}
export interface RpcUnregister {
  readonly op: "unregister"
  readonly pattern: Route
}
export interface RpcCall {
  readonly op: "call"
  /** The 16 bytes as text, one character a byte: a key, never shown. */
  readonly correlation: string
  readonly route: Route
  /** The whole payload, as it goes to the worker. */
  readonly payload: Span
}
export interface RpcAnswer {
  readonly op: "answer"
  readonly correlation: string
  readonly sequence: number
  readonly last: boolean
  /** The whole payload, as it goes to the caller. */
  readonly payload: Span
}
export type RpcRequest = RpcRegister | RpcUnregister | RpcCall | RpcAnswer

/** The key of the correlation id at `at`: `binaryText` in one piece, which a map hashes without joining it first. */
function correlationAt(b: Uint8Array, at: number): string {
  return String.fromCharCode(
    b[at]!,
    b[at + 1]!,
    b[at + 2]!,
    b[at + 3]!,
    b[at + 4]!,
    b[at + 5]!,
    b[at + 6]!,
    b[at + 7]!,
    b[at + 8]!,
    b[at + 9]!,
    b[at + 10]!,
    b[at + 11]!,
    b[at + 12]!,
    b[at + 13]!,
    b[at + 14]!,
    b[at + 15]!,
  )
}

/** A whole 303 by which the broker ends a call (PROTOCOL.md, RPC-14). */
export function writeCallFault(writer: Writer, correlation: string, fault: Fault): void {
  const start = beginFrame(writer, RPC_ANSWER)
  for (let i = 0; i < CORRELATION_BYTES; i++) writer.u8(correlation.charCodeAt(i) & 0xff)
  writer.u64(0)
  writer.u8(1)
  const lengthAt = writer.at
  writer.u32(0)
  writer.u8(1)
  writer.u32(fault.code)
  writer.text(fault.text)
  writer.view.setUint32(lengthAt, writer.at - lengthAt - 4)
  endFrame(writer, start)
}

function payloadOf(reader: Reader): Span {
  return { bytes: reader.bytes, start: reader.at, end: reader.end }
}

/**
 * Refuses a 302 whose payload may not even hold a correlation id; what is missing of it is zero, and no
 * caller waits for that.
 */
function refuseCall(writer: Writer, payload: Span, fault: Fault): void {
  const held = Math.min(CORRELATION_BYTES, payload.end - payload.start)
  const correlation = binaryText(payload.bytes, payload.start, payload.start + held)
  writeCallFault(writer, correlation.padEnd(CORRELATION_BYTES, "\0"), fault)
}

const RULE = { scheme: "rpc", fault: RPC_FAULTS.invalidRoute } as const
const PATTERN_RULE = { scheme: "rpc", fault: RPC_FAULTS.invalidPattern } as const
const UNPARSABLE = RPC_FAULTS.backend

export const rpcMessages = [
  {
    type: 300,
    name: "RPC SUBSCRIBE_WORKER",
    envelope: "coded",
    needs: onPattern("all"),
    read(reader, routes) {
      const pattern = patternRoute(reader, routes, PATTERN_RULE)
      const credit = reader.u32()
      return whole(reader, pattern, UNPARSABLE, pattern => {
        if (credit < 1 || credit > WORKER_CREDIT_MAX) {
          return UNPARSABLE.because(`maxConcurrent is 1 to ${WORKER_CREDIT_MAX}`)
        }
        return { op: "register", pattern, credit }
      })
    },
    write: noData,
  } satisfies MessageRow<RpcRegister, null>,
  {
    type: 301,
    name: "RPC UNSUBSCRIBE_WORKER",
    envelope: "coded",
    needs: onPattern("all"),
    read(reader, routes) {
      const pattern = patternRoute(reader, routes, PATTERN_RULE)
      return whole(reader, pattern, UNPARSABLE, pattern => ({ op: "unregister", pattern }))
    },
    write: noData,
  } satisfies MessageRow<RpcUnregister, null>,
  {
    type: RPC_CALL,
    name: "RPC REQUEST",
    envelope: "none",
    needs: onRoute("write"),
    refuse: refuseCall,
    read(reader, routes) {
      const payload = payloadOf(reader)
      reader.skip(CORRELATION_BYTES)
      const route = concreteRoute(reader, routes, RULE)
      reader.block()
      if (!reader.whole) return UNPARSABLE.because("the payload does not parse")
      if (route instanceof Fault) return route
      return { op: "call", correlation: correlationAt(payload.bytes, payload.start), route, payload }
    },
    write: noData,
  } satisfies MessageRow<RpcCall, null>,
  {
    type: RPC_ANSWER,
    name: "RPC RESPONSE",
    envelope: "none",
    read(reader) {
      const payload = payloadOf(reader)
      reader.skip(CORRELATION_BYTES)
      const sequence = reader.u64()
      // Every bit but the lowest is reserved and must be zero.
      const last = reader.flag()
      reader.block()
      if (!reader.whole) return UNPARSABLE.because("the payload does not parse")
      return {
        op: "answer",
        correlation: correlationAt(payload.bytes, payload.start),
        sequence,
        last,
        payload,
      }
    },
    write: noData,
  } satisfies MessageRow<RpcAnswer, null>,
] as const
