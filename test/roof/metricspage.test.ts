// docs/METRICS.md says what the broker registers, to the letter.
// It must not be edited by hand: `npm run generate` prints it.

import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { metricsPage } from "../../broker/metricspage.ts"

test("docs/METRICS.md is what the registry says", async () => {
  const page = readFileSync(new URL("../../docs/METRICS.md", import.meta.url), "utf8")
  expect(page, "run `npm run generate`").toBe(await metricsPage())
})
