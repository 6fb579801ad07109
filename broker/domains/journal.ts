// How a turn is taken back: every change of a domain's memory leaves the step that undoes it here.
// Steps run newest first, so each finds exactly the state that its change left behind. Never kept beyond
// the turn: after the commit there is nothing to undo.

export class Journal {
  private steps: (() => void)[] = []

  /** Remembers how to undo what the caller has just done, or is about to do without failing. */
  undo(step: () => void): void {
    this.steps.push(step)
  }

  /** Where a request begins, for `rollback`. */
  mark(): number {
    return this.steps.length
  }

  /** Undoes everything since the mark. */
  rollback(mark: number): void {
    while (this.steps.length > mark) this.steps.pop()!()
  }

  /** Forgets everything: it is committed. */
  clear(): void {
    if (this.steps.length > 4_096) this.steps = []
    else this.steps.length = 0
  }

  /** Sets a map's entry, undoably. */
  set<K, V>(map: Map<K, V>, key: K, value: V): void {
    const had = map.has(key)
    const old = map.get(key)
    map.set(key, value)
    this.undo(() => {
      if (had) map.set(key, old as V)
      else map.delete(key)
    })
  }

  /** Deletes a map's entry, undoably. */
  delete<K, V>(map: Map<K, V>, key: K): void {
    if (!map.has(key)) return
    const old = map.get(key) as V
    map.delete(key)
    this.undo(() => map.set(key, old))
  }

  /** Changes some fields of an object, undoably. */
  assign<T extends object>(target: T, change: Partial<T>): void {
    const old: Partial<T> = {}
    for (const key of Object.keys(change) as (keyof T)[]) old[key] = target[key]
    Object.assign(target, change)
    this.undo(() => Object.assign(target, old))
  }
}
