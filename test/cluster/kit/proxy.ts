// The one fault proxy before the real API server: passes everything through, but for what the rules of a scenario spoil. It
// speaks TLS with the server's own certificate and decides nothing about objects.

import { readFileSync } from "node:fs"
import type { ClientRequest, IncomingMessage, ServerResponse } from "node:http"
import { createServer, request, type Server } from "node:https"
import { join } from "node:path"
import { inject } from "vitest"
import type { Cluster } from "./scenario.ts"

export interface Asked {
  readonly method: string
  readonly url: string
  readonly watch: boolean
}

/** What happens to a request instead of, or on the way to, the server's answer. */
export type Fault =
  | { readonly answer: number; readonly reason?: string; readonly retryAfter?: number }
  /** The connection ends, before or within the answer. */
  | { readonly reset: "before" | "after" }
  /** Nothing comes any more. */
  | { readonly silent: true }
  /** The answer's stream gets these lines and ends, or goes on. */
  | { readonly lines: readonly string[]; readonly end: boolean }
  /** A clean end of the stream at once. */
  | { readonly close: true }
  | { readonly delayMs: number }

export interface FaultProxy {
  readonly server: string
  readonly asked: readonly Asked[]
  /** Called for each request; null lets it pass. */
  rule: (asked: Asked) => Fault | null
  /** Ends every open stream now. */
  cut(): void
  close(): Promise<void>
}

export async function openProxy(cluster: Cluster): Promise<FaultProxy> {
  const pki = join(inject("machine").state, "pki")
  const target = new URL(cluster.server)
  const asked: Asked[] = []
  const streams = new Set<ServerResponse>()
  const proxy: Omit<FaultProxy, "server"> & { server: string } = {
    server: "",
    asked,
    rule: () => null,
    cut: () => {
      for (const stream of streams) stream.socket?.destroy()
    },
    close: () =>
      new Promise(resolve => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
  const server: Server = createServer(
    {
      cert: readFileSync(join(pki, "apiserver.crt")),
      key: readFileSync(join(pki, "apiserver.key")),
    },
    (incoming, outgoing) => {
      const url = incoming.url ?? ""
      const one = { method: incoming.method ?? "", url, watch: url.includes("watch=1") }
      asked.push(one)
      handle(incoming, outgoing, proxy.rule(one))
    },
  )
  const handle = (incoming: IncomingMessage, outgoing: ServerResponse, fault: Fault | null): void => {
    if (fault !== null && "answer" in fault) {
      const { answer, reason = "", retryAfter } = fault
      incoming.resume()
      outgoing.writeHead(answer, {
        "content-type": "application/json",
        ...(retryAfter === undefined ? {} : { "retry-after": String(retryAfter) }),
      })
      outgoing.end(
        JSON.stringify({
          kind: "Status",
          status: "Failure",
          code: answer,
          reason,
          message: `fault ${answer}`,
        }),
      )
      return
    }
    if (fault !== null && "reset" in fault && fault.reset === "before") {
      incoming.socket.destroy()
      return
    }
    if (fault !== null && "silent" in fault) {
      outgoing.writeHead(200, { "content-type": "application/json" })
      outgoing.flushHeaders()
      return
    }
    if (fault !== null && "lines" in fault) {
      outgoing.writeHead(200, { "content-type": "application/json" })
      for (const line of fault.lines) outgoing.write(line)
      if (fault.end) outgoing.end()
      return
    }
    if (fault !== null && "close" in fault) {
      outgoing.writeHead(200, { "content-type": "application/json" })
      outgoing.end()
      return
    }
    const forward = (): void => {
      const passed: ClientRequest = request(
        {
          host: target.hostname,
          port: target.port,
          method: incoming.method,
          path: incoming.url,
          ca: cluster.ca,
          headers: { ...incoming.headers, host: target.host },
        },
        response => {
          if (fault !== null && "reset" in fault) {
            // The server has done it; the client never hears.
            incoming.socket.destroy()
            response.resume()
            return
          }
          outgoing.writeHead(response.statusCode ?? 502, response.headers)
          outgoing.flushHeaders()
          streams.add(outgoing)
          response.pipe(outgoing)
          response.once("close", () => streams.delete(outgoing))
        },
      )
      passed.once("error", () => outgoing.destroy())
      outgoing.once("close", () => passed.destroy())
      incoming.pipe(passed)
    }
    if (fault !== null && "delayMs" in fault) setTimeout(forward, fault.delayMs)
    else forward()
  }
  await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve))
  const address = server.address()
  proxy.server = `https://127.0.0.1:${address !== null && typeof address === "object" ? address.port : 0}`
  return proxy
}
