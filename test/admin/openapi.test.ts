// The OpenAPI document: made of the table, its examples fit their schemas, and a server fuzzed along it never
// answers 500 and never with a shape that it does not promise.

import fc from "fast-check"
import { afterAll, beforeAll, expect, test } from "vitest"
import { openApiOf } from "../../broker/admin/openapi.ts"
import { canonicalOf, type Route } from "../../broker/admin/route.ts"
import { ROUTES } from "../../broker/admin/routes.ts"
import { type AdminBroker, startAdmin } from "../kit/admin.ts"

interface Operation {
  readonly operationId: string
  readonly parameters: readonly { name: string; in: string; required: boolean }[]
  readonly responses: Readonly<Record<string, { content?: Readonly<Record<string, { example: unknown }>> }>>
}
interface Document {
  readonly openapi: string
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
}

const document = openApiOf(ROUTES, "test") as Document
let broker: AdminBroker

beforeAll(async () => {
  broker = await startAdmin()
})
afterAll(() => broker.end())

const operationOf = (row: Route): Operation => document.paths[canonicalOf(row)]![row.method.toLowerCase()]!

test("AD-26: the served document is the table's, and every operation has a name of its own", async () => {
  const served = await broker.get("openapi.json")
  expect(served.openapi).toBe("3.1.0")
  expect(served.paths).toEqual(document.paths)
  const ids = ROUTES.map(row => operationOf(row).operationId)
  expect(new Set(ids).size).toBe(ROUTES.length)
})

test.each(ROUTES.map(row => [`${row.method} ${canonicalOf(row)}`, row] as const))(
  "AD-26: %s: examples fit, path parameters are declared, what is no read is audited",
  (_, row) => {
    const operation = operationOf(row)
    for (const [status, schema] of Object.entries(row.answers)) {
      const content = operation.responses[status]?.content
      if (schema === null) expect(content).toBeUndefined()
      else expect(schema.safeParse(content!["application/json"]!.example).error?.message).toBeUndefined()
    }
    const inPath = operation.parameters.filter(one => one.in === "path").map(one => `{${one.name}}`)
    expect(inPath).toEqual(row.segments.filter(segment => segment.startsWith("{")))
    expect(row.action !== undefined).toBe(row.method !== "GET")
    expect(row.about).toMatch(/\.$/)
  },
)

const LABELS = fc.oneof(
  fc.constantFrom(
    "prod",
    "a",
    "r0",
    "*",
    "**",
    "a/b",
    "..",
    "%",
    "sess_1",
    "0",
    "-1",
    "9".repeat(20),
    "é",
    "\u0000",
  ),
  fc.string({ unit: "binary", maxLength: 12 }),
)
const BODIES = fc.oneof(
  fc.constant("{}"),
  fc.json(),
  fc.string(),
  fc
    .record({ cron: fc.string(), payload: fc.string(), limits: fc.json() })
    .map(value => JSON.stringify(value)),
)

test("AD-26: no request along the document is answered with 500, and every answer keeps its promise", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...ROUTES.filter(({ path }) => path !== "runtime/drain")),
      fc.array(LABELS, { minLength: 4, maxLength: 4 }),
      fc.dictionary(
        fc.constantFrom(
          "limit",
          "offset",
          "realm",
          "family",
          "q",
          "domain",
          "key",
          "cursor",
          "route_pattern",
          "from_offset",
          "include",
          "managed_by",
          "key_encoding",
          "x",
        ),
        fc.oneof(fc.constantFrom("1", "0", "utf8", "base64", "prod", ""), LABELS),
      ),
      BODIES,
      fc.boolean(),
      async (row, labels, query, body, confirm) => {
        let next = 0
        const path = canonicalOf(row).replaceAll(/\{\w+\}/g, () =>
          encodeURIComponent(labels[next++ % labels.length]!),
        )
        const search = new URLSearchParams(query).toString()
        const sent = row.method === "PUT" ? { body, headers: { "content-type": "application/json" } } : {}
        const reply = await broker.ask(`${path}?${search}`, { method: row.method, confirm, ...sent })
        expect([200, 201, 204, 304, 400, 404, 405, 409, 412, 413, 415]).toContain(reply.status)
        if (reply.status >= 400) {
          expect(Object.keys(reply.body)).toEqual(["error", "code", "message", "request_id"])
        } else expect(Object.keys(row.answers)).toContain(String(reply.status))
      },
    ),
    {
      numRuns: 1_500,
      ...(process.env["FITZ_TEST_SEED"] === undefined ? {} : { seed: Number(process.env["FITZ_TEST_SEED"]) }),
    },
  )
  expect(broker.process.records.filter(record => (record["level"] as number) >= 50)).toEqual([])
})
