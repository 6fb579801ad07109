// Format 1. Bodies stand in packs (broker/domains/pack.ts), many to a row; indexes carry what a boot has to
// count, so that it reads no bodies.

export const initial = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO meta VALUES ('storage_id', lower(hex(randomblob(16)))), ('fence', 0), ('stream_indexed', 0);

-- Written and emptied to see whether a disk that was full has room again.
CREATE TABLE probe (filler BLOB);

CREATE TABLE kv_resource (
  id INTEGER PRIMARY KEY,
  family INTEGER NOT NULL,
  route TEXT NOT NULL,
  keys INTEGER NOT NULL,
  UNIQUE (family, route)
);
CREATE TABLE kv_entry (
  resource INTEGER NOT NULL,
  key BLOB NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (resource, key)
) WITHOUT ROWID;

CREATE TABLE queue (
  id INTEGER PRIMARY KEY,
  family INTEGER NOT NULL,
  route TEXT NOT NULL,
  next_id INTEGER NOT NULL,
  UNIQUE (family, route)
);
-- Messages with consecutive ids. One with a delay stands alone, with the moment it becomes ready.
CREATE TABLE queue_segment (
  id INTEGER PRIMARY KEY,
  queue INTEGER NOT NULL,
  first INTEGER NOT NULL,
  count INTEGER NOT NULL,
  due INTEGER,
  enqueued_at INTEGER NOT NULL,
  records BLOB NOT NULL
);
CREATE UNIQUE INDEX queue_log ON queue_segment (queue, first, count) WHERE due IS NULL;
CREATE INDEX queue_delay ON queue_segment (queue, due, first) WHERE due IS NOT NULL;
-- Which messages of a segment are gone, as bits, while some are not.
CREATE TABLE queue_gone (
  segment INTEGER PRIMARY KEY,
  queue INTEGER NOT NULL,
  count INTEGER NOT NULL,
  bits BLOB NOT NULL
);
CREATE TABLE queue_attempt (
  queue INTEGER NOT NULL,
  message INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  PRIMARY KEY (queue, message)
) WITHOUT ROWID;
CREATE TABLE queue_dead (
  queue INTEGER NOT NULL,
  message INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  reason TEXT NOT NULL,
  dead_at INTEGER NOT NULL,
  enqueued_at INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (queue, message)
);

-- Every stream stands in eight orders: under its own route and under the seven selectors that match it.
-- A row of an order holds the places of many segments; those of the newest segments, after meta's
-- stream_indexed, are not written yet.
CREATE TABLE stream_selector (
  id INTEGER PRIMARY KEY,
  family INTEGER NOT NULL,
  text TEXT NOT NULL,
  UNIQUE (family, text)
);
CREATE TABLE stream_segment (
  id INTEGER PRIMARY KEY,
  stream INTEGER NOT NULL,
  first_resource INTEGER NOT NULL,
  first_area INTEGER NOT NULL,
  first_realm INTEGER NOT NULL,
  first_global INTEGER NOT NULL,
  count INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  stream_bytes INTEGER NOT NULL,
  records BLOB NOT NULL
);
CREATE TABLE stream_order (
  selector INTEGER NOT NULL,
  first INTEGER NOT NULL,
  places BLOB NOT NULL,
  PRIMARY KEY (selector, first)
) WITHOUT ROWID;

CREATE TABLE schedule (
  family INTEGER NOT NULL,
  route TEXT NOT NULL,
  cron TEXT NOT NULL,
  single INTEGER NOT NULL,
  payload BLOB NOT NULL,
  PRIMARY KEY (family, route)
) WITHOUT ROWID;
`
