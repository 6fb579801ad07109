// `fitz health`: asks a broker how it is. Exit code 0 when it is ready, 1 when it is not or does not answer.
// It asks over HTTP like everybody else and needs no credentials.

import type { Command } from "commander"

const TIMEOUT_MS = 5_000

/** Where a broker started in this environment listens, as seen from this machine. */
function urlFromEnvironment(): string {
  const port = process.env["FITZ_HTTP_PORT"] || "8080"
  const bound = process.env["FITZ_BIND_ADDR"] || "127.0.0.1"
  const host = bound === "0.0.0.0" ? "127.0.0.1" : bound === "::" ? "::1" : bound
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`
}

export function addHealth(program: Command): void {
  program
    .command("health")
    .description("ask a broker whether it is ready")
    .addHelpText("after", "\nA certificate of your own is trusted where NODE_EXTRA_CA_CERTS names its file.")
    .option("--url <url>", "where it listens", urlFromEnvironment())
    .action(async ({ url }: { url: string }) => {
      if (!URL.canParse(url)) throw new Error(`${url} is no URL: it begins with http:// or https://`)
      const answer = await fetch(new URL("/readyz", url), { signal: AbortSignal.timeout(TIMEOUT_MS) }).catch(
        (error: unknown) => {
          const cause =
            error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)
          throw new Error(`${url} does not answer: ${cause}`)
        },
      )
      process.stdout.write(`${await answer.text()}\n`)
      process.exitCode = answer.ok ? 0 : 1
    })
}
