// A broker process with an admin surface, and a small HTTP client for it: tokens, requests, strict reading of
// what comes back.

import { SignJWT } from "jose"
import { Table } from "../../broker/admin/route.ts"
import { ROUTES } from "../../broker/admin/routes.ts"
import { type Caller, openCaller, type Transport } from "./caller.ts"
import { type BrokerProcess, newFolder, removeFolder, startProcess } from "./process.ts"

export const SECRET = "dev-test-secret"
const TABLE = new Table(ROUTES)
const EVERYTHING = ["kv", "stream", "notice", "queue", "rpc", "lease", "schedule"].map(
  scheme => `${scheme}://**#*`,
)

export interface TokenClaims {
  readonly sub?: string
  readonly permissions?: readonly string[]
  readonly realm?: string
  readonly tid?: string
  readonly expiresInSeconds?: number
  readonly secret?: string
  readonly more?: Readonly<Record<string, unknown>>
}

/** A token as the suite mints them. */
export function mint({
  sub = "dev",
  permissions = EVERYTHING,
  realm,
  tid = "dev",
  expiresInSeconds = 3_600,
  secret = SECRET,
  more = {},
}: TokenClaims = {}): Promise<string> {
  const now = Math.floor(Date.now() / 1_000)
  return new SignJWT({ tid, permissions, ...(realm === undefined ? {} : { realm }), ...more })
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setSubject(sub)
    .setAudience("fitz")
    .setIssuedAt(now - 10)
    .setExpirationTime(now + expiresInSeconds)
    .sign(new TextEncoder().encode(secret))
}

export interface Reply {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: a test says what it expects of a body
  readonly body: any
}

export interface Ask {
  readonly method?: string
  readonly token?: string | null
  readonly headers?: Readonly<Record<string, string>>
  readonly json?: unknown
  readonly body?: string
  readonly confirm?: boolean
}

export class AdminBroker {
  readonly process: BrokerProcess
  readonly folder: string
  readonly token: string
  private readonly callers: Caller[] = []

  constructor(process: BrokerProcess, folder: string, token: string) {
    this.process = process
    this.folder = folder
    this.token = token
  }

  get port(): number {
    return this.process.port
  }

  async ask(path: string, ask: Ask = {}): Promise<Reply> {
    const { method = "GET", token = this.token, headers = {}, json, body, confirm = false } = ask
    const response = await fetch(`http://127.0.0.1:${this.port}${path}`, {
      method,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(json === undefined ? {} : { "content-type": "application/json" }),
        ...(confirm ? { "x-confirm": "true" } : {}),
        ...headers,
      },
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
      ...(body === undefined ? {} : { body }),
    })
    const text = await response.text()
    const isJson = response.headers.get("content-type")?.startsWith("application/json") === true
    if (isJson && response.ok && method !== "HEAD") checkShape(method, path, response.status, text)
    return {
      status: response.status,
      headers: response.headers,
      text,
      body: isJson && text !== "" ? JSON.parse(text) : null,
    }
  }

  /** A GET below `/api/v1/` that has to succeed. */
  async get(path: string): Promise<Reply["body"]> {
    const reply = await this.ask(`/api/v1/${path}`)
    if (reply.status !== 200) throw new Error(`GET ${path}: ${reply.status} ${reply.text}`)
    return reply.body
  }

  /** Asks until the answer is as wanted: what follows a disconnect takes a moment. */
  async until(path: string, wanted: (body: Reply["body"]) => boolean): Promise<Reply["body"]> {
    for (;;) {
      const body = await this.get(path)
      if (wanted(body)) return body
    }
  }

  put(path: string, json: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Reply> {
    return this.ask(`/api/v1/${path}`, { method: "PUT", json, headers })
  }

  delete(path: string, headers: Readonly<Record<string, string>> = {}): Promise<Reply> {
    return this.ask(`/api/v1/${path}`, { method: "DELETE", confirm: true, headers })
  }

  post(path: string, { confirm = true }: { confirm?: boolean } = {}): Promise<Reply> {
    return this.ask(`/api/v1/${path}`, { method: "POST", confirm })
  }

  /** A program. */
  async caller(claims: TokenClaims = {}, transport: Transport = "tcp"): Promise<Caller> {
    const caller = await openCaller(transport, this.port, await mint(claims))
    this.callers.push(caller)
    // Answered once it has been let in.
    await caller.notice.unsubscribe(0)
    return caller
  }

  async stop(): Promise<void> {
    for (const caller of this.callers) if (caller.open) void caller.close()
    await this.process.kill("SIGTERM")
  }

  /** Stops it and starts another on the same folder. */
  async restart(environment: Readonly<Record<string, string>> = {}): Promise<AdminBroker> {
    await this.stop()
    return startAdmin(environment, this.folder)
  }

  async end(): Promise<void> {
    await this.stop()
    removeFolder(this.folder)
  }
}

/** Every answer has exactly the shape that the table promises. */
function checkShape(method: string, path: string, status: number, text: string): void {
  const match = TABLE.find(method, path.split("?", 1)[0]!)
  const schema = match.kind === "found" ? match.route.answers[status] : undefined
  const parsed = schema?.safeParse(JSON.parse(text))
  if (parsed?.success === false)
    throw new Error(`${method} ${path}: the answer breaks its schema: ${parsed.error.message}`)
}

/** A broker for admin tests: limits of admin requests off unless given. */
export async function startAdmin(
  environment: Readonly<Record<string, string>> = {},
  folder = newFolder(),
  { ready = true }: { ready?: boolean } = {},
): Promise<AdminBroker> {
  const options = {
    FITZ_STORAGE_PATH: folder,
    FITZ_JWT_HMAC_SECRET: SECRET,
    FITZ_RATE_LIMIT_ADMIN_READ: "0",
    FITZ_RATE_LIMIT_ADMIN_WRITE: "0",
    FITZ_RATE_LIMIT_AUTH_FAILURE: "0",
    FITZ_DRAIN_GRACE_SECONDS: "1",
    ...environment,
  }
  const process = await startProcess(options, { ready })
  const token = await mint({ sub: "tester", permissions: ["admin:*", "data:read"] })
  return new AdminBroker(process, folder, token)
}
