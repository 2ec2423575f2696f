//! Pages of the list: what fits a query is a few stretches of an index, each in the order that is asked for, and a page is
//! merged from their beginnings. How many fit is known from counters.

use futures_util::future::try_join_all;

use super::Dynamo;
use super::client::{Ask, Item, Range, text};
use super::plan::signature_partition;
use super::row::{Row, SPREAD, hex, key_of, number_of, partitions, unhex};
use super::search::running;
use super::words::Words;
use crate::order::{Cursor, category_rank, severity_rank};
use crate::query::SORTED;
use crate::{Error, Page, Query, Sort, SortBy};

/// An experiment in an order: what it is sorted by, its key and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    value: i64,
    key: i64,
    number: u64,
}

/// Experiments that an index holds side by side.
#[derive(Debug, Clone)]
enum Stretch {
    /// One part of all of them.
    All(u64),
    /// One part of those with these words.
    Words(Words, u64),
    /// Of one signature, with these words.
    Signature(String, Words),
}

/// By what a stretch is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Key,
    Wall,
    /// Their keys; those of which nobody knows how long they took.
    NoWall,
    Cost,
}

/// A part of a list, sorted in itself and standing before the next.
struct Part {
    stretches: Vec<Stretch>,
    by: By,
    descending: bool,
    /// What all of them are sorted by, if that is one value.
    value: Option<Option<i64>>,
}

const MOST: i64 = i64::MAX - 1;

impl Stretch {
    /// Those behind `after`.
    fn ask(&self, by: By, descending: bool, after: Option<(i64, i64)>, limit: usize) -> Ask<'_> {
        let (index, partition, sort, prefix) = match (self, by) {
            (Self::All(shard), _) => ("newest", ("a", format!("A{shard}")), "k", String::new()),
            (Self::Signature(signature, words), _) => {
                ("signature", ("g", format!("G{signature}")), "gk", words.code())
            }
            (Self::Words(words, shard), by) => {
                let partition = ("w", format!("{}{shard}", words.code()));
                match by {
                    By::Key => ("words", partition, "k", String::new()),
                    By::Wall => ("wall", partition, "t", "w".to_owned()),
                    By::NoWall => ("wall", partition, "t", "n".to_owned()),
                    By::Cost => ("cost", partition, "c", String::new()),
                }
            }
        };
        let has_value = matches!(by, By::Wall | By::Cost);
        let place = |value: i64, key: i64| match has_value {
            true => format!("{prefix}{}{}", hex(value), hex(key)),
            false => format!("{prefix}{}", hex(key)),
        };
        let (first, last) = (place(0, 0), place(i64::MAX, i64::MAX));
        let range = match (after, descending) {
            (None, _) => Range::Between(first, last),
            // what is before the first or behind the last is nothing
            (Some((0, key)), true) if key <= 0 => Range::Between(last, first),
            (Some((value, key)), true) if key <= 0 => Range::Between(first, place(value - 1, i64::MAX)),
            (Some((value, key)), true) => Range::Between(first, place(value, key - 1)),
            (Some((value, key)), false) => Range::Between(place(value, key.min(MOST) + 1), last),
        };
        let ask = Ask::index(index, partition, sort).range(range);
        Ask { descending, limit, ..ask }
    }

    fn found(item: &Item, by: By) -> Option<Found> {
        let number = number_of(item)?;
        let tail = |name: &str, at: usize| text(item, name)?.get(at..at + 16).and_then(unhex);
        let (value, key) = match by {
            By::Key => {
                let key = text(item, "k").and_then(unhex);
                (0, key.or_else(|| tail("gk", 4))?)
            }
            By::Wall => (tail("t", 1)?, tail("t", 17)?),
            By::NoWall => (0, tail("t", 1)?),
            By::Cost => (tail("c", 0)?, tail("c", 16)?),
        };
        Some(Found { value, key, number })
    }
}

/// What fits a query.
enum What {
    /// Everything, in these combinations of words.
    All(Vec<(Words, u64)>),
    /// Combinations of words.
    Words(Vec<(Words, u64)>),
    /// Combinations of words of one signature.
    Signature(String, Vec<(Words, u64)>),
}

impl What {
    fn combinations(&self) -> &[(Words, u64)] {
        match self {
            Self::All(all) | Self::Words(all) | Self::Signature(_, all) => all,
        }
    }

    fn total(&self) -> u64 {
        self.combinations().iter().map(|(_, count)| count).sum()
    }

    fn stretches(&self, which: impl Fn(Words) -> bool) -> Vec<Stretch> {
        let fitting = self.combinations().iter().map(|(words, _)| *words).filter(|words| which(*words));
        match self {
            Self::Signature(signature, _) => {
                fitting.map(|words| Stretch::Signature(signature.clone(), words)).collect()
            }
            _ => fitting
                .flat_map(|words| (0..partitions(words)).map(move |n| Stretch::Words(words, n)))
                .collect(),
        }
    }

    fn parts(&self, sort: Sort) -> Vec<Part> {
        let descending = sort.newest_first();
        let part = |by, value| Part { stretches: self.stretches(|_| true), by, descending, value };
        match sort.by {
            SortBy::Started => match self {
                Self::All(_) => {
                    let stretches = (0..SPREAD).map(Stretch::All).collect();
                    vec![Part { stretches, by: By::Key, descending, value: Some(None) }]
                }
                _ => vec![part(By::Key, Some(None))],
            },
            SortBy::Duration => vec![part(By::Wall, None), part(By::NoWall, Some(None))],
            SortBy::Cost => vec![part(By::Cost, None)],
            SortBy::Severity | SortBy::Category => {
                let of = |words: Words| {
                    words.verdict.map(|(category, severity, _)| match sort.by {
                        SortBy::Severity => severity_rank(severity),
                        _ => category_rank(category),
                    })
                };
                let word = |value: Option<i64>| Part {
                    stretches: self.stretches(|words| of(words) == value),
                    by: By::Key,
                    descending,
                    value: Some(value),
                };
                sort.words_in_order().into_iter().map(word).collect()
            }
        }
    }
}

impl Dynamo {
    async fn merged(
        &self,
        part: &Part,
        after: Option<(i64, i64)>,
        limit: usize,
    ) -> Result<Vec<Found>, Error> {
        let ask = |stretch: &Stretch| {
            let stretch = stretch.clone();
            async move {
                let ask = stretch.ask(part.by, part.descending, after, limit);
                self.table.query(ask).await
            }
        };
        let mut all: Vec<Found> = Vec::new();
        // not all at once: the SDK would open a connection for each
        for some in part.stretches.chunks(16) {
            let found = try_join_all(some.iter().map(ask)).await?;
            all.extend(found.iter().flatten().filter_map(|item| Stretch::found(item, part.by)));
        }
        all.sort_unstable();
        if part.descending {
            all.reverse();
        }
        all.dedup();
        all.truncate(limit);
        Ok(all)
    }

    /// Part after part, from the cursor's place on, each with what it is sorted by.
    async fn sorted(
        &self,
        what: &What,
        sort: Sort,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<(Option<i64>, Found)>, Error> {
        let (mut all, mut cursor) = (Vec::new(), cursor);
        for part in what.parts(sort) {
            let mut after = None;
            if let Some(place) = cursor {
                let reached = match part.value {
                    Some(value) => value == place.value,
                    None => place.value.is_some(),
                };
                if !reached {
                    continue;
                }
                let value = if part.value.is_some() { 0 } else { place.value.unwrap_or(0) };
                after = Some((value, place.key));
                cursor = None;
            }
            let found = self.merged(&part, after, limit - all.len()).await?;
            all.extend(found.into_iter().map(|it| (part.value.unwrap_or(Some(it.value)), it)));
            if all.len() >= limit {
                break;
            }
        }
        Ok(all)
    }

    /// Where no index is in the order that is asked for: of the newest.
    async fn newest_sorted(
        &self,
        what: &What,
        sort: Sort,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Vec<(Option<i64>, Found)>, Error> {
        let part =
            Part { stretches: what.stretches(|_| true), by: By::Key, descending: true, value: Some(None) };
        let newest = self.merged(&part, None, SORTED as usize).await?;
        let keys: Vec<_> = newest.iter().map(|it| key_of(it.number)).collect();
        let mut all: Vec<_> = self.rows(&keys).await?;
        let value = |row: &Row| match sort.by {
            SortBy::Duration => row.wall(),
            _ => Some(row.nanodollars()),
        };
        let place = |row: &Row| (value(row), row.key);
        // what has no value is last, whichever way round
        let compare = |a: &(Option<i64>, i64), b: &(Option<i64>, i64)| {
            let order = if sort.descending { b.cmp(a) } else { a.cmp(b) };
            a.0.is_none().cmp(&b.0.is_none()).then(order)
        };
        all.sort_unstable_by(|a, b| compare(&place(a), &place(b)));
        if let Some(cursor) = cursor {
            all.retain(|row| compare(&place(row), &(cursor.value, cursor.key)).is_gt());
        }
        let found = |row: &Row| (value(row), Found { value: 0, key: row.key, number: row.number });
        Ok(all.iter().take(limit).map(found).collect())
    }

    pub(super) async fn page(&self, query: &Query) -> Result<Page, Error> {
        let cursor = query.cursor()?;
        let (size, sort) = (query.page_size(), query.sort);
        let all = self.combinations().await?;
        let running = running(&all);
        if let Some(typed) = query.typed() {
            return self.searched(query, typed, running).await;
        }
        let every = all.len();
        let what = match &query.signature {
            Some(signature) => {
                let mut of = self.combinations_of(signature).await?;
                of.retain(|(words, _)| words.fits(query));
                What::Signature(signature.clone(), of)
            }
            None => {
                let fitting: Vec<_> = all.into_iter().filter(|(words, _)| words.fits(query)).collect();
                if fitting.len() == every { What::All(fitting) } else { What::Words(fitting) }
            }
        };
        let has_no_index =
            matches!(what, What::Signature(..)) && matches!(sort.by, SortBy::Duration | SortBy::Cost);
        let mut found = match has_no_index {
            true => self.newest_sorted(&what, sort, cursor, size + 1).await?,
            false => self.sorted(&what, sort, cursor, size + 1).await?,
        };
        let more = found.len() > size;
        found.truncate(size);
        let cursor = |(value, it): &(Option<i64>, Found)| {
            Cursor { sort, value: *value, key: it.key, as_beginnings: false }.to_string()
        };
        let total = what.total();
        let numbers: Vec<_> = found.iter().map(|(_, it)| it.number).collect();
        Ok(Page {
            total_count: total,
            total_is_at_least: false,
            sorted_among: Some(SORTED).filter(|most| has_no_index && total > *most),
            running_commands: running,
            next_cursor: found.last().filter(|_| more).map(cursor),
            experiments: self.in_order(&numbers).await?.iter().map(Row::listed).collect(),
        })
    }

    /// Those of these that there are, in this order.
    pub(super) async fn in_order(&self, numbers: &[u64]) -> Result<Vec<Row>, Error> {
        let keys: Vec<_> = numbers.iter().map(|number| key_of(*number)).collect();
        let mut items = self.table.get_all(&keys).await?;
        keys.iter().filter_map(|key| items.remove(key)).map(|item| Row::parse(&item)).collect()
    }

    /// Of a signature, the newest first.
    pub(super) async fn newest_of(&self, signature: &str, limit: usize) -> Result<Vec<Row>, Error> {
        let of = self.combinations_of(signature).await?;
        let what = What::Signature(signature.to_owned(), of);
        let part =
            Part { stretches: what.stretches(|_| true), by: By::Key, descending: true, value: Some(None) };
        let found = self.merged(&part, None, limit).await?;
        self.in_order(&found.iter().map(|it| it.number).collect::<Vec<_>>()).await
    }

    /// The newest with these words and of this signature, before a key.
    pub(super) async fn newest_with(
        &self,
        signature: &str,
        which: impl Fn(Words) -> bool,
        before: i64,
        limit: usize,
    ) -> Result<Vec<u64>, Error> {
        let of = self.combinations_of(signature).await?;
        let what = What::Signature(signature.to_owned(), of);
        let part =
            Part { stretches: what.stretches(which), by: By::Key, descending: true, value: Some(None) };
        let found = self.merged(&part, Some((0, before)), limit).await?;
        Ok(found.iter().map(|it| it.number).collect())
    }

    /// The newest of all; or those with some words.
    pub(super) async fn newest_numbers(
        &self,
        which: Option<Words>,
        after: Option<i64>,
        descending: bool,
        limit: usize,
    ) -> Result<Vec<(i64, u64)>, Error> {
        let stretches = match which {
            None => (0..SPREAD).map(Stretch::All).collect(),
            Some(words) => (0..partitions(words)).map(|n| Stretch::Words(words, n)).collect(),
        };
        let part = Part { stretches, by: By::Key, descending, value: Some(None) };
        let found = self.merged(&part, after.map(|key| (0, key)), limit).await?;
        Ok(found.into_iter().map(|it| (it.key, it.number)).collect())
    }

    pub(super) async fn combinations_of(&self, signature: &str) -> Result<Vec<(Words, u64)>, Error> {
        let items = self.table.query(of_cause(signature)).await?;
        Ok(counted(items.iter(), ""))
    }
}

/// A cause and its counters, without what else stands beside them.
pub(super) fn of_cause(signature: &str) -> Ask<'static> {
    Ask::table(signature_partition(signature)).range(Range::Between("-".to_owned(), "9".to_owned()))
}

/// Counters that are spread over several items, together: only those that are not nothing.
pub(super) fn counted<'a>(items: impl Iterator<Item = &'a Item>, prefix: &str) -> Vec<(Words, u64)> {
    let mut sums = std::collections::BTreeMap::<Words, i64>::new();
    for item in items {
        for (name, value) in item {
            let code = name.strip_prefix(prefix).filter(|code| code.len() == 4 && *code != "data");
            let count = value.as_n().ok().and_then(|n| n.parse::<i64>().ok());
            if let (Some(words), Some(count)) = (code.and_then(Words::parse), count) {
                *sums.entry(words).or_default() += count;
            }
        }
    }
    sums.into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(words, count)| (words, count.unsigned_abs()))
        .collect()
}
