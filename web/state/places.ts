// From what the API names (a route, a path of its own, a session) to the view that shows it. Pure: it follows no
// link by itself.

import { pathOf } from "../api/client.ts"
import type { SearchResult } from "../api/types.ts"
import { isDomain } from "../text/words.ts"

export interface Place {
  readonly realm: string
  readonly area: string
  readonly resource: string
}

/** `queue/prod/jobs/emails`. */
export function viewOfPlace(domain: string, { realm, area, resource }: Place): string {
  return pathOf(domain, realm, area, resource)
}

/** The view of a route like `rpc://prod/billing/invoices/create`; of its domain where it is no concrete place. */
export function viewOfRoute(route: string): string {
  const [scheme = "", rest = ""] = route.split("://", 2)
  if (!isDomain(scheme)) return ""
  const [realm, area, resource] = rest.split("/")
  const concrete = [realm, area, resource].every(
    segment => segment !== undefined && segment !== "" && !segment.includes("*"),
  )
  return concrete ? pathOf(scheme, realm!, area!, resource!) : scheme
}

/** Lists of a domain by the last word of their path in the API, and the tab that shows them. */
const TABS: Readonly<Record<string, string>> = {
  "kv/transactions": "kv?tab=transactions",
  "notice/subscriptions": "notice?tab=subscriptions",
  "notice/routes": "notice?tab=routes",
  "rpc/workers": "rpc?tab=workers",
  "rpc/pending": "rpc?tab=pending",
  "lease/leases": "lease?tab=leases",
  "schedule/schedules": "schedule?tab=definitions",
  sessions: "sessions",
}

/** The view of something that a search found: its path in the API says where it is. */
export function viewOfHref({ href, domain, title }: Pick<SearchResult, "href" | "domain" | "title">): string {
  const [path = ""] = href.replace(/^\/?(?:api\/v1\/)?(?:admin\/)?/, "").split("?", 1)
  const place = /^([a-z]+)\/realms\/([^/]+)\/areas\/([^/]+)\/resources\/([^/]+)/.exec(path)
  if (place !== null) return place.slice(1, 5).join("/")
  const session = /^sess_\d+$/.exec(title) ?? /sess_\d+/.exec(href)
  if (domain === "sessions" || path.startsWith("sessions"))
    return session === null ? "sessions" : `sessions/${session[0]}`
  const list = Object.keys(TABS).find(start => path.startsWith(start))
  if (list !== undefined) return TABS[list]!
  if (isDomain(domain)) return domain
  return title.includes("://") ? viewOfRoute(title) : ""
}
