-- Whether a login was fetched since it was allowed: the audit log tells of the first one alone.
ALTER TABLE device_claim ADD COLUMN fetched INTEGER NOT NULL DEFAULT 0 CHECK (fetched IN (0, 1));
