// Where the files of the web page lie. Nothing but their place: the broker serves them, and does without where
// there are none.

import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

/** In a checkout beside the sources, in what is shipped beside the program; null where they were not built. */
export function pageFolder(): string | null {
  const folder = ["../dist/web/", "../web/"]
    .map(path => fileURLToPath(new URL(path, import.meta.url)))
    .find(path => existsSync(`${path}assets`))
  return folder ?? null
}
