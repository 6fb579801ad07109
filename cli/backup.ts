// `fitz backup`: an online copy of a store, running or stopped, checked before it is called done; and the
// way back into an empty folder.

import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import type { Command } from "commander"

/** The store's code, loaded only for this verb: a serving process has it in another thread. */
const storage = () => import("../broker/storage/database.ts")

/** Writes through a name beside the target, so that no half file ever carries the target's name. */
async function whole(target: string, write: (partial: string) => Promise<void> | void): Promise<void> {
  const partial = `${target}.partial`
  rmSync(partial, { force: true })
  try {
    await write(partial)
    renameSync(partial, target)
  } finally {
    for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(partial + suffix, { force: true })
  }
}

export function addBackup(program: Command): void {
  const backup = program.command("backup").description("copy a store, or put a copy back")
  const data = process.env["FITZ_STORAGE_PATH"] ?? "data"
  backup
    .command("create <file>")
    .description("copy the store of a running or stopped broker into a file, and check the copy")
    .option("--data <folder>", "storage folder", data)
    .action(async (file: string, { data: folder }: { data: string }) => {
      const target = resolve(file)
      if (existsSync(target)) throw new Error(`${file} exists already`)
      mkdirSync(dirname(target), { recursive: true })
      const { copyStore } = await storage()
      await whole(target, partial => copyStore(folder, partial))
      process.stdout.write(`${file} is a whole copy of the store in ${folder}\n`)
    })
  backup
    .command("restore <file>")
    .description("put a copy into an empty storage folder")
    .option("--data <folder>", "storage folder", data)
    .action(async (file: string, { data: folder }: { data: string }) => {
      if (existsSync(folder) && readdirSync(folder).length > 0) throw new Error(`${folder} is not empty`)
      const { checkStore, DATABASE_FILE } = await storage()
      checkStore(file)
      mkdirSync(folder, { recursive: true })
      await whole(join(folder, DATABASE_FILE), partial => {
        copyFileSync(file, partial)
        checkStore(partial)
      })
      process.stdout.write(`${folder} holds the store from ${file}\n`)
    })
}
