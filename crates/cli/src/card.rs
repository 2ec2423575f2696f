//! The terminal card: a diagnosis in some ten lines, of which the first alone does for somebody who greps.

pub(crate) mod wrap;

use anstyle::{Ansi256Color, AnsiColor, Effects, Style};
use coroner_diagnosis::{
    Diagnosis, End, EvidenceItem, Exit, FailureKind, Provenance, Role, Said, Severity, Source, seconds,
    signal_name,
};
use unicode_width::UnicodeWidthStr;

use crate::printable::printable;
use crate::quantities::{counted, thousands};
use crate::terminal::Face;
use wrap::{at_most, fit, wrap};

const DIM: Style = Style::new().effects(Effects::DIMMED);
const BOLD: Style = Style::new().effects(Effects::BOLD);
/// Columns of "Before" and its fellows.
const LABEL: usize = 8;

/// What is known beside the diagnosis.
#[derive(Debug, Default)]
pub(crate) struct Facts<'a> {
    /// What to call the experiment, where that is not its id: "exp 1432".
    pub(crate) name: Option<&'a str>,
    /// What was run: "train.py".
    pub(crate) subject: Option<&'a str>,
    pub(crate) exit: Option<&'a Exit>,
    pub(crate) log_lines: Option<u64>,
    /// Earlier failures with the same signature.
    pub(crate) alike: Option<u64>,
    /// Where there is more: "coroner show 1432", an address.
    pub(crate) more: &'a [String],
    /// Show everything, not only what fits on a card.
    pub(crate) whole: bool,
}

/// The card, each line ended by "\n".
pub(crate) fn card(diagnosis: &Diagnosis, facts: &Facts<'_>, face: Face) -> String {
    let mut card = Card { face, out: String::new() };
    card.head(diagnosis, facts);
    let (prose, lines, others) = if facts.whole { (usize::MAX, usize::MAX, usize::MAX) } else { (4, 3, 1) };
    for row in at_most(wrap(&card.clean(&diagnosis.root_cause), face.width - 2), prose, card.ellipsis()) {
        card.row(&format!("  {}", face.paint(BOLD, &row)));
    }
    card.evidence(&diagnosis.evidence, facts, lines);
    card.labelled("Fix", &diagnosis.fix_suggestion, prose);
    for other in diagnosis.other_faults.iter().take(others) {
        card.labelled("Also", &other.cause, prose.min(2));
    }
    card.labelled("Sandbox", &sandbox(diagnosis), prose.min(2));
    card.labelled("Before", &before(diagnosis, facts), prose.min(2));
    card.labelled("Why", &why(diagnosis, facts, face), prose);
    card.out
}

struct Card {
    face: Face,
    out: String,
}

impl Card {
    fn row(&mut self, text: &str) {
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn clean(&self, text: &str) -> String {
        printable(text.trim(), self.face.unicode)
    }

    fn ellipsis(&self) -> &'static str {
        self.face.sign("…", "...")
    }

    fn head(&mut self, diagnosis: &Diagnosis, facts: &Facts<'_>) {
        let face = self.face;
        let dot = face.sign(" · ", " | ");
        let severity = style_of(diagnosis.severity);
        let left =
            [diagnosis.failure_category.as_str(), diagnosis.severity.as_str(), diagnosis.origin.as_str()];
        let plain = format!("{} {}", face.sign("✖", "x"), left.join(dot));
        let painted = [
            face.paint(severity.bold(), &format!("{} {}", face.sign("✖", "x"), left[0])),
            face.paint(severity.bold(), left[1]),
            left[2].to_owned(),
        ]
        .join(dot);
        let id = self.clean(facts.name.unwrap_or(&diagnosis.experiment_id));
        let id =
            if !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) { format!("exp {id}") } else { id };
        let subject = facts.subject.map(|subject| self.clean(subject)).unwrap_or_default();
        let right = [id, subject, facts.exit.map(ended).unwrap_or_default()];
        let right =
            right.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(dot);
        if right.is_empty() {
            self.row(&painted);
        } else if plain.width() + 5 + right.width() <= face.width {
            self.row(&format!("{painted}     {}", face.paint(DIM, &right)));
        } else {
            self.row(&painted);
            for row in wrap(&right, face.width - 2) {
                self.row(&format!("  {}", face.paint(DIM, &row)));
            }
        }
    }

    /// The lines that prove it, by source, numbered as in the untouched source.
    fn evidence(&mut self, evidence: &[EvidenceItem], facts: &Facts<'_>, most: usize) {
        let face = self.face;
        let shown = &evidence[..evidence.len().min(most)];
        if shown.is_empty() {
            match facts.log_lines {
                Some(0) => self.labelled("Log", "empty: it printed nothing", 1),
                Some(n) => self.labelled("Log", &counted(n, "line", "lines"), 1),
                None => {}
            }
            return;
        }
        let mut sources: Vec<Source> = Vec::new();
        for item in shown {
            if !sources.contains(&item.source) {
                sources.push(item.source);
            }
        }
        let digits = shown.iter().map(|item| thousands(item.line).len()).max().unwrap_or(1);
        let bar = face.paint(DIM, face.sign("│", "|"));
        for (i, source) in sources.iter().enumerate() {
            let corner = if i == 0 { face.sign("┌", "+") } else { face.sign("├", "+") };
            self.row(&face.paint(DIM, &format!("  {corner} {source}")).to_string());
            for item in shown.iter().filter(|item| item.source == *source) {
                let room = face.width.saturating_sub(4 + digits + 2);
                let text = fit(&printable(&item.text, face.unicode), room, self.ellipsis());
                let text = if item.role == Role::Context { face.paint(DIM, &text) } else { text };
                let number = face.paint(DIM, &format!("{:>digits$}", thousands(item.line)));
                self.row(format!("  {bar} {number}  {text}").trim_end());
            }
        }
        let in_log = shown.iter().filter(|item| item.source == Source::Log).count() as u64;
        let foot = facts.log_lines.map_or_else(String::new, |lines| {
            format!(" {}, {} shown", counted(lines, "line", "lines"), thousands(in_log))
        });
        self.row(&face.paint(DIM, &format!("  {}{foot}", face.sign("└", "+"))));
    }

    fn labelled(&mut self, label: &str, text: &str, most: usize) {
        let face = self.face;
        let rows = at_most(wrap(&self.clean(text), face.width - 2 - LABEL), most, self.ellipsis());
        for (i, row) in rows.iter().enumerate() {
            let label = if i == 0 { face.paint(DIM, &format!("{label:<LABEL$}")) } else { " ".repeat(LABEL) };
            self.row(&format!("  {label}{row}"));
        }
    }
}

/// The hue of a severity; colour means nothing else.
pub(crate) fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::Critical => AnsiColor::Red.on_default(),
        Severity::High => Ansi256Color(208).on_default(),
        Severity::Medium => AnsiColor::Yellow.on_default(),
        Severity::Low => AnsiColor::BrightBlack.on_default(),
    }
}

/// "exit status 1 after 42 min".
pub(crate) fn ended(exit: &Exit) -> String {
    let after = seconds(exit.wall);
    match &exit.end {
        End::Signaled { signal } => format!("killed by {} after {after}", signal_name(*signal)),
        End::TimedOut { .. } | End::NotStarted { .. } => exit.end.to_string(),
        end => format!("{end} after {after}"),
    }
}

/// What the sandbox has to say for itself: nothing, if there was none.
fn sandbox(diagnosis: &Diagnosis) -> String {
    let Some(sandbox) = &diagnosis.sandbox else { return String::new() };
    let mut said = vec![format!("level {}", sandbox.level)];
    let most = sandbox.denied.iter().take(3).map(|denied| {
        let times =
            if denied.count > 1 { format!(" ({} times)", thousands(denied.count)) } else { String::new() };
        format!("{} {}", denied.call, denied.detail).trim_end().to_owned() + &times
    });
    let mut refused = most.collect::<Vec<_>>().join(", ");
    if let Some(more) = sandbox.denied.len().checked_sub(3).filter(|more| *more > 0) {
        refused.push_str(&format!(" and {more} more"));
    }
    if !refused.is_empty() {
        said.push(format!("refused: {refused}"));
    }
    if sandbox.output_dropped > 0 {
        said.push(format!("{} of output left out", coroner_diagnosis::bytes(sandbox.output_dropped)));
    }
    if sandbox.survivors > 0 {
        let left = counted(sandbox.survivors.into(), "process", "processes");
        said.push(format!("{left} left behind and killed"));
    }
    said.join("; ")
}

fn before(diagnosis: &Diagnosis, facts: &Facts<'_>) -> String {
    let alike = facts.alike.filter(|n| *n > 0).map(|n| format!("{} like it", thousands(n)));
    let fixed = diagnosis.similar.iter().find_map(|similar| similar.fix.clone());
    [alike, fixed].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Who said so, how sure that is, and where there is more.
fn why(diagnosis: &Diagnosis, facts: &Facts<'_>, face: Face) -> String {
    let dot = face.sign(" · ", " | ");
    let Provenance { source, model, model_failure, .. } = &diagnosis.provenance;
    let rule = format!("rule {} ({:.2})", diagnosis.verdict.rule, diagnosis.verdict.confidence);
    let mut who = match source {
        Said::Rule => rule,
        Said::Human => "a person".to_owned(),
        Said::Model | Said::Cache => {
            let model = model.as_deref().unwrap_or("a model");
            let agrees = diagnosis.verdict.category == diagnosis.failure_category;
            let said = if agrees { String::new() } else { format!(", said {}", diagnosis.verdict.category) };
            format!("{model} ({:.2}); {rule}{said}", diagnosis.confidence)
        }
    };
    // no key and switched off are settings, not events: saying so each time would be noise
    if let Some(failure) = model_failure
        && !matches!(failure.kind, FailureKind::NoKey | FailureKind::Disabled)
    {
        who.push_str("; no model: ");
        who.push_str(&failure.detail);
    }
    let more = facts.more.iter().map(String::as_str);
    std::iter::once(who.as_str()).chain(more).collect::<Vec<_>>().join(dot)
}

#[cfg(test)]
mod tests;
