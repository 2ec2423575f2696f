//! Logs as the table knows them: small ones inside it, larger ones as files of this machine's folder; each kept once for
//! all experiments that printed it, and removed with the last of these.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::Dynamo;
use super::client::{Item, Key, Refused, n, number, s};
use super::plan::{Plan, When, key, sums_partition};
use super::row::{Row, SPREAD, hex};
use crate::logs::{Kept, LogData, StoredLog};
use crate::{Error, LogId};

fn place(id: &LogId) -> Key {
    key(format!("B#{id}"), "-")
}

/// The partition of the index in which logs stand by their age.
pub(super) fn aged(shard: u64) -> String {
    format!("L{shard}")
}

/// One more experiment has this log.
pub(super) fn refer(
    plan: &mut Plan,
    known: Option<&Item>,
    place: Key,
    kept: &Kept,
    at: Timestamp,
    shard: u64,
) {
    let ms = at.as_millisecond().max(0);
    if let Some(known) = known {
        plan.add(place.clone(), "refs", 1);
        if number::<i64>(known, "at").unwrap_or(0) < ms {
            plan.set(place.clone(), "at", n(ms));
            plan.set(place.clone(), "k", s(hex(ms)));
        }
        // not one that is being removed
        plan.only_when(place, When::Present);
        return;
    }
    let facts = &kept.facts;
    let mut item = Item::from([
        ("bytes".to_owned(), n(facts.bytes)),
        ("stored".to_owned(), n(facts.stored_bytes)),
        ("refs".to_owned(), n(1)),
        ("at".to_owned(), n(ms)),
        ("a".to_owned(), s(aged(u64::from(facts.id.as_bytes()[0]) % SPREAD))),
        ("k".to_owned(), s(hex(ms))),
    ]);
    if let LogData::Inline(bytes) = &kept.data {
        item.insert("data".to_owned(), AttributeValue::B(bytes.clone().into()));
    }
    plan.put(place, item, When::Absent);
    let stored = i64::try_from(facts.stored_bytes).unwrap_or(i64::MAX);
    plan.add(key(sums_partition("", shard), "a"), "logs", stored);
}

impl Dynamo {
    pub(super) async fn stored_log(&self, id: LogId) -> Result<StoredLog, Error> {
        let place = place(&id);
        let item = self.table.get(place.0, place.1).await?.ok_or(Error::NoLog { id })?;
        let data = match item.get("data").and_then(|data| data.as_b().ok()) {
            Some(bytes) => LogData::Inline(bytes.as_ref().to_vec()),
            None => LogData::File(self.folder.file(&id)),
        };
        Ok(StoredLog { bytes: number(&item, "bytes").unwrap_or_default(), data })
    }

    pub(super) async fn unreferred_log(&self, id: LogId) -> Result<(), Error> {
        let place = place(&id);
        if self.table.get(place.0, place.1).await?.is_none() {
            self.folder.remove(&id).map_err(|e| Error::log_file(&self.folder.file(&id), e))?;
        }
        Ok(())
    }

    /// The log that a row no longer has, if nobody has it any more; says how many bytes that freed.
    pub(super) async fn drop_log_of(&self, before: &Row, after: Option<&Row>) -> Result<Option<u64>, Error> {
        let has = after.and_then(Row::log_id);
        match before.log_id().filter(|id| has != Some(*id)) {
            Some(id) => self.drop_unused_log(id).await,
            None => Ok(None),
        }
    }

    async fn drop_unused_log(&self, id: LogId) -> Result<Option<u64>, Error> {
        let place = place(&id);
        let Some(item) = self.table.get(&place.0, &place.1).await? else { return Ok(None) };
        if number::<i64>(&item, "refs").unwrap_or(0) > 0 {
            return Ok(None);
        }
        let stored: u64 = number(&item, "stored").unwrap_or_default();
        let mut plan = Plan::default();
        plan.delete(place, When::Is("refs", n(0)));
        plan.add(
            key(sums_partition("", self.shard), "a"),
            "logs",
            -i64::try_from(stored).unwrap_or(i64::MAX),
        );
        match self.table.transact(plan.items(&self.table.name)?).await {
            Ok(()) => {}
            // somebody has begun to refer to it, or has removed it
            Err(Refused::Condition) => return Ok(None),
            Err(Refused::Told(error)) => return Err(error),
        }
        if !item.contains_key("data") {
            // one that can't be removed now is a stray of the folder
            let _ = self.folder.remove(&id);
        }
        Ok(Some(stored))
    }
}
