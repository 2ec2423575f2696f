//! `examine`: everything that can be known without a model, from a capture and the rules.

use std::collections::HashSet;

use crate::capture::Capture;
use crate::diagnose::Settings;
use crate::evidence::{Excerpt, MOST_CITED, cited, cut, excerpt};
use crate::fault::{Fault, faults};
use crate::hang::hang;
use crate::log::Log;
use crate::record::{EvidenceItem, Verdict};
use crate::redact::{Counts, Redactor};
use crate::rules::{About, RuleSet, Strength};
use crate::scan::{scan, shape};
use crate::signature::Signature;
use crate::terms::{Role, Source};
use crate::verdict::{Judged, Placed, judge, of_rule};

/// What the caller's message counts for beside the log: it was picked by somebody who saw the run.
const MESSAGE_BONUS: f64 = 30.0;
/// The longest citation, in characters.
const CITED_WIDTH: usize = 500;

/// A capture looked at: faults, evidence and the verdict of the rules.
#[derive(Debug)]
pub struct Examined<'a> {
    pub(crate) capture: &'a Capture,
    pub(crate) faults: Vec<Fault>,
    pub(crate) redactor: Redactor,
    pub(crate) budget: usize,
    /// The line of the candidate's code that failed, where it is known.
    pub(crate) code_line: Option<u64>,
    /// How precisely the rule that spoke names the failure; `None` where no rule spoke.
    strength: Option<Strength>,
    /// What the rules say.
    pub verdict: Verdict,
    /// Other faults that are not consequences of the first, the weightiest first.
    pub other_faults: Vec<Verdict>,
    /// The lines that prove it, at most five.
    pub evidence: Vec<EvidenceItem>,
    /// The same for failures with the same cause, and what went into it.
    pub signature: Signature,
    /// How many secrets were masked in what is shown, by kind.
    pub redactions: Counts,
}

impl Examined<'_> {
    /// The part of the log that a model would be sent, redacted, at most `budget` characters.
    #[must_use]
    pub fn excerpt(&self, budget: usize) -> Excerpt {
        excerpt(&self.capture.log, &self.faults, &self.redactor, budget)
    }

    /// Does no rule say more than that something failed?
    #[must_use]
    pub fn is_unexplained(&self) -> bool {
        let observed = self.verdict.rule.starts_with("exit.") || self.capture.known().is_some();
        !observed && self.strength.is_none_or(|s| s <= Strength::Generic)
    }

    /// A piece of the quotation that stands letter for letter in that line of the untouched source and is no secret.
    pub(crate) fn citable(&self, source: Source, line: u64, quote: &str) -> Option<String> {
        let raw: Vec<&str> = match source {
            Source::Log => {
                let log = &self.capture.log;
                (log.index_of(line)..log.len())
                    .take_while(|i| log.number(*i) == line)
                    .map(|i| log.raw(i))
                    .collect()
            }
            Source::Error => nth_line(self.capture.error_message.as_deref(), line),
            Source::Code => nth_line(self.capture.code.as_ref().map(|c| c.text.as_str()), line),
        };
        let whole = raw.iter().find(|r| r.contains(quote) && self.redactor.find(r).is_empty()).map(|_| quote);
        let text = whole.or_else(|| raw.first().map(|r| self.redactor.longest_clear(r).trim()))?;
        let end = text.char_indices().nth(CITED_WIDTH).map_or(text.len(), |(i, _)| i);
        (!text.is_empty()).then(|| text[..end].to_owned())
    }
}

fn nth_line(text: Option<&str>, line: u64) -> Vec<&str> {
    text.and_then(|t| t.lines().nth((line as usize).saturating_sub(1))).into_iter().collect()
}

/// Looks at a capture.
#[must_use]
pub fn examine<'a>(capture: &'a Capture, rules: &RuleSet, settings: &Settings) -> Examined<'a> {
    let known: HashSet<u64> =
        capture.baselines.iter().flat_map(|b| (0..b.len()).map(|i| shape(b.clean(i)))).collect();
    let about = About {
        kind: capture.experiment_type.as_deref(),
        code: capture.code.as_ref().map(|c| c.text.as_str()),
    };
    let log_scan = scan(&capture.log, rules, &known, about);
    let log_faults = faults(&capture.log, &log_scan, rules);
    let message = Log::new(capture.error_message.as_deref().unwrap_or("").as_bytes());
    let mut message_faults = faults(&message, &scan(&message, rules, &HashSet::new(), about), rules);
    for fault in &mut message_faults {
        fault.score += MESSAGE_BONUS;
    }
    let mut placed: Vec<Placed<'_>> = message_faults
        .iter()
        .map(|fault| Placed { log: &message, fault, in_error: true })
        .chain(log_faults.iter().map(|fault| Placed { log: &capture.log, fault, in_error: false }))
        .collect();
    placed.sort_by(|a, b| b.fault.score.total_cmp(&a.fault.score));

    let Judged { mut verdict, fault } = judge(capture, &placed, rules);
    let chosen = fault.map(|i| placed[i]);
    let strength = chosen
        .filter(|_| !verdict.rule.starts_with("fallback."))
        .and_then(|p| p.fault.rule)
        .map(|r| rules.at(r).strength);
    let mut other_faults = others(capture, &placed, rules, &verdict, fault);
    let hung = hang(capture);
    let code_line = match &capture.refused {
        Some(refusal) => has_line(capture, refusal.line),
        None => match &hung {
            Some(hang) => has_line(capture, hang.line),
            None => chosen.and_then(|p| code_line(capture, &p)),
        },
    };

    let mut redactions = Counts::new();
    let redactor = &settings.redactor;
    let subject = chosen.map(|p| redactor.redact(p.log.clean(p.fault.spoken), &mut Counts::new()));
    let place =
        chosen.and_then(|p| p.fault.block.frame.as_ref()).map(|f| (f.file.as_str(), f.function.as_deref()));
    let signature = match capture.known() {
        Some(known) => known.signature(),
        None if hung.is_some() => {
            let place = hung.as_ref().map(|h| (h.file.as_str(), Some(h.function.as_str())));
            Signature::new(&verdict.rule, "", place)
        }
        None => Signature::new(&verdict.rule, subject.as_deref().unwrap_or(""), place),
    };
    for v in std::iter::once(&mut verdict).chain(&mut other_faults) {
        v.cause = redactor.redact(&v.cause, &mut redactions);
        v.fix = redactor.redact(&v.fix, &mut redactions);
    }

    let mut evidence = Vec::new();
    let mut cite = |source: Source, line: u64, text: &str, role: Role| {
        for (_, kind) in redactor.find(text) {
            *redactions.entry(kind.to_owned()).or_default() += 1;
        }
        let text = redactor.longest_clear(text).trim();
        if !text.is_empty() && evidence.len() < MOST_CITED {
            evidence.push(EvidenceItem { source, line, text: text.to_owned(), role });
        }
    };
    let from_log = cited(&capture.log, &log_faults, &log_scan.marks);
    if let Some(p) = chosen.filter(|p| p.in_error) {
        cite(Source::Error, p.line(), cut(p.log, p.fault.spoken, CITED_WIDTH), Role::Cause);
    }
    let refused = capture.refused.as_ref().map(|refusal| refusal.message.as_str());
    let mut lines = capture.error_message.as_deref().unwrap_or("").lines().zip(1..);
    if let Some(message) = refused
        && let Some((_, line)) = lines.find(|(text, _)| text.contains(message))
    {
        cite(Source::Error, line, message, Role::Cause);
    }
    if let (Some(line), Some(code)) = (code_line, &capture.code)
        && let Some(text) = code.text.lines().nth(line as usize - 1)
        && from_log.len() < MOST_CITED
    {
        cite(Source::Code, line, text, if refused.is_some() { Role::Cause } else { Role::Context });
    }
    if let Some(hang) = &hung {
        let text = cut(&capture.log, hang.piece, CITED_WIDTH);
        cite(Source::Log, capture.log.number(hang.piece), text, Role::Cause);
    }
    for (piece, role) in from_log {
        if hung.as_ref().is_some_and(|hang| hang.piece == piece) {
            continue;
        }
        cite(Source::Log, capture.log.number(piece), cut(&capture.log, piece, CITED_WIDTH), role);
    }
    Examined {
        capture,
        faults: log_faults,
        redactor: redactor.clone(),
        budget: settings.budget,
        code_line,
        strength,
        verdict,
        other_faults,
        evidence,
        signature,
        redactions,
    }
}

/// The line of the given code that the fault's frame names.
fn code_line(capture: &Capture, placed: &Placed<'_>) -> Option<u64> {
    let code = capture.code.as_ref()?;
    let base = |p: &str| p.rsplit(['/', '\\']).next().map(str::to_owned);
    let line = match &placed.fault.block.frame {
        Some(frame) => {
            let same = code.name.as_deref().is_none_or(|name| base(name) == base(&frame.file));
            same.then_some(frame.line)?
        }
        // "Syntax error on line 3: ..."
        None => {
            let text = placed.text();
            let rest = &text[text.find("line ")? + 5..];
            rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()?
        }
    };
    has_line(capture, line)
}

/// The line, if the code has it.
fn has_line(capture: &Capture, line: u64) -> Option<u64> {
    let lines = capture.code.as_ref()?.text.lines().count() as u64;
    (1..=lines).contains(&line).then_some(line)
}

/// Faults of other rules that weigh nearly as much, at most three.
fn others(
    capture: &Capture,
    placed: &[Placed<'_>],
    rules: &RuleSet,
    verdict: &Verdict,
    chosen: Option<usize>,
) -> Vec<Verdict> {
    let Some(top) = chosen.map(|i| placed[i].fault.score) else { return Vec::new() };
    let mut found: Vec<Verdict> = Vec::new();
    for p in placed.iter().filter(|p| !p.in_error && !p.fault.repeat && p.fault.score > top - 25.0) {
        let Some(other) = of_rule(p, rules, capture) else { continue };
        if other.rule != verdict.rule
            && other.category != verdict.category
            && found.iter().all(|f| f.rule != other.rule)
        {
            found.push(other);
        }
        if found.len() == 3 {
            break;
        }
    }
    found
}
