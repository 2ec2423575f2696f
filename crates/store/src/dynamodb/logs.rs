//! Logs as the table knows them: small ones inside it, larger ones as objects of a bucket, or as files of this machine's
//! folder; each kept once for all experiments that printed it, and removed with the last of these.

use std::path::PathBuf;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::Dynamo;
use super::client::{Item, Key, Refused, n, number, s, text};
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
    object: Option<&str>,
) {
    let ms = at.as_millisecond().max(0);
    if let Some(known) = known {
        plan.add(place.clone(), "refs", 1);
        if number::<i64>(known, "at").unwrap_or(0) < ms {
            plan.set(place.clone(), "at", n(ms));
            plan.set(place.clone(), "k", s(hex(ms)));
        }
        if let Some(object) = object {
            plan.set(place.clone(), "object", s(object));
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
    item.extend(object.map(|object| ("object".to_owned(), s(object))));
    plan.put(place, item, When::Absent);
    let stored = i64::try_from(facts.stored_bytes).unwrap_or(i64::MAX);
    plan.add(key(sums_partition("", shard), "a"), "logs", stored);
}

/// What became of a log that could not be put into the bucket.
#[derive(Clone)]
pub(super) struct NotKept {
    /// It is a file of this machine instead.
    pub(super) is_here: bool,
    pub(super) note: String,
}

impl Dynamo {
    pub(super) async fn stored_log(&self, id: LogId) -> Result<StoredLog, Error> {
        let place = place(&id);
        let item = self.table.get(place.0, place.1).await?.ok_or(Error::NoLog { id })?;
        let data = match item.get("data").and_then(|data| data.as_b().ok()) {
            Some(bytes) => LogData::Inline(bytes.as_ref().to_vec()),
            None => LogData::File(self.log_file(&id, &item).await?),
        };
        Ok(StoredLog { bytes: number(&item, "bytes").unwrap_or_default(), data })
    }

    /// A large log as a file of this machine, which it is made if it is kept elsewhere.
    async fn log_file(&self, id: &LogId, item: &Item) -> Result<PathBuf, Error> {
        let file = self.folder.file(id);
        if file.exists() {
            return Ok(file);
        }
        let object = text(item, "object").ok_or(Error::LogElsewhere { id: *id })?;
        if let Some(copy) = self.folder.known_copy(id) {
            return Ok(copy);
        }
        let copy = self.folder.copy(id);
        self.objects.fetch(object, &copy).await?;
        self.folder.bound_copies(&copy);
        Ok(copy)
    }

    /// Makes a large log an object, for which it is not one yet. What to say if that fails: then it is a file of this machine,
    /// if at least that is possible.
    pub(super) async fn keep_object(
        &self,
        kept: &Kept,
        known: Option<&Item>,
    ) -> Option<Result<String, NotKept>> {
        let LogData::File(file) = &kept.data else { return None };
        if !self.objects.are_wanted()
            || known.is_some_and(|it| it.contains_key("data") || it.contains_key("object"))
        {
            return None;
        }
        let error = match self.objects.put(&kept.facts.id, file).await {
            Ok(object) => {
                self.folder.keep_copy(file, &kept.facts.id);
                return Some(Ok(object));
            }
            Err(error) => error,
        };
        Some(Err(match self.folder.adopt(file, &kept.facts.id) {
            Ok(()) => {
                let host = crate::Owner::this_process().host;
                NotKept { is_here: true, note: format!("the log is on {host} alone: {error}") }
            }
            Err(e) => NotKept { is_here: false, note: format!("the log could not be kept ({error}; {e})") },
        }))
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
        if let Some(object) = text(&item, "object") {
            // one that can't be removed now is a stray of the bucket
            let _ = self.objects.remove(object).await;
            self.folder.forget_copy(&id);
        }
        if !item.contains_key("data") {
            // one that can't be removed now is a stray of the folder
            let _ = self.folder.remove(&id);
        }
        Ok(Some(stored))
    }
}
