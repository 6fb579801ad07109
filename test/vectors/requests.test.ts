// Every request vector through the real parser: whole it means exactly what the specification says, and every
// beginning of it is refused cleanly or means what the vector says it means. Never tests more than parsing.

import { describe, expect, test } from "vitest"
import { Reader, viewOf } from "../../protocol/bytes.ts"
import { Fault } from "../../protocol/fault.ts"
import { CLIENT_MESSAGES } from "../../protocol/messages/index.ts"
import { RouteTable } from "../../protocol/route.ts"
import { type Frame, readInner } from "../kit/bytes.ts"
import { plain, wire } from "../kit/vectors.ts"
import { COLUMNS } from "./columns.ts"
import { envelopes, foreignTypes, pushTypes } from "./connect.ts"

/** Runs the parser of the frame's type over a payload that lies somewhere inside a larger buffer. */
function parse(type: number, payload: Uint8Array, routes = new RouteTable()): unknown {
  const around = Buffer.concat([Buffer.alloc(7, 0xa5), payload, Buffer.alloc(9, 0x5a)])
  const reader = new Reader().reset(around, viewOf(around), 7, 7 + payload.length)
  return CLIENT_MESSAGES.get(type)!.row.read(reader, routes)
}

/** Every length of a short payload; of a long one those near its ends and a thousand between. */
function lengthsBelow(length: number): number[] {
  const step = length <= 4_096 ? 1 : Math.floor(length / 1_000)
  const lengths: number[] = []
  for (let at = 0; at < length; at += at < 128 || at >= length - 128 ? 1 : step) lengths.push(at)
  return lengths
}

for (const column of COLUMNS) {
  describe(column.scheme, () => {
    for (const vector of column.requests) {
      const { type, payload }: Frame = readInner(wire(vector.frame))

      test(`${vector.rule ?? "F-1"}: ${vector.name}`, () => {
        expect(plain(parse(type, payload))).toEqual(vector.means)
        // Once more through a table that knows the route already.
        const routes = new RouteTable()
        parse(type, payload, routes)
        expect(plain(parse(type, payload, routes))).toEqual(vector.means)
      })

      test(`F-10: ${vector.name}, cut short anywhere`, () => {
        const routes = new RouteTable()
        for (const length of lengthsBelow(payload.length)) {
          const got = parse(type, payload.subarray(0, length), routes)
          const legal = vector.shorter?.find(({ without }) => payload.length - without === length)
          if (legal === undefined) {
            expect(got, `${length} of ${payload.length} bytes`).toBeInstanceOf(Fault)
            expect((got as Fault).code, `${length} of ${payload.length} bytes`).toBe(column.unparsable)
          } else expect(plain(got)).toEqual(legal.means)
        }
        for (const { without } of vector.shorter ?? []) expect(without).toBeLessThanOrEqual(payload.length)
      })
    }
  })
}

describe("completeness", () => {
  const types = [...envelopes.plain, ...envelopes.coded, ...envelopes.none].sort((a, b) => a - b)

  test("E-2, F-8: the parsers are exactly those of the specification's table, each with its envelope", () => {
    expect([...CLIENT_MESSAGES.keys()].sort((a, b) => a - b)).toEqual(types)
    for (const envelope of ["plain", "coded", "none"] as const)
      for (const type of envelopes[envelope])
        expect(CLIENT_MESSAGES.get(type)!.row.envelope, `type ${type}`).toBe(envelope)
  })

  test("F-8: no type that a client must not send has a parser", () => {
    for (const type of [...foreignTypes, ...pushTypes])
      expect(CLIENT_MESSAGES.has(type), `${type}`).toBe(false)
  })

  test("every message has vectors: a request, something malformed, its reply and its refusal", () => {
    const requests = new Set(
      COLUMNS.flatMap(({ requests }) => requests.map(({ frame }) => readInner(wire(frame)).type)),
    )
    const malformed = new Set(
      COLUMNS.flatMap(({ malformed }) => malformed.map(({ frame }) => readInner(wire(frame)).type)),
    )
    const replies = new Set(COLUMNS.flatMap(({ replies }) => replies.map(({ type }) => type)))
    const errors = new Set(COLUMNS.flatMap(({ errors }) => errors.map(({ type }) => type)))
    expect([...requests].sort((a, b) => a - b)).toEqual(types)
    expect([...malformed].sort((a, b) => a - b)).toEqual(types)
    expect([...errors].sort((a, b) => a - b)).toEqual(types)
    const replied = types.filter(type => !envelopes.none.includes(type))
    expect([...replies].sort((a, b) => a - b)).toEqual(replied)
    const pushes = new Set(COLUMNS.flatMap(({ pushes }) => pushes.map(({ type }) => type)))
    expect([...pushes].sort((a, b) => a - b)).toEqual(pushTypes)
  })

  test("every type says what a route that is none gets", () => {
    for (const { badRoute, scheme } of COLUMNS) {
      const own = [...CLIENT_MESSAGES].filter(([, { domain }]) => domain === scheme).map(([type]) => type)
      expect(Object.keys(badRoute).map(Number), scheme).toEqual(own.sort((a, b) => a - b))
    }
  })
})
