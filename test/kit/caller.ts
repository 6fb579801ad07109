// A small client of the tests' own: matches replies as the public one does, one queue per type, and keeps
// what is pushed. Requests and replies of all domains, as the specification spells them.

import { connect, type Socket } from "node:net"
import { WebSocket } from "ws"
import {
  block,
  bytes,
  Cursor,
  type Frame,
  flag,
  inner,
  opt,
  outer,
  readInner,
  Splitter,
  u8,
  u32,
  u64,
} from "./bytes.ts"

/** A refusal by the broker: its code where the envelope has one, and its text. */
export class Refused extends Error {
  readonly code: number | null

  constructor(code: number | null, text: string) {
    super(code === null ? text : `${code} ${text}`)
    this.code = code
  }
}

/** How frames get to a broker and back. */
export interface Wire {
  send(type: number, payload: Uint8Array): void
  onFrame(listener: (frame: Frame) => void): void
  onClose(listener: () => void): void
  close(): void
}

/** A wire over a real socket, with what only sockets can do. */
export interface SocketWire extends Wire {
  /** Bytes as they are: into the stream on TCP, one binary message on WebSocket. */
  raw(bytes: Uint8Array): void
  /** Takes nothing off the socket until `resume`. */
  pause(): void
  resume(): void
  /** Ends at once, without the good manners of `close`. */
  cut(): void
  /** How the other side closed a WebSocket; null while it is open, and on TCP, which cannot say. */
  readonly closeCode: number | null
}

/** Types of frames that are never replies. */
const PUSHED = new Set([111, 209, 302, 303, 409, 504, 609, 705])
/** Replies whose failures carry no code. */
const PLAIN = new Set([
  100, 101, 102, 103, 104, 105, 106, 107, 108, 203, 204, 207, 208, 600, 601, 700, 701, 703, 704,
])

interface Waiting {
  resolve(frame: Buffer): void
  reject(error: Error): void
}

export class Caller<W extends Wire = Wire> {
  readonly wire: W
  private readonly replies = new Map<number, Waiting[]>()
  private readonly pushes = new Map<number, Buffer[]>()
  private readonly listeners = new Map<number, Waiting[]>()
  /** Every frame that came in, in order. */
  readonly received: Frame[] = []
  private isClosed = false
  readonly closed: Promise<void>

  constructor(wire: W) {
    this.wire = wire
    this.closed = new Promise(resolve => {
      wire.onClose(() => {
        this.isClosed = true
        const gone = new Error("the connection is closed")
        for (const queues of [this.replies, this.listeners]) {
          for (const waiting of [...queues.values()].flat()) waiting.reject(gone)
          queues.clear()
        }
        resolve()
      })
    })
    wire.onFrame(frame => this.take(frame))
  }

  get open(): boolean {
    return !this.isClosed
  }

  private take(frame: Frame): void {
    this.received.push(frame)
    const waiting = PUSHED.has(frame.type) ? undefined : this.replies.get(frame.type)?.shift()
    if (waiting !== undefined) {
      waiting.resolve(frame.payload)
      return
    }
    const listener = this.listeners.get(frame.type)?.shift()
    if (listener !== undefined) listener.resolve(frame.payload)
    else put(this.pushes, frame.type, frame.payload)
  }

  /** Sends and waits for nothing. */
  send(type: number, payload: Uint8Array): void {
    this.wire.send(type, payload)
  }

  /** Sends and waits for the next frame of that type. */
  ask(type: number, payload: Uint8Array): Promise<Buffer> {
    if (this.isClosed) return Promise.reject(new Error("the connection is closed"))
    const reply = new Promise<Buffer>((resolve, reject) => put(this.replies, type, { resolve, reject }))
    this.wire.send(type, payload)
    return reply
  }

  /** Sends, waits, and reads what follows the status of a success. Rejects with `Refused`. */
  async call<T>(type: number, payload: Uint8Array, read: (cursor: Cursor) => T): Promise<T> {
    const cursor = new Cursor(await this.ask(type, payload))
    const status = cursor.u8()
    if (status === 0) {
      const value = read(cursor)
      cursor.end()
      return value
    }
    if (status !== 1) throw new Error(`status ${status}`)
    const refused = PLAIN.has(type)
      ? new Refused(null, cursor.text())
      : new Refused(cursor.u32(), cursor.text())
    cursor.end()
    throw refused
  }

  /** The next frame of that type that is no reply, now or later. */
  next(type: number): Promise<Buffer> {
    const pushed = this.pushes.get(type)?.shift()
    if (pushed !== undefined) return Promise.resolve(pushed)
    if (this.isClosed) return Promise.reject(new Error("the connection is closed"))
    return new Promise((resolve, reject) => put(this.listeners, type, { resolve, reject }))
  }

  /** Frames of that type that came unasked and were not taken yet. */
  unread(type: number): readonly Buffer[] {
    return this.pushes.get(type) ?? []
  }

  /** A request that is answered only after everything before it on this connection was handled. */
  async settle(): Promise<void> {
    await this.notice.unsubscribe(0)
    await this.call(110, block("kv://settle/a/b"), nothing)
  }

  close(): Promise<void> {
    this.wire.close()
    return this.closed
  }

  readonly kv = {
    begin: (route: string, mode: "read" | "write", sync = true): Promise<number> =>
      this.call(100, bytes(block(route), u8(mode === "write" ? 1 : 0), flag(sync)), c => c.number()),
    commit: (tx: number, route: string) => this.call(101, bytes(u64(tx), block(route)), nothing),
    rollback: (tx: number, route: string) => this.call(102, bytes(u64(tx), block(route)), nothing),
    get: (tx: number, route: string, key: Bytes): Promise<Buffer | null> =>
      this.call(103, bytes(u64(tx), block(route), block(key)), c => c.opt(c => c.block())),
    put: (tx: number, route: string, key: Bytes, value: Bytes) =>
      this.call(104, bytes(u64(tx), block(route), block(key), block(value)), nothing),
    insert: (tx: number, route: string, key: Bytes, value: Bytes) =>
      this.call(105, bytes(u64(tx), block(route), block(key), block(value)), nothing),
    delete: (tx: number, route: string, key: Bytes) =>
      this.call(106, bytes(u64(tx), block(route), block(key)), nothing),
    deleteRange: (tx: number, route: string, start: Bytes, end: Bytes) =>
      this.call(107, bytes(u64(tx), block(route), block(start), block(end)), nothing),
    scan: (
      tx: number,
      route: string,
      {
        start,
        end,
        limit,
        reverse = false,
      }: { start?: Bytes; end?: Bytes; limit?: number; reverse?: boolean } = {},
    ): Promise<{ pairs: (readonly [Buffer, Buffer])[]; more: boolean }> =>
      this.call(
        108,
        bytes(u64(tx), block(route), opt(start, block), opt(end, block), opt(limit, u32), flag(reverse)),
        c => ({ pairs: times(c.u32(), () => [c.block(), c.block()] as const), more: c.flag() }),
      ),
    subscribe: (pattern: string) => this.call(109, block(pattern), c => c.number()),
    unsubscribe: (pattern: string) => this.call(110, block(pattern), nothing),
    /** 111 */
    next: async () => {
      const c = new Cursor(await this.next(111))
      return ended(c, { subscription: c.number(), route: c.text(), mutations: c.number() })
    },
  }

  readonly queue = {
    enqueue: (route: string, body: Bytes, delaySeconds?: number): Promise<number> =>
      this.call(200, bytes(block(route), block(body), opt(delaySeconds, u64)), c => c.number()),
    reserve: (
      pattern: string,
      { lease = 30, batch, wait }: { lease?: number | bigint; batch?: number; wait?: number } = {},
    ): Promise<{ route: string; id: number; token: bigint; body: Buffer }[]> =>
      this.call(202, bytes(block(pattern), u64(lease), opt(batch, u32), opt(wait, u64)), c =>
        c.left === 0
          ? []
          : times(c.u32(), () => ({
              route: pattern.includes("*") ? c.text() : pattern,
              id: c.number(),
              token: c.u64(),
              body: c.block(),
            })),
      ),
    extend: (route: string, id: number, token: bigint, lease: number | bigint) =>
      this.call(203, bytes(block(route), u64(id), u64(token), u64(lease)), nothing),
    complete: (route: string, id: number, token: bigint) =>
      this.call(204, bytes(block(route), u64(id), u64(token)), nothing),
    subscribe: (pattern: string) => this.call(207, block(pattern), flaggedId),
    unsubscribe: (pattern: string) => this.call(208, block(pattern), nothing),
    /** 209 */
    next: async () => {
      const c = new Cursor(await this.next(209))
      return ended(c, {
        subscription: c.number(),
        route: c.text(),
        ready: c.number(),
        delayed: c.number(),
        inflight: c.number(),
      })
    },
  }

  readonly rpc = {
    register: (pattern: string, credit = 1) => this.call(300, bytes(block(pattern), u32(credit)), nothing),
    unregister: (pattern: string) => this.call(301, block(pattern), nothing),
    /** Sends a call; answers are read with `answer`. */
    call: (correlation: Uint8Array, route: string, body: Bytes) =>
      this.send(302, bytes(correlation, block(route), block(body))),
    /** As worker: the next 302. */
    take: async () => {
      const c = new Cursor(await this.next(302))
      return ended(c, { correlation: c.raw(16), route: c.text(), body: c.block() })
    },
    /** As worker: sends a 303. */
    reply: (correlation: Uint8Array, sequence: number, last: boolean, body: Bytes) =>
      this.send(303, bytes(correlation, u64(sequence), flag(last), block(body))),
    /** As caller: the next 303; `fault` is set where the body is a broker's error. */
    answer: async () => {
      const c = new Cursor(await this.next(303))
      const answer = { correlation: c.raw(16), sequence: c.number(), last: c.flag(), body: c.block() }
      c.end()
      return { ...answer, fault: faultIn(answer.body) }
    },
  }

  readonly lease = {
    acquire: (route: string, ttl: number | bigint, wait?: number, owner = "") =>
      this.call(
        400,
        bytes(block(route), block(owner), u64(ttl), wait === undefined ? bytes() : u32(wait)),
        c => ({
          kind: c.u8(),
          token: c.number(),
        }),
      ),
    renew: (route: string, token: number, ttl: number | bigint, owner = "") =>
      this.call(401, bytes(block(route), block(owner), u64(token), u64(ttl)), c => c.number()),
    release: (route: string, token: number, owner = "") =>
      this.call(402, bytes(block(route), block(owner), u64(token)), nothing),
    query: (route: string) =>
      this.call(403, block(route), c => ({
        holder: c.opt(c => ({ owner: c.text(), ttlLeft: c.number() })),
        waiters: c.u32(),
      })),
    subscribe: (route: string) => this.call(407, block(route), c => c.number()),
    unsubscribe: (route: string) => this.call(408, block(route), nothing),
    /** The second 400 of a wait: a grant, or a refusal as `Refused`. */
    granted: async () => {
      const c = new Cursor(await this.next(400))
      if (c.u8() !== 0) throw new Refused(c.u32(), c.text())
      return ended(c, { kind: c.u8(), token: c.number() })
    },
    /** 409 */
    next: async () => {
      const c = new Cursor(await this.next(409))
      return ended(c, { subscription: c.number(), route: c.text(), rest: c.u32() })
    },
  }

  readonly notice = {
    publish: (route: string, body: Bytes) => this.send(500, bytes(block(route), block(body))),
    subscribe: (pattern: string) => this.call(501, block(pattern), flaggedId),
    unsubscribe: (id: number) => this.call(502, u64(id), nothing),
    unsubscribeAll: () => this.call(503, bytes(), nothing),
    /** 504 */
    next: async () => {
      const c = new Cursor(await this.next(504))
      return ended(c, { subscription: c.number(), route: c.text(), body: c.block() })
    },
  }

  readonly stream = {
    begin: (route: string) => this.call(600, bytes(block(route), u8(0)), c => c.number()),
    append: (
      session: number,
      expected: number | bigint,
      body: Bytes,
      { meta, discriminator }: { meta?: Bytes; discriminator?: string } = {},
    ) =>
      this.call(
        601,
        bytes(u64(session), u64(expected), block(body), opt(meta, block), opt(discriminator, block)),
        c => {
          if (c.u32() !== 8) throw new Error("the inner length is not 8")
          return c.number()
        },
      ),
    commit: (session: number, sync = true) => this.call(602, bytes(u64(session), flag(sync)), nothing),
    rollback: (session: number) => this.call(603, u64(session), nothing),
    read: (selector: string, from: number | bigint, limit: number, more: ReadOptions = {}): Promise<Page> =>
      this.call(
        604,
        bytes(
          block(selector),
          u64(from),
          u64(limit),
          opt(more.maxBytes, u64),
          opt(more.filter, block),
          opt(more.fingerprint, u64),
          opt(more.watermark, u64),
        ),
        c => readPage(c, selector === "stream://**" || selector === "stream://*/*/*"),
      ),
    last: (route: string) => this.call(605, block(route), c => (c.left === 0 ? null : readRecord(c, false))),
    metadata: (route: string) =>
      this.call(606, block(route), c => ({
        first: c.opt(c => c.number()),
        last: c.opt(c => c.number()),
        count: c.number(),
        maxBatchEvents: c.number(),
        maxBatchBytes: c.number(),
        ttlSeconds: c.opt(c => c.number()),
        areaWatermark: c.number(),
        realmWatermark: c.number(),
      })),
    subscribe: (selector: string) => this.call(607, block(selector), flaggedId),
    unsubscribe: (selector: string) => this.call(608, block(selector), nothing),
    /** 609 */
    next: async () => {
      const c = new Cursor(await this.next(609))
      return ended(c, {
        subscription: c.number(),
        route: c.text(),
        notice: JSON.parse(c.text()) as Record<string, number | string>,
      })
    },
  }

  readonly schedule = {
    create: (route: string, cron: string, mode: "broadcast" | "single", payload: Bytes) =>
      this.call(700, bytes(block(route), block(cron), flag(mode === "single"), block(payload)), nothing),
    cancel: (route: string) => this.call(701, block(route), nothing),
    list: (offset?: number, limit?: number) =>
      this.call(702, bytes(opt(offset, u64), opt(limit, u64)), c => {
        const total = c.number()
        const entries = []
        while (c.flag()) entries.push({ route: c.text(), cron: c.text(), mode: c.u8(), payload: c.block() })
        return { total, entries }
      }),
    subscribe: (pattern: string) => this.call(703, block(pattern), flaggedId),
    unsubscribe: (pattern: string) => this.call(704, block(pattern), nothing),
    /** 705 */
    next: async () => {
      const c = new Cursor(await this.next(705))
      return ended(c, { subscription: c.number(), route: c.text(), payload: c.block() })
    },
  }
}

type Bytes = Uint8Array | string

export interface ReadOptions {
  readonly maxBytes?: number
  readonly filter?: Uint8Array
  readonly fingerprint?: bigint
  readonly watermark?: bigint
}

export interface EventRecord {
  readonly offset: number
  readonly area: number | null
  readonly realm: number | null
  readonly global: number | null
  readonly body: Buffer
  readonly meta: Buffer | null
  readonly createdAt: number
}

export type Item =
  | { readonly route: string; readonly event: EventRecord }
  | { readonly route: string; readonly hidden: number; readonly reason: number }

export interface Page {
  readonly items: Item[]
  readonly lastResource: bigint
  readonly lastArea: bigint | null
  readonly lastRealm: bigint | null
  readonly lastGlobal: bigint | null
  readonly more: boolean
  readonly fingerprint: bigint | null
  readonly watermark: bigint | null
}

function readRecord(c: Cursor, extended: boolean): EventRecord {
  const number = (c: Cursor): number => c.number()
  return {
    offset: c.number(),
    area: c.opt(number),
    realm: c.opt(number),
    global: extended ? c.opt(number) : null,
    body: c.block(),
    meta: c.opt(c => c.block()),
    createdAt: c.number(),
  }
}

function readPage(c: Cursor, extended: boolean): Page {
  if (c.u8() !== 0) throw new Error("the wrapper is not 00")
  if (c.u32() !== c.left) throw new Error("the wrapper's length is not the rest")
  const items = times(c.u32(), (): Item => {
    const route = c.text()
    const tag = c.u8()
    if (tag === 0) return { route, event: readRecord(c, extended) }
    if (tag !== 1) throw new Error(`tag ${tag}`)
    return { route, hidden: c.number(), reason: c.u8() }
  })
  const u64 = (c: Cursor): bigint => c.u64()
  return {
    items,
    lastResource: c.u64(),
    lastArea: c.opt(u64),
    lastRealm: c.opt(u64),
    lastGlobal: extended ? c.opt(u64) : null,
    more: c.flag(),
    fingerprint: extended ? c.opt(u64) : null,
    watermark: extended ? c.opt(u64) : null,
  }
}

function nothing(): null {
  return null
}

function flaggedId(c: Cursor): number {
  if (c.u8() !== 1) throw new Error("the flag before the id is missing")
  return c.number()
}

function times<T>(count: number, make: () => T): T[] {
  return Array.from({ length: count }, make)
}

function ended<T>(cursor: Cursor, value: T): T {
  cursor.end()
  return value
}

function put<T>(queues: Map<number, T[]>, type: number, item: T): void {
  const queue = queues.get(type)
  if (queue === undefined) queues.set(type, [item])
  else queue.push(item)
}

/** The fault in the body of a 303, where it is exactly one. */
function faultIn(body: Buffer): { code: number; text: string } | null {
  if (body.length < 9 || body[0] !== 1) return null
  const c = new Cursor(body)
  c.u8()
  const fault = { code: c.u32(), text: c.text() }
  return c.left === 0 && fault.code >= 6001 && fault.code <= 6013 ? fault : null
}

// ── ways to a broker ───────────────────────────────────────────────────────────────────────────────────────

export type Transport = "tcp" | "ws"

/** Opens a wire to a listening broker. Resolves when the transport stands; CONNECT is not sent. */
export function openWire(transport: Transport, port: number, host = "127.0.0.1"): Promise<SocketWire> {
  return transport === "tcp" ? openTcp(port, host) : openWebSocket(port, host)
}

function openTcp(port: number, host: string): Promise<SocketWire> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ port, host, noDelay: true })
    socket.once("error", reject)
    socket.once("connect", () => {
      socket.off("error", reject)
      socket.on("error", () => socket.destroy())
      const splitter = new Splitter()
      resolve({
        send: (type, payload) => socket.write(outer(type, payload)),
        onFrame: listener => socket.on("data", piece => splitter.push(piece).forEach(listener)),
        onClose: listener => socket.on("close", listener),
        close: () => socket.end(),
        raw: bytes => socket.write(bytes),
        pause: () => socket.pause(),
        resume: () => socket.resume(),
        cut: () => socket.resetAndDestroy(),
        closeCode: null,
      })
    })
  })
}

function openWebSocket(port: number, host: string): Promise<SocketWire> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${host}:${port}/ws`, { perMessageDeflate: false })
    let closeCode: number | null = null
    socket.once("error", reject)
    socket.on("close", code => {
      closeCode = code
    })
    socket.once("open", () => {
      socket.off("error", reject)
      socket.on("error", () => socket.terminate())
      resolve({
        send: (type, payload) => socket.send(inner(type, payload)),
        onFrame: listener => socket.on("message", data => listener(readInner(data as Buffer))),
        onClose: listener => socket.on("close", () => listener()),
        close: () => socket.close(1000),
        raw: bytes => socket.send(bytes),
        pause: () => socket.pause(),
        resume: () => socket.resume(),
        cut: () => socket.terminate(),
        get closeCode() {
          return closeCode
        },
      })
    })
  })
}

/** Connects and sends CONNECT; success is silence, so a first request tells. */
export async function openCaller(
  transport: Transport,
  port: number,
  token = "",
): Promise<Caller<SocketWire>> {
  const caller = new Caller(await openWire(transport, port))
  caller.send(1, Buffer.from(token, "utf8"))
  return caller
}
