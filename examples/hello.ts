// Says hello to a broker over WebSocket, with nothing but the words and bytes of protocol/: a notice to itself,
// then a message through a queue. FITZ_TOKEN holds the token; the first argument may name another broker. It is
// meant to be read; a real program uses a client, which also reconnects, times out and retries.

import { Reader, textOf, viewOf, Writer } from "../protocol/bytes.ts"
import { beginFrame, endFrame, frameType, headerBytes, OUTER_BYTES } from "../protocol/frame.ts"

const [CONNECT, ENQUEUE, RESERVE, COMPLETE] = [1, 200, 202, 204] as const
const [PUBLISH, SUBSCRIBE, NOTIFY] = [500, 501, 504] as const

const socket = new WebSocket(process.argv[2] ?? "ws://127.0.0.1:8080/ws")
socket.binaryType = "arraybuffer"
const waiting = new Map<number, ((reader: Reader) => void)[]>()

/** Sends one message; `write` puts down its payload. */
function send(type: number, write: (payload: Writer) => void): void {
  const writer = new Writer()
  const start = beginFrame(writer, type)
  write(writer)
  endFrame(writer, start)
  // On WebSocket a frame goes without the length that raw TCP puts in front of it.
  socket.send(writer.written.slice(OUTER_BYTES))
}

/** The next message of this type. Replies of one type come in the order of their requests. */
function next(type: number): Promise<Reader> {
  return new Promise(resolve => waiting.set(type, [...(waiting.get(type) ?? []), resolve]))
}

/** A request and its reply, with the status byte read. */
async function ask(type: number, write: (payload: Writer) => void): Promise<Reader> {
  send(type, write)
  const reply = await next(type)
  if (reply.u8() !== 0) throw new Error(`message ${type} was refused`)
  return reply
}

socket.addEventListener("message", ({ data }) => {
  const frame = new Uint8Array(data as ArrayBuffer)
  const view = viewOf(frame)
  const type = frameType(view, 0, frame.length)
  if (typeof type !== "number") throw new Error(`not a frame: ${type}`)
  const [first, ...rest] = waiting.get(type) ?? []
  waiting.set(type, rest)
  first?.(new Reader().reset(frame, view, headerBytes(type), frame.length))
})

socket.addEventListener("close", ({ code }) => {
  if (code === 1000) return
  console.error(`the broker closed the connection (${code}): is FITZ_TOKEN a good token?`)
  process.exitCode = 1
})

socket.addEventListener("open", async () => {
  const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

  const token = utf8(process.env["FITZ_TOKEN"] ?? "")
  send(CONNECT, payload => payload.raw(token, 0, token.length))

  await ask(SUBSCRIBE, payload => payload.text("notice://hello/*/*"))
  const heard = next(NOTIFY)
  send(PUBLISH, payload => {
    payload.text("notice://hello/examples/greeting")
    payload.block(utf8("Hello, everybody."))
  })
  const notice = await heard
  notice.u64()
  console.log("heard:   ", notice.text(), "→", notice.text())

  const route = "queue://hello/examples/jobs"
  const enqueued = await ask(ENQUEUE, payload => {
    payload.text(route)
    payload.block(utf8("Work for later."))
    payload.flag(false)
  })
  console.log("enqueued:", route, "as message", enqueued.u64())

  const reserved = await ask(RESERVE, payload => {
    payload.text(route)
    payload.u64(30)
    payload.flag(false)
    payload.flag(false)
  })
  reserved.u32()
  const [id, lease] = [reserved.u64(), reserved.u64()]
  const body = reserved.span()
  console.log("reserved:", `message ${id}`, "→", textOf(body.bytes, body.start, body.end))

  await ask(COMPLETE, payload => {
    payload.text(route)
    payload.u64(id)
    payload.u64(lease)
  })
  console.log("completed; it is gone for good")
  socket.close(1000)
})
