// What connections have been given and the system has not taken yet, each and all together. Past its limit a
// connection ends; past the limit of all, the slowest do.

export interface OutboundLimits {
  /** Of one connection. */
  readonly bytesMax: number
  /** Of all connections. */
  readonly totalBytesMax: number
}

/** A connection that can fall behind. */
export interface Laggard {
  readonly pendingBytes: number
  /** Ends it at once: it does not read. */
  endSlow(): void
}

export class OutboundAccount {
  private readonly limits: OutboundLimits
  private readonly behind = new Set<Laggard>()
  private totalBytes = 0

  constructor(limits: OutboundLimits) {
    this.limits = limits
  }

  get noticeBytesMax(): number {
    return this.limits.bytesMax / 4
  }

  /** The connection has been given bytes; its own count includes them already. */
  added(connection: Laggard, bytes: number): void {
    this.totalBytes += bytes
    this.behind.add(connection)
    if (connection.pendingBytes > this.limits.bytesMax) connection.endSlow()
    else if (this.totalBytes > this.limits.totalBytesMax) this.shed()
  }

  /** The system took bytes, or they went with their connection; its own count is without them already. */
  removed(connection: Laggard, bytes: number): void {
    this.totalBytes -= bytes
    if (connection.pendingBytes === 0) this.behind.delete(connection)
  }

  private shed(): void {
    const slowest = [...this.behind].sort((a, b) => b.pendingBytes - a.pendingBytes)
    for (const connection of slowest) {
      if (this.totalBytes <= this.limits.totalBytesMax) return
      connection.endSlow()
    }
  }
}
