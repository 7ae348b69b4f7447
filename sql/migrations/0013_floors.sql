-- Floors: firmwares that nothing below them may go beyond directly.
ALTER TABLE firmware ADD COLUMN must_pass INTEGER NOT NULL DEFAULT 0 CHECK (must_pass IN (0, 1));
