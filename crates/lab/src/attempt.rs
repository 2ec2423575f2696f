//! One candidate, from its code to an evolution result: screened, run, measured, judged. Whatever happens on the way, there
//! is a [`Tested`], and it says whose fault it was.

mod across;
mod adoption;
mod command;
mod outcome;
mod tested;
mod tester;
mod told;
mod versions;

use coroner_diagnosis::{Diagnosis, HarnessFault, HarnessKind};
use serde::{Deserialize, Serialize};

pub use adoption::{Metrics, Standing, accept, accept_held_out, assess, better, counts, gain, good_enough};
pub use tested::{Cause, Tested};
pub use tester::Tester;
pub use versions::{Best, Versions};

use crate::sandbox::SandboxError;

/// What became of one step of evolution, as stored and served (contract.md, section 3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvolutionResult {
    /// `test_failed`, `rejected` or `adopted`.
    pub status: coroner_store::Status,
    /// Was it taken over?
    pub adopted: bool,
    /// Why not, or why.
    pub reason: String,
    /// What was measured; empty if it did not come to that.
    #[serde(default, skip_serializing_if = "Metrics::is_empty")]
    pub metrics: Metrics,
    /// The same on the inputs that are held out, where it came to that.
    #[serde(default, skip_serializing_if = "Metrics::is_empty")]
    pub held_out: Metrics,
    /// By how much it is better than the best before it, as a part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub improvement: Option<f64>,
    /// What is worth a word and no failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Why it failed or was not good enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_analysis: Option<Diagnosis>,
}

/// What a test is doing, for whoever waits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress {
    /// The candidate is looked at.
    Screening,
    /// It runs, and the evaluator says how far it is.
    Evaluating {
        /// So much ...
        done: f64,
        /// ... of so much; 0 if that is not known.
        total: f64,
        /// On the inputs that are held out?
        held_out: bool,
    },
}

/// A sandbox that can't be had is never the candidate's fault.
fn of_sandbox(error: &SandboxError) -> HarnessFault {
    let (kind, advice) = match error {
        SandboxError::TooWeak { .. } => (
            HarnessKind::SandboxTooWeak,
            "Run `coroner doctor`, do what it says, or allow a weaker level in [sandbox] of the task",
        ),
        SandboxError::Plan(_) => (HarnessKind::Task, "Correct the task: its limits, its files, its command"),
        _ => (HarnessKind::SandboxSetup, "Run `coroner doctor`, and try again"),
    };
    HarnessFault { kind, what: error.to_string(), advice: advice.to_owned() }
}
