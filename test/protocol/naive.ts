// Routes, patterns and permissions once more, from the specification's words (data-plane.md §4.3, §5.1) and with
// no thought for speed: what the tests compare protocol/route.ts with. Must never import it.

/** Is the text a route or pattern of this scheme? */
export function isRoute(text: string, scheme: string): boolean {
  const start = `${scheme}://`
  if (!text.startsWith(start)) return false
  if (Buffer.byteLength(text, "utf8") > 4_096) return false
  const segments = text.slice(start.length).split("/")
  if (segments.length > 64) return false
  for (const character of text) {
    const code = character.codePointAt(0)!
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return false
  }
  return segments.every(
    (segment, at) =>
      segment.length > 0 &&
      (!segment.includes("*") || segment === "*" || segment === "**") &&
      !(segment === "**" && segments[at + 1] === "**"),
  )
}

/** `*` is exactly one segment, `**` zero or more; anything else is itself. */
export function matchesNaively(pattern: readonly string[], route: readonly string[]): boolean {
  const [part, ...parts] = pattern
  const [segment, ...segments] = route
  if (part === undefined) return segment === undefined
  if (part === "**")
    return matchesNaively(parts, route) || (segment !== undefined && matchesNaively(pattern, segments))
  return segment !== undefined && (part === "*" || part === segment) && matchesNaively(parts, segments)
}

/** Every concrete route of these segments with exactly so many of them. */
export function allRoutes(alphabet: readonly string[], depth: number): string[][] {
  if (depth === 0) return [[]]
  return allRoutes(alphabet, depth - 1).flatMap(front => alphabet.map(last => [...front, last]))
}
