// Configuration: every option declared once, with its environment name, default and description. Flags, the
// file's keys, the help page and the checks all follow from here. All mistakes are reported together.

import { readFileSync } from "node:fs"
import { z } from "zod"
import { nearest } from "./hint.ts"

const MIB = 1024 * 1024

// The description of a schema is what a mistake is answered with: "… has to be <description>".
const wholeNumber = (min: number, max: number) =>
  z
    .union([z.number(), z.string().regex(/^\d+$/).transform(Number)])
    .pipe(z.number().int().min(min).max(max))
    .describe(
      max === Number.MAX_SAFE_INTEGER
        ? `a whole number of at least ${min}`
        : `a whole number from ${min} to ${max}`,
    )
const count = (min = 0) => wholeNumber(min, Number.MAX_SAFE_INTEGER)
const port = wholeNumber(0, 65_535)
const truth = z
  .union([
    z.boolean(),
    z.enum(["true", "false", "1", "0"]).transform(text => text === "true" || text === "1"),
  ])
  .describe("true or false")
const oneOf = <const T extends readonly string[]>(names: T) =>
  z.enum(names).describe(`one of ${names.join(", ")}`)
const listed = z.union([z.array(z.union([z.string(), z.number()])), z.string(), z.number()])
const list = listed
  .transform(value => {
    const items = Array.isArray(value) ? value.map(String) : String(value).split(",")
    return items.map(item => item.trim()).filter(item => item !== "")
  })
  .describe("a list, or its entries separated by commas")
const text = z.string().min(1).describe("text")
const family = wholeNumber(1, 4_294_967_295)
const families = list
  .pipe(
    z
      .array(
        z
          .string()
          .transform((item): unknown => item)
          .pipe(family),
      )
      .min(1),
  )
  .describe("family numbers from 1 to 4294967295, separated by commas")
const origins = list
  .pipe(z.array(z.string().refine(isOrigin)))
  .describe("origins as browsers send them (https://app.example.com), separated by commas")
const familiesOrAll = z
  .union([z.literal("*").transform((): number[] => []), families])
  .describe("* or family numbers from 1 to 4294967295, separated by commas")

/** `20/s`, `10/min` or `20/s:60`; 0 switches the limit off. */
export interface RateOption {
  readonly perSecond: number
  readonly burst: number
}

const RATE = /^(\d{1,7})\/(s|min)(?::(\d{1,7}))?$/

/** Null where the text is no rate. */
export function parseRate(text: string): RateOption | null {
  if (text === "0") return { perSecond: 0, burst: 0 }
  const match = RATE.exec(text)
  if (match === null) return null
  const count = Number(match[1])
  const burst = match[3] === undefined ? count : Number(match[3])
  if (count === 0 || burst === 0) return null
  return { perSecond: match[2] === "s" ? count : count / 60, burst }
}

const rate = z
  .union([z.number().transform(String), z.string()])
  .refine(given => parseRate(given.trim()) !== null, "0, or a rate like 20/s, 10/min or 20/s:60")

interface OptionSpec<S extends z.ZodType, D> {
  readonly env: string
  /** Further environment names, older or of a sister system. */
  readonly aliases?: readonly string[]
  readonly schema: S
  /** Null: the option is absent unless set. */
  readonly fallback: D
  readonly about: string
  readonly group: string
  /** Never a flag: arguments can be read by everybody on the machine. */
  readonly secret?: boolean
}

function option<S extends z.ZodType, D extends z.output<S> | null>(spec: OptionSpec<S, D>): OptionSpec<S, D> {
  return spec
}

export const OPTIONS = {
  httpPort: option({
    env: "FITZ_HTTP_PORT",
    schema: port,
    fallback: 8080,
    group: "Port",
    about: "Port for HTTP, WebSocket and raw TCP together; 0 takes a free one.",
  }),
  tcpPort: option({
    env: "FITZ_TCP_PORT",
    schema: port,
    fallback: null,
    group: "Port",
    about: "A further port for raw TCP alone.",
  }),
  bindAddr: option({
    env: "FITZ_BIND_ADDR",
    schema: text,
    fallback: "127.0.0.1",
    group: "Port",
    about: "Address to listen on. Images set 0.0.0.0.",
  }),
  tlsCertFile: option({
    env: "FITZ_TLS_CERT_FILE",
    schema: text,
    fallback: null,
    group: "Port",
    about: "Certificate chain in PEM. With a key, the port also takes TLS. Read again when it changes.",
  }),
  tlsKeyFile: option({
    env: "FITZ_TLS_KEY_FILE",
    schema: text,
    fallback: null,
    group: "Port",
    about: "Private key in PEM, read again when it changes.",
  }),
  tlsOnly: option({
    env: "FITZ_TLS_ONLY",
    schema: truth,
    fallback: false,
    group: "Port",
    about: "Refuse plaintext, except for probes.",
  }),
  wsAllowedOrigins: option({
    env: "FITZ_WS_ALLOWED_ORIGINS",
    schema: origins,
    fallback: [],
    group: "Port",
    about: "Origins that browsers may open a WebSocket from. Clients that send no Origin are not affected.",
  }),
  detectTimeoutSeconds: option({
    env: "FITZ_DETECT_TIMEOUT_SECONDS",
    schema: wholeNumber(1, 3_600),
    fallback: 10,
    group: "Port",
    about: "A connection that has not shown its protocol by then, or an HTTP request's headers, is closed.",
  }),
  connectTimeoutSeconds: option({
    env: "FITZ_CONNECT_TIMEOUT_SECONDS",
    schema: wholeNumber(1, 3_600),
    fallback: 10,
    group: "Port",
    about: "A program that has not sent CONNECT by then is disconnected.",
  }),
  drainGraceSeconds: option({
    env: "FITZ_DRAIN_GRACE_SECONDS",
    aliases: ["FITZ_DRAIN_SECONDS"],
    schema: wholeNumber(0, 3_600),
    fallback: 25,
    group: "Port",
    about: "How long connected programs are served after SIGTERM.",
  }),
  storageMode: option({
    env: "FITZ_STORAGE_MODE",
    schema: oneOf(["local", "memory"]),
    fallback: "local",
    group: "Storage",
    about: "local keeps everything durable in a folder; memory keeps nothing and is for tests.",
  }),
  storagePath: option({
    env: "FITZ_STORAGE_PATH",
    schema: text,
    fallback: "data",
    group: "Storage",
    about: "The folder of the store. One process at a time.",
  }),
  queueWritePolicy: option({
    env: "FITZ_QUEUE_WRITE_POLICY",
    schema: oneOf(["sync", "fast"]),
    fallback: "sync",
    group: "Storage",
    about:
      "sync acknowledges queue writes once they are on disk; fast may lose the last 100 ms at a power cut.",
  }),
  kvIdleTransactionTtlSeconds: option({
    env: "FITZ_KV_IDLE_TRANSACTION_TTL_SECS",
    schema: wholeNumber(1, 86_400),
    fallback: 300,
    group: "Storage",
    about: "A KV transaction unused for this long is rolled back.",
  }),
  queueMaxAttempts: option({
    env: "FITZ_QUEUE_MAX_ATTEMPTS",
    schema: wholeNumber(0, 1_000_000),
    fallback: 0,
    group: "Storage",
    about: "A message whose reservation has lapsed this often becomes a dead letter; 0: never.",
  }),
  queueCacheBytes: option({
    env: "FITZ_QUEUE_CACHE_BYTES",
    schema: count(),
    fallback: 32 * MIB,
    group: "Storage",
    about: "Bodies of queue messages kept in memory for readers to come.",
  }),
  authRequired: option({
    env: "FITZ_AUTH_REQUIRED",
    schema: truth,
    fallback: true,
    group: "Identity",
    about: "false lets every program do everything, in family 1.",
  }),
  jwtHmacSecret: option({
    env: "FITZ_JWT_HMAC_SECRET",
    schema: text,
    fallback: null,
    secret: true,
    group: "Identity",
    about: "Shared secret of HS256 tokens.",
  }),
  jwtHmacSecretFile: option({
    env: "FITZ_JWT_HMAC_SECRET_FILE",
    schema: text,
    fallback: null,
    group: "Identity",
    about: "File with that secret, read again when it changes.",
  }),
  jwtJwksFile: option({
    env: "FITZ_JWT_JWKS_FILE",
    schema: text,
    fallback: null,
    group: "Identity",
    about: "Key set generated for this broker: a file or a folder of files, read again when they change.",
  }),
  jwtClientJwksFile: option({
    env: "FITZ_JWT_CLIENT_JWKS_FILE",
    schema: text,
    fallback: null,
    group: "Identity",
    about: "Key set of the clients: a file or a folder of files, read again when they change.",
  }),
  jwtJwksMap: option({
    env: "FITZ_JWT_JWKS_MAP",
    schema: list,
    fallback: [],
    group: "Identity",
    about: "Key sets by issuer: issuer=url pairs.",
  }),
  jwtAudiences: option({
    env: "FITZ_JWT_AUDIENCES",
    aliases: ["FITZ_JWT_AUDIENCE"],
    schema: list,
    fallback: ["fitz"],
    group: "Identity",
    about: "Audiences of which a token must name one.",
  }),
  jwtIdentityClaim: option({
    env: "FITZ_JWT_IDENTITY_CLAIM",
    schema: text,
    fallback: "tid",
    group: "Identity",
    about: "Claim that the route family map looks up.",
  }),
  jwtRealmClaim: option({
    env: "FITZ_JWT_REALM_CLAIM",
    schema: text,
    fallback: "realm",
    group: "Identity",
    about: "Claim that names a session's realm.",
  }),
  jwtPermissionsObjectClaim: option({
    env: "FITZ_JWT_PERMISSIONS_OBJECT_CLAIM",
    schema: text,
    fallback: null,
    group: "Identity",
    about: "Claim holding an object whose field permissions comes before all other sources.",
  }),
  jwtPermissionsClaim: option({
    env: "FITZ_JWT_PERMISSIONS_CLAIM",
    schema: text,
    fallback: null,
    group: "Identity",
    about: "Claim holding a list of permissions, used where there is no permissions claim.",
  }),
  jwtRolesClaim: option({
    env: "FITZ_JWT_ROLES_CLAIM",
    schema: text,
    fallback: "roles",
    group: "Identity",
    about: "Claim whose entries are permissions, used after those two.",
  }),
  routeFamilies: option({
    env: "FITZ_ROUTE_FAMILIES",
    // An empty list stands for all of them: then the map alone says which there are.
    schema: familiesOrAll,
    fallback: [1],
    group: "Identity",
    about:
      "Provisioned families, the numbers that partition all state; * provisions whichever the map names.",
  }),
  routeFamilyMap: option({
    env: "FITZ_ROUTE_FAMILY_MAP",
    schema: text,
    fallback: null,
    group: "Identity",
    about: "identity=family pairs or a JSON object. Without a map every token belongs to family 1.",
  }),
  routeFamilyMapFile: option({
    env: "FITZ_ROUTE_FAMILY_MAP_FILE",
    schema: text,
    fallback: null,
    group: "Identity",
    about: "File with such a map, read again when it changes.",
  }),
  jwtIssuers: option({
    env: "FITZ_JWT_ISSUERS",
    schema: list,
    fallback: [],
    group: "Identity",
    about: "Issuers of which a token of the clients' source must name one; none: any.",
  }),
  jwtClientAllowAdmin: option({
    env: "FITZ_JWT_CLIENT_ALLOW_ADMIN",
    schema: truth,
    fallback: null,
    group: "Identity",
    about:
      "Admin permissions in tokens of the clients' source count. By default exactly when FITZ_BROKER_UID is not set and there is no generated source.",
  }),
  apiKeysFile: option({
    env: "FITZ_API_KEYS_FILE",
    schema: text,
    fallback: null,
    group: "Identity",
    about: "Digests of API keys, made by `fitz token key`; read again when it changes.",
  }),
  brokerUid: option({
    env: "FITZ_BROKER_UID",
    schema: text,
    fallback: null,
    group: "Identity",
    about: "The broker's own id; the generated key set also takes the audience urn:fitz:broker:<id>.",
  }),
  adminAuthMode: option({
    env: "FITZ_ADMIN_AUTH_MODE",
    schema: z.enum(["required", "open"]),
    fallback: "required",
    group: "Admin",
    about:
      "open lets everybody who reaches the port see and do everything on the admin surface. For development.",
  }),
  metricsPermission: option({
    env: "FITZ_METRICS_PERMISSION",
    schema: z.enum(["metrics:read", "admin:read"]),
    fallback: null,
    group: "Admin",
    about: "Permission that scraping demands; without it any valid credential may.",
  }),
  probeAuth: option({
    env: "FITZ_PROBE_AUTH",
    aliases: ["TOPICS_PROBE_AUTH"],
    schema: truth,
    fallback: false,
    group: "Admin",
    about: "Probes ask for a credential, any valid one.",
  }),
  performanceBlock: option({
    env: "FITZ_PERFORMANCE_BLOCK",
    schema: truth,
    fallback: false,
    group: "Admin",
    about:
      "Every JSON answer of the admin API says what it has cost; else where X-Performance: true asks for it.",
  }),
  rateLimitMetrics: option({
    env: "FITZ_RATE_LIMIT_METRICS",
    schema: rate,
    fallback: "5/s:10",
    group: "Admin",
    about: "Scrapes of one principal; 0: no limit, or like 20/s, 10/min, 20/s:60.",
  }),
  rateLimitAdminRead: option({
    env: "FITZ_RATE_LIMIT_ADMIN_READ",
    schema: rate,
    fallback: "20/s:60",
    group: "Admin",
    about: "Admin reads of one principal.",
  }),
  rateLimitAdminWrite: option({
    env: "FITZ_RATE_LIMIT_ADMIN_WRITE",
    schema: rate,
    fallback: "5/s:20",
    group: "Admin",
    about: "Admin writes of one principal.",
  }),
  rateLimitAdminWriteOf: option({
    env: "FITZ_RATE_LIMIT_ADMIN_WRITE_OF",
    schema: list,
    fallback: [],
    group: "Admin",
    about: "Write rates of certain principals: principal=rate pairs, e.g. system:fitz-operator=50/s:200.",
  }),
  rateLimitAuthFailure: option({
    env: "FITZ_RATE_LIMIT_AUTH_FAILURE",
    schema: rate,
    fallback: "10/min:10",
    group: "Admin",
    about: "Refused credentials of one address.",
  }),
  adminStrictConfirm: option({
    env: "FITZ_ADMIN_STRICT_CONFIRM",
    schema: truth,
    fallback: false,
    group: "Admin",
    about: "Replay and purge of dead letters need X-Confirm too.",
  }),
  auditFile: option({
    env: "FITZ_AUDIT_FILE",
    schema: text,
    fallback: null,
    group: "Admin",
    about: "File that audit records are appended to, besides the log. It may be rotated by renaming.",
  }),
  auditStrict: option({
    env: "FITZ_AUDIT_STRICT",
    schema: truth,
    fallback: false,
    group: "Admin",
    about: "A command whose audit record cannot be written to the file is refused.",
  }),
  realmsDeclaredOnly: option({
    env: "FITZ_REALMS_DECLARED_ONLY",
    schema: truth,
    fallback: false,
    group: "Admin",
    about: "Realms that are not declared cannot be used.",
  }),
  maxRealms: option({
    env: "FITZ_MAX_REALMS",
    schema: wholeNumber(1, 1_000_000),
    fallback: 10_000,
    group: "Limits",
    about: "Declared realms.",
  }),
  busyPollMicros: option({
    env: "FITZ_BUSY_POLL_MICROS",
    schema: wholeNumber(0, 10_000),
    fallback: 300,
    group: "Limits",
    about: "While requests follow each other this closely the broker polls instead of sleeping; 0: never.",
  }),
  logLevel: option({
    env: "FITZ_LOG_LEVEL",
    schema: oneOf(["trace", "debug", "info", "warn", "error", "fatal", "silent"]),
    fallback: "info",
    group: "Log",
    about: "Least important records that are written.",
  }),
  logFormat: option({
    env: "FITZ_LOG_FORMAT",
    schema: oneOf(["json", "text"]),
    fallback: "json",
    group: "Log",
    about: "json for machines, text for people.",
  }),
  maxConnections: option({
    env: "FITZ_MAX_CONNECTIONS",
    schema: count(1),
    fallback: 20_000,
    group: "Limits",
    about: "Connected programs.",
  }),
  maxInflight: option({
    env: "FITZ_MAX_INFLIGHT",
    schema: count(1),
    fallback: 4_096,
    group: "Limits",
    about: "Unanswered requests of one connection; it is not read further until answers went out.",
  }),
  maxInflightBytes: option({
    env: "FITZ_MAX_INFLIGHT_BYTES",
    schema: count(65_536),
    fallback: 16 * MIB,
    group: "Limits",
    about: "The same in bytes.",
  }),
  maxInflightTotalBytes: option({
    env: "FITZ_MAX_INFLIGHT_TOTAL_BYTES",
    schema: count(65_536),
    fallback: 256 * MIB,
    group: "Limits",
    about: "The same of all connections together.",
  }),
  maxParked: option({
    env: "FITZ_MAX_PARKED",
    schema: count(1),
    fallback: 1_024,
    group: "Limits",
    about: "Long polls of one connection, and its lease waits.",
  }),
  maxParkedPerQueue: option({
    env: "FITZ_MAX_PARKED_PER_QUEUE",
    schema: count(1),
    fallback: 1_024,
    group: "Limits",
    about: "Long polls of one queue or pattern.",
  }),
  maxRegistrations: option({
    env: "FITZ_MAX_REGISTRATIONS",
    schema: count(1),
    fallback: 1_024,
    group: "Limits",
    about: "Subscriptions and workers of one connection.",
  }),
  maxWildcardRegistrations: option({
    env: "FITZ_MAX_WILDCARD_REGISTRATIONS",
    schema: count(1),
    fallback: 128,
    group: "Limits",
    about: "Those with a wildcard, of one connection in one domain.",
  }),
  maxOpenTransactions: option({
    env: "FITZ_MAX_OPEN_TRANSACTIONS",
    schema: count(1),
    fallback: 1_024,
    group: "Limits",
    about: "Open KV transactions of one connection.",
  }),
  maxOpenAppends: option({
    env: "FITZ_MAX_OPEN_APPENDS",
    schema: count(1),
    fallback: 1_024,
    group: "Limits",
    about: "Open stream append sessions of one connection.",
  }),
  maxUncommittedBytes: option({
    env: "FITZ_MAX_UNCOMMITTED_BYTES",
    schema: count(65_536),
    fallback: 256 * MIB,
    group: "Limits",
    about: "Uncommitted KV changes and stream events of all connections together.",
  }),
  maxReservations: option({
    env: "FITZ_MAX_RESERVATIONS",
    schema: count(1),
    fallback: 65_536,
    group: "Limits",
    about: "Queue messages reserved by one connection.",
  }),
  maxQueues: option({
    env: "FITZ_MAX_QUEUES",
    schema: count(1),
    fallback: 100_000,
    group: "Limits",
    about: "Queues that hold or are asked for anything.",
  }),
  maxLeases: option({
    env: "FITZ_MAX_LEASES",
    schema: count(1),
    fallback: 250_000,
    group: "Limits",
    about: "Leases held by all connections together.",
  }),
  maxSchedules: option({
    env: "FITZ_MAX_SCHEDULES",
    schema: count(1),
    fallback: 100_000,
    group: "Limits",
    about: "Schedule definitions.",
  }),
  maxOutboundBytes: option({
    env: "FITZ_MAX_OUTBOUND_BYTES",
    schema: count(262_144),
    fallback: 16 * MIB,
    group: "Limits",
    about: "Unsent bytes of one connection: above a quarter it gets no notices, at the limit it is closed.",
  }),
  maxOutboundTotalBytes: option({
    env: "FITZ_MAX_OUTBOUND_TOTAL_BYTES",
    schema: count(262_144),
    fallback: 512 * MIB,
    group: "Limits",
    about: "Unsent bytes of all connections: beyond it the slowest are closed first.",
  }),
  rpcMaxPending: option({
    env: "FITZ_RPC_MAX_PENDING",
    schema: count(1),
    fallback: 4_096,
    group: "Limits",
    about: "RPC calls under way.",
  }),
  rpcMaxPendingPerRoute: option({
    env: "FITZ_RPC_MAX_PENDING_PER_ROUTE",
    schema: count(1),
    fallback: 1_000,
    group: "Limits",
    about: "RPC calls of one route that wait for a worker.",
  }),
  rpcTimeoutSeconds: option({
    env: "FITZ_RPC_TIMEOUT_SECONDS",
    schema: wholeNumber(1, 86_400),
    fallback: 30,
    group: "Limits",
    about: "An RPC call that has not ended by then is ended by the broker.",
  }),
} as const

type Options = typeof OPTIONS
export type OptionName = keyof Options
export type Config = {
  readonly [N in OptionName]:
    | z.output<Options[N]["schema"]>
    | (Options[N]["fallback"] extends null ? null : never)
}

/** The flag of an option, or null for those that are not to be given as one. */
export function flagOf(name: OptionName): string | null {
  const spec: OptionSpec<z.ZodType, unknown> = OPTIONS[name]
  if (spec.secret === true) return null
  return `--${fileKeyOf(name)}`
}

/** The key of an option in a configuration file. */
export function fileKeyOf(name: OptionName): string {
  return name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
}

/** Names in the environment that begin like an option's and belong to another part of the product. */
const OTHER_NAMES: ReadonlySet<string> = new Set(["FITZ_CONFIG_FILE", "FITZ_URL", "FITZ_TOKEN"])
/** What Kubernetes puts into every pod beside a Service whose name begins with `fitz`. */
function isServiceLink(name: string, value: string): boolean {
  if (/_SERVICE_(HOST|PORT|PORT_[A-Z0-9_]+)$/.test(name)) return true
  if (/_PORT_\d+_(TCP|UDP|SCTP)_(ADDR|PORT|PROTO)$/.test(name)) return true
  return /_PORT(_\d+_(TCP|UDP|SCTP))?$/.test(name) && /^(tcp|udp|sctp):\/\//.test(value)
}

/** All mistakes of a configuration, one a line. */
export class ConfigError extends Error {
  override readonly name = "ConfigError"
  readonly mistakes: readonly string[]

  constructor(mistakes: readonly string[]) {
    super(
      `The configuration has ${mistakes.length === 1 ? "a mistake" : `${mistakes.length} mistakes`}:\n${mistakes.map(mistake => `  ${mistake}`).join("\n")}`,
    )
    this.mistakes = mistakes
  }
}

export interface ConfigSources {
  readonly environment: Readonly<Record<string, string | undefined>>
  /** By flag name without dashes in front. */
  readonly flags: Readonly<Record<string, string | undefined>>
  /** The text of a YAML or JSON file with an object of file keys, and its name for messages. */
  readonly file: { readonly name: string; readonly values: Readonly<Record<string, unknown>> } | null
}

/** Reads a configuration file: YAML, of which JSON is a part. What it says of a mistake never quotes the file. */
export async function readConfigFile(name: string): Promise<ConfigSources["file"]> {
  const { parseDocument } = await import("yaml")
  let content: string
  try {
    content = readFileSync(name, "utf8")
  } catch (error) {
    throw new ConfigError([
      `${name} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    ])
  }
  const document = parseDocument(content, { logLevel: "silent", prettyErrors: false })
  const [first] = document.errors
  if (first !== undefined) {
    const line = content.slice(0, first.pos[0]).split("\n").length
    throw new ConfigError([`${name} is not YAML or JSON: line ${line} (${first.code})`])
  }
  let values: unknown
  try {
    values = document.toJS()
  } catch {
    throw new ConfigError([`${name} uses an alias that stands for nothing, or too many`])
  }
  if (values === null || typeof values !== "object" || Array.isArray(values)) {
    throw new ConfigError([`${name} does not hold an object`])
  }
  return { name, values: values as Record<string, unknown> }
}

/**
 * The whole configuration: defaults, under the file, under the environment, under flags. Throws a
 * `ConfigError` with every mistake there is.
 */
export function loadConfig({ environment, flags, file }: ConfigSources): Config {
  const mistakes: string[] = []
  const wrong = new Set<OptionName>()
  const config: Record<string, unknown> = {}
  for (const name of Object.keys(OPTIONS) as OptionName[]) {
    const spec: OptionSpec<z.ZodType, unknown> = OPTIONS[name]
    const key = fileKeyOf(name)
    let given: unknown
    let where = ""
    if (file !== null && Object.hasOwn(file.values, key)) {
      given = file.values[key]
      where = `${key} in ${file.name}`
    }
    for (const env of [...(spec.aliases ?? []), spec.env]) {
      const value = environment[env]
      if (value === undefined || value === "") continue
      given = value
      where = env
    }
    const flag = flagOf(name)
    if (flag !== null && flags[key] !== undefined) {
      given = flags[key]
      where = flag
    }
    config[name] = spec.fallback
    if (where === "") continue
    const parsed = spec.schema.safeParse(given)
    if (parsed.success) config[name] = parsed.data
    else {
      wrong.add(name)
      mistakes.push(`${where} has to be ${spec.schema.description ?? "something else"}`)
    }
  }
  mistakes.push(...unknownNames(environment), ...unknownKeys(file))
  for (const { names, problem } of CROSS_CHECKS) {
    // A mistake that is named already would only be told twice.
    if (names.some(name => wrong.has(name))) continue
    const found = problem(config as Config)
    if (found !== null) mistakes.push(found)
  }
  if (mistakes.length > 0) throw new ConfigError(mistakes)
  return config as Config
}

function hint(name: string, names: Iterable<string>): string {
  const near = nearest(name, names)
  return near === null ? "there is no such option" : `there is no such option; did you mean ${near}?`
}

function unknownNames(environment: ConfigSources["environment"]): string[] {
  const known = new Set<string>(OTHER_NAMES)
  for (const spec of Object.values<OptionSpec<z.ZodType, unknown>>(OPTIONS)) {
    for (const env of [spec.env, ...(spec.aliases ?? [])]) known.add(env)
  }
  const unknown = Object.entries(environment).filter(
    ([name, value]) =>
      name.startsWith("FITZ_") && value !== undefined && !known.has(name) && !isServiceLink(name, value),
  )
  return unknown.map(([name]) => `${name}: ${hint(name, known)}`)
}

function unknownKeys(file: ConfigSources["file"]): string[] {
  if (file === null) return []
  const known = new Set((Object.keys(OPTIONS) as OptionName[]).map(fileKeyOf))
  const unknown = Object.keys(file.values).filter(key => !known.has(key))
  return unknown.map(key => `${key} in ${file.name}: ${hint(key, known)}`)
}

interface CrossCheck {
  /** Judged only where each of these is right by itself. */
  readonly names: readonly OptionName[]
  readonly problem: (config: Config) => string | null
}

/** Mistakes that only show between options, or inside a value. */
const CROSS_CHECKS: readonly CrossCheck[] = [
  {
    names: ["httpPort", "tcpPort"],
    problem: ({ httpPort, tcpPort }) =>
      tcpPort !== null && tcpPort === httpPort && tcpPort !== 0
        ? "FITZ_TCP_PORT is a further port: it cannot be FITZ_HTTP_PORT"
        : null,
  },
  {
    names: ["tlsCertFile", "tlsKeyFile"],
    problem: ({ tlsCertFile, tlsKeyFile }) =>
      (tlsCertFile === null) !== (tlsKeyFile === null)
        ? "FITZ_TLS_CERT_FILE and FITZ_TLS_KEY_FILE come together"
        : null,
  },
  {
    names: ["tlsOnly", "tlsCertFile"],
    problem: ({ tlsOnly, tlsCertFile }) =>
      tlsOnly && tlsCertFile === null ? "FITZ_TLS_ONLY needs a certificate and a key" : null,
  },
  {
    names: ["jwtHmacSecret", "jwtHmacSecretFile"],
    problem: ({ jwtHmacSecret, jwtHmacSecretFile }) =>
      jwtHmacSecret !== null && jwtHmacSecretFile !== null
        ? "FITZ_JWT_HMAC_SECRET and FITZ_JWT_HMAC_SECRET_FILE are two sources of one secret"
        : null,
  },
  {
    names: ["jwtAudiences"],
    problem: ({ jwtAudiences }) =>
      jwtAudiences.length === 0 ? "FITZ_JWT_AUDIENCES has to name an audience" : null,
  },
  {
    names: ["jwtJwksMap"],
    problem: ({ jwtJwksMap }) => (jwtJwksMap.every(isIssuerPair) ? null : JWKS_MAP_MISTAKE),
  },
  {
    names: ["rateLimitAdminWriteOf"],
    problem: ({ rateLimitAdminWriteOf }) => {
      const fine = rateLimitAdminWriteOf
        .map(splitPair)
        .every(([name, value]) => name !== "" && parseRate(value ?? "") !== null)
      return fine ? null : "FITZ_RATE_LIMIT_ADMIN_WRITE_OF: an entry is not principal=rate"
    },
  },
  {
    names: ["routeFamilyMap", "routeFamilyMapFile"],
    problem: ({ routeFamilyMap, routeFamilyMapFile }) =>
      routeFamilyMap !== null && routeFamilyMapFile !== null
        ? "FITZ_ROUTE_FAMILY_MAP and FITZ_ROUTE_FAMILY_MAP_FILE are two sources of one map"
        : null,
  },
  {
    names: ["routeFamilyMap", "routeFamilies"],
    problem: ({ routeFamilyMap, routeFamilies }) => {
      const problem = routeFamilyMap === null ? null : familyMapProblem(routeFamilyMap, routeFamilies)
      return problem === null ? null : `FITZ_ROUTE_FAMILY_MAP: ${problem}`
    },
  },
  {
    names: ["routeFamilies", "routeFamilyMap", "routeFamilyMapFile", "authRequired"],
    problem: ({ routeFamilies, routeFamilyMap, routeFamilyMapFile, authRequired }) => {
      const mapped = authRequired && (routeFamilyMap !== null || routeFamilyMapFile !== null)
      if (mapped || routeFamilies.includes(UNMAPPED_FAMILY)) return null
      return `FITZ_ROUTE_FAMILIES leaves out family ${UNMAPPED_FAMILY}, to which every program belongs where no map says otherwise`
    },
  },
  {
    names: [
      "authRequired",
      "bindAddr",
      "jwtHmacSecret",
      "jwtHmacSecretFile",
      "jwtJwksFile",
      "jwtClientJwksFile",
      "jwtJwksMap",
      "apiKeysFile",
    ],
    problem: config =>
      config.authRequired && !hasTrustSource(config) && !isLoopback(config.bindAddr)
        ? "no way to verify tokens is configured: set FITZ_JWT_HMAC_SECRET_FILE, FITZ_JWT_JWKS_FILE, FITZ_JWT_CLIENT_JWKS_FILE or FITZ_JWT_JWKS_MAP, or FITZ_AUTH_REQUIRED=false (a development secret is made only for a loopback address)"
        : null,
  },
]

const JWKS_MAP_MISTAKE =
  "FITZ_JWT_JWKS_MAP: an entry is not issuer=url with an http or https address that holds no password"

function isIssuerPair(pair: string): boolean {
  const { issuer, url } = splitIssuer(pair)
  const address = url === null ? null : URL.parse(url)
  if (issuer === "" || address === null) return false
  const web = address.protocol === "https:" || address.protocol === "http:"
  return web && address.username === "" && address.password === ""
}

function isOrigin(value: string): boolean {
  if (value === "null") return true
  if (/^https?:/i.test(value)) return URL.parse(value)?.origin === value
  return /^[a-z][a-z0-9+.-]*:\/\/[^/?#]+$/.test(value)
}

/** The family of every program where no map says otherwise. */
export const UNMAPPED_FAMILY = 1

/** Is there anything that a token could be verified with? */
export function hasTrustSource(config: Config): boolean {
  const { jwtHmacSecret, jwtHmacSecretFile, jwtJwksFile, jwtClientJwksFile, jwtJwksMap, apiKeysFile } = config
  return (
    apiKeysFile !== null ||
    jwtHmacSecret !== null ||
    jwtHmacSecretFile !== null ||
    jwtJwksFile !== null ||
    jwtClientJwksFile !== null ||
    jwtJwksMap.length > 0
  )
}

export function isLoopback(address: string): boolean {
  return address === "localhost" || address === "::1" || address.startsWith("127.")
}

/** `a=b` cut at its last equals sign; the second is null where there is none. */
export function splitPair(pair: string): readonly [string, string | null] {
  const at = pair.lastIndexOf("=")
  return at < 0 ? [pair, null] : [pair.slice(0, at).trim(), pair.slice(at + 1).trim()]
}

/** `issuer=url`; the url is null where there is none. Either may hold an equals sign of its own. */
export function splitIssuer(pair: string): { readonly issuer: string; readonly url: string | null } {
  const at = pair.search(/=https?:\/\//)
  if (at < 0) return { issuer: pair, url: null }
  return { issuer: pair.slice(0, at).trim(), url: pair.slice(at + 1).trim() }
}

/** Identity → family, from pairs or a JSON object. Throws where the text is neither. */
export function parseFamilyMap(source: string): ReadonlyMap<string, number> {
  const map = new Map<string, number>()
  if (source.trimStart().startsWith("{")) {
    const schema = z.record(z.string(), family)
    const parsed = schema.safeParse(parseJson(source))
    if (!parsed.success) throw new Error("not an object of identity: family")
    for (const [identity, number] of Object.entries(parsed.data)) map.set(identity, number)
    return map
  }
  for (const pair of source.split(/[,\n\r]+/).map(item => item.trim())) {
    if (pair === "" || pair.startsWith("#")) continue
    const at = pair.lastIndexOf("=")
    const identity = pair.slice(0, Math.max(0, at)).trim()
    const number = family.safeParse(pair.slice(at + 1).trim())
    if (identity === "" || !number.success) throw new Error("an entry is not identity=family")
    if (map.has(identity) && map.get(identity) !== number.data)
      throw new Error("an identity stands in two families")
    map.set(identity, number.data)
  }
  return map
}

/** JSON, or undefined where it is none: the runtime's own message would quote the text. */
export function parseJson(source: string): unknown {
  try {
    return JSON.parse(source)
  } catch {
    return undefined // every caller checks the shape next and says what is wrong without quoting
  }
}

/** What is wrong with a family map, or null. */
export function familyMapProblem(source: string, families: readonly number[]): string | null {
  try {
    for (const family of parseFamilyMap(source).values()) {
      if (families.length > 0 && !families.includes(family))
        return `family ${family} is not in FITZ_ROUTE_FAMILIES`
    }
    return null
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
