//! Opens the database: makes it on the first day, brings an older one up to date, refuses what is not ours.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::Error;
use crate::logs::private_folder;

/// The schema that this release writes.
pub const SCHEMA: i64 = 7;

/// KiB of the database that a connection keeps in memory; the system keeps the rest, as far as it has room.
const WRITER_CACHE: i64 = 16 << 10;
const READER_CACHE: i64 = 8 << 10;

/// So many pages of the write-ahead log are brought into the database together.
const CHECKPOINT: i64 = 4000;

const SQL: &str = include_str!("schema.sql");

/// "Coro", in the place of a file's header where SQLite lets programs put their mark.
const APPLICATION: i64 = 0x436f_726f;

/// The connection that writes.
pub(super) fn for_writing(path: &Path, wait: Duration) -> Result<Connection, Error> {
    make_file(path).map_err(|e| Error::unwritable(path, e))?;
    let failed = |e| Error::sqlite(path, wait, e);
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, wait).map_err(failed)?;
    if conn.is_readonly(rusqlite::MAIN_DB).map_err(failed)? {
        return Err(Error::ReadOnly { path: path.to_owned() });
    }
    // what was acknowledged survives a power failure
    conn.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    // what one commit of many changes need not be written twice for want of room
    conn.pragma_update(None, "cache_size", -WRITER_CACHE).map_err(failed)?;
    // the pages that every commit changes are copied into the database once in so many (16 MiB) and not each time
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT).map_err(failed)?;
    // what a job that fails would have to take back is kept here, and not in a file beside
    conn.pragma_update(None, "temp_store", "MEMORY").map_err(failed)?;
    match found(&conn).map_err(failed)? {
        Found { application: APPLICATION, schema: SCHEMA, .. } => {}
        Found { application: APPLICATION, schema, .. } if schema > SCHEMA => {
            return Err(Error::Newer { path: path.to_owned(), found: schema, known: SCHEMA });
        }
        Found { application: APPLICATION, .. } => migrate(&conn).map_err(failed)?,
        Found { application: 0, schema: 0, objects: 0 } => {
            prepare(&conn, wait).and_then(|()| migrate(&conn)).map_err(failed)?;
        }
        _ => return Err(Error::Foreign { path: path.to_owned() }),
    }
    Ok(conn)
}

/// A connection that only reads.
pub(super) fn for_reading(path: &Path, wait: Duration) -> rusqlite::Result<Connection> {
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, wait)?;
    conn.pragma_update(None, "cache_size", -READER_CACHE)?;
    Ok(conn)
}

fn connect(path: &Path, mode: OpenFlags, wait: Duration) -> rusqlite::Result<Connection> {
    #[cfg_attr(not(test), expect(unused_mut, reason = "only the tests listen to it"))]
    let mut conn = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(wait)?;
    conn.set_prepared_statement_cache_capacity(128);
    // a plan does not depend on what is bound: otherwise SQLite prepares a statement anew whenever something else is bound,
    // which takes longer than most of them
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    #[cfg(test)]
    crate::conformance::plans::listen(&mut conn);
    Ok(conn)
}

/// Folder and file, readable by their owner only. SQLite gives the files beside it the same mode.
fn make_file(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(data) if data.is_file() => Ok(()),
        Ok(_) => Err(io::ErrorKind::IsADirectory.into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                private_folder(folder)?;
            }
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
        }
        Err(e) => Err(e),
    }
}

/// The schema of the store at this path; nothing if there is no file. Changes nothing.
pub fn schema_of(path: &Path) -> Result<Option<i64>, Error> {
    if !path.exists() {
        return Ok(None);
    }
    let failed = |e| Error::sqlite(path, Duration::ZERO, e);
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let found = found(&conn).map_err(failed)?;
    match found.application {
        APPLICATION => Ok(Some(found.schema)),
        _ => Err(Error::Foreign { path: path.to_owned() }),
    }
}

struct Found {
    application: i64,
    schema: i64,
    objects: i64,
}

fn found(conn: &Connection) -> rusqlite::Result<Found> {
    let pragma = |name| conn.pragma_query_value(None, name, |row| row.get(0));
    let (application, schema) = (pragma("application_id")?, pragma("user_version")?);
    let objects = match (application, schema) {
        (0, 0) => conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?,
        _ => 0,
    };
    Ok(Found { application, schema, objects })
}

/// What must be set before the first table.
fn prepare(conn: &Connection, wait: Duration) -> rusqlite::Result<()> {
    conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let begun = Instant::now();
    loop {
        // the change of the mode does not wait by itself when another process is just doing the same
        match conn.pragma_update(None, "journal_mode", "WAL") {
            Err(e)
                if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && begun.elapsed() < wait =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

fn migrate(conn: &Connection) -> rusqlite::Result<()> {
    let transaction = rusqlite::Transaction::new_unchecked(conn, rusqlite::TransactionBehavior::Immediate)?;
    // another process may have been quicker
    let from = found(&transaction)?.schema;
    for (version, sql) in versions().filter(|(version, _)| *version > from) {
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", version)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.commit()
}

/// The parts of the schema, by version.
fn versions() -> impl Iterator<Item = (i64, &'static str)> {
    SQL.split("\n-- v ").skip(1).filter_map(|part| {
        let (version, sql) = part.split_once('\n')?;
        Some((version.trim().parse().ok()?, sql))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_counts_up_to_ours() {
        let all: Vec<_> = versions().map(|(version, _)| version).collect();
        assert_eq!(all, (1..=SCHEMA).collect::<Vec<_>>());
    }

    #[test]
    fn an_older_store_is_brought_up_to_date() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        let wait = Duration::from_secs(1);
        let old = Connection::open(&path).unwrap();
        prepare(&old, wait).unwrap();
        let (_, first) = versions().next().unwrap();
        old.execute_batch(first).unwrap();
        // as version 1 wrote them
        let exit = r#"{"end":{"kind":"exited","code":1},"wall":{"secs":1,"nanos":500000000},"cpu":{"secs":0,"nanos":250000000}}"#;
        let kept = format!(
            "INSERT INTO signatures (signature, words, first_seen) VALUES ('v1:a', 'died', 0);
             INSERT INTO experiments (key, number, name, attempt, type, status, command, cwd) VALUES
               (1 << 21, 1, 'a', 1, 'train', 'running', '[]', ''), (2 << 21, 2, 'b', 1, 'train', 'running', '[]', ''),
               (3 << 21, 3, 'c', 1, '', 'passed', '[]', ''), (4 << 21, 4, 'd', 1, '', 'running', '[]', '');
             UPDATE experiments SET exit = '{exit}', wall_us = 1500000 WHERE number IN (1, 3);
             UPDATE experiments SET exit = 'null', wall_us = 70 WHERE number = 2;
             UPDATE experiments SET status = 'failed', category = 'timeout', severity = 'high', origin = 'candidate',
               signature = 1 WHERE number IN (1, 2);
             INSERT INTO diagnoses VALUES (1 << 21, 'a', 'b', 1, 0, 'r', '{{\"cost_usd\": 0.004}}'), (2 << 21, 'a', 'b', 1, 0, 'r', '{{}}');"
        );
        old.execute_batch(&kept).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        old.pragma_update(None, "application_id", APPLICATION).unwrap();
        drop(old);
        for _ in 0..2 {
            let conn = for_writing(&path, wait).unwrap();
            assert_eq!(found(&conn).unwrap().schema, SCHEMA);
            let sums = |scope: &str, hours: i64| {
                conn.prepare(
                    "SELECT status, signature, count, wall_us, cpu_us, nanodollars FROM losses
                     WHERE scope = ?1 AND hours = ?2 ORDER BY status",
                )
                .unwrap()
                .query_map(rusqlite::params![scope, hours], |row| {
                    Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?]))
                })
                .unwrap()
                .collect::<Result<Vec<(String, [i64; 5])>, _>>()
                .unwrap()
            };
            let failed = ("failed".to_owned(), [1, 2, 1_500_070, 250_000, 4_000_000]);
            let passed = ("passed".to_owned(), [0, 1, 1_500_000, 250_000, 0]);
            for hours in [0, 1, 24] {
                assert_eq!(sums("", hours), [failed.clone(), passed.clone()], "{hours}");
                assert_eq!(sums("type:train", hours), std::slice::from_ref(&failed), "{hours}");
            }
        }
        // and what happens to them from now on is counted
        let conn = for_writing(&path, wait).unwrap();
        conn.execute_batch("DELETE FROM experiments").unwrap();
        let left: i64 = conn.query_row("SELECT count(*) FROM losses", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
    }

    #[test]
    fn every_table_there_is_was_made_by_the_schema() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made").join("here.db");
        let conn = for_writing(&path, Duration::from_secs(1)).unwrap();
        let mode: String = conn.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        let sync: i64 = conn.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
        let vacuum: i64 = conn.pragma_query_value(None, "auto_vacuum", |row| row.get(0)).unwrap();
        assert_eq!((mode.as_str(), sync, vacuum), ("wal", 2, 2));
        drop(conn);
        let permissions = |p: &Path| {
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(p).unwrap().permissions()) & 0o777
        };
        assert_eq!(permissions(&path), 0o600);
        assert_eq!(permissions(path.parent().unwrap()), 0o700);
        for_writing(&path, Duration::from_secs(1)).unwrap();
    }
}
