// KV: transactions over ordered byte strings (docs/PROTOCOL.md, KV-*). One writer per resource, any number
// of readers; a reader sees what was committed when it began, for its whole life, and holds up nobody.

import {
  binaryBytes,
  binaryText,
  copyOf,
  type Span,
  spanLength,
  spanOf,
  Writer,
} from "../../protocol/bytes.ts"
import type { Fault } from "../../protocol/fault.ts"
import { PAYLOAD_BYTES_MAX } from "../../protocol/frame.ts"
import {
  KV_FAULTS,
  KV_NOTIFY,
  type KvBegin,
  type KvDeleteRange,
  type KvPage,
  type KvPair,
  type KvPut,
  type KvRequest,
  type KvScan,
  SCAN_OVERHEAD_BYTES,
  SCAN_PAIR_BYTES,
  SCAN_PAIRS_MAX,
  writeKvNotice,
} from "../../protocol/messages/kv.ts"
import { parseRoute, type Route } from "../../protocol/route.ts"
import type { Budget } from "./budget.ts"
import { Catalog, pageFrom, pageOf } from "./catalog.ts"
import {
  type Context,
  type Domain,
  type Millis,
  type Outcome,
  type Session,
  type SessionId,
  Unfinished,
} from "./domain.ts"
import { type Due, DueHeap } from "./due.ts"
import type { Figures } from "./figures.ts"
import { type KeyBounds, Overlay, type OverlayEntry } from "./overlay.ts"
import { Owners } from "./owners.ts"
import { Rate, sumOf, Tallies } from "./rates.ts"
import { Realms } from "./realms.ts"
import { type RegistrationLimits, Registrations, subscribe, unsubscribe } from "./registrations.ts"

import { Timeline } from "./timeline.ts"
import { type Found, type Page, type PageAsk, type PlaceAsk, type Refused, refuse } from "./views/common.ts"
import type {
  KvAnswers,
  KvCommand,
  KvOutcomes,
  KvQuery,
  KvResource,
  KvStats,
  KvTransactionRow,
  StoredPair,
} from "./views/kv.ts"

/** What a transaction has changed: ranges go first, then single keys. Keys are binary text. */
export interface KvChanges {
  readonly deleted: readonly { readonly start: string; readonly end: string }[]
  readonly changed: readonly OverlayEntry[]
}

/**
 * Committed pairs, and for as long as snapshots need them the values that a commit replaced. A snapshot is a
 * number; a replaced value is kept under the number of the commit that replaced it.
 */
export interface KvStore {
  /** The resource, or null where nothing was ever stored in it. */
  find(family: number, route: Route): StoredKv | null
  create(family: number, route: Route): number
  /** Stored keys, all resources together. */
  keyCount(): number
  get(resource: number, key: Uint8Array): Uint8Array | null
  /** Up to `max` pairs within the bounds, ascending or descending. */
  scan(resource: number, bounds: KeyBounds, reverse: boolean, max: number): readonly KvPair[]
  /**
   * With `keep`, replaced values stay readable for snapshots up to `keep.newest`. Says by how many the keys
   * have become more.
   */
  apply(
    resource: number,
    changes: KvChanges,
    keep: { readonly commit: number; readonly newest: number } | null,
  ): number
  /** All resources that hold keys. */
  all(): Iterable<{ readonly family: number; readonly route: string; readonly keys: number }>
  /** Resources of an area that hold keys, by name; those of several families together. */
  resources(
    family: number | null,
    realm: string,
    area: string,
    page: PageAsk,
  ): readonly { readonly resource: string; readonly keys: number }[]
  /** How many names `resources` has in all. */
  countResources(family: number | null, realm: string, area: string): number
  /** Families in which a resource is stored. */
  families(route: Route): readonly number[]
  /** The value that the snapshot sees instead of the stored one: null for no value, undefined for none instead. */
  past(resource: number, snapshot: number, key: Uint8Array): Uint8Array | null | undefined
  /** The same for a stretch of keys; `value` null where the snapshot sees no value. */
  pastScan(
    resource: number,
    snapshot: number,
    bounds: KeyBounds,
    reverse: boolean,
    max: number,
  ): readonly OverlayEntry[]
  /** Drops values that were replaced at or before `commit`, a bounded number; true when none are left. */
  dropPast(resource: number, commit: number): boolean
}

export interface StoredKv {
  readonly id: number
  readonly keys: number
}

export interface KvLimits extends RegistrationLimits {
  /** Open transactions of one client. */
  readonly openTransactionsMax: number
  /** A transaction unused for this long is rolled back. */
  readonly idleMs: number
}

interface Resource {
  readonly family: number
  readonly route: Route
  /** 0 until something is stored in it. */
  id: number
  /** Committed keys. */
  keys: number
  writer: Transaction | null
  readonly readers: Set<Transaction>
  /** The last commit that changed it, as far as its open snapshots need to know. */
  lastCommit: number
}

interface Transaction extends Due {
  readonly id: number
  readonly session: SessionId
  readonly resource: Resource
  readonly writes: boolean
  readonly sync: boolean
  /** The last commit that it sees. */
  readonly snapshot: number
  readonly overlay: Overlay
  /** Mutating operations so far. */
  mutations: number
  bytes: number
  readonly startedMs: Millis
  /** All operations so far. */
  operations: number
  readonly tally: Tally
}

/** Numbers of one realm. */
class Tally {
  readonly get = new Rate()
  readonly put = new Rate()
  readonly delete = new Rate()
  readonly scan = new Rate()
  readonly other = new Rate()
  active = 0
  committed = 0
  rolledBack = 0
  conflicts = 0
  keys = 0
}

/** How many resources of an area hold keys. */
interface Area {
  resources: number
}

type Counted = "get" | "put" | "delete" | "scan" | "other"

const COUNTED: Readonly<Record<KvRequest["op"], Counted>> = {
  begin: "other",
  commit: "other",
  rollback: "other",
  get: "get",
  put: "put",
  insert: "put",
  delete: "delete",
  deleteRange: "delete",
  scan: "scan",
  subscribe: "other",
  unsubscribe: "other",
}
const ROWS_SHOWN_BYTES = 1024 * 1024

/** Replaced values to be dropped once no snapshot needs them. */
interface Leftover {
  readonly resource: number
  readonly commit: number
}

/** Rows one stretch of a scan looks at before it lets others pass, and how many it fetches at a time. */
const STRETCH_ROWS = 2_048
const LEFTOVERS_AGAIN_MS = 1_000
const CHUNK_ROWS_FIRST = 16
const CHUNK_ROWS_MAX = 256

type Reply = number | null | Uint8Array | KvPage

export class KvDomain implements Domain<KvRequest, Reply> {
  private readonly resources = new Map<number, Map<string, Resource>>()
  private readonly transactions = new Map<number, Transaction>()
  private readonly owners = new Owners<Transaction>()
  private readonly idle = new DueHeap<Transaction>()
  private readonly registrations: Registrations
  private readonly limits: KvLimits
  private readonly store: KvStore
  private readonly uncommitted: Budget
  private leftovers: Leftover[] = []
  private leftoversDueMs: Millis = 0
  /** Commits so far in this process: what snapshots are counted by. */
  private commits = 0
  private readonly counted = { keys: 0, rollbacks: 0 }

  private readonly tallies = new Tallies(
    () => new Tally(),
    tally => tally.active === 0 && tally.keys === 0,
    (into, from) => {
      for (const name of ["get", "put", "delete", "scan", "other"] as const)
        into[name].total += from[name].total
      into.committed += from.committed
      into.rolledBack += from.rolledBack
      into.conflicts += from.conflicts
    },
  )
  private readonly areas = new Catalog<Area>()
  private readonly timeline = new Timeline()

  constructor(limits: KvLimits, store: KvStore, uncommitted: Budget, realms = new Realms()) {
    this.limits = limits
    this.store = store
    this.uncommitted = uncommitted
    this.registrations = new Registrations(limits, KV_FAULTS.subscriptionLimit, realms)
    this.counted.keys = store.keyCount()
  }

  /** Counts what is stored. */
  load(): void {
    for (const { family, route, keys } of this.store.all()) {
      const [realm, area] = segmentsOf(route)
      this.tallies.of(family, realm).keys += keys
      this.countResource(family, realm, area, 1)
    }
  }

  handle(request: KvRequest, session: Session, context: Context): Outcome<Reply> {
    const about = "pattern" in request ? request.pattern : request.route
    this.tallies.of(session.family, about.segments[0]!)[COUNTED[request.op]].add(context.now)
    if (request.op === "begin") return this.begin(request, session, context)
    if (request.op === "subscribe") return subscribe(this.registrations, session, request.pattern, context)
    if (request.op === "unsubscribe")
      return unsubscribe(this.registrations, session, request.pattern, context)
    const transaction = this.transactions.get(request.tx)
    if (transaction === undefined || transaction.session !== session.id) return KV_FAULTS.transactionNotFound
    if (transaction.resource.route.text !== request.route.text) {
      return KV_FAULTS.invalidRequest.because("the transaction belongs to another resource")
    }
    transaction.dueMs = context.now + this.limits.idleMs
    transaction.operations++
    this.idle.moved(transaction)
    switch (request.op) {
      case "get":
        return this.get(transaction, request.key)
      case "scan":
        return this.scan(transaction, request)
      case "commit":
        return this.commit(transaction, context)
      case "rollback":
        this.rollBack(transaction, context)
        return null
    }
    if (!transaction.writes) return KV_FAULTS.readOnly
    switch (request.op) {
      case "put":
      case "insert":
        return this.put(transaction, request, context)
      case "delete":
        return this.change(transaction, keyOf(request.key), null, context)
      case "deleteRange":
        return this.deleteRange(transaction, request, context)
    }
  }

  private begin(request: KvBegin, session: Session, context: Context): number | Fault {
    const { route, writes, sync } = request
    const resource = this.resource(session.family, route)
    const tally = this.tallies.of(session.family, route.segments[0]!)
    if (writes && resource.writer !== null) {
      tally.conflicts++
      const what = "a second writer was refused"
      this.timeline.note("failure", context.now, session.family, route.segments, what)
      return KV_FAULTS.isolationConflict
    }
    if (this.owners.count(session.id) >= this.limits.openTransactionsMax) {
      return KV_FAULTS.busy.because("this client has too many open transactions")
    }
    const id = context.nextId()
    const transaction: Transaction = {
      id,
      order: id,
      session: session.id,
      resource,
      writes,
      sync,
      snapshot: this.commits,
      overlay: new Overlay(),
      mutations: 0,
      bytes: 0,
      startedMs: context.now,
      operations: 0,
      tally,
      dueMs: context.now + this.limits.idleMs,
      heapAt: -1,
    }
    this.insert(transaction)
    context.journal.undo(() => this.erase(transaction))
    return transaction.id
  }

  private put(transaction: Transaction, request: KvPut, context: Context): null | Fault {
    const key = keyOf(request.key)
    if (request.op === "insert" && this.look(transaction, key, request.key) !== null)
      return KV_FAULTS.keyExists
    return this.change(transaction, key, request.value, context)
  }

  private change(transaction: Transaction, key: string, value: Span | null, context: Context): null | Fault {
    const bytes = Overlay.entryBytes(key.length, value === null ? 0 : spanLength(value))
    if (!this.hold(transaction, bytes, context)) return KV_FAULTS.busy.because("too much is uncommitted")
    context.journal.undo(transaction.overlay.set(key, value === null ? null : copyOf(value)))
    context.journal.assign(transaction, { mutations: transaction.mutations + 1 })
    return null
  }

  private deleteRange(transaction: Transaction, request: KvDeleteRange, context: Context): null | Fault {
    const start = keyOf(request.start)
    const end = keyOf(request.end)
    if (start >= end) return KV_FAULTS.invalidRequest.because("the range is empty")
    const bytes = Overlay.entryBytes(start.length, end.length)
    if (!this.hold(transaction, bytes, context)) return KV_FAULTS.busy.because("too much is uncommitted")
    context.journal.undo(transaction.overlay.deleteRange(start, end))
    context.journal.assign(transaction, { mutations: transaction.mutations + 1 })
    return null
  }

  private hold(transaction: Transaction, bytes: number, context: Context): boolean {
    if (!this.uncommitted.take(bytes)) return false
    transaction.bytes += bytes
    context.journal.undo(() => {
      transaction.bytes -= bytes
      this.uncommitted.give(bytes)
    })
    return true
  }

  private get(transaction: Transaction, key: Span): Uint8Array | null {
    return this.look(transaction, transaction.overlay.empty ? "" : keyOf(key), key)
  }

  /** What the transaction sees under a key; `text` matters only where it has changed something. */
  private look(transaction: Transaction, text: string, key: Span): Uint8Array | null {
    const { overlay, resource, writes, snapshot } = transaction
    const own = overlay.empty ? undefined : overlay.get(text)
    if (own !== undefined) return own
    if (resource.id === 0) return null
    const bytes = key.bytes.subarray(key.start, key.end)
    // Only writers change a resource, so its one writer sees the stored state itself.
    const past =
      writes || resource.lastCommit <= snapshot ? undefined : this.store.past(resource.id, snapshot, bytes)
    return past === undefined ? this.store.get(resource.id, bytes) : past
  }

  private commit(transaction: Transaction, context: Context): null | Fault {
    this.end(transaction, context)
    if (transaction.mutations === 0) {
      transaction.tally.committed++
      return null
    }
    if (!context.writable) return KV_FAULTS.backend
    transaction.tally.committed++
    const { resource, overlay } = transaction
    if (resource.id === 0) {
      context.journal.assign(resource, { id: this.store.create(resource.family, resource.route) })
    }
    const commit = this.commits + 1
    let newest = -1
    for (const reader of resource.readers) newest = Math.max(newest, reader.snapshot)
    const changes = { deleted: overlay.deleted, changed: overlay.changed }
    const added = this.store.apply(resource.id, changes, newest < 0 ? null : { commit, newest })
    if (added !== 0) this.countKeys(resource, added, context)
    context.journal.assign(this.counted, { keys: this.counted.keys + added })
    this.commits = commit
    context.journal.undo(() => {
      this.commits = commit - 1
    })
    context.journal.assign(resource, { lastCommit: commit })
    context.wrote(transaction.sync ? "sync" : "buffered")
    const followers = this.registrations.matching(resource.family, resource.route)
    if (followers.length > 0) {
      const writer = new Writer(64)
      writeKvNotice(writer, resource.route, transaction.mutations)
      context.emit({ kind: "notify", type: KV_NOTIFY, followers, tail: spanOf(writer.written) })
    }
    return null
  }

  private countKeys(resource: Resource, added: number, context: Context): void {
    const { family, route, keys } = resource
    const [realm, area] = route.segments as readonly [string, string]
    const tally = this.tallies.of(family, realm)
    resource.keys = keys + added
    tally.keys += added
    const by = (resource.keys > 0 ? 1 : 0) - (keys > 0 ? 1 : 0)
    if (by !== 0) this.countResource(family, realm, area, by)
    context.journal.undo(() => {
      resource.keys = keys
      tally.keys -= added
      if (by !== 0) this.countResource(family, realm, area, -by)
    })
  }

  private countResource(family: number, realm: string, area: string, by: number): void {
    const segments = [realm, area, ""]
    const known = this.areas.get(family, segments)
    if (known === undefined) this.areas.add(family, segments, { resources: by })
    else {
      known.resources += by
      if (known.resources === 0) this.areas.remove(family, segments)
    }
  }

  private scan(transaction: Transaction, request: KvScan): Outcome<KvPage> {
    const { start, end, reverse, startExclusive } = request
    const from = start === null ? null : keyOf(start)
    const to = end === null ? null : keyOf(end)
    // Forward: [start, end). Reverse: from start downwards, above end (PROTOCOL.md, KV-10).
    const bounds: KeyBounds = reverse
      ? { low: to, lowInclusive: false, high: from, highInclusive: !startExclusive }
      : { low: from, lowInclusive: !startExclusive, high: to, highInclusive: false }
    const walk: ScanWalk = {
      transaction,
      bounds,
      reverse,
      limit: request.limit === 0 ? SCAN_PAIRS_MAX : Math.min(request.limit, SCAN_PAIRS_MAX),
      pairs: [],
      roomBytes: PAYLOAD_BYTES_MAX - SCAN_OVERHEAD_BYTES,
    }
    return this.stretch(walk)
  }

  /** Walks on until the page is full, the bounds are reached, or others should have their turn. */
  private stretch(walk: ScanWalk): Outcome<KvPage> {
    const { transaction, reverse, pairs } = walk
    let chunkRows = CHUNK_ROWS_FIRST
    for (let rows = 0; rows < STRETCH_ROWS; rows += chunkRows) {
      const stored = this.storedChunk(transaction, walk.bounds, reverse, chunkRows)
      const layered = this.layerChunk(transaction, walk.bounds, reverse, chunkRows)
      const storedFull = stored.length === chunkRows
      const layerFull = layered.length === chunkRows
      if (layered.length === 0 && transaction.overlay.empty) {
        for (const pair of stored) if (!add(walk, pair)) return { pairs, more: true }
        if (!storedFull) return { pairs, more: false }
        walk.bounds = beyond(walk.bounds, reverse, textOfKey(stored.at(-1)!.key))
      } else {
        const merged = merge(stored, layered, storedFull, layerFull, reverse)
        for (const { key, value, layer } of merged.entries) {
          if (value === null || (!layer && transaction.overlay.covered(key))) continue
          if (!add(walk, { key: binaryBytes(key), value })) return { pairs, more: true }
        }
        if (merged.last === null) return { pairs, more: false }
        walk.bounds = beyond(walk.bounds, reverse, merged.last)
      }
      chunkRows = Math.min(chunkRows * 4, CHUNK_ROWS_MAX)
    }
    // A copy: the turn that goes on may be taken back and run again.
    return new Unfinished(() => this.stretch({ ...walk, pairs: [...walk.pairs] }))
  }

  private storedChunk(
    transaction: Transaction,
    bounds: KeyBounds,
    reverse: boolean,
    max: number,
  ): readonly KvPair[] {
    const { id } = transaction.resource
    return id === 0 ? [] : this.store.scan(id, bounds, reverse, max)
  }

  /** What stands over the stored pairs: a writer's own changes, or a reader's older values. */
  private layerChunk(
    transaction: Transaction,
    bounds: KeyBounds,
    reverse: boolean,
    max: number,
  ): readonly OverlayEntry[] {
    if (transaction.writes) return transaction.overlay.slice(bounds, reverse, max)
    const { resource, snapshot } = transaction
    return resource.lastCommit <= snapshot
      ? []
      : this.store.pastScan(resource.id, snapshot, bounds, reverse, max)
  }

  /** A commit frees what its transaction held, whatever comes of it. */
  abandon(request: KvRequest, session: Session, context: Context): void {
    if (request.op !== "commit") return
    const transaction = this.transactions.get(request.tx)
    if (transaction?.session === session.id && transaction.resource.route.text === request.route.text)
      this.end(transaction, context)
  }

  expire(context: Context): void {
    for (const transaction of this.idle.dueAt(context.now)) {
      this.rollBack(transaction, context)
      const { family, route } = transaction.resource
      const what = "transaction # lay idle and was rolled back"
      this.timeline.note("failure", context.now, family, route.segments, what, transaction.id)
    }
  }

  leave(session: SessionId, context: Context): void {
    for (const transaction of this.owners.of(session)) this.rollBack(transaction, context)
    this.registrations.leave(session, context)
  }

  nextDue(): Millis | null {
    const idle = this.idle.nextMs
    if (this.leftovers.length === 0) return idle
    return idle === null ? this.leftoversDueMs : Math.min(idle, this.leftoversDueMs)
  }

  drain(): void {
    // Nothing here waits for an answer.
  }

  /** Drops what no snapshot needs any more: a bounded number, in turns that follow each other at once. */
  flush(context: Context): void {
    const before = this.leftovers
    const [first] = before
    if (first === undefined) return
    if (!context.writable) {
      // Even the temporary table may not find room.
      this.leftoversDueMs = context.now + LEFTOVERS_AGAIN_MS
      return
    }
    this.leftoversDueMs = context.now
    if (!this.store.dropPast(first.resource, first.commit)) return
    this.leftovers = before.slice(1)
    context.journal.undo(() => {
      this.leftovers = before
    })
  }

  figures(): Figures<"kv"> {
    const { keys, rollbacks } = this.counted
    return { transactions_active: this.transactions.size, keys_total: keys, rollbacks_total: rollbacks }
  }

  /** The transaction ends without a commit. */
  private rollBack(transaction: Transaction, context: Context): void {
    context.journal.assign(this.counted, { rollbacks: this.counted.rollbacks + 1 })
    transaction.tally.rolledBack++
    this.end(transaction, context)
  }

  /** The transaction is over, however; what it held is free. */
  private end(transaction: Transaction, context: Context): void {
    this.erase(transaction)
    this.uncommitted.give(transaction.bytes)
    context.journal.undo(() => {
      this.uncommitted.retake(transaction.bytes)
      this.insert(transaction)
    })
    if (!transaction.writes) this.discard(transaction, context)
  }

  /** A snapshot is gone: values that only it could see may go. */
  private discard(reader: Transaction, context: Context): void {
    const { resource } = reader
    if (resource.lastCommit <= reader.snapshot) return
    let oldest = this.commits
    for (const other of resource.readers) oldest = Math.min(oldest, other.snapshot)
    if (oldest <= reader.snapshot) return
    const before = this.leftovers
    this.leftovers = [...before, { resource: resource.id, commit: oldest }]
    context.journal.undo(() => {
      this.leftovers = before
    })
  }

  private resource(family: number, route: Route): Resource {
    const known = this.resources.get(family)?.get(route.text)
    if (known !== undefined) return known
    const stored = this.store.find(family, route)
    return {
      family,
      route,
      id: stored?.id ?? 0,
      keys: stored?.keys ?? 0,
      writer: null,
      readers: new Set(),
      lastCommit: 0,
    }
  }

  private insert(transaction: Transaction): void {
    const { resource } = transaction
    let family = this.resources.get(resource.family)
    if (family === undefined) {
      family = new Map()
      this.resources.set(resource.family, family)
    }
    family.set(resource.route.text, resource)
    if (transaction.writes) resource.writer = transaction
    else resource.readers.add(transaction)
    this.transactions.set(transaction.id, transaction)
    transaction.tally.active++
    this.idle.add(transaction)
    this.owners.add(transaction.session, transaction)
  }

  private erase(transaction: Transaction): void {
    const { resource } = transaction
    if (transaction.writes) resource.writer = null
    else resource.readers.delete(transaction)
    if (resource.writer === null && resource.readers.size === 0) {
      const family = this.resources.get(resource.family)
      family?.delete(resource.route.text)
      if (family?.size === 0) this.resources.delete(resource.family)
    }
    this.transactions.delete(transaction.id)
    transaction.tally.active--
    this.idle.remove(transaction)
    this.owners.remove(transaction.session, transaction)
  }

  // ── operators ──────────────────────────────────────────────────────────────────────────────────────────

  *realms(): Generator<string> {
    yield* this.areas.realms(null)
    for (const [realm, tally] of this.tallies.realms()) if (tally.active > 0) yield realm
  }

  command(command: KvCommand, context: Context): KvOutcomes[keyof KvOutcomes] {
    const transaction = this.transactions.get(command.transaction)
    if (transaction === undefined) return refuse("not_found", "there is no such open transaction")
    this.rollBack(transaction, context)
    const { family, route } = transaction.resource
    const what = "transaction # was rolled back by an operator"
    this.timeline.note("transition", context.now, family, route.segments, what, transaction.id)
    return { session: transaction.session }
  }

  view(query: KvQuery, now: Millis): KvAnswers[keyof KvAnswers] {
    switch (query.name) {
      case "realms":
        return pageOf(this.areas.realms(query.family), query.page)
      case "areas":
        return pageOf(this.areas.areas(query.family, query.realm), query.page)
      case "resources":
        return this.resourcePage(query)
      case "events":
        return this.timeline.of(query.place, query.limit)
      case "search":
        return this.search(query)
      case "stats":
        return this.stats(query.family, query.realm, now)
      case "transactions":
        return this.transactionPage(query, now)
      case "resource":
        return this.resourceOf(query.place)
      case "value":
        return this.valueOf(query)
      case "rows":
        return this.rowsOf(query)
    }
  }

  private stats(family: number | null, realm: string | null, now: Millis): KvStats {
    const tallies = this.tallies.select(family, realm)
    const perSecond = (name: Counted): number => sumOf(tallies, tally => tally[name].perSecond(now))
    const by = {
      get: perSecond("get"),
      put: perSecond("put"),
      delete: perSecond("delete"),
      scan: perSecond("scan"),
    }
    const keysByRealm: Record<string, number> = {}
    for (const name of realm === null ? this.areas.realms(family) : [realm]) {
      const keys = sumOf(this.tallies.select(family, name), tally => tally.keys)
      if (keys > 0) keysByRealm[name] = keys
    }
    return {
      transactionsActive: sumOf(tallies, tally => tally.active),
      committed: sumOf(tallies, tally => tally.committed),
      rolledBack: sumOf(tallies, tally => tally.rolledBack),
      conflicts: sumOf(tallies, tally => tally.conflicts),
      keys: sumOf(tallies, tally => tally.keys),
      keysByRealm,
      operations: { all: by.get + by.put + by.delete + by.scan + perSecond("other"), by },
    }
  }

  private openIn(family: number | null, route: Route): Transaction[] {
    const resources = [...this.resources].flatMap(([number, routes]) => {
      const resource = family === null || family === number ? routes.get(route.text) : undefined
      return resource === undefined ? [] : [resource]
    })
    return resources
      .flatMap(({ writer, readers }) => [...(writer === null ? [] : [writer]), ...readers])
      .sort((a, b) => a.startedMs - b.startedMs || a.id - b.id)
  }

  private transactionPage(
    { place, realm, family, page }: Extract<KvQuery, { name: "transactions" }>,
    now: Millis,
  ): Page<KvTransactionRow> {
    const route = place === null ? null : routeOf(place)
    const shown = (transaction: Transaction): KvTransactionRow => ({
      id: transaction.id,
      family: transaction.resource.family,
      session: transaction.session,
      segments: transaction.resource.route.segments,
      writes: transaction.writes,
      startedMs: transaction.startedMs,
      operations: transaction.operations,
      idleMs: now - (transaction.dueMs - this.limits.idleMs),
    })
    if (place !== null) {
      const { total, rows } = pageOf(route === null ? [] : this.openIn(place.family, route), page)
      return { total, rows: rows.map(shown) }
    }
    const active = sumOf(this.tallies.select(family, realm), tally => tally.active)
    const { total, rows } = pageFrom(this.openOf(family, realm), active, page)
    return { total, rows: rows.map(shown) }
  }

  private *openOf(family: number | null, realm: string | null): Generator<Transaction> {
    for (const transaction of this.transactions.values()) {
      const { resource } = transaction
      if (family !== null && resource.family !== family) continue
      if (realm === null || resource.route.segments[0] === realm) yield transaction
    }
  }

  private resourcePage({
    family,
    realm,
    area,
    page,
  }: Extract<KvQuery, { name: "resources" }>): Page<KvResource> {
    const counts = this.areas.leaves(family, [realm, area, ""])
    // Names in one family are counted already; those of several have to be told apart.
    const total =
      counts.length <= 1 ? (counts[0]?.resources ?? 0) : this.store.countResources(family, realm, area)
    const rows = this.store.resources(family, realm, area, page).map(({ resource, keys }) => {
      const route = routeOf({ family, realm, area, resource })
      const transactionsActive = route === null ? 0 : this.openIn(family, route).length
      return { resource, keys, transactionsActive }
    })
    return { total, rows }
  }

  private resourceOf(place: PlaceAsk): KvResource {
    const route = routeOf(place)
    const { resource, family } = place
    if (route === null) return { resource, keys: 0, transactionsActive: 0 }
    const families = family === null ? this.store.families(route) : [family]
    return {
      resource,
      keys: sumOf(families, one => this.store.find(one, route)?.keys ?? 0),
      transactionsActive: this.openIn(family, route).length,
    }
  }

  /** The one stored resource that a place names. */
  private storedAt(place: PlaceAsk): { family: number; id: number } | Refused {
    const route = routeOf(place)
    const families = route === null ? [] : this.store.families(route)
    const wanted = families.filter(family => place.family === null || family === place.family)
    const [family] = wanted
    if (route === null || family === undefined) return refuse("not_found", "nothing is stored here")
    if (wanted.length > 1) return refuse("ambiguous_target", "several families store this resource: name one")
    return { family, id: this.store.find(family, route)!.id }
  }

  private valueOf({ place, key, bytesMax }: Extract<KvQuery, { name: "value" }>): StoredPair | Refused {
    const stored = this.storedAt(place)
    if ("refused" in stored) return stored
    const value = this.store.get(stored.id, key)
    if (value === null) return refuse("not_found", "there is no such key")
    return { family: stored.family, key, value: value.slice(0, bytesMax), valueBytes: value.length }
  }

  private rowsOf({
    place,
    prefix,
    after,
    limit,
    bytesMax,
  }: Extract<KvQuery, { name: "rows" }>): KvAnswers["rows"] {
    const stored = this.storedAt(place)
    if ("refused" in stored) return stored
    const low = textOfKey(after ?? prefix)
    const bounds = {
      low,
      lowInclusive: after === null,
      high: endOfPrefix(textOfKey(prefix)),
      highInclusive: false,
    }
    const pairs: StoredPair[] = []
    let bytes = 0
    for (const { key, value } of this.store.scan(stored.id, bounds, false, limit + 1)) {
      if (pairs.length === limit || bytes > ROWS_SHOWN_BYTES) return { pairs, more: true }
      const shown = value.slice(0, bytesMax)
      bytes += key.length + shown.length
      pairs.push({ family: stored.family, key, value: shown, valueBytes: value.length })
    }
    return { pairs, more: false }
  }

  private search({ text, realm, limit }: Extract<KvQuery, { name: "search" }>): KvAnswers["search"] {
    const found: Found[] = []
    const transaction = this.transactions.get(Number(text))
    if (transaction !== undefined && (realm === null || transaction.resource.route.segments[0] === realm)) {
      found.push({
        domain: "kv",
        kind: "transaction",
        title: `transaction ${transaction.id}`,
        summary: `${transaction.writes ? "writes" : "reads"} ${transaction.resource.route.text}`,
        healthy: true,
        path: `${pathOf(transaction.resource.route.segments)}/transactions`,
        fields: ["tx_id"],
      })
    }
    const realms = realm === null ? this.areas.realms(null) : [realm]
    for (const name of realms.slice(0, SEARCHED_MAX)) {
      for (const area of this.areas.areas(null, name)) {
        if (!`kv://${name}/${area}/`.includes(text)) continue
        if (found.length >= limit) return { found, truncated: true }
        found.push({
          domain: "kv",
          kind: "area",
          title: `kv://${name}/${area}`,
          summary: "an area with stored resources",
          healthy: true,
          path: `kv/realms/${encodeURIComponent(name)}/areas/${encodeURIComponent(area)}/resources`,
          fields: ["route"],
        })
      }
    }
    return { found, truncated: realms.length > SEARCHED_MAX }
  }
}

const SEARCHED_MAX = 10_000

function segmentsOf(route: string): readonly [string, string, string] {
  return route.slice(route.indexOf("://") + 3).split("/") as unknown as readonly [string, string, string]
}

function routeOf({ realm, area, resource }: PlaceAsk): Route | null {
  const route = parseRoute(`kv://${realm}/${area}/${resource}`, "kv")
  return typeof route === "string" ? null : route
}

function pathOf(segments: readonly string[]): string {
  const [realm, area, resource] = segments.map(encodeURIComponent)
  return `kv/realms/${realm}/areas/${area}/resources/${resource}`
}

/** The first key after all that begin with the prefix; null: there is no end. */
function endOfPrefix(prefix: string): string | null {
  for (let at = prefix.length - 1; at >= 0; at--) {
    const code = prefix.charCodeAt(at)
    if (code < 0xff) return prefix.slice(0, at) + String.fromCharCode(code + 1)
  }
  return null
}

interface ScanWalk {
  readonly transaction: Transaction
  bounds: KeyBounds
  readonly reverse: boolean
  readonly limit: number
  readonly pairs: KvPair[]
  roomBytes: number
}

/** Adds the pair to the page, or says that the page is full. */
function add(walk: ScanWalk, pair: KvPair): boolean {
  const bytes = SCAN_PAIR_BYTES + pair.key.length + pair.value.length
  if (walk.pairs.length >= walk.limit || bytes > walk.roomBytes) return false
  walk.pairs.push(pair)
  walk.roomBytes -= bytes
  return true
}

interface Merged {
  readonly entries: readonly {
    readonly key: string
    readonly value: Uint8Array | null
    readonly layer: boolean
  }[]
  /** The key up to which both sides were seen, or null where both have ended. */
  readonly last: string | null
}

/** Joins two sorted chunks, the layer over the stored pairs, as far as both are known. */
function merge(
  stored: readonly KvPair[],
  layered: readonly OverlayEntry[],
  storedFull: boolean,
  layerFull: boolean,
  reverse: boolean,
): Merged {
  const before = (a: string, b: string): boolean => (reverse ? a > b : a < b)
  const storedKeys = stored.map(pair => textOfKey(pair.key))
  let last: string | null = null
  if (storedFull) last = storedKeys.at(-1)!
  if (layerFull) {
    const layerLast = layered.at(-1)!.key
    if (last === null || before(layerLast, last)) last = layerLast
  }
  const entries: Merged["entries"][number][] = []
  let s = 0
  let l = 0
  for (;;) {
    const storedKey = storedKeys[s]
    const entry = layered[l]
    const fromLayer = entry !== undefined && (storedKey === undefined || !before(storedKey, entry.key))
    const key = fromLayer ? entry.key : storedKey
    if (key === undefined || (last !== null && before(last, key))) break
    if (fromLayer) {
      entries.push({ key, value: entry.value, layer: true })
      l++
    } else entries.push({ key, value: stored[s]!.value, layer: false })
    if (storedKey === key) s++
  }
  return { entries, last }
}

/** The bounds that are left once everything up to `key` was seen. */
function beyond(bounds: KeyBounds, reverse: boolean, key: string): KeyBounds {
  return reverse
    ? { ...bounds, high: key, highInclusive: false }
    : { ...bounds, low: key, lowInclusive: false }
}

function keyOf(span: Span): string {
  return binaryText(span.bytes, span.start, span.end)
}

function textOfKey(key: Uint8Array): string {
  return binaryText(key, 0, key.length)
}
