-- Campaigns that go through their devices by themselves. A walk goes by ascending numbers of
-- devices: those up to cursor were looked at.

-- push: offers are sent to those that are there; the row stays for as long as the campaign pushes.
CREATE TABLE campaign_walk (
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  kind        TEXT NOT NULL CHECK (kind IN ('push', 'end')),
  cursor      INTEGER NOT NULL DEFAULT 0,
  going       INTEGER NOT NULL CHECK (going IN (0, 1)),
  PRIMARY KEY (campaign_id, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX campaign_walk_going ON campaign_walk (kind, campaign_id) WHERE going = 1;

-- Offers that may not have reached the broker: sent again, under the same id, after a crash.
CREATE TABLE push_unsent (
  id        INTEGER PRIMARY KEY,
  update_id INTEGER NOT NULL,
  device_id INTEGER NOT NULL
) STRICT;
CREATE INDEX push_unsent_device ON push_unsent (device_id);

CREATE INDEX ota_update_retry ON ota_update (retry_at, id)
  WHERE state = 'planned' AND campaign_id IS NOT NULL;
