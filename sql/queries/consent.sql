-- Queries of the campaign room about consents of users. Column lists stand in the order in which
-- the room's consent.c reads them.

-- name: consent_of :one reader
-- in: campaign_id, device_id    out: consent
SELECT id, campaign_id, device_id, phase, state, offered, postponed, until, who, push, due_at,
  asked_at, answered_at
FROM consent WHERE campaign_id = $1 AND device_id = $2;

-- name: consent_by_id :one reader
-- in: id    out: consent
SELECT id, campaign_id, device_id, phase, state, offered, postponed, until, who, push, due_at,
  asked_at, answered_at
FROM consent WHERE id = $1;

-- name: consent_of_device :many reader
-- in: device_id, after, limit    out: consent
SELECT id, campaign_id, device_id, phase, state, offered, postponed, until, who, push, due_at,
  asked_at, answered_at
FROM consent WHERE device_id = $1 AND id > $2 ORDER BY id LIMIT $3;

-- name: consent_of_campaign :many reader
-- in: campaign_id, after, limit    out: consent
SELECT id, campaign_id, device_id, phase, state, offered, postponed, until, who, push, due_at,
  asked_at, answered_at
FROM consent WHERE campaign_id = $1 AND id > $2 ORDER BY id LIMIT $3;

-- name: consent_in_state :many reader
-- in: campaign_id, after, limit, state    out: consent
SELECT id, campaign_id, device_id, phase, state, offered, postponed, until, who, push, due_at,
  asked_at, answered_at
FROM consent WHERE campaign_id = $1 AND state = $4 AND id > $2 ORDER BY id LIMIT $3;

-- name: consent_count :one reader
-- in: campaign_id, state (NULL = any)    out: count
SELECT count(*) FROM consent WHERE campaign_id = $1 AND ($2 IS NULL OR state = $2);

-- name: consent_insert :exec writer
-- in: campaign_id, device_id, phase, state, offered, asked_at
INSERT INTO consent (campaign_id, device_id, phase, state, offered, asked_at)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: consent_store :exec writer
-- in: id, state, offered, postponed, until, who, push, due_at, answered_at
UPDATE consent SET state = $2, offered = $3, postponed = $4, until = $5, who = $6, push = $7,
  due_at = $8, answered_at = $9
WHERE id = $1;

-- name: consent_event_add :exec writer
-- in: consent_id, at, state, who, text
INSERT INTO consent_event (consent_id, seq, at, state, who, text)
VALUES ($1, (SELECT coalesce(max(seq), 0) + 1 FROM consent_event WHERE consent_id = $1),
  $2, $3, $4, $5);

-- name: consent_events :many reader
-- in: consent_id    out: at, state, who, text
SELECT at, state, who, text FROM consent_event WHERE consent_id = $1 ORDER BY seq;

-- ---- what moves with them ----

-- name: campaign_phase_asked :exec writer
-- in: campaign_id, no, n: places that are held without an offer
UPDATE campaign_phase SET asked = asked + $3 WHERE campaign_id = $1 AND no = $2;

-- name: campaign_phase_refused :exec writer
-- in: campaign_id, no
UPDATE campaign_phase SET since_refused = since_refused + 1 WHERE campaign_id = $1 AND no = $2;

-- ---- what otad does by itself ----

-- name: campaign_consent_at :exec writer
-- in: id, at: not later than that
UPDATE campaign SET consent_at = $2 WHERE id = $1 AND (consent_at IS NULL OR consent_at > $2);

-- name: campaign_consent_next :exec writer
-- in: id, at (no offer is sent before; NULL: as its consents are due)
UPDATE campaign SET consent_at = (SELECT min(due_at) FROM (
  SELECT min(due_at) AS due_at FROM consent
  WHERE campaign_id = $1 AND push = 0 AND due_at IS NOT NULL
  UNION ALL SELECT CASE WHEN min(due_at) < $2 THEN $2 ELSE min(due_at) END FROM consent
  WHERE campaign_id = $1 AND push = 1 AND due_at IS NOT NULL))
WHERE id = $1;

-- name: campaign_consent_due :many reader
-- in: now, limit    out: id
SELECT id FROM campaign WHERE consent_at IS NOT NULL AND state = 'running' AND consent_at <= $1
ORDER BY consent_at LIMIT $2;

-- name: consent_due :many reader
-- in: campaign_id, push, now, limit    out: consent
SELECT id, campaign_id, device_id, phase, state, offered, postponed, until, who, push, due_at,
  asked_at, answered_at
FROM consent WHERE campaign_id = $1 AND push = $2 AND due_at IS NOT NULL AND due_at <= $3
ORDER BY due_at LIMIT $4;

-- name: consent_kept_of :many reader
-- in: device_id, limit    out: consent
SELECT id, campaign_id, device_id, phase, state, offered, postponed, until, who, push, due_at,
  asked_at, answered_at
FROM consent WHERE device_id = $1 AND push = 1 AND due_at IS NULL LIMIT $2;

-- name: consent_kept_devices :many reader scan
-- out: device_id, ascending
SELECT DISTINCT device_id FROM consent WHERE push = 1 AND due_at IS NULL ORDER BY device_id;

-- name: consent_again :exec writer scan
-- offers that may not have left are due again, with what is due of their campaigns
UPDATE consent SET push = 1 WHERE due_at IS NOT NULL AND offered = 1;
