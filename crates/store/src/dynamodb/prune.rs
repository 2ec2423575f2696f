//! Removes what the settings don't keep, one experiment at a time, between which others can write; never what runs.

use std::time::Duration;

use coroner_diagnosis::Reply;
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::Dynamo;
use super::client::{Ask, Item, Range, n, number, s, text};
use super::commit::{Turn, With};
use super::logs::aged;
use super::plan::{SHARDS, bounded, key, successes_of_command, sums_partition};
use super::row::{Row, SPREAD, command_hash, first_key, hex, key_of};
use super::words::Words;
use crate::logs::partial_is_idle;
use crate::{Error, LogId, PassedLogs, Pruned, Retention, Status};

/// So much is looked at at once.
const STEP: usize = 200;
/// A log's file that nothing refers to is given this long to find its experiment.
const UNCLAIMED: Duration = Duration::from_secs(24 * 3600);
/// Where kept replies stand by their age.
const REPLIES: &str = "Y";

pub(super) fn reply_item(key: &str, reply: &Reply, now: Timestamp) -> Item {
    Item::from([
        ("pk".to_owned(), s(reply_partition(key))),
        ("sk".to_owned(), s("-")),
        ("reply".to_owned(), s(serde_json::to_string(reply).unwrap_or_default())),
        ("a".to_owned(), s(REPLIES)),
        ("k".to_owned(), s(hex(now.as_millisecond()))),
        ("at".to_owned(), n(now.as_millisecond())),
    ])
}

pub(super) fn reply_partition(key: &str) -> String {
    format!("Y#{}", bounded(key))
}

impl Dynamo {
    pub(super) async fn pruned(&self, retention: &Retention, now: Timestamp) -> Result<Pruned, Error> {
        let before = |age: Duration| now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut done = Pruned::default();
        if let Some(age) = retention.max_age {
            self.prune_experiments(before(age), &mut done).await?;
        }
        if let Some(age) = retention.max_log_age {
            let note = format!("the log was removed on {} for its age", now.strftime("%F"));
            for (_, id) in self.aged_logs(Some(before(age))).await? {
                self.take_log(&id, None, &note, &mut done).await?;
            }
        }
        if retention.passed_logs != PassedLogs::All {
            self.prune_passed_logs(retention.passed_logs, now, &mut done).await?;
        }
        if let Some(most) = retention.max_log_bytes {
            let note = format!("the log was removed on {} to make room for newer ones", now.strftime("%F"));
            let mut total = self.log_bytes().await?;
            for (_, id) in if total > most { self.aged_logs(None).await? } else { Vec::new() } {
                if total <= most {
                    break;
                }
                let freed = done.log_bytes;
                self.take_log(&id, None, &note, &mut done).await?;
                total = total.saturating_sub(done.log_bytes - freed);
            }
        }
        if let Some(age) = retention.max_reply_age {
            let old = Range::Between(hex(0), hex(before(age).as_millisecond() - 1));
            for item in
                self.table.query(Ask::index("newest", ("a", REPLIES.to_owned()), "k").range(old)).await?
            {
                self.table.delete(text(&item, "pk").unwrap_or_default(), "-").await?;
                done.replies += 1;
            }
        }
        self.strays(now, &mut done).await?;
        if let Err(e) = self.stray_objects(now, &mut done).await {
            done.problems.push(e.to_string());
        }
        Ok(done)
    }

    async fn prune_experiments(&self, before: Timestamp, done: &mut Pruned) -> Result<(), Error> {
        let (last, held) = (first_key(before), self.held_runs().await?);
        let mut after = None;
        loop {
            let old = self.newest_numbers(None, after, false, STEP).await?;
            let Some((reached, _)) = old.last().copied() else { break };
            for (_, number) in old.iter().filter(|(key, _)| *key < last) {
                let Some(row) = self.row(*number).await? else { continue };
                // a run of the loop that goes on needs all its candidates: the best of them may be its oldest
                let is_held = row.0.tested.as_ref().is_some_and(|it| held.contains(&it.run));
                if row.0.status == Status::Running || is_held {
                    continue;
                }
                let mut turn = Turn::default();
                if self.removed(row, &mut turn).await? {
                    done.experiments += 1;
                    done.count_log(turn.freed);
                }
            }
            if reached >= last || old.len() < STEP {
                break;
            }
            after = Some(reached);
        }
        self.remove_empty_runs(before).await
    }

    pub(super) async fn log_bytes(&self) -> Result<u64, Error> {
        let keys: Vec<_> = (0..SHARDS).map(|shard| key(sums_partition("", shard), "a")).collect();
        let items = self.table.get_all(&keys).await?;
        let sum: i64 = items.values().filter_map(|item| number::<i64>(item, "logs")).sum();
        Ok(sum.max(0).unsigned_abs())
    }

    /// Logs by their age, the oldest first.
    async fn aged_logs(&self, before: Option<Timestamp>) -> Result<Vec<(String, String)>, Error> {
        let to = before.map_or("~".to_owned(), |at| hex(at.as_millisecond() - 1));
        let asks = (0..SPREAD).map(|shard| {
            let range = Range::Between(hex(0), to.clone());
            self.table.query(Ask::index("newest", ("a", aged(shard)), "k").range(range))
        });
        let mut all: Vec<_> = try_join_all(asks)
            .await?
            .iter()
            .flatten()
            .filter_map(|item| {
                let id = text(item, "pk")?.strip_prefix("B#")?;
                Some((text(item, "k")?.to_owned(), id.to_owned()))
            })
            .collect();
        all.sort_unstable();
        Ok(all)
    }

    /// Takes a log from all experiments that have it, or from one, and removes it if nobody has it any more.
    async fn take_log(&self, log: &str, of: Option<u64>, note: &str, done: &mut Pruned) -> Result<(), Error> {
        let refs = Range::BeginsWith("E".to_owned());
        let refs = match of {
            Some(number) => vec![number],
            None => {
                let items = self.table.query(Ask::table(format!("B#{log}")).range(refs)).await?;
                items.iter().filter_map(|item| number(item, "number")).collect()
            }
        };
        let rows = self.in_order(&refs).await?;
        if rows.is_empty() {
            done.count_log(self.drop_unused_log(log).await?);
        }
        for row in rows {
            let to = |row: &Row| {
                let mut row = row.clone();
                if row.log.as_ref().is_some_and(|it| it.id == log) {
                    (row.log, row.log_note) = (None, Some(note.to_owned()));
                }
                Ok(row)
            };
            let mut turn = Turn::default();
            let taken = self.mutated(&row.id(), to, |_, _| With::default(), None, &mut turn).await;
            done.count_log(turn.freed);
            self.pass(turn).await;
            taken?;
        }
        Ok(())
    }

    /// Takes the logs from successes; from the newest of each command only if none are kept.
    async fn prune_passed_logs(
        &self,
        keep: PassedLogs,
        now: Timestamp,
        done: &mut Pruned,
    ) -> Result<(), Error> {
        let note = format!("the log of this success was removed on {}", now.strftime("%F"));
        for status in [Status::Passed, Status::Adopted] {
            let words = Words { status, verdict: None };
            let mut after = None;
            loop {
                let some = self.newest_numbers(Some(words), after, false, STEP).await?;
                let Some((reached, _)) = some.last().copied() else { break };
                let numbers: Vec<_> = some.iter().map(|(_, number)| *number).collect();
                for row in self.in_order(&numbers).await? {
                    let Some(log) = &row.log else { continue };
                    if keep == PassedLogs::None || self.has_newer(&row).await? {
                        self.take_log(&log.id, Some(row.number), &note, done).await?;
                    }
                }
                if some.len() < STEP {
                    break;
                }
                after = Some(reached);
            }
        }
        Ok(())
    }

    /// Is there a newer success of the same command that has its log?
    async fn has_newer(&self, row: &Row) -> Result<bool, Error> {
        if row.command.0.is_empty() {
            return Ok(false);
        }
        let place = successes_of_command(&row.kind, &command_hash(&row.command));
        let newer = Range::Between(hex(row.key + 1), "~".to_owned());
        let newer = self.table.query(Ask::table(place).range(newer)).await?;
        let numbers: Vec<_> = newer.iter().filter_map(|item| number(item, "number")).map(key_of).collect();
        Ok(self.rows(&numbers).await?.iter().any(|it| it.log.is_some()))
    }

    /// Files of this machine's folder that nothing refers to: left by a process that died between two steps.
    async fn strays(&self, now: Timestamp, done: &mut Pruned) -> Result<(), Error> {
        let files = match self.folder.files() {
            Ok(files) => files,
            Err(e) => {
                done.problems.push(format!("the folder of the logs can't be read ({e})"));
                return Ok(());
            }
        };
        let mut old = self.folder.copies().unwrap_or_default();
        old.retain(|path| is_older(path, now));
        for (id, path) in files.logs {
            if is_older(&path, now) && self.is_unknown(&id).await? {
                old.push(path);
            }
        }
        for (number, path) in files.partials {
            let ended = match number {
                Some(number) => self.row(number).await?.is_none_or(|(row, _)| row.status != Status::Running),
                None => is_older(&path, now),
            };
            if ended && partial_is_idle(&path) {
                old.push(path);
            }
        }
        for path in old {
            match std::fs::remove_file(&path) {
                Ok(()) => done.stray_files += 1,
                Err(e) => done.problems.push(Error::log_file(&path, e).to_string()),
            }
        }
        Ok(())
    }

    /// Objects of the bucket that nothing refers to: left by a process that died between two steps.
    async fn stray_objects(&self, now: Timestamp, done: &mut Pruned) -> Result<(), Error> {
        let before = now.checked_sub(UNCLAIMED).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut some = self.objects.older(before)?.try_chunks(STEP);
        while let Some(some) = some.try_next().await.map_err(|e| e.1)? {
            let keys: Vec<_> = some.iter().map(|(id, _)| key(format!("B#{id}"), "-")).collect();
            let known = self.table.get_all(&keys).await?;
            for ((_, object), place) in some.iter().zip(&keys) {
                if known.get(place).and_then(|item| text(item, "object")) != Some(object) {
                    self.objects.remove(object).await?;
                    done.stray_files += 1;
                }
            }
        }
        Ok(())
    }

    async fn is_unknown(&self, id: &LogId) -> Result<bool, Error> {
        let item = self.table.get(format!("B#{id}"), "-").await?;
        // what is in the table or the bucket was here before it got there
        Ok(item.is_none_or(|item| item.contains_key("data") || item.contains_key("object")))
    }
}

impl Pruned {
    fn count_log(&mut self, freed: Option<u64>) {
        self.logs += u64::from(freed.is_some());
        self.log_bytes += freed.unwrap_or_default();
    }
}

fn is_older(path: &std::path::Path, now: Timestamp) -> bool {
    let modified = std::fs::metadata(path).and_then(|data| data.modified());
    let modified = modified.ok().and_then(|at| Timestamp::try_from(at).ok());
    modified.is_some_and(|at| now.duration_since(at) > UNCLAIMED.try_into().unwrap_or_default())
}
