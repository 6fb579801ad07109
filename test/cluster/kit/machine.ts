// The Kubernetes of the tests: which one is taken, how it is started and ended. Starts processes of its own only, and
// touches no cluster that the caller has not named by a variable of this project.

import { execFile, spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { closeSync, existsSync, mkdirSync, openSync } from "node:fs"
import { createServer } from "node:net"
import { homedir, tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

const run = promisify(execFile)
const HERE = fileURLToPath(new URL("..", import.meta.url))
export const CACHE =
  process.env["CLUSTER_CACHE"] ?? join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "cluster")

export interface Machine {
  /** A cluster of the caller's own, or null. */
  readonly named: string | null
  readonly state: string
  readonly port: number
}

/** Decides once for a run; workers are told. */
export async function chooseMachine(): Promise<Machine> {
  const named = process.env["FITZ_TEST_KUBECONFIG"] ?? null
  const id = createHash("sha256").update(`${HERE}${process.pid}`).digest("hex").slice(0, 8)
  return { named, state: join(tmpdir(), `fitz-cluster-${id}`), port: named === null ? await freePorts() : 0 }
}

/** The first of a dozen ports of which none is taken. */
async function freePorts(): Promise<number> {
  for (let base = 20_000 + (process.pid % 1_000) * 12; ; base += 12) {
    const free = await Promise.all(Array.from({ length: 12 }, (_, index) => isFree(base + index)))
    if (free.every(Boolean)) return base
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const server = createServer()
    server.once("error", () => resolve(false))
    server.listen(port, "0.0.0.0", () => server.close(() => resolve(true)))
  })
}

function environment({ state, port }: Machine): NodeJS.ProcessEnv {
  return {
    ...process.env,
    PATH: `${process.env["PATH"]}:/usr/local/go/bin`,
    CLUSTER_CACHE: CACHE,
    CLUSTER_STATE: state,
    CLUSTER_PORT: String(port),
  }
}

/** Starts building the program without waiting for it; others wait by a lock. */
export function beginBuild(): void {
  mkdirSync(CACHE, { recursive: true })
  const log = openSync(join(CACHE, "build.log"), "a")
  const child = spawn("nice", ["-n", "5", join(HERE, "up.sh"), "build"], {
    env: environment({ named: null, state: join(CACHE, "state"), port: 16_443 }),
    stdio: ["ignore", log, log],
    detached: true,
  })
  child.unref()
  closeSync(log)
}

/** Brings the cluster up to that level, or waits for whoever does. Returns the administrator's kubeconfig. */
export async function up(machine: Machine, level: "api" | "control" | "kwok"): Promise<string> {
  if (machine.named !== null) return machine.named
  mkdirSync(machine.state, { recursive: true })
  await run("flock", ["-o", join(machine.state, "lock"), join(HERE, "up.sh"), level], {
    env: environment(machine),
    timeout: 1_500_000,
    maxBuffer: 16 * 1024 * 1024,
  })
  return join(machine.state, "pki", "admin.kubeconfig")
}

export async function down(machine: Machine): Promise<void> {
  if (machine.named !== null || !existsSync(machine.state)) return
  await run(join(HERE, "down.sh"), [], { env: environment(machine) })
}

/** Runs kubectl of the same program. */
export async function kubectl(kubeconfig: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await run(join(CACHE, "bin", "kube"), ["kubectl", "--kubeconfig", kubeconfig, ...args], {
    maxBuffer: 64 * 1024 * 1024,
  })
  return stdout
}
