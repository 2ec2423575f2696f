//! Removes what the settings don't keep, in small steps between which others can write; never what runs.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, params};

use super::experiments::first_key;
use super::kept_logs::drop_unused_log;
use super::{Sqlite, Trouble, candidates, outbox, runs};
use crate::logs::{LogFolder, partial_is_idle};
use crate::{Error, LogId, PassedLogs, Pruned, Retention, RunId};

/// So much is removed in one commit.
const STEP: usize = 200;

/// A log that was written for nobody yet is given this long to find its experiment.
const UNCLAIMED: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn prune(store: &Sqlite, retention: &Retention, now: Timestamp) -> Result<Pruned, Error> {
    let before = move |age: Duration| now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut done = Pruned::default();
    if let Some(age) = retention.max_age {
        experiments(store, first_key(before(age)), &mut done).await?;
    }
    if let Some(age) = retention.max_log_age {
        let note = format!("the log was removed on {} for its age", now.strftime("%F"));
        let sql = "SELECT id FROM logs WHERE added_at < ?1 ORDER BY added_at LIMIT ?2";
        logs(store, note, &mut done, move |conn| ids(conn, sql, params![before(age).as_millisecond(), STEP]))
            .await?;
    }
    if retention.passed_logs != PassedLogs::All {
        passed_logs(store, retention.passed_logs, now, &mut done).await?;
    }
    if let Some(most) = retention.max_log_bytes {
        let note = format!("the log was removed on {} to make room for newer ones", now.strftime("%F"));
        logs(store, note, &mut done, move |conn| oldest_beyond(conn, most)).await?;
    }
    if let Some(age) = retention.max_reply_age {
        let before = before(age).as_millisecond();
        let sql = "DELETE FROM replies WHERE kept_at < ?1";
        done.replies =
            store.write(move |conn| Ok(conn.prepare_cached(sql)?.execute([before])?)).await? as u64;
    }
    store.write(move |conn| outbox::tidy(conn, now)).await?;
    strays(store, now, &mut done).await?;
    if done.experiments + done.logs + done.replies > 0 {
        let mut left = u64::MAX;
        loop {
            let now = store.write(give_back_space).await?;
            if now == 0 || now >= left {
                break;
            }
            left = now;
        }
    }
    Ok(done)
}

async fn experiments(store: &Sqlite, before: i64, done: &mut Pruned) -> Result<(), Error> {
    let mut from = 0;
    loop {
        let folder = store.folder.clone();
        let (last, step) = store.write(move |conn| remove_older(conn, &folder, from, before)).await?;
        done.experiments += step.experiments;
        done.logs += step.logs;
        done.log_bytes += step.log_bytes;
        match last {
            Some(last) => from = last + 1,
            None => return Ok(()),
        }
    }
}

fn remove_older(
    conn: &Connection,
    folder: &LogFolder,
    from: i64,
    before: i64,
) -> Result<(Option<i64>, Pruned), Trouble> {
    let old = conn
        .prepare_cached(
            "SELECT key, log, run FROM experiments WHERE key >= ?1 AND key < ?2 AND status <> 'running'
             ORDER BY key LIMIT ?3",
        )?
        .query_map(params![from, before, STEP], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<Vec<(i64, Option<[u8; 32]>, Option<u64>)>, _>>()?;
    let held = runs::held(conn)?;
    let mut done = Pruned::default();
    for (key, log, run) in &old {
        // a run of the loop that goes on needs all its candidates: the best of them may be its oldest
        if run.is_some_and(|run| held.iter().any(|id| id.number() == run)) {
            continue;
        }
        if run.is_some() {
            candidates::remove(conn, *key)?;
        }
        for sql in [
            "DELETE FROM search WHERE rowid = ?1",
            "DELETE FROM diagnoses WHERE key = ?1",
            "DELETE FROM experiments WHERE key = ?1",
        ] {
            conn.prepare_cached(sql)?.execute([key])?;
        }
        done.experiments += 1;
        if let Some(id) = log
            && let Some(bytes) = drop_unused_log(conn, folder, &LogId::from_bytes(*id))?
        {
            done.logs += 1;
            done.log_bytes += bytes;
        }
    }
    if old.is_empty() {
        // hours and days without experiments say nothing
        let hour = (before >> 21) / 3_600_000;
        for hours in [1, 24] {
            conn.prepare_cached("DELETE FROM spans WHERE hours = ?1 AND start < ?2 AND count = 0")?
                .execute([hours, hour / hours])?;
        }
        remove_empty_runs(conn, &held, before >> 21)?;
    }
    Ok((old.last().map(|(key, ..)| *key), done))
}

/// Runs of the loop of which no candidate is left.
fn remove_empty_runs(conn: &Connection, held: &[RunId], before: i64) -> Result<(), Trouble> {
    let empty = conn
        .prepare_cached(
            "SELECT id FROM runs WHERE started_at < ?1 AND NOT EXISTS (SELECT 1 FROM candidates WHERE run = runs.id)",
        )?
        .query_map([before], |row| row.get(0))?
        .collect::<Result<Vec<u64>, _>>()?;
    for id in empty.into_iter().filter(|id| held.iter().all(|held| held.number() != *id)) {
        conn.prepare_cached("DELETE FROM runs WHERE id = ?1")?.execute([id])?;
    }
    Ok(())
}

/// Removes logs as long as `next` names some, and tells their experiments why.
async fn logs(
    store: &Sqlite,
    note: String,
    done: &mut Pruned,
    next: impl Fn(&Connection) -> Result<Vec<LogId>, Trouble> + Clone + Send + 'static,
) -> Result<(), Error> {
    loop {
        let (folder, note, next) = (store.folder.clone(), note.clone(), next.clone());
        let step = store.write(move |conn| {
            let mut step = (0, 0);
            for id in next(conn)? {
                conn.prepare_cached("UPDATE experiments SET log = NULL, log_note = ?2 WHERE log = ?1")?
                    .execute(params![id.as_bytes(), note])?;
                if let Some(bytes) = drop_unused_log(conn, &folder, &id)? {
                    step = (step.0 + 1, step.1 + bytes);
                }
            }
            Ok(step)
        });
        match step.await? {
            (0, _) => return Ok(()),
            (logs, bytes) => {
                done.logs += logs;
                done.log_bytes += bytes;
            }
        }
    }
}

fn oldest_beyond(conn: &Connection, most: u64) -> Result<Vec<LogId>, Trouble> {
    let total: u64 = conn
        .prepare_cached("SELECT value FROM counters WHERE name = 'log_bytes'")?
        .query_row([], |row| row.get(0))?;
    let mut too_many = total.saturating_sub(most);
    let mut beyond = Vec::new();
    let mut statement = conn.prepare_cached("SELECT id, stored FROM logs ORDER BY added_at LIMIT ?1")?;
    let mut rows = statement.query([STEP])?;
    while let (1.., Some(row)) = (too_many, rows.next()?) {
        beyond.push(LogId::from_bytes(row.get(0)?));
        too_many = too_many.saturating_sub(row.get(1)?);
    }
    Ok(beyond)
}

/// Takes the logs from successes; from the newest of each command only if none are kept.
async fn passed_logs(
    store: &Sqlite,
    keep: PassedLogs,
    now: Timestamp,
    done: &mut Pruned,
) -> Result<(), Error> {
    let note = format!("the log of this success was removed on {}", now.strftime("%F"));
    for status in ["passed", "adopted"] {
        let mut from = 0;
        loop {
            let (folder, note) = (store.folder.clone(), note.clone());
            let step = store.write(move |conn| drop_passed(conn, &folder, keep, status, from, &note));
            let (last, logs, bytes) = step.await?;
            done.logs += logs;
            done.log_bytes += bytes;
            match last {
                Some(last) => from = last + 1,
                None => break,
            }
        }
    }
    Ok(())
}

fn drop_passed(
    conn: &Connection,
    folder: &LogFolder,
    keep: PassedLogs,
    status: &str,
    from: i64,
    note: &str,
) -> Result<(Option<i64>, u64, u64), Trouble> {
    let rows = conn
        .prepare_cached(
            "SELECT key, log, type, command FROM experiments
             WHERE status = ?1 AND status IN ('passed', 'adopted') AND log IS NOT NULL AND key >= ?2
             ORDER BY key LIMIT ?3",
        )?
        .query_map(params![status, from, STEP], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?
        .collect::<Result<Vec<(i64, [u8; 32], String, String)>, _>>()?;
    let (mut logs, mut bytes) = (0, 0);
    for (key, log, kind, command) in &rows {
        let newer: bool = keep == PassedLogs::None
            || conn
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM experiments WHERE substr(command, 1, 200) = substr(?1, 1, 200)
                       AND command = ?1 AND type = ?2 AND status IN ('passed', 'adopted') AND key > ?3
                       AND log IS NOT NULL)",
                )?
                .query_row(params![command, kind, key], |row| row.get(0))?;
        if newer {
            conn.prepare_cached("UPDATE experiments SET log = NULL, log_note = ?2 WHERE key = ?1")?
                .execute(params![key, note])?;
            if let Some(freed) = drop_unused_log(conn, folder, &LogId::from_bytes(*log))? {
                logs += 1;
                bytes += freed;
            }
        }
    }
    Ok((rows.last().map(|row| row.0), logs, bytes))
}

/// Files that nothing refers to: left by a process that died between two steps.
async fn strays(store: &Sqlite, now: Timestamp, done: &mut Pruned) -> Result<(), Error> {
    let files = match store.folder.files() {
        Ok(files) => files,
        Err(e) => {
            done.problems.push(format!("the folder of the logs can't be read ({e})"));
            return Ok(());
        }
    };
    for some in files.logs.chunks(STEP) {
        let some = some.to_vec();
        // inside a commit no log can be adopted meanwhile
        let removed = store.write(move |conn| {
            let mut unknown = Vec::new();
            for (id, path) in some {
                let sql = "SELECT EXISTS (SELECT 1 FROM logs WHERE id = ?1 AND data IS NULL)";
                if !conn.prepare_cached(sql)?.query_row([id.as_bytes()], |row| row.get(0))? {
                    unknown.push((std::fs::remove_file(&path), path));
                }
            }
            Ok(unknown)
        });
        count(removed.await?, done);
    }
    let mut old = Vec::new();
    for (number, path) in files.partials {
        let ended = match number {
            Some(number) => has_ended(store, number).await?,
            None => is_older(&path, now),
        };
        if ended && partial_is_idle(&path) {
            old.push((std::fs::remove_file(&path), path));
        }
    }
    count(old, done);
    Ok(())
}

fn count(removed: Vec<(std::io::Result<()>, PathBuf)>, done: &mut Pruned) {
    for (result, path) in removed {
        match result {
            Ok(()) => done.stray_files += 1,
            Err(e) => done.problems.push(Error::log_file(&path, e).to_string()),
        }
    }
}

async fn has_ended(store: &Sqlite, number: u64) -> Result<bool, Error> {
    let sql = "SELECT status <> 'running' FROM experiments WHERE number = ?1";
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    store
        .read(move |conn| Ok(conn.prepare_cached(sql)?.query_row([number], |row| row.get(0)).optional()?))
        .await
        .map(|ended| ended.unwrap_or(true))
}

fn is_older(path: &std::path::Path, now: Timestamp) -> bool {
    let modified = std::fs::metadata(path).and_then(|data| data.modified());
    let modified = modified.ok().and_then(|at| Timestamp::try_from(at).ok());
    modified.is_some_and(|at| now.duration_since(at) > UNCLAIMED.try_into().unwrap_or_default())
}

fn ids(conn: &Connection, sql: &str, params: impl Params) -> Result<Vec<LogId>, Trouble> {
    let mut statement = conn.prepare_cached(sql)?;
    let ids = statement.query_map(params, |row| row.get(0).map(LogId::from_bytes))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

/// Makes the file smaller, by some pages; says how many more there are to give back.
fn give_back_space(conn: &Connection) -> Result<u64, Trouble> {
    let mut statement = conn.prepare("PRAGMA incremental_vacuum(1000)")?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(conn.pragma_query_value(None, "freelist_count", |row| row.get(0))?)
}
