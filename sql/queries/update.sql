-- Queries of the update room. Column lists stand in the order in which update_row() reads them.

-- name: counter_skip :exec writer
-- in: name text, n int
UPDATE counter SET value = value + $2 WHERE name = $1;

-- name: counter_next :one writer
-- in: name text    out: value int
UPDATE counter SET value = value + 1 WHERE name = $1 RETURNING value;

-- name: update_killed_set :exec writer
-- in: now int
INSERT INTO counter (name, value) VALUES ('killed_at', $1)
ON CONFLICT (name) DO UPDATE SET value = $1;

-- name: update_killed_at :one reader
-- out: value int; none when no start followed a kill
SELECT value FROM counter WHERE name = 'killed_at';

-- name: update_by_id :one reader
-- in: id int    out: update
SELECT id, project_id, device_id, firmware_id, module, from_version, to_version, cause, state,
  attempt, bytes_total, bytes_served, percent, coverage, suspect, link_until, retry_at,
  deadline_at, created_at, updated_at, ended_at, campaign_id, phase, reason
FROM ota_update WHERE id = $1;

-- name: update_linked :one reader
-- in: id int    out: project_id, firmware_id, to_version, state of the update, enabled of its device,
--     campaign_id, device_id, module, from_version, state of the campaign (NULL), 1 when it has
--     ended and this is none that it takes back
SELECT u.project_id, u.firmware_id, u.to_version, u.state, d.enabled, u.campaign_id, u.device_id,
  u.module, u.from_version, c.state, c.ended_at IS NOT NULL AND u.phase <> 1000
FROM ota_update u JOIN device d ON d.id = u.device_id LEFT JOIN campaign c ON c.id = u.campaign_id
WHERE u.id = $1;

-- name: update_active :many reader
-- in: device_id int    out: update
-- The bound on module keeps the planner to index ota_update_active: the others hold the ended too.
SELECT id, project_id, device_id, firmware_id, module, from_version, to_version, cause, state,
  attempt, bytes_total, bytes_served, percent, coverage, suspect, link_until, retry_at,
  deadline_at, created_at, updated_at, ended_at, campaign_id, phase, reason
FROM ota_update WHERE device_id = $1 AND module >= '' AND ended_at IS NULL;

-- name: update_around :many reader
-- in: gateway_id int, device_id int, of a device that stands behind a gateway
-- out: id, device_id, firmware_id, module, state, type_id of the outermost gateway, 1 for an
--     update of that gateway itself, 0 for one of another device behind it, and updated_at. Only
--     those that are offered or in progress.
WITH RECURSIVE up (id, gateway_id, type_id) AS (
  SELECT id, gateway_id, type_id FROM device WHERE id = $1
  UNION SELECT d.id, d.gateway_id, d.type_id FROM up JOIN device d ON d.id = up.gateway_id)
SELECT u.id, u.device_id, u.firmware_id, u.module, u.state, g.type_id, 0,
  u.updated_at
FROM up g CROSS JOIN ota_update u
WHERE g.gateway_id IS NULL AND u.gateway_id = g.id AND u.ended_at IS NULL AND u.device_id <> $2
  AND u.state <> 'planned'
UNION ALL
SELECT u.id, u.device_id, u.firmware_id, u.module, u.state, g.type_id, 1,
  u.updated_at
FROM up g CROSS JOIN ota_update u
WHERE g.gateway_id IS NULL AND g.id <> $1 AND u.device_id = g.id AND u.module >= ''
  AND u.ended_at IS NULL AND u.state <> 'planned';

-- name: update_beneath :many reader
-- in: id int of a device that stands behind no other
-- out: id, device_id, firmware_id, module, state, updated_at of what is offered or in progress
--     behind it
SELECT id, device_id, firmware_id, module, state, updated_at FROM ota_update
WHERE gateway_id = $1 AND ended_at IS NULL AND state <> 'planned';

-- name: update_active_of :one reader
-- in: device_id int, module text    out: update
SELECT id, project_id, device_id, firmware_id, module, from_version, to_version, cause, state,
  attempt, bytes_total, bytes_served, percent, coverage, suspect, link_until, retry_at,
  deadline_at, created_at, updated_at, ended_at, campaign_id, phase, reason
FROM ota_update WHERE device_id = $1 AND module = $2 AND ended_at IS NULL;

-- name: update_verified_last :one reader
-- in: device_id int, module text, since int
-- out: id, firmware_id, from_version, to_version, campaign_id, phase, suspect, 1 when it fell back
--     before, ended_at, of the last that ended of the module, when it was verified since then
SELECT id, firmware_id, from_version, to_version, campaign_id, phase, suspect,
  EXISTS (SELECT 1 FROM ota_update_history h WHERE h.update_id = l.id AND h.cause = 'fell_back'),
  ended_at
FROM (
  SELECT id, firmware_id, from_version, to_version, campaign_id, phase, suspect, state, ended_at
  FROM ota_update
  WHERE device_id = $1 AND module = $2 AND ended_at IS NOT NULL ORDER BY id DESC LIMIT 1) l
WHERE state = 'verified' AND ended_at > $3;

-- name: update_past :many reader
-- in: device_id int, since int    out: firmware_id, attempt, ended_at, state, cause
SELECT firmware_id, attempt, ended_at, state, cause FROM ota_update
WHERE device_id = $1 AND ended_at > $2 AND state <> 'verified';

-- name: update_insert :exec writer
-- in: id, project_id, device_id, module, firmware_id, from_version, to_version, state, cause,
--     bytes_total, link_until, deadline_at, created_at (also updated_at), campaign_id, phase
INSERT INTO ota_update (id, project_id, device_id, module, firmware_id, from_version, to_version,
  state, cause, bytes_total, link_until, deadline_at, created_at, updated_at, campaign_id, phase,
  gateway_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14, $15,
  (WITH RECURSIVE up (id, gateway_id) AS (SELECT id, gateway_id FROM device WHERE id = $3
     UNION SELECT d.id, d.gateway_id FROM up JOIN device d ON d.id = up.gateway_id)
   SELECT id FROM up WHERE gateway_id IS NULL AND id <> $3));

-- name: update_store :exec writer
-- in: id, and everything that the life of an update changes
UPDATE ota_update SET state = $2, attempt = $3, bytes_served = $4, coverage = $5, percent = $6,
  suspect = $7, cause = $8, link_until = $9, retry_at = $10, deadline_at = $11, updated_at = $12,
  reason = $13, ended_at = $14
WHERE id = $1;

-- name: update_store_open :exec writer
-- in: as update_store, without ended_at, of one that is not over. Writing ended_at, even with what
-- it was, would make every index of the open ones anew. What left again counts per attempt.
UPDATE ota_update SET state = $2, attempt = $3,
  bytes_again = CASE WHEN attempt = $3 THEN bytes_again ELSE 0 END, bytes_served = $4, coverage = $5, percent = $6,
  suspect = $7, cause = $8, link_until = $9, retry_at = $10, deadline_at = $11, updated_at = $12,
  reason = $13
WHERE id = $1;

-- name: update_progress :exec writer
-- in: id, bytes_served, coverage, percent, suspect, updated_at. Touches no index.
UPDATE ota_update SET bytes_served = $2, coverage = $3, percent = $4, suspect = $5,
  updated_at = $6
WHERE id = $1;

-- name: update_again :one writer
-- in: id int, bytes int    out: all of this attempt
UPDATE ota_update SET bytes_again = bytes_again + $2 WHERE id = $1 RETURNING bytes_again;

-- name: update_link :exec writer
-- in: id int, link_until int, updated_at int
UPDATE ota_update SET link_until = $2, updated_at = $3 WHERE id = $1;

-- name: update_history_add :exec writer
-- in: update_id, at, from_state, to_state, cause, text
INSERT INTO ota_update_history (update_id, seq, at, from_state, to_state, cause, text)
VALUES ($1, (SELECT coalesce(max(seq), 0) + 1 FROM ota_update_history WHERE update_id = $1),
  $2, $3, $4, $5, $6);

-- name: update_history :many reader
-- in: update_id int    out: seq, at, from_state, to_state, cause, text
SELECT seq, at, from_state, to_state, cause, text FROM ota_update_history
WHERE update_id = $1 ORDER BY seq;

-- name: update_due :many reader
-- in: now int, limit int    out: id int, deadline_at int
SELECT id, deadline_at FROM ota_update
WHERE ended_at IS NULL AND deadline_at <= $1 ORDER BY deadline_at LIMIT $2;

-- name: update_next_deadline :one reader
-- in: (none)    out: deadline_at int
SELECT deadline_at FROM ota_update WHERE ended_at IS NULL AND deadline_at IS NOT NULL
ORDER BY deadline_at LIMIT 1;

-- Lists: the parameters of all five are $1 project_id, $2 device_id, $3 firmware_id (0 = any),
-- $4 state ('' = any), $5 1 = only those under way, $6 before, $7 limit. The plus signs keep the
-- planner to the index that the name says.

-- name: update_list :many reader
SELECT id, project_id, device_id, firmware_id, module, from_version, to_version, cause, state,
  attempt, bytes_total, bytes_served, percent, coverage, suspect, link_until, retry_at,
  deadline_at, created_at, updated_at, ended_at, campaign_id, phase, reason
FROM ota_update
WHERE project_id = $1 AND ($2 = 0 OR device_id = $2) AND ($3 = 0 OR firmware_id = $3)
  AND ($4 = '' OR state = $4) AND ($5 = 0 OR ended_at IS NULL) AND id < $6
ORDER BY id DESC LIMIT $7;

-- name: update_list_device :many reader
SELECT id, project_id, device_id, firmware_id, module, from_version, to_version, cause, state,
  attempt, bytes_total, bytes_served, percent, coverage, suspect, link_until, retry_at,
  deadline_at, created_at, updated_at, ended_at, campaign_id, phase, reason
FROM ota_update
WHERE +project_id = $1 AND device_id = $2 AND ($3 = 0 OR firmware_id = $3)
  AND ($4 = '' OR state = $4) AND ($5 = 0 OR ended_at IS NULL) AND id < $6
ORDER BY id DESC LIMIT $7;

-- name: update_list_firmware :many reader
SELECT id, project_id, device_id, firmware_id, module, from_version, to_version, cause, state,
  attempt, bytes_total, bytes_served, percent, coverage, suspect, link_until, retry_at,
  deadline_at, created_at, updated_at, ended_at, campaign_id, phase, reason
FROM ota_update
WHERE +project_id = $1 AND ($2 = 0 OR device_id = $2) AND firmware_id = $3
  AND ($4 = '' OR state = $4) AND ($5 = 0 OR ended_at IS NULL) AND id < $6
ORDER BY id DESC LIMIT $7;

-- name: update_list_state :many reader
SELECT id, project_id, device_id, firmware_id, module, from_version, to_version, cause, state,
  attempt, bytes_total, bytes_served, percent, coverage, suspect, link_until, retry_at,
  deadline_at, created_at, updated_at, ended_at, campaign_id, phase, reason
FROM ota_update
WHERE project_id = $1 AND ($2 = 0 OR device_id = $2) AND ($3 = 0 OR firmware_id = $3)
  AND state = $4 AND ($5 = 0 OR ended_at IS NULL) AND id < $6
ORDER BY id DESC LIMIT $7;

-- name: update_list_open :many reader
SELECT id, project_id, device_id, firmware_id, module, from_version, to_version, cause, state,
  attempt, bytes_total, bytes_served, percent, coverage, suspect, link_until, retry_at,
  deadline_at, created_at, updated_at, ended_at, campaign_id, phase, reason
FROM ota_update
WHERE project_id = $1 AND ($2 = 0 OR device_id = $2) AND ($3 = 0 OR firmware_id = $3)
  AND ($4 = '' OR state = $4) AND $5 = 1 AND ended_at IS NULL AND id < $6
ORDER BY id DESC LIMIT $7;

-- Of a campaign: $8 is its id.

-- name: update_list_campaign :many reader
SELECT id, project_id, device_id, firmware_id, module, from_version, to_version, cause, state,
  attempt, bytes_total, bytes_served, percent, coverage, suspect, link_until, retry_at,
  deadline_at, created_at, updated_at, ended_at, campaign_id, phase, reason
FROM ota_update
WHERE +project_id = $1 AND campaign_id = $8 AND ($2 = 0 OR +device_id = $2) AND ($3 = 0 OR firmware_id = $3)
  AND ($4 = '' OR +state = $4) AND ($5 = 0 OR ended_at IS NULL) AND id < $6
ORDER BY id DESC LIMIT $7;

-- name: update_list_campaign_state :many reader
SELECT id, project_id, device_id, firmware_id, module, from_version, to_version, cause, state,
  attempt, bytes_total, bytes_served, percent, coverage, suspect, link_until, retry_at,
  deadline_at, created_at, updated_at, ended_at, campaign_id, phase, reason
FROM ota_update
WHERE +project_id = $1 AND campaign_id = $8 AND ($2 = 0 OR +device_id = $2) AND ($3 = 0 OR firmware_id = $3)
  AND state = $4 AND ($5 = 0 OR ended_at IS NULL) AND id < $6
ORDER BY id DESC LIMIT $7;

-- name: update_list_campaign_device :many reader
SELECT id, project_id, device_id, firmware_id, module, from_version, to_version, cause, state,
  attempt, bytes_total, bytes_served, percent, coverage, suspect, link_until, retry_at,
  deadline_at, created_at, updated_at, ended_at, campaign_id, phase, reason
FROM ota_update
WHERE +project_id = $1 AND campaign_id = $8 AND device_id = $2 AND ($3 = 0 OR firmware_id = $3)
  AND ($4 = '' OR +state = $4) AND ($5 = 0 OR ended_at IS NULL) AND id < $6
ORDER BY id DESC LIMIT $7;

-- name: update_list_campaign_open :many reader
SELECT id, project_id, device_id, firmware_id, module, from_version, to_version, cause, state,
  attempt, bytes_total, bytes_served, percent, coverage, suspect, link_until, retry_at,
  deadline_at, created_at, updated_at, ended_at, campaign_id, phase, reason
FROM ota_update
WHERE project_id = $1 AND +campaign_id = $8 AND ($2 = 0 OR +device_id = $2)
  AND ($3 = 0 OR firmware_id = $3) AND ($4 = '' OR +state = $4) AND $5 = 1 AND ended_at IS NULL
  AND id < $6
ORDER BY id DESC LIMIT $7;

-- Counts: the first five parameters; $6 is the campaign.

-- name: update_count_device :one reader
SELECT count(*) FROM ota_update
WHERE +project_id = $1 AND device_id = $2 AND ($3 = 0 OR firmware_id = $3)
  AND ($4 = '' OR state = $4) AND ($5 = 0 OR ended_at IS NULL);

-- name: update_count_firmware :one reader
SELECT count(*) FROM ota_update
WHERE +project_id = $1 AND ($2 = 0 OR device_id = $2) AND firmware_id = $3
  AND ($4 = '' OR state = $4) AND ($5 = 0 OR ended_at IS NULL);

-- name: update_count_open :one reader
SELECT count(*) FROM ota_update
WHERE project_id = $1 AND ($2 = 0 OR device_id = $2) AND ($3 = 0 OR firmware_id = $3)
  AND ($4 = '' OR state = $4) AND $5 = 1 AND ended_at IS NULL;

-- name: update_count_campaign :one reader
SELECT count(*) FROM ota_update
WHERE +project_id = $1 AND campaign_id = $6 AND ($2 = 0 OR +device_id = $2) AND ($3 = 0 OR firmware_id = $3)
  AND ($4 = '' OR state = $4) AND ($5 = 0 OR ended_at IS NULL);

-- Without a device or a firmware the campaign's own counters know it, however many there are.

-- name: update_count_campaign_kept :one reader
-- in: project_id, campaign_id, state ('' = any). Users who are asked are counted beside the updates.
SELECT coalesce(sum(n.n), 0) FROM campaign c JOIN campaign_count n ON n.campaign_id = c.id
WHERE c.id = $2 AND c.project_id = $1 AND ($3 = '' OR n.state = $3)
  AND n.state NOT IN ('awaiting_consent', 'consent_confirmed', 'consent_refused');

-- name: update_count_campaign_active :one reader
-- in: project_id, campaign_id
SELECT coalesce(sum(c.active + coalesce((SELECT sum(n.n) FROM campaign_count n
  WHERE n.campaign_id = c.id AND n.state = 'deferred'), 0)), 0)
FROM campaign c WHERE c.id = $2 AND c.project_id = $1;

-- name: update_count_campaign_device :one reader
SELECT count(*) FROM ota_update
WHERE +project_id = $1 AND campaign_id = $6 AND device_id = $2 AND ($3 = 0 OR firmware_id = $3)
  AND ($4 = '' OR +state = $4) AND ($5 = 0 OR ended_at IS NULL);

-- name: update_count_campaign_state :one reader
SELECT count(*) FROM ota_update
WHERE +project_id = $1 AND campaign_id = $6 AND ($2 = 0 OR +device_id = $2)
  AND ($3 = 0 OR firmware_id = $3) AND state = $4 AND ($5 = 0 OR ended_at IS NULL);

-- name: update_count_campaign_open :one reader
SELECT count(*) FROM ota_update
WHERE project_id = $1 AND +campaign_id = $6 AND ($2 = 0 OR +device_id = $2)
  AND ($3 = 0 OR firmware_id = $3) AND ($4 = '' OR +state = $4) AND $5 = 1 AND ended_at IS NULL;

-- Totals of one filter alone, by an index that holds all they need.

-- name: update_total :one reader
-- in: project_id int
SELECT count(*) FROM ota_update INDEXED BY ota_update_project WHERE project_id = $1;

-- name: update_total_state :one reader
-- in: project_id int, state text
SELECT count(*) FROM ota_update INDEXED BY ota_update_state WHERE project_id = $1 AND state = $2;

-- name: update_total_firmware :one reader
-- in: project_id int, firmware_id int
SELECT count(*) FROM ota_update INDEXED BY ota_update_firmware WHERE firmware_id = $2
  AND EXISTS (SELECT 1 FROM firmware f WHERE f.id = $2 AND f.project_id = $1);

-- What devices log.

-- name: update_log_add :exec writer
-- in: update_id int, at int, source text, body blob
INSERT INTO update_log (update_id, at, source, body) VALUES ($1, $2, $3, $4);

-- name: update_log_room :one reader
-- in: update_id int    out: how many logs it has, 1 when its device is enabled
SELECT (SELECT count(*) FROM update_log l WHERE l.update_id = u.id), d.enabled
FROM ota_update u JOIN device d ON d.id = u.device_id WHERE u.id = $1;

-- name: update_logs :many reader
-- in: update_id int    out: id int, at int, source text, size int
SELECT id, at, source, length(body) FROM update_log WHERE update_id = $1 ORDER BY id;

-- name: update_log :one reader
-- in: update_id int, id int    out: body blob
SELECT body FROM update_log WHERE id = $2 AND update_id = $1;

-- name: update_log_of :one reader
-- in: device_id int, module text (NULL = any), since int
-- out: id of its last update, when that is under way or ended since
SELECT id FROM (SELECT id, ended_at FROM ota_update
  WHERE device_id = $1 AND ($2 IS NULL OR module = $2) ORDER BY id DESC LIMIT 1)
WHERE ended_at IS NULL OR ended_at > $3;

-- name: update_log_forget :exec writer
-- in: keep int, before int, limit int: the oldest, beyond so many or of before
DELETE FROM update_log WHERE id IN (
  SELECT id FROM update_log WHERE id <= (SELECT max(b.bound) FROM (
      SELECT (SELECT n.id FROM update_log n WHERE n.id > 0 ORDER BY n.id DESC LIMIT 1) - $1 AS bound
      UNION ALL
      SELECT (SELECT o.id FROM update_log o INDEXED BY update_log_at WHERE o.at < $2
        ORDER BY o.at DESC, o.id DESC LIMIT 1)) b)
  ORDER BY id LIMIT $3);

-- name: update_retries :many reader
-- in: campaign_id int, retry_at int, id int (after these), now int, limit int
-- out: retry_at, id, device_id of attempts of the campaign that are due
SELECT retry_at, id, device_id FROM ota_update INDEXED BY ota_update_again
WHERE state = 'planned' AND campaign_id = $1 AND (retry_at, id) > ($2, $3) AND retry_at <= $4
ORDER BY retry_at, id LIMIT $5;

-- name: update_retries_next :one reader
-- in: after int (campaign_id)    out: the next campaign of which an update waits for an attempt
SELECT campaign_id FROM ota_update INDEXED BY ota_update_again
WHERE state = 'planned' AND campaign_id > $1 ORDER BY campaign_id LIMIT 1;

-- ---- offers that were sent unasked, and may not have reached the broker ----

-- name: push_unsent_add :exec writer
-- in: id, update_id, device_id
INSERT INTO push_unsent (id, update_id, device_id) VALUES ($1, $2, $3);

-- name: push_unsent_drop :exec writer
-- in: id
DELETE FROM push_unsent WHERE id = $1;

-- name: push_unsent_reached :exec writer
-- in: after int, upto int (of id): these have
DELETE FROM push_unsent WHERE id > $1 AND id <= $2;

-- name: push_unsent_list :many reader
-- in: after int, upto int, limit int    out: id, update_id, device_id
SELECT id, update_id, device_id FROM push_unsent WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3;

-- name: push_unsent_of :many reader
-- in: after int, upto int, limit int, device_id int    out: id, update_id, device_id
SELECT id, update_id, device_id FROM push_unsent
WHERE device_id = $4 AND id > $1 AND id <= $2 ORDER BY id LIMIT $3;
