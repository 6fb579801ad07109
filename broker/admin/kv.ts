// KV over HTTP: open transactions, which are live, apart from stored keys, which are durable (admin-api §9).
// Must never show a stored value without data:read.

import { z } from "zod"
import type { KvResource, KvStats, KvTransactionRow, StoredPair } from "../domains/views/kv.ts"
import { granted } from "./api.ts"
import { acknowledged, done, numberIn } from "./command.ts"
import { diagnosed, diagnosis } from "./diagnostics.ts"
import { Refusal } from "./errors.ts"
import { type Call, type Route, route } from "./route.ts"
import {
  area,
  bytes,
  bytesOf,
  count,
  family,
  id,
  label,
  listed,
  rate,
  resource,
  rounded,
  secondsBetween,
  time,
  timeOf,
} from "./schemas.ts"
import { placed, placeOf, RESOURCE, treeRoutes } from "./tree.ts"

/** Bytes shown of one stored value. */
const VALUE_BYTES_MAX = 64 * 1024
const KEY_BYTES_MAX = 64 * 1024
const ROWS_DEFAULT = 20
const ROWS_MAX = 100

const transaction = z.strictObject({
  tx_id: id,
  realm: label,
  area,
  resource,
  mode: z.enum(["ReadOnly", "ReadWrite"]),
  started_at: time,
  operations_count: count,
  idle_seconds: count,
})

function shownTransaction({
  id,
  segments,
  writes,
  startedMs,
  operations,
  idleMs,
}: KvTransactionRow): z.output<typeof transaction> {
  const [realm, area, resource] = segments as [string, string, string]
  return {
    tx_id: id,
    realm,
    area,
    resource,
    mode: writes ? "ReadWrite" : "ReadOnly",
    started_at: timeOf(startedMs),
    operations_count: operations,
    idle_seconds: secondsBetween(0, idleMs),
  }
}

const row = z.strictObject({ resource, keys_total: count, transactions_active: count })

function shownRow({ resource, keys, transactionsActive }: KvResource): z.output<typeof row> {
  return { resource, keys_total: keys, transactions_active: transactionsActive }
}

export const kvStats = z.strictObject({
  transactions_active: count,
  transactions_committed_total: count,
  transactions_rolled_back_total: count,
  keys_total: count,
  keys_by_realm: z.record(z.string(), count).meta({ example: { prod: 12 } }),
  operations_per_second: rate,
  operations_per_second_by_operation: z.strictObject({ get: rate, put: rate, delete: rate, scan: rate }),
})

export function shownKvStats(stats: KvStats): z.output<typeof kvStats> {
  const { get, put, delete: deleted, scan } = stats.operations.by
  return {
    transactions_active: stats.transactionsActive,
    transactions_committed_total: stats.committed,
    transactions_rolled_back_total: stats.rolledBack,
    keys_total: stats.keys,
    keys_by_realm: stats.keysByRealm,
    operations_per_second: rounded(stats.operations.all),
    operations_per_second_by_operation: {
      get: rounded(get),
      put: rounded(put),
      delete: rounded(deleted),
      scan: rounded(scan),
    },
  }
}

const detail = z.strictObject({
  realm: label,
  area,
  resource,
  transactions_active: count,
  diagnostics: diagnosis.optional(),
})

const encoding = z.enum(["utf8", "base64"]).optional()

/** Bytes that a query parameter spells. */
function bytesIn(text: string, how: "utf8" | "base64" | undefined): Uint8Array {
  const spelled = Buffer.from(text, how === "base64" ? "base64" : "utf8")
  if (spelled.length > KEY_BYTES_MAX) throw new Refusal("invalid_parameter", "a key is not that long")
  return new Uint8Array(spelled)
}

const pair = z.strictObject({ key: bytes, value: bytes, truncated: z.boolean().meta({ example: false }) })

function shownPair({ key, value, valueBytes }: StoredPair): z.output<typeof pair> {
  return { key: bytesOf(key), value: bytesOf(value, valueBytes), truncated: value.length < valueBytes }
}

const rowsQuery = z.object({
  starts_with: z.string().optional(),
  prefix: z.string().optional(),
  key_encoding: encoding,
  cursor: z.string().optional(),
  limit: z
    .string()
    .regex(/^[1-9]\d{0,8}$/, "a whole number of at least 1")
    .transform(Number)
    .optional(),
})

async function rows(call: Call<z.output<typeof rowsQuery>>) {
  const { starts_with, prefix, key_encoding, cursor, limit } = call.query
  const place = placeOf(call)
  const { pairs, more } = granted(
    await call.operations.ask({
      domain: "kv",
      name: "rows",
      place,
      prefix: bytesIn(starts_with ?? prefix ?? "", key_encoding),
      after: cursor === undefined ? null : new Uint8Array(Buffer.from(cursor, "base64url")),
      limit: Math.min(ROWS_MAX, limit ?? ROWS_DEFAULT),
      bytesMax: VALUE_BYTES_MAX,
    }),
  )
  const last = pairs.at(-1)
  const next = more && last !== undefined ? Buffer.from(last.key).toString("base64url") : null
  return { body: { ...placed(place), rows: pairs.map(shownPair), next_cursor: next } }
}

const rowsAnswer = z.strictObject({
  realm: label,
  area,
  resource,
  rows: z.array(pair),
  next_cursor: z.string().nullable().meta({ example: null }),
})

export const kvRoutes: readonly Route[] = [
  route({
    method: "GET",
    path: "kv/stats",
    permission: "read",
    about: "KV numbers. Keys are durable; open transactions belong to this process.",
    realmFilter: true,
    family: "optional",
    snapshot: true,
    diagnostics: true,
    answers: { 200: kvStats.extend({ diagnostics: diagnosis.optional() }) },
    async handle({ operations, realm, family, diagnostics }) {
      const stats = granted(await operations.ask({ domain: "kv", name: "stats", realm, family }))
      return {
        body: {
          ...shownKvStats(stats),
          ...diagnosed(diagnostics, {
            failures: stats.rolledBack,
            contention: stats.conflicts,
            rate: stats.operations.all,
          }),
        },
      }
    },
  }),
  route({
    method: "GET",
    path: `kv/${RESOURCE}`,
    permission: "read",
    about: "Open transactions of a resource, counted. Live: gone with their sessions and with the process.",
    family: "optional",
    diagnostics: true,
    answers: { 200: detail },
    async handle(call) {
      const place = placeOf(call)
      const { transactionsActive } = granted(
        await call.operations.ask({ domain: "kv", name: "resource", place }),
      )
      return {
        body: {
          ...placed(place),
          transactions_active: transactionsActive,
          ...diagnosed(call.diagnostics, {}),
        },
      }
    },
  }),
  route({
    method: "GET",
    path: `kv/${RESOURCE}/transactions`,
    permission: "read",
    about: "Open transactions of a resource. A tx_id is a handle of this process and recovers nothing.",
    list: true,
    family: "optional",
    answers: { 200: listed("transactions", transaction) },
    async handle(call) {
      const { total, rows } = granted(
        await call.operations.ask({
          domain: "kv",
          name: "transactions",
          realm: null,
          family: call.family,
          place: placeOf(call),
          page: call.page,
        }),
      )
      return { body: { transactions: rows.map(shownTransaction) }, total }
    },
  }),
  route({
    method: "GET",
    path: "kv/transactions",
    underAdmin: true,
    permission: "read",
    about: "All open transactions.",
    list: true,
    realmFilter: true,
    family: "optional",
    answers: { 200: listed("transactions", transaction) },
    async handle({ operations, realm, family, page }) {
      const { total, rows } = granted(
        await operations.ask({ domain: "kv", name: "transactions", realm, family, place: null, page }),
      )
      return { body: { transactions: rows.map(shownTransaction) }, total }
    },
  }),
  route({
    method: "POST",
    path: "kv/transactions/{tx_id}/rollback",
    underAdmin: true,
    permission: "write",
    about: "Rolls an open transaction back: its writes are discarded and its lock is free.",
    confirm: "always",
    action: "kv.transaction.rollback",
    answers: { 200: acknowledged("kv.transaction.rollback", z.strictObject({ tx_id: id })) },
    async handle(call) {
      const tx_id = numberIn(call, "tx_id")
      granted(await call.operations.order({ domain: "kv", name: "rollback", transaction: tx_id }))
      return done("kv.transaction.rollback", { tx_id })
    },
  }),
  route({
    method: "GET",
    path: `kv/${RESOURCE}/value`,
    permission: "data",
    about: "One stored value, as committed. Values are cut at 64 KiB.",
    family: "optional",
    query: z.object({ key: z.string(), key_encoding: encoding }),
    answers: { 200: pair.extend({ family }) },
    async handle(call) {
      const key = bytesIn(call.query.key, call.query.key_encoding)
      const stored = granted(
        await call.operations.ask({
          domain: "kv",
          name: "value",
          place: placeOf(call),
          key,
          bytesMax: VALUE_BYTES_MAX,
        }),
      )
      return { body: { ...shownPair(stored), family: stored.family } }
    },
  }),
  route({
    method: "GET",
    path: `kv/${RESOURCE}/rows`,
    permission: "data",
    about: "Stored pairs in the order of their keys, up to 100 and 1 MiB at a time.",
    family: "optional",
    query: rowsQuery,
    answers: { 200: rowsAnswer },
    handle: rows,
  }),
  route({
    method: "GET",
    path: `kv/${RESOURCE}/prefix`,
    permission: "data",
    about: "The same for a prefix.",
    family: "optional",
    query: rowsQuery,
    answers: { 200: rowsAnswer },
    handle: rows,
  }),
  ...treeRoutes("kv", row, shownRow),
]
