-- Bootstrap: devices that fetch their login themselves. What a project allows, how many devices
-- may still be made so, and which devices may fetch one. Task rows that are on their way out.

ALTER TABLE project ADD COLUMN bootstrap TEXT NOT NULL DEFAULT 'off'
  CHECK (bootstrap IN ('off', 'once', 'always'));
ALTER TABLE project ADD COLUMN bootstrap_create INTEGER NOT NULL DEFAULT 0
  CHECK (bootstrap_create >= 0);

-- A device with a row here may fetch a login until it is heard of after opened_at.
CREATE TABLE device_claim (
  device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
  opened_at INTEGER NOT NULL
) STRICT;

-- gone: nobody sees it any more; its rows are removed in slices.
ALTER TABLE task ADD COLUMN gone INTEGER NOT NULL DEFAULT 0 CHECK (gone IN (0, 1));
ALTER TABLE task_run ADD COLUMN gone INTEGER NOT NULL DEFAULT 0 CHECK (gone IN (0, 1));
CREATE INDEX task_gone ON task (id) WHERE gone = 1;
CREATE INDEX task_run_gone ON task_run (id) WHERE gone = 1;
