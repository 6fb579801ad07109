// A real Chromium for the page: started once for a file of tests, with everything that would call out switched off.
// It watches for what must never happen (violations of the security policy, exceptions) while tests do their work.

import { existsSync, readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core"
import { CHROMIUM } from "./page-files.ts"

/** Why there can be no browser here, or null. */
export const NO_CHROMIUM = existsSync(CHROMIUM)
  ? null
  : `${CHROMIUM} is missing and could not be installed (that takes root and apt)`

export const DESKTOP = { width: 1440, height: 900 } as const
export const PHONE = { width: 390, height: 844 } as const

export function openBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  })
}

export interface TabOptions {
  readonly viewport?: { readonly width: number; readonly height: number }
  readonly colorScheme?: "light" | "dark"
  readonly ignoreHTTPSErrors?: boolean
  readonly timezoneId?: string
  /** Put into the tab's storage before the page starts, as if somebody had signed in. */
  readonly token?: string
}

/** A tab of its own, with nothing from other tabs in it. */
export interface Tab {
  readonly page: Page
  readonly context: BrowserContext
  /** Violations and exceptions so far. Tests expect none. */
  readonly problems: string[]
  /** Addresses that the page has asked for. */
  readonly asked: string[]
  close(): Promise<void>
}

export async function openTab(browser: Browser, { token, ...options }: TabOptions = {}): Promise<Tab> {
  const context = await browser.newContext({ viewport: DESKTOP, ...options })
  const page = await context.newPage()
  const problems: string[] = []
  const asked: string[] = []
  page.on("pageerror", error => problems.push(`exception: ${error.stack ?? error.message}`))
  page.on("request", request => asked.push(request.url()))
  page.on("console", message => {
    // What the network says of refused requests is expected; what the policy says never is.
    if (/Content Security Policy|Trusted ?Type/i.test(message.text()))
      problems.push(`policy: ${message.text()}`)
  })
  await page.exposeFunction("reportViolation", (text: string) => problems.push(`policy: ${text}`))
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", event => {
      const report = (globalThis as unknown as { reportViolation(text: string): void }).reportViolation
      report(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`)
    })
  })
  if (token !== undefined) {
    await page.addInitScript(secret => sessionStorage.setItem("fitz.credential", secret), token)
  }
  return { page, context, problems, asked, close: () => context.close() }
}

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8")

/** What an automated accessibility check complains about, each with the element it means; of all rules or some. */
export async function complaints(page: Page, rules: readonly string[] = []): Promise<string[]> {
  // Runs beside the page's own scripts: the policy allows no script in the page, and shall not.
  const session = await page.context().newCDPSession(page)
  const { result: known } = await session.send("Runtime.evaluate", { expression: "typeof axe" })
  if (known.value === "undefined") await session.send("Runtime.evaluate", { expression: AXE })
  const only = rules.length === 0 ? "" : `, runOnly: ${JSON.stringify(rules)}`
  const { result } = await session.send("Runtime.evaluate", {
    expression: `axe.run(document, { resultTypes: ["violations"]${only} }).then(({ violations }) =>
      violations.flatMap(({ id, nodes }) => nodes.map(({ html, any, all, none }) =>
        id + ": " + html.slice(0, 160) + " | " + ([...any, ...all, ...none][0]?.message ?? ""))))`,
    awaitPromise: true,
    returnByValue: true,
  })
  await session.detach()
  if (!Array.isArray(result.value))
    throw new Error(`the accessibility check did not run: ${JSON.stringify(result)}`)
  return result.value as string[]
}
