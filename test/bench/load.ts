// The process that makes load: told what to do in one argument, says what it came to on its last line. It
// must never share a process with the system that it measures.

import { closeSockets, type Result } from "./loads/sockets.ts"

const [, , name, spec] = process.argv
const { run } = (await import(`./loads/${name}.ts`)) as { run(load: unknown): Promise<Result> }
// The first run warms up this process as well as the server: both are programs that compile as they go.
await run(JSON.parse(spec!))
await closeSockets()
console.log(JSON.stringify(await run(JSON.parse(spec!))))
process.exit(0)
