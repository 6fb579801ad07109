// A value that many parts of the page look at: it is set in one place and whoever shows it follows. Nothing else
// of the page keeps state outside of components and queries.

import { useSyncExternalStore } from "preact/compat"

export class Store<T> {
  private current: T
  private readonly listeners = new Set<() => void>()

  constructor(initial: T) {
    this.current = initial
  }

  readonly get = (): T => this.current

  set(value: T): void {
    if (Object.is(value, this.current)) return
    this.current = value
    for (const listener of this.listeners) listener()
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }
}

export function useStore<T>(store: Store<T>): T {
  return useSyncExternalStore(store.subscribe, store.get)
}
