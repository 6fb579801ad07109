// The `fitz` command: its verbs and their options. Each verb lives in a file of its own; what they print on
// a failure is one line without a stack, and the exit code says the rest.

import { Command, CommanderError } from "commander"
import { addBackup } from "./backup.ts"
import { addHealth } from "./health.ts"
import { addServe } from "./serve.ts"
import { addToken } from "./token.ts"
import { version } from "./version.ts"

/** The command line or the configuration is wrong: trying again without a change is of no use. */
const USAGE = 2

/** Runs the command line and returns the exit code. */
export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command("fitz")
    .description("Fitz: a message broker with seven primitives behind one port")
    .version(version())
    // An option belongs to the verb that it stands behind, also where two verbs know its name.
    .enablePositionalOptions()
    .exitOverride()
  addServe(program)
  addToken(program)
  addHealth(program)
  addBackup(program)
  try {
    await program.parseAsync(argv as string[])
    return typeof process.exitCode === "number" ? process.exitCode : 0
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE
    process.stderr.write(`fitz: ${error instanceof Error ? error.message : String(error)}\n`)
    return 1
  }
}
