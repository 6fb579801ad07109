// Keys and tokens of issuers other than the development secret, made anew for each run. What is minted here may
// be wrong on purpose; it must never be taken for an example of how tokens should look.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from "jose"

export interface KeyPair {
  readonly alg: string
  readonly kid: string
  readonly privateKey: CryptoKey
  /** The public half, as a key set shows it. */
  readonly jwk: JWK
  readonly privateJwk: JWK
}

export async function newKey(alg: string, kid: string): Promise<KeyPair> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
  return {
    alg,
    kid,
    privateKey,
    jwk: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" },
    privateJwk: { ...(await exportJWK(privateKey)), kid, alg, use: "sig" },
  }
}

export function keySet(...keys: readonly object[]): string {
  return JSON.stringify({ keys: keys.map(key => ("jwk" in key ? key.jwk : key)) })
}

export const EVERYTHING = ["kv", "queue", "rpc", "lease", "notice", "stream", "schedule"].map(
  domain => `${domain}://**#*`,
)

export interface SignOptions {
  /** Set over the usual claims; undefined leaves one out. */
  readonly claims?: Readonly<Record<string, unknown>>
  /** Set over the usual header; undefined leaves one out. */
  readonly header?: Readonly<Record<string, unknown>>
  readonly nowMs?: number
}

/** A token signed with a key pair, or with a shared secret. */
export function sign(
  key: KeyPair | string,
  { claims = {}, header = {}, nowMs = Date.now() }: SignOptions = {},
): Promise<string> {
  const now = Math.floor(nowMs / 1_000)
  const usual = { iss: "", aud: "fitz", sub: "dev", tid: "dev", iat: now, exp: now + 3_600 }
  const payload: JWTPayload = { ...usual, permissions: EVERYTHING, ...claims }
  const usualHeader =
    typeof key === "string" ? { alg: "HS256", typ: "JWT" } : { alg: key.alg, typ: "JWT", kid: key.kid }
  return new SignJWT(payload)
    .setProtectedHeader({ ...usualHeader, ...header } as { alg: string })
    .sign(typeof key === "string" ? new TextEncoder().encode(key) : key.privateKey)
}

/** A token put together by hand, for what no library would sign. */
export function forge(header: object, claims: object, signature: Uint8Array | string = ""): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url")
  const signed = typeof signature === "string" ? signature : Buffer.from(signature).toString("base64url")
  return `${part(header)}.${part(claims)}.${signed}`
}

/** An issuer's web server: what it answers can be changed, and how often it was asked is counted. */
export interface Issuer {
  readonly url: string
  asked: number
  answer: (response: ServerResponse, request: IncomingMessage) => void
  close(): Promise<void>
}

export async function openIssuer(first: string): Promise<Issuer> {
  const server = createServer((request, response) => {
    issuer.asked++
    issuer.answer(response, request)
  })
  await new Promise<void>(resolve => server.listen(0, "127.0.0.1", resolve))
  const issuer: Issuer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`,
    asked: 0,
    answer: response => response.end(first),
    close: () => {
      server.closeAllConnections()
      return new Promise(resolve => server.close(() => resolve()))
    },
  }
  return issuer
}
