// A call to a worker and its answer back, all four ends driven by this process. Counts answers that reached
// their caller.

import type { Socket } from "node:net"
import { median, nextData, type Result, timed } from "./sockets.ts"
import { filler, fitz, natsSettled, openFitz, openNats, payloadAt } from "./wires.ts"

export interface RpcLoad {
  readonly peer: "fitz" | "nats"
  readonly port: number
  readonly inflight: number
  readonly calls: number
}

const BODY_BYTES = 256
const ROUTE = "rpc://bench/area/resource/call"
const SUBJECT = "bench.area.resource.call"
const INBOX = "_INBOX.caller"
const DIGITS = 8

export async function run(load: RpcLoad): Promise<Result> {
  const { caller, worker, request, requestBytes, answer, answerBytes } = await (load.peer === "fitz"
    ? overFitz(load)
    : overNats(load))
  // The worker answers every call that has come, in one write.
  eachFixed(worker, requestBytes, (buffer, from, count) => {
    const answers = Buffer.alloc(count * answer.bytes.length)
    for (let i = 0; i < count; i++) {
      answer.bytes.copy(answers, i * answer.bytes.length)
      const source = from + i * requestBytes + answer.copyFrom
      buffer.copy(answers, i * answer.bytes.length + answer.copyTo, source, source + answer.copyBytes)
    }
    worker.write(answers)
  })
  const waits: number[] = []
  let sent = 0
  let done = 0
  const seconds = await timed(
    () =>
      new Promise(resolve => {
        const send = (count: number): void => {
          const frames: Buffer[] = []
          for (let i = 0; i < count && sent < load.calls; i++) frames.push(request(sent++))
          if (frames.length > 0) caller.write(frames.length === 1 ? frames[0]! : Buffer.concat(frames))
        }
        let since = performance.now()
        eachFixed(caller, answerBytes, (_buffer, _from, count) => {
          done += count
          if (load.inflight === 1) {
            waits.push(performance.now() - since)
            since = performance.now()
          }
          if (done >= load.calls) resolve()
          else send(count)
        })
        send(load.inflight)
      }),
  )
  return { rate: load.calls / seconds, ...(waits.length > 0 ? { medianMicros: median(waits) * 1_000 } : {}) }
}

interface Prepared {
  readonly caller: Socket
  readonly worker: Socket
  request(number: number): Buffer
  /** What reaches the worker, and what reaches the caller. */
  readonly requestBytes: number
  readonly answerBytes: number
  /** The worker's answer, and which part of the request goes into it. */
  readonly answer: {
    readonly bytes: Buffer
    readonly copyFrom: number
    readonly copyTo: number
    readonly copyBytes: number
  }
}

async function overFitz({ port, inflight }: RpcLoad): Promise<Prepared> {
  const worker = await openFitz(port)
  worker.write(fitz.register(ROUTE, Math.max(inflight, 1)))
  await nextData(worker)
  const body = filler(BODY_BYTES)
  const template = fitz.call(Buffer.alloc(16), ROUTE, body)
  const answer = fitz.answer(body)
  const payload = payloadAt(302)
  // Built before the clock starts: only the number in the correlation id changes.
  const frames = Array.from({ length: 1_024 }, () => Buffer.from(template))
  return {
    caller: await openFitz(port),
    worker,
    request: number => {
      const frame = frames[number % frames.length]!
      frame.writeUInt32BE(number, payload)
      return frame
    },
    requestBytes: template.length,
    answerBytes: answer.length,
    answer: { bytes: answer, copyFrom: payload, copyTo: payload, copyBytes: 16 },
  }
}

async function overNats({ port }: RpcLoad): Promise<Prepared> {
  const worker = await openNats(port)
  await natsSettled(worker, `SUB ${SUBJECT} 1\r\n`)
  const caller = await openNats(port)
  await natsSettled(caller, `SUB ${INBOX}.* 1\r\n`)
  const body = filler(BODY_BYTES).toString()
  const inbox = (number: number): string => `${INBOX}.${String(number).padStart(DIGITS, "0")}`
  const frames = Array.from({ length: 1_024 }, () =>
    Buffer.from(`PUB ${SUBJECT} ${inbox(0)} ${BODY_BYTES}\r\n${body}\r\n`),
  )
  const numberAt = `PUB ${SUBJECT} ${INBOX}.`.length
  const arriving = `MSG ${SUBJECT} 1 ${inbox(0)} ${BODY_BYTES}\r\n${body}\r\n`
  const answer = Buffer.from(`PUB ${inbox(0)} ${BODY_BYTES}\r\n${body}\r\n`)
  return {
    caller,
    worker,
    request: number => {
      const frame = frames[number % frames.length]!
      frame.write(String(number).padStart(DIGITS, "0"), numberAt)
      return frame
    },
    requestBytes: arriving.length,
    answerBytes: `MSG ${inbox(0)} 1 ${BODY_BYTES}\r\n${body}\r\n`.length,
    answer: {
      bytes: answer,
      copyFrom: `MSG ${SUBJECT} 1 `.length,
      copyTo: "PUB ".length,
      copyBytes: inbox(0).length,
    },
  }
}

/** NATS asks now and then whether we live, between two messages; nobody has to answer for minutes. */
const PING = Buffer.from("PING\r\n")

/** Calls back with all whole messages of one length that have come: the buffer, where they begin, how many. */
function eachFixed(
  socket: Socket,
  bytes: number,
  take: (buffer: Buffer, from: number, count: number) => void,
): void {
  let rest: Buffer = Buffer.alloc(0)
  socket.on("data", piece => {
    rest = rest.length === 0 ? piece : Buffer.concat([rest, piece])
    let from = 0
    for (let at = 0; ; ) {
      const pinged = rest[at] === PING[0] && rest.length - at >= PING.length
      if (!pinged && rest.length - at >= bytes) {
        at += bytes
        continue
      }
      if (at > from) take(rest, from, (at - from) / bytes)
      from = pinged ? at + PING.length : at
      at = from
      if (!pinged) break
    }
    rest = rest.subarray(from)
  })
}
