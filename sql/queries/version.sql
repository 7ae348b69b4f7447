-- Queries of the device room that count versions, and keep what was run before.

-- name: version_now :one reader
-- in: device_id int, module text
-- out: version text (NULL = none yet), reported_at int, counted int, type_id int, enabled int
SELECT m.version, m.reported_at, m.counted, d.type_id, d.enabled
FROM device d LEFT JOIN device_module m ON m.device_id = d.id AND m.module = $2 WHERE d.id = $1;

-- name: version_count_move :exec writer
-- in: type_id, module, version ('' = the others), what to add to enabled, and to disabled, and how
--     many there must be
UPDATE version_count SET enabled = enabled + $4, disabled = disabled + $5
WHERE type_id = $1 AND module = $2 AND version = $3 AND enabled + disabled >= $6;

-- name: version_count_begin :exec writer
-- in: type_id, module, version ('' = the others), enabled, disabled: it has no row yet
INSERT INTO version_count (type_id, module, version, enabled, disabled)
VALUES ($1, $2, $3, $4, $5);

-- name: version_count_end :exec writer
-- in: type_id, module, version. What nobody runs any more makes room.
DELETE FROM version_count WHERE type_id = $1 AND module = $2 AND version = $3;

-- name: version_count_device :exec writer
-- in: device_id int, n int (1 or -1): all of its modules
INSERT INTO version_count (type_id, module, version, enabled, disabled)
SELECT d.type_id, m.module, CASE m.counted WHEN 1 THEN m.version ELSE '' END,
  $2 * d.enabled, $2 * (1 - d.enabled)
FROM device d JOIN device_module m ON m.device_id = d.id
WHERE d.id = $1
ON CONFLICT (type_id, module, version) DO UPDATE SET
  enabled = version_count.enabled + excluded.enabled,
  disabled = version_count.disabled + excluded.disabled;

-- name: version_count_drop :exec writer
-- in: device_id int: of its type. What nobody runs any more makes room.
DELETE FROM version_count WHERE type_id = (SELECT d.type_id FROM device d WHERE d.id = $1)
  AND enabled = 0 AND disabled = 0;

-- name: version_place :one reader
-- in: type_id int, module text, version text that has no row, most int
-- out: 1 when it may have one of its own
SELECT CASE
  WHEN (SELECT count(*) FROM version_count
    WHERE type_id = $1 AND module = $2 AND version <> '') < $4 THEN 1
  ELSE EXISTS (SELECT 1 FROM firmware WHERE type_id = $1 AND module = $2
    AND version = $3 AND deleted_at IS NULL) END;

-- name: version_counts :many reader
-- in: type_id int, module text    out: version text, enabled int, disabled int; the most first
SELECT version, enabled, disabled FROM version_count
WHERE type_id = $1 AND module = $2 AND enabled + disabled <> 0
ORDER BY version = '', enabled + disabled DESC, version;

-- name: version_modules :many reader
-- in: type_id int    out: module text
SELECT DISTINCT module FROM version_count WHERE type_id = $1 ORDER BY module;

-- name: version_next :one reader
-- in: type_id int, module text    out: type_id, module of what is counted next to it
SELECT type_id, module FROM version_count WHERE (type_id, module) > ($1, $2)
ORDER BY type_id, module LIMIT 1;

-- name: version_past_add :exec writer
-- in: device_id int, module text, seq int, version text, since int
INSERT INTO device_module_past (device_id, module, seq, version, since) VALUES ($1, $2, $3, $4, $5);

-- name: version_past_last :one reader
-- in: device_id int, module text    out: seq int of the newest, 0 = none
SELECT coalesce(max(seq), 0) FROM device_module_past WHERE device_id = $1 AND module = $2;

-- name: version_past_cut :exec writer
-- in: device_id int, module text, seq int of the newest that goes
DELETE FROM device_module_past WHERE device_id = $1 AND module = $2 AND seq <= $3;

-- name: version_past :many reader
-- in: device_id int, module text, limit int    out: version text, since int; the newest first
SELECT version, since FROM device_module_past WHERE device_id = $1 AND module = $2
ORDER BY seq DESC LIMIT $3;

-- name: version_point_add :exec writer
-- in: type_id, module, step, at, counts
INSERT INTO version_point (type_id, module, step, at, counts) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING;

-- name: version_points :many reader
-- in: type_id int, module text, step int, from int, to int, limit int    out: at int, counts text
SELECT at, counts FROM version_point
WHERE type_id = $1 AND module = $2 AND step = $3 AND at >= $4 AND at < $5 ORDER BY at LIMIT $6;

-- name: version_point_forget :exec writer
-- in: step int, before int, limit int
DELETE FROM version_point WHERE (type_id, module, step, at) IN (
  SELECT type_id, module, step, at FROM version_point INDEXED BY version_point_age
  WHERE step = $1 AND at < $2 ORDER BY at LIMIT $3);
