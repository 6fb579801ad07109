// One publisher, some subscribers: how many messages arrive each second. Counts what subscribers got and
// never what was sent.

import type { Socket } from "node:net"
import { nextData, type Result, receiveBytes, repeat, timed, writeAll } from "./sockets.ts"
import { filler, fitz, natsSettled, openFitz, openNats } from "./wires.ts"

export interface NoticeLoad {
  readonly peer: "fitz" | "nats"
  readonly port: number
  readonly bodyBytes: number
  readonly subscribers: number
  readonly messages: number
}

const PIECE_BYTES = 65_536
const ROUTE = "notice://bench/area/resource"
const SUBJECT = "bench.area.resource"

export async function run(load: NoticeLoad): Promise<Result> {
  const { publisher, subscribers, message, arrivalBytes } = await (load.peer === "fitz"
    ? overFitz(load)
    : overNats(load))
  const perPiece = Math.floor(PIECE_BYTES / message.length)
  const pieces = Math.ceil(load.messages / perPiece)
  const piece = repeat(message, perPiece)
  const seconds = await timed(async () => {
    const arrived = subscribers.map(socket => receiveBytes(socket, pieces * perPiece * arrivalBytes))
    writeAll(publisher, piece, pieces)
    await Promise.all(arrived)
  })
  return { rate: (pieces * perPiece * load.subscribers) / seconds }
}

interface Prepared {
  readonly publisher: Socket
  readonly subscribers: readonly Socket[]
  readonly message: Buffer
  readonly arrivalBytes: number
}

async function overFitz({ port, bodyBytes, subscribers }: NoticeLoad): Promise<Prepared> {
  const sockets: Socket[] = []
  for (let i = 0; i < subscribers; i++) {
    const socket = await openFitz(port)
    socket.write(fitz.subscribe(ROUTE))
    await nextData(socket)
    sockets.push(socket)
  }
  const message = fitz.publish(ROUTE, filler(bodyBytes))
  // A notification is the publish with the registration's id before it.
  return { publisher: await openFitz(port), subscribers: sockets, message, arrivalBytes: message.length + 8 }
}

async function overNats({ port, bodyBytes, subscribers }: NoticeLoad): Promise<Prepared> {
  const sockets: Socket[] = []
  for (let i = 0; i < subscribers; i++) {
    const socket = await openNats(port)
    await natsSettled(socket, `SUB ${SUBJECT} 1\r\n`)
    sockets.push(socket)
  }
  const body = filler(bodyBytes)
  return {
    publisher: await openNats(port),
    subscribers: sockets,
    message: Buffer.concat([Buffer.from(`PUB ${SUBJECT} ${bodyBytes}\r\n`), body, Buffer.from("\r\n")]),
    arrivalBytes: `MSG ${SUBJECT} 1 ${bodyBytes}\r\n`.length + bodyBytes + 2,
  }
}
