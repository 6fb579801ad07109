// Notices as publishers and followers meet them: real brokers, real sockets, all four ways in. What may be
// lost is in limits.test.ts; with followers that read, nothing is.

import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { block, bytes } from "../kit/bytes.ts"
import { fresh, Places, WAYS } from "../kit/ways.ts"

let places: Places
beforeAll(async () => {
  places = await Places.start()
})
afterAll(() => places.stop())

describe.concurrent.each(WAYS)("notice over $transport, auth $auth", way => {
  test("N-2 N-9: a publish reaches every matching registration, the publisher's own included", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("notice")
    const realm = route.split("/").slice(0, 3).join("/")
    const own = await a.notice.subscribe(route)
    const exact = await b.notice.subscribe(route)
    const wide = await b.notice.subscribe(`${realm}/**`)
    const star = await b.notice.subscribe(`${realm}/*/resource`)
    expect(await b.notice.subscribe(route)).toBe(exact)
    expect(new Set([own, exact, wide, star]).size).toBe(4)
    a.notice.publish(route, "hello")
    expect(await a.notice.next()).toEqual({ subscription: own, route, body: Buffer.from("hello") })
    const heard = [await b.notice.next(), await b.notice.next(), await b.notice.next()]
    expect(new Set(heard.map(({ subscription }) => subscription))).toEqual(new Set([exact, wide, star]))
    a.notice.publish(`${realm}/elsewhere`, "other depth")
    expect(await b.notice.next()).toMatchObject({ subscription: wide, route: `${realm}/elsewhere` })
    await a.settle()
    await b.settle()
    expect([...a.unread(504), ...b.unread(504)]).toEqual([])
  })

  test("N-3: notices of one publisher arrive in the order in which they were published", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const [route, other] = [fresh("notice"), fresh("notice")]
    await b.notice.subscribe(route)
    for (let n = 0; n < 2_000; n++) {
      a.notice.publish(route, String(n))
      if (n % 3 === 0) a.notice.publish(other, "to nobody")
    }
    for (let n = 0; n < 2_000; n++) expect(String((await b.notice.next()).body)).toBe(String(n))
  })

  test("N-6 N-7 S-1: unsubscribing by id, all at once, and what is unknown", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const [one, two] = [fresh("notice"), fresh("notice")]
    const first = await a.notice.subscribe(one)
    const second = await a.notice.subscribe(two)
    // Another session's id is nothing to this one.
    await b.notice.unsubscribe(first)
    await b.notice.unsubscribe(123_456_789)
    b.notice.publish(one, "still followed")
    expect((await a.notice.next()).subscription).toBe(first)
    await a.notice.unsubscribe(first)
    await a.notice.unsubscribe(first)
    b.notice.publish(one, "not followed")
    b.notice.publish(two, "followed")
    expect((await a.notice.next()).subscription).toBe(second)
    await a.notice.unsubscribeAll()
    await a.notice.unsubscribeAll()
    b.notice.publish(two, "not followed")
    await b.settle()
    await a.settle()
    expect(a.unread(504)).toEqual([])
    // Ids are never given twice.
    const third = await a.notice.subscribe(one)
    expect(third).toBeGreaterThan(second)
  })

  test("N-8: bodies of any length that a notification can carry; a longer one goes nowhere", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("notice")
    await b.notice.subscribe(route)
    const largest = 65_535 - 8 - block(route).length - 4
    for (const length of [0, 1, 125, 126, 65_000, largest, largest + 1])
      a.notice.publish(route, Buffer.alloc(length, length % 251))
    a.notice.publish(route, "after it")
    for (const length of [0, 1, 125, 126, 65_000, largest])
      expect((await b.notice.next()).body).toEqual(Buffer.alloc(length, length % 251))
    expect(String((await b.notice.next()).body)).toBe("after it")
  })

  test("N-1 N-5: publishes that are none are dropped without a word", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("notice")
    const id = await b.notice.subscribe("notice://**")
    a.send(500, bytes())
    a.send(500, bytes(block(route)))
    a.send(500, bytes(block(route), block("trailing"), "00"))
    a.notice.publish(`${route}/*`, "a pattern")
    a.notice.publish("notice://a//b", "an empty segment")
    a.notice.publish("kv://a/b/c", "another domain")
    a.notice.publish(route, "a good one")
    // Other ways publish to the same broker meanwhile; of this test's own only the good one comes.
    let heard = await b.notice.next()
    while (heard.route !== route && heard.route !== "notice://a//b") heard = await b.notice.next()
    expect(heard).toEqual({ subscription: id, route, body: Buffer.from("a good one") })
    await a.settle()
    expect(a.received.map(({ type }) => type).filter(type => type === 500)).toEqual([])
    await b.close()
  })

  test("S-9: a subscription whose pattern is none is refused by code", async () => {
    const a = await places.open(way)
    for (const pattern of ["notice://", "notice://a//b", "lease://a/b/c", "notice://a/b*", "notice://**/**"])
      await expect(a.notice.subscribe(pattern)).rejects.toMatchObject({ code: 3002 })
  })
})
