// What the broker says about how something is: a verdict derived from counts, shown with its reasons and its
// confidence. It is no measurement, and the words do not pretend that it is.

import type { Diagnostics } from "../api/types.ts"
import type { View } from "../state/query.ts"
import { levelOfDiagnosis, spoken } from "../state/verdict.ts"
import { age, exact } from "../text/format.ts"
import { Dot, Facts, Tag } from "./figures.tsx"
import { Empty, ViewPanel } from "./panel.tsx"

export function DiagnosticsPanel({
  view,
  class: extra = "",
}: {
  readonly view: View<{ readonly diagnostics?: Diagnostics }>
  readonly class?: string
}) {
  return (
    <ViewPanel title="Diagnosis" class={extra} view={view}>
      {({ diagnostics }) =>
        diagnostics === undefined ? (
          <Empty title="No diagnosis was given" />
        ) : (
          <Diagnosis found={diagnostics} />
        )
      }
    </ViewPanel>
  )
}

function Diagnosis({ found }: { readonly found: Diagnostics }) {
  const level = levelOfDiagnosis(found)
  const counts: [string, string][] = []
  if (found.waiter_count > 0) counts.push(["Waiting", exact(found.waiter_count)])
  if (found.contention_count > 0) counts.push(["Contention", exact(found.contention_count)])
  if (found.failure_count > 0) counts.push(["Failures", exact(found.failure_count)])
  if (found.age_seconds > 0) counts.push(["Oldest", age(found.age_seconds)])
  return (
    <div class="lines">
      <p class="tools">
        <Dot level={level} />
        <span class="strong said-large">{capital(spoken(found.current_stage))}</span>
        {level !== "good" && <Tag level={level}>{found.severity}</Tag>}
        {found.trend !== "steady" && <Tag>{found.trend}</Tag>}
      </p>
      <ul class="effects">
        {found.explanation_hints.map(hint => (
          <li>{capital(hint)}</li>
        ))}
      </ul>
      <Facts
        rows={[
          ...(found.likely_bottleneck === null
            ? []
            : [["Likely bottleneck", found.likely_bottleneck] as const]),
          ...counts,
          ["Confidence", <span>{found.confidence}, derived from counts</span>],
        ]}
      />
    </div>
  )
}

function capital(text: string): string {
  return `${text[0]?.toUpperCase() ?? ""}${text.slice(1)}`
}
