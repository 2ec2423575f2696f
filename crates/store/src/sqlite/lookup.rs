//! One experiment, by whatever a person types; what runs; a log; how the database is.

use coroner_diagnosis::Exit;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, Row};

use super::experiments::moment;
use super::{Trouble, list, open};
use crate::logs::{LogData, LogFolder, StoredLog};
use crate::{CommandLine, Error, Experiment, ExperimentId, Health, LogFacts, LogId, Owner, Running, Status};

pub(super) fn get(conn: &Connection, text: &str) -> Result<Experiment, Trouble> {
    whole(conn, resolve(conn, text)?)
}

pub(super) fn numbered(conn: &Connection, number: u64) -> Result<Experiment, Trouble> {
    let known = i64::try_from(number)
        .ok()
        .map(|number| one(conn, "SELECT key FROM experiments WHERE number = ?1", [number]));
    let key = known.transpose()?.flatten().ok_or_else(|| Error::NotFound { text: number.to_string() })?;
    whole(conn, key)
}

/// Everything of one experiment.
pub(super) fn whole(conn: &Connection, key: i64) -> Result<Experiment, Trouble> {
    let listed = list::listed(conn, key)?;
    let id = listed.id.to_string();
    conn.prepare_cached(
        "SELECT e.cwd, e.owner, e.exit, e.reason, e.log_note, l.bytes, l.stored, d.record
         FROM experiments e LEFT JOIN logs l ON l.id = e.log LEFT JOIN diagnoses d ON d.key = e.key
         WHERE e.key = ?1",
    )?
    .query_row([key], |row| {
        let log = match (listed.log, row.get(5)?) {
            (Some(id), Some(bytes)) => Some(LogFacts { id, bytes, stored_bytes: row.get(6)? }),
            _ => None,
        };
        Ok(Ok(Experiment {
            cwd: row.get(0)?,
            // of these a record that this release can't read is left out; the diagnosis is what it is all about
            owner: json::<Owner>(row, 1)?.unwrap_or_default(),
            exit: json::<Exit>(row, 2)?.unwrap_or_default(),
            reason: row.get(3)?,
            log_note: row.get(4)?,
            diagnosis: match json(row, 7)? {
                Ok(diagnosis) => diagnosis,
                Err(e) => return Ok(Err(Error::record(&id, e))),
            },
            log,
            listed,
        }))
    })?
    .map_err(Trouble::Told)
}

/// A column of JSON: nothing, a value, or one that this release can't read.
fn json<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<serde_json::Result<Option<T>>> {
    let text: Option<String> = row.get(column)?;
    Ok(text.as_deref().map(serde_json::from_str).transpose())
}

/// The experiment with this id (its newest attempt), `ID~2`, number, or beginning of an id; `last` is the newest of all.
fn resolve(conn: &Connection, text: &str) -> Result<i64, Trouble> {
    if let Some(key) = newest_attempt(conn, text)? {
        return Ok(key);
    }
    if let Some((name, attempt)) = text.rsplit_once('~')
        && let Ok(attempt) = attempt.parse::<u32>()
        && let Some(key) = one(
            conn,
            "SELECT key FROM experiments WHERE name = ?1 AND attempt = ?2",
            rusqlite::params![name, attempt],
        )?
    {
        return Ok(key);
    }
    if let Ok(number) = text.parse::<i64>()
        && let Some(key) = one(conn, "SELECT key FROM experiments WHERE number = ?1", [number])?
    {
        return Ok(key);
    }
    if text == "last"
        && let Some(key) = one::<Option<i64>>(conn, "SELECT max(key) FROM experiments", [])?.flatten()
    {
        return Ok(key);
    }
    by_beginning(conn, text)
}

fn by_beginning(conn: &Connection, text: &str) -> Result<i64, Trouble> {
    let not_found = || Error::NotFound { text: text.chars().take(120).collect() };
    if text.is_empty() {
        return Err(not_found().into());
    }
    let names: Vec<String> = conn
        .prepare_cached(
            "SELECT DISTINCT name FROM experiments WHERE name >= ?1 AND name < ?2 ORDER BY name LIMIT 6",
        )?
        .query_map([text, &format!("{text}\u{10FFFF}")], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    match names.as_slice() {
        [] => Err(not_found().into()),
        [name] => newest_attempt(conn, name)?.ok_or_else(|| not_found().into()),
        several => {
            let mut matches = several.to_vec();
            if matches.len() > 5 {
                matches[5] = "…".to_owned();
            }
            Err(Error::Ambiguous { text: text.to_owned(), matches }.into())
        }
    }
}

fn newest_attempt(conn: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    one(conn, "SELECT key FROM experiments WHERE name = ?1 ORDER BY attempt DESC LIMIT 1", [name])
}

fn one<T: FromSql>(
    conn: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<Option<T>> {
    conn.prepare_cached(sql)?.query_row(params, |row| row.get(0)).optional()
}

pub(super) fn running(conn: &Connection) -> Result<Vec<Running>, Trouble> {
    let mut statement = conn.prepare_cached(
        "SELECT key, number, name, attempt, type, command, owner FROM experiments WHERE status = 'running'",
    )?;
    let rows = statement.query_map([], |row| {
        let owner = json::<Owner>(row, 6)?;
        Ok(owner
            .ok()
            .flatten()
            .map(|owner| (row.get::<_, i64>(0), id(row), row.get(4), command(row, 5), owner)))
    })?;
    let mut all = Vec::new();
    for row in rows {
        // a row without a watcher that can be read is nobody's to close
        let Some((key, id, experiment_type, command, owner)) = row? else { continue };
        all.push(Running {
            id: id?,
            experiment_type: experiment_type?,
            command: command?,
            owner,
            started_at: moment(key?),
            log_is_open: None,
        });
    }
    all.sort_by_key(|running| running.id.number());
    Ok(all)
}

/// From columns number, name, attempt, which stand at 1, 2, 3 in every query.
pub(super) fn id(row: &Row<'_>) -> rusqlite::Result<ExperimentId> {
    Ok(ExperimentId::new(row.get(2)?, row.get(3)?, row.get(1)?))
}

pub(super) fn command(row: &Row<'_>, column: usize) -> rusqlite::Result<CommandLine> {
    Ok(CommandLine(json(row, column)?.ok().flatten().unwrap_or_default()))
}

pub(super) fn log(conn: &Connection, folder: &LogFolder, id: LogId) -> Result<StoredLog, Trouble> {
    let found = conn
        .prepare_cached("SELECT bytes, data FROM logs WHERE id = ?1")?
        .query_row([id.as_bytes()], |row| Ok((row.get(0)?, row.get::<_, Option<Vec<u8>>>(1)?)))
        .optional()?;
    let (bytes, data) = found.ok_or(Error::NoLog { id })?;
    let data = match data {
        Some(bytes) => LogData::Inline(bytes),
        None => LogData::File(folder.file(&id)),
    };
    Ok(StoredLog { bytes, data })
}

pub(super) fn give_up_log(conn: &Connection, folder: &LogFolder, id: &LogId) -> Result<(), Trouble> {
    let sql = "SELECT EXISTS (SELECT 1 FROM logs WHERE id = ?1)";
    if one(conn, sql, [id.as_bytes()])? == Some(false) {
        folder.remove(id).map_err(|e| Error::log_file(&folder.file(id), e))?;
    }
    Ok(())
}

pub(super) fn health(
    conn: &Connection,
    location: String,
    database_bytes: u64,
    thorough: bool,
) -> Result<Health, Trouble> {
    let mut problems: Vec<String> = Vec::new();
    if thorough {
        let mut check = conn.prepare("PRAGMA quick_check(20)")?;
        problems = check.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        problems.retain(|line| line != "ok");
    }
    let facets = list::facets(conn)?;
    let total = |counted: &mut dyn Iterator<Item = u64>| counted.sum();
    Ok(Health {
        location,
        schema: open::SCHEMA,
        experiments: total(&mut facets.iter().map(|f| f.count)),
        running: total(&mut facets.iter().filter(|f| f.status == Some(Status::Running)).map(|f| f.count)),
        database_bytes,
        log_bytes: one(conn, "SELECT value FROM counters WHERE name = 'log_bytes'", [])?.unwrap_or_default(),
        problems,
        logs: None,
    })
}
