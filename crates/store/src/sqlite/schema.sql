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
