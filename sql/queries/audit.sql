-- Queries of the audit room. Rows are only ever added.

-- name: audit_last :one reader
-- out: id int, hash blob of the newest row
SELECT id, hash FROM audit WHERE id > 0 ORDER BY id DESC LIMIT 1;

-- name: audit_names :one reader
-- in: project_id int, token_id int    out: key of the project, name of the token
SELECT coalesce((SELECT key FROM project WHERE id = $1), ''),
  coalesce((SELECT name FROM token WHERE id = $2), '');

-- name: audit_insert :exec writer
-- in: id, at, project_id, project, token_id, who, address, request_id, action, object, fields,
--     before, after, hash
INSERT INTO audit (id, at, project_id, project, token_id, who, address, request_id, action, object,
  fields, before, after, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: audit_list :many reader
-- in: project_id int, before int, limit int; newest first
-- out: id, at, project_id, project, token_id, who, address, request_id, action, object, fields,
--      before, after, hash, and the hash of the row before
SELECT a.id, a.at, a.project_id, a.project, a.token_id, a.who, a.address, a.request_id, a.action,
  a.object, a.fields, a.before, a.after, a.hash, (SELECT p.hash FROM audit p WHERE p.id = a.id - 1)
FROM audit a WHERE a.project_id = $1 AND a.id < $2 ORDER BY a.id DESC LIMIT $3;

-- name: audit_count :one reader
-- in: project_id int    out: count int
SELECT count(*) FROM audit WHERE project_id = $1;

-- name: audit_walk_project :many reader
-- in: project_id int, after int, limit int; oldest first    out: as audit_list
SELECT a.id, a.at, a.project_id, a.project, a.token_id, a.who, a.address, a.request_id, a.action,
  a.object, a.fields, a.before, a.after, a.hash, (SELECT p.hash FROM audit p WHERE p.id = a.id - 1)
FROM audit a WHERE a.project_id = $1 AND a.id > $2 ORDER BY a.id LIMIT $3;

-- name: audit_walk :many reader
-- in: after int, limit int; oldest first, of every project    out: as audit_list
SELECT a.id, a.at, a.project_id, a.project, a.token_id, a.who, a.address, a.request_id, a.action,
  a.object, a.fields, a.before, a.after, a.hash, (SELECT p.hash FROM audit p WHERE p.id = a.id - 1)
FROM audit a WHERE a.id > $1 ORDER BY a.id LIMIT $2;

-- name: audit_has_hash :one reader
-- in: hash blob    out: 1 when a row has it
SELECT 1 FROM audit WHERE hash = $1;
