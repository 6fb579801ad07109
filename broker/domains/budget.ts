// How many bytes clients may leave in memory without having committed them, all together. Whoever holds
// such bytes takes them here first and gives them back when they are gone.

export class Budget {
  private usedBytes = 0
  private readonly maxBytes: number

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
  }

  /** False, and nothing taken, where it would go over. */
  take(bytes: number): boolean {
    if (this.usedBytes + bytes > this.maxBytes) return false
    this.usedBytes += bytes
    return true
  }

  /** Takes without asking: undoing a `give` must not fail. */
  retake(bytes: number): void {
    this.usedBytes += bytes
  }

  give(bytes: number): void {
    this.usedBytes -= bytes
  }
}
