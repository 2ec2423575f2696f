//! Why an experiment died: from a `Capture` to a `Diagnosis`, without I/O, clock or environment.
#![warn(missing_docs)]

mod question;
mod record;
mod terms;

pub use question::{PROMPT_VERSION, Question, Reply};
pub use record::{
    Diagnosis, EvidenceItem, FailureKind, ModelFailure, Opinion, Provenance, Said, Similar, Verdict,
};
pub use terms::{Category, Origin, Role, Severity, Source, UnknownWord};
