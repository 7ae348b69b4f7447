-- Attempts that are due again are looked at campaign by campaign: one that waits for its window or
-- its pace keeps its place, and holds up no other.
DROP INDEX ota_update_retry;
CREATE INDEX ota_update_again ON ota_update (campaign_id, retry_at, id)
  WHERE state = 'planned' AND campaign_id IS NOT NULL;
