// What a KV transaction has changed and not committed: single keys over deleted ranges over what is stored.
// Keys are binary text, which sorts as the bytes do. Every change returns the step that undoes it.

export interface OverlayEntry {
  readonly key: string
  /** Null: the key is deleted. */
  readonly value: Uint8Array | null
}

interface KeyRange {
  readonly start: string
  /** Exclusive. */
  readonly end: string
}

/** What one entry costs beyond its bytes. */
const ENTRY_BYTES = 64

/** A stretch of keys, open where a bound is null. */
export interface KeyBounds {
  readonly low: string | null
  readonly lowInclusive: boolean
  readonly high: string | null
  readonly highInclusive: boolean
}

export class Overlay {
  private entries: OverlayEntry[] = []
  /** Disjoint and sorted. */
  private ranges: readonly KeyRange[] = []

  get empty(): boolean {
    return this.entries.length === 0 && this.ranges.length === 0
  }

  /** The changed keys, sorted. */
  get changed(): readonly OverlayEntry[] {
    return this.entries
  }

  /** The deleted ranges, disjoint and sorted; an entry inside one was set after it was deleted. */
  get deleted(): readonly KeyRange[] {
    return this.ranges
  }

  /** Memory that an entry takes. */
  static entryBytes(keyBytes: number, valueBytes: number): number {
    return keyBytes + valueBytes + ENTRY_BYTES
  }

  /** The value, null where the key is deleted here, undefined where the store decides. */
  get(key: string): Uint8Array | null | undefined {
    const entry = this.entries[this.position(key)]
    if (entry?.key === key) return entry.value
    return this.covered(key) ? null : undefined
  }

  /** Does a deleted range hide this key of the store? */
  covered(key: string): boolean {
    let low = 0
    let high = this.ranges.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.ranges[middle]!.start <= key) low = middle + 1
      else high = middle
    }
    const range = this.ranges[low - 1]
    return range !== undefined && key < range.end
  }

  /** Sets or deletes one key. */
  set(key: string, value: Uint8Array | null): () => void {
    const at = this.position(key)
    const old = this.entries[at]
    if (old?.key === key) {
      this.entries[at] = { key, value }
      return () => {
        this.entries[this.position(key)] = old
      }
    }
    this.entries.splice(at, 0, { key, value })
    return () => this.entries.splice(this.position(key), 1)
  }

  /** Deletes `[start, end)`. */
  deleteRange(start: string, end: string): () => void {
    const { entries, ranges } = this
    const merged: KeyRange[] = []
    let low = start
    let high = end
    for (const range of ranges) {
      if (range.end < low || range.start > high) merged.push(range)
      else {
        low = range.start < low ? range.start : low
        high = range.end > high ? range.end : high
      }
    }
    merged.push({ start: low, end: high })
    merged.sort((a, b) => (a.start < b.start ? -1 : 1))
    this.entries = entries.filter(entry => entry.key < start || entry.key >= end)
    this.ranges = merged
    return () => {
      this.entries = entries
      this.ranges = ranges
    }
  }

  /** Up to `max` changed keys within the bounds, from the low end up or from the high end down. */
  slice(bounds: KeyBounds, reverse: boolean, max: number): OverlayEntry[] {
    const from = bounds.low === null ? 0 : this.position(bounds.low, !bounds.lowInclusive)
    const to = bounds.high === null ? this.entries.length : this.position(bounds.high, bounds.highInclusive)
    if (from >= to) return []
    if (!reverse) return this.entries.slice(from, Math.min(to, from + max))
    return this.entries.slice(Math.max(from, to - max), to).reverse()
  }

  /** Where the key stands or would stand; with `after`, behind it. */
  private position(key: string, after = false): number {
    let low = 0
    let high = this.entries.length
    while (low < high) {
      const middle = (low + high) >> 1
      const other = this.entries[middle]!.key
      if (other < key || (after && other === key)) low = middle + 1
      else high = middle
    }
    return low
  }
}
