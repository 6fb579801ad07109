// Brokers that are stopped and killed under live programs: programs find their way back, what was acknowledged
// is there, and what was promised never to be given twice is not.

import { describe, expect, test } from "vitest"
import { lost } from "../kit/patience.ts"
import { Persistent } from "../kit/persistent.ts"
import { newFolder, removeFolder } from "../kit/process.ts"
import { correlation, Place } from "../kit/ways.ts"

describe("a broker that is restarted under live programs", () => {
  const routes = {
    kv: "kv://r/a/s",
    queue: "queue://r/a/s",
    rpc: "rpc://r/a/s",
    lease: "lease://r/a/s",
    notice: "notice://r/a/s",
    stream: "stream://r/a/s",
    schedule: "schedule://r/a/s/o",
  }

  /** Starts one on this folder; after the first, on the port that the first had. */
  const start = (folder: string, port: number) =>
    Place.start({ folder, environment: { FITZ_HTTP_PORT: String(port), FITZ_DRAIN_GRACE_SECONDS: "1" } })

  test.each(["SIGTERM", "SIGKILL"] as const)("D-3 L-7 Q-21 SC-13 ST-27: %s", async signal => {
    const folder = newFolder()
    let current = await start(folder, 0)
    const { port } = current.broker
    try {
      const [follower, worker] = [new Persistent("ws", () => port), new Persistent("tcp", () => port)]
      await follower.register(caller => caller.notice.subscribe(routes.notice))
      await follower.register(caller => caller.stream.subscribe(routes.stream))
      await worker.register(caller => caller.rpc.register(routes.rpc))
      let fence = 0
      const completed: string[] = []
      for (let round = 0; round < 3; round++) {
        const [a, b] = [await current.open("tcp"), await current.open("ws")]
        const [listener, server] = [await follower.connection(), await worker.connection()]

        // What the programs had before the last restart.
        const known = await a.kv.begin(routes.kv, "write")
        const { pairs } = await a.kv.scan(known, routes.kv)
        expect(pairs.map(String)).toEqual(Array.from({ length: round }, (_, n) => `${n},kept ${n}`))
        await a.kv.put(known, routes.kv, String(round), `kept ${round}`)
        await a.kv.commit(known, routes.kv)
        const lost = await a.kv.begin(routes.kv, "write")
        await a.kv.put(lost, routes.kv, "lost", "never committed")

        expect(await b.queue.enqueue(routes.queue, `held ${round}`)).toBeGreaterThan(2 * round)
        await b.queue.enqueue(routes.queue, `done ${round}`)
        const items = await a.queue.reserve(routes.queue, { batch: 10, lease: 600 })
        expect(items.map(({ body }) => String(body))).toEqual([
          ...Array.from({ length: round + 1 }, (_, n) => `held ${n}`),
          `done ${round}`,
        ])
        const done = items.at(-1)!
        await a.queue.complete(routes.queue, done.id, done.token)
        completed.push(String(done.body))

        const lease = await a.lease.acquire(routes.lease, 600)
        expect([lease.kind, lease.token > fence]).toEqual([0, true])
        fence = lease.token

        const session = await a.stream.begin(routes.stream)
        expect(await a.stream.append(session, round, `event ${round}`)).toBe(round)
        await a.stream.commit(session)
        const open = await a.stream.begin(routes.stream)
        await a.stream.append(open, round + 1, "never committed")
        expect((await a.stream.metadata(routes.stream)).count).toBe(round + 1)

        expect((await a.schedule.list()).total).toBe(round === 0 ? 0 : 1)
        await a.schedule.create(routes.schedule, "0 0 1 1 *", "single", String(round))

        // The registrations were made again.
        expect(await listener.stream.next()).toMatchObject({ notice: { first_resource_offset: round } })
        b.notice.publish(routes.notice, `round ${round}`)
        expect(String((await listener.notice.next()).body)).toBe(`round ${round}`)
        const id = correlation()
        b.rpc.call(id, routes.rpc, "")
        expect((await server.rpc.take()).correlation).toEqual(id)

        const parked = b.queue.reserve("queue://r/a/empty", { wait: 30 }).catch(String)
        const ended = current.broker.kill(signal)
        // In a drain a parked reserve is answered; a killed broker answers nothing.
        if (signal === "SIGTERM") expect(await parked).toEqual([])
        else expect(await parked).toContain("closed")
        // Draining waits for programs; these go by themselves once the reserve is answered.
        if (signal === "SIGTERM") await Promise.all([a.close(), b.close()])
        expect(await ended).toBe(signal === "SIGTERM" ? 0 : "SIGKILL")
        current = await start(folder, port)
      }
      const a = await current.open("tcp")
      const left = await a.queue.reserve(routes.queue, { batch: 20 })
      expect(left.map(({ body }) => String(body))).toEqual(["held 0", "held 1", "held 2"])
      expect(completed).toEqual(["done 0", "done 1", "done 2"])
      expect((await a.schedule.list()).entries).toMatchObject([{ payload: Buffer.from("2") }])
      await Promise.all([follower.close(), worker.close()])
    } finally {
      await current.stop()
      removeFolder(folder)
    }
  })

  test("O-7: under SIGKILL, what was acknowledged is there and what is there was asked for", async () => {
    const folder = newFolder()
    let current = await start(folder, 0)
    try {
      const asked = new Map<string, number>()
      const acknowledged = new Map<string, number>()
      const events: string[] = []
      for (let round = 0; round < 3; round++) {
        const programs = await Promise.all([current.open("tcp"), current.open("ws")])
        const work: Promise<unknown>[] = []
        for (const [p, program] of programs.entries()) {
          for (let n = 0; n < 200; n++) {
            const body = `${round}.${p}.${n}`
            asked.set(body, 0)
            work.push(program.queue.enqueue(routes.queue, body).then(id => acknowledged.set(body, id), lost))
          }
        }
        const [writer] = programs
        const session = await writer.stream.begin(routes.stream)
        const next = (await writer.stream.metadata(routes.stream)).count
        for (let n = 0; n < 5; n++)
          work.push(writer.stream.append(session, next + n, `${round}.${n}`).catch(lost))
        work.push(writer.stream.commit(session).then(() => events.push(String(round)), lost))
        await work[round * 60]
        await current.broker.kill("SIGKILL")
        await Promise.all(work)
        current = await start(folder, 0)
      }
      const a = await current.open("tcp")
      const found = new Map<string, number>()
      for (;;) {
        const items = await a.queue.reserve(routes.queue, { batch: 1_024, lease: 600 })
        for (const { id, body } of items) {
          expect(found.has(String(body)), `${body} twice`).toBe(false)
          found.set(String(body), id)
        }
        if (items.length === 0) break
      }
      for (const [body, id] of acknowledged) expect(found.get(body), body).toBe(id)
      for (const body of found.keys()) expect(asked.has(body), body).toBe(true)
      expect(new Set(found.values()).size).toBe(found.size)
      const { items } = await a.stream.read(routes.stream, 0, 1_000)
      const bodies = items.map(item => ("event" in item ? String(item.event.body) : "hidden"))
      // Whole batches only, and those that were acknowledged in any case.
      expect(bodies.length % 5).toBe(0)
      for (const round of events) expect(bodies).toContain(`${round}.0`)
    } finally {
      await current.stop()
      removeFolder(folder)
    }
  })
})
