// What is remembered of each broker between passes, to spare reads: Secrets' facts, the signer, what the broker said.
// Everything here can be lost at any moment; nothing is decided from it that could not be read again.

import type { KubeObject } from "../plan/object.ts"
import type { Rejection } from "../plan/topology.ts"
import type { BrokerView, ForeignSecret, KeySetFacts, SigningFacts, TokenFacts } from "../plan/types.ts"
import type { Signer } from "./secrets.ts"

export interface SecretsKnown {
  readonly readAt: number
  /** What of the broker they were read for. */
  readonly of: string
  readonly signing: SigningFacts | null
  readonly keySet: KeySetFacts | null
  readonly metricsToken: TokenFacts | null
  readonly existingSecret: ForeignSecret | null
  readonly apiKeysSecret: ForeignSecret | null
}

export interface Remembered {
  secrets: SecretsKnown | null
  signer: Signer | null
  token: { text: string; kid: string; madeAt: number } | null
  view: BrokerView | null
  viewAt: number
  asksBroker: boolean
  /** Existing claims are not watched. */
  claim: { object: KubeObject | null; readAt: number } | null
  unreachableSince: number | null
  attempts: number
  /** No call before this. */
  notBefore: number
  lastStorageId: string | null
  /** Whether its resync has been put at a moment of its own. */
  spread: boolean
  rejections: readonly Rejection[]
}

const RETRY_FIRST_MS = 2_000
const RETRY_MOST_MS = 60_000

export class Memory {
  private readonly brokers = new Map<string, Remembered>()

  of(uid: string): Remembered {
    let known = this.brokers.get(uid)
    if (known === undefined) {
      known = {
        secrets: null,
        signer: null,
        token: null,
        view: null,
        viewAt: 0,
        asksBroker: false,
        claim: null,
        unreachableSince: null,
        attempts: 0,
        notBefore: 0,
        lastStorageId: null,
        spread: false,
        rejections: [],
      }
      this.brokers.set(uid, known)
    }
    return known
  }

  forget(uid: string): void {
    this.brokers.delete(uid)
  }

  answered(uid: string): void {
    const known = this.of(uid)
    known.unreachableSince = null
    known.attempts = 0
    known.notBefore = 0
  }

  /** The next call waits twice as long as the last one did. */
  silent(uid: string, now: number, retryAfterMs: number | null): void {
    const known = this.of(uid)
    known.unreachableSince ??= now
    const wait = Math.min(RETRY_FIRST_MS * 2 ** known.attempts, RETRY_MOST_MS)
    known.attempts++
    known.notBefore = now + Math.max(wait, retryAfterMs ?? 0)
  }
}
