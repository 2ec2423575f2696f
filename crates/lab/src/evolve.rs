//! The loop: proposes candidates, has them tested, keeps what came of them as it happens, adopts the better ones, feeds
//! failures back, and stops when what fails is not the candidates. Whatever ends it, it can be taken up again.

mod ablation;
mod afar;
mod bench;
mod breaker;
mod brief;
mod population;
mod provider;
mod record;
mod resume;
mod run;
mod state;
mod summary;
#[cfg(test)]
mod tests;
mod versions;

use std::collections::BTreeMap;
use std::time::Duration;

use coroner_diagnosis::{Diagnosis, Exit};
use coroner_store::{ExperimentId, Feedback, Log, RunId, Status};
use serde::{Deserialize, Serialize};

pub use ablation::{Ablation, Lane, Mode, Spread, ablate};
pub use afar::QueueBench;
pub use bench::TaskBench;
pub use breaker::Trip;
pub use resume::settings_of;
pub use run::{Evolution, Ground, Step};
pub use summary::{Ancestor, Summary};
pub use versions::{Versions, VersionsError};

#[cfg(test)]
pub(crate) use afar::owner as owner_in;
pub(crate) use record::kept;

/// What a run keeps to. Stored with it, so that it can be taken up again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// How many candidates are tested after the baseline.
    pub generations: u64,
    /// Where random numbers begin.
    pub seed: u64,
    /// What a proposer is told of failures.
    pub feedback: Feedback,
    /// How often a candidate that failed is mended at most.
    pub repairs: u32,
    /// After so many different candidates that failed in the same way, and not by their own fault, the loop stops.
    pub breaker: usize,
    /// US dollars for proposals and diagnoses; none is no limit.
    pub dollars: Option<f64>,
    /// The time from one start to the next.
    pub every: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            generations: 50,
            seed: 1,
            feedback: Feedback::Diagnosis,
            repairs: 2,
            breaker: 3,
            dollars: None,
            every: None,
        }
    }
}

/// Tests candidates and judges them. It is asked from several threads at once, and takes as long as it takes.
pub trait Bench: Sync {
    /// Screens a candidate, runs it, judges it, and says why it failed if it did.
    fn test(&self, trial: &Trial<'_>) -> Tested;

    /// Judges one again that would have been taken over, after another one has become the best in the meantime. Called
    /// for one candidate at a time.
    fn judge(&self, trial: &Trial<'_>, tested: Tested) -> Tested;

    /// A score so that more is better.
    fn rank(&self, score: f64) -> f64;

    /// The queue on which candidates are put, if they are tested elsewhere: their ends are then in the store already.
    fn queue(&self) -> Option<&str> {
        None
    }

    /// The name of the candidate's file in what it prints.
    fn code_name(&self) -> &str {
        "candidate.py"
    }
}

/// A candidate that is tested.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// Its experiment.
    pub id: &'a ExperimentId,
    /// Its source.
    pub code: &'a str,
    /// What its parent measured, if it has one.
    pub parent: Option<&'a Standing>,
    /// The best so far, if there is one.
    pub best: Option<&'a Standing>,
}

/// What another candidate measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Its experiment's short number.
    pub number: u64,
    /// All of it.
    pub metrics: BTreeMap<String, f64>,
    /// The same on the inputs that are held out.
    pub held_out: BTreeMap<String, f64>,
    /// More is better.
    pub rank: f64,
}

/// What a test found.
#[derive(Debug, Clone)]
pub struct Tested {
    /// `Adopted`, `Rejected` or `TestFailed`.
    pub status: Status,
    /// Why, in a few words.
    pub reason: String,
    /// What was measured; empty if it failed before.
    pub metrics: BTreeMap<String, f64>,
    /// The same on the inputs that are held out, where it came to that.
    pub held_out: BTreeMap<String, f64>,
    /// The metric that is compared; absent if it failed.
    pub score: Option<f64>,
    /// By how much it is better than the best before it, as a part of it.
    pub improvement: Option<f64>,
    /// What is worth a word and no failure.
    pub remarks: Vec<String>,
    /// How the run ended, if it came to one.
    pub exit: Option<Exit>,
    /// What it printed.
    pub log: Option<Log>,
    /// The end of what it printed and the error, as they are: what others feed back.
    pub raw: String,
    /// Why it failed or was not good enough, if so.
    pub diagnosis: Option<Diagnosis>,
    /// Rules of the policy that refused it.
    pub refused_by: Vec<String>,
    /// Somebody stopped it: nothing is known of it.
    pub stopped: bool,
    /// Whoever tested it has written its end into the store.
    pub kept: bool,
}

impl Default for Tested {
    /// One that failed, and nothing is known of why.
    fn default() -> Self {
        Self {
            status: Status::TestFailed,
            reason: String::new(),
            metrics: BTreeMap::new(),
            held_out: BTreeMap::new(),
            score: None,
            improvement: None,
            remarks: Vec::new(),
            exit: None,
            log: None,
            raw: String::new(),
            diagnosis: None,
            refused_by: Vec::new(),
            stopped: false,
            kept: false,
        }
    }
}

/// What happens in a run, as it happens.
#[derive(Debug, Clone)]
pub enum Event {
    /// A run was taken up again.
    Resumed {
        /// Which.
        run: RunId,
        /// Candidates that have ended.
        tested: u64,
        /// Experiments that are marked to be tested again.
        marked: Vec<u64>,
    },
    /// A test began.
    Started {
        /// Its experiment's short number.
        number: u64,
        /// What was changed.
        change: String,
        /// It has been tested before, and was marked to be tested again.
        again: bool,
    },
    /// A test ended, and this is kept.
    Finished(Box<Finished>),
    /// A proposal that was tested already.
    Known {
        /// What was changed.
        change: String,
        /// As this experiment.
        as_experiment: u64,
    },
    /// There was no proposal.
    NoProposal(String),
    /// The same failure, not the candidates' fault, too often.
    Broken(Box<Trip>),
    /// Something on the side.
    Note(String),
}

/// The end of a test.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its experiment's short number.
    pub number: u64,
    /// What became of it.
    pub status: Status,
    /// Why.
    pub reason: String,
    /// What was changed.
    pub change: String,
    /// By what it is compared.
    pub score: Option<f64>,
    /// The best so far, this one included.
    pub best: Option<f64>,
    /// Why it failed or was not good enough.
    pub diagnosis: Option<Diagnosis>,
    /// "same as exp 42, fixed in 57 by ..."
    pub repeated: Option<String>,
    /// Candidates that have ended, the baseline not counted.
    pub tested: u64,
}

/// Why a run is over.
#[derive(Debug, Clone, PartialEq)]
pub enum Over {
    /// All candidates that were asked for are tested.
    Done,
    /// Somebody asked for it.
    Asked,
    /// The money is spent.
    OverBudget(String),
    /// What failed is not the candidates' fault.
    Broken(Box<Trip>),
    /// The first candidate, to which all others are compared, failed.
    Baseline(String),
    /// The proposer has nothing new any more.
    Exhausted(String),
}

/// Why the loop could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum EvolveError {
    /// The store.
    #[error(transparent)]
    Store(#[from] coroner_store::Error),
    /// The folder of versions.
    #[error(transparent)]
    Versions(#[from] VersionsError),
    /// A worker of ours.
    #[error(
        "a worker of the loop ended unexpectedly: this is a fault of coroner; run `coroner evolve` again to go on"
    )]
    Worker,
    /// The system gave no thread.
    #[error("can't start a worker ({0}): ask for fewer with --workers")]
    Thread(std::io::Error),
}
