//! What experiments would write, and to which partitions: for planning how much a table bears, without a table. It builds the
//! same plans as the store and adds up what DynamoDB would charge for them.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

use super::client::{Item, Key, n, s, text};
use super::happenings;
use super::plan::{self, Plan, SHARDS, Write};
use super::row::{Row, key_of};
use super::search::words_of;
use super::table::INDEXES;
use crate::{Error, ExperimentId, NewExperiment, Outcome, What};

/// A unit writes so many bytes; a transaction takes two for each.
const UNIT: usize = 1024;
const IN_TRANSACTION: u64 = 2;
/// What AWS adds to each item and each entry of an index.
const OVERHEAD: usize = 100;

/// What experiments have written so far.
#[derive(Debug, Default)]
pub struct Load {
    /// By table or index, and partition.
    units: HashMap<(&'static str, String), u64>,
    /// Items that grow with what they count.
    counters: HashMap<Key, BTreeMap<String, i64>>,
    experiments: u64,
    bytes: u64,
}

/// Partitions of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Hot {
    /// `table`, or the index.
    pub place: &'static str,
    /// What their keys begin with.
    pub begins: String,
    /// How many of them were written.
    pub partitions: usize,
    /// The one that took most.
    pub hottest: String,
    /// Write units of that one for each experiment, on average.
    pub units: f64,
    /// Write units of all of them for each experiment.
    pub all_units: f64,
}

fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(number) => number.len() / 2 + 2,
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        _ => 1,
    }
}

fn item_size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + size(value)).sum()
}

fn kind(place: &'static str, partition: &str) -> (&'static str, String) {
    let begins = match partition.split_once('#') {
        Some((begins, _)) => format!("{begins}#"),
        None => partition.chars().take(1).collect(),
    };
    // combinations of words have nothing in common
    (place, if place == "table" || place == "newest" { begins } else { String::new() })
}

impl Load {
    /// An experiment that begins, runs and ends, with all that is written for it but its log. `number` is its number; the
    /// counters of each number's shard are written, as if so many processes took turns.
    pub fn add(&mut self, new: NewExperiment, outcome: &Outcome, number: u64) -> Result<(), Error> {
        let shard = number % SHARDS;
        let name = ExperimentId::name_for(new.id.clone())?;
        let begun = Row::new(number, name, 1, new);
        let mut ended = begun.clone();
        ended.end(outcome, None, None);
        self.experiments += 1;
        self.take("table", "#".to_owned(), 1);
        self.words(None, &begun);
        self.step(None, &begun, shard)?;
        self.words(Some(&begun), &ended);
        self.step(Some((begun, 1)), &ended, shard)?;
        Ok(())
    }

    fn take(&mut self, place: &'static str, partition: String, units: u64) {
        *self.units.entry((place, partition)).or_default() += units;
    }

    fn words(&mut self, before: Option<&Row>, after: &Row) {
        let (had, has) = (before.map(words_of).unwrap_or_default(), words_of(after));
        for word in has.difference(&had) {
            let partition = format!("W#{word}");
            self.bytes += (partition.len() + plan::placed(after).len() + 20 + OVERHEAD) as u64;
            self.take("table", partition, 1);
        }
        for word in had.difference(&has) {
            self.take("table", format!("W#{word}"), 1);
        }
    }

    fn step(&mut self, before: Option<(Row, u64)>, after: &Row, shard: u64) -> Result<(), Error> {
        let mut plan = Plan::default();
        plan::change(&mut plan, "plan", before.as_ref(), Some(after), shard)?;
        let ends = before.is_some();
        let what = if ends { What::Ended } else { What::Started };
        let id = i64::try_from(2 * after.number).unwrap_or(i64::MAX) + i64::from(ends);
        happenings::tell(&mut plan, id, what, after.number);
        // the number of what happens; a beginning's comes with the experiment's
        self.take("table", "#".to_owned(), u64::from(ends));
        let old = before.map(|(row, version)| row.item("plan", version)).transpose()?;
        for (key, write) in plan.writes {
            match write {
                Write::Put(mut item, _) => {
                    item.insert("pk".to_owned(), s(&key.0));
                    item.insert("sk".to_owned(), s(&key.1));
                    let itself = key == key_of(after.number);
                    let had = old.as_ref().filter(|_| itself);
                    let larger = had.map_or(0, item_size).max(item_size(&item));
                    self.take("table", key.0, IN_TRANSACTION * larger.div_ceil(UNIT) as u64);
                    let entries = self.entries(had, &item);
                    // what an experiment's item is at its end is what stays
                    if !itself || ends {
                        self.bytes += (item_size(&item) + OVERHEAD + entries) as u64;
                    }
                }
                Write::Update(adds, sets, _) => {
                    let counter = self.counters.entry(key.clone()).or_default();
                    for (name, by) in adds {
                        *counter.entry(name).or_default() += by;
                    }
                    let counted: usize = counter.iter().map(|(name, by)| name.len() + size(&n(by))).sum();
                    let set: usize = sets.iter().map(|(name, value)| name.len() + size(value)).sum();
                    let bytes = counted + set + key.0.len() + key.1.len() + 4;
                    self.take("table", key.0, IN_TRANSACTION * bytes.div_ceil(UNIT) as u64);
                }
                Write::Delete(_) => self.take("table", key.0, IN_TRANSACTION),
            }
        }
        Ok(())
    }

    /// Entries of indexes that come, go or move; the bytes of those that are there afterwards.
    fn entries(&mut self, before: Option<&Item>, after: &Item) -> usize {
        let mut bytes = 0;
        for (index, hash, range) in INDEXES {
            let entry = |item: &Item| Some((text(item, hash)?.to_owned(), text(item, range)?.to_owned()));
            let (had, has) = (before.and_then(entry), entry(after));
            if let Some((hash, range)) = &has {
                bytes += hash.len() + range.len() + 40 + OVERHEAD;
            }
            if had != has {
                for (partition, _) in had.into_iter().chain(has) {
                    self.take(index, partition, 1);
                }
            }
        }
        bytes
    }

    /// How many experiments it is of.
    #[must_use]
    pub fn experiments(&self) -> u64 {
        self.experiments
    }

    /// Write units for each experiment, on average, logs left out.
    #[must_use]
    pub fn units(&self) -> f64 {
        self.units.values().sum::<u64>() as f64 / self.experiments.max(1) as f64
    }

    /// Bytes that stay of each experiment, with what finds it and what AWS adds; logs left out.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let counters: usize = self
            .counters
            .iter()
            .map(|(key, names)| {
                key.0.len() + key.1.len() + names.keys().map(|name| name.len() + 8).sum::<usize>() + OVERHEAD
            })
            .sum();
        (self.bytes + counters as u64) / self.experiments.max(1)
    }

    /// All kinds of partitions, the hottest first.
    #[must_use]
    pub fn hottest(&self) -> Vec<Hot> {
        let mut kinds: BTreeMap<(&'static str, String), (usize, u64, &str, u64)> = BTreeMap::new();
        let mut all: Vec<_> = self.units.iter().collect();
        all.sort_unstable();
        for ((place, partition), units) in all {
            let found = kinds.entry(kind(place, partition)).or_default();
            found.0 += 1;
            found.1 += units;
            if *units > found.3 {
                (found.2, found.3) = (partition, *units);
            }
        }
        let each = |units: u64| units as f64 / self.experiments.max(1) as f64;
        let mut hot: Vec<Hot> = kinds
            .into_iter()
            .map(|((place, begins), (partitions, all, hottest, most))| Hot {
                place,
                begins,
                partitions,
                hottest: hottest.to_owned(),
                units: each(most),
                all_units: each(all),
            })
            .collect();
        hot.sort_by(|a, b| b.units.total_cmp(&a.units).then_with(|| a.hottest.cmp(&b.hottest)));
        hot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::given;

    #[test]
    fn what_is_shared_by_all_is_hotter_than_what_is_ones_own() {
        let mut load = Load::default();
        for number in 1..=64 {
            let outcome = Outcome {
                diagnosis: Some(given::diagnosis("v1:known", "It ran out of memory.")),
                ..given::ended(crate::Status::Failed, 60)
            };
            let new = given::new(&format!("run-{number}"), "train", "python t.py", 10);
            load.add(new, &outcome, number).unwrap();
        }
        assert_eq!(load.experiments(), 64);
        let hot = load.hottest();
        let of = |place: &str, begins: &str| {
            hot.iter().find(|it| it.place == place && it.begins == begins).unwrap()
        };
        // a unit of the counter of numbers for each step, in one partition
        assert_eq!((of("table", "#").partitions, of("table", "#").units), (1, 2.0));
        // each shard of the counters, for everybody and for the type
        assert_eq!(of("table", "C#").partitions, 2 * SHARDS as usize);
        assert!(of("table", "C#").hottest.starts_with("C##"), "{hot:?}");
        // every experiment has an item of its own, written twice
        assert_eq!(of("table", "E#").partitions, 64);
        assert!((4.0..=6.0).contains(&of("table", "E#").all_units), "{hot:?}");
        assert_eq!(of("newest", "A").partitions, super::super::row::SPREAD as usize);
        assert_eq!(of("signature", "").all_units, 1.0);
        assert!(load.units() > 40.0 && load.bytes() > 500, "{} {}", load.units(), load.bytes());
    }
}
