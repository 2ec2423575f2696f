//! Search by words: each word of an experiment's id, type, command and cause is an item that leads to it. What is found so
//! is held against the experiment itself, so that an item too many does no harm; none is missing, because they are written
//! before the experiment and removed after it.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use futures_util::future::try_join_all;

use super::Dynamo;
use super::client::{Ask, Item, Key, Range, n, number, s, text};
use super::plan::{bounded, key, placed};
use super::row::Row;
use crate::order::{Cursor, category_rank, severity_rank};
use crate::query::{self, SORTED, is_beginning, shortened};
use crate::{Error, Page, Query, SortBy, Status};

/// No more than this of a command or a cause is searched in, and no more different words of one experiment.
const SEARCHED_CHARS: usize = 4000;
const SEARCHED_WORDS: usize = 200;
/// More words than this narrow nothing down any more.
const MOST_WORDS: usize = 32;
/// By so many of the words that were typed experiments are looked up; the others are held against those.
const LOOKED_UP: usize = 6;
/// So many words that begin alike are looked up.
const BEGINNINGS: usize = 25;
/// So many of the newest experiments that have a word are looked at.
const FOUND: usize = SORTED as usize;
/// A word is longer than this only by accident.
const LONGEST: usize = 80;
/// So many words are remembered to have an entry in the list of words.
const REMEMBERED: usize = 50_000;

/// Where the types of experiments are listed.
pub(super) const TYPES: &str = "T";

/// Words that have an entry among those that begin alike, and types that are listed, as far as this process knows.
#[derive(Default)]
pub(super) struct Known(Mutex<HashSet<String>>);

fn tokens(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(|word| shortened(&word.to_lowercase(), LONGEST)).collect()
}

/// The texts in which an experiment's words stand.
fn columns(row: &Row) -> [Vec<String>; 4] {
    let cause = row.diagnosis.as_ref().map_or("", |d| &d.root_cause);
    let command = row.command.0.join(" ");
    [&row.name, &row.kind, &shortened(&command, SEARCHED_CHARS), &shortened(cause, SEARCHED_CHARS)]
        .map(|text| tokens(text))
}

pub(super) fn words_of(row: &Row) -> BTreeSet<String> {
    columns(row).into_iter().flatten().take(SEARCHED_WORDS).collect()
}

/// What was typed: each word is a row of tokens that stand side by side, the last perhaps only begun.
struct Typed {
    words: Vec<(Vec<String>, bool)>,
}

impl Typed {
    fn of(typed: &str, as_beginnings: bool) -> Self {
        let mut words: Vec<_> =
            query::words(typed).map(|word| (tokens(word), as_beginnings && is_beginning(word))).collect();
        words.dedup();
        words.truncate(MOST_WORDS);
        Self { words }
    }

    fn fits(&self, row: &Row) -> bool {
        let columns = columns(row);
        let occurs = |(wanted, begun): &(Vec<String>, bool)| {
            let fits = |window: &[String]| {
                window.iter().zip(wanted).enumerate().all(|(n, (have, want))| {
                    if *begun && n + 1 == wanted.len() {
                        have.starts_with(want.as_str())
                    } else {
                        have == want
                    }
                })
            };
            columns.iter().any(|column| column.windows(wanted.len()).any(fits))
        };
        !self.words.is_empty() && self.words.iter().all(occurs)
    }

    /// Tokens that must be there as they are; and those with which one must begin.
    fn looked_up(&self) -> (BTreeSet<&str>, BTreeSet<&str>) {
        let (mut whole, mut begun) = (BTreeSet::new(), BTreeSet::new());
        for (tokens, is_begun) in &self.words {
            let last = tokens.len().saturating_sub(1);
            for (n, token) in tokens.iter().enumerate() {
                if *is_begun && n == last {
                    begun.insert(token.as_str())
                } else {
                    whole.insert(token.as_str())
                };
            }
        }
        (whole, begun)
    }
}

/// Words that begin alike stand together.
fn beginning(token: &str) -> String {
    format!("WB#{}", token.chars().take(2).collect::<String>())
}

impl Dynamo {
    /// What is written for these words; and what is known once it is written.
    fn entries(&self, row: &Row, words: &BTreeSet<String>) -> (Vec<Item>, Vec<String>) {
        let known = self.known.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut items, mut new) = (Vec::new(), Vec::new());
        // no word has a space in it
        let kind = format!("the type {}", row.kind);
        if !row.kind.is_empty() && !known.contains(&kind) {
            new.push(kind);
            items.push(Item::from([
                ("pk".to_owned(), s(TYPES)),
                ("sk".to_owned(), s(bounded(&row.kind))),
                ("type".to_owned(), s(&row.kind)),
            ]));
        }
        for word in words {
            items.push(Item::from([
                ("pk".to_owned(), s(format!("W#{word}"))),
                ("sk".to_owned(), s(placed(row))),
                ("number".to_owned(), n(row.number)),
            ]));
            if !known.contains(word) {
                new.push(word.clone());
                items.push(Item::from([("pk".to_owned(), s(beginning(word))), ("sk".to_owned(), s(word))]));
            }
        }
        (items, new)
    }

    /// Before a change: the words that are new.
    pub(super) async fn add_words(&self, before: Option<&Row>, after: &Row) -> Result<(), Error> {
        let mut words = words_of(after);
        if let Some(before) = before {
            let had = words_of(before);
            words.retain(|word| !had.contains(word));
        }
        let (items, new) = self.entries(after, &words);
        self.table.write_all(items, Vec::new()).await?;
        let mut known = self.known.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > REMEMBERED {
            known.clear();
        }
        known.extend(new);
        Ok(())
    }

    /// After a change: the words that are gone.
    pub(super) async fn remove_words(&self, before: &Row, after: Option<&Row>) -> Result<(), Error> {
        let has = after.map(words_of).unwrap_or_default();
        let gone = words_of(before).into_iter().filter(|word| !has.contains(word));
        let keys: Vec<Key> = gone.map(|word| key(format!("W#{word}"), placed(before))).collect();
        self.table.write_all(Vec::new(), keys).await
    }

    async fn with_token(&self, token: String) -> Result<Vec<(String, u64)>, Error> {
        let items = self.table.query(Ask::table(format!("W#{token}")).newest(FOUND)).await?;
        Ok(items
            .iter()
            .filter_map(|item| Some((text(item, "sk")?.to_owned(), number(item, "number")?)))
            .collect())
    }

    /// The newest that have all of these words; and whether there may be more.
    async fn having(&self, typed: &Typed) -> Result<(Vec<Row>, bool), Error> {
        let (whole, begun) = typed.looked_up();
        // long words are rare ones
        let mut whole: Vec<_> = whole.into_iter().collect();
        whole.sort_by_key(|token| std::cmp::Reverse(token.len()));
        whole.truncate(LOOKED_UP);
        let mut lists = try_join_all(whole.iter().map(|token| self.with_token((*token).to_owned()))).await?;
        for start in begun.into_iter().take(LOOKED_UP) {
            let range = Range::BeginsWith(start.to_owned());
            let alike = self.table.query(Ask::table(beginning(start)).range(range).first(BEGINNINGS)).await?;
            let alike = alike.iter().filter_map(|item| text(item, "sk").map(str::to_owned));
            let found = try_join_all(alike.map(|token| self.with_token(token))).await?;
            let mut all: Vec<_> = found.into_iter().flatten().collect();
            all.sort_unstable_by(|a, b| b.cmp(a));
            all.dedup();
            all.truncate(FOUND);
            lists.push(all);
        }
        lists.sort_by_key(Vec::len);
        let Some(shortest) = lists.first() else { return Ok((Vec::new(), false)) };
        let more = shortest.len() >= FOUND;
        // a list that is whole leaves out those that are not in it
        let others: Vec<HashSet<u64>> = lists[1..]
            .iter()
            .filter(|list| list.len() < FOUND)
            .map(|list| list.iter().map(|(_, number)| *number).collect())
            .collect();
        let numbers: Vec<u64> = shortest
            .iter()
            .map(|(_, number)| *number)
            .filter(|number| others.iter().all(|other| other.contains(number)))
            .collect();
        let mut rows = self.in_order(&numbers).await?;
        rows.retain(|row| typed.fits(row));
        Ok((rows, more))
    }

    pub(super) async fn searched(&self, query: &Query, typed: &str, running: u64) -> Result<Page, Error> {
        let (cursor, sort, size) = (query.cursor()?, query.sort, query.page_size());
        let mut as_beginnings = cursor.is_some_and(|cursor| cursor.as_beginnings);
        let (mut rows, mut more) = self.having(&Typed::of(typed, as_beginnings)).await?;
        if rows.is_empty() && cursor.is_none() {
            as_beginnings = true;
            (rows, more) = self.having(&Typed::of(typed, true)).await?;
        }
        rows.retain(|row| {
            let signature = query.signature.as_deref();
            row.words().fits(query) && signature.is_none_or(|it| row.signature() == Some(it))
        });
        let value = |row: &Row| match sort.by {
            SortBy::Started => None,
            SortBy::Duration => row.wall(),
            SortBy::Cost => Some(row.nanodollars()),
            SortBy::Severity => row.diagnosis.as_ref().map(|d| severity_rank(d.severity)),
            SortBy::Category => row.diagnosis.as_ref().map(|d| category_rank(d.failure_category)),
        };
        // what has no value is last, whichever way round
        let compare = |a: &(Option<i64>, i64), b: &(Option<i64>, i64)| {
            let values = if sort.descending { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) };
            let keys = if sort.newest_first() { b.1.cmp(&a.1) } else { a.1.cmp(&b.1) };
            a.0.is_none().cmp(&b.0.is_none()).then(values).then(keys)
        };
        let place = |row: &Row| (value(row), row.key);
        rows.sort_by(|a, b| compare(&place(a), &place(b)));
        let total = rows.len() as u64;
        if let Some(cursor) = cursor {
            rows.retain(|row| compare(&place(row), &(cursor.value, cursor.key)).is_gt());
        }
        let further = rows.len() > size;
        rows.truncate(size);
        let cursor = |row: &Row| Cursor { sort, value: value(row), key: row.key, as_beginnings }.to_string();
        Ok(Page {
            total_count: total,
            total_is_at_least: more,
            sorted_among: Some(SORTED).filter(|_| more && sort.by != SortBy::Started),
            running_commands: running,
            next_cursor: rows.last().filter(|_| further).map(cursor),
            experiments: rows.iter().map(Row::listed).collect(),
        })
    }
}

/// Of all combinations those that run.
pub(super) fn running(all: &[(super::words::Words, u64)]) -> u64 {
    all.iter().filter(|(words, _)| words.status == Status::Running).map(|(_, count)| count).sum()
}
