// How often something happens: totals, and what happened in the last seconds. Counting costs an addition, so
// that hot paths may do it; windows are kept as one number a second.

import type { Millis } from "./domain.ts"

export class Rate {
  total = 0
  private readonly seconds: number
  private ring: Uint32Array | null = null
  /** Where the current second is counted, and when it ends. */
  private slot = 0
  private endMs: Millis = 0

  /** @param seconds how long the window is */
  constructor(seconds: 10 | 60 = 10) {
    this.seconds = seconds
  }

  add(nowMs: Millis, count = 1): void {
    this.total += count
    if (nowMs >= this.endMs) this.advance(nowMs)
    this.ring![this.slot]! += count
  }

  /** What happened within the window. */
  recent(nowMs: Millis): number {
    if (this.ring === null) return 0
    if (nowMs >= this.endMs) this.advance(nowMs)
    let sum = 0
    for (const count of this.ring) sum += count
    return sum
  }

  /** Events a second within the window. */
  perSecond(nowMs: Millis): number {
    return this.recent(nowMs) / this.seconds
  }

  private advance(nowMs: Millis): void {
    this.ring ??= new Uint32Array(this.seconds)
    const { ring, seconds } = this
    const passed = Math.floor((nowMs - this.endMs) / 1_000) + 1
    if (passed >= seconds) ring.fill(0)
    else for (let step = 1; step <= passed; step++) ring[(this.slot + step) % seconds] = 0
    this.slot = (this.slot + passed) % seconds
    this.endMs += passed * 1_000
  }
}

/** Realms that are counted apart; with more, those that have lain idle are forgotten. */
const REALMS_MAX = 10_000

/** Numbers for each realm of each family. Whoever wants those of all adds them up. */
export class Tallies<T> {
  private readonly make: () => T
  private readonly mayGo: (numbers: T) => boolean
  private readonly retire: (into: T, from: T) => void
  private readonly families = new Map<number, Map<string, T>>()
  /** What was counted for realms that are forgotten. */
  private readonly rest = new Map<number, T>()
  private size = 0
  private lastFamily = -1
  private lastRealm = ""
  private last: T | null = null

  /**
   * @param mayGo nothing in these numbers will be needed but their totals
   * @param retire adds the totals of one to another
   */
  constructor(make: () => T, mayGo: (numbers: T) => boolean, retire: (into: T, from: T) => void) {
    this.make = make
    this.mayGo = mayGo
    this.retire = retire
  }

  /** The numbers of a realm, made where there are none yet. */
  of(family: number, realm: string): T {
    if (this.last !== null && this.lastRealm === realm && this.lastFamily === family) return this.last
    let realms = this.families.get(family)
    if (realms === undefined) {
      realms = new Map()
      this.families.set(family, realms)
    }
    let numbers = realms.get(realm)
    if (numbers === undefined) {
      if (this.size >= REALMS_MAX) this.forgetIdle()
      numbers = this.make()
      realms.set(realm, numbers)
      this.size++
    }
    this.lastFamily = family
    this.lastRealm = realm
    this.last = numbers
    return numbers
  }

  /** All numbers of a family or of all, of a realm or of all. */
  select(family: number | null, realm: string | null): T[] {
    const found: T[] = []
    for (const [number, realms] of this.families) {
      if (family !== null && family !== number) continue
      if (realm === null) {
        found.push(...realms.values())
        const rest = this.rest.get(number)
        if (rest !== undefined) found.push(rest)
      } else {
        const numbers = realms.get(realm)
        if (numbers !== undefined) found.push(numbers)
      }
    }
    return found
  }

  /** Realms, those of several families more than once. */
  *realms(): Generator<[string, T]> {
    for (const realms of this.families.values()) yield* realms
  }

  private forgetIdle(): void {
    for (const [family, realms] of this.families) {
      for (const [realm, numbers] of realms) {
        if (!this.mayGo(numbers)) continue
        let rest = this.rest.get(family)
        if (rest === undefined) {
          rest = this.make()
          this.rest.set(family, rest)
        }
        this.retire(rest, numbers)
        realms.delete(realm)
        this.size--
      }
    }
    this.last = null
  }
}

/** One number of many, added up. */
export function sumOf<T>(all: readonly T[], number: (one: T) => number): number {
  let sum = 0
  for (const one of all) sum += number(one)
  return sum
}
