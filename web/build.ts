// Builds the page into dist/web, unless what is there was built from the same sources: `npm ci` and `npm start`
// run this every time, so it must be quick when there is nothing to do. It never fails an installation that
// has no tools to build with; the broker runs without a page.

import { createHash } from "node:crypto"
import { existsSync, globSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

const ROOT = fileURLToPath(new URL("..", import.meta.url))
const OUT = `${ROOT}dist/web`
/** Beside the files, so that it is never served. */
const STAMP = `${ROOT}dist/web.stamp`

function digest(): string {
  const hash = createHash("sha256")
  const sources = globSync("web/**/*.{ts,tsx,css,html,svg}", { cwd: ROOT }).sort()
  for (const path of [...sources, "package-lock.json"]) {
    hash.update(`${path}\0`).update(readFileSync(`${ROOT}${path}`))
  }
  return hash.digest("hex")
}

/** Builds where that is needed; resolves to whether the page is there. */
export async function buildPage(say: (line: string) => void): Promise<boolean> {
  const wanted = digest()
  if (existsSync(`${OUT}/index.html`) && existsSync(STAMP) && readFileSync(STAMP, "utf8") === wanted) {
    return true
  }
  const vite = await import("vite").catch((error: unknown) => {
    // Installed without the tools for development, as an image does.
    if (error instanceof Error && "code" in error && error.code === "ERR_MODULE_NOT_FOUND") return null
    throw error
  })
  if (vite === null) {
    say("the page is not built: vite is not installed. The broker runs without it.")
    return existsSync(`${OUT}/index.html`)
  }
  const begun = Date.now()
  // Built aside and moved at the end: a broker that starts meanwhile sees all of it or none.
  const aside = `${OUT}.${process.pid}`
  mkdirSync(`${ROOT}dist`, { recursive: true })
  await vite.build({ configFile: `${ROOT}web/vite.config.ts`, logLevel: "warn", build: { outDir: aside } })
  rmSync(OUT, { recursive: true, force: true })
  renameSync(aside, OUT)
  writeFileSync(STAMP, wanted)
  say(`the page is built (${((Date.now() - begun) / 1_000).toFixed(1)} s)`)
  return true
}

if (import.meta.main) await buildPage(line => process.stdout.write(`${line}\n`))
