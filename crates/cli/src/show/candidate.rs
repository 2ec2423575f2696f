//! What a candidate of the lab has beyond its experiment, in a few rows.

use coroner_diagnosis::bytes;
use coroner_store::{CandidateRecord, ExperimentId};

use crate::quantities::{counted, thousands};

/// Labels and values; empty values are not shown.
pub(super) fn rows(record: &CandidateRecord, number: u64) -> Vec<(&'static str, String)> {
    let it = &record.candidate;
    let made_from = names(&it.parents);
    let mends = it.repair_of.as_ref().map(|id| format!("exp {}", id.number())).unwrap_or_default();
    let metrics: Vec<_> =
        it.metrics.iter().map(|(name, value)| format!("{name} {}", figure(*value))).collect();
    let again = match (it.rerun, it.replaced) {
        (true, _) => "is to be tested again",
        (false, true) => "was tested again later",
        (false, false) => "",
    };
    vec![
        ("Run", format!("{}, generation {}", it.run, it.generation)),
        ("Made from", made_from),
        ("Mends", mends),
        ("Change", it.change.clone()),
        ("Proposed", proposed(record)),
        ("Metrics", metrics.join(", ")),
        ("Score", it.score.map(figure).unwrap_or_default()),
        ("Result", result(record)),
        ("Again", again.to_owned()),
        ("Led to", names(&record.children)),
        ("Code", format!("{} (coroner show {number} --code)", bytes(record.code_bytes))),
    ]
}

fn names(ids: &[ExperimentId]) -> String {
    ids.iter().map(|id| format!("exp {}", id.number())).collect::<Vec<_>>().join(", ")
}

fn proposed(record: &CandidateRecord) -> String {
    let it = &record.candidate;
    let cost = &it.proposal_cost;
    let mut words = vec![format!("by {}, told {}", it.proposer, told(it.feedback))];
    if cost.dollars > 0.0 {
        words.push(format!("${:.4}", cost.dollars));
    }
    if cost.input_tokens + cost.output_tokens > 0 {
        let read = counted(cost.input_tokens, "token", "tokens");
        words.push(format!("{read} read, {} written", thousands(cost.output_tokens)));
    }
    words.join(", ")
}

fn told(feedback: coroner_store::Feedback) -> &'static str {
    match feedback {
        coroner_store::Feedback::None => "nothing of failures",
        coroner_store::Feedback::Raw => "the logs of failures",
        coroner_store::Feedback::Diagnosis => "the diagnoses of failures",
    }
}

/// "rejected: Performance not better than current implementation".
fn result(record: &CandidateRecord) -> String {
    let word = |key: &str| record.result.as_ref().and_then(|result| result[key].as_str()).unwrap_or_default();
    [word("status"), word("reason")].into_iter().filter(|w| !w.is_empty()).collect::<Vec<_>>().join(": ")
}

/// As many digits as say something.
fn figure(value: f64) -> String {
    let text = format!("{value:.4}");
    match value.abs() {
        0.001..1e9 => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_what_says_something() {
        for (value, text) in [
            (0.0, "0"),
            (33.0, "33"),
            (1.23456, "1.2346"),
            (-0.5, "-0.5"),
            (0.000_012_3, "1.230e-5"),
            (2e12, "2.000e12"),
        ] {
            assert_eq!(figure(value), text);
        }
    }
}
