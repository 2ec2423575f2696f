//! What failures cost: read from sums that triggers keep for all time, for each day and for each hour, so that an answer
//! takes as long as there are causes in it, however many experiments there are.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use coroner_diagnosis::Origin;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::candidates::NANO;
use super::experiments::{first_key, moment};
use super::runs::number;
use super::{Trouble, list, related};
use crate::cost::Span;
use crate::{COUNTED, Costs, PolicyRefusals, Scope, SignatureCost, Status, Taken, TopQuery, Within};

/// So many of the newest failures of a cause are looked at for what got past it.
const RECENT: usize = 5;
const HOUR_MS: i64 = 3_600_000;

/// The stretches of `losses` and `sums` that a window is made of: hours, first and end.
type Stretches = Vec<(i64, i64, i64)>;

fn scope_of(within: &Within) -> String {
    match &within.scope {
        Scope::All => String::new(),
        Scope::Type(name) => format!("type:{name}"),
        Scope::Run(id) => format!("run:{id}"),
    }
}

/// Whole days, and the hours before the first and after the last of them.
fn stretches(within: &Within) -> Stretches {
    let Some(span) = Span::of(within) else { return vec![(0, 0, 1)] };
    let (first_day, last_day) = ((span.from + 23) / 24, span.to / 24);
    match first_day < last_day {
        true => {
            vec![(1, span.from, first_day * 24), (24, first_day, last_day), (1, last_day * 24, span.to)]
        }
        false => vec![(1, span.from, span.to)],
    }
}

fn taken(row: &Row<'_>, first: usize) -> rusqlite::Result<Taken> {
    let micros = |column| row.get::<_, i64>(column).map(|us| Duration::from_micros(us.max(0) as u64));
    Ok(Taken {
        experiments: row.get(first)?,
        wall: micros(first + 1)?,
        cpu: micros(first + 2)?,
        dollars: row.get::<_, i64>(first + 3)? as f64 / NANO,
    })
}

fn word<T: FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    Ok(row.get_ref(column)?.as_str()?.parse().ok())
}

pub(super) fn costs(conn: &Connection, within: &Within) -> Result<Costs, Trouble> {
    let mut costs = amounts(conn, within)?;
    costs.signatures = causes(conn, within)?;
    Ok(costs)
}

/// All but how many causes there were.
pub(super) fn amounts(conn: &Connection, within: &Within) -> Result<Costs, Trouble> {
    let mut costs = Costs::over(within);
    let mut statement = conn.prepare_cached(
        "SELECT status, category, origin, count, wall_us, cpu_us, nanodollars FROM sums
         WHERE scope = ?1 AND hours = ?2 AND start >= ?3 AND start < ?4",
    )?;
    let scope = scope_of(within);
    for (hours, from, to) in stretches(within) {
        let mut rows = statement.query(params![scope, hours, from, to])?;
        while let Some(row) = rows.next()? {
            // a word of a later release: it has an end of some kind
            let status = word(row, 0)?.unwrap_or(Status::Lost);
            costs.add(status, word(row, 1)?, word(row, 2)?, &taken(row, 3)?);
        }
    }
    Ok(costs)
}

/// How many causes failures had.
fn causes(conn: &Connection, within: &Within) -> Result<u64, Trouble> {
    let mut causes: Vec<i64> = Vec::new();
    let mut statement = conn.prepare_cached(
        "SELECT signature, status FROM losses
         WHERE scope = ?1 AND hours = ?2 AND start >= ?3 AND start < ?4 AND signature <> 0",
    )?;
    let scope = scope_of(within);
    for (hours, from, to) in stretches(within) {
        let mut rows = statement.query(params![scope, hours, from, to])?;
        while let Some(row) = rows.next()? {
            if word(row, 1)?.unwrap_or(Status::Lost).failed() {
                causes.push(row.get(0)?);
            }
        }
    }
    causes.sort_unstable();
    causes.dedup();
    Ok(causes.len() as u64)
}

pub(super) fn top(conn: &Connection, query: &TopQuery) -> Result<Vec<SignatureCost>, Trouble> {
    let mut causes: HashMap<(i64, Origin), Taken> = HashMap::new();
    let mut statement = conn.prepare_cached(
        "SELECT signature, status, origin, count, wall_us, cpu_us, nanodollars FROM losses
         WHERE scope = ?1 AND hours = ?2 AND start >= ?3 AND start < ?4 AND signature <> 0",
    )?;
    let scope = scope_of(&query.within);
    for (hours, from, to) in stretches(&query.within) {
        let mut rows = statement.query(params![scope, hours, from, to])?;
        while let Some(row) = rows.next()? {
            let counts = word(row, 1)?.is_none_or(|status| query.counts(status));
            if let Some(origin) = word::<Origin>(row, 2)?.filter(|_| counts)
                && query.origin.is_none_or(|wanted| wanted == origin)
            {
                causes.entry((row.get(0)?, origin)).or_default().add(&taken(row, 3)?);
            }
        }
    }
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by(|((a, _), x), ((b, _), y)| query.order.compare(x, y).then(b.cmp(a)));
    let mut top = Vec::new();
    for ((signature, origin), taken) in causes.into_iter().take(query.limit) {
        top.extend(cause(conn, query, signature, origin, taken)?);
    }
    Ok(top)
}

/// What is known of one signature, in this window, by its newest failures.
fn cause(
    conn: &Connection,
    query: &TopQuery,
    signature: i64,
    origin: Origin,
    taken: Taken,
) -> Result<Option<SignatureCost>, Trouble> {
    let (kind, run) = match &query.within.scope {
        Scope::All => (None, None),
        Scope::Type(name) => (Some(name.as_str()), None),
        Scope::Run(id) => (None, Some(number(*id))),
    };
    let of_scope = match query.within.scope {
        Scope::All => "?5 IS NULL AND ?6 IS NULL",
        Scope::Type(_) => "type = ?5 AND ?6 IS NULL",
        Scope::Run(_) => "run = ?6 AND ?5 IS NULL",
    };
    let before = Span::of(&query.within).map_or(i64::MAX, |span| {
        first_key(Timestamp::from_millisecond(span.to.saturating_mul(HOUR_MS)).unwrap_or(Timestamp::MAX))
    });
    let newest = conn
        .prepare_cached(&format!(
            "SELECT key FROM experiments WHERE signature = ?1 AND key < ?2 AND origin = ?3
               AND status NOT IN ('running', 'passed', 'adopted') AND (?4 OR status <> 'rejected')
               AND {of_scope} ORDER BY key DESC LIMIT ?7"
        ))?
        .query_map(
            params![signature, before, origin.as_str(), !query.failures_only, kind, run, RECENT],
            |row| row.get(0),
        )?
        .collect::<Result<Vec<i64>, _>>()?;
    let Some(last) = newest.first() else { return Ok(None) };
    let mut fixed_by = None;
    for key in &newest {
        if fixed_by.is_none() {
            fixed_by = related::passed_after(conn, *key)?;
        }
    }
    let last = list::listed(conn, *last)?;
    Ok(SignatureCost::of(last, taken, fixed_by))
}

/// The policy's rules by how many candidates they refused, the most first.
pub(super) fn refusals(conn: &Connection, since: Option<Timestamp>) -> Result<Vec<PolicyRefusals>, Trouble> {
    let since = since.map_or(0, first_key);
    let mut all = Vec::new();
    let mut rule = String::new();
    loop {
        // from one rule to the next, without looking at what lies between
        let next: Option<String> = conn
            .prepare_cached("SELECT rule FROM refusals WHERE rule > ?1 ORDER BY rule LIMIT 1")?
            .query_row([&rule], |row| row.get(0))
            .optional()?;
        let Some(next) = next else { break };
        rule = next;
        let (candidates, last): (u64, Option<i64>) = conn
            .prepare_cached(
                "SELECT count(*), max(key) FROM
                   (SELECT key FROM refusals WHERE rule = ?1 AND key >= ?2 ORDER BY key DESC LIMIT ?3)",
            )?
            .query_row(params![rule, since, COUNTED], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if let Some(last) = last {
            all.push(PolicyRefusals { rule: rule.clone(), candidates, last_at: moment(last) });
        }
    }
    all.sort_by(|a, b| b.candidates.cmp(&a.candidates).then_with(|| a.rule.cmp(&b.rule)));
    Ok(all)
}
