//! Pages of the list: always by an index, whatever the filter, and with totals that need no counting.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use coroner_diagnosis::{Category, Origin, Severity};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::candidates::NANO;
use super::experiments::moment;
use super::merge::{By, Stretch, merged, start};
use super::text::{Words, expression};
use super::{Trouble, lookup};
use crate::order::{Cursor, category_rank, severity_rank};
use crate::query::{COUNTED, SORTED};
use crate::{Analysis, Listed, LogId, Page, Query, Sort, SortBy, Status};

/// How many experiments have one combination of words. There are some hundred combinations at most.
pub(super) struct Facet {
    /// `None` for a word of a later release.
    pub(super) status: Option<Status>,
    verdict: Option<(Category, Severity, Origin)>,
    words: [Word; 4],
    pub(super) count: u64,
}

/// A word of the database; those that we know take no memory of their own.
pub(super) type Word = Cow<'static, str>;

fn known<T: FromStr>(text: &str, spelling: impl Fn(&T) -> &'static str) -> (Option<T>, Word) {
    if text.is_empty() {
        return (None, Cow::Borrowed(""));
    }
    let found = text.parse().ok();
    let word = found.as_ref().map_or_else(|| Cow::Owned(text.to_owned()), |it| Cow::Borrowed(spelling(it)));
    (found, word)
}

impl Facet {
    pub(super) fn verdict(&self) -> Option<(Category, Severity, Origin)> {
        self.verdict
    }

    /// From the four columns of its words, the first of which stands at `columns[0]`.
    pub(super) fn read(row: &Row<'_>, columns: [usize; 4], count: u64) -> rusqlite::Result<Self> {
        let text = |n: usize| row.get_ref(columns[n]).and_then(|value| Ok(value.as_str()?));
        let (status, first) = known(text(0)?, |it: &Status| it.as_str());
        let (category, second) = known(text(1)?, |it: &Category| it.as_str());
        let (severity, third) = known(text(2)?, |it: &Severity| it.as_str());
        let (origin, fourth) = known(text(3)?, |it: &Origin| it.as_str());
        let verdict = category
            .zip(severity)
            .zip(origin)
            .map(|((category, severity), origin)| (category, severity, origin));
        Ok(Self { status, verdict, words: [first, second, third, fourth], count })
    }

    fn fits(&self, query: &Query) -> bool {
        let asked = [
            query.status.map(Status::as_str),
            query.category.map(Category::as_str),
            query.severity.map(Severity::as_str),
            query.origin.map(Origin::as_str),
        ];
        asked.iter().zip(&self.words).all(|(asked, word)| asked.is_none_or(|asked| asked == word.as_ref()))
    }
}

pub(super) fn facets(conn: &Connection) -> rusqlite::Result<Vec<Facet>> {
    conn.prepare_cached("SELECT status, category, severity, origin, count FROM facets WHERE count > 0")?
        .query_map([], |row| Facet::read(row, [0, 1, 2, 3], row.get(4)?))?
        .collect()
}

pub(super) fn running(facets: &[Facet]) -> u64 {
    facets.iter().filter(|f| f.status == Some(Status::Running)).map(|f| f.count).sum()
}

/// What fits a query, and how many there are on all pages.
struct Fitting<'a> {
    what: What<'a>,
    total: u64,
    at_least: bool,
}

enum What<'a> {
    Nothing,
    /// Everything.
    All(&'a [Facet]),
    /// Combinations of words.
    Facets(Vec<&'a Facet>),
    /// Combinations of words of one signature.
    Signature(i64, Vec<Facet>),
    /// Words that were typed, and filters.
    Search {
        typed: &'a str,
        as_beginnings: bool,
        words: Words,
    },
}

/// A part of a list, sorted in itself and standing before the next.
struct Part {
    stretches: Vec<Stretch>,
    by: By,
    descending: bool,
    /// What all of them are sorted by, if that is one value.
    value: Option<Option<i64>>,
}

pub(super) fn page(conn: &Connection, query: &Query) -> Result<Page, Trouble> {
    let cursor = query.cursor()?;
    let (size, sort) = (query.page_size(), query.sort);
    let facets = facets(conn)?;
    let as_beginnings = match (query.typed(), cursor) {
        (_, Some(cursor)) => cursor.as_beginnings,
        (Some(typed), None) => !occur(conn, typed)?,
        (None, None) => false,
    };
    let fitting = match (query.typed(), &query.signature) {
        (Some(typed), _) => searched(conn, query, typed, as_beginnings)?,
        (None, Some(signature)) => of_signature(conn, query, signature)?,
        (None, None) => of_facets(query, &facets),
    };
    let has_no_index = matches!(fitting.what, What::Signature(..) | What::Search { .. })
        && matches!(sort.by, SortBy::Duration | SortBy::Cost);
    let mut found = match has_no_index {
        true => newest_sorted(conn, &fitting.what, sort, cursor, size + 1)?,
        false => sorted(conn, &fitting.what, sort, cursor, size + 1)?,
    };
    let more = found.len() > size;
    found.truncate(size);
    let cursor = |(value, key): &(Option<i64>, i64)| {
        Cursor { sort, value: *value, key: *key, as_beginnings }.to_string()
    };
    Ok(Page {
        total_count: fitting.total,
        total_is_at_least: fitting.at_least,
        sorted_among: Some(SORTED).filter(|most| has_no_index && (fitting.at_least || fitting.total > *most)),
        running_commands: running(&facets),
        next_cursor: found.last().filter(|_| more).map(cursor),
        experiments: all_listed(conn, found.into_iter().map(|(_, key)| key))?,
    })
}

/// Part after part, from the cursor's place on, each with what it is sorted by.
fn sorted(
    conn: &Connection,
    what: &What<'_>,
    sort: Sort,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Vec<(Option<i64>, i64)>, Trouble> {
    let mut all = Vec::new();
    let mut cursor = cursor;
    for part in parts(what, sort) {
        let mut after = start(part.descending);
        if let Some(place) = cursor {
            let reached = match part.value {
                Some(value) => value == place.value,
                None => place.value.is_some(),
            };
            if !reached {
                continue;
            }
            let value = if part.value.is_some() { 0 } else { place.value.unwrap_or(0) };
            after = (value, place.key);
            cursor = None;
        }
        let found = merged(conn, &part.stretches, part.by, part.descending, after, limit - all.len())?;
        all.extend(found.into_iter().map(|(value, key)| (part.value.unwrap_or(Some(value)), key)));
        if all.len() >= limit {
            break;
        }
    }
    Ok(all)
}

fn parts(what: &What<'_>, sort: Sort) -> Vec<Part> {
    let descending = sort.newest_first();
    let part = |by, value| Part { stretches: what.stretches(|_| true), by, descending, value };
    match sort.by {
        SortBy::Started => match what {
            What::All(_) => {
                vec![Part { stretches: vec![Stretch::All], by: By::Key, descending, value: Some(None) }]
            }
            _ => vec![part(By::Key, Some(None))],
        },
        SortBy::Duration => vec![part(By::Wall, None), part(By::NoWall, Some(None))],
        SortBy::Cost => vec![part(By::Cost, None)],
        SortBy::Severity | SortBy::Category => {
            let of = |(category, severity, _): (Category, Severity, Origin)| match sort.by {
                SortBy::Severity => severity_rank(severity),
                _ => category_rank(category),
            };
            let word = |value: Option<i64>| Part {
                stretches: match what {
                    What::Search { typed, as_beginnings, words } => {
                        let words = words.with(sort.by, value);
                        let expression = words.and_then(|words| expression(typed, *as_beginnings, &words));
                        expression.map(Stretch::Search).into_iter().collect()
                    }
                    _ => what.stretches(|facet| facet.verdict().map(of) == value),
                },
                by: By::Key,
                descending,
                value: Some(value),
            };
            sort.words_in_order().into_iter().map(word).collect()
        }
    }
}

impl What<'_> {
    fn stretches(&self, which: impl Fn(&Facet) -> bool) -> Vec<Stretch> {
        let words = |facet: &Facet| Stretch::Words(facet.words.clone());
        match self {
            What::Nothing => Vec::new(),
            What::All(facets) => facets.iter().filter(|facet| which(facet)).map(words).collect(),
            What::Facets(facets) => facets.iter().filter(|facet| which(facet)).map(|f| words(f)).collect(),
            What::Signature(id, facets) => {
                let facets = facets.iter().filter(|facet| which(facet));
                facets.map(|facet| Stretch::Signature(*id, facet.words.clone())).collect()
            }
            What::Search { typed, as_beginnings, words } => {
                expression(typed, *as_beginnings, words).map(Stretch::Search).into_iter().collect()
            }
        }
    }
}

/// Where no index is in the order that is asked for: of the newest.
fn newest_sorted(
    conn: &Connection,
    what: &What<'_>,
    sort: Sort,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Vec<(Option<i64>, i64)>, Trouble> {
    let by = if sort.by == SortBy::Duration { By::Wall } else { By::Cost };
    let mut all = Vec::new();
    for stretch in what.stretches(|_| true) {
        all.extend(stretch.newest(conn, by, SORTED as usize)?);
    }
    all.sort_unstable_by_key(|(_, key)| std::cmp::Reverse(*key));
    all.truncate(SORTED as usize);
    // what has no value is last, whichever way round
    let compare = |a: &(Option<i64>, i64), b: &(Option<i64>, i64)| {
        let order = (a.0, a.1).cmp(&(b.0, b.1));
        let order = if sort.descending { order.reverse() } else { order };
        a.0.is_none().cmp(&b.0.is_none()).then(order)
    };
    all.sort_unstable_by(compare);
    if let Some(cursor) = cursor {
        let place = (cursor.value, cursor.key);
        all.retain(|it| compare(it, &place).is_gt());
    }
    all.truncate(limit);
    Ok(all)
}

/// Only status, category, severity, origin: each combination that occurs is a stretch of one index, and its total is
/// known.
fn of_facets<'a>(query: &Query, facets: &'a [Facet]) -> Fitting<'a> {
    let fitting: Vec<_> = facets.iter().filter(|facet| facet.fits(query)).collect();
    let total = fitting.iter().map(|facet| facet.count).sum();
    let what = if fitting.len() == facets.len() { What::All(facets) } else { What::Facets(fitting) };
    Fitting { what, total, at_least: false }
}

/// Those of one signature. They nearly always share their other words too.
fn of_signature<'a>(conn: &Connection, query: &Query, signature: &str) -> Result<Fitting<'a>, Trouble> {
    let known = conn
        .prepare_cached("SELECT id, count FROM signatures WHERE signature = ?1")?
        .query_row([signature], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, count)) = known else {
        return Ok(Fitting { what: What::Nothing, total: 0, at_least: false });
    };
    let all = facets_of(conn, id)?;
    let every = all.len();
    let mut fitting: Vec<_> = all.into_iter().filter(|facet| facet.fits(query)).collect();
    if fitting.len() == every {
        return Ok(Fitting { what: What::Signature(id, fitting), total: count, at_least: false });
    }
    let mut total = 0;
    for facet in &mut fitting {
        let [status, category, severity, origin] = &facet.words;
        let sql = "SELECT count(*) FROM (SELECT 1 FROM experiments WHERE signature = ?1 AND status = ?2
                   AND category = ?3 AND severity = ?4 AND origin = ?5 LIMIT ?6)";
        total += conn
            .prepare_cached(sql)?
            .query_row(params![id, status, category, severity, origin, COUNTED + 1], |row| {
                row.get::<_, u64>(0)
            })?;
    }
    let what = What::Signature(id, fitting);
    Ok(Fitting { what, total: total.min(COUNTED), at_least: total > COUNTED })
}

/// The combinations of words that occur in one signature: from one to the next, without looking at what lies between.
fn facets_of(conn: &Connection, signature: i64) -> Result<Vec<Facet>, Trouble> {
    // the next with the same first three words; if there is none, with the same first two; and so on
    const NEXT: [&str; 4] = [
        "status = ?2 AND category = ?3 AND severity = ?4 AND origin > ?5",
        "status = ?2 AND category = ?3 AND severity > ?4 AND ?5 = ?5",
        "status = ?2 AND category > ?3 AND ?4 = ?4 AND ?5 = ?5",
        "status > ?2 AND ?3 = ?3 AND ?4 = ?4 AND ?5 = ?5",
    ];
    let mut all: Vec<Facet> = Vec::new();
    let mut last = [const { Cow::Borrowed("") }; 4];
    loop {
        let mut next: Option<Facet> = None;
        for filter in NEXT {
            let sql = format!(
                "SELECT status, category, severity, origin FROM experiments WHERE signature = ?1 AND {filter}
                 ORDER BY status, category, severity, origin LIMIT 1"
            );
            let [status, category, severity, origin] = &last;
            next = conn
                .prepare_cached(&sql)?
                .query_row(params![signature, status, category, severity, origin], |row| {
                    Facet::read(row, [0, 1, 2, 3], 0)
                })
                .optional()?;
            if next.is_some() {
                break;
            }
        }
        let Some(next) = next else { return Ok(all) };
        last = next.words.clone();
        all.push(next);
    }
}

/// Does any experiment, whatever the filters, have all of these as whole words?
fn occur(conn: &Connection, typed: &str) -> Result<bool, Trouble> {
    let Some(expression) = expression(typed, false, &Words::default()) else { return Ok(false) };
    let mut statement = conn.prepare_cached("SELECT rowid FROM search WHERE search MATCH ?1 LIMIT 1")?;
    Ok(statement.exists([expression])?)
}

/// Those in which words occur, filters included: answered by the word index alone, which is in the list's order.
fn searched<'a>(
    conn: &Connection,
    query: &Query,
    typed: &'a str,
    as_beginnings: bool,
) -> Result<Fitting<'a>, Trouble> {
    let words = Words {
        status: query.status,
        category: query.category,
        severity: query.severity,
        origin: query.origin,
        signature: query.signature.clone(),
        ..Words::default()
    };
    let Some(expression) = expression(typed, as_beginnings, &words) else {
        return Ok(Fitting { what: What::Nothing, total: 0, at_least: false });
    };
    let total: u64 = conn
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM search WHERE search MATCH ?1 LIMIT ?2)")?
        .query_row(params![expression, COUNTED + 1], |row| row.get(0))?;
    let what = What::Search { typed, as_beginnings, words };
    Ok(Fitting { what, total: total.min(COUNTED), at_least: total > COUNTED })
}

/// One experiment as the list shows it.
pub(super) fn listed(conn: &Connection, key: i64) -> Result<Listed, Trouble> {
    all_listed(conn, [key])?.pop().ok_or_else(|| rusqlite::Error::QueryReturnedNoRows.into())
}

/// What the search remembers of an experiment that is not there (of a file that was mended, say) costs nobody the rest.
fn all_listed(conn: &Connection, keys: impl IntoIterator<Item = i64>) -> Result<Vec<Listed>, Trouble> {
    let mut statement = conn.prepare_cached(
            "SELECT e.key, e.number, e.name, e.attempt, e.status, e.type, e.command, e.wall_us, e.peak_memory, e.log,
                    e.category, e.severity, e.origin, s.signature,
                    d.root_cause, d.fix_suggestion, d.confidence, d.retryable, d.rule, e.nanodollars
             FROM experiments e LEFT JOIN diagnoses d ON d.key = e.key LEFT JOIN signatures s ON s.id = e.signature
             WHERE e.key = ?1",
    )?;
    let mut one = |key| {
        let found = statement.query_row([key], |row| {
            let verdict = Facet::read(row, [4, 10, 11, 12], 1)?;
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
                dollars: row.get::<_, i64>(19)? as f64 / NANO,
                log: row.get::<_, Option<[u8; 32]>>(9)?.map(LogId::from_bytes),
                analysis,
            })
        });
        found.optional().transpose()
    };
    Ok(keys.into_iter().filter_map(&mut one).collect::<Result<_, _>>()?)
}
