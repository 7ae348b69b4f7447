-- To complete a campaign that held something back is a second person's to confirm, too.
CREATE TABLE campaign_request_wider (
  campaign_id INTEGER PRIMARY KEY REFERENCES campaign (id) ON DELETE CASCADE,
  action      TEXT NOT NULL CHECK (action IN ('start', 'resume', 'approve', 'complete', 'abort', 'change')),
  body        TEXT NOT NULL,
  revision    INTEGER NOT NULL,
  token_id    INTEGER NOT NULL,
  asked_by    TEXT NOT NULL,
  asked_at    INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL
) STRICT;
INSERT INTO campaign_request_wider
SELECT campaign_id, action, body, revision, token_id, asked_by, asked_at, expires_at
FROM campaign_request;
DROP TABLE campaign_request;
ALTER TABLE campaign_request_wider RENAME TO campaign_request;

-- Gates count devices, each by its last update in the phase; one that fell back from what was
-- verified is no success.
ALTER TABLE campaign_phase ADD COLUMN gate_ended INTEGER NOT NULL DEFAULT 0;
ALTER TABLE campaign_phase ADD COLUMN gate_verified INTEGER NOT NULL DEFAULT 0;
UPDATE campaign_phase SET (gate_ended, gate_verified) = (
  SELECT count(*), coalesce(sum(good), 0) FROM (
    SELECT max(u.id), u.state = 'verified' AND u.suspect = 0 AND NOT EXISTS (
      SELECT 1 FROM ota_update_history h WHERE h.update_id = u.id AND h.cause = 'fell_back') AS good
    FROM ota_update u
    WHERE u.campaign_id = campaign_phase.campaign_id AND u.phase = campaign_phase.no
      AND u.ended_at IS NOT NULL AND u.state <> 'canceled'
      AND NOT (u.state = 'rejected' AND u.cause = 'consent_refused')
    GROUP BY u.device_id))
WHERE campaign_id IN (SELECT id FROM campaign WHERE state IN ('running', 'paused'));

-- What waited for an offer while a campaign was paused has its time anew from here.
ALTER TABLE campaign ADD COLUMN resumed_at INTEGER;
