//! What else is known: of a signature, of failures that are alike, of the last success, of a stretch of time.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, params};

use super::experiments::moment;
use super::list::{self, Facet};
use super::text::any_of;
use super::{Trouble, candidates, lookup};
use crate::similarity::{self, ALIKE};
use crate::{CommandLine, LogId, Occurrence, PassedAfter, SignatureStats, SimilarFailure, Summary};

/// So many of the newest are looked at for what succeeded after them.
const RECENT: usize = 5;
/// By so many of its rarest words a cause is looked for.
const TELLING: usize = 8;
/// So many causes that share one of them are compared.
const COMPARED: usize = 50;
/// So many of the last successes are looked through for a log.
const SUCCESSES: usize = 200;

pub(super) fn signature(conn: &Connection, signature: &str) -> Result<Option<SignatureStats>, Trouble> {
    let known = conn
        .prepare_cached("SELECT id, count, first_seen FROM signatures WHERE signature = ?1")?
        .query_row([signature], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((id, count, first_seen)) = known else { return Ok(None) };
    let keys = newest_of(conn, id, RECENT)?;
    let mut passed = None;
    for key in &keys {
        if passed.is_none() {
            passed = passed_after(conn, *key)?;
        }
    }
    let recent =
        keys.iter().map(|key| Ok(Occurrence { id: list::listed(conn, *key)?.id, started_at: moment(*key) }));
    Ok(Some(SignatureStats {
        signature: signature.to_owned(),
        count,
        first_seen: Timestamp::from_millisecond(first_seen).unwrap_or_default(),
        last_seen: keys.first().map(|key| moment(*key)),
        recent: recent.collect::<Result<_, Trouble>>()?,
        passed_after: passed,
    }))
}

fn newest_of(conn: &Connection, signature: i64, limit: usize) -> Result<Vec<i64>, Trouble> {
    let mut statement =
        conn.prepare_cached("SELECT key FROM experiments WHERE signature = ?1 ORDER BY key DESC LIMIT ?2")?;
    let keys = statement.query_map(params![signature, limit], |row| row.get(0))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// The first success after this failure: of the same command, or else of the same type. A candidate's are those that
/// were made from it: all candidates of a task are run by the same command.
pub(super) fn passed_after(conn: &Connection, key: i64) -> Result<Option<PassedAfter>, Trouble> {
    let (kind, command, is_candidate): (String, String, bool) = conn
        .prepare_cached("SELECT type, command, run IS NOT NULL FROM experiments WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if is_candidate {
        return candidates::passed_after(conn, key);
    }
    let mut passed: Option<i64> = None;
    if command != "[]" {
        passed = first(
            conn,
            "SELECT key FROM experiments WHERE substr(command, 1, 200) = substr(?1, 1, 200) AND command = ?1
               AND type = ?2 AND status IN ('passed', 'adopted') AND key > ?3 ORDER BY key LIMIT 1",
            params![command, kind, key],
        )?;
    }
    if passed.is_none() && !kind.is_empty() {
        passed = first(
            conn,
            "SELECT key FROM experiments WHERE type = ?1 AND status IN ('passed', 'adopted') AND key > ?2
             ORDER BY key LIMIT 1",
            params![kind, key],
        )?;
    }
    let Some(passed) = passed else { return Ok(None) };
    let (failed, passed) = (list::listed(conn, key)?, list::listed(conn, passed)?);
    Ok(Some(PassedAfter {
        failed: failed.id,
        failed_command: failed.command,
        passed: passed.id,
        passed_command: passed.command,
        passed_at: passed.started_at,
        change: None,
    }))
}

fn first<T: rusqlite::types::FromSql>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
) -> rusqlite::Result<Option<T>> {
    conn.prepare_cached(sql)?.query_row(params, |row| row.get(0)).optional()
}

pub(super) fn similar(
    conn: &Connection,
    signature: &str,
    cause: &str,
    except: Option<u64>,
    limit: usize,
) -> Result<Vec<SimilarFailure>, Trouble> {
    let same: Option<i64> = first(conn, "SELECT id FROM signatures WHERE signature = ?1", [signature])?;
    let mut found = Vec::new();
    if let Some(id) = same {
        found = newest_failures(conn, id, 1.0, limit + 1)?;
        found.retain(|it| Some(it.id.number()) != except);
        found.truncate(limit);
    }
    // of a cause that is known the same ones are enough: comparing words is dear
    let alike = if found.len() < limit { alike(conn, cause, same)? } else { Vec::new() };
    for (id, score) in alike {
        if found.len() >= limit {
            break;
        }
        found.extend(newest_failures(conn, id, score, 1)?);
    }
    Ok(found)
}

/// Other signatures whose causes share words with this one, the most alike first.
fn alike(conn: &Connection, cause: &str, except: Option<i64>) -> Result<Vec<(i64, f64)>, Trouble> {
    let wanted = similarity::words(cause);
    // the rare words tell causes apart; looking for the common ones too would only find everything
    let mut known = Vec::new();
    for word in &wanted {
        let sql = "SELECT count FROM cause_words WHERE word = ?1";
        known.extend(first::<u64>(conn, sql, [word])?.map(|count| (count, word.as_str())));
    }
    known.sort_unstable();
    known.truncate(TELLING);
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let mut statement =
        conn.prepare_cached("SELECT rowid FROM causes WHERE causes MATCH ?1 ORDER BY rank LIMIT ?2")?;
    let candidates = statement
        .query_map(params![any_of(known.into_iter().map(|(_, word)| word)), COMPARED], |row| {
            row.get::<_, i64>(0)
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let mut scored = Vec::new();
    for id in candidates.into_iter().filter(|id| Some(*id) != except) {
        let words: Option<String> = first(conn, "SELECT words FROM signatures WHERE id = ?1", [id])?;
        let theirs: BTreeSet<_> = words.unwrap_or_default().split(' ').map(str::to_owned).collect();
        let score = similarity::score(&wanted, &theirs);
        if score >= ALIKE {
            scored.push((id, score));
        }
    }
    scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
    Ok(scored)
}

/// The newest failures of a signature, as far as another is compared with them: this is asked for each that is reported.
fn newest_failures(
    conn: &Connection,
    signature: i64,
    score: f64,
    limit: usize,
) -> Result<Vec<SimilarFailure>, Trouble> {
    let mut statement = conn.prepare_cached(
        "SELECT e.key, e.number, e.name, e.attempt, s.signature, d.root_cause
         FROM experiments e JOIN diagnoses d ON d.key = e.key JOIN signatures s ON s.id = e.signature
         WHERE e.signature = ?1 ORDER BY e.key DESC LIMIT ?2",
    )?;
    let found = statement.query_map(params![signature, limit], |row| {
        let key = row.get(0)?;
        let failure = SimilarFailure {
            id: lookup::id(row)?,
            started_at: moment(key),
            score,
            signature: row.get(4)?,
            root_cause: row.get(5)?,
            passed_after: None,
        };
        Ok((key, failure))
    })?;
    let mut all = Vec::new();
    for found in found {
        let (key, mut failure) = found?;
        failure.passed_after = passed_after(conn, key)?;
        all.push(failure);
    }
    Ok(all)
}

/// The log of the last success of the same command and type, or else of the same type.
pub(super) fn last_success(
    conn: &Connection,
    kind: &str,
    command: &CommandLine,
) -> Result<Option<LogId>, Trouble> {
    let mut log: Option<[u8; 32]> = None;
    if !command.0.is_empty() {
        let command = serde_json::to_string(command).unwrap_or_default();
        log = first(
            conn,
            "SELECT log FROM (SELECT log FROM experiments WHERE substr(command, 1, 200) = substr(?1, 1, 200)
               AND command = ?1 AND type = ?2 AND status IN ('passed', 'adopted') ORDER BY key DESC LIMIT ?3)
             WHERE log IS NOT NULL LIMIT 1",
            params![command, kind, SUCCESSES],
        )?;
    }
    if log.is_none() && !kind.is_empty() {
        log = first(
            conn,
            "SELECT log FROM (SELECT log FROM experiments WHERE type = ?1 AND status IN ('passed', 'adopted')
               ORDER BY key DESC LIMIT ?2)
             WHERE log IS NOT NULL LIMIT 1",
            params![kind, SUCCESSES],
        )?;
    }
    Ok(log.map(LogId::from_bytes))
}

pub(super) fn totals(conn: &Connection) -> Result<Summary, Trouble> {
    let mut totals = Summary::over(Timestamp::UNIX_EPOCH, Timestamp::now());
    for facet in list::facets(conn)? {
        // a word of a later release: it has an end of some kind
        totals.add(facet.status.unwrap_or(crate::Status::Lost), facet.verdict(), facet.count);
    }
    Ok(totals)
}

/// From the counts of whole days, and of the hours before the first and after the last of them.
pub(super) fn summary(conn: &Connection, from: Timestamp, to: Timestamp) -> Result<Summary, Trouble> {
    let mut summary = Summary::over(from, to);
    let hour = |at: Timestamp| at.as_millisecond() / 3_600_000;
    let (from, to) = (hour(summary.from), hour(summary.to));
    let (first_day, last_day) = ((from + 23) / 24, to / 24);
    let spans = match first_day < last_day {
        true => [(1, from, first_day * 24), (24, first_day, last_day), (1, last_day * 24, to)],
        false => [(1, from, to), (24, 0, 0), (1, 0, 0)],
    };
    let mut statement = conn.prepare_cached(
        "SELECT status, category, severity, origin, count FROM spans
         WHERE hours = ?1 AND start >= ?2 AND start < ?3 AND count > 0",
    )?;
    for (hours, from, to) in spans {
        let counts =
            statement.query_map([hours, from, to], |row| Facet::read(row, [0, 1, 2, 3], row.get(4)?))?;
        for facet in counts {
            let facet = facet?;
            if let Some(status) = facet.status {
                summary.add(status, facet.verdict(), facet.count);
            }
        }
    }
    Ok(summary)
}
