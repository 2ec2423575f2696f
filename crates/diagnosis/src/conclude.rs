//! From what was examined and what a model answered, if one was asked, to the diagnosis. Whatever went wrong with the
//! model becomes a field of it; nothing that a model says erases the verdict.

use crate::examine::Examined;
use crate::opinion;
use crate::prompt::question;
use crate::question::{PROMPT_VERSION, Reply};
use crate::record::{Diagnosis, EvidenceItem, ModelFailure, Opinion, Provenance, Said};
use crate::terms::Source;

/// A verdict at least as sure as this keeps its words against a model of another opinion.
const SURE: f64 = 0.9;

/// The diagnosis. `answer` is `None` where nobody was asked; `now` is RFC 3339, UTC.
#[must_use]
pub fn conclude(examined: Examined<'_>, answer: Option<Result<Reply, ModelFailure>>, now: &str) -> Diagnosis {
    let mut provenance = Provenance {
        source: Said::Rule,
        rule: Some(examined.verdict.rule.clone()),
        model: None,
        prompt_version: None,
        model_failure: None,
    };
    let mut cost = None;
    let opinion = match answer {
        None => None,
        Some(Err(failure)) => {
            provenance.model_failure = Some(failure);
            None
        }
        Some(Ok(reply)) => {
            provenance.model = Some(reply.model.clone());
            provenance.prompt_version = Some(PROMPT_VERSION.to_owned());
            cost = reply.cost_usd;
            match grounded(&examined, &reply) {
                Ok(opinion) => {
                    provenance.source = if reply.cached { Said::Cache } else { Said::Model };
                    Some(opinion)
                }
                Err(failure) => {
                    provenance.model_failure = Some(failure);
                    None
                }
            }
        }
    };
    let capture = examined.capture;
    let verdict = examined.verdict;
    let mut diagnosis = Diagnosis {
        failure_category: verdict.category,
        root_cause: verdict.cause.clone(),
        fix_suggestion: verdict.fix.clone(),
        severity: verdict.severity,
        origin: verdict.origin,
        confidence: verdict.confidence,
        retryable: verdict.retryable,
        experiment_id: capture.experiment_id.clone().unwrap_or_default(),
        experiment_type: capture.experiment_type.clone().unwrap_or_default(),
        signature: examined.signature.id,
        provenance,
        evidence: examined.evidence,
        similar: Vec::new(),
        created_at: now.to_owned(),
        verdict,
        opinion: None,
        other_faults: examined.other_faults,
        redactions: examined.redactions,
        cost_usd: cost,
        sandbox: capture.sandbox.clone(),
    };
    if let Some(opinion) = opinion {
        speak(&mut diagnosis, opinion);
    }
    diagnosis
}

/// Lets the opinion speak, unless what was observed or a sure rule says otherwise; then it stands beside.
fn speak(diagnosis: &mut Diagnosis, opinion: Opinion) {
    let verdict = &diagnosis.verdict;
    let agrees = opinion.category == verdict.category;
    if !agrees && verdict.confidence >= SURE {
        diagnosis.provenance.source = Said::Rule;
        diagnosis.opinion = Some(opinion);
        return;
    }
    diagnosis.failure_category = opinion.category;
    diagnosis.root_cause.clone_from(&opinion.root_cause);
    diagnosis.fix_suggestion.clone_from(&opinion.fix_suggestion);
    if !agrees {
        diagnosis.severity = opinion.severity;
        diagnosis.origin = opinion.origin;
        diagnosis.retryable = opinion.retryable;
        // one witness against another: neither is as sure as it says
        diagnosis.confidence = opinion.confidence.min(0.6);
    }
    let mut evidence = opinion.evidence.clone();
    evidence.extend(
        diagnosis.evidence.iter().filter(|e| !opinion.evidence.iter().any(|o| same_line(o, e))).cloned(),
    );
    evidence.truncate(crate::evidence::MOST_CITED);
    diagnosis.evidence = evidence;
    diagnosis.opinion = Some(opinion);
}

fn same_line(a: &EvidenceItem, b: &EvidenceItem) -> bool {
    a.source == b.source && a.line == b.line
}

fn grounded(examined: &Examined<'_>, reply: &Reply) -> Result<Opinion, ModelFailure> {
    let (_, shown) = question(examined, examined.budget);
    // what is kept must stand in the untouched source: the model saw it redacted and with white space as it liked
    let clear = |source: Source, line: u64, quote: &str| examined.citable(source, line, quote);
    opinion::read(&reply.text, &shown, clear)
}
