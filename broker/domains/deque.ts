// A list that is cheap at both ends, for lines of waiters and of messages that came back. It knows nothing of
// what it holds; taking something out of its middle is allowed to be slow.

export class Deque<T> {
  private slots: (T | undefined)[] = new Array(16)
  private head = 0
  private count = 0

  get size(): number {
    return this.count
  }

  get first(): T | undefined {
    return this.count === 0 ? undefined : this.slots[this.head]
  }

  get last(): T | undefined {
    return this.count === 0 ? undefined : this.slots[(this.head + this.count - 1) & (this.slots.length - 1)]
  }

  push(item: T): void {
    this.grow()
    this.slots[(this.head + this.count) & (this.slots.length - 1)] = item
    this.count++
  }

  unshift(item: T): void {
    this.grow()
    this.head = (this.head - 1) & (this.slots.length - 1)
    this.slots[this.head] = item
    this.count++
  }

  shift(): T | undefined {
    if (this.count === 0) return undefined
    const item = this.slots[this.head]
    this.slots[this.head] = undefined
    this.head = (this.head + 1) & (this.slots.length - 1)
    this.count--
    return item
  }

  pop(): T | undefined {
    if (this.count === 0) return undefined
    this.count--
    const at = (this.head + this.count) & (this.slots.length - 1)
    const item = this.slots[at]
    this.slots[at] = undefined
    return item
  }

  /** Takes out one item, wherever it stands, and says where that was; −1 where it does not. */
  remove(item: T): number {
    const all = [...this]
    const at = all.indexOf(item)
    if (at >= 0) this.replace(all.toSpliced(at, 1))
    return at
  }

  /** Puts an item at a place, as `remove` found it. */
  insert(at: number, item: T): void {
    this.replace([...this].toSpliced(at, 0, item))
  }

  *[Symbol.iterator](): Generator<T> {
    for (let i = 0; i < this.count; i++) yield this.slots[(this.head + i) & (this.slots.length - 1)]!
  }

  private replace(items: readonly T[]): void {
    this.slots.fill(undefined)
    this.head = 0
    this.count = 0
    for (const item of items) this.push(item)
  }

  private grow(): void {
    const { length } = this.slots
    if (this.count < length) return
    const items = [...this]
    this.slots = new Array(length * 2)
    for (const [at, item] of items.entries()) this.slots[at] = item
    this.head = 0
  }
}
