// Metrics as a scraper meets them: strictly read, moved by real traffic, taken by Prometheus itself. Nothing
// here looks into the broker.

import { execFileSync, spawn } from "node:child_process"
import { randomBytes } from "node:crypto"
import { writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type AdminBroker, mint, startAdmin } from "../kit/admin.ts"
import { type Family, numberIn, readExposition } from "../kit/exposition.ts"
import { debianProgram } from "../kit/packages.ts"
import { until } from "../kit/patience.ts"

const DOMAINS = ["kv", "stream", "notice", "queue", "rpc", "lease", "schedule"]

async function scrape(broker: AdminBroker, path = "/metrics"): Promise<ReadonlyMap<string, Family>> {
  const { status, text } = await broker.ask(path)
  expect(status).toBe(200)
  return readExposition(text)
}

describe("/metrics", () => {
  let broker: AdminBroker
  beforeAll(async () => {
    broker = await startAdmin({ FITZ_RATE_LIMIT_METRICS: "0" })
  })
  afterAll(() => broker.end())

  test("the classic format, whatever the scraper offers, and no store", async () => {
    const headers = { accept: "application/openmetrics-text; version=1.0.0" }
    const reply = await broker.ask("/metrics", { headers })
    expect(reply.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8")
    expect(reply.headers.get("cache-control")).toBe("no-store")
    expect(readExposition(reply.text).size).toBeGreaterThan(60)
  })

  test("every required name has its type", async () => {
    const families = await scrape(broker)
    const required = Object.entries(REQUIRED)
    expect(required.map(([name]) => [name, families.get(name)?.type])).toEqual(required)
    const bounds = families.get("fitz_message_latency_seconds")!.samples.map(({ labels }) => labels["le"])
    expect(bounds).toEqual(expect.arrayContaining(["0.001", "0.01", "0.1", "+Inf"]))
    const active = families.get("fitz_domain_active")!.samples.map(({ labels }) => labels["domain"])
    expect(active.sort()).toEqual([...DOMAINS].sort())
  })

  test("no label holds what a client has chosen", async () => {
    const caller = await broker.caller({ sub: "nosy-subject" })
    await caller.queue.enqueue("queue://nosy-realm/area/jobs", "nosy-body")
    await broker.ask("/api/v1/queue/realms/nosy-realm/areas/area/resources/jobs")
    const { text } = await broker.ask("/metrics")
    expect(text).not.toContain("nosy")
    const labels = new Set<string>()
    for (const { samples } of readExposition(text).values())
      for (const sample of samples) for (const name of Object.keys(sample.labels)) labels.add(name)
    const allowed = [
      "le",
      "domain",
      "operation",
      "code",
      "reason",
      "transport",
      "version",
      "route",
      "method",
      "status",
    ]
    const others = [
      "action",
      "outcome",
      "class",
      "type",
      "space",
      "kind",
      "major",
      "minor",
      "patch",
      "quantile",
    ]
    expect([...labels].filter(name => ![...allowed, ...others].includes(name))).toEqual([])
  })

  test("each domain's numbers move with its traffic", async () => {
    const before = await scrape(broker)
    const grown = async (name: string, labels = {}): Promise<number> =>
      numberIn(await scrape(broker), name, labels) - (tryValue(before, name, labels) ?? 0)
    const a = await broker.caller({ realm: "r" })
    const b = await broker.caller({ realm: "r" }, "ws")

    const tx = await a.kv.begin("kv://r/a/x", "write")
    await a.kv.put(tx, "kv://r/a/x", "k", "v")
    expect(await grown("fitz_kv_transactions_active")).toBe(1)
    await a.kv.commit(tx, "kv://r/a/x")
    const other = await a.kv.begin("kv://r/a/x", "write")
    await a.kv.rollback(other, "kv://r/a/x")
    expect(await grown("fitz_kv_keys_total")).toBe(1)
    expect(await grown("fitz_kv_rollbacks_total")).toBe(1)
    expect(await grown("fitz_domain_operations_total", { domain: "kv", operation: "put" })).toBe(1)

    const append = await a.stream.begin("stream://r/a/s")
    await a.stream.append(append, 0, "one")
    await expect(a.stream.append(append, 7, "x")).rejects.toThrow()
    expect(await grown("fitz_stream_append_sessions_active")).toBe(1)
    expect(await grown("fitz_stream_append_conflicts_total")).toBe(1)
    await a.stream.commit(append)
    expect(await grown("fitz_stream_events_total")).toBe(1)
    expect(await grown("fitz_stream_active")).toBe(1)

    await a.notice.subscribe("notice://r/a/*")
    await a.notice.subscribe("notice://r/a/n")
    b.notice.publish("notice://r/a/n", "hello")
    await a.notice.next()
    await a.notice.next()
    expect(await grown("fitz_notice_subscriptions_active")).toBe(2)
    expect(await grown("fitz_notice_routes_active")).toBe(2)
    expect(await grown("fitz_notice_publishes_total")).toBe(1)

    await a.queue.enqueue("queue://r/a/q", "one")
    await a.queue.enqueue("queue://r/a/q", "two")
    await a.queue.enqueue("queue://r/a/q", "later", 3_600)
    const [message] = await b.queue.reserve("queue://r/a/q")
    expect(await grown("fitz_queue_messages_pending")).toBe(1)
    expect(await grown("fitz_queue_messages_delayed")).toBe(1)
    expect(await grown("fitz_queue_inflight_active")).toBe(1)
    expect(numberIn(await scrape(broker), "fitz_queue_oldest_message_age_seconds")).toBeGreaterThan(0)
    await b.queue.complete("queue://r/a/q", message!.id, message!.token)
    expect(await grown("fitz_queue_inflight_active")).toBe(0)

    await b.rpc.register("rpc://r/a/w/do", 1)
    const correlation = randomBytes(16)
    a.rpc.call(correlation, "rpc://r/a/w/do", "do")
    const call = await b.rpc.take()
    expect(await grown("fitz_rpc_workers_registered")).toBe(1)
    expect(await grown("fitz_rpc_requests_pending")).toBe(1)
    b.rpc.reply(call.correlation, 0, true, "done")
    await a.rpc.answer()
    expect(await grown("fitz_rpc_requests_pending")).toBe(0)

    const { token } = await a.lease.acquire("lease://r/a/l", 60)
    await b.lease.acquire("lease://r/a/l", 60, 30)
    await expect(a.lease.renew("lease://r/a/l", token + 1, 60)).rejects.toThrow()
    expect(await grown("fitz_lease_active")).toBe(1)
    expect(await grown("fitz_lease_waiter_depth")).toBe(1)
    expect(await grown("fitz_lease_invalid_token_rejects_total")).toBe(1)

    await a.schedule.create("schedule://r/a/x/nightly", "0 0 1 1 *", "broadcast", "p")
    expect(await grown("fitz_schedule_active")).toBe(1)

    expect(await grown("fitz_connections_total")).toBe(2)
    expect(await grown("fitz_sessions_total")).toBe(2)
    expect(await grown("fitz_messages_received_total")).toBeGreaterThan(20)
    expect(await grown("fitz_messages_sent_total")).toBeGreaterThan(20)
    for (const domain of DOMAINS) {
      const name = "fitz_domain_operation_latency_seconds_count"
      expect([domain, await grown(name, { domain })]).toEqual([domain, expect.any(Number)])
      expect(await grown(name, { domain })).toBeGreaterThan(0)
    }
    expect(await grown("fitz_storage_commit_seconds_count")).toBeGreaterThan(3)
    expect(numberIn(await scrape(broker), "fitz_storage_size_bytes")).toBeGreaterThan(4_096)
  })

  test("refusals, denials, failed logins, broken frames and commands are counted", async () => {
    const before = await scrape(broker)
    const grown = async (name: string, labels = {}): Promise<number> =>
      (tryValue(await scrape(broker), name, labels) ?? 0) - (tryValue(before, name, labels) ?? 0)
    const reader = await broker.caller({ permissions: ["queue://**#read", "notice://**#*", "lease://**#*"] })
    await expect(reader.queue.enqueue("queue://r/a/q", "x")).rejects.toThrow()
    expect(await grown("fitz_permission_denials_total", { domain: "queue" })).toBe(1)
    await broker.ask("/metrics", { token: "a.b.c" })
    expect(await grown("fitz_auth_failures_total", { reason: "malformed" })).toBeGreaterThanOrEqual(0)
    const failures = await scrape(broker)
    const total = failures.get("fitz_auth_failures_total")!.samples.reduce((sum, { value }) => sum + value, 0)
    expect(total).toBeGreaterThan(0)
    reader.send(9_999, Buffer.alloc(1))
    await reader.closed
    await until(
      "the broken frame is counted",
      () => grown("fitz_frames_malformed_total", { transport: "tcp" }),
      n => n === 1,
    )

    const holder = await broker.caller({ realm: "m" })
    await holder.lease.acquire("lease://m/a/held", 600)
    const { leases } = await broker
      .get("admin/lease/leases?realm=m")
      .then(body => ({ leases: body.leases ?? body }))
    expect(leases).toHaveLength(1)
    const reply = await broker.post(`lease/leases/${encodeURIComponent(leases[0].lease_id)}/release`)
    expect(reply.status).toBe(200)
    expect(await grown("fitz_lease_forced_releases_total")).toBe(1)
    expect(await grown("fitz_admin_commands_total", { action: "lease.release", outcome: "ok" })).toBe(1)
  })

  test("the same as data under /api/v1/metrics", async () => {
    const { samples } = await broker.get("metrics")
    const families = await scrape(broker)
    const names = new Set(samples.map(({ name }: { name: string }) => name))
    for (const { samples } of families.values())
      for (const { name, value } of samples)
        if (name.startsWith("fitz_") && Number.isFinite(value)) expect(names).toContain(name)
  })
})

describe("credentials", () => {
  test("any valid credential may scrape, unless a permission is demanded; probes stay open", async () => {
    const broker = await startAdmin({ FITZ_METRICS_PERMISSION: "metrics:read", FITZ_RATE_LIMIT_METRICS: "0" })
    try {
      const ask = async (permissions: string[] | null): Promise<number> => {
        const token = permissions === null ? null : await mint({ permissions })
        const [one, two] = [
          await broker.ask("/metrics", { token }),
          await broker.ask("/v0/metrics", { token }),
        ]
        expect(one.status).toBe(two.status)
        return one.status
      }
      expect(await ask(null)).toBe(401)
      expect(await ask(["queue://**#*"])).toBe(403)
      expect(await ask(["metrics:read"])).toBe(200)
      expect(await ask(["admin:read"])).toBe(200)
      expect((await broker.ask("/v0/ready", { token: null })).status).toBe(200)
    } finally {
      await broker.end()
    }
  })

  test("with FITZ_PROBE_AUTH both documents' probes ask for one", async () => {
    const broker = await startAdmin({ TOPICS_PROBE_AUTH: "true" })
    try {
      for (const path of [
        "/healthz",
        "/livez",
        "/readyz",
        "/startupz",
        "/health",
        "/v0/health",
        "/v0/ready",
      ]) {
        expect([path, (await broker.ask(path, { token: null })).status]).toEqual([path, 401])
        expect([path, (await broker.ask(path)).status]).toEqual([path, 200])
      }
    } finally {
      await broker.end()
    }
  })
})

describe("/v0", () => {
  let broker: AdminBroker
  beforeAll(async () => {
    broker = await startAdmin({ FITZ_RATE_LIMIT_METRICS: "0" })
  })
  afterAll(() => broker.end())

  test("health and readiness in the second document's shapes, with what they cost", async () => {
    const health = await broker.ask("/v0/health", { token: null })
    expect(health.body).toEqual({
      status: "ok",
      version: expect.any(String),
      uptime_ms: expect.any(Number),
      performance: { server_total_ms: expect.any(Number) },
    })
    const ready = await broker.ask("/v0/ready", { token: null })
    expect(ready.body).toEqual({
      status: "ready",
      wal_replay_complete: true,
      topics: 0,
      performance: { server_total_ms: expect.any(Number) },
    })
    expect(Object.keys(ready.body).at(-1)).toBe("performance")
    expect(ready.headers.get("server-timing")).toBe(`total;dur=${ready.body.performance.server_total_ms}`)
  })

  test("errors have that document's shape too", async () => {
    const unknown = await broker.ask("/v0/topics/none")
    expect([unknown.status, unknown.body]).toEqual([
      404,
      { error: { code: "not_found", message: expect.any(String) }, performance: expect.any(Object) },
    ])
    const refused = await broker.ask("/v0/metrics", { token: null })
    expect([refused.status, refused.body.error.code]).toEqual([401, "unauthorized"])
  })

  test("the log's counters count commits, rows, bytes and syncs of this very traffic", async () => {
    const before = await scrape(broker, "/v0/metrics")
    const caller = await broker.caller()
    const commits = 20
    for (let n = 0; n < commits; n++) await caller.queue.enqueue("queue://log/a/q", Buffer.alloc(2_000, n))
    const after = await scrape(broker, "/v0/metrics")
    const grown = (name: string): number => numberIn(after, name) - numberIn(before, name)
    expect(grown("topics_wal_batches_total")).toBe(commits)
    expect(grown("topics_wal_fsyncs_total")).toBe(commits)
    expect(grown("topics_wal_frames_total")).toBeGreaterThanOrEqual(commits)
    expect(grown("topics_wal_bytes_written_total")).toBeGreaterThan(commits * 2_000)
    expect(numberIn(after, "topics_wal_fsync_latency_us_count")).toBe(
      numberIn(after, "topics_wal_fsyncs_total"),
    )
    expect(numberIn(after, "topics_wal_queue_depth")).toBe(0)
    expect(numberIn(after, "topics_wal_queue_depth_peak")).toBeGreaterThan(0)
    expect(numberIn(after, "topics_wal_read_only")).toBe(0)
    expect(numberIn(after, "topics_ready")).toBe(1)
    const bounds = after
      .get("topics_wal_fsync_latency_us")!
      .samples.flatMap(({ labels }) => labels["le"] ?? [])
    expect(bounds).toEqual(["50", "100", "250", "500", "1000", "5000", "10000", "50000", "100000", "+Inf"])
    const classes = after.get("topics_topics_by_class")!.samples.map(({ labels }) => labels["class"])
    expect(classes).toEqual(["ephemeral", "memory", "disk", "fsync"])
  })

  test("JSON for whoever asks for it mirrors the text", async () => {
    const { body } = await broker.ask("/v0/metrics", { headers: { accept: "application/json" } })
    const text = await scrape(broker, "/v0/metrics")
    expect(body.wal.fsyncs).toBe(numberIn(text, "topics_wal_fsyncs_total"))
    expect(body.wal.batches).toBe(numberIn(text, "topics_wal_batches_total"))
    expect(body.wal.frames).toBe(numberIn(text, "topics_wal_frames_total"))
    expect(body.wal.bytes_written).toBe(numberIn(text, "topics_wal_bytes_written_total"))
    expect(body.wal.fsync_micros_total).toBe(numberIn(text, "topics_wal_fsync_latency_us_sum"))
    expect([body.ready, body.replay_progress]).toEqual([true, 1])
    expect(Object.keys(body).at(-1)).toBe("performance")
    const plain = await broker.ask("/v0/metrics")
    expect(plain.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/)
  })
})

describe("the performance block of /api/v1", () => {
  test("comes when asked for, last, and not unasked", async () => {
    const broker = await startAdmin({ FITZ_RATE_LIMIT_METRICS: "0" })
    try {
      expect(await broker.get("stats")).not.toHaveProperty("performance")
      const asked = await fetch(`http://127.0.0.1:${broker.port}/api/v1/stats`, {
        headers: { authorization: `Bearer ${broker.token}`, "x-performance": "true" },
      })
      const body = (await asked.json()) as Record<string, { server_total_ms: number }>
      expect(Object.keys(body).at(-1)).toBe("performance")
      expect(asked.headers.get("server-timing")).toBe(`total;dur=${body["performance"]!.server_total_ms}`)
    } finally {
      await broker.end()
    }
  })
})

describe("Prometheus' own programs", () => {
  const promtool = debianProgram("promtool", "prometheus")
  const prometheus = debianProgram("prometheus", "prometheus")

  test("promtool complains of nothing beyond the names that the documents demand", async ctx => {
    if ("missing" in promtool) return ctx.skip(promtool.missing)
    const broker = await startAdmin({ FITZ_RATE_LIMIT_METRICS: "0" })
    try {
      for (const path of ["/metrics", "/v0/metrics"]) {
        const { text } = await broker.ask(path)
        let complaints = ""
        try {
          execFileSync(promtool.path, ["check", "metrics"], { input: text, stdio: ["pipe", "pipe", "pipe"] })
        } catch (error) {
          complaints = String((error as { stderr: Buffer }).stderr)
        }
        const names = complaints
          .split("\n")
          .filter(line => line !== "")
          .map(line => line.split(" ")[0]!)
        expect(names.filter(name => !EXPECTED_COMPLAINTS.has(name))).toEqual([])
      }
    } finally {
      await broker.end()
    }
  })

  test("a real Prometheus scrapes with a token file and answers queries", async ctx => {
    if ("missing" in prometheus) return ctx.skip(prometheus.missing)
    const broker = await startAdmin({ FITZ_METRICS_PERMISSION: "metrics:read", FITZ_RATE_LIMIT_METRICS: "0" })
    const caller = await broker.caller()
    for (let n = 0; n < 5; n++) await caller.queue.enqueue("queue://prom/a/q", "x")
    const token = join(broker.folder, "token")
    writeFileSync(token, await mint({ permissions: ["metrics:read"] }))
    const config = join(broker.folder, "prometheus.yml")
    const job = (name: string, path: string): object => ({
      job_name: name,
      metrics_path: path,
      authorization: { credentials_file: token },
      static_configs: [{ targets: [`127.0.0.1:${broker.port}`] }],
    })
    const jobs = [job("fitz", "/metrics"), job("topics", "/v0/metrics")]
    // JSON is YAML.
    writeFileSync(config, JSON.stringify({ global: { scrape_interval: "1s" }, scrape_configs: jobs }))
    const port = await freePort()
    const child = spawn(
      prometheus.path,
      [
        `--config.file=${config}`,
        `--storage.tsdb.path=${join(broker.folder, "tsdb")}`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { stdio: "ignore" },
    )
    try {
      const query = async (text: string): Promise<number | null> => {
        try {
          const url = `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(text)}`
          const { data } = (await (await fetch(url)).json()) as {
            data: { result: { value: [number, string] }[] }
          }
          const [first] = data.result
          return first === undefined ? null : Number(first.value[1])
        } catch {
          return null // it is not up yet; the deadline of `until` tells where it never comes up
        }
      }
      await until(
        "both targets are up",
        () => query("sum(up)"),
        value => value === 2,
      )
      await until(
        "the backlog is seen",
        () => query("fitz_queue_messages_pending"),
        value => value === 5,
      )
      expect(await query("topics_wal_fsyncs_total > 0")).not.toBeNull()
      expect(await query("histogram_quantile(0.99, fitz_message_latency_seconds_bucket)")).not.toBeNull()
    } finally {
      child.kill("SIGKILL")
      await broker.end()
    }
  })
})

function tryValue(families: ReadonlyMap<string, Family>, name: string, labels: object): number | null {
  try {
    return numberIn(families, name, labels as Record<string, string>)
  } catch {
    return null // a labelled series begins with its first event
  }
}

function freePort(): Promise<number> {
  return new Promise(resolve => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0))
    })
  })
}

/** The names that admin-api §7 demands, with their types. */
const REQUIRED: Readonly<Record<string, string>> = {
  fitz_connections_total: "gauge",
  fitz_messages_received_total: "counter",
  fitz_messages_sent_total: "counter",
  fitz_message_latency_seconds: "histogram",
  fitz_domain_operations_total: "counter",
  fitz_domain_errors_total: "counter",
  fitz_domain_active: "gauge",
  fitz_domain_operation_latency_seconds: "histogram",
  fitz_uptime_seconds: "gauge",
  fitz_build_info: "gauge",
  fitz_sessions_total: "gauge",
  fitz_ready: "gauge",
  fitz_auth_failures_total: "counter",
  fitz_permission_denials_total: "counter",
  fitz_frames_malformed_total: "counter",
  fitz_outbound_backpressure_total: "counter",
  fitz_session_cleanup_failures_total: "counter",
  fitz_kv_transactions_active: "gauge",
  fitz_kv_keys_total: "gauge",
  fitz_kv_commits_failed_total: "counter",
  fitz_kv_rollbacks_total: "counter",
  fitz_stream_active: "gauge",
  fitz_stream_append_sessions_active: "gauge",
  fitz_stream_events_total: "gauge",
  fitz_stream_append_conflicts_total: "counter",
  fitz_stream_notify_drops_total: "counter",
  fitz_notice_subscriptions_active: "gauge",
  fitz_notice_routes_active: "gauge",
  fitz_notice_publishes_total: "counter",
  fitz_notice_delivery_drops_total: "counter",
  fitz_queue_messages_pending: "gauge",
  fitz_queue_messages_delayed: "gauge",
  fitz_queue_inflight_active: "gauge",
  fitz_queue_messages_dead_lettered: "gauge",
  fitz_queue_oldest_message_age_seconds: "gauge",
  fitz_queue_redeliveries_total: "counter",
  fitz_queue_dlq_transitions_total: "counter",
  fitz_rpc_workers_registered: "gauge",
  fitz_rpc_requests_pending: "gauge",
  fitz_rpc_oldest_pending_request_age_seconds: "gauge",
  fitz_rpc_request_timeouts_total: "counter",
  fitz_rpc_backpressure_rejects_total: "counter",
  fitz_lease_active: "gauge",
  fitz_lease_waiter_depth: "gauge",
  fitz_lease_forced_releases_total: "counter",
  fitz_lease_invalid_token_rejects_total: "counter",
  fitz_schedule_active: "gauge",
  fitz_schedule_executions_per_minute: "gauge",
  fitz_schedule_pending_fire_claims: "gauge",
  fitz_schedule_notify_failures_total: "counter",
  fitz_storage_commit_seconds: "histogram",
  fitz_storage_size_bytes: "gauge",
  fitz_storage_errors_total: "counter",
  fitz_admin_requests_total: "counter",
  fitz_admin_commands_total: "counter",
  fitz_admin_rate_limited_total: "counter",
}

/** Gauges that the documents name `_total`, a unit that is not the base unit, and names of the client library. */
const EXPECTED_COMPLAINTS = new Set([
  "fitz_connections_total",
  "fitz_sessions_total",
  "fitz_kv_keys_total",
  "fitz_stream_events_total",
  "topics_uptime_ms",
  "topics_wal_fsync_latency_us",
  "nodejs_active_handles_total",
  "nodejs_active_requests_total",
  "nodejs_active_resources_total",
  "nodejs_external_memory_bytes",
  "nodejs_eventloop_lag_min_seconds",
])
