// Connects many programs over WebSocket, says so on standard output, and holds them until it is ended. A
// process of its own, so that its memory is not taken for the broker's.

import { WebSocket } from "ws"
import { inner } from "../kit/bytes.ts"

const [, , port, count] = process.argv
const AT_ONCE = 100
const all: WebSocket[] = []

function open(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`, { perMessageDeflate: false })
    all.push(socket)
    socket.once("error", reject)
    socket.once("open", () => {
      socket.send(inner(1))
      resolve()
    })
  })
}

while (all.length < Number(count)) await Promise.all(Array.from({ length: AT_ONCE }, open))
console.log(`${all.length} connected`)
