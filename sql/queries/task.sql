-- Queries of the task room. Column lists stand in the order in which task_row() and run_row() read
-- them.

-- name: task_insert :exec writer
-- in: project_id, name, enabled, action, params, type_id, tags, schedule, timezone, grace_s,
--     rate_per_minute, next_at, created_at (also updated_at)
INSERT INTO task (project_id, name, enabled, action, params, type_id, tags, schedule, timezone,
  grace_s, rate_per_minute, next_at, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13);

-- name: task_update :exec writer
-- in: id, name, enabled, action, params, type_id, tags, schedule, timezone, grace_s,
--     rate_per_minute, next_at, updated_at
UPDATE task SET name = $2, enabled = $3, action = $4, params = $5, type_id = $6, tags = $7,
  schedule = $8, timezone = $9, grace_s = $10, rate_per_minute = $11, next_at = $12,
  updated_at = $13, revision = revision + 1
WHERE id = $1;

-- name: task_void :one reader
-- in: id int    out: void_to int, void_reason text
SELECT void_to, void_reason FROM task WHERE id = $1;

-- name: task_void_set :exec writer
-- in: id, number of a run (0 = none), reason. What runs before that one keep is not sent any more;
--     without one, what any run keeps.
UPDATE task SET void_reason = $3, void_to = coalesce(
  CASE WHEN $2 > 0 THEN $2 - 1 ELSE (SELECT max(r.id) FROM task_run r WHERE r.task_id = $1) END, 0)
WHERE id = $1;

-- name: task_delete :exec writer
-- in: id. What is left of its runs goes with it.
DELETE FROM task WHERE id = $1;

-- name: task_gone :exec writer
-- in: id. Nobody sees it any more.
UPDATE task SET gone = 1, enabled = 0, next_at = NULL WHERE id = $1;

-- name: task_gone_next :one reader
-- out: id int of one that is to be removed
SELECT id FROM task INDEXED BY task_gone WHERE gone = 1 AND id > 0 LIMIT 1;

-- name: task_after :one reader
-- in: after int    out: id int
SELECT id FROM task WHERE id > $1 ORDER BY id LIMIT 1;

-- name: task_run_any :one reader
-- in: task_id int    out: id int
SELECT id FROM task_run WHERE task_id = $1 LIMIT 1;

-- name: task_run_gone_next :one reader
-- out: id int of one that is to be removed
SELECT id FROM task_run INDEXED BY task_run_gone WHERE gone = 1 AND id > 0 LIMIT 1;

-- name: task_run_old :exec writer
-- in: task_id int, runs that are kept int, ended before int, limit int
-- One that is under way, or has messages that wait, stays.
UPDATE task_run SET gone = 1 WHERE id IN (
  SELECT r.id FROM task_run r
  WHERE r.task_id = $1 AND r.gone = 0 AND r.ended_at IS NOT NULL
    AND (r.ended_at < $3 OR r.id <= (SELECT n.id FROM task_run n
      WHERE n.task_id = $1 AND n.gone = 0 AND n.ended_at IS NOT NULL
      ORDER BY n.id DESC LIMIT 1 OFFSET $2))
    AND NOT EXISTS (SELECT 1 FROM task_kept k WHERE k.run_id = r.id)
  LIMIT $4);

-- name: task_run_drop :exec writer
-- in: id
DELETE FROM task_run WHERE id = $1;

-- Parts of a run or a task, at most $2 rows.

-- name: task_run_device_drop :exec writer
DELETE FROM task_run_device WHERE run_id = $1 AND device_id IN
  (SELECT device_id FROM task_run_device WHERE run_id = $1 ORDER BY device_id LIMIT $2);

-- name: task_run_target_drop :exec writer
DELETE FROM task_run_target WHERE run_id = $1 AND device_id IN
  (SELECT device_id FROM task_run_target WHERE run_id = $1 ORDER BY device_id LIMIT $2);

-- name: task_kept_drop :exec writer
DELETE FROM task_kept WHERE task_id = $1 AND device_id IN
  (SELECT device_id FROM task_kept WHERE task_id = $1 LIMIT $2);

-- name: task_device_drop :exec writer
DELETE FROM task_device WHERE task_id = $1 AND device_id IN
  (SELECT device_id FROM task_device WHERE task_id = $1 ORDER BY device_id LIMIT $2);

-- name: task_by_id :one reader
-- in: id int, project_id int (0 = any)    out: task
SELECT id, project_id, name, enabled, action, params, type_id, tags, schedule, timezone, grace_s,
  rate_per_minute, next_at, created_at, updated_at, revision
FROM task WHERE id = $1 AND ($2 = 0 OR project_id = $2) AND gone = 0;

-- name: task_list :many reader
-- in: project_id, after, limit, enabled (-1 = any), action (NULL = any), type_id (0 = any)
-- out: task
SELECT id, project_id, name, enabled, action, params, type_id, tags, schedule, timezone, grace_s,
  rate_per_minute, next_at, created_at, updated_at, revision
FROM task WHERE project_id = $1 AND id > $2 AND gone = 0 AND ($4 < 0 OR enabled = $4)
  AND ($5 IS NULL OR action = $5) AND ($6 = 0 OR type_id = $6) ORDER BY id LIMIT $3;

-- name: task_count :one reader
-- in: as task_list, without after and limit    out: count int
SELECT count(*) FROM task WHERE project_id = $1 AND gone = 0 AND ($2 < 0 OR enabled = $2)
  AND ($3 IS NULL OR action = $3) AND ($4 = 0 OR type_id = $4);

-- name: task_due :one reader
-- in: now int    out: task, the one that is due for the longest time
SELECT id, project_id, name, enabled, action, params, type_id, tags, schedule, timezone, grace_s,
  rate_per_minute, next_at, created_at, updated_at, revision
FROM task WHERE enabled = 1 AND next_at IS NOT NULL AND next_at <= $1 ORDER BY next_at LIMIT 1;

-- name: task_next_set :exec writer
-- in: id int, next_at int or NULL
UPDATE task SET next_at = $2 WHERE id = $1;

-- name: task_device_add :exec writer
INSERT OR IGNORE INTO task_device (task_id, device_id) VALUES ($1, $2);

-- name: task_device_clear :exec writer
DELETE FROM task_device WHERE task_id = $1;

-- name: task_device_keys :many reader
-- in: task_id int    out: key text
SELECT d.key FROM task_device l JOIN device d ON d.id = l.device_id
WHERE l.task_id = $1 ORDER BY l.device_id;

-- Targets: what of a stretch of devices belongs to a run. The parameters of all are $1 run, task,
-- type or project id, $2 after, $3 limit, $4 tags (JSON array); out: device_id int, match int.

-- name: task_targets_chosen :many reader
SELECT device_id, 1 FROM task_run_target
WHERE run_id = $1 AND device_id > $2 AND $4 IS NOT '' ORDER BY device_id LIMIT $3;

-- name: task_targets_list :many reader
SELECT device_id, 1 FROM task_device
WHERE task_id = $1 AND device_id > $2 AND $4 IS NOT '' ORDER BY device_id LIMIT $3;

-- name: task_targets_type :many reader
SELECT id, 1 FROM device
WHERE type_id = $1 AND id > $2 AND $4 IS NOT '' ORDER BY id LIMIT $3;

-- name: task_targets_tags :many reader
SELECT d.id, EXISTS (SELECT 1 FROM json_each($4) t
  WHERE replace(d.tags, json_quote(t.value), '') <> d.tags)
FROM device d WHERE d.project_id = $1 AND d.id > $2 ORDER BY d.id LIMIT $3;

-- name: task_target :one reader
-- in: device_id int, project_id int, type_id int (0 = not by type), tags text (NULL = not by tags),
--     task_id int    out: 1 when it is a target
SELECT 1 FROM device d WHERE d.id = $1 AND d.project_id = $2 AND CASE
  WHEN $3 <> 0 THEN d.type_id = $3
  WHEN $4 IS NOT NULL THEN EXISTS (SELECT 1 FROM json_each($4) t
    WHERE replace(d.tags, json_quote(t.value), '') <> d.tags)
  ELSE EXISTS (SELECT 1 FROM task_device l WHERE l.task_id = $5 AND l.device_id = d.id) END;

-- name: task_run_insert :exec writer
-- in: task_id, cause, chosen, state, reason, due_at, started_at (also allowance_at), ended_at
INSERT INTO task_run (task_id, cause, chosen, state, reason, due_at, started_at, allowance_at,
  ended_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8);

-- name: task_run_target_add :exec writer
INSERT OR IGNORE INTO task_run_target (run_id, device_id) VALUES ($1, $2);

-- name: task_run_running :one reader
-- in: task_id int    out: id int of its run under way
SELECT id FROM task_run WHERE task_id = $1 AND ended_at IS NULL;

-- name: task_run_open :many reader
-- in: after int, upto int (of task_id), limit int
-- out: id, task_id, chosen, cursor, allowance, allowance_at of runs under way
SELECT id, task_id, chosen, cursor, allowance, allowance_at
FROM task_run INDEXED BY task_run_open
WHERE ended_at IS NULL AND task_id > $1 AND task_id <= $2 ORDER BY task_id LIMIT $3;

-- name: task_run_move :exec writer
-- in: id, cursor, allowance, allowance_at
UPDATE task_run SET cursor = $2, allowance = $3, allowance_at = $4 WHERE id = $1;

-- name: task_run_confirm :exec writer
-- All that was sent so far has reached the broker.
UPDATE task_run INDEXED BY task_run_unconfirmed SET confirmed = cursor
WHERE confirmed < cursor AND id > 0;

-- name: task_recover :exec writer
-- Offers that may not have left before a crash are kept for the devices.
INSERT OR IGNORE INTO task_kept (device_id, task_id, run_id)
SELECT l.device_id, r.task_id, r.id
FROM task_run r INDEXED BY task_run_unconfirmed
JOIN task_run_device l ON l.run_id = r.id AND l.device_id > r.confirmed AND l.device_id <= r.cursor
WHERE r.confirmed < r.cursor AND r.id > 0 AND l.result = 'offered';

-- name: task_run_end :exec writer
-- in: id, state, reason, ended_at
UPDATE task_run SET state = $2, reason = $3, ended_at = $4 WHERE id = $1;

-- name: task_run_by_id :one reader
-- in: id int, task_id int    out: run
SELECT id, task_id, cause, state, reason, due_at, started_at, ended_at
FROM task_run WHERE id = $1 AND task_id = $2 AND gone = 0;

-- name: task_run_list :many reader
-- in: task_id int, before int, limit int, state (NULL = any)    out: run, newest first
SELECT id, task_id, cause, state, reason, due_at, started_at, ended_at
FROM task_run WHERE task_id = $1 AND id < $2 AND gone = 0 AND ($4 IS NULL OR state = $4)
ORDER BY id DESC LIMIT $3;

-- name: task_run_list_count :one reader
-- in: task_id int, state (NULL = any)    out: count int
SELECT count(*) FROM task_run WHERE task_id = $1 AND gone = 0 AND ($2 IS NULL OR state = $2);

-- name: task_run_counts :many reader
-- in: run_id int    out: result text, reason text, n int
SELECT result, reason, n FROM task_run_count WHERE run_id = $1 AND n > 0 ORDER BY result, reason;

-- name: task_run_count_add :exec writer
-- in: run_id, result, reason, n (may be -1)
INSERT INTO task_run_count (run_id, result, reason, n) VALUES ($1, $2, $3, $4)
ON CONFLICT (run_id, result, reason) DO UPDATE SET n = n + excluded.n;

-- name: task_run_device_add :exec writer
-- in: run_id, device_id, result, reason, message_id, at
INSERT INTO task_run_device (run_id, device_id, result, reason, message_id, at)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: task_run_device_get :one reader
-- in: run_id int, device_id int    out: result text, reason text
SELECT result, reason FROM task_run_device WHERE run_id = $1 AND device_id = $2;

-- name: task_run_device_set :exec writer
-- in: run_id, device_id, result, reason, message_id (NULL = as it is), at
UPDATE task_run_device SET result = $3, reason = $4, message_id = coalesce($5, message_id), at = $6
WHERE run_id = $1 AND device_id = $2;

-- name: task_run_device_by_message :one reader
-- in: device_id int, message_id int    out: run_id int, at int
SELECT run_id, at FROM task_run_device WHERE device_id = $1 AND message_id = $2;

-- name: task_run_devices_count :one reader
-- in: run_id int, result text (NULL = any)    out: count int
SELECT count(*) FROM task_run_device l JOIN device d ON d.id = l.device_id
WHERE l.run_id = $1 AND ($2 IS NULL OR l.result = $2);

-- name: task_run_devices :many reader
-- in: run_id int, after int, limit int, result text (NULL = any)
-- out: device_id, key, result, reason, message_id, at
SELECT l.device_id, d.key, l.result, l.reason, l.message_id, l.at
FROM task_run_device l JOIN device d ON d.id = l.device_id
WHERE l.run_id = $1 AND l.device_id > $2 AND ($4 IS NULL OR l.result = $4)
ORDER BY l.device_id LIMIT $3;

-- name: task_kept_put :exec writer
-- in: device_id, task_id, run_id
INSERT INTO task_kept (device_id, task_id, run_id) VALUES ($1, $2, $3)
ON CONFLICT (device_id, task_id) DO UPDATE SET run_id = excluded.run_id, leaving = 0;

-- name: task_kept_run :one reader
-- in: device_id int, task_id int    out: run_id int
SELECT run_id FROM task_kept WHERE device_id = $1 AND task_id = $2;

-- name: task_kept_of :many reader
-- in: device_id int    out: task_id int, run_id int
SELECT task_id, run_id FROM task_kept WHERE device_id = $1 AND leaving = 0
ORDER BY run_id LIMIT 64;

-- name: task_kept_delete :exec writer
-- in: device_id, task_id
DELETE FROM task_kept WHERE device_id = $1 AND task_id = $2;

-- name: task_kept_leaves :exec writer
-- in: device_id, task_id. It was sent; the row stays until the broker has it.
UPDATE task_kept SET leaving = 1 WHERE device_id = $1 AND task_id = $2;

-- name: task_kept_left :exec writer
-- in: limit int. All that was sent so far has reached the broker.
DELETE FROM task_kept WHERE (device_id, task_id) IN (SELECT k.device_id, k.task_id
  FROM task_kept k INDEXED BY task_kept_leaving WHERE k.leaving = 1 AND k.device_id > 0
  LIMIT $1);

-- name: task_kept_again :exec writer
-- What was sent may not have left.
UPDATE task_kept INDEXED BY task_kept_leaving SET leaving = 0
WHERE leaving = 1 AND device_id > 0;

-- name: task_kept_devices :many reader scan
-- out: device_id int, ascending
SELECT DISTINCT device_id FROM task_kept ORDER BY device_id;

-- name: task_run_told :one reader
-- in: run_id int    out: project_id int, task_id int, name, cause, state, reason text
SELECT t.project_id, t.id, t.name, r.cause, r.state, r.reason
FROM task_run r JOIN task t ON t.id = r.task_id WHERE r.id = $1;
