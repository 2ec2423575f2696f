//! One experiment, by whatever a person types; what runs; what was spent; how the table is.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use jiff::civil::Date;

use super::Dynamo;
use super::client::{Ask, Key, Range, Refused, number, text};
use super::plan::{Plan, key};
use super::row::{NANO, Row, SPREAD, name_key, nanodollars};
use super::table::{self, SCHEMA};
use super::words::Words;
use crate::{Error, Health, Running, Spent, Status};

/// So many names that begin alike are told.
const NAMED: usize = 5;
/// A name may have many attempts: so many items are read for the names that begin alike.
const READ: usize = 500;

/// Where days stand with what was spent on them.
pub(super) const SPENDING: &str = "$";

pub(super) fn spending_key(day: Date) -> Key {
    key(SPENDING, day.to_string())
}

impl Dynamo {
    /// The experiment with this id (its newest attempt), `ID~2`, number, or beginning of an id; `last` is the newest of
    /// all.
    pub(super) async fn resolved(&self, asked: &str) -> Result<Row, Error> {
        if let Some(row) = self.newest_attempt(asked).await? {
            return Ok(row);
        }
        if let Some((name, attempt)) = asked.rsplit_once('~')
            && let Ok(attempt) = attempt.parse::<u32>()
            && !name.is_empty()
        {
            let place = name_key(name, attempt);
            let item = self.table.get(place.0, place.1).await?;
            if let Some(number) = item.and_then(|item| number::<u64>(&item, "number"))
                && let Some((row, _)) = self.row(number).await?
            {
                return Ok(row);
            }
        }
        if let Ok(number) = asked.parse::<u64>()
            && let Some((row, _)) = self.row(number).await?
        {
            return Ok(row);
        }
        if asked == "last"
            && let Some((_, number)) = self.newest_numbers(None, None, true, 1).await?.first()
            && let Some((row, _)) = self.row(*number).await?
        {
            return Ok(row);
        }
        self.by_beginning(asked).await
    }

    async fn newest_attempt(&self, name: &str) -> Result<Option<Row>, Error> {
        if name.is_empty() {
            return Ok(None);
        }
        let newest = self.table.query(Ask::table(format!("N#{name}")).newest(1)).await?;
        match newest.first().and_then(|item| number::<u64>(item, "number")) {
            Some(number) => Ok(self.row(number).await?.map(|(row, _)| row)),
            None => Ok(None),
        }
    }

    async fn by_beginning(&self, asked: &str) -> Result<Row, Error> {
        let not_found = || Error::NotFound { text: asked.chars().take(120).collect() };
        // no id is longer, and no key may be
        if asked.is_empty() || asked.len() > 512 {
            return Err(not_found());
        }
        let asks = (0..SPREAD).map(|shard| {
            let range = Range::BeginsWith(asked.to_owned());
            self.table.query(Ask::index("names", ("n", format!("N{shard}")), "nk").range(range).first(READ))
        });
        let found = try_join_all(asks).await?;
        let names: BTreeMap<&str, ()> =
            found.iter().flatten().filter_map(|item| Some((text(item, "nk")?, ()))).collect();
        let mut names = names.into_keys();
        match (names.next(), names.next()) {
            (None, _) => Err(not_found()),
            (Some(name), None) => self.newest_attempt(name).await?.ok_or_else(not_found),
            (Some(first), Some(second)) => {
                let mut matches: Vec<String> =
                    [first, second].into_iter().chain(names).take(NAMED + 1).map(str::to_owned).collect();
                if matches.len() > NAMED {
                    matches[NAMED] = "…".to_owned();
                }
                Err(Error::Ambiguous { text: asked.to_owned(), matches })
            }
        }
    }

    pub(super) async fn all_running(&self) -> Result<Vec<Running>, Error> {
        let words = Words { status: Status::Running, verdict: None };
        let found = self.newest_numbers(Some(words), None, true, usize::MAX).await?;
        let numbers: Vec<_> = found.into_iter().map(|(_, number)| number).collect();
        let mut rows = self.in_order(&numbers).await?;
        // the index may be behind
        rows.retain(|row| row.status == Status::Running);
        rows.sort_by_key(|row| row.number);
        // one without a watcher is nobody's to close
        Ok(rows.iter().filter_map(Row::running).collect())
    }

    pub(super) async fn spent_on(&self, day: Date) -> Result<Spent, Error> {
        let place = spending_key(day);
        let item = self.table.get(place.0, place.1).await?;
        Ok(item.map_or(Spent::default(), |item| Spent {
            calls: number(&item, "calls").unwrap_or_default(),
            dollars: number::<i64>(&item, "nanodollars").unwrap_or_default() as f64 / NANO,
        }))
    }

    /// A transaction of one: if its answer is lost, the SDK asks again with the same token, and it is added only once.
    pub(super) async fn add_spent(&self, day: Date, spent: Spent) -> Result<(), Error> {
        let (place, mut plan) = (spending_key(day), Plan::default());
        plan.add(place.clone(), "calls", i64::try_from(spent.calls).unwrap_or(i64::MAX));
        plan.add(place, "nanodollars", nanodollars(spent.dollars));
        let items = plan.items(&self.table.name)?;
        if items.is_empty() {
            return Ok(());
        }
        match self.table.transact(items).await {
            // it has no condition
            Ok(()) | Err(Refused::Condition) => Ok(()),
            Err(Refused::Told(error)) => Err(error),
        }
    }

    pub(super) async fn how_it_is(&self, thorough: bool) -> Result<Health, Error> {
        let mut problems = Vec::new();
        if thorough {
            table::check(&self.table.client, &self.table.name).await?;
            if !table::forgets(&self.table.client, &self.table.name).await? {
                problems.push("the table does not forget by itself: time to live is off".to_owned());
            }
        }
        let logs = self.objects.check().await.err().map(|e| e.to_string());
        let all = self.combinations().await?;
        let running = all.iter().filter(|(words, _)| words.status == Status::Running);
        Ok(Health {
            location: format!("dynamodb:{}", self.table.name),
            schema: SCHEMA,
            experiments: all.iter().map(|(_, count)| count).sum(),
            running: running.map(|(_, count)| count).sum(),
            // AWS counts it every six hours and not to the byte: not worth a request
            database_bytes: 0,
            log_bytes: self.log_bytes().await?,
            problems,
            logs,
        })
    }
}
