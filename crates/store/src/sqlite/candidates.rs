//! Candidates of the lab: begun once for each code, ended with their experiment, marked to be tested again.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use super::experiments::{self, moment, to_json};
use super::runs::{self, number};
use super::{Trouble, list, lookup};
use crate::record::Tested;
use crate::{
    Candidate, CandidateBegun, CandidateFailure, CandidateOutcome, CandidateRecord, Cost, Error,
    ExperimentId, Listed, NewCandidate, NewExperiment, Outcome, PassedAfter, RunId, Status,
};

/// Texts are small, and written once: rather small than fast.
const LEVEL: i32 = 6;
/// A billionth of a dollar is the unit of what is kept.
pub(super) const NANO: f64 = 1e9;
/// So many children of a candidate are named.
const CHILDREN: usize = 20;

/// A code, compressed before the writer is asked, so that others don't wait for it.
pub(super) struct Packed {
    id: [u8; 32],
    bytes: usize,
    data: Vec<u8>,
}

pub(super) fn pack(code: &[u8]) -> Result<Packed, std::io::Error> {
    Ok(Packed { id: Sha256::digest(code).into(), bytes: code.len(), data: zstd::encode_all(code, LEVEL)? })
}

pub(super) fn begin(
    conn: &Connection,
    mut new: NewExperiment,
    candidate: &NewCandidate,
    code: &Packed,
) -> Result<CandidateBegun, Trouble> {
    // a task's name is the type of its candidates
    new.experiment_type = runs::find(conn, candidate.run)?.task;
    let run = number(candidate.run);
    let known = conn
        .prepare_cached(
            "SELECT e.key, e.number, e.name, e.attempt, c.rerun, c.tries FROM candidates c
             JOIN experiments e ON e.key = c.key WHERE c.run = ?1 AND c.hash = ?2 AND c.newest = 1",
        )?
        .query_row(params![run, candidate.code_hash], |row| {
            Ok((row.get::<_, i64>(0)?, lookup::id(row)?, row.get::<_, bool>(4)?, row.get::<_, u32>(5)?))
        })
        .optional()?;
    let tries = match known {
        Some((_, id, false, _)) => return Ok(CandidateBegun::Known(id)),
        Some((key, id, true, tries)) => {
            // another attempt of the same experiment
            new.id = Some(id.name().to_owned());
            conn.prepare_cached("UPDATE candidates SET newest = 0, rerun = 0 WHERE key = ?1")?
                .execute([key])?;
            tries + 1
        }
        None => 1,
    };
    let (key, id) = experiments::begin(conn, new)?;
    conn.prepare_cached("UPDATE experiments SET run = ?2 WHERE key = ?1")?.execute([key, run])?;
    conn.prepare_cached("INSERT INTO codes (id, bytes, data) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
        .execute(params![code.id, code.bytes, code.data])?;
    conn.prepare_cached(
        "INSERT INTO candidates (key, run, hash, code, tries, generation, proposer, change, feedback, nanodollars,
           input_tokens, output_tokens)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        key,
        run,
        candidate.code_hash,
        code.id,
        tries,
        candidate.generation,
        candidate.proposer,
        candidate.change,
        candidate.feedback.as_str(),
        nanodollars(candidate.proposal_cost.dollars),
        candidate.proposal_cost.input_tokens.cast_signed(),
        candidate.proposal_cost.output_tokens.cast_signed(),
    ])?;
    let parents = candidate.parents.iter().enumerate().map(|(place, id)| (false, place, id));
    for (repairs, place, parent) in parents.chain(candidate.repair_of.iter().map(|id| (true, 0, id))) {
        let (parent, _, _) = experiments::find(conn, parent)?;
        conn.prepare_cached("INSERT INTO lineage (child, repairs, place, parent) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![key, repairs, place, parent])?;
    }
    Ok(CandidateBegun::Begun(id))
}

/// The candidate's part of an experiment's end, in the same transaction. One whose end nobody saw is to be tested again.
pub(super) fn finish(
    conn: &Connection,
    key: i64,
    id: &ExperimentId,
    outcome: &Outcome,
    candidate: Option<&CandidateOutcome>,
) -> Result<(), Trouble> {
    let lost = outcome.status == Status::Lost;
    let changed = conn
        .prepare_cached("UPDATE candidates SET rerun = (newest = 1 AND ?2) WHERE key = ?1")?
        .execute(params![key, lost])?;
    let Some(it) = candidate else { return Ok(()) };
    if changed == 0 {
        return Err(Error::NotACandidate { id: id.to_string() }.into());
    }
    let finite: std::collections::BTreeMap<_, _> =
        it.metrics.iter().filter(|(_, value)| value.is_finite()).collect();
    conn.prepare_cached("UPDATE candidates SET metrics = ?2, score = ?3, result = ?4 WHERE key = ?1")?
        .execute(params![
            key,
            to_json(&finite),
            it.score.filter(|score| score.is_finite()),
            to_json(&it.result)
        ])?;
    for rule in &it.refused_by {
        conn.prepare_cached("INSERT OR IGNORE INTO refusals (rule, key) VALUES (?1, ?2)")?
            .execute(params![rule, key])?;
    }
    Ok(())
}

/// Those that have ended and have no later try; says how many.
pub(super) fn mark(conn: &Connection, ids: &[ExperimentId]) -> Result<u64, Trouble> {
    let mut marked = 0;
    for id in ids {
        let (key, status, _) = experiments::find(conn, id)?;
        if status != Status::Running.as_str() {
            marked += conn
                .prepare_cached("UPDATE candidates SET rerun = 1 WHERE key = ?1 AND newest = 1")?
                .execute([key])? as u64;
        }
    }
    Ok(marked)
}

const LIGHT: &str = "SELECT e.key, e.number, e.name, e.attempt, e.status, c.run, c.generation, c.proposer, c.change,
   c.feedback, c.nanodollars, c.input_tokens, c.output_tokens, c.hash, c.tries, c.newest, c.rerun, c.metrics, c.score,
   e.category, e.severity, e.origin, s.signature, d.root_cause
 FROM candidates c JOIN experiments e ON e.key = c.key
   LEFT JOIN signatures s ON s.id = e.signature LEFT JOIN diagnoses d ON d.key = e.key";

/// All of a run, or those that are to be tested again, in the order in which they began.
pub(super) fn of_run(conn: &Connection, run: RunId, to_rerun: bool) -> Result<Vec<Candidate>, Trouble> {
    runs::find(conn, run)?;
    let only = if to_rerun { " AND c.rerun = 1" } else { "" };
    let mut all = conn
        .prepare_cached(&format!("{LIGHT} WHERE c.run = ?1{only}"))?
        .query_map([number(run)], candidate)?
        .collect::<Result<Vec<_>, _>>()?;
    let mut lineage: HashMap<i64, Vec<(bool, u32, ExperimentId)>> = HashMap::new();
    let sql = format!(
        "SELECT l.child, p.number, p.name, p.attempt, l.repairs, l.place
         FROM candidates c JOIN lineage l ON l.child = c.key JOIN experiments p ON p.key = l.parent
         WHERE c.run = ?1{only}"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([number(run)])?;
    while let Some(row) = rows.next()? {
        let parent = (row.get(4)?, row.get(5)?, lookup::id(row)?);
        lineage.entry(row.get(0)?).or_default().push(parent);
    }
    for (key, it) in &mut all {
        set_lineage(it, lineage.remove(key).unwrap_or_default());
    }
    all.sort_by_key(|(_, it)| it.number);
    Ok(all.into_iter().map(|(_, it)| it).collect())
}

fn set_lineage(it: &mut Candidate, mut lineage: Vec<(bool, u32, ExperimentId)>) {
    lineage.sort_by_key(|(repairs, place, _)| (*repairs, *place));
    for (repairs, _, id) in lineage {
        if repairs {
            it.repair_of = Some(id);
        } else {
            it.parents.push(id);
        }
    }
}

/// One, with everything but its code; nothing if the experiment is not a candidate.
pub(super) fn record(conn: &Connection, id: &ExperimentId) -> Result<Option<CandidateRecord>, Trouble> {
    let (key, _, _) = experiments::find(conn, id)?;
    let found =
        conn.prepare_cached(&format!("{LIGHT} WHERE c.key = ?1"))?.query_row([key], candidate).optional()?;
    let Some((_, mut it)) = found else { return Ok(None) };
    let lineage = conn
        .prepare_cached(
            "SELECT l.repairs, p.number, p.name, p.attempt, l.place
             FROM lineage l JOIN experiments p ON p.key = l.parent WHERE l.child = ?1",
        )?
        .query_map([key], |row| Ok((row.get(0)?, row.get(4)?, lookup::id(row)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    set_lineage(&mut it, lineage);
    let (result, code_bytes): (Option<String>, u64) = conn
        .prepare_cached(
            "SELECT c.result, ifnull(k.bytes, 0) FROM candidates c LEFT JOIN codes k ON k.id = c.code WHERE c.key = ?1",
        )?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut children = conn
        .prepare_cached(
            "SELECT l.child, e.number, e.name, e.attempt FROM lineage l JOIN experiments e ON e.key = l.child
             WHERE l.parent = ?1 LIMIT ?2",
        )?
        // what mends its parent stands there twice
        .query_map(params![key, 2 * CHILDREN], lookup::id)?
        .collect::<Result<Vec<_>, _>>()?;
    children.dedup();
    children.truncate(CHILDREN);
    // one that this release can't read is none
    let result = result.and_then(|json| serde_json::from_str(&json).ok());
    Ok(Some(CandidateRecord { candidate: it, result, code_bytes, children }))
}

pub(super) fn code(conn: &Connection, id: &ExperimentId) -> Result<Vec<u8>, Trouble> {
    let (key, _, _) = experiments::find(conn, id)?;
    let data: Option<Vec<u8>> = conn
        .prepare_cached(
            "SELECT k.data FROM candidates c JOIN codes k ON k.id = c.code WHERE c.key = ?1
             UNION ALL SELECT data FROM sources WHERE key = ?1",
        )?
        .query_row([key], |row| row.get(0))
        .optional()?;
    let data = data.ok_or_else(|| Error::NotACandidate { id: id.to_string() })?;
    Ok(zstd::decode_all(&data[..]).map_err(|e| Error::Code { id: id.to_string(), detail: e.to_string() })?)
}

/// One that was tested elsewhere, with its experiment.
pub(super) fn take(conn: &Connection, key: i64, it: &Tested, code: &Packed) -> Result<(), Trouble> {
    conn.prepare_cached("INSERT INTO codes (id, bytes, data) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
        .execute(params![code.id, code.bytes, code.data])?;
    conn.prepare_cached(
        "INSERT INTO candidates (key, run, hash, code, tries, newest, rerun, generation, proposer, change, feedback,
           nanodollars, input_tokens, output_tokens, metrics, score, result)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?
    .execute(params![
        key,
        it.run.cast_signed(),
        it.hash,
        code.id,
        it.tries,
        it.newest,
        it.rerun,
        it.generation,
        it.proposer,
        it.change,
        it.feedback.as_str(),
        it.nanodollars,
        it.input_tokens.cast_signed(),
        it.output_tokens.cast_signed(),
        to_json(&it.metrics),
        it.score,
        it.result.as_ref().map(to_json),
    ])?;
    let parents = it.parents.iter().enumerate().map(|(place, named)| (false, place, named));
    for (repairs, place, (name, attempt, _)) in
        parents.chain(it.repair_of.iter().map(|named| (true, 0, named)))
    {
        // one that is not kept any more is not there to be led to
        conn.prepare_cached(
            "INSERT INTO lineage (child, repairs, place, parent)
             SELECT ?1, ?2, ?3, key FROM experiments WHERE name = ?4 AND attempt = ?5",
        )?
        .execute(params![key, repairs, place, name, attempt])?;
    }
    for rule in &it.refused_by {
        conn.prepare_cached("INSERT OR IGNORE INTO refusals (rule, key) VALUES (?1, ?2)")?
            .execute(params![rule, key])?;
    }
    Ok(())
}

/// Keeps the code of a failure that others ran.
pub(super) fn keep_source(conn: &Connection, id: &ExperimentId, code: &Packed) -> Result<(), Trouble> {
    let (key, _, _) = experiments::find(conn, id)?;
    take_source(conn, key, code)
}

pub(super) fn take_source(conn: &Connection, key: i64, code: &Packed) -> Result<(), Trouble> {
    conn.prepare_cached("INSERT OR REPLACE INTO sources (key, data) VALUES (?1, ?2)")?
        .execute(params![key, code.data])?;
    Ok(())
}

/// Everything that a candidate has beyond its experiment, with the experiment that is about to go.
pub(super) fn remove(conn: &Connection, key: i64) -> Result<(), Trouble> {
    let code: Option<[u8; 32]> = conn
        .prepare_cached("DELETE FROM candidates WHERE key = ?1 RETURNING code")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    for sql in [
        "DELETE FROM lineage WHERE child = ?1",
        "DELETE FROM lineage WHERE (parent, child) IN (SELECT parent, child FROM lineage WHERE parent = ?1)",
        "DELETE FROM refusals WHERE (rule, key) IN (SELECT rule, key FROM refusals WHERE key = ?1)",
    ] {
        conn.prepare_cached(sql)?.execute([key])?;
    }
    if let Some(code) = code {
        conn.prepare_cached(
            "DELETE FROM codes WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM candidates WHERE code = ?1)",
        )?
        .execute([code])?;
    }
    Ok(())
}

fn candidate(row: &Row<'_>) -> rusqlite::Result<(i64, Candidate)> {
    let key = row.get(0)?;
    let text = |column| row.get_ref(column).and_then(|value| Ok(value.as_str()?));
    let failure = match (text(19)?.parse(), text(20)?.parse(), text(21)?.parse()) {
        (Ok(category), Ok(severity), Ok(origin)) => Some(CandidateFailure {
            category,
            severity,
            origin,
            signature: row.get::<_, Option<String>>(22)?.unwrap_or_default(),
            root_cause: row.get::<_, Option<String>>(23)?.unwrap_or_default(),
        }),
        _ => None,
    };
    let metrics: Option<String> = row.get(17)?;
    let it = Candidate {
        id: lookup::id(row)?,
        number: row.get(1)?,
        run: RunId(row.get(5)?),
        // a word of a later release: it has an end of some kind
        status: text(4)?.parse().unwrap_or(Status::Lost),
        started_at: moment(key),
        generation: row.get(6)?,
        parents: Vec::new(),
        repair_of: None,
        proposer: row.get(7)?,
        change: row.get(8)?,
        feedback: text(9)?.parse().unwrap_or_default(),
        proposal_cost: Cost {
            dollars: row.get::<_, i64>(10)? as f64 / NANO,
            input_tokens: row.get::<_, i64>(11)?.cast_unsigned(),
            output_tokens: row.get::<_, i64>(12)?.cast_unsigned(),
        },
        code_hash: row.get(13)?,
        tries: row.get(14)?,
        replaced: !row.get::<_, bool>(15)?,
        rerun: row.get(16)?,
        metrics: metrics.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default(),
        score: row.get(18)?,
        failure,
    };
    Ok((key, it))
}

/// Whole numbers, so that many small sums add up exactly.
pub(super) fn nanodollars(dollars: f64) -> i64 {
    (dollars * NANO).round() as i64
}

/// So many steps of descent are gone for what got past a failure, and so many children looked at in each.
const STEPS: usize = 3;
const LOOKED_AT: usize = 40;

/// The first that got past a candidate's failure: the same code tested again, or what was made from it.
pub(super) fn passed_after(conn: &Connection, key: i64) -> Result<Option<PassedAfter>, Trouble> {
    let failed = list::listed(conn, key)?;
    let again: Option<i64> = conn
        .prepare_cached(
            "SELECT e.key FROM experiments e JOIN candidates c ON c.key = e.key
             WHERE e.name = ?1 AND e.attempt > ?2
               AND (e.status IN ('passed', 'adopted') OR e.status = 'rejected' AND c.metrics <> '{}')
             ORDER BY e.attempt LIMIT 1",
        )?
        .query_row(params![failed.id.name(), failed.id.attempt()], |row| row.get(0))
        .optional()?;
    let found = match again {
        Some(key) => Some((key, String::new())),
        None => descendant(conn, key, &failed)?,
    };
    let Some((passed, change)) = found else { return Ok(None) };
    let passed = list::listed(conn, passed)?;
    Ok(Some(PassedAfter {
        failed: failed.id,
        failed_command: failed.command,
        passed: passed.id,
        passed_command: passed.command,
        passed_at: passed.started_at,
        change: Some(change),
    }))
}

/// The nearest one that succeeded; or that ran and was measured, where the failure was one to run at all.
fn descendant(conn: &Connection, key: i64, failed: &Listed) -> Result<Option<(i64, String)>, Trouble> {
    let mut statement = conn.prepare_cached(
        "SELECT l.child, c.change, e.status IN ('passed', 'adopted'),
                e.status = 'rejected' AND ifnull(c.metrics, '{}') <> '{}' AND e.signature IS NOT f.signature
         FROM experiments f JOIN lineage l ON l.parent = f.key JOIN candidates c ON c.key = l.child
           JOIN experiments e ON e.key = l.child WHERE f.key = ?1 ORDER BY l.child LIMIT ?2",
    )?;
    let could_not_run = failed.status != Status::Rejected;
    let mut parents = vec![key];
    for _ in 0..STEPS {
        let mut children = Vec::new();
        for parent in parents {
            let mut rows = statement.query(params![parent, LOOKED_AT])?;
            while let Some(row) = rows.next()? {
                let child = row.get(0)?;
                if row.get(2)? || could_not_run && row.get(3)? {
                    return Ok(Some((child, row.get(1)?)));
                }
                children.push(child);
            }
        }
        children.sort_unstable();
        children.dedup();
        children.truncate(LOOKED_AT);
        parents = children;
    }
    Ok(None)
}
