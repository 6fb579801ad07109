// Lease by the specification, section 10, on plain maps and arrays.
// Must never import the broker or protocol/.

import { block, bytes, u32, u64 } from "../kit/bytes.ts"
import {
  Divergence,
  type Encoded,
  ended,
  expectFrame,
  expectRefusal,
  expectSuccess,
  Registrations,
  type Setting,
  type Subscription,
  same,
  shown,
} from "./peer.ts"

export type LeaseOp =
  | {
      readonly op: "acquire"
      readonly route: string
      readonly owner: string
      readonly ttl: number
      /** Null: the field is left out. */
      readonly wait: number | null
    }
  | {
      readonly op: "renew"
      readonly route: string
      readonly owner: string
      readonly token: number
      readonly ttl: number
    }
  | { readonly op: "release"; readonly route: string; readonly owner: string; readonly token: number }
  | { readonly op: "query"; readonly route: string }
  | Subscription

const TYPES = {
  acquire: 400,
  renew: 401,
  release: 402,
  query: 403,
  subscribe: 407,
  unsubscribe: 408,
} as const

export function encodeLease(op: LeaseOp): Encoded {
  const type = TYPES[op.op]
  switch (op.op) {
    case "acquire": {
      const wait = op.wait === null ? bytes() : u32(op.wait)
      return { type, payload: bytes(block(op.route), block(op.owner), u64(op.ttl), wait) }
    }
    case "renew":
      return { type, payload: bytes(block(op.route), block(op.owner), u64(op.token), u64(op.ttl)) }
    case "release":
      return { type, payload: bytes(block(op.route), block(op.owner), u64(op.token)) }
    case "query":
      return { type, payload: block(op.route) }
    case "subscribe":
    case "unsubscribe":
      return { type, payload: block(op.pattern) }
  }
}

interface Owner {
  readonly client: number
  readonly name: string
}

interface Lease {
  readonly route: string
  readonly family: number
  owner: Owner
  token: number
  dueMs: number
  /** Counts grants, to tell in which order a client came to its leases. */
  granted: number
  readonly waiters: Waiter[]
}

interface Waiter {
  readonly owner: Owner
  readonly token: number
  readonly ttlMs: number
  readonly dueMs: number
}

/** What the broker remembers of a lease that ran out, for a while. */
interface Lapsed {
  readonly owner: Owner
  readonly token: number
  readonly untilMs: number
}

const WAITERS_MAX = 100
const WAIT_SECONDS_MAX = 30
/** Renewing a lapsed lease is 5003 for so long at least; later 5004 is right as well. */
const LAPSED_KNOWN_MS = 60_000

export class LeaseModel {
  private readonly setting: Setting
  readonly registrations: Registrations
  private readonly leases = new Map<string, Lease>()
  private readonly lapsed = new Map<string, Lapsed>()
  private lastToken = 0
  private grants = 0
  /** The broker cannot give out tokens now: it answers as to a bug. */
  tokensFail = false

  constructor(setting: Setting, limits: { wildcardsMax: number }) {
    this.setting = setting
    this.registrations = new Registrations(setting, limits.wildcardsMax)
  }

  /** The newest token given out. */
  get newest(): number {
    return this.lastToken
  }

  /** Leases that a client has lately lost by letting them run out. */
  lost(
    client: number,
  ): readonly { readonly route: string; readonly token: number; readonly owner: string }[] {
    return [...this.lapsed]
      .filter(([, { owner }]) => owner.client === client)
      .map(([key, { token, owner }]) => ({
        route: key.slice(key.indexOf(" ") + 1),
        token,
        owner: owner.name,
      }))
  }

  /** Leases, for whoever makes up requests. */
  held(
    client: number | null = null,
  ): readonly { readonly route: string; readonly token: number; readonly owner: string }[] {
    return [...this.leases.values()]
      .filter(({ owner }) => client === null || owner.client === client)
      .map(({ route, token, owner }) => ({ route, token, owner: owner.name }))
  }

  request(client: number, family: number, op: LeaseOp): null {
    const { setting } = this
    const type = TYPES[op.op]
    const what = shown(op)
    const refuse = (code: number): null => expectRefusal(setting, client, type, code, what)
    if (op.op === "subscribe") {
      this.registrations.subscribe(client, family, op.pattern, { type, flagged: false, limitCode: 5010 })
      return null
    }
    if (op.op === "unsubscribe") return this.registrations.unsubscribe(client, op.pattern, type)
    const key = `${family} ${op.route}`
    const lease = this.leases.get(key)
    const mine = lease !== undefined && isOwner(lease.owner, client, "owner" in op ? op.owner : "")
    switch (op.op) {
      case "acquire":
        return this.acquire(client, family, op)
      case "renew": {
        if (op.ttl === 0) return refuse(5008)
        const lapsed = this.lapsed.get(key)
        if (lease === undefined && lapsed !== undefined && isOwner(lapsed.owner, client, op.owner))
          return refuse(lapsed.token === op.token ? 5003 : 5002)
        if (!mine) return refuse(5004)
        if (lease.token !== op.token) return refuse(5002)
        lease.dueMs = setting.now + op.ttl * 1_000
        expectSuccess(setting, client, type, what, cursor => same(cursor.number(), op.token, what))
        return null
      }
      case "release":
        if (lease !== undefined && !mine) return refuse(5004)
        if (lease !== undefined && lease.token !== op.token) return refuse(5002)
        expectSuccess(setting, client, type, what, () => null)
        if (lease !== undefined) this.free(lease)
        return null
      case "query":
        expectSuccess(setting, client, type, what, cursor => {
          const holder = cursor.opt(c => ({ owner: c.text(), left: c.number() }))
          const expected =
            lease === undefined
              ? null
              : { owner: lease.owner.name, left: Math.floor((lease.dueMs - setting.now) / 1_000) }
          same(holder, expected, what)
          same(cursor.u32(), lease?.waiters.length ?? 0, `waiters of ${what}`)
        })
    }
    return null
  }

  private acquire(client: number, family: number, op: Extract<LeaseOp, { op: "acquire" }>): null {
    const { setting } = this
    const { route } = op
    const wait = op.wait ?? 0
    const what = shown(op)
    const refuse = (code: number): null => expectRefusal(setting, client, 400, code, what)
    if (op.ttl === 0 || wait > WAIT_SECONDS_MAX) return refuse(5008)
    const key = `${family} ${route}`
    const owner = { client, name: op.owner }
    const ttlMs = op.ttl * 1_000
    const lease = this.leases.get(key)
    if (lease === undefined) {
      if (this.tokensFail) return refuse(5008)
      const token = this.newToken(this.grant(client, what, 0), what)
      const dueMs = setting.now + ttlMs
      const fresh = { route, family, owner, token, dueMs, granted: this.grants++, waiters: [] }
      this.leases.set(key, fresh)
      this.lapsed.delete(key)
      this.tell(fresh)
      return null
    }
    if (isOwner(lease.owner, client, op.owner)) {
      const token = this.grant(client, what, 1)
      if (token !== null) same(token, lease.token, `token of ${what}`)
      return null
    }
    if (wait === 0) return refuse(5001)
    const waiting = lease.waiters.find(one => isOwner(one.owner, client, op.owner))
    if (waiting !== undefined) {
      const token = this.grant(client, what, 3)
      if (token !== null) same(token, waiting.token, `token of ${what}`)
      return null
    }
    if (lease.waiters.length >= WAITERS_MAX) return refuse(5007)
    if (this.tokensFail) return refuse(5008)
    const token = this.newToken(this.grant(client, what, 2), what)
    lease.waiters.push({ owner, token, ttlMs, dueMs: setting.now + wait * 1_000 })
    return null
  }

  /** Reads a 400 of this kind; returns its token. */
  private grant(client: number, what: string, kind: number): number | null {
    return expectSuccess(this.setting, client, 400, what, cursor => {
      same(cursor.u8(), kind, `kind of ${what}`)
      return cursor.number()
    })
  }

  private newToken(token: number | null, what: string): number {
    // A client that left in the same moment heard nothing; its token was still given out.
    const given = token ?? this.lastToken + 1
    if (given <= this.lastToken) throw new Divergence(`${what}: token ${given} after ${this.lastToken}`)
    this.lastToken = given
    return given
  }

  /** The holder's time is over, however. */
  private free(lease: Lease): void {
    const next = lease.waiters.shift()
    const key = `${lease.family} ${lease.route}`
    if (next === undefined) this.leases.delete(key)
    else {
      lease.owner = next.owner
      lease.token = next.token
      lease.dueMs = this.setting.now + next.ttlMs
      lease.granted = this.grants++
      const { client } = next.owner
      const token = this.grant(client, `the grant of ${lease.route}`, 0)
      if (token !== null) same(token, next.token, `token of the grant of ${lease.route}`)
    }
    this.tell(lease)
  }

  /** The holder has changed; each follower hears the route as it has subscribed it. */
  private tell({ family, route }: Lease): void {
    for (const follower of this.registrations.matching(family, route)) {
      const what = `409 for ${route}`
      const frame = expectFrame(this.setting, follower.client, 409, what)
      if (frame === null) continue
      same(frame.cursor.number(), follower.id, `registration of ${what}`)
      same(frame.cursor.text(), follower.pattern, `route of ${what}`)
      same(frame.cursor.u32(), 0, `rest of ${what}`)
      ended(frame.cursor, what)
    }
  }

  expire(): void {
    const { now } = this.setting
    for (const [key, { untilMs }] of this.lapsed) if (untilMs <= now) this.lapsed.delete(key)
    // A wait that ends together with the lease it waits for has ended.
    const waits = [...this.leases.values()]
      .flatMap(lease => lease.waiters.map(waiter => ({ lease, waiter })))
      .filter(({ waiter }) => waiter.dueMs <= now)
      .sort((a, b) => a.waiter.dueMs - b.waiter.dueMs || a.waiter.token - b.waiter.token)
    for (const { lease, waiter } of waits) {
      lease.waiters.splice(lease.waiters.indexOf(waiter), 1)
      expectRefusal(this.setting, waiter.owner.client, 400, 5006, `the end of the wait for ${lease.route}`)
    }
    const over = [...this.leases.values()]
      .filter(lease => lease.dueMs <= now)
      .sort((a, b) => a.dueMs - b.dueMs || a.token - b.token)
    for (const lease of over) {
      const { owner, token } = lease
      this.free(lease)
      const key = `${lease.family} ${lease.route}`
      if (!this.leases.has(key)) this.lapsed.set(key, { owner, token, untilMs: now + LAPSED_KNOWN_MS })
    }
  }

  leave(client: number): void {
    for (const lease of this.leases.values()) {
      const staying = lease.waiters.filter(waiter => waiter.owner.client !== client)
      lease.waiters.splice(0, lease.waiters.length, ...staying)
    }
    const held = [...this.leases.values()]
      .filter(lease => lease.owner.client === client)
      .sort((a, b) => a.granted - b.granted)
    for (const lease of held) this.free(lease)
    this.registrations.leave(client)
  }

  restart(): void {
    this.leases.clear()
    this.lapsed.clear()
    this.registrations.restart()
  }
}

function isOwner(owner: Owner, client: number, name: string): boolean {
  return owner.client === client && owner.name === name
}
