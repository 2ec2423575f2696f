//! One run of the loop: workers take what is to be done, do it, and keep what came of it before anything else happens.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coroner_store::{Cost, ExperimentId, RunEnd, RunId, RunState, Status, Store};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::resume::TASK;
use super::state::{Baseline, Ended, Job, Next, State};
use super::{
    Bench, Event, EvolveError, Finished, Over, Settings, Standing, Tested, Trial, Versions, provider,
};
use crate::propose::{Brief, Errand, Hash, Member, Mending, Proposal, Proposer, ProposerError};

/// Candidates are parsed here, and one may be nested deeply.
const STACK: usize = 64 << 20;

/// What a run stands on.
pub struct Ground<'a> {
    /// Where everything is kept.
    pub store: Store,
    /// What drives the store and a proposer.
    pub runtime: Handle,
    /// The task, in words.
    pub errand: Arc<Errand>,
    /// The first candidate.
    pub baseline: String,
    /// Who makes candidates.
    pub proposer: &'a dyn Proposer,
    /// Who tests them.
    pub bench: &'a dyn Bench,
    /// Tells whether two programs are the same.
    pub hash: Hash,
    /// Where adopted programs go as files, if anywhere.
    pub versions: Option<Versions>,
    /// What earlier failures teach, in words.
    pub advice: &'a (dyn Fn(RunId) -> String + Sync),
    /// Is told what happens.
    pub tell: &'a (dyn Fn(&Event) + Sync),
    /// A program was adopted and lies at this place.
    pub adopted: &'a (dyn Fn(&std::path::Path, u64, &str) + Sync),
}

/// A run.
pub struct Evolution<'a> {
    pub(super) ground: Ground<'a>,
    pub(super) run: RunId,
    state: Mutex<State>,
    changed: Condvar,
    next_start: Mutex<Instant>,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something was done.
    Did,
    /// There is nothing to do until something changes.
    Wait,
    /// It is over.
    Over,
}

/// A candidate and where it came from.
pub(super) struct Candidate {
    pub(super) code: String,
    pub(super) hash: String,
    pub(super) change: String,
    pub(super) proposer: String,
    pub(super) from: Vec<u64>,
    pub(super) edits: Vec<crate::propose::Edit>,
    pub(super) parent: Option<Arc<Member>>,
    pub(super) repair: Option<Arc<Mending>>,
    pub(super) cost: Cost,
    pub(super) again: bool,
}

impl Candidate {
    /// What its parent measured.
    fn standing(&self) -> Option<Standing> {
        let parent = self.parent.as_ref()?;
        Some(Standing {
            number: parent.number,
            metrics: parent.metrics.clone(),
            held_out: std::collections::BTreeMap::new(),
            rank: parent.rank,
        })
    }
}

impl<'a> Evolution<'a> {
    pub(super) fn with(ground: Ground<'a>, run: RunId, state: State) -> Self {
        Self {
            ground,
            run,
            state: Mutex::new(state),
            changed: Condvar::new(),
            next_start: Mutex::new(Instant::now()),
        }
    }

    /// Its number in the store.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.run
    }

    /// Nothing new is begun any more; what is under way ends.
    pub fn stop(&self) {
        let mut state = self.state();
        state.over.get_or_insert(Over::Asked);
        self.changed.notify_all();
    }

    /// Works with so many at once until it is over, and records how it ended.
    pub fn go(&self, workers: usize) -> Result<Over, EvolveError> {
        let result = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for number in 0..workers.max(1) {
                let builder = std::thread::Builder::new().name(format!("worker {number}")).stack_size(STACK);
                match builder.spawn_scoped(scope, || self.work()) {
                    Ok(thread) => threads.push(thread),
                    // fewer will do, none will not
                    Err(error) if threads.is_empty() => return Err(EvolveError::Thread(error)),
                    Err(_) => break,
                }
            }
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(EvolveError::Worker)))
        });
        if result.is_err() {
            self.stop();
        }
        result?;
        self.end()
    }

    fn work(&self) -> Result<(), EvolveError> {
        loop {
            match self.step() {
                Ok(Step::Did) => {}
                Ok(Step::Wait) => {
                    let state = self.state();
                    // a little patience in case a word was missed
                    _ = self.changed.wait_timeout(state, Duration::from_millis(200));
                }
                Ok(Step::Over) => return Ok(()),
                Err(error) => {
                    self.stop();
                    return Err(error);
                }
            }
        }
    }

    /// Records how it ended.
    pub fn end(&self) -> Result<Over, EvolveError> {
        let over = self.state().over.clone().unwrap_or(Over::Asked);
        let (state, reason) = match &over {
            Over::Done => (RunState::Finished, "all candidates that were asked for are tested".to_owned()),
            Over::Asked => (RunState::Stopped, "ended from the terminal".to_owned()),
            Over::OverBudget(why) => (RunState::Stopped, why.clone()),
            Over::Exhausted(why) => (RunState::Finished, why.clone()),
            Over::Broken(trip) => (RunState::Broken, format!("{}: {}", trip.origin, trip.root_cause)),
            Over::Baseline(why) => (RunState::Broken, format!("the baseline failed: {why}")),
        };
        let end = RunEnd { state, reason, at: Timestamp::now() };
        self.ground.runtime.block_on(self.ground.store.end_run(self.run, end))?;
        Ok(over)
    }

    /// Does one thing that is to be done, if there is one.
    pub fn step(&self) -> Result<Step, EvolveError> {
        if !self.is_time() {
            return Ok(Step::Wait);
        }
        let next = self.state().next(&self.ground.errand, &|| (self.ground.advice)(self.run));
        let job = match next {
            Next::Do(job) => job,
            Next::Wait => return Ok(Step::Wait),
            Next::Over => {
                self.changed.notify_all();
                return Ok(Step::Over);
            }
        };
        let counted = matches!(job, Job::Propose(_) | Job::Await(_));
        let result = match job {
            Job::Baseline => self.baseline(),
            Job::Again(id) => self.again(&id),
            Job::Await(id) => self.wait_for(&id),
            Job::Propose(brief) => self.propose(&brief),
        };
        if counted {
            self.state().back();
        }
        self.changed.notify_all();
        result.map(|()| Step::Did)
    }

    /// Has the time come for the next start? Whoever asks and is told so has taken it.
    fn is_time(&self) -> bool {
        let mut state = self.state();
        let Some(every) = state.settings.every.filter(|_| state.over.is_none()) else { return true };
        if state.baseline != Baseline::There {
            return true;
        }
        // what is over is found out at once, not at the next full ten minutes
        if state.tested + state.under_way >= state.settings.generations && state.again.is_empty() {
            return true;
        }
        let mut at = self.next_start.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() < *at {
            return false;
        }
        *at = Instant::now() + every;
        // a failure that is to be mended is no reason to wait twice
        state.in_vain = 0;
        true
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, event: &Event) {
        (self.ground.tell)(event);
    }

    fn baseline(&self) -> Result<(), EvolveError> {
        let code = self.ground.baseline.clone();
        let candidate = Candidate {
            hash: (self.ground.hash)(&code),
            code,
            change: "baseline".to_owned(),
            proposer: TASK.to_owned(),
            from: Vec::new(),
            edits: Vec::new(),
            parent: None,
            repair: None,
            cost: Cost::default(),
            again: false,
        };
        self.test(&candidate)
    }

    fn again(&self, id: &ExperimentId) -> Result<(), EvolveError> {
        // it has been paid once
        match self.read(id)? {
            Some(candidate) => self.test(&Candidate { again: true, ..candidate }),
            None => Ok(()),
        }
    }

    /// It was put on a queue before this process was there, and has no end yet.
    fn wait_for(&self, id: &ExperimentId) -> Result<(), EvolveError> {
        match self.read(id)? {
            Some(candidate) => self.test_begun(&candidate, id),
            None => Ok(()),
        }
    }

    /// A candidate that has begun before, as the store has it.
    fn read(&self, id: &ExperimentId) -> Result<Option<Candidate>, EvolveError> {
        let Ground { store, runtime, .. } = &self.ground;
        let code = runtime.block_on(store.candidate_code(id))?;
        let Some(record) = runtime.block_on(store.candidate(id))? else { return Ok(None) };
        let parent = {
            let state = self.state();
            record.candidate.parents.first().and_then(|p| state.population.find(p.number()).cloned())
        };
        Ok(Some(Candidate {
            code: String::from_utf8_lossy(&code).into_owned(),
            hash: record.candidate.code_hash,
            change: record.candidate.change,
            proposer: record.candidate.proposer,
            from: Vec::new(),
            edits: Vec::new(),
            parent,
            repair: None,
            cost: Cost::default(),
            again: false,
        }))
    }

    fn propose(&self, brief: &Brief) -> Result<(), EvolveError> {
        let proposer = self.ground.proposer;
        let name = proposer.name();
        match self.ground.runtime.block_on(proposer.propose(brief)) {
            Ok(Proposal { code, change, from, edits, cost }) => {
                let hash = (self.ground.hash)(&code);
                self.test(&Candidate {
                    code,
                    hash,
                    change,
                    proposer: name,
                    from,
                    edits,
                    parent: Some(Arc::clone(&brief.parent)),
                    repair: brief.repair.clone(),
                    cost,
                    again: false,
                })
            }
            Err(ProposerError::NothingToMend(_)) => Ok(()),
            Err(error @ ProposerError::Exhausted { .. }) => {
                self.state().in_vain += 1;
                self.tell(&Event::NoProposal(error.to_string()));
                Ok(())
            }
            Err(ProposerError::OverBudget(why)) => {
                self.state().over.get_or_insert(Over::OverBudget(why));
                Ok(())
            }
            Err(ProposerError::Unusable { why, reply, cost }) => {
                self.unusable(brief, name, &why, reply, cost)
            }
        }
    }

    /// A reply that is no program is an experiment too: it has taken time and money, and somebody has to see it.
    fn unusable(
        &self,
        brief: &Brief,
        proposer: String,
        why: &str,
        reply: String,
        cost: Cost,
    ) -> Result<(), EvolveError> {
        // the same useless reply twice is two failures: it is not the code that is asked for twice
        let hash = Sha256::digest(format!("reply {} {reply}", brief.ordinal));
        let candidate = Candidate {
            hash: format!("reply:{}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
            code: reply,
            change: format!("no program: {why}").chars().take(200).collect(),
            proposer,
            from: Vec::new(),
            edits: Vec::new(),
            parent: Some(Arc::clone(&brief.parent)),
            repair: None,
            cost,
            again: false,
        };
        let Some(id) = self.begin(&candidate)? else { return Ok(()) };
        let task = &self.ground.errand.task;
        let at = Timestamp::now().to_string();
        let tested = Tested {
            diagnosis: Some(provider::diagnosis(why, &candidate.code, &id.to_string(), task, at)),
            reason: "There is no program to test".to_owned(),
            ..Tested::default()
        };
        self.finish(&candidate, &id, tested, None)
    }

    fn test(&self, it: &Candidate) -> Result<(), EvolveError> {
        let Some(id) = self.begin(it)? else { return Ok(()) };
        self.test_begun(it, &id)
    }

    fn test_begun(&self, it: &Candidate, id: &ExperimentId) -> Result<(), EvolveError> {
        let best = self.state().best.clone();
        let parent = it.standing();
        let trial = Trial { id, code: &it.code, parent: parent.as_ref(), best: best.as_ref() };
        let tested = self.ground.bench.test(&trial);
        self.finish(it, id, tested, best.map(|best| best.number))
    }

    /// Keeps the end of it and learns from it: one candidate at a time, so that each is compared with the best. `than` is
    /// the one that it was compared with.
    fn finish(
        &self,
        it: &Candidate,
        id: &ExperimentId,
        mut tested: Tested,
        than: Option<u64>,
    ) -> Result<(), EvolveError> {
        if tested.stopped {
            // those who test it elsewhere go on
            return if tested.kept { Ok(()) } else { self.lost(id, &tested) };
        }
        let mut state = self.state();
        if !tested.kept
            && tested.status == Status::Adopted
            && state.best.as_ref().map(|best| best.number) != than
        {
            let parent = it.standing();
            let best = state.best.as_ref();
            tested =
                self.ground.bench.judge(&Trial { id, code: &it.code, parent: parent.as_ref(), best }, tested);
        }
        let (status, diagnosis) = (tested.status, tested.diagnosis.clone());
        let rank = tested.score.map(|score| self.ground.bench.rank(score));
        let is_baseline = it.proposer == TASK;
        let ended = Ended {
            id,
            hash: &it.hash,
            code: &it.code,
            change: &it.change,
            edits: &it.edits,
            parent: it.parent.as_ref(),
            repair: it.repair.as_deref(),
            counts: !is_baseline,
            status,
            metrics: &tested.metrics,
            held_out: &tested.held_out,
            rank,
            score: tested.score,
            diagnosis: diagnosis.as_ref(),
            raw: &tested.raw,
            code_name: self.ground.bench.code_name(),
        };
        let (trip, repeated) = state.learn(&ended);
        let reason = match &repeated {
            Some(repeated) => format!("{}; {repeated}", tested.reason),
            None => tested.reason.clone(),
        };
        if !tested.kept {
            self.keep(id, &tested, &reason)?;
        }
        state.dollars += diagnosis.as_ref().and_then(|d| d.cost_usd).unwrap_or(0.0);
        if status == Status::Adopted {
            let parents = it.parent.iter().map(|parent| parent.number).collect();
            self.version(id, parents, &it.change, tested.score, &tested.metrics, &it.code)?;
        }
        if is_baseline {
            state.baseline = Baseline::There;
            if state.population.best().is_none() {
                let why = diagnosis.as_ref().map_or_else(|| reason.clone(), |d| d.root_cause.clone());
                state.over.get_or_insert(Over::Baseline(why));
                self.ground.runtime.block_on(self.ground.store.mark_for_rerun(std::slice::from_ref(id)))?;
            }
        }
        let finished = Finished {
            number: id.number(),
            status,
            reason,
            change: it.change.clone(),
            score: tested.score,
            best: state.best_score,
            diagnosis,
            repeated,
            tested: state.tested,
        };
        if let Some(trip) = trip.filter(|_| state.over.is_none()) {
            self.ground.runtime.block_on(self.ground.store.mark_for_rerun(&trip.experiments))?;
            state.over = Some(Over::Broken(Box::new(trip.clone())));
            drop(state);
            self.tell(&Event::Finished(Box::new(finished)));
            self.tell(&Event::Broken(Box::new(trip)));
        } else {
            // others that were under way when it was noticed have failed of the same
            if let (Some(Over::Broken(trip)), Some(diagnosis)) = (&state.over, &finished.diagnosis)
                && trip.signature == diagnosis.signature
            {
                self.ground.runtime.block_on(self.ground.store.mark_for_rerun(std::slice::from_ref(id)))?;
            }
            drop(state);
            self.tell(&Event::Finished(Box::new(finished)));
        }
        self.changed.notify_all();
        Ok(())
    }

    /// What is to be mended, for tests.
    #[cfg(test)]
    pub(super) fn repairs(&self) -> Vec<super::state::Repair> {
        self.state().repairs.iter().cloned().collect()
    }

    /// The settings that it keeps to.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.state().settings.clone()
    }
}
