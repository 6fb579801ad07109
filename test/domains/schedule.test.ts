// Schedule, rule by rule (docs/PROTOCOL.md, SC-*), over the in-memory door: what programs may rely on, each rule in a
// test that carries its number, at its limits and one beyond. Time moves by hand; never a socket, a file or a wait.

import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { type PipedCaller, TestBroker, type TestBrokerOptions } from "../kit/broker.ts"
import { block, bytes, u8, u64 } from "../kit/bytes.ts"
import { refused, unheard } from "../kit/replies.ts"
import { START_MS } from "../kit/world.ts"

const ROUTE = "schedule://realm/area/resource/run"
const OTHER = "schedule://realm/area/resource/stop"
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

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

/** What a client has heard and not looked at yet: payloads. */
async function heard(by: PipedCaller): Promise<string[]> {
  broker.settle()
  const all: string[] = []
  while (by.unread(705).length > 0) all.push(String((await by.schedule.next()).payload))
  return all
}

/** When an expression fires, as `hh:mm` or with the date before it, over so long. */
async function firings(cron: string, overMs: number): Promise<string[]> {
  await a.schedule.subscribe("schedule://**")
  await b.schedule.create(ROUTE, cron, "broadcast", "x")
  const end = broker.now + overMs
  const times: string[] = []
  while (broker.now < end) {
    broker.advance(MINUTE_MS - (broker.now % MINUTE_MS))
    for (const _one of await heard(a))
      times.push(new Date(broker.now).toISOString().slice(0, 16).replace("T", " "))
  }
  return times
}

describe("definitions", () => {
  test("SC-1: a definition is known by its route; CREATE on a route that has one replaces it", async () => {
    await a.schedule.subscribe(ROUTE)
    await b.schedule.create(ROUTE, "* * * * *", "broadcast", "old")
    await b.schedule.create(ROUTE, "*/2 * * * *", "single", "new")
    expect(await b.schedule.list()).toEqual({
      total: 1,
      entries: [{ route: ROUTE, cron: "*/2 * * * *", mode: 1, payload: Buffer.from("new") }],
    })
    broker.advance(4 * MINUTE_MS)
    expect(await heard(a)).toEqual(["new", "new"])
  })

  test("SC-1: a replaced definition counts from its new CREATE", async () => {
    await a.schedule.subscribe(ROUTE)
    await b.schedule.create(ROUTE, "1 * * * *", "broadcast", "x")
    broker.advance(10_000)
    await b.schedule.create(ROUTE, "2 * * * *", "broadcast", "y")
    broker.advance(HOUR_MS)
    expect(await heard(a)).toEqual(["y"])
  })

  test("SC-2: CANCEL takes a definition back, and succeeds where there is none", async () => {
    await a.schedule.subscribe(ROUTE)
    await b.schedule.cancel(ROUTE)
    await b.schedule.create(ROUTE, "* * * * *", "broadcast", "x")
    await a.schedule.cancel(ROUTE)
    await a.schedule.cancel(ROUTE)
    expect(await b.schedule.list()).toEqual({ total: 0, entries: [] })
    broker.advance(5 * MINUTE_MS)
    expect(await heard(a)).toEqual([])
  })

  test("P-11: a family sees, cancels and hears its own definitions alone", async () => {
    const stranger = broker.enter({ family: 2 })
    await stranger.schedule.subscribe("schedule://**")
    await b.schedule.create(ROUTE, "* * * * *", "broadcast", "ours")
    await stranger.schedule.cancel(ROUTE)
    expect((await stranger.schedule.list()).total).toBe(0)
    await stranger.schedule.create(ROUTE, "* * * * *", "broadcast", "theirs")
    await a.schedule.subscribe(ROUTE)
    broker.advance(MINUTE_MS)
    expect([await heard(stranger), await heard(a)]).toEqual([["theirs"], ["ours"]])
  })

  test("SC-3: a mode above 1 is refused as 7008", async () => {
    for (const mode of [2, 255]) {
      const create = bytes(block(ROUTE), block("* * * * *"), u8(mode), block("x"))
      await refused(
        a.call(700, create, () => null),
        "invalid delivery mode",
      )
    }
    expect((await a.schedule.list()).total).toBe(0)
  })

  test("SC-14 SC-4: the largest definition fits one LIST reply; one byte more is refused as 7004", async () => {
    const cron = "* * * * *"
    const room = 65_535 - 10 - (1 + 4 + ROUTE.length + 4 + cron.length + 1 + 4)
    await refused(a.schedule.create(ROUTE, cron, "broadcast", Buffer.alloc(room + 1)), "would not fit")
    await a.schedule.create(ROUTE, cron, "broadcast", Buffer.alloc(room))
    expect((await a.schedule.list()).entries[0]!.payload.length).toBe(room)
    expect(a.received.at(-1)!.payload.length).toBe(65_535)
    await b.schedule.subscribe(ROUTE)
    broker.advance(MINUTE_MS)
    expect((await b.schedule.next()).payload.length).toBe(room)
  })

  test("SC-14 SC-5: what surrounds an expression cannot make a definition larger than it counts", async () => {
    // U+00A0 is a blank to some, and two bytes to all: a frame full of it is more than a LIST reply can carry.
    const cron = `${"\u00a0".repeat(20)}* * * * *`
    const payload = Buffer.alloc(65_535 - (4 + ROUTE.length + 4 + Buffer.byteLength(cron) + 1 + 4))
    await refused(a.schedule.create(ROUTE, cron, "broadcast", payload), "invalid cron")
    expect(await a.schedule.list()).toEqual({ total: 0, entries: [] })
    const padded = `${" ".repeat(200)}* * * * *${"\t".repeat(200)}`
    const room = 65_535 - 10 - (1 + 4 + ROUTE.length + 4 + padded.length + 1 + 4)
    await a.schedule.create(ROUTE, padded, "broadcast", Buffer.alloc(room))
    expect((await a.schedule.list()).entries[0]!.cron).toBe(padded)
  })

  test("SC-15: CREATE and CANCEL are committed with Sync", async () => {
    const levels: boolean[] = []
    const { commit } = broker.database
    broker.database.commit = sync => {
      levels.push(sync)
      commit.call(broker.database, sync)
    }
    await a.schedule.create(ROUTE, "* * * * *", "broadcast", "x")
    await a.schedule.cancel(ROUTE)
    expect(levels).toEqual([true, true])
  })

  test("E-7: on a full disk CREATE and CANCEL are refused as 7010 and change nothing; occurrences go on", async () => {
    await a.schedule.subscribe("schedule://**")
    await b.schedule.create(ROUTE, "* * * * *", "broadcast", "x")
    broker.faults.fillDisk()
    await refused(b.schedule.create(OTHER, "* * * * *", "broadcast", "y"), "storage failure")
    await refused(b.schedule.create(ROUTE, "* * * * *", "broadcast", "z"), "storage failure")
    await refused(b.schedule.cancel(ROUTE), "storage failure")
    expect((await b.schedule.list()).entries.map(({ payload }) => String(payload))).toEqual(["x"])
    broker.advance(MINUTE_MS)
    expect(await heard(a)).toEqual(["x"])
    broker.faults.freeDisk()
    broker.advance(1_000)
    await b.schedule.cancel(ROUTE)
  })

  test("E-6: a CREATE that meets a bug is refused as 7010, and what was there stays", async () => {
    broker.faults.poison = "poison"
    await b.schedule.create(ROUTE, "* * * * *", "broadcast", "x")
    await refused(b.schedule.create(ROUTE, "*/5 * * * *", "single", "poison"), "storage failure")
    expect((await b.schedule.list()).entries).toEqual([
      { route: ROUTE, cron: "* * * * *", mode: 0, payload: Buffer.from("x") },
    ])
    await a.schedule.subscribe(ROUTE)
    broker.advance(MINUTE_MS)
    expect(await heard(a)).toEqual(["x"])
  })

  test("M-15: definitions beyond the limit are refused as 7003; replacing one is not", async () => {
    start({ config: { maxSchedules: 1 } })
    await a.schedule.create(ROUTE, "* * * * *", "broadcast", "x")
    await refused(a.schedule.create(OTHER, "* * * * *", "broadcast", "x"), "schedule limit")
    await refused(
      broker.enter({ family: 2 }).schedule.create(ROUTE, "* * * * *", "broadcast", "x"),
      "schedule limit",
    )
    await a.schedule.create(ROUTE, "*/2 * * * *", "broadcast", "y")
    await a.schedule.cancel(ROUTE)
    await a.schedule.create(OTHER, "* * * * *", "broadcast", "x")
  })
})

describe("list", () => {
  test("SC-4: by route, from offset, up to limit; absent they are 0 and 100; total counts them all", async () => {
    const route = (i: number): string => `schedule://r/a/x/${String(i).padStart(3, "0")}`
    for (let i = 119; i >= 0; i--) await a.schedule.create(route(i), "* * * * *", "broadcast", String(i))
    const listed = async (offset?: number, limit?: number): Promise<number[]> => {
      const { total, entries } = await b.schedule.list(offset, limit)
      expect(total).toBe(120)
      return entries.map(({ payload }) => Number(payload))
    }
    const upTo = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)
    expect(await listed()).toEqual(upTo(0, 100))
    expect(await listed(50, 10)).toEqual(upTo(50, 60))
    expect(await listed(115)).toEqual(upTo(115, 120))
    expect(await listed(0, 0)).toEqual(upTo(0, 120))
    expect(await listed(119, 5)).toEqual([119])
    expect(await listed(120, 5)).toEqual([])
    expect(await listed(5_000)).toEqual([])
    expect(await listed(2 ** 60, 2 ** 60)).toEqual([])
  })

  test("SC-4: a page stops before the payload would pass 65,535 bytes", async () => {
    const payload = Buffer.alloc(30_000, "x")
    for (const name of ["1", "2", "3"])
      await a.schedule.create(`schedule://r/a/x/${name}`, "* * * * *", "broadcast", payload)
    for (const limit of [undefined, 0, 3]) {
      const { total, entries } = await b.schedule.list(0, limit)
      expect([total, entries.length]).toEqual([3, 2])
    }
    expect((await b.schedule.list(2)).entries.length).toBe(1)
  })

  test("P-7: LIST needs read over schedule://** (7009)", async () => {
    const part = broker.enter({ permissions: ["schedule://realm/**#*"] })
    await refused(part.schedule.list(), 7009)
    const writer = broker.enter({ permissions: ["schedule://**#write"] })
    await refused(writer.schedule.list(), 7009)
    const whole = broker.enter({ permissions: ["schedule://*/*/*/*#read"] })
    expect((await whole.schedule.list()).total).toBe(0)
  })
})

describe("firing", () => {
  test("SC-9: at the start of each matching minute, the first strictly after CREATE", async () => {
    await a.schedule.subscribe(ROUTE)
    // The clock stands half a minute before the full one.
    await b.schedule.create(ROUTE, "* * * * *", "broadcast", "x")
    broker.advance(29_999)
    expect(await heard(a)).toEqual([])
    broker.advance(1)
    expect(broker.now % MINUTE_MS).toBe(0)
    expect(await heard(a)).toEqual(["x"])
    // Created exactly at a full minute, it waits for the next.
    await b.schedule.create(OTHER, "* * * * *", "broadcast", "y")
    await a.schedule.subscribe(OTHER)
    broker.advance(MINUTE_MS - 1)
    expect(await heard(a)).toEqual([])
    broker.advance(1)
    expect((await heard(a)).sort()).toEqual(["x", "y"])
  })

  test("SC-5: times are UTC", async () => {
    expect(new Date(START_MS).toISOString()).toBe("2026-04-15T12:00:30.000Z")
    expect(await firings("15 13 * * *", 2 * DAY_MS)).toEqual(["2026-04-15 13:15", "2026-04-16 13:15"])
  })

  test.each([
    ["*/20 * * * *", HOUR_MS, ["12:20", "12:40", "13:00"]],
    ["10-30/10 * * * *", HOUR_MS, ["12:10", "12:20", "12:30"]],
    ["5,50-52 * * * *", HOUR_MS, ["12:05", "12:50", "12:51", "12:52"]],
    ["0 */6 * * *", DAY_MS, ["18:00", "00:00", "06:00", "12:00"]],
    ["30 23-23 * * *", DAY_MS, ["23:30"]],
  ] as [string, number, string[]][])("SC-6: %s", async (cron, overMs, expected) => {
    expect((await firings(cron, overMs)).map(time => time.slice(11))).toEqual(expected)
  })

  test.each([
    // The 15th of April 2026 is a Wednesday.
    ["0 0 * * *", ["16", "17", "18", "19", "20", "21", "22"]],
    ["0 0 * * 1", ["20"]],
    ["0 0 * * 0", ["19"]],
    ["0 0 17 * *", ["17"]],
    ["0 0 17 * 1", ["17", "20"]],
    ["0 0 17 4 1", ["17", "20"]],
    ["0 0 17 5 1", []],
    ["0 0 */2 * 1", ["17", "19", "20", "21"]],
    ["0 0 17 * */1", ["16", "17", "18", "19", "20", "21", "22"]],
  ] as [string, string[]][])("SC-8: %s fires on these days", async (cron, expected) => {
    expect((await firings(cron, 7 * DAY_MS)).map(time => time.slice(8, 10))).toEqual(expected)
  })

  test("SC-9: years ahead, the 29th of February included", async () => {
    await a.schedule.subscribe(ROUTE)
    await b.schedule.create(ROUTE, "30 6 29 2 *", "broadcast", "leap")
    broker.advance(Date.UTC(2028, 1, 29, 6, 29, 59) - broker.now)
    expect(await heard(a)).toEqual([])
    broker.advance(1_000)
    expect(await heard(a)).toEqual(["leap"])
  })

  test("SC-10 S-3 S-4: Broadcast: each matching registration gets it, the creator's own too", async () => {
    const ids = [await a.schedule.subscribe(ROUTE), await a.schedule.subscribe("schedule://realm/**")]
    const own = await b.schedule.subscribe("schedule://*/*/*/run")
    await b.schedule.subscribe(OTHER)
    await b.schedule.create(ROUTE, "* * * * *", "broadcast", "x")
    broker.advance(30_000)
    const notice = { route: ROUTE, payload: Buffer.from("x") }
    expect([await a.schedule.next(), await a.schedule.next()]).toEqual(
      ids.map(subscription => ({ subscription, ...notice })),
    )
    expect(await b.schedule.next()).toEqual({ subscription: own, ...notice })
    expect([await heard(a), await heard(b)]).toEqual([[], []])
  })

  test("SC-11: Single: exactly one registration gets it, another one each time", async () => {
    const callers = [a, b, broker.enter()]
    for (const caller of callers) await caller.schedule.subscribe("schedule://realm/**")
    await a.schedule.create(ROUTE, "* * * * *", "single", "x")
    const counts: number[][] = []
    for (let minute = 0; minute < 6; minute++) {
      broker.advance(MINUTE_MS)
      const got = await Promise.all(callers.map(heard))
      counts.push(got.map(all => all.length))
    }
    expect(counts).toEqual([
      [1, 0, 0],
      [0, 1, 0],
      [0, 0, 1],
      [1, 0, 0],
      [0, 1, 0],
      [0, 0, 1],
    ])
  })

  test("SC-11: one that is gone is passed over; each route has its own turn", async () => {
    const c = broker.enter()
    for (const caller of [a, b, c]) await caller.schedule.subscribe("schedule://**")
    await a.schedule.create(ROUTE, "* * * * *", "single", "run")
    await a.schedule.create(OTHER, "* * * * *", "single", "stop")
    broker.advance(30_000)
    expect((await heard(a)).sort()).toEqual(["run", "stop"])
    b.pipe.hangUp()
    broker.advance(MINUTE_MS)
    expect((await heard(c)).sort()).toEqual(["run", "stop"])
    broker.advance(MINUTE_MS)
    expect((await heard(a)).sort()).toEqual(["run", "stop"])
  })

  test("SC-12: an occurrence that nobody is registered for is gone", async () => {
    await b.schedule.create(ROUTE, "* * * * *", "single", "x")
    broker.advance(5 * MINUTE_MS)
    await a.schedule.subscribe(ROUTE)
    broker.advance(20_000)
    expect(await heard(a)).toEqual([])
    broker.advance(MINUTE_MS)
    expect(await heard(a)).toEqual(["x"])
  })

  test("SC-13: definitions survive a restart; what fell into it is skipped", async () => {
    await b.schedule.create(ROUTE, "*/10 * * * *", "single", "ten")
    await b.schedule.create(OTHER, "0 * * * *", "broadcast", "hour")
    start({ after: broker, nowMs: broker.now + 3 * HOUR_MS })
    expect((await b.schedule.list()).entries.map(({ cron, mode }) => [cron, mode])).toEqual([
      ["*/10 * * * *", 1],
      ["0 * * * *", 0],
    ])
    await a.schedule.subscribe("schedule://**")
    broker.advance(5_000)
    expect(await heard(a)).toEqual([])
    broker.advance(10 * MINUTE_MS)
    expect(await heard(a)).toEqual(["ten"])
  })

  test("SC-13: a broker that was not given the processor fires once and goes on", async () => {
    await a.schedule.subscribe(ROUTE)
    await b.schedule.create(ROUTE, "* * * * *", "broadcast", "x")
    broker.jump(HOUR_MS)
    expect(await heard(a)).toEqual(["x"])
    broker.advance(MINUTE_MS)
    expect(await heard(a)).toEqual(["x"])
  })

  test("SC-9 O-5: thousands due in one minute all fire, and others are served in between", async () => {
    start({ manual: true })
    for (let i = 0; i < 1_000; i++)
      unheard(a.schedule.create(`schedule://r/a/x/${i}`, "* * * * *", "broadcast", String(i)))
    unheard(a.schedule.subscribe("schedule://**"))
    broker.settle()
    broker.world.moveTo(broker.now + 30_000)
    const turns = broker.durableTurns
    broker.settle()
    expect(broker.durableTurns - turns).toBeGreaterThan(5)
    expect(new Set(await heard(a)).size).toBe(1_000)
  })

  test("S-5 S-6 S-7: nothing after UNSUBSCRIBE, and nothing for who is gone", async () => {
    await b.schedule.create(ROUTE, "* * * * *", "broadcast", "x")
    await a.schedule.subscribe(ROUTE)
    const id = await a.schedule.subscribe("schedule://**")
    expect(await a.schedule.subscribe("schedule://**")).toBe(id)
    await a.schedule.unsubscribe("schedule://**")
    await a.schedule.unsubscribe("schedule://**")
    broker.advance(MINUTE_MS)
    expect((await heard(a)).length).toBe(1)
    await a.schedule.unsubscribe(ROUTE)
    broker.advance(MINUTE_MS)
    expect(await heard(a)).toEqual([])
  })
})

describe("what is refused", () => {
  test.each([
    "",
    "* * * *",
    "* * * * * *",
    "60 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "* * 32 * *",
    "* * * 0 *",
    "* * * 13 *",
    "* * * * 7",
    "* * * JAN *",
    "* * * * SUN",
    "@hourly",
    "5/10 * * * *",
    "*/0 * * * *",
    "1-5/0 * * * *",
    "5-1 * * * *",
    "*,5 * * * *",
    "5,* * * * *",
    ",5 * * * *",
    "5, * * * *",
    "5,,6 * * * *",
    "-5 * * * *",
    "5- * * * *",
    "1-2-3 * * * *",
    "*/ * * * *",
    "*/5/5 * * * *",
    "+5 * * * *",
    "5.5 * * * *",
    "0x5 * * * *",
    "? * * * *",
    "L * * * *",
    "* * L * *",
    "* * * * 1#2",
    "* * 15W * *",
    "* * 30 2 *",
    "* * 31 4,6,9,11 *",
    "0 0 31 2,4 *",
    "005 * * * *",
    "* * * *\u00a0*",
    "* * * * *\u0000",
  ])("SC-7: %j is no expression (7002)", async cron => {
    await refused(a.schedule.create(ROUTE, cron, "broadcast", "x"), "invalid cron")
    expect((await a.schedule.list()).total).toBe(0)
  })

  test("SC-5 SC-7: what is allowed at the edges", async () => {
    const fine = [
      "0-59/59 0-23 1-31 1-12 0-6",
      "59 23 31 12 6",
      "*/99 * * * *",
      "  *\t*  * \t* *  ",
      "00 09 01 01 00",
      "* * 29 2 *",
      "* * 31 1,2 *",
      "* * 30 2 1",
    ]
    for (const cron of fine) await a.schedule.create(ROUTE, cron, "broadcast", "x")
    expect((await a.schedule.list()).total).toBe(1)
  })

  test("SC-9: the public suite's slowest expression is found at once", async () => {
    await a.schedule.create(ROUTE, "59 23 29 2 *", "broadcast", "x")
    await a.schedule.create(ROUTE, "0 0 29 2 0", "broadcast", "x")
  })

  test("P-7 P-10: 700 and 701 need write, 703 and 704 read (7009)", async () => {
    const reader = broker.enter({ permissions: ["schedule://**#read"] })
    const writer = broker.enter({ permissions: ["schedule://**#write"] })
    await refused(reader.schedule.create(ROUTE, "* * * * *", "broadcast", "x"), "unauthorized")
    await refused(reader.schedule.cancel(ROUTE), "unauthorized")
    await refused(writer.schedule.subscribe(ROUTE), "unauthorized")
    await refused(writer.schedule.unsubscribe(ROUTE), "unauthorized")
    await writer.schedule.create(ROUTE, "* * * * *", "broadcast", "x")
    await reader.schedule.subscribe(ROUTE)
  })

  test("R-3: a route that is none, or not of four segments, is refused as 7005", async () => {
    for (const route of [
      "schedule://a/b/c",
      "schedule://a/b/c/d/e",
      "schedule://a/b/c/*",
      "schedule://**",
      "kv://a/b/c",
    ]) {
      await refused(a.schedule.create(route, "* * * * *", "broadcast", "x"), "invalid target route")
      await refused(a.schedule.cancel(route), "invalid target route")
    }
  })

  test("S-8 S-9: patterns that are none are refused as 7006, registrations beyond the limit as 7007", async () => {
    for (const pattern of [
      "schedule://a/b/c",
      "schedule://a/*/c",
      "schedule://a/b/c/d/e/**",
      "schedule://a/b/c/d*",
    ])
      await refused(a.schedule.subscribe(pattern), "invalid subscription pattern")
    start({ config: { maxWildcardRegistrations: 1 } })
    await a.schedule.subscribe("schedule://a/**")
    await refused(a.schedule.subscribe("schedule://b/**"), "subscription limit")
    await a.schedule.subscribe(ROUTE)
  })

  test("F-10: a request that does not parse is refused as 7004", async () => {
    const ask = (type: number, payload: Buffer): Promise<unknown> => a.call(type, payload, () => null)
    const whole = bytes(block(ROUTE), block("* * * * *"), u8(0), block("x"))
    await refused(ask(700, whole.subarray(0, -1)), "bad request")
    await refused(ask(700, bytes(whole, "00")), "bad request")
    await refused(ask(700, bytes(block(ROUTE), block(bytes("ff")), u8(0), block("x"))), "bad request")
    await refused(ask(701, bytes(block(ROUTE), "00")), "bad request")
    await refused(ask(702, bytes("00")), 7004)
    await refused(ask(702, bytes("02 00")), 7004)
    await refused(ask(702, bytes("01", u64(1), "00 00")), 7004)
    await a.schedule.list()
  })
})
