//! A model's answer, read and checked: the words against the contract, every quotation against the lines that were
//! shown, by code and never by a second model.

use serde::Deserialize;

use crate::prompt::Shown;
use crate::record::{EvidenceItem, FailureKind, ModelFailure, Opinion};
use crate::terms::{Category, Origin, Role, Severity, Source};

/// An answer longer than this is not one.
const MOST_BYTES: usize = 64 << 10;
/// Sentences are cut here.
const MOST_CHARS: usize = 900;
/// A shorter quotation proves nothing.
const SHORTEST_QUOTE: usize = 4;

#[derive(Deserialize)]
struct Answer {
    failure_category: Category,
    severity: Severity,
    origin: Origin,
    root_cause: String,
    fix_suggestion: String,
    confidence: f64,
    #[serde(default)]
    retryable: bool,
    evidence: Vec<Quote>,
}

#[derive(Deserialize)]
struct Quote {
    source: Source,
    line: u64,
    quote: String,
}

/// The opinion in `text`, if it can be read and what it quotes was shown.
pub(crate) fn read(
    text: &str,
    shown: &[Shown],
    clear: impl Fn(Source, u64, &str) -> Option<String>,
) -> Result<Opinion, ModelFailure> {
    if text.len() > MOST_BYTES {
        return Err(unreadable(format!(
            "the answer has {} bytes, more than any answer to this question",
            text.len()
        )));
    }
    let json = unfenced(text);
    if json.is_empty() {
        return Err(unreadable("the answer is empty".into()));
    }
    let answer: Answer = serde_json::from_str(json).map_err(|e| {
        unreadable(format!(
            "the answer is not the JSON that was asked for: {}",
            e.to_string().chars().take(160).collect::<String>()
        ))
    })?;
    if answer.root_cause.trim().is_empty() || answer.fix_suggestion.trim().is_empty() {
        return Err(unreadable("the answer leaves the cause or the fix empty".into()));
    }
    if !(0.0..=1.0).contains(&answer.confidence) {
        return Err(unreadable(format!(
            "the answer's confidence is {}, not between 0 and 1",
            answer.confidence
        )));
    }
    if answer.evidence.is_empty() {
        return Err(ungrounded("the answer quotes nothing".into()));
    }
    let mut evidence = Vec::new();
    for quote in &answer.evidence {
        let (line, text) = ground(quote, shown)?;
        if let Some(text) = clear(quote.source, line, &text)
            && evidence.len() < crate::evidence::MOST_CITED
        {
            evidence.push(EvidenceItem { source: quote.source, line, text, role: Role::Cause });
        }
    }
    Ok(Opinion {
        category: answer.failure_category,
        severity: answer.severity,
        origin: answer.origin,
        root_cause: plain(&answer.root_cause),
        fix_suggestion: plain(&answer.fix_suggestion),
        confidence: answer.confidence,
        retryable: answer.retryable,
        evidence,
    })
}

/// The line that holds the quotation, in the source that it names: at the line it names, or else the nearest one.
fn ground(quote: &Quote, shown: &[Shown]) -> Result<(u64, String), ModelFailure> {
    let wanted = squeezed(&quote.quote);
    if wanted.chars().count() < SHORTEST_QUOTE {
        return Err(ungrounded("a quotation is too short to prove anything".into()));
    }
    let holds = |s: &&Shown| squeezed(&s.text).contains(&wanted);
    let found = shown
        .iter()
        .filter(|s| s.source == quote.source)
        .filter(holds)
        .min_by_key(|s| s.line.abs_diff(quote.line));
    if let Some(found) = found {
        return Ok((found.line, quote.quote.trim().to_owned()));
    }
    let short: String = quote.quote.chars().take(80).collect();
    Err(ungrounded(match shown.iter().find(holds) {
        Some(other) => {
            format!("the answer quotes as {} what stands in the {}: {short:?}", quote.source, other.source)
        }
        None => format!("the answer quotes what does not stand in the {}: {short:?}", quote.source),
    }))
}

/// The JSON in an answer that may be wrapped in a Markdown fence.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let Some(rest) = text.strip_prefix("```") else { return text };
    let rest = rest.split_once('\n').map_or("", |(_, r)| r);
    rest.trim_end().strip_suffix("```").unwrap_or(rest).trim()
}

fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One paragraph without control characters: it will stand in terminals, pages and mails.
fn plain(text: &str) -> String {
    let text = squeezed(&crate::clean::without_escapes(&text.replace(['\n', '\r'], " ")));
    text.chars().filter(|c| !c.is_control()).take(MOST_CHARS).collect()
}

fn unreadable(detail: String) -> ModelFailure {
    ModelFailure { kind: FailureKind::Unreadable, detail }
}

fn ungrounded(detail: String) -> ModelFailure {
    ModelFailure { kind: FailureKind::Ungrounded, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown() -> Vec<Shown> {
        let line = |source, line, text: &str| Shown { source, line, text: text.into() };
        vec![
            line(Source::Log, 7, "  File \"a.py\", line 3, in f"),
            line(Source::Log, 9, "ValueError: bad  shape (3, 4)"),
            line(Source::Code, 3, "    raise ValueError(f'bad shape {s}')"),
        ]
    }

    fn answer(change: impl Fn(&mut serde_json::Value)) -> String {
        let mut v = serde_json::json!({
            "failure_category": "runtime_error", "severity": "high", "origin": "candidate", "root_cause": "a\u{1b}[31m bad\nshape",
            "fix_suggestion": "reshape", "confidence": 0.8, "retryable": false,
            "evidence": [{"source": "log", "line": 9, "quote": "ValueError: bad shape"}]
        });
        change(&mut v);
        v.to_string()
    }

    fn judge(text: &str) -> Result<Opinion, (FailureKind, String)> {
        read(text, &shown(), |_, _, q| Some(q.to_owned())).map_err(|f| (f.kind, f.detail))
    }

    #[test]
    fn a_sound_answer_is_taken() {
        let plain = judge(&answer(|_| {})).unwrap();
        assert_eq!(plain.root_cause, "a bad shape");
        assert_eq!((plain.evidence[0].line, plain.evidence[0].source), (9, Source::Log));
        assert!(judge(&format!("```json\n{}\n```", answer(|_| {}))).is_ok(), "a Markdown fence is no reason");
        let off = judge(&answer(|v| v["evidence"][0]["line"] = 900.into())).unwrap();
        assert_eq!(off.evidence[0].line, 9, "a wrong number is mended, not believed");
    }

    #[test]
    fn every_way_to_disappoint_has_a_name() {
        use FailureKind::{Ungrounded, Unreadable};
        let cases: Vec<(String, FailureKind, &str)> = vec![
            (String::new(), Unreadable, "empty"),
            ("I think that".into(), Unreadable, "not the JSON"),
            (answer(|_| {})[..80].into(), Unreadable, "not the JSON"),
            ("x".repeat(10 << 20), Unreadable, "10485760 bytes"),
            (answer(|v| v["failure_category"] = "oops".into()), Unreadable, "unknown variant `oops`"),
            (answer(|v| v["confidence"] = 7.into()), Unreadable, "confidence is 7"),
            (answer(|v| v["root_cause"] = " ".into()), Unreadable, "empty"),
            (answer(|v| v["evidence"] = serde_json::json!([])), Ungrounded, "quotes nothing"),
            (
                answer(|v| v["evidence"][0]["quote"] = "KeyError: nope".into()),
                Ungrounded,
                "does not stand in the log",
            ),
            (answer(|v| v["evidence"][0]["quote"] = "  ".into()), Ungrounded, "too short"),
            (
                answer(|v| v["evidence"][0]["quote"] = "raise ValueError(f'bad".into()),
                Ungrounded,
                "quotes as log what stands in the code",
            ),
        ];
        for (text, kind, words) in cases {
            let (got, detail) = judge(&text).unwrap_err();
            assert!(got == kind && detail.contains(words), "{kind:?} {words}: {got:?} {detail}");
        }
    }
}
