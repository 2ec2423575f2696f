//! The few lines that prove it, and an excerpt of the log under a budget of characters: the telling lines first, what
//! belongs to them, then the end of the log; what was left out is said.

use std::collections::BTreeMap;

use crate::fault::Fault;
use crate::log::Log;
use crate::redact::{Counts, Redactor};
use crate::scan::Mark;
use crate::signal::Signal;
use crate::terms::Role;

/// A line of an excerpt: its number in the untouched log and a piece of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ExcerptLine {
    /// 1-based.
    pub line: u64,
    /// A piece of that line.
    pub text: String,
    /// What it is to the failure.
    pub role: Role,
}

/// Lines chosen from a log under a budget.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Excerpt {
    /// The excerpt as a model would be sent it, with line numbers and with what was left out.
    pub text: String,
    /// Unicode scalar values of `text`; never more than the budget.
    pub chars: usize,
    /// The lines in it.
    pub lines: Vec<ExcerptLine>,
    /// How many lines the whole log has.
    pub log_lines: u64,
    /// How many bytes.
    pub log_bytes: u64,
}

/// At most so many lines are cited.
pub(crate) const MOST_CITED: usize = 5;

/// The pieces to cite, the telling ones first.
pub(crate) fn cited(log: &Log, faults: &[Fault], marks: &[Mark]) -> Vec<(usize, Role)> {
    let mut out: Vec<(usize, Role)> = Vec::new();
    let mut add = |piece: usize, role: Role, most: usize| {
        let number = log.number(piece);
        let blank = log.clean(piece).trim().is_empty();
        if out.len() < most && !blank && !out.iter().any(|(p, _)| log.number(*p) == number) {
            out.push((piece, role));
        }
    };
    let Some(first) = faults.first() else { return out };
    add(first.anchor, Role::Cause, MOST_CITED);
    add(first.spoken, Role::Cause, MOST_CITED);
    if let Some(header) = first.block.header {
        add(header, Role::Context, MOST_CITED);
    }
    add(first.block.message, Role::Cause, MOST_CITED);
    if let Some(frame) = &first.block.frame {
        add(frame.piece, Role::Context, MOST_CITED);
    }
    let rest: Vec<&Fault> =
        faults[1..].iter().take_while(|f| f.score > first.score - 45.0 && f.score > 30.0).take(3).collect();
    for fault in &rest {
        let role = if fault.score > first.score - 20.0 { Role::Cause } else { Role::Symptom };
        let headed = fault.block.header == Some(fault.anchor);
        add(if headed { fault.block.message } else { fault.spoken }, role, MOST_CITED);
    }
    // what is free goes to the lines about the first fault
    let says = |m: &&Mark| !log.clean(m.piece).contains("Traceback (most recent call last)");
    let loud = marks
        .iter()
        .filter(|m| m.rule.is_some() || m.signal >= Some(Signal::Strong))
        .filter(says)
        .map(|m| m.piece);
    for piece in loud.filter(|p| (first.block.start..first.block.end).contains(p)) {
        add(piece, Role::Context, MOST_CITED);
    }
    for piece in [first.anchor + 1, first.anchor.saturating_sub(1), first.block.message + 1] {
        if (first.block.start..first.block.end).contains(&piece) {
            add(piece, Role::Context, MOST_CITED);
        }
    }
    out
}

/// Fills the budget, most telling lines first.
pub(crate) fn excerpt(log: &Log, faults: &[Fault], redactor: &Redactor, budget: usize) -> Excerpt {
    let mut wanted: BTreeMap<usize, f64> = BTreeMap::new();
    let mut want = |piece: usize, weight: f64| {
        let w = wanted.entry(piece).or_insert(0.0);
        *w = w.max(weight);
    };
    let top = faults.first().map_or(0.0, |f| f.score);
    for (rank, fault) in faults.iter().enumerate() {
        // a fault that weighs little beside the first gets little room; equals share it
        let weight = 1000.0 * ((fault.score - top) / 22.0).exp() * 0.9_f64.powi(rank as i32);
        want(fault.anchor, weight * 2.0);
        want(fault.spoken, weight * 1.9);
        want(fault.block.message, weight * 1.9);
        if let Some(header) = fault.block.header {
            want(header, weight * 1.8);
        }
        for piece in fault.block.start..fault.block.end {
            let distance = piece.abs_diff(fault.anchor).min(piece.abs_diff(fault.block.message)) as f64;
            want(piece, weight * (1.0 - distance / 100.0).max(0.1));
        }
        // the neighbourhood: what came just before and after
        for d in 1..=15usize {
            let near = weight * 0.35 * 0.85_f64.powi(d as i32);
            if let Some(p) = fault.block.start.checked_sub(d) {
                want(p, near);
            }
            if fault.block.end + d <= log.len() {
                want(fault.block.end + d - 1, near);
            }
        }
    }
    for d in 0..400.min(log.len()) {
        want(log.len() - 1 - d, 30.0 * 0.99_f64.powi(d as i32));
    }
    let mut order: Vec<(usize, f64)> =
        wanted.into_iter().filter(|(p, _)| !log.clean(*p).trim().is_empty()).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let anchors: Vec<usize> = faults.iter().flat_map(|f| [f.anchor, f.spoken, f.block.message]).collect();
    pack(&Page { log, faults, redactor }, &order, &anchors, budget)
}

/// The longest piece of an anchor's line, and of another's.
const ANCHOR_WIDTH: usize = 600;
const LINE_WIDTH: usize = 200;

/// What an excerpt is made of.
struct Page<'a> {
    log: &'a Log,
    faults: &'a [Fault],
    redactor: &'a Redactor,
}

fn pack(page: &Page<'_>, order: &[(usize, f64)], anchors: &[usize], budget: usize) -> Excerpt {
    let log = page.log;
    let mut chosen: BTreeMap<usize, String> = BTreeMap::new();
    // what a gap costs is not known until all are chosen: a line is charged for one, and gets it back when it joins
    let gap = gap_text(log.lines()).chars().count() + 1;
    let mut used = 0;
    let mut misses = 0;
    for (piece, _) in order {
        let width = if anchors.contains(piece) { ANCHOR_WIDTH } else { LINE_WIDTH };
        let text = page.redactor.redact(cut(log, *piece, width.min(budget / 2)), &mut Counts::new());
        let cost = number_text(log.number(*piece)).chars().count() + text.chars().count() + 1;
        let joins = |p: usize| chosen.contains_key(&p);
        let neighbours = usize::from(*piece > 0 && joins(piece - 1)) + usize::from(joins(piece + 1));
        let with_gap = if neighbours == 0 { cost + gap } else { cost };
        let refund = if neighbours == 2 { gap } else { 0 };
        if used + with_gap + gap > budget + refund {
            misses += 1;
            if misses > 40 {
                break;
            }
            continue;
        }
        used = used + with_gap - refund;
        chosen.insert(*piece, text);
    }
    loop {
        let excerpt = render(page, &chosen);
        if excerpt.chars <= budget {
            return excerpt;
        }
        // the estimate was too kind: the least telling line goes
        let Some(last) = order.iter().rev().find(|(p, _)| chosen.contains_key(p)) else { return excerpt };
        chosen.remove(&last.0);
    }
}

fn number_text(number: u64) -> String {
    format!("{number:>5}| ")
}

fn gap_text(lines: u64) -> String {
    format!("  ... {lines} lines left out ...")
}

fn render(page: &Page<'_>, chosen: &BTreeMap<usize, String>) -> Excerpt {
    let log = page.log;
    let mut text = String::new();
    let mut lines = Vec::new();
    let mut next = 1;
    for (piece, line) in chosen {
        let number = log.number(*piece);
        // a gap of blank lines is shorter shown than described
        if let Some(blank) = blanks(log, next, *piece).filter(|_| !lines.is_empty()) {
            for number in blank {
                text.push_str(number_text(number).trim_end());
                text.push('\n');
                lines.push(ExcerptLine { line: number, text: String::new(), role: Role::Context });
            }
        } else if number > next {
            text.push_str(&gap_text(number - next));
            text.push('\n');
        }
        next = number + 1;
        text.push_str(&number_text(number));
        text.push_str(line);
        text.push('\n');
        lines.push(ExcerptLine { line: number, text: line.clone(), role: role(page.faults, *piece) });
    }
    if !chosen.is_empty() && next <= log.lines() {
        text.push_str(&gap_text(log.lines() + 1 - next));
        text.push('\n');
    }
    Excerpt { chars: text.chars().count(), text, lines, log_lines: log.lines(), log_bytes: log.bytes() }
}

/// The lines from `next` to the piece, if they are at most three and blank.
fn blanks(log: &Log, next: u64, piece: usize) -> Option<std::ops::Range<u64>> {
    let number = log.number(piece);
    let gap = number.checked_sub(next).filter(|n| (1..=3).contains(n))?;
    let first = log.index_of(next);
    let blank = (first..piece).all(|i| log.clean(i).trim().is_empty());
    (blank && piece - first == gap as usize).then_some(next..number)
}

fn role(faults: &[Fault], piece: usize) -> Role {
    let Some(first) = faults.first() else { return Role::Context };
    match faults.iter().find(|f| [f.anchor, f.spoken, f.block.message].contains(&piece)) {
        Some(f) if f.score > first.score - 20.0 => Role::Cause,
        Some(_) => Role::Symptom,
        None => Role::Context,
    }
}

/// The cleaned line as it stands in the raw one, at most `width` characters of it.
pub(crate) fn cut(log: &Log, piece: usize, width: usize) -> &str {
    let raw = log.raw(piece);
    let clean = log.clean(piece);
    // cleaned text with escape codes taken out of its middle does not occur in the log: the raw text does
    let text = if raw.contains(clean) { clean } else { raw };
    match text.char_indices().nth(width) {
        Some((i, _)) => &text[..i],
        None => text,
    }
}
