//! What the lab keeps here: runs of its loop, the candidates that they tried, and what failures cost.

use jiff::Timestamp;

use crate::{
    Candidate, CandidateBegun, CandidateOutcome, CandidateRecord, Costs, Error, ExperimentId, NewCandidate,
    NewExperiment, NewRun, Outcome, Owner, PolicyRefusals, Run, RunEnd, RunId, SignatureCost, Store,
    TopQuery, Within,
};

impl Store {
    // ---- runs of the loop ----

    /// Records that a run of the loop starts.
    pub async fn start_run(&self, new: NewRun) -> Result<RunId, Error> {
        self.backend.start_run(new).await
    }

    /// Takes a run up again, whatever became of it. Refused while the process that runs it may be alive, unless
    /// `by_force`: its machine may be out of sight for good.
    pub async fn resume_run(&self, id: RunId, owner: Owner, by_force: bool) -> Result<Run, Error> {
        self.backend.resume_run(id, owner, by_force).await
    }

    /// Records how a run ended. The last word counts.
    pub async fn end_run(&self, id: RunId, end: RunEnd) -> Result<(), Error> {
        self.backend.end_run(id, end).await
    }

    /// One run.
    pub async fn run(&self, id: RunId) -> Result<Run, Error> {
        self.backend.run(id).await
    }

    /// The newest run of a task.
    pub async fn find_run(&self, task: &str) -> Result<Option<Run>, Error> {
        Ok(self.runs(Some(task), 1).await?.pop())
    }

    /// Runs, of one task or of all, the newest first.
    pub async fn runs(&self, task: Option<&str>, limit: usize) -> Result<Vec<Run>, Error> {
        self.backend.runs(task, limit).await
    }

    // ---- candidates ----

    /// Records that a candidate is about to be tested, with its code and where it came from: one step, durable when
    /// this returns. `Known`, and nothing is begun, if the run has tested the same code already.
    ///
    /// A candidate that is marked ([`Self::mark_for_rerun`]) is begun again: as another attempt of the same experiment,
    /// which clears the mark. Its type is always the name of the run's task.
    pub async fn begin_candidate(
        &self,
        new: NewExperiment,
        candidate: NewCandidate,
    ) -> Result<CandidateBegun, Error> {
        self.backend.begin_candidate(new, candidate).await
    }

    /// Records how a candidate ended and what came of it: one step. Like [`Self::finish`] otherwise.
    pub async fn finish_candidate(
        &self,
        id: &ExperimentId,
        outcome: Outcome,
        candidate: CandidateOutcome,
    ) -> Result<(), Error> {
        self.finish_with(id, outcome, Some(candidate)).await
    }

    /// Has these tested again: what became of them was not their fault. One that runs, or that was tested again since,
    /// is left alone. Says how many were marked. A candidate that ends as `Lost` is marked by itself.
    pub async fn mark_for_rerun(&self, ids: &[ExperimentId]) -> Result<u64, Error> {
        self.backend.mark_for_rerun(ids).await
    }

    /// The candidates of a run that are marked, in the order in which they began.
    pub async fn to_rerun(&self, run: RunId) -> Result<Vec<Candidate>, Error> {
        self.backend.candidates(run, true).await
    }

    /// All candidates of a run, in the order in which they began.
    pub async fn candidates(&self, run: RunId) -> Result<Vec<Candidate>, Error> {
        self.backend.candidates(run, false).await
    }

    /// One candidate with its result; nothing if the experiment is not a candidate.
    pub async fn candidate(&self, id: &ExperimentId) -> Result<Option<CandidateRecord>, Error> {
        self.backend.candidate(id).await
    }

    /// A candidate's source, untouched.
    pub async fn candidate_code(&self, id: &ExperimentId) -> Result<Vec<u8>, Error> {
        self.backend.candidate_code(id).await
    }

    // ---- costs ----

    /// What experiments have taken and what of that was lost, from sums that are kept for all time, each day and each
    /// hour: the answer takes as long as there are different causes, not as long as there are experiments.
    pub async fn costs(&self, within: Within) -> Result<Costs, Error> {
        self.backend.costs(within).await
    }

    /// The causes of failure that matter most, each with how often, how much, and what got past it. One that is judged
    /// to be of two origins is named for each.
    pub async fn top_signatures(&self, query: TopQuery) -> Result<Vec<SignatureCost>, Error> {
        self.backend.top_signatures(query).await
    }

    /// Which rules of the policy have refused how many candidates, the most first.
    pub async fn policy_refusals(&self, since: Option<Timestamp>) -> Result<Vec<PolicyRefusals>, Error> {
        self.backend.policy_refusals(since).await
    }
}
