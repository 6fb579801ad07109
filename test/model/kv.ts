// KV by the specification, section 7, on plain maps. Keys are text with one character a byte.
// Must never import the broker or protocol/.

import { block, bytes, flag, opt, u8, u32, u64 } from "../kit/bytes.ts"
import {
  type Encoded,
  expectRefusal,
  expectSuccess,
  fresh,
  Registrations,
  type Setting,
  type Subscription,
  same,
  shown,
} from "./peer.ts"

export type KvOp =
  | { readonly op: "begin"; readonly route: string; readonly write: boolean; readonly sync: boolean }
  | { readonly op: "commit" | "rollback"; readonly tx: number; readonly route: string }
  | { readonly op: "get" | "delete"; readonly tx: number; readonly route: string; readonly key: string }
  | {
      readonly op: "put" | "insert"
      readonly tx: number
      readonly route: string
      readonly key: string
      readonly value: string
    }
  | {
      readonly op: "deleteRange"
      readonly tx: number
      readonly route: string
      readonly start: string
      readonly end: string
    }
  | {
      readonly op: "scan"
      readonly tx: number
      readonly route: string
      readonly start: string | null
      readonly end: string | null
      readonly limit: number | null
      readonly reverse: boolean
    }
  | Subscription

const TYPES = {
  begin: 100,
  commit: 101,
  rollback: 102,
  get: 103,
  put: 104,
  insert: 105,
  delete: 106,
  deleteRange: 107,
  scan: 108,
  subscribe: 109,
  unsubscribe: 110,
} as const

function binary(text: string): Buffer {
  return block(Buffer.from(text, "latin1"))
}

export function encodeKv(op: KvOp): Encoded {
  const type = TYPES[op.op]
  switch (op.op) {
    case "begin":
      return { type, payload: bytes(block(op.route), flag(op.write), flag(op.sync)) }
    case "subscribe":
    case "unsubscribe":
      return { type, payload: block(op.pattern) }
  }
  const head = bytes(u64(op.tx), block(op.route))
  switch (op.op) {
    case "commit":
    case "rollback":
      return { type, payload: head }
    case "get":
    case "delete":
      return { type, payload: bytes(head, binary(op.key)) }
    case "put":
    case "insert":
      return { type, payload: bytes(head, binary(op.key), binary(op.value)) }
    case "deleteRange":
      return { type, payload: bytes(head, binary(op.start), binary(op.end)) }
    case "scan":
      return {
        type,
        payload: bytes(
          head,
          opt(op.start, binary),
          opt(op.end, binary),
          opt(op.limit, u32),
          u8(op.reverse ? 1 : 0),
        ),
      }
  }
}

type Pairs = ReadonlyMap<string, string>

interface Transaction {
  readonly id: number
  readonly client: number
  readonly resource: string
  readonly route: string
  readonly family: number
  readonly write: boolean
  /** What it sees: the state at BEGIN, for a writer with its own changes. */
  seen: Map<string, string>
  /** Values that it would write. */
  mutations: number
  usedAt: number
}

const CONFLICT = 1004
const NOT_FOUND = 1001
const READ_ONLY = 1005
const EXISTS = 1006
const INVALID = 1007
const BACKEND = 1009
const BUSY = 1014

export class KvModel {
  private readonly setting: Setting
  private readonly limits: { readonly openMax: number; readonly idleMs: number; readonly poison: string }
  readonly registrations: Registrations
  private readonly committed = new Map<string, Pairs>()
  private transactions: Transaction[] = []

  constructor(
    setting: Setting,
    limits: { openMax: number; idleMs: number; wildcardsMax: number; poison: string },
  ) {
    this.setting = setting
    this.limits = limits
    this.registrations = new Registrations(setting, limits.wildcardsMax)
  }

  /** Open transactions, for whoever makes up requests. */
  open(client: number | null = null): readonly { readonly id: number; readonly route: string }[] {
    return this.transactions.filter(one => client === null || one.client === client)
  }

  request(client: number, family: number, op: KvOp): null {
    const { setting } = this
    const type = TYPES[op.op]
    const what = shown(op)
    if (op.op === "begin") return this.begin(client, family, op)
    if (op.op === "subscribe") {
      this.registrations.subscribe(client, family, op.pattern, { type, flagged: false, limitCode: 1013 })
      return null
    }
    if (op.op === "unsubscribe") return this.registrations.unsubscribe(client, op.pattern, type)
    const refuse = (code: number): null => expectRefusal(setting, client, type, code, what)
    const tx = this.transactions.find(one => one.id === op.tx && one.client === client)
    if (tx === undefined) return refuse(NOT_FOUND)
    if (tx.route !== op.route) return refuse(INVALID)
    tx.usedAt = setting.now
    const done = (): null => expectSuccess(setting, client, type, what, () => null)
    switch (op.op) {
      case "get": {
        const expected = tx.seen.get(op.key) ?? null
        expectSuccess(setting, client, type, what, cursor => {
          const got = cursor.opt(c => c.block().toString("latin1"))
          same(got, expected, what)
        })
        return null
      }
      case "scan":
        return this.scan(tx, op)
      case "rollback":
        this.end(tx)
        return done()
      case "commit":
        return this.commit(tx)
    }
    if (!tx.write) return refuse(READ_ONLY)
    switch (op.op) {
      case "insert":
        if (tx.seen.has(op.key)) return refuse(EXISTS)
        tx.seen.set(op.key, op.value)
        break
      case "put":
        tx.seen.set(op.key, op.value)
        break
      case "delete":
        tx.seen.delete(op.key)
        break
      case "deleteRange":
        if (op.start >= op.end) return refuse(INVALID)
        for (const key of [...tx.seen.keys()]) if (key >= op.start && key < op.end) tx.seen.delete(key)
    }
    tx.mutations++
    done()
    return null
  }

  private begin(client: number, family: number, op: Extract<KvOp, { op: "begin" }>): null {
    const { setting } = this
    const what = shown(op)
    const resource = `${family} ${op.route}`
    if (op.write && this.transactions.some(one => one.write && one.resource === resource))
      return expectRefusal(setting, client, 100, CONFLICT, what)
    if (this.open(client).length >= this.limits.openMax)
      return expectRefusal(setting, client, 100, BUSY, what)
    const id = expectSuccess(setting, client, 100, what, cursor => cursor.number())
    this.transactions.push({
      id: fresh(setting, id, what),
      client,
      resource,
      route: op.route,
      family,
      write: op.write,
      seen: new Map(this.committed.get(resource)),
      mutations: 0,
      usedAt: setting.now,
    })
    return null
  }

  private commit(tx: Transaction): null {
    const { setting } = this
    const { client, route } = tx
    const what = `commit of ${tx.id} on ${route}`
    const poisoned = [...tx.seen.values()].includes(this.limits.poison)
    // It ends and frees the lock even if it fails.
    this.end(tx)
    if (tx.mutations > 0 && (poisoned || !setting.writable))
      return expectRefusal(setting, client, 101, BACKEND, what)
    expectSuccess(setting, client, 101, what, () => null)
    if (tx.mutations === 0) return null
    this.committed.set(tx.resource, tx.seen)
    const followers = this.registrations.matching(tx.family, route)
    this.registrations.notify(followers, 111, bytes(block(route), u64(tx.mutations)), what)
    return null
  }

  private scan(tx: Transaction, op: Extract<KvOp, { op: "scan" }>): null {
    const { start, end, reverse } = op
    const keys = [...tx.seen.keys()].sort().filter(key => {
      if (reverse) return (start === null || key <= start) && (end === null || key > end)
      return (start === null || key >= start) && (end === null || key < end)
    })
    if (reverse) keys.reverse()
    const limit = op.limit === null || op.limit === 0 ? 1_024 : Math.min(op.limit, 1_024)
    const pairs: [string, string][] = []
    let room = 65_535 - 6
    for (const key of keys) {
      const value = tx.seen.get(key)!
      const size = 8 + key.length + value.length
      if (pairs.length >= limit || size > room) break
      pairs.push([key, value])
      room -= size
    }
    const what = shown(op)
    expectSuccess(this.setting, tx.client, 108, what, cursor => {
      const got = Array.from({ length: cursor.u32() }, () => [
        cursor.block().toString("latin1"),
        cursor.block().toString("latin1"),
      ])
      same(got, pairs, what)
      same(cursor.flag(), pairs.length < keys.length, `hasMore of ${what}`)
    })
    return null
  }

  private end(tx: Transaction): void {
    this.transactions = this.transactions.filter(one => one !== tx)
  }

  expire(): void {
    const { now } = this.setting
    this.transactions = this.transactions.filter(tx => tx.usedAt + this.limits.idleMs > now)
  }

  leave(client: number): void {
    this.transactions = this.transactions.filter(tx => tx.client !== client)
    this.registrations.leave(client)
  }

  restart(): void {
    this.transactions = []
    this.registrations.restart()
  }
}
