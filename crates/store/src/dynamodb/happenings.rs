//! What happens and how often: the last changes in their order, counts over time, and runs that must be heard of.
//!
//! What happens has numbers that grow, taken before it is written. So a later one may be there before an earlier: whoever
//! reads waits for that one, but not for long, since its writer may have died.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::Dynamo;
use super::client::{Ask, Item, Key, Range, n, number, s, text};
use super::list::counted;
use super::plan::{Plan, When, key, scope_of_type, sums_partition};
use super::row::{Row, hex, key_of};
use super::search::TYPES;
use crate::happening::LONGEST_GRACE;
use crate::{By, Error, ExperimentId, Happening, Status, Step, Stretch, What};

/// What happens is spread over so many partitions.
const SPREAD: i64 = 4;
/// An earlier one is waited for as long as the one behind it is no older than this.
const PATIENCE_MS: i64 = 5_000;
/// More than so many are not on their way at once: the others have expired.
const ON_THEIR_WAY: i64 = 200;
/// So many of the last are looked through for one that is still on its way.
const LOOKED_THROUGH: usize = 50;
/// What happened is kept for so long, and then removed by the table itself.
const KEPT_SECONDS: i64 = 2 * 86_400;
/// More stretches than this are not counted at once.
const STRETCHES: i64 = 3000;
/// So many types are told apart, in the order of their names.
const LISTED: usize = 100;
/// So many runs of which nothing was heard are told at once.
const UNHEARD: usize = 100;
/// Beats are spread over so many partitions.
const BEATS: u64 = 4;

fn partition(id: i64) -> String {
    format!("J{}", id.rem_euclid(SPREAD))
}

fn place(id: i64) -> Key {
    key(partition(id), format!("{id:020}"))
}

fn item(what: &str, number: u64) -> Item {
    let now = Timestamp::now();
    Item::from([
        ("what".to_owned(), s(what)),
        ("number".to_owned(), n(number)),
        ("at".to_owned(), n(now.as_millisecond())),
        ("ttl".to_owned(), n(now.as_second() + KEPT_SECONDS)),
    ])
}

/// Something that happens with the rest of a step.
pub(super) fn tell(plan: &mut Plan, id: i64, what: What, number: u64) {
    plan.put(place(id), item(what.as_str(), number), When::Always);
}

/// Takes the place of what did not happen.
pub(super) fn nothing(id: i64) -> Item {
    let (key, mut item) = (place(id), item("nothing", 0));
    item.insert("pk".to_owned(), s(key.0));
    item.insert("sk".to_owned(), s(key.1));
    item
}

fn id_of(item: &Item) -> i64 {
    text(item, "sk").and_then(|sk| sk.parse().ok()).unwrap_or_default()
}

/// Is something missing before this one that may still come?
fn may_follow(reached: i64, item: &Item, now: Timestamp) -> bool {
    let missing = id_of(item) - reached - 1;
    let age = now.as_millisecond() - number::<i64>(item, "at").unwrap_or_default();
    (1..=ON_THEIR_WAY).contains(&missing) && age.abs() < PATIENCE_MS
}

fn beat_key(number: u64) -> Key {
    key(format!("HB#{number}"), "-")
}

impl Dynamo {
    async fn last_taken(&self) -> Result<i64, Error> {
        let item = self.table.get("#", "number").await?;
        Ok(item.and_then(|item| number(&item, "happened")).unwrap_or_default())
    }

    /// The last one before which nothing is on its way.
    pub(super) async fn latest(&self) -> Result<i64, Error> {
        let last = self.last_taken().await?;
        let newest = |n| self.table.query(Ask::table(partition(n)).newest(LOOKED_THROUGH));
        let lists = try_join_all((0..SPREAD).map(newest)).await?;
        // before this one not all were read
        let from = lists.iter().filter(|list| list.len() == LOOKED_THROUGH).filter_map(|list| list.last());
        let from = from.map(id_of).max().unwrap_or_default();
        let mut all: Vec<Item> = lists.into_iter().flatten().filter(|item| id_of(item) >= from).collect();
        all.sort_by_key(id_of);
        let Some(mut reached) = all.first().map(id_of) else { return Ok(last) };
        let now = Timestamp::now();
        for item in &all {
            if may_follow(reached, item, now) {
                break;
            }
            reached = id_of(item);
        }
        Ok(reached)
    }

    pub(super) async fn happened_since(&self, since: i64, limit: usize) -> Result<Vec<Happening>, Error> {
        let (last, mut reached) = (self.last_taken().await?, since);
        let mut told = Vec::new();
        while reached < last && told.is_empty() {
            let asks = (0..SPREAD).map(|n| {
                let range = Range::Between(place(reached + 1).1, place(i64::MAX).1);
                self.table.query(Ask::table(partition(n)).range(range).first(limit))
            });
            let mut found: Vec<Item> = try_join_all(asks).await?.into_iter().flatten().collect();
            found.sort_by_key(id_of);
            found.truncate(limit);
            let (read, now) = (found.len(), Timestamp::now());
            let mut waits = false;
            found.retain(|item| {
                waits = waits || may_follow(reached, item, now);
                if !waits {
                    reached = id_of(item);
                }
                !waits
            });
            let numbers: Vec<_> = found.iter().filter_map(|it| number(it, "number")).map(key_of).collect();
            let rows = self.rows(&numbers).await?;
            let rows: BTreeMap<u64, Row> = rows.into_iter().map(|row| (row.number, row)).collect();
            told.extend(found.iter().filter_map(|item| {
                let what = match text(item, "what")? {
                    "started" => What::Started,
                    "diagnosed" => What::Diagnosed,
                    "ended" => What::Ended,
                    _ => return None,
                };
                // nothing, if it was removed meanwhile
                let row = rows.get(&number::<u64>(item, "number")?)?;
                Some(Happening { id: id_of(item), what, experiment: row.listed() })
            }));
            if waits || read < limit {
                break;
            }
        }
        Ok(told)
    }

    pub(super) async fn counts_over_time(
        &self,
        from: Timestamp,
        to: Timestamp,
        by: By,
        step: Step,
    ) -> Result<Vec<Stretch>, Error> {
        let unit = step.hours() * 3_600_000;
        let kind = match step {
            Step::Hour => "h",
            Step::Day => "d",
        };
        let first = from.as_millisecond().div_euclid(unit);
        let last = to.as_millisecond().div_euclid(unit).clamp(first, first + STRETCHES);
        let stretch = (kind, first.max(0), last.max(0) + 1);
        let mut counts: BTreeMap<i64, BTreeMap<String, u64>> = BTreeMap::new();
        let mut add = |item: &Item, word: &str, count: u64| {
            let start = text(item, "sk").and_then(|sk| sk.get(1..)?.parse::<i64>().ok());
            if let Some(start) = start.filter(|_| count > 0 && !word.is_empty()) {
                *counts.entry(start).or_default().entry(word.to_owned()).or_default() += count;
            }
        };
        if by == By::Type {
            let types = self.table.query(Ask::table(TYPES).first(LISTED)).await?;
            for name in types.iter().filter_map(|item| text(item, "type")) {
                let scope = scope_of_type(name);
                for item in self.sums_within(|shard| sums_partition(&scope, shard), stretch).await? {
                    let count = counted([&item].into_iter(), "n").iter().map(|(_, count)| count).sum();
                    add(&item, name, count);
                }
            }
        } else {
            for item in self.sums_within(|shard| sums_partition("", shard), stretch).await? {
                for (words, count) in counted([&item].into_iter(), "n") {
                    let verdict = words.verdict;
                    let word = match by {
                        By::Status => Some(words.status.as_str()),
                        By::Severity => verdict.map(|it| it.1.as_str()),
                        By::Origin => verdict.map(|it| it.2.as_str()),
                        By::Category | By::Type => verdict.map(|it| it.0.as_str()),
                    };
                    add(&item, word.unwrap_or_default(), count);
                }
            }
        }
        let stretch = |start: i64| Stretch {
            start: Timestamp::from_millisecond(start * unit).unwrap_or_default(),
            counts: counts.remove(&start).unwrap_or_default(),
        };
        Ok((first..=last).map(stretch).collect())
    }

    pub(super) async fn heard(
        &self,
        id: &ExperimentId,
        now: Timestamp,
        patience: Duration,
    ) -> Result<(), Error> {
        let (row, _) = self.row_of(id).await?;
        if row.status != Status::Running {
            return Err(Error::AlreadyFinished { id: id.to_string(), status: row.status });
        }
        let patience = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX >> 1);
        let due = now.as_millisecond().saturating_add(patience);
        let place = beat_key(row.number);
        let item = [
            ("pk", s(place.0)),
            ("sk", s(place.1)),
            ("due", n(due)),
            ("patience", n(patience)),
            ("a", s(format!("H{}", row.number % BEATS))),
            ("k", s(hex(due))),
        ];
        self.table.put(item.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()).await
    }

    pub(super) async fn not_heard_of(
        &self,
        now: Timestamp,
        listening: Timestamp,
    ) -> Result<Vec<ExperimentId>, Error> {
        let ms = now.as_millisecond();
        let asks = (0..BEATS).map(|n| {
            let range = Range::Between(hex(0), hex(ms - 1));
            self.table.query(Ask::index("newest", ("a", format!("H{n}")), "k").range(range).first(UNHEARD))
        });
        let found = try_join_all(asks).await?;
        let numbers: Vec<u64> = found
            .iter()
            .flatten()
            .filter_map(|item| text(item, "pk")?.strip_prefix("HB#")?.parse().ok())
            .take(UNHEARD)
            .collect();
        let beats = self.table.get_all(&numbers.iter().map(|it| beat_key(*it)).collect::<Vec<_>>()).await?;
        let rows = self.rows(&numbers.iter().map(|it| key_of(*it)).collect::<Vec<_>>()).await?;
        let rows: BTreeMap<u64, Row> = rows.into_iter().map(|row| (row.number, row)).collect();
        let (mut unheard, mut needless) = (Vec::new(), Vec::new());
        for it in numbers {
            match rows.get(&it).filter(|row| row.status == Status::Running) {
                // the index may be behind
                Some(row) => {
                    let due = beats.get(&beat_key(it)).is_some_and(|beat| {
                        let of = |name| number::<i64>(beat, name).unwrap_or_default();
                        let heard_from = listening.as_millisecond() + of("patience").min(LONGEST_GRACE);
                        of("due").max(heard_from) < ms
                    });
                    unheard.extend(due.then(|| row.id()));
                }
                // what has ended needs no beat
                None => needless.push(beat_key(it)),
            }
        }
        self.table.write_all(Vec::new(), needless).await?;
        Ok(unheard)
    }
}
