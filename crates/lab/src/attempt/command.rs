//! A candidate that is run as a program, and says its own metrics: the last line of its output that is a JSON object. They
//! are as trustworthy as the candidate.

use std::ffi::OsString;

use coroner_diagnosis::HarnessFault;

use super::across::{PLACE, Process, environment, file};
use super::{Metrics, of_sandbox};
use crate::sandbox::{Plan, Sandbox, Shown, Stop};
use crate::task::{CommandEvaluator, Ground, Task};

/// Runs it to its end.
pub(super) fn run(
    task: &Task,
    evaluator: &CommandEvaluator,
    ground: &Ground,
    sandbox: &Sandbox,
    held_out: bool,
    code: &[u8],
    stop: &Stop,
) -> Result<Process, HarnessFault> {
    let mut shown = ground.shown();
    shown.push(file(&evaluator.candidate, code));
    let inputs = if held_out { &ground.held_out } else { &ground.inputs };
    if let Some(from) = inputs {
        shown.push(Shown::Host { from: from.clone(), to: format!("{PLACE}/inputs").into() });
    }
    let plan = Plan {
        command: evaluator.command.iter().map(|word| resolved(word, evaluator, ground)).collect(),
        env: environment(),
        cwd: "{root}/work".into(),
        shown,
        channels: Vec::new(),
        forks: evaluator.forks,
        limits: task.limits.clone(),
        at_least: task.level,
    };
    let mut log = Vec::new();
    let report = sandbox.run(plan, stop, &mut log).map_err(|error| of_sandbox(&error))?;
    Ok(Process { name: "candidate".to_owned(), report, log })
}

/// A word of the command, with the places filled in.
fn resolved(word: &str, evaluator: &CommandEvaluator, ground: &Ground) -> OsString {
    let candidate = format!("{{root}}{PLACE}/{}", evaluator.candidate);
    if word == evaluator.candidate {
        return candidate.into();
    }
    if let (true, Some(interpreter)) = (matches!(word, "python3" | "python"), &ground.interpreter) {
        return interpreter.into();
    }
    word.replace("{candidate}", &candidate).replace("{inputs}", &format!("{{root}}{PLACE}/inputs")).into()
}

/// The last line that is a JSON object with a number in it.
pub(super) fn metrics(log: &[u8]) -> Option<Metrics> {
    let text = String::from_utf8_lossy(log);
    text.lines().rev().find_map(|line| {
        let line = line.trim();
        if !(line.starts_with('{') && line.ends_with('}')) {
            return None;
        }
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line)
            .or_else(|_| serde_json::from_str(&with_quoted_infinities(line)))
            .ok()?;
        let metrics: Metrics =
            object.into_iter().filter_map(|(name, value)| Some((name, number(&value)?))).collect();
        (!metrics.is_empty()).then_some(metrics)
    })
}

fn number(value: &serde_json::Value) -> Option<f64> {
    match value {
        serde_json::Value::Number(number) => number.as_f64(),
        serde_json::Value::String(text) if text.starts_with('\u{1}') => text[1..].parse().ok(),
        _ => None,
    }
}

/// Python writes NaN and Infinity, which JSON does not have: outside of strings they become strings that nobody else
/// writes.
fn with_quoted_infinities(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for (i, piece) in outside_and_inside(line).enumerate() {
        match i % 2 {
            0 => out.push_str(
                &piece
                    .replace("-Infinity", "\"\\u0001-inf\"")
                    .replace("Infinity", "\"\\u0001inf\"")
                    .replace("NaN", "\"\\u0001NaN\""),
            ),
            _ => out.push_str(piece),
        }
    }
    out
}

/// The pieces of a line of JSON, in turns: what stands outside of strings, and a string with its quotation marks.
fn outside_and_inside(line: &str) -> impl Iterator<Item = &str> {
    let (mut from, mut inside, mut escaped) = (0, false, false);
    let mut cuts: Vec<&str> = Vec::new();
    for (at, byte) in line.bytes().enumerate() {
        let (was_escaped, was_inside) = (std::mem::take(&mut escaped), inside);
        match byte {
            b'\\' if was_inside && !was_escaped => escaped = true,
            b'"' if !was_escaped => {
                inside = !was_inside;
                let end = if was_inside { at + 1 } else { at };
                cuts.push(&line[from..end]);
                from = end;
            }
            _ => {}
        }
    }
    cuts.push(&line[from..]);
    cuts.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_object_with_numbers_counts() {
        let found =
            metrics(b"step 1\n{\"score\": 1}\n{\"score\": 0.5, \"name\": \"x\"}\n{}\ndone\n").unwrap();
        assert_eq!(found, Metrics::from([("score".to_owned(), 0.5)]));
        let found = metrics(b"{\"a\": NaN, \"b\": -Infinity, \"c\": Infinity, \"d\": \"NaN\"}").unwrap();
        assert!(found["a"].is_nan() && found["b"] == f64::NEG_INFINITY && found["c"] == f64::INFINITY);
        assert!(!found.contains_key("d"));
        for none in [&b""[..], b"score 1", b"[1]", b"{\"a\": \"1\"}", b"{\"a\": 1", b"\xff{}"] {
            assert_eq!(metrics(none), None);
        }
    }
}
