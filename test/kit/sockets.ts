// Plain sockets for tests of the doors: bytes out, bytes back, and how the other side ended. It knows nothing of
// any protocol, and it never waits for a time: only for bytes, an end or a close.

import { connect, type Socket } from "node:net"
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls"

export class RawSocket {
  readonly socket: Socket
  private readonly pieces: Buffer[] = []
  private readonly listeners: (() => void)[] = []
  private hasEnded = false
  private hasClosed = false
  /** The other side will send nothing more. */
  readonly ended: Promise<void>
  /** The connection is gone in both directions. Resolves with everything that came. */
  readonly closed: Promise<Buffer>

  constructor(socket: Socket) {
    this.socket = socket
    socket.on("data", piece => {
      this.pieces.push(piece)
      this.heard()
    })
    // A reset is one of the ways in which the other side ends.
    socket.on("error", () => socket.destroy())
    this.ended = new Promise(resolve => {
      const end = (): void => {
        this.hasEnded = true
        this.heard()
        resolve()
      }
      socket.once("end", end)
      socket.once("close", end)
    })
    this.closed = new Promise(resolve => {
      socket.once("close", () => {
        this.hasClosed = true
        this.heard()
        resolve(this.bytes)
      })
    })
  }

  private heard(): void {
    for (const listener of [...this.listeners]) listener()
  }

  /** Everything that has come so far. */
  get bytes(): Buffer {
    return Buffer.concat(this.pieces)
  }

  get text(): string {
    return this.bytes.toString("latin1")
  }

  get isClosed(): boolean {
    return this.hasClosed
  }

  write(bytes: Uint8Array | string): void {
    this.socket.write(bytes)
  }

  /** Writes so that every byte may arrive alone. */
  async writeSlowly(bytes: Uint8Array): Promise<void> {
    for (const byte of bytes) {
      await new Promise<void>(resolve => this.socket.write(Buffer.of(byte), () => resolve()))
      await new Promise<void>(resolve => setImmediate(resolve))
    }
  }

  /** Says that nothing more will be sent. */
  finish(): void {
    this.socket.end()
  }

  /** Resolves once what has come passes; rejects where the other side ends before. */
  until(right: (bytes: Buffer) => boolean): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        if (right(this.bytes)) resolve(this.bytes)
        else if (this.hasEnded) reject(new Error(`the other side ended after: ${this.text}`))
        else return
        this.listeners.splice(this.listeners.indexOf(look), 1)
      }
      this.listeners.push(look)
      look()
    })
  }

  destroy(): void {
    this.socket.destroy()
  }
}

/** Connects. With `allowHalfOpen` our side stays open when the other one has ended. */
export function dial(port: number, { allowHalfOpen = false } = {}): Promise<RawSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true, allowHalfOpen })
    socket.once("error", reject)
    socket.once("connect", () => {
      socket.off("error", reject)
      resolve(new RawSocket(socket))
    })
  })
}

/** Connects inside TLS. Rejects where the handshake fails. */
export function dialTls(port: number, options: ConnectionOptions): Promise<RawSocket> {
  return new Promise((resolve, reject) => {
    const socket: TLSSocket = connectTls({ port, host: "127.0.0.1", ...options })
    socket.once("error", reject)
    socket.once("secureConnect", () => {
      socket.off("error", reject)
      resolve(new RawSocket(socket))
    })
  })
}

export interface HttpAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/** Reads one HTTP answer off the front of the bytes; null while it is not whole. `bodiless` for HEAD. */
export function readHttp(bytes: Buffer, bodiless = false): HttpAnswer | null {
  const text = bytes.toString("latin1")
  const headEnd = text.indexOf("\r\n\r\n")
  if (headEnd < 0) return null
  const [first = "", ...lines] = text.slice(0, headEnd).split("\r\n")
  const headers = Object.fromEntries(
    lines.map(line => {
      const colon = line.indexOf(":")
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    }),
  )
  const length = bodiless ? 0 : Number(headers["content-length"] ?? 0)
  const body = bytes.subarray(headEnd + 4, headEnd + 4 + length)
  if (body.length < length) return null
  return { status: Number(first.split(" ")[1]), headers, body: body.toString("utf8") }
}

/** Sends one request on a socket of its own and reads the answer. */
export async function ask(port: number, request: string): Promise<HttpAnswer> {
  const raw = await dial(port)
  raw.write(request)
  const bytes = await raw.until(bytes => readHttp(bytes, request.startsWith("HEAD ")) !== null)
  raw.destroy()
  return readHttp(bytes, request.startsWith("HEAD "))!
}
