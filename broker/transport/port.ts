// The port: HTTP, WebSocket and raw TCP on one listener, told apart by the first bytes (docs/PROTOCOL.md,
// T-1 … T-8). TLS, where it is configured, is opened first and looked into again.

import { createServer, type Server, type Socket } from "node:net"
import { createSecureContext, createServer as createTlsServer, type Server as TlsServer } from "node:tls"
import { FRAME_BYTES_MAX, OUTER_BYTES } from "../../protocol/frame.ts"

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"].map(
  name => `${name} `,
)
const HTTP2_PREFACE = "PRI * HTTP/2.0"
const METHOD_BYTES_MAX = 16
const TLS_HANDSHAKE = 0x16
/** Whoever got a last word has this long to close. */
const LAST_WORD_MS = 1_000

/** A silent peer is asked after this long whether it is still there; the system's own default is two hours. */
const KEEP_ALIVE_AFTER_MS = 30_000

/** What the first bytes of a connection show it to be. */
export type Protocol = "http" | "http2" | "tls" | "tcp" | "malformed" | "more"

/** Looks at the first bytes; `more` asks for further ones. */
export function detect(bytes: Uint8Array): Protocol {
  const first = bytes[0]
  if (first === undefined) return "more"
  if (first === TLS_HANDSHAKE) return "tls"
  if (first >= 0x41 && first <= 0x5a)
    return detectHttp(Buffer.from(bytes.subarray(0, METHOD_BYTES_MAX)).toString("latin1"))
  if (bytes.length < OUTER_BYTES) return first === 0 ? "more" : "malformed"
  const length = Buffer.from(bytes.buffer, bytes.byteOffset, OUTER_BYTES).readUInt32BE(0)
  return length === 0 || length > FRAME_BYTES_MAX ? "malformed" : "tcp"
}

function detectHttp(text: string): Protocol {
  if (METHODS.some(method => text.startsWith(method))) return "http"
  if (text.startsWith(HTTP2_PREFACE)) return "http2"
  const open = [...METHODS, HTTP2_PREFACE].some(start => start.startsWith(text))
  return open && text.length < METHOD_BYTES_MAX ? "more" : "malformed"
}

export interface TlsFiles {
  readonly cert: string
  readonly key: string
}

export interface PortOptions {
  /** Takes an HTTP connection, its first bytes still unread. */
  readonly takeHttp: (socket: Socket) => void
  /** Takes a raw TCP connection with its first bytes. False: it is not wanted, and closed. */
  readonly takeTcp: (socket: Socket, first: Uint8Array) => boolean
  readonly tls: TlsFiles | null
  /** Programs may not speak raw TCP in plaintext. */
  readonly tlsOnly: boolean
  readonly detectTimeoutMs: number
  readonly later: (ms: number, work: () => void) => () => void
  /** A connection was closed for what it began with. */
  readonly onMalformed: (reason: "detection" | "timeout" | "tls") => void
}

export interface BoundPort {
  readonly address: string
  readonly port: number
}

export class Port {
  private readonly options: PortOptions
  private readonly servers: Server[] = []
  private readonly sockets = new Set<Socket>()
  /** For everything, and for raw TCP alone. They listen nowhere: connections are handed to them. */
  private readonly tls: { readonly any: TlsServer; readonly tcpOnly: TlsServer } | null

  constructor(options: PortOptions) {
    this.options = options
    const { tls } = options
    this.tls = tls === null ? null : { any: this.tlsServer(tls, false), tcpOnly: this.tlsServer(tls, true) }
  }

  /** Listens for everything, or for raw TCP alone. */
  listen(address: string, port: number, tcpOnly: boolean): Promise<BoundPort> {
    const options = {
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_AFTER_MS,
    }
    const server = createServer(options, socket => {
      this.keep(socket)
      this.look(socket, tcpOnly)
    })
    this.servers.push(server)
    return new Promise((resolve, reject) => {
      server.once("error", reject)
      server.listen({ host: address, port, backlog: 4_096 }, () => {
        server.off("error", reject)
        const bound = server.address()
        if (bound === null || typeof bound === "string") reject(new Error("the port has no address"))
        else resolve({ address: bound.address, port: bound.port })
      })
    })
  }

  /** Uses new certificates for connections to come. */
  renew(tls: TlsFiles): void {
    this.tls?.any.setSecureContext(tls)
    this.tls?.tcpOnly.setSecureContext(tls)
  }

  /** Takes no further connections, and ends those that are left. */
  async close(): Promise<void> {
    const closed = this.servers.map(server => new Promise<void>(resolve => server.close(() => resolve())))
    for (const socket of this.sockets) socket.destroy()
    await Promise.all(closed)
  }

  private tlsServer(files: TlsFiles, tcpOnly: boolean): TlsServer {
    const server = createTlsServer({
      ...files,
      allowHalfOpen: true,
      handshakeTimeout: this.options.detectTimeoutMs,
    })
    server.on("secureConnection", socket => {
      this.keep(socket)
      this.look(socket, tcpOnly)
    })
    server.on("tlsClientError", (_error, socket) => {
      this.options.onMalformed("tls")
      socket.destroy()
    })
    return server
  }

  private keep(socket: Socket): void {
    this.sockets.add(socket)
    // A reset is how connections end; the close that follows is what counts.
    socket.on("error", () => socket.destroy())
    socket.once("close", () => this.sockets.delete(socket))
  }

  /** Waits until the first bytes show the protocol, then hands the connection over with those bytes. */
  private look(socket: Socket, tcpOnly: boolean): void {
    let seen: Buffer = Buffer.alloc(0)
    const refuse = (reason: "detection" | "timeout"): void => {
      done()
      this.options.onMalformed(reason)
      socket.destroy()
    }
    const cancel = this.options.later(this.options.detectTimeoutMs, () => refuse("timeout"))
    const done = (): void => {
      cancel()
      socket.off("data", take)
      socket.off("end", ended)
      socket.off("close", done)
    }
    const ended = (): void => {
      done()
      socket.destroy()
    }
    const take = (piece: Buffer): void => {
      seen = seen.length === 0 ? piece : Buffer.concat([seen, piece])
      const protocol = detect(seen)
      if (protocol === "more") return
      const wanted = tcpOnly ? protocol === "tcp" || protocol === "tls" : true
      if (protocol === "malformed" || !wanted) refuse("detection")
      else {
        done()
        this.handOver(socket, protocol, seen, tcpOnly)
      }
    }
    socket.on("data", take)
    socket.once("end", ended)
    socket.once("close", done)
  }

  private handOver(
    socket: Socket,
    protocol: "http" | "http2" | "tls" | "tcp",
    seen: Buffer,
    tcpOnly: boolean,
  ): void {
    const encrypted = "encrypted" in socket
    switch (protocol) {
      case "http":
        socket.pause()
        socket.unshift(seen)
        this.options.takeHttp(socket)
        return
      case "http2":
        this.endWith(
          socket,
          "HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        )
        return
      case "tls":
        if (this.tls === null || encrypted) {
          this.options.onMalformed("tls")
          socket.destroy()
          return
        }
        socket.pause()
        socket.unshift(seen)
        this.tls[tcpOnly ? "tcpOnly" : "any"].emit("connection", socket)
        return
      case "tcp":
        if ((this.options.tlsOnly && !encrypted) || !this.options.takeTcp(socket, seen)) socket.destroy()
    }
  }
  /** Says a last word. What still comes is thrown away unread: a reset could overtake the word. */
  private endWith(socket: Socket, word: string): void {
    socket.once(
      "close",
      this.options.later(LAST_WORD_MS, () => socket.destroy()),
    )
    socket.once("end", () => socket.destroy())
    socket.resume()
    socket.end(word)
  }
}

/** Throws where a certificate and a key do not belong together, or are none. */
export function checkTls(files: TlsFiles): void {
  // The library takes empty text for "none given" and would then open a port that no handshake can succeed on.
  for (const [name, content] of Object.entries(files)) {
    if (!content.includes("-----BEGIN ")) throw new Error(`there is no ${name} in PEM`)
  }
  createSecureContext(files)
}
