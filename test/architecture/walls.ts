// The walls of the house as data: who may import whom, which names have no business where, which package belongs
// to whom. An exception is an entry like any other, with its reason and the page that decided it. It checks
// nothing; test/architecture/checks.ts does.

/** What files of one place may import. The first wall whose `files` match a file is that file's wall. */
export interface Wall {
  /** Globs over paths of the repository. */
  readonly files: readonly string[]
  readonly may: readonly string[]
  /** Of these, types only: nothing of them is left in what runs. */
  readonly mayTypes?: readonly string[]
  /** Modules of Node; absent: any. */
  readonly node?: readonly string[]
  /** What to do instead. */
  readonly instead: string
  /** Where this wall is an exception: the page in docs/decisions that says so. */
  readonly page?: string
}

export const WALLS: readonly Wall[] = [
  {
    files: ["protocol/**"],
    may: ["protocol/**"],
    node: [],
    instead:
      "protocol/ is words and bytes that also run in a browser: what needs more belongs into who calls it",
  },
  {
    files: ["broker/domains/**"],
    may: ["broker/domains/**", "protocol/**"],
    node: [],
    instead:
      "a domain is pure rules: declare an interface for what it needs and let the roof hand something in that has it",
  },
  {
    files: ["broker/engine/**"],
    may: ["broker/engine/**", "broker/domains/**", "protocol/**"],
    node: [],
    instead: "the engine knows neither stores nor doors: declare an interface and let the roof hand it in",
  },
  {
    files: ["broker/storage/**"],
    may: ["broker/storage/**", "protocol/**"],
    mayTypes: ["broker/domains/**"],
    instead:
      "storage keeps what domains decided: it implements their interfaces (types only) and knows no engine and no door",
  },
  {
    files: ["broker/transport/**"],
    may: ["broker/transport/**", "broker/engine/**", "protocol/**"],
    node: ["node:net", "node:tls"],
    instead: "a door moves bytes between sockets and the engine and knows no domain, no store and no admin",
  },
  {
    files: ["broker/admin/**"],
    may: ["broker/admin/**", "broker/engine/**", "protocol/**"],
    mayTypes: ["broker/domains/**"],
    instead:
      "the admin door asks the engine and knows views of domains as types only; it never reaches into stores or sockets",
  },
  {
    files: ["broker/*.ts"],
    may: ["broker/**", "protocol/**"],
    instead: "the roof puts the broker together and knows nothing outside of broker/ and protocol/",
  },
  {
    files: ["client/**"],
    may: ["client/**", "protocol/**"],
    instead: "the client stands on protocol/ alone, so that it can be shipped without the broker",
  },
  {
    files: ["cli/serve.ts"],
    may: ["cli/**", "client/**", "protocol/**", "broker/*.ts"],
    mayTypes: ["broker/**"],
    instead: "fitz serve starts the broker through its roof",
  },
  {
    files: ["cli/backup.ts"],
    may: ["cli/**", "broker/storage/backup.ts"],
    instead:
      "fitz backup may use the one file that makes and restores copies of a store, and nothing else of the broker",
  },
  {
    files: ["cli/**"],
    may: ["cli/**", "client/**", "protocol/**"],
    instead: "the command line speaks to a broker over its port; only fitz serve is the broker",
    page: "0013-backup-reads-the-store.md",
  },
  {
    files: ["examples/**"],
    may: ["examples/**", "client/**", "protocol/**"],
    instead: "an example shows what a user's program can do, and that has no part of the broker in it",
  },
  {
    files: ["web/**"],
    may: ["web/**"],
    instead: "the page knows nothing but the public admin API",
  },
  {
    files: ["operator/kinds/**"],
    may: ["operator/kinds/**"],
    node: [],
    instead: "the kinds are schema and types, without a cluster to ask",
  },
  {
    files: ["operator/plan/**"],
    may: ["operator/plan/**", "operator/kinds/**"],
    node: ["node:crypto"],
    instead: "a plan is a function of what was observed: hand the observation in",
  },
  {
    files: ["operator/cluster/**"],
    may: ["operator/cluster/**", "operator/plan/**", "operator/kinds/**", "operator/world.ts"],
    instead: "the cluster floor reads and writes; when and what is decided by loop/ and plan/",
  },
  {
    files: ["operator/loop/**"],
    may: [
      "operator/loop/**",
      "operator/cluster/**",
      "operator/plan/**",
      "operator/kinds/**",
      "operator/world.ts",
    ],
    instead: "the loop knows the floors of the operator and nothing of the broker",
  },
  {
    files: ["operator/**"],
    may: ["operator/**"],
    instead: "the operator knows a broker by its public API alone",
  },
  {
    // These judge the broker's bytes and behaviour: with its code in them they would share its mistakes.
    files: ["test/kit/{bytes,caller,process,ways,patience,random}.ts"],
    may: ["test/kit/{bytes,caller,process,ways,patience,random}.ts"],
    instead:
      "this file judges the product from outside and shares no code with it; tools that need the product stand beside it in test/kit",
  },
  {
    files: ["test/model/*.test.ts", "test/model/simulation.ts"],
    may: ["test/**", "broker/**", "protocol/**"],
    instead: "a simulation holds the model against the broker",
  },
  {
    files: ["test/model/**"],
    may: ["test/model/!(simulation).ts", "test/kit/{bytes,random}.ts"],
    instead:
      "the model is reasoned from docs/PROTOCOL.md: with the broker's code it would agree with every bug",
  },
  {
    // What it measures is the kernel's own work, which a process shows nobody (decisions/0022-operator.md).
    files: ["test/bench/operator.ts"],
    may: ["test/bench/**", "test/kit/**", "test/cluster/kit/**", "operator/**"],
    instead: "this benchmark measures the operator and nothing else",
  },
  {
    files: ["test/bench/**"],
    may: ["test/bench/**", "test/kit/**"],
    instead: "a benchmark measures a process from outside",
  },
  {
    files: ["test/**", "*.config.ts"],
    may: ["**"],
    instead: "tests may import anything",
  },
]

/** Started by their file name as threads; importing them would start them where they are not wanted. */
export const NEVER_IMPORTED: readonly string[] = ["broker/thread.ts", "broker/copier.ts"]

/** A file that is named for one domain knows no other: that is what keeps an operation in one column. */
export const COLUMNS = {
  folders: ["protocol/messages", "broker/domains", "broker/storage", "broker/admin", "client"],
  domains: ["kv", "stream", "notice", "queue", "rpc", "lease", "schedule"],
} as const

export interface Exception {
  readonly file: string
  readonly name: string
  readonly reason: string
  /** The page in docs/decisions that says so. */
  readonly page: string
}

/** Names that have no business in some files. */
export interface Ban {
  readonly files: readonly string[]
  readonly names: readonly string[]
  readonly instead: string
  readonly except?: readonly Exception[]
}

const TIMERS = ["setTimeout", "setInterval", "setImmediate", "queueMicrotask", "process.nextTick"]
const CLOCKS = ["Date.now", "new Date()", "performance", "process.hrtime", "process.uptime"]
const CHANCE = [
  "Math.random",
  "crypto",
  "randomBytes",
  "randomFill",
  "randomFillSync",
  "randomInt",
  "randomUUID",
  "getRandomValues",
]

export const BANS: readonly Ban[] = [
  {
    files: ["broker/!(world).ts", "broker/*/**"],
    names: [...TIMERS, ...CLOCKS, ...CHANCE],
    instead: "take time, timers and random numbers from the World that is handed down (broker/world.ts)",
    except: [
      {
        file: "broker/bells.ts",
        name: "performance",
        reason: "how long to poll is measured in microseconds and decides nothing that a program sees",
        page: "0007-busy-poll.md",
      },
      {
        file: "broker/admin/http.ts",
        name: "randomUUID",
        reason: "an id for the log of one HTTP request decides nothing",
        page: "0014-clock-and-chance.md",
      },
    ],
  },
  {
    files: ["broker/domains/**", "broker/engine/**", "protocol/**"],
    names: ["Date"],
    instead: "a moment is a number of milliseconds (Millis) that the turn brings along",
    except: [
      {
        file: "broker/domains/cron.ts",
        name: "Date",
        reason: "croner takes and gives moments as Date; made from the turn's own moment",
        page: "0012-cron.md",
      },
    ],
  },
  {
    files: ["broker/domains/**"],
    names: ["async", "Promise"],
    instead: "a domain answers at once: return an Outcome, PARKED where it waits, Unfinished for a long walk",
  },
  {
    files: ["broker/domains/**", "broker/engine/**", "protocol/**", "client/**"],
    names: ["Buffer"],
    instead: "use Uint8Array and protocol/bytes.ts, which run everywhere",
  },
  {
    files: [
      "broker/domains/**",
      "broker/engine/**",
      "broker/storage/**",
      "broker/transport/**",
      "protocol/**",
    ],
    names: ["process", "globalThis", "require"],
    instead: "what comes from the process is an option (broker/config.ts) or is handed in by the roof",
  },
  {
    files: ["test/**/*.test.ts"],
    names: ["setTimeout", "setInterval", ".setTimeout", "node:timers/promises"],
    instead:
      "a test waits for an event, a reply or a log record (test/kit/patience.ts), never for time to pass",
  },
]

/** Which files may import a package at all. */
export const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "@tanstack/preact-query": ["web/app.tsx", "web/state/query.ts"],
  "@fastify/websocket": ["broker/admin/http.ts"],
  // Kubeconfigs and logins; typed models would drop fields they do not know.
  "@kubernetes/client-node": ["operator/cluster/api.ts"],
  "better-sqlite3": ["broker/storage/database.ts"],
  commander: ["cli/**"],
  croner: ["broker/domains/cron.ts"],
  fastify: ["broker/admin/**", "operator/loop/health.ts"],
  jose: ["broker/*.ts", "cli/token.ts", "operator/cluster/secrets.ts"],
  "lucide-preact": ["web/parts/**", "web/pages/**"],
  pino: ["broker/log.ts", "operator/world.ts"],
  "pino-pretty": ["broker/log.ts"],
  preact: ["web/**"],
  "prom-client": ["broker/admin/metrics.ts", "operator/loop/**"],
  uplot: ["web/parts/chart.tsx", "web/main.tsx"],
  vite: ["web/build.ts", "web/vite.config.ts"],
  "wouter-preact": ["web/state/navigation.ts"],
  ws: ["broker/transport/websocket.ts", "broker/admin/http.ts"],
  yaml: ["broker/config.ts", "operator/main.ts", "operator/generate.ts"],
  zod: ["broker/*.ts", "broker/admin/**", "operator/kinds/**", "operator/config.ts"],
}

/** Packages that nobody imports, and what they are for. */
export const TOOLS: Readonly<Record<string, string>> = {
  "@biomejs/biome": "npm run lint, npm run format",
  "@fontsource-variable/inter": "a font of the page, taken in by web/style/tokens.css",
  "@fontsource-variable/jetbrains-mono": "a font of the page, taken in by web/style/tokens.css",
  "@types/node": "types of Node's own modules",
  "axe-core": "the accessibility check that test/kit/chromium.ts puts into the page under test",
  node: "the runtime itself, so that npm ci brings the right one along",
  typescript: "npm run types, npm run build",
}
