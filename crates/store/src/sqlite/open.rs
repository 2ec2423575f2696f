//! Opens the database: makes it on the first day, brings an older one up to date, refuses what is not ours.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use crate::Error;
use crate::logs::private_folder;

/// The schema that this release writes.
pub(super) const SCHEMA: i64 = 2;

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
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, wait)
}

fn connect(path: &Path, mode: OpenFlags, wait: Duration) -> rusqlite::Result<Connection> {
    #[cfg_attr(not(test), expect(unused_mut, reason = "only the tests listen to it"))]
    let mut conn = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    conn.busy_timeout(wait)?;
    conn.set_prepared_statement_cache_capacity(64);
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
