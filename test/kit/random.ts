// Chance with a seed, so that whatever a test met once it meets again. The seed comes from FITZ_TEST_SEED, in CI
// from the commit, otherwise from the machine; every failure has to name it. Never Math.random in a test.

import { execFileSync } from "node:child_process"
import { randomInt } from "node:crypto"

/** Small, quick and good enough for tests (the generator known as sfc32). */
export class Random {
  readonly seed: string
  private a: number
  private b: number
  private c: number
  private counter = 1

  constructor(seed: string | number) {
    this.seed = String(seed)
    this.a = hash(`${this.seed}/a`)
    this.b = hash(`${this.seed}/b`)
    this.c = hash(`${this.seed}/c`)
    for (let i = 0; i < 12; i++) this.u32()
  }

  /** 0 to 2^32−1. */
  u32(): number {
    const sum = (this.a + this.b + this.counter) >>> 0
    this.counter = (this.counter + 1) >>> 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) >>> 0
    this.c = (((this.c << 21) | (this.c >>> 11)) + sum) >>> 0
    return sum
  }

  /** 0 to `below` − 1. */
  int(below: number): number {
    return Math.floor((this.u32() / 4_294_967_296) * below)
  }

  /** `min` to `max`, both included. */
  between(min: number, max: number): number {
    return min + this.int(max - min + 1)
  }

  /** True so often, from 0 to 1. */
  chance(share: number): boolean {
    return this.u32() < share * 4_294_967_296
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.int(items.length)]
    if (item === undefined) throw new Error("nothing to pick from")
    return item
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.int(256)))
  }

  /** A generator of its own for one part of a test, so that the parts do not shift each other. */
  fork(name: string | number): Random {
    return new Random(`${this.seed}/${name}`)
  }
}

/** FNV-1a over the text, then mixed. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (const byte of Buffer.from(text, "utf8")) value = Math.imul(value ^ byte, 0x01000193)
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  return (value ^ (value >>> 13)) >>> 0
}

let chosen: string | null = null

/** The seed of this run. */
export function runSeed(): string {
  chosen ??= process.env["FITZ_TEST_SEED"] ?? commit() ?? String(randomInt(2 ** 32))
  return chosen
}

function commit(): string | null {
  if (process.env["CI"] === undefined) return null
  return execFileSync("git", ["rev-parse", "HEAD"], { encoding: "utf8" }).trim().slice(0, 12)
}

/** Runs a test with a seeded generator; a failure says how to meet it again. */
export async function seeded<T>(
  work: (random: Random) => T | Promise<T>,
  seed: string = runSeed(),
): Promise<T> {
  try {
    return await work(new Random(seed))
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new Error(`with FITZ_TEST_SEED=${seed}: ${reason}`, { cause: error })
  }
}
