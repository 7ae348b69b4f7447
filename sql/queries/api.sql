-- Queries of the api room: access tokens, repeats of POST requests, what a second person has to
-- confirm, and the gateways of an import.

-- name: token_by_hash :one reader
-- in: hash blob    out: id int, project_id int, scope text, hash blob, expires_at int
SELECT id, project_id, scope, hash, expires_at FROM token WHERE hash = $1 AND revoked_at IS NULL;

-- name: token_insert :exec writer
-- in: project_id int, name text, scope text, hash blob, prefix text, created_at int, expires_at int
INSERT INTO token (project_id, name, scope, hash, prefix, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: token_by_id :one reader
-- in: project_id int, id int    out: as token_list
SELECT id, name, scope, prefix, created_at, expires_at FROM token
WHERE project_id = $1 AND id = $2 AND revoked_at IS NULL;

-- name: token_list :many reader
-- in: project_id int, after int, limit int, scope (NULL = any)
-- out: id int, name text, scope text, prefix text, created_at int, expires_at int
SELECT id, name, scope, prefix, created_at, expires_at FROM token
WHERE project_id = $1 AND id > $2 AND revoked_at IS NULL AND ($4 IS NULL OR scope = $4)
ORDER BY id LIMIT $3;

-- name: token_count :one reader
-- in: project_id int, scope (NULL = any)    out: count int
SELECT count(*) FROM token
WHERE project_id = $1 AND revoked_at IS NULL AND ($2 IS NULL OR scope = $2);

-- name: token_count_ever :one reader
-- in: project_id int    out: count int
SELECT count(*) FROM token WHERE project_id = $1;

-- name: token_count_other_admins :one reader
-- in: project_id int, id int    out: count int
SELECT count(*) FROM token
WHERE project_id = $1 AND id <> $2 AND scope = 'admin' AND revoked_at IS NULL
  AND expires_at IS NULL;

-- name: token_revoke :exec writer
-- in: project_id int, id int, revoked_at int
UPDATE token SET revoked_at = $3 WHERE project_id = $1 AND id = $2 AND revoked_at IS NULL;

-- name: idempotency_get :one reader
-- in: project_id int, key text, not_before int
-- out: route text, request_hash blob, status int, body text
SELECT route, request_hash, status, body FROM idempotency
WHERE project_id = $1 AND key = $2 AND created_at > $3;

-- name: idempotency_put :exec writer
-- in: project_id int, key text, route text, request_hash blob, status int, body text,
--     created_at int
INSERT INTO idempotency (project_id, key, route, request_hash, status, body, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (project_id, key) DO UPDATE SET route = excluded.route,
  request_hash = excluded.request_hash, status = excluded.status, body = excluded.body,
  created_at = excluded.created_at;

-- name: idempotency_expire :exec writer
-- in: not_after int, limit int
DELETE FROM idempotency WHERE (project_id, key) IN (
  SELECT project_id, key FROM idempotency WHERE created_at <= $1 ORDER BY created_at LIMIT $2);

-- A gateway for a row of an import: one that exists, or one that stands earlier in the same file.
-- name: import_gateway :one reader
-- in: project_id int, key text, import_id int    out: id int, gateway_id int
SELECT id, gateway_id FROM device
WHERE key = $2 AND project_id = $1
  AND (import_id = $3 OR NOT EXISTS (SELECT 1 FROM device_import i WHERE i.id = import_id));

-- name: request_put :exec writer
-- in: kind, object_id, action, body, revision, token_id, asked_by, asked_at, expires_at
INSERT INTO request (kind, object_id, action, body, revision, token_id, asked_by, asked_at,
  expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (kind, object_id) DO UPDATE SET action = $3, body = $4, revision = $5, token_id = $6,
  asked_by = $7, asked_at = $8, expires_at = $9;

-- name: request_get :one reader
-- in: kind, object_id    out: action, body, revision, token_id, asked_by, asked_at, expires_at
SELECT action, body, revision, token_id, asked_by, asked_at, expires_at FROM request
WHERE kind = $1 AND object_id = $2;

-- name: request_drop :exec writer
-- in: kind, object_id
DELETE FROM request WHERE kind = $1 AND object_id = $2;
