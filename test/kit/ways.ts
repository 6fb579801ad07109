// The four ways in which a program comes to a broker: {TCP, WebSocket} × {with a token, without}. Two brokers,
// as processes, stand for them; what a suite does on one way it does on all.

import { randomBytes } from "node:crypto"
import { SignJWT } from "jose"
import { type Caller, openCaller, type SocketWire, type Transport } from "./caller.ts"
import { type BrokerProcess, newFolder, removeFolder, startProcess } from "./process.ts"

export interface Way {
  readonly transport: Transport
  readonly auth: boolean
}

export const WAYS: readonly Way[] = [
  { transport: "tcp", auth: false },
  { transport: "ws", auth: false },
  { transport: "tcp", auth: true },
  { transport: "ws", auth: true },
]

export const TRANSPORTS: readonly Transport[] = ["tcp", "ws"]

/** A caller over a real socket. */
export type Program = Caller<SocketWire>

const SECRET = "dev-test-secret"
const DOMAINS = ["kv", "queue", "rpc", "lease", "notice", "stream", "schedule"]
/** `dev` and `twin` share a family, `other` has its own. */
export const AUTH_ENVIRONMENT: Readonly<Record<string, string>> = {
  FITZ_JWT_HMAC_SECRET: SECRET,
  FITZ_ROUTE_FAMILIES: "1,2",
  FITZ_ROUTE_FAMILY_MAP: "dev=1,twin=1,other=2",
}

export interface TokenOptions {
  readonly permissions?: unknown
  readonly identity?: string
  readonly secret?: string
  readonly audience?: string | string[]
  readonly expiresInSeconds?: number
  /** Set, added or, with undefined, left out. */
  readonly claims?: Readonly<Record<string, unknown>>
}

/** A token as the public suite mints them. */
export function mint({
  permissions = DOMAINS.map(domain => `${domain}://**#*`),
  identity = "dev",
  secret = SECRET,
  audience = "fitz",
  expiresInSeconds = 3_600,
  claims = {},
}: TokenOptions = {}): Promise<string> {
  const now = Math.floor(Date.now() / 1_000)
  const all = {
    iss: "",
    aud: audience,
    sub: identity,
    tid: identity,
    iat: now,
    exp: now + expiresInSeconds,
    permissions,
    ...claims,
  }
  return new SignJWT(all)
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .sign(new TextEncoder().encode(secret))
}

/** A route that no other test uses. */
export function fresh(scheme: string, depth = 3): string {
  const names = ["area", "resource", "operation"].slice(0, depth - 1)
  return [`${scheme}://${randomBytes(6).toString("hex")}`, ...names].join("/")
}

/** An id for an RPC call. */
export function correlation(): Buffer {
  return randomBytes(16)
}

/** A broker's process with its folder, and programs that come to it. */
export class Place {
  readonly broker: BrokerProcess
  private readonly folder: string | null
  private readonly auth: boolean

  private constructor(broker: BrokerProcess, folder: string | null, auth: boolean) {
    this.broker = broker
    this.folder = folder
    this.auth = auth
  }

  /** Starts a broker that keeps its store in a new folder, or with `folder` null in memory. */
  static async start({
    auth = false,
    environment = {},
    folder = newFolder(),
  }: {
    auth?: boolean
    environment?: Readonly<Record<string, string>>
    folder?: string | null
  } = {}): Promise<Place> {
    const broker = await startProcess({
      FITZ_DRAIN_GRACE_SECONDS: "5",
      ...(folder === null ? { FITZ_STORAGE_MODE: "memory" } : { FITZ_STORAGE_PATH: folder }),
      ...(auth ? AUTH_ENVIRONMENT : { FITZ_AUTH_REQUIRED: "false" }),
      ...environment,
    })
    return new Place(broker, folder, auth)
  }

  async open(transport: Transport, token: TokenOptions = {}): Promise<Program> {
    return openCaller(transport, this.broker.port, this.auth ? await mint(token) : "")
  }

  /** What the broker has logged as an error: a bug, or a failure of the machine. */
  get errors(): readonly Readonly<Record<string, unknown>>[] {
    return this.broker.records.filter(record => record["level"] === "error")
  }

  /** Ends the process and throws away what it stored. Throws where it had logged errors or ended by itself. */
  async stop(): Promise<void> {
    const { child } = this.broker
    const gone = child.exitCode ?? child.signalCode
    await this.broker.kill()
    if (this.folder !== null) removeFolder(this.folder)
    if (gone !== null) throw new Error(`the broker had ended before the test did: ${gone}`)
    if (this.errors.length > 0) throw new Error(`the broker logged errors: ${JSON.stringify(this.errors)}`)
  }
}

/** Both brokers of the four ways. */
export class Places {
  private readonly anybody: Place
  private readonly guarded: Place

  private constructor(anybody: Place, guarded: Place) {
    this.anybody = anybody
    this.guarded = guarded
  }

  static async start(environment: Readonly<Record<string, string>> = {}): Promise<Places> {
    const [anybody, guarded] = await Promise.all([
      Place.start({ environment }),
      Place.start({ environment, auth: true }),
    ])
    return new Places(anybody, guarded)
  }

  at(way: Way): Place {
    return way.auth ? this.guarded : this.anybody
  }

  /** A program that came in this way. Without authentication the token does not matter. */
  open(way: Way, token: TokenOptions = {}): Promise<Program> {
    return this.at(way).open(way.transport, token)
  }

  /** Ends both. */
  async stop(): Promise<void> {
    await Promise.all([this.anybody.stop(), this.guarded.stop()])
  }
}
