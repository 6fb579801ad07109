// Who asks, over HTTP: any valid credential hears what it may do here, nobody else hears anything, and nothing of
// the credential itself is in the answer.

import { afterAll, beforeAll, expect, test } from "vitest"
import { type AdminBroker, mint, startAdmin } from "../kit/admin.ts"

let broker: AdminBroker
beforeAll(async () => {
  broker = await startAdmin({ FITZ_STORAGE_MODE: "memory" })
})
afterAll(() => broker.end())

test.for([
  [["admin"], ["admin:read", "admin:write", "metrics:read"]],
  [["admin:read"], ["admin:read", "metrics:read"]],
  [["admin:write"], ["admin:write"]],
  [["data:read", "something:else"], ["data:read"]],
  [["metrics:read"], ["metrics:read"]],
  [["kv://**#*"], []],
] as const)("%j may %j", async ([claimed, held]) => {
  const token = await mint({ sub: "ada", permissions: claimed })
  const reply = await broker.ask("/api/v1/session", { token })
  expect(reply.status).toBe(200)
  const { permissions, ...rest } = reply.body
  expect([...permissions].sort()).toEqual([...held])
  expect(rest).toEqual({ user: "ada", auth_method: "jwt" })
  for (const part of token.split(".")) expect(reply.text).not.toContain(part)
})

test("without a valid credential there is no answer, and asking changes nothing", async () => {
  for (const token of [null, await mint({ secret: "another-secret-of-32-characters-xx" })]) {
    const reply = await broker.ask("/api/v1/session", { token })
    expect([reply.status, reply.body.code]).toEqual([401, "unauthorized"])
  }
  const write = await broker.ask("/api/v1/session", { method: "POST" })
  expect([write.status, write.headers.get("allow")]).toEqual([405, "GET, HEAD"])
})

test("where the admin surface is open, everybody is told so", async () => {
  const open = await startAdmin({ FITZ_STORAGE_MODE: "memory", FITZ_ADMIN_AUTH_MODE: "open" })
  const { body } = await open.ask("/api/v1/session", { token: null })
  expect(body).toMatchObject({ user: "anonymous", auth_method: "open" })
  expect(body.permissions).toHaveLength(4)
  await open.end()
})
