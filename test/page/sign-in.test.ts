// Signing in to the page, in a real browser against a real broker: tokens and keys, what a credential may not do,
// its end, and that it is nowhere but in this tab.

import { createHash, randomBytes } from "node:crypto"
import { renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Browser, Page } from "playwright-core"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { type AdminBroker, mint, startAdmin } from "../kit/admin.ts"
import { complaints, NO_CHROMIUM, openBrowser, openTab, type Tab, type TabOptions } from "../kit/chromium.ts"
import { newFolder, removeFolder } from "../kit/process.ts"

describe("signing in", () => {
  let broker: AdminBroker
  let browser: Browser
  let tab: Tab
  const folder = newFolder()
  const keysFile = join(folder, "keys.json")
  const key = randomBytes(24).toString("base64url")

  const writeKeys = (permissions: readonly string[] | null): void => {
    const sha256 = createHash("sha256").update(key).digest("hex")
    writeFileSync(
      `${keysFile}.new`,
      JSON.stringify(permissions === null ? [] : [{ id: "desk", sha256, permissions }]),
    )
    renameSync(`${keysFile}.new`, keysFile)
  }

  beforeEach(ctx => {
    if (NO_CHROMIUM !== null) ctx.skip(NO_CHROMIUM)
  })
  beforeAll(async () => {
    if (NO_CHROMIUM !== null) return
    writeKeys(["admin:read"])
    broker = await startAdmin({ FITZ_STORAGE_MODE: "memory", FITZ_API_KEYS_FILE: keysFile })
    browser = await openBrowser()
  })
  afterAll(async () => {
    await browser?.close()
    await broker?.end()
    removeFolder(folder)
  })
  afterEach(async () => {
    expect(tab?.problems ?? []).toEqual([])
    await tab?.close()
  })

  const at = (path: string): string => `http://127.0.0.1:${broker.port}/${path}`
  const open = async (path: string, options: TabOptions = {}): Promise<Page> => {
    tab = await openTab(browser, options)
    await tab.page.goto(at(path))
    return tab.page
  }
  const paste = async (page: Page, credential: string): Promise<void> => {
    await page.getByLabel("Token or API key").fill(credential)
    await page.getByRole("button", { name: "Sign in" }).click()
  }

  test("a token lets in, to the view that was asked for, and is in no address and no lasting storage", async () => {
    const page = await open("queue?realm=prod")
    expect(await complaints(page)).toEqual([])
    await paste(page, `Bearer ${broker.token}\n`)
    await page.getByRole("heading", { level: 1, name: /Queue/ }).waitFor()
    expect(page.url()).toBe(at("queue?realm=prod"))
    expect(tab.asked.filter(address => address.includes(broker.token))).toEqual([])
    const kept = await page.evaluate(() => [JSON.stringify({ ...localStorage }), document.cookie])
    expect(kept).toEqual(["{}", ""])
    expect(await page.content()).not.toContain(broker.token)
    await page.reload()
    await page.getByRole("heading", { level: 1, name: /Queue/ }).waitFor()
    const other = await tab.context.newPage()
    await other.goto(at(""))
    await other.getByText("See this broker").waitFor()
    await page.getByRole("button", { name: /Sign out/ }).click()
    await page.getByText("See this broker").waitFor()
    expect(await page.evaluate(() => sessionStorage.length)).toBe(0)
  })

  test("by keyboard alone: paste, Enter, and the page is there", async () => {
    const page = await open("")
    await page.getByLabel("Token or API key").waitFor()
    await page.keyboard.insertText(broker.token)
    await page.keyboard.press("Enter")
    await page.getByText("What flows where").waitFor()
  })

  test("what is no credential, an expired one and a wrong one are told apart before anything is shown", async () => {
    const page = await open("")
    await paste(page, "t\u00f6ken")
    await page.getByText("This is neither a token nor an API key.").waitFor()
    await paste(page, await mint({ permissions: ["admin"], expiresInSeconds: -5 }))
    await page.getByText("This token has expired.").waitFor()
    await paste(page, await mint({ permissions: ["admin"], secret: "another-secret-of-32-characters-xx" }))
    await page.getByText("The broker does not accept this credential.").waitFor()
    expect(await complaints(page)).toEqual([])
    expect(await page.evaluate(() => sessionStorage.length)).toBe(0)
  })

  test("an API key works, what it may not do is shown as such, and its withdrawal signs out", async () => {
    const page = await open("dead-letters")
    await paste(page, key)
    await page.getByRole("heading", { level: 1, name: /Dead letters/ }).waitFor()
    await page.goto(at("status"))
    const drain = page.getByRole("button", { name: "Drain broker" })
    await drain.waitFor()
    expect(await drain.getAttribute("aria-disabled")).toBe("true")
    expect(await drain.getAttribute("title")).toBe("needs admin:write")
    await page.goto(at("kv/prod/a/b"))
    await page.getByText("Needs data:read").waitFor()
    expect(await complaints(page)).toEqual([])
    writeKeys(null)
    await page.getByText("no longer accepts the credential").waitFor()
    writeKeys(["admin:read"])
  })

  test("a credential without admin:read sees that it may not, and the metrics that it may", async () => {
    const page = await open("", { token: await mint({ permissions: ["metrics:read"] }) })
    await page.getByText("Needs admin:read").waitFor()
    expect(await page.getByText("This part is broken").count()).toBe(0)
    await page.getByRole("link", { name: "Metrics" }).last().click()
    await page.getByText("fitz_build_info").first().waitFor()
  })

  test("the end of a token is announced, and a new one takes over without losing the view", async () => {
    const page = await open("notice", {
      token: await mint({ permissions: ["admin"], expiresInSeconds: 200 }),
    })
    await page.getByText(/This token expires in 3 min/).waitFor()
    await page.getByRole("button", { name: "Paste a new one" }).click()
    await paste(page, broker.token)
    await page.getByText(/This token expires in/).waitFor({ state: "detached" })
    expect(page.url()).toBe(at("notice"))
    await page.getByRole("heading", { level: 1, name: /Notice/ }).waitFor()
  })

  test("a token that ends ends the session of the page", async () => {
    const token = await mint({ permissions: ["admin"], expiresInSeconds: 200 })
    tab = await openTab(browser, { token })
    const { page } = tab
    // The page's own time, moved by the test.
    await page.clock.install()
    await page.goto(at(""))
    await page.getByText(/This token expires in/).waitFor()
    await page.clock.fastForward(201_000)
    await page.getByText("The token has expired.").waitFor()
    expect(await page.evaluate(() => sessionStorage.length)).toBe(0)
    expect(await page.content()).not.toContain("What flows where")
  })
})
