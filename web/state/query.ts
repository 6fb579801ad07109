// Asking the API again and again, once for however many parts of the page look at the same answer. What a part
// gets says whether it is loading, there, old, or why it is not there.

import { keepPreviousData, QueryClient, useQueries, useQuery } from "@tanstack/preact-query"
import { Failure, type Params, type Reply } from "../api/client.ts"
import { useNow } from "./clock.ts"
import { isStale, nextPollMs } from "./poll.ts"
import { session } from "./session.ts"

export const STATS_EVERY_MS = 2_000
export const LIST_EVERY_MS = 3_000
export const SLOW_EVERY_MS = 10_000

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // Polling is the retry; whether the machine believes to be online says nothing about the broker.
      retry: false,
      networkMode: "always",
      gcTime: 5 * 60_000,
      refetchOnWindowFocus: "always",
      refetchIntervalInBackground: true,
    },
  },
})

/** Failures in a row, by query. */
const failures = new Map<string, number>()

export type View<T> =
  | { readonly state: "loading" }
  | { readonly state: "failed"; readonly failure: Failure; readonly again: () => void }
  | {
      readonly state: "there"
      readonly data: T
      readonly total: number | null
      readonly atMs: number
      /** It should have been asked anew by now. */
      readonly stale: boolean
      /** Why the last attempt brought nothing new. */
      readonly failure: Failure | null
      readonly again: () => void
    }

export interface AskOptions {
  readonly params?: Params
  readonly everyMs?: number
  /** A probe answers with a body whatever its status is. */
  readonly probe?: boolean
  /** Show the last answer of another question until this one is answered. */
  readonly keep?: boolean
}

function optionsFor<T>(
  path: string | null,
  { params = {}, everyMs = LIST_EVERY_MS, probe = false, keep = false }: AskOptions,
) {
  const queryKey = [path, params]
  const key = JSON.stringify(queryKey)
  return {
    queryKey,
    enabled: path !== null,
    queryFn: async ({ signal }: { signal: AbortSignal }): Promise<Reply<T>> => {
      try {
        const reply = await (probe
          ? session.api.probe<T>(path!, signal)
          : session.api.get<T>(path!, params, signal))
        failures.delete(key)
        return reply
      } catch (error) {
        if (!signal.aborted) failures.set(key, (failures.get(key) ?? 0) + 1)
        throw error
      }
    },
    refetchInterval: (query: { state: { error: unknown } }) =>
      nextPollMs({
        everyMs,
        hidden: document.hidden,
        failures: failures.get(key) ?? 0,
        failure: query.state.error,
      }),
    ...(keep ? { placeholderData: keepPreviousData } : {}),
  } as const
}

function failureFrom(error: unknown): Failure {
  return error instanceof Failure
    ? error
    : new Failure("broken", error instanceof Error ? error.message : String(error))
}

interface Result<T> {
  readonly data: Reply<T> | undefined
  readonly error: unknown
  readonly refetch: () => unknown
}

function viewOf<T>({ data, error, refetch }: Result<T>, everyMs: number, nowMs: number): View<T> {
  const again = (): void => void refetch()
  if (data === undefined) {
    return error === null || error === undefined
      ? { state: "loading" }
      : { state: "failed", failure: failureFrom(error), again }
  }
  // A resource that is gone, or a permission that was taken: the old answer would be a lie.
  const failure = error === null || error === undefined ? null : failureFrom(error)
  if (failure !== null && (failure.kind === "missing" || failure.kind === "forbidden"))
    return { state: "failed", failure, again }
  return {
    state: "there",
    data: data.body,
    total: data.total,
    atMs: data.atMs,
    stale: failure !== null || isStale(data.atMs, everyMs, document.hidden, nowMs),
    failure,
    again,
  }
}

/** Asks a path of the API over and over; null: not now. */
export function useApi<T>(path: string | null, options: AskOptions = {}): View<T> {
  const result = useQuery(optionsFor<T>(path, options))
  const nowMs = useNow()
  return viewOf<T>(result, options.everyMs ?? LIST_EVERY_MS, nowMs)
}

export function useApis<T>(
  asks: readonly { readonly path: string; readonly options?: AskOptions }[],
): readonly View<T>[] {
  const results = useQueries({ queries: asks.map(({ path, options }) => optionsFor<T>(path, options ?? {})) })
  const nowMs = useNow()
  return results.map((result, at) =>
    viewOf<T>(result as Result<T>, asks[at]?.options?.everyMs ?? LIST_EVERY_MS, nowMs),
  )
}

/** After a command: whatever is shown is asked anew at once. */
export function refreshAll(): void {
  void queries.refetchQueries({ type: "active" })
}

/** The same view with its data read differently. */
export function mapView<T, U>(view: View<T>, read: (data: T) => U): View<U> {
  return view.state === "there" ? { ...view, data: read(view.data) } : view
}
