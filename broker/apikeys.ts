// API keys: a mounted file of digests, read again when it changes. A key itself is never kept, compared in
// plain, or written anywhere.

import { createHash, timingSafeEqual } from "node:crypto"
import { z } from "zod"
import type { TrustSource } from "./admin/operations.ts"
import { parseJson } from "./config.ts"
import { Watched } from "./files.ts"
import type { World } from "./world.ts"

/** Shorter keys could be guessed; `fitz token key` makes none (cli/token.ts). */
const API_KEY_LENGTH_MIN = 24

const FILE_SHAPE = z.array(
  z.object({
    id: z.string().min(1).max(128),
    sha256: z
      .string()
      .regex(/^[0-9a-fA-F]{64}$/)
      .transform(hex => hex.toLowerCase()),
    permissions: z.array(z.string()),
  }),
)

export type ApiKey = z.output<typeof FILE_SHAPE>[number]

function digestOf(key: string): string {
  return createHash("sha256").update(key).digest("hex")
}

export class ApiKeys {
  private readonly watched: Watched<readonly ApiKey[]>
  private readonly world: World
  private readonly verified = new Map<string, number>()

  /** Throws where the file holds no digests. @param onChange the file has changed: keys may have gone */
  constructor(path: string, world: World, onChange: () => void) {
    this.world = world
    this.watched = new Watched<readonly ApiKey[]>(
      [path],
      ([files]) => [...files!].flatMap(([name, content]) => keysIn(name, content)),
      world,
      onChange,
    )
  }

  /** The entry of a presented key, or null. */
  find(presented: string): ApiKey | null {
    if (presented.length < API_KEY_LENGTH_MIN) return null
    const digest = Buffer.from(digestOf(presented), "hex")
    let found: ApiKey | null = null
    for (const key of this.watched.value) {
      if (timingSafeEqual(digest, Buffer.from(key.sha256, "hex"))) found = key
    }
    if (found !== null) this.verified.set(found.id, this.world.now())
    return found
  }

  holds(sha256: string): boolean {
    return this.watched.value.some(key => key.sha256 === sha256)
  }

  source(): TrustSource {
    return {
      source: "api_keys",
      kind: "digest_file",
      loadedAtMs: this.watched.loadedAtMs,
      error: this.watched.error,
      keys: this.watched.value.map(({ id }) => ({
        kid: id,
        alg: "SHA-256",
        lastVerifiedMs: this.verified.get(id) ?? null,
      })),
    }
  }

  stop(): void {
    this.watched.stop()
  }
}

/** The entries of a file. Throws where it holds none, without quoting it. */
function keysIn(name: string, content: string): ApiKey[] {
  const parsed = FILE_SHAPE.safeParse(parseJson(content))
  if (!parsed.success) throw new Error(`${name} holds no list of { id, sha256, permissions }`)
  const ids = parsed.data.map(key => key.id)
  if (new Set(ids).size !== ids.length) throw new Error(`${name} names an id twice`)
  return parsed.data
}
