// A list of the API as far as it is in sight. Only the pages that hold those rows are asked for, and while others
// come the list is as long as it was.

import { useRef } from "preact/hooks"
import type { Params } from "../api/client.ts"
import { LIST_EVERY_MS, useApis, type View } from "./query.ts"
import { offsetsOf, PAGE_ROWS, type Span } from "./span.ts"

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
