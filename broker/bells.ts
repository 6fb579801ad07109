// The bells between the two threads: shared cells that are counted up when a message has been put into the
// port, and slept on by the other side. Waking a sleeping processor takes longer than most turns, so both
// sides poll for a moment before they sleep, as long as that has lately been worth it
// (docs/decisions/0007-busy-poll.md).

/** The cell that is counted up for each message to the durable lane. */
const TO_LANE = 0
/** The cell that is counted up for each message from it. */
const FROM_LANE = 1
/** The cell with the second of the durable lane's last sign of life. */
const BEAT = 2
const CELLS_BYTES = 12

/** What both sides share. */
export class Bells {
  readonly buffer: SharedArrayBuffer
  private readonly cells: Int32Array<SharedArrayBuffer>

  constructor(buffer = new SharedArrayBuffer(CELLS_BYTES)) {
    this.buffer = buffer
    this.cells = new Int32Array(buffer)
  }

  private ring(cell: number): void {
    Atomics.add(this.cells, cell, 1)
    Atomics.notify(this.cells, cell)
  }

  ringToLane(): void {
    this.ring(TO_LANE)
  }

  ringFromLane(): void {
    this.ring(FROM_LANE)
  }

  /** How often the bell has rung: to be read before looking into the port. */
  rungToLane(): number {
    return Atomics.load(this.cells, TO_LANE)
  }

  rungFromLane(): number {
    return Atomics.load(this.cells, FROM_LANE)
  }

  /** Blocks until the lane's bell has rung since `rung`, so long at most. False: it has not. */
  waitInLane(rung: number, ms: number): boolean {
    return Atomics.wait(this.cells, TO_LANE, rung, ms) !== "timed-out"
  }

  /** Resolves when the lane has rung since `rung`. */
  async heardFromLane(rung: number): Promise<void> {
    const next = Atomics.waitAsync(this.cells, FROM_LANE, rung)
    if (next.async) await next.value
  }

  beat(nowMs: number): void {
    Atomics.store(this.cells, BEAT, Math.floor(nowMs / 1_000))
  }

  get lastBeatMs(): number {
    return Atomics.load(this.cells, BEAT) * 1_000
  }
}

/** The lane's sleep. */
export class LaneSleep {
  private readonly bells: Bells
  private readonly pollMs: number
  private worthIt = false

  constructor(bells: Bells, pollMs: number) {
    this.bells = bells
    this.pollMs = pollMs
  }

  /** Until the bell has rung since `rung`, so long at most. */
  sleep(rung: number, ms: number): void {
    const begun = performance.now()
    if (this.worthIt) {
      while (performance.now() - begun < this.pollMs) if (this.bells.rungToLane() !== rung) return
    }
    const rang = this.bells.waitInLane(rung, ms)
    this.worthIt = rang && performance.now() - begun < this.pollMs * 2
  }
}

/** Longest stretch of looking at the bell alone: so much later, at most, does a socket get its turn. */
const STRETCH_MS = 0.05

/**
 * The sockets' sleep is the event loop's own. While something happens every few hundred microseconds the loop
 * is kept turning, so that it finds the next thing instead of being woken by it; and while the lane is at work
 * each turn looks at the bell for a moment, which is cheaper than turning.
 */
export class LoopPoll {
  private readonly bells: Bells
  private readonly pollMs: number
  private readonly look: () => void
  private readonly waiting: () => boolean
  private readonly soon: (work: () => void) => void
  private turning = false
  private worthIt = false
  private lastMs = 0
  private rung = 0

  /**
   * @param look looks into the port: the lane has rung
   * @param waiting is the lane at work for us?
   * @param soon runs the work after one turn of the loop
   */
  constructor(
    bells: Bells,
    pollMs: number,
    look: () => void,
    waiting: () => boolean,
    soon: (work: () => void) => void,
  ) {
    this.bells = bells
    this.pollMs = pollMs
    this.look = look
    this.waiting = waiting
    this.soon = soon
  }

  /** Something has happened: a turn has ended, the lane has said something. */
  happened(): void {
    const now = performance.now()
    if (now - this.lastMs < this.pollMs) this.worthIt = true
    this.lastMs = now
    this.rung = this.bells.rungFromLane()
    if (!this.worthIt || this.turning) return
    this.turning = true
    this.soon(() => this.turn())
  }

  private turn(): void {
    if (this.waiting()) this.linger()
    if (this.bells.rungFromLane() !== this.rung) this.look()
    if (performance.now() - this.lastMs < this.pollMs) this.soon(() => this.turn())
    else {
      this.turning = false
      this.worthIt = false
    }
  }

  private linger(): void {
    const begun = performance.now()
    while (this.bells.rungFromLane() === this.rung && performance.now() - begun < STRETCH_MS);
  }
}
