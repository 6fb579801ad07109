// The door for people and machines: one fastify application on connections that the port hands over. It owns
// the reserved paths; it must never reach into a domain.

import { randomUUID } from "node:crypto"
import { createServer, type Server } from "node:http"
import websocket from "@fastify/websocket"
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify"
import type { Status } from "../engine/status.ts"
import type { Api } from "./api.ts"
import { errorBody, Refusal } from "./errors.ts"
import type { Gate } from "./gate.ts"
import { METRICS_TYPE, type Metrics } from "./metrics.ts"
import type { Page } from "./page.ts"
import { PROBES, registerProbes } from "./probes.ts"
import { isApiPath } from "./route.ts"
import { isV0Path, refuseV0, registerV0 } from "./v0.ts"

/** Where the application finds the admin API, whatever path was asked for. */
const API = "/api"
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/
/** Longer than the minute after which proxies commonly let go of an idle connection. */
const KEEP_ALIVE_MS = 72_000
const CHECK_EVERY_MS = 1_000

function refuse(
  request: FastifyRequest,
  reply: FastifyReply,
  status: number,
  code: string,
  message: string,
): FastifyReply {
  if (isV0Path(pathOf(request.originalUrl))) return refuseV0(reply, status, code, message)
  const body = errorBody(status, code, message, request.id)
  return reply.code(status).header("cache-control", "no-store").send(body)
}

/** Headers of every answer. */
function mark(request: FastifyRequest, reply: FastifyReply): void {
  reply.header("x-request-id", request.id)
  reply.header("x-content-type-options", "nosniff")
  reply.header("referrer-policy", "no-referrer")
}

/** What the WebSocket door decides about an upgrade, before it happens: null to let it in. */
export type UpgradeJudge = (
  request: FastifyRequest,
) => { readonly status: number; readonly code: string; readonly message: string } | null

/** Takes over an upgraded connection. */
export type SocketTaker = (socket: import("ws").WebSocket, request: FastifyRequest) => void

export interface HttpOptions {
  readonly status: Status
  /** Absent or null: there is none. */
  readonly page?: Page | null
  readonly api: Api
  readonly gate: Gate
  readonly metrics: Metrics
  /** Probes ask for a credential. */
  readonly probeAuth: boolean
  readonly judgeUpgrade: UpgradeJudge
  readonly takeSocket: SocketTaker
  /** Largest WebSocket message. */
  readonly messageBytesMax: number
  /** How long a closing WebSocket waits for the other side, in milliseconds. */
  readonly closeTimeout: number
  /** A request whose headers have not come by then is refused. */
  readonly headerTimeoutMs: number
  /** Plaintext is for probes only. */
  readonly tlsOnly: boolean
  /** An exception in a handler: reported, never shown. */
  readonly onError: (error: unknown, request: FastifyRequest) => void
}

/** The application and the server whose `connection` event the port emits. */
export interface HttpDoor {
  readonly app: FastifyInstance
  readonly server: Server
}

export async function openHttp(options: HttpOptions): Promise<HttpDoor> {
  const { status, api, gate, metrics, probeAuth, judgeUpgrade, takeSocket, messageBytesMax } = options
  const { closeTimeout, headerTimeoutMs, tlsOnly, onError } = options
  let server: Server | null = null
  const app = fastify({
    serverFactory: handler => {
      server = createServer(
        {
          headersTimeout: headerTimeoutMs,
          keepAliveTimeout: KEEP_ALIVE_MS,
          connectionsCheckingInterval: CHECK_EVERY_MS,
          noDelay: true,
          // Other upgrades (curl asks for HTTP/2 this way) may be ignored, so that a probe stays a probe.
          shouldUpgradeCallback: request => request.headers.upgrade?.toLowerCase() === "websocket",
        },
        handler,
      )
      // It gets its connections from the port and never listens, but this event starts its watch over slow ones.
      server.emit("listening")
      return server
    },
    forceCloseConnections: true,
    routerOptions: { ignoreTrailingSlash: true },
    // The API has a table of its own, which judges who asks before it says what there is.
    rewriteUrl: request => (isApiPath(pathOf(request.url ?? "")) ? API : (request.url ?? "")),
    // A path that cannot be decoded passes no hook: neither ours nor the one that ends a refused upgrade, whose
    // socket has no HTTP server behind it any more and would stay open for ever.
    frameworkErrors: (_error, request, reply) => {
      if ("upgrade" in request.raw && request.raw.upgrade === true)
        reply.raw.once("finish", () => request.raw.socket.end())
      mark(request, reply)
      refuse(request, reply, 400, "invalid_request", "the request cannot be handled")
    },
    genReqId: request => {
      const given = request.headers["x-request-id"]
      return typeof given === "string" && REQUEST_ID.test(given) ? given : randomUUID()
    },
  })

  // A variable: the library's types do not know of `closeTimeout` yet.
  const socketOptions = {
    maxPayload: messageBytesMax,
    perMessageDeflate: false,
    clientTracking: false,
    closeTimeout,
  }
  // First, so that its hook has marked upgrades before ours looks.
  await app.register(websocket, {
    options: socketOptions,
    // A connection that breaks the rules is closed with the code for that; whoever took it hears of it.
    errorHandler: () => undefined,
  })

  app.addHook("onRequest", async (request, reply) => {
    mark(request, reply)
    const path = request.routeOptions.url ?? ""
    if (tlsOnly && !("encrypted" in request.raw.socket) && !PROBES.includes(path)) {
      return refuse(request, reply, 403, "tls_required", "this port takes TLS only")
    }
    if (request.ws && path !== "/ws")
      return refuse(request, reply, 404, "not_found", "nothing to upgrade to here")
    if (probeAuth && PROBES.includes(path)) await gate.admit(request)
  })

  registerProbes(app, status)
  registerV0(app, status, metrics, request => gate.admitScrape(request))
  app.get("/metrics", async (request, reply) => {
    await gate.admitScrape(request)
    return reply
      .header("cache-control", "no-store")
      .type(METRICS_TYPE)
      .send(await metrics.text())
  })

  // Bodies are read by whoever wants one, once it is known who sends it.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser("*", (_request, _payload, done) => done(null))
  app.route({
    method: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
    url: API,
    handler: (request, reply) => api.handle(request, reply),
  })

  for (const url of [...PROBES, "/metrics", "/v0/metrics"]) {
    app.route({
      method: ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
      url,
      handler: (request, reply) => {
        reply.header("allow", "GET, HEAD")
        return refuse(request, reply, 405, "method_not_allowed", "this path is asked with GET or HEAD")
      },
    })
  }

  const needsUpgrade = (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    reply.header("upgrade", "websocket")
    return refuse(request, reply, 426, "upgrade_required", "connect with a WebSocket")
  }
  app.route({ method: ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"], url: "/ws", handler: needsUpgrade })
  app.route({
    method: "GET",
    url: "/ws",
    preValidation: async (request, reply) => {
      if (!request.ws) return
      const refusal = judgeUpgrade(request)
      if (refusal !== null) return refuse(request, reply, refusal.status, refusal.code, refusal.message)
    },
    handler: needsUpgrade,
    wsHandler: takeSocket,
  })

  app.setNotFoundHandler(
    (request, reply) =>
      options.page?.answer(request, reply) ??
      refuse(request, reply, 404, "not_found", "there is nothing at this path"),
  )
  app.setErrorHandler((error: { statusCode?: number }, request, reply) => {
    if (error instanceof Refusal) {
      for (const [name, value] of Object.entries(error.headers)) reply.header(name, value)
      return refuse(request, reply, error.status, error.code, error.message)
    }
    const code = error.statusCode ?? 500
    if (code < 500) return refuse(request, reply, code, "invalid_request", "the request cannot be handled")
    onError(error, request)
    return refuse(request, reply, 500, "internal", "the request could not be handled")
  })
  await app.ready()
  return { app, server: server! }
}

function pathOf(url: string): string {
  return url.split("?", 1)[0]!
}
