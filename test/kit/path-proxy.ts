// A reverse proxy as people put one before a broker: it ends TLS and takes a prefix off the path. It changes
// nothing else.

import { request } from "node:http"
import { createServer, type Server } from "node:https"

export interface PathProxy {
  readonly port: number
  close(): Promise<void>
}

/** `https://…/<prefix>/x` becomes `http://127.0.0.1:<target>/x`. */
export async function openPathProxy(
  target: number,
  prefix: string,
  { cert, key }: { readonly cert: string; readonly key: string },
): Promise<PathProxy> {
  const server: Server = createServer({ cert, key }, (incoming, outgoing) => {
    const { url = "/", method, headers } = incoming
    if (!url.startsWith(`${prefix}/`)) {
      outgoing.writeHead(404).end("elsewhere")
      return
    }
    const path = url.slice(prefix.length)
    const onward = request({ host: "127.0.0.1", port: target, path, method, headers }, answer => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(outgoing)
    })
    onward.on("error", () => outgoing.writeHead(502).end())
    incoming.pipe(onward)
  })
  await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve))
  const bound = server.address()
  if (bound === null || typeof bound === "string") throw new Error("the proxy does not listen")
  return {
    port: bound.port,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
