// Stream, rule by rule (docs/PROTOCOL.md, ST-*), over the in-memory door: what programs may rely on, each rule in a
// test that carries its number, at its limits and one beyond. Time moves by hand; never a socket, a file or a wait.

import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { type PipedCaller, TestBroker, type TestBrokerOptions } from "../kit/broker.ts"
import { block, bytes, u8, u16, u32, u64 } from "../kit/bytes.ts"
import type { Page, ReadOptions } from "../kit/caller.ts"
import { seeded } from "../kit/random.ts"
import { refused, unheard } from "../kit/replies.ts"

const ROUTE = "stream://realm/area/one"
const OTHER = "stream://realm/area/two"
const LAST_U64 = 2n ** 64n - 1n

let broker: TestBroker
let a: PipedCaller
let b: PipedCaller

function start(options: TestBrokerOptions = {}): void {
  if (options.after === undefined) broker.close()
  broker = new TestBroker(options)
  a = broker.enter()
  b = broker.enter()
}

beforeEach(() => {
  broker = new TestBroker()
  a = broker.enter()
  b = broker.enter()
})
afterEach(() => broker.close())

interface Written {
  readonly body: string
  readonly discriminator?: string
  readonly meta?: string
}

/** Commits these events as one batch. */
async function append(route: string, ...events: (string | Written)[]): Promise<void> {
  const session = await b.stream.begin(route)
  let { count } = await b.stream.metadata(route)
  for (const event of events) {
    const { body, ...more } = typeof event === "string" ? { body: event } : event
    await b.stream.append(session, count++, body, more)
  }
  await b.stream.commit(session)
}

/** A page in short: bodies, `-n` for a hidden position n, and a `+` where more is left. */
function short(page: Page): string {
  const items = page.items.map(item => ("event" in item ? String(item.event.body) : `-${item.hidden}`))
  return [...items, ...(page.more ? ["+"] : [])].join(" ")
}

async function read(
  selector: string,
  from: number | bigint,
  limit = 100,
  more: ReadOptions = {},
): Promise<string> {
  return short(await a.stream.read(selector, from, limit, more))
}

type Clause = readonly [kind: number, ...values: string[]]

function filter(...clauses: Clause[]): Buffer {
  const parts = clauses.map(([kind, ...values]) =>
    bytes(u8(kind), kind === 3 ? u32(values.length) : bytes(), ...values.map(block)),
  )
  return bytes(u16(0xf1), u32(clauses.length), ...parts)
}

describe("append sessions", () => {
  test("ST-1: one session per resource; while it is open another BEGIN is refused as 2002", async () => {
    const session = await a.stream.begin(ROUTE)
    await refused(b.stream.begin(ROUTE), "append session is open")
    await refused(a.stream.begin(ROUTE), "append session is open")
    await b.stream.begin(OTHER)
    await broker.enter({ family: 2 }).stream.begin(ROUTE)
    await a.stream.rollback(session)
    await b.stream.begin(ROUTE)
  })

  test("ST-1: BEGIN takes metadata of the ingest and drops it", async () => {
    const session = await a.call(600, bytes(block(ROUTE), u8(1), block("meta")), c => c.number())
    await a.stream.append(session, 0, "x")
    await a.stream.commit(session)
    expect(await read(ROUTE, 0)).toBe("x")
  })

  test("ST-2 P-7: a session that is unknown, over or another session's is refused with 2003", async () => {
    const session = await a.stream.begin(ROUTE)
    for (const id of [0, session + 1, 2 ** 53]) {
      await refused(a.stream.append(id, 0, "x"), "session not found")
      await refused(a.stream.commit(id), 2003)
      await refused(a.stream.rollback(id), 2003)
    }
    await refused(b.stream.append(session, 0, "x"), "session not found")
    await refused(b.stream.commit(session), 2003)
    await refused(b.stream.rollback(session), 2003)
    await a.stream.append(session, 0, "x")
    await a.stream.commit(session)
    await refused(a.stream.append(session, 1, "x"), "session not found")
    await refused(a.stream.commit(session), 2003)
  })

  test("ST-4: another offset than the next is refused as 2001, and the session stays open", async () => {
    await append(ROUTE, "0", "1")
    const session = await a.stream.begin(ROUTE)
    for (const wrong of [0, 1, 3, 2 ** 53, LAST_U64])
      await refused(a.stream.append(session, wrong, "x"), "the next offset is 2")
    expect(await a.stream.append(session, 2, "2")).toBe(2)
    await refused(a.stream.append(session, 2, "x"), "the next offset is 3")
    expect(await a.stream.append(session, 3, "3")).toBe(3)
    await a.stream.commit(session)
    expect(await read(ROUTE, 0)).toBe("0 1 2 3")
  })

  test("ST-5 ST-27: offsets begin at 0 without gaps; those of a batch that was not committed are given again", async () => {
    const session = await a.stream.begin(ROUTE)
    expect([await a.stream.append(session, 0, "x"), await a.stream.append(session, 1, "x")]).toEqual([0, 1])
    await a.stream.rollback(session)
    await append(ROUTE, "y")
    expect(await read(ROUTE, 0)).toBe("y")
  })

  test("ST-6: nothing is visible before COMMIT, then everything at once", async () => {
    const session = await b.stream.begin(ROUTE)
    await b.stream.append(session, 0, "x")
    await b.stream.append(session, 1, "y")
    expect(await read(ROUTE, 0)).toBe("")
    expect(await a.stream.last(ROUTE)).toBeNull()
    expect((await a.stream.metadata(ROUTE)).count).toBe(0)
    await b.stream.commit(session)
    expect(await read(ROUTE, 0)).toBe("x y")
  })

  test("ST-7: area, realm and global offsets count from 0 per area, realm and family, without gaps in a batch", async () => {
    await append("stream://r/a/x", "1")
    await append("stream://r/a/y", "2", "3")
    await append("stream://r/b/x", "4")
    await append("stream://s/a/x", "5", "6")
    await append("stream://r/a/x", "7")
    const page = await a.stream.read("stream://**", 0, 100)
    const places = page.items.map(item => ("event" in item ? item.event : null)!)
    expect(
      places.map(({ body, offset, area, realm, global }) => [String(body), offset, area, realm, global]),
    ).toEqual([
      ["1", 0, 0, 0, 0],
      ["2", 0, 1, 1, 1],
      ["3", 1, 2, 2, 2],
      ["4", 0, 0, 3, 3],
      ["5", 0, 0, 0, 4],
      ["6", 1, 1, 1, 5],
      ["7", 1, 3, 4, 6],
    ])
    const stranger = broker.enter({ family: 2 })
    const session = await stranger.stream.begin("stream://r/a/x")
    await stranger.stream.append(session, 0, "x")
    await stranger.stream.commit(session)
    expect((await stranger.stream.read("stream://**", 0, 1)).items[0]).toMatchObject({
      event: { global: 0, realm: 0 },
    })
  })

  test("ST-21: an empty batch is refused with 2012, and ends the session like any other COMMIT", async () => {
    const session = await a.stream.begin(ROUTE)
    await refused(a.stream.commit(session), 2012)
    await refused(a.stream.append(session, 0, "x"), "session not found")
    await b.stream.begin(ROUTE)
  })

  test("ST-21 E-7: a COMMIT that finds the disk full is refused with 2012, leaves nothing and frees the resource", async () => {
    await append(ROUTE, "old")
    const session = await a.stream.begin(ROUTE)
    await a.stream.append(session, 1, "new")
    broker.faults.fillDisk()
    await refused(a.stream.commit(session), 2012)
    const next = await b.stream.begin(ROUTE)
    expect(await b.stream.append(next, 1, "newer")).toBe(1)
    await refused(b.stream.commit(next), 2012)
    expect(await read(ROUTE, 0)).toBe("old")
    expect(await read("stream://**", 0)).toBe("old")
    broker.faults.freeDisk()
    broker.advance(1_000)
    await append(ROUTE, "newest")
    expect(await read("stream://realm/area/*", 0)).toBe("old newest")
  })

  test("ST-21 E-6: a COMMIT that meets a bug is refused with 2012, leaves nothing and frees the resource", async () => {
    broker.faults.poison = "poison"
    const session = await a.stream.begin(ROUTE)
    await a.stream.append(session, 0, "poison")
    await refused(a.stream.commit(session), 2012)
    await append(ROUTE, "fine")
    expect(await read(ROUTE, 0)).toBe("fine")
    expect(await a.stream.metadata(ROUTE)).toMatchObject({ count: 1, areaWatermark: 1, realmWatermark: 1 })
  })

  test("ST-22: 10,000 events and no more; what is over is refused as 2012, and the session stays", async () => {
    start({ manual: true })
    const begun = a.stream.begin(ROUTE)
    broker.settle()
    const session = await begun
    for (let i = 0; i < 10_000; i++) unheard(a.stream.append(session, i, ""))
    const over = refused(a.stream.append(session, 10_000, ""), "the batch is too large")
    const commit = a.stream.commit(session)
    broker.settle()
    await over
    await commit
    const metadata = a.stream.metadata(ROUTE)
    broker.settle()
    expect(await metadata).toMatchObject({
      count: 10_000,
      maxBatchEvents: 10_000,
      maxBatchBytes: 10 * 1024 * 1024,
    })
  })

  test("ST-22: 10 MiB and no more", async () => {
    const body = Buffer.alloc(61_000, "x")
    const session = await a.stream.begin(ROUTE)
    const fit = Math.floor((10 * 1024 * 1024) / body.length)
    for (let i = 0; i < fit; i++) await a.stream.append(session, i, body)
    await refused(a.stream.append(session, fit, body), "the batch is too large")
    await a.stream.append(session, fit, "small")
    await a.stream.commit(session)
    expect(await read(ROUTE, fit)).toBe("small")
  })

  test("ST-22 ST-28: body and metadata up to 61,247 bytes, beyond that 2013; any accepted event fits one READ", async () => {
    const long = `stream://${"r".repeat(1_360)}/${"a".repeat(1_360)}/${"s".repeat(1_360)}`
    const session = await a.stream.begin(long)
    await refused(a.stream.append(session, 0, Buffer.alloc(61_248)), "no reply could carry")
    await refused(
      a.stream.append(session, 0, Buffer.alloc(61_000), { meta: Buffer.alloc(248) }),
      "no reply could carry",
    )
    await a.stream.append(session, 0, Buffer.alloc(61_247))
    await a.stream.append(session, 1, Buffer.alloc(61_000), {
      meta: Buffer.alloc(247),
      discriminator: "d".repeat(200),
    })
    await a.stream.commit(session)
    for (const from of [0, 1]) {
      const page = await a.stream.read("stream://**", from, 1)
      expect(page.items.length).toBe(1)
      expect(a.received.at(-1)!.payload.length).toBeLessThanOrEqual(65_535)
    }
    expect((await a.stream.last(long))?.offset).toBe(1)
  })

  test("ST-23 D-1: ROLLBACK and the end of the connection throw the session away and free the resource", async () => {
    const first = await a.stream.begin(ROUTE)
    await a.stream.append(first, 0, "x")
    await a.stream.rollback(first)
    await refused(a.stream.rollback(first), 2003)
    const second = await a.stream.begin(ROUTE)
    await a.stream.append(second, 0, "y")
    a.pipe.hangUp()
    a = broker.enter()
    const third = await b.stream.begin(ROUTE)
    await b.stream.append(third, 0, "z")
    await b.stream.commit(third)
    expect(await read(ROUTE, 0)).toBe("z")
  })

  test("ST-3: the area __realm__ and the resource __area__ are refused", async () => {
    for (const route of ["stream://r/__realm__/s", "stream://r/a/__area__"]) {
      await refused(a.stream.begin(route), "a reserved name")
      await refused(a.stream.last(route), 2004)
      await refused(a.stream.metadata(route), 2004)
      await refused(a.stream.read(route, 0, 1), 2004)
      await refused(a.stream.subscribe(route), 2010)
    }
    await a.stream.begin("stream://__realm__/__area__/__realm__")
  })

  test("ST-26: Sync waits for the disk, Buffered does not", async () => {
    const levels: boolean[] = []
    const { commit } = broker.database
    broker.database.commit = sync => {
      levels.push(sync)
      commit.call(broker.database, sync)
    }
    const write = async (offset: number, sync: boolean): Promise<boolean> => {
      const session = await a.stream.begin(ROUTE)
      await a.stream.append(session, offset, "x")
      await a.stream.commit(session, sync)
      return levels.at(-1)!
    }
    expect([await write(0, true), await write(1, false)]).toEqual([true, false])
    await refused(
      a.call(602, bytes(u64(1), u8(2)), () => null),
      2004,
    )
  })

  test("M-10: a session has so many open append sessions and no more (2014)", async () => {
    start({ config: { maxOpenAppends: 1 } })
    const first = await a.stream.begin(ROUTE)
    await refused(a.stream.begin(OTHER), "busy")
    await b.stream.begin(OTHER)
    await a.stream.rollback(first)
    await a.stream.begin(ROUTE)
  })

  test("M-11: uncommitted events beyond the limit are refused as 2014, KV changes counted; the session stays", async () => {
    start({ config: { maxUncommittedBytes: 65_536 } })
    const tx = await a.kv.begin("kv://a/b/c", "write")
    await a.kv.put(tx, "kv://a/b/c", "k", Buffer.alloc(30_000))
    const session = await b.stream.begin(ROUTE)
    await b.stream.append(session, 0, Buffer.alloc(30_000))
    await refused(b.stream.append(session, 1, Buffer.alloc(30_000)), "too much is uncommitted")
    await a.kv.rollback(tx, "kv://a/b/c")
    await b.stream.append(session, 1, Buffer.alloc(30_000))
    await b.stream.commit(session)
    const next = await b.stream.begin(ROUTE)
    await b.stream.append(next, 2, Buffer.alloc(60_000))
  })

  test("O-4: appends and their commit may be sent without waiting", async () => {
    const session = await a.stream.begin(ROUTE)
    const replies = [
      a.stream.append(session, 0, "x"),
      a.stream.append(session, 1, "y"),
      a.stream.commit(session),
      a.stream.last(ROUTE),
    ]
    expect((await Promise.all(replies)).at(-1)).toMatchObject({ offset: 1 })
  })
})

describe("selectors", () => {
  /** Realm offsets of r: x 0, y 1–2, b/x 3, x 5 after one more of y; global offsets likewise, s in between. */
  async function fill(): Promise<void> {
    await append("stream://r/a/x", "1")
    await append("stream://r/a/y", "2", "3")
    await append("stream://s/a/x", "4")
    await append("stream://r/b/x", "5")
    await append("stream://r/a/y", "6")
    await append("stream://r/a/x", "7")
    await append("stream://s/b/y", "8")
  }

  const shapes: [selector: string, all: string, positions: number[]][] = [
    ["r/a/x", "1 7", [0, 1]],
    ["r/a/*", "1 2 3 6 7", [0, 1, 2, 3, 4]],
    ["r/*/x", "1 5 7", [0, 3, 5]],
    ["r/*/*", "1 2 3 5 6 7", [0, 1, 2, 3, 4, 5]],
    ["r/**", "1 2 3 5 6 7", [0, 1, 2, 3, 4, 5]],
    ["*/a/x", "1 4 7", [0, 3, 6]],
    ["*/*/x", "1 4 5 7", [0, 3, 4, 6]],
    ["*/a/*", "1 2 3 4 6 7", [0, 1, 2, 3, 5, 6]],
    ["*/*/*", "1 2 3 4 5 6 7 8", [0, 1, 2, 3, 4, 5, 6, 7]],
    ["**", "1 2 3 4 5 6 7 8", [0, 1, 2, 3, 4, 5, 6, 7]],
  ]

  /** What the public client takes from a cursor before it adds one. */
  function resumesAt(selector: string, { lastResource, lastArea, lastRealm, lastGlobal }: Page): bigint {
    if (selector === "**" || selector === "*/*/*") return lastGlobal ?? lastResource
    if (selector === "r/**" || selector === "r/*/*") return lastRealm ?? lastResource
    if (selector.endsWith("/*")) return lastArea ?? lastResource
    return lastResource
  }

  test.each(shapes)(
    "ST-8 ST-9 ST-12: %s goes up on its axis from any position, included",
    async (selector, all, positions) => {
      await fill()
      const bodies = all.split(" ")
      for (let from = 0; from <= 9; from++) {
        const expected = bodies.filter((_, i) => positions[i]! >= from).join(" ")
        expect(await read(`stream://${selector}`, from)).toBe(expected)
      }
    },
  )

  test.each(shapes)(
    "ST-9 ST-11 ST-15: a client that follows the cursor of %s sees every event once",
    async (selector, all, positions) => {
      await fill()
      for (const limit of [1, 2, 3]) {
        let from = 0n
        const seen: string[] = []
        for (let more = true; more; ) {
          const page = await a.stream.read(`stream://${selector}`, from, limit)
          seen.push(...page.items.map(item => ("event" in item ? String(item.event.body) : "?")))
          const last = resumesAt(selector, page)
          expect(last).toBe(BigInt(positions[seen.length - 1]!))
          from = BigInt.asUintN(64, last + 1n)
          more = page.more
        }
        expect(seen.join(" ")).toBe(all)
        // At the tail it asks in vain, stays where it is, and misses nothing that comes.
        const tail = await a.stream.read(`stream://${selector}`, from, limit)
        expect([short(tail), BigInt.asUintN(64, resumesAt(selector, tail) + 1n)]).toEqual(["", from])
      }
    },
  )

  test.each(shapes)("ST-9: %s is the same after a restart", async (selector, all, positions) => {
    await fill()
    start({ after: broker, nowMs: broker.now })
    const half = Math.floor(positions.length / 2)
    expect(await read(`stream://${selector}`, positions[half]!)).toBe(all.split(" ").slice(half).join(" "))
    await append("stream://r/a/x", "9")
    expect((await read(`stream://${selector}`, 0)).split(" ").at(-1)).toBe("9")
  })

  test("ST-11: lastArea is absent where the realm is a wildcard", async () => {
    await fill()
    for (const selector of ["stream://*/a/x", "stream://*/*/x", "stream://*/a/*"])
      expect((await a.stream.read(selector, 0, 2)).lastArea).toBeNull()
  })

  test("ST-8: other spellings are refused, with 2004 by READ and with 2010 by SUBSCRIBE", async () => {
    const others = [
      "r/a/**",
      "**/x",
      "*/**",
      "r",
      "r/a",
      "r/a/x/y",
      "**/**",
      "r/**/x",
      "*/a/**",
      "r/*/**",
      "*",
      "r/a/x*",
      "r//x",
    ]
    for (const selector of others) {
      await refused(a.stream.read(`stream://${selector}`, 0, 1), 2004)
      await refused(a.stream.subscribe(`stream://${selector}`), 2010)
      await refused(a.stream.unsubscribe(`stream://${selector}`), 2010)
    }
  })

  test("R-2: a selector has 512 bytes at most", async () => {
    const selector = (length: number): string => `stream://r/a/${"x".repeat(length - 13)}`
    await refused(a.stream.read(selector(513), 0, 1), 2004)
    await refused(a.stream.subscribe(selector(513)), 2010)
    expect(await read(selector(512), 0)).toBe("")
    await a.stream.subscribe(selector(512))
  })

  test("ST-10: ** and */*/* have the extended layout, the others the compact one", async () => {
    await fill()
    const extended = await a.stream.read("stream://*/*/*", 0, 1)
    expect(extended.items[0]).toMatchObject({ event: { global: 0 } })
    expect(extended.lastGlobal).toBe(0n)
    for (const [selector] of shapes.slice(0, 8)) {
      // The caller reads the compact layout here and complains of any byte too many.
      const page = await a.stream.read(`stream://${selector}`, 0, 1)
      expect(page.items[0]).toMatchObject({ event: { global: null } })
    }
  })
})

test("ST-7 ST-9 ST-21 ST-27: hundreds of batches, some of them refused, stand in all orders, over restarts", () =>
  seeded(async random => {
    const all: { route: string; body: string }[] = []
    for (let batch = 0; batch < 330; batch++) {
      const route = `stream://${random.pick(["r", "s"])}/${random.pick(["a", "b"])}/${random.pick(["x", "y", "z"])}`
      const session = await b.stream.begin(route)
      const { count } = await b.stream.metadata(route)
      const bodies = Array.from({ length: random.between(1, 3) }, (_, i) => `${batch}.${i}`)
      for (const [i, body] of bodies.entries()) await b.stream.append(session, count + i, body)
      if (random.chance(0.15)) {
        broker.faults.fillDisk()
        await refused(b.stream.commit(session), 2012)
        broker.faults.freeDisk()
        broker.advance(1_000)
      } else {
        await b.stream.commit(session)
        all.push(...bodies.map(body => ({ route, body })))
      }
      if (random.chance(0.02)) start({ after: broker, nowMs: broker.now })
    }
    const positions = (keep: (route: string) => boolean): Map<string, number> =>
      new Map(all.filter(({ route }) => keep(route)).map(({ body }, i) => [body, i]))
    const within =
      (pattern: string) =>
      (route: string): boolean =>
        pattern.split("/").every((part, i) => part === "*" || part === route.split("/")[i])
    for (const realm of ["r", "*"])
      for (const area of ["a", "*"])
        for (const resource of ["x", "*"]) {
          const selector = `stream://${realm}/${area}/${resource}`
          const axis =
            realm === "*"
              ? "stream://*/*/*"
              : area === "*"
                ? `stream://${realm}/*/*`
                : resource === "*"
                  ? `stream://${realm}/${area}/*`
                  : selector
          const places = positions(within(axis))
          const expected = all.filter(({ route }) => within(selector)(route)).map(({ body }) => body)
          const from = random.int(places.size)
          const page = await a.stream.read(selector, from, 10_000)
          expect(page.items.map(item => ("event" in item ? String(item.event.body) : ""))).toEqual(
            expected.filter(body => places.get(body)! >= from),
          )
          expect(page.more).toBe(false)
        }
  }))

describe("reading", () => {
  test("ST-13: limit counts items; 0 gives an empty page; above 10,000 is taken as 10,000", async () => {
    await append(ROUTE, "0", "1", "2", "3", "4")
    expect(await read(ROUTE, 0, 2)).toBe("0 1 +")
    expect(await read(ROUTE, 0, 5)).toBe("0 1 2 3 4")
    expect(await read(ROUTE, 0, 0)).toBe("+")
    expect(await read(ROUTE, 5, 0)).toBe("")
    expect(
      short(
        await a.call(604, bytes(block(ROUTE), u64(0), u64(LAST_U64), "00 00 00 00"), c => {
          c.raw(c.left)
          return { items: [], more: false } as unknown as Page
        }),
      ),
    ).toBe("")
    expect(await read(ROUTE, 0, 20_000)).toBe("0 1 2 3 4")
  })

  test("ST-14: a page ends before its items pass maxBytes, but never without its first", async () => {
    await append(ROUTE, "0".repeat(100), "1".repeat(100), "2".repeat(100))
    const item = 4 + ROUTE.length + 1 + 8 + 9 + 9 + 4 + 100 + 1 + 8
    const count = async (maxBytes: number): Promise<number> =>
      (await a.stream.read(ROUTE, 0, 10, { maxBytes })).items.length
    expect([
      await count(0),
      await count(1),
      await count(item),
      await count(2 * item - 1),
      await count(2 * item),
    ]).toEqual([1, 1, 1, 1, 2])
    expect((await a.stream.read(ROUTE, 0, 10, { maxBytes: item })).more).toBe(true)
  })

  test("ST-14: a page ends before the payload would pass 65,535 bytes", async () => {
    await append(ROUTE, "x".repeat(30_000), "y".repeat(30_000), "z".repeat(30_000))
    for (const selector of [ROUTE, "stream://**"]) {
      const page = await a.stream.read(selector, 0, 10)
      expect(page).toMatchObject({ more: true, items: { length: 2 } })
      expect(a.received.at(-1)!.payload.length).toBeLessThanOrEqual(65_535)
    }
  })

  test("ST-15: hasMore is 1 exactly where a committed event is left behind the last item", async () => {
    await append(ROUTE, "0", "1")
    await append(OTHER, "2")
    expect(await read(ROUTE, 0, 2)).toBe("0 1")
    expect(await read(ROUTE, 1, 1)).toBe("1")
    expect(await read("stream://realm/area/*", 0, 2)).toBe("0 1 +")
    await append(ROUTE, "3")
    expect(await read(ROUTE, 0, 2)).toBe("0 1 +")
  })

  test("ST-16: an empty page has from − 1 on its axis, and for from = 0 that is 2^64−1", async () => {
    for (const [from, before] of [
      [0, LAST_U64],
      [1, 0n],
      [7, 6n],
      [2n ** 60n, 2n ** 60n - 1n],
      [LAST_U64, LAST_U64 - 1n],
    ] as const) {
      expect((await a.stream.read(ROUTE, from, 10)).lastResource).toBe(before)
      expect((await a.stream.read("stream://realm/area/*", from, 10)).lastArea).toBe(before)
      expect((await a.stream.read("stream://realm/**", from, 10)).lastRealm).toBe(before)
      expect((await a.stream.read("stream://realm/*/one", from, 10)).lastResource).toBe(before)
      expect((await a.stream.read("stream://*/area/*", from, 10)).lastResource).toBe(before)
      expect((await a.stream.read("stream://**", from, 10)).lastGlobal).toBe(before)
    }
  })

  test("ST-19: what was never written is an empty success", async () => {
    expect(await read(ROUTE, 0)).toBe("")
    expect(await a.ask(605, block(ROUTE))).toEqual(bytes("00"))
    expect(await a.stream.metadata(ROUTE)).toEqual({
      first: null,
      last: null,
      count: 0,
      maxBatchEvents: 10_000,
      maxBatchBytes: 10 * 1024 * 1024,
      ttlSeconds: null,
      areaWatermark: 0,
      realmWatermark: 0,
    })
  })

  test("ST-25: LAST is the newest committed event, in the compact layout; metadata counts and has the frontiers", async () => {
    await append(OTHER, "0")
    const at = broker.now + 1_234
    broker.advance(1_234)
    await append(ROUTE, "1", { body: "2", meta: "m" })
    await append("stream://realm/area2/one", "3")
    expect(await a.stream.last(ROUTE)).toEqual({
      offset: 1,
      area: 2,
      realm: 2,
      global: null,
      body: Buffer.from("2"),
      meta: Buffer.from("m"),
      createdAt: at,
    })
    expect(await a.stream.metadata(ROUTE)).toMatchObject({
      first: 0,
      last: 1,
      count: 2,
      areaWatermark: 3,
      realmWatermark: 4,
    })
    for (const route of ["stream://**", "stream://a/b/*"]) {
      await refused(a.stream.last(route), 2004)
      await refused(a.stream.metadata(route), 2004)
    }
  })

  test("ST-27 ST-9: after a restart everything is where it was, and new events follow", async () => {
    // More batches than the store writes places for at a time.
    for (let i = 0; i < 150; i++) await append(i % 3 === 0 ? OTHER : ROUTE, `${i}`)
    const before = [
      await read(ROUTE, 90, 5),
      await read("stream://realm/*/two", 120, 5),
      await read("stream://**", 140, 20),
    ]
    start({ after: broker, nowMs: broker.now })
    expect([
      await read(ROUTE, 90, 5),
      await read("stream://realm/*/two", 120, 5),
      await read("stream://**", 140, 20),
    ]).toEqual(before)
    await append(ROUTE, "next")
    expect(await a.stream.last(ROUTE)).toMatchObject({ offset: 100, area: 150, realm: 150 })
  })

  test("O-6: a READ that has far to walk lets others pass, and holds back its own connection's streams", async () => {
    start({ manual: true })
    const settled = async <T>(request: Promise<T>): Promise<T> => {
      broker.settle()
      return request
    }
    const body = Buffer.alloc(60_000)
    for (let batch = 0; batch < 2; batch++) {
      const session = await settled(b.stream.begin(ROUTE))
      for (let i = 0; i < 40; i++)
        unheard(b.stream.append(session, batch * 40 + i, body, { discriminator: "dull" }))
      await settled(b.stream.commit(session))
    }
    const order: string[] = []
    const note = (what: string) => () => order.push(what)
    const dull = filter([1, "dull"])
    const turns = broker.durableTurns
    const walk = a.stream.read(ROUTE, 0, 10_000, { filter: dull })
    const page = walk.then(note("read"))
    const behind = a.stream.last(ROUTE).then(note("behind it"))
    const other = b.stream.last(OTHER).then(note("another client"))
    const kv = a.kv.begin("kv://a/b/c", "read").then(note("another domain"))
    broker.settle()
    await Promise.all([page, behind, other, kv])
    expect((await walk).items.length).toBe(80)
    expect(broker.durableTurns - turns).toBeGreaterThan(2)
    expect(order.slice(0, 2).sort()).toEqual(["another client", "another domain"])
    expect(order.slice(2)).toEqual(["read", "behind it"])
  })
})

describe("filters", () => {
  const events: Written[] = [
    { body: "0", discriminator: "red" },
    { body: "1" },
    { body: "2", discriminator: "reddish" },
    { body: "3", discriminator: "blue" },
    { body: "4", discriminator: "" },
  ]

  test.each([
    ["equals", [[0, "red"]], "0 -1 -2 -3 -4"],
    ["equals the empty string, absent included", [[0, ""]], "-0 1 -2 -3 4"],
    ["differs", [[1, "red"]], "-0 1 2 3 4"],
    ["starts with", [[2, "red"]], "0 -1 2 -3 -4"],
    ["starts with nothing", [[2, ""]], "0 1 2 3 4"],
    ["any of", [[3, "blue", "red"]], "0 -1 -2 3 -4"],
    ["any of none", [[3]], "-0 -1 -2 -3 -4"],
    [
      "all clauses",
      [
        [2, "red"],
        [1, "red"],
      ],
      "-0 -1 2 -3 -4",
    ],
    ["no clause", [], "0 1 2 3 4"],
  ] as [string, Clause[], string][])("ST-17 ST-18: %s", async (_name, clauses, expected) => {
    await append(ROUTE, ...events)
    expect(await read(ROUTE, 0, 100, { filter: filter(...clauses) })).toBe(expected)
  })

  test("ST-18 ST-13: hidden ones count as items, carry reason 1 and their position on the axis", async () => {
    await append("stream://r/b/z", "x", "y")
    await append("stream://r/a/x", { body: "0", discriminator: "a" }, { body: "1", discriminator: "b" })
    const page = await a.stream.read("stream://r/**", 0, 4, { filter: filter([0, "b"]) })
    expect(page.items.slice(0, 3)).toEqual([
      { route: "stream://r/b/z", hidden: 0, reason: 1 },
      { route: "stream://r/b/z", hidden: 1, reason: 1 },
      { route: "stream://r/a/x", hidden: 2, reason: 1 },
    ])
    expect([short(page), page.lastRealm]).toEqual(["-0 -1 -2 1", 3n])
    const first = await a.stream.read("stream://r/a/x", 0, 1, { filter: filter([0, "b"]) })
    expect([short(first), first.lastResource]).toEqual(["-0 +", 0n])
    // What the public suite asks for: two events, a filter for the first.
    const both = await a.stream.read("stream://r/a/x", 0, 10, { filter: filter([0, "a"]) })
    expect([short(both), both.lastResource, both.more]).toEqual(["0 -1", 1n, false])
  })

  test("ST-17: without the mark 00 F1 it is refused with 2006", async () => {
    for (const wrong of [bytes("00 f2 00000000"), bytes("01 f1 00000000"), bytes("f1"), bytes()])
      await refused(a.stream.read(ROUTE, 0, 1, { filter: wrong }), 2006)
  })

  test("ST-17: cut short, with an unknown clause or with bytes left over it is refused with 2007", async () => {
    const whole = filter([0, "red"], [3, "a", "b"])
    for (let cut = 2; cut < whole.length; cut++)
      await refused(a.stream.read(ROUTE, 0, 1, { filter: whole.subarray(0, cut) }), 2007)
    await refused(a.stream.read(ROUTE, 0, 1, { filter: bytes(whole, "00") }), 2007)
    await refused(a.stream.read(ROUTE, 0, 1, { filter: filter([4, "red"]) }), 2007)
    await refused(a.stream.read(ROUTE, 0, 1, { filter: bytes("00 f1 ffffffff") }), 2007)
    await refused(a.stream.read(ROUTE, 0, 1, { filter: bytes("00 f1 00000001 03 ffffffff") }), 2007)
    await refused(a.stream.read(ROUTE, 0, 1, { filter: bytes("00 f1 00000001 00 00000001 ff") }), 2007)
    expect(await read(ROUTE, 0, 1, { filter: whole })).toBe("")
  })
})

describe("continuations of global reads", () => {
  type Token = Pick<Page, "fingerprint" | "watermark">
  const echo = ({ fingerprint, watermark }: Token): ReadOptions => ({
    fingerprint: fingerprint!,
    watermark: watermark!,
  })

  test("ST-20: who echoes both sees the snapshot of the first page, and a fresh one behind it", async () => {
    await append(ROUTE, "0", "1", "2")
    const first = await a.stream.read("stream://**", 0, 2)
    expect([short(first), first.watermark]).toEqual(["0 1 +", 3n])
    await append(OTHER, "3")
    const second = await a.stream.read("stream://**", 2, 10, echo(first))
    expect([short(second), second.watermark]).toEqual(["2 +", 3n])
    const third = await a.stream.read("stream://**", 3, 10, echo(second))
    expect([short(third), third.watermark]).toEqual(["3", 4n])
    // A reader at the tail goes on echoing, and sees what comes.
    const tail = await a.stream.read("stream://**", 4, 10, echo(third))
    expect(short(tail)).toBe("")
    await append(ROUTE, "4")
    expect(short(await a.stream.read("stream://**", 4, 10, echo(tail)))).toBe("4")
  })

  test("ST-20: both spellings of everything are one selector", async () => {
    await append(ROUTE, "0", "1")
    const first = await a.stream.read("stream://**", 0, 1)
    expect(short(await a.stream.read("stream://*/*/*", 1, 1, echo(first)))).toBe("1")
  })

  test("ST-20: bound to family, filter, watermark and next position; a mismatch is refused with 2004", async () => {
    await append(ROUTE, "0", "1", "2")
    const first = await a.stream.read("stream://**", 0, 1, { filter: filter([0, ""]) })
    const good = { ...echo(first), filter: filter([0, ""]) }
    expect(short(await a.stream.read("stream://**", 1, 1, good))).toBe("1 +")
    await refused(a.stream.read("stream://**", 2, 1, good), 2004)
    await refused(a.stream.read("stream://**", 0, 1, good), 2004)
    await refused(a.stream.read("stream://**", 1, 1, { ...good, filter: filter([0, "x"]) }), 2004)
    await refused(a.stream.read("stream://**", 1, 1, echo(first)), 2004)
    await refused(a.stream.read("stream://**", 1, 1, { ...good, watermark: 2n }), 2004)
    await refused(a.stream.read("stream://**", 1, 1, { ...good, fingerprint: first.fingerprint! + 1n }), 2004)
    await refused(broker.enter({ family: 2 }).stream.read("stream://**", 1, 1, good), 2004)
  })

  test("ST-20: one without the other, and either with another selector, is refused with 2004", async () => {
    await append(ROUTE, "0", "1")
    const { fingerprint, watermark } = await a.stream.read("stream://**", 0, 1)
    await refused(a.stream.read("stream://**", 1, 1, { fingerprint: fingerprint! }), 2004)
    await refused(a.stream.read("stream://**", 1, 1, { watermark: watermark! }), 2004)
    for (const selector of [ROUTE, "stream://realm/**", "stream://*/area/*"]) {
      await refused(a.stream.read(selector, 1, 1, { watermark: watermark! }), 2004)
      await refused(a.stream.read(selector, 1, 1, echo({ fingerprint, watermark })), 2004)
    }
  })
})

describe("notifications", () => {
  test("ST-24 S-3 S-4: one 609 for each matching registration after a COMMIT, with all offsets", async () => {
    await append(OTHER, "0")
    await append("stream://elsewhere/area/one", "1")
    const selectors = [
      ROUTE,
      "stream://realm/area/*",
      "stream://realm/*/one",
      "stream://realm/**",
      "stream://*/*/one",
      "stream://**",
    ]
    const ids: number[] = []
    for (const selector of selectors) ids.push(await a.stream.subscribe(selector))
    await a.stream.subscribe(OTHER)
    await append(ROUTE, "2", "3")
    const notice = {
      event: "committed",
      first_resource_offset: 0,
      last_resource_offset: 1,
      first_area_offset: 1,
      last_area_offset: 2,
      first_realm_offset: 1,
      last_realm_offset: 2,
      first_global_offset: 2,
      last_global_offset: 3,
      batch_size: 2,
    }
    for (const subscription of ids)
      expect(await a.stream.next()).toEqual({ subscription, route: ROUTE, notice })
    broker.settle()
    expect(a.unread(609)).toEqual([])
  })

  test("ST-24: nothing for appends, rollbacks, refused commits, and other families", async () => {
    await a.stream.subscribe("stream://**")
    const session = await b.stream.begin(ROUTE)
    await b.stream.append(session, 0, "x")
    await b.stream.rollback(session)
    await refused(b.stream.commit(await b.stream.begin(ROUTE)), 2012)
    const stranger = broker.enter({ family: 2 })
    const theirs = await stranger.stream.begin(ROUTE)
    await stranger.stream.append(theirs, 0, "x")
    await stranger.stream.commit(theirs)
    const full = await b.stream.begin(ROUTE)
    await b.stream.append(full, 0, "x")
    broker.faults.fillDisk()
    await refused(b.stream.commit(full), 2012)
    broker.settle()
    expect(a.unread(609)).toEqual([])
  })

  test("S-2 S-5 S-6: the same selector again is one registration; after UNSUBSCRIBE nothing comes", async () => {
    const id = await a.stream.subscribe("stream://realm/**")
    expect(await a.stream.subscribe("stream://realm/**")).toBe(id)
    // Another spelling is another registration.
    expect(await a.stream.subscribe("stream://realm/*/*")).not.toBe(id)
    await a.stream.unsubscribe("stream://realm/*/*")
    await a.stream.unsubscribe("stream://realm/*/*")
    await append(ROUTE, "x")
    broker.settle()
    expect(a.unread(609).length).toBe(1)
    await a.stream.unsubscribe("stream://realm/**")
    await append(ROUTE, "y")
    broker.settle()
    expect(a.unread(609).length).toBe(1)
  })

  test("S-8: registrations beyond the limit are refused with 2011", async () => {
    start({ config: { maxWildcardRegistrations: 1 } })
    await a.stream.subscribe("stream://a/**")
    await refused(a.stream.subscribe("stream://b/**"), 2011)
    await a.stream.subscribe(ROUTE)
  })
})

describe("what is refused", () => {
  test("P-7 P-10: 600 needs write, 604–608 read; the handle needs nothing (2009)", async () => {
    const reader = broker.enter({ permissions: ["stream://**#read"] })
    const writer = broker.enter({ permissions: ["stream://**#write"] })
    await refused(reader.stream.begin(ROUTE), "unauthorized")
    await refused(writer.stream.read(ROUTE, 0, 1), 2009)
    await refused(writer.stream.last(ROUTE), 2009)
    await refused(writer.stream.metadata(ROUTE), 2009)
    await refused(writer.stream.subscribe(ROUTE), 2009)
    await refused(writer.stream.unsubscribe(ROUTE), 2009)
    const session = await writer.stream.begin(ROUTE)
    await writer.stream.append(session, 0, "x")
    await writer.stream.commit(session)
    expect(short(await reader.stream.read("stream://**", 0, 1))).toBe("x")
  })

  test("P-5 R-6: a selector needs one grant that covers all of it", async () => {
    const c = broker.enter({ permissions: ["stream://realm/*/*#read", "stream://*/area/one#read"] })
    await c.stream.read("stream://realm/**", 0, 1)
    await c.stream.read("stream://*/area/one", 0, 1)
    await refused(c.stream.read("stream://**", 0, 1), 2009)
    await refused(c.stream.read("stream://*/*/one", 0, 1), 2009)
    await refused(c.stream.subscribe("stream://*/area/*"), 2009)
  })

  test("R-3: a route that is none is refused as 2004", async () => {
    for (const route of ["stream://a/b", "stream://a/b/*", "kv://a/b/c", "stream://a//c"]) {
      await refused(a.stream.begin(route), "invalid request")
      await refused(a.stream.last(route), 2004)
    }
  })

  test("F-10 W-2: a request that does not parse is refused as 2004, and the connection goes on", async () => {
    const session = await a.stream.begin(ROUTE)
    const ask = (type: number, payload: Buffer): Promise<unknown> => a.call(type, payload, () => null)
    await refused(ask(600, block(ROUTE)), "invalid request")
    await refused(ask(600, bytes(block(ROUTE), "00 00")), "invalid request")
    const whole = bytes(u64(session), u64(0), block("x"), "00 00")
    for (const payload of [
      whole.subarray(0, -1),
      bytes(whole, "00"),
      bytes(u64(session), u64(0), block("x"), "00 02"),
    ])
      await refused(ask(601, payload), "invalid request")
    const notText = bytes(u64(session), u64(0), block("x"), "00 01", block(bytes("ff")))
    await refused(ask(601, notText), "invalid request")
    await refused(ask(602, u64(session)), 2004)
    await refused(ask(603, bytes(u64(session), "00")), 2004)
    await refused(ask(604, bytes(block(ROUTE), u64(0), u64(1), "00 00 00")), 2004)
    await refused(ask(605, bytes(block(ROUTE), "00")), 2004)
    await a.stream.append(session, 0, "x")
    await a.stream.commit(session)
  })
})
