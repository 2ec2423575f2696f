//! `coroner doctor`: what is configured, what is reachable, what is in force; each finding says what to do.

mod alerts;
mod checks;
mod report;

use serde::Serialize;

use crate::args::{DoctorArgs, Format};
use crate::card::wrap::wrap;
use crate::config;
use crate::context::{Context, DONE, Failed, REPORTED};
use crate::printable::printable;
use crate::terminal::Face;
use anstyle::{AnsiColor, Effects, Style};

/// Columns of a check's name.
const NAME: usize = 14;

/// A thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it should be.
    Ok,
    /// Works, and deserves to be known.
    Note,
    /// Does not work.
    Problem,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Ok, detail: detail.into(), advice: None }
    }

    fn note(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, state: State::Note, detail: detail.into(), advice: Some(advice.into()) }
    }

    fn problem(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Problem, detail: detail.into(), advice: None }
    }
}

pub(crate) fn doctor(args: &DoctorArgs, context: &Context) -> Result<u8, Failed> {
    if args.defaults {
        context.print(config::DEFAULTS)?;
        return Ok(DONE);
    }
    let runtime = crate::analyst::runtime()?;
    let (store, mut store_checks) = checks::store(context, args.thorough, &runtime);
    let mut checks = checks::configuration(context);
    checks.append(&mut store_checks);
    checks.extend(report::report(context, args.offline));
    checks.extend(checks::rules(context));
    checks.extend(checks::model(context, store.as_ref(), args.offline, &runtime));
    checks.extend(alerts::alerts(context, store.as_ref(), &runtime));
    checks.extend(checks::traces(context, args.offline));
    checks.extend(checks::run(context));
    checks.extend(checks::sandbox(context));
    checks.push(checks::terminal(context));
    let sound = checks.iter().all(|check| check.state != State::Problem);
    match context.format {
        Format::Json => context.print_json(&serde_json::json!({ "ok": sound, "checks": checks }))?,
        Format::Text => context.print(&text(&checks, context.out()))?,
    }
    Ok(if sound { DONE } else { REPORTED })
}

fn text(checks: &[Check], face: Face) -> String {
    let mut text = String::new();
    for check in checks {
        let (sign, style) = match check.state {
            State::Ok => (face.sign("✓", "ok"), AnsiColor::Green.on_default()),
            State::Note => (face.sign("–", "--"), Style::new()),
            State::Problem => (face.sign("✖", "XX"), AnsiColor::Red.on_default().effects(Effects::BOLD)),
        };
        let indent = sign.chars().count() + 1 + NAME;
        let name = format!("{} {:<NAME$}", face.paint(style, sign), check.name);
        let mut lead = name;
        let advice = check.advice.iter().map(|advice| format!("{} {advice}", face.sign("→", "->")));
        for part in std::iter::once(check.detail.clone()).chain(advice) {
            for row in wrap(&printable(&part, face.unicode), face.width.saturating_sub(indent)) {
                text.push_str(&lead);
                text.push_str(&row);
                text.push('\n');
                lead = " ".repeat(indent);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_read_as_a_list() {
        let checks = [
            Check::ok("configuration", "the defaults; there is no file"),
            Check::note("model", "no key", "set ANTHROPIC_API_KEY"),
            Check::problem("store", "can't open \x1b[31mthe store"),
        ];
        let face = Face { width: 60, unicode: true, colour: false };
        let expected = "✓ configuration the defaults; there is no file\n\
                        – model         no key\n                → set ANTHROPIC_API_KEY\n\
                        ✖ store         can't open the store\n";
        assert_eq!(text(&checks, face), expected);
        let ascii = text(&checks, Face { unicode: false, ..face });
        assert!(ascii.is_ascii() && ascii.starts_with("ok configuration "), "{ascii}");
    }
}
