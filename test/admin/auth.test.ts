// Who may do what on the admin surface: credentials, permissions, the order in which a request is judged,
// limits, sources of trust that change while the broker runs.

import { execFileSync } from "node:child_process"
import { generateKeyPairSync, type KeyObject } from "node:crypto"
import { readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { SignJWT } from "jose"
import { afterAll, beforeAll, expect, test } from "vitest"
import { type AdminBroker, mint, SECRET, startAdmin } from "../kit/admin.ts"
import { openCaller } from "../kit/caller.ts"
import { newFolder, removeFolder } from "../kit/process.ts"

const PROGRAM = fileURLToPath(new URL("../../cli/fitz.mjs", import.meta.url))
const folder = newFolder()
const keysFile = join(folder, "keys.json")
let broker: AdminBroker

/** Makes a key as people do. */
function makeKey(id: string, ...permissions: string[]): string {
  const key = execFileSync(
    process.execPath,
    [PROGRAM, "token", "key", "--id", id, "--file", keysFile, "--permission", ...permissions],
    { encoding: "utf8" },
  )
  return key.trim()
}

let readKey = ""
let programKey = ""

beforeAll(async () => {
  readKey = makeKey("reader", "admin:read")
  programKey = makeKey("program", "queue://jobs/**#*")
  broker = await startAdmin({ FITZ_API_KEYS_FILE: keysFile })
})
afterAll(async () => {
  await broker.end()
  removeFolder(folder)
})

test("AD-3, AD-4: the matrix of credentials and surfaces", async () => {
  const token = (permissions: readonly string[], more = {}): Promise<string> => mint({ permissions, ...more })
  const [, payload] = (await token(["admin"])).split(".")
  const credentials: Readonly<Record<string, string | null>> = {
    none: null,
    garbage: "x.y.z",
    unsigned: `eyJhbGciOiJub25lIn0.${payload}.`,
    stranger: await token(["admin"], { secret: `${SECRET}-invalid` }),
    expired: await token(["admin"], { expiresInSeconds: -60 }),
    nothing: await token(["queue://a/**#*"]),
    read: await token(["admin:read"]),
    write: await token(["admin:write"]),
    admin: await token(["admin"]),
    star: await token(["admin:*"]),
    metrics: await token(["metrics:read"]),
    data: await token(["data:read"]),
    key: readKey,
    shortKey: "too-short",
    unknownKey: "fitz_0123456789abcdefghijklmnopqrstuvwxyz",
  }
  const seen: Record<string, string> = {}
  for (const [name, token] of Object.entries(credentials)) {
    const read = await broker.ask("/api/v1/stats", { token })
    const data = await broker.ask("/api/v1/kv/realms/a/areas/b/resources/c/value?key=k", { token })
    const write = await broker.ask("/api/v1/realms/matrix", { method: "PUT", token, json: {} })
    seen[name] = `${read.status} ${data.status} ${write.status}`
    if (read.status === 401) {
      expect(read.headers.get("www-authenticate")).toBe('Bearer realm="fitz"')
      expect(read.body).toEqual({
        error: "Unauthorized",
        code: "unauthorized",
        message: expect.any(String),
        request_id: read.headers.get("x-request-id"),
      })
    }
    expect((await broker.ask("/healthz", { token })).status).toBe(200)
    expect((await broker.ask("/readyz", { token })).status).toBe(200)
  }
  expect(seen).toEqual({
    none: "401 401 401",
    garbage: "401 401 401",
    unsigned: "401 401 401",
    stranger: "401 401 401",
    expired: "401 401 401",
    nothing: "403 403 403",
    read: "200 403 403",
    write: "403 403 201",
    admin: "200 403 200",
    star: "200 403 200",
    metrics: "403 403 403",
    data: "403 404 403",
    key: "200 403 403",
    shortKey: "401 401 401",
    unknownKey: "401 401 401",
  })
})

test("AD-4: permissions come from permissions, scp, scope and roles together", async () => {
  for (const more of [
    { scp: ["admin:read"] },
    { scp: "x admin:read" },
    { scope: "openid admin:read" },
    { roles: ["nobody", "admin:read"] },
  ]) {
    const token = await mint({ permissions: ["queue://a/**"], more })
    expect((await broker.ask("/api/v1/stats", { token })).status).toBe(200)
  }
})

test("AD-3: a key in three spellings; a token wins over a key", async () => {
  const none = { token: null }
  for (const headers of [
    { "x-api-key": readKey },
    { authorization: `ApiKey ${readKey}` },
    { authorization: `Bearer ${readKey}` },
  ]) {
    expect((await broker.ask("/api/v1/stats", { ...none, headers })).status).toBe(200)
  }
  const refused = await broker.ask("/api/v1/stats", { token: "a.b.c", headers: { "x-api-key": readKey } })
  expect(refused.status).toBe(401)
})

test("AD-5, AD-6: an API key lets a program in, and its removal ends the session within seconds", async () => {
  const caller = await openCaller("tcp", broker.port, programKey)
  await caller.queue.enqueue("queue://jobs/a/b", "x")
  const { sessions } = await broker.get("sessions")
  expect(sessions).toMatchObject([{ subject: "apikey:program", identity_value: "program" }])
  const kept = (JSON.parse(readFileSync(keysFile, "utf8")) as { id: string }[]).filter(
    key => key.id !== "program",
  )
  writeFileSync(`${keysFile}.new`, JSON.stringify(kept))
  renameSync(`${keysFile}.new`, keysFile)
  await caller.closed
  expect((await broker.ask("/api/v1/stats", { token: readKey })).status).toBe(200)
  writeFileSync(keysFile, "broken")
  const broken = await broker.until("runtime/auth", auth => auth.sources[1].error !== null)
  expect(broken.sources[1]).toMatchObject({ source: "api_keys", keys: [{ kid: "reader", alg: "SHA-256" }] })
  expect((await broker.ask("/api/v1/stats", { token: readKey })).status).toBe(200)
})

test("AD-2: nobody learns what is there without a credential; then 404, 405, 403 in that order", async () => {
  const judge = async (path: string, method = "GET", token: string | null = broker.token) => {
    const reply = await broker.ask(path, { method, token })
    return [reply.status, reply.body?.code ?? null]
  }
  const weak = await mint({ permissions: ["metrics:read"] })
  for (const path of ["/api", "/api/v1", "/admin", "/admin/nothing", "/api/v1/stats/x", "/api/v2/stats"]) {
    expect(await judge(path, "GET", null)).toEqual([401, "unauthorized"])
    expect(await judge(path)).toEqual([404, "not_found"])
    expect(await judge(path, "GET", weak)).toEqual([404, "not_found"])
  }
  const wrong = await broker.ask("/api/v1/stats", { method: "POST", token: weak })
  expect([wrong.status, wrong.body.code, wrong.headers.get("allow")]).toEqual([
    405,
    "method_not_allowed",
    "GET, HEAD",
  ])
  expect(await judge("/api/v1/admin/sessions/nonsense/close", "POST", weak)).toEqual([403, "forbidden"])
  expect(await judge("/api/v1/admin/sessions/nonsense/close", "POST")).toEqual([400, "invalid_parameter"])
  expect(await judge("/api/v1/admin/sessions/sess_999999/close", "POST")).toEqual([
    400,
    "confirmation_required",
  ])
  expect(await judge("/api/v1/stats", "PATCH")).toEqual([405, "method_not_allowed"])
})

test("AD-1, H-2: HEAD, trailing slash, request ids, no-store", async () => {
  const get = await broker.ask("/api/v1/realms/", { headers: { "x-request-id": "my-id" } })
  expect(get.headers.get("x-request-id")).toBe("my-id")
  expect(get.headers.get("cache-control")).toBe("no-store")
  expect(get.headers.get("x-content-type-options")).toBe("nosniff")
  expect(get.headers.get("referrer-policy")).toBe("no-referrer")
  expect(get.headers.get("access-control-allow-origin")).toBeNull()
  const head = await broker.ask("/api/v1/realms", { method: "HEAD" })
  expect([head.status, head.text]).toEqual([200, ""])
  expect(head.headers.get("content-length")).toBe(get.headers.get("content-length"))
  const long = await broker.ask("/api/v1/realms", { headers: { "x-request-id": "x".repeat(129) } })
  expect(long.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/)
})

test("AD-7: limits answer 429 with Retry-After, each principal for itself; probes are never limited", async () => {
  const limited = await startAdmin({
    FITZ_RATE_LIMIT_ADMIN_READ: "1/min:2",
    FITZ_RATE_LIMIT_ADMIN_WRITE: "1/min:1",
    FITZ_RATE_LIMIT_ADMIN_WRITE_OF: "system:fitz-operator=0",
    FITZ_RATE_LIMIT_AUTH_FAILURE: "1/min:2",
  })
  const statuses: number[] = []
  for (let i = 0; i < 3; i++) statuses.push((await limited.ask("/api/v1/stats")).status)
  expect(statuses).toEqual([200, 200, 429])
  const refused = await limited.ask("/api/v1/stats")
  expect(refused.body.code).toBe("rate_limited")
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThanOrEqual(1)
  const other = await mint({ sub: "other", permissions: ["admin"] })
  expect((await limited.ask("/api/v1/stats", { token: other })).status).toBe(200)
  const operator = await mint({ sub: "system:fitz-operator", permissions: ["admin"] })
  for (let i = 0; i < 5; i++) {
    const put = await limited.ask(`/api/v1/realms/r${i}`, { method: "PUT", json: {}, token: operator })
    expect(put.status).toBe(201)
  }
  const writes: number[] = []
  for (let i = 0; i < 2; i++) {
    const put = await limited.ask("/api/v1/realms/r0", { method: "PUT", json: {}, token: other })
    writes.push(put.status)
  }
  expect(writes).toEqual([200, 429])
  const failures: number[] = []
  for (let i = 0; i < 4; i++) failures.push((await limited.ask("/api/v1/stats", { token: null })).status)
  expect(failures).toEqual([401, 401, 429, 429])
  const fresh = await mint({ sub: "fresh", permissions: ["admin"] })
  expect((await limited.ask("/api/v1/stats", { token: fresh })).status).toBe(200)
  for (let i = 0; i < 50; i++) expect((await limited.ask("/healthz", { token: null })).status).toBe(200)
  await limited.end()
})

test("AD-3: probes ask for any valid credential where that is configured", async () => {
  const strict = await startAdmin({ TOPICS_PROBE_AUTH: "true" })
  const weak = await mint({ permissions: ["queue://a/**"] })
  for (const path of ["/healthz", "/livez", "/readyz", "/startupz", "/health"]) {
    expect((await strict.ask(path, { token: null })).status, path).toBe(401)
    expect((await strict.ask(path, { token: weak })).status, path).toBe(200)
  }
  await strict.end()
})

test("AD-3: open mode lets everybody in as anonymous, and says so at the start", async () => {
  const open = await startAdmin({ FITZ_ADMIN_AUTH_MODE: "open" })
  expect((await open.ask("/api/v1/stats", { token: null })).status).toBe(200)
  await open.ask("/api/v1/realms/x", { method: "PUT", json: {}, token: null })
  expect((await open.get("audit")).records[0]).toMatchObject({ user: "anonymous", auth_method: "open" })
  await open.process.logged("everybody may do everything on the admin surface: FITZ_ADMIN_AUTH_MODE=open")
  await open.end()
})

test("AD-5: generated keys and the clients' secret side by side; who may administrate; rotation", async () => {
  const make = (kid: string): { jwk: object; key: KeyObject } => {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
    return { jwk: { ...publicKey.export({ format: "jwk" }), kid, alg: "ES256" }, key: privateKey }
  }
  const sign = (key: KeyObject, kid: string): Promise<string> =>
    new SignJWT({ permissions: ["admin:read", "admin:write"] })
      .setProtectedHeader({ alg: "ES256", kid })
      .setSubject("system:fitz-operator")
      .setAudience("urn:fitz:broker:uid-1")
      .setExpirationTime("10m")
      .sign(key)
  const [one, two] = [make("k1"), make("k2")]
  const file = join(folder, "jwks.json")
  writeFileSync(file, JSON.stringify({ keys: [one.jwk] }))
  const both = await startAdmin({ FITZ_JWT_JWKS_FILE: file, FITZ_BROKER_UID: "uid-1" })
  const operator = await sign(one.key, "k1")
  expect((await both.ask("/api/v1/stats", { token: both.token })).status).toBe(403)
  const auth = (await both.ask("/api/v1/runtime/auth", { token: operator })).body
  expect(auth.storage_id).toMatch(/^[0-9a-f]{32}$/)
  expect(auth.sources).toEqual([
    {
      source: "generated",
      kind: "jwks_file",
      loaded_at: expect.any(String),
      error: null,
      keys: [{ kid: "k1", alg: "ES256", last_verified_at: expect.any(String) }],
    },
    {
      source: "clients",
      kind: "hs256",
      loaded_at: expect.any(String),
      error: null,
      keys: [{ kid: "", alg: "HS256", last_verified_at: expect.any(String) }],
    },
  ])
  writeFileSync(`${file}.new`, JSON.stringify({ keys: [two.jwk] }))
  renameSync(`${file}.new`, file)
  const next = await sign(two.key, "k2")
  let status = 401
  while (status === 401) ({ status } = await both.ask("/api/v1/stats", { token: next }))
  expect(status).toBe(200)
  expect((await both.ask("/api/v1/stats", { token: operator })).status).toBe(401)
  const allowed = await startAdmin({
    FITZ_JWT_JWKS_FILE: file,
    FITZ_BROKER_UID: "uid-1",
    FITZ_JWT_CLIENT_ALLOW_ADMIN: "true",
  })
  expect((await allowed.ask("/api/v1/stats")).status).toBe(200)
  await both.end()
  await allowed.end()
})
