-- Queries of the event room. The newest row is never removed, so ids only grow.

-- name: event_add :exec writer
-- in: at int, project_id int (0 = the device's), type text, device_id int, object_id int, data text
INSERT INTO event (at, project_id, type, device_id, object_id, data)
VALUES ($1, CASE WHEN $2 <> 0 THEN $2
  ELSE coalesce((SELECT project_id FROM device WHERE id = $4), -1) END, $3, $4, $5, $6);

-- name: event_list :many reader
-- in: after int, limit int
-- out: id, at, project_id, type, device_id, object_id, data, key of the device, and of an update:
--      module, firmware_id, from_version, to_version, attempt
SELECT e.id, e.at, e.project_id, e.type, e.device_id, e.object_id, e.data, d.key,
  u.module, u.firmware_id, u.from_version, u.to_version, u.attempt
FROM event e LEFT JOIN device d ON d.id = e.device_id
LEFT JOIN ota_update u ON u.id = e.object_id AND e.type >= 'update.' AND e.type < 'update/'
WHERE e.id > $1 ORDER BY e.id LIMIT $2;

-- name: event_ends :one reader
-- out: the lowest id and its time, the highest id; all NULL when there is none
SELECT (SELECT min(id) FROM event), (SELECT at FROM event WHERE id = (SELECT min(id) FROM event)),
  (SELECT max(id) FROM event);

-- name: event_expire :exec writer
-- in: not_after int (id), before int (time), limit int, newest int (id)
DELETE FROM event WHERE id IN (SELECT id FROM event WHERE id > 0 ORDER BY id LIMIT $3)
  AND (id <= $1 OR at < $2) AND id < $4;

-- name: event_skip :exec writer
-- in: n int, at int. Ids that may have been told to somebody are jumped over.
INSERT INTO event (id, at, project_id, type, device_id, object_id, data)
VALUES ((SELECT coalesce(max(id), 0) FROM event) + $1, $2, 0, 'server.restored', 0, 0, '{}');
