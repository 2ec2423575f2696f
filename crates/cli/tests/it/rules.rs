//! `coroner rules` and `coroner eval`: what is in force, what another rule would change, and how good it all is.

use serde_json::{Value, json};

use crate::analyze::{TRACEBACK, json as parsed};
use crate::rig::{Home, text, with_input};

/// A user's own rule, with something left to say.
fn rule(id: &str, rest: &str) -> String {
    format!(
        "[[rule]]\nid = \"{id}\"\ncategory = \"validation_error\"\nseverity = \"low\"\norigin = \"policy\"\nstrength = \"exact\"\nwhy = \"a test\"\nmatch = ['No module named .(?P<module>torch\\w+)']\ncause = [\"The sandbox has no {{module}}.\"]\nfix = [\"Ask for {{module}}.\"]\n{rest}\n"
    )
}

#[test]
fn rules_are_listed_and_shown() {
    let home = Home::new();
    let all = parsed(&home.output(&["rules", "list", "--format", "json"]));
    let all = all.as_array().unwrap();
    assert!(all.len() > 100, "{}", all.len());
    let listed = text(&home.output(&["rules", "list"]).stdout);
    assert_eq!(listed.lines().count(), all.len());
    for (rule, line) in all.iter().zip(listed.lines()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], rule["id"].as_str().unwrap());
        assert_eq!(words[1], rule["category"].as_str().unwrap());
    }
    let some = parsed(&home.output(&["rules", "list", "--category", "timeout", "--format", "json"]));
    let expected = all.iter().filter(|rule| rule["category"] == "timeout").count();
    assert_eq!((some.as_array().unwrap().len(), expected > 0), (expected, true));

    let shown = text(&home.output(&["rules", "show", "python.module-not-found"]).stdout);
    for part in [
        "python.module-not-found  import_error / high / candidate",
        "  Why ",
        "  Looks ",
        "  Says ",
        "  Fix ",
        "  From ",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shown = parsed(&home.output(&["rules", "show", "python.module-not-found", "--format", "json"]));
    assert!(all.contains(&shown), "{shown}");
    let missing = home.output(&["rules", "show", "python.module-notfound", "--quiet"]);
    assert_eq!((missing.status.code(), missing.stdout.len()), (Some(1), 0));
    assert!(text(&missing.stderr).contains("python.module-not-found"), "{}", text(&missing.stderr));
    assert_eq!(home.output(&["rules", "list", "--category", "oops"]).status.code(), Some(2));
}

#[test]
pub(crate) fn a_rule_that_is_switched_off_speaks_no_more() {
    let home = Home::new();
    home.file("a.log", TRACEBACK);
    let spoke = || {
        let judged = parsed(&home.output(&["analyze", "a.log", "--offline", "--format", "json"]));
        judged["provenance"]["rule"].as_str().unwrap().to_owned()
    };
    let rule = spoke();
    let switch = |what: &str, rule: &str| home.output(&["rules", what, rule]).status.code();
    assert_eq!((switch("disable", &rule), switch("disable", &rule)), (Some(0), Some(1)));
    assert_ne!(spoke(), rule);
    let run = home.output(&["run", "--diagnosis", "d.json", "--", "sh", "-c", "cat a.log; exit 1"]);
    assert_eq!(run.status.code(), Some(1));
    let kept: Value = serde_json::from_slice(&std::fs::read(home.path().join("d.json")).unwrap()).unwrap();
    assert_ne!(kept["provenance"]["rule"], rule.as_str(), "in a run neither");
    let listed = text(&home.output(&["rules", "list"]).stdout);
    let line = listed.lines().find(|line| line.starts_with(&format!("{rule} "))).unwrap();
    assert!(line.contains("switched off by"), "{line}");
    let shown = parsed(&home.output(&["rules", "show", &rule, "--format", "json"]));
    assert_eq!(shown["enabled"], false);
    assert!(text(&home.output(&["rules", "show", &rule]).stdout).contains("switched off by"));
    assert_eq!(switch("disable", "no.such.rule"), Some(1));
    assert_eq!((switch("enable", &rule), switch("enable", &rule)), (Some(0), Some(1)));
    assert_eq!(spoke(), rule);
}

#[test]
fn what_is_wrong_with_a_rule_is_named_with_its_place() {
    let home = Home::new();
    let good = rule("mine.module", "examples = [\"ModuleNotFoundError: No module named 'torchvision'\"]");
    home.file("good.toml", &good);
    let cases: &[(&str, String, &str)] = &[
        ("TOML", "[[rule]\n".into(), "bad.toml:1: "),
        (
            "an unknown key",
            rule("mine.x", "nonsense = 1"),
            "bad.toml:11: rule mine.x: unknown field `nonsense`",
        ),
        (
            "a word",
            rule("mine.x", "").replace("policy", "nobody"),
            "bad.toml:5: rule mine.x: unknown variant `nobody`",
        ),
        ("a missing key", rule("mine.x", "").replace("severity", "# severity"), "missing field `severity`"),
        ("a pattern", rule("mine.x", "").replace("\\w+)", "\\w+"), "rule mine.x: match: "),
        (
            "a hole",
            rule("mine.x", "").replace("has no {module}", "has no {modul}"),
            "rule mine.x: cause: nothing captures {modul}",
        ),
        (
            "an example",
            rule("mine.x", "examples = [\"KeyError: 'x'\"]"),
            "rule mine.x: its example is judged by ",
        ),
        (
            "a counterexample",
            rule("mine.x", "counterexamples = [\"No module named 'torchaudio'\"]"),
            "bad.toml:2: rule mine.x: it matches its counterexample",
        ),
        (
            "the second",
            good.clone() + &rule("mine.module", ""),
            "bad.toml:12: rule mine.module: the id is taken",
        ),
    ];
    for (name, file, why) in cases {
        home.file("bad.toml", file);
        let output = home.output(&["rules", "check", "good.toml", "bad.toml"]);
        let stdout = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output.stderr));
        assert!(stdout.starts_with("bad.toml:") && stdout.contains(why), "{name}: {stdout}");
        let found = parsed(&home.output(&["rules", "check", "good.toml", "bad.toml", "--format", "json"]));
        assert!(found["sound"].as_u64().unwrap() >= 1, "{name}: {found}");
        assert!(found["faults"][0].as_str().unwrap().contains(why), "{name}: {found}");
    }
    let output = home.output(&["rules", "check", "good.toml"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    assert!(text(&output.stderr).contains("1 sound rule, 0 faults"), "{}", text(&output.stderr));
    for unreadable in ["none.toml", "."] {
        assert_eq!(home.output(&["rules", "check", unreadable]).status.code(), Some(2));
    }

    // in force, a broken one stops everything that would judge with it
    home.file("bad.toml", &cases[1].1);
    home.file("a.log", TRACEBACK);
    for words in [&["analyze", "a.log", "--offline"][..], &["evidence", "a.log"], &["rules", "list"]] {
        let mut command = home.coroner(words);
        command.env("CORONER_RULES_PATHS", "good.toml:bad.toml");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(text(&output.stderr).contains("bad.toml:11: rule mine.x: "), "{}", text(&output.stderr));
    }
}

#[test]
fn ones_own_rule_counts_before_ours() {
    let home = Home::new();
    home.file("a.log", TRACEBACK);
    let analyze = |home: &Home| parsed(&home.output(&["analyze", "a.log", "--offline", "--format", "json"]));
    assert_eq!(analyze(&home)["failure_category"], "import_error");
    home.file(".config/coroner/config.toml", "[rules]\npaths = [\"mine.toml\"]\n");
    // beside ours, and in place of it
    for id in ["mine.module", "python.module-not-found"] {
        home.file(".config/coroner/mine.toml", &rule(id, ""));
        let said = analyze(&home);
        assert_eq!(said["provenance"]["rule"], id);
        assert_eq!(
            (&said["failure_category"], &said["severity"]),
            (&"validation_error".into(), &"low".into())
        );
        assert_eq!(said["root_cause"], "The sandbox has no torchvision.");
        let shown = parsed(&home.output(&["rules", "show", id, "--format", "json"]));
        assert_eq!(shown["own"], true);
        assert!(shown["file"].as_str().unwrap().ends_with("mine.toml"), "{shown}");
    }
}

#[test]
pub(crate) fn a_rule_is_tried_on_what_is_stored() {
    let home = Home::new();
    home.file("mine.toml", &rule("mine.module", ""));
    let nothing = home.output(&["rules", "test", "mine.toml"]);
    assert_eq!(nothing.status.code(), Some(0), "{}", text(&nothing.stderr));
    assert!(!home.path().join(".local").exists(), "trying makes no store");

    // twice the same id: each attempt is tried
    for (id, log) in [("one", TRACEBACK), ("two", "MemoryError\n"), ("one", "KeyError: 'x'\n")] {
        home.file("a.log", log);
        let saved =
            home.output(&["analyze", "a.log", "--offline", "--save", "--id", id, "--type", "nightly"]);
        assert_eq!(saved.status.code(), Some(0), "{}", text(&saved.stderr));
    }
    home.output(&["analyze", "--error", "MemoryError", "--offline", "--save", "--id", "no-log"]);
    let test = |words: &[&str], status: i32| {
        let output = home.output(&[&["rules", "test", "--format", "json"], words].concat());
        assert_eq!(output.status.code(), Some(status), "{words:?}: {}", text(&output.stderr));
        parsed(&output)
    };
    let changes = |found: &Value| {
        let list = found["changes"].as_array().unwrap().iter();
        list.map(|c| (c["experiment_id"].clone(), c["before"]["rule"].clone(), c["after"]["rule"].clone()))
            .collect::<Vec<_>>()
    };
    let found = test(&["mine.toml"], 1);
    assert_eq!((&found["looked_at"], &found["without_log"]), (&4.into(), &1.into()));
    assert_eq!(changes(&found), [("one".into(), "python.module-not-found".into(), "mine.module".into())]);
    assert_eq!(test(&["mine.toml", "--limit", "1"], 0)["looked_at"], 1);
    let shown = home.output(&["rules", "test", "mine.toml"]);
    assert!(
        text(&shown.stdout).contains("one\n  now   import_error (python.module-not-found): "),
        "{}",
        text(&shown.stdout)
    );
    assert!(
        text(&shown.stdout)
            .contains("  then  validation_error (mine.module): The sandbox has no torchvision.")
    );

    // in place of ours with the same category, only the sentences change, and that is a change
    home.file("ours.toml", &rule("python.module-not-found", "").replace("validation_error", "import_error"));
    assert_eq!(changes(&test(&["ours.toml"], 1)).len(), 1);
    // for another kind of experiment it says nothing; for this one it does
    home.file("other.toml", &rule("mine.module", "type = ['^weekly$']"));
    assert_eq!(changes(&test(&["other.toml"], 0)).len(), 0);
    home.file("this.toml", &rule("mine.module", "type = ['^nightly$']"));
    assert_eq!(changes(&test(&["this.toml"], 1)).len(), 1);
    // one that is in force already changes nothing
    let mut command = home.coroner(&["rules", "test", "mine.toml"]);
    command.env("CORONER_RULES_PATHS", "mine.toml");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // an id: what it judges
    assert_eq!(changes(&test(&["python.module-not-found"], 0)).len(), 1);

    home.file("bad.toml", &rule("mine.module", "nonsense = 1"));
    let output = home.output(&["rules", "test", "bad.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("bad.toml:11: rule mine.module: "), "{}", text(&output.stderr));
    assert_eq!(home.output(&["rules", "test", "no.such-rule"]).status.code(), Some(2));
    let broken = home.file("broken.db", &"not a database\n".repeat(100));
    let output = home.output(&["--store", &format!("sqlite:{broken}"), "rules", "test", "mine.toml"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
}

#[test]
fn eval_counts_what_it_is_given() {
    let home = Home::new();
    home.file("corpus/logs/a.log", TRACEBACK);
    home.file("corpus/logs/b.log", &format!("{}MemoryError\n", "step\n".repeat(2000)));
    let lines = |cases: &[Value]| cases.iter().map(|case| format!("{case}\n")).collect::<String>();
    home.file(
        "corpus/k1.jsonl",
        &lines(&[
            json!({"id": "a", "project": "p", "tier": "A", "log_path": "logs/a.log", "truth_lines": [5], "truth_text": "ModuleNotFoundError: No module named 'torchvision'"}),
            json!({"id": "b", "project": "p", "tier": "B", "log_path": "logs/b.log", "truth_lines": [2001], "truth_text": "MemoryError"}),
            // the truth as labelled is a line that nobody would cite
            json!({"id": "c", "project": "p", "tier": "B", "log_path": "logs/b.log", "truth_lines": [7], "truth_text": "step"}),
        ]),
    );
    let label = |id: &str, error: &str, category: &str, severity: &str| json!({"id": id, "project": "p", "error_message": error, "log": null, "category": category, "severity": severity});
    home.file(
        "corpus/k2.jsonl",
        &lines(&[
            label("right", "ModuleNotFoundError: No module named 'x'", "import_error", "high"),
            label("wrong", "ModuleNotFoundError: No module named 'x'", "timeout", "low"),
            {
                let mut case = label(
                    "arguable",
                    "ModuleNotFoundError: No module named 'x'",
                    "validation_error",
                    "medium",
                );
                case["ambiguous"] = true.into();
                case["also"] = json!(["import_error"]);
                case
            },
        ]),
    );
    let seed = |id: &str, category: &str, origin: &str| json!({"id": id, "error_message": "MemoryError", "expected": {"category": category, "accept": [category, "timeout"], "severity": "high", "origin": origin}});
    home.file(
        "corpus/seed-cases.jsonl",
        &lines(&[seed("s1", "resource_error", "candidate"), seed("s2", "logic_error", "policy")]),
    );
    let eval = |words: &[&str]| {
        let output = home.output(&[&["eval", "--format", "json"], words].concat());
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output.stderr));
        parsed(&output)
    };
    let found = eval(&["corpus"]);
    let share = |key: &str| {
        let share = &found["figures"][key];
        (share["hits"].as_u64().unwrap(), share["of"].as_u64().unwrap())
    };
    for (key, expected) in [
        ("category_strict", (1, 2)),
        ("category_lenient", (2, 3)),
        ("severity_exact", (1, 3)),
        ("severity_within_one", (2, 3)),
        ("seed_accepted", (1, 2)),
        ("seed_exact", (1, 2)),
        ("cited_tier_a", (1, 1)),
        ("cited_tier_b", (1, 2)),
    ] {
        assert_eq!(share(key), expected, "{key}: {}", found["figures"]);
    }
    assert_eq!(found["figures"]["category_macro_percent"], 50.0, "one of two categories");
    let (import, timeout) = (1, 5);
    assert_eq!(found["figures"]["confusion"][import][import], 1);
    assert_eq!(found["figures"]["confusion"][timeout - 1][import], 1, "{}", found["figures"]["confusion"]);
    let at_3000 = &found["figures"]["recall"][0];
    assert_eq!((&at_3000[0], &at_3000[1]["of"], &at_3000[2]["hits"]), (&3000.into(), &3.into(), &2.into()));
    assert_eq!(found["cases"]["labels"].as_array().unwrap().len(), 5);

    // one file of them; both together; one half and the other
    assert_eq!(eval(&["corpus/k2.jsonl"])["cases"]["labels"].as_array().unwrap().len(), 3);
    assert_eq!(eval(&["corpus/k1.jsonl"])["figures"]["cited_tier_a"]["hits"], 1);
    assert_eq!(
        eval(&["corpus/k1.jsonl", "corpus/seed-cases.jsonl"])["cases"]["labels"].as_array().unwrap().len(),
        2
    );
    let half = |half| eval(&["corpus", "--projects", half])["cases"]["labels"].as_array().unwrap().len();
    assert_eq!(half("even") + half("odd"), 5);
    let told = text(&home.output(&["eval", "corpus"]).stdout);
    assert!(
        told.contains("category, unambiguous") && told.contains("wrong wanted timeout got import_error"),
        "{told}"
    );

    std::fs::create_dir(home.path().join("empty")).unwrap();
    home.file("broken/k2.jsonl", "\n{\"id\": \"x\"}\n");
    home.file("no-log/k1.jsonl", &lines(&[json!({"id": "z", "log_path": "none.log", "truth_lines": [1]})]));
    for (corpus, why) in [
        ("nowhere", "can't read the corpus nowhere"),
        ("empty", "holds no cases"),
        ("broken", "k2.jsonl:2 is not a case"),
        ("no-log", "case z: can't read"),
    ] {
        let output = home.output(&["eval", corpus]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{corpus}");
        assert!(text(&output.stderr).contains(why), "{corpus}: {}", text(&output.stderr));
    }
    assert_eq!(with_input(home.coroner(&["eval"]), b"").status.code(), Some(2));
}
