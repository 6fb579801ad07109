// Schedules as programs meet them: real brokers, real sockets, all four ways in. Firing is watched on a broker
// whose clock runs faster; nothing else about it is different.

import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { block, bytes, u8 } from "../kit/bytes.ts"
import { fasterClock } from "../kit/clock.ts"
import { fresh, Place, Places, TRANSPORTS, WAYS } from "../kit/ways.ts"

let places: Places
beforeAll(async () => {
  places = await Places.start()
})
afterAll(() => places.stop())

/** The fourth of July at noon: far from now whenever this runs, or at least not in every minute. */
const RARELY = "0 12 4 7 *"

describe.concurrent.each(WAYS)("schedule over $transport, auth $auth", way => {
  test("SC-1 SC-2: a definition is listed as it was made, replaced under its route, and cancelled", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("schedule", 4)
    const mine = async () => (await b.schedule.list(0, 0)).entries.filter(entry => entry.route === route)
    await a.schedule.create(route, RARELY, "broadcast", "payload")
    expect(await mine()).toEqual([{ route, cron: RARELY, mode: 0, payload: Buffer.from("payload") }])
    await a.schedule.create(route, "*/5 1-3 * * 0,6", "single", "")
    expect(await mine()).toEqual([{ route, cron: "*/5 1-3 * * 0,6", mode: 1, payload: Buffer.of() }])
    await b.schedule.cancel(route)
    expect(await mine()).toEqual([])
    await b.schedule.cancel(route)
  })

  test("SC-3 SC-7: expressions that are none, or can never match, are refused and change nothing", async () => {
    const a = await places.open(way)
    const route = fresh("schedule", 4)
    await a.schedule.create(route, RARELY, "broadcast", "stays")
    const wrong = [
      "",
      "* * * *",
      "* * * * * *",
      "60 * * * *",
      "* 24 * * *",
      "* * 0 * *",
      "* * * 13 *",
      "* * * * 7",
      "* * * * SUN",
      "5/2 * * * *",
      "*/0 * * * *",
      "5-1 * * * *",
      "1,,2 * * * *",
      "1,* * * * *",
      "0 0 30 2 *",
      "-1 * * * *",
      "@hourly",
    ]
    for (const cron of wrong)
      await expect(a.schedule.create(route, cron, "broadcast", "x"), cron).rejects.toThrow(/cron/)
    for (const other of ["schedule://a/b/c", "schedule://a/b/c/*", "kv://a/b/c/d", "schedule://a/b/c/d/e"])
      await expect(a.schedule.create(other, RARELY, "broadcast", "x")).rejects.toThrow(/route/)
    const mode = await a.ask(700, bytes(block(route), block(RARELY), u8(2), block("")))
    expect(mode[0]).toBe(1)
    const { entries } = await a.schedule.list(0, 0)
    expect(entries.filter(entry => entry.route === route)).toMatchObject([{ payload: Buffer.from("stays") }])
  })

  test("S-2 S-5 S-9: registrations: one per pattern, unknown ones end in peace, wrong ones are refused", async () => {
    const a = await places.open(way)
    const route = fresh("schedule", 4)
    const realm = route.split("/").slice(0, 3).join("/")
    const id = await a.schedule.subscribe(route)
    expect(await a.schedule.subscribe(route)).toBe(id)
    expect(await a.schedule.subscribe(`${realm}/**`)).not.toBe(id)
    await a.schedule.unsubscribe(route)
    await a.schedule.unsubscribe(route)
    for (const pattern of ["schedule://a/b/c", "schedule://a/b/c/d/e", "kv://a/b/c/d"])
      await expect(a.schedule.subscribe(pattern)).rejects.toThrow(/pattern/)
  })
})

test("SC-4 SC-14: LIST pages through everything in one order, as much as fits a frame", async () => {
  const place = await Place.start()
  try {
    const a = await place.open("tcp")
    expect(await a.schedule.list()).toEqual({ total: 0, entries: [] })
    const names = Array.from({ length: 120 }, (_, n) => `schedule://r/a/s/op${String(n).padStart(3, "0")}`)
    await Promise.all([...names].reverse().map(name => a.schedule.create(name, RARELY, "single", name)))
    const first = await a.schedule.list()
    expect([first.total, first.entries.length]).toEqual([120, 100])
    const second = await a.schedule.list(100)
    expect([...first.entries, ...second.entries].map(entry => entry.route)).toEqual(names)
    expect((await a.schedule.list(119, 5)).entries.map(entry => entry.route)).toEqual([names[119]])
    expect((await a.schedule.list(120, 5)).entries).toEqual([])
    expect((await a.schedule.list(0, 0)).entries.length).toBe(120)
    const large = Buffer.alloc(40_000, 1)
    for (const name of names.slice(0, 3)) await a.schedule.create(name, RARELY, "single", large)
    expect((await a.schedule.list(0, 0)).entries.length).toBe(1)
    // What no LIST reply could carry is refused.
    const tooLong = Buffer.alloc(
      65_535 - block("schedule://r/a/s/x").length - block(RARELY).length - 1 - 4,
      1,
    )
    await expect(a.schedule.create("schedule://r/a/s/x", RARELY, "single", tooLong)).rejects.toThrow()
    expect((await a.schedule.list(0, 1)).total).toBe(120)
  } finally {
    await place.stop()
  }
})

describe.concurrent.each(TRANSPORTS)("firing over %s", transport => {
  test("SC-9 SC-10 SC-11: every minute fires for each follower, or for one after the other", async () => {
    const place = await Place.start({ folder: null, environment: fasterClock(60) })
    try {
      const [a, b] = [await place.open(transport), await place.open(transport)]
      const [all, one] = ["schedule://r/a/s/all", "schedule://r/a/s/one"]
      const [toAll, toBoth] = [await a.schedule.subscribe(all), await a.schedule.subscribe("schedule://r/**")]
      const toOne = await b.schedule.subscribe("schedule://r/*/s/one")
      await a.schedule.create(all, "* * * * *", "broadcast", "to all")
      const heard = [await a.schedule.next(), await a.schedule.next()]
      expect(heard).toEqual(
        [toAll, toBoth].map(subscription => ({ subscription, route: all, payload: Buffer.from("to all") })),
      )
      await a.schedule.cancel(all)
      await a.schedule.create(one, "* * * * *", "single", "")
      const turns: number[] = []
      const collect = async (who: typeof a): Promise<void> => {
        while (turns.length < 4) {
          const { route, subscription } = await who.schedule.next()
          if (route === one) turns.push(subscription)
        }
      }
      await Promise.race([collect(a), collect(b)])
      const [first, second] = turns
      expect(turns.slice(0, 4)).toEqual([first, second, first, second])
      expect(new Set([first, second])).toEqual(new Set([toBoth, toOne]))
      await a.close()
      // Whoever is left gets them all.
      const left = b.unread(705).length
      for (let n = 0; n < left + 2; n++) expect((await b.schedule.next()).subscription).toBe(toOne)
    } finally {
      await place.stop()
    }
  })

  test("SC-2 SC-9: nothing fires before its first minute after creation, and nothing after a cancel", async () => {
    const place = await Place.start({ folder: null, environment: fasterClock(60) })
    try {
      const a = await place.open(transport)
      const id = await a.schedule.subscribe("schedule://r/**")
      await a.schedule.create("schedule://r/a/s/never", RARELY, "broadcast", "never")
      await a.schedule.create("schedule://r/a/s/gone", "* * * * *", "broadcast", "cancelled")
      await a.schedule.cancel("schedule://r/a/s/gone")
      await a.schedule.create("schedule://r/a/s/kept", "* * * * *", "broadcast", "kept")
      for (let n = 0; n < 2; n++)
        expect(await a.schedule.next()).toMatchObject({ subscription: id, route: "schedule://r/a/s/kept" })
    } finally {
      await place.stop()
    }
  })
})
