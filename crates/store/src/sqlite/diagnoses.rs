//! What an experiment is diagnosed with: people's word over what is given, its signature, and everything that is found by it.

use coroner_diagnosis::Diagnosis;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::experiments::{Searched, index, moment, to_json};
use super::text::Words;
use super::{Trouble, candidates, corrections, groups};
use crate::{Status, similarity};

/// A diagnosis as it is kept.
pub(super) struct Settled {
    pub(super) diagnosis: Option<Diagnosis>,
    /// `signatures.id`
    pub(super) signature: Option<i64>,
    /// It is another than was given.
    changed: bool,
}

impl Settled {
    pub(super) fn corrected(self) -> Option<Box<Diagnosis>> {
        self.diagnosis.filter(|_| self.changed).map(Box::new)
    }
}

/// What people said of the signature counts over what is given.
pub(super) fn settle(conn: &Connection, key: i64, diagnosis: Option<&Diagnosis>) -> Result<Settled, Trouble> {
    let mut settled = diagnosis.cloned();
    let (mut signature, mut changed) = (None, false);
    if let Some(d) = &mut settled {
        if let Some(part) = groups::part_of(conn, &d.signature, &d.root_cause)? {
            d.signature = part;
            changed = true;
        }
        let id = signature_of(conn, d, moment(key))?;
        let correction = corrections::in_force(conn, id)?;
        corrections::note(conn, key, correction.as_ref().map(|it| (it.id, &*d)))?;
        if let Some(correction) = correction {
            *d = correction.ruling.over(d.clone());
            changed = true;
        }
        signature = Some(id);
    }
    Ok(Settled { diagnosis: settled, signature, changed })
}

/// Status and diagnosis of an experiment, or that it has none; with everything that is found by them. Answers what came of
/// the diagnosis, if that is something else than was given.
pub(super) fn set_diagnosis(
    conn: &Connection,
    key: i64,
    status: Status,
    diagnosis: Option<&Diagnosis>,
) -> Result<Option<Box<Diagnosis>>, Trouble> {
    let settled = settle(conn, key, diagnosis)?;
    let diagnosis = settled.diagnosis.as_ref();
    let words = Words::of(status, diagnosis);
    // in one step, since each change of a word moves the counts
    conn.prepare_cached(
        "UPDATE experiments SET status = ?2, category = ?3, severity = ?4, origin = ?5, signature = ?6,
         nanodollars = ?7 + ifnull((SELECT nanodollars FROM candidates WHERE key = ?1), 0) WHERE key = ?1",
    )?
    .execute(params![
        key,
        status.as_str(),
        words.category.map_or("", |c| c.as_str()),
        words.severity.map_or("", |s| s.as_str()),
        words.origin.map_or("", |o| o.as_str()),
        settled.signature,
        candidates::nanodollars(diagnosis.and_then(|d| d.cost_usd).unwrap_or(0.0)),
    ])?;
    match diagnosis {
        None => {
            conn.prepare_cached("DELETE FROM diagnoses WHERE key = ?1")?.execute([key])?;
        }
        Some(diagnosis) => keep_diagnosis(conn, key, diagnosis)?,
    }
    let (name, kind, command): (String, String, String) = conn
        .prepare_cached("SELECT name, type, command FROM experiments WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let command = serde_json::from_str::<Vec<String>>(&command).unwrap_or_default().join(" ");
    let searched = Searched { name: &name, kind: &kind, command: &command };
    index(conn, key, &searched, diagnosis.map_or("", |d| &d.root_cause), &words)?;
    Ok(settled.corrected())
}

pub(super) fn keep_diagnosis(conn: &Connection, key: i64, d: &Diagnosis) -> Result<(), Trouble> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO diagnoses (key, root_cause, fix_suggestion, confidence, retryable, rule, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        key,
        d.root_cause,
        d.fix_suggestion,
        if d.confidence.is_finite() { d.confidence } else { 0.0 },
        d.retryable,
        d.provenance.rule,
        to_json(d)
    ])?;
    Ok(())
}

/// The row of a signature, made when it is seen for the first time.
pub(super) fn signature_of(conn: &Connection, diagnosis: &Diagnosis, at: Timestamp) -> Result<i64, Trouble> {
    let at = at.as_millisecond();
    let known = conn
        .prepare_cached("SELECT id, first_seen FROM signatures WHERE signature = ?1")?
        .query_row([&diagnosis.signature], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    if let Some((id, first_seen)) = known {
        if at < first_seen {
            conn.prepare_cached("UPDATE signatures SET first_seen = ?2 WHERE id = ?1")?.execute([id, at])?;
        }
        return Ok(id);
    }
    let words: Vec<_> = similarity::words(&similarity::cause_text(diagnosis)).into_iter().collect();
    for word in &words {
        conn.prepare_cached(
            "INSERT INTO cause_words VALUES (?1, 1) ON CONFLICT DO UPDATE SET count = count + 1",
        )?
        .execute([word])?;
    }
    let words = words.join(" ");
    conn.prepare_cached("INSERT INTO signatures (signature, words, first_seen) VALUES (?1, ?2, ?3)")?
        .execute(params![diagnosis.signature, words, at])?;
    let id = conn.last_insert_rowid();
    conn.prepare_cached("INSERT INTO causes (rowid, words) VALUES (?1, ?2)")?.execute(params![id, words])?;
    Ok(id)
}
