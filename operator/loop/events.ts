// Events on objects (operator.md §3.3): events.k8s.io/v1, repeats as series, a bounded rate for each object. Telling never
// stands in the way of doing: what cannot be told is logged and left.

import { type KubeApi, KubeError } from "../cluster/api.ts"
import { apiVersion, KIND, type KubeObject } from "../plan/object.ts"
import type { PlannedEvent } from "../plan/types.ts"
import { microTimeOf } from "../plan/values.ts"
import { uniqueName, type World } from "../world.ts"

const PER_MINUTE = 10
const MINUTE_MS = 60_000
const SERIES_MS = 10 * MINUTE_MS
const NOTE_MAX = 1_000
const REMEMBERED_MAX = 5_000

interface Series {
  readonly name: string
  count: number
  at: number
}

export class Events {
  private readonly api: KubeApi
  private readonly world: World
  private readonly instance: string
  private readonly fence: () => void
  private readonly series = new Map<string, Series>()
  private readonly budgets = new Map<string, { tokens: number; at: number }>()

  constructor(api: KubeApi, world: World, instance: string, fence: () => void) {
    this.api = api
    this.world = world
    this.instance = instance
    this.fence = fence
  }

  async tell(about: KubeObject, event: PlannedEvent, signal?: AbortSignal): Promise<void> {
    const { world } = this
    const now = world.now()
    const { uid = "", namespace = "", name } = about.metadata
    const note = event.note.slice(0, NOTE_MAX)
    world.log(event.type === "Warning" ? "warn" : "info", note, {
      kind: about.kind,
      namespace,
      name,
      reason: event.reason,
    })
    if (!this.permit(uid, now)) return
    const key = `${uid} ${event.reason} ${note}`
    const known = this.series.get(key)
    try {
      this.fence()
      if (known !== undefined && now - known.at < SERIES_MS) {
        known.count++
        known.at = now
        const series = { count: known.count, lastObservedTime: microTimeOf(now) }
        await this.api.mergePatch(KIND.event, namespace, known.name, { series }, signal)
        return
      }
      const called = `${name}.${uniqueName()}`
      await this.api.create(
        KIND.event,
        {
          apiVersion: apiVersion(KIND.event),
          kind: KIND.event.kind,
          metadata: { name: called, namespace },
          eventTime: microTimeOf(now),
          reportingController: "fitz.dev/operator",
          reportingInstance: this.instance,
          action: event.reason,
          reason: event.reason,
          type: event.type,
          note,
          regarding: { apiVersion: about.apiVersion, kind: about.kind, namespace, name, uid },
        },
        signal,
      )
      if (this.series.size >= REMEMBERED_MAX) this.series.clear()
      this.series.set(key, { name: called, count: 1, at: now })
    } catch (error) {
      if (!(error instanceof KubeError)) throw error
      // The namespace may be going, or the event of the series be gone.
      this.series.delete(key)
      world.log("debug", "an event was not taken", { reason: error.message })
    }
  }

  private permit(uid: string, now: number): boolean {
    if (this.budgets.size >= REMEMBERED_MAX) this.budgets.clear()
    const budget = this.budgets.get(uid) ?? { tokens: PER_MINUTE, at: now }
    budget.tokens = Math.min(
      PER_MINUTE,
      budget.tokens + (Math.max(0, now - budget.at) / MINUTE_MS) * PER_MINUTE,
    )
    budget.at = now
    this.budgets.set(uid, budget)
    if (budget.tokens < 1) return false
    budget.tokens--
    return true
  }
}
