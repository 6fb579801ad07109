// The systems that are compared, each as a process of its own with an empty folder, at the settings that
// promise what ours promises.

import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { connect } from "node:net"
import { homedir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const ROOT = fileURLToPath(new URL("../..", import.meta.url))

export interface Server {
  readonly port: number
  readonly pid: number
  readonly folder: string
  stop(): Promise<void>
}

/** A folder on the disk of the checkout: the system's temporary folder may live in memory. */
function newFolder(): string {
  return mkdtempSync(join(ROOT, "..", ".fitz-bench-"))
}

async function launch(
  command: string,
  args: readonly string[],
  port: number,
  folder: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<Server> {
  const child: ChildProcess = spawn(command, args, {
    env: { ...process.env, ...environment },
    stdio: "ignore",
  })
  const gone = new Promise<void>(resolve => child.once("exit", () => resolve()))
  const failed = gone.then(() => {
    throw new Error(`${command} has ended`)
  })
  failed.catch(() => undefined)
  await Promise.race([answering(port), failed])
  return {
    port,
    pid: child.pid!,
    folder,
    stop: async () => {
      child.kill("SIGKILL")
      await gone
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Resolves once something listens there. */
async function answering(port: number): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    const open = await new Promise<boolean>(resolve => {
      const socket = connect({ port, host: "127.0.0.1" })
      socket.once("connect", () => {
        socket.destroy()
        resolve(true)
      })
      socket.once("error", () => resolve(false))
    })
    if (open) return
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  throw new Error(`nothing listens on ${port}`)
}

/** Our broker, as the emitted JavaScript runs. Resolves when it is ready. */
export async function startFitz(
  folder = newFolder(),
  environment: Readonly<Record<string, string>> = {},
  port = 24_100,
): Promise<Server> {
  const program = join(ROOT, "dist", "cli", "main.js")
  const start = `import(${JSON.stringify(program)}).then(m => m.main(["node", "fitz", "serve"])).then(c => { process.exitCode = c })`
  const server = await launch(process.execPath, ["-e", start], port, folder, {
    FITZ_HTTP_PORT: String(port),
    FITZ_STORAGE_PATH: join(folder, "data"),
    FITZ_AUTH_REQUIRED: "false",
    FITZ_LOG_LEVEL: "warn",
    ...environment,
  })
  while (!(await fetch(`http://127.0.0.1:${port}/readyz`)).ok)
    await new Promise(resolve => setTimeout(resolve, 5))
  return server
}

/** nats-server's newest from its Go module where Go is there, else the distribution's. */
export function natsProgram(): string {
  const own = join(homedir(), ".cache", "fitz-bench", "nats-server")
  if (existsSync(own)) return own
  try {
    execFileSync("go", ["install", "github.com/nats-io/nats-server/v2@v2.15.2"], {
      env: { ...process.env, GOBIN: join(homedir(), ".cache", "fitz-bench") },
      stdio: "ignore",
    })
    return own
  } catch {
    return "nats-server" // no Go here: the distribution's, whose version stands in the report
  }
}

export function startNats(): Promise<Server> {
  return launch(natsProgram(), ["-a", "127.0.0.1", "-p", "24101"], 24_101, newFolder())
}

export function startJetStream(): Promise<Server> {
  const folder = newFolder()
  const config = join(folder, "nats.conf")
  writeFileSync(
    config,
    `jetstream { store_dir: ${JSON.stringify(folder)}, sync_interval: always }\nport: 24102\nhost: 127.0.0.1\n`,
  )
  return launch(natsProgram(), ["-c", config], 24_102, folder)
}

export function startRedis(): Promise<Server> {
  const folder = newFolder()
  const args = [
    "--port",
    "24103",
    "--bind",
    "127.0.0.1",
    "--dir",
    folder,
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--save",
    "",
  ]
  return launch("redis-server", args, 24_103, folder)
}

export function startEtcd(): Promise<Server> {
  const folder = newFolder()
  const url = "http://127.0.0.1:24104"
  const args = ["--data-dir", folder, "--listen-client-urls", url, "--advertise-client-urls", url]
  return launch(
    "etcd",
    [...args, "--listen-peer-urls", "http://127.0.0.1:24105", "--log-level", "error"],
    24_104,
    folder,
  )
}

/** Resident memory in MiB. */
export function residentMib(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1_024
}

/** First line that a program says of its version, or null where it is not there. */
export function versionOf(program: string, flag: string): string | null {
  try {
    return execFileSync(program, [flag], { encoding: "utf8" }).split("\n")[0]!.trim()
  } catch {
    return null // the report says that the peer is missing
  }
}
