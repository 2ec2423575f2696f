//! Work for many hosts: a queue of candidates to test, and who takes them from it.
//!
//! A queue only says that there is something to do, perhaps twice; what is true stands in the store. A candidate has begun there
//! before it is put, and ends there once, by whoever is first: a worker that died, was too slow or was given the same again does no
//! harm. The engine behind a [`Queue`] is somebody else's: SQS.

#[cfg(test)]
mod local;
#[cfg(feature = "aws")]
pub mod sqs;
#[cfg(test)]
mod tests;
mod worker;

use std::time::Duration;

use async_trait::async_trait;
use coroner_store::{AwsTrouble, Experiment};
use serde::{Deserialize, Serialize};

use crate::evolve::Standing;

pub use worker::{Worked, Worker, WorkerError};

/// A candidate that is to be tested. Its code is in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The task.
    pub task: String,
    /// The experiment's short number.
    pub experiment: u64,
    /// Its id, which no experiment of another store has.
    #[serde(default)]
    pub id: String,
    /// What its parent measured.
    #[serde(default)]
    pub parent: Option<Standing>,
    /// The best when it was put.
    #[serde(default)]
    pub best: Option<Standing>,
}

impl Job {
    /// Another store may have an experiment of the same number.
    fn is_of(&self, experiment: &Experiment) -> bool {
        self.id.is_empty() || experiment.listed.id.to_string() == self.id
    }
}

/// What was taken from a queue. It is ours for a while, and anybody's after that.
#[derive(Debug, Clone)]
pub struct Held {
    /// What is to be done; or why that can't be read.
    pub job: Result<Job, String>,
    /// As the queue has it.
    pub body: String,
    /// How often it was taken, this time included.
    pub times: u32,
    /// By which the queue knows that it is ours.
    pub receipt: String,
}

/// What is in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// To be taken.
    pub waiting: u64,
    /// Taken, and not done yet.
    pub held: u64,
}

/// A queue of jobs, shared by hosts.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Its name, for messages.
    fn name(&self) -> &str;

    /// Adds a job. Nobody sees it before so long.
    async fn put(&self, job: &Job, after: Duration) -> Result<(), QueueError>;

    /// Takes one, and waits so long for it. It is hidden from others for `hidden`.
    async fn take(&self, wait: Duration, hidden: Duration) -> Result<Option<Held>, QueueError>;

    /// Hides it for so long from now on; at once to be had by others if that is nothing.
    async fn hide(&self, held: &Held, hidden: Duration) -> Result<(), QueueError>;

    /// Removes it: it is done.
    async fn done(&self, held: &Held) -> Result<(), QueueError>;

    /// Removes it to the place of what can't be done, if the queue has one.
    async fn bury(&self, held: &Held, why: &str) -> Result<(), QueueError>;

    /// How many wait, and how many are held by somebody; about so many.
    async fn counts(&self) -> Result<Counts, QueueError>;

    /// Some of what lies in that place, which stays there: the engine itself may have moved it.
    async fn buried(&self) -> Result<Vec<Job>, QueueError>;
}

/// The queue failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the queue `{queue}` {trouble}")]
pub struct QueueError {
    /// Which.
    pub queue: String,
    /// What is wrong, and what to do.
    pub trouble: QueueTrouble,
}

impl QueueError {
    /// May it pass without anybody doing anything?
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(
            self.trouble,
            QueueTrouble::Other(_)
                | QueueTrouble::Aws(
                    AwsTrouble::Unreachable { .. }
                        | AwsTrouble::Clock { .. }
                        | AwsTrouble::Stranger { status: 500.. }
                )
        )
    }
}

/// One for each thing that a person would do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueTrouble {
    /// The address is none.
    #[error("is no queue: {0}; write sqs:NAME, or sqs:https://sqs.REGION.amazonaws.com/ACCOUNT/NAME")]
    Address(String),
    /// This build has no engine for it.
    #[error("can't be used: this coroner was built without the feature `aws`")]
    NotInThisBuild,
    /// There is none of this name.
    #[error(
        "is not there, in this account and region; make it (aws sqs create-queue --queue-name NAME), or check AWS_REGION"
    )]
    Missing,
    /// It is about who asks, from where and when.
    #[error(transparent)]
    Aws(#[from] AwsTrouble),
    /// Who we are may not.
    #[error(
        "can't be used: AWS does not allow it ({0}); docs/fleet.md lists the permissions that are needed"
    )]
    Forbidden(String),
    /// Anything else.
    #[error("failed: {0}")]
    Other(String),
}
