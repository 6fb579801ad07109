// What the models share: the frames that a broker has sent, taken one by one and compared with what the rules
// ask for; patterns; registrations. Written from the specification. Must never import the broker or protocol/.

import { Buffer } from "node:buffer"
import { isDeepStrictEqual } from "node:util"
import { bytes, Cursor, u64 } from "../kit/bytes.ts"

/** The broker did what the rules do not allow, or left out what they ask for. */
export class Divergence extends Error {}

/** A frame that the broker has sent. */
export interface Sent {
  readonly payload: Buffer
  /** Its place among all frames of its client. */
  readonly at: number
}

/** Who has received what. */
export interface Peer {
  /** Does the client still hear anything? */
  hears(client: number): boolean
  /** Takes the client's oldest frame of that type, or the oldest that begins with these bytes. */
  take(client: number, type: number, beginning?: Uint8Array): Sent | null
  /** The client's oldest frame of that type, left where it is. */
  peek(client: number, type: number): Buffer | null
}

/** What all models of one run have in common. */
export interface Setting {
  readonly peer: Peer
  now: number
  /** False while the store takes no writes. */
  writable: boolean
  /** Ids that were given out since the broker started. */
  readonly ids: Set<number>
  /** Hears of every reply: `type`, or `type code` of a refusal. */
  met(what: string): void
}

/** A request as it goes over the wire. */
export interface Encoded {
  readonly type: number
  readonly payload: Buffer
}

/** Requests whose refusal carries no code (6.2). */
const PLAIN = new Set([
  100, 101, 102, 103, 104, 105, 106, 107, 108, 203, 204, 207, 208, 600, 601, 700, 701, 703, 704,
])

/** The client's next frame of that type; null where the client is gone and hears nothing. */
export function expectFrame(
  { peer }: Setting,
  client: number,
  type: number,
  what: string,
  beginning?: Uint8Array,
): { cursor: Cursor; at: number } | null {
  if (!peer.hears(client)) return null
  const sent = peer.take(client, type, beginning)
  if (sent === null) throw new Divergence(`client ${client} got no ${type}: ${what}`)
  return { cursor: new Cursor(sent.payload), at: sent.at }
}

/** The reply must be a success; reads what follows its status. */
export function expectSuccess<T>(
  setting: Setting,
  client: number,
  type: number,
  what: string,
  read: (cursor: Cursor, at: number) => T,
): T | null {
  const frame = expectFrame(setting, client, type, what)
  if (frame === null) return null
  const { cursor, at } = frame
  const status = cursor.u8()
  if (status !== 0) {
    const text = PLAIN.has(type) ? cursor.text() : `${cursor.u32()} ${cursor.text()}`
    throw new Divergence(`client ${client} was refused ${type} (${text}): ${what}`)
  }
  setting.met(String(type))
  const value = read(cursor, at)
  ended(cursor, `${type} to client ${client}, ${what}`)
  return value
}

/** The reply must be a refusal, with this code where its type carries one. */
export function expectRefusal(
  setting: Setting,
  client: number,
  type: number,
  code: number,
  what: string,
): null {
  const frame = expectFrame(setting, client, type, what)
  if (frame === null) return null
  const { cursor } = frame
  if (cursor.u8() !== 1)
    throw new Divergence(`client ${client} was not refused ${type} with ${code}: ${what}`)
  setting.met(`${type} ${code}`)
  if (!PLAIN.has(type)) same(cursor.u32(), code, `code of ${type} to client ${client}, ${what}`)
  if (cursor.text().length < 4) throw new Divergence(`the text of a refusal is too short: ${what}`)
  ended(cursor, `${type} to client ${client}, ${what}`)
  return null
}

export function ended(cursor: Cursor, what: string): void {
  if (cursor.left > 0) throw new Divergence(`${cursor.left} bytes too many: ${what}`)
}

export function same(actual: unknown, expected: unknown, what: string): void {
  if (isDeepStrictEqual(actual, expected)) return
  throw new Divergence(`${what}: got ${shown(actual)}, expected ${shown(expected)}`)
}

export function shown(value: unknown): string {
  return (
    JSON.stringify(value, (_key, part: unknown) => {
      if (typeof part === "bigint") return `${part}n`
      if (part !== null && typeof part === "object" && (part as { type?: unknown }).type === "Buffer") {
        const { data } = part as { data: number[] }
        return data.length > 40 ? `${data.length} bytes` : Buffer.from(data).toString("latin1")
      }
      return part
    }) ?? "undefined"
  )
}

/** An id that nobody got before (5.3). */
export function fresh({ ids }: Setting, id: number | null, what: string): number {
  if (id === null) return 0
  if (id === 0 || ids.has(id)) throw new Divergence(`the id ${id} was given out before: ${what}`)
  ids.add(id)
  return id
}

/** Does the pattern match the route (5.1)? Both with their scheme. */
export function matches(pattern: string, route: string): boolean {
  return matchParts(pattern.split("/"), route.split("/"))
}

function matchParts(pattern: readonly string[], route: readonly string[]): boolean {
  const [first, ...rest] = pattern
  if (first === undefined) return route.length === 0
  if (first === "**") return route.some((_, i) => matchParts(rest, route.slice(i))) || matchParts(rest, [])
  return route.length > 0 && (first === "*" || first === route[0]) && matchParts(rest, route.slice(1))
}

/** A subscribe or unsubscribe request of most domains. */
export type Subscription =
  | { readonly op: "subscribe"; readonly pattern: string }
  | { readonly op: "unsubscribe"; readonly pattern: string }

export interface Registration {
  readonly id: number
  readonly client: number
  readonly family: number
  readonly pattern: string
  /** Where its reply stands among the client's frames. */
  readonly at: number
}

/** The registrations of one domain (5.3). */
export class Registrations {
  private readonly setting: Setting
  private readonly wildcardsMax: number
  all: Registration[] = []

  constructor(setting: Setting, wildcardsMax: number) {
    this.setting = setting
    this.wildcardsMax = wildcardsMax
  }

  /** Judges the reply to a subscribe; says whether it is a new registration. */
  subscribe(
    client: number,
    family: number,
    pattern: string,
    wire: { type: number; flagged: boolean; limitCode: number },
  ): Registration | null {
    const { setting } = this
    const what = `subscribe ${pattern}`
    const known = this.all.find(one => one.client === client && one.pattern === pattern)
    const wildcards = this.all.filter(one => one.client === client && one.pattern.includes("*")).length
    if (known === undefined && pattern.includes("*") && wildcards >= this.wildcardsMax) {
      expectRefusal(setting, client, wire.type, wire.limitCode, what)
      return null
    }
    let at = 0
    const id = expectSuccess(setting, client, wire.type, what, (cursor, place) => {
      if (wire.flagged) same(cursor.u8(), 1, `flag of ${what}`)
      at = place
      return cursor.number()
    })
    if (known !== undefined) {
      if (id !== null) same(id, known.id, `second ${what}`)
      return null
    }
    const registration = { id: fresh(setting, id, what), client, family, pattern, at }
    this.all.push(registration)
    return registration
  }

  unsubscribe(client: number, pattern: string, type: number): null {
    expectSuccess(this.setting, client, type, `unsubscribe ${pattern}`, () => null)
    this.all = this.all.filter(one => one.client !== client || one.pattern !== pattern)
    return null
  }

  leave(client: number): void {
    this.all = this.all.filter(one => one.client !== client)
  }

  restart(): void {
    this.all = []
  }

  matching(family: number, route: string): Registration[] {
    return this.all.filter(one => one.family === family && matches(one.pattern, route))
  }

  /**
   * Each of these must have got one notification with its id and then these bytes: its next of that type, or its
   * next of those that go on with `beginning` after the id.
   */
  notify(
    followers: readonly Registration[],
    type: number,
    rest: Buffer,
    what: string,
    beginning: Buffer | null = null,
  ): void {
    for (const { client, id, at } of followers) {
      const which = beginning === null ? undefined : bytes(u64(id), beginning)
      const frame = expectFrame(this.setting, client, type, what, which)
      if (frame === null) continue
      const { cursor } = frame
      same(cursor.number(), id, `registration of ${type} to client ${client}, ${what}`)
      same(cursor.raw(cursor.left), rest, `content of ${type} to client ${client}, ${what}`)
      if (frame.at < at)
        throw new Divergence(`client ${client} got a ${type} before the reply to its subscribe: ${what}`)
    }
  }
}
