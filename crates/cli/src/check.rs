//! `coroner check`: what the policy says of a candidate, before it runs.

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use anstyle::{Effects, Style};
use anyhow::Context as _;
use coroner_diagnosis::{Code, Diagnosis};
use coroner_lab::screen::{Finding, Function, LARGEST_SOURCE, Policy, PythonVersion, Screening, screen};
use coroner_lab::task::Task;
use serde_json::json;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::analyst::{Analyst, runtime};
use crate::args::{CheckArgs, Format};
use crate::card::style_of;
use crate::card::wrap::wrap;
use crate::context::{Context, DONE, Failed, REPORTED};
use crate::printable::printable;
use crate::quantities::counted;
use crate::terminal::Face;

const DIM: Style = Style::new().effects(Effects::DIMMED);
const BOLD: Style = Style::new().effects(Effects::BOLD);

pub(crate) fn check(context: &Context, args: &CheckArgs) -> Result<u8, Failed> {
    let task = args.task.as_deref().map(Task::load).transpose().map_err(anyhow::Error::from)?;
    let policy = match &task {
        Some(task) => task.screening_policy().map_err(anyhow::Error::from)?,
        None => policy(args.policy.as_deref())?,
    };
    let Some(path) = args.candidate.as_deref().filter(|_| !args.show_policy) else {
        let own = args.policy.is_some() || task.is_some();
        return show_policy(context, own.then_some(&policy));
    };
    let (name, source) = read(path)?;
    let python = args.python.or_else(|| python(context)).unwrap_or_default();
    let mut screening = screen(&source, &policy, python);
    for point in task.iter().flat_map(|task| &task.entry_points) {
        if let Some(wanted) = Function::wanted(&point.name, &point.signature) {
            screening.require(&wanted);
        }
    }
    let text = String::from_utf8_lossy(&source);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let code = Code { name: Some(name.clone()), text: text.to_owned() };
    let diagnosis = match screening.capture(code) {
        // rules of nobody else speak here, so nobody is asked and nothing is looked up
        Some(capture) => Some(Analyst::new(context, true, None, runtime()?)?.diagnose(&capture)),
        None => None,
    };
    match context.format {
        Format::Json => context.print_json(&json!({
            "candidate": name,
            "refused": screening.is_refused(),
            "python": python,
            "screening": screening,
            "diagnosis": diagnosis,
        }))?,
        Format::Text => {
            let page = Page { face: context.out(), name: &name, source: text, python };
            context.print(&page.write(&screening, diagnosis.as_ref()))?;
        }
    }
    Ok(if screening.is_refused() { REPORTED } else { DONE })
}

/// The policy of a file, or the built-in one.
pub(crate) fn policy(path: Option<&Path>) -> Result<Policy, Failed> {
    let Some(path) = path else { return Ok(Policy::default()) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read the policy {name}"))?;
    Ok(Policy::parse(&text, &name).map_err(anyhow::Error::from)?)
}

/// The built-in policy as it is written, with its comments; another as it came out.
fn show_policy(context: &Context, other: Option<&Policy>) -> Result<u8, Failed> {
    match (context.format, other) {
        (Format::Json, other) => {
            let policy = other.cloned().unwrap_or_default();
            let value: toml::Value = toml::from_str(&policy.to_toml()).map_err(anyhow::Error::from)?;
            context.print_json(&value)?;
        }
        (Format::Text, None) => context.print(Policy::DEFAULT)?,
        (Format::Text, Some(policy)) => context.print(&policy.to_toml())?,
    }
    Ok(DONE)
}

/// No more of it than is needed to see that it is too large.
pub(crate) fn read(path: &Path) -> Result<(String, Vec<u8>), Failed> {
    let mut bytes = Vec::new();
    let most = LARGEST_SOURCE as u64 + 1;
    if path == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes).context("can't read standard input")?;
        return Ok(("standard input".to_owned(), bytes));
    }
    let name = path.display().to_string();
    let file = std::fs::File::open(path).with_context(|| format!("can't read the candidate {name}"))?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(anyhow::anyhow!("{name} is a folder: name the candidate's source file").into());
    }
    file.take(most).read_to_end(&mut bytes).with_context(|| format!("can't read the candidate {name}"))?;
    Ok((name, bytes))
}

/// What `python3` here says it is. It runs no line of anybody's code: isolated, without site, only its version.
fn python(context: &Context) -> Option<PythonVersion> {
    let mut command = Command::new("python3");
    command.args(["-I", "-S", "-V"]).env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    if let Some(path) = context.env.get("PATH") {
        command.env("PATH", path);
    }
    let output = command.output().ok()?;
    String::from_utf8_lossy(&output.stdout).parse().ok()
}

/// What is shown of a screening.
struct Page<'a> {
    face: Face,
    name: &'a str,
    source: &'a str,
    python: PythonVersion,
}

/// Columns of "Policy" and its fellows.
const LABEL: usize = 8;

impl Page<'_> {
    fn write(&self, screening: &Screening, diagnosis: Option<&Diagnosis>) -> String {
        let mut out = self.head(screening, diagnosis);
        for finding in &screening.findings {
            out.push('\n');
            out.push_str(&self.finding(finding, screening, false));
        }
        for note in &screening.notes {
            out.push('\n');
            out.push_str(&self.finding(note, screening, true));
        }
        out
    }

    /// The line that does for somebody who greps.
    fn head(&self, screening: &Screening, diagnosis: Option<&Diagnosis>) -> String {
        let face = self.face;
        let dot = face.sign(" · ", " | ");
        let name = printable(self.name, face.unicode);
        let Some(diagnosis) = diagnosis else {
            let functions = counted(screening.functions.len() as u64, "function", "functions");
            let facts = [
                name,
                screening.unscreened.as_ref().map_or("nothing refused".to_owned(), |why| {
                    format!("not screened ({why}): Python has the next word")
                }),
                format!("{}, {functions}", counted(screening.lines, "line", "lines")),
                format!("{} policy, Python {}", screening.policy, self.python),
            ];
            return format!("{} {}\n", face.sign("✓", "ok"), facts.join(dot));
        };
        let style = style_of(diagnosis.severity).bold();
        let sign = face.sign("✖", "x");
        let refusals = counted(screening.findings.len() as u64, "refusal", "refusals");
        format!(
            "{} {}{dot}{}{dot}{}     {}\n",
            face.paint(style, sign),
            face.paint(style, diagnosis.failure_category.as_str()),
            face.paint(style, diagnosis.severity.as_str()),
            diagnosis.origin,
            face.paint(DIM, &format!("{name}{dot}{refusals}"))
        )
    }

    fn finding(&self, finding: &Finding, screening: &Screening, is_note: bool) -> String {
        let face = self.face;
        let mut out = String::new();
        let place = format!("{}:{}", finding.line, finding.column);
        let message = printable(&finding.message, face.unicode);
        // writing to a String can't fail
        _ = writeln!(out, "  {}  {}", face.paint(DIM, &place), face.paint(BOLD, &message));
        if let Some(line) =
            self.source.lines().nth(finding.line as usize - 1).filter(|_| !finding.text.is_empty())
        {
            out.push_str(&self.excerpt(finding, line));
        }
        let rule =
            if is_note { "noted, not refused".to_owned() } else { rule_of(finding, &screening.policy) };
        let mut labelled = |label: &str, text: &str| {
            let rows = wrap(&printable(text, face.unicode), face.width.saturating_sub(2 + LABEL));
            for (i, row) in rows.iter().enumerate() {
                let label =
                    if i == 0 { face.paint(DIM, &format!("{label:<LABEL$}")) } else { " ".repeat(LABEL) };
                _ = writeln!(out, "  {label}{row}");
            }
        };
        labelled("Why", &finding.why);
        if let Some(suspect) = &finding.suspect {
            labelled("Policy", &format!("Looks like a fault of the policy: {suspect}."));
        }
        labelled("Fix", &finding.fix(&screening.policy));
        labelled("Rule", &rule);
        out
    }

    /// The line of the source with a caret under what is meant.
    fn excerpt(&self, finding: &Finding, line: &str) -> String {
        let face = self.face;
        let number = finding.line.to_string();
        let room = face.width.saturating_sub(number.len() + 8);
        let skipped = finding.column as usize - 1;
        let offset = line.char_indices().nth(skipped).map_or(line.len(), |(i, _)| i);
        // a long line is shown from a little before the place
        let mut from = 0;
        if line[..offset].width() + finding.text.width() > room {
            let mut before = 0;
            for (i, c) in line[..offset].char_indices().rev() {
                before += c.width().unwrap_or(0);
                if before > room / 3 {
                    break;
                }
                from = i;
            }
        }
        let cut = |text: &str, room: usize| {
            let mut used = 0;
            let end = text.char_indices().find(|(_, c)| {
                used += c.width().unwrap_or(0);
                used > room
            });
            end.map_or(text.len(), |(i, _)| i)
        };
        let shown = &line[from..];
        let end = cut(shown, room);
        let (left, right) = (
            if from > 0 { face.sign("…", "...") } else { "" },
            if end < shown.len() { face.sign("…", "...") } else { "" },
        );
        let before = printable(&line[from..offset], face.unicode);
        let marked = printable(&finding.text, face.unicode).width().max(1);
        let carets = "^".repeat(marked.min(room.saturating_sub(before.width()).max(1)));
        let bar = face.paint(DIM, face.sign("│", "|"));
        format!(
            "  {} {bar} {left}{}{right}\n  {} {bar} {}{carets}\n",
            face.paint(DIM, &number),
            printable(&shown[..end], face.unicode),
            " ".repeat(number.len()),
            " ".repeat(left.width() + before.width()),
        )
    }
}

/// "system, of the built-in policy".
fn rule_of(finding: &Finding, policy: &str) -> String {
    match finding.rule.as_str() {
        "syntax" => "syntax: Python's own".to_owned(),
        rule @ ("source" | "entry-point") => format!("{rule}: of coroner itself"),
        rule if policy == "built-in" => format!("{rule}, of the built-in policy"),
        rule => format!("{rule}, of {policy}"),
    }
}
