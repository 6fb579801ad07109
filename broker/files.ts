// Files that may change while the broker runs: secrets, key sets, certificates, maps. Mounted files are
// swapped by renaming a folder, which no watch reports reliably, so they are read again and compared.

import { readdirSync, readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import type { World } from "./world.ts"

/** Well within the five seconds that a swap may take to be noticed. */
const LOOK_EVERY_MS = 2_000

/** What a path holds: a file's text under its own name, or those of a folder's files, hidden ones left out. */
export function readPath(path: string): ReadonlyMap<string, string> {
  if (!statSync(path).isDirectory()) return new Map([[path, readFileSync(path, "utf8")]])
  const names = readdirSync(path)
    .filter(name => !name.startsWith("."))
    .sort()
  const files = names.map(name => join(path, name)).filter(file => statSync(file).isFile())
  return new Map(files.map(file => [file, readFileSync(file, "utf8")]))
}

/**
 * Keeps a value made of files. `make` throws where they make none; at the first reading that throws on, later
 * it is logged and the value stays what it was.
 */
export class Watched<T> {
  private readonly paths: readonly string[]
  private readonly make: (files: ReadonlyMap<string, string>[]) => T
  private readonly world: World
  private readonly onChange: (value: T) => void
  private seen: string
  private current: T
  private failure: string | null = null
  private loadedMs: number
  private cancel: () => void

  constructor(
    paths: readonly string[],
    make: (files: ReadonlyMap<string, string>[]) => T,
    world: World,
    onChange: (value: T) => void = () => undefined,
  ) {
    this.paths = paths
    this.make = make
    this.world = world
    this.onChange = onChange
    const files = paths.map(readPath)
    this.seen = fingerprint(files)
    this.current = make(files)
    this.loadedMs = world.now()
    this.cancel = this.lookLater()
  }

  get value(): T {
    return this.current
  }

  /** Why the newest files are not in use; null when they are. */
  get error(): string | null {
    return this.failure
  }

  /** When the files in use were read. */
  get loadedAtMs(): number {
    return this.loadedMs
  }

  stop(): void {
    this.cancel()
  }

  private lookLater(): () => void {
    return this.world.later(LOOK_EVERY_MS, () => {
      this.look()
      this.cancel = this.lookLater()
    })
  }

  private look(): void {
    try {
      const files = this.paths.map(readPath)
      const now = fingerprint(files)
      if (now === this.seen && this.failure === null) return
      this.seen = now
      this.current = this.make(files)
      this.loadedMs = this.world.now()
      this.failure = null
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      if (this.failure !== reason)
        this.world.log("error", "a file that changed cannot be used", { paths: this.paths, reason })
      this.failure = reason
      return
    }
    this.world.log("info", "a file that changed is in use", { paths: this.paths })
    this.onChange(this.current)
  }
}

function fingerprint(files: readonly ReadonlyMap<string, string>[]): string {
  return JSON.stringify(files.map(some => [...some]))
}
