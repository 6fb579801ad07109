// RPC by the specification, section 9, on plain maps and arrays.
// Must never import the broker or protocol/.

import { block, bytes, u8, u32, u64 } from "../kit/bytes.ts"
import {
  Divergence,
  type Encoded,
  expectFrame,
  expectRefusal,
  expectSuccess,
  matches,
  type Setting,
  same,
  shown,
} from "./peer.ts"

export type RpcOp =
  | { readonly op: "register"; readonly pattern: string; readonly credit: number }
  | { readonly op: "unregister"; readonly pattern: string }
  | { readonly op: "call"; readonly correlation: string; readonly route: string; readonly body: string }
  | {
      readonly op: "answer"
      readonly correlation: string
      readonly sequence: number
      readonly last: boolean
      readonly body: string
    }

/** Sixteen bytes as hexadecimal text. */
function uuid(correlation: string): Buffer {
  return Buffer.from(correlation, "hex")
}

export function encodeRpc(op: RpcOp): Encoded {
  switch (op.op) {
    case "register":
      return { type: 300, payload: bytes(block(op.pattern), u32(op.credit)) }
    case "unregister":
      return { type: 301, payload: block(op.pattern) }
    case "call":
      return { type: 302, payload: bytes(uuid(op.correlation), block(op.route), block(op.body)) }
    case "answer":
      return {
        type: 303,
        payload: bytes(uuid(op.correlation), u64(op.sequence), u8(op.last ? 1 : 0), block(op.body)),
      }
  }
}

interface Worker {
  readonly client: number
  readonly family: number
  readonly pattern: string
  readonly credit: number
  readonly order: number
}

interface Call {
  readonly correlation: string
  readonly family: number
  readonly route: string
  readonly payload: Buffer
  readonly order: number
  readonly dueMs: number
  /** Null once the caller is gone. */
  caller: number | null
  /** Null while it waits. */
  worker: Worker | null
  sequence: number
}

export class RpcModel {
  private readonly setting: Setting
  private readonly limits: {
    readonly pendingMax: number
    readonly perRouteMax: number
    readonly timeoutMs: number
    readonly wildcardsMax: number
  }
  private workers: Worker[] = []
  private calls: Call[] = []
  /** Which worker had the last call of a route. */
  private readonly lastTurn = new Map<string, number>()
  private counter = 0

  constructor(
    setting: Setting,
    limits: { pendingMax: number; perRouteMax: number; timeoutMs: number; wildcardsMax: number },
  ) {
    this.setting = setting
    this.limits = limits
  }

  /** Calls at a client, for whoever makes up requests. */
  delivered(
    client: number | null = null,
  ): readonly { readonly correlation: string; readonly sequence: number }[] {
    return this.calls.filter(
      call => call.worker !== null && (client === null || call.worker.client === client),
    )
  }

  /** Live correlation ids. */
  get live(): readonly string[] {
    return this.calls.map(call => call.correlation)
  }

  request(client: number, family: number, op: RpcOp): null {
    switch (op.op) {
      case "register":
        return this.register(client, family, op)
      case "unregister": {
        expectSuccess(this.setting, client, 301, shown(op), () => null)
        const worker = this.workers.find(one => one.client === client && one.pattern === op.pattern)
        if (worker !== undefined) this.dismiss(worker)
        return null
      }
      case "call":
        return this.call(client, family, op)
      case "answer":
        return this.answer(client, family, op)
    }
    return null
  }

  private register(client: number, family: number, op: Extract<RpcOp, { op: "register" }>): null {
    const { setting } = this
    const what = shown(op)
    if (op.credit < 1 || op.credit > 1_024) return expectRefusal(setting, client, 300, 6010, what)
    const own = this.workers.filter(one => one.client === client)
    const known = own.some(one => one.pattern === op.pattern)
    const wildcards = own.filter(one => one.pattern.includes("*")).length
    if (!known && op.pattern.includes("*") && wildcards >= this.limits.wildcardsMax)
      return expectRefusal(setting, client, 300, 6013, what)
    expectSuccess(setting, client, 300, what, () => null)
    if (known) return null
    const worker = { client, family, pattern: op.pattern, credit: op.credit, order: ++this.counter }
    this.workers.push(worker)
    this.feed(worker)
    return null
  }

  private call(client: number, family: number, op: Extract<RpcOp, { op: "call" }>): null {
    const refuse = (code: number): null => this.fail(client, op.correlation, code, `call of ${op.route}`)
    if (this.calls.some(one => one.family === family && one.correlation === op.correlation))
      return refuse(6007)
    if (this.calls.length >= this.limits.pendingMax) return refuse(6003)
    const able = this.workers.filter(one => one.family === family && matches(one.pattern, op.route))
    if (able.length === 0) return refuse(6004)
    const call: Call = {
      correlation: op.correlation,
      family,
      route: op.route,
      payload: encodeRpc(op).payload,
      order: ++this.counter,
      dueMs: this.setting.now + this.limits.timeoutMs,
      caller: client,
      worker: null,
      sequence: 0,
    }
    const free = able.filter(one => this.busy(one) < one.credit)
    if (free.length === 0) {
      const waiting = this.calls.filter(
        one => one.worker === null && one.family === family && one.route === op.route,
      )
      if (waiting.length >= this.limits.perRouteMax) return refuse(6003)
      this.calls.push(call)
      return null
    }
    this.calls.push(call)
    // The next in turn after the one that had the last call of this route.
    const last = this.lastTurn.get(`${family} ${op.route}`) ?? 0
    this.deliver(call, free.find(one => one.order > last) ?? free[0]!)
    return null
  }

  private busy(worker: Worker): number {
    return this.calls.filter(call => call.worker === worker).length
  }

  private deliver(call: Call, worker: Worker): void {
    call.worker = worker
    this.lastTurn.set(`${call.family} ${call.route}`, worker.order)
    const what = `call of ${call.route}`
    const frame = expectFrame(this.setting, worker.client, 302, what)
    if (frame !== null)
      same(frame.cursor.raw(frame.cursor.left), call.payload, `302 to client ${worker.client}`)
  }

  /** A worker with credit gets what waits for one like it, oldest first. */
  private feed(worker: Worker): void {
    if (!this.workers.includes(worker)) return
    while (this.busy(worker) < worker.credit) {
      const call = this.calls.find(
        one => one.worker === null && one.family === worker.family && matches(worker.pattern, one.route),
      )
      if (call === undefined) return
      this.deliver(call, worker)
    }
  }

  private answer(client: number, family: number, op: Extract<RpcOp, { op: "answer" }>): null {
    const call = this.calls.find(one => one.family === family && one.correlation === op.correlation)
    const worker = call?.worker ?? null
    // Unknown, or not this worker's: without any effect.
    if (call === undefined || worker === null || worker.client !== client) return null
    if (op.sequence !== call.sequence) {
      this.end(call, 6006)
      this.feed(worker)
      return null
    }
    call.sequence++
    if (call.caller !== null) {
      const { payload } = encodeRpc(op)
      const what = `frame ${op.sequence} of ${op.correlation}`
      const frame = expectFrame(this.setting, call.caller, 303, what, uuid(op.correlation))
      if (frame !== null) same(frame.cursor.raw(frame.cursor.left), payload, what)
    }
    if (!op.last) return null
    this.end(call, null)
    this.feed(worker)
    return null
  }

  /** The call is over; its caller hears of it where there is a reason. */
  private end(call: Call, code: number | null): void {
    this.calls = this.calls.filter(one => one !== call)
    if (code !== null && call.caller !== null)
      this.fail(call.caller, call.correlation, code, `end of the call of ${call.route}`)
  }

  /** A 303 of the broker's own (9.3). */
  private fail(client: number, correlation: string, code: number, what: string): null {
    const frame = expectFrame(this.setting, client, 303, `${what} with ${code}`, uuid(correlation))
    if (frame === null) return null
    const { cursor } = frame
    this.setting.met(`303 ${code}`)
    cursor.raw(16)
    same(cursor.number(), 0, `sequence of ${what}`)
    same(cursor.u8(), 1, `flags of ${what}`)
    const body = cursor.block()
    same(body[0], 1, `status of ${what}`)
    same(body.readUInt32BE(1), code, `code of ${what}`)
    if (body.readUInt32BE(5) !== body.length - 9 || cursor.left > 0)
      throw new Divergence(`the body of a fault is not exactly one: ${what}`)
    return null
  }

  private dismiss(worker: Worker): void {
    this.workers = this.workers.filter(one => one !== worker)
    for (const call of this.calls.filter(one => one.worker === worker)) this.end(call, 6002)
    for (const call of this.calls) {
      const able = this.workers.some(one => one.family === call.family && matches(one.pattern, call.route))
      if (call.worker === null && !able) this.end(call, 6004)
    }
  }

  expire(): void {
    const over = this.calls
      .filter(call => call.dueMs <= this.setting.now)
      .sort((a, b) => a.dueMs - b.dueMs || a.order - b.order)
    for (const call of over) this.end(call, 6001)
    // Credit comes back once all that is over has ended: a call that is over is given to nobody.
    for (const { worker } of over) if (worker !== null) this.feed(worker)
  }

  leave(client: number): void {
    for (const call of this.calls.filter(one => one.caller === client)) {
      if (call.worker === null) this.end(call, null)
      else call.caller = null
    }
    for (const worker of this.workers.filter(one => one.client === client)) this.dismiss(worker)
  }

  restart(): void {
    this.workers = []
    this.calls = []
    this.lastTurn.clear()
  }
}
