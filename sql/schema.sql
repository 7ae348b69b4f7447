-- Written by `make schema` from sql/migrations, for reading. Do not edit.

CREATE TRIGGER audit_fixed BEFORE UPDATE ON audit
  BEGIN SELECT raise(ABORT, 'the audit log is never changed'); END;

CREATE TRIGGER audit_kept BEFORE DELETE ON audit
  BEGIN SELECT raise(ABORT, 'the audit log is kept'); END;

CREATE TABLE audit (
  id         INTEGER PRIMARY KEY,
  at         INTEGER NOT NULL,
  project_id INTEGER NOT NULL,
  project    TEXT NOT NULL,
  token_id   INTEGER NOT NULL,
  who        TEXT NOT NULL,
  address    TEXT NOT NULL,
  request_id TEXT NOT NULL,
  action     TEXT NOT NULL,
  object     TEXT NOT NULL,
  fields     TEXT NOT NULL,
  before     TEXT,
  after      TEXT,
  hash       BLOB NOT NULL
) STRICT;

CREATE INDEX audit_hash ON audit (hash);

CREATE INDEX audit_project ON audit (project_id, id);

CREATE TABLE campaign (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  project_id   INTEGER NOT NULL REFERENCES project (id),
  type_id      INTEGER NOT NULL REFERENCES device_type (id),
  firmware_id  INTEGER NOT NULL REFERENCES firmware (id),
  rollback_id  INTEGER REFERENCES firmware (id),
  name         TEXT NOT NULL,
  definition   TEXT NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('draft', 'scheduled', 'running', 'paused', 'completed', 'aborted')),
  reason       TEXT NOT NULL DEFAULT '',
  starts_at    INTEGER,
  ends_at      INTEGER,
  phase        INTEGER NOT NULL DEFAULT 0,
  approval     INTEGER NOT NULL DEFAULT 0 CHECK (approval IN (0, 1)),
  rolling_back INTEGER NOT NULL DEFAULT 0 CHECK (rolling_back IN (0, 1)),
  device_max   INTEGER,
  active       INTEGER NOT NULL DEFAULT 0,
  sweep        INTEGER NOT NULL DEFAULT 0 CHECK (sweep IN (0, 1)),
  next_at      INTEGER,
  started_at   INTEGER,
  ended_at     INTEGER,
  created_at   INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL,
  deleted_at   INTEGER,
  revision     INTEGER NOT NULL DEFAULT 1
, consent_at INTEGER, resumed_at INTEGER) STRICT;

CREATE INDEX campaign_consent ON campaign (consent_at)
  WHERE consent_at IS NOT NULL AND state = 'running';

CREATE INDEX campaign_firmware ON campaign (firmware_id);

CREATE INDEX campaign_next ON campaign (next_at) WHERE next_at IS NOT NULL;

CREATE INDEX campaign_project ON campaign (project_id, id);

CREATE INDEX campaign_rollback ON campaign (rollback_id) WHERE rollback_id IS NOT NULL;

CREATE INDEX campaign_sweep ON campaign (sweep, id) WHERE sweep = 1;

CREATE INDEX campaign_type ON campaign (type_id);

CREATE TABLE campaign_count (
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  phase       INTEGER NOT NULL,
  state       TEXT NOT NULL,
  n           INTEGER NOT NULL,
  PRIMARY KEY (campaign_id, phase, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE campaign_device (
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  list        INTEGER NOT NULL,
  device_id   INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  PRIMARY KEY (campaign_id, list, device_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX campaign_device_device ON campaign_device (device_id);

CREATE TABLE campaign_flow (
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  step        INTEGER NOT NULL,
  at          INTEGER NOT NULL,
  phase       INTEGER NOT NULL,
  offered     INTEGER NOT NULL DEFAULT 0,
  verified    INTEGER NOT NULL DEFAULT 0,
  suspect     INTEGER NOT NULL DEFAULT 0,
  failed      INTEGER NOT NULL DEFAULT 0,
  rolled_back INTEGER NOT NULL DEFAULT 0,
  timed_out   INTEGER NOT NULL DEFAULT 0,
  rejected    INTEGER NOT NULL DEFAULT 0,
  canceled    INTEGER NOT NULL DEFAULT 0,
  attempts    INTEGER NOT NULL DEFAULT 0,
  bytes       INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (campaign_id, step, at, phase)
) STRICT, WITHOUT ROWID;

CREATE INDEX campaign_flow_age ON campaign_flow (step, at);

CREATE TABLE campaign_pace (
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  second      INTEGER NOT NULL,
  n           INTEGER NOT NULL,
  PRIMARY KEY (campaign_id, second)
) STRICT, WITHOUT ROWID;

CREATE TABLE campaign_phase (
  campaign_id       INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  no                INTEGER NOT NULL,
  gate_share        INTEGER NOT NULL,
  gate_sample       INTEGER NOT NULL,
  soak_s            INTEGER NOT NULL,
  approval          INTEGER NOT NULL CHECK (approval IN (0, 1)),
  opened_at         INTEGER,
  gate_at           INTEGER,
  offered           INTEGER NOT NULL DEFAULT 0,
  ended             INTEGER NOT NULL DEFAULT 0,
  verified          INTEGER NOT NULL DEFAULT 0,
  since_ended       INTEGER NOT NULL DEFAULT 0,
  since_failed      INTEGER NOT NULL DEFAULT 0,
  since_rolled_back INTEGER NOT NULL DEFAULT 0,
  since_timed_out   INTEGER NOT NULL DEFAULT 0,
  since_rejected    INTEGER NOT NULL DEFAULT 0, asked INTEGER NOT NULL DEFAULT 0, since_refused INTEGER NOT NULL DEFAULT 0, gate_ended INTEGER NOT NULL DEFAULT 0, gate_verified INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (campaign_id, no)
) STRICT, WITHOUT ROWID;

CREATE TABLE campaign_reason (
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  phase       INTEGER NOT NULL,
  state       TEXT NOT NULL,
  reason      TEXT NOT NULL,
  n           INTEGER NOT NULL,
  PRIMARY KEY (campaign_id, phase, state, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE campaign_threshold (
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  kind        TEXT NOT NULL CHECK (kind IN ('failed', 'rolled_back', 'timed_out', 'rejected')),
  share       INTEGER NOT NULL,
  sample      INTEGER NOT NULL,
  action      TEXT NOT NULL CHECK (action IN ('pause', 'abort', 'rollback')),
  PRIMARY KEY (campaign_id, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE campaign_walk (
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  kind        TEXT NOT NULL CHECK (kind IN ('push', 'end')),
  cursor      INTEGER NOT NULL DEFAULT 0,
  going       INTEGER NOT NULL CHECK (going IN (0, 1)), held_by INTEGER,
  PRIMARY KEY (campaign_id, kind)
) STRICT, WITHOUT ROWID;

CREATE INDEX campaign_walk_going ON campaign_walk (kind, campaign_id) WHERE going = 1;

CREATE TABLE consent (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  campaign_id INTEGER NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
  device_id   INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  phase       INTEGER NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('asked', 'postponed', 'confirmed', 'refused')),
  offered     INTEGER NOT NULL DEFAULT 0 CHECK (offered IN (0, 1)),
  postponed   INTEGER NOT NULL DEFAULT 0,
  until       INTEGER,
  who         TEXT NOT NULL DEFAULT '',
  push        INTEGER NOT NULL DEFAULT 0 CHECK (push IN (0, 1)),
  due_at      INTEGER,
  asked_at    INTEGER NOT NULL,
  answered_at INTEGER,
  UNIQUE (campaign_id, device_id)
) STRICT;

CREATE INDEX consent_campaign ON consent (campaign_id, id);

CREATE INDEX consent_device ON consent (device_id, id);

CREATE INDEX consent_due ON consent (campaign_id, push, due_at) WHERE due_at IS NOT NULL;

CREATE INDEX consent_kept ON consent (device_id) WHERE push = 1 AND due_at IS NULL;

CREATE INDEX consent_state ON consent (campaign_id, state, id);

CREATE TABLE consent_event (
  consent_id INTEGER NOT NULL REFERENCES consent (id) ON DELETE CASCADE,
  seq        INTEGER NOT NULL,
  at         INTEGER NOT NULL,
  state      TEXT NOT NULL,
  who        TEXT NOT NULL,
  text       TEXT NOT NULL,
  PRIMARY KEY (consent_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE counter (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT;

CREATE TABLE device (
  id                INTEGER PRIMARY KEY AUTOINCREMENT,
  project_id        INTEGER NOT NULL REFERENCES project (id),
  type_id           INTEGER NOT NULL REFERENCES device_type (id),
  key               TEXT NOT NULL UNIQUE,
  name              TEXT NOT NULL DEFAULT '',
  sn                TEXT NOT NULL DEFAULT '',
  tags              TEXT NOT NULL DEFAULT '[]',
  timezone          TEXT NOT NULL DEFAULT '',
  enabled           INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
  gateway_id        INTEGER REFERENCES device (id),
  password_hash     TEXT,
  import_id         INTEGER,
  quarantined_until INTEGER NOT NULL DEFAULT 0,
  failures_since    INTEGER NOT NULL DEFAULT 0,
  failures          INTEGER NOT NULL DEFAULT 0,
  released_at       INTEGER NOT NULL DEFAULT 0,
  created_at        INTEGER NOT NULL,
  updated_at        INTEGER NOT NULL,
  revision          INTEGER NOT NULL DEFAULT 1
, address TEXT NOT NULL DEFAULT '', dialect TEXT NOT NULL DEFAULT '') STRICT;

CREATE UNIQUE INDEX device_address ON device (gateway_id, address) WHERE gateway_id IS NOT NULL;

CREATE INDEX device_gateway ON device (gateway_id) WHERE gateway_id IS NOT NULL;

CREATE INDEX device_importing ON device (import_id) WHERE import_id IS NOT NULL;

CREATE INDEX device_project ON device (project_id, id);

CREATE INDEX device_sn ON device (project_id, sn) WHERE sn <> '';

CREATE INDEX device_type_id ON device (type_id, id);

CREATE TABLE device_claim (
  device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
  opened_at INTEGER NOT NULL
, fetched INTEGER NOT NULL DEFAULT 0 CHECK (fetched IN (0, 1))) STRICT;

CREATE TABLE device_down (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  device_id  INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  method     TEXT,
  params     TEXT NOT NULL,
  message_id INTEGER,
  app_id     TEXT,
  state      TEXT NOT NULL CHECK (state IN ('queued', 'sent', 'replied', 'timed_out', 'canceled')),
  attempts   INTEGER NOT NULL DEFAULT 0,
  reply      TEXT,
  next_at    INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  sent_at    INTEGER,
  ended_at   INTEGER
) STRICT;

CREATE INDEX device_down_device ON device_down (device_id, id);

CREATE INDEX device_down_due ON device_down (next_at) WHERE ended_at IS NULL;

CREATE INDEX device_down_ended ON device_down (ended_at) WHERE ended_at IS NOT NULL;

CREATE INDEX device_down_message ON device_down (device_id, message_id)
  WHERE message_id IS NOT NULL;

CREATE INDEX device_down_open ON device_down (device_id, next_at) WHERE ended_at IS NULL;

CREATE TABLE device_flap (
  device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  module    TEXT NOT NULL,
  n         INTEGER NOT NULL,
  since     INTEGER NOT NULL,
  PRIMARY KEY (device_id, module)
) STRICT, WITHOUT ROWID;

CREATE TABLE device_import (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  project_id INTEGER NOT NULL REFERENCES project (id),
  created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX device_import_project ON device_import (project_id);

CREATE TABLE device_module (
  device_id    INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  module       TEXT NOT NULL,
  version      TEXT NOT NULL,
  reported_at  INTEGER NOT NULL, counted INTEGER NOT NULL DEFAULT 1 CHECK (counted IN (0, 1)),
  PRIMARY KEY (device_id, module)
) STRICT, WITHOUT ROWID;

CREATE TABLE device_module_past (
  device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  module    TEXT NOT NULL,
  seq       INTEGER NOT NULL,
  version   TEXT NOT NULL,
  since     INTEGER NOT NULL,
  PRIMARY KEY (device_id, module, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE device_quarantine (
  device_id INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
  cause     TEXT NOT NULL,
  text      TEXT NOT NULL
) STRICT;

CREATE TABLE device_state (
  device_id  INTEGER PRIMARY KEY REFERENCES device (id) ON DELETE CASCADE,
  attributes TEXT NOT NULL DEFAULT '{}',
  seen_at    INTEGER
, online INTEGER CHECK (online IN (0, 1)), online_at INTEGER, form TEXT
  CHECK (form IN ('direct', 'gateway', 'gateway_list', 'sub', 'sub_text'))) STRICT;

CREATE TABLE device_type (
  id                  INTEGER PRIMARY KEY,
  project_id          INTEGER NOT NULL REFERENCES project (id),
  key                 TEXT NOT NULL,
  name                TEXT NOT NULL,
  description         TEXT NOT NULL DEFAULT '',
  version_scheme      TEXT NOT NULL CHECK (version_scheme IN ('auto', 'semver', 'opaque')),
  timezone            TEXT NOT NULL DEFAULT 'UTC',
  attributes_response INTEGER NOT NULL DEFAULT 0 CHECK (attributes_response IN (0, 1)),
  event_response      INTEGER NOT NULL DEFAULT 0 CHECK (event_response IN (0, 1)),
  accept_timeout_s    INTEGER NOT NULL,
  download_timeout_s  INTEGER NOT NULL,
  install_timeout_s   INTEGER NOT NULL,
  verify_timeout_s    INTEGER NOT NULL,
  attempts            INTEGER NOT NULL,
  attempts_per_day    INTEGER NOT NULL,
  backoff_s           INTEGER NOT NULL,
  battery_attribute   TEXT NOT NULL DEFAULT 'battery',
  signal_attribute    TEXT NOT NULL DEFAULT 'signal',
  space_attribute     TEXT NOT NULL DEFAULT 'free_space',
  created_at          INTEGER NOT NULL,
  updated_at          INTEGER NOT NULL,
  revision            INTEGER NOT NULL DEFAULT 1, auto_create INTEGER NOT NULL DEFAULT 0
  CHECK (auto_create IN (0, 1)), max_children INTEGER NOT NULL DEFAULT 1000, parallel_updates INTEGER NOT NULL DEFAULT 1, progress TEXT, topics TEXT NOT NULL DEFAULT '[]', down_interval_ms INTEGER NOT NULL DEFAULT 2000, reply_wait_ms INTEGER NOT NULL DEFAULT 30000, reply_retries INTEGER NOT NULL DEFAULT 2, offline_delay_s INTEGER NOT NULL DEFAULT 300, gateway INTEGER NOT NULL DEFAULT 0 CHECK (gateway IN (0, 1)), flaps_per_day INTEGER NOT NULL DEFAULT 3,
  UNIQUE (project_id, key)
) STRICT;

CREATE TABLE event (
  id         INTEGER PRIMARY KEY,
  at         INTEGER NOT NULL,
  project_id INTEGER NOT NULL,
  type       TEXT NOT NULL,
  device_id  INTEGER NOT NULL,
  object_id  INTEGER NOT NULL,
  data       TEXT NOT NULL
) STRICT;

CREATE TABLE firmware (
  id              INTEGER PRIMARY KEY,
  project_id      INTEGER NOT NULL REFERENCES project (id),
  type_id         INTEGER NOT NULL REFERENCES device_type (id),
  module          TEXT NOT NULL,
  version         TEXT NOT NULL,
  name            TEXT NOT NULL,
  notes           TEXT NOT NULL DEFAULT '',
  enabled         INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
  use_https       INTEGER NOT NULL DEFAULT 0 CHECK (use_https IN (0, 1)),
  release         TEXT NOT NULL CHECK (release IN ('open', 'campaign')),
  source_versions TEXT NOT NULL DEFAULT '[]',
  hardware        TEXT NOT NULL DEFAULT '{}',
  min_battery     INTEGER,
  min_signal      INTEGER,
  min_free_space  INTEGER,
  image           TEXT NOT NULL DEFAULT '{}',
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL,
  deleted_at      INTEGER,
  revision        INTEGER NOT NULL DEFAULT 1
, must_pass INTEGER NOT NULL DEFAULT 0 CHECK (must_pass IN (0, 1))) STRICT;

CREATE INDEX firmware_project ON firmware (project_id, id);

CREATE INDEX firmware_type ON firmware (type_id, module);

CREATE TABLE firmware_device (
  firmware_id INTEGER NOT NULL REFERENCES firmware (id) ON DELETE CASCADE,
  device_id   INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  denied      INTEGER NOT NULL DEFAULT 0 CHECK (denied IN (0, 1)),
  PRIMARY KEY (firmware_id, denied, device_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX firmware_device_device ON firmware_device (device_id);

CREATE TABLE firmware_file (
  firmware_id INTEGER NOT NULL REFERENCES firmware (id) ON DELETE CASCADE,
  no          INTEGER NOT NULL CHECK (no BETWEEN 1 AND 5),
  name        TEXT NOT NULL,
  size        INTEGER NOT NULL,
  md5         BLOB NOT NULL,
  sha1        BLOB NOT NULL,
  sha256      BLOB NOT NULL,
  crc32       INTEGER NOT NULL, missing INTEGER NOT NULL DEFAULT 0 CHECK (missing IN (0, 1)),
  PRIMARY KEY (firmware_id, no)
) STRICT, WITHOUT ROWID;

CREATE INDEX firmware_file_sha256 ON firmware_file (sha256);

CREATE TABLE idempotency (
  project_id   INTEGER NOT NULL REFERENCES project (id),
  key          TEXT NOT NULL,
  route        TEXT NOT NULL,
  request_hash BLOB NOT NULL,
  status       INTEGER NOT NULL,
  body         TEXT NOT NULL,
  created_at   INTEGER NOT NULL,
  PRIMARY KEY (project_id, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_created ON idempotency (created_at);

CREATE TABLE ota_update (
  id           INTEGER PRIMARY KEY,
  project_id   INTEGER NOT NULL REFERENCES project (id),
  device_id    INTEGER NOT NULL REFERENCES device (id),
  module       TEXT NOT NULL,
  firmware_id  INTEGER NOT NULL REFERENCES firmware (id),
  from_version TEXT NOT NULL,
  to_version   TEXT NOT NULL,
  state        TEXT NOT NULL,
  attempt      INTEGER NOT NULL DEFAULT 1,
  bytes_total  INTEGER NOT NULL,
  bytes_served INTEGER NOT NULL DEFAULT 0,
  coverage     TEXT NOT NULL DEFAULT '',
  percent      INTEGER NOT NULL DEFAULT 0,
  suspect      INTEGER NOT NULL DEFAULT 0 CHECK (suspect IN (0, 1)),
  cause        TEXT NOT NULL DEFAULT '',
  link_until   INTEGER NOT NULL,
  retry_at     INTEGER,
  deadline_at  INTEGER,
  created_at   INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL,
  ended_at     INTEGER
, gateway_id INTEGER, campaign_id INTEGER REFERENCES campaign (id), phase INTEGER NOT NULL DEFAULT 0, bytes_again INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '') STRICT;

CREATE UNIQUE INDEX ota_update_active ON ota_update (device_id, module) WHERE ended_at IS NULL;

CREATE INDEX ota_update_again ON ota_update (campaign_id, retry_at, id)
  WHERE state = 'planned' AND campaign_id IS NOT NULL;

CREATE INDEX ota_update_campaign ON ota_update (campaign_id, id) WHERE campaign_id IS NOT NULL;

CREATE INDEX ota_update_campaign_device ON ota_update (campaign_id, device_id)
  WHERE campaign_id IS NOT NULL;

CREATE INDEX ota_update_campaign_state ON ota_update (campaign_id, state, id)
  WHERE campaign_id IS NOT NULL;

CREATE INDEX ota_update_deadline ON ota_update (deadline_at) WHERE ended_at IS NULL;

CREATE INDEX ota_update_device ON ota_update (device_id, id);

CREATE INDEX ota_update_firmware ON ota_update (firmware_id, id);

CREATE INDEX ota_update_gateway ON ota_update (gateway_id, state)
  WHERE ended_at IS NULL AND gateway_id IS NOT NULL;

CREATE INDEX ota_update_open ON ota_update (project_id, id) WHERE ended_at IS NULL;

CREATE INDEX ota_update_open_firmware ON ota_update (firmware_id) WHERE ended_at IS NULL;

CREATE INDEX ota_update_project ON ota_update (project_id, id);

CREATE INDEX ota_update_state ON ota_update (project_id, state, id);

CREATE INDEX ota_update_unsuccessful ON ota_update (device_id, ended_at)
  WHERE ended_at IS NOT NULL AND state <> 'verified';

CREATE TABLE ota_update_history (
  update_id  INTEGER NOT NULL REFERENCES ota_update (id) ON DELETE CASCADE,
  seq        INTEGER NOT NULL,
  at         INTEGER NOT NULL,
  from_state TEXT NOT NULL,
  to_state   TEXT NOT NULL,
  cause      TEXT NOT NULL,
  text       TEXT NOT NULL,
  PRIMARY KEY (update_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE project (
  id         INTEGER PRIMARY KEY,
  key        TEXT NOT NULL UNIQUE,
  name       TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  revision   INTEGER NOT NULL DEFAULT 1
, bootstrap TEXT NOT NULL DEFAULT 'off'
  CHECK (bootstrap IN ('off', 'once', 'always')), bootstrap_create INTEGER NOT NULL DEFAULT 0
  CHECK (bootstrap_create >= 0), second_person INTEGER NOT NULL DEFAULT 0 CHECK (second_person IN (0, 1))) STRICT;

CREATE TABLE project_app (
  project_id  INTEGER PRIMARY KEY REFERENCES project (id) ON DELETE CASCADE,
  key         TEXT NOT NULL UNIQUE,
  secret_hash TEXT NOT NULL,
  token       TEXT NOT NULL,
  live        INTEGER NOT NULL DEFAULT 0 CHECK (live IN (0, 1)),
  created_at  INTEGER NOT NULL,
  rotated_at  INTEGER NOT NULL,
  revision    INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE TABLE push_unsent (
  id        INTEGER PRIMARY KEY,
  update_id INTEGER NOT NULL,
  device_id INTEGER NOT NULL
) STRICT;

CREATE INDEX push_unsent_device ON push_unsent (device_id);

CREATE TABLE request (
  kind        TEXT NOT NULL CHECK (kind IN ('campaign', 'firmware', 'device_type', 'project')),
  object_id   INTEGER NOT NULL,
  action      TEXT NOT NULL CHECK (action IN ('start', 'resume', 'approve', 'complete', 'abort', 'change')),
  body        TEXT NOT NULL,
  revision    INTEGER NOT NULL,
  token_id    INTEGER NOT NULL,
  asked_by    TEXT NOT NULL,
  asked_at    INTEGER NOT NULL,
  expires_at  INTEGER NOT NULL,
  PRIMARY KEY (kind, object_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE rule (
  id                INTEGER PRIMARY KEY,
  project_id        INTEGER NOT NULL REFERENCES project (id),
  type_id           INTEGER REFERENCES device_type (id) ON DELETE CASCADE,
  device_id         INTEGER REFERENCES device (id) ON DELETE CASCADE,
  name              TEXT NOT NULL,
  enabled           INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
  event             TEXT NOT NULL,
  action            TEXT NOT NULL CHECK (action IN ('ota_check')),
  version_attribute TEXT NOT NULL,
  module            TEXT NOT NULL,
  created_at        INTEGER NOT NULL,
  updated_at        INTEGER NOT NULL,
  revision          INTEGER NOT NULL DEFAULT 1,
  CHECK ((type_id IS NULL) <> (device_id IS NULL))
) STRICT;

CREATE INDEX rule_device ON rule (device_id);

CREATE INDEX rule_project ON rule (project_id, id);

CREATE INDEX rule_type ON rule (type_id);

CREATE TABLE rule_target (
  rule_id   INTEGER NOT NULL REFERENCES rule (id) ON DELETE CASCADE,
  device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  PRIMARY KEY (rule_id, device_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX rule_target_device ON rule_target (device_id);

CREATE TABLE setting (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT;

CREATE TABLE sqlite_sequence(name,seq);

CREATE TABLE task (
  id              INTEGER PRIMARY KEY,
  project_id      INTEGER NOT NULL REFERENCES project (id),
  name            TEXT NOT NULL,
  enabled         INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
  action          TEXT NOT NULL CHECK (action IN ('ota_push', 'command_send', 'attributes_push')),
  params          TEXT NOT NULL,
  type_id         INTEGER REFERENCES device_type (id) ON DELETE CASCADE,
  tags            TEXT,
  schedule        TEXT NOT NULL,
  timezone        TEXT NOT NULL,
  grace_s         INTEGER NOT NULL,
  rate_per_minute INTEGER NOT NULL,
  next_at         INTEGER,
  created_at      INTEGER NOT NULL,
  updated_at      INTEGER NOT NULL,
  revision        INTEGER NOT NULL DEFAULT 1
, gone INTEGER NOT NULL DEFAULT 0 CHECK (gone IN (0, 1)), void_to INTEGER NOT NULL DEFAULT 0, void_reason TEXT NOT NULL DEFAULT '') STRICT;

CREATE INDEX task_gone ON task (id) WHERE gone = 1;

CREATE INDEX task_next ON task (next_at) WHERE enabled = 1 AND next_at IS NOT NULL;

CREATE INDEX task_project ON task (project_id, id);

CREATE INDEX task_type ON task (type_id) WHERE type_id IS NOT NULL;

CREATE TABLE task_device (
  task_id   INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE,
  device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  PRIMARY KEY (task_id, device_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX task_device_device ON task_device (device_id);

CREATE TABLE task_kept (
  device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  task_id   INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE,
  run_id    INTEGER NOT NULL REFERENCES task_run (id) ON DELETE CASCADE, leaving INTEGER NOT NULL DEFAULT 0 CHECK (leaving IN (0, 1)),
  PRIMARY KEY (device_id, task_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX task_kept_leaving ON task_kept (device_id, task_id) WHERE leaving = 1;

CREATE INDEX task_kept_run ON task_kept (run_id);

CREATE INDEX task_kept_task ON task_kept (task_id);

CREATE TABLE task_run (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  task_id      INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE,
  cause        TEXT NOT NULL CHECK (cause IN ('schedule', 'operator')),
  chosen       INTEGER NOT NULL DEFAULT 0 CHECK (chosen IN (0, 1)),
  state        TEXT NOT NULL CHECK (state IN ('running', 'done', 'skipped', 'canceled')),
  reason       TEXT NOT NULL DEFAULT '',
  cursor       INTEGER NOT NULL DEFAULT 0,
  confirmed    INTEGER NOT NULL DEFAULT 0,
  allowance    INTEGER NOT NULL DEFAULT 1000000,
  allowance_at INTEGER NOT NULL,
  due_at       INTEGER NOT NULL,
  started_at   INTEGER NOT NULL,
  ended_at     INTEGER
, gone INTEGER NOT NULL DEFAULT 0 CHECK (gone IN (0, 1))) STRICT;

CREATE INDEX task_run_gone ON task_run (id) WHERE gone = 1;

CREATE UNIQUE INDEX task_run_open ON task_run (task_id) WHERE ended_at IS NULL;

CREATE INDEX task_run_task ON task_run (task_id, id);

CREATE INDEX task_run_unconfirmed ON task_run (id) WHERE confirmed < cursor;

CREATE TABLE task_run_count (
  run_id INTEGER NOT NULL REFERENCES task_run (id) ON DELETE CASCADE,
  result TEXT NOT NULL,
  reason TEXT NOT NULL,
  n      INTEGER NOT NULL,
  PRIMARY KEY (run_id, result, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE task_run_device (
  run_id     INTEGER NOT NULL REFERENCES task_run (id) ON DELETE CASCADE,
  device_id  INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  result     TEXT NOT NULL,
  reason     TEXT NOT NULL,
  message_id INTEGER,
  at         INTEGER NOT NULL,
  PRIMARY KEY (run_id, device_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX task_run_device_device ON task_run_device (device_id, message_id);

CREATE TABLE task_run_target (
  run_id    INTEGER NOT NULL REFERENCES task_run (id) ON DELETE CASCADE,
  device_id INTEGER NOT NULL REFERENCES device (id) ON DELETE CASCADE,
  PRIMARY KEY (run_id, device_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX task_run_target_device ON task_run_target (device_id);

CREATE TABLE token (
  id           INTEGER PRIMARY KEY,
  project_id   INTEGER NOT NULL REFERENCES project (id),
  name         TEXT NOT NULL,
  scope        TEXT NOT NULL CHECK (scope IN ('admin', 'operator', 'viewer')),
  hash         BLOB NOT NULL UNIQUE,
  prefix       TEXT NOT NULL,
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER,
  revoked_at   INTEGER
) STRICT;

CREATE INDEX token_project ON token (project_id, id);

CREATE TABLE update_log (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  update_id INTEGER NOT NULL REFERENCES ota_update (id) ON DELETE CASCADE,
  at        INTEGER NOT NULL,
  source    TEXT NOT NULL CHECK (source IN ('http', 'mqtt')),
  body      BLOB NOT NULL
) STRICT;

CREATE INDEX update_log_at ON update_log (at);

CREATE INDEX update_log_update ON update_log (update_id, id);

CREATE TABLE version_count (
  type_id  INTEGER NOT NULL REFERENCES device_type (id) ON DELETE CASCADE,
  module   TEXT NOT NULL,
  version  TEXT NOT NULL,
  enabled  INTEGER NOT NULL,
  disabled INTEGER NOT NULL,
  PRIMARY KEY (type_id, module, version)
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

CREATE TABLE webhook (
  id               INTEGER PRIMARY KEY,
  project_id       INTEGER NOT NULL REFERENCES project (id) ON DELETE CASCADE,
  name             TEXT NOT NULL,
  url              TEXT NOT NULL,
  types            TEXT NOT NULL,
  enabled          INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
  disabled_reason  TEXT NOT NULL DEFAULT '',
  secret           TEXT NOT NULL,
  old_secret       TEXT,
  old_secret_until INTEGER NOT NULL DEFAULT 0,
  cursor           INTEGER NOT NULL,
  failing_since    INTEGER NOT NULL DEFAULT 0,
  created_at       INTEGER NOT NULL,
  updated_at       INTEGER NOT NULL,
  revision         INTEGER NOT NULL DEFAULT 1
) STRICT;

CREATE INDEX webhook_project ON webhook (project_id, id);

CREATE TABLE webhook_delivery (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  webhook_id INTEGER NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
  message_id TEXT NOT NULL,
  type       TEXT NOT NULL,
  body       TEXT NOT NULL,
  state      TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
  attempts   INTEGER NOT NULL DEFAULT 0,
  status     INTEGER NOT NULL DEFAULT 0,
  error      TEXT NOT NULL DEFAULT '',
  created_at INTEGER NOT NULL,
  next_at    INTEGER,
  ended_at   INTEGER
) STRICT;

CREATE INDEX webhook_delivery_open ON webhook_delivery (webhook_id, next_at)
  WHERE ended_at IS NULL;

CREATE INDEX webhook_delivery_webhook ON webhook_delivery (webhook_id, id);
