// Long lists, a window at a time: which rows are in sight, which pages of the API hold them. Pure but for the
// hook at the end. A list moves while it is looked at; no order is promised between two pages.

import { useRef } from "preact/hooks"
import type { Params } from "../api/client.ts"
import { LIST_EVERY_MS, useApis, type View } from "./query.ts"

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

export interface ListPages<Row> {
  /** The state of the list as a whole. */
  readonly view: View<readonly Row[]>
  readonly total: number
  /** Undefined: not here yet. */
  row(index: number): Row | undefined
}

/** The pages of a list that hold the span. */
export function useList<Row>(
  path: string,
  params: Params,
  read: (body: Record<string, readonly Row[]>) => readonly Row[],
  span: Span,
  everyMs = LIST_EVERY_MS,
): ListPages<Row> {
  const offsets = offsetsOf(span)
  const views = useApis<Record<string, readonly Row[]>>(
    offsets.map(offset => ({ path, options: { params: { ...params, limit: PAGE_ROWS, offset }, everyMs } })),
  )
  const failed = views.find(view => view.state === "failed")
  const there = views.find(view => view.state === "there")
  // While the reader scrolls on to rows that are not here yet, the list is as long as it was.
  const known = useRef<{
    readonly path: string
    readonly view: View<readonly Row[]>
    readonly total: number
  } | null>(null)
  const key = JSON.stringify([path, params])
  if (there?.state === "there") {
    const stale = views.some(view => view.state === "there" && view.stale)
    known.current = { path: key, view: { ...there, data: read(there.data), stale }, total: there.total ?? 0 }
  } else if (known.current?.path !== key) {
    known.current = null
  }
  return {
    view: failed ?? known.current?.view ?? { state: "loading" },
    total: known.current?.total ?? 0,
    row(index) {
      const page = views[Math.floor(index / PAGE_ROWS) - offsets[0]! / PAGE_ROWS]
      return page?.state === "there" ? read(page.data)[index % PAGE_ROWS] : undefined
    },
  }
}
