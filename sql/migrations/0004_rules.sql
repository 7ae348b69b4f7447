-- Rules that are narrowed to listed devices, and progress in words of devices.

CREATE TABLE rule_target (
  rule_id   INTEGER NOT NULL REFERENCES rule (id) ON DELETE CASCADE,
  device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  PRIMARY KEY (rule_id, device_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX rule_target_device ON rule_target (device_id);

-- How devices of a type tell in their own words how an update goes: a JSON object, or NULL.
ALTER TABLE device_type ADD COLUMN progress TEXT;
