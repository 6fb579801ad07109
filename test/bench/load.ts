// The process that makes load: told what to do in one argument, says what it came to on its last line.

import type { Result } from "./loads/sockets.ts"

const [, , name, spec] = process.argv
const { run } = (await import(`./loads/${name}.ts`)) as { run(load: unknown): Promise<Result> }
console.log(JSON.stringify(await run(JSON.parse(spec!))))
process.exit(0)
