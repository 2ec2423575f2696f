//! Input as it should not be: each gets a clear message and the right exit status, and nothing is lost.

use std::io::Write;

use crate::analyze::{TRACEBACK, json};
use crate::rig::{Home, text, with_input};

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let home = Home::new();
    let write = |name: &str, bytes: &[u8]| std::fs::write(home.path().join(name), bytes).unwrap();
    std::fs::create_dir(home.path().join("folder")).unwrap();
    home.file("good.log", TRACEBACK);
    write("a.gz", b"\x1f\x8b\x08\0\0\0\0\0");
    write("a.zst", b"\x28\xb5\x2f\xfd\x04\x58");
    write("program", &std::fs::read(env!("CARGO_BIN_EXE_coroner")).unwrap()[..4096]);
    write(
        "noise",
        &(0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 % 24).collect::<Vec<_>>(),
    );
    write("utf16.log", b"\xff\xfeE\0r\0r\0o\0r\0\n\0");
    let cases: &[(&[&str], &str)] = &[
        (&["none.log"], "can't read the log none.log"),
        (&["folder"], "folder is a folder, not a log"),
        (&["a.gz"], "gunzip"),
        (&["a.zst"], "zstdcat"),
        (&["program"], "it is a program, not a log"),
        (&["noise"], "it is a binary file, not a log"),
        (&["utf16.log"], "iconv"),
        (&["good.log/x"], "can't read the log good.log/x"),
        (&[], "nothing to look at"),
        (&["--code", "good.log"], "nothing to look at"),
        (&["good.log", "--code", "none.py"], "can't read the code none.py"),
        (&["good.log", "--code", "folder"], "folder is a folder"),
        (&["good.log", "--baseline", "none.log"], "none.log"),
        (&["good.log", "--baseline", "a.gz"], "a.gz"),
    ];
    for (words, why) in cases {
        for command in [&["analyze", "--offline"][..], &["evidence"]] {
            let output = home.output(&[command, words].concat());
            let stderr = text(&output.stderr);
            assert_eq!(
                (output.status.code(), output.stdout.len()),
                (Some(2), 0),
                "{command:?} {words:?}: {stderr}"
            );
            assert!(stderr.starts_with("coroner: ") && stderr.contains(why), "{words:?}: {stderr}");
            assert_eq!(stderr.lines().count(), 1, "{words:?}: {stderr}");
        }
    }
    let gzip = with_input(home.coroner(&["analyze", "-", "--offline"]), b"\x1f\x8b\x08\0\0");
    assert_eq!(gzip.status.code(), Some(2));
    assert!(text(&gzip.stderr).contains("standard input"), "{}", text(&gzip.stderr));
}

#[test]
fn an_odd_log_is_a_log() {
    let home = Home::new();
    // cut to nothing while its writer went on
    let cut = [&[0; 300_000][..], TRACEBACK.as_bytes()].concat();
    let long = [&b"x".repeat(10 << 20)[..], b" MemoryError: out of memory ", &b"y".repeat(1 << 10)].concat();
    let progress = [&b"\r 10% |#   |".repeat(50_000)[..], b"\nMemoryError\n"].concat();
    for (name, log, category, lines) in [
        ("empty", &b""[..], "runtime_error", 0),
        ("NULs", &[0; 70_000], "runtime_error", 1),
        ("an end of line", b"\n", "runtime_error", 1),
        ("cut", &cut, "import_error", 5),
        ("a line of 10 MB", &long, "resource_error", 1),
        ("a progress bar", &progress, "resource_error", 2),
    ] {
        std::fs::write(home.path().join("a.log"), log).unwrap();
        let output = home.output(&["analyze", "a.log", "--offline", "--format", "json"]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output.stderr));
        let said = json(&output);
        assert_eq!(said["failure_category"], category, "{name}: {said}");
        assert!(!said.to_string().contains("\\u0000"), "{name}: {said}");
        let excerpt = json(&home.output(&["evidence", "a.log", "--format", "json"]));
        assert_eq!(
            (&excerpt["log_lines"], &excerpt["log_bytes"]),
            (&lines.into(), &log.len().into()),
            "{name}"
        );
        assert!(excerpt["chars"].as_u64().unwrap() <= 3000, "{name}");
    }
}

#[test]
fn a_log_that_grows_is_read_to_where_it_was() {
    let home = Home::new();
    // long enough that the writer comes in between, whatever the machine is at
    home.file("a.log", &format!("{}{TRACEBACK}", "a line of a log\n".repeat(2_000_000)));
    let mut log = std::fs::OpenOptions::new().append(true).open(home.path().join("a.log")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                log.write_all(b"and another line\n").unwrap();
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        });
        let output =
            home.output(&["analyze", "a.log", "--offline", "--save", "--id", "grown", "--format", "json"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        output
    });
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("a.log grew while it was read"), "{}", text(&output.stderr));
    assert_eq!(json(&output)["failure_category"], "import_error");
    // what is kept is what was looked at
    let looked_at: u64 = {
        let stderr = text(&output.stderr);
        let after = stderr.split("after its first ").nth(1).unwrap();
        after.split(' ').next().unwrap().parse().unwrap()
    };
    let kept = json(&home.output(&["show", "grown", "--format", "json"]));
    assert_eq!(kept["log"]["bytes"], looked_at);
}

#[test]
fn a_wrong_setting_is_named() {
    let home = Home::new();
    home.file("a.log", TRACEBACK);
    home.file("wrong.toml", "[model]\n\nnmae = \"x\"\n");
    home.file("broken.toml", "[model\n");
    home.file("rules.toml", "[rules]\npaths = [\"none.toml\"]\n");
    home.file("script.jsonl", "{\"text\": 1}\n");
    for (config, variables, why) in [
        ("wrong.toml", &[][..], "wrong.toml:3: unknown key `model.nmae`; did you mean `model.name`?"),
        ("broken.toml", &[], "broken.toml:1"),
        ("none.toml", &[], "can't read the configuration file none.toml"),
        ("rules.toml", &[], "can't read the rule file"),
        ("", &[("CORONER_MODEL_ASK", "sometimes")], "CORONER_MODEL_ASK"),
        ("", &[("CORONER_EVIDENCE_BUDGET", "many")], "CORONER_EVIDENCE_BUDGET"),
        ("", &[("CORONER_MODEL_SCRIPT", "none.jsonl")], "none.jsonl"),
        ("", &[("CORONER_MODEL_SCRIPT", "script.jsonl")], "line 1 of the script"),
        ("", &[("CORONER_MODEL_PROVIDER", "openai")], "model.name"),
        ("", &[("CORONER_STORE", "postgres:x"), ("SAVE", "yes")], "postgres:x"),
    ] {
        let mut words = vec!["analyze", "a.log"];
        if !config.is_empty() {
            words.extend(["--config", config]);
        }
        if variables.iter().any(|(name, _)| *name == "SAVE") {
            words.push("--save");
        }
        let mut command = home.coroner(&words);
        command.envs(variables.iter().copied());
        let output = command.output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{config}{variables:?}: {stderr}");
        assert!(stderr.contains(why), "{config}{variables:?}: {stderr}");
    }
    // one that looks like a setting is told, and is no reason to stop
    let mut command = home.coroner(&["analyze", "a.log", "--offline"]);
    command.env("CORONER_MODLE", "x");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("CORONER_MODLE"), "{}", text(&output.stderr));
}

#[test]
fn a_store_that_fails_costs_the_keeping_and_not_the_diagnosis() {
    let home = Home::new();
    home.file("a.log", TRACEBACK);
    let broken = home.file("broken.db", &"no SQLite here\n".repeat(100));
    let before = std::fs::read(&broken).unwrap();
    let file = home.file("file", "");
    for (store, why) in [
        (format!("sqlite:{broken}"), "not a database"),
        (format!("sqlite:{file}/c.db"), "/file"),
        ("sqlite:/proc/nowhere/c.db".to_owned(), "/proc/nowhere"),
    ] {
        let words = ["--store", &store, "analyze", "a.log", "--offline"];
        let output = home.output(&[&words[..], &["--save"]].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{store}: {stderr}");
        assert!(stderr.contains(why), "{store}: {stderr}");
        assert!(text(&output.stdout).starts_with("✖ import_error"), "{store}: {}", text(&output.stdout));

        let output = home.output(&words);
        assert_eq!(output.status.code(), Some(0), "{store}: {}", text(&output.stderr));
        assert!(text(&output.stdout).starts_with("✖ import_error"), "{store}");
        let said = text(&output.stderr).contains("earlier failures are not looked at");
        assert_eq!(said, store.contains("broken"), "{store}: {}", text(&output.stderr));
    }
    assert_eq!(std::fs::read(&broken).unwrap(), before, "what is damaged is left as it is");
    let wrong = home.output(&["analyze", "a.log", "--offline", "--save", "--id", "a\nb"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
    assert!(text(&wrong.stdout).starts_with("✖ import_error"), "nothing is lost");
}
