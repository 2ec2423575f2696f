//! The life of an experiment's item: begun, ended, diagnosed, removed; each step is one transaction with all counters.

use coroner_diagnosis::Diagnosis;
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::Dynamo;
use super::alerts::told_partition;
use super::client::{Ask, Key, Refused, key_in, number, text};
use super::commit::{Turn, With};
use super::corrections::votes_partition;
use super::lab::{AT_ONCE, code_partition};
use super::plan::{Plan, When};
use super::row::{LogRef, Row, key_of};
use crate::logs::{Kept, Log};
use crate::{
    CandidateOutcome, Error, ExperimentId, NewExperiment, Outcome, Owner, SavedAs, SavedFailure, Status,
    TableTrouble,
};

/// So often a step is begun anew when others change the same experiment.
const TRIES: u32 = 30;
/// So many attempts of an id are looked through for the same failure.
const ATTEMPTS: usize = 100;

impl Dynamo {
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
        Ok(self.last_attempt(name).await?.map_or(0, |(attempt, _)| attempt) + 1)
    }

    /// The newest attempt of a name, and its number.
    async fn last_attempt(&self, name: &str) -> Result<Option<(u32, u64)>, Error> {
        let newest = self.table.query(Ask::table(format!("N#{name}")).newest(1)).await?;
        Ok(newest.first().and_then(|item| Some((text(item, "sk")?.parse().ok()?, number(item, "number")?))))
    }

    /// A new row, under the next attempt of its name; or the newest there, if its owner says again that he has begun it.
    pub(super) async fn insert<'a>(
        &self,
        id: Option<String>,
        make: impl Fn(u64, String, u32) -> Row,
        with: impl Fn(&Row) -> With<'a>,
    ) -> Result<Row, Error> {
        let given = id.is_some();
        let name = ExperimentId::name_for(id)?;
        let (number, mut turn) = self.next_number().await?;
        let done =
            self.inserted(given, |attempt| make(number, name.clone(), attempt), &name, with, &mut turn);
        let done = done.await;
        self.pass(turn).await;
        done
    }

    async fn inserted<'a>(
        &self,
        given: bool,
        make: impl Fn(u32) -> Row,
        name: &str,
        with: impl Fn(&Row) -> With<'a>,
        turn: &mut Turn,
    ) -> Result<Row, Error> {
        for _ in 0..TRIES {
            // a name that was just made is nobody else's
            let last = if given { self.last_attempt(name).await? } else { None };
            let row = make(last.map_or(0, |(attempt, _)| attempt) + 1);
            if let Some((_, number)) = last
                && row.owner.as_ref().and_then(Owner::key).is_some()
                && let Some((known, _)) = self.row(number).await?
                && known.owner == row.owner
            {
                return Ok(known);
            }
            let with = with(&row);
            match self.commit(None, Some(row), with, turn).await {
                Ok(Some(row)) => return Ok(row),
                Ok(None) | Err(Refused::Condition) => {}
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
        let mut turn = Turn::default();
        let done = self.mutated(id, to, with, log, &mut turn).await;
        self.pass(turn).await;
        done
    }

    pub(super) async fn mutated(
        &self,
        id: &ExperimentId,
        to: impl Fn(&Row) -> Result<Row, Error>,
        with: impl Fn(&Row, &Row) -> With<'static>,
        log: Option<(&Kept, Timestamp)>,
        turn: &mut Turn,
    ) -> Result<(Row, Row), Error> {
        for _ in 0..TRIES {
            let before = self.row_of(id).await?;
            let after = to(&before.0)?;
            let with = With { log, ..with(&before.0, &after) };
            match self.commit(Some(&before), Some(after), with, turn).await {
                Ok(Some(after)) => return Ok((before.0, after)),
                Ok(None) | Err(Refused::Condition) => {}
                Err(Refused::Told(error)) => return Err(error),
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    /// Puts another in the place of one that was read, or nothing; false if somebody has changed that one meanwhile.
    async fn replaced(
        &self,
        before: &(Row, u64),
        after: Option<Row>,
        plan: Plan,
        turn: &mut Turn,
    ) -> Result<bool, Error> {
        for _ in 0..TRIES {
            let with = With { plan: plan.clone(), log: None };
            match self.commit(Some(before), after.clone(), with, turn).await {
                Ok(_) => return Ok(true),
                Err(Refused::Condition) => {}
                Err(Refused::Told(error)) => return Err(error),
            }
            // or has only begun to refer to its log, or ceased to
            if self.row(before.0.number).await?.is_none_or(|(_, version)| version != before.1) {
                return Ok(false);
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
            row.tested.iter().for_each(|it| super::lab::refused(&mut plan, it));
            With { plan, log: None }
        };
        self.mutate(id, to, rules, log.map(|kept| (kept, outcome.ended_at))).await.map(drop)
    }

    /// What is large, and goes into no bucket, is made a file of the folder first; if that fails, the experiment does without
    /// and says so.
    fn adopted<'a>(&self, log: Option<&'a Log>) -> (Option<&'a Kept>, Option<String>) {
        let Some(log) = log else { return (None, None) };
        let note = log.note().map(str::to_owned);
        let Some(kept) = log.kept() else { return (None, note) };
        if let crate::logs::LogData::File(partial) = &kept.data
            && !self.objects.are_wanted()
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
            if now.0 == after {
                let mut turn = Turn::default();
                _ = self.replaced(&now, before, Plan::default(), &mut turn).await;
                self.pass(turn).await;
            }
        }
    }

    pub(super) async fn attached(&self, id: &ExperimentId, diagnosis: &Diagnosis) -> Result<(), Error> {
        let to = |row: &Row| {
            if row.status == Status::Running {
                return Err(Error::StillRunning { id: id.to_string() });
            }
            Ok(row.clone().judged(diagnosis.clone()))
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
                Ok((before, after, given)) => {
                    let replaced = before.is_some();
                    let corrected = after.diagnosis.clone().filter(|settled| *settled != given);
                    saved.push(SavedAs { id: after.id(), replaced, corrected: corrected.map(Box::new) });
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
    async fn save_one(&self, failure: SavedFailure) -> Result<(Option<Row>, Row, Diagnosis), Error> {
        let mut turn = None;
        let done = self.saved_one(&failure, &mut turn).await;
        if let Some((_, turn)) = turn {
            self.pass(turn).await;
        }
        let (before, after) = done?;
        Ok((before, after, failure.diagnosis))
    }

    async fn saved_one(
        &self,
        failure: &SavedFailure,
        turn: &mut Option<(u64, Turn)>,
    ) -> Result<(Option<Row>, Row), Error> {
        let name = ExperimentId::name_for(failure.id.clone())?;
        let (log, note) = self.adopted(failure.log.as_ref());
        for _ in 0..TRIES {
            // a name that was just made is nobody else's
            let (same, newest) = match &failure.id {
                Some(_) => self.same_failure(&name, failure).await?,
                None => (None, 0),
            };
            if let Some(id) = same {
                let to = |row: &Row| Ok(row.clone().judged(failure.diagnosis.clone()));
                match self.mutate(&id, to, |_, _| With::default(), None).await {
                    Ok((before, after)) => return Ok((Some(before), after)),
                    // removed meanwhile
                    Err(Error::NotFound { .. }) => continue,
                    Err(error) => return Err(error),
                }
            }
            let (number, turn) = match turn {
                Some(taken) => taken,
                None => turn.insert(self.next_number().await?),
            };
            let new = NewExperiment {
                id: None,
                experiment_type: failure.experiment_type.clone(),
                command: failure.command.clone(),
                cwd: String::new(),
                owner: crate::Owner::this_process(),
                started_at: failure.at,
            };
            // the one behind those that were looked at: if there is another by now, it may be the same failure
            let row = Row {
                owner: None,
                status: Status::Failed,
                exit: failure.exit.clone(),
                reason: failure.reason.clone(),
                log: log.map(LogRef::of),
                log_note: note.clone(),
                ..Row::new(*number, name.clone(), newest + 1, new)
            }
            .judged(failure.diagnosis.clone());
            let with = With { log: log.map(|kept| (kept, failure.at)), ..With::default() };
            match self.commit(None, Some(row), with, turn).await {
                Ok(Some(row)) => return Ok((None, row)),
                Ok(None) | Err(Refused::Condition) => {}
                Err(Refused::Told(error)) => return Err(error),
            }
        }
        Err(self.failed(TableTrouble::Throttled))
    }

    /// The attempt of a name that is this failure; and the newest of the name.
    async fn same_failure(
        &self,
        name: &str,
        failure: &SavedFailure,
    ) -> Result<(Option<ExperimentId>, u32), Error> {
        let attempts = self.table.query(Ask::table(format!("N#{name}")).newest(ATTEMPTS)).await?;
        let newest = attempts.first().and_then(|item| text(item, "sk")?.parse().ok()).unwrap_or_default();
        let keys: Vec<_> = attempts.iter().filter_map(|item| number(item, "number")).map(key_of).collect();
        let log = failure.log.as_ref().and_then(Log::facts).map(|facts| facts.id);
        let (mut signature, cause) = (failure.diagnosis.signature.clone(), &failure.diagnosis.root_cause);
        if log.is_none()
            && !keys.is_empty()
            && let Some(part) =
                self.cause(&signature).await?.and_then(|it| it.part_of(cause).map(str::to_owned))
        {
            signature = part;
        }
        let mut rows = self.rows(&keys).await?;
        rows.sort_by_key(|row| std::cmp::Reverse(row.attempt));
        let same = rows.into_iter().find(|row| {
            let alike = match log {
                Some(log) => row.log_id() == Some(log),
                None => row.log.is_none() && row.signature() == Some(&signature),
            };
            row.status != Status::Running && alike
        });
        Ok((same.map(|row| row.id()), newest))
    }

    /// Those of these that there are, in no order.
    pub(super) async fn rows(&self, keys: &[Key]) -> Result<Vec<Row>, Error> {
        self.table.get_all(keys).await?.values().map(Row::parse).collect()
    }

    /// Removes an experiment with all that belongs to it. Not if somebody changed it meanwhile.
    pub(super) async fn removed(&self, row: (Row, u64), turn: &mut Turn) -> Result<bool, Error> {
        let (mut plan, number) = (Plan::default(), row.0.number);
        super::lab::forget(&mut plan, &row.0);
        let belongings = [code_partition(number), votes_partition(number), told_partition(number)];
        let found = try_join_all(belongings.into_iter().map(|it| self.table.query(Ask::table(it)))).await?;
        let mut keys: Vec<_> = found.iter().flatten().filter_map(key_in).collect();
        // some of them at once, since they may be parts of a code; hardly ever are there more
        let beyond = keys.split_off(keys.len().min(AT_ONCE));
        keys.into_iter().for_each(|key| plan.delete(key, When::Always));
        if !self.replaced(&row, None, plan, turn).await? {
            return Ok(false);
        }
        self.table.write_all(Vec::new(), beyond).await?;
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
    pub(super) fn end(&mut self, outcome: &Outcome, log: Option<LogRef>, note: Option<String>) {
        self.status = outcome.status;
        self.ended_at = Some(outcome.ended_at.as_millisecond());
        self.exit = outcome.exit.clone();
        self.reason = outcome.reason.clone();
        self.log = log;
        self.log_note = note;
        self.judge(outcome.diagnosis.clone());
    }

    pub(super) fn judged(mut self, diagnosis: Diagnosis) -> Self {
        self.judge(Some(diagnosis));
        self
    }
}
