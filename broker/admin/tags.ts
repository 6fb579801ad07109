// Entity tags of answers that cover several stored forms, and the answer to whoever has them already.
// Must never let a clock into a tag.

import { createHash } from "node:crypto"
import type { Answer } from "./route.ts"

/** A tag over what a page says of stored definitions. */
export function listTag(content: unknown): string {
  return `"${createHash("sha256").update(JSON.stringify(content)).digest("hex").slice(0, 32)}"`
}

/** 304 for a reader that has this already; null for everybody else. */
export function notModified(ifNoneMatch: readonly string[] | null, tag: string): Answer | null {
  if (ifNoneMatch === null || !(ifNoneMatch.includes(tag) || ifNoneMatch.includes("*"))) return null
  return { status: 304, headers: { etag: tag } }
}
