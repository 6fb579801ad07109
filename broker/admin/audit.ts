// The audit: one record for every request that is no read, whatever became of it (docs/PROTOCOL.md, AD-*).
// Records go to the log, to a file where one is configured, and into a ring that can be read back. Payloads
// and credentials never appear in one.

import { closeSync, openSync, writeSync } from "node:fs"
import type { Page, PageAsk } from "../domains/views/common.ts"

/** Takes one record of the log. */
type Log = (level: "info" | "error", message: string, fields: Readonly<Record<string, unknown>>) => void

export type AuditOutcome = "ok" | "not_found" | "denied" | "invalid" | "rate_limited" | "error"

export interface AuditRecord {
  readonly ts: string
  readonly audit: true
  readonly request_id: string
  readonly user: string
  readonly auth_method: "jwt" | "api_key" | "open"
  readonly action: string
  readonly target: Readonly<Record<string, unknown>>
  readonly confirmed: boolean
  readonly outcome: AuditOutcome
  readonly status: number
  readonly path: string
  readonly canonical_path: string
  readonly remote_addr: string
  readonly reason?: string
}

const KEPT = 1_000

export function outcomeOf(status: number): AuditOutcome {
  if (status < 400) return "ok"
  if (status === 404) return "not_found"
  if (status === 401 || status === 403) return "denied"
  if (status === 429) return "rate_limited"
  return status < 500 ? "invalid" : "error"
}

export class Audit {
  private readonly file: string | null
  private readonly strict: boolean
  private readonly log: Log
  private readonly ring: AuditRecord[] = []

  constructor(file: string | null, strict: boolean, log: Log) {
    this.file = file
    this.strict = strict
    this.log = log
  }

  /** May something be done now that has to be recorded? Only a strict audit says no. */
  get writable(): boolean {
    return !this.strict || this.file === null || this.append("")
  }

  /** Keeps a record. False: it had to reach the file and did not. */
  write(record: AuditRecord): boolean {
    this.ring.push(record)
    if (this.ring.length > KEPT * 2) this.ring.splice(0, this.ring.length - KEPT)
    this.log("info", "audit", { logger: "audit", ...record })
    if (this.file === null) return true
    return this.append(`${JSON.stringify(record)}\n`) || !this.strict
  }

  /** Opened for each record: a file that was moved away by a rotation is made anew. */
  private append(line: string): boolean {
    try {
      const fd = openSync(this.file!, "a", 0o640)
      try {
        writeSync(fd, line)
      } finally {
        closeSync(fd)
      }
      return true
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.log("error", "an audit record could not be written", { file: this.file, reason })
      return false
    }
  }

  /** Newest first. */
  read({ offset, limit }: PageAsk): Page<AuditRecord> {
    const kept = this.ring.slice(-KEPT).reverse()
    return { total: kept.length, rows: kept.slice(offset, offset + limit) }
  }
}
