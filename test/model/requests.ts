// Made-up requests of the seven domains, over few routes and few values so that clients collide. Most use what
// the model knows to be open; some use what is not theirs, what is gone, or nonsense.
// Must never import the broker or protocol/.

import type { Random } from "../kit/random.ts"
import { encodeKv, type KvModel, type KvOp } from "./kv.ts"
import { encodeLease, type LeaseModel, type LeaseOp } from "./lease.ts"
import { encodeNotice, type NoticeModel, type NoticeOp } from "./notice.ts"
import type { Encoded } from "./peer.ts"
import { encodeQueue, type QueueModel, type QueueOp } from "./queue.ts"
import { encodeRpc, type RpcModel, type RpcOp } from "./rpc.ts"
import { encodeSchedule, type ScheduleModel, type ScheduleOp } from "./schedule.ts"
import { encodeStream, type FilterClause, type StreamModel, type StreamOp } from "./stream.ts"

/** What a store chokes on in these runs. */
export const POISON = "poison"

export type Request =
  | { readonly domain: "kv"; readonly op: KvOp }
  | { readonly domain: "queue"; readonly op: QueueOp }
  | { readonly domain: "rpc"; readonly op: RpcOp }
  | { readonly domain: "lease"; readonly op: LeaseOp }
  | { readonly domain: "notice"; readonly op: NoticeOp }
  | { readonly domain: "stream"; readonly op: StreamOp }
  | { readonly domain: "schedule"; readonly op: ScheduleOp }

export type DomainName = Request["domain"]

export const DOMAINS: readonly DomainName[] = ["kv", "queue", "rpc", "lease", "notice", "stream", "schedule"]
/** Domains whose requests are judged as they arrive; the others wait for their lane. */
export const LIVE: ReadonlySet<DomainName> = new Set(["rpc", "lease", "notice"])

export function encode(request: Request): Encoded {
  switch (request.domain) {
    case "kv":
      return encodeKv(request.op)
    case "queue":
      return encodeQueue(request.op)
    case "rpc":
      return encodeRpc(request.op)
    case "lease":
      return encodeLease(request.op)
    case "notice":
      return encodeNotice(request.op)
    case "stream":
      return encodeStream(request.op)
    case "schedule":
      return encodeSchedule(request.op)
  }
}

export interface Models {
  readonly kv: KvModel
  readonly queue: QueueModel
  readonly rpc: RpcModel
  readonly lease: LeaseModel
  readonly notice: NoticeModel
  readonly stream: StreamModel
  readonly schedule: ScheduleModel
}

const ROUTES = ["r/a/x", "r/a/y", "r/b/x", "s/a/x"]
const PATTERNS = [...ROUTES, "r/a/*", "r/*/x", "*/*/*", "**", "r/**", "**/x", "s/**"]
/** An id that nobody was given. */
const NOBODY = 999_999_999

/** A request of that domain by that client. */
export function makeUp(domain: DomainName, client: number, models: Models, random: Random): Request {
  switch (domain) {
    case "kv":
      return { domain, op: kv(client, models.kv, random) }
    case "queue":
      return { domain, op: queue(client, models.queue, random) }
    case "rpc":
      return { domain, op: rpc(client, models.rpc, random) }
    case "lease":
      return { domain, op: lease(client, models.lease, random) }
    case "notice":
      return { domain, op: notice(client, models.notice, random) }
    case "stream":
      return { domain, op: stream(client, models.stream, random) }
    case "schedule":
      return { domain, op: schedule(random) }
  }
}

function subscription(random: Random, scheme: string): { op: "subscribe" | "unsubscribe"; pattern: string } {
  const pattern = `${scheme}://${random.pick(PATTERNS)}`
  return { op: random.chance(0.7) ? "subscribe" : "unsubscribe", pattern }
}

/** One of the client's own, seldom somebody else's; null where there is none. */
function some<T>(own: readonly T[], all: readonly T[], random: Random): T | null {
  const from = random.chance(0.1) ? all : own
  return from.length === 0 ? null : random.pick(from)
}

function text(random: Random): string {
  if (random.chance(0.04)) return "x".repeat(random.between(15_000, 30_000))
  return `v${random.int(50)}`
}

function kv(client: number, model: KvModel, random: Random): KvOp {
  if (random.chance(0.06)) return subscription(random, "kv")
  const open = some(model.open(client), model.open(), random)
  if (open === null || random.chance(0.12)) {
    const route = `kv://${random.pick(ROUTES)}`
    return { op: "begin", route, write: random.chance(0.6), sync: random.chance(0.5) }
  }
  const tx = random.chance(0.02) ? NOBODY : open.id
  const route = random.chance(0.02) ? `kv://${random.pick(ROUTES)}` : open.route
  const at = { tx, route }
  // Low and high bytes too: keys are ordered as bytes are.
  const key = (): string => random.pick(["", "a", "b", "b\u0000", "bb", "c", "d", "\u00e9", "\u00ff"])
  const value = (): string => (random.chance(0.03) ? POISON : text(random))
  const bound = (): string | null => (random.chance(0.4) ? null : key())
  switch (random.int(12)) {
    case 0:
    case 1:
      return { op: "get", ...at, key: key() }
    case 2:
    case 3:
    case 4:
      return { op: "put", ...at, key: key(), value: value() }
    case 5:
      return { op: "insert", ...at, key: key(), value: value() }
    case 6:
      return { op: "delete", ...at, key: key() }
    case 7:
      return { op: "deleteRange", ...at, start: key(), end: key() }
    case 8:
    case 9: {
      const limit = random.chance(0.5) ? null : random.int(5)
      return { op: "scan", ...at, start: bound(), end: bound(), limit, reverse: random.chance(0.5) }
    }
    case 10:
      return { op: "commit", ...at }
    default:
      return random.chance(0.6) ? { op: "commit", ...at } : { op: "rollback", ...at }
  }
}

function queue(client: number, model: QueueModel, random: Random): QueueOp {
  if (random.chance(0.06)) return subscription(random, "queue")
  const route = `queue://${random.chance(0.03) ? `r/a/${POISON}` : random.pick(ROUTES)}`
  if (random.chance(0.35)) {
    return { op: "enqueue", route, body: text(random), delay: random.chance(0.3) ? random.int(6) : null }
  }
  const gone = random.chance(0.15) ? some(model.done, [], random) : null
  const held = gone ?? some(model.held(client), model.held(), random)
  if (held !== null && random.chance(0.5)) {
    const token = random.chance(0.03) ? held.token + 1n : held.token
    const which = { route: random.chance(0.03) ? route : held.route, id: held.id, token }
    return random.chance(0.3)
      ? { op: "extend", ...which, lease: random.int(8) }
      : { op: "complete", ...which }
  }
  return {
    op: "reserve",
    pattern: `queue://${random.pick(random.chance(0.6) ? ROUTES : PATTERNS)}`,
    lease: random.int(10),
    batch: random.chance(0.4) ? null : random.pick([0, 1, 2, 5, 1_024, 1_025]),
    wait: random.chance(0.5) ? null : random.pick([0, 1, 4, 40]),
  }
}

function rpc(client: number, model: RpcModel, random: Random): RpcOp {
  const pattern = `rpc://${random.pick(PATTERNS)}`
  if (random.chance(0.12)) return { op: "register", pattern, credit: random.pick([1, 1, 2, 3, 0, 1_025]) }
  if (random.chance(0.05)) return { op: "unregister", pattern }
  const call = some(model.delivered(client), model.delivered(), random)
  if (call !== null && random.chance(0.5)) {
    const sequence = random.chance(0.05) ? random.int(4) : call.sequence
    const last = random.chance(0.6)
    return { op: "answer", correlation: call.correlation, sequence, last, body: text(random) }
  }
  const known = random.chance(0.04) ? some(model.live, [], random) : null
  const correlation = known ?? random.bytes(16).toString("hex")
  return { op: "call", correlation, route: `rpc://${random.pick(ROUTES)}`, body: text(random) }
}

function lease(client: number, model: LeaseModel, random: Random): LeaseOp {
  if (random.chance(0.08)) return subscription(random, "lease")
  const route = `lease://${random.pick(ROUTES)}`
  const owner = random.chance(0.8) ? "" : "second"
  const held = some(model.held(client), model.held(), random)
  if (held !== null && random.chance(0.4)) {
    const token = random.chance(0.08) ? held.token + random.int(3) - 1 : held.token
    const which = { route: held.route, owner: held.owner, token }
    return random.chance(0.4) ? { op: "renew", ...which, ttl: random.int(9) } : { op: "release", ...which }
  }
  if (random.chance(0.15)) return { op: "query", route }
  const lost = random.chance(0.15) ? some(model.lost(client), [], random) : null
  if (lost !== null) return { op: "renew", ...lost, ttl: 5 }
  if (random.chance(0.05)) return { op: "renew", route, owner, token: model.newest, ttl: 5 }
  const wait = random.pick([null, 0, 2, 5, 30, 31])
  return { op: "acquire", route, owner, ttl: random.chance(0.03) ? 0 : random.between(1, 9), wait }
}

function notice(client: number, model: NoticeModel, random: Random): NoticeOp {
  if (random.chance(0.75)) {
    const route = `notice://${random.pick([...ROUTES, "r", "r/a/x/deeper"])}`
    return { op: "publish", route, body: text(random) }
  }
  const pattern = `notice://${random.pick([...PATTERNS, "r", "*", "r/**/x"])}`
  if (random.chance(0.7)) return { op: "subscribe", pattern }
  if (random.chance(0.1)) return { op: "unsubscribeAll" }
  const { all } = model.registrations
  const known = some(
    all.filter(one => one.client === client),
    all,
    random,
  )
  return { op: "unsubscribe", id: known?.id ?? NOBODY }
}

const WORDS = ["", "a", "ab", "b", "bc"]
const SELECTORS = [
  "r/a/x",
  "s/a/x",
  "r/a/*",
  "r/*/x",
  "r/*/*",
  "r/**",
  "*/a/x",
  "*/*/x",
  "*/a/*",
  "*/*/*",
  "**",
  "r/a/**",
  "**/x",
  "*/**",
]

function clause(random: Random): FilterClause {
  const kind = random.pick(["equals", "differs", "startsWith", "anyOf"] as const)
  const count = kind === "anyOf" ? random.int(3) : 1
  return { kind, values: Array.from({ length: count }, () => random.pick(WORDS)) }
}

function stream(client: number, model: StreamModel, random: Random): StreamOp {
  const route = `stream://${random.pick(ROUTES)}`
  const selector = `stream://${random.pick(SELECTORS)}`
  if (random.chance(0.08)) return { op: random.chance(0.7) ? "subscribe" : "unsubscribe", selector }
  const open = some(model.open(client), model.open(), random)
  if (open !== null && random.chance(0.7)) {
    const session = random.chance(0.02) ? NOBODY : open.id
    if (random.chance(0.3)) return { op: "commit", session, sync: random.chance(0.5) }
    if (random.chance(0.05)) return { op: "rollback", session }
    return {
      op: "append",
      session,
      expected: random.chance(0.06) ? random.int(9) : open.next,
      body: random.chance(0.02) ? POISON : text(random),
      meta: random.chance(0.8) ? null : text(random),
      discriminator: random.chance(0.3) ? null : random.pick(WORDS),
    }
  }
  if (random.chance(0.45)) return { op: "begin", route }
  if (random.chance(0.2)) return { op: random.chance(0.5) ? "last" : "metadata", route }
  const limit = random.pick([0, 1, 2, 5, 1_000, 20_000])
  const maxBytes = random.chance(0.8) ? null : random.int(400)
  const { issued } = model
  if (issued.length > 0 && random.chance(0.3)) {
    const { pattern, filter, next, watermark, fingerprint } = random.pick(issued)
    return {
      op: "read",
      selector: pattern === "stream://*/*/*" && random.chance(0.5) ? "stream://**" : pattern,
      from: BigInt(random.chance(0.05) ? next + 1 : next),
      limit,
      maxBytes,
      filter: JSON.parse(filter) as FilterClause[] | null,
      fingerprint: random.chance(0.05) ? null : random.chance(0.05) ? fingerprint + 1n : fingerprint,
      watermark: random.chance(0.05) ? null : BigInt(watermark),
    }
  }
  return {
    op: "read",
    selector,
    from: random.chance(0.03) ? 2n ** 64n - 1n : BigInt(random.int(12)),
    limit,
    maxBytes,
    filter: random.chance(0.6) ? null : Array.from({ length: random.int(3) }, () => clause(random)),
    fingerprint: null,
    watermark: random.chance(0.02) ? 3n : null,
  }
}

const CRONS = [
  "* * * * *",
  "*/2 * * * *",
  "1-59/3 * * * *",
  "0,7,14 12-14 * * *",
  "5 * * * *",
  "0 0 1 1 *",
  "30 12 29 2 *",
  "* * * * 3",
  "0 13 16 * 5",
  "61 * * * *",
  "* * 30 2 *",
  "* * * *",
  "*,1 * * * *",
]

function schedule(random: Random): ScheduleOp {
  const patterns = ["**", "r/**", "r/a/x/go", "*/*/*/*", "r/a/*/go", "r/**/stop"]
  if (random.chance(0.3)) {
    const pattern = `schedule://${random.pick(patterns)}`
    return { op: random.chance(0.75) ? "subscribe" : "unsubscribe", pattern }
  }
  if (random.chance(0.2)) {
    const offset = random.chance(0.4) ? null : random.int(5)
    return { op: "list", offset, limit: random.chance(0.4) ? null : random.int(4) }
  }
  const route = `schedule://${random.pick(ROUTES)}/${random.pick(["go", "stop"])}`
  if (random.chance(0.2)) return { op: "cancel", route }
  const mode = random.chance(0.03) ? 2 : random.int(2)
  const payload = random.chance(0.03) ? POISON : text(random)
  return { op: "create", route, cron: random.pick(CRONS), mode, payload }
}
