//! `examine`: everything that can be known without a model, from a capture and the rules.

use std::collections::HashSet;

use crate::capture::Capture;
use crate::evidence::{Excerpt, cited, cut, excerpt};
use crate::fault::{Fault, faults};
use crate::log::Log;
use crate::record::{EvidenceItem, Verdict};
use crate::rules::RuleSet;
use crate::scan::{scan, shape};
use crate::terms::Source;
use crate::verdict::{Judged, Placed, judge, of_rule};

/// What the caller's message counts for beside the log: it was picked by somebody who saw the run.
const MESSAGE_BONUS: f64 = 30.0;

/// A capture looked at: faults, evidence and the verdict of the rules.
#[derive(Debug)]
pub struct Examined<'a> {
    pub(crate) capture: &'a Capture,
    pub(crate) faults: Vec<Fault>,
    /// What the rules say.
    pub verdict: Verdict,
    /// Other faults that are not consequences of the first, the weightiest first.
    pub other_faults: Vec<Verdict>,
    /// The lines that prove it, at most five.
    pub evidence: Vec<EvidenceItem>,
}

impl Examined<'_> {
    /// The part of the log that a model would be sent, at most `budget` characters.
    #[must_use]
    pub fn excerpt(&self, budget: usize) -> Excerpt {
        excerpt(&self.capture.log, &self.faults, budget)
    }
}

/// Looks at a capture.
#[must_use]
pub fn examine<'a>(capture: &'a Capture, rules: &RuleSet) -> Examined<'a> {
    let known: HashSet<u64> =
        capture.baselines.iter().flat_map(|b| (0..b.len()).map(|i| shape(b.clean(i)))).collect();
    let log_scan = scan(&capture.log, rules, &known);
    let log_faults = faults(&capture.log, &log_scan, rules);
    let message = Log::new(capture.error_message.as_deref().unwrap_or("").as_bytes());
    let mut message_faults = faults(&message, &scan(&message, rules, &HashSet::new()), rules);
    for fault in &mut message_faults {
        fault.score += MESSAGE_BONUS;
    }
    let mut placed: Vec<Placed<'_>> = message_faults
        .iter()
        .map(|fault| Placed { log: &message, fault, in_error: true })
        .chain(log_faults.iter().map(|fault| Placed { log: &capture.log, fault, in_error: false }))
        .collect();
    placed.sort_by(|a, b| b.fault.score.total_cmp(&a.fault.score));
    let Judged { verdict, fault } = judge(capture, &placed, rules);
    let other_faults = others(capture, &placed, rules, &verdict, fault);
    let mut evidence = Vec::new();
    for (piece, role) in cited(&capture.log, &log_faults, &log_scan.marks) {
        evidence.push(EvidenceItem {
            source: Source::Log,
            line: capture.log.number(piece),
            text: cut(&capture.log, piece, 500).trim().to_owned(),
            role,
        });
    }
    Examined { capture, faults: log_faults, verdict, other_faults, evidence }
}

/// Faults of other rules that weigh nearly as much, at most three.
fn others(capture: &Capture, placed: &[Placed<'_>], rules: &RuleSet, verdict: &Verdict, chosen: Option<usize>) -> Vec<Verdict> {
    let Some(top) = chosen.map(|i| placed[i].fault.score) else { return Vec::new() };
    let mut found: Vec<Verdict> = Vec::new();
    for p in placed.iter().filter(|p| !p.in_error && !p.fault.repeat && p.fault.score > top - 25.0) {
        let Some(other) = of_rule(p, rules, capture) else { continue };
        if other.rule != verdict.rule && other.category != verdict.category && found.iter().all(|f| f.rule != other.rule) {
            found.push(other);
        }
        if found.len() == 3 {
            break;
        }
    }
    found
}

impl Examined<'_> {
    /// scratch
    pub fn debug(&self) -> String {
        self.faults.iter().take(14).map(|f| format!("{:.0} line {} block {}..{} hdr {:?} msg {} rule {:?} {:?} {}\n", f.score, self.capture.log.number(f.anchor), self.capture.log.number(f.block.start), self.capture.log.number(f.block.end-1), f.block.header.map(|h|self.capture.log.number(h)), self.capture.log.number(f.block.message), f.rule, f.signal, self.capture.log.clean(f.anchor).chars().take(110).collect::<String>())).collect()
    }
}
