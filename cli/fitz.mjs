#!/usr/bin/env node
// Starts the program: the emitted one where it is there, else the source. Plain JavaScript without imports
// of ours, so that a Node that is too old still reads it and can say so.

const [major] = process.versions.node.split(".").map(Number)
if (major < 24) {
  process.stderr.write(
    `fitz needs Node 24 or newer, this is ${process.versions.node}.\n` +
      "In a checkout, `npm ci` brings it along and every npm script uses it: npm start, npm run fitz -- <command>.\n",
  )
  process.exit(1)
}

// The first process of a container gets no signal that it has no handler for. `serve` has its own, later.
process.once("SIGTERM", () => process.exit(143))

const { existsSync } = await import("node:fs")
const emitted = new URL("../dist/cli/main.js", import.meta.url)
const source = new URL("./main.ts", import.meta.url)
const { main } = await import(existsSync(source) ? source.href : emitted.href)
process.exitCode = await main(process.argv)
