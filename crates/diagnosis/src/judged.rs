//! What was observed about a result, or about the apparatus that should have produced one. Like an end, such a fact is
//! never guessed from text, and no text overrules it.

use serde::{Deserialize, Serialize};

use crate::capture::{Capture, Refusal};
use crate::record::Verdict;
use crate::signature::Signature;
use crate::terms::{Category, Origin, Severity};

/// Why a result does not count, or is not good enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// In a word.
    pub kind: JudgementKind,
    /// The metric that it is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// What it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// What else is to be said: the evaluator's own words, the function that was called.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Was it measured on the inputs that are held out?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held_out: bool,
    /// Did the candidate itself say the figures, and no evaluator?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub self_reported: bool,
}

/// The ways in which a result can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgementKind {
    /// There is no result at all.
    NoResult,
    /// A metric that the task declares is not there.
    MissingMetric,
    /// A metric is NaN or infinite.
    NotANumber,
    /// A metric is better than it can be.
    Impossible,
    /// Every metric is the same as for other code.
    Identical,
    /// A metric does not meet what the task requires.
    BelowThreshold,
    /// It is not better than the best so far.
    NotBetter,
    /// The evaluator says that what the candidate returned is wrong.
    Invalid,
    /// What the candidate sent is no answer.
    Garbage,
    /// The candidate ended itself while it was being called.
    EndedEarly,
}

impl Judgement {
    /// One that is about nothing but its kind.
    #[must_use]
    pub fn new(kind: JudgementKind) -> Self {
        Self {
            kind,
            metric: None,
            value: None,
            bound: None,
            detail: String::new(),
            held_out: false,
            self_reported: false,
        }
    }

    /// Did it run to its end and give a result that could be compared? Then it is rejected, and has not failed.
    #[must_use]
    pub fn is_rejection(&self) -> bool {
        matches!(self.kind, JudgementKind::BelowThreshold | JudgementKind::NotBetter)
    }

    fn id(&self) -> &'static str {
        match self.kind {
            JudgementKind::NoResult => "result.none",
            JudgementKind::MissingMetric => "result.missing-metric",
            JudgementKind::NotANumber => "result.not-a-number",
            JudgementKind::Impossible => "result.impossible",
            JudgementKind::Identical => "result.identical",
            JudgementKind::BelowThreshold => "result.below-threshold",
            JudgementKind::NotBetter => "result.not-better",
            JudgementKind::Invalid => "result.invalid",
            JudgementKind::Garbage => "result.garbage",
            JudgementKind::EndedEarly => "result.ended-early",
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let metric = self.metric.as_deref().unwrap_or("the result");
        let value = self.value.map_or_else(|| "nothing".to_owned(), figure);
        let bound = self.bound.map_or_else(|| "nothing".to_owned(), figure);
        let on = if self.held_out { " on the held-out inputs" } else { "" };
        let detail = self.detail.trim().trim_end_matches('.');
        let dash = |text: &str| if detail.is_empty() { text.to_owned() } else { format!("{text}: {detail}") };
        let at_fault = if self.self_reported { Origin::Candidate } else { Origin::Harness };
        let (category, severity, origin, cause, fix) = match self.kind {
            JudgementKind::NoResult => (
                Category::LogicError,
                Severity::High,
                at_fault,
                format!("{}.", dash("It ran to its end and gave no result")),
                "Print the metrics as one JSON object on a line of its own, last: {\"score\": 0.5}.".to_owned(),
            ),
            JudgementKind::MissingMetric => (
                Category::LogicError,
                Severity::High,
                at_fault,
                format!("The result{on} has no `{metric}`, which the task declares{}.", if detail.is_empty() { String::new() } else { format!("; it has {detail}") }),
                format!("Let {} return `{metric}`, or take it out of [metrics] of the task.", if self.self_reported { "the candidate" } else { "the evaluator" }),
            ),
            JudgementKind::NotANumber => (
                Category::LogicError,
                Severity::High,
                Origin::Candidate,
                format!("`{metric}`{on} is {value}, which is no number that can be compared."),
                "Find where the candidate's output stops being finite: a division by zero, an overflow, the logarithm of nothing, an empty mean.".to_owned(),
            ),
            JudgementKind::Impossible => (
                Category::LogicError,
                Severity::High,
                at_fault,
                format!("`{metric}`{on} is {value}, beyond {bound}, which is the limit of what the task holds possible: something else was measured than was meant."),
                format!("Look at what the candidate does before believing it: either the evaluator has a hole, or `possible` of `{metric}` is too narrow."),
            ),
            JudgementKind::Identical => (
                Category::LogicError,
                Severity::Low,
                Origin::Candidate,
                format!("Every metric is the same to the last digit as for other code{}: the change changed nothing that is measured.", if detail.is_empty() { String::new() } else { format!(" ({detail})") }),
                "Change what is executed on the task's inputs; code that is never reached changes nothing.".to_owned(),
            ),
            JudgementKind::BelowThreshold => (
                Category::LogicError,
                Severity::Low,
                Origin::Candidate,
                format!("It ran to its end, but `{metric}`{on} is {value} and the task requires {}.", self.required(&bound)),
                format!("Improve `{metric}` first: until it meets {bound}, no other metric counts."),
            ),
            JudgementKind::NotBetter => (
                Category::LogicError,
                Severity::Low,
                Origin::Candidate,
                format!("It ran to its end and is not better than the best so far: `{metric}`{on} is {value}, and {bound} was to be beaten."),
                "Try another change: this one costs as much as it gains.".to_owned(),
            ),
            JudgementKind::Invalid => (
                Category::LogicError,
                Severity::High,
                Origin::Candidate,
                format!("{}.", dash(&format!("The evaluator refused what the candidate returned{on}"))),
                "Return what the task describes, for every input.".to_owned(),
            ),
            JudgementKind::Garbage => (
                Category::RuntimeError,
                Severity::High,
                Origin::Candidate,
                format!("{}.", dash("What the candidate sent back is no answer")),
                "Return the result from the function; write nothing to descriptors that the candidate did not open, and return less than the task's largest_answer.".to_owned(),
            ),
            JudgementKind::EndedEarly => (
                Category::RuntimeError,
                Severity::High,
                Origin::Candidate,
                format!("{}.", dash("The candidate ended its own process before it had answered")),
                "Return from the function and do not exit (os._exit, sys.exit in a thread).".to_owned(),
            ),
        };
        fact(self.id(), category, severity, origin, false, cause, fix)
    }

    fn required(&self, bound: &str) -> String {
        match (self.value, self.bound) {
            (Some(value), Some(limit)) if value < limit => format!("at least {bound}"),
            _ => format!("at most {bound}"),
        }
    }

    /// The same for the same kind and metric, whatever the figures.
    pub(crate) fn signature(&self) -> Signature {
        let detail = if self.kind == JudgementKind::Invalid { self.detail.as_str() } else { "" };
        let metric = self.metric.as_deref().unwrap_or("");
        Signature::new(self.id(), &format!("{metric} {detail}"), None)
    }
}

/// What of our own side failed, so that nothing can be said of the candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HarnessFault {
    /// In a word.
    pub kind: HarnessKind,
    /// What happened, in a sentence.
    pub what: String,
    /// What to do, in a sentence.
    pub advice: String,
}

/// What of our own side can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HarnessKind {
    /// The evaluator raised an exception of its own.
    EvaluatorRaised,
    /// The evaluator ended without a result.
    EvaluatorSilent,
    /// What the evaluator reported can't be read.
    EvaluatorGarbage,
    /// The evaluator was over its own time.
    EvaluatorOverTime,
    /// The evaluator was over another limit.
    EvaluatorLimit,
    /// The evaluator never called the candidate.
    NeverCalled,
    /// The task file, its policy or a file of it can't be used.
    Task,
    /// There is no Python that will do.
    Python,
    /// The task's packages can't be installed.
    Packages,
    /// They can't be fetched: there is no network.
    Network,
    /// The task's own preparation failed.
    Prepare,
    /// Our cache can't be written or read.
    Cache,
    /// The machine gives no sandbox that is strong enough.
    SandboxTooWeak,
    /// The sandbox could not be set up.
    SandboxSetup,
    /// Nothing was heard of it any more: it runs elsewhere, and said neither that it runs nor how it ended.
    WentSilent,
    /// A fault of our own program.
    Internal,
}

impl HarnessFault {
    fn id(&self) -> &'static str {
        match self.kind {
            HarnessKind::EvaluatorRaised => "harness.evaluator-raised",
            HarnessKind::EvaluatorSilent => "harness.evaluator-silent",
            HarnessKind::EvaluatorGarbage => "harness.evaluator-garbage",
            HarnessKind::EvaluatorOverTime => "harness.evaluator-over-time",
            HarnessKind::EvaluatorLimit => "harness.evaluator-limit",
            HarnessKind::NeverCalled => "harness.never-called",
            HarnessKind::Task => "harness.task",
            HarnessKind::Python => "harness.python",
            HarnessKind::Packages => "harness.packages",
            HarnessKind::Network => "harness.network",
            HarnessKind::Prepare => "harness.prepare",
            HarnessKind::Cache => "harness.cache",
            HarnessKind::SandboxTooWeak => "harness.sandbox-too-weak",
            HarnessKind::SandboxSetup => "harness.sandbox-setup",
            HarnessKind::WentSilent => "harness.went-silent",
            HarnessKind::Internal => "harness.internal",
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let (category, origin, retryable) = match self.kind {
            HarnessKind::EvaluatorRaised | HarnessKind::EvaluatorSilent | HarnessKind::EvaluatorGarbage => {
                (Category::RuntimeError, Origin::Harness, false)
            }
            HarnessKind::EvaluatorOverTime => (Category::Timeout, Origin::Harness, false),
            HarnessKind::EvaluatorLimit => (Category::ResourceError, Origin::Harness, false),
            HarnessKind::NeverCalled => (Category::LogicError, Origin::Harness, false),
            HarnessKind::Task => (Category::ValidationError, Origin::Harness, false),
            HarnessKind::Python => (Category::ImportError, Origin::Infrastructure, false),
            HarnessKind::Packages => (Category::ImportError, Origin::Harness, false),
            HarnessKind::Network => (Category::ResourceError, Origin::Infrastructure, true),
            HarnessKind::Prepare | HarnessKind::Internal => (Category::RuntimeError, Origin::Harness, false),
            HarnessKind::Cache => (Category::ResourceError, Origin::Infrastructure, true),
            HarnessKind::SandboxTooWeak => (Category::ValidationError, Origin::Infrastructure, false),
            HarnessKind::SandboxSetup | HarnessKind::WentSilent => {
                (Category::ResourceError, Origin::Infrastructure, true)
            }
        };
        let end = |text: &str| format!("{}.", text.trim().trim_end_matches('.'));
        let mut verdict = fact(
            self.id(),
            category,
            Severity::Critical,
            origin,
            retryable,
            end(&self.what),
            end(&self.advice),
        );
        if self.kind == HarnessKind::WentSilent {
            // the silence was observed; why nobody spoke was not, and a second try may well do
            (verdict.confidence, verdict.severity) = (0.6, Severity::Medium);
        }
        verdict
    }

    /// The same for the same fault, whichever candidate it met.
    pub(crate) fn signature(&self) -> Signature {
        Signature::new(self.id(), &self.what, None)
    }
}

impl std::fmt::Display for HarnessFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let end = |text: &str| text.trim().trim_end_matches('.').to_owned();
        write!(f, "{}. {}.", end(&self.what), end(&self.advice))
    }
}

impl std::error::Error for HarnessFault {}

/// What was observed and decides, whatever the log says.
pub(crate) enum Known<'a> {
    Harness(&'a HarnessFault),
    Refused(&'a Refusal),
    Judged(&'a Judgement),
}

impl Capture {
    pub(crate) fn known(&self) -> Option<Known<'_>> {
        let harness = self.harness_failed.as_ref().map(Known::Harness);
        harness.or(self.refused.as_ref().map(Known::Refused)).or(self.judged.as_ref().map(Known::Judged))
    }
}

impl Known<'_> {
    /// `printed` is what the rules say of the log.
    pub(crate) fn verdict(&self, printed: Option<&Verdict>) -> Verdict {
        match self {
            Self::Harness(fault) => {
                let mut verdict = fault.verdict();
                // whose fault it is was observed; which kind of fault it is stands in the evaluator's own traceback
                if let (HarnessKind::EvaluatorRaised, Some(printed)) = (fault.kind, printed)
                    && printed.confidence > 0.85
                {
                    verdict.category = printed.category;
                }
                verdict
            }
            Self::Refused(refusal) => refusal.verdict(),
            Self::Judged(judgement) => judgement.verdict(),
        }
    }

    pub(crate) fn signature(&self) -> Signature {
        match self {
            Self::Harness(fault) => fault.signature(),
            Self::Refused(refusal) => refusal.signature(),
            Self::Judged(judgement) => judgement.signature(),
        }
    }
}

fn fact(
    rule: &str,
    category: Category,
    severity: Severity,
    origin: Origin,
    retryable: bool,
    cause: String,
    fix: String,
) -> Verdict {
    Verdict {
        rule: rule.to_owned(),
        category,
        severity,
        origin,
        retryable,
        confidence: 0.98,
        cause,
        fix,
        line: None,
    }
}

/// A figure as people read it: no more digits than tell it apart.
fn figure(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "infinite" } else { "minus infinite" }.to_owned();
    }
    let short = format!("{value:.6}");
    let short = short.trim_end_matches('0').trim_end_matches('.');
    if (value != 0.0 && value.abs() < 0.001) || value.abs() >= 1e12 {
        format!("{value:.4e}")
    } else {
        short.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_fell_silent_may_be_tried_again() {
        let fault = HarnessFault {
            kind: HarnessKind::WentSilent,
            what: "Nothing was heard".into(),
            advice: "Look".into(),
        };
        let verdict = fault.verdict();
        assert_eq!((verdict.origin, verdict.severity), (Origin::Infrastructure, Severity::Medium));
        assert!(verdict.retryable && verdict.confidence < 0.7, "{verdict:?}");
    }

    fn about(kind: JudgementKind, value: f64, bound: f64) -> Judgement {
        Judgement {
            metric: Some("psnr_db".to_owned()),
            value: Some(value),
            bound: Some(bound),
            ..Judgement::new(kind)
        }
    }

    #[test]
    fn metric_value_and_bound_are_named() {
        for (judgement, parts) in [
            (about(JudgementKind::BelowThreshold, 12.5, 30.0), ["`psnr_db` is 12.5", "at least 30"]),
            (about(JudgementKind::BelowThreshold, 31.5, 30.0), ["31.5", "at most 30"]),
            (about(JudgementKind::Impossible, 0.0052, 0.01), ["is 0.0052", "beyond 0.01"]),
            (about(JudgementKind::NotBetter, 5.0, 4.0), ["`psnr_db` is 5", "4 was to be beaten"]),
            (about(JudgementKind::NotANumber, f64::NAN, 4.0), ["is NaN", "no number"]),
            (about(JudgementKind::MissingMetric, 5.0, 4.0), ["has no `psnr_db`", "declares"]),
        ] {
            let cause = judgement.verdict().cause;
            assert!(parts.iter().all(|part| cause.contains(part)), "{cause}");
        }
        let held_out = Judgement { held_out: true, ..about(JudgementKind::NotBetter, 1.0, 2.0) };
        assert!(held_out.verdict().cause.contains("held-out"));
    }

    #[test]
    fn whose_fault_it_is_depends_on_who_said_the_figures() {
        let trusted = about(JudgementKind::Impossible, 2.0, 1.0);
        assert_eq!(trusted.verdict().origin, Origin::Harness);
        let own = Judgement { self_reported: true, ..trusted };
        assert_eq!(own.verdict().origin, Origin::Candidate);
        assert_eq!(about(JudgementKind::NotBetter, 2.0, 1.0).verdict().severity, Severity::Low);
        assert!(about(JudgementKind::NotBetter, 2.0, 1.0).is_rejection());
        assert!(!trusted_kind(JudgementKind::Identical).is_rejection());
    }

    fn trusted_kind(kind: JudgementKind) -> Judgement {
        Judgement::new(kind)
    }

    #[test]
    fn signatures_follow_kind_and_metric_and_not_the_figures() {
        let one = about(JudgementKind::NotBetter, 2.0, 1.0).signature();
        assert_eq!(one, about(JudgementKind::NotBetter, 7.25, 3.0).signature());
        assert_ne!(one, about(JudgementKind::Impossible, 2.0, 1.0).signature());
        let invalid =
            |detail: &str| Judgement { detail: detail.to_owned(), ..Judgement::new(JudgementKind::Invalid) };
        assert_eq!(invalid("frame 3 is too short").signature(), invalid("frame 17 is too short").signature());
        assert_ne!(invalid("frame 3 is too short").signature(), invalid("frame 3 is empty").signature());
    }

    #[test]
    fn our_own_faults_are_never_the_candidates() {
        for kind in [
            HarnessKind::EvaluatorRaised,
            HarnessKind::EvaluatorSilent,
            HarnessKind::EvaluatorGarbage,
            HarnessKind::EvaluatorOverTime,
            HarnessKind::EvaluatorLimit,
            HarnessKind::NeverCalled,
            HarnessKind::Task,
            HarnessKind::Python,
            HarnessKind::Packages,
            HarnessKind::Network,
            HarnessKind::Prepare,
            HarnessKind::Cache,
            HarnessKind::SandboxTooWeak,
            HarnessKind::SandboxSetup,
            HarnessKind::Internal,
        ] {
            let fault = HarnessFault { kind, what: "it broke.".into(), advice: "mend it".into() };
            let verdict = fault.verdict();
            assert!(matches!(verdict.origin, Origin::Harness | Origin::Infrastructure), "{kind:?}");
            assert_eq!((verdict.severity, verdict.cause.as_str()), (Severity::Critical, "it broke."));
            assert_eq!(fault.to_string(), "it broke. mend it.");
        }
    }
}
