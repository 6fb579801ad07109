// The reader's own session with the broker: the credential, kept for this tab only, what it may do, and whether
// the broker answers. The credential goes into a header and nowhere else: no URL, no log, no other storage.

import { Api } from "../api/client.ts"
import { type Credential, headerOf, type Right, readCredential, rightsOf } from "../api/credential.ts"
import { Store } from "./store.ts"

const STORAGE_KEY = "fitz.credential"

/** Null: only an attempt will tell. */
export type Rights = Readonly<Record<Right, boolean | null>>

/** What the broker says of whoever asks (GET /api/v1/session). */
export interface WhoAmI {
  readonly user: string
  readonly auth_method: "jwt" | "api_key" | "open"
  readonly permissions: readonly string[]
}

export type Phase =
  /** Nothing is known yet. */
  | { readonly kind: "asking" }
  | { readonly kind: "signed-out"; readonly why: string | null }
  | {
      readonly kind: "signed-in"
      readonly who: WhoAmI | null
      readonly credential: Credential | null
      readonly rights: Rights
    }

/** Does the broker answer? */
export interface Link {
  readonly lastContactMs: number | null
  /** Since when it has not answered; null while it does. */
  readonly silentSinceMs: number | null
}

export const BASE = new URL(".", document.baseURI).href

export class Session {
  readonly phase = new Store<Phase>({ kind: "asking" })
  readonly link = new Store<Link>({ lastContactMs: null, silentSinceMs: null })
  private current: Api = this.apiFor(null)

  get api(): Api {
    return this.current
  }

  /** With what this tab still holds, or with nothing where the broker is open. */
  async begin(): Promise<void> {
    const kept = sessionStorage.getItem(STORAGE_KEY)
    await this.tryCredential(kept === null ? null : readCredential(kept))
  }

  /** Null where it worked; else what to tell the reader. */
  async signIn(pasted: string): Promise<string | null> {
    const credential = readCredential(pasted)
    if (credential === null) return "This is neither a token nor an API key."
    if (credential.expiresAtMs !== null && credential.expiresAtMs <= Date.now()) {
      return "This token has expired. Ask for a new one."
    }
    return this.tryCredential(credential)
  }

  /** The broker has said who this is and what they may do. */
  know(who: WhoAmI): void {
    const phase = this.phase.get()
    if (phase.kind !== "signed-in" || JSON.stringify(phase.who) === JSON.stringify(who)) return
    this.phase.set({ ...phase, who, rights: rightsOf(who.permissions) })
  }

  signOut(why: string | null = null): void {
    sessionStorage.removeItem(STORAGE_KEY)
    this.current = this.apiFor(null)
    this.phase.set({ kind: "signed-out", why })
  }

  private async tryCredential(credential: Credential | null): Promise<string | null> {
    const api = this.apiFor(credential)
    // A probe's way to ask: the status is the answer, whatever it is.
    const reply = await api
      .probe<Partial<WhoAmI> & { readonly message?: string }>("api/v1/session")
      .catch((error: unknown) => {
        return error instanceof Error ? error.message : String(error)
      })
    if (typeof reply === "string") {
      // Without an answer nothing is known about the credential: a broker that restarts is no reason to lose it.
      if (credential === null || this.phase.get().kind === "signed-out") {
        this.phase.set({ kind: "signed-out", why: null })
        return `${reply[0]!.toUpperCase()}${reply.slice(1)}. Try again in a moment.`
      }
      this.accept(api, credential, null)
      return null
    }
    const { status, body } = reply
    if (status === 401) {
      if (credential === null) {
        this.phase.set({ kind: "signed-out", why: null })
        return null
      }
      if (this.phase.get().kind === "asking")
        this.signOut("The credential of this tab is no longer accepted.")
      return "The broker does not accept this credential. It may be mistyped, expired, or meant for another broker."
    }
    if (status === 429) return "Too many failed attempts from this address. Wait a minute."
    if (status >= 400 && status !== 503)
      return `The broker answers ${status}: ${body.message ?? "no reason given"}.`
    const who = body.permissions === undefined ? null : (body as WhoAmI)
    this.accept(api, credential, who)
    return null
  }

  private accept(api: Api, credential: Credential | null, who: WhoAmI | null): void {
    this.current = api
    if (credential !== null) sessionStorage.setItem(STORAGE_KEY, credential.secret)
    const permissions = who?.permissions ?? credential?.permissions ?? null
    const rights = permissions === null ? { read: null, write: null, data: null } : rightsOf(permissions)
    this.phase.set({ kind: "signed-in", who, credential, rights })
  }

  private apiFor(credential: Credential | null): Api {
    return new Api({
      base: BASE,
      headers: credential === null ? {} : headerOf(credential),
      fetch: (input, init) => fetch(input, init),
      now: () => Date.now(),
      onContact: reached => this.contact(reached),
      onUnauthorized: () => {
        if (this.phase.get().kind === "signed-in") {
          this.signOut("The broker no longer accepts the credential: it has expired or was withdrawn.")
        }
      },
    })
  }

  private contact(reached: boolean): void {
    const { lastContactMs, silentSinceMs } = this.link.get()
    if (reached) this.link.set({ lastContactMs: Date.now(), silentSinceMs: null })
    else this.link.set({ lastContactMs, silentSinceMs: silentSinceMs ?? lastContactMs ?? Date.now() })
  }
}

export const session = new Session()
