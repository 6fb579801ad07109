// Options: one declaration each, four places to set them, and every mistake told at once. Nothing here starts a
// broker; what one does with a wrong configuration is test/cli/serve.test.ts.

import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import {
  type Config,
  ConfigError,
  type ConfigSources,
  fileKeyOf,
  flagOf,
  loadConfig,
  OPTIONS,
  type OptionName,
  readConfigFile,
} from "../../broker/config.ts"
import { nearest } from "../../broker/hint.ts"
import { optionsHelp } from "../../cli/serve.ts"
import { newFolder, removeFolder } from "../kit/process.ts"

const NAMES = Object.keys(OPTIONS) as OptionName[]
const MOST = Number.MAX_SAFE_INTEGER
const folder = newFolder()
afterAll(() => removeFolder(folder))

/** What lets any single option be set alone. */
const COMPANY: Partial<Record<OptionName, Readonly<Record<string, string>>>> = {
  tlsCertFile: { FITZ_TLS_KEY_FILE: "key.pem" },
  tlsKeyFile: { FITZ_TLS_CERT_FILE: "cert.pem" },
  tlsOnly: { FITZ_TLS_CERT_FILE: "cert.pem", FITZ_TLS_KEY_FILE: "key.pem" },
  bindAddr: { FITZ_AUTH_REQUIRED: "false" },
}

/** A value of each option that is not its default: as text, as a file holds it, and as it is used. */
const VALUES: Partial<Record<OptionName, readonly [text: string, inFile: unknown, used: unknown]>> = {
  bindAddr: ["0.0.0.0", "0.0.0.0", "0.0.0.0"],
  tlsOnly: ["true", true, true],
  wsAllowedOrigins: [
    "https://a.example, app://local",
    ["https://a.example", "app://local"],
    ["https://a.example", "app://local"],
  ],
  storageMode: ["memory", "memory", "memory"],
  queueWritePolicy: ["fast", "fast", "fast"],
  authRequired: ["0", false, false],
  jwtJwksMap: [
    "https://i?a=b=https://i/keys?c=d",
    ["https://i?a=b=https://i/keys?c=d"],
    ["https://i?a=b=https://i/keys?c=d"],
  ],
  jwtAudiences: ["one,two", ["one", "two"], ["one", "two"]],
  routeFamilies: ["1, 2", [1, 2], [1, 2]],
  routeFamilyMap: ["dev=1", "dev=1", "dev=1"],
  jwtIssuers: ["one,two", ["one", "two"], ["one", "two"]],
  jwtClientAllowAdmin: ["true", true, true],
  adminAuthMode: ["open", "open", "open"],
  metricsPermission: ["metrics:read", "metrics:read", "metrics:read"],
  probeAuth: ["1", true, true],
  performanceBlock: ["1", true, true],
  rateLimitMetrics: ["0", 0, "0"],
  rateLimitAdminRead: ["100/s", "100/s", "100/s"],
  rateLimitAdminWrite: ["10/min", "10/min", "10/min"],
  rateLimitAdminWriteOf: ["a=50/s:200,b=0", ["a=50/s:200", "b=0"], ["a=50/s:200", "b=0"]],
  rateLimitAuthFailure: ["1/s:5", "1/s:5", "1/s:5"],
  adminStrictConfirm: ["true", true, true],
  auditStrict: ["true", true, true],
  realmsDeclaredOnly: ["true", true, true],
  logLevel: ["warn", "warn", "warn"],
  logFormat: ["text", "text", "text"],
}

function exampleOf(name: OptionName): readonly [text: string, inFile: unknown, used: unknown] {
  const known = VALUES[name]
  if (known !== undefined) return known
  const limits = NUMBERS[name]
  if (limits === undefined) return ["some text", "some text", "some text"]
  const number = Math.max(limits[0], 3_599)
  return [String(number), number, number]
}

/** Each option that is a number, with its least and its greatest value. */
const NUMBERS: Partial<Record<OptionName, readonly [least: number, most: number]>> = {
  httpPort: [0, 65_535],
  tcpPort: [0, 65_535],
  detectTimeoutSeconds: [1, 3_600],
  connectTimeoutSeconds: [1, 3_600],
  drainGraceSeconds: [0, 3_600],
  kvIdleTransactionTtlSeconds: [1, 86_400],
  queueMaxAttempts: [0, 1_000_000],
  queueCacheBytes: [0, MOST],
  busyPollMicros: [0, 10_000],
  maxConnections: [1, MOST],
  maxInflight: [1, MOST],
  maxInflightBytes: [65_536, MOST],
  maxInflightTotalBytes: [65_536, MOST],
  maxParked: [1, MOST],
  maxParkedPerQueue: [1, MOST],
  maxRegistrations: [1, MOST],
  maxWildcardRegistrations: [1, MOST],
  maxOpenTransactions: [1, MOST],
  maxOpenAppends: [1, MOST],
  maxUncommittedBytes: [65_536, MOST],
  maxReservations: [1, MOST],
  maxQueues: [1, MOST],
  maxLeases: [1, MOST],
  maxSchedules: [1, MOST],
  maxOutboundBytes: [262_144, MOST],
  maxOutboundTotalBytes: [262_144, MOST],
  rpcMaxPending: [1, MOST],
  rpcMaxPendingPerRoute: [1, MOST],
  rpcTimeoutSeconds: [1, 86_400],
  maxRealms: [1, 1_000_000],
}

function load({ environment = {}, flags = {}, file = null }: Partial<ConfigSources> = {}): Config {
  return loadConfig({ environment, flags, file })
}

function mistakesOf(sources: Partial<ConfigSources>): readonly string[] {
  try {
    load(sources)
  } catch (error) {
    if (error instanceof ConfigError) return error.mistakes
    throw error
  }
  return []
}

describe("where options come from", () => {
  test("with nothing set every option has its default", () => {
    const config = load()
    for (const name of NAMES) expect(config[name], name).toEqual(OPTIONS[name].fallback)
    expect(config).toMatchObject({
      httpPort: 8080,
      bindAddr: "127.0.0.1",
      authRequired: true,
      maxInflight: 4_096,
    })
  })

  test.each(NAMES)("%s: from the environment, a flag, and a file, whatever its form there", name => {
    const [text, inFile, used] = exampleOf(name)
    const company = COMPANY[name] ?? {}
    const { env, aliases = [] }: { env: string; aliases?: readonly string[] } = OPTIONS[name]
    for (const each of [env, ...aliases])
      expect(load({ environment: { ...company, [each]: text } })[name]).toEqual(used)
    for (const value of [text, inFile]) {
      const file = { name: "fitz.yaml", values: { [fileKeyOf(name)]: value } }
      expect(load({ environment: company, file })[name]).toEqual(used)
    }
    if (flagOf(name) !== null)
      expect(load({ environment: company, flags: { [fileKeyOf(name)]: text } })[name]).toEqual(used)
  })

  test("a flag wins over the environment, the environment over the file, the file over the default", () => {
    const file = { name: "fitz.yaml", values: { "max-queues": 1 } }
    const environment = { FITZ_MAX_QUEUES: "2" }
    const flags = { "max-queues": "3" }
    expect(load({ file }).maxQueues).toBe(1)
    expect(load({ file, environment }).maxQueues).toBe(2)
    expect(load({ file, environment, flags }).maxQueues).toBe(3)
    expect(load({ environment, flags }).maxQueues).toBe(3)
    // A mistake in a place that loses is none: nobody would act on it.
    expect(load({ file: { name: "f", values: { "max-queues": "many" } }, environment }).maxQueues).toBe(2)
  })

  test("the option's own name wins over an older one", () => {
    const environment = { FITZ_DRAIN_SECONDS: "1", FITZ_DRAIN_GRACE_SECONDS: "2" }
    expect(load({ environment }).drainGraceSeconds).toBe(2)
  })

  test("an empty variable counts as unset", () => {
    expect(load({ environment: { FITZ_HTTP_PORT: "", FITZ_JWT_HMAC_SECRET: "" } })).toMatchObject({
      httpPort: 8080,
      jwtHmacSecret: null,
    })
  })

  test("every name is used once, and flags and keys follow from the option's own", () => {
    const names = NAMES.flatMap(name => {
      const { env, aliases = [] }: { env: string; aliases?: readonly string[] } = OPTIONS[name]
      return [env, ...aliases]
    })
    expect(new Set(names).size).toBe(names.length)
    for (const name of names) expect(name).toMatch(/^(FITZ|TOPICS)_[A-Z0-9_]+$/)
    expect(fileKeyOf("kvIdleTransactionTtlSeconds")).toBe("kv-idle-transaction-ttl-seconds")
    expect(flagOf("httpPort")).toBe("--http-port")
  })

  test("a secret is never a flag", () => {
    const secrets = NAMES.filter(name => "secret" in OPTIONS[name])
    expect(secrets).toEqual(["jwtHmacSecret"])
    for (const name of secrets) expect(flagOf(name)).toBeNull()
    expect(load({ flags: { "jwt-hmac-secret": "from a flag" } }).jwtHmacSecret).toBeNull()
  })
})

describe("numbers", () => {
  test("every option that is a number is in the table of limits", () => {
    const numbers = NAMES.filter(name =>
      mistakesOf({ environment: { [OPTIONS[name].env]: "-1" } }).some(m => m.includes("whole number")),
    )
    expect(numbers.sort()).toEqual(Object.keys(NUMBERS).sort())
  })

  test.each(Object.entries(NUMBERS) as [OptionName, readonly [number, number]][])(
    "%s is taken at its limits %j and refused one beyond",
    (name, [least, most]) => {
      const { env } = OPTIONS[name]
      for (const value of [least, most]) {
        expect(load({ environment: { [env]: String(value) } })[name]).toBe(value)
        expect(load({ file: { name: "f", values: { [fileKeyOf(name)]: value } } })[name]).toBe(value)
      }
      const wanted =
        most === MOST
          ? `${env} has to be a whole number of at least ${least}`
          : `${env} has to be a whole number from ${least} to ${most}`
      const beyond = [String(least - 1), String(BigInt(most) + 1n)]
      for (const wrong of [...beyond, "1.5", "1e3", "0x10", " 1", "ten", "1_000", "NaN", "Infinity"])
        expect(mistakesOf({ environment: { [env]: wrong } }), wrong).toEqual([wanted])
      for (const wrong of [least - 1, most + 1, 1.5, Number.NaN, true, null, [least], {}]) {
        expect(mistakesOf({ file: { name: "f", values: { [fileKeyOf(name)]: wrong } } })).toEqual([
          expect.stringContaining(`${fileKeyOf(name)} in f has to be`),
        ])
      }
    },
  )
})

describe("mistakes", () => {
  test("all of them are told, each with its place", () => {
    const mistakes = mistakesOf({
      environment: {
        FITZ_HTTP_PORT: "70000",
        FITZ_AUTH_REQUIRED: "perhaps",
        FITZ_STORAGE_MODE: "cloud",
        FITZ_TLS_ONLY: "true",
        FITZ_JWT_HMAC_SECRET: "a",
        FITZ_JWT_HMAC_SECRET_FILE: "b",
        FITZ_ROUTE_FAMILIES: "1,0",
        FITZ_HTPP_PORT: "8080",
        FITZ_WS_ALLOWED_ORIGINS: "https://a.example/",
      },
      flags: { "max-queues": "many", "log-level": "loud" },
      file: { name: "fitz.yaml", values: { "max-leases": -1, "max-leasse": 5, colour: "red" } },
    })
    expect([...mistakes].sort()).toEqual(
      [
        "FITZ_HTTP_PORT has to be a whole number from 0 to 65535",
        "FITZ_AUTH_REQUIRED has to be true or false",
        "FITZ_STORAGE_MODE has to be one of local, memory",
        "--max-queues has to be a whole number of at least 1",
        "--log-level has to be one of trace, debug, info, warn, error, fatal, silent",
        "max-leases in fitz.yaml has to be a whole number of at least 1",
        "FITZ_ROUTE_FAMILIES has to be * or family numbers from 1 to 4294967295, separated by commas",
        "FITZ_WS_ALLOWED_ORIGINS has to be origins as browsers send them (https://app.example.com), separated by commas",
        "FITZ_HTPP_PORT: there is no such option; did you mean FITZ_HTTP_PORT?",
        "max-leasse in fitz.yaml: there is no such option; did you mean max-leases?",
        "colour in fitz.yaml: there is no such option",
        "FITZ_TLS_ONLY needs a certificate and a key",
        "FITZ_JWT_HMAC_SECRET and FITZ_JWT_HMAC_SECRET_FILE are two sources of one secret",
      ].sort(),
    )
    const message = String(new ConfigError(mistakes))
    expect(message).toContain("The configuration has 13 mistakes:\n  ")
    expect(String(new ConfigError(["one"]))).toContain("The configuration has a mistake:\n  one")
  })

  test.each<[Readonly<Record<string, string>>, string]>([
    [{ FITZ_TLS_CERT_FILE: "a" }, "FITZ_TLS_CERT_FILE and FITZ_TLS_KEY_FILE come together"],
    [{ FITZ_TLS_KEY_FILE: "a" }, "FITZ_TLS_CERT_FILE and FITZ_TLS_KEY_FILE come together"],
    [{ FITZ_TCP_PORT: "8080" }, "FITZ_TCP_PORT is a further port: it cannot be FITZ_HTTP_PORT"],
    [
      { FITZ_ROUTE_FAMILY_MAP: "a=1", FITZ_ROUTE_FAMILY_MAP_FILE: "b" },
      "FITZ_ROUTE_FAMILY_MAP and FITZ_ROUTE_FAMILY_MAP_FILE are two sources of one map",
    ],
    [{ FITZ_ROUTE_FAMILY_MAP: "a=2" }, "FITZ_ROUTE_FAMILY_MAP: family 2 is not in FITZ_ROUTE_FAMILIES"],
    [{ FITZ_ROUTE_FAMILY_MAP: "a=1,b" }, "FITZ_ROUTE_FAMILY_MAP: an entry is not identity=family"],
    [{ FITZ_ROUTE_FAMILY_MAP: '{"a":' }, "FITZ_ROUTE_FAMILY_MAP: not an object of identity: family"],
    [
      { FITZ_ROUTE_FAMILY_MAP: "a=1,a=2", FITZ_ROUTE_FAMILIES: "1,2" },
      "FITZ_ROUTE_FAMILY_MAP: an identity stands in two families",
    ],
    [
      { FITZ_ROUTE_FAMILIES: "2,3" },
      "FITZ_ROUTE_FAMILIES leaves out family 1, to which every program belongs where no map says otherwise",
    ],
    [
      { FITZ_ROUTE_FAMILIES: "2", FITZ_ROUTE_FAMILY_MAP: "a=2", FITZ_AUTH_REQUIRED: "false" },
      "FITZ_ROUTE_FAMILIES leaves out family 1, to which every program belongs where no map says otherwise",
    ],
    [{ FITZ_JWT_AUDIENCES: " , " }, "FITZ_JWT_AUDIENCES has to name an audience"],
    ...[
      "no equals sign",
      "=https://i/keys",
      "https://i=ftp://i/keys",
      "https://i=keys.json",
      "https://i=https://user:hidden@i/keys",
    ].map((map): [Readonly<Record<string, string>>, string] => [
      { FITZ_JWT_JWKS_MAP: map },
      "FITZ_JWT_JWKS_MAP: an entry is not issuer=url with an http or https address that holds no password",
    ]),
    [{ FITZ_BIND_ADDR: "0.0.0.0" }, "no way to verify tokens is configured: set FITZ_JWT_HMAC_SECRET_FILE,"],
  ])("%j is a mistake", (environment, mistake) => {
    expect(mistakesOf({ environment })).toEqual([expect.stringContaining(mistake)])
  })

  test.each(["FITZ_JWT_HMAC_SECRET", "FITZ_JWT_JWKS_FILE", "FITZ_JWT_CLIENT_JWKS_FILE"])(
    "with %s any address may be listened on",
    env => {
      expect(mistakesOf({ environment: { FITZ_BIND_ADDR: "0.0.0.0", [env]: "x" } })).toEqual([])
    },
  )

  test.each(["127.0.0.1", "127.9.9.9", "localhost", "::1"])(
    "%s needs nothing to verify tokens with",
    address => {
      expect(mistakesOf({ environment: { FITZ_BIND_ADDR: address } })).toEqual([])
    },
  )

  test("values are never repeated: one of them could be a secret in the wrong place", () => {
    const hidden = "hidden-hunter2"
    for (const name of NAMES) {
      const environment = { [OPTIONS[name].env]: `${hidden}\u0000=${hidden}=x` }
      const file = { name: "f", values: { [fileKeyOf(name)]: { [hidden]: [hidden] } } }
      expect(mistakesOf({ environment }).join("\n"), name).not.toContain(hidden)
      const inFile = mistakesOf({ file })
      expect(inFile, name).not.toEqual([])
      expect(inFile.join("\n"), name).not.toContain(hidden)
    }
  })

  test("names that Kubernetes adds for a Service called fitz are not taken for options", () => {
    const environment = {
      FITZ_SERVICE_HOST: "10.0.0.1",
      FITZ_SERVICE_PORT: "8080",
      FITZ_SERVICE_PORT_HTTP: "8080",
      FITZ_PORT: "tcp://10.0.0.1:8080",
      FITZ_PORT_8080_TCP: "tcp://10.0.0.1:8080",
      FITZ_PORT_8080_TCP_PROTO: "tcp",
      FITZ_PORT_8080_TCP_PORT: "8080",
      FITZ_PORT_8080_TCP_ADDR: "10.0.0.1",
      FITZ_MAIN_HEADLESS_SERVICE_HOST: "10.0.0.1",
      FITZ_MAIN_HEADLESS_PORT: "udp://10.0.0.1:8080",
      FITZ_CONFIG_FILE: "fitz.yaml",
      FITZBROKER: "x",
      PATH: "/bin",
    }
    expect(mistakesOf({ environment })).toEqual([])
    expect(mistakesOf({ environment: { FITZ_WEB_PORT: "8080" } })).toHaveLength(1)
  })
})

describe("the file", () => {
  function written(content: string): string {
    const path = join(folder, "fitz.yaml")
    writeFileSync(path, content)
    return path
  }

  test("YAML and JSON say the same", async () => {
    const yaml = await readConfigFile(
      written("# ports\nhttp-port: 9000\nauth-required: false\njwt-audiences:\n  - a\n  - b\n"),
    )
    const json = await readConfigFile(
      written('{"http-port": 9000, "auth-required": false, "jwt-audiences": ["a", "b"]}'),
    )
    expect(yaml!.values).toEqual(json!.values)
    expect(load({ file: yaml })).toMatchObject({
      httpPort: 9000,
      authRequired: false,
      jwtAudiences: ["a", "b"],
    })
  })

  test.each([
    ["", "does not hold an object"],
    ["- a\n- b\n", "does not hold an object"],
    ["just text", "does not hold an object"],
    ["jwt-hmac-secret: hidden\nhttp-port: [", "is not YAML or JSON: line 2"],
    ["a: hidden\na: hidden\n", "is not YAML or JSON: line 2"],
    ["a: 1\nb: hidden: c\n", "is not YAML or JSON: line 2"],
    ["jwt-hmac-secret: *hidden\n", "uses an alias that stands for nothing"],
    ["\tjwt-hmac-secret: hidden\n", "is not YAML or JSON: line 1"],
  ])("%j is refused by name, line and nothing of its content", async (content, problem) => {
    const path = written(content)
    const refused = await readConfigFile(path).then(
      () => null,
      (error: unknown) => error,
    )
    expect(refused).toBeInstanceOf(ConfigError)
    expect((refused as ConfigError).mistakes).toEqual([expect.stringContaining(problem)])
    expect((refused as ConfigError).message).toContain(path)
    expect((refused as ConfigError).message).not.toContain("hidden")
  })

  test("one that is not there, or is a folder, is a mistake", async () => {
    for (const path of [join(folder, "missing.yaml"), folder])
      await expect(readConfigFile(path)).rejects.toThrow(/cannot be read: E(NOENT|ISDIR)/)
  })

  test("keys of the language itself are no options and do no harm", async () => {
    const file = await readConfigFile(
      written('{"__proto__": {"http-port": 1}, "constructor": 5, "toString": 1}'),
    )
    expect(mistakesOf({ file })).toHaveLength(3)
    expect(load().httpPort).toBe(8080)
  })
})

describe("the help page", () => {
  const help = optionsHelp()

  test.each(NAMES)("%s stands there with its flag, its names, its default and what it is for", name => {
    const {
      env,
      aliases = [],
      about,
      fallback,
    }: {
      env: string
      aliases?: readonly string[]
      about: string
      fallback: unknown
    } = OPTIONS[name]
    const shown =
      fallback === null
        ? "not set"
        : Array.isArray(fallback)
          ? fallback.join(",") || "none"
          : String(fallback)
    const ways = [flagOf(name), env, ...aliases].filter(way => way !== null).join(", ")
    expect(help).toContain(`  ${ways}\n      ${about} [${shown}]`)
    expect(about).toMatch(/\.$/)
  })

  test("it tells where options may stand and which place wins", () => {
    expect(help).toContain("Flags win over the environment, the environment over the file.")
  })
})

describe("the name that was probably meant", () => {
  test.each([
    ["FITZ_HTPP_PORT", "FITZ_HTTP_PORT"],
    ["FITZ_HTTPPORT", "FITZ_HTTP_PORT"],
    ["FITZ_HTTP_PORTS", "FITZ_HTTP_PORT"],
    ["FITZ_LOGLEVEL", "FITZ_LOG_LEVEL"],
    ["FITZ_MAX_QUEUE", "FITZ_MAX_QUEUES"],
    ["FITZ_JWT_HMAC_SECRETS", "FITZ_JWT_HMAC_SECRET"],
    ["FITZ_COLOUR_OF_THE_SKY", null],
    ["FITZ_X", null],
  ])("%s: %s", (name, meant) => {
    expect(
      nearest(
        name,
        NAMES.map(option => OPTIONS[option].env),
      ),
    ).toBe(meant)
  })

  test("nothing is near to nothing", () => {
    expect(nearest("", ["a"])).toBeNull()
    expect(nearest("abc", [])).toBeNull()
  })
})
