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
