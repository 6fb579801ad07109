// The web page's files: read once at start, answered from memory, so that no request path ever becomes a file
// path. It serves what is public and holds no data; it must never ask the broker anything.

import { createHash } from "node:crypto"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import type { FastifyReply, FastifyRequest } from "fastify"

/** First segments of paths that the page never answers, whatever they are asked for. */
export const RESERVED: readonly string[] = [
  "api",
  "admin",
  "metrics",
  "health",
  "healthz",
  "readyz",
  "startupz",
  "livez",
  "targetz",
  "ws",
  "assets",
  "mcp",
  "v0",
  ".well-known",
]

/** Everything from here, nothing from elsewhere, no markup from strings, no frame around it. */
export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "font-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'self'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ")

const TYPES: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml",
  woff2: "font/woff2",
}

/** Names are hashed: what a name stands for never changes. */
const FOREVER = "public, max-age=31536000, immutable"
/** More than any view of the page has. */
const DEPTH_MAX = 16
const PLACEHOLDER = '<base href="./" />'

interface Forms {
  readonly type: string
  readonly etag: string
  readonly plain: Buffer
  readonly br?: Buffer | undefined
  readonly gzip?: Buffer | undefined
}

export class Page {
  private readonly assets = new Map<string, Forms>()
  private readonly entries: readonly Forms[]

  private constructor(folder: string) {
    const assets = join(folder, "assets")
    for (const name of readdirSync(assets)) {
      const type = TYPES[name.slice(name.lastIndexOf(".") + 1)]
      if (type === undefined) continue
      const form = (ending: string): Buffer | undefined => {
        const file = join(assets, name + ending)
        return existsSync(file) ? readFileSync(file) : undefined
      }
      const plain = readFileSync(join(assets, name))
      this.assets.set(`/assets/${name}`, {
        type,
        etag: tagOf(plain),
        plain,
        br: form(".br"),
        gzip: form(".gz"),
      })
    }
    const entry = readFileSync(join(folder, "index.html"), "utf8")
    this.entries = Array.from({ length: DEPTH_MAX }, (_, depth) => {
      const up = depth === 0 ? "./" : "../".repeat(depth)
      const plain = Buffer.from(entry.replace(PLACEHOLDER, `<base href="${up}" />`))
      return { type: "text/html; charset=utf-8", etag: tagOf(plain), plain, gzip: gzipSync(plain) }
    })
  }

  /** Null where the folder holds no page: the broker runs without it. */
  static open(folder: string | null): Page | null {
    return folder !== null && existsSync(join(folder, "index.html")) && existsSync(join(folder, "assets"))
      ? new Page(folder)
      : null
  }

  /** Answers what belongs to the page; null for everything else. */
  answer(request: FastifyRequest, reply: FastifyReply): FastifyReply | null {
    if (request.method !== "GET" && request.method !== "HEAD") return null
    const path = request.originalUrl.split("?", 1)[0]!
    const asset = this.assets.get(path)
    if (asset !== undefined) return send(request, reply, asset, FOREVER)
    const entry = this.entryFor(path, request.headers.accept)
    return entry === null ? null : send(request, reply, entry, "no-store")
  }

  /** The entry for a view: `/` for everybody, the others for navigations only. */
  private entryFor(path: string, accept: string | undefined): Forms | null {
    if (path !== "/" && accept?.includes("text/html") !== true) return null
    const segments = path.split("/").slice(1)
    if (RESERVED.includes(segments[0]!)) return null
    // Behind a prefix nobody here knows, the way back to the page's root is told in steps.
    return this.entries[segments.length - 1] ?? null
  }
}

function tagOf(content: Buffer): string {
  return `"${createHash("sha256").update(content).digest("hex").slice(0, 32)}"`
}

function send(request: FastifyRequest, reply: FastifyReply, forms: Forms, caching: string): FastifyReply {
  reply
    .header("cache-control", caching)
    .header("content-security-policy", CONTENT_SECURITY_POLICY)
    .header("cross-origin-opener-policy", "same-origin")
    .header("vary", "accept-encoding")
  const accepted = request.headers["accept-encoding"]?.toString() ?? ""
  const encoding =
    forms.br !== undefined && accepts(accepted, "br")
      ? "br"
      : forms.gzip !== undefined && accepts(accepted, "gzip")
        ? "gzip"
        : null
  // A strong tag names one sequence of bytes, and each encoding is another one.
  const etag = encoding === null ? forms.etag : `${forms.etag.slice(0, -1)}-${encoding}"`
  reply.header("etag", etag)
  const known = request.headers["if-none-match"]?.split(",").map(tag => tag.trim().replace(/^W\//, ""))
  if (known?.includes(etag) === true || known?.includes("*") === true) return reply.code(304).send()
  if (encoding !== null) reply.header("content-encoding", encoding)
  return reply
    .code(200)
    .type(forms.type)
    .send(encoding === null ? forms.plain : forms[encoding])
}

function accepts(header: string, encoding: string): boolean {
  return header.split(",").some(entry => {
    const [name = "", ...parameters] = entry.trim().toLowerCase().split(";")
    const refused = parameters.some(parameter => /^\s*q=0(?:\.0*)?\s*$/.test(parameter))
    return name.trim() === encoding && !refused
  })
}
