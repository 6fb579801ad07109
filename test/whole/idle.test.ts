// Ten thousand programs that are connected and say nothing: the broker holds them in little memory, answers
// everybody else meanwhile, and lets go of all of it when they go.

import { readdirSync, readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { block } from "../kit/bytes.ts"
import { ask } from "../kit/http.ts"
import { MEMORY_UNKNOWN, residentMiB } from "../kit/memory.ts"
import { until } from "../kit/patience.ts"
import { fresh, Place, type Program } from "../kit/ways.ts"

const PROGRAMS = 10_000
const AT_ONCE = 100
/** What the runtime and the test itself need besides. */
const FILES = PROGRAMS + 500

/** How many files a process may have open; the runtime raises its own limit to that by itself. */
function filesMax(): number {
  if (process.platform !== "linux") return 0
  const found = /Max open files\s+\S+\s+(\S+)/.exec(readFileSync("/proc/self/limits", "utf8"))
  return found?.[1] === "unlimited" ? Number.POSITIVE_INFINITY : Number(found?.[1] ?? 0)
}

test(`M-1: ${PROGRAMS} idle programs`, { timeout: 300_000 }, async ctx => {
  if (residentMiB(process.pid) === null) ctx.skip(MEMORY_UNKNOWN)
  if (filesMax() < FILES) ctx.skip(`a process may open ${filesMax()} files here, ${FILES} are needed`)
  const place = await Place.start({ folder: null })
  const { pid, port } = place.broker
  const descriptors = (): number => readdirSync(`/proc/${pid}/fd`).length
  const before = descriptors()
  const programs: Program[] = []
  try {
    while (programs.length < PROGRAMS) {
      const some = await Promise.all(
        Array.from({ length: AT_ONCE }, (_, n) => place.open(n % 2 === 0 ? "tcp" : "ws")),
      )
      // One reply each: it is connected, let in, and idle from here on.
      await Promise.all(some.map(program => program.ask(403, block("lease://idle/a/b"))))
      programs.push(...some)
    }
    expect(descriptors()).toBeGreaterThanOrEqual(before + PROGRAMS)
    const full = residentMiB(pid)!
    expect(full).toBeLessThan(500)

    for (const path of ["/healthz", "/readyz", "/startupz", "/health"])
      expect((await ask(port, path)).status, path).toBe(200)
    const [first, last] = [programs[0]!, programs.at(-1)!]
    const route = fresh("queue")
    expect(await first.queue.enqueue(route, "m")).toBe(1)
    expect(await last.queue.reserve(route)).toHaveLength(1)
    // A notice to a thousand of them at once.
    const notice = fresh("notice")
    const followers = programs.filter((_, n) => n % 10 === 0)
    await Promise.all(followers.map(program => program.notice.subscribe(notice)))
    last.notice.publish(notice, "wake up")
    const heard = await Promise.all(followers.map(program => program.notice.next()))
    expect(new Set(heard.map(({ subscription }) => subscription)).size).toBe(followers.length)
    const newcomer = await place.open("ws")
    await newcomer.settle()
    await newcomer.close()

    // Half take their leave, half vanish.
    await Promise.all(
      programs.map((program, n) => {
        if (n % 4 < 2) return program.close()
        program.wire.cut()
        return program.closed
      }),
    )
    await until("all files closed", descriptors, count => count <= before + 5)
    expect(residentMiB(pid)).toBeLessThan(500)
    expect((await ask(port, "/readyz")).status).toBe(200)
    // The runtime gives memory back once it has been left alone for some seconds.
    await until(
      "memory given back",
      () => residentMiB(pid)!,
      mib => mib < full * 0.9,
    )
    // What the next one finds: nothing of theirs.
    const next = await place.open("tcp")
    expect(await next.queue.reserve(route)).toHaveLength(1)
    await next.close()
    place.broker.child.kill("SIGTERM")
    expect(await place.broker.logged("draining")).toMatchObject({ sessions: 0 })
    expect(await place.broker.exited).toBe(0)
  } finally {
    if (place.broker.child.exitCode === null) await place.stop()
  }
})
