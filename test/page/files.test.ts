// How the page's files are served: who gets the entry, how long what is kept, what is compressed, what is refused;
// and that a broker without them is a broker all the same.

import { createHash } from "node:crypto"
import { readdirSync, readFileSync, statSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { brotliDecompressSync, gunzipSync } from "node:zlib"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { openHttp } from "../../broker/admin/http.ts"
import { CONTENT_SECURITY_POLICY, Page, RESERVED } from "../../broker/admin/page.ts"
import { type AdminBroker, startAdmin } from "../kit/admin.ts"
import { ask } from "../kit/http.ts"

const ASSETS = fileURLToPath(new URL("../../dist/web/assets/", import.meta.url))
const HTML = { accept: "text/html,application/xhtml+xml" }

describe("the page's files", () => {
  let broker: AdminBroker
  beforeAll(async () => {
    broker = await startAdmin({ FITZ_STORAGE_MODE: "memory" })
  })
  afterAll(() => broker.end())

  const get = (path: string, headers: Readonly<Record<string, string>> = {}, method = "GET") =>
    ask(broker.port, path, headers, method)

  test("§18, §5.11: / is public, holds no data, is not stored, and carries the policy", async () => {
    const reply = await get("/")
    expect(reply.status).toBe(200)
    expect(reply.headers).toMatchObject({
      "cache-control": "no-store",
      "content-security-policy": CONTENT_SECURITY_POLICY,
      "content-type": "text/html; charset=utf-8",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
    })
    expect(CONTENT_SECURITY_POLICY).toMatch(/default-src 'none'.*frame-ancestors 'none'/)
    expect(CONTENT_SECURITY_POLICY).not.toMatch(/unsafe|https?:|\*/)
    expect(reply.headers["access-control-allow-origin"]).toBeUndefined()
    expect(reply.text).toContain('<base href="./" />')
    expect(reply.text).not.toMatch(/(?:src|href)="(?:\/|https?:)/)
  })

  test("a navigation gets the entry with the way back to its root, whatever else does not", async () => {
    for (const [path, base] of [
      ["/queue", "./"],
      ["/queue/prod/jobs/emails", "../../../"],
      ["/queue/", "../"],
      ["/sessions?realm=prod", "./"],
    ] as const) {
      const reply = await get(path, HTML)
      expect([path, reply.status]).toEqual([path, 200])
      expect(reply.text).toContain(`<base href="${base}" />`)
    }
    expect((await get("/queue")).status).toBe(404)
    expect((await get("/queue", { accept: "application/json" })).status).toBe(404)
    expect((await get("/queue", HTML, "POST")).status).toBe(404)
    expect((await get(`/${"a/".repeat(40)}`, HTML)).status).toBe(404)
  })

  test("no reserved prefix is ever answered with the entry", async () => {
    for (const prefix of RESERVED) {
      for (const path of [`/${prefix}`, `/${prefix}/nothing/here`]) {
        const reply = await get(path, HTML)
        expect([path, reply.text.includes("<!doctype")]).toEqual([path, false])
      }
    }
    // A name that only begins like one is a view's.
    expect((await get("/administration", HTML)).status).toBe(200)
  })

  test("§18: assets have hashed names, are kept for good, and come compressed to who takes that", async () => {
    const names = readdirSync(ASSETS).filter(name => /\.(?:js|css)$/.test(name))
    expect(names.length).toBeGreaterThan(1)
    for (const name of names) {
      expect(name).toMatch(/-[\w-]{8}\.(?:js|css)$/)
      const plain = await get(`/assets/${name}`)
      expect(plain.headers["cache-control"]).toBe("public, max-age=31536000, immutable")
      expect(plain.headers["vary"]).toBe("accept-encoding")
      expect(plain.text).toBe(readFileSync(ASSETS + name, "utf8"))
      const tags = new Set([plain.headers["etag"]])
      for (const [encoding, unpack] of [
        ["br", brotliDecompressSync],
        ["gzip", gunzipSync],
      ] as const) {
        const response = await fetch(`http://127.0.0.1:${broker.port}/assets/${name}`, {
          headers: { "accept-encoding": encoding },
        })
        expect(response.headers.get("content-encoding")).toBe(encoding)
        expect(await response.text()).toBe(plain.text)
        expect(unpack(readFileSync(`${ASSETS}${name}.${encoding === "br" ? "br" : "gz"}`)).toString()).toBe(
          plain.text,
        )
        tags.add(response.headers.get("etag") ?? "")
      }
      expect(tags.size).toBe(3)
      const refused = await get(`/assets/${name}`, { "accept-encoding": "br;q=0, gzip;q=0" })
      expect(refused.headers["content-encoding"]).toBeUndefined()
    }
  })

  test("§18: who has it already gets 304, and HEAD gets the same headers", async () => {
    const [name] = readdirSync(ASSETS).filter(one => one.endsWith(".js"))
    for (const path of ["/", `/assets/${name}`]) {
      const first = await get(path)
      const etag = String(first.headers["etag"])
      expect(etag).toMatch(/^"[0-9a-f]{32}"$/)
      for (const known of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
        const again = await get(path, { "if-none-match": known })
        expect([path, known, again.status, again.text]).toEqual([path, known, 304, ""])
      }
      expect((await get(path, { "if-none-match": '"other"' })).status).toBe(200)
      const head = await get(path, {}, "HEAD")
      expect([head.status, head.text, head.headers["etag"]]).toEqual([200, "", etag])
      expect(head.headers["content-length"]).toBe(String(Buffer.byteLength(first.text)))
    }
  })

  test("§18: unknown assets are 404, and no path leads out of the folder", async () => {
    for (const path of [
      "/assets/",
      "/assets/nothing.js",
      "/assets/../index.html",
      "/assets/..%2findex.html",
      "/assets/%2e%2e/%2e%2e/package.json",
      "/assets/....//package.json",
      "/assets//etc/passwd",
      "/../../etc/passwd",
    ]) {
      const reply = await get(path)
      expect([path, reply.status]).toEqual([path, 404])
      expect(JSON.parse(reply.text)).toMatchObject({ code: "not_found" })
    }
  })

  test("the API's own refusals stay JSON, for browsers too", async () => {
    const reply = await get("/api/v1/nothing", { ...HTML, authorization: `Bearer ${broker.token}` })
    expect([reply.status, JSON.parse(reply.text).code]).toEqual([404, "not_found"])
  })

  test("the first load is less than 250 KB", () => {
    const wire = (name: string): number =>
      statSync(ASSETS + (/\.(?:js|css|svg)$/.test(name) ? `${name}.br` : name)).size
    const all = readdirSync(ASSETS).filter(name => !/\.(?:br|gz)$/.test(name))
    const bytes = all.reduce((sum, name) => sum + wire(name), 0)
    expect(bytes).toBeGreaterThan(50_000)
    expect(bytes).toBeLessThan(250_000)
  })

  test("names are hashes of what is in them: two files never share one", () => {
    const digests = readdirSync(ASSETS).map(name =>
      createHash("sha256")
        .update(readFileSync(ASSETS + name))
        .digest("hex"),
    )
    expect(new Set(digests).size).toBe(digests.length)
  })
})

describe("a broker without the page's files", () => {
  test("§18: / answers 404 and everything else goes on", async () => {
    expect(Page.open(null)).toBeNull()
    expect(Page.open("/nonexistent")).toBeNull()
    const never = (): never => {
      throw new Error("not asked in this test")
    }
    const options = { status: { ready: false }, page: null, api: { handle: never }, gate: { admit: never } }
    const { app } = await openHttp({
      ...(options as unknown as Parameters<typeof openHttp>[0]),
      judgeUpgrade: never,
      takeSocket: never,
      messageBytesMax: 1,
      closeTimeout: 1,
      headerTimeoutMs: 1_000,
      tlsOnly: false,
      onError: never,
    })
    const reply = await app.inject({ url: "/", headers: HTML })
    expect([reply.statusCode, reply.json().code]).toEqual([404, "not_found"])
    await app.close()
  })
})
