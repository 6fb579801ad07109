// What a run came to, on its last line, why anything was left out, and what had to be tried twice. A test that is skipped without a
// reason counts as failed: nobody would ever find out what it no longer proves.

import type { SerializedError } from "vitest"
import type { Reporter, TestCase, TestModule, TestRunEndReason } from "vitest/node"

export class Counts implements Reporter {
  onTestRunEnd(
    modules: readonly TestModule[],
    errors: readonly SerializedError[],
    _reason: TestRunEndReason,
  ): void {
    let passed = 0
    let failed = errors.length
    const skipped: string[] = []
    for (const module of modules) {
      failed += module.errors().length
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        const again = test.diagnostic()?.retryCount ?? 0
        if (again > 0) console.log(`tried again: ${module.relativeModuleId} > ${test.fullName}`)
        if (state === "passed") passed++
        else if (state === "failed") failed++
        else {
          const reason = reasonOf(test)
          if (reason === null) failed++
          skipped.push(
            `skipped: ${module.relativeModuleId} > ${test.fullName}: ${reason ?? "NO REASON GIVEN"}`,
          )
        }
      }
    }
    for (const line of skipped) console.log(line)
    if (failed > 0) process.exitCode = 1
    const left = skipped.length > 0 ? `, ${skipped.length} skipped` : ""
    console.log(`${passed} passed, ${failed} failed${left}`)
  }
}

function reasonOf(test: TestCase): string | null {
  const result = test.result()
  return "note" in result && typeof result.note === "string" && result.note !== "" ? result.note : null
}
