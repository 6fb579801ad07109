// What a process writes and when it waits for its disk, as the kernel saw it: recorded by strace, read back as
// events, and played into files as a power cut would leave them. It trusts nothing that the process says of
// itself; where strace is not to be had it says so, and whoever needs it skips.

import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { type Frame, Splitter } from "./bytes.ts"
import { DATABASE, LOG } from "./crash.ts"
import { memoryFolder } from "./disk.ts"
import { until } from "./patience.ts"
import { removeFolder } from "./process.ts"
import type { Random } from "./random.ts"

/** One thing that happened. `at` is where it began on the tape, `until` where it was over. */
interface Moment {
  readonly at: number
  readonly until: number
}

/** A file was given bytes, or a length. */
export type Change = Moment & { readonly kind: "change"; readonly file: string } & (
    | { readonly offset: number; readonly data: Buffer }
    | { readonly length: number }
  )

export type TapeEvent =
  | Change
  | (Moment & { readonly kind: "sync"; readonly file: string })
  /** Bytes for a program. */
  | (Moment & { readonly kind: "send"; readonly data: Buffer })

/** The calls that write, sync or change files in another way. */
const CALLS = [
  "pwrite64",
  "pwritev",
  "write",
  "writev",
  "sendto",
  "sendmsg",
  "fdatasync",
  "fsync",
  "sync_file_range",
  "ftruncate",
  "fallocate",
  "unlink",
  "unlinkat",
  "rename",
  "renameat2",
]
const STRING_BYTES = 200_000

/** Why nothing can be recorded on this machine, or null. */
export function whyNoTape(): string | null {
  try {
    execFileSync("strace", ["-o", "/dev/null", "true"], { stdio: ["ignore", "ignore", "pipe"] })
    return null
  } catch (error) {
    const said = (error as { readonly stderr?: Buffer }).stderr?.toString() ?? ""
    return `strace is not to be had here: ${said.trim().split("\n")[0] || String(error)}`
  }
}

/** A recording under way. */
export class Recorder {
  private readonly file: string
  private readonly ended: Promise<void>

  private constructor(tracer: ChildProcess, file: string) {
    this.file = file
    this.ended = new Promise(resolve => tracer.once("exit", () => resolve()))
  }

  /**
   * Begins to record a process; resolves when everything that it does from now on is on the tape. `fault` is
   * done to it meanwhile, as strace spells it.
   */
  static async attach(pid: number, fault?: string): Promise<Recorder> {
    const folder = memoryFolder()
    const file = join(folder, "tape")
    const options = ["-f", "-yy", "-xx", "-s", String(STRING_BYTES), "-e", `trace=${CALLS.join(",")}`]
    if (fault !== undefined) options.push("-e", `inject=${fault}`)
    const tracer = spawn("strace", [...options, "-o", file, "-p", String(pid)], {
      stdio: ["ignore", "ignore", "pipe"],
    })
    const recorder = new Recorder(tracer, file)
    let said = ""
    await new Promise<void>((resolve, reject) => {
      tracer.stderr!.on("data", (piece: Buffer) => {
        said += piece.toString()
        if (said.includes(" attached")) resolve()
      })
      void recorder.ended.then(() => reject(new Error(`strace ended: ${said}`)))
    })
    return recorder
  }

  /** What is on the tape so far. */
  read(): Tape {
    return new Tape(readFileSync(this.file, "latin1"))
  }

  /** Waits until something is on the tape. */
  saw(what: string, look: (tape: Tape) => boolean): Promise<Tape> {
    return until(what, () => this.read(), look)
  }

  /** The whole tape, once the process has ended. The recording is thrown away. */
  async whole(): Promise<Tape> {
    await this.ended
    const tape = this.read()
    removeFolder(dirname(this.file))
    return tape
  }
}

const LINE = /^(\d+)\s+(.*)$/
const BEGUN = /^(\w+)\((.*) <unfinished \.\.\.>$/
const RESUMED = /^<\.\.\. (\w+) resumed>(.*)$/
const WHOLE = /^(\w+)\((.*)\)\s+= (-?\d+|\?)/
const RESULT = /\)\s+= (-?\d+|\?)/
const DESCRIPTOR = /^\d+<([^>]*(?:->[^>]*)?)>/

export class Tape {
  readonly events: TapeEvent[] = []
  /** One past the last line. */
  readonly length: number

  constructor(text: string) {
    const lines = text.split("\n")
    this.length = lines.length
    const begun = new Map<
      string,
      { readonly call: string; readonly parameters: string; readonly at: number }
    >()
    for (const [at, line] of lines.entries()) {
      const [, thread, what] = LINE.exec(line) ?? []
      if (thread === undefined || what === undefined) continue
      const open = BEGUN.exec(what)
      if (open !== null) {
        begun.set(thread, { call: open[1]!, parameters: open[2]!, at })
        continue
      }
      if (RESUMED.test(what)) {
        const start = begun.get(thread)
        begun.delete(thread)
        if (start !== undefined) this.take(start.call, start.parameters, RESULT.exec(what)?.[1], start.at, at)
        continue
      }
      const whole = WHOLE.exec(what)
      if (whole !== null) this.take(whole[1]!, whole[2]!, whole[3], at, at)
    }
    // What had begun when the process ended may or may not have happened; it never was over.
    for (const { call, parameters, at } of begun.values())
      this.take(call, parameters, undefined, at, Number.POSITIVE_INFINITY)
    this.events.sort((a, b) => a.at - b.at)
  }

  private take(
    call: string,
    parameters: string,
    result: string | undefined,
    at: number,
    until: number,
  ): void {
    const target = unquoted(DESCRIPTOR.exec(parameters)?.[1] ?? "")
    const bytes = result === undefined || result === "?" ? null : Number(result)
    if (bytes !== null && bytes < 0) return
    if (target.startsWith("TCP:") || target.startsWith("TCPv6:")) {
      const data = dataOf(parameters)
      this.events.push({ kind: "send", data: bytes === null ? data : data.subarray(0, bytes), at, until })
      return
    }
    const file = [DATABASE, LOG].find(name => target.endsWith(`/${name}`))
    if (file === undefined) return
    if (call === "fsync" || call === "fdatasync") this.events.push({ kind: "sync", file, at, until })
    else if (call === "ftruncate") {
      this.events.push({ kind: "change", file, length: lastNumber(parameters), at, until })
    } else if (call === "pwrite64") {
      const all = dataOf(parameters)
      const data = bytes === null ? all : all.subarray(0, bytes)
      this.events.push({ kind: "change", file, offset: lastNumber(parameters), data, at, until })
    } else throw new Error(`the tape cannot play ${call} on ${file}`)
  }

  /** The frames that programs had been sent at a moment, where there is one program. */
  framesAt(moment: number): Frame[] {
    const splitter = new Splitter()
    const frames: Frame[] = []
    for (const event of this.events) {
      if (event.kind === "send" && event.at < moment) frames.push(...splitter.push(event.data))
    }
    return frames
  }

  /** Changes of a file that had begun at a moment and that no sync had covered then. */
  unsyncedAt(moment: number, file: string): readonly Change[] {
    let synced = -1
    for (const event of this.events) {
      // A sync covers what was over when it began.
      if (event.kind === "sync" && event.file === file && event.until < moment)
        synced = Math.max(synced, event.at)
    }
    return this.changesOf(file).filter(({ at, until }) => at < moment && until > synced)
  }

  changesOf(file: string): readonly Change[] {
    return this.events.filter(event => event.kind === "change").filter(change => change.file === file)
  }

  /**
   * The files as a power cut at that moment may leave them: everything that was synced, and of the rest what
   * chance says, in pieces of a sector. `random` null: nothing of the rest.
   */
  cutAt(moment: number, base: string, random: Random | null): string {
    const folder = memoryFolder()
    for (const file of [DATABASE, LOG]) {
      let content: Buffer = readFileSync(join(base, file))
      const unsynced = new Set(this.unsyncedAt(moment, file))
      // One temper for the whole cut, from nothing to nearly all.
      const share = random === null ? 0 : random.pick([0, 0.1, 0.5, 0.9, 1])
      for (const change of this.changesOf(file)) {
        if (change.at >= moment) break
        const open = unsynced.has(change)
        if (open && random?.chance(share) !== true) continue
        if ("length" in change) {
          content = lengthened(content.subarray(0, change.length), change.length)
          continue
        }
        let { data } = change
        if (open && random?.chance(0.2) === true)
          data = data.subarray(0, random.int(Math.ceil(data.length / SECTOR_BYTES)) * SECTOR_BYTES)
        content = lengthened(content, change.offset + data.length)
        data.copy(content, change.offset)
      }
      writeFileSync(join(folder, file), content)
    }
    return folder
  }
}

function lengthened(content: Buffer, length: number): Buffer {
  return content.length >= length ? content : Buffer.concat([content, Buffer.alloc(length - content.length)])
}

function lastNumber(parameters: string): number {
  return Number(/, (\d+)$/.exec(parameters)![1])
}

const SECTOR_BYTES = 512

/** The bytes of all strings among the parameters, in order. Written in hexadecimal, they hold no quotes. */
function dataOf(parameters: string): Buffer {
  const parts = parameters.split('"')
  if (parts.some((part, at) => at % 2 === 0 && part.startsWith("...")))
    throw new Error("a string on the tape is cut short")
  return Buffer.concat(parts.filter((_, at) => at % 2 === 1).map(bytesOf))
}

function bytesOf(quoted: string): Buffer {
  return Buffer.from(quoted.replaceAll("\\x", ""), "hex")
}

function unquoted(text: string): string {
  return text.startsWith("\\x") ? bytesOf(text).toString() : text
}
