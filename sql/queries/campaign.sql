-- Queries of the campaign room. Column lists stand in the order in which the room's row.c reads
-- them.

-- name: campaign_insert :exec writer
-- in: project_id, type_id, firmware_id, rollback_id, name, definition, starts_at, ends_at,
--     created_at (also updated_at)
INSERT INTO campaign (project_id, type_id, firmware_id, rollback_id, name, definition, state,
  starts_at, ends_at, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, 'draft', $7, $8, $9, $9);

-- name: campaign_update :exec writer
-- in: id, type_id, firmware_id, rollback_id, name, definition, starts_at, ends_at, updated_at,
--     state: next_at follows from these
UPDATE campaign SET type_id = $2, firmware_id = $3, rollback_id = $4, name = $5, definition = $6,
  starts_at = $7, ends_at = $8, updated_at = $9, revision = revision + 1,
  next_at = CASE WHEN state IN ('scheduled', 'running', 'paused') THEN $9 ELSE NULL END
WHERE id = $1;

-- name: campaign_delete :exec writer
-- in: id int, now int
UPDATE campaign SET deleted_at = $2, next_at = NULL WHERE id = $1;

-- name: campaign_holds_open :one reader
-- in: id    out: 1 when what it releases, or a delta of that, is open and enabled
SELECT 1 FROM campaign c JOIN firmware f ON f.id = c.firmware_id
JOIN firmware p ON p.type_id = f.type_id AND p.module = f.module AND p.version = f.version
WHERE c.id = $1 AND p.release = 'open' AND p.enabled = 1
  AND p.deleted_at IS NULL LIMIT 1;

-- name: campaign_by_id :one reader
-- in: project_id int, id int    out: campaign
SELECT id, project_id, type_id, firmware_id, rollback_id, name, definition, state, starts_at,
  ends_at, created_at, updated_at, revision, reason, phase, approval, rolling_back, active,
  started_at, ended_at
FROM campaign WHERE id = $2 AND ($1 = 0 OR project_id = $1) AND deleted_at IS NULL;

-- name: campaign_list :many reader
-- in: project_id, after, limit, type_id (0 = any), firmware_id (0 = any), state (NULL = any)
-- out: campaign
SELECT id, project_id, type_id, firmware_id, rollback_id, name, definition, state, starts_at,
  ends_at, created_at, updated_at, revision, reason, phase, approval, rolling_back, active,
  started_at, ended_at
FROM campaign WHERE project_id = $1 AND id > $2 AND deleted_at IS NULL
  AND ($4 = 0 OR type_id = $4) AND ($5 = 0 OR firmware_id = $5) AND ($6 IS NULL OR state = $6)
ORDER BY id LIMIT $3;

-- name: campaign_all :many reader scan
-- out: campaign
SELECT id, project_id, type_id, firmware_id, rollback_id, name, definition, state, starts_at,
  ends_at, created_at, updated_at, revision, reason, phase, approval, rolling_back, active,
  started_at, ended_at
FROM campaign WHERE deleted_at IS NULL ORDER BY id;

-- name: campaign_total :one reader
-- in: as campaign_list, without after and limit    out: count int
SELECT count(*) FROM campaign WHERE project_id = $1 AND deleted_at IS NULL
  AND ($2 = 0 OR type_id = $2) AND ($3 = 0 OR firmware_id = $3) AND ($4 IS NULL OR state = $4);

-- name: campaign_needs :one reader
-- in: firmware_id int    out: id of one that has not ended
SELECT id FROM campaign WHERE firmware_id = $1 AND deleted_at IS NULL
  AND (rolling_back = 1 OR state NOT IN ('completed', 'aborted'))
UNION ALL SELECT id FROM campaign WHERE rollback_id = $1 AND deleted_at IS NULL
  AND (rolling_back = 1 OR state NOT IN ('completed', 'aborted'))
LIMIT 1;

-- ---- lists of devices ----

-- name: campaign_device_add :exec writer
-- in: campaign_id, list, device_id
INSERT INTO campaign_device (campaign_id, list, device_id) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING;

-- name: campaign_device_clear :exec writer
-- in: campaign_id
DELETE FROM campaign_device WHERE campaign_id = $1;

-- name: campaign_devices :many reader
-- in: campaign_id    out: list, device_id
SELECT list, device_id FROM campaign_device WHERE campaign_id = $1 ORDER BY list, device_id;

-- name: campaign_device_keys :many reader
-- in: campaign_id, list    out: key
SELECT d.key FROM campaign_device l JOIN device d ON d.id = l.device_id
WHERE l.campaign_id = $1 AND l.list = $2 ORDER BY l.device_id;

-- ---- phases and thresholds ----

-- name: campaign_phase_put :exec writer
-- in: campaign_id, no, gate_share, gate_sample, soak_s, approval
INSERT INTO campaign_phase (campaign_id, no, gate_share, gate_sample, soak_s, approval)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (campaign_id, no) DO UPDATE SET gate_share = $3, gate_sample = $4, soak_s = $5,
  approval = $6;

-- name: campaign_phase_cut :exec writer
-- in: campaign_id, first, last: those outside go
DELETE FROM campaign_phase WHERE campaign_id = $1 AND (no < $2 OR no > $3);

-- name: campaign_threshold_put :exec writer
-- in: campaign_id, kind, share, sample, action
INSERT INTO campaign_threshold (campaign_id, kind, share, sample, action)
VALUES ($1, $2, $3, $4, $5);

-- name: campaign_threshold_clear :exec writer
-- in: campaign_id
DELETE FROM campaign_threshold WHERE campaign_id = $1;

-- name: campaign_phase_list :many reader
-- in: campaign_id    out: no, opened_at, gate_at, offered, ended, verified, gate_ended,
--     gate_verified
SELECT no, opened_at, gate_at, offered, ended, verified, gate_ended, gate_verified
FROM campaign_phase
WHERE campaign_id = $1 ORDER BY no;

-- name: campaign_phase_open :exec writer
-- in: campaign_id, no, now
UPDATE campaign_phase SET opened_at = $3, gate_at = NULL WHERE campaign_id = $1 AND no = $2;

-- name: campaign_phase_gate :one reader
-- in: campaign_id, no    out: gate_share, gate_sample, soak_s, approval, gate_at, gate_ended,
--     gate_verified, the number of the last phase
SELECT p.gate_share, p.gate_sample, p.soak_s, p.approval, p.gate_at, p.gate_ended, p.gate_verified,
  (SELECT max(l.no) FROM campaign_phase l WHERE l.campaign_id = $1)
FROM campaign_phase p WHERE p.campaign_id = $1 AND p.no = $2;

-- name: campaign_phase_gate_at :exec writer
-- in: campaign_id, no, gate_at (NULL = not met)
UPDATE campaign_phase SET gate_at = $3 WHERE campaign_id = $1 AND no = $2;

-- name: campaign_phase_since :exec writer
-- in: campaign_id: the thresholds count from here on
UPDATE campaign_phase SET since_ended = 0, since_failed = 0, since_rolled_back = 0,
  since_timed_out = 0, since_rejected = 0, since_refused = 0
WHERE campaign_id = $1;

-- name: campaign_phase_offered :exec writer
-- in: campaign_id, no
UPDATE campaign_phase SET offered = offered + 1 WHERE campaign_id = $1 AND no = $2;

-- name: campaign_phase_ended :exec writer
-- in: campaign_id, no, 1 for the one that it came to: verified, failed, rolled_back, timed_out,
--     rejected; 1 if thresholds see it
UPDATE campaign_phase SET ended = ended + 1, verified = verified + $3,
  since_ended = since_ended + $8, since_failed = since_failed + $4,
  since_rolled_back = since_rolled_back + $5, since_timed_out = since_timed_out + $6,
  since_rejected = since_rejected + $7
WHERE campaign_id = $1 AND no = $2;

-- name: campaign_withheld :one reader
-- in: campaign_id, device_id, phase    out: 1 when it is paused and its last update there was never
--     begun to be fetched: otad itself kept it from that
SELECT c.state = 'paused' AND coalesce((
  SELECT u.bytes_served = 0 FROM ota_update u INDEXED BY ota_update_campaign_device
  WHERE u.campaign_id = $1 AND u.device_id = $2 AND u.phase = $3 ORDER BY u.id DESC LIMIT 1), 0)
FROM campaign c WHERE c.id = $1;

-- name: campaign_device_results :many reader
-- in: campaign_id, device_id, phase    out: 1 for a success that holds, of the last two of its
--     updates that came to something
SELECT u.state = 'verified' AND u.suspect = 0 AND NOT EXISTS (
  SELECT 1 FROM ota_update_history h WHERE h.update_id = u.id AND h.cause = 'fell_back')
FROM ota_update u INDEXED BY ota_update_campaign_device
WHERE u.campaign_id = $1 AND u.device_id = $2 AND u.phase = $3 AND u.ended_at IS NOT NULL
  AND u.state <> 'canceled' AND NOT (u.state = 'rejected' AND u.cause = 'consent_refused')
ORDER BY u.id DESC LIMIT 2;

-- name: campaign_gate_add :exec writer
-- in: campaign_id, no, devices: that ended, that are verified; and of thresholds: rolled_back, and
--     that ended
UPDATE campaign_phase SET gate_ended = gate_ended + $3, gate_verified = gate_verified + $4,
  since_rolled_back = since_rolled_back + $5, since_ended = since_ended + $6
WHERE campaign_id = $1 AND no = $2;

-- name: campaign_crossed :one reader
-- in: campaign_id, no    out: kind, action of a threshold that is crossed. A user's refusal counts
--     for `rejected` alone: it must not water down what failed.
SELECT t.kind, t.action FROM campaign_threshold t JOIN campaign_phase p
  ON p.campaign_id = t.campaign_id AND p.no = $2
WHERE t.campaign_id = $1 AND CASE t.kind
  WHEN 'failed' THEN p.since_ended >= t.sample
    AND p.since_failed * 10000 > t.share * p.since_ended
  WHEN 'rolled_back' THEN p.since_ended >= t.sample
    AND p.since_rolled_back * 10000 > t.share * p.since_ended
  WHEN 'timed_out' THEN p.since_ended >= t.sample
    AND p.since_timed_out * 10000 > t.share * p.since_ended
  ELSE p.since_ended + p.since_refused >= t.sample
    AND (p.since_rejected + p.since_refused) * 10000 > t.share * (p.since_ended + p.since_refused)
  END
ORDER BY CASE t.action WHEN 'rollback' THEN 0 WHEN 'abort' THEN 1 ELSE 2 END LIMIT 1;

-- ---- counters ----

-- name: campaign_count_add :exec writer
-- in: campaign_id, phase, state, n
INSERT INTO campaign_count (campaign_id, phase, state, n) VALUES ($1, $2, $3, $4)
ON CONFLICT (campaign_id, phase, state) DO UPDATE SET n = n + $4;

-- name: campaign_counts :many reader
-- in: campaign_id    out: phase, state, n
SELECT phase, state, n FROM campaign_count WHERE campaign_id = $1 AND n <> 0 ORDER BY phase, state;

-- name: campaign_active_add :exec writer
-- in: id, n
UPDATE campaign SET active = active + $2 WHERE id = $1;

-- name: campaign_of_device :many reader
-- in: device_id    out: campaign_id, phase, state, 1 while under way, reason, of the device's updates
SELECT campaign_id, phase, state, ended_at IS NULL, reason FROM ota_update
WHERE device_id = $1 AND campaign_id IS NOT NULL;

-- name: campaign_pace_add :exec writer
-- in: campaign_id, second
INSERT INTO campaign_pace (campaign_id, second, n) VALUES ($1, $2, 1)
ON CONFLICT (campaign_id, second) DO UPDATE SET n = n + 1;

-- name: campaign_pace_drop :exec writer
-- in: campaign_id, second: older ones go
DELETE FROM campaign_pace WHERE campaign_id = $1 AND second < $2;

-- name: campaign_pace_list :many reader
-- in: campaign_id, second    out: second, n of those after it
SELECT second, n FROM campaign_pace WHERE campaign_id = $1 AND second > $2 ORDER BY second;

-- name: campaign_pace_shift :exec writer scan
-- in: second: all of the last minute counts as of then
INSERT INTO campaign_pace (campaign_id, second, n)
SELECT campaign_id, $1, sum(n) FROM campaign_pace WHERE second <> $1 GROUP BY campaign_id
ON CONFLICT (campaign_id, second) DO UPDATE SET n = n + excluded.n;

-- name: campaign_pace_forget :exec writer scan
-- in: second: all others go
DELETE FROM campaign_pace WHERE second <> $1;

-- ---- where it stands ----

-- name: campaign_now :one reader
-- in: id    out: state, phase, approval, rolling_back, device_max, active, resumed_at
SELECT state, phase, approval, rolling_back, device_max, active, resumed_at
FROM campaign WHERE id = $1;

-- name: campaign_phase_counts :many reader
-- in: campaign_id    out: no, offered, asked, verified, opened_at
SELECT no, offered, asked, verified, opened_at FROM campaign_phase WHERE campaign_id = $1;

-- name: campaign_device_past :one reader
-- in: campaign_id, device_id, state    out: how many updates it had in that state
SELECT count(*) FROM ota_update WHERE campaign_id = $1 AND device_id = $2 AND state = $3;

-- name: campaign_brought :one reader
-- in: campaign_id, firmware_id, device_id, of a device that runs the version
-- out: 1 when the last update that brought it the version is one that released the firmware. Its
--     own that came to nothing did when bytes of it left: the device may have ended it late.
SELECT u.campaign_id = $1 AND u.phase <> 1000
FROM firmware f JOIN ota_update u INDEXED BY ota_update_device
  ON u.device_id = $3 AND u.module = f.module
WHERE f.id = $2 AND (
  (u.campaign_id = $1 AND u.phase <> 1000 AND u.ended_at IS NOT NULL
    AND (u.state IN ('verified', 'unverified') OR u.bytes_served > 0))
  OR (u.to_version = f.version
    AND (u.state = 'verified' OR (u.state = 'unverified' AND u.phase <> 1000))))
ORDER BY u.id DESC LIMIT 1;

-- name: campaign_device_ended :one reader
-- in: campaign_id, device_id    out: 1 when an update of it has come to its end there
SELECT 1 FROM ota_update WHERE campaign_id = $1 AND device_id = $2 AND ended_at IS NOT NULL
  AND (state <> 'canceled' OR cause = 'operator') LIMIT 1;

-- name: campaign_waiting :one reader
-- in: campaign_id    out: how many of its devices wait for their users
SELECT coalesce(sum(n), 0) FROM campaign_count
WHERE campaign_id = $1 AND state IN ('deferred', 'awaiting_consent', 'consent_confirmed');

-- name: campaign_device_waits :one reader
-- in: campaign_id, device_id    out: 1 when it has an update that has not ended, or its user is asked
SELECT EXISTS (SELECT 1 FROM ota_update
    WHERE campaign_id = $1 AND device_id = $2 AND ended_at IS NULL)
  OR EXISTS (SELECT 1 FROM consent
    WHERE campaign_id = $1 AND device_id = $2 AND offered = 0 AND state <> 'refused');

-- name: campaign_begin :exec writer
-- in: id, state, now, phase, started_at (NULL: it stays), next_at. Devices of now are those of a
--     frozen one.
UPDATE campaign SET state = $2, reason = '', updated_at = $3, revision = revision + 1, phase = $4,
  started_at = coalesce($5, started_at), next_at = $6, approval = 0,
  device_max = CASE WHEN $5 IS NULL THEN device_max
    ELSE (SELECT coalesce(max(id), 0) FROM device) END
WHERE id = $1;

-- name: campaign_move :exec writer
-- in: id, state, reason, now, ended_at (NULL = not ended), rolling_back, next_at
UPDATE campaign SET state = $2, reason = $3, updated_at = $4, revision = revision + 1,
  ended_at = $5, rolling_back = $6, next_at = $7, sweep = $5 IS NOT NULL,
  resumed_at = CASE WHEN state = 'paused' AND $2 = 'running' THEN $4 ELSE resumed_at END
WHERE id = $1;

-- name: campaign_phase_set :exec writer
-- in: id, phase, approval, now, next_at
UPDATE campaign SET phase = $2, approval = $3, updated_at = $4, revision = revision + 1,
  next_at = $5
WHERE id = $1;

-- name: campaign_next_set :exec writer
-- in: id, next_at
UPDATE campaign SET next_at = $2 WHERE id = $1;

-- name: campaign_due :many reader
-- in: now, limit    out: id
SELECT id FROM campaign WHERE next_at <= $1 ORDER BY next_at LIMIT $2;

-- name: campaign_leftover :one reader
-- out: id of a campaign that ended and may have updates that wait
SELECT id FROM campaign WHERE sweep = 1 ORDER BY id LIMIT 1;

-- name: campaign_leftovers :many reader
-- in: campaign_id, limit    out: update id
SELECT id FROM ota_update WHERE campaign_id = $1 AND state IN ('planned', 'offered', 'deferred')
  AND phase <> 1000 LIMIT $2;

-- name: campaign_swept :exec writer
-- in: id
UPDATE campaign SET sweep = 0 WHERE id = $1;

-- ---- what it did when, and why what failed ----

-- name: campaign_flow_add :exec writer
-- in: campaign_id, phase, the beginnings of minute and hour (ms), and what to add: offered,
--     verified, suspect, failed, rolled_back, timed_out, rejected, canceled, attempts, bytes
INSERT INTO campaign_flow (campaign_id, phase, step, at, offered, verified, suspect, failed,
  rolled_back, timed_out, rejected, canceled, attempts, bytes)
VALUES ($1, $2, 60, $3, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14),
  ($1, $2, 3600, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (campaign_id, step, at, phase) DO UPDATE SET offered = offered + $5,
  verified = verified + $6, suspect = suspect + $7, failed = failed + $8,
  rolled_back = rolled_back + $9, timed_out = timed_out + $10, rejected = rejected + $11,
  canceled = canceled + $12, attempts = attempts + $13, bytes = bytes + $14;

-- name: campaign_flow_list :many reader
-- in: campaign_id, step, from, to, phase (-1 = all but the rollback), ms that are one
-- out: at, offered, verified, suspect, failed, rolled_back, timed_out, rejected, canceled,
--      attempts, bytes
SELECT at - at % $6, sum(offered), sum(verified), sum(suspect), sum(failed), sum(rolled_back),
  sum(timed_out), sum(rejected), sum(canceled), sum(attempts), sum(bytes)
FROM campaign_flow
WHERE campaign_id = $1 AND step = $2 AND at >= $3 AND at < $4
  AND (phase = $5 OR ($5 = -1 AND phase <> 1000))
GROUP BY at - at % $6 ORDER BY at - at % $6;

-- name: campaign_flow_phases :many reader
-- in: campaign_id    out: phase, attempts, bytes; of all hours that are kept
SELECT phase, sum(attempts), sum(bytes) FROM campaign_flow
WHERE campaign_id = $1 AND step = 3600 GROUP BY phase;

-- name: campaign_flow_forget :exec writer
-- in: step, before, limit
DELETE FROM campaign_flow WHERE (campaign_id, step, at, phase) IN (
  SELECT campaign_id, step, at, phase FROM campaign_flow INDEXED BY campaign_flow_age
  WHERE step = $1 AND at < $2 ORDER BY at LIMIT $3);

-- name: campaign_reason_fits :one reader
-- in: campaign_id, phase, state, reason, most    out: 1 when it has a row, or may have one
SELECT CASE WHEN EXISTS (SELECT 1 FROM campaign_reason WHERE campaign_id = $1 AND phase = $2
    AND state = $3 AND reason = $4) THEN 1
  ELSE (SELECT count(*) FROM campaign_reason WHERE campaign_id = $1) < $5 END;

-- name: campaign_reason_add :exec writer
-- in: campaign_id, phase, state, reason, n
INSERT INTO campaign_reason (campaign_id, phase, state, reason, n) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (campaign_id, phase, state, reason) DO UPDATE SET n = n + $5;

-- name: campaign_reasons :many reader
-- in: campaign_id    out: phase, state, reason, n
SELECT phase, state, reason, n FROM campaign_reason WHERE campaign_id = $1 AND n <> 0
ORDER BY n DESC, phase, state, reason;

-- ---- how many are meant ----

-- name: campaign_listed :one reader
-- in: campaign_id    out: how many devices are listed and not denied, how many are denied
SELECT (SELECT count(*) FROM campaign_device l WHERE l.campaign_id = $1 AND l.list = 0
    AND NOT EXISTS (SELECT 1 FROM campaign_device n
      WHERE n.campaign_id = $1 AND n.list = -1 AND n.device_id = l.device_id)),
  (SELECT count(*) FROM campaign_device n WHERE n.campaign_id = $1 AND n.list = -1);

-- name: campaign_frozen :one reader
-- in: campaign_id, most    out: how many devices of the type there were at its start, at most `most`
SELECT count(*) FROM (SELECT 1 FROM campaign c CROSS JOIN device d
  WHERE c.id = $1 AND d.type_id = c.type_id AND d.id <= c.device_max LIMIT $2);

-- ---- walks through devices ----

-- name: campaign_walk_put :exec writer
-- in: campaign_id, kind, cursor, going, held_by (NULL = nobody)
INSERT INTO campaign_walk (campaign_id, kind, cursor, going, held_by) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (campaign_id, kind) DO UPDATE SET cursor = $3, going = $4, held_by = $5;

-- name: campaign_walk_go :exec writer
-- in: campaign_id, kind: it goes on where it stands, or begins
INSERT INTO campaign_walk (campaign_id, kind, going) VALUES ($1, $2, 1)
ON CONFLICT (campaign_id, kind) DO UPDATE SET going = 1;

-- name: campaign_walk_held :one reader
-- in: campaign_id    out: key of the device that keeps it from ending
SELECT d.key FROM campaign_walk k JOIN device d ON d.id = k.held_by
WHERE k.campaign_id = $1 AND k.kind = 'end';

-- name: campaign_walk_back :exec writer
-- in: campaign_id, kind, cursor: it goes on from there at the latest, if there is such a walk
UPDATE campaign_walk SET going = 1, cursor = CASE WHEN going = 1 AND cursor < $3 THEN cursor ELSE $3 END
WHERE campaign_id = $1 AND kind = $2;

-- name: campaign_walk_halt :exec writer
-- in: campaign_id
UPDATE campaign_walk SET going = 0 WHERE campaign_id = $1;

-- name: campaign_walk_drop :exec writer
-- in: campaign_id, kind
DELETE FROM campaign_walk WHERE campaign_id = $1 AND kind = $2;

-- name: campaign_walk_list :many reader
-- in: kind, after int (campaign_id), limit int    out: campaign_id, cursor, held_by of those that go on
SELECT campaign_id, cursor, held_by FROM campaign_walk INDEXED BY campaign_walk_going
WHERE kind = $1 AND going = 1 AND campaign_id > $2 ORDER BY campaign_id LIMIT $3;

-- name: campaign_walk_again :exec writer scan
-- All that push, from the first device on.
UPDATE campaign_walk SET cursor = 0, going = 1 WHERE kind = 'push' AND campaign_id IN
  (SELECT id FROM campaign WHERE state = 'running' OR rolling_back = 1);

-- name: campaign_walk_type :many reader
-- in: type_id int, after int, limit int    out: device id
SELECT id FROM device WHERE type_id = $1 AND id > $2 ORDER BY id LIMIT $3;

-- name: campaign_walk_takers :many reader
-- in: campaign_id int, after int, limit int    out: device id of those that had an update of it
SELECT DISTINCT device_id FROM ota_update WHERE campaign_id = $1 AND device_id > $2
ORDER BY device_id LIMIT $3;
