// Realms: labels that exist by being used, and may be declared with limits (docs/PROTOCOL.md, M-28 … M-32). `Realms`
// is what each lane knows of them; `RealmBook` keeps the declarations and lives on the durable lane.

import type { Route } from "../../protocol/route.ts"
import type { Context } from "./domain.ts"
import { meets, type Page, type Refused, refuse } from "./views/common.ts"
import type {
  RealmAnswers,
  RealmCommand,
  RealmDefinition,
  RealmLimits,
  RealmOutcomes,
  RealmQuery,
  RealmRow,
  StoredRealm,
} from "./views/realms.ts"

/** What a lane is told of a declared realm. */
export interface DeclaredRealm {
  readonly limits: RealmLimits
  /** Where the lanes count its registrations. */
  readonly slot: number
}

export type RealmChange =
  | { readonly realm: string; readonly declared: DeclaredRealm }
  | { readonly realm: string; readonly declared: null }

/** Cells for the counts of both lanes. */
export function realmCells(realmsMax: number): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(realmsMax * 2 * Int32Array.BYTES_PER_ELEMENT))
}

/** What one lane knows of realms. */
export class Realms {
  /** Only declared realms may be used. */
  readonly declaredOnly: boolean
  private readonly cells: Int32Array
  private readonly side: 0 | 1
  private readonly declared = new Map<string, DeclaredRealm>()
  /** Registrations of this lane by the first segment of their pattern. */
  private readonly registrations = new Map<string, number>()

  /**
   * @param cells shared by both lanes
   * @param side which of them this is
   */
  constructor(declaredOnly = false, cells: Int32Array = realmCells(1), side: 0 | 1 = 0) {
    this.declaredOnly = declaredOnly
    this.cells = cells
    this.side = side
  }

  /** Nothing is declared. */
  get none(): boolean {
    return this.declared.size === 0
  }

  get(realm: string): DeclaredRealm | undefined {
    return this.declared.get(realm)
  }

  change({ realm, declared }: RealmChange): void {
    const before = this.declared.get(realm)
    if (before !== undefined && before.slot !== declared?.slot) this.publish(before.slot, 0)
    if (declared === null) this.declared.delete(realm)
    else {
      this.declared.set(realm, declared)
      this.publish(declared.slot, this.registrations.get(realm) ?? 0)
    }
  }

  /** May this route be used? Patterns with a wildcard in front may, and see declared realms only. */
  permits(route: Route): boolean {
    if (!this.declaredOnly) return true
    const realm = route.segments[0]!
    return realm === "*" || realm === "**" || this.declared.has(realm)
  }

  /** A realm that a client's token names. */
  permitsRealm(realm: string): boolean {
    return !this.declaredOnly || realm === "" || this.declared.has(realm)
  }

  /** Has the realm of this pattern all the registrations it may have? */
  isFull(pattern: Route): boolean {
    const declared = this.declared.get(pattern.segments[0]!)
    const max = declared?.limits.maxSubscriptions ?? null
    if (declared === undefined || max === null) return false
    const at = declared.slot * 2
    if (at >= this.cells.length) return false
    return Atomics.load(this.cells, at) + Atomics.load(this.cells, at + 1) >= max
  }

  /** A registration has come or gone. */
  registered(pattern: Route, by: 1 | -1): void {
    const realm = pattern.segments[0]!
    if (realm === "*" || realm === "**") return
    const count = (this.registrations.get(realm) ?? 0) + by
    if (count === 0) this.registrations.delete(realm)
    else this.registrations.set(realm, count)
    const declared = this.declared.get(realm)
    if (declared !== undefined) this.publish(declared.slot, count)
  }

  private publish(slot: number, count: number): void {
    const at = slot * 2 + this.side
    if (at < this.cells.length) Atomics.store(this.cells, at, count)
  }

  /** Realms that registrations of this lane name. */
  get used(): Iterable<string> {
    return this.registrations.keys()
  }
}

export interface RealmStore {
  all(): Iterable<StoredRealm>
  /** Stores or replaces; returns the stored form. */
  put(definition: RealmDefinition): StoredRealm
  remove(realm: string): void
}

/** The declarations. */
export class RealmBook {
  private readonly store: RealmStore
  private readonly realms: Realms
  private readonly realmsMax: number
  private readonly known: () => Iterable<string>
  private readonly definitions = new Map<string, StoredRealm>()
  private readonly slots: number[] = []
  private nextSlot = 0
  private changes: RealmChange[] = []

  /** @param known realms that this lane knows by their use */
  constructor(store: RealmStore, realms: Realms, realmsMax: number, known: () => Iterable<string>) {
    this.store = store
    this.realms = realms
    this.realmsMax = realmsMax
    this.known = known
  }

  /** Takes over what is stored. */
  load(): void {
    for (const stored of this.store.all()) {
      this.definitions.set(stored.realm, stored)
      this.tell(stored.realm, { limits: stored.limits, slot: this.takeSlot() })
    }
  }

  /** What has changed since this was last asked, for the other lane. */
  takeChanges(): readonly RealmChange[] {
    const { changes } = this
    if (changes.length > 0) this.changes = []
    return changes
  }

  private takeSlot(): number {
    return this.slots.pop() ?? this.nextSlot++
  }

  private tell(realm: string, declared: DeclaredRealm | null): void {
    const change = { realm, declared }
    this.realms.change(change)
    this.changes.push(change)
  }

  command(command: RealmCommand, context: Context): RealmOutcomes["declare"] | RealmOutcomes["forget"] {
    return command.name === "declare"
      ? this.define(command.definition, command, context)
      : this.forget(command.realm, command, context)
  }

  private define(
    definition: RealmDefinition,
    { condition }: Extract<RealmCommand, { name: "declare" }>,
    context: Context,
  ): RealmOutcomes["declare"] {
    const { realm } = definition
    const before = this.definitions.get(realm)
    if (!meets(condition, before?.etag ?? null)) return PRECONDITION
    if (!context.writable) return FULL_DISK
    if (before === undefined && this.definitions.size >= this.realmsMax) {
      return refuse("definition_limit", `there are ${this.realmsMax} declared realms already`)
    }
    const stored = this.store.put(definition)
    this.definitions.set(realm, stored)
    const declared = this.realms.get(realm)
    const slot = declared?.slot ?? this.takeSlot()
    this.tell(realm, { limits: stored.limits, slot })
    context.journal.undo(() => {
      this.changes.pop()
      if (before === undefined) this.definitions.delete(realm)
      else this.definitions.set(realm, before)
      if (declared === undefined) this.slots.push(slot)
      this.realms.change({ realm, declared: declared ?? null })
    })
    context.wrote("sync")
    return { created: before === undefined, stored }
  }

  private forget(
    realm: string,
    { condition }: Extract<RealmCommand, { name: "forget" }>,
    context: Context,
  ): RealmOutcomes["forget"] {
    const before = this.definitions.get(realm)
    const declared = this.realms.get(realm)
    if (before === undefined || declared === undefined)
      return refuse("not_found", "the realm is not declared")
    if (!meets(condition, before.etag)) return PRECONDITION
    if (!context.writable) return FULL_DISK
    this.store.remove(realm)
    this.definitions.delete(realm)
    this.tell(realm, null)
    this.slots.push(declared.slot)
    context.journal.undo(() => {
      this.slots.pop()
      this.changes.pop()
      this.definitions.set(realm, before)
      this.realms.change({ realm, declared })
    })
    context.wrote("sync")
    return { forgotten: true }
  }

  view(query: RealmQuery): RealmAnswers[keyof RealmAnswers] {
    switch (query.name) {
      case "list":
        return this.list(query)
      case "get":
        return this.get(query.realm, query.also)
      case "known":
        return [...this.names([])]
    }
  }

  private names(also: readonly string[]): string[] {
    return [...new Set([...this.definitions.keys(), ...this.known(), ...this.realms.used, ...also])].sort()
  }

  private list(query: Extract<RealmQuery, { name: "list" }>): Page<RealmRow> {
    const { managedBy, also } = query
    const { offset, limit } = query.page
    const names =
      managedBy === null
        ? this.names(also)
        : [...this.definitions.values()]
            .filter(stored => stored.managedBy?.startsWith(managedBy) === true)
            .map(stored => stored.realm)
            .sort()
    const rows = names
      .slice(offset, offset + limit)
      .map(realm => ({ realm, declared: this.definitions.get(realm) ?? null }))
    return { total: names.length, rows }
  }

  private get(realm: string, also: readonly string[]): RealmRow | null {
    const declared = this.definitions.get(realm) ?? null
    if (declared === null && !this.names(also).includes(realm)) return null
    return { realm, declared }
  }
}

const PRECONDITION: Refused = refuse(
  "precondition_failed",
  "the stored form is not the one that was expected",
)
const FULL_DISK: Refused = refuse("unavailable", "the disk is full, refusing writes")
