// Disks of a test's own: folders in memory, a small file system that fills up and is made larger, and one on a
// loop device that fails for good. It must never touch a file system that it has not mounted itself.

import { execFileSync } from "node:child_process"
import { existsSync, mkdtempSync, rmSync, statfsSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { newFolder, removeFolder } from "./process.ts"

const MEMORY = "/dev/shm"
const MEMORY_BYTES = 512 * 1024 * 1024

/**
 * A folder for files whose disk does not matter: in memory where there is enough of it, so that tests do not wait
 * for a disk that others use as well. Removed by `removeFolder`.
 */
export function memoryFolder(): string {
  if (!existsSync(MEMORY)) return newFolder()
  const { bavail, bsize } = statfsSync(MEMORY)
  return bavail * bsize < MEMORY_BYTES ? newFolder() : mkdtempSync(join(MEMORY, "fitz-"))
}

export interface Disk {
  readonly folder: string
  unmount(): void
}

export interface SmallDisk extends Disk {
  resize(size: string): void
}

export interface FailingDisk extends Disk {
  /** From now on every write fails, and so does every sync. */
  fail(): void
  /** Takes it out and puts it in again: what had reached it is there, and it can be written to. */
  replace(): void
}

function run(program: string, ...parameters: string[]): string {
  return execFileSync(program, parameters, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim()
}

/** Why something cannot be done on this machine, for the reason of a skip. */
function reasonOf(what: string, error: unknown): string {
  const { stderr } = error as { readonly stderr?: string }
  const said = stderr ?? (error instanceof Error ? error.message : String(error))
  return `${what} is not possible here: ${said.trim().split("\n")[0]}`
}

/** A disk in memory of this size, or the reason why there is none. */
export function mountTmpfs(size: string): SmallDisk | string {
  const folder = newFolder()
  try {
    run("mount", "-t", "tmpfs", "-o", `size=${size}`, "fitz-test", folder)
  } catch (error) {
    removeFolder(folder)
    return reasonOf("mounting a small disk", error)
  }
  return {
    folder,
    resize: size => run("mount", "-o", `remount,size=${size}`, folder),
    unmount: () => {
      run("umount", "-l", folder)
      removeFolder(folder)
    },
  }
}

const FAILING_BYTES = 160 * 1024 * 1024

/** A disk that can be made to fail, or the reason why there is none. */
export function mountFailing(): FailingDisk | string {
  const folder = newFolder()
  const image = `${folder}.img`
  const mount = (): void => {
    run("mount", "-o", "loop", image, folder)
  }
  try {
    writeFileSync(image, "")
    truncateSync(image, FAILING_BYTES)
    // An error of the file system makes it read-only, for good.
    run("mkfs.ext4", "-q", "-e", "remount-ro", image)
    mount()
  } catch (error) {
    rmSync(image, { force: true })
    removeFolder(folder)
    return reasonOf("mounting a disk that fails", error)
  }
  return {
    folder,
    fail: () => {
      const device = run("findmnt", "-n", "-o", "SOURCE", folder).split("/").at(-1)
      writeFileSync(`/sys/fs/ext4/${device}/trigger_fs_error`, "injected")
    },
    replace: () => {
      run("umount", folder)
      mount()
    },
    unmount: () => {
      run("umount", "-l", folder)
      rmSync(image)
      removeFolder(folder)
    },
  }
}
