// Realm declarations in SQLite: one row each, as JSON.
// Must never decide what a declaration means: that is broker/domains/realms.ts.

import type { RealmStore } from "../domains/realms.ts"
import type { RealmDefinition, StoredRealm } from "../domains/views/realms.ts"
import type { Database, Statement } from "./database.ts"
import { strongTag } from "./digest.ts"

export class SqliteRealmStore implements RealmStore {
  private readonly selectAll: Statement<[], string>
  private readonly upsert: Statement<[string, string]>
  private readonly erase: Statement<[string]>

  constructor(database: Database) {
    this.selectAll = database.prepare<[], string>("SELECT definition FROM realm ORDER BY name").pluck()
    this.upsert = database.prepare("INSERT OR REPLACE INTO realm VALUES (?, ?)")
    this.erase = database.prepare("DELETE FROM realm WHERE name = ?")
  }

  *all(): Generator<StoredRealm> {
    for (const text of this.selectAll.all()) yield tagged(JSON.parse(text) as RealmDefinition)
  }

  put(definition: RealmDefinition): StoredRealm {
    const form = canonical(definition)
    this.upsert.run(form.realm, JSON.stringify(form))
    return tagged(form)
  }

  remove(realm: string): void {
    this.erase.run(realm)
  }
}

/** The same content in the same order of keys, whatever order it came in. */
function canonical({
  realm,
  displayName,
  description,
  labels,
  limits,
  managedBy,
}: RealmDefinition): RealmDefinition {
  const { maxSessions, maxSubscriptions, maxQueueMessages, maxStreams } = limits
  return {
    realm,
    displayName,
    description,
    labels: Object.fromEntries(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))),
    limits: { maxSessions, maxSubscriptions, maxQueueMessages, maxStreams },
    managedBy,
  }
}

function tagged(definition: RealmDefinition): StoredRealm {
  return { ...definition, etag: strongTag(definition) }
}
