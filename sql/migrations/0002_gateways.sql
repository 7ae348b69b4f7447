-- Devices behind gateways: their address under the device that they stand behind, how they were
-- last spoken of, whether they are connected, and what their type and gateway allow.

ALTER TABLE device ADD COLUMN address TEXT NOT NULL DEFAULT '';
UPDATE device SET address = key WHERE gateway_id IS NOT NULL;
CREATE UNIQUE INDEX device_address ON device (gateway_id, address) WHERE gateway_id IS NOT NULL;

ALTER TABLE device_state ADD COLUMN online INTEGER CHECK (online IN (0, 1));
ALTER TABLE device_state ADD COLUMN online_at INTEGER;
ALTER TABLE device_state ADD COLUMN form TEXT
  CHECK (form IN ('direct', 'gateway', 'gateway_list', 'sub', 'sub_text'));

ALTER TABLE device_type ADD COLUMN auto_create INTEGER NOT NULL DEFAULT 0
  CHECK (auto_create IN (0, 1));
ALTER TABLE device_type ADD COLUMN max_children INTEGER NOT NULL DEFAULT 1000;
ALTER TABLE device_type ADD COLUMN parallel_updates INTEGER NOT NULL DEFAULT 1;

-- The outermost gateway at the time of the offer: its connection is what updates share.
ALTER TABLE ota_update ADD COLUMN gateway_id INTEGER;
CREATE INDEX ota_update_gateway ON ota_update (gateway_id, state)
  WHERE ended_at IS NULL AND gateway_id IS NOT NULL;
