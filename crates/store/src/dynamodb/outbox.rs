//! Messages on their way: taken by one sender at a time, and settled only by whoever has taken them, by a condition on the
//! version that was read.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Dynamo;
use super::client::{Ask, Item, Key, Range, Refused, n, number, s, text};
use super::plan::{Plan, When, bounded, key};
use super::row::hex;
use crate::{ChannelDeliveries, Error, MessageState, NewMessage, OutboxMessage, Tried};

/// What was sent or given up is kept for so long, and then removed by the table itself.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Of the messages of one channel that wait so many are looked through for the last error.
const LOOKED_AT: usize = 100;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Message {
    id: i64,
    delivery: String,
    channel: String,
    incident: String,
    content: String,
    state: String,
    attempts: u32,
    created: i64,
    due: i64,
    taken_by: Option<String>,
    settled: Option<i64>,
    error: Option<String>,
}

fn place(id: i64) -> Key {
    key("O", format!("{id:020}"))
}

/// Partitions of the indexes: by channel and state in the order of time, by state in the order of ids, and those taken.
fn of_channel(state: &str, channel: &str) -> String {
    format!("O{}#{}", &state[..1], bounded(channel))
}

fn of_state(state: &str) -> String {
    format!("O{state}")
}

const TAKEN: &str = "OT";

/// So that no delivery is another message again, for longer than its message is kept.
fn once(new: &NewMessage) -> (Key, Item) {
    let kept = i64::try_from(2 * KEPT.as_secs()).unwrap_or_default();
    let item = Item::from([("ttl".to_owned(), n(new.at.as_second() + kept))]);
    (key(format!("OD#{}", bounded(&new.delivery)), "-"), item)
}

impl Message {
    fn new(id: i64, new: &NewMessage) -> Self {
        let at = new.at.as_millisecond();
        Self {
            id,
            delivery: new.delivery.clone(),
            channel: new.channel.clone(),
            incident: new.incident.clone(),
            content: new.content.clone(),
            state: MessageState::Waiting.as_str().to_owned(),
            attempts: 0,
            created: at,
            due: at,
            taken_by: None,
            settled: None,
            error: None,
        }
    }

    fn item(&self, version: u64) -> Result<Item, Error> {
        let record =
            serde_json::to_string(self).map_err(|e| Error::record(format!("of message {}", self.id), e))?;
        let at = self.settled.unwrap_or(self.due);
        let mut item = Item::from([
            ("r".to_owned(), s(record)),
            ("v".to_owned(), n(version)),
            ("a".to_owned(), s(of_channel(&self.state, &self.channel))),
            ("k".to_owned(), s(format!("{}{:020}", hex(at), self.id))),
            ("g".to_owned(), s(of_state(&self.state))),
            ("gk".to_owned(), s(format!("{:020}", self.id))),
        ]);
        if self.taken_by.is_some() {
            item.insert("w".to_owned(), s(TAKEN));
        }
        item.extend(self.settled.map(|ms| {
            let kept = i64::try_from(KEPT.as_secs()).unwrap_or_default();
            ("ttl".to_owned(), n(ms / 1000 + kept))
        }));
        Ok(item)
    }

    fn parse(item: &Item) -> Option<Self> {
        serde_json::from_str(text(item, "r")?).ok()
    }

    fn shown(&self) -> OutboxMessage {
        let moment = |ms| Timestamp::from_millisecond(ms).unwrap_or_default();
        OutboxMessage {
            id: self.id,
            delivery: self.delivery.clone(),
            channel: self.channel.clone(),
            incident: self.incident.clone(),
            content: self.content.clone(),
            // a word of a later release: it is settled, however
            state: self.state.parse().unwrap_or(MessageState::Failed),
            attempts: self.attempts,
            created_at: moment(self.created),
            due_at: moment(self.due),
            settled_at: self.settled.map(moment),
            error: self.error.clone(),
        }
    }

    fn is(&self, state: MessageState) -> bool {
        self.state == state.as_str()
    }
}

impl Dynamo {
    pub(super) async fn add_message(&self, plan: &mut Plan, new: &NewMessage) -> Result<(), Error> {
        let id = i64::try_from(self.next("message").await?).unwrap_or(i64::MAX);
        let message = Message::new(id, new);
        plan.put(place(id), message.item(1)?, When::Absent);
        let (place, item) = once(new);
        plan.put(place, item, When::Absent);
        Ok(())
    }

    async fn message(&self, id: i64) -> Result<Option<(Message, u64)>, Error> {
        let place = place(id);
        let item = self.table.get(place.0, place.1).await?;
        Ok(item.and_then(|item| Some((Message::parse(&item)?, number(&item, "v")?))))
    }

    /// Writes a message as it is now, unless somebody has changed it since.
    async fn change_message(&self, now: &Message, version: u64) -> Result<bool, Error> {
        let mut plan = Plan::default();
        plan.put(place(now.id), now.item(version + 1)?, When::Is("v", n(version)));
        match self.table.transact(plan.items(&self.table.name)?).await {
            Ok(()) => Ok(true),
            Err(Refused::Condition) => Ok(false),
            Err(Refused::Told(error)) => Err(error),
        }
    }

    fn ids(items: &[Item]) -> impl Iterator<Item = i64> {
        items.iter().filter_map(|item| text(item, "sk")?.parse().ok())
    }

    pub(super) async fn claimed(
        &self,
        channel: &str,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<OutboxMessage>, Error> {
        let (state, ms) = (MessageState::Waiting.as_str(), now.as_millisecond());
        let range = Range::Between(hex(0), format!("{}~", hex(ms)));
        let due = Ask::index("newest", ("a", of_channel(state, channel)), "k").range(range).first(10);
        let due = self.table.query(due).await?;
        for id in Self::ids(&due) {
            let Some((mut message, version)) = self.message(id).await? else { continue };
            // the index may be behind
            if !message.is(MessageState::Waiting) || message.due > ms {
                continue;
            }
            message.taken_by = Some(by.to_owned());
            message.due = until.as_millisecond();
            message.attempts += 1;
            if self.change_message(&message, version).await? {
                return Ok(Some(message.shown()));
            }
        }
        Ok(None)
    }

    pub(super) async fn settled(
        &self,
        id: i64,
        by: &str,
        tried: &Tried,
        now: Timestamp,
    ) -> Result<bool, Error> {
        loop {
            let Some((mut message, version)) = self.message(id).await? else { return Ok(false) };
            if !message.is(MessageState::Waiting) || message.taken_by.as_deref() != Some(by) {
                return Ok(false);
            }
            let ms = now.as_millisecond();
            let (state, due, settled, error) = match tried {
                Tried::Sent => (MessageState::Sent, ms, Some(ms), None),
                Tried::Again(why, at) => {
                    (MessageState::Waiting, at.as_millisecond(), None, Some(why.clone()))
                }
                Tried::Failed(why) => (MessageState::Failed, ms, Some(ms), Some(why.clone())),
            };
            message.state = state.as_str().to_owned();
            (message.due, message.settled, message.error, message.taken_by) = (due, settled, error, None);
            if self.change_message(&message, version).await? {
                return Ok(true);
            }
        }
    }

    pub(super) async fn taken(&self) -> Result<Vec<(i64, String)>, Error> {
        let items = self.table.query(Ask::index("words", ("w", TAKEN.to_owned()), "k").first(1000)).await?;
        let mut all = self.read(&items).await?;
        all.sort_by_key(|message| message.id);
        Ok(all.into_iter().filter_map(|it| Some((it.id, it.taken_by?))).collect())
    }

    async fn read(&self, items: &[Item]) -> Result<Vec<Message>, Error> {
        let keys: Vec<_> = Self::ids(items).map(place).collect();
        Ok(self.table.get_all(&keys).await?.values().filter_map(Message::parse).collect())
    }

    pub(super) async fn kept_message(&self, new: &NewMessage, error: Option<String>) -> Result<(), Error> {
        let id = i64::try_from(self.next("message").await?).unwrap_or(i64::MAX);
        let state = if error.is_some() { MessageState::Failed } else { MessageState::Sent };
        let at = new.at.as_millisecond();
        let message = Message {
            state: state.as_str().to_owned(),
            attempts: 1,
            settled: Some(at),
            error,
            ..Message::new(id, new)
        };
        let mut plan = Plan::default();
        plan.put(place(id), message.item(1)?, When::Absent);
        match self.table.transact(plan.items(&self.table.name)?).await {
            Ok(()) | Err(Refused::Condition) => Ok(()),
            Err(Refused::Told(error)) => Err(error),
        }
    }

    pub(super) async fn messages(
        &self,
        state: Option<MessageState>,
        limit: usize,
    ) -> Result<Vec<OutboxMessage>, Error> {
        let items = match state {
            None => self.table.query(Ask::table("O").newest(limit)).await?,
            Some(state) => {
                let ask = Ask::index("signature", ("g", of_state(state.as_str())), "gk").newest(limit);
                self.table.query(ask).await?
            }
        };
        let mut all = self.read(&items).await?;
        all.sort_by_key(|message| std::cmp::Reverse(message.id));
        Ok(all.iter().map(Message::shown).collect())
    }

    pub(super) async fn delivered(&self, channel: &str) -> Result<ChannelDeliveries, Error> {
        let ask = |state: MessageState| Ask::index("newest", ("a", of_channel(state.as_str(), channel)), "k");
        let newest = async |state, limit| {
            let items = self.table.query(ask(state).newest(limit)).await?;
            let mut all = self.read(&items).await?;
            all.sort_by_key(|it| std::cmp::Reverse((it.settled.unwrap_or(it.due), it.id)));
            Ok::<_, Error>(all)
        };
        let sent = newest(MessageState::Sent, 1).await?.first().and_then(|it| it.settled);
        let failed =
            newest(MessageState::Failed, 1).await?.into_iter().next().filter(|it| it.settled >= sent);
        let waiting = newest(MessageState::Waiting, LOOKED_AT).await?.into_iter().find_map(|it| it.error);
        Ok(ChannelDeliveries {
            channel: channel.to_owned(),
            waiting: self.table.how_many(ask(MessageState::Waiting)).await?,
            failed: self.table.how_many(ask(MessageState::Failed)).await?,
            last_sent: sent.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            last_error: waiting.or(failed.and_then(|it| it.error)),
        })
    }

    pub(super) async fn retried(&self, id: Option<i64>, now: Timestamp) -> Result<u64, Error> {
        let mut ids = Vec::from_iter(id);
        if id.is_none() {
            for state in [MessageState::Waiting, MessageState::Failed] {
                let ask = Ask::index("signature", ("g", of_state(state.as_str())), "gk");
                ids.extend(Self::ids(&self.table.query(ask).await?));
            }
        }
        let (mut changed, ms) = (0, now.as_millisecond());
        for id in ids {
            let Some((mut message, version)) = self.message(id).await? else { continue };
            let again = message.is(MessageState::Failed);
            // one that somebody is sending is left to him; one that is given up begins anew
            let may = (again || message.is(MessageState::Waiting))
                && (message.taken_by.is_none() || message.due <= ms);
            if !may {
                continue;
            }
            if again {
                (message.attempts, message.created) = (0, ms);
            }
            message.state = MessageState::Waiting.as_str().to_owned();
            (message.due, message.settled, message.taken_by) = (ms, None, None);
            changed += u64::from(self.change_message(&message, version).await?);
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_remembered_longer_than_its_message_and_not_for_ever() {
        let new = NewMessage {
            delivery: "one".to_owned(),
            channel: "ops".to_owned(),
            incident: "1".to_owned(),
            content: "{}".to_owned(),
            at: Timestamp::from_second(1_760_667_000).unwrap(),
        };
        // it may wait as long as it is kept once it is settled
        let longest = 1_760_667_000 + 2 * i64::try_from(KEPT.as_secs()).unwrap();
        assert_eq!(number::<i64>(&once(&new).1, "ttl"), Some(longest));
    }
}
