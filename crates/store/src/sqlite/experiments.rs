//! The life of an experiment's row: begun, ended, diagnosed; and failures that others ran.

use coroner_diagnosis::{Diagnosis, Exit};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::diagnoses::{Settled, keep_diagnosis, set_diagnosis, settle};
use super::kept_logs::{drop_unused_log, keep_log};
use super::text::Words;
use super::{Trouble, candidates, groups};
use crate::logs::{Log, LogFolder};
use crate::query::shortened;
use crate::{
    CandidateOutcome, Error, ExperimentId, LogId, NewExperiment, Outcome, SavedAs, SavedFailure, Status,
};

/// Bits of a key below the milliseconds.
const KEY_BITS: u32 = 21;
/// Beyond this (the year 2109) and before 1970 the order of the list is not kept; no clock should say so.
const LAST_MILLISECOND: i64 = (1 << (63 - KEY_BITS)) - 1;

/// No more than this of a command or a cause is searched in.
const SEARCHED_CHARS: usize = 4000;

/// The first key of this moment.
pub(super) fn first_key(at: Timestamp) -> i64 {
    at.as_millisecond().clamp(0, LAST_MILLISECOND) << KEY_BITS
}

/// The moment of a key.
pub(super) fn moment(key: i64) -> Timestamp {
    Timestamp::from_millisecond(key >> KEY_BITS).unwrap_or_default()
}

pub(super) fn begin(conn: &Connection, new: NewExperiment) -> Result<(i64, ExperimentId), Trouble> {
    let key = new.owner.key().map(str::to_owned);
    let row = NewRow::of(new)?;
    if key.is_some()
        && let Some(known) = row.begun(conn)?
    {
        return Ok(known);
    }
    let key = row.free_key(conn)?;
    let id = row.insert(conn, key, Ended { status: Status::Running, ..Ended::default() })?;
    let words = Words { status: Some(Status::Running), ..Words::default() };
    row.index(conn, key, "", &words)?;
    Ok((key, id))
}

struct NewRow {
    name: String,
    experiment_type: String,
    command: Vec<String>,
    cwd: String,
    owner: Option<String>,
    at: Timestamp,
}

/// How an experiment ended; of one that runs, nothing but that.
struct Ended<'a> {
    status: Status,
    at: Option<Timestamp>,
    exit: Option<&'a Exit>,
    reason: Option<&'a str>,
    log: Option<LogId>,
    log_note: Option<String>,
    /// `signatures.id`
    signature: Option<i64>,
    diagnosis: Option<&'a Diagnosis>,
}

impl Default for Ended<'_> {
    fn default() -> Self {
        Self {
            status: Status::Lost,
            at: None,
            exit: None,
            reason: None,
            log: None,
            log_note: None,
            signature: None,
            diagnosis: None,
        }
    }
}

impl NewRow {
    fn of(new: NewExperiment) -> Result<Self, Error> {
        Ok(Self {
            name: ExperimentId::name_for(new.id)?,
            experiment_type: new.experiment_type,
            command: new.command.0,
            cwd: new.cwd,
            owner: Some(to_json(&new.owner)),
            at: new.started_at,
        })
    }

    /// The newest attempt of its name, if its owner has begun it.
    fn begun(&self, conn: &Connection) -> Result<Option<(i64, ExperimentId)>, Trouble> {
        let newest = conn
            .prepare_cached(
                "SELECT key, attempt, number FROM experiments WHERE name = ?1 AND owner = ?2
                   AND attempt = (SELECT max(attempt) FROM experiments WHERE name = ?1)",
            )?
            .query_row(params![self.name, self.owner], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        Ok(newest.map(|(key, attempt, number)| (key, ExperimentId::new(self.name.clone(), attempt, number))))
    }

    /// The next key of the millisecond that it starts in.
    fn free_key(&self, conn: &Connection) -> Result<i64, Trouble> {
        let first = first_key(self.at);
        let key = conn
            .prepare_cached("SELECT ifnull(max(key) + 1, ?1) FROM experiments WHERE key >= ?1 AND key < ?2")?
            .query_row([first, first + (1 << KEY_BITS) - 1], |row| row.get(0))?;
        Ok(key)
    }

    fn insert(&self, conn: &Connection, key: i64, end: Ended<'_>) -> Result<ExperimentId, Trouble> {
        let attempt: u32 = conn
            .prepare_cached("SELECT ifnull(max(attempt), 0) + 1 FROM experiments WHERE name = ?1")?
            .query_row([&self.name], |row| row.get(0))?;
        let number = conn
            .prepare_cached("UPDATE counters SET value = value + 1 WHERE name = 'number' RETURNING value")?
            .query_row([], |row| row.get::<_, u64>(0))?;
        let diagnosis = end.diagnosis;
        conn.prepare_cached(
            "INSERT INTO experiments (key, number, name, attempt, type, status, command, cwd, owner, ended_at, exit,
               wall_us, peak_memory, reason, log, log_note, cpu_us, category, severity, origin, signature, nanodollars)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
               ?22)",
        )?
        .execute(params![
            key,
            number,
            self.name,
            attempt,
            self.experiment_type,
            end.status.as_str(),
            to_json(&self.command),
            self.cwd,
            self.owner,
            end.at.map(Timestamp::as_millisecond),
            end.exit.map(to_json),
            end.exit.map(|e| micros(e.wall)),
            end.exit.and_then(memory),
            end.reason,
            end.log.as_ref().map(LogId::as_bytes),
            end.log_note,
            end.exit.and_then(|e| e.cpu).map(micros),
            diagnosis.map_or("", |d| d.failure_category.as_str()),
            diagnosis.map_or("", |d| d.severity.as_str()),
            diagnosis.map_or("", |d| d.origin.as_str()),
            end.signature,
            candidates::nanodollars(diagnosis.and_then(|d| d.cost_usd).unwrap_or(0.0)),
        ])?;
        Ok(ExperimentId::new(self.name.clone(), attempt, number))
    }

    /// One that has ended already, in one step: each change of its words would move the counts.
    fn insert_ended(
        &self,
        conn: &Connection,
        diagnosis: Option<&Diagnosis>,
        end: Ended<'_>,
    ) -> Result<(ExperimentId, Settled), Trouble> {
        let key = self.free_key(conn)?;
        let settled = settle(conn, key, diagnosis)?;
        let diagnosis = settled.diagnosis.as_ref();
        let status = end.status;
        let id = self.insert(conn, key, Ended { signature: settled.signature, diagnosis, ..end })?;
        if let Some(diagnosis) = diagnosis {
            keep_diagnosis(conn, key, diagnosis)?;
        }
        let words = Words::of(status, diagnosis);
        self.index(conn, key, diagnosis.map_or("", |d| &d.root_cause), &words)?;
        Ok((id, settled))
    }

    fn index(&self, conn: &Connection, key: i64, cause: &str, words: &Words) -> Result<(), Trouble> {
        let command = self.command.join(" ");
        index(
            conn,
            key,
            &Searched { name: &self.name, kind: &self.experiment_type, command: &command },
            cause,
            words,
        )
    }
}

pub(super) fn memory(exit: &Exit) -> Option<i64> {
    exit.peak_memory.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// Begins and ends one.
pub(super) fn record(
    conn: &Connection,
    folder: &LogFolder,
    new: NewExperiment,
    outcome: &Outcome,
) -> Result<ExperimentId, Trouble> {
    let row = NewRow::of(new)?;
    if outcome.status == Status::Running {
        return Err(Error::StillRunning { id: row.name }.into());
    }
    let (log, log_note) = keep_log(conn, folder, outcome.log.as_ref(), outcome.ended_at)?;
    let end = Ended {
        status: outcome.status,
        at: Some(outcome.ended_at),
        exit: outcome.exit.as_ref(),
        reason: outcome.reason.as_deref(),
        log,
        log_note,
        ..Ended::default()
    };
    let (id, _) = row.insert_ended(conn, outcome.diagnosis.as_ref(), end)?;
    Ok(id)
}

pub(super) fn finish(
    conn: &Connection,
    folder: &LogFolder,
    id: &ExperimentId,
    outcome: &Outcome,
    candidate: Option<&CandidateOutcome>,
) -> Result<(), Trouble> {
    let (key, status, earlier_log): (i64, String, Option<[u8; 32]>) = find(conn, id)?;
    if status != Status::Running.as_str() && status != Status::Lost.as_str() {
        let status = status.parse().unwrap_or(Status::Lost);
        return Err(Error::AlreadyFinished { id: id.to_string(), status }.into());
    }
    if outcome.status == Status::Running {
        return Err(Error::StillRunning { id: id.to_string() }.into());
    }
    let (log, note) = keep_log(conn, folder, outcome.log.as_ref(), outcome.ended_at)?;
    let (exit, reason) = (outcome.exit.as_ref(), outcome.reason.as_deref());
    set_end(conn, key, exit, Some(outcome.ended_at), reason, log.as_ref(), note)?;
    if let Some(earlier) = earlier_log.map(LogId::from_bytes)
        && Some(earlier) != log
    {
        drop_unused_log(conn, folder, &earlier)?;
    }
    candidates::finish(conn, key, id, outcome, candidate)?;
    set_diagnosis(conn, key, outcome.status, outcome.diagnosis.as_ref())?;
    Ok(())
}

/// No run is so long that it would not fit many thousand times.
pub(super) fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX >> 20).min(i64::MAX >> 20)
}

pub(super) fn attach(conn: &Connection, id: &ExperimentId, diagnosis: &Diagnosis) -> Result<(), Trouble> {
    let (key, status, _) = find(conn, id)?;
    let status = status.parse().unwrap_or(Status::Lost);
    if status == Status::Running {
        return Err(Error::StillRunning { id: id.to_string() }.into());
    }
    set_diagnosis(conn, key, status, Some(diagnosis))?;
    Ok(())
}

/// The same id and the same log, or, where there is no log, the same signature, is the same failure, looked at again.
/// Anything else under the same id is another attempt.
pub(super) fn save(
    conn: &Connection,
    folder: &LogFolder,
    failure: &SavedFailure,
) -> Result<SavedAs, Trouble> {
    let log = failure.log.as_ref().and_then(Log::facts).map(|facts| facts.id);
    let diagnosis = &failure.diagnosis;
    let part = groups::part_of(conn, &diagnosis.signature, &diagnosis.root_cause)?;
    let signature = part.as_deref().unwrap_or(&diagnosis.signature);
    if let Some(name) = &failure.id
        && let Some((key, id, status)) = same_failure(conn, name, log.as_ref(), signature)?
    {
        let corrected = set_diagnosis(conn, key, status, Some(diagnosis))?;
        return Ok(SavedAs { id, replaced: true, corrected });
    }
    let row = NewRow {
        name: ExperimentId::name_for(failure.id.clone())?,
        experiment_type: failure.experiment_type.clone(),
        command: failure.command.0.clone(),
        cwd: String::new(),
        owner: None,
        at: failure.at,
    };
    let (log, log_note) = keep_log(conn, folder, failure.log.as_ref(), failure.at)?;
    let (exit, reason) = (failure.exit.as_ref(), failure.reason.as_deref());
    let end = Ended { status: Status::Failed, exit, reason, log, log_note, ..Ended::default() };
    let (id, settled) = row.insert_ended(conn, Some(&failure.diagnosis), end)?;
    Ok(SavedAs { id, replaced: false, corrected: settled.corrected() })
}

/// How an experiment ended, apart from its verdict.
fn set_end(
    conn: &Connection,
    key: i64,
    exit: Option<&Exit>,
    at: Option<Timestamp>,
    reason: Option<&str>,
    log: Option<&LogId>,
    note: Option<String>,
) -> Result<(), Trouble> {
    conn.prepare_cached(
        "UPDATE experiments SET ended_at = ?2, exit = ?3, wall_us = ?4, peak_memory = ?5, reason = ?6, log = ?7,
         log_note = ?8, cpu_us = ?9 WHERE key = ?1",
    )?
    .execute(params![
        key,
        at.map(Timestamp::as_millisecond),
        exit.map(to_json),
        exit.map(|e| micros(e.wall)),
        exit.and_then(memory),
        reason,
        log.map(LogId::as_bytes),
        note,
        exit.and_then(|e| e.cpu).map(micros),
    ])?;
    Ok(())
}

fn same_failure(
    conn: &Connection,
    name: &str,
    log: Option<&LogId>,
    signature: &str,
) -> Result<Option<(i64, ExperimentId, Status)>, Trouble> {
    let found = conn
        .prepare_cached(
            // an id that is given to every run has very many attempts
            "SELECT key, attempt, number, status FROM
               (SELECT * FROM experiments WHERE name = ?1 ORDER BY attempt DESC LIMIT 100)
             WHERE status <> 'running' AND CASE WHEN ?2 IS NULL
               THEN log IS NULL AND signature = (SELECT id FROM signatures WHERE signature = ?3)
               ELSE log = ?2 END
             LIMIT 1",
        )?
        .query_row(params![name, log.map(LogId::as_bytes), signature], |row| {
            let id = ExperimentId::new(name.to_owned(), row.get(1)?, row.get(2)?);
            Ok((row.get(0)?, id, row.get::<_, String>(3)?))
        })
        .optional()?;
    Ok(found.map(|(key, id, status)| (key, id, status.parse().unwrap_or(Status::Failed))))
}

pub(super) fn find(conn: &Connection, id: &ExperimentId) -> Result<(i64, String, Option<[u8; 32]>), Trouble> {
    let found = conn
        .prepare_cached("SELECT key, status, log FROM experiments WHERE name = ?1 AND attempt = ?2")?
        .query_row(params![id.name(), id.attempt()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    Ok(found.ok_or_else(|| Error::NotFound { text: id.to_string() })?)
}

pub(super) struct Searched<'a> {
    pub(super) name: &'a str,
    pub(super) kind: &'a str,
    pub(super) command: &'a str,
}

/// Puts an experiment into the word search, or replaces it there.
pub(super) fn index(
    conn: &Connection,
    key: i64,
    of: &Searched<'_>,
    cause: &str,
    words: &Words,
) -> Result<(), Trouble> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO search (rowid, name, type, command, cause, words) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        key,
        of.name,
        of.kind,
        shortened(of.command, SEARCHED_CHARS),
        shortened(cause, SEARCHED_CHARS),
        words.tokens().join(" "),
    ])?;
    Ok(())
}

/// What is written here can always be written: strings, numbers, and maps with words for keys.
pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
