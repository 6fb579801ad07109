// Schedule by the specification, section 13, with a walk over the minutes instead of a calendar library.
// Must never import the broker or protocol/.

import { block, bytes, opt, u8, u64 } from "../kit/bytes.ts"
import {
  type Encoded,
  expectFrame,
  expectRefusal,
  expectSuccess,
  type Registration,
  Registrations,
  type Setting,
  type Subscription,
  same,
  shown,
} from "./peer.ts"

export type ScheduleOp =
  | {
      readonly op: "create"
      readonly route: string
      readonly cron: string
      readonly mode: number
      readonly payload: string
    }
  | { readonly op: "cancel"; readonly route: string }
  | { readonly op: "list"; readonly offset: number | null; readonly limit: number | null }
  | Subscription

const TYPES = { create: 700, cancel: 701, list: 702, subscribe: 703, unsubscribe: 704 } as const

export function encodeSchedule(op: ScheduleOp): Encoded {
  const type = TYPES[op.op]
  switch (op.op) {
    case "create":
      return { type, payload: bytes(block(op.route), block(op.cron), u8(op.mode), block(op.payload)) }
    case "cancel":
      return { type, payload: block(op.route) }
    case "list":
      return { type, payload: bytes(opt(op.offset, u64), opt(op.limit, u64)) }
    case "subscribe":
    case "unsubscribe":
      return { type, payload: block(op.pattern) }
  }
}

// ── cron ───────────────────────────────────────────────────────────────────────────────────────────────────

const RANGES = [
  [0, 59],
  [0, 23],
  [1, 31],
  [1, 12],
  [0, 6],
] as const
const MINUTE_MS = 60_000
/** Every date with its weekday comes round within so many years, February 29th included. */
const YEARS_AHEAD = 41

/** The values that a field allows; null where it breaks the grammar. */
function fieldValues(field: string, [min, max]: readonly [number, number]): Set<number> | null {
  const values = new Set<number>()
  const parts = field.split(",")
  for (const part of parts) {
    if (part === "*" && parts.length > 1) return null
    const [range = "", step, ...more] = part.split("/")
    if (more.length > 0) return null
    let from = min
    let to = max
    if (range !== "*") {
      const bounds = range.split("-")
      if (bounds.length > 2 || bounds.some(bound => !/^[0-9]{1,2}$/.test(bound))) return null
      if (bounds.length === 1 && step !== undefined) return null
      from = Number(bounds[0])
      to = Number(bounds.at(-1))
    }
    if (step !== undefined && (!/^[0-9]{1,2}$/.test(step) || Number(step) === 0)) return null
    if (from > to || from < min || to > max) return null
    for (let value = from; value <= to; value += Number(step ?? 1)) values.add(value)
  }
  return values
}

export interface CronRule {
  readonly minutes: ReadonlySet<number>
  readonly hours: ReadonlySet<number>
  readonly days: ReadonlySet<number>
  readonly months: ReadonlySet<number>
  readonly weekdays: ReadonlySet<number>
  readonly everyDay: boolean
  readonly everyWeekday: boolean
}

/** Reads an expression; null where it breaks the grammar (combinations that never occur not counted). */
export function readCron(text: string): CronRule | null {
  const fields = text.split(/[ \t]+/).filter(field => field !== "")
  if (fields.length !== 5) return null
  const sets = fields.map((field, i) => fieldValues(field, RANGES[i]!))
  const [minutes, hours, days, months, weekdays] = sets
  if (!minutes || !hours || !days || !months || !weekdays) return null
  const everyDay = fields[2] === "*"
  const everyWeekday = fields[4] === "*"
  return { minutes, hours, days, months, weekdays, everyDay, everyWeekday }
}

function dayMatches(rule: CronRule, date: Date): boolean {
  if (!rule.months.has(date.getUTCMonth() + 1)) return false
  const day = rule.days.has(date.getUTCDate())
  const weekday = rule.weekdays.has(date.getUTCDay())
  if (rule.everyDay && rule.everyWeekday) return true
  if (rule.everyDay) return weekday
  if (rule.everyWeekday) return day
  return day || weekday
}

/** The first matching minute strictly after this moment, found by looking at one after the other; null: never. */
export function nextMinute(rule: CronRule, afterMs: number): number | null {
  let at = (Math.floor(afterMs / MINUTE_MS) + 1) * MINUTE_MS
  const end = at + YEARS_AHEAD * 366 * 24 * 60 * MINUTE_MS
  while (at < end) {
    const date = new Date(at)
    if (!dayMatches(rule, date)) {
      at = Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate() + 1)
      continue
    }
    if (rule.hours.has(date.getUTCHours()) && rule.minutes.has(date.getUTCMinutes())) return at
    at += MINUTE_MS
  }
  return null
}

// ── definitions ────────────────────────────────────────────────────────────────────────────────────────────

interface Definition {
  readonly family: number
  readonly route: string
  readonly cron: string
  readonly mode: number
  readonly payload: string
  readonly rule: CronRule
  dueMs: number
  /** The registration that had the last occurrence. */
  last: number
}

const LIST_ROOM = 65_535 - 10

export class ScheduleModel {
  private readonly setting: Setting
  private readonly limits: { readonly poison: string }
  readonly registrations: Registrations
  private readonly definitions = new Map<string, Definition>()

  constructor(setting: Setting, limits: { wildcardsMax: number; poison: string }) {
    this.setting = setting
    this.limits = limits
    this.registrations = new Registrations(setting, limits.wildcardsMax)
  }

  request(client: number, family: number, op: ScheduleOp): null {
    const { setting } = this
    const type = TYPES[op.op]
    const what = shown(op)
    const refuse = (code: number): null => expectRefusal(setting, client, type, code, what)
    switch (op.op) {
      case "create": {
        const rule = readCron(op.cron)
        const dueMs = rule === null ? null : nextMinute(rule, setting.now)
        if (op.mode > 1) return refuse(7008)
        if (rule === null || dueMs === null) return refuse(7002)
        if (!setting.writable || op.payload === this.limits.poison) return refuse(7010)
        expectSuccess(setting, client, type, what, () => null)
        const { route, cron, mode, payload } = op
        this.definitions.set(`${family} ${route}`, {
          family,
          route,
          cron,
          mode,
          payload,
          rule,
          dueMs,
          last: 0,
        })
        return null
      }
      case "cancel":
        if (!setting.writable) return refuse(7010)
        expectSuccess(setting, client, type, what, () => null)
        this.definitions.delete(`${family} ${op.route}`)
        return null
      case "list":
        return this.list(client, family, op, what)
      case "subscribe":
        this.registrations.subscribe(client, family, op.pattern, { type, flagged: true, limitCode: 7007 })
        return null
      case "unsubscribe":
        this.registrations.unsubscribe(client, op.pattern, type)
    }
    return null
  }

  private list(client: number, family: number, op: Extract<ScheduleOp, { op: "list" }>, what: string): null {
    const all = [...this.definitions.values()].filter(one => one.family === family)
    // Any order is right as long as it stays; ours is by route.
    all.sort((a, b) => (a.route < b.route ? -1 : 1))
    const offset = op.offset ?? 0
    const limit = op.limit ?? 100
    const page: Definition[] = []
    let room = LIST_ROOM
    for (const one of all.slice(offset, limit === 0 ? all.length : offset + limit)) {
      room -= 14 + one.route.length + one.cron.length + one.payload.length
      if (room < 0) break
      page.push(one)
    }
    expectSuccess(this.setting, client, 702, what, cursor => {
      same(cursor.number(), all.length, `total of ${what}`)
      const got = []
      while (cursor.flag())
        got.push({ route: cursor.text(), cron: cursor.text(), mode: cursor.u8(), payload: cursor.text() })
      const expected = page.map(({ route, cron, mode, payload }) => ({ route, cron, mode, payload }))
      same(got, expected, what)
    })
    return null
  }

  expire(): void {
    const { now } = this.setting
    for (const one of this.definitions.values()) {
      if (one.dueMs > now) continue
      // Whatever was missed is skipped: one occurrence, then the next after now.
      one.dueMs = nextMinute(one.rule, now)!
      this.fire(one)
    }
  }

  private fire(one: Definition): void {
    const matching = this.registrations.matching(one.family, one.route)
    let followers: readonly Registration[] = matching
    if (one.mode === 1 && matching.length > 0) {
      const next = matching.find(({ id }) => id > one.last) ?? matching[0]!
      one.last = next.id
      followers = [next]
    }
    // Several definitions may be due in one minute, in any order.
    for (const { client, id } of followers) {
      const beginning = bytes(u64(id), block(one.route), block(one.payload))
      expectFrame(this.setting, client, 705, `705 for ${one.route}`, beginning)
    }
  }

  leave(client: number): void {
    this.registrations.leave(client)
  }

  restart(): void {
    this.registrations.restart()
    for (const one of this.definitions.values()) {
      one.dueMs = nextMinute(one.rule, this.setting.now)!
      one.last = 0
    }
  }
}
