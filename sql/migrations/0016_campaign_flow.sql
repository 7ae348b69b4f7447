-- What a campaign did when, by the minute (kept for hours) and the hour; and what its failures are
-- counted as.

CREATE TABLE campaign_flow (
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  step        INTEGER NOT NULL,
  at          INTEGER NOT NULL,
  phase       INTEGER NOT NULL,
  offered     INTEGER NOT NULL DEFAULT 0,
  verified    INTEGER NOT NULL DEFAULT 0,
  suspect     INTEGER NOT NULL DEFAULT 0,
  failed      INTEGER NOT NULL DEFAULT 0,
  rolled_back INTEGER NOT NULL DEFAULT 0,
  timed_out   INTEGER NOT NULL DEFAULT 0,
  rejected    INTEGER NOT NULL DEFAULT 0,
  canceled    INTEGER NOT NULL DEFAULT 0,
  attempts    INTEGER NOT NULL DEFAULT 0,
  bytes       INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (campaign_id, step, at, phase)
) STRICT, WITHOUT ROWID;
CREATE INDEX campaign_flow_age ON campaign_flow (step, at);

CREATE TABLE campaign_reason (
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  phase       INTEGER NOT NULL,
  state       TEXT NOT NULL,
  reason      TEXT NOT NULL,
  n           INTEGER NOT NULL,
  PRIMARY KEY (campaign_id, phase, state, reason)
) STRICT, WITHOUT ROWID;

-- What its failure is counted as; '' = it did not fail, or before there were reasons.
ALTER TABLE ota_update ADD COLUMN reason TEXT NOT NULL DEFAULT '';
