-- Campaigns that end by themselves: a walk goes on when a device has ended, and stands at the one
-- that has not (held_by).
ALTER TABLE campaign_walk ADD COLUMN held_by INTEGER;

INSERT INTO campaign_walk (campaign_id, kind, going)
SELECT id, 'end', 1 FROM campaign WHERE state = 'running' AND deleted_at IS NULL
ON CONFLICT DO NOTHING;
