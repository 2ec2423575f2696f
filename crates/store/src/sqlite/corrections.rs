//! A person's word on a signature: over every diagnosis of it, kept beside what it was, and taken back without loss.

use coroner_diagnosis::{Diagnosis, Said as Source};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::diagnoses::set_diagnosis;
use super::experiments::find;
use super::{Trouble, groups, lookup};
use crate::{Change, Correction, ExperimentId, Replay, Ruling, Said, Status, Votes};

/// So many failures are gone through in one commit.
const STEP: usize = 200;
/// So many corrections are listed.
const LISTED: usize = 1000;

const COLUMNS: &str =
    "c.id, s.signature, c.category, c.severity, c.origin, c.cause, c.fix, c.by, c.at, c.undone_by,
  c.undone_at FROM corrections c JOIN signatures s ON s.id = c.signature";

pub(super) fn correct(
    conn: &Connection,
    signature: &str,
    ruling: &Ruling,
    by: &str,
    now: Timestamp,
    experiment: Option<&ExperimentId>,
) -> Result<Correction, Trouble> {
    let id = groups::known(conn, signature)?;
    let at = now.as_millisecond();
    conn.prepare_cached(
        "UPDATE corrections SET undone_by = ?2, undone_at = ?3 WHERE signature = ?1 AND undone_at IS NULL",
    )?
    .execute(params![id, by, at])?;
    conn.prepare_cached(
        "INSERT INTO corrections (signature, category, severity, origin, cause, fix, by, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        id,
        ruling.category.map(|word| word.as_str()),
        ruling.severity.map(|word| word.as_str()),
        ruling.origin.map(|word| word.as_str()),
        ruling.cause,
        ruling.fix,
        by,
        at
    ])?;
    let number = conn.last_insert_rowid();
    if let Some(experiment) = experiment {
        let (key, status, _) = find(conn, experiment)?;
        if let Some(diagnosis) = original(conn, key)? {
            set_diagnosis(conn, key, status.parse().unwrap_or(Status::Failed), Some(&diagnosis))?;
        }
    }
    let sql = format!("SELECT {COLUMNS} WHERE c.id = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([number], correction)?)
}

fn correction(row: &Row<'_>) -> rusqlite::Result<Correction> {
    let word = |column| row.get::<_, Option<String>>(column);
    let time = |column| {
        let ms: Option<i64> = row.get(column)?;
        Ok::<_, rusqlite::Error>(ms.map(|ms| Timestamp::from_millisecond(ms).unwrap_or_default()))
    };
    Ok(Correction {
        id: row.get(0)?,
        signature: row.get(1)?,
        ruling: Ruling {
            category: word(2)?.and_then(|word| word.parse().ok()),
            severity: word(3)?.and_then(|word| word.parse().ok()),
            origin: word(4)?.and_then(|word| word.parse().ok()),
            cause: word(5)?,
            fix: word(6)?,
        },
        by: row.get(7)?,
        at: time(8)?.unwrap_or_default(),
        undone_by: row.get(9)?,
        undone_at: time(10)?,
    })
}

pub(super) fn all(conn: &Connection, signature: Option<&str>) -> Result<Vec<Correction>, Trouble> {
    let (sql, id) = match signature {
        None => (format!("SELECT {COLUMNS} WHERE c.id > ?1 ORDER BY c.id DESC LIMIT ?2"), 0),
        Some(signature) => (
            format!("SELECT {COLUMNS} WHERE c.signature = ?1 ORDER BY c.id DESC LIMIT ?2"),
            groups::known(conn, signature)?,
        ),
    };
    let mut statement = conn.prepare_cached(&sql)?;
    Ok(statement.query_map(params![id, LISTED], correction)?.collect::<Result<_, _>>()?)
}

/// Every one there is, the oldest first.
pub(super) fn whole(conn: &Connection) -> Result<Vec<Correction>, Trouble> {
    let mut statement = conn.prepare(&format!("SELECT {COLUMNS} WHERE c.id > 0 ORDER BY c.id"))?;
    Ok(statement.query_map([], correction)?.collect::<Result<_, _>>()?)
}

/// What is in force for failures of this signature.
pub(super) fn in_force(conn: &Connection, signature: i64) -> Result<Option<Correction>, Trouble> {
    // nearly always there is none: one look into an index that holds nothing
    let sql = "SELECT id FROM corrections WHERE undone_at IS NULL AND signature = ?1";
    let Some(id): Option<i64> =
        conn.prepare_cached(sql)?.query_row([signature], |row| row.get(0)).optional()?
    else {
        return Ok(None);
    };
    one(conn, id)
}

fn one(conn: &Connection, id: i64) -> Result<Option<Correction>, Trouble> {
    let sql = format!("SELECT {COLUMNS} WHERE c.id = ?1");
    Ok(conn.prepare_cached(&sql)?.query_row([id], correction).optional()?)
}

/// Notes that a person's word stands over this diagnosis, or that none does.
pub(super) fn note(conn: &Connection, key: i64, over: Option<(i64, &Diagnosis)>) -> Result<(), Trouble> {
    match over {
        Some((correction, diagnosis)) => {
            let record = serde_json::to_string(diagnosis).unwrap_or_default();
            conn.prepare_cached("INSERT OR REPLACE INTO overruled VALUES (?1, ?2, ?3)")?
                .execute(params![key, correction, record])?;
        }
        None => {
            conn.prepare_cached("DELETE FROM overruled WHERE key = ?1")?.execute([key])?;
        }
    }
    Ok(())
}

/// A diagnosis as it was before any person's word; nothing if there is none, or none that this release can read.
pub(super) fn original(conn: &Connection, key: i64) -> Result<Option<Diagnosis>, Trouble> {
    let sql =
        "SELECT ifnull((SELECT record FROM overruled WHERE key = ?1), record) FROM diagnoses WHERE key = ?1";
    let record: Option<String> = conn.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?;
    Ok(record.and_then(|record| serde_json::from_str(&record).ok()))
}

/// Holds a correction against some failures, from the newest back; where to go on, if there may be more.
pub(super) fn replay(
    conn: &Connection,
    id: i64,
    apply: bool,
    before: i64,
) -> Result<(Replay, Option<i64>), Trouble> {
    let Some(correction) = one(conn, id)?.filter(|it| it.undone_at.is_none()) else {
        return Err(crate::Error::NoCorrection { id }.into());
    };
    let signature = groups::known(conn, &correction.signature)?;
    let keys: Vec<(i64, ExperimentId, String)> = conn
        .prepare_cached(
            "SELECT key, number, name, attempt, status FROM experiments WHERE signature = ?1 AND key < ?2
             ORDER BY key DESC LIMIT ?3",
        )?
        .query_map(params![signature, before, STEP], |row| Ok((row.get(0)?, lookup::id(row)?, row.get(4)?)))?
        .collect::<Result<_, _>>()?;
    let next = keys.last().filter(|_| keys.len() == STEP).map(|(key, ..)| *key);
    let mut replay = Replay { looked_at: keys.len() as u64, ..Replay::default() };
    for (key, experiment, status) in keys {
        let sql = "SELECT record FROM diagnoses WHERE key = ?1";
        let record: Option<String> =
            conn.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?;
        let now: Option<Diagnosis> = record.and_then(|record| serde_json::from_str(&record).ok());
        let (Some(now), Some(original)) = (now, original(conn, key)?) else { continue };
        let (from, to) = (Said::of(&now), Said::of(&correction.ruling.over(original.clone())));
        if from == to && now.provenance.source == Source::Human {
            continue;
        }
        replay.changed += 1;
        replay.changes.push(Change { experiment, from, to });
        if apply {
            set_diagnosis(conn, key, status.parse().unwrap_or(Status::Failed), Some(&original))?;
        }
    }
    Ok((replay, next))
}

pub(super) fn take_back(conn: &Connection, id: i64, by: &str, now: Timestamp) -> Result<bool, Trouble> {
    let known = one(conn, id)?.is_some();
    conn.prepare_cached(
        "UPDATE corrections SET undone_by = ?2, undone_at = ?3 WHERE id = ?1 AND undone_at IS NULL",
    )?
    .execute(params![id, by, now.as_millisecond()])?;
    Ok(known)
}

/// Gives some of the diagnoses that a correction changed back what they said; true while there may be more.
pub(super) fn restore(conn: &Connection, id: i64) -> Result<bool, Trouble> {
    let keys: Vec<(i64, String)> = conn
        .prepare_cached(
            "SELECT o.key, e.status FROM overruled o JOIN experiments e ON e.key = o.key
             WHERE o.correction = ?1 LIMIT ?2",
        )?
        .query_map(params![id, STEP], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let more = keys.len() == STEP;
    for (key, status) in keys {
        match original(conn, key)? {
            // this forgets that it was overruled, unless there is a newer correction
            Some(diagnosis) => {
                set_diagnosis(conn, key, status.parse().unwrap_or(Status::Failed), Some(&diagnosis))?;
            }
            None => note(conn, key, None)?,
        }
    }
    Ok(more)
}

pub(super) fn vote(
    conn: &Connection,
    id: &ExperimentId,
    by: &str,
    helpful: Option<bool>,
    now: Timestamp,
) -> Result<Votes, Trouble> {
    let (key, ..) = find(conn, id)?;
    match helpful {
        Some(helpful) => conn
            .prepare_cached("INSERT OR REPLACE INTO votes VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![key, by, helpful, now.as_millisecond()])?,
        None => {
            conn.prepare_cached("DELETE FROM votes WHERE key = ?1 AND by = ?2")?.execute(params![key, by])?
        }
    };
    votes(conn, id)
}

pub(super) fn votes(conn: &Connection, id: &ExperimentId) -> Result<Votes, Trouble> {
    let (key, ..) = find(conn, id)?;
    let sql = "SELECT count(*), ifnull(sum(helpful), 0) FROM votes WHERE key = ?1";
    let (all, helpful): (u64, u64) =
        conn.prepare_cached(sql)?.query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Votes { helpful, unhelpful: all - helpful })
}
