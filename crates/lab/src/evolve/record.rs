//! What a run writes into the store: that a candidate begins, how it ended, and the file of one that was taken over.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use coroner_store::{
    CandidateBegun, CandidateOutcome, CommandLine, ExperimentId, NewCandidate, NewExperiment, Outcome, Owner,
    Status,
};
use jiff::Timestamp;

use super::afar::owner;
use super::run::{Candidate, Evolution, Ground};
use super::versions::Version;
use super::{Event, EvolveError, Tested};
use crate::attempt::EvolutionResult;

impl Evolution<'_> {
    /// Records that it begins; none if the run has tested the same code already.
    pub(super) fn begin(&self, it: &Candidate) -> Result<Option<ExperimentId>, EvolveError> {
        let new = {
            let state = self.state();
            let parent = it.parent.as_ref().and_then(|parent| state.ids.get(&parent.number));
            let others = it.from.iter().filter_map(|number| state.ids.get(number));
            let mut parents: Vec<ExperimentId> =
                parent.into_iter().chain(others).map(|(id, _)| id.clone()).collect();
            let mut once = HashSet::new();
            parents.retain(|id| once.insert(id.number()));
            NewCandidate {
                run: self.run,
                code: it.code.clone().into_bytes(),
                code_hash: it.hash.clone(),
                generation: parent.map_or(0, |(_, generation)| generation + 1),
                parents,
                repair_of: it
                    .repair
                    .as_ref()
                    .and_then(|r| state.ids.get(&r.number))
                    .map(|(id, _)| id.clone()),
                proposer: it.proposer.clone(),
                change: it.change.clone(),
                feedback: state.settings.feedback,
                proposal_cost: it.cost,
            }
        };
        let experiment = NewExperiment {
            id: None,
            experiment_type: self.ground.errand.task.clone(),
            command: CommandLine(vec!["coroner".to_owned(), "evolve".to_owned()]),
            cwd: String::new(),
            owner: self.ground.bench.queue().map_or_else(Owner::this_process, owner),
            started_at: Timestamp::now(),
        };
        let begun = self.ground.runtime.block_on(self.ground.store.begin_candidate(experiment, new))?;
        let mut state = self.state();
        state.dollars += it.cost.dollars;
        Arc::make_mut(&mut state.known).insert(it.hash.clone());
        let event = match begun {
            CandidateBegun::Begun(id) => {
                state.in_vain = 0;
                drop(state);
                let number = id.number();
                let again = it.again || id.attempt() > 1;
                self.tell(&Event::Started { number, change: it.change.clone(), again });
                return Ok(Some(id));
            }
            CandidateBegun::Known(id) => {
                Event::Known { change: it.change.clone(), as_experiment: id.number() }
            }
        };
        state.in_vain += 1;
        drop(state);
        self.tell(&event);
        Ok(None)
    }

    pub(super) fn keep(&self, id: &ExperimentId, tested: &Tested, reason: &str) -> Result<(), EvolveError> {
        let (outcome, candidate) = kept(tested, reason);
        let Ground { store, runtime, .. } = &self.ground;
        match runtime.block_on(store.finish_candidate(id, outcome, candidate)) {
            // a worker that had it from a queue was quicker
            Err(coroner_store::Error::AlreadyFinished { .. }) => Ok(()),
            other => Ok(other?),
        }
    }

    /// It was stopped, so nothing is known of it: it is marked to be tested again, as one whose watcher died.
    pub(super) fn lost(&self, id: &ExperimentId, tested: &Tested) -> Result<(), EvolveError> {
        let outcome = Outcome {
            status: Status::Lost,
            exit: tested.exit.clone(),
            ended_at: Timestamp::now(),
            reason: Some("interrupted from the terminal".to_owned()),
            log: tested.log.clone(),
            diagnosis: None,
        };
        let Ground { store, runtime, .. } = &self.ground;
        Ok(runtime.block_on(store.finish_candidate(id, outcome, CandidateOutcome::default()))?)
    }

    /// Puts an adopted program into the folder, unless it is there.
    pub(super) fn version(
        &self,
        id: &ExperimentId,
        parents: Vec<u64>,
        change: &str,
        score: Option<f64>,
        metrics: &BTreeMap<String, f64>,
        code: &str,
    ) -> Result<(), EvolveError> {
        let Some(versions) = &self.ground.versions else { return Ok(()) };
        let version = Version {
            version: 0,
            file: String::new(),
            run: self.run.number(),
            experiment: id.number(),
            parents,
            change: change.to_owned(),
            score,
            metrics: metrics.clone(),
            at: Timestamp::now().to_string(),
        };
        let path = versions.keep(version, code)?;
        (self.ground.adopted)(&path, id.number(), change);
        Ok(())
    }
}

/// What is kept of a test.
pub(crate) fn kept(tested: &Tested, reason: &str) -> (Outcome, CandidateOutcome) {
    let result = EvolutionResult {
        status: tested.status,
        adopted: tested.status == Status::Adopted,
        reason: reason.to_owned(),
        metrics: tested.metrics.clone(),
        held_out: tested.held_out.clone(),
        improvement: tested.improvement,
        remarks: tested.remarks.clone(),
        failure_analysis: tested.diagnosis.clone(),
    };
    let outcome = Outcome {
        status: tested.status,
        exit: tested.exit.clone(),
        ended_at: Timestamp::now(),
        reason: Some(reason.to_owned()),
        log: tested.log.clone(),
        diagnosis: tested.diagnosis.clone(),
    };
    let candidate = CandidateOutcome {
        metrics: tested.metrics.clone(),
        score: tested.score,
        result: serde_json::to_value(&result).unwrap_or_default(),
        refused_by: tested.refused_by.clone(),
    };
    (outcome, candidate)
}
