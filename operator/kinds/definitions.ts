// FitzRealm and FitzSchedule: definitions that are kept in a broker (operator.md §2.2, §2.3). The schemas are
// the only source of their CRDs; what only the broker can judge (cron, limits) is left to it.

import { z } from "zod"
import { immutable, map, type Rule, say, text, whole } from "./schema.ts"
import { conditions } from "./status.ts"

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what the pattern keeps out
export const SEGMENT_PATTERN = /^[^/*\x00-\x1f\x7f]+$/
const segment = () => text(128, 1).regex(SEGMENT_PATTERN)

const DOTS: Rule = {
  id: "R-03",
  rule: "!(self in ['.', '..'])",
  message: "'.' and '..' cannot be part of an address",
}

const brokerRef = (rule: string) =>
  say(
    z.object({
      name: say(text(52, 1), "Name of the FitzBroker."),
      namespace: say(text(63, 1).optional(), "Its namespace; without it, the namespace of this object."),
    }),
    { about: "The broker that holds the definition. Cannot change.", rules: [immutable(rule)] },
  )

const policies = {
  adoptExisting: say(
    z.boolean().default(false),
    "Takes over a definition that somebody else has made in the broker.",
  ),
  paused: say(z.boolean().default(false), "Observes and reports, but changes nothing in the broker."),
  deletionPolicy: say(
    z.enum(["Retain", "Delete"]).default("Retain"),
    "Whether the broker's definition goes with this object.",
  ),
}

export const REALM_ROOT_RULES: readonly Rule[] = [
  {
    id: "R-04",
    rule: "has(self.spec.name) || size(self.metadata.name) <= 128",
    message: "a name of more than 128 characters cannot be the realm's; set spec.name",
  },
]

const limit = (about: string) => say(whole(1, Number.MAX_SAFE_INTEGER).optional(), about)

export const realmSpec = say(
  z.object({
    brokerRef: brokerRef("R-01"),
    name: say(segment().optional(), {
      about: "Name of the realm; without it, the name of this object. Cannot change.",
      rules: [DOTS],
    }),
    displayName: say(text(128).optional(), "Name for people."),
    description: say(text(1024).optional(), "What the realm is for."),
    labels: say(map(32, 253).optional(), "Labels that the broker keeps with the realm."),
    limits: say(
      z
        .object({
          maxSessions: limit("Programs connected under this realm at once."),
          maxSubscriptions: limit("Registrations in this realm, all domains together."),
          maxQueueMessages: limit("Messages held in the realm's queues."),
          maxStreams: limit("Streams of the realm."),
        })
        .optional(),
      "Limits that the broker enforces. An absent limit is none.",
    ),
    ...policies,
  }),
  {
    about: "The realm as it should be.",
    rules: [
      {
        id: "R-02",
        rule: "has(self.name) == has(oldSelf.name) && (!has(self.name) || self.name == oldSelf.name)",
        message: "name cannot be changed",
      },
    ],
  },
)
export type RealmSpec = z.output<typeof realmSpec>

export const scheduleSpec = say(
  z.object({
    brokerRef: brokerRef("S-01"),
    family: say(whole(1, 4_294_967_295).default(1), {
      about: "Route family of the schedule. Cannot change.",
      rules: [immutable("S-02")],
    }),
    route: say(
      z.object({
        realm: say(segment(), { about: "Realm.", rules: [DOTS] }),
        area: say(segment(), { about: "Area.", rules: [DOTS] }),
        resource: say(segment(), { about: "Resource.", rules: [DOTS] }),
        operation: say(segment(), { about: "Operation.", rules: [DOTS] }),
      }),
      { about: "What the schedule fires. Cannot change.", rules: [immutable("S-03")] },
    ),
    cron: say(
      text(256, 1).regex(/^[0-9*,/-]+( [0-9*,/-]+){4}$/),
      "Five numeric fields, in UTC. Anything finer is judged by the broker.",
    ),
    payload: say(
      z
        .object({
          text: say(text(32_768).optional(), "As text."),
          base64: say(text(65_536).optional(), {
            about: "As bytes.",
            rules: [
              {
                id: "S-05",
                rule: "size(self) % 4 == 0 && self.matches('^[A-Za-z0-9+/]*={0,2}$')",
                message: "must be base64",
              },
            ],
          }),
        })
        .optional(),
      {
        about: "What is delivered at each run; at most 48 KiB.",
        rules: [
          {
            id: "S-04",
            rule: "!(has(self.text) && has(self.base64))",
            message: "text and base64 exclude each other",
          },
        ],
      },
    ),
    deliveryMode: say(
      z.enum(["Broadcast", "Single"]).default("Broadcast"),
      "Broadcast fires at every subscriber, Single at one of them.",
    ),
    enabled: say(z.boolean().default(true), "Whether the schedule runs."),
    ...policies,
  }),
  "The schedule as it should be.",
)
export type ScheduleSpec = z.output<typeof scheduleSpec>

const shared = {
  observedGeneration: say(
    whole(0, Number.MAX_SAFE_INTEGER).optional(),
    "Generation of the spec that this status speaks of.",
  ),
  conditions,
  broker: say(text(512).optional(), "The broker, as namespace/name."),
}

export const realmStatus = say(
  z.object({ ...shared, realm: say(text(128).optional(), "Name of the realm in the broker.") }).optional(),
  { about: "The realm as it is.", absence: true },
)
export const scheduleStatus = say(
  z
    .object({ ...shared, route: say(text(1024).optional(), "The schedule's address in the broker.") })
    .optional(),
  { about: "The schedule as it is.", absence: true },
)
