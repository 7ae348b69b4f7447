-- Foreign topics of a device type, JSON; and which protocol a device spoke last ('' = the first of
-- the table): what otad sends of its own accord goes that way, also after a restart.

ALTER TABLE device_type ADD COLUMN topics TEXT NOT NULL DEFAULT '[]';
ALTER TABLE device ADD COLUMN dialect TEXT NOT NULL DEFAULT '';
