-- Queries of the db room: the process's own settings, name and text.

-- name: setting_get :one reader
-- in: name text    out: value text
SELECT value FROM setting WHERE name = $1;

-- name: setting_put :exec writer
-- in: name text, value text
INSERT INTO setting (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: setting_add :exec writer
-- in: name text, value text
INSERT INTO setting (name, value) VALUES ($1, $2);

-- name: setting_delete :exec writer
-- in: name text
DELETE FROM setting WHERE name = $1;

-- name: setting_count :one reader scan
-- out: count int
SELECT count(*) FROM setting;

-- ---- which migrations ran: used by the room itself, before the named queries are prepared ----

-- name: migration_table :exec writer
CREATE TABLE IF NOT EXISTS migration (
  version INTEGER PRIMARY KEY,
  name    TEXT NOT NULL,
  sha256  BLOB NOT NULL,
  at      INTEGER NOT NULL
) STRICT;

-- name: migration_add :exec writer
-- in: version int, name text, sha256 blob, at int
INSERT INTO migration (version, name, sha256, at) VALUES ($1, $2, $3, $4);

-- name: migration_list :many reader scan
-- out: version int, name text, sha256 blob
SELECT version, name, sha256 FROM migration ORDER BY version;
