// Programs of Debian's that some tests use: where they are missing they are installed, where that is not
// possible the reason is for the skip. It must never install anything else than what it is asked for.

import { execFileSync } from "node:child_process"
import { existsSync } from "node:fs"

function found(program: string): string | null {
  for (const folder of (process.env["PATH"] ?? "").split(":")) {
    if (existsSync(`${folder}/${program}`)) return `${folder}/${program}`
  }
  return null
}

/** The program's path, or why there is none. */
export function debianProgram(
  program: string,
  name: string,
): { readonly path: string } | { readonly missing: string } {
  const path = found(program)
  if (path !== null) return { path }
  try {
    const options = { stdio: "ignore", env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" } } as const
    execFileSync("apt-get", ["update", "-q"], options)
    execFileSync("apt-get", ["install", "-q", "-y", "--no-install-recommends", name], options)
  } catch (error) {
    return { missing: `${program} is not here and ${name} cannot be installed: ${String(error)}` }
  }
  const installed = found(program)
  return installed === null ? { missing: `${name} brought no ${program}` } : { path: installed }
}
