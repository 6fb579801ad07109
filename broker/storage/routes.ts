// Routes as the store keeps them: text that was checked before it was written. What does not parse here was
// not written by us, and nothing is guessed about it.

import { parseRoute, type Route, type Scheme } from "../../protocol/route.ts"

/** The route of a stored text. One that does not parse means that the file is not ours. */
export function storedRoute(text: string, scheme: Scheme): Route {
  const route = parseRoute(text, scheme)
  if (typeof route === "string") throw new Error(`the stored route ${JSON.stringify(text)} is ${route}`)
  return route
}

/** The texts of an area's routes: from the first on, before the second. */
export function rangeOf(scheme: Scheme, realm: string, area: string): [string, string] {
  const prefix = `${scheme}://${realm}/${area}`
  // What comes after a slash is "0".
  return [`${prefix}/`, `${prefix}0`]
}
