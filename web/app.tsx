// Which view stands at which address, for whom. A view that nobody knows says so; nothing is fetched or decided
// here.

import { QueryClientProvider } from "@tanstack/preact-query"
import { Audit } from "./pages/audit.tsx"
import { DeadLetters } from "./pages/dead-letters.tsx"
import { Definitions } from "./pages/definitions.tsx"
import { DomainPage } from "./pages/domain.tsx"
import { Explore } from "./pages/explore.tsx"
import { Overview } from "./pages/overview.tsx"
import { ResourcePage } from "./pages/resource.tsx"
import { SessionPage, Sessions } from "./pages/sessions.tsx"
import { SignIn } from "./pages/sign-in.tsx"
import { StatusPage } from "./pages/status.tsx"
import { Link } from "./parts/link.tsx"
import { Empty, Lacking, Loading, Panel } from "./parts/panel.tsx"
import { Shell } from "./parts/shell.tsx"
import { useSegments } from "./state/navigation.ts"
import { queries } from "./state/query.ts"
import { session } from "./state/session.ts"
import { useStore } from "./state/store.ts"
import { isDomain } from "./text/words.ts"

export function App() {
  const phase = useStore(session.phase)
  if (phase.kind === "asking") {
    return (
      <main class="gate">
        <Loading lines={2} />
      </main>
    )
  }
  if (phase.kind === "signed-out") return <SignIn why={phase.why} />
  return (
    <QueryClientProvider client={queries}>
      <Shell phase={phase}>
        <View mayRead={phase.rights.read !== false} />
      </Shell>
    </QueryClientProvider>
  )
}

function View({ mayRead }: { readonly mayRead: boolean }) {
  const segments = useSegments()
  const [first = "", second, third, fourth] = segments
  if (!mayRead && first !== "explore") {
    return (
      <Panel>
        <h1 class="said">Not for this credential</h1>
        <Lacking right="admin:read">
          This credential is valid and may not see this. Metrics may still be open to it, under{" "}
          <Link to="explore">Metrics</Link>.
        </Lacking>
      </Panel>
    )
  }
  if (isDomain(first) && segments.length <= 4) {
    if (second !== undefined && third !== undefined && fourth !== undefined) {
      return (
        <ResourcePage
          key={segments.join("/")}
          domain={first}
          place={{ realm: second, area: third, resource: fourth }}
        />
      )
    }
    return <DomainPage key={first} domain={first} realm={second ?? null} area={third ?? null} />
  }
  if (first === "sessions" && second !== undefined && segments.length === 2)
    return <SessionPage id={second} />
  if (segments.length <= 1) {
    switch (first) {
      case "":
        return <Overview />
      case "sessions":
        return <Sessions />
      case "dead-letters":
        return <DeadLetters />
      case "definitions":
        return <Definitions />
      case "audit":
        return <Audit />
      case "explore":
        return <Explore />
      case "status":
        return <StatusPage />
    }
  }
  return (
    <Panel>
      <h1 class="said">No such view</h1>
      <Empty title="There is no such view">
        Perhaps the address was cut. <Link to="">Go to the overview</Link>.
      </Empty>
    </Panel>
  )
}
