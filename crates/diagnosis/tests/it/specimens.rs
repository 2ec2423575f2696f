//! Failures that were really produced (fixtures/experiments): what a good diagnosis says of each.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use coroner_diagnosis::{Capture, End, Exit, Log, RuleSet, Settings, conclude, examine};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/experiments")
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().map(|a| a.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

fn end(value: &Value) -> End {
    let seconds = |v: &Value| {
        Duration::from_secs_f64(
            v.as_f64().or(v.as_str().and_then(|s| s.trim_end_matches('s').parse().ok())).unwrap_or(1.0),
        )
    };
    match value["kind"].as_str().unwrap() {
        "exited" => End::Exited { code: value["code"].as_i64().unwrap() as i32 },
        "signaled" => End::Signaled { signal: value["signal"].as_i64().unwrap() as i32 },
        "timed_out" => End::TimedOut { limit: seconds(&value["limit"]) },
        other => panic!("no such end: {other}"),
    }
}

#[test]
fn every_specimen_is_judged_as_its_maker_says() {
    let rules = RuleSet::built_in().unwrap();
    let mut wrong = Vec::new();
    // those without a log are only run in the sandbox (crates/cli/tests/it/specimens.rs)
    let mut names: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.join("log").exists())
        .collect();
    names.sort();
    assert!(names.len() > 100, "{} specimens", names.len());
    for path in &names {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let want: Value =
            serde_json::from_str(&fs::read_to_string(path.join("expected.json")).unwrap()).unwrap();
        let log = Log::new(&fs::read(path.join("log")).unwrap());
        let exit =
            Exit { end: end(&want["exit"]), wall: Duration::from_secs(2), cpu: None, peak_memory: None };
        let failed = !exit.succeeded() || log.ends_in_trouble();
        if want["category"].is_null() {
            if failed {
                wrong.push(format!("{name}: a run that succeeded would be diagnosed"));
            }
            continue;
        }
        if !failed {
            wrong.push(format!("{name}: taken for a success"));
        }
        let capture = Capture { log, exit: Some(exit), ..Capture::default() };
        let examined = examine(&capture, &rules, &Settings::default());
        let excerpt = examined.excerpt(3_000);
        let said = conclude(examined, None, "2026-01-01T00:00:00Z");
        let mut miss = |what: &str, got: String| {
            wrong.push(format!("{name}: {what} is {got} (rule {}): {}", said.verdict.rule, said.root_cause));
        };
        if !words(&want["accept"]).contains(&said.failure_category.as_str()) {
            miss("category", said.failure_category.to_string());
        }
        if words(&want["reject"]).contains(&said.failure_category.as_str()) {
            miss("trap: category", said.failure_category.to_string());
        }
        if !words(&want["severity"]).contains(&said.severity.as_str()) {
            miss("severity", said.severity.to_string());
        }
        if !words(&want["origin"]).contains(&said.origin.as_str()) {
            miss("origin", said.origin.to_string());
        }
        let lines = |v: &Value| {
            v.as_array()
                .map(|a| a.iter().filter_map(Value::as_u64).collect::<BTreeSet<_>>())
                .unwrap_or_default()
        };
        let cause = lines(&want["cause_line"]);
        if !cause.is_empty() && !said.evidence.iter().any(|e| cause.contains(&e.line)) {
            miss(
                "evidence",
                format!("{:?}, not {cause:?}", said.evidence.iter().map(|e| e.line).collect::<Vec<_>>()),
            );
        }
        for other in want["other_faults"].as_array().into_iter().flatten() {
            let there = said.other_faults.iter().any(|f| other["category"] == f.category.as_str())
                || other["category"] == said.failure_category.as_str();
            if !there {
                miss(
                    "other faults",
                    format!("{:?}", said.other_faults.iter().map(|f| f.rule.as_str()).collect::<Vec<_>>()),
                );
            }
        }
        let json = serde_json::to_string(&said).unwrap();
        for secret in words(&want["secrets"]) {
            if json.contains(secret) || excerpt.text.contains(secret) {
                miss("a secret", format!("{secret} shown"));
            }
        }
        let raw = String::from_utf8_lossy(&fs::read(path.join("log")).unwrap()).into_owned();
        let raw: Vec<&str> = raw.lines().collect();
        for e in &said.evidence {
            if !raw.get(e.line as usize - 1).is_some_and(|l| l.contains(&e.text)) {
                miss("a citation", format!("line {} which does not hold {:?}", e.line, e.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), names.len(), wrong.join("\n"));
}
