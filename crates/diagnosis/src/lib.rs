//! Why an experiment died: from a `Capture` to a `Diagnosis`, without I/O, clock or environment.
#![warn(missing_docs)]

mod block;
mod capture;
mod clean;
mod conclude;
mod confined;
mod diagnose;
mod evidence;
mod examine;
mod fault;
mod hang;
mod judged;
mod log;
mod opinion;
mod pattern;
mod prompt;
mod question;
mod record;
mod redact;
mod refused;
mod rules;
mod scan;
mod signal;
mod signature;
mod sparse;
mod terms;
mod verdict;

pub use capture::{Capture, Code, End, Exit, Refusal, bytes, seconds, signal_name};
pub use conclude::conclude;
pub use confined::{Confined, Denied};
pub use diagnose::{Ask, DEFAULT_BUDGET, Settings, diagnose};
pub use evidence::{Excerpt, ExcerptLine};
pub use examine::{Examined, examine};
pub use judged::{HarnessFault, HarnessKind, Judgement, JudgementKind};
pub use log::{Log, LogReader};
pub use question::{PROMPT_VERSION, Question, Reply};
pub use record::{
    Diagnosis, EvidenceItem, FailureKind, ModelFailure, Opinion, Provenance, Said, Similar, Verdict,
};
pub use redact::{Counts, Redactor};
pub use rules::{Rule, RuleFault, RuleFile, RuleSet, Strength};
pub use signature::Signature;
pub use terms::{Category, Origin, Role, Severity, Source, UnknownWord};
