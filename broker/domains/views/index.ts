// The two closed unions of the admin surface: what an operator may ask, and what an operator may order. A
// domain that is missing here does not compile (broker/engine/lane.ts).

import type { KvAnswers, KvCommand, KvOutcomes, KvQuery } from "./kv.ts"
import type { LeaseAnswers, LeaseCommand, LeaseOutcomes, LeaseQuery } from "./lease.ts"
import type { NoticeAnswers, NoticeCommand, NoticeOutcomes, NoticeQuery } from "./notice.ts"
import type { QueueAnswers, QueueCommand, QueueOutcomes, QueueQuery } from "./queue.ts"
import type { RealmAnswers, RealmCommand, RealmOutcomes, RealmQuery } from "./realms.ts"
import type { RpcAnswers, RpcCommand, RpcOutcomes, RpcQuery } from "./rpc.ts"
import type { ScheduleAnswers, ScheduleCommand, ScheduleOutcomes, ScheduleQuery } from "./schedule.ts"
import type { StreamAnswers, StreamQuery } from "./stream.ts"

export type Query =
  | KvQuery
  | StreamQuery
  | NoticeQuery
  | QueueQuery
  | RpcQuery
  | LeaseQuery
  | ScheduleQuery
  | RealmQuery

export type Command =
  | KvCommand
  | NoticeCommand
  | QueueCommand
  | RpcCommand
  | LeaseCommand
  | ScheduleCommand
  | RealmCommand

/** Who answers: a domain, or the book of realms. */
export type Subject = Query["domain"]

export interface Answers {
  readonly kv: KvAnswers
  readonly stream: StreamAnswers
  readonly notice: NoticeAnswers
  readonly queue: QueueAnswers
  readonly rpc: RpcAnswers
  readonly lease: LeaseAnswers
  readonly schedule: ScheduleAnswers
  readonly realms: RealmAnswers
}

export interface Outcomes {
  readonly kv: KvOutcomes
  readonly notice: NoticeOutcomes
  readonly queue: QueueOutcomes
  readonly rpc: RpcOutcomes
  readonly lease: LeaseOutcomes
  readonly schedule: ScheduleOutcomes
  readonly realms: RealmOutcomes
}

type Get<T, K> = K extends keyof T ? T[K] : never

/** What a query is answered with. */
export type AnswerTo<Q extends Query> = Get<Answers[Q["domain"]], Q["name"]>

/** What becomes of a command. */
export type OutcomeOf<C extends Command> = Get<Outcomes[C["domain"]], C["name"]>
