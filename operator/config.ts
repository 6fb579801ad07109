// The operator's options: each declared once, read from environment and flags, judged together at start. All mistakes are
// reported at once.

import { z } from "zod"

const names = z.string().transform(text =>
  text
    .split(",")
    .map(part => part.trim())
    .filter(part => part !== ""),
)
const count = (least: number, most: number) => z.coerce.number().int().min(least).max(most)

interface Option<S extends z.ZodType> {
  readonly env: string
  readonly schema: S
  readonly fallback: string | null
  readonly about: string
}
const option = <S extends z.ZodType>(
  env: string,
  schema: S,
  fallback: string | null,
  about: string,
): Option<S> => ({
  env,
  schema,
  fallback,
  about,
})

export const OPTIONS = {
  kubeconfig: option("KUBECONFIG", z.string(), null, "Kubeconfig; without it, the pod's own credentials."),
  context: option(
    "FITZ_OPERATOR_CONTEXT",
    z.string(),
    null,
    "Context of the kubeconfig; without it, the current one.",
  ),
  watchMode: option(
    "FITZ_OPERATOR_WATCH_MODE",
    z.enum(["cluster", "list", "single"]),
    "cluster",
    "cluster: all namespaces; list: those named; single: the operator's own.",
  ),
  namespaces: option(
    "FITZ_OPERATOR_NAMESPACES",
    names,
    "",
    "Namespaces of the mode list, separated by commas.",
  ),
  namespace: option(
    "FITZ_OPERATOR_NAMESPACE",
    z.string().min(1),
    null,
    "The operator's own namespace; without it, the credentials'.",
  ),
  identity: option(
    "FITZ_OPERATOR_IDENTITY",
    z.string().min(1),
    null,
    "Name in the lease; without it, the host's with some chance.",
  ),
  leaderElection: option(
    "FITZ_OPERATOR_LEADER_ELECTION",
    z.stringbool(),
    "true",
    "Whether a lease guards against a second operator.",
  ),
  brokerRepository: option(
    "FITZ_OPERATOR_BROKER_REPOSITORY",
    z.string().min(1),
    "ghcr.io/fitz-dev/fitz-broker",
    "Repository of broker images; spec.version is the tag in it.",
  ),
  defaultVersion: option(
    "FITZ_OPERATOR_DEFAULT_VERSION",
    z.string().min(1),
    "0.1.0",
    "Version of brokers that name none.",
  ),
  brokerWorkers: option("FITZ_OPERATOR_BROKER_WORKERS", count(1, 64), "4", "Brokers worked on at once."),
  topologyWorkers: option(
    "FITZ_OPERATOR_TOPOLOGY_WORKERS",
    count(1, 64),
    "8",
    "Brokers whose definitions are worked on at once.",
  ),
  perSecond: option("FITZ_OPERATOR_QPS", count(1, 10_000), "50", "Requests a second to the Kubernetes API."),
  burst: option("FITZ_OPERATOR_BURST", count(1, 10_000), "100", "Requests at once."),
  resyncSeconds: option(
    "FITZ_OPERATOR_RESYNC_SECONDS",
    count(10, 86_400),
    "600",
    "How often every broker is looked at.",
  ),
  host: option("FITZ_OPERATOR_BIND_ADDR", z.string(), "0.0.0.0", "Address of the probes and metrics."),
  probePort: option(
    "FITZ_OPERATOR_PROBE_PORT",
    count(0, 65_535),
    "8081",
    "Port of /livez and /readyz; 0 takes a free one.",
  ),
  metricsPort: option(
    "FITZ_OPERATOR_METRICS_PORT",
    count(0, 65_535),
    "9090",
    "Port of /metrics; 0 takes a free one.",
  ),
  resolve: option(
    "FITZ_OPERATOR_RESOLVE",
    z.string(),
    null,
    "For an operator outside the cluster: host:port that every broker is reached at, with {namespace} and {name}.",
  ),
  logLevel: option(
    "FITZ_OPERATOR_LOG_LEVEL",
    z.enum(["debug", "info", "warn", "error", "silent"]),
    "info",
    "Least important records.",
  ),
} as const

type Options = typeof OPTIONS
type Value<K extends keyof Options> = z.output<Options[K]["schema"]>
/** Options without a fallback may be absent. */
type Optional = "kubeconfig" | "context" | "namespace" | "identity" | "resolve"
export type Config = { readonly [K in Exclude<keyof Options, Optional>]: Value<K> } & {
  readonly [K in Optional]: Value<K> | undefined
}

export class ConfigError extends Error {
  constructor(problems: readonly string[]) {
    super(problems.join("\n"))
    this.name = "ConfigError"
  }
}

/** Reads all options; flags (`--watch-mode=list`) win over the environment. */
export function readConfig(
  environment: Readonly<Record<string, string | undefined>>,
  flags: Readonly<Record<string, string>> = {},
): Config {
  const problems: string[] = []
  const out: Record<string, unknown> = {}
  for (const [name, spec] of Object.entries(OPTIONS)) {
    const raw = flags[name] ?? environment[spec.env] ?? spec.fallback ?? undefined
    if (raw === undefined || (raw === "" && spec.fallback === null)) continue
    const parsed = spec.schema.safeParse(raw)
    if (parsed.success) out[name] = parsed.data
    else problems.push(`${spec.env}: ${parsed.error.issues[0]?.message ?? "invalid"}`)
  }
  for (const name of Object.keys(flags))
    if (!(name in OPTIONS)) problems.push(`--${kebab(name)}: there is no such option`)
  if (out["watchMode"] === "list" && (out["namespaces"] as string[]).length === 0)
    problems.push("FITZ_OPERATOR_NAMESPACES: the watch mode list needs at least one")
  if (problems.length > 0) throw new ConfigError(problems)
  return out as unknown as Config
}

export function kebab(name: string): string {
  return name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
}

export function camel(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
}
