// Notice by the specification, section 11: who is subscribed hears, in the order of the publishes.
// Must never import the broker or protocol/.

import { block, bytes, u64 } from "../kit/bytes.ts"
import { type Encoded, expectSuccess, Registrations, type Setting } from "./peer.ts"

export type NoticeOp =
  | { readonly op: "publish"; readonly route: string; readonly body: string }
  | { readonly op: "subscribe"; readonly pattern: string }
  | { readonly op: "unsubscribe"; readonly id: number }
  | { readonly op: "unsubscribeAll" }

const TYPES = { publish: 500, subscribe: 501, unsubscribe: 502, unsubscribeAll: 503 } as const

export function encodeNotice(op: NoticeOp): Encoded {
  const type = TYPES[op.op]
  switch (op.op) {
    case "publish":
      return { type, payload: bytes(block(op.route), block(op.body)) }
    case "subscribe":
      return { type, payload: block(op.pattern) }
    case "unsubscribe":
      return { type, payload: u64(op.id) }
    case "unsubscribeAll":
      return { type, payload: bytes() }
  }
}

export class NoticeModel {
  private readonly setting: Setting
  readonly registrations: Registrations

  constructor(setting: Setting, limits: { wildcardsMax: number }) {
    this.setting = setting
    this.registrations = new Registrations(setting, limits.wildcardsMax)
  }

  request(client: number, family: number, op: NoticeOp): void {
    const { registrations } = this
    switch (op.op) {
      case "publish": {
        const rest = bytes(block(op.route), block(op.body))
        registrations.notify(registrations.matching(family, op.route), 504, rest, `publish on ${op.route}`)
        return
      }
      case "subscribe":
        registrations.subscribe(client, family, op.pattern, { type: 501, flagged: true, limitCode: 3003 })
        return
      case "unsubscribe":
        expectSuccess(this.setting, client, 502, `unsubscribe ${op.id}`, () => null)
        // Somebody else's id is as good as an unknown one.
        registrations.all = registrations.all.filter(one => one.client !== client || one.id !== op.id)
        return
      case "unsubscribeAll":
        expectSuccess(this.setting, client, 503, "unsubscribe all", () => null)
        registrations.leave(client)
    }
  }

  leave(client: number): void {
    this.registrations.leave(client)
  }

  restart(): void {
    this.registrations.restart()
  }
}
