// Answers that may be up to a second old: one computation for whoever asks meanwhile (admin-api §5.7).
// Must never serve a command, nor anything older than a second.

/** How old an answer may be. */
const MAX_AGE_MS = 1_000
const KEPT_MAX = 1_000

interface Snapshot<T> {
  atMs: number
  readonly value: Promise<T>
}

export class Snapshots<T> {
  private readonly now: () => number
  private readonly kept = new Map<string, Snapshot<T>>()

  constructor(now: () => number) {
    this.now = now
  }

  /** The snapshot under a key, and how old it is. A computation that fails is not kept. */
  async get(key: string, compute: () => Promise<T>): Promise<{ readonly value: T; readonly ageMs: number }> {
    const known = this.kept.get(key)
    if (known !== undefined && this.now() - known.atMs < MAX_AGE_MS) {
      return { value: await known.value, ageMs: Math.max(0, this.now() - known.atMs) }
    }
    if (this.kept.size >= KEPT_MAX) this.trim()
    const snapshot: Snapshot<T> = { atMs: this.now(), value: compute() }
    this.kept.set(key, snapshot)
    try {
      return { value: await snapshot.value, ageMs: Math.max(0, this.now() - snapshot.atMs) }
    } catch (error) {
      if (this.kept.get(key) === snapshot) this.kept.delete(key)
      throw error
    }
  }

  private trim(): void {
    const now = this.now()
    for (const [key, { atMs }] of this.kept) if (now - atMs >= MAX_AGE_MS) this.kept.delete(key)
    if (this.kept.size >= KEPT_MAX) this.kept.clear()
  }
}
