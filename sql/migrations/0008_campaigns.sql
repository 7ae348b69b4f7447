-- Campaigns: what was declared, where each stands, and what is counted. No row names a device
-- before its first offer, but for lists that an operator gave.

CREATE TABLE campaign (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  project_id   INTEGER NOT NULL REFERENCES project (id),
  type_id      INTEGER NOT NULL REFERENCES device_type (id),
  firmware_id  INTEGER NOT NULL REFERENCES firmware (id),
  rollback_id  INTEGER REFERENCES firmware (id),
  name         TEXT NOT NULL,
  definition   TEXT NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('draft', 'scheduled', 'running', 'paused', 'completed', 'aborted')),
  reason       TEXT NOT NULL DEFAULT '',
  starts_at    INTEGER,
  ends_at      INTEGER,
  phase        INTEGER NOT NULL DEFAULT 0,
  approval     INTEGER NOT NULL DEFAULT 0 CHECK (approval IN (0, 1)),
  rolling_back INTEGER NOT NULL DEFAULT 0 CHECK (rolling_back IN (0, 1)),
  device_max   INTEGER,
  active       INTEGER NOT NULL DEFAULT 0,
  sweep        INTEGER NOT NULL DEFAULT 0 CHECK (sweep IN (0, 1)),
  next_at      INTEGER,
  started_at   INTEGER,
  ended_at     INTEGER,
  created_at   INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL,
  deleted_at   INTEGER,
  revision     INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX campaign_project ON campaign (project_id, id);
CREATE INDEX campaign_type ON campaign (type_id);
CREATE INDEX campaign_firmware ON campaign (firmware_id);
CREATE INDEX campaign_rollback ON campaign (rollback_id) WHERE rollback_id IS NOT NULL;
CREATE INDEX campaign_next ON campaign (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX campaign_sweep ON campaign (sweep, id) WHERE sweep = 1;

-- Shares are in hundredths of a percent. since_…: since the campaign was last started or resumed,
-- for the thresholds; the gate looks at all of ended and verified.
CREATE TABLE campaign_phase (
  campaign_id       INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  no                INTEGER NOT NULL,
  gate_share        INTEGER NOT NULL,
  gate_sample       INTEGER NOT NULL,
  soak_s            INTEGER NOT NULL,
  approval          INTEGER NOT NULL CHECK (approval IN (0, 1)),
  opened_at         INTEGER,
  gate_at           INTEGER,
  offered           INTEGER NOT NULL DEFAULT 0,
  ended             INTEGER NOT NULL DEFAULT 0,
  verified          INTEGER NOT NULL DEFAULT 0,
  since_ended       INTEGER NOT NULL DEFAULT 0,
  since_failed      INTEGER NOT NULL DEFAULT 0,
  since_rolled_back INTEGER NOT NULL DEFAULT 0,
  since_timed_out   INTEGER NOT NULL DEFAULT 0,
  since_rejected    INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (campaign_id, no)
) STRICT, WITHOUT ROWID;

CREATE TABLE campaign_threshold (
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  kind        TEXT NOT NULL CHECK (kind IN ('failed', 'rolled_back', 'timed_out', 'rejected')),
  share       INTEGER NOT NULL,
  sample      INTEGER NOT NULL,
  action      TEXT NOT NULL CHECK (action IN ('pause', 'abort', 'rollback')),
  PRIMARY KEY (campaign_id, kind)
) STRICT, WITHOUT ROWID;

-- list: 0 the targets, -1 those denied, -2 for verification, else the number of the phase.
CREATE TABLE campaign_device (
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  list        INTEGER NOT NULL,
  device_id   INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  PRIMARY KEY (campaign_id, list, device_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX campaign_device_device ON campaign_device (device_id);

CREATE TABLE campaign_count (
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  phase       INTEGER NOT NULL,
  state       TEXT NOT NULL,
  n           INTEGER NOT NULL,
  PRIMARY KEY (campaign_id, phase, state)
) STRICT, WITHOUT ROWID;

-- Offers per second of a clock that does not jump, for as long as a minute lasts.
CREATE TABLE campaign_pace (
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  second      INTEGER NOT NULL,
  n           INTEGER NOT NULL,
  PRIMARY KEY (campaign_id, second)
) STRICT, WITHOUT ROWID;

ALTER TABLE ota_update ADD COLUMN campaign_id INTEGER REFERENCES campaign (id);
ALTER TABLE ota_update ADD COLUMN phase INTEGER NOT NULL DEFAULT 0;
CREATE INDEX ota_update_campaign ON ota_update (campaign_id, id) WHERE campaign_id IS NOT NULL;
CREATE INDEX ota_update_campaign_state ON ota_update (campaign_id, state, id)
  WHERE campaign_id IS NOT NULL;
CREATE INDEX ota_update_campaign_device ON ota_update (campaign_id, device_id)
  WHERE campaign_id IS NOT NULL;
