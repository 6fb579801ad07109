// Durable enqueue, each acknowledged after the sync: our queue, or a Redis stream with appendfsync always.
// What is not acknowledged is not counted.

import { byMark, fixedLength, keepBusy, openSocket, type Result } from "./sockets.ts"
import { filler, fitz, openFitz } from "./wires.ts"

export interface EnqueueLoad {
  readonly peer: "fitz" | "redis"
  readonly port: number
  readonly connections: number
  readonly inflight: number
  readonly messages: number
}

const BODY_BYTES = 256
const REPLY_BYTES = 4 + 3 + 9
const DOLLAR = 0x24

export async function run({ peer, port, connections, inflight, messages }: EnqueueLoad): Promise<Result> {
  const body = filler(BODY_BYTES)
  const open = peer === "fitz" ? openFitz : openSocket
  const sockets = await Promise.all(Array.from({ length: connections }, () => open(port)))
  if (peer === "fitz") {
    return keepBusy(
      sockets,
      inflight,
      messages,
      fitz.enqueue("queue://bench/area/resource", body),
      fixedLength(REPLY_BYTES),
    )
  }
  const parts = ["XADD", "queue", "*", "body", body.toString("latin1")]
  const command = `*${parts.length}\r\n${parts.map(part => `$${part.length}\r\n${part}\r\n`).join("")}`
  return keepBusy(sockets, inflight, messages, Buffer.from(command), byMark(DOLLAR))
}
