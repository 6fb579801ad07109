// Certificates for loopback, made anew by the machine's openssl. They certify nothing but that a test has the right
// one in its hands, and they live as long as their folder.

import { execFile } from "node:child_process"
import { X509Certificate } from "node:crypto"
import { readFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"

const run = promisify(execFile)

export interface Certificate {
  readonly cert: string
  readonly key: string
  /** What a handshake shows of it. */
  readonly fingerprint: string
}

/** Is there an openssl? Without one nothing here works, and tests say so instead. */
export async function canMakeCertificates(): Promise<boolean> {
  return run("openssl", ["version"]).then(
    () => true,
    () => false,
  )
}

/** A self-signed certificate for localhost and 127.0.0.1. */
export async function newCertificate(folder: string, name: string): Promise<Certificate> {
  const [keyFile, certFile] = [join(folder, `${name}.new.key`), join(folder, `${name}.new.crt`)]
  await run("openssl", [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"],
    ...["-subj", `/CN=${name}`, "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
    ...["-keyout", keyFile, "-out", certFile],
  ])
  const [cert, key] = [readFileSync(certFile, "utf8"), readFileSync(keyFile, "utf8")]
  return { cert, key, fingerprint: new X509Certificate(cert).fingerprint256 }
}

/** Puts a certificate where a broker looks for it, each file at once. */
export function install(folder: string, { cert, key }: Pick<Certificate, "cert" | "key">): void {
  for (const [name, content] of [
    ["tls.crt", cert],
    ["tls.key", key],
  ] as const) {
    writeFileSync(join(folder, `${name}.next`), content)
    renameSync(join(folder, `${name}.next`), join(folder, name))
  }
}
