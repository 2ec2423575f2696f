//! Which of the marked lines are the failure: blocks with a score, the weightiest first. Several independent faults
//! stay apart; repetitions of one, its consequences and what was overcome sink.

use crate::block::{Block, block};
use crate::log::Log;
use crate::rules::{RuleSet, Strength};
use crate::scan::{Mark, Scan, Step, StepEnd, strength};
use crate::signal::Signal;

/// Something that went wrong in the run.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) block: Block,
    /// The line that the fault is judged by.
    pub(crate) anchor: usize,
    pub(crate) rule: Option<u32>,
    pub(crate) signal: Option<Signal>,
    pub(crate) score: f64,
    /// A weightier fault is of the same rule and shape.
    pub(crate) repeat: bool,
}

/// At most so many faults are told apart; marks beyond have sunk anyway.
const MOST: usize = 60;

/// The faults of a log, the weightiest first.
pub(crate) fn faults(log: &Log, scan: &Scan, rules: &RuleSet) -> Vec<Fault> {
    let mut scored: Vec<(f64, &Mark)> =
        scan.marks.iter().filter_map(|m| score(log, scan, rules, m).map(|s| (s, m))).collect();
    // the earlier of two equals: what follows is more likely its consequence
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.piece.cmp(&b.1.piece)));
    let mut faults: Vec<Fault> = Vec::new();
    for (score, mark) in scored {
        if faults.len() >= MOST {
            break;
        }
        if faults.iter().any(|f| (f.block.start..f.block.end).contains(&mark.piece)) {
            continue;
        }
        let block = block(log, mark.piece);
        let repeat = faults.iter().any(|f| mark.rule.is_some() && f.rule == mark.rule);
        faults.push(Fault { block, anchor: mark.piece, rule: mark.rule, signal: mark.signal, score, repeat });
    }
    for fault in &mut faults {
        if fault.repeat {
            fault.score -= 12.0;
        }
    }
    faults.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.anchor.cmp(&b.anchor)));
    faults
}

/// How likely the line is what a person would point at. The figures were set by looking at the dev corpus and
/// checked on a split by project (docs/benchmarks.md).
fn score(log: &Log, scan: &Scan, rules: &RuleSet, mark: &Mark) -> Option<f64> {
    let base: f64 = match (strength(rules, mark), mark.signal) {
        (Some(Strength::Exact), _) => 100.0,
        (Some(Strength::Typed), _) => 84.0,
        (Some(Strength::Generic), _) => 60.0,
        (Some(Strength::Symptom), _) => 20.0,
        (None, Some(Signal::Strong)) => 50.0,
        (None, Some(Signal::Weak)) => 22.0,
        (None, _) => return None,
    };
    let mut score = base;
    if mark.signal == Some(Signal::Harmless) {
        score -= 25.0;
    }
    score -= (f64::from(mark.alike).log2() * if mark.rule.is_some() { 1.5 } else { 3.0 }).min(20.0);
    let n = log.len().max(1) as f64;
    let place = (mark.piece + 1) as f64 / n;
    score += 18.0 * place * place;
    if log.len() - mark.piece <= 250 {
        score += 6.0;
    }
    if scan.last_progress.is_some_and(|p| p > mark.piece) {
        score -= 15.0;
    }
    score += step_bonus(&scan.steps, mark.piece);
    Some(score)
}

/// A step that went well had no failure in it; what comes after the failed one cleans up.
fn step_bonus(steps: &[Step], piece: usize) -> f64 {
    let next = steps.partition_point(|s| s.piece < piece);
    let failed_before = steps[..next].iter().any(|s| s.end == StepEnd::Failed);
    match steps.get(next).map(|s| s.end) {
        Some(StepEnd::Failed) if !failed_before => 14.0,
        Some(StepEnd::Failed) => 4.0,
        Some(StepEnd::Passed) if steps[next..].iter().any(|s| s.end == StepEnd::Failed) => -30.0,
        _ if failed_before => -12.0,
        _ => 0.0,
    }
}
