//! The seam between what is kept and where: every kind of store implements this and passes the same suite.

use async_trait::async_trait;
use coroner_diagnosis::{Diagnosis, Reply};
use jiff::Timestamp;
use jiff::civil::Date;

use crate::logs::StoredLog;
use crate::{
    CommandLine, Error, Experiment, ExperimentId, Health, LogId, NewExperiment, Outcome, Page, Pruned, Query,
    Retention, Running, SavedAs, SavedFailure, SignatureStats, SimilarFailure, Spent, Summary,
};

/// What [`crate::Store`] needs of a place that keeps things. What was answered with `Ok` is durable.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    async fn begin(&self, new: NewExperiment) -> Result<ExperimentId, Error>;
    /// Takes what ended as `Lost` too: its watcher turned out to be alive.
    async fn finish(&self, id: &ExperimentId, outcome: Outcome) -> Result<(), Error>;
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
