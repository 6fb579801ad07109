// The page when things are not as usual: nothing there yet, an old answer, a part missing, a broker that is silent,
// restarts or starts under it, a proxy before it, a hidden tab, long lists that move, and a reader with a keyboard.

import type { Browser, Page } from "playwright-core"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { type AdminBroker, startAdmin } from "../kit/admin.ts"
import { canMakeCertificates, newCertificate } from "../kit/certificates.ts"
import {
  complaints,
  NO_CHROMIUM,
  openBrowser,
  openTab,
  PHONE,
  type Tab,
  type TabOptions,
} from "../kit/chromium.ts"
import { BUSY, makeTraffic } from "../kit/page-traffic.ts"
import { openPathProxy } from "../kit/path-proxy.ts"
import { newFolder, removeFolder } from "../kit/process.ts"

describe("states", () => {
  let browser: Browser
  let tab: Tab
  let broker: AdminBroker

  beforeEach(ctx => {
    if (NO_CHROMIUM !== null) ctx.skip(NO_CHROMIUM)
  })
  beforeAll(async () => {
    if (NO_CHROMIUM !== null) return
    browser = await openBrowser()
  })
  afterAll(() => browser?.close())
  afterEach(async () => {
    await tab?.close()
    await broker?.end()
  })

  const open = async (path: string, options: TabOptions = {}): Promise<Page> => {
    tab = await openTab(browser, { token: broker.token, ...options })
    await tab.page.goto(`http://127.0.0.1:${broker.port}/${path}`)
    return tab.page
  }

  test("empty: a fresh broker is ready and quiet, and every list says what would be in it", async () => {
    broker = await startAdmin({ FITZ_STORAGE_MODE: "memory" })
    const page = await open("")
    await page.getByRole("heading", { level: 1, name: "Ready, and quiet." }).waitFor()
    for (const [path, text] of [
      ["kv", "No realm is in use"],
      ["kv?tab=transactions", "No transaction is open"],
      ["notice?tab=subscriptions", "Nobody subscribes"],
      ["rpc?tab=workers", "No worker is registered"],
      ["lease?tab=leases", "Nobody holds a lease"],
      ["sessions", "Nobody is connected"],
      ["dead-letters", "No dead letter"],
      ["audit", "Nobody has ordered anything"],
      ["definitions?tab=realms", "No realm is known"],
      ["stream/a/b/c", "Nothing is there"],
    ] as const) {
      await page.goto(`http://127.0.0.1:${broker.port}/${path}`)
      await page.getByText(text).first().waitFor()
    }
    expect(tab.problems).toEqual([])
  })

  test("silent, then restarted: what is seen gets old in words, and a new process is told from the old one", async () => {
    broker = await startAdmin(BUSY)
    const traffic = await makeTraffic(broker)
    const page = await open("lease?tab=leases")
    await page.getByText("prod/leader/indexer").first().waitFor()
    traffic.stop()
    const { port, folder } = broker
    await broker.process.kill("SIGKILL")
    await page.getByText("The broker has not answered for").waitFor()
    await page
      .getByText(/as of \d\d:\d\d:\d\d/)
      .first()
      .waitFor()
    // What was there is still there, and looks old.
    await page.getByText("prod/leader/indexer").first().waitFor()
    expect(await page.locator(".aging[data-stale=true]").count()).toBeGreaterThan(0)
    expect(await complaints(page)).toEqual([])
    broker = await startAdmin({ FITZ_HTTP_PORT: String(port) }, folder)
    // The bar with its own button goes by itself as soon as there is an answer; this one is always there.
    await page.getByRole("button", { name: /Ask the broker anew/ }).click()
    await page.getByText("The broker was restarted at").waitFor()
    // Leases are live: gone. Messages are durable: there again.
    await page.getByText("Nobody holds a lease").waitFor()
    await page.goto(`http://127.0.0.1:${port}/queue/prod/jobs/emails`)
    await page.getByText("max attempts exceeded").first().waitFor()
    expect(tab.problems).toEqual([])
  })

  test("a broker that cannot be reached at sign-in says so, and lets in when it is back", async () => {
    broker = await startAdmin({ FITZ_STORAGE_MODE: "memory" })
    tab = await openTab(browser)
    await tab.page.goto(`http://127.0.0.1:${broker.port}/`)
    await tab.page.getByLabel("Token or API key").fill(broker.token)
    await broker.process.kill("SIGKILL")
    await tab.page.getByRole("button", { name: "Sign in" }).click()
    await tab.page.getByText("The broker cannot be reached. Try again in a moment.").waitFor()
    broker = await startAdmin({ FITZ_STORAGE_MODE: "memory", FITZ_HTTP_PORT: String(broker.port) })
    await tab.page.getByRole("button", { name: "Sign in" }).click()
    await tab.page.getByText("What flows where").waitFor()
  })

  test("loading, broken and partly there look different", async () => {
    broker = await startAdmin({ FITZ_STORAGE_MODE: "memory" })
    tab = await openTab(browser, { token: broker.token })
    const { page } = tab
    // A proxy with a mind of its own, between the browser and the broker.
    let answer: () => void = () => undefined
    const held = new Promise<void>(resolve => {
      answer = resolve
    })
    await page.route("**/api/v1/admin/sessions*", async route => {
      await held
      await route.continue()
    })
    await page.goto(`http://127.0.0.1:${broker.port}/sessions`)
    await page.getByRole("status").getByText("Loading").waitFor({ state: "attached" })
    answer()
    await page.getByText("Nobody is connected").waitFor()
    await page.route("**/api/v1/audit*", route => route.fulfill({ status: 200, body: "<html>login</html>" }))
    await page.goto(`http://127.0.0.1:${broker.port}/audit`)
    await page.getByText("This part is broken").waitFor()
    await page.unroute("**/api/v1/audit*")
    await page.getByRole("button", { name: "Try again" }).click()
    await page.getByText("Nobody has ordered anything").waitFor()
    const timeout = {
      status: 503,
      json: {
        error: "Service Unavailable",
        code: "admin_timeout",
        message: "the lane did not answer",
        request_id: "x",
      },
    }
    await page.route("**/api/v1/queue/stats*", route => route.fulfill(timeout))
    await page.goto(`http://127.0.0.1:${broker.port}/`)
    await page.getByText("Partly shown: Queue does not answer. The rest is complete.").waitFor()
    await page.route("**/api/v1/stats", route => route.fulfill(timeout))
    await page.reload()
    await page.getByRole("link", { name: /^Queue.*no answer/ }).waitFor()
    await page.getByRole("link", { name: /^KV.*0 keys/ }).waitFor()
    await page.goto(`http://127.0.0.1:${broker.port}/queue`)
    await page.getByText("The broker asks for patience").first().waitFor()
    await page.route("**/api/v1/kv/stats*", route => route.fulfill({ json: { realms: 5 } }))
    await page.route("**/api/v1/kv/realms*", route => route.fulfill({ json: { surprise: true } }))
    await page.goto(`http://127.0.0.1:${broker.port}/kv`)
    await page.getByText("The broker's answer is not what this page understands").waitFor()
    expect(await complaints(page)).toEqual([])
    expect(tab.problems).toEqual([])
  })

  test("behind a TLS proxy and a path prefix everything works, deep links too", async ctx => {
    if (!(await canMakeCertificates())) ctx.skip("there is no openssl to make a certificate with")
    broker = await startAdmin({ FITZ_STORAGE_MODE: "memory" })
    const folder = newFolder()
    const proxy = await openPathProxy(broker.port, "/brokers/one", await newCertificate(folder, "proxy"))
    tab = await openTab(browser, { ignoreHTTPSErrors: true })
    const { page } = tab
    const root = `https://127.0.0.1:${proxy.port}/brokers/one`
    await page.goto(`${root}/queue/prod/jobs`)
    await page.getByLabel("Token or API key").fill(broker.token)
    await page.keyboard.press("Enter")
    await page.getByRole("heading", { level: 1, name: /Queue/ }).waitFor()
    await page.getByText("No resource is in use").waitFor()
    await page.getByRole("link", { name: "Sessions" }).click()
    await page.getByText("Nobody is connected").waitFor()
    expect(page.url()).toBe(`${root}/sessions`)
    await page.getByRole("link", { name: "Fitz" }).click()
    await page.getByText("What flows where").waitFor()
    expect(page.url()).toBe(`${root}/`)
    await page.goBack()
    await page.getByText("Nobody is connected").waitFor()
    expect(tab.asked.filter(address => !address.startsWith(`${root}/`))).toEqual([])
    expect(tab.problems).toEqual([])
    await proxy.close()
    removeFolder(folder)
  })

  test("ten thousand rows: only those in sight are drawn and asked for, while they move", async () => {
    broker = await startAdmin({ FITZ_STORAGE_MODE: "memory", FITZ_MAX_REGISTRATIONS: "12000" })
    const program = await broker.caller({ sub: "many" })
    const rows = 10_000
    await Promise.all(
      Array.from({ length: rows }, (_, at) =>
        program.notice.subscribe(`notice://prod/many/r${String(at).padStart(5, "0")}`),
      ),
    )
    const page = await open("notice?tab=subscriptions")
    const table = page.getByRole("region", { name: "Subscriptions, 10,000 rows" })
    await table.waitFor()
    expect(await page.locator("tbody tr:not(.space)").count()).toBeLessThan(80)
    await table.focus()
    await page.keyboard.press("End")
    await page.getByText("notice://prod/many/r09999").waitFor()
    expect(await page.locator("tbody tr:not(.space)").count()).toBeLessThan(80)
    const asked = tab.asked.filter(address => address.includes("notice/subscriptions"))
    expect(asked.length).toBeGreaterThan(1)
    expect(asked.every(address => new URL(address).searchParams.get("limit") === "200")).toBe(true)
    // The rows move: a notice is heard by the one in sight, and rows vanish from under the reader.
    const last = page.getByRole("row", { name: /r09999/ })
    program.notice.publish("notice://prod/many/r09999", "x")
    await last.getByRole("cell", { name: "1", exact: true }).waitFor()
    await program.notice.unsubscribeAll()
    await page.getByText("Nobody subscribes").waitFor()
    // Smooth: scrolling through is drawn without one long pause of the page's own making.
    expect(tab.problems).toEqual([])
  })

  test("a thousand rows that move: counts change in place", async () => {
    broker = await startAdmin({ FITZ_STORAGE_MODE: "memory", FITZ_MAX_QUEUES: "2000" })
    const program = await broker.caller({ sub: "thousand" })
    const queue = (at: number): string => `queue://prod/jobs/q${String(at).padStart(4, "0")}`
    for (let at = 0; at < 1_000; at++) await program.queue.enqueue(queue(at), "x")
    const page = await open("queue/prod/jobs")
    await page.getByRole("region", { name: /1,000 rows/ }).waitFor()
    const first = page.getByRole("row", { name: /q0000/ })
    const place = async () => (await first.getByRole("cell").nth(1).boundingBox())?.x
    const before = await place()
    for (let at = 0; at < 1_000; at++) await program.queue.enqueue(queue(at), "y")
    await first.getByRole("cell", { name: "2", exact: true }).first().waitFor()
    expect(await place()).toBe(before)
    await page.getByRole("button", { name: "Ready" }).click()
    await page.getByRole("columnheader", { name: /Ready/ }).waitFor()
    expect(await page.getByRole("columnheader", { name: /Ready/ }).getAttribute("aria-sort")).toBe(
      "descending",
    )
    expect(tab.problems).toEqual([])
  })

  test("search is one key away, finds by id, route and session, and needs no mouse", async () => {
    broker = await startAdmin(BUSY)
    const traffic = await makeTraffic(broker)
    const page = await open("audit")
    await page.getByText("Nobody has ordered anything").waitFor()
    const find = async (text: string, wanted: RegExp): Promise<void> => {
      await page.keyboard.press("/")
      await page.getByRole("combobox", { name: /Search by id/ }).waitFor()
      await page.keyboard.type(text)
      const option = page.getByRole("option", { name: wanted }).first()
      await option.waitFor()
      expect(await complaints(page)).toEqual([])
      const options = await page.getByRole("option").allInnerTexts()
      const at = options.findIndex(label => wanted.test(label.replaceAll("\n", " ")))
      for (let step = 0; step < at; step++) await page.keyboard.press("ArrowDown")
      await page.keyboard.press("Enter")
      await page.getByRole("combobox", { name: /Search by id/ }).waitFor({ state: "detached" })
    }
    await find("emails", /queue:\/\/prod\/jobs\/emails/)
    await page.getByRole("heading", { level: 1, name: /emails/ }).waitFor()
    expect(new URL(page.url()).pathname).toBe("/queue/prod/jobs/emails")
    const { sessions } = await broker.get("admin/sessions")
    const owner = sessions.find((row: { subject: string }) => row.subject === "owner")
    await find(owner.session_id, new RegExp(`${owner.session_id}.*session`))
    await page.getByText("What it holds now").waitFor()
    await find("invoices/create", /rpc:\/\/prod\/billing\/invoices\/create/)
    expect(new URL(page.url()).pathname).toMatch(/^\/rpc/)
    await find("Metrics", /Metrics/)
    await page.getByRole("heading", { level: 1, name: /Metrics/ }).waitFor()
    // Two keys lead to every view, one shows them all.
    await page.locator("main").focus()
    await page.keyboard.press("g")
    await page.keyboard.press("q")
    await page.getByRole("heading", { level: 1, name: /Queue/ }).waitFor()
    await page.keyboard.press("?")
    await page.getByRole("dialog", { name: "Keys" }).waitFor()
    traffic.stop()
  })

  test("a hidden tab asks far less often, and catches up when it is seen again", async () => {
    broker = await startAdmin({ FITZ_STORAGE_MODE: "memory" })
    tab = await openTab(browser, { token: broker.token })
    const { page } = tab
    // The page's own time, moved by the test; requests stay real.
    await page.clock.install()
    await page.goto(`http://127.0.0.1:${broker.port}/sessions`)
    await page.getByText("Nobody is connected").waitFor()
    const seconds = async (wanted: number): Promise<number> => {
      const before = tab.asked.length
      for (let at = 0; at < wanted; at++) {
        await page.clock.runFor(1_000)
        await page.evaluate(() => fetch("livez").then(answer => answer.text()))
      }
      const since = tab.asked.slice(before)
      return since.filter(address => address.includes("/api/v1/metrics")).length
    }
    const visible = (state: "hidden" | "visible"): Promise<void> =>
      page.evaluate(wanted => {
        Object.defineProperty(document, "visibilityState", { configurable: true, get: () => wanted })
        Object.defineProperty(document, "hidden", { configurable: true, get: () => wanted === "hidden" })
        document.dispatchEvent(new Event("visibilitychange"))
      }, state)
    expect(await seconds(24)).toBeGreaterThanOrEqual(6)
    await visible("hidden")
    // One question was already due; after that there is half a minute of rest.
    expect(await seconds(24)).toBeLessThanOrEqual(2)
    await broker.caller({ sub: "late" })
    await visible("visible")
    await page.getByText("late").waitFor()
    expect(await seconds(24)).toBeGreaterThanOrEqual(6)
  })

  test("times are in the reader's zone, with UTC to be read on hover", async () => {
    broker = await startAdmin({ FITZ_STORAGE_MODE: "memory" })
    await broker.caller({ sub: "clocked" })
    const page = await open("sessions", { timezoneId: "Asia/Kathmandu" })
    const time = page.getByRole("row", { name: /clocked/ }).locator("time")
    await time.waitFor()
    const [shown, title, exact] = await time.evaluate(element => [
      element.textContent ?? "",
      element.getAttribute("title") ?? "",
      element.getAttribute("datetime") ?? "",
    ])
    expect(title).toBe(`${exact!.slice(0, 10)} ${exact!.slice(11, 19)} UTC`)
    const local = new Date(Date.parse(exact!) + (5 * 60 + 45) * 60_000).toISOString().slice(11, 19)
    expect(shown).toContain(local)
  })

  test("the theme is the machine's until the reader chooses, and the choice stays", async () => {
    broker = await startAdmin({ FITZ_STORAGE_MODE: "memory" })
    const page = await open("audit", { colorScheme: "dark", viewport: PHONE })
    const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)
    const dark = await paper()
    await page.getByRole("button", { name: /Colours: as the system/ }).click()
    const light = await paper()
    expect(light).not.toBe(dark)
    await page.reload()
    await page.getByRole("button", { name: /Colours: light/ }).waitFor()
    expect(await paper()).toBe(light)
    // On a phone the views are behind a button, and closed again once one is chosen.
    await page.getByRole("button", { name: "Menu" }).click()
    await page.getByRole("link", { name: "Sessions" }).click()
    await page.getByText("Nobody is connected").waitFor()
    expect(await page.getByRole("button", { name: "Menu" }).getAttribute("aria-expanded")).toBe("false")
  })

  test("where the admin surface is open, nobody has to sign in, and the page says that it is open", async () => {
    broker = await startAdmin({ FITZ_STORAGE_MODE: "memory", FITZ_ADMIN_AUTH_MODE: "open" })
    tab = await openTab(browser)
    await tab.page.goto(`http://127.0.0.1:${broker.port}/`)
    await tab.page.getByText("open to everybody").waitFor()
  })
})
