// What an answer has cost, in the answer itself (topics-http.md §4): the time on the server always, the rest
// where it applies. It measures; it changes nothing else about an answer.

import type { FastifyReply } from "fastify"

/** What a handler may add to the time that is always there; a field that does not apply is left out. */
export interface Cost {
  readonly wal_append_ms?: number
  readonly fsync_ms?: number
  readonly records_scanned?: number
  readonly throttle_wait_ms?: number
  readonly cold_segments_read?: number
}

/** Names of the figures in `Server-Timing`; counts are no times and stay out of it. */
const TIMES = {
  server_total_ms: "total",
  wal_append_ms: "append",
  fsync_ms: "fsync",
  throttle_wait_ms: "wait",
} as const

/** The body with `performance` as its last key, and the same figures as a header for browsers. */
export function withPerformance(reply: FastifyReply, body: object, cost: Cost = {}): object {
  const figures = { server_total_ms: round(reply.elapsedTime), ...cost }
  const timing = Object.entries(TIMES).flatMap(([field, name]) => {
    const ms = figures[field as keyof typeof figures]
    return ms === undefined ? [] : [`${name};dur=${ms}`]
  })
  reply.header("server-timing", timing.join(", "))
  return { ...body, performance: figures }
}

function round(ms: number): number {
  return Math.round(ms * 1_000) / 1_000
}
