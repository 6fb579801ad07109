// The examples as the README runs them: a broker, a token from the command line, the program. What they print
// is what a reader is promised to see.

import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, expect, test } from "vitest"
import { type BrokerProcess, newFolder, removeFolder, startProcess } from "../kit/process.ts"

const ROOT = fileURLToPath(new URL("../../", import.meta.url))
const SECRET = { FITZ_JWT_HMAC_SECRET: "a secret of this test alone" }

let folder: string
let broker: BrokerProcess

beforeAll(async () => {
  folder = newFolder()
  broker = await startProcess({ ...SECRET, FITZ_STORAGE_PATH: folder })
})

afterAll(async () => {
  await broker.kill()
  removeFolder(folder)
})

interface Ended {
  readonly code: number
  readonly output: string
  readonly errors: string
}

function run(program: string, words: readonly string[], environment: Record<string, string>): Promise<Ended> {
  return new Promise(resolve => {
    execFile(
      process.execPath,
      [program, ...words],
      { cwd: ROOT, env: environment },
      (error, output, errors) => {
        resolve({ code: error === null ? 0 : Number(error.code), output, errors })
      },
    )
  })
}

test("examples/hello.ts says hello with a token from fitz token", async () => {
  const token = await run("cli/fitz.mjs", ["token"], SECRET)
  expect(token.errors).toBe("")
  const url = `ws://127.0.0.1:${broker.port}/ws`
  const hello = await run("examples/hello.ts", [url], { FITZ_TOKEN: token.output.trim() })
  expect(hello.errors).toBe("")
  expect(hello.output.trim().split("\n")).toEqual([
    "heard:    notice://hello/examples/greeting → Hello, everybody.",
    "enqueued: queue://hello/examples/jobs as message 1",
    "reserved: message 1 → Work for later.",
    "completed; it is gone for good",
  ])
  expect(hello.code).toBe(0)
})

test("examples/hello.ts says what is wrong with a bad token", async () => {
  const url = `ws://127.0.0.1:${broker.port}/ws`
  const hello = await run("examples/hello.ts", [url], { FITZ_TOKEN: "no token" })
  expect(hello.errors).toContain("is FITZ_TOKEN a good token?")
  expect(hello.output).toBe("")
  expect(hello.code).toBe(1)
})
