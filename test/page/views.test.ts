// Every view of the page in a real browser against a real broker with real traffic: at a desktop's and a phone's
// width, light and dark, without one complaint of an accessibility check or of the security policy, and within
// the broker's own limits on requests.

import type { Browser } from "playwright-core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type AdminBroker, mint, startAdmin } from "../kit/admin.ts"
import { complaints, DESKTOP, NO_CHROMIUM, openBrowser, openTab, PHONE } from "../kit/chromium.ts"
import { BUSY, makeTraffic, type Traffic } from "../kit/page-traffic.ts"

/** Address of a view, and a text that is only there once it has its data. */
const VIEWS: readonly (readonly [path: string, text: string | RegExp])[] = [
  ["", "Top movers"],
  ["kv", "prod"],
  ["kv?tab=transactions", "prod/catalog/prices"],
  ["kv/prod", "users"],
  ["kv/prod/users", "profiles"],
  ["kv/prod/users/profiles", "user-0"],
  ["stream", "prod"],
  ["stream/prod/ledger/payments", "payment 0"],
  ["queue", "prod"],
  ["queue/prod/jobs", "emails"],
  ["queue/prod/jobs/emails", "max attempts exceeded"],
  ["queue/prod/jobs/thumbs", "Reservations, live"],
  ["schedule", "prod"],
  ["schedule?tab=definitions", "nightly"],
  ["schedule?tab=missed", /No run was missed|By/],
  ["schedule/prod/ops/jobs", "*/15 * * * *"],
  ["notice", "prod"],
  ["notice?tab=subscriptions", "notice://prod/orders/**"],
  ["notice?tab=routes", "notice://prod/orders/eu/created"],
  ["notice/prod/orders/eu", "Routes of the realm"],
  ["rpc", "prod"],
  ["rpc?tab=workers", "rpc://prod/billing/invoices/create"],
  ["rpc?tab=pending", "No call is pending"],
  ["rpc/prod/billing/invoices", "Workers of the realm"],
  ["lease", "prod"],
  ["lease?tab=leases", "prod/leader/indexer"],
  ["lease/prod/leader/indexer", "Leases of the realm"],
  ["sessions", "watcher"],
  ["sessions/sess_1", "Connected"],
  ["dead-letters", "max attempts exceeded"],
  ["definitions", "nightly"],
  ["definitions?tab=realms", "staging"],
  ["audit", /Nobody has ordered anything|session.close/],
  ["explore", "fitz_build_info"],
  ["explore?metric=fitz_messages_received_total", "Shown as change a second."],
  ["status", "Whom it trusts"],
  ["nowhere", "There is no such view"],
]

const LOOKS = [
  ["desktop", "light", DESKTOP],
  ["phone", "dark", PHONE],
] as const

describe("every view", () => {
  let broker: AdminBroker
  let traffic: Traffic
  let browser: Browser

  beforeAll(async () => {
    if (NO_CHROMIUM !== null) return
    broker = await startAdmin({ ...BUSY, FITZ_RATE_LIMIT_ADMIN_READ: "20/s:60" })
    traffic = await makeTraffic(broker)
    browser = await openBrowser()
  })
  afterAll(async () => {
    traffic?.stop()
    await browser?.close()
    await broker?.end()
  })

  test.for(LOOKS)("at a %s's width, %s", async ([, colorScheme, viewport], ctx) => {
    if (NO_CHROMIUM !== null) return ctx.skip(NO_CHROMIUM)
    // A reader of its own: the broker limits each one for itself.
    const token = await mint({ sub: `reader ${colorScheme}`, permissions: ["admin", "data:read"] })
    const tab = await openTab(browser, { viewport, colorScheme, token })
    const found: string[] = []
    const { page } = tab
    await page.goto(`http://127.0.0.1:${broker.port}/`)
    for (const [path, text] of VIEWS) {
      const say = (complaint: string): number => found.push(`/${path}: ${complaint}`)
      await page.evaluate(address => history.pushState(null, "", address), `/${path}`)
      const shown = page.getByText(text).first().waitFor({ state: "attached", timeout: 15_000 })
      await shown.catch(() => say(`never showed ${text}`))
      for (const complaint of await complaints(page)) say(complaint)
      // Only colours depend on the theme.
      await page.emulateMedia({ colorScheme: colorScheme === "light" ? "dark" : "light" })
      for (const complaint of await complaints(page, ["color-contrast"])) say(`other theme: ${complaint}`)
      await page.emulateMedia({ colorScheme })
      const spilled = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
      if (spilled > 0) say(`${spilled} pixels wider than the window`)
    }
    expect(found).toEqual([])
    expect(tab.problems).toEqual([])
    const elsewhere = tab.asked.filter(address => new URL(address).port !== String(broker.port))
    expect(elsewhere).toEqual([])
    expect(tab.asked.some(address => address.includes(token))).toBe(false)
    await tab.close()
  })
})
