// Realms over HTTP: declared from outside, or only known by their use (admin-api §22).
// Must never touch the data of a realm: a declaration comes and goes without it.

import { z } from "zod"
import type { RealmDefinition, RealmRow } from "../domains/views/realms.ts"
import { granted } from "./api.ts"
import { Refusal } from "./errors.ts"
import { type Call, type Route, route } from "./route.ts"
import { count, etag, label, listed, text, yes } from "./schemas.ts"
import { listTag, notModified } from "./tags.ts"

const LABEL_MAX = 512
export const managedBy = z.string().max(LABEL_MAX)

const limits = z.strictObject({
  max_sessions: count.optional(),
  max_subscriptions: count.optional(),
  max_queue_messages: count.optional(),
  max_streams: count.optional(),
})

const definition = z.strictObject({
  display_name: z.string().max(256).nullish(),
  description: z.string().max(4_096).nullish(),
  labels: z.record(z.string().max(LABEL_MAX), z.string().max(LABEL_MAX)).optional(),
  limits: z
    .strictObject({
      max_sessions: z.int().min(0).nullish(),
      max_subscriptions: z.int().min(0).nullish(),
      max_queue_messages: z.int().min(0).nullish(),
      max_streams: z.int().min(0).nullish(),
    })
    .optional(),
  managed_by: managedBy.nullish(),
})

const row = z.strictObject({
  realm: label,
  declared: yes,
  display_name: text.optional(),
  description: text.optional(),
  labels: z.record(z.string(), z.string()).meta({ example: { team: "payments" } }),
  limits: limits.optional(),
  managed_by: z.string().nullable().meta({ example: "k8s:default/prod" }),
  etag: etag.nullable(),
})

function shown({ realm, declared }: RealmRow): z.output<typeof row> {
  if (declared === null) return { realm, declared: false, labels: {}, managed_by: null, etag: null }
  const { displayName, description, labels, managedBy } = declared
  const { maxSessions, maxSubscriptions, maxQueueMessages, maxStreams } = declared.limits
  const set = Object.entries({
    max_sessions: maxSessions,
    max_subscriptions: maxSubscriptions,
    max_queue_messages: maxQueueMessages,
    max_streams: maxStreams,
  }).filter(([, value]) => value !== null)
  return {
    realm,
    declared: true,
    ...(displayName === null ? {} : { display_name: displayName }),
    ...(description === null ? {} : { description }),
    labels,
    ...(set.length === 0 ? {} : { limits: Object.fromEntries(set) }),
    managed_by: managedBy,
    etag: declared.etag,
  }
}

/** The empty text and nothing are the same. */
export function orNull(value: string | null | undefined): string | null {
  return value === undefined || value === "" ? null : value
}

function defined(realm: string, body: z.output<typeof definition>): RealmDefinition {
  const { max_sessions, max_subscriptions, max_queue_messages, max_streams } = body.limits ?? {}
  return {
    realm,
    displayName: orNull(body.display_name),
    description: orNull(body.description),
    labels: body.labels ?? {},
    limits: {
      maxSessions: max_sessions ?? null,
      maxSubscriptions: max_subscriptions ?? null,
      maxQueueMessages: max_queue_messages ?? null,
      maxStreams: max_streams ?? null,
    },
    managedBy: orNull(body.managed_by),
  }
}

export function conditionOf({ ifMatch, ifNoneMatch }: Pick<Call, "ifMatch" | "ifNoneMatch">) {
  if (ifNoneMatch !== null && !ifNoneMatch.includes("*"))
    throw new Refusal("invalid_parameter", "If-None-Match takes * here")
  return { ifMatch, ifNoneMatch: ifNoneMatch !== null }
}

export const managedByQuery = z.object({ managed_by: z.string().max(LABEL_MAX).optional() })

export const realmRoutes: readonly Route[] = [
  route({
    method: "GET",
    path: "realms",
    permission: "read",
    about: "Realms: declared ones, and those that exist by being used. Covers this broker process only.",
    list: true,
    query: managedByQuery,
    answers: { 200: listed("realms", row), 304: null },
    async handle({ operations, query, page, ifNoneMatch }) {
      const { total, rows } = granted(
        await operations.ask({
          domain: "realms",
          name: "list",
          managedBy: orNull(query.managed_by),
          page,
          also: operations.liveRealms(),
        }),
      )
      const tag = listTag([total, rows.map(({ realm, declared }) => [realm, declared?.etag ?? null])])
      return (
        notModified(ifNoneMatch, tag) ?? { body: { realms: rows.map(shown) }, total, headers: { etag: tag } }
      )
    },
  }),
  route({
    method: "GET",
    path: "realms/{realm}",
    permission: "read",
    about: "One realm, declared or in use.",
    answers: { 200: row, 304: null },
    async handle({ operations, params, ifNoneMatch }) {
      const realm = params["realm"]!
      const also = operations.liveRealms()
      const found = granted(await operations.ask({ domain: "realms", name: "get", realm, also }))
      if (found === null) throw new Refusal("not_found", "this realm is neither declared nor in use")
      const tag = found.declared?.etag
      if (tag === undefined) return { body: shown(found) }
      return notModified(ifNoneMatch, tag) ?? { body: shown(found), headers: { etag: tag } }
    },
  }),
  route({
    method: "PUT",
    path: "realms/{realm}",
    permission: "write",
    about: "Declares a realm or replaces its declaration.",
    body: definition,
    action: "realm.declare",
    answers: { 200: row, 201: row },
    async handle(call) {
      const realm = call.params["realm"]!
      const { created, stored } = granted(
        await call.operations.order({
          domain: "realms",
          name: "declare",
          definition: defined(realm, call.body),
          condition: conditionOf(call),
        }),
      )
      return {
        status: created ? 201 : 200,
        body: shown({ realm, declared: stored }),
        headers: { etag: stored.etag },
      }
    },
  }),
  route({
    method: "DELETE",
    path: "realms/{realm}",
    permission: "write",
    about: "Forgets a declaration, never the data.",
    confirm: "always",
    action: "realm.forget",
    answers: { 204: null },
    async handle(call) {
      const realm = call.params["realm"]!
      granted(
        await call.operations.order({
          domain: "realms",
          name: "forget",
          realm,
          condition: conditionOf(call),
        }),
      )
      return { status: 204 }
    },
  }),
]
