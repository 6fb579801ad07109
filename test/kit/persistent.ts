// A program that comes back: it reconnects, makes its registrations again and repeats what is safe to repeat,
// as the public client does. What belonged to the old connection it takes for lost.

import { setTimeout as pause } from "node:timers/promises"
import { type Caller, openCaller, Refused, type SocketWire, type Transport } from "./caller.ts"

type Live = Caller<SocketWire>

const RECONNECT_MS_FIRST = 5
const RECONNECT_MS_MAX = 200

export class Persistent {
  private readonly transport: Transport
  private readonly port: () => number
  private readonly token: () => Promise<string>
  private readonly registrations: ((caller: Live) => Promise<unknown>)[] = []
  private live: Promise<Live>
  private ended = false
  /** Connections made so far. */
  connections = 0

  constructor(transport: Transport, port: () => number, token: () => Promise<string> = async () => "") {
    this.transport = transport
    this.port = port
    this.token = token
    this.live = this.connect()
    this.live.catch(() => undefined) // whoever waits for the connection hears of it
  }

  /** The connection there is, or the next one. */
  async connection(): Promise<Live> {
    for (;;) {
      const live = await this.live
      if (live.open) return live
      await pause(RECONNECT_MS_FIRST)
    }
  }

  private async connect(): Promise<Live> {
    for (let waitMs = RECONNECT_MS_FIRST; ; waitMs = Math.min(waitMs * 2, RECONNECT_MS_MAX)) {
      if (this.ended) throw new Error("this program has ended")
      try {
        const live = await openCaller(this.transport, this.port(), await this.token())
        for (const register of this.registrations) await register(live)
        await live.settle()
        this.connections++
        void live.closed.then(() => {
          if (this.ended) return
          this.live = this.connect()
          this.live.catch(() => undefined)
        })
        return live
      } catch (error) {
        if (error instanceof Refused) throw error
        await pause(waitMs)
      }
    }
  }

  /** Makes a registration now and on every connection to come. */
  async register(make: (caller: Live) => Promise<unknown>): Promise<void> {
    await this.retry(make)
    this.registrations.push(make)
  }

  /** Repeats a request that is safe to repeat until it is answered, on whatever connection. */
  async retry<T>(request: (caller: Live) => Promise<T>): Promise<T> {
    for (;;) {
      const live = await this.connection()
      try {
        return await request(live)
      } catch (error) {
        if (error instanceof Refused || live.open) throw error
      }
    }
  }

  /** Runs the work once for every connection there is, one after the other, until it returns true. */
  async each(work: (caller: Live) => Promise<boolean>): Promise<void> {
    for (;;) {
      const live = await this.connection()
      try {
        if (await work(live)) return
      } catch (error) {
        if (error instanceof Refused || live.open) throw error
      }
    }
  }

  async close(): Promise<void> {
    this.ended = true
    const live = await this.live.catch(() => null)
    await live?.close()
  }
}
