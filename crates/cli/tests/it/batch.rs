//! `coroner analyze --batch`: as many answers as lines, in their order, whatever the lines hold.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::analyze::{TRACEBACK, assert_contract, json as parsed};
use crate::rig::{Home, text, with_input};

fn answers(bytes: &[u8]) -> Vec<Value> {
    text(bytes)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

#[test]
fn each_line_has_its_answer_in_its_place() {
    let home = Home::new();
    home.file("logs/a.log", TRACEBACK);
    std::fs::create_dir(home.path().join("folder")).unwrap();
    let absolute = home.path().join("logs/a.log");
    /// What is expected of a line: a category, or words of the error.
    enum Want {
        Category(&'static str),
        Error(&'static str),
    }
    use Want::{Category, Error};
    let object = |value: Value| value.to_string().into_bytes();
    let cases: Vec<(Vec<u8>, Want)> = vec![
        (
            object(json!({"experiment_id": "e1", "experiment_type": "t", "error_message": "MemoryError"})),
            Category("resource_error"),
        ),
        (object(json!({"logs": TRACEBACK})), Category("import_error")),
        (b"{broken".to_vec(), Error("not a failure in JSON")),
        (object(json!({"log_path": "logs/a.log"})), Category("import_error")),
        (object(json!({"log_path": absolute})), Category("import_error")),
        (object(json!({"log_path": "logs/none.log"})), Error("logs/none.log")),
        (object(json!({"log_path": "folder"})), Error("is a folder")),
        (object(json!({"log_path": "-"})), Error("standard input")),
        (object(json!({"logs": "x", "log_path": "logs/a.log"})), Error("both logs and log_path")),
        (
            object(json!({"logs": null, "log_path": "logs/a.log", "code_snippet": null})),
            Category("import_error"),
        ),
        (object(json!({})), Category("runtime_error")),
        (b"{\"logs\": \"caf\xe9\"}".to_vec(), Error("not a failure in JSON")),
        (object(json!({"logs": "a\u{0}b \u{1b}[31mValueError: bad\u{1b}[0m"})), Category("runtime_error")),
        (object(json!({"experiment_id": 7})), Error("not a failure in JSON")),
        (object(json!(["e1", "t", "MemoryError", null, null, null])), Error("no object")),
        (b"null".to_vec(), Error("no object")),
        (
            object(
                json!({"code_snippet": "eval(x)", "error_message": "Forbidden attribute: eval", "unknown": 1}),
            ),
            Category("validation_error"),
        ),
        (
            object(json!({"experiment_id": "last", "logs": "TimeoutError: 30 s are over"})),
            Category("timeout"),
        ),
    ];
    for separator in ["\n", "\r\n", "\n\n  \n"] {
        let input: Vec<u8> =
            cases.iter().flat_map(|(line, _)| [line, separator.as_bytes()].concat()).collect();
        std::fs::write(home.path().join("in.jsonl"), &input).unwrap();
        let output = home.output(&["analyze", "--batch", "in.jsonl", "--offline"]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let found = answers(&output.stdout);
        assert_eq!(found.len(), cases.len(), "{separator:?}");
        let apart = separator.matches('\n').count();
        let mut broken = 0;
        for (at, ((line, want), found)) in cases.iter().zip(&found).enumerate() {
            match want {
                Category(category) => {
                    let given: Value = serde_json::from_slice(line).unwrap();
                    let log = match given["log_path"].as_str() {
                        Some(_) => TRACEBACK,
                        None => given["logs"].as_str().unwrap_or(""),
                    };
                    let of = |key: &str| given[key].as_str().unwrap_or("").as_bytes();
                    let sources = BTreeMap::from([
                        ("log", log.as_bytes()),
                        ("error", of("error_message")),
                        ("code", of("code_snippet")),
                    ]);
                    assert_contract(found, &sources);
                    assert_eq!(found["failure_category"], *category, "{at}: {found}");
                    assert_eq!(found["experiment_id"], given["experiment_id"].as_str().unwrap_or(""));
                    assert_eq!(found["experiment_type"], given["experiment_type"].as_str().unwrap_or(""));
                }
                Error(words) => {
                    broken += 1;
                    assert_eq!(found.as_object().unwrap().len(), 2, "{found}");
                    assert_eq!(found["line"], at * apart + 1, "{found}");
                    assert!(found["error"].as_str().unwrap().contains(words), "{at}: {found}");
                }
            }
        }
        assert!(text(&output.stderr).contains(&format!("{broken} of the lines")), "{}", text(&output.stderr));
        let piped = with_input(home.coroner(&["analyze", "--batch", "-", "--offline"]), &input);
        assert_eq!(answers(&piped.stdout).len(), cases.len());
    }
}

#[test]
fn many_lines_keep_their_order() {
    let home = Home::new();
    let logs = [TRACEBACK, "MemoryError", "TimeoutError: 30 s are over", "AssertionError: 3 != 4", ""];
    let line = |i: usize| json!({"experiment_id": format!("e{i}"), "logs": logs[i % logs.len()]}).to_string();
    // without an end of line at the end
    let input: Vec<String> = (0..2000).map(line).collect();
    home.file("in.jsonl", &input.join("\n"));
    let output = home.output(&["analyze", "--batch", "in.jsonl", "--offline"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
    let found = answers(&output.stdout);
    assert_eq!(found.len(), 2000);
    for (i, answer) in found.iter().enumerate() {
        assert_eq!(answer["experiment_id"], format!("e{i}"));
        assert_eq!(answer["signature"], found[i % logs.len()]["signature"]);
    }
}

#[test]
fn little_is_little() {
    let home = Home::new();
    std::fs::create_dir(home.path().join("folder")).unwrap();
    for empty in ["", "\n", " \n\r\n\n"] {
        home.file("in.jsonl", empty);
        let output = home.output(&["analyze", "--batch", "in.jsonl", "--offline"]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{empty:?}");
    }
    for (path, why) in [("none.jsonl", "none.jsonl"), ("folder", "is a folder")] {
        let output = home.output(&["analyze", "--batch", path, "--offline"]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{path}");
        assert!(text(&output.stderr).contains(why), "{}", text(&output.stderr));
    }
    // standard input that can't be read
    let mut command = home.coroner(&["analyze", "--batch", "-", "--offline"]);
    command.stdin(std::fs::File::open(home.path().join("folder")).unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("can't read the batch"), "{}", text(&output.stderr));
}

#[test]
pub(crate) fn a_saved_batch_is_in_the_store() {
    let home = Home::new();
    let mut lines: Vec<String> = (0..130)
        .map(|i| {
            json!({"experiment_id": format!("e{i}"), "experiment_type": "t", "logs": "MemoryError"})
                .to_string()
        })
        .collect();
    // one without an id, and one whose id can't be kept: the others are, and so is the order
    lines.insert(3, json!({"logs": TRACEBACK}).to_string());
    lines.insert(70, json!({"experiment_id": "two\nlines", "logs": TRACEBACK}).to_string());
    home.file("in.jsonl", &lines.join("\n"));
    let output = home.output(&["analyze", "--batch", "in.jsonl", "--offline", "--save"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("not kept: `twolines` can't be an experiment's id"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(answers(&output.stdout).len(), 132);
    let list = parsed(&home.output(&["list", "-n", "500", "--format", "json"]));
    assert_eq!(list["total_count"], 131);
    let shown = parsed(&home.output(&["show", "e129", "--format", "json"]));
    assert_eq!(
        (&shown["experiment_type"], &shown["diagnosis"]["failure_category"]),
        (&"t".into(), &"resource_error".into())
    );

    // a store that fails costs the keeping and not the answers
    let store = ["--store", "sqlite:/proc/nowhere/c.db", "analyze", "--batch", "in.jsonl", "--offline"];
    let output = home.output(&[&store[..], &["--save"]].concat());
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("/proc/nowhere"), "{}", text(&output.stderr));
    assert_eq!(answers(&output.stdout).len(), 132);
    assert_eq!(home.output(&store).status.code(), Some(0), "not wanted, not opened");
}
