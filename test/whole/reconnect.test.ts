// Connections that end without warning and networks that hold and tear: what is given back, what is lost, and
// that nothing acknowledged ever is. Brokers that are restarted are in restart.test.ts.

import { readFileSync } from "node:fs"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { block, bytes, outer, u8 } from "../kit/bytes.ts"
import { openCaller } from "../kit/caller.ts"
import { lost, unlessRefused, until } from "../kit/patience.ts"
import { Persistent } from "../kit/persistent.ts"
import { Network } from "../kit/proxy.ts"
import { correlation, fresh, mint, Place, type Program, TRANSPORTS } from "../kit/ways.ts"

let place: Place
let proxy: Network
beforeAll(async () => {
  place = await Place.start({ auth: true })
})
afterAll(() => place.stop())
beforeEach(async () => {
  proxy = await Network.open(() => place.broker.port)
})
afterEach(() => proxy.close())

async function through(transport: "tcp" | "ws"): Promise<Program> {
  return openCaller(transport, proxy.port, await mint())
}

describe.each(TRANSPORTS)("a connection that is cut, over %s", transport => {
  test("D-1 Q-24: reservations return in order, attempts unchanged, tokens dead, waits gone", async () => {
    const [a, b] = [await through(transport), await place.open(transport)]
    const [route, empty] = [fresh("queue"), fresh("queue")]
    for (const body of ["1", "2", "3"]) await b.queue.enqueue(route, body)
    const held = await a.queue.reserve(route, { batch: 3, lease: 600 })
    const parked = a.queue.reserve(empty, { wait: 30 })
    await a.settle()
    proxy.cut()
    await expect(parked).rejects.toThrow("closed")
    const again = []
    while (again.length < 3) again.push(...(await b.queue.reserve(route, { batch: 3, wait: 30 })))
    expect(again.map(({ body }) => String(body))).toEqual(["1", "2", "3"])
    // The dead wait takes nothing from the living.
    await b.queue.enqueue(empty, "m")
    expect(await b.queue.reserve(empty)).toHaveLength(1)
    const back = await through(transport)
    for (const { id, token } of held)
      await expect(back.queue.complete(route, id, token)).rejects.toThrow(/reserved/)
    for (const { id, token } of again) await b.queue.complete(route, id, token)
  })

  test("D-1 KV-3 ST-23: transactions and append sessions roll back and free their resources", async () => {
    const [a, b] = [await through(transport), await place.open(transport)]
    const [kv, stream] = [fresh("kv"), fresh("stream")]
    const tx = await a.kv.begin(kv, "write")
    await a.kv.put(tx, kv, "k", "lost")
    const session = await a.stream.begin(stream)
    await a.stream.append(session, 0, "lost")
    proxy.cut()
    await a.closed
    const next = await until(
      "the lock",
      () => unlessRefused(b.kv.begin(kv, "write")),
      tx => tx !== null,
    )
    expect(await b.kv.get(next!, kv, "k")).toBeNull()
    const later = await until(
      "the resource",
      () => unlessRefused(b.stream.begin(stream)),
      s => s !== null,
    )
    expect(await b.stream.append(later!, 0, "kept")).toBe(0)
    const back = await through(transport)
    await expect(back.kv.commit(tx, kv)).rejects.toThrow(/not found/)
    await expect(back.stream.commit(session)).rejects.toMatchObject({ code: 2003 })
  })

  test("D-1 L-14: leases pass on, waits vanish, and the old holder is fenced off", async () => {
    const [a, b, c] = [await through(transport), await through(transport), await place.open(transport)]
    const route = fresh("lease")
    const held = await a.lease.acquire(route, 600)
    await b.lease.acquire(route, 600, 30)
    const waiting = await c.lease.acquire(route, 600, 30)
    proxy.cut()
    expect(await c.lease.granted()).toEqual({ kind: 0, token: waiting.token })
    expect((await c.lease.query(route)).waiters).toBe(0)
    const back = await through(transport)
    await expect(back.lease.renew(route, held.token, 60)).rejects.toMatchObject({ code: 5004 })
    await expect(back.lease.release(route, held.token)).rejects.toMatchObject({ code: 5004 })
  })

  test("D-1 RPC-15 RPC-16: calls end for whoever is left, credit comes back", async () => {
    const [worker, caller] = [await through(transport), await place.open(transport)]
    const route = fresh("rpc")
    await worker.rpc.register(route)
    const [delivered, waiting] = [correlation(), correlation()]
    caller.rpc.call(delivered, route, "")
    caller.rpc.call(waiting, route, "")
    await worker.rpc.take()
    proxy.cut()
    const ends = [await caller.rpc.answer(), await caller.rpc.answer()]
    expect(new Map(ends.map(({ correlation, fault }) => [correlation.toString("hex"), fault?.code]))).toEqual(
      new Map([
        [delivered.toString("hex"), 6002],
        [waiting.toString("hex"), 6004],
      ]),
    )
    const [gone, other] = [await through(transport), await place.open(transport)]
    await other.rpc.register(route)
    const orphan = correlation()
    gone.rpc.call(orphan, route, "")
    await other.rpc.take()
    proxy.cut()
    other.rpc.reply(orphan, 0, true, "for nobody")
    const next = correlation()
    caller.rpc.call(next, route, "")
    expect((await other.rpc.take()).correlation).toEqual(next)
  })

  test("S-7 C-9: registrations end with their connection and are heard again once made again", async () => {
    const a = new Persistent(transport, () => proxy.port, mint)
    const b = await place.open(transport)
    const routes = Object.fromEntries(
      ["kv", "queue", "rpc", "lease", "notice", "stream"].map(scheme => [scheme, fresh(scheme)]),
    ) as Record<"kv" | "queue" | "rpc" | "lease" | "notice" | "stream", string>
    await a.register(caller => caller.kv.subscribe(routes.kv))
    await a.register(caller => caller.queue.subscribe(routes.queue))
    await a.register(caller => caller.lease.subscribe(routes.lease))
    await a.register(caller => caller.notice.subscribe(routes.notice))
    await a.register(caller => caller.stream.subscribe(routes.stream))
    await a.register(caller => caller.schedule.subscribe("schedule://**"))
    await a.register(caller => caller.rpc.register(routes.rpc))
    const stir = async (n: number): Promise<void> => {
      const tx = await b.kv.begin(routes.kv, "write")
      await b.kv.put(tx, routes.kv, "k", String(n))
      await b.kv.commit(tx, routes.kv)
      await b.queue.reserve(routes.queue, { batch: 10 })
      await b.queue.enqueue(routes.queue, String(n))
      const { token } = await b.lease.acquire(routes.lease, 60)
      await b.lease.release(routes.lease, token)
      b.notice.publish(routes.notice, String(n))
      const session = await b.stream.begin(routes.stream)
      await b.stream.append(session, n, String(n))
      await b.stream.commit(session)
    }
    for (let n = 0; n < 3; n++) {
      const live = await a.connection()
      await stir(n)
      b.rpc.call(correlation(), routes.rpc, String(n))
      const heard = [111, 209, 409, 504, 609].map(type => live.next(type))
      const call = await live.rpc.take()
      live.rpc.reply(call.correlation, 0, true, "here")
      expect(String((await b.rpc.answer()).body)).toBe("here")
      expect(await Promise.all(heard)).toHaveLength(5)
      proxy.cut()
      await live.closed
    }
    expect(a.connections).toBeGreaterThanOrEqual(3)
    await a.close()
  })

  test("F-6 D-1: half a request is none", async () => {
    const b = await place.open(transport)
    const route = fresh("queue")
    const payload = bytes(block(route), block("x".repeat(300)), u8(0))
    // Everything before the last byte of the frame; the frame's head and mask are longer on WebSocket.
    const whole = outer(200, payload).length
    for (const passing of [1, 3, 4, 5, 9, whole - 1]) {
      const a = await through(transport)
      await a.settle()
      proxy.tear(passing)
      a.send(200, payload)
      await a.closed
    }
    const good = await through(transport)
    expect(await good.queue.enqueue(route, "whole")).toBe(1)
    expect((await b.queue.reserve(route, { batch: 9 })).map(({ body }) => String(body))).toEqual(["whole"])
  })
})

describe.each(TRANSPORTS)("a network that holds, over %s", transport => {
  test("O-1 O-2: what was held arrives whole, once and in order", async () => {
    const [a, b] = [await through(transport), await place.open(transport)]
    const [queue, notice] = [fresh("queue"), fresh("notice")]
    await a.notice.subscribe(notice)
    proxy.hold()
    const replies = Array.from({ length: 200 }, (_, n) => a.queue.enqueue(queue, String(n)))
    for (let n = 0; n < 200; n++) b.notice.publish(notice, String(n))
    await b.settle()
    expect(await b.queue.reserve(queue)).toEqual([])
    proxy.release()
    expect(await Promise.all(replies)).toEqual(Array.from({ length: 200 }, (_, n) => n + 1))
    for (let n = 0; n < 200; n++) expect(String((await a.notice.next()).body)).toBe(String(n))
    await a.settle()
    expect(a.unread(504)).toEqual([])
  })

  test("L-7 L-12 L-14: a holder that cannot be reached loses its lease in time and learns so", async () => {
    const [a, b] = [await through(transport), await place.open(transport)]
    const route = fresh("lease")
    const held = await a.lease.acquire(route, 1)
    proxy.hold()
    const renewal = a.lease.renew(route, held.token, 60)
    renewal.catch(() => undefined) // looked at below; it must not count as unhandled meanwhile
    await b.lease.acquire(route, 60, 30)
    const { token } = await b.lease.granted()
    expect(token).toBeGreaterThan(held.token)
    proxy.release()
    await expect(renewal).rejects.toMatchObject({ code: 5004 })
    expect((await b.lease.query(route)).holder).not.toBeNull()
  })
})

test.each(TRANSPORTS)(
  "ST-15 ST-24: a reader that follows by cursor over %s misses and repeats nothing",
  async transport => {
    const reader = new Persistent(transport, () => proxy.port, mint)
    const writer = await place.open(transport)
    const route = fresh("stream")
    const EVENTS = 400
    await reader.register(caller => caller.stream.subscribe(route))
    const seen: number[] = []
    let from = 0n
    const reading = reader.each(async caller => {
      for (;;) {
        const page = await caller.stream.read(route, from, 7)
        seen.push(...page.items.map(item => ("event" in item ? Number(String(item.event.body)) : -1)))
        from = BigInt.asUintN(64, page.lastResource + 1n)
        if (seen.length >= EVENTS) return true
        // Woken by the next commit; one between the page and here has left its notice behind.
        if (!page.more) await caller.stream.next()
      }
    })
    for (let n = 0; n < EVENTS; n += 4) {
      const session = await writer.stream.begin(route)
      for (let i = n; i < n + 4; i++) await writer.stream.append(session, i, String(i))
      await writer.stream.commit(session)
      if (n % 40 === 20) proxy.cut()
    }
    await reading
    expect(seen).toEqual(Array.from({ length: EVENTS }, (_, n) => n))
    expect(reader.connections).toBeGreaterThan(3)
    await reader.close()
  },
)

test.each(TRANSPORTS)(
  "O-7 O-8: what is acknowledged is there, however often the connection over %s ends",
  async transport => {
    const route = fresh("queue")
    const acknowledged = new Set<string>()
    for (let round = 0; round < 12; round++) {
      const a = await through(transport)
      const sent = Array.from({ length: 60 }, (_, n) => {
        const body = `${round}.${n}`
        return a.queue.enqueue(route, body).then(() => acknowledged.add(body), lost)
      })
      await sent[round * 3]
      proxy.cut()
      await Promise.all(sent)
    }
    const b = await place.open(transport)
    const found = new Map<string, number>()
    for (;;) {
      const items = await b.queue.reserve(route, { batch: 1_024, lease: 600 })
      for (const { body } of items) found.set(String(body), (found.get(String(body)) ?? 0) + 1)
      if (items.length === 0) break
    }
    expect(acknowledged.size).toBeGreaterThan(100)
    for (const body of acknowledged) expect(found.get(body), body).toBe(1)
  },
)

test.each(TRANSPORTS)("O-1: reads and calls that are repeated over %s all end well", async transport => {
  const program = new Persistent(transport, () => proxy.port, mint)
  const [server, worker] = [await place.open(transport), await place.open(transport)]
  const [stream, rpc, kv] = [fresh("stream"), fresh("rpc"), fresh("kv")]
  const session = await server.stream.begin(stream)
  await server.stream.append(session, 0, "event")
  await server.stream.commit(session)
  const tx = await server.kv.begin(kv, "write")
  await server.kv.put(tx, kv, "k", "v")
  await server.kv.commit(tx, kv)
  await worker.rpc.register(rpc, 100)
  void (async () => {
    for (;;) {
      const { correlation, body } = await worker.rpc.take()
      worker.rpc.reply(correlation, 0, true, body)
    }
  })().catch(lost)
  let answers = 0
  for (let n = 0; n < 60; n++) {
    const read = program.retry(async live => {
      const reader = await live.kv.begin(kv, "read")
      return [
        await live.stream.last(stream),
        await live.kv.get(reader, kv, "k"),
        await live.lease.query(fresh("lease")),
      ]
    })
    // A call is repeated under an id of its own: the worker may have had the first one.
    const call = program.retry(async live => {
      live.rpc.call(correlation(), rpc, String(n))
      return live.rpc.answer()
    })
    if (n % 6 === 3) proxy.cut()
    const [last, value, lease] = await read
    expect(last).toMatchObject({ body: Buffer.from("event") })
    expect(String(value)).toBe("v")
    expect(lease).toEqual({ holder: null, waiters: 0 })
    expect(await call).toMatchObject({ fault: null, last: true })
    answers++
  }
  expect(answers).toBe(60)
  expect(program.connections).toBeGreaterThan(5)
  await Promise.all([program.close(), worker.close()])
})

test("D-1: a peer that is silent is asked after half a minute whether it is still there", async ctx => {
  if (process.platform !== "linux") ctx.skip("the system's timers are read from /proc/net/tcp")
  const a = await place.open("tcp")
  await a.settle()
  const port = place.broker.port.toString(16).toUpperCase().padStart(4, "0")
  // sl local_address rem_address st queues tr:when …: timer 02 is keep-alive, in hundredths of a second.
  const timers = (): string[] =>
    readFileSync("/proc/net/tcp", "utf8")
      .split("\n")
      .map(line => line.trim().split(/\s+/))
      .filter(([, local, , state]) => local?.endsWith(`:${port}`) === true && state === "01")
      .map(([, , , , , timer]) => timer!)
  const [timer] = await until(
    "a keep-alive timer",
    timers,
    found => found.length > 0 && found.every(timer => timer.startsWith("02:")),
  )
  expect(Number.parseInt(timer!.slice(3), 16)).toBeLessThanOrEqual(3_100)
  await a.close()
})
