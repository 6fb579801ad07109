// Leader election on a Lease (operator.md §8.2): taken, renewed and given up by conditional writes, judged on a clock that
// nobody sets. Whoever may not be sure to hold it any more writes nothing.

import { type KubeApi, KubeError } from "../cluster/api.ts"
import { apiVersion, at, KIND, type KubeObject, numberAt, textAt } from "../plan/object.ts"
import { microTimeOf } from "../plan/values.ts"
import { sleep, type World } from "../world.ts"

const LEASE_SECONDS = 15
const RENEW_DEADLINE_MS = 10_000
const RETRY_MS = 2_000
export const LEASE_NAME = "fitz-operator"

export class NotLeader extends Error {
  constructor() {
    super("this process does not hold the lease")
    this.name = "NotLeader"
  }
}

export interface ElectionOptions {
  readonly api: KubeApi
  readonly world: World
  readonly namespace: string
  readonly identity: string
  readonly onLeading: () => void
  /** The lease may have passed to somebody else. */
  readonly onLost: () => void
}

export class Election {
  private readonly options: ElectionOptions
  private readonly abort = new AbortController()
  private renewedAt: number | null = null
  /** What was seen of another's lease, and when by our own clock. */
  private seen: { holder: string; renewTime: string; at: number } | null = null
  private running: Promise<void> | null = null

  constructor(options: ElectionOptions) {
    this.options = options
  }

  get leading(): boolean {
    return this.renewedAt !== null
  }

  /** Throws unless this process surely holds the lease. Each write goes through here. */
  readonly fence = (): void => {
    const { world } = this.options
    if (this.renewedAt === null || world.monotonic() - this.renewedAt >= RENEW_DEADLINE_MS)
      throw new NotLeader()
  }

  start(): void {
    this.running = this.run()
  }

  private async run(): Promise<void> {
    const { signal } = this.abort
    while (!signal.aborted) {
      try {
        await this.attempt(signal)
      } catch (error) {
        if (signal.aborted) return
        if (!(error instanceof KubeError)) throw error
        this.options.world.log("warn", "the lease could not be written", { reason: error.message })
      }
      if (this.overdue()) return
      try {
        await sleep(this.options.world, RETRY_MS * (0.9 + this.options.world.random() * 0.2), signal)
      } catch (error) {
        if (!signal.aborted) throw error
        return
      }
      if (this.overdue()) return
    }
  }

  private overdue(): boolean {
    const { world, onLost } = this.options
    if (this.renewedAt === null || world.monotonic() - this.renewedAt < RENEW_DEADLINE_MS) return false
    this.renewedAt = null
    onLost()
    return true
  }

  private async attempt(signal: AbortSignal): Promise<void> {
    const { api, world, namespace, identity, onLeading } = this.options
    const began = world.monotonic()
    const lease = await api.get(KIND.lease, namespace, LEASE_NAME, signal)
    const now = microTimeOf(world.now())
    if (lease === null) {
      const fresh: KubeObject = {
        apiVersion: apiVersion(KIND.lease),
        kind: KIND.lease.kind,
        metadata: { name: LEASE_NAME, namespace },
        spec: {
          holderIdentity: identity,
          leaseDurationSeconds: LEASE_SECONDS,
          acquireTime: now,
          renewTime: now,
          leaseTransitions: 0,
        },
      }
      await this.ifUncontested(() => api.create(KIND.lease, fresh, signal), began, onLeading)
      return
    }
    const holder = textAt(lease, "spec", "holderIdentity") ?? ""
    const renewTime = textAt(lease, "spec", "renewTime") ?? ""
    if (holder !== identity && holder !== "") {
      if (this.renewedAt !== null) {
        this.renewedAt = null
        this.abort.abort(new NotLeader())
        this.options.onLost()
        return
      }
      // Another's clock is not compared with ours: what counts is how long nothing has changed here.
      if (this.seen?.holder !== holder || this.seen.renewTime !== renewTime) {
        this.seen = { holder, renewTime, at: began }
        return
      }
      const duration = (numberAt(lease, "spec", "leaseDurationSeconds") ?? LEASE_SECONDS) * 1_000
      if (world.monotonic() - this.seen.at < duration) return
    }
    const taken = holder !== identity
    const spec = {
      holderIdentity: identity,
      leaseDurationSeconds: LEASE_SECONDS,
      renewTime: now,
      ...(taken
        ? { acquireTime: now, leaseTransitions: (numberAt(lease, "spec", "leaseTransitions") ?? 0) + 1 }
        : {}),
    }
    const { resourceVersion, uid } = lease.metadata
    await this.ifUncontested(
      () =>
        api.mergePatch(
          KIND.lease,
          namespace,
          LEASE_NAME,
          { metadata: { resourceVersion, uid }, spec },
          signal,
        ),
      began,
      onLeading,
    )
  }

  private async ifUncontested(
    write: () => Promise<unknown>,
    began: number,
    onLeading: () => void,
  ): Promise<void> {
    try {
      await write()
    } catch (error) {
      // Somebody was faster; the next attempt sees who.
      if (error instanceof KubeError && error.status === 409) return
      throw error
    }
    const first = this.renewedAt === null
    // Counted from before the call: the server may have written as early as that.
    this.renewedAt = began
    if (first) onLeading()
  }

  /** Stops renewing and, if held, hands the lease back. */
  async stop(release: boolean): Promise<void> {
    const held = this.renewedAt !== null
    this.abort.abort(new NotLeader())
    await this.running
    if (!held || !release) return
    const { api, namespace, identity, world } = this.options
    try {
      const lease = await api.get(KIND.lease, namespace, LEASE_NAME)
      if (lease === null || at(lease, "spec", "holderIdentity") !== identity) return
      const { resourceVersion, uid } = lease.metadata
      const spec = { holderIdentity: "", renewTime: microTimeOf(world.now()) }
      await api.mergePatch(KIND.lease, namespace, LEASE_NAME, { metadata: { resourceVersion, uid }, spec })
    } catch (error) {
      // It runs out by itself.
      world.log("info", "the lease was not handed back", { reason: String(error) })
    } finally {
      this.renewedAt = null
    }
  }
}
