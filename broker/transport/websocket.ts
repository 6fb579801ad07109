// WebSocket: one inner frame per binary message. The outer length that frames carry inside the broker is
// added on the way in and left away on the way out.

import type { Socket } from "node:net"
import type { WebSocket } from "ws"
import { viewOf } from "../../protocol/bytes.ts"
import { OUTER_BYTES } from "../../protocol/frame.ts"
import type { Carrier } from "./connection.ts"

/** Close codes (RFC 6455 §7.4.1); to programs they carry no meaning (PROTOCOL.md, F-9). */
const CODES = {
  slow: 1013,
  draining: 1001,
  violation: 1008,
  closed: 1008,
  refused: 1008,
  timeout: 1008,
} as const
const REASONS = {
  slow: "too slow",
  draining: "draining",
  violation: "violation",
  closed: "closed by an operator",
  refused: "refused",
  timeout: "timeout",
} as const
/** After this long a closing connection is cut, whether the other side has closed or not. */
export const CLOSE_WITHIN_MS = 2_000
const SEND = { binary: true, compress: false } as const

export class WebSocketCarrier implements Carrier {
  private readonly socket: WebSocket
  private readonly raw: Socket

  constructor(socket: WebSocket, raw: Socket) {
    this.socket = socket
    this.raw = raw
  }

  send(frames: Uint8Array, taken: () => void): void {
    const view = viewOf(frames)
    this.raw.cork()
    for (let at = 0; at < frames.length; ) {
      const end = at + OUTER_BYTES + view.getUint32(at)
      const inner = frames.subarray(at + OUTER_BYTES, end)
      if (end < frames.length) this.socket.send(inner, SEND)
      else this.socket.send(inner, SEND, taken)
      at = end
    }
    this.raw.uncork()
  }

  close(ending: keyof typeof CODES): void {
    // The other side's close frame ends the wait, and a paused socket would never read it.
    this.socket.resume()
    this.socket.close(CODES[ending], REASONS[ending])
    // Whoever does not read will not read a close frame either.
    if (ending === "slow") this.raw.setTimeout(1, () => this.socket.terminate())
  }

  destroy(): void {
    this.socket.terminate()
  }

  pause(): void {
    this.socket.pause()
  }

  resume(): void {
    this.socket.resume()
  }
}

/** An inner frame in the outer form. */
export function withOuterLength(inner: Uint8Array): Uint8Array {
  const frame = new Uint8Array(OUTER_BYTES + inner.length)
  viewOf(frame).setUint32(0, inner.length)
  frame.set(inner, OUTER_BYTES)
  return frame
}
