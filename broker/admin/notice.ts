// Notices over HTTP: subscriptions and routes, all of it live memory of this process (admin-api §11).
// Must never describe a live counter as history.

import { z } from "zod"
import type { NoticeResource, NoticeStats, SubscriptionRow } from "../domains/views/notice.ts"
import { granted } from "./api.ts"
import { acknowledged, done, numberIn } from "./command.ts"
import { diagnosed, diagnosis } from "./diagnostics.ts"
import { type Route, route } from "./route.ts"
import {
  area,
  count,
  id,
  label,
  listed,
  rate,
  resource,
  rounded,
  sessionId,
  sessionName,
  time,
  timeOf,
} from "./schemas.ts"
import { placed, placeOf, RESOURCE, treeRoutes } from "./tree.ts"

const subscription = z.strictObject({
  subscription_id: id,
  session_id: sessionId,
  realm: label,
  pattern: z.string().meta({ example: "notice://prod/events/**" }),
  created_at: time,
  notifications_received: count,
})

function shown({
  id,
  session,
  realm,
  pattern,
  createdAtMs,
  received,
}: SubscriptionRow): z.output<typeof subscription> {
  return {
    subscription_id: id,
    session_id: sessionName(session),
    realm,
    pattern,
    created_at: timeOf(createdAtMs),
    notifications_received: received,
  }
}

export const noticeStats = z.strictObject({
  subscriptions_active: count,
  routes_registered: count,
  publishes_total: count,
  publishes_per_second: rate,
  fanout_ratio: rate,
})

export function shownNoticeStats(stats: NoticeStats): z.output<typeof noticeStats> {
  return {
    subscriptions_active: stats.subscriptionsActive,
    routes_registered: stats.routes,
    publishes_total: stats.publishes,
    publishes_per_second: rounded(stats.publishesPerSecond),
    fanout_ratio: stats.publishes === 0 ? 0 : rounded(stats.deliveries / stats.publishes),
  }
}

const counts = z.strictObject({
  subscriptions_active: count,
  notifications_received: count,
  publishes_per_minute: rate,
})
const row = z.strictObject({ resource, ...counts.shape })

function countsOf({
  subscriptionsActive,
  received,
  publishesPerMinute,
}: NoticeResource): z.output<typeof counts> {
  return {
    subscriptions_active: subscriptionsActive,
    notifications_received: received,
    publishes_per_minute: publishesPerMinute,
  }
}

export const noticeRoutes: readonly Route[] = [
  route({
    method: "GET",
    path: "notice/stats",
    permission: "read",
    about: "Notice numbers of this process.",
    realmFilter: true,
    family: "optional",
    snapshot: true,
    diagnostics: true,
    answers: { 200: noticeStats.extend({ diagnostics: diagnosis.optional() }) },
    async handle({ operations, realm, family, diagnostics }) {
      const stats = granted(await operations.ask({ domain: "notice", name: "stats", realm, family }))
      return {
        body: { ...shownNoticeStats(stats), ...diagnosed(diagnostics, { rate: stats.publishesPerSecond }) },
      }
    },
  }),
  route({
    method: "GET",
    path: "notice/subscriptions",
    underAdmin: true,
    permission: "read",
    about: "Live subscriptions. They end with their sessions and do not come back after a restart.",
    list: true,
    realmFilter: true,
    family: "optional",
    query: z.object({ route_pattern: z.string().max(4_096).optional() }),
    answers: { 200: listed("subscriptions", subscription) },
    async handle({ operations, realm, family, page, query }) {
      const pattern = query.route_pattern || null
      const { total, rows } = granted(
        await operations.ask({ domain: "notice", name: "subscriptions", realm, family, pattern, page }),
      )
      return { body: { subscriptions: rows.map(shown) }, total }
    },
  }),
  route({
    method: "GET",
    path: "notice/routes",
    underAdmin: true,
    permission: "read",
    about: "Routes that this process has seen published to or subscribed to exactly. Not history.",
    list: true,
    realmFilter: true,
    family: "optional",
    answers: {
      200: listed(
        "routes",
        z.strictObject({
          route: z.string().meta({ example: "notice://prod/events/orders" }),
          subscribers: count,
          publishes_total: count,
          publishes_per_minute: rate,
        }),
      ),
    },
    async handle({ operations, realm, family, page }) {
      const { total, rows } = granted(
        await operations.ask({ domain: "notice", name: "routes", realm, family, page }),
      )
      const routes = rows.map(({ route, subscribers, publishes, publishesPerMinute }) => ({
        route,
        subscribers,
        publishes_total: publishes,
        publishes_per_minute: publishesPerMinute,
      }))
      return { body: { routes }, total }
    },
  }),
  route({
    method: "POST",
    path: "notice/subscriptions/{subscription_id}/cancel",
    underAdmin: true,
    permission: "write",
    about: "Removes a live subscription. The session stays.",
    confirm: "always",
    action: "notice.subscription.cancel",
    answers: { 200: acknowledged("notice.subscription.cancel", z.strictObject({ subscription_id: id })) },
    async handle(call) {
      const subscription_id = numberIn(call, "subscription_id")
      granted(
        await call.operations.order({ domain: "notice", name: "cancel", subscription: subscription_id }),
      )
      return done("notice.subscription.cancel", { subscription_id })
    },
  }),
  route({
    method: "GET",
    path: `notice/${RESOURCE}`,
    permission: "read",
    about: "What this process has seen at one resource.",
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
      const found = granted(await call.operations.ask({ domain: "notice", name: "resource", place }))
      return { body: { ...placed(place), ...countsOf(found), ...diagnosed(call.diagnostics, {}) } }
    },
  }),
  ...treeRoutes("notice", row, found => ({ resource: found.resource, ...countsOf(found) })),
]
