//! The diagnosis of a proposal that never became a program: what the model answered is of no use, and that is nobody's
//! fault but the provider's.

use coroner_diagnosis::{
    Category, Diagnosis, EvidenceItem, Origin, Provenance, Role, Said, Severity, Source, Verdict,
};
use sha2::{Digest, Sha256};

/// The rule that says it.
const RULE: &str = "lab.unusable-reply";

/// Why a reply is no candidate.
pub(super) fn diagnosis(why: &str, reply: &str, id: &str, kind: &str, at: String) -> Diagnosis {
    // the reason without its particulars, so that two cut-off replies are the same failure
    let reason = why.split([':', '(', ';']).next().unwrap_or(why).trim();
    let hash = Sha256::digest(format!("{RULE}\0{reason}"));
    let signature: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let fix =
        "nothing has to change in a candidate; if it goes on, ask for shorter programs, or another model"
            .to_owned();
    let cause = format!("The model's reply is no program: {why}");
    let first = reply.lines().next().unwrap_or("");
    let evidence = if first.trim().is_empty() {
        Vec::new()
    } else {
        let text = first.chars().take(200).collect();
        vec![EvidenceItem { source: Source::Log, line: 1, text, role: Role::Context }]
    };
    Diagnosis {
        failure_category: Category::ValidationError,
        root_cause: cause.clone(),
        fix_suggestion: fix.clone(),
        severity: Severity::Medium,
        origin: Origin::Provider,
        confidence: 0.99,
        retryable: true,
        experiment_id: id.to_owned(),
        experiment_type: kind.to_owned(),
        signature: format!("v1:{signature}"),
        provenance: Provenance {
            source: Said::Rule,
            rule: Some(RULE.to_owned()),
            model: None,
            prompt_version: None,
            model_failure: None,
        },
        evidence,
        similar: Vec::new(),
        created_at: at,
        verdict: Verdict {
            rule: RULE.to_owned(),
            category: Category::ValidationError,
            severity: Severity::Medium,
            origin: Origin::Provider,
            retryable: true,
            confidence: 0.99,
            cause,
            fix,
            line: None,
        },
        opinion: None,
        other_faults: Vec::new(),
        redactions: std::collections::BTreeMap::new(),
        cost_usd: None,
        sandbox: None,
    }
}
