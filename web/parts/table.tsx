// Tables that stay smooth with ten thousand rows: only rows in sight are in the document, and of a list only the
// pages in sight are asked for. A real table, so that it reads as one.

import type { ComponentChildren } from "preact"
import { useLayoutEffect, useRef, useState } from "preact/hooks"
import type { Params } from "../api/client.ts"
import { useList } from "../state/list.ts"
import { type Span, spanOf } from "../state/span.ts"
import { exact } from "../text/format.ts"
import { AsOf, Empty, Failed, Loading } from "./panel.tsx"

export interface Column<Row> {
  readonly title: string
  readonly cell: (row: Row) => ComponentChildren
  /** CSS width; absent: shares what is left. */
  readonly width?: string
  readonly number?: boolean
  /** Left out where there is little room. */
  readonly wide?: boolean
  /** Rows that are all here can be ordered by it. */
  readonly order?: (row: Row) => number | string
  /** The column of buttons. */
  readonly act?: boolean
  /** The column of boxes to choose rows with. */
  readonly pick?: boolean
}

const ROW_PX = 36
const HEAD_PX = 34

interface GridProps<Row> {
  readonly label: string
  readonly columns: readonly Column<Row>[]
  readonly total: number
  readonly row: (index: number) => Row | undefined
  readonly keyOf: (row: Row) => string | number
  readonly onSpan: (span: Span) => void
  readonly span: Span
  readonly head?: (column: Column<Row>, at: number) => ComponentChildren
  readonly sorted?: { readonly at: number; readonly down: boolean } | null
}

function Grid<Row>({ label, columns, total, row, keyOf, onSpan, span, head, sorted }: GridProps<Row>) {
  const box = useRef<HTMLDivElement>(null)
  const look = (): void => {
    const { scrollTop, clientHeight } = box.current!
    const next = spanOf(scrollTop, Math.max(clientHeight - HEAD_PX, ROW_PX), ROW_PX, total)
    if (next.from !== span.from || next.to !== span.to) onSpan(next)
  }
  useLayoutEffect(look, [total, span])
  useLayoutEffect(() => {
    const watcher = new ResizeObserver(look)
    watcher.observe(box.current!)
    return () => watcher.disconnect()
  }, [total, span])
  const to = Math.min(span.to, total)
  const from = Math.min(span.from, to)
  const classOf = ({ number, wide, act, pick }: Column<Row>): string =>
    [number && "number", wide && "wide", act && "act", pick && "pick"].filter(Boolean).join(" ")
  return (
    <section
      class="scroll"
      ref={box}
      onScroll={look}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard
      tabIndex={0}
      aria-label={`${label}, ${exact(total)} rows`}
    >
      <table aria-rowcount={total + 1} aria-label={label} style={widths(columns)}>
        <thead>
          <tr aria-rowindex={1}>
            {columns.map((column, at) => (
              <th
                scope="col"
                class={classOf(column)}
                style={column.width === undefined ? {} : { width: column.width }}
                {...(sorted?.at === at
                  ? { "aria-sort": sorted.down ? ("descending" as const) : ("ascending" as const) }
                  : {})}
              >
                {column.act === true || column.pick === true ? (
                  <span class="said">{column.title}</span>
                ) : (
                  (head?.(column, at) ?? column.title)
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {from > 0 && <Space key="above" rows={from} />}
          {Array.from({ length: to - from }, (_, at) => {
            const index = from + at
            const one = row(index)
            return (
              <tr key={one === undefined ? `gap-${index}` : keyOf(one)} aria-rowindex={index + 2}>
                {columns.map(column => (
                  <td class={classOf(column)}>
                    {one === undefined ? <span class="skeleton" /> : column.cell(one)}
                  </td>
                ))}
              </tr>
            )
          })}
          {to < total && <Space key="below" rows={total - to} />}
        </tbody>
      </table>
    </section>
  )
}

/** What a column needs that has no width of its own. */
const FREE_PX = 170

/** How wide a table has to be at least, with and without the columns that small screens leave out. */
function widths<Row>(columns: readonly Column<Row>[]): Record<string, string> {
  const sum = (some: readonly Column<Row>[]): string =>
    `${some.reduce((all, { width }) => all + (width === undefined ? FREE_PX : Number.parseInt(width, 10)), 0)}px`
  return { "--full": sum(columns), "--narrow": sum(columns.filter(({ wide }) => wide !== true)) }
}

function Space({ rows }: { readonly rows: number }) {
  return (
    // biome-ignore lint/a11y/noAriaHiddenOnFocusable: a row without content takes no focus
    <tr class="space" aria-hidden="true" style={{ height: `${rows * ROW_PX}px` }}>
      <td />
    </tr>
  )
}

const FIRST_SPAN: Span = { from: 0, to: 40 }

interface RowsTableProps<Row> {
  readonly label: string
  readonly columns: readonly Column<Row>[]
  readonly rows: readonly Row[]
  readonly keyOf: (row: Row) => string | number
  readonly empty: ComponentChildren
}

/** Rows that are all here: they can be ordered by their columns. */
export function RowsTable<Row>({ label, columns, rows, keyOf, empty }: RowsTableProps<Row>) {
  const [span, setSpan] = useState(FIRST_SPAN)
  const [sorted, setSorted] = useState<{ readonly at: number; readonly down: boolean } | null>(null)
  if (rows.length === 0) return <>{empty}</>
  const order = sorted === null ? undefined : columns[sorted.at]?.order
  const shown =
    order === undefined
      ? rows
      : rows.toSorted((a, b) => {
          const [left, right] = [order(a), order(b)]
          const difference = left < right ? -1 : left > right ? 1 : 0
          return sorted!.down ? -difference : difference
        })
  return (
    <Grid
      label={label}
      columns={columns}
      total={shown.length}
      row={index => shown[index]}
      keyOf={keyOf}
      span={span}
      onSpan={setSpan}
      sorted={sorted}
      head={(column, at) =>
        column.order === undefined ? (
          column.title
        ) : (
          <button
            type="button"
            onClick={() =>
              setSorted(sorted?.at === at ? (sorted.down ? { at, down: false } : null) : { at, down: true })
            }
          >
            {column.title}
            <span aria-hidden="true">{sorted?.at === at ? (sorted.down ? "\u2193" : "\u2191") : ""}</span>
          </button>
        )
      }
    />
  )
}

interface ListTableProps<Row> {
  readonly label: string
  readonly columns: readonly Column<Row>[]
  readonly path: string
  readonly params?: Params
  readonly read: (body: Record<string, readonly Row[]>) => readonly Row[]
  readonly keyOf: (row: Row) => string | number
  readonly empty: ComponentChildren
  readonly everyMs?: number
}

/** A list of the API, in the API's order, a window of it at a time. */
export function ListTable<Row>({
  label,
  columns,
  path,
  params = {},
  read,
  keyOf,
  empty,
  everyMs,
}: ListTableProps<Row>) {
  const [span, setSpan] = useState(FIRST_SPAN)
  const list = useList(path, params, read, span, everyMs)
  const { view } = list
  if (view.state === "loading") {
    return (
      <div class="body">
        <Loading lines={5} />
      </div>
    )
  }
  if (view.state === "failed") return <Failed failure={view.failure} again={view.again} />
  if (list.total === 0 && view.data.length === 0) return <>{empty ?? <Empty title="Empty" />}</>
  return (
    <div class="aging" data-stale={view.stale}>
      <Grid
        label={label}
        columns={columns}
        total={Math.max(list.total, view.data.length)}
        row={index => list.row(index)}
        keyOf={keyOf}
        span={span}
        onSpan={setSpan}
      />
      <p class="tablefoot" hidden={!view.stale}>
        <AsOf view={view} />
      </p>
    </div>
  )
}
