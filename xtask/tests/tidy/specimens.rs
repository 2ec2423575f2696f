//! The specimens: complete, and their line numbers point at the lines that they claim.

use std::fs;

use serde_json::Value;

use crate::tree::{none, root};

const FOLDER: &str = "fixtures/experiments";

/// Every specimen's name, what is expected of it, and its log; one that is only run in the sandbox has none.
fn specimens() -> Vec<(String, Value, String)> {
    let mut found: Vec<_> = fs::read_dir(root().join(FOLDER))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let read =
                |file: &str| fs::read(path.join(file)).unwrap_or_else(|e| panic!("{name}/{file}: {e}"));
            let expected: Value = serde_json::from_slice(&read("expected.json"))
                .unwrap_or_else(|e| panic!("{name}/expected.json: {e}"));
            if expected["sandbox"].is_object() && !path.join("log").exists() {
                return (name, expected, String::new());
            }
            read("run.sh");
            let log = String::from_utf8_lossy(&read("log")).into_owned();
            (name, expected, log)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!found.is_empty(), "no specimens in {FOLDER}");
    found
}

#[test]
fn line_numbers_point_at_the_lines_they_claim() {
    let mut wrong = Vec::new();
    for (name, expected, log) in specimens().iter().filter(|(_, _, log)| !log.is_empty()) {
        let rows: Vec<&str> = log.split('\n').collect();
        let others = expected["other_faults"].as_array().into_iter().flatten();
        for fault in std::iter::once(expected).chain(others) {
            let texts: Vec<&str> =
                fault["cause"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
            let claimed: Vec<usize> = fault["cause_line"]
                .as_array()
                .unwrap()
                .iter()
                .map(|line| usize::try_from(line.as_u64().unwrap()).unwrap())
                .collect();
            let real: Vec<usize> = (1..=rows.len())
                .filter(|line| texts.iter().any(|text| rows[line - 1].contains(text)))
                .collect();
            if claimed != real || (claimed.is_empty() && !texts.is_empty()) {
                wrong.push(format!("{name}: says {claimed:?}, the texts stand in {real:?}"));
            }
        }
    }
    none(&wrong, "Run scripts/make-fixtures with these names.");
}

#[test]
fn every_specimen_says_what_a_good_diagnosis_is() {
    let mut wrong = Vec::new();
    for (name, expected, _) in &specimens() {
        let list = |key: &str| expected[key].as_array().cloned().unwrap_or_default();
        if expected["what"].as_str().is_none_or(|what| what.len() < 10) {
            wrong.push(format!("{name}: `what` is missing"));
        }
        if expected["category"].is_null() {
            let recorded = !expected["exit"].is_null();
            if (if recorded { &expected["exit"] } else { &expected["sandbox"]["end"] })["code"] != 0 {
                wrong.push(format!("{name}: without a category, but it did not succeed"));
            }
        } else {
            if list("severity").is_empty() || list("origin").is_empty() {
                wrong.push(format!("{name}: no severity or no origin"));
            }
            if list("accept").first() != Some(&expected["category"]) {
                wrong.push(format!("{name}: `accept` does not begin with the best category"));
            }
            if list("reject").iter().any(|trap| list("accept").contains(trap)) {
                wrong.push(format!("{name}: accepts what it rejects"));
            }
        }
    }
    none(&wrong, "See fixtures/experiments/README.md.");
}
