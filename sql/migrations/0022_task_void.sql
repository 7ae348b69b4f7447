-- What runs of a task up to this number keep is not sent any more, and why.

ALTER TABLE task ADD COLUMN void_to INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN void_reason TEXT NOT NULL DEFAULT '';
UPDATE task SET void_reason = 'task_disabled',
  void_to = coalesce((SELECT max(r.id) FROM task_run r WHERE r.task_id = task.id), 0)
WHERE enabled = 0;
