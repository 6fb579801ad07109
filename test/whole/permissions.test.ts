// What tokens allow, message by message, and that families never meet. Real brokers that ask for tokens, both
// transports; every denial is compared with its envelope byte for byte.

import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { block, bytes, Cursor, flag, u8, u32, u64 } from "../kit/bytes.ts"
import type { Program } from "../kit/ways.ts"
import { correlation, fresh, Place, TRANSPORTS } from "../kit/ways.ts"

let place: Place
beforeAll(async () => {
  place = await Place.start({ auth: true })
})
afterAll(() => place.stop())

type Access = "read" | "write" | "*"

/** One message that needs a permission: what for, and how its denial looks. */
interface Guarded {
  readonly type: number
  readonly name: string
  readonly needs: Access
  readonly code: number
  readonly plain?: boolean
  readonly route: string
  payload(route: string): Buffer
}

const concrete = {
  kv: "a/b/c",
  queue: "a/b/c",
  rpc: "a/b/c",
  lease: "a/b/c",
  stream: "a/b/c",
  schedule: "a/b/c/d",
}

function guard(type: number, name: string, needs: Access, payload: (route: string) => Buffer): Guarded {
  const scheme = ["kv", "queue", "rpc", "lease", "notice", "stream", "schedule"][Math.floor(type / 100) - 1]!
  const code = { kv: 1011, queue: 4009, rpc: 6009, lease: 5009, notice: 3009, stream: 2009, schedule: 7009 }[
    scheme
  ]!
  const plain = [100, 203, 204, 207, 208, 600, 700, 701, 703, 704].includes(type)
  const path = scheme === "notice" ? "a/b/c" : concrete[scheme as keyof typeof concrete]
  return { type, name, needs, code, plain, route: `${scheme}://${path}`, payload }
}

const none = u8(0)
const GUARDED: readonly Guarded[] = [
  guard(100, "KV BEGIN ReadOnly", "read", route => bytes(block(route), u8(0), u8(0))),
  guard(100, "KV BEGIN ReadWrite", "write", route => bytes(block(route), u8(1), u8(0))),
  guard(109, "KV SUBSCRIBE", "read", route => block(route)),
  guard(110, "KV UNSUBSCRIBE", "read", route => block(route)),
  guard(200, "Queue ENQUEUE", "write", route => bytes(block(route), block("m"), none)),
  guard(202, "Queue RESERVE", "write", route => bytes(block(route), u64(9), none, none)),
  guard(203, "Queue EXTEND", "write", route => bytes(block(route), u64(1), u64(1), u64(1))),
  guard(204, "Queue COMPLETE", "write", route => bytes(block(route), u64(1), u64(1))),
  guard(207, "Queue SUBSCRIBE", "read", route => block(route)),
  guard(208, "Queue UNSUBSCRIBE", "read", route => block(route)),
  guard(300, "RPC SUBSCRIBE_WORKER", "*", route => bytes(block(route), u32(1))),
  guard(301, "RPC UNSUBSCRIBE_WORKER", "*", route => block(route)),
  guard(400, "Lease ACQUIRE", "write", route => bytes(block(route), block(""), u64(9), u32(0))),
  guard(401, "Lease RENEW", "write", route => bytes(block(route), block(""), u64(1), u64(9))),
  guard(402, "Lease RELEASE", "write", route => bytes(block(route), block(""), u64(1))),
  guard(403, "Lease QUERY", "read", route => block(route)),
  guard(407, "Lease SUBSCRIBE", "read", route => block(route)),
  guard(408, "Lease UNSUBSCRIBE", "read", route => block(route)),
  guard(501, "Notice SUBSCRIBE", "read", route => block(route)),
  guard(600, "Stream BEGIN", "write", route => bytes(block(route), none)),
  guard(604, "Stream READ", "read", route => bytes(block(route), u64(0), u64(1), none, none, none, none)),
  guard(605, "Stream LAST", "read", route => block(route)),
  guard(606, "Stream GET_METADATA", "read", route => block(route)),
  guard(607, "Stream SUBSCRIBE", "read", route => block(route)),
  guard(608, "Stream UNSUBSCRIBE", "read", route => block(route)),
  guard(700, "Schedule CREATE", "write", route => bytes(block(route), block("0 0 1 1 *"), u8(0), block(""))),
  guard(701, "Schedule CANCEL", "write", route => block(route)),
  guard(703, "Schedule SUBSCRIBE", "read", route => block(route)),
  guard(704, "Schedule UNSUBSCRIBE", "read", route => block(route)),
]

/** The code of a reply: 0 for a success, the denial's for a denial; anything else is a mistake. */
function verdict(reply: Buffer, { code, plain = false }: Guarded): "allowed" | "denied" | "other" {
  const cursor = new Cursor(reply)
  if (cursor.u8() === 0) return "allowed"
  const coded = plain ? null : cursor.u32()
  const text = cursor.text()
  cursor.end()
  if (plain) return text.startsWith("unauthorized") ? "denied" : "other"
  return coded === code ? "denied" : "other"
}

async function judge(who: Program, guarded: Guarded, route = guarded.route): Promise<"allowed" | "denied"> {
  const result = verdict(await who.ask(guarded.type, guarded.payload(route)), guarded)
  // Whatever else is wrong with the request, it was let through to the domain.
  return result === "denied" ? "denied" : "allowed"
}

describe.concurrent.each(TRANSPORTS)("permissions over %s", transport => {
  test.each(["read", "write", "*"] as const)(
    "P-7 P-8 P-10: what #%s allows, message by message",
    async access => {
      const realm = fresh("x", 1).slice("x://".length)
      const schemes = ["kv", "queue", "rpc", "lease", "notice", "stream", "schedule"]
      const who = await place.open(transport, {
        permissions: schemes.map(scheme => `${scheme}://${realm}/**#${access}`),
      })
      for (const guarded of GUARDED) {
        const inside = guarded.route.replace("://a/", `://${realm}/`)
        const allowed = access === "*" || access === guarded.needs
        expect(await judge(who, guarded, inside), `${guarded.name} inside`).toBe(
          allowed ? "allowed" : "denied",
        )
        expect(await judge(who, guarded, guarded.route), `${guarded.name} outside`).toBe("denied")
      }
      // The connection stays open for all that.
      await who.notice.unsubscribe(0)
    },
  )

  test("P-10: a call that is not allowed ends with 6009; a publish that is not vanishes", async () => {
    const [all, reader] = [
      await place.open(transport),
      await place.open(transport, { permissions: ["rpc://**#read", "notice://**#read"] }),
    ]
    const route = fresh("notice")
    const id = correlation()
    reader.rpc.call(id, fresh("rpc"), "")
    expect(await reader.rpc.answer()).toMatchObject({ correlation: id, sequence: 0, fault: { code: 6009 } })
    await all.notice.subscribe(route)
    reader.notice.publish(route, "not allowed")
    await reader.notice.unsubscribe(0)
    all.notice.publish(route, "allowed")
    expect(String((await all.notice.next()).body)).toBe("allowed")
    expect(reader.received.filter(({ type }) => type === 500)).toEqual([])
  })

  test("P-7: LIST needs to read every schedule", async () => {
    for (const [permission, allowed] of [
      ["schedule://**#read", true],
      ["schedule://*/*/*/*#read", true],
      ["schedule://**#*", true],
      ["schedule://**#write", false],
      ["schedule://a/**#read", false],
      ["kv://**#*", false],
    ] as const) {
      const who = await place.open(transport, { permissions: [permission] })
      const listed = who.schedule.list(0, 1)
      if (allowed) expect((await listed).total).toBeGreaterThanOrEqual(0)
      else await expect(listed, permission).rejects.toMatchObject({ code: 7009 })
    }
  })

  test("P-5 R-6: one grant has to cover all of a pattern; grants are not added up", async () => {
    const open = (...permissions: string[]) => place.open(transport, { permissions })
    const cases: readonly [string[], string, boolean][] = [
      [["queue://a/**#*"], "queue://a/*/c", true],
      [["queue://a/**#*"], "queue://a/b/c", true],
      [["queue://a/**#*"], "queue://*/b/c", false],
      [["queue://a/**#*"], "queue://**", false],
      [["queue://*/*/*#*"], "queue://**", true],
      [["queue://a/b/*#*", "queue://a/*/c#*"], "queue://a/*/*", false],
      [["queue://a/*/c#*"], "queue://a/b/c", true],
      [["queue://a/*/c#*"], "queue://a/b/d", false],
      [["queue://a/b#*"], "queue://a/b/c", false],
      [["queue://a/b/c#read", "queue://a/b/c#write"], "queue://a/b/c", true],
      [["stream://**#*"], "queue://a/b/c", false],
    ]
    for (const [permissions, route, allowed] of cases) {
      const who = await open(...permissions)
      const what = `${permissions} ${route}`
      const asked = [who.queue.subscribe(route), who.queue.reserve(route)]
      for (const request of asked) {
        if (allowed) await request
        else await expect(request, what).rejects.toThrow(/unauthorized/)
      }
    }
    // A worker needs both in one grant, which two halves do not make.
    const halves = await open("rpc://a/b#read", "rpc://a/b#write")
    await expect(halves.rpc.register("rpc://a/b")).rejects.toMatchObject({ code: 6009 })
    await (await open("rpc://**#*")).rpc.register(fresh("rpc"))
  })

  test("P-6: a bad route is told before a missing permission, that before the operation", async () => {
    const who = await place.open(transport, { permissions: ["kv://a/**#read"] })
    await expect(who.lease.acquire("lease://a//c", 9)).rejects.toMatchObject({ code: 5008 })
    await expect(who.lease.acquire("lease://a/b/c", 0)).rejects.toMatchObject({ code: 5009 })
    await expect(who.kv.subscribe("kv://a")).rejects.toMatchObject({ code: 1012 })
    await expect(who.queue.reserve("queue://a/b/c", { batch: 5_000 })).rejects.toMatchObject({ code: 4009 })
  })

  test("P-7: handles work without a further permission, for their session only", async () => {
    const route = fresh("kv")
    const writer = await place.open(transport, { permissions: ["kv://**#write", "stream://**#write"] })
    const tx = await writer.kv.begin(route, "write")
    await writer.kv.put(tx, route, "k", "v")
    expect(String(await writer.kv.get(tx, route, "k"))).toBe("v")
    expect((await writer.kv.scan(tx, route)).pairs.length).toBe(1)
    await writer.kv.commit(tx, route)
    await expect(writer.kv.begin(route, "read")).rejects.toThrow(/unauthorized/)
    const stream = fresh("stream")
    const session = await writer.stream.begin(stream)
    await writer.stream.append(session, 0, "e")
    await writer.stream.commit(session)
    await expect(writer.stream.last(stream)).rejects.toMatchObject({ code: 2009 })
  })

  test("P-2 P-3 P-4: where permissions come from, and whose entries do not count", async () => {
    const route = fresh("queue")
    const open = (claims: Record<string, unknown>) =>
      place.open(transport, { claims: { permissions: undefined, ...claims } })
    const allows = async (claims: Record<string, unknown>) => {
      const who = await open(claims)
      const may = async (request: Promise<unknown>): Promise<boolean> => {
        try {
          await request
          return true
        } catch (error) {
          expect(String(error)).toMatch(/unauthorized/)
          return false
        }
      }
      return [
        await may(who.queue.subscribe(route)),
        await may(who.queue.enqueue(route, "m")),
        await may(who.kv.subscribe(fresh("kv"))),
      ]
    }
    expect(await allows({ permissions: [`${route}#read`, "admin:read", "metrics:read"] })).toEqual([
      true,
      false,
      false,
    ])
    expect(await allows({ permissions: [route] })).toEqual([true, true, false])
    expect(await allows({ roles: ["queue://**#write"], scp: ["queue.read"] })).toEqual([false, true, false])
    expect(await allows({ scp: ["queue.read", "openid"] })).toEqual([true, false, false])
    expect(await allows({ scp: "queue.write kv://**#read" })).toEqual([false, true, true])
    expect(await allows({ scope: "queue.read queue.write profile" })).toEqual([true, true, false])
    // kv has no coarse scopes, and permissions take none.
    for (const claims of [{ scope: "kv.read" }, { permissions: ["queue.read"] }, {}]) {
      const who = await open(claims)
      await who.closed
      expect(who.received).toEqual([])
    }
  })
})

// One after the other: the second family follows everything, also what the other transport does.
describe.each(TRANSPORTS)("families over %s", transport => {
  test("P-11: the same routes in two families have nothing to do with each other", async () => {
    const [a, twin, other] = [
      await place.open(transport, { identity: "dev" }),
      await place.open(transport, { identity: "twin" }),
      await place.open(transport, { identity: "other" }),
    ]
    const realm = fresh("x", 1).slice("x://".length)
    const route = (scheme: string, depth = 3): string =>
      [`${scheme}://${realm}`, "b", "c", "d"].slice(0, depth).join("/")
    const [kv, queue, rpc, lease, notice, stream] = ["kv", "queue", "rpc", "lease", "notice", "stream"].map(
      scheme => route(scheme),
    ) as [string, string, string, string, string, string]
    const schedule = route("schedule", 4)

    // The other family follows everything and must hear of nothing.
    await other.kv.subscribe("kv://**")
    await other.queue.subscribe("queue://**")
    await other.lease.subscribe(lease)
    await other.notice.subscribe("notice://**")
    await other.stream.subscribe("stream://**")
    await other.schedule.subscribe("schedule://**")
    await other.rpc.register("rpc://**", 10)

    const tx = await a.kv.begin(kv, "write")
    const otherTx = await other.kv.begin(kv, "write")
    await a.kv.put(tx, kv, "k", "ours")
    await a.kv.commit(tx, kv)
    expect(await other.kv.get(otherTx, kv, "k")).toBeNull()
    await other.kv.rollback(otherTx, kv)
    const twinTx = await twin.kv.begin(kv, "read")
    expect(String(await twin.kv.get(twinTx, kv, "k"))).toBe("ours")

    expect(await a.queue.enqueue(queue, "ours")).toBe(1)
    expect(await other.queue.reserve(queue)).toEqual([])
    expect(await other.queue.reserve(`queue://${realm}/**`)).toEqual([])

    const held = await a.lease.acquire(lease, 60)
    expect(await other.lease.query(lease)).toEqual({ holder: null, waiters: 0 })
    await expect(twin.lease.acquire(lease, 60)).rejects.toMatchObject({ code: 5001 })
    await expect(other.lease.release(lease, held.token)).resolves.toBeNull()
    expect((await a.lease.query(lease)).holder).not.toBeNull()

    a.notice.publish(notice, "ours")

    const session = await a.stream.begin(stream)
    await a.stream.append(session, 0, "ours")
    await a.stream.commit(session)
    expect(await other.stream.last(stream)).toBeNull()
    const theirs = await other.stream.begin(stream)
    await other.stream.rollback(theirs)

    await a.schedule.create(schedule, "0 0 1 1 *", "broadcast", "ours")
    await other.schedule.cancel(schedule)
    const names = async (who: Program) => (await who.schedule.list(0, 0)).entries.map(entry => entry.route)
    expect(await names(twin)).toContain(schedule)
    expect(await names(other)).not.toContain(schedule)

    a.rpc.call(correlation(), rpc, "ours")
    expect((await a.rpc.answer()).fault?.code).toBe(6004)

    await a.settle()
    await other.settle()
    const pushed = [111, 209, 302, 409, 504, 609, 705].flatMap(type => other.unread(type))
    expect(pushed).toEqual([])
    // What is the other family's own it does hear.
    other.notice.publish(notice, "theirs")
    expect(String((await other.notice.next()).body)).toBe("theirs")
  })

  test("P-7: what another session's handle names is not found, even within a family", async () => {
    const [a, b] = [await place.open(transport), await place.open(transport)]
    const [kv, stream] = [fresh("kv"), fresh("stream")]
    const tx = await a.kv.begin(kv, "write")
    const session = await a.stream.begin(stream)
    await expect(b.kv.put(tx, kv, "k", "v")).rejects.toThrow(/not found/)
    await expect(b.stream.append(session, 0, "e")).rejects.toThrow(/not found/)
    await expect(b.call(602, bytes(u64(session), flag(true)), () => null)).rejects.toMatchObject({
      code: 2003,
    })
    await a.kv.put(tx, kv, "k", "v")
    await a.kv.commit(tx, kv)
  })
})
