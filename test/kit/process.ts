// A broker as a process of its own, as its users run it: started from the source, stopped by signals. It must
// never reach into the process it started; everything it knows comes over its output and its port.

import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

/** The start file of the `fitz` command. */
export const PROGRAM = fileURLToPath(new URL("../../cli/fitz.mjs", import.meta.url))

/** A test that fails leaves its brokers behind; they end with the process that ran it. */
const alive = new Set<ChildProcess>()
process.once("exit", () => {
  for (const child of alive) child.kill("SIGKILL")
})
// The test runner ends its workers by a signal, which is no exit without this.
process.once("SIGTERM", () => process.exit())

/** A new folder under the system's, removed by `removeFolder`. */
export function newFolder(): string {
  return mkdtempSync(join(tmpdir(), "fitz-"))
}

export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true })
}

export interface BrokerProcess {
  readonly child: ChildProcess
  readonly pid: number
  readonly port: number
  readonly tcpPort: number | null
  /** What it has logged, one record each. */
  readonly records: readonly Readonly<Record<string, unknown>>[]
  /** Everything on its standard output. */
  readonly text: string
  /** Resolves once a record with that message has been or is written. */
  logged(message: string): Promise<Readonly<Record<string, unknown>>>
  /** Resolves with the exit code, or the signal's name. */
  readonly exited: Promise<number | string>
  kill(signal?: NodeJS.Signals): Promise<number | string>
}

/**
 * Starts a broker with these options as environment, on free ports. Resolves when it listens; with `ready`
 * when it lets programs in.
 */
export async function startProcess(
  environment: Readonly<Record<string, string>>,
  { ready = true, program = PROGRAM }: { ready?: boolean; program?: string } = {},
): Promise<BrokerProcess> {
  const child = spawn(process.execPath, [program, "serve"], {
    env: { PATH: process.env["PATH"], FITZ_HTTP_PORT: "0", ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  })
  const records: Readonly<Record<string, unknown>>[] = []
  const listeners: (() => void)[] = []
  let errors = ""
  child.stderr.on("data", (piece: Buffer) => {
    errors += piece.toString()
  })
  let text = ""
  createInterface(child.stdout).on("line", line => {
    text += `${line}\n`
    if (!line.startsWith("{")) return
    records.push(JSON.parse(line) as Record<string, unknown>)
    for (const listener of [...listeners]) listener()
  })
  alive.add(child)
  const exited = new Promise<number | string>(resolve => {
    child.once("exit", (code, signal) => {
      alive.delete(child)
      resolve(code ?? signal ?? "gone")
    })
  })
  const logged = (message: string): Promise<Readonly<Record<string, unknown>>> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        const found = records.find(record => record["msg"] === message)
        if (found === undefined) return
        listeners.splice(listeners.indexOf(look), 1)
        resolve(found)
      }
      listeners.push(look)
      void exited.then(code =>
        reject(
          new Error(
            `the broker ended with ${code} before "${message}": ${errors}${JSON.stringify(records.slice(-3))}`,
          ),
        ),
      )
      look()
    })
  const listening = await logged("listening")
  if (ready) await logged("ready")
  return {
    child,
    pid: child.pid!,
    port: listening["port"] as number,
    tcpPort: listening["tcpPort"] as number | null,
    records,
    get text() {
      return text
    },
    logged,
    exited,
    kill: (signal = "SIGKILL") => {
      child.kill(signal)
      return exited
    },
  }
}

export interface Ran {
  readonly code: number | string
  readonly out: string
  readonly err: string
}

/** Runs the `fitz` command to its end. The environment holds nothing of ours but what is given. */
export function runFitz(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  { node = process.execPath, cwd }: { readonly node?: string; readonly cwd?: string } = {},
): Promise<Ran> {
  const child = spawn(node, [PROGRAM, ...args], {
    env: { PATH: process.env["PATH"], ...environment },
    stdio: ["ignore", "pipe", "pipe"],
    cwd,
  })
  let [out, err] = ["", ""]
  child.stdout.on("data", (piece: Buffer) => {
    out += piece.toString()
  })
  child.stderr.on("data", (piece: Buffer) => {
    err += piece.toString()
  })
  return new Promise((resolve, reject) => {
    child.once("error", reject)
    child.once("close", (code, signal) => resolve({ code: code ?? signal ?? "gone", out, err }))
  })
}
