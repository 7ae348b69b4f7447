-- The application side: credentials of a project's applications, and what is on its way down to a
-- device because somebody asked for it: commands, and attributes that it is to take over.

-- token: the applications sign with it, so its text is needed to check them; of the secret the
-- hash is enough.
CREATE TABLE project_app (
  project_id  INTEGER PRIMARY KEY REFERENCES project (id) ON DELETE CASCADE,
  key         TEXT NOT NULL UNIQUE,
  secret_hash TEXT NOT NULL,
  token       TEXT NOT NULL,
  live        INTEGER NOT NULL DEFAULT 0 CHECK (live IN (0, 1)),
  created_at  INTEGER NOT NULL,
  rotated_at  INTEGER NOT NULL,
  revision    INTEGER NOT NULL DEFAULT 1
) STRICT;

ALTER TABLE device_type ADD COLUMN down_interval_ms INTEGER NOT NULL DEFAULT 2000;
ALTER TABLE device_type ADD COLUMN reply_wait_ms INTEGER NOT NULL DEFAULT 30000;
ALTER TABLE device_type ADD COLUMN reply_retries INTEGER NOT NULL DEFAULT 2;
ALTER TABLE device_type ADD COLUMN offline_delay_s INTEGER NOT NULL DEFAULT 300;

-- method NULL: attributes. message_id: what a command's reply repeats, of the same counter as the
-- updates. app_id: the id that the application gave, as JSON; it gets that one back. next_at: the
-- next moment at which something is to be done.
CREATE TABLE device_down (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  device_id  INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  method     TEXT,
  params     TEXT NOT NULL,
  message_id INTEGER,
  app_id     TEXT,
  state      TEXT NOT NULL CHECK (state IN ('queued', 'sent', 'replied', 'timed_out', 'canceled')),
  attempts   INTEGER NOT NULL DEFAULT 0,
  reply      TEXT,
  next_at    INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  sent_at    INTEGER,
  ended_at   INTEGER
) STRICT;
CREATE INDEX device_down_device ON device_down (device_id, id);
CREATE INDEX device_down_message ON device_down (device_id, message_id)
  WHERE message_id IS NOT NULL;
CREATE INDEX device_down_open ON device_down (device_id, next_at) WHERE ended_at IS NULL;
CREATE INDEX device_down_due ON device_down (next_at) WHERE ended_at IS NULL;
CREATE INDEX device_down_ended ON device_down (ended_at) WHERE ended_at IS NOT NULL;
