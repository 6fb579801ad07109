// What every store owes its domain, one contract per interface. It is run against each place where a store can
// stand; between writing and looking the place may close and open again, or be cut off without a word. Nothing
// here knows SQL: whatever keeps these promises is a store.

import { expect, test } from "vitest"
import type { SegmentStore } from "../../broker/domains/backlog.ts"
import type { Journal } from "../../broker/domains/journal.ts"
import type { KvChanges, KvStore } from "../../broker/domains/kv.ts"
import type { KeyBounds } from "../../broker/domains/overlay.ts"
import type { QueueStore, StoredCounts } from "../../broker/domains/queue.ts"
import type { ScheduleStore } from "../../broker/domains/schedule.ts"
import type { SegmentPlaces, StreamStore } from "../../broker/domains/stream.ts"
import { binaryText, spanOf, utf8 } from "../../protocol/bytes.ts"
import { selectorsOver } from "../../protocol/messages/stream.ts"
import { parseRoute, type Route, type Scheme } from "../../protocol/route.ts"

/** The stores of one place. */
export interface Stores {
  readonly kv: KvStore
  readonly queue: QueueStore
  readonly stream: StreamStore
  readonly schedule: ScheduleStore
  readonly storageId: string
  takeFences(count: number): number
}

/** A place where stores stand. */
export interface StorePlace {
  readonly stores: Stores
  /** Runs the work in a transaction that is committed. */
  write<T>(work: (stores: Stores, journal: Journal) => T): T
  /** Runs the work in a transaction that is rolled back. */
  undo(work: (stores: Stores, journal: Journal) => void): void
  /** Ends what stands here and has it stand again; whatever was committed has to be there. */
  again(): void
  close(): void
}

export function routeOf(text: string, scheme: Scheme): Route {
  const route = parseRoute(text, scheme)
  if (typeof route === "string") throw new Error(`${text}: ${route}`)
  return route
}

const ALL: KeyBounds = { low: null, lowInclusive: true, high: null, highInclusive: false }

function key(...bytes: number[]): string {
  return binaryText(Uint8Array.from(bytes), 0, bytes.length)
}

function put(...pairs: readonly (readonly [string, string | null])[]): KvChanges {
  return {
    deleted: [],
    changed: pairs.map(([key, value]) => ({ key, value: value === null ? null : utf8(value) })),
  }
}

function text(bytes: Uint8Array | null | undefined): string | null | undefined {
  return bytes === null || bytes === undefined ? bytes : Buffer.from(bytes).toString()
}

function scanned(store: KvStore, resource: number, bounds = ALL, reverse = false, max = 100): string[] {
  return store
    .scan(resource, bounds, reverse, max)
    .map(({ key, value }) => `${binaryText(key, 0, key.length)}=${text(value)}`)
}

/** Runs every contract. `open` makes a new, empty place. */
export function storeContracts(open: () => StorePlace): void {
  /** A test with a place of its own. */
  function promise(name: string, work: (place: StorePlace) => void): void {
    test(name, () => {
      const place = open()
      try {
        work(place)
      } finally {
        place.close()
      }
    })
  }

  kvContract(promise)
  snapshotContract(promise)
  queueContract(promise)
  streamContract(promise)
  scheduleContract(promise)
  metaContract(promise)
}

type Promised = (name: string, work: (place: StorePlace) => void) => void

const KV = routeOf("kv://realm/area/resource", "kv")

function kvContract(promise: Promised): void {
  promise(
    "kv: a resource that was never written is not found, and found by family and route once it is",
    p => {
      expect(p.stores.kv.find(1, KV)).toBeNull()
      const id = p.write(({ kv }) => kv.create(1, KV))
      expect(id).toBeGreaterThan(0)
      p.again()
      expect(p.stores.kv.find(1, KV)).toEqual({ id, keys: 0 })
      expect(p.stores.kv.find(2, KV)).toBeNull()
      expect(p.stores.kv.find(1, routeOf("kv://realm/area/other", "kv"))).toBeNull()
    },
  )

  promise("kv: what was put is got, what was replaced is the newer, what was deleted is gone", p => {
    const id = p.write(({ kv }) => {
      const id = kv.create(1, KV)
      kv.apply(id, put(["a", "1"], ["b", "2"], ["c", ""]), null)
      return id
    })
    p.write(({ kv }) => kv.apply(id, put(["a", "3"], ["b", null], ["never", null]), null))
    p.again()
    expect(text(p.stores.kv.get(id, utf8("a")))).toBe("3")
    expect(p.stores.kv.get(id, utf8("b"))).toBeNull()
    expect(text(p.stores.kv.get(id, utf8("c")))).toBe("")
    expect(scanned(p.stores.kv, id)).toEqual(["a=3", "c="])
  })

  promise("KV-12: keys are ordered as unsigned bytes; the empty key is a key", p => {
    const keys = [
      "",
      key(0),
      key(0, 0),
      key(1),
      key(0x7f),
      key(0x80),
      key(0xff),
      key(0xff, 0),
      key(0xff, 0xff),
    ]
    const id = p.write(({ kv }) => {
      const id = kv.create(1, KV)
      const shuffled = [5, 2, 8, 0, 7, 3, 1, 6, 4].map(at => [keys[at]!, String(at)] as const)
      kv.apply(id, put(...shuffled), null)
      return id
    })
    p.again()
    const expected = keys.map((key, at) => `${key}=${at}`)
    expect(scanned(p.stores.kv, id)).toEqual(expected)
    expect(scanned(p.stores.kv, id, ALL, true)).toEqual(expected.toReversed())
  })

  promise("kv: a scan keeps to its bounds, their kind and its length, in both directions", p => {
    const id = p.write(({ kv }) => {
      const id = kv.create(1, KV)
      kv.apply(id, put(...["a", "b", "c", "d", "e"].map(k => [k, ""] as const)), null)
      return id
    })
    p.again()
    const keys = (bounds: Partial<KeyBounds>, reverse = false, max = 100): string =>
      scanned(p.stores.kv, id, { ...ALL, ...bounds }, reverse, max)
        .map(pair => pair.slice(0, 1))
        .join("")
    expect(keys({ low: "b", high: "d" })).toBe("bc")
    expect(keys({ low: "b", lowInclusive: false, high: "d", highInclusive: true })).toBe("cd")
    expect(keys({ low: "b", lowInclusive: false, high: "d", highInclusive: true }, true)).toBe("dc")
    expect(keys({ low: "bb" })).toBe("cde")
    expect(keys({ high: "bb" }, true)).toBe("ba")
    expect(keys({}, false, 2)).toBe("ab")
    expect(keys({}, true, 2)).toBe("ed")
    expect(keys({ low: "d", high: "b" })).toBe("")
  })

  promise("KV-8: ranges go before single keys, and take what they cover and no more", p => {
    const id = p.write(({ kv }) => {
      const id = kv.create(1, KV)
      kv.apply(id, put(...["a", "b", "c", "d"].map(k => [k, "old"] as const)), null)
      kv.apply(id, { deleted: [{ start: "b", end: "d" }], changed: put(["c", "new"]).changed }, null)
      return id
    })
    p.again()
    expect(scanned(p.stores.kv, id)).toEqual(["a=old", "c=new", "d=old"])
  })

  promise("kv: resources do not see each other's keys", p => {
    const [one, two] = p.write(({ kv }) => [kv.create(1, KV), kv.create(2, KV)] as const)
    p.write(({ kv }) => {
      kv.apply(one, put(["a", "1"]), null)
      kv.apply(two, put(["b", "2"]), null)
      kv.apply(two, { deleted: [{ start: "", end: "b" }], changed: [] }, null)
    })
    p.again()
    expect(scanned(p.stores.kv, one)).toEqual(["a=1"])
    expect(scanned(p.stores.kv, two)).toEqual(["b=2"])
  })

  promise("KV-13: what is rolled back leaves no trace", p => {
    const id = p.write(({ kv }) => {
      const id = kv.create(1, KV)
      kv.apply(id, put(["a", "1"]), null)
      return id
    })
    p.undo(({ kv }) => {
      kv.apply(id, { deleted: [{ start: "", end: "z" }], changed: put(["b", "2"]).changed }, null)
      kv.create(1, routeOf("kv://realm/area/other", "kv"))
    })
    p.again()
    expect(scanned(p.stores.kv, id)).toEqual(["a=1"])
    expect(p.stores.kv.find(1, routeOf("kv://realm/area/other", "kv"))).toBeNull()
  })
}

/** Values that open snapshots still see: gone with the process, so there is no `again` in here. */
function snapshotContract(promise: Promised): void {
  const past = (store: KvStore, resource: number, snapshot: number): string[] =>
    store
      .pastScan(resource, snapshot, ALL, false, 100)
      .map(({ key, value }) => `${key}=${value === null ? "-" : text(value)}`)

  promise("KV-4: a snapshot sees the value that the first commit after it replaced", p => {
    const { kv } = p.stores
    const id = p.write(({ kv }) => {
      const id = kv.create(1, KV)
      kv.apply(id, put(["a", "1"], ["b", "1"]), null)
      return id
    })
    // Snapshot 5 is open; commits 6 and 7 follow, and snapshot 6 is opened in between.
    p.write(({ kv }) => kv.apply(id, put(["a", "2"], ["new", "2"]), { commit: 6, newest: 5 }))
    p.write(({ kv }) => kv.apply(id, put(["a", null], ["b", "3"]), { commit: 7, newest: 6 }))
    expect(text(kv.past(id, 5, utf8("a")))).toBe("1")
    expect(text(kv.past(id, 6, utf8("a")))).toBe("2")
    expect(kv.past(id, 5, utf8("new"))).toBeNull()
    expect(kv.past(id, 6, utf8("new"))).toBeUndefined()
    expect(kv.past(id, 5, utf8("other"))).toBeUndefined()
    expect(past(kv, id, 5)).toEqual(["a=1", "b=1", "new=-"])
    expect(past(kv, id, 6)).toEqual(["a=2", "b=1"])
    expect(past(kv, id, 7)).toEqual([])
    expect(kv.get(id, utf8("a"))).toBeNull()
  })

  promise("KV-4: values that a range deletes stay visible to the snapshots before it", p => {
    const { kv } = p.stores
    const id = p.write(({ kv }) => {
      const id = kv.create(1, KV)
      kv.apply(id, put(["a", "1"], ["b", "1"], ["c", "1"]), null)
      return id
    })
    p.write(({ kv }) =>
      kv.apply(
        id,
        { deleted: [{ start: "a", end: "c" }], changed: put(["b", "2"]).changed },
        { commit: 3, newest: 2 },
      ),
    )
    expect(past(kv, id, 2)).toEqual(["a=1", "b=1"])
    expect(scanned(kv, id)).toEqual(["b=2", "c=1"])
    const bounds: KeyBounds = { low: "a", lowInclusive: false, high: null, highInclusive: false }
    expect(kv.pastScan(id, 2, bounds, false, 100).map(entry => entry.key)).toEqual(["b"])
    expect(kv.pastScan(id, 2, ALL, true, 1).map(entry => entry.key)).toEqual(["b"])
  })

  promise("kv: old values go when no snapshot needs them, a bounded number at a time", p => {
    const { kv } = p.stores
    const many = Array.from({ length: 2_500 }, (_, n) => String(n).padStart(5, "0"))
    const id = p.write(({ kv }) => {
      const id = kv.create(1, KV)
      kv.apply(id, put(...many.map(k => [k, "1"] as const)), null)
      return id
    })
    p.write(({ kv }) => kv.apply(id, put(...many.map(k => [k, "2"] as const)), { commit: 1, newest: 0 }))
    p.write(({ kv }) => kv.apply(id, put([many[0]!, "3"]), { commit: 2, newest: 1 }))
    const rounds = p.write(({ kv }) => {
      let rounds = 1
      while (!kv.dropPast(id, 1)) rounds++
      return rounds
    })
    expect(rounds).toBeGreaterThan(1)
    expect(past(kv, id, 0)).toEqual([`${many[0]}=2`])
    expect(text(kv.get(id, utf8(many[1]!)))).toBe("2")
  })

  promise("KV-13: a rollback takes kept values along", p => {
    const { kv } = p.stores
    const id = p.write(({ kv }) => {
      const id = kv.create(1, KV)
      kv.apply(id, put(["a", "1"]), null)
      return id
    })
    p.undo(({ kv }) => kv.apply(id, put(["a", "2"]), { commit: 1, newest: 0 }))
    expect(kv.past(id, 0, utf8("a"))).toBeUndefined()
    expect(text(kv.get(id, utf8("a")))).toBe("1")
  })
}

const QUEUE = routeOf("queue://realm/area/resource", "queue")

function loaded(store: QueueStore, nowMs: number): Map<string, StoredCounts & { nextId: number }> {
  const found = new Map<string, StoredCounts & { nextId: number }>()
  for (const item of store.load(nowMs)) {
    if (typeof item === "number") {
      expect(item).toBeGreaterThanOrEqual(0)
      expect(item).toBeLessThanOrEqual(1)
      continue
    }
    const { queue, counts } = item
    found.set(`${queue.family} ${queue.route.text}`, { ...counts, nextId: queue.nextId })
  }
  return found
}

function segment(
  store: SegmentStore,
  queue: number,
  first: number,
  count: number,
  dueMs: number | null = null,
): number {
  return store.insert(
    queue,
    { first, count, dueMs, enqueuedAtMs: 1_000 + first },
    utf8(`bodies from ${first}`),
  )
}

function queueContract(promise: Promised): void {
  promise("queue: a queue is found by family and route, with the id that comes next", p => {
    expect(p.stores.queue.find(1, QUEUE)).toBeNull()
    const id = p.write(({ queue }) => queue.create(1, QUEUE))
    p.write(({ queue }) => queue.setNextId(id, 1_025))
    p.again()
    expect(p.stores.queue.find(1, QUEUE)).toMatchObject({ id, family: 1, nextId: 1_025 })
    expect(p.stores.queue.find(2, QUEUE)).toBeNull()
  })

  promise("queue: the log comes in order, after the id asked for, as many as asked for", p => {
    const [one, other] = p.write(({ queue }) => {
      const one = queue.create(1, QUEUE)
      const other = queue.create(2, QUEUE)
      for (const first of [21, 1, 11]) segment(queue, one, first, 10)
      segment(queue, one, 31, 1, 99_000)
      segment(queue, other, 5, 1)
      return [one, other] as const
    })
    p.again()
    const { queue } = p.stores
    const log = queue.log(one, 0, 10)
    expect(log.map(({ first, count }) => [first, count])).toEqual([
      [1, 10],
      [11, 10],
      [21, 10],
    ])
    expect(log[1]).toMatchObject({ dueMs: null, enqueuedAtMs: 1_011, gone: null })
    expect(text(log[1]!.records)).toBe("bodies from 11")
    expect(text(queue.records(log[2]!.row))).toBe("bodies from 21")
    expect(queue.log(one, 1, 1).map(({ first }) => first)).toEqual([11])
    expect(queue.log(one, 21, 10)).toEqual([])
    expect(queue.log(other, 0, 10).map(({ first }) => first)).toEqual([5])
  })

  promise("Q-4: delayed messages come in the order in which they fall due, without their bodies", p => {
    const id = p.write(({ queue }) => {
      const id = queue.create(1, QUEUE)
      segment(queue, id, 1, 1, 3_000)
      segment(queue, id, 2, 1, 2_000)
      segment(queue, id, 3, 1, 2_000)
      segment(queue, id, 4, 1)
      return id
    })
    p.again()
    const { queue } = p.stores
    const delayed = queue.delayed(id, -1, 0, 10)
    expect(delayed.map(({ first, dueMs }) => [first, dueMs])).toEqual([
      [2, 2_000],
      [3, 2_000],
      [1, 3_000],
    ])
    expect(delayed[0]!.records).toBeNull()
    expect(text(queue.records(delayed[0]!.row))).toBe("bodies from 2")
    expect(queue.delayed(id, 2_000, 2, 1).map(({ first }) => first)).toEqual([3])
    expect(queue.nextDelay(id, 0)).toBe(2_000)
    expect(queue.nextDelay(id, 2_000)).toBe(3_000)
    expect(queue.nextDelay(id, 3_000)).toBeNull()
    expect(queue.countDelayed(id, 0, 2_000)).toBe(2)
    expect(queue.countDelayed(id, 2_000, 3_000)).toBe(1)
  })

  promise("queue: what is gone of a segment comes with it; a segment that is deleted leaves nothing", p => {
    const id = p.write(({ queue }) => {
      const id = queue.create(1, QUEUE)
      const one = segment(queue, id, 1, 10)
      const two = segment(queue, id, 11, 10)
      queue.setGone(id, one, 1, Uint8Array.of(1, 0))
      queue.setGone(id, one, 3, Uint8Array.of(7, 0))
      queue.setGone(id, two, 1, Uint8Array.of(2, 0))
      queue.delete(two)
      return id
    })
    p.again()
    const [only, ...more] = p.stores.queue.log(id, 0, 10)
    expect(more).toEqual([])
    expect([...only!.gone!]).toEqual([7, 0])
    expect(loaded(p.stores.queue, 0).get("1 queue://realm/area/resource")).toMatchObject({ ready: 7 })
  })

  promise("Q-21: attempts are kept by message until they are dropped", p => {
    const id = p.write(({ queue }) => {
      const id = queue.create(1, QUEUE)
      segment(queue, id, 1, 3)
      queue.setAttempts(id, 1, 1)
      queue.setAttempts(id, 1, 2)
      queue.setAttempts(id, 2, 5)
      return id
    })
    p.write(({ queue }) => queue.dropAttempts(id, 2))
    p.again()
    expect(p.stores.queue.attempts(id, 1)).toBe(2)
    expect(p.stores.queue.attempts(id, 2)).toBe(0)
    expect(p.stores.queue.attempts(id, 3)).toBe(0)
    expect(loaded(p.stores.queue, 0).get("1 queue://realm/area/resource")).toMatchObject({
      hasAttempts: true,
    })
  })

  promise("queue: a start hears of every queue that holds anything, with its counts", p => {
    const letter = {
      id: 4,
      attempts: 3,
      reason: "max_attempts_exceeded",
      deadAtMs: 9,
      enqueuedAtMs: 8,
    } as const
    p.write(({ queue }) => {
      const a = queue.create(1, QUEUE)
      queue.setNextId(a, 1_025)
      const row = segment(queue, a, 1, 200)
      segment(queue, a, 201, 50)
      queue.setGone(a, row, 8, Uint8Array.of(0xff))
      segment(queue, a, 251, 1, 5_000)
      segment(queue, a, 252, 1, 6_000)
      const b = queue.create(2, QUEUE)
      queue.bury(b, letter, spanOf(utf8("dead")))
      queue.create(3, QUEUE)
    })
    p.again()
    const found = loaded(p.stores.queue, 5_000)
    // One delay is over at that moment, one is not.
    expect(found.get("1 queue://realm/area/resource")).toEqual({
      ready: 250 - 8 + 1,
      delayed: 1,
      dead: 0,
      logEnd: 250,
      hasAttempts: false,
      nextId: 1_025,
    })
    expect(found.get("2 queue://realm/area/resource")).toMatchObject({ ready: 0, delayed: 0, dead: 1 })
    expect(found.has("3 queue://realm/area/resource")).toBe(false)
  })

  promise("queue: what is rolled back leaves no trace", p => {
    const id = p.write(({ queue }) => {
      const id = queue.create(1, QUEUE)
      segment(queue, id, 1, 2)
      return id
    })
    p.undo(({ queue }) => {
      const [only] = queue.log(id, 0, 10)
      queue.delete(only!.row)
      segment(queue, id, 3, 1)
      queue.setAttempts(id, 1, 1)
      queue.setNextId(id, 99)
    })
    p.again()
    expect(p.stores.queue.log(id, 0, 10).map(({ first }) => first)).toEqual([1])
    expect(p.stores.queue.attempts(id, 1)).toBe(0)
    expect(p.stores.queue.find(1, QUEUE)!.nextId).toBe(1)
  })
}

const STREAM = routeOf("stream://realm/area/resource", "stream")

/** Which order counts the positions of each of the eight, in the order of `selectorsOver`. */
const AXIS_AT = [0, 1, 3, 3, 7, 7, 7, 7] as const

/** A writer of streams as the domain is one: keeps the positions and makes segments. */
class Appender {
  private readonly places: StorePlace

  constructor(place: StorePlace) {
    this.places = place
  }

  append(route: Route, counts: readonly number[], roll = false): void {
    const run = roll ? this.places.undo.bind(this.places) : this.places.write.bind(this.places)
    run(({ stream }, journal) => {
      const orders = selectorsOver(route).map(({ canonical }) => {
        const stored = stream.order(1, canonical)
        return { id: stored?.id ?? stream.createOrder(1, canonical), next: stored?.next ?? 0 }
      })
      const bytes = stream.order(1, route.text)?.lastStreamBytes ?? 0
      let before = 0
      const segments: SegmentPlaces[] = counts.map(count => {
        const at = (order: number): number => orders[order]!.next + before
        const made: SegmentPlaces = {
          segment: {
            route,
            firstResource: at(0),
            firstArea: at(1),
            firstRealm: at(3),
            firstGlobal: at(7),
            count,
            createdAtMs: 1_700_000_000_000,
            streamBytes: bytes + (before + count) * 10,
            records: utf8(`${route.segments[2]} ${at(0)}+${count}`),
          },
          orders: orders.map((order, index) => ({ id: order.id, first: at(AXIS_AT[index]!) })),
        }
        before += count
        return made
      })
      stream.append(segments, journal)
    })
  }
}

/** All of an order, as its readers walk it: what it holds, and whether there are positions that nobody has. */
function walked(
  store: StreamStore,
  canonical: string,
): { readonly segments: readonly string[]; readonly gaps: boolean } {
  const order = store.order(1, canonical)
  const segments: string[] = []
  let gaps = false
  for (let at = 0; order !== null && at < order.next; ) {
    const placed = store.segmentFrom(order.id, at)
    if (placed === null) throw new Error(`${canonical} ends at ${at}, before ${order.next}`)
    expect(placed.first, `${canonical} rises`).toBeGreaterThanOrEqual(at)
    gaps ||= placed.first > at
    segments.push(text(placed.segment.records)!)
    at = placed.first + placed.segment.count
  }
  if (order !== null) expect(store.segmentFrom(order.id, order.next)).toBeNull()
  return { segments, gaps }
}

function streamContract(promise: Promised): void {
  promise("stream: an order that was never written is not found", p => {
    expect(p.stores.stream.order(1, STREAM.text)).toBeNull()
    const id = p.write(({ stream }) => stream.createOrder(1, STREAM.text))
    p.again()
    expect(p.stores.stream.order(1, STREAM.text)).toEqual({ id, next: 0, lastStreamBytes: 0 })
    expect(p.stores.stream.segmentFrom(id, 0)).toBeNull()
  })

  promise("ST-5: a segment is found from any position in it and from none behind it", p => {
    const appender = new Appender(p)
    appender.append(STREAM, [3, 2])
    appender.append(STREAM, [4])
    p.again()
    const { stream } = p.stores
    const order = stream.order(1, STREAM.text)!
    expect(order).toMatchObject({ next: 9, lastStreamBytes: 90 })
    const first = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(at => stream.segmentFrom(order.id, at)!.first)
    expect(first).toEqual([0, 0, 0, 3, 3, 5, 5, 5, 5])
    expect(stream.segmentFrom(order.id, 9)).toBeNull()
    expect(stream.segmentFrom(order.id, 2 ** 53 - 1)).toBeNull()
    expect(stream.segmentFrom(order.id, 3)!.segment).toEqual({
      route: STREAM,
      firstResource: 3,
      firstArea: 3,
      firstRealm: 3,
      firstGlobal: 3,
      count: 2,
      createdAtMs: 1_700_000_000_000,
      streamBytes: 50,
      records: Buffer.from("resource 3+2"),
    })
  })

  promise("ST-7, ST-9: each of the orders over a stream has all its events, on its own axis", p => {
    const appender = new Appender(p)
    const routes = ["a/x/r", "a/x/s", "a/y/r", "b/x/r"].map(path => routeOf(`stream://${path}`, "stream"))
    const expected = new Map<string, string[]>()
    const written = new Map<Route, number>()
    // More than are ever held before they are written, and not a whole number of those.
    for (let n = 0; n < 700; n++) {
      const route = routes[(n * 7) % 4]!
      const count = 1 + (n % 3)
      appender.append(route, [count])
      const at = written.get(route) ?? 0
      written.set(route, at + count)
      for (const { canonical } of selectorsOver(route)) {
        const segments = expected.get(canonical) ?? []
        expected.set(canonical, segments)
        segments.push(`${route.segments[2]} ${at}+${count}`)
      }
      if (n === 300) p.again()
    }
    p.again()
    expect(expected.size).toBe(20)
    for (const [canonical, segments] of expected) {
      expect(walked(p.stores.stream, canonical).segments, canonical).toEqual(segments)
    }
    for (const dense of ["stream://a/x/r", "stream://a/x/*", "stream://a/*/*", "stream://*/*/*"])
      expect(walked(p.stores.stream, dense).gaps, dense).toBe(false)
    // These count on the axis of all events of the realm, or of all, of which they have only some.
    for (const sparse of ["stream://a/*/r", "stream://*/x/r", "stream://*/*/r", "stream://*/x/*"])
      expect(walked(p.stores.stream, sparse).gaps, sparse).toBe(true)
    expect(p.stores.stream.order(1, "stream://*/*/*")!.next).toBe(
      [...written.values()].reduce((sum, count) => sum + count),
    )
  })

  promise("ST-21: what is rolled back leaves no trace, in the store and in what it remembers", p => {
    const appender = new Appender(p)
    for (let n = 0; n < 5; n++) appender.append(STREAM, [2])
    for (let n = 0; n < 3; n++)
      appender.append(
        STREAM,
        Array.from({ length: 150 }, () => 1),
        true,
      )
    appender.append(routeOf("stream://realm/area/other", "stream"), [1], true)
    expect(walked(p.stores.stream, STREAM.text).segments).toHaveLength(5)
    appender.append(STREAM, [1])
    p.again()
    expect(walked(p.stores.stream, STREAM.text).segments).toHaveLength(6)
    expect(walked(p.stores.stream, "stream://realm/area/*").segments).toHaveLength(6)
    expect(p.stores.stream.order(1, "stream://realm/area/other")).toBeNull()
  })
}

/** What a program's definition is besides. */
const PLAIN = { enabled: true, managedBy: null } as const

function scheduleContract(promise: Promised): void {
  const one = routeOf("schedule://realm/area/resource/one", "schedule")
  const two = routeOf("schedule://realm/area/resource/two", "schedule")
  const seen = (store: ScheduleStore): string[] =>
    [...store.all()]
      .map(({ family, route, cron, single }) => {
        const payload = text(store.payload(family, route))
        return `${family} ${route.segments[3]} ${cron} ${single ? "single" : "broadcast"} ${payload}`
      })
      .sort()

  promise("SC-13: definitions are kept by family and route, with their payload", p => {
    p.write(({ schedule }) => {
      schedule.put({ family: 1, route: one, cron: "* * * * *", single: true, ...PLAIN }, utf8("first"))
      schedule.put({ family: 2, route: one, cron: "1 * * * *", single: false, ...PLAIN }, utf8(""))
      schedule.put({ family: 1, route: two, cron: "2 * * * *", single: false, ...PLAIN }, utf8("second"))
    })
    p.again()
    expect(seen(p.stores.schedule)).toEqual([
      "1 one * * * * * single first",
      "1 two 2 * * * * broadcast second",
      "2 one 1 * * * * broadcast ",
    ])
  })

  promise("SC-1, SC-2: one that is put again is replaced, one that is removed is gone", p => {
    p.write(({ schedule }) => {
      schedule.put({ family: 1, route: one, cron: "* * * * *", single: true, ...PLAIN }, utf8("old"))
      schedule.put({ family: 1, route: two, cron: "* * * * *", single: true, ...PLAIN }, utf8("old"))
    })
    p.write(({ schedule }) => {
      schedule.put({ family: 1, route: one, cron: "5 * * * *", single: false, ...PLAIN }, utf8("new"))
      schedule.remove(1, two)
      schedule.remove(2, one)
    })
    p.undo(({ schedule }) => schedule.remove(1, one))
    p.again()
    expect(seen(p.stores.schedule)).toEqual(["1 one 5 * * * * broadcast new"])
  })
}

function metaContract(promise: Promised): void {
  promise("meta: the storage id is born with the store and stays", p => {
    const { storageId } = p.stores
    expect(storageId).toMatch(/^[0-9a-f]{32}$/)
    p.again()
    expect(p.stores.storageId).toBe(storageId)
  })

  promise("L-7: fencing tokens are set aside in blocks that rise and never meet", p => {
    expect(p.stores.takeFences(1_000)).toBe(1)
    expect(p.stores.takeFences(10)).toBe(1_001)
    p.again()
    expect(p.stores.takeFences(1)).toBe(1_011)
  })
}
