// KV, rule by rule (docs/PROTOCOL.md, KV-*), over the in-memory door: what programs may rely on, each rule in a
// test that carries its number, at its limits and one beyond. Time moves by hand; never a socket, a file or a wait.

import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { type PipedCaller, TestBroker, type TestBrokerOptions } from "../kit/broker.ts"
import { block, bytes, flag, opt, u8, u32, u64 } from "../kit/bytes.ts"
import { type Random, seeded } from "../kit/random.ts"
import { refused, unheard } from "../kit/replies.ts"

const ROUTE = "kv://realm/area/one"
const OTHER = "kv://realm/area/two"

let broker: TestBroker
let a: PipedCaller
let b: PipedCaller

function start(options: TestBrokerOptions = {}): void {
  broker.close()
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

/** Commits these pairs; null deletes. */
async function store(pairs: Readonly<Record<string, string | null>>, route = ROUTE): Promise<void> {
  const tx = await b.kv.begin(route, "write")
  for (const [key, value] of Object.entries(pairs)) {
    if (value === null) await b.kv.delete(tx, route, key)
    else await b.kv.put(tx, route, key, value)
  }
  await b.kv.commit(tx, route)
}

type ScanOptions = Parameters<PipedCaller["kv"]["scan"]>[2]

/** The pairs of one page as `key=value`, and a `+` where there are more. */
async function scan(caller: PipedCaller, tx: number, options: ScanOptions = {}): Promise<string> {
  const page = await caller.kv.scan(tx, ROUTE, options)
  return [...page.pairs.map(([key, value]) => `${key}=${value}`), ...(page.more ? ["+"] : [])].join(" ")
}

async function scanOnce(options: ScanOptions = {}): Promise<string> {
  const tx = await a.kv.begin(ROUTE, "read")
  const text = await scan(a, tx, options)
  await a.kv.rollback(tx, ROUTE)
  return text
}

describe("transactions", () => {
  test("KV-1: another route than BEGIN's is refused as 1007, and the transaction stays usable", async () => {
    const tx = await a.kv.begin(ROUTE, "write")
    await refused(a.kv.put(tx, OTHER, "k", "v"), "invalid request")
    await refused(a.kv.get(tx, "kv://realm/area/One", "k"), "invalid request")
    await refused(a.kv.commit(tx, OTHER), "invalid request")
    await a.kv.put(tx, ROUTE, "k", "v")
    await a.kv.commit(tx, ROUTE)
    expect(await scanOnce()).toBe("k=v")
  })

  test("KV-1 P-11: the same route in another family is another resource", async () => {
    const stranger = broker.enter({ family: 2 })
    await store({ k: "ours" })
    const open = await a.kv.begin(ROUTE, "write")
    const theirs = await stranger.kv.begin(ROUTE, "write")
    expect(await stranger.kv.get(theirs, ROUTE, "k")).toBeNull()
    await stranger.kv.put(theirs, ROUTE, "k", "theirs")
    await stranger.kv.commit(theirs, ROUTE)
    expect(String(await a.kv.get(open, ROUTE, "k"))).toBe("ours")
  })

  test("KV-3: a second ReadWrite transaction is refused as 1004, of another session and of the same", async () => {
    const first = await a.kv.begin(ROUTE, "write")
    await refused(b.kv.begin(ROUTE, "write"), "another transaction is writing")
    await refused(a.kv.begin(ROUTE, "write"), "another transaction is writing")
    await b.kv.begin(OTHER, "write")
    await b.kv.begin(ROUTE, "read")
    await a.kv.rollback(first, ROUTE)
    await b.kv.begin(ROUTE, "write")
  })

  test("KV-4: readers are never blocked by a writer and block none", async () => {
    await store({ k: "old" })
    const reader = await b.kv.begin(ROUTE, "read")
    const writer = await a.kv.begin(ROUTE, "write")
    const second = await b.kv.begin(ROUTE, "read")
    await a.kv.put(writer, ROUTE, "k", "new")
    expect(String(await b.kv.get(second, ROUTE, "k"))).toBe("old")
    await a.kv.commit(writer, ROUTE)
    expect(String(await b.kv.get(reader, ROUTE, "k"))).toBe("old")
  })

  test("KV-4: each reader sees what was committed at its BEGIN, for its whole life", async () => {
    const readers: number[] = []
    const states: Record<string, string | null>[] = [
      { a: "1", b: "1", c: "1" },
      { b: "2", d: "2" },
      { a: null, c: "3" },
      { a: "4", b: null, d: null },
      { e: "5" },
    ]
    for (const state of states) {
      await store(state)
      readers.push(await a.kv.begin(ROUTE, "read"))
    }
    // One sweeping commit over everything that the readers still see.
    const tx = await b.kv.begin(ROUTE, "write")
    await b.kv.deleteRange(tx, ROUTE, "a", "z")
    await b.kv.put(tx, ROUTE, "c", "6")
    await b.kv.commit(tx, ROUTE)
    const expected = ["a=1 b=1 c=1", "a=1 b=2 c=1 d=2", "b=2 c=3 d=2", "a=4 c=3", "a=4 c=3 e=5"]
    for (const [i, reader] of readers.entries()) {
      expect(await scan(a, reader)).toBe(expected[i])
      expect(await scan(a, reader, { reverse: true })).toBe(expected[i]!.split(" ").reverse().join(" "))
      for (const key of "abcde") {
        const pair = expected[i]!.split(" ").find(text => text.startsWith(key))
        const value = await a.kv.get(reader, ROUTE, key)
        expect(value === null ? undefined : `${key}=${value}`).toBe(pair)
      }
    }
    expect(await scanOnce()).toBe("c=6")
  })

  test("KV-4: values kept for readers go when no reader needs them any more", async () => {
    const kept = (): number =>
      broker.database.prepare<[], number>("SELECT count(*) FROM kv_past").pluck().get()!
    await store({ a: "1", b: "1" })
    const [first, second] = [await a.kv.begin(ROUTE, "read"), await a.kv.begin(ROUTE, "read")]
    await store({ a: "2", b: null, c: "2" })
    expect(kept()).toBe(3)
    await a.kv.rollback(first, ROUTE)
    broker.settle()
    expect(kept()).toBe(3)
    expect(await scan(a, second)).toBe("a=1 b=1")
    await a.kv.commit(second, ROUTE)
    broker.settle()
    expect(kept()).toBe(0)
    await store({ a: "3" })
    expect(kept()).toBe(0)
  })

  test("KV-4: thousands of kept values go in several turns, and later readers see none of them", async () => {
    const kept = (): number =>
      broker.database.prepare<[], number>("SELECT count(*) FROM kv_past").pluck().get()!
    start({ manual: true })
    const settled = async <T>(request: Promise<T>): Promise<T> => {
      broker.settle()
      return request
    }
    const tx = await settled(a.kv.begin(ROUTE, "write"))
    for (let i = 0; i < 2_500; i++) unheard(a.kv.put(tx, ROUTE, String(i), "old"))
    await settled(a.kv.commit(tx, ROUTE))
    const reader = await settled(a.kv.begin(ROUTE, "read"))
    const sweep = await settled(b.kv.begin(ROUTE, "write"))
    unheard(b.kv.deleteRange(sweep, ROUTE, "0", "z"), b.kv.put(sweep, ROUTE, "7", "new"))
    await settled(b.kv.commit(sweep, ROUTE))
    expect(kept()).toBe(2_500)
    expect(String(await settled(a.kv.get(reader, ROUTE, "2499")))).toBe("old")
    const turns = broker.durableTurns
    const ended = a.kv.rollback(reader, ROUTE)
    broker.step()
    const later = a.kv.begin(ROUTE, "read")
    broker.step()
    const found = a.kv.scan(await later, ROUTE)
    await settled(ended)
    expect((await found).pairs.map(String)).toEqual(["7,new"])
    expect(kept()).toBe(0)
    expect(broker.durableTurns - turns).toBeGreaterThan(2)
  })

  test("KV-5: a writer sees its own changes over the committed state", async () => {
    await store({ a: "1", b: "1", c: "1", d: "1" })
    const tx = await a.kv.begin(ROUTE, "write")
    await a.kv.put(tx, ROUTE, "b", "mine")
    await a.kv.delete(tx, ROUTE, "a")
    await a.kv.deleteRange(tx, ROUTE, "c", "e")
    await a.kv.put(tx, ROUTE, "cc", "after the range")
    expect(await scan(a, tx)).toBe("b=mine cc=after the range")
    expect(await a.kv.get(tx, ROUTE, "d")).toBeNull()
    await a.kv.rollback(tx, ROUTE)
    expect(await scanOnce()).toBe("a=1 b=1 c=1 d=1")
  })

  test("KV-6: a mutation in a ReadOnly transaction is refused as 1005, and it stays usable", async () => {
    await store({ k: "v" })
    const tx = await a.kv.begin(ROUTE, "read")
    await refused(a.kv.put(tx, ROUTE, "k", "w"), "read-only")
    await refused(a.kv.insert(tx, ROUTE, "n", "w"), "read-only")
    await refused(a.kv.delete(tx, ROUTE, "k"), "read-only")
    await refused(a.kv.deleteRange(tx, ROUTE, "a", "z"), "read-only")
    expect(String(await a.kv.get(tx, ROUTE, "k"))).toBe("v")
    await a.kv.commit(tx, ROUTE)
  })

  test("KV-13: an empty commit succeeds, in both modes", async () => {
    const [reader, writer] = [await a.kv.begin(ROUTE, "read"), await a.kv.begin(ROUTE, "write")]
    await a.kv.commit(reader, ROUTE)
    await a.kv.commit(writer, ROUTE)
    await refused(a.kv.commit(writer, ROUTE), "transaction not found")
  })

  test("KV-13 E-7: a commit that finds the disk full is refused as 1009, changes nothing and frees the lock", async () => {
    await store({ k: "old" })
    const tx = await a.kv.begin(ROUTE, "write")
    await a.kv.put(tx, ROUTE, "k", "new")
    broker.faults.fillDisk()
    await refused(a.kv.commit(tx, ROUTE), "storage failure")
    await refused(a.kv.get(tx, ROUTE, "k"), "transaction not found")
    expect(await scanOnce()).toBe("k=old")
    // Whatever needs storing is refused while it lasts; what needs nothing goes on.
    const next = await b.kv.begin(ROUTE, "write")
    await b.kv.put(next, ROUTE, "k", "newer")
    await refused(b.kv.commit(next, ROUTE), "storage failure")
    await b.kv.commit(await b.kv.begin(ROUTE, "write"), ROUTE)
    broker.faults.freeDisk()
    broker.advance(1_000)
    await store({ k: "newest" })
    expect(await scanOnce()).toBe("k=newest")
  })

  test("KV-13 E-6: a commit that meets a bug is refused as 1009, changes nothing and frees the lock", async () => {
    broker.faults.poison = "poison"
    const tx = await a.kv.begin(ROUTE, "write")
    await a.kv.put(tx, ROUTE, "a", "fine")
    await a.kv.put(tx, ROUTE, "b", "poison")
    await refused(a.kv.commit(tx, ROUTE), "storage failure")
    await refused(a.kv.put(tx, ROUTE, "c", "late"), "transaction not found")
    await store({ d: "fine" })
    expect(await scanOnce()).toBe("d=fine")
  })

  test("KV-14: Sync waits for the disk, Buffered brings it there within 100 ms", async () => {
    const seen: string[] = []
    const { commit, sync } = broker.database
    broker.database.commit = how => {
      seen.push(how ? "sync" : "buffered")
      commit.call(broker.database, how)
    }
    broker.database.sync = () => {
      seen.push("to disk")
      sync.call(broker.database)
    }
    const write = async (how: boolean): Promise<void> => {
      const tx = await a.kv.begin(ROUTE, "write", how)
      await a.kv.put(tx, ROUTE, "k", String(how))
      seen.length = 0
      await a.kv.commit(tx, ROUTE)
    }
    await write(true)
    expect(seen).toEqual(["sync"])
    await write(false)
    expect(seen).toEqual(["buffered"])
    broker.advance(99)
    expect(seen).toEqual(["buffered"])
    broker.advance(1)
    expect(seen).toContain("to disk")
    // A Sync commit takes everything before it along: nothing is left to do.
    await write(false)
    await write(true)
    seen.length = 0
    broker.advance(1_000)
    expect(seen).not.toContain("to disk")
  })

  test("KV-15: a transaction unused for 300 s is rolled back, and every use counts", async () => {
    const tx = await a.kv.begin(ROUTE, "write")
    await a.kv.put(tx, ROUTE, "k", "v")
    broker.advance(299_999)
    await a.kv.get(tx, ROUTE, "k")
    broker.advance(299_999)
    await refused(b.kv.begin(ROUTE, "write"), "another transaction")
    broker.advance(1)
    await b.kv.begin(ROUTE, "write")
    await refused(a.kv.get(tx, ROUTE, "k"), "transaction not found")
    expect(await scanOnce()).toBe("")
  })

  test("KV-15: a reader that is unused goes as well, and what another refuses is no use", async () => {
    const tx = await a.kv.begin(ROUTE, "read")
    broker.advance(200_000)
    await refused(b.kv.get(tx, ROUTE, "k"), "transaction not found")
    await refused(a.kv.get(tx, OTHER, "k"), "invalid request")
    broker.advance(100_000)
    await refused(a.kv.get(tx, ROUTE, "k"), "transaction not found")
  })

  test("KV-16 P-7: an id that is unknown, over, or another session's is refused as 1001", async () => {
    const tx = await a.kv.begin(ROUTE, "write")
    for (const id of [0, tx + 1, 2 ** 53, 999_999])
      await refused(a.kv.get(id, ROUTE, "k"), "transaction not found")
    await refused(b.kv.put(tx, ROUTE, "k", "v"), "transaction not found")
    await refused(b.kv.rollback(tx, ROUTE), "transaction not found")
    await a.kv.commit(tx, ROUTE)
    await refused(a.kv.put(tx, ROUTE, "k", "v"), "transaction not found")
    await refused(a.kv.rollback(tx, ROUTE), "transaction not found")
  })

  test("KV-18: a mode or durability above 1 is refused as 1002", async () => {
    for (const [mode, durability] of [
      [2, 0],
      [0, 2],
      [255, 255],
    ] as const) {
      const begin = a.call(100, bytes(block(ROUTE), u8(mode), u8(durability)), c => c.number())
      await refused(begin, "invalid mode")
    }
    await a.kv.begin(ROUTE, "write")
  })

  test("KV-19: a BEGIN that fails has at least nine bytes", async () => {
    await a.kv.begin(ROUTE, "write")
    const payloads = [bytes(block(ROUTE), u8(1), u8(0)), bytes(block("kv://a"), u8(1), u8(0)), bytes("00")]
    for (const payload of payloads) {
      const reply = await a.ask(100, payload)
      expect(reply[0]).toBe(1)
      expect(reply.length).toBeGreaterThanOrEqual(9)
    }
  })

  test("KV-3 D-1: a writer that goes away is rolled back and its lock is free at once", async () => {
    const tx = await a.kv.begin(ROUTE, "write")
    await a.kv.put(tx, ROUTE, "k", "v")
    a.pipe.hangUp()
    const next = await b.kv.begin(ROUTE, "write")
    expect(await b.kv.get(next, ROUTE, "k")).toBeNull()
  })

  test("D-2 O-8: what a client that is gone has still sent is not done", async () => {
    const tx = await a.kv.begin(ROUTE, "write")
    unheard(a.kv.put(tx, ROUTE, "k", "v"), a.kv.commit(tx, ROUTE))
    a.pipe.hangUp()
    broker.settle()
    a = broker.enter()
    expect(await scanOnce()).toBe("")
  })

  test("R-7: routes are taken without kv://, and are the same", async () => {
    const tx = await a.kv.begin("realm/area/one", "write")
    await a.kv.put(tx, ROUTE, "k", "v")
    await a.kv.commit(tx, "realm/area/one")
    expect(await scanOnce()).toBe("k=v")
  })

  test("R-3 R-5 R-8: a route that is none is refused as 1007", async () => {
    for (const route of [
      "kv://a/b",
      "kv://a/b/c/d",
      "kv://a//c",
      "queue://a/b/c",
      "kv://a/b/*",
      "kv://a/**",
      "",
    ])
      await refused(a.kv.begin(route, "read"), "invalid request")
  })

  test("M-9: a session has so many open transactions and no more (1014)", async () => {
    start({ config: { maxOpenTransactions: 2 } })
    const first = await a.kv.begin(ROUTE, "read")
    await a.kv.begin(ROUTE, "write")
    await refused(a.kv.begin(OTHER, "read"), "busy")
    await b.kv.begin(OTHER, "read")
    await a.kv.rollback(first, ROUTE)
    await a.kv.begin(OTHER, "read")
  })

  test("M-11: uncommitted changes beyond the limit are refused as 1014, and the transaction stays", async () => {
    start({ config: { maxUncommittedBytes: 65_536 } })
    const tx = await a.kv.begin(ROUTE, "write")
    const half = "x".repeat(32_000)
    await a.kv.put(tx, ROUTE, "a", half)
    await a.kv.put(tx, ROUTE, "b", half)
    await refused(a.kv.put(tx, ROUTE, "c", half), "busy")
    const other = await b.kv.begin(OTHER, "write")
    await refused(b.kv.put(other, OTHER, "c", half), "busy")
    await a.kv.put(tx, ROUTE, "d", "small")
    await a.kv.commit(tx, ROUTE)
    expect(
      (await a.kv.scan(await a.kv.begin(ROUTE, "read"), ROUTE)).pairs.map(([key]) => String(key)),
    ).toEqual(["a", "b"].concat("d"))
    // What is committed counts no more.
    await b.kv.put(other, OTHER, "c", half)
    await b.kv.put(other, OTHER, "d", half)
  })
})

describe("keys and values", () => {
  test("KV-7: PUT inserts and replaces; DELETE succeeds with and without the key", async () => {
    const tx = await a.kv.begin(ROUTE, "write")
    await a.kv.put(tx, ROUTE, "k", "one")
    await a.kv.put(tx, ROUTE, "k", "two")
    expect(String(await a.kv.get(tx, ROUTE, "k"))).toBe("two")
    await a.kv.delete(tx, ROUTE, "k")
    await a.kv.delete(tx, ROUTE, "k")
    expect(await a.kv.get(tx, ROUTE, "k")).toBeNull()
  })

  test("KV-7: INSERT of a key that is there is refused as 1006, own writes counted, and all stays usable", async () => {
    await store({ stored: "1" })
    const tx = await a.kv.begin(ROUTE, "write")
    await refused(a.kv.insert(tx, ROUTE, "stored", "2"), "the key exists")
    await a.kv.insert(tx, ROUTE, "mine", "1")
    await refused(a.kv.insert(tx, ROUTE, "mine", "2"), "the key exists")
    await a.kv.delete(tx, ROUTE, "stored")
    await a.kv.insert(tx, ROUTE, "stored", "2")
    await a.kv.commit(tx, ROUTE)
    expect(await scanOnce()).toBe("mine=1 stored=2")
  })

  test("KV-8: DELETE_RANGE removes the start and leaves the end", async () => {
    await store({ a: "1", b: "1", c: "1", d: "1" })
    const tx = await a.kv.begin(ROUTE, "write")
    await a.kv.deleteRange(tx, ROUTE, "b", "d")
    await a.kv.commit(tx, ROUTE)
    expect(await scanOnce()).toBe("a=1 d=1")
  })

  test("KV-8: a start that is not below the end is refused as 1007, and changes nothing", async () => {
    await store({ b: "1" })
    const tx = await a.kv.begin(ROUTE, "write")
    await refused(a.kv.deleteRange(tx, ROUTE, "b", "b"), "the range is empty")
    await refused(a.kv.deleteRange(tx, ROUTE, "c", "a"), "the range is empty")
    expect(await scan(a, tx)).toBe("b=1")
  })

  test("KV-7: a value may be empty, and is not the same as none", async () => {
    await store({ k: "" })
    const tx = await a.kv.begin(ROUTE, "read")
    expect(await a.kv.get(tx, ROUTE, "k")).toEqual(Buffer.alloc(0))
  })

  test("KV-12: keys are ordered as unsigned bytes, and the empty key is a key", async () => {
    const keys = ["", "00", "0000", "0001", "01", "61", "6100", "7f", "80", "c3a9", "ff", "ff00", "ffff"]
    const tx = await a.kv.begin(ROUTE, "write")
    for (const key of [...keys].reverse()) await a.kv.put(tx, ROUTE, bytes(key), key)
    const own = await a.kv.scan(tx, ROUTE)
    expect(own.pairs.map(([key]) => key.toString("hex"))).toEqual(keys)
    await a.kv.commit(tx, ROUTE)
    const page = await a.kv.scan(await a.kv.begin(ROUTE, "read"), ROUTE)
    expect(page.pairs.map(([key]) => key.toString("hex"))).toEqual(keys)
  })
})

describe("scans", () => {
  const five = { a: "1", b: "2", c: "3", d: "4", e: "5" }

  test("KV-9: forward goes up from the start, included, to the end, excluded", async () => {
    await store(five)
    expect(await scanOnce()).toBe("a=1 b=2 c=3 d=4 e=5")
    expect(await scanOnce({ start: "b", end: "d" })).toBe("b=2 c=3")
    expect(await scanOnce({ start: "bb" })).toBe("c=3 d=4 e=5")
    expect(await scanOnce({ end: "c" })).toBe("a=1 b=2")
  })

  test("KV-9: empty and inverted bounds give an empty page in both directions", async () => {
    await store(five)
    for (const reverse of [false, true]) {
      expect(await scanOnce({ start: "c", end: "c", reverse })).toBe("")
      expect(await scanOnce(reverse ? { start: "a", end: "d", reverse } : { start: "d", end: "a" })).toBe("")
    }
  })

  test("KV-10: in reverse it goes down from the start, included, to the end, excluded", async () => {
    await store(five)
    expect(await scanOnce({ reverse: true })).toBe("e=5 d=4 c=3 b=2 a=1")
    expect(await scanOnce({ start: "d", end: "b", reverse: true })).toBe("d=4 c=3")
    expect(await scanOnce({ start: "dd", reverse: true })).toBe("d=4 c=3 b=2 a=1")
    expect(await scanOnce({ end: "c", reverse: true })).toBe("e=5 d=4")
  })

  test("KV-2: startExclusive leaves the start key out, in both directions", async () => {
    await store(five)
    const tx = await a.kv.begin(ROUTE, "read")
    const exclusive = async (reverse: boolean, last: Uint8Array): Promise<string> => {
      const head = bytes(u64(tx), block(ROUTE), opt("c", block), u8(0), u8(0), flag(reverse), last)
      return a.call(108, head, c =>
        Array.from({ length: c.u32() }, () => `${c.block()}=${c.block()}`)
          .concat(c.flag() ? ["+"] : [])
          .join(" "),
      )
    }
    expect(await exclusive(false, u8(1))).toBe("d=4 e=5")
    expect(await exclusive(true, u8(1))).toBe("b=2 a=1")
    expect(await exclusive(false, u8(0))).toBe("c=3 d=4 e=5")
    await refused(exclusive(false, u8(2)), "invalid request")
    await refused(exclusive(false, bytes("00 00")), "invalid request")
  })

  test("KV-11: a page ends at the asked limit, and says exactly whether more is left", async () => {
    await store(five)
    expect(await scanOnce({ limit: 4 })).toBe("a=1 b=2 c=3 d=4 +")
    expect(await scanOnce({ limit: 5 })).toBe("a=1 b=2 c=3 d=4 e=5")
    expect(await scanOnce({ limit: 2, end: "c" })).toBe("a=1 b=2")
    expect(await scanOnce({ limit: 1, reverse: true })).toBe("e=5 +")
    expect(await scanOnce({ limit: 0 })).toBe("a=1 b=2 c=3 d=4 e=5")
  })

  test("KV-11: a page ends at 1,024 pairs, whatever the limit", async () => {
    const tx = await a.kv.begin(ROUTE, "write")
    for (let i = 0; i < 1_025; i++) void a.kv.put(tx, ROUTE, String(i).padStart(4, "0"), "")
    for (const limit of [undefined, 0, 2_000]) {
      const page = await a.kv.scan(tx, ROUTE, limit === undefined ? {} : { limit })
      expect(page.pairs.length).toBe(1_024)
      expect(page.more).toBe(true)
    }
    await a.kv.delete(tx, ROUTE, "0000")
    const whole = await a.kv.scan(tx, ROUTE)
    expect(whole.pairs.length).toBe(1_024)
    expect(whole.more).toBe(false)
  })

  test("KV-11: a page ends before the payload would pass 65,535 bytes, to the byte", async () => {
    const tx = await a.kv.begin(ROUTE, "write")
    // 6 bytes, and 8 and the key for each of two pairs, leave so much for the values.
    const room = 65_535 - 6 - 2 * (8 + 1)
    await a.kv.put(tx, ROUTE, "a", Buffer.alloc(30_000))
    await a.kv.put(tx, ROUTE, "b", Buffer.alloc(room - 30_000))
    const full = await a.kv.scan(tx, ROUTE)
    expect(full).toMatchObject({ more: false, pairs: { length: 2 } })
    expect(a.received.at(-1)!.payload.length).toBe(65_535)
    await a.kv.put(tx, ROUTE, "b", Buffer.alloc(room - 30_000 + 1))
    expect(await a.kv.scan(tx, ROUTE)).toMatchObject({ more: true, pairs: { length: 1 } })
    await a.kv.commit(tx, ROUTE)
    const reader = await a.kv.begin(ROUTE, "read")
    expect(await a.kv.scan(reader, ROUTE)).toMatchObject({ more: true, pairs: { length: 1 } })
    expect(await a.kv.scan(reader, ROUTE, { reverse: true })).toMatchObject({
      more: true,
      pairs: { length: 1 },
    })
  })

  test("KV-11: the largest pair that can be put fits a page and a GET", async () => {
    const bare = "a/b/c"
    const largest = Buffer.alloc(65_535 - (8 + 4 + bare.length + 4 + 4))
    const tx = await a.kv.begin(bare, "write")
    await a.kv.put(tx, bare, "", largest)
    expect((await a.kv.get(tx, bare, ""))!.length).toBe(largest.length)
    expect((await a.kv.scan(tx, bare)).pairs.length).toBe(1)
  })

  test("O-6: a scan that has far to walk lets others pass, and holds back its own connection", async () => {
    start({ manual: true })
    const settled = async <T>(request: Promise<T>): Promise<T> => {
      broker.settle()
      return request
    }
    const fill = await settled(a.kv.begin(ROUTE, "write"))
    for (let i = 0; i < 9_000; i++) void a.kv.put(fill, ROUTE, String(i).padStart(5, "0"), "")
    await settled(a.kv.commit(fill, ROUTE))
    const tx = await settled(a.kv.begin(ROUTE, "write"))
    await settled(a.kv.deleteRange(tx, ROUTE, "00000", "08999"))
    const order: string[] = []
    const turns = broker.durableTurns
    const note =
      (what: string) =>
      <T>(value: T): T => {
        order.push(what)
        return value
      }
    const page = a.kv.scan(tx, ROUTE).then(note("scan"))
    const behind = a.kv.get(tx, ROUTE, "08999").then(note("get behind it"))
    const other = b.kv.begin(OTHER, "read").then(note("another client"))
    const queue = a.queue.enqueue("queue://a/b/c", "x").then(note("another domain"))
    broker.settle()
    expect((await page).pairs.map(([key]) => String(key))).toEqual(["08999"])
    expect(String(await behind)).toBe("")
    await Promise.all([other, queue])
    expect(broker.durableTurns - turns).toBeGreaterThan(3)
    expect(order.indexOf("another client")).toBeLessThan(order.indexOf("scan"))
    expect(order.indexOf("another domain")).toBeLessThan(order.indexOf("scan"))
    expect(order.indexOf("scan")).toBeLessThan(order.indexOf("get behind it"))
  })

  test("O-6 D-1: a client that goes in the middle of a long scan leaves nothing behind", async () => {
    start({ manual: true })
    const begin = a.kv.begin(ROUTE, "write")
    broker.settle()
    const tx = await begin
    for (let i = 0; i < 9_000; i++) void a.kv.put(tx, ROUTE, String(i).padStart(5, "0"), "")
    void a.kv.commit(tx, ROUTE)
    const again = a.kv.begin(ROUTE, "write")
    broker.settle()
    const second = await again
    unheard(a.kv.deleteRange(second, ROUTE, "0", "1"))
    const lost = a.kv.scan(second, ROUTE)
    a.pipe.hangUp()
    await expect(lost).rejects.toThrow("closed")
    const next = b.kv.begin(ROUTE, "write")
    broker.settle()
    const page = b.kv.scan(await next, ROUTE, { limit: 1 })
    broker.settle()
    expect(String((await page).pairs[0]![0])).toBe("00000")
  })

  test("KV-9 KV-10 KV-11: pages put together are what a sorted list says, over changes and snapshots", () =>
    seeded(async random => {
      const truth = new Map<string, string>()
      const change = async (tx: number, map: Map<string, string>): Promise<void> => {
        for (let i = 0; i < 60; i++) {
          const [low, high] = [key(random), key(random)].sort() as [string, string]
          if (random.chance(0.1) && low < high) {
            await b.kv.deleteRange(tx, ROUTE, low, high)
            for (const one of [...map.keys()]) if (one >= low && one < high) map.delete(one)
          } else if (random.chance(0.3)) {
            await b.kv.delete(tx, ROUTE, low)
            map.delete(low)
          } else {
            await b.kv.put(tx, ROUTE, low, String(i))
            map.set(low, String(i))
          }
        }
      }
      for (let round = 0; round < 4; round++) {
        const before = new Map(truth)
        const reader = await a.kv.begin(ROUTE, "read")
        const tx = await b.kv.begin(ROUTE, "write")
        await change(tx, truth)
        await expectPages(b, tx, truth, random)
        await b.kv.commit(tx, ROUTE)
        await expectPages(a, reader, before, random)
        await a.kv.rollback(reader, ROUTE)
      }
    }))
})

function key(random: Random): string {
  return String(random.int(200)).padStart(3, "0")
}

/** Walks both ways in small pages, as a client does, and compares. */
async function expectPages(
  caller: PipedCaller,
  tx: number,
  truth: ReadonlyMap<string, string>,
  random: Random,
): Promise<void> {
  const sorted = [...truth].sort(([x], [y]) => (x < y ? -1 : 1)).map(([k, v]) => `${k}=${v}`)
  for (const reverse of [false, true]) {
    const found: string[] = []
    let start: string | undefined
    for (let more = true; more; ) {
      const page = await caller.kv.scan(tx, ROUTE, {
        reverse,
        limit: random.between(2, 20),
        ...(start === undefined ? {} : { start }),
      })
      found.push(...page.pairs.filter(([k]) => String(k) !== start).map(([k, v]) => `${k}=${v}`))
      more = page.more
      // The next page begins with the last key of this one, so a page holds two at least.
      if (more) start = String(page.pairs.at(-1)![0])
    }
    expect(found).toEqual(reverse ? [...sorted].reverse() : sorted)
  }
}

describe("notifications", () => {
  test("KV-17 S-3 S-4: each matching registration gets one 111 with the number of mutations, one's own too", async () => {
    const ids = [
      await a.kv.subscribe(ROUTE),
      await a.kv.subscribe("kv://realm/**"),
      await b.kv.subscribe("realm/*/one"),
    ]
    await b.kv.subscribe(OTHER)
    const tx = await a.kv.begin(ROUTE, "write")
    await a.kv.put(tx, ROUTE, "k", "v")
    await a.kv.put(tx, ROUTE, "k", "w")
    await a.kv.insert(tx, ROUTE, "n", "v")
    await a.kv.delete(tx, ROUTE, "not there")
    await a.kv.deleteRange(tx, ROUTE, "x", "y")
    await refused(a.kv.insert(tx, ROUTE, "n", "v"), "exists")
    broker.settle()
    expect(a.unread(111)).toEqual([])
    await a.kv.commit(tx, ROUTE)
    const notice = { route: ROUTE, mutations: 5 }
    expect([await a.kv.next(), await a.kv.next()]).toEqual([
      { subscription: ids[0], ...notice },
      { subscription: ids[1], ...notice },
    ])
    expect(await b.kv.next()).toEqual({ subscription: ids[2], ...notice })
    broker.settle()
    expect(a.unread(111)).toEqual([])
    expect(b.unread(111)).toEqual([])
  })

  test("KV-17: nothing after a rollback, an empty commit, a refused commit, or for another family", async () => {
    await a.kv.subscribe("kv://**")
    const stranger = broker.enter({ family: 2 })
    const theirs = await stranger.kv.begin(ROUTE, "write")
    await stranger.kv.put(theirs, ROUTE, "k", "v")
    await stranger.kv.commit(theirs, ROUTE)
    const rolledBack = await b.kv.begin(ROUTE, "write")
    await b.kv.put(rolledBack, ROUTE, "k", "v")
    await b.kv.rollback(rolledBack, ROUTE)
    await b.kv.commit(await b.kv.begin(ROUTE, "write"), ROUTE)
    const failed = await b.kv.begin(ROUTE, "write")
    await b.kv.put(failed, ROUTE, "k", "v")
    broker.faults.fillDisk()
    await refused(b.kv.commit(failed, ROUTE), "storage failure")
    broker.settle()
    expect(a.unread(111)).toEqual([])
  })

  test("KV-17 R-7: the 111 carries kv://, also where BEGIN and SUBSCRIBE left it out", async () => {
    const id = await a.kv.subscribe("realm/area/*")
    const tx = await b.kv.begin("realm/area/one", "write")
    await b.kv.put(tx, "realm/area/one", "k", "v")
    await b.kv.commit(tx, "realm/area/one")
    expect(await a.kv.next()).toEqual({ subscription: id, route: ROUTE, mutations: 1 })
  })

  test("S-1 S-2: the same pattern again has the same id and is one registration", async () => {
    const first = await a.kv.subscribe(ROUTE)
    expect(first).toBeGreaterThan(0)
    expect(await a.kv.subscribe(ROUTE)).toBe(first)
    expect(await b.kv.subscribe(ROUTE)).not.toBe(first)
    await store({ k: "v" })
    broker.settle()
    expect(a.unread(111).length).toBe(1)
  })

  test("S-1 S-5 S-6: after UNSUBSCRIBE nothing comes, again succeeds, and a new registration has a new id", async () => {
    const first = await a.kv.subscribe(ROUTE)
    await a.kv.unsubscribe(ROUTE)
    await a.kv.unsubscribe(ROUTE)
    await a.kv.unsubscribe("kv://never/was/there")
    await store({ k: "v" })
    broker.settle()
    expect(a.unread(111)).toEqual([])
    expect(await a.kv.subscribe(ROUTE)).toBeGreaterThan(first)
  })

  test("S-6: a notification follows the reply to its SUBSCRIBE, also within one turn", async () => {
    const tx = await b.kv.begin(ROUTE, "write")
    await b.kv.put(tx, ROUTE, "k", "v")
    const id = a.kv.subscribe(ROUTE)
    const done = b.kv.commit(tx, ROUTE)
    await Promise.all([id, done])
    broker.settle()
    expect(a.received.map(frame => frame.type)).toEqual([109, 111])
  })

  test("S-8 M-8: wildcard registrations beyond the limit are refused with 1013; the known one is not", async () => {
    start({ config: { maxWildcardRegistrations: 2 } })
    const first = await a.kv.subscribe("kv://a/**")
    await a.kv.subscribe("kv://b/**")
    await refused(a.kv.subscribe("kv://c/**"), 1013)
    expect(await a.kv.subscribe("kv://a/**")).toBe(first)
    await a.kv.subscribe(ROUTE)
    await b.kv.subscribe("kv://c/**")
    await a.kv.unsubscribe("kv://b/**")
    await a.kv.subscribe("kv://c/**")
  })

  test("S-8 M-7: registrations of a session beyond the limit are refused with 1013, all domains counted", async () => {
    start({ config: { maxRegistrations: 3 } })
    await a.queue.subscribe("queue://a/b/c")
    await a.notice.subscribe("notice://a")
    await a.kv.subscribe("kv://a/b/c")
    await refused(a.kv.subscribe("kv://a/b/d"), 1013)
    await a.notice.unsubscribeAll()
    await a.kv.subscribe("kv://a/b/d")
  })

  test("S-9 R-4: a pattern that is none, or can match no route of three segments, is refused with 1012", async () => {
    for (const pattern of [
      "kv://a/b",
      "kv://a/*",
      "kv://a/b/c/d/**",
      "kv://a/b*/c",
      "kv://a/**/**",
      "queue://a/b/c",
      "",
    ]) {
      await refused(a.kv.subscribe(pattern), 1012)
      await refused(a.kv.unsubscribe(pattern), 1012)
    }
    for (const pattern of ["kv://**", "kv://a/**/c", "kv://a/b/c/**", "kv://*/*/*"])
      await a.kv.subscribe(pattern)
  })

  test("S-7: registrations die with their connection", async () => {
    await a.kv.subscribe("kv://**")
    a.pipe.hangUp()
    await store({ k: "v" })
    broker.settle()
    expect(a.received.map(frame => frame.type)).toEqual([109])
  })
})

describe("permissions", () => {
  test("P-7 P-8: BEGIN needs read for ReadOnly and write for ReadWrite (1011), what follows needs nothing", async () => {
    const reader = broker.enter({ permissions: ["kv://**#read"] })
    const writer = broker.enter({ permissions: ["kv://**#write"] })
    await refused(reader.kv.begin(ROUTE, "write"), "unauthorized")
    await refused(writer.kv.begin(ROUTE, "read"), "unauthorized")
    const tx = await writer.kv.begin(ROUTE, "write")
    await writer.kv.put(tx, ROUTE, "k", "v")
    expect(String(await writer.kv.get(tx, ROUTE, "k"))).toBe("v")
    await writer.kv.commit(tx, ROUTE)
    await reader.kv.begin(ROUTE, "read")
  })

  test("P-5 P-10: SUBSCRIBE needs one grant that covers the whole pattern (1011)", async () => {
    const c = broker.enter({ permissions: ["kv://a/*/*#read", "kv://b/**#read"] })
    await refused(c.kv.subscribe("kv://**"), 1011)
    await refused(c.kv.subscribe("kv://*/x/y"), 1011)
    await refused(c.kv.subscribe("kv://c/x/y"), 1011)
    await refused(c.kv.unsubscribe("kv://c/x/y"), 1011)
    await c.kv.subscribe("kv://a/**")
    await c.kv.subscribe("kv://b/x/**")
  })

  test("P-6: a route that is none is refused before permission is asked", async () => {
    const nobody = broker.enter({ permissions: [] })
    await refused(nobody.kv.subscribe("kv://a"), 1012)
    await refused(nobody.kv.begin("kv://a", "read"), "invalid request")
  })
})

test("F-10 W-7: a request that does not parse is refused as 1007 on its own type, and the connection goes on", async () => {
  const tx = await a.kv.begin(ROUTE, "write")
  const whole = bytes(u64(tx), block(ROUTE), block("k"), block("v"))
  for (const payload of [whole.subarray(0, -1), bytes(whole, "00"), bytes(u64(tx), block(ROUTE)), bytes()]) {
    await refused(
      a.call(104, payload, () => null),
      "invalid request",
    )
  }
  await refused(
    a.call(108, bytes(u64(tx), block(ROUTE), u8(2)), () => null),
    "invalid request",
  )
  await refused(
    a.call(109, u32(99), () => null),
    1007,
  )
  await a.kv.put(tx, ROUTE, "k", "v")
  expect(a.open).toBe(true)
})
