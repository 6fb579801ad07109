// The port's first look at a connection: which protocol it is, and what becomes of everything that is none.
// Real loopback sockets, a clock that the test moves; what the port hands over is only kept, never answered.

import type { Socket } from "node:net"
import { afterEach, describe, expect, test } from "vitest"
import { detect, Port, type PortOptions } from "../../broker/transport/port.ts"
import { bytes, outer, u32 } from "../kit/bytes.ts"
import { until } from "../kit/patience.ts"
import { dial, RawSocket } from "../kit/sockets.ts"
import { TestWorld } from "../kit/world.ts"

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"]
const FRAME_BYTES_MAX = 65_540

interface TestPort {
  readonly world: TestWorld
  readonly port: number
  readonly tcpPort: number
  /** Sockets handed over as HTTP. */
  readonly http: RawSocket[]
  /** Bytes handed over as raw TCP, the first and all later ones. */
  readonly tcp: { bytes: Buffer; socket: Socket }[]
  readonly malformed: string[]
  /** Time limits that are running. */
  readonly timers: number
  close(): Promise<void>
}

const opened: TestPort[] = []

async function openPort(options: Partial<PortOptions> = {}): Promise<TestPort> {
  const world = new TestWorld()
  const http: RawSocket[] = []
  const tcp: TestPort["tcp"] = []
  const malformed: string[] = []
  let timers = 0
  const port = new Port({
    takeHttp: socket => {
      http.push(new RawSocket(socket))
      socket.resume()
    },
    takeTcp: (socket, first) => {
      const taken = { bytes: Buffer.from(first), socket }
      tcp.push(taken)
      socket.on("data", piece => {
        taken.bytes = Buffer.concat([taken.bytes, piece])
      })
      return true
    },
    tls: null,
    tlsOnly: false,
    detectTimeoutMs: 10_000,
    later: (ms, work) => {
      timers++
      const cancel = world.later(ms, () => {
        timers--
        work()
      })
      let running = true
      return () => {
        if (running) timers--
        running = false
        cancel()
      }
    },
    onMalformed: reason => malformed.push(reason),
    ...options,
  })
  const main = await port.listen("127.0.0.1", 0, false)
  const tcpOnly = await port.listen("127.0.0.1", 0, true)
  const made: TestPort = {
    world,
    port: main.port,
    tcpPort: tcpOnly.port,
    http,
    tcp,
    malformed,
    get timers() {
      return timers
    },
    close: () => port.close(),
  }
  opened.push(made)
  return made
}

afterEach(async () => {
  await Promise.all(opened.splice(0).map(port => port.close()))
})

describe("the first bytes", () => {
  const LATIN = (text: string): Buffer => Buffer.from(text, "latin1")
  const CASES: readonly (readonly [name: string, bytes: Buffer, protocol: ReturnType<typeof detect>])[] = [
    ["T-2: nothing yet", Buffer.alloc(0), "more"],
    ...METHODS.map(method => [`T-2: ${method} and a space`, LATIN(`${method} `), "http"] as const),
    ...METHODS.map(method => [`T-2: ${method} without its space`, LATIN(method), "more"] as const),
    ...METHODS.map(method => [`T-2: the first letter of ${method}`, LATIN(method[0]!), "more"] as const),
    ["T-2: a method and a line end", LATIN("GET\r\n"), "malformed"],
    ["T-2: a method that goes on", LATIN("GETS /"), "malformed"],
    ["T-2: a letter that begins no method", LATIN("A"), "malformed"],
    ["T-2: letters that begin no method", LATIN("ABCDEFGHIJKLMNOPQRST"), "malformed"],
    ["T-2: small letters are a length far too long", LATIN("get "), "malformed"],
    ["T-5: the HTTP/2 preface", LATIN("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "http2"],
    ["T-5: half the HTTP/2 preface", LATIN("PRI * HT"), "more"],
    ["T-5: nearly the HTTP/2 preface", LATIN("PRI * HTTP/3.0"), "malformed"],
    ["T-3: a TLS handshake", bytes("16 03 01"), "tls"],
    ["T-3: its first byte", bytes("16"), "tls"],
    ["T-4: a length of 0", u32(0), "malformed"],
    ["T-4: a length of 1", u32(1), "tcp"],
    ["T-4: the longest frame", u32(FRAME_BYTES_MAX), "tcp"],
    ["T-4: one byte more", u32(FRAME_BYTES_MAX + 1), "malformed"],
    ["T-4: a length beyond 16 MiB", u32(0x0100_0000), "malformed"],
    ["T-4: three bytes of a length", bytes("00 00 00"), "more"],
    ["T-4: no length can begin with 01", bytes("01"), "malformed"],
    ["T-4: nor with FF", bytes("ff"), "malformed"],
    ["T-4: nor with a bracket behind Z", LATIN("["), "malformed"],
    ["T-4: nor with the character before A", LATIN("@"), "malformed"],
  ]
  test.each(CASES)("%s", (_name, first, protocol) => {
    expect(detect(first)).toBe(protocol)
  })

  test("T-2, T-4: whatever comes, 16 bytes are enough to decide", () => {
    for (let first = 0; first < 256; first++) {
      const decided = detect(Buffer.alloc(16, first))
      expect(decided, `16 bytes of ${first}`).not.toBe("more")
    }
  })
})

describe("handing over", () => {
  const REQUEST = Buffer.from("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "latin1")
  const FRAMES = bytes(outer(500, Buffer.from("one")), outer(501, Buffer.from("another")))

  test("T-7: an HTTP request arrives whole, its body included", async () => {
    const port = await openPort()
    const raw = await dial(port.port)
    raw.write(REQUEST)
    await until("the request is handed over", () => port.http[0]?.bytes.equals(REQUEST) ?? false)
    expect(port.malformed).toEqual([])
  })

  test("T-7: an HTTP request arrives whole when it comes byte by byte", async () => {
    const port = await openPort()
    const raw = await dial(port.port)
    await raw.writeSlowly(REQUEST)
    await until("the request is handed over", () => port.http[0]?.bytes.equals(REQUEST) ?? false)
  })

  test("T-7: frames arrive whole when they come at once, and byte by byte", async () => {
    const port = await openPort()
    const [fast, slow] = [await dial(port.port), await dial(port.port)]
    fast.write(FRAMES)
    await slow.writeSlowly(FRAMES)
    await until(
      "all frames are handed over",
      () => port.tcp.length === 2 && port.tcp.every(taken => taken.bytes.equals(FRAMES)),
    )
  })

  test("T-7: a request that is cut anywhere is handed over whole", async () => {
    const port = await openPort()
    for (let cut = 1; cut < 12; cut++) {
      const raw = await dial(port.port)
      raw.write(REQUEST.subarray(0, cut))
      await new Promise<void>(resolve => setImmediate(resolve))
      raw.write(REQUEST.subarray(cut))
      await until(`cut at ${cut}`, () => port.http[cut - 1]?.bytes.equals(REQUEST) ?? false)
    }
  })

  test("T-1: the decision holds: frames on an HTTP connection stay with HTTP", async () => {
    const port = await openPort()
    const raw = await dial(port.port)
    raw.write(REQUEST)
    raw.write(FRAMES)
    const all = bytes(REQUEST, FRAMES)
    await until("everything went to HTTP", () => port.http[0]?.bytes.equals(all) ?? false)
    expect(port.tcp).toHaveLength(0)
  })

  test("T-17: raw TCP that is not wanted is closed after detection", async () => {
    const port = await openPort({ takeTcp: () => false })
    const raw = await dial(port.port)
    raw.write(FRAMES)
    expect(await raw.closed).toHaveLength(0)
    expect(port.malformed).toEqual([])
  })
})

describe("what is closed", () => {
  test.each([
    ["T-4: a length of 0", u32(0)],
    ["T-4: a length that is too long", u32(FRAME_BYTES_MAX + 1)],
    ["T-4: a first byte of 01", bytes("01")],
    ["T-2: a word that is no method", Buffer.from("HELO mail.example\r\n")],
  ])("%s closes the connection without a word", async (_name, first) => {
    const port = await openPort()
    const raw = await dial(port.port)
    raw.write(first)
    expect(await raw.closed).toHaveLength(0)
    expect(port.malformed).toEqual(["detection"])
  })

  test("T-3: TLS on a port without a certificate is closed", async () => {
    const port = await openPort()
    const raw = await dial(port.port)
    raw.write(bytes("16 03 01 00 05 01 00 00 01 00"))
    expect(await raw.closed).toHaveLength(0)
    expect(port.malformed).toEqual(["tls"])
  })

  test("T-5: HTTP/2 in plaintext is answered with 505, and the connection ends though the other side does not", async () => {
    const port = await openPort()
    const raw = await dial(port.port, { allowHalfOpen: true })
    raw.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    await raw.ended
    expect(raw.text).toMatch(/^HTTP\/1\.1 505 /)
    // Our half is still open; the broker does not wait for it for ever.
    port.world.moveTo(port.world.now() + 1_000)
    port.world.run()
    raw.write("more")
    await until("the socket is gone", () => {
      if (!raw.isClosed) raw.write("more")
      return raw.isClosed
    })
  })

  test("T-6: a connection that says nothing, or not enough, is closed when its time is up", async () => {
    const port = await openPort()
    const [silent, vague, short] = [await dial(port.port), await dial(port.port), await dial(port.tcpPort)]
    vague.write("GE")
    short.write(bytes("00 00"))
    await until("all three are looked at", () => port.timers === 3)
    port.world.moveTo(port.world.now() + 9_999)
    port.world.run()
    expect([silent, vague, short].map(raw => raw.isClosed)).toEqual([false, false, false])
    port.world.moveTo(port.world.now() + 1)
    port.world.run()
    await Promise.all([silent.closed, vague.closed, short.closed])
    expect(port.malformed).toEqual(["timeout", "timeout", "timeout"])
  })

  test("T-6: once the protocol is known the time limit is gone", async () => {
    const port = await openPort()
    const raw = await dial(port.port)
    raw.write("GET / HTTP/1.1\r\n")
    await until("it is handed over", () => port.http.length === 1)
    expect(port.world.nextTimerMs).toBeNull()
  })

  test("T-16: whoever leaves before saying anything is let go without a complaint", async () => {
    const port = await openPort()
    const raw = await dial(port.port)
    raw.finish()
    await raw.closed
    expect(port.malformed).toEqual([])
    expect(port.world.nextTimerMs).toBeNull()
  })

  test("T-8: the TCP port takes frames and nothing else", async () => {
    const port = await openPort()
    const [program, browser, preface] = [
      await dial(port.tcpPort),
      await dial(port.tcpPort),
      await dial(port.tcpPort),
    ]
    const frame = outer(1, Buffer.from("token"))
    program.write(frame)
    browser.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    preface.write("PRI * HTTP/2.0\r\n\r\n")
    expect(await browser.closed).toHaveLength(0)
    expect(await preface.closed).toHaveLength(0)
    await until("the frame is handed over", () => port.tcp[0]?.bytes.equals(frame) ?? false)
    expect(port.http).toHaveLength(0)
  })

  test("D-10: closing the port ends connections in every state", async () => {
    const port = await openPort()
    const [fresh, http, tcp] = [await dial(port.port), await dial(port.port), await dial(port.port)]
    http.write("GET / HTTP/1.1\r\n")
    tcp.write(outer(1))
    await until("both are handed over", () => port.http.length === 1 && port.tcp.length === 1)
    await until("the third is looked at", () => port.timers === 1)
    await port.close()
    opened.splice(opened.indexOf(port), 1)
    await Promise.all([fresh.closed, http.closed, tcp.closed])
    await expect(dial(port.port)).rejects.toThrow("ECONNREFUSED")
  })
})
