//! Runs of the lab's loop.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Trouble;
use super::experiments::to_json;
use crate::{Error, NewRun, Owner, Run, RunEnd, RunId, RunState};

const COLUMNS: &str = "id, task, settings, seed, owner, started_at, state, ended_at, reason";

pub(super) fn start(conn: &Connection, new: &NewRun) -> Result<RunId, Trouble> {
    conn.prepare_cached(
        "INSERT INTO runs (task, settings, seed, owner, started_at, state) VALUES (?1, ?2, ?3, ?4, ?5, 'running')",
    )?
    .execute(params![
        new.task,
        to_json(&new.settings),
        new.seed.cast_signed(),
        to_json(&new.owner),
        new.started_at.as_millisecond(),
    ])?;
    Ok(RunId(conn.last_insert_rowid().cast_unsigned()))
}

pub(super) fn resume(conn: &Connection, id: RunId, owner: &Owner, by_force: bool) -> Result<Run, Trouble> {
    let run = find(conn, id)?;
    if !by_force && run.is_held_by_another(owner) {
        return Err(Error::RunIsHeld { id, host: run.owner.host, pid: run.owner.pid }.into());
    }
    conn.prepare_cached(
        "UPDATE runs SET owner = ?2, state = 'running', ended_at = NULL, reason = NULL WHERE id = ?1",
    )?
    .execute(params![number(id), to_json(owner)])?;
    find(conn, id)
}

pub(super) fn end(conn: &Connection, id: RunId, end: &RunEnd) -> Result<(), Trouble> {
    let changed = conn
        .prepare_cached("UPDATE runs SET state = ?2, reason = ?3, ended_at = ?4 WHERE id = ?1")?
        .execute(params![number(id), end.state.as_str(), end.reason, end.at.as_millisecond()])?;
    if changed == 0 { Err(Error::NoRun { id }.into()) } else { Ok(()) }
}

pub(super) fn find(conn: &Connection, id: RunId) -> Result<Run, Trouble> {
    let found = conn
        .prepare_cached(&format!("SELECT {COLUMNS} FROM runs WHERE id = ?1"))?
        .query_row([number(id)], |row| Ok(run(row)))
        .optional()?;
    found.ok_or(Error::NoRun { id })?
}

/// The newest first.
pub(super) fn list(conn: &Connection, task: Option<&str>, limit: usize) -> Result<Vec<Run>, Trouble> {
    let mut statement = match task {
        Some(_) => conn.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM runs WHERE task = ?1 ORDER BY id DESC LIMIT ?2"
        ))?,
        None => conn.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM runs WHERE ?1 IS NULL AND id > 0 ORDER BY id DESC LIMIT ?2"
        ))?,
    };
    let rows = statement.query_map(params![task, limit], |row| Ok(run(row)))?;
    rows.map(|row| row?).collect()
}

/// Runs that somebody may still be at, or come back to after he was killed: nothing of them is removed.
pub(super) fn held(conn: &Connection) -> Result<Vec<RunId>, Trouble> {
    let mut statement =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM runs WHERE state = 'running'"))?;
    let rows = statement.query_map([], |row| Ok(run(row)))?;
    let mut held = Vec::new();
    for row in rows {
        let run = row??;
        if run.owner.liveness() != crate::Liveness::Gone {
            held.push(run.id);
        }
    }
    Ok(held)
}

fn run(row: &Row<'_>) -> Result<Run, Trouble> {
    let id = RunId(row.get(0)?);
    let unreadable = |e| Error::record(format!("of run {id}"), e);
    let moment = |ms| Timestamp::from_millisecond(ms).unwrap_or_default();
    Ok(Run {
        id,
        task: row.get(1)?,
        settings: serde_json::from_str(&row.get::<_, String>(2)?).map_err(unreadable)?,
        seed: row.get::<_, i64>(3)?.cast_unsigned(),
        owner: serde_json::from_str(&row.get::<_, String>(4)?).map_err(unreadable)?,
        started_at: moment(row.get(5)?),
        // a word of a later release: it has an end of some kind
        state: row.get::<_, String>(6)?.parse().unwrap_or(RunState::Stopped),
        ended_at: row.get::<_, Option<i64>>(7)?.map(moment),
        reason: row.get(8)?,
    })
}

/// As a parameter. What is too large for the column is no run's number.
pub(super) fn number(id: RunId) -> i64 {
    i64::try_from(id.0).unwrap_or(-1)
}
