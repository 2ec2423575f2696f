//! `coroner test` on tiny tasks: every way to end, whose fault each is, and what is kept.

use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;

use crate::rig::{Home, text};

/// A task with one function, without packages.
pub(crate) const TASK: &str = r#"
name = "toy"
[[entry_points]]
name = "f"
signature = "(x) -> number"
[evaluator]
file = "evaluate.py"
limits = { wall = "10s" }
[limits]
wall = "10s"
memory = "256M"
[sandbox]
level = "C"
[metrics.score]
direction = "higher"
possible = { max = 100 }
require = { min = 1 }
"#;
pub(crate) const EVALUATE: &str = "def evaluate(candidate, inputs):\n    return {'score': candidate.f(3)}\n";

/// A home with a task in it.
pub(crate) struct Rig {
    pub(crate) home: Home,
}

impl Rig {
    pub(crate) fn new(task: &str, evaluate: &str) -> Self {
        let home = Home::new();
        home.file("task/task.toml", task);
        home.file("task/evaluate.py", evaluate);
        Self { home }
    }

    pub(crate) fn toy(evaluate: &str) -> Self {
        Self::new(TASK, evaluate)
    }

    pub(crate) fn run(&self, candidate: &str, words: &[&str]) -> Output {
        let candidate = self.home.file("candidate.py", candidate);
        self.run_file(&candidate, words)
    }

    pub(crate) fn run_file(&self, candidate: &str, words: &[&str]) -> Output {
        let fixed = ["test", candidate, "--task", "task/task.toml", "--versions", "versions", "--offline"];
        self.home.output(&[&fixed, words].concat())
    }

    /// The result as JSON; the exit status must fit it.
    pub(crate) fn result(&self, candidate: &str) -> Value {
        let output = self.run(candidate, &["--format", "json"]);
        result(&output)
    }

    pub(crate) fn versions(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.home.path().join("versions"))
            .map(|found| found.map(|e| e.unwrap().file_name().into_string().unwrap()).collect())
            .unwrap_or_default();
        names.sort();
        names
    }

    fn version(&self, prefix: &str) -> String {
        let names = self.versions();
        let name = names
            .iter()
            .find(|name| name.starts_with(prefix))
            .unwrap_or_else(|| panic!("{prefix}: {names:?}"));
        text(&std::fs::read(self.home.path().join("versions").join(name)).unwrap())
    }
}

pub(crate) fn result(output: &Output) -> Value {
    let result: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {} {}", text(&output.stdout), text(&output.stderr)));
    let adopted = result["status"] == "adopted";
    assert_eq!(result["adopted"], adopted, "{result}");
    assert_eq!(output.status.code(), Some(i32::from(!adopted)), "{result}");
    assert_eq!(result["failure_analysis"].is_null(), adopted, "{result}");
    assert!(result["reason"].is_string());
    result
}

/// Category, origin and rule of a failure.
pub(crate) fn said(result: &Value) -> (String, String, String) {
    let analysis = &result["failure_analysis"];
    let word = |name: &str| analysis[name].as_str().unwrap_or_default().to_owned();
    let rule = analysis["provenance"]["rule"].as_str().unwrap_or_default().to_owned();
    (word("failure_category"), word("origin"), rule)
}

pub(crate) fn cause(result: &Value) -> String {
    result["failure_analysis"]["root_cause"].as_str().unwrap_or_default().to_owned()
}

/// Nothing can be said where there is no sandbox at all.
#[expect(clippy::print_stderr, reason = "a test that can't run says so")]
pub(crate) fn no_sandbox(name: &str) -> bool {
    let rig = Rig::toy(EVALUATE);
    let output = rig.run("def f(x): return 2\n", &["--format", "json", "--no-save"]);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let (_, _, rule) = said(&result);
    if rule.starts_with("harness.sandbox") {
        eprintln!("skipped: {name}: {}", cause(&result));
        return true;
    }
    false
}

#[test]
pub(crate) fn a_good_candidate_is_adopted_and_all_is_kept() {
    if no_sandbox("a_good_candidate_is_adopted_and_all_is_kept") {
        return;
    }
    let rig =
        Rig::toy("def evaluate(candidate, inputs):\n    return {'score': candidate.f(3), 'extra': 0.5}\n");
    let output = rig.run("def f(x):\n    print('hello')\n    return 2 * x\n", &["--id", "one"]);
    let page = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{page}{}", text(&output.stderr));
    assert!(page.contains("adopted") && page.contains("one") && page.contains("candidate.py"), "{page}");
    assert!(page.contains("score") && page.contains("6  ") && page.contains("at least 1 required"), "{page}");
    assert!(rig.version("attempt_").contains("print('hello')"));
    assert!(
        rig.versions().iter().any(|n| n.starts_with("attempt_") && n.ends_with("_one.py")),
        "{:?}",
        rig.versions()
    );
    assert!(rig.version("best.json").contains("\"score\": 6.0"));
    let shown = text(&rig.home.output(&["show", "one", "--format", "json"]).stdout);
    assert!(shown.contains("adopted") && shown.contains("toy"), "{shown}");

    // the same again is not compared with itself; other code must be better
    assert_eq!(rig.result("def f(x):\n    print('hello')\n    return 2 * x # same\n")["status"], "adopted");
    let same = rig.result("def f(x): return 6\n");
    assert_eq!(said(&same), ("logic_error".into(), "candidate".into(), "result.identical".into()));
    assert!(cause(&same).contains("same to the last digit"), "{same}");
    let worse = rig.result("def f(x): return 5\n");
    assert_eq!(worse["status"], "rejected");
    assert_eq!(worse["reason"], "Performance not better than current implementation");
    assert_eq!(said(&worse), ("logic_error".into(), "candidate".into(), "result.not-better".into()));
    assert!(cause(&worse).contains("`score` is 5, and 6 was to be beaten"), "{worse}");
    assert_eq!(worse["metrics"]["score"], 5.0);
    let better = rig.result("def f(x): return 9\n");
    assert_eq!((&better["status"], &better["improvement"]), (&"adopted".into(), &0.5.into()));
}

#[test]
pub(crate) fn each_failure_of_a_candidate_is_told_apart() {
    if no_sandbox("each_failure_of_a_candidate_is_told_apart") {
        return;
    }
    let rig = Rig::toy(EVALUATE);
    for (candidate, category, rule, part) in [
        ("def f(x): return (\n", "syntax_error", "screen.syntax", "Syntax error on line 1"),
        ("import socket\ndef f(x): return 1\n", "validation_error", "", "Forbidden import: socket"),
        ("def g(x): return 1\n", "validation_error", "screen.entry-point", "f"),
        ("", "validation_error", "screen.source", "empty"),
        ("def f(x):\n    return x / 0\n", "runtime_error", "python.division-by-zero", "candidate.py:2 in f"),
        ("def f(x):\n    return {}['k']\n", "runtime_error", "python.key-error", "'k'"),
        ("def f(x): return float('nan')\n", "logic_error", "result.not-a-number", "`score` is NaN"),
        ("def f(x): return 1e9\n", "logic_error", "result.impossible", "beyond 100"),
        ("def f(x): return 0.25\n", "logic_error", "result.below-threshold", "at least 1"),
    ] {
        let result = rig.result(candidate);
        let (got, _, by) = said(&result);
        assert_eq!(got, category, "{candidate}: {result}");
        assert!(rule.is_empty() || by == rule, "{candidate}: {by}");
        assert!(cause(&result).contains(part), "{candidate}: {}", cause(&result));
    }
    assert!(rig.version("validation_failure_").contains("=== Code ==="));
    let report = rig.version("execution_failure_");
    assert!(report.contains("\"failure_category\"") && report.contains("=== Error ==="), "{report}");
    // the sandbox refused what this policy did not
    let task = TASK.to_owned() + "[policy]\nfile = \"policy.toml\"\n";
    let open = Rig::new(&task, EVALUATE);
    open.home.file("task/policy.toml", "extend = false\nallow_modules = [\"*\"]\n");
    let result = open.result("import socket\ndef f(x):\n    return socket.socket()\n");
    let (_, origin, rule) = said(&result);
    assert_eq!((origin.as_str(), rule.as_str()), ("policy", "sandbox.network"), "{result:#}");
    // where in the code it happened
    let result = rig.result("def g(x):\n    return x / 0\n\ndef f(x):\n    return g(x)\n");
    assert!(cause(&result).contains("candidate.py:2 in g"), "{}", cause(&result));
    let evidence = result["failure_analysis"]["evidence"].to_string();
    assert!(evidence.contains("return x / 0"), "{evidence}");
    assert!(!evidence.contains("driver.py"), "{evidence}");
}

#[test]
fn limits_and_crashes_are_ends_of_the_candidate() {
    if no_sandbox("limits_and_crashes_are_ends_of_the_candidate") {
        return;
    }
    // what hangs is not waited for long, and what ends by itself is given the time that it needs where there is much to do
    let within = |wall: &str| {
        TASK.replace("wall = \"10s\"\nmemory", &format!("wall = \"{wall}\"\nmemory"))
            + "[policy]\nfile = \"policy.toml\"\n"
    };
    let rig = Rig::new(&within("10s"), EVALUATE);
    rig.home.file("task/policy.toml", "extend = false\nallow_modules = [\"*\"]\n");
    for (candidate, category, part) in [
        ("def f(x):\n    while True:\n        pass\n", "timeout", "limit of 2"),
        ("while True:\n    pass\ndef f(x): return 1\n", "timeout", "limit of 2"),
        ("import time\ndef f(x):\n    time.sleep(60)\n", "timeout", "limit of 2"),
        ("def f(x):\n    return len(bytearray(1 << 40))\n", "resource_error", "emory"),
        ("import os\ndef f(x):\n    os.abort()\n", "runtime_error", "Aborted"),
        ("import os\ndef f(x):\n    os._exit(0)\n", "runtime_error", "exit status 0 while f was called"),
        (
            "import os\nos._exit(0)\ndef f(x): return 1\n",
            "runtime_error",
            "exit status 0 while it was loaded",
        ),
        ("import sys\ndef f(x):\n    sys.exit(3)\n", "runtime_error", "SystemExit"),
    ] {
        rig.home.file("task/task.toml", &within(if category == "timeout" { "2s" } else { "10s" }));
        let result = rig.result(candidate);
        let (got, origin, _) = said(&result);
        assert_eq!((got.as_str(), origin.as_str()), (category, "candidate"), "{candidate}: {result:#}");
        assert!(cause(&result).contains(part), "{candidate}: {}", cause(&result));
    }
    // where it hung, once it was there
    rig.home.file("task/task.toml", &within("4s"));
    let result = rig.result("def g():\n    while True:\n        pass\ndef f(x):\n    g()\n");
    assert!(
        cause(&result).contains("It was at candidate.py:") && cause(&result).contains(" in g"),
        "{result:#}"
    );
}

#[test]
fn the_evaluator_cannot_be_forged() {
    if no_sandbox("the_evaluator_cannot_be_forged") {
        return;
    }
    let task = TASK.to_owned() + "[policy]\nfile = \"policy.toml\"\n";
    let rig = Rig::new(&task, EVALUATE);
    rig.home.file("task/policy.toml", "extend = false\nallow_modules = [\"*\"]\n");
    rig.home.file("task/secret.txt", "the answer");
    let forged = "{\\\"metrics\\\": [[\\\"score\\\", \\\"77\\\"]], \\\"seconds\\\": 0, \\\"calls\\\": 1}";
    let attempts = [
        // fake metrics on every descriptor there is
        format!("import os\ndef f(x):\n    for fd in range(3, 200):\n        try: os.write(fd, b\"{forged}\\n\")\n        except OSError: pass\n    return 2\n"),
        // and on standard output
        format!("def f(x):\n    print(\"{forged}\")\n    print('{{\"score\": 77}}')\n    return 2\n"),
        // the descriptors of others
        "import os\ndef f(x):\n    for p in os.listdir('/proc'):\n        try:\n            for d in os.listdir('/proc/%s/fd' % p):\n                try: os.write(os.open('/proc/%s/fd/%s' % (p, d), os.O_WRONLY), b'{\"metrics\": [[\"score\", \"77\"]], \"seconds\": 0, \"calls\": 1}\\n')\n                except OSError: pass\n        except OSError: pass\n    return 2\n".to_owned(),
        // ends whoever it finds
        "import os\ndef f(x):\n    for p in range(1, 400):\n        if p != os.getpid():\n            try: os.kill(p, 9)\n            except OSError: pass\n    return 2\n".to_owned(),
        // patches everything that it finds
        "import sys, json, builtins\njson.dumps = lambda *a, **k: '{\"metrics\": [[\"score\", \"77\"]]}'\nfor m in list(sys.modules.values()):\n    if hasattr(m, 'task'):\n        m.task = None\ndef f(x): return 2\n".to_owned(),
        // looks for the evaluator and its inputs
        "import os\ndef f(x):\n    seen = []\n    for top in ('/coroner', '/work', '/tmp', '/home', '/root'):\n        for folder, _, files in os.walk(top):\n            seen += [os.path.join(folder, n) for n in files]\n    print('SEEN', seen)\n    return 77 if any('evaluate' in n or 'coroner_task' in n or 'secret' in n for n in seen) else 2\n".to_owned(),
    ];
    for candidate in attempts {
        let output = rig.run(&candidate, &["--format", "json", "--no-save"]);
        let result = result(&output);
        let score = result["metrics"]["score"].as_f64();
        assert!(score.is_none() || score == Some(2.0), "{candidate}: {result:#}");
        if result["status"] == "test_failed" {
            // what it broke was its own
            assert_eq!(said(&result).1, "candidate", "{candidate}: {result:#}");
        }
    }
}

#[test]
fn inputs_that_are_held_out_are_measured_last_and_two_processes_share_nothing() {
    if no_sandbox("inputs_that_are_held_out_are_measured_last_and_two_processes_share_nothing") {
        return;
    }
    let task = r#"
name = "pair"
[[entry_points]]
name = "enc"
signature = "(x) -> bytes"
process = "encoder"
[[entry_points]]
name = "dec"
signature = "(data) -> str"
process = "decoder"
[evaluator]
file = "evaluate.py"
prepare = "prepare.py"
inputs = "shown"
held_out = "hidden"
[sandbox]
level = "C"
[metrics.score]
direction = "lower"
"#;
    let evaluate = "from coroner_task import task\ndef evaluate(candidate, inputs):\n    text = (inputs / 'text').read_text()\n    data = candidate.enc(text)\n    if candidate.dec(data) != text:\n        raise task.Invalid('the text was lost')\n    return {'score': len(data)}\n";
    let prepare = "import pathlib, sys\nto = pathlib.Path(sys.argv[1])\nfor name, text in [('shown', 'hello'), ('hidden', 'byebye')]:\n    (to / name).mkdir()\n    (to / name / 'text').write_text(text)\nprint('made')\n";
    let rig = Rig::new(task, evaluate);
    rig.home.file("task/prepare.py", prepare);
    let result = rig.result("def enc(x): return x.encode()\ndef dec(data): return data.decode()\n");
    assert_eq!(
        (&result["status"], &result["metrics"]["score"], &result["held_out"]["score"]),
        (&"adopted".into(), &5.0.into(), &6.0.into()),
        "{result:#}"
    );
    // what the encoder remembers, the decoder has never heard of
    let smuggled = rig.result(
        "kept = []\ndef enc(x):\n    kept.append(x)\n    return b''\ndef dec(data): return kept[0]\n",
    );
    assert_eq!(
        (said(&smuggled).0.as_str(), said(&smuggled).1.as_str()),
        ("runtime_error", "candidate"),
        "{smuggled:#}"
    );
    assert!(cause(&smuggled).contains("candidate.py:5 in dec"), "{}", cause(&smuggled));
    // learnt by heart
    let overfit = rig.result("def enc(x): return b'' if x == 'hello' else x.encode()\ndef dec(data): return data.decode() or 'hello'\n");
    assert_eq!(overfit["status"], "adopted", "{overfit:#}");
    let overfit = rig.result("def enc(x): return b''\ndef dec(data): return 'hello'\n");
    assert_eq!(said(&overfit).2, "result.identical", "{overfit:#}");
    rig.home.file("versions/last.json", "");
    std::fs::remove_file(rig.home.path().join("versions/last.json")).unwrap();
    std::fs::remove_file(rig.home.path().join("versions/best.json")).unwrap();
    let overfit = rig.result("def enc(x): return b''\ndef dec(data): return 'hello'\n");
    assert_eq!(said(&overfit).2, "result.invalid", "{overfit:#}");
    assert!(overfit["remarks"].to_string().contains("held-out"), "{overfit:#}");
    // prepared once
    let caches: Vec<PathBuf> = std::fs::read_dir(rig.home.path().join(".cache/coroner/inputs"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    assert_eq!(caches.len(), 1, "{caches:?}");
}

#[test]
fn a_command_says_its_own_metrics() {
    if no_sandbox("a_command_says_its_own_metrics") {
        return;
    }
    let task = "name = \"shell\"\n[evaluator]\ncommand = [\"sh\", \"candidate.sh\"]\ncandidate = \"candidate.sh\"\n[sandbox]\nlevel = \"C\"\n[metrics.score]\ndirection = \"higher\"\n";
    let rig = Rig::new(task, "");
    let ok = rig.result("echo working\necho '{\"score\": 3}'\n");
    assert_eq!((&ok["status"], &ok["metrics"]["score"]), (&"adopted".into(), &3.0.into()), "{ok:#}");
    assert!(rig.versions().iter().any(|n| n.starts_with("attempt_") && n.ends_with(".sh")));
    let none = rig.result("echo working\n");
    assert_eq!(said(&none), ("logic_error".into(), "candidate".into(), "result.none".into()), "{none:#}");
    let failed = rig.result("no-such-command-here\nexit 3\n");
    assert_eq!(said(&failed).1, "candidate", "{failed:#}");
    let empty = rig.result("");
    assert!(cause(&empty).contains("empty"), "{empty:#}");
    let absent = Rig::new(&task.replace("[\"sh\"", "[\"no-such-program\""), "");
    assert_eq!(
        said(&absent.result("x\n")),
        ("validation_error".into(), "harness".into(), "harness.task".into())
    );
}
