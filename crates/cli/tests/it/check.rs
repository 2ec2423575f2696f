//! `coroner check`: what it says, in text and as JSON, and how it ends.

use serde_json::Value;

use crate::analyze::json as parsed;
use crate::rig::{Home, text, with_input};

const CODE: &str = "import os\nimport numpy as np\n\ndef encode(frame, index):\n    e = eval\n    return np.load(frame, allow_pickle=True)\n";

#[test]
fn what_is_refused_is_shown_with_place_reason_and_remedy() {
    let home = Home::new();
    let path = home.file("candidate.py", CODE);
    let output = home.output(&["check", &path, "--python", "3.11"]);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout);
    let first = shown.lines().next().unwrap();
    for part in ["validation_error", "high", "candidate", "candidate.py", "3 refusals"] {
        assert!(first.contains(part), "{part}: {first}");
    }
    for part in [
        "  1:8  Forbidden import: os\n  1 │ import os\n    │        ^^\n  Why ",
        "  5:9  Forbidden name: eval\n  5 │     e = eval\n    │         ^^^^\n",
        "  6:12  Forbidden call: numpy.load with allow_pickle=True\n",
        "  Fix     Take the data as arguments",
        "  Rule    system, of the built-in policy\n",
    ] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
    assert!(!shown.contains('\x1b') && !shown.contains('!'), "{shown}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn json_has_the_findings_and_the_diagnosis() {
    let home = Home::new();
    let command = home.coroner(&["check", "-", "--format", "json", "--python", "3.12"]);
    let output = with_input(command, CODE.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    let said = parsed(&output);
    assert_eq!((&said["refused"], &said["python"]), (&Value::Bool(true), &Value::from("3.12")));
    let findings = said["screening"]["findings"].as_array().unwrap();
    let at: Vec<_> =
        findings.iter().map(|f| (f["rule"].as_str().unwrap(), f["line"].as_u64().unwrap())).collect();
    assert_eq!(at, [("system", 1), ("run-text", 5), ("unpickling", 6)]);
    assert_eq!(said["screening"]["functions"][0]["parameters"][1]["name"], "index");
    assert_eq!(said["screening"]["imports"], serde_json::json!(["os", "numpy"]));
    let diagnosis = &said["diagnosis"];
    assert_eq!(
        (diagnosis["failure_category"].as_str(), diagnosis["origin"].as_str()),
        (Some("validation_error"), Some("candidate"))
    );
    assert_eq!(diagnosis["provenance"]["rule"], "screen.system");
    for item in diagnosis["evidence"].as_array().unwrap() {
        let line = item["line"].as_u64().unwrap() as usize - 1;
        let source = if item["source"] == "code" {
            CODE
        } else {
            "Forbidden import: os; Forbidden name: eval; Forbidden call: numpy.load with allow_pickle=True"
        };
        assert!(source.lines().nth(line).unwrap().contains(item["text"].as_str().unwrap()), "{item}");
    }
}

#[test]
fn what_is_fine_ends_with_0_in_one_line() {
    let home = Home::new();
    let path = home.file(
        "fine.py",
        "import torch\n\ndef f(input, model):\n    model.eval()\n    return torch.compile(model)(input)\n",
    );
    let output = home.output(&["check", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let shown = text(&output.stdout);
    assert!(
        shown.contains("nothing refused")
            && shown.contains("5 lines, 1 function")
            && shown.lines().count() == 1,
        "{shown}"
    );
    let said = parsed(&home.output(&["check", &path, "--format", "json"]));
    assert_eq!((&said["refused"], &said["diagnosis"]), (&Value::Bool(false), &Value::Null));
}

#[test]
fn a_policy_at_fault_is_named_with_what_to_change() {
    let home = Home::new();
    let policy = home.file("old.toml", "allow_modules = [\"torch\"]\n[[rule]]\nid = \"attributes\"\nwhy = \"Runs text.\"\nattributes = [\"eval\"]\n");
    let path = home.file(
        "candidate.py",
        "import torch\nimport torchvision\nmodel = torch.nn.Linear(1, 1)\nmodel.eval()\n",
    );
    let output = home.output(&["check", &path, "--policy", &policy]);
    assert_eq!(output.status.code(), Some(1));
    let shown = text(&output.stdout).replace("\n          ", " ");
    for part in [
        "validation_error · high · policy",
        "Policy  Looks like a fault of the policy: .eval is an attribute of an object here, not the built-in eval.",
        "add \"torchvision\" to allow_modules in ",
        "take \"eval\" out of rule attributes in ",
    ] {
        assert!(shown.contains(part), "{part}:\n{shown}");
    }
}

#[test]
fn the_policy_in_force_is_shown_and_can_be_used_again() {
    let home = Home::new();
    let shown = home.output(&["check", "--show-policy"]);
    assert_eq!(shown.status.code(), Some(0));
    let policy = home.file("policy.toml", &text(&shown.stdout));
    let path = home.file("candidate.py", CODE);
    let mine = text(&home.output(&["check", &path, "--policy", &policy]).stdout);
    let ours = text(&home.output(&["check", &path]).stdout);
    assert_eq!(mine.replace(&format!(", of {policy}"), ", of the built-in policy"), ours);
    let more = home.file(
        "more.toml",
        "extend = true\nallow_modules = [\"os\"]\nwithout = [\"run-text\", \"unpickling\"]\n",
    );
    assert_eq!(home.output(&["check", &path, "--policy", &more]).status.code(), Some(0));
    let merged = text(&home.output(&["check", "--show-policy", "--policy", &more]).stdout);
    assert!(merged.contains("\"os\"") && !merged.contains("run-text"), "{merged}");
    assert!(parsed(&home.output(&["check", "--show-policy", "--format", "json"]))["rule"].is_array());
}

#[test]
fn what_is_no_candidate_gets_a_clear_word() {
    let home = Home::new();
    let zeros = String::from_utf8(vec![0; 50 << 20]).unwrap();
    for (source, expected) in [
        (zeros.as_bytes(), "The candidate is too large: more than 1 MiB"),
        (b"", "The candidate is empty"),
        (b"x = '\xe9'\n", "not UTF-8: byte 0xe9 at column 6"),
        (b"x = '\0'\n", "null bytes (column 6)"),
        (b"def f(:\n", "Syntax error on line 1: "),
    ] {
        std::fs::write(home.path().join("candidate.py"), source).unwrap();
        let output = home.output(&["check", "candidate.py"]);
        let shown = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{shown}");
        assert!(shown.contains(expected) && shown.contains("Fix "), "{expected}:\n{shown}");
    }
    for (words, expected) in [
        (&["check", "nowhere.py"][..], "can't read the candidate nowhere.py"),
        (&["check", "."], "is a folder"),
        (&["check"], "CANDIDATE"),
        (&["check", "candidate.py", "--python", "2.7"], "no version of Python 3"),
        (&["check", "candidate.py", "--policy", "nowhere.toml"], "can't read the policy nowhere.toml"),
        (&["check", "candidate.py", "--policy", "candidate.py"], "candidate.py is no policy"),
    ] {
        let output = home.output(words);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{words:?}");
        assert!(text(&output.stderr).contains(expected), "{words:?}: {}", text(&output.stderr));
    }
}
