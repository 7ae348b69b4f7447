-- Tasks, their runs, and messages that are kept for devices that are offline.

CREATE TABLE task (
  id              INTEGER PRIMARY KEY,
  project_id      INTEGER NOT NULL REFERENCES project (id),
  name            TEXT NOT NULL,
  enabled         INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
  action          TEXT NOT NULL CHECK (action IN ('ota_push', 'command_send', 'attributes_push')),
  params          TEXT NOT NULL,
  type_id         INTEGER REFERENCES device_type (id) ON DELETE CASCADE,
  tags            TEXT,
  schedule        TEXT NOT NULL,
  timezone        TEXT NOT NULL,
  grace_s         INTEGER NOT NULL,
  rate_per_minute INTEGER NOT NULL,
  next_at         INTEGER,
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL,
  revision        INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX task_project ON task (project_id, id);
CREATE INDEX task_type ON task (type_id) WHERE type_id IS NOT NULL;
CREATE INDEX task_next ON task (next_at) WHERE enabled = 1 AND next_at IS NOT NULL;

-- The devices of a task that is for a list.
CREATE TABLE task_device (
  task_id   INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE,
  device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  PRIMARY KEY (task_id, device_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_device_device ON task_device (device_id);

-- cursor: every target up to this device was handled. confirmed: … and what was sent has reached
-- the broker. allowance: millionths of messages that the
-- rate allows, as of allowance_at.
CREATE TABLE task_run (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  task_id      INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE,
  cause        TEXT NOT NULL CHECK (cause IN ('schedule', 'operator')),
  chosen       INTEGER NOT NULL DEFAULT 0 CHECK (chosen IN (0, 1)),
  state        TEXT NOT NULL CHECK (state IN ('running', 'done', 'skipped', 'canceled')),
  reason       TEXT NOT NULL DEFAULT '',
  cursor       INTEGER NOT NULL DEFAULT 0,
  confirmed    INTEGER NOT NULL DEFAULT 0,
  allowance    INTEGER NOT NULL DEFAULT 1000000,
  allowance_at INTEGER NOT NULL,
  due_at       INTEGER NOT NULL,
  started_at   INTEGER NOT NULL,
  ended_at     INTEGER
) STRICT;
CREATE INDEX task_run_task ON task_run (task_id, id);
CREATE UNIQUE INDEX task_run_open ON task_run (task_id) WHERE ended_at IS NULL;
CREATE INDEX task_run_unconfirmed ON task_run (id) WHERE confirmed < cursor;

-- The devices that a run by hand was given.
CREATE TABLE task_run_target (
  run_id    INTEGER NOT NULL REFERENCES task_run (id) ON DELETE CASCADE,
  device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  PRIMARY KEY (run_id, device_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_run_target_device ON task_run_target (device_id);

-- The key is the promise: each device at most once per run.
CREATE TABLE task_run_device (
  run_id     INTEGER NOT NULL REFERENCES task_run (id) ON DELETE CASCADE,
  device_id  INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  result     TEXT NOT NULL,
  reason     TEXT NOT NULL,
  message_id INTEGER,
  at         INTEGER NOT NULL,
  PRIMARY KEY (run_id, device_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_run_device_device ON task_run_device (device_id, message_id);

CREATE TABLE task_run_count (
  run_id INTEGER NOT NULL REFERENCES task_run (id) ON DELETE CASCADE,
  result TEXT NOT NULL,
  reason TEXT NOT NULL,
  n      INTEGER NOT NULL,
  PRIMARY KEY (run_id, result, reason)
) STRICT, WITHOUT ROWID;

-- What waits for a device's next sign of life: at most one message of a task.
CREATE TABLE task_kept (
  device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  task_id   INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE,
  run_id    INTEGER NOT NULL REFERENCES task_run (id) ON DELETE CASCADE,
  PRIMARY KEY (device_id, task_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_kept_task ON task_kept (task_id);
CREATE INDEX task_kept_run ON task_kept (run_id);
