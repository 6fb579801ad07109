// The durable lane on its own side of the thread: batches in, one turn for all that has come, a batch out.
// It knows neither threads nor sockets; the thread around it is broker/durable.ts.

import { FrameReader, type FrameSink } from "../../protocol/frame.ts"
import { type Grant, Grants, parsePermission } from "../../protocol/permission.ts"
import type { Millis, SessionId } from "../domains/domain.ts"
import type { AnswerTo, Command, Query } from "../domains/views/index.ts"
import { arrivedOf, leftOf, type Opening, OutboundBatch, recordsOf } from "./batch.ts"
import { type Lane, LaneSession, type TurnStore } from "./lane.ts"

export class DurableLane {
  private readonly lane: Lane
  private readonly store: TurnStore
  private readonly outbound = new OutboundBatch()
  /** Whose frames the reader is handing out. */
  private session: LaneSession | null = null
  private readonly reader: FrameReader

  constructor(lane: Lane, store: TurnStore) {
    this.lane = lane
    this.store = store
    const sink: FrameSink = {
      frame: (type, bytes, view, _start, payload, end) => {
        // Only a client that left in the same batch is unknown here; what it had sent is not handled.
        if (this.session !== null) this.lane.receive(this.session, type, bytes, view, payload, end)
        return true
      },
    }
    this.reader = new FrameReader(sink)
  }

  nextDue(): Millis | null {
    return this.lane.nextDue()
  }

  /** The disk is known to be full; whether it has room again is asked from now on. */
  refuseWrites(now: Millis): void {
    this.lane.refuseWrites(now)
  }

  /**
   * One turn over all batches that have come, and after those over commands. Returns what goes back, or null
   * for nothing; what became of the commands stands in `outcomes`, in their order.
   */
  run(
    now: Millis,
    batches: readonly Uint8Array[],
    commands: readonly Command[] = [],
    outcomes: unknown[] = [],
  ): Uint8Array | null {
    const left = batches.flatMap(leftOf)
    const gone = new Set(left)
    const arrivedMs = batches[0] === undefined ? null : arrivedOf(batches[0])
    const turn = this.lane.turn(now, arrivedMs, this.store, left, () => {
      for (const batch of batches) this.play(batch, gone)
      outcomes.length = 0
      for (const command of commands) outcomes.push(this.lane.order(command))
    })
    for (const out of turn) this.outbound.add(out, this.lane.session(out.session)?.registrations ?? 0)
    return this.outbound.take(batches.length)
  }

  /** Answers from what is committed. */
  ask<Q extends Query>(query: Q, now: Millis): AnswerTo<Q> {
    return this.lane.ask(query, now)
  }

  private play(batch: Uint8Array, gone: ReadonlySet<SessionId>): void {
    for (const record of recordsOf(batch)) {
      if (record.kind === "drain") this.lane.drain()
      else if (gone.has(record.session)) continue
      else if (record.kind === "open") this.lane.open(sessionOf(record))
      else {
        this.session = this.lane.session(record.session) ?? null
        if (this.session !== null) this.session.registrationsElsewhere = record.elsewhere
        const { bytes, start, end } = record.frames
        this.reader.push(bytes.subarray(start, end))
      }
    }
  }
}

/** A client from what is told of it. The permissions were checked when it connected. */
export function sessionOf({ session, family, permissions }: Opening): LaneSession {
  const grants = permissions?.map(entry => parsePermission(entry, false)).filter(isGrant) ?? null
  return new LaneSession(session, family, new Grants(grants))
}

function isGrant(grant: Grant | null | string): grant is Grant {
  return grant !== null && typeof grant !== "string"
}
