// What belongs to which client, so that it can go when the client goes. It holds references and must never
// be the only one to know of a thing.

import type { SessionId } from "./domain.ts"

export class Owners<T> {
  private readonly sets = new Map<SessionId, Set<T>>()

  add(session: SessionId, item: T): void {
    const owned = this.sets.get(session)
    if (owned === undefined) this.sets.set(session, new Set([item]))
    else owned.add(item)
  }

  remove(session: SessionId, item: T): void {
    const owned = this.sets.get(session)
    owned?.delete(item)
    if (owned?.size === 0) this.sets.delete(session)
  }

  count(session: SessionId): number {
    return this.sets.get(session)?.size ?? 0
  }

  /** A copy: whoever walks it may remove. */
  of(session: SessionId): T[] {
    return [...(this.sets.get(session) ?? [])]
  }

  /** A copy of everything. */
  all(): T[] {
    return [...this.sets.values()].flatMap(owned => [...owned])
  }
}
