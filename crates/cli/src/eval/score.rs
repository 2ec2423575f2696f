//! Each case judged, and the judgements counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result};
use coroner_diagnosis::{Capture, Category, Code, Log, Origin, Severity};
use serde::Serialize;

use crate::analyst::Analyst;

use super::corpus::{Corpus, LabelCase, LineCase, SeedCase};

/// The budgets at which recall is measured, in characters.
pub(crate) const BUDGETS: [usize; 3] = [3_000, 10_000, 20_000];

/// A judged case of `k1.jsonl`.
#[derive(Debug, Serialize)]
pub(crate) struct LineScore {
    pub(crate) id: String,
    pub(crate) project: String,
    pub(crate) tier: String,
    pub(crate) wide: bool,
    pub(crate) cited: Vec<u64>,
    pub(crate) hit: bool,
    pub(crate) first_hit: bool,
    pub(crate) acceptable: bool,
    /// share of the cited lines that are right
    pub(crate) right: f64,
    /// for each budget: is the truth in the excerpt, and in the log's last characters
    pub(crate) recall: [(bool, bool); 3],
    pub(crate) first_truth: u64,
    pub(crate) rule: String,
}

/// A judged case of `k2.jsonl` or `seed-cases.jsonl`.
#[derive(Debug, Serialize)]
pub(crate) struct LabelScore {
    pub(crate) id: String,
    pub(crate) project: String,
    pub(crate) seed: bool,
    pub(crate) ambiguous: bool,
    pub(crate) want: Category,
    pub(crate) got: Category,
    /// an acceptable category, where others than `want` are
    pub(crate) accepted: bool,
    pub(crate) want_severity: Severity,
    pub(crate) got_severity: Severity,
    pub(crate) want_origin: Option<Origin>,
    pub(crate) got_origin: Origin,
    pub(crate) confidence: f64,
    pub(crate) rule: String,
    pub(crate) cause: String,
    pub(crate) text: String,
}

/// Everything judged.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Scores {
    pub(crate) lines: Vec<LineScore>,
    pub(crate) labels: Vec<LabelScore>,
}

impl Scores {
    /// Only the cases of one half of the projects.
    pub(crate) fn keep_projects(&mut self, half: Option<&str>) {
        let Some(half) = half else { return };
        let keep = |project: &str| {
            let sum: u32 = project.bytes().fold(7, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(b)));
            sum.is_multiple_of(2) == (half == "even")
        };
        self.lines.retain(|l| keep(&l.project));
        self.labels.retain(|l| keep(&l.project));
    }
}

/// Judges every case, `step` being told of each one done.
pub(crate) fn score(corpus: &Corpus, analyst: &Analyst, baselines: bool, step: &dyn Fn()) -> Result<Scores> {
    let mut scores = Scores::default();
    for case in &corpus.lines {
        scores.lines.push(lines(corpus, case, analyst, baselines)?);
        step();
    }
    for case in &corpus.labels {
        scores.labels.push(label(case, analyst));
        step();
    }
    for case in &corpus.seeds {
        scores.labels.push(seed(case, analyst));
        step();
    }
    Ok(scores)
}

fn lines(corpus: &Corpus, case: &LineCase, analyst: &Analyst, baselines: bool) -> Result<LineScore> {
    let read = |path: &std::path::Path| {
        let path = corpus.root.join(path);
        fs::read(&path).with_context(|| format!("case {}: can't read {}", case.id, path.display()))
    };
    let bytes = read(&case.log_path)?;
    let mut capture = Capture { log: Log::new(&bytes), ..Capture::default() };
    if let Some(path) = case.pass_log_path.as_deref().filter(|_| baselines) {
        capture.baselines.push(Log::new(&read(path)?));
    }
    let examined = analyst.examine(&capture);
    let cited: Vec<u64> = examined.evidence.iter().map(|e| e.line).collect();
    let truth = |n: &u64| case.truth_lines.contains(n);
    let fine = |n: &u64| truth(n) || case.also_lines.contains(n) || case.repeat_lines.contains(n);
    let right = if cited.is_empty() {
        0.0
    } else {
        cited.iter().filter(|n| truth(n)).count() as f64 / cited.len() as f64
    };
    let recall = BUDGETS.map(|budget| {
        let excerpt: BTreeSet<u64> = examined.excerpt(budget).lines.iter().map(|l| l.line).collect();
        (contained(case, &excerpt, budget), contained(case, &tail(&bytes, budget), budget))
    });
    Ok(LineScore {
        id: case.id.clone(),
        project: case.project.clone(),
        tier: case.tier.clone(),
        wide: case.wide_truth,
        hit: cited.iter().any(truth),
        first_hit: cited.first().is_some_and(truth),
        acceptable: cited.iter().any(fine),
        right,
        recall,
        first_truth: case.truth_lines.first().copied().unwrap_or(0),
        rule: examined.verdict.rule.clone(),
        cited,
    })
}

/// The whole truth (of any one span, where one is enough), or its first line where it is longer than the budget.
/// Blank truth lines say nothing and are not asked for.
fn contained(case: &LineCase, have: &BTreeSet<u64>, budget: usize) -> bool {
    let texts: BTreeMap<u64, &str> = case.truth_lines.iter().copied().zip(case.truth_text.lines()).collect();
    let told = |n: &u64| texts.get(n).is_none_or(|t| !t.trim().is_empty());
    let span = |from: u64, to: u64| {
        let lines: Vec<u64> = case.truth_lines.range(from..=to).copied().filter(|n| told(n)).collect();
        let chars: usize = lines.iter().map(|n| texts.get(n).map_or(0, |t| t.chars().count() + 1)).sum();
        if chars > budget {
            lines.first().is_some_and(|n| have.contains(n))
        } else {
            lines.iter().all(|n| have.contains(n))
        }
    };
    if case.any_one_span && !case.truth_spans.is_empty() {
        case.truth_spans.iter().any(|(a, b)| span(*a, *b))
    } else {
        span(0, u64::MAX)
    }
}

/// The lines of which the last `chars` characters hold something.
fn tail(bytes: &[u8], chars: usize) -> BTreeSet<u64> {
    let text = String::from_utf8_lossy(bytes);
    let start = text.char_indices().rev().nth(chars.saturating_sub(1)).map_or(0, |(i, _)| i);
    let first = text[..start].matches('\n').count() as u64 + 1;
    (first..=text.lines().count() as u64).collect()
}

fn label(case: &LabelCase, analyst: &Analyst) -> LabelScore {
    let capture = Capture {
        error_message: Some(case.error_message.clone()).filter(|e| !e.is_empty()),
        log: Log::new(case.log.as_deref().unwrap_or("").as_bytes()),
        code: case.code.clone().map(|text| Code { name: None, text }),
        ..Capture::default()
    };
    let said = analyst.diagnose(&capture);
    LabelScore {
        id: case.id.clone(),
        project: case.project.clone(),
        seed: false,
        ambiguous: case.ambiguous,
        want: case.category,
        got: said.failure_category,
        accepted: said.failure_category == case.category || case.also.contains(&said.failure_category),
        want_severity: case.severity,
        got_severity: said.severity,
        want_origin: None,
        got_origin: said.origin,
        confidence: said.confidence,
        rule: said.verdict.rule,
        cause: said.root_cause,
        text: format!("{} ({})", case.error_message, case.root_cause.as_deref().unwrap_or("")),
    }
}

fn seed(case: &SeedCase, analyst: &Analyst) -> LabelScore {
    let capture = Capture {
        experiment_type: case.experiment_type.clone(),
        error_message: Some(case.error_message.clone()).filter(|e| !e.is_empty()),
        log: Log::new(case.logs.as_deref().unwrap_or("").as_bytes()),
        code: case.code_snippet.clone().map(|text| Code { name: None, text }),
        ..Capture::default()
    };
    let said = analyst.diagnose(&capture);
    LabelScore {
        id: case.id.clone(),
        project: "seed".into(),
        seed: true,
        ambiguous: false,
        want: case.expected.category,
        got: said.failure_category,
        accepted: case.expected.accept.contains(&said.failure_category),
        want_severity: case.expected.severity,
        got_severity: said.severity,
        want_origin: Some(case.expected.origin),
        got_origin: said.origin,
        confidence: said.confidence,
        rule: said.verdict.rule,
        cause: said.root_cause,
        text: format!("{} | {}", case.error_message, case.logs.as_deref().unwrap_or("")),
    }
}
