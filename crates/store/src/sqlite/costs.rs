//! What failures cost: read from sums that triggers keep for all time, for each day and for each hour, so that an answer
//! takes as long as there are causes in it, however many experiments there are.

use std::collections::BTreeMap;
use std::time::Duration;

use coroner_diagnosis::{Category, Origin};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::candidates::NANO;
use super::experiments::{first_key, moment};
use super::runs::number;
use super::{Trouble, list, related};
use crate::cost::Span;
use crate::{COUNTED, Costs, PolicyRefusals, Scope, SignatureCost, Status, Taken, TopQuery, Within};

/// So many of the newest failures of a cause are looked at for what got past it.
const RECENT: usize = 5;
const HOUR_MS: i64 = 3_600_000;

/// One sum: experiments of the same cause, judged alike, that ended alike.
struct Row {
    /// 0 without a diagnosis.
    signature: i64,
    status: Option<Status>,
    category: Option<Category>,
    origin: Option<Origin>,
    taken: Taken,
}

fn rows(conn: &Connection, within: &Within) -> Result<Vec<Row>, Trouble> {
    let scope = match &within.scope {
        Scope::All => String::new(),
        Scope::Type(name) => format!("type:{name}"),
        Scope::Run(id) => format!("run:{id}"),
    };
    // whole days, and the hours before the first and after the last of them
    let spans = match Span::of(within) {
        None => vec![(0, 0, 1)],
        Some(span) => {
            let (first_day, last_day) = ((span.from + 23) / 24, span.to / 24);
            match first_day < last_day {
                true => {
                    vec![
                        (1, span.from, first_day * 24),
                        (24, first_day, last_day),
                        (1, last_day * 24, span.to),
                    ]
                }
                false => vec![(1, span.from, span.to)],
            }
        }
    };
    let mut statement = conn.prepare_cached(
        "SELECT signature, status, category, origin, count, wall_us, cpu_us, nanodollars FROM losses
         WHERE scope = ?1 AND hours = ?2 AND start >= ?3 AND start < ?4",
    )?;
    let mut all = Vec::new();
    for (hours, from, to) in spans {
        let mut found = statement.query(params![scope, hours, from, to])?;
        while let Some(row) = found.next()? {
            let word = |column| row.get_ref(column).and_then(|value| Ok(value.as_str()?));
            let micros = |column| row.get::<_, i64>(column).map(|us| Duration::from_micros(us.max(0) as u64));
            all.push(Row {
                signature: row.get(0)?,
                status: word(1)?.parse().ok(),
                category: word(2)?.parse().ok(),
                origin: word(3)?.parse().ok(),
                taken: Taken {
                    experiments: row.get(4)?,
                    wall: micros(5)?,
                    cpu: micros(6)?,
                    dollars: row.get::<_, i64>(7)? as f64 / NANO,
                },
            });
        }
    }
    Ok(all)
}

pub(super) fn costs(conn: &Connection, within: &Within) -> Result<Costs, Trouble> {
    let mut costs = Costs::over(within);
    let mut causes: Vec<i64> = Vec::new();
    for row in rows(conn, within)? {
        // a word of a later release: it has an end of some kind
        let status = row.status.unwrap_or(Status::Lost);
        if costs.add(status, row.category, row.origin, &row.taken) && row.signature != 0 {
            causes.push(row.signature);
        }
    }
    causes.sort_unstable();
    causes.dedup();
    costs.signatures = causes.len() as u64;
    Ok(costs)
}

pub(super) fn top(conn: &Connection, query: &TopQuery) -> Result<Vec<SignatureCost>, Trouble> {
    let mut causes: BTreeMap<(i64, Origin), Taken> = BTreeMap::new();
    for row in rows(conn, &query.within)? {
        let counts = row.status.is_none_or(|status| query.counts(status));
        if let Some(origin) = row.origin.filter(|_| row.signature != 0 && counts)
            && query.origin.is_none_or(|wanted| wanted == origin)
        {
            causes.entry((row.signature, origin)).or_default().add(&row.taken);
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
    Ok(last.analysis.map(|analysis| SignatureCost {
        signature: analysis.signature,
        category: analysis.category,
        severity: analysis.severity,
        origin: analysis.origin,
        root_cause: analysis.root_cause,
        fix_suggestion: analysis.fix_suggestion,
        last_number: last.id.number(),
        last: last.id,
        last_at: last.started_at,
        taken,
        fixed_by: fixed_by.map(Into::into),
    }))
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
