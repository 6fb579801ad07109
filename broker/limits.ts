// The options of the configuration, as the domains and the engine want them. Plain values: they cross into
// the durable lane's thread.

import type { Config } from "./config.ts"
import type { KvLimits } from "./domains/kv.ts"
import type { LeaseLimits } from "./domains/lease.ts"
import type { QueueLimits } from "./domains/queue.ts"
import type { RegistrationLimits } from "./domains/registrations.ts"
import type { RpcLimits } from "./domains/rpc.ts"
import type { ScheduleLimits } from "./domains/schedule.ts"
import type { StreamLimits } from "./domains/stream.ts"
import type { EngineLimits } from "./engine/engine.ts"

/** What the durable lane needs to know. */
export interface DurableLimits {
  readonly kv: KvLimits
  readonly queue: QueueLimits
  readonly stream: StreamLimits
  readonly schedule: ScheduleLimits
  readonly uncommittedBytesMax: number
  readonly parkedMax: number
  readonly realms?: RealmRules
}

/** What holds for realms. */
export interface RealmRules {
  readonly declaredOnly: boolean
  /** Declarations. */
  readonly realmsMax: number
}

/** What the live lane needs to know. */
export interface LiveLimits {
  readonly notice: RegistrationLimits
  readonly rpc: RpcLimits
  readonly lease: LeaseLimits
  readonly parkedMax: number
}

function registrations(config: Config): RegistrationLimits {
  return {
    registrationsMax: config.maxRegistrations,
    wildcardRegistrationsMax: config.maxWildcardRegistrations,
  }
}

export function durableLimits(config: Config): DurableLimits {
  const shared = registrations(config)
  return {
    kv: {
      ...shared,
      openTransactionsMax: config.maxOpenTransactions,
      idleMs: config.kvIdleTransactionTtlSeconds * 1_000,
    },
    queue: {
      ...shared,
      queuesMax: config.maxQueues,
      parkedMax: config.maxParked,
      parkedPerQueueMax: config.maxParkedPerQueue,
      reservationsMax: config.maxReservations,
      attemptsMax: config.queueMaxAttempts,
      durability: config.queueWritePolicy === "sync" ? "sync" : "buffered",
      heldBytesMax: config.queueCacheBytes,
    },
    stream: { ...shared, openAppendsMax: config.maxOpenAppends },
    schedule: { ...shared, schedulesMax: config.maxSchedules },
    uncommittedBytesMax: config.maxUncommittedBytes,
    parkedMax: config.maxParked,
    realms: { declaredOnly: config.realmsDeclaredOnly, realmsMax: config.maxRealms },
  }
}

export function liveLimits(config: Config): LiveLimits {
  const shared = registrations(config)
  return {
    notice: shared,
    rpc: {
      ...shared,
      pendingMax: config.rpcMaxPending,
      pendingPerRouteMax: config.rpcMaxPendingPerRoute,
      timeoutMs: config.rpcTimeoutSeconds * 1_000,
    },
    lease: { ...shared, leasesMax: config.maxLeases, parkedMax: config.maxParked },
    parkedMax: config.maxParked,
  }
}

export function engineLimits(config: Config): EngineLimits {
  return {
    inflightMax: config.maxInflight,
    inflightBytesMax: config.maxInflightBytes,
    inflightTotalBytesMax: config.maxInflightTotalBytes,
    laggingBytes: config.maxOutboundBytes / 16,
  }
}
