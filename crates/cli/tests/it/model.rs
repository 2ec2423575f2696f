//! A language model beside the rules: what its answer is worth, and what is left when it disappoints.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::analyze::{TRACEBACK, assert_contract, json as parsed};
use crate::rig::{Home, text};

/// Nothing that a rule could explain.
const RIDDLE: &str = "starting\nthe frobnicator is out of tune\nleaving\n";
const KEY: &str = "sk-test-0123456789abcdefABCDEF0123456789";

fn answer(change: impl Fn(&mut Value)) -> String {
    let mut answer = json!({
        "failure_category": "logic_error", "severity": "low", "origin": "harness", "retryable": false, "confidence": 0.8,
        "root_cause": "The frobnicator was out of tune.", "fix_suggestion": "Tune the frobnicator.",
        "evidence": [{"source": "log", "line": 2, "quote": "the frobnicator is out of tune"}],
    });
    change(&mut answer);
    answer.to_string()
}

/// What `coroner analyze` says of `log` while the model does what the script says.
fn told(home: &Home, log: &str, script: &[Value], variables: &[(&str, &str)]) -> Value {
    home.file("a.log", log);
    home.file("script.jsonl", &script.iter().map(|line| format!("{line}\n")).collect::<String>());
    let mut command = home.coroner(&["analyze", "a.log", "--format", "json"]);
    command.env("CORONER_MODEL_SCRIPT", "script.jsonl").envs(variables.iter().copied());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = parsed(&output);
    assert_contract(&said, &[("log", log.as_bytes())].into());
    said
}

#[test]
fn a_sound_answer_speaks_and_the_verdict_stands_beside_it() {
    let home = Home::new();
    for fence in ["", "```json\n"] {
        let text = format!("{fence}{}{}", answer(|_| {}), if fence.is_empty() { "" } else { "\n```" });
        let said = told(&home, RIDDLE, &[json!({"text": text})], &[]);
        assert_eq!(said["provenance"]["source"], "model", "{said}");
        assert_eq!(
            (&said["provenance"]["model"], &said["provenance"]["prompt_version"]),
            (&"scripted".into(), &"1".into())
        );
        assert!(said["provenance"].get("model_failure").is_none(), "{said}");
        assert_eq!(
            (&said["failure_category"], &said["root_cause"]),
            (&"logic_error".into(), &"The frobnicator was out of tune.".into())
        );
        assert_eq!(
            (&said["evidence"][0]["line"], &said["evidence"][0]["source"]),
            (&2.into(), &"log".into())
        );
        assert_eq!(said["opinion"]["category"], "logic_error");
        assert!(said["verdict"]["rule"].as_str().unwrap().starts_with("fallback."), "{said}");
    }
    // a sure rule keeps its word; the opinion is kept beside it
    let other = answer(|a| {
        a["evidence"] = json!([{"source": "log", "line": 5, "quote": "No module named 'torchvision'"}]);
    });
    let said = told(&home, TRACEBACK, &[json!({"text": other})], &[]);
    assert_eq!(
        (&said["failure_category"], &said["provenance"]["source"]),
        (&"import_error".into(), &"rule".into())
    );
    assert_eq!(
        (&said["verdict"]["category"], &said["opinion"]["category"]),
        (&"import_error".into(), &"logic_error".into())
    );
    let mut command = home.coroner(&["analyze", "a.log"]);
    command.env("CORONER_MODEL_SCRIPT", "script.jsonl");
    assert!(text(&command.output().unwrap().stdout).starts_with("✖ import_error"));
}

#[test]
fn whatever_goes_wrong_the_verdict_and_the_reason_remain() {
    let home = Home::new();
    let text_of = |change: &dyn Fn(&mut Value)| json!({"text": answer(change)});
    let quote = |source: &str, quote: &str| json!([{"source": source, "line": 2, "quote": quote}]);
    let cases: Vec<(Value, &str, &str)> = vec![
        (
            text_of(&|a| a["evidence"] = quote("log", "the frobnicator exploded")),
            "ungrounded",
            "does not stand in the log",
        ),
        (
            text_of(&|a| a["evidence"] = quote("code", "the frobnicator is out of tune")),
            "ungrounded",
            "quotes as code",
        ),
        (text_of(&|a| a["evidence"] = json!([])), "ungrounded", "quotes nothing"),
        (text_of(&|a| a["failure_category"] = "gremlins".into()), "unreadable", "gremlins"),
        (text_of(&|a| a["confidence"] = 7.into()), "unreadable", "confidence"),
        (text_of(&|a| a["root_cause"] = "".into()), "unreadable", "empty"),
        (json!({"text": &answer(|_| {})[..60]}), "unreadable", "not the JSON"),
        (json!({"text": ""}), "unreadable", "empty"),
        (json!({"failure": "refused", "detail": "it would rather not"}), "refused", "rather not"),
        (json!({"failure": "unauthorized", "detail": "the key was refused"}), "unauthorized", "key"),
        (json!({"failure": "over_budget", "detail": "spent"}), "over_budget", "spent"),
        (json!({"text": answer(|_| {}), "after_ms": 600_000}), "timeout", ""),
    ];
    let alone = told(&home, RIDDLE, &[], &[("CORONER_MODEL_ASK", "never")]);
    for (step, kind, why) in cases {
        let said = told(&home, RIDDLE, std::slice::from_ref(&step), &[("CORONER_MODEL_TIMEOUT", "300ms")]);
        let failure = &said["provenance"]["model_failure"];
        assert_eq!(failure["kind"], kind, "{step}: {said}");
        assert!(failure["detail"].as_str().unwrap().contains(why), "{step}: {failure}");
        assert_eq!(said["provenance"]["source"], "rule", "{step}");
        assert!(said.get("opinion").is_none(), "{step}: {said}");
        for field in [
            "failure_category",
            "root_cause",
            "fix_suggestion",
            "evidence",
            "verdict",
            "signature",
            "confidence",
        ] {
            assert_eq!(said[field], alone[field], "{step}: {field}");
        }
    }
}

#[test]
fn who_is_asked_is_a_setting() {
    let home = Home::new();
    let script = [json!({"text": answer(|_| {})})];
    for (ask, log, asked) in [
        ("always", RIDDLE, true),
        ("always", TRACEBACK, true),
        ("unexplained", RIDDLE, true),
        ("unexplained", TRACEBACK, false),
        ("never", RIDDLE, false),
    ] {
        let said = told(&home, log, &script, &[("CORONER_MODEL_ASK", ask)]);
        let provenance = &said["provenance"];
        assert_eq!(provenance.get("model").is_some(), asked, "{ask}: {provenance}");
    }
    // nothing configured: nobody is asked, and why is said; offline nobody was to be asked
    home.file("a.log", RIDDLE);
    let said = |more: &[&str]| {
        let words = [&["analyze", "a.log", "--format", "json"], more].concat();
        parsed(&home.output(&words))["provenance"].clone()
    };
    assert_eq!(said(&[])["model_failure"]["kind"], "no_key");
    assert!(said(&["--offline"]).get("model_failure").is_none());
}
