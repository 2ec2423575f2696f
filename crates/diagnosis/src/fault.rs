//! Which of the marked lines are the failure: blocks with a score, the weightiest first. Several independent faults
//! stay apart; repetitions of one, its consequences and what was overcome sink.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::block::{Block, block};
use crate::log::Log;
use crate::rules::{RuleSet, Strength};
use crate::scan::{Mark, Scan, Step, StepEnd, strength};
use crate::signal::{Signal, signal};

/// Something that went wrong in the run.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) block: Block,
    /// The line that the fault is judged by.
    pub(crate) anchor: usize,
    pub(crate) rule: Option<u32>,
    /// The line that the rule speaks of: the anchor, or a more telling one of its block.
    pub(crate) spoken: usize,
    pub(crate) signal: Option<Signal>,
    pub(crate) score: f64,
    /// A weightier fault is of the same rule and shape.
    pub(crate) repeat: bool,
}

/// At most so many faults are told apart; marks beyond have sunk anyway.
const MOST: usize = 60;

/// The faults of a log, the weightiest first.
pub(crate) fn faults(log: &Log, scan: &Scan, rules: &RuleSet) -> Vec<Fault> {
    let mut first_alike: HashMap<u64, usize> = HashMap::new();
    let mut scored: Vec<(f64, &Mark)> = Vec::new();
    for mark in &scan.marks {
        let Some(score) = score(log, scan, rules, mark) else { continue };
        match first_alike.entry(mark.shape) {
            // a message repeated by a summary or a second attempt: the first is cited, the best place counts
            Entry::Occupied(first) if scored[*first.get()].0 > score - 25.0 => {
                let best = &mut scored[*first.get()].0;
                *best = best.max(score);
            }
            Entry::Occupied(mut first) => {
                first.insert(scored.len());
                scored.push((score, mark));
            }
            Entry::Vacant(slot) => {
                slot.insert(scored.len());
                scored.push((score, mark));
            }
        }
    }
    // where a test framework names what failed, an exception elsewhere was most likely caught
    let tests: Vec<usize> = scored
        .iter()
        .filter(|(s, m)| m.signal == Some(Signal::Test) && *s > 95.0)
        .map(|(_, m)| m.piece)
        .collect();
    if let Some(last) = tests.last() {
        for (score, mark) in &mut scored {
            if mark.signal != Some(Signal::Test) && mark.piece < *last {
                *score -= OUTSIDE_A_TEST;
            }
        }
    }
    let last_words = last_words(log, scan);
    scored.extend(last_words.iter().map(|m| (LAST_WORDS + step_bonus(&scan.steps, m.piece), m)));
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
        let block = if mark.shape == 0 { ending(log, mark.piece) } else { block(log, mark.piece) };
        let (rule, spoken) = speaker(scan, rules, &block, mark);
        let repeat = faults.iter().any(|f| rule.is_some() && f.rule == rule);
        faults.push(Fault { block, anchor: mark.piece, rule, spoken, signal: mark.signal, score, repeat });
    }
    let cascades = |f: &Fault| f.rule.is_some_and(|r| rules.at(r).cascade);
    let causes: Vec<usize> = faults
        .iter()
        .filter(|f| !cascades(f) && f.rule.is_some_and(|r| rules.at(r).strength >= Strength::Typed))
        .map(|f| f.anchor)
        .collect();
    for fault in &mut faults {
        if fault.repeat {
            fault.score -= 12.0;
        }
        if cascades(fault) && causes.iter().any(|c| *c < fault.anchor) {
            fault.score -= CASCADE;
        }
    }
    faults.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.anchor.cmp(&b.anchor)));
    faults
}

/// What an error loses that stands before a test's report of failure and not in it.
const OUTSIDE_A_TEST: f64 = 12.0;
/// What a fault loses that is known to follow from others (a peer gone, a pipe broken), where there is an earlier one.
const CASCADE: f64 = 30.0;
/// What a line weighs that is only known to be the last before the run or the step ended badly.
const LAST_WORDS: f64 = 36.0;

/// The rule that speaks for a block: that of its anchor, or a more precise one of a line inside.
fn speaker(scan: &Scan, rules: &RuleSet, block: &Block, anchor: &Mark) -> (Option<u32>, usize) {
    let precise = |m: &Mark| m.rule.map(|r| rules.at(r).strength);
    let own = precise(anchor);
    if own >= Some(Strength::Typed) {
        return (anchor.rule, anchor.piece);
    }
    let from = scan.marks.partition_point(|m| m.piece < block.start);
    let inside = scan.marks[from..].iter().take_while(|m| m.piece < block.end);
    // of equals the nearest to the message
    let best = inside.max_by_key(|m| (precise(m), std::cmp::Reverse(m.piece.abs_diff(block.message))));
    match best.filter(|m| precise(m) > own) {
        Some(mark) => (mark.rule, mark.piece),
        None => (anchor.rule, anchor.piece),
    }
}

/// The last line before the end of the log, or of the step that failed, that says something.
fn last_words(log: &Log, scan: &Scan) -> Option<Mark> {
    let failed = scan.steps.iter().find(|s| s.end == StepEnd::Failed).map(|s| s.piece);
    let end = failed.unwrap_or(log.len());
    // the step's end may share its line with something else
    let boundary = failed.map(|piece| log.number(piece));
    let piece = (end.saturating_sub(40)..end).rev().find(|i| {
        let line = log.clean(*i);
        line.trim().len() > 2
            && Some(log.number(*i)) != boundary
            && !matches!(signal(line), Some(Signal::Consequence | Signal::Harmless))
    })?;
    let rule = scan.marks.iter().rev().find(|m| m.piece == piece).and_then(|m| m.rule);
    Some(Mark { piece, rule, signal: Some(Signal::Weak), alike: 1, shape: 0 })
}

/// The lines that lead up to the last one.
fn ending(log: &Log, piece: usize) -> Block {
    let mut start = piece;
    while start > 0 && piece - start < 20 {
        let line = log.clean(start - 1);
        if line.starts_with("travis_")
            || line.starts_with("##[")
            || line.trim().is_empty() && piece - start > 3
        {
            break;
        }
        start -= 1;
    }
    Block { start, end: piece + 1, header: None, message: piece, frame: None }
}

/// How likely the line is what a person would point at. The figures were set by looking at the dev corpus and
/// checked on a split by project (docs/benchmarks.md).
fn score(log: &Log, scan: &Scan, rules: &RuleSet, mark: &Mark) -> Option<f64> {
    let base: f64 = match (strength(rules, mark), mark.signal) {
        (Some(Strength::Exact), _) => 100.0,
        (Some(Strength::Typed), _) => 84.0,
        (Some(Strength::Generic), _) => 60.0,
        (Some(Strength::Symptom), _) => 20.0,
        (_, Some(Signal::Test)) => 88.0,
        (_, Some(Signal::Strong)) => 50.0,
        (Some(Strength::Hint), _) => 26.0,
        (_, Some(Signal::Weak)) => 22.0,
        (_, Some(Signal::Consequence)) => 12.0,
        (None, _) => return None,
    };
    let mut score = match mark.signal {
        Some(Signal::Harmless) => base - 25.0,
        Some(Signal::Consequence) => base.min(25.0),
        Some(Signal::Test) => base.max(88.0) + 6.0,
        _ => base,
    };
    score -= (f64::from(mark.alike).log2() * if mark.rule.is_some() { 1.5 } else { 3.0 }).min(20.0);
    if mark.signal == Some(Signal::Strong) && log.clean(mark.piece).starts_with("##[error]") {
        // the runner itself points at the line
        score += 14.0;
    }
    let n = log.len().max(1) as f64;
    let place = (mark.piece + 1) as f64 / n;
    // of tests that failed none is more telling for being late
    score += if mark.signal == Some(Signal::Test) { 12.0 } else { 18.0 * place * place };
    if log.len() - mark.piece <= 250 {
        score += 6.0;
    }
    if scan.last_progress.is_some_and(|p| p > mark.piece) {
        score -= 15.0;
    }
    score += step_bonus(&scan.steps, mark.piece);
    Some(if mark.signal == Some(Signal::Consequence) { score.min(base.min(25.0) + 8.0) } else { score })
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
