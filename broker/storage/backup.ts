// Copies of a store as files: making one of a broker that runs or stands still, and putting one back. A file
// that carries a copy's name is whole, checked and on disk; a half one never gets that name.

import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import {
  checkStore,
  copyStore,
  DATABASE_FILE,
  FolderLock,
  LOCK_FILE,
  StorageError,
  syncPath,
} from "./database.ts"

/** What may stand in a folder that counts as empty: a volume's own, and the lock, which holds nothing. */
const NOTHING: ReadonlySet<string> = new Set(["lost+found", LOCK_FILE])

/** Copies the store in a folder into a new file. */
export async function createBackup(folder: string, file: string): Promise<void> {
  const target = resolve(file)
  if (existsSync(target)) throw new StorageError(`${file} exists already`)
  mkdirSync(dirname(target), { recursive: true })
  await throughPartial(target, partial => copyStore(folder, partial))
}

/** Puts a copy into a storage folder that has no store. */
export async function restoreBackup(file: string, folder: string): Promise<void> {
  if (!existsSync(file)) throw new StorageError(`there is no file ${file}`)
  mkdirSync(folder, { recursive: true })
  mustBeEmpty(folder)
  // From here on no broker can begin a store of its own here; one may have done so just now.
  const lock = FolderLock.take(folder)
  try {
    mustBeEmpty(folder)
    await throughPartial(join(resolve(folder), DATABASE_FILE), partial => {
      copyFileSync(file, partial)
      // A copy may be kept where nobody may write; a store is its owner's.
      chmodSync(partial, 0o600)
      checkStore(partial, file)
    })
  } finally {
    lock.release()
  }
}

function mustBeEmpty(folder: string): void {
  const found = readdirSync(folder).filter(name => !NOTHING.has(name))
  if (found.length > 0) throw new StorageError(`${folder} is not empty: it has ${found.join(", ")}`)
}

/** Writes under a name beside the target's, and gives it the target's name when all of it is on disk. */
async function throughPartial(
  target: string,
  write: (partial: string) => Promise<void> | void,
): Promise<void> {
  const partial = `${target}.partial`
  const parts = ["", "-wal", "-shm", "-journal"].map(suffix => partial + suffix)
  for (const part of parts) rmSync(part, { force: true })
  try {
    await write(partial)
    syncPath(partial)
    renameSync(partial, target)
    syncPath(dirname(target))
  } finally {
    for (const part of parts) rmSync(part, { force: true })
  }
}
