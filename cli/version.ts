// The version of this program, from the one place where it stands: package.json. Nothing else may spell it
// out, or the two would drift apart.

import { existsSync, readFileSync } from "node:fs"

/** The version in package.json, which lies one folder up in a checkout and two in what is shipped. */
export function version(): string {
  const file = ["../package.json", "../../package.json"]
    .map(path => new URL(path, import.meta.url))
    .find(existsSync)
  if (file === undefined) throw new Error("package.json is missing")
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version
}
