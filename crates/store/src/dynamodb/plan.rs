//! What one step writes, gathered until it is known whole and then written as one transaction: rows, the items by which
//! they are found, and every counter that they move.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, Delete, Put, TransactWriteItem, Update};

use super::client::{Item, Key, n, s};
use super::row::{Row, command_hash, hex, key_of, moment, name_key};
use crate::{Error, Status, TableTrouble};

/// Counters are spread over so many items: writers in different processes seldom meet.
pub(super) const SHARDS: u64 = 8;

/// When something is written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum When {
    Always,
    Absent,
    Present,
    Above(&'static str, i64),
    Is(&'static str, AttributeValue),
}

#[derive(Debug, Clone)]
pub(super) enum Write {
    Put(Item, When),
    Delete(When),
    /// Numbers added to, and attributes set.
    Update(BTreeMap<String, i64>, BTreeMap<String, AttributeValue>, When),
}

/// By the item that is written: a transaction takes each only once.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) writes: BTreeMap<Key, Write>,
}

pub(super) fn key(pk: impl Into<String>, sk: impl Into<String>) -> Key {
    (pk.into(), sk.into())
}

/// Words of people's as part of a key, which has its limits: long ones by their hash.
pub(super) fn bounded(text: &str) -> String {
    if text.len() <= 200 { text.to_owned() } else { hashed(text) }
}

/// The same, where they are all of a key's part: none may be empty.
pub(super) fn alone(text: &str) -> String {
    if text.is_empty() { hashed(text) } else { bounded(text) }
}

fn hashed(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Plan {
    pub(super) fn put(&mut self, key: Key, item: Item, when: When) {
        let mut item = item;
        item.insert("pk".to_owned(), s(&key.0));
        item.insert("sk".to_owned(), s(&key.1));
        self.writes.insert(key, Write::Put(item, when));
    }

    pub(super) fn delete(&mut self, key: Key, when: When) {
        self.writes.insert(key, Write::Delete(when));
    }

    pub(super) fn add(&mut self, key: Key, name: impl Into<String>, by: i64) {
        if by == 0 {
            return;
        }
        let new = || Write::Update(BTreeMap::new(), BTreeMap::new(), When::Always);
        if let Write::Update(adds, ..) = self.writes.entry(key).or_insert_with(new) {
            *adds.entry(name.into()).or_default() += by;
        }
    }

    pub(super) fn set(&mut self, key: Key, name: impl Into<String>, value: AttributeValue) {
        let new = || Write::Update(BTreeMap::new(), BTreeMap::new(), When::Always);
        if let Write::Update(_, sets, _) = self.writes.entry(key).or_insert_with(new) {
            sets.insert(name.into(), value);
        }
    }

    /// Whoever asks whether anything was written sees that something was.
    pub(super) fn touch(&mut self, shard: u64) {
        self.add(key(sums_partition("", shard), "a"), "v", 1);
    }

    /// The condition of an update that is there already.
    pub(super) fn only_when(&mut self, key: Key, when: When) {
        let new = || Write::Update(BTreeMap::new(), BTreeMap::new(), When::Always);
        if let Write::Update(.., condition) = self.writes.entry(key).or_insert_with(new) {
            *condition = when;
        }
    }

    pub(super) fn items(self, table: &str) -> Result<Vec<TransactWriteItem>, Error> {
        let writes = self.writes.into_iter().filter(|(_, write)| match write {
            // where counters cancel out, what is set beside them is there already
            Write::Update(adds, sets, _) => match adds.is_empty() {
                true => !sets.is_empty(),
                false => adds.values().any(|by| *by != 0),
            },
            _ => true,
        });
        writes.map(|(key, write)| write.item(table, key)).collect()
    }
}

impl Write {
    fn item(self, table: &str, key: Key) -> Result<TransactWriteItem, Error> {
        let whole = || Item::from([("pk".to_owned(), s(&key.0)), ("sk".to_owned(), s(&key.1))]);
        // every part that is asked for is given
        let incomplete = |e: aws_sdk_dynamodb::error::BuildError| Error::Table {
            table: table.to_owned(),
            trouble: TableTrouble::Other { detail: e.to_string() },
        };
        let when = match &self {
            Self::Put(_, when) | Self::Delete(when) | Self::Update(_, _, when) => when.clone(),
        };
        let (mut names, mut values) = (Vec::new(), Vec::new());
        let condition = match when {
            When::Always => None,
            When::Absent => Some("attribute_not_exists(pk)"),
            When::Present => Some("attribute_exists(pk)"),
            When::Above(name, value) => {
                names.push(("#w".to_owned(), name.to_owned()));
                values.push((":w".to_owned(), n(value)));
                Some("#w > :w")
            }
            When::Is(name, value) => {
                names.push(("#w".to_owned(), name.to_owned()));
                values.push((":w".to_owned(), value));
                Some("#w = :w")
            }
        };
        let built = TransactWriteItem::builder();
        let built = match self {
            Self::Put(item, _) => {
                let mut put = Put::builder().table_name(table).set_item(Some(item));
                put = put.set_condition_expression(condition.map(str::to_owned));
                for (name, value) in names {
                    put = put.expression_attribute_names(name, value);
                }
                for (name, value) in values {
                    put = put.expression_attribute_values(name, value);
                }
                built.put(put.build().map_err(incomplete)?)
            }
            Self::Delete(_) => {
                let mut delete = Delete::builder().table_name(table).set_key(Some(whole()));
                delete = delete.set_condition_expression(condition.map(str::to_owned));
                for (name, value) in names {
                    delete = delete.expression_attribute_names(name, value);
                }
                for (name, value) in values {
                    delete = delete.expression_attribute_values(name, value);
                }
                built.delete(delete.build().map_err(incomplete)?)
            }
            Self::Update(adds, sets, _) => {
                let (mut added, mut set) = (Vec::new(), Vec::new());
                for (i, (name, by)) in adds.into_iter().filter(|(_, by)| *by != 0).enumerate() {
                    added.push(format!("#a{i} :a{i}"));
                    names.push((format!("#a{i}"), name));
                    values.push((format!(":a{i}"), n(by)));
                }
                for (i, (name, value)) in sets.into_iter().enumerate() {
                    set.push(format!("#s{i} = :s{i}"));
                    names.push((format!("#s{i}"), name));
                    values.push((format!(":s{i}"), value));
                }
                let mut expression = String::new();
                if !set.is_empty() {
                    expression.push_str(&format!("SET {} ", set.join(", ")));
                }
                if !added.is_empty() {
                    expression.push_str(&format!("ADD {}", added.join(", ")));
                }
                let mut update = Update::builder().table_name(table).set_key(Some(whole()));
                update = update.update_expression(expression.trim_end());
                update = update.set_condition_expression(condition.map(str::to_owned));
                for (name, value) in names {
                    update = update.expression_attribute_names(name, value);
                }
                for (name, value) in values {
                    update = update.expression_attribute_values(name, value);
                }
                built.update(update.build().map_err(incomplete)?)
            }
        };
        Ok(built.build())
    }
}

/// The counters of whose experiments a row moves.
fn scopes(row: &Row) -> Vec<String> {
    let mut scopes = vec![String::new()];
    // what runs has cost nothing yet
    if row.status != Status::Running {
        scopes.extend((!row.kind.is_empty()).then(|| scope_of_type(&row.kind)));
        scopes.extend(row.tested.as_ref().map(|it| scope_of_run(it.run)));
    }
    scopes
}

pub(super) fn scope_of_type(kind: &str) -> String {
    format!("t:{}", bounded(kind))
}

pub(super) fn scope_of_run(run: u64) -> String {
    format!("r:{run}")
}

/// All of time, the day and the hour that a row belongs to.
fn spans(row: &Row) -> [String; 3] {
    let hour = moment(row.key).as_millisecond() / 3_600_000;
    ["a".to_owned(), span("d", hour / 24), span("h", hour)]
}

/// A stretch of time as a sort key.
pub(super) fn span(kind: &str, start: i64) -> String {
    format!("{kind}{start:08}")
}

pub(super) fn sums_partition(scope: &str, shard: u64) -> String {
    format!("C#{scope}#{shard}")
}

pub(super) fn causes_partition(scope: &str, shard: u64) -> String {
    format!("L#{scope}#{shard}")
}

pub(super) fn signature_partition(signature: &str) -> String {
    format!("G#{}", bounded(signature))
}

/// Those over whose diagnosis a correction stands.
pub(super) fn overruled_partition(correction: i64) -> String {
    format!("XO#{correction}")
}

/// Successes of a type, and of one command of it.
pub(super) fn success_partitions(row: &Row) -> Vec<String> {
    let mut all = Vec::new();
    if row.status.succeeded() {
        all.extend((!row.kind.is_empty()).then(|| successes_of_type(&row.kind)));
        let command =
            (!row.command.0.is_empty()).then(|| successes_of_command(&row.kind, &command_hash(&row.command)));
        all.extend(command);
    }
    all
}

pub(super) fn successes_of_type(kind: &str) -> String {
    format!("S#{}", bounded(kind))
}

pub(super) fn successes_of_command(kind: &str, hash: &str) -> String {
    format!("S#{}#{hash}", bounded(kind))
}

/// A place in the order of time, of one experiment.
pub(super) fn placed(row: &Row) -> String {
    format!("{}{}", hex(row.key), row.number)
}

/// All counters that a row moves, by so much in one direction.
fn count(plan: &mut Plan, row: &Row, by: i64, shard: u64) {
    let code = row.words().code();
    let mut amounts = vec![('n', by)];
    if row.status != Status::Running {
        amounts.extend([
            ('w', by * row.wall().unwrap_or(0)),
            ('u', by * row.cpu()),
            ('c', by * row.nanodollars()),
        ]);
    }
    for scope in scopes(row) {
        for span in spans(row) {
            let sums = key(sums_partition(&scope, shard), &span);
            for (kind, by) in &amounts {
                plan.add(sums.clone(), format!("{kind}{code}"), *by);
            }
            if let Some(signature) = row.signature() {
                let cause = key(causes_partition(&scope, shard), format!("{span}#{}", bounded(signature)));
                for (kind, by) in &amounts {
                    plan.add(cause.clone(), format!("{kind}{code}"), *by);
                }
                plan.set(cause, "s", s(signature));
            }
        }
    }
    if let Some(signature) = row.signature() {
        let cause = key(signature_partition(signature), shard.to_string());
        plan.add(cause.clone(), code, by);
        if row.status != Status::Running {
            plan.add(cause.clone(), "us", by * row.wall().unwrap_or(0));
            plan.add(cause, "nd", by * row.nanodollars());
            let day = day_of(row);
            plan.add(trend_key(signature, day, shard), format!("d{day}"), by);
        }
    }
}

fn day_of(row: &Row) -> i64 {
    moment(row.key).as_millisecond() / 86_400_000
}

/// Days of a cause stand together in so many, so that its last two weeks are in two of them.
const DAYS: i64 = 16;

/// The stretch of days that holds this one, of one cause; behind everything else that is kept of it.
pub(super) fn trend_stretch(day: i64) -> String {
    format!("t{:06}", day.max(0) / DAYS)
}

fn trend_key(signature: &str, day: i64, shard: u64) -> Key {
    key(signature_partition(signature), format!("{}#{shard}", trend_stretch(day)))
}

/// From one state of an experiment to the next: nothing at first, nothing when it is removed.
pub(super) fn change(
    plan: &mut Plan,
    table: &str,
    before: Option<&(Row, u64)>,
    after: Option<&Row>,
    shard: u64,
) -> Result<(), Error> {
    plan.touch(shard);
    if let Some((row, version)) = before {
        count(plan, row, -1, shard);
        if after.is_none() {
            plan.delete(key_of(row.number), When::Is("v", n(version)));
            plan.delete(name_key(&row.name, row.attempt), When::Always);
        }
    }
    if let Some(row) = after {
        count(plan, row, 1, shard);
        let (version, when) = match before {
            Some((_, version)) => (version + 1, When::Is("v", n(version))),
            None => (1, When::Absent),
        };
        plan.put(key_of(row.number), row.item(table, version)?, when);
        if before.is_none() {
            let names = Item::from([
                ("n".to_owned(), s(format!("N{}", row.number % super::row::SPREAD))),
                ("nk".to_owned(), s(&row.name)),
                ("number".to_owned(), n(row.number)),
            ]);
            plan.put(name_key(&row.name, row.attempt), names, When::Absent);
        }
    }
    let found_by = |row: Option<&Row>| row.map(found_by).unwrap_or_default();
    let (had, has) = (found_by(before.map(|(row, _)| row)), found_by(after));
    for key in had.keys().filter(|key| !has.contains_key(*key)) {
        plan.delete(key.clone(), When::Always);
    }
    for (key, item) in has {
        if !had.contains_key(&key) {
            plan.put(key, item, When::Always);
        }
    }
    Ok(())
}

/// The items by which an experiment is found, beside the indexes.
fn found_by(row: &Row) -> BTreeMap<Key, Item> {
    let number = || Item::from([("number".to_owned(), n(row.number))]);
    let mut all: BTreeMap<Key, Item> = success_partitions(row)
        .into_iter()
        .map(|partition| (key(partition, placed(row)), number()))
        .collect();
    if let Some(log) = &row.log {
        all.insert(key(format!("B#{}", log.id), format!("E{}", row.number)), number());
    }
    if let Some(over) = &row.over {
        all.insert(key(overruled_partition(over.correction), placed(row)), number());
    }
    if let Some(it) = &row.tested {
        all.insert(key(format!("Q#{}", it.run), format!("{:020}", row.number)), number());
        for parent in it.all_parents() {
            all.insert(key(format!("P#{}", parent.2), placed(row)), number());
        }
        for rule in &it.refused_by {
            all.insert(key(format!("R#{}", bounded(rule)), placed(row)), number());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cancels_out_is_not_written() {
        let mut plan = Plan::default();
        let place = key("C##0", "a");
        plan.add(place.clone(), "nf---", 2);
        plan.add(place.clone(), "nf---", -2);
        assert!(plan.clone().items("t").unwrap().is_empty());
        plan.add(place, "nr---", -1);
        let items = plan.items("t").unwrap();
        let update = items[0].update().unwrap();
        assert_eq!(update.update_expression(), "ADD #a0 :a0");
        assert_eq!(update.expression_attribute_names().unwrap()["#a0"], "nr---");
    }
}
