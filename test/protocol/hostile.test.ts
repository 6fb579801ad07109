// A quarter of a million hostile frames through the reader and the parsers: nothing is thrown but an answer, no
// parser reads beyond its payload, and the work stays in proportion. The seed stands in the tests' name.

import { describe, expect, test } from "vitest"
import { Reader, viewOf, Writer } from "../../protocol/bytes.ts"
import { Fault } from "../../protocol/fault.ts"
import { FrameReader } from "../../protocol/frame.ts"
import { writeFailure } from "../../protocol/message.ts"
import { CLIENT_MESSAGES } from "../../protocol/messages/index.ts"
import { RouteTable } from "../../protocol/route.ts"
import { outer, Splitter } from "../kit/bytes.ts"
import { BAD, brokenOuter, GOOD, wellFramed } from "../kit/fuzz.ts"
import { Random, runSeed } from "../kit/random.ts"

const SEED = runSeed()
const FRAMES = 150_000

/** Every span that a request shows has to lie inside its payload. */
function within(value: unknown, bytes: Uint8Array, start: number, end: number): boolean {
  if (value === null || typeof value !== "object") return true
  if (value instanceof Uint8Array) return true
  if ("bytes" in value && "start" in value && "end" in value) {
    const span = value as { bytes: Uint8Array; start: number; end: number }
    if (span.start === span.end) return true
    return span.bytes === bytes && span.start >= start && span.end <= end && span.start <= span.end
  }
  return Object.values(value).every(inside => within(inside, bytes, start, end))
}

describe(`hostile bytes, seed ${SEED}`, () => {
  test(`F-10, W-2, W-3, W-4, W-7: ${FRAMES} mutated requests are understood or refused, and nothing else`, () => {
    const random = new Random(SEED).fork("requests")
    const routes = new RouteTable()
    const reader = new Reader()
    const writer = new Writer()
    const outcomes = { understood: 0, refused: 0 }
    const codes = new Set<number>()
    for (let count = 0; count < FRAMES; count++) {
      const { type, payload } = wellFramed(random)
      const { row, domain } = CLIENT_MESSAGES.get(type)!
      // Inside a larger buffer, so that reading beyond the end would go unnoticed by the engine and not by this.
      const around = Buffer.concat([Buffer.alloc(3, 0x2f), payload, Buffer.alloc(3, 0x2a)])
      const end = 3 + payload.length
      let request: unknown
      try {
        request = row.read(reader.reset(around, viewOf(around), 3, end), routes)
      } catch (error) {
        throw new Error(`seed ${SEED}, frame ${count}: ${row.name} ${payload.toString("hex")}`, {
          cause: error,
        })
      }
      const where = `seed ${SEED}, frame ${count}: ${row.name} ${payload.toString("hex")}`
      if (request instanceof Fault) {
        outcomes.refused++
        codes.add(request.code)
        if (domainOf(request.code) !== domain) expect.fail(`${where}: code ${request.code}`)
        writer.at = 0
        writeFailure(writer, row, { bytes: around, start: 3, end }, request)
        const frames = new Splitter().push(writer.written)
        const wanted = type === 500 || type === 303 ? 0 : 1
        if (frames.length !== wanted) expect.fail(`${where}: ${frames.length} replies`)
      } else {
        outcomes.understood++
        if (reader.failed || reader.at !== end) expect.fail(`${where}: not read to its end`)
        if (!within(request, around, 3, end)) expect.fail(`${where}: shows what is not its own`)
      }
    }
    // A generator that makes only nonsense, or only sense, would prove nothing.
    expect(outcomes.understood).toBeGreaterThan(FRAMES / 10)
    expect(outcomes.refused).toBeGreaterThan(FRAMES / 3)
    for (const code of [1002, 1007, 1012, 2004, 2006, 2007, 2010, 3001, 3002, 3005, 4006, 4010])
      expect(codes, `${code}`).toContain(code)
    for (const code of [5008, 5010, 6010, 6011, 6012, 7004, 7005, 7006, 7008])
      expect(codes, `${code}`).toContain(code)
  })

  test("F-2, F-4, F-5, F-6: 100,000 broken outer frames: whole, cut and byte by byte they come to the same", () => {
    const random = new Random(SEED).fork("streams")
    let faults = 0
    let frames = 0
    for (let round = 0; round < 10_000; round++) {
      // Some good frames, then ten that were broken on purpose; the first that shows it ends the stream.
      const good = Array.from({ length: random.int(3) }, () => random.pick(GOOD))
      const stream = Buffer.concat([
        ...good.map(({ type, payload }) => outer(type, payload)),
        ...Array.from({ length: 10 }, () => brokenOuter(random)),
      ])
      const whole = read([stream])
      const cuts: Buffer[] = []
      for (let at = 0; at < stream.length; ) {
        const size = 1 + random.int(random.pick([1, 2, 8, 64, 1_000]))
        cuts.push(stream.subarray(at, at + size))
        at += size
      }
      expect(read(cuts), `seed ${SEED}, round ${round}`).toEqual(whole)
      expect(whole.length).toBeGreaterThanOrEqual(good.length)
      frames += whole.length
      if (whole.at(-1)?.startsWith("fault")) faults++
    }
    expect(faults).toBeGreaterThan(5_000)
    expect(frames).toBeGreaterThan(10_000)
  })

  test("F-10: every malformed vector a hundred times over, and the parser is none the worse", () => {
    const routes = new RouteTable()
    const reader = new Reader()
    for (let round = 0; round < 100; round++) {
      for (const { name, type, payload, code } of BAD) {
        const got = CLIENT_MESSAGES.get(type)!.row.read(
          reader.reset(payload, viewOf(payload), 0, payload.length),
          routes,
        )
        if (!(got instanceof Fault) || got.code !== code) expect.fail(`${name}, round ${round}`)
      }
      for (const { type, payload } of GOOD) {
        const got = CLIENT_MESSAGES.get(type)!.row.read(
          reader.reset(payload, viewOf(payload), 0, payload.length),
          routes,
        )
        if (got instanceof Fault)
          expect.fail(`${type} ${payload.toString("hex")}, round ${round}: ${got.text}`)
      }
    }
  })
})

/** What came out of a stream: each frame, and the fault where there was one. */
function read(pieces: readonly Uint8Array[]): string[] {
  const seen: string[] = []
  const reader = new FrameReader({
    frame: (type, bytes, _view, _start, payload, end) => {
      seen.push(`${type} ${Buffer.from(bytes.subarray(payload, end)).toString("latin1")}`)
      return true
    },
  })
  for (const piece of pieces) {
    const fault = reader.push(piece)
    if (fault !== null) return [...seen, `fault ${fault}`]
  }
  return reader.midFrame ? [...seen, "more"] : seen
}

function domainOf(code: number): string {
  return ["kv", "stream", "notice", "queue", "lease", "rpc", "schedule"][Math.floor(code / 1_000) - 1]!
}
