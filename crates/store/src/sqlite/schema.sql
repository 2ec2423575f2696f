-- Append-only: what a released version says is never edited; the next version is added below it as `-- v N`.
-- v 1

-- A handful of numbers that would need a full scan to find.
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES ('number', 0), ('log_bytes', 0);

-- `key` is (milliseconds of the start << 21) + a running number within that millisecond, so the table, its indexes and
-- the word search are all in the order of the list. `number` is what people type.
CREATE TABLE experiments (
  key INTEGER PRIMARY KEY,
  number INTEGER NOT NULL UNIQUE,
  name TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  type TEXT NOT NULL,
  status TEXT NOT NULL,
  category TEXT NOT NULL DEFAULT '',     -- empty without a diagnosis, like the next two
  severity TEXT NOT NULL DEFAULT '',
  origin TEXT NOT NULL DEFAULT '',
  signature INTEGER,                     -- signatures.id
  command TEXT NOT NULL,                 -- JSON array
  cwd TEXT NOT NULL,
  owner TEXT,                            -- JSON
  ended_at INTEGER,                      -- milliseconds
  exit TEXT,                             -- JSON
  wall_us INTEGER,
  peak_memory INTEGER,
  reason TEXT,
  log BLOB,                              -- logs.id
  log_note TEXT,
  UNIQUE (name, attempt)
);
CREATE INDEX by_words ON experiments (status, category, severity, origin);
CREATE INDEX by_signature ON experiments (signature) WHERE signature IS NOT NULL;
CREATE INDEX by_log ON experiments (log) WHERE log IS NOT NULL;
CREATE INDEX passed_by_type ON experiments (type) WHERE status IN ('passed', 'adopted');
CREATE INDEX passed_by_command ON experiments (substr(command, 1, 200)) WHERE status IN ('passed', 'adopted');
CREATE INDEX passed_with_log ON experiments (status) WHERE status IN ('passed', 'adopted') AND log IS NOT NULL;

-- The diagnosis as it was given; beside it what the list shows, so that a record of a later release, which this one
-- can't read, spoils no list.
CREATE TABLE diagnoses (
  key INTEGER PRIMARY KEY,
  root_cause TEXT NOT NULL,
  fix_suggestion TEXT NOT NULL,
  confidence REAL NOT NULL,
  retryable INTEGER NOT NULL,
  rule TEXT,
  record TEXT NOT NULL                   -- JSON
);

-- One row for each cause. It outlives its experiments: what was seen once is not new.
CREATE TABLE signatures (
  id INTEGER PRIMARY KEY,
  signature TEXT NOT NULL UNIQUE,
  words TEXT NOT NULL,                   -- of the root cause and the lines that say it, without numbers
  first_seen INTEGER NOT NULL,           -- milliseconds
  count INTEGER NOT NULL DEFAULT 0
);

-- Bytes of small logs; of large ones there is a file.
CREATE TABLE logs (
  id BLOB PRIMARY KEY,
  bytes INTEGER NOT NULL,
  stored INTEGER NOT NULL,
  added_at INTEGER NOT NULL,             -- milliseconds; of the last experiment that printed it
  data BLOB
);
CREATE INDEX logs_by_age ON logs (added_at);

-- How many experiments there are of each combination of words that occurs: filtered totals without counting.
CREATE TABLE facets (
  status TEXT NOT NULL, category TEXT NOT NULL, severity TEXT NOT NULL, origin TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (status, category, severity, origin)
) WITHOUT ROWID;
-- The same by the time of the start: for every hour, and for every day (24 hours), both counted from 1970 in UTC.
CREATE TABLE spans (
  hours INTEGER NOT NULL,                -- 1 or 24
  start INTEGER NOT NULL,                -- in units of `hours`
  status TEXT NOT NULL, category TEXT NOT NULL, severity TEXT NOT NULL, origin TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (hours, start, status, category, severity, origin)
) WITHOUT ROWID;

CREATE TRIGGER experiment_added AFTER INSERT ON experiments BEGIN
  INSERT INTO facets VALUES (new.status, new.category, new.severity, new.origin, 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
  INSERT INTO spans VALUES
      (1, (new.key >> 21) / 3600000, new.status, new.category, new.severity, new.origin, 1),
      (24, (new.key >> 21) / 86400000, new.status, new.category, new.severity, new.origin, 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
  UPDATE signatures SET count = count + 1 WHERE id = new.signature;
END;
CREATE TRIGGER experiment_changed AFTER UPDATE OF status, category, severity, origin, signature ON experiments BEGIN
  UPDATE facets SET count = count - 1 WHERE status = old.status AND category = old.category
    AND severity = old.severity AND origin = old.origin;
  UPDATE spans SET count = count - 1 WHERE hours = 1 AND start = (old.key >> 21) / 3600000 AND status = old.status
    AND category = old.category AND severity = old.severity AND origin = old.origin;
  UPDATE spans SET count = count - 1 WHERE hours = 24 AND start = (old.key >> 21) / 86400000 AND status = old.status
    AND category = old.category AND severity = old.severity AND origin = old.origin;
  UPDATE signatures SET count = count - 1 WHERE id = old.signature;
  INSERT INTO facets VALUES (new.status, new.category, new.severity, new.origin, 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
  INSERT INTO spans VALUES
      (1, (new.key >> 21) / 3600000, new.status, new.category, new.severity, new.origin, 1),
      (24, (new.key >> 21) / 86400000, new.status, new.category, new.severity, new.origin, 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
  UPDATE signatures SET count = count + 1 WHERE id = new.signature;
END;
CREATE TRIGGER experiment_removed AFTER DELETE ON experiments BEGIN
  UPDATE facets SET count = count - 1 WHERE status = old.status AND category = old.category
    AND severity = old.severity AND origin = old.origin;
  UPDATE spans SET count = count - 1 WHERE hours = 1 AND start = (old.key >> 21) / 3600000 AND status = old.status
    AND category = old.category AND severity = old.severity AND origin = old.origin;
  UPDATE spans SET count = count - 1 WHERE hours = 24 AND start = (old.key >> 21) / 86400000 AND status = old.status
    AND category = old.category AND severity = old.severity AND origin = old.origin;
  UPDATE signatures SET count = count - 1 WHERE id = old.signature;
END;
CREATE TRIGGER log_added AFTER INSERT ON logs BEGIN
  UPDATE counters SET value = value + new.stored WHERE name = 'log_bytes';
END;
CREATE TRIGGER log_removed AFTER DELETE ON logs BEGIN
  UPDATE counters SET value = value - old.stored WHERE name = 'log_bytes';
END;

-- What a person searches in. `words` holds status, category and so on as single words, so that a search with filters
-- is answered by the index alone. rowid = experiments.key; nothing is stored twice.
CREATE VIRTUAL TABLE search USING fts5 (
  name, type, command, cause, words,
  content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);
-- What a failure is compared with, rowid = signatures.id; and in how many of them a word occurs.
CREATE VIRTUAL TABLE causes USING fts5 (words, content = '', contentless_delete = 1);
CREATE TABLE cause_words (word TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;

-- For the model: replies by key, and what was spent by UTC day.
CREATE TABLE replies (key TEXT PRIMARY KEY, reply TEXT NOT NULL, kept_at INTEGER NOT NULL);
CREATE INDEX replies_by_age ON replies (kept_at);
CREATE TABLE spending (
  day TEXT PRIMARY KEY,
  calls INTEGER NOT NULL,
  nanodollars INTEGER NOT NULL
) WITHOUT ROWID;

-- v 2

-- What the lab keeps: runs of its loop, the candidates that they tried, and what all failures cost.

-- One row for each run of the loop, from its start to whatever ended it, resumed as often as need be.
CREATE TABLE runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- what people type
  task TEXT NOT NULL,
  settings TEXT NOT NULL,                -- JSON
  seed INTEGER NOT NULL,                 -- 64 bits without a sign
  owner TEXT NOT NULL,                   -- JSON
  started_at INTEGER NOT NULL,           -- milliseconds
  state TEXT NOT NULL,
  ended_at INTEGER,                      -- milliseconds
  reason TEXT
);
CREATE INDEX runs_of_task ON runs (task);
CREATE INDEX runs_by_age ON runs (started_at);
CREATE INDEX runs_that_run ON runs (state) WHERE state = 'running';

ALTER TABLE experiments ADD COLUMN run INTEGER;                           -- runs.id, of a candidate
ALTER TABLE experiments ADD COLUMN cpu_us INTEGER;
ALTER TABLE experiments ADD COLUMN nanodollars INTEGER NOT NULL DEFAULT 0; -- of the diagnosis and of the proposal
CREATE INDEX by_signature_of_type ON experiments (signature, type) WHERE signature IS NOT NULL;
CREATE INDEX by_signature_of_run ON experiments (signature, run) WHERE signature IS NOT NULL AND run IS NOT NULL;

-- Texts of candidates, zstd, by the SHA-256 of the text as it is.
CREATE TABLE codes (
  id BLOB PRIMARY KEY,
  bytes INTEGER NOT NULL,
  data BLOB NOT NULL
);

-- What a candidate has beyond its experiment, which has the same key.
CREATE TABLE candidates (
  key INTEGER PRIMARY KEY,
  run INTEGER NOT NULL,
  hash TEXT NOT NULL,                    -- of the code without what does not matter
  code BLOB NOT NULL,                    -- codes.id
  tries INTEGER NOT NULL,                -- 1, or more if it was marked and tested again
  newest INTEGER NOT NULL DEFAULT 1,     -- 0 once it was tested again
  rerun INTEGER NOT NULL DEFAULT 0,      -- 1: is to be tested again
  generation INTEGER NOT NULL,
  proposer TEXT NOT NULL,
  change TEXT NOT NULL,
  feedback TEXT NOT NULL,
  nanodollars INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  metrics TEXT,                          -- JSON object
  score REAL,
  result TEXT                            -- JSON, contract.md section 3
);
-- The same code is never tested twice in a run.
CREATE UNIQUE INDEX tested_once ON candidates (run, hash) WHERE newest = 1;
CREATE INDEX candidates_of_run ON candidates (run);
CREATE INDEX candidates_to_rerun ON candidates (run) WHERE rerun = 1;
CREATE INDEX candidates_by_code ON candidates (code);

-- Whom a candidate came from, as experiments.key.
CREATE TABLE lineage (
  child INTEGER NOT NULL,
  repairs INTEGER NOT NULL,              -- 1: the child mends this one; 0: it was made from it
  place INTEGER NOT NULL,
  parent INTEGER NOT NULL,
  PRIMARY KEY (child, repairs, place)
) WITHOUT ROWID;
CREATE INDEX children ON lineage (parent, child);

-- Which rules of the policy have refused which candidates.
CREATE TABLE refusals (
  rule TEXT NOT NULL,
  key INTEGER NOT NULL,                  -- experiments.key
  PRIMARY KEY (rule, key)
) WITHOUT ROWID;
CREATE INDEX refusals_of ON refusals (key);

-- What experiments that ended have taken, by cause: `scope` is '' for all, 'type:NAME' or 'run:ID'; `hours` and `start`
-- as in `spans`, and 0, 0 for all time. Rows that count nothing are removed.
CREATE TABLE losses (
  scope TEXT NOT NULL,
  hours INTEGER NOT NULL,
  start INTEGER NOT NULL,
  signature INTEGER NOT NULL,            -- signatures.id; 0 without a diagnosis
  status TEXT NOT NULL, category TEXT NOT NULL, origin TEXT NOT NULL,
  count INTEGER NOT NULL,
  wall_us INTEGER NOT NULL,
  cpu_us INTEGER NOT NULL,
  nanodollars INTEGER NOT NULL,
  PRIMARY KEY (scope, hours, start, signature, status, category, origin)
) WITHOUT ROWID;

-- Three views that hold nothing: what is put into the first goes into each scope, from there into each span of time, and
-- from there into `losses`. `times` is 1 to count an experiment and -1 to take it back.
CREATE VIEW book AS SELECT 0 AS key, '' AS type, 0 AS run, 0 AS signature, '' AS status, '' AS category, '' AS origin,
  0 AS times, 0 AS wall_us, 0 AS cpu_us, 0 AS nanodollars WHERE 0;
CREATE VIEW book_scope AS SELECT 0 AS key, '' AS scope, 0 AS signature, '' AS status, '' AS category, '' AS origin,
  0 AS times, 0 AS wall_us, 0 AS cpu_us, 0 AS nanodollars WHERE 0;
CREATE VIEW book_span AS SELECT '' AS scope, 0 AS hours, 0 AS start, 0 AS signature, '' AS status, '' AS category,
  '' AS origin, 0 AS times, 0 AS wall_us, 0 AS cpu_us, 0 AS nanodollars WHERE 0;
CREATE TRIGGER booked INSTEAD OF INSERT ON book WHEN new.status <> 'running' BEGIN
  INSERT INTO book_scope VALUES (new.key, '', ifnull(new.signature, 0), new.status, new.category, new.origin,
    new.times, new.times * ifnull(new.wall_us, 0), new.times * ifnull(new.cpu_us, 0), new.times * new.nanodollars);
  INSERT INTO book_scope SELECT new.key, 'type:' || new.type, ifnull(new.signature, 0), new.status, new.category,
    new.origin, new.times, new.times * ifnull(new.wall_us, 0), new.times * ifnull(new.cpu_us, 0),
    new.times * new.nanodollars WHERE new.type <> '';
  INSERT INTO book_scope SELECT new.key, 'run:' || new.run, ifnull(new.signature, 0), new.status, new.category,
    new.origin, new.times, new.times * ifnull(new.wall_us, 0), new.times * ifnull(new.cpu_us, 0),
    new.times * new.nanodollars WHERE new.run IS NOT NULL;
END;
CREATE TRIGGER booked_scope INSTEAD OF INSERT ON book_scope BEGIN
  INSERT INTO book_span VALUES (new.scope, 0, 0, new.signature, new.status, new.category, new.origin, new.times,
    new.wall_us, new.cpu_us, new.nanodollars);
  INSERT INTO book_span VALUES (new.scope, 1, (new.key >> 21) / 3600000, new.signature, new.status, new.category,
    new.origin, new.times, new.wall_us, new.cpu_us, new.nanodollars);
  INSERT INTO book_span VALUES (new.scope, 24, (new.key >> 21) / 86400000, new.signature, new.status, new.category,
    new.origin, new.times, new.wall_us, new.cpu_us, new.nanodollars);
END;
CREATE TRIGGER booked_span INSTEAD OF INSERT ON book_span BEGIN
  INSERT INTO losses VALUES (new.scope, new.hours, new.start, new.signature, new.status, new.category, new.origin,
      new.times, new.wall_us, new.cpu_us, new.nanodollars)
    ON CONFLICT DO UPDATE SET count = count + excluded.count, wall_us = wall_us + excluded.wall_us,
      cpu_us = cpu_us + excluded.cpu_us, nanodollars = nanodollars + excluded.nanodollars;
  DELETE FROM losses WHERE new.times < 0 AND scope = new.scope AND hours = new.hours AND start = new.start
    AND signature = new.signature AND status = new.status AND category = new.category AND origin = new.origin
    AND count = 0;
END;

-- once, from what version 1 kept
UPDATE experiments SET cpu_us = json_extract(exit, '$.cpu.secs') * 1000000 + json_extract(exit, '$.cpu.nanos') / 1000
  WHERE json_valid(exit) AND json_extract(exit, '$.cpu.secs') IS NOT NULL;
-- once, from what version 1 kept
UPDATE experiments SET nanodollars = ifnull((SELECT CAST(round(json_extract(record, '$.cost_usd') * 1e9) AS INTEGER)
  FROM diagnoses WHERE diagnoses.key = experiments.key AND json_valid(record)), 0);
-- once, from what version 1 kept
INSERT INTO book SELECT key, type, run, signature, status, category, origin, 1, wall_us, cpu_us, nanodollars
  FROM experiments;

CREATE TRIGGER experiment_added_to_losses AFTER INSERT ON experiments WHEN new.status <> 'running' BEGIN
  INSERT INTO book VALUES (new.key, new.type, new.run, new.signature, new.status, new.category, new.origin, 1,
    new.wall_us, new.cpu_us, new.nanodollars);
END;
CREATE TRIGGER experiment_changed_in_losses
AFTER UPDATE OF type, run, signature, status, category, origin, wall_us, cpu_us, nanodollars ON experiments
WHEN new.status <> 'running' OR old.status <> 'running' BEGIN
  INSERT INTO book VALUES (new.key, new.type, new.run, new.signature, new.status, new.category, new.origin, 1,
    new.wall_us, new.cpu_us, new.nanodollars);
  INSERT INTO book VALUES (old.key, old.type, old.run, old.signature, old.status, old.category, old.origin, -1,
    old.wall_us, old.cpu_us, old.nanodollars);
END;
CREATE TRIGGER experiment_removed_from_losses AFTER DELETE ON experiments WHEN old.status <> 'running' BEGIN
  INSERT INTO book VALUES (old.key, old.type, old.run, old.signature, old.status, old.category, old.origin, -1,
    old.wall_us, old.cpu_us, old.nanodollars);
END;

-- v 3

-- What the desk keeps: groups of failures and what people decided about them, who may look, and what has changed.

-- One row for each signature. The counts are of the whole group, and stand with the signature that leads it.
CREATE TABLE groups (
  id INTEGER PRIMARY KEY,                -- signatures.id
  lead INTEGER,                          -- the one that it was joined to; NULL: it leads
  state TEXT NOT NULL DEFAULT 'open',    -- open, muted, resolved
  count INTEGER NOT NULL DEFAULT 0,
  first_seen INTEGER NOT NULL,           -- milliseconds
  last_key INTEGER NOT NULL,             -- experiments.key of the latest that was ever seen
  muted_until INTEGER,                   -- milliseconds; NULL: until somebody says otherwise
  assignee TEXT,
  decided_by TEXT,                       -- who set the state
  decided_at INTEGER,                    -- milliseconds
  reopened_at INTEGER                    -- milliseconds; when it was resolved and came again
);
CREATE INDEX groups_latest ON groups (state, last_key) WHERE lead IS NULL;
CREATE INDEX groups_largest ON groups (state, count, id) WHERE lead IS NULL;
CREATE INDEX groups_newest ON groups (state, first_seen, id) WHERE lead IS NULL;
CREATE INDEX group_members ON groups (lead) WHERE lead IS NOT NULL;

-- once, from what version 2 kept
INSERT INTO groups (id, count, first_seen, last_key)
  SELECT id, count, first_seen, ifnull((SELECT max(key) FROM experiments WHERE signature = signatures.id),
    first_seen << 21) FROM signatures;

CREATE TRIGGER failure_joins_its_group AFTER UPDATE OF signature ON experiments
WHEN new.signature IS NOT old.signature BEGIN
  UPDATE groups SET count = count - 1 WHERE id = (SELECT ifnull(lead, id) FROM groups WHERE id = old.signature);
  INSERT INTO groups (id, first_seen, last_key) SELECT new.signature, new.key >> 21, new.key
    WHERE new.signature IS NOT NULL ON CONFLICT DO NOTHING;
  UPDATE groups SET
    reopened_at = CASE WHEN state = 'resolved' AND new.key >> 21 > decided_at THEN new.key >> 21 ELSE reopened_at END,
    state = CASE
      WHEN state = 'resolved' AND new.key >> 21 > decided_at THEN 'open'
      WHEN state = 'muted' AND new.key >> 21 > muted_until THEN 'open'
      ELSE state END,
    count = count + 1, first_seen = min(first_seen, new.key >> 21), last_key = max(last_key, new.key)
    WHERE id = (SELECT ifnull(lead, id) FROM groups WHERE id = new.signature);
END;
CREATE TRIGGER failure_leaves_its_group AFTER DELETE ON experiments WHEN old.signature IS NOT NULL BEGIN
  UPDATE groups SET count = count - 1 WHERE id = (SELECT ifnull(lead, id) FROM groups WHERE id = old.signature);
END;

-- Failures of a signature whose cause holds these words are of another signature.
CREATE TABLE splits (
  signature INTEGER NOT NULL,            -- signatures.id
  words TEXT NOT NULL,
  part TEXT NOT NULL,                    -- the other signature
  by TEXT NOT NULL,
  at INTEGER NOT NULL,                   -- milliseconds
  PRIMARY KEY (signature, words)
) WITHOUT ROWID;

-- What people said failures of a signature are. What is NULL stays as it was judged.
CREATE TABLE corrections (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  signature INTEGER NOT NULL,            -- signatures.id
  category TEXT, severity TEXT, origin TEXT, cause TEXT, fix TEXT,
  by TEXT NOT NULL,
  at INTEGER NOT NULL,                   -- milliseconds
  undone_by TEXT,
  undone_at INTEGER                      -- milliseconds
);
CREATE UNIQUE INDEX corrections_in_force ON corrections (signature) WHERE undone_at IS NULL;
CREATE INDEX corrections_of ON corrections (signature);

-- Diagnoses as they were before a person's word took their place.
CREATE TABLE overruled (
  key INTEGER PRIMARY KEY,               -- experiments.key
  correction INTEGER NOT NULL,
  record TEXT NOT NULL                   -- JSON
);
CREATE INDEX overruled_by ON overruled (correction);

-- Did a diagnosis help?
CREATE TABLE votes (
  key INTEGER NOT NULL,                  -- experiments.key
  by TEXT NOT NULL,
  helpful INTEGER NOT NULL,
  at INTEGER NOT NULL,                   -- milliseconds
  PRIMARY KEY (key, by)
) WITHOUT ROWID;

-- When those who report a run from elsewhere must say again that it runs.
CREATE TABLE beats (
  key INTEGER PRIMARY KEY,               -- experiments.key
  patience INTEGER NOT NULL,             -- milliseconds
  due INTEGER NOT NULL                   -- milliseconds
);
CREATE INDEX beats_due ON beats (due);

CREATE TRIGGER experiment_forgotten AFTER DELETE ON experiments BEGIN
  DELETE FROM overruled WHERE key = old.key;
  DELETE FROM votes WHERE key = old.key;
  DELETE FROM beats WHERE key = old.key;
END;
CREATE TRIGGER experiment_needs_no_beat AFTER UPDATE OF status ON experiments
WHEN old.status = 'running' AND new.status <> 'running' BEGIN
  DELETE FROM beats WHERE key = new.key;
END;

-- The last of what has happened, in its order, whoever wrote it: for those who look on.
CREATE TABLE changes (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key INTEGER NOT NULL,                  -- experiments.key
  what TEXT NOT NULL                     -- started, ended, diagnosed
);
CREATE TRIGGER changes_are_few AFTER INSERT ON changes BEGIN
  DELETE FROM changes WHERE id = new.id - 20000;
END;
CREATE TRIGGER start_is_a_change AFTER INSERT ON experiments
WHEN new.status = 'running' AND new.owner IS NOT NULL BEGIN
  INSERT INTO changes (key, what) VALUES (new.key, 'started');
END;
CREATE TRIGGER end_is_a_change AFTER UPDATE OF status ON experiments
WHEN old.status IN ('running', 'lost') AND new.status NOT IN ('running', old.status)
  OR new.status <> 'running' AND old.status = new.status AND old.category = '' AND new.category <> '' BEGIN
  INSERT INTO changes (key, what) VALUES (new.key, 'ended');
END;
CREATE TRIGGER diagnosis_is_a_change AFTER UPDATE OF signature ON experiments
WHEN old.status = new.status AND old.category <> '' AND (old.category, old.severity, old.origin, old.signature)
  IS NOT (new.category, new.severity, new.origin, new.signature) BEGIN
  INSERT INTO changes (key, what) VALUES (new.key, 'diagnosed');
END;

-- Who may look, and what may report. Of passwords and tokens only hashes are kept.
CREATE TABLE users (
  name TEXT PRIMARY KEY,
  role TEXT NOT NULL,                    -- admin, viewer
  password TEXT NOT NULL,                -- argon2id, PHC string
  totp BLOB,                             -- the shared secret, where there is a second factor
  totp_step INTEGER NOT NULL DEFAULT 0,  -- of the last code that was used: none counts twice
  created_at INTEGER NOT NULL            -- milliseconds
) WITHOUT ROWID;
CREATE TABLE sessions (
  hash BLOB PRIMARY KEY,                 -- SHA-256 of the token
  user TEXT NOT NULL,
  expires_at INTEGER NOT NULL            -- milliseconds
) WITHOUT ROWID;
CREATE INDEX sessions_of ON sessions (user);
CREATE INDEX sessions_by_end ON sessions (expires_at);
CREATE TABLE tokens (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  hash BLOB NOT NULL UNIQUE,             -- SHA-256 of the token
  scope TEXT NOT NULL,                   -- report, read, admin
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,           -- milliseconds
  last_used INTEGER,                     -- milliseconds, to the minute
  revoked_at INTEGER                     -- milliseconds
);

-- v 4

-- What the table is sorted by, within each combination of words; and the combinations that a signature has.
CREATE INDEX by_words_and_time ON experiments (status, category, severity, origin, wall_us);
CREATE INDEX by_words_and_cost ON experiments (status, category, severity, origin, nanodollars);
CREATE INDEX by_signature_and_words ON experiments (signature, status, category, severity, origin)
  WHERE signature IS NOT NULL;

-- What failures that are reported when they are over move, in one step.
CREATE TRIGGER failure_begins_in_its_group AFTER INSERT ON experiments WHEN new.signature IS NOT NULL BEGIN
  INSERT INTO groups (id, first_seen, last_key) VALUES (new.signature, new.key >> 21, new.key) ON CONFLICT DO NOTHING;
  UPDATE groups SET
    reopened_at = CASE WHEN state = 'resolved' AND new.key >> 21 > decided_at THEN new.key >> 21 ELSE reopened_at END,
    state = CASE
      WHEN state = 'resolved' AND new.key >> 21 > decided_at THEN 'open'
      WHEN state = 'muted' AND new.key >> 21 > muted_until THEN 'open'
      ELSE state END,
    count = count + 1, first_seen = min(first_seen, new.key >> 21), last_key = max(last_key, new.key)
    WHERE id = (SELECT ifnull(lead, id) FROM groups WHERE id = new.signature);
END;
CREATE TRIGGER end_at_once_is_a_change AFTER INSERT ON experiments WHEN new.status <> 'running' BEGIN
  INSERT INTO changes (key, what) VALUES (new.key, 'ended');
END;

-- `losses` without the causes: what a month has cost is a few hundred rows, however many causes it had.
CREATE TABLE sums (
  scope TEXT NOT NULL,
  hours INTEGER NOT NULL,
  start INTEGER NOT NULL,
  status TEXT NOT NULL, category TEXT NOT NULL, origin TEXT NOT NULL,
  count INTEGER NOT NULL,
  wall_us INTEGER NOT NULL,
  cpu_us INTEGER NOT NULL,
  nanodollars INTEGER NOT NULL,
  PRIMARY KEY (scope, hours, start, status, category, origin)
) WITHOUT ROWID;
-- once, from what version 3 kept
INSERT INTO sums SELECT scope, hours, start, status, category, origin, sum(count), sum(wall_us), sum(cpu_us),
  sum(nanodollars) FROM losses GROUP BY scope, hours, start, status, category, origin;
CREATE TRIGGER summed INSTEAD OF INSERT ON book_span BEGIN
  INSERT INTO sums VALUES (new.scope, new.hours, new.start, new.status, new.category, new.origin, new.times,
      new.wall_us, new.cpu_us, new.nanodollars)
    ON CONFLICT DO UPDATE SET count = count + excluded.count, wall_us = wall_us + excluded.wall_us,
      cpu_us = cpu_us + excluded.cpu_us, nanodollars = nanodollars + excluded.nanodollars;
  DELETE FROM sums WHERE new.times < 0 AND scope = new.scope AND hours = new.hours AND start = new.start
    AND status = new.status AND category = new.category AND origin = new.origin AND count = 0;
END;

-- How often each cause failed on each day, and with day -1 in all, side by side for each cause.
CREATE TABLE daily (
  signature INTEGER NOT NULL,            -- signatures.id
  day INTEGER NOT NULL,                  -- since 1970, UTC; -1: all together
  count INTEGER NOT NULL,
  wall_us INTEGER NOT NULL,
  nanodollars INTEGER NOT NULL,
  PRIMARY KEY (signature, day)
) WITHOUT ROWID;
-- once, from what version 3 kept
INSERT INTO daily SELECT signature, iif(hours = 0, -1, start), sum(count), sum(wall_us), sum(nanodollars) FROM losses
  WHERE scope = '' AND hours IN (0, 24) AND signature <> 0 GROUP BY signature, iif(hours = 0, -1, start);
CREATE TRIGGER booked_daily INSTEAD OF INSERT ON book_span
WHEN new.scope = '' AND new.hours <> 1 AND new.signature <> 0 BEGIN
  INSERT INTO daily VALUES (new.signature, iif(new.hours = 0, -1, new.start), new.times, new.wall_us, new.nanodollars)
    ON CONFLICT DO UPDATE SET count = count + excluded.count, wall_us = wall_us + excluded.wall_us,
      nanodollars = nanodollars + excluded.nanodollars;
  DELETE FROM daily WHERE new.times < 0 AND signature = new.signature AND day = iif(new.hours = 0, -1, new.start)
    AND count = 0;
END;

-- v 5

-- What people switch off: those who may not sign in for the time being, and rules that are not to speak.
ALTER TABLE users ADD COLUMN disabled_at INTEGER;  -- milliseconds
CREATE TABLE silenced (
  rule TEXT PRIMARY KEY,
  by TEXT NOT NULL,
  at INTEGER NOT NULL                    -- milliseconds
) WITHOUT ROWID;

-- The code of a failure that others ran, as they reported it.
CREATE TABLE sources (
  key INTEGER PRIMARY KEY,               -- experiments.key
  data BLOB NOT NULL                     -- zstd
);
CREATE TRIGGER source_is_forgotten AFTER DELETE ON experiments BEGIN
  DELETE FROM sources WHERE key = old.key;
END;

-- v 6

-- Alerts: what has failed and was not looked at yet, what is remembered between looks, and messages on their way.

-- One row once anybody wants alerts; without it nothing is kept to be looked at.
CREATE TABLE alert_memory (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  version INTEGER NOT NULL,              -- grows with every look
  memory TEXT NOT NULL                   -- JSON
);
CREATE TABLE alert_events (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key INTEGER NOT NULL,                  -- experiments.key; of `stopped` runs.id
  what TEXT NOT NULL                     -- ended, diagnosed, stopped
);
CREATE INDEX alert_events_of ON alert_events (key);
CREATE TRIGGER change_may_alert AFTER INSERT ON changes
WHEN new.what IN ('ended', 'diagnosed') AND EXISTS (SELECT 1 FROM alert_memory WHERE id = 1) BEGIN
  INSERT INTO alert_events (key, what) SELECT new.key, new.what FROM experiments WHERE key = new.key AND category <> '';
END;
CREATE TRIGGER stopped_loop_may_alert AFTER UPDATE OF state ON runs
WHEN new.state = 'broken' AND old.state <> 'broken' AND EXISTS (SELECT 1 FROM alert_memory WHERE id = 1) BEGIN
  INSERT INTO alert_events (key, what) VALUES (new.id, 'stopped');
END;

-- Which channel has counted which failure: none counts one twice.
CREATE TABLE alert_counted (
  number INTEGER NOT NULL,               -- experiments.number
  channel TEXT NOT NULL,
  PRIMARY KEY (number, channel)
) WITHOUT ROWID;
CREATE TRIGGER experiment_alerts_no_more AFTER DELETE ON experiments BEGIN
  DELETE FROM alert_events WHERE key = old.key AND what <> 'stopped';
  DELETE FROM alert_counted WHERE number = old.number;
END;

-- Messages, by the channel's name in the configuration: addresses and secrets are not kept here.
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  delivery TEXT NOT NULL UNIQUE,
  channel TEXT NOT NULL,
  incident TEXT NOT NULL,
  content TEXT NOT NULL,                 -- JSON
  state TEXT NOT NULL,                   -- waiting, sent, failed
  attempts INTEGER NOT NULL,
  created_at INTEGER NOT NULL,           -- milliseconds, like those below
  due_at INTEGER NOT NULL,               -- of the next try; while somebody tries, of the end of his time
  taken_by TEXT,                         -- who tries
  settled_at INTEGER,                    -- when it was sent or given up
  error TEXT                             -- why the last try failed
);
CREATE INDEX outbox_due ON outbox (channel, due_at) WHERE state = 'waiting';
CREATE INDEX outbox_taken ON outbox (id) WHERE taken_by IS NOT NULL;
CREATE INDEX outbox_states ON outbox (state);
CREATE INDEX outbox_of ON outbox (channel, state, settled_at);
CREATE INDEX outbox_settled ON outbox (settled_at) WHERE state <> 'waiting';
CREATE INDEX outbox_waiting ON outbox (created_at) WHERE state = 'waiting';

-- v 7

-- The newest of a signature, with what they are sorted by, without a look at the table.
CREATE INDEX by_signature_words_and_order ON experiments
  (signature, status, category, severity, origin, key, wall_us, nanodollars) WHERE signature IS NOT NULL;
DROP INDEX by_signature_and_words;
