// A connection without a network: the third door beside TCP and WebSocket. Bytes go through the product's own
// Connection; what the client has not read stays pending as it would in a socket. Never a timer, never a thread.

import type { Carrier } from "../../broker/transport/connection.ts"
import { type Frame, outer, Splitter } from "./bytes.ts"
import type { Wire } from "./caller.ts"

interface Piece {
  readonly bytes: Buffer
  readonly taken: () => void
}

export class Pipe {
  /** The broker's end. */
  readonly carrier: Carrier
  /** The client's end. */
  readonly wire: Wire
  /** Why the broker ended it; null while it has not. */
  ending: string | null = null
  closed = false
  /** The broker does not read now; what the client sends meanwhile waits. */
  paused = false
  private unread: Buffer[] = []
  private pending: Piece[] = []
  private reading = true
  private readonly splitter = new Splitter()
  private readonly frameListeners: ((frame: Frame) => void)[] = []
  private readonly closeListeners: (() => void)[] = []
  /** Takes what the client sends. */
  onBytes: (bytes: Uint8Array) => void = () => undefined
  /** Hears that the client has closed, or that the broker has. */
  onClosed: () => void = () => undefined

  constructor() {
    this.carrier = {
      send: (frames, taken) => {
        if (this.closed) return
        // The buffer is lent until `taken`.
        this.pending.push({ bytes: Buffer.from(frames), taken })
        if (this.reading) this.read()
      },
      close: ending => this.end(ending),
      destroy: () => this.end("destroyed"),
      pause: () => {
        this.paused = true
      },
      resume: () => {
        this.paused = false
        while (!this.paused && this.unread.length > 0) this.onBytes(this.unread.shift()!)
      },
    }
    this.wire = {
      send: (type, payload) => this.write(outer(type, payload)),
      onFrame: listener => this.frameListeners.push(listener),
      onClose: listener => this.closeListeners.push(listener),
      close: () => this.hangUp(),
    }
  }

  /** Raw bytes from the client. */
  write(bytes: Uint8Array): void {
    if (this.closed) return
    if (this.paused) this.unread.push(Buffer.from(bytes))
    else this.onBytes(bytes)
  }

  /** The client stops reading: what it is sent stays pending. */
  stopReading(): void {
    this.reading = false
  }

  /** The client reads everything that is pending, and goes on reading. */
  startReading(): void {
    this.reading = true
    this.read()
  }

  /** The client reads the oldest piece and no more. False where nothing is pending. */
  readOne(): boolean {
    const piece = this.pending.shift()
    if (piece === undefined) return false
    for (const frame of this.splitter.push(piece.bytes))
      for (const listener of this.frameListeners) listener(frame)
    piece.taken()
    return true
  }

  get pendingBytes(): number {
    return this.pending.reduce((sum, piece) => sum + piece.bytes.length, 0)
  }

  private read(): void {
    let more = this.readOne()
    while (more) more = this.readOne()
  }

  /** The client vanishes. */
  hangUp(): void {
    if (this.closed) return
    this.closed = true
    this.onClosed()
    for (const listener of this.closeListeners) listener()
  }

  private end(ending: string): void {
    if (this.ending !== null) return
    this.ending = ending
    this.hangUp()
  }
}
