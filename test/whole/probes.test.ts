// Probes in every state that a broker can be in: starting, ready, full, draining, stuck, dead. Asked of real
// processes; the states that end a process at once are shown to the door itself.

import { execFileSync } from "node:child_process"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import fastify from "fastify"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { registerProbes } from "../../broker/admin/probes.ts"
import { STALL_MS, Status } from "../../broker/engine/status.ts"
import { Brake } from "../kit/brake.ts"
import { bytes, outer } from "../kit/bytes.ts"
import { openCaller } from "../kit/caller.ts"
import { until } from "../kit/patience.ts"
import { type BrokerProcess, newFolder, removeFolder, startProcess } from "../kit/process.ts"
import { ask, dial, type HttpAnswer } from "../kit/sockets.ts"

const PROBES = ["/healthz", "/livez", "/readyz", "/startupz", "/health"] as const
type Probe = (typeof PROBES)[number]

let folder: string
beforeAll(() => {
  folder = newFolder()
})
afterAll(() => removeFolder(folder))

interface Answer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
  readonly retryAfter: string | undefined
}

/** All probes by GET; each is also asked by HEAD and with a credential that is none, which has to change nothing. */
async function probe(port: number): Promise<Readonly<Record<Probe, Answer>>> {
  const answers = await Promise.all(
    PROBES.map(async path => {
      const got = await ask(port, `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
      const head = await ask(port, `HEAD ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
      const odd = await ask(
        port,
        `GET ${path}/?x=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer nonsense\r\n\r\n`,
      )
      expect([head.status, odd.status], path).toEqual([got.status, got.status])
      expect(head.body).toBe("")
      for (const answer of [got, head, odd]) {
        expect(answer.headers).toMatchObject({
          "content-type": "application/json; charset=utf-8",
          "cache-control": "no-store",
        })
        expect(answer.headers["retry-after"], path).toBe(got.headers["retry-after"])
      }
      return [path, answerOf(got)] as const
    }),
  )
  return Object.fromEntries(answers) as Record<Probe, Answer>
}

/** One probe alone, for waiting: between two of them the state may change. */
async function readiness(port: number): Promise<number> {
  return (await ask(port, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")).status
}

function answerOf(answer: Pick<HttpAnswer, "status" | "headers" | "body">): Answer {
  return {
    status: answer.status,
    body: JSON.parse(answer.body) as Record<string, unknown>,
    retryAfter: answer.headers["retry-after"],
  }
}

const OK = { storage: "ok", domains_initialized: "ok" }
const ALIVE = { status: "ok", version: expect.any(String), uptime_ms: expect.any(Number) }
const STARTED = { status: "started", startup_time_seconds: expect.any(Number) }
const HEALTHY = { status: "healthy", uptime_seconds: expect.any(Number), version: expect.any(String) }
const READY = { status: "ready", checks: OK, wal_replay_complete: true, topics: expect.any(Number) }

function expectReady(answers: Readonly<Record<Probe, Answer>>): void {
  expect(answers).toEqual({
    "/healthz": { status: 200, body: ALIVE, retryAfter: undefined },
    "/livez": { status: 200, body: ALIVE, retryAfter: undefined },
    "/readyz": { status: 200, body: READY, retryAfter: undefined },
    "/startupz": { status: 200, body: STARTED, retryAfter: undefined },
    "/health": { status: 200, body: HEALTHY, retryAfter: undefined },
  })
}

/** A door whose status the test writes, for states that a process does not stay in. */
async function openDoor(): Promise<{
  status: Status
  clock: { now: number; beat: number }
  close(): Promise<void>
  probe(path: Probe): Promise<Answer>
}> {
  const clock = { now: 1_000_000, beat: 1_000_000 }
  const status = new Status(
    "1.2.3",
    () => clock.now,
    () => clock.beat,
  )
  const app = fastify()
  registerProbes(app, status)
  await app.ready()
  return {
    status,
    clock,
    close: () => app.close(),
    probe: async path => {
      const { statusCode, headers, body } = await app.inject({ method: "GET", url: path })
      return answerOf({ status: statusCode, headers: headers as Record<string, string>, body })
    },
  }
}

describe("the state table", () => {
  test("H-3, H-4, H-5, H-6, H-7: every state, with exactly the keys that belong to it", async () => {
    const { status, clock, close, probe } = await openDoor()
    const codes = async (): Promise<readonly number[]> =>
      (await Promise.all(PROBES.map(probe))).map(answer => answer.status)

    // The order of PROBES: healthz, livez, readyz, startupz, health.
    expect(await codes()).toEqual([200, 200, 503, 503, 503])
    clock.now += 1_500
    clock.beat = clock.now
    status.loadProgress = 0.25
    expect(await probe("/readyz")).toEqual({
      status: 503,
      body: {
        status: "not_ready",
        checks: { storage: "not_ready", domains_initialized: "not_ready", listeners: "not_ready" },
        error: { code: "not_ready", message: expect.any(String), detail: { replay_progress: 0.25 } },
      },
      retryAfter: "1",
    })
    expect(await probe("/startupz")).toMatchObject({ body: { status: "starting" } })
    expect(await probe("/healthz")).toMatchObject({
      body: { status: "ok", version: "1.2.3", uptime_ms: 1_500 },
    })
    expect(await probe("/health")).toMatchObject({
      body: { status: "degraded", uptime_seconds: 1, version: "1.2.3" },
    })

    status.listening = true
    expect(Object.keys((await probe("/readyz")).body["checks"] as object)).toEqual([
      "storage",
      "domains_initialized",
    ])
    status.storageWritable = true
    status.domainsReady = true
    expect(await codes()).toEqual([200, 200, 200, 200, 200])
    expect(await probe("/readyz")).toEqual({
      status: 200,
      body: { status: "ready", checks: OK, wal_replay_complete: true, topics: 0 },
      retryAfter: undefined,
    })
    expect((await probe("/startupz")).body).toEqual({ status: "started", startup_time_seconds: 1.5 })

    // Storage lost write access.
    clock.now += 60_000
    clock.beat = clock.now
    status.storageWritable = false
    expect(await codes()).toEqual([200, 200, 503, 200, 503])
    expect(await probe("/readyz")).toEqual({
      status: 503,
      body: {
        status: "not_ready",
        checks: { ...OK, storage: "not_ready" },
        error: { code: "not_ready", message: expect.stringContaining("does not take writes") },
      },
      retryAfter: "1",
    })
    expect((await probe("/startupz")).body).toEqual({ status: "started", startup_time_seconds: 1.5 })
    status.storageWritable = true
    expect(await codes()).toEqual([200, 200, 200, 200, 200])

    // The durable lane gives no sign of life.
    clock.now += STALL_MS
    expect(await codes()).toEqual([200, 200, 200, 200, 200])
    clock.now += 1
    expect(await codes()).toEqual([503, 503, 200, 200, 503])
    expect((await probe("/healthz")).body).toEqual({
      status: "unhealthy",
      reason: expect.stringMatching(/\w/),
    })
    clock.beat = clock.now
    expect(await codes()).toEqual([200, 200, 200, 200, 200])

    // Draining.
    status.draining = true
    expect(await codes()).toEqual([200, 200, 503, 200, 503])
    expect(await probe("/readyz")).toEqual({
      status: 503,
      body: {
        status: "not_ready",
        checks: { ...OK, accepting_traffic: "draining" },
        error: { code: "shutting_down", message: expect.any(String) },
      },
      retryAfter: "1",
    })
    status.draining = false

    // A domain dead for good.
    status.dead = "the durable lane has failed"
    expect(await codes()).toEqual([503, 503, 503, 200, 503])
    expect((await probe("/healthz")).body).toEqual({
      status: "unhealthy",
      reason: "the durable lane has failed",
    })
    expect((await probe("/readyz")).body).toMatchObject({
      checks: { domains_initialized: "not_ready" },
      error: { code: "not_ready", message: "the durable lane has failed" },
    })
    await close()
  })
})

describe("a process", () => {
  test("H-1, H-5, T-17: probes answer while the store is being loaded, and no program is let in", async () => {
    const brake = new Brake(folder)
    brake.hold()
    const broker = await startProcess(
      {
        FITZ_STORAGE_PATH: join(folder, "loading"),
        FITZ_AUTH_REQUIRED: "false",
        FITZ_DRAIN_GRACE_SECONDS: "0",
        ...brake.environment,
      },
      { ready: false },
    )
    const starting = await probe(broker.port)
    expect(starting).toEqual({
      "/healthz": { status: 200, body: ALIVE, retryAfter: undefined },
      "/livez": { status: 200, body: ALIVE, retryAfter: undefined },
      "/readyz": {
        status: 503,
        body: {
          status: "not_ready",
          checks: { storage: "not_ready", domains_initialized: "not_ready" },
          error: { code: "not_ready", message: expect.any(String), detail: { replay_progress: 0 } },
        },
        retryAfter: "1",
      },
      "/startupz": { status: 503, body: { status: "starting" }, retryAfter: undefined },
      "/health": { status: 503, body: { ...HEALTHY, status: "degraded" }, retryAfter: undefined },
    })
    const raw = await dial(broker.port)
    raw.write(bytes(outer(1), outer(503)))
    expect(await raw.closed).toHaveLength(0)
    const refused = await ask(
      broker.port,
      "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    )
    expect(refused.status).toBe(503)
    expect(JSON.parse(refused.body)).toMatchObject({ code: "not_ready" })

    brake.letGo()
    await broker.logged("ready")
    const ready = await probe(broker.port)
    expectReady(ready)
    const caller = await openCaller("tcp", broker.port)
    expect(await caller.notice.unsubscribeAll()).toBeNull()
    await caller.close()
    // H-6: one constant number, which holds the wait.
    const again = await probe(broker.port)
    expect(again["/startupz"]).toEqual(ready["/startupz"])
    expect(again["/healthz"].body["uptime_ms"]).toBeGreaterThanOrEqual(
      ready["/healthz"].body["uptime_ms"] as number,
    )
    expect(await broker.kill("SIGTERM")).toBe(0)
  })

  test("D-4: a signal while it is being loaded ends it with 0", async () => {
    const brake = new Brake(folder)
    brake.hold()
    const broker = await startProcess(
      { FITZ_STORAGE_PATH: join(folder, "stopped"), FITZ_AUTH_REQUIRED: "false", ...brake.environment },
      { ready: false },
    )
    expect(await broker.kill("SIGTERM")).toBe(0)
    brake.letGo()
    expect(broker.records.at(-1)).toMatchObject({ level: "info", msg: "stopped before it was ready" })
  })

  test("H-5, D-5: draining is not ready and healthy, until the end", async () => {
    const broker = await startProcess({
      FITZ_STORAGE_MODE: "memory",
      FITZ_AUTH_REQUIRED: "false",
      FITZ_DRAIN_GRACE_SECONDS: "3600",
    })
    const caller = await openCaller("ws", broker.port)
    await caller.notice.unsubscribeAll()
    expectReady(await probe(broker.port))
    broker.child.kill("SIGTERM")
    await broker.logged("draining")
    expect(await probe(broker.port)).toEqual({
      "/healthz": { status: 200, body: ALIVE, retryAfter: undefined },
      "/livez": { status: 200, body: ALIVE, retryAfter: undefined },
      "/readyz": {
        status: 503,
        body: {
          status: "not_ready",
          checks: { ...OK, accepting_traffic: "draining" },
          error: { code: "shutting_down", message: expect.any(String) },
        },
        retryAfter: "1",
      },
      "/startupz": { status: 200, body: STARTED, retryAfter: undefined },
      "/health": { status: 503, body: { ...HEALTHY, status: "degraded" }, retryAfter: undefined },
    })
    await caller.close()
    expect(await broker.exited).toBe(0)
  })

  test("H-3: a durable lane that stands still makes it unhealthy, and healthy again when it goes on", async () => {
    // 10 of its seconds for one of ours: the lane's sign of life comes every second of ours, and 30 s without one count.
    const brake = new Brake(folder, 10)
    const broker = await startProcess({
      FITZ_STORAGE_MODE: "memory",
      FITZ_AUTH_REQUIRED: "false",
      FITZ_DRAIN_GRACE_SECONDS: "0",
      ...brake.environment,
    })
    const caller = await openCaller("tcp", broker.port)
    brake.hold()
    const sick = await until(
      "it is unhealthy",
      async () => answerOf(await ask(broker.port, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")),
      answer => answer.status === 503,
    )
    expect(sick.body).toEqual({ status: "unhealthy", reason: "the durable lane does not respond" })
    // The live lane stands beside it and goes on.
    expect(await caller.notice.unsubscribeAll()).toBeNull()
    brake.letGo()
    await until(
      "it is healthy again",
      async () => (await ask(broker.port, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")).status,
      status => status === 200,
    )
    await caller.close()
    expect(await broker.kill("SIGTERM")).toBe(0)
  })

  test("D-12: a durable lane that dies ends the process, so that it starts anew", async () => {
    const brake = new Brake(folder)
    const broker = await startProcess({
      FITZ_STORAGE_MODE: "memory",
      FITZ_AUTH_REQUIRED: "false",
      ...brake.environment,
    })
    brake.break()
    expect(await broker.exited).toBe(1)
    rmSync(join(folder, "broken"))
    expect(broker.records.at(-1)).toMatchObject({ level: "error", msg: "the broker cannot go on" })
  })
})

describe("a full disk", () => {
  let disk: string
  let mounted = false
  let broker: BrokerProcess | null = null
  beforeAll(() => {
    disk = join(folder, "disk")
    mkdirSync(disk)
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], { stdio: "pipe" })
      mounted = true
    } catch {
      mounted = false // the test says that it could not be done
    }
  })
  afterAll(async () => {
    await broker?.kill()
    if (mounted) execFileSync("umount", [disk])
  })

  test("H-3, H-5, T-17: not ready and alive, doors open, and ready again once there is room", async context => {
    if (!mounted) return context.skip("a disk of 8 MiB cannot be mounted here: that needs root")
    broker = await startProcess({
      FITZ_STORAGE_PATH: join(disk, "data"),
      FITZ_AUTH_REQUIRED: "false",
      FITZ_DRAIN_GRACE_SECONDS: "0",
    })
    const { port, kill } = broker
    const caller = await openCaller("tcp", port)
    const id = await caller.queue.enqueue("queue://full/disk/jobs", "first")
    // Somebody else fills the disk.
    fill(join(disk, "filler"))
    const body = Buffer.alloc(60_000)
    await until("a write is refused", () =>
      caller.queue.enqueue("queue://full/disk/jobs", body).then(
        () => false,
        () => true,
      ),
    )
    await until(
      "it is not ready",
      () => readiness(port),
      status => status === 503,
    )
    expect(await probe(port)).toMatchObject({
      "/healthz": { status: 200 },
      "/readyz": {
        status: 503,
        body: {
          status: "not_ready",
          checks: { storage: "not_ready", domains_initialized: "ok" },
          error: { code: "not_ready" },
        },
        retryAfter: "1",
      },
      "/startupz": { status: 200, body: STARTED },
      "/health": { status: 503, body: { status: "degraded" } },
    })
    // Doors stay open: the live domains and reads go on for whoever comes.
    const late = await openCaller("ws", port)
    expect(await late.notice.subscribe("notice://full/**")).toBeGreaterThan(0)
    expect(await late.lease.query("lease://full/disk/a")).toMatchObject({ holder: null })
    await late.close()

    rmSync(join(disk, "filler"))
    await until(
      "it is ready again",
      () => readiness(port),
      status => status === 200,
    )
    expectReady(await probe(port))
    const [message] = await caller.queue.reserve("queue://full/disk/jobs", { lease: 30, batch: 1 })
    expect([message!.id, message!.body.toString()]).toEqual([id, "first"])
    await caller.close()
    expect(await kill("SIGTERM")).toBe(0)
  })
})

/** Writes until the disk is full. */
function fill(file: string): void {
  for (let size = 1_048_576; size >= 4_096; size /= 2) {
    try {
      for (;;) writeFileSync(file, Buffer.alloc(size), { flag: "a" })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error
    }
  }
}
