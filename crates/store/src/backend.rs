//! The seam between what is kept and where: every kind of store implements this and passes the same suite.

use async_trait::async_trait;
use coroner_diagnosis::{Diagnosis, Reply};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::logs::StoredLog;
use crate::{
    Candidate, CandidateBegun, CandidateOutcome, CandidateRecord, CommandLine, Costs, Error, Experiment,
    ExperimentId, Health, LogId, NewCandidate, NewExperiment, NewRun, Outcome, Owner, Page, PolicyRefusals,
    Pruned, Query, Retention, Run, RunEnd, RunId, Running, SavedAs, SavedFailure, SignatureCost,
    SignatureStats, SimilarFailure, Spent, Summary, TopQuery, Within,
};

/// What [`crate::Store`] needs of a place that keeps things. What was answered with `Ok` is durable.
#[async_trait]
pub(crate) trait Backend: LabBackend {
    async fn begin(&self, new: NewExperiment) -> Result<ExperimentId, Error>;
    /// Takes what ended as `Lost` too: its watcher turned out to be alive.
    async fn finish(
        &self,
        id: &ExperimentId,
        outcome: Outcome,
        candidate: Option<CandidateOutcome>,
    ) -> Result<(), Error>;
    async fn attach(&self, id: &ExperimentId, diagnosis: Diagnosis) -> Result<(), Error>;
    /// All or none.
    async fn save(&self, failures: Vec<SavedFailure>) -> Result<Vec<SavedAs>, Error>;
    /// `log_is_open` is filled in by the store, which has the files.
    async fn running(&self) -> Result<Vec<Running>, Error>;

    async fn get(&self, text: &str) -> Result<Experiment, Error>;
    async fn list(&self, query: Query) -> Result<Page, Error>;
    async fn log(&self, id: LogId) -> Result<StoredLog, Error>;
    /// Removes what a commit that failed may have left of a log, if nothing refers to it.
    async fn give_up_log(&self, id: LogId) -> Result<(), Error>;
    async fn signature(&self, signature: &str) -> Result<Option<SignatureStats>, Error>;
    async fn similar(
        &self,
        signature: &str,
        cause: &str,
        except: Option<&ExperimentId>,
        limit: usize,
    ) -> Result<Vec<SimilarFailure>, Error>;
    async fn last_success(
        &self,
        experiment_type: &str,
        command: &CommandLine,
    ) -> Result<Option<LogId>, Error>;
    async fn summary(&self, from: Timestamp, to: Timestamp) -> Result<Summary, Error>;

    async fn prune(&self, retention: Retention, now: Timestamp) -> Result<Pruned, Error>;
    async fn cached_reply(&self, key: &str) -> Result<Option<Reply>, Error>;
    async fn forget_reply(&self, key: &str) -> Result<(), Error>;
    async fn remember_reply(&self, key: &str, reply: Reply, now: Timestamp) -> Result<(), Error>;
    async fn spent(&self, day: Date) -> Result<Spent, Error>;
    async fn record_spend(&self, day: Date, spent: Spent) -> Result<(), Error>;

    async fn health(&self, thorough: bool) -> Result<Health, Error>;
    async fn close(&self) -> Result<(), Error>;
}

/// What the lab needs beside: runs, candidates, and what failures cost.
#[async_trait]
pub(crate) trait LabBackend: Send + Sync {
    async fn start_run(&self, new: NewRun) -> Result<RunId, Error>;
    async fn resume_run(&self, id: RunId, owner: Owner, by_force: bool) -> Result<Run, Error>;
    async fn end_run(&self, id: RunId, end: RunEnd) -> Result<(), Error>;
    async fn run(&self, id: RunId) -> Result<Run, Error>;
    /// The newest first.
    async fn runs(&self, task: Option<&str>, limit: usize) -> Result<Vec<Run>, Error>;

    async fn begin_candidate(
        &self,
        new: NewExperiment,
        candidate: NewCandidate,
    ) -> Result<CandidateBegun, Error>;
    async fn mark_for_rerun(&self, ids: &[ExperimentId]) -> Result<u64, Error>;
    /// In the order in which they began.
    async fn candidates(&self, run: RunId, only_to_rerun: bool) -> Result<Vec<Candidate>, Error>;
    async fn candidate(&self, id: &ExperimentId) -> Result<Option<CandidateRecord>, Error>;
    async fn candidate_code(&self, id: &ExperimentId) -> Result<Vec<u8>, Error>;

    async fn costs(&self, within: Within) -> Result<Costs, Error>;
    async fn top_signatures(&self, query: TopQuery) -> Result<Vec<SignatureCost>, Error>;
    async fn policy_refusals(&self, since: Option<Timestamp>) -> Result<Vec<PolicyRefusals>, Error>;
}
