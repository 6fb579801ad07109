// Every command of the page: proposed by its button, explained in its dialog, carried out against a real broker,
// felt by the program that it is about, and followed by its audit record.

import type { Browser, Page } from "playwright-core"
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { type AdminBroker, startAdmin } from "../kit/admin.ts"
import { complaints, NO_CHROMIUM, openBrowser, openTab, type Tab } from "../kit/chromium.ts"
import { BUSY, makeTraffic, type Traffic } from "../kit/page-traffic.ts"
import { until } from "../kit/patience.ts"

describe("commands", () => {
  let broker: AdminBroker
  let traffic: Traffic
  let browser: Browser
  let tab: Tab
  let page: Page

  beforeEach(ctx => {
    if (NO_CHROMIUM !== null) ctx.skip(NO_CHROMIUM)
  })
  beforeAll(async () => {
    if (NO_CHROMIUM !== null) return
    broker = await startAdmin(BUSY)
    traffic = await makeTraffic(broker)
    browser = await openBrowser()
    tab = await openTab(browser, { token: broker.token })
    page = tab.page
  })
  afterAll(async () => {
    traffic?.stop()
    expect(tab?.problems ?? []).toEqual([])
    await browser?.close()
    await broker?.end()
  })

  const open = async (path: string): Promise<void> => {
    await page.goto(`http://127.0.0.1:${broker.port}/${path}`)
  }

  /** Goes through the dialog that is open, and reads what it says before and after. */
  const goThrough = async (
    verb: string,
    action: string,
    outcome = "ok",
  ): Promise<{ before: string; after: string }> => {
    const dialog = page.getByRole("dialog")
    await dialog.getByText("What will happen").waitFor()
    expect(await complaints(page)).toEqual([])
    const before = await dialog.innerText()
    await dialog.getByLabel("Reason, for the audit").fill(`because of ${action}`)
    await dialog.getByRole("button", { name: verb }).click()
    await dialog.getByText("What the audit has kept").waitFor()
    const after = await dialog.innerText()
    expect(after).toContain(action)
    expect(after).toContain(outcome)
    expect(after).toContain(`because of ${action}`)
    expect(after).toContain("tester")
    await dialog.getByRole("button", { name: "Close" }).click()
    await dialog.waitFor({ state: "detached" })
    return { before, after }
  }

  test("a dialog that is left does nothing, and gives the focus back", async () => {
    await open("lease?tab=leases")
    const button = page.getByRole("button", { name: "Release" })
    await button.focus()
    await page.keyboard.press("Enter")
    await page.getByRole("dialog").waitFor()
    await page.keyboard.press("Escape")
    await page.getByRole("dialog").waitFor({ state: "detached" })
    expect(await button.evaluate(element => element === document.activeElement)).toBe(true)
    expect((await broker.get("audit")).records).toEqual([])
  })

  test("release lease: says who owns it, the waiter gets it with a higher token", async () => {
    await open("lease?tab=leases")
    await page.getByRole("button", { name: "Release" }).click()
    const { before } = await goThrough("Release lease", "lease.release")
    expect(before).toContain("prod/leader/indexer")
    expect(before).toContain("Cannot be undone.")
    expect((await traffic.waiter.lease.granted()).token).toBeGreaterThan(traffic.leaseToken)
  })

  test("roll back: the program's next use of the transaction fails", async () => {
    await open("kv?tab=transactions")
    await page
      .getByRole("row", { name: /prod\/catalog\/prices/ })
      .getByRole("button", { name: "Roll back" })
      .click()
    await goThrough("Roll back", "kv.transaction.rollback")
    await expect(traffic.owner.kv.commit(traffic.transaction, "kv://prod/catalog/prices")).rejects.toThrow()
  })

  test("cancel subscription: the list no longer has it", async () => {
    await open("notice?tab=subscriptions")
    await page
      .getByRole("row", { name: /notice:\/\/prod\/orders/ })
      .getByRole("button", { name: "Cancel" })
      .click()
    await goThrough("Cancel subscription", "notice.subscription.cancel")
    expect((await broker.get("admin/notice/subscriptions")).subscriptions).toEqual([])
    await page.getByText("Nobody subscribes").waitFor()
  })

  test("cancel call: the caller gets the error at once", async () => {
    traffic.watcher.rpc.call(new Uint8Array(16).fill(7), "rpc://prod/billing/invoices/create", "{}")
    await traffic.worker.rpc.take()
    await open("rpc?tab=pending")
    await page
      .getByRole("row", { name: /invoices\/create/ })
      .getByRole("button", { name: "Cancel" })
      .click()
    const { before } = await goThrough("Cancel call", "rpc.request.cancel")
    expect(before).toContain("07070707070707070707070707070707")
    expect((await traffic.watcher.rpc.answer()).fault?.code).toBe(6010)
  })

  test("run now: tells how many heard it", async () => {
    await open("schedule?tab=definitions")
    await page
      .getByRole("row", { name: /nightly/ })
      .getByRole("button", { name: "Run now" })
      .click()
    const nobody = await goThrough("Run now", "schedule.trigger")
    expect(nobody.after).toContain("Nobody was listening.")
    await traffic.owner.schedule.subscribe("schedule://prod/ops/**")
    await page
      .getByRole("row", { name: /nightly/ })
      .getByRole("button", { name: "Run now" })
      .click()
    const one = await goThrough("Run now", "schedule.trigger")
    expect(one.after).toContain("handed to one listener")
    expect((await traffic.owner.schedule.next()).route).toBe("schedule://prod/ops/jobs/nightly")
  })

  test("replay and delete one dead letter", async () => {
    await open("queue/prod/jobs/emails")
    await page.getByRole("button", { name: "Replay", exact: true }).first().click()
    await goThrough("Replay", "queue.dead_letter.replay")
    await page.getByRole("button", { name: "Delete", exact: true }).first().click()
    const { before } = await goThrough("Delete for good", "queue.dead_letter.purge")
    expect(before).toContain("There is no way to get it back.")
    expect(await broker.get("queue/realms/prod/areas/jobs/resources/emails")).toMatchObject({
      messages_ready: 1,
      messages_dead_lettered: 4,
    })
  })

  test("bulk replay reports each row, a lost one too", async () => {
    await open("dead-letters")
    await page.getByLabel("Choose all 4").check()
    await page.getByRole("button", { name: "Replay chosen" }).click()
    const dialog = page.getByRole("dialog")
    await dialog.getByText("Each message is a command of its own").waitFor()
    const { messages } = await broker.get("queue/realms/prod/areas/jobs/resources/emails/dead-letters")
    const [first] = messages
    const gone = await broker.delete(
      `queue/realms/prod/areas/jobs/resources/emails/dead-letters/${first.message_id}?family=${first.family}`,
    )
    expect(gone.status).toBe(204)
    await dialog.getByRole("button", { name: "Replay" }).click()
    await dialog.getByText("3 done, 1 failed, 0 to go.").waitFor()
    expect(await dialog.getByText("already gone").count()).toBe(1)
    expect(await complaints(page)).toEqual([])
    await dialog.getByRole("button", { name: "Close" }).click()
    await page.getByText("No dead letter").waitFor()
    const { records } = await broker.get("audit?limit=4")
    expect(
      records.map((record: { action: string; outcome: string }) => [record.action, record.outcome]),
    ).toEqual([
      ["queue.dead_letter.replay", "ok"],
      ["queue.dead_letter.replay", "ok"],
      ["queue.dead_letter.replay", "ok"],
      ["queue.dead_letter.replay", "not_found"],
    ])
  })

  test("realms: declared, changed and forgotten", async () => {
    await open("definitions?tab=realms")
    await page.getByRole("button", { name: "Declare a realm" }).click()
    await page.getByLabel("Realm", { exact: true }).fill("shop")
    await page.getByLabel("Name for people").fill("The shop")
    await page.getByLabel("Sessions", { exact: true }).fill("25")
    await page.getByRole("button", { name: "Go on" }).click()
    const { before } = await goThrough("Declare realm", "realm.declare")
    expect(before).toContain("max sessions 25")
    expect(await broker.get("realms/shop")).toMatchObject({ declared: true, limits: { max_sessions: 25 } })
    const row = page.getByRole("row", { name: /shop/ })
    await row.getByRole("button", { name: "Change" }).click()
    await page.getByLabel("Sessions", { exact: true }).fill("30")
    // Somebody else is quicker: nothing of theirs is written over.
    expect((await broker.put("realms/shop", { limits: { max_sessions: 99 } })).status).toBe(200)
    await page.getByRole("button", { name: "Go on" }).click()
    await page.getByRole("dialog").getByRole("button", { name: "Save realm" }).click()
    await page.getByText("Somebody else has changed it meanwhile.").waitFor()
    await page.getByRole("dialog").getByRole("button", { name: "Close" }).click()
    await row.getByText("sessions 99").waitFor()
    await row.getByRole("button", { name: "Forget" }).click()
    await goThrough("Forget realm", "realm.forget")
    expect((await broker.ask("/api/v1/realms/shop")).status).toBe(404)
  })

  test("schedules: defined with its next runs shown, changed and removed", async () => {
    await open("definitions")
    await page.getByRole("button", { name: "Define a schedule" }).click()
    await page.getByLabel(/Route:/).fill("prod/ops/jobs/hourly")
    await page.getByLabel("Cron, in UTC").fill("0 * * *")
    await page.getByText("This page cannot read the expression").waitFor()
    await page.getByLabel("Cron, in UTC").fill("0 * * * *")
    await page.getByText("Next:").waitFor()
    expect(await page.getByRole("dialog").getByRole("img").getAttribute("aria-label")).toBe(
      "24 runs in the next 24 hours",
    )
    await page.getByLabel("Payload, as text").fill('{"hello":1}')
    expect(await complaints(page)).toEqual([])
    await page.getByRole("button", { name: "Go on" }).click()
    await goThrough("Define schedule", "schedule.define")
    const path = "schedule/realms/prod/areas/ops/resources/jobs/operations/hourly?family=1"
    expect(await broker.get(path)).toMatchObject({
      cron: "0 * * * *",
      enabled: true,
      delivery_mode: "broadcast",
    })
    const row = page.getByRole("row", { name: /hourly/ })
    await row.getByRole("button", { name: "Change" }).click()
    await page.getByLabel("Enabled").uncheck()
    await page.getByRole("button", { name: "Go on" }).click()
    const { before } = await goThrough("Save schedule", "schedule.define")
    expect(before).toContain("The payload that was stored before is lost.")
    expect(await broker.get(path)).toMatchObject({ enabled: false, next_run: null })
    await row.getByRole("button", { name: "Remove" }).click()
    await goThrough("Remove schedule", "schedule.remove")
    expect((await broker.ask(`/api/v1/${path}`)).status).toBe(404)
  })

  test("close session: the program's connection ends, a second try says it is gone", async () => {
    const { sessions } = await broker.get("admin/sessions")
    const { session_id: id } = sessions.find((row: { subject: string }) => row.subject === "waiter")
    await open(`sessions/${id}`)
    await page.getByText("What it holds now").waitFor()
    await page.getByRole("button", { name: "Close session" }).click()
    await goThrough("Close session", "session.close")
    await traffic.waiter.closed
    await page.getByText("Nothing is there").first().waitFor()
  })

  test("what has gone meanwhile says so, and the audit has that too", async () => {
    const short = await broker.caller({ sub: "short" })
    await open("sessions")
    await page.getByRole("row", { name: /short/ }).getByRole("button", { name: "Close" }).click()
    await page.getByRole("dialog").getByText("What will happen").waitFor()
    void short.close()
    await until(
      "the session is gone",
      () => broker.get("admin/sessions"),
      ({ sessions }) => sessions.every((row: { subject: string }) => row.subject !== "short"),
    )
    const { after } = await goThrough("Close session", "session.close", "not found")
    expect(after).toContain("It is already gone")
  })

  test("the audit shows them all, newest first", async () => {
    await open("audit")
    await page
      .getByRole("row", { name: /session.close/ })
      .first()
      .waitFor()
    const text = await page.getByRole("table").innerText()
    for (const action of ["lease.release", "realm.declare", "schedule.define", "queue.dead_letter.purge"]) {
      expect(text).toContain(action)
    }
  })

  test("drain: a word has to be typed, and the page says what the broker is doing", async () => {
    await open("status")
    await page.getByRole("button", { name: "Drain broker" }).click()
    const dialog = page.getByRole("dialog")
    const drain = dialog.getByRole("button", { name: "Drain broker" })
    expect(await drain.isDisabled()).toBe(true)
    await dialog.getByLabel(/Type drain/).fill("drain")
    await goThrough("Drain broker", "runtime.drain")
    await page.getByText("Draining: programs are being sent away.").waitFor()
    await open("")
    await page.getByRole("heading", { level: 1, name: /Draining/ }).waitFor()
  })
})
