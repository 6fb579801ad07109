// Stream by the specification, section 12, on one plain array of events for each family.
// Must never import the broker or protocol/.

import { block, bytes, flag, opt, u8, u16, u32, u64 } from "../kit/bytes.ts"
import {
  Divergence,
  type Encoded,
  expectRefusal,
  expectSuccess,
  fresh,
  matches,
  Registrations,
  type Setting,
  same,
  shown,
} from "./peer.ts"

export interface FilterClause {
  readonly kind: "equals" | "differs" | "startsWith" | "anyOf"
  readonly values: readonly string[]
}

export type StreamOp =
  | { readonly op: "begin"; readonly route: string }
  | {
      readonly op: "append"
      readonly session: number
      readonly expected: number
      readonly body: string
      readonly meta: string | null
      readonly discriminator: string | null
    }
  | { readonly op: "commit"; readonly session: number; readonly sync: boolean }
  | { readonly op: "rollback"; readonly session: number }
  | {
      readonly op: "read"
      readonly selector: string
      readonly from: bigint
      readonly limit: number
      readonly maxBytes: number | null
      readonly filter: readonly FilterClause[] | null
      readonly fingerprint: bigint | null
      readonly watermark: bigint | null
    }
  | { readonly op: "last" | "metadata"; readonly route: string }
  | { readonly op: "subscribe" | "unsubscribe"; readonly selector: string }

type Read = Extract<StreamOp, { op: "read" }>

const TYPES = {
  begin: 600,
  append: 601,
  commit: 602,
  rollback: 603,
  read: 604,
  last: 605,
  metadata: 606,
  subscribe: 607,
  unsubscribe: 608,
} as const

const KINDS = ["equals", "differs", "startsWith", "anyOf"] as const

function encodeFilter(clauses: readonly FilterClause[]): Buffer {
  const encoded = clauses.map(({ kind, values }) => {
    const list = kind === "anyOf" ? u32(values.length) : bytes()
    return bytes(u8(KINDS.indexOf(kind)), list, ...values.map(block))
  })
  return bytes(u16(0x00f1), u32(clauses.length), ...encoded)
}

export function encodeStream(op: StreamOp): Encoded {
  const type = TYPES[op.op]
  switch (op.op) {
    case "begin":
      return { type, payload: bytes(block(op.route), u8(0)) }
    case "append":
      return {
        type,
        payload: bytes(
          u64(op.session),
          u64(op.expected),
          block(op.body),
          opt(op.meta, block),
          opt(op.discriminator, block),
        ),
      }
    case "commit":
      return { type, payload: bytes(u64(op.session), flag(op.sync)) }
    case "rollback":
      return { type, payload: u64(op.session) }
    case "read":
      return {
        type,
        payload: bytes(
          block(op.selector),
          u64(op.from),
          u64(op.limit),
          opt(op.maxBytes, u64),
          opt(op.filter, filter => block(encodeFilter(filter))),
          opt(op.fingerprint, u64),
          opt(op.watermark, u64),
        ),
      }
    case "last":
    case "metadata":
      return { type, payload: block(op.route) }
    case "subscribe":
    case "unsubscribe":
      return { type, payload: block(op.selector) }
  }
}

type Axis = "resource" | "area" | "realm" | "global"

interface Event {
  readonly route: string
  readonly body: string
  readonly meta: string | null
  readonly discriminator: string
  readonly createdAt: number
  readonly resource: number
  readonly area: number
  readonly realm: number
  readonly global: number
}

interface Session {
  readonly id: number
  readonly client: number
  readonly family: number
  readonly route: string
  readonly events: Omit<Event, "createdAt" | Axis>[]
}

/** A selector as a pattern over three segments, with the axis that its positions count on. */
interface Selector {
  readonly pattern: string
  readonly axis: Axis
  readonly extended: boolean
}

/** The ten shapes; null for any other spelling. */
export function selectorOf(text: string): Selector | null {
  const parts = text.slice("stream://".length).split("/")
  let three = parts
  if (parts.length === 1 && parts[0] === "**") three = ["*", "*", "*"]
  if (parts.length === 2 && parts[1] === "**" && parts[0] !== "*") three = [parts[0]!, "*", "*"]
  const [realm, area, resource] = three
  if (three.length !== 3 || three.includes("**")) return null
  const axis = realm === "*" ? "global" : area === "*" ? "realm" : resource === "*" ? "area" : "resource"
  const extended = three.every(part => part === "*")
  return { pattern: `stream://${three.join("/")}`, axis, extended }
}

/** What a continuation of a global read is bound to. */
interface Continuation {
  readonly family: number
  readonly pattern: string
  readonly filter: string
  readonly watermark: number
  readonly next: number
  readonly fingerprint: bigint
}

const ITEMS_MAX = 10_000
const CURSOR_ROOM = 65_535 - 64
const EVENTS_MAX = 10_000
const BATCH_BYTES_MAX = 10 * 1024 * 1024
const LAST_POSITION = 2n ** 64n

export class StreamModel {
  private readonly setting: Setting
  private readonly limits: { readonly openMax: number; readonly poison: string }
  readonly registrations: Registrations
  private readonly families = new Map<number, Event[]>()
  private sessions: Session[] = []
  private continuations: Continuation[] = []

  constructor(setting: Setting, limits: { openMax: number; wildcardsMax: number; poison: string }) {
    this.setting = setting
    this.limits = limits
    this.registrations = new Registrations(setting, limits.wildcardsMax)
  }

  /** Open sessions with the offset that each expects, for whoever makes up requests. */
  open(client: number | null = null): { readonly id: number; readonly next: number }[] {
    return this.sessions
      .filter(one => client === null || one.client === client)
      .map(one => ({ id: one.id, next: this.next(one) }))
  }

  /** Continuations that were given out, newest last. */
  get issued(): readonly Continuation[] {
    return this.continuations
  }

  private events(family: number): Event[] {
    let events = this.families.get(family)
    if (events === undefined) {
      events = []
      this.families.set(family, events)
    }
    return events
  }

  private matching(family: number, pattern: string): Event[] {
    return this.events(family).filter(event => matches(pattern, event.route))
  }

  private next(session: Session): number {
    return this.matching(session.family, session.route).length + session.events.length
  }

  request(client: number, family: number, op: StreamOp): null {
    const { setting } = this
    const type = TYPES[op.op]
    const what = shown(op)
    const refuse = (code: number): null => expectRefusal(setting, client, type, code, what)
    const own = (id: number): Session | undefined =>
      this.sessions.find(one => one.id === id && one.client === client)
    switch (op.op) {
      case "begin": {
        if (this.sessions.some(one => one.family === family && one.route === op.route)) return refuse(2002)
        if (this.open(client).length >= this.limits.openMax) return refuse(2014)
        const id = expectSuccess(setting, client, type, what, cursor => cursor.number())
        this.sessions.push({ id: fresh(setting, id, what), client, family, route: op.route, events: [] })
        return null
      }
      case "append": {
        const session = own(op.session)
        if (session === undefined) return refuse(2003)
        const offset = this.next(session)
        if (op.expected !== offset) return refuse(2001)
        expectSuccess(setting, client, type, what, cursor => {
          same(cursor.u32(), 8, `inner length of ${what}`)
          same(cursor.number(), offset, what)
        })
        const { body, meta, discriminator } = op
        session.events.push({ route: session.route, body, meta, discriminator: discriminator ?? "" })
        return null
      }
      case "commit": {
        const session = own(op.session)
        if (session === undefined) return refuse(2003)
        // It ends, whatever comes of it.
        this.sessions = this.sessions.filter(one => one !== session)
        const poisoned = session.events.some(event => event.body.includes(this.limits.poison))
        if (session.events.length === 0 || poisoned || !setting.writable) return refuse(2012)
        expectSuccess(setting, client, type, what, () => null)
        return this.commit(session)
      }
      case "rollback": {
        const session = own(op.session)
        if (session === undefined) return refuse(2003)
        this.sessions = this.sessions.filter(one => one !== session)
        return expectSuccess(setting, client, type, what, () => null)
      }
      case "read":
        return this.read(client, family, op, what)
      case "last": {
        const last = this.matching(family, op.route).at(-1)
        expectSuccess(setting, client, type, what, cursor => {
          if (last === undefined) same(cursor.left, 0, what)
          else same(readRecord(cursor, false), recordOf(last, false), what)
        })
        return null
      }
      case "metadata":
        return this.metadata(client, family, op.route, what)
      case "subscribe":
      case "unsubscribe": {
        if (selectorOf(op.selector) === null) return refuse(2010)
        if (op.op === "unsubscribe") return this.registrations.unsubscribe(client, op.selector, type)
        const wire = { type, flagged: true, limitCode: 2011 }
        this.registrations.subscribe(client, family, op.selector, wire)
      }
    }
    return null
  }

  private commit(session: Session): null {
    const { family, route } = session
    const [, , realm, area] = route.split("/")
    const count = (pattern: string): number => this.matching(family, pattern).length
    const first = {
      resource: count(route),
      area: count(`stream://${realm}/${area}/*`),
      realm: count(`stream://${realm}/*/*`),
      global: count("stream://*/*/*"),
    }
    const { length } = session.events
    const events = this.events(family)
    for (const [i, event] of session.events.entries()) {
      events.push({
        ...event,
        createdAt: this.setting.now,
        resource: first.resource + i,
        area: first.area + i,
        realm: first.realm + i,
        global: first.global + i,
      })
    }
    const notice = {
      event: "committed",
      first_resource_offset: first.resource,
      last_resource_offset: first.resource + length - 1,
      first_area_offset: first.area,
      last_area_offset: first.area + length - 1,
      first_realm_offset: first.realm,
      last_realm_offset: first.realm + length - 1,
      first_global_offset: first.global,
      last_global_offset: first.global + length - 1,
      batch_size: length,
    }
    const followers = this.registrations.all.filter(
      one => one.family === family && matches(selectorOf(one.pattern)!.pattern, route),
    )
    const rest = bytes(block(route), block(JSON.stringify(notice)))
    this.registrations.notify(followers, 609, rest, `commit on ${route}`)
    return null
  }

  private read(client: number, family: number, op: Read, what: string): null {
    const { setting } = this
    const refuse = (): null => expectRefusal(setting, client, 604, 2004, what)
    const selector = selectorOf(op.selector)
    if (selector === null) return refuse()
    const { axis, extended, pattern } = selector
    const continued = op.fingerprint !== null || op.watermark !== null
    if (continued && (!extended || op.fingerprint === null || op.watermark === null)) return refuse()
    const filter = JSON.stringify(op.filter)
    const frontier = this.events(family).length
    let watermark = frontier
    if (continued) {
      const bound = this.continuations.some(
        one =>
          one.family === family &&
          one.pattern === pattern &&
          one.filter === filter &&
          one.fingerprint === op.fingerprint &&
          BigInt(one.watermark) === op.watermark &&
          BigInt(one.next) === op.from,
      )
      if (!bound) return refuse()
      // A snapshot that is used up is followed by a new one.
      watermark = Number(op.watermark) <= Number(op.from) ? frontier : Number(op.watermark)
    }
    const all = this.matching(family, pattern).filter(event => BigInt(event[axis]) >= op.from)
    const visible = extended ? all.filter(event => event.global < watermark) : all
    const items: Event[] = []
    let used = 0
    for (const event of visible) {
      const size = this.itemBytes(event, op, extended)
      const room = Math.min(CURSOR_ROOM, op.maxBytes ?? CURSOR_ROOM)
      if (items.length >= Math.min(op.limit, ITEMS_MAX)) break
      if (items.length > 0 && used + size > room) break
      items.push(event)
      used += size
    }
    const last = items.at(-1)
    const next = last === undefined ? op.from : BigInt(last[axis]) + 1n
    const before = (next - 1n + LAST_POSITION) % LAST_POSITION
    const more = all.length > items.length
    expectSuccess(setting, client, 604, what, cursor => {
      same(cursor.u8(), 0, `wrapper of ${what}`)
      same(cursor.u32(), cursor.left, `inner length of ${what}`)
      const got = Array.from({ length: cursor.u32() }, () => {
        const route = cursor.text()
        const tag = cursor.u8()
        if (tag === 0) return { route, record: readRecord(cursor, extended) }
        same(tag, 1, `tag in ${what}`)
        return { route, hidden: cursor.number(), reason: cursor.u8() }
      })
      const expected = items.map(event => {
        if (this.shows(op, event)) return { route: event.route, record: recordOf(event, extended) }
        return { route: event.route, hidden: event[axis], reason: 1 }
      })
      same(got, expected, what)
      const place = {
        resource: cursor.u64(),
        area: cursor.opt(c => c.u64()),
        realm: cursor.opt(c => c.u64()),
        global: extended ? cursor.opt(c => c.u64()) : null,
      }
      same(clientResumesAt(op.selector, place), before, `cursor of ${what}`)
      same(cursor.flag(), more, `hasMore of ${what}`)
      if (!extended) return
      const fingerprint = cursor.opt(c => c.u64())
      const bound = cursor.opt(c => c.number())
      // Both or neither; without them the client starts afresh each time.
      if ((fingerprint === null) !== (bound === null)) throw new Divergence(`half a continuation: ${what}`)
      if (fingerprint === null || bound === null) return
      same(bound, watermark, `watermark of ${what}`)
      const issued = { family, pattern, filter, watermark, next: Number(next), fingerprint }
      this.continuations = [...this.continuations.slice(-200), issued]
    })
    return null
  }

  private shows({ filter }: Read, { discriminator }: Event): boolean {
    return (filter ?? []).every(({ kind, values }) => {
      const [value = ""] = values
      if (kind === "equals") return discriminator === value
      if (kind === "differs") return discriminator !== value
      if (kind === "startsWith") return discriminator.startsWith(value)
      return values.includes(discriminator)
    })
  }

  private itemBytes(event: Event, op: Read, extended: boolean): number {
    const head = 4 + event.route.length + 1
    if (!this.shows(op, event)) return head + 9
    const meta = event.meta === null ? 1 : 5 + event.meta.length
    return head + 8 + 9 + 9 + (extended ? 9 : 0) + 4 + event.body.length + meta + 8
  }

  private metadata(client: number, family: number, route: string, what: string): null {
    const [, , realm, area] = route.split("/")
    const count = (pattern: string): number => this.matching(family, pattern).length
    const own = count(route)
    expectSuccess(this.setting, client, 606, what, cursor => {
      const number = (): number => cursor.number()
      const got = {
        first: cursor.opt(number),
        last: cursor.opt(number),
        count: number(),
        maxEvents: number(),
        maxBytes: number(),
        ttl: cursor.opt(number),
        area: number(),
        realm: number(),
      }
      const expected = {
        first: own === 0 ? null : 0,
        last: own === 0 ? null : own - 1,
        count: own,
        maxEvents: EVENTS_MAX,
        maxBytes: BATCH_BYTES_MAX,
        ttl: null,
        area: count(`stream://${realm}/${area}/*`),
        realm: count(`stream://${realm}/*/*`),
      }
      same(got, expected, what)
    })
    return null
  }

  leave(client: number): void {
    this.sessions = this.sessions.filter(one => one.client !== client)
    this.registrations.leave(client)
  }

  restart(): void {
    this.sessions = []
    this.registrations.restart()
  }
}

interface Place {
  readonly resource: bigint
  readonly area: bigint | null
  readonly realm: bigint | null
  readonly global: bigint | null
}

/** The position that the public client takes from a cursor, before it adds one (12.2). */
function clientResumesAt(selector: string, { resource, area, realm, global }: Place): bigint {
  const [, , a, b, c] = selector.split("/")
  if (a === "**" || (a === "*" && b === "*" && c === "*")) return global ?? resource
  if (b === "**" || (a !== "*" && b === "*" && c === "*")) return realm ?? resource
  if (c === "*") return area ?? resource
  return resource
}

function recordOf(event: Event, extended: boolean): Record<string, unknown> {
  const { body, meta, createdAt, resource, area, realm, global } = event
  return { resource, area, realm, global: extended ? global : null, body, meta, createdAt }
}

function readRecord(
  c: { number(): number; opt<T>(read: () => T): T | null; block(): Buffer },
  extended: boolean,
): Record<string, unknown> {
  return {
    resource: c.number(),
    area: c.opt(() => c.number()),
    realm: c.opt(() => c.number()),
    global: extended ? c.opt(() => c.number()) : null,
    body: c.block().toString("utf8"),
    meta: c.opt(() => c.block().toString("utf8")),
    createdAt: c.number(),
  }
}
