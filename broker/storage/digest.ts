// Strong tags and content digests of stored definitions: the same for the same content, also after a restart.
// Must never depend on when or where something was stored.

import { createHash } from "node:crypto"

export function sha256Hex(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex")
}

/** An entity tag in the form in which HTTP carries it. */
export function strongTag(form: object): string {
  return `"${sha256Hex(JSON.stringify(form)).slice(0, 32)}"`
}
