// What the page says about the seven domains. Its words keep apart what survives a restart and what does not:
// live state is never called stored, kept or a history.

export const DOMAINS = ["kv", "stream", "queue", "schedule", "notice", "rpc", "lease"] as const
export type Domain = (typeof DOMAINS)[number]

/** Survives a restart, or is memory of this process. */
export type Lifetime = "durable" | "live"

export interface DomainWords {
  readonly name: string
  readonly lane: Lifetime
  /** One sentence under the title. */
  readonly about: string
  /** What `fitz_domain_active` counts. */
  readonly active: string
  /** Said where its inventory is empty. */
  readonly empty: string
}

export const WORDS: Readonly<Record<Domain, DomainWords>> = {
  kv: {
    name: "KV",
    lane: "durable",
    about:
      "Ordered keys, written in transactions. Committed values are durable; open transactions live in memory and end with their session.",
    active: "open transactions",
    empty: "No key has been committed and no transaction is open.",
  },
  stream: {
    name: "Stream",
    lane: "durable",
    about:
      "Append-only logs with offsets. Events and watermarks are durable; append sessions are live, and cursors belong to the clients.",
    active: "append sessions",
    empty: "No stream holds an event and nobody is appending.",
  },
  queue: {
    name: "Queue",
    lane: "durable",
    about:
      "Work that is done at least once. Messages and dead letters are durable; reservations are live and end with their session.",
    active: "reserved messages",
    empty: "No queue holds a message.",
  },
  schedule: {
    name: "Schedule",
    lane: "durable",
    about:
      "Cron definitions that publish. Definitions and their next run are durable; who listens is live, and runs are counted by this process only.",
    active: "schedules",
    empty: "No schedule is defined.",
  },
  notice: {
    name: "Notice",
    lane: "live",
    about:
      "Publish and subscribe, in memory only. Subscriptions end with their session; what nobody heard is gone.",
    active: "subscriptions",
    empty: "Nobody subscribes, and nothing has been published to this process.",
  },
  rpc: {
    name: "RPC",
    lane: "live",
    about:
      "Calls to workers, in memory only. Registrations and pending calls end with their session; they are no backlog.",
    active: "pending calls",
    empty: "No worker is registered and no call is pending.",
  },
  lease: {
    name: "Lease",
    lane: "live",
    about:
      "Exclusive ownership, in memory only. Ownership ends with its session or with a restart; fencing tokens keep rising.",
    active: "leases",
    empty: "Nobody holds a lease.",
  },
}

export function isDomain(text: string): text is Domain {
  return (DOMAINS as readonly string[]).includes(text)
}

export const LIFETIME_WORDS: Readonly<Record<Lifetime, string>> = {
  durable: "kept in the store, there again after a restart",
  live: "memory of this process, gone after a restart",
}
