//! Calls to one table: keys and values of ours on one side, the AWS SDK on the other. Whatever can come back in parts is
//! read or written to its end here, what is refused for a moment is tried again, and every call is counted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, DeleteRequest, KeysAndAttributes, PutRequest, ReturnConsumedCapacity,
    ReturnValue, Select, TransactWriteItem, WriteRequest,
};

use super::trouble::{told, trouble_of};
use crate::{Error, TableTrouble};

pub(super) type Item = HashMap<String, AttributeValue>;
/// Partition and sort key.
pub(super) type Key = (String, String);

/// What DynamoDB takes at once.
const MOST_KEYS: usize = 100;
const MOST_WRITES: usize = 25;
/// Others write the same counters: so often a transaction is tried again, each time after a longer pause.
const TRIES: u32 = 40;
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// Calls that were made and what they took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Used {
    pub(crate) requests: u64,
    pub(crate) units: f64,
}

#[derive(Clone)]
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: String,
    used: Arc<Mutex<Used>>,
}

/// Which items of one partition.
pub(super) enum Range {
    All,
    BeginsWith(String),
    /// Both ends included.
    Between(String, String),
}

/// Why a transaction was not made, where that is for the caller to mend.
pub(super) enum Refused {
    /// A condition did not hold: somebody else was quicker.
    Condition,
    Told(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(super) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

pub(super) fn number<T: std::str::FromStr>(item: &Item, name: &str) -> Option<T> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// The key of an item that was read.
pub(super) fn key_in(item: &Item) -> Option<Key> {
    Some((text(item, "pk")?.to_owned(), text(item, "sk")?.to_owned()))
}

/// One query, read as far as it is wanted.
pub(super) struct Ask<'a> {
    pub(super) index: Option<&'a str>,
    /// The attribute that holds the partition, and which one.
    pub(super) partition: (&'a str, String),
    pub(super) sort: &'a str,
    pub(super) range: Range,
    pub(super) descending: bool,
    pub(super) limit: usize,
}

impl<'a> Ask<'a> {
    /// Of the table itself.
    pub(super) fn table(partition: impl Into<String>) -> Self {
        Self {
            index: None,
            partition: ("pk", partition.into()),
            sort: "sk",
            range: Range::All,
            descending: false,
            limit: usize::MAX,
        }
    }

    pub(super) fn index(index: &'a str, partition: (&'a str, String), sort: &'a str) -> Self {
        Self { index: Some(index), partition, sort, ..Self::table("") }
    }

    pub(super) fn range(self, range: Range) -> Self {
        Self { range, ..self }
    }

    pub(super) fn newest(self, limit: usize) -> Self {
        Self { descending: true, limit, ..self }
    }

    pub(super) fn first(self, limit: usize) -> Self {
        Self { limit, ..self }
    }
}

impl Table {
    pub(super) fn new(client: Client, name: String) -> Self {
        Self { client, name, used: Arc::default() }
    }

    /// What was used since it was asked last.
    #[cfg(test)]
    pub(crate) fn used(&self) -> Used {
        std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count<'a>(&self, capacity: impl IntoIterator<Item = &'a ConsumedCapacity>) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.requests += 1;
        used.units += capacity.into_iter().filter_map(ConsumedCapacity::capacity_units).sum::<f64>();
    }

    fn told<E>(&self, error: &aws_sdk_dynamodb::error::SdkError<E>) -> Error
    where
        E: aws_sdk_dynamodb::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        told(&self.name, error)
    }

    fn key(&self, key: &Key) -> Item {
        Item::from([("pk".to_owned(), s(&key.0)), ("sk".to_owned(), s(&key.1))])
    }

    pub(super) async fn get(
        &self,
        pk: impl Into<String>,
        sk: impl Into<String>,
    ) -> Result<Option<Item>, Error> {
        let sent = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(self.key(&(pk.into(), sk.into()))))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        let answer = sent.map_err(|e| self.told(&e))?;
        self.count(answer.consumed_capacity());
        Ok(answer.item)
    }

    /// Those of these that there are.
    pub(super) async fn get_all(&self, keys: &[Key]) -> Result<BTreeMap<Key, Item>, Error> {
        let mut found = BTreeMap::new();
        // each is asked for once, however often it was named
        let keys: Vec<&Key> = keys.iter().collect::<BTreeSet<_>>().into_iter().collect();
        for some in keys.chunks(MOST_KEYS) {
            let mut left: Vec<Item> = some.iter().map(|key| self.key(key)).collect();
            let mut pause = FIRST_PAUSE;
            while !left.is_empty() {
                let wanted = KeysAndAttributes::builder().set_keys(Some(left)).consistent_read(true).build();
                let wanted = wanted.map_err(|e| told_plainly(&self.name, &e.to_string()))?;
                let sent = self
                    .client
                    .batch_get_item()
                    .request_items(&self.name, wanted)
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
                    .await;
                let answer = sent.map_err(|e| self.told(&e))?;
                self.count(answer.consumed_capacity());
                for item in answer.responses.unwrap_or_default().into_values().flatten() {
                    found.extend(key_in(&item).map(|key| (key, item)));
                }
                left = answer
                    .unprocessed_keys
                    .unwrap_or_default()
                    .remove(&self.name)
                    .map_or(Vec::new(), |it| it.keys);
                if !left.is_empty() {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        Ok(found)
    }

    fn asked(&self, ask: &Ask<'_>) -> aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder {
        let (name, partition) = &ask.partition;
        let mut query = self
            .client
            .query()
            .table_name(&self.name)
            .set_index_name(ask.index.map(str::to_owned))
            // indexes have only what they had a moment ago
            .consistent_read(ask.index.is_none())
            .scan_index_forward(!ask.descending)
            .expression_attribute_names("#p", *name)
            .expression_attribute_values(":p", s(partition))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        query = match &ask.range {
            Range::All => query.key_condition_expression("#p = :p"),
            Range::BeginsWith(prefix) => query
                .key_condition_expression("#p = :p AND begins_with(#s, :a)")
                .expression_attribute_names("#s", ask.sort)
                .expression_attribute_values(":a", s(prefix)),
            Range::Between(from, to) => query
                .key_condition_expression("#p = :p AND #s BETWEEN :a AND :b")
                .expression_attribute_names("#s", ask.sort)
                .expression_attribute_values(":a", s(from))
                .expression_attribute_values(":b", s(to)),
        };
        query
    }

    /// Page after page, until there are enough or no more.
    pub(super) async fn query(&self, ask: Ask<'_>) -> Result<Vec<Item>, Error> {
        let mut found: Vec<Item> = Vec::new();
        let mut from = None;
        if matches!(&ask.range, Range::Between(from, to) if from > to) {
            return Ok(found);
        }
        loop {
            let left = ask.limit.saturating_sub(found.len()).max(1);
            let query = self.asked(&ask).set_exclusive_start_key(from);
            let query =
                query.set_limit((ask.limit < usize::MAX).then(|| i32::try_from(left).unwrap_or(i32::MAX)));
            let answer = query.send().await.map_err(|e| self.told(&e))?;
            self.count(answer.consumed_capacity());
            found.extend(answer.items.unwrap_or_default());
            from = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() || found.len() >= ask.limit {
                return Ok(found);
            }
        }
    }

    /// How many, up to so many.
    pub(super) async fn how_many(&self, ask: Ask<'_>) -> Result<u64, Error> {
        let (mut count, mut from) = (0, None);
        loop {
            let query = self.asked(&ask).select(Select::Count).set_exclusive_start_key(from);
            let answer = query.send().await.map_err(|e| self.told(&e))?;
            self.count(answer.consumed_capacity());
            count += u64::try_from(answer.count).unwrap_or(0);
            from = answer.last_evaluated_key.filter(|key| !key.is_empty());
            if from.is_none() || count >= ask.limit as u64 {
                return Ok(count.min(ask.limit as u64));
            }
        }
    }

    pub(super) async fn put(&self, item: Item) -> Result<(), Error> {
        let sent = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        self.count(sent.map_err(|e| self.told(&e))?.consumed_capacity());
        Ok(())
    }

    /// Puts it in the place of the version that was read; false if that is there no more.
    pub(super) async fn put_over(&self, item: Item, version: u64) -> Result<bool, Error> {
        let sent = self
            .client
            .put_item()
            .table_name(&self.name)
            .set_item(Some(item))
            .condition_expression("#v = :v")
            .expression_attribute_names("#v", "v")
            .expression_attribute_values(":v", n(version))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match sent {
            Ok(answer) => {
                self.count(answer.consumed_capacity());
                Ok(true)
            }
            Err(error) => match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(_)) => {
                    self.count([]);
                    Ok(false)
                }
                _ => Err(self.told(&error)),
            },
        }
    }

    pub(super) async fn delete(&self, pk: impl Into<String>, sk: impl Into<String>) -> Result<(), Error> {
        let sent = self
            .client
            .delete_item()
            .table_name(&self.name)
            .set_key(Some(self.key(&(pk.into(), sk.into()))))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        self.count(sent.map_err(|e| self.told(&e))?.consumed_capacity());
        Ok(())
    }

    /// Puts and deletes, in no order and not as one: each may be repeated without harm.
    pub(super) async fn write_all(&self, puts: Vec<Item>, deletes: Vec<Key>) -> Result<(), Error> {
        let incomplete = |e: aws_sdk_dynamodb::error::BuildError| told_plainly(&self.name, &e.to_string());
        let mut writes = Vec::with_capacity(puts.len() + deletes.len());
        for item in puts {
            let put = PutRequest::builder().set_item(Some(item)).build().map_err(incomplete)?;
            writes.push(WriteRequest::builder().put_request(put).build());
        }
        for key in deletes {
            let delete =
                DeleteRequest::builder().set_key(Some(self.key(&key))).build().map_err(incomplete)?;
            writes.push(WriteRequest::builder().delete_request(delete).build());
        }
        for some in writes.chunks(MOST_WRITES) {
            let (mut left, mut pause) = (some.to_vec(), FIRST_PAUSE);
            while !left.is_empty() {
                let sent = self
                    .client
                    .batch_write_item()
                    .request_items(&self.name, left)
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
                    .await;
                let answer = sent.map_err(|e| self.told(&e))?;
                self.count(answer.consumed_capacity());
                left = answer.unprocessed_items.unwrap_or_default().remove(&self.name).unwrap_or_default();
                if !left.is_empty() {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        Ok(())
    }

    /// Adds to numbers of one item, which is made if it is not there; answers what they are now.
    pub(super) async fn add(&self, key: &Key, adds: &[(&str, i64)]) -> Result<Item, Error> {
        let mut update = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(self.key(key)))
            .return_values(ReturnValue::UpdatedNew)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let mut clauses = Vec::new();
        for (i, (name, by)) in adds.iter().enumerate() {
            clauses.push(format!("#n{i} :v{i}"));
            update = update.expression_attribute_names(format!("#n{i}"), *name);
            update = update.expression_attribute_values(format!(":v{i}"), n(by));
        }
        let sent = update.update_expression(format!("ADD {}", clauses.join(", "))).send().await;
        let answer = sent.map_err(|e| self.told(&e))?;
        self.count(answer.consumed_capacity());
        Ok(answer.attributes.unwrap_or_default())
    }

    /// All of it or nothing. Where others write the same items at this moment, it is tried again.
    pub(super) async fn transact(&self, items: Vec<TransactWriteItem>) -> Result<(), Refused> {
        let mut pause = FIRST_PAUSE;
        for tried in 1.. {
            let sent = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await;
            let error = match sent {
                Ok(answer) => {
                    self.count(answer.consumed_capacity());
                    return Ok(());
                }
                Err(error) => error,
            };
            self.count([]);
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
                error.as_service_error()
            else {
                return Err(self.told(&error).into());
            };
            let codes: Vec<_> =
                cancelled.cancellation_reasons().iter().filter_map(|why| why.code()).collect();
            if codes.contains(&"ConditionalCheckFailed") {
                return Err(Refused::Condition);
            }
            let passing = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];
            if !codes.iter().any(|code| passing.contains(code)) {
                return Err(self.told(&error).into());
            }
            if tried >= TRIES {
                return Err(
                    Error::Table { table: self.name.clone(), trouble: TableTrouble::Throttled }.into()
                );
            }
            // not all at the same moment again
            tokio::time::sleep(pause.mul_f64(0.5 + jitter())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(Refused::Condition)
    }
}

/// 0..1, different from caller to caller: it only has to spread them.
fn jitter() -> f64 {
    let bytes = uuid::Uuid::now_v7().into_bytes();
    f64::from(bytes[15]) / 255.0
}

fn told_plainly(table: &str, detail: &str) -> Error {
    Error::Table { table: table.to_owned(), trouble: trouble_of(table, "", detail) }
}
