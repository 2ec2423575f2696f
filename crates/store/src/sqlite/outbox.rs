//! Messages on their way: taken by one sender at a time, and settled only by whoever has taken them.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Trouble;
use crate::{ChannelDeliveries, MessageState, NewMessage, OutboxMessage, Tried};

const COLUMNS: &str =
    "id, delivery, channel, incident, content, state, attempts, created_at, due_at, settled_at, error";

/// What was sent or given up is kept for so long, and so is what nobody could send: its channel is configured nowhere
/// any more.
pub(super) const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// So many events wait at most once nobody looks at them any more.
const EVENTS: i64 = 100_000;

pub(super) fn add(conn: &Connection, message: &NewMessage) -> Result<(), Trouble> {
    conn.prepare_cached(
        "INSERT INTO outbox (delivery, channel, incident, content, state, attempts, created_at, due_at)
         VALUES (?1, ?2, ?3, ?4, 'waiting', 0, ?5, ?5)",
    )?
    .execute(params![
        message.delivery,
        message.channel,
        message.incident,
        message.content,
        message.at.as_millisecond(),
    ])?;
    Ok(())
}

pub(super) fn keep(conn: &Connection, message: &NewMessage, error: Option<&str>) -> Result<(), Trouble> {
    let state = if error.is_some() { MessageState::Failed } else { MessageState::Sent };
    conn.prepare_cached(
        "INSERT INTO outbox (delivery, channel, incident, content, state, attempts, created_at, due_at, settled_at,
         error) VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?6, ?6, ?7)",
    )?
    .execute(params![
        message.delivery,
        message.channel,
        message.incident,
        message.content,
        state.as_str(),
        message.at.as_millisecond(),
        error,
    ])?;
    Ok(())
}

pub(super) fn due(conn: &Connection, channel: &str, now: Timestamp) -> Result<Option<i64>, Trouble> {
    let sql = "SELECT id FROM outbox WHERE state = 'waiting' AND channel = ?1 AND due_at <= ?2
               ORDER BY due_at LIMIT 1";
    Ok(conn
        .prepare_cached(sql)?
        .query_row(params![channel, now.as_millisecond()], |row| row.get(0))
        .optional()?)
}

pub(super) fn claim(
    conn: &Connection,
    channel: &str,
    by: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<Option<OutboxMessage>, Trouble> {
    let Some(id) = due(conn, channel, now)? else { return Ok(None) };
    conn.prepare_cached(
        "UPDATE outbox SET taken_by = ?2, due_at = ?3, attempts = attempts + 1 WHERE id = ?1",
    )?
    .execute(params![id, by, until.as_millisecond()])?;
    let sql = format!("SELECT {COLUMNS} FROM outbox WHERE id = ?1");
    Ok(Some(conn.prepare_cached(&sql)?.query_row([id], message)?))
}

pub(super) fn taken(conn: &Connection) -> Result<Vec<(i64, String)>, Trouble> {
    let sql = "SELECT id, taken_by FROM outbox WHERE taken_by IS NOT NULL AND id > 0 ORDER BY id LIMIT 1000";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn settle(
    conn: &Connection,
    id: i64,
    by: &str,
    tried: &Tried,
    now: Timestamp,
) -> Result<bool, Trouble> {
    let now = now.as_millisecond();
    let (state, due, settled, error) = match tried {
        Tried::Sent => (MessageState::Sent, now, Some(now), None),
        Tried::Again(why, at) => (MessageState::Waiting, at.as_millisecond(), None, Some(why)),
        Tried::Failed(why) => (MessageState::Failed, now, Some(now), Some(why)),
    };
    let changed = conn
        .prepare_cached(
            "UPDATE outbox SET state = ?3, due_at = ?4, settled_at = ?5, error = ?6, taken_by = NULL
             WHERE id = ?1 AND taken_by = ?2 AND state = 'waiting'",
        )?
        .execute(params![id, by, state.as_str(), due, settled, error])?;
    Ok(changed > 0)
}

pub(super) fn list(
    conn: &Connection,
    state: Option<MessageState>,
    limit: usize,
) -> Result<Vec<OutboxMessage>, Trouble> {
    let sql = match state {
        Some(_) => format!("SELECT {COLUMNS} FROM outbox WHERE state = ?1 ORDER BY id DESC LIMIT ?2"),
        None => format!("SELECT {COLUMNS} FROM outbox WHERE ?1 IS NULL AND id > 0 ORDER BY id DESC LIMIT ?2"),
    };
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(params![state.map(MessageState::as_str), limit], message)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn deliveries(conn: &Connection, channel: &str) -> Result<ChannelDeliveries, Trouble> {
    let count = |state: MessageState| {
        conn.prepare_cached("SELECT count(*) FROM outbox WHERE channel = ?1 AND state = ?2")?
            .query_row([channel, state.as_str()], |row| row.get(0))
    };
    let latest = |state: MessageState, sql: &str| {
        conn.prepare_cached(sql)?
            .query_row([channel, state.as_str()], |row| {
                Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<String>>(1)?))
            })
            .optional()
    };
    const SETTLED: &str = "SELECT settled_at, error FROM outbox WHERE channel = ?1 AND state = ?2
                           ORDER BY settled_at DESC LIMIT 1";
    // the order of the index: of those that wait, the one that was tried last is due last
    const WAITING: &str =
        "SELECT due_at, error FROM outbox WHERE channel = ?1 AND state = ?2 AND state = 'waiting'
                           AND error IS NOT NULL ORDER BY due_at DESC LIMIT 1";
    let sent = latest(MessageState::Sent, SETTLED)?.and_then(|(at, _)| at);
    let failed = latest(MessageState::Failed, SETTLED)?;
    let waiting = latest(MessageState::Waiting, WAITING)?.and_then(|(_, error)| error);
    let failed = failed.filter(|(at, _)| *at >= sent).and_then(|(_, error)| error);
    Ok(ChannelDeliveries {
        channel: channel.to_owned(),
        waiting: count(MessageState::Waiting)?,
        failed: count(MessageState::Failed)?,
        last_sent: sent.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        last_error: waiting.or(failed),
    })
}

pub(super) fn retry(conn: &Connection, id: Option<i64>, now: Timestamp) -> Result<u64, Trouble> {
    let ids: Vec<i64> = match id {
        Some(id) => vec![id],
        None => {
            let mut statement = conn.prepare_cached("SELECT id FROM outbox WHERE state = ?1")?;
            let mut all = Vec::new();
            for state in [MessageState::Waiting, MessageState::Failed] {
                let rows = statement.query_map([state.as_str()], |row| row.get(0))?;
                all.extend(rows.collect::<Result<Vec<i64>, _>>()?);
            }
            all
        }
    };
    let mut changed = 0;
    for id in ids {
        // one that somebody is sending is left to him; one that is given up begins anew
        changed += conn
            .prepare_cached(
                "UPDATE outbox SET attempts = iif(state = 'failed', 0, attempts),
                   created_at = iif(state = 'failed', ?2, created_at), state = 'waiting', due_at = ?2, settled_at = NULL,
                   taken_by = NULL
                 WHERE id = ?1 AND state IN ('waiting', 'failed') AND (taken_by IS NULL OR due_at <= ?2)",
            )?
            .execute(params![id, now.as_millisecond()])?;
    }
    Ok(changed as u64)
}

/// Removes what is settled and old, and gives up what nobody could send.
pub(super) fn tidy(conn: &Connection, now: Timestamp) -> Result<(), Trouble> {
    let before = now.checked_sub(KEPT).unwrap_or(Timestamp::UNIX_EPOCH).as_millisecond();
    conn.prepare_cached("DELETE FROM outbox WHERE state <> 'waiting' AND settled_at < ?1")?
        .execute([before])?;
    conn.prepare_cached(
        "UPDATE outbox SET state = 'failed', settled_at = ?2, taken_by = NULL,
           error = ifnull(error, 'nobody who knows this channel came by for 30 days')
         WHERE state = 'waiting' AND created_at < ?1",
    )?
    .execute([before, now.as_millisecond()])?;
    conn.prepare_cached("DELETE FROM alert_events WHERE id <= (SELECT max(id) FROM alert_events) - ?1")?
        .execute([EVENTS])?;
    Ok(())
}

fn message(row: &Row<'_>) -> rusqlite::Result<OutboxMessage> {
    let moment = |ms| Timestamp::from_millisecond(ms).unwrap_or_default();
    Ok(OutboxMessage {
        id: row.get(0)?,
        delivery: row.get(1)?,
        channel: row.get(2)?,
        incident: row.get(3)?,
        content: row.get(4)?,
        // a word of a later release: it is settled, however
        state: row.get::<_, String>(5)?.parse().unwrap_or(MessageState::Failed),
        attempts: row.get(6)?,
        created_at: moment(row.get(7)?),
        due_at: moment(row.get(8)?),
        settled_at: row.get::<_, Option<i64>>(9)?.map(moment),
        error: row.get(10)?,
    })
}
