// One connected program, whatever carries its bytes: CONNECT first, then frames to the engine, frames back.
// It must never send anything before a token was found good (docs/PROTOCOL.md, C-2).
//
//   fresh ──CONNECT──▶ verifying ──▶ open ──▶ closed
//     └──(no CONNECT in time, refused, malformed, not for clients)──────▲

import { FrameReader, type FrameSink } from "../../protocol/frame.ts"
import { CONNECT } from "../../protocol/messages/index.ts"
import type { Client, Ending, Engine, EngineSession, Identity, Peer } from "../engine/engine.ts"
import type { Laggard, OutboundAccount } from "./outbound.ts"

/** How bytes reach and leave a program. */
export interface Carrier {
  /** Sends whole frames in the outer form; calls back when the system has them or will never have them. */
  send(frames: Uint8Array, taken: () => void): void
  /** Ends the connection, letting what was sent arrive where `ending` leaves time for that. */
  close(ending: Ending | "refused" | "timeout"): void
  /** Ends it at once. */
  destroy(): void
  pause(): void
  resume(): void
}

/** Who may come in. */
export interface Admission {
  /** True: nobody is asked who they are. */
  readonly anonymous: boolean
  /** The identity behind a token, or null. */
  verify(token: string): Promise<Identity | null>
  /** Everybody's identity where nobody is asked. */
  readonly anybody: Identity
  readonly connectTimeoutMs: number
  later(ms: number, work: () => void): () => void
  /** A connection ended for breaking the protocol. */
  onMalformed(reason: string): void
  /** A connection has fallen so far behind that it gets no more notices. */
  onBehind(): void
  onEnded(ending: Ending | "refused" | "timeout"): void
}

export class Connection implements Client, FrameSink, Laggard {
  private readonly carrier: Carrier
  private readonly engine: Engine
  private readonly admission: Admission
  private readonly outbound: OutboundAccount
  private readonly peer: Peer | undefined
  private readonly reader = new FrameReader(this)
  private state: "fresh" | "verifying" | "open" | "closed" = "fresh"
  /** With nobody asked who they are, a CONNECT may follow the first request. */
  private connected = false
  private session: EngineSession | null = null
  private cancelTimeout: (() => void) | null
  pendingBytes = 0
  private relief: { readonly bytes: number; readonly work: () => void } | null = null

  constructor(
    carrier: Carrier,
    engine: Engine,
    admission: Admission,
    outbound: OutboundAccount,
    peer?: Peer,
  ) {
    this.peer = peer
    this.carrier = carrier
    this.engine = engine
    this.admission = admission
    this.outbound = outbound
    this.cancelTimeout = admission.later(admission.connectTimeoutMs, () => this.stop("timeout"))
  }

  /** The next bytes of the program, in the outer form. */
  receive(bytes: Uint8Array): void {
    if (this.state === "closed") return
    this.check(this.reader.push(bytes))
  }

  /** The connection has closed, by whomever. */
  closed(): void {
    this.cancelTimeout?.()
    this.state = "closed"
    const { session } = this
    this.session = null
    if (session !== null) this.engine.leave(session)
    this.writeOff()
  }

  /** What it has not taken counts no longer. At once, so that nobody else is ended for its bytes. */
  private writeOff(): void {
    const { pendingBytes } = this
    this.pendingBytes = 0
    this.outbound.removed(this, pendingBytes)
    this.relieve()
  }

  frame(
    type: number,
    bytes: Uint8Array,
    view: DataView,
    start: number,
    payload: number,
    end: number,
  ): boolean {
    if (this.state === "open") {
      if (type === CONNECT)
        return this.admission.anonymous ? this.connectLate() : this.violate("second CONNECT")
      if (this.engine.receive(this.session!, type, bytes, view, start, payload, end)) return !this.paused
      return this.violate("not a message of clients")
    }
    if (this.state !== "fresh") return false
    if (this.admission.anonymous) {
      this.enter(this.admission.anybody)
      if (type === CONNECT) return this.connectLate()
      return this.frame(type, bytes, view, start, payload, end)
    }
    if (type !== CONNECT) return this.violate("the first message is not CONNECT")
    this.state = "verifying"
    this.carrier.pause()
    const token = Buffer.from(bytes.buffer, bytes.byteOffset + payload, end - payload).toString("latin1")
    this.admission.verify(token).then(
      identity => this.verified(identity),
      () => this.verified(null),
    )
    return false
  }

  private verified(identity: Identity | null): void {
    if (this.state !== "verifying") return
    if (identity === null) {
      this.stop("refused")
      return
    }
    this.enter(identity)
    this.resume()
  }

  private enter(identity: Identity): void {
    this.cancelTimeout?.()
    this.cancelTimeout = null
    this.state = "open"
    this.session = this.engine.enter(this, identity, this.peer)
  }

  private connectLate(): boolean {
    if (this.connected) return this.violate("second CONNECT")
    this.connected = true
    return true
  }

  /** The program broke the protocol. */
  violate(reason: string): false {
    this.admission.onMalformed(reason)
    this.stop("violation")
    return false
  }

  private check(fault: string | null): void {
    if (fault !== null && this.state !== "closed") this.violate(fault)
  }

  private stop(ending: Ending | "refused" | "timeout"): void {
    if (this.state === "closed") return
    const { session } = this
    this.cancelTimeout?.()
    this.state = "closed"
    this.session = null
    this.admission.onEnded(ending)
    if (session !== null) this.engine.leave(session)
    this.carrier.close(ending)
    this.writeOff()
  }

  // ── what the engine asks for ───────────────────────────────────────────────────────────────────────────

  write(frames: Uint8Array, release: (() => void) | null): void {
    if (this.state === "closed") return
    const bytes = frames.length
    const { noticeBytesMax } = this.outbound
    if (this.pendingBytes <= noticeBytesMax && this.pendingBytes + bytes > noticeBytesMax)
      this.admission.onBehind()
    this.pendingBytes += bytes
    this.outbound.added(this, bytes)
    if (this.closedMeanwhile) return
    this.carrier.send(frames, () => {
      release?.()
      if (this.closedMeanwhile && this.pendingBytes === 0) return
      this.pendingBytes -= bytes
      this.outbound.removed(this, bytes)
      this.relieve()
    })
  }

  whenBelow(bytes: number, work: () => void): void {
    const before = this.relief
    this.relief = {
      bytes,
      work: () => {
        before?.work()
        work()
      },
    }
    this.relieve()
  }

  private relieve(): void {
    if (this.relief === null || (this.pendingBytes > this.relief.bytes && this.state !== "closed")) return
    const { work } = this.relief
    this.relief = null
    work()
  }

  /** Asked after calls that may have ended the connection, which the compiler cannot see. */
  private get closedMeanwhile(): boolean {
    return this.state === "closed"
  }

  end(ending: Ending): void {
    this.stop(ending)
  }

  endSlow(): void {
    this.stop("slow")
  }

  private paused = false

  pause(): void {
    this.paused = true
    this.reader.stop()
    this.carrier.pause()
  }

  resume(): void {
    this.paused = false
    this.carrier.resume()
    if (this.state === "open") this.check(this.reader.resume())
  }
}
