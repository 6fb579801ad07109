// The way down: what SIGTERM does to probes, doors, programs and files, step by step, on real processes. Every
// test ends with the exit code, and with the store as the next broker finds it.

import { readdirSync, statSync } from "node:fs"
import { connect } from "node:net"
import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { WebSocket } from "ws"
import { inner, outer } from "../kit/bytes.ts"
import { Caller, openWire } from "../kit/caller.ts"
import { ask, askUpgrade } from "../kit/http.ts"
import { lost } from "../kit/patience.ts"
import { newFolder, removeFolder } from "../kit/process.ts"
import { correlation, fresh, Place, TRANSPORTS } from "../kit/ways.ts"

/** A folder of a test's own, and brokers in it. */
class Ground {
  readonly folder = newFolder()

  start(graceSeconds: number, environment: Readonly<Record<string, string>> = {}): Promise<Place> {
    return Place.start({
      folder: this.folder,
      environment: { FITZ_DRAIN_GRACE_SECONDS: String(graceSeconds), ...environment },
    })
  }

  /** Bytes of write-ahead logs that were left behind. */
  get logBytes(): number {
    const logs = readdirSync(this.folder).filter(name => name.endsWith("-wal"))
    return logs.reduce((sum, name) => sum + statSync(join(this.folder, name)).size, 0)
  }
}

/** Runs a test on ground of its own. */
async function onGround(work: (ground: Ground) => Promise<void>): Promise<void> {
  const ground = new Ground()
  try {
    await work(ground)
  } finally {
    removeFolder(ground.folder)
  }
}

/** Sends the signal and waits until the broker has begun to drain. */
async function signal(place: Place, name: NodeJS.Signals): Promise<void> {
  place.broker.child.kill(name)
  await place.broker.logged("draining")
}

test.concurrent.each(["SIGTERM", "SIGINT"] as const)(
  "D-4 D-5 D-6 H-5 T-17: doors and probes after %s",
  name =>
    onGround(async ground => {
      const place = await ground.start(30)
      const { port } = place.broker
      const staying = await place.open("ws")
      await staying.settle()
      await signal(place, name)
      const ready = await ask(port, "/readyz")
      expect([ready.status, ready.headers["retry-after"]]).toEqual([503, "1"])
      expect(JSON.parse(ready.text)).toMatchObject({
        status: "not_ready",
        checks: { storage: "ok", domains_initialized: "ok", accepting_traffic: "draining" },
        error: { code: "shutting_down" },
      })
      for (const [path, status] of [
        ["/healthz", 200],
        ["/startupz", 200],
        ["/health", 503],
        ["/nothing/here", 404],
      ] as const)
        expect((await ask(port, path)).status, path).toBe(status)
      const upgrade = await askUpgrade(port)
      expect([upgrade.status, JSON.parse(upgrade.text).code]).toEqual([503, "shutting_down"])
      const stranger = new Caller(await openWire("tcp", port))
      stranger.send(1, Buffer.of())
      await stranger.closed
      expect(stranger.received).toEqual([])
      // Still there, still served.
      await staying.settle()
      expect((await ask(port, "/healthz")).status).toBe(200)
      await staying.close()
      expect(await place.broker.exited).toBe(0)
      expect(ground.logBytes).toBe(0)
    }),
)

describe.concurrent.each(TRANSPORTS)("programs over %s while the broker drains", transport => {
  test("D-7 D-8 D-9: nothing waits any more, everything else is served as ever", () =>
    onGround(async ground => {
      const place = await ground.start(30, { FITZ_RPC_TIMEOUT_SECONDS: "3600" })
      const [a, b, worker] = [
        await place.open(transport),
        await place.open(transport),
        await place.open(transport),
      ]
      const [kv, queue, lease, rpc, stream] = ["kv", "queue", "lease", "rpc", "stream"].map(scheme =>
        fresh(scheme),
      ) as [string, string, string, string, string]
      const tx = await a.kv.begin(kv, "write")
      await a.kv.put(tx, kv, "k", "v")
      const session = await a.stream.begin(stream)
      await a.stream.append(session, 0, "e")
      await b.lease.acquire(lease, 3_600)
      expect((await a.lease.acquire(lease, 3_600, 30)).kind).toBe(2)
      await worker.rpc.register(rpc)
      const [running, waiting] = [correlation(), correlation()]
      a.rpc.call(running, rpc, "running")
      a.rpc.call(waiting, rpc, "waiting")
      await worker.rpc.take()
      const parked = a.queue.reserve(queue, { wait: 30 })
      const anywhere = b.queue.reserve("queue://nobody/**", { wait: 30 })
      await a.settle()
      await b.settle()

      await signal(place, "SIGTERM")
      // What waited has its answer.
      expect([await parked, await anywhere]).toEqual([[], []])
      await expect(a.lease.granted()).rejects.toMatchObject({ code: 5006 })
      expect(await a.rpc.answer()).toMatchObject({ correlation: waiting, fault: { code: 6003 } })
      // What would wait now has it at once.
      expect(await a.queue.reserve(queue, { wait: 30 })).toEqual([])
      await expect(a.lease.acquire(lease, 60, 30)).rejects.toMatchObject({ code: 5006 })
      await expect(a.lease.acquire(lease, 60)).rejects.toMatchObject({ code: 5001 })
      const late = correlation()
      a.rpc.call(late, rpc, "late")
      expect(await a.rpc.answer()).toMatchObject({ correlation: late, fault: { code: 6003 } })
      a.rpc.call(correlation(), fresh("rpc"), "")
      expect((await a.rpc.answer()).fault?.code).toBe(6004)
      // The call that is at its worker may finish.
      worker.rpc.reply(running, 0, false, "almost")
      worker.rpc.reply(running, 1, true, "done")
      expect(await a.rpc.answer()).toMatchObject({ correlation: running, fault: null, last: false })
      expect(String((await a.rpc.answer()).body)).toBe("done")
      // And so may everything else.
      await a.kv.commit(tx, kv)
      await a.stream.commit(session)
      expect(await a.queue.enqueue(queue, "last words")).toBe(1)
      const [item] = await b.queue.reserve(queue)
      expect(String(item!.body)).toBe("last words")
      expect((await b.lease.acquire(fresh("lease"), 3_600)).kind).toBe(0)
      const notice = fresh("notice")
      await b.notice.subscribe(notice)
      a.notice.publish(notice, "still here")
      expect(String((await b.notice.next()).body)).toBe("still here")

      // The last one to go ends it; leases of an hour and calls of an hour keep nobody waiting.
      await Promise.all([a.close(), b.close(), worker.close()])
      expect(await place.broker.exited).toBe(0)
      expect(ground.logBytes).toBe(0)
      const next = await ground.start(1)
      const again = await next.open(transport)
      const reader = await again.kv.begin(kv, "read")
      expect(String(await again.kv.get(reader, kv, "k"))).toBe("v")
      expect((await again.stream.metadata(stream)).count).toBe(1)
      expect((await again.queue.reserve(queue)).map(({ body }) => String(body))).toEqual(["last words"])
      await next.stop()
    }))

  test("D-9 D-11 O-7: programs that stay are served to the end of the grace; nothing acknowledged is lost", () =>
    onGround(async ground => {
      const place = await ground.start(1)
      const a = await place.open(transport)
      const queue = fresh("queue")
      await a.lease.acquire(fresh("lease"), 3_600)
      const acknowledged = new Set<string>()
      const sent = new Set<string>()
      await signal(place, "SIGTERM")
      // As fast as it goes, until the broker hangs up in the middle of it.
      for (let n = 0; a.open; n++) {
        const round = Array.from({ length: 20 }, (_, i) => {
          sent.add(`${n}.${i}`)
          return a.queue.enqueue(queue, `${n}.${i}`).then(() => acknowledged.add(`${n}.${i}`), lost)
        })
        await Promise.all(round)
      }
      expect(await place.broker.exited).toBe(0)
      expect(ground.logBytes).toBe(0)
      expect(acknowledged.size).toBeGreaterThan(100)
      const next = await ground.start(1)
      const reader = await next.open(transport)
      const found = new Set<string>()
      for (;;) {
        const items = await reader.queue.reserve(queue, { batch: 1_024, lease: 600 })
        for (const { body } of items) {
          expect(found.has(String(body))).toBe(false)
          found.add(String(body))
        }
        if (items.length === 0) break
      }
      for (const body of acknowledged) expect(found.has(body), body).toBe(true)
      for (const body of found) expect(sent.has(body), body).toBe(true)
      await next.stop()
    }))
})

test("D-10: at the end of the grace WebSockets are told why and TCP is half-closed", () =>
  onGround(async ground => {
    const place = await ground.start(1)
    const { port } = place.broker
    const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`)
    await new Promise(resolve => socket.once("open", resolve))
    socket.send(inner(1))
    const closed = new Promise<[number, string]>(resolve =>
      socket.once("close", (code, reason) => resolve([code, reason.toString()])),
    )
    const tcp = connect({ port, host: "127.0.0.1", allowHalfOpen: true })
    tcp.resume()
    tcp.write(outer(1))
    const ends: string[] = []
    tcp.on("end", () => {
      ends.push("end")
      tcp.end()
    })
    tcp.on("error", error => ends.push(String(error)))
    const gone = new Promise(resolve => tcp.once("close", resolve))
    await place.broker.logged("ready")
    await signal(place, "SIGTERM")
    expect(await closed).toEqual([1001, "draining"])
    await gone
    expect(ends).toEqual(["end"])
    expect(await place.broker.exited).toBe(0)
  }))

test("D-9 D-11: what else is connected keeps nobody waiting", () =>
  onGround(async ground => {
    const place = await ground.start(1)
    const { port } = place.broker
    // An idle kept-alive request, half a request, half a frame, nothing at all, and programs that do not read.
    await Promise.all(
      ["GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", "GET /healthz HT", "\u0000\u0000", ""].map(async text => {
        const socket = connect({ port, host: "127.0.0.1" })
        socket.on("error", () => socket.destroy())
        await new Promise(resolve => socket.once("connect", resolve))
        if (text !== "") socket.write(Buffer.from(text, "latin1"))
      }),
    )
    expect((await ask(port, "/healthz")).status).toBe(200)
    const deaf = [await place.open("tcp"), await place.open("ws")]
    const route = fresh("notice")
    for (const program of deaf) {
      await program.notice.subscribe(route)
      program.wire.pause()
    }
    const publisher = await place.open("tcp")
    for (let n = 0; n < 200; n++) publisher.notice.publish(route, Buffer.alloc(60_000))
    await publisher.settle()
    await signal(place, "SIGTERM")
    expect(await place.broker.exited).toBe(0)
    for (const program of deaf) program.wire.cut()
  }))

test.concurrent.each([
  ["SIGTERM", "SIGTERM"],
  ["SIGINT", "SIGINT"],
  ["SIGTERM", "SIGINT"],
] as const)("D-4: %s and then %s ends at once, and loses nothing that was acknowledged", (first, second) =>
  onGround(async ground => {
    const place = await ground.start(3_600)
    const a = await place.open("tcp")
    const queue = fresh("queue")
    await a.queue.enqueue(queue, "kept")
    await signal(place, first)
    await a.queue.enqueue(queue, "kept, too")
    expect(await place.broker.kill(second)).toBe(1)
    await a.closed
    const next = await ground.start(1)
    const b = await next.open("tcp")
    const items = await b.queue.reserve(queue, { batch: 10 })
    expect(items.map(({ body }) => String(body))).toEqual(["kept", "kept, too"])
    await next.stop()
  }),
)

test("D-9: a broker without programs ends after the second that probes need to see it", () =>
  onGround(async ground => {
    const place = await ground.start(3_600)
    const began = Date.now()
    await signal(place, "SIGTERM")
    expect((await ask(place.broker.port, "/readyz")).status).toBe(503)
    expect(await place.broker.exited).toBe(0)
    expect(Date.now() - began).toBeGreaterThanOrEqual(990)
    const said = place.broker.records.map(record => record["msg"])
    expect(said.slice(said.indexOf("draining"))).toEqual(["draining", "stopped"])
  }))
