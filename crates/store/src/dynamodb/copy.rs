//! Everything that a table knows, for a copy of it elsewhere; and what was copied from elsewhere, each step of it on condition
//! that it is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::{try_join_all, try_join3};
use futures_util::{StreamExt, TryStreamExt};

use super::cause::{Cause, groups_partition};
use super::client::{Ask, Item, Key, Refused, n, number, s, text};
use super::plan::{self, Plan, SHARDS, When, key, signature_partition};
use super::row::key_of;
use super::{Dynamo, alerts, corrections, groups, lab, logs, lookup, people};
use crate::copy::{CauseRecord, CopyBackend, Name, Rest, Spending, Vote, Whole};
use crate::logs::{Kept, Log, LogData};
use crate::record::{Named, Row};
use crate::{Error, GroupState, TableTrouble};

/// Others may write at the same time.
const TRIES: u32 = 30;
/// So many are read at the same time.
const AT_ONCE: usize = 16;

#[async_trait]
impl CopyBackend for Dynamo {
    async fn rest(&self) -> Result<Rest, Error> {
        let causes = self.cause_records().await?;
        let (runs, corrections, silenced) = try_join3(
            crate::backend::LabBackend::runs(self, None, usize::MAX),
            self.table.query(Ask::table("X")),
            crate::backend::DeskBackend::silenced(self),
        )
        .await?;
        let spending = self.table.query(Ask::table("$")).await?;
        let memory = alerts::memory_key();
        let memory = self.table.get(memory.0, memory.1).await?;
        Ok(Rest {
            numbers: self.counter("number").await?,
            causes,
            runs: runs.into_iter().rev().collect(),
            corrections: corrections.iter().filter_map(corrections::correction).collect(),
            people: self.table.query(Ask::table("US")).await?.iter().filter_map(people::person).collect(),
            tokens: self.table.query(Ask::table("TK")).await?.iter().filter_map(people::hashed).collect(),
            silenced,
            spending: spending
                .iter()
                .filter_map(|item| {
                    Some(Spending {
                        day: text(item, "sk")?.to_owned(),
                        calls: number(item, "calls").unwrap_or_default(),
                        nanodollars: number(item, "nanodollars").unwrap_or_default(),
                    })
                })
                .collect(),
            alerts: memory.map(|item| text(&item, "memory").unwrap_or_default().to_owned()),
        })
    }

    async fn take_rest(&self, rest: Arc<Rest>) -> Result<(), Error> {
        // first of all, so that nobody is given a number that is on its way
        let most = |ids: &mut dyn Iterator<Item = i64>| ids.max().unwrap_or_default().max(0).unsigned_abs();
        self.raise("number", rest.numbers).await?;
        self.raise("run", rest.runs.iter().map(|it| it.id.number()).max().unwrap_or_default()).await?;
        self.raise("correction", most(&mut rest.corrections.iter().map(|it| it.id))).await?;
        self.raise("token", most(&mut rest.tokens.iter().map(|(it, _)| it.id))).await?;
        for cause in &rest.causes {
            self.take_cause(cause).await?;
        }
        let mut items: Vec<(Key, Item)> = Vec::new();
        for it in &rest.corrections {
            items.extend(corrections::places(it));
        }
        for run in &rest.runs {
            items.extend(lab::places(run)?);
        }
        items.extend(rest.people.iter().map(people::place_of));
        for (token, hash) in &rest.tokens {
            items.extend(people::places(token, hash));
        }
        items.extend(rest.silenced.iter().map(super::desk::place_of_silenced));
        for it in &rest.spending {
            let item = Item::from([
                ("calls".to_owned(), n(it.calls)),
                ("nanodollars".to_owned(), n(it.nanodollars)),
            ]);
            items.push((key(lookup::SPENDING, &it.day), item));
        }
        if let Some(memory) = &rest.alerts {
            let item = Item::from([("version".to_owned(), n(0)), ("memory".to_owned(), s(memory))]);
            items.push((alerts::memory_key(), item));
        }
        for (place, item) in items {
            let mut plan = Plan::default();
            plan.put(place, item, When::Absent);
            // what is there stays
            self.write(plan).await?;
        }
        Ok(())
    }

    async fn names_behind(&self, key: i64, limit: usize) -> Result<Vec<Name>, Error> {
        let found = self.newest_numbers(None, (key >= 0).then_some(key), false, limit).await?;
        let keys: Vec<_> = found.iter().map(|(_, number)| key_of(*number)).collect();
        let mut names: Vec<_> = self
            .rows(&keys)
            .await?
            .into_iter()
            .map(|row| Name { key: row.key, named: row.named(), status: row.status })
            .collect();
        names.sort_by_key(|it| it.key);
        Ok(names)
    }

    async fn wholes(&self, numbers: Vec<u64>) -> Result<Vec<Whole>, Error> {
        let keys: Vec<_> = numbers.iter().map(|number| key_of(*number)).collect();
        let mut rows = self.rows(&keys).await?;
        rows.sort_by_key(|row| row.key);
        let mut all = Vec::with_capacity(rows.len());
        for some in rows.chunks(AT_ONCE) {
            all.extend(try_join_all(some.iter().map(|row| self.whole_of(row))).await?);
        }
        Ok(all)
    }

    async fn known(&self, of: Vec<Named>) -> Result<Vec<Named>, Error> {
        let mut wanted: Vec<Key> = of.iter().map(|it| key_of(it.2)).collect();
        wanted.extend(of.iter().map(|it| super::row::name_key(&it.0, it.1)));
        let found = self.table.get_all(&wanted).await?;
        let mut known = Vec::new();
        for (place, item) in &found {
            match place.0.strip_prefix("N#") {
                Some(name) => known.push((
                    name.to_owned(),
                    place.1.parse().unwrap_or_default(),
                    number(item, "number").unwrap_or_default(),
                )),
                None => known.push(Row::parse(item)?.named()),
            }
        }
        known.sort_unstable();
        known.dedup();
        Ok(known)
    }

    async fn take(&self, all: Vec<(Whole, Log)>) -> Result<u64, Error> {
        // each of those that write at the same time has counters of its own
        let taken = futures_util::stream::iter(all.into_iter().enumerate())
            .map(|(i, (it, log))| async move { self.take_one(it, &log, i as u64 % SHARDS).await })
            .buffered(SHARDS as usize)
            .try_fold(0, |sum, taken| std::future::ready(Ok(sum + u64::from(taken))));
        taken.await
    }

    async fn with_log(&self, numbers: Vec<u64>) -> Result<BTreeSet<u64>, Error> {
        let keys: Vec<_> = numbers.iter().map(|number| key_of(*number)).collect();
        let rows = self.rows(&keys).await?;
        Ok(rows.iter().filter(|row| row.log.is_some()).map(|row| row.number).collect())
    }

    async fn take_log(&self, row: Row, log: Log) -> Result<bool, Error> {
        let Some(kept) = log.kept() else { return Ok(false) };
        if let LogData::File(file) = &kept.data
            && !self.objects.are_wanted()
        {
            self.folder.adopt(file, &kept.facts.id).map_err(|e| Error::log_file(file, e))?;
        }
        let (number, shard) = (row.number, row.number % SHARDS);
        let mut object = None;
        for _ in 0..TRIES {
            let Some(before) = self.row(number).await?.filter(|(it, _)| it.log.is_none()) else {
                return Ok(false);
            };
            let mut after =
                Row { log: row.log.clone(), log_note: log.note().map(str::to_owned), ..before.0.clone() };
            let mut plan = Plan::default();
            self.refer_copied(&mut plan, &mut after, kept, log.note(), &mut object, shard).await?;
            if after.log.is_none() {
                return Ok(false);
            }
            plan::change(&mut plan, &self.table.name, Some(&before), Some(&after), shard)?;
            match self.table.transact(plan.items(&self.table.name)?).await {
                Ok(()) => return Ok(true),
                Err(Refused::Condition) => {}
                Err(Refused::Told(error)) => return Err(error),
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    async fn settle_copy(&self, rest: Arc<Rest>) -> Result<(), Error> {
        let leads = rest.causes.iter().filter(|cause| cause.decided.lead.is_none());
        let leads: Vec<_> = leads.map(|cause| &*cause.signature).collect();
        for some in leads.chunks(AT_ONCE) {
            try_join_all(some.iter().map(|signature| self.place(signature, None))).await?;
        }
        Ok(())
    }
}

impl Dynamo {
    async fn counter(&self, what: &str) -> Result<u64, Error> {
        let item = self.table.get("#", what).await?;
        Ok(item.and_then(|item| number(&item, "value")).unwrap_or_default())
    }

    /// What is given from now on is larger than this.
    async fn raise(&self, what: &str, to: u64) -> Result<(), Error> {
        let missing = to.saturating_sub(self.counter(what).await?);
        if missing > 0 {
            self.table.add(&key("#", what), &[("value", i64::try_from(missing).unwrap_or(i64::MAX))]).await?;
        }
        Ok(())
    }

    /// All causes, in the order in which they were first kept: those that lead stand in an index, the others beside these.
    async fn cause_records(&self) -> Result<Vec<CauseRecord>, Error> {
        let mut leads = Vec::new();
        for state in GroupState::ALL {
            let ask = Ask::index("words", ("w", groups_partition(state)), "k");
            leads.extend(
                self.table.query(ask).await?.iter().filter_map(|item| text(item, "pk").map(str::to_owned)),
            );
        }
        let mut causes = BTreeMap::new();
        for some in leads.chunks(AT_ONCE) {
            let members = some.iter().map(|lead| {
                let range = super::client::Range::BeginsWith("m".to_owned());
                self.table.query(Ask::table(lead).range(range))
            });
            let members = try_join_all(members).await?;
            let members =
                members.iter().flatten().filter_map(|item| text(item, "s")).map(signature_partition);
            let keys: Vec<_> =
                some.iter().cloned().chain(members).map(|partition| key(partition, "-")).collect();
            for item in self.table.get_all(&keys).await?.values() {
                if let Some(cause) = Cause::parse(item) {
                    causes.insert(cause.id, cause);
                }
            }
        }
        let record = |it: Cause| CauseRecord {
            signature: it.signature,
            first: it.first,
            words: it.words,
            decided: it.decided,
            group_first: it.group_first,
            last: it.last,
            last_number: it.last_number,
        };
        Ok(causes.into_values().map(record).collect())
    }

    async fn take_cause(&self, it: &CauseRecord) -> Result<(), Error> {
        if self.cause(&it.signature).await?.is_some() {
            return Ok(());
        }
        let words: std::collections::BTreeSet<_> = it.words.split_whitespace().map(str::to_owned).collect();
        try_join_all(words.iter().map(|word| self.keep_word(word, &it.signature))).await?;
        let cause = Cause {
            signature: it.signature.clone(),
            id: i64::try_from(self.next("signature").await?).unwrap_or(i64::MAX),
            first: it.first,
            words: it.words.clone(),
            decided: it.decided.clone(),
            group_first: it.group_first,
            last: it.last,
            last_number: it.last_number,
            size: 0,
            version: 0,
        };
        let mut plan = Plan::default();
        cause.put(&mut plan);
        if let Some(lead) = &cause.decided.lead {
            let item = Item::from([("s".to_owned(), s(&cause.signature))]);
            plan.put(groups::member_key(lead, &cause), item, When::Always);
        }
        // another was quicker: it is there
        self.write(plan).await.map(drop)
    }

    async fn whole_of(&self, row: &Row) -> Result<Whole, Error> {
        let number_of = row.number;
        let (parts, votes, told) = try_join3(
            self.table.query(Ask::table(lab::code_partition(number_of))),
            self.table.query(Ask::table(corrections::votes_partition(number_of))),
            self.table.query(Ask::table(alerts::told_partition(number_of))),
        )
        .await?;
        let code = match parts.is_empty() {
            true => None,
            false => Some(
                lab::unpacked(&parts)
                    .map_err(|e| Error::Code { id: row.name.clone(), detail: e.to_string() })?,
            ),
        };
        let votes = votes.iter().filter_map(|item| {
            Some(Vote {
                by: text(item, "by")?.to_owned(),
                helpful: number::<u8>(item, "helpful") != Some(0),
                at: number(item, "at").unwrap_or_default(),
            })
        });
        let told = told.iter().filter_map(|item| text(item, "sk").map(str::to_owned)).collect();
        Ok(Whole { row: row.clone(), code, votes: votes.collect(), told })
    }

    /// One experiment; false if it is there.
    async fn take_one(&self, it: Whole, log: &Log, shard: u64) -> Result<bool, Error> {
        let mut row = it.row;
        row.log_note = log.note().map(str::to_owned);
        let mut kept = log.kept();
        if let Some(of) = kept
            && let LogData::File(file) = &of.data
            && !self.objects.are_wanted()
            && let Err(e) = self.folder.adopt(file, &of.facts.id)
        {
            (kept, row.log, row.log_note) = (None, None, Some(format!("the log could not be kept ({e})")));
        }
        // what is found only by way of the experiment comes before it
        if let Some(code) = &it.code {
            self.keep_code(row.number, code).await?;
        }
        for vote in &it.votes {
            let ((place, item), mut plan) = (corrections::place_of_vote(row.number, vote), Plan::default());
            plan.put(place, item, When::Always);
            self.write(plan).await?;
        }
        for channel in &it.told {
            let item =
                [("pk".to_owned(), s(alerts::told_partition(row.number))), ("sk".to_owned(), s(channel))];
            self.table.put(Item::from(item)).await?;
        }
        self.add_words(None, &row).await?;
        let note = row.log_note.clone();
        let mut object = None;
        for _ in 0..TRIES {
            let place = key_of(row.number);
            if self.table.get(place.0, place.1).await?.is_some() {
                return Ok(false);
            }
            let mut plan = Plan::default();
            if let Some(kept) = kept {
                self.refer_copied(&mut plan, &mut row, kept, note.as_deref(), &mut object, shard).await?;
            }
            plan::change(&mut plan, &self.table.name, None, Some(&row), shard)?;
            if let Some(tested) = &row.tested {
                lab::refused(&mut plan, tested);
                if tested.newest {
                    let item = Item::from([("number".to_owned(), n(row.number))]);
                    plan.put(lab::code_key(tested.run, &tested.hash), item, When::Absent);
                }
            }
            match self.table.transact(plan.items(&self.table.name)?).await {
                Ok(()) => return Ok(true),
                // it is there now, or another has just kept the same log
                Err(Refused::Condition) => {}
                Err(Refused::Told(error)) => return Err(error),
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    async fn refer_copied(
        &self,
        plan: &mut Plan,
        row: &mut Row,
        kept: &Kept,
        note: Option<&str>,
        object: &mut Option<Result<String, logs::NotKept>>,
        shard: u64,
    ) -> Result<(), Error> {
        let place = key(format!("B#{}", kept.facts.id), "-");
        let known = self.table.get(&place.0, &place.1).await?;
        if object.is_none() {
            *object = self.keep_object(kept, known.as_ref()).await;
        }
        if let Some(Err(not_kept)) = object {
            row.log_note =
                Some(note.map_or(not_kept.note.clone(), |note| format!("{note}; {}", not_kept.note)));
            if !not_kept.is_here {
                row.log = None;
                return Ok(());
            }
        }
        let ended = row.ended_at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let at = ended.unwrap_or_else(|| super::row::moment(row.key));
        let name = object.as_ref().and_then(|it| it.as_deref().ok());
        logs::refer(plan, known.as_ref(), place, kept, at, shard, name);
        Ok(())
    }
}
