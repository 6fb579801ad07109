// Side by side with the peers, in one run: turns are taken round by round, medians are reported. `--only TEXT`
// runs the rows whose name holds the text, `--rounds N` changes three, `--write` puts the table into
// docs/PERFORMANCE.md.

import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync, writeFileSync } from "node:fs"
import { arch, cpus } from "node:os"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { boot, idle } from "./figures.ts"
import { median, type Result } from "./loads/sockets.ts"
import {
  natsProgram,
  type Server,
  startEtcd,
  startFitz,
  startJetStream,
  startNats,
  startRedis,
  versionOf,
} from "./servers.ts"

const LOAD = fileURLToPath(new URL("load.ts", import.meta.url))
const READS = fileURLToPath(new URL("reads.ts", import.meta.url))
const REPORT = fileURLToPath(new URL("../../docs/PERFORMANCE.md", import.meta.url))

interface Work {
  readonly name: string
  readonly load: string
  readonly spec: Readonly<Record<string, unknown>>
  /** Null: no peer, `target` is a rate. */
  readonly peer: { readonly name: string; readonly start: () => Promise<Server> } | null
  readonly target: number
  readonly aim?: number
}

const nats = { name: "nats", start: startNats }
const jetstream = { name: "jetstream", start: startJetStream }
const redis = { name: "redis", start: startRedis }
const etcd = { name: "etcd", start: startEtcd }

const WORKS: readonly Work[] = [
  {
    name: "notice 1 → 1, 16 B",
    load: "notice",
    spec: { bodyBytes: 16, subscribers: 1, messages: 4_000_000 },
    peer: nats,
    target: 1.3,
  },
  {
    name: "notice 1 → 1, 256 B",
    load: "notice",
    spec: { bodyBytes: 256, subscribers: 1, messages: 2_000_000 },
    peer: nats,
    target: 1,
    aim: 1.3,
  },
  {
    name: "notice 1 → 10, 16 B",
    load: "notice",
    spec: { bodyBytes: 16, subscribers: 10, messages: 600_000 },
    peer: nats,
    target: 0.8,
    aim: 1,
  },
  {
    name: "notice 1 → 10, 256 B",
    load: "notice",
    spec: { bodyBytes: 256, subscribers: 10, messages: 400_000 },
    peer: nats,
    target: 0.8,
    aim: 1,
  },
  {
    name: "enqueue 256 B, 50 × 16 in flight",
    load: "enqueue",
    spec: { connections: 50, inflight: 16, messages: 400_000 },
    peer: redis,
    target: 0.7,
    aim: 1,
  },
  {
    name: "enqueue 256 B, 4 × 256 in flight",
    load: "enqueue",
    spec: { connections: 4, inflight: 256, messages: 500_000 },
    peer: redis,
    target: 0.7,
    aim: 1,
  },
  {
    name: "enqueue 256 B, one in flight",
    load: "enqueue",
    spec: { connections: 1, inflight: 1, messages: 6_000 },
    peer: redis,
    target: 0.6,
  },
  {
    name: "append and commit, one in flight",
    load: "append",
    spec: { streams: 1, batch: 1, events: 6_000 },
    peer: jetstream,
    target: 1,
  },
  {
    name: "append and commit, 16 streams × 100",
    load: "append",
    spec: { streams: 16, batch: 100, events: 60_000 },
    peer: jetstream,
    target: 20,
  },
  {
    name: "enqueue → reserve(64) → complete",
    load: "cycle",
    spec: { producers: 4, consumers: 4, inflight: 256, batch: 64, messages: 300_000 },
    peer: null,
    target: 60_000,
  },
  {
    name: "rpc 256 B, one in flight",
    load: "rpc",
    spec: { inflight: 1, calls: 15_000 },
    peer: nats,
    target: 0.8,
  },
  {
    name: "rpc 256 B, 256 in flight",
    load: "rpc",
    spec: { inflight: 256, calls: 400_000 },
    peer: nats,
    target: 0.8,
  },
  {
    name: "kv BEGIN → PUT → COMMIT, 64 connections",
    load: "kv",
    spec: { connections: 64, writes: 60_000 },
    peer: etcd,
    target: 3,
  },
]

/** Ours does so much more of some works that the peer's share would end before it is warm. */
const MORE_FOR_US: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  "append and commit, 16 streams × 100": { events: 1_000_000 },
  "kv BEGIN → PUT → COMMIT, 64 connections": { writes: 200_000 },
}

function runLoad(name: string, spec: object): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [LOAD, name, JSON.stringify(spec)], {
      stdio: ["ignore", "pipe", "inherit"],
    })
    let output = ""
    child.stdout.on("data", (piece: Buffer) => {
      output += piece.toString()
    })
    child.once("exit", code => {
      if (code === 0) resolve(JSON.parse(output.trim().split("\n").at(-1)!) as Result)
      else reject(new Error(`the load ${name} ended with ${code}`))
    })
  })
}

async function race(peer: string, start: () => Promise<Server>, work: Work): Promise<Result> {
  const server = await start()
  try {
    const spec = { ...work.spec, ...(peer === "fitz" ? MORE_FOR_US[work.name] : {}), peer, port: server.port }
    return await runLoad(work.load, spec)
  } finally {
    await server.stop()
  }
}

interface Row {
  readonly name: string
  readonly ours: string
  readonly theirs: string
  readonly ratio: string
  readonly wanted: string
}

async function measure(work: Work, rounds: number): Promise<Row> {
  const ours: Result[] = []
  const theirs: Result[] = []
  for (let round = 0; round < rounds; round++) {
    ours.push(await race("fitz", () => startFitz(), work))
    if (work.peer !== null) theirs.push(await race(work.peer.name, work.peer.start, work))
  }
  const rate = median(ours.map(result => result.rate))
  const wanted = work.aim === undefined ? `≥ ${shown(work.target)}` : `≥ ${work.target}, aim ${work.aim}`
  if (work.peer === null)
    return { name: work.name, ours: figure(ours), theirs: "–", ratio: verdict(rate, work.target), wanted }
  const peerRate = median(theirs.map(result => result.rate))
  const ratio = rate / peerRate
  return {
    name: work.name,
    ours: figure(ours),
    theirs: `${work.peer.name} ${figure(theirs)}`,
    ratio: `${ratio.toFixed(2)} ${verdict(ratio, work.target)}`,
    wanted,
  }
}

/** What a thousand admin reads a second cost: against the same reads at another, idle broker. */
async function underReads(): Promise<Row[]> {
  const works = WORKS.filter(
    ({ name }) => name === "notice 1 → 1, 256 B" || name === "enqueue 256 B, 50 × 16 in flight",
  )
  const rows: Row[] = []
  for (const work of works) {
    const rates = { here: [] as Result[], elsewhere: [] as Result[] }
    for (let round = 0; round < rounds; round++) {
      for (const where of ["here", "elsewhere"] as const) {
        const open = { FITZ_ADMIN_AUTH_MODE: "open", FITZ_RATE_LIMIT_ADMIN_READ: "0" }
        const measured = await startFitz(undefined, open)
        const idle = await startFitz(undefined, open, 24_110)
        const reader = spawn(process.execPath, [READS, String((where === "here" ? measured : idle).port)], {
          stdio: ["ignore", "pipe", "inherit"],
        })
        await once(reader.stdout, "data")
        rates[where].push(await runLoad(work.load, { ...work.spec, peer: "fitz", port: measured.port }))
        reader.kill()
        await Promise.all([measured.stop(), idle.stop()])
      }
    }
    const ratio = median(rates.here.map(({ rate }) => rate)) / median(rates.elsewhere.map(({ rate }) => rate))
    rows.push({
      name: `${work.name}, with 1,000 admin reads/s`,
      ours: figure(rates.here),
      theirs: `reads elsewhere ${figure(rates.elsewhere)}`,
      ratio: `${ratio.toFixed(2)} ${verdict(ratio, 0.95)}`,
      wanted: "≥ 0.95",
    })
  }
  return rows
}

function verdict(value: number, target: number): string {
  return value >= target ? "✓" : "✗"
}

function shown(value: number): string {
  return value >= 10_000 ? `${Math.round(value / 1_000)} K/s` : String(value)
}

function figure(results: readonly Result[]): string {
  const rate = median(results.map(result => result.rate))
  const waits = results.flatMap(({ medianMicros }) => (medianMicros === undefined ? [] : [medianMicros]))
  const speed =
    rate >= 1e6
      ? `${(rate / 1e6).toFixed(2)} M/s`
      : rate >= 1e4
        ? `${(rate / 1e3).toFixed(0)} K/s`
        : `${rate.toFixed(0)} /s`
  return waits.length === 0 ? speed : `${speed} (${median(waits).toFixed(0)} µs)`
}

function table(rows: readonly Row[]): string {
  const lines = rows.map(
    row => `| ${row.name} | ${row.ours} | ${row.theirs} | ${row.ratio} | ${row.wanted} |`,
  )
  return ["| work | Fitz | peer | ratio | wanted |", "|---|---|---|---|---|", ...lines].join("\n")
}

function machine(): string {
  const versions = [
    `Node ${process.versions.node}`,
    versionOf(natsProgram(), "--version"),
    versionOf("redis-server", "--version"),
    versionOf("etcd", "--version"),
  ]
  const commit = execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim()
  const found = versions.filter(version => version !== null).join("; ")
  return `${new Date().toISOString().slice(0, 10)}, ${cpus().length} × ${cpus()[0]?.model ?? "?"} (${arch()}), commit ${commit}; ${found}.`
}

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    rounds: { type: "string", default: "3" },
    write: { type: "boolean", default: false },
  },
})
const rounds = Number(values.rounds)
const wanted = (name: string): boolean => values.only === undefined || name.includes(values.only)
const rows: Row[] = []
const add = (row: Row): void => {
  rows.push(row)
  console.log(`${row.name}: ${row.ours}  ${row.theirs}  ${row.ratio}  (${row.wanted})`)
}
for (const work of WORKS) if (wanted(work.name)) add(await measure(work, rounds))
if (wanted("admin reads")) for (const row of await underReads()) add(row)
if (wanted("boot")) for (const row of await boot()) add(row)
if (wanted("idle")) add(await idle())
const report = `${machine()}\n\n${table(rows)}`
console.log(`\n${report}`)
if (values.write) {
  const [before, after] = ["<!-- bench -->", "<!-- /bench -->"]
  const page = readFileSync(REPORT, "utf8")
  const from = page.indexOf(before) + before.length
  writeFileSync(REPORT, `${page.slice(0, from)}\n\n${report}\n\n${page.slice(page.indexOf(after))}`)
}
