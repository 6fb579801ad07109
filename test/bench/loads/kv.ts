// One key written durably at a time on each connection, a transaction each: PUT and COMMIT travel with the
// BEGIN of the next one, so that a write takes one round trip; or an etcd put over gRPC.

import { type ClientHttp2Session, connect } from "node:http2"
import { bytes, u32 } from "../../kit/bytes.ts"
import { type Result, timed } from "./sockets.ts"
import { filler, fitz, openFitz, payloadAt } from "./wires.ts"

export interface KvLoad {
  readonly peer: "fitz" | "etcd"
  readonly port: number
  readonly connections: number
  readonly writes: number
}

const VALUE_BYTES = 256

export function run(load: KvLoad): Promise<Result> {
  return load.peer === "fitz" ? overFitz(load) : overEtcd(load)
}

const DONE_REPLY_BYTES = 4 + 3 + 1
const BEGIN_REPLY_BYTES = 4 + 3 + 9

async function overFitz({ port, connections, writes }: KvLoad): Promise<Result> {
  const works = await Promise.all(
    Array.from({ length: connections }, async (_, index) => {
      const route = `kv://bench/area/r${index}`
      const put = fitz.kvPut(route, Buffer.from("key"), filler(VALUE_BYTES))
      const begin = fitz.kvBegin(route)
      const frames = Buffer.concat([put, fitz.kvCommit(route), begin])
      return { socket: await openFitz(port), begin, commitAt: put.length, frames }
    }),
  )
  const payload = payloadAt(100)
  let done = 0
  const seconds = await timed(
    () =>
      new Promise(resolve => {
        for (const { socket, begin, commitAt, frames } of works) {
          let rest: Buffer = Buffer.alloc(0)
          let before = 0
          socket.on("data", piece => {
            rest = rest.length === 0 ? piece : Buffer.concat([rest, piece])
            // At first the BEGIN alone is answered, then the PUT and the COMMIT before the next one.
            if (rest.length < before + BEGIN_REPLY_BYTES) return
            for (let at = payload; at <= before + payload; at += DONE_REPLY_BYTES) {
              if (rest[at] !== 0) throw new Error(`refused: ${rest.toString("latin1")}`)
            }
            if (before > 0 && ++done >= writes) {
              resolve()
              return
            }
            rest.copy(frames, payload, before + payload + 1, before + payload + 9)
            rest.copy(frames, commitAt + payload, before + payload + 1, before + payload + 9)
            socket.write(frames)
            before = 2 * DONE_REPLY_BYTES
            rest = Buffer.alloc(0)
          })
          socket.write(begin)
        }
      }),
  )
  return { rate: done / seconds }
}

/** `PutRequest { key = 1, value = 2 }`, with the five bytes that gRPC puts before a message. */
function putRequest(key: Buffer, value: Buffer): Buffer {
  const length = (size: number): Buffer =>
    size < 128 ? Buffer.of(size) : Buffer.of((size & 127) | 128, size >> 7)
  const message = bytes("0a", length(key.length), key, "12", length(value.length), value)
  return bytes("00", u32(message.length), message)
}

async function overEtcd({ port, connections, writes }: KvLoad): Promise<Result> {
  const sessions = await Promise.all(
    Array.from(
      { length: connections },
      () =>
        new Promise<ClientHttp2Session>((resolve, reject) => {
          const session = connect(`http://127.0.0.1:${port}`)
          session.once("connect", () => resolve(session))
          session.once("error", reject)
        }),
    ),
  )
  let started = 0
  let done = 0
  const seconds = await timed(
    () =>
      new Promise((resolve, reject) => {
        for (const [index, session] of sessions.entries()) {
          const request = putRequest(Buffer.from(`key-${index}`), filler(VALUE_BYTES))
          const put = (): void => {
            if (started++ >= writes) return
            const stream = session.request({
              ":method": "POST",
              ":path": "/etcdserverpb.KV/Put",
              "content-type": "application/grpc",
              te: "trailers",
            })
            stream.on("trailers", trailers => {
              if (trailers["grpc-status"] !== "0")
                reject(new Error(`etcd refused: ${trailers["grpc-message"]}`))
            })
            stream.on("end", () => {
              done++
              if (done >= writes) resolve()
              else put()
            })
            stream.resume()
            stream.end(request)
          }
          put()
        }
      }),
  )
  for (const session of sessions) session.destroy()
  return { rate: done / seconds }
}
