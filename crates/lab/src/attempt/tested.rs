//! What a test gives: everything that is known of the candidate, for the store, the diagnosis and the next proposal.

use std::time::Duration;

use coroner_diagnosis::{Capture, Code, Confined, Diagnosis, Exit, HarnessFault, Judgement, Log, Refusal};
use coroner_store::Status;

use super::{EvolutionResult, Metrics};
use crate::sandbox::Report;
use crate::screen::{CodeHash, Screening};

/// A candidate that was tested.
#[derive(Debug)]
pub struct Tested {
    /// The same for candidates that differ in comments and white space only.
    pub code_hash: CodeHash,
    /// What the screening found; `None` where the candidate is no Python.
    pub screening: Option<Screening>,
    /// What was measured.
    pub metrics: Metrics,
    /// The same on the inputs that are held out, where it came to that.
    pub held_out: Metrics,
    /// The value of the metric that is compared, if the result counts.
    pub score: Option<f64>,
    /// By how much it is better than the best before it; `None` for the first, and for what was not taken over.
    pub improvement: Option<f64>,
    /// Why it was not taken over; `None` if it is to be.
    pub cause: Option<Cause>,
    /// How the process of the candidate ended that matters most, if one ran.
    pub report: Option<Report>,
    /// What the candidate printed; where our side failed, what the evaluator printed.
    pub log: Vec<u8>,
    /// What is worth a word and no failure: of the evaluator, of the screening, of ours.
    pub remarks: Vec<String>,
    /// From the start of the first process to the end of the last.
    pub wall: Duration,
    /// Does the policy that it was screened with say what the sandbox refuses? Then trying it is the candidate's fault.
    pub rules_were_known: bool,
    /// Somebody stopped it, so nothing is known: it is to be tested again.
    pub stopped: bool,
}

/// Why a candidate was not taken over.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// The screening refused it.
    Refused(Box<Refusal>, String),
    /// It raised an exception or its process ended: what the log says, and how it ended if that tells anything.
    Died {
        /// How it ended; absent if its process was alive when it failed.
        exit: Option<Exit>,
        /// The exception, where the log does not hold it.
        message: Option<String>,
    },
    /// Its result does not count, or is not good enough.
    Judged(Judgement),
    /// Our own side failed.
    Harness(HarnessFault),
}

impl Tested {
    /// One of which nothing is known but that something of ours failed.
    #[must_use]
    pub fn of_harness(code_hash: CodeHash, fault: HarnessFault) -> Self {
        Self { cause: Some(Cause::Harness(fault)), ..Self::new(code_hash, None) }
    }

    pub(super) fn new(code_hash: CodeHash, screening: Option<Screening>) -> Self {
        Self {
            code_hash,
            screening,
            metrics: Metrics::new(),
            held_out: Metrics::new(),
            score: None,
            improvement: None,
            cause: None,
            report: None,
            log: Vec::new(),
            remarks: Vec::new(),
            wall: Duration::ZERO,
            rules_were_known: true,
            stopped: false,
        }
    }

    /// `adopted` if it is to be taken over, `rejected` if it ran well and is not good enough, else `test_failed`.
    #[must_use]
    pub fn status(&self) -> Status {
        match &self.cause {
            None => Status::Adopted,
            Some(Cause::Judged(judgement)) if judgement.is_rejection() => Status::Rejected,
            Some(_) => Status::TestFailed,
        }
    }

    /// Was it refused before it ran?
    #[must_use]
    pub fn was_refused(&self) -> bool {
        matches!(self.cause, Some(Cause::Refused(..)))
    }

    /// What refused it ([`crate::screen::Finding::key`]), so that a rule that refuses many can be suspected.
    #[must_use]
    pub fn refused_by(&self) -> Vec<String> {
        let mut keys: Vec<String> = match (&self.cause, &self.screening) {
            (Some(Cause::Refused(..)), Some(screening)) => {
                screening.findings.iter().map(|f| f.key()).collect()
            }
            _ => Vec::new(),
        };
        keys.sort();
        keys.dedup();
        keys
    }

    /// How the candidate ended, for the store; nothing if it was alive when it failed, for then we ended it.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        match &self.cause {
            Some(Cause::Died { exit, .. }) => exit.clone(),
            _ => self.report.as_ref().map(|report| report.exit.clone()),
        }
    }

    /// What a diagnosis starts from; `None` if there is nothing to explain.
    #[must_use]
    pub fn capture(&self, id: &str, kind: &str, code: &[u8]) -> Option<Capture> {
        let cause = self.cause.as_ref()?;
        let mut capture = Capture {
            experiment_id: Some(id.to_owned()).filter(|id| !id.is_empty()),
            experiment_type: Some(kind.to_owned()).filter(|kind| !kind.is_empty()),
            code: Some(Code {
                name: Some("candidate.py".to_owned()),
                text: String::from_utf8_lossy(code).into_owned(),
            }),
            log: Log::new(&self.log),
            // where the policy says what the sandbox refuses, that was in the brief, and is the candidate's to change
            sandbox: self
                .report
                .as_ref()
                .map(|report| Confined { rules_were_known: self.rules_were_known, ..report.confined() }),
            ..Capture::default()
        };
        match cause {
            Cause::Refused(refusal, message) => {
                capture.error_message = Some(message.clone());
                capture.refused = Some(refusal.as_ref().clone());
            }
            Cause::Died { exit, message } => {
                capture.exit.clone_from(exit);
                capture.error_message.clone_from(message);
            }
            Cause::Judged(judgement) => capture.judged = Some(judgement.clone()),
            Cause::Harness(fault) => capture.harness_failed = Some(fault.clone()),
        }
        Some(capture)
    }

    /// The result in the contract's shape.
    #[must_use]
    pub fn result(&self, diagnosis: Option<Diagnosis>) -> EvolutionResult {
        let status = self.status();
        EvolutionResult {
            status,
            adopted: status == Status::Adopted,
            reason: self.reason(),
            metrics: self.metrics.clone(),
            held_out: self.held_out.clone(),
            improvement: self.improvement,
            remarks: self.remarks.clone(),
            failure_analysis: diagnosis,
        }
    }

    fn reason(&self) -> String {
        use coroner_diagnosis::JudgementKind;
        match &self.cause {
            None => match self.improvement {
                Some(gain) => format!("Better than the current implementation by {:.2} %", gain * 100.0),
                None => "The first that is good enough".to_owned(),
            },
            Some(Cause::Judged(Judgement { kind: JudgementKind::NotBetter, .. })) => {
                "Performance not better than current implementation".to_owned()
            }
            Some(Cause::Judged(Judgement { kind: JudgementKind::BelowThreshold, .. })) => {
                "Result not good enough for the task".to_owned()
            }
            Some(_) => "Code testing failed".to_owned(),
        }
    }
}
