//! The diagnosis as others read it: the JSON object of contract.md, section 1.

use serde::{Deserialize, Serialize};

use crate::confined::Confined;
use crate::terms::{Category, Origin, Role, Severity, Source};

/// Why an experiment died. The first block of fields is the contract's and never changes its names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// What kind of failure.
    pub failure_category: Category,
    /// One or two sentences that name the thing that failed.
    pub root_cause: String,
    /// What to change.
    pub fix_suggestion: String,
    /// How bad.
    pub severity: Severity,
    /// Whose fault.
    pub origin: Origin,
    /// 0..1, calibrated on the dev corpus (docs/benchmarks.md).
    pub confidence: f64,
    /// Would the same experiment, unchanged, have a fair chance on a second try.
    pub retryable: bool,
    /// As given; empty if none was.
    #[serde(default)]
    pub experiment_id: String,
    /// As given; empty if none was.
    #[serde(default)]
    pub experiment_type: String,
    /// The same for two failures with the same cause: `v1:` and 16 hex digits.
    pub signature: String,
    /// Who said it.
    pub provenance: Provenance,
    /// The lines that prove it, at most five, the telling ones first.
    #[serde(default)]
    pub evidence: Vec<EvidenceItem>,
    /// Earlier failures like this one, the best first.
    #[serde(default)]
    pub similar: Vec<Similar>,
    /// RFC 3339, UTC.
    pub created_at: String,

    /// What the rules said, kept beside whatever the model said.
    pub verdict: Verdict,
    /// What the model said, when it was asked and its answer stood up to the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opinion: Option<Opinion>,
    /// Other, independent faults of the same run, the weightiest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_faults: Vec<Verdict>,
    /// How many secrets were masked, by kind.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub redactions: std::collections::BTreeMap<String, usize>,
    /// What asking the model cost, in US dollars; absent if nothing was asked or the price is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// The sandbox that it ran in, if it did: layers in force, calls that were refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Confined>,
}

/// What the rules said. There is always one: the last rule catches everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The rule that said it.
    pub rule: String,
    /// What kind of failure.
    pub category: Category,
    /// How bad.
    pub severity: Severity,
    /// Whose fault.
    pub origin: Origin,
    /// Would a second try have a fair chance.
    pub retryable: bool,
    /// Calibrated, 0..1.
    pub confidence: f64,
    /// Why.
    pub cause: String,
    /// What to change.
    pub fix: String,
    /// The line that the rule stands on, if it stands on one (1-based).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// What a language model said, after its quotations were checked against the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opinion {
    /// What kind of failure.
    pub category: Category,
    /// How bad.
    pub severity: Severity,
    /// Whose fault.
    pub origin: Origin,
    /// Why.
    pub root_cause: String,
    /// What to change.
    pub fix_suggestion: String,
    /// The model's own figure, 0..1; not calibrated.
    pub confidence: f64,
    /// Would a second try have a fair chance.
    pub retryable: bool,
    /// The lines that it quoted, each found where it said.
    pub evidence: Vec<EvidenceItem>,
}

/// Who said what the diagnosis says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Rule, model, cache or human.
    pub source: Said,
    /// The rule of the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The model that was asked, as it named itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The version of the prompt that it was asked with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_version: Option<String>,
    /// Why the model's answer does not count, when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_failure: Option<ModelFailure>,
}

/// Who said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// The rules alone.
    Rule,
    /// A language model, grounded in the evidence.
    Model,
    /// A language model, asked earlier about the same signature.
    Cache,
    /// A person.
    Human,
}

/// Why a model's answer does not count. May be stored and shown: it never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct ModelFailure {
    /// Which of the contract's kinds.
    pub kind: FailureKind,
    /// What happened and what to do, in a sentence.
    pub detail: String,
}

/// The ways in which a model can disappoint, named by what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// No key is configured.
    NoKey,
    /// The key was refused.
    Unauthorized,
    /// Asked too often.
    RateLimited,
    /// The provider is overloaded or broken (5xx, 529).
    Overloaded,
    /// No whole answer inside the limit.
    Timeout,
    /// The provider can't be reached.
    Unreachable,
    /// The answer can't be read: cut off, not JSON, not in the enums, empty, too large.
    Unreadable,
    /// The answer quotes what does not stand in the evidence.
    Ungrounded,
    /// The model declined.
    Refused,
    /// Our budget, the provider's spending limit or the model's context is spent.
    OverBudget,
    /// Asking is switched off.
    Disabled,
}

/// A cited line. `text` occurs in line `line` of the untouched source, always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceItem {
    /// Where the line stands.
    pub source: Source,
    /// 1-based line of the untouched source.
    pub line: u64,
    /// A piece of that line, letter for letter.
    pub text: String,
    /// What the line is to the failure.
    pub role: Role,
}

/// An earlier failure like this one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Similar {
    /// The earlier experiment.
    pub experiment_id: String,
    /// 0..1; 1 is the same signature.
    pub score: f64,
    /// What fixed it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}
