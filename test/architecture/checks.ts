// Holds sources against the walls. Every check returns sentences, each of which says what is wrong where and
// what to do; none means that all is well. It reads no files, so that a fixture is checked like the real thing.

import { isBuiltin } from "node:module"
import { matchesGlob, posix } from "node:path"
import type { Source } from "./source.ts"
import { BANS, COLUMNS, NEVER_IMPORTED, PACKAGES, TOOLS, WALLS } from "./walls.ts"

function matchesAny(path: string, globs: readonly string[]): boolean {
  return globs.some(glob => matchesGlob(path, glob))
}

function isTest(path: string): boolean {
  return path.startsWith("test/") || !path.includes("/")
}

/** Imports that cross a wall. */
export function wallProblems(source: Source): string[] {
  const { path } = source
  const wall = WALLS.find(({ files }) => matchesAny(path, files))
  if (wall === undefined) {
    return [`${path} stands in no room: say in test/architecture/walls.ts what its folder may import`]
  }
  const problems: string[] = []
  for (const { target, typesOnly, line } of source.imports) {
    const where = `${path}:${line} imports ${target}`
    if (NEVER_IMPORTED.includes(target)) {
      problems.push(`${where}, which runs as a thread of its own and is never imported`)
    } else if (target.startsWith("node:")) {
      if (wall.node !== undefined && !wall.node.includes(target)) problems.push(`${where}: ${wall.instead}`)
    } else if (isBuiltin(target)) problems.push(`${where}: write node:${target}`)
    else if (isPath(target)) {
      if (matchesAny(target, wall.may)) continue
      if (!matchesAny(target, wall.mayTypes ?? [])) problems.push(`${where}: ${wall.instead}`)
      else if (!typesOnly) problems.push(`${where} as code, where only types may cross: ${wall.instead}`)
    } else if (!isTest(path) && !matchesAny(path, PACKAGES[target] ?? [])) {
      problems.push(
        `${where}: test/architecture/walls.ts does not let this file use that package; go through one that may, or add it there with its reason`,
      )
    }
  }
  return problems
}

function isPath(target: string): boolean {
  return /\.(m?ts|tsx|mjs|json|css|svg|sql)$/.test(target)
}

function columnOf(path: string): { readonly folder: string; readonly domain: string } | null {
  const folder = COLUMNS.folders.find(folder => posix.dirname(path) === folder)
  const domain = COLUMNS.domains.find(domain => posix.basename(path) === `${domain}.ts`)
  return folder === undefined || domain === undefined ? null : { folder, domain }
}

/** Domains that know each other. */
export function columnProblems(source: Source): string[] {
  const own = columnOf(source.path)
  if (own === null) return []
  return source.imports.flatMap(({ target, line }) => {
    const other = columnOf(target)
    if (other === null || other.domain === own.domain) return []
    return [
      `${source.path}:${line} imports ${target}: ${own.domain} knows nothing of ${other.domain}; what both need belongs into a file of its own`,
    ]
  })
}

/** Names where they have no business. */
export function banProblems(source: Source): string[] {
  const { path } = source
  return BANS.filter(({ files }) => matchesAny(path, files)).flatMap(({ names, instead, except = [] }) => {
    const excepted = except.filter(({ file }) => file === path).map(({ name }) => name)
    const banned = names.filter(name => !excepted.includes(name))
    const used = source.uses.filter(({ name }) => banned.includes(name))
    const imported = source.imports.filter(
      ({ target, names }) => banned.includes(target) || names.some(name => banned.includes(name)),
    )
    return [
      ...used.map(({ name, line }) => `${path}:${line} uses ${name}: ${instead}`),
      ...imported.map(
        ({ target, line }) => `${path}:${line} takes from ${target} what it may not: ${instead}`,
      ),
    ]
  })
}

/** Exceptions that nothing needs any more, or whose page is missing. */
export function exceptionProblems(sources: readonly Source[], pages: readonly string[]): string[] {
  const walls = WALLS.flatMap(({ files, page }) =>
    page === undefined || pages.includes(page)
      ? []
      : [`docs/decisions/${page} is missing, which decides what ${files.join()} may import`],
  )
  const names = BANS.flatMap(({ except = [] }) => except).flatMap(({ file, name, page }) => {
    const source = sources.find(({ path }) => path === file)
    const used =
      source?.uses.some(use => use.name === name) === true ||
      source?.imports.some(({ names }) => names.includes(name)) === true
    return [
      ...(used ? [] : [`${file} does not use ${name}: take the exception out of test/architecture/walls.ts`]),
      ...(pages.includes(page)
        ? []
        : [`docs/decisions/${page} is missing, which excepts ${name} in ${file}`]),
    ]
  })
  return [...walls, ...names]
}

const OPENING_LINES_MIN = 2
const OPENING_LINES_MAX = 5

/** How a file opens and what it exports. */
export function shapeProblems({ path, openingLines, defaultExport }: Source): string[] {
  const problems: string[] = []
  if (openingLines < OPENING_LINES_MIN || openingLines > OPENING_LINES_MAX) {
    problems.push(
      `${path} opens with ${openingLines} comment lines: say in ${OPENING_LINES_MIN} to ${OPENING_LINES_MAX} what it holds and what it must never do (a drawing may follow after an empty comment line)`,
    )
  }
  if (defaultExport !== null && !matchesGlob(path, "{*,web/*}.config.ts")) {
    problems.push(`${path}:${defaultExport} exports a default: give it a name`)
  }
  return problems
}

export interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
}

/** Packages that nobody uses, that are not pinned, or that stand in the wrong list. */
export function packageProblems(sources: readonly Source[], manifest: Manifest): string[] {
  const importedBy = (name: string, test: boolean): boolean =>
    sources.some(
      source => isTest(source.path) === test && source.imports.some(({ target }) => target === name),
    )
  // The page is built into files: what it is made of is not needed where it is served.
  const bundled = (name: string): boolean =>
    sources.some(
      ({ path, imports }) => path.startsWith("web/") && imports.some(({ target }) => target === name),
    )
  const problems: string[] = []
  const all = { ...manifest.dependencies, ...manifest.devDependencies }
  for (const [name, range] of Object.entries(all)) {
    if (!/^\d+\.\d+\.\d+$/.test(range))
      problems.push(`package.json: ${name} is ${range}: pin one exact version`)
  }
  for (const name of Object.keys(manifest.dependencies)) {
    if (importedBy(name, false)) continue
    problems.push(
      `package.json: no file of the product imports ${name}: take it out, or move it to devDependencies`,
    )
  }
  for (const name of Object.keys(manifest.devDependencies)) {
    const typed = name.startsWith("@types/") && name.slice("@types/".length) in all
    if (name in TOOLS || typed || importedBy(name, true) || bundled(name)) continue
    problems.push(
      `package.json: nothing imports ${name}: take it out, or say in test/architecture/walls.ts what it is for`,
    )
  }
  return problems
}

/** Options of the configuration that are declared and never read. */
export function optionProblems(sources: readonly Source[], options: readonly string[]): string[] {
  const read = new Set(
    sources
      .filter(({ path }) => !isTest(path) && path !== "broker/config.ts")
      .flatMap(({ uses }) => uses.map(({ name }) => name)),
  )
  return options
    .filter(option => !read.has(`.${option}`))
    .map(option => `broker/config.ts declares ${option} and nobody reads it: use it or take it out`)
}

/** Migrations that do not follow each other. */
export function migrationProblems(files: readonly string[], index: Source): string[] {
  const problems: string[] = []
  const numbered = files.filter(file => file !== "index.ts").sort()
  for (const [at, file] of numbered.entries()) {
    const number = String(at + 1).padStart(4, "0")
    if (!file.startsWith(`${number}-`))
      problems.push(
        `broker/storage/migrations/${file}: the next number is ${number}, none may be left out or given twice`,
      )
  }
  const imported = index.imports.map(({ target }) => posix.basename(target))
  if (imported.join() !== numbered.join()) {
    problems.push(
      `${index.path} imports ${imported.join(", ")}: import every migration, in the order of their numbers`,
    )
  }
  return problems
}

/** Rules by prefix and number, as docs/PROTOCOL.md declares them. */
export function rulesOf(page: string): string[] {
  return [...page.matchAll(/\*\*([A-Z]{1,3}-\d+)\*\*/g)].map(match => match[1]!)
}

/** Rules that are declared twice or leave a number out. */
export function ruleProblems(rules: readonly string[]): string[] {
  const last = new Map<string, number>()
  return rules.flatMap(rule => {
    const [prefix, number] = rule.split("-") as [string, string]
    const expected = (last.get(prefix) ?? 0) + 1
    last.set(prefix, Number(number))
    return Number(number) === expected
      ? []
      : [`docs/PROTOCOL.md declares ${rule} where ${prefix}-${expected} would be next`]
  })
}

/** Curves of elliptic cryptography look like rules of permissions. */
const NOT_RULES: ReadonlySet<string> = new Set(["P-256", "P-384", "P-521"])

/** Rules that are cited and do not exist. Comments cite anywhere, tests at the beginning of their names. */
export function citationProblems(
  source: Source,
  rules: readonly string[],
  pages: readonly string[],
): string[] {
  const prefixes = new Set(rules.map(rule => rule.split("-", 1)[0]!))
  const known = new Set(rules)
  const cited: { readonly id: string; readonly line: number }[] = []
  const collect = (text: string, line: number): void => {
    for (const [, id, prefix] of text.matchAll(/(?<![\w-])(([A-Z]{1,3})-\d+)\b/g))
      if (prefixes.has(prefix!)) cited.push({ id: id!, line })
  }
  // What another document numbers is named with that document.
  for (const { text, line } of source.comments) if (!/admin-api|operator\.md/.test(text)) collect(text, line)
  // Tests of the operator carry the acceptance ids of its own page.
  if (isTest(source.path) && !/^test\/(operator|cluster)\//.test(source.path)) {
    for (const { text, line } of source.texts) {
      const head = /^[A-Z]{1,3}-\d+[^:]*:/.exec(text)
      if (head !== null) collect(head[0], line)
    }
  }
  const problems = cited
    .filter(({ id }) => !known.has(id) && !NOT_RULES.has(id))
    .map(({ id, line }) => `${source.path}:${line} cites ${id}, which docs/PROTOCOL.md does not have`)
  for (const { text, line } of source.comments) {
    for (const [, page] of text.matchAll(/(?:docs\/)?decisions\/(\d{4}[\w-]*\.md)/g)) {
      if (!pages.includes(page!))
        problems.push(`${source.path}:${line} cites docs/decisions/${page}, which is missing`)
    }
  }
  return problems
}

/** Decisions that share a number or leave one out. */
export function decisionProblems(pages: readonly string[]): string[] {
  return [...pages].sort().flatMap((page, at) => {
    const number = String(at + 1).padStart(4, "0")
    return page.startsWith(`${number}-`)
      ? []
      : [`docs/decisions/${page}: the next number is ${number}, none may be left out or given twice`]
  })
}

/** Links of a page that lead nowhere. `exists` is asked for paths of the repository. */
export function linkProblems(page: string, text: string, exists: (path: string) => boolean): string[] {
  const links = [...text.matchAll(/\]\(([^)\s#]+)(?:#[^)]*)?\)|(?:src|srcset)="([^"]+)"/g)]
  return links
    .map(match => match[1] ?? match[2]!)
    .filter(link => !/^[a-z]+:/.test(link))
    .map(link => posix.join(posix.dirname(page), link))
    .filter(path => !exists(path))
    .map(path => `${page} links to ${path}, which is not there`)
}
