-- Types whose devices are gateways. ThingsCloud's certificate tells a device whether it is one, also
-- before anything stands behind it.

ALTER TABLE device_type ADD COLUMN gateway INTEGER NOT NULL DEFAULT 0 CHECK (gateway IN (0, 1));
UPDATE device_type SET gateway = 1 WHERE id IN (
  SELECT g.type_id FROM device d JOIN device g ON g.id = d.gateway_id);
