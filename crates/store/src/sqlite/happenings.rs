//! What happens and how often: the last changes in their order, counts over time, and runs that must be heard of.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::experiments::find;
use super::{Trouble, list, lookup};
use crate::happening::LONGEST_GRACE;
use crate::{By, Error, ExperimentId, Happening, Status, Step, Stretch, What};

/// More stretches than this are not counted at once.
const STRETCHES: i64 = 3000;
/// So many types are told apart, in the order of their names.
const TYPES: usize = 100;

pub(super) fn latest(conn: &Connection) -> Result<i64, Trouble> {
    let sql = "SELECT ifnull(max(id), 0) FROM changes";
    Ok(conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

pub(super) fn since(conn: &Connection, since: i64, limit: usize) -> Result<Vec<Happening>, Trouble> {
    let rows: Vec<(i64, i64, String)> = conn
        .prepare_cached("SELECT id, key, what FROM changes WHERE id > ?1 ORDER BY id LIMIT ?2")?
        .query_map(params![since, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let mut all = Vec::new();
    for (id, key, what) in rows {
        let what = match what.as_str() {
            "started" => What::Started,
            "diagnosed" => What::Diagnosed,
            _ => What::Ended,
        };
        match list::listed(conn, key) {
            Ok(experiment) => all.push(Happening { id, what, experiment }),
            // removed meanwhile
            Err(Trouble::Sqlite(rusqlite::Error::QueryReturnedNoRows)) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(all)
}

pub(super) fn series(
    conn: &Connection,
    from: Timestamp,
    to: Timestamp,
    by: By,
    step: Step,
) -> Result<Vec<Stretch>, Trouble> {
    let hours = step.hours();
    let unit = hours * 3_600_000;
    let first = from.as_millisecond().div_euclid(unit);
    let last = to.as_millisecond().div_euclid(unit).clamp(first, first + STRETCHES);
    let mut counts: BTreeMap<i64, BTreeMap<String, u64>> = BTreeMap::new();
    let mut add = |start: i64, word: String, count: i64| {
        let count = count.max(0).unsigned_abs();
        *counts.entry(start).or_default().entry(word).or_default() += count;
    };
    if by == By::Type {
        for scope in types(conn)? {
            let mut statement = conn.prepare_cached(
                "SELECT start, count FROM sums WHERE scope = ?1 AND hours = ?2 AND start >= ?3 AND start <= ?4",
            )?;
            let mut rows = statement.query(params![scope, hours, first, last])?;
            while let Some(row) = rows.next()? {
                add(row.get(0)?, scope["type:".len()..].to_owned(), row.get(1)?);
            }
        }
    } else {
        let mut statement = conn.prepare_cached(
            "SELECT start, status, category, severity, origin, count FROM spans
             WHERE hours = ?1 AND start >= ?2 AND start <= ?3 AND count > 0",
        )?;
        let column = match by {
            By::Status => 1,
            By::Category | By::Type => 2,
            By::Severity => 3,
            By::Origin => 4,
        };
        let mut rows = statement.query(params![hours, first, last])?;
        while let Some(row) = rows.next()? {
            let word: String = row.get(column)?;
            if !word.is_empty() {
                add(row.get(0)?, word, row.get(5)?);
            }
        }
    }
    let stretch = |start: i64| Stretch {
        start: Timestamp::from_millisecond(start * unit).unwrap_or_default(),
        counts: counts.remove(&start).unwrap_or_default(),
    };
    Ok((first..=last).map(stretch).collect())
}

/// The scopes of types, one look into the index for each.
fn types(conn: &Connection) -> Result<Vec<String>, Trouble> {
    let mut all: Vec<String> = Vec::new();
    let mut after = "type:".to_owned();
    while all.len() < TYPES {
        let sql = "SELECT scope FROM sums WHERE scope > ?1 AND scope < 'type;' ORDER BY scope LIMIT 1";
        let Some(next) =
            conn.prepare_cached(sql)?.query_row([&after], |row| row.get::<_, String>(0)).optional()?
        else {
            break;
        };
        all.push(next.clone());
        after = next;
    }
    Ok(all)
}

pub(super) fn beat(
    conn: &Connection,
    id: &ExperimentId,
    now: Timestamp,
    patience: Duration,
) -> Result<(), Trouble> {
    let (key, status, _) = find(conn, id)?;
    if status != Status::Running.as_str() {
        let status = status.parse().unwrap_or(Status::Lost);
        return Err(Error::AlreadyFinished { id: id.to_string(), status }.into());
    }
    let patience = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX >> 1);
    conn.prepare_cached("INSERT OR REPLACE INTO beats VALUES (?1, ?2, ?3)")?.execute(params![
        key,
        patience,
        now.as_millisecond().saturating_add(patience)
    ])?;
    Ok(())
}

pub(super) fn unheard(
    conn: &Connection,
    now: Timestamp,
    listening: Timestamp,
) -> Result<Vec<ExperimentId>, Trouble> {
    let mut statement = conn.prepare_cached(
        "SELECT e.key, e.number, e.name, e.attempt FROM beats b JOIN experiments e ON e.key = b.key
         WHERE b.due < ?1 AND ?2 + min(b.patience, ?3) < ?1 AND e.status = 'running' LIMIT 100",
    )?;
    let asked = [now.as_millisecond(), listening.as_millisecond(), LONGEST_GRACE];
    let rows = statement.query_map(asked, lookup::id)?;
    Ok(rows.collect::<Result<_, _>>()?)
}
