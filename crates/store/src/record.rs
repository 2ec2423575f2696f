//! An experiment and a cause, each as one value with everything that is known of it: what a table of DynamoDB writes down, and
//! what is copied from one store into another.

use std::collections::BTreeMap;

use coroner_diagnosis::{Diagnosis, Exit};
use serde::{Deserialize, Serialize};

use crate::{CommandLine, Feedback, GroupState, Owner, Ruling, Status};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogRef {
    /// Hexadecimal.
    pub(crate) id: String,
    pub(crate) bytes: u64,
    pub(crate) stored: u64,
}

/// Name, attempt and number.
pub(crate) type Named = (String, u32, u64);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tested {
    pub(crate) run: u64,
    pub(crate) hash: String,
    pub(crate) code_bytes: u64,
    pub(crate) tries: u32,
    pub(crate) newest: bool,
    pub(crate) rerun: bool,
    pub(crate) generation: u32,
    pub(crate) parents: Vec<Named>,
    pub(crate) repair_of: Option<Named>,
    pub(crate) proposer: String,
    pub(crate) change: String,
    pub(crate) feedback: Feedback,
    pub(crate) nanodollars: i64,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    #[serde(default)]
    pub(crate) metrics: BTreeMap<String, f64>,
    #[serde(default)]
    pub(crate) score: Option<f64>,
    #[serde(default)]
    pub(crate) result: Option<serde_json::Value>,
    #[serde(default)]
    pub(crate) refused_by: Vec<String>,
}

/// A diagnosis as it was before a person's word took its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Over {
    pub(crate) correction: i64,
    pub(crate) diagnosis: Diagnosis,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) attempt: u32,
    /// Milliseconds, and in the bits below them something that tells those of one millisecond apart.
    pub(crate) key: i64,
    pub(crate) kind: String,
    pub(crate) command: CommandLine,
    pub(crate) cwd: String,
    pub(crate) owner: Option<Owner>,
    pub(crate) status: Status,
    pub(crate) ended_at: Option<i64>,
    pub(crate) exit: Option<Exit>,
    pub(crate) reason: Option<String>,
    pub(crate) log: Option<LogRef>,
    pub(crate) log_note: Option<String>,
    pub(crate) diagnosis: Option<Diagnosis>,
    #[serde(default)]
    pub(crate) tested: Option<Tested>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) over: Option<Over>,
    /// The diagnosis is as somebody gave it: what people said of its cause has still to be laid over it.
    #[serde(skip)]
    pub(crate) is_given: bool,
}

/// Failures whose cause holds these words are of another signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Split {
    pub(crate) words: String,
    pub(crate) part: String,
    pub(crate) by: String,
    pub(crate) at: i64,
}

/// The correction that is in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct InForce {
    pub(crate) id: i64,
    pub(crate) ruling: Ruling,
}

/// What people decided, of the group that this cause leads, and what they said of the cause's own failures. Times are
/// milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Decided {
    /// The one that it was joined to.
    pub(crate) lead: Option<String>,
    pub(crate) state: GroupState,
    pub(crate) muted_until: Option<i64>,
    pub(crate) assignee: Option<String>,
    pub(crate) by: Option<String>,
    pub(crate) at: Option<i64>,
    pub(crate) reopened: Option<i64>,
    pub(crate) splits: Vec<Split>,
    pub(crate) in_force: Option<InForce>,
}
