//! One pass over the kept lines: which rules speak of which line, which lines sound like trouble, how often each
//! kind of line occurs, and where the run stopped making progress.

use std::collections::{HashMap, HashSet};

use crate::log::Log;
use crate::rules::{About, RuleSet, Start, Strength};
use crate::signal::{Signal, is_progress, signal};

/// A line worth talking about.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    /// Its index in the log.
    pub(crate) piece: usize,
    /// The best rule that speaks of it.
    pub(crate) rule: Option<u32>,
    pub(crate) signal: Option<Signal>,
    /// How many lines of the log are like it.
    pub(crate) alike: u32,
    /// Lines alike share it.
    pub(crate) shape: u64,
}

/// What the pass found.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) marks: Vec<Mark>,
    /// The last line that says the run was still making progress.
    pub(crate) last_progress: Option<usize>,
    /// The end of each CI step that went well, and of the one that did not.
    pub(crate) steps: Vec<Step>,
}

/// A boundary between the steps of a CI job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) piece: usize,
    pub(crate) end: StepEnd,
}

/// How the step before the boundary went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepEnd {
    Passed,
    Failed,
    /// What follows is cleaning up.
    Teardown,
}

/// What lines of one shape mean.
#[derive(Debug, Default, Clone, Copy)]
struct Kind {
    seen: u32,
    rule: Option<u32>,
    signal: Option<Signal>,
    progress: bool,
}

/// Marks the lines of `log`. Lines of a kind that `known` holds (they stand in a run that succeeded) are not marked.
pub(crate) fn scan(log: &Log, rules: &RuleSet, known: &HashSet<u64>, about: About<'_>) -> Scan {
    let mut out = Scan::default();
    // what a kind of line means is found out once: logs repeat themselves
    let mut kinds: HashMap<u64, Kind> = HashMap::new();
    let mut starting = Vec::new();
    for piece in 0..log.len() {
        let line = log.clean(piece);
        if line.is_empty() {
            continue;
        }
        if let Some(end) = step_end(line) {
            out.steps.push(Step { piece, end });
        }
        let shape = shape(line);
        let kind = kinds.entry(shape).or_insert_with(|| {
            if known.contains(&shape) {
                return Kind::default();
            }
            let signal = signal(line);
            let rule = best_rule(log, piece, rules, about, &mut starting);
            let quiet = rule.is_none() && signal.is_none_or(|s| s == Signal::Harmless);
            Kind { seen: 0, rule, signal, progress: quiet && is_progress(line) }
        });
        kind.seen += 1;
        if kind.progress {
            out.last_progress = Some(piece);
        }
        let quiet = kind.rule.is_none() && kind.signal.is_none_or(|s| s == Signal::Harmless);
        if !quiet {
            // a rule with neighbours may hold here and not there
            let rule = kind.rule.filter(|r| kind.seen == 1 || holds_here(log, piece, rules, *r));
            out.marks.push(Mark { piece, rule, signal: kind.signal, alike: 0, shape });
        }
    }
    for mark in &mut out.marks {
        mark.alike = kinds.get(&mark.shape).map_or(1, |k| k.seen);
    }
    out
}

fn best_rule(
    log: &Log,
    piece: usize,
    rules: &RuleSet,
    about: About<'_>,
    starting: &mut Vec<Start>,
) -> Option<u32> {
    let line = log.clean(piece);
    rules.starting(line, starting);
    let mut of_rules: Vec<_> =
        starting.chunk_by(|a, b| a.rule == b.rule).map(|of| (of[0].rule, of)).collect();
    // the best first: the others need not be looked at
    of_rules.sort_by_key(|(r, _)| {
        let rule = rules.at(*r);
        // a symptom's own wording tells more of its line than a hint's words
        std::cmp::Reverse((rule.strength != Strength::Hint, rule.strength, rule.own, rule.is_particular()))
    });
    let found = of_rules.into_iter().find(|(r, of)| {
        rules.at(*r).concerns(about) && rules.speaks_of(line, of) && holds_here(log, piece, rules, *r)
    });
    found.map(|(r, _)| r)
}

/// Is what the rule wants in the neighbourhood there?
fn holds_here(log: &Log, piece: usize, rules: &RuleSet, rule: u32) -> bool {
    let rule = rules.at(rule);
    let Some(within) = rule.needs_near() else { return true };
    neighbours(log, piece, within).any(|line| rule.near_matches(line))
}

/// The cleaned lines around `piece`, itself first, then the nearest ones.
pub(crate) fn neighbours(log: &Log, piece: usize, within: usize) -> impl Iterator<Item = &str> {
    let at = piece as i64;
    (0..=within as i64)
        .flat_map(move |d| if d == 0 { vec![at] } else { vec![at - d, at + d] })
        .filter(|i| *i >= 0 && *i < log.len() as i64)
        .map(|i| log.clean(i as usize))
}

/// How a CI step ended, if the line says so.
fn step_end(line: &str) -> Option<StepEnd> {
    let line = line.trim_start();
    match line.as_bytes().first()? {
        b'T' if line.starts_with("The command ") && line.contains(" exited with ") => {
            Some(if line.trim_end_matches('.').ends_with(" 0") { StepEnd::Passed } else { StepEnd::Failed })
        }
        b'#' if line.starts_with("##[group]Run ") => Some(StepEnd::Passed),
        b'#' if line.starts_with("##[error]") => Some(StepEnd::Failed),
        b'P' if line.starts_with("Post job cleanup") => Some(StepEnd::Teardown),
        b'C' if line.starts_with("Cleaning up project directory") => Some(StepEnd::Teardown),
        _ => None,
    }
}

/// A hash of the line's shape: digits, hexadecimal numbers and white space don't count.
pub(crate) fn shape(line: &str) -> u64 {
    // the same message told again by a summary
    let line = line.trim_start();
    let line = line.strip_prefix("[ERROR]").or_else(|| line.strip_prefix("##[error]")).unwrap_or(line);
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |b: u8| hash = (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    let bytes = line.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        let b = bytes[i];
        if b.is_ascii_digit() || (b.is_ascii_hexdigit() && is_hex_run(&bytes[i..]) && !word_before(bytes, i))
        {
            while i < bytes.len() && (bytes[i].is_ascii_hexdigit() || bytes[i] == b'.') {
                i += 1;
            }
            eat(b'0');
            continue;
        }
        if !b.is_ascii_whitespace() {
            eat(b);
        }
        i += 1;
    }
    hash
}

fn word_before(bytes: &[u8], i: usize) -> bool {
    i > 0 && bytes[i - 1].is_ascii_alphanumeric()
}

/// Eight or more hexadecimal digits with a decimal one among them.
fn is_hex_run(bytes: &[u8]) -> bool {
    let run = bytes.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    run >= 8 && bytes[..run].iter().any(u8::is_ascii_digit)
}

/// The rule's strength, or what a line without a rule counts as.
pub(crate) fn strength(rules: &RuleSet, mark: &Mark) -> Option<Strength> {
    mark.rule.map(|r| rules.at(r).strength)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_forget_numbers_only() {
        assert_eq!(shape("step 12 at 0x7f3a9c00 took 1.5 s"), shape("step 999 at 0x7fffffff took 22.25 s"));
        assert_ne!(shape("error[E0308]: x"), shape("error[F0308]: x"));
        assert_ne!(shape("feedface"), shape("deadbeef"));
    }

    #[test]
    fn steps_are_told_apart() {
        assert_eq!(step_end("The command \"make\" exited with 0."), Some(StepEnd::Passed));
        assert_eq!(step_end("The command \"make test\" exited with 10."), Some(StepEnd::Failed));
        assert_eq!(step_end("##[group]Run make"), Some(StepEnd::Passed));
        assert_eq!(step_end("Then"), None);
    }
}
