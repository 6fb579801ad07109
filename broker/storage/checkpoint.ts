// Keeping the write-ahead log short without making a commit wait: another thread copies the log into the
// database, and the lane itself copies only the little that was written meanwhile, so that the log starts
// over. The two sides share a few cells and nothing else.

import type { Checkpointer, Database } from "./database.ts"

/** Cells: counted up by the lane to ask for a copy; by the other thread when it is done; 1 to stop it. */
const ASKED = 0
const DONE = 1
const STOP = 2
const STOPPED = 3
export const CHECKPOINT_CELLS_BYTES = 16

/** Pages in the log from which on it is copied: 8 MiB. */
const BEGIN_PAGES = 2_048
/** With so few pages left the lane copies them itself, about a millisecond's work. */
const FINISH_PAGES = 192
/** A log this long is finished by the lane whatever is left, so that the file stays bounded: 64 MiB. */
const BOUND_PAGES = 16_384
/** The log's length is looked at after so many commits. */
const LOOK_COMMITS = 16

/** The lane's side. */
export class LogKeeper {
  private readonly database: Database
  private readonly cells: Int32Array
  private readonly start: () => void
  private commits = 0
  private asked = 0

  /** @param start has the other thread started; called once, when there is something to copy */
  constructor(database: Database, cells: Int32Array, start: () => void) {
    this.database = database
    this.cells = cells
    this.start = start
  }

  /** Called after a turn, when everything it sends is on its way. */
  tend(): void {
    const busy = Atomics.load(this.cells, DONE) !== this.asked
    if (busy || this.commits++ % LOOK_COMMITS !== 0) return
    const { logPages, copiedPages } = this.database.log()
    const left = logPages - copiedPages
    if (logPages < BEGIN_PAGES || left === 0) return
    if (left <= FINISH_PAGES || logPages >= BOUND_PAGES) this.database.copyLog()
    else {
      if (this.asked === 0) this.start()
      this.asked++
      Atomics.store(this.cells, ASKED, this.asked)
      Atomics.notify(this.cells, ASKED)
      // The rest is looked at as soon as the copy is done.
      this.commits = 0
    }
  }

  /** Ends the other thread, where it runs, and waits for it. */
  stop(): void {
    if (this.asked === 0) return
    Atomics.store(this.cells, STOP, 1)
    Atomics.add(this.cells, ASKED, 1)
    Atomics.notify(this.cells, ASKED)
    Atomics.wait(this.cells, STOPPED, 0, STOP_WITHIN_MS)
  }
}

/** The other thread is given this long to finish a copy. */
const STOP_WITHIN_MS = 10_000

/** The other thread's side: copies whenever it is asked, until it is stopped. */
export function copyWhenAsked(checkpointer: Checkpointer, cells: Int32Array): void {
  for (let seen = 0; ; ) {
    Atomics.wait(cells, ASKED, seen)
    seen = Atomics.load(cells, ASKED)
    if (Atomics.load(cells, STOP) === 1) break
    checkpointer.copy()
    Atomics.store(cells, DONE, seen)
  }
  checkpointer.close()
  Atomics.store(cells, STOPPED, 1)
  Atomics.notify(cells, STOPPED)
}
