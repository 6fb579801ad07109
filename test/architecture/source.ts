// A source file as the walls see it: what it imports, which names it uses, how it opens, what it cites. Read by
// a real parser, types included, because a type import crosses a wall as well. It judges nothing.

import { posix } from "node:path"
import { type Comment, parseSync } from "oxc-parser"

export interface Import {
  /** A path of the repository (`broker/world.ts`), a package (`ws`), or a module of Node (`node:net`). */
  readonly target: string
  /** Nothing of it is left when types are stripped. */
  readonly typesOnly: boolean
  /** What is taken from it, as far as that is said. */
  readonly names: readonly string[]
  readonly line: number
}

export interface Use {
  /** `Date`, `Math.random`, `Date.now`, `new Date()`, `async`, `.memberName`. */
  readonly name: string
  readonly line: number
}

export interface Source {
  readonly path: string
  readonly imports: readonly Import[]
  readonly uses: readonly Use[]
  /** Lines of the comment that the file begins with, up to its first empty line. */
  readonly openingLines: number
  /** Where a default export stands, or null. */
  readonly defaultExport: number | null
  readonly comments: readonly { readonly text: string; readonly line: number }[]
  /** Literal texts without substitutions, as names of tests are. */
  readonly texts: readonly { readonly text: string; readonly line: number }[]
}

/** Any node of the tree: only its kind and its place are relied upon, the rest is looked at as it comes. */
interface Node {
  readonly type: string
  readonly start: number
  readonly [field: string]: unknown
}

function isNode(value: unknown): value is Node {
  return value !== null && typeof value === "object" && typeof (value as { type?: unknown }).type === "string"
}

/** The file's imports target by target, seen from the root of the repository. */
function targetOf(path: string, specifier: string): string {
  return specifier.startsWith(".") ? posix.join(posix.dirname(path), specifier) : packageOf(specifier)
}

/** `vitest/config` is of the package `vitest`, `@fastify/websocket/x` of `@fastify/websocket`. */
function packageOf(specifier: string): string {
  if (specifier.startsWith("node:")) return specifier
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/")
}

/** How many comment lines the file begins with. A `#!` line does not count, an empty comment line ends it. */
function openingOf(text: string, comments: readonly Comment[]): number {
  const lines = text.split("\n")
  let at = lines[0]?.startsWith("#!") === true ? 1 : 0
  const [first] = comments
  if (first?.type === "Block")
    return lines[at]?.startsWith("/*") === true ? first.value.split("\n").length : 0
  const begun = at
  while (/^\/\/ \S/.test(lines[at] ?? "")) at++
  return at - begun
}

/** Reads one file. Throws where it does not parse. */
export function readSource(path: string, text: string): Source {
  const { program, module, comments, errors } = parseSync(path, text)
  if (errors.length > 0) throw new Error(`${path} does not parse: ${errors[0]!.message}`)
  const starts = [0]
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1)
  const lineOf = (offset: number): number => {
    const next = starts.findIndex(start => start > offset)
    return next < 0 ? starts.length : next
  }

  const imports: Import[] = []
  for (const { moduleRequest, entries, start } of module.staticImports) {
    imports.push({
      target: targetOf(path, moduleRequest.value),
      typesOnly: entries.length > 0 && entries.every(entry => entry.isType),
      names: entries.map(({ importName }) => importName.name ?? importName.kind),
      line: lineOf(start),
    })
  }
  let defaultExport: number | null = null
  for (const { entries } of module.staticExports) {
    for (const { moduleRequest, isType, start, exportName } of entries) {
      if (exportName.kind === "Default") defaultExport = lineOf(start)
      if (moduleRequest === null) continue
      const target = targetOf(path, moduleRequest.value)
      imports.push({ target, typesOnly: isType, names: [], line: lineOf(start) })
    }
  }

  const uses: Use[] = []
  const texts: { text: string; line: number }[] = []
  const use = (name: string, node: Node): void => {
    uses.push({ name, line: lineOf(node.start) })
  }
  const visit = (node: Node): void => {
    const { type } = node
    if (node["async"] === true || type === "AwaitExpression") use("async", node)
    if (type === "ImportExpression") {
      // The beginning of a path that is put together is where it leads to.
      const specifier = literalOf(node["source"])
      if (specifier !== null)
        imports.push({
          target: targetOf(path, specifier),
          typesOnly: false,
          names: [],
          line: lineOf(node.start),
        })
    }
    if (type === "TSImportType") {
      const specifier = literalOf(node["source"])
      if (specifier !== null)
        imports.push({
          target: targetOf(path, specifier),
          typesOnly: true,
          names: [],
          line: lineOf(node.start),
        })
    }
    if (type === "NewExpression" && (node["arguments"] as unknown[]).length === 0) {
      const name = nameOf(node["callee"])
      if (name !== null) use(`new ${name}()`, node)
    }
    if (type === "Literal" || type === "TemplateLiteral") {
      const literal = literalOf(node)
      if (literal !== null) texts.push({ text: literal, line: lineOf(node.start) })
    }
    if (type === "Identifier") use(node["name"] as string, node)
    if (type === "MemberExpression" && node["computed"] === false) {
      const name = nameOf(node["property"])!
      const owner = nameOf(node["object"])
      use(`.${name}`, node)
      if (owner !== null) use(`${owner}.${name}`, node)
      visit(node["object"] as Node)
      return
    }
    if (
      (type === "Property" || type.endsWith("Definition") || type.startsWith("TSPropertySignature")) &&
      node["computed"] !== true
    ) {
      const name = nameOf(node["key"])
      if (name !== null) use(`.${name}`, node)
    }
    for (const [field, value] of Object.entries(node)) {
      const named = field === "key" && node["computed"] !== true
      if (named || NAMES_ONLY.has(type)) continue
      for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) visit(child)
    }
  }
  visit(program as unknown as Node)

  return {
    path,
    imports,
    uses,
    openingLines: openingOf(text, comments),
    defaultExport,
    comments: comments.map(({ value, start }) => ({ text: value, line: lineOf(start) })),
    texts,
  }
}

/** What stands in these are names, not uses of what they name. */
const NAMES_ONLY: ReadonlySet<string> = new Set(["ImportDeclaration", "ExportAllDeclaration"])

function nameOf(value: unknown): string | null {
  return isNode(value) && value.type === "Identifier" ? (value["name"] as string) : null
}

/** The text of a literal; of a template as far as its first substitution. */
function literalOf(value: unknown): string | null {
  if (!isNode(value)) return null
  if (value.type === "Literal") return typeof value["value"] === "string" ? value["value"] : null
  if (value.type !== "TemplateLiteral") return null
  const [first] = value["quasis"] as readonly { value: { cooked: string | null } }[]
  return first?.value.cooked ?? null
}
