// Every limit on counts: at it things work, one beyond gets the refusal that is named for it, and the rest goes
// on. Real brokers with small limits; bytes and slow receivers are in pressure.test.ts.

import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { bytes } from "../kit/bytes.ts"
import { Caller, openWire, type Transport } from "../kit/caller.ts"
import { fasterClock } from "../kit/clock.ts"
import { ask, askUpgrade } from "../kit/http.ts"
import { unlessRefused, until } from "../kit/patience.ts"
import { correlation, fresh, Place, type Program, TRANSPORTS } from "../kit/ways.ts"

let perSession: Place
let perBroker: Place
beforeAll(async () => {
  ;[perSession, perBroker] = await Promise.all([
    Place.start({
      folder: null,
      environment: {
        FITZ_MAX_REGISTRATIONS: "6",
        FITZ_MAX_WILDCARD_REGISTRATIONS: "2",
        FITZ_MAX_OPEN_TRANSACTIONS: "2",
        FITZ_MAX_OPEN_APPENDS: "2",
        FITZ_MAX_PARKED: "3",
        FITZ_MAX_PARKED_PER_QUEUE: "2",
        FITZ_MAX_RESERVATIONS: "4",
        FITZ_MAX_INFLIGHT: "10",
        FITZ_KV_IDLE_TRANSACTION_TTL_SECS: "2",
        FITZ_QUEUE_MAX_ATTEMPTS: "2",
        FITZ_QUEUE_CACHE_BYTES: "1000",
      },
    }),
    Place.start({
      folder: null,
      environment: {
        FITZ_MAX_CONNECTIONS: "6",
        FITZ_MAX_QUEUES: "3",
        FITZ_MAX_LEASES: "3",
        FITZ_MAX_SCHEDULES: "3",
        FITZ_RPC_MAX_PENDING: "5",
        FITZ_RPC_MAX_PENDING_PER_ROUTE: "2",
        FITZ_MAX_UNCOMMITTED_BYTES: "65536",
      },
    }),
  ])
})
afterAll(() => Promise.all([perSession.stop(), perBroker.stop()]))

describe.each(TRANSPORTS)("limits of one session, over %s", transport => {
  const open = (): Promise<Program> => perSession.open(transport)

  /** A registration in each domain, what takes it back, and how one too many is refused. */
  const DOMAINS = [
    [
      "kv",
      1013,
      (p: Program, r: string) => p.kv.subscribe(r),
      (p: Program, r: string) => p.kv.unsubscribe(r),
    ],
    [
      "stream",
      2011,
      (p: Program, r: string) => p.stream.subscribe(r),
      (p: Program, r: string) => p.stream.unsubscribe(r),
    ],
    [
      "notice",
      3003,
      (p: Program, r: string) => p.notice.subscribe(r),
      (p: Program) => p.notice.unsubscribeAll(),
    ],
    [
      "queue",
      null,
      (p: Program, r: string) => p.queue.subscribe(r),
      (p: Program, r: string) => p.queue.unsubscribe(r),
    ],
    [
      "lease",
      5010,
      (p: Program, r: string) => p.lease.subscribe(r),
      (p: Program, r: string) => p.lease.unsubscribe(r),
    ],
    [
      "rpc",
      6013,
      (p: Program, r: string) => p.rpc.register(r),
      (p: Program, r: string) => p.rpc.unregister(r),
    ],
    [
      "schedule",
      null,
      (p: Program, r: string) => p.schedule.subscribe(r),
      (p: Program, r: string) => p.schedule.unsubscribe(r),
    ],
  ] as const
  const depth = (scheme: string): number => (scheme === "schedule" ? 4 : 3)

  test("M-7 S-8 M-27: registrations, all domains together", async () => {
    const [a, b] = [await open(), await open()]
    const [kv, stream, notice, queue, lease, rpc, schedule] = DOMAINS
    const held = [stream, notice, queue, lease, rpc, schedule].map(domain => ({
      domain,
      route: fresh(domain[0], depth(domain[0])),
    }))
    for (const { domain, route } of held) await domain[2](a, route)
    for (const [scheme, code, subscribe] of DOMAINS) {
      const one = subscribe(a, fresh(scheme, depth(scheme)))
      await expect(one, scheme).rejects.toMatchObject({ code, message: expect.stringMatching(/limit/) })
    }
    // What is there already is no further one.
    for (const { domain, route } of held) await domain[2](a, route)
    await kv[2](b, fresh("kv"))
    await held[0]!.domain[3](a, held[0]!.route)
    const route = fresh("kv")
    await kv[2](a, route)
    await expect(notice[2](a, fresh("notice"))).rejects.toMatchObject({ code: 3003 })
    // Those that stand still hear.
    b.notice.publish(held[1]!.route, "still here")
    expect(String((await a.notice.next()).body)).toBe("still here")
  })

  test("M-8 S-8: registrations with a wildcard, domain by domain", async () => {
    for (const [scheme, code, subscribe, unsubscribe] of DOMAINS) {
      const a = await open()
      const pattern = (): string => fresh(scheme, depth(scheme)).replace("/resource", "/*")
      const [first, second] = [pattern(), pattern()]
      await subscribe(a, first)
      await subscribe(a, second)
      await expect(subscribe(a, pattern()), scheme).rejects.toMatchObject({
        code,
        message: expect.stringMatching(/limit/),
      })
      await subscribe(a, second)
      await subscribe(a, fresh(scheme, depth(scheme)))
      await unsubscribe(a, first)
      await subscribe(a, pattern())
      await a.close()
    }
    const a = await open()
    for (const [scheme, , subscribe] of DOMAINS.slice(0, 3)) {
      for (let n = 0; n < 2; n++) await subscribe(a, fresh(scheme, depth(scheme)).replace("/resource", "/*"))
    }
  })

  test("M-9 M-10 M-27: open transactions and append sessions", async () => {
    const [a, b] = [await open(), await open()]
    const [kvs, streams] = [
      [1, 2, 3].map(() => fresh("kv")) as [string, string, string],
      [1, 2, 3].map(() => fresh("stream")) as [string, string, string],
    ]
    const first = await a.kv.begin(kvs[0], "write")
    await a.kv.begin(kvs[1], "read")
    for (const mode of ["read", "write"] as const)
      await expect(a.kv.begin(kvs[2], mode)).rejects.toThrow(/too many open transactions/)
    await b.kv.rollback(await b.kv.begin(kvs[2], "write"), kvs[2])
    await a.kv.commit(first, kvs[0])
    await a.kv.begin(kvs[2], "write")
    const session = await a.stream.begin(streams[0])
    await a.stream.begin(streams[1])
    await expect(a.stream.begin(streams[2])).rejects.toThrow(/too many open append sessions/)
    await a.stream.rollback(session)
    await a.stream.begin(streams[2])
  })

  test("M-23 KV-15: a transaction that is left alone is rolled back", async () => {
    const [a, b] = [await open(), await open()]
    const route = fresh("kv")
    const tx = await a.kv.begin(route, "write")
    await a.kv.put(tx, route, "k", "v")
    await until(
      "the lock",
      () => unlessRefused(b.kv.begin(route, "write")),
      tx => tx !== null,
    )
    await expect(a.kv.commit(tx, route)).rejects.toThrow(/not found/)
    expect(a.open).toBe(true)
  })

  test("M-5: long polls of one connection, those behind a parked one included", async () => {
    const [a, b] = [await open(), await open()]
    const routes = [1, 2, 3, 4].map(() => fresh("queue"))
    const polls = routes.map(route => a.queue.reserve(route, { wait: 30 }))
    const refused = expect(polls[3]).rejects.toMatchObject({
      code: 4005,
      message: expect.stringMatching(/parked/),
    })
    // Without a wait there is nothing to refuse, only the line to stand in.
    const plain = a.queue.reserve(fresh("queue"))
    await a.settle()
    for (const route of routes.slice(0, 3)) await b.queue.enqueue(route, route)
    for (const [n, poll] of polls.slice(0, 3).entries()) expect(String((await poll)[0]!.body)).toBe(routes[n])
    await refused
    expect(await plain).toEqual([])
  })

  test("M-5 M-27: lease waits of one connection", async () => {
    const [a, b] = [await open(), await open()]
    const routes = [1, 2, 3, 4].map(() => fresh("lease"))
    const held = []
    for (const route of routes) held.push(await b.lease.acquire(route, 60))
    for (const route of routes.slice(0, 3)) expect((await a.lease.acquire(route, 60, 30)).kind).toBe(2)
    await expect(a.lease.acquire(routes[3]!, 60, 30)).rejects.toMatchObject({ code: 5007 })
    await expect(a.lease.acquire(routes[3]!, 60, 0)).rejects.toMatchObject({ code: 5001 })
    await b.lease.release(routes[0]!, held[0]!.token)
    await a.lease.granted()
    expect((await a.lease.acquire(routes[3]!, 60, 30)).kind).toBe(2)
  })

  test("M-6 M-27: long polls of one queue, and of one pattern", async () => {
    const realm = fresh("queue", 1)
    const [one, any] = [`${realm}/a/one`, `${realm}/b/*`]
    const [writer, ...waiters] = await Promise.all([1, 2, 3, 4, 5].map(open))
    for (const [target, route] of [
      [one, one],
      [any, `${realm}/b/two`],
    ] as const) {
      const polls = []
      for (const waiter of waiters.slice(0, 2)) {
        polls.push(waiter.queue.reserve(target, { wait: 30 }))
        await waiter.settle()
      }
      await expect(waiters[2]!.queue.reserve(target, { wait: 30 })).rejects.toMatchObject({ code: 4005 })
      expect(await waiters[2]!.queue.reserve(target)).toEqual([])
      await writer!.queue.enqueue(route, "m")
      expect(await polls[0]).toHaveLength(1)
      polls.push(waiters[2]!.queue.reserve(target, { wait: 30 }))
      await waiters[2]!.settle()
      await expect(waiters[3]!.queue.reserve(target, { wait: 30 })).rejects.toMatchObject({ code: 4005 })
      await writer!.queue.enqueue(route, "m")
      await writer!.queue.enqueue(route, "m")
      expect((await Promise.all(polls)).flat()).toHaveLength(3)
    }
  })

  test("M-12 M-27: reservations of one session", async () => {
    const [a, b] = [await open(), await open()]
    const [route, other] = [fresh("queue"), fresh("queue")]
    for (let n = 0; n < 6; n++) await b.queue.enqueue(route, String(n))
    await b.queue.enqueue(other, "m")
    const held = await a.queue.reserve(route, { batch: 10 })
    expect(held.map(({ body }) => String(body))).toEqual(["0", "1", "2", "3"])
    await expect(a.queue.reserve(other)).rejects.toMatchObject({ code: 4005 })
    await expect(a.queue.reserve(`${route.slice(0, -9)}/*`)).rejects.toMatchObject({ code: 4005 })
    const [theirs] = await b.queue.reserve(route)
    expect(String(theirs!.body)).toBe("4")
    await a.queue.complete(route, held[0]!.id, held[0]!.token)
    expect((await a.queue.reserve(route, { batch: 10 })).map(({ body }) => String(body))).toEqual(["5"])
  })

  test("M-2: unanswered requests of one connection: it is not read on until half are answered", async () => {
    const [a, b] = [await open(), await open()]
    const [empty, full] = [fresh("queue"), fresh("queue")]
    const order: string[] = []
    const note = (what: string) => (): void => {
      order.push(what)
    }
    // One parks, eight stand behind it: nine, and the connection is still read.
    const parked = a.queue.reserve(empty, { wait: 30 }).then(note("parked"))
    const behind = Array.from({ length: 8 }, () => a.queue.reserve(full).then(note("behind")))
    await a.lease.query(fresh("lease")).then(note("read"))
    expect(order).toEqual(["read"])
    // The tenth is the limit: what follows stays in the socket.
    const tenth = a.queue.reserve(full).then(note("behind"))
    const unread = a.lease.query(fresh("lease")).then(note("read late"))
    for (let n = 0; n < 20; n++) await b.settle()
    expect(order).toEqual(["read"])
    await b.queue.enqueue(empty, "m")
    await Promise.all([parked, ...behind, tenth, unread])
    expect(order.slice(0, 3)).toEqual(["read", "parked", "behind"])
    expect(order).toHaveLength(12)
    await a.settle()
  })

  test("M-24 Q-19: a message that lapsed too often is not seen again", async () => {
    const [a, b] = [await open(), await open()]
    const route = fresh("queue")
    await a.queue.enqueue(route, "poison")
    await a.queue.reserve(route, { lease: 1 })
    const [second] = await b.queue.reserve(route, { wait: 30, lease: 1 })
    expect(String(second!.body)).toBe("poison")
    await a.queue.enqueue(route, "good")
    const [good] = await a.queue.reserve(route, { lease: 60 })
    expect(String(good!.body)).toBe("good")
    // Its second second passes in this wait, and brings nothing.
    expect(await a.queue.reserve(route, { wait: 2 })).toEqual([])
    await a.queue.complete(route, good!.id, good!.token)
  })

  test("M-25: bodies beyond the cache come from the store", async () => {
    const [a, b] = [await open(), await open()]
    const route = fresh("queue")
    const body = (n: number): Buffer => Buffer.alloc(900, n)
    for (let n = 0; n < 50; n++) await a.queue.enqueue(route, body(n))
    for (let n = 0; n < 50; n++) {
      const [item] = await b.queue.reserve(route)
      expect(item!.body).toEqual(body(n))
      await b.queue.complete(route, item!.id, item!.token)
    }
  })
})

describe.each(TRANSPORTS)("limits of the whole broker, over %s", transport => {
  const open = (): Promise<Program> => perBroker.open(transport)

  /** Leaves nothing behind: the next transport finds the broker as this one did. */
  async function withTwo(work: (a: Program, b: Program) => Promise<void>): Promise<void> {
    const both = [await open(), await open()] as const
    await work(...both)
    await Promise.all(both.map(program => program.close()))
  }

  test("M-13 M-27: queues that hold anything", () =>
    withTwo(async (a, b) => {
      const routes = [1, 2, 3].map(() => fresh("queue"))
      for (const route of routes)
        await until(
          "room",
          () => unlessRefused(a.queue.enqueue(route, "m")),
          id => id !== null,
        )
      const one = fresh("queue")
      await expect(b.queue.enqueue(one, "m")).rejects.toMatchObject({
        code: 4005,
        message: expect.stringMatching(/queues/),
      })
      await expect(b.queue.reserve(one, { wait: 30 })).rejects.toMatchObject({ code: 4005 })
      expect(await b.queue.reserve(one)).toEqual([])
      expect(await b.queue.enqueue(routes[1]!, "into one that is there")).toBe(2)
      const [item] = await a.queue.reserve(routes[0]!)
      await expect(b.queue.enqueue(one, "m")).rejects.toMatchObject({ code: 4005 })
      await a.queue.complete(routes[0]!, item!.id, item!.token)
      await until(
        "room",
        () => unlessRefused(b.queue.enqueue(one, "m")),
        id => id !== null,
      )
      for (const route of [one, ...routes])
        for (const { id, token } of await a.queue.reserve(route, { batch: 10 }))
          await a.queue.complete(route, id, token)
    }))

  test("M-14 M-27: leases", () =>
    withTwo(async (a, b) => {
      const routes = [1, 2, 3].map(() => fresh("lease"))
      const held = []
      for (const route of routes) held.push(await a.lease.acquire(route, 60))
      await expect(b.lease.acquire(fresh("lease"), 60)).rejects.toMatchObject({ code: 5007 })
      await expect(b.lease.acquire(routes[0]!, 60)).rejects.toMatchObject({ code: 5001 })
      expect((await a.lease.acquire(routes[0]!, 60)).kind).toBe(1)
      await a.lease.release(routes[2]!, held[2]!.token)
      const { token, kind } = await b.lease.acquire(fresh("lease"), 60)
      expect([kind, token > held[2]!.token]).toEqual([0, true])
    }))

  test("M-15 M-27: schedules", () =>
    withTwo(async (a, b) => {
      const routes = [1, 2, 3].map(() => fresh("schedule", 4))
      for (const route of routes) await a.schedule.create(route, "0 0 1 1 *", "single", "")
      const one = fresh("schedule", 4)
      await expect(b.schedule.create(one, "0 0 1 1 *", "single", "")).rejects.toThrow(/schedule limit/)
      await b.schedule.create(routes[0]!, "0 1 1 1 *", "single", "replaced")
      expect((await a.schedule.list()).total).toBe(3)
      await a.schedule.cancel(routes[1]!)
      await b.schedule.create(one, "0 0 1 1 *", "single", "")
      for (const route of [...routes, one]) await a.schedule.cancel(route)
    }))

  test("M-18 M-19 M-27: calls under way, of one route and in all", () =>
    withTwo(async (caller, worker) => {
      const [busy, other, third] = [fresh("rpc"), fresh("rpc"), fresh("rpc")]
      for (const route of [busy, other, third]) await worker.rpc.register(route)
      const call = (route: string): Buffer => {
        const id = correlation()
        caller.rpc.call(id, route, "")
        return id
      }
      const first = call(busy)
      expect((await worker.rpc.take()).correlation).toEqual(first)
      call(busy)
      call(busy)
      const oneOfRoute = call(busy)
      expect(await caller.rpc.answer()).toMatchObject({ correlation: oneOfRoute, fault: { code: 6003 } })
      call(other)
      const last = call(other)
      const oneInAll = call(third)
      expect(await caller.rpc.answer()).toMatchObject({ correlation: oneInAll, fault: { code: 6003 } })
      worker.rpc.reply(first, 0, true, "")
      expect(await caller.rpc.answer()).toMatchObject({ correlation: first, fault: null })
      const again = call(third)
      await caller.settle()
      expect(caller.unread(303)).toEqual([])
      const taken = [await worker.rpc.take(), await worker.rpc.take(), await worker.rpc.take()]
      expect(taken.at(-1)!.correlation).toEqual(again)
      expect(taken.some(({ correlation }) => correlation.equals(last))).toBe(false)
    }))

  test("M-11 M-27: what is not committed, of all sessions together", () =>
    withTwo(async (a, b) => {
      const [kv, other, stream] = [fresh("kv"), fresh("kv"), fresh("stream")]
      const tx = await a.kv.begin(kv, "write")
      const half = Buffer.alloc(30_000, 1)
      await a.kv.put(tx, kv, "1", half)
      await a.kv.put(tx, kv, "2", half)
      const text = /too much is uncommitted/
      await expect(a.kv.put(tx, kv, "3", half)).rejects.toThrow(text)
      await expect(a.kv.insert(tx, kv, "3", half)).rejects.toThrow(text)
      const theirs = await b.kv.begin(other, "write")
      await expect(b.kv.put(theirs, other, "1", half)).rejects.toThrow(text)
      const session = await b.stream.begin(stream)
      await expect(b.stream.append(session, 0, half)).rejects.toThrow(text)
      await a.kv.commit(tx, kv)
      await b.stream.append(session, 0, half)
      await b.kv.put(theirs, other, "1", half)
      await expect(b.stream.append(session, 1, half)).rejects.toThrow(text)
      await b.stream.commit(session)
      await b.kv.rollback(theirs, other)
      const reader = await a.kv.begin(kv, "read")
      expect((await a.kv.scan(reader, kv)).pairs.map(([key]) => String(key))).toEqual(["1", "2"])
      expect((await a.stream.metadata(stream)).count).toBe(1)
    }))
})

test("M-1 M-27 T-17: connections: one too many is turned away at its own door, the rest goes on", async () => {
  const { port } = perBroker.broker
  const held: Program[] = []
  for (let n = 0; n < 6; n++) held.push(await perBroker.open(n % 2 === 0 ? "tcp" : "ws"))
  await Promise.all(held.map(program => program.settle()))
  const refusal = await askUpgrade(port)
  expect([refusal.status, JSON.parse(refusal.text).code]).toEqual([503, "too_many_connections"])
  const tcp = new Caller(await openWire("tcp", port))
  tcp.send(1, bytes())
  await tcp.closed
  expect(tcp.received).toEqual([])
  expect((await ask(port, "/healthz")).status).toBe(200)
  expect((await ask(port, "/readyz")).status).toBe(200)
  await Promise.all(held.map(program => program.settle()))
  await held.pop()!.close()
  // The place is free once the broker has noticed.
  const comes = async (transport: Transport): Promise<Program | null> => {
    try {
      const program = await perBroker.open(transport)
      await program.settle()
      return program
    } catch (error) {
      expect(String(error)).toMatch(/503|closed|ECONNRESET/)
      return null
    }
  }
  held.push(
    (await until(
      "a place",
      () => comes("ws"),
      program => program !== null,
    ))!,
  )
  await Promise.all(held.map(program => program.close()))
  // A crowd at the door gets exactly the places there are, whichever way it comes.
  await until("all places", async () => {
    const crowd = await Promise.all(Array.from({ length: 24 }, (_, n) => comes(n % 2 === 0 ? "ws" : "tcp")))
    const inside = crowd.filter(program => program !== null)
    expect(inside.length).toBeLessThanOrEqual(6)
    await Promise.all(inside.map(program => program.close()))
    return inside.length === 6
  })
})

test.each(TRANSPORTS)("M-7: a burst of registrations over both lanes, over %s", async transport => {
  const a = await perSession.open(transport)
  const asked = Array.from({ length: 12 }, () => [
    unlessRefused(a.kv.subscribe(fresh("kv"))),
    unlessRefused(a.notice.subscribe(fresh("notice"))),
  ])
  const made = (await Promise.all(asked.flat())).filter(id => id !== null)
  expect(made.length).toBe(6)
  expect(new Set(made).size).toBe(6)
})

describe("limits that nobody can move", () => {
  let place: Place
  let a: Program
  beforeAll(async () => {
    place = await Place.start({ folder: null, environment: fasterClock(60) })
    a = await place.open("tcp")
  })
  afterAll(() => place.stop())

  test("R-2: 64 segments and 4,096 bytes of a route; 512 of a selector", async () => {
    const deep = (segments: number): string =>
      `notice://${Array.from({ length: segments }, () => "s").join("/")}`
    const long = (bytes: number): string => `notice://${"x".repeat(bytes - "notice://".length)}`
    for (const route of [deep(64), long(4_096)]) {
      const subscription = await a.notice.subscribe(route)
      a.notice.publish(route, "m")
      expect(await a.notice.next()).toMatchObject({ subscription, route })
    }
    for (const route of [deep(65), long(4_097)])
      await expect(a.notice.subscribe(route)).rejects.toMatchObject({ code: 3002 })
    const selector = (bytes: number): string => `stream://r/a/${"x".repeat(bytes - "stream://r/a/".length)}`
    expect((await a.stream.read(selector(512), 0, 1)).items).toEqual([])
    await expect(a.stream.read(selector(513), 0, 1)).rejects.toMatchObject({ code: 2004 })
  })

  test("Q-9: 1,024 messages of a batch", async () => {
    const route = fresh("queue")
    await Promise.all(Array.from({ length: 1_030 }, () => a.queue.enqueue(route, "m")))
    // A year each: on this clock a shorter lease would be over in no time.
    const lease = 31_536_000
    expect(await a.queue.reserve(route, { batch: 1_024, lease })).toHaveLength(1_024)
    await expect(a.queue.reserve(route, { batch: 1_025, lease })).rejects.toMatchObject({ code: 4006 })
    expect(await a.queue.reserve(route, { batch: 1_024, lease })).toHaveLength(6)
  })

  test("Q-13: 4,096 queues of a pattern", async () => {
    const realm = fresh("queue", 1)
    await Promise.all(Array.from({ length: 4_096 }, (_, n) => a.queue.enqueue(`${realm}/q/${n}`, "m")))
    expect(await a.queue.reserve(`${realm}/q/*`, { batch: 3 })).toHaveLength(3)
    await a.queue.enqueue(`${realm}/q/one-more`, "m")
    await expect(a.queue.reserve(`${realm}/q/*`)).rejects.toMatchObject({ code: 4006 })
    await expect(a.queue.reserve(`${realm}/**`, { wait: 30 })).rejects.toMatchObject({ code: 4006 })
    expect(await a.queue.reserve(`${realm}/*/one-more`)).toHaveLength(1)
  })

  test("Q-12: a wait of 30 seconds, however long one is asked for", async () => {
    // On this clock that is half a second; a wait of a day would be most of half an hour.
    expect(await a.queue.reserve(fresh("queue"), { wait: 86_400 })).toEqual([])
  })

  test("ST-22: 10,000 events and 10 MiB of a batch", async () => {
    const [many, large] = [fresh("stream"), fresh("stream")]
    const session = await a.stream.begin(many)
    const offsets = await Promise.all(
      Array.from({ length: 10_000 }, (_, n) => a.stream.append(session, n, "")),
    )
    expect(offsets.at(-1)).toBe(9_999)
    await expect(a.stream.append(session, 10_000, "")).rejects.toThrow(/too large/)
    await a.stream.commit(session)
    expect((await a.stream.metadata(many)).count).toBe(10_000)
    const heavy = await a.stream.begin(large)
    const body = Buffer.alloc(61_247)
    const fitting = Math.floor((10 * 1_048_576) / body.length)
    for (let n = 0; n < fitting; n++) await a.stream.append(heavy, n, body)
    await expect(a.stream.append(heavy, fitting, body)).rejects.toThrow(/too large/)
    const rest = 10 * 1_048_576 - fitting * body.length
    await expect(a.stream.append(heavy, fitting, body.subarray(0, rest + 1))).rejects.toThrow(/too large/)
    await a.stream.append(heavy, fitting, body.subarray(0, rest))
    await a.stream.commit(heavy)
    expect((await a.stream.metadata(large)).count).toBe(fitting + 1)
  })
})
