// docs/METRICS.md, printed from the registry: run by `npm run generate`, compared by a test. It starts no
// broker: what a metric is called and means does not depend on its value.

import { writeFileSync } from "node:fs"
import { Metrics } from "./admin/metrics.ts"
import { DoorTally } from "./engine/doors.ts"
import { Rates } from "./engine/rates.ts"
import { Status } from "./engine/status.ts"
import { Tally } from "./engine/tally.ts"

const HEAD = `# Metrics

Printed by \`npm run generate\` from what the broker registers; a test compares. \`/metrics\` is the classic Prometheus text format,
\`/v0/metrics\` the same log and process under the names of the second document (JSON where \`Accept: application/json\` asks for it),
\`GET /api/v1/metrics\` the first as data. Histograms have \`_bucket\`, \`_sum\` and \`_count\`. No label holds anything that a client has
chosen. Names of the runtime and the process (\`process_*\`, \`nodejs_*\`) are the client library's own.
`

/** The whole page. */
export async function metricsPage(): Promise<string> {
  const idle = () => 0
  const metrics = new Metrics({
    status: new Status("", idle, idle),
    live: new Tally(),
    durable: new Tally(),
    engine: { framesReceived: 0, sessionCount: 0, depth: 0, depthPeak: 0, holds: 0 },
    doors: new DoorTally(),
    rates: new Rates(["fires"], idle),
    now: idle,
    connections: idle,
    storageBytes: idle,
  })
  const ours = (await metrics.catalogue()).filter(({ name }) => /^(fitz|topics)_/.test(name))
  const tables = ["/metrics", "/v0/metrics"].map(surface => {
    const rows = ours.filter(row => row.surface === surface)
    const lines = rows.map(({ name, type, labels, help }) => {
      const names = labels.map(label => `\`${label}\``).join(", ")
      return `| \`${name}\` | ${type} | ${names} | ${help} |`
    })
    return [`## ${surface}`, "", "| name | type | labels | meaning |", "|---|---|---|---|", ...lines].join(
      "\n",
    )
  })
  return `${HEAD}\n${tables.join("\n\n")}\n`
}

if (import.meta.main) writeFileSync(new URL("../docs/METRICS.md", import.meta.url), await metricsPage())
