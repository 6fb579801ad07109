// The search that is one keystroke away: finds by id, route or session through the API's own search, and the
// views of this page by name. Typing, arrows, Enter; nothing here needs a mouse.

import { CornerDownLeft, Search as Glass } from "lucide-preact"
import { useEffect, useId, useRef, useState } from "preact/hooks"
import type { SearchAnswer, SearchResult } from "../api/types.ts"
import { go } from "../state/navigation.ts"
import { viewOfHref } from "../state/places.ts"
import { useApi } from "../state/query.ts"
import { Store, useStore } from "../state/store.ts"
import { VIEWS } from "../state/views.ts"
import { counted } from "../text/format.ts"
import { Tag } from "./figures.tsx"

const open = new Store(false)

export function openSearch(): void {
  open.set(true)
}

export function SearchDialog() {
  return useStore(open) ? <Palette onClose={() => open.set(false)} /> : null
}

interface Option {
  readonly key: string
  readonly title: string
  readonly summary: string
  readonly tag: string
  readonly to: string
}

function optionOf(result: SearchResult, at: number): Option {
  const { domain, kind, title, summary } = result
  return {
    key: `${at}-${title}`,
    title,
    summary,
    tag: tagOf(domain, kind),
    to: viewOfHref(result),
  }
}

function tagOf(domain: string, kind: string): string {
  const spoken = kind.replaceAll("_", " ")
  return domain === "sessions" || domain === kind ? spoken : `${domain} ${spoken}`
}

const PAUSE_MS = 120
const SHOWN = 40

function Palette({ onClose }: { readonly onClose: () => void }) {
  const element = useRef<HTMLDialogElement>(null)
  const list = useRef<HTMLDivElement>(null)
  const [text, setText] = useState("")
  const [asked, setAsked] = useState("")
  const [at, setAt] = useState(0)
  const id = useId()
  useEffect(() => {
    const before = document.activeElement
    const dialog = element.current!
    dialog.showModal()
    return () => {
      dialog.close()
      if (before instanceof HTMLElement) before.focus()
    }
  }, [])
  useEffect(() => {
    const timer = setTimeout(() => setAsked(text.trim()), PAUSE_MS)
    return () => clearTimeout(timer)
  }, [text])
  const answer = useApi<SearchAnswer>(asked === "" ? null : "search", {
    params: { q: asked, limit: SHOWN },
    everyMs: 30_000,
    keep: true,
  })
  const wanted = text.trim().toLowerCase()
  const views = VIEWS.filter(({ name }) => name.toLowerCase().includes(wanted)).map(
    ({ name, to, about }): Option => ({ key: to, title: name, summary: about, tag: "view", to }),
  )
  const found = asked === "" || answer.state !== "there" ? [] : answer.data.results.map(optionOf)
  const options = [...(wanted === "" ? views : views.slice(0, 3)), ...found]
  const chosen = Math.min(at, Math.max(0, options.length - 1))
  const follow = (option: Option | undefined): void => {
    if (option === undefined) return
    onClose()
    go(option.to)
  }
  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" })
  }, [chosen])
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the key for leaving is Escape, and the browser has it
    <dialog
      class="palette"
      ref={element}
      aria-label="Search"
      onCancel={event => {
        event.preventDefault()
        onClose()
      }}
      onClick={event => {
        if (event.target === element.current) onClose()
      }}
    >
      <div class="ask">
        <Glass size={18} aria-hidden="true" />
        <input
          type="text"
          role="combobox"
          aria-expanded="true"
          aria-controls={id}
          aria-activedescendant={options.length === 0 ? undefined : `${id}-${chosen}`}
          aria-label="Search by id, route, session or view"
          placeholder="An id, a route, a session, a view\u2026"
          autocomplete="off"
          spellcheck={false}
          value={text}
          onInput={event => {
            setText(event.currentTarget.value)
            setAt(0)
          }}
          onKeyDown={event => {
            const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0
            if (step !== 0) {
              event.preventDefault()
              setAt(options.length === 0 ? 0 : (chosen + step + options.length) % options.length)
            } else if (event.key === "Enter") {
              event.preventDefault()
              follow(options[chosen])
            }
          }}
        />
      </div>
      <div class="found" role="listbox" id={id} aria-label="Found" ref={list}>
        {options.map((option, index) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the field above has the keys
          <div
            role="option"
            id={`${id}-${index}`}
            key={option.key}
            tabIndex={-1}
            aria-selected={index === chosen}
            onMouseMove={() => setAt(index)}
            onClick={() => follow(option)}
          >
            <span class="what">
              <span class="strong">{option.title}</span>
              <span class="dim">{option.summary}</span>
            </span>
            <Tag>{option.tag}</Tag>
            {index === chosen && <CornerDownLeft size={14} aria-hidden="true" />}
          </div>
        ))}
      </div>
      <div class="keys" role="status">
        {asked !== "" && answer.state === "failed" ? (
          <span>
            {answer.failure.kind === "forbidden"
              ? "Search needs admin:read."
              : `Search failed: ${answer.failure.message}`}
          </span>
        ) : asked !== "" && answer.state === "there" ? (
          <span>
            {answer.data.total === 0
              ? "Nothing found in this process"
              : counted(answer.data.total, "match", "matches")}
            {answer.data.truncated ? ", the first of more" : ""}
          </span>
        ) : (
          <span>
            <kbd>{"\u2191"}</kbd> <kbd>{"\u2193"}</kbd> choose, <kbd>Enter</kbd> go, <kbd>Esc</kbd> close
          </span>
        )}
      </div>
    </dialog>
  )
}
