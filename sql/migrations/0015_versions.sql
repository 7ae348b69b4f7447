-- How many devices run which version, moved in the transaction that changes it; what each device
-- ran before; and the counts as they stood at the beginning of an hour and a day.

-- Version '' is all that have no row of their own: a type's devices may report anything.
CREATE TABLE version_count (
  type_id  INTEGER NOT NULL REFERENCES device_type (id) ON DELETE CASCADE,
  module   TEXT NOT NULL,
  version  TEXT NOT NULL,
  enabled  INTEGER NOT NULL,
  disabled INTEGER NOT NULL,
  PRIMARY KEY (type_id, module, version)
) STRICT, WITHOUT ROWID;

-- In a row of its version, or among the others: what is counted must be found again.
ALTER TABLE device_module ADD COLUMN counted INTEGER NOT NULL DEFAULT 1 CHECK (counted IN (0, 1));

CREATE TABLE device_module_past (
  device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  module    TEXT NOT NULL,
  seq       INTEGER NOT NULL,
  version   TEXT NOT NULL,
  since     INTEGER NOT NULL,
  PRIMARY KEY (device_id, module, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE version_point (
  type_id INTEGER NOT NULL REFERENCES device_type (id) ON DELETE CASCADE,
  module  TEXT NOT NULL,
  step    INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  counts  TEXT NOT NULL,
  PRIMARY KEY (type_id, module, step, at)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_point_age ON version_point (step, at);

-- What is there already, by the rule that holds from now on: a hundred versions of a module, and
-- those that firmwares have.
INSERT INTO version_count (type_id, module, version, enabled, disabled)
SELECT d.type_id, m.module, m.version, sum(d.enabled), sum(1 - d.enabled)
FROM device_module m JOIN device d ON d.id = m.device_id
GROUP BY d.type_id, m.module, m.version;

CREATE TABLE version_surplus (
  type_id INTEGER NOT NULL,
  module  TEXT NOT NULL,
  version TEXT NOT NULL,
  PRIMARY KEY (type_id, module, version)
) STRICT, WITHOUT ROWID;
INSERT INTO version_surplus (type_id, module, version)
SELECT r.type_id, r.module, r.version
FROM (SELECT type_id, module, version, row_number() OVER (PARTITION BY type_id, module
    ORDER BY enabled + disabled DESC, version) AS place FROM version_count) r
WHERE r.place > 100 AND NOT EXISTS (SELECT 1 FROM firmware f WHERE f.type_id = r.type_id
  AND f.module = r.module AND f.version = r.version AND f.deleted_at IS NULL);
UPDATE device_module SET counted = 0
WHERE EXISTS (SELECT 1 FROM device d JOIN version_surplus s ON s.type_id = d.type_id
  AND s.module = device_module.module AND s.version = device_module.version
  WHERE d.id = device_module.device_id);
INSERT INTO version_count (type_id, module, version, enabled, disabled)
SELECT c.type_id, c.module, '', sum(c.enabled), sum(c.disabled)
FROM version_surplus s JOIN version_count c ON c.type_id = s.type_id AND c.module = s.module
  AND c.version = s.version
GROUP BY c.type_id, c.module;
DELETE FROM version_count WHERE EXISTS (SELECT 1 FROM version_surplus s
  WHERE s.type_id = version_count.type_id AND s.module = version_count.module
  AND s.version = version_count.version);
DROP TABLE version_surplus;
