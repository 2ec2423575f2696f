//! `coroner store copy` and `migrate`: one store into another, and what is in the way.

use std::process::Command;

use serde_json::Value;

use crate::rig::{Home, text};

fn said(home: &Home, words: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let output = home.coroner(words).envs(variables.iter().copied()).output().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const SCRIPT: &str =
    "head -c 100000 /dev/urandom | base64; echo \"ModuleNotFoundError: No module named 'yaml'\"; exit 1";

/// Copies what one has into another and back, and says what both list.
fn copies(home: &Home, to: &str, variables: &[(&str, &str)]) {
    let say = |words: &[&str]| said(home, words, variables);
    let (from, back) = ("sqlite:lab.db", "sqlite:back.db");
    for store in [from, to, back] {
        assert_eq!(say(&["--store", store, "store", "init"]).0, Some(0));
    }
    for i in 0..3 {
        let id = format!("run-{i}");
        let (status, _, stderr) = say(&["--store", from, "run", "--id", &id, "--", "sh", "-c", SCRIPT]);
        assert_eq!(status, Some(1), "{stderr}");
    }
    let (status, stdout, stderr) = say(&["store", "copy", from, to]);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains(&format!("{from} -> {to}: 3 experiments copied, 0 there already")), "{stdout}");
    let (status, stdout, stderr) = say(&["store", "copy", to, back, "--format", "json"]);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    let told: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (&told["whole"], &told["copied"], &told["experiments"]["to"], &told["causes"]["to"]),
        (&Value::Bool(true), &3.into(), &3.into(), &1.into()),
        "{told}"
    );
    let (status, stdout, _) = say(&["store", "copy", from, back]);
    assert!(status == Some(0) && stdout.contains("0 experiments copied, 3 there already"), "{stdout}");
    let listed = |store: &str| say(&["--store", store, "list", "--format", "json"]).1;
    let log = |store: &str| say(&["--store", store, "show", "run-1", "--log"]).1;
    for store in [to, back] {
        assert_eq!(listed(store), listed(from));
        assert!(log(store).len() > 100_000 && log(store) == log(from));
    }
}

#[test]
fn a_file_is_copied() {
    copies(&Home::new(), "sqlite:to/lab.db", &[]);
}

#[test]
fn a_file_is_copied_into_a_table_and_back() {
    let Some(endpoint) = std::env::var("CORONER_TEST_DYNAMODB").ok().filter(|it| !it.is_empty()) else {
        println!(
            "skipped: store_copy::a_file_is_copied_into_a_table_and_back: CORONER_TEST_DYNAMODB is not set: scripts/test starts an emulator"
        );
        return;
    };
    let home = Home::new();
    let name = home.path().file_name().unwrap().to_str().unwrap().replace('.', "");
    let table = format!("dynamodb:copy-{}-{name}", std::process::id());
    let variables = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", &*endpoint),
    ];
    copies(&home, &table, &variables);
    let (status, stdout, stderr) = said(&home, &["--store", &table, "store", "migrate"], &variables);
    assert!(status == Some(0) && stdout.contains("nothing to do"), "{stdout}{stderr}");
    let (status, _, stderr) = said(&home, &["store", "copy", &table, &table], &variables);
    assert!(status == Some(2) && stderr.contains("the same store"), "{stderr}");
    let missing = format!("{table}-not");
    for (from, to) in [(&*table, &*missing), (&*missing, &*table)] {
        let (status, _, stderr) = said(&home, &["store", "copy", from, to], &variables);
        let advice = format!("coroner --store {missing} store init");
        assert!(status == Some(2) && stderr.contains(&advice), "{stderr}");
        let (status, _, stderr) = said(&home, &["--store", &missing, "store", "migrate"], &variables);
        assert!(status == Some(2) && stderr.contains(&advice), "{stderr}");
    }
}

#[test]
fn what_is_in_the_way_is_told() {
    let home = Home::new();
    let say = |words: &[&str]| said(&home, words, &[]);
    for (store, id) in [("sqlite:a.db", "one"), ("sqlite:b.db", "two")] {
        assert_eq!(say(&["--store", store, "run", "--id", id, "--", "sh", "-c", "exit 3"]).0, Some(3));
    }
    home.file("text.db", "no database");
    for (words, advice) in [
        (["store", "copy", "sqlite:none.db", "sqlite:b.db"], "there is no store sqlite:none.db"),
        (["store", "copy", "sqlite:a.db", "sqlite:none.db"], "store init"),
        (["store", "copy", "sqlite:a.db", "sqlite:./a.db"], "are the same store"),
        (["store", "copy", "sqlite:a.db", "a.db"], "no scheme"),
        (["store", "copy", "sqlite:a.db", "sqlite:b.db"], "nothing was written"),
    ] {
        let (status, _, stderr) = say(&words);
        assert!(status == Some(2) && stderr.contains(advice), "{words:?} {stderr}");
    }
    assert_eq!(say(&["store", "copy", "sqlite:text.db", "sqlite:b.db"]).0, Some(3));
    assert!(!home.path().join("none.db").exists());

    // a store as version 6 left it is not changed by a copy of it
    let older = "import sqlite3; c = sqlite3.connect('a.db'); c.executescript('''DROP INDEX by_signature_words_and_order;
        CREATE INDEX by_signature_and_words ON experiments (signature, status, category, severity, origin)
          WHERE signature IS NOT NULL; PRAGMA user_version = 6;''')";
    let made = Command::new("python3").args(["-c", older]).current_dir(home.path()).status().unwrap();
    assert!(made.success());
    assert_eq!(say(&["--store", "sqlite:c.db", "store", "init"]).0, Some(0));
    for _ in 0..2 {
        let (status, _, stderr) = say(&["store", "copy", "sqlite:a.db", "sqlite:c.db"]);
        assert!(status == Some(2) && stderr.contains("store migrate"), "{stderr}");
    }
    let migrate = || say(&["--store", "sqlite:a.db", "store", "migrate"]);
    assert_eq!(migrate(), (Some(0), "sqlite:a.db had form 6 and has form 7 now\n".to_owned(), String::new()));
    assert_eq!(migrate().1, "sqlite:a.db has the newest form (7): nothing to do\n");
    assert_eq!(say(&["store", "copy", "sqlite:a.db", "sqlite:c.db"]).0, Some(0));
    let (status, _, stderr) = say(&["--store", "sqlite:none.db", "store", "migrate"]);
    assert!(status == Some(2) && stderr.contains("there is no store"), "{stderr}");
}
