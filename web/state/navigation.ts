// Views have addresses: what is shown stands in the path and the query, so that a link brings somebody else to
// the same place. Credentials and stored data never stand there.

import { navigate, usePathname, useSearch } from "wouter-preact/use-browser-location"
import { BASE } from "./session.ts"

/** What stands before every path of this page, without a slash at its end. */
const ROOT = new URL(BASE).pathname.replace(/\/$/, "")

/** `queue/prod/jobs`, relative to the page's root, as an address. */
export function addressTo(view: string): string {
  return `${ROOT}/${view}`
}

export function go(view: string, { replace = false }: { replace?: boolean } = {}): void {
  navigate(addressTo(view), { replace })
}

/** Where the reader is, cut at its slashes and decoded. */
export function useSegments(): readonly string[] {
  const path = usePathname()
  const rest = path.startsWith(ROOT) ? path.slice(ROOT.length) : path
  return rest
    .split("/")
    .filter(segment => segment !== "")
    .map(segment => {
      try {
        return decodeURIComponent(segment)
      } catch {
        return segment // mistyped by hand: what stands there is what is looked for
      }
    })
}

/** One parameter of the query, and how to change it without a new entry in the browser's history. */
export function useParam(name: string): readonly [string, (value: string) => void] {
  const search = new URLSearchParams(useSearch())
  const set = (value: string): void => {
    // Read anew: two changes of one moment must not undo each other.
    const next = new URLSearchParams(location.search)
    if (value === "") next.delete(name)
    else next.set(name, value)
    const query = next.toString()
    navigate(query === "" ? location.pathname : `${location.pathname}?${query}`, { replace: true })
  }
  return [search.get(name) ?? "", set]
}
