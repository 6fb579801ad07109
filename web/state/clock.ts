// The page's own clock: one tick a second for everything that shows an age. It decides nothing, and nobody else
// keeps a timer for that.

import { Store, useStore } from "./store.ts"

const TICK_MS = 1_000
const now = new Store(Date.now())

setInterval(() => now.set(Date.now()), TICK_MS)
document.addEventListener("visibilitychange", () => now.set(Date.now()))

export function useNow(): number {
  return useStore(now)
}
