// Sessions over HTTP: who is connected, and closing one (admin-api §16).
// Must never show a credential, nor take a family for a realm.

import { z } from "zod"
import type { SessionRow } from "../engine/engine.ts"
import { acknowledged, done, sessionIn } from "./command.ts"
import { Refusal } from "./errors.ts"
import { type Call, type Route, route } from "./route.ts"
import {
  count,
  family,
  label,
  listed,
  secondsBetween,
  sessionId,
  sessionName,
  text,
  time,
  timeOf,
} from "./schemas.ts"

const session = z.strictObject({
  session_id: sessionId,
  realm: label,
  connected_at: time,
  idle_seconds: count,
  messages_received: count,
  messages_sent: count,
  transport: z.enum(["websocket", "tcp"]),
  remote_addr: z.string().meta({ example: "192.0.2.1:54321" }),
  route_family: family,
  subject: text,
  identity_claim: z.string().meta({ example: "tid" }),
  identity_value: text,
})

function shown(row: SessionRow, { operations }: Pick<Call, "operations">): z.output<typeof session> {
  return {
    session_id: sessionName(row.id),
    realm: row.realm,
    connected_at: timeOf(row.connectedAtMs),
    idle_seconds: secondsBetween(row.lastMs, operations.now()),
    messages_received: row.received,
    messages_sent: row.sent,
    transport: row.transport,
    remote_addr: row.remoteAddr,
    route_family: row.family,
    subject: row.subject,
    identity_claim: operations.identityClaim,
    identity_value: row.identity,
  }
}

export const sessionRoutes: readonly Route[] = [
  route({
    method: "GET",
    path: "sessions",
    underAdmin: true,
    permission: "read",
    about: "Programs that are connected and let in. The realm is the session's own label, never a family.",
    list: true,
    realmFilter: true,
    family: "optional",
    answers: { 200: listed("sessions", session) },
    handle(call) {
      const { total, rows } = call.operations.sessions(call.realm, call.family, call.page)
      return { body: { sessions: rows.map(row => shown(row, call)) }, total }
    },
  }),
  route({
    method: "GET",
    path: "sessions/{session_id}",
    underAdmin: true,
    permission: "read",
    about: "One session.",
    answers: { 200: session },
    handle(call) {
      const row = call.operations.session(sessionIn(call))
      if (row === null) throw new Refusal("not_found", "there is no such session")
      return { body: shown(row, call) }
    },
  }),
  route({
    method: "POST",
    path: "sessions/{session_id}/close",
    underAdmin: true,
    permission: "write",
    about: "Closes the connection and cleans up all that belongs to the session.",
    confirm: "always",
    action: "session.close",
    answers: { 200: acknowledged("session.close", z.strictObject({ session_id: sessionId })) },
    handle(call) {
      const id = sessionIn(call)
      if (!call.operations.closeSession(id)) throw new Refusal("not_found", "there is no such session")
      return done("session.close", { session_id: sessionName(id) })
    },
  }),
]
