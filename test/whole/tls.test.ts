// TLS on the port that takes everything: HTTP, WebSocket and raw TCP inside it, plaintext beside it, certificates
// that change while programs are connected. A real process, real files, real handshakes.

import { mkdirSync } from "node:fs"
import { connect as connectTcp } from "node:net"
import { join } from "node:path"
import { Duplex } from "node:stream"
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { WebSocket } from "ws"
import { bytes, inner, outer } from "../kit/bytes.ts"
import { type Certificate, canMakeCertificates, install, newCertificate } from "../kit/certificates.ts"
import { until } from "../kit/patience.ts"
import { type BrokerProcess, newFolder, removeFolder, runFitz, startProcess } from "../kit/process.ts"
import { ask, dial, dialTls, type RawSocket, readHttp } from "../kit/sockets.ts"

const UNSUBSCRIBE_ALL = outer(503)
const UNSUBSCRIBED = outer(503, bytes("00"))
const UPGRADE =
  "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
const possible = await canMakeCertificates()
const REASON = "there is no openssl on this machine to make certificates with"

let folder: string
let first: Certificate
let second: Certificate
const running: BrokerProcess[] = []
beforeAll(async () => {
  folder = newFolder()
  if (!possible) return
  ;[first, second] = await Promise.all([newCertificate(folder, "first"), newCertificate(folder, "second")])
})
afterAll(async () => {
  const codes = await Promise.all(running.map(broker => broker.kill("SIGTERM")))
  expect(codes.filter(code => code !== 0)).toEqual([])
  removeFolder(folder)
})

/** A broker with the first certificate, in a place of its own. */
async function start(
  name: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<{ broker: BrokerProcess; place: string; trust: ConnectionOptions }> {
  const place = join(folder, name)
  mkdirSync(place)
  install(place, first)
  const broker = await startProcess({
    FITZ_STORAGE_MODE: "memory",
    FITZ_AUTH_REQUIRED: "false",
    FITZ_DRAIN_GRACE_SECONDS: "0",
    FITZ_TLS_CERT_FILE: join(place, "tls.crt"),
    FITZ_TLS_KEY_FILE: join(place, "tls.key"),
    ...environment,
  })
  running.push(broker)
  return { broker, place, trust: { ca: [first.cert, second.cert], servername: "localhost" } }
}

/** Sends a request as raw TCP and reads its reply. */
async function prove(raw: RawSocket): Promise<void> {
  const before = raw.bytes.length
  raw.write(UNSUBSCRIBE_ALL)
  const received = await raw.until(all => all.length >= before + UNSUBSCRIBED.length)
  expect(received.subarray(before)).toEqual(UNSUBSCRIBED)
}

async function shownTo(port: number, trust: ConnectionOptions): Promise<string> {
  const raw = await dialTls(port, trust)
  const { fingerprint256 } = (raw.socket as TLSSocket).getPeerCertificate()
  raw.destroy()
  return fingerprint256
}

async function openWebSocket(port: number): Promise<WebSocket> {
  const socket = new WebSocket(`wss://localhost:${port}/ws`, {
    ca: [first.cert, second.cert],
    lookup: (_name, _options, found) => found(null, [{ address: "127.0.0.1", family: 4 }]),
  })
  await new Promise((resolve, reject) => {
    socket.once("open", resolve)
    socket.once("error", reject)
  })
  return socket
}

async function proveWebSocket(socket: WebSocket): Promise<void> {
  const reply = new Promise(resolve => socket.once("message", resolve))
  socket.send(inner(503))
  expect(await reply).toEqual(inner(503, bytes("00")))
}

describe("T-3: everything inside TLS", () => {
  test("HTTP, WebSocket and raw TCP are served inside TLS, and beside it in plaintext", async context => {
    if (!possible) return context.skip(REASON)
    const { broker, trust } = await start("everything", { FITZ_TCP_PORT: "0" })

    const https = await dialTls(broker.port, trust)
    https.write("GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    expect(readHttp(await https.closed)).toMatchObject({ status: 200 })
    const socket = await openWebSocket(broker.port)
    await proveWebSocket(socket)
    const tcp = await dialTls(broker.port, trust)
    await prove(tcp)
    // T-16 inside TLS: the broker ends its side too.
    tcp.finish()
    await tcp.closed
    const closed = new Promise(resolve => socket.once("close", resolve))
    socket.close(1000)
    expect(await closed).toBe(1000)

    expect((await ask(broker.port, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")).status).toBe(200)
    const plain = await dial(broker.port)
    await prove(plain)
    plain.destroy()

    // T-7: the handshake and what follows may come byte by byte.
    await proveSlowly(broker.port, trust)
    // T-5 inside TLS.
    const preface = await dialTls(broker.port, trust)
    preface.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    expect((await preface.closed).toString()).toMatch(/^HTTP\/1\.1 505 /)
    // TLS in TLS is none.
    const nested = await dialTls(broker.port, trust)
    nested.write(bytes("16 03 01 00 05 01 00 00 01 00"))
    expect(await nested.closed).toHaveLength(0)
    // T-4 inside TLS.
    const garbage = await dialTls(broker.port, trust)
    garbage.write(bytes("01 02 03 04"))
    expect(await garbage.closed).toHaveLength(0)

    // T-8: the further port takes frames only, inside TLS as well.
    const further = await dialTls(broker.tcpPort!, trust)
    await prove(further)
    further.destroy()
    const browser = await dialTls(broker.tcpPort!, trust)
    browser.write("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
    expect(await browser.closed).toHaveLength(0)
  })

  test("T-3, T-6: a broken handshake is closed at once, one that does not go on when its time is up", async context => {
    if (!possible) return context.skip(REASON)
    const { broker } = await start("handshakes", { FITZ_DETECT_TIMEOUT_SECONDS: "1" })
    const broken = await dial(broker.port)
    broken.write(bytes("16 03 01 00 04", Buffer.from("nope")))
    await broken.closed
    await broker.logged("connection closed: tls")
    const stalled = await dial(broker.port)
    stalled.write(bytes("16 03 01 02 00 01"))
    await stalled.closed
    const silent = await dial(broker.port)
    await silent.closed
  })

  test("fitz health trusts a certificate that it is told of, and says why where it is not", async context => {
    if (!possible) return context.skip(REASON)
    const { broker, place } = await start("health")
    const args = ["health", "--url", `https://127.0.0.1:${broker.port}`]
    const trusting = await runFitz(args, { NODE_EXTRA_CA_CERTS: join(place, "tls.crt") })
    expect(trusting).toMatchObject({ code: 0, err: "" })
    const wary = await runFitz(args)
    expect(wary).toMatchObject({ code: 1, out: "" })
    expect(wary.err).toMatch(/does not answer: self-signed certificate/)
  })
})

describe("T-10: certificates that change", () => {
  test("new handshakes see the new certificate without a restart, and old connections live on", async context => {
    if (!possible) return context.skip(REASON)
    const { broker, place, trust } = await start("changing")
    expect(await shownTo(broker.port, trust)).toBe(first.fingerprint)
    const tcp = await dialTls(broker.port, trust)
    const socket = await openWebSocket(broker.port)
    await prove(tcp)

    install(place, second)
    await until(
      "the new certificate is shown",
      () => shownTo(broker.port, trust),
      shown => shown === second.fingerprint,
    )
    await prove(tcp)
    await proveWebSocket(socket)

    // Broken in every way that happens: the old one stays in use, and it is said why.
    const complaints = (): number =>
      broker.records.filter(record => record["msg"] === "a file that changed cannot be used").length
    const before = complaints()
    for (const [name, broken] of [
      ["no certificate", { cert: "nonsense\n", key: second.key }],
      ["somebody else's key", { cert: second.cert, key: first.key }],
      ["half a key", { cert: second.cert, key: second.key.slice(0, 100) }],
      ["nothing", { cert: "", key: "" }],
    ] as const) {
      const told = complaints()
      install(place, broken)
      await until(`${name} is complained of`, () => complaints() > told)
      expect(await shownTo(broker.port, trust), name).toBe(second.fingerprint)
    }
    expect(complaints()).toBeGreaterThanOrEqual(before + 4)
    install(place, first)
    await until(
      "the first certificate is shown again",
      () => shownTo(broker.port, trust),
      shown => shown === first.fingerprint,
    )
    await prove(tcp)
    tcp.destroy()
    socket.terminate()
    for (const { key } of [first, second]) {
      const [, ...lines] = key.trim().split("\n").slice(0, -1)
      for (const line of lines) expect(broker.text).not.toContain(line)
    }
  })
})

describe("T-9: TLS only", () => {
  test("plaintext is refused but for probes; inside TLS everything is served", async context => {
    if (!possible) return context.skip(REASON)
    const { broker, trust } = await start("only", { FITZ_TLS_ONLY: "true", FITZ_TCP_PORT: "0" })
    for (const path of ["/healthz", "/livez", "/readyz", "/startupz", "/health"])
      expect((await ask(broker.port, `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)).status, path).toBe(200)
    for (const path of ["/", "/nothing", "/ws"]) {
      const answer = await ask(broker.port, `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
      expect(answer.status, path).toBe(403)
      expect(JSON.parse(answer.body)).toMatchObject({ code: "tls_required" })
    }
    expect((await ask(broker.port, UPGRADE)).status).toBe(403)
    for (const port of [broker.port, broker.tcpPort!]) {
      const plain = await dial(port)
      plain.write(UNSUBSCRIBE_ALL)
      expect(await plain.closed).toHaveLength(0)
      const tcp = await dialTls(port, trust)
      await prove(tcp)
      tcp.destroy()
    }
    const socket = await openWebSocket(broker.port)
    await proveWebSocket(socket)
    socket.terminate()
    const https = await dialTls(broker.port, trust)
    https.write("GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    expect(readHttp(await https.closed)).toMatchObject({ status: 404 })
    // A health check in the same container needs no certificate.
    expect((await runFitz(["health"], { FITZ_HTTP_PORT: String(broker.port) })).code).toBe(0)
  })
})

/** A handshake and a request whose every byte is written alone. */
async function proveSlowly(port: number, trust: ConnectionOptions): Promise<void> {
  const socket = connectTcp({ port, host: "127.0.0.1", noDelay: true })
  const dribble = new Duplex({
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => {
      const next = (at: number): void => {
        if (at === chunk.length) done()
        else socket.write(chunk.subarray(at, at + 1), () => setImmediate(() => next(at + 1)))
      }
      next(0)
    },
    destroy: (error, done) => {
      socket.destroy()
      done(error)
    },
  })
  socket.on("data", piece => dribble.push(piece))
  socket.on("end", () => dribble.push(null))
  const tls = connectTls({ socket: dribble, ...trust })
  const reply = new Promise(resolve => tls.once("data", resolve))
  tls.write(UNSUBSCRIBE_ALL)
  expect(await reply).toEqual(UNSUBSCRIBED)
  tls.destroy()
}
