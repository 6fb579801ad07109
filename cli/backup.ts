// `fitz backup`: an online copy of a store, running or stopped, checked before it is called done; and the
// way back into an empty folder. It only names things: what is safe is decided in broker/storage/backup.ts.

import type { Command } from "commander"

/** The store's code, loaded only for this verb: a serving process has it in another thread. */
const storage = () => import("../broker/storage/backup.ts")

export function addBackup(program: Command): void {
  const backup = program.command("backup").description("copy a store, or put a copy back")
  const data = process.env["FITZ_STORAGE_PATH"] ?? "data"
  backup
    .command("create <file>")
    .description("copy the store of a running or stopped broker into a file, and check the copy")
    .option("--data <folder>", "storage folder", data)
    .action(async (file: string, { data: folder }: { data: string }) => {
      const { createBackup } = await storage()
      await createBackup(folder, file)
      process.stdout.write(`${file} is a whole copy of the store in ${folder}\n`)
    })
  backup
    .command("restore <file>")
    .description("put a copy into an empty storage folder")
    .option("--data <folder>", "storage folder", data)
    .action(async (file: string, { data: folder }: { data: string }) => {
      const { restoreBackup } = await storage()
      await restoreBackup(file, folder)
      process.stdout.write(`${folder} holds the store from ${file}\n`)
    })
}
