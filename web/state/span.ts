// Long lists, a window at a time: which rows are in sight, which pages of the API hold them. Pure. A list moves
// while it is looked at; no order is promised between two pages.

export interface Span {
  /** First row that is drawn. */
  readonly from: number
  /** Behind the last one. */
  readonly to: number
}

/** Rows to draw: those in sight and some on either side, so that scrolling shows no gaps. */
export function spanOf(
  scrollTop: number,
  height: number,
  rowHeight: number,
  total: number,
  margin = 12,
): Span {
  const first = Math.floor(Math.max(0, scrollTop) / rowHeight)
  const shown = Math.ceil(height / rowHeight)
  const from = Math.max(0, Math.min(first, total - shown) - margin)
  return { from, to: Math.min(total, Math.max(from, first + shown + margin)) }
}

export const PAGE_ROWS = 200

/** Offsets of the pages that hold a span. */
export function offsetsOf({ from, to }: Span): readonly number[] {
  const first = Math.floor(from / PAGE_ROWS)
  const last = Math.max(first, Math.ceil(to / PAGE_ROWS) - 1)
  return Array.from({ length: last - first + 1 }, (_, at) => (first + at) * PAGE_ROWS)
}
