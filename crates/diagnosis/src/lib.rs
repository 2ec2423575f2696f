//! Why an experiment died: from a `Capture` to a `Diagnosis`, without I/O, clock or environment.
#![warn(missing_docs)]

mod capture;
mod clean;
mod log;
mod question;
mod record;
mod sparse;
mod terms;

pub use capture::{Capture, Code, End, Exit, bytes, seconds, signal_name};
pub use log::{Log, LogReader};
pub use question::{PROMPT_VERSION, Question, Reply};
pub use record::{
    Diagnosis, EvidenceItem, FailureKind, ModelFailure, Opinion, Provenance, Said, Similar, Verdict,
};
pub use terms::{Category, Origin, Role, Severity, Source, UnknownWord};
