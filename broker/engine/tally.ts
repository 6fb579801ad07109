// What a lane counts, in cells of shared memory: the lane writes them as things happen, and whoever asks reads
// them at any moment, without a question to the lane. A cell has one writer. It holds numbers, never a name
// that a client has chosen.

import { CLIENT_MESSAGES, TYPES_END } from "../../protocol/messages/index.ts"
import { SCHEMES, type Scheme } from "../../protocol/route.ts"
import { FIGURES, type FigureName } from "../domains/figures.ts"

/** Upper bounds, in seconds; one more cell counts what is above all of them. */
export const LATENCY_BOUNDS_SECONDS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
] as const
/** The same for a synced commit, in microseconds. */
export const SYNC_BOUNDS_MICROS = [50, 100, 250, 500, 1_000, 5_000, 10_000, 50_000, 100_000] as const

/** Faults have codes below this. */
const CODES_END = 8_192

/** Plain counts, one cell each. */
const COUNTS = [
  "framesSent",
  "noticesDropped",
  "undeliverable",
  "cleanupFailures",
  "batchesTaken",
  "commits",
  "rows",
  "logBytes",
  "logRestarts",
  "commitErrors",
] as const
export type CountName = (typeof COUNTS)[number]

/** A histogram: how often up to each bound, how often above, and the sum. */
export interface Distribution {
  readonly bounds: readonly number[]
  /** One more than there are bounds; not cumulative. */
  readonly counts: readonly number[]
  readonly sum: number
}

/** Where everything stands. The order is the layout. */
const AT = ((): {
  readonly operations: number
  readonly faults: number
  readonly counts: number
  readonly latency: number
  readonly commit: number
  readonly sync: number
  readonly figures: { readonly [D in Scheme]: number }
  readonly cells: number
} => {
  let cells = 0
  const take = (count: number): number => {
    cells += count
    return cells - count
  }
  const operations = take(TYPES_END)
  const faults = take(CODES_END)
  const counts = take(COUNTS.length)
  const latency = take(SCHEMES.length * (LATENCY_BOUNDS_SECONDS.length + 2))
  const commit = take(LATENCY_BOUNDS_SECONDS.length + 2)
  const sync = take(SYNC_BOUNDS_MICROS.length + 2)
  const figures = Object.fromEntries(SCHEMES.map(domain => [domain, take(FIGURES[domain].length)])) as {
    [D in Scheme]: number
  }
  return { operations, faults, counts, latency, commit, sync, figures, cells }
})()

const COUNT_AT = Object.fromEntries(COUNTS.map((name, index) => [name, AT.counts + index])) as {
  readonly [Name in CountName]: number
}
const LATENCY_AT = Object.fromEntries(
  SCHEMES.map((domain, index) => [domain, AT.latency + index * (LATENCY_BOUNDS_SECONDS.length + 2)]),
) as { readonly [D in Scheme]: number }

export class Tally {
  readonly buffer: SharedArrayBuffer
  private readonly cells: Float64Array

  constructor(buffer = new SharedArrayBuffer(AT.cells * 8)) {
    this.buffer = buffer
    this.cells = new Float64Array(buffer)
  }

  // ── the writer's side ──────────────────────────────────────────────────────────────────────────────────

  add(name: CountName, by: number): void {
    this.cells[COUNT_AT[name]]! += by
  }

  /** So many requests of a type were taken, whatever became of them. */
  operations(type: number, count: number): void {
    this.cells[AT.operations + type]! += count
  }

  /** A request was refused. */
  fault(code: number): void {
    this.cells[AT.faults + Math.min(code, CODES_END - 1)]! += 1
  }

  /** So many requests of a domain took so long, from their arrival to the end of their turn. */
  latency(domain: Scheme, seconds: number, count: number): void {
    this.observe(LATENCY_AT[domain], LATENCY_BOUNDS_SECONDS, seconds, count)
  }

  /** A transaction took so long to commit. */
  commit(seconds: number, synced: boolean): void {
    this.add("commits", 1)
    this.observe(AT.commit, LATENCY_BOUNDS_SECONDS, seconds, 1)
    if (synced) this.sync(seconds)
  }

  /** Something was brought to disk. */
  sync(seconds: number): void {
    this.observe(AT.sync, SYNC_BOUNDS_MICROS, Math.round(seconds * 1e6), 1)
  }

  /** What a domain says of itself, in the order of its names. */
  figures(domain: Scheme, figures: { readonly [name: string]: number }): void {
    let at = AT.figures[domain]
    for (const name of FIGURES[domain]) this.cells[at++] = figures[name]!
  }

  private observe(at: number, bounds: readonly number[], value: number, count: number): void {
    let bucket = 0
    while (bucket < bounds.length && value > bounds[bucket]!) bucket++
    this.cells[at + bucket]! += count
    this.cells[at + bounds.length + 1]! += value * count
  }

  // ── the reader's side ──────────────────────────────────────────────────────────────────────────────────

  count(name: CountName): number {
    return this.cells[COUNT_AT[name]]!
  }

  operationsOf(type: number): number {
    return this.cells[AT.operations + type]!
  }

  faultsOf(code: number): number {
    return this.cells[AT.faults + code]!
  }

  /** The codes that were ever given, with how often. */
  *faults(): Generator<{ readonly code: number; readonly count: number }> {
    for (let code = 0; code < CODES_END; code++) {
      const count = this.cells[AT.faults + code]!
      if (count > 0) yield { code, count }
    }
  }

  figure<D extends Scheme>(domain: D, name: FigureName<D>): number {
    const names: readonly string[] = FIGURES[domain]
    return this.cells[AT.figures[domain] + names.indexOf(name)]!
  }

  latencyOf(domain: Scheme): Distribution {
    return this.distribution(LATENCY_AT[domain], LATENCY_BOUNDS_SECONDS)
  }

  get commits(): Distribution {
    return this.distribution(AT.commit, LATENCY_BOUNDS_SECONDS)
  }

  get syncs(): Distribution {
    return this.distribution(AT.sync, SYNC_BOUNDS_MICROS)
  }

  private distribution(at: number, bounds: readonly number[]): Distribution {
    return {
      bounds,
      counts: [...this.cells.subarray(at, at + bounds.length + 1)],
      sum: this.cells[at + bounds.length + 1]!,
    }
  }
}

/** What one turn has counted; nothing of it stands until the turn does. */
export class TurnTally {
  private readonly perType = new Uint32Array(TYPES_END)
  private readonly types: number[] = []
  private readonly codes: number[] = []

  request(type: number): void {
    const before = this.perType[type]!
    this.perType[type] = before + 1
    if (before === 0) this.types.push(type)
  }

  fault(code: number): void {
    this.codes.push(code)
  }

  /** The turn stands: `seconds` is how long its oldest request took. */
  settle(tally: Tally, seconds: number): void {
    for (const type of this.types) {
      const count = this.perType[type]!
      tally.operations(type, count)
      tally.latency(CLIENT_MESSAGES.get(type)!.domain, seconds, count)
      this.perType[type] = 0
    }
    for (const code of this.codes) tally.fault(code)
    this.types.length = 0
    this.codes.length = 0
  }

  /** The turn did not happen. */
  discard(): void {
    for (const type of this.types) this.perType[type] = 0
    this.types.length = 0
    this.codes.length = 0
  }
}
