// Queue by the specification, section 8, on plain maps and arrays. Where the specification leaves the broker a
// choice (which of two messages that became ready at the same moment), the model follows the broker's and only
// checks that it was one. Must never import the broker or protocol/.

import { block, bytes, opt, u32, u64 } from "../kit/bytes.ts"
import {
  Divergence,
  type Encoded,
  expectFrame,
  expectRefusal,
  expectSuccess,
  matches,
  Registrations,
  type Setting,
  type Subscription,
  same,
  shown,
} from "./peer.ts"

export type QueueOp =
  | { readonly op: "enqueue"; readonly route: string; readonly body: string; readonly delay: number | null }
  | {
      readonly op: "reserve"
      readonly pattern: string
      readonly lease: number
      readonly batch: number | null
      readonly wait: number | null
    }
  | {
      readonly op: "extend"
      readonly route: string
      readonly id: number
      readonly token: bigint
      readonly lease: number
    }
  | { readonly op: "complete"; readonly route: string; readonly id: number; readonly token: bigint }
  | Subscription

type Reserve = Extract<QueueOp, { op: "reserve" }>

const TYPES = {
  enqueue: 200,
  reserve: 202,
  extend: 203,
  complete: 204,
  subscribe: 207,
  unsubscribe: 208,
} as const

export function encodeQueue(op: QueueOp): Encoded {
  const type = TYPES[op.op]
  switch (op.op) {
    case "enqueue":
      return {
        type,
        payload: bytes(block(op.route), block(Buffer.from(op.body, "latin1")), opt(op.delay, u64)),
      }
    case "reserve":
      return { type, payload: bytes(block(op.pattern), u64(op.lease), opt(op.batch, u32), opt(op.wait, u64)) }
    case "extend":
      return { type, payload: bytes(block(op.route), u64(op.id), u64(op.token), u64(op.lease)) }
    case "complete":
      return { type, payload: bytes(block(op.route), u64(op.id), u64(op.token)) }
    case "subscribe":
    case "unsubscribe":
      return { type, payload: block(op.pattern) }
  }
}

interface Message {
  readonly id: number
  readonly body: string
  readonly delayed: boolean
  /** When it first was or becomes ready. */
  readonly firstReadyMs: number
  /** "returning": its client is gone, and it is about to be ready again. */
  place: "ready" | "delayed" | "reserved" | "returning"
  /** Since when it is ready; later than `firstReadyMs` once it came back. */
  sinceMs: number
  /** How many messages had come back before it did; 0 where it never did. */
  returned: number
  attempts: number
  storedAttempts: number
  reservation: Reservation | null
}

interface Reservation {
  readonly client: number
  readonly token: bigint
  readonly order: number
  dueMs: number
}

interface Queue {
  readonly route: string
  readonly family: number
  lastId: number
  messages: Message[]
}

interface Wait {
  readonly client: number
  readonly family: number
  readonly op: Reserve
  readonly dueMs: number
}

export interface Held {
  readonly route: string
  readonly id: number
  readonly token: bigint
}

const WAIT_SECONDS_MAX = 30
const ROOM = 65_535 - 5
const COMPLETED_KNOWN_MS = 5 * 60_000
const FULL_STORE = 4007
const BAD_REQUEST = 4006

export class QueueModel {
  private readonly setting: Setting
  private readonly limits: { readonly attemptsMax: number; readonly poison: string }
  readonly registrations: Registrations
  private readonly queues = new Map<string, Queue>()
  private waits: Wait[] = []
  /** Reserves that stand behind a parked one of their client. */
  private readonly lines = new Map<number, { family: number; op: Reserve }[]>()
  /** Clients whose parked reserve was answered and whose line goes on. */
  private released: number[] = []
  private completed: (Held & { readonly family: number; readonly atMs: number })[] = []
  private going = false
  private reservations = 0
  private returns = 0

  constructor(setting: Setting, limits: { attemptsMax: number; wildcardsMax: number; poison: string }) {
    this.setting = setting
    this.limits = limits
    this.registrations = new Registrations(setting, limits.wildcardsMax)
  }

  /** What a client holds, for whoever makes up requests. */
  held(client: number | null = null): Held[] {
    return [...this.queues.values()].flatMap(({ route, messages }) =>
      messages
        .filter(one => one.reservation !== null && (client === null || one.reservation.client === client))
        .map(one => ({ route, id: one.id, token: one.reservation!.token })),
    )
  }

  /** What was completed lately. */
  get done(): readonly Held[] {
    return this.completed
  }

  request(client: number, family: number, op: QueueOp): null {
    const type = TYPES[op.op]
    const what = shown(op)
    switch (op.op) {
      case "enqueue":
        this.enqueue(client, family, op)
        break
      case "reserve": {
        const line = this.lines.get(client)
        if (line === undefined) this.reserve(client, family, op)
        else line.push({ family, op })
        break
      }
      case "extend":
      case "complete":
        this.settle(client, family, op)
        break
      case "subscribe": {
        const wire = { type, flagged: true, limitCode: 4011 }
        const registration = this.registrations.subscribe(client, family, op.pattern, wire)
        if (registration === null) break
        // A new follower hears at once of every queue that has something ready.
        for (const queue of this.matching(family, op.pattern)) {
          if (ready(queue).length === 0) continue
          const rest = this.counts(queue)
          const beginning = bytes(u64(registration.id), rest)
          const frame = expectFrame(this.setting, client, 209, `209 after ${what}`, beginning)
          if (frame !== null && frame.at < registration.at)
            throw new Divergence(`client ${client} got a 209 before the reply to its subscribe`)
        }
        break
      }
      case "unsubscribe":
        this.registrations.unsubscribe(client, op.pattern, type)
    }
    this.goOn()
    return null
  }

  private enqueue(client: number, family: number, op: Extract<QueueOp, { op: "enqueue" }>): null {
    const { setting } = this
    const { route, delay } = op
    const what = `enqueue on ${route}`
    if (!setting.writable || route.includes(this.limits.poison))
      return expectRefusal(setting, client, 200, FULL_STORE, what)
    const queue = this.queue(family, route)
    const id = expectSuccess(setting, client, 200, what, cursor => cursor.number())
    const next = id ?? queue.lastId + 1
    if (next <= queue.lastId) throw new Divergence(`${what} got the id ${next} after ${queue.lastId}`)
    queue.lastId = next
    const readyMs = setting.now + (delay ?? 0) * 1_000
    const message: Message = {
      id: next,
      body: op.body,
      delayed: readyMs > setting.now,
      firstReadyMs: readyMs,
      place: readyMs > setting.now ? "delayed" : "ready",
      sinceMs: readyMs,
      returned: 0,
      attempts: 0,
      storedAttempts: 0,
      reservation: null,
    }
    const wasEmpty = ready(queue).length === 0
    queue.messages.push(message)
    if (message.place === "ready") this.becameReady(queue, wasEmpty)
    return null
  }

  /** Followers hear of the first ready message, whoever waits is served. */
  private becameReady(queue: Queue, wasEmpty: boolean): void {
    if (wasEmpty) {
      const followers = this.registrations.matching(queue.family, queue.route)
      // Several queues may come to it at the same moment, in any order.
      const beginning = block(queue.route)
      this.registrations.notify(followers, 209, this.counts(queue), `209 for ${queue.route}`, beginning)
    }
    while (ready(queue).length > 0) {
      const wait = this.waits.find(one => one.family === queue.family && matches(one.op.pattern, queue.route))
      if (wait === undefined) return
      this.waits = this.waits.filter(one => one !== wait)
      this.answer(wait.client, wait.op, [queue])
      this.released.push(wait.client)
    }
  }

  private counts(queue: Queue): Buffer {
    const count = (place: Message["place"]): number =>
      queue.messages.filter(one => one.place === place).length
    return bytes(block(queue.route), u64(count("ready")), u64(count("delayed")), u64(count("reserved")))
  }

  private reserve(client: number, family: number, op: Reserve): null {
    if (op.batch !== null && op.batch > 1_024)
      return expectRefusal(this.setting, client, 202, BAD_REQUEST, shown(op))
    const queues = this.matching(family, op.pattern)
    const wait = Math.min(op.wait ?? 0, WAIT_SECONDS_MAX)
    if (wait > 0 && queues.every(queue => ready(queue).length === 0)) {
      this.waits.push({ client, family, op, dueMs: this.setting.now + wait * 1_000 })
      this.lines.set(client, [])
      return null
    }
    this.answer(client, op, queues)
    return null
  }

  /** Judges the reply to a reserve that may draw from these queues. */
  private answer(client: number, op: Reserve, queues: readonly Queue[]): void {
    const { setting } = this
    const what = `reserve ${op.pattern}`
    const routed = op.pattern.includes("*")
    const wanted = op.batch === null || op.batch === 0 ? 1 : op.batch
    let room = ROOM
    const taken = expectSuccess(setting, client, 202, what, cursor => {
      if (cursor.left === 0) return []
      return Array.from({ length: cursor.u32() }, () => ({
        route: routed ? cursor.text() : op.pattern,
        id: cursor.number(),
        token: cursor.u64(),
        body: cursor.block().toString("latin1"),
      }))
    })
    // A client that is gone waits for nothing any more.
    if (taken === null) throw new Divergence(`${what} of client ${client}, which is gone`)
    if (taken.length > wanted) throw new Divergence(`${what}: ${taken.length} items, ${wanted} wanted`)
    for (const { route, id, token, body } of taken) {
      const queue = queues.find(one => one.route === route)
      const message = queue === undefined ? undefined : fronts(queue).find(one => one.id === id)
      if (message === undefined)
        throw new Divergence(`${what}: message ${id} of ${route} is not the next that is ready`)
      same(body, message.body, `body of message ${id} of ${route}`)
      room -= itemBytes(route, message, routed)
      if (room < 0) throw new Divergence(`${what}: the items do not fit a reply`)
      if (token === 0n || this.held().some(one => one.token === token))
        throw new Divergence(`${what}: the token ${token} is not fresh`)
      this.hold(message, client, token, op)
    }
    if (taken.length === wanted) return
    for (const queue of queues) {
      const next = fronts(queue)
      if (next.length > 0 && next.every(one => itemBytes(queue.route, one, routed) <= room))
        throw new Divergence(`${what}: only ${taken.length} items although ${queue.route} has more`)
    }
  }

  private hold(message: Message, client: number, token: bigint, { lease }: Reserve): void {
    const dueMs = this.setting.now + lease * 1_000
    message.place = "reserved"
    message.reservation = { client, token, order: this.reservations++, dueMs }
  }

  private settle(client: number, family: number, op: Extract<QueueOp, { op: "extend" | "complete" }>): null {
    const { setting } = this
    const type = TYPES[op.op]
    const what = `${op.op} ${op.id} of ${op.route}`
    const queue = this.queues.get(`${family} ${op.route}`)
    const message = queue?.messages.find(one => one.id === op.id)
    const reservation = message?.reservation ?? null
    const mine = reservation !== null && reservation.client === client && reservation.token === op.token
    // It has run out at this very moment and is not swept yet.
    if (mine && reservation.dueMs <= setting.now) return expectRefusal(setting, client, type, 4002, what)
    if (!mine || queue === undefined || message === undefined) {
      const before = this.completed.find(
        one => one.family === family && one.route === op.route && one.id === op.id && one.token === op.token,
      )
      if (op.op === "complete" && before !== undefined) {
        const ageMs = setting.now - before.atMs
        if (ageMs <= COMPLETED_KNOWN_MS) {
          expectSuccess(setting, client, type, `again ${what}`, () => null)
          return null
        }
        // After about five minutes it may be forgotten, and both answers are right.
        expectFrame(setting, client, type, `late ${what}`)
        return null
      }
      return expectRefusal(setting, client, type, 4003, what)
    }
    if (op.op === "extend") {
      expectSuccess(setting, client, type, what, () => null)
      reservation.dueMs = setting.now + op.lease * 1_000
      return null
    }
    if (!setting.writable) return expectRefusal(setting, client, type, FULL_STORE, what)
    expectSuccess(setting, client, type, what, () => null)
    queue.messages = queue.messages.filter(one => one !== message)
    this.completed.push({ route: op.route, id: op.id, token: op.token, family, atMs: setting.now })
    return null
  }

  /** Is anything due by now? */
  get due(): boolean {
    return this.nextLapsed() !== null
  }

  expire(): void {
    const { now } = this.setting
    const over = this.waits.filter(wait => wait.dueMs <= now).sort((a, b) => a.dueMs - b.dueMs)
    this.waits = this.waits.filter(wait => wait.dueMs > now)
    for (const { client } of over) {
      expectSuccess(this.setting, client, 202, "the end of a wait", cursor => {
        if (cursor.left > 0) same(cursor.u32(), 0, "items at the end of a wait")
      })
      this.released.push(client)
    }
    for (let next = this.nextLapsed(); next !== null; next = this.nextLapsed())
      this.lapse(next.queue, next.message)
    for (let queue = this.nextRipe(); queue !== null; queue = this.nextRipe()) {
      const wasEmpty = ready(queue).length === 0
      for (const message of ripe(queue, now)) message.place = "ready"
      this.becameReady(queue, wasEmpty)
    }
    this.goOn()
  }

  /** The message whose reservation ran out first, or null. */
  private nextLapsed(): { readonly queue: Queue; readonly message: Message } | null {
    const lapsed = [...this.queues.values()]
      .flatMap(queue => queue.messages.map(message => ({ queue, message, reservation: message.reservation })))
      .filter(one => one.reservation !== null && one.reservation.dueMs <= this.setting.now)
    lapsed.sort(
      (a, b) => a.reservation!.dueMs - b.reservation!.dueMs || a.reservation!.order - b.reservation!.order,
    )
    return lapsed[0] ?? null
  }

  /**
   * The queue whose delays are over first; null where there is none. Of several at the same moment any may be
   * it, which shows in what somebody gets who waits for both.
   */
  private nextRipe(): Queue | null {
    const { now, peer } = this.setting
    const all = [...this.queues.values()].filter(queue => ripe(queue, now).length > 0)
    const firstMs = Math.min(...all.map(queue => firstRipeMs(queue, now)))
    const firsts = all.filter(queue => firstRipeMs(queue, now) === firstMs)
    for (const { client, family, op } of this.waits) {
      const possible = firsts.filter(queue => queue.family === family && matches(op.pattern, queue.route))
      if (possible.length < 2) continue
      const reply = peer.peek(client, 202)
      const chosen = possible.find(queue => reply?.subarray(5).indexOf(block(queue.route)) === 0)
      if (chosen !== undefined) return chosen
    }
    return firsts[0] ?? null
  }

  private lapse(queue: Queue, message: Message): void {
    const { attemptsMax } = this.limits
    message.attempts++
    if (attemptsMax > 0 && message.attempts >= attemptsMax && this.setting.writable) {
      queue.messages = queue.messages.filter(one => one !== message)
      return
    }
    this.putBack(queue, message)
  }

  /** It is ready again, behind everything that is ready at this moment. */
  private putBack(queue: Queue, message: Message): void {
    const wasEmpty = ready(queue).length === 0
    message.place = "ready"
    message.reservation = null
    message.sinceMs = this.setting.now
    message.returned = ++this.returns
    this.becameReady(queue, wasEmpty)
  }

  /** Reserves that stood behind an answered one run now. */
  private goOn(): void {
    if (this.going) return
    this.going = true
    for (let client = this.released.shift(); client !== undefined; client = this.released.shift()) {
      const line = this.lines.get(client) ?? []
      this.lines.delete(client)
      for (const { family, op } of line) this.request(client, family, op)
    }
    this.going = false
  }

  /** They wait for nothing any more; this comes before anything of theirs goes to others. */
  unwait(client: number): void {
    this.waits = this.waits.filter(wait => wait.client !== client)
    this.lines.delete(client)
  }

  leave(client: number): void {
    this.registrations.leave(client)
    const held = [...this.queues.values()]
      .flatMap(queue => queue.messages.map(message => ({ queue, message })))
      .filter(({ message }) => message.reservation?.client === client)
      .sort(
        (a, b) => a.message.id - b.message.id || a.message.reservation!.order - b.message.reservation!.order,
      )
    for (const { message } of held) message.place = "returning"
    for (const { queue, message } of held) this.putBack(queue, message)
    this.goOn()
  }

  /** After a turn that could write. */
  stored(): void {
    if (!this.setting.writable) return
    for (const { messages } of this.queues.values())
      for (const message of messages) message.storedAttempts = message.attempts
  }

  restart(): void {
    this.waits = []
    this.lines.clear()
    this.completed = []
    this.registrations.restart()
    for (const queue of this.queues.values()) {
      for (const message of queue.messages) {
        message.reservation = null
        message.sinceMs = message.firstReadyMs
        message.returned = 0
        message.attempts = message.storedAttempts
        message.place = message.firstReadyMs <= this.setting.now ? "ready" : "delayed"
      }
    }
  }

  private matching(family: number, pattern: string): Queue[] {
    return [...this.queues.values()].filter(one => one.family === family && matches(pattern, one.route))
  }

  private queue(family: number, route: string): Queue {
    const key = `${family} ${route}`
    let queue = this.queues.get(key)
    if (queue === undefined) {
      queue = { route, family, lastId: 0, messages: [] }
      this.queues.set(key, queue)
    }
    return queue
  }
}

function ready(queue: Queue): Message[] {
  return queue.messages.filter(one => one.place === "ready")
}

/** Delayed messages whose delay is over. */
function ripe(queue: Queue, now: number): Message[] {
  return queue.messages.filter(one => one.place === "delayed" && one.firstReadyMs <= now)
}

function firstRipeMs(queue: Queue, now: number): number {
  return Math.min(...ripe(queue, now).map(one => one.firstReadyMs))
}

/**
 * The messages of which any may be the next: those ready for the longest time, of each kind (never delayed,
 * delayed, returned) the first.
 */
function fronts(queue: Queue): Message[] {
  const all = ready(queue)
  const oldestMs = Math.min(...all.map(one => one.sinceMs))
  const oldest = all.filter(one => one.sinceMs === oldestMs)
  const back = oldest.filter(one => one.returned > 0).sort((a, b) => a.returned - b.returned)
  const byId = oldest.filter(one => one.returned === 0).sort((a, b) => a.id - b.id)
  const firsts = [byId.find(one => !one.delayed), byId.find(one => one.delayed), back[0]]
  return firsts.filter(one => one !== undefined)
}

function itemBytes(route: string, message: Message, routed: boolean): number {
  return 20 + message.body.length + (routed ? 4 + route.length : 0)
}
