//! What else is known: of a signature, of failures that are alike, of the last success, of a stretch of time.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::Dynamo;
use super::client::{Ask, Item, Range, number, text};
use super::list::{counted, of_cause};
use super::plan::{
    SHARDS, key, signature_partition, span, successes_of_command, successes_of_type, sums_partition,
};
use super::row::{Row, command_hash, hex, moment};
use super::words::Words;
use crate::similarity::{self, ALIKE};
use crate::{
    CommandLine, Error, ExperimentId, LogId, Occurrence, PassedAfter, SignatureStats, SimilarFailure, Status,
    Summary,
};

/// So many of the newest are looked at for what succeeded after them.
const RECENT: usize = 5;
/// By so many of its rarest words a cause is looked for.
const TELLING: usize = 8;
/// So many causes that share one of them are compared.
const COMPARED: usize = 50;
/// So many of the last successes are looked through for a log.
const SUCCESSES: usize = 200;
/// So many steps of descent are gone for what got past a failure, and so many children looked at in each.
const STEPS: usize = 3;
const LOOKED_AT: usize = 40;
/// Behind every place that has a key.
const LAST: &str = "~";

impl Dynamo {
    /// Every combination of words that occurs, and how often.
    pub(super) async fn combinations(&self) -> Result<Vec<(Words, u64)>, Error> {
        let items = self.sums_of_all_time("").await?;
        Ok(counted(items.iter(), "n"))
    }

    pub(super) async fn sums_of_all_time(&self, scope: &str) -> Result<Vec<Item>, Error> {
        let keys: Vec<_> = (0..SHARDS).map(|shard| key(sums_partition(scope, shard), "a")).collect();
        Ok(self.table.get_all(&keys).await?.into_values().collect())
    }

    /// The sums of these hours or days.
    pub(super) async fn sums_within(
        &self,
        partition: impl Fn(u64) -> String,
        (kind, from, to): (&str, i64, i64),
    ) -> Result<Vec<Item>, Error> {
        if from >= to {
            return Ok(Vec::new());
        }
        let asks = (0..SHARDS).map(|shard| {
            let range = Range::Between(span(kind, from), format!("{}{LAST}", span(kind, to - 1)));
            self.table.query(Ask::table(partition(shard)).range(range))
        });
        Ok(try_join_all(asks).await?.into_iter().flatten().collect())
    }

    pub(super) async fn total(&self) -> Result<Summary, Error> {
        let mut totals = Summary::over(Timestamp::UNIX_EPOCH, Timestamp::now());
        for (words, count) in self.combinations().await? {
            totals.add(words.status, words.verdict, count);
        }
        Ok(totals)
    }

    /// From the counts of whole days, and of the hours before the first and after the last of them.
    pub(super) async fn sum(&self, from: Timestamp, to: Timestamp) -> Result<Summary, Error> {
        let mut summary = Summary::over(from, to);
        let hour = |at: Timestamp| at.as_millisecond().max(0) / 3_600_000;
        for stretch in stretches(hour(summary.from), hour(summary.to)) {
            let items = self.sums_within(|shard| sums_partition("", shard), stretch).await?;
            for (words, count) in counted(items.iter(), "n") {
                summary.add(words.status, words.verdict, count);
            }
        }
        Ok(summary)
    }

    pub(super) async fn stats(&self, signature: &str) -> Result<Option<SignatureStats>, Error> {
        let items = self.table.query(of_cause(signature)).await?;
        let Some(first) = items.iter().find_map(|item| number::<i64>(item, "first")) else { return Ok(None) };
        let count = counted(items.iter(), "").iter().map(|(_, count)| count).sum();
        let recent = self.newest_of(signature, RECENT).await?;
        let mut passed_after = None;
        for row in &recent {
            if passed_after.is_none() {
                passed_after = self.passed_after(row).await?;
            }
        }
        Ok(Some(SignatureStats {
            signature: signature.to_owned(),
            count,
            first_seen: Timestamp::from_millisecond(first).unwrap_or_default(),
            last_seen: recent.first().map(|row| moment(row.key)),
            recent: recent
                .iter()
                .map(|row| Occurrence { id: row.id(), started_at: moment(row.key) })
                .collect(),
            passed_after,
        }))
    }

    /// The first success after this failure: of the same command, or else of the same type. A candidate's are those that
    /// were made from it: all candidates of a task are run by the same command.
    pub(super) async fn passed_after(&self, failed: &Row) -> Result<Option<PassedAfter>, Error> {
        if failed.tested.is_some() {
            return self.candidate_passed_after(failed).await;
        }
        let mut places = Vec::new();
        if !failed.command.0.is_empty() {
            places.push(successes_of_command(&failed.kind, &command_hash(&failed.command)));
        }
        if !failed.kind.is_empty() {
            places.push(successes_of_type(&failed.kind));
        }
        for place in places {
            let range = Range::Between(hex(failed.key + 1), LAST.to_owned());
            let next = self.table.query(Ask::table(place).range(range).first(1)).await?;
            if let Some(number) = next.first().and_then(|item| number::<u64>(item, "number"))
                && let Some((passed, _)) = self.row(number).await?
            {
                return Ok(Some(after(failed, &passed, None)));
            }
        }
        Ok(None)
    }

    /// What was made from an experiment, the first ones, in their order.
    pub(super) async fn children(&self, number: u64, limit: usize) -> Result<Vec<Row>, Error> {
        let items = self.table.query(Ask::table(format!("P#{number}")).first(limit)).await?;
        let numbers: Vec<_> = items.iter().filter_map(|item| super::client::number(item, "number")).collect();
        self.in_order(&numbers).await
    }

    async fn candidate_passed_after(&self, failed: &Row) -> Result<Option<PassedAfter>, Error> {
        let measured = |row: &Row| {
            row.status == Status::Rejected
                && row.tested.as_ref().is_some_and(super::row::Tested::was_measured)
        };
        let from = format!("{:010}", failed.attempt + 1);
        let range = Range::Between(from, LAST.to_owned());
        let later = self.table.query(Ask::table(format!("N#{}", failed.name)).range(range)).await?;
        let numbers: Vec<_> = later.iter().filter_map(|item| number(item, "number")).collect();
        let again = self.in_order(&numbers).await?;
        if let Some(passed) = again.iter().find(|row| row.status.succeeded() || measured(row)) {
            return Ok(Some(after(failed, passed, Some(String::new()))));
        }
        let could_not_run = failed.status != Status::Rejected;
        let mut parents = vec![failed.number];
        for _ in 0..STEPS {
            let families =
                try_join_all(parents.iter().map(|parent| self.children(*parent, LOOKED_AT))).await?;
            let children: BTreeMap<i64, Row> =
                families.into_iter().flatten().map(|row| (row.key, row)).collect();
            for row in children.values() {
                let ran = could_not_run && measured(row) && row.signature() != failed.signature();
                if row.status.succeeded() || ran {
                    let change = row.tested.as_ref().map(|it| it.change.clone());
                    return Ok(Some(after(failed, row, Some(change.unwrap_or_default()))));
                }
            }
            parents = children.values().take(LOOKED_AT).map(|row| row.number).collect();
        }
        Ok(None)
    }

    pub(super) async fn alike(
        &self,
        signature: &str,
        cause: &str,
        except: Option<&ExperimentId>,
        limit: usize,
    ) -> Result<Vec<SimilarFailure>, Error> {
        let mut same = self.newest_of(signature, limit + 1).await?;
        same.retain(|row| Some(row.number) != except.map(ExperimentId::number));
        same.truncate(limit);
        let mut rows: Vec<(Row, f64)> = same.into_iter().map(|row| (row, 1.0)).collect();
        // of a cause that is known the same ones are enough: comparing words is dear
        let others = if rows.len() < limit { self.alike_causes(cause, signature).await? } else { Vec::new() };
        for (other, score) in others {
            if rows.len() >= limit {
                break;
            }
            rows.extend(self.newest_of(&other, 1).await?.into_iter().map(|row| (row, score)));
        }
        let mut found = Vec::new();
        for (row, score) in rows {
            let passed_after = self.passed_after(&row).await?;
            found.extend(row.diagnosis.as_ref().map(|d| SimilarFailure {
                id: row.id(),
                started_at: moment(row.key),
                score,
                signature: d.signature.clone(),
                root_cause: d.root_cause.clone(),
                passed_after,
            }));
        }
        Ok(found)
    }

    /// Other signatures whose causes share words with this one, the most alike first.
    async fn alike_causes(&self, cause: &str, except: &str) -> Result<Vec<(String, f64)>, Error> {
        let wanted = similarity::words(cause);
        // the rare words tell causes apart; looking for the common ones too would only find everything
        let keys: Vec<_> = wanted.iter().map(|word| key(format!("K#{word}"), "#")).collect();
        let known = self.table.get_all(&keys).await?;
        let mut known: Vec<(u64, String)> = known
            .into_iter()
            .filter_map(|((partition, _), item)| Some((number(&item, "count")?, partition)))
            .collect();
        known.sort_unstable();
        known.truncate(TELLING);
        let asks = known.into_iter().map(|(_, partition)| {
            let ask = Ask::table(partition).range(Range::BeginsWith("s".to_owned())).first(COMPARED);
            self.table.query(ask)
        });
        let found = try_join_all(asks).await?;
        let others: BTreeSet<String> =
            found.iter().flatten().filter_map(|item| text(item, "s").map(str::to_owned)).collect();
        let keys: Vec<_> = others
            .iter()
            .filter(|other| *other != except)
            .map(|other| key(signature_partition(other), "-"))
            .collect();
        let mut scored = Vec::new();
        for item in self.table.get_all(&keys).await?.values() {
            let words = text(item, "words").unwrap_or_default();
            let theirs: BTreeSet<_> = words.split(' ').map(str::to_owned).collect();
            let score = similarity::score(&wanted, &theirs);
            if score >= ALIKE {
                let id: u64 = number(item, "id").unwrap_or_default();
                scored.push((text(item, "s").unwrap_or_default().to_owned(), score, id));
            }
        }
        scored.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.2.cmp(&a.2)));
        Ok(scored.into_iter().map(|(signature, score, _)| (signature, score)).collect())
    }

    /// The log of the last success of the same command and type, or else of the same type.
    pub(super) async fn baseline(&self, kind: &str, command: &CommandLine) -> Result<Option<LogId>, Error> {
        let mut places = Vec::new();
        if !command.0.is_empty() {
            places.push(successes_of_command(kind, &command_hash(command)));
        }
        if !kind.is_empty() {
            places.push(successes_of_type(kind));
        }
        // nearly always one of the first few has one
        for (place, most) in places.iter().flat_map(|place| [(place, 4), (place, SUCCESSES)]) {
            let newest = self.table.query(Ask::table(place).newest(most)).await?;
            let numbers: Vec<_> = newest.iter().filter_map(|item| number(item, "number")).collect();
            for some in numbers.chunks(20) {
                if let Some(log) = self.in_order(some).await?.iter().find_map(Row::log_id) {
                    return Ok(Some(log));
                }
            }
        }
        Ok(None)
    }
}

fn after(failed: &Row, passed: &Row, change: Option<String>) -> PassedAfter {
    PassedAfter {
        failed: failed.id(),
        failed_command: failed.command.clone(),
        passed: passed.id(),
        passed_command: passed.command.clone(),
        passed_at: moment(passed.key),
        change,
    }
}

/// Whole days, and the hours before the first and after the last of them.
pub(super) fn stretches(from: i64, to: i64) -> Vec<(&'static str, i64, i64)> {
    let (first_day, last_day) = ((from + 23) / 24, to / 24);
    match first_day < last_day {
        true => vec![("h", from, first_day * 24), ("d", first_day, last_day), ("h", last_day * 24, to)],
        false => vec![("h", from, to)],
    }
}
