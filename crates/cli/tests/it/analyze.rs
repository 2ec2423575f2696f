//! `coroner analyze` and `coroner evidence`: one failure that somebody else ran.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Output;

use serde_json::Value;

use crate::rig::{Home, started, text, with_input};

pub(crate) const TRACEBACK: &str = "step 1\nTraceback (most recent call last):\n  File \"/srv/exp/train.py\", line 2, in <module>\n    import torchvision\nModuleNotFoundError: No module named 'torchvision'\n";
const CODE: &str = "import torch\nimport torchvision\nprint(torch)\n";

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}\nstdout: {}\nstderr: {}", text(&output.stdout), text(&output.stderr)))
}

/// The contract's object: every field there, of its type, and every citation where it says.
pub(crate) fn assert_contract(diagnosis: &Value, sources: &BTreeMap<&str, &[u8]>) {
    let words: [(&str, &[&str]); 3] = [
        (
            "failure_category",
            &[
                "syntax_error",
                "import_error",
                "validation_error",
                "runtime_error",
                "timeout",
                "resource_error",
                "logic_error",
            ],
        ),
        ("severity", &["critical", "high", "medium", "low"]),
        ("origin", &["candidate", "policy", "harness", "infrastructure", "provider"]),
    ];
    for (field, allowed) in words {
        assert!(allowed.contains(&diagnosis[field].as_str().unwrap()), "{field}: {diagnosis}");
    }
    for field in ["root_cause", "fix_suggestion", "signature"] {
        assert!(!diagnosis[field].as_str().unwrap().is_empty(), "{field}: {diagnosis}");
    }
    for field in ["experiment_id", "experiment_type"] {
        assert!(diagnosis[field].is_string(), "{field}: {diagnosis}");
    }
    assert!((0.0..=1.0).contains(&diagnosis["confidence"].as_f64().unwrap()), "{diagnosis}");
    assert!(diagnosis["retryable"].is_boolean(), "{diagnosis}");
    let at = diagnosis["created_at"].as_str().unwrap();
    assert!(at.ends_with('Z') && at.parse::<jiff::Timestamp>().is_ok(), "{at}");
    let provenance = &diagnosis["provenance"];
    assert!(["rule", "model", "cache", "human"].contains(&provenance["source"].as_str().unwrap()));
    assert!(provenance["rule"].is_string(), "{provenance}");
    assert!(diagnosis["similar"].is_array(), "{diagnosis}");
    for item in diagnosis["evidence"].as_array().unwrap() {
        let source = sources.get(item["source"].as_str().unwrap()).unwrap_or_else(|| panic!("{item}"));
        let number = usize::try_from(item["line"].as_u64().unwrap()).unwrap();
        let line = source.split(|b| *b == b'\n').nth(number - 1).unwrap_or_else(|| panic!("{item}"));
        let cited = item["text"].as_str().unwrap();
        assert!(!cited.is_empty() && text(line).contains(cited), "{item} is not in {:?}", text(line));
        assert!(["cause", "symptom", "context"].contains(&item["role"].as_str().unwrap()), "{item}");
    }
}

#[test]
fn the_contract_holds_whatever_is_given() {
    let home = Home::new();
    let noisy = format!(
        "{}\x1b[31m\x1b[1mRuntimeError\x1b[0m: CUDA error: out of memory\x1b[0m\r\n{}",
        "10%\r20%\r100%\rdone\n".repeat(50),
        "\x00\x00tail\n".repeat(3)
    );
    let mut broken = b"caf\xe9 \xff\xfe\n".repeat(20);
    broken.extend_from_slice(b"ValueError: bad shape \xff(3, 4)\n");
    home.file("train.py", CODE);
    type Case<'a> = (&'a [&'a str], &'a [u8], &'a str, &'a str);
    let cases: &[Case<'_>] = &[
        (&[], TRACEBACK.as_bytes(), "", "import_error"),
        (&["--code", "train.py"], TRACEBACK.as_bytes(), "", "import_error"),
        (&[], noisy.as_bytes(), "", "resource_error"),
        (&[], &broken, "", "runtime_error"),
        (&[], b"all is well\n", "", "runtime_error"),
        (&[], b"", "", "runtime_error"),
        (&[], b"step 1\n", "Forbidden import: torchvision", "validation_error"),
        (&["--type", "eval", "--id", "exp-7"], b"loss 3.1\n", "TimeoutError: 30 s are over", "timeout"),
    ];
    for (words, log, error, category) in cases {
        std::fs::write(home.path().join("a.log"), log).unwrap();
        let mut all = [&["analyze", "a.log", "--offline", "--format", "json"], *words].concat();
        if !error.is_empty() {
            all.extend(["--error", error]);
        }
        let output = home.output(&all);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        let said = json(&output);
        let sources = BTreeMap::from([("log", *log), ("error", error.as_bytes()), ("code", CODE.as_bytes())]);
        assert_contract(&said, &sources);
        assert_eq!(said["failure_category"], *category, "{words:?} {said}");
        // the same from standard input
        all[1] = "-";
        let mut piped = json(&with_input(home.coroner(&all), log));
        piped["created_at"] = said["created_at"].clone();
        assert_eq!(piped, said);
        // and for people, without anything that a terminal would obey
        all.retain(|word| !["--format", "json"].contains(word));
        let card = text(&with_input(home.coroner(&all), log).stdout);
        assert!(card.starts_with(&format!("✖ {category} · ")), "{card}");
        assert!(card.contains("\n  Fix ") && card.contains("\n  Why     rule "), "{card}");
        assert!(!card.contains(|c: char| c.is_control() && c != '\n'), "{card:?}");
    }
    assert!(!home.path().join(".local").exists(), "nothing is written without --save");
}

#[test]
fn what_is_given_beside_the_log_counts() {
    let home = Home::new();
    home.file("a.log", TRACEBACK);
    home.file("train.py", CODE);
    let analyze =
        |words: &[&str]| json(&home.output(&[&["analyze", "--offline", "--format", "json"], words].concat()));
    let alone = analyze(&["--error", "CUDA out of memory. Tried to allocate 2.00 GiB"]);
    assert_eq!(
        (&alone["failure_category"], &alone["evidence"][0]["source"]),
        (&"resource_error".into(), &"error".into())
    );
    let named = analyze(&["a.log", "--type", "training", "--id", "exp/7"]);
    assert_eq!((&named["experiment_id"], &named["experiment_type"]), (&"exp/7".into(), &"training".into()));
    let with_code = analyze(&["a.log", "--code", "train.py"]);
    let cited = |said: &Value| {
        let items = said["evidence"].as_array().unwrap().iter();
        items.map(|i| (i["source"].to_string(), i["line"].as_u64().unwrap())).collect::<Vec<_>>()
    };
    assert!(cited(&with_code).contains(&("\"code\"".to_owned(), 2)), "{with_code}");

    // what a success printed too is not the cause
    let usual = "ConnectionRefusedError: [Errno 111] Connection refused\n";
    home.file("b.log", &format!("{usual}step 1\nerror: the frobnicator is out of tune\n"));
    home.file("good.log", &format!("{usual}step 1\nfine\n"));
    let without = analyze(&["b.log"]);
    let compared = analyze(&["b.log", "--baseline", "good.log", "--baseline", "a.log"]);
    assert!(cited(&without).contains(&("\"log\"".to_owned(), 1)), "{without}");
    assert!(!cited(&compared).contains(&("\"log\"".to_owned(), 1)), "{compared}");
    assert!(cited(&compared).contains(&("\"log\"".to_owned(), 3)), "{compared}");

    let explained = home.output(&["analyze", "a.log", "--offline", "--explain"]);
    let shown = text(&explained.stdout);
    let parts = analyze(&["a.log", "--explain"])["signature_parts"].clone();
    assert!(
        shown.contains(&format!("  Signature {}, made of\n", named["signature"].as_str().unwrap())),
        "{shown}"
    );
    for part in parts.as_array().unwrap() {
        assert!(shown.contains(&format!("    {}\n", part.as_str().unwrap())), "{part}: {shown}");
    }
    assert!(
        parts.to_string().contains("python.module-not-found") && !parts.to_string().contains("/srv"),
        "{parts}"
    );
    assert!(named.get("signature_parts").is_none());
}

#[test]
fn the_signature_is_of_the_cause_and_not_of_the_run() {
    let home = Home::new();
    let signature = |log: &str| {
        let output =
            with_input(home.coroner(&["analyze", "-", "--offline", "--format", "json"]), log.as_bytes());
        json(&output)["signature"].clone()
    };
    let first = signature(TRACEBACK);
    assert_eq!(
        first,
        signature(&format!("pid 4711 at 0x7f00\n{}", TRACEBACK.replace("/srv/exp", "/tmp/run-99")))
    );
    assert_ne!(first, signature(&TRACEBACK.replace("torchvision", "torchaudio")));
}

#[test]
fn offline_touches_no_network() {
    let home = Home::new();
    home.file("a.log", TRACEBACK);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    home.file("batch.jsonl", "{\"logs\": \"boom\"}\n");
    for words in [
        &["analyze", "a.log", "--offline", "--format", "json"][..],
        &["analyze", "--batch", "batch.jsonl", "--offline"],
        &["evidence", "a.log"],
    ] {
        let mut command = home.coroner(words);
        command.env("ANTHROPIC_API_KEY", "sk-ant-api03-a-secret-key").env("CORONER_MODEL_BASE_URL", &url);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        assert!(!text(&output.stdout).contains("model_failure"), "{words:?}");
        assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "{words:?}");
    }
    // and without --offline it would have been asked
    drop(listener);
    let mut command = home.coroner(&["analyze", "a.log", "--format", "json"]);
    command.env("ANTHROPIC_API_KEY", "sk-ant-api03-a-secret-key").env("CORONER_MODEL_BASE_URL", &url);
    let said = json(&command.output().unwrap());
    assert_eq!(said["provenance"]["model_failure"]["kind"], "unreachable", "{said}");
    assert_eq!(
        (&said["provenance"]["source"], &said["failure_category"]),
        (&"rule".into(), &"import_error".into())
    );
}

#[test]
pub(crate) fn what_is_saved_is_found_again() {
    let home = Home::new();
    home.file("a.log", TRACEBACK);
    let database = home.path().join("kept/coroner.db");
    let store = format!("sqlite:{}", database.display());
    let analyze = |words: &[&str]| {
        let output =
            home.output(&[&["--store", &store, "analyze", "--offline", "--format", "json"], words].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        output
    };
    analyze(&["a.log"]);
    assert!(!database.exists());
    let saved = analyze(&["a.log", "--save", "--id", "exp-1", "--type", "training"]);
    assert!(text(&saved.stderr).contains("kept as exp-1: coroner show exp-1"), "{}", text(&saved.stderr));
    let list = json(&home.output(&["--store", &store, "list", "--format", "json"]));
    assert_eq!((&list["total_count"], &list["experiments"][0]["id"]), (&1.into(), &"exp-1".into()));
    let shown = json(&home.output(&["--store", &store, "show", "exp-1", "--format", "json"]));
    assert_eq!(shown["diagnosis"]["signature"], json(&saved)["signature"]);
    assert_eq!(shown["experiment_type"], "training");
    assert_eq!(home.output(&["--store", &store, "show", "exp-1", "--log"]).stdout, TRACEBACK.as_bytes());

    let again = json(&analyze(&["a.log"]));
    assert_eq!(
        (&again["similar"][0]["experiment_id"], &again["similar"][0]["score"]),
        (&"exp-1".into(), &1.0.into())
    );
    let itself = json(&analyze(&["a.log", "--save", "--id", "exp-1"]));
    assert_eq!(itself["similar"], serde_json::json!([]), "a failure is not like itself");
    let card = text(&home.output(&["--store", &store, "analyze", "a.log", "--offline"]).stdout);
    assert!(card.contains("  Before  1 like it"), "{card}");
    let list = json(&home.output(&["--store", &store, "list", "--format", "json"]));
    assert_eq!(list["total_count"], 1, "looking adds nothing");

    // a log that comes only once is kept all the same
    let piped = home.coroner(&["--store", &store, "analyze", "-", "--offline", "--save", "--id", "piped"]);
    assert_eq!(with_input(piped, b"MemoryError\n").status.code(), Some(0));
    assert_eq!(home.output(&["--store", &store, "show", "piped", "--log"]).stdout, b"MemoryError\n");
    let mut fifo = home.coroner(&[]);
    fifo = {
        let mut shell = std::process::Command::new("bash");
        home.dress(&mut shell);
        let binary = fifo.get_args().next().unwrap().to_str().unwrap().to_owned();
        shell.args([
            "-c",
            &format!("'{binary}' --store '{store}' analyze --offline --save --id fifo <(echo MemoryError)"),
        ]);
        shell
    };
    assert_eq!(fifo.output().unwrap().status.code(), Some(0));
    assert_eq!(home.output(&["--store", &store, "show", "fifo", "--log"]).stdout, b"MemoryError\n");
}

#[test]
fn nothing_in_a_log_deceives_whoever_reads_the_answer() {
    let home = Home::new();
    let log =
        "\x1b[2J\x1b]0;owned\x07\x1b[31mImportError: No module named \u{202e}evil\u{9b}0m\x1b[0m \x08\x08y\n";
    home.file("a.log", log);
    let batch = format!("{}\n", serde_json::json!({"logs": log}));
    home.file("b.jsonl", &batch);
    for words in [
        &["analyze", "a.log", "--offline", "--explain"][..],
        &["analyze", "a.log", "--offline", "--explain", "--format", "json"],
        &["analyze", "--batch", "b.jsonl", "--offline"],
        &["evidence", "a.log"],
        &["evidence", "a.log", "--format", "json"],
    ] {
        let output = home.output(words);
        let shown = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(shown.contains("ImportError"), "{words:?}: {shown:?}");
        let bad = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!shown.contains(bad), "{words:?}: {shown:?}");
    }
    home.file("plain.log", TRACEBACK);
    let painted = home.output(&["analyze", "plain.log", "--offline", "--color", "always"]);
    assert!(text(&painted.stdout).contains('\x1b'), "colour where it is asked for");
    let plain = home.output(&["analyze", "plain.log", "--offline"]);
    assert!(!text(&plain.stdout).contains('\x1b'));
    // the other way round: what a locale can't show is not shown
    let mut ascii = home.coroner(&["analyze", "plain.log", "--offline"]);
    ascii.env("LANG", "C");
    assert!(ascii.output().unwrap().stdout.is_ascii());
}

#[test]
fn nobody_has_to_read() {
    let home = Home::new();
    home.file("a.log", TRACEBACK);
    let line = format!("{}\n", serde_json::json!({"logs": TRACEBACK}));
    home.file("b.jsonl", &line.repeat(500));
    for words in [
        &["analyze", "a.log", "--offline"][..],
        &["analyze", "--batch", "b.jsonl", "--offline"],
        &["evidence", "a.log"],
        &["rules", "list"],
        &["rules", "show", "python.module-not-found"],
    ] {
        let mut child = started(home.coroner(words));
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{words:?}");
        // a full disk is another matter
        let mut command = home.coroner(words);
        command.stdout(std::fs::File::create("/dev/full").unwrap());
        let output = command.output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {stderr}");
        assert!(stderr.contains("can't write to standard output") && !stderr.contains("anic"), "{stderr}");
    }
}

#[test]
fn evidence_keeps_to_its_budget_and_to_the_log() {
    let home = Home::new();
    let secret = "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUv";
    let mut log = String::new();
    for i in 0..4000 {
        log.push_str(&format!("epoch {i}: loss {:.3} — grüße\n", f64::from(i) / 7.0));
        if i == 1500 {
            log.push_str(&format!("using key {secret} of ada@example.org, and from-the-environment\n"));
            log.push_str(TRACEBACK);
        }
    }
    home.file("a.log", &log);
    let lines: Vec<&str> = log.lines().collect();
    for budget in [0, 1, 7, 60, 200, 1000, 3000, 20_000, 1_000_000] {
        let mut command =
            home.coroner(&["evidence", "a.log", "--budget", &budget.to_string(), "--format", "json"]);
        command.env("MY_API_TOKEN", "from-the-environment");
        let output = command.output().unwrap();
        let excerpt = json(&output);
        let keys: Vec<&str> = excerpt.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["chars", "lines", "log_bytes", "log_lines", "text"];
        assert!(keys.len() == 5 && expected.iter().all(|key| keys.contains(key)), "{keys:?}");
        let shown = excerpt["text"].as_str().unwrap();
        assert_eq!(excerpt["chars"], shown.chars().count());
        assert!(shown.chars().count() <= budget, "{budget}: {}", shown.chars().count());
        assert_eq!((&excerpt["log_lines"], &excerpt["log_bytes"]), (&lines.len().into(), &log.len().into()));
        for hidden in [secret, "ada@example.org", "from-the-environment"] {
            assert!(!text(&output.stdout).contains(hidden), "{budget}: {hidden}");
        }
        for item in excerpt["lines"].as_array().unwrap() {
            let keys: Vec<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
            assert!(
                keys.len() == 3 && ["line", "text", "role"].iter().all(|key| keys.contains(key)),
                "{keys:?}"
            );
            let (number, cited) = (item["line"].as_u64().unwrap(), item["text"].as_str().unwrap());
            let line = lines[usize::try_from(number).unwrap() - 1];
            assert!(line.contains(cited) || line.contains(secret), "{number}: {cited:?} is not in {line:?}");
            assert!(shown.contains(&number.to_string()) && shown.contains(cited), "{item}: {shown}");
        }
        if budget >= 200 {
            assert!(shown.contains("No module named 'torchvision'"), "{budget}: {shown}");
        }
        if budget == 3000 {
            let default = home.output(&["evidence", "a.log", "--format", "json"]);
            assert!(json(&default)["chars"].as_u64().unwrap() <= 3000);
            assert!(text(&home.output(&["evidence", "a.log"]).stdout).contains("torchvision"));
        }
    }
    // the same from standard input, and with a budget of the configuration
    let mut command = home.coroner(&["evidence", "-", "--format", "json"]);
    command.env("CORONER_EVIDENCE_BUDGET", "300");
    assert!(json(&with_input(command, log.as_bytes()))["chars"].as_u64().unwrap() <= 300);
}
