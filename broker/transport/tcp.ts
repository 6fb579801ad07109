// Raw TCP: frames with their outer length, straight from and to the socket. It must never look into a frame,
// and never wait for a peer that does not close its side.

import type { Socket } from "node:net"
import type { Carrier } from "./connection.ts"

/** After this long a closing connection is cut, whether the other side has closed or not. */
const CLOSE_WITHIN_MS = 2_000

export class TcpCarrier implements Carrier {
  private readonly socket: Socket

  constructor(socket: Socket) {
    this.socket = socket
  }

  send(frames: Uint8Array, taken: () => void): void {
    this.socket.write(frames, taken)
  }

  close(ending: Parameters<Carrier["close"]>[0]): void {
    // Raw TCP has no room for a reason; only a drained program gets the time to read what was sent.
    if (ending !== "draining") {
      this.socket.destroy()
      return
    }
    this.socket.end()
    this.socket.setTimeout(CLOSE_WITHIN_MS, () => this.socket.destroy())
  }

  destroy(): void {
    this.socket.destroy()
  }

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }
}
