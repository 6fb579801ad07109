// The frame around every view: where the reader can go, where they are, whether what they see is fresh, and who
// they are signed in as.

import { LogOut, Menu, Monitor, Moon, RefreshCw, Search, Sun } from "lucide-preact"
import type { ComponentChildren } from "preact"
import { useEffect, useRef, useState } from "preact/hooks"
import { expiryOf } from "../api/credential.ts"
import icon from "../icons/fitz.svg"
import { SignInForm } from "../pages/sign-in.tsx"
import { useNow } from "../state/clock.ts"
import { forgetHistory, useHistory, useSampling, useStats } from "../state/live.ts"
import { go, useSegments } from "../state/navigation.ts"
import { queries, refreshAll, useApi } from "../state/query.ts"
import { type Phase, session, type WhoAmI } from "../state/session.ts"
import { useStore } from "../state/store.ts"
import { chosenTheme, nextTheme } from "../state/theme.ts"
import { VIEWS } from "../state/views.ts"
import { age, clock, compact } from "../text/format.ts"
import { DOMAINS, LIFETIME_WORDS, type Lifetime, WORDS } from "../text/words.ts"
import { BulkDialogs } from "./dead-letters.tsx"
import { CommandDialogs, Dialog } from "./dialog.tsx"
import { DOMAIN_ICONS, VIEW_ICONS } from "./icons.ts"
import { Link } from "./link.tsx"
import { openSearch, SearchDialog } from "./search.tsx"

type SignedIn = Extract<Phase, { kind: "signed-in" }>

export function signOut(why: string | null = null): void {
  session.signOut(why)
  queries.clear()
  forgetHistory()
}

export function Shell({
  phase,
  children,
}: {
  readonly phase: SignedIn
  readonly children: ComponentChildren
}) {
  useSampling()
  useWho()
  const [open, setOpen] = useState(false)
  const [help, setHelp] = useState(false)
  const [renewing, setRenewing] = useState(false)
  const main = useRef<HTMLElement>(null)
  const segments = useSegments()
  const where = segments.join("/")
  useEffect(() => {
    setOpen(false)
    main.current?.focus({ preventScroll: true })
    window.scrollTo(0, 0)
    document.title = segments.length === 0 ? "Fitz" : `${titleOf(segments)} \u00b7 Fitz`
  }, [where])
  useKeys(() => setHelp(true))
  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <div class="frame">
        <Side open={open} here={segments[0] ?? ""} />
        <button type="button" class="veil" aria-label="Close the menu" onClick={() => setOpen(false)} />
        <div class="column">
          <div class="top">
            <button
              type="button"
              class="button plain icon burger"
              aria-label="Menu"
              aria-expanded={open}
              onClick={() => setOpen(!open)}
            >
              <Menu size={18} aria-hidden="true" />
            </button>
            <Crumbs segments={segments} />
            <button
              type="button"
              class="button searcher"
              onClick={openSearch}
              aria-label="Search, key slash"
              aria-keyshortcuts="/"
            >
              <Search size={15} aria-hidden="true" />
              <span>Search</span>
              <kbd>/</kbd>
            </button>
            <Freshness />
            <ThemeButton />
            <Account phase={phase} />
          </div>
          <Banners phase={phase} onRenew={() => setRenewing(true)} />
          <main class="main" ref={main} tabIndex={-1}>
            {children}
          </main>
        </div>
      </div>
      <SearchDialog />
      <CommandDialogs />
      <BulkDialogs />
      {help && <Help onClose={() => setHelp(false)} />}
      {renewing && (
        <Dialog title="Go on with a new credential" onClose={() => setRenewing(false)}>
          <SignInForm onDone={() => setRenewing(false)} />
        </Dialog>
      )}
    </>
  )
}

/** What the credential may do can change while the page is open. */
function useWho(): void {
  const view = useApi<WhoAmI>("session", { everyMs: WHO_EVERY_MS })
  const who = view.state === "there" ? view.data : null
  useEffect(() => {
    if (who !== null) session.know(who)
  }, [who])
}

const WHO_EVERY_MS = 60_000

function titleOf(segments: readonly string[]): string {
  const view = VIEWS.find(({ to }) => to === segments[0])
  return [view?.name ?? segments[0], ...segments.slice(1)].join(" / ")
}

function Crumbs({ segments }: { readonly segments: readonly string[] }) {
  const view = VIEWS.find(({ to }) => to === (segments[0] ?? ""))
  const steps = [view?.name ?? segments[0] ?? "", ...segments.slice(1)]
  return (
    <nav class="crumbs" aria-label="Where you are">
      {steps.map((step, at) => {
        const last = at === steps.length - 1
        const to = segments
          .slice(0, at + 1)
          .map(encodeURIComponent)
          .join("/")
        return (
          <>
            {at > 0 && <span aria-hidden="true">/</span>}
            {last ? <span aria-current="page">{step}</span> : <Link to={to}>{step}</Link>}
          </>
        )
      })}
    </nav>
  )
}

function Side({ open, here }: { readonly open: boolean; readonly here: string }) {
  const stats = useStats()
  const { latest } = useHistory()
  const dead = latest?.dead ?? null
  const sessions = stats.state === "there" ? stats.data.broker.sessions : null
  const lanes: readonly Lifetime[] = ["durable", "live"]
  return (
    <nav class="side" data-open={open} aria-label="Views">
      <Link to="" class="brand">
        <img src={icon} alt="" /> Fitz
      </Link>
      <Item to="" name="Overview" here={here} icon={VIEW_ICONS.overview} />
      {lanes.map(lane => (
        <>
          <h2 class="tone" data-lifetime={lane} title={LIFETIME_WORDS[lane]}>
            <i style={{ background: `var(--${lane})` }} aria-hidden="true" />
            {lane === "durable" ? "Durable" : "Live"}
          </h2>
          {DOMAINS.filter(domain => WORDS[domain].lane === lane).map(domain => {
            const rate = latest?.operations[domain] ?? null
            return (
              <Item to={domain} name={WORDS[domain].name} here={here} icon={DOMAIN_ICONS[domain]}>
                {rate !== null && rate > 0 && (
                  <span class="count" title="operations a second">
                    {compact(rate)}
                    <span class="said"> operations a second</span>
                  </span>
                )}
              </Item>
            )
          })}
        </>
      ))}
      <h2>Broker</h2>
      <Item to="sessions" name="Sessions" here={here} icon={VIEW_ICONS.sessions}>
        {sessions !== null && <span class="count">{compact(sessions)}</span>}
      </Item>
      <Item to="dead-letters" name="Dead letters" here={here} icon={VIEW_ICONS.deadLetters}>
        {dead !== null && dead > 0 && <span class="count alarm">{compact(dead)}</span>}
      </Item>
      <Item to="definitions" name="Definitions" here={here} icon={VIEW_ICONS.definitions} />
      <Item to="audit" name="Audit" here={here} icon={VIEW_ICONS.audit} />
      <Item to="explore" name="Metrics" here={here} icon={VIEW_ICONS.explore} />
      <Item to="status" name="Status" here={here} icon={VIEW_ICONS.status} />
    </nav>
  )
}

interface ItemProps {
  readonly to: string
  readonly name: string
  readonly here: string
  readonly icon: typeof Menu
  readonly children?: ComponentChildren
}

function Item({ to, name, here, icon: Icon, children }: ItemProps) {
  return (
    <Link to={to} class="item" aria-current={here === to ? "page" : undefined}>
      <Icon size={16} aria-hidden="true" />
      {name}
      {children}
    </Link>
  )
}

/** Below this an answer that fails is a hiccup. */
const HICCUP_MS = 3_000

function Freshness() {
  const { lastContactMs, silentSinceMs } = useStore(session.link)
  const nowMs = useNow()
  const silent = silentSinceMs !== null && nowMs - silentSinceMs > HICCUP_MS
  const title = lastContactMs === null ? "not asked yet" : `last answer ${clock(lastContactMs)}`
  return (
    <button
      type="button"
      class="button plain small"
      title={`${title}; press to ask anew`}
      onClick={refreshAll}
    >
      {silent ? (
        <RefreshCw size={13} aria-hidden="true" />
      ) : (
        <span class="dot" data-level="good" aria-hidden="true" />
      )}
      <span class="wide" data-link={silent ? "silent" : "fresh"}>
        {silent ? "No answer" : "Fresh"}
      </span>
      <span class="said">Ask the broker anew</span>
    </button>
  )
}

function ThemeButton() {
  const theme = useStore(chosenTheme)
  const Icon = theme === "light" ? Sun : theme === "dark" ? Moon : Monitor
  const name = theme === "system" ? "as the system" : theme
  return (
    <button
      type="button"
      class="button plain icon"
      aria-label={`Colours: ${name}. Change`}
      title={`Colours: ${name}`}
      onClick={nextTheme}
    >
      <Icon size={17} aria-hidden="true" />
    </button>
  )
}

function Account({ phase }: { readonly phase: SignedIn }) {
  const { who, credential } = phase
  const name = who?.user ?? credential?.subject ?? (credential === null ? "everybody" : "API key")
  if (credential === null) {
    return (
      <span class="tag" data-level="watch" title="FITZ_ADMIN_AUTH_MODE=open">
        open to everybody
      </span>
    )
  }
  return (
    <button
      type="button"
      class="button plain small"
      title={`Signed in as ${name}`}
      aria-label={`Sign out ${name}`}
      onClick={() => signOut()}
    >
      <span class="wide">{name}</span>
      <LogOut size={15} aria-hidden="true" />
    </button>
  )
}

function Banners({ phase, onRenew }: { readonly phase: SignedIn; readonly onRenew: () => void }) {
  const nowMs = useNow()
  const { lastContactMs, silentSinceMs } = useStore(session.link)
  const { restartedAtMs } = useHistory()
  const [dismissedMs, setDismissed] = useState<number | null>(null)
  const expiresAtMs = phase.credential?.expiresAtMs ?? null
  const expiry = expiryOf(expiresAtMs, nowMs)
  useEffect(() => {
    if (expiry === "over") signOut("The token has expired. What was on the page is gone from this tab.")
  }, [expiry])
  const silent = silentSinceMs !== null && nowMs - silentSinceMs > HICCUP_MS
  return (
    <div role="status">
      {silent && (
        <div class="banner" data-level="bad">
          The broker has not answered for {age((nowMs - silentSinceMs) / 1_000)}.
          {lastContactMs !== null && ` What you see is from ${clock(lastContactMs)}.`}
          <button type="button" class="button small" onClick={refreshAll}>
            Ask now
          </button>
        </div>
      )}
      {expiry === "soon" && expiresAtMs !== null && (
        <div class="banner">
          This token expires in {age((expiresAtMs - nowMs) / 1_000)}, at {clock(expiresAtMs)}.
          <button type="button" class="button small" onClick={onRenew}>
            Paste a new one
          </button>
        </div>
      )}
      {!silent && restartedAtMs !== null && restartedAtMs !== dismissedMs && (
        <div class="banner">
          The broker was restarted at {clock(restartedAtMs)}. Live state and counters began anew; durable
          state was read from the store.
          <button type="button" class="button small" onClick={() => setDismissed(restartedAtMs)}>
            Understood
          </button>
        </div>
      )}
    </div>
  )
}

/** How long `g` waits for its second key. */
const CHORD_MS = 1_200

function useKeys(help: () => void): void {
  useEffect(() => {
    let begunMs = 0
    const listen = (event: KeyboardEvent): void => {
      const { target } = event
      const typing =
        target instanceof HTMLElement &&
        (target.isContentEditable || /^(?:INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
      const palette = event.key === "k" && (event.metaKey || event.ctrlKey)
      if (document.querySelector("dialog[open]") !== null || (typing && !palette)) return
      if (palette || (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey)) {
        event.preventDefault()
        openSearch()
        return
      }
      if (event.ctrlKey || event.metaKey || event.altKey) return
      if (event.key === "?") help()
      else if (event.key === "g") begunMs = event.timeStamp
      else if (begunMs > 0 && event.timeStamp - begunMs < CHORD_MS) {
        begunMs = 0
        const view = VIEWS.find(({ key }) => key === event.key)
        if (view !== undefined) go(view.to)
      }
    }
    document.addEventListener("keydown", listen)
    return () => document.removeEventListener("keydown", listen)
  }, [])
}

function Help({ onClose }: { readonly onClose: () => void }) {
  return (
    <Dialog
      title="Keys"
      onClose={onClose}
      footer={
        <button type="button" class="button main-one" onClick={onClose}>
          Close
        </button>
      }
    >
      <dl class="facts">
        <dt>
          <kbd>/</kbd> or <kbd>Ctrl</kbd> <kbd>K</kbd>
        </dt>
        <dd>search</dd>
        <dt>
          <kbd>?</kbd>
        </dt>
        <dd>these keys</dd>
        {VIEWS.map(({ key, name }) => (
          <>
            <dt>
              <kbd>g</kbd> <kbd>{key}</kbd>
            </dt>
            <dd>{name}</dd>
          </>
        ))}
      </dl>
    </Dialog>
  )
}
