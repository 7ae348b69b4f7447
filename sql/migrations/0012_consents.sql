-- Consent of the users of devices, asked for by campaigns. A row is made when a device is first
-- found admissible, or when it first speaks of its user; none before. offered: an offer left on it,
-- so its place in the phase is the update's. due_at: when otad acts on it by itself; push: then by
-- sending the offer (without due_at: at the device's next sign of life).

CREATE TABLE consent (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  device_id   INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  phase       INTEGER NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('asked', 'postponed', 'confirmed', 'refused')),
  offered     INTEGER NOT NULL DEFAULT 0 CHECK (offered IN (0, 1)),
  postponed   INTEGER NOT NULL DEFAULT 0,
  until       INTEGER,
  who         TEXT NOT NULL DEFAULT '',
  push        INTEGER NOT NULL DEFAULT 0 CHECK (push IN (0, 1)),
  due_at      INTEGER,
  asked_at    INTEGER NOT NULL,
  answered_at INTEGER,
  UNIQUE (campaign_id, device_id)
) STRICT;
CREATE INDEX consent_device ON consent (device_id, id);
CREATE INDEX consent_campaign ON consent (campaign_id, id);
CREATE INDEX consent_state ON consent (campaign_id, state, id);
CREATE INDEX consent_due ON consent (campaign_id, push, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX consent_kept ON consent (device_id) WHERE push = 1 AND due_at IS NULL;

-- Who said what; never changed.
CREATE TABLE consent_event (
  consent_id INTEGER NOT NULL REFERENCES consent (id) ON DELETE CASCADE,
  seq        INTEGER NOT NULL,
  at         INTEGER NOT NULL,
  state      TEXT NOT NULL,
  who        TEXT NOT NULL,
  text       TEXT NOT NULL,
  PRIMARY KEY (consent_id, seq)
) STRICT, WITHOUT ROWID;

-- The earliest due_at of its consents. asked: places that are held without an offer; refusals
-- count for the threshold `rejected` alone.
ALTER TABLE campaign ADD COLUMN consent_at INTEGER;
CREATE INDEX campaign_consent ON campaign (consent_at)
  WHERE consent_at IS NOT NULL AND state = 'running';
ALTER TABLE campaign_phase ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;
ALTER TABLE campaign_phase ADD COLUMN since_refused INTEGER NOT NULL DEFAULT 0;
