// Leases over HTTP: who holds what, and taking it away by force (admin-api §14). Live memory of this process.
// Must never describe ownership as something that outlives the process.

import { z } from "zod"
import type { LeaseResource, LeaseRow, LeaseStats } from "../domains/views/lease.ts"
import { granted } from "./api.ts"
import { acknowledged, done } from "./command.ts"
import { diagnosed, diagnosis } from "./diagnostics.ts"
import { type Route, route } from "./route.ts"
import {
  area,
  count,
  family,
  id,
  label,
  listed,
  rate,
  resource,
  rounded,
  secondsBetween,
  sessionId,
  sessionName,
  time,
  timeOf,
} from "./schemas.ts"
import { placed, placeOf, RESOURCE, treeRoutes } from "./tree.ts"

const lease = z.strictObject({
  realm: label,
  area,
  resource,
  owner_session_id: sessionId,
  acquired_at: time,
  expires_at: time,
  renewals: count,
  fencing_token: id,
  lease_id: id,
})

function shown(row: LeaseRow): z.output<typeof lease> {
  const [realm, area, resource] = row.segments as [string, string, string]
  return {
    realm,
    area,
    resource,
    owner_session_id: sessionName(row.session),
    acquired_at: timeOf(row.acquiredAtMs),
    expires_at: timeOf(row.expiresAtMs),
    renewals: row.renewals,
    fencing_token: row.token,
    lease_id: row.id,
  }
}

export const leaseStats = z.strictObject({
  leases_active: count,
  leases_acquired_total: count,
  leases_expired_total: count,
  operations_per_second: rate,
})

export function shownLeaseStats(stats: LeaseStats): z.output<typeof leaseStats> {
  return {
    leases_active: stats.active,
    leases_acquired_total: stats.acquired,
    leases_expired_total: stats.expired,
    operations_per_second: rounded(stats.operationsPerSecond),
  }
}

const counts = z.strictObject({ active_leases: count, waiters: count, oldest_lease_age_seconds: count })

function countsOf(
  { active, waiters, oldestAcquiredMs }: LeaseResource,
  now: number,
): z.output<typeof counts> {
  return {
    active_leases: active,
    waiters,
    oldest_lease_age_seconds: oldestAcquiredMs === null ? 0 : secondsBetween(oldestAcquiredMs, now),
  }
}

const target = z.strictObject({ lease_id: id, realm: label, area, resource, family })

export const leaseRoutes: readonly Route[] = [
  route({
    method: "GET",
    path: "lease/stats",
    permission: "read",
    about: "Lease numbers of this process.",
    realmFilter: true,
    family: "optional",
    snapshot: true,
    diagnostics: true,
    answers: { 200: leaseStats.extend({ diagnostics: diagnosis.optional() }) },
    async handle({ operations, realm, family, diagnostics }) {
      const stats = granted(await operations.ask({ domain: "lease", name: "stats", realm, family }))
      const signs = { rate: stats.operationsPerSecond, waiters: stats.waiters, failures: stats.expired }
      return { body: { ...shownLeaseStats(stats), ...diagnosed(diagnostics, signs) } }
    },
  }),
  route({
    method: "GET",
    path: "lease/leases",
    underAdmin: true,
    permission: "read",
    about: "Leases that are held now. Ownership ends with its session and with the process.",
    list: true,
    realmFilter: true,
    family: "optional",
    answers: { 200: listed("leases", lease) },
    async handle({ operations, realm, family, page }) {
      const { total, rows } = granted(
        await operations.ask({ domain: "lease", name: "leases", realm, family, page }),
      )
      return { body: { leases: rows.map(shown) }, total }
    },
  }),
  route({
    method: "POST",
    path: "lease/leases/{lease_id}/release",
    underAdmin: true,
    permission: "write",
    about: "Takes a lease from its holder; the next waiter gets it with a higher fencing token.",
    family: "optional",
    confirm: "always",
    action: "lease.release",
    answers: { 200: acknowledged("lease.release", target) },
    async handle({ operations, params, family }) {
      const text = params["lease_id"]!
      const segments = text.split("/")
      const isPath = segments.length === 3
      const row = isPath
        ? granted(await operations.order({ domain: "lease", name: "release", segments, family }))
        : granted(await operations.order({ domain: "lease", name: "releaseId", lease: Number(text) }))
      const [realm, area, resource] = row.segments
      return done("lease.release", { lease_id: row.id, realm, area, resource, family: row.family })
    },
  }),
  route({
    method: "GET",
    path: `lease/${RESOURCE}`,
    permission: "read",
    about: "Ownership of one resource.",
    family: "optional",
    diagnostics: true,
    answers: {
      200: z.strictObject({
        realm: label,
        area,
        resource,
        ...counts.shape,
        diagnostics: diagnosis.optional(),
      }),
    },
    async handle(call) {
      const place = placeOf(call)
      const found = granted(await call.operations.ask({ domain: "lease", name: "resource", place }))
      const shown = countsOf(found, call.operations.now())
      const signs = { waiters: found.waiters, ageSeconds: shown.oldest_lease_age_seconds }
      return { body: { ...placed(place), ...shown, ...diagnosed(call.diagnostics, signs) } }
    },
  }),
  ...treeRoutes("lease", z.strictObject({ resource, ...counts.shape }), (found, { operations }) => ({
    resource: found.resource,
    ...countsOf(found, operations.now()),
  })),
]
