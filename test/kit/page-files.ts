// What has to be there before the page can be tested: its files, built from the sources as they are now, and a
// Chromium, which is installed where that is possible. It tests nothing.

import { execFileSync } from "node:child_process"
import { existsSync } from "node:fs"
import { buildPage } from "../../web/build.ts"

export const CHROMIUM = "/usr/bin/chromium"

export async function setup(): Promise<void> {
  const built = await buildPage(line => console.log(line))
  if (!built) throw new Error("the page could not be built")
  if (existsSync(CHROMIUM) || process.getuid?.() !== 0 || !existsSync("/usr/bin/apt-get")) return
  console.log("installing chromium for the tests of the page")
  const options = { stdio: "ignore", env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } } as const
  try {
    execFileSync("apt-get", ["update"], options)
    execFileSync("apt-get", ["install", "-y", "--no-install-recommends", "chromium"], options)
  } catch (error) {
    console.log(`chromium could not be installed: ${String(error)}`)
  }
}
