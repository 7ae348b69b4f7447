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
