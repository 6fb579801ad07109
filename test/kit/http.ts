// HTTP as a probe or a WebSocket client does it: one request on a connection of its own, nothing hidden. It must
// never follow, retry or keep alive: what one answer was is what a test asks.

import { request } from "node:http"
import { connect } from "node:net"

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
}

/** One request; rejects where the connection ends without an answer. */
export function ask(
  port: number,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  method = "GET",
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request({ host: "127.0.0.1", port, path, method, headers, agent: false }, response => {
      let text = ""
      response.setEncoding("utf8")
      response.on("data", (piece: string) => {
        text += piece
      })
      response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }))
    })
    // An upgrade that succeeds has no answer of this kind.
    sent.on("upgrade", (response, socket) => {
      socket.destroy()
      resolve({ status: response.statusCode ?? 0, headers: response.headers, text: "" })
    })
    sent.on("error", reject)
    sent.end()
  })
}

/** The same for an attempt to open a WebSocket there. */
export function askUpgrade(
  port: number,
  path = "/ws",
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  return ask(port, path, {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    ...headers,
  })
}

/** Sends bytes as they are and returns what came back until the other side closed. */
export function say(port: number, bytes: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = []
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true })
    socket.on("connect", () => socket.write(bytes))
    socket.on("data", piece => pieces.push(piece))
    socket.on("end", () => socket.end())
    // A reset is a close, too.
    socket.on("error", error => ("code" in error && error.code === "ECONNRESET" ? undefined : reject(error)))
    socket.on("close", () => resolve(Buffer.concat(pieces)))
  })
}
