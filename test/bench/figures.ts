// What is no race: how long a boot takes, and how much memory a broker needs. Measured on processes of their
// own, so that nothing of this one is counted.

import { spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { fixedLength, keepBusy } from "./loads/sockets.ts"
import { filler, fitz, openFitz } from "./loads/wires.ts"
import { residentMib, type Server, startFitz } from "./servers.ts"

interface Figure {
  readonly name: string
  readonly ours: string
  readonly theirs: string
  readonly ratio: string
  readonly wanted: string
}

function figure(name: string, value: number, unit: string, below: number): Figure {
  return {
    name,
    ours: `${value.toFixed(unit === "s" ? 2 : 0)} ${unit}`,
    theirs: "–",
    ratio: value < below ? "✓" : "✗",
    wanted: `< ${below} ${unit}`,
  }
}

const MESSAGES = 1_000_000

/** An empty broker's memory; then a million messages, one to a row, and the start over them. */
export async function boot(): Promise<Figure[]> {
  const server = await startFitz()
  await new Promise(resolve => setTimeout(resolve, 500))
  const emptyMib = residentMib(server.pid)
  const sockets = await Promise.all(Array.from({ length: 64 }, () => openFitz(server.port)))
  await keepBusy(sockets, 64, MESSAGES, fitz.enqueue("queue://bench/area/boot", filler(256)), fixedLength(16))
  process.kill(server.pid, "SIGTERM")
  await gone(server)
  const begun = performance.now()
  const again = await startFitz(server.folder)
  const seconds = (performance.now() - begun) / 1_000
  await again.stop()
  return [
    figure("resident memory of an empty broker", emptyMib, "MiB", 110),
    figure("boot with 1 M queued messages until ready", seconds, "s", 1),
  ]
}

async function gone({ pid }: Server): Promise<void> {
  for (;;) {
    try {
      process.kill(pid, 0)
    } catch {
      return // no such process any more
    }
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

/** Memory with ten thousand connected programs that do nothing. */
export async function idle(): Promise<Figure> {
  const server = await startFitz()
  const program = fileURLToPath(new URL("idle.ts", import.meta.url))
  const child = spawn(process.execPath, [program, String(server.port), "10000"], {
    stdio: ["pipe", "pipe", "inherit"],
  })
  await once(child.stdout, "data")
  await new Promise(resolve => setTimeout(resolve, 1_000))
  const mib = residentMib(server.pid)
  child.kill()
  await server.stop()
  return figure("10,000 idle WebSocket connections, in all", mib, "MiB", 500)
}
