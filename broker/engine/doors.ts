// What happens at the doors, counted: who was turned away and why, who broke the protocol, who fell behind.
// Plain numbers under closed lists of names.

/** How a program is connected; a connection that ends before it has shown that is neither. */
export const TRANSPORTS = ["tcp", "websocket", "undetected"] as const
export type Transport = (typeof TRANSPORTS)[number]

/** Why a connection was not let in although its bytes were fine. */
export const TURNED_AWAY = ["starting", "draining", "full", "origin"] as const
export type TurnedAway = (typeof TURNED_AWAY)[number]

/** Why a connection was ended by the broker. */
export const ENDINGS = ["slow", "draining", "violation", "closed", "refused", "timeout"] as const
export type DoorEnding = (typeof ENDINGS)[number]

function zeros<Name extends string>(names: readonly Name[]): { [N in Name]: number } {
  return Object.fromEntries(names.map(name => [name, 0])) as { [N in Name]: number }
}

export class DoorTally {
  /** Connections that ended for breaking the protocol. */
  readonly malformed = zeros(TRANSPORTS)
  /** How often a connection fell so far behind that it got no more notices, or was ended for it. */
  readonly behind = zeros(TRANSPORTS)
  readonly turnedAway = zeros(TURNED_AWAY)
  readonly ended = zeros(ENDINGS)
  /** Refused credentials, of programs and of HTTP, by reason: the lists of reasons are closed. */
  readonly authFailures = new Map<string, number>()

  authFailed(reason: string): void {
    this.authFailures.set(reason, (this.authFailures.get(reason) ?? 0) + 1)
  }
}
