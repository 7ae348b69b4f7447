-- What operators did: each row holds the hash of the one before it, so none can be changed or
-- taken out without a trace. There is no foreign key: a row outlives what it tells of.
CREATE TABLE audit (
  id         INTEGER PRIMARY KEY,
  at         INTEGER NOT NULL,
  project_id INTEGER NOT NULL,
  project    TEXT NOT NULL,
  token_id   INTEGER NOT NULL,
  who        TEXT NOT NULL,
  address    TEXT NOT NULL,
  request_id TEXT NOT NULL,
  action     TEXT NOT NULL,
  object     TEXT NOT NULL,
  fields     TEXT NOT NULL,
  before     TEXT,
  after      TEXT,
  hash       BLOB NOT NULL
) STRICT;
CREATE INDEX audit_project ON audit (project_id, id);
CREATE INDEX audit_hash ON audit (hash);
CREATE TRIGGER audit_kept BEFORE DELETE ON audit
  BEGIN SELECT raise(ABORT, 'the audit log is kept'); END;
CREATE TRIGGER audit_fixed BEFORE UPDATE ON audit
  BEGIN SELECT raise(ABORT, 'the audit log is never changed'); END;

-- What happened, for those who watch: written in the transaction of what it tells of, ordered by
-- id, removed by count and age. device_id and object_id are 0 when it concerns none; project_id 0
-- is every project.
CREATE TABLE event (
  id         INTEGER PRIMARY KEY,
  at         INTEGER NOT NULL,
  project_id INTEGER NOT NULL,
  type       TEXT NOT NULL,
  device_id  INTEGER NOT NULL,
  object_id  INTEGER NOT NULL,
  data       TEXT NOT NULL
) STRICT;

-- Who is told of events over HTTP. cursor: every event up to this one has its deliveries.
-- The secret signs and so must be known; the one before it signs as well until its time is over.
CREATE TABLE webhook (
  id               INTEGER PRIMARY KEY,
  project_id       INTEGER NOT NULL REFERENCES project (id) ON DELETE CASCADE,
  name             TEXT NOT NULL,
  url              TEXT NOT NULL,
  types            TEXT NOT NULL,
  enabled          INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
  disabled_reason  TEXT NOT NULL DEFAULT '',
  secret           TEXT NOT NULL,
  old_secret       TEXT,
  old_secret_until INTEGER NOT NULL DEFAULT 0,
  cursor           INTEGER NOT NULL,
  failing_since    INTEGER NOT NULL DEFAULT 0,
  created_at       INTEGER NOT NULL,
  updated_at       INTEGER NOT NULL,
  revision         INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX webhook_project ON webhook (project_id, id);

-- One message to one webhook. next_at: when it is tried (again); NULL while the webhook is
-- disabled, and at its end.
CREATE TABLE webhook_delivery (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  webhook_id INTEGER NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
  message_id TEXT NOT NULL,
  type       TEXT NOT NULL,
  body       TEXT NOT NULL,
  state      TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
  attempts   INTEGER NOT NULL DEFAULT 0,
  status     INTEGER NOT NULL DEFAULT 0,
  error      TEXT NOT NULL DEFAULT '',
  created_at INTEGER NOT NULL,
  next_at    INTEGER,
  ended_at   INTEGER
) STRICT;
CREATE INDEX webhook_delivery_webhook ON webhook_delivery (webhook_id, id);
CREATE INDEX webhook_delivery_open ON webhook_delivery (webhook_id, next_at)
  WHERE ended_at IS NULL;
