// A panel and the states that it can be in. Loading, empty, old, partly there, forbidden, busy, gone and broken
// look different, because a reader does something different about each of them.

import { CircleOff, CloudOff, FileQuestion, Hourglass, LockKeyhole, TriangleAlert } from "lucide-preact"
import { Component, type ComponentChildren } from "preact"
import type { Failure, FailureKind } from "../api/client.ts"
import type { View } from "../state/query.ts"
import { clock, utc } from "../text/format.ts"

interface PanelProps {
  readonly title?: ComponentChildren
  readonly end?: ComponentChildren
  readonly class?: string
  /** Up to its edges, as tables go. */
  readonly flush?: boolean
  readonly stale?: boolean
  readonly children: ComponentChildren
}

export function Panel({ title, end, flush = false, stale = false, class: extra = "", children }: PanelProps) {
  return (
    <section class={`panel ${extra}`} data-stale={stale}>
      {(title !== undefined || end !== undefined) && (
        <header>
          {title !== undefined && <h2>{title}</h2>}
          <div class="end">{end}</div>
        </header>
      )}
      <div class={flush ? "body flush" : "body"}>{children}</div>
    </section>
  )
}

interface ViewPanelProps<T> extends Omit<PanelProps, "children" | "stale"> {
  readonly view: View<T>
  readonly lines?: number
  readonly children: (data: T) => ComponentChildren
}

/** A panel whose content is an answer of the API. */
export function ViewPanel<T>({ view, lines, children, end, ...rest }: ViewPanelProps<T>) {
  const stale = view.state === "there" && view.stale
  return (
    <Panel
      {...rest}
      stale={stale}
      end={
        <>
          <AsOf view={view} />
          {end}
        </>
      }
    >
      <Shown view={view} {...(lines === undefined ? {} : { lines })}>
        {children}
      </Shown>
    </Panel>
  )
}

/** The content of an answer, or the state that stands in its place. */
export function Shown<T>({
  view,
  lines = 3,
  children,
}: {
  readonly view: View<T>
  readonly lines?: number
  readonly children: (data: T) => ComponentChildren
}) {
  if (view.state === "loading") return <Loading lines={lines} />
  if (view.state === "failed") return <Failed failure={view.failure} again={view.again} />
  return <Guard>{() => children(view.data)}</Guard>
}

/** Says how old something is that should be newer. */
export function AsOf({ view }: { readonly view: View<unknown> }) {
  if (view.state !== "there" || !view.stale) return null
  return (
    <span class="asof" title={`${utc(view.atMs)}${view.failure === null ? "" : `: ${view.failure.message}`}`}>
      <Hourglass size={13} aria-hidden="true" />
      as of {clock(view.atMs)}
    </span>
  )
}

export function Loading({ lines = 3 }: { readonly lines?: number }) {
  const widths = ["72%", "54%", "63%", "40%", "58%", "66%"]
  return (
    <div class="lines" role="status">
      <span class="said">Loading</span>
      {Array.from({ length: lines }, (_, at) => (
        <span class="skeleton" style={{ width: widths[at % widths.length]! }} />
      ))}
    </div>
  )
}

export function Empty({
  title,
  children,
}: {
  readonly title: string
  readonly children?: ComponentChildren
}) {
  return (
    <div class="state" data-kind="empty">
      <CircleOff size={22} aria-hidden="true" />
      <strong>{title}</strong>
      {children !== undefined && <p>{children}</p>}
    </div>
  )
}

const LOOKS: Readonly<Record<FailureKind, { readonly title: string; readonly icon: typeof LockKeyhole }>> = {
  unauthorized: { title: "Signed out", icon: LockKeyhole },
  forbidden: { title: "Not for this credential", icon: LockKeyhole },
  missing: { title: "Nothing is there", icon: FileQuestion },
  busy: { title: "The broker asks for patience", icon: Hourglass },
  unreachable: { title: "No answer", icon: CloudOff },
  refused: { title: "The broker refused this", icon: TriangleAlert },
  broken: { title: "This part is broken", icon: TriangleAlert },
}

export function Failed({ failure, again }: { readonly failure: Failure; readonly again?: () => void }) {
  const { kind, message, code, requestId } = failure
  const { title, icon: Icon } = LOOKS[kind]
  // Asking again changes nothing about a permission.
  const mayRetry = again !== undefined && kind !== "forbidden" && kind !== "unauthorized"
  return (
    <div class="state" data-kind={kind} role={kind === "forbidden" ? undefined : "alert"}>
      <Icon size={22} aria-hidden="true" />
      <strong>{title}</strong>
      <p>
        {kind === "forbidden"
          ? `${sentence(message)} Everything else here works as before.`
          : sentence(message)}
      </p>
      {(kind === "broken" || kind === "refused") && (
        <p class="mono">
          {code}
          {requestId !== null && ` \u00b7 request ${requestId}`}
        </p>
      )}
      {mayRetry && (
        <button type="button" class="button small" onClick={again}>
          Try again
        </button>
      )}
    </div>
  )
}

function sentence(text: string): string {
  const ended = /[.!?\u2026]$/.test(text) ? text : `${text}.`
  return `${ended[0]?.toUpperCase() ?? ""}${ended.slice(1)}`
}

/** A region that scrolls has to be reachable by keyboard, and has a name. */
export function Scrolling({
  label,
  class: extra,
  children,
}: {
  readonly label: string
  readonly class: string
  readonly children: ComponentChildren
}) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: without it the keyboard cannot scroll here
    <section class={extra} tabIndex={0} aria-label={label}>
      {children}
    </section>
  )
}

/** For what a credential lacks from the start: a fact, not an error. */
export function Lacking({
  right,
  children,
}: {
  readonly right: string
  readonly children: ComponentChildren
}) {
  return (
    <div class="state" data-kind="forbidden">
      <LockKeyhole size={22} aria-hidden="true" />
      <strong>
        Needs <code>{right}</code>
      </strong>
      <p>{children}</p>
    </div>
  )
}

/** Keeps a mistake in one panel from taking the page with it. */
class Guard extends Component<
  { readonly children: () => ComponentChildren },
  { readonly message: string | null }
> {
  override state = { message: null }

  static override getDerivedStateFromError(error: unknown) {
    return { message: error instanceof Error ? error.message : String(error) }
  }

  override render() {
    if (this.state.message === null) return <Inner>{this.props.children}</Inner>
    return (
      <div class="state" data-kind="broken" role="alert">
        <TriangleAlert size={22} aria-hidden="true" />
        <strong>This part is broken</strong>
        <p>The broker's answer is not what this page understands: {this.state.message}.</p>
        <button type="button" class="button small" onClick={() => this.setState({ message: null })}>
          Try again
        </button>
      </div>
    )
  }
}

/** A component of its own, so that what it throws is caught above it. */
function Inner({ children }: { readonly children: () => ComponentChildren }) {
  return <>{children()}</>
}
