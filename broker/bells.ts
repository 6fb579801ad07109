// The bells between the two threads: shared cells that are counted up when a message has been put into the
// port, and slept on by the other side. Waking a sleeping processor takes longer than most turns, so both
// sides look out for a moment before they sleep, as long as that has lately been worth it.

/** The cell that is counted up for each message to the durable lane. */
const TO_LANE = 0
/** The cell that is counted up for each message from it. */
const FROM_LANE = 1
/** The cell with the second of the durable lane's last sign of life. */
const BEAT = 2
const CELLS_BYTES = 12

/** How long either side looks out. Messages that take longer are not waited for awake. */
const LOOK_OUT_MS = 0.3

export class Bells {
  readonly buffer: SharedArrayBuffer
  private readonly cells: Int32Array<SharedArrayBuffer>
  private readonly lookOutMs: number
  /** The lane's side: the last message came soon. The sockets' side: the last answer did. */
  private worthIt = false
  /** When the sockets' side has last rung. */
  private rungAtMs = 0

  /** @param processors without a second one, looking out would keep the other side from working */
  constructor(processors: number, buffer = new SharedArrayBuffer(CELLS_BYTES)) {
    this.buffer = buffer
    this.cells = new Int32Array(buffer)
    this.lookOutMs = processors > 1 ? LOOK_OUT_MS : 0
  }

  private ring(cell: number): void {
    Atomics.add(this.cells, cell, 1)
    Atomics.notify(this.cells, cell)
  }

  // ── the lane's side ────────────────────────────────────────────────────────────────────────────────────

  ringFromLane(): void {
    this.ring(FROM_LANE)
  }

  /** How often the lane's bell has rung: to be read before looking into the port. */
  rungToLane(): number {
    return Atomics.load(this.cells, TO_LANE)
  }

  /** Sleeps until the bell has rung again since `rung`, so long at most. */
  sleepInLane(rung: number, sleepMs: number): void {
    const begun = performance.now()
    if (this.worthIt) {
      while (performance.now() - begun < this.lookOutMs) if (this.rungToLane() !== rung) return
    }
    const woken = Atomics.wait(this.cells, TO_LANE, rung, sleepMs)
    this.worthIt = woken !== "timed-out" && performance.now() - begun < this.lookOutMs * 2
  }

  beat(nowMs: number): void {
    Atomics.store(this.cells, BEAT, Math.floor(nowMs / 1_000))
  }

  // ── the sockets' side ──────────────────────────────────────────────────────────────────────────────────

  get lastBeatMs(): number {
    return Atomics.load(this.cells, BEAT) * 1_000
  }

  /**
   * Rings for the lane. While an answer is expected soon, the event loop goes on turning instead of leaving
   * the processor, and `look` is called as soon as the lane has rung.
   */
  ringToLane(look: () => void, soon: (work: () => void) => void): void {
    const rung = this.rungFromLane()
    this.rungAtMs = performance.now()
    this.ring(TO_LANE)
    if (!this.worthIt) return
    const begun = this.rungAtMs
    const lookOut = (): void => {
      if (this.rungFromLane() !== rung) look()
      else if (performance.now() - begun < this.lookOutMs) soon(lookOut)
      else this.worthIt = false
    }
    soon(lookOut)
  }

  rungFromLane(): number {
    return Atomics.load(this.cells, FROM_LANE)
  }

  /** Resolves when the lane's bell has rung since `rung`. */
  async heardFromLane(rung: number): Promise<void> {
    const next = Atomics.waitAsync(this.cells, FROM_LANE, rung)
    if (next.async) await next.value
    if (performance.now() - this.rungAtMs < this.lookOutMs) this.worthIt = true
  }
}
