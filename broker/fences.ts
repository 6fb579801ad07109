// Fencing tokens on this side of the thread: given out from blocks that the store has set aside. It must
// never give one twice, nor one that the store does not count as given.

import type { Fences } from "./domains/lease.ts"

export class FenceBlocks implements Fences {
  private readonly askForMore: () => void
  private nextToken = 0
  private end = 0
  private upcoming: { first: number; count: number } | null = null
  private asked = false

  /** @param askForMore asks the store for a further block; it comes through `add` */
  constructor(askForMore: () => void) {
    this.askForMore = askForMore
  }

  /** A block of tokens, above all that came before. */
  add(first: number, count: number): void {
    this.asked = false
    if (this.nextToken === this.end) {
      this.nextToken = first
      this.end = first + count
    } else this.upcoming = { first, count }
  }

  next(): number | null {
    if (this.nextToken === this.end && this.upcoming !== null) {
      const { first, count } = this.upcoming
      this.upcoming = null
      this.nextToken = first
      this.end = first + count
    }
    if (this.nextToken === this.end) return null
    if (!this.asked && this.upcoming === null && this.end - this.nextToken < MORE_BELOW) {
      this.asked = true
      this.askForMore()
    }
    return this.nextToken++
  }
}

/** With so few left, more are asked for. */
const MORE_BELOW = 8_388_608
