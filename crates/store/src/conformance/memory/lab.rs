//! Runs and candidates in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Memory, State, blank, costs};
use crate::backend::LabBackend;
use crate::{
    Candidate, CandidateBegun, CandidateFailure, CandidateOutcome, CandidateRecord, Costs, Error, Experiment,
    ExperimentId, Liveness, NewCandidate, NewExperiment, NewRun, Owner, PolicyRefusals, Run, RunEnd, RunId,
    RunState, SignatureCost, Status, TopQuery, Within,
};

#[derive(Clone, Default)]
pub(super) struct Lab {
    runs: Vec<Run>,
    /// By the key of the experiment.
    pub(super) candidates: BTreeMap<i64, Kept>,
}

#[derive(Clone)]
pub(super) struct Kept {
    pub(super) new: NewCandidate,
    tries: u32,
    replaced: bool,
    rerun: bool,
    pub(super) outcome: Option<CandidateOutcome>,
}

impl Lab {
    pub(super) fn run(&self, id: RunId) -> Result<&Run, Error> {
        self.runs.iter().find(|run| run.id == id).ok_or(Error::NoRun { id })
    }

    fn run_mut(&mut self, id: RunId) -> Result<&mut Run, Error> {
        self.runs.iter_mut().find(|run| run.id == id).ok_or(Error::NoRun { id })
    }

    pub(super) fn finish(
        &mut self,
        key: i64,
        id: &ExperimentId,
        lost: bool,
        outcome: Option<CandidateOutcome>,
    ) -> Result<(), Error> {
        match (self.candidates.get_mut(&key), outcome) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Error::NotACandidate { id: id.to_string() }),
            (Some(it), outcome) => {
                it.rerun = lost && !it.replaced;
                if let Some(mut outcome) = outcome {
                    outcome.metrics.retain(|_, value| value.is_finite());
                    it.outcome = Some(outcome);
                }
                Ok(())
            }
        }
    }

    pub(super) fn forget(&mut self, old: &BTreeMap<i64, Experiment>) {
        self.candidates.retain(|key, _| !old.contains_key(key));
        let used: Vec<_> = self.candidates.values().map(|it| it.new.run).collect();
        self.runs.retain(|run| run.state == RunState::Running || used.contains(&run.id));
    }

    /// Does somebody run what this belongs to?
    pub(super) fn holds(&self, key: i64) -> bool {
        let run = self.candidates.get(&key).and_then(|it| self.run(it.new.run).ok());
        run.is_some_and(|run| run.state == RunState::Running && run.owner.liveness() != Liveness::Gone)
    }
}

impl State {
    fn candidate(&self, key: i64) -> Candidate {
        let (it, e) = (&self.lab.candidates[&key], &self.experiments[&key].listed);
        let kept = |id: &ExperimentId| self.find(id).is_ok();
        Candidate {
            id: e.id.clone(),
            number: e.id.number(),
            run: it.new.run,
            status: e.status,
            started_at: e.started_at,
            generation: it.new.generation,
            parents: it.new.parents.iter().filter(|id| kept(id)).cloned().collect(),
            repair_of: it.new.repair_of.clone().filter(kept),
            proposer: it.new.proposer.clone(),
            change: it.new.change.clone(),
            feedback: it.new.feedback,
            proposal_cost: it.new.proposal_cost,
            code_hash: it.new.code_hash.clone(),
            tries: it.tries,
            replaced: it.replaced,
            rerun: it.rerun,
            metrics: it.outcome.as_ref().map(|o| o.metrics.clone()).unwrap_or_default(),
            score: it.outcome.as_ref().and_then(|o| o.score),
            failure: e.analysis.as_ref().map(|a| CandidateFailure {
                category: a.category,
                severity: a.severity,
                origin: a.origin,
                signature: a.signature.clone(),
                root_cause: a.root_cause.clone(),
            }),
        }
    }
}

#[async_trait]
impl LabBackend for Memory {
    async fn start_run(&self, new: NewRun) -> Result<RunId, Error> {
        let mut state = self.state();
        let id = RunId(state.lab.runs.iter().map(|run| run.id.0).max().unwrap_or(0) + 1);
        state.lab.runs.push(new.begun(id));
        Ok(id)
    }

    async fn resume_run(&self, id: RunId, owner: Owner, by_force: bool) -> Result<Run, Error> {
        let mut state = self.state();
        let run = state.lab.run_mut(id)?;
        if !by_force && run.is_held_by_another(&owner) {
            return Err(Error::RunIsHeld { id, host: run.owner.host.clone(), pid: run.owner.pid });
        }
        (run.owner, run.state, run.ended_at, run.reason) = (owner, RunState::Running, None, None);
        Ok(run.clone())
    }

    async fn end_run(&self, id: RunId, end: RunEnd) -> Result<(), Error> {
        let mut state = self.state();
        let run = state.lab.run_mut(id)?;
        let stopped = end.state == RunState::Broken && run.state != RunState::Broken;
        (run.state, run.ended_at, run.reason) = (end.state, Some(end.at), Some(end.reason));
        if stopped {
            state.alerts.notice(super::alerts::Kept::Stopped(id));
        }
        Ok(())
    }

    async fn run(&self, id: RunId) -> Result<Run, Error> {
        self.state().lab.run(id).cloned()
    }

    async fn runs(&self, task: Option<&str>, limit: usize) -> Result<Vec<Run>, Error> {
        let state = self.state();
        let fitting = state.lab.runs.iter().rev().filter(|run| task.is_none_or(|task| run.task == task));
        Ok(fitting.take(limit).cloned().collect())
    }

    async fn begin_candidate(
        &self,
        mut new: NewExperiment,
        candidate: NewCandidate,
    ) -> Result<CandidateBegun, Error> {
        let mut state = self.state();
        let kind = state.lab.run(candidate.run)?.task.clone();
        for parent in candidate.parents.iter().chain(&candidate.repair_of) {
            state.find(parent)?;
        }
        let same = |it: &Kept| {
            it.new.run == candidate.run && it.new.code_hash == candidate.code_hash && !it.replaced
        };
        let known = state.lab.candidates.iter().find(|(_, it)| same(it)).map(|(key, it)| (*key, it.clone()));
        let mut tries = 1;
        if let Some((key, it)) = known {
            let id = state.experiments[&key].listed.id.clone();
            if !it.rerun {
                return Ok(CandidateBegun::Known(id));
            }
            tries += it.tries;
            new.id = Some(id.name().to_owned());
            let it = state.lab.candidates.get_mut(&key).unwrap();
            (it.replaced, it.rerun) = (true, false);
        }
        let it = blank(Status::Running, kind, new.command);
        let key =
            state.add(new.id, new.started_at, Experiment { cwd: new.cwd, owner: Some(new.owner), ..it })?;
        let kept = Kept { new: candidate, tries, replaced: false, rerun: false, outcome: None };
        state.lab.candidates.insert(key, kept);
        Ok(CandidateBegun::Begun(state.experiments[&key].listed.id.clone()))
    }

    async fn mark_for_rerun(&self, ids: &[ExperimentId]) -> Result<u64, Error> {
        let mut state = self.state();
        let mut marked = 0;
        for id in ids {
            let key = state.find(id)?;
            let ended = state.experiments[&key].listed.status != Status::Running;
            if let Some(it) = state.lab.candidates.get_mut(&key).filter(|it| ended && !it.replaced) {
                it.rerun = true;
                marked += 1;
            }
        }
        Ok(marked)
    }

    async fn candidates(&self, run: RunId, only_to_rerun: bool) -> Result<Vec<Candidate>, Error> {
        let state = self.state();
        state.lab.run(run)?;
        let fitting =
            state.lab.candidates.iter().filter(|(_, it)| it.new.run == run && (it.rerun || !only_to_rerun));
        let mut all: Vec<_> = fitting.map(|(key, _)| state.candidate(*key)).collect();
        all.sort_by_key(|it| it.number);
        Ok(all)
    }

    async fn candidate(&self, id: &ExperimentId) -> Result<Option<CandidateRecord>, Error> {
        let state = self.state();
        let key = state.find(id)?;
        let Some(it) = state.lab.candidates.get(&key) else { return Ok(None) };
        let of_it = |it: &Kept| it.new.parents.contains(id) || it.new.repair_of.as_ref() == Some(id);
        let children = state.lab.candidates.iter().filter(|(_, it)| of_it(it));
        Ok(Some(CandidateRecord {
            candidate: state.candidate(key),
            result: it.outcome.as_ref().map(|o| o.result.clone()),
            code_bytes: it.new.code.len() as u64,
            children: children.map(|(key, _)| state.experiments[key].listed.id.clone()).take(20).collect(),
        }))
    }

    async fn candidate_code(&self, id: &ExperimentId) -> Result<Vec<u8>, Error> {
        let state = self.state();
        let kept = state.lab.candidates.get(&state.find(id)?);
        Ok(kept.ok_or_else(|| Error::NotACandidate { id: id.to_string() })?.new.code.clone())
    }

    async fn costs(&self, within: Within) -> Result<Costs, Error> {
        Ok(costs::costs(&self.state(), &within))
    }

    async fn top_signatures(&self, query: TopQuery) -> Result<Vec<SignatureCost>, Error> {
        Ok(costs::top(&self.state(), &query))
    }

    async fn policy_refusals(&self, since: Option<Timestamp>) -> Result<Vec<PolicyRefusals>, Error> {
        Ok(costs::refusals(&self.state(), since))
    }
}
