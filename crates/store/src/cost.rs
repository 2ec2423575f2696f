//! What failures have cost, and which cost most.

use std::collections::BTreeMap;
use std::time::Duration;

use coroner_diagnosis::{Category, Origin, Severity};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::{ExperimentId, RunId};

/// Which experiments are counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Within {
    /// Of these.
    pub scope: Scope,
    /// Only those that started in or after the full hour of this moment.
    pub since: Option<Timestamp>,
    /// Only those that started before this moment's full hour was over.
    pub until: Option<Timestamp>,
}

/// Whose experiments are counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everybody's.
    #[default]
    All,
    /// Those of one type. A task's name is the type of its candidates.
    Type(String),
    /// Those of one run of the loop.
    Run(RunId),
}

/// Which signatures to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopQuery {
    /// Among these experiments.
    pub within: Within,
    /// Only failures of this origin.
    pub origin: Option<Origin>,
    /// Leave out what ran and was only not good enough to be taken over.
    pub failures_only: bool,
    /// What comes first.
    pub order: TopOrder,
    /// How many.
    pub limit: usize,
}

/// Which signatures come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TopOrder {
    /// The most frequent; among equals the latest.
    #[default]
    Count,
    /// Those that took most time on the clock; among equals the most frequent.
    Time,
}

/// What some experiments have taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Taken {
    /// How many.
    pub experiments: u64,
    /// Time on the clock, of those that were watched.
    #[serde(rename = "wall_seconds", serialize_with = "in_seconds")]
    pub wall: Duration,
    /// Processor time, where it was measured.
    #[serde(rename = "cpu_seconds", serialize_with = "in_seconds")]
    pub cpu: Duration,
    /// US dollars for proposals and diagnoses.
    pub dollars: f64,
}

fn in_seconds<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}

/// One cause of failure: how often, how much it took, and what got past it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SignatureCost {
    /// The same for the same cause.
    pub signature: String,
    /// What kind of failure; like the next five, as the latest of them was judged.
    pub category: Category,
    /// How bad.
    pub severity: Severity,
    /// Whose fault.
    pub origin: Origin,
    /// Why.
    pub root_cause: String,
    /// What to change.
    pub fix_suggestion: String,
    /// The experiment that failed so last.
    pub last: ExperimentId,
    /// When that started.
    pub last_at: Timestamp,
    /// How many failed so and what that took.
    #[serde(flatten)]
    pub taken: Taken,
    /// What got past it.
    pub fixed_by: Option<FixedBy>,
}

/// What got past a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FixedBy {
    /// The experiment that failed.
    pub failed: ExperimentId,
    /// The one that came from it, or after it, and did not.
    pub passed: ExperimentId,
    /// The passed one's short number.
    pub number: u64,
    /// What was changed in between, in a line.
    pub change: String,
}

/// What experiments have taken, and how much of that was lost to failures.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Costs {
    /// The beginning of what was counted, a full hour; absent if everything was.
    pub from: Option<Timestamp>,
    /// The end of what was counted, a full hour; absent if everything was.
    pub to: Option<Timestamp>,
    /// All that ended.
    pub total: Taken,
    /// Those that failed.
    pub lost: Taken,
    /// Candidates that ran but were not taken over: not lost, but not won either.
    pub rejected: Taken,
    /// What was lost, by kind of failure. Failures without a diagnosis are in none.
    pub by_category: BTreeMap<Category, Taken>,
    /// What was lost, by whose fault it was.
    pub by_origin: BTreeMap<Origin, Taken>,
    /// How many different causes there were.
    pub signatures: u64,
}

/// A rule of the policy and how many candidates it has refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyRefusals {
    /// The rule's id.
    pub rule: String,
    /// How many candidates; counted up to [`crate::COUNTED`].
    pub candidates: u64,
    /// When it last refused one.
    pub last_at: Timestamp,
}
