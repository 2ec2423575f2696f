//! What the policies refuse and what they let be, snippet by snippet; and what no source can do to the screening.

use coroner_lab::screen::{Policy, PythonVersion, Screening, screen};

fn look(source: &str) -> Screening {
    screen(source.as_bytes(), &Policy::default(), PythonVersion::default())
}

/// The snippets of a file: what stands behind `== `, and the lines up to the next one.
fn snippets(text: &str) -> Vec<(String, String)> {
    let parts = text.split("\n== ").map(|part| part.trim_start_matches("== "));
    parts
        .map(|part| part.split_once('\n').unwrap())
        .map(|(head, code)| (head.into(), format!("{code}\n")))
        .collect()
}

#[test]
fn what_is_refused_is_refused_with_these_words() {
    let mut wrong = Vec::new();
    let snippets = snippets(include_str!("snippets/refused.txt"));
    for (expected, code) in &snippets {
        let screening = look(code);
        if screening.error_message() != *expected {
            wrong.push(format!("{code}  wanted {expected}\n  got    {}", screening.error_message()));
        }
        for finding in screening.findings.iter().chain(&screening.notes) {
            let line = code.lines().nth(finding.line as usize - 1).unwrap_or("");
            let from: String = line.chars().skip(finding.column as usize - 1).collect();
            assert!(from.starts_with(&finding.text), "{code}: {finding:?}");
            assert_eq!(finding.suspect, None, "{code}");
            assert!(!finding.why.is_empty() && !finding.instead.is_empty(), "{finding:?}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(snippets.len() >= 100, "{}", snippets.len());
}

#[test]
fn what_is_harmless_is_let_be() {
    let snippets = snippets(include_str!("snippets/fine.txt"));
    for (name, code) in &snippets {
        let screening = look(code);
        assert_eq!(screening.error_message(), "", "{name}:\n{code}");
        assert_eq!(screening.notes, [], "{name}");
    }
    assert!(snippets.len() >= 60, "{}", snippets.len());
}

#[test]
fn depth_harms_nobody() {
    for (source, expected) in [
        ("(".repeat(100_000), "Syntax error on line 1: too many nested parentheses"),
        ("f'{".repeat(100_000), "Syntax error on line 1: too many nested f-strings or t-strings"),
        (format!("x = {}1", "a.b+".repeat(100_000)), "Syntax error on line 1: expression nested too deeply"),
        (format!("x = {}1{}", "(".repeat(190), ")".repeat(190)), ""),
        (format!("x = {}1", "-".repeat(1990)), ""),
        (format!("x = {}1", "lambda: ".repeat(1990)), ""),
    ] {
        assert_eq!(look(&source).error_message(), expected, "{}", &source[..20]);
    }
}
