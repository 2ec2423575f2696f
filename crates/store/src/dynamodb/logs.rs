//! Logs as the table knows them: small ones inside it, larger ones as objects of a bucket, or as files of this machine's
//! folder; each kept once for all experiments that printed it, and removed with the last of these.

use std::path::PathBuf;

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::Dynamo;
use super::client::{Item, Key, Refused, n, number, s, text};
use super::plan::{Plan, When, key, sums_partition};
use super::row::{SPREAD, hex};
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

/// One experiment less has this log; the last takes it along. Says whether this is the last.
pub(super) fn release(plan: &mut Plan, known: &Item, place: Key, shard: u64) -> bool {
    if number::<i64>(known, "refs").unwrap_or(0) > 1 {
        plan.add(place.clone(), "refs", -1);
        // of two that go at the same moment one is the last
        plan.only_when(place, When::Above("refs", 1));
        return false;
    }
    remove(plan, known, place, shard);
    true
}

/// Unless somebody begins to refer to it.
fn remove(plan: &mut Plan, known: &Item, place: Key, shard: u64) {
    plan.delete(place, When::Is("refs", n(number::<i64>(known, "refs").unwrap_or(0))));
    let stored = i64::try_from(stored(known)).unwrap_or(i64::MAX);
    plan.add(key(sums_partition("", shard), "a"), "logs", -stored);
}

pub(super) fn stored(known: &Item) -> u64 {
    number(known, "stored").unwrap_or_default()
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
        self.objects.fetch(object, &copy, *id).await?;
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

    /// Removes a log that nobody has, if it is one; says how many bytes that freed. Whoever takes it from the last that has it
    /// removes it in the same step: an earlier release did so after it, and a process that died in between left it.
    pub(super) async fn drop_unused_log(&self, id: &str) -> Result<Option<u64>, Error> {
        let place = key(format!("B#{id}"), "-");
        let Some(item) = self.table.get(&place.0, &place.1).await? else { return Ok(None) };
        if number::<i64>(&item, "refs").unwrap_or(0) > 0 {
            return Ok(None);
        }
        let mut plan = Plan::default();
        remove(&mut plan, &item, place, self.shard);
        match self.table.transact(plan.items(&self.table.name)?).await {
            Ok(()) => {}
            // somebody has begun to refer to it, or has removed it
            Err(Refused::Condition) => return Ok(None),
            Err(Refused::Told(error)) => return Err(error),
        }
        self.drop_large(id, &item).await;
        Ok(Some(stored(&item)))
    }

    /// What of a log that is gone stood elsewhere. What can't be removed now is a stray of the bucket or of the folder.
    pub(super) async fn drop_large(&self, id: &str, item: &Item) {
        let Some(id) = LogId::parse(id) else { return };
        if let Some(object) = text(item, "object") {
            _ = self.objects.remove(object).await;
            self.folder.forget_copy(&id);
        }
        if !item.contains_key("data") {
            _ = self.folder.remove(&id);
        }
    }
}
