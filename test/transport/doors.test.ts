// The doors of a whole broker in this process: HTTP, WebSocket and raw TCP on one port, as bytes on real sockets.
// What stands inside the frames is other tests' business.

import { randomBytes } from "node:crypto"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { WebSocket } from "ws"
import { block, bytes, inner, outer, Splitter, u16, u32 } from "../kit/bytes.ts"
import { type Caller, openCaller } from "../kit/caller.ts"
import { type OpenDoors, openDoors } from "../kit/doors.ts"
import { until } from "../kit/patience.ts"
import { ask, dial, type HttpAnswer, type RawSocket } from "../kit/sockets.ts"

const ORIGIN = "https://app.example.com"
/** A request that is always answered, in its outer form: unsubscribe from nothing. */
const UNSUBSCRIBE_ALL = outer(503)
const UNSUBSCRIBED = outer(503, bytes("00"))
const FRAME_BYTES_MAX = 65_540

let doors: OpenDoors
let secured: OpenDoors
beforeAll(async () => {
  doors = await openDoors({
    FITZ_WS_ALLOWED_ORIGINS: `${ORIGIN},https://other.example.com`,
    FITZ_TCP_PORT: "0",
  })
  secured = await openDoors({
    FITZ_AUTH_REQUIRED: "true",
    FITZ_JWT_HMAC_SECRET: "dev-test-secret",
    FITZ_CONNECT_TIMEOUT_SECONDS: "1",
    FITZ_DETECT_TIMEOUT_SECONDS: "1",
  })
})
afterAll(async () => {
  const errors = [doors, secured].flatMap(one => one.records.filter(record => record.level === "error"))
  await Promise.all([doors.close(), secured.close()])
  expect(errors).toEqual([])
})

function get(path: string, headers = "", method = "GET"): Promise<HttpAnswer> {
  return ask(doors.port, `${method} ${path} HTTP/1.1\r\nHost: fitz\r\n${headers}\r\n`)
}

describe("HTTP", () => {
  test("T-1, H-1: a probe, a frame and a WebSocket are served on one port", async () => {
    expect(await get("/healthz")).toMatchObject({ status: 200 })
    for (const transport of ["tcp", "ws"] as const) {
      const caller = await openCaller(transport, doors.port)
      expect(await caller.notice.unsubscribeAll()).toBeNull()
      await caller.close()
    }
  })

  test("H-8, H-2: an unknown path is 404 in JSON with a request id", async () => {
    const answer = await get("/nothing/here")
    expect(answer.status).toBe(404)
    expect(answer.headers).toMatchObject({
      "content-type": "application/json; charset=utf-8",
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
    })
    expect(JSON.parse(answer.body)).toEqual({
      error: "Not Found",
      code: "not_found",
      message: expect.any(String),
      request_id: answer.headers["x-request-id"],
    })
  })

  test("H-2: a request id is echoed where it is 1 to 128 visible characters, and made up where not", async () => {
    const longest = "x".repeat(128)
    expect((await get("/healthz", `X-Request-Id: ${longest}\r\n`)).headers["x-request-id"]).toBe(longest)
    for (const given of ["", "x".repeat(129), "a b", "t\xe9l\xe9"]) {
      const answer = await get("/healthz", `X-Request-Id: ${given}\r\n`)
      expect(answer.headers["x-request-id"]).toMatch(/^[0-9a-f-]{36}$/)
    }
  })

  test("T-11: /ws without an upgrade is 426, whatever the method", async () => {
    for (const method of ["GET", "POST", "HEAD"]) {
      const answer = await get("/ws", "", method)
      expect(answer, method).toMatchObject({ status: 426, headers: { upgrade: "websocket" } })
      if (method !== "HEAD") expect(JSON.parse(answer.body)).toMatchObject({ code: "upgrade_required" })
    }
  })

  test.each(["/healthz", "/readyz", "/ws/deeper", "/nothing", "/"])(
    "T-11: an upgrade on %s is 404 and no upgrade",
    async path => {
      const answer = await get(path, upgrade())
      expect(answer.status).toBe(404)
      expect(JSON.parse(answer.body)).toMatchObject({ code: "not_found" })
    },
  )

  test("T-11: an upgrade to something else than WebSocket is ignored, so a probe stays a probe", async () => {
    expect(await get("/healthz", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n")).toMatchObject({
      status: 200,
    })
    expect(await get("/ws", "Connection: Upgrade\r\nUpgrade: h2c\r\n")).toMatchObject({ status: 426 })
  })

  test("H-1: a probe answers HEAD without a body, and 405 to other methods", async () => {
    for (const path of ["/healthz", "/livez", "/readyz", "/startupz", "/health"]) {
      const [whole, head] = [await get(path), await get(path, "", "HEAD")]
      expect(head.status, path).toBe(200)
      expect(Number(head.headers["content-length"])).toBeGreaterThan(10)
      expect(whole.headers["cache-control"]).toBe("no-store")
      const posted = await get(path, "Content-Length: 0\r\n", "POST")
      expect(posted, path).toMatchObject({ status: 405, headers: { allow: "GET, HEAD" } })
      expect(JSON.parse(posted.body)).toMatchObject({ code: "method_not_allowed" })
    }
  })

  test("H-2: what is no HTTP behind a method is 400, and the connection is closed", async () => {
    const raw = await dial(doors.port)
    raw.write("GET \x01\x02 nonsense\r\n\r\n")
    expect((await raw.closed).toString()).toMatch(/^HTTP\/1\.1 400 /)
  })

  test("T-1: several requests on one connection are answered in order", async () => {
    const raw = await dial(doors.port)
    raw.write(
      "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    const text = (await raw.closed).toString()
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(match => match[1])).toEqual(["200", "404"])
  })

  test("T-6: headers that never end are answered with 408, and the connection is closed", async () => {
    const raw = await dial(secured.port)
    raw.write("GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    expect((await raw.closed).toString()).toMatch(/^HTTP\/1\.1 408 /)
  })

  test("T-16: an HTTP client that closes its half still gets its answer", async () => {
    const raw = await dial(doors.port, { allowHalfOpen: true })
    raw.write("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    await raw.ended
    expect(raw.text).toMatch(/^HTTP\/1\.1 200 /)
    raw.finish()
    await raw.closed
  })
})

function upgrade(headers = ""): string {
  return [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${randomBytes(16).toString("base64")}`,
    headers,
  ].join("\r\n")
}

/** A WebSocket message or control frame as a client sends it: masked with zeros, which leaves it readable. */
function webSocketFrame(opcode: number, payload: Uint8Array, { last = true, masked = true } = {}): Buffer {
  const mask = masked ? 0x80 : 0
  const length =
    payload.length < 126
      ? Buffer.of(mask | payload.length)
      : payload.length < 65_536
        ? bytes(Buffer.of(mask | 126), u16(payload.length))
        : bytes(Buffer.of(mask | 127), u32(0), u32(payload.length))
  return bytes(Buffer.of((last ? 0x80 : 0) | opcode), length, masked ? u32(0) : bytes(), payload)
}
const [CONTINUE, TEXT, BINARY, CLOSE, PING, PONG] = [0, 1, 2, 8, 9, 10]

/** The frames in a server's answer: opcode and payload. */
function webSocketFrames(stream: Buffer): { opcode: number; payload: Buffer }[] {
  const frames = []
  for (let at = stream.indexOf("\r\n\r\n") + 4; at + 2 <= stream.length; ) {
    const short = stream[at + 1]! & 0x7f
    const start = at + (short < 126 ? 2 : short === 126 ? 4 : 10)
    const length =
      short < 126 ? short : short === 126 ? stream.readUInt16BE(at + 2) : stream.readUInt32BE(at + 6)
    frames.push({ opcode: stream[at]! & 0x0f, payload: stream.subarray(start, start + length) })
    at = start + length
  }
  return frames
}

async function openRaw(port = doors.port): Promise<RawSocket> {
  const raw = await dial(port)
  raw.write(`GET /ws HTTP/1.1\r\nHost: fitz\r\n${upgrade()}\r\n`)
  await raw.until(received => received.includes("\r\n\r\n"))
  expect(raw.text).toMatch(/^HTTP\/1\.1 101 /)
  return raw
}

/** The code of the close frame that the broker sent before the connection ended. */
async function closeCode(raw: RawSocket): Promise<number | null> {
  const closing = webSocketFrames(
    await raw.until(received => webSocketFrames(received).some(frame => frame.opcode === CLOSE)),
  ).find(frame => frame.opcode === CLOSE)!
  raw.write(webSocketFrame(CLOSE, closing.payload))
  await raw.closed
  return closing.payload.length < 2 ? null : closing.payload.readUInt16BE()
}

/** Sends CONNECT and a request as binary messages and reads the reply. */
async function proveAlive(raw: RawSocket): Promise<void> {
  const before = webSocketFrames(raw.bytes).length
  raw.write(webSocketFrame(BINARY, inner(503)))
  const frames = webSocketFrames(
    await raw.until(received =>
      webSocketFrames(received)
        .slice(before)
        .some(frame => frame.opcode === BINARY),
    ),
  )
  expect(frames.slice(before).find(frame => frame.opcode === BINARY)!.payload).toEqual(
    inner(503, bytes("00")),
  )
}

describe("WebSocket", () => {
  test("T-13: one inner frame per binary message, without compression", async () => {
    const raw = await dial(doors.port)
    raw.write(
      `GET /ws HTTP/1.1\r\nHost: fitz\r\n${upgrade("Sec-WebSocket-Extensions: permessage-deflate\r\n")}\r\n`,
    )
    await raw.until(received => received.includes("\r\n\r\n"))
    expect(raw.text.toLowerCase()).not.toContain("sec-websocket-extensions")
    raw.write(bytes(webSocketFrame(BINARY, inner(1)), ...Array(3).fill(webSocketFrame(BINARY, inner(503)))))
    const frames = webSocketFrames(await raw.until(received => webSocketFrames(received).length === 3))
    expect(frames).toEqual(Array(3).fill({ opcode: BINARY, payload: inner(503, bytes("00")) }))
    raw.destroy()
  })

  test("T-13: an upgrade needs no header that the protocol does not need", async () => {
    const raw = await openRaw()
    await proveAlive(raw)
    raw.destroy()
  })

  test("T-13: a message may come in fragments, with a ping in between", async () => {
    const raw = await openRaw()
    const request = inner(501, block("notice://fragments/**"))
    raw.write(webSocketFrame(BINARY, request.subarray(0, 4), { last: false }))
    raw.write(webSocketFrame(PING, Buffer.from("still there?")))
    raw.write(webSocketFrame(CONTINUE, request.subarray(4, 9), { last: false }))
    raw.write(webSocketFrame(CONTINUE, request.subarray(9)))
    const frames = webSocketFrames(await raw.until(received => webSocketFrames(received).length === 2))
    expect(frames.map(frame => frame.opcode)).toEqual([PONG, BINARY])
    raw.destroy()
  })

  test("T-15: a ping is answered with a pong that echoes it, also before CONNECT", async () => {
    const raw = await openRaw(secured.port)
    for (const body of ["", "hello"]) raw.write(webSocketFrame(PING, Buffer.from(body)))
    const frames = webSocketFrames(await raw.until(received => webSocketFrames(received).length === 2))
    expect(frames).toEqual([
      { opcode: PONG, payload: Buffer.from("") },
      { opcode: PONG, payload: Buffer.from("hello") },
    ])
    raw.destroy()
  })

  test.each<[string, Buffer]>([
    ["a text message", webSocketFrame(TEXT, Buffer.from("hello"))],
    ["a message with two inner frames", webSocketFrame(BINARY, bytes(inner(503), inner(503)))],
    ["an empty message", webSocketFrame(BINARY, bytes())],
    ["a message that ends within a frame", webSocketFrame(BINARY, inner(503, bytes("00 00")).subarray(0, 4))],
    ["a message with the outer length of TCP", webSocketFrame(BINARY, UNSUBSCRIBE_ALL)],
    ["an escape for a short type", webSocketFrame(BINARY, bytes("ff 00 64 00 00"))],
    ["a type that only the broker sends", webSocketFrame(BINARY, inner(504))],
    ["an unassigned type", webSocketFrame(BINARY, inner(9_999))],
  ])("T-13, F-2, F-5, F-7, F-8, F-9: %s closes with 1008", async (_name, message) => {
    const raw = await openRaw()
    await proveAlive(raw)
    raw.write(message)
    expect(await closeCode(raw)).toBe(1008)
  })

  test.each<[string, Buffer, number]>([
    ["a message without a mask", webSocketFrame(BINARY, inner(503), { masked: false }), 1002],
    ["a reserved opcode", webSocketFrame(3, inner(503)), 1002],
    ["a text message that is not UTF-8", webSocketFrame(TEXT, bytes("ff fe")), 1007],
    ["a message one byte too long", webSocketFrame(BINARY, Buffer.alloc(FRAME_BYTES_MAX + 1)), 1009],
  ])("F-7, F-9: %s closes with the library's own code", async (_name, message, code) => {
    const raw = await openRaw()
    raw.write(message)
    expect(await closeCode(raw)).toBe(code)
  })

  test("F-7: fragments that add up to too much close with 1009", async () => {
    const raw = await openRaw()
    raw.write(webSocketFrame(BINARY, Buffer.alloc(40_000), { last: false }))
    raw.write(webSocketFrame(CONTINUE, Buffer.alloc(40_000)))
    expect(await closeCode(raw)).toBe(1009)
  })

  test("F-3: the longest frame is taken", async () => {
    const raw = await openRaw()
    const longest = inner(501, Buffer.alloc(65_535))
    expect(longest).toHaveLength(FRAME_BYTES_MAX)
    raw.write(webSocketFrame(BINARY, longest))
    const [reply] = webSocketFrames(await raw.until(received => webSocketFrames(received).length === 1))
    expect(reply!.opcode).toBe(BINARY)
    expect(reply!.payload.readUInt8(5)).toBe(1)
    raw.destroy()
  })

  test("T-16: a close is answered with a close of the same code, and the connection ends", async () => {
    for (const code of [1000, 1001, 4321]) {
      const raw = await openRaw()
      await proveAlive(raw)
      raw.write(webSocketFrame(CLOSE, u16(code)))
      await raw.closed
      expect(webSocketFrames(raw.bytes).at(-1)).toEqual({ opcode: CLOSE, payload: u16(code) })
    }
  })

  test("T-16: a WebSocket whose other side sends FIN is let go", async () => {
    const raw = await openRaw()
    await proveAlive(raw)
    raw.finish()
    await raw.closed
  })

  test("T-12: a listed origin is let in, another one is 403, none is let in", async () => {
    const status = async (origin: string | null): Promise<number> => {
      const raw = await dial(doors.port)
      raw.write(
        `GET /ws HTTP/1.1\r\nHost: fitz\r\n${upgrade(origin === null ? "" : `Origin: ${origin}\r\n`)}\r\n`,
      )
      const received = await raw.until(received => received.includes("\r\n\r\n"))
      raw.destroy()
      return Number(received.toString().split(" ")[1])
    }
    expect(await status(null)).toBe(101)
    expect(await status(ORIGIN)).toBe(101)
    expect(await status("https://other.example.com")).toBe(101)
    for (const origin of [
      "https://evil.example.com",
      `${ORIGIN}.evil.com`,
      `${ORIGIN}:444`,
      "http://app.example.com",
      "https://APP.example.com",
      "null",
      "",
    ]) {
      expect(await status(origin), origin).toBe(403)
    }
  })

  test("T-12: the refusal says why, in JSON", async () => {
    const answer = await get("/ws", upgrade("Origin: https://evil.example.com\r\n"))
    expect(answer.status).toBe(403)
    expect(JSON.parse(answer.body)).toMatchObject({ error: "Forbidden", code: "origin_not_allowed" })
  })

  test("T-12: where no origin is listed browsers are kept out and programs are not", async () => {
    const refused = await ask(
      secured.port,
      `GET /ws HTTP/1.1\r\nHost: fitz\r\n${upgrade(`Origin: ${ORIGIN}\r\n`)}\r\n`,
    )
    expect(refused.status).toBe(403)
    const raw = await openRaw(secured.port)
    raw.destroy()
  })

  test("C-2, F-9: a refused CONNECT closes with 1008 at once, before any data", async () => {
    const raw = await openRaw(secured.port)
    raw.write(webSocketFrame(BINARY, inner(1, Buffer.from("not a token"))))
    expect(await closeCode(raw)).toBe(1008)
    expect(webSocketFrames(raw.bytes).map(frame => frame.opcode)).toEqual([CLOSE])
  })

  test.each(["tcp", "ws"] as const)(
    "C-2: over %s it is gone well before a client believes itself let in",
    async transport => {
      const caller = await openCaller(transport, secured.port, "not a token")
      // A second is what the public client waits; the silent connection is cut off after that.
      const silent = await dial(secured.port)
      const first = await Promise.race([
        caller.closed.then(() => "refused"),
        silent.closed.then(() => "silent"),
      ])
      expect(first).toBe("refused")
      expect(caller.received).toEqual([])
    },
  )

  test("C-3: another first message closes, and no reply comes before", async () => {
    const raw = await openRaw(secured.port)
    raw.write(webSocketFrame(BINARY, inner(503)))
    expect(await closeCode(raw)).toBe(1008)
    expect(webSocketFrames(raw.bytes).map(frame => frame.opcode)).toEqual([CLOSE])
  })

  test("C-5: without a CONNECT in time the connection is closed", async () => {
    const raw = await openRaw(secured.port)
    expect(await closeCode(raw)).toBe(1008)
  })
})

describe("raw TCP", () => {
  const replies = (raw: RawSocket): number => new Splitter().push(raw.bytes).length

  test("T-14, F-6: frames may come joined, cut anywhere, and byte by byte", async () => {
    const stream = bytes(outer(1), UNSUBSCRIBE_ALL, UNSUBSCRIBE_ALL)
    const joined = await dial(doors.port)
    joined.write(stream)
    const slow = await dial(doors.port)
    await slow.writeSlowly(stream)
    for (const raw of [joined, slow]) {
      expect(await raw.until(received => received.length >= UNSUBSCRIBED.length * 2)).toEqual(
        bytes(UNSUBSCRIBED, UNSUBSCRIBED),
      )
      raw.destroy()
    }
  })

  test.each<[string, Buffer]>([
    ["F-4: an outer length of 0", bytes(UNSUBSCRIBE_ALL, u32(0))],
    ["F-4: an outer length that is too long", bytes(UNSUBSCRIBE_ALL, u32(FRAME_BYTES_MAX + 1))],
    ["F-5: an inner length that disagrees", bytes(UNSUBSCRIBE_ALL, u32(3), "05 00 01")],
    ["F-2: an escape for a short type", bytes(UNSUBSCRIBE_ALL, u32(5), "ff 00 64 00 00")],
    ["F-8: an unassigned type", bytes(UNSUBSCRIBE_ALL, outer(9_999))],
    [
      "T-1: HTTP on a connection that speaks TCP",
      bytes(UNSUBSCRIBE_ALL, Buffer.from("GET / HTTP/1.1\r\n\r\n")),
    ],
  ])("%s closes the connection, without an error frame", async (_name, stream) => {
    const raw = await dial(doors.port)
    raw.write(UNSUBSCRIBE_ALL)
    await raw.until(received => received.length === UNSUBSCRIBED.length)
    raw.write(stream.subarray(UNSUBSCRIBE_ALL.length))
    expect(await raw.closed).toEqual(UNSUBSCRIBED)
  })

  test("T-16: the broker closes its side on FIN, after the replies that are under way", async () => {
    const raw = await dial(doors.port, { allowHalfOpen: true })
    raw.write(bytes(outer(1), UNSUBSCRIBE_ALL))
    await raw.until(received => received.length === UNSUBSCRIBED.length)
    raw.finish()
    await raw.closed
  })

  test("T-8: the further port takes frames, and closes HTTP without an answer", async () => {
    const caller = await openCaller("tcp", doors.tcpPort!)
    expect(await caller.notice.unsubscribeAll()).toBeNull()
    await caller.close()
    const raw = await dial(doors.tcpPort!)
    raw.write("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    expect(await raw.closed).toHaveLength(0)
  })

  test("C-2: a refused CONNECT closes at once, before any data", async () => {
    const raw = await dial(secured.port)
    raw.write(bytes(outer(1, Buffer.from("not a token")), UNSUBSCRIBE_ALL))
    expect(await raw.closed).toHaveLength(0)
  })

  test("C-3, C-5: another first frame, or none in time, closes", async () => {
    const [eager, silent] = [await dial(secured.port), await dial(secured.port)]
    eager.write(UNSUBSCRIBE_ALL)
    silent.write(outer(1).subarray(0, 5))
    expect(await eager.closed).toHaveLength(0)
    expect(await silent.closed).toHaveLength(0)
  })

  test("C-6: with nobody asked, requests are served before CONNECT, and CONNECT may hold anything once", async () => {
    const raw = await dial(doors.port)
    raw.write(bytes(UNSUBSCRIBE_ALL, outer(1, randomBytes(100)), UNSUBSCRIBE_ALL))
    await raw.until(() => replies(raw) === 2)
    raw.write(outer(1))
    expect(await raw.closed).toEqual(bytes(UNSUBSCRIBED, UNSUBSCRIBED))
  })
})

describe("the limit of connections", () => {
  const MOST = 3

  test("M: one more WebSocket is 503, one more TCP connection is closed, HTTP goes on, and a place comes free", async () => {
    const small = await openDoors({ FITZ_MAX_CONNECTIONS: String(MOST) })
    try {
      const callers: Caller[] = []
      for (const transport of ["tcp", "ws", "tcp"] as const) {
        const caller = await openCaller(transport, small.port)
        await caller.notice.unsubscribeAll()
        callers.push(caller)
      }
      const refused = await ask(small.port, `GET /ws HTTP/1.1\r\nHost: fitz\r\n${upgrade()}\r\n`)
      expect(refused.status).toBe(503)
      expect(JSON.parse(refused.body)).toMatchObject({ code: "too_many_connections" })
      const raw = await dial(small.port)
      raw.write(bytes(outer(1), UNSUBSCRIBE_ALL))
      expect(await raw.closed).toHaveLength(0)
      expect((await ask(small.port, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")).status).toBe(200)
      for (const caller of callers) expect(await caller.notice.unsubscribeAll()).toBeNull()
      await callers.pop()!.close()
      const next = await until(
        "a place is free",
        () =>
          openCaller("ws", small.port).then(
            caller => caller,
            () => null,
          ),
        caller => caller !== null,
      )
      expect(await next!.notice.unsubscribeAll()).toBeNull()
    } finally {
      await small.close()
    }
  })
})

describe("draining", () => {
  test("D-5, D-6, D-10, T-17: no door for programs, probes go on, and those that are left are told", async () => {
    const leaving = await openDoors({ FITZ_DRAIN_GRACE_SECONDS: "1" })
    const [tcp, ws] = [await dial(leaving.port, { allowHalfOpen: true }), await openRaw(leaving.port)]
    tcp.write(UNSUBSCRIBE_ALL)
    await tcp.until(received => received.length === UNSUBSCRIBED.length)
    const drained = leaving.broker.drain()
    const refused = await ask(leaving.port, `GET /ws HTTP/1.1\r\nHost: fitz\r\n${upgrade()}\r\n`)
    expect(refused.status).toBe(503)
    expect(JSON.parse(refused.body)).toMatchObject({ code: "shutting_down" })
    const late = await dial(leaving.port)
    late.write(UNSUBSCRIBE_ALL)
    expect(await late.closed).toHaveLength(0)
    expect((await ask(leaving.port, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")).status).toBe(200)
    // D-8: connected programs are served as ever.
    tcp.write(UNSUBSCRIBE_ALL)
    await tcp.until(received => received.length === UNSUBSCRIBED.length * 2)
    await tcp.ended
    tcp.finish()
    const closing = webSocketFrames(
      await ws.until(received => webSocketFrames(received).some(frame => frame.opcode === CLOSE)),
    ).at(-1)!
    expect([closing.payload.readUInt16BE(), closing.payload.subarray(2).toString()]).toEqual([
      1001,
      "draining",
    ])
    ws.write(webSocketFrame(CLOSE, closing.payload))
    await Promise.all([drained, tcp.closed, ws.closed])
    await expect(dial(leaving.port)).rejects.toThrow("ECONNREFUSED")
  })
})

test("T-13: the usual library is let in and told the truth about why it is closed", async () => {
  const socket = new WebSocket(`ws://127.0.0.1:${doors.port}/ws`)
  const closed = new Promise<number>(resolve => socket.once("close", resolve))
  await new Promise(resolve => socket.once("open", resolve))
  socket.send("text")
  expect(await closed).toBe(1008)
})
