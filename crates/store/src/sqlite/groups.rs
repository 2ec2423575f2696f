//! Groups of failures: pages of them by an index, what they cost, what people decided, and which belong together.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::experiments::moment;
use super::{Trouble, list, related};
use crate::group::part_named;
use crate::{Decision, Error, Group, GroupOrder, GroupPage, GroupQuery, GroupState, TREND_DAYS};

/// So many signatures of one group are counted in its trend and cost; more were never joined by hand.
const MEMBERS: usize = 50;
/// So many failures are moved in one commit.
const STEP: usize = 500;

pub(super) fn page(conn: &Connection, query: &GroupQuery, now: Timestamp) -> Result<GroupPage, Trouble> {
    let (value, id) = query.after()?;
    let size = query.page_size();
    let states = match &query.state {
        Some(state) => std::slice::from_ref(state),
        None => &GroupState::ALL,
    };
    let sql = match query.order {
        GroupOrder::Latest => {
            "SELECT last_key, id FROM groups WHERE lead IS NULL AND state = ?1 AND last_key < ?2 AND ?3 = ?3
             ORDER BY last_key DESC LIMIT ?4"
        }
        GroupOrder::Largest => {
            "SELECT count, id FROM groups WHERE lead IS NULL AND state = ?1 AND (count, id) < (?2, ?3)
             ORDER BY count DESC, id DESC LIMIT ?4"
        }
        GroupOrder::Newest => {
            "SELECT first_seen, id FROM groups WHERE lead IS NULL AND state = ?1 AND (first_seen, id) < (?2, ?3)
             ORDER BY first_seen DESC, id DESC LIMIT ?4"
        }
    };
    // each state is a stretch of one index; the first of all are among the first of each
    let mut found: Vec<(i64, i64)> = Vec::new();
    for state in states {
        let mut statement = conn.prepare_cached(sql)?;
        let rows = statement
            .query_map(params![state.as_str(), value, id, size + 1], |row| Ok((row.get(0)?, row.get(1)?)))?;
        found.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    let more = found.len() > size;
    found.truncate(size);
    let next_cursor = found.last().filter(|_| more).map(|(value, id)| format!("g1.{value:x}.{id:x}"));
    let groups = found.into_iter().map(|(_, id)| group(conn, id, now, false)).collect::<Result<_, _>>()?;
    Ok(GroupPage { groups, next_cursor })
}

/// The group that this signature belongs to.
pub(super) fn find(conn: &Connection, signature: &str, now: Timestamp) -> Result<Option<Group>, Trouble> {
    lead_of(conn, signature)?.map(|id| group(conn, id, now, true)).transpose()
}

fn lead_of(conn: &Connection, signature: &str) -> Result<Option<i64>, Trouble> {
    let sql = "SELECT ifnull(lead, g.id) FROM signatures s JOIN groups g ON g.id = s.id WHERE signature = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([signature], |row| row.get(0)).optional()?)
}

pub(super) fn known(conn: &Connection, signature: &str) -> Result<i64, Trouble> {
    let sql = "SELECT id FROM signatures WHERE signature = ?1";
    let found = conn.prepare_cached(sql)?.query_row([signature], |row| row.get(0)).optional()?;
    Ok(found.ok_or_else(|| Error::NoGroup { signature: signature.chars().take(80).collect() })?)
}

/// The signatures of a group, its own first.
fn members(conn: &Connection, id: i64) -> Result<Vec<i64>, Trouble> {
    let mut all = vec![id];
    let mut statement = conn.prepare_cached("SELECT id FROM groups WHERE lead = ?1 ORDER BY id LIMIT ?2")?;
    let rows = statement.query_map(params![id, MEMBERS], |row| row.get(0))?;
    all.extend(rows.collect::<Result<Vec<i64>, _>>()?);
    Ok(all)
}

fn group(conn: &Connection, id: i64, now: Timestamp, whole: bool) -> Result<Group, Trouble> {
    let time = |ms: Option<i64>| ms.map(|ms| Timestamp::from_millisecond(ms).unwrap_or_default());
    let mut group = conn
        .prepare_cached(
            "SELECT s.signature, g.state, g.muted_until, g.assignee, g.decided_by, g.decided_at, g.reopened_at,
                    g.first_seen, g.last_key, g.count
             FROM groups g JOIN signatures s ON s.id = g.id WHERE g.id = ?1",
        )?
        .query_row([id], |row| {
            Ok(Group {
                signature: row.get(0)?,
                members: Vec::new(),
                state: row.get::<_, String>(1)?.parse().unwrap_or(GroupState::Open),
                muted_until: time(row.get(2)?),
                assignee: row.get(3)?,
                decided_by: row.get(4)?,
                decided_at: time(row.get(5)?),
                reopened_at: time(row.get(6)?),
                first_seen: Timestamp::from_millisecond(row.get(7)?).unwrap_or_default(),
                last_seen: moment(row.get(8)?),
                count: row.get::<_, i64>(9)?.max(0).unsigned_abs(),
                wall: Duration::ZERO,
                dollars: 0.0,
                trend: vec![0; TREND_DAYS],
                latest: None,
                passed_after: None,
            })
        })?;
    let members = members(conn, id)?;
    for member in members.iter().skip(1) {
        let sql = "SELECT signature FROM signatures WHERE id = ?1";
        group.members.push(conn.prepare_cached(sql)?.query_row([member], |row| row.get(0))?);
    }
    let mut newest = None;
    for member in members {
        let sums = conn
            .prepare_cached("SELECT wall_us, nanodollars FROM daily WHERE signature = ?1 AND day = -1")?
            .query_row([member], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        let (wall, nanodollars) = sums.unwrap_or_default();
        group.wall += Duration::from_micros(wall.max(0).unsigned_abs());
        group.dollars += nanodollars as f64 / 1e9;
        add_trend(conn, member, now, &mut group.trend)?;
        let sql = "SELECT max(key) FROM experiments WHERE signature = ?1";
        newest =
            newest.max(conn.prepare_cached(sql)?.query_row([member], |row| row.get::<_, Option<i64>>(0))?);
    }
    if let Some(key) = newest {
        group.latest = Some(list::listed(conn, key)?);
    }
    if whole {
        group.passed_after = related::signature(conn, &group.signature)?.and_then(|stats| stats.passed_after);
    }
    Ok(group)
}

/// How often a signature failed on each of the last days, today last.
fn add_trend(conn: &Connection, id: i64, now: Timestamp, trend: &mut [u64]) -> Result<(), Trouble> {
    let today = now.as_millisecond().div_euclid(86_400_000);
    let first = today - (trend.len() as i64 - 1);
    let mut statement =
        conn.prepare_cached("SELECT day, count FROM daily WHERE signature = ?1 AND day >= ?2 AND day <= ?3")?;
    let mut rows = statement.query([id, first.max(0), today])?;
    while let Some(row) = rows.next()? {
        let day: i64 = row.get(0)?;
        if let Some(count) = usize::try_from(day - first).ok().and_then(|day| trend.get_mut(day)) {
            *count += row.get::<_, i64>(1)?.max(0).unsigned_abs();
        }
    }
    Ok(())
}

/// The same of the whole group that a signature belongs to.
pub(super) fn trend_of(conn: &Connection, signature: &str, now: Timestamp) -> Result<Vec<u64>, Trouble> {
    let mut trend = vec![0; TREND_DAYS];
    if let Some(lead) = lead_of(conn, signature)? {
        for member in members(conn, lead)? {
            add_trend(conn, member, now, &mut trend)?;
        }
    }
    Ok(trend)
}

pub(super) fn decide(
    conn: &Connection,
    signature: &str,
    decision: &Decision,
    by: &str,
    now: Timestamp,
) -> Result<(), Trouble> {
    known(conn, signature)?;
    let Some(id) = lead_of(conn, signature)? else { return Ok(()) };
    let (state, until) = match decision {
        Decision::Assign(to) => {
            conn.prepare_cached("UPDATE groups SET assignee = ?2 WHERE id = ?1")?.execute(params![id, to])?;
            return Ok(());
        }
        Decision::Mute(until) => (GroupState::Muted, until.map(Timestamp::as_millisecond)),
        Decision::Resolve => (GroupState::Resolved, None),
        Decision::Open => (GroupState::Open, None),
    };
    conn.prepare_cached(
        "UPDATE groups SET state = ?2, muted_until = ?3, decided_by = ?4, decided_at = ?5, reopened_at = NULL
         WHERE id = ?1",
    )?
    .execute(params![id, state.as_str(), until, by, now.as_millisecond()])?;
    Ok(())
}

/// Makes a signature, and those that follow it, follow another.
pub(super) fn join(conn: &Connection, signature: &str, lead: &str) -> Result<(), Trouble> {
    let (id, wanted) = (known(conn, signature)?, known(conn, lead)?);
    let (Some(from), Some(to)) = (lead_of(conn, signature)?, lead_of(conn, lead)?) else { return Ok(()) };
    if from == to {
        return Ok(());
    }
    debug_assert!(id != wanted);
    conn.prepare_cached(
        "UPDATE groups SET (count, first_seen, last_key) = (SELECT groups.count + o.count,
           min(groups.first_seen, o.first_seen), max(groups.last_key, o.last_key) FROM groups o WHERE o.id = ?2)
         WHERE id = ?1",
    )?
    .execute([to, from])?;
    conn.prepare_cached("UPDATE groups SET lead = ?1 WHERE lead = ?2")?.execute([to, from])?;
    conn.prepare_cached("UPDATE groups SET lead = ?1, count = 0 WHERE id = ?2")?.execute([to, from])?;
    Ok(())
}

/// Makes a signature lead itself again.
pub(super) fn part(conn: &Connection, signature: &str) -> Result<(), Trouble> {
    let id = known(conn, signature)?;
    let sql = "SELECT lead FROM groups WHERE id = ?1";
    let lead: Option<i64> = conn.prepare_cached(sql)?.query_row([id], |row| row.get(0)).optional()?.flatten();
    let Some(lead) = lead else { return Ok(()) };
    let sql = "SELECT count FROM signatures WHERE id = ?1";
    let own: i64 = conn.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
    conn.prepare_cached("UPDATE groups SET count = count - ?2 WHERE id = ?1")?.execute([lead, own])?;
    conn.prepare_cached("UPDATE groups SET lead = NULL, count = ?2 WHERE id = ?1")?.execute([id, own])?;
    // both were seen last when one of theirs was
    for (group, of) in [(id, vec![id]), (lead, members(conn, lead)?)] {
        let mut latest = None;
        for member in of {
            let sql = "SELECT max(key) FROM experiments WHERE signature = ?1";
            let key: Option<i64> = conn.prepare_cached(sql)?.query_row([member], |row| row.get(0))?;
            latest = latest.max(key);
        }
        if let Some(key) = latest {
            let sql = "UPDATE groups SET last_key = ?2 WHERE id = ?1";
            conn.prepare_cached(sql)?.execute([group, key])?;
        }
    }
    Ok(())
}

/// Says that failures of a signature whose cause holds these words are of another.
pub(super) fn split(
    conn: &Connection,
    signature: &str,
    words: &str,
    by: &str,
    now: Timestamp,
) -> Result<String, Trouble> {
    let id = known(conn, signature)?;
    let part = part_named(signature, &words.to_lowercase());
    conn.prepare_cached("INSERT OR IGNORE INTO splits VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        id,
        words.to_lowercase(),
        part,
        by,
        now.as_millisecond()
    ])?;
    Ok(part)
}

/// The signature that a failure has once splits are looked at; `None` if it stays.
pub(super) fn part_of(conn: &Connection, signature: &str, cause: &str) -> Result<Option<String>, Trouble> {
    let mut statement = conn.prepare_cached(
        "SELECT part FROM splits WHERE signature = (SELECT id FROM signatures WHERE signature = ?1)
         AND instr(?2, words) > 0 LIMIT 1",
    )?;
    Ok(statement.query_row([signature, &cause.to_lowercase()], |row| row.get(0)).optional()?)
}

/// Failures of a signature that a split has not reached yet, as many as go into one commit.
pub(super) fn to_split(conn: &Connection, signature: &str) -> Result<Vec<i64>, Trouble> {
    let id = known(conn, signature)?;
    let mut statement = conn.prepare_cached(
        "SELECT e.key FROM experiments e JOIN diagnoses d ON d.key = e.key WHERE e.signature = ?1
         AND EXISTS (SELECT 1 FROM splits s WHERE s.signature = ?1 AND instr(lower(d.root_cause), s.words) > 0)
         LIMIT ?2",
    )?;
    Ok(statement.query_map(params![id, STEP], |row| row.get(0))?.collect::<Result<_, _>>()?)
}
