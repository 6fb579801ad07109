// Streams as writers and readers meet them: real brokers, real sockets, all four ways in. A reader here goes
// on from its cursor as the public client does, so a cursor that skips or repeats an event is seen.

import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { block, bytes, flag, u8, u32, u64 } from "../kit/bytes.ts"
import { type Page, Refused } from "../kit/caller.ts"
import { unlessRefused, until } from "../kit/patience.ts"
import { fresh, Place, Places, type Program, WAYS } from "../kit/ways.ts"

let places: Places
beforeAll(async () => {
  places = await Places.start()
})
afterAll(() => places.stop())

/** Commits these bodies as one batch and returns their offsets. */
async function append(who: Program, route: string, first: number, ...bodies: string[]): Promise<number[]> {
  const session = await who.stream.begin(route)
  const offsets: number[] = []
  for (const [n, body] of bodies.entries())
    offsets.push(await who.stream.append(session, first + n, body, { discriminator: body.split(" ")[0]! }))
  await who.stream.commit(session)
  return offsets
}

/** What a page shows: bodies, and `hidden n` for what the filter left out. */
function shown(page: Page): string[] {
  return page.items.map(item => ("event" in item ? String(item.event.body) : `hidden ${item.hidden}`))
}

/** Where the public client goes on from, per selector. */
function resume(selector: string, page: Page): bigint {
  const after = (value: bigint): bigint => BigInt.asUintN(64, value + 1n)
  const [realm, area, resource] = selector.slice("stream://".length).split("/")
  if (selector === "stream://**" || selector === "stream://*/*/*")
    return after(page.lastGlobal ?? page.lastResource)
  if (area !== "*" && area !== "**" && resource === "*") return after(page.lastArea ?? page.lastResource)
  if (realm !== "*" && (area === "**" || (area === "*" && resource === "*")))
    return after(page.lastRealm ?? page.lastResource)
  return after(page.lastResource)
}

/** Reads to the end in pages of two and returns what was seen. */
async function readAll(who: Program, selector: string): Promise<string[]> {
  const all: string[] = []
  let from = 0n
  for (;;) {
    const page = await who.stream.read(selector, from, 2)
    all.push(...shown(page))
    if (!page.more) return all
    from = resume(selector, page)
  }
}

describe.concurrent.each(WAYS)("stream over $transport, auth $auth", way => {
  test("ST-5 ST-6 ST-7: offsets start at 0, have no gaps, and nothing is seen before its commit", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("stream")
    const session = await a.stream.begin(route)
    expect(await a.stream.append(session, 0, "one")).toBe(0)
    expect(await a.stream.append(session, 1, "two", { meta: "m" })).toBe(1)
    expect((await b.stream.read(route, 0, 10)).items).toEqual([])
    expect(await b.stream.last(route)).toBeNull()
    const before = Date.now()
    await a.stream.commit(session)
    const page = await b.stream.read(route, 0, 10)
    expect(shown(page)).toEqual(["one", "two"])
    expect(page).toMatchObject({ lastResource: 1n, lastArea: 1n, lastRealm: 1n, more: false })
    const [, second] = page.items
    expect(second).toMatchObject({
      route,
      event: { offset: 1, area: 1, realm: 1, global: null, body: Buffer.from("two"), meta: Buffer.from("m") },
    })
    const { createdAt } = (await b.stream.last(route))!
    expect(Math.abs(createdAt - before)).toBeLessThan(60_000)
    expect(await append(a, route, 2, "three")).toEqual([2])
    expect((await b.stream.last(route))!.offset).toBe(2)
  })

  test("ST-4: a wrong expected offset is refused, the session stays open", async () => {
    const a = await places.open(way)
    const route = fresh("stream")
    const session = await a.stream.begin(route)
    await expect(a.stream.append(session, 1, "x")).rejects.toThrow(/next offset is 0/)
    expect(await a.stream.append(session, 0, "x")).toBe(0)
    await expect(a.stream.append(session, 0, "y")).rejects.toThrow(/next offset is 1/)
    await a.stream.commit(session)
    expect(shown(await a.stream.read(route, 0, 10))).toEqual(["x"])
  })

  test("ST-1 ST-2 ST-23: one append session per resource; it ends by COMMIT, ROLLBACK or with its connection", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("stream")
    const first = await a.stream.begin(route)
    await a.stream.append(first, 0, "lost")
    await expect(b.stream.begin(route)).rejects.toThrow(/open/)
    await expect(a.stream.begin(route)).rejects.toThrow(/open/)
    await a.stream.rollback(first)
    const second = await b.stream.begin(route)
    await expect(a.stream.append(second, 0, "foreign")).rejects.toThrow(/not found/)
    await expect(a.stream.commit(second)).rejects.toMatchObject({ code: 2003 })
    await expect(a.stream.rollback(first)).rejects.toMatchObject({ code: 2003 })
    await expect(a.stream.rollback(0)).rejects.toMatchObject({ code: 2003 })
    await b.stream.append(second, 0, "lost, too")
    await b.close()
    const third = await until(
      "a session",
      () => unlessRefused(a.stream.begin(route)),
      session => session !== null,
    )
    await a.stream.append(third!, 0, "kept")
    await a.stream.commit(third!)
    expect(shown(await a.stream.read(route, 0, 10))).toEqual(["kept"])
  })

  test("ST-21: an empty batch is an error and ends its session", async () => {
    const a = await places.open(way)
    const route = fresh("stream")
    const session = await a.stream.begin(route)
    await expect(a.stream.commit(session)).rejects.toMatchObject({ code: 2012 })
    await expect(a.stream.commit(session)).rejects.toMatchObject({ code: 2003 })
    await a.stream.rollback(await a.stream.begin(route))
  })

  test("ST-7 ST-9 ST-11 ST-15: every selector reads its own order to the end, without gaps or repeats", async () => {
    const a = await places.open(way)
    const realm = fresh("stream", 1)
    const routes = ["a/x", "a/y", "b/x"].map(rest => `${realm}/${rest}`)
    const next = new Map(routes.map(route => [route, 0]))
    const written: { route: string; body: string }[] = []
    for (let n = 0; n < 12; n++) {
      const route = routes[n % 3]!
      const bodies = [`e${n}`, `f${n}`].slice(0, 1 + (n % 2))
      await append(a, route, next.get(route)!, ...bodies)
      next.set(route, next.get(route)! + bodies.length)
      for (const body of bodies) written.push({ route, body })
    }
    const of = (...rests: string[]): string[] =>
      written.filter(({ route }) => rests.some(rest => route === `${realm}/${rest}`)).map(({ body }) => body)
    expect(await readAll(a, `${realm}/a/x`)).toEqual(of("a/x"))
    expect(await readAll(a, `${realm}/a/*`)).toEqual(of("a/x", "a/y"))
    expect(await readAll(a, `${realm}/*/x`)).toEqual(of("a/x", "b/x"))
    expect(await readAll(a, `${realm}/*/*`)).toEqual(of("a/x", "a/y", "b/x"))
    expect(await readAll(a, `${realm}/**`)).toEqual(of("a/x", "a/y", "b/x"))
  })

  test("ST-17 ST-18: hidden markers stand for what a filter leaves out", async () => {
    const a = await places.open(way)
    const route = fresh("stream")
    await append(a, route, 0, "red 1", "blue 2", "red 3", "green 4")
    const filter = (...clauses: Buffer[]) => ({ filter: bytes("00 f1", u32(clauses.length), ...clauses) })
    const read = async (...clauses: Buffer[]) => shown(await a.stream.read(route, 0, 10, filter(...clauses)))
    const [equals, differs, starts] = [0, 1, 2].map(kind => (text: string) => bytes(u8(kind), block(text)))
    expect(await read(equals!("red"))).toEqual(["red 1", "hidden 1", "red 3", "hidden 3"])
    expect(await read(differs!("red"))).toEqual(["hidden 0", "blue 2", "hidden 2", "green 4"])
    expect(await read(starts!("gr"))).toEqual(["hidden 0", "hidden 1", "hidden 2", "green 4"])
    expect(await read(bytes(u8(3), u32(2), block("blue"), block("green")))).toEqual([
      "hidden 0",
      "blue 2",
      "hidden 2",
      "green 4",
    ])
    expect(await read(starts!("r"), differs!("red"))).toEqual([
      "hidden 0",
      "hidden 1",
      "hidden 2",
      "hidden 3",
    ])
    expect(await read()).toEqual(["red 1", "blue 2", "red 3", "green 4"])
    const wrong = (filter: Buffer) => a.stream.read(route, 0, 10, { filter })
    await expect(wrong(bytes("00 f2", u32(0)))).rejects.toMatchObject({ code: 2006 })
    await expect(wrong(bytes("00 f1", u32(1)))).rejects.toMatchObject({ code: 2007 })
    await expect(wrong(bytes("00 f1", u32(0), "00"))).rejects.toMatchObject({ code: 2007 })
    await expect(wrong(bytes("00 f1", u32(1), "04", block("x")))).rejects.toMatchObject({ code: 2007 })
  })

  test("ST-13 ST-14 ST-22 ST-28: a page stops at its limit, at maxBytes, at the frame, and holds one item at least", async () => {
    const a = await places.open(way)
    const route = fresh("stream")
    const body = "x".repeat(30_000)
    await append(a, route, 0, body, body, body)
    expect((await a.stream.read(route, 0, 0)).items).toEqual([])
    expect(await a.stream.read(route, 0, 1)).toMatchObject({ more: true, lastResource: 0n })
    const page = await a.stream.read(route, 0, 10)
    expect([page.items.length, page.more, page.lastResource]).toEqual([2, true, 1n])
    expect((await a.stream.read(route, 0, 10, { maxBytes: 1 })).items.length).toBe(1)
    expect((await a.stream.read(route, 2, 20_000)).items.length).toBe(1)
    const largest = Buffer.alloc(61_247, 1)
    const session = await a.stream.begin(route)
    await expect(a.stream.append(session, 3, Buffer.alloc(61_248))).rejects.toThrow(/record/)
    await a.stream.append(session, 3, largest)
    await a.stream.commit(session)
    expect((await a.stream.last(route))!.body).toEqual(largest)
    expect((await a.stream.read(route, 3, 10)).items.length).toBe(1)
  })

  test("ST-16 ST-19: an empty page points just before where it was asked for", async () => {
    const a = await places.open(way)
    const route = fresh("stream")
    const most = 2n ** 64n - 1n
    expect(await a.stream.read(route, 0, 10)).toMatchObject({ items: [], lastResource: most, more: false })
    expect(await a.stream.read(route, 7, 10)).toMatchObject({ items: [], lastResource: 6n, more: false })
    await append(a, route, 0, "first")
    // A reader that tails from an empty stream loses nothing.
    const page = await a.stream.read(route, BigInt.asUintN(64, most + 1n), 10)
    expect(shown(page)).toEqual(["first"])
    expect(await a.stream.read(route, 1, 10)).toMatchObject({ items: [], lastResource: 0n })
    expect(await a.stream.read(route, most, 10)).toMatchObject({ items: [], lastResource: most - 1n })
  })

  test("ST-19 ST-25: LAST and METADATA", async () => {
    const a = await places.open(way)
    const route = fresh("stream")
    const sibling = `${route.slice(0, route.lastIndexOf("/"))}/sibling`
    expect(await a.stream.metadata(route)).toMatchObject({ first: null, last: null, count: 0 })
    await append(a, sibling, 0, "s")
    await append(a, route, 0, "one", "two")
    expect(await a.stream.metadata(route)).toMatchObject({
      first: 0,
      last: 1,
      count: 2,
      maxBatchEvents: 10_000,
      maxBatchBytes: 10 * 1024 * 1024,
      areaWatermark: 3,
      realmWatermark: 3,
    })
    expect(await a.stream.last(route)).toMatchObject({ offset: 1, area: 2, realm: 2, global: null })
    for (const pattern of ["stream://a/b/*", "stream://**", "kv://a/b/c"]) {
      await expect(a.stream.last(pattern)).rejects.toThrow(Refused)
      await expect(a.stream.metadata(pattern)).rejects.toThrow(Refused)
    }
  })

  test("ST-24: followers hear of each commit with all its offsets", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("stream")
    const realm = route.split("/").slice(0, 3).join("/")
    const exact = await b.stream.subscribe(route)
    expect(await b.stream.subscribe(route)).toBe(exact)
    const area = await b.stream.subscribe(`${realm}/area/*`)
    const whole = await b.stream.subscribe(`${realm}/**`)
    await append(a, `${realm}/elsewhere/resource`, 0, "x")
    await append(a, route, 0, "one", "two", "three")
    expect(await b.stream.next()).toMatchObject({ subscription: whole, notice: { batch_size: 1 } })
    const notice = {
      event: "committed",
      first_resource_offset: 0,
      last_resource_offset: 2,
      first_area_offset: 0,
      last_area_offset: 2,
      first_realm_offset: 1,
      last_realm_offset: 3,
      batch_size: 3,
    }
    for (const subscription of [exact, area, whole])
      expect(await b.stream.next()).toMatchObject({ subscription, route, notice })
    for (const selector of [route, `${realm}/area/*`, `${realm}/**`]) await b.stream.unsubscribe(selector)
    await append(a, route, 3, "four")
    await b.settle()
    expect(b.unread(609)).toEqual([])
  })

  test("ST-8 ST-3 ST-20: selectors of other shapes are refused by code", async () => {
    const a = await places.open(way)
    const wrong = [
      "stream://r/a/**",
      "stream://**/s",
      "stream://*/**",
      "stream://r",
      "stream://r/a",
      "stream://r/a/s/t",
      "queue://r/a/s",
      "stream://r//s",
      `stream://${"r".repeat(510)}/a/s`,
    ]
    for (const selector of wrong) {
      await expect(a.stream.read(selector, 0, 1), selector).rejects.toMatchObject({ code: 2004 })
      await expect(a.stream.subscribe(selector), selector).rejects.toMatchObject({ code: 2010 })
      await expect(a.stream.unsubscribe(selector), selector).rejects.toMatchObject({ code: 2010 })
    }
    for (const route of ["stream://r/a/*", "stream://r/__realm__/s", "stream://r/a/__area__"])
      await expect(a.stream.begin(route), route).rejects.toThrow(Refused)
    const tokens = { fingerprint: 1n, watermark: 1n }
    await expect(a.stream.read("stream://r/a/s", 0, 1, tokens)).rejects.toMatchObject({ code: 2004 })
  })

  test("O-4: APPENDs and their COMMIT may all be under way at once", async () => {
    const a = await places.open(way)
    const route = fresh("stream")
    const session = await a.stream.begin(route)
    const all = Array.from({ length: 300 }, (_, n) => a.stream.append(session, n, String(n)))
    const committed = a.call(602, bytes(u64(session), flag(false)), () => null)
    expect(await Promise.all(all)).toEqual(Array.from({ length: 300 }, (_, n) => n))
    await committed
    const bodies = (await readAll(a, route)).map(Number)
    expect(bodies).toEqual(Array.from({ length: 300 }, (_, n) => n))
  })
})

describe("orders over all realms", () => {
  test("ST-9 ST-10: selectors over all realms read the whole family, in commit order", async () => {
    const place = await Place.start()
    try {
      const a = await place.open("tcp")
      const routes = ["r1/a/x", "r2/a/x", "r1/b/x", "r2/a/y"].map(rest => `stream://${rest}`)
      const next = new Map(routes.map(route => [route, 0]))
      for (let n = 0; n < 12; n++) {
        const route = routes[n % 4]!
        await append(a, route, next.get(route)!, String(n))
        next.set(route, next.get(route)! + 1)
      }
      const numbers = (...kinds: number[]): string[] =>
        Array.from({ length: 12 }, (_, n) => n)
          .filter(n => kinds.includes(n % 4))
          .map(String)
      expect(await readAll(a, "stream://*/a/x")).toEqual(numbers(0, 1))
      expect(await readAll(a, "stream://*/*/x")).toEqual(numbers(0, 1, 2))
      expect(await readAll(a, "stream://*/a/*")).toEqual(numbers(0, 1, 3))
      expect(await readAll(a, "stream://*/*/*")).toEqual(numbers(0, 1, 2, 3))
      expect(await readAll(a, "stream://**")).toEqual(numbers(0, 1, 2, 3))
      const [first] = (await a.stream.read("stream://**", 4, 1)).items
      expect(first).toMatchObject({ event: { offset: 1, global: 4 } })
    } finally {
      await place.stop()
    }
  })

  test("ST-20: a global read sees the snapshot of its first page, and goes on after it", async () => {
    const place = await Place.start()
    try {
      const a = await place.open("ws")
      const read = async (from: bigint, page: Page | null) =>
        a.stream.read("stream://**", from, 2, {
          ...(page?.fingerprint == null ? {} : { fingerprint: page.fingerprint }),
          ...(page?.watermark == null ? {} : { watermark: page.watermark }),
        })
      await append(a, "stream://r/a/s", 0, "0", "1", "2")
      const first = await read(0n, null)
      expect(shown(first)).toEqual(["0", "1"])
      await append(a, "stream://r/a/s", 3, "3")
      const second = await read(2n, first)
      const seen = shown(second)
      const third = await read(resume("stream://**", second), second)
      expect([...seen, ...shown(third)].slice(0, 2)).toEqual(["2", "3"])
      if (first.fingerprint !== null) {
        await expect(
          a.stream.read("stream://**", 2n, 2, {
            fingerprint: first.fingerprint + 1n,
            watermark: first.watermark!,
          }),
        ).rejects.toMatchObject({ code: 2004 })
      }
    } finally {
      await place.stop()
    }
  })
})
