// `fitz serve` as a process: what it says when its configuration is wrong, what a person sees at the first start,
// how it stops. The broker behind it is other tests' business.

import { spawn } from "node:child_process"
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { createServer, type Server } from "node:net"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { OPTIONS } from "../../broker/config.ts"
import { openCaller } from "../kit/caller.ts"
import { until } from "../kit/patience.ts"
import { newFolder, PROGRAM, type Ran, removeFolder, runFitz, startProcess } from "../kit/process.ts"

const CHECKOUT = join(PROGRAM, "..", "..")
let folder: string
beforeAll(() => {
  folder = newFolder()
})
afterAll(() => removeFolder(folder))

describe("a wrong configuration", () => {
  test("every mistake is told at once, the exit code is 2, and nothing is opened or made", async () => {
    const data = join(folder, "untouched")
    const config = join(folder, "wrong.yaml")
    writeFileSync(config, "max-leases: none\nmax-leasse: 5\n")
    const ran = await runFitz(["serve", "--config", config, "--max-queues", "many"], {
      FITZ_STORAGE_PATH: data,
      FITZ_HTTP_PORT: "70000",
      FITZ_HTPP_PORT: "8080",
      FITZ_JWT_HMAC_SECRET: "hidden-hunter2",
      FITZ_JWT_HMAC_SECRET_FILE: "elsewhere",
    })
    expect(ran.code).toBe(2)
    expect(ran.out).toBe("")
    for (const mistake of [
      "The configuration has 6 mistakes:",
      "FITZ_HTTP_PORT has to be a whole number from 0 to 65535",
      "FITZ_HTPP_PORT: there is no such option; did you mean FITZ_HTTP_PORT?",
      "--max-queues has to be",
      `max-leases in ${config} has to be`,
      `max-leasse in ${config}: there is no such option; did you mean max-leases?`,
      "two sources of one secret",
    ])
      expect(ran.err).toContain(mistake)
    expect(ran.err).not.toContain("hidden-hunter2")
    expect(ran.err).not.toContain("    at ")
    expect(existsSync(data)).toBe(false)
  })

  test.each([
    [["serve", "--htpp-port", "1"], "Did you mean --http-port?"],
    [["serve", "--jwt-hmac-secret", "hidden"], "unknown option"],
    [["serve", "extra"], "too many arguments"],
    [["serve", "--config"], "argument missing"],
  ])("%j is refused with exit code 2", async (args, reason) => {
    const ran = await runFitz(args)
    expect(ran).toMatchObject({ code: 2, out: "" })
    expect(ran.err).toContain(reason)
  })

  test("a configuration file that is not there is named", async () => {
    const ran = await runFitz(["serve"], { FITZ_CONFIG_FILE: join(folder, "nothing.yaml") })
    expect(ran.code).toBe(2)
    expect(ran.err).toContain(`${join(folder, "nothing.yaml")} cannot be read: ENOENT`)
  })
})

describe("a start that fails", () => {
  let taken: Server
  let port: number
  beforeAll(async () => {
    taken = createServer()
    await new Promise<void>(resolve => taken.listen(0, "127.0.0.1", resolve))
    const address = taken.address()
    port = address !== null && typeof address === "object" ? address.port : 0
  })
  afterAll(() => {
    taken.close()
  })

  test.each<[string, () => Readonly<Record<string, string>>, RegExp]>([
    ["a port that is taken", () => ({ FITZ_HTTP_PORT: String(port) }), /cannot start: .*EADDRINUSE/],
    [
      "a family map that is broken",
      () => {
        writeFileSync(join(folder, "map"), "se=cr=et")
        writeFileSync(join(folder, "secret"), "hidden")
        return {
          FITZ_JWT_HMAC_SECRET_FILE: join(folder, "secret"),
          FITZ_ROUTE_FAMILY_MAP_FILE: join(folder, "map"),
        }
      },
      /cannot start: FITZ_ROUTE_FAMILY_MAP_FILE: an entry is not identity=family/,
    ],
    [
      "a certificate that is not there",
      () => ({ FITZ_TLS_CERT_FILE: join(folder, "no.pem"), FITZ_TLS_KEY_FILE: join(folder, "no.key") }),
      /cannot start: FITZ_TLS_CERT_FILE, FITZ_TLS_KEY_FILE: ENOENT/,
    ],
    [
      "a certificate that is none",
      () => {
        writeFileSync(join(folder, "bad.pem"), "nonsense")
        return { FITZ_TLS_CERT_FILE: join(folder, "bad.pem"), FITZ_TLS_KEY_FILE: join(folder, "bad.pem") }
      },
      /cannot start: FITZ_TLS_CERT_FILE, FITZ_TLS_KEY_FILE: /,
    ],
    [
      "a storage folder that is a file",
      () => {
        writeFileSync(join(folder, "a-file"), "")
        return { FITZ_STORAGE_PATH: join(folder, "a-file"), FITZ_AUTH_REQUIRED: "false" }
      },
      /cannot start: /,
    ],
  ])("%s ends the process with exit code 1 and one sentence", async (_name, environment, reason) => {
    const ran = await runFitz(["serve"], {
      FITZ_HTTP_PORT: "0",
      FITZ_STORAGE_PATH: join(folder, "failing"),
      ...environment(),
    })
    expect(ran.code).toBe(1)
    expect(ran.err).toMatch(reason)
    expect(ran.err.trim().split("\n")).toHaveLength(1)
    expect(ran.err).not.toMatch(/hidden|cr=et/)
  })

  test("an empty development secret is not used", async () => {
    const data = newFolder()
    writeFileSync(join(data, "development-secret"), "\n")
    const ran = await runFitz(["serve"], { FITZ_HTTP_PORT: "0", FITZ_STORAGE_PATH: data })
    removeFolder(data)
    expect(ran.code).toBe(1)
    expect(ran.err).toContain("development-secret is empty")
  })
})

describe("the help page", () => {
  test("each option stands there with its environment name, and no secret of this environment does", async () => {
    const ran = await runFitz(["serve", "--help"], { FITZ_JWT_HMAC_SECRET: "hidden-hunter2" })
    expect(ran).toMatchObject({ code: 0, err: "" })
    for (const { env, about } of Object.values(OPTIONS)) {
      expect(ran.out).toContain(env)
      expect(ran.out).toContain(about)
    }
    expect(ran.out).not.toContain("--jwt-hmac-secret ")
    expect(ran.out).not.toContain("hidden-hunter2")
  })
})

describe("options from everywhere", () => {
  test("flags, environment and file reach the running broker", async () => {
    const config = join(folder, "fitz.json")
    writeFileSync(config, JSON.stringify({ "auth-required": false, "storage-mode": "memory", "tcp-port": 0 }))
    const broker = await startProcess({ FITZ_CONFIG_FILE: config })
    expect(broker.tcpPort).toBeGreaterThan(0)
    const caller = await openCaller("tcp", broker.tcpPort!)
    expect(await caller.notice.unsubscribeAll()).toBeNull()
    await caller.close()
    expect(await broker.kill("SIGTERM")).toBe(0)
  })
})

/** A person at a terminal: nothing configured but where to be out of the way. */
class FirstStart {
  readonly out: () => string
  readonly exited: Promise<number | null>
  private readonly child: ReturnType<typeof spawn>

  constructor(
    environment: Readonly<Record<string, string>>,
    command: readonly [string, ...string[]] = [process.execPath, PROGRAM, "serve"],
  ) {
    const [program, ...args] = command
    this.child = spawn(program, args, {
      env: { PATH: process.env["PATH"], ...environment },
      stdio: ["ignore", "pipe", "inherit"],
      cwd: CHECKOUT,
      // A group of its own, as a terminal makes one: what is typed there reaches all of it.
      detached: true,
    })
    let out = ""
    this.child.stdout!.on("data", (piece: Buffer) => {
      out += piece.toString()
    })
    this.out = () => out
    this.exited = new Promise(resolve => this.child.once("exit", resolve))
  }

  /** The first screen, once it is whole. */
  async screen(): Promise<string> {
    await until("the first screen is there", () => /npx fitz health --url \S+\n/.test(this.out()))
    return this.out()
  }

  stop(): Promise<number | null> {
    this.child.kill("SIGTERM")
    return this.exited
  }

  /** Ctrl-C. */
  interrupt(): Promise<number | null> {
    process.kill(-this.child.pid!, "SIGINT")
    return this.exited
  }
}

function tokenOn(screen: string): string {
  return /^ {4}(eyJ\S+)$/m.exec(screen)![1]!
}

describe("the first start", () => {
  const environment = (data: string): Readonly<Record<string, string>> => ({
    FITZ_HTTP_PORT: "0",
    FITZ_STORAGE_PATH: data,
    FITZ_DRAIN_GRACE_SECONDS: "0",
    HOME: folder,
  })

  test("it says where it is, gives a token that works, and what to try next works as pasted", async () => {
    const data = join(folder, "first")
    const start = new FirstStart(environment(data), ["npm", "start"])
    const screen = await start.screen()
    const [, port] = /http:\/\/127\.0\.0\.1:(\d+)\/readyz/.exec(screen)!
    expect(screen).toContain(`ws://127.0.0.1:${port}/ws`)
    expect(screen).toContain(`127.0.0.1:${port}`)
    expect(screen).toContain(data)
    for (const transport of ["tcp", "ws"] as const) {
      const caller = await openCaller(transport, Number(port), tokenOn(screen))
      expect(await caller.queue.enqueue("queue://first/try/jobs", "hello")).toBeGreaterThan(0)
      await caller.close()
    }
    const next = /^ {4}(npx fitz health --url \S+)$/m.exec(screen)![1]!
    const pasted = await shell(next)
    expect(pasted.out).toContain('"status":"ready"')
    expect(pasted.code).toBe(0)
    await start.interrupt()
    await until("it has stopped in good order", () => start.out().includes('"msg":"stopped"'))
  })

  test("its secret is made once, for its owner's eyes, and kept", async () => {
    const data = join(folder, "kept")
    const first = new FirstStart(environment(data))
    const screen = await first.screen()
    const file = join(data, "development-secret")
    expect(statSync(file).mode & 0o777).toBe(0o600)
    const secret = readFileSync(file, "utf8").trim()
    expect(secret.length).toBeGreaterThanOrEqual(43)
    expect(await first.stop()).toBe(0)
    const second = new FirstStart(environment(data))
    const [, port] = /:(\d+)\/readyz/.exec(await second.screen())!
    expect(readFileSync(file, "utf8").trim()).toBe(secret)
    const caller = await openCaller("tcp", Number(port), tokenOn(screen))
    expect(await caller.notice.unsubscribeAll()).toBeNull()
    await caller.close()
    expect(await second.stop()).toBe(0)
    for (const text of [first.out(), second.out()]) expect(text).not.toContain(secret)
  })

  test("in memory nothing is written, and the token still works", async () => {
    const cwd = newFolder()
    const start = new FirstStart({ ...environment(join(cwd, "data")), FITZ_STORAGE_MODE: "memory" })
    const screen = await start.screen()
    expect(screen).toContain("in memory")
    const caller = await openCaller("ws", Number(/:(\d+)\/readyz/.exec(screen)![1]), tokenOn(screen))
    expect(await caller.notice.unsubscribeAll()).toBeNull()
    await caller.close()
    expect(await start.stop()).toBe(0)
    expect(readdirSync(cwd)).toEqual([])
    removeFolder(cwd)
  })

  test("a broker that was given a secret shows no token", async () => {
    const broker = await startProcess({ FITZ_STORAGE_MODE: "memory", FITZ_JWT_HMAC_SECRET: "given" })
    expect(await broker.kill("SIGTERM")).toBe(0)
    expect(broker.text).not.toMatch(/eyJ|given/)
  })
})

/** Runs a line as a person would paste it into a shell in the checkout. */
function shell(line: string): Promise<Ran> {
  const child = spawn("sh", ["-c", line], {
    cwd: CHECKOUT,
    env: process.env,
    stdio: ["ignore", "pipe", "pipe"],
  })
  let [out, err] = ["", ""]
  child.stdout.on("data", (piece: Buffer) => {
    out += piece.toString()
  })
  child.stderr.on("data", (piece: Buffer) => {
    err += piece.toString()
  })
  return new Promise(resolve => child.once("close", code => resolve({ code: code ?? "gone", out, err })))
}

describe("logs", () => {
  test("JSON: one object a line, with time and the level by name", async () => {
    const broker = await startProcess({ FITZ_STORAGE_MODE: "memory", FITZ_AUTH_REQUIRED: "false" })
    expect(await broker.kill("SIGTERM")).toBe(0)
    const lines = broker.text.trim().split("\n")
    expect(lines.length).toBeGreaterThanOrEqual(4)
    for (const line of lines) {
      const record = JSON.parse(line) as Record<string, unknown>
      expect(record).toMatchObject({ level: "info", msg: expect.any(String) })
      expect(record["time"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    }
    expect(lines.map(line => (JSON.parse(line) as { msg: string }).msg)).toEqual(
      expect.arrayContaining(["listening", "ready", "draining", "stopped"]),
    )
  })

  test("text: one line a record, with the level in words", async () => {
    const start = new FirstStart({
      FITZ_LOG_FORMAT: "text",
      FITZ_HTTP_PORT: "0",
      FITZ_STORAGE_MODE: "memory",
    })
    const screen = await start.screen()
    expect(screen).toMatch(/^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: listening$/m)
    expect(screen).toMatch(/^ {4}port: \d+$/m)
    expect(screen).not.toContain('"level"')
    expect(await start.stop()).toBe(0)
    expect(start.out()).toMatch(/INFO: stopped/)
  })

  test("a level keeps what is below it away", async () => {
    const start = new FirstStart({ FITZ_LOG_LEVEL: "warn", FITZ_HTTP_PORT: "0", FITZ_STORAGE_MODE: "memory" })
    const [, port] = /:(\d+)\/readyz/.exec(await start.screen())!
    // A refused CONNECT is a warning.
    const caller = await openCaller("tcp", Number(port), "nonsense")
    await caller.closed
    expect(await start.stop()).toBe(0)
    const records = start
      .out()
      .split("\n")
      .filter(line => line.startsWith("{"))
    expect(records.map(line => JSON.parse(line) as object)).toEqual([
      expect.objectContaining({ level: "warn", msg: "CONNECT refused: malformed" }),
    ])
  })
})

describe("D-4: signals", () => {
  test.each(["SIGTERM", "SIGINT"] as const)("%s ends it in good order", async signal => {
    const broker = await startProcess({ FITZ_STORAGE_MODE: "memory", FITZ_AUTH_REQUIRED: "false" })
    expect(await broker.kill(signal)).toBe(0)
    expect(broker.records.at(-1)).toMatchObject({ msg: "stopped" })
  })

  test("a second signal ends it at once", async () => {
    const broker = await startProcess({
      FITZ_STORAGE_MODE: "memory",
      FITZ_AUTH_REQUIRED: "false",
      FITZ_DRAIN_GRACE_SECONDS: "3600",
    })
    const caller = await openCaller("tcp", broker.port)
    await caller.notice.unsubscribeAll()
    broker.child.kill("SIGTERM")
    await broker.logged("draining")
    expect(await broker.kill("SIGTERM")).toBe(1)
    await caller.closed
  })

  test("a signal while it is still starting ends it with 0, and the store is whole", async () => {
    const data = join(folder, "stopped-early")
    const options = { FITZ_STORAGE_PATH: data, FITZ_AUTH_REQUIRED: "false" }
    const broker = await startProcess(options, { ready: false })
    expect(await broker.kill("SIGTERM")).toBe(0)
    const again = await startProcess(options)
    const caller = await openCaller("tcp", again.port)
    expect(await caller.queue.enqueue("queue://early/stop/jobs", "x")).toBeGreaterThan(0)
    await caller.close()
    expect(await again.kill("SIGTERM")).toBe(0)
  })
})
