// The life of a connection: how programs come in, what closes on them, and that nobody else notices. Real
// brokers, real sockets, both transports.

import { SignJWT } from "jose"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { WebSocket } from "ws"
import { block, bytes, inner, outer, u8, u16, u32 } from "../kit/bytes.ts"
import { Caller, openCaller, openWire } from "../kit/caller.ts"
import { ask, askUpgrade, say } from "../kit/http.ts"
import { fresh, mint, Place, Places, type Program, type TokenOptions, TRANSPORTS, WAYS } from "../kit/ways.ts"

let places: Places
beforeAll(async () => {
  places = await Places.start()
})
afterAll(() => places.stop())

/** The public client takes itself for authenticated when a connection is still open after this long. */
const SETTLE_MS = 1_000

const guarded = (): number => places.at({ transport: "tcp", auth: true }).broker.port
const anybody = (): number => places.at({ transport: "tcp", auth: false }).broker.port

async function raw(transport: "tcp" | "ws", port: number): Promise<Program> {
  return new Caller(await openWire(transport, port))
}

describe.concurrent.each(WAYS)("connections over $transport, auth $auth", way => {
  test("C-1 C-8: CONNECT is answered by silence; the first frame is the first reply", async () => {
    const a = await places.open(way)
    expect((await a.lease.query(fresh("lease"))).holder).toBeNull()
    expect(a.received.map(({ type }) => type)).toEqual([403])
  })

  test("T-16: a program that ends its connection is let go at once", async () => {
    const [a, b] = [await places.open(way), await places.open(way)]
    const route = fresh("lease")
    await a.lease.acquire(route, 60)
    const pending = a.queue.reserve(fresh("queue"), { wait: 30 })
    const ended = Promise.allSettled([pending, a.close()])
    expect((await ended).map(({ status }) => status)).toEqual(["rejected", "fulfilled"])
    if (way.transport === "ws") expect(a.wire.closeCode).toBe(1000)
    const asked = await b.lease.acquire(route, 60, 30)
    const grant = asked.kind === 2 ? await b.lease.granted() : asked
    expect(grant).toEqual({ kind: 0, token: asked.token })
  })

  test("F-6: frames arrive whole however the network cut or joined them", async () => {
    const port = places.at(way).broker.port
    const a = await raw(way.transport, port)
    const token = Buffer.from(way.auth ? await mint() : "", "utf8")
    const route = fresh("queue")
    const enqueue = (body: string): Buffer => bytes(block(route), block(body), u8(0))
    if (way.transport === "tcp") {
      const stream = Buffer.concat([
        outer(1, token),
        ...["a", "b", "c"].map(body => outer(200, enqueue(body))),
        outer(202, bytes(block(route), "0000000000000010", "01", u32(3), u8(0))),
      ])
      for (const byte of stream) a.wire.raw(Buffer.of(byte))
    } else {
      a.wire.raw(inner(1, token))
      for (const body of ["a", "b", "c"]) a.wire.raw(inner(200, enqueue(body)))
      a.wire.raw(inner(202, bytes(block(route), "0000000000000010", "01", u32(3), u8(0))))
    }
    const reserved = await a.next(202)
    expect(reserved.subarray(0, 5)).toEqual(bytes("00", u32(3)))
    expect(a.received.map(({ type }) => type)).toEqual([200, 200, 200, 202])
  })

  test("F-1 F-2 F-5 F-8 F-9: what is no frame, or no message of clients, closes without a word", async () => {
    const port = places.at(way).broker.port
    const bystander = await places.open(way)
    await bystander.settle()
    const wrong: Record<string, Buffer> = {
      "a type escape below 255": bytes("ff 00 c8 00 00"),
      "an inner length too long": bytes("64 00 05 00"),
      "an inner length too short": bytes("64 00 00 00"),
      "half a header": bytes("64"),
      "half an escaped header": bytes("ff 01 90 00"),
    }
    for (const type of [0, 2, 3, 5, 99, 111, 112, 199, 201, 205, 206, 209, 255, 304, 305, 409, 410, 504, 609])
      wrong[`type ${type}`] = inner(type)
    for (const type of [705, 706, 707, 65_535]) wrong[`type ${type}`] = inner(type)
    for (const [what, frame] of Object.entries(wrong)) {
      const a = await raw(way.transport, port)
      a.send(1, Buffer.from(way.auth ? await mint() : ""))
      await a.notice.unsubscribe(0)
      a.wire.raw(way.transport === "tcp" ? bytes(u32(frame.length), frame) : frame)
      await a.closed
      expect(a.received.length, what).toBe(1)
    }
    await bystander.settle()
  })
})

describe.concurrent.each(TRANSPORTS)("identity over %s", transport => {
  const refusals: Record<string, TokenOptions> = {
    "a wrong signature": { secret: "dev-test-secret-invalid" },
    "an expired token": { expiresInSeconds: -3_600 },
    "another audience": { audience: "elsewhere" },
    "no audience": { claims: { aud: undefined } },
    "no expiry": { claims: { exp: undefined } },
    "a token for later": { claims: { nbf: Math.floor(Date.now() / 1_000) + 3_600 } },
    "an identity without a family": { identity: "stranger" },
    "no identity": { claims: { tid: undefined } },
    "no permissions": { permissions: [] },
    "permissions that are no list": { permissions: "kv://**#*" },
    "one malformed permission": { permissions: ["kv://**#*", "kv://a//b#read"] },
    "an unknown access": { permissions: ["kv://**#admin"] },
    "nobody's permissions only": { permissions: ["admin:read"] },
  }

  test.each(Object.entries(refusals))(
    "C-2 P-4 P-12 P-14: CONNECT with %s closes in time, with nothing sent",
    async (_, token) => {
      const started = performance.now()
      const a = await openCaller(transport, guarded(), await mint(token))
      await a.closed
      expect(performance.now() - started).toBeLessThan(SETTLE_MS)
      expect(a.received).toEqual([])
    },
  )

  test("C-2 P-13: CONNECT with no token, or with none that could be one, closes", async () => {
    const key = new TextEncoder().encode("dev-test-secret")
    const unsigned = (await mint()).replace(/[^.]+$/, "")
    const header = Buffer.from('{"alg":"none"}').toString("base64url")
    const other = await new SignJWT({ tid: "dev", permissions: ["kv://**#*"] })
      .setProtectedHeader({ alg: "HS512" })
      .setAudience("fitz")
      .setExpirationTime("1h")
      .sign(key)
    for (const token of [
      "",
      "x",
      "a.b.c",
      "..",
      unsigned,
      (await mint()).replace(/^[^.]+/, header),
      other,
      `${await mint()}.x`,
      "é\u0000ü",
      "x".repeat(65_535),
    ]) {
      const a = await openCaller(transport, guarded(), token)
      await a.closed
      expect(a.received).toEqual([])
    }
  })

  test("C-3 C-4: the first frame is CONNECT, and there is only one", async () => {
    const early = await raw(transport, guarded())
    early.send(403, block("lease://a/b/c"))
    await early.closed
    expect(early.received).toEqual([])
    const twice = await openCaller(transport, guarded(), await mint())
    await twice.settle()
    twice.send(1, Buffer.from(await mint()))
    await twice.closed
    expect(twice.received.length).toBe(2)
  })

  test("C-7: what is pipelined behind CONNECT is handled once the token is verified, or never", async () => {
    const route = fresh("queue")
    const message = (body: string): Buffer => bytes(block(route), block(body), u8(0))
    const good = await openCaller(transport, guarded(), await mint())
    expect(await good.queue.enqueue(route, "good")).toBe(1)
    const bad = await openCaller(transport, guarded(), await mint({ secret: "wrong" }))
    bad.send(200, message("bad"))
    await bad.closed
    const found = await good.queue.reserve(route, { batch: 10 })
    expect(found.map(({ body }) => String(body))).toEqual(["good"])
  })

  test("C-6: with auth off a request may come first; one CONNECT may follow, two may not", async () => {
    const a = await raw(transport, anybody())
    await a.settle()
    a.send(1, Buffer.from("whatever"))
    await a.settle()
    a.send(1, bytes())
    await a.closed
    expect(a.received.length).toBe(4)
  })

  test("C-5 T-6 M-21 M-22: whoever says nothing, or not enough, is closed in time", async () => {
    const place = await Place.start({
      auth: true,
      folder: null,
      environment: { FITZ_CONNECT_TIMEOUT_SECONDS: "1", FITZ_DETECT_TIMEOUT_SECONDS: "1" },
    })
    try {
      const { port } = place.broker
      const silent = await raw(transport, port)
      const half = await raw(transport, port)
      if (transport === "tcp") half.wire.raw(bytes("00 00 00 10 01"))
      await Promise.all([silent.closed, half.closed])
      expect([...silent.received, ...half.received]).toEqual([])
      const good = await place.open(transport)
      await good.lease.acquire("lease://a/b/c", 1)
      // Once in, a program may be silent for as long as it likes: longer than both timeouts here.
      await good.lease.subscribe("lease://a/b/c")
      await good.lease.next()
      await good.settle()
    } finally {
      await place.stop()
    }
  })
})

describe.concurrent("raw TCP", () => {
  test("F-3 F-4: an outer length that no frame has closes; the largest frame is served", async () => {
    for (const length of [0, 65_541, 0x00ff_ffff]) {
      const a = await openCaller("tcp", anybody())
      await a.settle()
      a.wire.raw(bytes(u32(length), Buffer.alloc(8)))
      await a.closed
    }
    const a = await openCaller("tcp", anybody())
    const route = fresh("queue")
    const body = Buffer.alloc(65_535 - block(route).length - 4 - 1, 1)
    expect(inner(200, bytes(block(route), block(body), u8(0))).length).toBe(65_538)
    expect(await a.queue.enqueue(route, body)).toBe(1)
    const largest = inner(302, Buffer.alloc(65_535))
    expect(largest.length).toBe(65_540)
    a.wire.raw(bytes(u32(largest.length), largest))
    expect((await a.rpc.answer()).fault?.code).toBe(6010)
  })

  test("T-2 T-3 T-4 T-5 T-7: the port tells protocols apart by their first bytes", async () => {
    const port = anybody()
    expect(String(await say(port, Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))).toContain("505")
    for (const garbage of [
      "hello there",
      "GOSSIP about\r\n",
      "\u0016\u0003\u0001",
      "\u00ff\u00ff\u00ff\u00ff",
    ])
      expect(await say(port, Buffer.from(garbage, "latin1"))).toEqual(Buffer.of())
    expect(await say(port, bytes(u32(0)))).toEqual(Buffer.of())
    expect((await ask(port, "/healthz")).status).toBe(200)
    expect(
      String(await say(port, Buffer.from("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))),
    ).toMatch(/^HTTP\/1\.1 200 /)
  })
})

describe.concurrent("WebSocket", () => {
  /** Opens one, sends CONNECT and this, and returns the close code. */
  const closeCodeAfter = async (send: (socket: WebSocket) => void): Promise<number> => {
    const socket = new WebSocket(`ws://127.0.0.1:${anybody()}/ws`)
    await new Promise(resolve => socket.once("open", resolve))
    socket.send(inner(1))
    send(socket)
    return new Promise(resolve => socket.once("close", resolve))
  }

  test("F-5 F-7 F-9 T-13: text, empty, joined and oversize messages are violations", async () => {
    expect(await closeCodeAfter(socket => socket.send("text"))).toBe(1008)
    expect(await closeCodeAfter(socket => socket.send(Buffer.of()))).toBe(1008)
    const query = inner(403, block("lease://a/b/c"))
    expect(await closeCodeAfter(socket => socket.send(Buffer.concat([query, query])))).toBe(1008)
    expect(await closeCodeAfter(socket => socket.send(query.subarray(0, 7)))).toBe(1008)
    expect(await closeCodeAfter(socket => socket.send(Buffer.alloc(65_541)))).toBe(1009)
    const type = inner(302, Buffer.alloc(65_535))
    expect(await closeCodeAfter(socket => socket.send(bytes(type.subarray(0, 3), u16(65_535))))).toBe(1008)
  })

  test("T-13 T-15 T-16: each frame comes in a binary message of its own; pings are answered", async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${anybody()}/ws`)
    await new Promise(resolve => socket.once("open", resolve))
    const messages: { data: Buffer; isBinary: boolean }[] = []
    socket.on("message", (data, isBinary) => messages.push({ data: data as Buffer, isBinary }))
    socket.send(inner(1))
    for (let n = 0; n < 50; n++) socket.send(inner(403, block(`lease://a/b/c${n}`)))
    const pong = new Promise(resolve => socket.once("pong", resolve))
    socket.ping(Buffer.from("payload"))
    expect(String(await pong)).toBe("payload")
    while (messages.length < 50) await new Promise(resolve => socket.once("message", resolve))
    for (const { data, isBinary } of messages)
      expect([isBinary, data]).toEqual([true, inner(403, bytes("00 00", u32(0)))])
    socket.close(1000)
    expect(await new Promise(resolve => socket.once("close", resolve))).toBe(1000)
  })

  test("T-11 T-12: upgrades happen at /ws only, and browsers come from listed origins only", async () => {
    const place = await Place.start({
      folder: null,
      environment: { FITZ_WS_ALLOWED_ORIGINS: "https://good.example,https://also.example" },
    })
    try {
      const { port } = place.broker
      expect((await askUpgrade(port)).status).toBe(101)
      expect((await askUpgrade(port, "/ws?x=1")).status).toBe(101)
      for (const path of ["/", "/ws/other", "/healthz", "/api/v1/stats"])
        expect((await askUpgrade(port, path)).status, path).toBe(404)
      const plain = await ask(port, "/ws")
      expect([plain.status, plain.headers["upgrade"]]).toEqual([426, "websocket"])
      for (const [origin, status] of [
        ["https://good.example", 101],
        ["https://also.example", 101],
        ["https://good.example.evil", 403],
        ["http://good.example", 403],
        ["null", 403],
      ] as const)
        expect((await askUpgrade(port, "/ws", { origin })).status, origin).toBe(status)
    } finally {
      await place.stop()
    }
  })
})
