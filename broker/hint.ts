// The name that somebody probably meant: for messages about names that do not exist. It must never decide
// anything; a name that is not known stays unknown.

/** More typing mistakes than this, or more than a third of the name, and it is another name. */
const MISTAKES_MAX = 3

/** How many letters have to be changed, added, dropped or swapped with their neighbour. */
function distance(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, column) => column)]
  for (let row = 1; row <= a.length; row++) {
    const current = [row]
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1] ? 0 : 1
      let least = Math.min(
        rows[row - 1]![column]! + 1,
        current[column - 1]! + 1,
        rows[row - 1]![column - 1]! + same,
      )
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1])
        least = Math.min(least, rows[row - 2]![column - 2]! + 1)
      current.push(least)
    }
    rows.push(current)
  }
  return rows[a.length]![b.length]!
}

/** The known name nearest to this one, or null where none is near. */
export function nearest(name: string, known: Iterable<string>): string | null {
  let best: string | null = null
  let least = Math.min(MISTAKES_MAX, Math.floor(name.length / 3)) + 1
  for (const candidate of known) {
    if (Math.abs(candidate.length - name.length) >= least) continue
    const mistakes = distance(name, candidate)
    if (mistakes < least) {
      least = mistakes
      best = candidate
    }
  }
  return best
}
