// Expected failures as values: a code of the protocol and a text for people. The closed lists stand beside
// the messages they answer (protocol/messages/*). A fault must never carry a secret or a stack trace.

/** One way in which a request can be refused. Compare by `code`; the text is free (PROTOCOL.md, E-1). */
export class Fault {
  readonly code: number
  readonly text: string

  constructor(code: number, text: string) {
    this.code = code
    this.text = text
  }

  /** The same refusal with the particulars of this case. */
  because(detail: string): Fault {
    return new Fault(this.code, `${this.text}: ${detail}`)
  }
}
