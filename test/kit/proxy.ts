// A bad network between programs and a broker: a TCP proxy that holds, tears and cuts connections when a test
// says so. It never looks into what it carries.

import { connect, createServer, type Server, type Socket } from "node:net"

interface Link {
  readonly near: Socket
  readonly far: Socket
}

export class Network {
  private readonly server: Server
  private readonly links = new Set<Link>()
  private readonly target: () => number
  private holding = false
  private refusing = false
  /** Bytes from programs that still pass before the connection that sends them is torn; null: all pass. */
  private tearAfter: number | null = null
  /** Connections carried so far. */
  carried = 0

  private constructor(server: Server, target: () => number) {
    this.server = server
    this.target = target
  }

  /** Listens on a free port and carries connections to whatever `target` says at the time. */
  static async open(target: () => number): Promise<Network> {
    const server = createServer({ allowHalfOpen: true, noDelay: true })
    const proxy = new Network(server, target)
    server.on("connection", near => proxy.carry(near))
    await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve))
    return proxy
  }

  get port(): number {
    const bound = this.server.address()
    if (bound === null || typeof bound === "string") throw new Error("the proxy is closed")
    return bound.port
  }

  get open(): number {
    return this.links.size
  }

  private carry(near: Socket): void {
    if (this.refusing) {
      near.resetAndDestroy()
      return
    }
    this.carried++
    const far = connect({ port: this.target(), host: "127.0.0.1", noDelay: true, allowHalfOpen: true })
    const link = { near, far }
    this.links.add(link)
    const drop = (): void => {
      this.links.delete(link)
      near.destroy()
      far.destroy()
    }
    for (const socket of [near, far]) {
      socket.on("error", drop)
      socket.on("close", drop)
    }
    if (this.holding) this.stop(link)
    near.on("data", piece => {
      if (this.tearAfter !== null && piece.length >= this.tearAfter) {
        const passed = piece.subarray(0, this.tearAfter)
        this.tearAfter = null
        // What passed is to arrive; a reset would take it back from the other side's buffers.
        far.end(passed)
        near.destroy()
        return
      }
      if (this.tearAfter !== null) this.tearAfter -= piece.length
      far.write(piece)
    })
    far.on("data", piece => near.write(piece))
    near.on("end", () => far.end())
    far.on("end", () => near.end())
  }

  private stop({ near, far }: Link): void {
    near.pause()
    far.pause()
  }

  /** Carries nothing until `release`, in neither direction; connections stay. */
  hold(): void {
    this.holding = true
    for (const link of this.links) this.stop(link)
  }

  release(): void {
    this.holding = false
    for (const { near, far } of this.links) {
      near.resume()
      far.resume()
    }
  }

  /** Ends all connections at once, on both sides. */
  cut(): void {
    for (const { near, far } of [...this.links]) {
      near.resetAndDestroy()
      far.resetAndDestroy()
    }
  }

  /** Lets so many more bytes of programs pass and then tears the connection that sends. */
  tear(afterBytes: number): void {
    this.tearAfter = afterBytes
  }

  /** Takes no new connections until `admit`. */
  refuse(): void {
    this.refusing = true
  }

  admit(): void {
    this.refusing = false
  }

  async close(): Promise<void> {
    this.cut()
    await new Promise(resolve => this.server.close(resolve))
  }
}
