// Who is connected, and one session with what belongs to it. Sessions are live: they are gone with their
// connection.

import { pathOf } from "../api/client.ts"
import type { SearchAnswer, SessionRow } from "../api/types.ts"
import { CommandButton } from "../parts/dialog.tsx"
import { Facts, LifetimeTag, Moment, Tag } from "../parts/figures.tsx"
import { Link } from "../parts/link.tsx"
import { SessionList } from "../parts/lists.tsx"
import { Empty, Panel, ViewPanel } from "../parts/panel.tsx"
import { closeSession } from "../state/commands.ts"
import { useStats } from "../state/live.ts"
import { useParam } from "../state/navigation.ts"
import { viewOfHref } from "../state/places.ts"
import { LIST_EVERY_MS, useApi } from "../state/query.ts"
import { age, exact } from "../text/format.ts"

export function Sessions() {
  const [realm, setRealm] = useParam("realm")
  const stats = useStats()
  const realms = stats.state === "there" ? stats.data.broker.realms : []
  const known = realm === "" || realms.includes(realm) ? realms : [realm, ...realms]
  return (
    <>
      <div class="heading">
        <div>
          <h1>
            Sessions <LifetimeTag lifetime="live" />
          </h1>
          <p>
            Programs that are connected and let in. A session's realm is its own label; it ends with its
            connection, and what it holds ends with it.
          </p>
        </div>
        <label class="check">
          <span class="dim">Realm</span>
          <select class="input" value={realm} onChange={event => setRealm(event.currentTarget.value)}>
            <option value="">all</option>
            {known.map(name => (
              <option value={name}>{name}</option>
            ))}
          </select>
        </label>
      </div>
      <Panel flush>
        <SessionList params={{ realm }} />
      </Panel>
    </>
  )
}

export function SessionPage({ id }: { readonly id: string }) {
  const view = useApi<SessionRow>(pathOf("admin", "sessions", id))
  const owned = useApi<SearchAnswer>("search", { params: { q: id, limit: 100 }, everyMs: LIST_EVERY_MS })
  return (
    <>
      <div class="heading">
        <div>
          <h1>
            <span class="mono">{id}</span> <LifetimeTag lifetime="live" />
          </h1>
          <p>One program's session. What it owns ends with it.</p>
        </div>
        {view.state === "there" && (
          <CommandButton small={false} label="Close session" command={() => closeSession(view.data)} />
        )}
      </div>
      <div class="grid">
        <ViewPanel title="Who" class="span-5" view={view}>
          {row => (
            <Facts
              rows={[
                ["Subject", row.subject || "none"],
                [
                  "Identity",
                  row.identity_value === undefined
                    ? "none"
                    : `${row.identity_claim ?? ""} ${row.identity_value}`,
                ],
                ["Realm", row.realm === "" ? "none" : row.realm],
                ["Family", String(row.route_family ?? "")],
                ["From", <span class="mono">{row.remote_addr}</span>],
                ["By", row.transport === "tcp" ? "TCP" : "WebSocket"],
                ["Connected", <Moment at={row.connected_at} />],
                ["Idle for", age(row.idle_seconds)],
                ["Frames in", exact(row.messages_received)],
                ["Frames out", exact(row.messages_sent)],
              ]}
            />
          )}
        </ViewPanel>
        <ViewPanel title="What it holds now" class="span-7" flush view={owned}>
          {({ results, truncated }) => {
            const others = results.filter(result => result.domain !== "sessions")
            if (others.length === 0)
              return (
                <Empty title="Nothing is found">
                  No subscription, worker, lease, transaction or reservation names this session.
                </Empty>
              )
            return (
              <ul class="rows">
                {others.map(result => (
                  <li>
                    <Tag>
                      {result.domain} {result.kind.replaceAll("_", " ")}
                    </Tag>
                    <Link to={viewOfHref(result)} class="grow">
                      {result.title}
                    </Link>
                    <span class="dim wide">{result.summary}</span>
                  </li>
                ))}
                {truncated && <li class="dim">and more</li>}
              </ul>
            )
          }}
        </ViewPanel>
      </div>
    </>
  )
}
