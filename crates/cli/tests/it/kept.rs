//! What `coroner run` leaves behind: the row, the log, the diagnosis; and the commands that show them.

use std::process::Command;

use serde_json::Value;

use crate::rig::{Home, started, text, until};

fn run(home: &Home, options: &[&str], script: &str) -> std::process::Output {
    home.output(&[&["run"], options, &["--", "sh", "-c", script]].concat())
}

fn show(home: &Home, id: &str) -> Value {
    let output = home.output(&["show", id, "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn list(home: &Home, options: &[&str]) -> Value {
    let output = home.output(&[&["list", "--format", "json"], options].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

const TRACEBACK: &str = "Traceback (most recent call last):\n  File \"train.py\", line 3, in <module>\n    import torchvision\nModuleNotFoundError: No module named 'torchvision'\n";

/// A command that dies of a missing module, printing in two pieces to two streams.
fn dies(home: &Home) -> String {
    let log = home.file("traceback", TRACEBACK);
    format!("echo step 1; cat '{log}' >&2; exit 1")
}

#[test]
fn the_card_is_the_last_thing_said_and_nothing_else_is_added() {
    let home = Home::new();
    let output = run(&home, &[], &dies(&home));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), "step 1\n".to_owned()));
    let stderr = text(&output.stderr);
    let card = stderr.strip_prefix(TRACEBACK).unwrap_or_else(|| panic!("{stderr}"));
    let first = card.lines().next().unwrap();
    assert!(
        first.starts_with("✖ import_error · high · candidate     exp 1 · sh · exit status 1 after "),
        "{card}"
    );
    assert!(card.contains("5  ModuleNotFoundError: No module named 'torchvision'"), "{card}");
    assert!(card.contains("\n  Fix ") && card.contains("coroner show 1"), "{card}");
    assert!(card.lines().count() <= 12 && card.ends_with('\n'), "{card}");

    let output = run(&home, &["--quiet"], "printf 'no line end'; exit 3");
    assert_eq!(text(&output.stdout), "no line end");
    assert!(text(&output.stderr).starts_with("\n✖ "), "begins a line of its own: {:?}", text(&output.stderr));
    let output = run(&home, &[], "echo fine; echo also >&2");
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("fine\n".to_owned(), "also\n".to_owned()));
}

#[test]
pub(crate) fn everything_is_kept_and_shown_again() {
    let home = Home::new();
    run(&home, &["--type", "training", "--id", "exp-7"], &dies(&home));
    run(&home, &["--type", "training"], "echo fine");
    let kept = show(&home, "exp-7");
    assert_eq!(kept["status"], "failed");
    assert_eq!((&kept["experiment_type"], &kept["number"]), (&"training".into(), &1.into()));
    assert_eq!(kept["exit"]["end"], serde_json::json!({"kind": "exited", "code": 1}));
    assert_eq!(kept["diagnosis"]["failure_category"], "import_error");
    assert_eq!(kept["diagnosis"]["experiment_id"], "exp-7");
    assert_eq!(kept["log"]["bytes"], TRACEBACK.len() + "step 1\n".len());
    let log = home.output(&["show", "1", "--log"]);
    assert_eq!(log.stdout.len(), TRACEBACK.len() + "step 1\n".len());
    assert!(text(&log.stdout).contains(TRACEBACK));

    let page = list(&home, &[]);
    assert_eq!((&page["total_count"], &page["running_commands"]), (&2.into(), &0.into()));
    assert_eq!(page["experiments"][0]["status"], "passed");
    assert!(page["experiments"][0].get("failure_analysis").is_none());
    assert_eq!(page["experiments"][1]["failure_analysis"]["category"], "import_error");
    for (filter, expected) in [
        (&["--category", "import_error"][..], 1),
        (&["--category", "timeout"], 0),
        (&["--severity", "high", "--origin", "candidate"], 1),
        (&["--status", "passed"], 1),
        (&["torchv"], 1),
    ] {
        assert_eq!(list(&home, filter)["total_count"], expected, "{filter:?}");
    }
    let cursor = list(&home, &["-n", "1"])["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(list(&home, &["--cursor", &cursor])["experiments"][0]["id"], "exp-7");

    let shown = text(&home.output(&["show"]).stdout);
    assert!(shown.starts_with("✖ import_error · high · candidate     exp 1 · exit status 1"), "{shown}");
    assert!(shown.contains("  Id        exp-7\n"), "{shown}");
    let listed = text(&home.output(&["list"]).stdout);
    assert!(listed.lines().nth(1).unwrap().contains("import_error high"), "{listed}");
}

#[test]
pub(crate) fn every_way_to_end_gets_its_diagnosis() {
    let home = Home::new();
    let ways = [
        (&["--", "no-such-command"][..], 127, "import_error", "not_started"),
        (&["--timeout", "0.3", "--", "sleep", "600"], 124, "timeout", "timed_out"),
        (
            &["--memory", "100M", "--", "python3", "-c", "x = bytearray(1 << 30)\nwhile True: pass"],
            137,
            "resource_error",
            "memory_limit",
        ),
        (&["--", "sh", "-c", "kill -SEGV $$"], 139, "runtime_error", "signaled"),
        (&["--", "false"], 1, "runtime_error", "exited"),
    ];
    for (number, (words, status, category, end)) in ways.into_iter().enumerate() {
        let output = home.output(&[&["run", "--diagnosis", "d.json"], words].concat());
        assert_eq!(output.status.code(), Some(status), "{words:?}");
        let written: Value =
            serde_json::from_str(&std::fs::read_to_string(home.path().join("d.json")).unwrap()).unwrap();
        let kept = show(&home, &(number + 1).to_string());
        assert_eq!(kept["exit"]["end"]["kind"], end, "{words:?}");
        assert_eq!(kept["diagnosis"]["failure_category"], category, "{words:?}");
        assert_eq!(kept["diagnosis"]["signature"], written["signature"]);
    }
    let output = home.output(&["run", "--format", "json", "--", "sh", "-c", "echo out; exit 2"]);
    let last: Value = serde_json::from_str(text(&output.stderr).lines().last().unwrap()).unwrap();
    assert_eq!(last["failure_category"], "runtime_error");
}

#[test]
pub(crate) fn a_success_is_compared_with_and_a_repetition_counted() {
    let home = Home::new();
    run(&home, &[], &dies(&home));
    let output = run(&home, &[], &dies(&home));
    assert!(text(&output.stderr).contains("  Before  1 like it"), "{}", text(&output.stderr));
    let kept = show(&home, "2");
    assert_eq!(kept["diagnosis"]["similar"][0]["score"], 1.0, "{kept}");
}

#[test]
pub(crate) fn secrets_of_the_command_are_not_kept() {
    let home = Home::new();
    let mut command = home.coroner(&[
        "run",
        "--",
        "echo",
        "--token",
        "hf_AbCdEfGhIjKlMnOpQrStUv",
        "--name",
        "from-the-environment",
        "plain",
    ]);
    command.env("MY_API_KEY", "from-the-environment");
    assert!(command.output().unwrap().status.success());
    let kept = show(&home, "1");
    let words = kept["command"].as_array().unwrap();
    assert_eq!((words.len(), &words[0], &words[5]), (6, &"echo".into(), &"plain".into()));
    let shown = kept["command"].to_string();
    assert!(!shown.contains("hf_AbC") && !shown.contains("from-the-environment"), "{shown}");
}

#[test]
pub(crate) fn a_run_whose_coroner_died_is_closed_at_the_next_start() {
    let home = Home::new();
    let mut child =
        started(home.coroner(&["run", "--", "sh", "-c", "cat traceback; echo $$ > pid; sleep 600"]));
    home.file("traceback", TRACEBACK);
    let pid = home.path().join("pid");
    until("it runs", || pid.exists() && !std::fs::read_to_string(&pid).unwrap().is_empty());
    let running = list(&home, &[]);
    assert_eq!(
        (&running["running_commands"], &running["experiments"][0]["status"]),
        (&1.into(), &"running".into())
    );
    // what was printed a moment ago survives us
    let partial = || {
        let data = std::fs::read_dir(home.path().join(".local/share/coroner")).unwrap();
        let logs =
            data.map(|entry| entry.unwrap().path()).find(|path| path.to_string_lossy().ends_with("-logs"));
        logs.and_then(|logs| std::fs::metadata(logs.join("partial/1.zst")).ok()).map_or(0, |it| it.len())
    };
    until("what was printed is on disk", || partial() > 0);
    child.kill().unwrap();
    child.wait().unwrap();
    Command::new("kill").args(["-9", std::fs::read_to_string(&pid).unwrap().trim()]).status().unwrap();

    let output = run(&home, &[], "echo next");
    assert_eq!(text(&output.stdout), "next\n");
    assert!(text(&output.stderr).contains("exp 1 has been closed as lost"), "{}", text(&output.stderr));
    let kept = show(&home, "1");
    assert_eq!(
        (&kept["status"], &kept["diagnosis"]["failure_category"]),
        (&"lost".into(), &"import_error".into())
    );
    assert!(text(&home.output(&["show", "1", "--log"]).stdout).contains("torchvision"));
    assert_eq!(list(&home, &[])["running_commands"], 0);
}

#[test]
fn a_store_that_fails_costs_the_record_and_not_the_run() {
    let home = Home::new();
    let not_a_database = home.file("not-a-database", &"no SQLite here\n".repeat(100));
    for (store, why) in [
        (format!("sqlite:{not_a_database}"), "not a database"),
        ("sqlite:/proc/nowhere/c.db".to_owned(), "/proc/nowhere"),
    ] {
        let output = home.output(&[
            "--store",
            &store,
            "run",
            "--",
            "sh",
            "-c",
            "echo out; echo 'MemoryError' >&2; exit 9",
        ]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(9), "out\n".to_owned()), "{store}");
        let stderr = text(&output.stderr);
        assert!(stderr.contains("coroner: this run is not kept: ") && stderr.contains(why), "{stderr}");
        assert!(stderr.contains("✖ resource_error"), "diagnosed all the same: {stderr}");
        assert_eq!(
            home.output(&["--store", &store, "list"]).status.code(),
            Some(if why.contains("nowhere") { 0 } else { 3 })
        );
    }
    for wrong in [
        &["--store", "postgres:x", "run", "--", "touch", "started"][..],
        &["run", "--id", "a\nb", "--", "touch", "started"],
    ] {
        assert_eq!(home.output(wrong).status.code(), Some(2), "{wrong:?}");
    }
    assert!(!home.path().join("started").exists());
}

#[test]
pub(crate) fn a_log_longer_than_memory_holds_is_read_back() {
    let home = Home::new();
    let script = "cat traceback; seq 1 1200000 | sed 's/^/step /'; exit 1";
    home.file("traceback", TRACEBACK);
    let output = run(&home, &[], script);
    assert_eq!(output.status.code(), Some(1));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("4  ModuleNotFoundError: No module named 'torchvision'"), "{stderr}");
    assert!(stderr.contains("1,200,004 lines"), "{stderr}");
    // over the limit only the first and the last is kept, and said so
    let mut command = home.coroner(&["run", "--", "sh", "-c", script]);
    command.env("CORONER_RUN_LOG_LIMIT", "100k");
    let output = command.output().unwrap();
    assert_eq!(text(&output.stdout).lines().count(), 1_200_004, "what passes through is never cut");
    let log = text(&home.output(&["show", "2", "--log"]).stdout);
    assert!(log.starts_with(TRACEBACK) && log.ends_with("step 1200000\n") && log.len() < 110_000);
    assert!(log.contains("bytes are left out here; run.log_limit is 100 KiB]"), "{}", log.len());
}

#[test]
fn nothing_in_a_log_reaches_the_terminal_by_way_of_the_card() {
    let home = Home::new();
    let script = "printf 'ImportError: No module named \\033]0;owned\\007\\033[2Jx\\302\\2330m\\342\\200\\256y\\n' >&2; exit 1";
    let output = run(&home, &[], script);
    let stderr = text(&output.stderr);
    let card = &stderr[stderr.find('✖').unwrap()..];
    assert!(!card.contains(|c: char| c != '\n' && c.is_control()) && !card.contains('\u{202e}'), "{card:?}");
    let listed = text(&home.output(&["list"]).stdout);
    assert!(!listed.contains(|c: char| c != '\n' && c.is_control()), "{listed:?}");
    let json = text(&home.output(&["show", "1", "--format", "json"]).stdout);
    assert!(!json.contains(['\u{9b}', '\u{202e}', '\x1b']), "{json:?}");
}

#[test]
fn looking_makes_nothing_and_says_what_to_do() {
    let home = Home::new();
    for (words, status) in
        [(&["list"][..], 0), (&["show"], 1), (&["prune"], 0), (&["doctor", "--offline"], 0)]
    {
        assert_eq!(home.output(words).status.code(), Some(status), "{words:?}");
    }
    assert!(text(&home.output(&["list"]).stderr).contains("coroner run -- false"));
    assert!(!home.path().join(".local").exists());
    run(&home, &[], "exit 0");
    let missing = home.output(&["show", "no-such-experiment"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("no experiment `no-such-experiment`"));
    assert_eq!(home.output(&["list", "--cursor", "nonsense"]).status.code(), Some(2));
}

#[test]
fn a_reader_that_goes_is_no_error() {
    let home = Home::new();
    for _ in 0..3 {
        run(&home, &[], "seq 1 100000; exit 1");
    }
    for words in [&["list"][..], &["show", "1", "--log"], &["doctor", "--defaults"], &["completions", "bash"]]
    {
        let mut child = started(home.coroner(words));
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("anic"), "{words:?}: {}", text(&output.stderr));
    }
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() {
    let home = Home::new();
    let doctor = |home: &Home| {
        let output = home.output(&["doctor", "--offline", "--format", "json"]);
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(i32::from(found["ok"] != true)));
        found
    };
    let state = |found: &Value, name: &str| {
        let checks = found["checks"].as_array().unwrap().clone();
        let check = checks.into_iter().find(|check| check["name"] == name).unwrap();
        (check["state"].as_str().unwrap().to_owned(), check["detail"].as_str().unwrap().to_owned())
    };
    let found = doctor(&home);
    assert_eq!(found["ok"], true, "{found}");
    assert_eq!(state(&found, "model").0, "note");

    home.file("mine.toml", "[[rule]]\nid = \"x\"\nnonsense = 1\n");
    let config = home.file(".config/coroner/config.toml", "[rules]\npaths = [\"../../mine.toml\"]\n");
    let found = doctor(&home);
    assert_eq!(state(&found, "configuration"), ("ok".to_owned(), config.clone()));
    assert!(state(&found, "rules").1.contains("mine.toml"), "{found}");
    assert_eq!(state(&found, "rules").0, "problem");

    std::fs::write(&config, "[model]\nnmae = \"x\"\n").unwrap();
    let found = doctor(&home);
    assert!(
        state(&found, "configuration")
            .1
            .contains("config.toml:2: unknown key `model.nmae`; did you mean `model.name`?")
    );
    std::fs::remove_file(&config).unwrap();

    let broken = home.file("broken.db", &"not a database\n".repeat(1000));
    let output = home.output(&["--store", &format!("sqlite:{broken}"), "doctor", "--offline"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("✖ store"), "{}", text(&output.stdout));
    let defaults = text(&home.output(&["doctor", "--defaults"]).stdout);
    assert_eq!(defaults, include_str!("../../src/default-config.toml"));
    home.file(".config/coroner/config.toml", &defaults);
    assert_eq!(doctor(&home)["ok"], true, "the manual is a configuration");
}

#[test]
fn manual_pages_and_completions_are_made() {
    let home = Home::new();
    let pages = home.path().join("man");
    std::fs::create_dir(&pages).unwrap();
    assert!(home.output(&["man", "man"]).status.success());
    let run = std::fs::read_to_string(pages.join("coroner-run.1")).unwrap();
    assert!(run.contains("Exit status") && run.contains("memory"), "{run}");
    assert_eq!(home.output(&["man", "no/such/folder"]).status.code(), Some(2));
    assert!(text(&home.output(&["man"]).stdout).contains(".TH coroner 1"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&home.output(&["completions", shell]).stdout).contains("coroner"), "{shell}");
    }
}

/// A failure that no rule explains, and a model that explains it after `after_ms`.
fn riddle(home: &Home, after_ms: u64, command: &mut Command) {
    home.file("riddle", "starting\nthe frobnicator is out of tune\nleaving\n");
    let answer = serde_json::json!({
        "failure_category": "logic_error", "severity": "low", "origin": "harness", "retryable": false, "confidence": 0.8,
        "root_cause": "The frobnicator was out of tune.", "fix_suggestion": "Tune the frobnicator.",
        "evidence": [{"source": "log", "line": 2, "quote": "the frobnicator is out of tune"}],
    });
    let line = serde_json::json!({"text": answer.to_string(), "after_ms": after_ms});
    home.file("script.jsonl", &format!("{line}\n"));
    command.env("CORONER_MODEL_SCRIPT", "script.jsonl");
}

#[test]
pub(crate) fn a_model_adds_what_it_knows_to_the_card_and_to_the_store() {
    let home = Home::new();
    let mut command = home.coroner(&["run", "--diagnosis", "d.json", "--", "sh", "-c", "cat riddle; exit 3"]);
    riddle(&home, 0, &mut command);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let stderr = text(&output.stderr);
    assert!(
        stderr.starts_with("✖ logic_error · low · harness") && stderr.contains("Tune the frobnicator."),
        "{stderr}"
    );
    assert!(stderr.contains("  Why     scripted ("), "{stderr}");
    assert!(!stderr.contains("like it"), "it is not like itself: {stderr}");
    let written = std::fs::read_to_string(home.path().join("d.json")).unwrap();
    for diagnosis in [show(&home, "1")["diagnosis"].clone(), serde_json::from_str(&written).unwrap()] {
        assert_eq!(diagnosis["provenance"]["source"], "model");
        assert_eq!(diagnosis["verdict"]["rule"], "fallback.line", "{diagnosis}");
    }
}

#[test]
pub(crate) fn who_does_not_wait_for_the_model_has_what_the_rules_say() {
    let home = Home::new();
    let mut command = home.coroner(&["run", "--diagnosis", "d.json", "--", "sh", "-c", "cat riddle; exit 3"]);
    riddle(&home, 20_000, &mut command);
    let child = started(command);
    // written before the model is asked
    until("the rules have spoken", || home.path().join("d.json").exists());
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("rule fallback.line"), "{}", text(&output.stderr));
    let kept = show(&home, "1");
    assert_eq!(
        (&kept["status"], &kept["diagnosis"]["provenance"]["source"]),
        (&"failed".into(), &"rule".into())
    );
}
