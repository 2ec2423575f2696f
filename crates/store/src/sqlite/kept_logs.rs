//! Logs as the database knows them: kept once for all experiments that printed them, and removed with the last of these.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::Trouble;
use crate::LogId;
use crate::logs::{Log, LogData, LogFolder};

/// Makes a written log one that an experiment may refer to. If that fails, the experiment does without and says so.
pub(super) fn keep_log(
    conn: &Connection,
    folder: &LogFolder,
    log: Option<&Log>,
    at: Timestamp,
) -> Result<(Option<LogId>, Option<String>), Trouble> {
    let Some(log) = log else { return Ok((None, None)) };
    let note = log.note().map(str::to_owned);
    let Some(kept) = log.kept() else { return Ok((None, note)) };
    let facts = &kept.facts;
    let is_file: Option<bool> = conn
        .prepare_cached("SELECT data IS NULL FROM logs WHERE id = ?1")?
        .query_row([facts.id.as_bytes()], |row| row.get(0))
        .optional()?;
    if is_file != Some(false)
        && let LogData::File(partial) = &kept.data
        && let Err(e) = folder.adopt(partial, &facts.id)
    {
        let note = format!("the log could not be kept ({e})");
        return Ok((None, Some(note)));
    }
    let data = match &kept.data {
        LogData::Inline(bytes) => Some(bytes),
        LogData::File(_) => None,
    };
    conn.prepare_cached(
        "INSERT INTO logs (id, bytes, stored, added_at, data) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO UPDATE SET added_at = max(added_at, excluded.added_at)",
    )?
    .execute(params![
        facts.id.as_bytes(),
        facts.bytes,
        facts.stored_bytes,
        at.as_millisecond(),
        data,
    ])?;
    Ok((Some(facts.id), note))
}

/// Removes a log if no experiment refers to it any more; says how many bytes that freed.
pub(super) fn drop_unused_log(
    conn: &Connection,
    folder: &LogFolder,
    id: &LogId,
) -> Result<Option<u64>, Trouble> {
    let used: bool = conn
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM experiments WHERE log = ?1)")?
        .query_row([id.as_bytes()], |row| row.get(0))?;
    if used {
        return Ok(None);
    }
    let freed: Option<(u64, bool)> = conn
        .prepare_cached("DELETE FROM logs WHERE id = ?1 RETURNING stored, data IS NULL")?
        .query_row([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    // inside the commit, so that nobody can begin to refer to the file in between; one that can't be removed now is a
    // stray that the next clean-up finds, and reports if it can't either
    if let Some((_, true)) = freed {
        let _ = folder.remove(id);
    }
    Ok(freed.map(|(stored, _)| stored))
}
