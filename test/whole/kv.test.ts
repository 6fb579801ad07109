// KV as a program meets it: real brokers, real sockets, all four ways in. Says nothing of what the store does
// inside; restarts are in reconnect.test.ts.

import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { block, bytes, u8, u64 } from "../kit/bytes.ts"
import { Refused } from "../kit/caller.ts"
import { unlessRefused, until } from "../kit/patience.ts"
import { fresh, Places, WAYS } from "../kit/ways.ts"

let places: Places
beforeAll(async () => {
  places = await Places.start()
})
afterAll(() => places.stop())

describe.concurrent.each(WAYS)("kv over $transport, auth $auth", way => {
  test("KV-4 KV-5 KV-12: what is committed is seen by others, and only then", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("kv")
    const tx = await a.kv.begin(route, "write")
    await a.kv.put(tx, route, "k", "one")
    await a.kv.put(tx, route, "", "under the empty key")
    expect(String(await a.kv.get(tx, route, "k"))).toBe("one")
    const before = await b.kv.begin(route, "read")
    expect(await b.kv.get(before, route, "k")).toBeNull()
    await a.kv.commit(tx, route)
    // A reader keeps what it saw when it began.
    expect(await b.kv.get(before, route, "k")).toBeNull()
    const after = await b.kv.begin(route, "read")
    expect(String(await b.kv.get(after, route, "k"))).toBe("one")
    expect(String(await b.kv.get(after, route, ""))).toBe("under the empty key")
  })

  test("KV-3 D-1: one writer per resource; a second fails at once, from whatever session", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("kv")
    const first = await a.kv.begin(route, "write")
    await expect(a.kv.begin(route, "write")).rejects.toThrow(Refused)
    await expect(b.kv.begin(route, "write")).rejects.toThrow(Refused)
    await a.kv.rollback(first, route)
    const second = await b.kv.begin(route, "write")
    await b.kv.commit(second, route)
    const third = await a.kv.begin(route, "write")
    await a.close()
    // The lock goes with the connection, and so does what was not committed.
    await until(
      "the lock",
      () => unlessRefused(b.kv.begin(route, "write")),
      tx => tx !== null,
    )
    await expect(b.kv.put(third, route, "k", "v")).rejects.toThrow(Refused)
  })

  test("KV-19: the failure of a BEGIN is at least nine bytes long", async () => {
    const a = await places.open(way)
    const route = fresh("kv")
    await a.kv.begin(route, "write")
    const reply = await a.ask(100, bytes(block(route), u8(1), u8(1)))
    expect(reply[0]).toBe(1)
    expect(reply.length).toBeGreaterThanOrEqual(9)
  })

  test("KV-6 KV-7 KV-8: a refused write leaves its transaction usable", async () => {
    const a = await places.open(way)
    const route = fresh("kv")
    const tx = await a.kv.begin(route, "write")
    await a.kv.insert(tx, route, "k", "first")
    await expect(a.kv.insert(tx, route, "k", "second")).rejects.toThrow(Refused)
    await expect(a.kv.deleteRange(tx, route, "b", "a")).rejects.toThrow(Refused)
    await expect(a.kv.deleteRange(tx, route, "a", "a")).rejects.toThrow(Refused)
    await a.kv.put(tx, route, "l", "third")
    await a.kv.commit(tx, route)
    const reader = await a.kv.begin(route, "read")
    for (const refused of [
      a.kv.put(reader, route, "k", "x"),
      a.kv.insert(reader, route, "n", "x"),
      a.kv.delete(reader, route, "k"),
      a.kv.deleteRange(reader, route, "a", "z"),
    ])
      await expect(refused).rejects.toThrow(Refused)
    expect(String(await a.kv.get(reader, route, "k"))).toBe("first")
    expect(String(await a.kv.get(reader, route, "l"))).toBe("third")
  })

  test("KV-7 KV-8: DELETE and DELETE_RANGE", async () => {
    const a = await places.open(way)
    const route = fresh("kv")
    const tx = await a.kv.begin(route, "write")
    for (const key of ["a", "b", "c", "d"]) await a.kv.put(tx, route, key, key)
    await a.kv.commit(tx, route)
    const next = await a.kv.begin(route, "write")
    await a.kv.delete(next, route, "never there")
    await a.kv.delete(next, route, "d")
    await a.kv.deleteRange(next, route, "a", "c")
    await a.kv.insert(next, route, "a", "again")
    const { pairs } = await a.kv.scan(next, route)
    expect(pairs.map(String)).toEqual(["a,again", "c,c"])
    await a.kv.commit(next, route)
    const reader = await a.kv.begin(route, "read")
    expect((await a.kv.scan(reader, route)).pairs.map(String)).toEqual(["a,again", "c,c"])
  })

  test("KV-9 KV-10 KV-12: SCAN in byte order, within bounds, both ways", async () => {
    const a = await places.open(way)
    const route = fresh("kv")
    const keys = [Buffer.of(), Buffer.of(0), Buffer.of(0, 1), Buffer.of(1), Buffer.of(0x7f), Buffer.of(0xff)]
    const tx = await a.kv.begin(route, "write")
    for (const key of [...keys].reverse()) await a.kv.put(tx, route, key, key)
    const at = async (options: Parameters<typeof a.kv.scan>[2]) => {
      const { pairs, more } = await a.kv.scan(tx, route, options)
      return { at: pairs.map(([key]) => keys.findIndex(known => known.equals(key))), more }
    }
    const [k1, k4] = [keys[1]!, keys[4]!]
    expect(await at({})).toEqual({ at: [0, 1, 2, 3, 4, 5], more: false })
    expect(await at({ start: k1, end: k4 })).toEqual({ at: [1, 2, 3], more: false })
    expect(await at({ limit: 2 })).toEqual({ at: [0, 1], more: true })
    expect(await at({ limit: 6 })).toEqual({ at: [0, 1, 2, 3, 4, 5], more: false })
    expect(await at({ limit: 0 })).toEqual({ at: [0, 1, 2, 3, 4, 5], more: false })
    expect(await at({ reverse: true })).toEqual({ at: [5, 4, 3, 2, 1, 0], more: false })
    // Backwards, start is the upper bound and inclusive, end the lower one and exclusive.
    expect(await at({ start: k4, end: k1, reverse: true })).toEqual({ at: [4, 3, 2], more: false })
    expect(await at({ start: k4, end: k1 })).toEqual({ at: [], more: false })
    expect(await at({ start: k1, end: k1 })).toEqual({ at: [], more: false })
  })

  test("KV-11: a SCAN page stops at 1,024 pairs or where the frame is full", async () => {
    const a = await places.open(way)
    const route = fresh("kv")
    const tx = await a.kv.begin(route, "write")
    const key = (n: number): string => String(n).padStart(6, "0")
    const puts = Array.from({ length: 1_025 }, (_, n) => a.kv.put(tx, route, key(n), ""))
    await Promise.all(puts)
    const full = await a.kv.scan(tx, route)
    expect([full.pairs.length, full.more]).toEqual([1_024, true])
    const rest = await a.kv.scan(tx, route, { start: key(1_024) })
    expect([rest.pairs.length, rest.more]).toEqual([1, false])
    const large = Buffer.alloc(30_000, 7)
    for (const n of [2_000, 2_001, 2_002]) await a.kv.put(tx, route, key(n), large)
    const paged = await a.kv.scan(tx, route, { start: key(2_000) })
    expect([paged.pairs.length, paged.more]).toEqual([2, true])
    const largest = Buffer.alloc(65_535 - 8 - block(route).length - block(key(3_000)).length - 4, 8)
    await a.kv.put(tx, route, key(3_000), largest)
    expect(await a.kv.get(tx, route, key(3_000))).toEqual(largest)
  })

  test("KV-1 KV-16: a handle is its session's, on its own route, until it ends", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const [route, elsewhere] = [fresh("kv"), fresh("kv")]
    const tx = await a.kv.begin(route, "write")
    await expect(b.kv.get(tx, route, "k")).rejects.toThrow(Refused)
    await expect(b.kv.commit(tx, route)).rejects.toThrow(Refused)
    await expect(a.kv.get(tx, elsewhere, "k")).rejects.toThrow(Refused)
    await a.kv.commit(tx, route)
    await expect(a.kv.commit(tx, route)).rejects.toThrow(Refused)
    await expect(a.kv.rollback(tx, route)).rejects.toThrow(Refused)
    await expect(a.kv.get(0, route, "k")).rejects.toThrow(Refused)
  })

  test("O-4: requests of one connection take effect in their order, however many are under way", async () => {
    const a = await places.open(way)
    const route = fresh("kv")
    const tx = await a.kv.begin(route, "write")
    const all: Promise<unknown>[] = []
    for (let n = 0; n < 500; n++) all.push(a.kv.put(tx, route, `k${n % 7}`, String(n)))
    all.push(a.kv.delete(tx, route, "k0"), a.kv.commit(tx, route))
    await Promise.all(all)
    const reader = await a.kv.begin(route, "read")
    const { pairs } = await a.kv.scan(reader, route)
    expect(pairs.map(String)).toEqual(["k1,498", "k2,499", "k3,493", "k4,494", "k5,495", "k6,496"])
  })

  test("R-7: a BEGIN may leave the scheme out; notices carry it", async () => {
    const a = await places.open(way)
    const route = fresh("kv")
    const bare = route.slice("kv://".length)
    const id = await a.kv.subscribe(route)
    const tx = await a.kv.begin(bare, "write")
    await a.kv.put(tx, route, "k", "v")
    await a.kv.commit(tx, bare)
    expect(await a.kv.next()).toEqual({ subscription: id, route, mutations: 1 })
  })

  test("KV-17 S-2 S-3 S-5: a commit that changed something notifies each matching registration once", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("kv")
    const realm = route.split("/").slice(0, 3).join("/")
    const exact = await a.kv.subscribe(route)
    expect(await a.kv.subscribe(route)).toBe(exact)
    const wide = await a.kv.subscribe(`${realm}/**`)
    expect(wide).not.toBe(exact)
    const rolledBack = await b.kv.begin(route, "write")
    await b.kv.put(rolledBack, route, "k", "v")
    await b.kv.rollback(rolledBack, route)
    const empty = await b.kv.begin(route, "write")
    await b.kv.commit(empty, route)
    const tx = await b.kv.begin(route, "write")
    await b.kv.put(tx, route, "k", "v")
    await b.kv.delete(tx, route, "nothing there")
    await expect(b.kv.insert(tx, route, "k", "w")).rejects.toThrow(Refused)
    await b.kv.deleteRange(tx, route, "x", "y")
    await b.kv.commit(tx, route)
    const heard = [await a.kv.next(), await a.kv.next()]
    expect(heard).toEqual([
      { subscription: exact, route, mutations: 3 },
      { subscription: wide, route, mutations: 3 },
    ])
    await a.kv.unsubscribe(route)
    await a.kv.unsubscribe(route)
    await a.kv.unsubscribe(`${realm}/**`)
    const silent = await b.kv.begin(route, "write")
    await b.kv.put(silent, route, "k", "w")
    await b.kv.commit(silent, route)
    await a.settle()
    expect(a.unread(111)).toEqual([])
  })

  test("S-6: a subscription's reply comes before its first notice", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("kv")
    const writing = (async () => {
      for (let n = 0; n < 20; n++) {
        const tx = await b.kv.begin(route, "write")
        await b.kv.put(tx, route, "k", String(n))
        await b.kv.commit(tx, route)
      }
    })()
    const id = await a.kv.subscribe(route)
    await writing
    await a.settle()
    const types = a.received.map(frame => frame.type)
    expect(types.indexOf(111) === -1 || types.indexOf(109) < types.indexOf(111)).toBe(true)
    for (const payload of a.unread(111)) expect(payload.subarray(0, 8)).toEqual(u64(id))
  })

  test("S-9 R-3 R-4: patterns that match no resource are refused, with their code", async () => {
    const a = await places.open(way)
    for (const pattern of [
      "kv://a/b",
      "kv://a/b/c/d",
      "kv://a//c",
      "queue://a/b/c",
      "kv://a/b*/c",
      "kv://**/**",
    ]) {
      await expect(a.kv.subscribe(pattern)).rejects.toMatchObject({ code: 1012 })
      await expect(a.kv.unsubscribe(pattern)).rejects.toMatchObject({ code: 1012 })
    }
    for (const route of ["kv://a/b", "kv://a/b/*", "lease://a/b/c", "kv://a/b/c/"])
      await expect(a.kv.begin(route, "read")).rejects.toThrow(Refused)
  })
})
