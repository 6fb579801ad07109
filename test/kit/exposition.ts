// A strict reader of Prometheus' classic text format: whatever a scraper might stumble over is an error here.
// Written from the format's description; it must not know any metric.

export interface Sampled {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export interface Family {
  readonly name: string
  readonly type: string
  readonly help: string
  readonly samples: readonly Sampled[]
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(?:,|$)/gy

function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {}
  LABEL.lastIndex = 0
  while (LABEL.lastIndex < text.length) {
    const match = LABEL.exec(text)
    if (match === null) throw new Error(`labels do not parse: ${text}`)
    const [, name = "", value = ""] = match
    if (name in labels) throw new Error(`label ${name} twice: ${text}`)
    labels[name] = value.replaceAll(/\\(.)/g, (_, escaped: string) => (escaped === "n" ? "\n" : escaped))
  }
  return labels
}

function numberOf(text: string): number {
  if (text === "+Inf") return Number.POSITIVE_INFINITY
  if (text === "-Inf") return Number.NEGATIVE_INFINITY
  const value = Number(text)
  if (text !== "NaN" && Number.isNaN(value)) throw new Error(`${text} is no number`)
  return value
}

/** Which family a sample belongs to: a histogram's and a summary's have endings. */
function belongs(sample: string, { name, type }: { name: string; type: string }): boolean {
  if (sample === name) return type !== "histogram"
  if (type === "histogram") return [`${name}_bucket`, `${name}_sum`, `${name}_count`].includes(sample)
  return type === "summary" && [`${name}_sum`, `${name}_count`].includes(sample)
}

/** Reads a whole exposition. Throws at the first thing that is not right. */
export function readExposition(text: string): ReadonlyMap<string, Family> {
  if (!text.endsWith("\n")) throw new Error("the last line has no end")
  const families = new Map<string, { name: string; type: string; help: string; samples: Sampled[] }>()
  const seen = new Set<string>()
  let current: { name: string; type: string; help: string; samples: Sampled[] } | null = null
  for (const line of text.split("\n")) {
    if (line === "") continue
    if (line.startsWith("# HELP ")) {
      const [, , name = "", ...words] = line.split(" ")
      if (!NAME.test(name) || families.has(name)) throw new Error(`bad or repeated family: ${line}`)
      current = { name, type: "", help: words.join(" "), samples: [] }
      if (current.help === "") throw new Error(`${name} has no help`)
      families.set(name, current)
      continue
    }
    if (line.startsWith("# TYPE ")) {
      const [, , name = "", type = ""] = line.split(" ")
      if (current?.name !== name || current.type !== "") throw new Error(`a type out of place: ${line}`)
      if (!["counter", "gauge", "histogram", "summary"].includes(type))
        throw new Error(`no such type: ${line}`)
      current.type = type
      continue
    }
    const [, name = "", labels = "", value = ""] = SAMPLE.exec(line) ?? []
    if (current === null || current.type === "" || !belongs(name, current))
      throw new Error(`out of place: ${line}`)
    const sample = { name, labels: labelsOf(labels), value: numberOf(value) }
    const key = `${name}${JSON.stringify(Object.entries(sample.labels).sort())}`
    if (seen.has(key)) throw new Error(`the same series twice: ${line}`)
    seen.add(key)
    current.samples.push(sample)
  }
  for (const family of families.values()) if (family.type === "histogram") checkHistogram(family)
  return families
}

/** Buckets rise, end with +Inf, and that one is the count. */
function checkHistogram({ name, samples }: Family): void {
  const groups = Map.groupBy(samples, ({ labels: { le: _, ...rest } }) => JSON.stringify(rest))
  for (const group of groups.values()) {
    const buckets = group.filter(sample => sample.name === `${name}_bucket`)
    const bounds = buckets.map(({ labels }) => numberOf(labels["le"] ?? ""))
    const counts = buckets.map(({ value }) => value)
    const rising = (values: readonly number[], strictly: boolean): boolean =>
      values.every((value, at) => at === 0 || (strictly ? value > values[at - 1]! : value >= values[at - 1]!))
    if (!rising(bounds, true) || bounds.at(-1) !== Number.POSITIVE_INFINITY)
      throw new Error(`${name}: bounds`)
    if (!rising(counts, false)) throw new Error(`${name}: buckets are not cumulative`)
    const count = group.find(sample => sample.name === `${name}_count`)
    if (count?.value !== counts.at(-1)) throw new Error(`${name}: the count is not the last bucket`)
    if (!group.some(sample => sample.name === `${name}_sum`)) throw new Error(`${name} has no sum`)
  }
}

/** The value of one series; fails where there is none. */
export function numberIn(
  families: ReadonlyMap<string, Family>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  const wanted = JSON.stringify(Object.entries(labels).sort())
  for (const family of families.values()) {
    for (const sample of family.samples) {
      if (sample.name === name && JSON.stringify(Object.entries(sample.labels).sort()) === wanted)
        return sample.value
    }
  }
  throw new Error(`there is no ${name}${JSON.stringify(labels)}`)
}
