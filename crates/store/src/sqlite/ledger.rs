//! For the model: what it answered before, and what it cost.

use coroner_diagnosis::Reply;
use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension, params};

use super::Trouble;
use crate::Spent;

const NANO: f64 = 1e9;

/// A reply that this release can't read is none: it will be asked for again.
pub(super) fn cached_reply(conn: &Connection, key: &str) -> Result<Option<Reply>, Trouble> {
    let reply: Option<String> = conn
        .prepare_cached("SELECT reply FROM replies WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    Ok(reply.and_then(|json| serde_json::from_str(&json).ok()))
}

pub(super) fn forget_reply(conn: &Connection, key: &str) -> Result<(), Trouble> {
    conn.prepare_cached("DELETE FROM replies WHERE key = ?1")?.execute([key])?;
    Ok(())
}

pub(super) fn remember_reply(
    conn: &Connection,
    key: &str,
    reply: &Reply,
    now: Timestamp,
) -> Result<(), Trouble> {
    let json = serde_json::to_string(reply).unwrap_or_default();
    conn.prepare_cached("INSERT OR REPLACE INTO replies (key, reply, kept_at) VALUES (?1, ?2, ?3)")?
        .execute(params![key, json, now.as_millisecond()])?;
    Ok(())
}

pub(super) fn spent(conn: &Connection, day: Date) -> Result<Spent, Trouble> {
    let spent = conn
        .prepare_cached("SELECT calls, nanodollars FROM spending WHERE day = ?1")?
        .query_row([day.to_string()], |row| {
            Ok(Spent { calls: row.get(0)?, dollars: row.get::<_, i64>(1)? as f64 / NANO })
        })
        .optional()?;
    Ok(spent.unwrap_or_default())
}

/// What was spent from this day on, up to and with another.
pub(super) fn spent_within(conn: &Connection, from: Date, to: Date) -> Result<Spent, Trouble> {
    let sql =
        "SELECT ifnull(sum(calls), 0), ifnull(sum(nanodollars), 0) FROM spending WHERE day BETWEEN ?1 AND ?2";
    let spent = conn.prepare_cached(sql)?.query_row([from.to_string(), to.to_string()], |row| {
        Ok(Spent { calls: row.get(0)?, dollars: row.get::<_, i64>(1)? as f64 / NANO })
    })?;
    Ok(spent)
}

pub(super) fn record_spend(conn: &Connection, day: Date, spent: Spent) -> Result<(), Trouble> {
    conn.prepare_cached(
        "INSERT INTO spending (day, calls, nanodollars) VALUES (?1, ?2, ?3)
         ON CONFLICT (day) DO UPDATE SET calls = calls + excluded.calls,
           nanodollars = nanodollars + excluded.nanodollars",
    )?
    .execute(params![
        day.to_string(),
        spent.calls,
        // whole numbers, so that a million small sums add up exactly
        (spent.dollars * NANO).round() as i64
    ])?;
    Ok(())
}
