//! What the policies refuse and what they let be, snippet by snippet; and what no source can do to the screening.

use std::collections::BTreeMap;

use coroner_diagnosis::{Capture, Category, Code, Diagnosis, Origin, RuleSet, Settings, Source, diagnose};
use coroner_lab::screen::{Function, Policy, PythonVersion, Screening, screen, screen_knowing};

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

fn original() -> Policy {
    Policy::parse(include_str!("original-policy.toml"), "original-policy.toml").unwrap()
}

fn diagnosed(screening: &Screening, code: &str) -> Diagnosis {
    let code = Code { name: Some("candidate.py".into()), text: code.into() };
    let capture: Capture = screening.capture(code).unwrap();
    let rules = RuleSet::built_in().unwrap();
    let settings = Settings::default();
    diagnose(&capture, &rules, &settings, "2026-01-01T00:00:00Z", &mut |_| unreachable!("nobody is asked"))
}

#[test]
fn what_the_original_policy_killed_for_nothing_is_the_policys_fault() {
    for (expected, code) in snippets(include_str!("snippets/suspect.txt")) {
        assert_eq!(look(&code).error_message(), "", "the built-in policy lets it be\n{code}");
        let screening = screen(code.as_bytes(), &original(), PythonVersion::default());
        assert_eq!(screening.error_message(), expected, "{code}");
        assert!(screening.findings.iter().all(|f| f.suspect.is_some()), "{code}: {:?}", screening.findings);
        let diagnosis = diagnosed(&screening, &code);
        assert_eq!(
            (diagnosis.origin, diagnosis.failure_category),
            (Origin::Policy, Category::ValidationError)
        );
        assert!(diagnosis.fix_suggestion.contains("original-policy.toml"), "{}", diagnosis.fix_suggestion);
    }
}

#[test]
fn what_the_original_policy_rightly_refused_stays_the_candidates_fault() {
    for code in
        ["import os\n", "exec('x')\n", "eval('1')\n", "import torchvision\nimport socket\n", "input('?')\n"]
    {
        let screening = screen(code.as_bytes(), &original(), PythonVersion::default());
        assert_eq!(diagnosed(&screening, code).origin, Origin::Candidate, "{code}");
    }
}

#[test]
fn the_diagnosis_names_rule_place_and_remedy_and_cites_what_stands_there() {
    let code = "import math\n\ndef f(x):\n    return eval(x) + __import__('os').getpid()\n";
    let screening = look(code);
    let diagnosis = diagnosed(&screening, code);
    assert_eq!(
        (diagnosis.origin, diagnosis.failure_category),
        (Origin::Candidate, Category::ValidationError)
    );
    for part in
        ["Forbidden name: eval", "line 4, column 12", "rule run-text of the built-in policy", "2 more things"]
    {
        assert!(diagnosis.root_cause.contains(part), "{part}: {}", diagnosis.root_cause);
    }
    assert!(diagnosis.fix_suggestion.contains("ast.literal_eval"), "{}", diagnosis.fix_suggestion);
    let cited: Vec<_> = diagnosis.evidence.iter().map(|e| (e.source, e.line, e.text.as_str())).collect();
    let code_line = "return eval(x) + __import__('os').getpid()";
    assert_eq!(cited, [(Source::Error, 1, "Forbidden name: eval"), (Source::Code, 4, code_line)]);
}

#[test]
fn the_signature_follows_the_cause_and_not_the_place() {
    let signature = |code: &str| diagnosed(&look(code), code).signature;
    assert_eq!(signature("import os\n"), signature("import math\n\n\nimport os\nimport socket\n"));
    assert_ne!(signature("import os\n"), signature("import socket\n"));
    assert_ne!(signature("import zarr\n"), signature("import h5py\n"));
    assert_eq!(signature("if x\n  pass\n"), signature("\n\nif y\n  pass\n"));
}

#[test]
fn what_is_no_source_text_says_so_in_the_right_category() {
    let syntax = Category::SyntaxError;
    let validation = Category::ValidationError;
    for (source, category, expected) in [
        (&b""[..], validation, "The candidate is empty: the file has no bytes"),
        (b"\n\n# x\n", validation, "There is no code in the candidate, only comments"),
        (b"x = 1\ny = '\xe9'\n", syntax, "Syntax error on line 2: not UTF-8: byte 0xe9 at column 6"),
        (b"x = 1\0\n", syntax, "Syntax error on line 1: source code cannot contain null bytes (column 6)"),
        (&[b' '; (1 << 20) + 1], validation, "The candidate is too large: more than 1 MiB"),
    ] {
        let screening = screen(source, &Policy::default(), PythonVersion::default());
        assert_eq!(
            (screening.error_message().as_str(), screening.findings[0].category),
            (expected, category)
        );
        let diagnosis = diagnosed(&screening, &String::from_utf8_lossy(source));
        assert_eq!((diagnosis.failure_category, diagnosis.origin), (category, Origin::Candidate));
    }
    let whole = [b' '; 1 << 20];
    assert!(screen(&whole, &Policy::default(), PythonVersion::default()).error_message().contains("no code"));
}

#[test]
fn a_rule_that_refuses_many_is_suspected_but_never_one_that_guards_the_way_out() {
    let known = |key: &str, count| BTreeMap::from([(key.to_owned(), count)]);
    for (code, key, count, suspected) in [
        ("import zarr\n", "imports:zarr", 10, true),
        ("import zarr\n", "imports:zarr", 9, false),
        ("import zarr\n", "imports:h5py", 99, false),
        ("open('x')\n", "files:open", 10, true),
        ("eval('x')\n", "run-text:eval", 1000, false),
        ("().__class__.__bases__\n", "inner-attributes:__bases__", 1000, false),
        ("def f(:\n", "syntax:", 1000, false),
    ] {
        let python = PythonVersion::default();
        let screening = screen_knowing(code.as_bytes(), &Policy::default(), python, &known(key, count));
        assert_eq!(
            screening.findings[0].suspect.is_some(),
            suspected,
            "{code} {count}: {:?}",
            screening.findings
        );
        let origin = if suspected { Origin::Policy } else { Origin::Candidate };
        assert_eq!(diagnosed(&screening, code).origin, origin);
    }
}

#[test]
fn entry_points_are_looked_for_before_anything_runs() {
    let wanted = Function::wanted("encode", "(frame, frame_index, config) -> bytes").unwrap();
    for (code, expected) in [
        ("def encode(frame, frame_index, config): ...", ""),
        ("def encode(a, b, c=None, *, d=1): ...", ""),
        ("def encode(*args, **kwargs): ...", ""),
        ("def encode(a, /, b, c, d=0): ...", ""),
        ("if x:\n    def encode(a, b, c): ...\nelse:\n    def encode(a, b, c): ...", ""),
        ("from functools import partial\nencode = partial(f, 1)", ""),
        ("class encode:\n    pass", ""),
        ("from numpy import *", ""),
        (
            "def encode(frame): ...",
            "Function encode(frame) can't be called as the task calls it: encode(frame, frame_index, config)",
        ),
        (
            "def encode(a, b, c, d): ...",
            "Function encode(a, b, c, d) can't be called as the task calls it: encode(frame, frame_index, config)",
        ),
        (
            "def encode(a, b, c, *, d): ...",
            "Function encode(a, b, c, *, d) can't be called as the task calls it: encode(frame, frame_index, config)",
        ),
        (
            "def other(a): ...\nclass A:\n    def encode(self, b, c): ...",
            "Function 'encode' not found in code",
        ),
        ("def f():\n    def encode(a, b, c): ...", "Function 'encode' not found in code"),
        ("def encode(", "Syntax error on line 1: unexpected EOF while parsing"),
    ] {
        let mut screening = look(code);
        screening.require(&wanted);
        assert_eq!(screening.error_message(), expected, "{code}");
    }
    assert_eq!(wanted.positional(), (3, Some(3)));
    for bad in ["frame, config", "(frame", "(a): pass\ndef g()", "(a) -> ", ""] {
        assert_eq!(Function::wanted("encode", bad), None, "{bad}");
    }
    assert_eq!(Function::wanted("no name", "(a)"), None);
    let mut missing = look("x = 1\n");
    missing.require(&wanted);
    let diagnosis = diagnosed(&missing, "x = 1\n");
    assert_eq!(
        (diagnosis.failure_category, diagnosis.origin),
        (Category::ValidationError, Origin::Candidate)
    );
}

#[test]
fn a_policy_may_allow_what_ours_refuses() {
    let text = "extend = true\nallow_modules = [\"os\"]\nallow_async = true\nwithout = [\"files\"]\n";
    let policy = Policy::parse(text, "mine.toml").unwrap();
    let code = "import os.path\nasync def f():\n    return open(os.path.join('a'))\n";
    assert_eq!(screen(code.as_bytes(), &policy, PythonVersion::default()).error_message(), "");
    let python = PythonVersion { major: 3, minor: 14 };
    assert_eq!(screen(b"x = t'{a}'\n", &policy, python).error_message(), "");
    let all = Policy::parse("allow_modules = [\"*\"]", "all.toml").unwrap();
    assert_eq!(screen(b"import os, anything\n", &all, python).error_message(), "");
}

#[test]
fn the_hash_knows_the_same_code_again() {
    let hash = |source: &str| look(source).code_hash;
    let code = "import math\n\n# why\ndef f(x):\n    \"\"\"doc\"\"\"\n    return math.sqrt(x) + [1,2]\n";
    let same = "import math\ndef f( x ) :\n  \"\"\"doc\"\"\"\n\n  # other\n  return math . sqrt(\n x) \\\n + [1, 2]   # end";
    assert_eq!(hash(code), hash(same));
    for (a, b) in [
        ("x = 1\n", "x = 2\n"),
        ("x = 'a b'\n", "x = 'a  b'\n"),
        ("ab = 1\n", "a\nb = 1\n"),
        ("if x:\n    a\n    b\n", "if x:\n    a\nb\n"),
        ("f'{a = }'\n", "f'{a=}'\n"),
        ("f'{a!r}'\n", "f'{a!s}'\n"),
        ("def f(:\n", "def g(:\n"),
        ("", " "),
    ] {
        assert_ne!(hash(a), hash(b), "{a:?} {b:?}");
    }
    assert_eq!(hash(code).as_str().len(), 64);
}

#[test]
fn the_programs_of_the_examples_keep_to_the_built_in_policy() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = 0;
    for folder in ["bare", "bare/blocks", "codec", "codec/blocks"].map(|name| examples.join(name)) {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let is_of_us = ["evaluate.py", "prepare.py"].iter().any(|name| path.ends_with(name));
            if path.extension().is_some_and(|e| e == "py") && !is_of_us {
                let code = std::fs::read_to_string(&path).unwrap();
                assert_eq!(look(&code).error_message(), "", "{}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "{seen}");
}

#[test]
fn what_repeats_without_end_is_looked_at_in_time() {
    // each of these takes minutes where something is quadratic
    for source in [
        "a=a\n".repeat(100_000) + &"a()\n".repeat(100_000),
        (1..40_000).map(|i| format!("a{i}=a{}+a{}\n", i - 1, i - 1)).collect::<String>(),
        ("a".to_owned() + &".b".repeat(1900) + "\n").repeat(100),
        "= = =\n".repeat(100_000),
        "eval(1)\n".repeat(100_000),
        "\"a\n".repeat(100_000),
        format!("{}{}", "f\"{".repeat(140), "a:{b:{c".repeat(50_000)),
    ] {
        assert_eq!(look(&source).unscreened, None, "{}", &source[..20]);
    }
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
