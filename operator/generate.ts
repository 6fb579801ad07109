// `npm run generate`: prints everything that follows from the kinds: crds/, the charts' copies, the field reference, the
// catalogue of conditions, the roles. Prints only; a test fails where a file on disk says something else.

import { mkdirSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { stringify } from "yaml"
import { crd, GROUP, KINDS, openApi, type SchemaProps } from "./kinds/crd.ts"
import { roles } from "./kinds/rbac.ts"
import { CATALOGUE } from "./plan/conditions.ts"
import { EVENT_REASONS } from "./plan/types.ts"

export const ROOT = fileURLToPath(new URL("..", import.meta.url))

const yaml = (value: unknown): string => stringify(value, { aliasDuplicateObjects: false, lineWidth: 110 })
const PRINTED = "# Printed by `npm run generate` from operator/kinds. Do not edit.\n"

/** Every printed file by its path in the repository. */
export function printed(): Map<string, string> {
  const out = new Map<string, string>()
  for (const kind of KINDS) {
    const text = `${PRINTED}${yaml(crd(kind))}`
    out.set(`crds/${GROUP}_${kind.plural}.yaml`, text)
    out.set(`charts/fitz-operator/files/crds/${GROUP}_${kind.plural}.yaml`, text)
  }
  for (const mode of ["cluster", "single"] as const) {
    const objects = roles(mode, "fitz-system", [])
    out.set(`charts/fitz-operator/files/rbac/${mode}.yaml`, `${PRINTED}${objects.map(yaml).join("---\n")}`)
  }
  out.set("docs/RESOURCES.md", reference())
  out.set("docs/CONDITIONS.md", conditions())
  return out
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ")
}

function typeOf(node: SchemaProps): string {
  if (node["x-kubernetes-int-or-string"] === true) return "quantity"
  if (node["x-kubernetes-preserve-unknown-fields"] === true) return "object"
  if (node.enum !== undefined) return node.enum.map(value => `\`${String(value)}\``).join(", ")
  if (node.items !== undefined) return `list of ${typeOf(node.items)}`
  if (node.additionalProperties !== undefined) return "map of text"
  if (node.type === "string") return "text"
  return String(node.type)
}

function rows(node: SchemaProps, path: string): string[] {
  const out: string[] = []
  for (const [name, child] of Object.entries(node.properties ?? {})) {
    const here = path === "" ? name : `${path}.${name}`
    const rules = (child["x-kubernetes-validations"] as { message: string }[] | undefined) ?? []
    const ids = [...new Set(rules.map(({ message }) => message.split(":")[0]))].join(", ")
    const simple = child.default !== undefined && typeof child.default !== "object"
    const fallback = simple
      ? `\`${String(child.default)}\``
      : node.required?.includes(name) === true
        ? "required"
        : ""
    out.push(
      `| \`${here}\` | ${cell(typeOf(child))} | ${cell(fallback)} | ${cell(child.description ?? "")} | ${ids} |`,
    )
    out.push(...rows(child, here))
    if (child.items !== undefined) out.push(...rows(child.items, `${here}[]`))
  }
  return out
}

function reference(): string {
  const parts = [
    "# Resources",
    "",
    "Printed by `npm run generate` from `operator/kinds`. Rules are judged by the API server; their ids are the ids of the tests.",
  ]
  for (const kind of KINDS) {
    parts.push("", `## ${kind.kind}`, "", kind.about, "")
    if (kind.rootRules.length > 0)
      parts.push(...kind.rootRules.map(({ id, message }) => `- **${id}** ${message}`), "")
    for (const [title, schema] of [
      ["spec", kind.spec],
      ["status", kind.status],
    ] as const) {
      const node = openApi(schema)
      const own = (node["x-kubernetes-validations"] as { message: string }[] | undefined) ?? []
      parts.push(`### ${kind.kind} ${title}`, "")
      if (own.length > 0) parts.push(...own.map(({ message }) => `- ${message}`), "")
      parts.push(
        "| Field | Type | Default | Meaning | Rules |",
        "|---|---|---|---|---|",
        ...rows(node, ""),
        "",
      )
    }
  }
  return `${parts.join("\n").trimEnd()}\n`
}

function conditions(): string {
  const parts = [
    "# Conditions and events",
    "",
    "Printed by `npm run generate` from `operator/plan/conditions.ts`. The lists are closed: nothing else is ever written.",
  ]
  for (const [type, { polarity, reasons }] of Object.entries(CATALOGUE)) {
    parts.push("", `## ${type}`, "", `Polarity: ${polarity}.`, "")
    parts.push("| Reason | Status | On | Meaning and what to do |", "|---|---|---|---|")
    for (const [reason, { status, on, advice }] of Object.entries(reasons))
      parts.push(`| \`${reason}\` | ${status} | ${on.join(", ")} | ${cell(advice)} |`)
  }
  parts.push("", "## Events", "", EVENT_REASONS.map(reason => `\`${reason}\``).join(" "))
  return `${parts.join("\n")}\n`
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [path, text] of printed()) {
    const file = join(ROOT, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
  }
}
