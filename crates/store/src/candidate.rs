//! A candidate of the lab's loop: what it has beyond its experiment.

use std::collections::BTreeMap;

use coroner_diagnosis::{Category, Origin, Severity, UnknownWord};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ExperimentId, RunId, Status};

/// What was spent on a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// US dollars; kept to a billionth.
    pub dollars: f64,
    /// Tokens that it read.
    pub input_tokens: u64,
    /// Tokens that it wrote.
    pub output_tokens: u64,
}

/// What a proposer is told of failures: what an ablation compares. May be stored; the words never change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feedback {
    /// Nothing.
    None,
    /// The end of the log as it is.
    Raw,
    /// The diagnosis, and what earlier ones teach.
    #[default]
    Diagnosis,
}

impl Feedback {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::None, Self::Raw, Self::Diagnosis];

    /// The spelling in JSON, on the command line and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Raw => "raw",
            Self::Diagnosis => "diagnosis",
        }
    }
}

impl std::fmt::Display for Feedback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Feedback {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SPELLINGS: [&str; 3] = ["none", "raw", "diagnosis"];
        Self::ALL
            .into_iter()
            .find(|feedback| feedback.as_str() == text)
            .ok_or_else(|| UnknownWord { text: text.to_owned(), expected: &SPELLINGS })
    }
}

/// A candidate that is about to be tested.
#[derive(Debug, Clone)]
pub struct NewCandidate {
    /// The run that it belongs to.
    pub run: RunId,
    /// Its source, as it is.
    pub code: Vec<u8>,
    /// The same for code that differs only in what does not matter (comments, white space). In a run none is tested
    /// twice.
    pub code_hash: String,
    /// How many steps it is from the first.
    pub generation: u32,
    /// What it was made from.
    pub parents: Vec<ExperimentId>,
    /// The failure that it is to mend.
    pub repair_of: Option<ExperimentId>,
    /// Who proposed it.
    pub proposer: String,
    /// What was changed, in one line.
    pub change: String,
    /// What its proposer was told of failures.
    pub feedback: Feedback,
    /// What proposing it cost.
    pub proposal_cost: Cost,
}

/// Whether a candidate is to be tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CandidateBegun {
    /// It has begun.
    Begun(ExperimentId),
    /// This run has tested the same code already, or tests it at this moment: nothing was begun.
    Known(ExperimentId),
}

/// What a candidate's end says beyond its experiment's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CandidateOutcome {
    /// What was measured. Numbers that are not finite can't be kept and are left out.
    pub metrics: BTreeMap<String, f64>,
    /// By what it is compared.
    pub score: Option<f64>,
    /// The result of this step of evolution, in the contract's shape.
    pub result: serde_json::Value,
    /// Ids of the policy's rules that refused it.
    pub refused_by: Vec<String>,
}

/// A candidate as the loop reads it back: without code, log and diagnosis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// Its experiment.
    pub id: ExperimentId,
    /// The experiment's short number.
    pub number: u64,
    /// The run that it belongs to.
    pub run: RunId,
    /// How far it has come.
    pub status: Status,
    /// When it started.
    pub started_at: Timestamp,
    /// How many steps it is from the first.
    pub generation: u32,
    /// What it was made from, as far as that is still kept.
    pub parents: Vec<ExperimentId>,
    /// The failure that it is to mend, if that is still kept.
    pub repair_of: Option<ExperimentId>,
    /// Who proposed it.
    pub proposer: String,
    /// What was changed, in one line.
    pub change: String,
    /// What its proposer was told of failures.
    pub feedback: Feedback,
    /// What proposing it cost.
    pub proposal_cost: Cost,
    /// The same for code that differs only in what does not matter.
    pub code_hash: String,
    /// How often its code has been tested, this time included.
    pub tries: u32,
    /// It was tested again: a later experiment has taken its place.
    pub replaced: bool,
    /// It is to be tested again.
    pub rerun: bool,
    /// What was measured.
    pub metrics: BTreeMap<String, f64>,
    /// By what it is compared.
    pub score: Option<f64>,
    /// Why it failed or was not good enough, if it did.
    pub failure: Option<CandidateFailure>,
}

/// The heart of a candidate's diagnosis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CandidateFailure {
    /// What kind of failure.
    pub category: Category,
    /// How bad.
    pub severity: Severity,
    /// Whose fault.
    pub origin: Origin,
    /// The same for the same cause.
    pub signature: String,
    /// Why.
    pub root_cause: String,
}

/// A candidate with everything but its code.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CandidateRecord {
    /// What the loop reads.
    #[serde(flatten)]
    pub candidate: Candidate,
    /// The result of this step of evolution, in the contract's shape; absent until it ended.
    pub result: Option<serde_json::Value>,
    /// Bytes of its code.
    pub code_bytes: u64,
    /// What was made from it, the first ones.
    pub children: Vec<ExperimentId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for feedback in Feedback::ALL {
            assert_eq!(feedback.as_str().parse(), Ok(feedback));
            assert_eq!(serde_json::to_string(&feedback).unwrap(), format!("\"{feedback}\""));
        }
        assert!("diag".parse::<Feedback>().unwrap_err().to_string().contains("none, raw, diagnosis"));
    }
}
