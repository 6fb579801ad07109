// `fitz serve`: the broker in the foreground. With nothing configured it starts for development: loopback, a
// folder for the store, a secret made once and kept there.

import { randomBytes } from "node:crypto"
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { type Command, type CommanderError, Option } from "commander"
import {
  type Config,
  ConfigError,
  fileKeyOf,
  flagOf,
  hasTrustSource,
  loadConfig,
  OPTIONS,
  type OptionName,
  readConfigFile,
} from "../broker/config.ts"
import { nearest } from "../broker/hint.ts"
import type { BoundPort } from "../broker/transport/port.ts"
import { SCHEMES } from "../protocol/route.ts"
import { pageFolder } from "./page.ts"
import { DEVELOPMENT_SECRET_FILE, mintToken } from "./token.ts"
import { version } from "./version.ts"

const DAY_SECONDS = 86_400

/** The broker's code, loaded only once the configuration is right: the other verbs do without it. */
async function product() {
  const [{ Broker }, { openLog }, { realWorld }] = await Promise.all([
    import("../broker/broker.ts"),
    import("../broker/log.ts"),
    import("../broker/world.ts"),
  ])
  return { Broker, openLog, realWorld }
}

/** A default as the help page shows it. */
function shown(value: unknown): string {
  if (value === null) return "not set"
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.join(",")
  return String(value)
}

/** The help page's list of options, from their declarations. */
export function optionsHelp(): string {
  const names = Object.keys(OPTIONS) as OptionName[]
  const groups = Map.groupBy(names, name => OPTIONS[name].group)
  const lines = [...groups].flatMap(([group, members]) => [
    "",
    `${group}:`,
    ...members.flatMap(name => {
      const spec: { env: string; aliases?: readonly string[]; about: string; fallback: unknown } =
        OPTIONS[name]
      const ways = [flagOf(name), spec.env, ...(spec.aliases ?? [])].filter(way => way !== null)
      return [`  ${ways.join(", ")}`, `      ${spec.about} [${shown(spec.fallback)}]`]
    }),
  ])
  return [
    "",
    "Every option is a flag, an environment variable and a key of the file given by --config (YAML or JSON, the",
    "flag's name without dashes in front). Flags win over the environment, the environment over the file.",
    ...lines,
  ].join("\n")
}

export function addServe(program: Command): void {
  const serve = program
    .command("serve")
    .description("run the broker in the foreground")
    .option("--config <file>", "configuration file, also FITZ_CONFIG_FILE")
    .addHelpText("after", optionsHelp())
  const flags: string[] = []
  for (const name of Object.keys(OPTIONS) as OptionName[]) {
    const flag = flagOf(name)
    if (flag === null) continue
    flags.push(flag)
    serve.addOption(new Option(`${flag} <value>`).hideHelp())
  }
  // The library suggests no option that its own help does not show.
  serve.exitOverride((error: CommanderError) => {
    const [, unknown] = /unknown option '(--[^'=]+)/.exec(error.message) ?? []
    const near = unknown === undefined ? null : nearest(unknown, flags)
    if (near !== null) process.stderr.write(`(Did you mean ${near}?)\n`)
    throw error
  })
  serve.action(async () => {
    const config = await configure(serve.opts<Record<string, string | undefined>>()).catch(
      (error: unknown) => {
        if (!(error instanceof ConfigError)) throw error
        return serve.error(`fitz: ${error.message}`)
      },
    )
    await run(config)
  })
}

async function run(config: Config): Promise<void> {
  const { Broker, openLog, realWorld } = await product()
  const world = realWorld(await openLog({ level: config.logLevel, format: config.logFormat }))
  // From here on: as the first process of a container nothing else would end this one.
  const signal = new AbortController()
  const signalled = untilSignal().then(() => signal.abort(new StoppedEarly()))
  const developmentSecret =
    config.authRequired && !hasTrustSource(config) ? developmentSecretOf(config) : null
  const broker = await Broker.start({
    stop: signal.signal,
    config,
    world,
    version: version(),
    pageFolder: pageFolder(),
    developmentSecret,
    onFatal: reason => {
      world.log("error", "the broker cannot go on", { reason })
      process.exit(1)
    },
  }).catch((error: unknown) => {
    if (error instanceof StoppedEarly) return null
    throw new Error(`cannot start: ${error instanceof Error ? error.message : String(error)}`)
  })
  if (broker === null) {
    world.log("info", "stopped before it was ready")
    return
  }
  if (developmentSecret !== null) await welcome(config, broker.address, developmentSecret)
  await signalled
  process.on("SIGTERM", () => process.exit(1))
  process.on("SIGINT", () => process.exit(1))
  await broker.drain()
}

async function configure(given: Readonly<Record<string, string | undefined>>): Promise<Config> {
  const fileName = given["config"] ?? process.env["FITZ_CONFIG_FILE"]
  const flags = Object.fromEntries(
    (Object.keys(OPTIONS) as OptionName[]).map(name => [fileKeyOf(name), given[name]]),
  )
  const file = fileName === undefined || fileName === "" ? null : await readConfigFile(fileName)
  return loadConfig({ environment: process.env, flags, file })
}

/** Not a failure: somebody asked. */
class StoppedEarly extends Error {}

function untilSignal(): Promise<void> {
  process.removeAllListeners("SIGTERM")
  return new Promise(resolve => {
    process.once("SIGTERM", () => resolve())
    process.once("SIGINT", () => resolve())
  })
}

/** The secret of a broker that was given none: made at the first start, kept beside the store. */
function developmentSecretOf(config: Config): string {
  if (config.storageMode === "memory") return randomBytes(32).toString("base64url")
  const file = join(config.storagePath, DEVELOPMENT_SECRET_FILE)
  if (existsSync(file)) {
    const kept = readFileSync(file, "utf8").trim()
    if (kept === "") throw new Error(`${file} is empty: remove it, and a new secret is made`)
    return kept
  }
  const secret = randomBytes(32).toString("base64url")
  mkdirSync(config.storagePath, { recursive: true })
  writeFileSync(file, `${secret}\n`, { mode: 0o600 })
  return secret
}

/** What a person at a terminal needs next. Only a development broker says it. */
async function welcome(config: Config, bound: BoundPort, secret: string): Promise<void> {
  const token = await mintToken({
    secret,
    audience: config.jwtAudiences[0]!,
    subject: "dev",
    identity: "dev",
    identityClaim: config.jwtIdentityClaim,
    permissions: [...SCHEMES.map(scheme => `${scheme}://**#*`), "admin", "data:read"],
    expiresInSeconds: DAY_SECONDS,
    nowSeconds: Math.floor(Date.now() / 1_000),
  })
  const host = bound.address.includes(":") ? `[${bound.address}]` : bound.address
  process.stdout.write(
    `
  Fitz ${version()} is running.

    page           ${pageFolder() === null ? "not built" : `http://${host}:${bound.port}/`}
    HTTP, probes   http://${host}:${bound.port}/readyz
    WebSocket      ws://${host}:${bound.port}/ws
    raw TCP        ${host}:${bound.port}
    data           ${config.storageMode === "memory" ? "in memory" : config.storagePath}

  A token for everything, the page too, good for a day (a new one for programs: npx fitz token):

    ${token}

  Next: open the page and paste the token there, or connect a Fitz client with it.

    npx fitz health --url http://${host}:${bound.port}

`,
  )
}
