// Format 2: what the admin surface writes and asks for. Realm declarations, what a schedule definition has
// besides its wire form, and the places by which inventories and dead letters are paged.

export const definitions = `
CREATE TABLE realm (
  name TEXT PRIMARY KEY,
  definition TEXT NOT NULL
) WITHOUT ROWID;

ALTER TABLE schedule ADD COLUMN enabled INTEGER NOT NULL DEFAULT 1;
ALTER TABLE schedule ADD COLUMN managed_by TEXT;

CREATE INDEX kv_route ON kv_resource (route, family);
CREATE INDEX stream_route ON stream_selector (text, family) WHERE instr(text, '*') = 0;
CREATE INDEX queue_dead_order ON queue_dead (queue, dead_at, message);
CREATE INDEX queue_delay_first ON queue_segment (queue, first) WHERE due IS NOT NULL;
`
