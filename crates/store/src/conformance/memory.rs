//! The simplest store that can pass the suite: everything in memory, every question answered by looking at everything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use coroner_diagnosis::{Diagnosis, Reply};
use jiff::Timestamp;
use jiff::civil::Date;

mod alerts;
mod costs;
mod desk;
mod lab;
mod list;

use list::blank;

use crate::backend::Backend;
use crate::logs::{Log, LogData, LogFolder, StoredLog};
use crate::similarity::{self, ALIKE};
use crate::{
    CandidateOutcome, CommandLine, Error, Experiment, ExperimentId, Health, Listed, LogFacts, LogId,
    NewExperiment, Occurrence, Outcome, Page, PassedAfter, PassedLogs, Pruned, Query, Retention, Running,
    SavedAs, SavedFailure, SignatureStats, SimilarFailure, Spent, Status, Summary,
};

pub(super) struct Memory {
    folder: LogFolder,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    numbers: u64,
    experiments: BTreeMap<i64, Experiment>,
    logs: HashMap<LogId, (LogFacts, LogData, Timestamp)>,
    signatures: BTreeMap<String, (Timestamp, String)>,
    replies: HashMap<String, (Reply, Timestamp)>,
    spending: HashMap<Date, Spent>,
    lab: lab::Lab,
    alerts: alerts::Alerts,
    /// Signatures in the order in which they were first seen.
    seen: Vec<String>,
}

impl Memory {
    pub(super) fn new(folder: LogFolder) -> Self {
        Self { folder, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn add(&mut self, id: Option<String>, at: Timestamp, rest: Experiment) -> Result<i64, Error> {
        let name = ExperimentId::name_for(id)?;
        let attempt = 1 + self.experiments.values().filter(|e| e.listed.id.name() == name).count() as u32;
        self.numbers += 1;
        let mut key = at.as_millisecond() << 21;
        while self.experiments.contains_key(&key) {
            key += 1;
        }
        let listed =
            Listed { id: ExperimentId::new(name, attempt, self.numbers), started_at: at, ..rest.listed };
        self.experiments.insert(key, Experiment { listed, ..rest });
        Ok(key)
    }

    fn find(&self, id: &ExperimentId) -> Result<i64, Error> {
        let found = self.experiments.iter().find(|(_, e)| e.listed.id == *id).map(|(key, _)| *key);
        found.ok_or_else(|| Error::NotFound { text: id.to_string() })
    }

    fn keep(&mut self, folder: &LogFolder, key: i64, log: Option<&Log>, at: Timestamp) {
        let it = self.experiments.get_mut(&key).unwrap();
        it.log_note = log.and_then(Log::note).map(str::to_owned);
        it.log = log.and_then(Log::facts).cloned();
        it.listed.log = it.log.as_ref().map(|facts| facts.id);
        if let Some(kept) = log.and_then(Log::kept) {
            if let LogData::File(partial) = &kept.data {
                folder.adopt(partial, &kept.facts.id).unwrap();
            }
            let entry = self.logs.entry(kept.facts.id).or_insert((kept.facts.clone(), kept.data.clone(), at));
            entry.2 = entry.2.max(at);
        }
    }

    /// Takes a log from those that it fits, and forgets it if nobody has it any more.
    fn drop_log(&mut self, id: LogId, of: impl Fn(&Experiment) -> bool, done: &mut Pruned, now: Timestamp) {
        for it in self.experiments.values_mut().filter(|e| e.listed.log == Some(id) && of(e)) {
            (it.log, it.listed.log) = (None, None);
            it.log_note = Some(format!("removed on {}", now.strftime("%F")));
        }
        if self.experiments.values().all(|e| e.listed.log != Some(id))
            && let Some((facts, ..)) = self.logs.remove(&id)
        {
            done.logs += 1;
            done.log_bytes += facts.stored_bytes;
        }
    }

    fn oldest_log(&self) -> Option<(LogId, Timestamp)> {
        self.logs.values().map(|(facts, _, at)| (facts.id, *at)).min_by_key(|(_, at)| *at)
    }

    fn of_signature(&self, signature: &str) -> Vec<&Experiment> {
        let has = |e: &&Experiment| e.listed.analysis.as_ref().is_some_and(|a| a.signature == signature);
        self.experiments.values().rev().filter(has).collect()
    }

    fn passed_after(&self, failed: &Experiment) -> Option<PassedAfter> {
        let key = self.find(&failed.listed.id).unwrap();
        if self.lab.candidates.contains_key(&key) {
            return self.candidate_passed_after(key);
        }
        let (kind, command) = (&failed.listed.experiment_type, &failed.listed.command);
        let later = |same: &dyn Fn(&Listed) -> bool| {
            let mut passed = self.experiments.values().map(|e| &e.listed).filter(|e| e.status.succeeded());
            passed
                .find(|e| e.started_at > failed.listed.started_at && e.experiment_type == *kind && same(e))
                .cloned()
        };
        let passed = later(&|e| !command.0.is_empty() && e.command == *command)
            .or_else(|| later(&|_| !kind.is_empty()))?;
        Some(PassedAfter {
            failed: failed.listed.id.clone(),
            failed_command: command.clone(),
            passed: passed.id,
            passed_command: passed.command,
            passed_at: passed.started_at,
            change: None,
        })
    }
}

#[async_trait]
impl Backend for Memory {
    async fn begin(&self, new: NewExperiment) -> Result<ExperimentId, Error> {
        let mut state = self.state();
        if let Some(id) = &new.id
            && new.owner.key().is_some()
            && let Some(newest) = state
                .experiments
                .values()
                .filter(|e| e.listed.id.name() == id)
                .max_by_key(|e| e.listed.id.attempt())
            && newest.owner.as_ref() == Some(&new.owner)
        {
            return Ok(newest.listed.id.clone());
        }
        let it = blank(Status::Running, new.experiment_type, new.command);
        let key =
            state.add(new.id, new.started_at, Experiment { cwd: new.cwd, owner: Some(new.owner), ..it })?;
        Ok(state.experiments[&key].listed.id.clone())
    }

    async fn finish(
        &self,
        id: &ExperimentId,
        outcome: Outcome,
        candidate: Option<CandidateOutcome>,
    ) -> Result<(), Error> {
        let mut state = self.state();
        let key = state.find(id)?;
        let it = state.experiments.get_mut(&key).unwrap();
        match it.listed.status {
            Status::Running | Status::Lost if outcome.status != Status::Running => {}
            Status::Running | Status::Lost => return Err(Error::StillRunning { id: id.to_string() }),
            status => return Err(Error::AlreadyFinished { id: id.to_string(), status }),
        }
        state.lab.finish(key, id, outcome.status == Status::Lost, candidate)?;
        let it = state.experiments.get_mut(&key).unwrap();
        it.listed.status = outcome.status;
        it.listed.duration = outcome.exit.as_ref().map(|e| e.wall);
        it.listed.peak_memory = outcome.exit.as_ref().and_then(|e| e.peak_memory);
        (it.exit, it.reason) = (outcome.exit, outcome.reason);
        state.keep(&self.folder, key, outcome.log.as_ref(), outcome.ended_at);
        state.diagnose(key, outcome.diagnosis, true);
        Ok(())
    }

    async fn record(&self, ended: Vec<(NewExperiment, Outcome)>) -> Result<Vec<ExperimentId>, Error> {
        let before = self.state().clone();
        let mut ids = Vec::new();
        for (new, outcome) in ended {
            let done = async {
                let id = self.begin(new).await?;
                self.finish(&id, outcome, None).await.map(|()| id)
            };
            match done.await {
                Ok(id) => ids.push(id),
                Err(e) => {
                    *self.state() = before;
                    return Err(e);
                }
            }
        }
        Ok(ids)
    }

    async fn attach(&self, id: &ExperimentId, diagnosis: Diagnosis) -> Result<(), Error> {
        let mut state = self.state();
        let key = state.find(id)?;
        if state.experiments[&key].listed.status == Status::Running {
            return Err(Error::StillRunning { id: id.to_string() });
        }
        state.diagnose(key, Some(diagnosis), false);
        Ok(())
    }

    async fn save(&self, failures: Vec<SavedFailure>) -> Result<Vec<SavedAs>, Error> {
        let mut state = self.state();
        let mut next = state.clone();
        let mut saved = Vec::new();
        for failure in failures {
            let log = failure.log.as_ref().and_then(Log::facts).map(|facts| facts.id);
            let same = |e: &&Experiment| {
                Some(e.listed.id.name()) == failure.id.as_deref()
                    && e.listed.status != Status::Running
                    && e.listed.log == log
                    && (log.is_some()
                        || e.diagnosis.as_ref().is_some_and(|d| d.signature == failure.diagnosis.signature))
            };
            let found = next.experiments.values().filter(same).max_by_key(|e| e.listed.id.attempt());
            let (key, replaced) = match found {
                Some(e) => (next.find(&e.listed.id)?, true),
                None => {
                    let it = blank(Status::Failed, failure.experiment_type, CommandLine::default());
                    let key = next.add(failure.id, failure.at, it)?;
                    next.keep(&self.folder, key, failure.log.as_ref(), failure.at);
                    (key, false)
                }
            };
            next.diagnose(key, Some(failure.diagnosis), !replaced);
            saved.push(SavedAs { id: next.experiments[&key].listed.id.clone(), replaced, corrected: None });
        }
        *state = next;
        Ok(saved)
    }

    async fn running(&self) -> Result<Vec<Running>, Error> {
        let state = self.state();
        let running = state.experiments.values().filter(|e| e.listed.status == Status::Running);
        Ok(running
            .map(|e| Running {
                id: e.listed.id.clone(),
                experiment_type: e.listed.experiment_type.clone(),
                command: e.listed.command.clone(),
                owner: e.owner.clone().unwrap(),
                started_at: e.listed.started_at,
                log_is_open: None,
            })
            .collect())
    }

    async fn numbered(&self, number: u64) -> Result<Experiment, Error> {
        let state = self.state();
        let found = state.experiments.values().find(|e| e.listed.id.number() == number).cloned();
        found.ok_or_else(|| Error::NotFound { text: number.to_string() })
    }

    async fn get(&self, text: &str) -> Result<Experiment, Error> {
        let state = self.state();
        let newest = |fits: &dyn Fn(&ExperimentId) -> bool| {
            let fitting = state.experiments.values().filter(|e| fits(&e.listed.id));
            fitting.max_by_key(|e| e.listed.id.attempt()).cloned()
        };
        let by_id = newest(&|id| id.name() == text)
            .or_else(|| newest(&|id| format!("{}~{}", id.name(), id.attempt()) == text))
            .or_else(|| newest(&|id| id.number().to_string() == text));
        let newest_of_all = || state.experiments.values().next_back().filter(|_| text == "last").cloned();
        if let Some(found) = by_id.or_else(newest_of_all) {
            return Ok(found);
        }
        let not_found = Error::NotFound { text: text.to_owned() };
        let names = state.experiments.values().map(|e| e.listed.id.name().to_owned());
        let names: BTreeSet<_> = names.filter(|name| !text.is_empty() && name.starts_with(text)).collect();
        match names.len() {
            0 => Err(not_found),
            1 => newest(&|id| names.contains(id.name())).ok_or(not_found),
            _ => Err(Error::Ambiguous { text: text.to_owned(), matches: names.into_iter().collect() }),
        }
    }

    async fn list(&self, query: Query) -> Result<Page, Error> {
        self.state().list(&query)
    }

    async fn log(&self, id: LogId) -> Result<StoredLog, Error> {
        let (facts, data, _) = self.state().logs.get(&id).cloned().ok_or(Error::NoLog { id })?;
        let data = match data {
            LogData::File(_) => LogData::File(self.folder.file(&id)),
            inline => inline,
        };
        Ok(StoredLog { bytes: facts.bytes, data })
    }

    async fn give_up_log(&self, _id: LogId) -> Result<(), Error> {
        Ok(())
    }

    async fn signature(&self, signature: &str) -> Result<Option<SignatureStats>, Error> {
        let state = self.state();
        let Some((first_seen, _)) = state.signatures.get(signature) else { return Ok(None) };
        let all = state.of_signature(signature);
        let newest = all.iter().take(5);
        Ok(Some(SignatureStats {
            signature: signature.to_owned(),
            count: all.len() as u64,
            first_seen: *first_seen,
            last_seen: all.first().map(|e| e.listed.started_at),
            passed_after: newest.clone().find_map(|e| state.passed_after(e)),
            recent: newest
                .map(|e| Occurrence { id: e.listed.id.clone(), started_at: e.listed.started_at })
                .collect(),
        }))
    }

    async fn similar(
        &self,
        signature: &str,
        cause: &str,
        except: Option<&ExperimentId>,
        limit: usize,
    ) -> Result<Vec<SimilarFailure>, Error> {
        let state = self.state();
        let failure = |e: &Experiment, score| SimilarFailure {
            id: e.listed.id.clone(),
            started_at: e.listed.started_at,
            score,
            signature: e.diagnosis.as_ref().map(|d| d.signature.clone()).unwrap(),
            root_cause: e.diagnosis.as_ref().map(|d| d.root_cause.clone()).unwrap(),
            passed_after: state.passed_after(e),
        };
        let same = state.of_signature(signature).into_iter().filter(|e| Some(&e.listed.id) != except);
        let wanted = similarity::words(cause);
        let mut alike = Vec::new();
        for (other, (_, words)) in state.signatures.iter().filter(|(other, _)| *other != signature) {
            let score = similarity::score(&wanted, &similarity::words(words));
            if score >= ALIKE {
                alike.extend(state.of_signature(other).first().map(|e| failure(e, score)));
            }
        }
        alike.sort_by(|a, b| b.score.total_cmp(&a.score));
        Ok(same.map(|e| failure(e, 1.0)).chain(alike).take(limit).collect())
    }

    async fn last_success(&self, kind: &str, command: &CommandLine) -> Result<Option<LogId>, Error> {
        let state = self.state();
        let newest = |same: &dyn Fn(&Listed) -> bool| {
            let passed = state.experiments.values().rev().map(|e| &e.listed).filter(|e| e.status.succeeded());
            passed.filter(|e| e.experiment_type == kind && same(e)).find_map(|e| e.log)
        };
        let same_command = newest(&|e| !command.0.is_empty() && e.command == *command);
        Ok(same_command.or_else(|| newest(&|_| !kind.is_empty())))
    }

    async fn totals(&self) -> Result<Summary, Error> {
        self.summary(Timestamp::UNIX_EPOCH, Timestamp::now()).await
    }

    async fn summary(&self, from: Timestamp, to: Timestamp) -> Result<Summary, Error> {
        let mut summary = Summary::over(from, to);
        for e in self.state().experiments.values().map(|e| &e.listed) {
            if (summary.from..summary.to).contains(&e.started_at) {
                summary.add(e.status, e.analysis.as_ref().map(|a| (a.category, a.severity, a.origin)), 1);
            }
        }
        Ok(summary)
    }

    async fn prune(&self, keep: Retention, now: Timestamp) -> Result<Pruned, Error> {
        let mut state = self.state();
        let mut done = Pruned::default();
        let older =
            |at: Timestamp, age: Option<Duration>| age.is_some_and(|age| now.checked_sub(age).unwrap() > at);
        let held: Vec<_> = state.experiments.keys().copied().filter(|key| state.lab.holds(*key)).collect();
        let experiments = std::mem::take(&mut state.experiments);
        let (old, rest): (BTreeMap<_, _>, BTreeMap<_, _>) = experiments.into_iter().partition(|(key, e)| {
            e.listed.status != Status::Running
                && older(e.listed.started_at, keep.max_age)
                && !held.contains(key)
        });
        state.lab.forget(&old);
        state.experiments = rest;
        done.experiments = old.len() as u64;
        for id in old.values().filter_map(|e| e.listed.log) {
            state.drop_log(id, |_| false, &mut done, now);
        }
        while let Some((id, _)) = state.oldest_log().filter(|(_, at)| older(*at, keep.max_log_age)) {
            state.drop_log(id, |_| true, &mut done, now);
        }
        let mut seen = BTreeSet::new();
        let passed =
            state.experiments.values().rev().filter(|e| e.listed.status.succeeded() && e.log.is_some());
        let passed: Vec<_> = passed.map(|e| e.listed.clone()).collect();
        for e in passed {
            let newest = seen.insert((e.experiment_type.clone(), e.command.0.clone()));
            let dropped = match keep.passed_logs {
                PassedLogs::All => false,
                PassedLogs::Newest => !newest,
                PassedLogs::None => true,
            };
            if let Some(log) = e.log.filter(|_| dropped) {
                state.drop_log(log, |other| other.listed.id == e.id, &mut done, now);
            }
        }
        let most = keep.max_log_bytes.unwrap_or(u64::MAX);
        while state.logs.values().map(|(facts, ..)| facts.stored_bytes).sum::<u64>() > most {
            let Some((id, _)) = state.oldest_log() else { break };
            state.drop_log(id, |_| true, &mut done, now);
        }
        let before = state.replies.len();
        state.replies.retain(|_, (_, at)| !older(*at, keep.max_reply_age));
        done.replies = (before - state.replies.len()) as u64;
        Ok(done)
    }

    async fn cached_reply(&self, key: &str) -> Result<Option<Reply>, Error> {
        Ok(self.state().replies.get(key).map(|(reply, _)| reply.clone()))
    }

    async fn forget_reply(&self, key: &str) -> Result<(), Error> {
        self.state().replies.remove(key);
        Ok(())
    }

    async fn remember_reply(&self, key: &str, reply: Reply, now: Timestamp) -> Result<(), Error> {
        self.state().replies.insert(key.to_owned(), (reply, now));
        Ok(())
    }

    async fn spent(&self, day: Date) -> Result<Spent, Error> {
        Ok(self.state().spending.get(&day).copied().unwrap_or_default())
    }

    async fn record_spend(&self, day: Date, spent: Spent) -> Result<(), Error> {
        let mut state = self.state();
        let sum = state.spending.entry(day).or_default();
        sum.calls += spent.calls;
        sum.dollars = ((sum.dollars + spent.dollars) * 1e9).round() / 1e9;
        Ok(())
    }

    async fn health(&self, _thorough: bool) -> Result<Health, Error> {
        let state = self.state();
        Ok(Health {
            location: "memory".to_owned(),
            schema: 0,
            experiments: state.experiments.len() as u64,
            running: state.experiments.values().filter(|e| e.listed.status == Status::Running).count() as u64,
            database_bytes: 0,
            log_bytes: state.logs.values().map(|(facts, ..)| facts.stored_bytes).sum(),
            problems: Vec::new(),
            logs: None,
        })
    }

    async fn close(&self) -> Result<(), Error> {
        Ok(())
    }
}
