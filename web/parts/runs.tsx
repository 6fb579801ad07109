// When a schedule runs next, drawn: a day from now to the right, a tick for each run. Worked out here from the
// cron expression; the broker's own next run stands beside it as text and is the one that counts.

import { useMemo } from "preact/hooks"
import { useNow } from "../state/clock.ts"
import { nextRuns } from "../text/cron.ts"
import { counted } from "../text/format.ts"

const DAY_MS = 86_400_000
const MINUTE_MS = 60_000
const WIDTH = 200
const HEIGHT = 26
/** Every minute of a day. */
const RUNS_MAX = 1_440

export function NextRuns({ cron, enabled }: { readonly cron: string; readonly enabled: boolean }) {
  const minute = Math.floor(useNow() / MINUTE_MS)
  const fromMs = minute * MINUTE_MS
  const runs = useMemo(() => nextRuns(cron, fromMs, DAY_MS, RUNS_MAX), [cron, fromMs])
  if (runs === null) return <span class="dim">cannot be drawn</span>
  const places = new Set(runs.map(ms => Math.round(((ms - fromMs) / DAY_MS) * (WIDTH - 4)) + 2))
  const path = [...places].map(x => `M${x} 4V${HEIGHT - 8}`).join("")
  const label = enabled
    ? `${counted(runs.length, "run")} in the next 24 hours`
    : `disabled; would run ${counted(runs.length, "time")} in the next 24 hours`
  return (
    <svg
      class="runs"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={label}
    >
      <title>{label}</title>
      <path
        class="axis"
        d={`M0 ${HEIGHT - 5}H${WIDTH}M50 ${HEIGHT - 8}v6M100 ${HEIGHT - 8}v6M150 ${HEIGHT - 8}v6`}
      />
      <path class={enabled ? "tick" : "tick off"} d={path} />
    </svg>
  )
}
