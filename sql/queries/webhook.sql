-- Queries of the webhook room. Column lists of webhooks stand in the order of webhook_row().

-- name: webhook_insert :exec writer
-- in: project_id, name, url, types, enabled, secret, cursor, created_at
INSERT INTO webhook (project_id, name, url, types, enabled, secret, cursor, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8);

-- name: webhook_update :exec writer
-- in: id, name, url, types, enabled, disabled_reason, cursor, failing_since, updated_at
UPDATE webhook SET name = $2, url = $3, types = $4, enabled = $5, disabled_reason = $6,
  cursor = $7, failing_since = $8, updated_at = $9, revision = revision + 1
WHERE id = $1;

-- name: webhook_rotate :exec writer
-- in: id, secret, old_secret_until, updated_at
UPDATE webhook SET old_secret = secret, secret = $2, old_secret_until = $3, updated_at = $4,
  revision = revision + 1
WHERE id = $1;

-- name: webhook_delete :exec writer
-- in: id int
DELETE FROM webhook WHERE id = $1;

-- name: webhook_by_id :one reader
-- in: project_id int (0 = any), id int    out: webhook
SELECT id, project_id, name, url, types, enabled, disabled_reason, secret, old_secret,
  old_secret_until, cursor, failing_since, created_at, updated_at, revision
FROM webhook WHERE id = $2 AND ($1 = 0 OR project_id = $1);

-- name: webhook_list :many reader
-- in: project_id int, after int, limit int, enabled int (-1 = any)    out: webhook
SELECT id, project_id, name, url, types, enabled, disabled_reason, secret, old_secret,
  old_secret_until, cursor, failing_since, created_at, updated_at, revision
FROM webhook WHERE project_id = $1 AND id > $2 AND ($4 < 0 OR enabled = $4) ORDER BY id LIMIT $3;

-- name: webhook_next :one reader
-- in: after int    out: webhook: the next that is enabled, of any project
SELECT id, project_id, name, url, types, enabled, disabled_reason, secret, old_secret,
  old_secret_until, cursor, failing_since, created_at, updated_at, revision
FROM webhook WHERE id > $1 AND enabled = 1 ORDER BY id LIMIT 1;

-- name: webhook_count :one reader
-- in: project_id int, enabled int (-1 = any)    out: count int
SELECT count(*) FROM webhook WHERE project_id = $1 AND ($2 < 0 OR enabled = $2);

-- name: webhook_cursor :exec writer
-- in: id int, cursor int
UPDATE webhook SET cursor = $2 WHERE id = $1;

-- name: webhook_failing :exec writer
-- in: id int, failing_since int
UPDATE webhook SET failing_since = $2 WHERE id = $1 AND failing_since <> $2;

-- name: webhook_disable :exec writer
-- in: id int, reason text, updated_at int
UPDATE webhook SET enabled = 0, disabled_reason = $2, updated_at = $3, revision = revision + 1
WHERE id = $1;

-- name: webhook_hold :exec writer
-- in: webhook_id int, next_at int: of what is pending; NULL while it is disabled
UPDATE webhook_delivery SET next_at = $2 WHERE webhook_id = $1 AND ended_at IS NULL;

-- name: webhook_delivery_add :exec writer
-- in: webhook_id, message_id, type, body, created_at (also next_at)
INSERT INTO webhook_delivery (webhook_id, message_id, type, body, created_at, next_at)
VALUES ($1, $2, $3, $4, $5, $5);

-- name: webhook_delivery_tried :exec writer
-- in: id, state, status, error, next_at, ended_at
UPDATE webhook_delivery SET state = $2, attempts = attempts + 1, status = $3, error = $4,
  next_at = $5, ended_at = $6
WHERE id = $1 AND ended_at IS NULL;

-- name: webhook_delivery_attempts :one reader
-- in: id int    out: attempts int, of one that is pending
SELECT attempts FROM webhook_delivery WHERE id = $1 AND ended_at IS NULL;

-- name: webhook_delivery_open :one reader
-- in: webhook_id int    out: how many are pending
SELECT count(*) FROM webhook_delivery WHERE webhook_id = $1 AND ended_at IS NULL;

-- name: webhook_delivery_due :many reader
-- in: webhook_id int, now int, limit int    out: id int, message_id text, body text
SELECT id, message_id, body FROM webhook_delivery
WHERE webhook_id = $1 AND ended_at IS NULL AND next_at <= $2 ORDER BY next_at LIMIT $3;

-- name: webhook_delivery_list :many reader
-- in: webhook_id int, before int, limit int, state (NULL = any); newest first
-- out: id, message_id, type, state, attempts, status, error, created_at, next_at, ended_at
SELECT id, message_id, type, state, attempts, status, error, created_at, next_at, ended_at
FROM webhook_delivery WHERE webhook_id = $1 AND id < $2 AND ($4 IS NULL OR state = $4)
ORDER BY id DESC LIMIT $3;

-- name: webhook_delivery_count :one reader
-- in: webhook_id int, state (NULL = any)    out: count int
SELECT count(*) FROM webhook_delivery WHERE webhook_id = $1 AND ($2 IS NULL OR state = $2);

-- name: webhook_delivery_expire :exec writer
-- in: webhook_id int, keep int, limit int: what has ended, beyond the newest `keep`
DELETE FROM webhook_delivery WHERE ended_at IS NOT NULL AND id IN (
  SELECT id FROM webhook_delivery WHERE webhook_id = $1 ORDER BY id DESC LIMIT $3 OFFSET $2);
