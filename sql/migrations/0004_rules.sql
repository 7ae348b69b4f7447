-- Rules that are narrowed to listed devices.

CREATE TABLE rule_target (
  rule_id   INTEGER NOT NULL REFERENCES rule (id) ON DELETE CASCADE,
  device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  PRIMARY KEY (rule_id, device_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX rule_target_device ON rule_target (device_id);
