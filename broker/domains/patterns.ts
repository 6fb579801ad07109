// Things filed under a pattern, found by the route they match. A tree of segments, walked with all
// reachable nodes at once, so that no set of patterns makes a look-up explode. It holds; it decides nothing.

import type { Route } from "../../protocol/route.ts"

class Node<T> {
  readonly literals = new Map<string, Node<T>>()
  one: Node<T> | null = null
  many: Node<T> | null = null
  readonly items: T[] = []
  readonly parent: Node<T> | null
  readonly segment: string
  seen = 0

  constructor(parent: Node<T> | null, segment: string) {
    this.parent = parent
    this.segment = segment
  }

  child(segment: string): Node<T> | null {
    if (segment === "*") return this.one
    if (segment === "**") return this.many
    return this.literals.get(segment) ?? null
  }

  grow(segment: string): Node<T> {
    const child = new Node<T>(this, segment)
    if (segment === "*") this.one = child
    else if (segment === "**") this.many = child
    else this.literals.set(segment, child)
    return child
  }

  drop(segment: string): void {
    if (segment === "*") this.one = null
    else if (segment === "**") this.many = null
    else this.literals.delete(segment)
  }

  get bare(): boolean {
    return this.items.length === 0 && this.literals.size === 0 && this.one === null && this.many === null
  }
}

const REMEMBERED_MAX = 4_096

export class PatternIndex<T> {
  private readonly root = new Node<T>(null, "")
  private readonly remembered = new Map<string, readonly T[]>()
  private readonly compare: (a: T, b: T) => number
  private walk = 0
  private count = 0
  private patterns = 0

  /** @param compare the order in which matches are returned */
  constructor(compare: (a: T, b: T) => number) {
    this.compare = compare
  }

  get size(): number {
    return this.count
  }

  /** Different patterns among them. */
  get patternCount(): number {
    return this.patterns
  }

  add(pattern: Route, item: T): void {
    let node = this.root
    for (const segment of pattern.segments) node = node.child(segment) ?? node.grow(segment)
    if (node.items.push(item) === 1) this.patterns++
    this.count++
    this.remembered.clear()
  }

  remove(pattern: Route, item: T): void {
    let node: Node<T> | null = this.root
    for (const segment of pattern.segments) {
      node = node.child(segment)
      if (node === null) return
    }
    const at = node.items.indexOf(item)
    if (at < 0) return
    node.items.splice(at, 1)
    if (node.items.length === 0) this.patterns--
    this.count--
    while (node.parent !== null && node.bare) {
      node.parent.drop(node.segment)
      node = node.parent
    }
    this.remembered.clear()
  }

  /** Everything filed under a pattern that matches this concrete route, in order. Not to be changed. */
  match(route: Route): readonly T[] {
    const known = this.remembered.get(route.text)
    if (known !== undefined) return known
    const found = this.search(route).sort(this.compare)
    if (this.remembered.size >= REMEMBERED_MAX) this.remembered.clear()
    this.remembered.set(route.text, found)
    return found
  }

  private search(route: Route): T[] {
    let active: Node<T>[] = []
    this.walk++
    this.reach(this.root, active)
    for (const segment of route.segments) {
      const next: Node<T>[] = []
      this.walk++
      for (const node of active) {
        if (node.segment === "**") this.reach(node, next)
        if (node.one !== null) this.reach(node.one, next)
        const literal = node.literals.get(segment)
        if (literal !== undefined) this.reach(literal, next)
      }
      active = next
    }
    return active.flatMap(node => node.items)
  }

  /** Adds the node, and what its `**` reaches by matching nothing. */
  private reach(node: Node<T>, into: Node<T>[]): void {
    if (node.seen === this.walk) return
    node.seen = this.walk
    into.push(node)
    if (node.many !== null) this.reach(node.many, into)
  }
}
