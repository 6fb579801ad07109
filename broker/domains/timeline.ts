// What lately happened in a domain, for the page that asks "what changed?". A ring of fixed length in memory:
// it is no history, and nothing is decided by it.

import type { Millis } from "./domain.ts"
import type { EventKind, PlaceAsk, TimelineEvent } from "./views/common.ts"

interface Entry {
  readonly kind: EventKind
  readonly atMs: Millis
  readonly family: number
  readonly segments: readonly string[]
  readonly what: string
  readonly detail: number | string | null
}

const KEPT = 2_048

export class Timeline {
  private readonly ring: Entry[] = []
  private next = 0

  /**
   * @param segments those of the route; only the first three count
   * @param what the summary, in which `#` stands for the detail: it is put together when somebody looks
   */
  note(
    kind: EventKind,
    atMs: Millis,
    family: number,
    segments: readonly string[],
    what: string,
    detail: number | string | null = null,
  ): void {
    this.ring[this.next] = { kind, atMs, family, segments, what, detail }
    this.next = (this.next + 1) % KEPT
  }

  /** The newest events of a resource, newest first. */
  of(place: PlaceAsk, limit: number): TimelineEvent[] {
    const found: TimelineEvent[] = []
    for (let back = 1; back <= this.ring.length && found.length < limit; back++) {
      const entry = this.ring[(this.next - back + KEPT) % KEPT]
      if (entry === undefined) break
      if (
        (entry.segments[0] ?? "") === place.realm &&
        (entry.segments[1] ?? "") === place.area &&
        (entry.segments[2] ?? "") === place.resource &&
        (place.family === null || entry.family === place.family)
      ) {
        const { kind, atMs, family, what, detail } = entry
        found.push({ kind, atMs, family, summary: what.replace("#", String(detail)) })
      }
    }
    return found
  }
}
