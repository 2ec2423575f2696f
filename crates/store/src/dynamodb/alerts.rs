//! What has failed since the last look, for alerts; and what is remembered between looks.

use async_trait::async_trait;
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::Dynamo;
use super::client::{Ask, Item, Key, Refused, n, number, s, text};
use super::plan::{Plan, When, key};
use super::row::{Row, key_of, moment};
use crate::backend::AlertBackend;
use crate::{
    AlertCause, AlertEvent, AlertFailure, AlertRound, AlertStep, ChannelDeliveries, Error, GroupState,
    MessageState, NewMessage, OutboxMessage, RunId, Tried,
};

/// So many events are read for a round at most: each costs some requests, and few of them fill a transaction.
const EVENTS: usize = 16;
/// A round is settled in one transaction: AWS takes so many items in one ...
const WRITES: usize = 100;
/// ... and so many bytes in an item, names and keys among them.
const ITEM: usize = 400_000;

pub(super) fn memory_key() -> Key {
    key("V#", "memory")
}

/// Something to be looked at.
pub(super) fn notice(plan: &mut Plan, id: u64, what: &str, number: u64) {
    let item = Item::from([("what".to_owned(), s(what)), ("of".to_owned(), n(number))]);
    plan.put(key("V", format!("{id:020}")), item, When::Absent);
}

/// What of a step is more than AWS takes. Asked before anything is written for it.
fn too_large(step: &AlertStep) -> Option<String> {
    let writes = 1 + step.done.len() + step.counted.len() + 2 * step.messages.len();
    if writes > WRITES {
        return Some(format!("{writes} changes at once"));
    }
    let bytes = step.memory.len();
    (bytes > ITEM).then(|| format!("{bytes} bytes to be remembered"))
}

impl Dynamo {
    pub(super) async fn wants_alerts(&self) -> Result<bool, Error> {
        let key = memory_key();
        Ok(self.table.get(key.0, key.1).await?.is_some())
    }

    async fn failure(&self, row: &Row, again: bool) -> Result<Option<AlertFailure>, Error> {
        let Some(signature) = row.signature() else { return Ok(None) };
        let Some(group) = self.standing(signature).await? else { return Ok(None) };
        let began = moment(row.key).as_millisecond();
        let told = self.table.query(Ask::table(told_partition(row.number))).await?;
        let ended = row.ended_at.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        Ok(Some(AlertFailure {
            experiment: row.experiment(),
            signature: group.signature,
            is_new: group.first == began,
            reopened: group.reopened == Some(began) && group.state == GroupState::Open,
            is_quiet: group.state != GroupState::Open,
            run: row.tested.as_ref().map(|it| RunId(it.run)),
            ended_at: ended.unwrap_or_else(|| moment(row.key)),
            again,
            told: told.iter().filter_map(|item| text(item, "sk").map(str::to_owned)).collect(),
        }))
    }

    async fn alert_cause(&self, item: &Item) -> Result<AlertCause, Error> {
        let of: u64 = number(item, "of").unwrap_or_default();
        let gone = |found: Result<AlertCause, Error>| match found {
            // removed meanwhile, or written by a later release: the others are not to wait for it
            Err(Error::NoRun { .. } | Error::Record { .. }) => Ok(AlertCause::Gone),
            other => other,
        };
        let what = text(item, "what").unwrap_or_default();
        if what == "stopped" {
            let run = crate::backend::LabBackend::run(self, RunId(of)).await;
            return gone(run.map(|run| AlertCause::Stopped(Box::new(run))));
        }
        let row = match self.row(of).await {
            Ok(Some((row, _))) => row,
            Ok(None) => return Ok(AlertCause::Gone),
            Err(error) => return gone(Err(error)),
        };
        let failure = self.failure(&row, what == "diagnosed").await?;
        Ok(failure.map_or(AlertCause::Gone, |it| AlertCause::Failed(Box::new(it))))
    }

    /// The oldest events, up to so many of them; none only if there are none.
    async fn waiting_events(&self, limit: usize) -> Result<Vec<Item>, Error> {
        loop {
            let mut waiting = match limit {
                0 => Vec::new(),
                _ => self.table.query(Ask::table("V").first(limit)).await?,
            };
            if waiting.is_empty() {
                return Ok(waiting);
            }
            let numbers: Vec<_> = waiting.iter().filter_map(|item| number(item, "of")).map(key_of).collect();
            let kept = self.table.get_all(&numbers).await?;
            // what was removed meanwhile is nobody's to look at
            let mut gone = Vec::new();
            waiting.retain(|item| {
                let stays = text(item, "what") == Some("stopped")
                    || kept.contains_key(&key_of(number(item, "of").unwrap_or_default()));
                if !stays {
                    gone.push(text(item, "sk").unwrap_or_default().to_owned());
                }
                stays
            });
            for id in gone {
                self.table.delete("V", id).await?;
            }
            if !waiting.is_empty() {
                return Ok(waiting);
            }
        }
    }
}

/// Who has counted a failure.
pub(super) fn told_partition(number: u64) -> String {
    format!("VC#{number}")
}

#[async_trait]
impl AlertBackend for Dynamo {
    async fn expect_alerts(&self) -> Result<(), Error> {
        let mut plan = Plan::default();
        let item = Item::from([("version".to_owned(), n(0)), ("memory".to_owned(), s(""))]);
        plan.put(memory_key(), item, When::Absent);
        match self.table.transact(plan.items(&self.table.name)?).await {
            Ok(()) | Err(Refused::Condition) => Ok(()),
            Err(Refused::Told(error)) => Err(error),
        }
    }

    async fn alert_round(&self, limit: usize) -> Result<Option<AlertRound>, Error> {
        let key = memory_key();
        let Some(memory) = self.table.get(key.0, key.1).await? else { return Ok(None) };
        let waiting = self.waiting_events(limit.min(EVENTS)).await?;
        let events = waiting.iter().map(async |item| {
            let id = text(item, "sk").and_then(|id| id.parse().ok()).unwrap_or_default();
            Ok::<_, Error>(AlertEvent { id, cause: self.alert_cause(item).await? })
        });
        let events = try_join_all(events).await?;
        Ok(Some(AlertRound {
            version: number(&memory, "version").unwrap_or_default(),
            memory: text(&memory, "memory").unwrap_or_default().to_owned(),
            events,
        }))
    }

    async fn settle_alerts(&self, step: AlertStep) -> Result<bool, Error> {
        if let Some(what) = too_large(&step) {
            return Err(Error::StepTooLarge { what });
        }
        let mut plan = Plan::default();
        let item =
            Item::from([("version".to_owned(), n(step.version + 1)), ("memory".to_owned(), s(&step.memory))]);
        plan.put(memory_key(), item, When::Is("version", n(step.version)));
        for id in &step.done {
            plan.delete(key("V", format!("{id:020}")), When::Always);
        }
        for (number, channel) in &step.counted {
            plan.put(key(told_partition(*number), channel), Item::new(), When::Always);
        }
        for message in &step.messages {
            self.add_message(&mut plan, message).await?;
        }
        match self.table.transact(plan.items(&self.table.name)?).await {
            Ok(()) => Ok(true),
            Err(Refused::Condition) => Ok(false),
            Err(Refused::Told(error)) => Err(error),
        }
    }

    async fn claim_message(
        &self,
        channel: &str,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<OutboxMessage>, Error> {
        self.claimed(channel, by, now, until).await
    }

    async fn settle_message(&self, id: i64, by: &str, tried: Tried, now: Timestamp) -> Result<bool, Error> {
        self.settled(id, by, &tried, now).await
    }

    async fn taken_messages(&self) -> Result<Vec<(i64, String)>, Error> {
        self.taken().await
    }

    async fn keep_message(&self, message: NewMessage, error: Option<String>) -> Result<(), Error> {
        self.kept_message(&message, error).await
    }

    async fn outbox(&self, state: Option<MessageState>, limit: usize) -> Result<Vec<OutboxMessage>, Error> {
        self.messages(state, limit).await
    }

    async fn deliveries(&self, channels: &[String]) -> Result<Vec<ChannelDeliveries>, Error> {
        let mut all = Vec::new();
        for channel in channels {
            all.push(self.delivered(channel).await?);
        }
        Ok(all)
    }

    async fn retry_messages(&self, id: Option<i64>, now: Timestamp) -> Result<u64, Error> {
        self.retried(id, now).await
    }
}
