// Notice: fire-and-forget publish and subscribe (docs/PROTOCOL.md, N-*). Keeps nothing but registrations;
// a publish leaves as the bytes that came in.

import type { Fault } from "../../protocol/fault.ts"
import { NOTICE_FAULTS, NOTICE_NOTIFY, type NoticeRequest } from "../../protocol/messages/notice.ts"
import {
  type Context,
  type Domain,
  type Millis,
  type Outcome,
  type Session,
  type SessionId,
  SILENT,
} from "./domain.ts"
import type { Figures } from "./figures.ts"
import { type RegistrationLimits, Registrations, subscribe, unsubscribe } from "./registrations.ts"

export class NoticeDomain implements Domain<NoticeRequest, number | null> {
  private readonly registrations: Registrations

  constructor(limits: RegistrationLimits) {
    this.registrations = new Registrations(limits, NOTICE_FAULTS.subscriptionLimit)
  }

  handle(request: NoticeRequest, session: Session, context: Context): Outcome<number | null> {
    switch (request.op) {
      case "publish": {
        const followers = this.registrations.matching(session.family, request.route)
        if (followers.length > 0) {
          context.emit({ kind: "notify", type: NOTICE_NOTIFY, followers, tail: request.payload })
        }
        return SILENT
      }
      case "subscribe":
        return this.subscribe(request, session, context)
      case "unsubscribe":
        return unsubscribe(this.registrations, session, request.pattern, context)
      case "unsubscribeId": {
        const known = this.registrations.byId(session.id, request.id)
        if (known !== undefined) this.registrations.remove(known, session, context)
        return null
      }
      case "unsubscribeAll":
        for (const known of this.registrations.of(session.id))
          this.registrations.remove(known, session, context)
        return null
    }
  }

  expire(): void {
    // Nothing here has a time of its own.
  }

  leave(session: SessionId, context: Context): void {
    this.registrations.leave(session, context)
  }

  nextDue(): Millis | null {
    return null
  }

  drain(): void {
    // Nothing here waits.
  }

  figures(): Figures<"notice"> {
    const { registrations, patterns } = this.registrations.figures
    return { subscriptions_active: registrations, routes_active: patterns }
  }

  private subscribe(
    request: Extract<NoticeRequest, { op: "subscribe" | "unsubscribe" }>,
    session: Session,
    context: Context,
  ): number | Fault {
    return subscribe(this.registrations, session, request.pattern, context)
  }
}
