// Appending to streams, each batch acknowledged after the sync: our streams, or JetStream publishing with as
// many messages in flight.

import { median, nextData, type Result, repeat, timed } from "./sockets.ts"
import { eachReply, filler, fitz, natsSettled, openFitz, openNats, payloadAt } from "./wires.ts"

export interface AppendLoad {
  readonly peer: "fitz" | "jetstream"
  readonly port: number
  readonly streams: number
  /** Events of one commit; for JetStream, messages in flight on each stream. */
  readonly batch: number
  readonly events: number
}

const BODY_BYTES = 256

export function run(load: AppendLoad): Promise<Result> {
  return load.peer === "fitz" ? overFitz(load) : overJetStream(load)
}

/** The next BEGIN travels with the COMMIT before it, so that a batch takes one round trip. */
async function overFitz({ port, streams, batch, events }: AppendLoad): Promise<Result> {
  const append = fitz.append(filler(BODY_BYTES))
  const run = performance.now()
  const waits: number[] = []
  const works = await Promise.all(
    Array.from({ length: streams }, async (_, index) => {
      const socket = await openFitz(port)
      const begin = fitz.begin(`stream://bench/area/r${index}-${run}`)
      return { socket, begin, frames: Buffer.concat([repeat(append, batch), fitz.commit(), begin]) }
    }),
  )
  const payload = payloadAt(601)
  let done = 0
  const seconds = await timed(
    () =>
      new Promise(resolve => {
        for (const { socket, begin, frames } of works) {
          let offset = 0
          let since = performance.now()
          eachReply(socket, (buffer, type, at) => {
            if (type === 602) {
              done += batch
              waits.push(performance.now() - since)
              since = performance.now()
              if (done >= events) resolve()
              return
            }
            if (type !== 600 || done >= events) return
            const session = buffer.subarray(at + 1, at + 9)
            for (let i = 0; i < batch; i++) {
              session.copy(frames, i * append.length + payload)
              frames.writeUInt32BE(offset++, i * append.length + payload + 12)
            }
            session.copy(frames, batch * append.length + payload)
            socket.write(Buffer.from(frames))
          })
          socket.write(begin)
        }
      }),
  )
  return { rate: done / seconds, ...(streams === 1 ? { medianMicros: median(waits) * 1_000 } : {}) }
}

async function overJetStream({ port, streams, batch, events }: AppendLoad): Promise<Result> {
  const socket = await openNats(port)
  await natsSettled(socket, "SUB _INBOX.a 1\r\n")
  for (let i = 0; i < streams; i++) {
    const config = JSON.stringify({
      name: `S${i}`,
      subjects: [`s.${i}`],
      storage: "file",
      retention: "limits",
      num_replicas: 1,
    })
    socket.write(`PUB $JS.API.STREAM.CREATE.S${i} _INBOX.a ${config.length}\r\n${config}\r\n`)
    await nextData(socket)
  }
  const requests = Array.from({ length: streams }, (_, i) =>
    Buffer.from(`PUB s.${i} _INBOX.a ${BODY_BYTES}\r\n${filler(BODY_BYTES).toString()}\r\n`),
  )
  const waits: number[] = []
  let sent = 0
  let done = 0
  const seconds = await timed(
    () =>
      new Promise(resolve => {
        const send = (count: number): void => {
          const pieces: Buffer[] = []
          for (let i = 0; i < count && sent < events; i++) pieces.push(requests[sent++ % streams]!)
          if (pieces.length > 0) socket.write(Buffer.concat(pieces))
        }
        let since = performance.now()
        const acknowledged = countMarks("}\r\n")
        socket.on("data", piece => {
          const answers = acknowledged(piece)
          done += answers
          if (streams === 1 && answers > 0) {
            waits.push(performance.now() - since)
            since = performance.now()
          }
          if (done >= events) resolve()
          else send(answers)
        })
        send(streams * batch)
      }),
  )
  return { rate: events / seconds, ...(streams === 1 ? { medianMicros: median(waits) * 1_000 } : {}) }
}

/** Counts a short text in a stream, also where a piece ends within it. */
function countMarks(mark: string): (piece: Buffer) => number {
  let tail = ""
  return piece => {
    const text = tail + piece.toString("latin1")
    let count = 0
    let from = 0
    for (let at = text.indexOf(mark); at >= 0; at = text.indexOf(mark, from)) {
      count++
      from = at + mark.length
    }
    tail = text.slice(Math.max(from, text.length - mark.length + 1))
    return count
  }
}
