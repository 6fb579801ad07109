// The numbers of all domains at once (admin-api §8). Each block is a part of what the domain's own stats
// return.

import { z } from "zod"
import { granted } from "./api.ts"
import { kvStats, shownKvStats } from "./kv.ts"
import { leaseStats, shownLeaseStats } from "./lease.ts"
import { noticeStats, shownNoticeStats } from "./notice.ts"
import type { Operations } from "./operations.ts"
import { queueStats, shownQueueStats } from "./queue.ts"
import { type Route, route } from "./route.ts"
import { rpcStats, shownRpcStats } from "./rpc.ts"
import { scheduleStats, shownScheduleStats } from "./schedule.ts"
import { count, label, rate, rounded } from "./schemas.ts"
import { shownStreamStats, streamStats } from "./stream.ts"

const stats = z.strictObject({
  broker: z.strictObject({
    uptime_seconds: count,
    connections: count,
    sessions: count,
    realms: z.array(label),
    messages_per_second: rate,
  }),
  domains: z.strictObject({
    kv: kvStats.pick({ transactions_active: true, keys_total: true, operations_per_second: true }),
    stream: streamStats.pick({ streams_active: true, events_total: true, operations_per_second: true }),
    notice: noticeStats.pick({ subscriptions_active: true, publishes_per_second: true }),
    queue: queueStats.pick({ messages_pending: true, inflight_active: true, operations_per_second: true }),
    rpc: rpcStats.pick({ workers_registered: true, requests_pending: true, operations_per_second: true }),
    lease: leaseStats.pick({ leases_active: true, operations_per_second: true }),
    schedule: scheduleStats.pick({ schedules_active: true, executions_per_minute: true }),
  }),
})

/** The stats of every domain, asked together. */
export async function allStats(operations: Operations, realm: string | null, family: number | null) {
  const ask = { name: "stats", realm, family } as const
  const [kv, stream, notice, queue, rpc, lease, schedule] = await Promise.all([
    operations.ask({ domain: "kv", ...ask }).then(granted),
    operations.ask({ domain: "stream", ...ask }).then(granted),
    operations.ask({ domain: "notice", ...ask }).then(granted),
    operations.ask({ domain: "queue", ...ask }).then(granted),
    operations.ask({ domain: "rpc", ...ask }).then(granted),
    operations.ask({ domain: "lease", ...ask }).then(granted),
    operations.ask({ domain: "schedule", ...ask }).then(granted),
  ])
  return { kv, stream, notice, queue, rpc, lease, schedule }
}

/** Realms known anywhere, in order. */
async function realmsOf(operations: Operations): Promise<string[]> {
  const known = granted(await operations.ask({ domain: "realms", name: "known" }))
  return [...new Set([...known, ...operations.liveRealms()])].filter(isLabel).sort()
}

/** A wildcard in front is no realm. */
function isLabel(realm: string): boolean {
  return realm !== "" && !realm.includes("*")
}

export const statsRoutes: readonly Route[] = [
  route({
    method: "GET",
    path: "stats",
    permission: "read",
    about: "This broker process at a glance.",
    snapshot: true,
    answers: { 200: stats },
    async handle({ operations }) {
      const [all, realms] = await Promise.all([allStats(operations, null, null), realmsOf(operations)])
      const kv = shownKvStats(all.kv)
      const stream = shownStreamStats(all.stream)
      const notice = shownNoticeStats(all.notice)
      const queue = shownQueueStats(all.queue, operations.now())
      const rpc = shownRpcStats(all.rpc)
      const lease = shownLeaseStats(all.lease)
      const schedule = shownScheduleStats(all.schedule)
      return {
        body: {
          broker: {
            uptime_seconds: Math.floor(operations.status.uptimeMs / 1_000),
            connections: operations.connections,
            sessions: operations.sessionCount,
            realms,
            messages_per_second: rounded(operations.framesPerSecond),
          },
          domains: {
            kv: {
              transactions_active: kv.transactions_active,
              keys_total: kv.keys_total,
              operations_per_second: kv.operations_per_second,
            },
            stream: {
              streams_active: stream.streams_active,
              events_total: stream.events_total,
              operations_per_second: stream.operations_per_second,
            },
            notice: {
              subscriptions_active: notice.subscriptions_active,
              publishes_per_second: notice.publishes_per_second,
            },
            queue: {
              messages_pending: queue.messages_pending,
              inflight_active: queue.inflight_active,
              operations_per_second: queue.operations_per_second,
            },
            rpc: {
              workers_registered: rpc.workers_registered,
              requests_pending: rpc.requests_pending,
              operations_per_second: rpc.operations_per_second,
            },
            lease: {
              leases_active: lease.leases_active,
              operations_per_second: lease.operations_per_second,
            },
            schedule: {
              schedules_active: schedule.schedules_active,
              executions_per_minute: schedule.executions_per_minute,
            },
          },
        } satisfies z.output<typeof stats>,
      }
    },
  }),
]
