//! The life of an experiment's item: begun, ended, diagnosed, removed; each step is one transaction with all counters.

use coroner_diagnosis::Diagnosis;
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::client::{Ask, Item, Key, Refused, n, number, s, text};
use super::plan::{self, Plan, When, key, signature_partition};
use super::row::{LogRef, Row, key_of, moment};
use super::{Dynamo, logs};
use crate::logs::{Kept, Log};
use crate::similarity;
use crate::{
    CandidateOutcome, Error, ExperimentId, NewExperiment, Outcome, SavedAs, SavedFailure, Status,
    TableTrouble,
};

/// So often a step is begun anew when others change the same experiment.
const TRIES: u32 = 30;
/// So many attempts of an id are looked through for the same failure.
const ATTEMPTS: usize = 100;

/// What goes with a change of an experiment.
#[derive(Default)]
pub(super) struct With<'a> {
    /// A log that it did not have before, and when it was written.
    pub(super) log: Option<(&'a Kept, Timestamp)>,
    /// What else is written in the same step.
    pub(super) plan: Plan,
}

impl Dynamo {
    /// The next of these numbers: they grow, and none is given twice.
    pub(super) async fn next(&self, what: &str) -> Result<u64, Error> {
        let now = self.table.add(&key("#", what), &[("value", 1)]).await?;
        Ok(number(&now, "value").unwrap_or_default())
    }

    pub(super) fn failed(&self, trouble: TableTrouble) -> Error {
        Error::Table { table: self.table.name.clone(), trouble }
    }

    /// An experiment and its version.
    pub(super) async fn row(&self, number: u64) -> Result<Option<(Row, u64)>, Error> {
        let key = key_of(number);
        let Some(item) = self.table.get(key.0, key.1).await? else { return Ok(None) };
        Ok(Some((Row::parse(&item)?, super::client::number(&item, "v").unwrap_or_default())))
    }

    pub(super) async fn row_of(&self, id: &ExperimentId) -> Result<(Row, u64), Error> {
        let found = self.row(id.number()).await?.filter(|(row, _)| row.id() == *id);
        found.ok_or_else(|| Error::NotFound { text: id.to_string() })
    }

    /// The next attempt of a name.
    pub(super) async fn attempt(&self, name: &str) -> Result<u32, Error> {
        let newest = self.table.query(Ask::table(format!("N#{name}")).newest(1)).await?;
        let last = newest.first().and_then(|item| text(item, "sk")?.parse::<u32>().ok());
        Ok(last.unwrap_or(0) + 1)
    }

    /// Writes one change of one experiment.
    pub(super) async fn commit(
        &self,
        before: Option<&(Row, u64)>,
        after: Option<&Row>,
        with: With<'_>,
    ) -> Result<(), Refused> {
        let mut plan = with.plan;
        plan::change(&mut plan, &self.table.name, before, after, self.shard)?;
        let old = before.map(|(row, _)| row);
        let diagnosed = after.and_then(|row| row.diagnosis.as_ref().map(|d| (row, d)));
        let diagnosed = diagnosed.filter(|(_, d)| old.and_then(Row::signature) != Some(&d.signature));
        let had = old.and_then(|row| row.log.as_ref());
        let has = after.and_then(|row| row.log.as_ref());
        let changed_log = has.filter(|has| had.is_none_or(|had| had.id != has.id));
        let event = after.and_then(|row| event(old, row));

        let mut wanted: Vec<Key> = Vec::new();
        wanted.extend(diagnosed.map(|(_, d)| key(signature_partition(&d.signature), "-")));
        wanted.extend(changed_log.map(|log| key(format!("B#{}", log.id), "-")));
        wanted.extend(event.map(|_| super::alerts::memory_key()));
        let found = self.table.get_all(&wanted).await?;

        if let Some((row, diagnosis)) = diagnosed {
            let place = key(signature_partition(&diagnosis.signature), "-");
            self.signature_seen(&mut plan, found.get(&place), place, row, diagnosis).await?;
        }
        if let (Some(log), Some((kept, at))) = (changed_log, with.log) {
            let place = key(format!("B#{}", log.id), "-");
            logs::refer(&mut plan, found.get(&place), place, kept, at, self.shard);
        }
        let removed_log = had.filter(|had| has.is_none_or(|has| has.id != had.id));
        if let Some(log) = removed_log {
            plan.add(key(format!("B#{}", log.id), "-"), "refs", -1);
        }
        if let (Some(what), Some(row)) = (event, after)
            && found.contains_key(&super::alerts::memory_key())
        {
            super::alerts::notice(&mut plan, self.next("event").await?, what, row.number);
        }
        self.table.transact(plan.items(&self.table.name)?).await
    }

    /// A cause that was never seen is kept with its words; one that was seen later is known to be older.
    async fn signature_seen(
        &self,
        plan: &mut Plan,
        known: Option<&Item>,
        place: Key,
        row: &Row,
        diagnosis: &Diagnosis,
    ) -> Result<(), Error> {
        let at = moment(row.key).as_millisecond();
        match known {
            Some(known) => {
                let first = number::<i64>(known, "first").unwrap_or(i64::MAX);
                if at < first {
                    plan.set(place.clone(), "first", n(at));
                    plan.only_when(place, When::Is("first", n(first)));
                }
            }
            None => {
                let words = similarity::words(&similarity::cause_text(diagnosis));
                // before the cause itself: what nobody refers to is passed over
                try_join_all(words.iter().map(|word| self.keep_word(word, &diagnosis.signature))).await?;
                let item = Item::from([
                    ("s".to_owned(), s(&diagnosis.signature)),
                    ("first".to_owned(), n(at)),
                    ("id".to_owned(), n(self.next("signature").await?)),
                    ("words".to_owned(), s(words.into_iter().collect::<Vec<_>>().join(" "))),
                ]);
                plan.put(place, item, When::Absent);
            }
        }
        Ok(())
    }

    async fn keep_word(&self, word: &str, signature: &str) -> Result<(), Error> {
        let mut plan = Plan::default();
        let partition = format!("K#{word}");
        let item = Item::from([("s".to_owned(), s(signature))]);
        plan.put(key(&partition, format!("s{}", plan::bounded(signature))), item, When::Absent);
        plan.add(key(&partition, "#"), "count", 1);
        match self.table.transact(plan.items(&self.table.name)?).await {
            // it has it already
            Ok(()) | Err(Refused::Condition) => Ok(()),
            Err(Refused::Told(error)) => Err(error),
        }
    }

    /// A new row, under the next attempt of its name.
    pub(super) async fn insert<'a>(
        &self,
        id: Option<String>,
        make: impl Fn(u64, String, u32) -> Row,
        with: impl Fn(&Row) -> With<'a>,
    ) -> Result<Row, Error> {
        let given = id.is_some();
        let name = ExperimentId::name_for(id)?;
        let number = self.next("number").await?;
        for _ in 0..TRIES {
            // a name that was just made is nobody else's
            let attempt = if given { self.attempt(&name).await? } else { 1 };
            let row = make(number, name.clone(), attempt);
            self.add_words(None, &row).await?;
            match self.commit(None, Some(&row), with(&row)).await {
                Ok(()) => return Ok(row),
                Err(Refused::Condition) => {}
                Err(Refused::Told(error)) => return Err(error),
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    /// Changes an experiment, again if another was quicker.
    pub(super) async fn mutate(
        &self,
        id: &ExperimentId,
        to: impl Fn(&Row) -> Result<Row, Error>,
        with: impl Fn(&Row, &Row) -> With<'static>,
        log: Option<(&Kept, Timestamp)>,
    ) -> Result<(Row, Row), Error> {
        for _ in 0..TRIES {
            let before = self.row_of(id).await?;
            let after = to(&before.0)?;
            let with = With { log, ..with(&before.0, &after) };
            self.add_words(Some(&before.0), &after).await?;
            match self.commit(Some(&before), Some(&after), with).await {
                Ok(()) => {
                    self.remove_words(&before.0, Some(&after)).await?;
                    return Ok((before.0, after));
                }
                Err(Refused::Condition) => {}
                Err(Refused::Told(error)) => return Err(error),
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    pub(super) async fn begun(&self, new: NewExperiment) -> Result<ExperimentId, Error> {
        let id = new.id.clone();
        let make = |number, name, attempt| Row::new(number, name, attempt, new.clone());
        Ok(self.insert(id, make, |_| With::default()).await?.id())
    }

    pub(super) async fn ended(
        &self,
        id: &ExperimentId,
        outcome: &Outcome,
        candidate: Option<&CandidateOutcome>,
    ) -> Result<(), Error> {
        let (log, note) = self.adopted(outcome.log.as_ref());
        let to = |row: &Row| {
            match row.status {
                Status::Running | Status::Lost => {}
                status => return Err(Error::AlreadyFinished { id: id.to_string(), status }),
            }
            if outcome.status == Status::Running {
                return Err(Error::StillRunning { id: id.to_string() });
            }
            let mut row = row.clone();
            super::lab::end(&mut row, id, outcome.status == Status::Lost, candidate)?;
            row.end(outcome, log.map(LogRef::of), note.clone());
            Ok(row)
        };
        let rules = |_: &Row, row: &Row| {
            let mut plan = Plan::default();
            for rule in row.tested.iter().flat_map(|it| &it.refused_by) {
                let item = Item::from([("rule".to_owned(), s(rule))]);
                plan.put(key("R", plan::bounded(rule)), item, When::Always);
            }
            With { plan, log: None }
        };
        let (before, after) = self.mutate(id, to, rules, log.map(|kept| (kept, outcome.ended_at))).await?;
        self.drop_log_of(&before, Some(&after)).await?;
        Ok(())
    }

    /// What is large is made a file of the folder first; if that fails, the experiment does without and says so.
    fn adopted<'a>(&self, log: Option<&'a Log>) -> (Option<&'a Kept>, Option<String>) {
        let Some(log) = log else { return (None, None) };
        let note = log.note().map(str::to_owned);
        let Some(kept) = log.kept() else { return (None, note) };
        if let crate::logs::LogData::File(partial) = &kept.data
            && let Err(e) = self.folder.adopt(partial, &kept.facts.id)
        {
            return (None, Some(format!("the log could not be kept ({e})")));
        }
        (Some(kept), note)
    }

    pub(super) async fn recorded(
        &self,
        ended: Vec<(NewExperiment, Outcome)>,
    ) -> Result<Vec<ExperimentId>, Error> {
        for (new, outcome) in &ended {
            let name = ExperimentId::name_for(new.id.clone())?;
            if outcome.status == Status::Running {
                return Err(Error::StillRunning { id: name });
            }
        }
        let mut done = Vec::new();
        for (new, outcome) in ended {
            let (log, note) = self.adopted(outcome.log.as_ref());
            let make = |number, name, attempt| {
                let mut row = Row::new(number, name, attempt, new.clone());
                row.end(&outcome, log.map(LogRef::of), note.clone());
                row
            };
            let with = |_: &Row| With { log: log.map(|kept| (kept, outcome.ended_at)), ..With::default() };
            match self.insert(new.id.clone(), make, with).await {
                Ok(row) => done.push((None, row)),
                Err(error) => {
                    self.take_back_all(done).await;
                    return Err(error);
                }
            }
        }
        Ok(done.into_iter().map(|(_, row): (Option<Row>, Row)| row.id()).collect())
    }

    /// What was written of a batch that could not be finished, as far as that is possible now.
    async fn take_back_all(&self, done: Vec<(Option<Row>, Row)>) {
        for (before, after) in done.into_iter().rev() {
            let Ok(Some(now)) = self.row(after.number).await else { continue };
            // somebody has changed it since: it is his
            if now.0 == after && self.commit(Some(&now), before.as_ref(), With::default()).await.is_ok() {
                let _ = self.drop_log_of(&after, before.as_ref()).await;
            }
        }
    }

    pub(super) async fn attached(&self, id: &ExperimentId, diagnosis: &Diagnosis) -> Result<(), Error> {
        let to = |row: &Row| {
            if row.status == Status::Running {
                return Err(Error::StillRunning { id: id.to_string() });
            }
            Ok(Row { diagnosis: Some(diagnosis.clone()), ..row.clone() })
        };
        self.mutate(id, to, |_, _| With::default(), None).await?;
        Ok(())
    }

    pub(super) async fn saved(&self, failures: Vec<SavedFailure>) -> Result<Vec<SavedAs>, Error> {
        for failure in &failures {
            ExperimentId::name_for(failure.id.clone())?;
        }
        let (mut done, mut saved) = (Vec::new(), Vec::new());
        for failure in failures {
            match self.save_one(failure).await {
                Ok((before, after)) => {
                    let replaced = before.is_some();
                    saved.push(SavedAs { id: after.id(), replaced, corrected: None });
                    done.push((before, after));
                }
                Err(error) => {
                    self.take_back_all(done).await;
                    return Err(error);
                }
            }
        }
        Ok(saved)
    }

    /// The same id and the same log, or, where there is no log, the same signature, is the same failure, looked at again.
    async fn save_one(&self, failure: SavedFailure) -> Result<(Option<Row>, Row), Error> {
        if let Some(name) = &failure.id
            && let Some(id) = self.same_failure(name, &failure).await?
        {
            let to = |row: &Row| Ok(Row { diagnosis: Some(failure.diagnosis.clone()), ..row.clone() });
            let (before, after) = self.mutate(&id, to, |_, _| With::default(), None).await?;
            return Ok((Some(before), after));
        }
        let (log, note) = self.adopted(failure.log.as_ref());
        let make = |number, name, attempt| {
            let new = NewExperiment {
                id: None,
                experiment_type: failure.experiment_type.clone(),
                command: failure.command.clone(),
                cwd: String::new(),
                owner: crate::Owner::this_process(),
                started_at: failure.at,
            };
            Row {
                owner: None,
                status: Status::Failed,
                exit: failure.exit.clone(),
                reason: failure.reason.clone(),
                log: log.map(LogRef::of),
                log_note: note.clone(),
                diagnosis: Some(failure.diagnosis.clone()),
                ..Row::new(number, name, attempt, new)
            }
        };
        let with = |_: &Row| With { log: log.map(|kept| (kept, failure.at)), ..With::default() };
        Ok((None, self.insert(failure.id.clone(), make, with).await?))
    }

    async fn same_failure(&self, name: &str, failure: &SavedFailure) -> Result<Option<ExperimentId>, Error> {
        let attempts = self.table.query(Ask::table(format!("N#{name}")).newest(ATTEMPTS)).await?;
        let keys: Vec<_> = attempts.iter().filter_map(|item| number(item, "number")).map(key_of).collect();
        let log = failure.log.as_ref().and_then(Log::facts).map(|facts| facts.id);
        let mut rows = self.rows(&keys).await?;
        rows.sort_by_key(|row| std::cmp::Reverse(row.attempt));
        let same = rows.into_iter().find(|row| {
            let alike = match log {
                Some(log) => row.log_id() == Some(log),
                None => row.log.is_none() && row.signature() == Some(&failure.diagnosis.signature),
            };
            row.status != Status::Running && alike
        });
        Ok(same.map(|row| row.id()))
    }

    /// Those of these that there are, in no order.
    pub(super) async fn rows(&self, keys: &[Key]) -> Result<Vec<Row>, Error> {
        self.table.get_all(keys).await?.values().map(Row::parse).collect()
    }

    /// Removes an experiment with all that belongs to it. Not if somebody changed it meanwhile.
    pub(super) async fn removed(&self, row: (Row, u64)) -> Result<bool, Error> {
        let mut plan = Plan::default();
        super::lab::forget(&mut plan, &row.0);
        let gone = row.0.clone();
        match self.commit(Some(&row), None, With { plan, log: None }).await {
            Ok(()) => {}
            Err(Refused::Condition) => return Ok(false),
            Err(Refused::Told(error)) => return Err(error),
        }
        self.remove_words(&gone, None).await?;
        for part in self.table.query(Ask::table(format!("D#{}", row.0.number))).await? {
            self.table.delete(format!("D#{}", row.0.number), text(&part, "sk").unwrap_or_default()).await?;
        }
        Ok(true)
    }
}

impl LogRef {
    fn of(kept: &Kept) -> Self {
        let facts = &kept.facts;
        Self { id: facts.id.to_string(), bytes: facts.bytes, stored: facts.stored_bytes }
    }
}

impl Row {
    fn end(&mut self, outcome: &Outcome, log: Option<LogRef>, note: Option<String>) {
        self.status = outcome.status;
        self.ended_at = Some(outcome.ended_at.as_millisecond());
        self.exit = outcome.exit.clone();
        self.reason = outcome.reason.clone();
        self.log = log;
        self.log_note = note;
        self.diagnosis = outcome.diagnosis.clone();
    }
}

/// What alerts hear of a change: that a failure came to its end, or was judged anew.
fn event(before: Option<&Row>, after: &Row) -> Option<&'static str> {
    let judged = |row: &Row| {
        row.diagnosis.as_ref().map(|d| (d.failure_category, d.severity, d.origin, d.signature.clone()))
    };
    let now = judged(after)?;
    let Some(before) = before else { return (after.status != Status::Running).then_some("ended") };
    match judged(before) {
        _ if before.status != after.status => Some("ended"),
        None => Some("ended"),
        Some(then) if then != now => Some("diagnosed"),
        Some(_) => None,
    }
}
