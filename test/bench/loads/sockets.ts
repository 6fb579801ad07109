// What all load generators share: sockets that count, and the clock. A generator builds its bytes before the
// clock starts and only looks at lengths afterwards.

import { connect, type Socket } from "node:net"

const opened = new Set<Socket>()

/** Leaves nothing behind for the next run; resolves once the server's end is closed too. */
export async function closeSockets(): Promise<void> {
  const ends = [...opened].map(
    socket =>
      new Promise<void>(resolve => {
        if (socket.destroyed) return resolve()
        socket.removeAllListeners("data")
        socket.resume()
        socket.once("close", () => resolve())
        socket.end()
      }),
  )
  opened.clear()
  await Promise.all(ends)
}

export function openSocket(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true }, () => resolve(socket))
    opened.add(socket)
    socket.once("error", reject)
  })
}

/** The next bytes, whatever they are. */
export function nextData(socket: Socket): Promise<Buffer> {
  return new Promise(resolve => socket.once("data", resolve))
}

/** Writes the pieces one after the other, as fast as the other side takes them. */
export function writeAll(socket: Socket, piece: Buffer, times: number): void {
  let left = times
  const go = (): void => {
    while (left > 0) {
      left--
      if (!socket.write(piece)) {
        socket.once("drain", go)
        return
      }
    }
  }
  go()
}

/** Resolves once so many bytes have come. */
export function receiveBytes(socket: Socket, bytes: number): Promise<void> {
  return new Promise(resolve => {
    let left = bytes
    const take = (piece: Buffer): void => {
      left -= piece.length
      if (left > 0) return
      socket.off("data", take)
      resolve()
    }
    socket.on("data", take)
  })
}

/** So many copies of one piece. */
export function repeat(piece: Uint8Array, times: number): Buffer {
  return Buffer.concat(Array.from({ length: times }, () => piece))
}

/** What one run came to. */
export interface Result {
  /** Per second. */
  readonly rate: number
  /** Median of single waits, where one was in flight. */
  readonly medianMicros?: number
}

/** Calls `work` with the time it took, in seconds. */
export async function timed(work: () => Promise<void>): Promise<number> {
  const begun = performance.now()
  await work()
  return (performance.now() - begun) / 1_000
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? 0
}

/**
 * Keeps `inflight` requests under way on each of the sockets until `total` were answered. `answered` says how
 * many answers a piece of the stream completes.
 */
export async function keepBusy(
  sockets: readonly Socket[],
  inflight: number,
  total: number,
  request: Uint8Array,
  answered: () => (piece: Buffer) => number,
): Promise<Result> {
  const waits: number[] = []
  const burst = repeat(request, Math.max(inflight, 1))
  const seconds = await timed(
    () =>
      new Promise(resolve => {
        let sent = 0
        let done = 0
        for (const socket of sockets) {
          const count = answered()
          let since = performance.now()
          const take = (piece: Buffer): void => {
            const answers = count(piece)
            if (answers === 0) return
            if (inflight === 1) {
              const now = performance.now()
              waits.push(now - since)
              since = now
            }
            done += answers
            if (done >= total) {
              for (const other of sockets) other.removeAllListeners("data")
              resolve()
              return
            }
            const more = Math.min(answers, total - sent)
            if (more <= 0) return
            sent += more
            socket.write(burst.subarray(0, more * request.length))
          }
          socket.on("data", take)
          sent += inflight
          socket.write(burst)
        }
      }),
  )
  return { rate: total / seconds, ...(waits.length > 0 ? { medianMicros: median(waits) * 1_000 } : {}) }
}

/** Counts answers that all have one length. */
export function fixedLength(bytes: number): () => (piece: Buffer) => number {
  return () => {
    let rest = 0
    return piece => {
      rest += piece.length
      const answers = Math.floor(rest / bytes)
      rest -= answers * bytes
      return answers
    }
  }
}

/** Counts answers by a byte that each of them has exactly once. */
export function byMark(mark: number): () => (piece: Buffer) => number {
  return () => piece => {
    let answers = 0
    for (let at = piece.indexOf(mark); at >= 0; at = piece.indexOf(mark, at + 1)) answers++
    return answers
  }
}
