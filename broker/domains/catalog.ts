// An inventory: what there is, by realm, area and resource, counted while it changes, so that a page of it is
// found without looking at the rest. Names are put in order when somebody asks, and stay so until one is new.

import type { Page, PageAsk } from "./views/common.ts"

class Names<T> {
  readonly children = new Map<string, T>()
  private sorted: string[] | null = []

  get(name: string): T | undefined {
    return this.children.get(name)
  }

  set(name: string, child: T): void {
    this.children.set(name, child)
    this.sorted = null
  }

  delete(name: string): void {
    this.children.delete(name)
    this.sorted = null
  }

  /** In order. Not to be changed. */
  get names(): readonly string[] {
    this.sorted ??= [...this.children.keys()].sort(inOrder)
    return this.sorted
  }
}

function inOrder(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

class Area<Leaf> extends Names<Leaf> {
  readonly family: number
  readonly realm: string
  readonly name: string
  /** Listed among those that may have to go. */
  listed = false

  constructor(family: number, realm: string, name: string) {
    super()
    this.family = family
    this.realm = realm
    this.name = name
  }
}

class Realm<Leaf> extends Names<Area<Leaf>> {
  leaves = 0
}

class Family<Leaf> extends Names<Realm<Leaf>> {
  leaves = 0
}

/** Empty areas stay until somebody looks, since they often fill again at once; so many at most. */
const EMPTY_MAX = 1_024

/** @template Leaf what is kept of one resource of one family */
export class Catalog<Leaf> {
  private readonly families = new Map<number, Family<Leaf>>()
  private empty: Area<Leaf>[] = []

  get(family: number, [realm, area, resource]: readonly string[]): Leaf | undefined {
    return this.families.get(family)?.get(realm!)?.get(area!)?.get(resource!)
  }

  add(family: number, [realm, area, resource]: readonly string[], leaf: Leaf): void {
    let all = this.families.get(family)
    if (all === undefined) {
      all = new Family()
      this.families.set(family, all)
    }
    let inRealm = all.get(realm!)
    if (inRealm === undefined) {
      inRealm = new Realm()
      all.set(realm!, inRealm)
    }
    let inArea = inRealm.get(area!)
    if (inArea === undefined) {
      inArea = new Area(family, realm!, area!)
      inRealm.set(area!, inArea)
    }
    if (inArea.get(resource!) === undefined) {
      inRealm.leaves++
      all.leaves++
    }
    inArea.set(resource!, leaf)
  }

  remove(family: number, [realm, area, resource]: readonly string[]): void {
    const all = this.families.get(family)
    const inRealm = all?.get(realm!)
    const inArea = inRealm?.get(area!)
    if (all === undefined || inRealm === undefined || inArea?.get(resource!) === undefined) return
    inArea.delete(resource!)
    inRealm.leaves--
    all.leaves--
    if (inArea.children.size > 0 || inArea.listed) return
    inArea.listed = true
    this.empty.push(inArea)
    if (this.empty.length >= EMPTY_MAX) this.sweep()
  }

  /** Forgets areas that are empty, and what is empty with them. */
  private sweep(): void {
    if (this.empty.length === 0) return
    const { empty } = this
    this.empty = []
    for (const area of empty) {
      area.listed = false
      if (area.children.size > 0) continue
      const all = this.families.get(area.family)
      const inRealm = all?.get(area.realm)
      if (all === undefined || inRealm === undefined) continue
      inRealm.delete(area.name)
      if (inRealm.children.size > 0) continue
      all.delete(area.realm)
      if (all.children.size === 0) this.families.delete(area.family)
    }
  }

  /** How many resources there are; those of one name in two families are two. */
  count(family: number | null, realm: string | null): number {
    let sum = 0
    for (const all of this.of(family)) sum += realm === null ? all.leaves : (all.get(realm)?.leaves ?? 0)
    return sum
  }

  /** Families in which a realm has anything. */
  familiesOf(realm: string): number[] {
    this.sweep()
    const families = [...this.families].filter(([, all]) => all.get(realm) !== undefined)
    return families.map(([family]) => family).sort((a, b) => a - b)
  }

  private of(family: number | null): Family<Leaf>[] {
    if (family === null) return [...this.families].sort(([a], [b]) => a - b).map(([, all]) => all)
    const all = this.families.get(family)
    return all === undefined ? [] : [all]
  }

  realms(family: number | null): readonly string[] {
    this.sweep()
    return joined(this.of(family))
  }

  areas(family: number | null, realm: string): readonly string[] {
    this.sweep()
    return joined(this.of(family).map(all => all.get(realm)))
  }

  resources(family: number | null, realm: string, area: string): readonly string[] {
    return joined(this.of(family).map(all => all.get(realm)?.get(area)))
  }

  /** What there is of one resource, by family. */
  leaves(family: number | null, segments: readonly string[]): Leaf[] {
    const families = family === null ? [...this.families.keys()].sort((a, b) => a - b) : [family]
    return families.map(one => this.get(one, segments)).filter(leaf => leaf !== undefined)
  }

  /**
   * A page of all leaves in the order realm, area, resource, family. Whole realms that lie before it are
   * skipped by their counts.
   */
  page(family: number | null, realm: string | null, { offset, limit }: PageAsk): Page<Leaf> {
    const rows: Leaf[] = []
    let skip = offset
    const realms = realm === null ? this.realms(family) : [realm]
    for (const name of realms) {
      const leaves = this.count(family, name)
      if (skip >= leaves) {
        skip -= leaves
        continue
      }
      for (const area of this.areas(family, name)) {
        for (const resource of this.resources(family, name, area)) {
          for (const leaf of this.leaves(family, [name, area, resource])) {
            if (skip > 0) skip--
            else rows.push(leaf)
            if (rows.length === limit) return { total: this.count(family, realm), rows }
          }
        }
      }
    }
    return { total: this.count(family, realm), rows }
  }
}

/** The names under several nodes, each once, in order. */
function joined(nodes: readonly (Names<unknown> | undefined)[]): readonly string[] {
  const present = nodes.filter(node => node !== undefined)
  if (present.length <= 1) return present[0]?.names ?? []
  return [...new Set(present.flatMap(node => node.names))].sort(inOrder)
}

/** One page of a list that is at hand. */
export function pageOf<Row>(all: readonly Row[], { offset, limit }: PageAsk): Page<Row> {
  return { total: all.length, rows: all.slice(offset, offset + limit) }
}

/** One page of what is gone through in order, where `total` is known. */
export function pageFrom<Row>(all: Iterable<Row>, total: number, { offset, limit }: PageAsk): Page<Row> {
  const rows: Row[] = []
  let at = 0
  for (const row of all) {
    if (at++ < offset) continue
    if (rows.length >= limit) break
    rows.push(row)
  }
  return { total, rows }
}
