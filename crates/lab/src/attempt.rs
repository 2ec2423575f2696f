//! One candidate, from its code to an evolution result: screened, run, measured, judged.

use std::collections::BTreeMap;

use coroner_diagnosis::Diagnosis;
use serde::{Deserialize, Serialize};

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
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// Why it failed or was not good enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_analysis: Option<Diagnosis>,
}
