// The walls, held against every source file of the project, and the house rules that a machine can check. What
// fails prints the sentence to act on. The fixtures below prove that each check can fail.

import { existsSync, globSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import { OPTIONS } from "../broker/config.ts"
import {
  banProblems,
  citationProblems,
  columnProblems,
  decisionProblems,
  exceptionProblems,
  linkProblems,
  type Manifest,
  migrationProblems,
  optionProblems,
  packageProblems,
  ruleProblems,
  rulesOf,
  shapeProblems,
  wallProblems,
} from "./architecture/checks.ts"
import { readSource, type Source } from "./architecture/source.ts"

const ROOT = fileURLToPath(new URL("../", import.meta.url))
const ELSEWHERE = ["node_modules", "dist", "coverage", ".git"]

function files(pattern: string): string[] {
  const exclude = (path: string): boolean => path.split("/").some(part => ELSEWHERE.includes(part))
  const found = globSync(pattern, { cwd: ROOT, exclude })
  // What a broker of this checkout keeps.
  return found.filter(path => !path.startsWith("data/")).sort()
}

function text(path: string): string {
  return readFileSync(`${ROOT}${path}`, "utf8")
}

const unreadable: string[] = []
const sources = files("**/*.{ts,tsx,mts,mjs}").flatMap(path => {
  try {
    return [readSource(path, text(path))]
  } catch (error) {
    unreadable.push(String(error))
    return []
  }
})
const protocol = text("docs/PROTOCOL.md")
const rules = rulesOf(protocol)
const pages = readdirSync(`${ROOT}docs/decisions`)
const MIGRATIONS = "broker/storage/migrations"

function each(check: (source: Source) => string[]): string[] {
  return sources.flatMap(check)
}

describe("the house", () => {
  test("parses", () => {
    expect(unreadable).toEqual([])
  })
  test("is there", () => {
    expect(sources.length).toBeGreaterThan(100)
    expect(rules.length).toBeGreaterThan(200)
  })
  test("no import crosses a wall", () => {
    expect(each(wallProblems)).toEqual([])
  })
  test("no domain knows another", () => {
    expect(each(columnProblems)).toEqual([])
  })
  test("clocks, chance and the like stand where they belong", () => {
    expect(each(banProblems)).toEqual([])
  })
  test("every exception is needed and has its page", () => {
    expect(exceptionProblems(sources, pages)).toEqual([])
  })
  test("every file opens with what it holds, and none exports a default", () => {
    expect(each(shapeProblems)).toEqual([])
  })
  test("every package is pinned and used", () => {
    expect(packageProblems(sources, JSON.parse(text("package.json")) as Manifest)).toEqual([])
  })
  test("every option is read", () => {
    expect(optionProblems(sources, Object.keys(OPTIONS))).toEqual([])
  })
  test("migrations follow each other", () => {
    const index = sources.find(({ path }) => path === `${MIGRATIONS}/index.ts`)!
    expect(migrationProblems(readdirSync(`${ROOT}${MIGRATIONS}`), index)).toEqual([])
  })
  test("rules are numbered without gaps", () => {
    expect(ruleProblems(rules)).toEqual([])
  })
  test("every rule and decision that is cited exists", () => {
    expect(each(source => citationProblems(source, rules, pages))).toEqual([])
  })
  test("decisions are numbered without gaps", () => {
    expect(decisionProblems(pages)).toEqual([])
  })
  test("links between pages lead somewhere", () => {
    const problems = files("**/*.md").flatMap(page =>
      linkProblems(page, text(page), path => existsSync(`${ROOT}${path}`)),
    )
    expect(problems).toEqual([])
  })
})

const HEADER = "// One.\n// Two.\n\n"

function fixture(path: string, code: string): Source {
  return readSource(path, HEADER + code)
}

describe("the checks can fail", () => {
  const crossing: readonly [path: string, code: string, complaint: string][] = [
    [
      "protocol/x.ts",
      'import { World } from "../broker/world.ts"',
      "protocol/x.ts:4 imports broker/world.ts: protocol/ is words",
    ],
    ["protocol/x.ts", 'import { Socket } from "node:net"', "imports node:net"],
    [
      "broker/domains/x.ts",
      'import type { Database } from "../storage/database.ts"',
      "a domain is pure rules",
    ],
    ["broker/domains/x.ts", 'export * from "../engine/lane.ts"', "imports broker/engine/lane.ts"],
    ["broker/engine/x.ts", 'const x = await import("../storage/kv.ts")', "the engine knows neither"],
    ["broker/engine/x.ts", 'import { join } from "path"', "write node:path"],
    [
      "broker/storage/x.ts",
      'import { Backlog } from "../domains/backlog.ts"',
      "as code, where only types may cross",
    ],
    [
      "broker/storage/x.ts",
      'import { type A, B } from "../domains/backlog.ts"',
      "as code, where only types may cross",
    ],
    ["broker/storage/x.ts", 'import Sqlite from "better-sqlite3"', "does not let this file use that package"],
    ["broker/transport/x.ts", 'import type { KvStore } from "../domains/kv.ts"', "a door moves bytes"],
    ["broker/transport/x.ts", 'import { readFileSync } from "node:fs"', "imports node:fs"],
    ["broker/admin/x.ts", 'type S = import("../storage/meta.ts").S', "imports broker/storage/meta.ts"],
    ["broker/domains/x.ts", 'import { Cron } from "croner"', "does not let this file use that package"],
    ["broker/x.ts", 'import { main } from "../cli/main.ts"', "the roof puts the broker together"],
    ["broker/x.ts", 'import "./thread.ts"', "is never imported"],
    ["client/x.ts", 'import { World } from "../broker/world.ts"', "the client stands on protocol/"],
    ["cli/x.ts", 'import { OPTIONS } from "../broker/config.ts"', "only fitz serve is the broker"],
    ["cli/backup.ts", 'import { KvStore } from "../broker/storage/kv.ts"', "nothing else of the broker"],
    [
      "web/x.ts",
      'import { CONNECT } from "../protocol/messages/index.ts"',
      "nothing but the public admin API",
    ],
    ["operator/kinds/x.ts", 'import { plan } from "../plan/plan.ts"', "schema and types"],
    ["operator/plan/x.ts", 'import { loop } from "../loop/loop.ts"', "a plan is a function"],
    ["operator/loop/x.ts", 'import { Grants } from "../../protocol/permission.ts"', "nothing of the broker"],
    [
      "test/kit/bytes.ts",
      'import { Writer } from "../../protocol/bytes.ts"',
      "judges the product from outside",
    ],
    [
      "test/model/kv.ts",
      'import { Overlay } from "../../broker/domains/overlay.ts"',
      "it would agree with every bug",
    ],
    ["shed/x.ts", "export const x = 1", "stands in no room"],
  ]
  test.each(crossing)("%s with %s", (path, code, complaint) => {
    expect(wallProblems(fixture(path, code)).join()).toContain(complaint)
  })

  test("and let pass what may pass", () => {
    const fine: readonly [string, string][] = [
      ["broker/storage/x.ts", 'import type { KvStore } from "../domains/kv.ts"'],
      ["broker/storage/x.ts", 'import { type KvStore } from "../domains/kv.ts"'],
      ["broker/domains/x.ts", 'import { Reader } from "../../protocol/bytes.ts"'],
      ["broker/x.ts", 'import { Lane } from "./engine/lane.ts"'],
      ["cli/serve.ts", 'import { Broker } from "../broker/broker.ts"'],
      ["test/model/x.test.ts", 'import { Lane } from "../../broker/engine/lane.ts"'],
    ]
    for (const [path, code] of fine) expect(wallProblems(fixture(path, code))).toEqual([])
  })

  test("a domain that knows another", () => {
    const code = 'import { KvDomain } from "./kv.ts"\nimport { Due } from "./due.ts"'
    expect(columnProblems(fixture("broker/domains/queue.ts", code))).toEqual([
      "broker/domains/queue.ts:4 imports broker/domains/kv.ts: queue knows nothing of kv; what both need belongs into a file of its own",
    ])
    expect(columnProblems(fixture("broker/domains/kv.ts", code))).toEqual([])
  })

  const banned: readonly [path: string, code: string, name: string][] = [
    ["broker/domains/x.ts", "const now: Date = at", "Date"],
    ["broker/domains/x.ts", "const x = Math.random()", "Math.random"],
    ["broker/domains/x.ts", "async function f() {}", "async"],
    ["broker/domains/x.ts", "const f = async () => 1", "async"],
    ["broker/domains/x.ts", "class A { async f() {} }", "async"],
    ["broker/domains/x.ts", "let p: Promise<void>", "Promise"],
    ["broker/domains/x.ts", "setTimeout(work, 1)", "setTimeout"],
    ["broker/engine/x.ts", "const f = setImmediate", "setImmediate"],
    ["broker/engine/x.ts", "const b = Buffer.alloc(1)", "Buffer"],
    ["broker/storage/x.ts", "const t = performance.now()", "performance"],
    ["broker/transport/x.ts", 'const x = process.env["X"]', "process"],
    ["broker/x.ts", "const now = Date.now()", "Date.now"],
    ["broker/x.ts", "const now = new Date()", "new Date()"],
    ["broker/x.ts", 'import { randomBytes } from "node:crypto"', "node:crypto"],
    ["protocol/x.ts", "const b: Buffer = x", "Buffer"],
    ["test/x/y.test.ts", "await new Promise(go => setTimeout(go, 100))", "setTimeout"],
    [
      "test/x/y.test.ts",
      'import { setTimeout as pause } from "node:timers/promises"',
      "node:timers/promises",
    ],
  ]
  test.each(banned)("%s with %s", (path, code, name) => {
    expect(banProblems(fixture(path, code)).join()).toContain(name)
  })

  test("and let pass what only has such a name", () => {
    const fine: readonly [string, string][] = [
      ["broker/domains/x.ts", "context.random(); socket.setTimeout(1); const x = { Date: 1, process: 2 }"],
      ["broker/transport/x.ts", "this.socket.setTimeout(1)"],
      ["broker/x.ts", "const at = new Date(now).toISOString()"],
      ["broker/world.ts", "const now = Date.now()"],
    ]
    for (const [path, code] of fine) expect(banProblems(fixture(path, code))).toEqual([])
  })

  test("an exception that nothing needs, or without its page", () => {
    const problems = exceptionProblems([], [])
    expect(problems.join()).toContain("broker/bells.ts does not use performance")
    expect(problems.join()).toContain("docs/decisions/0007-busy-poll.md is missing")
    expect(problems.join()).toContain("docs/decisions/0013-backup-reads-the-store.md is missing")
  })

  test("a file that opens with too little or too much, or exports a default", () => {
    const opening = (code: string): string => shapeProblems(readSource("broker/x.ts", code)).join()
    expect(opening("export const x = 1")).toContain("opens with 0 comment lines")
    expect(opening("// One.\n\nexport const x = 1")).toContain("opens with 1 comment lines")
    expect(opening(`${"// More.\n".repeat(6)}export const x = 1`)).toContain("opens with 6")
    expect(opening("#!/usr/bin/env node\n// One.\n// Two.\n//\n//  a ─▶ b\n")).toBe("")
    expect(opening(`${HEADER}export default 1`)).toContain("broker/x.ts:4 exports a default")
    expect(shapeProblems(readSource("vitest.config.ts", `${HEADER}export default 1`))).toEqual([])
  })

  test("a package that is not pinned, not used, or in the wrong list", () => {
    const used = [
      fixture("broker/x.ts", 'import { pino } from "pino"'),
      fixture("test/x.ts", 'import { f } from "fast-check"'),
    ]
    const manifest = {
      dependencies: { pino: "^10.4.0", ws: "8.0.0" },
      devDependencies: { "fast-check": "4.1.0", left: "1.0.0" },
    }
    const problems = packageProblems(used, manifest)
    expect(problems).toHaveLength(3)
    expect(problems.join()).toContain("pino is ^10.4.0: pin one exact version")
    expect(problems.join()).toContain("no file of the product imports ws")
    expect(problems.join()).toContain("nothing imports left")
  })

  test("an option that nobody reads", () => {
    const reader = fixture("broker/x.ts", "const { logLevel } = config; f(config.tcpPort)")
    const test = fixture("test/x.ts", "f(config.httpPort)")
    expect(optionProblems([reader, test], ["logLevel", "tcpPort", "httpPort"])).toEqual([
      "broker/config.ts declares httpPort and nobody reads it: use it or take it out",
    ])
  })

  test("migrations with a gap, a doubled number, or one that is not imported", () => {
    const index = fixture(`${MIGRATIONS}/index.ts`, 'import { a } from "./0001-a.ts"')
    expect(migrationProblems(["0001-a.ts", "index.ts"], index)).toEqual([])
    expect(migrationProblems(["0001-a.ts", "0003-c.ts"], index).join()).toContain("the next number is 0002")
    expect(migrationProblems(["0001-a.ts", "0001-b.ts"], index).join()).toContain(
      "0001-b.ts: the next number is 0002",
    )
    expect(migrationProblems(["0001-a.ts", "0002-b.ts"], index).join()).toContain("import every migration")
  })

  test("rules and decisions that are declared twice, leave a gap, or are cited and not there", () => {
    expect(ruleProblems(rulesOf("**A-1** x **A-3** y **B-1** **B-1**"))).toHaveLength(2)
    expect(decisionProblems(["0001-a.md", "0003-c.md"]).join()).toContain(
      "0003-c.md: the next number is 0002",
    )
    const cite = (path: string, code: string): string =>
      citationProblems(fixture(path, code), ["Q-1", "P-1"], ["0001-a.md"]).join()
    expect(cite("broker/x.ts", "/** As Q-2 says; UTF-8, P-256, X-9 and Q-1 are fine. */")).toBe(
      "broker/x.ts:4 cites Q-2, which docs/PROTOCOL.md does not have",
    )
    expect(cite("test/x.ts", 'test("Q-1, P-7: both", f); f("P-9 later")')).toContain("cites P-7")
    expect(cite("test/x.ts", 'f("P-9 later")')).toBe("")
    expect(cite("broker/x.ts", "// docs/decisions/0002-b.md")).toContain("cites docs/decisions/0002-b.md")
  })

  test("a link that leads nowhere", () => {
    const page = '[a](x.md) [b](y.md#c) [d](https://example.org) [e](#f) <img src="p.svg">'
    const there = (path: string): boolean => path === "docs/x.md"
    expect(linkProblems("docs/a.md", page, there)).toEqual([
      "docs/a.md links to docs/y.md, which is not there",
      "docs/a.md links to docs/p.svg, which is not there",
    ])
  })

  test("a file that does not parse", () => {
    expect(() => readSource("broker/x.ts", "export const = 1")).toThrow("broker/x.ts does not parse")
  })
})
