-- Queries of the device room. A device of an import under way is not there: its import_id names
-- a row of device_import. Column lists stand in the order in which device_row() reads them.

-- name: device_by_key :one reader
-- in: key text, project_id int (0 = any)    out: device, attributes, seen_at, online
SELECT d.id, d.project_id, d.type_id, d.gateway_id, d.import_id, d.key, d.name, d.sn, d.timezone,
  d.tags, d.password_hash, d.enabled, d.quarantined_until, d.failures_since, d.failures,
  d.released_at, d.created_at, d.updated_at, d.revision, d.address, d.dialect,
  s.attributes, s.seen_at, s.online
FROM device d LEFT JOIN device_state s ON s.device_id = d.id
WHERE d.key = $1 AND ($2 = 0 OR d.project_id = $2)
  AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id);

-- name: device_find :one reader
-- in: key text    out: device
SELECT d.id, d.project_id, d.type_id, d.gateway_id, d.import_id, d.key, d.name, d.sn, d.timezone,
  d.tags, d.password_hash, d.enabled, d.quarantined_until, d.failures_since, d.failures,
  d.released_at, d.created_at, d.updated_at, d.revision, d.address, d.dialect
FROM device d
WHERE d.key = $1 AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id);

-- name: device_by_id :one reader
-- in: id int    out: device
SELECT d.id, d.project_id, d.type_id, d.gateway_id, d.import_id, d.key, d.name, d.sn, d.timezone,
  d.tags, d.password_hash, d.enabled, d.quarantined_until, d.failures_since, d.failures,
  d.released_at, d.created_at, d.updated_at, d.revision, d.address, d.dialect
FROM device d
WHERE d.id = $1 AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id);

-- name: device_by_sn :many reader
-- in: type_id int, sn text    out: device, at most two
SELECT d.id, d.project_id, d.type_id, d.gateway_id, d.import_id, d.key, d.name, d.sn, d.timezone,
  d.tags, d.password_hash, d.enabled, d.quarantined_until, d.failures_since, d.failures,
  d.released_at, d.created_at, d.updated_at, d.revision, d.address, d.dialect
FROM device_type t JOIN device d ON d.project_id = t.project_id AND d.sn = $2 AND d.sn <> ''
  AND +d.type_id = t.id
WHERE t.id = $1 AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id)
LIMIT 2;

-- name: device_insert :exec writer
-- in: project_id, type_id, gateway_id, import_id, key, name, sn, timezone, tags, password_hash,
--     enabled, created_at (also updated_at), address
INSERT INTO device (project_id, type_id, gateway_id, import_id, key, name, sn, timezone, tags,
  password_hash, enabled, created_at, updated_at, address)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13);

-- name: device_update :exec writer
-- in: id, name, sn, tags, timezone, enabled, gateway_id, password_hash, updated_at, address
UPDATE device SET name = $2, sn = $3, tags = $4, timezone = $5, enabled = $6, gateway_id = $7,
  password_hash = $8, updated_at = $9, address = $10, revision = revision + 1
WHERE id = $1;

-- name: device_behind :one reader
-- in: gateway_id int, address text    out: device
SELECT d.id, d.project_id, d.type_id, d.gateway_id, d.import_id, d.key, d.name, d.sn, d.timezone,
  d.tags, d.password_hash, d.enabled, d.quarantined_until, d.failures_since, d.failures,
  d.released_at, d.created_at, d.updated_at, d.revision, d.address, d.dialect
FROM device d
WHERE d.gateway_id = $1 AND d.address = $2
  AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id);

-- name: device_count_behind :one reader
-- in: id int    out: count int of all that stand behind this device, at any depth
WITH RECURSIVE behind (id) AS (SELECT id FROM device WHERE gateway_id = $1
  UNION SELECT c.id FROM behind b JOIN device c ON c.gateway_id = b.id)
SELECT count(*) FROM behind;

-- name: device_depth :one reader
-- in: id int, limit int    out: n int of gateways, this one and those that stand before it
WITH RECURSIVE up (id, n) AS (SELECT $1, 1
  UNION ALL SELECT d.gateway_id, u.n + 1 FROM up u JOIN device d ON d.id = u.id
    WHERE d.gateway_id IS NOT NULL AND u.n < $2)
SELECT max(n) FROM up;

-- name: device_behind_list :many reader
-- in: gateway_id int, after int, limit int
-- out: id int, key text, online int (NULL = not said), 1 when something stands behind it; of those
--     right behind this device
SELECT d.id, d.key, s.online, EXISTS (SELECT 1 FROM device x WHERE x.gateway_id = d.id)
FROM device d LEFT JOIN device_state s ON s.device_id = d.id
WHERE d.gateway_id = $1 AND d.id > $2 ORDER BY d.id LIMIT $3;

-- name: device_form :one reader
-- in: device_id int    out: form text
SELECT form FROM device_state WHERE device_id = $1;

-- name: device_form_put :exec writer
-- in: device_id int, form text
INSERT INTO device_state (device_id, form) VALUES ($1, $2)
ON CONFLICT (device_id) DO UPDATE SET form = excluded.form;

-- name: device_dialect_set :exec writer
-- in: id int, dialect text
UPDATE device SET dialect = $2 WHERE id = $1;

-- name: device_online_put :exec writer
-- in: device_id int, online int, online_at int
INSERT INTO device_state (device_id, online, online_at) VALUES ($1, $2, $3)
ON CONFLICT (device_id) DO UPDATE SET online = excluded.online, online_at = excluded.online_at;

-- name: device_child :one reader
-- in: id int    out: key text of a device behind this gateway
SELECT key FROM device WHERE gateway_id = $1 LIMIT 1;

-- name: device_sole_target :one reader
-- in: id int    out: firmware_id int of a firmware that is for this device alone
SELECT l.firmware_id FROM firmware_device l
WHERE l.device_id = $1 AND l.denied = 0 AND NOT EXISTS (SELECT 1 FROM firmware_device o
  WHERE o.firmware_id = l.firmware_id AND o.denied = 0 AND o.device_id <> $1)
LIMIT 1;

-- name: device_sole_rule :one reader
-- in: id int    out: rule_id int of a rule that is narrowed to this device alone
SELECT l.rule_id FROM rule_target l
WHERE l.device_id = $1 AND NOT EXISTS (SELECT 1 FROM rule_target o
  WHERE o.rule_id = l.rule_id AND o.device_id <> $1)
LIMIT 1;

-- name: device_delete_updates :exec writer
-- in: id int. Their history goes with them.
DELETE FROM ota_update WHERE device_id = $1;

-- name: device_delete :exec writer
-- in: id int
DELETE FROM device WHERE id = $1;

-- Lists: the parameters of all four are $1 project_id, $2 type_id, $3 gateway_id (0 = any),
-- $4 tag as a quoted JSON string, $5 module, $6 version, $7 enabled (-1 = any), $8 sn, $9 after,
-- $10 limit. The plus signs keep the planner to the index that the name says.

-- name: device_list :many reader
SELECT d.id, d.project_id, d.type_id, d.gateway_id, d.import_id, d.key, d.name, d.sn, d.timezone,
  d.tags, d.password_hash, d.enabled, d.quarantined_until, d.failures_since, d.failures,
  d.released_at, d.created_at, d.updated_at, d.revision, d.address, d.dialect,
  s.attributes, s.seen_at, s.online
FROM device d LEFT JOIN device_state s ON s.device_id = d.id
WHERE d.project_id = $1 AND ($2 = 0 OR d.type_id = $2) AND ($3 = 0 OR d.gateway_id = $3) AND ($8 IS NULL OR d.sn = $8)
  AND ($7 < 0 OR d.enabled = $7)
  AND ($4 IS NULL OR replace(d.tags, $4, '') <> d.tags)
  AND ($6 IS NULL OR EXISTS (SELECT 1 FROM device_module m WHERE m.device_id = d.id
    AND m.module = coalesce($5, 'main') AND m.version = $6))
  AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id)
  AND d.id > $9
ORDER BY d.id LIMIT $10;

-- name: device_list_type :many reader
SELECT d.id, d.project_id, d.type_id, d.gateway_id, d.import_id, d.key, d.name, d.sn, d.timezone,
  d.tags, d.password_hash, d.enabled, d.quarantined_until, d.failures_since, d.failures,
  d.released_at, d.created_at, d.updated_at, d.revision, d.address, d.dialect,
  s.attributes, s.seen_at, s.online
FROM device d LEFT JOIN device_state s ON s.device_id = d.id
WHERE +d.project_id = $1 AND d.type_id = $2 AND ($3 = 0 OR d.gateway_id = $3) AND ($8 IS NULL OR d.sn = $8)
  AND ($7 < 0 OR d.enabled = $7)
  AND ($4 IS NULL OR replace(d.tags, $4, '') <> d.tags)
  AND ($6 IS NULL OR EXISTS (SELECT 1 FROM device_module m WHERE m.device_id = d.id
    AND m.module = coalesce($5, 'main') AND m.version = $6))
  AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id)
  AND d.id > $9
ORDER BY d.id LIMIT $10;

-- name: device_list_gateway :many reader
SELECT d.id, d.project_id, d.type_id, d.gateway_id, d.import_id, d.key, d.name, d.sn, d.timezone,
  d.tags, d.password_hash, d.enabled, d.quarantined_until, d.failures_since, d.failures,
  d.released_at, d.created_at, d.updated_at, d.revision, d.address, d.dialect,
  s.attributes, s.seen_at, s.online
FROM device d LEFT JOIN device_state s ON s.device_id = d.id
WHERE +d.project_id = $1 AND ($2 = 0 OR +d.type_id = $2) AND d.gateway_id = $3 AND ($8 IS NULL OR d.sn = $8)
  AND ($7 < 0 OR d.enabled = $7)
  AND ($4 IS NULL OR replace(d.tags, $4, '') <> d.tags)
  AND ($6 IS NULL OR EXISTS (SELECT 1 FROM device_module m WHERE m.device_id = d.id
    AND m.module = coalesce($5, 'main') AND m.version = $6))
  AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id)
  AND d.id > $9
ORDER BY d.id LIMIT $10;

-- name: device_list_sn :many reader
SELECT d.id, d.project_id, d.type_id, d.gateway_id, d.import_id, d.key, d.name, d.sn, d.timezone,
  d.tags, d.password_hash, d.enabled, d.quarantined_until, d.failures_since, d.failures,
  d.released_at, d.created_at, d.updated_at, d.revision, d.address, d.dialect,
  s.attributes, s.seen_at, s.online
FROM device d LEFT JOIN device_state s ON s.device_id = d.id
WHERE d.project_id = $1 AND ($2 = 0 OR d.type_id = $2) AND ($3 = 0 OR d.gateway_id = $3) AND d.sn = $8 AND d.sn <> ''
  AND ($7 < 0 OR d.enabled = $7)
  AND ($4 IS NULL OR replace(d.tags, $4, '') <> d.tags)
  AND ($6 IS NULL OR EXISTS (SELECT 1 FROM device_module m WHERE m.device_id = d.id
    AND m.module = coalesce($5, 'main') AND m.version = $6))
  AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id)
  AND d.id > $9
ORDER BY d.id LIMIT $10;

-- name: device_count :one reader
SELECT count(*) FROM device d
WHERE d.project_id = $1 AND ($2 = 0 OR d.type_id = $2) AND ($3 = 0 OR d.gateway_id = $3) AND ($8 IS NULL OR d.sn = $8)
  AND ($7 < 0 OR d.enabled = $7)
  AND ($4 IS NULL OR replace(d.tags, $4, '') <> d.tags)
  AND ($6 IS NULL OR EXISTS (SELECT 1 FROM device_module m WHERE m.device_id = d.id
    AND m.module = coalesce($5, 'main') AND m.version = $6))
  AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id);

-- name: device_count_type :one reader
SELECT count(*) FROM device d
WHERE +d.project_id = $1 AND d.type_id = $2 AND ($3 = 0 OR d.gateway_id = $3) AND ($8 IS NULL OR d.sn = $8)
  AND ($7 < 0 OR d.enabled = $7)
  AND ($4 IS NULL OR replace(d.tags, $4, '') <> d.tags)
  AND ($6 IS NULL OR EXISTS (SELECT 1 FROM device_module m WHERE m.device_id = d.id
    AND m.module = coalesce($5, 'main') AND m.version = $6))
  AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id);

-- name: device_count_gateway :one reader
SELECT count(*) FROM device d
WHERE +d.project_id = $1 AND ($2 = 0 OR +d.type_id = $2) AND d.gateway_id = $3 AND ($8 IS NULL OR d.sn = $8)
  AND ($7 < 0 OR d.enabled = $7)
  AND ($4 IS NULL OR replace(d.tags, $4, '') <> d.tags)
  AND ($6 IS NULL OR EXISTS (SELECT 1 FROM device_module m WHERE m.device_id = d.id
    AND m.module = coalesce($5, 'main') AND m.version = $6))
  AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id);

-- name: device_count_sn :one reader
SELECT count(*) FROM device d
WHERE d.project_id = $1 AND ($2 = 0 OR d.type_id = $2) AND ($3 = 0 OR d.gateway_id = $3) AND d.sn = $8 AND d.sn <> ''
  AND ($7 < 0 OR d.enabled = $7)
  AND ($4 IS NULL OR replace(d.tags, $4, '') <> d.tags)
  AND ($6 IS NULL OR EXISTS (SELECT 1 FROM device_module m WHERE m.device_id = d.id
    AND m.module = coalesce($5, 'main') AND m.version = $6))
  AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id);

-- name: device_attributes :one reader
-- in: device_id int    out: attributes text
SELECT attributes FROM device_state WHERE device_id = $1;

-- An UPSERT takes three times as long as this update, which nearly always does.
-- name: device_attributes_put :exec writer
-- in: device_id int, attributes text
UPDATE device_state SET attributes = $2 WHERE device_id = $1;

-- name: device_attributes_first :exec writer
-- in: device_id int, attributes text, of a device that has no row yet
INSERT INTO device_state (device_id, attributes) VALUES ($1, $2);

-- name: device_seen_put :exec writer
-- in: device_id int, seen_at int
INSERT INTO device_state (device_id, seen_at) VALUES ($1, $2)
ON CONFLICT (device_id) DO UPDATE SET seen_at = excluded.seen_at
WHERE coalesce(device_state.seen_at, 0) < excluded.seen_at;

-- name: device_version :one reader
-- in: device_id int, module text    out: version text, reported_at int
SELECT version, reported_at FROM device_module WHERE device_id = $1 AND module = $2;

-- name: device_version_put :exec writer
-- in: device_id int, module text, version text, reported_at int, counted int
UPDATE device_module SET version = $3, reported_at = $4, counted = $5
WHERE device_id = $1 AND module = $2;

-- name: device_version_first :exec writer
-- in: as device_version_put, of a module that has no row yet
INSERT INTO device_module (device_id, module, version, reported_at, counted)
VALUES ($1, $2, $3, $4, $5);

-- name: device_versions :many reader
-- in: device_id int    out: module text, version text, reported_at int
SELECT module, version, reported_at FROM device_module WHERE device_id = $1 ORDER BY module;

-- name: device_failed :one writer
-- in: id int, now int, a day ago int, limit int, a day on int
-- out: 1 when this failure brought the quarantine
-- One statement, so that it is atomic. The window starts at its first failure.
UPDATE device SET
  failures = CASE WHEN failures_since > $3 THEN failures + 1 ELSE 1 END,
  failures_since = CASE WHEN failures_since > $3 THEN failures_since ELSE $2 END,
  quarantined_until = CASE
    WHEN quarantined_until <= $2
      AND CASE WHEN failures_since > $3 THEN failures + 1 ELSE 1 END >= $4
    THEN $5 ELSE quarantined_until END
WHERE id = $1
RETURNING quarantined_until = $5;

-- name: device_flapped :one writer
-- in: device_id int, module text, now int, a day ago int
-- out: n of the day, this one included. The window starts at its first.
INSERT INTO device_flap (device_id, module, n, since) VALUES ($1, $2, 1, $3)
ON CONFLICT (device_id, module) DO UPDATE SET
  n = CASE WHEN since > $4 THEN n + 1 ELSE 1 END,
  since = CASE WHEN since > $4 THEN since ELSE excluded.since END
RETURNING n;

-- name: device_flap_clear :exec writer
-- in: device_id int
DELETE FROM device_flap WHERE device_id = $1;

-- name: device_quarantine :exec writer
-- in: id int, now int, until int. One that rests already rests on.
UPDATE device SET quarantined_until = $3 WHERE id = $1 AND quarantined_until <= $2;

-- name: device_quarantine_put :exec writer
-- in: device_id int, cause text, text text
INSERT INTO device_quarantine (device_id, cause, text) VALUES ($1, $2, $3)
ON CONFLICT (device_id) DO UPDATE SET cause = excluded.cause, text = excluded.text;

-- name: device_quarantine_clear :exec writer
-- in: device_id int
DELETE FROM device_quarantine WHERE device_id = $1;

-- name: device_quarantine_why :one reader
-- in: device_id int    out: cause text, text text
SELECT cause, text FROM device_quarantine WHERE device_id = $1;

-- name: device_release :exec writer
-- in: id int, now int
UPDATE device SET quarantined_until = 0, failures = 0, failures_since = 0, released_at = $2,
  updated_at = $2, revision = revision + 1
WHERE id = $1;

-- name: device_import_begin :exec writer
-- in: project_id int, created_at int
INSERT INTO device_import (project_id, created_at) VALUES ($1, $2);

-- name: device_import_end :exec writer
-- in: id int
DELETE FROM device_import WHERE id = $1;

-- name: device_import_exists :one reader
-- in: id int    out: 1
SELECT 1 FROM device_import WHERE id = $1;

-- name: device_import_leftover :one reader scan
-- out: id int
SELECT id FROM device_import ORDER BY id LIMIT 1;

-- name: device_import_drop :exec writer
-- in: import_id int, max int. The youngest first: a gateway is older than what is behind it.
DELETE FROM device WHERE id IN (SELECT id FROM device WHERE import_id = $1
  ORDER BY id DESC LIMIT $2);

-- name: device_places :many reader
-- in: type_id int    out: key text, sn text, shared int of every device of the type that may log in
-- and has a serial number; shared: another one of the type has the same
SELECT d.key, d.sn, EXISTS (SELECT 1 FROM device o WHERE o.project_id = d.project_id
    AND o.sn = d.sn AND o.sn <> '' AND +o.type_id = d.type_id AND o.id <> d.id)
FROM device d
WHERE d.type_id = $1 AND d.sn <> '' AND d.enabled = 1 AND d.password_hash IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id);

-- name: device_logins :many reader scan
-- out: key text, password_hash text of every device that may log in to the broker
SELECT d.key, d.password_hash FROM device d
WHERE d.enabled = 1 AND d.password_hash IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id);

-- name: device_by_project_sn :many reader
-- in: project_id int, type_id int (0 = any), sn text    out: device
SELECT d.id, d.project_id, d.type_id, d.gateway_id, d.import_id, d.key, d.name, d.sn, d.timezone,
  d.tags, d.password_hash, d.enabled, d.quarantined_until, d.failures_since, d.failures,
  d.released_at, d.created_at, d.updated_at, d.revision, d.address, d.dialect
FROM device d
WHERE d.project_id = $1 AND ($2 = 0 OR d.type_id = $2) AND d.sn = $3 AND d.sn <> ''
  AND NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = d.import_id)
ORDER BY d.id LIMIT 2;

-- name: device_claim_open :exec writer
-- in: device_id int, opened_at int
INSERT INTO device_claim (device_id, opened_at) VALUES ($1, $2)
ON CONFLICT (device_id) DO UPDATE SET opened_at = excluded.opened_at, fetched = 0;

-- name: device_claim_fetched :exec writer
-- in: device_id int
UPDATE device_claim SET fetched = 1 WHERE device_id = $1;

-- name: device_claim_close :exec writer
-- in: device_id int
DELETE FROM device_claim WHERE device_id = $1;

-- name: device_claim :one reader
-- in: device_id int    out: opened_at int, 1 when it was heard of since, 1 when a login was fetched
SELECT c.opened_at,
  EXISTS (SELECT 1 FROM device_state s WHERE s.device_id = c.device_id AND s.seen_at >= c.opened_at)
  OR EXISTS (SELECT 1 FROM device_module m
    WHERE m.device_id = c.device_id AND m.reported_at >= c.opened_at), c.fetched
FROM device_claim c WHERE c.device_id = $1;

-- What is on its way down to devices.

-- name: device_down_insert :exec writer
-- in: device_id, method, params, message_id, app_id, next_at, expires_at, created_at
INSERT INTO device_down (device_id, method, params, message_id, app_id, state, next_at, expires_at,
  created_at)
VALUES ($1, $2, $3, $4, $5, 'queued', $6, $7, $8);

-- name: device_down_waiting :one reader
-- in: device_id int    out: count int, last next_at int of what was never sent
SELECT count(*), max(CASE WHEN attempts = 0 THEN next_at END)
FROM device_down INDEXED BY device_down_open WHERE device_id = $1 AND ended_at IS NULL;

-- name: device_down_last :one reader
-- in: device_id int    out: sent_at int
SELECT max(sent_at) FROM (SELECT sent_at FROM device_down INDEXED BY device_down_device
  WHERE device_id = $1 ORDER BY id DESC LIMIT 101);

-- name: device_down_by_id :one reader
-- in: id int, device_id int (0 = any)    out: device_down
SELECT id, device_id, message_id, method, params, app_id, state, reply, attempts, next_at, expires_at,
  created_at, sent_at, ended_at
FROM device_down WHERE id = $1 AND ($2 = 0 OR device_id = $2);

-- name: device_down_list :many reader
-- in: device_id int, after int, limit int    out: device_down
SELECT id, device_id, message_id, method, params, app_id, state, reply, attempts, next_at, expires_at,
  created_at, sent_at, ended_at
FROM device_down INDEXED BY device_down_device
WHERE device_id = $1 AND id > $2 ORDER BY id LIMIT $3;

-- name: device_down_count :one reader
-- in: device_id int    out: count int
SELECT count(*) FROM device_down INDEXED BY device_down_device WHERE device_id = $1;

-- name: device_down_by_message :one reader
-- in: device_id int, message_id int    out: device_down
SELECT id, device_id, message_id, method, params, app_id, state, reply, attempts, next_at, expires_at,
  created_at, sent_at, ended_at
FROM device_down INDEXED BY device_down_message
WHERE device_id = $1 AND message_id = $2;

-- name: device_down_due :many reader
-- in: now int, limit int    out: id int
SELECT id FROM device_down INDEXED BY device_down_due
WHERE ended_at IS NULL AND next_at <= $1 ORDER BY next_at, id LIMIT $2;

-- name: device_down_next :one reader
-- out: next_at int
SELECT next_at FROM device_down INDEXED BY device_down_due
WHERE ended_at IS NULL AND next_at > 0 ORDER BY next_at LIMIT 1;

-- name: device_down_update :exec writer
-- in: id, state, attempts, next_at, sent_at, ended_at
UPDATE device_down SET state = $2, attempts = $3, next_at = $4, sent_at = $5, ended_at = $6
WHERE id = $1;

-- name: device_down_reply :exec writer
-- in: id, reply, ended_at. One that was given up by then counts as well.
UPDATE device_down SET state = 'replied', reply = $2, ended_at = $3
WHERE id = $1 AND state <> 'replied';

-- name: device_down_forget :exec writer
-- in: before int, limit int
DELETE FROM device_down WHERE id IN (SELECT id FROM device_down INDEXED BY device_down_ended
  WHERE ended_at IS NOT NULL AND ended_at < $1 ORDER BY ended_at LIMIT $2);

-- name: device_seen_row :one reader
-- in: device_id int    out: seen_at int, online int, online_at int (by its gateway's word)
SELECT seen_at, online, online_at FROM device_state WHERE device_id = $1;
