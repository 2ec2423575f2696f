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

#[test]
fn a_batch_asks_for_each_of_its_lines() {
    let home = Home::new();
    let line = |id: &str, log: &str| format!("{}\n", json!({"experiment_id": id, "logs": log}));
    home.file(
        "in.jsonl",
        &[line("a", RIDDLE), "{broken\n".to_owned(), line("b", TRACEBACK), line("c", RIDDLE)].concat(),
    );
    let answers = [json!({"text": answer(|_| {})}), json!({"failure": "overloaded", "detail": "too busy"})];
    home.file("script.jsonl", &answers.map(|line| format!("{line}\n")).concat());
    let mut command = home.coroner(&["analyze", "--batch", "in.jsonl"]);
    command.env("CORONER_MODEL_SCRIPT", "script.jsonl").env("CORONER_MODEL_ASK", "unexplained");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let found: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), 4);
    assert_eq!(
        (&found[0]["experiment_id"], &found[0]["provenance"]["source"]),
        (&"a".into(), &"model".into())
    );
    assert_eq!(found[1]["line"], 2);
    assert_eq!(
        (&found[2]["experiment_id"], &found[2]["provenance"]["source"]),
        (&"b".into(), &"rule".into())
    );
    assert_eq!(found[3]["experiment_id"], "c");
    assert!(["cache", "rule"].contains(&found[3]["provenance"]["source"].as_str().unwrap()), "{}", found[3]);
}

/// Speaks OpenAI's route: gives each request `status` and `body`, counts them and keeps what it was sent.
struct Provider {
    url: String,
    asked: Arc<AtomicUsize>,
    sent: Arc<Mutex<Vec<String>>>,
}

fn provider(status: u16, body: impl Fn(usize) -> String + Send + 'static) -> Provider {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (asked, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (count, kept) = (Arc::clone(&asked), Arc::clone(&sent));
    // ends with the tests
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&line);
            }
            let mut question = vec![0; length];
            if stream.read_exact(&mut question).is_err() || head.is_empty() {
                continue;
            }
            kept.lock().unwrap().push(head + &text(&question));
            let body = body(count.fetch_add(1, Ordering::SeqCst));
            let answer = format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nretry-after-ms: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            _ = stream.get_mut().write_all(answer.as_bytes());
        }
    });
    Provider { url, asked, sent }
}

fn completion(text: &str) -> String {
    json!({
        "model": "tiny", "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30},
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
    })
    .to_string()
}

#[test]
pub(crate) fn what_was_answered_once_is_not_asked_again() {
    let home = Home::new();
    let log = format!("{RIDDLE}token {KEY} of ada@example.org\n");
    home.file("a.log", &log);
    home.file("key", &format!("{KEY}\n"));
    std::process::Command::new("chmod")
        .args(["600", home.path().join("key").to_str().unwrap()])
        .status()
        .unwrap();
    let ask = |provider: &Provider, words: &[&str]| {
        let mut command = home.coroner(&[&["analyze", "a.log", "--format", "json"], words].concat());
        command
            .env("CORONER_MODEL_PROVIDER", "openai")
            .env("CORONER_MODEL_NAME", "tiny")
            .env("CORONER_MODEL_KEY_FILE", home.path().join("key"))
            .env("CORONER_MODEL_BASE_URL", &provider.url);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        for stream in [&output.stdout, &output.stderr] {
            assert!(!text(stream).contains(KEY), "{}", text(stream));
        }
        parsed(&output)
    };
    // an answer that does not stand up is not kept, so that the next run asks again
    let good = provider(200, |n| completion(&if n == 0 { "no JSON".to_owned() } else { answer(|_| {}) }));
    let source = |said: &Value| said["provenance"]["source"].as_str().unwrap().to_owned();
    let first = ask(&good, &["--save", "--id", "one"]);
    assert_eq!(
        (source(&first).as_str(), &first["provenance"]["model_failure"]["kind"]),
        ("rule", &"unreadable".into())
    );
    let asked = good.asked.load(Ordering::SeqCst);
    assert_eq!(source(&ask(&good, &["--save", "--id", "two"])), "model");
    assert_eq!(good.asked.load(Ordering::SeqCst), asked + 1);
    let third = ask(&good, &["--save", "--id", "three"]);
    assert_eq!((source(&third).as_str(), &third["provenance"]["model"]), ("cache", &"tiny".into()));
    assert_eq!(third["root_cause"], "The frobnicator was out of tune.");
    assert_eq!(good.asked.load(Ordering::SeqCst), asked + 1, "nothing was asked");
    assert_eq!(source(&ask(&good, &["--offline"])), "rule");
    for sent in good.sent.lock().unwrap().iter() {
        let (head, body) = sent.split_once('{').unwrap();
        assert!(head.contains(KEY), "the key goes into its header");
        assert!(
            !body.contains(KEY) && !body.contains("ada@example.org"),
            "and nothing secret into the question: {body}"
        );
    }
    // a provider that repeats the key in its complaint
    let bad = provider(401, |_| {
        json!({"error": {"message": format!("Incorrect API key provided: {KEY}"), "type": "invalid_request_error", "code": "invalid_api_key"}}).to_string()
    });
    home.file("a.log", &log.replace("out of tune", "full of bees"));
    let said = ask(&bad, &["--save", "--id", "four"]);
    assert_eq!(said["provenance"]["model_failure"]["kind"], "unauthorized", "{said}");
    for words in
        [&["show", "four", "--format", "json"][..], &["show", "four"], &["list"], &["doctor", "--offline"]]
    {
        let output = home.output(words);
        assert!(!text(&output.stdout).contains(KEY) && !text(&output.stderr).contains(KEY), "{words:?}");
    }
}

/// What `coroner` says where Bedrock is asked, with the AWS configuration of nobody but these variables.
fn by_bedrock(home: &Home, variables: &[(&str, &str)], words: &[&str]) -> std::process::Output {
    let mut command = home.coroner(words);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    // no role of this machine either
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("CORONER_MODEL_PROVIDER", "bedrock");
    command.envs(variables.iter().copied()).output().unwrap()
}

const BEDROCK: [(&str, &str); 4] = [
    ("CORONER_MODEL_NAME", "eu.anthropic.claude-haiku-4-5-20251001-v1:0"),
    ("AWS_REGION", "eu-central-1"),
    ("AWS_ACCESS_KEY_ID", "AKIDTEST"),
    ("AWS_SECRET_ACCESS_KEY", "hush-hush-hush-hush"),
];

#[test]
fn a_model_on_bedrock_explains_as_any_other() {
    let home = Home::new();
    home.file("a.log", RIDDLE);
    let server = provider(200, |_| {
        json!({
            "type": "message", "model": "claude-haiku-4-5-20251001", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": answer(|_| {})}],
            "usage": {"input_tokens": 1_000_000, "output_tokens": 10},
        })
        .to_string()
    });
    let analyze = ["analyze", "a.log", "--format", "json"];
    let there = [&BEDROCK[..], &[("CORONER_MODEL_BASE_URL", server.url.as_str())]].concat();
    let output = by_bedrock(&home, &there, &analyze);
    let said = parsed(&output);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        (&said["provenance"]["source"], &said["provenance"]["model"]),
        (&"model".into(), &BEDROCK[0].1.into()),
        "{said}"
    );
    assert_eq!(said["evidence"][0]["text"], "the frobnicator is out of tune");
    let doctor = by_bedrock(&home, &there, &["doctor"]);
    let told = text(&doctor.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("by bedrock at 127.0.0.1") && told.contains("with the first question"), "{told}");
    assert!(told.contains("$1.1 and $5.5 per million tokens"), "{told}");
    let sent = server.sent.lock().unwrap().clone();
    assert!(
        sent[0].starts_with("POST /model/eu.anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke "),
        "{sent:?}"
    );
    assert!(sent[0].contains("authorization: AWS4-HMAC-SHA256 Credential=AKIDTEST/"), "{sent:?}");
    for shown in [sent.join(""), text(&output.stdout), text(&output.stderr), text(&doctor.stdout)] {
        assert!(!shown.contains("hush"), "{shown}");
    }

    // what is missing is said where the diagnosis says why no model speaks, and a name that is missing at once
    for (left_out, advice) in [("AWS_ACCESS_KEY_ID", "set AWS_PROFILE"), ("AWS_REGION", "set AWS_REGION")] {
        let rest: Vec<_> = there.iter().copied().filter(|(name, _)| *name != left_out).collect();
        let failure = parsed(&by_bedrock(&home, &rest, &analyze))["provenance"]["model_failure"].clone();
        assert_eq!(failure["kind"], "no_key", "{left_out}: {failure}");
        assert!(failure["detail"].as_str().unwrap().contains(advice), "{left_out}: {failure}");
    }
    let output = by_bedrock(&home, &BEDROCK[1..], &analyze);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("set model.name"), "{}", text(&output.stderr));
}

#[test]
fn an_emulator_of_bedrock_is_understood() {
    let Some(endpoint) = std::env::var("CORONER_TEST_DYNAMODB").ok().filter(|it| !it.is_empty()) else {
        println!(
            "skipped: model::an_emulator_of_bedrock_is_understood: CORONER_TEST_DYNAMODB is not set: scripts/test starts an emulator"
        );
        return;
    };
    let home = Home::new();
    home.file("a.log", RIDDLE);
    let ask = |name: &str| {
        let there = [&BEDROCK[1..], &[("AWS_ENDPOINT_URL", endpoint.as_str()), ("CORONER_MODEL_NAME", name)]]
            .concat();
        let said = parsed(&by_bedrock(&home, &there, &["analyze", "a.log", "--format", "json"]));
        let failure = &said["provenance"]["model_failure"];
        (failure["kind"].clone(), failure["detail"].as_str().unwrap().to_owned())
    };
    // it says something, which is no explanation
    let (kind, detail) = ask(BEDROCK[0].1);
    assert!(kind == "unreadable" && detail.contains("JSON"), "{kind} {detail}");
    // an ARN arrives in one piece, and is refused as AWS does
    let (kind, detail) =
        ask("arn:aws:bedrock:us-east-1:000000000000:inference-profile/us.anthropic.claude-sonnet-5-5");
    assert!(kind == "unreadable" && detail.contains("Invalid modelId ARN"), "{kind} {detail}");
}
