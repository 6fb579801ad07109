// What is due when: a heap of things with a moment, from which any of them can be taken out again. Of those due
// at the same moment the older goes first, so that a turn taken back and run again comes to the same end.
// It never looks at a clock; whoever asks brings the time.

/** Something that falls due. `heapAt` belongs to the heap that holds it; −1 while none does. */
export interface Due {
  dueMs: number
  heapAt: number
  /** How old it is among its like: the lower goes first. Changes only while no heap holds it. */
  readonly order: number
}

function before(a: Due, b: Due): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order)
}

export class DueHeap<T extends Due> {
  private readonly items: T[] = []

  get size(): number {
    return this.items.length
  }

  /** When the first falls due, or null. */
  get nextMs(): number | null {
    return this.items[0]?.dueMs ?? null
  }

  add(item: T): void {
    item.heapAt = this.items.length
    this.items.push(item)
    this.rise(item.heapAt)
  }

  /** Takes it out, wherever it stands; false where it is not held. */
  remove(item: T): boolean {
    const at = item.heapAt
    if (at < 0) return false
    item.heapAt = -1
    const last = this.items.pop()!
    if (last !== item) {
      this.items[at] = last
      last.heapAt = at
      this.sink(at)
      this.rise(last.heapAt)
    }
    return true
  }

  /** After `dueMs` of a held item was changed. */
  moved(item: T): void {
    this.sink(item.heapAt)
    this.rise(item.heapAt)
  }

  /** The first that is due at `nowMs`, left where it is, or null. */
  first(nowMs: number): T | null {
    const first = this.items[0]
    return first === undefined || first.dueMs > nowMs ? null : first
  }

  /** All that is due at `nowMs`, earliest first. Whoever walks them takes each out or moves it past `nowMs`. */
  *dueAt(nowMs: number): Generator<T> {
    for (let item = this.first(nowMs); item !== null; item = this.first(nowMs)) yield item
  }

  /** How many are due at `nowMs`; looks at no more than those and their neighbours. */
  countDue(nowMs: number): number {
    let count = 0
    const look = (at: number): void => {
      if (at >= this.items.length || this.items[at]!.dueMs > nowMs) return
      count++
      look(2 * at + 1)
      look(2 * at + 2)
    }
    look(0)
    return count
  }

  private rise(from: number): void {
    const items = this.items
    const item = items[from]!
    let at = from
    while (at > 0) {
      const parentAt = (at - 1) >> 1
      const parent = items[parentAt]!
      if (!before(item, parent)) break
      items[at] = parent
      parent.heapAt = at
      at = parentAt
    }
    items[at] = item
    item.heapAt = at
  }

  private sink(from: number): void {
    const items = this.items
    const item = items[from]!
    let at = from
    for (;;) {
      let childAt = at * 2 + 1
      if (childAt >= items.length) break
      const right = items[childAt + 1]
      if (right !== undefined && before(right, items[childAt]!)) childAt++
      const child = items[childAt]!
      if (!before(child, item)) break
      items[at] = child
      child.heapAt = at
      at = childAt
    }
    items[at] = item
    item.heapAt = at
  }
}
