// The whole way of a queue message: enqueue, reserve in batches, complete, all durable. Counts completions,
// because only those prove that the other two have happened.

import { type Result, timed } from "./sockets.ts"
import { eachReply, filler, fitz, openFitz } from "./wires.ts"

export interface CycleLoad {
  readonly peer: "fitz"
  readonly port: number
  readonly producers: number
  readonly consumers: number
  /** Enqueues in flight of one producer. */
  readonly inflight: number
  readonly batch: number
  readonly messages: number
}

const BODY_BYTES = 256
const ROUTE = "queue://bench/area/cycle"

export async function run(load: CycleLoad): Promise<Result> {
  const { port, producers, consumers, inflight, batch, messages } = load
  const senders = await Promise.all(Array.from({ length: producers }, () => openFitz(port)))
  const takers = await Promise.all(Array.from({ length: consumers }, () => openFitz(port)))
  const enqueue = fitz.enqueue(ROUTE, filler(BODY_BYTES))
  const reserve = fitz.reserve(ROUTE, batch)
  const complete = fitz.complete(ROUTE)
  let enqueued = 0
  let completed = 0
  const seconds = await timed(
    () =>
      new Promise(resolve => {
        for (const socket of senders) {
          eachReply(socket, () => {
            if (enqueued >= messages) return
            enqueued++
            socket.write(enqueue)
          })
          for (let i = 0; i < inflight && enqueued < messages; i++) {
            enqueued++
            socket.write(enqueue)
          }
        }
        for (const socket of takers) {
          eachReply(socket, (buffer, type, payload) => {
            if (type === 204) {
              completed++
              if (completed >= messages) resolve()
              return
            }
            const count = buffer.readUInt32BE(payload + 1)
            const completions = Buffer.alloc(count * complete.length)
            for (let i = 0, at = payload + 5; i < count; i++) {
              complete.copy(completions, i * complete.length)
              // Id and token stand together in both frames.
              buffer.copy(completions, (i + 1) * complete.length - 16, at, at + 16)
              at += 20 + buffer.readUInt32BE(at + 16)
            }
            socket.write(count === 0 ? reserve : Buffer.concat([completions, reserve]))
          })
          socket.write(reserve)
        }
      }),
  )
  return { rate: messages / seconds }
}
