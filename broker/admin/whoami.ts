// Who asks, over HTTP: the page and other tools show at once what a credential may do, instead of finding out by
// being refused (admin-api §23, B21; docs/decisions/0023-who-asks.md). Never says anything about the credential itself.

import { z } from "zod"
import type { Permission } from "./access.ts"
import { type Route, route } from "./route.ts"
import { text } from "./schemas.ts"

const NAMES: Readonly<Record<Permission, string>> = {
  read: "admin:read",
  write: "admin:write",
  data: "data:read",
  metrics: "metrics:read",
}

const permission = z.enum(["admin:read", "admin:write", "data:read", "metrics:read"])

export const whoamiRoutes: readonly Route[] = [
  route({
    method: "GET",
    path: "session",
    permission: "any",
    about: "Who asks and what they may do here. Any valid credential may ask.",
    answers: {
      200: z.strictObject({
        user: text,
        auth_method: z.enum(["jwt", "api_key", "open"]),
        permissions: z.array(permission),
      }),
    },
    handle({ principal }) {
      const held = (Object.keys(NAMES) as Permission[]).filter(name => principal[name])
      return {
        body: {
          user: principal.name,
          auth_method: principal.method,
          permissions: held.map(name => NAMES[name]),
        },
      }
    },
  }),
]
