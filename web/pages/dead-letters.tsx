// Dead letters of all queues in one place, to be decided about. The inventory of queues says where there are any;
// only those queues are asked.

import { pathOf } from "../api/client.ts"
import type { AreaNames, DeadLetterRow, RealmNames, Resources } from "../api/types.ts"
import { DeadLetterTable } from "../parts/dead-letters.tsx"
import { LifetimeTag } from "../parts/figures.tsx"
import { Failed, Loading, Panel, Shown } from "../parts/panel.tsx"
import { useParam } from "../state/navigation.ts"
import { LIST_EVERY_MS, SLOW_EVERY_MS, useApi, useApis } from "../state/query.ts"
import { exact } from "../text/format.ts"
import { RealmFilter } from "./domain.tsx"

/** Looking farther would cost the broker more than a reader could read. */
const AREAS_MAX = 60
const QUEUES_MAX = 40

export function DeadLetters() {
  const [realm] = useParam("realm")
  const realms = useApi<RealmNames>("queue/realms", { params: { limit: 1_000 }, everyMs: SLOW_EVERY_MS })
  return (
    <>
      <div class="heading">
        <div>
          <h1>
            Dead letters <LifetimeTag lifetime="durable" />
          </h1>
          <p>
            Messages that were tried as often as allowed, or that nobody could take. They wait for a decision:
            replay them, or delete them for good.
          </p>
        </div>
      </div>
      <Panel flush>
        <RealmFilter domain="queue" />
        <Shown view={realms}>
          {({ realms: rows }) => (
            <OfRealms realms={rows.map(row => row.realm).filter(name => realm === "" || name === realm)} />
          )}
        </Shown>
      </Panel>
    </>
  )
}

function OfRealms({ realms }: { readonly realms: readonly string[] }) {
  const areas = useApis<AreaNames>(
    realms.slice(0, AREAS_MAX).map(realm => ({
      path: pathOf("queue", "realms", realm, "areas"),
      options: { params: { limit: 1_000 }, everyMs: SLOW_EVERY_MS },
    })),
  )
  const places = areas.flatMap(view =>
    view.state === "there" ? view.data.areas.map(row => ({ realm: view.data.realm, area: row.area })) : [],
  )
  const queues = useApis<Resources>(
    places.slice(0, AREAS_MAX).map(({ realm, area }) => ({
      path: pathOf("queue", "realms", realm, "areas", area, "resources"),
      options: { params: { limit: 1_000 }, everyMs: SLOW_EVERY_MS / 2 },
    })),
  )
  const withDead = queues.flatMap(view =>
    view.state !== "there"
      ? []
      : view.data.resources
          .filter(row => Number(row["messages_dead_lettered"]) > 0)
          .map(row => ({ realm: view.data.realm, area: view.data.area, resource: row.resource })),
  )
  const letters = useApis<{ readonly messages: readonly DeadLetterRow[] }>(
    withDead.slice(0, QUEUES_MAX).map(({ realm, area, resource }) => ({
      path: `${pathOf("queue", "realms", realm, "areas", area, "resources", resource)}/dead-letters`,
      options: { params: { limit: 1_000 }, everyMs: LIST_EVERY_MS },
    })),
  )
  const views = [...areas, ...queues, ...letters]
  const failed = views.find(view => view.state === "failed" && view.failure.kind !== "missing")
  const loading = views.some(view => view.state === "loading")
  const rows = letters.flatMap(view => (view.state === "there" ? view.data.messages : []))
  if (rows.length === 0 && failed?.state === "failed")
    return <Failed failure={failed.failure} again={failed.again} />
  if (rows.length === 0 && loading) {
    return (
      <div class="padded">
        <Loading />
      </div>
    )
  }
  const cut = withDead.length > QUEUES_MAX || places.length > AREAS_MAX || realms.length > AREAS_MAX
  const more = letters.some(view => view.state === "there" && (view.total ?? 0) > view.data.messages.length)
  return (
    <>
      {(failed !== undefined || cut || more) && (
        <p class="banner" data-kind="partial" role="status">
          {failed !== undefined
            ? "Partly shown: some queues did not answer."
            : `Partly shown: the first ${exact(rows.length)}. Narrow by realm, or open a queue, to see the others.`}
        </p>
      )}
      <DeadLetterTable rows={rows} place />
    </>
  )
}
