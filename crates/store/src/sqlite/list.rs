//! Pages of the list, newest first: always by an index, whatever the filter, and with totals that need no counting.

use std::time::Duration;

use coroner_diagnosis::{Category, Origin, Severity};
use rusqlite::{Connection, Params, params};

use super::experiments::moment;
use super::text::{Words, expression};
use super::{Trouble, lookup};
use crate::query::{COUNTED, Cursor};
use crate::{Analysis, Listed, LogId, Page, Query, Status};

/// How many experiments have one combination of words. There are some hundred combinations at most.
pub(super) struct Facet {
    /// `None` for a word of a later release.
    pub(super) status: Option<Status>,
    words: [String; 4],
    pub(super) count: u64,
}

impl Facet {
    pub(super) fn verdict(&self) -> Option<(Category, Severity, Origin)> {
        let [_, category, severity, origin] = &self.words;
        Some((category.parse().ok()?, severity.parse().ok()?, origin.parse().ok()?))
    }

    pub(super) fn new(words: [String; 4], count: u64) -> Self {
        Self { status: words[0].parse().ok(), words, count }
    }

    fn fits(&self, query: &Query) -> bool {
        let asked = [
            query.status.map(Status::as_str),
            query.category.map(Category::as_str),
            query.severity.map(Severity::as_str),
            query.origin.map(Origin::as_str),
        ];
        asked.iter().zip(&self.words).all(|(asked, word)| asked.is_none_or(|asked| asked == word))
    }
}

pub(super) fn facets(conn: &Connection) -> rusqlite::Result<Vec<Facet>> {
    conn.prepare_cached("SELECT status, category, severity, origin, count FROM facets WHERE count > 0")?
        .query_map([], |row| {
            Ok(Facet::new([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?], row.get(4)?))
        })?
        .collect()
}

/// Keys of a page and one more, and how many there are on all pages.
struct Found {
    keys: Vec<i64>,
    total: u64,
    at_least: bool,
}

impl Found {
    const NOTHING: Self = Self { keys: Vec::new(), total: 0, at_least: false };

    /// What was counted up to one more than [`COUNTED`].
    fn counted(keys: Vec<i64>, counted: u64) -> Self {
        Self { keys, total: counted.min(COUNTED), at_least: counted > COUNTED }
    }
}

pub(super) fn page(conn: &Connection, query: &Query) -> Result<Page, Trouble> {
    let cursor = query.cursor()?;
    let before = cursor.map_or(i64::MAX, |cursor| cursor.key);
    let size = query.page_size();
    let facets = facets(conn)?;
    let as_beginnings = match (query.typed(), cursor) {
        (_, Some(cursor)) => cursor.as_beginnings,
        (Some(typed), None) => !occur(conn, typed)?,
        (None, None) => false,
    };
    let found = match (query.typed(), &query.signature) {
        (Some(typed), _) => searched(conn, query, typed, as_beginnings, before, size + 1)?,
        (None, Some(signature)) => of_signature(conn, query, signature, before, size + 1)?,
        (None, None) => of_facets(conn, query, &facets, before, size + 1)?,
    };
    let Found { mut keys, total, at_least } = found;
    let more = keys.len() > size;
    keys.truncate(size);
    Ok(Page {
        total_count: total,
        total_is_at_least: at_least,
        running_commands: facets.iter().filter(|f| f.status == Some(Status::Running)).map(|f| f.count).sum(),
        next_cursor: keys.last().filter(|_| more).map(|key| Cursor { key: *key, as_beginnings }.to_string()),
        experiments: keys.into_iter().map(|key| listed(conn, key)).collect::<Result<_, _>>()?,
    })
}

/// Only status, category, severity, origin: each combination that occurs is a stretch of one index, and its total is
/// known. The newest of all are among the newest of each.
fn of_facets(
    conn: &Connection,
    query: &Query,
    facets: &[Facet],
    before: i64,
    limit: usize,
) -> Result<Found, Trouble> {
    let fitting: Vec<_> = facets.iter().filter(|facet| facet.fits(query)).collect();
    let total = fitting.iter().map(|facet| facet.count).sum();
    if fitting.len() == facets.len() {
        let sql = "SELECT key FROM experiments WHERE key < ?1 ORDER BY key DESC LIMIT ?2";
        return Ok(Found { keys: keys(conn, sql, params![before, limit])?, total, at_least: false });
    }
    let mut all = Vec::new();
    for Facet { words: [status, category, severity, origin], .. } in fitting {
        let sql = "SELECT key FROM experiments WHERE status = ?1 AND category = ?2 AND severity = ?3 AND origin = ?4
                   AND key < ?5 ORDER BY key DESC LIMIT ?6";
        all.extend(keys(conn, sql, params![status, category, severity, origin, before, limit])?);
    }
    all.sort_unstable_by(|a, b| b.cmp(a));
    all.truncate(limit);
    Ok(Found { keys: all, total, at_least: false })
}

/// Those of one signature. They nearly always share their other words too, so checking these row by row costs nothing.
fn of_signature(
    conn: &Connection,
    query: &Query,
    signature: &str,
    before: i64,
    limit: usize,
) -> Result<Found, Trouble> {
    let known = conn
        .prepare_cached("SELECT id, count FROM signatures WHERE signature = ?1")?
        .query_row([signature], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
    let (id, count) = match known {
        Ok(known) => known,
        Err(rusqlite::Error::QueryReturnedNoRows) => return Ok(Found::NOTHING),
        Err(e) => return Err(e.into()),
    };
    let words = (
        query.status.map(Status::as_str),
        query.category.map(Category::as_str),
        query.severity.map(Severity::as_str),
        query.origin.map(Origin::as_str),
    );
    let sql = "SELECT key FROM experiments WHERE signature = ?1 AND key < ?2
               AND (?3 IS NULL OR status = ?3) AND (?4 IS NULL OR category = ?4)
               AND (?5 IS NULL OR severity = ?5) AND (?6 IS NULL OR origin = ?6)
               ORDER BY key DESC LIMIT ?7";
    let found = |before, limit| {
        let (status, category, severity, origin) = words;
        keys(conn, sql, params![id, before, status, category, severity, origin, limit])
    };
    let keys = found(before, limit)?;
    Ok(match words {
        (None, None, None, None) => Found { keys, total: count, at_least: false },
        _ => Found::counted(keys, found(i64::MAX, COUNTED as usize + 1)?.len() as u64),
    })
}

/// Does any experiment, whatever the filters, have all of these as whole words?
fn occur(conn: &Connection, typed: &str) -> Result<bool, Trouble> {
    let Some(expression) = expression(typed, false, &Words::default()) else { return Ok(false) };
    let mut statement = conn.prepare_cached("SELECT rowid FROM search WHERE search MATCH ?1 LIMIT 1")?;
    Ok(statement.exists([expression])?)
}

/// Those in which words occur, filters included: answered by the word index alone, which is in the list's order.
fn searched(
    conn: &Connection,
    query: &Query,
    typed: &str,
    as_beginnings: bool,
    before: i64,
    limit: usize,
) -> Result<Found, Trouble> {
    let words = Words {
        status: query.status,
        category: query.category,
        severity: query.severity,
        origin: query.origin,
        signature: query.signature.clone(),
    };
    let Some(expression) = expression(typed, as_beginnings, &words) else { return Ok(Found::NOTHING) };
    let sql = "SELECT rowid FROM search WHERE search MATCH ?1 AND rowid < ?2 ORDER BY rowid DESC LIMIT ?3";
    let found = keys(conn, sql, params![expression, before, limit])?;
    let total = conn
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM search WHERE search MATCH ?1 LIMIT ?2)")?
        .query_row(params![expression, COUNTED + 1], |row| row.get(0))?;
    Ok(Found::counted(found, total))
}

fn keys(conn: &Connection, sql: &str, params: impl Params) -> Result<Vec<i64>, Trouble> {
    Ok(conn.prepare_cached(sql)?.query_map(params, |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// One experiment as the list shows it.
pub(super) fn listed(conn: &Connection, key: i64) -> Result<Listed, Trouble> {
    let row = conn
        .prepare_cached(
            "SELECT e.key, e.number, e.name, e.attempt, e.status, e.type, e.command, e.wall_us, e.peak_memory, e.log,
                    e.category, e.severity, e.origin, s.signature,
                    d.root_cause, d.fix_suggestion, d.confidence, d.retryable, d.rule
             FROM experiments e LEFT JOIN diagnoses d ON d.key = e.key LEFT JOIN signatures s ON s.id = e.signature
             WHERE e.key = ?1",
        )?
        .query_row([key], |row| {
            let word = |column| row.get_ref(column).and_then(|value| Ok(value.as_str()?.to_owned()));
            let verdict = Facet::new([word(4)?, word(10)?, word(11)?, word(12)?], 1);
            let analysis = match (verdict.verdict(), row.get::<_, Option<String>>(14)?) {
                (Some((category, severity, origin)), Some(root_cause)) => Some(Analysis {
                    category,
                    root_cause,
                    fix_suggestion: row.get(15)?,
                    severity,
                    origin,
                    confidence: row.get(16)?,
                    signature: row.get::<_, Option<String>>(13)?.unwrap_or_default(),
                    retryable: row.get(17)?,
                    rule: row.get(18)?,
                }),
                _ => None,
            };
            Ok(Listed {
                id: lookup::id(row)?,
                started_at: moment(key),
                // a word of a later release: it has an end of some kind
                status: verdict.status.unwrap_or(Status::Lost),
                experiment_type: row.get(5)?,
                command: lookup::command(row, 6)?,
                duration: row.get::<_, Option<u64>>(7)?.map(Duration::from_micros),
                peak_memory: row.get(8)?,
                log: row.get::<_, Option<[u8; 32]>>(9)?.map(LogId::from_bytes),
                analysis,
            })
        })?;
    Ok(row)
}
