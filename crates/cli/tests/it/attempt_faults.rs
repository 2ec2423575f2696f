//! `coroner test` where something of ours is wrong: the evaluator, the task, the machine; and candidates that are no programs.

use serde_json::Value;

use crate::attempt::{EVALUATE, Rig, TASK, cause, no_sandbox, result, said};
use crate::rig::text;

#[test]
fn faults_of_our_own_side_are_never_the_candidates() {
    if no_sandbox("faults_of_our_own_side_are_never_the_candidates") {
        return;
    }
    let good = "def f(x): return 2\n";
    for (evaluate, category, rule, part) in [
        (
            "def evaluate(candidate, inputs):\n    return 1 / 0\n",
            "runtime_error",
            "harness.evaluator-raised",
            "ZeroDivisionError",
        ),
        (
            "def evaluate(candidate, inputs)\n    return 1\n",
            "syntax_error",
            "harness.evaluator-raised",
            "SyntaxError",
        ),
        ("import no_such_module\n", "import_error", "harness.evaluator-raised", "no_such_module"),
        ("x = 1\n", "runtime_error", "harness.evaluator-raised", "no function evaluate"),
        (
            "def evaluate(candidate, inputs):\n    candidate.f(1)\n    return 'garbage'\n",
            "runtime_error",
            "harness.evaluator-raised",
            "not a dict",
        ),
        (
            "import os\ndef evaluate(candidate, inputs):\n    os.write(3, b'garbage\\n')\n    os._exit(0)\n",
            "runtime_error",
            "harness.evaluator-garbage",
            "`garbage`",
        ),
        (
            "import os\ndef evaluate(candidate, inputs):\n    candidate.f(1)\n    os._exit(4)\n",
            "runtime_error",
            "harness.evaluator-silent",
            "exit status 4",
        ),
        (
            "def evaluate(candidate, inputs):\n    return {'score': 5}\n",
            "logic_error",
            "harness.never-called",
            "without calling",
        ),
        (
            "def evaluate(candidate, inputs):\n    candidate.f(1)\n    return {'scores': 5}\n",
            "logic_error",
            "result.missing-metric",
            "no `score`",
        ),
    ] {
        let rig = Rig::toy(evaluate);
        let result = rig.result(good);
        let (got, origin, by) = said(&result);
        assert_eq!(
            (got.as_str(), origin.as_str(), by.as_str()),
            (category, "harness", rule),
            "{evaluate}: {result:#}"
        );
        assert!(cause(&result).contains(part), "{evaluate}: {}", cause(&result));
        assert!(!result["failure_analysis"]["fix_suggestion"].as_str().unwrap().is_empty());
    }
    // one that never ends, while the candidate waits patiently
    let task = TASK
        .replace("limits = { wall = \"10s\" }", "limits = { wall = \"1s\", cpu = \"20s\" }")
        .replace("wall = \"10s\"", "wall = \"1s\"");
    let rig = Rig::new(
        &task,
        "def evaluate(candidate, inputs):\n    candidate.f(1)\n    while True:\n        pass\n",
    );
    let result = rig.result(good);
    assert_eq!(
        said(&result),
        ("timeout".into(), "harness".into(), "harness.evaluator-over-time".into()),
        "{result:#}"
    );
    // the candidate's answer is wrong, and the evaluator says so
    let rig = Rig::toy(
        "from coroner_task import task\ndef evaluate(candidate, inputs):\n    if candidate.f(1) != 1:\n        raise task.Invalid('f(1) is not 1')\n    return {'score': 5}\n",
    );
    let result = rig.result(good);
    assert_eq!(said(&result), ("logic_error".into(), "candidate".into(), "result.invalid".into()));
    assert!(cause(&result).contains("f(1) is not 1"));
}

#[test]
fn what_is_wrong_with_task_or_machine_is_said_with_what_to_do() {
    let rig = Rig::toy(EVALUATE);
    // wrong use: nothing is run and nothing kept
    for (task, part) in [
        (
            TASK.replace("signature", "signatur"),
            "task.toml:5: unknown key `signatur`; did you mean `signature`?",
        ),
        (TASK.replace("file = \"evaluate.py\"", ""), "`evaluator.file` is missing"),
        (TASK.replace("evaluate.py", "evaluator.py"), "can't read the file"),
    ] {
        rig.home.file("task/task.toml", &task);
        let output = rig.run("def f(x): return 2\n", &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
    rig.home.file("task/task.toml", TASK);
    let output = rig.run_file("nothing-here.py", &[]);
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("nothing-here.py"));
    assert_eq!(rig.versions(), Vec::<String>::new());
    // no Python; packages that can't be fetched: infrastructure
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_coroner"));
    command.args(["test", "candidate.py", "--task", "task/task.toml", "--format", "json", "--no-save"]);
    rig.home.dress(&mut command);
    let output = command.env("PATH", "/nowhere").output().unwrap();
    let no_python: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if !said(&no_python).2.starts_with("harness.sandbox") {
        assert_eq!(
            said(&no_python),
            ("import_error".into(), "infrastructure".into(), "harness.python".into()),
            "{no_python:#}"
        );
        assert!(cause(&no_python).contains("no Python on the search path"));
    }
    rig.home.file("task/task.toml", &format!("{TASK}\n[environment]\npackages = [\"numpy==2.2.6\"]\n"));
    let offline = rig.result("def f(x): return 2\n");
    if !said(&offline).2.starts_with("harness.sandbox") {
        assert_eq!(
            said(&offline),
            ("resource_error".into(), "infrastructure".into(), "harness.network".into()),
            "{offline:#}"
        );
        assert_eq!(offline["failure_analysis"]["severity"], "critical");
        let half = rig.home.path().join(".cache/coroner/environments");
        let half: Vec<_> = std::fs::read_dir(half).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(half.iter().all(|name| name.to_string_lossy().ends_with(".lock")), "{half:?}");
    }
}

#[test]
fn candidates_that_are_no_programs_are_refused_before_anything_runs() {
    if no_sandbox("candidates_that_are_no_programs_are_refused_before_anything_runs") {
        return;
    }
    let rig = Rig::toy(EVALUATE);
    for (bytes, part) in [
        (vec![b'#'; 50 << 20], "MiB"),
        (Vec::new(), "empty"),
        (b"def f(x):\n    return '\xff\xfe'\n".to_vec(), "UTF-8"),
        (b"def f(x):\n    return '\0'\n".to_vec(), ""),
    ] {
        let path = rig.home.path().join("odd.py");
        std::fs::write(&path, bytes).unwrap();
        let result = result(&rig.run_file("odd.py", &["--format", "json", "--no-save"]));
        assert_eq!(said(&result).1, "candidate", "{result:#}");
        assert!(cause(&result).contains(part), "{}", cause(&result));
        assert!(result["report"].is_null(), "it did not run");
    }
}

#[test]
fn the_border_between_evaluator_and_candidate_holds() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../lab/tests/python/test_protocol.py");
    let Ok(output) = std::process::Command::new("python3").args(["-B", script]).output() else {
        eprintln!("skipped: the_border_between_evaluator_and_candidate_holds: there is no python3");
        return;
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn the_example_of_the_manual_works() {
    if no_sandbox("the_example_of_the_manual_works") {
        return;
    }
    let manual = include_str!("../../../../docs/tasks.md");
    let block = |language: &str, n: usize| {
        let start = manual.match_indices(&format!("```{language}\n")).nth(n).unwrap().0;
        let body = &manual[start..];
        let body = &body[body.find('\n').unwrap() + 1..];
        body[..body.find("```").unwrap()].to_owned()
    };
    let rig = Rig::new(&block("toml", 0), &block("python", 0));
    let seed = block("python", 1);
    rig.home.file("task/seed.py", &seed);
    let good = rig.result(&seed);
    assert_eq!((&good["status"], &good["metrics"]["right"]), (&"adopted".into(), &1.0.into()), "{good:#}");
    let bad = rig.result(&seed.replace("x + x", "x"));
    assert_eq!(
        said(&bad),
        ("logic_error".into(), "candidate".into(), "result.below-threshold".into()),
        "{bad:#}"
    );
}

#[test]
fn check_looks_with_the_policy_and_the_entry_points_of_a_task() {
    let rig = Rig::new(&(TASK.to_owned() + "[policy]\nallow_modules = [\"socket\"]\n"), EVALUATE);
    for (candidate, status, part) in [
        ("import socket\ndef f(x): return 1\n", 0, ""),
        ("import socket\ndef g(x): return 1\n", 1, "f"),
        ("import subprocess\ndef f(x): return 1\n", 1, "Forbidden import: subprocess"),
    ] {
        let file = rig.home.file("c.py", candidate);
        let output = rig.home.output(&["check", &file, "--task", "task/task.toml"]);
        let said = text(&output.stdout);
        assert_eq!(output.status.code(), Some(status), "{said}{}", text(&output.stderr));
        assert!(said.contains(part), "{said}");
    }
}
