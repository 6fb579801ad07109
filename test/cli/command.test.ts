// The `fitz` command's small verbs, and what its start file says to a Node that is too old. Each is run as a person
// would run it; the tokens are judged by a real broker.

import { execFileSync } from "node:child_process"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { delimiter, join } from "node:path"
import { decodeJwt, decodeProtectedHeader } from "jose"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { openCaller, Refused } from "../kit/caller.ts"
import { until } from "../kit/patience.ts"
import { type BrokerProcess, newFolder, removeFolder, runFitz, startProcess } from "../kit/process.ts"

let folder: string
beforeAll(() => {
  folder = newFolder()
})
afterAll(() => removeFolder(folder))

/** Nodes on this machine's path that are older than the one we need. */
function oldNodes(): string[] {
  const folders = new Set([...(process.env["PATH"] ?? "").split(delimiter), "/usr/bin", "/usr/local/bin"])
  return [...folders]
    .map(place => join(place, "node"))
    .filter(node => {
      if (!existsSync(node)) return false
      const version = execFileSync(node, ["--version"]).toString()
      return Number(/^v(\d+)/.exec(version)?.[1]) < 24
    })
}

describe("the start file", () => {
  test("with a Node that is too old it says so, and what to do", async context => {
    const [node] = oldNodes()
    if (node === undefined) return context.skip("there is no Node older than 24 on this machine")
    for (const args of [["--version"], ["serve"]]) {
      const ran = await runFitz(args, {}, { node })
      expect(ran).toMatchObject({ code: 1, out: "" })
      expect(ran.err).toMatch(/^fitz needs Node 24 or newer, this is \d+\.\d+\.\d+\.\n/)
      expect(ran.err).toContain("npm ci")
      // What it names exists.
      const scripts = (
        JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
          scripts: Record<string, string>
        }
      ).scripts
      for (const [, name] of ran.err.matchAll(/npm run ([\w:-]+)/g)) expect(scripts[name!]).toBeDefined()
    }
  })

  test("--version is package.json's", async () => {
    const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
      version: string
    }
    for (const flag of ["--version", "-V"])
      expect(await runFitz([flag])).toEqual({ code: 0, out: `${version}\n`, err: "" })
  })

  test("an unknown verb is refused, with the one that was probably meant", async () => {
    const ran = await runFitz(["helth"])
    expect(ran).toMatchObject({ code: 2, out: "" })
    expect(ran.err).toContain("unknown command 'helth'")
    expect(ran.err).toContain("Did you mean health?")
  })

  test("without a verb it shows them all", async () => {
    const [bare, asked] = [await runFitz([]), await runFitz(["--help"])]
    expect(bare.code).toBe(2)
    expect(asked.code).toBe(0)
    for (const verb of ["serve", "token", "health", "backup"]) {
      expect(bare.err).toContain(`  ${verb}`)
      expect(asked.out).toContain(`  ${verb}`)
    }
  })
})

describe("fitz token", () => {
  const SECRET = "a secret of the tests"
  let data: string
  let development: BrokerProcess
  beforeAll(async () => {
    data = join(folder, "data")
    development = await startProcess({ FITZ_STORAGE_PATH: data, FITZ_DRAIN_GRACE_SECONDS: "0" })
  })
  afterAll(async () => {
    expect(await development.kill("SIGTERM")).toBe(0)
  })

  async function token(
    args: readonly string[],
    environment: Readonly<Record<string, string>>,
  ): Promise<string> {
    const ran = await runFitz(["token", ...args], environment)
    expect(ran).toMatchObject({ code: 0, err: "" })
    expect(ran.out).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/)
    return ran.out.trim()
  }

  test("a development broker's secret is found in its folder, and the token is taken", async () => {
    for (const [args, environment] of [
      [[], { FITZ_STORAGE_PATH: data }],
      [["--data", data], {}],
    ] as const) {
      for (const transport of ["tcp", "ws"] as const) {
        const caller = await openCaller(transport, development.port, await token(args, environment))
        expect(await caller.queue.enqueue("queue://token/test/jobs", "x")).toBeGreaterThan(0)
        await caller.close()
      }
    }
  })

  test("without anything said it allows everything for an hour", async () => {
    const minted = await token([], { FITZ_JWT_HMAC_SECRET: SECRET })
    expect(decodeProtectedHeader(minted)).toEqual({ alg: "HS256", typ: "JWT" })
    const claims = decodeJwt(minted)
    expect(claims).toMatchObject({ sub: "dev", tid: "dev", aud: "fitz" })
    expect(claims.exp! - claims.iat!).toBe(3_600)
    expect(Math.abs(claims.iat! - Date.now() / 1_000)).toBeLessThan(60)
    expect(new Set(claims["permissions"] as string[])).toEqual(
      new Set(["kv", "stream", "notice", "queue", "rpc", "lease", "schedule"].map(one => `${one}://**#*`)),
    )
  })

  test("subject, identity, claim, audience, permissions and time are as asked", async () => {
    const minted = await token(
      [
        ...[
          "--subject",
          "worker 7",
          "--identity",
          "acme",
          "--identity-claim",
          "tenant",
          "--audience",
          "fitz-eu",
        ],
        ...["--permission", "queue://jobs/**#write", "notice://**#read", "--permission", "kv://a/b/c"],
        ...["--expires-in", "30d"],
      ],
      { FITZ_JWT_HMAC_SECRET: SECRET },
    )
    const claims = decodeJwt(minted)
    expect(claims).toMatchObject({
      sub: "worker 7",
      tenant: "acme",
      aud: "fitz-eu",
      permissions: ["queue://jobs/**#write", "notice://**#read", "kv://a/b/c"],
    })
    expect(claims).not.toHaveProperty("tid")
    expect(claims.exp! - claims.iat!).toBe(30 * 86_400)
  })

  test("what the broker of this environment expects is the default", async () => {
    const environment = {
      FITZ_JWT_HMAC_SECRET: SECRET,
      FITZ_JWT_AUDIENCES: "fitz-eu,fitz-us",
      FITZ_JWT_IDENTITY_CLAIM: "tenant",
    }
    expect(decodeJwt(await token([], environment))).toMatchObject({ aud: "fitz-eu", tenant: "dev" })
    const broker = await startProcess({ ...environment, FITZ_STORAGE_MODE: "memory" })
    const caller = await openCaller("tcp", broker.port, await token([], environment))
    expect(await caller.notice.unsubscribeAll()).toBeNull()
    await caller.close()
    expect(await broker.kill("SIGTERM")).toBe(0)
  })

  test("the broker grants what was asked for and nothing else", async () => {
    const minted = await token(["--permission", "queue://jobs/**#write", "--data", data], {})
    const caller = await openCaller("tcp", development.port, minted)
    expect(await caller.queue.enqueue("queue://jobs/a/b", "x")).toBeGreaterThan(0)
    const refused = await caller.queue.enqueue("queue://other/a/b", "x").catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(Refused)
    expect((refused as Refused).code).toBe(4009)
    await caller.close()
  })

  test("one that has ended, or is signed with another secret, is refused", async () => {
    const minted = await token(["--expires-in", "1s", "--data", data], {})
    const ends = decodeJwt(minted).exp! * 1_000
    const other = await token([], { FITZ_JWT_HMAC_SECRET: SECRET })
    const stranger = await openCaller("tcp", development.port, other)
    await stranger.closed
    expect(stranger.received).toEqual([])
    await until("the token has ended", () => Date.now() >= ends)
    const late = await openCaller("tcp", development.port, minted)
    await late.closed
    expect(late.received).toEqual([])
  })

  test("a secret file serves as well, without its line end", async () => {
    const file = join(folder, "secret")
    writeFileSync(file, `${SECRET}\r\n`)
    const broker = await startProcess({ FITZ_JWT_HMAC_SECRET: SECRET, FITZ_STORAGE_MODE: "memory" })
    const minted = await token([], { FITZ_JWT_HMAC_SECRET_FILE: file, FITZ_JWT_HMAC_SECRET: "" })
    const caller = await openCaller("tcp", broker.port, minted)
    expect(await caller.notice.unsubscribeAll()).toBeNull()
    await caller.close()
    expect(await broker.kill("SIGTERM")).toBe(0)
  })

  test.each<[readonly string[], number, string]>([
    [["--expires-in", "soon"], 2, "a number with s, m, h or d"],
    [["--expires-in", "0"], 2, "a number with s, m, h or d"],
    [["--expires-in", "-5m"], 2, "a number with s, m, h or d"],
    [["--permission", "queue://a/**#delete"], 1, "is no permission: access is not read, write or *"],
    [["--permission", "topics://a/**"], 1, "is no permission"],
    [["--permission", "admin:delete"], 1, "is neither a pattern nor one of admin, admin:*"],
    [["--secret", "hidden"], 2, "unknown option"],
  ])("%j is refused", async (args, code, reason) => {
    const ran = await runFitz(["token", ...args], { FITZ_JWT_HMAC_SECRET: SECRET })
    expect(ran).toMatchObject({ code, out: "" })
    expect(ran.err).toContain(reason)
    expect(ran.err).not.toContain(SECRET)
  })

  test("without a secret it says where it looked", async () => {
    const ran = await runFitz(["token"], { FITZ_STORAGE_PATH: join(folder, "nowhere") })
    expect(ran).toMatchObject({ code: 1, out: "" })
    expect(ran.err).toContain(join(folder, "nowhere", "development-secret"))
  })
})

describe("fitz health", () => {
  test("ready is 0 with the answer, draining is 1 with the answer", async () => {
    const broker = await startProcess({
      FITZ_STORAGE_MODE: "memory",
      FITZ_AUTH_REQUIRED: "false",
      FITZ_DRAIN_GRACE_SECONDS: "3600",
    })
    const caller = await openCaller("tcp", broker.port)
    await caller.notice.unsubscribeAll()
    for (const [args, environment] of [
      [["--url", `http://127.0.0.1:${broker.port}/anything`], {}],
      [[], { FITZ_HTTP_PORT: String(broker.port), FITZ_BIND_ADDR: "0.0.0.0" }],
    ] as const) {
      const ran = await runFitz(["health", ...args], environment)
      expect(ran).toMatchObject({ code: 0, err: "" })
      expect(JSON.parse(ran.out)).toMatchObject({ status: "ready" })
    }
    broker.child.kill("SIGTERM")
    await broker.logged("draining")
    const ran = await runFitz(["health", "--url", `http://127.0.0.1:${broker.port}`])
    expect(ran).toMatchObject({ code: 1, err: "" })
    expect(JSON.parse(ran.out)).toMatchObject({ status: "not_ready", error: { code: "shutting_down" } })
    await caller.close()
    expect(await broker.exited).toBe(0)
  })

  test("nobody there is 1, in one sentence", async () => {
    const server = createServer()
    await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve))
    const address = server.address()
    const port = address !== null && typeof address === "object" ? address.port : 0
    await new Promise(resolve => server.close(resolve))
    const ran = await runFitz(["health", "--url", `http://127.0.0.1:${port}`])
    expect(ran).toMatchObject({ code: 1, out: "" })
    expect(ran.err).toMatch(/^fitz: http:\/\/127\.0\.0\.1:\d+ does not answer: connect ECONNREFUSED .*\n$/)
  })

  test("an address that is none is 1, in one sentence", async () => {
    const ran = await runFitz(["health", "--url", "nowhere"])
    expect(ran).toMatchObject({ code: 1, out: "" })
    expect(ran.err).toMatch(/^fitz: nowhere is no URL.*\n$/)
  })
})
