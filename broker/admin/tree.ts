// The inventory of a domain over HTTP: realms, areas, resources, and what lately happened to one resource
// (admin-api §23, B4, B5, B12). The same four rows for every domain.

import { z } from "zod"
import type { Scheme } from "../../protocol/route.ts"
import type { Page, PlaceAsk, TimelineEvent } from "../domains/views/common.ts"
import type { AnswerTo, Query } from "../domains/views/index.ts"
import { granted } from "./api.ts"
import { type Call, type Route, route } from "./route.ts"
import { area, family, label, listed, preciseTime, text } from "./schemas.ts"

const EVENTS_DEFAULT = 20
const EVENTS_MAX = 50

const event = z.strictObject({
  kind: z.enum([
    "observation",
    "transition",
    "failure",
    "retry",
    "ownership_change",
    "state_flip",
    "registration",
  ]),
  observed_at: preciseTime,
  family,
  summary: text,
})

/** The place that a path names. */
export function placeOf({ params, family }: Pick<Call, "params" | "family">): PlaceAsk {
  return { family, realm: params["realm"]!, area: params["area"]!, resource: params["resource"]! }
}

export const RESOURCE = "realms/{realm}/areas/{area}/resources/{resource}"

/** The path parameters as the beginning of an answer. */
export function placed({ realm, area, resource }: PlaceAsk) {
  return { realm, area, resource }
}

/**
 * @param row the schema of a resource in the list
 * @param shown writes a resource
 */
export function treeRoutes<D extends Scheme>(
  domain: D,
  row: z.ZodType,
  shown: (resource: RowOf<D>, call: Call) => unknown,
): readonly Route[] {
  const ask = async <R>(call: Call, query: object): Promise<Page<R>> =>
    granted(
      await call.operations.ask({ domain, family: call.family, page: call.page, ...query } as Query),
    ) as Page<R>
  return [
    route({
      method: "GET",
      path: `${domain}/realms`,
      permission: "read",
      about: `Realms in which ${domain} holds or does anything on this broker.`,
      list: true,
      family: "optional",
      answers: { 200: listed("realms", z.strictObject({ realm: label })) },
      async handle(call) {
        const { total, rows } = await ask<string>(call, { name: "realms" })
        return { body: { realms: rows.map(realm => ({ realm })) }, total }
      },
    }),
    route({
      method: "GET",
      path: `${domain}/realms/{realm}/areas`,
      permission: "read",
      about: "Areas of a realm.",
      list: true,
      family: "optional",
      answers: { 200: z.strictObject({ realm: label, areas: z.array(z.strictObject({ area })) }) },
      async handle(call) {
        const realm = call.params["realm"]!
        const { total, rows } = await ask<string>(call, { name: "areas", realm })
        return { body: { realm, areas: rows.map(area => ({ area })) }, total }
      },
    }),
    route({
      method: "GET",
      path: `${domain}/realms/{realm}/areas/{area}/resources`,
      permission: "read",
      about: "Resources of an area, with counts.",
      list: true,
      family: "optional",
      answers: { 200: z.strictObject({ realm: label, area, resources: z.array(row) }) },
      async handle(call) {
        const realm = call.params["realm"]!
        const area = call.params["area"]!
        const { total, rows } = await ask<RowOf<D>>(call, { name: "resources", realm, area })
        return { body: { realm, area, resources: rows.map(one => shown(one, call)) }, total }
      },
    }),
    route({
      method: "GET",
      path: `${domain}/${RESOURCE}/events`,
      permission: "read",
      about: "What lately happened to a resource, as far as this process remembers. Derived, no history.",
      family: "optional",
      query: z.object({
        limit: z
          .string()
          .regex(/^[1-9]\d{0,8}$/, "a whole number of at least 1")
          .transform(Number)
          .optional(),
      }),
      answers: {
        200: z.strictObject({
          domain: z.literal(domain),
          derived: z.literal(true),
          limit: z.int().min(1).max(EVENTS_MAX).meta({ example: EVENTS_DEFAULT }),
          events: z.array(event),
        }),
      },
      async handle(call) {
        const limit = Math.min(EVENTS_MAX, call.query.limit ?? EVENTS_DEFAULT)
        const found = granted(
          await call.operations.ask({ domain, name: "events", place: placeOf(call), limit } as Query),
        ) as readonly TimelineEvent[]
        const events = found.map(({ kind, atMs, family, summary }) => ({
          kind,
          observed_at: new Date(atMs).toISOString(),
          family,
          summary,
        }))
        return { body: { domain, derived: true, limit, events } }
      },
    }),
  ]
}

type ResourcesQuery<D extends Scheme> = Extract<Query, { domain: D; name: "resources" }>
type RowOf<D extends Scheme> = AnswerTo<ResourcesQuery<D>> extends Page<infer Row> ? Row : never
