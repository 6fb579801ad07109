// `fitz health`: asks a broker how it is. Exit code 0 when it is ready, 1 when it is not or does not answer.
// It asks over HTTP like everybody else and needs no credentials.

import type { Command } from "commander"

const TIMEOUT_MS = 5_000

export function addHealth(program: Command): void {
  const port = process.env["FITZ_HTTP_PORT"] ?? "8080"
  program
    .command("health")
    .description("ask a broker whether it is ready")
    .option("--url <url>", "where it listens", `http://127.0.0.1:${port}`)
    .action(async ({ url }: { url: string }) => {
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
