-- A project may demand that what sets a campaign going is confirmed by a second person.

ALTER TABLE project ADD COLUMN second_person INTEGER NOT NULL DEFAULT 0 CHECK (second_person IN (0, 1));

-- What somebody asked for. revision: of the campaign that was looked at; it is good for no other.
CREATE TABLE campaign_request (
  campaign_id INTEGER PRIMARY KEY REFERENCES campaign (id) ON DELETE CASCADE,
  action      TEXT NOT NULL CHECK (action IN ('start', 'resume', 'approve', 'abort', 'change')),
  body        TEXT NOT NULL,
  revision    INTEGER NOT NULL,
  token_id    INTEGER NOT NULL,
  asked_by    TEXT NOT NULL,
  asked_at    INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL
) STRICT;
