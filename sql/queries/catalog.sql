-- Queries of the catalog room. Column lists of one kind of row are always the same, in the order
-- in which the room's *_row() function reads them.

-- name: counter_seed :exec writer
-- in: name text, value int. A counter that exists keeps its value.
INSERT INTO counter (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING;

-- name: project_insert :exec writer
-- in: key text, name text, created_at int, bootstrap text, bootstrap_create int, second_person int
-- The id is new even to the audit log, which outlives projects: nobody inherits another's rows.
INSERT INTO project (id, key, name, created_at, updated_at, bootstrap, bootstrap_create,
  second_person)
VALUES (1 + max((SELECT coalesce(max(id), 0) FROM project),
  (SELECT coalesce(max(project_id), 0) FROM audit)), $1, $2, $3, $3, $4, $5, $6);

-- name: project_update :exec writer
-- in: id int, name text, updated_at int, bootstrap text, bootstrap_create int, second_person int
UPDATE project SET name = $2, updated_at = $3, bootstrap = $4, bootstrap_create = $5,
  second_person = $6,
  revision = revision + 1 WHERE id = $1;

-- name: project_second_person :one reader
-- in: id int    out: second_person int
SELECT second_person FROM project WHERE id = $1;

-- name: project_bootstrap_take :exec writer
-- in: id int
UPDATE project SET bootstrap_create = bootstrap_create - 1 WHERE id = $1 AND bootstrap_create > 0;

-- name: project_by_key :one reader
-- in: key text    out: project
SELECT id, key, name, created_at, updated_at, revision, bootstrap, bootstrap_create, second_person
FROM project WHERE key = $1;

-- name: project_list :many reader
-- in: after int, limit int    out: project
SELECT id, key, name, created_at, updated_at, revision, bootstrap, bootstrap_create, second_person
FROM project
WHERE id > $1 ORDER BY id LIMIT $2;

-- name: project_used :one reader
-- in: id int    out: 1 when anything of an operator's is left in it
SELECT 1 FROM project p
WHERE p.id = $1 AND (EXISTS (SELECT 1 FROM device_type t WHERE t.project_id = p.id)
  OR EXISTS (SELECT 1 FROM device d WHERE d.project_id = p.id)
  OR EXISTS (SELECT 1 FROM firmware f WHERE f.project_id = p.id AND f.deleted_at IS NULL));

-- name: project_delete_tokens :exec writer
-- in: id int
DELETE FROM token WHERE project_id = $1;

-- name: project_delete_idempotency :exec writer
-- in: id int
DELETE FROM idempotency WHERE project_id = $1;

-- name: project_delete :exec writer
-- in: id int
DELETE FROM project WHERE id = $1 AND key <> 'default';

-- name: project_count :one reader scan
-- out: count int
SELECT count(*) FROM project;

-- name: project_app_by_project :one reader
-- in: project_id int    out: project_app
SELECT project_id, key, secret_hash, token, live, created_at, rotated_at, revision
FROM project_app WHERE project_id = $1;

-- name: project_app_by_key :one reader
-- in: key text    out: project_app
SELECT project_id, key, secret_hash, token, live, created_at, rotated_at, revision
FROM project_app WHERE key = $1;

-- name: project_app_list :many reader scan
-- out: project_app
SELECT project_id, key, secret_hash, token, live, created_at, rotated_at, revision
FROM project_app ORDER BY project_id;

-- name: project_app_insert :exec writer
-- in: project_id, key, secret_hash, token, live, created_at (also rotated_at)
INSERT INTO project_app (project_id, key, secret_hash, token, live, created_at, rotated_at)
VALUES ($1, $2, $3, $4, $5, $6, $6);

-- name: project_app_update :exec writer
-- in: project_id, secret_hash, token, live, rotated_at
UPDATE project_app SET secret_hash = $2, token = $3, live = $4, rotated_at = $5,
  revision = revision + 1
WHERE project_id = $1;

-- name: project_app_delete :exec writer
-- in: project_id int
DELETE FROM project_app WHERE project_id = $1;

-- name: device_type_insert :exec writer
-- in: all but id and revision; created_at is also updated_at
INSERT INTO device_type (project_id, key, name, description, version_scheme, timezone,
  attributes_response, event_response, accept_timeout_s, download_timeout_s, install_timeout_s,
  verify_timeout_s, attempts, attempts_per_day, backoff_s, battery_attribute, signal_attribute,
  space_attribute, auto_create, max_children, parallel_updates, progress, topics,
  down_interval_ms, reply_wait_ms, reply_retries, offline_delay_s, gateway, flaps_per_day,
  created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
  $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $30);

-- name: device_type_update :exec writer
-- in: id int, then what may change, updated_at int
UPDATE device_type SET name = $2, description = $3, version_scheme = $4, timezone = $5,
  attributes_response = $6, event_response = $7, accept_timeout_s = $8, download_timeout_s = $9,
  install_timeout_s = $10, verify_timeout_s = $11, attempts = $12, attempts_per_day = $13,
  backoff_s = $14, battery_attribute = $15, signal_attribute = $16, space_attribute = $17,
  auto_create = $18, max_children = $19, parallel_updates = $20, progress = $21, topics = $22,
  down_interval_ms = $23, reply_wait_ms = $24, reply_retries = $25, offline_delay_s = $26,
  gateway = $27, flaps_per_day = $28, updated_at = $29, revision = revision + 1
WHERE id = $1;

-- name: device_type_delete :exec writer
-- in: id int. Its rules go with it.
DELETE FROM device_type WHERE id = $1;

-- name: device_type_delete_firmwares :exec writer
-- in: id int. Rows of deleted firmwares that waited for the history of devices, which are gone.
DELETE FROM firmware WHERE type_id = $1 AND deleted_at IS NOT NULL;

-- name: device_type_delete_campaigns :exec writer
-- in: id int. Rows of ended or deleted campaigns that waited for the history of devices, likewise.
DELETE FROM campaign WHERE type_id = $1;

-- name: device_type_used :one reader
-- in: id int    out: devices int, firmwares int (0 or 1 each)
SELECT EXISTS (SELECT 1 FROM device d WHERE d.type_id = $1),
  EXISTS (SELECT 1 FROM firmware f WHERE f.type_id = $1 AND f.deleted_at IS NULL);

-- name: device_type_by_key :one reader
-- in: project_id int, key text    out: device_type
SELECT id, project_id, key, name, description, version_scheme, timezone, attributes_response,
  event_response, accept_timeout_s, download_timeout_s, install_timeout_s, verify_timeout_s,
  attempts, attempts_per_day, backoff_s, battery_attribute, signal_attribute, space_attribute,
  created_at, updated_at, revision, auto_create, max_children, parallel_updates, progress,
  topics, down_interval_ms, reply_wait_ms, reply_retries, offline_delay_s, gateway, flaps_per_day
FROM device_type WHERE project_id = $1 AND key = $2;

-- name: device_type_by_id :one reader
-- in: id int    out: device_type
SELECT id, project_id, key, name, description, version_scheme, timezone, attributes_response,
  event_response, accept_timeout_s, download_timeout_s, install_timeout_s, verify_timeout_s,
  attempts, attempts_per_day, backoff_s, battery_attribute, signal_attribute, space_attribute,
  created_at, updated_at, revision, auto_create, max_children, parallel_updates, progress,
  topics, down_interval_ms, reply_wait_ms, reply_retries, offline_delay_s, gateway, flaps_per_day
FROM device_type WHERE id = $1;

-- name: device_type_list :many reader
-- in: project_id int, after int, limit int    out: device_type
SELECT id, project_id, key, name, description, version_scheme, timezone, attributes_response,
  event_response, accept_timeout_s, download_timeout_s, install_timeout_s, verify_timeout_s,
  attempts, attempts_per_day, backoff_s, battery_attribute, signal_attribute, space_attribute,
  created_at, updated_at, revision, auto_create, max_children, parallel_updates, progress,
  topics, down_interval_ms, reply_wait_ms, reply_retries, offline_delay_s, gateway, flaps_per_day
FROM device_type WHERE id > $2 AND ($1 = 0 OR project_id = $1) ORDER BY id LIMIT $3;

-- name: device_type_topics :many reader scan
-- out: id int, project_id int, key text, topics text of those that have any
SELECT id, project_id, key, topics FROM device_type WHERE topics <> '[]' ORDER BY id;

-- name: device_type_count :one reader
-- in: project_id int    out: count int
SELECT count(*) FROM device_type WHERE project_id = $1;

-- name: rule_insert :exec writer
-- in: project_id int, type_id int or NULL, device_id int or NULL, name, enabled, event,
--     version_attribute, module, created_at
INSERT INTO rule (project_id, type_id, device_id, name, enabled, event, action, version_attribute,
  module, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, 'ota_check', $7, $8, $9, $9);

-- name: rule_update :exec writer
-- in: id int, then what may change, updated_at int
UPDATE rule SET type_id = $2, device_id = $3, name = $4, enabled = $5, event = $6,
  version_attribute = $7, module = $8, updated_at = $9, revision = revision + 1
WHERE id = $1;

-- name: rule_delete :exec writer
-- in: id int
DELETE FROM rule WHERE id = $1;

-- name: rule_by_id :one reader
-- in: project_id int, id int    out: rule
SELECT id, project_id, type_id, device_id, name, enabled, event, version_attribute, module,
  created_at, updated_at, revision
FROM rule WHERE id = $2 AND project_id = $1;

-- name: rule_list :many reader
-- in: project_id int, type_id int, device_id int (0 = any), after int, limit int    out: rule
SELECT id, project_id, type_id, device_id, name, enabled, event, version_attribute, module,
  created_at, updated_at, revision
FROM rule WHERE id > $4 AND ($1 = 0 OR project_id = $1) AND ($2 = 0 OR type_id = $2)
  AND ($3 = 0 OR device_id = $3)
ORDER BY id LIMIT $5;

-- name: rule_count_event :one reader
-- in: type_id int, device_id int (0 = none), event text, id int    out: count int of other rules
SELECT (SELECT count(*) FROM rule WHERE type_id = $1 AND event = $3 AND id <> $4)
  + (SELECT count(*) FROM rule WHERE device_id = $2 AND event = $3 AND id <> $4);

-- name: rule_target_insert :exec writer
-- in: rule_id int, device_id int
INSERT INTO rule_target (rule_id, device_id) VALUES ($1, $2);

-- name: rule_target_clear :exec writer
-- in: rule_id int
DELETE FROM rule_target WHERE rule_id = $1;

-- name: rule_devices :many reader
-- in: rule_id int    out: device_id int, key text
SELECT l.device_id, d.key FROM rule_target l JOIN device d ON d.id = l.device_id
WHERE l.rule_id = $1 ORDER BY l.device_id;

-- name: rule_devices_all :many reader scan
-- out: rule_id int, device_id int
SELECT rule_id, device_id FROM rule_target ORDER BY rule_id, device_id;

-- name: rule_count :one reader
-- in: project_id int    out: count int
SELECT count(*) FROM rule WHERE project_id = $1;

-- name: firmware_insert :exec writer
-- in: all but id, deleted_at and revision; created_at is also updated_at
INSERT INTO firmware (project_id, type_id, module, version, name, notes, enabled, use_https,
  release, source_versions, hardware, min_battery, min_signal, min_free_space, image, created_at,
  updated_at, must_pass)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16, $17);

-- name: firmware_update :exec writer
-- in: id int, name, notes, enabled, use_https, source_versions, must_pass, updated_at
UPDATE firmware SET name = $2, notes = $3, enabled = $4, use_https = $5, source_versions = $6,
  must_pass = $7, updated_at = $8, revision = revision + 1
WHERE id = $1 AND deleted_at IS NULL;

-- name: firmware_delete :exec writer
-- in: id int, deleted_at int
UPDATE firmware SET deleted_at = $2, updated_at = $2, revision = revision + 1
WHERE id = $1 AND deleted_at IS NULL;

-- name: firmware_in_use :one reader
-- in: id int    out: update_id int of an update under way
SELECT id FROM ota_update WHERE firmware_id = $1 AND ended_at IS NULL LIMIT 1;

-- name: firmware_must_pass :one reader
-- in: id int    out: 1, of a floor
SELECT 1 FROM firmware WHERE id = $1 AND must_pass = 1 AND deleted_at IS NULL;

-- name: firmware_governed :many reader
-- in: type_id int, module text    out: versions that campaigns give devices, or would
SELECT f.version FROM campaign c JOIN firmware f ON f.id IN (c.firmware_id, c.rollback_id)
WHERE c.type_id = $1 AND f.module = $2 AND c.deleted_at IS NULL
  AND (c.state IN ('draft', 'scheduled', 'running', 'paused') OR c.rolling_back = 1);

-- name: firmware_by_id :one reader
-- in: project_id int, id int    out: firmware
SELECT id, project_id, type_id, module, version, name, notes, enabled, use_https, release,
  source_versions, hardware, min_battery, min_signal, min_free_space, image, created_at,
  updated_at, revision, must_pass
FROM firmware WHERE id = $2 AND project_id = $1 AND deleted_at IS NULL;

-- name: firmware_list :many reader
-- in: project_id int (0 = any), type_id int (0 = any), module text or NULL, version text or NULL,
--     after int, limit int    out: firmware
SELECT id, project_id, type_id, module, version, name, notes, enabled, use_https, release,
  source_versions, hardware, min_battery, min_signal, min_free_space, image, created_at,
  updated_at, revision, must_pass
FROM firmware WHERE id > $5 AND ($1 = 0 OR project_id = $1) AND ($2 = 0 OR type_id = $2)
  AND ($3 IS NULL OR module = $3) AND ($4 IS NULL OR version = $4) AND deleted_at IS NULL
ORDER BY id LIMIT $6;

-- name: firmware_count :one reader
-- in: project_id int    out: count int
SELECT count(*) FROM firmware WHERE project_id = $1 AND deleted_at IS NULL;

-- name: firmware_file_insert :exec writer
-- in: firmware_id, no, name, size, md5, sha1, sha256, crc32
INSERT INTO firmware_file (firmware_id, no, name, size, md5, sha1, sha256, crc32)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: firmware_files :many reader
-- in: firmware_id int    out: firmware_id, no, name, size, md5, sha1, sha256, crc32, missing
SELECT firmware_id, no, name, size, md5, sha1, sha256, crc32, missing FROM firmware_file
WHERE firmware_id = $1 ORDER BY no;

-- name: firmware_files_all :many reader scan
-- out: as firmware_files, of every firmware
SELECT firmware_id, no, name, size, md5, sha1, sha256, crc32, missing FROM firmware_file
ORDER BY firmware_id, no;

-- name: firmware_uses :one reader
-- in: sha256 blob    out: firmware_id int
SELECT f.id FROM firmware_file x JOIN firmware f ON f.id = x.firmware_id
WHERE x.sha256 = $1 AND f.deleted_at IS NULL LIMIT 1;

-- name: firmware_bytes :many reader scan
-- out: sha256 blob, size int, missing int
SELECT x.sha256, x.size, max(x.missing) FROM firmware_file x JOIN firmware f ON f.id = x.firmware_id
WHERE f.deleted_at IS NULL GROUP BY x.sha256;

-- name: firmware_bytes_revise :exec writer
-- in: sha256 blob, missing int
UPDATE firmware SET revision = revision + 1 WHERE id IN
  (SELECT firmware_id FROM firmware_file WHERE sha256 = $1 AND missing <> $2);

-- name: firmware_bytes_missing :exec writer
-- in: sha256 blob, missing int
UPDATE firmware_file SET missing = $2 WHERE sha256 = $1 AND missing <> $2;

-- name: firmware_device_insert :exec writer
-- in: firmware_id int, denied int, device_id int
INSERT INTO firmware_device (firmware_id, denied, device_id) VALUES ($1, $2, $3);

-- name: firmware_device_clear :exec writer
-- in: firmware_id int
DELETE FROM firmware_device WHERE firmware_id = $1;

-- name: firmware_devices :many reader
-- in: firmware_id int    out: firmware_id, denied, device_id
SELECT firmware_id, denied, device_id FROM firmware_device
WHERE firmware_id = $1 ORDER BY denied, device_id;

-- name: firmware_devices_all :many reader scan
-- out: as firmware_devices, of every firmware
SELECT firmware_id, denied, device_id FROM firmware_device
ORDER BY firmware_id, denied, device_id;

-- name: firmware_told :one reader
-- in: id int    out: project_id int, key of the type, module, version text, enabled int
SELECT f.project_id, t.key, f.module, f.version, f.enabled
FROM firmware f JOIN device_type t ON t.id = f.type_id WHERE f.id = $1;
