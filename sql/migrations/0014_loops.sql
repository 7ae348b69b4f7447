-- Devices that go in circles: versions to and fro, the same bytes again and again.

ALTER TABLE device_type ADD COLUMN flaps_per_day INTEGER NOT NULL DEFAULT 3;

-- Why a device is quarantined; its row goes with the release.
CREATE TABLE device_quarantine (
  device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
  cause     TEXT NOT NULL,
  text      TEXT NOT NULL
) STRICT;

-- How often a module fell back behind a verified version since then.
CREATE TABLE device_flap (
  device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  module    TEXT NOT NULL,
  n         INTEGER NOT NULL,
  since     INTEGER NOT NULL,
  PRIMARY KEY (device_id, module)
) STRICT, WITHOUT ROWID;

-- Bytes of this attempt that left a second time.
ALTER TABLE ota_update ADD COLUMN bytes_again INTEGER NOT NULL DEFAULT 0;
