// A thousand admin reads a second, sent evenly, until it is ended: what operators and pages do to a broker.
// A process of its own; it says so on standard output once it reads.

import { Agent, get } from "node:http"

const [, , port] = process.argv
const PER_SECOND = 1_000
const EVERY_MS = 10
const PATHS = ["stats", "queue/stats", "notice/stats", "lease/stats", "admin/sessions"]
const agent = new Agent({ keepAlive: true, maxSockets: 16 })

let sent = 0
function read(): void {
  const path = `/api/v1/${PATHS[sent++ % PATHS.length]}`
  get({ host: "127.0.0.1", port, path, agent }, response => {
    if (response.statusCode !== 200) throw new Error(`${path}: ${response.statusCode}`)
    response.resume()
  })
}

const begun = performance.now()
setInterval(() => {
  const wanted = ((performance.now() - begun) / 1_000) * PER_SECOND
  while (sent < wanted) read()
}, EVERY_MS)
console.log("reading")
