-- A message that was kept for a device stays until the broker has it, as its run may be confirmed,
-- or over, for long. leaving: it was sent; after a crash it is kept again.

ALTER TABLE task_kept ADD COLUMN leaving INTEGER NOT NULL DEFAULT 0 CHECK (leaving IN (0, 1));
CREATE INDEX task_kept_leaving ON task_kept (device_id, task_id) WHERE leaving = 1;
