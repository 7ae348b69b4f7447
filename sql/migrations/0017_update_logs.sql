-- What devices log about an update: bytes as they came, few and not for long.
CREATE TABLE update_log (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  update_id INTEGER NOT NULL REFERENCES ota_update (id) ON DELETE CASCADE,
  at        INTEGER NOT NULL,
  source    TEXT NOT NULL CHECK (source IN ('http', 'mqtt')),
  body      BLOB NOT NULL
) STRICT;
CREATE INDEX update_log_update ON update_log (update_id, id);
CREATE INDEX update_log_at ON update_log (at);
