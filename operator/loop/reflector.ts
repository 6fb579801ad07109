// Keeps a store equal to the server (operator.md §8.2): list, watch from there, and again for ever. Never gives up and
// never trusts a silent connection; it knows nothing of what the objects mean.

import { type KubeApi, KubeError } from "../cluster/api.ts"
import { KIND, type KubeObject } from "../plan/object.ts"
import { sleep, type World } from "../world.ts"
import type { Store } from "./store.ts"

export interface ReflectorOptions {
  readonly api: KubeApi
  readonly world: World
  readonly store: Store
  /** "" for all. */
  readonly namespace: string
  readonly labelSelector?: string | undefined
  readonly onRestart?: (reason: string) => void
}

const PAGE = 500
const WATCH_SECONDS_LEAST = 300
const WATCH_SECONDS_MOST = 600
const STALL_MS = 30_000
const BACKOFF_FIRST_MS = 800
const BACKOFF_MOST_MS = 30_000
const SHORT_LIVED_MS = 5_000

export class Reflector {
  private readonly options: ReflectorOptions
  private version: string | null = null
  private failures = 0
  private shortLived = 0

  constructor(options: ReflectorOptions) {
    this.options = options
    options.store.scope(options.namespace)
  }

  /** Runs until the signal fires. */
  async run(signal: AbortSignal): Promise<void> {
    const { world, store, namespace, onRestart } = this.options
    while (!signal.aborted) {
      try {
        if (this.version === null) await this.list(signal)
        await this.watch(signal)
      } catch (error) {
        if (signal.aborted) return
        const gone = error instanceof KubeError && (error.status === 410 || error.reason === "Expired")
        const reason = gone
          ? "expired"
          : error instanceof KubeError && error.status > 0
            ? String(error.status)
            : "broken"
        onRestart?.(reason)
        if (gone) this.version = null
        this.failures++
        world.log("debug", "a watch begins again", {
          kind: store.kind,
          namespace,
          reason,
          failures: this.failures,
        })
        await this.pause(this.failures, signal)
      }
    }
  }

  private async list(signal: AbortSignal): Promise<void> {
    const { api, store, namespace, labelSelector } = this.options
    const kind = KIND[store.kind]
    const objects: KubeObject[] = []
    let next: string | null = null
    let version = ""
    do {
      const where = { namespace: namespace === "" ? undefined : namespace, labelSelector, limit: PAGE, next }
      const page = await api.list(kind, where, signal)
      objects.push(...page.items)
      next = page.next
      version = page.resourceVersion
    } while (next !== null)
    store.replace(namespace, objects)
    this.version = version
    this.failures = 0
  }

  private async watch(signal: AbortSignal): Promise<void> {
    const { api, store, namespace, labelSelector, world, onRestart } = this.options
    const seconds = Math.round(
      WATCH_SECONDS_LEAST + world.random() * (WATCH_SECONDS_MOST - WATCH_SECONDS_LEAST),
    )
    const stall = new AbortController()
    // The server ends a watch in time; one that outlives that is half-open.
    const cancel = world.later(seconds * 1_000 + STALL_MS, () =>
      stall.abort(new KubeError(0, "Stalled", "the watch is silent beyond its time")),
    )
    const began = world.monotonic()
    try {
      await api.watch(
        KIND[store.kind],
        {
          namespace: namespace === "" ? undefined : namespace,
          labelSelector,
          resourceVersion: this.version!,
          timeoutSeconds: seconds,
        },
        {
          onOpen: () => {
            this.failures = 0
          },
          onEvent: ({ type, object }) => {
            if (type === "ERROR") {
              const {
                code = 0,
                reason = "",
                message = "",
              } = object as unknown as {
                code?: number
                reason?: string
                message?: string
              }
              throw new KubeError(code, reason, message)
            }
            const version = object.metadata.resourceVersion
            if (version !== undefined) this.version = version
            if (type === "BOOKMARK") return
            if (type === "DELETED") store.remove(object)
            else store.put(object)
          },
        },
        AbortSignal.any([signal, stall.signal]),
      )
    } finally {
      cancel()
    }
    // A clean end: go on from the last version, but do not let a server that ends at once be stormed.
    if (world.monotonic() - began >= SHORT_LIVED_MS) {
      this.shortLived = 0
      return
    }
    this.shortLived++
    onRestart?.("closed")
    await this.pause(this.shortLived, signal)
  }

  private async pause(attempt: number, signal: AbortSignal): Promise<void> {
    const { world } = this.options
    const whole = Math.min(BACKOFF_FIRST_MS * 2 ** (attempt - 1), BACKOFF_MOST_MS)
    try {
      await sleep(world, whole * (0.75 + world.random() * 0.5), signal)
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }
}
