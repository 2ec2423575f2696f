//! What has failed since the last look, for alerts; and what they ask of SQLite, handed to the writer or to a reader.

use async_trait::async_trait;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Sqlite, Trouble, lookup, outbox, runs};
use crate::backend::AlertBackend;
use crate::{
    AlertCause, AlertEvent, AlertFailure, AlertRound, AlertStep, ChannelDeliveries, Error, MessageState,
    NewMessage, OutboxMessage, RunId, Tried,
};

fn expect(conn: &Connection) -> Result<(), Trouble> {
    conn.prepare_cached("INSERT INTO alert_memory VALUES (1, 0, '') ON CONFLICT DO NOTHING")?.execute([])?;
    Ok(())
}

fn round(conn: &Connection, limit: usize) -> Result<Option<AlertRound>, Trouble> {
    let found = conn
        .prepare_cached("SELECT version, memory FROM alert_memory WHERE id = 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((version, memory)) = found else { return Ok(None) };
    let rows: Vec<(i64, i64, String)> = conn
        .prepare_cached("SELECT id, key, what FROM alert_events WHERE id > 0 ORDER BY id LIMIT ?1")?
        .query_map([limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let mut events = Vec::with_capacity(rows.len());
    for (id, key, what) in rows {
        let cause = match what.as_str() {
            "stopped" => {
                runs::find(conn, RunId(key.cast_unsigned())).map(|run| AlertCause::Stopped(Box::new(run)))
            }
            _ => failure(conn, key, what == "diagnosed").map(|it| AlertCause::Failed(Box::new(it))),
        };
        let cause = match cause {
            // removed meanwhile, or written by a later release: the others are not to wait for it
            Err(
                Trouble::Sqlite(rusqlite::Error::QueryReturnedNoRows)
                | Trouble::Told(Error::NoRun { .. } | Error::Record { .. }),
            ) => AlertCause::Gone,
            other => other?,
        };
        events.push(AlertEvent { id, cause });
    }
    Ok(Some(AlertRound { version, memory, events }))
}

fn failure(conn: &Connection, key: i64, again: bool) -> Result<AlertFailure, Trouble> {
    let experiment = lookup::whole(conn, key)?;
    let (signature, state, first_seen, reopened_at, run, ended_at) = conn
        .prepare_cached(
            "SELECT s.signature, g.state, g.first_seen, g.reopened_at, e.run, e.ended_at
             FROM experiments e JOIN groups m ON m.id = e.signature JOIN groups g ON g.id = ifnull(m.lead, m.id)
             JOIN signatures s ON s.id = g.id WHERE e.key = ?1",
        )?
        .query_row([key], |row| {
            let state: String = row.get(1)?;
            Ok((row.get(0)?, state, row.get(2)?, row.get(3)?, row.get(4)?, row.get::<_, Option<i64>>(5)?))
        })?;
    let began = key >> 21;
    let told = conn
        .prepare_cached("SELECT channel FROM alert_counted WHERE number = ?1")?
        .query_map([experiment.listed.id.number()], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let (first_seen, reopened_at): (i64, Option<i64>) = (first_seen, reopened_at);
    Ok(AlertFailure {
        signature,
        is_new: first_seen == began,
        reopened: reopened_at == Some(began) && state == "open",
        is_quiet: state != "open",
        run: Option::<u64>::map(run, RunId),
        ended_at: ended_at
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .unwrap_or(experiment.listed.started_at),
        again,
        told,
        experiment,
    })
}

fn settle(conn: &Connection, step: &AlertStep) -> Result<bool, Trouble> {
    let ours = conn
        .prepare_cached(
            "UPDATE alert_memory SET version = version + 1, memory = ?2 WHERE id = 1 AND version = ?1",
        )?
        .execute(params![step.version, step.memory])?;
    if ours == 0 {
        return Ok(false);
    }
    for id in &step.done {
        conn.prepare_cached("DELETE FROM alert_events WHERE id = ?1")?.execute([id])?;
    }
    for (number, channel) in &step.counted {
        conn.prepare_cached("INSERT INTO alert_counted VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute(params![number, channel])?;
    }
    for message in &step.messages {
        outbox::add(conn, message)?;
    }
    Ok(true)
}

#[async_trait]
impl AlertBackend for Sqlite {
    async fn expect_alerts(&self) -> Result<(), Error> {
        self.write(expect).await
    }

    async fn alert_round(&self, limit: usize) -> Result<Option<AlertRound>, Error> {
        self.read(move |conn| round(conn, limit)).await
    }

    async fn settle_alerts(&self, step: AlertStep) -> Result<bool, Error> {
        self.write(move |conn| settle(conn, &step)).await
    }

    async fn claim_message(
        &self,
        channel: &str,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<OutboxMessage>, Error> {
        let name = channel.to_owned();
        // asked every second: nothing is written, nor a lock taken, while there is nothing to send
        if self.read(move |conn| outbox::due(conn, &name, now)).await?.is_none() {
            return Ok(None);
        }
        let (channel, by) = (channel.to_owned(), by.to_owned());
        self.write(move |conn| outbox::claim(conn, &channel, &by, now, until)).await
    }

    async fn settle_message(&self, id: i64, by: &str, tried: Tried, now: Timestamp) -> Result<bool, Error> {
        let by = by.to_owned();
        self.write(move |conn| outbox::settle(conn, id, &by, &tried, now)).await
    }

    async fn taken_messages(&self) -> Result<Vec<(i64, String)>, Error> {
        self.read(outbox::taken).await
    }

    async fn keep_message(&self, message: NewMessage, error: Option<String>) -> Result<(), Error> {
        self.write(move |conn| outbox::keep(conn, &message, error.as_deref())).await
    }

    async fn outbox(&self, state: Option<MessageState>, limit: usize) -> Result<Vec<OutboxMessage>, Error> {
        self.read(move |conn| outbox::list(conn, state, limit)).await
    }

    async fn deliveries(&self, channels: &[String]) -> Result<Vec<ChannelDeliveries>, Error> {
        let channels = channels.to_vec();
        self.read(move |conn| channels.iter().map(|channel| outbox::deliveries(conn, channel)).collect())
            .await
    }

    async fn retry_messages(&self, id: Option<i64>, now: Timestamp) -> Result<u64, Error> {
        self.write(move |conn| outbox::retry(conn, id, now)).await
    }
}
