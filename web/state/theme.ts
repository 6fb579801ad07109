// Light, dark, or as the reader's machine is. A preference, not a secret: it outlives the tab, and it is the only
// thing of this page that does.

import { Store } from "./store.ts"

export type Theme = "system" | "light" | "dark"

const STORAGE_KEY = "fitz.theme"
const ORDER: readonly Theme[] = ["system", "light", "dark"]

function kept(): Theme {
  const value = localStorage.getItem(STORAGE_KEY)
  return ORDER.find(theme => theme === value) ?? "system"
}

function apply(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset["theme"]
  else document.documentElement.dataset["theme"] = theme
}

export const chosenTheme = new Store<Theme>(kept())

const darkness = matchMedia("(prefers-color-scheme: dark)")

/** What the page looks like now. */
export const theme = new Store<"light" | "dark">(seen())

function seen(): "light" | "dark" {
  const chosen = chosenTheme.get()
  return chosen === "system" ? (darkness.matches ? "dark" : "light") : chosen
}

apply(chosenTheme.get())
darkness.addEventListener("change", () => theme.set(seen()))

export function nextTheme(): void {
  const next = ORDER[(ORDER.indexOf(chosenTheme.get()) + 1) % ORDER.length]!
  localStorage.setItem(STORAGE_KEY, next)
  chosenTheme.set(next)
  apply(next)
  theme.set(seen())
}
