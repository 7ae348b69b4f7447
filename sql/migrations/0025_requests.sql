-- What a second person has to confirm may be of a campaign, a firmware, a device type or a project.
CREATE TABLE request (
  kind        TEXT NOT NULL CHECK (kind IN ('campaign', 'firmware', 'device_type', 'project')),
  object_id   INTEGER NOT NULL,
  action      TEXT NOT NULL CHECK (action IN ('start', 'resume', 'approve', 'complete', 'abort', 'change')),
  body        TEXT NOT NULL,
  revision    INTEGER NOT NULL,
  token_id    INTEGER NOT NULL,
  asked_by    TEXT NOT NULL,
  asked_at    INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL,
  PRIMARY KEY (kind, object_id)
) STRICT, WITHOUT ROWID;
INSERT INTO request
SELECT 'campaign', campaign_id, action, body, revision, token_id, asked_by, asked_at, expires_at
FROM campaign_request;
DROP TABLE campaign_request;
