// Four programs at once, two over each transport, on the same routes: what must hold whoever comes first. Each
// test keeps its own record of what happened and compares it with what was promised; no order is assumed.

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest"
import { lost, unlessRefused } from "../kit/patience.ts"
import { correlation, fresh, Place, type Program } from "../kit/ways.ts"

let place: Place
let programs: readonly Program[]
beforeAll(async () => {
  place = await Place.start()
})
afterAll(() => place.stop())
beforeEach(async () => {
  programs = await Promise.all((["tcp", "ws", "tcp", "ws"] as const).map(transport => place.open(transport)))
})
afterEach(async () => {
  await Promise.all(programs.map(program => program.close()))
})

/** Lets all four work at once, each knowing its number. */
function all(work: (program: Program, n: number) => Promise<void>): Promise<unknown> {
  return Promise.all(programs.map(work))
}

/** Messages from everybody for everybody; returns who completed what. */
async function compete(route: string, each: number, lease: number): Promise<Map<number, number>> {
  const completed = new Map<number, number>()
  const held = new Set<number>()
  const wanted = each * programs.length
  await all(async (program, n) => {
    const sending = Promise.all(
      Array.from({ length: each }, (_, i) => program.queue.enqueue(route, `${n}.${i}`)),
    )
    while (completed.size < wanted) {
      const items = await program.queue.reserve(route, { batch: 1 + ((n * 7) % 5), lease, wait: 1 })
      for (const { id } of items) {
        expect(held.has(id), `message ${id} is out twice`).toBe(false)
        held.add(id)
      }
      for (const { id, token } of items) {
        await program.queue.complete(route, id, token)
        completed.set(id, (completed.get(id) ?? 0) + 1)
      }
    }
    await sending
  })
  return completed
}

test("Q-25 Q-2: a message is out once and completed once, whoever competes for it", async () => {
  const completed = await compete(fresh("queue"), 500, 600)
  expect(completed.size).toBe(2_000)
  expect(new Set(completed.values())).toEqual(new Set([1]))
  expect(Math.max(...completed.keys())).toBe(2_000)
})

test("Q-25 Q-24: nor is any lost or done twice when programs come and go", async () => {
  const route = fresh("queue")
  const WANTED = 600
  const completed = new Map<number, number>()
  let cuts = 0
  await Promise.all(
    Array.from({ length: WANTED }, (_, n) => programs[n % 4]!.queue.enqueue(route, String(n))),
  )
  await Promise.all(
    (["tcp", "ws", "tcp", "ws"] as const).map(async (transport, n) => {
      let program = await place.open(transport)
      for (let round = 0; completed.size < WANTED; round++) {
        const items = await program.queue.reserve(route, { batch: 5, lease: 600, wait: 1 })
        if (items.length > 1 && cuts < 24 && round % 4 === n) {
          // Some are done, some are not; what was not goes to others.
          const [{ id, token }] = items as [(typeof items)[0]]
          await program.queue.complete(route, id, token)
          completed.set(id, (completed.get(id) ?? 0) + 1)
          cuts++
          program.wire.cut()
          await program.closed
          program = await place.open(transport)
          continue
        }
        for (const { id, token } of items) {
          await program.queue.complete(route, id, token)
          completed.set(id, (completed.get(id) ?? 0) + 1)
        }
      }
      await program.close()
    }),
  )
  expect(cuts).toBeGreaterThan(4)
  expect(completed.size).toBe(WANTED)
  expect(new Set(completed.values())).toEqual(new Set([1]))
})

test("L-1 L-6 L-7: one holder at a time, with tokens that only rise", async () => {
  const route = fresh("lease")
  let holder: number | null = null
  let last = 0
  let grants = 0
  await all(async (program, n) => {
    for (let turn = 0; turn < 150; turn++) {
      // Every third time it does not care to wait.
      const asked = await unlessRefused(program.lease.acquire(route, 60, turn % 3 === 0 ? 0 : 30))
      if (asked === null) continue
      const { token } = asked.kind === 2 ? await program.lease.granted() : asked
      expect(holder).toBeNull()
      expect(token).toBeGreaterThan(last)
      holder = n
      last = token
      grants++
      expect(await program.lease.renew(route, token, 60)).toBe(token)
      expect((await program.lease.query(route)).holder).not.toBeNull()
      expect(holder).toBe(n)
      holder = null
      await program.lease.release(route, token)
    }
  })
  expect(grants).toBeGreaterThan(400)
  expect((await programs[0]!.lease.query(route)).holder).toBeNull()
})

test("L-14: the same when holders vanish instead of releasing", async () => {
  const route = fresh("lease")
  let last = 0
  const grants: number[] = []
  await Promise.all(
    (["tcp", "ws", "tcp", "ws"] as const).map(async transport => {
      for (let turn = 0; turn < 15; turn++) {
        const program = await place.open(transport)
        const asked = await program.lease.acquire(route, 600, 30)
        const { token } = asked.kind === 2 ? await program.lease.granted() : asked
        expect(token).toBeGreaterThan(last)
        last = token
        grants.push(token)
        program.wire.cut()
        await program.closed
      }
    }),
  )
  expect(grants.length).toBe(60)
})

test("KV-3 KV-4 KV-13: writers that conflict lose nothing, and readers never see half a commit", async () => {
  const route = fresh("kv")
  const ACCOUNTS = 8
  const TOTAL = 8_000
  const [first] = programs as [Program]
  const opening = await first.kv.begin(route, "write")
  for (let n = 0; n < ACCOUNTS; n++)
    await first.kv.put(opening, route, `account ${n}`, String(TOTAL / ACCOUNTS))
  await first.kv.commit(opening, route)
  let commits = 0
  let conflicts = 0
  let writing = programs.length
  await all(async (program, n) => {
    for (let done = 0; done < 60; ) {
      const tx = await unlessRefused(program.kv.begin(route, "write", done % 10 === 0))
      if (tx === null) {
        conflicts++
        // Meanwhile a look at what is committed: always the same sum, from one moment.
        const reader = await program.kv.begin(route, "read")
        const { pairs } = await program.kv.scan(reader, route, { start: "account" })
        const sum = pairs
          .filter(([key]) => key.includes("account"))
          .reduce((all, [, v]) => all + Number(v), 0)
        expect(sum).toBe(TOTAL)
        await program.kv.commit(reader, route)
        continue
      }
      const [from, to] = [(n + done) % ACCOUNTS, (n * 3 + done * 5 + 1) % ACCOUNTS]
      const read = async (key: string): Promise<number> => Number(await program.kv.get(tx, route, key))
      if (from !== to) {
        const amount = 1 + (done % 7)
        const [a, b] = [await read(`account ${from}`), await read(`account ${to}`)]
        await program.kv.put(tx, route, `account ${from}`, String(a - amount))
        await program.kv.put(tx, route, `account ${to}`, String(b + amount))
      }
      await program.kv.put(tx, route, "count", String((await read("count")) + 1))
      if (done % 9 === 8) await program.kv.rollback(tx, route)
      else {
        await program.kv.commit(tx, route)
        commits++
      }
      done++
    }
    writing--
  })
  expect(writing).toBe(0)
  expect(conflicts).toBeGreaterThan(0)
  const reader = await first.kv.begin(route, "read")
  expect(Number(await first.kv.get(reader, route, "count"))).toBe(commits)
})

test("N-2 N-3: a broadcast from everybody reaches everybody, in each publisher's order", async () => {
  const route = fresh("notice")
  const EACH = 1_000
  const ids = await Promise.all(programs.map(program => program.notice.subscribe(`${route}/**`)))
  expect(new Set(ids).size).toBe(4)
  const heard = programs.map(() => [0, 0, 0, 0])
  await Promise.all([
    ...programs.map(async (program, n) => {
      for (let i = 0; i < EACH; i++) {
        program.notice.publish(`${route}/from/${n}`, String(i))
        if (i % 100 === 99) await program.settle()
      }
    }),
    ...programs.map(async (program, n) => {
      for (let i = 0; i < EACH * programs.length; i++) {
        const { route: from, body, subscription } = await program.notice.next()
        const publisher = Number(from.at(-1))
        expect(subscription).toBe(ids[n])
        expect(Number(String(body))).toBe(heard[n]![publisher]!)
        heard[n]![publisher]!++
      }
    }),
  ])
  expect(heard.flat()).toEqual(Array.from({ length: 16 }, () => EACH))
  await all(program => program.settle())
  for (const program of programs) expect(program.unread(504)).toEqual([])
})

test("RPC-2 RPC-7 RPC-14: with several workers every call is answered once, and all work alike", async () => {
  const route = fresh("rpc")
  const EACH = 300
  const served = [0, 0, 0]
  const workers = await Promise.all((["tcp", "ws", "tcp"] as const).map(transport => place.open(transport)))
  const working = workers.map(async (worker, n) => {
    await worker.rpc.register(n === 2 ? `${route}/**` : route, 8)
    for (;;) {
      const { correlation, body } = await worker.rpc.take()
      served[n]!++
      worker.rpc.reply(correlation, 0, false, `${n}:`)
      worker.rpc.reply(correlation, 1, true, body)
    }
  })
  const ended = working.map(work => work.catch(lost))
  await Promise.all(workers.map(worker => worker.settle()))
  await all(async (program, n) => {
    for (let i = 0; i < EACH; i++) {
      const id = correlation()
      program.rpc.call(id, route, `${n}.${i}`)
      const [first, second] = [await program.rpc.answer(), await program.rpc.answer()]
      expect([first.correlation, second.correlation]).toEqual([id, id])
      expect([first.last, second.last, String(second.body)]).toEqual([false, true, `${n}.${i}`])
    }
    expect(program.unread(303)).toEqual([])
  })
  // Credit never ran out, so the turns went round exactly.
  expect(served).toEqual([400, 400, 400])
  await Promise.all(workers.map(worker => worker.close()))
  await Promise.all(ended)
})

test("RPC-5 RPC-14: the same when there are more calls than credit", async () => {
  const route = fresh("rpc")
  const EACH = 200
  const workers = await Promise.all((["ws", "tcp"] as const).map(transport => place.open(transport)))
  const busy = [0, 0]
  const ended = workers.map(async (worker, n) => {
    await worker.rpc.register(route, 3)
    const work = async (): Promise<never> => {
      for (;;) {
        const { correlation, body } = await worker.rpc.take()
        expect(++busy[n]!).toBeLessThanOrEqual(3)
        await worker.lease.query(fresh("lease"))
        busy[n]!--
        worker.rpc.reply(correlation, 0, true, body)
      }
    }
    await Promise.all([work(), work(), work()]).catch(lost)
  })
  await Promise.all(workers.map(worker => worker.settle()))
  await all(async (program, n) => {
    const open = new Map<string, string>()
    for (let i = 0; i < EACH; i++) {
      const id = correlation()
      open.set(id.toString("hex"), `${n}.${i}`)
      program.rpc.call(id, route, `${n}.${i}`)
    }
    while (open.size > 0) {
      const { correlation, body, fault } = await program.rpc.answer()
      expect([fault, String(body)]).toEqual([null, open.get(correlation.toString("hex"))])
      open.delete(correlation.toString("hex"))
    }
  })
  await Promise.all(workers.map(worker => worker.close()))
  await Promise.all(ended)
})

test("ST-1 ST-4 ST-5 ST-7: appends that conflict leave one log without gaps, doubles or losses", async () => {
  const realm = fresh("stream", 1)
  const [shared, other] = [`${realm}/a/shared`, `${realm}/a/other`]
  const committed = new Set<string>()
  let busy = 0
  let late = 0
  await all(async (program, n) => {
    for (let done = 0; done < 60; ) {
      const route = done % 4 === n ? other : shared
      // Asked before the session is open, so that another's commit may come between.
      const expected = (await program.stream.metadata(route)).count
      const session = await unlessRefused(program.stream.begin(route))
      if (session === null) {
        busy++
        continue
      }
      const bodies = Array.from({ length: 1 + (done % 3) }, (_, i) => `${n}.${done}.${i}`)
      let refused = false
      for (const [i, body] of bodies.entries())
        if ((await unlessRefused(program.stream.append(session, expected + i, body))) === null) refused = true
      if (refused) {
        late++
        await program.stream.rollback(session)
        continue
      }
      await program.stream.commit(session, done % 2 === 0)
      for (const body of bodies) committed.add(body)
      done++
    }
  })
  expect(busy + late).toBeGreaterThan(0)
  const [reader] = programs as [Program]
  const read = async (selector: string) => {
    const items = []
    for (let from = 0; ; ) {
      const page = await reader.stream.read(selector, from, 200)
      items.push(...page.items)
      if (!page.more) return items
      from += page.items.length
    }
  }
  const events = await read(`${realm}/a/*`)
  const bodies = events.map(item => ("event" in item ? String(item.event.body) : "hidden"))
  expect(new Set(bodies)).toEqual(committed)
  expect(bodies.length).toBe(committed.size)
  // Contiguous on every axis, and each writer's events in the order of its commits.
  for (const [at, item] of events.entries()) if ("event" in item) expect(item.event.area).toBe(at)
  for (const route of [shared, other]) {
    const own = await read(route)
    expect(own.map(item => ("event" in item ? item.event.offset : -1))).toEqual(own.map((_, n) => n))
  }
  for (let n = 0; n < 4; n++) {
    const turns = bodies.filter(body => body.startsWith(`${n}.`)).map(body => Number(body.split(".")[1]))
    expect(turns).toEqual([...turns].sort((a, b) => a - b))
  }
})

test("O-2 O-4 O-5: all of it at once on the same connections", async () => {
  const routes = Object.fromEntries(
    ["kv", "queue", "rpc", "lease", "notice", "stream"].map(scheme => [scheme, fresh(scheme)]),
  ) as Record<"kv" | "queue" | "rpc" | "lease" | "notice" | "stream", string>
  const EACH = 60
  await all(async program => {
    await program.notice.subscribe(routes.notice)
    await program.rpc.register(routes.rpc, 100)
  })
  let holder: number | null = null
  const counts = { commits: 0, completed: 0, notices: 0, answers: 0, grants: 0, events: 0 }
  await all(async (program, n) => {
    const queues = async (): Promise<void> => {
      for (let i = 0; i < EACH; i++) {
        await program.queue.enqueue(routes.queue, `${n}.${i}`)
        const [item] = await program.queue.reserve(routes.queue, { wait: 30 })
        await program.queue.complete(routes.queue, item!.id, item!.token)
        counts.completed++
      }
    }
    const notices = async (): Promise<void> => {
      for (let i = 0; i < EACH; i++) program.notice.publish(routes.notice, String(i))
      for (let i = 0; i < EACH * 4; i++) {
        await program.notice.next()
        counts.notices++
      }
    }
    const worker = async (): Promise<void> => {
      for (let i = 0; i < EACH; i++) {
        const { correlation, body } = await program.rpc.take()
        program.rpc.reply(correlation, 0, true, body)
      }
    }
    const calls = async (): Promise<void> => {
      for (let i = 0; i < EACH; i++) program.rpc.call(correlation(), routes.rpc, String(i))
      for (let i = 0; i < EACH; i++) {
        expect((await program.rpc.answer()).fault).toBeNull()
        counts.answers++
      }
    }
    const leases = async (): Promise<void> => {
      for (let i = 0; i < EACH; i++) {
        const asked = await program.lease.acquire(routes.lease, 60, 30)
        const { token } = asked.kind === 2 ? await program.lease.granted() : asked
        expect(holder).toBeNull()
        holder = n
        await program.settle()
        holder = null
        await program.lease.release(routes.lease, token)
        counts.grants++
      }
    }
    const pairs = async (): Promise<void> => {
      for (let i = 0; i < EACH; ) {
        const tx = await unlessRefused(program.kv.begin(routes.kv, "write", false))
        if (tx === null) continue
        const before = Number((await program.kv.get(tx, routes.kv, "n")) ?? 0)
        await program.kv.put(tx, routes.kv, "n", String(before + 1))
        await program.kv.commit(tx, routes.kv)
        counts.commits++
        i++
      }
    }
    const streams = async (): Promise<void> => {
      for (let i = 0; i < EACH; ) {
        const session = await unlessRefused(program.stream.begin(routes.stream))
        if (session === null) continue
        const { count } = await program.stream.metadata(routes.stream)
        await program.stream.append(session, count, `${n}.${i}`)
        await program.stream.commit(session, false)
        counts.events++
        i++
      }
    }
    await Promise.all([queues(), notices(), worker(), calls(), leases(), pairs(), streams()])
  })
  expect(counts).toEqual({
    commits: 240,
    completed: 240,
    notices: 960,
    answers: 240,
    grants: 240,
    events: 240,
  })
  const [a] = programs as [Program]
  const tx = await a.kv.begin(routes.kv, "read")
  expect(String(await a.kv.get(tx, routes.kv, "n"))).toBe("240")
  expect((await a.stream.metadata(routes.stream)).count).toBe(240)
})
