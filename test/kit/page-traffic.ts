// Traffic for the page to show: something in every domain, made by real programs over the wire, and some of it
// going on until it is stopped.

import type { AdminBroker } from "./admin.ts"
import type { Caller } from "./caller.ts"
import { until } from "./patience.ts"

export const BUSY: Readonly<Record<string, string>> = {
  FITZ_QUEUE_MAX_ATTEMPTS: "1",
}

export interface Traffic {
  readonly watcher: Caller
  readonly worker: Caller
  readonly owner: Caller
  readonly waiter: Caller
  /** Of the lease that `owner` holds and `waiter` waits for. */
  readonly leaseToken: number
  /** Of the transaction that `owner` has open. */
  readonly transaction: number
  stop(): void
}

/** Fills every domain. Dead letters: six in `queue://prod/jobs/emails`. */
export async function makeTraffic(broker: AdminBroker): Promise<Traffic> {
  const [watcher, worker, owner, waiter] = await Promise.all([
    broker.caller({ realm: "prod", sub: "watcher" }, "ws"),
    broker.caller({ realm: "prod", sub: "worker" }),
    broker.caller({ realm: "prod", sub: "owner" }),
    broker.caller({ realm: "staging", sub: "waiter" }, "ws"),
  ])
  await watcher.notice.subscribe("notice://prod/orders/**")
  await watcher.schedule.create("schedule://prod/ops/jobs/nightly", "0 2 * * *", "broadcast", "{}")
  await watcher.schedule.create("schedule://prod/ops/jobs/poll", "*/15 * * * *", "single", "{}")
  await worker.rpc.register("rpc://prod/billing/invoices/create", 8)
  const { token: leaseToken } = await owner.lease.acquire("lease://prod/leader/indexer", 600, 0, "indexer-1")
  waiter.lease.acquire("lease://prod/leader/indexer", 600, 30, "indexer-2").catch(() => null)
  const transaction = await owner.kv.begin("kv://prod/catalog/prices", "write")
  await owner.kv.put(transaction, "kv://prod/catalog/prices", "open", "1")
  const stored = await worker.kv.begin("kv://prod/users/profiles", "write")
  for (let at = 0; at < 30; at++) {
    await worker.kv.put(stored, "kv://prod/users/profiles", `user-${at}`, JSON.stringify({ name: "Ada", at }))
  }
  await worker.kv.put(stored, "kv://prod/users/profiles", "bytes", Uint8Array.of(0xff, 0xfe, 0))
  await worker.kv.commit(stored, "kv://prod/users/profiles")
  const log = await worker.stream.begin("stream://prod/ledger/payments")
  for (let at = 0; at < 30; at++) await worker.stream.append(log, at, `payment ${at}`)
  await worker.stream.commit(log)
  for (let at = 0; at < 6; at++) await worker.queue.enqueue("queue://prod/jobs/emails", `mail ${at}`)
  await worker.queue.reserve("queue://prod/jobs/emails", { batch: 6, lease: 1 })
  for (let at = 0; at < 40; at++) await worker.queue.enqueue("queue://prod/jobs/thumbs", `thumb ${at}`)
  await worker.queue.reserve("queue://prod/jobs/thumbs", { batch: 3, lease: 600 })
  await until(
    "six dead letters",
    () => broker.ask("/api/v1/queue/realms/prod/areas/jobs/resources/emails"),
    ({ status, body }) => status === 200 && body.messages_dead_lettered === 6,
  )
  let on = true
  const pump = async (): Promise<void> => {
    while (on && worker.open) {
      worker.notice.publish("notice://prod/orders/eu/created", "x")
      await worker.queue.enqueue("queue://prod/jobs/thumbs", "more")
      await worker.kv
        .begin("kv://prod/users/profiles", "read")
        .then(tx => worker.kv.commit(tx, "kv://prod/users/profiles"))
    }
  }
  void pump().catch(() => null) // ends with its broker
  return {
    watcher,
    worker,
    owner,
    waiter,
    leaseToken,
    transaction,
    stop: () => {
      on = false
    },
  }
}
