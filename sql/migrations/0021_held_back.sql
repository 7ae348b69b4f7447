-- To complete a campaign that held something back is a second person's to confirm, too.
CREATE TABLE campaign_request_wider (
  campaign_id INTEGER PRIMARY KEY REFERENCES campaign (id) ON DELETE CASCADE,
  action      TEXT NOT NULL CHECK (action IN ('start', 'resume', 'approve', 'complete', 'abort', 'change')),
  body        TEXT NOT NULL,
  revision    INTEGER NOT NULL,
  token_id    INTEGER NOT NULL,
  asked_by    TEXT NOT NULL,
  asked_at    INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL
) STRICT;
INSERT INTO campaign_request_wider
SELECT campaign_id, action, body, revision, token_id, asked_by, asked_at, expires_at
FROM campaign_request;
DROP TABLE campaign_request;
ALTER TABLE campaign_request_wider RENAME TO campaign_request;
