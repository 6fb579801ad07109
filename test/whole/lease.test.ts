// Leases as programs compete for them: real brokers, real sockets, all four ways in. The one thing that may
// never be seen is two holders at once, or a fencing token that does not rise.

import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { fresh, Places, WAYS } from "../kit/ways.ts"

let places: Places
beforeAll(async () => {
  places = await Places.start()
})
afterAll(() => places.stop())

const [ACQUIRED, ALREADY_HELD, QUEUED, ALREADY_QUEUED] = [0, 1, 2, 3]

describe.concurrent.each(WAYS)("lease over $transport, auth $auth", way => {
  test("L-1 L-3 L-4 L-5: one holder at a time; the holder may ask again, others are refused", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("lease")
    const held = await a.lease.acquire(route, 60)
    expect(held.kind).toBe(ACQUIRED)
    expect(held.token).toBeGreaterThan(0)
    expect(await a.lease.acquire(route, 60)).toEqual({ kind: ALREADY_HELD, token: held.token })
    await expect(b.lease.acquire(route, 60)).rejects.toMatchObject({ code: 5001 })
    // Within one session the owner's name tells owners apart; two sessions never share one.
    await expect(a.lease.acquire(route, 60, 0, "another")).rejects.toMatchObject({ code: 5001 })
    await a.lease.release(route, held.token)
    const next = await b.lease.acquire(route, 60)
    expect(next.kind).toBe(ACQUIRED)
    expect(next.token).toBeGreaterThan(held.token)
  })

  test("L-15: QUERY tells the holder, the time left and who waits", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("lease")
    expect(await b.lease.query(route)).toEqual({ holder: null, waiters: 0 })
    await a.lease.acquire(route, 60, 0, "worker 7")
    const state = await b.lease.query(route)
    expect(state).toMatchObject({ holder: { owner: "worker 7" }, waiters: 0 })
    expect(state.holder!.ttlLeft).toBeGreaterThan(30)
    expect(state.holder!.ttlLeft).toBeLessThanOrEqual(60)
    expect((await b.lease.acquire(route, 60, 30)).kind).toBe(QUEUED)
    expect((await a.lease.query(route)).waiters).toBe(1)
  })

  test("L-11 L-12 L-13: RENEW keeps the token; each kind of failure has its code", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("lease")
    await expect(a.lease.renew(route, 1, 60)).rejects.toMatchObject({ code: 5004 })
    const { token } = await a.lease.acquire(route, 5)
    expect(await a.lease.renew(route, token, 1_000)).toBe(token)
    expect((await b.lease.query(route)).holder!.ttlLeft).toBeGreaterThan(900)
    await expect(a.lease.renew(route, token + 1, 60)).rejects.toMatchObject({ code: 5002 })
    await expect(b.lease.renew(route, token, 60)).rejects.toMatchObject({ code: 5004 })
    await expect(a.lease.renew(route, token, 0)).rejects.toMatchObject({ code: 5008 })
    await expect(a.lease.renew(route, token, 2n ** 64n - 1n)).rejects.toMatchObject({ code: 5008 })
    await expect(b.lease.release(route, token)).rejects.toMatchObject({ code: 5004 })
    await expect(a.lease.release(route, token + 1)).rejects.toMatchObject({ code: 5002 })
    await a.lease.release(route, token)
    await a.lease.release(route, token)
    await b.lease.release(fresh("lease"), 7)
  })

  test("L-3 L-12: a lease that runs out is free, and its holder learns that it expired", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("lease")
    const { token } = await a.lease.acquire(route, 1)
    const id = await b.lease.subscribe(route)
    expect(await b.lease.next()).toEqual({ subscription: id, route, rest: 0 })
    expect(await b.lease.query(route)).toEqual({ holder: null, waiters: 0 })
    await expect(a.lease.renew(route, token, 60)).rejects.toMatchObject({ code: 5003 })
    await a.lease.release(route, token)
    expect((await b.lease.acquire(route, 60)).token).toBeGreaterThan(token)
    await expect(a.lease.renew(route, token, 60)).rejects.toMatchObject({ code: 5004 })
  })

  test("L-6 L-7 L-8 L-14: waiters are served in line, each with one final frame", async () => {
    const route = fresh("lease")
    const [a, b, c] = [await places.open(way), await places.open(way), await places.open(way)]
    const { token } = await a.lease.acquire(route, 60)
    const waitB = await b.lease.acquire(route, 60, 30)
    expect(waitB.kind).toBe(QUEUED)
    expect(await b.lease.acquire(route, 60, 30)).toEqual({ kind: ALREADY_QUEUED, token: waitB.token })
    const waitC = await c.lease.acquire(route, 60, 30)
    expect(waitC.kind).toBe(QUEUED)
    await a.lease.release(route, token)
    expect(await b.lease.granted()).toEqual({ kind: ACQUIRED, token: waitB.token })
    expect([waitB.token > token, waitC.token > waitB.token]).toEqual([true, true])
    await c.settle()
    expect(c.unread(400)).toEqual([])
    // A holder that vanishes passes the lease on.
    b.wire.cut()
    expect(await c.lease.granted()).toEqual({ kind: ACQUIRED, token: waitC.token })
    await c.settle()
    expect([...b.unread(400), ...c.unread(400)]).toEqual([])
  })

  test("L-14: expiry grants to whoever waits, with its own time from then on", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("lease")
    await a.lease.acquire(route, 1)
    const { token } = await b.lease.acquire(route, 500, 30)
    expect(await b.lease.granted()).toEqual({ kind: ACQUIRED, token })
    expect((await a.lease.query(route)).holder!.ttlLeft).toBeGreaterThan(450)
  })

  test("L-8: a wait that is over ends with 5006; a waiter that is gone is passed over", async () => {
    const [a, b, c] = [await places.open(way), await places.open(way), await places.open(way)]
    const route = fresh("lease")
    const { token } = await a.lease.acquire(route, 60)
    expect((await b.lease.acquire(route, 60, 1)).kind).toBe(QUEUED)
    await expect(b.lease.granted()).rejects.toMatchObject({ code: 5006 })
    expect((await b.lease.acquire(route, 60, 30)).kind).toBe(QUEUED)
    expect((await c.lease.acquire(route, 60, 30)).kind).toBe(QUEUED)
    await b.close()
    await a.lease.release(route, token)
    expect((await c.lease.granted()).kind).toBe(ACQUIRED)
  })

  test("L-9: at most 100 wait for one lease", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("lease")
    await a.lease.acquire(route, 60)
    for (let n = 0; n < 100; n++)
      expect((await b.lease.acquire(route, 60, 30, `owner ${n}`)).kind).toBe(QUEUED)
    await expect(b.lease.acquire(route, 60, 30, "one more")).rejects.toMatchObject({ code: 5007 })
    expect((await a.lease.query(route)).waiters).toBe(100)
    await b.close()
  })

  test("L-2 L-9 L-10: times out of range and routes that are none are refused by code", async () => {
    const a = await places.open(way)
    const route = fresh("lease")
    await expect(a.lease.acquire(route, 0)).rejects.toMatchObject({ code: 5008 })
    await expect(a.lease.acquire(route, 2n ** 64n - 1n)).rejects.toMatchObject({ code: 5008 })
    await expect(a.lease.acquire(route, 60, 31)).rejects.toMatchObject({ code: 5008 })
    await expect(a.lease.acquire("lease://a/b", 60)).rejects.toMatchObject({ code: 5008 })
    await expect(a.lease.acquire("lease://a/b/*", 60)).rejects.toMatchObject({ code: 5008 })
    await expect(a.lease.subscribe("lease://a")).rejects.toMatchObject({ code: 5010 })
    expect(await a.lease.query(route)).toEqual({ holder: null, waiters: 0 })
    // A wait that is left out is none.
    expect((await a.lease.acquire(route, 60, undefined)).kind).toBe(ACQUIRED)
  })

  test("L-16: followers hear of every change of holder, under the route as they wrote it", async () => {
    const [a, b, follower] = [await places.open(way), await places.open(way), await places.open(way)]
    const route = fresh("lease")
    const id = await follower.lease.subscribe(route)
    expect(await follower.lease.subscribe(route)).toBe(id)
    const heard = { subscription: id, route, rest: 0 }
    const { token } = await a.lease.acquire(route, 60)
    expect(await follower.lease.next()).toEqual(heard)
    await a.lease.renew(route, token, 60)
    await a.lease.acquire(route, 60)
    await b.lease.acquire(route, 60, 30)
    await follower.settle()
    expect(follower.unread(409)).toEqual([])
    await a.close()
    expect(await follower.lease.next()).toEqual(heard)
    const grant = await b.lease.granted()
    await b.lease.release(route, grant.token)
    expect(await follower.lease.next()).toEqual(heard)
    await follower.lease.unsubscribe(route)
    await follower.lease.unsubscribe(route)
    await b.lease.acquire(route, 60)
    await follower.settle()
    expect(follower.unread(409)).toEqual([])
  })
})
