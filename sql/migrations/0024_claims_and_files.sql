-- Whether a login was fetched since it was allowed: the audit log tells of the first one alone.
ALTER TABLE device_claim ADD COLUMN fetched INTEGER NOT NULL DEFAULT 0 CHECK (fetched IN (0, 1));

-- Files whose bytes were not there at the last start.
ALTER TABLE firmware_file ADD COLUMN missing INTEGER NOT NULL DEFAULT 0 CHECK (missing IN (0, 1));
