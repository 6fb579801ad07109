// The views of the page: their names, addresses and keys. Who shows them is web/app.tsx; a view that is missing
// there is not one.

import { DOMAINS, WORDS } from "../text/words.ts"

export interface ViewEntry {
  readonly name: string
  /** Relative to the page's root. */
  readonly to: string
  readonly about: string
  /** Pressed after `g`. */
  readonly key: string
}

const DOMAIN_KEYS = {
  kv: "k",
  stream: "s",
  queue: "q",
  schedule: "c",
  notice: "n",
  rpc: "r",
  lease: "l",
} as const

export const VIEWS: readonly ViewEntry[] = [
  { name: "Overview", to: "", about: "How the broker is, and what moves", key: "o" },
  ...DOMAINS.map(domain => ({
    name: WORDS[domain].name,
    to: domain,
    about: WORDS[domain].about.split(". ")[0]!.replace(/\.$/, ""),
    key: DOMAIN_KEYS[domain],
  })),
  { name: "Sessions", to: "sessions", about: "Who is connected", key: "p" },
  { name: "Dead letters", to: "dead-letters", about: "Messages that nobody could handle", key: "d" },
  { name: "Definitions", to: "definitions", about: "Realms, and schedules with their next runs", key: "f" },
  { name: "Audit", to: "audit", about: "Who ordered what", key: "a" },
  { name: "Metrics", to: "explore", about: "Every figure the broker counts", key: "m" },
  { name: "Status", to: "status", about: "Probes, trouble, trust, draining", key: "h" },
]
