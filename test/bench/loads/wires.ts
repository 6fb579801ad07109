// How each system is spoken to: its handshake, and the bytes of the requests that the benchmarks send. Made
// once and sent as they are, so that encoding is not part of what is measured.

import type { Socket } from "node:net"
import { block, bytes, outer, u32, u64 } from "../../kit/bytes.ts"
import { nextData, openSocket } from "./sockets.ts"

export async function openFitz(port: number): Promise<Socket> {
  const socket = await openSocket(port)
  socket.write(outer(1))
  return socket
}

export async function openNats(port: number): Promise<Socket> {
  const socket = await openSocket(port)
  await nextData(socket)
  socket.write('CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\nPING\r\n')
  await nextData(socket)
  return socket
}

/** Sends a NATS line and waits until the server has taken it. */
export async function natsSettled(socket: Socket, line: string): Promise<Buffer> {
  socket.write(`${line}PING\r\n`)
  return nextData(socket)
}

export const filler = (length: number): Buffer => Buffer.alloc(length, "x")

export const fitz = {
  publish: (route: string, body: Uint8Array) => outer(500, bytes(block(route), block(body))),
  subscribe: (pattern: string) => outer(501, block(pattern)),
  enqueue: (route: string, body: Uint8Array) => outer(200, bytes(block(route), block(body), "00")),
  reserve: (route: string, batch: number) =>
    outer(202, bytes(block(route), u64(60), "01", u32(batch), "01", u64(10))),
  complete: (route: string) => outer(204, bytes(block(route), u64(0), u64(0))),
  register: (route: string, credit: number) => outer(300, bytes(block(route), u32(credit))),
  call: (correlation: Uint8Array, route: string, body: Uint8Array) =>
    outer(302, bytes(correlation, block(route), block(body))),
  answer: (body: Uint8Array) => outer(303, bytes(Buffer.alloc(16), u64(0), "01", block(body))),
  begin: (route: string) => outer(600, bytes(block(route), "00")),
  append: (body: Uint8Array) => outer(601, bytes(u64(0), u64(0), block(body), "00", "00")),
  commit: () => outer(602, bytes(u64(0), "01")),
  kvBegin: (route: string) => outer(100, bytes(block(route), "01", "01")),
  kvPut: (route: string, key: Uint8Array, value: Uint8Array) =>
    outer(104, bytes(u64(0), block(route), block(key), block(value))),
  kvCommit: (route: string) => outer(101, bytes(u64(0), block(route))),
}

/** Where the payload of a frame in the outer form begins. */
export function payloadAt(type: number): number {
  return type < 255 ? 7 : 9
}

/** Calls back for each whole reply of ours: its type, and where its payload begins. A refusal throws. */
export function eachReply(
  socket: Socket,
  take: (buffer: Buffer, type: number, payload: number) => void,
): void {
  let rest: Buffer = Buffer.alloc(0)
  socket.on("data", piece => {
    rest = rest.length === 0 ? piece : Buffer.concat([rest, piece])
    let at = 0
    while (rest.length - at >= 4) {
      const end = at + 4 + rest.readUInt32BE(at)
      if (end > rest.length) break
      const type = rest[at + 4] === 0xff ? rest.readUInt16BE(at + 5) : rest[at + 4]!
      const payload = at + payloadAt(type)
      if (rest[payload] !== 0)
        throw new Error(`${type} was refused: ${rest.subarray(payload, end).toString("latin1")}`)
      take(rest, type, payload)
      at = end
    }
    rest = rest.subarray(at)
  })
}
